/*
 * damage.h - for tests that write what no client would write: from then on the library does not assert what is true of
 * a heap (base/verify.h), in this process.
 */
#ifndef SUPPORT_DAMAGE_H
#define SUPPORT_DAMAGE_H

#include <stdbool.h>

#include "base/verify.h"
#include "clients/intent.h"

/* What it was before. */
static inline bool
damage_is_done(bool is_done)
{
#if SHM_ASSERTS
        bool was_done = verify_heap_is_damaged;

        verify_heap_is_damaged = is_done;
        return was_done;
#else
        return is_done;
#endif
}

/* An intent as somebody left it who died, whatever the rest of the heap looks like by now. */
static inline void
intent_left(struct thread *t, struct intent left)
{
        bool was_done = damage_is_done(true);

        intent_begin(t, left);
        damage_is_done(was_done);
}

#endif
