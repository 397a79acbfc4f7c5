/*
 * crew.c - several workers at once: threads for private allocators, processes for shared heaps.  One worker is the
 * calling thread itself, so that an allocator that knows of no threads need not pay for any.
 */
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"

enum { WORKERS_MAX = 64 };

/* In memory that all workers share. */
struct crew {
        uint32_t n_ready, is_on;
        double seconds;
        struct bench_worker worker[WORKERS_MAX];
};

struct start {
        const struct bench_allocator *a;
        bench_worker_fn *fn;
        struct crew *crew;
        int idx;
};

void
bench_begin(struct bench_worker *w)
{
        w->cpu_start = bench_cpu();
        w->start = bench_now();
        w->deadline = w->start + w->wanted;
}

static void
work(const struct start *s)
{
        struct bench_worker *w = &s->crew->worker[s->idx];

        bench_pin(s->idx);
        __atomic_fetch_add(&s->crew->n_ready, 1, __ATOMIC_ACQ_REL);
        while (__atomic_load_n(&s->crew->n_ready, __ATOMIC_ACQUIRE) < (uint32_t)w->n)
                sched_yield();
        w->wanted = s->crew->seconds;
        bench_begin(w);
        s->fn(s->a, w);
        w->seconds = bench_now() - w->start;
        w->cpu_seconds = bench_cpu() - w->cpu_start;
}

static void *
thread_main(void *arg)
{
        work(arg);
        return NULL;
}

static void
fail(const char *what)
{
        perror(what);
        exit(1);
}

static void
run_processes(struct start *s, int n)
{
        pid_t pid[WORKERS_MAX];

        for (int i = 0; i < n; i++) {
                pid[i] = fork();
                if (pid[i] < 0)
                        fail("fork");
                if (pid[i] == 0) {
                        work(&s[i]);
                        _exit(0);
                }
        }
        for (int i = 0; i < n; i++) {
                int status;

                if (waitpid(pid[i], &status, 0) < 0 || status != 0) {
                        fprintf(stderr, "%s: worker %d ended with status %#x\n", s[i].a->name, i, (unsigned)status);
                        exit(1);
                }
        }
}

static void
run_threads(struct start *s, int n)
{
        pthread_t thread[WORKERS_MAX];

        for (int i = 0; i < n; i++)
                if (pthread_create(&thread[i], NULL, thread_main, &s[i]) != 0)
                        fail("pthread_create");
        for (int i = 0; i < n; i++)
                pthread_join(thread[i], NULL);
}

int
bench_apart(const struct bench_allocator *a, size_t capacity)
{
        int32_t *result = bench_map(sizeof *result);
        pid_t parent = getpid(), pid;

        *result = 1;
        pid = fork();
        if (pid < 0)
                fail("fork");
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                __atomic_store_n(result, a->setup(capacity), __ATOMIC_RELEASE);
                while (getppid() == parent)
                        pause();
                _exit(0);
        }
        while (__atomic_load_n(result, __ATOMIC_ACQUIRE) == 1)
                if (waitpid(pid, NULL, WNOHANG) == pid)
                        return -1;
        return *result;
}

const struct bench_worker *
bench_crew(const struct bench_allocator *a, int n, bench_worker_fn *fn, void *arg, double seconds)
{
        struct crew *crew = bench_map(sizeof *crew);
        struct start s[WORKERS_MAX];

        crew->seconds = bench_seconds(seconds);
        for (int i = 0; i < n; i++) {
                crew->worker[i] = (struct bench_worker){.idx = i, .n = n, .arg = arg};
                s[i] = (struct start){a, fn, crew, i};
        }
        if (n == 1)
                work(&s[0]);
        else if (a->is_shared)
                run_processes(s, n);
        else
                run_threads(s, n);
        return crew->worker;
}

void
bench_report_crew(const struct bench_worker *workers, int n)
{
        double rate = 0, cpu = 0, n_ops = 0;

        for (int i = 0; i < n; i++) {
                rate += (double)workers[i].n_ops / workers[i].seconds;
                cpu += workers[i].cpu_seconds;
                n_ops += (double)workers[i].n_ops;
        }
        bench_value("time", "ns", BENCH_TIME, 1e9 / rate);
        bench_value("cpu", "ns", BENCH_TIME, cpu * 1e9 / n_ops);
        bench_value("rate", "M/s", BENCH_MORE, rate / 1e6);
}
