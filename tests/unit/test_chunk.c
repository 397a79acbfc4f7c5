/*
 * What is at stake: a chunk that two arenas believe to have, or that none gives back.  A granule is free for an arena
 * only while its chunk is that arena's, so that whoever acts on an old idea of a chunk can claim nothing in it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "heap/reap.h"
#include "os/inject.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { N_CHUNKS = 6, GRANULES = GEO_GRANULES_PER_CHUNK };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;

static void
make(bool has_file)
{
        heap_make(&fx, (struct heap_params){.n_chunks = N_CHUNKS, .n_nodes = 2, .has_file = has_file});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 1);
}

static void
setup(void)
{
        make(false);
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
word_of(uint64_t chunk)
{
        return r->chunk_words[chunk];
}

static uint64_t
n_of_arena(uint32_t arena)
{
        uint64_t n = 0;

        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++)
                n += chunk_state(word_of(chunk)) == CHUNK_ARENA && chunk_arena(word_of(chunk)) == arena;
        return n;
}

static void
give(struct thread *who, uint32_t arena)
{
        uint64_t n = n_of_arena(arena);

        ck_assert_int_eq(chunk_give(who, arena), 0);
        ck_assert_uint_eq(who->slot->candidate, 0);
        ck_assert_uint_eq(n_of_arena(arena), n + 1);
}

/* ------------------------------------------------------------------ given and taken back */

START_TEST(chunk_that_is_given_is_all_free)
{
        give(t, 0);
        give(u, 1);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, 2 * GRANULES);
        ck_assert_uint_eq(chunk_arena(word_of(0)), 0);
        ck_assert_uint_eq(chunk_arena(word_of(1)), 1);
        ck_assert_uint_eq(chunk_node1(word_of(0)), 1);
        ck_assert_uint_eq(chunk_node1(word_of(1)), 2);
        ck_assert_int_eq(chunk_find_free(r, 0, N_CHUNKS), POSITION_NONE);
}
END_TEST

START_TEST(capacity_is_the_end)
{
        for (int i = 0; i < N_CHUNKS; i++)
                give(t, 0);
        ck_assert_int_eq(chunk_give(t, 0), -ENOMEM);
        ck_assert_int_eq(chunk_give(u, 1), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, N_CHUNKS * GRANULES);
}
END_TEST

START_TEST(no_chunk_without_growing)
{
        t->call.no_grow = true;
        ck_assert_int_eq(chunk_give(t, 0), -ENOMEM);
        ck_assert_uint_eq(region_chunks_hwm(r), 0);
}
END_TEST

START_TEST(retired_chunk_serves_another_arena)
{
        uint64_t released = r->header->n_released;

        give(t, 0);
        ck_assert(chunk_retire(t, 0));
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_gt(r->header->n_released, released);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, 1);
        ck_assert_int_eq(chunk_find_free(r, 0, N_CHUNKS), 0);
        ck_assert(!chunk_retire(t, 0)); /* it is nobody's */
        r->header->capacity_chunks = 1; /* there is no other one */
        give(u, 1);
        ck_assert_uint_eq(chunk_node1(word_of(0)), 2);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(chunk_of_the_same_node_is_preferred)
{
        give(t, 0);
        give(u, 1);
        give(t, 0);
        ck_assert_uint_eq(chunk_retire_all(t, UINT32_MAX), 3);
        give(u, 1);
        ck_assert_uint_eq(chunk_arena(word_of(1)), 1);
        give(u, 1); /* rather a new one than one of the other node */
        ck_assert_uint_eq(region_chunks_hwm(r), 4);
        ck_assert_uint_eq(chunk_arena(word_of(3)), 1);
        for (int i = 0; i < N_CHUNKS - 2; i++)
                give(u, 1); /* but rather that than none */
        heap_verify(r, NULL);
}
END_TEST

/* Notes of pages stay with the granules, whoever has the chunk. */
START_TEST(notes_of_pages_outlive_the_arena)
{
        uint64_t head;

        give(t, 0);
        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 3, 1), &head), 0);
        ck_assert_int_eq(run_reserve(t, head, 2 * GEO_GRANULE_BYTES + 1), 0);
        run_free_owned(t, head, 3);
        for (int i = 0; i < 2; i++) {
                for (int g = 0; g < 4; g++)
                        ck_assert_uint_eq(granule_backed(*run_word(r, g)), g < 2 ? GRANULE_BACKED_ALL : g == 2);
                if (i == 0)
                        ck_assert(chunk_retire(t, 0));
        }
        give(t, 0);
        for (int g = 0; g < 4; g++)
                ck_assert_uint_eq(granule_backed(*run_word(r, g)), g < 2 ? GRANULE_BACKED_ALL : g == 2);
        heap_verify(r, NULL);
}
END_TEST

/* One granule in use, whichever it is, keeps the chunk; what was claimed before it is free again. */
START_TEST(chunk_in_use_is_not_retired)
{
        for (uint32_t used = 0; used < GRANULES; used++) {
                uint64_t head, before;

                if (used == 0)
                        give(t, 0);
                ck_assert_int_eq(run_claim(u, WHERE_RUN(0, 0, GRANULES, 1), &head), 0);
                damage_is_done(true); /* one run is let go of in parts */
                for (uint32_t g = 0; g < GRANULES; g++)
                        if (g != used)
                                run_free_owned(u, g, 1);
                damage_is_done(false);
                before = *run_word(r, used);
                ck_assert(!chunk_retire(t, 0));
                ck_assert_uint_eq(t->slot->candidate, 0);
                ck_assert_uint_eq(chunk_retire_all(t, UINT32_MAX), 0);
                ck_assert_uint_eq(*run_word(r, used), before);
                run_free_owned(u, used, 1);
                ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, GRANULES);
        }
}
END_TEST

START_TEST(as_many_are_retired_as_wanted)
{
        for (int i = 0; i < 4; i++)
                give(i % 2 ? u : t, i % 2);
        ck_assert_uint_eq(chunk_retire_all(t, 0), 0);
        ck_assert_uint_eq(chunk_retire_all(t, 1), 1);
        ck_assert_uint_eq(chunk_retire_all(t, 2), 2);
        ck_assert_uint_eq(chunk_retire_all(t, UINT32_MAX), 1);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, 4);
}
END_TEST

/* ------------------------------------------------------------------ hints */

START_TEST(free_chunks_are_found_whatever_the_hints_say)
{
        for (int set = 0; set < 2; set++) {
                for (int i = 0; i < N_CHUNKS; i++)
                        give(t, 0);
                ck_assert_uint_eq(chunk_retire_all(t, UINT32_MAX), N_CHUNKS);
                heap_scramble_hints(r, set);
        }
        for (int i = 0; i < N_CHUNKS; i++)
                give(t, 0);
        heap_scramble_hints(r, true);
        ck_assert_int_eq(chunk_give(t, 0), -ENOMEM);
        heap_verify(r, NULL);
}
END_TEST

/* Somebody raised the mark and died, or stopped, before taking the chunk. */
START_TEST(chunk_that_was_raised_and_not_taken_is_found)
{
        ck_assert_int_eq(region_raise_chunks(r, 0), 0);
        ck_assert_int_eq(region_raise_chunks(r, 1), 0);
        r->header->capacity_chunks = 2;
        give(t, 0);
        give(t, 0);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(lost_hint_of_a_free_chunk_comes_back)
{
        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_int_eq(region_raise_chunks(r, 1), 0); /* by somebody who died then: nobody has hinted it */
        ck_assert_int_eq(chunk_find_free(r, 0, 8), POSITION_NONE);
        chunk_hint_lost(r, 0);
        ck_assert_int_eq(chunk_find_free(r, 0, 8), POSITION_NONE);
        chunk_hint_lost(r, 1);
        ck_assert_int_eq(chunk_find_free(r, 0, 8), 1);
}
END_TEST

START_TEST(free_hints_are_searched_from_and_to)
{
        ck_assert_int_eq(chunk_find_free(r, 0, N_CHUNKS), POSITION_NONE);
        chunk_hint_free(r, 2, true);
        chunk_hint_free(r, 5, true);
        ck_assert_int_eq(chunk_find_free(r, 0, N_CHUNKS), 2);
        ck_assert_int_eq(chunk_find_free(r, 2, N_CHUNKS), 2);
        ck_assert_int_eq(chunk_find_free(r, 3, N_CHUNKS), 5);
        ck_assert_int_eq(chunk_find_free(r, 3, 5), POSITION_NONE);
        ck_assert_int_eq(chunk_find_free(r, 6, N_CHUNKS), POSITION_NONE);
        ck_assert_int_eq(chunk_find_free(r, 0, 0), POSITION_NONE);
        chunk_hint_free(r, 2, false);
        ck_assert_int_eq(chunk_find_free(r, 0, N_CHUNKS), 5);
}
END_TEST

#if SHM_DEBUG
static int
no_memory(const char *call)
{
        (void)call;
        return ENOSPC;
}

START_TEST(chunk_whose_metadata_cannot_be_had_is_not_given)
{
        heap_drop(&fx);
        make(true);
        ck_assert_int_eq(region_raise_chunks(r, 0), 0); /* its hints are missing still */
        os_inject = no_memory;
        ck_assert_int_lt(chunk_give(t, 0), 0);
        ck_assert_int_lt(chunk_give(t, 0), 0);
        os_inject = NULL;
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, region_chunks_hwm(r));
        give(t, 0);
        heap_verify(r, NULL);
}
END_TEST
#endif

/* ------------------------------------------------------------------ the dead */

/* CHUNK.2 to .6: before the chunk word says ARENA it goes back, afterwards it is given. */
START_TEST(giving_cut_short_is_undone_or_finished)
{
        for (int committed = 0; committed < 2; committed++)
                for (uint32_t n = 0; n <= GRANULES; n++) { /* granules that are NEW, or still NEW */
                        ck_assert(region_raise_chunks(r, 0) == 0);
                        r->chunk_words[0] = committed ? chunk_word(CHUNK_ARENA, 0, 0) : chunk_word(CHUNK_NEW, t->no, 0);
                        for (uint32_t g = 0; g < GRANULES; g++)
                                *run_word(r, g) = committed
                                                          ? granule_word(g < GRANULES - n ? GRANULE_FREE : GRANULE_NEW,
                                                                         g < GRANULES - n ? 0 : t->no, 0)
                                                  : g < n ? granule_word(GRANULE_NEW, t->no, 0)
                                                          : 0;
                        t->slot->candidate = candidate_make(CANDIDATE_CHUNK, 0, 1);
                        reap_settle(r, t->no, NULL);
                        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, !committed);
                        if (!committed)
                                ck_assert_int_eq(chunk_find_free(r, 0, 1), 0);
                        else
                                ck_assert(chunk_retire(u, 0));
                }
}
END_TEST

/* RETIRE.2: granules claimed one by one.  .3: the chunk FREEING.  .4: granules let go one by one. */
START_TEST(retiring_cut_short_is_undone_or_finished)
{
        for (int freeing = 0; freeing < 2; freeing++)
                for (uint32_t n = 0; n <= GRANULES; n++) {
                        give(t, 0);
                        if (freeing)
                                r->chunk_words[0] = chunk_word(CHUNK_FREEING, t->no, 0);
                        for (uint32_t g = 0; g < GRANULES; g++)
                                if (freeing)
                                        *run_word(r, g) = g < n ? 0 : granule_word(GRANULE_NEW, t->no, 0);
                                else if (g < n)
                                        *run_word(r, g) = granule_word(GRANULE_NEW, t->no, 0);
                        t->slot->candidate = candidate_make(CANDIDATE_CHUNK, 0, 1);
                        reap_settle(r, t->no, NULL);
                        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, freeing);
                        if (!freeing)
                                ck_assert(chunk_retire(u, 0));
                }
}
END_TEST

/* CHUNK.1, RETIRE.1: the CAS came too late, or never. */
START_TEST(candidate_that_was_never_claimed_touches_nothing)
{
        uint64_t head, words[GRANULES], word;

        damage_is_done(true);
        give(t, 0);
        ck_assert_int_eq(run_claim(u, WHERE_RUN(0, CHUNK_ANY, 3, 1), &head), 0);
        for (int state = 0; state < CHUNK_N_STATES; state++)
                for (int owned = 0; owned < 2; owned++) {
                        r->chunk_words[0] = word = chunk_word((enum chunk_state)state, owned ? u->no : 0, 0);
                        memcpy(words, run_word(r, 0), sizeof words);
                        t->slot->candidate = candidate_make(CANDIDATE_CHUNK, 0, 1);
                        reap_settle(r, t->no, NULL);
                        ck_assert_uint_eq(word_of(0), word);
                        ck_assert_mem_eq(words, run_word(r, 0), sizeof words);
                }
        for (uint64_t chunk = 1; chunk < UINT64_C(1) << 29; chunk = chunk * 2 + 1) { /* beyond the mark */
                t->slot->candidate = candidate_make(CANDIDATE_CHUNK, chunk, 1);
                reap_settle(r, t->no, NULL);
        }
}
END_TEST

/* Hints of arena 0 about chunks must not be written where it never had any: there the table is a hole of the file. */
START_TEST(reaping_an_old_candidate_writes_no_hints_of_others)
{
        struct hint_group none = {{0}};

        give(u, 1);
        ck_assert(chunk_retire(u, 0));
        *run_word(r, 0) = granule_word(GRANULE_FREE, 0, 0); /* as another arena's chunk might just look like */
        t->slot->candidate = candidate_make(CANDIDATE_RUN, 0, 2);
        reap_settle(r, t->no, NULL);
        ck_assert_mem_eq(&r->hint_groups[0], &none, sizeof none);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("chunk");
        TCase *tcase = tcase_create("chunk");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, chunk_that_is_given_is_all_free);
        tcase_add_test(tcase, capacity_is_the_end);
        tcase_add_test(tcase, no_chunk_without_growing);
        tcase_add_test(tcase, retired_chunk_serves_another_arena);
        tcase_add_test(tcase, chunk_of_the_same_node_is_preferred);
        tcase_add_test(tcase, notes_of_pages_outlive_the_arena);
        tcase_add_test(tcase, chunk_in_use_is_not_retired);
        tcase_add_test(tcase, as_many_are_retired_as_wanted);
        tcase_add_test(tcase, free_chunks_are_found_whatever_the_hints_say);
        tcase_add_test(tcase, chunk_that_was_raised_and_not_taken_is_found);
        tcase_add_test(tcase, lost_hint_of_a_free_chunk_comes_back);
        tcase_add_test(tcase, free_hints_are_searched_from_and_to);
#if SHM_DEBUG
        tcase_add_test(tcase, chunk_whose_metadata_cannot_be_had_is_not_given);
#endif
        tcase_add_test(tcase, giving_cut_short_is_undone_or_finished);
        tcase_add_test(tcase, retiring_cut_short_is_undone_or_finished);
        tcase_add_test(tcase, candidate_that_was_never_claimed_touches_nothing);
        tcase_add_test(tcase, reaping_an_old_candidate_writes_no_hints_of_others);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
