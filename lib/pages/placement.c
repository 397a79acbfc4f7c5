/*
 * placement.c - see placement.h.
 *
 * A chunk is bound to the node of its arena before its first page exists, as a property of the file; from then on it
 * does not matter which process touches a page first.  The policy is to prefer that node, never to insist: a page
 * fault that may use one node only makes the kernel kill processes when it is full.  So whether the node has memory
 * is asked before pages are taken from it, and who is strict looks afterwards where they came from.
 *
 * The chunk word notes the node, 0 while that is being changed: whoever finds 0 knows nothing of the policy, and binds.
 *
 * How much a node has free costs a few system calls to learn.  So an answer stands for a while, and for a part of the
 * bytes that it named; where there is little left, each question is asked.
 *
 * A heap of one node, and one without a file, needs no binding: the nodes of its chunks are noted, and that is all.
 */
#include "pages/placement.h"

#include <errno.h>

#include "base/verify.h"
#include "clients/owner.h"
#include "os/clock.h"
#include "os/numa.h"
#include "pages/run.h"
#include "pages/valid.h"
#include "region/options.h"

enum { ANSWER_MS = 50 };

/* What this process learnt last of each node.  Hints: threads may overwrite each other's. */
static struct answer {
        uint64_t until_ms;
        uint64_t bytes; /* that may be taken before the next question */
} answers[NODE_MAX];

static uint64_t allowed; /* nodes that our cpuset has; 0 = not asked yet */

static uint64_t
bit(uint32_t node)
{
        return node < 64 ? UINT64_C(1) << node : 0;
}

static uint64_t
allowed_ask(void)
{
        uint64_t mask = os_numa_allowed();

        store_relaxed(&allowed, mask);
        return mask;
}

static uint64_t
allowed_lately(void)
{
        uint64_t mask = load_relaxed(&allowed);

#if SHM_DEBUG
        if (os_numa_fake)
                return os_numa_allowed();
#endif
        return mask != 0 ? mask : allowed_ask();
}

/* ------------------------------------------------------------------ nodes */

/* Nodes of the heap with memory for this process. */
static uint64_t
possible_nodes(const struct region *r)
{
        uint64_t all = UINT64_MAX >> (64 - region_system_nodes(r));

        return r->has_numa ? all & os_numa()->with_memory & allowed_lately() : all;
}

bool
placement_is_possible(const struct region *r, uint32_t node)
{
        return node == r->layout.spread_node || (possible_nodes(r) & bit(node)) != 0;
}

/* Of the set, the one nearest to `from`; the lowest of equals. */
static uint32_t
nearest(uint64_t set, uint32_t from)
{
        const struct os_numa *m = os_numa();
        uint32_t best = NODE_NONE, best_distance = UINT32_MAX;

        for (; set != 0; set &= set - 1) {
                uint32_t node = (uint32_t)__builtin_ctzll(set);
                uint32_t distance = from < OS_NODES_MAX && node < OS_NODES_MAX ? m->distance[from][node] : 0;

                if (distance < best_distance) {
                        best = node;
                        best_distance = distance;
                }
        }
        return best;
}

uint32_t
placement_next_node(const struct region *r, uint32_t node, uint64_t without)
{
        uint64_t set = possible_nodes(r) & ~without;

        ASSERT(r->n_nodes <= NODE_MAX);
        if (node >= region_system_nodes(r))
                node = os_numa_here();
        if (r->has_numa && (set & r->numa_nodes) != 0)
                set &= r->numa_nodes;
        return set & bit(node) ? node : nearest(set, node);
}

uint32_t
placement_node_here(const struct region *r)
{
        uint32_t node;

        if (r->n_nodes == 1)
                return 0;
        if (r->layout.spread_node != NODE_NONE && r->numa_policy == OPTIONS_NUMA_INTERLEAVE)
                return r->layout.spread_node;
        node = placement_next_node(r, os_numa_here(), 0);
        ASSERT(node == NODE_NONE || node < r->n_nodes);
        return node != NODE_NONE ? node : 0;
}

bool
placement_is_strict(const struct thread *t)
{
        return (t->call.flags & (CALL_THIS_NODE | CALL_THIS_ARENA)) != 0 || t->call.nodes != 0 ||
               t->region->numa_policy == OPTIONS_NUMA_STRICT;
}

/* ------------------------------------------------------------------ room */

static bool
answer_stands(struct answer *a, uint64_t now_ms, uint64_t bytes)
{
        uint64_t left = load_relaxed(&a->bytes), until_ms = load_relaxed(&a->until_ms);

        ASSERT(a >= answers && a < answers + NODE_MAX);
#if SHM_DEBUG
        if (os_numa_fake)
                return false;
#endif
        if (now_ms >= until_ms || left < bytes)
                return false;
        store_relaxed(&a->bytes, left - bytes);
        return true;
}

bool
placement_has_room(const struct region *r, uint32_t node, uint64_t bytes)
{
        uint64_t now_ms, free_bytes;

        if (!r->has_numa || node == r->layout.spread_node || node >= NODE_MAX)
                return true;
        now_ms = clock_ms();
        if (answer_stands(&answers[node], now_ms, bytes))
                return true;
        allowed_ask();
        free_bytes = placement_is_possible(r, node) ? os_numa_free_bytes(node) : 0;
        store_relaxed(&answers[node].bytes, free_bytes / 4);
        store_relaxed(&answers[node].until_ms, now_ms + ANSWER_MS);
        return free_bytes > 0 && free_bytes >= bytes;
}

static uint32_t
node_of_chunk(const struct region *r, uint64_t chunk)
{
        ASSERT(chunk < r->layout.n_chunks);
        return chunk_node1(owner_load(&r->chunk_words[chunk])) - 1; /* NODE_NONE where it is not bound */
}

int
placement_may_back(struct thread *t, uint64_t chunk, uint64_t bytes)
{
        uint32_t node = node_of_chunk(t->region, chunk);

        ASSERT(bytes > 0 && bytes <= GEO_CHUNK_BYTES);
        if (node == NODE_NONE || placement_has_room(t->region, node, bytes))
                return 0;
        t->call.lacks_node = true;
        return -ENOMEM;
}

int
placement_check_backed(struct thread *t, uint64_t chunk, uint64_t off, uint64_t bytes)
{
        const struct region *r = t->region;
        uint32_t node = node_of_chunk(r, chunk);

        ASSERT(off >= r->layout.chunks_off && off + bytes <= r->layout.region_bytes);
        if (!r->has_numa || node == NODE_NONE || node == r->layout.spread_node || !placement_is_strict(t) ||
            os_numa_count_elsewhere(r->base + off, bytes, node) == 0)
                return 0;
        t->call.lacks_node = true; /* and what is there stays, not known as backed: a purge gives it back */
        return -ENOMEM;
}

/* ------------------------------------------------------------------ binding */

static uint64_t *
word_of(struct region *r, uint64_t chunk)
{
        ASSERT(chunk < r->layout.n_chunks);
        return &r->chunk_words[chunk];
}

static bool
may_have_pages(struct region *r, uint64_t chunk)
{
        ASSERT(chunk < region_chunks_hwm(r));
        for (uint64_t g = chunk * GEO_GRANULES_PER_CHUNK; g < (chunk + 1) * GEO_GRANULES_PER_CHUNK; g++)
                if (owner_load(run_word(r, g)) & GRANULE_MAY_HAVE)
                        return true;
        return false;
}

int
placement_drop_pages(struct thread *t, uint64_t chunk, uint64_t *ret_bytes)
{
        struct region *r = t->region;
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, bytes = 0;
        int err;

        ASSERT_INVARIANT(I5, chunk_is_owned(r, t->no, word_of(r, chunk)));
        ASSERT(chunk < region_chunks_hwm(r));
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++) /* PURGE_CHUNK.3: nothing is backed */
                granule_store(r, t->no, run_word(r, g), owner_load(run_word(r, g)) & GRANULE_MAY_HAVE);
        kill_order();
        err = region_punch(r, region_granule_off(r, first), GEO_CHUNK_BYTES); /* PURGE_CHUNK.4 */
        kill_order();
        for (uint64_t g = first; err == 0 && g < first + GEO_GRANULES_PER_CHUNK; g++) { /* PURGE_CHUNK.5 */
                bytes += owner_load(run_word(r, g)) & GRANULE_MAY_HAVE ? GEO_GRANULE_BYTES : 0;
                granule_store(r, t->no, run_word(r, g), UINT64_C(0));
        }
        if (ret_bytes)
                *ret_bytes += bytes;
        return err;
}

static int
tell_system(const struct region *r, uint64_t chunk, uint64_t n, uint32_t node)
{
        uint64_t off = region_granule_off(r, chunk * GEO_GRANULES_PER_CHUNK), nodes = possible_nodes(r);
        bool is_spread = node == r->layout.spread_node;

        ASSERT(node < r->n_nodes && chunk + n <= r->layout.n_chunks);
        if (!r->has_numa)
                return 0;
        if (is_spread && (nodes & r->numa_nodes) != 0)
                nodes &= r->numa_nodes;
        return os_numa_bind(r->base + off, n << GEO_CHUNK_SHIFT, is_spread ? nodes : bit(node), is_spread);
}

/* Chunks that are not of the node.  With several nodes, pages that no note knows of may be there too, if the heap was
 * populated; looking costs no more than punching what is not there. */
static int
rebind(struct thread *t, uint64_t chunk, uint64_t n, uint32_t node)
{
        struct region *r = t->region;
        int err = 0, punch_err = 0;

        ASSERT_INVARIANT(I5, chunk_is_owned(r, t->no, word_of(r, chunk)));
        ASSERT(n > 0 && node < r->n_nodes);
        if (t->call.no_grow && r->has_numa) /* it could have no pages then, without growing */
                return -ENOMEM;
        for (uint64_t i = chunk; i < chunk + n; i++) {
                if (r->has_numa || chunk_node1(owner_load(word_of(r, i))) != 0 || may_have_pages(r, i))
                        err = placement_drop_pages(t, i, NULL); /* BIND_CHUNK.1 */
                punch_err = err < 0 ? err : punch_err;
        }
        kill_order();
        for (uint64_t i = chunk; i < chunk + n; i++) /* BIND_CHUNK.2 */
                chunk_store(r, t->no, word_of(r, i), chunk_with_node1(owner_load(word_of(r, i)), 0));
        kill_order();
        err = tell_system(r, chunk, n, node); /* BIND_CHUNK.3 */
        err = err < 0 ? err : punch_err;
        if (err < 0 && placement_is_strict(t)) {
                t->call.lacks_node = true;
                return err;
        }
        kill_order();
        for (uint64_t i = chunk; i < chunk + n; i++) /* BIND_CHUNK.4 */
                chunk_store(r, t->no, word_of(r, i), chunk_with_node1(owner_load(word_of(r, i)), node + 1));
        return 0;
}

int
placement_bind_chunks(struct thread *t, uint64_t chunk, uint64_t n, uint32_t node)
{
        struct region *r = t->region;
        int err = 0;

        ASSERT(n > 0 && node < r->n_nodes);
        ASSERT(chunk + n <= region_chunks_hwm(r));
        for (uint64_t i = 0, end; err == 0 && i < n; i = end) {
                for (end = i; end < n && node_of_chunk(r, chunk + end) != node; end++)
                        continue;
                if (end > i)
                        err = rebind(t, chunk + i, end - i, node);
                else
                        end++;
        }
        return err;
}
