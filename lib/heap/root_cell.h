/*
 * root_cell.h - the words that hold the blocks of roots: a record's `object` and a slot's `pending`.  See root.c.
 *
 *   BLOCK                        a region offset, 0 = none; as an allocation or free stores it
 *   BUILDING, PUBLISHED, TAKING  kind 0..2 | sequence 3..26 | block offset / 16 27..63
 *   OBJECT                       kind 0..2 | slack 3..21 | block offset / 16 27..63
 *   FROM, TAKEN                  kind 0..2 | sequence 3..26 | thread 27..42 | entry 43..44 | slack 45..63 (FROM)
 *
 * The slack is what the block has beyond the object's size: so the exact size needs no room in the block.
 */
#ifndef HEAP_ROOT_CELL_H
#define HEAP_ROOT_CELL_H

#include <stdbool.h>
#include <stdint.h>

#include "base/verify.h"
#include "layout/layout.h"

enum cell_kind {
        CELL_BLOCK = 0, /* in pending: 0, or a block that nothing else names */
        CELL_WANTED,    /* in pending: a block is being allocated */
        CELL_BUILDING,  /* in pending: a block under construction, unless an object is FROM it */
        CELL_PUBLISHED, /* in pending: a block that an object has */
        CELL_TAKING,    /* in pending: a block that another cell has, unless that is TAKEN by it */
        CELL_OBJECT,    /* in an object: a block */
        CELL_FROM,      /* in an object: the block that the mover's cell names */
        CELL_TAKEN      /* in an object, or in the pending word of a dead slot: nothing any more */
};

#define MOVER_SEQUENCE_BITS 24
#define MOVER_SEQUENCE_MASK ((UINT64_C(1) << MOVER_SEQUENCE_BITS) - 1)
#define OBJECT_SLACK_BITS   19
#define OBJECT_SLACK_MAX    ((UINT64_C(1) << OBJECT_SLACK_BITS) - 1)

_Static_assert(LAYOUT_CAPACITY_MAX <= UINT64_C(16) << 37, "block offsets fit a cell");
_Static_assert(GEO_LARGE_MAX / 8 <= OBJECT_SLACK_MAX, "four classes per doubling: what the largest wastes fits a cell");
_Static_assert(GEO_PAGE_BYTES <= OBJECT_SLACK_MAX, "so does what a huge block wastes");
_Static_assert(ROOTS_PENDING_MAX <= 4, "entries fit a mark");

/* The mover's cell as a mark names it. */
struct mover {
        uint32_t thread_no;
        uint32_t entry;
        uint64_t sequence;
};

static inline enum cell_kind
cell_kind(uint64_t word)
{
        return (enum cell_kind)WORD_FIELD(word, 0, 3);
}

/* A slot's pending word that names its block by a sequence number. */
static inline bool
cell_is_moving(uint64_t word)
{
        return cell_kind(word) == CELL_BUILDING || cell_kind(word) == CELL_PUBLISHED || cell_kind(word) == CELL_TAKING;
}

/* A word that names a mover's cell. */
static inline bool
cell_is_mark(uint64_t word)
{
        return cell_kind(word) == CELL_FROM || cell_kind(word) == CELL_TAKEN;
}

static inline uint64_t
cell_sequence(uint64_t word)
{
        return WORD_FIELD(word, 3, MOVER_SEQUENCE_BITS);
}

static inline uint64_t
cell_block_off(uint64_t word)
{
        return WORD_FIELD(word, 27, 37) * 16;
}

static inline uint64_t
cell_with_kind(uint64_t word, enum cell_kind kind)
{
        ASSERT((unsigned)kind < 8);
        return WORD_SET(word, 0, 3, (uint64_t)kind);
}

static inline uint64_t
cell_moving(enum cell_kind kind, uint64_t sequence, uint64_t block_off)
{
        ASSERT((unsigned)kind < 8 && sequence <= MOVER_SEQUENCE_MASK);
        ASSERT(block_off % 16 == 0 && block_off / 16 < UINT64_C(1) << 37);
        return (uint64_t)kind | WORD_PUT(sequence, 3) | WORD_PUT(block_off / 16, 27);
}

static inline uint64_t
cell_object(uint64_t slack, uint64_t block_off)
{
        ASSERT(slack <= OBJECT_SLACK_MAX);
        ASSERT(block_off % 16 == 0 && block_off / 16 < UINT64_C(1) << 37);
        return (uint64_t)CELL_OBJECT | WORD_PUT(slack, 3) | WORD_PUT(block_off / 16, 27);
}

static inline uint64_t
object_slack(uint64_t word)
{
        return WORD_FIELD(word, 3, OBJECT_SLACK_BITS);
}

static inline uint64_t
mark_make(enum cell_kind kind, struct mover mover, uint64_t slack)
{
        ASSERT(mover.entry < ROOTS_PENDING_MAX && mover.thread_no <= THREAD_NO_MAX);
        ASSERT(slack <= OBJECT_SLACK_MAX && mover.sequence <= MOVER_SEQUENCE_MASK);
        return (uint64_t)kind | WORD_PUT(mover.sequence, 3) | WORD_PUT(mover.thread_no, 27) |
               WORD_PUT(mover.entry, 43) | WORD_PUT(slack, 45);
}

static inline struct mover
mark_mover(uint64_t mark)
{
        return (struct mover){.thread_no = (uint32_t)WORD_FIELD(mark, 27, 16),
                              .entry = (uint32_t)WORD_FIELD(mark, 43, 2),
                              .sequence = cell_sequence(mark)};
}

static inline uint64_t
mark_slack(uint64_t mark)
{
        return WORD_FIELD(mark, 45, OBJECT_SLACK_BITS);
}

#endif
