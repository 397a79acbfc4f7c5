/*
 * step.h - running an actor one instruction, or one store, at a time.
 */
#ifndef CRASH_STEP_H
#define CRASH_STEP_H

#include <signal.h>
#include <ucontext.h>

#include "crash.h"

typedef void point_fn(ucontext_t *uc);

struct stepping {
        point_fn *point; /* called after each; NULL: running freely */
        bool is_traced;  /* accesses to the region only */
        int protection;
        long n;       /* how many so far */
        uintptr_t at; /* the instruction just executed */
        uintptr_t next;
};

extern struct stepping stepping;

void step_init(void);

/* What the calling thread executes in between is stepped. */
void steps_begin(point_fn *point);
void steps_end(void);

/* Likewise, but only stores to the region, or loads and stores. */
void trace_begin(point_fn *point, bool loads_too);
void trace_end(void);

/* In a point: from now on the actor runs freely. */
void steps_leave(ucontext_t *uc);

/* Whether the region, but for blocks and statistics, is another than when it was remembered last. */
bool region_has_changed(void);
void region_remember(void);

/* Whether what was remembered last was never asked for before, in whatever fork. */
bool state_is_new(uint64_t salt);

#endif
