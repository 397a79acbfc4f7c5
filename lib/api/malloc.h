/*
 * malloc.h - what all of the malloc family is made of: one call into a heap.
 *
 * `operation` is the name of the public function, for messages.
 */
#ifndef API_MALLOC_H
#define API_MALLOC_H

#include "api/visit.h"
#include "blocks/slab.h"
#include "heap/free.h"

/* NULL: errno and message are set.  dest_off: see struct call; flags: SHA_*. */
void *call_allocate(struct shheap *h, size_t size, size_t align, unsigned flags, uint64_t dest_off,
                    const char *operation);
void call_free(struct shheap *h, void *p, const char *operation);

/* Whether the handle may be used to free p.  False: that was reported as a fault. */
bool call_may_free(const struct shheap *h, const void *p, const char *operation, size_t given_size);

/* A region offset that a step may store to: an aligned word in the chunks of the heap; 0: it is not; errno and
 * message. */
uint64_t call_dest_off(const struct shheap *h, const shref *dest, const char *operation);

/* What bytes [from, to) of a block hold when the caller gets them.  All that is usable, not only what was asked for:
 * when the block is resized, the usable size is the border between old and new. */
void call_fill_new(const struct shheap *h, void *p, size_t from, size_t to, unsigned flags);

/* Option check: what the hit path and the magazines cannot see.  False: a fault is noted. */
bool call_check_free(struct thread *t, uint64_t block_off);

/* Where 0 bytes are an error.  False: errno and message are set. */
bool call_check_size(size_t size, const char *operation);

/* Bytes of the block that a request gives. */
uint64_t call_usable(uint64_t size, uint32_t class_idx);

static inline uint64_t
handle_block_off(const struct shheap *h, const void *p)
{
        return (uint64_t)((uintptr_t)p - (uintptr_t)h->region.chunks);
}

/* Whether so many bytes at p, at least one, lie in the heap's chunks. */
static inline bool
handle_holds(const struct shheap *h, const void *p, uint64_t bytes)
{
        uint64_t end = h->region.layout.n_chunks << GEO_CHUNK_SHIFT;

        return bytes <= end && handle_block_off(h, p) <= end - bytes;
}

static inline bool
handle_has(const struct shheap *h, const void *p)
{
        return handle_holds(h, p, 1);
}

/* Bytes of the block at p; 0: there is none, it is free and in no cache, or what the tables say of it cannot be. */
static inline size_t
handle_usable(const struct shheap *h, const void *p)
{
        struct region *r = (struct region *)(uintptr_t)&h->region;
        uint64_t usable;
        uint32_t class_idx;

        if (!handle_has(h, p))
                return 0;
        usable = block_usable(r, handle_block_off(h, p), &class_idx);
        return handle_holds(h, p, usable) && !block_is_home(r, handle_block_off(h, p)) ? usable : 0;
}

/* Which fault it is to free what handle_usable() gives 0 for. */
static inline uint32_t
handle_no_block(const struct shheap *h, const void *p)
{
        return block_is_home((struct region *)(uintptr_t)&h->region, handle_block_off(h, p))
                       ? SHHEAP_FAULT_DOUBLE_FREE
                       : SHHEAP_FAULT_INVALID_FREE;
}

#endif
