/*
 * real.c - the same operations in real processes: SIGKILL, robust mutexes, memory and time as the system has them.
 *
 * Slower by far, so only some points of each operation are tried: of those that changed the region for deaths, of all
 * for stops.  That checks what the enumeration takes for granted: that its own idea of life and death is the kernel's.
 * The library is the one that users get.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "heap/check.h"
#include "step.h"

enum { CHANGES_MAX = 4096, WATCHDOG_SECONDS = 30 };

struct progress {
        uint32_t has_begun, is_done;
        long n_instructions;
        long n_changes;
        long change[CHANGES_MAX]; /* instructions after which the region was another */
};

static struct progress *progress;
static pid_t victim;

/* ------------------------------------------------------------------ the victim */

static void
be_victim(void)
{
        struct actor *a = &actors[ACTOR_A];

        ptrace(PTRACE_TRACEME, 0, 0, 0);
        actor_switch(a);
        if (!(opt.script->flags & SCRIPT_UNATTACHED))
                actor_attach(a);
        a->os_pid = (uint32_t)getpid();
        if (opt.script->setup)
                opt.script->setup(a);
        raise(SIGSTOP);
        store_relaxed(&progress->has_begun, 1u);
        opt.script->run(a);
        store_relaxed(&progress->is_done, 1u);
        raise(SIGSTOP);
        _exit(0);
}

static bool
is_standing(void)
{
        int status;

        if (waitpid(victim, &status, 0) != victim)
                exit(99);
        if (WIFSTOPPED(status) && (WSTOPSIG(status) == SIGTRAP || WSTOPSIG(status) == SIGSTOP))
                return true;
        report_line("the victim ended by itself: status %#x", status);
        return false;
}

static bool
step(void)
{
        ptrace(PTRACE_SINGLESTEP, victim, 0, 0);
        return is_standing();
}

/* Up to n instructions of the operation.  False: it ended first. */
static bool
step_n(long n)
{
        while (!load_relaxed(&progress->has_begun))
                if (!step())
                        return false;
        for (long i = 0; i < n; i++)
                if (!step() || load_relaxed(&progress->is_done))
                        return false;
        return true;
}

static void
count_all(void)
{
        while (!load_relaxed(&progress->has_begun))
                step();
        region_remember();
        while (step() && !load_relaxed(&progress->is_done)) {
                progress->n_instructions++;
                if (!region_has_changed())
                        continue;
                region_remember();
                if (progress->n_changes < CHANGES_MAX)
                        progress->change[progress->n_changes++] = progress->n_instructions;
        }
}

/* ------------------------------------------------------------------ one point */

static void
start(void)
{
        memset(progress, 0, offsetof(struct progress, n_instructions));
        world_make(opt.script);
        fflush(NULL);
        victim = fork();
        if (victim == 0)
                be_victim();
        if (victim < 0 || !is_standing())
                exit(99);
        actor_attach(&actors[ACTOR_C]);
        step_init();
}

static void
die_at(long n)
{
        int status;

        step_n(n);
        kill(victim, SIGKILL);
        if (waitpid(victim, &status, 0) != victim)
                exit(99);
        actor_kill(&actors[ACTOR_A]);
        inspect_dead(&actors[ACTOR_C], true);
}

static void
stop_at(long n)
{
        struct actor *c = &actors[ACTOR_C];

        step_n(n);
        if (!progress->is_done) {
                if (actor_reap() != 0)
                        report_line("a stopped process was taken for dead");
                if (check_region(world_region, 0, NULL, NULL) != 0)
                        report_line("what a stopped process is at is called a fault");
                workload(c, opt.script->hot_bytes, opt.n_ops, opt.seed + (uint64_t)n);
                ptrace(PTRACE_CONT, victim, 0, 0);
                is_standing();
        }
        if (!progress->is_done)
                report_line("the stopped process did not come to its end");
        inspect_rest(c, false);
        kill(victim, SIGKILL);
}

static void
try_point(void (*what)(long n), const char *name, long n)
{
        pid_t pid;
        int status;

        counts->n_forks++;
        report_reset();
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                alarm(WATCHDOG_SECONDS);
                start();
                what(n);
                _exit(report_faults() != 0);
        }
        if (waitpid(pid, &status, 0) != pid)
                exit(99);
        if (status == 0)
                return;
        counts->n_bad++;
        fprintf(stderr, "FAULT: %s: %s after instruction %ld: status %#x\n", opt.script->name, name, n, status);
        report_print();
        fprintf(stderr, "  replay: %s %s --at %ld\n", opt.command, opt.script->name, n);
}

static void
count_only(long n)
{
        (void)n;
        count_all();
        kill(victim, SIGKILL);
}

static void
try_deaths(uint64_t *random)
{
        unsigned n_deaths = opt.n_samples < (unsigned long)progress->n_changes ? opt.n_samples : (unsigned)progress->n_changes;

        for (unsigned i = 0; i < n_deaths; i++) {
                /* One of each stretch, so that they are spread over the operation. */
                long first = progress->n_changes * i / n_deaths, next = progress->n_changes * (i + 1) / n_deaths;
                long at = progress->change[first + (long)(random_next(random) % (uint64_t)(next - first))];

                try_point(die_at, "killed", at);
                counts->n_states++;
        }
}

void
mode_real(void)
{
        uint64_t random = opt.seed;

        progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (progress == MAP_FAILED)
                exit(99);
        if (opt.only[1] >= 0) {
                try_point(die_at, "killed", opt.only[1]);
                try_point(stop_at, "stopped", opt.only[1]);
                return;
        }
        try_point(count_only, "not killed", 0);
        counts->n_instructions = (uint64_t)progress->n_instructions;
        counts->n_changes = (uint64_t)progress->n_changes;
        try_deaths(&random);
        for (unsigned i = 0; i < opt.n_samples / 2 && progress->n_instructions > 0; i++) {
                try_point(stop_at, "stopped", (long)(random_next(&random) % (uint64_t)progress->n_instructions));
                counts->n_states++;
        }
}
