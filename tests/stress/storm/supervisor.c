/*
 * The supervisor of a storm.  It starts, kills and stops its own children only.  It never waits for time to pass: what
 * it waits for are the workers' signs of life and their ends, each for at most STALL_S seconds, after which it says who
 * got stuck.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/heap.h"
#include "os/robust.h"
#include "stress/storm/storm.h"
#include "stress/storm/worker.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/small_fs.h"
#include "support/ways.h"

enum {
        STALL_S = 300,
        OPEN_TRIES = 100000,
        TICKS_PER_KILL = 4,
        STOP_AFTER_OPS = 3000,
        PROCESSES_MAX = 128,
        SUPERVISOR_NICE = -10,
        WORKER_NICE = 10
};

enum process_state {
        PROCESS_NONE,
        PROCESS_RUNNING,
        PROCESS_STOPPED,
        PROCESS_DYING,    /* killed, and not buried yet */
        PROCESS_UNSETTLED /* dead, and somebody is still settling what it left in the heap */
};

struct process {
        enum process_state state;
        pid_t pid;
        uint32_t own_pid;              /* in its own pid namespace, */
        uint64_t pid_ns;               /* which is this */
        uint64_t stop_after;           /* operations; 0 = never */
        uint64_t n_ops[THREADS_MAX];   /* when last looked at */
        int64_t moved_at[THREADS_MAX]; /* seconds: when that last changed */
};

struct storm {
        const struct plan *plan;
        shheap *h;
        struct stage *stage;
        struct dice dice;
        struct ledger ledger;
        struct process processes[PROCESSES_MAX];
        int ticks[2];
        uint64_t n_killed, n_in_windows, n_unsettled, n_left, n_spoilt, n_started;
        bool has_failed;
};

struct storm_counts storm_counts;

static const char heap_name[] = "storm";
static bool has_ns, has_oom;
static bool has_fs; /* the directory of the heaps is a file system of our own */

static int64_t
now_s(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return now.tv_sec;
}

#define FAIL(s, ...)                                                                                                   \
        do {                                                                                                           \
                (s)->has_failed = true;                                                                                \
                fprintf(stderr, "storm: " __VA_ARGS__);                                                                \
                fputc('\n', stderr);                                                                                   \
        } while (0)

static struct actor *
actor_of(struct storm *s, uint32_t i, uint32_t thread)
{
        return &s->stage->actors[i * s->plan->n_threads + thread];
}

/* ------------------------------------------------------------------ starting */

/* With a full file system there are no new slots, and the slots of the dead may be in the hands of reapers just now. */
static int
open_patiently(shheap **ret_heap, const char *name)
{
        int err = shheap_open(ret_heap, name, 0, NULL);

        for (int tries = 0; err == -ENOMEM && tries < OPEN_TRIES; tries++) {
                sched_yield();
                err = shheap_open(ret_heap, name, 0, NULL);
        }
        return err;
}

void
storm_worker_main(char **args)
{
        struct worker_args w = {.first_actor = (uint32_t)strtoul(args[1], NULL, 10),
                                .n_threads = (uint32_t)strtoul(args[2], NULL, 10),
                                .seed = strtoull(args[3], NULL, 10),
                                .ticks = atoi(args[4]),
                                .is_reaper = strcmp(args[5], "1") == 0};
        shheap *h;
        int err = open_patiently(&h, args[0]);

        if (err < 0) {
                fprintf(stderr, "storm: worker: %s\n", shheap_errormsg());
                _exit(WORKER_FAILED);
        }
        worker_run(h, &w);
}

static void
exec_worker(const struct worker_args *w)
{
        char first[16], n[16], seed[24], ticks[16];

        snprintf(first, sizeof first, "%u", w->first_actor);
        snprintf(n, sizeof n, "%u", w->n_threads);
        snprintf(seed, sizeof seed, "%" PRIu64, w->seed);
        snprintf(ticks, sizeof ticks, "%d", w->ticks);
        execl("/proc/self/exe", "kill_storm", "--worker", heap_name, first, n, seed, ticks, w->is_reaper ? "1" : "0",
              (char *)NULL);
        perror("storm: exec");
        _exit(WORKER_FAILED);
}

static bool
is_in_ns(const struct storm *s, uint32_t i)
{
        return has_ns && i < s->plan->n_in_ns;
}

/* By a fork that goes on with the open handle, or by an exec that opens the heap itself. */
static void
start(struct storm *s, uint32_t i)
{
        struct worker_args w = {.first_actor = i * s->plan->n_threads,
                                .n_threads = s->plan->n_threads,
                                .seed = dice_next(&s->dice),
                                .ticks = s->ticks[1],
                                .is_reaper = i >= s->plan->n_processes - s->plan->n_reapers};
        struct process *p = &s->processes[i];
        bool by_exec = dice_below(&s->dice, 2) == 0, in_ns = is_in_ns(s, i);
        pid_t parent = getpid();

        fflush(NULL);
        s->n_started++;
        p->pid = in_ns ? ways_ns_fork() : fork();
        if (p->pid < 0) {
                FAIL(s, "fork: %s", strerror(errno));
                return;
        }
        if (p->pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                setpgid(0, 0);
                if (getppid() != (in_ns ? 0 : parent) || setpriority(PRIO_PROCESS, 0, WORKER_NICE) < 0)
                        _exit(WORKER_FAILED);
                if (by_exec)
                        exec_worker(&w);
                worker_run(s->h, &w);
        }
        setpgid(p->pid, p->pid); /* or it has done so already, by itself */
        p->state = PROCESS_RUNNING;
        p->own_pid = ways_ns_pid(p->pid);
        p->pid_ns = ways_ns_id(p->pid);
        for (uint32_t t = 0; t < s->plan->n_threads; t++) {
                p->n_ops[t] = load_relaxed(&actor_of(s, i, t)->n_ops);
                p->moved_at[t] = now_s();
        }
}

/* ------------------------------------------------------------------ what the dead left */

static void
settle_box(struct storm *s, struct box *box, struct actor *actor)
{
        uint64_t kind = actor->note.kind;

        if (box->block == SHREF_NULL || box->is_full) {
                store_release(&box->word, box->block == SHREF_NULL ? BOX_EMPTY : BOX_FULL);
                return;
        }
        if (kind == NOTE_MALLOC || kind == NOTE_REALLOC) /* it was not lost */
                actor->note.kind = NOTE_NONE;
        s->n_spoilt++;
        if (shheap_usable_size(s->h, shheap_ptr(s->h, box->block)) == 0)
                FAIL(s, "a box of the dead has %#" PRIx64 ", where no block is", box->block);
        else if (shheap_free_from(s->h, &box->block) != 0) {
                ledger_maybe_live(&s->ledger, box->block); /* held by somebody who is stopped */
                box->block = SHREF_NULL;
        }
        store_release(&box->word, BOX_EMPTY);
}

static void
settle_actor(struct storm *s, uint32_t actor_idx)
{
        struct actor *actor = &s->stage->actors[actor_idx];

        for (uint64_t i = 0; i < s->stage->n_boxes; i++)
                if (load_acquire(&s->stage->boxes[i].word) == BOX_ACTOR + actor_idx)
                        settle_box(s, &s->stage->boxes[i], actor);
        for (uint32_t i = 0; i < LIST_MAX; i++) {
                shheap_free(s->h, shheap_ptr(s->h, actor->list[i]));
                actor->list[i] = SHREF_NULL;
        }
        if (actor->note.kind == NOTE_FREE || actor->note.kind == NOTE_REALLOC)
                ledger_maybe_live(&s->ledger, actor->note.ref);
        if (actor->note.kind == NOTE_MALLOC || actor->note.kind == NOTE_REALLOC)
                ledger_maybe_lost(&s->ledger, actor->note.usable);
        s->n_in_windows += actor->note.kind != NOTE_NONE;
        actor->note.kind = NOTE_NONE;
}

/* Whether no slot of the heap is the dead process's any more: shheap_reap() leaves alone what another reaper is at. */
static bool
is_settled(struct storm *s, const struct process *p)
{
        const struct region *r = &s->h->region;

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++) {
                const struct slot_gate *gate = region_gate(r, idx);

                if (load_relaxed(&gate->os_pid) == p->own_pid &&
                    robust_word_pid_ns(robust_word(&gate->life)) == p->pid_ns && load_relaxed(&gate->state) != 0)
                        return false;
        }
        return true;
}

/* A process that has just come needs a slot, as open_patiently() says. */
static int
reap_patiently(shheap *h)
{
        int n = shheap_reap(h);

        for (int tries = 0; n == -ENOMEM && tries < OPEN_TRIES; tries++) {
                sched_yield();
                n = shheap_reap(h);
        }
        return n;
}

/* What died in another pid namespace can be settled there only. */
static void
reap_in_ns(struct storm *s)
{
        pid_t pid = ways_ns_fork();
        int status;

        if (pid == 0)
                _exit(reap_patiently(s->h) < 0 || shheap_close(s->h) != 0 ? WORKER_FAILED : 0);
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
                FAIL(s, "a reaper in the other pid namespace failed");
}

static void
settle(struct storm *s, uint32_t i)
{
        struct process *p = &s->processes[i];

        if (shheap_reap(s->h) < 0)
                FAIL(s, "reap: %s", shheap_errormsg());
        if (is_in_ns(s, i) && !is_settled(s, p))
                reap_in_ns(s);
        if (!is_settled(s, p)) {
                s->n_unsettled += p->state != PROCESS_UNSETTLED;
                p->state = PROCESS_UNSETTLED;
                return;
        }
        for (uint32_t t = 0; t < s->plan->n_threads; t++)
                settle_actor(s, i * s->plan->n_threads + t);
        p->state = PROCESS_NONE;
}

/* ------------------------------------------------------------------ looking after them */

static void
bury(struct storm *s, uint32_t i, int status, bool was_killed)
{
        struct process *p = &s->processes[i];

        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                s->n_left++;
        else if (!was_killed || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL)
                FAIL(s, "process %d ended with status %#x", (int)p->pid, (unsigned)status);
        settle(s, i);
}

static void
bury_who_left(struct storm *s)
{
        for (uint32_t i = 0; i < s->plan->n_processes; i++) {
                int status;

                if (s->processes[i].state == PROCESS_RUNNING && waitpid(s->processes[i].pid, &status, WNOHANG) > 0)
                        bury(s, i, status, false);
                else if (s->processes[i].state == PROCESS_UNSETTLED)
                        settle(s, i);
        }
}

/* Mostly by SIGKILL alone, as that is quickest. */
static void
kill_somehow(struct storm *s, uint32_t i)
{
        pid_t pid = s->processes[i].pid;
        uint64_t way = s->plan->is_gentle ? UINT64_MAX : dice_below(&s->dice, 48);

        if (way < 8)
                storm_counts.n_released += ways_kill_and_release(pid);
        else if (way == 8 && has_oom)
                storm_counts.n_by_oom += ways_kill_by_oom(pid);
        else
                kill(pid, SIGKILL);
        /* It is dead wherever it was, but each of its threads has to run once more to find that out: many others wait
         * for a processor, too, and get on so long. */
        (void)!setpriority(PRIO_PGRP, (id_t)pid, SUPERVISOR_NICE);
        storm_counts.n_killed++;
        storm_counts.n_reapers_killed += i >= s->plan->n_processes - s->plan->n_reapers;
        storm_counts.n_in_ns_killed += is_in_ns(s, i);
}

static void
kill_one(struct storm *s)
{
        uint32_t i = (uint32_t)dice_below(&s->dice, s->plan->n_processes);
        struct process *p = &s->processes[i];

        if (p->state != PROCESS_RUNNING || p->stop_after != 0)
                return;
        kill_somehow(s, i);
        p->state = PROCESS_DYING;
        s->n_killed++;
}

/* Several may have been killed at once: dying takes them long where all are at the same file. */
static void
bury_the_killed(struct storm *s)
{
        for (uint32_t i = 0; i < s->plan->n_processes; i++) {
                int status;

                if (s->processes[i].state != PROCESS_DYING)
                        continue;
                if (waitpid(s->processes[i].pid, &status, 0) != s->processes[i].pid)
                        FAIL(s, "waitpid: %s", strerror(errno));
                bury(s, i, status, true);
        }
}

static void
stop_some(struct storm *s)
{
        for (uint32_t i = 0; i < s->plan->n_stopped; i++) {
                struct process *p = &s->processes[i];
                int status;

                if (p->state != PROCESS_RUNNING || load_relaxed(&actor_of(s, i, 0)->n_ops) < p->stop_after)
                        continue;
                kill(p->pid, SIGSTOP);
                if (waitpid(p->pid, &status, WUNTRACED) != p->pid)
                        FAIL(s, "waitpid: %s", strerror(errno));
                else if (WIFSTOPPED(status))
                        p->state = PROCESS_STOPPED;
                else /* it just left */
                        bury(s, i, status, false);
        }
}

/* Nobody who runs stands still for long. */
static void
watch(struct storm *s)
{
        int64_t now = now_s();

        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                for (uint32_t t = 0; t < s->plan->n_threads && s->processes[i].state == PROCESS_RUNNING; t++) {
                        struct process *p = &s->processes[i];
                        uint64_t n_ops = load_relaxed(&actor_of(s, i, t)->n_ops);

                        if (n_ops != p->n_ops[t]) {
                                p->n_ops[t] = n_ops;
                                p->moved_at[t] = now;
                        } else if (now - p->moved_at[t] > STALL_S) {
                                FAIL(s, "process %d, thread %u: no progress for %d s", (int)p->pid, t, STALL_S);
                                kill(p->pid, SIGABRT);
                                return;
                        }
                }
}

/* Signs of life since the last time. */
static uint64_t
hear(struct storm *s)
{
        struct pollfd fd = {.fd = s->ticks[0], .events = POLLIN};
        char bytes[4096];
        ssize_t n;

        if (poll(&fd, 1, STALL_S * 1000) == 0)
                FAIL(s, "nobody got on for %d s", STALL_S);
        n = read(s->ticks[0], bytes, sizeof bytes);
        return n > 0 ? (uint64_t)n : 0;
}

static void
rage(struct storm *s)
{
        uint64_t patience = 0;
        bool all_stopped = false;

        while (!s->has_failed && (s->n_killed < s->plan->n_kills || !all_stopped)) {
                uint64_t n = hear(s);

                bury_who_left(s);
                stop_some(s);
                for (uint32_t i = 0; n >= patience && i <= s->plan->n_processes / 2; i++) {
                        n -= patience;
                        patience = dice_below(&s->dice, 2 * TICKS_PER_KILL);
                        if (s->n_killed < s->plan->n_kills)
                                kill_one(s);
                }
                bury_the_killed(s);
                patience -= n < patience ? n : patience;
                all_stopped = true;
                for (uint32_t i = 0; i < s->plan->n_processes; i++) {
                        if (s->processes[i].state == PROCESS_NONE)
                                start(s, i);
                        if (s->processes[i].stop_after != 0 && s->processes[i].state != PROCESS_STOPPED)
                                all_stopped = false;
                }
                watch(s);
        }
}

/* ------------------------------------------------------------------ the end */

static void
await_end(struct storm *s, uint32_t i)
{
        struct process *p = &s->processes[i];
        struct pollfd fd = {.fd = (int)syscall(SYS_pidfd_open, p->pid, 0), .events = POLLIN};
        int status;

        if (fd.fd < 0 || poll(&fd, 1, STALL_S * 1000) != 1) {
                FAIL(s, "process %d did not end within %d s", (int)p->pid, STALL_S);
                kill(p->pid, SIGABRT);
        }
        close(fd.fd);
        if (waitpid(p->pid, &status, 0) != p->pid)
                FAIL(s, "waitpid: %s", strerror(errno));
        bury(s, i, status, false);
}

static void
await_all(struct storm *s, enum process_state state)
{
        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                if (s->processes[i].state == state)
                        await_end(s, i);
}

/* With some stopped, wherever they were: the heap is in order as far as can be told, and serves the others. */
static void
use_with_stopped(struct storm *s)
{
        if (!is_in_order(s->h, 0))
                FAIL(s, "the heap is not in order while some clients are stopped");
        for (uint64_t i = 0; i < 20000; i++) {
                uint64_t size = UINT64_C(1) << dice_below(&s->dice, i % 100 == 0 ? 24 : 14);
                void *p = shheap_malloc(s->h, size);

                if (!p && errno != ENOMEM)
                        FAIL(s, "malloc: %s", shheap_errormsg());
                shheap_free(s->h, p);
        }
}

/* Children of workers that were killed end by themselves, at some moment, anywhere in a call. */
static void
settle_orphans(struct storm *s)
{
        int64_t since = now_s();
        bool is_clean = false;

        while (!is_clean && now_s() - since < STALL_S) {
                const struct region *r = &s->h->region;

                if (shheap_reap(s->h) < 0)
                        FAIL(s, "reap: %s", shheap_errormsg());
                if (has_ns && s->plan->n_in_ns > 0)
                        reap_in_ns(s);
                is_clean = true;
                for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                        is_clean &= load_relaxed(&region_gate(r, idx)->state) == 0 ||
                                    load_relaxed(&region_gate(r, idx)->os_pid) == (uint32_t)getpid();
                sched_yield();
        }
        if (!is_clean)
                FAIL(s, "what orphans left is not settled after %d s", STALL_S);
}

static void
wind_down(struct storm *s)
{
        store_release(&s->stage->must_stop, UINT64_C(1));
        await_all(s, PROCESS_RUNNING);
        if (s->plan->n_stopped > 0)
                use_with_stopped(s);
        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                if (s->processes[i].state == PROCESS_STOPPED)
                        kill(s->processes[i].pid, SIGCONT);
        await_all(s, PROCESS_STOPPED);
        settle_orphans(s);
        bury_who_left(s);
        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                if (s->processes[i].state == PROCESS_UNSETTLED)
                        FAIL(s, "nobody is left, and what process %d left is not settled", (int)s->processes[i].pid);
}

static void
kill_all(struct storm *s)
{
        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                if (s->processes[i].state == PROCESS_RUNNING || s->processes[i].state == PROCESS_STOPPED) {
                        kill(s->processes[i].pid, SIGKILL);
                        waitpid(s->processes[i].pid, NULL, 0);
                }
}

/* ------------------------------------------------------------------ one storm */

static shheap *
open_heap(const struct plan *plan)
{
        char conf[128];

        snprintf(conf, sizeof conf, "capacity:%" PRIu64 "M,decay_ms:%d,arenas:2", plan->capacity_mib, plan->decay_ms);
        return heap_dir_open(heap_name, SHHEAP_CREATE | SHHEAP_EXCL, conf);
}

static void
close_heap(shheap *h)
{
        shheap_close(h);
        shheap_unlink(heap_name);
}

const char *
storm_prepare_fs(void)
{
        const char *why_not = small_fs_make();

        has_fs = why_not == NULL;
        return why_not;
}

void
storm_prepare_ways(void)
{
        const char *why_no_ns = ways_ns_make(), *why_no_oom = ways_oom_prepare();

        has_ns = why_no_ns == NULL;
        has_oom = why_no_oom == NULL;
        if (!has_ns)
                printf("skipped: clients in a pid namespace of their own: %s\n", why_no_ns);
        if (!has_oom)
                printf("skipped: deaths by a memory cgroup's OOM killer: %s\n", why_no_oom);
}

void
storm_forget_ways(void)
{
        ways_ns_remove();
        ways_oom_remove();
}

/* Room for all of the heap, or only for as much as the plan says. */
static void
limit_fs(const struct plan *plan, bool is_limited)
{
        if (has_fs && !small_fs_resize((is_limited && plan->fs_mib ? plan->fs_mib : plan->capacity_mib + 64) * MIB))
                fprintf(stderr, "storm: the file system cannot be resized\n");
}

/* What a heap like this one can give when nothing has ever happened in it. */
static struct capacity
capacity_of_new(const struct plan *plan)
{
        shheap *h = open_heap(plan);
        struct capacity c;

        (void)stage_find(h);
        c = judge_capacity(h);
        close_heap(h);
        return c;
}

static void
use_once(struct child *self, void *arg)
{
        shheap *h = arg;

        shheap_free(h, shheap_malloc(h, 16));
        child_tell(self);
        child_hear(self);
}

/* Workers that come by a fork need slots at their first call, and a free cannot say that there is no memory for one: so
 * all that are needed at once are made before others fill the file system. */
static void
make_slots(struct storm *s)
{
        struct child child[PROCESSES_MAX];

        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                child_start(&child[i], use_once, s->h);
        for (uint32_t i = 0; i < s->plan->n_processes; i++)
                if (!child_hear(&child[i]))
                        FAIL(s, "process %d did not get a slot", (int)child[i].pid);
        for (uint32_t i = 0; i < s->plan->n_processes; i++) {
                child_tell(&child[i]);
                if (child_end(&child[i]) != 0)
                        FAIL(s, "process %d did not come to its end", (int)child[i].pid);
        }
        if (shheap_reap(s->h) < 0)
                FAIL(s, "reap: %s", shheap_errormsg());
}

static void
report(const struct storm *s)
{
        uint64_t n_ops = 0, n_enomem = 0, n_busy = 0;

        for (uint32_t i = 0; i < ACTORS_MAX; i++) {
                n_ops += s->stage->actors[i].n_ops;
                n_enomem += s->stage->actors[i].n_enomem;
                n_busy += s->stage->actors[i].n_busy;
        }
        storm_counts.n_ops += n_ops;
        printf("%3u processes of %u threads, %2u stopped: %" PRIu64 " kills, %" PRIu64 " in a window, %" PRIu64
               " with a block half done, %" PRIu64 " settled late; %" PRIu64 " left; %" PRIu64 " operations, %" PRIu64
               " ENOMEM, %" PRIu64 " busy\n",
               s->plan->n_processes, s->plan->n_threads, s->plan->n_stopped, s->n_killed, s->n_in_windows, s->n_spoilt,
               s->n_unsettled, s->n_left, n_ops, n_enomem, n_busy);
        fflush(stdout);
}

bool
storm_run(const struct plan *plan)
{
        struct storm s = {.plan = plan, .dice = {plan->seed}};
        struct capacity expected;
        uint64_t n_actors = (uint64_t)plan->n_processes * plan->n_threads;

        if (plan->n_processes > PROCESSES_MAX || plan->n_threads > THREADS_MAX || n_actors > ACTORS_MAX ||
            pipe2(s.ticks, O_NONBLOCK) < 0)
                abort();
        fcntl(s.ticks[0], F_SETFD, FD_CLOEXEC);
        (void)!setpriority(PRIO_PROCESS, 0,
                           SUPERVISOR_NICE); /* best effort: the sooner it wakes up, the more it kills */
        limit_fs(plan, false);
        expected = capacity_of_new(plan);
        s.h = open_heap(plan);
        if (plan->fs_mib != 0)
                make_slots(&s);
        limit_fs(plan, true);
        s.stage = stage_find(s.h);
        s.stage->n_boxes = n_actors * 10 < 64 ? 64 : n_actors * 10 > BOXES_MAX ? BOXES_MAX : n_actors * 10;
        s.stage->is_exact = plan->is_exact;
        s.stage->may_fork = plan->fs_mib == 0;
        for (uint32_t i = 0; i < plan->n_stopped; i++)
                s.processes[i].stop_after = 1 + dice_below(&s.dice, STOP_AFTER_OPS);
        for (uint32_t i = 0; i < plan->n_processes; i++)
                start(&s, i);
        rage(&s);
        if (!s.has_failed)
                wind_down(&s);
        kill_all(&s);
        limit_fs(plan, false); /* where there is room, all of the capacity can be had */
        if (!s.has_failed && !judge(s.h, s.stage, &s.ledger, &expected))
                s.has_failed = true;
        report(&s);
        ledger_fini(&s.ledger);
        close(s.ticks[0]);
        close(s.ticks[1]);
        close_heap(s.h);
        return !s.has_failed;
}
