/*
 * What is at stake: memory that nobody finds.  A hint may be wrong, but the search through two levels of bitmaps must
 * give the lowest chunk that is hinted at, must not step beyond what is backed, and must mend a summary that lies.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "pages/arena.h"
#include "pages/hint.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

#if SHM_TINY_GEOMETRY
enum { N_CHUNKS = 16 };
#else
enum { N_CHUNKS = 64 * 70 }; /* 70 groups: more than a word of the summary */
#endif

static struct heap_fixture fx;
static struct region *const r = &fx.region;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = N_CHUNKS, .arenas_per_node = 2});
        ck_assert_int_eq(arena_init(r, 0), 0);
        r->header->chunks_hwm = N_CHUNKS;
}

static void
teardown(void)
{
        heap_drop(&fx);
}

static struct arena *
arena_of(uint32_t a)
{
        return region_arena(r, a);
}

START_TEST(nothing_is_hinted_in_a_new_arena)
{
        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++)
                ck_assert_int_eq(hint_find(r, 0, kind, 0), POSITION_NONE);
}
END_TEST

START_TEST(find_gives_the_lowest_at_or_above)
{
        const uint64_t chunks[] = {1, 5, N_CHUNKS / 2, N_CHUNKS - 1};

        for (unsigned i = 0; i < 4; i++)
                hint_set(r, 0, 3, chunks[3 - i]);
        ck_assert_int_eq(hint_find(r, 0, 3, 0), 1);
        for (unsigned i = 0; i < 4; i++) {
                ck_assert_int_eq(hint_find(r, 0, 3, chunks[i]), (int64_t)chunks[i]);
                ck_assert_int_eq(hint_find(r, 0, 3, chunks[i] + 1), i < 3 ? (int64_t)chunks[i + 1] : POSITION_NONE);
        }
        ck_assert_int_eq(hint_find(r, 0, 3, UINT64_MAX - 64), POSITION_NONE);
}
END_TEST

/* Against a plain array, with random sets and clears. */
START_TEST(find_agrees_with_a_plain_array)
{
        static bool set[N_CHUNKS];

        memset(set, 0, sizeof set);
        srand(7);
        for (int step = 0; step < 3000; step++) {
                uint64_t chunk = (uint64_t)rand() % N_CHUNKS, from = (uint64_t)rand() % N_CHUNKS, expected = from;

                if (rand() % 3) {
                        hint_clear(r, 0, 11, chunk);
                        set[chunk] = false;
                } else {
                        hint_set(r, 0, 11, chunk);
                        set[chunk] = true;
                }
                while (expected < N_CHUNKS && !set[expected])
                        expected++;
                ck_assert_int_eq(hint_find(r, 0, 11, from), expected < N_CHUNKS ? (int64_t)expected : POSITION_NONE);
        }
}
END_TEST

START_TEST(several_hints_are_set_as_one_by_one)
{
        hint_set_several(r, 0, 5, 3, 6);
        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++)
                ck_assert_int_eq(hint_find(r, 0, kind, 0), kind >= 5 && kind < 8 ? 6 : POSITION_NONE);
        hint_set_several(r, 0, 9, 0, 6);
        ck_assert_int_eq(hint_find(r, 0, 9, 0), POSITION_NONE);
        hint_set_several(r, 2, 9, 1, 0); /* no such arena */
        hint_set_several(r, 0, 9, 1, N_CHUNKS);
        ck_assert_int_eq(hint_find(r, 0, 9, 0), POSITION_NONE);
}
END_TEST

START_TEST(kinds_and_arenas_stand_apart)
{
        ck_assert_int_eq(arena_init(r, 1), 0);
        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++) {
                hint_set(r, 0, kind, 2 + kind % 8);
                ck_assert_int_eq(hint_find(r, 1, kind, 0), POSITION_NONE);
        }
        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++) {
                ck_assert_int_eq(hint_find(r, 0, kind, 0), 2 + kind % 8);
                hint_clear(r, 0, kind, 2 + kind % 8);
                ck_assert_int_eq(hint_find(r, 0, kind, 0), POSITION_NONE);
        }
}
END_TEST

START_TEST(arena_that_is_not_ready_has_no_hints)
{
        hint_set(r, 1, 0, 0);
        hint_clear(r, 1, 0, 0);
        ck_assert_int_eq(hint_find(r, 1, 0, 0), POSITION_NONE);
        hint_set(r, 2, 0, 0); /* no such arena */
        hint_set(r, UINT32_MAX, 0, 0);
        ck_assert_int_eq(hint_find(r, 2, 0, 0), POSITION_NONE);
        ck_assert_int_eq(hint_find(r, UINT32_MAX, 0, 0), POSITION_NONE);
        ck_assert_int_eq(arena_init(r, 1), 0);
        ck_assert_int_eq(hint_find(r, 1, 0, 0), POSITION_NONE);
}
END_TEST

START_TEST(chunk_beyond_the_table_is_ignored)
{
        hint_set(r, 0, 0, N_CHUNKS);
        hint_set(r, 0, 0, UINT64_MAX);
        hint_clear(r, 0, 0, UINT64_MAX);
        ck_assert_int_eq(hint_find(r, 0, 0, 0), POSITION_NONE);
}
END_TEST

/* What lies beyond the mark cannot be claimed, and its words are not backed. */
START_TEST(chunk_beyond_the_mark_is_not_given)
{
        r->header->chunks_hwm = 4;
        hint_set(r, 0, 0, 4);
        hint_set(r, 0, 0, N_CHUNKS - 1);
        ck_assert_int_eq(hint_find(r, 0, 0, 0), POSITION_NONE);
        hint_set(r, 0, 0, 3);
        ck_assert_int_eq(hint_find(r, 0, 0, 0), 3);
        ck_assert_int_eq(hint_find(r, 0, 0, 4), POSITION_NONE);
        r->header->chunks_hwm = 5;
        ck_assert_int_eq(hint_find(r, 0, 0, 4), 4);
}
END_TEST

START_TEST(summary_of_an_empty_group_is_mended)
{
        uint64_t *summary = &arena_of(0)->summary[2 * r->layout.n_summary_words];

        hint_set(r, 0, 2, 0);
        ck_assert_uint_eq(*summary & 1, 1);
        hint_clear(r, 0, 2, 0);
        ck_assert_uint_eq(*summary & 1, 1); /* not looked at yet */
        ck_assert_int_eq(hint_find(r, 0, 2, 0), POSITION_NONE);
        ck_assert_uint_eq(*summary & 1, 0);
        hint_set(r, 0, 2, 0);
        ck_assert_int_eq(hint_find(r, 0, 2, 0), 0);
}
END_TEST

/* Only while it is empty: a group in which just nothing lies above `from` keeps its bit. */
START_TEST(summary_of_a_group_with_hints_below_stays)
{
        hint_set(r, 0, 2, 1);
        ck_assert_int_eq(hint_find(r, 0, 2, 2), POSITION_NONE);
        ck_assert_int_eq(hint_find(r, 0, 2, 0), 1);
}
END_TEST

/* A hostile or torn summary: bits for groups that do not exist lead nowhere. */
START_TEST(summary_full_of_lies_leads_nowhere)
{
        memset(arena_of(0)->summary, 0xff, r->layout.n_summary_words * HINT_N_KINDS * sizeof(uint64_t));
        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++)
                ck_assert_int_eq(hint_find(r, 0, kind, 0), POSITION_NONE);
}
END_TEST

/* ------------------------------------------------------------------ together */

enum { N_ROUNDS = 10, N_GROUPS = (N_CHUNKS + 63) / 64, N_PAIRS = HINT_N_KINDS * N_GROUPS };

static pthread_barrier_t begin, end;
static uint32_t setter_at, looker_at; /* pairs of kind and group; which one each is at */

/* For a moment: so that the two meet at the same pair, mostly, without one ever depending on the other. */
static void
wait_a_moment(uint32_t *at, uint32_t pair)
{
        for (int spins = 0; spins < 2000 && __atomic_load_n(at, __ATOMIC_RELAXED) < pair; spins++)
                continue;
}

/* Looks at every group of every kind, and so clears the summaries of those that it finds empty. */
static void *
look(void *arg)
{
        (void)arg;
        for (int round = 0; round < N_ROUNDS; round++) {
                pthread_barrier_wait(&begin);
                for (uint32_t pair = 0; pair < N_PAIRS; pair++) {
                        __atomic_store_n(&looker_at, pair, __ATOMIC_RELAXED);
                        wait_a_moment(&setter_at, pair);
                        for (uint32_t delay = 0; delay < pair % 40; delay++)
                                __atomic_signal_fence(__ATOMIC_SEQ_CST);
                        (void)hint_find(r, 0, pair % HINT_N_KINDS, (uint64_t)pair / HINT_N_KINDS * 64);
                }
                pthread_barrier_wait(&end);
        }
        return NULL;
}

static void
set_all(bool is_met)
{
        for (uint32_t pair = 0; pair < N_PAIRS; pair++) {
                uint32_t kind = pair % HINT_N_KINDS;
                uint64_t chunk = (uint64_t)pair / HINT_N_KINDS * 64;

                if (is_met) {
                        wait_a_moment(&looker_at, pair);
                        __atomic_store_n(&setter_at, pair, __ATOMIC_RELAXED);
                }
                hint_set(r, 0, kind, chunk);
                if (!is_met)
                        hint_clear(r, 0, kind, chunk); /* leaves the summary's bit */
        }
}

/* Whoever clears the summary of an empty group looks again, so a hint that is set meanwhile is not lost. */
START_TEST(hint_set_while_its_summary_is_cleared_is_found)
{
        pthread_t looker;

        pthread_barrier_init(&begin, NULL, 2);
        pthread_barrier_init(&end, NULL, 2);
        ck_assert_int_eq(pthread_create(&looker, NULL, look, NULL), 0);
        for (int round = 0; round < N_ROUNDS; round++) {
                set_all(false);
                setter_at = looker_at = 0;
                pthread_barrier_wait(&begin);
                set_all(true);
                pthread_barrier_wait(&end);
                for (uint32_t pair = 0; pair < N_PAIRS; pair++) {
                        int64_t chunk = (int64_t)(pair / HINT_N_KINDS * 64);

                        ck_assert_int_eq(hint_find(r, 0, pair % HINT_N_KINDS, (uint64_t)chunk), chunk);
                }
        }
        ck_assert_int_eq(pthread_join(looker, NULL), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("hint");
        TCase *tcase = tcase_create("hint");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, nothing_is_hinted_in_a_new_arena);
        tcase_add_test(tcase, find_gives_the_lowest_at_or_above);
        tcase_add_test(tcase, find_agrees_with_a_plain_array);
        tcase_add_test(tcase, several_hints_are_set_as_one_by_one);
        tcase_add_test(tcase, kinds_and_arenas_stand_apart);
        tcase_add_test(tcase, arena_that_is_not_ready_has_no_hints);
        tcase_add_test(tcase, chunk_beyond_the_table_is_ignored);
        tcase_add_test(tcase, chunk_beyond_the_mark_is_not_given);
        tcase_add_test(tcase, summary_of_an_empty_group_is_mended);
        tcase_add_test(tcase, summary_of_a_group_with_hints_below_stays);
        tcase_add_test(tcase, summary_full_of_lies_leads_nowhere);
        tcase_add_test(tcase, hint_set_while_its_summary_is_cleared_is_found);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
