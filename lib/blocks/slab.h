/*
 * slab.h - slabs: runs cut into blocks of one small class, with a free bitmap out of line.
 *
 * A slab is owned for the length of one fill or drain, so nothing is hoarded and a slab that somebody else holds is
 * left alone: there is always another, or a new one.  The steps are drawn in doc/recovery.md (FILL.n, DRAIN.n, ONE.n).
 */
#ifndef BLOCKS_SLAB_H
#define BLOCKS_SLAB_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"
#include "pages/run.h"

/* What the run of a new slab of the class has to have: a block, and its bitmap. */
struct run_need slab_need(uint32_t class_idx);

/* Makes a slab from a run that is where->need = slab_need(class), and keeps it owned.  0, -ENOMEM, -ENOSPC. */
int slab_create_owned(struct thread *t, const struct where *where, uint64_t *ret_head);

/* Acquires a slab of the class that has free blocks: the one used last, else the lowest that nobody holds. */
bool slab_find_owned(struct thread *t, const struct where *where, uint64_t *ret_head);

/* What the call asks for (clients/call.h), from a slab that has room or a new one: blocks in call.empty_idx, which
 * call.found_idx says then, or one, call.found_off.  0, -ENOMEM, -ENOSPC. */
int slab_take(struct thread *t, const struct where *where);

/* Moves up to `want` free blocks of an owned slab into an owned, empty magazine; releases the slab.  How many. */
uint32_t slab_fill(struct thread *t, uint64_t head, uint64_t magazine_idx, uint32_t want);

/* Takes one block out of an owned slab, past the magazines; releases it.  If dest_off is not 0, the region offset of
 * the block is stored there (8-aligned, a region offset) in the same step.  False: the slab had none. */
bool slab_alloc_one(struct thread *t, uint64_t head, uint64_t dest_off, uint64_t *ret_block_off);

/* Puts one block back past the magazines; if dest_off is not 0, zeroes what is there in the same step.
 * 0, -EBUSY: somebody holds the slab; -EINVAL: not a block of a slab or already free (t->fault says which). */
int slab_free_one(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* Puts the topmost blocks of an owned magazine that lie in one slab back there, all that stand together.
 * 0; -EBUSY: that slab is held by somebody; -EINVAL: an entry was no block, or one that is free, and has been dropped
 * (t->fault). */
int slab_drain(struct thread *t, uint64_t magazine_idx);

/* Slabs of a chunk in which every block is free become free runs again.  A reaper leaves such, for it acquires nothing;
 * everybody else gives the slab up with its last block.  How many. */
uint32_t slab_tidy_chunk(struct thread *t, uint64_t chunk);

/* PURGE_SLAB: gives back the pages of a chunk's slabs in which no block is allocated, where nobody used the slab for
 * min_age (units of decay_stamp.h, up to 127).  *n_left: about how many system calls it may still make; it counts them
 * down.  How many bytes. */
uint64_t slab_purge_chunk(struct thread *t, uint64_t chunk, uint32_t min_age, int fd, uint32_t *n_left);

/* Settles a slab that names a dead thread: recount, hints, release. */
void slab_settle(struct region *r, uint32_t thread_no, uint64_t head);

/* Sets (undo of FILL, redo of DRAIN) the bit of a block if it is one of this slab. */
void slab_settle_block(struct region *r, uint64_t head, uint64_t block_off);

/* Where a block is: its slab's head and index.  False if no block of a slab starts there. */
bool slab_block_of(struct region *r, uint64_t block_off, uint64_t *ret_head, uint32_t *ret_block_idx);

/* Whether a block of a slab starts here that is not free in there.  A hint, but for one's own blocks. */
bool slab_has_given(struct region *r, uint64_t block_off);

/* How many blocks are free, by the bitmap. */
uint32_t slab_count_free(struct region *r, uint64_t head, uint32_t class_idx);

#endif
