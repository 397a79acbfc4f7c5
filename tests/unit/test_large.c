/*
 * What is at stake: runs that overlap, or that nobody has.  A large block is born and freed by one store to its head;
 * while it is resized it may be freed by somebody else, and whoever drops it then must free all of it, no less and no
 * more.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "clients/intent.h"
#include "heap/reap.h"
#include "os/inject.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { GRANULES = GEO_GRANULES_PER_CHUNK };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static void
make(bool has_file)
{
        heap_make(&fx, (struct heap_params){.has_file = has_file});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
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

static uint64_t
alloc_aligned(uint32_t class_idx, uint64_t align)
{
        uint64_t block_off, head, word;

        ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, class_idx, align), 0, &block_off), 0);
        ck_assert(large_block_of(r, block_off, &head, &word));
        ck_assert_uint_eq(head, block_off >> GEO_GRANULE_SHIFT);
        ck_assert_uint_eq(granule_class(word), class_idx);
        ck_assert_uint_eq(t->slot->candidate, 0);
        live_add(&live, block_off);
        return block_off;
}

static uint64_t
alloc(uint32_t class_idx)
{
        return alloc_aligned(class_idx, 1);
}

static void
free_it(struct thread *who, uint64_t block_off)
{
        ck_assert_int_eq(large_free(who, block_off, 0), 0);
        ck_assert_uint_eq(who->slot->candidate, 0);
        ck_assert_uint_eq(who->fault.what, FAULT_NONE);
        live_drop(&live, block_off);
}

static void
expect_fault(struct thread *who, uint64_t block_off)
{
        ck_assert(who->fault.what == FAULT_DOUBLE_FREE || who->fault.what == FAULT_INVALID_FREE);
        ck_assert_uint_eq(who->fault.block_off, block_off);
        who->fault.what = FAULT_NONE;
}

static uint32_t
class_of(uint64_t block_off)
{
        return granule_class(word_of(block_off >> GEO_GRANULE_SHIFT));
}

/* Two classes of runs of different lengths, the longer three granules at least. */
static uint32_t
shorter(void)
{
        return SIZE_CLASS_N - 5;
}

static uint32_t
longer(void)
{
        return SIZE_CLASS_N - 1;
}

static uint32_t
length_of(uint32_t class_idx)
{
        return size_class_run_granules(class_idx);
}

/* ------------------------------------------------------------------ allocating and freeing */

START_TEST(block_of_every_class_fits_its_run_and_its_pages)
{
        uint32_t class_idx = (uint32_t)_i;
        uint64_t block_off = alloc(class_idx);

        memset(region_block(r, block_off), 0xab, size_class_bytes(class_idx));
        heap_verify(r, &live);
        free_it(u, block_off);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, GRANULES);
}
END_TEST

START_TEST(block_starts_where_the_alignment_wants)
{
        for (uint64_t align = 1; align <= GEO_CHUNK_BYTES; align *= 2) {
                uint64_t first = alloc(SIZE_CLASS_N_SMALL), block_off;

                if (align == GEO_CHUNK_BYTES)
                        ck_assert_int_eq(chunk_give(t, 0), 0);
                block_off = alloc_aligned(SIZE_CLASS_N_SMALL, align);
                ck_assert_uint_eq(block_off % align, 0);
                heap_verify(r, &live);
                free_it(t, first);
                free_it(t, block_off);
        }
}
END_TEST

/* Where a run has a page to spare, blocks of one class begin at different cache lines, and none leaves its run. */
START_TEST(blocks_with_slack_are_coloured)
{
        uint32_t class_idx = SIZE_CLASS_N_SMALL, n_colours = 0;
        bool seen[GEO_PAGE_BYTES / 64] = {false};
        uint64_t off;

        while (large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, class_idx, 64), 0, &off) == 0) {
                uint64_t colour = off % GEO_GRANULE_BYTES;

                ck_assert_uint_eq(colour % 64, 0);
                ck_assert_uint_lt(colour, GEO_PAGE_BYTES);
                n_colours += !seen[colour / 64];
                seen[colour / 64] = true;
                live_add(&live, off);
        }
        heap_verify(r, &live);
        if ((uint64_t)length_of(class_idx) * GEO_GRANULE_BYTES - size_class_bytes(class_idx) >= GEO_PAGE_BYTES)
                ck_assert_uint_ge(n_colours, 8);
        while (live.n > 0)
                free_it(t, live.off[0]);
}
END_TEST

START_TEST(no_run_is_no_block)
{
        uint64_t off;

        while (large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, SIZE_CLASS_N - 1, 1), 0, &off) == 0)
                live_add(&live, off);
        ck_assert_uint_eq(live.n, GRANULES / length_of(SIZE_CLASS_N - 1));
        ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, 0, SIZE_CLASS_N - 1, 1), 0, &off), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        heap_verify(r, &live);
}
END_TEST

START_TEST(without_growing_only_runs_with_pages_serve)
{
        uint64_t off;

        t->call.no_grow = true;
        ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, SIZE_CLASS_N_SMALL, 1), 0, &off), -ENOMEM);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, GRANULES);
        t->call.no_grow = false;
        free_it(t, alloc(SIZE_CLASS_N_SMALL));
        t->call.no_grow = true;
        (void)alloc(SIZE_CLASS_N_SMALL);
        heap_verify(r, &live);
}
END_TEST

START_TEST(second_free_and_bad_pointers_are_noted_and_change_nothing)
{
        uint64_t gone = alloc(longer()), block_off = alloc(longer());
        const uint64_t bad[] = {gone,
                                block_off + 16,
                                block_off + GEO_GRANULE_BYTES,
                                GEO_CHUNK_BYTES,
                                r->layout.n_chunks << GEO_CHUNK_SHIFT,
                                UINT64_MAX,
                                UINT64_MAX << GEO_GRANULE_SHIFT};

        free_it(t, gone);
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                ck_assert_int_eq(large_free(u, bad[i], 0), -EINVAL);
                expect_fault(u, bad[i]);
                ck_assert_int_eq(large_resize(u, bad[i], shorter()), -EINVAL);
                expect_fault(u, bad[i]);
                heap_verify(r, &live);
        }
}
END_TEST

START_TEST(block_and_destination_change_together)
{
        uint64_t cell = alloc(SIZE_CLASS_N_SMALL), block_off;
        uint64_t *dest = region_block(r, cell);

        ck_assert_int_eq(
                large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, longer(), 1), r->layout.chunks_off + cell, &block_off), 0);
        ck_assert_uint_eq(*dest, r->layout.chunks_off + block_off);
        live_add(&live, block_off);
        heap_verify(r, &live);
        ck_assert_int_eq(large_free(t, block_off, r->layout.chunks_off + cell), 0);
        live_drop(&live, block_off);
        ck_assert_uint_eq(*dest, 0);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ in magazines */

START_TEST(drained_entry_frees_its_run)
{
        uint32_t tag = tag_make(0, SIZE_CLASS_N_SMALL), idx;
        uint64_t block_off = alloc(SIZE_CLASS_N_SMALL), other = alloc(SIZE_CLASS_N_SMALL);

        damage_is_done(true);
        ck_assert_int_eq(magazine_take_empty(t, tag, &idx), 0);
        magazine_place(t, magazine_current(t, tag), idx);
        ck_assert_int_eq(large_drain(t, idx), 0);
        for (int i = 0; i < 3; i++) { /* the second time it is free already, the third time it is no block at all */
                r->magazines[idx].slot[0] = region_entry(r, i < 2 ? block_off : other + 8);
                r->magazines[idx].n = 1;
                ck_assert_int_eq(large_drain(t, idx), i == 0 ? 0 : -EINVAL);
                if (i == 0)
                        live_drop(&live, block_off);
                else
                        expect_fault(t, i < 2 ? block_off : other + 8);
                ck_assert_uint_eq(r->magazines[idx].n, 0);
                heap_verify(r, &live);
        }
        r->magazines[idx].n = UINT64_MAX;
        ck_assert_int_eq(large_drain(t, idx), 0);
        r->magazines[idx].n = 0;
}
END_TEST

/* DRAIN_RUN: head FREEING commits; before it nothing has happened. */
START_TEST(drain_of_a_run_cut_short_is_undone_or_finished)
{
        uint32_t tag = tag_make(0, SIZE_CLASS_N_SMALL), idx;

        for (int step = 0; step <= 3; step++) {
                struct thread *dead = heap_attach(&fx, 0);
                uint64_t block_off = alloc(SIZE_CLASS_N_SMALL), head = block_off >> GEO_GRANULE_SHIFT;

                ck_assert_int_eq(magazine_take_empty(dead, tag, &idx), 0);
                magazine_place(dead, magazine_current(dead, tag), idx);
                r->magazines[idx].slot[0] = region_entry(r, block_off);
                r->magazines[idx].n = 1;
                live_drop(&live, block_off);
                dead->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(SIZE_CLASS_N_SMALL));
                intent_left(dead, INTENT(DRAIN_RUN, drain_run, .head = head, .magazine = idx, .n = 0));
                if (step >= 1)
                        *run_word(r, head) =
                                granule_with_owner(granule_with_state(word_of(head), GRANULE_FREEING), dead->no);
                if (step >= 2)
                        r->magazines[idx].n = 0;
                if (step >= 3)
                        dead->slot->intent.kind = INTENT_NONE;
                heap_bury(&fx, dead);
                ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[SIZE_CLASS_N_SMALL], step == 0);
                drain_depots(t, 0, UINT32_MAX);
                ck_assert_uint_eq(heap_verify(r, &live).n_runs, 0);
        }
}
END_TEST

/* ------------------------------------------------------------------ resizing */

START_TEST(block_is_resized_where_it_stands)
{
        for (uint32_t from = SIZE_CLASS_N_SMALL; from < SIZE_CLASS_N; from++)
                for (uint32_t to = SIZE_CLASS_N_SMALL; to < SIZE_CLASS_N; to++) {
                        uint64_t block_off = alloc(from), n_free;
                        uint64_t common = size_class_bytes(from < to ? from : to);
                        char *p = region_block(r, block_off);
                        int err;

                        for (uint64_t i = 0; i < common; i += GEO_PAGE_BYTES / 2)
                                p[i] = (char)(i / 128);
                        err = large_resize(t, block_off, to);
                        ck_assert(err == 0 || (err == -ENOMEM && block_off % GEO_GRANULE_BYTES != 0));
                        ck_assert_uint_eq(class_of(block_off), err == 0 ? to : from);
                        for (uint64_t i = 0; i < common; i += GEO_PAGE_BYTES / 2)
                                ck_assert_int_eq(p[i], (char)(i / 128));
                        n_free = heap_verify(r, &live).n_free_granules;
                        ck_assert_uint_eq(n_free, GRANULES - length_of(err == 0 ? to : from));
                        free_it(u, block_off);
                }
}
END_TEST

START_TEST(growth_stops_at_the_next_run_and_at_the_chunks_end)
{
        uint64_t a = alloc(shorter()), b = alloc(shorter()), last;

        ck_assert_int_eq(large_resize(t, a, longer()), -ENOMEM); /* b is in the way */
        ck_assert_uint_eq(class_of(a), shorter());
        ck_assert_uint_eq(t->slot->candidate, 0);
        heap_verify(r, &live);
        free_it(t, b);
        ck_assert_int_eq(large_resize(t, a, longer()), 0);
        heap_verify(r, &live);
        free_it(t, a);
        ck_assert_int_eq(chunk_give(t, 0), 0); /* the next chunk is free, but another one */
        do
                last = alloc(shorter());
        while ((last >> GEO_GRANULE_SHIFT) + length_of(longer()) <= GRANULES);
        ck_assert_int_eq(large_resize(t, last, longer()), -ENOMEM);
        heap_verify(r, &live);
}
END_TEST

/* The granule in the way is the last of those that are missing: what was claimed before it is free again. */
START_TEST(growth_that_fails_half_way_leaves_nothing)
{
        uint64_t a = alloc(shorter()), head;

        ck_assert_int_eq(run_claim(u, WHERE_RUN(0, CHUNK_ANY, length_of(longer()) - length_of(shorter()), 1), &head),
                         0);
        damage_is_done(true); /* one run is let go of in parts */
        for (uint64_t g = head; g < (a >> GEO_GRANULE_SHIFT) + length_of(longer()) - 1; g++)
                run_free_owned(u, g, 1);
        damage_is_done(false);
        ck_assert_int_eq(large_resize(t, a, longer()), -ENOMEM);
        run_free_owned(u, (a >> GEO_GRANULE_SHIFT) + length_of(longer()) - 1, 1);
        heap_verify(r, &live);
        ck_assert_int_eq(large_resize(t, a, longer()), 0);
        heap_verify(r, &live);
}
END_TEST

START_TEST(growth_without_pages_is_refused_when_it_may_not_grow)
{
        uint64_t a = alloc(shorter());

        t->call.no_grow = true;
        ck_assert_int_eq(large_resize(t, a, longer()), -ENOMEM);
        ck_assert_uint_eq(class_of(a), shorter());
        heap_verify(r, &live);
}
END_TEST

START_TEST(block_that_somebody_resizes_is_not_resized)
{
        uint64_t a = alloc(shorter()), head = a >> GEO_GRANULE_SHIFT;

        *run_word(r, head) = granule_with_owner(word_of(head), u->no);
        ck_assert_int_eq(large_resize(t, a, longer()), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(granule_owner(word_of(head)), u->no);
}
END_TEST

/* ------------------------------------------------------------------ freed while it is resized */

START_TEST(free_of_a_block_that_is_resized_dooms_it_once)
{
        uint64_t a = alloc(longer()), head = a >> GEO_GRANULE_SHIFT;

        *run_word(r, head) = granule_with_owner(word_of(head), u->no);
        u->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(longer()));
        ck_assert_int_eq(large_free(t, a, 0), 0);
        ck_assert(word_of(head) & GRANULE_DOOMED);
        ck_assert_int_eq(large_free(t, a, 0), -EINVAL);
        expect_fault(t, a);
        reap_settle(r, u->no, NULL); /* the resizer dies: the reaper drops the owner, and frees */
        live_drop(&live, a);
        ck_assert_uint_eq(heap_verify(r, &live).n_free_granules, GRANULES);
}
END_TEST

/* Who dies between dooming it and clearing the destination leaves a reference to a block that is being freed. */
START_TEST(with_a_destination_what_is_resized_is_not_doomed)
{
        uint64_t a = alloc(longer()), cell = alloc(SIZE_CLASS_N_SMALL), head = a >> GEO_GRANULE_SHIFT;
        uint64_t *dest = region_block(r, cell), word = granule_with_owner(word_of(head), u->no);

        *dest = r->layout.chunks_off + a;
        *run_word(r, head) = word;
        u->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(longer()));
        ck_assert_int_eq(large_free(t, a, r->layout.chunks_off + cell), -EBUSY);
        ck_assert_uint_eq(*dest, r->layout.chunks_off + a);
        ck_assert_uint_eq(word_of(head), word);
        reap_settle(r, u->no, NULL);
        ck_assert_int_eq(large_free(t, a, r->layout.chunks_off + cell), 0);
        ck_assert_uint_eq(*dest, 0);
        live_drop(&live, a);
        heap_verify(r, &live);
}
END_TEST

#if SHM_DEBUG
static uint64_t victim;
static int victim_err;

/* Somebody frees the block while its resizer waits for the kernel, which then has memory, or has none. */
static int
free_the_victim(const char *call)
{
        (void)call;
        if (victim == 0)
                return 0;
        ck_assert_uint_eq(r->tags[victim >> GEO_GRANULE_SHIFT], TAG_NONE); /* no free is a hit now */
        ck_assert_int_eq(large_free(u, victim, 0), 0);
        victim = 0;
        return victim_err;
}

START_TEST(block_freed_during_its_growth_is_freed_by_the_grower)
{
        uint64_t a;

        heap_drop(&fx);
        make(true);
        for (int i = 0; i < 4; i++) {
                (void)alloc(SIZE_CLASS_N_SMALL); /* so that the victim does not start at 0 */
                a = alloc(shorter());
                victim = a;
                victim_err = i % 2 ? ENOSPC : 0;
                os_inject = free_the_victim;
                ck_assert_int_eq(large_resize(t, a, longer()), i % 2 ? -ENOMEM : 0);
                os_inject = NULL;
                ck_assert_uint_eq(victim, 0);
                live_drop(&live, a);
                heap_verify(r, &live);
        }
}
END_TEST
#endif

/* ------------------------------------------------------------------ the dead */

/* RESIZE.2 to .6 of a growth, with and without doom: afterwards it is as long as its head says, or freed. */
START_TEST(growth_cut_short_is_undone)
{
        uint32_t from = length_of(shorter()), to = length_of(longer());

        for (int doomed = 0; doomed < 2; doomed++)
                for (uint32_t claimed = 0; claimed <= to - from; claimed++)
                        for (uint32_t stored = 0; stored <= (claimed == to - from ? claimed : 0); stored++) {
                                uint64_t a = alloc(shorter()), head = a >> GEO_GRANULE_SHIFT;

                                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, to);
                                *run_word(r, head) = granule_with_owner(word_of(head), t->no);
                                for (uint32_t i = from; i < from + claimed; i++)
                                        *run_word(r, head + i) = granule_word(GRANULE_NEW, t->no, 0);
                                for (uint32_t i = from; i < from + stored; i++)
                                        *run_word(r, head + i) =
                                                granule_with_count(granule_word(GRANULE_CONT, 0, 0), i);
                                if (claimed > 0) /* RESIZE.3; else it may be there still */
                                        r->tags[head] = TAG_NONE;
                                if (doomed)
                                        ck_assert_int_eq(large_free(u, a, 0), 0);
                                reap_settle(r, t->no, NULL);
                                if (doomed)
                                        live_drop(&live, a);
                                else
                                        ck_assert_uint_eq(class_of(a), shorter());
                                heap_verify(r, &live);
                                if (!doomed)
                                        free_it(u, a);
                        }
}
END_TEST

/* RESIZE.7 of a growth and .9: the head says it is long. */
START_TEST(growth_that_was_committed_stays)
{
        for (int i = 0; i < 4; i++) {
                bool doomed = i & 1, has_tag = i & 2;
                uint64_t a = alloc(shorter()), head = a >> GEO_GRANULE_SHIFT;

                ck_assert_int_eq(large_resize(t, a, longer()), 0);
                ck_assert_uint_eq(r->tags[head], tag_make(0, longer()));
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(longer()));
                *run_word(r, head) = granule_with_owner(word_of(head), t->no);
                r->tags[head] = has_tag ? tag_make(0, longer()) : TAG_NONE;
                if (doomed)
                        ck_assert_int_eq(large_free(u, a, 0), 0);
                reap_settle(r, t->no, NULL);
                if (doomed)
                        live_drop(&live, a);
                else
                        ck_assert_uint_eq(class_of(a), longer());
                heap_verify(r, &live);
                if (!doomed)
                        free_it(u, a);
        }
}
END_TEST

/* Who frees by a hit what the dead was resizing has it in a magazine: there it stays until the dead is settled. */
START_TEST(block_of_a_dead_resizer_is_not_drained_before_it_is_settled)
{
        uint32_t tag = tag_make(0, shorter()), idx;
        uint64_t a = alloc(shorter()), head = a >> GEO_GRANULE_SHIFT;

        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(shorter()));
        *run_word(r, head) = granule_with_owner(word_of(head), t->no); /* RESIZE.2 */
        ck_assert_int_eq(magazine_take_empty(u, tag, &idx), 0);
        magazine_place(u, magazine_current(u, tag), idx);
        r->magazines[idx].slot[0] = region_entry(r, a);
        r->magazines[idx].n = 1;
        live_drop(&live, a);
        ck_assert_int_eq(large_drain(u, idx), -EBUSY);
        ck_assert(!drain_magazine(u, idx, 0));
        ck_assert_uint_eq(u->fault.what, FAULT_NONE);
        ck_assert_uint_eq(r->magazines[idx].n, 1);
        reap_settle(r, t->no, NULL);
        ck_assert(drain_magazine(u, idx, 0));
        ck_assert_uint_eq(u->fault.what, FAULT_NONE);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
}
END_TEST

/* RESIZE.7: the head says it is short; granules behind it are freed one by one, and others take them. */
START_TEST(shrink_cut_short_is_finished)
{
        uint32_t from = length_of(longer()), to = length_of(shorter());

        for (int doomed = 0; doomed < 2; doomed++)
                for (uint32_t freed = 0; freed <= from - to; freed++) {
                        uint64_t a = alloc(longer()), head = a >> GEO_GRANULE_SHIFT, word = word_of(head);

                        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, from);
                        word = granule_with_count(granule_with_class(word, shorter()), to);
                        *run_word(r, head) = granule_with_owner(word, t->no);
                        r->tags[head] = TAG_NONE;
                        for (uint32_t i = to; i < to + freed; i++)
                                *run_word(r, head + i) = granule_word(GRANULE_NEW, u->no, 0); /* taken by u */
                        if (doomed)
                                ck_assert_int_eq(large_free(u, a, 0), 0);
                        reap_settle(r, t->no, NULL);
                        for (uint32_t i = to; i < to + freed; i++) {
                                ck_assert_uint_eq(granule_owner(word_of(head + i)), u->no);
                                run_free_owned(u, head + i, 1);
                        }
                        if (doomed)
                                live_drop(&live, a);
                        heap_verify(r, &live);
                        if (!doomed)
                                free_it(u, a);
                }
}
END_TEST

/* LARGE.5 is the commit: before it the destination is cleared again, after it the block is there. */
START_TEST(allocation_to_a_destination_cut_short_is_undone)
{
        for (int step = 1; step <= 3; step++) {
                uint64_t cell = alloc(SIZE_CLASS_N_SMALL), head;
                uint64_t *dest = region_block(r, cell);

                *dest = 0;
                ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 2, 1), &head), 0);
                *run_word(r, head + 1) = granule_with_count(granule_word(GRANULE_CONT, 0, 0), 1);
                r->tags[head] = 7;
                intent_left(t, INTENT(RUN_TO, run_to, .head = head, .block = head << GEO_GRANULE_SHIFT,
                                      .dest = r->layout.chunks_off + cell));
                if (step >= 2)
                        *dest = r->layout.chunks_off + (head << GEO_GRANULE_SHIFT);
                if (step >= 3) { /* committed */
                        uint32_t class_idx = SIZE_CLASS_N_SMALL;

                        while (length_of(class_idx) != 2)
                                class_idx++;
                        ck_assert_int_eq(run_reserve(t, head, 2 * GEO_GRANULE_BYTES), 0);
                        r->tags[head] = (uint16_t)tag_make(0, class_idx);
                        *run_word(r, head) =
                                granule_with_count(granule_with_class(granule_word(GRANULE_LARGE, 0, 0), class_idx),
                                                   2) |
                                (word_of(head) & GRANULE_BACKING);
                        live_add(&live, head << GEO_GRANULE_SHIFT);
                }
                reap_settle(r, t->no, NULL);
                ck_assert_int_eq(*dest != 0, step == 3);
                heap_verify(r, &live);
        }
}
END_TEST

START_TEST(free_from_a_destination_cut_short_is_undone_or_finished)
{
        for (int step = 0; step <= 2; step++) {
                uint64_t cell = alloc(SIZE_CLASS_N_SMALL), a = alloc(longer()), head = a >> GEO_GRANULE_SHIFT;
                uint64_t *dest = region_block(r, cell);

                *dest = r->layout.chunks_off + a;
                t->slot->candidate = candidate_make(CANDIDATE_RUN, head, length_of(longer()));
                intent_left(t,
                            INTENT(RUN_FROM, run_from, .head = head, .block = a, .dest = r->layout.chunks_off + cell));
                if (step >= 1)
                        *run_word(r, head) =
                                granule_with_owner(granule_with_state(word_of(head), GRANULE_FREEING), t->no);
                if (step >= 2)
                        *dest = 0;
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(*dest, step == 0 ? r->layout.chunks_off + a : 0);
                if (step > 0)
                        live_drop(&live, a);
                heap_verify(r, &live);
                if (step == 0)
                        free_it(t, a);
                free_it(t, cell);
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("large");
        TCase *tcase = tcase_create("large");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, block_of_every_class_fits_its_run_and_its_pages, SIZE_CLASS_N_SMALL, SIZE_CLASS_N);
        tcase_add_test(tcase, block_starts_where_the_alignment_wants);
        tcase_add_test(tcase, blocks_with_slack_are_coloured);
        tcase_add_test(tcase, no_run_is_no_block);
        tcase_add_test(tcase, without_growing_only_runs_with_pages_serve);
        tcase_add_test(tcase, second_free_and_bad_pointers_are_noted_and_change_nothing);
        tcase_add_test(tcase, block_and_destination_change_together);
        tcase_add_test(tcase, drained_entry_frees_its_run);
        tcase_add_test(tcase, drain_of_a_run_cut_short_is_undone_or_finished);
        tcase_add_test(tcase, block_is_resized_where_it_stands);
        tcase_add_test(tcase, growth_stops_at_the_next_run_and_at_the_chunks_end);
        tcase_add_test(tcase, growth_that_fails_half_way_leaves_nothing);
        tcase_add_test(tcase, growth_without_pages_is_refused_when_it_may_not_grow);
        tcase_add_test(tcase, block_that_somebody_resizes_is_not_resized);
        tcase_add_test(tcase, free_of_a_block_that_is_resized_dooms_it_once);
        tcase_add_test(tcase, with_a_destination_what_is_resized_is_not_doomed);
#if SHM_DEBUG
        tcase_add_test(tcase, block_freed_during_its_growth_is_freed_by_the_grower);
#endif
        tcase_add_test(tcase, growth_cut_short_is_undone);
        tcase_add_test(tcase, growth_that_was_committed_stays);
        tcase_add_test(tcase, block_of_a_dead_resizer_is_not_drained_before_it_is_settled);
        tcase_add_test(tcase, shrink_cut_short_is_finished);
        tcase_add_test(tcase, allocation_to_a_destination_cut_short_is_undone);
        tcase_add_test(tcase, free_from_a_destination_cut_short_is_undone_or_finished);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
