/*
 * scripts.c - the calls that scenarios are made of, each with a note of what its caller holds.
 *
 * The notes are private: a block is held once the call that gave it has returned, and not held from the moment that
 * the call which takes it is made.
 */
#include "explore/world.h"

#include <errno.h>

#include "base/verify.h"
#include "heap/alloc.h"
#include "heap/drain.h"
#include "heap/magazine.h"
#include "heap/slab.h"
#include "region/intent.h"

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
        struct request rq = {.size = bytes, .align = 1, .arena = me->t.arena};
        uint64_t block_off = 0;
        int err;

        request_classify(&rq);
        me->n_allocating = 1;
        err = alloc_block(&me->t, &rq, &block_off);
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
        struct request rq = {.size = size_class_bytes(class_idx), .align = 1, .class_idx = class_idx, .arena = t->arena};
        uint64_t block_off;

        if (empty == MAGAZINE_IDX_NONE) {
                if (magazine_take_empty(t, tag, &empty) < 0)
                        return false;
                magazine_place(t, magazine_current(t, tag), empty);
        }
        me->n_allocating = 1; /* where no magazine can be filled, one block is had */
        if (alloc_magazine(t, &rq, empty, &found, &block_off) < 0) {
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
        uint64_t block_off = script_drop(me), n = load_relaxed(&m->n);

        CHECK(n < load_relaxed(&m->cap));
        me->in_flight[me->n_in_flight++] = block_off;
        store_relaxed(&m->slot[n], region_entry(&world_region, block_off)); /* FREE.1 */
        kill_order();
        store_relaxed(&m->n, n + 1); /* FREE.2 */
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
