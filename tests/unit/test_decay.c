/*
 * What is at stake: pages that are given back while a block lies in them, or that are believed to be there although
 * they are gone (touching them then is SIGBUS); and memory that is never given back.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "os/clock.h"
#include "os/inject.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "pages/decay_stamp.h"
#include "pages/hint.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

/* Nothing gets old by itself while a test runs, however long that takes. */
enum { GRANULES = GEO_GRANULES_PER_CHUNK, DECAY_MS = 24 * 3600 * 1000 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static void
make(bool has_file)
{
        heap_make(&fx, (struct heap_params){.has_file = has_file, .arenas_per_node = 2});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        r->header->decay_ms = DECAY_MS;
        ck_assert_int_eq(chunk_give(t, 0), 0);
}

static void
setup(void)
{
        make(false);
}

static void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
word_of(uint64_t granule)
{
        return *run_word(r, granule);
}

/* Free granules with pages in all of chunk 0, and something written into each. */
static void
dirty_all(void)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, 0, GRANULES, 1), &head), 0);
        ck_assert_int_eq(run_reserve(t, head, GEO_CHUNK_BYTES), 0);
        for (uint64_t g = 0; g < GRANULES; g++)
                memset(region_block(r, g << GEO_GRANULE_SHIFT), 0x77, 64);
        run_free_owned(t, head, GRANULES);
}

static uint32_t
n_backed(uint64_t chunk)
{
        uint32_t n = 0;

        for (uint64_t g = chunk * GRANULES; g < (chunk + 1) * GRANULES; g++)
                n += granule_backed(word_of(g)) != 0;
        return n;
}

/* As if the granules of the chunk had been free for so many units. */
static void
age(uint64_t chunk, uint32_t units)
{
        uint32_t stamp = decay_stamp(r, clock_ms()) - units;

        for (uint64_t g = chunk * GRANULES; g < (chunk + 1) * GRANULES; g++)
                *run_word(r, g) = granule_with_stamp(word_of(g), stamp);
}

/* The arena's time has come. */
static void
tick(void)
{
        region_arena(r, 0)->decay_next_ms = 0;
        decay_tick(t);
        ck_assert_uint_eq(t->slot->candidate, 0);
}

static uint64_t
alloc(uint32_t class_idx)
{
        struct call rq = {.size = size_class_bytes(class_idx), .align = 1, .class_idx = class_idx, .arena = 0};
        uint64_t block_off;

        ck_assert_int_eq(ask_block(t, &rq, &block_off), 0);
        live_add(&live, block_off);
        return block_off;
}

/* ------------------------------------------------------------------ stamps */

START_TEST(age_counts_units_and_wraps)
{
        for (uint32_t stamp = 0; stamp < 256; stamp++)
                for (uint32_t units = 0; units < 256; units++)
                        ck_assert_uint_eq(decay_age((stamp + units) & 0xff, stamp), units);
}
END_TEST

START_TEST(unit_is_a_32nd_of_the_decay_time)
{
        const int64_t decay_ms[] = {-1, 0, 1, 31, 32, 64, 10000, INT64_MAX};

        for (int i = 0; i < 8; i++) {
                uint64_t unit, now = 123456789;

                r->header->decay_ms = decay_ms[i];
                unit = decay_unit_ms(r);
                ck_assert_uint_ge(unit, 1);
                if (decay_ms[i] >= 32)
                        ck_assert_uint_eq(unit, (uint64_t)decay_ms[i] / 32);
                ck_assert_uint_eq(decay_age(decay_stamp(r, now), decay_stamp(r, now)), 0);
                if (unit < 1000000)
                        ck_assert_uint_eq(decay_age(decay_stamp(r, now + 5 * unit), decay_stamp(r, now)), 5);
        }
}
END_TEST

/* ------------------------------------------------------------------ ticks */

START_TEST(what_was_free_for_long_is_given_back)
{
        dirty_all();
        age(0, 33);
        tick();
        ck_assert_uint_eq(n_backed(0), 0);
        for (uint64_t g = 0; g < GRANULES; g++) {
                ck_assert_int_eq(*(char *)region_block(r, g << GEO_GRANULE_SHIFT), 0);
                ck_assert(!(word_of(g) & GRANULE_MAY_HAVE));
        }
        ck_assert_uint_eq(t->slot->purged_bytes, GEO_CHUNK_BYTES);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(what_was_free_for_a_short_time_stays)
{
        dirty_all();
        for (uint32_t units = 0; units < 32; units += 5) {
                age(0, units);
                tick();
                ck_assert_uint_eq(n_backed(0), GRANULES);
        }
        ck_assert_uint_eq(t->slot->purged_bytes, 0);
}
END_TEST

START_TEST(nothing_decays_before_its_time_has_come)
{
        dirty_all();
        age(0, 33);
        region_arena(r, 0)->decay_next_ms = clock_ms() + DECAY_MS / 2;
        decay_tick(t);
        ck_assert_uint_eq(n_backed(0), GRANULES);
        region_arena(r, 0)->decay_next_ms = UINT64_MAX; /* another machine's clock: read as now */
        decay_tick(t);
        ck_assert_uint_eq(n_backed(0), 0);
        ck_assert_uint_le(region_arena(r, 0)->decay_next_ms, clock_ms() + DECAY_MS);
}
END_TEST

START_TEST(decay_may_be_off_or_at_once)
{
        dirty_all();
        age(0, 100);
        r->header->decay_ms = -1;
        tick();
        ck_assert_uint_eq(n_backed(0), GRANULES);
        r->header->decay_ms = 0;
        age(0, 0);
        tick();
        ck_assert_uint_eq(n_backed(0), 0);
}
END_TEST

START_TEST(tick_without_an_arena_or_a_chunk_does_nothing)
{
        struct heap_fixture empty;
        struct thread *w;

        damage_is_done(true);
        t->arena = 7;
        decay_tick(t);
        t->arena = 0;
        heap_make(&empty, (struct heap_params){0});
        w = heap_attach(&empty, 0);
        decay_tick(w);
        ck_assert_uint_eq(decay_purge(w, UINT32_MAX), 0);
        heap_drop(&empty);
}
END_TEST

/* What it did not need for a whole interval; what was needed stays. */
START_TEST(depot_gives_back_what_it_did_not_need)
{
        uint32_t class_idx = 0, tag = tag_make(0, class_idx), idx[4];
        uint64_t head;

        for (int i = 0; i < 4; i++) {
                ck_assert_int_eq(magazine_take_empty(t, tag, &idx[i]), 0);
                if (!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head))
                        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
                ck_assert_uint_eq(slab_fill(t, head, idx[i], 1), 1);
                ck_assert(magazine_put(t, idx[i], 0, true));
        }
        tick(); /* takes note */
        ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 4);
        for (int i = 0; i < 3; i++) {
                ck_assert(magazine_take_depot(t, 0, tag, &idx[i]));
                magazine_place(t, &t->slot->magazines[1 + i], idx[i]);
        }
        for (int i = 0; i < 3; i++) {
                magazine_pick_up(t, &t->slot->magazines[1 + i], idx[i]);
                ck_assert(magazine_put(t, idx[i], 0, true));
        }
        tick(); /* one was left over at the lowest */
        ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 3);
        tick();
        ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

/* What the dead leave in the depots of an arena without other threads. */
START_TEST(depot_of_an_arena_that_nobody_ticks_gives_back_too)
{
        uint32_t tag = tag_make(0, SIZE_CLASS_N_SMALL), idx;
        struct call rq = {
                .size = size_class_bytes(SIZE_CLASS_N_SMALL), .align = 1, .class_idx = SIZE_CLASS_N_SMALL, .arena = 1};
        uint64_t block_off;

        ck_assert_int_eq(arena_init(r, 1), 0);
        ck_assert_int_eq(ask_block(u, &rq, &block_off), 0);
        ck_assert_int_eq(magazine_take_empty(u, tag, &idx), 0);
        r->magazines[idx].slot[0] = region_entry(r, block_off);
        r->magazines[idx].n = 1;
        ck_assert(magazine_put(u, idx, 1, true));
        region_arena(r, 1)->decay_next_ms =
                clock_ms() > DECAY_MS / 8 ? clock_ms() - DECAY_MS / 8 : 0; /* its threads may come yet */
        tick();
        tick();
        r->header->decay_ms = 10;
        for (int i = 0; i < 2; i++) { /* the first takes note */
                ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 1);
                region_arena(r, 1)->decay_next_ms = 0;
                tick();
                ck_assert_uint_ne(region_arena(r, 1)->decay_next_ms, 0);
        }
        ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
}
END_TEST

START_TEST(empty_chunks_go_back_but_for_one)
{
        uint64_t head;

        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_int_eq(run_claim(u, WHERE_RUN(0, 1, 1, 1), &head), 0);
        tick();
        tick();
        run_free_owned(u, head, 1);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, 2);
        ck_assert_uint_eq(chunk_state(r->chunk_words[1]), CHUNK_ARENA);
}
END_TEST

/* ------------------------------------------------------------------ purging at once */

/* Blocks of all classes keep their contents, whatever is purged around them. */
START_TEST(live_blocks_keep_their_bytes)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx += SIZE_CLASS_N / 12) {
                uint64_t gap = alloc(class_idx), block_off = alloc(class_idx);

                memset(region_block(r, block_off), (int)class_idx + 1, size_class_bytes(class_idx));
                live_drop(&live, gap);
                ck_assert_int_eq(free_block(t, gap, 0), 0);
                ck_assert_uint_gt(decay_purge(u, UINT32_MAX) + 1, 0);
        }
        heap_verify(r, &live);
        for (size_t i = 0; i < live.n; i++) {
                uint32_t class_idx;
                uint64_t bytes = block_usable(r, live.off[i], &class_idx);
                const char *p = region_block(r, live.off[i]);

                ck_assert_uint_eq((unsigned char)p[0], class_idx + 1);
                ck_assert_mem_eq(p, p + 1, bytes - 1); /* all are the same */
        }
}
END_TEST

START_TEST(purge_takes_everything_that_is_free)
{
        dirty_all();
        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), GEO_CHUNK_BYTES);
        ck_assert_uint_eq(n_backed(0), 0);
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), 0);
        dirty_all();
        ck_assert(chunk_retire(t, 0)); /* a chunk of no arena */
        ck_assert_uint_eq(n_backed(0), GRANULES);
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), GEO_CHUNK_BYTES);
        ck_assert_uint_eq(n_backed(0), 0);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(purge_empties_depots_and_slabs_without_a_block)
{
        struct thread *dead = heap_attach(&fx, 0);
        uint64_t head;
        uint32_t idx;

        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 0), &idx), 0);
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head), 0);
        ck_assert_uint_eq(slab_fill(t, head, idx, 2), 2);
        ck_assert(magazine_put(t, idx, 0, true));
        ck_assert_int_eq(slab_create_owned(dead, WHERE_SLAB(0, CHUNK_ANY, 1), &head), 0);
        heap_bury(&fx, dead);
        ck_assert_uint_gt(decay_purge(t, 0), 0);
        ck_assert_uint_eq(n_backed(0), 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

START_TEST(purge_stays_on_its_node)
{
        struct heap_fixture two;
        struct thread *w;
        uint64_t head;

        heap_make(&two, (struct heap_params){.n_nodes = 2});
        w = heap_attach(&two, 1);
        ck_assert_int_eq(chunk_give(w, 1), 0);
        ck_assert_int_eq(run_claim(w, WHERE_RUN(1, CHUNK_ANY, 1, 1), &head), 0);
        ck_assert_int_eq(run_reserve(w, head, GEO_GRANULE_BYTES), 0);
        run_free_owned(w, head, 1);
        ck_assert_uint_eq(decay_purge(w, 0), 0);
        ck_assert_uint_eq(decay_purge(w, 1), GEO_GRANULE_BYTES);
        heap_drop(&two);
}
END_TEST

/* A thread of node 0 has freed blocks of node 1: the magazine is node 0's, what is in it is not. */
START_TEST(purge_of_a_node_reaches_its_blocks_in_others_magazines)
{
        struct heap_fixture two;
        struct thread *far, *near;
        uint32_t idx, tag = tag_make(1, 0);
        uint64_t head;

        heap_make(&two, (struct heap_params){.n_nodes = 2});
        near = heap_attach(&two, 0);
        far = heap_attach(&two, 1);
        ck_assert_int_eq(chunk_give(far, 1), 0);
        ck_assert_int_eq(slab_create_owned(near, WHERE_SLAB(1, CHUNK_ANY, 0), &head), 0);
        ck_assert_int_eq(magazine_take_empty(near, tag, &idx), 0);
        ck_assert_uint_eq(slab_fill(near, head, idx, 1), 1);
        ck_assert(magazine_put(near, idx, 1, true));
        decay_purge(far, 0);
        ck_assert_uint_eq(heap_verify(&two.region, NULL).n_depot, 1);
        decay_purge(far, 1);
        ck_assert_uint_eq(heap_verify(&two.region, NULL).n_depot, 0);
        heap_drop(&two);
}
END_TEST

/* Granules in use are stepped over, one by one. */
START_TEST(purge_steps_over_what_is_in_use)
{
        uint64_t head;

        dirty_all();
        ck_assert_int_eq(run_claim(u, WHERE_RUN(0, 0, GRANULES, 1), &head), 0);
        damage_is_done(true); /* one run is let go of in parts */
        for (uint64_t g = 0; g < GRANULES; g += 2)
                run_free_owned(u, g, 1);
        damage_is_done(false);
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), GEO_CHUNK_BYTES / 2);
        for (uint64_t g = 0; g < GRANULES; g++) {
                ck_assert_int_eq(*(char *)region_block(r, g << GEO_GRANULE_SHIFT), g % 2 ? 0x77 : 0);
                ck_assert_uint_eq(granule_backed(word_of(g)), g % 2 ? GRANULE_BACKED_ALL : 0);
        }
}
END_TEST

#if SHM_DEBUG
static int
no_punch(const char *call)
{
        (void)call;
        return EOPNOTSUPP;
}

/* Then nobody knows what is left: the pages may be there, and are reserved anew before they are used. */
START_TEST(punch_that_fails_leaves_memory_that_is_reserved_anew)
{
        heap_drop(&fx);
        make(true);
        dirty_all();
        os_inject = no_punch;
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), 0);
        os_inject = NULL;
        ck_assert_uint_eq(n_backed(0), 0);
        for (uint64_t g = 0; g < GRANULES; g++)
                ck_assert(word_of(g) & GRANULE_MAY_HAVE);
        heap_verify(r, NULL);
        (void)alloc(0);
        ck_assert_uint_eq(n_backed(0), 1);
        heap_verify(r, &live);
}
END_TEST
#endif

/* The file shrinks by what was given back (where a granule is whole pages of the system). */
START_TEST(pages_really_go)
{
        struct stat before, after;

        if (GEO_GRANULE_BYTES < 4096)
                return;
        heap_drop(&fx);
        make(true);
        dirty_all();
        ck_assert_int_eq(fstat(r->fd, &before), 0);
        ck_assert_uint_eq(decay_purge(t, UINT32_MAX), GEO_CHUNK_BYTES);
        ck_assert_int_eq(fstat(r->fd, &after), 0);
        ck_assert_uint_eq((uint64_t)(before.st_blocks - after.st_blocks) * 512, GEO_CHUNK_BYTES);
}
END_TEST

/* ------------------------------------------------------------------ the dead */

/* PURGE_CHUNK: the chunk is NEW, its granules have been noted as gone, or not yet. */
START_TEST(purge_of_a_chunk_cut_short_never_believes_in_pages)
{
        for (uint32_t noted = 0; noted <= GRANULES; noted += 3) {
                dirty_all();
                ck_assert(chunk_retire(t, 0));
                t->slot->candidate = candidate_make(CANDIDATE_CHUNK, 0, 1);
                r->chunk_words[0] = chunk_word(CHUNK_NEW, t->no, 0);
                for (uint32_t g = 0; g < noted; g++)
                        *run_word(r, g) &= GRANULE_MAY_HAVE;
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, 1);
                ck_assert_uint_eq(n_backed(0), GRANULES - noted);
                ck_assert_int_eq(chunk_give(t, 0), 0);
        }
}
END_TEST

/* ------------------------------------------------------------------ slabs */

enum { PAGES = GEO_GRANULE_BYTES / GEO_PAGE_BYTES };

static uint32_t
page_class(void)
{
        return size_class_of(GEO_PAGE_BYTES);
}

/* A slab with a block per page, of which the second and the last are allocated, with something written into each. */
static uint64_t
sparse_slab(void)
{
        uint64_t off[PAGES], head;

        for (int i = 0; i < PAGES; i++) {
                off[i] = alloc(page_class());
                memset(region_block(r, off[i]), 0x55, GEO_PAGE_BYTES);
        }
        head = off[0] >> GEO_GRANULE_SHIFT;
        for (int i = 0; i < PAGES; i++)
                if (i != PAGES - 1 && (i != 1 || PAGES == 2)) {
                        ck_assert_uint_eq(off[i] >> GEO_GRANULE_SHIFT, head);
                        ck_assert_int_eq(free_block(t, off[i], 0), 0);
                        live_drop(&live, off[i]);
                }
        return head;
}

static void
assert_purged(uint64_t head)
{
        for (uint32_t i = 0; i < PAGES; i++) {
                bool is_live = i == PAGES - 1 || (i == 1 && PAGES > 2);
                const char *page = region_block(r, (head << GEO_GRANULE_SHIFT) + i * GEO_PAGE_BYTES);

                ck_assert_int_eq(page[0], is_live ? 0x55 : 0);
                ck_assert_int_eq(page[GEO_PAGE_BYTES - 1], is_live ? 0x55 : 0);
        }
        ck_assert_uint_eq(granule_backed(word_of(head)), 0);
        ck_assert(word_of(head) & GRANULE_MAY_HAVE);
        heap_verify(r, &live);
}

START_TEST(purge_takes_the_pages_of_a_slab_that_no_block_lies_in)
{
        uint64_t head = sparse_slab();

        ck_assert_uint_ge(decay_purge(t, 0), (PAGES - 2) * GEO_PAGE_BYTES);
        assert_purged(head);
        for (int i = 0; i < PAGES - 2 + (PAGES == 2); i++) { /* they come back before a block there is handed out */
                uint64_t off = alloc(page_class());

                ck_assert_uint_eq(off >> GEO_GRANULE_SHIFT, head);
                ck_assert_uint_ge(granule_backed(word_of(head)) * GRANULE_BACKED_UNIT,
                                  off % GEO_GRANULE_BYTES + GEO_PAGE_BYTES);
                memset(region_block(r, off), 0x66, GEO_PAGE_BYTES);
        }
        heap_verify(r, &live);
}
END_TEST

/* A slab that was purged before may have lost pages again, and nobody knows how many: that is room all the same. */
START_TEST(room_is_made_where_nobody_knows_of_pages)
{
        uint64_t head = sparse_slab();

        decay_purge(t, 0);
        ck_assert(!decay_make_room(t, 0));
        ck_assert_uint_eq(live.n, PAGES > 2 ? 2 : 1);
        if (PAGES > 2) {
                ck_assert_int_eq(free_block(t, live.off[0], 0), 0); /* of the page in the middle */
                live_drop(&live, live.off[0]);
        }
        *run_word(r, head) = granule_with_stamp(word_of(head), 0); /* used since */
        ck_assert(decay_make_room(t, 0));
        ck_assert_uint_eq(granule_backed(word_of(head)), 0);
        heap_verify(r, &live);
}
END_TEST

START_TEST(slab_is_purged_when_nobody_used_it_for_long_and_once)
{
        uint64_t head = sparse_slab();

        for (uint32_t units = 0; units < 32; units += 31) {
                t->stamp = granule_stamp(word_of(head)) + units;
                ck_assert_uint_eq(slab_purge_chunk(t, 0, 32, -1, &(uint32_t){100}), 0);
                ck_assert_uint_eq(granule_backed(word_of(head)), GRANULE_BACKED_ALL);
        }
        t->stamp++;
        ck_assert_uint_gt(slab_purge_chunk(t, 0, 32, -1, &(uint32_t){100}), 0);
        assert_purged(head);
        memset(region_block(r, head << GEO_GRANULE_SHIFT), 0x44, 1); /* as a write by mistake: nobody comes by again */
        ck_assert_uint_eq(slab_purge_chunk(t, 0, 0, -1, &(uint32_t){100}), 0);
        ck_assert_int_eq(*(char *)region_block(r, head << GEO_GRANULE_SHIFT), 0x44);
        ck_assert_uint_eq(slab_purge_chunk(t, 0, 0, -1, &(uint32_t){0}), 0);
}
END_TEST

START_TEST(without_growth_a_purged_slab_is_left_alone)
{
        uint64_t head = sparse_slab(), off;
        struct call rq = {.size = GEO_PAGE_BYTES, .align = 1, .flags = CALL_NO_GROW};

        ck_assert(ask_classify(&rq));
        decay_purge(t, 0);
        ck_assert_int_lt(ask_block(t, &rq, &off), 0);
        assert_purged(head);
        rq.flags = 0;
        ck_assert_int_eq(ask_block(t, &rq, &off), 0);
        ck_assert_uint_eq(off >> GEO_GRANULE_SHIFT, head);
}
END_TEST

/* Death after PURGE_SLAB.3, before or after the pages are gone. */
START_TEST(purge_of_a_slab_cut_short_never_believes_in_pages)
{
        uint64_t head = sparse_slab(), off;

        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, 1);
        *run_word(r, head) = granule_with_owner(granule_with_backed(word_of(head), 0), t->no);
        reap_settle(r, t->no, NULL);
        heap_verify(r, &live);
        ck_assert_uint_eq(granule_backed(word_of(head)), 0);
        off = alloc(page_class());
        ck_assert_uint_eq(off >> GEO_GRANULE_SHIFT, head);
        ck_assert_uint_ge(granule_backed(word_of(head)) * GRANULE_BACKED_UNIT,
                          off % GEO_GRANULE_BYTES + GEO_PAGE_BYTES);
        heap_verify(r, &live);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("decay");
        TCase *tcase = tcase_create("decay");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, age_counts_units_and_wraps);
        tcase_add_test(tcase, unit_is_a_32nd_of_the_decay_time);
        tcase_add_test(tcase, what_was_free_for_long_is_given_back);
        tcase_add_test(tcase, what_was_free_for_a_short_time_stays);
        tcase_add_test(tcase, nothing_decays_before_its_time_has_come);
        tcase_add_test(tcase, decay_may_be_off_or_at_once);
        tcase_add_test(tcase, tick_without_an_arena_or_a_chunk_does_nothing);
        tcase_add_test(tcase, depot_gives_back_what_it_did_not_need);
        tcase_add_test(tcase, depot_of_an_arena_that_nobody_ticks_gives_back_too);
        tcase_add_test(tcase, empty_chunks_go_back_but_for_one);
        tcase_add_test(tcase, live_blocks_keep_their_bytes);
        tcase_add_test(tcase, purge_takes_everything_that_is_free);
        tcase_add_test(tcase, purge_empties_depots_and_slabs_without_a_block);
        tcase_add_test(tcase, purge_stays_on_its_node);
        tcase_add_test(tcase, purge_of_a_node_reaches_its_blocks_in_others_magazines);
        tcase_add_test(tcase, purge_steps_over_what_is_in_use);
#if SHM_DEBUG
        tcase_add_test(tcase, punch_that_fails_leaves_memory_that_is_reserved_anew);
#endif
        tcase_add_test(tcase, pages_really_go);
        tcase_add_test(tcase, purge_takes_the_pages_of_a_slab_that_no_block_lies_in);
        tcase_add_test(tcase, room_is_made_where_nobody_knows_of_pages);
        tcase_add_test(tcase, slab_is_purged_when_nobody_used_it_for_long_and_once);
        tcase_add_test(tcase, without_growth_a_purged_slab_is_left_alone);
        tcase_add_test(tcase, purge_of_a_slab_cut_short_never_believes_in_pages);
        tcase_add_test(tcase, purge_of_a_chunk_cut_short_never_believes_in_pages);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
