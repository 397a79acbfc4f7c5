/*
 * redo.h - several stores that happen all or not at all, whoever dies.
 *
 * A redo record belongs to a mutex, and lies beside it in the heap.  Its owner first notes what it is going to
 * store, then commits by one store to the record, then stores.
 *
 *      killed before the commit    nothing was stored; the notes mean nothing
 *      killed after it             the next owner of the mutex stores everything again (redo_finish)
 *      killed while doing that     so does the one after it: storing the same values twice does no harm
 */
#ifndef WORDINDEX_REDO_H
#define WORDINDEX_REDO_H

#include <stdatomic.h>
#include <stdint.h>

#define REDO_STORES_MAX 8

struct redo {
        _Atomic uint32_t n_committed; /* not 0: these stores are to be done, perhaps once more */
        uint32_t n_noted;
        struct {
                void *at; /* 8 bytes, in a block */
                uint64_t value;
        } store[REDO_STORES_MAX];
};

/* The compiler moves no store across this.  The processor need not be told: see shared.h. */
static inline void
keep_order(void)
{
        atomic_signal_fence(memory_order_seq_cst);
}

void redo_begin(struct redo *redo);
void redo_note(struct redo *redo, uint64_t *at, uint64_t value);
void redo_note_pointer(struct redo *redo, void *at, const void *value); /* at: of a pointer to an object */
void redo_commit(struct redo *redo);

/* For the next owner of the mutex after a death. */
void redo_finish(struct redo *redo);

#endif
