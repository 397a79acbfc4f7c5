/*
 * What is at stake: that the tests' own judge (support/judge.h) sees what it is for, and finds nothing where all is
 * well.  Each kind of damage is done to a heap with one of everything, seen, and undone.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "support/checks.h"
#include "support/judge.h"
#include "support/rich_heap.h"
#include "support/suite.h"

static struct rich_heap rich;
static struct region *const r = &rich.fx.region;
static unsigned n_faults;
static char first[512];
static uint64_t hole; /* the region offset of a page that the file is said not to have; 0: none is missing */

static void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...)
{
        va_list args;

        if (n_faults++ != 0)
                return;
        va_start(args, fmt);
        vsnprintf(first, sizeof first, fmt, args);
        va_end(args);
}

static enum judge_pages
pages(uint64_t region_off)
{
        return hole != 0 && region_off / 4096 == hole / 4096 ? JUDGE_HOLE : JUDGE_PAGES_UNKNOWN;
}

static struct judge
judge(void)
{
        struct judge j = {.r = r, .fault = note, .pages = pages};

        n_faults = 0;
        judge_region(&j);
        return j;
}

/* Damages a word, has it seen by a fault that contains the text, and undoes it. */
static void
expect_32(uint32_t *word, uint32_t bits, const char *text)
{
        *word ^= bits;
        judge();
        ck_assert_msg(n_faults > 0 && strstr(first, text), "not \"%s\" but %u faults, the first: %s", text, n_faults,
                      n_faults ? first : "none");
        *word ^= bits;
        judge();
        ck_assert_msg(n_faults == 0, "%s", first);
}

static void
expect(uint64_t *word, uint64_t bits, const char *text)
{
        *word ^= bits;
        judge();
        ck_assert_msg(n_faults > 0 && strstr(first, text), "not \"%s\" but %u faults, the first: %s", text, n_faults,
                      n_faults ? first : "none");
        *word ^= bits;
        judge();
        ck_assert_msg(n_faults == 0, "%s", first);
}

static void
setup(void)
{
        rich_heap_make(&rich);
        hole = 0;
}

static void
teardown(void)
{
        rich_heap_drop(&rich);
}

START_TEST(heap_in_order_has_every_block_once)
{
        struct judge j = judge();
        struct judge_block block;

        ck_assert_msg(n_faults == 0, "%s", first);
        ck_assert_uint_gt(j.tally.n_slabs, 0);
        ck_assert_uint_gt(j.tally.n_runs, 0);
        ck_assert_uint_eq(j.tally.n_huge, 1);
        ck_assert_uint_gt(j.tally.n_depot, 0);
        for (uint32_t i = 0; i < rich.n_live; i++) {
                ck_assert(judge_find(&j, rich.live_off[i], &block));
                ck_assert_uint_eq(block.off, rich.live_off[i]);
                judge_has(&j, rich.live_off[i], "the test", i);
        }
        ck_assert_msg(n_faults == 0, "%s", first);
        ck_assert(!judge_find(&j, rich.live + 1, &block));
        judge_has(&j, rich.live_off[0], "somebody else", 0);
        ck_assert_uint_eq(n_faults, 1);
        judge_has(&j, rich.live + 1, "somebody", 0);
        ck_assert_uint_eq(n_faults, 2);
}
END_TEST

START_TEST(damaged_words_of_memory_are_seen)
{
        uint64_t chunk = rich.slab / GEO_GRANULES_PER_CHUNK;

        expect(&r->granules[rich.slab], WORD_PUT(1, 4), "is owned by");
        expect(&r->granules[rich.slab], WORD_PUT(1, 20), "of arena");
        expect(&r->granules[rich.slab], WORD_PUT(1, 38), "free, its bitmap");
        expect(&r->granules[rich.slab], WORD_PUT(63, 32), "");
        expect(&r->granules[rich.slab], GRANULE_DOOMED, "doomed");
        expect(&r->granules[rich.large], WORD_PUT(1, 38), "head of nothing");
        expect(&r->granules[rich.large], GRANULE_BACKED_ALL * WORD_PUT(1, 51), "not backed");
        expect(&r->granules[rich.large + 1], WORD_PUT(1, 38), "does not continue");
        expect(&r->granules[rich.coloured], WORD_PUT(64, 56), "starts at");
        expect(&r->granules[rich.free_granule], (uint64_t)(GRANULE_FREE ^ GRANULE_NEW), "nothing when nobody");
        expect(&r->chunk_words[chunk], WORD_PUT(1, 3), "is owned by");
        expect(&r->chunk_words[rich.huge], WORD_PUT(1, 39), "");
        expect(&r->chunk_words[rich.huge], CHUNK_DOOMED, "huge block");
        expect(&r->chunk_words[rich.huge + 1], WORD_PUT(1, 38), "no tail");
        expect(&r->chunk_words[rich.free_chunk], (uint64_t)(CHUNK_FREE ^ CHUNK_NEW), "nothing when nobody");
        r->tags[rich.slab]++;
        judge();
        ck_assert_msg(n_faults > 0 && strstr(first, "has tag"), "%u faults", n_faults);
        r->tags[rich.slab]--;
}
END_TEST

START_TEST(blocks_in_two_places_or_in_none_are_seen)
{
        struct magazine *cached = &r->magazines[rich.cached], *depot = &r->magazines[rich.depot];
        uint64_t entry = cached->slot[0];
        struct judge j;

        expect(&cached->slot[1], cached->slot[1] ^ entry, "in a magazine");
        expect(&cached->slot[0], entry ^ region_entry(r, rich.live + 1), "no block");
        expect(&cached->slot[0], entry ^ depot->slot[0], "");
        expect(region_slab_word(r, rich.slab, 0), UINT64_C(1) << rich_heap_block_idx(&rich, rich.live),
               "free, its bitmap");
        cached->n--; /* a block that nobody has: not damage, but one more that is allocated */
        j = judge();
        ck_assert_uint_eq(n_faults, 0);
        cached->n++;
        ck_assert_uint_eq(j.n_allocated, judge().n_allocated + 1);
}
END_TEST

START_TEST(damaged_magazines_and_slots_are_seen)
{
        struct thread_slot *slot = region_thread(r, rich.t->no - 1);

        expect(&r->magazine_words[rich.cached], WORD_PUT(1, 2), "magazine");
        expect(&r->magazine_words[rich.depot], WORD_PUT(1, 2), "in a depot");
        expect(&r->magazine_words[rich.cached], WORD_PUT(0xffff, 28), "magazine");
        expect(&r->magazine_words[rich.pooled], WORD_PUT(1, 2), "pooled");
        expect(&r->magazines[rich.pooled].n, 1, "pooled");
        expect(&r->magazines[rich.cached].n, 1024, "magazine");
        expect(&r->magazines[rich.depot].n, r->magazines[rich.depot].n, "in a depot");
        expect(&slot->intent.kind, INTENT_FILL, "intent");
        expect(&slot->candidate, candidate_make(CANDIDATE_RUN, 1, 1), "candidate");
        expect_32(&slot->hand, rich.cached + 1, "hand");
        expect_32(&slot->magazines[magazine_tag(r->magazine_words[rich.cached])], rich.pooled + 1, "");
}
END_TEST

START_TEST(pages_that_are_missing_are_seen)
{
        hole = region_granule_off(r, rich.large);
        judge();
        ck_assert_msg(n_faults > 0 && strstr(first, "sixteenths are backed"), "%u faults: %s", n_faults, first);
        hole = r->layout.chunks_off + rich.live;
        judge();
        ck_assert_uint_gt(n_faults, 0);
        hole = 0;
        judge();
        ck_assert_uint_eq(n_faults, 0);
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("judge");
        TCase *tc = tcase_create("judge");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, heap_in_order_has_every_block_once);
        tcase_add_test(tc, damaged_words_of_memory_are_seen);
        tcase_add_test(tc, blocks_in_two_places_or_in_none_are_seen);
        tcase_add_test(tc, damaged_magazines_and_slots_are_seen);
        tcase_add_test(tc, pages_that_are_missing_are_seen);
        suite_add_tcase(s, tc);
        return suite_run(s);
}
