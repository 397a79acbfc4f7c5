/*
 * What is at stake: pages of magazines are given back while others take magazines, and what they have taken must have
 * its pages, on a file system that is full, too.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "audit/check.h"
#include "blocks/magazine.h"
#include "blocks/pool_purge.h"
#include "blocks/slab.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "os/inject.h"
#include "pages/chunk.h"
#include "support/advice.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { PAGE = 4096, N = 64 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static uint32_t tag;

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

static void
setup(void)
{
        struct stat st;

        heap_make(&fx, (struct heap_params){.has_file = true});
        ck_assert_int_eq(fstat(r->fd, &st), 0);
        r->dev = st.st_dev;
        r->ino = st.st_ino;
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        tag = tag_make(0, 2);
        on_advice = NULL;
}

static void
teardown(void)
{
        on_advice = NULL;
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ helpers */

static bool
has_pages(uint64_t idx)
{
        uint64_t off = r->layout.off[TABLE_MAGAZINES] + idx * sizeof(struct magazine),
                 end = off + sizeof(struct magazine);

        for (off &= ~UINT64_C(4095); off < end; off += PAGE)
                if (lseek(r->fd, (off_t)off, SEEK_DATA) != (off_t)off)
                        return false;
        return true;
}

static uint32_t
take(struct thread *who)
{
        uint32_t idx;

        call_begin(who, 64, 16, 2);
        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        ck_assert(has_pages(idx) && !magazine_is_bare(r->magazine_words[idx]));
        ck_assert_uint_eq(r->magazines[idx].n, 0);
        return idx;
}

static void
put(struct thread *who, uint32_t idx)
{
        who->slot->hand = idx + 1;
        ck_assert(magazine_put(who, idx, 0, true));
}

/* So many, held by u in its places one after the other, are put into the pool but for those that `keeps` tells. */
static void
fill_pool(bool (*keeps)(uint32_t idx))
{
        for (uint32_t i = 0; i < N; i++)
                ck_assert_int_eq(region_raise_magazines(r, 0, i), 0);
        for (uint32_t i = 0; i < N; i++) {
                r->pool_hints[0] |= UINT64_C(1) << i;
                if (keeps && keeps(i)) {
                        r->magazine_words[i] = magazine_word(MAGAZINE_TCACHE, u->no, 0, tag);
                        r->magazines[i].cap = size_class_magazine_cap(2);
                }
        }
}

static void
use_all_with_pages(void)
{
        for (uint32_t i = 0; i < N; i++)
                if (r->magazine_words[i] == 0)
                        r->magazine_words[i] = magazine_word(MAGAZINE_TCACHE, u->no, 0, tag);
}

static uint64_t
n_pages(void)
{
        struct stat st;

        ck_assert_int_eq(fstat(r->fd, &st), 0);
        return (uint64_t)st.st_blocks / 8;
}

/* ------------------------------------------------------------------ what goes */

START_TEST(pages_of_the_pool_go_and_come_again)
{
        uint64_t before, gone;
        uint32_t idx[N];

        fill_pool(NULL);
        before = n_pages();
        gone = pool_purge(t, r->fd, UINT64_MAX);
        ck_assert_uint_eq(gone, (N - 2) * sizeof(struct magazine) / PAGE * PAGE);
        ck_assert_uint_eq(n_pages(), before - gone / PAGE);
        ck_assert_uint_eq(heap_verify(r, NULL).n_pooled, N);
        ck_assert_uint_eq(pool_purge(t, r->fd, UINT64_MAX), 0);
        for (int i = 0; i < N; i++) {
                idx[i] = take(t);
                t->slot->hand = 0;
                ck_assert_uint_lt(idx[i], N); /* none is new */
        }
        for (int i = 0; i < N; i++)
                put(t, idx[i]);
        ck_assert_uint_eq(heap_verify(r, NULL).n_pooled, N);
        ck_assert_uint_eq(pool_purge(t, r->fd, UINT64_MAX), gone);
}
END_TEST

static bool
keeps_some(uint32_t idx)
{
        return idx % 11 == 5;
}

START_TEST(what_shares_a_page_with_one_in_use_stays)
{
        fill_pool(keeps_some);
        for (uint32_t i = 0; i < N; i++)
                if (keeps_some(i))
                        memset(r->magazines[i].slot, 0x5a, sizeof r->magazines[i].slot);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        for (uint32_t i = 0; i < N; i++) {
                ck_assert(has_pages(i) || magazine_is_bare(r->magazine_words[i]));
                if (!keeps_some(i))
                        continue;
                ck_assert(has_pages(i));
                ck_assert_uint_eq(r->magazine_words[i], magazine_word(MAGAZINE_TCACHE, u->no, 0, tag));
                for (int k = 0; k < MAGAZINE_CAP_MAX; k++)
                        ck_assert_uint_eq(r->magazines[i].slot[k], UINT64_C(0x5a5a5a5a5a5a5a5a));
        }
}
END_TEST

START_TEST(next_magazine_keeps_the_page_it_will_share)
{
        fill_pool(NULL);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        ck_assert(has_pages(N - 1)); /* where the next one begins */
        ck_assert_int_eq(region_raise_magazines(r, 0, N), 0);
        ck_assert(has_pages(N));
}
END_TEST

/* The table of another node begins in the same page where this one is full. */
START_TEST(two_nodes_tables_are_their_own)
{
        uint32_t per_node;

        heap_drop(&fx);
        heap_make(&fx, (struct heap_params){.has_file = true, .n_nodes = 2, .max_threads = 2});
        t = heap_attach(&fx, 0);
        per_node = r->layout.magazines_per_node;
        for (uint32_t node = 0; node < 2; node++)
                for (uint32_t i = 0; i < (node == 0 ? per_node : 1); i++)
                        ck_assert_int_eq(region_raise_magazines(r, node, i), 0);
        r->magazine_words[per_node] = magazine_word(MAGAZINE_TCACHE, t->no, 1, tag_make(1, 2));
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        ck_assert(has_pages(per_node));
}
END_TEST

/* ------------------------------------------------------------------ when there are no pages */

#if SHM_DEBUG
START_TEST(without_pages_one_that_has_some_is_taken)
{
        uint32_t idx;

        fill_pool(keeps_some);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        use_all_with_pages();
        r->magazine_words[38] = 0; /* has been let go */
        on_advice = refuse_pages;
        os_inject = refuse_allocation;
        idx = take(t);
        ck_assert_uint_eq(idx, 38);
        t->slot->hand = 0;
        for (uint32_t i = N; magazine_take_empty(t, tag, &idx) == 0;
             i++) { /* beyond the mark, in a page that is there */
                ck_assert_uint_eq(idx, i);
                ck_assert(has_pages(idx));
                t->slot->hand = 0;
        }
        ck_assert_uint_eq(t->slot->hand, 0);
        for (uint32_t i = 0; i < N; i++)
                ck_assert(magazine_state(r->magazine_words[i]) != MAGAZINE_TCACHE || has_pages(i));
        on_advice = NULL;
        os_inject = NULL;
        take(t);
}
END_TEST
#endif

START_TEST(no_bare_magazine_without_growing)
{
        uint32_t idx;

        fill_pool(NULL);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        use_all_with_pages();
        t->call.no_grow = true;
        ck_assert_int_eq(magazine_take_empty(t, tag, &idx), -ENOMEM);
}
END_TEST

static uint32_t taken_meanwhile;

static int
take_while_purged(int advice)
{
        uint32_t idx;

        if (advice != MADV_REMOVE)
                return 0;
        on_advice = NULL;
        call_begin(u, 64, 16, 2);
        ck_assert_int_eq(magazine_take_empty(u, tag, &idx), 0);
        ck_assert(magazine_state(r->magazine_words[10]) == MAGAZINE_PURGING);
        taken_meanwhile = idx;
        u->slot->hand = 0;
        return 0;
}

START_TEST(purger_keeps_nobody_waiting)
{
        fill_pool(NULL);
        on_advice = take_while_purged;
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        ck_assert(on_advice == NULL);
        ck_assert(has_pages(taken_meanwhile));
        ck_assert_uint_eq(magazine_owner(r->magazine_words[taken_meanwhile]), u->no);
}
END_TEST

static uint32_t n_refused;

static int
refuse_removal(int advice)
{
        n_refused += advice == MADV_REMOVE;
        return advice == MADV_REMOVE ? EPERM : 0;
}

START_TEST(refused_purge_leaves_a_sound_pool)
{
        fill_pool(keeps_some);
        n_refused = 0;
        on_advice = refuse_removal;
        ck_assert_uint_eq(pool_purge(t, r->fd, UINT64_MAX), 0);
        on_advice = NULL;
        ck_assert_uint_eq(n_refused, 1); /* nor for each stretch that is left, all of them in vain */
        for (uint32_t i = 0; i < N; i++)
                if (keeps_some(i))
                        r->magazine_words[i] = 0;
        ck_assert_uint_eq(heap_verify(r, NULL).n_pooled, N);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
}
END_TEST

/* Who was stopped behind the look at the word goes on now. */
START_TEST(look_makes_no_page)
{
        uint64_t head, block_off, blocks = 0, bytes = 0;
        struct check_totals totals;

        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 2), &head), 0);
        ck_assert(slab_alloc_one(t, head, 0, &block_off));
        fill_pool(NULL);
        ck_assert_uint_gt(pool_purge(t, r->fd, UINT64_MAX), 0);
        for (uint32_t i = 8; i < N - 8; i++)
                r->magazine_words[i] = i % 2 == 0 ? magazine_word(MAGAZINE_DEPOT, THREAD_NONE, 0, tag)
                                                  : magazine_word(MAGAZINE_TCACHE, u->no, 0, tag);
        u->slot->magazines[tag] = 9 + 1;
        ck_assert_int_ne(check_region(r, 0, NULL, &totals), 0);
        check_add_cached(r, u->no, &blocks, &bytes);
        ck_assert_uint_eq(blocks | bytes, 0);
        ck_assert(!block_is_free_or_cached(r, block_off));
        for (uint32_t i = 8; i < N - 8; i++)
                ck_assert(!has_pages(i));
}
END_TEST

/* A purge, and so a tick that looks into the file, does it. */
START_TEST(purge_gives_the_pool_back)
{
        fill_pool(NULL);
        ck_assert_uint_gt(decay_purge(t, UINT32_MAX), 0);
        ck_assert(!has_pages(N / 2));
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("unit/pool_purge");
        TCase *tc = tcase_create("goes");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, pages_of_the_pool_go_and_come_again);
        tcase_add_test(tc, what_shares_a_page_with_one_in_use_stays);
        tcase_add_test(tc, next_magazine_keeps_the_page_it_will_share);
        tcase_add_test(tc, two_nodes_tables_are_their_own);
        tcase_add_test(tc, purge_gives_the_pool_back);
        tcase_add_test(tc, look_makes_no_page);
        suite_add_tcase(suite, tc);
        tc = tcase_create("refused");
        tcase_add_checked_fixture(tc, setup, teardown);
#if SHM_DEBUG
        tcase_add_test(tc, without_pages_one_that_has_some_is_taken);
#endif
        tcase_add_test(tc, no_bare_magazine_without_growing);
        tcase_add_test(tc, purger_keeps_nobody_waiting);
        tcase_add_test(tc, refused_purge_leaves_a_sound_pool);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
