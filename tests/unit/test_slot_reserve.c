/*
 * What is at stake: the slot that a client keeps for its threads that find no other.  If it has two users, two threads
 * own the same blocks; if one dies in it and it is not settled, or it is lent and not had again, a guarantee is gone.
 * Threads of this process play the clients, as in test_slot.c.
 */
#include <errno.h>
#include <pthread.h>
#include <unistd.h>

#include "clients/client.h"
#include "clients/slot.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/slot_fixture.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ the reserve slot */

START_TEST(reserve_slot_serves_when_all_others_are_taken)
{
        struct actor actors[N_THREADS];
        struct reserve reserve;
        struct thread t = {0};
        struct slot_gate *gate;

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(client_threads_remaining(r, &client), 0); /* it does not keep the mapping */
        fill_all(actors, N_THREADS - 1);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), -EUSERS);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(slot_borrow(&reserve, &t, r, &client, settle_never, NULL), 0);
                gate = region_gate(r, reserve.idx);
                ck_assert_ptr_eq(t.gate, gate);
                ck_assert_uint_eq(t.no, reserve.idx + 1);
                ck_assert_uint_eq(gate->state, 1);
                ck_assert_uint_eq(robust_word_tid(robust_word(&gate->life)), process_tid());
                ck_assert_int_eq(slot_reap_one(r, reserve.idx, settle_never, NULL), 0);
                slot_return(&reserve, &t);
                ck_assert_uint_eq(gate->state, 0);
                ck_assert_uint_eq(robust_word(&gate->life), 0);
                ck_assert_uint_eq(slot_reap_all(r, settle_never, NULL), 0); /* it stays reserved */
        }
        for (uint32_t i = 0; i < N_THREADS - 1; i++)
                actor_end(&actors[i], END_DETACH);
}
END_TEST

struct borrower {
        struct reserve *reserve;
        uint32_t n_inside;
};

static void *
borrow_often(void *arg)
{
        struct borrower *borrower = arg;
        struct thread t = {0};

        for (int i = 0; i < 300; i++) {
                ck_assert_int_eq(slot_borrow(borrower->reserve, &t, r, &client, settle_never, NULL), 0);
                ck_assert_uint_eq(__atomic_fetch_add(&borrower->n_inside, 1, __ATOMIC_RELAXED), 0);
                __atomic_fetch_sub(&borrower->n_inside, 1, __ATOMIC_RELAXED);
                slot_return(borrower->reserve, &t);
        }
        return NULL;
}

START_TEST(reserve_slot_has_one_user_at_a_time)
{
        struct reserve reserve;
        struct borrower borrower = {.reserve = &reserve};
        pthread_t threads[4];

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, borrow_often, &borrower), 0);
        for (int i = 0; i < 300; i++)
                slot_reap_all(r, settle_never, NULL); /* reapers do not get into their way */
        for (int i = 0; i < 4; i++)
                pthread_join(threads[i], NULL);
}
END_TEST

static void *
borrow_and_die(void *arg)
{
        struct thread t = {0};

        ck_assert_int_eq(slot_borrow(arg, &t, r, &client, settle_never, NULL), 0);
        return NULL;
}

START_TEST(borrower_that_dies_is_settled_and_the_reserve_kept)
{
        struct settled settled = {0};
        struct reserve reserve;
        struct thread t = {0};

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        in_thread(borrow_and_die, &reserve);
        ck_assert_int_eq(slot_reap_one(r, reserve.idx, settle_count, &settled), 1); /* by anybody */
        ck_assert_uint_eq(r->bindings[reserve.idx], BINDING_RESERVE);
        in_thread(borrow_and_die, &reserve);
        ck_assert_int_eq(slot_borrow(&reserve, &t, r, &client, settle_count, &settled), 0); /* by the next borrower */
        ck_assert_uint_eq(settled.n[reserve.idx + 1], 2);
        slot_return(&reserve, &t);
}
END_TEST

START_TEST(reserve_slot_of_a_client_that_is_gone_is_anybodys)
{
        struct settled settled = {0};
        struct reserve reserve;
        struct thread t = {0};

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        client_unregister(r, &client);
        ck_assert_int_eq(slot_reap_one(r, reserve.idx, settle_count, &settled), 1);
        ck_assert_uint_eq(r->bindings[reserve.idx], 0);
        ck_assert_int_eq(client_register(r, &client), 0);
        ck_assert_int_eq(slot_borrow(&reserve, &t, r, &client, settle_never, NULL), -ESTALE);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, reserve.idx + 1);
        slot_release(&t);
}
END_TEST

/* ------------------------------------------------------------------ lending */

static void *
lend_and_die(void *arg)
{
        struct thread t = {.no = 0};

        (void)arg;
        ck_assert_int_eq(slot_lend(&t, r, settle_never, NULL), 0);
        return NULL;
}

START_TEST(idle_reserve_slot_is_lent_to_whoever_asks_and_had_again)
{
        struct settled settled = {{0}};
        struct reserve reserve;
        struct thread t = {.no = 0}, u = {.no = 0};
        uint32_t idx;

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, settle_never, NULL), 0);
        idx = reserve.idx;
        ck_assert_int_eq(slot_lend(&t, r, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, idx + 1);
        ck_assert_uint_eq(state_of(idx), 1);
        ck_assert_int_eq(slot_lend(&u, r, settle_never, NULL), -EBUSY); /* there was one */
        ck_assert_int_eq(slot_borrow(&reserve, &u, r, &client, settle_never, NULL), -EBUSY);
        ck_assert_int_eq(slot_reap_one(r, idx, settle_never, NULL), 0);
        slot_give_back(&t);
        ck_assert_uint_eq(state_of(idx), 0);
        ck_assert_int_eq(slot_borrow(&reserve, &u, r, &client, settle_never, NULL), 0);
        ck_assert_int_eq(slot_lend(&t, r, settle_never, NULL), -EBUSY);
        slot_return(&reserve, &u);

        in_thread(lend_and_die, NULL);
        ck_assert_uint_eq(state_of(idx), 1);
        ck_assert_int_eq(slot_borrow(&reserve, &u, r, &client, settle_count, &settled), 0);
        ck_assert_uint_eq(settled.n[idx + 1], 1);
        slot_return(&reserve, &u);
        in_thread(lend_and_die, NULL);
        ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
        ck_assert_int_eq(slot_lend(&t, r, settle_never, NULL), 0); /* it is kept for its client, who lives */
        slot_give_back(&t);
}
END_TEST

static void *
reap_of_dead_client(void *arg)
{
        struct settled settled = {{0}};

        ck_assert_int_eq(slot_reap_of_dead(r, *(const uint32_t *)arg, &client, settle_count, &settled), 1);
        return NULL;
}

/* That a client is dead says nothing of the stranger to whom its reserve slot was lent. */
START_TEST(borrower_of_another_process_outlives_the_client_that_lent)
{
        struct reserve reserve;
        struct thread t = {.no = 0};

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, settle_never, NULL), 0);
        ck_assert_int_eq(slot_lend(&t, r, settle_never, NULL), 0);
        region_client(r, client.idx)->process++; /* the client is another process */
        ck_assert_int_eq(slot_reap_of_dead(r, reserve.idx, &client, settle_never, NULL), 0);
        region_client(r, client.idx)->process--;
        region_client(r, client.idx)->pid_ns--; /* of the same number, in another pid namespace */
        ck_assert_int_eq(slot_reap_of_dead(r, reserve.idx, &client, settle_never, NULL), 0);
        region_client(r, client.idx)->pid_ns++;
        slot_give_back(&t);
        ck_assert_int_eq(slot_borrow(&reserve, &t, r, &client, settle_never, NULL), 0);
        in_thread(reap_of_dead_client, &reserve.idx);
}
END_TEST

START_TEST(unreserved_slot_is_anybodys)
{
        struct reserve reserve;
        struct thread t = {0};

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        slot_unreserve(&reserve, r, &client);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, reserve.idx + 1);
        slot_release(&t);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("slot_reserve");
        TCase *tcase = suite_case(suite, "reserve", slot_setup, slot_teardown);

        tcase_add_test(tcase, reserve_slot_serves_when_all_others_are_taken);
        tcase_add_test(tcase, reserve_slot_has_one_user_at_a_time);
        tcase_add_test(tcase, borrower_that_dies_is_settled_and_the_reserve_kept);
        tcase_add_test(tcase, idle_reserve_slot_is_lent_to_whoever_asks_and_had_again);
        tcase_add_test(tcase, borrower_of_another_process_outlives_the_client_that_lent);
        tcase_add_test(tcase, reserve_slot_of_a_client_that_is_gone_is_anybodys);
        tcase_add_test(tcase, unreserved_slot_is_anybodys);

        return suite_run(suite);
}
