/*
 * What is at stake: shheap_check() is what says whether a heap is whole, after deaths and in all tests.  If it sees
 * damage where there is none, nobody believes it; if what it counts is wrong, so is every figure that a user sees.
 *
 * So a heap with one of everything is good, its totals are exact, and a walk shows each block where it is.  Damage is
 * the matter of test_check_damage.c, a heap that others work in that of test_check_running.c.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "api/heap.h"
#include "audit/check.h"
#include "base/error.h"
#include "support/checks.h"
#include "support/rich_heap.h"
#include "support/suite.h"

static struct rich_heap rich;
static struct region *const r = &rich.fx.region;

static void
setup(void)
{
        rich_heap_make(&rich);
}

static void
teardown(void)
{
        rich_heap_drop(&rich);
}

/* ------------------------------------------------------------------ a good heap */

START_TEST(rich_heap_is_good)
{
        rich_heap_expect_good(&rich, CHECK_QUIESCENT);
        rich_heap_expect_good(&rich, 0);
        ck_assert_ptr_nonnull(strstr(rich.report, "good: 0 faults"));
}
END_TEST

START_TEST(new_heap_is_good)
{
        struct check_totals totals;

        heap_drop(&rich.fx);
        heap_make(&rich.fx, (struct heap_params){.n_chunks = 8});
        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(check_live_bytes(&totals), 0);
        ck_assert_uint_gt(totals.metadata_bytes, 0);
}
END_TEST

static uint64_t
sum_of(const struct check_totals *totals, size_t off)
{
        uint64_t n = 0;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                n += *(const uint64_t *)(const void *)((const char *)&totals->classes[class_idx] + off);
        return n;
}

#define SUM(totals, field) sum_of((totals), offsetof(struct check_class, field))

START_TEST(totals_are_exact)
{
        struct check_totals totals;

        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(SUM(&totals, n_live) + totals.n_huge, rich.n_live);
        ck_assert_uint_eq(SUM(&totals, n_pending), 1);
        ck_assert_uint_eq(SUM(&totals, n_cached), 3 + 2 + 2 + 1);
        ck_assert_uint_eq(totals.classes[0].n_cached, 5);
        ck_assert_uint_eq(totals.classes[SIZE_CLASS_N_SMALL].n_cached, 1);
        ck_assert_uint_eq(totals.n_huge, 1);
        ck_assert_uint_eq(totals.huge_bytes, 2 * GEO_CHUNK_BYTES + 5 * GEO_PAGE_BYTES);
        ck_assert_uint_eq(totals.huge_span_bytes, 3 * GEO_CHUNK_BYTES);
        ck_assert_uint_eq(totals.n_chunks_huge, 3);
        ck_assert_uint_eq(totals.n_magazines_tcache, 4);
        ck_assert_uint_eq(totals.n_magazines_depot, 1);
        ck_assert_uint_eq(totals.n_threads, 2);
        ck_assert_uint_eq(totals.n_clients, 1);
        ck_assert_uint_eq(totals.n_roots, 1);
        ck_assert_uint_eq(totals.moving_bytes, 0);
        ck_assert_uint_eq(totals.unhinted_bytes, 0);
}
END_TEST

/* Every granule of an arena is free or in a run, and every block of a run in one place. */
START_TEST(totals_account_for_every_byte)
{
        struct check_totals totals, *by_arena = calloc(4, sizeof *by_arena);
        uint64_t granules = 0, chunks = 0;

        ck_assert_ptr_nonnull(by_arena);
        ck_assert_int_eq(check_region_by_arena(r, CHECK_QUIESCENT, NULL, &totals, by_arena), 0);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++) {
                const struct check_class *c = &totals.classes[class_idx];

                granules += c->n_runs * size_class_table[class_idx].n_granules;
                ck_assert_uint_eq(c->n_runs * size_class_table[class_idx].n_blocks,
                                  c->n_live + c->n_cached + c->n_pending + c->n_free);
                for (uint32_t a = 0; a < 4; a++)
                        ck_assert_uint_eq(by_arena[a].classes[class_idx].n_runs * size_class_table[class_idx].n_blocks,
                                          by_arena[a].classes[class_idx].n_live +
                                                  by_arena[a].classes[class_idx].n_cached +
                                                  by_arena[a].classes[class_idx].n_pending +
                                                  by_arena[a].classes[class_idx].n_free);
        }
        ck_assert_uint_eq(totals.n_chunks_arena * GEO_CHUNK_BYTES,
                          granules * GEO_GRANULE_BYTES + totals.free_run_bytes);
        for (uint32_t a = 0; a < 4; a++)
                chunks += by_arena[a].n_chunks_arena;
        ck_assert_uint_eq(chunks, totals.n_chunks_arena);
        ck_assert_uint_eq(totals.n_chunks_arena + totals.n_chunks_free + totals.n_chunks_huge, region_chunks_hwm(r));
        free(by_arena);
}
END_TEST

/* ------------------------------------------------------------------ walking */

struct seen {
        uint64_t n, bytes, last_off, live_n;
        uint64_t n_by_where[16];
        uint64_t stop_at;
};

static int
see(const struct check_block *block, void *arg)
{
        struct seen *seen = arg;
        bool is_ours = false;

        ck_assert(seen->n == 0 || block->block_off > seen->last_off);
        seen->last_off = block->block_off;
        seen->n++;
        seen->bytes += block->bytes;
        seen->n_by_where[block->where]++;
        for (uint32_t i = 0; i < rich.n_live; i++)
                is_ours |= rich.live_off[i] == block->block_off;
        ck_assert_msg(is_ours == (block->where == CHECK_LIVE), "block %#" PRIx64 " is %d", block->block_off,
                      block->where);
        return seen->n == seen->stop_at ? 77 : 0;
}

START_TEST(walk_shows_each_block_where_it_is)
{
        struct seen live = {0}, all = {0};
        struct check_totals totals;

        ck_assert_int_eq(check_walk(r, CHECK_LIVE, see, &live), 0);
        ck_assert_uint_eq(live.n, rich.n_live);
        ck_assert_int_eq(check_walk(r, CHECK_LIVE | CHECK_CACHED | CHECK_FREE | CHECK_STRETCH, see, &all), 0);
        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(live.bytes, check_live_bytes(&totals));
        ck_assert_uint_eq(all.n_by_where[CHECK_LIVE], rich.n_live);
        ck_assert_uint_eq(all.n_by_where[CHECK_CACHED], SUM(&totals, n_cached) + SUM(&totals, n_pending));
        ck_assert_uint_eq(all.n_by_where[CHECK_FREE], SUM(&totals, n_free));
        ck_assert_uint_ge(all.n_by_where[CHECK_STRETCH], 3);
}
END_TEST

START_TEST(walk_ends_when_it_is_told)
{
        struct seen seen = {.stop_at = 3};

        ck_assert_int_eq(check_walk(r, CHECK_FREE, see, &seen), 77);
        ck_assert_uint_eq(seen.n, 3);
}
END_TEST

static int
ask_whether_allocated(const struct check_block *block, void *arg)
{
        (void)arg;
        ck_assert_int_eq(check_block_is_allocated(r, block->block_off), block->where == CHECK_LIVE);
        return 0;
}

START_TEST(allocated_is_what_is_nowhere_else)
{
        ck_assert_int_eq(check_walk(r, CHECK_LIVE | CHECK_CACHED | CHECK_STRETCH, ask_whether_allocated, NULL), 0);
        ck_assert(check_block_is_allocated(r, rich.live));
        ck_assert(!check_block_is_allocated(r, rich.live + 1));
        ck_assert(!check_block_is_allocated(r, rich.pending));
        ck_assert(!check_block_is_allocated(r, rich.coloured << GEO_GRANULE_SHIFT));
        ck_assert(!check_block_is_allocated(r, UINT64_MAX));
        ck_assert(!check_block_is_allocated(r, region_chunks_hwm(r) << GEO_CHUNK_SHIFT));
}
END_TEST

/* ------------------------------------------------------------------ the public functions */

static int
see_public(const struct shheap_block *block, void *arg)
{
        uint64_t *bytes = arg;

        ck_assert_uint_eq(block->size, sizeof *block);
        ck_assert_uint_ge(block->ref, r->layout.chunks_off);
        ck_assert(block->arena == UINT32_MAX || block->node == region_arena_node(r, block->arena));
        ck_assert_uint_lt(block->node, r->n_nodes);
        *bytes += block->usable;
        return 0;
}

START_TEST(public_functions_say_the_same)
{
        struct shheap h = rich.fx.heap;
        uint64_t live_bytes = 0, free_bytes = 0, all_bytes = 0;
        struct check_totals totals;

        ck_assert_int_eq(rich_heap_ask(&rich, CHECK_QUIESCENT, &totals), 0);
        ck_assert_int_eq(shheap_check(&h, SHHEAP_CHECK_QUIESCENT, NULL), 0);
        ck_assert_int_eq(shheap_check(&h, 0, NULL), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_LIVE, see_public, &live_bytes), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_FREE, see_public, &free_bytes), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE, see_public, &all_bytes), 0);
        ck_assert_uint_eq(live_bytes, check_live_bytes(&totals));
        ck_assert_uint_eq(all_bytes, live_bytes + free_bytes);
        r->tags[rich.slab]++;
        ck_assert_int_eq(shheap_check(&h, SHHEAP_CHECK_QUIESCENT, NULL), 1);
}
END_TEST

START_TEST(public_functions_refuse_what_they_do_not_know)
{
        struct shheap h = rich.fx.heap;

        ck_assert_int_eq(shheap_check(&h, 2, NULL), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "SHHEAP_CHECK_QUIESCENT"));
        ck_assert_int_eq(shheap_walk(&h, 2, see_public, NULL), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "LIVE and FREE"));
}
END_TEST

/* ------------------------------------------------------------------ suite */

int
main(void)
{
        Suite *suite = suite_create("check");
        TCase *tcase = tcase_create("good");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 240);
        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, rich_heap_is_good);
        tcase_add_test(tcase, new_heap_is_good);
        tcase_add_test(tcase, totals_are_exact);
        tcase_add_test(tcase, totals_account_for_every_byte);
        tcase_add_test(tcase, walk_shows_each_block_where_it_is);
        tcase_add_test(tcase, walk_ends_when_it_is_told);
        tcase_add_test(tcase, allocated_is_what_is_nowhere_else);
        tcase_add_test(tcase, public_functions_say_the_same);
        tcase_add_test(tcase, public_functions_refuse_what_they_do_not_know);
        return suite_run(suite);
}
