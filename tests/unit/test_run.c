/*
 * What is at stake: granules that two runs share, or that no run and no free list has.  Runs are claimed word by word
 * while others do the same, by maps that may lie, and whoever dies in between leaves a prefix of the steps, from which
 * run_settle() must make a whole.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "heap/reap.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { GRANULES = GEO_GRANULES_PER_CHUNK };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;

/* One chunk of arena 0, and a second thread. */
static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.arenas_per_node = 2});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
word_of(uint64_t granule)
{
        return *run_word(r, granule);
}

static uint64_t
claim(struct thread *who, uint32_t granules, uint32_t align)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(who, WHERE_RUN(0, CHUNK_ANY, granules, align), &head), 0);
        for (uint32_t i = 0; i < granules; i++) {
                ck_assert_uint_eq(granule_state(word_of(head + i)), GRANULE_NEW);
                ck_assert_uint_eq(granule_owner(word_of(head + i)), who->no);
                ck_assert_uint_eq(granule_arena(word_of(head + i)), 0);
        }
        ck_assert_uint_eq(who->slot->candidate, candidate_make(CANDIDATE_RUN, head, granules));
        return head;
}

/* Claims and forgets the candidate, so that the thread can claim more. */
static uint64_t
keep(struct thread *who, uint32_t granules)
{
        uint64_t head = claim(who, granules, 1);

        who->slot->candidate = 0;
        return head;
}

static void
give_back(struct thread *who, uint64_t head, uint32_t granules)
{
        run_free_owned(who, head, granules);
        ck_assert_uint_eq(who->slot->candidate, 0);
        for (uint32_t i = 0; i < granules; i++) {
                ck_assert_uint_eq(granule_state(word_of(head + i)), GRANULE_FREE);
                ck_assert_uint_eq(granule_owner(word_of(head + i)), 0);
        }
}

/* ------------------------------------------------------------------ claiming */

START_TEST(lowest_run_is_claimed)
{
        ck_assert_uint_eq(keep(t, 2), 0);
        ck_assert_uint_eq(keep(t, 1), 2);
        ck_assert_uint_eq(keep(t, 3), 3);
        give_back(t, 2, 1);
        ck_assert_uint_eq(keep(t, 2), 6);
        ck_assert_uint_eq(keep(t, 1), 2);
}
END_TEST

START_TEST(run_of_every_length_ends_with_the_chunk_and_not_behind_it)
{
        uint64_t head;

        for (uint32_t length = 1; length <= GRANULES; length++) {
                uint64_t rest = length < GRANULES ? keep(t, GRANULES - length) : 0;

                head = claim(t, length, 1);
                ck_assert_uint_eq(head, GRANULES - length);
                t->slot->candidate = 0;
                ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, 1), &head), -ENOMEM);
                ck_assert_uint_eq(t->slot->candidate, 0);
                give_back(t, GRANULES - length, length);
                if (length < GRANULES)
                        give_back(t, rest, GRANULES - length);
                heap_verify(r, NULL);
        }
}
END_TEST

/* A run never spans two chunks, however much is free on both sides. */
START_TEST(run_stays_within_a_chunk)
{
        uint64_t head;

        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_uint_eq(keep(t, GRANULES - 1), 0);
        ck_assert_uint_eq(keep(t, GRANULES - 1), GRANULES);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 2, 1), &head), -ENOMEM);
        ck_assert_uint_eq(keep(t, 1), GRANULES - 1);
        ck_assert_uint_eq(keep(t, 1), 2 * GRANULES - 1);
}
END_TEST

START_TEST(run_starts_where_the_alignment_wants)
{
        for (uint32_t align = 1; align <= GRANULES; align *= 2) {
                uint64_t first = keep(t, 1), head = 0;

                ck_assert_uint_eq(first, 0);
                if (align == GRANULES) {
                        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, align), &head), -ENOMEM);
                } else {
                        head = claim(t, 1, align);
                        ck_assert_uint_eq(head, align);
                        give_back(t, head, 1);
                }
                give_back(t, first, 1);
        }
}
END_TEST

START_TEST(run_with_pages_is_preferred)
{
        uint64_t a = keep(t, 1), b = keep(t, 1);

        ck_assert_int_eq(run_reserve(t, b, GEO_GRANULE_BYTES), 0);
        give_back(t, a, 1);
        give_back(t, b, 1);
        ck_assert_uint_eq(claim(t, 1, 1), b); /* higher, but warm */
        t->slot->candidate = 0;
        ck_assert_uint_eq(claim(t, 1, 1), a);
}
END_TEST

static uint64_t
colour_of_one(uint64_t head, uint32_t class_idx)
{
        (void)class_idx;
        return head == 3 ? GRANULE_BACKED_UNIT : 0;
}

/* Two granules, of which the second is needed in part; whatever lies before has a part of its pages, or another use. */
START_TEST(run_that_has_all_it_needs_is_the_lowest_that_has)
{
        static const uint32_t backed[] = {4, 16, 16, 16, 5, 16, 16};
        struct where where = {.need = {.granules = 2, .align_granules = 1, .class_idx = SIZE_CLASS_N_SMALL}};
        struct run_need *need = &where.need;
        uint64_t head;

        t->call.no_grow = true;
        for (uint32_t g = 0; g < sizeof backed / sizeof backed[0]; g++)
                *run_word(r, g) = granule_with_backed(word_of(g), backed[g]) | GRANULE_MAY_HAVE;
        *run_word(r, 2) = granule_with_owner(granule_with_state(word_of(2), GRANULE_NEW), u->no);
        need->bytes = GEO_GRANULE_BYTES + 5 * GRANULE_BACKED_UNIT;
        for (int in_chunk = 0; in_chunk < 2; in_chunk++) {
                where.chunk = in_chunk ? 0 : CHUNK_ANY;
                ck_assert_int_eq(run_claim(t, &where, &head), 0);
                ck_assert_uint_eq(head, 3);
                give_back(t, head, 2);
        }
        need->colour = colour_of_one; /* it would have to have more there */
        ck_assert_int_eq(run_claim(t, &where, &head), 0);
        ck_assert_uint_eq(head, 5);
        give_back(t, head, 2);
        need->bytes = 2 * GEO_GRANULE_BYTES;
        need->align_granules = 2;
        ck_assert_int_eq(run_claim(t, &where, &head), -ENOMEM); /* not 5 */
        where.chunk = CHUNK_ANY;
        ck_assert_int_eq(run_claim(t, &where, &head), -ENOMEM);
        *need = (struct run_need){.granules = 1, .align_granules = 1, .class_idx = 0, .bytes = 1};
        r->rest_maps[0] = UINT64_C(1) << 5;
        ck_assert_int_eq(run_claim(t, &where, &head), 0);
        ck_assert_uint_eq(head, region_has_bitmap(r, 0, 0) ? 0 : 5);
        give_back(t, head, 1);
        ck_assert_uint_eq(t->slot->candidate, 0);
}
END_TEST

START_TEST(run_of_another_arena_is_not_taken)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(t, WHERE_RUN(1, CHUNK_ANY, 1, 1), &head), -ENOMEM); /* not even ready */
        (void)heap_attach(&fx, 1);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(1, CHUNK_ANY, 1, 1), &head), -ENOMEM);
        heap_scramble_hints(r, true); /* arena 1 believes to have granules in chunk 0 */
        ck_assert_int_eq(run_claim(t, WHERE_RUN(1, CHUNK_ANY, 1, 1), &head), -ENOMEM);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(1, 0, 1, 1), &head),
                         -ENOMEM); /* one that was arena 1's when looked at */
        ck_assert_uint_eq(t->slot->candidate, 0);
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ hints */

START_TEST(maps_that_promise_too_much_are_mended)
{
        uint64_t taken = keep(t, 5), other = keep(u, 2);

        damage_is_done(true); /* one run is let go of in parts */
        give_back(t, taken + 4, 1);
        for (int i = 0; i < 3; i++) {
                heap_scramble_hints(r, true);
                ck_assert_uint_eq(claim(t, 1, 1), 4);
                give_back(t, 4, 1);
        }
        ck_assert_uint_eq(granule_owner(word_of(taken)), t->no);
        ck_assert_uint_eq(granule_owner(word_of(other)), u->no);
}
END_TEST

START_TEST(maps_that_know_nothing_hide_runs_from_all_but_the_scan)
{
        uint64_t head;

        heap_scramble_hints(r, false);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, 1), &head), -ENOMEM);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, 0, 1, 1), &head), 0);
        ck_assert_uint_eq(head, 0);
        give_back(t, head, 1);
        ck_assert_uint_eq(claim(t, GRANULES, 1), 0); /* the scan has renewed what it saw */
}
END_TEST

/* As the clock hands come by: what the map has lost, and what follows from a map that has lost nothing. */
START_TEST(lost_hints_come_back_for_a_line_of_granules)
{
        uint64_t taken = keep(t, 2), other = keep(u, 1), map, head;

        run_renew_hints(r, 0);
        map = r->chunk_maps[0].free;
        heap_scramble_hints(r, false);
        run_hint_lost(r, 0, 8);
        ck_assert_uint_eq(r->chunk_maps[0].free, map & bits_mask(0, 8));
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 6, 1), &head), -ENOMEM);
        ck_assert_uint_eq(claim(t, 5, 1), 3);
        give_back(t, 3, 5);
        heap_scramble_hints(r, false);
        r->chunk_maps[0].free = map;
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, 1), &head), -ENOMEM);
        run_hint_lost(r, 0, 8);
        ck_assert_uint_eq(r->chunk_maps[0].free, map);
        ck_assert_uint_eq(claim(t, GRANULES - 3, 1), 3);
        give_back(t, 3, GRANULES - 3);
        t->slot->candidate = 0;
        keep(t, GRANULES - 3);
        heap_scramble_hints(r, false);
        run_hint_lost(r, 0, 8); /* there is nothing free */
        ck_assert_uint_eq(r->chunk_maps[0].free, 0);
        ck_assert_uint_eq(granule_owner(word_of(taken)), t->no);
        ck_assert_uint_eq(granule_owner(word_of(other)), u->no);
}
END_TEST

/* A claim that meets a granule of somebody else in the middle gives its few back. */
START_TEST(claim_that_fails_half_way_leaves_nothing)
{
        uint64_t other = keep(u, 3), head, before;

        ck_assert_uint_eq(other, 0);
        give_back(u, 0, 2); /* 0, 1 free; 2 is u's */
        before = word_of(2);
        r->chunk_maps[0].free = UINT64_MAX;
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 4, 1), &head), 0);
        ck_assert_uint_eq(head, 3);
        ck_assert_uint_eq(word_of(2), before);
        ck_assert_uint_eq(granule_state(word_of(0)), GRANULE_FREE);
        ck_assert_uint_eq(granule_state(word_of(1)), GRANULE_FREE);
        give_back(t, head, 4);
        give_back(u, 2, 1);
        heap_verify(r, NULL);
}
END_TEST

/* A chunk that left the arena keeps its hints for a while: nothing in it is touched. */
START_TEST(hints_about_a_chunk_that_left_lead_nowhere)
{
        uint64_t head;

        ck_assert(chunk_retire(t, 0));
        heap_scramble_hints(r, true);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, 1), &head), -ENOMEM);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, 0, 1, 1), &head), -ENOMEM);
        heap_verify(r, NULL);
}
END_TEST

/* Many chunks that have room, but none where the alignment wants it: the one that has it is found all the same. */
START_TEST(aligned_run_is_found_behind_many_that_disappoint)
{
        struct heap_fixture big;
        struct thread *w;
        uint64_t n = GEO_GRANULE_BYTES > 4096 ? 100 : 12, head;

        heap_make(&big, (struct heap_params){.n_chunks = n});
        w = heap_attach(&big, 0);
        for (uint64_t chunk = 0; chunk < n; chunk++) {
                ck_assert_int_eq(chunk_give(w, 0), 0);
                ck_assert_int_eq(run_claim(w, WHERE_RUN(0, chunk, GRANULES, 1), &head), 0);
                w->slot->candidate = 0;
                for (uint64_t i = 1; i < GRANULES; i += 2)
                        run_free_owned(w, head + i, 1);
        }
        run_free_owned(w, (n - 1) * GRANULES + 2, 1);
        for (uint64_t i = 0; i <= n / 64; i++) /* each call may clear 64 hints that are out of date */
                if (run_claim(w, WHERE_RUN(0, CHUNK_ANY, 1, 2), &head) == 0)
                        break;
        ck_assert_uint_eq(head, (n - 1) * GRANULES + 2);
        heap_drop(&big);
}
END_TEST

/* ------------------------------------------------------------------ pages */

START_TEST(backing_covers_the_bytes_and_not_more)
{
        for (uint64_t bytes = 1; bytes <= 3 * GEO_GRANULE_BYTES; bytes += GRANULE_BACKED_UNIT / 2 + 1) {
                uint64_t head = claim(t, 3, 1);

                ck_assert_int_eq(run_reserve(t, head, bytes), 0);
                for (uint32_t i = 0; i < 3; i++) {
                        uint64_t start = i * GEO_GRANULE_BYTES, here = bytes > start ? bytes - start : 0;
                        uint32_t backed = granule_backed(word_of(head + i));

                        if (here > GEO_GRANULE_BYTES)
                                here = GEO_GRANULE_BYTES;
                        ck_assert_uint_ge(backed * GRANULE_BACKED_UNIT, here);
                        ck_assert_uint_lt(backed * GRANULE_BACKED_UNIT, here + GRANULE_BACKED_UNIT);
                        ck_assert_int_eq((word_of(head + i) & GRANULE_MAY_HAVE) != 0, here > 0);
                        ck_assert_uint_eq(granule_owner(word_of(head + i)), t->no);
                        ck_assert_uint_eq(granule_state(word_of(head + i)), GRANULE_NEW);
                }
                /* Back to untouched memory. */
                for (uint32_t i = 0; i < 3; i++)
                        *run_word(r, head + i) &= ~GRANULE_BACKING;
                give_back(t, head, 3);
        }
}
END_TEST

START_TEST(notes_of_pages_outlive_the_run)
{
        uint64_t head = claim(t, 2, 1);

        ck_assert_int_eq(run_reserve(t, head, GEO_GRANULE_BYTES + GRANULE_BACKED_UNIT), 0);
        give_back(t, head, 2);
        ck_assert_uint_eq(granule_backed(word_of(head)), GRANULE_BACKED_ALL);
        ck_assert_uint_eq(granule_backed(word_of(head + 1)), 1);
        ck_assert_uint_eq(claim(t, 2, 1), head);
        ck_assert_uint_eq(granule_backed(word_of(head)), GRANULE_BACKED_ALL);
        ck_assert_uint_eq(granule_backed(word_of(head + 1)), 1);
        /* Less is enough already; more adds to it. */
        t->call.no_grow = true;
        ck_assert_int_eq(run_reserve(t, head, GEO_GRANULE_BYTES), 0);
        ck_assert_int_eq(run_reserve(t, head, 2 * GEO_GRANULE_BYTES), -ENOMEM);
        t->call.no_grow = false;
        ck_assert_uint_eq(granule_backed(word_of(head + 1)), 1);
        ck_assert_int_eq(run_reserve(t, head, 2 * GEO_GRANULE_BYTES), 0);
        ck_assert_uint_eq(granule_backed(word_of(head + 1)), GRANULE_BACKED_ALL);
}
END_TEST

/* ------------------------------------------------------------------ heads */

START_TEST(head_of_a_run_is_found_from_each_granule)
{
        uint64_t head = keep(t, 4);

        ck_assert_int_eq(run_head_of(r, head), POSITION_NONE); /* NEW is no run yet */
        for (uint32_t i = 1; i < 4; i++)
                *run_word(r, head + i) = granule_with_count(granule_word(GRANULE_CONT, 0, 0), i);
        *run_word(r, head) = granule_with_count(granule_word(GRANULE_LARGE, 0, 0), 4);
        for (uint32_t i = 0; i < 4; i++)
                ck_assert_int_eq(run_head_of(r, head + i), (int64_t)head);
        ck_assert_int_eq(run_head_of(r, head + 4), POSITION_NONE);                /* free */
        *run_word(r, head + 1) = granule_with_count(word_of(head + 1), GRANULES); /* would lead out of the chunk */
        ck_assert_int_eq(run_head_of(r, head + 1), POSITION_NONE);
}
END_TEST

/* ------------------------------------------------------------------ the dead
 *
 * `t` dies; `u` has a run of its own next to whatever `t` was at.
 */

/* RUN.2: the first k granules are claimed. */
START_TEST(claim_cut_short_is_undone)
{
        for (uint32_t k = 0; k <= 4; k++) {
                uint64_t theirs, before;

                theirs = keep(u, 1);
                before = word_of(theirs);
                t->slot->candidate = candidate_make(CANDIDATE_RUN, theirs + 1, 4);
                for (uint32_t i = 0; i < k; i++)
                        *run_word(r, theirs + 1 + i) = granule_word(GRANULE_NEW, t->no, 0);
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(word_of(theirs), before);
                give_back(u, theirs, 1);
                heap_verify(r, NULL);
        }
}
END_TEST

/* RUN.1 alone: what the candidate names is somebody else's by now. */
START_TEST(candidate_that_was_never_claimed_touches_nothing)
{
        uint64_t head = keep(u, 4);
        uint64_t words[4];

        *run_word(r, head) = granule_with_count(granule_with_class(granule_word(GRANULE_LARGE, 0, 0), 1), 4);
        for (uint32_t i = 1; i < 4; i++)
                *run_word(r, head + i) = granule_with_count(granule_word(GRANULE_CONT, 0, 0), i);
        memcpy(words, run_word(r, head), sizeof words);
        r->tags[head] = 77;
        for (uint32_t first = 0; first < 4; first++) { /* also one that begins inside */
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head + first, 4);
                reap_settle(r, t->no, NULL);
                ck_assert_mem_eq(words, run_word(r, head), sizeof words);
                ck_assert_uint_eq(r->tags[head], 77);
                ck_assert_uint_eq(t->slot->candidate, 0);
        }
}
END_TEST

/* A run of three granules, as far as it has been built or freed. */
static void
build(uint64_t head, enum granule_state head_state, uint32_t n_cont, bool rest_is_new)
{
        *run_word(r, head) = granule_with_count(granule_word(head_state, t->no, 0), 3);
        r->tags[head] = 9;
        for (uint32_t i = 1; i < 3; i++) {
                if (i <= n_cont)
                        *run_word(r, head + i) = granule_with_count(granule_word(GRANULE_CONT, 0, 0), i);
                else if (rest_is_new)
                        *run_word(r, head + i) = granule_word(GRANULE_NEW, t->no, 0);
                else
                        continue;
                r->tags[head + i] = 9;
        }
}

/* SLAB.5, LARGE.3: the interior is stored one by one while the head is NEW. */
START_TEST(run_under_construction_is_undone)
{
        for (uint32_t n_cont = 0; n_cont <= 2; n_cont++) {
                uint64_t head = keep(t, 3);

                build(head, GRANULE_NEW, n_cont, true);
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 3);
                reap_settle(r, t->no, NULL);
                heap_verify(r, NULL);
        }
}
END_TEST

/* RUN_FREE.2, .3: granules leave one by one, and others take them at once. */
START_TEST(run_half_freed_is_freed_and_what_others_took_is_theirs)
{
        for (int taken = 0; taken < 2; taken++) {
                uint64_t head = keep(t, 3);

                build(head, GRANULE_FREEING, 2, false);
                r->tags[head + 1] = TAG_NONE;
                *run_word(r, head + 1) = granule_word(taken ? GRANULE_NEW : GRANULE_FREE, taken ? u->no : 0, 0);
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 3);
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(granule_owner(word_of(head + 1)), taken ? u->no : 0);
                if (taken)
                        give_back(u, head + 1, 1);
                heap_verify(r, NULL);
        }
}
END_TEST

/* Once the head is free, a CONT behind it is not the dead one's, whatever it seems to continue. */
START_TEST(interior_without_its_head_is_left_alone)
{
        uint64_t head = keep(u, 3), word;

        *run_word(r, head) = granule_with_count(granule_word(GRANULE_LARGE, u->no, 0), 3);
        *run_word(r, head + 1) = word = granule_with_count(granule_word(GRANULE_CONT, 0, 0), 1);
        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 3);
        reap_settle(r, t->no, NULL);
        ck_assert_uint_eq(word_of(head + 1), word);
        ck_assert_uint_eq(granule_owner(word_of(head)), u->no);
}
END_TEST

/* PURGE: pages are gone or not, but never believed to be there. */
START_TEST(purge_cut_short_leaves_granules_that_are_reserved_anew)
{
        uint64_t head = keep(t, 3);

        ck_assert_int_eq(run_reserve(t, head, 3 * GEO_GRANULE_BYTES), 0);
        give_back(t, head, 3);
        for (uint32_t i = 0; i < 2; i++)
                *run_word(r, head + i) = granule_word(GRANULE_PURGING, t->no, 0) | GRANULE_MAY_HAVE;
        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, GRANULES - head);
        reap_settle(r, t->no, NULL);
        heap_verify(r, NULL);
        for (uint32_t i = 0; i < 3; i++) {
                ck_assert_uint_eq(granule_backed(word_of(head + i)), i < 2 ? 0 : GRANULE_BACKED_ALL);
                ck_assert(word_of(head + i) & GRANULE_MAY_HAVE);
        }
}
END_TEST

START_TEST(settling_twice_is_settling_once)
{
        uint64_t head = keep(t, 3), words[GRANULES];

        build(head, GRANULE_FREEING, 2, false);
        run_settle(r, t->no, head, 3);
        memcpy(words, run_word(r, 0), sizeof words);
        run_settle(r, t->no, head, 3);
        for (uint32_t i = 0; i < GRANULES; i++) /* the stamp may have moved on */
                ck_assert_uint_eq(granule_with_stamp(words[i], 0), granule_with_stamp(word_of(i), 0));
        heap_verify(r, NULL);
}
END_TEST

/* The reaper renews the hints of what it passes on. */
START_TEST(what_is_settled_can_be_found)
{
        uint64_t head = keep(t, GRANULES), again;

        heap_scramble_hints(r, false);
        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, GRANULES);
        reap_settle(r, t->no, NULL);
        ck_assert_int_eq(run_claim(u, WHERE_RUN(0, CHUNK_ANY, GRANULES, 1), &again), 0);
        ck_assert_uint_eq(again, head);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("run");
        TCase *tcase = tcase_create("run");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, lowest_run_is_claimed);
        tcase_add_test(tcase, run_of_every_length_ends_with_the_chunk_and_not_behind_it);
        tcase_add_test(tcase, run_stays_within_a_chunk);
        tcase_add_test(tcase, run_starts_where_the_alignment_wants);
        tcase_add_test(tcase, run_with_pages_is_preferred);
        tcase_add_test(tcase, run_that_has_all_it_needs_is_the_lowest_that_has);
        tcase_add_test(tcase, run_of_another_arena_is_not_taken);
        tcase_add_test(tcase, maps_that_promise_too_much_are_mended);
        tcase_add_test(tcase, maps_that_know_nothing_hide_runs_from_all_but_the_scan);
        tcase_add_test(tcase, lost_hints_come_back_for_a_line_of_granules);
        tcase_add_test(tcase, claim_that_fails_half_way_leaves_nothing);
        tcase_add_test(tcase, hints_about_a_chunk_that_left_lead_nowhere);
        tcase_add_test(tcase, aligned_run_is_found_behind_many_that_disappoint);
        tcase_add_test(tcase, backing_covers_the_bytes_and_not_more);
        tcase_add_test(tcase, notes_of_pages_outlive_the_run);
        tcase_add_test(tcase, head_of_a_run_is_found_from_each_granule);
        tcase_add_test(tcase, claim_cut_short_is_undone);
        tcase_add_test(tcase, candidate_that_was_never_claimed_touches_nothing);
        tcase_add_test(tcase, run_under_construction_is_undone);
        tcase_add_test(tcase, run_half_freed_is_freed_and_what_others_took_is_theirs);
        tcase_add_test(tcase, interior_without_its_head_is_left_alone);
        tcase_add_test(tcase, purge_cut_short_leaves_granules_that_are_reserved_anew);
        tcase_add_test(tcase, settling_twice_is_settling_once);
        tcase_add_test(tcase, what_is_settled_can_be_found);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
