/*
 * redo.c - several stores that happen all or not at all.  The idea is in redo.h.
 */
#include "redo.h"

#include <stdlib.h>
#include <string.h>

static void
note(struct redo *redo, void *at, uint64_t value)
{
        if (redo->n_noted == REDO_STORES_MAX)
                abort();
        redo->store[redo->n_noted].at = at;
        redo->store[redo->n_noted].value = value;
        redo->n_noted++;
}

void
redo_begin(struct redo *redo)
{
        redo->n_noted = 0;
}

void
redo_note(struct redo *redo, uint64_t *at, uint64_t value)
{
        note(redo, at, value);
}

void
redo_note_pointer(struct redo *redo, void *at, const void *value)
{
        _Static_assert(sizeof value == sizeof(uint64_t), "a pointer is noted as a number");
        note(redo, at, (uintptr_t)value);
}

void
redo_commit(struct redo *redo)
{
        keep_order();
        atomic_store_explicit(&redo->n_committed, redo->n_noted, memory_order_relaxed);
        keep_order();
        redo_finish(redo);
}

void
redo_finish(struct redo *redo)
{
        uint32_t n = atomic_load_explicit(&redo->n_committed, memory_order_relaxed);

        for (uint32_t i = 0; i < n; i++)
                memcpy(redo->store[i].at, &redo->store[i].value, sizeof redo->store[i].value);
        keep_order();
        atomic_store_explicit(&redo->n_committed, 0, memory_order_relaxed);
        keep_order();
}
