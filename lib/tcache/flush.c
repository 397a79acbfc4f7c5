/*
 * flush.c - the slow path of free: room in a magazine for one more block.
 *
 * A full magazine makes way for an empty one: the spare, or one from the pool, while the older of the two goes to the
 * depot of its home arena.  Where that is crowded, its blocks go into their slabs.  Large runs have no spare and no
 * depot: what all threads together may cache of them is a part of the heap (decision 10), within which magazines grow.
 */
#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "blocks/slab_pages.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "heap/free.h"
#include "tcache/tcache.h"

static bool
is_full(struct region *r, uint32_t idx)
{
        return load_relaxed(&r->magazines[idx].n) >= load_relaxed(&r->magazines[idx].cap);
}

/* ------------------------------------------------------------------ large, huge */

/* A magazine for a large or huge class, within the bound on what the thread may cache. */
static uint32_t
ensure_whole(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        uint64_t bytes = tcache_run_bytes(tag_class(tag));
        uint32_t idx = magazine_in(th, magazine_current(th, tag));

        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        ASSERT(!size_class_is_small(tag_class(tag)));
        if (idx != MAGAZINE_IDX_NONE)
                return idx;
        if (!tcache_make_room(t, bytes) || magazine_take_empty(th, tag, &idx) < 0)
                return MAGAZINE_IDX_NONE;
        t->run_bytes_max += bytes;
        magazine_place(th, magazine_current(th, tag), idx);
        tcache_publish(t, tag);
        return idx;
}

/* How many blocks of a full magazine stay to make room: of one that has grown a quarter goes, since all of it is looked
 * at each time. */
static uint64_t
keep_of(uint64_t cap)
{
        ASSERT(cap >= 1 && cap <= MAGAZINE_CAP_MAX);
        return cap - (cap >= 4 ? cap / 4 : 1);
}

/* ------------------------------------------------------------------ small */

static void
count_remote(struct thread *th, uint32_t tag, uint64_t n_blocks)
{
        struct arena *a = region_arena(th->region, magazine_home(th, tag));

        ASSERT(tag_node(tag) != th->node && n_blocks <= MAGAZINE_CAP_MAX);
        owner_add(&th->slot->n_remote_free, n_blocks);
        if (a)
                fetch_add_relaxed(&a->n_remote_free, n_blocks); /* a statistic */
}

/* Room in the current magazine of a small tag.  MAGAZINE_IDX_NONE: none to be had, or the block goes past them. */
static uint32_t
ensure_room(struct tcache *t, uint32_t tag)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t current, spare;

        ASSERT(size_class_is_small(tag_class(tag)));
        if (!tcache_has_magazine(t, tag) && slab_free_goes_past(th, tag_class(tag)))
                return MAGAZINE_IDX_NONE;
        current = tcache_ensure_current(t, tag);
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        if (current == MAGAZINE_IDX_NONE || !is_full(r, current))
                return current;
        spare = magazine_in(th, magazine_spare(th, tag));
        if (spare == MAGAZINE_IDX_NONE) {
                if (magazine_take_empty(th, tag, &spare) < 0)
                        spare = MAGAZINE_IDX_NONE;
                else
                        magazine_place(th, magazine_spare(th, tag), spare);
        } else if (is_full(r, spare)) {
                if (tag_node(tag) != th->node)
                        count_remote(th, tag, load_relaxed(&r->magazines[spare].n));
                spare = drain_unload(th, magazine_spare(th, tag), spare, tag);
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

/* The tag of the magazines that may have the block; TAG_NONE: none may, or it is no block. */
static uint32_t
tag_of(const struct region *r, uint64_t block_off)
{
        uint32_t tag;

        if (block_off >> GEO_GRANULE_SHIFT >= region_granules_hwm(r))
                return TAG_NONE;
        tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as in the hit path */
        if (tag == TAG_NONE)
                return huge_tag(r, block_off);
        return region_has_tag(r, tag) && !size_class_is_huge(tag_class(tag)) ? tag : TAG_NONE;
}

void
tcache_free_slow(struct tcache *t, uint64_t block_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag, idx = MAGAZINE_IDX_NONE;
        struct magazine *m;

        tcache_tick(t);
        tag = tag_of(r, block_off);
        if (tag != TAG_NONE)
                idx = size_class_is_small(tag_class(tag)) ? ensure_room(t, tag) : ensure_whole(t, tag);
        if (idx == MAGAZINE_IDX_NONE) {
                free_block_finally(th, block_off);
                return;
        }
        m = &r->magazines[idx];
        if ((is_full(r, idx) || size_class_is_huge(tag_class(tag))) && magazine_holds(m, region_entry(r, block_off))) {
                fault_note(th, FAULT_DOUBLE_FREE, block_off);
                return;
        }
        if (is_full(r, idx)) { /* large or huge: room for the newcomer, which is the warmest */
                if (!tcache_grow(t, tag, idx))
                        drain_magazine(th, idx, keep_of(load_relaxed(&m->cap)));
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
tcache_free(struct tcache *t, const void *p)
{
        if (tcache_free_spare(t, p))
                return true;
        if (!tcache_is_plain(t))
                return false;
        call_begin(&t->thread, 0, 1, SIZE_CLASS_NONE);
        tcache_free_slow(t, (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks));
        return true;
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
