/*
 * valid.c - see valid.h.  Only in builds that assert.
 */
#include "pages/valid.h"

#if SHM_ASSERTS

#include "clients/owner.h"

static bool
granules_are_new(const struct thread *t, uint64_t first, uint64_t n, uint32_t arena)
{
        for (uint64_t granule = first; granule < first + n; granule++)
                if ((owner_load(&t->region->granules[granule]) & ~GRANULE_BACKING) !=
                    granule_word(GRANULE_NEW, t->no, arena))
                        return false;
        return true;
}

static bool
run_lies_in_chunk_of(const struct thread *t, uint64_t head, uint32_t granules, uint32_t arena)
{
        uint64_t word = load_acquire(&t->region->chunk_words[head / GEO_GRANULES_PER_CHUNK]); /* E3.acq */

        return granules >= 1 && head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK &&
               chunk_state(word) == CHUNK_ARENA && chunk_arena(word) == arena;
}

bool
run_is_new(const struct thread *t, uint64_t head, uint32_t granules, uint32_t arena)
{
        return run_lies_in_chunk_of(t, head, granules, arena) && granules_are_new(t, head, granules, arena);
}

bool
run_is_own(const struct thread *t, uint64_t head, uint32_t granules)
{
        const uint64_t *word = &t->region->granules[head];

        if (!run_lies_in_chunk_of(t, head, granules, granule_arena(owner_load(word))))
                return false;
        for (uint32_t i = 0; i < granules; i++)
                if (!granule_is_owned(t->region, t->no, &word[i]) ||
                    granule_arena(owner_load(&word[i])) != granule_arena(owner_load(word)))
                        return false;
        return true;
}

bool
chunk_is_claimed(const struct thread *t, uint64_t chunk, uint32_t arena)
{
        return granules_are_new(t, chunk * GEO_GRANULES_PER_CHUNK, GEO_GRANULES_PER_CHUNK, arena);
}

#endif
