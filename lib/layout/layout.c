/*
 * layout.c - offsets of the tables from the parameters of a region.
 *
 * The order puts what is small and always reserved first, then what grows with clients, then what grows with
 * chunks, the tags at their constant distance before the chunks, and the chunks last.  Every table starts on a page,
 * so reserving one never touches another.
 */
#include "layout/layout.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"

#define FROZEN_AT(member, off, bytes)                                                                                  \
        _Static_assert(offsetof(struct region_header, member) == (off) &&                                              \
                               sizeof(((struct region_header *)0)->member) == (bytes),                                 \
                       "every version of the library reads it there")

FROZEN_AT(magic, 0, 8);
FROZEN_AT(version, 8, 4);
FROZEN_AT(hash, 12, 4);
FROZEN_AT(region_bytes, 16, 8);
FROZEN_AT(base_addr, 24, 8);
FROZEN_AT(id, 32, 8);
FROZEN_AT(features_compat, 40, 8);
FROZEN_AT(features_ro_compat, 48, 8);
FROZEN_AT(features_incompat, 56, 8);
_Static_assert(offsetof(struct region_header, params) == LAYOUT_FROZEN_BYTES, "nothing else is in the frozen line");
_Static_assert(sizeof(struct region_header) <= 4096, "the header is one page");
_Static_assert(sizeof(struct slot_gate) == 128, "gates are two lines");
_Static_assert(offsetof(struct slot_gate, os_pid) + sizeof(uint32_t) == offsetof(struct slot_gate, life.prev),
               "it fits the room of the lock");
_Static_assert(offsetof(struct slot_gate, is_bare) + sizeof(uint32_t) == offsetof(struct slot_gate, reap.prev),
               "it fits the room of the lock");
_Static_assert(offsetof(struct thread_slot, counters) % sizeof(struct class_counters) == 0, "of one line each");
_Static_assert(SIZE_CLASS_N_CACHED <= TAG_CLASSES, "class indices fit the stride of the tags");
_Static_assert(HINT_DIRTY < HINT_N_KINDS, "hint kinds fit a group");
_Static_assert(SIZE_CLASS_BLOCKS_MAX < 1 << 13, "free counts fit a granule word");
_Static_assert(sizeof(struct client_slot) == 80, "client slots take no more than they must");
_Static_assert(offsetof(struct thread_slot, intent) % 64 == 0, "the intent is one line");
_Static_assert(sizeof(struct intent) == 64, "the intent is one line");
#define SETS_ALL(kind, member, name, operands, settle)                                                                 \
        _Static_assert(sizeof(struct intent_##operands) == sizeof(uint64_t[INTENT_WORDS]), "an intent sets all "       \
                                                                                           "words");
INTENTS(SETS_ALL)
_Static_assert(offsetof(struct intent_block, dest) == INTENT_DEST * sizeof(uint64_t), "a dest is the last operand");
_Static_assert(offsetof(struct intent_handover, dest) == INTENT_DEST * sizeof(uint64_t), "a dest is the last operand");
_Static_assert(NODE_MAX *TAG_CLASSES + 1 <= UINT16_MAX, "tags are 16 bits");
_Static_assert(GEO_GRANULES_PER_CHUNK <= 64, "one word maps a chunk");

#define HEADER_BYTES UINT64_C(4096)
#if SHM_TINY_GEOMETRY
#define TABLE_ALIGN UINT64_C(64)
#else
#define TABLE_ALIGN UINT64_C(4096)
#endif

static int
reject(const char **ret_what, const char *what)
{
        *ret_what = what;
        return -EINVAL;
}

static int
params_check(const struct layout_params *params, const char **ret_what)
{
        if (params->max_capacity == 0 || params->max_capacity % GEO_CHUNK_BYTES != 0 ||
            params->max_capacity > LAYOUT_CAPACITY_MAX)
                return reject(ret_what, "capacity: a multiple of 4 MiB up to 2 TiB");
        if (params->max_clients == 0 || params->max_clients > 65535)
                return reject(ret_what, "max_clients: 1 to 65535");
        if (params->max_threads < THREADS_MIN || params->max_threads > THREAD_NO_MAX)
                return reject(ret_what, "max_threads: 2 to 65534");
        if (params->n_nodes == 0 || params->n_nodes > NODE_MAX)
                return reject(ret_what, "nodes: 1 to 64");
        if (params->has_spread > (params->n_nodes > 1))
                return reject(ret_what, "interleaved memory: of two nodes at least");
        if (params->arenas_per_node == 0 || params->arenas_per_node > 64 ||
            params->n_nodes * params->arenas_per_node > ARENA_MAX)
                return reject(ret_what, "arenas per node: 1 to 64, at most 1024 in all");
        if (params->max_roots == 0 || params->max_roots > 65536)
                return reject(ret_what, "roots: 1 to 65536");
        if (params->page_shift != 12 && params->page_shift != 21 && params->page_shift != 30)
                return reject(ret_what, "page_shift: 12, 21 or 30");
        return 0;
}

static void
table_set(struct layout *layout, enum layout_table table, uint64_t n, uint64_t stride)
{
        ASSERT(table < TABLE_N && n > 0 && stride > 0);
        layout->n[table] = n;
        layout->stride[table] = stride;
}

static void
tables_size(const struct layout_params *params, struct layout *l)
{
        uint64_t n_granules = l->n_chunks * GEO_GRANULES_PER_CHUNK;
        uint64_t n_magazines = (uint64_t)l->magazines_per_node * params->n_nodes;
        uint64_t slot_bytes = sizeof(struct thread_slot) + UINT64_C(8) * l->n_tags;
        uint64_t arena_bytes = sizeof(struct arena) + UINT64_C(8) * HINT_N_KINDS * l->n_summary_words;

        ASSERT(l->n_chunks > 0 && l->n_arenas > 0 && l->n_arenas <= ARENA_MAX && l->n_groups > 0);
        table_set(l, TABLE_ARENA_WORDS, l->n_arenas, sizeof(uint32_t));
        table_set(l, TABLE_BINDINGS, params->max_threads, sizeof(uint32_t));
        table_set(l, TABLE_FREE_CHUNKS, (l->n_chunks + 63) / 64, sizeof(uint64_t));
        table_set(l, TABLE_POOL_HINTS, (n_magazines + 63) / 64, sizeof(uint64_t));
        table_set(l, TABLE_CLIENTS, params->max_clients, sizeof(struct client_slot));
        table_set(l, TABLE_GATES, params->max_threads, sizeof(struct slot_gate));
        table_set(l, TABLE_TOTALS, 2, sizeof(struct thread_counters));
        table_set(l, TABLE_THREADS, params->max_threads, bits_align_up(slot_bytes, TABLE_ALIGN));
        table_set(l, TABLE_ROOTS, params->max_roots, sizeof(struct root_record));
        table_set(l, TABLE_ARENAS, l->n_arenas, bits_align_up(arena_bytes, TABLE_ALIGN));
        table_set(l, TABLE_HINT_GROUPS, (uint64_t)l->n_arenas * l->n_groups, sizeof(struct hint_group));
        table_set(l, TABLE_MAGAZINE_WORDS, n_magazines, sizeof(uint64_t));
        table_set(l, TABLE_MAGAZINES, n_magazines, sizeof(struct magazine));
        table_set(l, TABLE_CHUNK_WORDS, l->n_chunks, sizeof(uint64_t));
        table_set(l, TABLE_HUGE_BYTES, l->n_chunks, sizeof(uint64_t));
        table_set(l, TABLE_CHUNK_MAPS, l->n_chunks, sizeof(struct chunk_map));
        table_set(l, TABLE_GRANULES, n_granules, sizeof(uint64_t));
        table_set(l, TABLE_SLABS, n_granules, sizeof(struct slab_bitmap));
        table_set(l, TABLE_REST_MAPS, l->n_chunks, sizeof(uint64_t));
        table_set(l, TABLE_SLAB_RESTS, n_granules, sizeof(struct slab_bitmap_rest));
        table_set(l, TABLE_TAGS, n_granules, sizeof(uint16_t));
}

/* Each node's table must do for the case that every thread runs there: two magazines per class and full depots. */
static uint32_t
magazines_per_node(const struct layout_params *params)
{
        uint32_t n = params->max_threads * 2 * SIZE_CLASS_N_CACHED + params->arenas_per_node * SIZE_CLASS_DEPOT_PLACES;

        ASSERT(params->max_threads <= THREAD_NO_MAX && params->arenas_per_node <= ARENA_MAX);
        return (uint32_t)bits_align_up(n, 64);
}

int
layout_compute(const struct layout_params *params, struct layout *ret_layout, const char **ret_what)
{
        struct layout l = {0};
        uint64_t off = HEADER_BYTES;
        int err = params_check(params, ret_what);

        if (err < 0)
                return err;
        l.n_chunks = params->max_capacity / GEO_CHUNK_BYTES;
        l.n_arenas = params->n_nodes * params->arenas_per_node;
        l.spread_node = params->has_spread ? params->n_nodes - 1 : NODE_NONE;
        l.n_tags = 1 + params->n_nodes * TAG_CLASSES;
        l.n_groups = (uint32_t)((l.n_chunks + 63) / 64);
        l.n_summary_words = (l.n_groups + 63) / 64;
        l.magazines_per_node = magazines_per_node(params);
        tables_size(params, &l);
        for (int table = 0; table < TABLE_TAGS; table++) {
                if (table == TABLE_MAGAZINES)
                        off += LAYOUT_MAGAZINES_SHIFT;
                l.off[table] = off;
                off = bits_align_up(off + l.n[table] * l.stride[table], TABLE_ALIGN);
        }
        l.chunks_off = bits_align_up(off + LAYOUT_TAGS_DISTANCE, GEO_CHUNK_BYTES);
        l.off[TABLE_TAGS] = l.chunks_off - LAYOUT_TAGS_DISTANCE;
        l.region_bytes = l.chunks_off + params->max_capacity;
        ASSERT(l.chunks_off % GEO_CHUNK_BYTES == 0 && l.off[TABLE_TAGS] >= off);
        ASSERT(l.region_bytes > l.chunks_off && l.n_tags <= UINT16_MAX);
        *ret_layout = l;
        return 0;
}

uint32_t
layout_hash(void)
{
        const uint64_t facts[] = {LAYOUT_VERSION,
                                  GEO_PAGE_SHIFT,
                                  GEO_GRANULE_SHIFT,
                                  GEO_CHUNK_SHIFT,
                                  GEO_SMALL_MAX,
                                  GEO_LARGE_MAX,
                                  SIZE_CLASS_N,
                                  SIZE_CLASS_N_HUGE,
                                  SIZE_CLASS_BLOCKS_MAX,
                                  sizeof(struct robust_lock),
                                  sizeof(struct region_header),
                                  sizeof(struct client_slot),
                                  sizeof(struct slot_gate),
                                  sizeof(struct thread_slot),
                                  sizeof(struct magazine),
                                  LAYOUT_MAGAZINES_SHIFT,
                                  sizeof(struct arena),
                                  sizeof(struct root_record),
                                  sizeof(struct slab_bitmap),
                                  LAYOUT_TAGS_DISTANCE,
                                  MAGAZINE_CAP_MAX,
                                  SIZE_CLASS_DEPOT_PLACES};
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a over the bytes of the facts */

        for (unsigned i = 0; i < sizeof facts / sizeof facts[0]; i++)
                for (unsigned byte = 0; byte < 8; byte++)
                        hash = (hash ^ (facts[i] >> (8 * byte) & 0xff)) * UINT64_C(0x100000001b3);
        return (uint32_t)(hash ^ hash >> 32);
}
