/*
 * rebind.c - a thread that changes nodes.
 *
 * Where a thread runs is asked on its slow paths only.  When two of them in a row have found it on another node than
 * before, its magazines of the old node go home as batches, and it is bound to an arena of the new one.  The magazines
 * of the new node, in which it had collected blocks to send there, are its own from then on.
 *
 * A thread whose node is full, or whose heap is, is served by another node, block by block.  It then is bound to that
 * node as if it had moved there, so that it has magazines again, and tries its own now and then when that has room.
 *
 * Every step is one that attach, flush or bind takes anyway, so a death in between needs no repair of its own: REBIND.n
 * in doc/recovery.md.
 */
#include <string.h>

#include "clients/binding.h"
#include "pages/arena.h"
#include "pages/placement.h"
#include "tcache/tcache.h"

enum {
        ELSEWHERE_MAX = 2,       /* slow calls on another node that are no mere visit */
        RETURN_BYTES = 16 << 20, /* room that its node must have for a thread to come back */
        RETURN_EVERY = 64        /* slow calls between two questions about that */
};

void
tcache_settle_node(struct tcache *t)
{
        t->home_node = placement_node_here(t->thread.region);
        t->n_elsewhere = 0;
        t->is_away = false;
}

/* REBIND.1, .2, .3: magazines of the old node go home, the binding, what the hit paths read.  It is a call of its own,
 * for nothing: what it is done for begins behind it, or has what it wants. */
static void
rebind(struct tcache *t, uint32_t node)
{
        struct thread *th = &t->thread;
        uint32_t old_arena = th->arena;

        call_begin(th, 0, 1, SIZE_CLASS_NONE);
        tcache_flush_node(t, th->node);
        if (arena_bind(th, node) < 0)
                binding_set(th, old_arena); /* no memory for any arena of it: as before */
        memset(th->slab_last, 0, sizeof th->slab_last);
        memset(th->fill_steps, 0, sizeof th->fill_steps);
        memset(t->malloc_at, 0, sizeof t->malloc_at);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_CACHED; class_idx++)
                tcache_publish(t, tag_make(th->node, class_idx));
}

static void
come_back(struct tcache *t)
{
        if (t->n_slow % RETURN_EVERY != 0 || !placement_has_room(t->thread.region, t->home_node, RETURN_BYTES))
                return;
        rebind(t, t->home_node);
        t->is_away = false;
}

void
tcache_follow_node(struct tcache *t)
{
        uint32_t node = placement_node_here(t->thread.region);

        if (node == t->home_node) {
                t->n_elsewhere = 0;
                if (t->is_away)
                        come_back(t);
                return;
        }
        if (++t->n_elsewhere < ELSEWHERE_MAX)
                return;
        if (node != t->thread.node)
                rebind(t, node);
        tcache_settle_node(t);
}

void
tcache_count_away(struct tcache *t, uint64_t n_blocks)
{
        struct arena *wanted = region_arena(t->thread.region, t->home_node * t->thread.region->arenas_per_node);

        owner_add(&t->thread.slot->n_fallback, n_blocks);
        if (wanted)
                fetch_add_relaxed(&wanted->n_fallback, n_blocks); /* a statistic */
}

void
tcache_follow_fallback(struct tcache *t)
{
        uint32_t node = t->thread.call.fallback_node1 - 1;

        if (!t->thread.region->has_numa)
                return;
        rebind(t, node);
        t->is_away = true;
}
