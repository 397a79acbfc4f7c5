/*
 * What is at stake: what a thread leaves that dies in the midst of a fill, a drain, or a single block.  A block that is
 * then both in the slab and elsewhere has two owners; one that is in neither place is lost.  What the living do is in
 * test_slab.c.
 */

#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "heap/reap.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/slab_heap.h"
#include "support/suite.h"
#include "support/where.h"

/* ------------------------------------------------------------------ the dead */

/* A step from i towards `last` that leaves out much of the middle. */
static uint32_t
few(uint32_t i, uint32_t last)
{
        uint32_t step = last > 12 ? last / 4 : 1;

        return i < 2 || i + 2 >= last ? 1 : i + step + 1 < last ? step : last - i - 1;
}

/* FILL.5, .6: any of the bits may be gone; n says whether it counts. */
START_TEST(fill_cut_short_is_undone_and_fill_done_stays_done)
{
        uint32_t class_idx = (uint32_t)_i;
        uint32_t k = cap_of(class_idx) < n_blocks_of(class_idx) ? cap_of(class_idx) : n_blocks_of(class_idx) - 1;

        for (uint32_t cleared = 0; cleared <= k + 1; cleared += few(cleared, k + 1)) {
                struct thread *dead = heap_attach(&fx, 0);
                uint32_t idx = empty_magazine(dead, class_idx);
                uint64_t first = alloc_one(t, class_idx), head = find_or_create(dead, class_idx);
                bool is_done = cleared > k;
                struct tally tally;

                ck_assert_uint_eq(head_of(first), head);
                ck_assert_int_eq(run_reserve(dead, head, slab_bytes_of(class_idx)), 0);
                for (uint32_t i = 0; i < k; i++)
                        magazine(idx)->slot[k - 1 - i] =
                                region_entry(r, (head << GEO_GRANULE_SHIFT) + (1 + i) * size_class_bytes(class_idx));
                intent_left(dead, INTENT(FILL, fill, .head = head, .magazine = idx, .n = k));
                for (uint32_t i = 0; i < (is_done ? k : cleared); i++)
                        *region_slab_word(r, head, (1 + i) / 64) &= ~(UINT64_C(1) << (1 + i) % 64);
                if (is_done)
                        magazine(idx)->n = k;
                heap_bury(&fx, dead);
                tally = heap_verify(r, &live);
                ck_assert_uint_eq(tally.cached_blocks[class_idx], is_done ? k : 0);
                ck_assert_uint_eq(tally.n_tcache, 0);
                if (is_done) {
                        ck_assert(magazine_take_exactly(t, idx, 0, tag_make(0, class_idx)));
                        while (magazine(idx)->n > 0)
                                ck_assert_int_eq(slab_drain(t, idx), 0);
                        magazine_put(t, idx, 0, true);
                }
                free_one(t, first);
                (void)slab_tidy_chunk(t, 0);
                heap_verify(r, &live);
                fx.n_threads--; /* its slot is empty again */
        }
}
END_TEST

/* DRAIN.4, .5: any of the bits may be back. */
START_TEST(drain_cut_short_is_finished)
{
        uint32_t class_idx = (uint32_t)_i;
        uint32_t k = cap_of(class_idx) < n_blocks_of(class_idx) ? cap_of(class_idx) : n_blocks_of(class_idx) - 1;

        for (uint32_t kept = 0; kept < k; kept += few(kept, k - 1))
                for (uint32_t set = 0; set <= k - kept; set += few(set, k - kept)) {
                        struct thread *dead = heap_attach(&fx, 0);
                        uint32_t idx = filled_magazine(dead, class_idx, k);
                        uint64_t head = head_of(entry(idx, 0)), word = word_of(head);

                        dead->slot->candidate =
                                candidate_make(CANDIDATE_RUN, head, size_class_slab_granules(class_idx));
                        *run_word(r, head) = granule_with_owner(word, dead->no);
                        intent_left(dead, INTENT(DRAIN, drain, .head = head, .magazine = idx, .n = kept));
                        for (uint32_t i = 0; i < set; i++) {
                                uint32_t block = (uint32_t)((entry(idx, k - 1 - i) - (head << GEO_GRANULE_SHIFT)) /
                                                            size_class_bytes(class_idx));

                                *region_slab_word(r, head, block / 64) |= UINT64_C(1) << block % 64;
                        }
                        heap_bury(&fx, dead);
                        ck_assert_uint_eq(heap_verify(r, NULL).cached_blocks[class_idx], kept);
                        if (kept > 0) {
                                ck_assert(magazine_take_exactly(t, idx, 0, tag_make(0, class_idx)));
                                ck_assert_int_eq(slab_drain(t, idx), 0);
                                magazine_put(t, idx, 0, true);
                        }
                        (void)slab_tidy_chunk(t, 0);
                        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
                        fx.n_threads--;
                }
}
END_TEST

/* DRAIN.5 done: the entries above n are stale, and may be anybody's by now. */
START_TEST(drain_done_stays_done)
{
        uint32_t idx = filled_magazine(t, 0, 3);
        uint64_t head = head_of(entry(idx, 0)), others = entry(idx, 2);

        ck_assert_int_eq(slab_drain(t, idx), 0);
        live_add(&live, others); /* u has allocated what t had freed */
        {
                uint64_t got;
                uint64_t u_head = find_or_create(u, 0);

                ck_assert(slab_alloc_one(u, u_head, 0, &got));
                ck_assert_uint_eq(got, others);
        }
        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 1);
        *run_word(r, head) = granule_with_owner(word_of(head), t->no);
        intent_left(t, INTENT(DRAIN, drain, .head = head, .magazine = idx, .n = 0));
        heap_bury(&fx, t);
        heap_verify(r, &live);
}
END_TEST

/* ONE.1 to .4: before the commit neither the block nor the destination has changed. */
START_TEST(single_block_cut_short_is_undone)
{
        for (int step = 1; step <= 3; step++) {
                uint64_t cell = alloc_one(t, 0), head = find_or_create(t, 1), block = head << GEO_GRANULE_SHIFT;
                uint64_t *dest = region_block(r, cell);

                *dest = 77;
                intent_left(t, INTENT(ALLOC_ONE, alloc_one, .head = head, .was = 77, .block = block,
                                      .dest = r->layout.chunks_off + cell));
                if (step >= 2)
                        r->slabs[head].word[0] &= ~UINT64_C(1);
                if (step >= 3)
                        *dest = r->layout.chunks_off + block;
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(*dest, 77);
                heap_verify(r, &live);
                ck_assert_uint_eq(slab_tidy_chunk(t, 0), 1);
        }
}
END_TEST

/* What somebody else has stored in the destination since stays there. */
START_TEST(destination_that_others_changed_is_left_to_them)
{
        uint64_t cell = alloc_one(t, 0), head = find_or_create(t, 1);
        uint64_t *dest = region_block(r, cell);

        *dest = 99;
        intent_left(t, INTENT(ALLOC_ONE, alloc_one, .head = head, .was = 77, .block = head << GEO_GRANULE_SHIFT,
                              .dest = r->layout.chunks_off + cell));
        reap_settle(r, t->no, NULL);
        ck_assert_uint_eq(*dest, 99);
        heap_verify(r, &live);
}
END_TEST

/* The same the other way round: once it is begun it is finished. */
START_TEST(single_free_cut_short_is_finished)
{
        for (int step = 1; step <= 3; step++) {
                uint64_t cell = alloc_one(t, 0), block = alloc_one(t, 1), head = head_of(block);
                uint64_t *dest = region_block(r, cell);

                *dest = r->layout.chunks_off + block;
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, size_class_slab_granules(1));
                *run_word(r, head) = granule_with_owner(word_of(head), t->no);
                intent_left(t, INTENT(FREE_ONE, free_one, .head = head, .block = block,
                                      .dest = r->layout.chunks_off + cell));
                if (step >= 2)
                        *dest = 0;
                if (step >= 3)
                        r->slabs[head].word[0] |= UINT64_C(1);
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(*dest, 0);
                live_drop(&live, block);
                heap_verify(r, &live);
                ck_assert_uint_eq(slab_tidy_chunk(t, 0), 1);
        }
}
END_TEST

/* An intent counts only if all that it names is the dead one's. */
START_TEST(intent_about_what_others_own_is_void)
{
        uint32_t mine = filled_magazine(t, 0, 2), theirs = filled_magazine(u, 0, 2);
        uint64_t head = head_of(entry(mine, 0));
        const struct {
                uint64_t slab, magazine;
                bool owns_slab;
        } cases[] = {
                {head, mine, false},       {head, theirs, true},     {head + 1, mine, false},
                {UINT64_MAX, mine, false}, {head, UINT64_MAX, true}, {UINT64_MAX >> 8, theirs, false},
        };

        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (int kind = INTENT_FILL; kind <= INTENT_FREE_ONE; kind++) {
                        struct intent in = {(uint64_t)kind,
                                            .word = {cases[i].slab, cases[i].magazine, [5] = entry(theirs, 0)}};
                        uint64_t word = word_of(head);

                        if (cases[i].owns_slab) {
                                if (kind >= INTENT_DRAIN_RUN)
                                        continue;
                                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 1);
                                *run_word(r, head) = granule_with_owner(word, t->no);
                        }
                        if (kind == INTENT_SWAP && in.swap.magazine == mine)
                                continue;
                        intent_left(t, in);
                        reap_settle(r, t->no, NULL);
                        ck_assert_uint_eq(word_of(head), word);
                        ck_assert_uint_eq(magazine(theirs)->n, 2);
                        ck_assert_uint_eq(magazine(mine)->n, 2);
                        heap_verify(r, NULL);
                        /* The magazine went to the depot: back to where it was. */
                        ck_assert(magazine_take_exactly(t, mine, 0, tag_make(0, 0)));
                        magazine_place(t, magazine_current(t, tag_make(0, 0)), mine);
                }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("slab_dead");
        TCase *tcase = suite_case(suite, "the dead", setup, teardown);

        tcase_add_loop_test(tcase, fill_cut_short_is_undone_and_fill_done_stays_done, 0, SIZE_CLASS_N_SMALL);
        tcase_add_loop_test(tcase, drain_cut_short_is_finished, 0, SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, drain_done_stays_done);
        tcase_add_test(tcase, single_block_cut_short_is_undone);
        tcase_add_test(tcase, destination_that_others_changed_is_left_to_them);
        tcase_add_test(tcase, single_free_cut_short_is_finished);
        tcase_add_test(tcase, intent_about_what_others_own_is_void);

        return suite_run(suite);
}
