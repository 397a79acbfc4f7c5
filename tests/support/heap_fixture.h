/*
 * heap_fixture.h - a heap on plain zeroed memory, threads as its clients, and the judge: heap_verify().
 *
 * heap_verify() has the judge (support/judge.h) prove that each block is in exactly one place: free by the bitmap, in
 * one magazine, or one of the live blocks that the test names.  What it finds wrong it says, and aborts the test.
 */
#ifndef SUPPORT_HEAP_FIXTURE_H
#define SUPPORT_HEAP_FIXTURE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/client.h"
#include "clients/thread.h"
#include "region/region.h"
#include "support/judge.h"
#include "tcache/tcache.h"

enum { HEAP_THREADS_MAX = 16 };

struct heap_params {
        uint64_t n_chunks;        /* 0 = 4 */
        uint32_t max_threads;     /* 0 = 8 */
        uint32_t n_nodes;         /* 0 = 1 */
        uint32_t arenas_per_node; /* 0 = 1 */
        bool has_file;            /* a memfd instead of memory without a file: backing and punching are real */
};

struct heap_fixture {
        struct region region;
        struct client_id client;
        struct thread threads[HEAP_THREADS_MAX];
        uint32_t n_threads;
        void *mapping;
        size_t mapping_bytes;
        struct shheap heap; /* as tcache_get() wants it, and open; has a region of its own, bound to the same */
};

/* The region lies at a multiple of a chunk, is shared with forked children, and no arena is ready yet. */
void heap_make(struct heap_fixture *fx, struct heap_params params);
void heap_drop(struct heap_fixture *fx);

/* Another client thread, played by whoever calls; bound to `arena`, which becomes ready. */
struct thread *heap_attach(struct heap_fixture *fx, uint32_t arena);

/* The thread is dead: what it left is settled, as a reaper does it, and its slot is empty. */
void heap_bury(struct heap_fixture *fx, struct thread *t);

/* ------------------------------------------------------------------ live blocks */

/* What the test has allocated and not freed. */
struct live {
        uint64_t *off; /* block offsets */
        size_t n, room;
};

void live_add(struct live *live, uint64_t block_off);
void live_drop(struct live *live, uint64_t block_off); /* aborts if it is not there */
uint64_t live_pop(struct live *live);                  /* the one added last */
void live_fini(struct live *live);

/* ------------------------------------------------------------------ the judge */

/* Nobody is at work: no word has an owner but magazines, no slot has an intent, a candidate or a hand. */
struct tally heap_verify(struct region *r, const struct live *live);

/* The same without naming the live blocks: only that no block is in two places. */
struct tally heap_verify_words(struct region *r);

/* ------------------------------------------------------------------ small helpers */

/* Makes all hints of all arenas lie: `set` says in which direction. */
void heap_scramble_hints(struct region *r, bool set);

/* The lowest class whose slabs have so many granules; SIZE_CLASS_NONE if there is none. */
uint32_t class_with_granules(uint32_t n_granules);

#endif
