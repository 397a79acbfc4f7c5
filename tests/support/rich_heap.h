/*
 * rich_heap.h - a heap with one of everything that a heap can have, for tests of the check (audit/check.h): two
 * threads, of node 0 and node 1, with slabs, large runs, a huge block, magazines in all places, a root, and what is
 * free.
 *
 * The check is asked with the tables write-protected and the chunks unmapped: it reads the tables and never looks into
 * a block.
 */
#ifndef SUPPORT_RICH_HEAP_H
#define SUPPORT_RICH_HEAP_H

#include <stdint.h>

#include "audit/check.h"
#include "support/heap_fixture.h"

enum { RICH_HEAP_LIVE_MAX = 64, RICH_HEAP_REPORT_BYTES = 64 << 10 };

struct rich_heap {
        struct heap_fixture fx;
        struct thread *t, *u; /* of node 0 and node 1 */

        /* What it has, for whoever wants to damage it. */
        uint32_t cached;       /* magazine in t's current place of class 0, of several blocks */
        uint32_t spare;        /* empty, in t's spare place of class 0 */
        uint32_t depot;        /* magazine in the depot of arena 0, of class 1 */
        uint32_t cached_large; /* magazine in t's current place of the lowest large class, one block */
        uint32_t other;        /* magazine in u's current place of class 0, node 1 */
        uint32_t pooled;
        uint64_t slab;      /* of class 0 */
        uint64_t long_slab; /* of several granules */
        uint64_t large;     /* head of a live large run of several granules */
        uint64_t coloured;  /* head of a live large run whose block is not at its start */
        uint64_t free_granule;
        uint64_t huge; /* chunk of a huge block of three */
        uint64_t free_chunk;
        uint64_t live;    /* a live block of class 0 */
        uint64_t pending; /* a block that waits in t's slot */
        uint64_t object;  /* of root "a" */

        uint64_t live_off[RICH_HEAP_LIVE_MAX]; /* all live blocks */
        uint32_t n_live;

        char report[RICH_HEAP_REPORT_BYTES]; /* of the latest check */
};

void rich_heap_make(struct rich_heap *rich);
void rich_heap_drop(struct rich_heap *rich);

/* ------------------------------------------------------------------ asking */

/* What check_region() says, as of check.h; the report is in rich->report. */
int rich_heap_ask(struct rich_heap *rich, unsigned flags, struct check_totals *ret_totals);

/* The same where others are at work, or the caller protects: PROT_* of the tables and of the chunks. */
int rich_heap_ask_unprotected(struct rich_heap *rich, unsigned flags, struct check_totals *ret_totals);
void rich_heap_protect(struct rich_heap *rich, int tables, int chunks);

/* Fails the test with the report unless there is no fault. */
void rich_heap_expect_good(struct rich_heap *rich, unsigned flags);

/* ------------------------------------------------------------------ bitmaps */

/* The index in rich->slab of a block that lies there. */
uint32_t rich_heap_block_idx(const struct rich_heap *rich, uint64_t block_off);

void rich_heap_flip_bit(struct rich_heap *rich, uint64_t head, uint32_t block_idx);

#endif
