/*
 * What is at stake: a slot given to two threads at once, or taken from one that lives, and two threads own the same
 * blocks; a slot that nobody can have again, and what its dead thread owned is lost.  Here threads of this process play
 * the clients; they die by ending without a word, which the kernel marks exactly as it does for a killed process.
 * tests/multi/test_death.c does the same with real ones.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/client.h"
#include "clients/liveness.h"
#include "clients/slot.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/slot_fixture.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ attach, detach, release */

START_TEST(attach_takes_the_lowest_empty_slot_and_fills_it)
{
        struct actor actor;
        struct thread t = {0};
        struct slot_gate *gate;

        actor_start(&actor);
        ck_assert_int_eq(actor.err, 0);
        ck_assert_uint_eq(actor.t.no, 1);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        gate = region_gate(r, 1);
        ck_assert_ptr_eq(t.region, r);
        ck_assert_ptr_eq(t.gate, gate);
        ck_assert_ptr_eq(t.slot, region_thread(r, 1));
        ck_assert_uint_eq(t.no, 2);
        ck_assert_uint_eq(t.client_idx, client.idx);
        ck_assert_uint_eq(t.client_incarnation, client.incarnation);
        ck_assert_uint_eq(gate->state, 1);
        ck_assert_uint_eq(gate->client_idx, client.idx);
        ck_assert_uint_eq(gate->client_incarnation, client.incarnation);
        ck_assert_uint_eq(gate->os_tid, process_tid());
        ck_assert_uint_eq(gate->os_pid, (uint32_t)getpid());
        ck_assert_uint_eq(robust_word_pid_ns(robust_word(&gate->life)), process_pid_ns());
        ck_assert_uint_eq(r->bindings[1], BINDING_USED);
        ck_assert_uint_eq(robust_word_tid(robust_word(&gate->life)), process_tid());
        ck_assert_uint_eq(robust_word(&gate->reap), 0);
        slot_release(&t);
        actor_end(&actor, END_RELEASE);
}
END_TEST

START_TEST(release_empties_the_slot_and_unlocks_life)
{
        struct thread t = {0};

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        slot_release(&t);
        ck_assert_uint_eq(state_of(0), 0);
        ck_assert_uint_eq(r->bindings[0], 0);
        ck_assert_uint_eq(robust_word(&region_gate(r, 0)->life), 0);
        ck_assert(slot_has_let_go(r, 0));
        slot_release(&t); /* a second time does nothing */
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        slot_release(&t);
}
END_TEST

START_TEST(detached_slot_stays_its_threads_until_it_ends)
{
        struct thread t = {0};

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        slot_detach(&t);
        ck_assert_uint_eq(state_of(0), 0);
        ck_assert(!slot_has_let_go(r, 0));
        ck_assert_uint_eq(client_threads_remaining(r, &client), 1);
        ck_assert_uint_eq(dead_slot(), 1); /* another thread passes it by */
        ck_assert_int_eq(slot_reap_one(r, 0, settle_never, NULL), 0);
        slot_release(&t);
        ck_assert(slot_has_let_go(r, 0));
        ck_assert_uint_eq(client_threads_remaining(r, &client), 0);
}
END_TEST

START_TEST(slot_of_an_ended_thread_is_inherited_without_reaping)
{
        struct actor actor;
        struct thread t = {0};

        actor_start(&actor);
        actor_end(&actor, END_DETACH);
        ck_assert(slot_thread_is_dead_hint(r, 0));
        ck_assert(slot_has_let_go(r, 0));
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        ck_assert(!slot_thread_is_dead_hint(r, 0));
        slot_release(&t); /* an inherited lock can be unlocked and locked again */
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        slot_release(&t);
}
END_TEST

START_TEST(thread_that_attaches_again_gets_its_own_old_slot)
{
        struct thread t = {0}, forgetful = {0};

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        slot_detach(&t);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        ck_assert_uint_eq(state_of(0), 1);
        ck_assert_uint_eq(r->bindings[0], BINDING_USED);
        ck_assert_uint_eq(region_thread(r, 0)->n_attached, 2);
        ck_assert_uint_eq(robust_word(&region_gate(r, 0)->reap), 0);
        slot_detach(&t);
        /* Who has lost what detach left in *t gets another one: the word alone is no proof that it is ours. */
        ck_assert_int_eq(slot_attach(&forgetful, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(forgetful.no, 2);
        slot_release(&forgetful);
}
END_TEST

START_TEST(own_old_slot_whose_reap_is_held_is_not_waited_for)
{
        struct thread t = {0};

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        slot_detach(&t);
        ck_assert_int_eq(liveness->lock_try(&region_gate(r, 0)->reap, 0, false), 0);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(t.no, 2);
        liveness->lock_release(&region_gate(r, 0)->reap);
}
END_TEST

/* The number of a thread that is gone here may be that of one who lives there. */
START_TEST(unmarked_word_of_another_pid_namespace_is_left_alone)
{
        uint32_t idx = dead_slot();
        struct slot_gate *gate = region_gate(r, idx);
        struct thread t = {0};

        gate->life.word = robust_word_of(gate->os_tid, process_pid_ns() + 1);
        gate->os_pid = gate->os_tid; /* nor does its process exist here */
        ck_assert_int_eq(slot_reap_one(r, idx, settle_never, NULL), 0);
        region_gate(r, idx)->state = 0; /* nor attached to, when it is empty */
        r->bindings[idx] = 0;
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_ne(t.no, idx + 1);
        slot_release(&t);
}
END_TEST

/* Where nobody can say which namespace it is. */
START_TEST(unmarked_word_of_no_known_namespace_is_left_alone)
{
        uint32_t idx = dead_slot();
        struct slot_gate *gate = region_gate(r, idx);

        gate->life.word = robust_word_of(gate->os_tid, PROCESS_NS_UNKNOWN);
        ck_assert_int_eq(slot_reap_one(r, idx, settle_never, NULL), 0);
}
END_TEST

START_TEST(mark_is_evidence_whatever_the_namespace)
{
        const uint32_t namespaces[] = {process_pid_ns() + 1, PROCESS_NS_UNKNOWN, 0};

        for (int i = 0; i < 3; i++) {
                struct settled settled = {0};
                uint32_t idx = dead_slot();
                struct thread t = {0};

                region_gate(r, idx)->life.word = robust_word_of(ROBUST_OWNER_DIED, namespaces[i]);
                region_gate(r, idx)->reap.word = robust_word_of(ROBUST_OWNER_DIED, namespaces[i]);
                ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
                ck_assert_uint_eq(settled.n[idx + 1], 1);
                ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
                ck_assert_uint_eq(t.no, idx + 1);
                slot_release(&t);
        }
}
END_TEST

/* ------------------------------------------------------------------ the dead */

START_TEST(dead_slot_is_settled_once_and_emptied)
{
        struct settled settled = {0};
        uint32_t idx = dead_slot();
        struct thread_slot *slot = region_thread(r, idx);
        struct slot_gate *gate = region_gate(r, idx);

        slot->n_huge_malloc = 17;
        ck_assert(slot_thread_is_dead_hint(r, idx));
        ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
        ck_assert_uint_eq(settled.n[idx + 1], 1);
        ck_assert_uint_eq(gate->state, 0);
        ck_assert_uint_eq(r->bindings[idx], 0);
        ck_assert_uint_eq(robust_word(&gate->life), 0);
        ck_assert_uint_eq(robust_word(&gate->reap), 0);
        ck_assert_uint_eq(slot->n_huge_malloc, 17); /* counters go on with the next owner */
        ck_assert_int_eq(slot_reap_one(r, idx, settle_never, NULL), 0);
}
END_TEST

START_TEST(living_slot_is_not_reaped)
{
        struct actor actor;
        struct thread t = {0};

        actor_start(&actor);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(slot_reap_all(r, settle_never, NULL), 0);
        ck_assert_int_eq(slot_reap_one(r, N_THREADS, settle_never, NULL), 0);
        ck_assert_uint_eq(client_threads_remaining(r, &client), 2);
        actor_end(&actor, END_RELEASE);
        slot_release(&t);
}
END_TEST

/* What the kernel left unmarked: the word names a thread id that nobody has. */
START_TEST(unmarked_word_of_a_thread_that_is_gone_is_evidence)
{
        struct settled settled = {0};
        uint32_t idx = dead_slot();
        struct slot_gate *gate = region_gate(r, idx);
        uint64_t word = robust_word_of(gate->os_tid, process_pid_ns());

        store_relaxed(&gate->life.word, word);
        store_relaxed(&gate->reap.word, word); /* `reap` is judged alike */
        ck_assert(!slot_thread_is_dead_hint(r, idx));
        ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
        ck_assert_uint_eq(settled.n[idx + 1], 1);
}
END_TEST

/* The same where the thread id lives on in another thread but the slot's process is gone. */
START_TEST(process_that_is_gone_is_evidence_whoever_has_the_thread_id)
{
        struct settled settled = {0};
        uint32_t idx = dead_slot();
        struct slot_gate *gate = region_gate(r, idx);
        uint32_t gone = gate->os_tid;

        store_relaxed(&gate->life.word, robust_word_of(process_tid(), process_pid_ns()));
        ck_assert_int_eq(slot_reap_one(r, idx, settle_never, NULL), 0);
        gate->os_pid = gone;
        ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), 1);
        ck_assert_uint_eq(settled.n[idx + 1], 1);
}
END_TEST

START_TEST(ids_that_name_no_process_are_no_evidence)
{
        ck_assert(!process_is_gone(0));
        ck_assert(!process_is_gone(UINT32_MAX)); /* kill(-1) would be everybody */
        ck_assert(!process_is_gone((uint32_t)-getpgrp()));
        ck_assert(!process_is_gone((uint32_t)-INT32_MAX)); /* a process group, and one that nobody is in */
        ck_assert(!process_thread_is_gone(0));
        ck_assert(!process_is_gone(1)); /* EPERM or not: it exists */
        ck_assert(!process_is_gone((uint32_t)getpid()));
}
END_TEST

/* Deaths between the steps of attach and detach: the slot says less than a whole one, but is never lost. */
START_TEST(slot_of_a_death_between_two_steps_is_reaped_or_inherited)
{
        static const struct {
                uint64_t state;
                uint32_t binding;
                bool is_reaped;
        } deaths[] = {
                {0, 0, false},           /* ATTACH.2, .3; DETACH.2: empty */
                {0, BINDING_USED, true}, /* ATTACH.4; DETACH.1 */
                {1, BINDING_USED, true}, /* ATTACH.5 */
                {1, 0, true},            /* damage */
        };

        for (unsigned i = 0; i < sizeof deaths / sizeof deaths[0]; i++) {
                struct settled settled = {0};
                struct thread t = {0};
                uint32_t idx = dead_slot();

                ck_assert_uint_eq(idx, 0);
                region_gate(r, idx)->state = deaths[i].state;
                r->bindings[idx] = deaths[i].binding;
                ck_assert_int_eq(slot_reap_one(r, idx, settle_count, &settled), deaths[i].is_reaped);
                ck_assert_uint_eq(settled.n[idx + 1], deaths[i].is_reaped);
                ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
                ck_assert_uint_eq(t.no, idx + 1);
                slot_release(&t);
        }
}
END_TEST

static void *
reap_first(void *arg)
{
        return (void *)(intptr_t)slot_reap_one(r, 0, settle_count, arg);
}

static void
settle_meeting_another(struct region *region_settled, uint32_t thread_no, void *arg)
{
        struct settled *settled = arg;

        settle_count(region_settled, thread_no, settled);
        ck_assert_ptr_eq(in_thread(reap_first, settled), NULL); /* it neither settles nor waits */
}

START_TEST(second_reaper_passes_by_without_waiting)
{
        struct settled settled = {0};

        ck_assert_uint_eq(dead_slot(), 0);
        ck_assert_int_eq(slot_reap_one(r, 0, settle_meeting_another, &settled), 1);
        ck_assert_uint_eq(settled.n[1], 1);
}
END_TEST

static void
settle_and_die(struct region *region_settled, uint32_t thread_no, void *arg)
{
        settle_count(region_settled, thread_no, arg);
        pthread_exit(NULL); /* with both locks held */
}

static void *
reap_and_die(void *arg)
{
        slot_reap_one(r, 0, settle_and_die, arg);
        ck_abort_msg("the reaper went on");
        return NULL;
}

START_TEST(reaper_that_dies_is_followed_by_the_next)
{
        struct settled settled = {0};
        struct thread t = {0};

        ck_assert_uint_eq(dead_slot(), 0);
        in_thread(reap_and_die, &settled);
        in_thread(reap_and_die, &settled);
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, &settled), 1);
        ck_assert_uint_eq(settled.n[1], 3);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        slot_release(&t);
}
END_TEST

/* ------------------------------------------------------------------ all slots taken */

START_TEST(full_table_is_an_error_that_says_so)
{
        struct actor actors[N_THREADS];
        struct thread t = {0};

        fill_all(actors, N_THREADS);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), -EUSERS);
        ck_assert_ptr_nonnull(strstr(error_message(), "all 6 thread slots"));
        actor_end(&actors[3], END_DIE);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), -EUSERS); /* may not settle anything */
        for (uint32_t i = 0; i < N_THREADS; i++)
                if (i != 3)
                        actor_end(&actors[i], END_DETACH);
}
END_TEST

START_TEST(attach_settles_a_dead_slot_before_it_makes_a_new_one)
{
        struct settled settled = {0};
        struct actor actor;
        struct thread t = {0};

        actor_start(&actor);
        ck_assert_uint_eq(dead_slot(), 1);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_count, &settled), 0);
        ck_assert_uint_eq(t.no, 2);
        ck_assert_uint_eq(settled.n[2], 1);
        ck_assert_uint_eq(region_threads_hwm(r), 2);
        actor_end(&actor, END_DETACH);
}
END_TEST

START_TEST(attach_to_a_full_table_finds_the_unmarked_dead)
{
        struct settled settled = {0};
        struct actor actors[N_THREADS];
        struct thread t = {0};

        fill_all(actors, N_THREADS);
        actor_end(&actors[4], END_DIE);
        await_gone(4);
        store_relaxed(&region_gate(r, 4)->life.word, robust_word_of(region_gate(r, 4)->os_tid, process_pid_ns()));
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_count, &settled), 0);
        ck_assert_uint_eq(t.no, 5);
        ck_assert_uint_eq(settled.n[5], 1);
        for (uint32_t i = 0; i < N_THREADS; i++)
                if (i != 4)
                        actor_end(&actors[i], END_DETACH);
}
END_TEST

/* ------------------------------------------------------------------ the seam */

#if SHM_DEBUG
static const struct slot_gate *declared_dead;

/* Declares one living thread dead, as an explorer does with its actors. */
static enum lock_view
fake_view(const struct robust_lock *lock, uint32_t pid, bool ask)
{
        return lock == &declared_dead->life ? LOCK_DEAD : liveness_system.lock_view(lock, pid, ask);
}

static int
fake_try(struct robust_lock *lock, uint32_t pid, bool holder_is_dead)
{
        return lock == &declared_dead->life ? 1 : liveness_system.lock_try(lock, pid, holder_is_dead);
}

static void
fake_release(struct robust_lock *lock)
{
        if (lock != &declared_dead->life)
                liveness_system.lock_release(lock);
}

/* A reaper that has seen a borrower's death, and comes when somebody else has settled it: under the locks it finds a
 * reserve slot between two uses. */
START_TEST(reaper_that_comes_too_late_leaves_the_reserve_slot_alone)
{
        struct liveness_ops ops = liveness_system;
        struct reserve reserve;

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        declared_dead = region_gate(r, reserve.idx);
        ops.lock_view = fake_view;
        liveness = &ops;
        ck_assert_int_eq(slot_reap_one(r, reserve.idx, settle_never, NULL), 0);
        liveness = &liveness_system;
        ck_assert_uint_eq(r->bindings[reserve.idx], BINDING_RESERVE);
        ck_assert_uint_eq(robust_word(&declared_dead->life), 0);
        ck_assert_uint_eq(robust_word(&declared_dead->reap), 0);
}
END_TEST

/* Somebody who may write to the heap lowers the mark whenever a lock has been taken. */
static int
lowering_try(struct robust_lock *lock, uint32_t pid, bool holder_is_dead)
{
        int got = liveness_system.lock_try(lock, pid, holder_is_dead);

        r->header->threads_hwm = 0;
        return got;
}

START_TEST(mark_that_is_lowered_meanwhile_is_an_error)
{
        struct liveness_ops ops = liveness_system;
        struct thread t = {0};

        ops.lock_try = lowering_try;
        liveness = &ops;
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), -EBADMSG);
        liveness = &liveness_system;
        r->header->threads_hwm = 1;
        liveness->lock_release(&region_gate(r, 0)->life);
        liveness->lock_release(&region_gate(r, 0)->reap);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        slot_release(&t);
}
END_TEST

START_TEST(test_can_declare_a_thread_dead)
{
        struct liveness_ops ops = liveness_system;
        struct settled settled = {0};
        struct actor actor;

        damage_is_done(true);
        actor_start(&actor);
        declared_dead = region_gate(r, actor.t.no - 1);
        ops.lock_view = fake_view;
        ops.lock_try = fake_try;
        ops.lock_release = fake_release;
        liveness = &ops;
        ck_assert_int_eq(slot_reap_one(r, actor.t.no - 1, settle_count, &settled), 1);
        liveness = &liveness_system;
        ck_assert_uint_eq(settled.n[actor.t.no], 1);
        actor_end(&actor, END_RELEASE);
}
END_TEST
#endif

/* ------------------------------------------------------------------ all at once */

enum { N_COMERS = 6, N_ROUNDS = 150 };

static uint32_t user_of[N_THREADS]; /* which comer believes to have the slot */

static void
settle_user(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)region_settled;
        (void)arg;
        __atomic_store_n(&user_of[thread_no - 1], 0, __ATOMIC_RELAXED);
}

/* Takes a slot, sees that it has it alone, and ends in one of four ways. */
static void *
come_and_go(void *arg)
{
        uintptr_t me = (uintptr_t)arg;
        struct thread t = {0};
        int err = slot_attach(&t, r, &client, settle_user, NULL);

        if (err < 0) {
                ck_assert_int_eq(err, -EUSERS); /* all at the same moment: possible with as many comers as slots */
                return NULL;
        }
        ck_assert_uint_eq(__atomic_exchange_n(&user_of[t.no - 1], (uint32_t)me, __ATOMIC_RELAXED), 0);
        slot_reap_all(r, settle_user, NULL);
        ck_assert_uint_eq(__atomic_load_n(&user_of[t.no - 1], __ATOMIC_RELAXED), (uint32_t)me);
        if (me % 4 == 0)
                return NULL;
        __atomic_store_n(&user_of[t.no - 1], 0, __ATOMIC_RELAXED);
        slot_detach(&t);
        if (me % 4 == 1 && slot_attach(&t, r, &client, settle_user, NULL) == 0)
                slot_detach(&t);
        if (me % 4 == 2)
                slot_release(&t);
        return NULL;
}

START_TEST(each_slot_has_one_user_while_threads_come_die_and_reap)
{
        pthread_t comers[N_COMERS];
        uintptr_t me = 1;

        for (int round = 0; round < N_ROUNDS; round++) {
                for (int i = 0; i < N_COMERS; i++)
                        ck_assert_int_eq(pthread_create(&comers[i], NULL, come_and_go, (void *)me++), 0);
                for (int i = 0; i < N_COMERS; i++)
                        pthread_join(comers[i], NULL);
        }
        slot_reap_all(r, settle_user, NULL);
        for (uint32_t i = 0; i < region_threads_hwm(r); i++) {
                ck_assert_uint_eq(state_of(i), 0);
                ck_assert_uint_eq(r->bindings[i], 0);
                ck_assert(slot_has_let_go(r, i));
        }
}
END_TEST

static TCase *
cases(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, slot_setup, slot_teardown);
        suite_add_tcase(suite, tcase);
        return tcase;
}

int
main(void)
{
        Suite *suite = suite_create("slot");
        TCase *tcase = cases(suite, "attach");

        tcase_add_test(tcase, attach_takes_the_lowest_empty_slot_and_fills_it);
        tcase_add_test(tcase, release_empties_the_slot_and_unlocks_life);
        tcase_add_test(tcase, detached_slot_stays_its_threads_until_it_ends);
        tcase_add_test(tcase, slot_of_an_ended_thread_is_inherited_without_reaping);
        tcase_add_test(tcase, thread_that_attaches_again_gets_its_own_old_slot);
        tcase_add_test(tcase, own_old_slot_whose_reap_is_held_is_not_waited_for);
        tcase_add_test(tcase, unmarked_word_of_another_pid_namespace_is_left_alone);
        tcase_add_test(tcase, unmarked_word_of_no_known_namespace_is_left_alone);
        tcase_add_test(tcase, mark_is_evidence_whatever_the_namespace);

        tcase = cases(suite, "reap");
        tcase_add_test(tcase, dead_slot_is_settled_once_and_emptied);
        tcase_add_test(tcase, living_slot_is_not_reaped);
        tcase_add_test(tcase, unmarked_word_of_a_thread_that_is_gone_is_evidence);
        tcase_add_test(tcase, process_that_is_gone_is_evidence_whoever_has_the_thread_id);
        tcase_add_test(tcase, ids_that_name_no_process_are_no_evidence);
        tcase_add_test(tcase, slot_of_a_death_between_two_steps_is_reaped_or_inherited);
        tcase_add_test(tcase, second_reaper_passes_by_without_waiting);
        tcase_add_test(tcase, reaper_that_dies_is_followed_by_the_next);

        tcase = cases(suite, "full");
        tcase_add_test(tcase, full_table_is_an_error_that_says_so);
        tcase_add_test(tcase, attach_settles_a_dead_slot_before_it_makes_a_new_one);
        tcase_add_test(tcase, attach_to_a_full_table_finds_the_unmarked_dead);

        tcase = cases(suite, "together");
#if SHM_DEBUG
        tcase_add_test(tcase, test_can_declare_a_thread_dead);
        tcase_add_test(tcase, mark_that_is_lowered_meanwhile_is_an_error);
        tcase_add_test(tcase, reaper_that_comes_too_late_leaves_the_reserve_slot_alone);
#endif
        tcase_add_test(tcase, each_slot_has_one_user_while_threads_come_die_and_reap);

        return suite_run(suite);
}
