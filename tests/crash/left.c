/*
 * left.c - calls left by another door at every point of an operation.
 *
 * To the region that is a death; to the thread it is not.  So what is private to the thread counts as well as what it
 * changed in the region: which tcache the hit paths see, and what they read of it.  Points where no handler can run,
 * behind a shield, are left out.  What a signal is in a real process, tests/multi/test_leave.c tries.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/size_class.h"
#include "step.h"

static void (*what_happens)(ucontext_t *uc); /* in a copy; it does not come back, or A goes on in the copy */
static const char *what_is_said;
static bool is_in_copy;

/* ------------------------------------------------------------------ what of the thread is compared */

static uint64_t
hash_more(uint64_t hash, const void *p, size_t bytes)
{
        const unsigned char *at = p;
        uint64_t word;

        for (; bytes >= sizeof word; at += sizeof word, bytes -= sizeof word) {
                memcpy(&word, at, sizeof word);
                hash = (hash ^ word) * UINT64_C(0xff51afd7ed558ccd);
                hash ^= hash >> 32;
        }
        return hash;
}

/* Counters decide nothing about a single call but when something is due. */
static uint64_t
private_state(void)
{
        uint64_t hash = (uintptr_t)tcache_last ^ (uintptr_t)tcache_default << 1;

        for (const struct tcache *t = tcache_list; t; t = t->next) {
                hash = hash_more(hash, &t->limit, offsetof(struct tcache, heap) - offsetof(struct tcache, limit));
                hash = hash_more(hash, t->free_at, t->thread.region->layout.n_tags * sizeof t->free_at[0]);
                hash = hash * 31 + t->is_inside * 2 + t->is_attached;
        }
        return hash;
}

/* ------------------------------------------------------------------ points */

enum { EVERY = 6 }; /* of the points beyond --samples */

static uint64_t private_before;

static void
left_here(ucontext_t *uc)
{
        char what[120], options[80];
        pid_t pid;

        counts->n_states++;
        pid = copy_enter();
        if (pid == 0) {
                is_in_copy = true;
                what_happens(uc);
                return;
        }
        snprintf(what, sizeof what, "%s after instruction %ld", what_is_said, stepping.n);
        snprintf(options, sizeof options, "--at %ld", stepping.n);
        copy_see(pid, what, stepping.at, options);
}

static void
left_point(ucontext_t *uc)
{
        uint64_t now;

        counts->n_instructions++;
        if (load_relaxed(&actor_keeps_books) || actors[ACTOR_A].is_shielded)
                return;
        if (opt.only[1] >= 0) {
                if (stepping.n == opt.only[1])
                        left_here(uc);
                return;
        }
        now = private_state();
        if (stepping.n > 1 && now == private_before && !region_has_changed())
                return;
        private_before = now;
        region_remember();
        counts->n_changes++;
        if (state_is_new(now) && (counts->n_changes <= opt.n_samples || counts->n_changes % EVERY == 0))
                left_here(uc);
}

static void
run_under_points(void)
{
        prepare();
        if (opt.script->flags & SCRIPT_TRACED)
                trace_begin(left_point, false);
        else
                steps_begin(left_point);
        opt.script->run(&actors[ACTOR_A]);
        steps_leave(NULL);
        if (!is_in_copy)
                steps_end();
}

/* ------------------------------------------------------------------ left: the thread ends */

/* What a call waits for that comes after this one, in the same process. */
static void
judge_locks(struct shheap *heap)
{
        if (pthread_mutex_trylock(&heap->lock) == EBUSY || pthread_mutex_trylock(&heap->reserve.lock) == EBUSY)
                report_line("a lock of the process is held by nobody who could give it back");
        pthread_mutex_unlock(&heap->lock);
        pthread_mutex_unlock(&heap->reserve.lock);
}

static void
end_and_inspect(void)
{
        struct actor *a = &actors[ACTOR_A];

        judge_locks(a->heap);
        actor_ends();
        actor_kill(a);
        inspect_dead(&actors[ACTOR_C], false);
        copy_leave();
}

static void
jump_and_end(ucontext_t *uc)
{
        steps_leave(uc);
        end_and_inspect();
}

void
mode_left(void)
{
        what_happens = jump_and_end;
        what_is_said = "left, and the thread ended,";
        run_under_points();
        see_the_end();
}

/* ------------------------------------------------------------------ left-again: it goes on first */

enum { N_SIZES = 12 };

/* The classes of the script, small ones, large ones; not so much that a heap that is nearly full is emptied. */
static size_t
size_of(int i)
{
        static const size_t sizes[] = {16, 100, 300, 4096, 8192, 32768, 65536, 200000};
        size_t n = sizeof sizes / sizeof sizes[0];

        return (size_t)i < n ? sizes[i] : opt.script->hot_bytes;
}

static void
allocate_some(struct actor *a, void **p)
{
        for (int i = 0; i < N_SIZES; i++)
                p[i] = a_malloc(a, size_of(i));
}

static void
free_some(struct actor *a, void **p, int n)
{
        for (int i = 0; i < n; i++) {
                a_free(a, p[i]);
                p[i] = NULL;
        }
}

/* What the call that was left may have done, its op says, for good. */
static void
jump_and_go_on(ucontext_t *uc)
{
        struct actor *a = &actors[ACTOR_A];
        struct op op = a->op;
        void *p[N_SIZES], *q[N_SIZES];

        steps_leave(uc);
        memset(&a->op, 0, sizeof a->op);
        allocate_some(a, p);
        free_some(a, p, N_SIZES / 2);
        allocate_some(a, q);
        free_some(a, q, N_SIZES);
        free_some(a, p, N_SIZES);
        a->op = op;
        end_and_inspect();
}

void
mode_left_again(void)
{
        what_happens = jump_and_go_on;
        what_is_said = "left, and the thread went on,";
        run_under_points();
}

/* ------------------------------------------------------------------ interrupted: the call goes on */

static void *kept[N_SIZES];

static bool
is_inside(void)
{
        for (const struct tcache *t = tcache_list; t; t = t->next)
                if (t->is_inside)
                        return true;
        return false;
}

/* Hits of a handler inside a hit are not promised to do no harm. */
static void
handle_and_return(ucontext_t *uc)
{
        struct actor *a = &actors[ACTOR_A];
        struct op op = a->op;
        void *p[N_SIZES];

        if (!is_inside())
                _exit(0);
        steps_leave(uc);
        memset(&a->op, 0, sizeof a->op);
        allocate_some(a, kept);
        free_some(a, kept, N_SIZES / 2);
        allocate_some(a, p);
        free_some(a, p, N_SIZES);
        a->op = op;
}

void
mode_interrupted(void)
{
        what_happens = handle_and_return;
        what_is_said = "interrupted by a handler that allocated";
        run_under_points();
        if (is_in_copy) {
                free_some(&actors[ACTOR_A], kept, N_SIZES);
                inspect_rest(&actors[ACTOR_C], false);
                copy_leave();
        }
}
