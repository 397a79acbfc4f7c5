/*
 * large.h - large blocks: each a run of granules of one large class.  Steps LARGE.n, RESIZE.n in doc/recovery.md.
 */
#ifndef BLOCKS_LARGE_H
#define BLOCKS_LARGE_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"
#include "pages/run.h"

enum { LARGE_COLOUR_ALIGN = 64 }; /* blocks that asked for no more than this may stand at a colour offset */

/* What the run of a block of a large class has to have. */
struct run_need large_need(uint32_t class_idx, uint64_t align);

/* Allocates a block where->need = large_need().  dest_off as in slab_alloc_one().  0, -ENOMEM, -ENOSPC. */
int large_alloc(struct thread *t, const struct where *where, uint64_t dest_off, uint64_t *ret_block_off);

/* Frees it.  0, or -EINVAL with the fault noted. */
int large_free(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* Frees the topmost block of an owned magazine of a large class.  0; -EBUSY: the dead owns it, who is not settled yet;
 * -EINVAL: entry dropped, fault noted. */
int large_drain(struct thread *t, uint64_t magazine_idx);

/* Makes the block one of another large class where it stands.  0, -ENOMEM: it cannot; -EINVAL: fault noted. */
int large_resize(struct thread *t, uint64_t block_off, uint32_t class_idx);

/* The word of the run whose block starts exactly here.  False: no large block starts here. */
bool large_block_of(struct region *r, uint64_t block_off, uint64_t *ret_head, uint64_t *ret_word);

/* For the candidate RUN of a dead thread whose head is LARGE and names it. */
void large_settle(struct region *r, uint32_t thread_no, uint64_t head, uint32_t granules);

#endif
