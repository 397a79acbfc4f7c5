/*
 * sift.h - what a thread must not hand on: entries of its magazines that are no start of a block, or are there twice.
 */
#ifndef BLOCKS_SIFT_H
#define BLOCKS_SIFT_H

#include "clients/thread.h"

/* Drops from a magazine that the calling thread's hand or one of its places names what must not leave its hands:
 * entries that cannot be the start of a block, that are in it twice, and that the thread's places of the same tag have
 * too.  What it found is noted, as the thread's own fault or as that of others.  A death in between leaves a magazine
 * to be sifted again. */
void sift_own(struct thread *t, uint32_t idx);

/* The magazines that a dead thread's slot names (the caller has its lock) go on to the pool or a depot without what it
 * should not have freed, which is noted for `reaper` if it is not NULL: SETTLE.3 and SETTLE.4 of doc/recovery.md. */
void sift_dead(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper);

#endif
