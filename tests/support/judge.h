/*
 * judge.h - where each block of a heap is, by the words alone: the tests' own judge.
 *
 * It is written against layout/ and the size classes, and shares no code with what it judges, nor with the library's
 * own check (audit/check.h), which tests ask as well: whatever one of the two overlooks, the other has a chance to see.
 * It walks the owner words, the bitmaps and the magazines of a heap in which nobody is at work, and finds that each
 * block is in exactly one place: free by the bitmap, in one magazine, or allocated.  What it finds wrong goes to a
 * function of the test, which may end the test or note it: then the judge goes on, and trusts no word the more for it.
 */
#ifndef SUPPORT_JUDGE_H
#define SUPPORT_JUDGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/size_class.h"
#include "region/region.h"

/* What there is of a class, or of chunks. */
struct tally {
        uint64_t n_free_granules, n_slabs, n_runs, n_huge, n_free_chunks;
        uint64_t free_blocks[SIZE_CLASS_N];          /* by the bitmaps of slabs */
        uint64_t cached_blocks[SIZE_CLASS_N_CACHED]; /* in magazines */
        uint64_t n_cached_in_depots;                 /* of those, in magazines of depots */
        uint32_t n_pooled;                           /* magazines below the marks */
        uint32_t n_depot;
        uint32_t n_tcache;
};

enum judge_place { JUDGE_NOTHING, JUDGE_ALLOCATED, JUDGE_FREE, JUDGE_CACHED, JUDGE_LIVE };

/* A block as its slab, run or chunk has it. */
struct judge_block {
        uint64_t off;       /* from the first chunk */
        uint64_t head;      /* granule */
        uint64_t bytes;     /* of a huge one: usable */
        uint32_t idx;       /* in its slab */
        uint32_t class_idx; /* SIZE_CLASS_NONE: huge */
};

/* What is known of the file at an offset of the region. */
enum judge_pages { JUDGE_PAGES_UNKNOWN, JUDGE_HOLE, JUDGE_PAGE };

struct judge {
        const struct region *r;
        void (*fault)(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
        enum judge_pages (*pages)(uint64_t region_off); /* NULL: only what the words say of pages is judged */

        /* out: */
        uint64_t hwm; /* chunks */
        struct tally tally;
        uint64_t n_allocated; /* of them, neither cached nor told of by judge_has() */
};

/* Judges all words.  One heap at a time: what a judge knows of blocks lasts until the next begins. */
void judge_region(struct judge *j);

/* The block that starts at this offset.  False: none does. */
bool judge_find(const struct judge *j, uint64_t block_off, struct judge_block *ret);

/* Somebody has this block: it must be allocated, and be told of once.  `who` and `number` say in a fault who. */
void judge_has(struct judge *j, uint64_t block_off, const char *who, uint64_t number);

/* All blocks that are allocated, and nobody has been said to have, in the order of addresses. */
void judge_each_allocated(const struct judge *j, void (*fn)(const struct judge_block *block, void *arg), void *arg);

/* How many granules a slab or a large run takes; 0: no such class. */
uint32_t judge_run_length(uint64_t granule_word);

#endif
