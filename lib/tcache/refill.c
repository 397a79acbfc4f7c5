/*
 * refill.c - the slow path of malloc: another magazine for the class, in the order of "malloc and free" in doc/design.md.
 *
 * The spare first; then what alloc_magazine() finds: a full one from the depot, or a slab to fill the empty one from.
 * A place is changed only after the slot's hand, or another place, names what is in it (blocks/magazine.c), and the
 * distances that the hit paths read are private: they follow the places, and a death does not care.
 */
#include <errno.h>
#include <string.h>

#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/magazine.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owned.h"
#include "heap/decay.h"
#include "heap/find.h"
#include "heap/reap.h"
#include "region/dump.h"
#include "tcache/tcache.h"

enum { ASK_EVERY = 17 }; /* ticks per question to the kernel; prime, so that every slot has its turn */

static void
publish(struct tcache *t, uint32_t tag, uint32_t idx)
{
        int64_t distance = 0;

        if (idx != MAGAZINE_IDX_NONE)
                distance = (intptr_t)&t->thread.region->magazines[idx] - (intptr_t)t;
        t->free_at[tag] = distance;
        if (tag_node(tag) == t->thread.node)
                t->malloc_at[tag_class(tag) + 1] = distance;
}

#if SHM_ASSERTS
bool
tcache_shows(const struct tcache *t, uint32_t tag)
{
        uint32_t idx = magazine_in(&t->thread, magazine_current(&t->thread, tag));
        int64_t distance = 0;

        if (idx != MAGAZINE_IDX_NONE)
                distance = (intptr_t)&t->thread.region->magazines[idx] - (intptr_t)t;
        return t->free_at[tag] == distance &&
               (tag_node(tag) != t->thread.node || t->malloc_at[tag_class(tag) + 1] == distance);
}
#endif

void
tcache_publish(struct tcache *t, uint32_t tag)
{
        publish(t, tag, magazine_in(&t->thread, magazine_current(&t->thread, tag)));
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
}

/* One other slot: settled if the kernel has marked its thread; asked about, at the price of a system call, now and then. */
static void
reap_one(struct tcache *t, uint32_t n_ticks)
{
        struct region *r = t->thread.region;
        uint32_t hwm = region_threads_hwm(r), idx = hwm > 0 ? n_ticks % hwm : 0;

        if (hwm > 0 && idx != t->thread.no - 1 && (n_ticks % ASK_EVERY == 0 || slot_thread_is_dead_hint(r, idx)))
                owner_add(&t->thread.slot->n_reaped, (uint64_t)slot_reap_one(r, idx, reap_settle, &t->thread));
}

void
tcache_tick(struct tcache *t)
{
        if (++t->n_slow % TCACHE_TICK_EVERY != 0)
                return;
        t->limit = tcache_limit(t);
        decay_tick(&t->thread);
        drain_clock_hand(&t->thread);
        tcache_trim(t);
        tcache_trim_large(t);
        reap_one(t, t->n_slow / TCACHE_TICK_EVERY);
        dump_follow(t->thread.region);
}

void
tcache_swap_places(struct tcache *t, uint32_t tag, uint32_t current, uint32_t spare)
{
        struct thread *th = &t->thread;

        ASSERT_INVARIANT(I11, magazine_is_own(th, current) && magazine_is_own(th, spare));
        magazine_is_empty_now(th, current);
        store_relaxed(&th->slot->hand, current + 1); /* between the next two stores only the hand names it */
        kill_order();
        store_relaxed(magazine_current(th, tag), spare + 1);
        kill_order();
        magazine_place(th, magazine_spare(th, tag), current);
        publish(t, tag, spare);
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
}

/* Puts a magazine from the hand into the current place; the empty one that was there becomes the spare or goes. */
static void
replace_empty(struct tcache *t, uint32_t tag, uint32_t current, uint32_t idx)
{
        struct thread *th = &t->thread;

        if (current != MAGAZINE_IDX_NONE && magazine_in(th, magazine_spare(th, tag)) == MAGAZINE_IDX_NONE) {
                store_relaxed(magazine_spare(th, tag), current + 1);
                kill_order();
        } else if (current != MAGAZINE_IDX_NONE) {
                magazine_put(th, current, magazine_home(th, tag), true);
        }
        magazine_place(th, magazine_current(th, tag), idx);
        tcache_publish(t, tag);
        ASSERT_INVARIANT(I7, load_relaxed(&th->slot->hand) == 0);
}

void *
tcache_pop_to(struct tcache *t, uint32_t class_idx, uint64_t dest_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t idx = magazine_in(th, magazine_current(th, tag_make(th->node, class_idx)));
        uint64_t n = idx == MAGAZINE_IDX_NONE ? 0 : load_relaxed(&r->magazines[idx].n), block_off;

        if (n == 0)
                return NULL;
        block_off = region_entry_off(r, load_relaxed(&r->magazines[idx].slot[n - 1]));
        dest_fill(th, dest_off, block_off, size_class_bytes(class_idx));
        intent_begin(th, INTENT(POP_TO, pop_to, .magazine = idx, .n = n - 1, .was = dest_load(r, dest_off),
                                .block = block_off, .dest = dest_off)); /* POP_TO.1 */
        dest_store(r, dest_off, r->layout.chunks_off + block_off);      /* POP_TO.2 */
        kill_order();
        store_relaxed(&r->magazines[idx].n, n - 1); /* POP_TO.3: commit */
        intent_end(th);                             /* POP_TO.4 */
        return region_block(r, block_off);
}

static void *
pop_current(struct tcache *t, uint32_t class_idx, uint64_t dest_off)
{
        struct region *r = t->thread.region;
        void *entry;

        if (dest_off != 0)
                return tcache_pop_to(t, class_idx, dest_off);
        if (!tcache_pop(t, class_idx + 1, &entry))
                return NULL;
        return region_block(r, region_entry_off(r, (uint64_t)(uintptr_t)entry));
}

void *
tcache_malloc_spare(struct tcache *t, uint32_t class_idx1)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag, current, spare;
        void *p;

        if (class_idx1 == 0 || !tcache_is_quick(t))
                return NULL;
        tag = tag_make(th->node, class_idx1 - 1);
        current = magazine_in(th, magazine_current(th, tag));
        spare = magazine_in(th, magazine_spare(th, tag));
        if (current == MAGAZINE_IDX_NONE || load_relaxed(&r->magazines[current].n) > 0 || spare == MAGAZINE_IDX_NONE ||
            load_relaxed(&r->magazines[spare].n) == 0)
                return NULL;
        t->n_slow++;
        tcache_swap_places(t, tag, current, spare);
        return tcache_pop(t, class_idx1, &p) ? p : NULL;
}

/* An empty magazine in the current place, if one can be had. */
static uint32_t
ensure_current(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint32_t idx = magazine_in(th, magazine_current(th, tag));

        if (idx != MAGAZINE_IDX_NONE)
                return idx;
        if (magazine_take_empty(th, tag, &idx) < 0)
                return MAGAZINE_IDX_NONE;
        magazine_place(th, magazine_current(th, tag), idx);
        tcache_publish(t, tag);
        return idx;
}

static void *
malloc_small(struct tcache *t, uint32_t class_idx, uint64_t dest_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag = tag_make(th->node, class_idx);
        uint32_t current = ensure_current(t, tag), spare = magazine_in(th, magazine_spare(th, tag)), idx;
        struct request rq = {.size = size_class_bytes(class_idx),
                             .align = 1,
                             .class_idx = class_idx,
                             .arena = th->arena,
                             .dest_off = dest_off};
        uint64_t block_off;

        ASSERT_INVARIANT(I19, thread_is_valid(th));
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        if (current != MAGAZINE_IDX_NONE && load_relaxed(&r->magazines[current].n) > 0)
                return pop_current(t, class_idx, dest_off); /* a caller that does not use the hit path */
        if (spare != MAGAZINE_IDX_NONE && load_relaxed(&r->magazines[spare].n) > 0) {
                if (current != MAGAZINE_IDX_NONE)
                        tcache_swap_places(t, tag, current, spare);
                else {
                        magazine_pick_up(th, magazine_spare(th, tag), spare);
                        magazine_place(th, magazine_current(th, tag), spare);
                        tcache_publish(t, tag);
                }
                return pop_current(t, class_idx, dest_off);
        }
        if (alloc_magazine(th, &rq, current, &idx, &block_off) < 0)
                return NULL;
        if (t->is_away && idx != MAGAZINE_IDX_NONE)
                tcache_count_away(t, load_relaxed(&r->magazines[idx].n));
        if (idx == MAGAZINE_IDX_NONE)
                return region_block(r, block_off);
        if (idx != current)
                replace_empty(t, tag, current, idx);
        return pop_current(t, class_idx, dest_off);
}

static void *
malloc_large(struct tcache *t, const struct request *rq)
{
        struct thread *th = &t->thread;
        uint32_t idx = MAGAZINE_IDX_NONE;
        uint64_t block_off;

        if (size_class_is_large(rq->class_idx))
                idx = magazine_in(th, magazine_current(th, tag_make(th->node, rq->class_idx)));
        if (idx != MAGAZINE_IDX_NONE && load_relaxed(&th->region->magazines[idx].n) > 0)
                return pop_current(t, rq->class_idx, 0); /* a caller that does not use the hit path */
        return alloc_block(th, rq, &block_off) < 0 ? NULL : region_block(th->region, block_off);
}

void *
tcache_malloc_slow(struct tcache *t, size_t size, uint64_t dest_off)
{
        struct request rq = {.size = size == 0 ? 1 : size, .align = 1, .arena = t->thread.arena};
        void *p = NULL;

        tcache_tick(t);
        if (request_classify(&rq))
                p = size_class_is_small(rq.class_idx) ? malloc_small(t, rq.class_idx, dest_off) : malloc_large(t, &rq);
        if (!p)
                errno = ENOMEM;
        else if (t->thread.fallback_node1 != 0)
                tcache_follow_fallback(t);
        return p;
}
