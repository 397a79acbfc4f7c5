/*
 * What is at stake: slots and places of clients, of which there are so many and no more.  However many processes and
 * threads come, go and die, what they had is had again, and a table that is full says so.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "os/process.h"
#include "support/checks.h"
#include "support/mortal.h"
#include "support/plain_region.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ many */

static void
open_and_die(void)
{
        struct reserve reserve;

        NEED(client_register(r, &client) == 0);
        slot_reserve_init(&reserve);
        NEED(slot_reserve(&reserve, r, &client, settle_count, NULL) == 0);
        raise(SIGKILL);
}

START_TEST(processes_that_open_and_die_use_nothing_up)
{
        struct child child;
        struct reserve reserve;

        for (int i = 0; i < 3 * N_THREADS; i++) {
                child_start(&child, open_and_die);
                ck_assert_int_eq(WTERMSIG(child_bury(&child)), SIGKILL);
        }
        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, settle_count, NULL), 0);
        ck_assert_uint_le(region_clients_hwm(r), 2);
        slot_reap_all(r, settle_count, NULL);
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                ck_assert_uint_eq(r->bindings[idx], idx == reserve.idx ? BINDING_RESERVE : 0);
}
END_TEST

enum { N_PROCESSES = 4, THREADS_AT_ONCE = 8, N_WAVES = 70 };

static void
settle_user(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)region_settled;
        (void)arg;
        __atomic_store_n(&shared->user_of[thread_no - 1], 0, __ATOMIC_RELAXED);
}

static void *
come_and_go(void *arg)
{
        struct thread t = {0};
        uint32_t me = process_tid();
        int err = slot_attach(&t, r, &client, settle_user, NULL);

        if (err < 0) {
                __atomic_fetch_add(&shared->n_refused, 1, __ATOMIC_RELAXED);
                return NULL;
        }
        NEED(__atomic_exchange_n(&shared->user_of[t.no - 1], me, __ATOMIC_RELAXED) == 0);
        __atomic_fetch_add(&shared->n_came, 1, __ATOMIC_RELAXED);
        slot_reap_one(r, me % N_THREADS, settle_user, NULL);
        NEED(__atomic_load_n(&shared->user_of[t.no - 1], __ATOMIC_RELAXED) == me);
        if ((uintptr_t)arg % 3 == 0)
                return NULL; /* dies */
        __atomic_store_n(&shared->user_of[t.no - 1], 0, __ATOMIC_RELAXED);
        slot_detach(&t);
        return NULL;
}

/* The clients of the dead are reused once their threads are settled; that somebody else is just doing that is no
 * promise that it is done yet. */
static void
register_among_the_dead(void)
{
        while (client_register(r, &client) < 0) {
                slot_reap_all(r, settle_user, NULL);
                sched_yield();
        }
}

static void
many_threads(void)
{
        pthread_t threads[THREADS_AT_ONCE];

        register_among_the_dead();
        for (uintptr_t wave = 0; wave < N_WAVES; wave++) {
                for (uintptr_t i = 0; i < THREADS_AT_ONCE; i++)
                        NEED(pthread_create(&threads[i], NULL, come_and_go, (void *)(wave + i)) == 0);
                for (int i = 0; i < THREADS_AT_ONCE; i++)
                        pthread_join(threads[i], NULL);
                say();
        }
}

/* Thousands of threads in 48 slots; one of the processes is killed now and then, and another one comes. */
START_TEST(thousands_of_threads_come_and_go_without_using_up_slots)
{
        struct child children[N_PROCESSES];
        uint32_t n_killed = 0;
        char c;

        for (int i = 0; i < N_PROCESSES; i++)
                child_start(&children[i], many_threads);
        for (int wave = 0; wave < N_WAVES; wave++)
                for (int i = 0; i < N_PROCESSES; i++) {
                        if (read(children[i].said, &c, 1) != 1)
                                continue;
                        if (i == 0 && wave % 8 == 5) {
                                child_kill_and_bury(&children[i]);
                                child_start(&children[i], many_threads);
                                n_killed++;
                        }
                }
        for (int i = 0; i < N_PROCESSES; i++) {
                while (read(children[i].said, &c, 1) == 1)
                        ;
                child_must_succeed(&children[i]);
        }
        ck_assert_uint_ge(n_killed, 8);
        ck_assert_uint_eq(shared->n_refused, 0);
        ck_assert_uint_ge(shared->n_came, 2000);
        slot_reap_all(r, settle_user, NULL);
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++) {
                ck_assert_uint_eq(gate_at(idx)->state, 0);
                ck_assert_uint_eq(r->bindings[idx], 0);
                ck_assert_uint_eq(shared->user_of[idx], 0);
        }
        ck_assert_uint_le(region_clients_hwm(r), N_CLIENTS);
}
END_TEST

START_TEST(full_table_is_refused_and_the_reserve_slot_still_works)
{
        struct child children[N_CLIENTS - 1];
        struct region small, *whole = r;
        struct reserve reserve;
        struct thread t = {0};

        plain_region_make(&small, N_CLIENTS, N_CLIENTS, 1, 1);
        r = &small;
        ck_assert_int_eq(client_register(r, &client), 0);
        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, settle_count, NULL), 0);
        for (int i = 0; i < N_CLIENTS - 1; i++) {
                child_start(&children[i], attach_and_wait);
                child_await(&children[i]);
        }
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), -EUSERS);
        ck_assert_ptr_nonnull(strstr(error_message(), "all 6 thread slots"));
        ck_assert_int_eq(slot_borrow(&reserve, &t, r, &client, settle_never, NULL), 0);
        slot_return(&reserve, &t);
        child_kill_and_bury(&children[2]);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_count, NULL), 0);
        slot_release(&t);
        for (int i = 0; i < N_CLIENTS - 1; i++)
                if (i != 2)
                        child_kill_and_bury(&children[i]);
        plain_region_drop(r);
        r = whole;
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("death_many");
        TCase *tcase = suite_case(suite, "many", setup, teardown);

        tcase_add_test(tcase, processes_that_open_and_die_use_nothing_up);
        tcase_add_test(tcase, thousands_of_threads_come_and_go_without_using_up_slots);
        tcase_add_test(tcase, full_table_is_refused_and_the_reserve_slot_still_works);

        return suite_run(suite);
}
