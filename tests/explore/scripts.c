/*
 * scripts.c - the calls that scenarios are made of, each with a note of what its caller holds.
 *
 * The notes are private: a block is held once the call that gave it has returned, and not held from the moment that
 * the call which takes it is made.
 */
#include "explore/world.h"

#include <errno.h>

#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "heap/free.h"
#include "support/ask.h"
#include "tcache/tcache.h"

void
script_complain(struct script *me, const char *text)
{
        if (!me->complaint)
                me->complaint = text;
}

void
script_hold(struct script *me, uint64_t block_off)
{
        CHECK(me->n_held < HELD_MAX);
        me->held[me->n_held++] = block_off;
}

uint64_t
script_drop(struct script *me)
{
        uint64_t block_off;

        CHECK(me->n_held > 0);
        block_off = me->held[--me->n_held];
        me->held[me->n_held] = 0;
        return block_off;
}

int
script_alloc(struct script *me, uint64_t bytes)
{
        struct call rq = {.size = bytes, .align = 1, .arena = me->t.arena};
        uint64_t block_off = 0;
        int err;

        ask_classify(&rq);
        me->n_allocating = 1;
        err = ask_block(&me->t, &rq, &block_off);
        me->n_allocating = 0;
        if (err == 0)
                script_hold(me, block_off);
        return err;
}

int
script_free_off(struct script *me, uint64_t block_off)
{
        int err;

        me->in_flight[me->n_in_flight++] = block_off;
        err = free_block(&me->t, block_off, 0);
        me->in_flight[--me->n_in_flight] = 0;
        return err;
}

int
script_free(struct script *me)
{
        uint64_t block_off = script_drop(me);
        int err = script_free_off(me, block_off);

        if (err == -EBUSY) /* its slab is somebody's just now: the caller would try again */
                script_hold(me, block_off);
        return err;
}

int
script_alloc_to(struct script *me, uint64_t bytes, uint32_t dest)
{
        struct call rq = {.size = bytes, .align = 1, .arena = me->t.arena, .dest_off = world_dests[dest]};
        uint64_t block_off;

        ask_classify(&rq);
        return ask_block(&me->t, &rq, &block_off);
}

int
script_free_from(struct script *me, uint32_t dest)
{
        const uint64_t *word = (uint64_t *)(void *)(world_region.base + world_dests[dest]);

        return free_block(&me->t, load_relaxed(word) - world_region.layout.chunks_off, world_dests[dest]);
}

/* ------------------------------------------------------------------ magazines */

static uint32_t
current(struct script *me, uint32_t class_idx)
{
        return magazine_in(&me->t, magazine_current(&me->t, tag_make(0, class_idx)));
}

bool
script_fill(struct script *me, uint32_t class_idx)
{
        struct thread *t = &me->t;
        uint32_t tag = tag_make(0, class_idx), empty = current(me, class_idx), found;
        struct call rq = {.size = size_class_bytes(class_idx), .align = 1, .class_idx = class_idx, .arena = t->arena};
        uint64_t block_off;

        if (empty == MAGAZINE_IDX_NONE) {
                if (magazine_take_empty(t, tag, &empty) < 0)
                        return false;
                magazine_place(t, magazine_current(t, tag), empty);
        }
        me->n_allocating = 1; /* where no magazine can be filled, one block is had */
        if (ask_magazine(t, &rq, empty, &found, &block_off) < 0) {
                me->n_allocating = 0;
                return false;
        }
        me->n_allocating = 0;
        if (found == MAGAZINE_IDX_NONE) {
                script_hold(me, block_off);
        } else if (found != empty) {
                magazine_put(t, empty, t->arena, true);
                magazine_place(t, magazine_current(t, tag), found);
        }
        return true;
}

void
script_pop(struct script *me, uint32_t class_idx, uint32_t n)
{
        uint32_t idx = current(me, class_idx);
        struct magazine *m = &world_region.magazines[idx];

        CHECK(idx != MAGAZINE_IDX_NONE);
        for (; n > 0; n--) {
                uint64_t left = load_relaxed(&m->n) - 1, entry;

                CHECK(left < MAGAZINE_CAP_MAX);
                entry = load_relaxed(&m->slot[left]);
                me->n_allocating = 1;
                store_relaxed(&m->n, left); /* MALLOC.1 */
                me->n_allocating = 0;
                script_hold(me, region_entry_off(&world_region, entry));
        }
}

void
script_push(struct script *me, uint32_t class_idx)
{
        struct magazine *m = &world_region.magazines[current(me, class_idx)];
        uint64_t block_off = script_drop(me), n;

        me->in_flight[me->n_in_flight++] = block_off;
        n = load_relaxed(&m->n);
        CHECK(n < load_relaxed(&m->cap));
        store_relaxed(&m->slot[n], region_entry(&world_region, block_off)); /* PUSH.1 */
        kill_order();
        store_relaxed(&m->n, n + 1); /* PUSH.2 */
        me->in_flight[--me->n_in_flight] = 0;
}

void
script_drain(struct script *me, uint32_t class_idx)
{
        uint32_t idx = current(me, class_idx);

        if (idx != MAGAZINE_IDX_NONE)
                drain_magazine(&me->t, idx, 0);
}

bool
script_put(struct script *me, uint32_t class_idx)
{
        struct thread *t = &me->t;
        uint32_t tag = tag_make(0, class_idx), idx = current(me, class_idx);

        if (idx == MAGAZINE_IDX_NONE)
                return false;
        magazine_pick_up(t, magazine_current(t, tag), idx);
        return magazine_put(t, idx, t->arena, true);
}

/* ------------------------------------------------------------------ malloc and free */

static struct shheap heap;

void
script_tcache_begin(struct script *me)
{
        struct tcache *t = &me->tcache;

        heap.region = world_region;
        *t = (struct tcache){.chunks = world_region.chunks, .heap = &heap, .thread = me->t, .is_attached = true};
        for (uint32_t i = 0; i < sizeof size_class_by_size; i++)
                t->by_size[i] = size_class_by_size[i];
        for (uint32_t tag = 1; tag < world_region.layout.n_tags; tag++)
                tcache_publish(t, tag);
        t->limit = tcache_limit(t);
}

bool
script_malloc(struct script *me, uint64_t bytes)
{
        void *p;

        me->n_allocating = 1;
        if (!tcache_pop(&me->tcache, me->tcache.by_size[bytes], &p))
                p = ask_tcache(&me->tcache, bytes);
        me->n_allocating = 0;
        if (p)
                script_hold(me, (uint64_t)((char *)p - world_region.chunks));
        return p != NULL;
}

void
script_mfree(struct script *me)
{
        uint64_t block_off = script_drop(me);

        me->in_flight[me->n_in_flight++] = block_off;
        if (!tcache_push(&me->tcache, world_region.chunks + block_off))
                tcache_free_slow(&me->tcache, block_off);
        me->in_flight[--me->n_in_flight] = 0;
        if (me->tcache.thread.fault.what != 0)
                script_complain(me, "a block could not be freed");
}
