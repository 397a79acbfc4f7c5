/*
 * valid.h - what blocks lie in, as the invariants have it: for assertions only (layout/invariants.h).
 *
 * Each looks at things that the caller owns, or that the thread owns whose slot it settles, so what it says stays so.
 */
#ifndef BLOCKS_VALID_H
#define BLOCKS_VALID_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* I11 */
bool magazine_is_valid(const struct region *r, uint64_t idx);

/* I12, but for the count; and the count. */
bool slab_is_valid(const struct region *r, uint64_t head);
bool slab_count_is_exact(const struct region *r, uint64_t head);

/* Owned by the thread, and valid. */
bool magazine_is_own(const struct thread *t, uint64_t idx);
bool slab_is_own(const struct thread *t, uint64_t head);

/* I13: the block's run, whose head's word has been read, or is about to be stored. */
bool large_is_valid(const struct region *r, uint64_t head, uint64_t word);

/* I14: likewise. */
bool huge_is_valid(const struct region *r, uint64_t chunk, uint64_t word);

#endif
