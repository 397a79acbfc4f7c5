/*
 * start - from nothing to the first block: a heap is made, or opened that is there already.
 */
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

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        double start = bench_now();

        if (!a->reopen)
                return BENCH_SKIPPED;
        bench_pin(0);
        if (c->a == 0) {
                if (a->setup((size_t)1 << 30) < 0)
                        return 1;
                *(volatile char *)a->take(64) = 1;
                bench_value("time", "us", BENCH_PLAIN, (bench_now() - start) * 1e6);
                return 0;
        }
        /* The maker is a process of its own, so that those who open it have nothing of it yet. */
        if (bench_apart(a, (size_t)1 << 30) < 0)
                return 1;
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
