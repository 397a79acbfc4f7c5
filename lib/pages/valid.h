/*
 * valid.h - what runs and chunks are like, as the invariants have it: for assertions only (layout/invariants.h).
 */
#ifndef PAGES_VALID_H
#define PAGES_VALID_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* I16 */
bool run_is_new(const struct thread *t, uint64_t head, uint32_t granules, uint32_t arena);

/* A run that is about to be freed: its head is owned, what is behind it is part of it or owned; in one chunk of the
 * arena. */
bool run_is_own(const struct thread *t, uint64_t head, uint32_t granules);

/* All granules of a chunk are NEW(t, arena). */
bool chunk_is_claimed(const struct thread *t, uint64_t chunk, uint32_t arena);

#endif
