/*
 * find.c - see alloc.h.
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
#include "blocks/fault.h"
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
        TURNS_MAX = 8,            /* while others release something */
        FREE_TRIES_MAX = 1 << 14, /* for a slab that is held */
        FREE_TRIES_REAP = 64,     /* tries after which its holder may well be dead */
        CLOCK_HAND_EVERY = 8      /* calls that need memory per line of granule words that is looked at */
};

enum effort {
        EFFORT_NONE,     /* depots, slabs, runs, a new chunk: where memory is most of the time */
        EFFORT_OWN_BINS, /* this thread's magazines go back to their slabs and runs */
        EFFORT_REAP,     /* the dead are settled */
        EFFORT_DEPOTS,   /* the depots of the node go back, chunks without a block become free */
        EFFORT_PURGE,    /* where there was room but no pages: what is free gives its pages back */
        EFFORT_CHUNKS,   /* what other nodes' arenas do not need of the capacity */
        EFFORT_OTHER_NODES,
        EFFORT_LAST_SCAN, /* no hint is trusted */
        EFFORT_N
};

/* What is being looked for, and where what was found goes. */
struct goal {
        const struct request *request;
        uint32_t empty_idx; /* magazine to fill, or none: one block */
        bool wants_magazine;
        uint32_t found_magazine;
        uint64_t found_block;
};

bool
request_classify(struct request *request)
{
        uint32_t class_idx;

        if (request->align == 0)
                request->align = 1;
        if (!bits_is_pow2(request->align) || request->align > UINT64_C(1) << 30 || request->size > UINT64_C(1) << 46)
                return false;
        request->class_idx = SIZE_CLASS_NONE;
        if (request->size <= GEO_SMALL_MAX && request->align <= GEO_SMALL_MAX) {
                class_idx = size_class_of_aligned(request->size, request->align);
                if (class_idx != SIZE_CLASS_NONE) {
                        request->class_idx = class_idx;
                        return true;
                }
        }
        if (request->size <= GEO_LARGE_MAX && request->align <= GEO_CHUNK_BYTES) {
                class_idx = size_class_of(request->size);
                request->class_idx = class_idx < SIZE_CLASS_N_SMALL ? SIZE_CLASS_N_SMALL : class_idx;
        }
        return true;
}

/* ------------------------------------------------------------------ one arena */

/* The slab is owned: take what the goal wants out of it. */
static int
use_slab(struct thread *t, struct goal *g, uint64_t head)
{
        if (g->wants_magazine && g->empty_idx != MAGAZINE_IDX_NONE) {
                uint32_t cap = size_class_magazine_cap(g->request->class_idx);

                if (slab_fill(t, head, g->empty_idx, cap) == 0)
                        return -ENOMEM;
                g->found_magazine = g->empty_idx;
                return 0;
        }
        g->found_magazine = MAGAZINE_IDX_NONE;
        return slab_alloc_one(t, head, g->request->dest_off, &g->found_block) ? 0 : -ENOMEM;
}

static bool
try_depot(struct thread *t, struct goal *g, uint32_t arena)
{
        uint32_t tag = tag_make(region_arena_node(t->region, arena), g->request->class_idx);

        if (!g->wants_magazine)
                return false;
        return magazine_take_depot(t, arena, tag, &g->found_magazine) ||
               (arena == t->arena && magazine_take_neighbour(t, tag, &g->found_magazine));
}

/* A slab with room, a new slab, or a run of its own: 0, or what was lacking. */
static int
try_runs(struct thread *t, struct goal *g, uint32_t arena, uint64_t chunk)
{
        const struct request *rq = g->request;
        bool is_small = size_class_is_small(rq->class_idx);
        struct where where = {.arena = arena,
                              .chunk = chunk,
                              .need = is_small ? slab_need(rq->class_idx) : large_need(rq->class_idx, rq->align)};
        uint64_t head;
        int err;

        if (!is_small)
                return large_alloc(t, &where, rq->dest_off, &g->found_block);
        if (slab_find_owned(t, &where, &head))
                return use_slab(t, g, head);
        err = slab_create_owned(t, &where, &head);
        return err < 0 ? err : use_slab(t, g, head);
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
try_arena(struct thread *t, struct goal *g, uint32_t arena, bool may_take_chunk)
{
        int err;

        if (!region_arena(t->region, arena) || try_depot(t, g, arena))
                return region_arena(t->region, arena) ? 0 : -ENOMEM;
        err = try_runs(t, g, arena, CHUNK_ANY);
        if (err < 0 && t->lacks_pages && !t->no_grow) { /* what has pages serves all the same; chunks have none */
                t->no_grow = true;
                err = try_runs(t, g, arena, CHUNK_ANY);
        }
        may_take_chunk &= !t->no_grow || !t->lacks_pages;
        for (int tries = 0; err < 0 && may_take_chunk && tries < 4; tries++) { /* others may empty a new chunk first */
                if (chunk_give(t, arena) < 0)
                        break;
                err = try_runs(t, g, arena, CHUNK_ANY);
        }
        return err;
}

/* ------------------------------------------------------------------ all that the request allows */

static int
try_node(struct thread *t, struct goal *g, uint32_t node, uint32_t skip_arena)
{
        uint32_t first = node * t->region->arenas_per_node;

        for (uint32_t i = 0; i < t->region->arenas_per_node; i++)
                if (first + i != skip_arena && try_arena(t, g, first + i, false) == 0)
                        return 0;
        return -ENOMEM;
}

static int
try_local(struct thread *t, struct goal *g)
{
        const struct request *rq = g->request;
        uint32_t node = region_arena_node(t->region, rq->arena);
        int err;

        if (rq->class_idx == SIZE_CLASS_NONE) {
                g->found_magazine = MAGAZINE_IDX_NONE;
                return huge_alloc(t, rq->size, rq->align, node, rq->dest_off, &g->found_block);
        }
        err = try_arena(t, g, rq->arena, true);
        if (err < 0 && !(rq->flags & ALLOC_THIS_ARENA))
                err = try_node(t, g, node, rq->arena);
        return err;
}

static int
try_node_for_one(struct thread *t, struct goal *g, uint32_t node)
{
        struct goal single = {.request = g->request, .empty_idx = MAGAZINE_IDX_NONE};
        const struct request *rq = g->request;
        uint32_t arena = node * t->region->arenas_per_node;
        int err;

        if (rq->class_idx == SIZE_CLASS_NONE)
                /* All nodes have the same chunks: without placement there is no more of them elsewhere. */
                err = t->region->has_numa ? huge_alloc(t, rq->size, rq->align, node, rq->dest_off, &single.found_block)
                                          : -ENOMEM;
        else if ((t->no_grow && !region_arena(t->region, arena)) || arena_init(t->region, arena) < 0)
                err = -ENOMEM;
        else if (try_arena(t, &single, arena, true) == 0)
                err = 0;
        else
                err = try_node(t, &single, node, arena);
        if (err == 0) {
                g->found_magazine = MAGAZINE_IDX_NONE;
                g->found_block = single.found_block;
        }
        return err;
}

static void
count_fallback(struct thread *t, uint32_t wanted_arena, uint32_t node)
{
        struct arena *a = region_arena(t->region, wanted_arena);

        t->fallback_node1 = node + 1;
        owner_add(&t->slot->n_fallback, UINT64_C(1));
        if (a)
                fetch_add_relaxed(&a->n_fallback, UINT64_C(1)); /* a statistic */
}

/* Memory of another node never enters this node's magazines: one block at a time. */
static int
try_other_nodes(struct thread *t, struct goal *g)
{
        const struct request *rq = g->request;
        struct region *r = t->region;
        uint32_t own = region_arena_node(r, rq->arena), node;
        uint64_t tried = (rq->nodes != 0 ? ~rq->nodes : 0) | UINT64_C(1) << own;

        if (rq->flags & (ALLOC_THIS_ARENA | ALLOC_THIS_NODE))
                return -ENOMEM;
        while ((node = placement_next_node(r, own, tried)) != NODE_NONE) {
                tried |= UINT64_C(1) << node;
                if (try_node_for_one(t, g, node) == 0) {
                        count_fallback(t, rq->arena, node);
                        return 0;
                }
        }
        return -ENOMEM;
}

/* ------------------------------------------------------------------ efforts */

static void
drain_own_bins(struct thread *t)
{
        for (uint32_t place = 0; place < 2 * t->region->layout.n_tags; place++) {
                uint32_t idx = magazine_in(t, &t->slot->magazines[place]);

                if (idx != MAGAZINE_IDX_NONE)
                        drain_magazine(t, idx, 0);
        }
}

static void
drain_node(struct thread *t, uint32_t node)
{
        for (uint32_t i = 0; i < t->region->arenas_per_node; i++)
                drain_depots(t, node * t->region->arenas_per_node + i, UINT32_MAX);
}

/* Every magazine in a depot of whatever arena, hinted or not. */
static void
drain_all_depots(struct thread *t)
{
        struct region *r = t->region;

        for (uint32_t node = 0;
             node < NODE_MAX && (uint64_t)node * r->layout.magazines_per_node < r->layout.n[TABLE_MAGAZINES]; node++) {
                uint32_t first = node * r->layout.magazines_per_node, hwm = region_magazines_hwm(r, node);

                for (uint32_t i = 0; i < hwm; i++) {
                        uint64_t word = owner_load(&r->magazine_words[first + i]);

                        if (magazine_state(word) != MAGAZINE_DEPOT || !region_has_tag(r, magazine_tag(word)))
                                continue;
                        if (magazine_take_exactly(t, first + i, magazine_arena(word), magazine_tag(word))) {
                                drain_magazine(t, first + i, 0);
                                magazine_put(t, first + i, magazine_arena(word), true);
                        }
                }
        }
}

static bool
may_be_of(const struct request *rq, uint32_t node)
{
        return rq->nodes == 0 || (node < NODE_MAX && (rq->nodes >> node & 1) != 0);
}

/* Every chunk that the request allows, by its words alone. */
static int
scan_chunks(struct thread *t, struct goal *g)
{
        struct region *r = t->region;
        const struct request *rq = g->request;
        uint32_t own_node = region_arena_node(r, rq->arena);

        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++) {
                struct goal single = {.request = rq, .empty_idx = MAGAZINE_IDX_NONE};
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
                uint32_t arena = chunk_arena(word);
                bool is_local = region_arena_node(r, arena) == own_node;

                if (chunk_state(word) != CHUNK_ARENA || !region_arena(r, arena) ||
                    ((rq->flags & ALLOC_THIS_ARENA) && arena != rq->arena) ||
                    (!is_local && ((rq->flags & ALLOC_THIS_NODE) || !may_be_of(rq, region_arena_node(r, arena)))))
                        continue;
                run_renew_hints(r, chunk);
                if (try_runs(t, &single, arena, chunk) < 0)
                        continue;
                g->found_magazine = MAGAZINE_IDX_NONE;
                g->found_block = single.found_block;
                return 0;
        }
        return -ENOMEM;
}

/* What was refused may be had now. */
static void
may_grow_again(struct thread *t, const struct goal *g)
{
        t->lacks_pages = false;
        t->lacks_node = false;
        t->no_grow = (g->request->flags & ALLOC_NO_GROW) != 0;
}

/* One of the dead may have been in the way of growth (sweep.c). */
static int
reap_and_try(struct thread *t, struct goal *g)
{
        if (slot_reap_all(t->region, reap_settle, t) == 0)
                return -ENOMEM;
        may_grow_again(t, g);
        return try_local(t, g);
}

/* The file system, the machine, or the node is full, and memory of the heap that is free keeps pages in other places or
 * shapes than are wanted.  With decay_ms -1 it is meant to keep them, but for those that may be on the wrong node. */
static int
purge_and_try(struct thread *t, struct goal *g)
{
        bool is_kept = load_relaxed(&t->region->header->decay_ms) < 0;
        bool is_purged = t->lacks_node && decay_make_room(t, region_arena_node(t->region, g->request->arena));

        is_purged |= t->lacks_pages && !is_kept && decay_make_room(t, UINT32_MAX);
        if (!is_purged)
                return -ENOMEM;
        may_grow_again(t, g);
        return try_local(t, g);
}

static void
drain_all(struct thread *t)
{
        drain_all_depots(t);
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(t->region); chunk++)
                slab_tidy_chunk(t, chunk);
}

/* The node has memory, but the heap's chunks are taken: better those that others do not use than memory of theirs. */
static int
retire_and_try(struct thread *t, struct goal *g)
{
        if (t->region->n_nodes == 1 || t->lacks_node || t->lacks_pages || t->no_grow)
                return -ENOMEM;
        drain_all(t);
        return chunk_retire_all(t, UINT32_MAX) == 0 ? -ENOMEM : try_local(t, g);
}

static int
last_scan(struct thread *t, struct goal *g)
{
        int err;

        drain_all(t);
        if (g->request->class_idx != SIZE_CLASS_NONE && scan_chunks(t, g) == 0)
                return 0;
        if (t->no_grow && g->request->class_idx != SIZE_CLASS_NONE)
                return -ENOMEM; /* what goes back to the region now could not be had again without growing */
        if (chunk_retire_all(t, UINT32_MAX) == 0)
                return -ENOMEM;
        err = try_local(t, g);
        return err < 0 ? try_other_nodes(t, g) : 0;
}

static int
make_effort(struct thread *t, struct goal *g, enum effort effort)
{
        switch (effort) {
        case EFFORT_NONE:
                if (++t->n_pursued % CLOCK_HAND_EVERY == 0)
                        granule_clock_hand(t);
                return try_local(t, g);
        case EFFORT_OWN_BINS:
                drain_own_bins(t);
                return try_local(t, g);
        case EFFORT_REAP:
                return reap_and_try(t, g);
        case EFFORT_DEPOTS:
                drain_node(t, region_arena_node(t->region, g->request->arena));
                return try_local(t, g);
        case EFFORT_PURGE:
                return purge_and_try(t, g);
        case EFFORT_CHUNKS:
                return retire_and_try(t, g);
        case EFFORT_OTHER_NODES:
                return try_other_nodes(t, g);
        default:
                return last_scan(t, g);
        }
}

static uint64_t
n_released_by_others(const struct thread *t)
{
        return load_relaxed(&t->region->header->n_released) - t->n_released; /* a hint to try again */
}

static int
pursue(struct thread *t, struct goal *g)
{
        int err = -ENOMEM;

        error_forget_refused(); /* what is refused from here on is why there is no memory */
        for (int turn = 0; turn < TURNS_MAX && err < 0; turn++) {
                uint64_t n_released = 0;

                may_grow_again(t, g);
                for (int effort = EFFORT_NONE; effort < EFFORT_N && err < 0; effort++) {
                        if (effort == EFFORT_LAST_SCAN)
                                n_released = n_released_by_others(t);
                        err = make_effort(t, g, (enum effort)effort);
                        t->no_grow |= t->lacks_pages; /* until a purge, what is not backed would fail again */
                }
                if (err < 0 && n_released == n_released_by_others(t))
                        break;
        }
        t->no_grow = false;
        t->is_strict = false;
        return err < 0 ? -ENOMEM : 0;
}

/* What the caller asks for, within what the heap is for. */
static struct request
request_in(struct thread *t, const struct request *request)
{
        struct request rq = *request;

        if (t->region->numa_policy == OPTIONS_NUMA_STRICT && rq.nodes == 0)
                rq.flags |= ALLOC_THIS_NODE;
        t->is_strict = (rq.flags & (ALLOC_THIS_NODE | ALLOC_THIS_ARENA)) != 0 || rq.nodes != 0;
        t->fallback_node1 = 0;
        return rq;
}

int
alloc_block(struct thread *t, const struct request *request, uint64_t *ret_block_off)
{
        struct request rq = request_in(t, request);
        struct goal g = {.request = &rq, .empty_idx = MAGAZINE_IDX_NONE, .found_magazine = MAGAZINE_IDX_NONE};
        int err = pursue(t, &g);

        if (err == 0)
                *ret_block_off = g.found_block;
        return err;
}

int
alloc_magazine(struct thread *t, const struct request *request, uint32_t empty_idx, uint32_t *ret_magazine,
               uint64_t *ret_block_off)
{
        struct request rq = request_in(t, request);
        struct goal g = {
                .request = &rq, .empty_idx = empty_idx, .wants_magazine = true, .found_magazine = MAGAZINE_IDX_NONE};
        int err = pursue(t, &g);

        if (err == 0) {
                *ret_magazine = g.found_magazine;
                *ret_block_off = g.found_block;
        }
        return err;
}

/* ------------------------------------------------------------------ free */

uint64_t
block_usable(struct region *r, uint64_t block_off, uint32_t *ret_class)
{
        uint64_t head, word;
        uint32_t block_idx;

        if (slab_block_of(r, block_off, &head, &block_idx)) {
                *ret_class = granule_class(owner_load(run_word(r, head)));
                return size_class_is_small(*ret_class) ? size_class_bytes(*ret_class) : 0;
        }
        if (large_block_of(r, block_off, &head, &word)) {
                *ret_class = granule_class(word);
                return size_class_bytes(*ret_class);
        }
        if (huge_block_of(r, block_off, &head, &word)) {
                *ret_class = SIZE_CLASS_NONE;
                return huge_usable(r, head, word);
        }
        return 0;
}

int
free_block(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint64_t head, word;
        uint32_t block_idx;

        if (large_block_of(r, block_off, &head, &word))
                return large_free(t, block_off, dest_off);
        if (slab_block_of(r, block_off, &head, &block_idx))
                return slab_free_one(t, block_off, dest_off);
        if (huge_block_of(r, block_off, &head, &word))
                return huge_free(t, block_off, dest_off);
        return large_free(t, block_off, dest_off);
}

/* A dest that does not name the block any more: its free was somebody else's, and has been finished. */
static bool
is_done(const struct region *r, uint64_t block_off, uint64_t dest_off)
{
        return dest_off != 0 && load_relaxed((const uint64_t *)(const void *)(r->base + dest_off)) !=
                                        r->layout.chunks_off + block_off; /* only the caller and a reaper write it */
}

/* Where no empty magazine is to be had: one of a depot that has room, or is given some. */
static bool
take_roomy(struct thread *t, uint32_t tag, uint32_t *ret_idx)
{
        uint32_t first = tag_node(tag) * t->region->arenas_per_node, cap = size_class_magazine_cap(tag_class(tag));

        for (uint32_t arena = first; arena < first + t->region->arenas_per_node; arena++) {
                if (!magazine_take_depot(t, arena, tag, ret_idx)) /* MAG.1, .2 */
                        continue;
                if (drain_magazine(t, *ret_idx, cap - 1))
                        return true;
                magazine_put(t, *ret_idx, arena, true);
        }
        return false;
}

bool
free_block_aside(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint32_t tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as shfree: the caller was handed it */
        uint32_t idx;

        if (!region_has_small_tag(r, tag))
                return false;
        idx = magazine_in(t, magazine_current(t, tag));
        if (idx != MAGAZINE_IDX_NONE && magazine_has_room(r, idx)) {
                magazine_push(t, idx, block_off, dest_off);
                return true;
        }
        if (magazine_take_empty(t, tag, &idx) < 0 && !take_roomy(t, tag, &idx)) /* MAG.1, .2 */
                return false;
        magazine_push(t, idx, block_off, dest_off);
        magazine_put(t, idx, magazine_home(t, tag), true); /* MAG.3 */
        return true;
}

int
free_block_patiently(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        int err = -EBUSY;

        for (int tries = 0; err == -EBUSY && tries < FREE_TRIES_MAX; tries++) {
                if (is_done(t->region, block_off, dest_off))
                        return 0;
                if (tries == FREE_TRIES_REAP)
                        slot_reap_all(t->region, reap_settle, t);
                else if (tries > FREE_TRIES_REAP && free_block_aside(t, block_off, dest_off))
                        return 0;
                else if (tries > FREE_TRIES_REAP)
                        sched_yield(); /* a courtesy to the holder */
                err = free_block(t, block_off, dest_off);
        }
        if (err == -EINVAL && is_done(t->region, block_off, dest_off)) {
                t->fault.what = FAULT_NONE;
                return 0;
        }
        return err;
}

void
free_block_finally(struct thread *t, uint64_t block_off)
{
        if (free_block_patiently(t, block_off, 0) == -EBUSY)
                fault_note_lost(t, block_off);
}

bool
block_is_home(struct region *r, uint64_t block_off)
{
        uint64_t head;
        uint32_t block_idx;

        /* Of a block that is allocated the bit is 0, whatever the slab's owner does to others of its word. */
        return slab_block_of(r, block_off, &head, &block_idx) &&
               (load_relaxed(region_slab_word(r, head, block_idx / 64)) >> block_idx % 64 & 1);
}

bool
block_is_free_or_cached(struct region *r, uint64_t block_off)
{
        uint32_t tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* below the mark: the caller looked */
        uint64_t head, word;
        uint32_t block_idx;

        if (block_is_home(r, block_off))
                return true;
        if (!slab_block_of(r, block_off, &head, &block_idx) && !large_block_of(r, block_off, &head, &word))
                return false;
        for (uint64_t idx = 0; idx < r->layout.n[TABLE_MAGAZINES]; idx++) {
                uint64_t node_idx = idx / r->layout.magazines_per_node * r->layout.magazines_per_node;

                if (!region_has_magazine(r, idx)) {
                        idx = node_idx + r->layout.magazines_per_node - 1; /* beyond this node's mark */
                        continue;
                }
                if (magazine_tag(owner_load(&r->magazine_words[idx])) == tag &&
                    magazine_holds(&r->magazines[idx], region_entry(r, block_off)))
                        return true;
        }
        return false;
}
