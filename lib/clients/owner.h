/*
 * owner.h - the only place that compares-and-swaps an owner word.
 *
 * Ownership moves by one CAS on exactly the word that was read.  ABA is harmless everywhere: a word describes all
 * that its state means, and nothing that was read before the CAS is relied on after it.
 *
 * E3: a release of an owner word publishes everything done to the thing while it was owned; the acquire in the CAS
 * that takes it (or that finds it in a certain state) sees all of that.  A reaper needs no such edge from the dead:
 * it learns of the death through the kernel, which orders everything the dead ever did before that.
 *
 * The first four know nothing of what they change.  Granules, chunks, magazines and roots have theirs, which say in
 * asserting builds that the word is one (I1 to I3), that who stores or releases it owns it (I5), and that who takes it
 * has named it (I6, I7).  `no` is the thread that owns it: the caller, or the dead one whose slot it settles.
 */
#ifndef CLIENTS_OWNER_H
#define CLIENTS_OWNER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/verify.h"
#include "clients/owned.h"
#include "clients/thread.h"
#include "layout/invariants.h"

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

/* ------------------------------------------------------------------ granules */

/* The candidate names it. */
static inline bool
granule_acquire(const struct thread *t, uint64_t *word, uint64_t *expected, uint64_t owned)
{
        ASSERT_INVARIANT(I1, granule_word_is_valid(&t->region->layout, owned));
        ASSERT_INVARIANT(I6, granule_is_named(t->region, t->slot, word) && granule_owner(owned) == t->no);
        ASSERT(granule_owner(*expected) == THREAD_NONE);
        return owner_acquire(word, expected, owned);
}

static inline void
granule_release(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I1, granule_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, granule_is_owned(r, no, word));
        ASSERT_INVARIANT(I15, granule_state(value) != GRANULE_FREE || granule_may_be_free(r, word, value));
        owner_release(word, value);
}

static inline bool
granule_release_marked(const struct region *r, uint32_t no, uint64_t *word, uint64_t *expected, uint64_t value)
{
        ASSERT_INVARIANT(I1, granule_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, granule_is_owned(r, no, word));
        return owner_release_marked(word, expected, value);
}

static inline void
granule_store(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I1, granule_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, granule_is_owned(r, no, word));
        owner_store(word, value);
}

/* ------------------------------------------------------------------ chunks */

/* The candidate names it. */
static inline bool
chunk_acquire(const struct thread *t, uint64_t *word, uint64_t *expected, uint64_t owned)
{
        ASSERT_INVARIANT(I2, chunk_word_is_valid(&t->region->layout, owned));
        ASSERT_INVARIANT(I6, chunk_is_named(t->region, t->slot, word) && chunk_owner(owned) == t->no);
        ASSERT(chunk_owner(*expected) == THREAD_NONE);
        return owner_acquire(word, expected, owned);
}

static inline void
chunk_release(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I2, chunk_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, chunk_is_owned(r, no, word));
        owner_release(word, value);
}

static inline bool
chunk_release_marked(const struct region *r, uint32_t no, uint64_t *word, uint64_t *expected, uint64_t value)
{
        ASSERT_INVARIANT(I2, chunk_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, chunk_is_owned(r, no, word));
        return owner_release_marked(word, expected, value);
}

static inline void
chunk_store(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I2, chunk_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, chunk_is_owned(r, no, word));
        owner_store(word, value);
}

/* ------------------------------------------------------------------ magazines */

/* The hand names it. */
static inline bool
magazine_acquire(const struct thread *t, uint64_t *word, uint64_t *expected, uint64_t owned)
{
        ASSERT_INVARIANT(I3, magazine_word_is_valid(&t->region->layout, owned));
        ASSERT_INVARIANT(I7, magazine_is_named(t->region, t->slot, word) && magazine_owner(owned) == t->no);
        ASSERT(magazine_owner(*expected) == THREAD_NONE);
        return owner_acquire(word, expected, owned);
}

static inline void
magazine_release(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I3, magazine_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, magazine_owner(load_relaxed(word)) == no);
        owner_release(word, value);
}

static inline void
magazine_store(const struct region *r, uint32_t no, uint64_t *word, uint64_t value)
{
        ASSERT_INVARIANT(I3, magazine_word_is_valid(&r->layout, value));
        ASSERT_INVARIANT(I5, magazine_owner(load_relaxed(word)) == no);
        owner_store(word, value);
}

#endif
