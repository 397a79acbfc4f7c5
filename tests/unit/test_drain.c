/*
 * What is at stake: blocks that stay in magazines although memory is short, because one slab among many is held by a
 * thread that was stopped; and a drain that waits for that thread.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "heap/reap.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

/* Classes with several blocks per magazine, and the capacity of their magazines. */
static uint32_t small, tag, cap;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        for (int i = 0; i < 8; i++)
                ck_assert_int_eq(chunk_give(t, 0), 0);
        small = 0;
        tag = tag_make(0, small);
        cap = size_class_magazine_cap(small);
}

static void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static struct magazine *
magazine(uint32_t idx)
{
        return region_magazine(r, idx);
}

static uint64_t
alloc_one(uint32_t class_idx)
{
        uint64_t head, block_off;

        if (!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head))
                ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        ck_assert(slab_alloc_one(t, head, 0, &block_off));
        return block_off;
}

/* Blocks of `n_slabs` slabs in turn, allocated; one more of each slab stays live. */
static void
blocks_of_slabs(uint32_t n_slabs, uint64_t *ret_blocks, uint32_t n)
{
        uint32_t n_blocks = size_class_slab_blocks(small);
        uint64_t *all = calloc((size_t)n_slabs * n_blocks, sizeof *all);

        for (uint32_t i = 0; i < n_slabs * n_blocks; i++)
                all[i] = alloc_one(small);
        for (uint32_t i = 0; i < n; i++) {
                uint64_t *block = &all[i % n_slabs * n_blocks + i / n_slabs];

                ret_blocks[i] = *block;
                *block = UINT64_MAX;
        }
        for (uint32_t i = 0; i < n_slabs * n_blocks; i++)
                if (all[i] != UINT64_MAX)
                        live_add(&live, all[i]);
        free(all);
}

static uint32_t
magazine_with(struct thread *who, const uint64_t *blocks, uint32_t n)
{
        uint32_t idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, magazine_current(who, tag), idx);
        for (uint32_t i = 0; i < n; i++)
                magazine(idx)->slot[i] = region_entry(r, blocks[i]);
        magazine(idx)->n = n;
        return idx;
}

static void
put_down(struct thread *who, uint32_t idx)
{
        magazine_pick_up(who, magazine_current(who, tag), idx);
        ck_assert(magazine_put(who, idx, 0, true));
}

/* Somebody is at work in the slab of the block, and stays there. */
static uint64_t
hold(uint64_t block_off)
{
        uint64_t head;
        uint32_t block_idx;

        ck_assert(slab_block_of(r, block_off, &head, &block_idx));
        *run_word(r, head) = granule_with_owner(*run_word(r, head), u->no);
        return head;
}

static void
let_go(uint64_t head)
{
        *run_word(r, head) = granule_with_owner(*run_word(r, head), 0);
}

/* ------------------------------------------------------------------ one magazine */

START_TEST(magazine_of_many_slabs_is_emptied)
{
        uint64_t blocks[MAGAZINE_CAP_MAX];
        uint32_t idx;

        blocks_of_slabs(3, blocks, cap);
        idx = magazine_with(t, blocks, cap);
        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[small], cap);
        ck_assert(drain_magazine(t, idx, 0));
        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[small], 0);
}
END_TEST

/* For each number of blocks and each of two slabs held: all blocks of the other one go home, none of the held one. */
START_TEST(blocks_of_a_held_slab_stay_and_the_others_go)
{
        uint64_t blocks[MAGAZINE_CAP_MAX];

        blocks_of_slabs(2, blocks, cap);
        for (uint32_t n = 0; n <= cap; n++)
                for (uint32_t which = 0; which < 2; which++) {
                        uint32_t idx = magazine_with(t, blocks, n), n_held = (n + 1 - which) / 2;
                        uint64_t held = hold(blocks[which]);

                        ck_assert_int_eq(drain_magazine(t, idx, 0), n_held == 0);
                        ck_assert_uint_eq(magazine(idx)->n, n_held);
                        ck_assert_uint_eq(t->slot->intent.kind, INTENT_NONE);
                        ck_assert_uint_eq(t->slot->candidate, 0);
                        for (uint32_t i = 0; i < n_held; i++) {
                                uint64_t head;
                                uint32_t block_idx;

                                ck_assert(slab_block_of(r, region_entry_off(r, magazine(idx)->slot[i]), &head,
                                                        &block_idx));
                                ck_assert_uint_eq(head, held);
                        }
                        let_go(held);
                        ck_assert(drain_magazine(t, idx, 0));
                        put_down(t, idx);
                        for (uint32_t i = 0; i < n; i++) { /* again, for the next turn */
                                uint64_t got = alloc_one(small);

                                live_add(&live, got);
                        }
                        heap_verify_words(r);
                        for (uint32_t i = 0; i < n; i++)
                                live_drop(&live, blocks[i]);
                }
}
END_TEST

START_TEST(drain_keeps_what_it_is_told_to_or_less)
{
        uint64_t blocks[MAGAZINE_CAP_MAX];
        uint32_t idx;

        blocks_of_slabs(2, blocks, cap); /* they alternate, so they leave one by one */
        idx = magazine_with(t, blocks, cap);
        ck_assert(drain_magazine(t, idx, cap));
        ck_assert_uint_eq(magazine(idx)->n, cap);
        ck_assert(drain_magazine(t, idx, cap / 2));
        ck_assert_uint_eq(magazine(idx)->n, cap / 2);
        heap_verify(r, &live);
}
END_TEST

START_TEST(bad_entries_are_dropped_on_the_way)
{
        uint64_t blocks[MAGAZINE_CAP_MAX];
        uint32_t idx;

        blocks_of_slabs(2, blocks, 3);
        blocks[3] = live.off[0] + 8; /* no block */
        idx = magazine_with(t, blocks, 4);
        ck_assert(drain_magazine(t, idx, 0));
        ck_assert_uint_eq(t->fault.what, FAULT_INVALID_FREE);
        heap_verify(r, &live);
}
END_TEST

/* SWAP.1 to .4: both entries are in the magazine once, at every step. */
START_TEST(swap_cut_short_is_finished)
{
        for (int step = 1; step <= 3; step++) {
                uint64_t blocks[MAGAZINE_CAP_MAX];
                struct thread *dead = heap_attach(&fx, 0);
                uint32_t idx;

                blocks_of_slabs(2, blocks, 4);
                idx = magazine_with(dead, blocks, 4);
                intent_left(dead, INTENT(SWAP, swap, .magazine = idx, .i = 1, .j = 3, .a = magazine(idx)->slot[1],
                                         .b = magazine(idx)->slot[3]));
                if (step >= 2)
                        magazine(idx)->slot[1] = region_entry(r, blocks[3]);
                if (step >= 3)
                        magazine(idx)->slot[3] = region_entry(r, blocks[1]);
                heap_bury(&fx, dead);
                ck_assert_uint_eq(magazine(idx)->slot[1], region_entry(r, blocks[3]));
                ck_assert_uint_eq(magazine(idx)->slot[3], region_entry(r, blocks[1]));
                ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[small], 4);
                drain_depots(t, 0, UINT32_MAX);
                heap_verify(r, &live);
        }
}
END_TEST

/* ------------------------------------------------------------------ depots */

START_TEST(depots_of_all_classes_are_drained)
{
        uint32_t n = 0;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_SMALL; class_idx++) {
                uint32_t idx;

                tag = tag_make(0, class_idx);
                small = class_idx;
                idx = magazine_with(t, (uint64_t[]){alloc_one(class_idx)}, 1);
                put_down(t, idx);
                n++;
        }
        ck_assert_uint_eq(heap_verify(r, &live).n_depot, n);
        ck_assert_uint_eq(drain_depots(u, 0, 2), 2);
        ck_assert_uint_eq(heap_verify(r, &live).n_depot, n - 2);
        ck_assert_uint_eq(drain_depots(u, 0, UINT32_MAX), n - 2);
        ck_assert_uint_eq(heap_verify(r, &live).n_slabs, 0);
        ck_assert_uint_eq(drain_depots(u, 0, UINT32_MAX), 0);
}
END_TEST

/* Whoever stopped in the middle of a fill does not stop those who are short of memory: what lies below a magazine with
 * blocks of its slab goes home, and that comes back by the clock hand. */
START_TEST(depot_with_blocks_of_a_held_slab_is_not_waited_for)
{
        uint64_t blocks[MAGAZINE_CAP_MAX], held;
        uint32_t idx;

        blocks_of_slabs(3, blocks, 6);
        for (int i = 0; i < 2; i++)
                put_down(t, magazine_with(t, &blocks[2 * i], 2));
        idx = magazine_with(t, &blocks[4], 2);
        put_down(t, idx);
        held = hold(blocks[5]);
        ck_assert_uint_eq(drain_depots(t, 0, UINT32_MAX), 3);
        let_go(held);
        ck_assert_uint_le(heap_verify(r, &live).cached_blocks[small], 2);
        ck_assert_uint_ge(heap_verify(r, &live).cached_blocks[small], 1);
        ck_assert_uint_eq(magazine_state(r->magazine_words[idx]), MAGAZINE_DEPOT);
        ck_assert_uint_eq(drain_depots(t, 0, UINT32_MAX), 0);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(t);
        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[small], 0);
}
END_TEST

START_TEST(arena_that_is_not_ready_has_nothing_to_drain)
{
        damage_is_done(true);
        t->arena = UINT32_MAX;
        drain_clock_hand(t);
        ck_assert_uint_eq(drain_depots(t, 0, UINT32_MAX), 0);
}
END_TEST

/* ------------------------------------------------------------------ large blocks */

START_TEST(magazine_of_runs_is_emptied)
{
        uint32_t class_idx = SIZE_CLASS_N_SMALL, n = 0, idx;
        uint64_t blocks[MAGAZINE_CAP_MAX];

        tag = tag_make(0, class_idx);
        for (; n < size_class_magazine_cap(class_idx); n++)
                ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, class_idx, 1), 0, &blocks[n]), 0);
        idx = magazine_with(t, blocks, n);
        ck_assert_uint_eq(heap_verify(r, NULL).cached_blocks[class_idx], n);
        ck_assert(drain_magazine(t, idx, n - 1));
        ck_assert_uint_eq(heap_verify(r, NULL).cached_blocks[class_idx], n - 1);
        ck_assert(drain_magazine(t, idx, 0));
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
        ck_assert_uint_eq(t->fault.what, FAULT_NONE);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("drain");
        TCase *tcase = tcase_create("drain");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, magazine_of_many_slabs_is_emptied);
        tcase_add_test(tcase, blocks_of_a_held_slab_stay_and_the_others_go);
        tcase_add_test(tcase, drain_keeps_what_it_is_told_to_or_less);
        tcase_add_test(tcase, bad_entries_are_dropped_on_the_way);
        tcase_add_test(tcase, swap_cut_short_is_finished);
        tcase_add_test(tcase, depots_of_all_classes_are_drained);
        tcase_add_test(tcase, depot_with_blocks_of_a_held_slab_is_not_waited_for);
        tcase_add_test(tcase, arena_that_is_not_ready_has_nothing_to_drain);
        tcase_add_test(tcase, magazine_of_runs_is_emptied);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
