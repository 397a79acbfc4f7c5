/*
 * binding.c - the least-load rule.
 *
 * There are no counters to be left wrong by a death: the load of an arena is counted from the dense array of
 * bindings each time, without those whose thread is marked as dead.
 *
 * Two binders that count at the same time would choose the same arena.  So each stores its choice first and then moves
 * the node's version on from what it was before the count.  If that fails, somebody else has bound meanwhile: the
 * choice is counted again, with that one in it.
 *
 * BIND                                     a death after it leaves                          settled by
 *   .1 read the node's version, count      nothing
 *   .2 binding := ARENA(a)                 a binding of a dead thread, which does not count REAP
 *   .3 version + 1, if it has not moved    the same                                         REAP
 *
 * What this gave up: the count is exact only when .3 succeeds, and it is tried three times.
 */
#include "clients/binding.h"

#include <errno.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/owned.h"
#include "clients/slot.h"

enum { BINDING_TRIES = 3, BINDING_ARENAS_MAX = 64 };

/* Threads per arena of the node, but for slot `self_idx`. */
static void
binding_count(const struct region *r, uint32_t node, uint32_t self_idx, uint32_t load[BINDING_ARENAS_MAX])
{
        uint32_t first = node * r->arenas_per_node;
        uint32_t hwm = region_threads_hwm(r);

        ASSERT(node * r->arenas_per_node < r->layout.n_arenas && r->arenas_per_node <= BINDING_ARENAS_MAX);
        for (uint32_t a = 0; a < BINDING_ARENAS_MAX; a++)
                load[a] = 0;
        for (uint32_t idx = 0; idx < hwm; idx++) {
                uint32_t binding = load_relaxed(&r->bindings[idx]); /* a hint: BIND.3 tells whether it held */
                uint32_t a =
                        (binding & ~BINDING_USED) - 1 - first; /* far out: another node's, none, or a reserve slot */

                if (idx != self_idx && a < r->arenas_per_node && !slot_thread_is_dead_hint(r, idx))
                        load[a]++;
        }
}

uint32_t
binding_count_all(const struct region *r)
{
        uint32_t hwm = region_threads_hwm(r), n = 0;

        for (uint32_t idx = 0; idx < hwm; idx++)
                n += (load_relaxed(&r->bindings[idx]) & (BINDING_USED | BINDING_RESERVE)) == BINDING_USED; /* a hint */
        return n;
}

/* Zero load before uninitialised before least load. */
static uint32_t
binding_pick(const struct region *r, uint32_t node, const uint32_t load[BINDING_ARENAS_MAX])
{
        uint32_t first = node * r->arenas_per_node;
        uint32_t uninit = r->arenas_per_node, least = 0;

        ASSERT(node * r->arenas_per_node < r->layout.n_arenas);
        for (uint32_t a = 0; a < r->arenas_per_node; a++) {
                bool is_ready = load_relaxed(&r->arena_words[first + a]) == ARENA_READY; /* who uses it checks */

                if (load[a] == 0 && is_ready)
                        return first + a;
                if (load[a] == 0 && uninit == r->arenas_per_node)
                        uninit = a;
                if (load[a] < load[least])
                        least = a;
        }
        return first + (uninit < r->arenas_per_node ? uninit : least);
}

/* BIND.2 */
static void
binding_store(const struct thread *t, uint32_t arena)
{
        uint32_t *binding = &t->region->bindings[t->no - 1];

        ASSERT(arena < t->region->layout.n_arenas && t->no != THREAD_NONE);
        if ((load_relaxed(binding) & BINDING_RESERVE) == 0)
                store_relaxed(binding, BINDING_ARENA(arena));
}

int
binding_choose(struct thread *t, uint32_t node)
{
        struct region *r = t->region;
        uint32_t load[BINDING_ARENAS_MAX];
        uint64_t version;
        uint32_t arena;

        ASSERT(t->slot != NULL && t->no != THREAD_NONE);
        if (node >= NODE_MAX || (uint64_t)(node + 1) * r->arenas_per_node > r->layout.n_arenas ||
            r->arenas_per_node > BINDING_ARENAS_MAX)
                return error_set(-EINVAL, "cannot bind a thread to an arena: this heap has no node %u", node);
        for (int i = 0; i < BINDING_TRIES; i++) {
                /* BIND.1.  E9.acq: the bindings of all who moved the version before. */
                version = load_acquire(&r->header->node_version[node]);
                binding_count(r, node, t->no - 1, load);
                arena = binding_pick(r, node, load);
                binding_store(t, arena);
                /* E9.rel: who reads the new version counts this binding. */
                if (cas_acq_rel(&r->header->node_version[node], &version, version + 1)) /* BIND.3 */
                        break;
        }
        t->arena = arena;
        t->node = node;
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        return 0;
}

void
binding_set(struct thread *t, uint32_t arena)
{
        ASSERT(arena < t->region->layout.n_arenas);
        binding_store(t, arena);
        t->arena = arena;
        t->node = region_arena_node(t->region, arena);
}
