/*
 * What is at stake: promise P1 for slots.  A process is killed, or stopped, at every instruction at which it has
 * changed the slots, in every operation on them; the others must find each slot again, settle what its dead thread
 * owned, and never wait.  The kernel's own marks are used in one half of the runs; in the other half the victim's list
 * of robust locks is emptied before it dies, so that nothing is marked and only its absence is evidence.
 *
 * The child runs one operation under PTRACE_SINGLESTEP.  After each instruction the parent compares the slots with what
 * they were; the k-th change is where the child is killed, for k = 0, 1, 2, ... until the operation comes to its end
 * first.  A dead process leaves a prefix of its stores, so no state is left out.  For the stops one run does: at each
 * change somebody else comes, settles what is dead, attaches and goes, and the child goes on.  Whoever attaches is
 * stopped at every change once more, while its client is evicted.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/binding.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/clock_call.h"
#include "support/effort.h"
#include "support/plain_region.h"
#include "support/suite.h"

enum { N_CLIENTS = 4, N_THREADS = 4, N_CHANGES_MAX = 400, N_STEPS_MAX = 200000 };

struct shared {
        uint32_t owns[N_THREADS + 1]; /* the thread number owns something */
        uint32_t n_settled;
        uint32_t is_done;        /* the child has come to the end of the operation */
        int result;              /* what it gave */
        struct client_id client; /* the child's */
};

static struct region region, *r = &region;
static struct shared *shared;
static struct client_id client;
static struct thread parent_thread; /* in slot 0, throughout */

/* ------------------------------------------------------------------ the child */

static struct thread victim;
static struct reserve reserve;

#define NEED(cond)                                                                                                     \
        do {                                                                                                           \
                if (!(cond)) {                                                                                         \
                        fprintf(stderr, "%s:%d: child %d: %s is false (%s)\n", __FILE__, __LINE__, (int)getpid(),      \
                                #cond, error_message());                                                               \
                        _exit(99);                                                                                     \
                }                                                                                                      \
        } while (0)

static void
settle(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)arg;
        slot_pages_settle(region_settled, thread_no);
        __atomic_store_n(&shared->owns[thread_no], 0, __ATOMIC_RELAXED);
        __atomic_fetch_add(&shared->n_settled, 1, __ATOMIC_RELAXED);
}

static void
prepare_nothing(void)
{
}

static void
prepare_attached(void)
{
        NEED(slot_attach(&victim, r, &client, NULL, NULL) == 0);
}

static void
prepare_detached(void)
{
        prepare_attached();
        slot_detach(&victim);
}

static void
prepare_reserve(void)
{
        slot_reserve_init(&reserve);
        NEED(slot_reserve(&reserve, r, &client, NULL, NULL) == 0);
}

static void
prepare_borrowed(void)
{
        prepare_reserve();
        NEED(slot_borrow(&reserve, &victim, r, &client, NULL, NULL) == 0);
}

static void *
borrow_and_die(void *arg)
{
        struct thread t = {0};

        NEED(slot_borrow(arg, &t, r, &client, NULL, NULL) == 0);
        shared->owns[t.no] = 1;
        return NULL;
}

static void
prepare_dead_borrower(void)
{
        pthread_t thread;

        prepare_reserve();
        NEED(pthread_create(&thread, NULL, borrow_and_die, &reserve) == 0);
        NEED(pthread_join(thread, NULL) == 0);
}

static void *
attach_and_die(void *arg)
{
        struct thread t = {0};

        (void)arg;
        NEED(slot_attach(&t, r, &client, NULL, NULL) == 0);
        shared->owns[t.no] = 1;
        return NULL;
}

static void
prepare_dead_slot(void)
{
        pthread_t thread;

        NEED(pthread_create(&thread, NULL, attach_and_die, NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
}

static void
prepare_dead_detached(void)
{
        prepare_dead_slot();
        NEED(slot_reap_all(r, settle, NULL) == 1);
        prepare_detached();
}

/* Somebody else's slot that was in use, and is empty. */
static void
prepare_empty(void)
{
        prepare_dead_slot();
        prepare_attached();
        NEED(slot_reap_all(r, settle, NULL) == 1);
}

static void
prepare_bare(void)
{
        prepare_empty();
        NEED(slot_purge(&victim, 1) == 0);
        NEED(r->gates[1].is_bare == 1);
}

static int
run_purge(void)
{
        return slot_purge(&victim, 1);
}

static int
run_attach_bare(void)
{
        static struct thread other;
        int err = slot_attach(&other, r, &client, settle, NULL);

        return err < 0 ? err : other.no == 2 ? 0 : -EUCLEAN;
}

static int
run_attach(void)
{
        return slot_attach(&victim, r, &client, settle, NULL);
}

static int
run_detach(void)
{
        slot_detach(&victim);
        return 0;
}

static int
run_release(void)
{
        slot_release(&victim);
        return 0;
}

static int
run_reap(void)
{
        return slot_reap_all(r, settle, NULL) == 1 ? 0 : -EBUSY;
}

static int
run_reserve(void)
{
        slot_reserve_init(&reserve);
        return slot_reserve(&reserve, r, &client, settle, NULL);
}

static int
run_unreserve(void)
{
        slot_unreserve(&reserve, r, &client);
        return 0;
}

static int
run_borrow(void)
{
        return slot_borrow(&reserve, &victim, r, &client, settle, NULL);
}

static int
run_return(void)
{
        slot_return(&reserve, &victim);
        return 0;
}

static void
prepare_lent(void)
{
        prepare_reserve();
        NEED(slot_lend(&victim, r, NULL, NULL) == 0);
}

static int
run_lend(void)
{
        return slot_lend(&victim, r, settle, NULL);
}

static int
run_give_back(void)
{
        slot_give_back(&victim);
        return 0;
}

static int
run_register(void)
{
        struct client_id id;

        return client_register(r, &id);
}

static int
run_unregister(void)
{
        client_unregister(r, &client);
        return 0;
}

static int
run_evict(void)
{
        return client_evict(r, &client) ? 0 : -EBUSY;
}

static int
run_bind(void)
{
        return binding_choose(&victim, 0);
}

static const struct operation {
        const char *name;
        void (*prepare)(void);
        int (*run)(void);
        bool has_no_lock; /* so it makes no difference what the kernel marks */
} operations[] = {
        {"attach to a new slot", prepare_nothing, run_attach, false},
        {"attach to a slot of the dead", prepare_dead_slot, run_attach, false},
        {"attach again after detach", prepare_detached, run_attach, false},
        {"detach", prepare_attached, run_detach, false},
        {"release", prepare_attached, run_release, false},
        {"release after detach", prepare_dead_detached, run_release, false},
        {"reap", prepare_dead_slot, run_reap, false},
        {"reap a borrower", prepare_dead_borrower, run_reap, false},
        {"reserve", prepare_nothing, run_reserve, false},
        {"unreserve", prepare_reserve, run_unreserve, false},
        {"borrow", prepare_reserve, run_borrow, false},
        {"borrow after a borrower's death", prepare_dead_borrower, run_borrow, false},
        {"return", prepare_borrowed, run_return, false},
        {"lend", prepare_reserve, run_lend, false},
        {"lend after a borrower's death", prepare_dead_borrower, run_lend, false},
        {"give back", prepare_lent, run_give_back, false},
        {"register", prepare_nothing, run_register, true},
        {"unregister", prepare_nothing, run_unregister, true},
        {"evict", prepare_reserve, run_evict, true},
        {"bind", prepare_attached, run_bind, true},
        {"purge a slot", prepare_empty, run_purge, false},
        {"attach to a bare slot", prepare_bare, run_attach_bare, false},
};

enum { N_OPERATIONS = sizeof operations / sizeof operations[0] };

static void
child_run(const struct operation *op)
{
        NEED(client_register(r, &client) == 0);
        shared->client = client;
        op->prepare();
        NEED(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        shared->result = op->run();
        shared->is_done = 1;
        raise(SIGSTOP);
        _exit(0);
}

/* ------------------------------------------------------------------ the parent */

/* All that the operations write, but for the tables of counters. */
struct watched {
        struct slot_gate gates[N_THREADS];
        char slots[N_THREADS][512];
        char clients[N_CLIENTS][sizeof(struct client_slot)];
        uint32_t bindings[N_THREADS];
        char header[sizeof(struct region_header)];
        struct shared shared;
};

static bool
watch(struct watched *last)
{
        static struct watched now; /* zero beyond the marks */

        for (uint32_t i = 0; i < N_THREADS && region_thread(r, i) != NULL; i++)
                memcpy(now.slots[i], region_thread(r, i), sizeof now.slots[i]);
        memcpy(now.gates, r->gates, region_threads_hwm(r) * sizeof now.gates[0]);
        memcpy(now.clients, r->clients, sizeof now.clients);
        memcpy(now.bindings, r->bindings, sizeof now.bindings);
        memcpy(now.header, r->header, sizeof now.header);
        memcpy(&now.shared, shared, sizeof now.shared);
        if (memcmp(&now, last, sizeof now) == 0)
                return false;
        memcpy(last, &now, sizeof now);
        return true;
}

static void
setup(void)
{
        plain_region_make(r, N_CLIENTS, N_THREADS, 1, 2);
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
        ck_assert_int_eq(client_register(r, &client), 0);
        memset(&parent_thread, 0, sizeof parent_thread);
        ck_assert_int_eq(slot_attach(&parent_thread, r, &client, NULL, NULL), 0);
}

static void
teardown(void)
{
        slot_release(&parent_thread);
        plain_region_drop(r);
        munmap(shared, sizeof *shared);
}

/* Runs the child up to its next change.  False when the operation has ended before. */
static bool
step_to_change(pid_t pid, struct watched *last)
{
        int status;

        for (uint32_t step = 0; step < N_STEPS_MAX; step++) {
                ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                ck_assert_msg(WIFSTOPPED(status), "the child ended with status %#x", status);
                if (shared->is_done)
                        return false;
                if (watch(last))
                        return true;
        }
        ck_abort_msg("no change and no end in %u steps", N_STEPS_MAX);
        return false;
}

static pid_t
child_start(const struct operation *op)
{
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                child_run(op);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSTOPPED(status), "the child ended with status %#x", status);
        return pid;
}

/* So that the kernel's walk finds nothing when the child dies.  It has its list where this process has its own. */
static void
empty_robust_list(pid_t pid)
{
        struct robust_list_head *head;
        size_t bytes;

        ck_assert_int_eq(syscall(SYS_get_robust_list, 0, &head, &bytes), 0);
        ck_assert_int_eq(ptrace(PTRACE_POKEDATA, pid, &head->list.next, &head->list), 0);
}

static void
kill_and_bury(pid_t pid)
{
        int status;

        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSIGNALED(status));
}

/* A stopped child delays nobody: here is somebody who comes, settles what is dead, and goes. */
static void
go_on_beside(void)
{
        struct thread t = {0};
        struct client_id id;

        slot_reap_all(r, settle, NULL);
        ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_int_eq(slot_attach(&t, r, &id, settle, NULL), 0);
        ck_assert_uint_eq(t.gate->state, 1);
        slot_release(&t);
        client_unregister(r, &id);
}

/* With the child dead and buried: everything it had is settled, and every slot and client can be had again. */
static void
all_is_settled_and_empty(void)
{
        struct thread t[N_THREADS] = {0};
        struct client_id id;

        slot_reap_all(r, settle, NULL);
        ck_assert_uint_eq(slot_reap_all(r, settle, NULL), 0); /* nothing is settled twice */
        for (uint32_t i = 1; i < N_THREADS; i++) {
                ck_assert_uint_eq(shared->owns[i + 1], 0);
                ck_assert_uint_eq(r->bindings[i], 0);
                ck_assert(region_thread(r, i) == NULL || region_gate(r, i)->state == 0);
        }
        for (uint32_t i = 1; i < N_THREADS; i++) { /* those that are bare come last */
                ck_assert_int_eq(slot_attach(&t[i], r, &client, NULL, NULL), 0);
                for (uint32_t k = 1; k < i; k++)
                        ck_assert_uint_ne(t[i].no, t[k].no);
                ck_assert_uint_eq(t[i].gate->is_bare, 0);
        }
        ck_assert_uint_eq(r->header->folding & UINT32_MAX, 0);
        ck_assert_uint_ge(SLOT_TOTAL(r, n_attached), N_THREADS); /* whoever has counted what */
        for (uint32_t i = 1; i < N_THREADS; i++)
                slot_release(&t[i]);
        ck_assert_uint_eq(parent_thread.gate->state, 1);
        ck_assert_uint_eq(robust_word_tid(robust_word(&parent_thread.gate->life)), process_tid());
        while (client_evict_any(r)) /* of a process that died before it said who it is */
                continue;
        for (uint32_t i = 1; i < N_CLIENTS; i++)
                ck_assert_int_eq(client_register(r, &id), 0);
        ck_assert_int_eq(client_register(r, &id), -EUSERS);
}

/* One run with the child killed after its k-th change. */
static bool
kill_at(const struct operation *op, uint32_t k, bool is_unmarked)
{
        struct watched last;
        bool is_inside = true;
        pid_t pid;

        setup();
        pid = child_start(op);
        memset(&last, 0, sizeof last);
        watch(&last);
        for (uint32_t i = 0; i < k && is_inside; i++)
                is_inside = step_to_change(pid, &last);
        if (is_unmarked)
                empty_robust_list(pid);
        kill_and_bury(pid);
        all_is_settled_and_empty();
        teardown();
        return is_inside;
}

static void
kill_everywhere(const struct operation *op, bool is_unmarked)
{
        uint32_t stride = effort_stride(3);

        ck_assert_msg(kill_at(op, 1, is_unmarked), "%s: changed nothing", op->name);
        for (uint32_t k = (uint32_t)(op - operations) % stride; kill_at(op, k, is_unmarked); k += stride)
                ck_assert_msg(k < N_CHANGES_MAX, "%s: no end after %u changes", op->name, k);
}

START_TEST(killed_at_any_change)
{
        kill_everywhere(&operations[_i], false);
}
END_TEST

START_TEST(killed_at_any_change_without_a_mark)
{
        if (!operations[_i].has_no_lock)
                kill_everywhere(&operations[_i], true);
}
END_TEST

START_TEST(stopped_at_any_change)
{
        const struct operation *op = &operations[_i];
        struct watched last;
        pid_t pid;

        setup();
        pid = child_start(op);
        memset(&last, 0, sizeof last);
        do {
                go_on_beside();
                watch(&last);
        } while (step_to_change(pid, &last));
        if (op->run != run_reap) /* whom somebody else came before */
                ck_assert_int_eq(shared->result, 0);
        go_on_beside();
        kill_and_bury(pid);
        all_is_settled_and_empty();
        teardown();
}
END_TEST

/* What an attacher relies on: once it has been told that it is attached, its client is nobody else's. */
START_TEST(evicted_at_any_change)
{
        const struct operation *op = &operations[_i];
        uint32_t k = 0, n_evicted = 0;
        bool is_inside = true;

        if (op->run != run_attach && op->run != run_borrow)
                return;
        for (; is_inside; k += effort_stride(2)) {
                struct watched last;
                bool is_evicted;
                pid_t pid;

                setup();
                pid = child_start(op);
                memset(&last, 0, sizeof last);
                watch(&last);
                for (uint32_t i = 0; i < k && is_inside; i++)
                        is_inside = step_to_change(pid, &last);
                is_evicted = client_evict(r, &shared->client);
                while (step_to_change(pid, &last))
                        continue;
                n_evicted += is_evicted;
                ck_assert_int_eq(shared->result, is_evicted ? -ESTALE : 0);
                ck_assert_int_eq(client_is_registered(r, &shared->client), !is_evicted);
                for (uint32_t i = 1; is_evicted && i < N_THREADS && region_thread(r, i) != NULL; i++) {
                        slot_reap_one(r, i, settle, NULL); /* its reserve slot, which is nobody's now */
                        ck_assert_uint_eq(robust_word(&region_gate(r, i)->life), 0);
                        ck_assert_uint_eq(r->bindings[i], 0);
                }
                kill_and_bury(pid);
                all_is_settled_and_empty();
                teardown();
        }
        if (op->prepare != prepare_detached &&
            op->prepare != prepare_dead_borrower) /* which hold something throughout */
                ck_assert_uint_gt(n_evicted, 0);
        ck_assert_uint_lt(n_evicted, k);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("slot steps");
        TCase *tcase = tcase_create("steps");

        tcase_add_loop_test(tcase, killed_at_any_change, 0, N_OPERATIONS);
        tcase_add_loop_test(tcase, killed_at_any_change_without_a_mark, 0, N_OPERATIONS);
        tcase_add_loop_test(tcase, stopped_at_any_change, 0, N_OPERATIONS);
        tcase_add_loop_test(tcase, evicted_at_any_change, 0, N_OPERATIONS);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
