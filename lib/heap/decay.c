/*
 * decay.c - see decay.h.
 *
 * A granule that becomes free carries a stamp of the time; when it has been free for decay_ms, whoever ticks claims it
 * (FREE -> PURGING), punches its pages out of the file, and lets it go.  `backed` is cleared by the claiming CAS,
 * before the punch, and `may have pages` only after a punch that succeeded: so a death in between leaves a granule that
 * is reserved anew before its next use (PURGE.n in doc/recovery.md).
 *
 * Slabs that nobody has used for as long lose the pages in which no block is allocated (slab_purge_chunk()).
 *
 * The arena's time is a hint: two threads may tick at once, or nobody for a while.
 */
#include "heap/decay.h"

#include <errno.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/magazine.h"
#include "blocks/pool_purge.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot_pages.h"
#include "os/clock.h"
#include "os/shm.h"
#include "pages/chunk.h"
#include "pages/decay_stamp.h"
#include "pages/hint.h"
#include "pages/placement.h"
#include "pages/run.h"
#include "pages/sweep.h"
#include "region/file.h"

enum {
        DECAY_TICKS = 8,          /* per decay interval */
        DECAY_CHUNKS_MAX = 8,     /* chunks looked into per tick */
        DECAY_PUNCHES_MAX = 1024, /* system calls for pages of slabs per tick */
        SEARCH_MS = 1000,         /* between searches for pages that no note knows of, at least */
        ARENAS_MAX = 16,          /* of others that are looked at per tick */
        SLOTS_KEPT = 16,          /* empty thread slots that keep their pages, for who comes when there are none */
        TRIM_AT_ONCE = 32         /* magazines of a depot per tick, or a quarter of them if that is more */
};

/* What a pass purges. */
struct pass {
        uint64_t now_ms;
        uint32_t min_age;
        uint32_t n_left; /* system calls for pages of slabs */
        int fd;          /* of the file, to find pages that no note knows of; -1: this pass does not look for them */
        uint64_t looked, next; /* the first page at `looked` or behind it is at `next` */
};

static struct pass
pass_make(struct thread *t, uint64_t now_ms, uint32_t min_age, uint32_t n_left, bool is_thorough)
{
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        return (struct pass){.now_ms = now_ms,
                             .min_age = min_age,
                             .n_left = n_left,
                             .fd = is_thorough ? file_borrow_kept(t->region) : -1,
                             .looked = UINT64_MAX};
}

/* Whether there are pages in a stretch of which no note knows any: somebody has made holes real, by locking or dumping
 * its memory, or by reading it. */
static bool
has_strays(const struct region *r, struct pass *pass, uint64_t granule, uint64_t n)
{
        uint64_t off = region_granule_off(r, granule), end = off + (n << GEO_GRANULE_SHIFT);

        if (pass->fd < 0)
                return false;
        if (off < pass->looked || off > pass->next) {
                pass->looked = off;
                pass->next = file_next_page(pass->fd, off);
        }
        return pass->next < end;
}

static bool
is_ripe(const struct region *r, uint64_t granule, uint64_t word, struct pass *pass)
{
        ASSERT(granule < region_granules_hwm(r));
        if (granule_state(word) != GRANULE_FREE)
                return false;
        return word & GRANULE_MAY_HAVE ? decay_age(decay_stamp(r, pass->now_ms), granule_stamp(word)) >= pass->min_age
                                       : has_strays(r, pass, granule, 1);
}

/* PURGE.1 candidate, .2 claim side by side, .3 punch, .4 release.  Granules done, ripe or not, from `head` on. */
static uint32_t
purge_stretch(struct thread *t, uint64_t head, uint32_t n_max, struct pass *pass, uint64_t *bytes)
{
        struct region *r = t->region;
        uint32_t stamp = decay_stamp(r, pass->now_ms);
        uint32_t n = 0;
        int err;

        ASSERT(n_max >= 1 && head % GEO_GRANULES_PER_CHUNK + n_max <= GEO_GRANULES_PER_CHUNK);
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, n_max)); /* PURGE.1 */
        for (; n < n_max; n++) {
                uint64_t word = owner_load(run_word(r, head + n));
                uint64_t taken = granule_word(GRANULE_PURGING, t->no, granule_arena(word)) | GRANULE_MAY_HAVE;

                if (!is_ripe(r, head + n, word, pass) ||
                    !granule_acquire(t, run_word(r, head + n), &word, taken)) /* PURGE.2 */
                        break;
        }
        if (n == 0) {
                candidate_clear(t);
                return 1;
        }
        kill_order();
        ASSERT_INVARIANT(I5, granule_is_owned(r, t->no, run_word(r, head)));
        err = region_punch(r, region_granule_off(r, head), (uint64_t)n << GEO_GRANULE_SHIFT); /* PURGE.3 */
        kill_order();
        for (uint32_t i = n; i-- > 0;) {
                uint64_t word = run_free_word(owner_load(run_word(r, head + i)), stamp);

                granule_release(r, t->no, run_word(r, head + i),
                                err < 0 ? word : word & ~GRANULE_BACKING); /* PURGE.4, E3.rel */
        }
        candidate_clear(t); /* PURGE.5 */
        if (err == 0)
                *bytes += (uint64_t)n << GEO_GRANULE_SHIFT;
        return n;
}

static uint64_t
purge_chunk_of_arena(struct thread *t, uint64_t chunk, struct pass *pass)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, bytes = 0, slab_bytes;
        uint32_t i = 0;

        ASSERT(chunk < region_chunks_hwm(t->region));
        slab_tidy_chunk(t, chunk);
        slab_bytes = slab_purge_chunk(t, chunk, pass->min_age, pass->fd, &pass->n_left);
        if (load_relaxed(&t->region->chunk_maps[chunk].free) == 0) /* a hint: the next tick will see */
                return slab_bytes;
        while (i < GEO_GRANULES_PER_CHUNK)
                if (is_ripe(t->region, first + i, owner_load(run_word(t->region, first + i)), pass))
                        i += purge_stretch(t, first + i, (uint32_t)GEO_GRANULES_PER_CHUNK - i, pass, &bytes);
                else
                        i++;
        if (bytes > 0)
                run_renew_hints(t->region, chunk);
        return bytes + slab_bytes;
}

/* A chunk of no arena whose pages a huge block, or a retired arena, left behind. */
static uint64_t
purge_free_chunk(struct thread *t, uint64_t chunk, struct pass *pass)
{
        struct region *r = t->region;
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, bytes = 0, word = owner_load(&r->chunk_words[chunk]);
        uint64_t taken = chunk_with_node1(chunk_word(CHUNK_NEW, t->no, 0), chunk_node1(word));
        bool has_pages = false;

        ASSERT(chunk < region_chunks_hwm(r));
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++)
                has_pages |= (owner_load(run_word(r, g)) & GRANULE_MAY_HAVE) != 0;
        if (has_pages ? decay_age(decay_stamp(r, pass->now_ms), granule_stamp(owner_load(run_word(r, first)))) <
                                pass->min_age
                      : !has_strays(r, pass, first, GEO_GRANULES_PER_CHUNK))
                return 0;
        candidate_set(t, candidate_make(CANDIDATE_CHUNK, chunk, 1)); /* PURGE_CHUNK.1 */
        if (chunk_state(word) != CHUNK_FREE || chunk_owner(word) != THREAD_NONE ||
            !chunk_acquire(t, &r->chunk_words[chunk], &word, taken)) { /* PURGE_CHUNK.2 */
                candidate_clear(t);
                return 0;
        }
        (void)placement_drop_pages(t, chunk, &bytes); /* PURGE_CHUNK.3 to .5; a failure leaves the notes */
        chunk_hint_free(r, chunk, true);
        chunk_release(r, t->no, &r->chunk_words[chunk],
                      chunk_with_node1(chunk_word(CHUNK_FREE, THREAD_NONE, 0), chunk_node1(taken))); /* E3.rel */
        candidate_clear(t);                                                                          /* PURGE_CHUNK.6 */
        chunk_hint_lost(r, chunk); /* somebody may have come by before the release */
        thread_note_release(t);
        return bytes;
}

/* Magazines that the depots of the arena did not need since the last tick go back to their slabs: of many a quarter, so
 * that no call takes long. */
static void
trim_depots(struct thread *t, uint32_t arena)
{
        struct region *r = t->region;
        struct arena *a = region_arena(r, arena);

        ASSERT(arena < r->layout.n_arenas);
        for (uint32_t class_idx = 0; a && class_idx < SIZE_CLASS_N_CACHED; class_idx++) {
                uint32_t tag = tag_make(region_arena_node(r, arena), class_idx);
                uint32_t low = load_relaxed(&a->depot_low[class_idx]), idx; /* a hint */
                uint32_t most = low / 4 > TRIM_AT_ONCE ? low / 4 : TRIM_AT_ONCE;

                if (low > size_class_depot_places(class_idx))
                        low = 0;
                for (low = low < most ? low : most; low > 0 && magazine_take_depot(t, arena, tag, &idx); low--)
                        drain_home(t, idx, arena);
                store_relaxed(&a->depot_low[class_idx], magazine_depot_count(a, class_idx));
        }
}

/* Chunks of the arena that hold nothing go back, but for one. */
static void
retire_empty(struct thread *t, uint32_t arena)
{
        struct region *r = t->region;
        int64_t kept = hint_find(r, arena, HINT_EMPTY, 0);
        int64_t chunk = kept == POSITION_NONE ? POSITION_NONE : hint_find(r, arena, HINT_EMPTY, (uint64_t)kept + 1);

        ASSERT(arena < r->layout.n_arenas);
        for (int n = 0; chunk != POSITION_NONE && n < DECAY_CHUNKS_MAX; n++) {
                hint_clear(r, arena, HINT_EMPTY, (uint64_t)chunk);
                chunk_retire(t, (uint64_t)chunk);
                chunk = hint_find(r, arena, HINT_EMPTY, (uint64_t)chunk + 1);
        }
}

/* Whether the arena's time came `late_ms` ago or longer.  A time far in the future is damage: it has come. */
static bool
is_due(const struct arena *a, uint64_t now_ms, uint64_t decay_ms, uint64_t late_ms)
{
        uint64_t next_ms = load_relaxed(&a->decay_next_ms); /* a hint */

        return next_ms > now_ms ? next_ms - now_ms > decay_ms + 1 : now_ms - next_ms >= late_ms;
}

/* Arenas whose threads died, or sleep, or that are of nodes without CPUs: everybody looks by turns for one that has not
 * been ticked for long. */
static void
tick_for_nobody(struct thread *t, uint64_t now_ms, uint64_t decay_ms)
{
        struct region *r = t->region;

        ASSERT(r->layout.n_arenas > 0);
        for (uint32_t i = 0; i < ARENAS_MAX && i < r->layout.n_arenas; i++) {
                uint32_t arena = (t->seed + t->n_ticks++) % r->layout.n_arenas;
                struct arena *a = region_arena(r, arena);

                if (!a || arena == t->arena || !is_due(a, now_ms, decay_ms, 2 * (decay_ms / DECAY_TICKS + 1)))
                        continue;
                store_relaxed(&a->decay_next_ms, now_ms + decay_ms / DECAY_TICKS + 1);
                trim_depots(t, arena);
                retire_empty(t, arena);
                return;
        }
}

/* Whether the arena's time has come to look for pages that no note knows of. */
static bool
may_search(struct arena *a, uint64_t now_ms, uint64_t decay_ms)
{
        uint64_t next_ms = load_relaxed(&a->sweep_next_ms), wait_ms = decay_ms < SEARCH_MS ? SEARCH_MS : decay_ms;

        if (next_ms > now_ms && next_ms - now_ms <= wait_ms) /* a hint; else it is damage: it has come */
                return false;
        store_relaxed(&a->sweep_next_ms, now_ms + wait_ms);
        return true;
}

/* And what lies beyond the marks, and of the tables what nobody uses.  Bytes. */
static uint64_t
pass_end(struct thread *t, struct pass *pass, uint64_t most)
{
        uint64_t bytes = pass->fd >= 0 ? pool_purge(t, pass->fd, most) : 0;

        if (pass->fd >= 0 && bytes < most)
                bytes += slot_purge_all(t, pass->fd, most - bytes, SLOTS_KEPT);
        if (pass->fd >= 0 && bytes < most)
                bytes += sweep_beyond_marks(t, pass->fd, most - bytes);

        os_close(pass->fd);
        return bytes;
}

void
decay_tick(struct thread *t)
{
        struct region *r = t->region;
        struct arena *a = region_arena(r, t->arena);
        int64_t decay_ms = load_relaxed(&r->header->decay_ms); /* a setting */
        uint64_t now_ms, bytes = 0, from, n_chunks;
        struct pass pass;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        if (!a || decay_ms < 0)
                return;
        now_ms = clock_ms();
        t->stamp = decay_stamp(r, now_ms);
        if (!is_due(a, now_ms, (uint64_t)decay_ms, 0))
                return;
        store_relaxed(&a->decay_next_ms, now_ms + (uint64_t)decay_ms / DECAY_TICKS + 1);
        trim_depots(t, t->arena);
        pass = pass_make(t, now_ms, decay_ms == 0 ? 0 : DECAY_AGE, DECAY_PUNCHES_MAX,
                         may_search(a, now_ms, (uint64_t)decay_ms));
        from = load_relaxed(&a->decay_hand);
        n_chunks = region_chunks_hwm(r);
        for (uint64_t i = 0; i < n_chunks && i < DECAY_CHUNKS_MAX * UINT64_C(64); i++) {
                uint64_t chunk = (from + i) % n_chunks, word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */

                if (chunk_state(word) == CHUNK_ARENA)
                        bytes += purge_chunk_of_arena(t, chunk, &pass);
                else if (chunk_state(word) == CHUNK_FREE)
                        bytes += purge_free_chunk(t, chunk, &pass);
                if (pass.n_left == 0) /* the next tick goes on in this chunk */
                        break;
                store_relaxed(&a->decay_hand, chunk + 1);
                if (bytes >= DECAY_CHUNKS_MAX * GEO_CHUNK_BYTES)
                        break;
        }
        bytes += pass_end(t, &pass, SWEEP_SOME_BYTES);
        retire_empty(t, t->arena);
        tick_for_nobody(t, now_ms, (uint64_t)decay_ms);
        owner_add(&t->slot->purged_bytes, bytes);
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
}

static uint64_t
purge(struct thread *t, uint32_t node, uint32_t *n_left)
{
        struct region *r = t->region;
        struct pass pass = pass_make(t, clock_ms(), 0, UINT32_MAX, true);
        uint64_t bytes = 0;

        ASSERT(node == UINT32_MAX || node < r->n_nodes);
        t->stamp = decay_stamp(r, clock_ms());
        drain_all_depots(t, node);
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++) {
                uint64_t word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */

                if (chunk_state(word) == CHUNK_ARENA &&
                    (node == UINT32_MAX || region_arena_node(r, chunk_arena(word)) == node))
                        bytes += purge_chunk_of_arena(t, chunk, &pass);
                else if (chunk_state(word) == CHUNK_FREE && (node == UINT32_MAX || chunk_node1(word) == node + 1))
                        bytes += purge_free_chunk(t, chunk, &pass);
        }
        bytes += pass_end(t, &pass, UINT64_MAX);
        *n_left = pass.n_left;
        owner_add(&t->slot->purged_bytes, bytes);
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        return bytes;
}

uint64_t
decay_purge(struct thread *t, uint32_t node)
{
        uint32_t n_left = UINT32_MAX;

        return purge(t, node, &n_left);
}

bool
decay_make_room(struct thread *t, uint32_t node)
{
        uint32_t n_left = UINT32_MAX;

        return purge(t, node, &n_left) > 0 || n_left != UINT32_MAX;
}
