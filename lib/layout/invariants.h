/*
 * invariants.h - what is true of a region that nobody has damaged, as equations.
 *
 * Each has a number, and is asserted by it: ASSERT_INVARIANT(I5, ...), in builds that assert.
 * tests/unit/test_invariants.c breaks each one and sees the assertion that names it.  The region's checker
 * (audit/check.h) looks at a heap from outside; these are looked at from inside, by who relies on them, at the instant
 * at which it does.
 *
 * Others write, and die, at every instruction.  So an equation speaks of what one thread owns, or what it is about to
 * write: "me" is that thread, or the dead one whose slot is being settled, by who holds the slot's `reap`.  owner(x) is
 * who the owner word of x names; a granule that is CONT, and a chunk that is TAIL, has the owner of its head; a granule
 * that is NONE has that of its chunk.  None of them speaks of a hint: hints may be wrong at any time.
 *
 *   Words, whenever one is stored or released
 *   I1  granule   NEW, FREEING, PURGING: owner /= 0.  NONE, FREE, CONT: owner = 0.
 *                 backed <= 16; backed > 0 => MAY_HAVE.  DOOMED => LARGE and owner /= 0.
 *                 SLAB: class is small, count <= blocks(class).  LARGE: class is large, count = granules(class).
 *                 CONT: 1 <= count < granules of a chunk.  arena < arenas, but for NONE
 *   I2  chunk     NEW, FREEING: owner /= 0.  FREE, ARENA, TAIL: owner = 0.  HUGE, TAIL: count >= 1.
 *                 DOOMED => HUGE and owner /= 0.  ARENA: arena < arenas.  node + 1 <= nodes
 *   I3  magazine  POOL: word = 0.  TCACHE: owner /= 0.  DEPOT: owner = 0, not foreign.
 *                 TCACHE, DEPOT: the tag is of a class
 *   I4  candidate RUN: 1 <= length, head mod 64 + length <= 64.  CHUNK, ROOT: length = 1.
 *                 HUGE: head + length <= chunks
 *
 *   Ownership
 *   I5  who stores or releases a word owns it:      owner(word) = me
 *   I6  what is owned is named:                     acquired => the candidate names it;
 *                                                   no candidate => nothing that it named is mine
 *   I7  a magazine that is owned is named:          owner(m) = me => hand = m or a place = m
 *   I8  at most one intent, and it names what is owned: begin => kind was NONE, its operands are of things of mine
 *   I9  between two calls nothing is half done:     intent = NONE, candidate = 0, hand = 0
 *   I10 what the dead left is settled by one:       owner(reap) = who settles it
 *
 *   What is owned
 *   I11 magazine  n <= cap = cap(class of its tag) <= MAGAZINE_CAP_MAX
 *   I12 slab      count = free bits, where nobody is at it; no bit behind blocks(class); granules 1 .. are CONT(i);
 *                 tags = (node, class) in all of them; in one chunk, which is ARENA(arena)
 *   I13 large     granules 1 .. count - 1 are CONT(i); colour + bytes(class) <= count granules;
 *                 tag = (node, class), NONE while it is resized; in one chunk, which is ARENA(arena)
 *   I14 huge      chunks 1 .. count - 1 are TAIL(i); count = usable bytes / chunk, rounded up
 *   I15 free      what becomes FREE(a): tag = NONE, and the chunk is ARENA(a)
 *   I16 new run   all granules are NEW(me, a), in one chunk, which is ARENA(a)
 *
 *   The rest
 *   I17 marks     each grows by one: k -> k + 1 <= limit; chunks <= capacity <= chunks there can be
 *   I18 sweep     while it names me nobody changes it; once I have written the mark again: mark <= limit, and what is
 *                 punched lies behind it
 *   I19 thread    slot = threads[no - 1], which names its client; arena < arenas; node = node(arena);
 *                 life is locked by me
 *   I20 dest      0, or 8-aligned and inside the region
 *   I21 tcache    each class's magazine in hand is that of its place, and it is mine
 *   I22 root      what is linked stays so, with its name; a root object that is under way is named in pending[]
 */
#ifndef LAYOUT_INVARIANTS_H
#define LAYOUT_INVARIANTS_H

#include <stdbool.h>

#include "base/size_class.h"
#include "base/verify.h"
#include "layout/layout.h"

static inline bool
tag_is_of_class(const struct layout *l, uint32_t tag) /* of a class, of some node */
{
        return tag != TAG_NONE && tag < l->n_tags && tag_class(tag) < SIZE_CLASS_N_CACHED;
}

/* I1 */
static inline bool
granule_word_is_valid(const struct layout *l, uint64_t word)
{
        uint32_t owner = granule_owner(word), class_idx = granule_class(word), count = granule_count(word);
        bool has_arena = granule_arena(word) < l->n_arenas, is_doomed = (word & GRANULE_DOOMED) != 0;

        if (granule_backed(word) > GRANULE_BACKED_ALL || (granule_backed(word) > 0 && !(word & GRANULE_MAY_HAVE)) ||
            (is_doomed && granule_state(word) != GRANULE_LARGE))
                return false;
        switch (granule_state(word)) {
        case GRANULE_NONE: /* of a free chunk: the first one's stamp says since when */
                return (granule_with_stamp(word, 0) & ~GRANULE_BACKING) == 0;
        case GRANULE_FREE:
                return has_arena && owner == THREAD_NONE && class_idx == 0 && count == 0;
        case GRANULE_NEW:
        case GRANULE_PURGING:
                return has_arena && owner != THREAD_NONE && class_idx == 0 && count == 0;
        case GRANULE_FREEING:
                return has_arena && owner != THREAD_NONE && count >= 1 && count <= GEO_GRANULES_PER_CHUNK;
        case GRANULE_SLAB:
                return has_arena && size_class_is_small(class_idx) && count <= size_class_slab_blocks(class_idx);
        case GRANULE_LARGE:
                return has_arena && size_class_is_large(class_idx) && count == size_class_run_granules(class_idx) &&
                       (!is_doomed || owner != THREAD_NONE);
        case GRANULE_CONT:
                return has_arena && owner == THREAD_NONE && count >= 1 && count < GEO_GRANULES_PER_CHUNK;
        default:
                return false;
        }
}

/* I2 */
static inline bool
chunk_word_is_valid(const struct layout *l, uint64_t word)
{
        uint32_t owner = chunk_owner(word), arena = chunk_arena(word), count = chunk_count(word);
        bool is_doomed = (word & CHUNK_DOOMED) != 0;

        if (chunk_node1(word) > l->n[TABLE_MAGAZINES] / l->magazines_per_node ||
            (is_doomed && (chunk_state(word) != CHUNK_HUGE || owner == THREAD_NONE)))
                return false;
        switch (chunk_state(word)) {
        case CHUNK_FREE:
                return owner == THREAD_NONE && arena == 0 && count == 0;
        case CHUNK_NEW:
                return owner != THREAD_NONE;
        case CHUNK_ARENA:
                return owner == THREAD_NONE && arena < l->n_arenas && count == 0;
        case CHUNK_HUGE:
                return count >= 1 && count <= l->n_chunks;
        case CHUNK_TAIL:
                return owner == THREAD_NONE && count >= 1 && count < l->n_chunks;
        case CHUNK_FREEING:
                return owner != THREAD_NONE;
        default:
                return false;
        }
}

/* I3 */
static inline bool
magazine_word_is_valid(const struct layout *l, uint64_t word)
{
        bool has_tag = tag_is_of_class(l, magazine_tag(word)) && magazine_arena(word) < l->n_arenas;
        bool is_in_depot = magazine_state(word) == MAGAZINE_DEPOT;

        if (word >> 57 != 0 || (magazine_depot_place1(word) != 0 && !is_in_depot) ||
            (magazine_is_bare(word) && is_in_depot))
                return false;

        switch (magazine_state(word)) {
        case MAGAZINE_POOL:
                return (word & ~MAGAZINE_BARE) == 0;
        case MAGAZINE_TCACHE:
                return magazine_owner(word) != THREAD_NONE && has_tag;
        case MAGAZINE_DEPOT:
                return magazine_owner(word) == THREAD_NONE && !magazine_is_foreign(word) && has_tag;
        case MAGAZINE_PURGING:
                return magazine_owner(word) != THREAD_NONE && magazine_is_bare(word) &&
                       (word & ~MAGAZINE_BARE) == magazine_word(MAGAZINE_PURGING, magazine_owner(word), 0, TAG_NONE);
        default:
                return false;
        }
}

/* I4 */
static inline bool
candidate_is_valid(const struct layout *l, uint64_t candidate)
{
        uint64_t head = candidate_head(candidate), length = candidate_length(candidate);

        switch (candidate_kind(candidate)) {
        case CANDIDATE_NONE:
                return candidate == 0;
        case CANDIDATE_RUN:
                return length >= 1 && head < l->n[TABLE_GRANULES] &&
                       head % GEO_GRANULES_PER_CHUNK + length <= GEO_GRANULES_PER_CHUNK;
        case CANDIDATE_CHUNK:
                return length == 1 && head < l->n_chunks;
        case CANDIDATE_HUGE:
                return length >= 1 && head + length <= l->n_chunks;
        case CANDIDATE_ROOT:
                return length == 1 && head < l->n[TABLE_ROOTS];
        case CANDIDATE_MAGAZINES:
                return length >= 1 && length <= CANDIDATE_MAGAZINES_MAX && head + length <= l->n[TABLE_MAGAZINES];
        default:
                return false;
        }
}

#endif
