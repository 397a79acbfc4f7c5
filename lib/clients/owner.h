/*
 * owner.h - the only place that compares-and-swaps an owner word.
 *
 * Ownership moves by one CAS on exactly the word that was read.  ABA is harmless everywhere: a word describes all
 * that its state means, and nothing that was read before the CAS is relied on after it.
 *
 * E3: a release of an owner word publishes everything done to the thing while it was owned; the acquire in the CAS
 * that takes it (or that finds it in a certain state) sees all of that.  A reaper needs no such edge from the dead:
 * it learns of the death through the kernel, which orders everything the dead ever did before that.
 */
#ifndef CLIENTS_OWNER_H
#define CLIENTS_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

/* Takes the thing if its word is exactly `expected`.  On failure *expected is what was found instead. */
static inline bool
owner_acquire(uint64_t *word, uint64_t *expected, uint64_t owned)
{
        return cas_acquire(word, expected, owned); /* E3.acq */
}

/* Lets go of a thing that this thread owns, or that it reaps from a dead owner, and that nobody else may change. */
static inline void
owner_release(uint64_t *word, uint64_t value)
{
        store_release(word, value); /* E3.rel */
}

/* The same where another thread may set a mark (DOOMED) in the word of an owned thing: fails if it did. */
static inline bool
owner_release_marked(uint64_t *word, uint64_t *expected, uint64_t value)
{
        return cas_acq_rel(word, expected, value); /* E3.rel, E3.acq: what the marker did */
}

/* Owner's own progress inside ownership: the word still names the owner, so no edge is needed. */
static inline void
owner_store(uint64_t *word, uint64_t value)
{
        store_relaxed(word, value);
}

static inline uint64_t
owner_load(const uint64_t *word)
{
        return load_relaxed(word); /* confirmed by the CAS that follows, or the caller owns the word */
}

#endif
