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

/* Drains up to `want` magazines of the depots of an arena, of all classes.  How many. */
uint32_t drain_depots(struct thread *t, uint32_t arena, uint32_t want);

/* One line of the arena's magazine words: drains what is in its depots without a hint. */
void drain_clock_hand(struct thread *t);

#endif
