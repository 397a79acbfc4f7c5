/*
 * What is at stake: a process that dies in any of the ways in which processes die must be noticed, and one that is
 * merely stopped, slow, or another user's must never be taken for dead.  Real processes on one piece of shared memory.
 * Nothing here waits for time to pass: a child says through a pipe how far it is, and the kernel says when it is
 * dead; for loops that poll, libcheck's limit is the watchdog.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/mortal.h"
#include "support/suite.h"

#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

/* ------------------------------------------------------------------ ways to die */

START_TEST(killed_process_is_settled_within_bounded_time)
{
        struct child child;

        child_start(&child, attach_and_wait);
        child_await(&child);
        ck_assert_int_eq(slot_reap_one(r, 0, settle_never, NULL), 0);
        ck_assert_int_eq(kill(child.pid, SIGKILL), 0);
        while (slot_reap_one(r, 0, settle_count, NULL) == 0) /* nobody waits for the process or buries it */
                sched_yield();
        ck_assert_uint_eq(shared->settled[1], 1);
        ck_assert_uint_eq(gate_at(0)->state, 0);
        child_bury(&child);
}
END_TEST

START_TEST(zombie_is_dead)
{
        struct child child;

        child_start(&child, attach_and_wait);
        child_await(&child);
        kill(child.pid, SIGKILL);
        child_await_zombie(&child);
        ck_assert(process_is_gone((uint32_t)child.pid)); /* although the number still is its own */
        ck_assert(!client_is_live(r, 1, 1));
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        child_bury(&child);
}
END_TEST

START_TEST(stopped_process_is_never_dead)
{
        struct child child;

        child_start(&child, attach_wait_and_release);
        child_await(&child);
        ck_assert_int_eq(kill(child.pid, SIGSTOP), 0);
        child_await_stopped(&child);
        for (int i = 0; i < 1000; i++)
                ck_assert_uint_eq(slot_reap_all(r, settle_never, NULL), 0);
        ck_assert(!slot_has_let_go(r, 0));
        ck_assert_int_eq(kill(child.pid, SIGCONT), 0);
        child_tell(&child);
        child_must_succeed(&child);
        ck_assert_uint_eq(gate_at(0)->state, 0);
        ck_assert(slot_has_let_go(r, 0));
}
END_TEST

START_TEST(victim_with_a_cut_robust_list_is_dead_once_it_is_a_zombie)
{
        struct child child;

        child_start(&child, attach_and_cut_robust_list);
        child_await(&child);
        kill(child.pid, SIGKILL);
        child_await_zombie(&child);
        ck_assert_msg(!life_is_marked(0), "the kernel's walk did not end at the unmapped mutex");
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        ck_assert_uint_eq(shared->settled[1], 1);
        child_bury(&child);
}
END_TEST

/* The same without a settle function at hand: an empty slot, whose unmarked `life` an attacher finds. */
static void
attach_detach_and_cut_robust_list(void)
{
        attach();
        slot_detach(&child_thread);
        cut_robust_list();
        say();
        hear();
}

START_TEST(empty_slot_with_an_unmarked_life_is_inherited)
{
        struct thread t = {0};
        struct child child;

        child_start(&child, attach_detach_and_cut_robust_list);
        child_await(&child);
        child_kill_and_bury(&child);
        ck_assert(!life_is_marked(0));
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        ck_assert_uint_eq(t.no, 1);
        slot_release(&t);
}
END_TEST

/* Keeps the victim from running between SIGKILL and process_mrelease: both share one CPU, and it cannot preempt us. */
static bool
outrank_child(pid_t pid)
{
        struct sched_param param = {.sched_priority = 1};
        cpu_set_t cpus;

        CPU_ZERO(&cpus);
        CPU_SET(sched_getcpu(), &cpus);
        return sched_setaffinity(0, sizeof cpus, &cpus) == 0 && sched_setaffinity(pid, sizeof cpus, &cpus) == 0 &&
               sched_setscheduler(0, SCHED_FIFO, &param) == 0;
}

START_TEST(victim_of_process_mrelease_is_dead_once_it_is_a_zombie)
{
        struct child child;
        int pidfd, err;

        child_start(&child, attach_and_wait);
        child_await(&child);
        pidfd = (int)syscall(SYS_pidfd_open, child.pid, 0);
        if (pidfd < 0 || !outrank_child(child.pid)) {
                fprintf(stderr, "process_mrelease: not tested, no pidfd or no realtime priority here\n");
                child_kill_and_bury(&child);
                return;
        }
        kill(child.pid, SIGKILL);
        err = syscall(SYS_process_mrelease, pidfd, 0) == 0 ? 0 : errno;
        child_await_zombie(&child);
        if (err != 0 || life_is_marked(0))
                fprintf(stderr, "process_mrelease: not tested, %s\n",
                        err != 0 ? strerror(err) : "the victim was faster");
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        ck_assert_uint_eq(shared->settled[1], 1);
        child_bury(&child);
        close(pidfd);
}
END_TEST

static void
reap_as_nobody(void)
{
        NEED(setresuid(65534, 65534, 65534) == 0);
        NEED(kill(getppid(), 0) < 0 && errno == EPERM);
        NEED(slot_reap_all(r, settle_never, NULL) == 0);
}

START_TEST(process_that_may_not_be_signalled_is_alive)
{
        struct thread t = {0};
        struct child child;

        if (geteuid() != 0)
                return;
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        child_start(&child, reap_as_nobody);
        child_must_succeed(&child);
        slot_release(&t);
}
END_TEST

/* ------------------------------------------------------------------ reapers that die or stop */

static void
settle_then_die(struct region *region_settled, uint32_t thread_no, void *arg)
{
        settle_count(region_settled, thread_no, arg);
        raise(SIGKILL);
}

static void
reap_and_die(void)
{
        slot_reap_one(r, 0, settle_then_die, NULL);
        NEED(!"the reaper survived");
}

START_TEST(reaper_killed_while_settling_is_followed_by_the_next)
{
        struct child child;

        leave_dead_slot();
        for (int i = 0; i < 3; i++) {
                child_start(&child, reap_and_die);
                ck_assert_int_eq(WTERMSIG(child_bury(&child)), SIGKILL);
        }
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        ck_assert_uint_eq(shared->settled[1], 4);
        ck_assert_uint_eq(robust_word(&gate_at(0)->life), 0);
        ck_assert_uint_eq(robust_word(&gate_at(0)->reap), 0);
}
END_TEST

static void
settle_cut_then_die(struct region *region_settled, uint32_t thread_no, void *arg)
{
        cut_robust_list();
        settle_then_die(region_settled, thread_no, arg);
}

static void
reap_cut_and_die(void)
{
        slot_reap_one(r, 0, settle_cut_then_die, NULL);
}

/* `reap` is judged as `life` is: nothing is marked, both words name a thread that is gone. */
START_TEST(reaper_that_leaves_no_mark_is_followed_by_the_next)
{
        struct child child;

        leave_dead_slot();
        child_start(&child, reap_cut_and_die);
        child_await_zombie(&child);
        ck_assert(!life_is_marked(0));
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        ck_assert_uint_eq(shared->settled[1], 2);
        child_bury(&child);
}
END_TEST

static void
settle_then_stop(struct region *region_settled, uint32_t thread_no, void *arg)
{
        raise(SIGSTOP);
        settle_count(region_settled, thread_no, arg);
}

static void
reap_and_stop(void)
{
        NEED(slot_reap_one(r, 0, settle_then_stop, NULL) == 1);
}

START_TEST(stopped_reaper_delays_nobody)
{
        struct thread t = {0};
        struct child child;

        leave_dead_slot();
        child_start(&child, reap_and_stop);
        child_await_stopped(&child);
        for (int i = 0; i < 100; i++)
                ck_assert_uint_eq(slot_reap_all(r, settle_never, NULL), 0);
        ck_assert_int_eq(slot_attach(&t, r, &client, settle_never, NULL), 0);
        ck_assert_uint_eq(t.no, 2);
        ck_assert_int_eq(kill(child.pid, SIGCONT), 0);
        child_must_succeed(&child);
        ck_assert_uint_eq(shared->settled[1], 1);
        ck_assert_uint_eq(gate_at(0)->state, 0);
        slot_release(&t);
}
END_TEST

/* ------------------------------------------------------------------ children of all kinds */

static void
use_heap_as_forked_child(void)
{
        struct thread t = {0};

        NEED(client_register(r, &client) == 0);
        NEED(slot_attach(&t, r, &client, settle_never, NULL) == 0);
        NEED(t.no == 2); /* the parent has the first */
        slot_release(&t);
}

START_TEST(forked_child_is_a_client_of_its_own)
{
        struct thread t = {0};
        struct child child;

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        child_start(&child, use_heap_as_forked_child);
        child_must_succeed(&child);
        ck_assert_uint_eq(robust_word_tid(robust_word(&gate_at(0)->life)), process_tid());
        slot_release(&t);
}
END_TEST

/* Behind the C library's back: no robust list. */
START_TEST(child_of_a_raw_clone_is_refused)
{
        struct slot_gate before;
        struct thread t = {0}, child_t = {0};
        struct reserve reserve;
        struct client_id id;
        int status;
        pid_t pid;

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &client, NULL, NULL), 0);
        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        memcpy(&before, t.gate, sizeof before);
        pid = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                bool good = slot_attach(&child_t, r, &client, settle_never, NULL) == -ENOTSUP &&
                            strstr(error_message(), "exec") != NULL &&
                            slot_borrow(&reserve, &child_t, r, &client, settle_never, NULL) == -ENOTSUP &&
                            slot_reap_all(r, settle_never, NULL) == 0 && client_register(r, &id) == -ENOTSUP;

                syscall(SYS_exit_group, good ? 0 : 99);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
        /* It has not got into its parent's list of held locks either. */
        ck_assert_int_eq(memcmp(&before, t.gate, sizeof before), 0);
        slot_release(&t);
}
END_TEST

static void
attach_and_exec(void)
{
        char image[16];

        attach();
        NEED(dup2(child_says, 1) == 1);
        NEED(dup2(child_hears, 0) == 0);
        snprintf(image, sizeof image, "%u", process_image());
        execl("/proc/self/exe", "test_death", "--exec", image, (char *)NULL);
        NEED(!"exec failed");
}

/* The process after its exec: it lives, under the same number. */
static int
main_after_exec(const char *old_image)
{
        char c;

        if (strtoul(old_image, NULL, 10) == process_image())
                return 98;
        if (write(1, "x", 1) != 1 || read(0, &c, 1) != 1)
                return 97;
        return 0;
}

START_TEST(exec_ends_the_threads_but_not_the_process)
{
        struct child child;

        child_start(&child, attach_and_exec);
        child_await(&child);
        ck_assert(!process_is_gone(gate_at(0)->os_pid));
        ck_assert_int_eq(slot_reap_one(r, 0, settle_count, NULL), 1);
        child_tell(&child);
        child_must_succeed(&child);
}
END_TEST

static void
run_in_new_namespace(void (*run)(void))
{
        int status;
        pid_t pid;

        if (unshare(CLONE_NEWPID) < 0)
                _exit(77);
        pid = fork();
        NEED(pid >= 0);
        if (pid == 0) {
                run();
                _exit(0);
        }
        NEED(waitpid(pid, &status, 0) == pid);
        NEED(status == 0);
}

static void
live_in_inner_namespace(void)
{
        struct thread t = {0};

        NEED(getpid() == 1);
        NEED(client_register(r, &client) == 0);
        NEED(slot_attach(&t, r, &client, settle_never, NULL) == 0);
        NEED(life_pid_ns(t.no - 1) != life_pid_ns(0) && life_pid_ns(t.no - 1) != life_pid_ns(1));
        slot_release(&t);
}

/* Process 1 of a pid namespace: it sees none of the others' ids, and they see other ids for it. */
static void
live_in_own_namespace(void)
{
        struct thread t = {0};

        NEED(getpid() == 1);
        NEED(client_register(r, &client) == 0);
        NEED(slot_reap_all(r, settle_never, NULL) == 0); /* all are ESRCH from here, and none is dead */
        NEED(slot_attach(&t, r, &client, settle_never, NULL) == 0);
        NEED(t.no == 2);
        /* The first process of a namespace within has the same number as its parent, and is elsewhere. */
        run_in_new_namespace(live_in_inner_namespace);
        say();
        hear();
}

static void
start_in_own_namespace(void)
{
        run_in_new_namespace(live_in_own_namespace);
}

START_TEST(number_of_another_pid_namespace_proves_nothing_and_its_mark_does)
{
        struct thread t = {0};
        struct child child;
        char c;

        ck_assert_int_eq(slot_attach(&t, r, &client, NULL, NULL), 0);
        child_start(&child, start_in_own_namespace);
        if (read(child.said, &c, 1) != 1) {
                int status = child_bury(&child);

                ck_assert_msg(WEXITSTATUS(status) == 77, "child ended with status %#x", status);
                fprintf(stderr, "pid namespaces: not tested, not permitted here\n");
                return;
        }
        ck_assert_uint_ne(life_pid_ns(1), life_pid_ns(0));
        ck_assert_uint_eq(slot_reap_all(r, settle_never, NULL), 0);
        child_tell(&child);
        child_must_succeed(&child);
        ck_assert(life_is_marked(1));
        ck_assert(client_is_live(r, 1, 1)); /* for all that we know */
        ck_assert_int_eq(slot_reap_one(r, 1, settle_count, NULL), 1);
        ck_assert_uint_eq(shared->settled[2], 1);
        slot_release(&t);
}
END_TEST

static TCase *
cases(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        suite_add_tcase(suite, tcase);
        return tcase;
}

int
main(int argc, char **argv)
{
        Suite *suite = suite_create("death");
        TCase *tcase;

        if (argc == 3 && strcmp(argv[1], "--exec") == 0)
                return main_after_exec(argv[2]);
        tcase = cases(suite, "ways to die");
        tcase_add_test(tcase, killed_process_is_settled_within_bounded_time);
        tcase_add_test(tcase, zombie_is_dead);
        tcase_add_test(tcase, stopped_process_is_never_dead);
        tcase_add_test(tcase, victim_with_a_cut_robust_list_is_dead_once_it_is_a_zombie);
        tcase_add_test(tcase, empty_slot_with_an_unmarked_life_is_inherited);
        tcase_add_test(tcase, victim_of_process_mrelease_is_dead_once_it_is_a_zombie);
        tcase_add_test(tcase, process_that_may_not_be_signalled_is_alive);

        tcase = cases(suite, "reapers");
        tcase_add_test(tcase, reaper_killed_while_settling_is_followed_by_the_next);
        tcase_add_test(tcase, reaper_that_leaves_no_mark_is_followed_by_the_next);
        tcase_add_test(tcase, stopped_reaper_delays_nobody);

        tcase = cases(suite, "children");
        tcase_add_test(tcase, forked_child_is_a_client_of_its_own);
        tcase_add_test(tcase, child_of_a_raw_clone_is_refused);
        tcase_add_test(tcase, exec_ends_the_threads_but_not_the_process);
        tcase_add_test(tcase, number_of_another_pid_namespace_proves_nothing_and_its_mark_does);

        return suite_run(suite);
}
