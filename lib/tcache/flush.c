/*
 * flush.c - the slow path of free: room in a magazine for one more block, what is not used home now and then, and
 * everything at the end.
 *
 * A full magazine makes way for an empty one: the spare, or one from the pool, while the older of the two goes to the
 * depot of its home arena, or into its slabs where the depot is crowded.  Large runs have no spare and no depot: what
 * all threads together may cache of them is a part of the heap (decision 10).
 */

#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/binding.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "heap/find.h"
#include "pages/decay_stamp.h"
#include "tcache/tcache.h"

/* Of runs, in the magazines of one thread. */
#define RUN_BYTES_CACHED_MIN (UINT64_C(1) << 20)
#define RUN_BYTES_CACHED_MAX (UINT64_C(16) << 20)

enum {
        RUN_PART_CACHED = 32, /* of the heap, by all threads together, where that is more than the least for each */
        SHARE_EVERY = 16,     /* ticks per look at how many threads there are */
        TRIM_TAGS_MAX = 64    /* looked at per call */
};

static bool
is_full(struct region *r, uint32_t idx)
{
        return load_relaxed(&r->magazines[idx].n) >= load_relaxed(&r->magazines[idx].cap);
}

/* ------------------------------------------------------------------ large */

/* What the thread may cache of large runs: its share among the threads that are bound to arenas now. */
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

/* What a magazine of a large class may hold. */
static uint64_t
magazine_bytes(uint32_t class_idx)
{
        return (uint64_t)size_class_magazine_cap(class_idx) * size_class_bytes(class_idx);
}

/* Empties the magazine of a large class and gives it up, if there is one. */
static void
give_up_one(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint32_t idx = magazine_in(th, magazine_current(th, tag));

        if (idx == MAGAZINE_IDX_NONE)
                return;
        drain_magazine(th, idx, 0);
        magazine_pick_up(th, magazine_current(th, tag), idx);
        magazine_put(th, idx, magazine_home(th, tag), true);
        tcache_publish(t, tag);
        t->run_bytes_max -= magazine_bytes(tag_class(tag));
}

static void
give_up_large(struct tcache *t)
{
        for (uint32_t tag = 1; tag < t->thread.region->layout.n_tags; tag++)
                if (size_class_is_large(tag_class(tag)))
                        give_up_one(t, tag);
        t->run_bytes_max = 0;
}

/* The large tag whose turn it is, of all nodes. */
static uint32_t
next_large(struct tcache *t)
{
        do
                t->large_hand = t->large_hand + 1 < t->thread.region->layout.n_tags ? t->large_hand + 1 : 1;
        while (!size_class_is_large(tag_class(t->large_hand)));
        return t->large_hand;
}

/*
 * Room for `bytes` in what the thread may cache, if that is to be had at no more cost than a look at one other class:
 * its magazine goes if nothing has moved in it since the last look.  So a program that uses more classes than fit keeps
 * some of them, instead of filling and emptying all of them in turn.
 */
static bool
make_room(struct tcache *t, uint64_t bytes)
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
        seen = (uint32_t)load_relaxed(&th->region->magazines[idx].n) + 1;
        if (t->large_seen[tag_class(tag) - SIZE_CLASS_N_SMALL] == seen)
                give_up_one(t, tag);
        t->large_seen[tag_class(tag) - SIZE_CLASS_N_SMALL] = (uint8_t)seen;
        return t->run_bytes_max + bytes <= t->run_bytes_share;
}

/* A magazine for a large class, within the bound on what the thread may cache. */
static uint32_t
ensure_large(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint64_t bytes = magazine_bytes(tag_class(tag));
        uint32_t idx = magazine_in(th, magazine_current(th, tag));

        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        if (idx != MAGAZINE_IDX_NONE)
                return idx;
        if (!make_room(t, bytes) || magazine_take_empty(th, tag, &idx) < 0)
                return MAGAZINE_IDX_NONE;
        t->run_bytes_max += bytes;
        magazine_place(th, magazine_current(th, tag), idx);
        tcache_publish(t, tag);
        return idx;
}

/* ------------------------------------------------------------------ small */

static void
count_remote(struct thread *th, uint32_t home, uint64_t n_blocks)
{
        struct arena *a = region_arena(th->region, home);

        owner_add(&th->slot->n_remote_free, n_blocks);
        if (a)
                fetch_add_relaxed(&a->n_remote_free, n_blocks); /* a statistic */
}

/* The full spare makes room: to its depot, else into its slabs.  What is in the spare place afterwards. */
static uint32_t
unload_spare(struct tcache *t, uint32_t tag, uint32_t spare)
{
        struct thread *th = &t->thread;
        uint32_t home = magazine_home(th, tag), empty;

        magazine_pick_up(th, magazine_spare(th, tag), spare);
        if (tag_node(tag) != th->node)
                count_remote(th, home, load_relaxed(&th->region->magazines[spare].n));
        if (!magazine_put(th, spare, home, false)) {
                if (drain_magazine(th, spare, 0)) {
                        magazine_place(th, magazine_spare(th, tag), spare);
                        return spare;
                }
                magazine_put(th, spare, home, true); /* held slabs: the clock hand will drain it */
        }
        if (magazine_take_empty(th, tag, &empty) < 0)
                return MAGAZINE_IDX_NONE;
        magazine_place(th, magazine_spare(th, tag), empty);
        return empty;
}

/* Room in the current magazine of a small tag.  MAGAZINE_IDX_NONE: none to be had. */
static uint32_t
ensure_room(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t current = magazine_in(th, magazine_current(th, tag)), spare;

        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        if (current == MAGAZINE_IDX_NONE) {
                if (magazine_take_empty(th, tag, &current) < 0)
                        return MAGAZINE_IDX_NONE;
                magazine_place(th, magazine_current(th, tag), current);
                tcache_publish(t, tag);
                return current;
        }
        if (!is_full(r, current))
                return current;
        spare = magazine_in(th, magazine_spare(th, tag));
        if (spare == MAGAZINE_IDX_NONE) {
                if (magazine_take_empty(th, tag, &spare) < 0)
                        spare = MAGAZINE_IDX_NONE;
                else
                        magazine_place(th, magazine_spare(th, tag), spare);
        } else if (is_full(r, spare)) {
                spare = unload_spare(t, tag, spare);
        }
        if (spare == MAGAZINE_IDX_NONE) {
                drain_magazine(th, current, load_relaxed(&r->magazines[current].cap) / 2);
                return is_full(r, current) ? MAGAZINE_IDX_NONE : current;
        }
        tcache_swap_places(t, tag, current, spare);
        return spare;
}

/* ------------------------------------------------------------------ free */

bool
tcache_free_spare(struct tcache *t, const void *p)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks);
        uint32_t tag, current, spare;

        if (block_off >= t->limit || !tcache_is_quick(t))
                return false;
        tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as in the hit path */
        if (!region_has_small_tag(r, tag))
                return false;
        current = magazine_in(th, magazine_current(th, tag));
        spare = magazine_in(th, magazine_spare(th, tag));
        if (current == MAGAZINE_IDX_NONE || !is_full(r, current) || spare == MAGAZINE_IDX_NONE || is_full(r, spare))
                return false;
        t->n_slow++;
        tcache_swap_places(t, tag, current, spare);
        return tcache_push(t, p);
}

void
tcache_free_slow(struct tcache *t, uint64_t block_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag = TAG_NONE, idx = MAGAZINE_IDX_NONE;
        struct magazine *m;

        tcache_tick(t);
        if (block_off >> GEO_GRANULE_SHIFT < region_granules_hwm(r))
                tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as in the hit path */
        if (region_has_tag(r, tag))
                idx = size_class_is_small(tag_class(tag)) ? ensure_room(t, tag) : ensure_large(t, tag);
        if (idx == MAGAZINE_IDX_NONE) {
                free_block_finally(th, block_off);
                return;
        }
        m = &r->magazines[idx];
        if (is_full(r, idx)) { /* large: make room for the newcomer, which is the warmest */
                if (magazine_holds(m, region_entry(r, block_off))) {
                        fault_note(th, FAULT_DOUBLE_FREE, block_off);
                        return;
                }
                drain_magazine(th, idx, load_relaxed(&m->cap) - 1);
        }
        if (is_full(r, idx)) {
                free_block_finally(th, block_off);
                return;
        }
        store_relaxed(&m->slot[load_relaxed(&m->n)], region_entry(r, block_off));
        kill_order();
        owner_add(&m->n, UINT64_C(1));
        t->limit = tcache_limit(t);
}

bool
tcache_push_from(struct tcache *t, uint64_t block_off, uint64_t dest_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag, idx;

        if (!slab_has_given(r, block_off))
                return false;
        tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as in the hit path */
        if (!region_has_small_tag(r, tag))
                return false;
        idx = magazine_in(th, magazine_current(th, tag));
        if (idx == MAGAZINE_IDX_NONE || is_full(r, idx)) {
                tcache_tick(t);
                idx = ensure_room(t, tag);
        }
        if (idx == MAGAZINE_IDX_NONE)
                return false;
        magazine_push(th, idx, block_off, dest_off); /* PUSH_FROM.1 to .4 */
        t->limit = tcache_limit(t);
        return true;
}

static void
flush_tag(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint32_t *places[2] = {magazine_current(th, tag), magazine_spare(th, tag)};

        for (int i = 0; i < 2; i++) {
                uint32_t idx = magazine_in(th, places[i]);

                if (idx == MAGAZINE_IDX_NONE)
                        continue;
                magazine_pick_up(th, places[i], idx);
                if (!magazine_put(th, idx, magazine_home(th, tag), false)) {
                        drain_magazine(th, idx, 0);
                        magazine_put(th, idx, magazine_home(th, tag), true);
                }
        }
        t->free_at[tag] = 0;
        if (tag_node(tag) == th->node)
                t->malloc_at[tag_class(tag) + 1] = 0;
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
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                flush_tag(t, tag_make(node, class_idx));
}

/* ------------------------------------------------------------------ trim */

/* What other nodes' blocks are collected for is not worth keeping; of the thread's own node, nothing has moved since the
 * last round. */
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

        if (tag_class(tag) >= SIZE_CLASS_N ||
            (current == MAGAZINE_IDX_NONE && magazine_in(th, magazine_spare(th, tag)) == MAGAZINE_IDX_NONE) ||
            !is_idle(t, tag, current))
                return false;
        if (size_class_is_large(tag_class(tag)))
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
