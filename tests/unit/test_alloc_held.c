/*
 * What is at stake: a free into a slab that somebody holds, who may be stopped for ever, or dead.  The block must be
 * lost to nobody and given to nobody twice, and the free must not wait.
 */
#include <errno.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "pages/run.h"
#include "support/alloc_heap.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { SMALL_LAST = SIZE_CLASS_N_SMALL - 1 };

/* ------------------------------------------------------------------ frees into slabs that others hold */

static uint64_t *
hold_slab_of(struct thread *who, uint64_t block_off)
{
        uint64_t *word = run_word(r, (uint64_t)run_head_of(r, block_off >> GEO_GRANULE_SHIFT));

        *word = granule_with_owner(*word, who->no);
        return word;
}

/* An empty magazine in the current place of a small class. */
static void
place_empty(struct thread *who, uint32_t class_idx)
{
        uint32_t tag = tag_make(0, class_idx), idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, magazine_current(who, tag), idx);
}

/* Its holder may be stopped for ever: the block is as good as free, in a depot. */
START_TEST(block_of_a_held_slab_waits_in_a_depot)
{
        uint64_t off, *word;

        ck_assert(alloc(t, 0));
        ck_assert(alloc_flags(t, 0, 0, &off));
        word = hold_slab_of(u, off);
        ck_assert_int_eq(free_block(t, off, 0), -EBUSY);
        ck_assert_int_eq(free_block_patiently(t, off, 0), 0);
        live_drop(&live, off);
        ck_assert_uint_eq(t->slot->hand, 0);
        *word = granule_with_owner(*word, 0);
        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[0], 1);
        ck_assert_uint_eq(drain_depots(t, 0, UINT32_MAX), 1);
        heap_verify(r, &live);
}
END_TEST

START_TEST(block_of_a_held_slab_leaves_its_destination)
{
        uint64_t cell, off, *word, *dest;

        ck_assert(alloc_flags(t, 1, 0, &cell));
        ck_assert(alloc_flags(t, 0, 0, &off));
        dest = region_block(r, cell);
        for (int i = 0; i < 2; i++) { /* in a magazine of its own; in the thread's, where there is room */
                word = hold_slab_of(u, off);
                *dest = r->layout.chunks_off + off;
                ck_assert_int_eq(free_block_patiently(t, off, r->layout.chunks_off + cell), 0);
                ck_assert_uint_eq(*dest, 0);
                ck_assert_uint_eq(t->slot->intent.kind, INTENT_NONE);
                live_drop(&live, off);
                *word = granule_with_owner(*word, 0);
                ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[0], i + 1);
                ck_assert(alloc_flags(t, 0, 0, &off));
                if (i == 0)
                        place_empty(t, 0);
        }
        ck_assert_uint_eq(heap_verify(r, &live).n_depot, 1);
}
END_TEST

/* Without a magazine it has nowhere to wait: it is as it was. */
START_TEST(block_of_a_held_slab_that_cannot_wait_is_still_there)
{
        uint64_t cell, off, *word, *dest;
        uint32_t idx;

        ck_assert(alloc_flags(t, 1, 0, &cell));
        ck_assert(alloc_flags(t, 0, 0, &off));
        word = hold_slab_of(u, off);
        dest = region_block(r, cell);
        *dest = r->layout.chunks_off + off;
        while (magazine_take_empty(u, 1, &idx) == 0)
                u->slot->hand = 0;
        ck_assert_int_eq(free_block_patiently(t, off, r->layout.chunks_off + cell), -EBUSY);
        ck_assert_uint_eq(*dest, r->layout.chunks_off + off);
        ck_assert_int_eq(free_block_patiently(t, off, 0), -EBUSY);
        ck_assert_uint_eq(t->fault.what, FAULT_NONE);
        *word = granule_with_owner(*word, 0);
        ck_assert_int_eq(free_block_patiently(t, off, r->layout.chunks_off + cell), 0);
        ck_assert_uint_eq(*dest, 0);
        live_drop(&live, off);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i++)
                r->magazine_words[i] = 0; /* what u took without a place for it */
        heap_verify(r, &live);
}
END_TEST

static uint64_t wanted; /* a block whose slab the mortal thread takes with it */

static void *
hold_and_die(void *arg)
{
        struct thread *mortal = arg;
        uint64_t head;

        if (slot_attach(mortal, r, &fx.client, NULL, NULL) < 0 ||
            !slab_find_owned(mortal, WHERE_SLAB(0, CHUNK_ANY, 0), &head))
                return NULL;
        return mortal;
}

START_TEST(holder_that_is_dead_is_reaped)
{
        static struct thread mortal;
        pthread_t pthread;
        void *died;

        memset(&mortal, 0, sizeof mortal);
        ck_assert(alloc(t, 0));
        ck_assert(alloc_flags(t, 0, 0, &wanted));
        ck_assert_int_eq(pthread_create(&pthread, NULL, hold_and_die, &mortal), 0);
        ck_assert_int_eq(pthread_join(pthread, &died), 0);
        ck_assert_ptr_nonnull(died);
        ck_assert_int_eq(free_block(t, wanted, 0), -EBUSY);
        ck_assert_int_eq(free_block_patiently(t, wanted, 0), 0);
        live_drop(&live, wanted);
        ck_assert_uint_eq(heap_verify(r, &live).n_depot, 0);
        ck_assert_uint_eq(r->bindings[mortal.no - 1], 0);
}
END_TEST

static uint64_t *built; /* by the mortal thread: an object under construction, which nothing but its slot names */

static void *
build_hold_and_die(void *arg)
{
        struct thread *mortal = arg;
        uint64_t head;

        if (slot_attach(mortal, r, &fx.client, NULL, NULL) < 0 ||
            !slab_find_owned(mortal, WHERE_SLAB(0, CHUNK_ANY, SMALL_LAST), &head))
                return NULL;
        mortal->gate->pending[0] = r->layout.chunks_off + *built;
        return mortal;
}

/* Whoever needs a magazine filled reaps the dead, who left an object whose slab is held: it goes into that magazine. */
START_TEST(block_that_a_reap_puts_aside_is_what_was_found)
{
        struct call rq = request_of_class(SMALL_LAST, 0);
        static struct thread mortal;
        uint64_t off, other, *word;
        uint32_t idx, got;
        pthread_t pthread;
        void *died;

        memset(&mortal, 0, sizeof mortal);
        ck_assert(alloc_flags(t, SMALL_LAST, 0, &off));
        exhaust(t, SMALL_LAST);
        other = live.off[live.n - 1];
        ck_assert_int_ne(run_head_of(r, other >> GEO_GRANULE_SHIFT), run_head_of(r, off >> GEO_GRANULE_SHIFT));
        free_it(t, other); /* one block, which the dead has when it is needed */
        built = &off;
        ck_assert_int_eq(pthread_create(&pthread, NULL, build_hold_and_die, &mortal), 0);
        ck_assert_int_eq(pthread_join(pthread, &died), 0);
        ck_assert_ptr_nonnull(died);
        live_drop(&live, off);
        word = hold_slab_of(u, off);
        place_empty(t, SMALL_LAST);
        idx = magazine_in(t, magazine_current(t, tag_make(0, SMALL_LAST)));
        ck_assert_int_eq(ask_magazine(t, &rq, idx, &got, &other), 0);
        ck_assert_uint_eq(got, idx);
        ck_assert_uint_eq(r->magazines[idx].n, 1);
        ck_assert_uint_eq(region_entry_off(r, r->magazines[idx].slot[0]), off);
        *word = granule_with_owner(*word, 0);
        heap_verify(r, &live);
}
END_TEST

/* Somebody died of this free, and a reaper has finished it: the destination says so. */
START_TEST(free_that_a_reaper_finished_is_no_double_free)
{
        uint64_t cell, off, *dest;

        ck_assert(alloc_flags(t, 1, 0, &cell));
        ck_assert(alloc(t, 0));
        ck_assert(alloc_flags(t, 0, 0, &off));
        dest = region_block(r, cell);
        *dest = 0;
        free_it(u, off);
        ck_assert_int_eq(free_block_patiently(t, off, r->layout.chunks_off + cell), 0);
        ck_assert_uint_eq(t->fault.what, FAULT_NONE);
        *dest = r->layout.chunks_off + off; /* whereas this is one */
        ck_assert_int_eq(free_block_patiently(t, off, r->layout.chunks_off + cell), -EINVAL);
        ck_assert_uint_eq(t->fault.what, FAULT_DOUBLE_FREE);
        heap_verify(r, &live);
}
END_TEST

START_TEST(free_or_cached_tells_both)
{
        uint64_t cached, off, huge;
        struct stat st;
        uint32_t idx;

        if (_i == 1) { /* by the file */
                heap_drop(&fx);
                make(1, 1, true);
                ck_assert_int_eq(fstat(r->fd, &st), 0);
                r->dev = st.st_dev;
                r->ino = st.st_ino;
        }
        idx = fill_magazine(t, 0, magazine_current(t, tag_make(0, 0)));
        cached = region_entry_off(r, r->magazines[idx].slot[0]);
        ck_assert(alloc_flags(t, 0, 0, &off));
        ck_assert(block_is_free_or_cached(r, cached));
        ck_assert(!block_is_free_or_cached(r, off));
        ck_assert(block_is_free_or_cached(r, off + 16)); /* the next one of the slab */
        r->magazines[idx].n--;
        live_add(&live, region_entry_off(r, r->magazines[idx].slot[r->magazines[idx].n]));
        ck_assert(!block_is_free_or_cached(r, live.off[live.n - 1]));
        ck_assert(alloc_flags(t, SIZE_CLASS_N - 1, 0, &huge));
        ck_assert(!block_is_free_or_cached(r, huge));
        heap_verify(r, &live);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("alloc_held");
        TCase *tcase = suite_case(suite, "one arena", setup, teardown);

        tcase_add_test(tcase, block_of_a_held_slab_waits_in_a_depot);
        tcase_add_test(tcase, block_of_a_held_slab_leaves_its_destination);
        tcase_add_test(tcase, block_of_a_held_slab_that_cannot_wait_is_still_there);
        tcase_add_test(tcase, holder_that_is_dead_is_reaped);
        tcase_add_test(tcase, block_that_a_reap_puts_aside_is_what_was_found);
        tcase_add_test(tcase, free_that_a_reaper_finished_is_no_double_free);
#if SHM_TINY_GEOMETRY /* its granules share pages */
        tcase_add_loop_test(tcase, free_or_cached_tells_both, 0, 1);
#else
        tcase_add_loop_test(tcase, free_or_cached_tells_both, 0, 2);
#endif

        return suite_run(suite);
}
