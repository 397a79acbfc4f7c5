/*
 * What is at stake: huge blocks that a thread keeps for its next malloc.  They serve sizes of their number of chunks,
 * with pages for all of them; they are within the thread's share, go back when they are not used or memory is short,
 * and a second free of one is told.
 */
#include <string.h>

#include "audit/check.h"
#include "base/bits.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/magazine.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "heap/reserve.h"
#include "os/inject.h"
#include "pages/decay_stamp.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/tcache_heap.h"
#include "tcache/tcache.h"

/* A heap so large that the share of its one thread has room for the largest huge class, and no more. */
static void
make_roomy(bool has_file)
{
        uint32_t n_chunks = GEO_CHUNK_SHIFT < 16 ? 32 : 256;

        heap_make(&fx, (struct heap_params){.n_chunks = n_chunks, .max_threads = 4, .has_file = has_file});
        t = attach();
        r->header->decay_ms = -1;
}

static void
setup_roomy(void)
{
        make_roomy(false);
}

static void
setup_roomy_file(void)
{
        make_roomy(true);
}

static uint64_t
n_huge_cached(uint64_t n_chunks)
{
        return heap_verify(r, &live).cached_blocks[size_class_of_chunks(n_chunks)];
}

static uint64_t
n_free_chunks(void)
{
        return heap_verify(r, &live).n_free_chunks;
}

/* Huge blocks of up to 32 MiB are kept for the next of the same size, which is a hit; longer ones are not. */
START_TEST(huge_blocks_are_kept_up_to_the_largest_class)
{
        for (uint64_t n = 1; n <= SIZE_CLASS_N_HUGE + 1; n++) {
                uint64_t bytes = n * GEO_CHUNK_BYTES - 3 * GEO_PAGE_BYTES, off;
                bool hit, is_kept = n <= SIZE_CLASS_N_HUGE;

                tcache_flush(t);
                off = off_of(alloc(bytes));
                give(off);
                ck_assert_uint_eq(n_huge_cached(is_kept ? n : 1), is_kept);
                ck_assert_uint_eq(off_of(take(bytes - 1, &hit)), off);
                ck_assert_int_eq(hit, is_kept);
                ck_assert_int_eq(give(off), is_kept);
                ck_assert_uint_eq(off_of(take(bytes, &hit)), off);
                give(off);
        }
        tcache_flush(t);
        ck_assert_uint_eq(heap_verify(r, NULL).n_huge, 0);
}
END_TEST

/* What is told of them is their own size, not that of their class. */
START_TEST(kept_huge_blocks_are_counted_as_cached)
{
        uint64_t bytes = 2 * GEO_CHUNK_BYTES - 5 * GEO_PAGE_BYTES, n = 0, by_slot = 0;
        struct check_totals totals;

        give(off_of(alloc(bytes)));
        ck_assert_int_eq(check_region(r, CHECK_QUIESCENT, NULL, &totals), 0);
        ck_assert_uint_eq(totals.n_huge, 1);
        ck_assert_uint_eq(totals.n_huge_cached, 1);
        ck_assert_uint_eq(check_cached_blocks(&totals), 1);
        ck_assert_uint_eq(check_cached_bytes(&totals), bytes);
        ck_assert_uint_eq(check_live_bytes(&totals), 0);
        check_add_cached(r, t->thread.no, &n, &by_slot);
        ck_assert_uint_eq(n, 1);
        ck_assert_uint_eq(by_slot, bytes);
        ck_assert_uint_eq(t->thread.slot->n_huge_drained, 0);
        tcache_flush(t);
        ck_assert_uint_eq(t->thread.slot->n_huge_drained, 1);
        ck_assert_uint_eq(t->thread.slot->n_huge_free, 0);
}
END_TEST

/* A block that is kept serves other sizes with as many chunks: it gets the pages that it lacks, and says what it is. */
START_TEST(kept_huge_block_becomes_what_is_asked_for)
{
        const uint64_t sizes[] = {3 * GEO_CHUNK_BYTES / 4, GEO_CHUNK_BYTES, GEO_LARGE_MAX + 1, 7 * GEO_CHUNK_BYTES / 8};
        uint64_t off = off_of(alloc(GEO_LARGE_MAX + GEO_PAGE_BYTES));
        uint32_t class_idx;

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                bool hit;

                give(off);
                ck_assert_uint_eq(off_of(take(sizes[i], &hit)), off);
                ck_assert(!hit);
                ck_assert_uint_eq(block_usable(r, off, &class_idx), bits_align_up(sizes[i], GEO_PAGE_BYTES));
                memset(region_block(r, off), 1, sizes[i]);
                heap_verify(r, &live);
        }
        ck_assert_uint_ne(off_of(alloc(GEO_CHUNK_BYTES + 1)), off); /* that has two chunks */
        ck_assert_uint_eq(heap_verify(r, &live).n_huge, 2);
}
END_TEST

/* What a thread keeps of huge and large blocks together is its share; in a heap of which that is less than a chunk it
 * keeps none. */
START_TEST(kept_huge_blocks_are_bounded_by_the_share)
{
        uint64_t off;

        for (int i = 0; i < 20; i++)
                alloc(GEO_CHUNK_BYTES);
        while (live.n > 0)
                give(live.off[0]);
        ck_assert_uint_le(n_huge_cached(1) * GEO_CHUNK_BYTES, t->run_bytes_share);
        ck_assert_uint_gt(n_huge_cached(1), GEO_CHUNK_SHIFT < 16 ? 0 : 1);
        t->run_bytes_share = GEO_CHUNK_BYTES - 1;
        tcache_flush(t);
        off = off_of(alloc(GEO_CHUNK_BYTES));
        give(off);
        ck_assert_uint_eq(n_huge_cached(1), 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_huge, 0);
}
END_TEST

/* Into a magazine that has grown, too: all of its entries are looked at. */
START_TEST(second_free_of_a_kept_huge_block_is_noticed_at_once)
{
        uint64_t off[3], twice;
        const struct magazine *m;
        const void *p;

        for (int i = 0; i < 3; i++)
                off[i] = off_of(alloc(GEO_CHUNK_BYTES));
        for (int i = 0; i < 3; i++)
                give(off[i]);
        twice = off[_i];
        p = region_block(r, twice);
        m = &r->magazines[magazine_in(&t->thread,
                                      magazine_current(&t->thread, tag_make(t->thread.node, SIZE_CLASS_N)))];
        ck_assert_uint_lt(m->n, m->cap);
        ck_assert(!tcache_push_huge(t, p));
        ck_assert(!tcache_push_huge(t, (const char *)p + 64));
        tcache_free_slow(t, twice);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(t->thread.fault.block_off, twice);
        t->thread.fault.what = FAULT_NONE;
        tcache_free_slow(t, twice + 64);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_INVALID_FREE);
        t->thread.fault.what = FAULT_NONE;
        ck_assert_uint_ge(n_huge_cached(1), 1);
        tcache_flush(t);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        ck_assert_uint_eq(heap_verify(r, NULL).n_huge, 0);
}
END_TEST

/* Others freed it as well, and it became something else meanwhile, or nothing: it is not handed out, and dropped. */
START_TEST(kept_huge_block_that_others_freed_is_not_handed_out)
{
        struct thread *other = heap_attach(&fx, t->thread.arena);
        uint64_t off = off_of(alloc(GEO_CHUNK_BYTES)), again;
        bool hit;

        give(off);
        ck_assert_int_eq(huge_free(other, off, 0), 0);
        if (_i == 1) {
                ck_assert_int_eq(huge_alloc(other, 2 * GEO_CHUNK_BYTES, 1, 0, 0, &again), 0);
                ck_assert_uint_eq(again, off);
                live_add(&live, again);
        }
        take(GEO_CHUNK_BYTES, &hit);
        ck_assert(!hit);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(t->thread.fault.block_off, off);
        t->thread.fault.what = FAULT_NONE;
        if (_i == 1)
                ck_assert_uint_ne(live.off[1], off);
        ck_assert_uint_eq(n_huge_cached(1), 0);
}
END_TEST

static struct thread *meddler; /* frees the next time that pages are reserved */
static uint64_t meddled_off;

static int
meddle(const char *call)
{
        struct thread *other = meddler;

        if (other && (strcmp(call, "allocate") == 0 || strcmp(call, "populate") == 0)) {
                meddler = NULL;
                ck_assert_int_eq(huge_free(other, meddled_off, 0), 0);
        }
        return 0;
}

/* While it gets the pages that it lacks: who resizes it frees it then. */
START_TEST(kept_huge_block_that_others_free_while_it_is_resized_is_not_handed_out)
{
        bool hit;

        meddled_off = off_of(alloc(GEO_LARGE_MAX + GEO_PAGE_BYTES));
        give(meddled_off);
        meddler = heap_attach(&fx, t->thread.arena);
        os_inject = meddle;
        take(GEO_CHUNK_BYTES, &hit);
        os_inject = NULL;
        ck_assert_ptr_null(meddler);
        heap_verify(r, &live);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(t->thread.fault.block_off, meddled_off);
        t->thread.fault.what = FAULT_NONE;
        ck_assert_uint_eq(n_huge_cached(1), 0);
        ck_assert_uint_eq(live.n, 1);
}
END_TEST

/* Before there is no memory the thread's own go back, and so do those that the dead left in depots. */
START_TEST(kept_huge_blocks_go_back_in_need)
{
        struct thread *other = heap_attach(&fx, t->thread.arena);
        uint64_t all = (r->layout.n_chunks - 1) << GEO_CHUNK_SHIFT, off;

        alloc(64); /* the arena has a chunk */
        off = off_of(alloc(GEO_CHUNK_BYTES));
        give(off);
        ck_assert_uint_eq(n_huge_cached(1), 1);
        if (_i == 0) {
                give(off_of(alloc(all)));
                ck_assert_uint_eq(n_huge_cached(1), 0);
        } else {
                struct call rq = {.size = all, .align = 1, .arena = other->arena};

                reap_settle(r, t->thread.no, NULL);
                ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 0);
                ck_assert_uint_eq(n_huge_cached(1), 1);
                ck_assert(ask_classify(&rq));
                ck_assert_int_eq(ask_block(other, &rq, &off), 0);
                live_add(&live, off);
        }
        heap_verify(r, &live);
}
END_TEST

/* What the dead left in a depot where no hint leads to it is found by the last scan: for a huge block, and for a run,
 * which takes a chunk of it. */
START_TEST(huge_blocks_of_the_dead_that_no_hint_names_go_back_in_need)
{
        struct thread *other = heap_attach(&fx, t->thread.arena);
        uint64_t rest = (r->layout.n_chunks - 2) << GEO_CHUNK_SHIFT, off;
        struct call rq = {.size = _i == 0 ? GEO_CHUNK_BYTES : GEO_LARGE_MAX, .align = 1, .arena = other->arena};

        alloc(64); /* the arena has a chunk */
        if (_i == 1)
                alloc(GEO_LARGE_MAX); /* and no room in it for another */
        off = off_of(alloc(GEO_CHUNK_BYTES));
        alloc(rest);
        give(off);
        reap_settle(r, t->thread.no, NULL);
        ck_assert_uint_eq(n_huge_cached(1), 1);
        region_arena(r, other->arena)->depot_n[SIZE_CLASS_N] = 0;
        ck_assert(ask_classify(&rq));
        ck_assert_int_eq(ask_block(other, &rq, &off), 0);
        live_add(&live, off);
        ck_assert_uint_eq(n_huge_cached(1), 0);
}
END_TEST

/* Nobody takes what the dead left in a depot, so it goes back when it has been there for a tick. */
START_TEST(huge_blocks_of_the_dead_go_back_by_decay)
{
        struct thread *other = heap_attach(&fx, t->thread.arena);
        struct arena *a = region_arena(r, other->arena);

        alloc(64);
        give(off_of(alloc(2 * GEO_CHUNK_BYTES)));
        reap_settle(r, t->thread.no, NULL);
        ck_assert_uint_eq(n_huge_cached(2), 1);
        r->header->decay_ms = 1000;
        for (int i = 0; i < 2; i++) { /* a first look */
                a->decay_next_ms = 0;
                decay_tick(other);
        }
        ck_assert_uint_eq(n_huge_cached(2), 0);
        ck_assert_uint_eq(heap_verify(r, &live).n_huge, 0);
}
END_TEST

/* A reservation takes the chunks of what the thread keeps, and of what the dead left. */
START_TEST(kept_huge_blocks_do_not_stand_in_the_way_of_a_reservation)
{
        uint64_t rest = (r->layout.n_chunks - 2) << GEO_CHUNK_SHIFT, off;
        struct thread *by = &t->thread;

        alloc(64);
        off = off_of(alloc(GEO_CHUNK_BYTES));
        alloc(rest);
        give(off);
        if (_i == 1) {
                by = heap_attach(&fx, t->thread.arena);
                reap_settle(r, t->thread.no, NULL);
        }
        ck_assert_uint_eq(n_huge_cached(1), 1);
        ck_assert_int_eq(reserve_bytes(by, GEO_CHUNK_BYTES + 1), 0);
        ck_assert_uint_eq(n_huge_cached(1), 0);
}
END_TEST

/* As all the ticks of a round do. */
static void
trim_round(void)
{
        t->trim_stamp = t->thread.stamp - DECAY_AGE;
        do
                tcache_trim(t);
        while (t->trim_tag != 0);
}

START_TEST(kept_huge_blocks_that_are_not_used_go_back)
{
        uint64_t n_before;

        r->header->decay_ms = 1000;
        alloc(64);
        n_before = n_free_chunks();
        give(off_of(alloc(2 * GEO_CHUNK_BYTES)));
        ck_assert_uint_eq(n_huge_cached(2), 1);
        trim_round(); /* a first look */
        trim_round();
        ck_assert_uint_eq(n_huge_cached(2), 0);
        ck_assert_uint_eq(n_free_chunks(), n_before + 2);
        ck_assert_uint_eq(t->run_bytes_max, 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("tcache_huge");
        TCase *tcase = suite_case(suite, "huge", setup_roomy, teardown);

        tcase_add_test(tcase, huge_blocks_are_kept_up_to_the_largest_class);
        tcase_add_test(tcase, kept_huge_blocks_are_counted_as_cached);
        tcase_add_test(tcase, kept_huge_block_becomes_what_is_asked_for);
        tcase_add_test(tcase, kept_huge_blocks_are_bounded_by_the_share);
        tcase_add_loop_test(tcase, second_free_of_a_kept_huge_block_is_noticed_at_once, 0, 3);
        tcase_add_loop_test(tcase, kept_huge_block_that_others_freed_is_not_handed_out, 0, 2);
        tcase_add_loop_test(tcase, kept_huge_blocks_go_back_in_need, 0, 2);
        tcase_add_loop_test(tcase, huge_blocks_of_the_dead_that_no_hint_names_go_back_in_need, 0, 2);
        tcase_add_test(tcase, huge_blocks_of_the_dead_go_back_by_decay);
        tcase_add_loop_test(tcase, kept_huge_blocks_do_not_stand_in_the_way_of_a_reservation, 0, 2);
        tcase_add_test(tcase, kept_huge_blocks_that_are_not_used_go_back);
        tcase = suite_case(suite, "pages", setup_roomy_file, teardown);
        tcase_add_test(tcase, kept_huge_block_that_others_free_while_it_is_resized_is_not_handed_out);
        return suite_run(suite);
}
