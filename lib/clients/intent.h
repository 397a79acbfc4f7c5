/*
 * intent.h - what a thread writes into its slot before it makes an owned thing inconsistent, and the candidates that
 * it writes before it takes ownership.  doc/recovery.md draws each operation that uses them.
 */
#ifndef CLIENTS_INTENT_H
#define CLIENTS_INTENT_H

#include <string.h>

#include "base/atomic.h"
#include "base/verify.h"
#include "clients/owned.h"
#include "clients/thread.h"
#include "layout/invariants.h"

/* INTENT(FILL, fill, .head = 1, ...): its kind, its member of struct intent, the operands that are not 0. */
#define INTENT(kind, member, ...) ((struct intent){INTENT_##kind, .member = {__VA_ARGS__}})

#define INTENT_HAS_DEST(kind, member, name, operands, settle)                                                          \
        case INTENT_##kind:                                                                                            \
                return intent_##operands##_has_dest;

static inline bool
intent_has_dest(uint64_t kind)
{
        switch (kind) {
                INTENTS(INTENT_HAS_DEST)
        default:
                return false;
        }
}

/* Operands first, then the kind: a reaper that sees the kind sees the operands.  The dest stands in the slot's gate,
 * too, from before until after: a thread that takes over from the dead looks at nothing else (intent_names_dest).
 * Whatever it finds there was stored after what earlier intents of this slot did, by its owner or by a reaper. */
static inline void
intent_begin(struct thread *t, struct intent begun)
{
        struct intent *intent = &t->slot->intent;

        ASSERT_INVARIANT(I8, load_relaxed(&intent->kind) == INTENT_NONE);
        ASSERT_INVARIANT(I8, intent_is_valid(t, &begun));
        if (intent_has_dest(begun.kind) && begun.word[INTENT_DEST] != 0) {
                store_release(&t->gate->dest, begun.word[INTENT_DEST]); /* E15.rel */
                kill_order();
        }
        store_relaxed(&intent->word[0], begun.word[0]);
        store_relaxed(&intent->word[1], begun.word[1]);
        store_relaxed(&intent->word[2], begun.word[2]);
        store_relaxed(&intent->word[3], begun.word[3]);
        store_relaxed(&intent->word[4], begun.word[4]);
        store_relaxed(&intent->word[5], begun.word[5]);
        store_relaxed(&intent->word[INTENT_DEST], begun.word[INTENT_DEST]);
        kill_order();
        store_relaxed(&intent->kind, begun.kind);
        kill_order();
}

static inline void
intent_end(struct thread *t)
{
        ASSERT_INVARIANT(I8, load_relaxed(&t->slot->intent.kind) != INTENT_NONE);
        kill_order();
        store_relaxed(&t->slot->intent.kind, (uint64_t)INTENT_NONE);
        kill_order();
        if (load_relaxed(&t->gate->dest) == 0) /* ours */
                return;
        store_release(&t->gate->dest, UINT64_C(0)); /* E15.rel: what it did */
        kill_order();
}

/* Whether the slot's thread, or who settles it, may be about to store to this word.  False stays so while nobody begins
 * a hand-over to it, and all that was stored there before is seen. */
static inline bool
intent_names_dest(const struct slot_gate *gate, uint64_t dest_off)
{
        return load_acquire(&gate->dest) == dest_off; /* E15.acq */
}

/* Before the first CAS of what it names. */
static inline void
candidate_set(struct thread *t, uint64_t candidate)
{
        ASSERT_INVARIANT(I4, candidate != 0 && candidate_is_valid(&t->region->layout, candidate));
        ASSERT_INVARIANT(I6, load_relaxed(&t->slot->candidate) == 0);
        store_relaxed(&t->slot->candidate, candidate);
        kill_order();
}

/* After the last release of what it names. */
static inline void
candidate_clear(struct thread *t)
{
        ASSERT_INVARIANT(I6, candidate_is_let_go(t->region, t->no, load_relaxed(&t->slot->candidate)));
        kill_order();
        store_relaxed(&t->slot->candidate, UINT64_C(0));
}

/* Where a block's reference is stored in the same step as the block changes hands: a region offset, 0 = nowhere.  The
 * word is the caller's own until the call returns. */
static inline uint64_t
dest_load(const struct region *r, uint64_t dest_off)
{
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        return dest_off == 0 ? 0 : load_relaxed((const uint64_t *)(const void *)(r->base + dest_off));
}

/* A release: who finds a reference there by an acquire of its own finds in the block what dest_fill() has left there.
 * */
static inline void
dest_store(struct region *r, uint64_t dest_off, uint64_t ref)
{
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        if (dest_off != 0)
                store_release((uint64_t *)(void *)(r->base + dest_off), ref);
}

/* Before the intent that stores a reference to this block to a dest: from then on others may follow it, and so may an
 * heir.  The block is this thread's, to be handed out or not: a death in here leaves it where it is.  An entry of a
 * magazine that somebody has damaged is left alone. */
static inline void
dest_fill(const struct thread *t, uint64_t dest_off, uint64_t block_off, uint64_t bytes)
{
        uint64_t end = t->region->layout.n_chunks << GEO_CHUNK_SHIFT;

        if (dest_off != 0 && t->call.fill != FILL_NONE && bytes <= end && block_off <= end - bytes)
                memset(region_block(t->region, block_off), t->call.fill == FILL_ZERO ? 0 : CALL_JUNK, bytes);
}

#endif
