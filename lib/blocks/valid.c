/*
 * valid.c - see valid.h.  Only in builds that assert.
 */
#include "blocks/valid.h"

#if SHM_ASSERTS

#include "clients/owner.h"

bool
magazine_is_valid(const struct region *r, uint64_t idx)
{
        const struct magazine *m = region_magazine(r, idx);
        uint32_t tag = m != NULL ? magazine_tag(owner_load(&r->magazine_words[idx])) : TAG_NONE, cap;

        if (!tag_is_of_class(&r->layout, tag))
                return false;
        cap = size_class_magazine_cap(tag_class(tag));
        return load_relaxed(&m->n) <= load_relaxed(&m->cap) && load_relaxed(&m->cap) <= MAGAZINE_CAP_MAX &&
               (load_relaxed(&m->cap) == cap ||
                (size_class_is_whole(tag_class(tag)) && load_relaxed(&m->cap) > cap)); /* it has grown */
}

bool
magazine_is_own(const struct thread *t, uint64_t idx)
{
        uint64_t word = region_has_magazine(t->region, idx) ? owner_load(&t->region->magazine_words[idx]) : 0;

        return magazine_state(word) == MAGAZINE_TCACHE && magazine_owner(word) == t->no &&
               magazine_is_valid(t->region, idx);
}

/* The granules of a run behind its head, and its chunk. */
static bool
interior_is_valid(const struct region *r, uint64_t head, uint32_t granules, uint32_t arena)
{
        uint64_t chunk_word = load_acquire(&r->chunk_words[head / GEO_GRANULES_PER_CHUNK]); /* E3.acq */

        if (chunk_state(chunk_word) != CHUNK_ARENA || chunk_arena(chunk_word) != arena ||
            head % GEO_GRANULES_PER_CHUNK + granules > GEO_GRANULES_PER_CHUNK)
                return false;
        for (uint32_t i = 1; i < granules; i++) {
                uint64_t word = owner_load(&r->granules[head + i]);

                if (granule_state(word) != GRANULE_CONT || granule_count(word) != i || granule_arena(word) != arena)
                        return false;
        }
        return true;
}

static uint32_t
tag_of(const struct region *r, uint64_t word)
{
        return tag_make(region_arena_node(r, granule_arena(word)), granule_class(word));
}

bool
slab_is_valid(const struct region *r, uint64_t head)
{
        uint64_t word = owner_load(&r->granules[head]);
        uint32_t class_idx = granule_class(word), n_blocks;

        if (!granule_word_is_valid(&r->layout, word) || granule_state(word) != GRANULE_SLAB ||
            !region_has_bitmap(r, head, class_idx) ||
            !interior_is_valid(r, head, size_class_slab_granules(class_idx), granule_arena(word)))
                return false;
        n_blocks = size_class_slab_blocks(class_idx);
        for (uint32_t i = 0; i < size_class_slab_granules(class_idx); i++)
                if (load_relaxed(&r->tags[head + i]) != tag_of(r, word))
                        return false;
        for (uint32_t w = 0; w < bits_words(n_blocks); w++)
                if (load_relaxed(region_slab_word(r, head, w)) & ~bits_first(w, n_blocks))
                        return false;
        return true;
}

bool
slab_count_is_exact(const struct region *r, uint64_t head)
{
        uint64_t word = owner_load(&r->granules[head]);
        uint32_t n_blocks = size_class_slab_blocks(granule_class(word)), n = 0;

        for (uint32_t w = 0; w < bits_words(n_blocks); w++)
                n += bits_popcount(load_relaxed(region_slab_word(r, head, w)) & bits_first(w, n_blocks));
        return n == granule_count(word);
}

bool
slab_is_own(const struct thread *t, uint64_t head)
{
        return head < region_granules_hwm(t->region) &&
               granule_owner(owner_load(&t->region->granules[head])) == t->no && slab_is_valid(t->region, head);
}

bool
large_is_valid(const struct region *r, uint64_t head, uint64_t word)
{
        uint32_t class_idx = granule_class(word), tag = load_relaxed(&r->tags[head]);
        uint64_t colour = (uint64_t)granule_stamp(word) * 64;

        return granule_word_is_valid(&r->layout, word) && granule_state(word) == GRANULE_LARGE &&
               interior_is_valid(r, head, granule_count(word), granule_arena(word)) &&
               colour + size_class_bytes(class_idx) <= (uint64_t)granule_count(word) << GEO_GRANULE_SHIFT &&
               (tag == tag_of(r, word) || (tag == TAG_NONE && granule_owner(word) != THREAD_NONE));
}

bool
huge_is_valid(const struct region *r, uint64_t chunk, uint64_t word)
{
        uint64_t bytes = load_relaxed(&r->huge_bytes[chunk]), count = chunk_count(word);

        if (!chunk_word_is_valid(&r->layout, word) || chunk_state(word) != CHUNK_HUGE ||
            chunk + count > region_chunks_hwm(r) || bytes > count << GEO_CHUNK_SHIFT ||
            bytes <= (count - 1) << GEO_CHUNK_SHIFT)
                return false;
        for (uint64_t i = 1; i < count; i++) {
                uint64_t tail = owner_load(&r->chunk_words[chunk + i]);

                if (chunk_state(tail) != CHUNK_TAIL || chunk_count(tail) != i)
                        return false;
        }
        return true;
}

#endif
