/*
 * What is at stake: magazines on their way home.  What a thread gives up must be had by others, whole; what it keeps is
 * bounded; and blocks of another node go back there.
 */
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab_pages.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "pages/decay_stamp.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/fills.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/tcache_heap.h"
#include "tcache/tcache.h"

enum { LAST = SIZE_CLASS_N_SMALL - 1 }; /* a class of which depots keep few */

/* ------------------------------------------------------------------ magazines that go home */

START_TEST(flush_gives_everything_back)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx += 3) {
                alloc(size_class_bytes(class_idx));
                give(live.off[0]);
        }
        ck_assert_uint_gt(heap_verify(r, NULL).n_tcache, 0);
        tcache_flush(t);
        ck_assert_uint_eq(heap_verify(r, NULL).n_tcache, 0);
        for (uint32_t i = 0; i < 2 * r->layout.n_tags; i++)
                ck_assert_uint_eq(thread()->slot->magazines[i], 0);
        for (unsigned class_idx1 = 0; class_idx1 <= TAG_CLASSES; class_idx1++)
                ck_assert_int_eq(t->malloc_at[class_idx1], 0);
        for (uint32_t tag = 0; tag < r->layout.n_tags; tag++)
                ck_assert_int_eq(t->free_at[tag], 0);
        alloc(64); /* and it goes on */
        give(live.off[0]);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(full_magazines_serve_other_threads)
{
        struct thread *other = heap_attach(&fx, thread()->arena);
        uint32_t tag = tag_make(0, 0), idx, n = 5 * cap_of(0);

        for (uint32_t i = 0; i < n; i++)
                alloc(1);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_gt(heap_verify(r, NULL).n_depot, 0);
        ck_assert(magazine_take_depot(other, thread()->arena, tag, &idx));
        magazine_place(other, magazine_current(other, tag), idx);
        ck_assert_uint_eq(r->magazines[idx].n, cap_of(0));
}
END_TEST

/* Nothing is lost where the depot is full: then blocks go back to their slabs. */
START_TEST(crowded_depot_sends_blocks_to_their_slabs)
{
        uint32_t n = (size_class_depot_places(LAST) + 6) * cap_of(LAST);

        for (uint32_t i = 0; i < n; i++)
                alloc(size_class_bytes(LAST));
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_le(heap_verify(r, NULL).n_depot, size_class_depot_places(LAST));
        tcache_flush(t);
        ck_assert_uint_le(heap_verify(r, NULL).n_depot, size_class_depot_places(LAST));
}
END_TEST

/* The same while somebody stopped in one of those slabs: its blocks wait in magazines, and are found there later. */
START_TEST(crowded_depot_and_held_slabs_lose_nothing)
{
        struct thread *stopped = heap_attach(&fx, thread()->arena);
        uint32_t n = (size_class_depot_places(LAST) + 6) * cap_of(LAST);
        uint64_t *first;

        for (uint32_t i = 0; i < n; i++)
                alloc(size_class_bytes(LAST));
        first = run_word(r, live.off[0] >> GEO_GRANULE_SHIFT);
        *first = granule_with_owner(*first, stopped->no);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        *first = granule_with_owner(*first, 0);
        heap_verify(r, NULL);
        tcache_flush(t);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(thread());
        drain_depots(thread(), thread()->arena, UINT32_MAX);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

/* As all the ticks of a round do; it begins only when decay_ms has passed since the last one. */
static void
trim_round(bool is_due)
{
        if (is_due)
                t->trim_stamp = t->thread.stamp - DECAY_AGE;
        do
                tcache_trim(t);
        while (t->trim_tag != 0);
}

/* The thread is one of this node, wherever it happens to run. */
static void
be_of_node(uint32_t node)
{
        ck_assert_int_eq(arena_bind(thread(), node), 0);
        ck_assert_uint_eq(thread()->node, node);
}

START_TEST(blocks_of_another_node_do_not_linger)
{
        uint32_t tag = tag_make(1 - (uint32_t)_i, 0), idx;

        be_of_node((uint32_t)_i);
        r->header->decay_ms = 1000;
        ck_assert_int_eq(magazine_take_empty(thread(), tag, &idx), 0);
        magazine_place(thread(), magazine_current(thread(), tag), idx);
        tcache_publish(t, tag);
        trim_round(true);
        ck_assert_int_eq(t->free_at[tag], 0);
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 0);
}
END_TEST

/* Blocks of another node are collected apart, and go to that node's depot. */
START_TEST(blocks_of_another_node_go_home)
{
        struct thread *far = heap_attach(&fx, 1 - (uint32_t)_i);
        struct call rq = {.size = 64, .align = 1, .arena = far->arena};
        uint32_t class_idx, n = 4 * cap_of(size_class_of(64)), idx;
        uint64_t block_off;

        be_of_node((uint32_t)_i);
        ck_assert(ask_classify(&rq));
        class_idx = rq.class_idx;
        for (uint32_t i = 0; i < n; i++) {
                ck_assert_int_eq(ask_block(far, &rq, &block_off), 0);
                live_add(&live, block_off);
        }
        for (bool hit; live.n < 2 * n;)
                take(64, &hit); /* our own, in between */
        while (live.n > n)
                give(live.off[live.n - 1]);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_gt(thread()->slot->n_remote_free, 0);
        ck_assert(magazine_take_depot(far, far->arena, tag_make(far->node, class_idx), &idx));
        magazine_place(far, magazine_current(far, tag_make(far->node, class_idx)), idx);
        heap_verify(r, NULL);
        for (bool hit; live.n < 3 * n;) /* and we never get them */
                ck_assert_uint_eq(
                        region_arena_node(r, chunk_arena(r->chunk_words[off_of(take(64, &hit)) >> GEO_CHUNK_SHIFT])),
                        thread()->node);
        heap_verify(r, &live);
}
END_TEST

static uint64_t
cached_large_bytes(void)
{
        struct tally tally = heap_verify(r, NULL);
        uint64_t bytes = 0;

        for (uint32_t c = SIZE_CLASS_N_SMALL; c < SIZE_CLASS_N; c++)
                bytes += tally.cached_blocks[c] * size_class_bytes(c);
        return bytes;
}

/* All large classes in turn.  The most that was cached of them meanwhile. */
static uint64_t
cache_large(void)
{
        uint64_t most = 0;

        for (int round = 0; round < 3; round++)
                for (uint32_t class_idx = SIZE_CLASS_N_SMALL; class_idx < SIZE_CLASS_N; class_idx++) {
                        uint64_t bytes;

                        for (int i = 0; i < 4; i++)
                                alloc(size_class_bytes(class_idx));
                        while (live.n > 0)
                                give(live.off[live.n - 1]);
                        bytes = cached_large_bytes();
                        most = bytes > most ? bytes : most;
                }
        return most;
}

/* What a thread keeps of large runs is bounded, whatever it frees: its share of a 32nd of the heap, or 1 MiB. */
START_TEST(cached_runs_are_bounded)
{
        const uint64_t least = UINT64_C(1) << 20, alone = 4 * least;

        tcache_forget(&fx.heap);
        heap_drop(&fx);
        heap_make(&fx, (struct heap_params){.n_chunks = 32, .max_threads = 4});
        t = attach();
        r->header->decay_ms = -1; /* nothing else is to be trimmed */
        ck_assert_uint_eq(r->layout.n_chunks * GEO_CHUNK_BYTES, 32 * alone);
        ck_assert_uint_le(cache_large(), alone);
        ck_assert_uint_gt(cached_large_bytes(), alone / 2);
        for (int i = 0; i < 3; i++)
                heap_attach(&fx, 0);
        ck_assert_uint_gt(t->run_bytes_max, least);
        t->n_slow = TCACHE_TICK_EVERY;
        tcache_trim_large(t);
        ck_assert_uint_gt(t->run_bytes_max, least); /* it looks now and then only */
        t->n_slow = 0;
        tcache_trim_large(t);
        ck_assert_uint_le(cached_large_bytes(), least);
        ck_assert_uint_le(t->run_bytes_max, least);
        ck_assert_uint_le(cache_large(), least);
        ck_assert_uint_gt(cached_large_bytes(), 0);
        tcache_flush(t);
        ck_assert_uint_eq(t->run_bytes_max, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
}
END_TEST

/* A magazine of a large class that is full gives one up for another, but not for one that is in it already. */
START_TEST(second_free_of_a_large_block_into_a_full_magazine_is_noticed)
{
        uint32_t class_idx = SIZE_CLASS_N_SMALL;
        uint64_t a;

        while (size_class_magazine_cap(class_idx) > 1)
                class_idx++;
        a = off_of(alloc(size_class_bytes(class_idx)));
        give(a);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        tcache_free_slow(t, a);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(t->thread.fault.block_off, a);
        t->thread.fault.what = FAULT_NONE;
        while (live.n > 0)
                give(live.off[0]);
        heap_verify(r, NULL);
}
END_TEST

static uint32_t
n_in_magazines(uint32_t class_idx)
{
        return (uint32_t)heap_verify(r, &live).cached_blocks[class_idx];
}

/* A thread that frees many blocks of one large class keeps more of them than others, while half of its share is free;
 * a class that has no magazine yet gets what that has grown by. */
START_TEST(magazine_of_large_blocks_grows_and_shrinks)
{
        const uint32_t class_idx = SIZE_CLASS_N_SMALL, other = class_idx + 1, cap = size_class_magazine_cap(class_idx);
        uint64_t bytes = size_class_bytes(class_idx), n = 3 * cap, most;
        uint32_t tag = tag_make(t->thread.node, class_idx), other_tag = tag_make(t->thread.node, other), idx;

        r->header->decay_ms = -1;
        for (uint32_t i = 0; i < n; i++)
                alloc(bytes);
        while (live.n > 0)
                give(live.off[0]);
        most = t->run_bytes_share / 2 / bytes;
        idx = magazine_in(&t->thread, magazine_current(&t->thread, tag));
        ck_assert_uint_gt(most, cap);
        ck_assert_uint_eq(r->magazines[idx].n, n < most ? n : most);
        ck_assert_uint_eq(n_in_magazines(class_idx), r->magazines[idx].n);
        ck_assert_uint_eq(t->run_bytes_max, r->magazines[idx].cap * bytes);
        ck_assert_uint_le(t->run_bytes_max, t->run_bytes_share / 2);
        t->run_bytes_share = t->run_bytes_max; /* as if others took the rest */
        for (uint32_t i = 0; i < r->layout.n_tags && t->free_at[other_tag] == 0; i++) {
                alloc(size_class_bytes(other));
                give(live.off[0]);
        }
        ck_assert_int_ne(t->free_at[other_tag], 0);
        ck_assert_uint_eq(r->magazines[idx].cap, cap);
        ck_assert_uint_eq(n_in_magazines(class_idx), cap);
        ck_assert_uint_le(t->run_bytes_max, t->run_bytes_share);
        tcache_flush(t);
        ck_assert_uint_eq(t->run_bytes_max, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
}
END_TEST

/* What has grown is passed on by a reaper as it is, and drained by others. */
START_TEST(grown_magazine_of_the_dead_is_passed_on)
{
        const uint32_t class_idx = SIZE_CLASS_N_SMALL;
        struct thread *other = heap_attach(&fx, thread()->arena);
        uint32_t n = 2 * size_class_magazine_cap(class_idx);

        for (uint32_t i = 0; i < n; i++)
                alloc(size_class_bytes(class_idx));
        while (live.n > 0)
                give(live.off[0]);
        ck_assert_uint_eq(n_in_magazines(class_idx), n);
        reap_settle(r, thread()->no, NULL);
        ck_assert_uint_eq(heap_verify(r, NULL).n_tcache, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_cached_in_depots, n);
        ck_assert_uint_eq(drain_depots(other, thread()->arena, UINT32_MAX), 1);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
        tcache_flush(t);
}
END_TEST

START_TEST(classes_that_are_not_used_give_up_their_magazines)
{
        const uint32_t idle = 0, busy = 2, large = SIZE_CLASS_N_SMALL;

        r->header->decay_ms = 1000;
        fills_are_whole(&t->thread);
        for (uint32_t i = 0; i < 2 * cap_of(idle); i++)
                alloc(size_class_bytes(idle));
        while (live.n > 0)
                give(live.off[live.n - 1]);
        alloc(size_class_bytes(large));
        give(live.off[0]);
        alloc(size_class_bytes(busy));
        trim_round(true); /* a first look */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        ck_assert_uint_eq(n_in_magazines(idle), 2 * cap_of(idle));
        trim_round(false); /* too soon */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        alloc(size_class_bytes(busy));
        r->header->decay_ms = -1;
        trim_round(true); /* memory is to be kept */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        r->header->decay_ms = 1000;
        trim_round(true);
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 1);
        ck_assert_int_eq(t->free_at[tag_make(0, idle)], 0);
        ck_assert_int_eq(t->malloc_at[idle + 1], 0);
        ck_assert_int_eq(t->free_at[tag_make(0, large)], 0);
        ck_assert_int_ne(t->free_at[tag_make(0, busy)], 0);
        ck_assert_uint_eq(t->run_bytes_max, 0);
        alloc(size_class_bytes(idle)); /* and it goes on */
        while (live.n > 0)
                give(live.off[live.n - 1]);
        heap_verify(r, &live);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("tcache_home");
        TCase *tcase = suite_case(suite, "home", setup, teardown);

        tcase_add_test(tcase, flush_gives_everything_back);
        tcase_add_test(tcase, full_magazines_serve_other_threads);
        tcase_add_test(tcase, crowded_depot_sends_blocks_to_their_slabs);
        tcase_add_test(tcase, crowded_depot_and_held_slabs_lose_nothing);
        if (GEO_LARGE_MAX > 4096) /* the tiny heap is less than what any thread may cache */
                tcase_add_test(tcase, cached_runs_are_bounded);
        tcase_add_test(tcase, second_free_of_a_large_block_into_a_full_magazine_is_noticed);
        tcase_add_test(tcase, magazine_of_large_blocks_grows_and_shrinks);
        tcase_add_test(tcase, grown_magazine_of_the_dead_is_passed_on);
        tcase_add_test(tcase, classes_that_are_not_used_give_up_their_magazines);

        tcase = suite_case(suite, "home, two nodes", setup_two_nodes, teardown);
        tcase_add_loop_test(tcase, blocks_of_another_node_go_home, 0, 2);
        tcase_add_loop_test(tcase, blocks_of_another_node_do_not_linger, 0, 2);

        return suite_run(suite);
}
