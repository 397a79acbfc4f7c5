/*
 * clients - does it matter how many processes have the heap open?  Each opens it, takes a block, and stays.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"

enum { CLIENTS_MAX = 1000, MEASURED = 20 };

struct client {
        double seconds;
        uint32_t is_ready;
};

static void
start(const struct bench_allocator *a, struct client *c)
{
        pid_t pid = fork();

        if (pid < 0) {
                perror("fork");
                exit(1);
        }
        if (pid == 0) {
                double begin = bench_now();

                prctl(PR_SET_PDEATHSIG, SIGKILL);
                a->reopen();
                *(volatile char *)a->take(64) = 1;
                c->seconds = bench_now() - begin;
                __atomic_store_n(&c->is_ready, 1, __ATOMIC_RELEASE);
                for (;;)
                        pause(); /* until its parent ends */
        }
        while (!__atomic_load_n(&c->is_ready, __ATOMIC_ACQUIRE) && waitpid(pid, NULL, WNOHANG) == 0)
                sched_yield();
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct client *client = bench_map((CLIENTS_MAX + MEASURED) * sizeof *client);
        int n = bench_is_quick && c->a > 200 ? 200 : (int)c->a;

        if (!a->reopen)
                return BENCH_SKIPPED;
        if (bench_apart(a, (size_t)1 << 30) < 0)
                return 1;
        for (int i = 0; i < n - 1 + MEASURED; i++)
                start(a, &client[i]);
        for (int i = n - 1; i < n - 1 + MEASURED; i++)
                bench_value("time", "us", BENCH_PLAIN, client[i].seconds * 1e6);
        return 0;
}

static const struct bench_case cases[] = {{"1", 1, 0, 0}, {"100", 100, 0, 0}, {"1000", 1000, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "clients",   "What it takes the n-th process to open a heap that is there, and get a first block.",
                cases,       BENCH_SHARED | BENCH_NO_NULL,
                .rounds = 3, .run = run};

        return bench_main(argc, argv, &question);
}
