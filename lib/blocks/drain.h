/*
 * drain.h - emptying a magazine into the slabs and runs that its blocks came from.
 */
#ifndef BLOCKS_DRAIN_H
#define BLOCKS_DRAIN_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* Puts blocks of an owned magazine back until `keep` are left, or fewer: blocks of one slab that stand together leave
 * together.  False: more are left because others hold their slabs. */
bool drain_magazine(struct thread *t, uint32_t idx, uint64_t keep);

/* The blocks in all of this thread's magazines, which stay in their places. */
void drain_own(struct thread *t);

/* Makes room in a place whose magazine, idx, is full: that goes to the depot of its home arena, and an empty one comes;
 * where the depot is crowded, its blocks go home and it stays.  What is in the place then: MAGAZINE_IDX_NONE where none
 * is to be had. */
uint32_t drain_unload(struct thread *t, uint32_t *place, uint32_t idx, uint32_t tag);

/* Gives up what is in a place, if there is something: to the depot of its home arena; where that is crowded, its blocks
 * go home. */
void drain_out(struct thread *t, uint32_t *place, uint32_t tag);

/* Drains a magazine that is in the hand, and lets go of it: to the pool; or, where others hold slabs of some of its
 * blocks, aside (magazine_put_aside()). */
void drain_home(struct thread *t, uint32_t idx, uint32_t arena);

/* Drains up to `want` magazines of the depots of an arena, of all classes.  How many. */
uint32_t drain_depots(struct thread *t, uint32_t arena, uint32_t want);

/* All of the depots of a node's arenas that their places name. */
void drain_node(struct thread *t, uint32_t node);

/* Every magazine in a depot of the node, hinted or not; NODE_NONE: of all nodes. */
void drain_all_depots(struct thread *t, uint32_t node);

/* One line of the arena's magazine words: drains what is in its depots without a hint. */
void drain_clock_hand(struct thread *t);

#endif
