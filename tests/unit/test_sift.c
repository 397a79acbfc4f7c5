/*
 * What is at stake: processes that never did anything wrong.  Who frees a block twice, or a pointer into the middle of
 * one, has that in its own magazines at first; it must not get from there into others' hands, wherever in the magazines
 * it is, and nothing else may be lost with it.  And who meets what others did is not to blame.
 */
#include <stdlib.h>

#include "base/size_class.h"
#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/sift.h"
#include "blocks/slab.h"
#include "clients/owner.h"
#include "pages/chunk.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/random.h"
#include "support/suite.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        for (int i = 0; i < 8; i++)
                ck_assert_int_eq(chunk_give(t, 0), 0);
}

static void
teardown(void)
{
        live_fini(&live);
        heap_drop(&fx);
}

static uint32_t
tag_of_class(uint32_t class_idx)
{
        return tag_make(0, class_idx);
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

/* A magazine of so many allocated blocks in one of the thread's two places. */
static uint32_t
magazine_of(struct thread *who, uint32_t class_idx, bool is_spare, uint32_t n)
{
        uint32_t tag = tag_of_class(class_idx), idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, is_spare ? magazine_spare(who, tag) : magazine_current(who, tag), idx);
        for (uint32_t i = 0; i < n; i++)
                r->magazines[idx].slot[i] = region_entry(r, alloc_one(class_idx));
        r->magazines[idx].n = n;
        return idx;
}

static void
push(uint32_t idx, uint64_t entry)
{
        ck_assert_uint_lt(r->magazines[idx].n, MAGAZINE_CAP_MAX);
        r->magazines[idx].slot[r->magazines[idx].n++] = entry;
}

/* How often the entry is in the magazine. */
static unsigned
n_times(uint32_t idx, uint64_t entry)
{
        unsigned n = 0;

        for (uint64_t i = 0; i < r->magazines[idx].n; i++)
                n += r->magazines[idx].slot[i] == entry;
        return n;
}

static void
expect(struct thread *who, uint32_t what, uint64_t entry)
{
        ck_assert_uint_eq(who->fault.what, what);
        if (what != FAULT_NONE)
                ck_assert_uint_eq(who->fault.block_off, region_entry_off(r, entry));
        who->fault.what = FAULT_NONE;
}

/* ------------------------------------------------------------------ one magazine */

START_TEST(good_magazine_is_left_as_it_is)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_SMALL; class_idx++) {
                uint32_t cap = size_class_magazine_cap(class_idx), idx = magazine_of(t, class_idx, false, cap);
                uint64_t before[MAGAZINE_CAP_MAX];

                for (uint32_t i = 0; i < cap; i++)
                        before[i] = r->magazines[idx].slot[i];
                sift_own(t, idx);
                expect(t, FAULT_NONE, 0);
                ck_assert_uint_eq(r->magazines[idx].n, cap);
                for (uint32_t i = 0; i < cap; i++)
                        ck_assert_uint_eq(r->magazines[idx].slot[i], before[i]);
        }
        ck_assert_uint_eq(t->slot->n_dropped, 0);
        heap_verify(r, NULL);
}
END_TEST

/* Of each class, each entry once more, at each place: one of the two goes, and nothing else. */
START_TEST(double_is_dropped_wherever_it_stands)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_SMALL; class_idx += 5) {
                uint32_t cap = size_class_magazine_cap(class_idx), idx = magazine_of(t, class_idx, false, cap - 1);
                uint64_t all[MAGAZINE_CAP_MAX];

                for (uint32_t i = 0; i < cap - 1; i++)
                        all[i] = r->magazines[idx].slot[i];
                for (uint32_t which = 0; which < cap - 1; which++)
                        for (uint32_t where = 0; where < cap; where++) {
                                push(idx, r->magazines[idx].slot[where % (cap - 1)]); /* makes room there */
                                r->magazines[idx].slot[where] = all[which];
                                sift_own(t, idx);
                                for (uint32_t i = 0; i < cap - 1; i++)
                                        ck_assert_uint_eq(n_times(idx, all[i]), 1);
                                ck_assert_uint_eq(r->magazines[idx].n, cap - 1);
                                expect(t, FAULT_DOUBLE_FREE,
                                       where == cap - 1 || which != where ? all[which] : all[where]);
                                for (uint32_t i = 0; i < cap - 1; i++)
                                        r->magazines[idx].slot[i] = all[i];
                        }
        }
}
END_TEST

/* In the middle of a block, at its last byte, in the tail behind the last one. */
START_TEST(what_is_no_start_of_a_block_is_dropped)
{
        for (uint32_t class_idx = 1; class_idx < SIZE_CLASS_N_SMALL; class_idx++) {
                uint32_t cap = size_class_magazine_cap(class_idx), idx = magazine_of(t, class_idx, false, cap - 1),
                         block;
                uint64_t bytes = size_class_bytes(class_idx), first = r->magazines[idx].slot[0], head;
                uint64_t bad[] = {first + 16, first + 1, first + bytes - 1, 0};
                uint64_t slab_bytes = size_class_slab_granules(class_idx) * GEO_GRANULE_BYTES;

                ck_assert(slab_block_of(r, region_entry_off(r, first), &head, &block));
                bad[3] = region_entry(r, head << GEO_GRANULE_SHIFT) + size_class_slab_blocks(class_idx) * bytes;
                for (unsigned i = 0; i < 4; i++) {
                        if (i == 3 && size_class_slab_blocks(class_idx) * bytes == slab_bytes)
                                continue; /* it has no tail */
                        push(idx, bad[i]);
                        sift_own(t, idx);
                        expect(t, FAULT_INVALID_FREE, bad[i]);
                        ck_assert_uint_eq(r->magazines[idx].n, cap - 1);
                        ck_assert_uint_eq(n_times(idx, bad[i]), 0);
                }
        }
        heap_verify(r, NULL);
}
END_TEST

/* Blocks of as many slabs as there are, in any order, so that hashes meet: nothing but the doubles goes. */
START_TEST(any_mixture_keeps_each_block_once)
{
        enum { CLASS = 3, N_BLOCKS = 1500 };
        static uint64_t entries[N_BLOCKS];
        uint64_t state = 4711;
        uint32_t cap = size_class_magazine_cap(CLASS), idx = magazine_of(t, CLASS, false, 0), n_blocks = 0;

        while (n_blocks < N_BLOCKS && (n_blocks < 200 || cap == MAGAZINE_CAP_MAX))
                entries[n_blocks++] = region_entry(r, alloc_one(CLASS));
        for (unsigned round = 0; round < 2000; round++) {
                uint64_t was[MAGAZINE_CAP_MAX];
                uint32_t n = 1 + (uint32_t)(random_next(&state) % cap),
                         span = 1 + (uint32_t)(random_next(&state) % n_blocks), n_distinct = 0;

                r->magazines[idx].n = 0;
                for (uint32_t i = 0; i < n; i++) {
                        was[i] = entries[random_next(&state) % span];
                        n_distinct += n_times(idx, was[i]) == 0;
                        push(idx, was[i]);
                }
                sift_own(t, idx);
                ck_assert_uint_eq(r->magazines[idx].n, n_distinct);
                for (uint32_t i = 0; i < n; i++)
                        ck_assert_uint_eq(n_times(idx, was[i]), 1);
                ck_assert_uint_eq(t->fault.what, n_distinct == n ? FAULT_NONE : FAULT_DOUBLE_FREE);
                t->fault.what = FAULT_NONE;
        }
}
END_TEST

START_TEST(large_blocks_are_looked_at_too)
{
        uint32_t class_idx = SIZE_CLASS_N_SMALL, idx;
        uint64_t block[2];

        if (size_class_magazine_cap(class_idx) < 4)
                return; /* the tiny geometry: one run is all that a magazine holds */
        idx = magazine_of(t, class_idx, false, 0);
        for (int i = 0; i < 2; i++) {
                ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, class_idx, 1), 0, &block[i]), 0);
                push(idx, region_entry(r, block[i]));
        }
        push(idx, region_entry(r, block[0]));
        sift_own(t, idx);
        expect(t, FAULT_DOUBLE_FREE, region_entry(r, block[0]));
        push(idx, region_entry(r, block[1] + 16));
        sift_own(t, idx);
        expect(t, FAULT_INVALID_FREE, region_entry(r, block[1] + 16));
        ck_assert_uint_eq(r->magazines[idx].n, 2);
        heap_verify(r, NULL);
        ck_assert(drain_magazine(t, idx, 0));
        expect(t, FAULT_NONE, 0);
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ before they leave the thread's hands */

static void
reverse(uint32_t idx)
{
        struct magazine *m = &r->magazines[idx];

        for (uint64_t i = 0; i < m->n / 2; i++) {
                uint64_t entry = m->slot[i];

                m->slot[i] = m->slot[m->n - 1 - i];
                m->slot[m->n - 1 - i] = entry;
        }
}

/* Where both magazines of the thread have the block, one keeps it: the first, one in the middle, or the last of them,
 * which lie upwards or downwards in memory; and by each way out of the thread's hands. */
START_TEST(block_in_both_of_a_threads_magazines_leaves_in_one)
{
        for (uint32_t way = 0; way < 18 && way < SIZE_CLASS_N_SMALL; way++) { /* each with a class of its own */
                uint32_t tag = tag_of_class(way), cap = size_class_magazine_cap(way);
                uint32_t at = way / 6 == 0 ? 0 : way / 6 == 1 ? cap / 2 : cap - 1;
                uint32_t current = magazine_of(t, way, false, cap - 1), spare = magazine_of(t, way, true, cap);
                uint64_t twice = r->magazines[spare].slot[at];

                for (uint32_t i = 1; i < cap; i++)
                        ck_assert_uint_lt(r->magazines[spare].slot[i - 1], r->magazines[spare].slot[i]);
                if (way / 3 % 2)
                        reverse(spare);
                push(current, twice);
                if (way % 3 == 0) {
                        magazine_pick_up(t, magazine_spare(t, tag), spare);
                        ck_assert(magazine_put(t, spare, 0, true));
                } else if (way % 3 == 1) {
                        magazine_pick_up(t, magazine_current(t, tag), current);
                        ck_assert(magazine_put(t, current, 0, true));
                } else {
                        ck_assert(drain_magazine(t, spare, 0));
                }
                expect(t, FAULT_DOUBLE_FREE, twice);
                ck_assert_uint_eq(n_times(current, twice) + n_times(spare, twice), 1);
                heap_verify_words(r);
        }
}
END_TEST

START_TEST(nothing_bad_gets_into_a_depot)
{
        uint32_t class_idx = 3, tag = tag_of_class(class_idx), idx = magazine_of(t, class_idx, false, 2), got;
        uint64_t a = r->magazines[idx].slot[0];

        push(idx, a);
        push(idx, a + 16);
        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        ck_assert_uint_ne(t->fault.what, FAULT_NONE);
        ck_assert_uint_eq(t->slot->n_dropped, 2);
        ck_assert(magazine_take_depot(u, 0, tag, &got));
        ck_assert_uint_eq(got, idx);
        ck_assert_uint_eq(r->magazines[idx].n, 2);
        magazine_place(u, magazine_current(u, tag), idx);
        heap_verify_words(r);

        /* Nothing good in it: it goes to the pool. */
        idx = magazine_of(t, class_idx, false, 0);
        push(idx, a + 16);
        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        ck_assert_uint_eq(r->magazine_words[idx], 0);
}
END_TEST

/* ------------------------------------------------------------------ who is to blame */

static bool
is_foreign(uint32_t idx)
{
        return magazine_is_foreign(r->magazine_words[idx]);
}

START_TEST(magazine_is_foreign_from_the_depot_until_it_is_empty)
{
        uint32_t tag = tag_of_class(3), idx = magazine_of(t, 3, false, 2), got;
        uint64_t head;

        ck_assert(!is_foreign(idx));
        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        ck_assert(!is_foreign(idx));
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == idx && is_foreign(idx));
        magazine_is_empty_now(u, idx);
        ck_assert(is_foreign(idx)); /* it is not */
        ck_assert(drain_magazine(u, idx, 0) && !is_foreign(idx));

        r->magazine_words[idx] |= MAGAZINE_FOREIGN;
        if (!slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 3), &head))
                ck_assert_int_eq(slab_create_owned(u, WHERE_SLAB(0, CHUNK_ANY, 3), &head), 0);
        ck_assert_uint_gt(slab_fill(u, head, idx, 2), 0);
        ck_assert(!is_foreign(idx));
        ck_assert(magazine_put(u, idx, 0, true));
        heap_verify(r, NULL);
}
END_TEST

/* Freed by others again after it had gone home; no block; in the middle of one: whatever drains it is not to blame. */
START_TEST(bad_entries_in_a_foreign_magazine_are_dropped_and_not_its_drainers_fault)
{
        uint32_t tag = tag_of_class(3), idx = magazine_of(t, 3, false, 1), got;
        uint64_t home = alloc_one(3), good = r->magazines[idx].slot[0];

        ck_assert_int_eq(slab_free_one(t, home, 0), 0);
        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        push(idx, region_entry(r, home));
        push(idx, good + 16);
        push(idx, good);
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == idx);
        ck_assert(drain_magazine(u, idx, 0));
        ck_assert_uint_eq(u->slot->n_dropped, 3);
        ck_assert_uint_eq(u->fault.what, FAULT_OF_OTHERS);
        fault_note(u, FAULT_DOUBLE_FREE, good); /* its own is what it is told of then */
        ck_assert_uint_eq(u->fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(r->magazines[idx].n, 0);
        ck_assert(magazine_put(u, idx, 0, true));
        heap_verify_words(r);
}
END_TEST

/* The double is of the other one's block: nobody can tell who freed it twice. */
START_TEST(double_that_a_foreign_magazine_takes_part_in_is_nobodys_fault)
{
        uint32_t tag = tag_of_class(3), idx = magazine_of(t, 3, false, 2), mine = magazine_of(u, 3, false, 1), got;
        uint64_t both = r->magazines[idx].slot[0];

        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == idx);
        magazine_place(u, magazine_spare(u, tag), idx);
        push(mine, both);
        ck_assert(drain_magazine(u, mine, 0));
        expect(u, FAULT_OF_OTHERS, both);
        ck_assert_uint_eq(n_times(idx, both), 1);
        heap_verify_words(r);
}
END_TEST

/* Its thread may have put blocks there since, as hits do, and a partial drain gives some of them back to their
 * slabs. */
START_TEST(double_put_into_a_foreign_magazine_is_found_before_half_of_it_is_drained)
{
        uint32_t tag = tag_of_class(3), cap = size_class_magazine_cap(3), idx = magazine_of(t, 3, false, 1), got;
        uint64_t twice = r->magazines[idx].slot[0], slab, other;
        uint32_t block;

        ck_assert(slab_block_of(r, region_entry_off(r, twice), &slab, &block));
        do
                ck_assert(slab_block_of(r, alloc_one(3), &other, &block));
        while (other == slab);
        while (r->magazines[idx].n < cap)
                push(idx, region_entry(r, alloc_one(3)));
        magazine_pick_up(t, magazine_current(t, tag), idx);
        ck_assert(magazine_put(t, idx, 0, false));
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == idx && is_foreign(idx));
        magazine_place(u, magazine_current(u, tag), idx);

        r->magazines[idx].n--;
        push(idx, twice);
        ck_assert(drain_magazine(u, idx, cap / 2));
        ck_assert_uint_eq(u->slot->n_dropped, 1);
        expect(u, FAULT_OF_OTHERS, twice); /* of the magazine's entries nobody can tell whose they are */
        ck_assert_uint_le(n_times(idx, twice), 1);
        heap_verify_words(r);
}
END_TEST

/* ------------------------------------------------------------------ the dead */

/* In the hand, in both places, and between them. */
START_TEST(reaper_passes_nothing_bad_on)
{
        enum { CLASS = 3 };
        uint32_t tag = tag_of_class(CLASS), cap = size_class_magazine_cap(CLASS);

        for (int way = 0; way < 6; way++) {
                struct thread *mortal = heap_attach(&fx, 0);
                struct thread_slot *slot = mortal->slot;
                uint64_t n_dropped = slot->n_dropped;
                uint32_t current = magazine_of(mortal, CLASS, false, cap - 2);
                uint32_t spare = magazine_of(mortal, CLASS, true, cap - 2), hand = spare;
                uint64_t a = r->magazines[current].slot[0], b = r->magazines[spare].slot[0];

                if (way >= 3)
                        magazine_pick_up(mortal, magazine_spare(mortal, tag), hand);
                push(current, way % 3 == 0 ? a : way % 3 == 1 ? b : a + 16);
                push(spare, way % 3 == 0 ? b : way % 3 == 1 ? a : b + 16);
                heap_bury(&fx, mortal);
                ck_assert_uint_eq(slot->n_dropped, n_dropped + 2);
                ck_assert_uint_eq(n_times(current, a) + n_times(spare, a), 1);
                ck_assert_uint_eq(n_times(current, b) + n_times(spare, b), 1);
                heap_verify(r, NULL);
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("sift");
        TCase *tcase = tcase_create("sift");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 240);
        tcase_add_test(tcase, good_magazine_is_left_as_it_is);
        tcase_add_test(tcase, double_is_dropped_wherever_it_stands);
        tcase_add_test(tcase, what_is_no_start_of_a_block_is_dropped);
        tcase_add_test(tcase, any_mixture_keeps_each_block_once);
        tcase_add_test(tcase, large_blocks_are_looked_at_too);
        tcase_add_test(tcase, block_in_both_of_a_threads_magazines_leaves_in_one);
        tcase_add_test(tcase, nothing_bad_gets_into_a_depot);
        tcase_add_test(tcase, magazine_is_foreign_from_the_depot_until_it_is_empty);
        tcase_add_test(tcase, bad_entries_in_a_foreign_magazine_are_dropped_and_not_its_drainers_fault);
        tcase_add_test(tcase, double_that_a_foreign_magazine_takes_part_in_is_nobodys_fault);
        tcase_add_test(tcase, double_put_into_a_foreign_magazine_is_found_before_half_of_it_is_drained);
        tcase_add_test(tcase, reaper_passes_nothing_bad_on);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
