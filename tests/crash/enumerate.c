/*
 * enumerate.c - deaths and stops at every point of an operation.
 *
 * A thread that is killed leaves a prefix of its stores on any memory model, so for the dead only instructions that
 * changed the region count, and equal regions are one state.  For the stopped, who go on later with what their
 * registers hold, nothing is merged.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit/check.h"
#include "step.h"

/* ------------------------------------------------------------------ forks */

enum { PRINTED_MAX = 5 };

/* What has been complained of since the last copy: by who plays here, with nobody dead or stopped but who is. */
static void
see_own(void)
{
        if (report_faults() == 0)
                return;
        if (__atomic_fetch_add(&counts->n_bad, 1, __ATOMIC_RELAXED) < PRINTED_MAX) {
                fprintf(stderr, "FAULT: %s: as it is played\n", opt.script->name);
                report_print();
        }
        report_reset();
}

pid_t
copy_enter(void)
{
        pid_t pid;

        counts->n_forks++;
        see_own();
        fflush(NULL);
        pid = _Fork();
        if (pid < 0) {
                perror("fork");
                exit(99);
        }
        if (pid == 0)
                watchdog_start(opt.watchdog);
        return pid;
}

void
copy_leave(void)
{
        _exit(report_faults() != 0);
}

void
copy_see(pid_t pid, const char *what, uintptr_t at, const char *options)
{
        int status;

        if (waitpid(pid, &status, 0) != pid)
                exit(99);
        if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {
                report_reset();
                return;
        }
        if (counts->n_hangs > 1)
                _exit(1);
        if (__atomic_fetch_add(&counts->n_bad, 1, __ATOMIC_RELAXED) >= PRINTED_MAX) {
                report_reset();
                return;
        }
        fprintf(stderr, "FAULT: %s: %s\n", opt.script->name, what);
        if (at)
                report_place(at);
        if (WIFSIGNALED(status))
                fprintf(stderr, "    signal %d (%s)%s\n", WTERMSIG(status), strsignal(WTERMSIG(status)),
                        WTERMSIG(status) == SIGALRM ? ": somebody waits" : "");
        else if (WEXITSTATUS(status) != 1)
                fprintf(stderr, "    exit status %d\n", WEXITSTATUS(status));
        report_print();
        report_reset();
        fprintf(stderr, "  replay: %s %s %s\n", opt.command, opt.script->name, options);
        if (WIFSIGNALED(status) && WTERMSIG(status) == SIGALRM &&
            __atomic_add_fetch(&counts->n_hangs, 1, __ATOMIC_RELAXED) > 1) {
                fprintf(stderr, "FAULT: %s: too many hang: giving up\n", opt.script->name);
                _exit(1);
        }
}

/* ------------------------------------------------------------------ preparing */

void
prepare(void)
{
        report_reset();
        world_marks_the_dead(opt.marks);
        world_make(opt.script);
        step_init();
        if (opt.script->setup)
                opt.script->setup(&actors[ACTOR_A]);
        if (opt.other && opt.other->setup) {
                actor_switch(&actors[ACTOR_B]);
                opt.other->setup(&actors[ACTOR_B]);
        }
        actor_switch(&actors[ACTOR_A]);
        if (report_faults() > 0) {
                fprintf(stderr, "FAULT: %s: in its preparation\n", opt.script->name);
                report_print();
                exit(1);
        }
}

/* ------------------------------------------------------------------ kill */

enum { DEPTH_MAX = 3 };

static struct {
        int depth; /* of this death: 1 = the victim, 2 = its reaper, 3 = the reaper's reaper */
        long at[DEPTH_MAX + 1];
        struct actor *victim; /* who is being stepped */
} death;

static uintptr_t changers[4096]; /* addresses of instructions that changed the region */
static unsigned n_changers;

static void
changer_note(uintptr_t at)
{
        for (unsigned i = 0; i < n_changers; i++)
                if (changers[i] == at)
                        return;
        if (n_changers < sizeof changers / sizeof changers[0])
                changers[n_changers++] = at;
}

static void kill_point(ucontext_t *uc);

static struct actor *
reaper_of(int depth)
{
        struct actor *reaper = &actors[ACTOR_C + depth - 1];

        return reaper->is_stopped ? &actors[ACTOR_B] : reaper; /* some scripts stop E, who then dies with the rest */
}

/* In a copy in which somebody has just died: reap it store by store, and kill the reaper at each. */
static void
kill_the_reaper(int depth)
{
        struct actor *reaper = reaper_of(depth);
        pid_t pid = copy_enter();

        if (pid == 0) {
                death.depth = depth + 1;
                death.victim = reaper;
                n_changers = 0;
                actor_switch(reaper);
                trace_begin(kill_point, false);
                actor_reap();
                trace_end();
                if (opt.steps)
                        report_steps(changers, n_changers);
                fflush(stdout);
                _exit(0);
        }
        copy_see(pid, "reaping, store by store", 0, "");
}

/* Whose reaper dies, too, where that is one in so many: the same ones for the same seed. */
static bool
has_reapers_to_kill(int depth)
{
        uint64_t state = opt.seed * UINT64_C(0xd1342543de82ef95) + counts->n_states;

        return depth > 1 || opt.only[depth] >= 0 || random_next(&state) % opt.deep_victims == 0;
}

static void
kill_here(ucontext_t *uc)
{
        char what[160], options[160];
        int depth = death.depth;
        pid_t pid;

        death.at[depth] = stepping.n;
        counts->n_states++;
        counts->n_states_deep += depth > 1;
        pid = copy_enter();
        if (pid == 0) {
                steps_leave(uc);
                actor_kill(death.victim);
                if (depth < opt.depth && has_reapers_to_kill(depth))
                        kill_the_reaper(depth);
                report_reset();
                inspect_dead(reaper_of(depth), depth == 1);
                copy_leave();
        }
        snprintf(what, sizeof what, "killed after instruction %ld", death.at[1]);
        snprintf(options, sizeof options, "--at %ld", death.at[1]);
        for (int d = 2; d <= depth; d++) {
                snprintf(what + strlen(what), sizeof what - strlen(what), ", reaper killed after store %ld",
                         death.at[d]);
                snprintf(options + strlen(options), sizeof options - strlen(options), " --at%d %ld", d, death.at[d]);
        }
        copy_see(pid, what, stepping.at, options);
}

/* Deaths of reapers may be too many: then it is the same ones for the same seed. */
static bool
is_chosen(void)
{
        uint64_t state = opt.seed * UINT64_C(0x9e3779b97f4a7c15) + counts->n_deep_seen;

        if (death.depth == 1)
                return true;
        counts->n_deep_seen++;
        return random_next(&state) % opt.deep_part == 0;
}

static void
kill_point(ucontext_t *uc)
{
        long only = opt.only[death.depth];

        counts->n_instructions += death.depth == 1;
        if (only >= 0) {
                if (stepping.n != only)
                        return;
                region_remember();
                kill_here(uc);
                return;
        }
        if (!(opt.every && death.depth == 1) && stepping.n > 1 && !region_has_changed())
                return;
        region_remember();
        counts->n_changes += death.depth == 1;
        if (opt.steps)
                changer_note(stepping.at);
        if ((opt.every && death.depth == 1) || (state_is_new((uint64_t)death.depth << 8) && is_chosen()))
                kill_here(uc);
}

void
see_the_end(void)
{
        pid_t pid = copy_enter();

        if (pid == 0) {
                inspect_rest(&actors[ACTOR_C], true);
                copy_leave();
        }
        copy_see(pid, "not troubled at all", 0, "");
}

void
mode_kill(void)
{
        prepare();
        death.depth = 1;
        death.victim = &actors[ACTOR_A];
        if (opt.script->flags & SCRIPT_TRACED)
                trace_begin(kill_point, false);
        else
                steps_begin(kill_point);
        opt.script->run(&actors[ACTOR_A]);
        steps_leave(NULL);
        steps_end();
        if (opt.steps)
                report_steps(changers, n_changers);
        see_the_end();
}

/* ------------------------------------------------------------------ sampling */

static uint64_t n_points; /* of the operation: measured by running it in a copy */
static uint64_t n_deaths; /* changes that the other one makes to the region, likewise */

static void
count_point(ucontext_t *uc)
{
        (void)uc;
        counts->n_instructions++;
        if (region_has_changed()) {
                counts->n_changes++;
                region_remember();
        }
}

/* Every instruction; else every access to the region. */
static void
begin_points(point_fn *point)
{
        if (opt.every)
                steps_begin(point);
        else
                trace_begin(point, true);
}

static void
end_points(void)
{
        steps_leave(NULL);
        if (opt.every)
                steps_end();
}

/* Points and changes of fn(a). */
static void
measure(struct actor *a, void (*fn)(struct actor *a), uint64_t *ret_instructions, uint64_t *ret_changes)
{
        pid_t pid;

        counts->n_instructions = counts->n_changes = 0;
        pid = copy_enter();
        if (pid == 0) {
                actor_switch(a);
                begin_points(count_point);
                fn(a);
                end_points();
                _exit(0);
        }
        copy_see(pid, "counting its instructions", 0, "");
        *ret_instructions = counts->n_instructions;
        *ret_changes = counts->n_changes;
}

/* Whether the i-th of `n` is one of the `wanted` that are chosen, one in each stretch: the same ones for the same seed
 * and salt. */
static bool
is_chosen_of(uint64_t wanted, uint64_t i, uint64_t n, uint64_t salt)
{
        uint64_t stretch, first, next, state;

        if (n <= wanted || wanted == 0)
                return wanted != 0;
        stretch = i * wanted / n;
        first = (stretch * n + wanted - 1) / wanted;
        next = ((stretch + 1) * n + wanted - 1) / wanted;
        state = (opt.seed + (salt << 32)) * UINT64_C(0x9e3779b97f4a7c15) + stretch * UINT64_C(0xff51afd7ed558ccd);
        return i - first == random_next(&state) % (next - first);
}

static bool
is_sampled(uint64_t point, uint64_t n)
{
        return is_chosen_of(opt.n_samples, point, n, 0);
}

/* ------------------------------------------------------------------ stop */

static bool is_in_copy; /* the stopped one goes on, in a copy in which others have been at work */

static void
go_on(ucontext_t *uc)
{
        steps_leave(uc);
        actor_switch(&actors[ACTOR_A]);
        is_in_copy = true;
}

static bool
is_attached(const struct actor *a)
{
        const struct tcache *t = a->tcache_list;

        return t && t->is_attached && t->thread.slot && t->thread.gate->state == 1;
}

/* Another one at work while A is stopped.  Reaping must leave A alone. */
static void
others_work(struct actor *other)
{
        struct actor *a = &actors[ACTOR_A];
        double start = seconds_now();
        bool was_attached;
        uint64_t us;

        actor_switch(other);
        was_attached = is_attached(a);
        if (check_region(world_region, 0, NULL, NULL) != 0 && !is_misused())
                report_line("what a stopped thread is at is called a fault");
        actor_reap();
        workload(other, opt.script->hot_bytes, opt.n_ops, opt.seed * 1000003 + (uint64_t)stepping.n);
        actor_reap();
        if (was_attached && !is_attached(a))
                report_line("the slot of a stopped thread was emptied");
        us = (uint64_t)((seconds_now() - start) * 1e6);
        if (us > counts->most_us)
                counts->most_us = us;
}

static void
stop_point(ucontext_t *uc)
{
        char what[80], options[80];
        pid_t pid;

        if (load_relaxed(&actor_keeps_books) ||
            (opt.only[1] >= 0 ? stepping.n != opt.only[1] : !is_sampled((uint64_t)stepping.n, n_points)))
                return;
        counts->n_states++;
        pid = copy_enter();
        if (pid == 0) {
                struct stepping here = stepping;

                stepping.point = NULL;
                others_work(&actors[ACTOR_B]);
                stepping = here;
                go_on(uc);
                return;
        }
        snprintf(what, sizeof what, "stopped at point %ld while others worked", stepping.n);
        snprintf(options, sizeof options, "--at %ld --seed %lu --ops %u%s", stepping.n, opt.seed, opt.n_ops,
                 opt.every ? " --every" : "");
        copy_see(pid, what, stepping.at, options);
}

/* A's operation under `point`; copies in which it went on end here. */
static void
run_under(point_fn *point)
{
        begin_points(point);
        opt.script->run(&actors[ACTOR_A]);
        end_points();
        if (is_in_copy) {
                inspect_rest(&actors[ACTOR_C], false);
                copy_leave();
        }
}

/* A sample of nothing would find nothing. */
static void
see_that_there_were_points(void)
{
        if (counts->n_states == 0) {
                fprintf(stderr, "FAULT: %s: no point was chosen\n", opt.script->name);
                counts->n_bad++;
        }
}

void
mode_stop(void)
{
        prepare();
        measure(&actors[ACTOR_A], opt.script->run, &n_points, &n_deaths);
        run_under(stop_point);
        see_the_end();
        see_that_there_were_points();
}

/* ------------------------------------------------------------------ two: A stopped, B killed meanwhile */

static void
two_point(ucontext_t *uc)
{
        uint64_t state = opt.seed * 77 + (uint64_t)stepping.n, k;
        char what[120], options[120];
        pid_t pid;

        if (opt.only[1] >= 0 ? stepping.n != opt.only[1] : !is_sampled((uint64_t)stepping.n, n_points))
                return;
        k = random_next(&state) % (n_deaths + 1);
        if (opt.only[2] >= 0)
                k = (uint64_t)opt.only[2];
        counts->n_states++;
        pid = copy_enter();
        if (pid == 0) {
                struct stepping here = stepping;

                stepping.point = NULL;
                actor_switch(&actors[ACTOR_B]);
                if (step_until(&actors[ACTOR_B], opt.other->run, (long)k)) {
                        actor_kill(&actors[ACTOR_B]);
                        actors[ACTOR_B].is_stopped = false;
                        actor_switch(&actors[ACTOR_C]);
                        if (actor_reap() == 0)
                                report_line("a dead thread was not reaped");
                }
                stepping = here;
                go_on(uc);
                return;
        }
        snprintf(what, sizeof what, "stopped at point %ld, while another one died in %s after change %lu", stepping.n,
                 opt.other->name, k);
        snprintf(options, sizeof options, "%s --at %ld --at2 %lu", opt.other->name, stepping.n, k);
        copy_see(pid, what, stepping.at, options);
}

void
mode_two(void)
{
        uint64_t n;

        prepare();
        measure(&actors[ACTOR_B], opt.other->run, &n, &n_deaths);
        measure(&actors[ACTOR_A], opt.script->run, &n_points, &n);
        run_under(two_point);
        see_that_there_were_points();
}

/* ------------------------------------------------------------------ three: B dead, A stopped, C reaps */

/* The heir takes the word that the dead one was handing a block to or from, as soon as it is told that it may: then
 * what the word says is true, and an actor stopped in the midst of settling the dead must not touch it any more. */
static void
take_over(struct actor *heir, struct actor *dead)
{
        uint64_t *dest = dead->op.dest;
        void *p;

        if (!dest)
                return;
        actor_switch(heir);
        if (shheap_settled(heir->heap, dest) != 0)
                return;
        counts->n_taken_over++;
        p = *dest != 0 ? world_region->base + *dest : NULL;
        dead->op = (struct op){0};
        if (!p)
                return;
        actor_keep(heir, p);
        *dest = 0;
        if (stepping.n % 2 != 0)
                a_free(heir, p); /* to a magazine of the heir's own */
}

static long dead_at;

/* A pass for each death takes long: where a sample is wanted, some of them will do. */
static uint64_t
passes_wanted(void)
{
        return opt.n_samples / 3 + 1;
}

static uint64_t
n_passes(void)
{
        return n_deaths < passes_wanted() ? n_deaths + 1 : passes_wanted();
}

static bool
is_pass_wanted(void)
{
        return is_chosen_of(passes_wanted(), (uint64_t)dead_at, n_deaths + 1, UINT32_MAX);
}

static void
three_point(ucontext_t *uc)
{
        char what[160], options[120];
        pid_t pid;

        if (opt.only[2] >= 0 ? stepping.n != opt.only[2]
                             : !is_chosen_of((opt.n_samples + n_passes() - 1) / n_passes(), (uint64_t)stepping.n,
                                             n_points, (uint64_t)dead_at + 1))
                return;
        counts->n_states++;
        pid = copy_enter();
        if (pid == 0) {
                struct stepping here = stepping;

                stepping.point = NULL;
                take_over(&actors[ACTOR_C], &actors[ACTOR_B]);
                others_work(&actors[ACTOR_C]);
                stepping = here;
                go_on(uc);
                return;
        }
        snprintf(what, sizeof what, "%s died after change %ld and was reaped while this stood at point %ld",
                 opt.other->name, dead_at, stepping.n);
        snprintf(options, sizeof options, "%s --at %ld --at2 %ld", opt.other->name, dead_at, stepping.n);
        copy_see(pid, what, stepping.at, options);
}

/* In a copy: B has died, A begins. */
static void
after_death(void)
{
        struct actor *b = &actors[ACTOR_B];

        step_until(b, opt.other->run, dead_at);
        b->is_stopped = false;
        actor_kill(b);
        actor_switch(&actors[ACTOR_A]);
        run_under(three_point);
        _exit(0);
}

void
mode_three(void)
{
        uint64_t n;

        prepare();
        measure(&actors[ACTOR_B], opt.other->run, &n, &n_deaths);
        measure(&actors[ACTOR_A], opt.script->run, &n_points, &n);
        for (dead_at = 0; dead_at <= (long)n_deaths; dead_at++) {
                pid_t pid;

                if (opt.only[1] >= 0 ? dead_at != opt.only[1] : !is_pass_wanted())
                        continue;
                pid = copy_enter();
                if (pid == 0)
                        after_death();
                copy_see(pid, "one pass", 0, "");
        }
        see_that_there_were_points();
}
