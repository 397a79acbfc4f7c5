/*
 * reserve.c - see reserve.h.
 *
 * Free granules that are not backed are claimed as a run is (RUN.1 and .2 in doc/recovery.md), backed, and let go
 * again: a death in between leaves a run that a reaper frees.  The chunks that it takes stay the arena's until decay
 * finds them unused, and may serve all of the node's arenas meanwhile.
 */
#include "heap/reserve.h"

#include <errno.h>

#include "base/verify.h"
#include "blocks/drain.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "pages/valid.h"

static bool
is_free_of(uint64_t word, uint32_t arena)
{
        return granule_state(word) == GRANULE_FREE && granule_arena(word) == arena;
}

/* Whether a granule can become anything without a system call: a slab of the smallest blocks needs a long bitmap. */
static bool
is_backed(const struct region *r, uint64_t granule, uint64_t word)
{
        return granule_backed(word) == GRANULE_BACKED_ALL && region_has_bitmap(r, granule, 0);
}

static int
back_run(struct thread *t, uint64_t head, uint32_t n)
{
        int err = run_reserve(t, head, (uint64_t)n << GEO_GRANULE_SHIFT);

        ASSERT_INVARIANT(I16, run_is_new(t, head, n, t->arena));
        return err < 0 ? err : region_raise_bitmaps(t->region, head, n);
}

/* Backs a stretch of free granules from `head` on, `n_max` at most.  *ret_n: how many were claimed, and backed unless
 * the result is negative. */
static int
back_stretch(struct thread *t, uint64_t head, uint32_t n_max, uint32_t *ret_n)
{
        struct region *r = t->region;
        uint32_t n = 0;
        int err;

        ASSERT(n_max >= 1 && head % GEO_GRANULES_PER_CHUNK + n_max <= GEO_GRANULES_PER_CHUNK);
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, n_max)); /* RUN.1 */
        for (; n < n_max; n++) {
                uint64_t word = owner_load(run_word(r, head + n));
                uint64_t taken = granule_word(GRANULE_NEW, t->no, t->arena) | (word & GRANULE_BACKING);

                if (!is_free_of(word, t->arena) || is_backed(r, head + n, word) ||
                    !granule_acquire(t, run_word(r, head + n), &word, taken)) /* RUN.2 */
                        break;
        }
        *ret_n = n;
        if (n == 0) {
                candidate_clear(t);
                return 0;
        }
        err = back_run(t, head, n);
        run_free_owned(t, head, n);
        return err;
}

/* Adds to *done what is free and backed in a chunk of the arena, backing what is missing as far as it is wanted. */
static int
back_chunk(struct thread *t, uint64_t chunk, uint64_t want, uint64_t *done)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;
        uint32_t n, i = 0;

        ASSERT(chunk < region_chunks_hwm(t->region));
        while (i < GEO_GRANULES_PER_CHUNK && *done < want) {
                uint64_t word = owner_load(run_word(t->region, first + i));
                int err;

                n = 1;
                if (is_free_of(word, t->arena) && is_backed(t->region, first + i, word)) {
                        *done += GEO_GRANULE_BYTES;
                } else if (is_free_of(word, t->arena)) {
                        uint64_t lacking = (want - *done + GEO_GRANULE_BYTES - 1) >> GEO_GRANULE_SHIFT;
                        uint32_t left = (uint32_t)GEO_GRANULES_PER_CHUNK - i;

                        err = back_stretch(t, first + i, lacking < left ? (uint32_t)lacking : left, &n);
                        if (err < 0)
                                return err;
                        *done += (uint64_t)n << GEO_GRANULE_SHIFT;
                        n = n > 0 ? n : 1; /* others were faster */
                }
                i += n;
        }
        return 0;
}

static int
back_arena(struct thread *t, uint64_t want, uint64_t *done)
{
        struct region *r = t->region;
        int err = 0;

        *done = 0;
        for (uint64_t chunk = 0; err == 0 && *done < want && chunk < region_chunks_hwm(r); chunk++) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */

                if (chunk_state(word) == CHUNK_ARENA && chunk_arena(word) == t->arena)
                        err = back_chunk(t, chunk, want, done);
        }
        return err;
}

/* A chunk for the arena.  Where there is none, one of the dead may be in the way; and there are huge blocks that this
 * thread keeps, or the dead have left in depots. */
static int
take_chunk(struct thread *t)
{
        int err = chunk_give(t, t->arena);

        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        if (err < 0 && slot_reap_all(t->region, reap_settle, t) > 0)
                err = chunk_give(t, t->arena);
        if (err == 0)
                return 0;
        drain_own(t);
        drain_all_depots(t, NODE_NONE);
        return chunk_give(t, t->arena);
}

int
reserve_bytes(struct thread *t, uint64_t bytes)
{
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        for (;;) { /* each turn takes chunks: bounded by the capacity, but for what others take away meanwhile */
                uint64_t done;
                int err = back_arena(t, bytes, &done);

                if (err < 0 || done >= bytes)
                        return err;
                for (; done < bytes; done += GEO_CHUNK_BYTES) {
                        err = take_chunk(t);
                        if (err < 0)
                                return err;
                }
        }
}
