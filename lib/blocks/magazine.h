/*
 * magazine.h - magazines on their way between the pool, the threads' slots and the depots.
 *
 * A thread's slot has, per tag, the places `current` and `spare`, and one `hand` for what is between two places.  A
 * magazine is named by one of them before its word says that the thread owns it, and until after it says otherwise.
 */
#ifndef BLOCKS_MAGAZINE_H
#define BLOCKS_MAGAZINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/verify.h"
#include "clients/owner.h"
#include "clients/thread.h"

enum { MAGAZINE_IDX_NONE = UINT32_MAX };

/* The two places of a tag in a slot. */
static inline uint32_t *
magazine_current(const struct thread *t, uint32_t tag)
{
        ASSERT(tag < t->region->layout.n_tags);
        return &t->slot->magazines[tag];
}

static inline uint32_t *
magazine_spare(const struct thread *t, uint32_t tag)
{
        ASSERT(tag < t->region->layout.n_tags);
        return &t->slot->magazines[t->region->layout.n_tags + tag];
}

/* What is in a place: a magazine index that this thread owns, or MAGAZINE_IDX_NONE. */
static inline uint32_t
magazine_in(const struct thread *t, const uint32_t *place)
{
        uint32_t idx1 = load_relaxed(place); /* our own slot */

        if (idx1 == 0 || !region_has_magazine(t->region, idx1 - 1) ||
            magazine_owner(owner_load(&t->region->magazine_words[idx1 - 1])) != t->no)
                return MAGAZINE_IDX_NONE;
        return idx1 - 1;
}

/* Takes an empty magazine from the pool of the thread's node into the hand, formatted for the tag.
 * 0, -ENOMEM (table full, or no pages for another one). */
int magazine_take_empty(struct thread *t, uint32_t tag, uint32_t *ret_idx);

/* Takes a magazine of the depot (arena, tag) into the hand.  False: none, as far as hints know. */
bool magazine_take_depot(struct thread *t, uint32_t arena, uint32_t tag, uint32_t *ret_idx);

/* The same from another arena of the thread's node that has more than one: the one that had some last, or the next in
 * turn. */
bool magazine_take_neighbour(struct thread *t, uint32_t tag, uint32_t *ret_idx);

/* Both: blocks of the class for the thread, from the depot of the arena, or, if that is its own, from a neighbour's. */
bool magazine_take(struct thread *t, uint32_t arena, uint32_t class_idx, uint32_t *ret_idx);

/* Whether the block is in there.  Of a magazine that is not the caller's it is a hint. */
bool magazine_holds(const struct magazine *m, uint64_t entry);

/* How many magazines of a class its depot seems to have. */
uint32_t magazine_depot_count(const struct arena *a, uint32_t class_idx);

/* Whether its depot names a magazine that its word says is in one.  A hint. */
bool magazine_is_hinted(const struct region *r, uint32_t idx, uint64_t word);

/* Takes this very magazine if it is in a depot for the tag (any arena).  Trusts no hint. */
bool magazine_take_exactly(struct thread *t, uint32_t idx, uint32_t arena, uint32_t tag);

/* Puts what is in the hand into a place (which must hold nothing that the thread still owns). */
void magazine_place(struct thread *t, uint32_t *place, uint32_t idx);

/* Moves what is in a place into the hand. */
void magazine_pick_up(struct thread *t, uint32_t *place, uint32_t idx);

/* An owned magazine that may have become empty: from now on all that is in it is the thread's own. */
void magazine_is_empty_now(struct thread *t, uint32_t idx);

/* Notes that an entry of an owned magazine was no block, or free already, and has been dropped: the thread's fault if
 * nobody else can have put it there. */
void magazine_bad_entry(struct thread *t, uint32_t idx, uint32_t what, uint64_t block_off);

/* Lets go of an owned magazine that the hand or a place names (the hand is emptied if it is that): to the pool if
 * empty, else to the depot of (arena, tag).  False: that depot is full and `force` was not given; the magazine is still
 * owned. */
bool magazine_put(struct thread *t, uint32_t idx, uint32_t arena, bool force);

/* The same, but no place of the depot names it: the clock hand comes by.  For one whose blocks are of slabs that others
 * hold, which would be met again and again by whoever empties the depot, for as long as they do. */
void magazine_put_aside(struct thread *t, uint32_t idx, uint32_t arena);

bool magazine_has_room(const struct region *r, uint32_t idx);

/* Puts the block into an owned magazine that has room; with dest_off the word there, which names it, becomes 0 in the
 * same step (PUSH_FROM in doc/recovery.md). */
void magazine_push(struct thread *t, uint32_t idx, uint64_t block_off, uint64_t dest_off);

/* An arena in whose depot magazines of the tag belong. */
uint32_t magazine_home(const struct thread *t, uint32_t tag);

/* Lets go of a magazine that names a dead thread. */
void magazine_settle(struct region *r, uint32_t thread_no, uint32_t idx);

#endif
