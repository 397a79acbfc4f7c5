/*
 * sweep.h - giving back what lies beyond the high-water marks.
 *
 * Nobody uses it, but somebody may have made it real: who locked its memory after it opened the heap, or read the
 * holes.
 */
#ifndef PAGES_SWEEP_H
#define PAGES_SWEEP_H

#include "clients/thread.h"

#define SWEEP_SOME_BYTES (UINT64_C(256) << 20) /* tens of milliseconds */

/* Gives back the pages beyond the marks, if there are any; `fd` is a descriptor of the file (region/file.h).  About
 * `most` bytes at most.  How many. */
uint64_t sweep_beyond_marks(struct thread *t, int fd, uint64_t most);

/* The same, a bounded amount, with a descriptor of its own. */
void sweep_now(struct thread *t);

/* SWEEP: what a reaper does for a dead thread. */
void sweep_settle(struct region *r, uint32_t thread_no);

#endif
