/*
 * thread.h - what the lower layers know of the thread that calls them: its slot and where it is bound.
 *
 * Private memory of the thread; a reaper has none, because it acquires nothing.
 */
#ifndef REGION_THREAD_H
#define REGION_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "layout/layout.h"
#include "region/region.h"

/* A misuse that was found on the way, reported once nothing is owned any more. */
struct fault {
        uint32_t what; /* SHHEAP_FAULT_*, 0 = none */
        uint64_t block_off;
};

struct thread {
        struct region *region;
        struct thread_slot *slot;
        uint32_t no;         /* slot index + 1: what owner words name */
        uint32_t arena;      /* bound to */
        uint32_t node;       /* of that arena */
        uint32_t client_idx;
        uint32_t client_incarnation;
        uint32_t seed;       /* spreads threads over clock hands and pools */
        bool no_grow;        /* this call may neither enter the kernel for memory nor touch new pages */
        struct fault fault;
        uint32_t slab_last[SIZE_CLASS_N_SMALL]; /* granule index + 1 of the slab filled from last */
};

#endif
