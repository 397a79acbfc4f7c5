/*
 * owned.c - see owned.h.  Only in builds that assert, but for what static functions of others call: these are there in
 * a build that is not optimized, though nobody calls them.
 */
#include "clients/owned.h"

#include "clients/slot_pages.h"

uint32_t
magazine_count_places(const struct region *r, const struct thread_slot *slot, uint32_t idx)
{
        uint32_t n = 0;

        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++)
                n += load_relaxed(&slot->magazines[place]) == idx + 1;
        return n;
}

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

bool
magazine_is_named(const struct region *r, const struct thread_slot *slot, const uint64_t *word)
{
        uint32_t idx = (uint32_t)(word - r->magazine_words);

        uint64_t candidate = load_relaxed(&slot->candidate);

        return load_relaxed(&slot->hand) == idx + 1 || magazine_count_places(r, slot, idx) > 0 ||
               (candidate_kind(candidate) == CANDIDATE_MAGAZINES && idx >= candidate_head(candidate) &&
                idx - candidate_head(candidate) < candidate_length(candidate));
}

bool
granule_may_be_free(const struct region *r, const uint64_t *word, uint64_t value)
{
        uint64_t granule = (uint64_t)(word - r->granules);
        uint64_t chunk_word = load_relaxed(&r->chunk_words[granule / GEO_GRANULES_PER_CHUNK]);

        return load_relaxed(&r->tags[granule]) == TAG_NONE && chunk_state(chunk_word) == CHUNK_ARENA &&
               chunk_arena(chunk_word) == granule_arena(value);
}

/* Of the same numbers the thread may have others, in its places. */
static bool
magazines_are_let_go(const struct region *r, uint32_t no, uint64_t first, uint64_t n)
{
        for (uint64_t idx = first; idx < first + n; idx++) {
                uint64_t word = region_has_magazine(r, idx) ? load_relaxed(&r->magazine_words[idx]) : 0;

                if (magazine_state(word) == MAGAZINE_PURGING && magazine_owner(word) == no)
                        return false;
        }
        return true;
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
        case CANDIDATE_MAGAZINES:
                return magazines_are_let_go(r, no, head, length);
        default:
                return true;
        }
}

bool
thread_is_valid(const struct thread *t)
{
        const struct region *r = t->region;
        uint64_t off = (t->no - UINT64_C(1)) * r->layout.stride[TABLE_THREADS];
        const struct slot_gate *gate = t->gate;

        if (t->is_left) /* it has been told so, and changes nothing any more */
                return true;
        return t->no != THREAD_NONE && t->no <= r->layout.n[TABLE_THREADS] &&
               (const char *)t->slot == r->threads + off && gate == &r->gates[t->no - 1] &&
               load_relaxed(&gate->client_idx) == t->client_idx &&
               load_relaxed(&gate->client_incarnation) == t->client_incarnation && t->arena < r->layout.n_arenas &&
               t->node == region_arena_node(r, t->arena);
}

bool
thread_is_between_steps(const struct thread *t)
{
        return load_relaxed(&t->slot->intent.kind) == INTENT_NONE && load_relaxed(&t->slot->candidate) == 0;
}

bool
slot_has_no_step(const struct region *r, const struct slot_gate *gate)
{
        const struct thread_slot *slot = slot_at(r, (uint32_t)(gate - r->gates));

        return load_relaxed(&slot->intent.kind) == INTENT_NONE && load_relaxed(&slot->candidate) == 0 &&
               load_relaxed(&slot->hand) == 0 && load_relaxed(&gate->dest) == 0;
}

/* ------------------------------------------------------------------ intents */

bool
dest_is_valid(const struct region *r, uint64_t dest_off)
{
        uint64_t gates_off = r->layout.off[TABLE_GATES], stride = sizeof(struct slot_gate);
        uint64_t in_chunks = dest_off - r->layout.chunks_off, in_gates = dest_off - gates_off;

        if (dest_off == 0)
                return true;
        if (dest_off % 8 != 0)
                return false;
        if (dest_off >= r->layout.chunks_off)
                return in_chunks < region_chunks_hwm(r) << GEO_CHUNK_SHIFT;
        return dest_off >= gates_off && in_gates < region_threads_hwm(r) * stride &&
               in_gates % stride >= offsetof(struct slot_gate, pending) &&
               in_gates % stride < offsetof(struct slot_gate, pad);
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
intent_entries_is_valid(const struct thread *t, const struct intent *in)
{
        const struct intent_entries *e = &in->fill;
        const struct magazine *m = magazine_is_mine(t, e->magazine) ? &t->region->magazines[e->magazine] : NULL;
        uint64_t n = m != NULL ? load_relaxed(&m->n) : 0;

        if (m == NULL || n > MAGAZINE_CAP_MAX)
                return false;
        if (in->kind == INTENT_FILL)
                return granule_is_mine(t, e->head, GRANULE_SLAB) && n == 0 && e->n >= 1 &&
                       e->n <= load_relaxed(&m->cap);
        if (in->kind == INTENT_DRAIN)
                return granule_is_mine(t, e->head, GRANULE_SLAB) && e->n < n;
        if (in->kind == INTENT_DRAIN_HUGE)
                return e->n + 1 == n && chunk_is_named(t->region, t->slot, &t->region->chunk_words[e->head]);
        return e->n + 1 == n && granule_is_named(t->region, t->slot, &t->region->granules[e->head]);
}

static bool
intent_swap_is_valid(const struct thread *t, const struct intent *in)
{
        const struct intent_swap *s = &in->swap;
        const struct magazine *m = magazine_is_mine(t, s->magazine) ? &t->region->magazines[s->magazine] : NULL;
        uint64_t n = m != NULL ? load_relaxed(&m->n) : 0;

        return n <= MAGAZINE_CAP_MAX && s->i < s->j && s->j < n && load_relaxed(&m->slot[s->i]) == s->a &&
               load_relaxed(&m->slot[s->j]) == s->b;
}

static bool
intent_block_is_valid(const struct thread *t, const struct intent *in)
{
        const struct region *r = t->region;
        const struct intent_block *b = &in->alloc_one;
        uint64_t granule = b->block >> GEO_GRANULE_SHIFT, chunk = b->block >> GEO_CHUNK_SHIFT;

        if (!dest_is_valid(r, b->dest))
                return false;
        switch (in->kind) {
        case INTENT_RUN_TO:
                return b->dest != 0 && granule == b->head && granule_is_mine(t, b->head, GRANULE_NEW);
        case INTENT_RUN_FROM:
                return b->dest != 0 && granule == b->head && granule_is_named(r, t->slot, &r->granules[b->head]);
        case INTENT_HUGE_TO:
                return b->dest != 0 && chunk == b->head && chunk_is_owned(r, t->no, &r->chunk_words[b->head]);
        case INTENT_HUGE_FROM:
                return b->dest != 0 && chunk == b->head && chunk_is_named(r, t->slot, &r->chunk_words[b->head]);
        default:
                return block_is_in_slab(t, b->head, b->block);
        }
}

static bool
intent_handover_is_valid(const struct thread *t, const struct intent *in)
{
        const struct intent_handover *h = &in->pop_to;
        const struct magazine *m = magazine_is_mine(t, h->magazine) ? &t->region->magazines[h->magazine] : NULL;
        uint64_t n = m != NULL ? load_relaxed(&m->n) : 0, after = in->kind == INTENT_POP_TO ? h->n + 1 : h->n - 1;

        return m != NULL && n <= MAGAZINE_CAP_MAX && n == after && dest_is_valid(t->region, h->dest) &&
               load_relaxed(&m->slot[in->kind == INTENT_POP_TO ? h->n : n]) == region_entry(t->region, h->block);
}

#define IS_VALID(kind, member, name, operands, settle)                                                                 \
        case INTENT_##kind:                                                                                            \
                return intent_##operands##_is_valid(t, in);

bool
intent_is_valid(const struct thread *t, const struct intent *in)
{
        switch (in->kind) {
                INTENTS(IS_VALID)
        default:
                return false;
        }
}

#endif
