/*
 * region.h - the region as this process sees it: where its tables are mapped, and the memory behind them.
 *
 * A region appears complete or not at all: the creator fills an unnamed file and links it to its name in one step
 * (create.c); opening validates everything that it reads (open.c).  Neither ever waits for another process.
 *
 * Nothing ever touches a hole of the file.  region_reserve() backs a range; the high-water marks of header tell what
 * has been backed; the accessors below are the only place where an index becomes a pointer, and they check it.
 */
#ifndef REGION_REGION_H
#define REGION_REGION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/verify.h"
#include "layout/invariants.h"
#include "layout/layout.h"

/* One process's mapping.  Private memory; never shared. */
struct region {
        char *base;         /* start of the mapping */
        char *chunks;       /* base + layout.chunks_off */
        uint64_t canonical; /* address of the first chunk where the region is at its own base: entries count from it */
        struct region_header *header;
        uint32_t *arena_words;
        uint32_t *bindings;
        uint64_t *free_chunks;
        uint64_t *pool_hints;
        struct client_slot *clients;
        struct slot_gate *gates;
        struct thread_counters *totals;
        char *threads;
        struct root_record *roots;
        char *arenas;
        struct hint_group *hint_groups;
        uint64_t *magazine_words;
        struct magazine *magazines;
        uint64_t *chunk_words;
        uint64_t *huge_bytes;
        struct chunk_map *chunk_maps;
        uint64_t *granules;
        struct slab_bitmap *slabs;
        uint64_t *rest_maps;
        struct slab_bitmap_rest *slab_rests;
        uint16_t *tags;
        struct layout layout;
        int fd; /* kept, but perhaps closed by the program: file.h; -1: memory of a test, always backed */
        uint32_t arenas_per_node; /* copy of the parameter, validated */
        uint32_t n_nodes;         /* likewise */
        uint64_t dev, ino;        /* of the file: the same heap opened twice has the same three; 0 without a file */
        uint64_t id;              /* header.id as it was when the region was opened */
        uint32_t numa_policy;     /* enum options_numa; copy of header.numa_policy, validated */
        uint64_t numa_nodes;      /* bit mask of the nodes that its memory is meant to come from; 0 = all */
        bool has_numa;            /* several nodes, and a file whose pages can be placed; else nodes are only noted */
        bool is_readonly;
        bool is_new;                    /* made by this very open, under its name */
        bool is_relocated;              /* mapped elsewhere than at header.base_addr */
        bool is_dumped;                 /* option dump: what is in use is part of core files; how much of it: */
        uint64_t dumped_arenas;         /* elements that the kernel has been told of (dump.c) */
        uint64_t dumped[SWEEP_N];       /* the same by mark */
        char name[LAYOUT_NAME_MAX + 1]; /* that it was opened or created by; empty: by a descriptor */
};

/* Points the tables of `r` into a mapping at `base`; layout must have been computed.  Touches no memory of it. */
void region_bind(struct region *r, void *base, const struct layout *layout);

/* Writes the header of a new region into zeroed memory to which `r` has been bound (create.c, and tests on plain
 * memory: fd -1).  The same arguments give the same bytes: what differs from heap to heap (id, time, creator) and what
 * has a default (capacity = max_capacity, NUMA policy, decay) is the caller's to change.  A zeroed table is a valid
 * one. */
void region_format(struct region *r, const struct layout_params *params, const char *name, uint64_t base_addr);

/* What the header says of placement, as far as it makes sense. */
void region_set_policy(struct region *r, uint32_t numa_policy, uint64_t numa_nodes);

/* Backs [off, off + bytes) with pages, in pieces of at most 2 MiB.  Idempotent.  0, -ENOMEM or -ENOSPC, and the refused
 * call is remembered (base/error.h); then a part of the range may have got pages. */
int region_reserve(struct region *r, uint64_t off, uint64_t bytes);

/* Backs elements [idx, idx + n) of a table. */
int region_reserve_table(struct region *r, enum layout_table table, uint64_t idx, uint64_t n);

/* Gives the pages of [off, off + bytes) back to the system.  0 or -errno; then nothing may be assumed. */
int region_punch(struct region *r, uint64_t off, uint64_t bytes);

/* Backs what every region has backed from the start: header, arena words, bindings, free-chunk hints; and, with one
 * call for all, the first pool hints. */
int region_reserve_fixed(struct region *r);

/* Raise a mark from k to k + 1: reserve k's metadata, then CAS.  0 when the mark is above k now, whoever did it;
 * -ENOSPC at the end of the table (chunks: of the capacity), -ENOMEM (or -ENOSPC: a full file system) when no pages
 * can be had, or somebody who is stopped is giving them back (pages/sweep.c), -EUCLEAN when the mark is below k: it
 * only grows, so k was never read from it, or it is damaged. */
int region_raise_chunks(struct region *r, uint64_t k);
int region_raise_threads(struct region *r, uint32_t k);
int region_raise_clients(struct region *r, uint32_t k);
int region_raise_roots(struct region *r, uint32_t k);
int region_raise_magazines(struct region *r, uint32_t node, uint32_t k);

/* Backs the slot of a gate below the mark, or at it. */
int region_reserve_slot(struct region *r, uint32_t idx);

/* The same for the long bitmaps of slabs that may start at granules [first, first + n) of one chunk: pages, then the
 * bits that tell of them. */
int region_raise_bitmaps(struct region *r, uint64_t first, uint32_t n);

/* E1.acq: metadata of chunks below the mark is backed. */
static inline uint64_t
region_chunks_hwm(const struct region *r)
{
        uint64_t hwm = load_acquire(&r->header->chunks_hwm);

        return hwm <= r->layout.n_chunks ? hwm : r->layout.n_chunks;
}

static inline uint64_t
region_capacity_chunks(const struct region *r)
{
        uint64_t n = load_relaxed(&r->header->capacity_chunks); /* grows only; a stale value is a smaller heap */

        return n <= r->layout.n_chunks ? n : r->layout.n_chunks;
}

static inline uint64_t
region_granules_hwm(const struct region *r)
{
        return region_chunks_hwm(r) * GEO_GRANULES_PER_CHUNK;
}

static inline uint32_t
region_threads_hwm(const struct region *r)
{
        uint32_t hwm = load_acquire(&r->header->threads_hwm);

        return hwm <= r->layout.n[TABLE_THREADS] ? hwm : (uint32_t)r->layout.n[TABLE_THREADS];
}

static inline uint32_t
region_clients_hwm(const struct region *r)
{
        uint32_t hwm = load_acquire(&r->header->clients_hwm);

        return hwm <= r->layout.n[TABLE_CLIENTS] ? hwm : (uint32_t)r->layout.n[TABLE_CLIENTS];
}

static inline uint32_t
region_roots_hwm(const struct region *r)
{
        uint32_t hwm = load_acquire(&r->header->roots_hwm);

        return hwm <= r->layout.n[TABLE_ROOTS] ? hwm : (uint32_t)r->layout.n[TABLE_ROOTS];
}

static inline uint32_t
region_magazines_hwm(const struct region *r, uint32_t node)
{
        uint32_t hwm = node < NODE_MAX ? load_acquire(&r->header->magazines_hwm[node]) : 0;

        return hwm <= r->layout.magazines_per_node ? hwm : r->layout.magazines_per_node;
}

/* Accessors: NULL (or false) for what lies beyond the marks. */

/* Gate of a thread slot by index (thread number - 1), below threads_hwm. */
static inline struct slot_gate *
region_gate(const struct region *r, uint32_t idx)
{
        return LIKELY(idx < region_threads_hwm(r)) ? &r->gates[idx] : NULL;
}

/* The slot itself, which has its pages while it is not empty: others than its own thread and its reaper look at the
 * gate first. */
static inline struct thread_slot *
region_thread(const struct region *r, uint32_t idx)
{
        if (UNLIKELY(idx >= region_threads_hwm(r)))
                return NULL;
        return (struct thread_slot *)(void *)(r->threads + idx * r->layout.stride[TABLE_THREADS]);
}

static inline struct client_slot *
region_client(const struct region *r, uint32_t idx)
{
        return LIKELY(idx < region_clients_hwm(r)) ? &r->clients[idx] : NULL;
}

/* An arena that is ready. */
static inline struct arena *
region_arena(const struct region *r, uint32_t arena)
{
        if (UNLIKELY(arena >= r->layout.n_arenas || load_acquire(&r->arena_words[arena]) != ARENA_READY))
                return NULL; /* E2.acq: a READY arena's memory is backed */
        return (struct arena *)(void *)(r->arenas + arena * r->layout.stride[TABLE_ARENAS]);
}

/* Whether a tag, whoever wrote it, is one of a node and a class that there are. */
static inline bool
region_has_tag(const struct region *r, uint32_t tag)
{
        return tag_is_of_class(&r->layout, tag);
}

static inline bool
region_has_small_tag(const struct region *r, uint32_t tag)
{
        return region_has_tag(r, tag) && size_class_is_small(tag_class(tag));
}

static inline bool
region_has_magazine(const struct region *r, uint64_t idx)
{
        uint32_t per_node = r->layout.magazines_per_node;

        return LIKELY(idx < r->layout.n[TABLE_MAGAZINES]) &&
               LIKELY(idx % per_node < region_magazines_hwm(r, (uint32_t)(idx / per_node)));
}

static inline struct magazine *
region_magazine(const struct region *r, uint64_t idx)
{
        return region_has_magazine(r, idx) ? &r->magazines[idx] : NULL;
}

/* The node whose memory the pages of an arena come from. */
static inline uint32_t
region_arena_node(const struct region *r, uint32_t arena)
{
        ASSERT_INVARIANT(I1, arena < r->layout.n_arenas);
        return arena / r->arenas_per_node;
}

/* Nodes of the system, which come before the spread one. */
static inline uint32_t
region_system_nodes(const struct region *r)
{
        return r->n_nodes - (r->layout.spread_node != NODE_NONE);
}

/* Entries of magazines are the addresses that blocks have where the region is mapped at its own base, so that the hit
 * paths there need no arithmetic. */
static inline uint64_t
region_entry(const struct region *r, uint64_t block_off)
{
        return r->canonical + block_off;
}

static inline uint64_t
region_entry_off(const struct region *r, uint64_t entry)
{
        return entry - r->canonical;
}

/* E1.acq: whether there are pages behind the words of a bitmap that are apart. */
static inline bool
region_has_rest(const struct region *r, uint64_t head)
{
        return load_acquire(&r->rest_maps[head / GEO_GRANULES_PER_CHUNK]) >> head % GEO_GRANULES_PER_CHUNK & 1;
}

/* Whether the slab of a class that starts at a granule has pages behind all words of its bitmap. */
static inline bool
region_has_bitmap(const struct region *r, uint64_t head, uint32_t class_idx)
{
        ASSERT(head < r->layout.n[TABLE_GRANULES]);
        return size_class_slab_blocks(class_idx) <= SLAB_WORDS * 64 || region_has_rest(r, head);
}

/* Word w of the bitmap of a slab that has one. */
static inline uint64_t *
region_slab_word(const struct region *r, uint64_t head, uint32_t w)
{
        ASSERT(head < r->layout.n[TABLE_GRANULES] && w * 64 < SIZE_CLASS_BLOCKS_MAX);
        return LIKELY(w < SLAB_WORDS) ? &r->slabs[head].word[w] : &r->slab_rests[head].word[w - SLAB_WORDS];
}

/* Block offsets count from the first chunk; shrefs from the base of the region.  In numbers, since the offset of a
 * damaged entry, which is only reported, may be anything. */
static inline void *
region_block(const struct region *r, uint64_t block_off)
{
        return (void *)((uintptr_t)r->chunks + block_off);
}

static inline uint64_t
region_granule_off(const struct region *r, uint64_t granule_idx)
{
        ASSERT(granule_idx <= r->layout.n[TABLE_GRANULES]);
        return r->layout.chunks_off + (granule_idx << GEO_GRANULE_SHIFT);
}

#endif
