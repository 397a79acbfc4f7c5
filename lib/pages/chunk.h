/*
 * chunk.h - chunks on their way between the region and the arenas.  Steps CHUNK.n, RETIRE.n in doc/recovery.md.
 */
#ifndef PAGES_CHUNK_H
#define PAGES_CHUNK_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* Gives a free chunk to the arena.  0, -ENOMEM (capacity reached), -ENOSPC (no pages for its metadata). */
int chunk_give(struct thread *t, uint32_t arena);

/* Takes a chunk back from its arena if all its granules are free. */
bool chunk_retire(struct thread *t, uint64_t chunk);

/* Takes back up to `want` chunks that are entirely free, of whatever arena, trusting no hint.  How many. */
uint32_t chunk_retire_all(struct thread *t, uint32_t want);

/* Gives back the pages of a chunk that lies beyond the mark; those of its word are reserved (sweep.c).  0, -EBUSY:
 * somebody has it, or the mark lies above it, or what region_punch() says. */
int chunk_sweep(struct thread *t, uint64_t chunk);

/* For the candidate CHUNK of a dead thread. */
void chunk_settle(struct region *r, uint32_t thread_no, uint64_t chunk);

/* Hints that a chunk may be free, or is not. */
void chunk_hint_free(struct region *r, uint64_t chunk, bool is_free);

/* Hints that the chunk is free if it is and no hint says so. */
void chunk_hint_lost(struct region *r, uint64_t chunk);

/* Lowest chunk at or above `from`, below `end`, that may be free; POSITION_NONE if none is hinted. */
int64_t chunk_find_free(struct region *r, uint64_t from, uint64_t end);

#endif
