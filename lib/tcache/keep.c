/*
 * keep.c - what a thread keeps for later, and when it gives that up: its magazines in their places, its share of the
 * heap in large and huge blocks, and what is done now and then on slow paths.
 *
 * A place is changed only after the slot's hand, or another place, names what is in it (blocks/magazine.c), and the
 * distances that the hit paths read are private: they follow the places, and a death does not care.
 */
#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/magazine.h"
#include "blocks/slab_pages.h"
#include "blocks/valid.h"
#include "clients/binding.h"
#include "clients/owner.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "pages/decay_stamp.h"
#include "region/dump.h"
#include "tcache/tcache.h"

/* Of large and huge blocks, in the magazines of one thread. */
#define RUN_BYTES_CACHED_MIN (UINT64_C(1) << 20)
#define RUN_BYTES_CACHED_MAX (UINT64_C(32) << 20)

/* Large ones alone: up to this sum their magazines grow. */
#define RUN_BYTES_GROWN_MAX (UINT64_C(8) << 20)

enum {
        RUN_PART_CACHED = 32, /* of the heap, by all threads together, where that is more than the least for each */
        SHARE_EVERY = 16,     /* ticks per look at how many threads there are */
        TRIM_TAGS_MAX = 64,   /* looked at per call */
        ASK_EVERY = 17        /* ticks per question to the kernel; prime, so that every slot has its turn */
};

/* ------------------------------------------------------------------ places */

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

bool
tcache_has_magazine(const struct tcache *t, uint32_t tag)
{
        const struct thread *th = &t->thread;

        ASSERT(tag != TAG_NONE && tag < th->region->layout.n_tags);
        return magazine_in(th, magazine_current(th, tag)) != MAGAZINE_IDX_NONE ||
               magazine_in(th, magazine_spare(th, tag)) != MAGAZINE_IDX_NONE;
}

uint32_t
tcache_ensure_current(struct tcache *t, uint32_t tag)
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

/* ------------------------------------------------------------------ the share of large and huge blocks */

/* What the thread may cache of them: its share among the threads that are bound to arenas now. */
static void
renew_share(struct tcache *t)
{
        const struct region *r = t->thread.region;
        uint32_t n_threads = binding_count_all(r);
        uint64_t share =
                (region_capacity_chunks(r) << GEO_CHUNK_SHIFT) / RUN_PART_CACHED / (n_threads > 0 ? n_threads : 1);

        t->run_bytes_share = share < RUN_BYTES_CACHED_MIN   ? RUN_BYTES_CACHED_MIN
                             : share > RUN_BYTES_CACHED_MAX ? RUN_BYTES_CACHED_MAX
                                                            : share;
}

uint64_t
tcache_run_bytes(uint32_t class_idx)
{
        return (uint64_t)size_class_magazine_cap(class_idx) * size_class_bytes(class_idx);
}

/* A magazine of whole blocks holds `cap` of them from now on; it has no more of them.  One store, so a death leaves one
 * or the other. */
static void
set_cap(struct tcache *t, uint32_t tag, uint32_t idx, uint64_t cap)
{
        struct magazine *m = &t->thread.region->magazines[idx];
        uint64_t bytes = size_class_bytes(tag_class(tag)), was = load_relaxed(&m->cap) * bytes;

        ASSERT(load_relaxed(&m->n) <= cap && cap <= MAGAZINE_CAP_MAX);
        t->run_bytes_max = (t->run_bytes_max > was ? t->run_bytes_max - was : 0) + cap * bytes;
        store_relaxed(&m->cap, cap); /* GROW.1 */
        ASSERT_INVARIANT(I11, magazine_is_own(&t->thread, idx));
}

bool
tcache_grow(struct tcache *t, uint32_t tag, uint32_t idx)
{
        uint64_t bytes = size_class_bytes(tag_class(tag)), most = t->run_bytes_share / 2, more;
        uint64_t cap = load_relaxed(&t->thread.region->magazines[idx].cap);

        ASSERT(size_class_is_whole(tag_class(tag)));
        if (size_class_is_large(tag_class(tag)) && most > RUN_BYTES_GROWN_MAX)
                most = RUN_BYTES_GROWN_MAX;
        if (cap >= MAGAZINE_CAP_MAX || t->run_bytes_max >= most)
                return false;
        more = (most - t->run_bytes_max) / bytes;
        more = more < cap ? more : cap;
        if (more == 0)
                return false;
        set_cap(t, tag, idx, cap + more < MAGAZINE_CAP_MAX ? cap + more : MAGAZINE_CAP_MAX);
        return true;
}

/* One that has grown is again as the others are.  False: it has not, or blocks of it cannot go. */
static bool
shrink(struct tcache *t, uint32_t tag, uint32_t idx)
{
        uint32_t cap = size_class_magazine_cap(tag_class(tag));

        if (load_relaxed(&t->thread.region->magazines[idx].cap) <= cap || !drain_magazine(&t->thread, idx, cap))
                return false;
        set_cap(t, tag, idx, cap);
        return true;
}

/* Empties the magazine of a large or huge class and gives it up, if there is one. */
static void
give_up_one(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint32_t idx = magazine_in(th, magazine_current(th, tag));
        uint64_t held;

        if (idx == MAGAZINE_IDX_NONE)
                return;
        held = load_relaxed(&th->region->magazines[idx].cap) * size_class_bytes(tag_class(tag));
        drain_magazine(th, idx, 0);
        magazine_pick_up(th, magazine_current(th, tag), idx);
        magazine_put(th, idx, magazine_home(th, tag), true);
        tcache_publish(t, tag);
        t->run_bytes_max -= held < t->run_bytes_max ? held : t->run_bytes_max;
}

/* The tag of a large or huge class whose turn it is, of all nodes. */
static uint32_t
next_large(struct tcache *t)
{
        do
                t->large_hand = t->large_hand + 1 < t->thread.region->layout.n_tags ? t->large_hand + 1 : 1;
        while (!size_class_is_whole(tag_class(t->large_hand)));
        return t->large_hand;
}

bool
tcache_make_room(struct tcache *t, uint64_t bytes)
{
        struct thread *th = &t->thread;
        uint32_t tag, idx, seen;

        if (t->run_bytes_share == 0)
                renew_share(t);
        if (t->run_bytes_max + bytes <= t->run_bytes_share)
                return true;
        if (bytes > t->run_bytes_share)
                return false;
        tag = next_large(t);
        idx = magazine_in(th, magazine_current(th, tag));
        if (idx == MAGAZINE_IDX_NONE)
                return false;
        if (shrink(t, tag, idx) && t->run_bytes_max + bytes <= t->run_bytes_share)
                return true;
        seen = (uint32_t)load_relaxed(&th->region->magazines[idx].n) + 1;
        if (t->large_seen[tag_class(tag) - SIZE_CLASS_N_SMALL] == seen)
                give_up_one(t, tag);
        t->large_seen[tag_class(tag) - SIZE_CLASS_N_SMALL] = (uint8_t)seen;
        return t->run_bytes_max + bytes <= t->run_bytes_share;
}

/* ------------------------------------------------------------------ all of it */

static void
give_up_large(struct tcache *t)
{
        for (uint32_t node = 0; node < t->thread.region->n_nodes; node++)
                for (uint32_t class_idx = SIZE_CLASS_N_SMALL; class_idx < SIZE_CLASS_N_CACHED; class_idx++)
                        give_up_one(t, tag_make(node, class_idx));
        t->run_bytes_max = 0;
}

static void
flush_tag(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;

        if (size_class_is_whole(tag_class(tag)) && t->free_at[tag] == 0 &&
            load_relaxed(magazine_current(th, tag)) == 0 && load_relaxed(magazine_spare(th, tag)) == 0)
                return;
        drain_out(th, magazine_current(th, tag), tag);
        drain_out(th, magazine_spare(th, tag), tag);
        t->free_at[tag] = 0;
        if (tag_node(tag) == th->node)
                t->malloc_at[tag_class(tag) + 1] = 0;
        if (size_class_is_small(tag_class(tag)))
                slab_fill_less(th, tag_class(tag));
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        ASSERT_INVARIANT(I7, load_relaxed(&th->slot->hand) == 0);
}

void
tcache_flush(struct tcache *t)
{
        give_up_large(t);
        for (uint32_t tag = 1; tag < t->thread.region->layout.n_tags; tag++)
                flush_tag(t, tag);
}

void
tcache_flush_node(struct tcache *t, uint32_t node)
{
        give_up_large(t);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_CACHED; class_idx++)
                flush_tag(t, tag_make(node, class_idx));
}

/* ------------------------------------------------------------------ trim */

/* What other nodes' blocks are collected for is not worth keeping; of the thread's own node, nothing has moved since
 * the last round. */
static bool
is_idle(struct tcache *t, uint32_t tag, uint32_t current)
{
        uint8_t *seen = &t->trim_seen[tag_class(tag)], was = *seen;

        if (tag_node(tag) != t->thread.node)
                return true;
        *seen = current == MAGAZINE_IDX_NONE ? 0 : (uint8_t)(load_relaxed(&t->thread.region->magazines[current].n) + 1);
        return *seen == was;
}

static bool
trim_tag(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint32_t current = magazine_in(th, magazine_current(th, tag));

        if (tag_class(tag) >= SIZE_CLASS_N_CACHED ||
            (current == MAGAZINE_IDX_NONE && magazine_in(th, magazine_spare(th, tag)) == MAGAZINE_IDX_NONE) ||
            !is_idle(t, tag, current))
                return false;
        if (size_class_is_whole(tag_class(tag)))
                give_up_one(t, tag);
        else
                flush_tag(t, tag);
        return true;
}

void
tcache_trim_large(struct tcache *t)
{
        if (t->n_slow / TCACHE_TICK_EVERY % SHARE_EVERY == 0)
                renew_share(t);
        for (uint32_t i = 0; i < t->thread.region->layout.n_tags && t->run_bytes_max > t->run_bytes_share; i++)
                give_up_one(t, next_large(t));
}

void
tcache_trim(struct tcache *t)
{
        const struct region *r = t->thread.region;
        bool is_done = false;

        if (t->trim_tag == 0) {
                if (load_relaxed(&r->header->decay_ms) < 0 || /* a setting */
                    decay_age(t->thread.stamp, t->trim_stamp) < DECAY_AGE)
                        return;
                t->trim_stamp = t->thread.stamp;
                t->trim_tag = 1;
        }
        for (int i = 0; i < TRIM_TAGS_MAX && t->trim_tag != 0 && !is_done; i++) {
                is_done = trim_tag(t, t->trim_tag);
                t->trim_tag = t->trim_tag + 1 < r->layout.n_tags ? t->trim_tag + 1 : 0;
        }
}

/* ------------------------------------------------------------------ now and then */

/* One other slot: settled if the kernel has marked its thread; asked about, at the price of a system call, now and
 * then. */
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
