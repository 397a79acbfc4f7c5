/*
 * reap - a client is killed with full caches: how long until all that it cached is anybody's again.  By the number of
 * blocks that it cached, by what else is in the heap, and by how many other clients there are.  And what stays of many
 * clients that hardly did anything and were killed, when they have been reaped, unused memory has been given back, and
 * no block is live.
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"
#include "shmalloc/shmalloc.h"

enum { ALL_CLASSES = 64, LARGEST_SMALL = 32 << 10, LARGEST = 2 << 20, CLIENTS_MAX = 2000 };

static shheap *heap;
static pid_t client[CLIENTS_MAX];

/* Frees what was allocated for that, of so many size classes: one block each, or what fills the magazines, of small
 * blocks two. */
static void
use_classes(uint64_t n_classes, bool fills)
{
        static void *block[256];
        size_t size = 16;

        for (uint64_t i = 0; i < n_classes && size <= LARGEST; i++) {
                int n = !fills ? 1 : size <= LARGEST_SMALL ? 256 : 16;

                for (int k = 0; k < n; k++)
                        block[k] = shheap_malloc(heap, size);
                for (int k = 0; k < n; k++)
                        shheap_free(heap, block[k]);
                size += size < 128 ? 16 : (size_t)1 << (61 - __builtin_clzll(size)); /* the next class */
        }
}

/* A client that does so, counts itself, and then waits to be killed, by its parent's end at the latest. */
static pid_t
start_client(uint64_t n_classes, bool fills, uint32_t *n_ready)
{
        pid_t pid = fork();

        if (pid < 0) {
                perror("fork");
                exit(1);
        }
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                shheap_free(heap, shheap_malloc(heap, 64));
                use_classes(n_classes, fills);
                __atomic_fetch_add(n_ready, 1, __ATOMIC_RELEASE);
                for (;;)
                        pause();
        }
        return pid;
}

/* So many, until they are ready, or one of them has ended, of which the figures will tell.  The last one. */
static pid_t
start_clients(uint64_t n, pid_t *ret_pids, uint64_t n_classes, bool fills)
{
        uint32_t *n_ready = bench_map(sizeof *n_ready);

        for (uint64_t i = 0; i < n; i++)
                ret_pids[i] = start_client(n_classes, fills, n_ready);
        while (__atomic_load_n(n_ready, __ATOMIC_ACQUIRE) < n && waitpid(-1, NULL, WNOHANG) == 0)
                sched_yield();
        munmap(n_ready, sizeof *n_ready);
        return ret_pids[n - 1];
}

static uint64_t
number(const char *name)
{
        uint64_t value = 0;
        size_t length = sizeof value;

        if (shheap_ctl(heap, name, &value, &length, NULL, 0) < 0)
                fprintf(stderr, "%s\n", shheap_errormsg());
        return value;
}

static int
open_heap(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.capacity = (uint64_t)4 << 30;
        if (shheap_open(&heap, bench_heap_name(), SHHEAP_CREATE | SHHEAP_EXCL, &attr) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return -1;
        }
        (void)shheap_unlink(bench_heap_name());
        return 0;
}

/* Bytes of the heap, when what can go has gone. */
static double
settled_bytes(void)
{
        if (shheap_reap(heap) != 0 || shheap_purge(heap, -1) < 0) {
                fprintf(stderr, "not settled: %s\n", shheap_errormsg());
                exit(1);
        }
        return (double)number("stats.mapped");
}

static int
run_idle(uint64_t n_classes, uint64_t n_clients)
{
        double empty, stays;

        use_classes(n_classes, false);
        empty = settled_bytes();
        start_clients(n_clients, client, n_classes, false);
        bench_value("alive", "MiB", BENCH_PLAIN, ((double)number("stats.mapped") - empty) / 1048576);
        for (uint64_t i = 0; i < n_clients; i++)
                kill(client[i], SIGKILL);
        for (uint64_t i = 0; i < n_clients; i++)
                waitpid(client[i], NULL, 0);
        stays = settled_bytes();
        if (number("stats.reaped") < n_clients || number("stats.allocated") != 0) {
                fprintf(stderr, "%lu of %lu were reaped, and %lu bytes are live\n",
                        (unsigned long)number("stats.reaped"), (unsigned long)n_clients,
                        (unsigned long)number("stats.allocated"));
                return 1;
        }
        bench_value("stays", "MiB", BENCH_PLAIN, (stays - empty) / 1048576);
        return 0;
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        uint64_t live = c->b << 20, rounds = bench_some(20, 5, 1);

        (void)a;
        if (open_heap() < 0)
                return 1;
        if (c->b == 0)
                return run_idle(c->a, bench_some(c->c, c->c / 10, 4));
        for (uint64_t bytes = 0; bytes < live; bytes += 1024)
                if (!shheap_malloc(heap, 1024))
                        return 1;
        if (c->c > 0)
                start_clients(c->c, client, 1, true);
        for (uint64_t i = 0; i < rounds; i++) {
                pid_t pid = start_clients(1, client, c->a, true);
                uint64_t cached = number("stats.cached"), n_reaped = number("stats.reaped");
                double start, stop;
                int n_left;

                kill(pid, SIGKILL);
                start = bench_now();
                waitpid(pid, NULL, 0);
                stop = bench_now();
                n_left = shheap_reap(heap);
                bench_value("reap", "us", BENCH_PLAIN, (bench_now() - stop) * 1e6);
                bench_value("death", "us", BENCH_PLAIN, (stop - start) * 1e6);
                bench_value("cached", "KiB", BENCH_PLAIN, (double)cached / 1024);
                if (n_left != 0 || number("stats.reaped") == n_reaped) {
                        fprintf(stderr, "nobody was reaped: %d\n", n_left);
                        return 1;
                }
        }
        return 0;
}

/* classes whose magazines are full, MiB that are live besides, other clients; 0 MiB: classes that each client uses */
static const struct bench_case cases[] = {{"1-class", 1, 16, 0},
                                          {"8-classes", 8, 16, 0},
                                          {"all-classes", ALL_CLASSES, 16, 0},
                                          {"all-of-256MiB", ALL_CLASSES, 256, 0},
                                          {"all-of-1GiB", ALL_CLASSES, 1024, 0},
                                          {"100-clients", ALL_CLASSES, 16, 100},
                                          {"1000-clients", ALL_CLASSES, 16, 1000},
                                          {"idle-killed", 8, 0, CLIENTS_MAX},
                                          {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "reap",      "What it takes to give back what a killed client had cached.",
                cases,       BENCH_OURS | BENCH_NO_NULL,
                .rounds = 1, .run = run};

        return bench_main(argc, argv, &question);
}
