/*
 * free.h - where a block goes that no magazine of the thread takes; and what a block is, by its address.
 */
#ifndef HEAP_FREE_H
#define HEAP_FREE_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* Frees one block past the magazines, whatever it is.  If dest_off is not 0 zeroes that word in the same step.
 * 0; -EINVAL: fault noted; -EBUSY: its slab is held by somebody just now, or with dest_off, somebody who may have died
 * resizes it. */
int free_block(struct thread *t, uint64_t block_off, uint64_t dest_off);

/*
 * Frees a block, the caller's own, whose slab is held by somebody who may be stopped for ever: into a magazine of this
 * thread that has room, else in a magazine of its own to a depot (MAG.1, .2, PUSH or PUSH_FROM, MAG.3 in
 * doc/recovery.md).  The hand is empty.  False: no magazine can be had, or it is not of a slab; nothing was done.
 */
bool free_block_aside(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* free_block(), coming back while somebody holds the slab, and settling the dead if it takes long.  Bounded: when the
 * holder is stopped, the block is put aside; where that cannot be, -EBUSY: it is as it was.  If dest_off is not 0 and
 * what is there is not this block's reference any more, a reaper has finished the free for somebody who died of it:
 * 0. */
int free_block_patiently(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* The same without a dest: what cannot be freed even so is lost, which is noted. */
void free_block_finally(struct thread *t, uint64_t block_off);

/* Usable bytes of the block that starts here; 0: none does.  *ret_class: its class, SIZE_CLASS_NONE for huge. */
uint64_t block_usable(struct region *r, uint64_t block_off, uint32_t *ret_class);

/* Whether a small block that block_usable() knows is free, and in no magazine. */
bool block_is_home(struct region *r, uint64_t block_off);

/* Whether a block that block_usable() knows is free by its slab's bitmap or lies in a magazine.  Looks into every
 * magazine of its tag, by the file: so none is touched whose pages may have gone meanwhile. */
bool block_is_free_or_cached(struct region *r, uint64_t block_off);

#endif
