/*
 * find.h - where memory comes from when the thread's own magazines have none: from an arena's depots down to the last
 * scan before NULL.
 *
 * What is asked for stands in t->call (clients/call.h), and so does what was found.  Each step either succeeds or says
 * what it lacks, and then it owns nothing but its magazines: so a thread has at most one intent at a time.
 */
#ifndef HEAP_FIND_H
#define HEAP_FIND_H

#include <stdint.h>

#include "clients/thread.h"

/* One block, past the magazines: call.found_off.  0 or -ENOMEM. */
int find_block(struct thread *t);

/*
 * Blocks of a small class, of the thread's own node, in a magazine.  `empty_idx` is an owned, empty magazine of that
 * tag which has a place, or MAGAZINE_IDX_NONE.  On success call.found_idx is
 *   - empty_idx, which has been filled, or has what a reap on the way put aside, or
 *   - another magazine with blocks, which is in the hand, or
 *   - MAGAZINE_IDX_NONE, when memory of another node or no magazine could be had: then the block is call.found_off.
 * 0 or -ENOMEM.
 */
int find_magazine(struct thread *t, uint32_t empty_idx);

#endif
