/*
 * flags.c - see flags.h.
 *
 * The upper bits name a node (plus 1), an arena (plus 1), or with the bit of SHA_NODES a mask of nodes.  Two nodes that
 * no heap has stand for the one that the thread runs on, and for all of them by turns.
 */
#include "api/flags.h"

#include <errno.h>

#include "base/error.h"
#include "pages/placement.h"

#define FLAGS_KNOWN                                                                                                    \
        (FLAGS_LG_ALIGN_MASK | SHA_ZERO | SHA_TCACHE_NONE | SHA_NOGROW | SHA_NODES(0xfffff) | SHA_NODE(0xfe) |         \
         SHA_ARENA(0xffe))
#define FLAG_NODES   SHA_NODES(0)                  /* the upper bits are a mask of nodes */
#define NODE_LOCAL1  (SHA_NODE_LOCAL >> 12 & 0xff) /* in the place of a node + 1 */
#define NODE_SPREAD1 (SHA_NODE_SPREAD >> 12 & 0xff)

static unsigned
flags_node1(unsigned flags)
{
        return flags & FLAG_NODES ? 0 : flags >> 12 & 0xff;
}

static unsigned
flags_arena1(unsigned flags)
{
        return flags & FLAG_NODES ? 0 : flags >> 20 & 0xfff;
}

/* Nodes that the heap does not have are no mistake as long as there is one that it has. */
static uint64_t
flags_nodes(const struct region *r, unsigned flags)
{
        return flags & FLAG_NODES ? (flags >> 12) & (UINT64_MAX >> (64 - region_system_nodes(r))) : 0;
}

bool
flags_are_valid(const struct shheap *h, unsigned flags)
{
        const struct region *r = &h->region;
        unsigned node1 = flags_node1(flags), arena1 = flags_arena1(flags);

        if ((flags & ~FLAGS_KNOWN) != 0 || (flags & FLAGS_LG_ALIGN_MASK) > FLAGS_LG_ALIGN_MAX ||
            arena1 > r->layout.n_arenas || ((flags & FLAG_NODES) && flags_nodes(r, flags) == 0))
                return false;
        if (node1 == NODE_LOCAL1 || node1 == NODE_SPREAD1)
                return arena1 == 0;
        if (node1 > region_system_nodes(r))
                return false;
        return node1 == 0 || arena1 == 0 || region_arena_node(r, arena1 - 1) == node1 - 1;
}

bool
flags_check(const struct shheap *h, unsigned flags, const char *operation)
{
        if (flags_are_valid(h, flags))
                return true;
        errno = -error_set(-EINVAL, "%s: flags %#x: unknown ones, or no such alignment, node or arena", operation,
                           flags);
        return false;
}

size_t
flags_align(unsigned flags)
{
        return (size_t)1 << (flags & FLAGS_LG_ALIGN_MASK);
}

/* Starts with an arena of that node: the thread's own if it is its node's. */
static void
start_on_node(struct thread *t, uint32_t node)
{
        t->call.arena = node == t->node ? t->arena : node * t->region->arenas_per_node;
}

void
flags_to_call(struct thread *t, unsigned flags)
{
        const struct region *r = t->region;
        struct call *c = &t->call;
        unsigned node1 = flags_node1(flags);
        uint64_t nodes = flags_nodes(r, flags);

        if (flags & SHA_NOGROW)
                c->flags |= CALL_NO_GROW;
        if (flags & SHA_TCACHE_NONE)
                c->flags |= CALL_NO_MAGAZINE;
        if (nodes != 0) {
                uint32_t node = placement_next_node(r, placement_node_here(r), ~nodes);

                start_on_node(t, node != NODE_NONE ? node : (uint32_t)__builtin_ctzll(nodes));
                c->nodes = nodes;
                c->flags |= CALL_NO_MAGAZINE;
        } else if (node1 == NODE_SPREAD1 && r->layout.spread_node != NODE_NONE) {
                start_on_node(t, r->layout.spread_node);
                c->flags |= CALL_NO_MAGAZINE;
        } else if (node1 != 0 && node1 != NODE_SPREAD1) {
                start_on_node(t, node1 == NODE_LOCAL1 ? placement_node_here(r) : node1 - 1);
                c->flags |= CALL_THIS_NODE | CALL_NO_MAGAZINE;
        }
        if (flags_arena1(flags) != 0) {
                c->arena = flags_arena1(flags) - 1;
                c->flags |= CALL_THIS_ARENA | CALL_NO_MAGAZINE;
        }
}

bool
flags_are_possible(const struct thread *t, const char *operation)
{
        const struct region *r = t->region;
        const struct call *c = &t->call;
        uint32_t node = region_arena_node(r, c->arena);

        if (!(c->flags & (CALL_THIS_NODE | CALL_THIS_ARENA)) && c->nodes == 0)
                return true;
        if (placement_is_possible(r, node))
                return true;
        errno = -error_set(-ENODEV, "%s: node %u is offline, has no memory, or is not in this process's cpuset",
                           operation, node);
        return false;
}

/* ------------------------------------------------------------------ the macros, as functions */

unsigned
shheap_flag_lg_align(unsigned la)
{
        return SHA_LG_ALIGN(la);
}

unsigned
shheap_flag_align(size_t align)
{
        return align != 0 ? SHA_ALIGN(align) : FLAGS_LG_ALIGN_MASK; /* which is refused, as what it is */
}

unsigned
shheap_flag_node(unsigned node)
{
        return SHA_NODE(node);
}

unsigned
shheap_flag_nodes(uint64_t mask)
{
        return SHA_NODES(mask);
}

unsigned
shheap_flag_arena(unsigned arena)
{
        return SHA_ARENA(arena);
}
