/*
 * run.c - starts the worker processes, waits for them, replaces those that were killed.
 *
 * This process handles no signal asynchronously: all that it wants to hear of is blocked and fetched by sigtimedwait().
 * The workers are told by the kernel (PR_SET_PDEATHSIG) when it is gone.
 */
#include "run.h"

#include <err.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { DEATHS_MAX = 100000 };

/* Makes a run end, however fast the workers are killed at first. */
static const double kill_slower = 1.03;

static pid_t worker_pid[WORKERS_MAX]; /* 0: none */
static sigset_t signals, signals_before;

/* ------------------------------------------------------------------ signals */

void
run_prepare(void)
{
        sigemptyset(&signals);
        sigaddset(&signals, SIGCHLD);
        sigaddset(&signals, SIGHUP);
        sigaddset(&signals, SIGINT);
        sigaddset(&signals, SIGTERM);
        sigprocmask(SIG_BLOCK, &signals, &signals_before);
        signal(SIGPIPE, SIG_IGN); /* a write error says it as well */
        signal(SIGCHLD, SIG_DFL); /* not as our parent may have left it: ignored, it would let no one be waited for */
}

static void
end_by(int signal_number)
{
        run_kill_workers();
        warnx("interrupted");
        exit(128 + signal_number); /* and so to the functions registered by atexit() */
}

/* Waits for a signal until the time given, at most; negative: for ever. */
static void
wait_for_signal(double seconds)
{
        struct timespec ts = {0, 0};
        int got;

        if (seconds > 0) {
                ts.tv_sec = (time_t)seconds;
                ts.tv_nsec = (long)((seconds - (double)ts.tv_sec) * 1e9);
        }
        got = sigtimedwait(&signals, NULL, seconds < 0 ? NULL : &ts);
        if (got > 0 && got != SIGCHLD)
                end_by(got);
}

void
run_interrupted(void)
{
        wait_for_signal(0);
}

/* ------------------------------------------------------------------ processes */

static double
now(void)
{
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

/* A new program: it shares nothing with this one but the name of the heap. */
static void
start_worker(const struct run *run, unsigned number)
{
        pid_t parent = getpid(), pid = fork();
        char text[16];

        if (pid < 0) {
                warn("cannot start a worker");
                exit(1);
        }
        if (pid == 0) {
                char *args[] = {"wordindex", "--worker", text, "--heap", (char *)run->heap_name, NULL};
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                if (getppid() != parent)
                        _exit(1);
                sigprocmask(SIG_SETMASK, &signals_before, NULL);
                snprintf(text, sizeof text, "%u", number);
                execv("/proc/self/exe", args);
                warn("cannot start a worker");
                _exit(1);
        }
        worker_pid[number] = pid;
}

void
run_kill_workers(void)
{
        for (unsigned i = 0; i < WORKERS_MAX; i++)
                if (worker_pid[i] > 0)
                        kill(worker_pid[i], SIGKILL);
        for (unsigned i = 0; i < WORKERS_MAX; i++) {
                while (worker_pid[i] > 0 && waitpid(worker_pid[i], NULL, 0) < 0 && errno == EINTR)
                        ;
                worker_pid[i] = 0;
        }
}

/* Lets a killed worker have a successor; how many workers there are now. */
static unsigned
look_after_workers(struct run *run)
{
        unsigned n = 0;

        for (unsigned i = 0; i < run->n_workers; i++) {
                int status;
                if (worker_pid[i] > 0 && waitpid(worker_pid[i], &status, WNOHANG) == worker_pid[i]) {
                        worker_pid[i] = 0;
                        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL && ++run->n_killed < DEATHS_MAX) {
                                shheap_reap(run->heap); /* the heap is settled; the index is left to the successor */
                                start_worker(run, i);
                        } else if (status != 0) {
                                if (WIFSIGNALED(status))
                                        warnx("worker %u was ended by signal %d", i, WTERMSIG(status));
                                exit(1);
                        }
                }
                n += worker_pid[i] > 0;
        }
        return n;
}

/* ------------------------------------------------------------------ kills */

/* Uniform from 0 to 1. */
static double
random_fraction(uint64_t *seed)
{
        uint64_t x = *seed += 0x9e3779b97f4a7c15; /* splitmix64 */

        x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9;
        x = (x ^ x >> 27) * 0x94d049bb133111eb;
        return (double)((x ^ x >> 31) >> 11) / (double)(UINT64_C(1) << 53);
}

static void
kill_one(struct run *run)
{
        unsigned first = (unsigned)(random_fraction(&run->seed) * run->n_workers);

        for (unsigned i = 0; i < run->n_workers; i++) {
                pid_t pid = worker_pid[(first + i) % run->n_workers];
                if (pid > 0) {
                        kill(pid, SIGKILL);
                        return;
                }
        }
}

void
run_workers(struct run *run)
{
        double start = now(), every = run->kill_every_seconds;
        double next_kill = start + 2 * every * random_fraction(&run->seed);

        for (unsigned i = 0; i < run->n_workers; i++)
                start_worker(run, i);
        while (look_after_workers(run) > 0) {
                double left = next_kill - now();
                if (every > 0 && left <= 0) {
                        kill_one(run);
                        every *= kill_slower;
                        next_kill = now() + 2 * every * random_fraction(&run->seed);
                        left = next_kill - now();
                }
                wait_for_signal(every > 0 && left > 0 ? left : every > 0 ? 0 : -1);
        }
        run->seconds = now() - start;
}
