/*
 * find.h - the slow paths of malloc and free, from an arena's depots down to the last scan before NULL.
 *
 * Each step either succeeds or says what it lacks, and when it says so it owns nothing but its magazines: so a thread
 * has at most one intent at a time.
 */
#ifndef HEAP_FIND_H
#define HEAP_FIND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/thread.h"

enum {
        ALLOC_NO_GROW = 1u << 0,     /* no system call, no new pages */
        ALLOC_THIS_ARENA = 1u << 1,  /* from request.arena or not at all */
        ALLOC_THIS_NODE = 1u << 2,   /* from the node of request.arena or not at all */
        ALLOC_NO_MAGAZINE = 1u << 3, /* one block, past the magazines */
};

struct request {
        uint64_t size;      /* bytes; at least 1 */
        uint64_t align;     /* power of two; 1 = natural */
        uint32_t class_idx; /* small or large class, or SIZE_CLASS_NONE for huge */
        uint32_t flags;     /* ALLOC_* */
        uint32_t arena;     /* to start with */
        uint64_t nodes;     /* bit mask of those that it may be of, beside the arena's; 0 = any */
        uint64_t dest_off;  /* region offset where the block's own offset is stored in the same step; 0 = nowhere */
};

/* Fills in class_idx for size and align.  False: never possible (too large, bad alignment). */
bool request_classify(struct request *request);

/* Allocates one block past the magazines.  0 or -ENOMEM. */
int alloc_block(struct thread *t, const struct request *request, uint64_t *ret_block_off);

/*
 * Gets blocks of the request's small class, of the thread's own node, into a magazine.  `empty_idx` is an owned, empty
 * magazine of that tag which has a place, or MAGAZINE_IDX_NONE.  On success *ret_magazine is
 *   - empty_idx, which has been filled, or
 *   - another magazine with blocks, which is in the hand, or
 *   - MAGAZINE_IDX_NONE, when memory of another node or no magazine could be had: then the block is *ret_block_off.
 * 0 or -ENOMEM.
 */
int alloc_magazine(struct thread *t, const struct request *request, uint32_t empty_idx, uint32_t *ret_magazine,
                   uint64_t *ret_block_off);

/* Frees one block past the magazines, whatever it is.  If dest_off is not 0 zeroes that word in the same step.
 * 0; -EINVAL: fault noted; -EBUSY: its slab is held by somebody just now, or with dest_off, somebody who may have died
 * resizes it. */
int free_block(struct thread *t, uint64_t block_off, uint64_t dest_off);

/*
 * Frees a block, the caller's own, whose slab is held by somebody who may be stopped for ever: into a magazine of this
 * thread that has room, else in a magazine of its own to a depot (MAG.1, .2, FREE or PUSH_FROM, MAG.3 in
 * doc/recovery.md).  The hand is empty.  False: no magazine can be had, or it is not of a slab; nothing was done.
 */
bool free_block_aside(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* free_block(), coming back while somebody holds the slab, and settling the dead if it takes long.  Bounded: when the holder
 * is stopped, the block is put aside; where that cannot be, -EBUSY: it is as it was.  If dest_off is not 0 and what is there is not this block's reference any more, a reaper has
 * finished the free for somebody who died of it: 0. */
int free_block_patiently(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* The same without a dest: what cannot be freed even so is lost, which is noted. */
void free_block_finally(struct thread *t, uint64_t block_off);

/* Usable bytes of the block that starts here; 0: none does.  *ret_class: its class, SIZE_CLASS_NONE for huge. */
uint64_t block_usable(struct region *r, uint64_t block_off, uint32_t *ret_class);

/* Whether a small block that block_usable() knows is free, and in no magazine. */
bool block_is_home(struct region *r, uint64_t block_off);

/* Whether a block that block_usable() knows is free by its slab's bitmap or lies in a magazine.  Looks into every
 * magazine of its tag: for the option that checks each free. */
bool block_is_free_or_cached(struct region *r, uint64_t block_off);

#endif
