/*
 * thread.h - what the lower layers know of the thread that calls them: its slot and where it is bound.
 *
 * Private memory of the thread; a reaper has none, because it acquires nothing.
 */
#ifndef CLIENTS_THREAD_H
#define CLIENTS_THREAD_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/call.h"
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
        struct slot_gate *gate;
        uint32_t no;    /* slot index + 1: what owner words name */
        uint32_t arena; /* bound to */
        uint32_t node;  /* of that arena */
        uint32_t client_idx;
        uint32_t client_incarnation;
        uint32_t seed;    /* spreads threads over clock hands and pools */
        struct call call; /* the one that it is in */
        bool is_left;     /* what was called back has left the slot in the midst of a call: it is not to be changed */
        uint32_t n_ticks; /* of decay, for turns */
        uint64_t n_released;  /* this thread's own part of the header's count */
        uint32_t stamp;       /* the time, in units of decay_stamp.h, when this thread last looked */
        uint32_t n_pursued;   /* times that memory was looked for */
        uint32_t depot_found; /* which arena of the node had a magazine to spare last */
        uint32_t depot_hand;  /* which one to ask next */
        struct fault fault;
        uint32_t slab_last[SIZE_CLASS_N_SMALL]; /* granule index + 1 of the slab filled from last */
        uint8_t fill_steps[SIZE_CLASS_N_SMALL]; /* by which fills have grown (blocks/slab_pages.h) */
};

/* The call that has begun is for a block of this size, of the thread's own arena. */
static inline struct call *
call_for(struct thread *t, uint64_t size, uint64_t align, uint32_t class_idx)
{
        t->call.size = size;
        t->call.align = align;
        t->call.class_idx = class_idx;
        t->call.arena = t->arena;
        return &t->call;
}

/* A call, for a block as above; or for none: size 0, SIZE_CLASS_NONE. */
static inline struct call *
call_begin(struct thread *t, uint64_t size, uint64_t align, uint32_t class_idx)
{
        t->call = (struct call){0};
        return call_for(t, size, align, class_idx);
}

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
