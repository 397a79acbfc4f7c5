/*
 * owned.c - see owned.h.  Only in builds that assert.
 */
#include "clients/owned.h"

#if SHM_ASSERTS

bool
chunk_is_owned(const struct region *r, uint32_t no, const uint64_t *word)
{
        uint64_t seen = load_relaxed(word), chunk = (uint64_t)(word - r->chunk_words);

        if (chunk_state(seen) == CHUNK_TAIL)
                return chunk_count(seen) <= chunk && chunk_owner(load_relaxed(word - chunk_count(seen))) == no;
        return chunk_owner(seen) == no;
}

bool
granule_is_owned(const struct region *r, uint32_t no, const uint64_t *word)
{
        uint64_t seen = load_relaxed(word), granule = (uint64_t)(word - r->granules);

        switch (granule_state(seen)) {
        case GRANULE_NONE:
                return chunk_is_owned(r, no, &r->chunk_words[granule / GEO_GRANULES_PER_CHUNK]);
        case GRANULE_CONT:
                return granule_count(seen) <= granule % GEO_GRANULES_PER_CHUNK &&
                       granule_owner(load_relaxed(word - granule_count(seen))) == no;
        default:
                return granule_owner(seen) == no;
        }
}

static bool
candidate_names_chunk(uint64_t candidate, uint64_t chunk)
{
        uint64_t head = candidate_head(candidate);

        switch (candidate_kind(candidate)) {
        case CANDIDATE_CHUNK:
                return chunk == head;
        case CANDIDATE_HUGE:
                return chunk >= head && chunk - head < candidate_length(candidate);
        default:
                return false;
        }
}

bool
chunk_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word)
{
        return candidate_names_chunk(load_relaxed(&slot->candidate), (uint64_t)(word - r->chunk_words));
}

bool
granule_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word)
{
        uint64_t candidate = load_relaxed(&slot->candidate), granule = (uint64_t)(word - r->granules);

        if (candidate_kind(candidate) != CANDIDATE_RUN)
                return candidate_names_chunk(candidate, granule / GEO_GRANULES_PER_CHUNK);
        return granule >= candidate_head(candidate) &&
               granule - candidate_head(candidate) < candidate_length(candidate);
}

uint32_t
magazine_count_places(const struct region *r, const struct thread_slot *slot, uint32_t idx)
{
        uint32_t n = 0;

        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++)
                n += load_relaxed(&slot->magazines[place]) == idx + 1;
        return n;
}

bool
magazine_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word)
{
        uint32_t idx = (uint32_t)(word - r->magazine_words);

        return load_relaxed(&slot->hand) == idx + 1 || magazine_count_places(r, slot, idx) > 0;
}

bool
granule_may_be_free(const struct region *r, const uint64_t *word, uint64_t value)
{
        uint64_t granule = (uint64_t)(word - r->granules);
        uint64_t chunk_word = load_relaxed(&r->chunk_words[granule / GEO_GRANULES_PER_CHUNK]);

        return load_relaxed(&r->tags[granule]) == TAG_NONE && chunk_state(chunk_word) == CHUNK_ARENA &&
               chunk_arena(chunk_word) == granule_arena(value);
}

static bool
granules_are_let_go(const struct region *r, uint32_t no, uint64_t first, uint64_t n)
{
        for (uint64_t granule = first; granule < first + n; granule++)
                if (granule_owner(load_relaxed(&r->granules[granule])) == no)
                        return false;
        return true;
}

bool
candidate_is_let_go(const struct region *r, uint32_t no, uint64_t candidate)
{
        uint64_t head = candidate_head(candidate), length = candidate_length(candidate);

        switch (candidate_kind(candidate)) {
        case CANDIDATE_RUN:
                return granules_are_let_go(r, no, head, length);
        case CANDIDATE_CHUNK:
        case CANDIDATE_HUGE:
                for (uint64_t chunk = head; chunk < head + length; chunk++)
                        if (chunk_owner(load_relaxed(&r->chunk_words[chunk])) == no ||
                            (chunk < region_chunks_hwm(r) &&
                             !granules_are_let_go(r, no, chunk * GEO_GRANULES_PER_CHUNK, GEO_GRANULES_PER_CHUNK)))
                                return false;
                return true;
        case CANDIDATE_ROOT:
                return WORD_FIELD(load_relaxed(&r->roots[head].word), 4, 16) != no;
        default:
                return true;
        }
}

bool
thread_is_valid(const struct thread *t)
{
        const struct region *r = t->region;
        uint64_t off = (t->no - UINT64_C(1)) * r->layout.stride[TABLE_THREADS];

        if (t->is_left) /* it has been told so, and changes nothing any more */
                return true;
        return t->no != THREAD_NONE && t->no <= r->layout.n[TABLE_THREADS] &&
               (const char *)t->slot == r->threads + off && load_relaxed(&t->slot->client_idx) == t->client_idx &&
               load_relaxed(&t->slot->client_incarnation) == t->client_incarnation && t->arena < r->layout.n_arenas &&
               t->node == region_arena_node(r, t->arena);
}

bool
thread_is_between_steps(const struct thread *t)
{
        return load_relaxed(&t->slot->intent.kind) == INTENT_NONE && load_relaxed(&t->slot->candidate) == 0;
}

/* ------------------------------------------------------------------ intents */

bool
dest_is_valid(const struct region *r, uint64_t dest_off)
{
        uint64_t slots_off = r->layout.off[TABLE_THREADS], stride = r->layout.stride[TABLE_THREADS];
        uint64_t in_chunks = dest_off - r->layout.chunks_off, in_slots = dest_off - slots_off;

        if (dest_off == 0)
                return true;
        if (dest_off % 8 != 0)
                return false;
        if (dest_off >= r->layout.chunks_off)
                return in_chunks < region_chunks_hwm(r) << GEO_CHUNK_SHIFT;
        return dest_off >= slots_off && in_slots < region_threads_hwm(r) * stride &&
               in_slots % stride >= offsetof(struct thread_slot, pending) &&
               in_slots % stride < offsetof(struct thread_slot, pending_record);
}

static bool
magazine_is_mine(const struct thread *t, uint64_t idx)
{
        return region_has_magazine(t->region, idx) &&
               magazine_owner(load_relaxed(&t->region->magazine_words[idx])) == t->no;
}

static bool
granule_is_mine(const struct thread *t, uint64_t granule, enum granule_state state)
{
        const uint64_t *word = granule < region_granules_hwm(t->region) ? &t->region->granules[granule] : NULL;

        return word != NULL && granule_state(load_relaxed(word)) == state && granule_owner(load_relaxed(word)) == t->no;
}

static bool
block_is_in_slab(const struct thread *t, uint64_t head, uint64_t block_off)
{
        uint64_t at = head << GEO_GRANULE_SHIFT, bytes;

        if (!granule_is_mine(t, head, GRANULE_SLAB))
                return false;
        bytes = (uint64_t)size_class_slab_granules(granule_class(load_relaxed(&t->region->granules[head])))
                << GEO_GRANULE_SHIFT;
        return block_off >= at && block_off - at < bytes;
}

static bool
magazine_intent_is_valid(const struct thread *t, const struct intent *in, enum intent_kind kind)
{
        const struct magazine *m = magazine_is_mine(t, in->magazine) ? &t->region->magazines[in->magazine] : NULL;
        uint64_t n = m != NULL ? load_relaxed(&m->n) : 0;

        if (m == NULL || n > MAGAZINE_CAP_MAX)
                return false;
        switch (kind) {
        case INTENT_FILL:
                return granule_is_mine(t, in->slab, GRANULE_SLAB) && n == 0 && in->n >= 1 &&
                       in->n <= load_relaxed(&m->cap);
        case INTENT_DRAIN:
                return granule_is_mine(t, in->slab, GRANULE_SLAB) && in->n < n;
        case INTENT_SWAP:
                return in->i < in->j && in->j < n && load_relaxed(&m->slot[in->i]) == in->a &&
                       load_relaxed(&m->slot[in->j]) == in->b;
        case INTENT_DRAIN_RUN:
                return in->n + 1 == n && granule_is_named(t->region, t->slot, &t->region->granules[in->slab]);
        case INTENT_POP_TO:
                return in->n + 1 == n && load_relaxed(&m->slot[in->n]) == region_entry(t->region, in->a);
        case INTENT_PUSH_FROM:
                return in->n == n + 1 && load_relaxed(&m->slot[n]) == region_entry(t->region, in->a);
        default:
                return false;
        }
}

bool
intent_is_valid(const struct thread *t, const struct intent *in, enum intent_kind kind)
{
        const struct region *r = t->region;

        if (!dest_is_valid(r, kind == INTENT_SWAP ? 0 : in->b))
                return false;
        switch (kind) {
        case INTENT_ALLOC_ONE:
        case INTENT_FREE_ONE:
                return block_is_in_slab(t, in->slab, in->a);
        case INTENT_RUN_TO:
                return in->b != 0 && granule_is_mine(t, in->slab, GRANULE_NEW) &&
                       in->a >> GEO_GRANULE_SHIFT == in->slab;
        case INTENT_RUN_FROM:
                return in->b != 0 && granule_is_named(r, t->slot, &r->granules[in->slab]) &&
                       in->a >> GEO_GRANULE_SHIFT == in->slab;
        case INTENT_HUGE_TO:
                return in->b != 0 && chunk_is_owned(r, t->no, &r->chunk_words[in->slab]) &&
                       in->a >> GEO_CHUNK_SHIFT == in->slab;
        case INTENT_HUGE_FROM:
                return in->b != 0 && chunk_is_named(r, t->slot, &r->chunk_words[in->slab]) &&
                       in->a >> GEO_CHUNK_SHIFT == in->slab;
        default:
                return magazine_intent_is_valid(t, in, kind);
        }
}

#endif
