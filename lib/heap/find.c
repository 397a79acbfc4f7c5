/*
 * find.c - see find.h.
 *
 * One loop escalates: each turn makes one more effort to free memory (look harder, empty the own magazines, reap the
 * dead, drain depots, give pages back that lie in the wrong place, take chunks back, trust no hint) and then tries the
 * same short list of places again.  Before NULL it starts over, a bounded number of times, while somebody else released
 * something since it looked.
 *
 * Nothing here is owned between two steps but the thread's magazines, so a death in between needs no repair.
 */
#include "heap/find.h"

#include <errno.h>
#include <sched.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/size_class.h"
#include "blocks/drain.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "pages/hint.h"
#include "pages/placement.h"
#include "pages/run.h"
#include "region/options.h"

enum {
        TURNS_MAX = 8,       /* while others release something */
        CLOCK_HAND_EVERY = 8 /* calls that need memory per line of granule words that is looked at */
};

enum effort {
        EFFORT_NONE,      /* depots, slabs, runs, a new chunk: where memory is most of the time */
        EFFORT_MAGAZINES, /* the blocks in this thread's magazines go home */
        EFFORT_REAP,      /* the dead are settled */
        EFFORT_DEPOTS,    /* the blocks in the depots of the node go home */
        EFFORT_PURGE,     /* if pages were lacking: free memory gives up those that it keeps */
        EFFORT_CHUNKS,    /* chunks without a block are taken back from whatever arena has them */
        EFFORT_OTHER_NODES,
        EFFORT_LAST_SCAN, /* no hint is trusted */
        EFFORT_N
};

/* ------------------------------------------------------------------ one arena */

/* A slab with room, a new slab, or a run of its own: 0, or what was lacking. */
static int
try_runs(struct thread *t, uint32_t arena, uint64_t chunk)
{
        struct call *c = &t->call;
        bool is_small = size_class_is_small(c->class_idx);
        struct where where = {.arena = arena,
                              .chunk = chunk,
                              .need = is_small ? slab_need(c->class_idx) : large_need(c->class_idx, c->align)};

        return is_small ? slab_take(t, &where) : large_alloc(t, &where, c->dest_off, &c->found_off);
}

/* One line of the granule words of the arena's turn: what lies free there without a hint gets one. */
static void
granule_clock_hand(struct thread *t)
{
        struct region *r = t->region;
        struct arena *a = region_arena(r, t->arena);
        uint64_t n = region_granules_hwm(r), hand, first;

        if (!a || n == 0)
                return;
        hand = load_relaxed(&a->granule_hand); /* a hint: two threads may look at the same line */
        store_relaxed(&a->granule_hand, hand + 8);
        first = bits_align_down(hand % n, 8); /* a line is of one chunk */
        for (uint64_t granule = first; granule < first + 8; granule++) {
                uint64_t word = owner_load(run_word(r, granule));

                if (granule_state(word) == GRANULE_SLAB && granule_count(word) > 0)
                        hint_set(r, granule_arena(word), granule_class(word) % HINT_N_KINDS,
                                 granule / GEO_GRANULES_PER_CHUNK);
        }
        run_hint_lost(r, first, 8);
        chunk_hint_lost(r, first / GEO_GRANULES_PER_CHUNK);
}

static int
try_arena(struct thread *t, uint32_t arena, bool may_take_chunk)
{
        struct call *c = &t->call;
        int err;

        if (!region_arena(t->region, arena))
                return -ENOMEM;
        if (c->wants_magazine && magazine_take(t, arena, c->class_idx, &c->found_idx))
                return 0;
        err = try_runs(t, arena, CHUNK_ANY);
        if (err < 0 && c->lacks_pages && !c->no_grow) { /* what has pages serves all the same; chunks have none */
                c->no_grow = true;
                err = try_runs(t, arena, CHUNK_ANY);
        }
        may_take_chunk &= !c->no_grow || !c->lacks_pages;
        for (int tries = 0; err < 0 && may_take_chunk && tries < 4; tries++) { /* others may empty a new chunk first */
                if (chunk_give(t, arena) < 0)
                        break;
                err = try_runs(t, arena, CHUNK_ANY);
        }
        return err;
}

/* ------------------------------------------------------------------ all that the call allows */

static int
try_node(struct thread *t, uint32_t node, uint32_t skip_arena)
{
        uint32_t first = node * t->region->arenas_per_node;

        for (uint32_t i = 0; i < t->region->arenas_per_node; i++)
                if (first + i != skip_arena && try_arena(t, first + i, false) == 0)
                        return 0;
        return -ENOMEM;
}

static int
try_local(struct thread *t)
{
        struct call *c = &t->call;
        uint32_t node = region_arena_node(t->region, c->arena);
        int err;

        if (c->class_idx == SIZE_CLASS_NONE)
                return huge_alloc(t, c->size, c->align, node, c->dest_off, &c->found_off);
        err = try_arena(t, c->arena, true);
        if (err < 0 && !(c->flags & CALL_THIS_ARENA))
                err = try_node(t, node, c->arena);
        return err;
}

static int
try_other_node(struct thread *t, uint32_t node)
{
        struct call *c = &t->call;
        uint32_t arena = node * t->region->arenas_per_node;
        int err;

        if (c->class_idx == SIZE_CLASS_NONE)
                /* All nodes have the same chunks: without placement there is no more of them elsewhere. */
                return t->region->has_numa ? huge_alloc(t, c->size, c->align, node, c->dest_off, &c->found_off)
                                           : -ENOMEM;
        if ((c->no_grow && !region_arena(t->region, arena)) || arena_init(t->region, arena) < 0)
                return -ENOMEM;
        err = try_arena(t, arena, true);
        return err < 0 ? try_node(t, node, arena) : 0;
}

static void
count_fallback(struct thread *t, uint32_t node)
{
        struct arena *a = region_arena(t->region, t->call.arena);

        t->call.fallback_node1 = node + 1;
        owner_add(&t->slot->n_fallback, UINT64_C(1));
        if (a)
                fetch_add_relaxed(&a->n_fallback, UINT64_C(1)); /* a statistic */
}

/* Memory of another node never enters this node's magazines: one block at a time. */
static int
try_other_nodes(struct thread *t)
{
        struct call *c = &t->call;
        struct region *r = t->region;
        uint32_t own = region_arena_node(r, c->arena), node;
        uint64_t tried = (c->nodes != 0 ? ~c->nodes : 0) | UINT64_C(1) << own;
        bool wants_magazine = c->wants_magazine;
        int err = -ENOMEM;

        if (c->flags & (CALL_THIS_ARENA | CALL_THIS_NODE))
                return -ENOMEM;
        c->wants_magazine = false;
        while (err < 0 && (node = placement_next_node(r, own, tried)) != NODE_NONE) {
                tried |= UINT64_C(1) << node;
                err = try_other_node(t, node);
                if (err == 0)
                        count_fallback(t, node);
        }
        c->wants_magazine = wants_magazine;
        return err;
}

/* ------------------------------------------------------------------ efforts */

static bool
may_be_of(const struct call *c, uint32_t node)
{
        return c->nodes == 0 || (node < NODE_MAX && (c->nodes >> node & 1) != 0);
}

/* Every chunk that the request allows, by its words alone. */
static int
scan_chunks(struct thread *t)
{
        struct region *r = t->region;
        struct call *c = &t->call;
        uint32_t own_node = region_arena_node(r, c->arena);
        bool wants_magazine = c->wants_magazine;
        int err = -ENOMEM;

        c->wants_magazine = false; /* what is left is scattered: one block */
        for (uint64_t chunk = 0; err < 0 && chunk < region_chunks_hwm(r); chunk++) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
                uint32_t arena = chunk_arena(word);
                bool is_local = region_arena_node(r, arena) == own_node;

                if (chunk_state(word) != CHUNK_ARENA || !region_arena(r, arena) ||
                    ((c->flags & CALL_THIS_ARENA) && arena != c->arena) ||
                    (!is_local && ((c->flags & CALL_THIS_NODE) || !may_be_of(c, region_arena_node(r, arena)))))
                        continue;
                run_renew_hints(r, chunk);
                err = try_runs(t, arena, chunk);
        }
        c->wants_magazine = wants_magazine;
        return err;
}

/* What was refused may be had now. */
static void
may_grow_again(struct thread *t)
{
        t->call.lacks_pages = false;
        t->call.lacks_node = false;
        t->call.no_grow = (t->call.flags & CALL_NO_GROW) != 0;
}

/* What the dead had under construction, and nobody could free where it belongs, has been put aside
 * (free_block_aside()): into the very magazine that is to be filled, if that is of its class. */
static bool
is_filled(const struct thread *t)
{
        const struct call *c = &t->call;

        return c->wants_magazine && c->empty_idx != MAGAZINE_IDX_NONE &&
               load_relaxed(&t->region->magazines[c->empty_idx].n) > 0; /* our own */
}

/* One of the dead may have been in the way of growth (sweep.c). */
static int
reap_and_try(struct thread *t)
{
        if (slot_reap_all(t->region, reap_settle, t) == 0)
                return -ENOMEM;
        if (is_filled(t)) {
                t->call.found_idx = t->call.empty_idx;
                return 0;
        }
        may_grow_again(t);
        return try_local(t);
}

/* The file system, the machine, or the node has no more pages.  Free memory of the heap has some, where they are of no
 * use for this call: it gives them up.  With decay_ms -1 it keeps them, but for those that may lie on the wrong
 * node. */
static int
purge_and_try(struct thread *t)
{
        bool is_kept = load_relaxed(&t->region->header->decay_ms) < 0;
        bool is_purged = t->call.lacks_node && decay_make_room(t, region_arena_node(t->region, t->call.arena));

        is_purged |= t->call.lacks_pages && !is_kept && decay_make_room(t, UINT32_MAX);
        if (!is_purged)
                return -ENOMEM;
        may_grow_again(t);
        return try_local(t);
}

static void
drain_all(struct thread *t)
{
        drain_all_depots(t, NODE_NONE);
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(t->region); chunk++)
                slab_tidy_chunk(t, chunk);
}

/* The node has memory, but the heap's chunks are taken: better those that others do not use than memory of theirs. */
static int
retire_and_try(struct thread *t)
{
        if (t->region->n_nodes == 1 || t->call.lacks_node || t->call.lacks_pages || t->call.no_grow)
                return -ENOMEM;
        drain_all(t); /* huge blocks among them: then there are chunks, even if none is retired */
        (void)chunk_retire_all(t, UINT32_MAX);
        return try_local(t);
}

static int
last_scan(struct thread *t)
{
        int err;

        drain_all(t);
        if (t->call.class_idx != SIZE_CLASS_NONE && scan_chunks(t) == 0)
                return 0;
        if (t->call.no_grow && t->call.class_idx != SIZE_CLASS_NONE)
                return -ENOMEM; /* what goes back to the region now could not be had again without growing */
        (void)chunk_retire_all(t, UINT32_MAX); /* none, perhaps: but huge blocks have gone home */
        err = try_local(t);
        return err < 0 ? try_other_nodes(t) : 0;
}

static int
make_effort(struct thread *t, enum effort effort)
{
        switch (effort) {
        case EFFORT_NONE:
                if (++t->n_pursued % CLOCK_HAND_EVERY == 0)
                        granule_clock_hand(t);
                return try_local(t);
        case EFFORT_MAGAZINES:
                drain_own(t);
                return try_local(t);
        case EFFORT_REAP:
                return reap_and_try(t);
        case EFFORT_DEPOTS:
                drain_node(t, region_arena_node(t->region, t->call.arena));
                return try_local(t);
        case EFFORT_PURGE:
                return purge_and_try(t);
        case EFFORT_CHUNKS:
                return retire_and_try(t);
        case EFFORT_OTHER_NODES:
                return try_other_nodes(t);
        default:
                return last_scan(t);
        }
}

static uint64_t
n_released_by_others(const struct thread *t)
{
        return load_relaxed(&t->region->header->n_released) - t->n_released; /* a hint to try again */
}

/* With what the call has asked for, within what the heap is for. */
static int
pursue(struct thread *t)
{
        struct call *c = &t->call;
        int err = -ENOMEM;

        if (t->region->numa_policy == OPTIONS_NUMA_STRICT && c->nodes == 0)
                c->flags |= CALL_THIS_NODE;
        c->found_idx = MAGAZINE_IDX_NONE;
        c->fallback_node1 = 0;
        error_forget_refused(); /* what is refused from here on is why there is no memory */
        for (int turn = 0; turn < TURNS_MAX && err < 0; turn++) {
                uint64_t n_released = 0;

                may_grow_again(t);
                for (int effort = EFFORT_NONE; effort < EFFORT_N && err < 0; effort++) {
                        if (effort == EFFORT_LAST_SCAN)
                                n_released = n_released_by_others(t);
                        err = make_effort(t, (enum effort)effort);
                        c->no_grow |= c->lacks_pages; /* until a purge, what is not backed would fail again */
                }
                if (err < 0 && n_released == n_released_by_others(t))
                        break;
        }
        c->no_grow = false; /* for what else the call does */
        return err < 0 ? -ENOMEM : 0;
}

int
find_block(struct thread *t)
{
        t->call.wants_magazine = false;
        return pursue(t);
}

int
find_magazine(struct thread *t, uint32_t empty_idx)
{
        t->call.wants_magazine = true;
        t->call.empty_idx = empty_idx;
        return pursue(t);
}
