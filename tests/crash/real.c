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
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/check.h"
#include "step.h"

enum { CHANGES_MAX = 4096, STOPS_MAX = 1024, VISITS_MAX = 1 << 17 };

/* How a point ends that this run did not come to, and how often it may: loops over what the kernel tells of a process
 * are as long as its numbers have digits. */
enum { EXIT_FEWER = 2, FEWER_MAX = 3 };

/* A moment of the operation: before the instruction at `at` is executed for the n-th time. */
struct moment {
        uintptr_t at;
        uint32_t n_visits;
        long n; /* instructions until then */
};

struct progress {
        uint32_t has_begun, is_done;
        uint32_t n_visits; /* by a victim that ended before the moment came */
        long n_instructions;
        long n_changes, n_stops;
        struct moment changes[CHANGES_MAX]; /* right after a change of the region */
        struct moment stops[STOPS_MAX];     /* a sample of all */
        struct moment visits[VISITS_MAX];   /* by address, while counting */
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

static uintptr_t
next_instruction(void)
{
        struct user_regs_struct regs;

        ptrace(PTRACE_GETREGS, victim, 0, &regs);
        return regs.rip;
}

static void
to_the_beginning(void)
{
        while (!load_relaxed(&progress->has_begun) && step())
                continue;
}

/* ------------------------------------------------------------------ counting, and going to a certain moment */

static struct moment
visit(uintptr_t at, long n)
{
        uintptr_t i = (at ^ at >> 17) % VISITS_MAX;

        while (progress->visits[i].at != 0 && progress->visits[i].at != at)
                i = (i + 1) % VISITS_MAX;
        progress->visits[i].at = at;
        progress->visits[i].n_visits++;
        progress->visits[i].n = n;
        return progress->visits[i];
}

static void
count_all(struct moment *not_used)
{
        uint64_t random = opt.seed;

        (void)not_used;
        to_the_beginning();
        region_remember();
        while (step() && !load_relaxed(&progress->is_done)) {
                long n = ++progress->n_instructions;
                struct moment now = visit(next_instruction(), n);

                if (progress->n_stops < STOPS_MAX)
                        progress->stops[progress->n_stops++] = now;
                else if (random_next(&random) % (uint64_t)n < STOPS_MAX)
                        progress->stops[random_next(&random) % STOPS_MAX] = now;
                if (!region_has_changed())
                        continue;
                region_remember();
                if (progress->n_changes < CHANGES_MAX)
                        progress->changes[progress->n_changes++] = now;
        }
        kill(victim, SIGKILL);
}

/* The instruction becomes int3; what was there is put back each time that it is met. */
static void
go_to(const struct moment *moment)
{
        long text;
        struct user_regs_struct regs;

        to_the_beginning();
        text = ptrace(PTRACE_PEEKTEXT, victim, moment->at, 0);
        for (uint32_t visits = next_instruction() == moment->at;; visits++) {
                ptrace(PTRACE_POKETEXT, victim, moment->at, (text & ~0xffL) | 0xcc);
                ptrace(PTRACE_CONT, victim, 0, 0);
                if (!is_standing() || load_relaxed(&progress->is_done)) {
                        progress->n_visits = visits;
                        report_line("the moment did not come: %u visits of %u", visits, moment->n_visits);
                        if (visits > 0 && progress->is_done)
                                _exit(EXIT_FEWER);
                        return;
                }
                ptrace(PTRACE_POKETEXT, victim, moment->at, text);
                ptrace(PTRACE_GETREGS, victim, 0, &regs);
                regs.rip = moment->at;
                ptrace(PTRACE_SETREGS, victim, 0, &regs);
                if (visits + 1 == moment->n_visits || !step())
                        return;
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
        ptrace(PTRACE_SETOPTIONS, victim, 0, PTRACE_O_EXITKILL);
        actor_attach(&actors[ACTOR_C]);
        step_init();
}

static void
die_at(struct moment *moment)
{
        int status;

        go_to(moment);
        kill(victim, SIGKILL);
        if (waitpid(victim, &status, 0) != victim)
                exit(99);
        actor_kill(&actors[ACTOR_A]);
        inspect_dead(&actors[ACTOR_C], true);
}

static void
stop_at(struct moment *moment)
{
        struct actor *c = &actors[ACTOR_C];

        go_to(moment);
        if (actor_reap() != 0)
                report_line("a stopped process was taken for dead");
        if (check_region(world_region, 0, NULL, NULL) != 0 && !is_misused())
                report_line("what a stopped process is at is called a fault");
        workload(c, opt.script->hot_bytes, opt.n_ops, opt.seed + (uint64_t)moment->n);
        ptrace(PTRACE_CONT, victim, 0, 0);
        if (!is_standing() || !progress->is_done)
                report_line("the stopped process did not come to its end");
        inspect_rest(c, false);
        kill(victim, SIGKILL);
}

static int
run_point(void (*what)(struct moment *moment), struct moment *moment)
{
        pid_t pid;
        int status;

        counts->n_forks++;
        report_reset();
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                watchdog_start(opt.watchdog);
                start();
                what(moment);
                _exit(report_faults() != 0);
        }
        if (waitpid(pid, &status, 0) != pid)
                exit(99);
        return status;
}

/* Where a loop made fewer turns than when they were counted, its last one is the moment. */
static void
try_point(void (*what)(struct moment *moment), const char *name, struct moment *moment)
{
        int status = run_point(what, moment);

        for (int tries = 0; tries < FEWER_MAX && WIFEXITED(status) && WEXITSTATUS(status) == EXIT_FEWER; tries++) {
                moment->n_visits = progress->n_visits;
                status = run_point(what, moment);
        }
        if (status == 0)
                return;
        counts->n_bad++;
        fprintf(stderr, "FAULT: %s: %s after instruction %ld: status %#x\n", opt.script->name, name,
                moment ? moment->n : 0, status);
        if (moment)
                report_place(moment->at);
        report_print();
        fprintf(stderr, "  replay: %s %s --at %ld\n", opt.command, opt.script->name, moment ? moment->n : 0);
}

/* One of each stretch, so that they are spread over the operation; or the one that is asked for. */
static void
try_some(void (*what)(struct moment *moment), const char *name, struct moment *moments, long n_moments,
         unsigned n_wanted)
{
        uint64_t random = opt.seed;
        long n = n_moments < (long)n_wanted ? n_moments : (long)n_wanted;

        for (long i = 0; opt.only[1] >= 0 && i < n_moments; i++)
                if (moments[i].n == opt.only[1])
                        try_point(what, name, &moments[i]);
        for (long i = 0; opt.only[1] < 0 && i < n; i++) {
                long first = n_moments * i / n, next = n_moments * (i + 1) / n;

                try_point(what, name, &moments[first + (long)(random_next(&random) % (uint64_t)(next - first))]);
                counts->n_states++;
        }
}

void
mode_real(void)
{
        progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (progress == MAP_FAILED)
                exit(99);
        try_point(count_all, "not killed", NULL);
        counts->n_instructions = (uint64_t)progress->n_instructions;
        counts->n_changes = (uint64_t)progress->n_changes;
        try_some(die_at, "killed", progress->changes, progress->n_changes, opt.n_samples);
        try_some(stop_at, "stopped", progress->stops, progress->n_stops, opt.n_samples / 2);
}
