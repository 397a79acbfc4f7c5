/*
 * sift.h - what a thread must not hand on: entries of its magazines that are no start of a block, or are there twice.
 */
#ifndef BLOCKS_SIFT_H
#define BLOCKS_SIFT_H

#include "clients/thread.h"

/* What was dropped. */
struct sifted {
        uint32_t n;
        uint32_t what;      /* of the first: enum fault_what */
        uint64_t block_off; /* of the first */
        bool is_others;     /* another thread may have put one of them there */
};

/* Drops from a magazine that a thread's hand or one of its places names what must not leave that thread's hands:
 * entries that cannot be the start of a block, that are in it twice, and that the thread's places of the same tag have
 * too.  The caller is the thread, or settles the dead one; a death in between leaves a magazine to be sifted again. */
struct sifted sift_magazine(struct region *r, const struct thread_slot *slot, uint32_t thread_no, uint32_t idx);

/* The same for the calling thread's own: what it found is noted, as its own fault or as that of others. */
void sift_own(struct thread *t, uint32_t idx);

#endif
