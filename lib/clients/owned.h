/*
 * owned.h - who owns what, and what a slot names: for assertions only (I5, I6, I7, I15 of layout/invariants.h).
 *
 * Only the owner changes who owns a thing, so what these say of the caller's own things stays so.
 */
#ifndef CLIENTS_OWNED_H
#define CLIENTS_OWNED_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"
#include "region/region.h"

/* By its word, its head's, or its chunk's. */
bool granule_is_owned(const struct region *r, uint32_t no, const uint64_t *word);
bool chunk_is_owned(const struct region *r, uint32_t no, const uint64_t *word);

/* By the slot's candidate; by its hand, or a place. */
bool granule_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word);
bool chunk_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word);
bool magazine_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word);

/* Places that name it. */
uint32_t magazine_count_places(const struct region *r, const struct thread_slot *slot, uint32_t idx);

/* I15: nothing that a free would take for a block starts there, and its chunk is of that arena. */
bool granule_may_be_free(const struct region *r, const uint64_t *word, uint64_t value);

/* I8: what an intent is about to name is owned by its thread, and as the intent says. */
bool intent_is_valid(const struct thread *t, const struct intent *in);

/* I19: the slot is the thread's, as far as it says, and the thread is bound to an arena of the region. */
bool thread_is_valid(const struct thread *t);

/* No intent, no candidate: the thread owns nothing but magazines. */
bool thread_is_between_steps(const struct thread *t);

/* I9: the slot of a gate names nothing. */
bool slot_has_no_step(const struct region *r, const struct slot_gate *gate);

/* I20 */
bool dest_is_valid(const struct region *r, uint64_t dest_off);

/* I6: nothing that the candidate names is owned by the thread. */
bool candidate_is_let_go(const struct region *r, uint32_t no, uint64_t candidate);

#endif
