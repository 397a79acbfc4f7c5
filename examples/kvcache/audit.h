/*
 * audit.h - whether the heap and the table in it are as they should be.
 */
#ifndef KVCACHE_AUDIT_H
#define KVCACHE_AUDIT_H

#include <stdio.h>

#include "table.h"

struct audit {
        uint64_t n_items, n_extensions, n_mail, n_retired, n_blocks; /* the last: live blocks of the heap */
        uint64_t live_bytes;                                         /* in them */
        uint64_t n_faults;
};

/*
 * Every item is in the bucket of its hash and there once, every block of the heap is the root, the table, an item, an
 * extension, or a worker's own (retired, in a mailbox), once, and the counts add up.  Exact while no worker is at
 * work; workers that are there and idle do not matter.  Lines to `out` for what is wrong.
 */
void audit_table(struct cache *c, FILE *out, struct audit *ret_check);

/* As a program: the exit status. */
int audit_run(void);

#endif
