/*
 * What is at stake: what a program has in a block when it wants another size of it.  The contents survive between every
 * two size classes, in place and moving; where there is room behind it a large block grows without a copy, and what it
 * gives back others can have; and where there is none, all is as it was.  And what others had in their blocks: nothing
 * of it is in the new part of a block that was to be zeroed.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/size_class.h"
#include "support/checks.h"
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

/* What this thread keeps stands behind it, and there is nothing else. */
START_TEST(block_grows_over_what_its_thread_keeps_where_there_is_no_other_room)
{
        char *p, *next, *rest;

        reopen(SHHEAP_CREATE, "arenas:1,capacity:128M");
        p = hide(shheap_malloc(h, 60 * MIB));
        next = shheap_malloc(h, 3 * MIB);
        rest = shheap_malloc(h, 128 * MIB - 60 * MIB - 4 * MIB);
        NEED(p && next == p + 60 * MIB && rest == next + 4 * MIB);
        fill(p, 60 * MIB, 1);
        shheap_free(h, next);
        ck_assert_uint_eq(heap_ctl(h, "stats.cached"), 3 * MIB);
        NEED(shheap_realloc(h, p, 61 * MIB) == p && usable(p) == 61 * MIB && holds(p, 60 * MIB, 60 * MIB, 1));
        errno = 0;
        NEED(!shheap_realloc(h, p, 65 * MIB) && errno == ENOMEM && usable(p) == 61 * MIB);
        shheap_free(h, p);
        shheap_free(h, rest);
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

/* ------------------------------------------------------------------ what is new */

enum { DIRT = 0xee, GROWN_MOST = 3 << 20 };

/* The smallest size that gets a block of this size: then the most of it is beyond what was asked for. */
static size_t
least_at(unsigned i)
{
        return i == 0 ? 1 : i < SIZE_CLASS_N ? size_class_bytes(i - 1) + 1 : size_at(i) - 4000;
}

/* Leaves the heap's memory as others do: full of what they had there. */
static void
soil(void)
{
        char *p[40];

        for (unsigned i = 0; i < N_SIZES_AT; i++) {
                unsigned n = size_at(i) < MIB ? 40 : 2;

                for (unsigned k = 0; k < n; k++) {
                        NEED((p[k] = shheap_mallocx(h, size_at(i), k % 2 ? SHA_TCACHE_NONE : 0)) != NULL);
                        memset(p[k], DIRT, usable(p[k]));
                }
                while (n > 0)
                        shheap_free(h, p[--n]);
        }
}

/* Ways to another size.  A block that cannot be resized in place stays as it is. */
static char *
resize(unsigned way, char *p, size_t size, unsigned flags)
{
        switch (way) {
        case 0:
                return shheap_rallocx(h, p, size, flags);
        case 1:
                return shheap_rallocx(h, p, size, flags | SHA_LG_ALIGN(7));
        case 2:
                return shheap_rallocx(h, p, size, flags | SHA_TCACHE_NONE);
        case 3:
                return shheap_rallocx(h, p, size, flags | SHA_NODE(0));
        default:
                (void)shheap_xallocx(h, p, size, size / 2, flags);
                return p;
        }
}
enum { N_WAYS_WITH_FLAGS = 5 };

static char *
resize_plainly(unsigned way, char *p, size_t size)
{
        switch (way) {
        case 0:
                return shheap_realloc(h, p, size);
        case 1:
                return shrealloc(p, size);
        case 2:
                return shheap_reallocarray(h, p, size, 1);
        default:
                return resize(way - 3, p, size, 0);
        }
}
enum { N_WAYS = N_WAYS_WITH_FLAGS + 3 };

/* The block had `had` usable bytes, all of them `mine`.  What it has now is those, as far as they fit, and then
 * `fresh`. */
static void
assert_border(const char *p, size_t had, unsigned char mine, unsigned char fresh, size_t from, size_t to, unsigned way)
{
        size_t now = usable(p), kept = had < now ? had : now;

        if (!is_all(p, 0, kept, mine) || !is_all(p, kept, now, fresh))
                ck_abort_msg("from %zu to %zu bytes by way %u: of %zu usable bytes, %zu were usable before", from, to,
                             way, now, had);
}

static void
resize_between(unsigned from, unsigned to, unsigned way, bool by_flag, unsigned char fresh)
{
        char *p = hide(shheap_malloc(h, size_at(from)));
        size_t had = usable(p), size = least_at(to);

        memset(p, 0x77, had);
        p = hide(by_flag ? resize(way, p, size, SHA_ZERO) : resize_plainly(way, p, size));
        NEED(p);
        assert_border(p, had, 0x77, fresh, size_at(from), size, way);
        memset(p, DIRT, usable(p));
        shheap_free(h, p);
}

/* Of all pairs of sizes a fifth, those near to each other among them; each with another way than its neighbour. */
static void
resize_between_many(bool by_flag, unsigned char fresh)
{
        unsigned way = 0;

        for (unsigned from = 0; from < N_SIZES_AT; from += CLASS_STEP) {
                if (from % 16 == 0)
                        soil();
                for (unsigned to = from % 5; to < N_SIZES_AT; to += 5)
                        resize_between(from, to, way++ % (by_flag ? N_WAYS_WITH_FLAGS : N_WAYS), by_flag, fresh);
                for (unsigned to = from < 3 ? 0 : from - 3; to < from + 3 && to < N_SIZES_AT; to++)
                        for (unsigned i = 0; i < (by_flag ? N_WAYS_WITH_FLAGS : N_WAYS); i++)
                                resize_between(from, to, i, by_flag, fresh);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}

START_TEST(usable_size_is_the_border_between_old_and_new_with_sha_zero)
{
        resize_between_many(true, 0);
}
END_TEST

START_TEST(usable_size_is_the_border_between_old_and_new_with_option_zero)
{
        reopen(0, "zero:true");
        resize_between_many(false, 0);
}
END_TEST

START_TEST(usable_size_is_the_border_between_old_and_new_with_option_junk)
{
        reopen(0, "junk:true");
        resize_between_many(false, 0xa5);
}
END_TEST

/* Grown by small steps, shrunk, and grown again, a block shows nothing of what was there before. */
START_TEST(block_that_shrinks_and_grows_is_zero_all_over)
{
        size_t size = 100;
        char *p;

        soil();
        p = hide(shheap_mallocx(h, size, SHA_ZERO));
        for (unsigned i = 0; i < 200; i++) {
                size_t had = usable(p), now;

                size = i % 3 == 2 ? size - size / 3 : size + size / 4 + i;
                size = size < GROWN_MOST ? size : 100 + i;
                p = hide(shheap_rallocx(h, p, size, SHA_ZERO));
                NEED(p);
                now = usable(p);
                NEED(is_all(p, had < now ? had : now, now, 0));
                NEED(is_all(p, 0, now, 0));
        }
        shheap_free(h, p);
}
END_TEST

/* Whatever gives a whole block gives a whole new one, and as much of it as nallocx says. */
START_TEST(new_block_is_zero_to_the_last_usable_byte)
{
        static const unsigned flags[] = {
                0, SHA_TCACHE_NONE, SHA_LG_ALIGN(5), SHA_LG_ALIGN(9), SHA_LG_ALIGN(17), SHA_NODE(0)};
        enum { N_FLAGS = sizeof flags / sizeof flags[0] };

        for (unsigned i = 0; i < N_SIZES_AT; i++) {
                size_t size = least_at(i);
                unsigned k = 0;
                char *p;

                if (i % 16 == 0)
                        soil();
                if (i % 16 == 8)
                        NEED(shheap_purge(h, -1) == 0);
                for (; k < N_FLAGS + 2; k++) {
                        p = hide(k < N_FLAGS    ? shheap_mallocx(h, size, flags[k] | SHA_ZERO)
                                 : k == N_FLAGS ? shheap_calloc(h, 1, size)
                                                : shheap_rallocx(h, NULL, size, SHA_ZERO));
                        NEED(p && usable(p) == shheap_nallocx(h, size, k < N_FLAGS ? flags[k] : 0));
                        NEED(is_all(p, 0, usable(p), 0));
                        memset(p, DIRT, usable(p));
                        shheap_free(h, p);
                }
        }
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
        tcase_add_test(tcase, block_grows_over_what_its_thread_keeps_where_there_is_no_other_room);
        tcase_add_test(tcase, realloc_that_cannot_leaves_all_as_it_was);
        tcase_add_test(tcase, reallocx_keeps_alignment);
        tcase_add_test(tcase, xallocx_takes_what_it_can_get_and_never_less_than_it_has);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("new");
        tcase_set_timeout(tcase, 240);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, usable_size_is_the_border_between_old_and_new_with_sha_zero);
        tcase_add_test(tcase, usable_size_is_the_border_between_old_and_new_with_option_zero);
        tcase_add_test(tcase, usable_size_is_the_border_between_old_and_new_with_option_junk);
        tcase_add_test(tcase, block_that_shrinks_and_grows_is_zero_all_over);
        tcase_add_test(tcase, new_block_is_zero_to_the_last_usable_byte);
        suite_add_tcase(suite, tcase);

        heap_dir_create("realloc");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
