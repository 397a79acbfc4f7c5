/*
 * run.c - claiming, backing and freeing runs of granules.
 *
 * Claim.  A run is claimed in address order, one CAS FREE(a) -> NEW(t) per granule; a failed one gives its few back.
 * The maps of a chunk only say where to try.  The claimed granules stay NEW(t) until the caller commits by storing
 * the head's final word last.
 *
 * Free.  The head names this thread in state NEW or FREEING; interior granules are CONT(head), and CONT is owned by
 * whoever owns the head.  Each interior granule gives up its tag, then its word; the head goes last, so until the
 * very end the candidate leads a reaper to what is left.  A granule that was released may belong to somebody else's
 * run at once: the reaper tells by the word, which then neither names the dead nor continues this head.
 *
 * What it gave up: finding the globally best fit.  Runs go to the lowest chunk that has room by its hints.
 */
#include "pages/run.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "os/clock.h"
#include "pages/decay_stamp.h"
#include "pages/hint.h"
#include "pages/placement.h"
#include "pages/valid.h"

enum { CLAIM_CHUNKS_MAX = 64 }; /* chunks tried per claim before other ways of getting memory are better */

uint32_t
run_stamp(const struct region *r)
{
        return decay_stamp(r, clock_ms());
}

int64_t
run_head_of(struct region *r, uint64_t granule)
{
        uint64_t word = load_acquire(run_word(r, granule)); /* E3.acq */

        switch (granule_state(word)) {
        case GRANULE_SLAB:
        case GRANULE_LARGE:
        case GRANULE_FREEING:
                return (int64_t)granule;
        case GRANULE_CONT:
                if (granule_count(word) <= granule % GEO_GRANULES_PER_CHUNK)
                        return (int64_t)(granule - granule_count(word));
                return POSITION_NONE;
        default:
                return POSITION_NONE;
        }
}

/* ------------------------------------------------------------------ hints about free granules */

static void
publish_hints(struct region *r, uint32_t arena, uint64_t chunk)
{
        struct chunk_map *map = &r->chunk_maps[chunk];
        uint64_t free_map = load_relaxed(&map->free);
        uint64_t warm_map = load_relaxed(&map->warm);

        ASSERT(chunk < region_chunks_hwm(r));
        hint_set_several(r, arena, HINT_RUN_ANY, bits_run_levels(free_map), chunk);
        hint_set_several(r, arena, HINT_RUN_WARM, bits_run_levels(warm_map), chunk);
        if (warm_map != 0)
                hint_set(r, arena, HINT_DIRTY, chunk);
        if (free_map == bits_mask(0, GEO_GRANULES_PER_CHUNK))
                hint_set(r, arena, HINT_EMPTY, chunk);
}

/* Those of granules [head, head + granules) that have pages, as bits of their chunk's map. */
static uint64_t
warm_bits(struct region *r, uint64_t head, uint32_t granules)
{
        const uint64_t *word = run_word(r, head);
        uint64_t warm = 0;

        ASSERT(head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = 0; i < granules; i++)
                warm |= (uint64_t)((owner_load(&word[i]) & GRANULE_BACKED) != 0) << i;
        return warm << head % GEO_GRANULES_PER_CHUNK;
}

/* Hints about runs by what the maps have now, where that is more than they had before. */
static void
hint_levels(struct region *r, uint32_t arena, uint64_t chunk, const struct chunk_map *before,
            const struct chunk_map *after)
{
        uint32_t had = bits_run_levels(before->free), has = bits_run_levels(after->free);

        if (has > had)
                hint_set_several(r, arena, HINT_RUN_ANY + had, has - had, chunk);
        if (before->warm != before->free || after->warm != after->free) { /* in the steady state they are the same */
                had = bits_run_levels(before->warm);
                has = bits_run_levels(after->warm);
        }
        if (has > had)
                hint_set_several(r, arena, HINT_RUN_WARM + had, has - had, chunk);
}

/* Bits of the map become free, some of them warm.  Hints that followed from the map before are there already, or were
 * lost by a death: then a reaper or the clock hand brings them back. */
static void
hint_free(struct region *r, uint32_t arena, uint64_t chunk, uint64_t bits, uint64_t warm)
{
        struct chunk_map *map = &r->chunk_maps[chunk], before, after;

        ASSERT(bits != 0 && (warm & ~bits) == 0);
        ASSERT(chunk < region_chunks_hwm(r));
        before.free = fetch_or_relaxed(&map->free, bits);
        before.warm = load_relaxed(&map->warm);
        if ((before.warm & bits & ~warm) != 0)
                before.warm = fetch_and_relaxed(&map->warm, ~(bits & ~warm)) & ~(bits & ~warm);
        if ((before.warm & warm) != warm)
                before.warm = fetch_or_relaxed(&map->warm, warm);
        after.free = before.free | bits;
        after.warm = before.warm | warm;
        hint_levels(r, arena, chunk, &before, &after);
        if (warm != 0)
                hint_set(r, arena, HINT_DIRTY, chunk);
        if (after.free == bits_mask(0, GEO_GRANULES_PER_CHUNK))
                hint_set(r, arena, HINT_EMPTY, chunk);
}

void
run_hint_free(struct region *r, uint32_t arena, uint64_t head, uint32_t granules)
{
        ASSERT(granules >= 1 && head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK);
        hint_free(r, arena, head / GEO_GRANULES_PER_CHUNK, bits_mask(head % GEO_GRANULES_PER_CHUNK, granules),
                  warm_bits(r, head, granules));
}

void
run_hint_lost(struct region *r, uint64_t first, uint32_t n)
{
        uint64_t chunk = first / GEO_GRANULES_PER_CHUNK, map = load_relaxed(&r->chunk_maps[chunk].free);
        bool has_free = false;
        uint32_t arena = 0;

        ASSERT(first % GEO_GRANULES_PER_CHUNK + n <= GEO_GRANULES_PER_CHUNK);
        for (uint64_t granule = first; granule < first + n; granule++) {
                uint64_t word = owner_load(run_word(r, granule));

                if (granule_state(word) != GRANULE_FREE)
                        continue;
                has_free = true;
                arena = granule_arena(word);
                if (!(map >> granule % GEO_GRANULES_PER_CHUNK & 1))
                        run_hint_free(r, arena, granule, 1);
        }
        if (has_free)
                publish_hints(r, arena, chunk);
}

void
run_renew_hints(struct region *r, uint64_t chunk)
{
        struct chunk_map *map = &r->chunk_maps[chunk];
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;
        uint64_t free_map = 0, warm_map = 0;
        uint64_t chunk_word = load_acquire(&r->chunk_words[chunk]); /* E3.acq: the arena's hints about it are backed */
        uint32_t arena = chunk_arena(chunk_word);

        ASSERT(chunk < region_chunks_hwm(r));
        if (chunk_state(chunk_word) != CHUNK_ARENA)
                return;
        for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK; i++) {
                uint64_t word = owner_load(run_word(r, first + i));

                if (granule_state(word) != GRANULE_FREE)
                        continue;
                free_map |= UINT64_C(1) << i;
                if (granule_backed(word) != 0)
                        warm_map |= UINT64_C(1) << i;
        }
        store_relaxed(&map->free, free_map);
        store_relaxed(&map->warm, warm_map);
        publish_hints(r, arena, chunk);
}

static void
hint_taken(struct region *r, uint64_t head, uint32_t granules)
{
        struct chunk_map *map = &r->chunk_maps[head / GEO_GRANULES_PER_CHUNK];
        uint64_t bits = bits_mask(head % GEO_GRANULES_PER_CHUNK, granules);

        ASSERT(granules >= 1 && head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK);
        fetch_and_relaxed(&map->free, ~bits);
        fetch_and_relaxed(&map->warm, ~bits);
}

/* ------------------------------------------------------------------ claim */

/* Lets go of NEW(t) granules that were claimed but never became part of anything. */
static void
unclaim(struct thread *t, uint64_t head, uint32_t granules)
{
        struct region *r = t->region;
        uint32_t stamp = run_stamp(r);

        ASSERT(granules <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = granules; i-- > 0;) {
                uint64_t word = owner_load(run_word(r, head + i));

                granule_release(r, t->no, run_word(r, head + i), run_free_word(word, stamp)); /* E3.rel */
        }
}

void
run_unclaim(struct thread *t, uint64_t head, uint32_t granules)
{
        uint32_t arena = granule_arena(owner_load(run_word(t->region, head)));

        ASSERT_INVARIANT(I16, run_is_new(t, head, granules, arena));
        unclaim(t, head, granules); /* RUN.3 */
        run_hint_free(t->region, arena, head, granules);
        candidate_clear(t); /* RUN.4 */
}

/* RUN.1 candidate; RUN.2 CAS each granule in address order; on failure RUN.3 release, RUN.4 clear the candidate. */
static bool
claim_at(struct thread *t, uint32_t arena, uint64_t head, uint32_t granules)
{
        uint64_t *word = run_word(t->region, head);

        ASSERT(head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK);
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, granules)); /* RUN.1 */
        for (uint32_t i = 0; i < granules; i++) {
                if (run_take(t, &word[i], arena)) /* RUN.2 */
                        continue;
                unclaim(t, head, i); /* RUN.3 */
                candidate_clear(t);  /* RUN.4 */
                return false;
        }
        ASSERT_INVARIANT(I16, run_is_new(t, head, granules, arena));
        hint_taken(t->region, head, granules);
        return true;
}

/* One chunk by one of its maps.  A failed claim means that the map lied: it is rewritten and tried once more. */
static bool
claim_by_map(struct thread *t, const struct where *where, uint64_t chunk, bool warm, uint64_t *ret_head)
{
        struct chunk_map *map = &t->region->chunk_maps[chunk];
        uint32_t granules = where->need.granules;

        ASSERT(chunk < region_chunks_hwm(t->region));
        for (int tries = 0; tries < 2; tries++) {
                uint64_t bits = load_relaxed(&map->free) & bits_mask(0, GEO_GRANULES_PER_CHUNK);
                int at = bits_find_run_aligned(warm ? bits & load_relaxed(&map->warm) : bits, granules,
                                               where->need.align_granules);

                if (at == POSITION_NONE)
                        return false;
                *ret_head = chunk * GEO_GRANULES_PER_CHUNK + (uint32_t)at;
                if (claim_at(t, where->arena, *ret_head, granules))
                        return true;
                run_renew_hints(t->region, chunk);
        }
        return false;
}

/* A chunk that disappointed: its hint goes if the map agrees, and comes back if the map changed meanwhile. */
static void
hint_disappoint(struct region *r, uint32_t arena, uint32_t kind, uint32_t level, uint64_t chunk, bool warm)
{
        const uint64_t *map = warm ? &r->chunk_maps[chunk].warm : &r->chunk_maps[chunk].free;

        ASSERT(level < HINT_RUN_LEVELS && chunk < region_chunks_hwm(r));
        if (bits_run_levels(load_relaxed(map)) > level)
                return;
        hint_clear(r, arena, kind + level, chunk);
        if (bits_run_levels(load_relaxed(map)) > level)
                hint_set(r, arena, kind + level, chunk);
}

static bool
claim_by_level(struct thread *t, const struct where *where, bool warm, uint32_t level, uint64_t *ret_head)
{
        struct region *r = t->region;
        uint32_t kind = warm ? HINT_RUN_WARM : HINT_RUN_ANY, arena = where->arena;
        int64_t chunk = hint_find(r, arena, kind + level, 0);

        ASSERT(level < HINT_RUN_LEVELS);
        for (int tries = 0; chunk != POSITION_NONE && tries < CLAIM_CHUNKS_MAX; tries++) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq: its granule words */

                if (chunk_state(word) != CHUNK_ARENA || chunk_arena(word) != arena)
                        hint_clear(r, arena, kind + level, (uint64_t)chunk);
                else if (claim_by_map(t, where, (uint64_t)chunk, warm, ret_head))
                        return true;
                else
                        hint_disappoint(r, arena, kind, level, (uint64_t)chunk, warm);
                chunk = hint_find(r, arena, kind + level, (uint64_t)chunk + 1);
        }
        return false;
}

static bool
claim_by_hints(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        /* A run that is longer by the alignment holds an aligned one for sure, and so does a whole chunk. */
        uint64_t enough = (uint64_t)where->need.granules + where->need.align_granules - 1;
        uint32_t above = bits_log2_ceil(enough < GEO_GRANULES_PER_CHUNK ? enough : GEO_GRANULES_PER_CHUNK);
        uint32_t below = bits_log2_floor(where->need.granules);

        ASSERT(below <= above);
        for (int warm = 1; warm >= 0; warm--) {
                if (claim_by_level(t, where, warm, above, ret_head))
                        return true;
                if (below != above && claim_by_level(t, where, warm, below, ret_head))
                        return true;
        }
        return false;
}

/* ------------------------------------------------------------------ claim what has pages */

/* Sixteenths of granule i that a run's first `bytes` reach into. */
static uint32_t
backing_needed(uint64_t bytes, uint32_t i)
{
        uint64_t start = (uint64_t)i << GEO_GRANULE_SHIFT;

        ASSERT(i < GEO_GRANULES_PER_CHUNK);
        if (bytes <= start)
                return 0;
        if (bytes - start >= GEO_GRANULE_BYTES)
                return GRANULE_BACKED_ALL;
        return (uint32_t)((bytes - start + GRANULE_BACKED_UNIT - 1) / GRANULE_BACKED_UNIT);
}

/* Whether a run from here on would have all that it needs without a system call. */
static bool
suffices(struct region *r, uint64_t head, const struct run_need *need)
{
        uint64_t bytes = need->bytes + (need->colour ? need->colour(head, need->class_idx) : 0);

        ASSERT(head % GEO_GRANULES_PER_CHUNK + need->granules <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = 0; i < need->granules; i++)
                if (granule_backed(owner_load(run_word(r, head + i))) < backing_needed(bytes, i))
                        return false;
        return !size_class_is_small(need->class_idx) || region_has_bitmap(r, head, need->class_idx);
}

static bool
claim_backed(struct thread *t, const struct where *where, uint64_t chunk, uint64_t *ret_head)
{
        uint64_t free = load_relaxed(&t->region->chunk_maps[chunk].free), first = chunk * GEO_GRANULES_PER_CHUNK;
        const struct run_need *need = &where->need;

        ASSERT(t->call.no_grow && chunk < region_chunks_hwm(t->region));
        for (uint32_t at = 0; at + need->granules <= GEO_GRANULES_PER_CHUNK; at += need->align_granules)
                if ((~free & bits_mask(at, need->granules)) == 0 && suffices(t->region, first + at, need) &&
                    claim_at(t, where->arena, first + at, need->granules)) {
                        *ret_head = first + at;
                        return true;
                }
        return false;
}

static bool
claim_backed_by_hints(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        struct region *r = t->region;
        uint32_t kind = HINT_RUN_ANY + bits_log2_floor(where->need.granules), arena = where->arena;
        int64_t chunk = hint_find(r, arena, kind, 0);

        ASSERT(t->call.no_grow);
        for (; chunk != POSITION_NONE; chunk = hint_find(r, arena, kind, (uint64_t)chunk + 1)) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq: its granule words */

                if (chunk_state(word) == CHUNK_ARENA && chunk_arena(word) == arena &&
                    claim_backed(t, where, (uint64_t)chunk, ret_head))
                        return true;
        }
        return false;
}

int
run_claim(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        bool is_found;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT(where->arena < t->region->layout.n_arenas);
        ASSERT(where->need.granules >= 1 && where->need.granules <= GEO_GRANULES_PER_CHUNK);
        ASSERT(bits_is_pow2(where->need.align_granules));
        if (where->chunk == CHUNK_ANY) {
                is_found = t->call.no_grow ? claim_backed_by_hints(t, where, ret_head)
                                           : claim_by_hints(t, where, ret_head);
        } else {
                run_renew_hints(t->region, where->chunk);
                is_found = t->call.no_grow ? claim_backed(t, where, where->chunk, ret_head)
                                           : claim_by_map(t, where, where->chunk, false, ret_head);
        }
        return is_found ? 0 : -ENOMEM;
}

/* ------------------------------------------------------------------ back */

/* Notes that a granule may have pages, and how many surely.  By CAS: while the run is resized, others may set DOOMED in
 * its head.  Fails once at most, for nothing else changes an owned word. */
static void
note_backing(struct thread *t, uint64_t *at, uint32_t backed)
{
        uint64_t word = owner_load(at), noted;

        ASSERT(backed <= GRANULE_BACKED_ALL);
        do {
                noted = word | GRANULE_MAY_HAVE;
                if (granule_backed(word) < backed)
                        noted = granule_with_backed(noted, backed);
        } while (!granule_release_marked(t->region, t->no, at, &word, noted));
}

/* Granules [i, n) that lack pages and lie side by side, with all that lie between. */
static int
reserve_stretch(struct thread *t, uint64_t head, uint64_t bytes, uint32_t i, uint32_t n)
{
        struct region *r = t->region;
        uint64_t known = granule_backed(owner_load(run_word(r, head + i))) * GRANULE_BACKED_UNIT;
        uint64_t off = region_granule_off(r, head + i) + known, chunk = (head + i) / GEO_GRANULES_PER_CHUNK;
        uint64_t end = region_granule_off(r, head) + bytes;
        int err;

        ASSERT(i < n && !t->call.no_grow);
        ASSERT_INVARIANT(I5, granule_is_owned(r, t->no, run_word(r, head + i)));
        if (end > region_granule_off(r, head + n))
                end = region_granule_off(r, head + n);
        ASSERT(off < end && off % GRANULE_BACKED_UNIT == 0);
        err = placement_may_back(t, chunk, end - off);
        if (err < 0)
                return err;
        for (uint32_t k = i; k < n; k++)
                note_backing(t, run_word(r, head + k), 0);
        kill_order();
        err = region_reserve(r, off, end - off);
        kill_order();
        t->call.lacks_pages |= err < 0;
        if (err == 0)
                err = placement_check_backed(t, chunk, off, end - off);
        if (err < 0)
                return err;
        for (uint32_t k = i; k < n; k++)
                note_backing(t, run_word(r, head + k), backing_needed(bytes, k));
        return 0;
}

/* Granules from the start that surely have all their pages: in the steady state all but the last. */
static uint32_t
count_backed(struct region *r, uint64_t head, uint32_t granules)
{
        const uint64_t *word = run_word(r, head);
        uint32_t n = 0;

        while (n < granules && granule_is_backed(owner_load(&word[n])))
                n++;
        return n;
}

int
run_reserve(struct thread *t, uint64_t head, uint64_t bytes)
{
        uint32_t granules = (uint32_t)((bytes + GEO_GRANULE_BYTES - 1) >> GEO_GRANULE_SHIFT);

        ASSERT(bytes > 0 && granules <= GEO_GRANULES_PER_CHUNK);
        ASSERT_INVARIANT(I5, granule_is_owned(t->region, t->no, run_word(t->region, head)));
        for (uint32_t i = count_backed(t->region, head, granules); i < granules; i++) {
                uint32_t n = i;
                int err;

                while (n < granules &&
                       granule_backed(owner_load(run_word(t->region, head + n))) < backing_needed(bytes, n))
                        n++;
                if (n == i)
                        continue;
                if (t->call.no_grow)
                        return -ENOMEM;
                err = reserve_stretch(t, head, bytes, i, n);
                if (err < 0)
                        return err;
                i = n - 1;
        }
        return 0;
}

/* ------------------------------------------------------------------ free */

void
run_free_owned(struct thread *t, uint64_t head, uint32_t granules)
{
        struct region *r = t->region;
        uint64_t *word = run_word(r, head);
        uint16_t *tag = &r->tags[head];
        uint32_t stamp = run_stamp(r), arena = granule_arena(owner_load(word));
        uint64_t warm = warm_bits(r, head, granules);

        ASSERT_INVARIANT(I16, run_is_own(t, head, granules));
        ASSERT(granule_state(owner_load(word)) == GRANULE_FREEING || granule_state(owner_load(word)) == GRANULE_NEW);
        kill_order(); /* behind FREEING: who settles a slab does not set its tags again */
        store_relaxed(tag, (uint16_t)TAG_NONE);
        for (uint32_t i = 1; i < granules; i++) {
                store_relaxed(&tag[i], (uint16_t)TAG_NONE); /* RUN_FREE.2 */
                granule_release(r, t->no, &word[i],
                                run_free_word(owner_load(&word[i]), stamp)); /* RUN_FREE.3, E3.rel */
        }
        granule_release(r, t->no, word, run_free_word(owner_load(word), stamp)); /* RUN_FREE.4, E3.rel */
        /* While the candidate still leads a reaper here, who renews the hints: a death leaves nothing unhinted. */
        hint_free(r, arena, head / GEO_GRANULES_PER_CHUNK, bits_mask(head % GEO_GRANULES_PER_CHUNK, granules), warm);
        candidate_clear(t); /* RUN_FREE.5 */
        thread_note_release(t);
}

void
run_settle(struct region *r, uint32_t thread_no, uint64_t head, uint32_t granules)
{
        uint32_t stamp = run_stamp(r);
        uint64_t head_word = owner_load(run_word(r, head));
        bool owns_head = granule_owner(head_word) == thread_no;

        ASSERT(thread_no != THREAD_NONE);
        ASSERT_INVARIANT(I4, head % GEO_GRANULES_PER_CHUNK + granules <= GEO_GRANULES_PER_CHUNK);
        for (uint32_t i = 1; i < granules; i++) {
                uint64_t word = owner_load(run_word(r, head + i));
                bool continues = granule_state(word) == GRANULE_CONT && granule_count(word) == i && owns_head;

                if (!continues && granule_owner(word) != thread_no)
                        continue;
                store_relaxed(&r->tags[head + i], (uint16_t)TAG_NONE);
                granule_release(r, thread_no, run_word(r, head + i), run_free_word(word, stamp)); /* E3.rel */
        }
        if (owns_head) {
                store_relaxed(&r->tags[head], (uint16_t)TAG_NONE);
                granule_release(r, thread_no, run_word(r, head), run_free_word(head_word, stamp)); /* E3.rel */
        }
        run_renew_hints(r, head / GEO_GRANULES_PER_CHUNK);
}
