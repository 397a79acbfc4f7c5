/*
 * slot_pages.h - the pages of thread slots: an empty slot may lose them, and gets them again before it is used.  What
 * it has counted is not lost.
 */
#ifndef CLIENTS_SLOT_PAGES_H
#define CLIENTS_SLOT_PAGES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "clients/thread.h"
#include "region/region.h"

/* Where the slot of that index lies, whatever the mark says. */
static inline struct thread_slot *
slot_at(const struct region *r, uint32_t idx)
{
        return (struct thread_slot *)(void *)(r->threads + idx * r->layout.stride[TABLE_THREADS]);
}

/* Under the slot's `reap` it stays so, unless its own thread lives, which may only empty it; else it is a hint.
 * E23.acq: what that thread has counted, who need not have let go of a lock since. */
static inline bool
slot_is_empty(const struct region *r, uint32_t idx)
{
        return load_relaxed(&r->bindings[idx]) == 0 && load_acquire(&r->gates[idx].state) == 0;
}

/* BACK: pages for an empty slot that is about to be used.  The caller holds its `reap`, and its `life`.  0; -ENOMEM;
 * -EBUSY: somebody who died was just purging it, and has not been reaped. */
int slot_back(struct region *r, uint32_t idx);

/* PURGE_SLOT: gives the pages of an empty slot back.  0, or -errno: it is in use, somebody else is at it, or there is
 * no memory for the totals. */
int slot_purge(struct thread *t, uint32_t idx);

/* The same of all empty slots that have pages, but for the first `n_kept` of them; `fd` is a descriptor of the file
 * (region/file.h), by which they are found.  About `most` bytes at most.  How many. */
uint64_t slot_purge_all(struct thread *t, int fd, uint64_t most, uint32_t n_kept);

/* PURGE_SLOT: what a reaper does for a dead thread. */
void slot_pages_settle(struct region *r, uint32_t thread_no);

/* The totals of counters [first, first + n) of struct thread_counters, of all threads that ever were. */
void slot_totals(const struct region *r, uint32_t first, uint32_t n, uint64_t *ret_sums);

/* The total of one of them. */
#define SLOT_TOTAL(r, member) slot_total((r), offsetof(struct thread_counters, member) / sizeof(uint64_t))

static inline uint64_t
slot_total(const struct region *r, size_t which)
{
        uint64_t sum;

        slot_totals(r, (uint32_t)which, 1, &sum);
        return sum;
}

#endif
