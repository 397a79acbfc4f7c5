/*
 * large.c - see large.h.
 *
 * A large block is born by one store (the head becomes LARGE without an owner) and dies by one CAS (the head becomes
 * FREEING with an owner); the loser of two frees has found a double free.  While it is resized its head is LARGE with
 * an owner, and it has no tag, so that no free is a hit; a free that meets the owner sets DOOMED, and whoever drops the
 * owner frees the run.
 *
 * Colour: where a run has a page to spare, the block starts at a cache line that depends on the run's place, so that
 * blocks of one class do not all begin in the same cache sets.
 */
#include "blocks/large.h"

#include <errno.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "pages/run.h"
#include "pages/valid.h"

static uint64_t
colour_of(uint64_t head, uint32_t class_idx)
{
        uint64_t slack =
                ((uint64_t)size_class_run_granules(class_idx) << GEO_GRANULE_SHIFT) - size_class_bytes(class_idx);

        ASSERT(size_class_is_large(class_idx));
        return slack < GEO_PAGE_BYTES ? 0 : head * 11 % (GEO_PAGE_BYTES / LARGE_COLOUR_ALIGN) * LARGE_COLOUR_ALIGN;
}

bool
large_block_of(struct region *r, uint64_t block_off, uint64_t *ret_head, uint64_t *ret_word)
{
        uint64_t head = block_off >> GEO_GRANULE_SHIFT;
        uint64_t off = block_off & (GEO_GRANULE_BYTES - 1);
        uint64_t word;

        if (head >= region_granules_hwm(r))
                return false;
        word = load_acquire(run_word(r, head)); /* E3.acq */
        if (granule_state(word) != GRANULE_LARGE || !size_class_is_large(granule_class(word)) ||
            granule_count(word) != size_class_run_granules(granule_class(word)) ||
            head % GEO_GRANULES_PER_CHUNK + granule_count(word) > GEO_GRANULES_PER_CHUNK ||
            off != granule_stamp(word) * LARGE_COLOUR_ALIGN)
                return false;
        *ret_head = head;
        *ret_word = word;
        return true;
}

static uint16_t
tag_of(struct region *r, uint32_t arena, uint32_t class_idx)
{
        ASSERT(arena < r->layout.n_arenas);
        return (uint16_t)tag_make(region_arena_node(r, arena), class_idx);
}

/* ------------------------------------------------------------------ alloc */

static void
interior_store(struct thread *t, uint64_t head, uint32_t from, uint32_t to, uint32_t arena)
{
        uint64_t *word = run_word(t->region, head), cont = granule_word(GRANULE_CONT, THREAD_NONE, arena);
        uint16_t *tag = &t->region->tags[head];

        ASSERT(from >= 1 && head % GEO_GRANULES_PER_CHUNK + to <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = from; i < to; i++) {
                store_relaxed(&tag[i], (uint16_t)TAG_NONE);
                granule_store(t->region, t->no, &word[i],
                              granule_with_count(cont, i) | (owner_load(&word[i]) & GRANULE_BACKING));
        }
}

/* LARGE.2 on: the run is NEW(t) and the candidate names it. */
static int
commit(struct thread *t, uint64_t head, const struct where *where, uint64_t dest_off, uint64_t *ret_block_off)
{
        struct region *r = t->region;
        uint32_t class_idx = where->need.class_idx, granules = where->need.granules, arena = where->arena;
        uint64_t colour = where->need.colour != NULL ? where->need.colour(head, class_idx) : 0;
        uint64_t block_off = (head << GEO_GRANULE_SHIFT) + colour;
        int err = run_reserve(t, head, colour + size_class_bytes(class_idx)); /* LARGE.2 */
        uint64_t word;

        ASSERT_INVARIANT(I16, run_is_new(t, head, granules, arena));
        if (err < 0) {
                run_unclaim(t, head, granules);
                return err;
        }
        interior_store(t, head, 1, granules, arena);                /* LARGE.3 */
        store_relaxed(&r->tags[head], tag_of(r, arena, class_idx)); /* LARGE.4 */
        word = granule_word(GRANULE_LARGE, THREAD_NONE, arena) | (owner_load(run_word(r, head)) & GRANULE_BACKING);
        word = granule_with_count(granule_with_class(word, class_idx), granules);
        word = granule_with_stamp(word, (uint32_t)(colour / LARGE_COLOUR_ALIGN));
        ASSERT_INVARIANT(I13, large_is_valid(r, head, word));
        if (dest_off != 0) {
                dest_fill(t, dest_off, block_off, size_class_bytes(class_idx));
                intent_begin(t, INTENT(RUN_TO, run_to, .head = head, .was = dest_load(r, dest_off), .block = block_off,
                                       .dest = dest_off));                 /* RUN_TO.1 */
                dest_store(r, dest_off, r->layout.chunks_off + block_off); /* RUN_TO.2 */
        }
        kill_order();
        granule_release(r, t->no, run_word(r, head), word); /* LARGE.5: commit.  E3.rel */
        if (dest_off != 0)
                intent_end(t); /* RUN_TO.3 */
        candidate_clear(t);    /* LARGE.6 */
        owner_add(&t->slot->counters[class_idx].n_filled, UINT64_C(1));
        owner_add(&t->slot->counters[class_idx].n_malloc, UINT64_C(1));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        *ret_block_off = block_off;
        return 0;
}

static uint32_t
align_granules(uint64_t align)
{
        ASSERT(bits_is_pow2(align));
        return align <= GEO_GRANULE_BYTES ? 1 : (uint32_t)(align >> GEO_GRANULE_SHIFT);
}

struct run_need
large_need(uint32_t class_idx, uint64_t align)
{
        ASSERT(size_class_is_large(class_idx));
        return (struct run_need){.granules = size_class_run_granules(class_idx),
                                 .align_granules = align_granules(align),
                                 .class_idx = class_idx,
                                 .bytes = size_class_bytes(class_idx),
                                 .colour = align <= LARGE_COLOUR_ALIGN ? colour_of : NULL};
}

int
large_alloc(struct thread *t, const struct where *where, uint64_t dest_off, uint64_t *ret_block_off)
{
        uint64_t head;
        int err = run_claim(t, where, &head); /* LARGE.1 */

        ASSERT_INVARIANT(I20, dest_is_valid(t->region, dest_off));
        ASSERT(size_class_is_large(where->need.class_idx));
        return err < 0 ? err : commit(t, head, where, dest_off, ret_block_off);
}

/* ------------------------------------------------------------------ free */

/* The block is being resized by somebody: whoever drops the owner frees it. */
static int
doom(struct thread *t, uint64_t head, uint64_t block_off, uint64_t word)
{
        ASSERT(granule_owner(word) != THREAD_NONE);
        for (int tries = 0; tries < 1024; tries++) { /* a failure means that the resizer went on: it has few steps */
                if (granule_state(word) != GRANULE_LARGE || (word & GRANULE_DOOMED))
                        return fault_note(t, FAULT_DOUBLE_FREE, block_off);
                if (granule_owner(word) == THREAD_NONE)
                        return -EAGAIN;
                if (owner_release_marked(run_word(t->region, head), &word, word | GRANULE_DOOMED)) /* not ours */
                        return 0;
        }
        return -EAGAIN;
}

/* CAS head -> FREEING(t), the commit of every free of a run.  True: it is ours now. */
static bool
seize(struct thread *t, uint64_t head, uint64_t word)
{
        ASSERT(granule_state(word) == GRANULE_LARGE && granule_owner(word) == THREAD_NONE);
        return granule_acquire(t, run_word(t->region, head), &word,
                               granule_with_owner(granule_with_state(word, GRANULE_FREEING), t->no));
}

int
large_free(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint64_t head, word;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        for (int tries = 0; tries < 1024; tries++) {
                if (!large_block_of(r, block_off, &head, &word))
                        return fault_note(t, tries == 0 ? FAULT_INVALID_FREE : FAULT_DOUBLE_FREE, block_off);
                if (granule_owner(word) != THREAD_NONE) {
                        int err;

                        if (dest_off != 0 && !(word & GRANULE_DOOMED))
                                return -EBUSY; /* no step both dooms it and zeroes *dest */
                        err = doom(t, head, block_off, word);
                        if (err != -EAGAIN)
                                return err;
                        continue;
                }
                candidate_set(t, candidate_make(CANDIDATE_RUN, head, granule_count(word)));
                if (dest_off != 0)
                        intent_begin(t, INTENT(RUN_FROM, run_from, .head = head, .block = block_off,
                                               .dest = dest_off)); /* RUN_FROM.1 */
                if (seize(t, head, word)) {                        /* RUN_FREE.1, RUN_FROM.2: commit */
                        ASSERT_INVARIANT(I13, large_is_valid(r, head, word));
                        dest_store(r, dest_off, UINT64_C(0)); /* RUN_FROM.3 */
                        if (dest_off != 0)
                                intent_end(t); /* RUN_FROM.4 */
                        owner_add(&t->slot->counters[granule_class(word)].n_drained, UINT64_C(1));
                        owner_add(&t->slot->counters[granule_class(word)].n_free, UINT64_C(1));
                        run_free_owned(t, head, granule_count(word));
                        return 0;
                }
                if (dest_off != 0)
                        intent_end(t);
                candidate_clear(t);
        }
        return fault_note(t, FAULT_METADATA, block_off);
}

int
large_drain(struct thread *t, uint64_t magazine_idx)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[magazine_idx];
        uint64_t n = load_relaxed(&m->n), block_off, head, word;

        ASSERT_INVARIANT(I11, magazine_is_own(t, magazine_idx));
        if (n == 0 || n > MAGAZINE_CAP_MAX)
                return 0;
        block_off = region_entry_off(r, load_relaxed(&m->slot[n - 1]));
        if (!large_block_of(r, block_off, &head, &word)) {
                uint64_t granule = block_off >> GEO_GRANULE_SHIFT; /* of a damaged entry: anything */
                bool is_inside = granule >= region_granules_hwm(r) ||
                                 granule_state(owner_load(run_word(r, granule))) == GRANULE_LARGE;

                store_relaxed(&m->n, n - 1);
                magazine_bad_entry(t, (uint32_t)magazine_idx, is_inside ? FAULT_INVALID_FREE : FAULT_DOUBLE_FREE,
                                   block_off);
                return -EINVAL;
        }
        if (granule_owner(word) != THREAD_NONE)
                return -EBUSY; /* a resizer that died before it took the tag away, or after it gave it back */
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, granule_count(word))); /* DRAIN_RUN.1 */
        intent_begin(
                t, INTENT(DRAIN_RUN, drain_run, .head = head, .magazine = magazine_idx, .n = n - 1)); /* DRAIN_RUN.2 */
        if (!seize(t, head, word)) { /* DRAIN_RUN.3: commit */
                intent_end(t);
                candidate_clear(t);
                store_relaxed(&m->n, n - 1);
                magazine_bad_entry(t, (uint32_t)magazine_idx, FAULT_DOUBLE_FREE, block_off);
                return -EINVAL;
        }
        kill_order();
        store_relaxed(&m->n, n - 1); /* DRAIN_RUN.4 */
        intent_end(t);               /* DRAIN_RUN.5 */
        ASSERT_INVARIANT(I13, large_is_valid(r, head, word));
        owner_add(&t->slot->counters[granule_class(word)].n_drained, UINT64_C(1));
        run_free_owned(t, head, granule_count(word));
        return 0;
}

/* ------------------------------------------------------------------ resize */

/* Drops the owner of a LARGE(t) head, whose word becomes `word`; frees the run if somebody doomed it meanwhile. */
static void
drop_owner(struct thread *t, uint64_t head, uint64_t word)
{
        uint64_t *at = run_word(t->region, head);
        uint64_t seen = owner_load(at);

        ASSERT_INVARIANT(I5, granule_owner(seen) == t->no && granule_owner(word) == t->no);
        kill_order();
        store_relaxed(&t->region->tags[head],
                      tag_of(t->region, granule_arena(word), granule_class(word))); /* RESIZE.9 */
        kill_order();
        ASSERT_INVARIANT(I13, large_is_valid(t->region, head, word));
        while (!(seen & GRANULE_DOOMED)) /* once more at most: DOOMED is all that another may set */
                if (granule_release_marked(t->region, t->no, at, &seen,
                                           granule_with_owner(word, THREAD_NONE))) { /* RESIZE.10 */
                        candidate_clear(t);
                        return;
                }
        word = granule_with_owner(granule_with_state(word & ~GRANULE_DOOMED, GRANULE_FREEING), t->no);
        granule_store(t->region, t->no, at, word);
        run_free_owned(t, head, granule_count(word));
}

/* RESIZE.4: claims granules [from, to) behind the run, or none. */
static bool
claim_tail(struct thread *t, uint64_t head, uint32_t from, uint32_t to, uint32_t arena)
{
        struct region *r = t->region;

        ASSERT(from < to && head % GEO_GRANULES_PER_CHUNK + to <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = from; i < to; i++) {
                if (run_take(t, run_word(r, head + i), arena))
                        continue;
                for (uint32_t stamp = run_stamp(r); i-- > from;)
                        granule_release(r, t->no, run_word(r, head + i),
                                        run_free_word(owner_load(run_word(r, head + i)), stamp)); /* E3.rel */
                run_renew_hints(r, head / GEO_GRANULES_PER_CHUNK);
                return false;
        }
        return true;
}

static void
free_tail(struct thread *t, uint64_t head, uint32_t from, uint32_t to, uint32_t arena)
{
        struct region *r = t->region;
        uint32_t stamp = run_stamp(r);

        ASSERT(from >= 1);
        if (from >= to)
                return;
        run_hint_free(r, arena, head + from, to - from);
        for (uint32_t i = from; i < to; i++)
                granule_release(r, t->no, run_word(r, head + i),
                                run_free_word(owner_load(run_word(r, head + i)), stamp)); /* E3.rel */
        run_hint_free(r, arena, head + from, to - from);
        thread_note_release(t);
}

/* RESIZE.7: the head says what the run is now, still owned.  Fails once at most, when DOOMED comes. */
static uint64_t
store_length(struct thread *t, uint64_t head, uint32_t class_idx)
{
        uint64_t *at = run_word(t->region, head);
        uint64_t seen = owner_load(at), word;

        ASSERT_INVARIANT(I5, granule_owner(seen) == t->no);
        do
                word = granule_with_count(granule_with_class(seen, class_idx), size_class_run_granules(class_idx));
        while (!granule_release_marked(t->region, t->no, at, &seen, word)); /* E3.rel */
        return word & ~GRANULE_DOOMED;
}

int
large_resize(struct thread *t, uint64_t block_off, uint32_t class_idx)
{
        struct region *r = t->region;
        uint32_t granules = size_class_run_granules(class_idx), old, arena;
        uint64_t head, word, off = block_off & (GEO_GRANULE_BYTES - 1);

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT(size_class_is_large(class_idx));
        if (!large_block_of(r, block_off, &head, &word))
                return fault_note(t, FAULT_INVALID_FREE, block_off);
        old = granule_count(word);
        arena = granule_arena(word);
        if (granule_owner(word) != THREAD_NONE || head % GEO_GRANULES_PER_CHUNK + granules > GEO_GRANULES_PER_CHUNK ||
            off + size_class_bytes(class_idx) > (uint64_t)granules << GEO_GRANULE_SHIFT)
                return -ENOMEM;
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, granules > old ? granules : old)); /* RESIZE.1 */
        if (!granule_acquire(t, run_word(r, head), &word, granule_with_owner(word, t->no))) {   /* RESIZE.2 */
                candidate_clear(t);
                return -ENOMEM;
        }
        ASSERT_INVARIANT(I13, large_is_valid(r, head, word));
        store_relaxed(&r->tags[head], (uint16_t)TAG_NONE); /* RESIZE.3 */
        kill_order();
        word = granule_with_owner(word, t->no);
        if (granules > old && !claim_tail(t, head, old, granules, arena)) { /* RESIZE.4 */
                drop_owner(t, head, word);
                return -ENOMEM;
        }
        if (run_reserve(t, head, off + size_class_bytes(class_idx)) < 0) { /* RESIZE.5 */
                free_tail(t, head, old, granules, arena);
                drop_owner(t, head, owner_load(run_word(r, head)));
                return -ENOMEM;
        }
        interior_store(t, head, old, granules, arena); /* RESIZE.6 */
        kill_order();
        word = store_length(t, head, class_idx);  /* RESIZE.7: commit */
        free_tail(t, head, granules, old, arena); /* RESIZE.8 */
        drop_owner(t, head, word);
        return 0;
}

void
large_settle(struct region *r, uint32_t thread_no, uint64_t head, uint32_t granules)
{
        uint32_t stamp = run_stamp(r);
        uint64_t word = owner_load(run_word(r, head));
        uint32_t length = granule_count(word);

        ASSERT_INVARIANT(I5, granule_owner(word) == thread_no);
        ASSERT(thread_no != THREAD_NONE);
        for (uint32_t i = length; i < granules; i++) {
                uint64_t tail = owner_load(run_word(r, head + i));

                if (granule_owner(tail) == thread_no ||
                    (granule_state(tail) == GRANULE_CONT && granule_count(tail) == i))
                        granule_release(r, thread_no, run_word(r, head + i), run_free_word(tail, stamp)); /* E3.rel */
        }
        run_renew_hints(r, head / GEO_GRANULES_PER_CHUNK);
        store_relaxed(&r->tags[head], tag_of(r, granule_arena(word), granule_class(word)));
        while (!(word & GRANULE_DOOMED))
                if (granule_release_marked(r, thread_no, run_word(r, head), &word,
                                           granule_with_owner(word, THREAD_NONE)))
                        return;
        granule_store(r, thread_no, run_word(r, head), granule_with_state(word, GRANULE_FREEING) & ~GRANULE_DOOMED);
        run_settle(r, thread_no, head, length);
}
