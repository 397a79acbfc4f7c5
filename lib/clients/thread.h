/*
 * thread.h - what the lower layers know of the thread that calls them: its slot and where it is bound.
 *
 * Private memory of the thread; a reaper has none, because it acquires nothing.
 */
#ifndef CLIENTS_THREAD_H
#define CLIENTS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "layout/layout.h"
#include "region/region.h"

/* A misuse that was found on the way, reported once nothing is owned any more. */
struct fault {
        uint32_t what; /* SHHEAP_FAULT_*, 0 = none */
        uint64_t block_off;
};

/* What blocks are filled with that are new to their callers. */
enum thread_fill { FILL_NONE, FILL_ZERO, FILL_JUNK };

enum { THREAD_JUNK = 0xa5 };

struct thread {
        struct region *region;
        struct thread_slot *slot;
        uint32_t no;    /* slot index + 1: what owner words name */
        uint32_t arena; /* bound to */
        uint32_t node;  /* of that arena */
        uint32_t client_idx;
        uint32_t client_incarnation;
        uint32_t seed;    /* spreads threads over clock hands and pools */
        bool no_grow;     /* this call may neither enter the kernel for memory nor touch new pages */
        bool lacks_pages; /* what was found could not be backed: set where that happens, cleared by who looks at it */
        bool lacks_node;  /* the same for lack of memory on the very node */
        bool is_strict;   /* this call takes memory of the node that it asks for, or none */
        uint8_t fill;     /* of this call's block, before its reference is stored to a dest: enum thread_fill */
        bool is_left; /* something that was called back has left the slot in the midst of a call: it is not ours to change */
        uint32_t fallback_node1; /* the last allocation was served by that node instead of its own, plus 1 */
        uint32_t n_ticks;        /* of decay, for turns */
        uint64_t n_released;     /* this thread's own part of the header's count */
        uint32_t stamp;          /* the time, in units of decay_stamp.h, when this thread last looked */
        uint32_t n_pursued;      /* times that memory was looked for */
        uint32_t depot_found;    /* which arena of the node had a magazine to spare last */
        uint32_t depot_hand;     /* which one to ask next */
        struct fault fault;
        uint32_t slab_last[SIZE_CLASS_N_SMALL]; /* granule index + 1 of the slab filled from last */
};

/* Nothing is half done, as far as the slot says.  Between two calls it always is so. */
static inline bool
thread_is_at_rest(const struct thread *t)
{
        return load_relaxed(&t->slot->intent.kind) == INTENT_NONE && load_relaxed(&t->slot->candidate) == 0 &&
               load_relaxed(&t->slot->hand) == 0; /* our own slot */
}

/* Tells those who look for memory and found none to look again. */
static inline void
thread_note_release(struct thread *t)
{
        t->n_released++;
        fetch_add_relaxed(&t->region->header->n_released, UINT64_C(1)); /* a hint */
}

#endif
