/*
 * What is at stake: chunks that two huge blocks share, or that nobody has.  Chunk words are claimed side by side as
 * granules are, and a block may be freed by others while it is resized.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/fault.h"
#include "blocks/huge.h"
#include "clients/intent.h"
#include "heap/reap.h"
#include "os/inject.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

enum { N_CHUNKS = 8 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static void
make(bool has_file)
{
        heap_make(&fx, (struct heap_params){.n_chunks = N_CHUNKS, .n_nodes = 2, .has_file = has_file});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
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
word_of(uint64_t chunk)
{
        return r->chunk_words[chunk];
}

static uint64_t
alloc_aligned(uint64_t bytes, uint64_t align)
{
        uint64_t block_off, chunk, word;

        ck_assert_int_eq(huge_alloc(t, bytes, align, 0, 0, &block_off), 0);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert(huge_block_of(r, block_off, &chunk, &word));
        ck_assert_uint_eq(chunk << GEO_CHUNK_SHIFT, block_off);
        ck_assert_uint_ge(huge_usable(r, chunk, word), bytes);
        ck_assert_uint_lt(huge_usable(r, chunk, word), bytes + GEO_PAGE_BYTES);
        live_add(&live, block_off);
        return block_off;
}

/* Whole chunks. */
static uint64_t
alloc(uint64_t n)
{
        return alloc_aligned(n * GEO_CHUNK_BYTES, 1);
}

static void
free_it(struct thread *who, uint64_t block_off)
{
        ck_assert_int_eq(huge_free(who, block_off, 0), 0);
        ck_assert_uint_eq(who->slot->candidate, 0);
        live_drop(&live, block_off);
}

static void
expect_fault(struct thread *who, uint64_t block_off)
{
        ck_assert(who->fault.what == FAULT_DOUBLE_FREE || who->fault.what == FAULT_INVALID_FREE);
        ck_assert_uint_eq(who->fault.block_off, block_off);
        who->fault.what = FAULT_NONE;
}

static uint64_t
n_chunks_of(uint64_t block_off)
{
        return chunk_count(word_of(block_off >> GEO_CHUNK_SHIFT));
}

static void
own(struct thread *who, uint64_t chunk, uint64_t n)
{
        who->slot->candidate = candidate_make(CANDIDATE_HUGE, chunk, n);
        r->chunk_words[chunk] = chunk_with_owner(word_of(chunk), who->no);
}

/* ------------------------------------------------------------------ allocating and freeing */

START_TEST(blocks_take_the_lowest_gap)
{
        uint64_t a = alloc(2), b = alloc(1), c = alloc(3);

        ck_assert_uint_eq(a, 0);
        ck_assert_uint_eq(b, 2 * GEO_CHUNK_BYTES);
        ck_assert_uint_eq(c, 3 * GEO_CHUNK_BYTES);
        heap_verify(r, &live);
        free_it(u, a);
        free_it(t, c);
        ck_assert_uint_eq(alloc(3), 3 * GEO_CHUNK_BYTES);
        ck_assert_uint_eq(alloc(1), 0);
        ck_assert_uint_eq(heap_verify(r, &live).n_free_chunks, 1);
}
END_TEST

START_TEST(gaps_are_found_whatever_the_hints_say)
{
        bool set = _i != 0;
        uint64_t a = alloc(2), b = alloc(3);

        alloc(N_CHUNKS - 5);
        free_it(t, b);
        heap_scramble_hints(r, set);
        ck_assert_uint_eq(alloc(3), b);
        free_it(t, a);
        free_it(t, b);
        heap_scramble_hints(r, set);
        ck_assert_uint_eq(alloc(1), 0);
        heap_scramble_hints(r, set);
        ck_assert_uint_eq(alloc(4), GEO_CHUNK_BYTES);
        ck_assert_uint_eq(heap_verify(r, &live).n_free_chunks, 0);
}
END_TEST

START_TEST(all_of_the_capacity_can_be_one_block)
{
        uint64_t block_off;

        for (int i = 0; i < 3; i++) {
                uint64_t a = alloc(N_CHUNKS);

                ck_assert_int_eq(huge_alloc(t, 1, 1, 0, 0, &block_off), -ENOMEM);
                heap_verify(r, &live);
                free_it(t, a);
        }
        ck_assert_int_eq(huge_alloc(t, N_CHUNKS * GEO_CHUNK_BYTES + 1, 1, 0, 0, &block_off), -ENOMEM);
        ck_assert_int_eq(huge_alloc(t, UINT64_MAX, 1, 0, 0, &block_off), -ENOMEM);
        ck_assert_int_eq(huge_alloc(t, 0, 1, 0, 0, &block_off), -ENOMEM);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, N_CHUNKS);
}
END_TEST

START_TEST(only_the_pages_that_are_needed_are_backed)
{
        uint64_t a = alloc_aligned(GEO_CHUNK_BYTES + 1, 1);

        ck_assert_uint_eq(n_chunks_of(a), 2);
        ck_assert_uint_eq(granule_backed(*run_word(r, GEO_GRANULES_PER_CHUNK - 1)), GRANULE_BACKED_ALL);
        ck_assert_uint_ge(granule_backed(*run_word(r, GEO_GRANULES_PER_CHUNK)), 1);
        ck_assert_uint_lt(granule_backed(*run_word(r, GEO_GRANULES_PER_CHUNK)), GRANULE_BACKED_ALL);
        ck_assert_uint_eq(granule_backed(*run_word(r, GEO_GRANULES_PER_CHUNK + 1)), 0);
}
END_TEST

START_TEST(capacity_bounds_it_not_the_table)
{
        uint64_t block_off;

        r->header->capacity_chunks = 3;
        ck_assert_int_eq(huge_alloc(t, 4 * GEO_CHUNK_BYTES, 1, 0, 0, &block_off), -ENOMEM);
        (void)alloc(3);
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 0, 0, &block_off), -ENOMEM);
        ck_assert_int_eq(huge_resize(t, 0, 4 * GEO_CHUNK_BYTES), -ENOMEM);
        r->header->capacity_chunks = 5;
        ck_assert_int_eq(huge_resize(t, 0, 4 * GEO_CHUNK_BYTES), 0);
        (void)alloc(1);
        heap_verify(r, &live);
}
END_TEST

/* Aligned in the region; the region itself lies at a multiple of 1 GiB. */
START_TEST(block_starts_where_the_alignment_wants)
{
        for (uint64_t align = 1; align <= 4 * GEO_CHUNK_BYTES; align *= 4) {
                uint64_t first = alloc(1), a = alloc_aligned(GEO_CHUNK_BYTES / 2, align);

                ck_assert_uint_eq((r->layout.chunks_off + a) % align, 0);
                heap_verify(r, &live);
                free_it(t, a);
                free_it(t, first);
        }
}
END_TEST

START_TEST(chunks_of_arenas_are_stepped_over)
{
        ck_assert_int_eq(chunk_give(t, 0), 0);
        (void)alloc(1);
        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_uint_eq(alloc(2), 3 * GEO_CHUNK_BYTES);
        heap_verify(r, &live);
}
END_TEST

START_TEST(chunk_that_somebody_is_taking_is_stepped_over)
{
        uint64_t before;

        (void)alloc(3);
        free_it(t, 0);
        r->chunk_words[1] = before = chunk_word(CHUNK_NEW, u->no, 0);
        ck_assert_uint_eq(alloc(2), 2 * GEO_CHUNK_BYTES);
        ck_assert_uint_eq(word_of(1), before);
        ck_assert_uint_eq(word_of(0) & 7, CHUNK_FREE);
}
END_TEST

START_TEST(without_growing_only_what_has_pages_serves)
{
        uint64_t block_off;

        t->call.no_grow = true;
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 0, 0, &block_off), -ENOMEM);
        ck_assert_uint_eq(region_chunks_hwm(r), 0);
        t->call.no_grow = false;
        free_it(t, alloc(2));
        (void)chunk_give(t, 0); /* chunk 0 has pages and goes to an arena */
        t->call.no_grow = true;
        (void)alloc(1);
        ck_assert_int_eq(huge_resize(t, GEO_CHUNK_BYTES, 2 * GEO_CHUNK_BYTES), -ENOMEM);
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 0, 0, &block_off), -ENOMEM);
        t->call.no_grow = false;
        heap_verify(r, &live);
}
END_TEST

START_TEST(second_free_and_bad_pointers_are_noted_and_change_nothing)
{
        uint64_t gone = alloc(1), a = alloc(2);
        const uint64_t bad[] = {gone,
                                a + 16,
                                a + GEO_GRANULE_BYTES,
                                a + GEO_CHUNK_BYTES,
                                (uint64_t)N_CHUNKS << GEO_CHUNK_SHIFT,
                                UINT64_MAX,
                                UINT64_MAX << GEO_CHUNK_SHIFT};

        free_it(u, gone);
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                ck_assert_int_eq(huge_free(u, bad[i], 0), -EINVAL);
                expect_fault(u, bad[i]);
                ck_assert_int_eq(huge_resize(u, bad[i], 1), -EINVAL);
                expect_fault(u, bad[i]);
                heap_verify(r, &live);
        }
}
END_TEST

/* A count that leads out of what there is, is no block. */
START_TEST(head_that_claims_too_much_is_no_block)
{
        uint64_t a = alloc(1), word = word_of(0), chunk;

        r->chunk_words[0] = chunk_with_count(word, 2);
        ck_assert(!huge_block_of(r, a, &chunk, &word));
        ck_assert_int_eq(huge_free(t, a, 0), -EINVAL);
        r->chunk_words[0] = chunk_with_count(word_of(0), 0);
        ck_assert(!huge_block_of(r, a, &chunk, &word));
}
END_TEST

START_TEST(block_and_destination_change_together)
{
        uint64_t cell = alloc(1), a;
        uint64_t *dest = region_block(r, cell);

        ck_assert_int_eq(huge_alloc(t, 2 * GEO_CHUNK_BYTES, 1, 0, r->layout.chunks_off + cell, &a), 0);
        ck_assert_uint_eq(*dest, r->layout.chunks_off + a);
        live_add(&live, a);
        heap_verify(r, &live);
        ck_assert_int_eq(huge_free(t, a, r->layout.chunks_off + cell), 0);
        live_drop(&live, a);
        ck_assert_uint_eq(*dest, 0);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ resizing */

START_TEST(block_is_resized_where_it_stands)
{
        for (uint64_t from = 1; from <= 4 * GEO_CHUNK_BYTES; from += GEO_CHUNK_BYTES / 2 + GEO_PAGE_BYTES)
                for (uint64_t to = 1; to <= 4 * GEO_CHUNK_BYTES; to += GEO_CHUNK_BYTES / 2 + 5) {
                        uint64_t a = alloc_aligned(from, 1), chunk, word;

                        ck_assert_int_eq(huge_resize(t, a, to), 0);
                        ck_assert_uint_eq(t->slot->candidate, 0);
                        ck_assert(huge_block_of(r, a, &chunk, &word));
                        ck_assert_uint_eq(chunk_count(word), (to + GEO_CHUNK_BYTES - 1) / GEO_CHUNK_BYTES);
                        ck_assert_uint_ge(huge_usable(r, chunk, word), to);
                        ck_assert_uint_lt(huge_usable(r, chunk, word), to + GEO_PAGE_BYTES);
                        heap_verify(r, &live);
                        free_it(u, a);
                }
}
END_TEST

START_TEST(growth_stops_at_the_next_block_and_at_the_end)
{
        uint64_t a = alloc(2), b = alloc(2), last;

        ck_assert_int_eq(huge_resize(t, a, 3 * GEO_CHUNK_BYTES), -ENOMEM);
        ck_assert_uint_eq(n_chunks_of(a), 2);
        heap_verify(r, &live);
        free_it(t, b);
        (void)alloc(1);
        ck_assert_int_eq(huge_resize(t, a, 4 * GEO_CHUNK_BYTES), -ENOMEM); /* one is free, two are not */
        heap_verify(r, &live);
        last = alloc(N_CHUNKS - 3);
        ck_assert_int_eq(huge_resize(t, last, (N_CHUNKS - 2) * GEO_CHUNK_BYTES), -ENOMEM);
        for (uint64_t bytes = UINT64_MAX; bytes > GEO_CHUNK_BYTES; bytes -= bytes / 4)
                if (bytes > N_CHUNKS * GEO_CHUNK_BYTES)
                        ck_assert_int_eq(huge_resize(t, last, bytes), -ENOMEM);
        ck_assert_int_eq(huge_resize(t, last, 0), -ENOMEM);
        heap_verify(r, &live);
}
END_TEST

/* Its new chunks belong to the node that the old ones do. */
START_TEST(growth_stays_on_the_node)
{
        uint64_t a;

        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 1, 0, &a), 0);
        ck_assert_int_eq(huge_resize(t, a, 2 * GEO_CHUNK_BYTES), 0);
        ck_assert_uint_eq(chunk_node1(word_of(0)), 2);
        ck_assert_uint_eq(chunk_node1(word_of(1)), 2);
}
END_TEST

START_TEST(block_that_somebody_resizes_is_not_resized)
{
        uint64_t a = alloc(2);

        own(u, 0, 2);
        ck_assert_int_eq(huge_resize(t, a, GEO_CHUNK_BYTES), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(chunk_owner(word_of(0)), u->no);
}
END_TEST

/* ------------------------------------------------------------------ freed while it is resized */

START_TEST(free_of_a_block_that_is_resized_dooms_it_once)
{
        uint64_t a = alloc(2), cell = alloc(1);
        uint64_t *dest = region_block(r, cell);

        own(u, 0, 3);
        *dest = r->layout.chunks_off + a;
        ck_assert_int_eq(huge_free(t, a, r->layout.chunks_off + cell), -EBUSY); /* no step does both */
        ck_assert_uint_eq(*dest, r->layout.chunks_off + a);
        ck_assert(!(word_of(0) & CHUNK_DOOMED));
        ck_assert_int_eq(huge_free(t, a, 0), 0);
        ck_assert(word_of(0) & CHUNK_DOOMED);
        ck_assert_int_eq(huge_free(t, a, 0), -EINVAL);
        expect_fault(t, a);
        reap_settle(r, u->no, NULL);
        live_drop(&live, a);
        heap_verify(r, &live);
}
END_TEST

#if SHM_DEBUG
static uint64_t victim;
static int victim_err;

static int
free_the_victim(const char *call)
{
        (void)call;
        if (victim == UINT64_MAX)
                return 0;
        ck_assert_int_eq(huge_free(u, victim, 0), 0);
        victim = UINT64_MAX;
        return victim_err;
}

START_TEST(block_freed_during_its_growth_is_freed_by_the_grower)
{
        heap_drop(&fx);
        make(true);
        for (int i = 0; i < 2; i++) {
                uint64_t a = alloc(1);

                ck_assert_int_eq(region_raise_chunks(r, region_chunks_hwm(r)),
                                 0); /* metadata is not what is waited for */
                ck_assert_int_eq(region_raise_chunks(r, region_chunks_hwm(r)), 0);
                victim = a;
                victim_err = i ? ENOSPC : 0;
                os_inject = free_the_victim;
                ck_assert_int_eq(huge_resize(t, a, (2 + i) * GEO_CHUNK_BYTES), i ? -ENOMEM : 0);
                os_inject = NULL;
                ck_assert_uint_eq(victim, UINT64_MAX);
                live_drop(&live, a);
                heap_verify(r, &live);
        }
}
END_TEST

static int
no_memory(const char *call)
{
        (void)call;
        return ENOSPC;
}

START_TEST(block_whose_pages_cannot_be_had_is_no_block)
{
        uint64_t block_off;

        heap_drop(&fx);
        make(true);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(region_raise_chunks(r, region_chunks_hwm(r)), 0);
        os_inject = no_memory;
        ck_assert_int_lt(huge_alloc(t, 2 * GEO_CHUNK_BYTES, 1, 0, 0, &block_off), 0);
        ck_assert_int_lt(huge_alloc(t, 4 * GEO_CHUNK_BYTES, 1, 0, 0, &block_off), 0); /* not even its metadata */
        os_inject = NULL;
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_chunks, region_chunks_hwm(r));
        (void)alloc(4);
        heap_verify(r, &live);
}
END_TEST
#endif

/* ------------------------------------------------------------------ the dead */

/* HUGE.2 to .5: chunks claimed one by one, tails stored one by one, the head still NEW. */
START_TEST(allocation_cut_short_is_undone)
{
        for (uint32_t claimed = 0; claimed <= 3; claimed++)
                for (uint32_t tails = 0; tails <= (claimed == 3 ? 2 : 0); tails++) {
                        uint64_t theirs = alloc(4);

                        free_it(u, theirs);
                        theirs = alloc(1);
                        t->slot->candidate = candidate_make(CANDIDATE_HUGE, 1, 3);
                        for (uint32_t i = 0; i < claimed; i++)
                                r->chunk_words[1 + i] = chunk_word(CHUNK_NEW, t->no, 0);
                        for (uint32_t i = 1; i <= tails; i++)
                                r->chunk_words[1 + i] = chunk_with_count(chunk_word(CHUNK_TAIL, 0, 0), i);
                        reap_settle(r, t->no, NULL);
                        ck_assert_uint_eq(heap_verify(r, &live).n_free_chunks, 3);
                        free_it(t, theirs);
                }
}
END_TEST

/* HUGE_FREE.2: tails leave one by one, and others take them. */
START_TEST(free_cut_short_is_finished)
{
        for (uint32_t freed = 0; freed <= 2; freed++) {
                uint64_t a = alloc(3);

                t->slot->candidate = candidate_make(CANDIDATE_HUGE, 0, 3);
                r->chunk_words[0] = chunk_with_owner(chunk_with_state(word_of(0), CHUNK_FREEING), t->no);
                live_drop(&live, a);
                for (uint32_t i = 1; i <= freed; i++) { /* u has them now */
                        r->chunk_words[i] = chunk_with_count(chunk_word(CHUNK_HUGE, 0, 0), 1);
                        r->huge_bytes[i] = 1;
                        live_add(&live, (uint64_t)i << GEO_CHUNK_SHIFT);
                }
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(heap_verify(r, &live).n_huge, freed);
                while (live.n > 0)
                        free_it(u, live.off[0]);
        }
}
END_TEST

START_TEST(growth_cut_short_is_undone)
{
        for (int doomed = 0; doomed < 2; doomed++)
                for (uint32_t claimed = 0; claimed <= 2; claimed++)
                        for (uint32_t tails = 0; tails <= (claimed == 2 ? 2 : 0); tails++) {
                                uint64_t a = alloc(4);

                                free_it(u, a);
                                a = alloc(2);
                                own(t, 0, 4);
                                for (uint32_t i = 2; i < 2 + claimed; i++)
                                        r->chunk_words[i] = chunk_word(CHUNK_NEW, t->no, 0);
                                for (uint32_t i = 2; i < 2 + tails; i++)
                                        r->chunk_words[i] = chunk_with_count(chunk_word(CHUNK_TAIL, 0, 0), i);
                                if (tails == 2)
                                        r->huge_bytes[0] = 4 * GEO_CHUNK_BYTES;
                                if (doomed) {
                                        ck_assert_int_eq(huge_free(u, a, 0), 0);
                                        live_drop(&live, a);
                                }
                                reap_settle(r, t->no, NULL);
                                ck_assert_uint_eq(heap_verify(r, &live).n_free_chunks, doomed ? 4 : 2);
                                if (!doomed)
                                        free_it(u, a);
                        }
}
END_TEST

START_TEST(shrink_cut_short_is_finished)
{
        for (int doomed = 0; doomed < 2; doomed++)
                for (uint32_t freed = 0; freed <= 2; freed++) {
                        uint64_t a = alloc(4);

                        own(t, 0, 4);
                        r->chunk_words[0] = chunk_with_count(word_of(0), 2);
                        for (uint32_t i = 2; i < 2 + freed; i++)
                                r->chunk_words[i] = chunk_word(CHUNK_NEW, u->no, 0); /* u takes them */
                        if (doomed) {
                                ck_assert_int_eq(huge_free(u, a, 0), 0);
                                live_drop(&live, a);
                        }
                        reap_settle(r, t->no, NULL);
                        for (uint32_t i = 2; i < 2 + freed; i++) {
                                ck_assert_uint_eq(word_of(i), chunk_word(CHUNK_NEW, u->no, 0));
                                r->chunk_words[i] = 0;
                        }
                        heap_verify(r, &live);
                        if (!doomed)
                                free_it(u, a);
                }
}
END_TEST

START_TEST(candidate_that_was_never_claimed_touches_nothing)
{
        uint64_t a = alloc(3), words[N_CHUNKS];

        damage_is_done(true);
        memcpy(words, r->chunk_words, sizeof words);
        for (uint64_t first = 0; first < N_CHUNKS; first++)
                for (uint64_t n = 1; n <= N_CHUNKS; n++) {
                        t->slot->candidate = candidate_make(CANDIDATE_HUGE, first, n);
                        reap_settle(r, t->no, NULL);
                        ck_assert_mem_eq(words, r->chunk_words, sizeof words);
                        ck_assert_uint_eq(t->slot->candidate, 0);
                }
        free_it(t, a);
        heap_verify(r, &live);
}
END_TEST

START_TEST(destination_of_what_was_cut_short_is_settled_with_it)
{
        for (int step = 0; step <= 3; step++) {
                uint64_t cell = alloc(1), a = alloc(2);
                uint64_t *dest = region_block(r, cell);
                bool to = step < 2;

                *dest = r->layout.chunks_off + a;
                t->slot->candidate = candidate_make(CANDIDATE_HUGE, 1, 2);
                if (step == 0) /* TO, before its commit */
                        r->chunk_words[1] = chunk_word(CHUNK_NEW, t->no, 0);
                if (step == 2) /* FROM, behind it */
                        r->chunk_words[1] = chunk_with_owner(chunk_with_state(word_of(1), CHUNK_FREEING), t->no);
                intent_left(t,
                            (struct intent){to ? INTENT_HUGE_TO : INTENT_HUGE_FROM,
                                            .huge_to = {.head = 1, .block = a, .dest = r->layout.chunks_off + cell}});
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(*dest, step % 2 ? r->layout.chunks_off + a : 0);
                if (step % 2 == 0)
                        live_drop(&live, a);
                heap_verify(r, &live);
                while (live.n > 0)
                        free_it(t, live.off[0]);
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("huge");
        TCase *tcase = tcase_create("huge");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, blocks_take_the_lowest_gap);
        tcase_add_loop_test(tcase, gaps_are_found_whatever_the_hints_say, 0, 2);
        tcase_add_test(tcase, all_of_the_capacity_can_be_one_block);
        tcase_add_test(tcase, only_the_pages_that_are_needed_are_backed);
        tcase_add_test(tcase, capacity_bounds_it_not_the_table);
        tcase_add_test(tcase, block_starts_where_the_alignment_wants);
        tcase_add_test(tcase, chunks_of_arenas_are_stepped_over);
        tcase_add_test(tcase, chunk_that_somebody_is_taking_is_stepped_over);
        tcase_add_test(tcase, without_growing_only_what_has_pages_serves);
        tcase_add_test(tcase, second_free_and_bad_pointers_are_noted_and_change_nothing);
        tcase_add_test(tcase, head_that_claims_too_much_is_no_block);
        tcase_add_test(tcase, block_and_destination_change_together);
        tcase_add_test(tcase, block_is_resized_where_it_stands);
        tcase_add_test(tcase, growth_stops_at_the_next_block_and_at_the_end);
        tcase_add_test(tcase, growth_stays_on_the_node);
        tcase_add_test(tcase, block_that_somebody_resizes_is_not_resized);
        tcase_add_test(tcase, free_of_a_block_that_is_resized_dooms_it_once);
#if SHM_DEBUG
        tcase_add_test(tcase, block_freed_during_its_growth_is_freed_by_the_grower);
        tcase_add_test(tcase, block_whose_pages_cannot_be_had_is_no_block);
#endif
        tcase_add_test(tcase, allocation_cut_short_is_undone);
        tcase_add_test(tcase, free_cut_short_is_finished);
        tcase_add_test(tcase, growth_cut_short_is_undone);
        tcase_add_test(tcase, shrink_cut_short_is_finished);
        tcase_add_test(tcase, candidate_that_was_never_claimed_touches_nothing);
        tcase_add_test(tcase, destination_of_what_was_cut_short_is_settled_with_it);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
