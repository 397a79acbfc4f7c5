/*
 * fault.h - misuse that a slow path found: noted in the thread, reported by the API once nothing is owned any more.
 */
#ifndef BLOCKS_FAULT_H
#define BLOCKS_FAULT_H

#include <errno.h>

#include "base/verify.h"
#include "clients/thread.h"

/* Same numbers as SHHEAP_FAULT_*; asserted where both are known (api/fault.c). */
enum fault_what {
        FAULT_NONE = 0,
        FAULT_DOUBLE_FREE = 1,
        FAULT_INVALID_FREE = 2,
        FAULT_FOREIGN_POINTER = 3,
        FAULT_SIZE_MISMATCH = 4,
        FAULT_NAMED_OBJECT = 5,
        FAULT_METADATA = 7,
        FAULT_NOT_A_CLIENT = 8,

        FAULT_OF_OTHERS = 100, /* nothing that this thread did: said, and it goes on */
        FAULT_LOST = 101       /* likewise: nothing was left by which the block could have been freed */
};

/* A bad entry that others put into a magazine has been dropped. */
static inline void
fault_note_others(struct thread *t, uint64_t block_off)
{
        if (t->fault.what == FAULT_NONE)
                t->fault = (struct fault){.what = FAULT_OF_OTHERS, .block_off = block_off};
}

/* There was no place for a block that was freed. */
static inline void
fault_note_lost(struct thread *t, uint64_t block_off)
{
        owner_add(&t->slot->n_dropped, UINT64_C(1));
        if (t->fault.what == FAULT_NONE)
                t->fault = (struct fault){.what = FAULT_LOST, .block_off = block_off};
}

/* Keeps the first one.  Always -EINVAL. */
static inline int
fault_note(struct thread *t, enum fault_what what, uint64_t block_off)
{
        ASSERT(what != FAULT_NONE && what < FAULT_OF_OTHERS);
        if (t->fault.what == FAULT_NONE || t->fault.what >= FAULT_OF_OTHERS)
                t->fault = (struct fault){.what = (uint32_t)what, .block_off = block_off};
        return -EINVAL;
}

#endif
