/*
 * run.h - runs: contiguous granules of one chunk, claimed granule by granule.
 *
 * No chunk is ever locked: a stopped taker blocks only the granules that it holds.  The steps are drawn in
 * doc/recovery.md (RUN.n, RUN_FREE.n).
 */
#ifndef PAGES_RUN_H
#define PAGES_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/verify.h"
#include "clients/owner.h"
#include "clients/thread.h"

/* What a run is to have. */
struct run_need {
        uint32_t granules, align_granules; /* its length, and what its start within the chunk is a multiple of */
        uint32_t class_idx;                /* small: the bitmap of a slab of the class */
        uint64_t bytes;                    /* and pages for so many, from its start on */
        uint64_t (*colour)(uint64_t head, uint32_t class_idx); /* or from so many bytes behind it on; may be NULL */
};

#define CHUNK_ANY UINT64_MAX

/* What is looked for, and where. */
struct where {
        uint32_t arena;
        uint64_t chunk; /* in this one alone, trusting no hint; CHUNK_ANY: where the arena's hints say */
        struct run_need need;
};

/* Claims the lowest free run that is long enough and aligned, such with pages first.  With call.no_grow it has all else
 * that is needed already, for nobody would get it for it.  0: its granules are NEW(t), the candidate names it.
 * -ENOMEM: there is none, as far as hints know. */
int run_claim(struct thread *t, const struct where *where, uint64_t *ret_head);

/* Backs the first `bytes` of a run of NEW(t) granules.  0, -ENOMEM, -ENOSPC. */
int run_reserve(struct thread *t, uint64_t head, uint64_t bytes);

/* Lets go of a run of NEW(t) granules that never became anything; clears the candidate. */
void run_unclaim(struct thread *t, uint64_t head, uint32_t granules);

/* Gives the granules of a run back whose head this thread owns (NEW or FREEING), head last; clears the candidate. */
void run_free_owned(struct thread *t, uint64_t head, uint32_t granules);

/* RUN, RUN_FREE: what a reaper does for a candidate (region, number of the dead thread). */
void run_settle(struct region *r, uint32_t thread_no, uint64_t head, uint32_t granules);

/* Rewrites the hints about a chunk of an arena from its granule words. */
void run_renew_hints(struct region *r, uint64_t chunk);

/* Hints that granules [first, first + n) of a chunk are free (called after the release). */
void run_hint_free(struct region *r, uint32_t arena, uint64_t head, uint32_t granules);

/* Hints which of granules [first, first + n) of a chunk are free, if its map has lost them, and all that follow from
 * the map. */
void run_hint_lost(struct region *r, uint64_t first, uint32_t n);

/* The stamp of now: when a granule became free. */
uint32_t run_stamp(const struct region *r);

/* Granule words as they are; head of the run that a granule belongs to, or POSITION_NONE. */
int64_t run_head_of(struct region *r, uint64_t granule);

static inline uint64_t *
run_word(struct region *r, uint64_t granule)
{
        ASSERT(granule < r->layout.n[TABLE_GRANULES]);
        return &r->granules[granule];
}

/* The owner's word for a free granule that used to be `word`. */
static inline uint64_t
run_free_word(uint64_t word, uint32_t stamp)
{
        return (word & (GRANULE_ARENA | GRANULE_BACKING)) |
               granule_with_stamp(granule_word(GRANULE_FREE, THREAD_NONE, 0), stamp);
}

/* FREE(arena) -> NEW(t) of one granule. */
static inline bool
run_take(const struct thread *t, uint64_t *word, uint32_t arena)
{
        uint64_t seen = owner_load(word);

        ASSERT(arena < t->region->layout.n_arenas);
        return granule_is_free_of(seen, arena) &&
               granule_acquire(t, word, &seen, granule_word(GRANULE_NEW, t->no, arena) | (seen & GRANULE_BACKING));
}

#endif
