/*
 * chunk.c - see chunk.h.
 *
 * A granule word is FREE(a) only while its chunk is ARENA(a); in any other chunk it is NONE, which no claimer's CAS
 * expects.  So a thread that acts on an old idea of a chunk cannot claim anything in it.  The chunk word is what a
 * reaper goes by: granules that name the dead become FREE(a) if the chunk says ARENA(a), else NONE.
 *
 * The pages under the granules stay when a chunk changes hands, and so do the words' notes of them.
 */
#include "pages/chunk.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "os/clock.h"
#include "os/pages.h"
#include "pages/decay_stamp.h"
#include "pages/hint.h"
#include "pages/placement.h"
#include "pages/run.h"
#include "pages/sweep.h"
#include "pages/valid.h"

void
chunk_hint_free(struct region *r, uint64_t chunk, bool is_free)
{
        uint64_t bit = UINT64_C(1) << chunk % 64;

        ASSERT(chunk < r->layout.n_chunks);
        if (is_free)
                fetch_or_relaxed(&r->free_chunks[chunk / 64], bit);
        else
                fetch_and_relaxed(&r->free_chunks[chunk / 64], ~bit);
}

void
chunk_hint_lost(struct region *r, uint64_t chunk)
{
        ASSERT(chunk < r->layout.n_chunks);
        if (chunk_state(owner_load(&r->chunk_words[chunk])) == CHUNK_FREE &&
            !(load_relaxed(&r->free_chunks[chunk / 64]) >> chunk % 64 & 1))
                chunk_hint_free(r, chunk, true);
}

int64_t
chunk_find_free(struct region *r, uint64_t from, uint64_t end)
{
        ASSERT(end <= r->layout.n[TABLE_FREE_CHUNKS] * 64);
        for (uint64_t w = from / 64; w * 64 < end; w++) {
                uint64_t hints = load_relaxed(&r->free_chunks[w]);

                if (w == from / 64)
                        hints &= UINT64_MAX << from % 64;
                if (hints != 0)
                        return w * 64 + bits_ctz(hints) < end ? (int64_t)(w * 64 + bits_ctz(hints)) : POSITION_NONE;
        }
        return POSITION_NONE;
}

/* CHUNK.1, .2: candidate, CAS. */
static bool
claim(struct thread *t, uint64_t chunk)
{
        struct region *r = t->region;
        uint64_t word = owner_load(&r->chunk_words[chunk]);

        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        if (chunk_state(word) != CHUNK_FREE || chunk_owner(word) != THREAD_NONE)
                return false;
        candidate_set(t, candidate_make(CANDIDATE_CHUNK, chunk, 1));
        if (chunk_acquire(t, &r->chunk_words[chunk], &word,
                          chunk_with_node1(chunk_word(CHUNK_NEW, t->no, 0), chunk_node1(word)))) {
                chunk_hint_free(r, chunk, false);
                return true;
        }
        candidate_clear(t);
        return false;
}

static void
release_free(struct thread *t, uint64_t chunk)
{
        struct region *r = t->region;
        uint64_t word = owner_load(&r->chunk_words[chunk]);
        uint64_t *first = run_word(r, chunk * GEO_GRANULES_PER_CHUNK);

        ASSERT_INVARIANT(I5, chunk_owner(word) == t->no);
        ASSERT(chunk_state(word) == CHUNK_NEW || chunk_state(word) == CHUNK_FREEING);
        /* The first granule's stamp says since when the chunk lies idle. */
        granule_store(r, t->no, first, granule_with_stamp(owner_load(first), decay_stamp(r, clock_ms())));
        chunk_hint_free(r, chunk, true);
        chunk_release(r, t->no, &r->chunk_words[chunk],
                      chunk_with_node1(chunk_word(CHUNK_FREE, THREAD_NONE, 0), chunk_node1(word))); /* E3.rel */
        candidate_clear(t);
        chunk_hint_free(r, chunk, true);
        thread_note_release(t);
}

static int
claim_unhinted(struct thread *t, uint32_t node, uint64_t *ret_chunk)
{
        struct region *r = t->region;

        ASSERT(node < r->n_nodes);
        for (int other_nodes = 0; other_nodes < 2; other_nodes++)
                for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++) {
                        uint32_t node1 = chunk_node1(owner_load(&r->chunk_words[chunk]));

                        *ret_chunk = chunk;
                        if ((other_nodes || node1 == 0 || node1 == node + 1) && claim(t, chunk))
                                return 0;
                }
        return -ENOMEM;
}

/* A free chunk below the mark that is hinted, else the first one beyond it, else any below it. */
static int
claim_any(struct thread *t, uint32_t node, uint64_t *ret_chunk)
{
        struct region *r = t->region;
        uint64_t hwm = region_chunks_hwm(r), capacity = region_capacity_chunks(r);

        ASSERT(node < r->n_nodes);
        ASSERT_INVARIANT(I17, hwm <= r->layout.n_chunks && capacity <= r->layout.n_chunks);
        for (int other_nodes = 0; other_nodes < 2; other_nodes++) {
                for (int64_t chunk = chunk_find_free(r, 0, hwm); chunk != POSITION_NONE;
                     chunk = chunk_find_free(r, (uint64_t)chunk + 1, hwm)) {
                        uint32_t node1 = chunk_node1(owner_load(&r->chunk_words[chunk]));

                        *ret_chunk = (uint64_t)chunk;
                        if ((other_nodes || node1 == 0 || node1 == node + 1) && claim(t, *ret_chunk))
                                return 0;
                        if (chunk_state(owner_load(&r->chunk_words[chunk])) != CHUNK_FREE) {
                                chunk_hint_free(r, *ret_chunk, false);
                                chunk_hint_lost(r, *ret_chunk); /* somebody may have released it before that */
                        }
                }
                for (; !other_nodes && hwm < capacity; hwm = region_chunks_hwm(r)) {
                        int err = region_raise_chunks(r, hwm);

                        if (err < 0) {
                                t->call.lacks_pages = true;
                                break;
                        }
                        *ret_chunk = hwm;
                        if (claim(t, hwm))
                                return 0;
                        chunk_hint_free(r, hwm, true); /* raised by somebody, taken by nobody yet */
                }
        }
        return claim_unhinted(t, node, ret_chunk);
}

int
chunk_give(struct thread *t, uint32_t arena)
{
        struct region *r = t->region;
        uint32_t stamp = run_stamp(r);
        uint64_t chunk, first, word;
        int err;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT(arena < r->layout.n_arenas);
        if (t->call.no_grow)
                return -ENOMEM;
        if (!placement_has_room(r, region_arena_node(r, arena), GEO_GRANULE_BYTES)) {
                t->call.lacks_node = true;
                return -ENOMEM;
        }
        err = claim_any(t, region_arena_node(r, arena), &chunk);
        if (err < 0)
                return err;
        first = chunk * GEO_GRANULES_PER_CHUNK;
        err = hint_reserve(r, arena, chunk); /* CHUNK.3 */
        t->call.lacks_pages |= err < 0;
        if (err == 0)
                err = placement_bind_chunks(t, chunk, 1, region_arena_node(r, arena));
        if (err < 0) {
                release_free(t, chunk);
                return err;
        }
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++) /* CHUNK.4 */
                granule_store(r, t->no, run_word(r, g),
                              granule_word(GRANULE_NEW, t->no, arena) | (owner_load(run_word(r, g)) & GRANULE_BACKING));
        kill_order();
        ASSERT_INVARIANT(I16, chunk_is_claimed(t, chunk, arena));
        ASSERT_INVARIANT(I5, chunk_is_owned(r, t->no, &r->chunk_words[chunk]));
        word = owner_load(&r->chunk_words[chunk]);
        word = chunk_with_node1(chunk_word(CHUNK_ARENA, THREAD_NONE, arena), chunk_node1(word));
        chunk_release(r, t->no, &r->chunk_words[chunk], word); /* CHUNK.5: commit.  E3.rel */
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++)
                granule_release(r, t->no, run_word(r, g),
                                run_free_word(owner_load(run_word(r, g)), stamp)); /* CHUNK.6, E3.rel */
        run_renew_hints(r, chunk);
        candidate_clear(t); /* CHUNK.7 */
        /* Where much is used, what nobody knows of is missed first.  Where nothing is used yet there is no such thing,
         * unless somebody locked all of the heap in memory. */
        if (chunk > 0 || os_is_real(r->base + r->layout.region_bytes - GEO_PAGE_BYTES))
                sweep_now(t);
        return 0;
}

/* RETIRE.2: claims all granules, or none. */
static bool
claim_granules(struct thread *t, uint64_t first, uint32_t arena)
{
        struct region *r = t->region;

        ASSERT(first % GEO_GRANULES_PER_CHUNK == 0);
        for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK; i++) {
                if (run_take(t, run_word(r, first + i), arena))
                        continue;
                for (uint32_t stamp = run_stamp(r); i-- > 0;)
                        granule_release(r, t->no, run_word(r, first + i),
                                        run_free_word(owner_load(run_word(r, first + i)), stamp)); /* E3.rel */
                run_renew_hints(r, first / GEO_GRANULES_PER_CHUNK);
                return false;
        }
        ASSERT_INVARIANT(I16, chunk_is_claimed(t, first / GEO_GRANULES_PER_CHUNK, arena));
        return true;
}

bool
chunk_retire(struct thread *t, uint64_t chunk)
{
        struct region *r = t->region;
        uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;
        uint32_t arena = chunk_arena(word);

        ASSERT(chunk < region_chunks_hwm(r));
        if (chunk_state(word) != CHUNK_ARENA)
                return false;
        candidate_set(t, candidate_make(CANDIDATE_CHUNK, chunk, 1)); /* RETIRE.1 */
        if (!claim_granules(t, first, arena)) {
                candidate_clear(t);
                return false;
        }
        if (!chunk_acquire(t, &r->chunk_words[chunk], &word,
                           chunk_with_node1(chunk_word(CHUNK_FREEING, t->no, arena), chunk_node1(word)))) {
                /* Whoever holds all granules of a chunk is the only one who may change its word: damage. */
                chunk_settle(r, t->no, chunk);
                candidate_clear(t);
                return false;
        } /* RETIRE.3 */
        store_relaxed(&r->chunk_maps[chunk].free, UINT64_C(0));
        store_relaxed(&r->chunk_maps[chunk].warm, UINT64_C(0));
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++)
                granule_release(r, t->no, run_word(r, g),
                                owner_load(run_word(r, g)) & GRANULE_BACKING); /* RETIRE.4: NONE.  E3.rel */
        release_free(t, chunk);                                                /* RETIRE.5 */
        return true;
}

uint32_t
chunk_retire_all(struct thread *t, uint32_t want)
{
        struct region *r = t->region;
        uint32_t n = 0;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r) && n < want; chunk++) {
                uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;

                if (chunk_state(owner_load(&r->chunk_words[chunk])) == CHUNK_ARENA &&
                    granule_state(owner_load(run_word(r, first))) == GRANULE_FREE && chunk_retire(t, chunk))
                        n++;
        }
        return n;
}

/* A chunk that nobody has a note of in any other word of it. */
static void
release_unused(struct region *r, uint32_t no, uint64_t chunk)
{
        uint64_t word = owner_load(&r->chunk_words[chunk]);

        ASSERT_INVARIANT(I5, chunk_owner(word) == no);
        ASSERT(no != THREAD_NONE);
        chunk_hint_free(r, chunk, true); /* the mark may be raised over it by now */
        chunk_release(r, no, &r->chunk_words[chunk],
                      chunk_with_node1(chunk_word(CHUNK_FREE, THREAD_NONE, 0), chunk_node1(word))); /* E3.rel */
        chunk_hint_lost(r, chunk); /* somebody may have come by before the release */
}

/* Whoever has used a chunk saw the mark above it first, and let go of the word before this thread could take it: so the
 * look at the mark, once the word is owned, tells whether it has ever been used.  If so, its granules' words may say
 * that pages are there. */
int
chunk_sweep(struct thread *t, uint64_t chunk)
{
        struct region *r = t->region;
        int err = -EBUSY;

        ASSERT(chunk < r->layout.n_chunks);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        if (!claim(t, chunk)) /* SWEEP_CHUNK.2, .3 */
                return err;
        if (region_chunks_hwm(r) <= chunk)
                err = region_punch(r, region_granule_off(r, chunk * GEO_GRANULES_PER_CHUNK),
                                   GEO_CHUNK_BYTES); /* SWEEP_CHUNK.4 */
        kill_order();
        release_unused(r, t->no, chunk); /* SWEEP_CHUNK.5 */
        candidate_clear(t);              /* SWEEP_CHUNK.6 */
        thread_note_release(t);
        return err;
}

/* The mark may be raised meanwhile: nothing but the word is touched.  A page that is not there has no word of the dead.
 * */
static void
settle_beyond(struct region *r, uint32_t thread_no, uint64_t chunk)
{
        ASSERT(thread_no != THREAD_NONE);
        if (region_reserve_table(r, TABLE_CHUNK_WORDS, chunk, 1) == 0 &&
            chunk_owner(owner_load(&r->chunk_words[chunk])) == thread_no)
                release_unused(r, thread_no, chunk);
}

void
chunk_settle(struct region *r, uint32_t thread_no, uint64_t chunk)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, word;
        uint32_t stamp = run_stamp(r);

        ASSERT(thread_no != THREAD_NONE);
        if (chunk >= region_chunks_hwm(r)) {
                settle_beyond(r, thread_no, chunk);
                return;
        }
        word = owner_load(&r->chunk_words[chunk]);
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t granule = owner_load(run_word(r, g));

                if (granule_owner(granule) != thread_no)
                        continue;
                if (chunk_state(word) == CHUNK_ARENA)
                        granule_release(r, thread_no, run_word(r, g), run_free_word(granule, stamp)); /* E3.rel */
                else
                        granule_release(r, thread_no, run_word(r, g), granule & GRANULE_BACKING); /* E3.rel */
        }
        if (chunk_state(word) == CHUNK_ARENA) {
                run_renew_hints(r, chunk);
        } else if (chunk_owner(word) == thread_no) {
                chunk_hint_free(r, chunk, true);
                chunk_release(r, thread_no, &r->chunk_words[chunk],
                              chunk_with_node1(chunk_word(CHUNK_FREE, THREAD_NONE, 0), chunk_node1(word))); /* E3.rel */
                chunk_hint_lost(r, chunk); /* somebody may have come by before the release */
        }
}
