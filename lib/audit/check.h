/*
 * check.h - proves that every block is in exactly one place, and counts what is where.
 *
 * Read-only, bounded, and safe on a region that somebody has damaged on purpose: every word is fetched once and
 * tested before it is followed, and nothing beyond a high-water mark is touched.  Memory of its own: one bit per 16
 * bytes of chunks below the mark, of which only the pages are touched that describe cached blocks.
 */
#ifndef AUDIT_CHECK_H
#define AUDIT_CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/size_class.h"
#include "region/region.h"

enum {
        /* Nobody is inside a call, and the dead have been reaped: owner words, intents and candidates stand empty, and
         * the counts are exact.  Without it, transient states of the living (and of the dead that nobody reaped yet)
         * are no faults, and the counts are as good as a moving thing can be counted. */
        CHECK_QUIESCENT = 1u << 0
};

enum { CHECK_LINES_MAX = 50 }; /* faults that are described; the rest is counted */

/* Blocks of one class.  n_runs * blocks per run = n_live + n_cached + n_pending + n_free. */
struct check_class {
        uint64_t n_runs;    /* slabs, or large runs */
        uint64_t n_live;    /* allocated */
        uint64_t n_cached;  /* in a magazine of a thread or of a depot */
        uint64_t n_pending; /* root objects under construction */
        uint64_t n_free;    /* in their slab */
};

struct check_totals {
        struct check_class classes[SIZE_CLASS_N];
        uint64_t n_huge;
        uint64_t huge_bytes;         /* usable */
        uint64_t huge_span_bytes;    /* of the chunks that they take */
        uint64_t n_huge_pending;     /* of n_huge: root objects under construction */
        uint64_t huge_pending_bytes; /* of huge_bytes */
        uint64_t n_huge_cached;      /* of n_huge: in a magazine of a thread or of a depot */
        uint64_t huge_cached_bytes;  /* of huge_bytes */
        uint64_t free_run_bytes;     /* granules that are free in arenas */
        uint64_t moving_bytes;       /* granules and chunks that somebody is just claiming, freeing or purging */
        uint64_t dirty_bytes;        /* free granules and chunks that may have pages */
        uint64_t backed_bytes;       /* pages of chunks that are known to exist */
        uint64_t n_chunks_free, n_chunks_arena, n_chunks_huge;
        uint64_t n_magazines_pool, n_magazines_tcache, n_magazines_depot;
        uint64_t n_clients, n_threads, n_roots;
        uint64_t metadata_bytes; /* of the tables below their marks */
        uint64_t unhinted_bytes; /* free, but no hint leads there: the clock hands find it.  Quiescent only */
        uint64_t n_faults;
};

/* How many faults there are; the first CHECK_LINES_MAX go to `report` (NULL: nowhere), a line each, and a summary.
 * *ret_totals (may be NULL) is what was counted.  -ENOMEM: nothing has been checked. */
int check_region(const struct region *r, unsigned flags, FILE *report, struct check_totals *ret_totals);

/* The same, and the part of each arena apart: layout.n_arenas elements, zeroed by the caller.  Per arena only what lies
 * in chunks is counted. */
int check_region_by_arena(const struct region *r, unsigned flags, FILE *report, struct check_totals *ret_totals,
                          struct check_totals *ret_by_arena);

/* Bytes of all live blocks. */
uint64_t check_live_bytes(const struct check_totals *totals);

/* Bytes of all that are cached; how many these are. */
uint64_t check_cached_bytes(const struct check_totals *totals);
uint64_t check_cached_blocks(const struct check_totals *totals);

/* Whether a block starts here that is allocated: neither free nor cached nor under construction.  Looks into every
 * magazine. */
bool check_block_is_allocated(const struct region *r, uint64_t block_off);

/* Adds what the magazines in the places of a thread's slot hold, as far as they are that thread's.  A look, for people:
 * others may be running. */
void check_add_cached(const struct region *r, uint32_t thread_no, uint64_t *blocks, uint64_t *bytes);

/* ------------------------------------------------------------------ walking */

enum check_where {
        CHECK_LIVE = 1u << 0,
        CHECK_CACHED = 1u << 1, /* in a magazine, or a root object under construction */
        CHECK_FREE = 1u << 2,   /* in its slab */
        CHECK_STRETCH = 1u << 3 /* no block, but free granules side by side, or a free chunk */
};

struct check_block {
        uint64_t block_off;
        uint64_t bytes;
        uint32_t class_idx; /* SIZE_CLASS_NONE: huge, or a free stretch */
        uint32_t arena;     /* UINT32_MAX: of none */
        uint32_t node;      /* UINT32_MAX: of none in particular */
        enum check_where where;
};

/* Non-zero ends the walk, and is what it returns. */
typedef int check_walk_fn(const struct check_block *block, void *arg);

/* Calls fn for everything that is in one of the places `where`, in the order of addresses.  0, what fn returned, or
 * -ENOMEM before the first call.  While others run each block is seen as it was at some moment of the walk. */
int check_walk(const struct region *r, unsigned where, check_walk_fn *fn, void *arg);

#endif
