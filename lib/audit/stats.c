/*
 * stats.c - see stats.h: gathering.
 *
 * There are no shared counters: what is where is counted by the check's walk through the owner words, and what has
 * happened is the sum of the counters of all thread slots, each written by its owner alone.  The hit paths of malloc
 * and free count nothing, so what has happened is known where magazines change hands: blocks that were filled into
 * magazines and drained from them, and single blocks that went past them.
 *
 * Each figure stands once in the list of its group: its description and its place in the rows are made of that.  The
 * group's row function counts it.
 */
#include "audit/stats.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "audit/stats_parts.h"
#include "base/verify.h"
#include "clients/slot_pages.h"
#include "os/print.h"
#include "os/shm.h"

#define COUNTER true
#define GAUGE   false

/* X(its place in the row, name, unit, help, COUNTER or GAUGE) */
#define METRIC(id, name, unit, help, is_counter) {name, unit, help, is_counter},

/* ------------------------------------------------------------------ labels */

static void
label_number(struct stats_row *row, const char *name, uint64_t value)
{
        struct stats_label *label = &row->labels[row->n_labels++];

        ASSERT(row->n_labels <= STATS_LABELS_MAX);
        label->name = name;
        label->is_number = true;
        snprintf(label->value, sizeof label->value, "%" PRIu64, value);
}

/* `text` is `bytes` long at most and may be anything. */
static void
label_text(struct stats_row *row, const char *name, const char *text, size_t bytes)
{
        struct stats_label *label = &row->labels[row->n_labels++];
        size_t n = 0;

        ASSERT(row->n_labels <= STATS_LABELS_MAX && n < sizeof label->value);
        label->name = name;
        label->is_number = false;
        for (; n < bytes && n + 1 < sizeof label->value && text[n] != '\0'; n++)
                label->value[n] = text[n] >= ' ' && text[n] <= '~' ? text[n] : '?';
        label->value[n] = '\0';
}

/* ------------------------------------------------------------------ blocks of all classes of a part of the heap */

struct sums {
        uint64_t live_bytes, live_blocks, cached_bytes, cached_blocks, pending_bytes, free_bytes, run_bytes;
};

static struct sums
sums_of(const struct check_totals *t)
{
        struct sums s = {0};

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++) {
                const struct check_class *c = &t->classes[class_idx];
                uint64_t bytes = size_class_bytes(class_idx);

                s.live_bytes += c->n_live * bytes;
                s.live_blocks += c->n_live;
                s.cached_bytes += c->n_cached * bytes;
                s.cached_blocks += c->n_cached;
                s.pending_bytes += c->n_pending * bytes;
                s.free_bytes += c->n_free * bytes;
                s.run_bytes += (c->n_runs * size_class_table[class_idx].n_granules) << GEO_GRANULE_SHIFT;
        }
        return s;
}

/* ------------------------------------------------------------------ the heap */

#define HEAP_METRICS(X)                                                                                                \
        X(CAPACITY, "capacity_bytes", "bytes", "blocks may take together", GAUGE)                                      \
        X(MAX_CAPACITY, "max_capacity_bytes", "bytes", "the capacity can grow to", GAUGE)                              \
        X(USED, "used_bytes", "bytes", "of chunks have been used so far: the sum of the byte figures down to waste",   \
          GAUGE)                                                                                                       \
        X(ALLOCATED, "allocated_bytes", "bytes", "in blocks that are allocated", GAUGE)                                \
        X(BLOCKS, "allocated_blocks", "blocks", "are allocated", GAUGE)                                                \
        X(CACHED, "cached_bytes", "bytes", "in blocks that threads and depots cache", GAUGE)                           \
        X(CACHED_BLOCKS, "cached_blocks", "blocks", "are cached", GAUGE)                                               \
        X(PENDING, "pending_bytes", "bytes", "in root objects under construction", GAUGE)                              \
        X(FREE_SLAB, "free_slab_bytes", "bytes", "in free blocks of slabs", GAUGE)                                     \
        X(FREE_RUN, "free_run_bytes", "bytes", "in free granules of arenas", GAUGE)                                    \
        X(FREE_CHUNK, "free_chunk_bytes", "bytes", "in free chunks", GAUGE)                                            \
        X(MOVING, "moving_bytes", "bytes", "being claimed, freed or purged just now", GAUGE)                           \
        X(WASTE, "waste_bytes", "bytes", "behind the last block of a slab, run or chunk", GAUGE)                       \
        X(BACKED, "backed_bytes", "bytes", "of chunks are known to have pages", GAUGE)                                 \
        X(DIRTY, "dirty_bytes", "bytes", "are free and may have pages: decay gives them back", GAUGE)                  \
        X(METADATA, "metadata_bytes", "bytes", "in tables beside the chunks", GAUGE)                                   \
        X(CLIENTS, "attached_clients", "clients", "have the heap open, or died with it", GAUGE)                        \
        X(THREADS, "attached_threads", "threads", "have a slot, alive or not reaped yet", GAUGE)                       \
        X(ROOTS, "named_roots", "roots", "have an object", GAUGE)                                                      \
        X(TCACHE_MAGAZINES, "tcache_magazines", "magazines", "are held by threads", GAUGE)                             \
        X(DEPOT_MAGAZINES, "depot_magazines", "magazines", "are in depots", GAUGE)                                     \
        X(POOLED_MAGAZINES, "pooled_magazines", "magazines", "are unused", GAUGE)                                      \
        X(PURGED, "purged_bytes", "bytes", "have been given back to the system", COUNTER)                              \
        X(REAPED, "reaped_threads", "threads", "died and were settled by others", COUNTER)                             \
        X(REMOTE, "remote_free_blocks", "blocks", "were freed on another node than their own", COUNTER)                \
        X(FALLBACK, "fallback_blocks", "blocks", "came from another node, the own one being full", COUNTER)            \
        X(FAULTS, "found_faults", "faults", "found while counting: run a check", GAUGE)

#define HEAP_PLACE(id, ...) HEAP_##id,

enum { HEAP_METRICS(HEAP_PLACE) HEAP_N_VALUES };

static const struct stats_metric heap_metrics[] = {HEAP_METRICS(METRIC)};

static uint32_t
one_row(const struct stats *s)
{
        (void)s;
        return 1;
}

/* The parts of used_bytes but for waste, which is the rest. */
static void
heap_bytes(const struct stats *s, uint64_t *v)
{
        const struct check_totals *t = &s->totals;
        struct sums sums = sums_of(t);
        uint64_t parts;

        v[HEAP_USED] = region_chunks_hwm(s->r) << GEO_CHUNK_SHIFT;
        v[HEAP_ALLOCATED] = check_live_bytes(t);
        v[HEAP_BLOCKS] = sums.live_blocks + t->n_huge - t->n_huge_pending - t->n_huge_cached;
        v[HEAP_CACHED] = check_cached_bytes(t);
        v[HEAP_CACHED_BLOCKS] = check_cached_blocks(t);
        v[HEAP_PENDING] = sums.pending_bytes + t->huge_pending_bytes;
        v[HEAP_FREE_SLAB] = sums.free_bytes;
        v[HEAP_FREE_RUN] = t->free_run_bytes;
        v[HEAP_FREE_CHUNK] = t->n_chunks_free << GEO_CHUNK_SHIFT;
        v[HEAP_MOVING] = t->moving_bytes;
        parts = v[HEAP_ALLOCATED] + v[HEAP_CACHED] + v[HEAP_PENDING] + v[HEAP_FREE_SLAB] + v[HEAP_FREE_RUN] +
                v[HEAP_FREE_CHUNK] + v[HEAP_MOVING];
        v[HEAP_WASTE] = v[HEAP_USED] > parts ? v[HEAP_USED] - parts : 0;
}

static bool
heap_row(const struct stats *s, uint32_t idx, struct stats_row *row)
{
        const struct check_totals *t = &s->totals;
        uint64_t *v = row->values;

        (void)idx;
        heap_bytes(s, v);
        v[HEAP_CAPACITY] = region_capacity_chunks(s->r) << GEO_CHUNK_SHIFT;
        v[HEAP_MAX_CAPACITY] = s->r->layout.n_chunks << GEO_CHUNK_SHIFT;
        v[HEAP_BACKED] = t->backed_bytes;
        v[HEAP_DIRTY] = t->dirty_bytes;
        v[HEAP_METADATA] = t->metadata_bytes;
        v[HEAP_CLIENTS] = t->n_clients;
        v[HEAP_THREADS] = t->n_threads;
        v[HEAP_ROOTS] = t->n_roots;
        v[HEAP_TCACHE_MAGAZINES] = t->n_magazines_tcache;
        v[HEAP_DEPOT_MAGAZINES] = t->n_magazines_depot;
        v[HEAP_POOLED_MAGAZINES] = t->n_magazines_pool;
        v[HEAP_PURGED] = s->counted.purged_bytes;
        v[HEAP_REAPED] = s->counted.n_reaped;
        v[HEAP_REMOTE] = s->counted.n_remote_free;
        v[HEAP_FALLBACK] = s->counted.n_fallback;
        v[HEAP_FAULTS] = t->n_faults;
        return true;
}

/* ------------------------------------------------------------------ classes */

#define CLASS_METRICS(X)                                                                                               \
        X(RUNS, "used_runs", "runs", "of the class: slabs, large runs, or huge blocks", GAUGE)                         \
        X(ALLOCATED, "allocated_bytes", "bytes", "in blocks that are allocated", GAUGE)                                \
        X(BLOCKS, "allocated_blocks", "blocks", "are allocated", GAUGE)                                                \
        X(CACHED, "cached_blocks", "blocks", "are cached by threads and depots", GAUGE)                                \
        X(PENDING, "pending_blocks", "blocks", "are root objects under construction", GAUGE)                           \
        X(FREE, "free_blocks", "blocks", "are free in their slab", GAUGE)                                              \
        X(FILLED, "filled_blocks", "blocks", "have left their slab or run, for a magazine or a caller", COUNTER)       \
        X(DRAINED, "drained_blocks", "blocks", "have come back to their slab or run", COUNTER)                         \
        X(DIRECT, "direct_malloc_blocks", "blocks", "were allocated past the magazines", COUNTER)                      \
        X(DIRECT_FREE, "direct_free_blocks", "blocks", "were freed past the magazines", COUNTER)

#define CLASS_PLACE(id, ...) CLASS_##id,

enum { CLASS_METRICS(CLASS_PLACE) CLASS_N_VALUES };

static const struct stats_metric class_metrics[] = {CLASS_METRICS(METRIC)};

static uint32_t
class_rows(const struct stats *s)
{
        (void)s;
        return SIZE_CLASS_N + 1; /* the last one is for huge blocks */
}

static bool
huge_row(const struct stats *s, struct stats_row *row)
{
        label_text(row, "size", "huge", sizeof "huge");
        row->values[CLASS_RUNS] = s->totals.n_huge;
        row->values[CLASS_ALLOCATED] =
                s->totals.huge_bytes - s->totals.huge_pending_bytes - s->totals.huge_cached_bytes;
        row->values[CLASS_BLOCKS] = s->totals.n_huge - s->totals.n_huge_pending - s->totals.n_huge_cached;
        row->values[CLASS_CACHED] = s->totals.n_huge_cached;
        row->values[CLASS_PENDING] = s->totals.n_huge_pending;
        row->values[CLASS_FILLED] = row->values[CLASS_DIRECT] = s->counted.n_huge_malloc;
        row->values[CLASS_DRAINED] = s->counted.n_huge_free + s->counted.n_huge_drained;
        row->values[CLASS_DIRECT_FREE] = s->counted.n_huge_free;
        return true;
}

static bool
class_row(const struct stats *s, uint32_t idx, struct stats_row *row)
{
        const struct check_class *c = &s->totals.classes[idx];
        const struct class_counters *n = &s->counted.counters[idx];

        if (idx == SIZE_CLASS_N)
                return huge_row(s, row);
        label_number(row, "size", size_class_bytes(idx));
        row->values[CLASS_RUNS] = c->n_runs;
        row->values[CLASS_ALLOCATED] = c->n_live * size_class_bytes(idx);
        row->values[CLASS_BLOCKS] = c->n_live;
        row->values[CLASS_CACHED] = c->n_cached;
        row->values[CLASS_PENDING] = c->n_pending;
        row->values[CLASS_FREE] = c->n_free;
        row->values[CLASS_FILLED] = n->n_filled;
        row->values[CLASS_DRAINED] = n->n_drained;
        row->values[CLASS_DIRECT] = n->n_malloc;
        row->values[CLASS_DIRECT_FREE] = n->n_free;
        return true;
}

/* ------------------------------------------------------------------ arenas and nodes */

#define ARENA_METRICS(X)                                                                                               \
        X(THREADS, "bound_threads", "threads", "are bound to it", GAUGE)                                               \
        X(CHUNKS, "owned_chunks", "chunks", "it has", GAUGE)                                                           \
        X(ALLOCATED, "allocated_bytes", "bytes", "in its blocks that are allocated, but for huge ones", GAUGE)         \
        X(CACHED, "cached_bytes", "bytes", "in its blocks that threads and depots cache", GAUGE)                       \
        X(FREE_SLAB, "free_slab_bytes", "bytes", "in free blocks of its slabs", GAUGE)                                 \
        X(FREE_RUN, "free_run_bytes", "bytes", "in its free granules", GAUGE)                                          \
        X(DIRTY, "dirty_bytes", "bytes", "of that may have pages", GAUGE)                                              \
        X(BACKED, "backed_bytes", "bytes", "of its chunks are known to have pages", GAUGE)

/* A node has what an arena has, and more. */
#define NODE_METRICS(X)                                                                                                \
        X(MAGAZINES, "made_magazines", "magazines", "in its table so far", GAUGE)                                      \
        X(REMOTE, "remote_freed_blocks", "blocks", "of it were freed by threads of other nodes", COUNTER)              \
        X(FALLBACK, "fallback_blocks", "blocks", "were wanted of it and came from other nodes", COUNTER)

#define ARENA_PLACE(id, ...) ARENA_##id,
#define NODE_PLACE(id, ...)  NODE_##id,

enum {
        ARENA_METRICS(ARENA_PLACE) ARENA_N_VALUES,
        NODE_BEFORE = ARENA_N_VALUES - 1,
        NODE_METRICS(NODE_PLACE) NODE_N_VALUES
};

static const struct stats_metric arena_metrics[] = {ARENA_METRICS(METRIC) NODE_METRICS(METRIC)};

static uint32_t
arena_rows(const struct stats *s)
{
        return s->r->layout.n_arenas;
}

static void
arena_add(const struct stats *s, uint32_t arena, struct stats_row *row)
{
        const struct check_totals *t = &s->by_arena[arena];
        struct sums sums = sums_of(t);

        row->values[ARENA_THREADS] += s->n_bound[arena];
        row->values[ARENA_CHUNKS] += t->n_chunks_arena;
        row->values[ARENA_ALLOCATED] += sums.live_bytes;
        row->values[ARENA_CACHED] += sums.cached_bytes;
        row->values[ARENA_FREE_SLAB] += sums.free_bytes;
        row->values[ARENA_FREE_RUN] += t->free_run_bytes;
        row->values[ARENA_DIRTY] += t->dirty_bytes;
        row->values[ARENA_BACKED] += t->backed_bytes;
}

static void
label_node(struct stats_row *row, const struct region *r, uint32_t node)
{
        if (node == r->layout.spread_node)
                label_text(row, "node", "interleaved", sizeof "interleaved");
        else
                label_number(row, "node", node);
}

static bool
arena_row(const struct stats *s, uint32_t idx, struct stats_row *row)
{
        if (!region_arena(s->r, idx))
                return false;
        label_number(row, "arena", idx);
        label_node(row, s->r, region_arena_node(s->r, idx));
        arena_add(s, idx, row);
        return true;
}

static uint32_t
node_rows(const struct stats *s)
{
        return s->r->n_nodes;
}

static bool
node_row(const struct stats *s, uint32_t idx, struct stats_row *row)
{
        label_node(row, s->r, idx);
        for (uint32_t i = 0; i < s->r->arenas_per_node; i++) {
                uint32_t arena = idx * s->r->arenas_per_node + i;
                const struct arena *a = region_arena(s->r, arena);

                arena_add(s, arena, row);
                row->values[NODE_REMOTE] += a ? load_relaxed(&a->n_remote_free) : 0; /* statistics */
                row->values[NODE_FALLBACK] += a ? load_relaxed(&a->n_fallback) : 0;
        }
        row->values[NODE_MAGAZINES] = region_magazines_hwm(s->r, idx);
        return true;
}

/* ------------------------------------------------------------------ clients */

#define CLIENT_METRICS(X)                                                                                              \
        X(THREADS, "attached_threads", "threads", "of it are attached", GAUGE)                                         \
        X(CACHED, "cached_bytes", "bytes", "in blocks that its threads cache", GAUGE)                                  \
        X(CACHED_BLOCKS, "cached_blocks", "blocks", "its threads cache", GAUGE)

#define CLIENT_PLACE(id, ...) CLIENT_##id,

enum { CLIENT_METRICS(CLIENT_PLACE) CLIENT_N_VALUES };

static const struct stats_metric client_metrics[] = {CLIENT_METRICS(METRIC)};

static uint32_t
client_rows(const struct stats *s)
{
        return region_clients_hwm(s->r);
}

static bool
client_row(const struct stats *s, uint32_t idx, struct stats_row *row)
{
        const struct client_slot *client = region_client(s->r, idx);
        uint32_t hwm = region_threads_hwm(s->r);

        if (!client || WORD_FIELD(load_relaxed(&client->word), 0, 2) != CLIENT_LIVE)
                return false;
        label_number(row, "client", idx);
        label_number(row, "pid", (uint32_t)load_relaxed(&client->process));
        label_number(row, "uid", load_relaxed(&client->uid));
        label_text(row, "name", client->name, sizeof client->name);
        for (uint32_t i = 0; i < hwm; i++) {
                const struct slot_gate *gate = region_gate(s->r, i);

                if (!gate || load_relaxed(&gate->state) != 1 || load_relaxed(&gate->client_idx) != idx)
                        continue;
                row->values[CLIENT_THREADS]++;
                check_add_cached(s->r, i + 1, &row->values[CLIENT_CACHED_BLOCKS], &row->values[CLIENT_CACHED]);
        }
        return true;
}

/* ------------------------------------------------------------------ all of it */

_Static_assert((int)HEAP_N_VALUES <= (int)STATS_VALUES_MAX, "a row has room");

const struct stats_group stats_groups[STATS_GROUPS] = {
        {"heap", "heap", heap_metrics, HEAP_N_VALUES, one_row, heap_row},
        {"class", "classes", class_metrics, CLASS_N_VALUES, class_rows, class_row},
        {"arena", "arenas", arena_metrics, ARENA_N_VALUES, arena_rows, arena_row},
        {"node", "nodes", arena_metrics, NODE_N_VALUES, node_rows, node_row},
        {"client", "clients", client_metrics, CLIENT_N_VALUES, client_rows, client_row},
};

static void
count_slots(struct stats *s)
{
        uint32_t hwm = region_threads_hwm(s->r);

        slot_totals(s->r, 0, THREAD_COUNTERS_N, (uint64_t *)(void *)&s->counted);
        for (uint32_t idx = 0; idx < hwm; idx++) {
                uint32_t binding = load_relaxed(&s->r->bindings[idx]);
                uint32_t arena = (binding & ~(BINDING_USED | BINDING_RESERVE)) - 1;

                if ((binding & BINDING_USED) && arena < s->r->layout.n_arenas && arena < ARENA_MAX)
                        s->n_bound[arena]++;
        }
}

int
stats_print(const struct region *r, FILE *out, unsigned flags)
{
        uint64_t bytes = sizeof(struct stats) + r->layout.n_arenas * sizeof(struct check_totals);
        uint32_t n_groups = flags & STATS_MERGED ? 1 : STATS_GROUPS;
        struct stats *s; /* the caller's stack may be small */
        void *p;
        int n = os_map_private(bytes, false, &p);

        if (n < 0)
                return n;
        s = p;
        s->r = (struct region *)(uintptr_t)r;
        s->by_arena = (void *)(s + 1);
        n = check_region_by_arena(r, 0, NULL, &s->totals, s->by_arena);
        if (n >= 0) {
                count_slots(s);
                if (flags & STATS_JSON)
                        stats_write_json(s, out, n_groups);
                else if (flags & STATS_OPENMETRICS)
                        stats_write_openmetrics(s, out, n_groups);
                else
                        stats_write_text(s, out, n_groups, flags);
        }
        os_unmap(p, bytes);
        if (n < 0)
                return n;
        return print_end(out);
}
