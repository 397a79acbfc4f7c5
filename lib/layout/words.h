/*
 * words.h - owner words: the 64-bit words through which everything mutable in the region changes hands.
 *
 * A word holds a state and, beside it, the owner (a thread number: slot index + 1, 0 = nobody).  Taking ownership
 * never erases what the thing is, so whoever reaps the dead knows what it finds.  Zero is always the state of
 * untouched memory: a magazine in the pool, a granule of no arena, a free chunk, no candidate.
 *
 * Words are packed and unpacked here only, by value; clients/owner.h is the only place that changes one in memory.
 */
#ifndef LAYOUT_WORDS_H
#define LAYOUT_WORDS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/geometry.h"
#include "base/verify.h"

#define WORD_FIELD(word, shift, bits) (((word) >> (shift)) & ((UINT64_C(1) << (bits)) - 1))
#define WORD_PUT(value, shift)        ((uint64_t)(value) << (shift))
#define WORD_SET(word, shift, bits, value)                                                                             \
        (((word) & ~(((UINT64_C(1) << (bits)) - 1) << (shift))) | WORD_PUT((value), (shift)))

/* A function that reads a field, as the type that it has. */
#define WORD_READ(type, name, shift, bits)                                                                             \
        static inline type name(uint64_t word)                                                                         \
        {                                                                                                              \
                return (type)WORD_FIELD(word, shift, bits);                                                            \
        }

/* A function that gives the word with another value in a field; the value is below `limit`. */
#define WORD_WITH(type, name, shift, bits, limit)                                                                      \
        static inline uint64_t name(uint64_t word, type value)                                                         \
        {                                                                                                              \
                ASSERT((uint64_t)value < (limit));                                                                     \
                return WORD_SET(word, shift, bits, value);                                                             \
        }

#define THREAD_NONE   0u     /* no owner */
#define THREAD_NO_MAX 65534u /* thread numbers are 16 bits */
#define THREADS_MIN   2u     /* of a heap: a thread's, and the reserve of its process */
#define ARENA_MAX     1024u  /* arena indices are 10 bits */
#define NODE_MAX      64u    /* NUMA nodes of one heap */
#define NODE_NONE     UINT32_MAX

/* ------------------------------------------------------------------ granule words
 *
 *   state 0..3 | owner 4..19 | arena 20..29 | flags 30..31 | class 32..37 | count 38..50 | backed 51..55 | stamp 56..63
 *
 * `backed` counts the sixteenths of the granule, from its start, that are known to have pages: 16 = touching the
 * granule cannot fault.  With `may have` it is carried through every state; it is cleared before a punch.
 */
enum granule_state {
        GRANULE_NONE = 0, /* the chunk belongs to no arena; no claimer's CAS expects this */
        GRANULE_FREE,     /* free in an arena; stamp: when it became free (decay) */
        GRANULE_NEW,      /* claimed, becoming part of a run; always owned */
        GRANULE_SLAB,     /* head of a slab; class, count = free blocks, stamp: last used, and whether purged since */
        GRANULE_LARGE,    /* head of a large run; class, count = granules, stamp = colour: block's offset / 64 */
        GRANULE_CONT,     /* inside a run; count = distance to the head, which owns it */
        GRANULE_FREEING,  /* head of a run being freed; count = granules; always owned */
        GRANULE_PURGING,  /* its pages are being given back; always owned */
        GRANULE_N_STATES
};

#define GRANULE_MAY_HAVE    (UINT64_C(1) << 30) /* may have pages: set before fallocate, cleared after a punch */
#define GRANULE_DOOMED      (UINT64_C(1) << 31) /* freed while somebody resized it: who drops the owner frees it */
#define GRANULE_BACKED_ALL  16u
#define GRANULE_BACKED_UNIT (GEO_GRANULE_BYTES / GRANULE_BACKED_ALL)
#define GRANULE_BACKED      WORD_PUT(31, 51)                    /* mask */
#define GRANULE_BACKING     (GRANULE_MAY_HAVE | GRANULE_BACKED) /* mask of what every state carries along */
#define GRANULE_STATE       WORD_PUT(15, 0)                     /* mask */
#define GRANULE_ARENA       WORD_PUT(1023, 20)                  /* mask */

static inline uint64_t
granule_word(enum granule_state state, uint32_t owner, uint32_t arena)
{
        ASSERT(owner <= THREAD_NO_MAX + 1 && arena < ARENA_MAX);
        return (uint64_t)state | WORD_PUT(owner, 4) | WORD_PUT(arena, 20);
}

WORD_READ(enum granule_state, granule_state, 0, 4)
WORD_READ(uint32_t, granule_owner, 4, 16)
WORD_READ(uint32_t, granule_arena, 20, 10)
WORD_READ(uint32_t, granule_class, 32, 6)
WORD_READ(uint32_t, granule_count, 38, 13)
WORD_READ(uint32_t, granule_stamp, 56, 8)
WORD_READ(uint32_t, granule_backed, 51, 5)

static inline bool
granule_is_backed(uint64_t word) /* in whole */
{
        return (word & GRANULE_BACKED) == WORD_PUT(GRANULE_BACKED_ALL, 51);
}

static inline bool
granule_is_free_of(uint64_t word, uint32_t arena)
{
        return (word & (GRANULE_STATE | GRANULE_ARENA)) == granule_word(GRANULE_FREE, THREAD_NONE, arena);
}

WORD_WITH(uint32_t, granule_with_backed, 51, 5, 32u)
WORD_WITH(uint32_t, granule_with_owner, 4, 16, THREAD_NO_MAX + 2)
WORD_WITH(enum granule_state, granule_with_state, 0, 4, GRANULE_N_STATES)
WORD_WITH(uint32_t, granule_with_class, 32, 6, 64u)
WORD_WITH(uint32_t, granule_with_count, 38, 13, 1u << 13)

static inline uint64_t
granule_with_stamp(uint64_t word, uint32_t stamp)
{
        return WORD_SET(word, 56, 8, stamp & 0xff);
}

/* ------------------------------------------------------------------ chunk words
 *
 *   state 0..2 | owner 3..18 | arena 19..28 | node + 1 29..35 | doomed 36 | count 38..61
 */
enum chunk_state {
        CHUNK_FREE = 0,
        CHUNK_NEW,     /* claimed; always owned */
        CHUNK_ARENA,   /* given to an arena; never owned: its granules are */
        CHUNK_HUGE,    /* head of a huge block; count = chunks; owned only while it is resized */
        CHUNK_TAIL,    /* inside a huge block; count = distance to the head, which owns it */
        CHUNK_FREEING, /* on its way back; count = chunks at the head of a huge block; always owned */
        CHUNK_N_STATES
};

#define CHUNK_DOOMED    (UINT64_C(1) << 36)
#define CHUNK_COUNT_MAX ((UINT64_C(1) << 24) - 1)

static inline uint64_t
chunk_word(enum chunk_state state, uint32_t owner, uint32_t arena)
{
        ASSERT(owner <= THREAD_NO_MAX + 1 && arena < ARENA_MAX);
        return (uint64_t)state | WORD_PUT(owner, 3) | WORD_PUT(arena, 19);
}

WORD_READ(enum chunk_state, chunk_state, 0, 3)
WORD_READ(uint32_t, chunk_owner, 3, 16)
WORD_READ(uint32_t, chunk_arena, 19, 10)

/* The node that the pages of the chunk were bound to last, plus 1; 0 = never bound.  Carried through every state. */
WORD_READ(uint32_t, chunk_node1, 29, 7)
WORD_READ(uint32_t, chunk_count, 38, 24)

WORD_WITH(uint32_t, chunk_with_owner, 3, 16, THREAD_NO_MAX + 2)
WORD_WITH(enum chunk_state, chunk_with_state, 0, 3, CHUNK_N_STATES)
WORD_WITH(uint32_t, chunk_with_node1, 29, 7, NODE_MAX + 1)
WORD_WITH(uint32_t, chunk_with_count, 38, 24, CHUNK_COUNT_MAX + 1)

#define CHUNK_NODE  WORD_PUT(127, 29)             /* mask */
#define CHUNK_COUNT WORD_PUT(CHUNK_COUNT_MAX, 38) /* mask */

/* Whether it is the head of a huge block that nobody is at; and whether it has so many chunks. */
static inline bool
chunk_is_huge(uint64_t word)
{
        return (word & ~(CHUNK_NODE | CHUNK_COUNT)) == (uint64_t)CHUNK_HUGE;
}

static inline bool
chunk_is_huge_of(uint64_t word, uint64_t n_chunks)
{
        return (word & ~CHUNK_NODE) == ((uint64_t)CHUNK_HUGE | WORD_PUT(n_chunks, 38));
}

/* ------------------------------------------------------------------ magazine words
 *
 *   state 0..1 | owner 2..17 | arena 18..27 | tag 28..43 | foreign 44 | bare 45 | depot place + 1 46..56
 *
 * `foreign` while a thread owns it: there may be blocks in it that others freed.  From a depot until it is empty.
 * `bare`: its pages may have gone, so nobody touches it before they have been reserved again.
 * The place is the one of its class that names it in its depot, or did: a hint.
 */
enum magazine_state {
        MAGAZINE_POOL = 0, /* empty, and nobody's; perhaps bare */
        MAGAZINE_TCACHE,   /* a thread's; bare for as long as it has just taken it */
        MAGAZINE_DEPOT,
        MAGAZINE_PURGING, /* from the pool: its pages are being given back; always owned, and bare */
        MAGAZINE_N_STATES
};

#define MAGAZINE_FOREIGN (UINT64_C(1) << 44)
#define MAGAZINE_BARE    (UINT64_C(1) << 45)

static inline uint64_t
magazine_word(enum magazine_state state, uint32_t owner, uint32_t arena, uint32_t tag)
{
        ASSERT(state < MAGAZINE_N_STATES && owner <= THREAD_NO_MAX + 1);
        ASSERT(arena < ARENA_MAX && tag <= UINT16_MAX);
        return (uint64_t)state | WORD_PUT(owner, 2) | WORD_PUT(arena, 18) | WORD_PUT(tag, 28);
}

WORD_READ(enum magazine_state, magazine_state, 0, 2)
WORD_READ(uint32_t, magazine_owner, 2, 16)
WORD_READ(uint32_t, magazine_arena, 18, 10)

static inline bool
magazine_is_foreign(uint64_t word)
{
        return (word & MAGAZINE_FOREIGN) != 0;
}

static inline bool
magazine_is_bare(uint64_t word)
{
        return (word & MAGAZINE_BARE) != 0;
}

WORD_READ(uint32_t, magazine_tag, 28, 16)
WORD_READ(uint32_t, magazine_depot_place1, 46, 11)
WORD_WITH(uint32_t, magazine_with_depot_place1, 46, 11, 1 << 11)

/* ------------------------------------------------------------------ tags: what shfree reads, one u16 per granule
 *
 * 0 = no block starts here that shfree may put into a magazine unseen (not a block, inside a large run, huge).  A
 * magazine has one, too: that of huge blocks is found by the word of their chunk.
 */
#if SHM_TINY_GEOMETRY
#define TAG_CLASSES 64u
#else
#define TAG_CLASSES 128u /* stride of a node in the tag space; class indices, of huge blocks too, are below it */
#endif
#define TAG_NONE 0u

static inline uint32_t
tag_make(uint32_t node, uint32_t class_idx)
{
        ASSERT(node < NODE_MAX && class_idx < TAG_CLASSES);
        return 1 + node * TAG_CLASSES + class_idx;
}

static inline uint32_t
tag_class(uint32_t tag)
{
        ASSERT_INVARIANT(I3, tag != TAG_NONE);
        return (tag - 1) % TAG_CLASSES;
}

static inline uint32_t
tag_node(uint32_t tag)
{
        ASSERT_INVARIANT(I3, tag != TAG_NONE);
        return (tag - 1) / TAG_CLASSES;
}

/* ------------------------------------------------------------------ candidates: what a thread is about to own
 *
 *   kind 0..3 | head 4..33 | length 34..61.  Written to the thread's slot before the first CAS, cleared after the
 *   release, so the slot names a superset of what its thread owns and a reaper looks nowhere else.
 */
enum candidate_kind {
        CANDIDATE_NONE = 0,
        CANDIDATE_RUN,       /* granules [head, head + length): claim, slab in use, resize, free, purge */
        CANDIDATE_CHUNK,     /* chunk head and its granules: given to an arena or taken back, purged, swept */
        CANDIDATE_HUGE,      /* chunks [head, head + length) */
        CANDIDATE_ROOT,      /* root record head */
        CANDIDATE_MAGAZINES, /* magazines [head, head + length): purged */
        CANDIDATE_N_KINDS
};

static inline uint64_t
candidate_make(enum candidate_kind kind, uint64_t head, uint64_t length)
{
        ASSERT(kind < CANDIDATE_N_KINDS && head < UINT64_C(1) << 30 && length < UINT64_C(1) << 28);
        return (uint64_t)kind | WORD_PUT(head, 4) | WORD_PUT(length, 34);
}

/* Of magazines, so that a reaper does not take long, whatever the candidate says. */
#define CANDIDATE_MAGAZINES_MAX 256u

WORD_READ(enum candidate_kind, candidate_kind, 0, 4)
WORD_READ(uint64_t, candidate_head, 4, 30)
WORD_READ(uint64_t, candidate_length, 34, 28)

/* ------------------------------------------------------------------ sweep: pages of a table beyond a mark are being
 * given back
 *
 *   owner 0..15 | mark 16..23 | limit 24..63; 0 = nobody sweeps.  The mark may not be raised over element `limit`
 *   meanwhile.
 */
enum sweep_mark {
        SWEEP_CHUNKS,
        SWEEP_THREADS,
        SWEEP_CLIENTS,
        SWEEP_ROOTS,
        SWEEP_MAGAZINES, /* of node 0; and so on */
        SWEEP_N = SWEEP_MAGAZINES + NODE_MAX
};

static inline uint64_t
sweep_word(uint32_t owner, uint32_t mark, uint64_t limit)
{
        ASSERT(owner != THREAD_NONE && mark < SWEEP_N && limit < UINT64_C(1) << 40);
        return WORD_PUT(owner, 0) | WORD_PUT(mark, 16) | WORD_PUT(limit, 24);
}

WORD_READ(uint32_t, sweep_owner, 0, 16)
WORD_READ(uint32_t, sweep_mark, 16, 8)

static inline uint64_t
sweep_limit(uint64_t word)
{
        return word >> 24;
}

/* ------------------------------------------------------------------ folding: what a slot has counted is added to the
 * totals, so that its pages can go
 *
 *   owner 0..15 | thread number of the slot 16..31 | committed 32 | folds so far 33..63; owner 0 = nobody folds.
 *   The totals are those of two that the lowest bit of the number of folds tells; before the first there are none.
 *   Committed: they have the slot's counters, which count no more.
 */
#define FOLDS_MAX ((UINT32_C(1) << 31) - 1)

static inline uint64_t
folding_word(uint32_t owner, uint32_t slot_no, bool is_committed, uint64_t n_folds)
{
        ASSERT((owner != THREAD_NONE) == (slot_no != THREAD_NONE) && slot_no <= THREAD_NO_MAX);
        return WORD_PUT(owner, 0) | WORD_PUT(slot_no, 16) | WORD_PUT(is_committed, 32) | n_folds << 33;
}

WORD_READ(uint32_t, folding_owner, 0, 16)
WORD_READ(uint32_t, folding_slot_no, 16, 16)
WORD_READ(bool, folding_is_committed, 32, 1)
WORD_READ(uint32_t, folding_n, 33, 31)

/* How many there are after one more.  0 never comes again: there would be no totals. */
static inline uint32_t
folding_n_next(uint64_t word)
{
        return folding_n(word) < FOLDS_MAX ? folding_n(word) + 1 : FOLDS_MAX % 2 + 1;
}

#endif
