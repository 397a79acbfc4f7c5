/*
 * stage.h - what the actors of a storm and their supervisor share: one named object in the heap under test.
 *
 * A BOX holds a block that any actor may take.  Its word says whether it is empty, full, or which actor has it; who has
 * it may change the rest.  An ACTOR is a thread of a worker process.  Before it does what leaves a window (allocating
 * what it has not noted anywhere yet, freeing what it has forgotten already) it writes a note, by which the supervisor
 * accounts for the one block that a death in the window may lose or keep.  shheap_malloc_to() and shheap_free_from()
 * leave no window: there the word in the box tells all.
 */
#ifndef STORM_STAGE_H
#define STORM_STAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <shmalloc/shmalloc.h>

#include "base/atomic.h"

#define MIB ((size_t)1 << 20)

enum { BOXES_MAX = 1024, ACTORS_MAX = 256, LIST_MAX = 96 };

enum { BOX_EMPTY = 0, BOX_FULL = 1, BOX_ACTOR = 2 /* + index: whose it is */ };

struct box {
        uint64_t word;
        shref block;
        uint64_t size, seed; /* what its stamp says, if is_full */
        uint64_t is_full;    /* stored after the block is complete, cleared before it is spoiled */
        uint64_t pad[3];
};

enum note_kind {
        NOTE_NONE,
        NOTE_MALLOC,    /* a block of `usable` bytes may be allocated and known to nobody */
        NOTE_MALLOC_TO, /* the box has no block, or one without a stamp */
        NOTE_FREE,      /* the block `ref` is forgotten already, and may be allocated still */
        NOTE_FREE_FROM, /* the box has its block still, or nothing */
        NOTE_REALLOC    /* as NOTE_FREE for `ref`, and as NOTE_MALLOC for `usable` */
};

struct note {
        uint64_t kind;
        shref ref;
        uint64_t usable;
};

struct actor {
        uint64_t n_ops; /* grows as long as the actor gets on */
        struct note note;
        uint64_t n_enomem, n_busy;
        shref list[LIST_MAX]; /* blocks of its own */
        uint64_t pad[3];
};

struct stage {
        uint64_t must_stop;
        uint64_t n_boxes;
        uint64_t is_exact; /* nothing is done that leaves a window */
        uint64_t may_fork; /* not where the file system is full: children need slots */
        uint64_t pad[4];
        struct box boxes[BOXES_MAX];
        struct actor actors[ACTORS_MAX];
};

/* The supervisor's, or a worker's. */
struct stage *stage_find(shheap *h);

/* ------------------------------------------------------------------ stamps */

/* Writes into a block who made it, how long it is, and a pattern: each byte of a small one; of others both ends and a
 * word of each page. */
void stamp_write(shheap *h, void *p, uint64_t size, uint64_t seed);

/* NULL, or what is wrong. */
const char *stamp_fault(const shheap *h, const void *p, uint64_t size, uint64_t seed);

/* The same for a copy at p of the first `size` bytes of a block of `whole` bytes whose reference was `ref`. */
const char *stamp_fault_of_copy(const void *p, uint64_t size, shref ref, uint64_t whole, uint64_t seed);

/* Makes it unlike any stamp. */
void stamp_spoil(void *p, uint64_t size);

/* ------------------------------------------------------------------ randomness */

struct dice {
        uint64_t state;
};

static inline uint64_t
dice_next(struct dice *d)
{
        uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

static inline uint64_t
dice_below(struct dice *d, uint64_t n)
{
        return dice_next(d) % n;
}

#endif
