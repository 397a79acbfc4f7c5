/*
 * What an actor does is in program order what a death may cut off anywhere: each store into a box or the actor's own
 * record stands before or behind the call that it speaks for, as stage.h says.
 */
#include "stress/storm/worker.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "stress/storm/stage.h"
#include "stress/storm/storm.h"

enum { TICK_OPS = 64, PRESSURE_OPS = 30, FREE_FROM_TRIES = 3, CHILD_STEPS = 64 };

struct self {
        shheap *h;
        struct stage *stage;
        struct actor *actor;
        uint64_t word; /* what its boxes bear */
        struct dice dice;
        int ticks;
        unsigned pressure; /* so many steps nothing is allocated */
        bool may_leave;    /* it is the only one of its process */
        bool must_leave;   /* of its own accord */
        bool is_reaper;    /* settles what the dead left, and nothing else */
};

#define MUST(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        fail(__LINE__, #claim);                                                                        \
        } while (0)

static void __attribute__((noreturn)) fail(int line, const char *claim)
{
        fprintf(stderr, "storm: process %d, worker.c:%d: not true: %s (errno %d, %s)\n", (int)getpid(), line, claim,
                errno, shheap_errormsg());
        _exit(WORKER_FAILED);
}

static void
step_done(struct self *s)
{
        owner_add(&s->actor->n_ops, UINT64_C(1));
        if (load_relaxed(&s->actor->n_ops) % TICK_OPS == 0 && write(s->ticks, "!", 1) < 0)
                MUST(errno == EAGAIN || errno == EINTR);
}

/* Operands first: the kind says that they count. */
static void
note_set(struct self *s, enum note_kind kind, shref ref, uint64_t usable)
{
        store_relaxed(&s->actor->note.ref, ref);
        store_relaxed(&s->actor->note.usable, usable);
        kill_order();
        store_relaxed(&s->actor->note.kind, (uint64_t)kind);
        kill_order();
}

static void
note_clear(struct self *s)
{
        kill_order();
        store_relaxed(&s->actor->note.kind, (uint64_t)NOTE_NONE);
        kill_order();
}

/* ------------------------------------------------------------------ sizes */

static uint64_t
log_uniform(struct self *s, unsigned from_shift, unsigned to_shift)
{
        unsigned shift = from_shift + (unsigned)dice_below(&s->dice, to_shift - from_shift);

        return (UINT64_C(1) << shift) + dice_below(&s->dice, UINT64_C(1) << shift);
}

/* 1 byte to 8 MiB; four of five are small ones, one of thirty is huge. */
static uint64_t
random_size(struct self *s)
{
        switch (dice_below(&s->dice, 30)) {
        case 0:
                return log_uniform(s, 21, 23);
        case 1:
        case 2:
        case 3:
        case 4:
                return log_uniform(s, 15, 21);
        case 5:
                return UINT64_C(1) << dice_below(&s->dice, 24);
        default:
                return log_uniform(s, 0, 15);
        }
}

static unsigned
random_flags(struct self *s)
{
        switch (dice_below(&s->dice, 12)) {
        case 0:
                return SHA_TCACHE_NONE;
        case 1:
                return SHA_LG_ALIGN(4 + dice_below(&s->dice, 14));
        case 2:
                return SHA_NOGROW;
        case 3:
                return SHA_ARENA(dice_below(&s->dice, 2));
        default:
                return 0;
        }
}

/* Others hold what there is: give back for a while. */
static void
note_enomem(struct self *s)
{
        MUST(errno == ENOMEM);
        owner_add(&s->actor->n_enomem, UINT64_C(1));
        s->pressure = PRESSURE_OPS;
}

/* ------------------------------------------------------------------ boxes */

static void
box_put(struct box *box, uint64_t word)
{
        store_release(&box->word, word);
}

/* The block is there: it gets its stamp, and the box is full. */
static void
box_complete(struct self *s, struct box *box, void *p, uint64_t size)
{
        uint64_t seed = dice_next(&s->dice);

        stamp_write(s->h, p, size, seed);
        store_relaxed(&box->size, size);
        store_relaxed(&box->seed, seed);
        if (load_relaxed(&box->block) == SHREF_NULL)
                store_relaxed(&box->block, shheap_ref(s->h, p));
        MUST(shheap_ptr(s->h, load_relaxed(&box->block)) == p);
        kill_order();
        store_relaxed(&box->is_full, UINT64_C(1));
        note_clear(s);
        box_put(box, BOX_FULL);
}

/* Whether to leave no window.  Where the call takes long, and what is lost is much, mostly. */
static bool
in_one_step(struct self *s, uint64_t size)
{
        return load_relaxed(&s->stage->is_exact) || dice_below(&s->dice, 40) < (size < 65536 ? 20 : 38);
}

static void
produce(struct self *s, struct box *box)
{
        uint64_t size = random_size(s);
        unsigned flags = random_flags(s);
        void *p;

        MUST(load_relaxed(&box->block) == SHREF_NULL && load_relaxed(&box->is_full) == 0);
        if (in_one_step(s, size)) {
                note_set(s, NOTE_MALLOC_TO, 0, 0);
                p = shheap_malloc_to(s->h, size, flags, &box->block);
        } else {
                note_set(s, NOTE_MALLOC, 0, shheap_nallocx(s->h, size, flags));
                p = flags != 0 ? shheap_mallocx(s->h, size, flags) : shheap_malloc(s->h, size);
        }
        if (p) {
                MUST(((uintptr_t)p & 15) == 0 && shheap_usable_size(s->h, p) >= size);
                box_complete(s, box, p, size);
                return;
        }
        if (!(flags & SHA_NOGROW))
                note_enomem(s);
        note_clear(s);
        box_put(box, BOX_EMPTY);
}

/* Past this the block counts as spoilt: whoever finds the box may only free it. */
static void *
box_open(struct self *s, struct box *box)
{
        uint64_t size = load_relaxed(&box->size);
        void *p = shheap_ptr(s->h, load_relaxed(&box->block));
        const char *fault;

        MUST(load_relaxed(&box->is_full) == 1 && p);
        fault = stamp_fault(s->h, p, size, load_relaxed(&box->seed));
        if (fault) {
                fprintf(stderr, "storm: process %d: block %p of %llu bytes has %s\n", (int)getpid(), p,
                        (unsigned long long)size, fault);
                _exit(WORKER_FAILED);
        }
        MUST(shheap_usable_size(s->h, p) >= size);
        return p;
}

static void
box_spoil(struct box *box, void *p)
{
        kill_order();
        store_relaxed(&box->is_full, UINT64_C(0));
        kill_order();
        stamp_spoil(p, load_relaxed(&box->size));
}

static void
free_forgotten(struct self *s, struct box *box, void *p)
{
        uint64_t size = load_relaxed(&box->size);

        note_set(s, NOTE_FREE, load_relaxed(&box->block), 0);
        store_relaxed(&box->block, SHREF_NULL);
        kill_order();
        switch (dice_below(&s->dice, 3)) {
        case 0:
                shheap_free(s->h, p);
                break;
        case 1:
                shfree(p);
                break;
        default:
                shheap_free_sized(s->h, p, size);
        }
        note_clear(s);
        box_put(box, BOX_EMPTY);
}

static void
free_from(struct self *s, struct box *box)
{
        int err = -EBUSY;

        note_set(s, NOTE_FREE_FROM, 0, 0);
        for (int tries = 0; err == -EBUSY && tries < FREE_FROM_TRIES; tries++)
                err = shheap_free_from(s->h, &box->block);
        MUST(err == 0 || err == -EBUSY);
        MUST((err == 0) == (load_relaxed(&box->block) == SHREF_NULL));
        if (err == 0) {
                note_clear(s);
                box_put(box, BOX_EMPTY);
        } else { /* its slab is held by somebody who is stopped */
                owner_add(&s->actor->n_busy, UINT64_C(1));
                free_forgotten(s, box, shheap_ptr(s->h, load_relaxed(&box->block)));
        }
}

static void
consume(struct self *s, struct box *box)
{
        void *p = box_open(s, box);

        box_spoil(box, p);
        if (in_one_step(s, load_relaxed(&box->size)))
                free_from(s, box);
        else
                free_forgotten(s, box, p);
}

static void
resize(struct self *s, struct box *box)
{
        uint64_t old = load_relaxed(&box->size), size = random_size(s), least = old < size ? old : size;
        shref ref = load_relaxed(&box->block);
        void *p = box_open(s, box), *q;

        note_set(s, NOTE_REALLOC, ref, shheap_nallocx(s->h, size, 0));
        store_relaxed(&box->is_full, UINT64_C(0));
        store_relaxed(&box->block, SHREF_NULL);
        kill_order();
        q = shheap_realloc(s->h, p, size);
        if (!q) {
                note_enomem(s);
                store_relaxed(&box->block, ref);
                kill_order();
                MUST(!stamp_fault(s->h, p, old, load_relaxed(&box->seed)));
                store_relaxed(&box->is_full, UINT64_C(1));
                note_clear(s);
                box_put(box, BOX_FULL);
                return;
        }
        MUST(shheap_usable_size(s->h, q) >= size);
        MUST(!stamp_fault_of_copy(q, least, ref, old, load_relaxed(&box->seed)));
        box_complete(s, box, q, size);
}

static void
visit_box(struct self *s)
{
        struct box *box = &s->stage->boxes[dice_below(&s->dice, load_relaxed(&s->stage->n_boxes))];
        uint64_t word = load_relaxed(&box->word);

        if (word >= BOX_ACTOR || (word == BOX_EMPTY && s->pressure > 0) || !cas_acquire(&box->word, &word, s->word))
                return;
        if (word == BOX_EMPTY)
                produce(s, box);
        else if (s->pressure == 0 && !in_one_step(s, load_relaxed(&box->size)) && dice_below(&s->dice, 3) == 0)
                resize(s, box);
        else
                consume(s, box);
        s->pressure -= s->pressure > 0;
}

/* ------------------------------------------------------------------ blocks of its own */

static void
list_allocate(struct self *s, unsigned i, uint64_t size)
{
        void *p;

        note_set(s, NOTE_MALLOC, 0, shheap_nallocx(s->h, size, 0));
        p = shheap_malloc(s->h, size);
        if (p) {
                store_relaxed(&s->actor->list[i], shheap_ref(s->h, p));
        } else {
                note_enomem(s);
        }
        note_clear(s);
        if (p)
                stamp_write(s->h, p, size, i);
}

static void
list_free(struct self *s, unsigned i, uint64_t size)
{
        void *p = shheap_ptr(s->h, load_relaxed(&s->actor->list[i]));

        MUST(!stamp_fault(s->h, p, size, i));
        note_set(s, NOTE_FREE, load_relaxed(&s->actor->list[i]), 0);
        store_relaxed(&s->actor->list[i], SHREF_NULL);
        kill_order();
        stamp_spoil(p, size);
        shheap_free(s->h, p);
        note_clear(s);
}

/* Enough blocks of one class to empty and to fill magazines, slabs and depots. */
static void
burst(struct self *s)
{
        uint64_t size = log_uniform(s, 0, dice_below(&s->dice, 10) == 0 ? 18 : 11);
        unsigned n = size < 4096 ? 1 + (unsigned)dice_below(&s->dice, LIST_MAX) : 1 + (unsigned)dice_below(&s->dice, 6);

        for (unsigned i = 0; i < n && s->pressure == 0; i++) {
                list_allocate(s, i, size);
                step_done(s);
        }
        for (unsigned i = 0; i < n; i++)
                if (load_relaxed(&s->actor->list[i]) != SHREF_NULL) {
                        list_free(s, i, size);
                        step_done(s);
                }
}

/* ------------------------------------------------------------------ all of it */

static int
look_at(const struct shheap_block *block, void *arg)
{
        (void)block;
        ++*(uint64_t *)arg;
        return 0;
}

/* A child of its own, which is a client at its first call, and does only what leaves no window. */
static void __attribute__((noreturn)) be_child(struct self *s)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL); /* should the worker be killed now, this ends by itself */
        for (int i = 0; i < CHILD_STEPS; i++)
                if (shheap_reap(s->h) < 0 || (i % 8 == 7 && shheap_purge(s->h, -1) != 0))
                        _exit(WORKER_FAILED);
        _exit(0);
}

static void
fork_and_kill(struct self *s)
{
        pid_t pid = fork();
        int status;

        if (pid == 0)
                be_child(s);
        MUST(pid > 0);
        for (uint64_t n = dice_below(&s->dice, 100); n > 0; n--)
                sched_yield();
        kill(pid, SIGKILL);
        MUST(waitpid(pid, &status, 0) == pid && (status == 0 || WIFSIGNALED(status)));
}

static void
do_something_rare(struct self *s)
{
        uint64_t n = 0;

        switch (dice_below(&s->dice, 40)) {
        case 0:
                MUST(shheap_purge(s->h, -1) == 0);
                break;
        case 1:
                MUST(is_in_order(s->h, 0));
                break;
        case 2:
                MUST(shheap_walk(s->h, SHHEAP_WALK_LIVE, look_at, &n) == 0);
                break;
        case 3:
                s->must_leave = s->may_leave;
                break;
        case 4:
        case 5:
                if (load_relaxed(&s->stage->may_fork))
                        fork_and_kill(s);
                break;
        default:
                MUST(shheap_reap(s->h) >= 0);
        }
}

static void
act(struct self *s)
{
        uint64_t n = dice_below(&s->dice, 1000);

        if (s->is_reaper) {
                MUST(shheap_reap(s->h) >= 0);
                sched_yield(); /* those whom it reaps shall get on as well */
        } else if (n == 0)
                do_something_rare(s);
        else if (n < 30 && s->pressure == 0 && !load_relaxed(&s->stage->is_exact))
                burst(s);
        else
                visit_box(s);
        step_done(s);
}

static void *
act_until_stopped(void *arg)
{
        struct self *s = arg;

        while (!load_acquire(&s->stage->must_stop) && !s->must_leave)
                act(s);
        return NULL;
}

void
worker_run(shheap *h, const struct worker_args *args)
{
        struct self selves[THREADS_MAX];
        pthread_t threads[THREADS_MAX];
        struct stage *stage = stage_find(h);

        for (uint32_t i = 0; i < args->n_threads; i++)
                selves[i] = (struct self){.h = h,
                                          .stage = stage,
                                          .actor = &stage->actors[args->first_actor + i],
                                          .word = BOX_ACTOR + args->first_actor + i,
                                          .dice = {args->seed * 64 + i},
                                          .ticks = args->ticks,
                                          .may_leave = args->n_threads == 1,
                                          .is_reaper = args->is_reaper};
        for (uint32_t i = 1; i < args->n_threads; i++)
                MUST(pthread_create(&threads[i], NULL, act_until_stopped, &selves[i]) == 0);
        act_until_stopped(&selves[0]);
        for (uint32_t i = 1; i < args->n_threads; i++)
                MUST(pthread_join(threads[i], NULL) == 0);
        MUST(shheap_close(h) == 0);
        exit(0);
}
