/*
 * What is at stake: the list by which the kernel knows what a dying thread held.  Our locks stand in it between the C
 * library's mutexes, and it has to be whole for both, whatever is taken and let go of in which order, and whichever
 * instruction a signal handler that does the same interrupts.  And a lock is never announced as the C library announces
 * its own: by that the kernel would mark what a thread of the same number in another pid namespace holds.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "clients/liveness.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/clock_call.h"
#include "support/registers.h"
#include "support/robust_copy.h"
#include "support/suite.h"

#define DAMAGED UINT64_C(0xdead000000000008) /* an address that nothing is at */

enum { N_MANY = 40 };

enum { N_LOCKS = 3, N_MUTEXES = 2, N_ALL = N_LOCKS + N_MUTEXES, N_STEPS_MAX = 100000 };

static struct shared {
        struct robust_lock locks[N_LOCKS];
        pthread_mutex_t mutexes[N_MUTEXES];
        volatile int is_done;
        pid_t dead;
} * shared;

static void
setup(void)
{
        pthread_mutexattr_t attr;

        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        for (int i = 0; i < N_MUTEXES; i++)
                pthread_mutex_init(&shared->mutexes[i], &attr);
        pthread_mutexattr_destroy(&attr);
}

static void
teardown(void)
{
        munmap(shared, sizeof *shared);
}

/* ------------------------------------------------------------------ things to hold */

/* 0, 2, 4 are ours, 1 and 3 the C library's. */
static void *
entry_of(int i)
{
        return i % 2 == 0 ? (void *)&shared->locks[i / 2].next : (void *)&shared->mutexes[i / 2].__data.__list.__next;
}

static uint32_t
futex_of(int i)
{
        return i % 2 == 0 ? (uint32_t)robust_word(&shared->locks[i / 2])
                          : (uint32_t)load_relaxed(&shared->mutexes[i / 2].__data.__lock);
}

static bool
take(int i)
{
        if (i % 2 == 0)
                return robust_take(&shared->locks[i / 2], 0, process_tid(), process_pid_ns());
        return pthread_mutex_trylock(&shared->mutexes[i / 2]) == 0;
}

static void
let_go(int i)
{
        if (i % 2 == 0)
                robust_unlock(&shared->locks[i / 2], process_tid(), process_pid_ns());
        else
                pthread_mutex_unlock(&shared->mutexes[i / 2]);
}

static struct robust_list_head *
own_list(void)
{
        struct robust_list_head *head = NULL;
        size_t bytes;

        MUST(syscall(SYS_get_robust_list, 0, &head, &bytes) == 0 && head);
        return head;
}

/* Whether the list has exactly those, and one more that is no lock, and each of them what leads back to it. */
static bool
list_is(unsigned held)
{
        void *const first = &own_list()->list, **at = first;
        unsigned found = 0;

        for (int n = 0; *at != first; at = *at) {
                for (int i = 0; i < N_ALL; i++)
                        found |= *at == entry_of(i) ? 1u << i : 0;
                if (((void **)*at)[-1] != at || ++n > N_ALL + 1)
                        return false;
        }
        return found == held;
}

/* ------------------------------------------------------------------ in any order */

/* Takes all in one order, lets go of them in another, and dies half-way. */
static void
take_and_let_go(struct child *self, void *arg)
{
        const int *order = arg;
        unsigned held = 0;

        (void)self;
        MUST(list_is(0));
        for (int i = 0; i < N_ALL; i++) {
                MUST(take(order[i]));
                held |= 1u << order[i];
                MUST(list_is(held));
        }
        for (int i = 0; i < N_ALL; i++) {
                let_go(i);
                held &= ~(1u << i);
                MUST(list_is(held));
                if (i == order[0])
                        raise(SIGKILL);
        }
}

START_TEST(list_is_whole_in_every_order_and_all_of_it_is_marked)
{
        for (int n = 0; n < N_ALL * (N_ALL - 1) * (N_ALL - 2) * (N_ALL - 3); n++) { /* all permutations */
                int order[N_ALL] = {0, 1, 2, 3, 4};
                struct child c;

                for (int i = 0, rest = n; i < N_ALL; rest /= N_ALL - i, i++) {
                        int k = i + rest % (N_ALL - i), swapped = order[i];

                        order[i] = order[k];
                        order[k] = swapped;
                }
                setup();
                child_start(&c, take_and_let_go, order);
                ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
                for (int i = 0; i < N_ALL; i++)
                        ck_assert_uint_eq(futex_of(i), i <= order[0] ? 0 : ROBUST_OWNER_DIED);
                teardown();
        }
}
END_TEST

/* A thread that jumped out of a call with a lock held, and unmaps the heap: its other locks are as they were. */
static void
forget_and_go_on(struct child *self, void *arg)
{
        struct robust_lock *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        (void)self, (void)arg;
        MUST(gone != MAP_FAILED);
        MUST(take(0) && take(1));
        for (int i = 0; i < 3; i++)
                MUST(robust_take(&gone[i], 0, process_tid(), process_pid_ns()) && take(2 + i));
        robust_forget(gone, 4096);
        MUST(munmap(gone, 4096) == 0);
        MUST(list_is((1u << N_ALL) - 1));
        for (int i = N_ALL - 1; i > 0; i--)
                let_go(i);
        MUST(list_is(1u << 0));
        raise(SIGKILL);
}

START_TEST(locks_in_memory_that_is_unmapped_are_forgotten)
{
        struct child c;

        setup();
        child_start(&c, forget_and_go_on, NULL);
        ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
        ck_assert_uint_eq(futex_of(0), ROBUST_OWNER_DIED);
        teardown();
}
END_TEST

/* A program may keep robust mutexes of its own in a heap, and hold them when it closes that. */
static void
forget_mutexes(struct child *self, void *arg)
{
        pthread_mutex_t *gone = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), outside[3];
        pthread_mutexattr_t attr;

        (void)self, (void)arg;
        MUST(gone != MAP_FAILED);
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        for (int i = 0; i < 4; i++)
                MUST(pthread_mutex_init(&gone[i], &attr) == 0 &&
                     (i == 3 || pthread_mutex_init(&outside[i], &attr) == 0));
        MUST(take(0) && pthread_mutex_lock(&gone[0]) == 0 && pthread_mutex_lock(&outside[0]) == 0);
        MUST(pthread_mutex_lock(&gone[1]) == 0 && pthread_mutex_lock(&gone[2]) == 0 && take(1));
        MUST(pthread_mutex_lock(&outside[1]) == 0 && pthread_mutex_lock(&gone[3]) == 0);
        robust_forget(gone, 4096);
        MUST(munmap(gone, 4096) == 0);
        MUST(pthread_mutex_lock(&outside[2]) == 0);
        for (int i = 0; i < 3; i++)
                MUST(pthread_mutex_unlock(&outside[i]) == 0);
        MUST(list_is(1u << 0 | 1u << 1));
        raise(SIGKILL);
}

START_TEST(mutexes_in_memory_that_is_unmapped_are_forgotten)
{
        struct child c;

        setup();
        child_start(&c, forget_mutexes, NULL);
        ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
        ck_assert_uint_eq(futex_of(0), ROBUST_OWNER_DIED);
        ck_assert_uint_eq(futex_of(1), ROBUST_OWNER_DIED);
        teardown();
}
END_TEST

/* ------------------------------------------------------------------ damaged by others */

static void
damage(struct robust_lock *lock)
{
        store_relaxed(&lock->next, DAMAGED);
        store_relaxed(&lock->prev, DAMAGED);
}

/* Whoever can write to a heap can write to the links in it.  The thread itself never goes by them. */
static void
go_on_with_damaged_links(struct child *self, void *arg)
{
        int first = *(int *)arg;

        (void)self;
        for (int i = 0; i < N_ALL; i++) {
                MUST(take((first + i) % N_ALL));
                for (int k = 0; k < N_LOCKS; k++)
                        damage(&shared->locks[k]);
        }
        for (int i = 0; i < N_ALL; i++) {
                let_go((first + 2 * i) % N_ALL);
                for (int k = 0; k < N_LOCKS; k++)
                        damage(&shared->locks[k]);
        }
        MUST(list_is(0));
        for (int i = 0; i < N_ALL; i++)
                MUST(take(i));
        MUST(list_is((1u << N_ALL) - 1));
        raise(SIGKILL);
}

START_TEST(damaged_links_mislead_nobody)
{
        for (int first = 0; first < N_ALL; first++) {
                struct child c;

                setup();
                child_start(&c, go_on_with_damaged_links, &first);
                ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
                for (int i = 0; i < N_ALL; i++)
                        ck_assert_uint_eq(futex_of(i), ROBUST_OWNER_DIED);
                teardown();
        }
}
END_TEST

/* A lock whose word says that it is free, or a dead thread's, while this one holds it: it is in its list already. */
static void
hold_what_is_said_to_be_free(struct child *self, void *arg)
{
        static const uint32_t words[] = {0, ROBUST_OWNER_DIED, ROBUST_OWNER_DIED | 12345};

        (void)self, (void)arg;
        for (unsigned i = 0; i < sizeof words / sizeof words[0]; i++) {
                MUST(take(0) && take(1) && take(2));
                store_relaxed(&shared->locks[0].word, (uint64_t)words[i]);
                MUST(!robust_take(&shared->locks[0], words[i], process_tid(), process_pid_ns()));
                MUST(list_is(7));
                let_go(0);
                MUST(list_is(6));
                let_go(1);
                let_go(2);
                MUST(list_is(0) && robust_word(&shared->locks[0]) == words[i]);
                store_relaxed(&shared->locks[0].word, UINT64_C(0));
        }
}

START_TEST(lock_that_is_held_is_not_taken_again_whatever_its_word_says)
{
        struct child c;

        setup();
        child_start(&c, hold_what_is_said_to_be_free, NULL);
        ck_assert_int_eq(child_end(&c), 0);
        teardown();
}
END_TEST

/* ------------------------------------------------------------------ many */

/* As of a thread with many heaps, and the C library's in between; the list is the kernel's to the last. */
static void
hold_many(struct child *self, void *arg)
{
        struct robust_lock *many = arg;

        (void)self;
        for (int i = 0; i < N_MANY; i++)
                MUST(robust_take(&many[i], 0, process_tid(), process_pid_ns()));
        MUST(take(1) && take(3));
        for (int i = 0; i < N_MANY; i += 3)
                robust_unlock(&many[i], process_tid(), process_pid_ns());
        robust_thread_ends();
        MUST(take(0) && take(2));
        let_go(1);
        let_go(2);
        raise(SIGKILL);
}

START_TEST(all_of_many_are_marked)
{
        struct robust_lock *many =
                mmap(NULL, N_MANY * sizeof *many, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct child c;

        ck_assert_ptr_ne(many, MAP_FAILED);
        setup();
        child_start(&c, hold_many, many);
        ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
        for (int i = 0; i < N_MANY; i++)
                ck_assert_uint_eq((uint32_t)robust_word(&many[i]), i % 3 == 0 ? 0 : ROBUST_OWNER_DIED);
        for (int i = 0; i < N_ALL; i++)
                ck_assert_uint_eq(futex_of(i), i == 0 || i == 3 ? ROBUST_OWNER_DIED : 0);
        teardown();
        munmap(many, N_MANY * sizeof *many);
}
END_TEST

/* The child of a fork holds nothing, whatever its parent held, and has a list of its own. */
static void
let_go_of_the_parent_s(struct child *self, void *arg)
{
        (void)self, (void)arg;
        MUST(list_is(0));
        let_go(0);
        MUST(list_is(0) && futex_of(0) == (uint32_t)getppid());
        MUST(take(2));
        MUST(list_is(1u << 2));
        let_go(0);
        let_go(2);
        MUST(list_is(0));
}

static void
fork_with_locks(struct child *self, void *arg)
{
        struct child c;

        (void)self;
        MUST(take(0) && take(4));
        child_start(&c, let_go_of_the_parent_s, arg);
        MUST(child_end(&c) == 0);
        MUST(list_is(1u << 0 | 1u << 4));
        let_go(4);
        let_go(0);
        MUST(list_is(0) && futex_of(0) == 0 && futex_of(4) == 0);
}

START_TEST(child_of_a_fork_has_none_of_its_parent_s)
{
        struct child c;

        setup();
        child_start(&c, fork_with_locks, NULL);
        ck_assert_int_eq(child_end(&c), 0);
        teardown();
}
END_TEST

/* ------------------------------------------------------------------ at any instruction */

static void
use_locks(void)
{
        for (int i = 0; i < N_ALL - 1; i += 2)
                MUST(take(i));
        for (int i = 0; i < N_ALL - 1; i += 2)
                let_go(i);
}

/* Holds the two mutexes, or lets go of them. */
static void
toggle_mutexes(int signo)
{
        (void)signo;
        for (int i = 1; i < N_ALL; i += 2)
                if (!take(i))
                        let_go(i);
}

static void
toggle_mutexes_and_trap(int signo)
{
        toggle_mutexes(signo);
        raise(SIGTRAP);
}

static void
use_locks_traced(struct child *self, void *arg)
{
        (void)self, (void)arg;
        use_locks(); /* so that all it calls is bound */
        toggle_mutexes(0);
        signal(SIGUSR1, toggle_mutexes_and_trap);
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        use_locks();
        shared->is_done = 1;
        MUST(list_is((futex_of(1) ? 1u << 1 : 0) | (futex_of(3) ? 1u << 3 : 0)));
}

static int
wait_for_stop(pid_t pid)
{
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSTOPPED(status), "the child ended with status %#x", status);
        return WSTOPSIG(status);
}

static int
step(pid_t pid)
{
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
        return wait_for_stop(pid);
}

static void
go_on(pid_t pid, int signo, int until)
{
        ck_assert_int_eq(ptrace(PTRACE_CONT, pid, NULL, (void *)(intptr_t)signo), 0);
        ck_assert_int_eq(wait_for_stop(pid), until);
}

/* The handler runs as soon as the signal is let through, and the child stands again where it was interrupted. */
static void
interrupt(pid_t pid)
{
        struct registers at, now;

        ck_assert_int_eq(kill(pid, SIGUSR1), 0);
        go_on(pid, 0, SIGUSR1);
        ck_assert(registers_get(pid, &at));
        go_on(pid, SIGUSR1, SIGTRAP);
        do {
                step(pid);
                ck_assert(registers_get(pid, &now));
        } while (!registers_are_at(&now, &at));
}

START_TEST(handlers_that_lock_do_not_break_the_list)
{
        struct child c;
        int n = 0;

        if (registers_are_missing("handlers_that_lock_do_not_break_the_list"))
                return;
        setup();
        child_start(&c, use_locks_traced, NULL);
        ck_assert_int_eq(wait_for_stop(c.pid), SIGSTOP);
        for (; step(c.pid), !shared->is_done; n++) {
                ck_assert_int_lt(n, N_STEPS_MAX);
                interrupt(c.pid);
        }
        ck_assert_int_gt(n, 100);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, c.pid, NULL, NULL), 0);
        ck_assert_int_eq(child_end(&c), 0);
        teardown();
}
END_TEST

START_TEST(no_lock_is_ever_announced_as_pending)
{
        struct robust_list_head *head = own_list(); /* the child's is in the same place */
        struct child c;
        int n = 0;

        if (registers_are_missing("handlers_that_lock_do_not_break_the_list"))
                return;
        setup();
        child_start(&c, use_locks_traced, NULL);
        ck_assert_int_eq(wait_for_stop(c.pid), SIGSTOP);
        for (; step(c.pid), !shared->is_done; n++) {
                ck_assert_int_lt(n, N_STEPS_MAX);
                ck_assert_int_eq(ptrace(PTRACE_PEEKDATA, c.pid, &head->list_op_pending, NULL), 0);
        }
        ck_assert_int_gt(n, 100);
        ck_assert_int_eq(ptrace(PTRACE_DETACH, c.pid, NULL, NULL), 0);
        ck_assert_int_eq(child_end(&c), 0);
        teardown();
}
END_TEST

/* ------------------------------------------------------------------ a number that is given again */

/*
 * A thread that holds a lock, in the place of one that died with the same number: while it is asked whether the holder
 * is gone it goes on, as far as the test says.
 */
enum meanwhile { NOTHING, LETS_GO, DIES };

static struct holder {
        pthread_t thread;
        pthread_barrier_t barrier;
        enum meanwhile meanwhile;
        bool is_gone;   /* the answer */
        uint64_t next;  /* its link, which has to be its own as long as it holds the lock */
        bool was_whole; /* it was, when the question was asked */
} holder;

static void *
holds_a_lock(void *arg)
{
        MUST(take(0) && take(2));
        holder.next = load_relaxed(&shared->locks[1].next);
        pthread_barrier_wait(&holder.barrier);
        pthread_barrier_wait(&holder.barrier);
        if (holder.meanwhile == LETS_GO)
                let_go(2);
        if (holder.meanwhile != DIES) {
                MUST(list_is(holder.meanwhile == LETS_GO ? 1 : 5));
                pthread_barrier_wait(&holder.barrier);
                pthread_barrier_wait(&holder.barrier);
                let_go(2); /* once more does nothing */
                let_go(0);
                MUST(list_is(0));
        }
        return arg;
}

static bool
asks_about_the_holder(uint64_t word, uint32_t pid)
{
        MUST(pid == 17 && robust_word_tid(word) != 0);
        holder.was_whole = load_relaxed(&shared->locks[1].next) == holder.next;
        pthread_barrier_wait(&holder.barrier);
        if (holder.meanwhile == DIES)
                pthread_join(holder.thread, NULL);
        else
                pthread_barrier_wait(&holder.barrier);
        return holder.is_gone;
}

static void
take_from_the_holder(struct child *self, void *arg)
{
        uint64_t seen;
        bool got;

        (void)self, (void)arg;
        pthread_barrier_init(&holder.barrier, NULL, 2);
        MUST(pthread_create(&holder.thread, NULL, holds_a_lock, NULL) == 0);
        pthread_barrier_wait(&holder.barrier);
        seen = robust_word(&shared->locks[1]);
        got = robust_take_gone(&shared->locks[1], seen, process_tid(), process_pid_ns(), asks_about_the_holder, 17);
        MUST(holder.was_whole);
        MUST(got == (holder.meanwhile == DIES));
        MUST(robust_word(&shared->locks[1]) == (holder.meanwhile == NOTHING ? seen
                                                : got ? robust_word_of(process_tid(), process_pid_ns())
                                                      : 0));
        MUST(list_is(got ? 4 : 0));
        if (holder.meanwhile == DIES)
                return;
        pthread_barrier_wait(&holder.barrier);
        pthread_join(holder.thread, NULL);
        MUST(robust_word(&shared->locks[1]) == 0 && take(2));
}

START_TEST(lock_of_a_living_holder_is_given_back)
{
        static const struct {
                enum meanwhile meanwhile;
                bool is_gone;
        } ways[] = {{NOTHING, false}, {LETS_GO, false}, {LETS_GO, true}, {DIES, true}};
        struct child c;

        setup();
        holder.meanwhile = ways[_i].meanwhile;
        holder.is_gone = ways[_i].is_gone;
        child_start(&c, take_from_the_holder, NULL);
        ck_assert_int_eq(child_end(&c), 0);
        teardown();
}
END_TEST

static void
let_go_at_once(struct child *self, void *arg)
{
        (void)self, (void)arg;
}

static void
take_from_the_dead_traced(struct child *self, void *arg)
{
        (void)self, (void)arg;
        MUST(liveness_system.lock_try(&shared->locks[1], 0, false) == 0); /* so that all it calls is bound */
        liveness_system.lock_release(&shared->locks[1]);
        store_relaxed(&shared->locks[0].word, robust_word_of((uint32_t)shared->dead, process_pid_ns()));
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        _exit(liveness_system.lock_try(&shared->locks[0], 0, false) + 100);
}

/* The end of the next call of tkill(), or of the process: false. */
static bool
until_tkill_returns(pid_t pid, struct registers *ret_regs)
{
        int status;

        for (int is_end = 0;; is_end = !is_end) {
                ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                if (WIFEXITED(status)) {
                        shared->is_done = WEXITSTATUS(status);
                        return false;
                }
                ck_assert(registers_get(pid, ret_regs));
                if (is_end && registers_call(ret_regs) == SYS_tkill)
                        return true;
        }
}

/* The kernel has no such thread when it is asked first, and one when it is asked again. */
START_TEST(number_that_is_given_again_is_not_taken_for_the_dead)
{
        struct registers regs;
        struct child c;
        int n = 0;

        if (registers_are_missing("number_that_is_given_again_is_not_taken_for_the_dead"))
                return;
        setup();
        child_start(&c, let_go_at_once, NULL);
        shared->dead = c.pid;
        ck_assert_int_eq(child_end(&c), 0);
        child_start(&c, take_from_the_dead_traced, NULL);
        ck_assert_int_eq(wait_for_stop(c.pid), SIGSTOP);
        for (; until_tkill_returns(c.pid, &regs); n++) {
                ck_assert_int_eq(registers_result(&regs), -ESRCH);
                if (_i != 0 && n != 0)
                        registers_set_result(&regs, 0);
                ck_assert(registers_set(c.pid, &regs));
        }
        ck_assert_int_eq(shared->is_done, (_i == 0 ? 1 : -EBUSY) + 100);
        if (_i != 0)
                ck_assert_uint_eq(robust_word(&shared->locks[0]),
                                  robust_word_of((uint32_t)shared->dead, process_pid_ns()));
        teardown();
}
END_TEST

/* ------------------------------------------------------------------ two copies of the library */

/* Locks 0 and 2 of `pair` are of this copy, 1 and 3 of the other one. */
static struct robust_lock *pair;

static void
take_of(int i)
{
        MUST((i % 2 == 0 ? robust_take : robust_copy_take)(&pair[i], 0, process_tid(), process_pid_ns()));
}

static void
let_go_of(int i)
{
        (i % 2 == 0 ? robust_unlock : robust_copy_unlock)(&pair[i], process_tid(), process_pid_ns());
}

static void
use_both_copies(struct child *self, void *arg)
{
        const int *order = arg;

        (void)self;
        MUST(take(1));
        for (int i = 0; i < 4; i++)
                take_of(order[i]);
        for (int i = 0; i < 2; i++)
                let_go_of(order[4 + i]);
        MUST(take(3));
        let_go(1);
        let_go_of(order[6]);
        take_of(order[6]);
        let_go_of(order[7]);
        raise(SIGKILL);
}

/* The kernel follows one list, in which each copy knows its own. */
START_TEST(what_one_copy_lets_go_of_is_not_what_another_one_holds)
{
        for (int n = 0; n < 24 * 24; n++) { /* taken in any order, and let go of in any other */
                int order[8], m = n;
                struct child c;

                for (int part = 0; part < 8; part += 4) {
                        for (int i = 0; i < 4; i++)
                                order[part + i] = i;
                        for (int i = 0; i < 4; m /= 4 - i, i++) {
                                int k = part + i + m % (4 - i), swapped = order[part + i];

                                order[part + i] = order[k];
                                order[k] = swapped;
                        }
                }
                setup();
                pair = mmap(NULL, 4 * sizeof *pair, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
                ck_assert_ptr_ne(pair, MAP_FAILED);
                child_start(&c, use_both_copies, order);
                ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
                ck_assert_uint_eq(futex_of(1), 0);
                ck_assert_uint_eq(futex_of(3), ROBUST_OWNER_DIED);
                for (int i = 4; i < 8; i++)
                        ck_assert_msg((uint32_t)robust_word(&pair[order[i]]) == (i == 6 ? ROBUST_OWNER_DIED : 0),
                                      "order %d: lock %d has %#x", n, order[i], (uint32_t)robust_word(&pair[order[i]]));
                munmap(pair, 4 * sizeof *pair);
                teardown();
        }
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("robust");
        TCase *tc = tcase_create("robust");

        tcase_add_test(tc, list_is_whole_in_every_order_and_all_of_it_is_marked);
        tcase_add_test(tc, locks_in_memory_that_is_unmapped_are_forgotten);
        tcase_add_test(tc, mutexes_in_memory_that_is_unmapped_are_forgotten);
        tcase_add_test(tc, damaged_links_mislead_nobody);
        tcase_add_test(tc, lock_that_is_held_is_not_taken_again_whatever_its_word_says);
        tcase_add_test(tc, all_of_many_are_marked);
        tcase_add_test(tc, child_of_a_fork_has_none_of_its_parent_s);
        tcase_add_test(tc, handlers_that_lock_do_not_break_the_list);
        tcase_add_test(tc, no_lock_is_ever_announced_as_pending);
        tcase_add_loop_test(tc, lock_of_a_living_holder_is_given_back, 0, 4);
        tcase_add_loop_test(tc, number_that_is_given_again_is_not_taken_for_the_dead, 0, 2);
        tcase_add_test(tc, what_one_copy_lets_go_of_is_not_what_another_one_holds);
        suite_add_tcase(s, tc);
        return suite_run(s);
}
