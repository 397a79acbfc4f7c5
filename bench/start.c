/*
 * start - from nothing to the first block: a heap is made, or opened that is there already.  What it takes in time, and
 * in system calls.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"

/* In a fresh process: what it took until it had a block, in seconds. */
static double
open_and_take(const struct bench_allocator *a)
{
        double *seconds = bench_map(sizeof *seconds);
        pid_t pid = fork();

        if (pid == 0) {
                double start = bench_now();

                a->reopen();
                *(volatile char *)a->take(64) = 1;
                *seconds = bench_now() - start;
                _exit(0);
        }
        waitpid(pid, NULL, 0);
        return *seconds;
}

/* ------------------------------------------------------------------ system calls, counted by the parent */

static void
do_nothing(const struct bench_allocator *a)
{
        (void)a;
}

static void
create(const struct bench_allocator *a)
{
        if (a->setup((size_t)1 << 30) < 0)
                _exit(1);
        *(volatile char *)a->take(64) = 1;
}

static void
open_again(const struct bench_allocator *a)
{
        a->reopen();
        *(volatile char *)a->take(64) = 1;
}

/* Between two stops of the child's own.  Those that belong to the stops are not in it: less those around nothing. */
static int
traced(const struct bench_allocator *a, void (*work)(const struct bench_allocator *a))
{
        int status, n_stops = 0, n_marks = 0;
        pid_t pid = fork();

        if (pid == 0) {
                if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) < 0)
                        _exit(BENCH_SKIPPED);
                raise(SIGSTOP);
                work(a);
                raise(SIGSTOP);
                if (work == create && a->teardown)
                        a->teardown();
                _exit(0);
        }
        while (pid > 0 && waitpid(pid, &status, 0) == pid && WIFSTOPPED(status)) {
                if (WSTOPSIG(status) == SIGSTOP && ++n_marks == 1)
                        ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_TRACESYSGOOD);
                n_stops += n_marks == 1 && WSTOPSIG(status) == (SIGTRAP | 0x80);
                ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
        }
        return pid > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0 ? n_stops / 2 : -1;
}

static void
count_calls(const struct bench_allocator *a, void (*work)(const struct bench_allocator *a))
{
        int n = traced(a, work), nothing = traced(a, do_nothing);

        if (n < 0 || nothing < 0)
                fprintf(stderr, "%s: its system calls cannot be counted here\n", a->name);
        else
                bench_value("system_calls", "calls", BENCH_PLAIN, n - nothing);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        double start;

        if (!a->reopen)
                return BENCH_SKIPPED;
        bench_pin(0);
        if (c->a == 0) {
                count_calls(a, create);
                start = bench_now();
                if (a->setup((size_t)1 << 30) < 0)
                        return 1;
                *(volatile char *)a->take(64) = 1;
                bench_value("time", "us", BENCH_PLAIN, (bench_now() - start) * 1e6);
                return 0;
        }
        /* The maker is a process of its own, so that those who open it have nothing of it yet. */
        if (bench_apart(a, (size_t)1 << 30) < 0)
                return 1;
        count_calls(a, open_again);
        for (int i = 0; i < 20; i++)
                bench_value("time", "us", BENCH_PLAIN, open_and_take(a) * 1e6);
        return 0;
}

static const struct bench_case cases[] = {{"create", 0, 0, 0}, {"open", 1, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "start",     "What it takes to make a heap, or to open one that is there, and get a first block.",
                cases,       BENCH_SHARED | BENCH_NO_NULL,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
