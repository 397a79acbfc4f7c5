/*
 * root_record.h - the names of roots: records in a chain that only grows.
 */
#ifndef HEAP_ROOT_RECORD_H
#define HEAP_ROOT_RECORD_H

#include <stdint.h>

#include "clients/thread.h"

/* A name as records hold it: padded with zeroes. */
struct root_name {
        char text[LAYOUT_ROOT_NAME_MAX + 1];
};

/* 0, or -EINVAL with the message set. */
int root_name_make(const char *text, struct root_name *ret_name);

/* NULL: beyond the mark. */
struct root_record *root_record_at(struct region *r, uint32_t idx);

/* 0, -ENOENT without a message, -EUCLEAN. */
int root_record_find(struct region *r, const struct root_name *name, uint32_t *ret_idx);

/* The record of the name, made if there is none.  0, -ENOSPC, -ENOMEM, -EUCLEAN. */
int root_record_find_or_link(struct thread *t, const struct root_name *name, uint32_t *ret_idx);

/* A walk along the chain, whose links are an index + 1, 0 at the end:
 * struct root_walk walk = root_walk_begin(r); while ((record = root_walk_next(&walk))) ...; is_damaged tells why it
 * ended. */
struct root_walk {
        struct region *region;
        uint32_t link; /* of the record that comes next */
        uint64_t hops;
        bool is_damaged;
};

struct root_walk root_walk_begin(struct region *r);
struct root_record *root_walk_next(struct root_walk *walk);

#endif
