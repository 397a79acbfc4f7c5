/*
 * What is at stake: the pages of an empty slot go while somebody attaches to it, what it has counted must be there
 * afterwards, once, and on a file system that is full nobody gets a slot without pages.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "audit/check.h"
#include "clients/liveness.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "os/inject.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/advice.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

enum { PAGE = 4096, N = 5 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t; /* in slot 0 */
static uint32_t idx;     /* of the first one that is empty */

static bool
has_pages(uint32_t of)
{
        off_t off = (off_t)((char *)slot_at(r, of) - r->base);

        for (uint64_t at = 0; at < r->layout.stride[TABLE_THREADS]; at += PAGE)
                if (lseek(r->fd, off + (off_t)at, SEEK_DATA) != off + (off_t)at)
                        return false;
        return true;
}

/* N slots that have been used one after the other, and are empty; each thread has counted. */
static void
setup(void)
{
        struct thread used[N] = {0};
        struct stat st;

        heap_make(&fx, (struct heap_params){.max_threads = 16 + N + 2, .has_file = true});
        ck_assert_int_eq(fstat(r->fd, &st), 0);
        r->dev = st.st_dev;
        r->ino = st.st_ino;
        t = heap_attach(&fx, 0);
        idx = t->no;
        for (uint32_t i = 0; i < N; i++) {
                ck_assert_int_eq(slot_attach(&used[i], r, &fx.client, NULL, NULL), 0);
                used[i].slot->n_dropped += 1 + i;
                used[i].slot->counters[3].n_filled += 10;
        }
        for (uint32_t i = 0; i < N; i++)
                slot_release(&used[i]);
        on_advice = NULL;
}

static void
teardown(void)
{
        on_advice = NULL;
        heap_drop(&fx);
}

static void
assert_totals(uint64_t n_dropped)
{
        struct thread_counters counted;

        slot_totals(r, 0, THREAD_COUNTERS_N, (uint64_t *)(void *)&counted);
        ck_assert_uint_eq(counted.n_dropped, n_dropped);
        ck_assert_uint_eq(counted.counters[3].n_filled, 10 * N);
        ck_assert_uint_eq(SLOT_TOTAL(r, n_dropped), n_dropped);
}

/* ------------------------------------------------------------------ there and back */

START_TEST(empty_slots_lose_their_pages_and_nothing_else)
{
        uint64_t stride = r->layout.stride[TABLE_THREADS];

        assert_totals(15);
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 0), N * stride);
        for (uint32_t i = 0; i < N; i++)
                ck_assert(!has_pages(idx + i) && r->gates[idx + i].is_bare == 1);
        ck_assert(has_pages(t->no - 1) && t->gate->is_bare == 0);
        assert_totals(15);
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        ck_assert_uint_eq(folding_owner(r->header->folding), THREAD_NONE);
        ck_assert_uint_eq(folding_n(r->header->folding), N);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(no_more_than_is_asked_for_goes)
{
        ck_assert_uint_eq(slot_purge_all(t, r->fd, 1, 0), r->layout.stride[TABLE_THREADS]);
        ck_assert(!has_pages(idx) && has_pages(idx + 1));
}
END_TEST

/* Who comes when the file system is full has no other. */
START_TEST(first_ones_are_kept)
{
        uint64_t stride = r->layout.stride[TABLE_THREADS];

        for (int i = 0; i < 2; i++) {
                ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 2), i == 0 ? (N - 2) * stride : 0);
                ck_assert(has_pages(idx) && has_pages(idx + 1) && !has_pages(idx + 2));
        }
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 1), stride);
        ck_assert(has_pages(idx) && !has_pages(idx + 1));
        assert_totals(15);
}
END_TEST

START_TEST(attacher_gets_the_pages_again)
{
        struct thread again[N + 1] = {0};

        slot_purge_all(t, r->fd, UINT64_MAX, 0);
        for (uint32_t i = 0; i < N; i++) {
                ck_assert_int_eq(slot_attach(&again[i], r, &fx.client, NULL, NULL), 0);
                ck_assert_uint_eq(again[i].no, idx + i + 1);
                ck_assert(has_pages(idx + i) && again[i].gate->is_bare == 0);
                again[i].slot->n_dropped += 100;
        }
        assert_totals(15 + 100 * N);
        for (uint32_t i = 0; i < N; i++)
                slot_release(&again[i]);
        ck_assert_uint_gt(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        assert_totals(15 + 100 * N);
}
END_TEST

START_TEST(one_that_has_its_pages_is_taken_first)
{
        struct thread u = {0};

        for (uint32_t i = 0; i < N - 1; i++)
                ck_assert_int_eq(slot_purge(t, idx + i), 0);
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        ck_assert_uint_eq(u.no, idx + N);
        ck_assert(!has_pages(idx));
        slot_release(&u);
}
END_TEST

START_TEST(thread_that_has_detached_gets_its_own_again)
{
        struct thread u = {0};
        uint32_t no;

        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        no = u.no;
        slot_detach(&u);
        ck_assert_int_eq(slot_purge(t, no - 1), 0); /* whose thread holds `life` still */
        ck_assert(!has_pages(no - 1));
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        ck_assert_uint_eq(u.no, no);
        ck_assert(has_pages(no - 1));
        slot_detach(&u);
        ck_assert_int_eq(slot_purge(t, no - 1), 0);
        slot_release(&u);
        ck_assert_uint_eq(r->gates[no - 1].life.word, 0);
}
END_TEST

START_TEST(slot_in_use_or_in_reserve_keeps_its_pages)
{
        struct reserve reserve;

        slot_reserve_init(&reserve);
        ck_assert_int_eq(slot_reserve(&reserve, r, &fx.client, NULL, NULL), 0);
        ck_assert_int_eq(slot_purge(t, reserve.idx), -EBUSY);
        ck_assert_int_eq(slot_purge(t, t->no - 1), -EBUSY);
        ck_assert_int_eq(slot_purge(t, UINT32_MAX), -EBUSY);
        ck_assert(has_pages(reserve.idx) && has_pages(t->no - 1));
        slot_unreserve(&reserve, r, &fx.client);
}
END_TEST

START_TEST(purge_gives_them_back_but_for_some)
{
        struct thread used[16 + N] = {0};

        for (uint32_t i = 0; i < 16 + N; i++)
                ck_assert_int_eq(slot_attach(&used[i], r, &fx.client, NULL, NULL), 0);
        for (uint32_t i = 0; i < 16 + N; i++)
                slot_release(&used[i]);
        ck_assert_uint_gt(decay_purge(t, UINT32_MAX), 0);
        for (uint32_t i = 0; i < 16 + N; i++)
                ck_assert(has_pages(idx + i) == (i < 16));
        assert_totals(15);
}
END_TEST

/* The number of folds begins anew some day, and what was folded before still counts. */
START_TEST(totals_outlive_the_number_of_folds)
{
        for (uint32_t i = 0; i < 3; i++)
                ck_assert_int_eq(slot_purge(t, idx + i), 0);
        ck_assert_uint_eq(FOLDS_MAX % 2, folding_n(r->header->folding) % 2); /* of the same totals */
        r->header->folding = folding_word(THREAD_NONE, THREAD_NONE, false, FOLDS_MAX);
        assert_totals(15);
        for (uint32_t i = 3; i < N; i++) {
                ck_assert_int_eq(slot_purge(t, idx + i), 0);
                ck_assert_uint_eq(folding_n(r->header->folding), i - 1);
                assert_totals(15);
        }
}
END_TEST

/* ------------------------------------------------------------------ who only looks */

/* Who was stopped behind the look at the gate goes on now. */
START_TEST(look_makes_no_page)
{
        struct check_totals totals;
        uint64_t blocks = 0, bytes = 0;

        slot_purge_all(t, r->fd, UINT64_MAX, 0);
        for (uint32_t i = 0; i < N; i++)
                store_relaxed(&r->gates[idx + i].is_bare, 0u);
        assert_totals(15);
        ck_assert_int_eq(check_region(r, CHECK_QUIESCENT, stderr, &totals), 0);
        check_add_cached(r, idx + 1, &blocks, &bytes);
        ck_assert_uint_eq(blocks | bytes, 0);
        for (uint32_t i = 0; i < N; i++)
                ck_assert(!has_pages(idx + i));
}
END_TEST

/* ------------------------------------------------------------------ deaths, stops, refusals */

/* Between the fold and the punch nothing is lost, or counted again with the page that is still there. */
static uint32_t n_refused;

static int
refuse_removal(int advice)
{
        n_refused += advice == MADV_REMOVE;
        return advice == MADV_REMOVE ? EPERM : 0;
}

/* As on a file system that cannot do it. */
START_TEST(what_was_refused_is_not_asked_for_each_slot)
{
        n_refused = 0;
        on_advice = refuse_removal;
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        on_advice = NULL;
        ck_assert_uint_eq(n_refused, 1);
        assert_totals(15);
}
END_TEST

/* A filter may answer a system call with a signal, which ends the process where it is blocked. */
static uint32_t n_quiet;

static int
listen_for_quiet(int advice)
{
        (void)advice;
        n_quiet += robust_is_quiet();
        return 0;
}

START_TEST(attacher_asks_for_pages_with_signals_unblocked)
{
        struct thread u = {0};
        struct robust_quiet quiet;

        ck_assert_int_eq(process_remember(), 0);
        ck_assert_int_eq(robust_check(), 0);
        robust_quiet_begin(&quiet); /* there are such stretches */
        ck_assert(robust_is_quiet());
        robust_quiet_end(&quiet);
        slot_purge_all(t, r->fd, UINT64_MAX, 0);
        n_quiet = 0;
        on_advice = listen_for_quiet;
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        on_advice = NULL;
        ck_assert(has_pages(idx));
        ck_assert_uint_eq(n_quiet, 0);
        ck_assert(!robust_is_quiet());
        slot_release(&u);
}
END_TEST

START_TEST(what_a_page_says_that_did_not_go_counts_no_more)
{
        struct thread u = {0};

        on_advice = refuse_removal;
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        on_advice = NULL;
        ck_assert(has_pages(idx) && r->gates[idx].is_bare == 1);
        assert_totals(15);
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        assert_totals(15);
        slot_release(&u);
        ck_assert_uint_gt(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0); /* it is found by its page */
        ck_assert(!has_pages(idx));
        assert_totals(15);
}
END_TEST

/* Another one comes while the pages of slot idx go. */
static struct thread comer;

static int
attach_while_purged(int advice)
{
        if (advice != MADV_REMOVE)
                return 0;
        on_advice = NULL;
        ck_assert_int_eq(slot_attach(&comer, r, &fx.client, NULL, NULL), 0);
        return 0;
}

START_TEST(stopped_purger_keeps_nobody_waiting)
{
        memset(&comer, 0, sizeof comer);
        on_advice = attach_while_purged;
        ck_assert_int_eq(slot_purge(t, idx), 0);
        ck_assert(on_advice == NULL);
        ck_assert_uint_eq(comer.no, idx + 2);
        ck_assert(has_pages(comer.no - 1));
        ck_assert(!has_pages(idx));
        slot_release(&comer);
}
END_TEST

/* A purger died when it had named the slot, or committed; its locks are marked, and it has not been reaped. */
START_TEST(slot_that_is_folded_is_passed_by_until_its_purger_is_settled)
{
        bool is_committed = _i == 1;
        struct thread *dead = heap_attach(&fx, 0), u = {0};
        uint32_t of = dead->no == idx + 1 ? idx + 1 : idx;
        uint64_t counted = r->gates[of].is_bare ? 0 : slot_at(r, of)->n_dropped;

        ck_assert_uint_gt(counted, 0);
        ck_assert_int_eq(region_reserve_table(r, TABLE_TOTALS, 0, 2), 0);
        r->totals[1].n_dropped = counted; /* PURGE_SLOT.3 */
        r->totals[1].counters[3].n_filled = 10;
        r->header->folding = folding_word(dead->no, of + 1, is_committed, is_committed);
        assert_totals(15);
        ck_assert_int_eq(slot_purge(t, of), -EBUSY);
        ck_assert_int_eq(slot_purge(t, of + 1), -EBUSY);
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        ck_assert_uint_ne(u.no, of + 1);
        slot_release(&u);
        heap_bury(&fx, dead);
        ck_assert_uint_eq(folding_owner(r->header->folding), THREAD_NONE);
        ck_assert_uint_eq(r->gates[of].is_bare, is_committed);
        assert_totals(15);
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        assert_totals(15);
        slot_release(&u);
        ck_assert_uint_gt(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        assert_totals(15);
}
END_TEST

START_TEST(reaper_settles_no_fold_but_the_deads)
{
        uint64_t folding = folding_word(t->no, idx + 1, true, 1);

        r->header->folding = folding;
        slot_pages_settle(r, t->no + 1);
        ck_assert_uint_eq(r->header->folding, folding);
        ck_assert_uint_eq(r->gates[idx].is_bare, 0);
        slot_pages_settle(r, t->no);
        ck_assert_uint_eq(r->header->folding, folding_word(THREAD_NONE, THREAD_NONE, false, 1));
        ck_assert_uint_eq(r->gates[idx].is_bare, 1);
}
END_TEST

#if SHM_DEBUG
static int
refuse_pages(int advice)
{
        return advice == MADV_POPULATE_WRITE ? EFAULT : 0;
}

/* The other way to have pages. */
static int
refuse_allocation(const char *call)
{
        return strcmp(call, "allocate") == 0 ? ENOSPC : 0;
}

START_TEST(without_pages_nobody_attaches_to_a_bare_slot)
{
        struct thread u = {0};

        slot_purge_all(t, r->fd, UINT64_MAX, 0);
        on_advice = refuse_pages;
        os_inject = refuse_allocation;
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), -ENOMEM);
        os_inject = NULL;
        on_advice = NULL;
        for (uint32_t i = 0; i < N; i++) {
                ck_assert(!has_pages(idx + i) && r->gates[idx + i].is_bare == 1);
                ck_assert_uint_eq(r->gates[idx + i].life.word | r->gates[idx + i].reap.word, 0);
                ck_assert_uint_eq(r->bindings[idx + i], 0);
        }
        ck_assert_int_eq(slot_attach(&u, r, &fx.client, NULL, NULL), 0);
        slot_release(&u);
}
END_TEST

START_TEST(without_room_for_the_totals_nothing_goes)
{
        on_advice = refuse_pages;
        os_inject = refuse_allocation;
        ck_assert_int_eq(slot_purge(t, idx), -ENOMEM);
        ck_assert_uint_eq(slot_purge_all(t, r->fd, UINT64_MAX, 0), 0);
        os_inject = NULL;
        on_advice = NULL;
        ck_assert(has_pages(idx) && r->gates[idx].is_bare == 0);
        ck_assert_uint_eq(r->header->folding | r->gates[idx].reap.word, 0);
        assert_totals(15);
        ck_assert_int_eq(slot_purge(t, idx), 0);
}
END_TEST
#endif

int
main(void)
{
        Suite *suite = suite_create("unit/slot_pages");
        TCase *tc = tcase_create("pages");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, empty_slots_lose_their_pages_and_nothing_else);
        tcase_add_test(tc, no_more_than_is_asked_for_goes);
        tcase_add_test(tc, first_ones_are_kept);
        tcase_add_test(tc, attacher_gets_the_pages_again);
        tcase_add_test(tc, one_that_has_its_pages_is_taken_first);
        tcase_add_test(tc, thread_that_has_detached_gets_its_own_again);
        tcase_add_test(tc, slot_in_use_or_in_reserve_keeps_its_pages);
        tcase_add_test(tc, purge_gives_them_back_but_for_some);
        tcase_add_test(tc, totals_outlive_the_number_of_folds);
        tcase_add_test(tc, look_makes_no_page);
        suite_add_tcase(suite, tc);
        tc = tcase_create("deaths");
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, what_a_page_says_that_did_not_go_counts_no_more);
        tcase_add_test(tc, what_was_refused_is_not_asked_for_each_slot);
        tcase_add_test(tc, attacher_asks_for_pages_with_signals_unblocked);
        tcase_add_test(tc, stopped_purger_keeps_nobody_waiting);
        tcase_add_loop_test(tc, slot_that_is_folded_is_passed_by_until_its_purger_is_settled, 0, 2);
        tcase_add_test(tc, reaper_settles_no_fold_but_the_deads);
#if SHM_DEBUG
        tcase_add_test(tc, without_pages_nobody_attaches_to_a_bare_slot);
        tcase_add_test(tc, without_room_for_the_totals_nothing_goes);
#endif
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
