/*
 * What is at stake: threads crowd in one arena while others idle, or a death leaves an arena looking busy for ever.
 * The rule is tried on every kind of table, then with binders that race.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "clients/binding.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/plain_region.h"
#include "support/suite.h"

enum { N_NODES = 2, N_ARENAS = 4, N_THREADS = 40 };

static struct region region, *r = &region;
static struct client_id client;

static void
setup(void)
{
        plain_region_make(r, 2, N_THREADS, N_NODES, N_ARENAS);
        ck_assert_int_eq(client_register(r, &client), 0);
        for (uint32_t k = 0; k < N_THREADS; k++)
                ck_assert_int_eq(region_raise_threads(r, k), 0);
}

static void
teardown(void)
{
        plain_region_drop(r);
}

/* A thread that has slot idx, without a thread of its own: binding looks at no more than this. */
static struct thread
thread_in(uint32_t idx)
{
        r->bindings[idx] |= BINDING_USED;
        return (struct thread){.region = r, .slot = region_thread(r, idx), .gate = region_gate(r, idx), .no = idx + 1};
}

/* Gives arena a `load` threads, in slots from `*next` on. */
static void
load_arena(uint32_t arena, uint32_t load, uint32_t *next)
{
        for (uint32_t i = 0; i < load; i++)
                r->bindings[(*next)++] = BINDING_ARENA(arena);
}

static void
loads_of_node(uint32_t node, uint32_t load[N_ARENAS])
{
        memset(load, 0, N_ARENAS * sizeof load[0]);
        for (uint32_t idx = 0; idx < N_THREADS; idx++)
                for (uint32_t a = 0; a < N_ARENAS; a++)
                        load[a] += load_relaxed(&r->bindings[idx]) == BINDING_ARENA(node * N_ARENAS + a);
}

static uint32_t
spread_of(const uint32_t load[N_ARENAS])
{
        uint32_t min = load[0], max = load[0];

        for (uint32_t a = 1; a < N_ARENAS; a++) {
                min = load[a] < min ? load[a] : min;
                max = load[a] > max ? load[a] : max;
        }
        return max - min;
}

/* ------------------------------------------------------------------ the rule */

START_TEST(zero_load_before_uninitialised_before_least_load)
{
        static const struct {
                uint32_t load[N_ARENAS];
                uint32_t ready[N_ARENAS];
                uint32_t chosen;
        } cases[] = {
                {{0, 0, 0, 0}, {0, 0, 0, 0}, 0}, /* none ready: the first */
                {{0, 0, 0, 0}, {0, 0, 1, 1}, 2}, /* a ready one without threads before a new one */
                {{1, 0, 0, 0}, {1, 0, 0, 0}, 1}, /* a new one before a second thread */
                {{1, 0, 0, 0}, {1, 0, 0, 1}, 3},
                {{1, 1, 0, 0}, {1, 0, 0, 0}, 2}, /* one that somebody is about to make ready counts as taken */
                {{1, 1, 1, 1}, {1, 1, 1, 1}, 0}, /* equals: the lowest */
                {{2, 1, 2, 1}, {1, 1, 1, 1}, 1},
                {{3, 2, 2, 1}, {1, 1, 1, 0}, 3}, /* fewest, whatever its state */
                {{5, 4, 3, 0}, {1, 1, 1, 1}, 3},
        };

        for (unsigned i = 0; i < sizeof cases / sizeof cases[0]; i++) {
                for (uint32_t node = 0; node < N_NODES; node++) {
                        struct thread t;
                        uint32_t next = 1;

                        memset(r->bindings, 0, N_THREADS * sizeof r->bindings[0]);
                        for (uint32_t a = 0; a < N_ARENAS; a++) {
                                load_arena(node * N_ARENAS + a, cases[i].load[a], &next);
                                r->arena_words[node * N_ARENAS + a] = cases[i].ready[a] ? ARENA_READY : ARENA_UNINIT;
                        }
                        load_arena((1 - node) * N_ARENAS + cases[i].chosen, 9, &next); /* other nodes do not count */
                        t = thread_in(0);
                        ck_assert_int_eq(binding_choose(&t, node), 0);
                        ck_assert_uint_eq(t.arena, node * N_ARENAS + cases[i].chosen);
                        ck_assert_uint_eq(t.node, node);
                        ck_assert_uint_eq(r->bindings[0], BINDING_ARENA(t.arena));
                }
        }
}
END_TEST

START_TEST(one_after_another_they_fill_the_arenas_evenly)
{
        static const uint32_t chosen[] = {2, 0, 1, 3, 0, 1, 2, 3, 0}; /* 2 is ready, the others become so */

        r->arena_words[2] = ARENA_READY;
        for (uint32_t i = 0; i < sizeof chosen / sizeof chosen[0]; i++) {
                struct thread t = thread_in(i);

                ck_assert_int_eq(binding_choose(&t, 0), 0);
                ck_assert_uint_eq(t.arena, chosen[i]);
                r->arena_words[t.arena] = ARENA_READY;
        }
        ck_assert_uint_eq(r->header->node_version[0], sizeof chosen / sizeof chosen[0]);
}
END_TEST

START_TEST(who_binds_again_does_not_count_itself)
{
        struct thread t = thread_in(0);
        uint32_t next = 1;

        for (uint32_t a = 0; a < N_ARENAS; a++)
                r->arena_words[a] = ARENA_READY;
        load_arena(1, 1, &next);
        load_arena(2, 1, &next);
        load_arena(3, 1, &next);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(binding_choose(&t, 0), 0);
                ck_assert_uint_eq(t.arena, 0);
        }
        ck_assert_int_eq(binding_choose(&t, 1), 0); /* another node: it leaves the first */
        ck_assert_uint_eq(t.arena, N_ARENAS);
        ck_assert_uint_eq(t.node, 1);
}
END_TEST

START_TEST(the_dead_do_not_count)
{
        struct thread t = thread_in(0);
        uint32_t next = 1;

        for (uint32_t a = 0; a < N_ARENAS; a++)
                r->arena_words[a] = ARENA_READY;
        load_arena(0, 1, &next);
        load_arena(1, 2, &next); /* slots 2 and 3 */
        load_arena(2, 1, &next);
        load_arena(3, 1, &next);
        region_gate(r, 2)->life.word = ROBUST_OWNER_DIED;
        region_gate(r, 3)->life.word = ROBUST_OWNER_DIED;
        ck_assert_int_eq(binding_choose(&t, 0), 0);
        ck_assert_uint_eq(t.arena, 1);
}
END_TEST

START_TEST(reserve_slots_neither_count_nor_bind)
{
        struct thread t = thread_in(1), borrower = thread_in(0);

        for (uint32_t a = 0; a < N_ARENAS; a++)
                r->arena_words[a] = ARENA_READY;
        r->bindings[0] = BINDING_RESERVE;
        ck_assert_int_eq(binding_choose(&borrower, 0), 0);
        ck_assert_uint_eq(borrower.arena, 0);
        ck_assert_uint_eq(r->bindings[0], BINDING_RESERVE);
        ck_assert_int_eq(binding_choose(&t, 0), 0);
        ck_assert_uint_eq(t.arena, 0);
}
END_TEST

START_TEST(node_that_does_not_exist_is_refused)
{
        struct thread t = thread_in(0);

        ck_assert_int_eq(binding_choose(&t, N_NODES), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "no node 2"));
        ck_assert_int_eq(binding_choose(&t, UINT32_MAX), -EINVAL);
        ck_assert_uint_eq(r->bindings[0], BINDING_USED);
}
END_TEST

START_TEST(damaged_bindings_are_not_followed)
{
        struct thread t = thread_in(0);

        for (uint32_t idx = 1; idx < N_THREADS; idx++)
                r->bindings[idx] = idx % 2 ? UINT32_MAX & ~BINDING_RESERVE : BINDING_ARENA(N_NODES * N_ARENAS);
        ck_assert_int_eq(binding_choose(&t, 1), 0);
        ck_assert_uint_eq(t.arena, N_ARENAS);
}
END_TEST

/* ------------------------------------------------------------------ racing */

enum { N_BINDERS = 2 };

static pthread_barrier_t start, end;

static void *
bind_in_turns(void *arg)
{
        uint32_t first = (uint32_t)(uintptr_t)arg;

        for (uint32_t idx = first; idx < N_THREADS; idx += N_BINDERS) {
                struct thread t;

                pthread_barrier_wait(&start);
                t = (struct thread){
                        .region = r, .slot = region_thread(r, idx), .gate = region_gate(r, idx), .no = idx + 1};
                ck_assert_int_eq(binding_choose(&t, 0), 0);
                pthread_barrier_wait(&end);
        }
        return NULL;
}

/* Two at a time: each can be overtaken once at most, so the count of whoever is second holds. */
START_TEST(two_binders_leave_loads_at_most_one_apart)
{
        pthread_t threads[N_BINDERS];
        uint32_t load[N_ARENAS];

        for (int repeat = 0; repeat < 50; repeat++) {
                memset(r->bindings, 0, N_THREADS * sizeof r->bindings[0]);
                pthread_barrier_init(&start, NULL, N_BINDERS + 1);
                pthread_barrier_init(&end, NULL, N_BINDERS + 1);
                for (uintptr_t i = 0; i < N_BINDERS; i++)
                        ck_assert_int_eq(pthread_create(&threads[i], NULL, bind_in_turns, (void *)i), 0);
                for (int turn = 0; turn < N_THREADS / N_BINDERS; turn++) {
                        pthread_barrier_wait(&start);
                        pthread_barrier_wait(&end);
                        loads_of_node(0, load);
                        ck_assert_uint_le(spread_of(load), 1);
                }
                for (int i = 0; i < N_BINDERS; i++)
                        pthread_join(threads[i], NULL);
                pthread_barrier_destroy(&start);
                pthread_barrier_destroy(&end);
        }
}
END_TEST

static void *
bind_at_once(void *arg)
{
        uint32_t idx = (uint32_t)(uintptr_t)arg;
        struct thread t = {.region = r, .slot = region_thread(r, idx), .gate = region_gate(r, idx), .no = idx + 1};

        pthread_barrier_wait(&start);
        ck_assert_int_eq(binding_choose(&t, 0), 0);
        return NULL;
}

/* Bounded tries, so no promise of evenness; but everybody is bound and nobody waits for anybody. */
START_TEST(many_binders_at_once_are_all_bound)
{
        pthread_t threads[N_THREADS];
        uint32_t load[N_ARENAS], n_bound = 0;

        pthread_barrier_init(&start, NULL, N_THREADS);
        for (uintptr_t i = 0; i < N_THREADS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, bind_at_once, (void *)i), 0);
        for (int i = 0; i < N_THREADS; i++)
                pthread_join(threads[i], NULL);
        loads_of_node(0, load);
        for (uint32_t a = 0; a < N_ARENAS; a++)
                n_bound += load[a];
        ck_assert_uint_eq(n_bound, N_THREADS);
        ck_assert_uint_lt(spread_of(load), N_THREADS / 2);
        pthread_barrier_destroy(&start);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("binding");
        TCase *tcase = tcase_create("least load");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, zero_load_before_uninitialised_before_least_load);
        tcase_add_test(tcase, one_after_another_they_fill_the_arenas_evenly);
        tcase_add_test(tcase, who_binds_again_does_not_count_itself);
        tcase_add_test(tcase, the_dead_do_not_count);
        tcase_add_test(tcase, reserve_slots_neither_count_nor_bind);
        tcase_add_test(tcase, node_that_does_not_exist_is_refused);
        tcase_add_test(tcase, damaged_bindings_are_not_followed);
        tcase_add_test(tcase, two_binders_leave_loads_at_most_one_apart);
        tcase_add_test(tcase, many_binders_at_once_are_all_bound);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
