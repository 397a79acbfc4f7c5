/*
 * alloc_heap.h - heaps of two chunks with two threads, and the last block of them, for the tests of the slow paths.
 * Included by one source of a program.
 */
#ifndef SUPPORT_ALLOC_HEAP_H
#define SUPPORT_ALLOC_HEAP_H

#include <errno.h>

#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "heap/free.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"

enum { N_CHUNKS = 2, GRANULES = GEO_GRANULES_PER_CHUNK };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static inline void
make(uint32_t n_nodes, uint32_t arenas_per_node, bool has_file)
{
        heap_make(&fx, (struct heap_params){.n_chunks = N_CHUNKS,
                                            .n_nodes = n_nodes,
                                            .arenas_per_node = arenas_per_node,
                                            .has_file = has_file});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
}

static inline void
setup(void)
{
        make(1, 1, false);
}

static inline void
setup_two_arenas(void)
{
        make(1, 2, false);
}

static inline void
setup_two_nodes(void)
{
        make(2, 2, false);
}

static inline void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static inline struct call
request_of_class(uint32_t class_idx, uint32_t flags)
{
        return (struct call){.size = size_class_bytes(class_idx),
                             .align = 1,
                             .class_idx = class_idx,
                             .flags = flags,
                             .arena = t->arena};
}

static inline bool
alloc_flags(struct thread *who, uint32_t class_idx, uint32_t flags, uint64_t *ret_block_off)
{
        struct call rq = request_of_class(class_idx, flags);
        uint64_t block_off;
        int err;

        rq.arena = who->arena;
        err = ask_block(who, &rq, &block_off);
        ck_assert(err == 0 || err == -ENOMEM);
        ck_assert_uint_eq(who->slot->candidate, 0);
        ck_assert_uint_eq(who->slot->hand, 0);
        ck_assert(!who->call.no_grow);
        if (err == 0) {
                live_add(&live, block_off);
                *ret_block_off = block_off;
        }
        return err == 0;
}

static inline bool
alloc(struct thread *who, uint32_t class_idx)
{
        uint64_t block_off;

        return alloc_flags(who, class_idx, 0, &block_off);
}

static inline void
free_it(struct thread *who, uint64_t block_off)
{
        ck_assert_int_eq(free_block(who, block_off, 0), 0);
        ck_assert_uint_eq(who->fault.what, FAULT_NONE);
        live_drop(&live, block_off);
}

static inline void
free_all(void)
{
        while (live.n > 0)
                free_it(live.n % 2 ? t : u, live.off[live.n - 1]);
}

/* As many blocks as there is room for in so many chunks of nothing else. */
static inline uint64_t
most(uint32_t class_idx, uint64_t n_chunks)
{
        return GRANULES / size_class_table[class_idx].n_granules * size_class_table[class_idx].n_blocks * n_chunks;
}

/* Takes all that is left for the class, and proves that nothing is. */
static inline uint64_t
exhaust(struct thread *who, uint32_t class_idx)
{
        uint32_t need = size_class_table[class_idx].n_granules, free_run = 0;
        struct tally tally;
        uint64_t n = 0;

        while (alloc(who, class_idx))
                n++;
        tally = heap_verify(r, &live);
        ck_assert_uint_eq(tally.free_blocks[class_idx], 0);
        ck_assert_uint_eq(tally.n_cached_in_depots, 0);
        ck_assert_uint_eq(tally.n_free_chunks, 0);
        ck_assert_uint_eq(region_chunks_hwm(r), N_CHUNKS);
        for (uint64_t g = 0; g < region_granules_hwm(r); g++) {
                free_run = g % GRANULES == 0 ? 0 : free_run;
                free_run = granule_state(*run_word(r, g)) == GRANULE_FREE ? free_run + 1 : 0;
                ck_assert_uint_lt(free_run, need);
        }
        return n;
}

static inline uint32_t
fill_magazine(struct thread *who, uint32_t class_idx, uint32_t *place)
{
        struct call rq = request_of_class(class_idx, 0);
        uint32_t idx, got;
        uint64_t block_off;

        ck_assert_int_eq(magazine_take_empty(who, tag_make(who->node, class_idx), &idx), 0);
        magazine_place(who, place, idx);
        rq.arena = who->arena;
        ck_assert_int_eq(ask_magazine(who, &rq, idx, &got, &block_off), 0);
        ck_assert_uint_eq(got, idx);
        return idx;
}

#endif
