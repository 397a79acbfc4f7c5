/*
 * slab_heap.h - a heap, two threads, and slabs and magazines made by hand, for the tests of slabs.  Included by one
 * source of a program.
 */
#ifndef SUPPORT_SLAB_HEAP_H
#define SUPPORT_SLAB_HEAP_H

#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static inline void
setup(void)
{
        heap_make(&fx, (struct heap_params){.arenas_per_node = 2});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
}

static inline void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static inline uint64_t
word_of(uint64_t granule)
{
        return *run_word(r, granule);
}

static inline uint32_t
cap_of(uint32_t class_idx)
{
        return size_class_magazine_cap(class_idx);
}

static inline uint32_t
n_blocks_of(uint32_t class_idx)
{
        return size_class_slab_blocks(class_idx);
}

static inline uint64_t
slab_bytes_of(uint32_t class_idx)
{
        return size_class_slab_granules(class_idx) * GEO_GRANULE_BYTES;
}

/* Bytes from the start of a slab that are known to have pages. */
static inline uint64_t
backed_bytes_of(uint64_t head, uint32_t class_idx)
{
        uint64_t bytes = 0;

        for (uint32_t i = 0; i < size_class_slab_granules(class_idx); i++) {
                ck_assert(granule_backed(word_of(head + i)) == 0 || bytes == i * GEO_GRANULE_BYTES); /* no gaps */
                bytes += granule_backed(word_of(head + i)) * GRANULE_BACKED_UNIT;
        }
        return bytes;
}

/* The class with the most magazines to a slab. */
static inline uint32_t
class_with_most_fills(void)
{
        uint32_t best = 0;

        for (uint32_t i = 1; i < SIZE_CLASS_N_SMALL; i++)
                if (n_blocks_of(i) / cap_of(i) > n_blocks_of(best) / cap_of(best))
                        best = i;
        return best;
}

/* An owned, empty magazine in the current place of the class. */
static inline uint32_t
empty_magazine(struct thread *who, uint32_t class_idx)
{
        uint32_t tag = tag_make(who->node, class_idx), idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, magazine_current(who, tag), idx);
        return idx;
}

static inline struct magazine *
magazine(uint32_t idx)
{
        return region_magazine(r, idx);
}

static inline uint64_t
entry(uint32_t idx, uint64_t i)
{
        return region_entry_off(r, magazine(idx)->slot[i]);
}

static inline uint64_t
find_or_create(struct thread *who, uint32_t class_idx)
{
        uint64_t head;

        if (!slab_find_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head))
                ck_assert_int_eq(slab_create_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        ck_assert_uint_eq(granule_owner(word_of(head)), who->no);
        ck_assert_uint_eq(who->slot->candidate,
                          candidate_make(CANDIDATE_RUN, head, size_class_slab_granules(class_idx)));
        return head;
}

static inline uint64_t
alloc_one(struct thread *who, uint32_t class_idx)
{
        uint64_t block_off;

        ck_assert(slab_alloc_one(who, find_or_create(who, class_idx), 0, &block_off));
        live_add(&live, block_off);
        return block_off;
}

static inline void
free_one(struct thread *who, uint64_t block_off)
{
        ck_assert_int_eq(slab_free_one(who, block_off, 0), 0);
        live_drop(&live, block_off);
}

static inline void
expect_fault(struct thread *who, enum fault_what what, uint64_t block_off)
{
        ck_assert_uint_eq(who->fault.what, what);
        ck_assert_uint_eq(who->fault.block_off, block_off);
        who->fault.what = FAULT_NONE;
}

static inline uint64_t
head_of(uint64_t block_off)
{
        uint64_t head = 0;
        uint32_t block_idx;

        ck_assert(slab_block_of(r, block_off, &head, &block_idx));
        return head;
}

static inline void
put_entry(uint32_t idx, uint64_t block_off)
{
        magazine(idx)->slot[magazine(idx)->n++] = region_entry(r, block_off);
}

/* A magazine with the class's next k blocks, which count as cached. */
static inline uint32_t
filled_magazine(struct thread *who, uint32_t class_idx, uint32_t k)
{
        uint32_t idx = empty_magazine(who, class_idx);

        ck_assert_uint_eq(slab_fill(who, find_or_create(who, class_idx), idx, k), k);
        return idx;
}

#endif
