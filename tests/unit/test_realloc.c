/*
 * What is at stake: what a program has in a block when it wants another size of it.  The contents survive between every
 * two size classes, in place and moving; where there is room behind it a large block grows without a copy, and what it
 * gives back others can have; and where there is none, all is as it was.
 */
#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/size_class.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

static size_t
size_at(unsigned i)
{
        static const size_t huge[] = {2 * MIB + 1, 4 * MIB, 4 * MIB + 1, 9 * MIB};

        return i < SIZE_CLASS_N ? size_class_bytes(i) - i % 7 : huge[i - SIZE_CLASS_N];
}
enum { N_SIZES_AT = SIZE_CLASS_N + 4 };

START_TEST(realloc_keeps_contents_between_every_two_classes)
{
        for (unsigned from = 0; from < N_SIZES_AT; from += CLASS_STEP)
                for (unsigned to = 0; to < N_SIZES_AT; to += CLASS_STEP) {
                        size_t old = size_at(from), size = size_at(to);
                        void *p = shheap_malloc(h, old), *q;

                        NEED(p);
                        fill(p, old, from + to);
                        switch (from % 3) {
                        case 0:
                                q = shheap_realloc(h, p, size);
                                break;
                        case 1:
                                q = shheap_rallocx(h, p, size, 0);
                                break;
                        default:
                                q = shrealloc(p, size);
                        }
                        NEED(q && usable(q) >= size);
                        NEED(holds(q, old < size ? old : size, old, from + to));
                        fill(q, size, to);
                        NEED(holds(q, size, size, to));
                        shheap_free(h, q);
                }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(realloc_within_a_class_stays_in_place)
{
        for (unsigned i = 0; i < SIZE_CLASS_N; i++) {
                size_t most = size_class_bytes(i), least = i == 0 ? 1 : size_class_bytes(i - 1) + 1;
                void *p = shheap_malloc(h, least);

                NEED(shheap_realloc(h, p, most) == p && shheap_realloc(h, p, least) == p);
                NEED(shheap_xallocx(h, p, least, 0, 0) == most);
                shheap_free(h, p);
        }
}
END_TEST

START_TEST(large_blocks_grow_and_shrink_in_place_where_there_is_room)
{
        char *p, *next;

        reopen(SHHEAP_CREATE, "arenas:1,capacity:8M");
        p = shheap_malloc(h, 100000);
        NEED(p);
        fill(p, 100000, 1);
        for (size_t size = 100000; size <= 2 * MIB; size += 100000) { /* behind it is nothing */
                NEED(shheap_realloc(h, p, size) == p && usable(p) >= size && holds(p, 100000, 100000, 1));
                fill(p + 100000, size - 100000, 2);
        }
        next = shheap_malloc(h, 100000);
        NEED(next);
        for (size_t size = 2 * MIB; size >= 100000; size -= 100000)
                NEED(shheap_realloc(h, p, size) == p && holds(p, 100000, 100000, 1));
        NEED(usable(p) == shheap_nallocx(h, 197152, 0));
        /* What it gave back can be had by others; then it cannot grow there any more. */
        shheap_free(h, next);
        next = shheap_mallocx(h, MIB, SHA_TCACHE_NONE);
        NEED(next > p && next < p + 2 * MIB);
        NEED(shheap_xallocx(h, p, 2 * MIB, 0, 0) == usable(p) && usable(p) < 2 * MIB);
        NEED(holds(p, 100000, 100000, 1));
        shheap_free(h, next);
        shheap_free(h, p);
        shheap_purge(h, -1);
        NEED((p = shheap_malloc(h, 8 * MIB)) != NULL);
        shheap_free(h, p);
}
END_TEST

START_TEST(huge_blocks_grow_and_shrink_in_place_where_there_is_room)
{
        char *p = hide(shheap_malloc(h, 5 * MIB)), *next;

        NEED(p);
        fill(p, 5 * MIB, 1);
        NEED(shheap_realloc(h, p, 40 * MIB) == p && usable(p) == 40 * MIB && holds(p, 5 * MIB, 5 * MIB, 1));
        memset(p + 39 * MIB, 1, MIB);
        NEED(shheap_realloc(h, p, 3 * MIB) == p && usable(p) == 3 * MIB);
        NEED((next = shheap_malloc(h, 56 * MIB)) != NULL);
        errno = 0;
        NEED(!shheap_realloc(h, p, 9 * MIB) && errno == ENOMEM && usable(p) == 3 * MIB);
        NEED(shheap_xallocx(h, p, 3 * MIB, 1 * MIB, 0) == 4 * MIB);
        NEED(shheap_xallocx(h, p, 3 * MIB, 0, 0) == 3 * MIB);
        NEED(holds(p, 3 * MIB, 5 * MIB, 1));
        shheap_free(h, next);
        shheap_free(h, p);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(realloc_that_cannot_leaves_all_as_it_was)
{
        char *p = shheap_malloc(h, 30 * MIB), *q = shheap_malloc(h, 1000), *rest[64];
        unsigned n = 0;

        NEED(p && q);
        fill(p, 30 * MIB, 1);
        fill(q, 1000, 2);
        for (n = 0; (rest[n] = shheap_malloc(h, 2 * MIB)) != NULL; n++)
                NEED(n < 63);
        NEED(errno == ENOMEM && strstr(shheap_errormsg(), "shheap_malloc: no memory for 2097152 bytes"));
        errno = 0;
        NEED(!shheap_realloc(h, p, 33 * MIB) && errno == ENOMEM);
        errno = 0;
        NEED(!shheap_realloc(h, q, 4 * MIB) && errno == ENOMEM);
        errno = 0;
        NEED(!shheap_reallocarray(h, q, 4, MIB) && errno == ENOMEM);
        NEED(usable(p) == 30 * MIB && holds(p, 30 * MIB, 30 * MIB, 1) && holds(q, 1000, 1000, 2));
        while (n > 0)
                shheap_free(h, rest[--n]);
        shheap_free(h, p);
        shheap_free(h, q);
}
END_TEST

START_TEST(reallocx_keeps_alignment)
{
        for (unsigned la = 4; la <= 22; la += 3) {
                void *p = shheap_malloc(h, 10);

                fill(p, 10, la);
                for (size_t size = 20; size < 9 * MIB; size *= 3) {
                        p = shheap_rallocx(h, p, size, SHA_LG_ALIGN(la));
                        NEED(p && is_aligned(p, (size_t)1 << la) && holds(p, 10, 10, la));
                }
                shheap_free(h, p);
        }
}
END_TEST

START_TEST(xallocx_takes_what_it_can_get_and_never_less_than_it_has)
{
        size_t had;
        char *p, *q;

        reopen(SHHEAP_CREATE, "arenas:1,capacity:8M");
        p = shheap_malloc(h, 100000);
        had = usable(p);
        fill(p, had, 1);
        NEED(shheap_xallocx(h, p, 90000, 100 * MIB, 0) == had); /* fits as it is; so much more cannot be had */
        NEED(shheap_xallocx(h, p, 90000, SIZE_MAX, 0) == had);
        NEED(shheap_xallocx(h, p, 200000, 100 * MIB, 0) == shheap_nallocx(h, 200000, 0));
        NEED(shheap_xallocx(h, p, 100, 300000, 0) >= 300100);
        NEED(shheap_xallocx(h, p, 100000, 0, 0) == had);
        NEED(shheap_xallocx(h, p, 100000, 0, SHA_LG_ALIGN(22)) == had); /* it may not be so aligned: nothing is done */
        NEED(holds(p, had, had, 1));
        shheap_free(h, p);

        q = shheap_malloc(h, 100);
        NEED(shheap_xallocx(h, q, 50, 0, 0) == 112 && shheap_xallocx(h, q, 113, 0, 0) == 112);
        NEED(shheap_xallocx(h, q, 50, 1000, 0) == 112);
        shheap_free(h, q);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("realloc");
        TCase *tcase = tcase_create("realloc");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, realloc_keeps_contents_between_every_two_classes);
        tcase_add_test(tcase, realloc_within_a_class_stays_in_place);
        tcase_add_test(tcase, large_blocks_grow_and_shrink_in_place_where_there_is_room);
        tcase_add_test(tcase, huge_blocks_grow_and_shrink_in_place_where_there_is_room);
        tcase_add_test(tcase, realloc_that_cannot_leaves_all_as_it_was);
        tcase_add_test(tcase, reallocx_keeps_alignment);
        tcase_add_test(tcase, xallocx_takes_what_it_can_get_and_never_less_than_it_has);
        suite_add_tcase(suite, tcase);

        heap_dir_create("realloc");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
