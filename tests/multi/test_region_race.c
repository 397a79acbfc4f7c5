/*
 * What is at stake: a region appears complete or not at all, whoever creates, comes second, is killed or is stopped
 * half-way, and nobody waits.  Real processes race here; and since names and files change by system calls only, a
 * creator is also killed, and stopped, at each of its system calls in turn.
 *
 * The directory of heaps belongs to the suite, whose parent removes it whatever became of a test.
 */
#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "region/open.h"
#include "support/checks.h"
#include "support/suite.h"

enum { N_RACERS = 16, N_ROUNDS = 20, N_KILLS = 150, N_STEPS_MAX = 2000 };

static char dir[64];
static char name[32]; /* unique to this run */
static uint64_t capacity = UINT64_C(64) << 20;

/* What the racers of a round tell: shared with them. */
static struct {
        int n_ready;
        int err[N_RACERS];
        uint64_t id[N_RACERS];
        uint64_t base[N_RACERS];
} * board;

/* ------------------------------------------------------------------ the directory */

/* Counts the files, and removes them if told to. */
static int
dir_walk(bool remove_them)
{
        DIR *d = opendir(dir);
        const struct dirent *entry;
        char path[400];
        int n = 0;

        while (d != NULL && (entry = readdir(d)) != NULL) {
                snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                n++;
                if (remove_them)
                        unlink(path);
        }
        if (d != NULL)
                closedir(d);
        return n;
}

static void
dir_create(void)
{
        snprintf(dir, sizeof dir, "/dev/shm/shmalloc-race-%d-XXXXXX", (int)getpid());
        snprintf(name, sizeof name, "race-%d", (int)getpid());
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (board == MAP_FAILED || mkdtemp(dir) == NULL || setenv("SHMALLOC_DIR", dir, 1) != 0)
                abort();
        unsetenv("SHMALLOC_CONF");
}

static void
dir_remove(void)
{
        dir_walk(true);
        rmdir(dir);
}

static void
dir_empty(void)
{
        dir_walk(true);
}

/* ------------------------------------------------------------------ opening */

static int
open_heap(struct region *ret, unsigned flags)
{
        const struct options_given given = {.capacity = capacity};
        struct region_open_args args = {.flags = flags};
        int err = options_resolve(&given, &args.options);

        return err < 0 ? err : region_open(ret, name, &args);
}

/* Whatever is in the directory by now is one complete heap or nothing. */
static void
assert_complete_or_absent(void)
{
        struct region r;
        int n = dir_walk(false);
        int err = open_heap(&r, 0);

        ck_assert_int_le(n, 1);
        ck_assert_msg(err == (n == 1 ? 0 : -ENOENT), "%d files, %d: %s", n, err, error_message());
        if (err == 0)
                region_close(&r);
}

static void
assert_creatable(void)
{
        struct region r;

        ck_assert_msg(open_heap(&r, REGION_CREATE) == 0, "%s", error_message());
        ck_assert_int_eq(region_raise_chunks(&r, region_chunks_hwm(&r)), 0);
        region_close(&r);
        ck_assert_int_eq(region_unlink(name), 0);
        ck_assert_int_eq(dir_walk(false), 0);
}

/* ------------------------------------------------------------------ racing */

/* A test that fails leaves no process behind, stopped ones included. */
static void
die_with_parent(void)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
}

/* All racers spin until the last one has come, so that they start within nanoseconds where there are CPUs. */
static void
wait_for_start(void)
{
        __atomic_fetch_add(&board->n_ready, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&board->n_ready, __ATOMIC_SEQ_CST) < N_RACERS)
                sched_yield();
}

static void
race_open(int racer, unsigned flags)
{
        struct region r;

        wait_for_start();
        board->err[racer] = open_heap(&r, flags);
        if (board->err[racer] == 0) {
                board->id[racer] = r.header->id;
                board->base[racer] = (uintptr_t)r.base;
        }
}

static void
run_racers(void (*run)(int racer, unsigned flags), unsigned flags)
{
        pid_t pids[N_RACERS];

        memset(board, 0, sizeof *board);
        for (int i = 0; i < N_RACERS; i++) {
                pids[i] = fork();
                ck_assert_int_ge(pids[i], 0);
                if (pids[i] == 0) {
                        die_with_parent();
                        run(i, flags);
                        _exit(0);
                }
        }
        for (int i = 0; i < N_RACERS; i++) {
                int status;

                ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
                ck_assert_int_eq(status, 0);
        }
}

START_TEST(racing_creators_all_get_one_region)
{
        for (int round = 0; round < N_ROUNDS; round++) {
                run_racers(race_open, REGION_CREATE);
                for (int i = 0; i < N_RACERS; i++) {
                        ck_assert_int_eq(board->err[i], 0);
                        ck_assert_uint_eq(board->id[i], board->id[0]);
                        ck_assert_uint_eq(board->base[i], board->base[0]);
                }
                ck_assert_int_eq(dir_walk(false), 1);
                ck_assert_int_eq(region_unlink(name), 0);
        }
}
END_TEST

START_TEST(only_one_exclusive_creator_wins)
{
        for (int round = 0; round < N_ROUNDS; round++) {
                int n_won = 0;

                run_racers(race_open, REGION_CREATE | REGION_EXCL);
                for (int i = 0; i < N_RACERS; i++) {
                        ck_assert(board->err[i] == 0 || board->err[i] == -EEXIST);
                        n_won += board->err[i] == 0;
                }
                ck_assert_int_eq(n_won, 1);
                ck_assert_int_eq(region_unlink(name), 0);
        }
}
END_TEST

/* Opens, raises a mark and unlinks as fast as it can. */
static void
race_come_and_go(int racer, unsigned flags)
{
        wait_for_start();
        for (int i = 0; i < 100 && board->err[racer] == 0; i++) {
                struct region r;
                int err = open_heap(&r, flags);

                if (err == 0) {
                        err = region_raise_chunks(&r, 0);
                        region_close(&r);
                        region_unlink(name);
                }
                if (err != -EAGAIN) /* the bounded retry gave up: allowed, if rare */
                        board->err[racer] = err;
        }
}

START_TEST(names_that_come_and_go_confuse_nobody)
{
        run_racers(race_come_and_go, REGION_CREATE);
        for (int i = 0; i < N_RACERS; i++)
                ck_assert_msg(board->err[i] == 0, "racer %d: %s", i, strerror(-board->err[i]));
        assert_complete_or_absent();
}
END_TEST

/* ------------------------------------------------------------------ marks */

static void
race_raise(int racer, unsigned flags)
{
        struct region r;

        board->err[racer] = open_heap(&r, flags);
        wait_for_start();
        for (uint64_t k = 0; k < 16 && board->err[racer] == 0; k++) {
                board->err[racer] = region_raise_chunks(&r, k);
                if (board->err[racer] == 0 && region_chunks_hwm(&r) <= k)
                        board->err[racer] = -EUCLEAN;
                fetch_add_relaxed(&r.granules[k * GEO_GRANULES_PER_CHUNK], 1); /* backed: never a fault */
        }
}

START_TEST(racing_raisers_all_succeed)
{
        struct region r;

        ck_assert_int_eq(open_heap(&r, REGION_CREATE), 0);
        region_close(&r);
        run_racers(race_raise, 0);
        for (int i = 0; i < N_RACERS; i++)
                ck_assert_int_eq(board->err[i], 0);
        ck_assert_int_eq(open_heap(&r, 0), 0);
        ck_assert_uint_eq(region_chunks_hwm(&r), 16);
        for (uint64_t k = 0; k < 16; k++)
                ck_assert_uint_eq(r.granules[k * GEO_GRANULES_PER_CHUNK], N_RACERS);
}
END_TEST

/* ------------------------------------------------------------------ killed at random */

static void
create_for_ever(void)
{
        die_with_parent();
        for (;;) {
                struct region r;

                if (open_heap(&r, REGION_CREATE) == 0)
                        region_close(&r);
                region_unlink(name);
        }
}

/* A moment up to 1 ms from now, chosen by a fixed sequence. */
static void
spin_a_while(void)
{
        static uint64_t state = 88172645463325252u;
        struct timespec start, now;
        long ns;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        ns = (long)(state % 1000000);
        clock_gettime(CLOCK_MONOTONIC, &start);
        do
                clock_gettime(CLOCK_MONOTONIC, &now);
        while ((now.tv_sec - start.tv_sec) * 1000000000L + now.tv_nsec - start.tv_nsec < ns);
}

START_TEST(creators_killed_at_random_leave_nothing_half_made)
{
        int status;

        for (int i = 0; i < N_KILLS; i++) {
                pid_t pid = fork();

                ck_assert_int_ge(pid, 0);
                if (pid == 0)
                        create_for_ever();
                spin_a_while();
                ck_assert_int_eq(kill(pid, SIGKILL), 0);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                ck_assert(WIFSIGNALED(status));
                assert_complete_or_absent();
        }
        region_unlink(name);
        assert_creatable();
}
END_TEST

/* ------------------------------------------------------------------ at each system call */

static void
traced_creator(unsigned flags)
{
        struct region r;

        die_with_parent();
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
                _exit(77);
        raise(SIGSTOP);
        _exit(open_heap(&r, flags) == 0 ? 0 : 1);
}

/* A creator stopped at entry or exit of its nth stop; 0 if it finished before, -1 where tracing is forbidden. */
static pid_t
creator_stopped_at(int nth, unsigned flags)
{
        pid_t pid = fork();
        int status;

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                traced_creator(flags);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        for (int i = 0; i < nth && WIFSTOPPED(status); i++) {
                ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, NULL), 0);
                ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        }
        if (WIFSTOPPED(status))
                return pid;
        if (WEXITSTATUS(status) == 77)
                return -1;
        ck_assert_int_eq(status, 0);
        return 0;
}

static void
kill_and_wait(pid_t pid)
{
        int status;

        ck_assert_int_eq(kill(pid, SIGKILL), 0);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
}

/* The number of steps that there were; -1 where tracing is forbidden. */
static int
kill_at_each_step(unsigned flags)
{
        int nth = 0;
        pid_t pid = 0;

        while (nth < N_STEPS_MAX && (pid = creator_stopped_at(nth, flags)) > 0) {
                kill_and_wait(pid);
                assert_complete_or_absent();
                region_unlink(name);
                assert_creatable();
                nth++;
        }
        return pid < 0 ? -1 : nth;
}

START_TEST(a_creator_killed_at_any_system_call_leaves_nothing_half_made)
{
        int n_steps;

        capacity = UINT64_C(8) << 20; /* quick to populate */
        n_steps = kill_at_each_step(_i == 0 ? REGION_CREATE : REGION_CREATE | REGION_POPULATE);

        if (n_steps < 0) {
                puts("skipped: ptrace is not allowed here");
                return;
        }
        ck_assert_int_gt(n_steps, 40); /* two stops a call */
        ck_assert_int_lt(n_steps, N_STEPS_MAX);
}
END_TEST

/* While the creator stands still, others create, use and forget the same name. */
START_TEST(a_creator_stopped_at_any_system_call_delays_nobody)
{
        int nth = 0;
        pid_t pid = 0;

        while (nth < N_STEPS_MAX && (pid = creator_stopped_at(nth, REGION_CREATE)) > 0) {
                assert_complete_or_absent();
                region_unlink(name);
                assert_creatable();
                kill_and_wait(pid);
                assert_creatable();
                nth++;
        }
        if (pid < 0)
                puts("skipped: ptrace is not allowed here");
        else
                ck_assert_int_gt(nth, 40);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("region race");
        TCase *tcase = tcase_create("race");

        suite_add_tcase(suite, tcase);
        tcase_add_unchecked_fixture(tcase, dir_create, dir_remove);
        tcase_add_checked_fixture(tcase, dir_empty, NULL);
        tcase_add_test(tcase, racing_creators_all_get_one_region);
        tcase_add_test(tcase, only_one_exclusive_creator_wins);
        tcase_add_test(tcase, names_that_come_and_go_confuse_nobody);
        tcase_add_test(tcase, racing_raisers_all_succeed);
        tcase_add_test(tcase, creators_killed_at_random_leave_nothing_half_made);
        tcase_add_loop_test(tcase, a_creator_killed_at_any_system_call_leaves_nothing_half_made, 0, 2);
        tcase_add_test(tcase, a_creator_stopped_at_any_system_call_delays_nobody);
        return suite_run(suite);
}
