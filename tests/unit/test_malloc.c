/*
 * What is at stake: programs that were written for malloc.  Each function that allocates or frees does what the C
 * standard, POSIX and jemalloc's manual say of its model, and what the header promises beyond that: at every size class
 * and their borders, at every alignment, with contents that are zero or junk where they have to be; and what it cannot
 * do it refuses without a trace.
 */
#include <errno.h>
#include <stdint.h>
#include <string.h>

#include "base/size_class.h"
#include "support/checks.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

#define GIB ((size_t)1 << 30)

/* ------------------------------------------------------------------ sizes */

START_TEST(size_zero_gives_a_block_of_its_own)
{
        void *p[6], *q;

        p[0] = shheap_malloc(h, 0);
        p[1] = shheap_malloc(h, 0);
        p[2] = shheap_calloc(h, 0, 100);
        p[3] = shheap_calloc(h, 100, 0);
        p[4] = shheap_realloc(h, NULL, 0);
        p[5] = shheap_aligned_alloc(h, 64, 0);
        NEED(shheap_posix_memalign(h, &q, 64, 0) == 0);
        for (int i = 0; i < 6; i++) {
                NEED(p[i] && p[i] != q && usable(p[i]) >= 1);
                for (int k = 0; k < i; k++)
                        NEED(p[i] != p[k]);
        }
        NEED(is_aligned(p[5], 64) && is_aligned(q, 64));
        p[4] = shheap_realloc(h, p[4], 0);
        NEED(p[4] && usable(p[4]) >= 1);
        for (int i = 0; i < 6; i++)
                shheap_free(h, p[i]);
        shheap_free_sized(h, q, 0);
        p[0] = shheap_realloc(h, shheap_malloc(h, MIB), 0);
        NEED(p[0] && usable(p[0]) >= 1 && usable(p[0]) < 100);
        shheap_free(h, p[0]);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(size_zero_with_flags_is_einval)
{
        void *p = shheap_malloc(h, 100);

        fill(p, 100, 1);
        errno = 0;
        ck_assert_ptr_null(shheap_mallocx(h, 0, 0));
        ck_assert_int_eq(errno, EINVAL);
        errno = 0;
        ck_assert_ptr_null(shheap_rallocx(h, p, 0, 0));
        ck_assert_int_eq(errno, EINVAL);
        ck_assert_uint_eq(shheap_nallocx(h, 0, 0), 0);
        ck_assert_uint_eq(shheap_xallocx(h, p, 0, 0, 0), 112);
        NEED(holds(p, 100, 100, 1));
        shheap_free(h, p);
}
END_TEST

START_TEST(impossible_sizes_are_enomem)
{
        const size_t sizes[] = {SIZE_MAX,        SIZE_MAX - 15, SIZE_MAX / 2 + 1, (size_t)PTRDIFF_MAX,
                                (size_t)1 << 47, 65 * MIB,      64 * MIB + 1};
        char *p = shheap_malloc(h, 100), *q = shheap_malloc(h, 3 * MIB);
        volatile size_t big = SIZE_MAX / 2;

        fill(p, 100, 3);
        fill(q, 3 * MIB, 4);
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                volatile size_t size = sizes[i];
                void *untouched = p;

                errno = 0;
                NEED(!shheap_malloc(h, size) && errno == ENOMEM);
                NEED(strncmp(shheap_errormsg(), "shheap_malloc: ", 15) == 0);
                errno = 0;
                NEED(!shheap_calloc(h, 1, size) && errno == ENOMEM);
                errno = 0;
                NEED(!shheap_aligned_alloc(h, 4096, size) && errno == ENOMEM);
                errno = EXDEV;
                NEED(shheap_posix_memalign(h, &untouched, 4096, size) == ENOMEM && untouched == p && errno == EXDEV);
                errno = 0;
                NEED(!shheap_mallocx(h, size, SHA_ZERO) && errno == ENOMEM);
                errno = 0;
                NEED(!shheap_realloc(h, p, size) && errno == ENOMEM && holds(p, 100, 100, 3));
                errno = 0;
                NEED(!shheap_rallocx(h, q, size, SHA_ZERO) && errno == ENOMEM && holds(q, 3 * MIB, 3 * MIB, 4));
                NEED(shheap_nallocx(h, size, 0) == 0);
                NEED(shheap_xallocx(h, p, size, 0, 0) == 112);
        }
        errno = 0;
        NEED(!shheap_calloc(h, big, 3) && errno == ENOMEM);
        errno = 0;
        NEED(!shheap_reallocarray(h, p, big, 3) && errno == ENOMEM && holds(p, 100, 100, 3));
        errno = 0;
        NEED(!shheap_reallocarray(h, NULL, 3, big) && errno == ENOMEM);
        shheap_free(h, p);
        shheap_free(h, q);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* Where one class ends and the next begins, and the border of small, large and huge. */
START_TEST(every_size_around_every_class_is_served_whole)
{
        void *p[3 * SIZE_CLASS_N + 9];
        size_t size[3 * SIZE_CLASS_N + 9];
        unsigned n = 0;

        reopen(SHHEAP_CREATE, "capacity:256M");
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                for (size_t extra = 0; extra < 3; extra++)
                        size[n++] = size_class_bytes(class_idx) - 1 + extra;
        for (size_t extra = 0; extra < 3; extra++) {
                size[n++] = 4 * MIB - 1 + extra;
                size[n++] = 8 * MIB - 1 + extra;
                size[n++] = 3 * MIB + 4095 + extra;
        }
        for (unsigned i = 0; i < n; i++) {
                p[i] = shheap_malloc(h, size[i]);
                NEED(p[i] && is_aligned(p[i], 16));
                NEED(usable(p[i]) >= size[i] && usable(p[i]) == shheap_nallocx(h, size[i], 0));
                fill(p[i], usable(p[i]), i);
        }
        for (unsigned i = 0; i < n; i++)
                NEED(holds(p[i], usable(p[i]), usable(p[i]), i));
        for (unsigned i = 0; i < n; i++)
                shheap_free_sized(h, p[i], i % 2 ? size[i] : usable(p[i]));
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(usable_size_is_of_block_starts_only)
{
        char *small = shheap_malloc(h, 100), *large = shheap_malloc(h, 100000), *huge = shheap_malloc(h, 5 * MIB);
        int on_stack = 0;

        NEED(usable(NULL) == 0 && shmalloc_usable_size(NULL) == 0);
        NEED(usable(small) == 112 && shmalloc_usable_size(small) == 112);
        NEED(usable(small + 16) == 0 && usable(small + 1) == 0);
        NEED(usable(large) >= 100000 && usable(large + 64) == 0 && usable(large + 65536) == 0);
        NEED(usable(huge) == 5 * MIB && usable(huge + 64) == 0 && usable(huge + 4 * MIB) == 0);
        NEED(usable(huge + 40 * MIB) == 0);
        NEED(usable(&on_stack) == 0 && shmalloc_usable_size(&on_stack) == 0);
        shheap_free(h, small);
        shheap_free(h, large);
        shheap_free(h, huge);
}
END_TEST

/* Of each small class so many blocks that slabs are full, and their neighbours: free ones, in slabs and caches. */
START_TEST(each_block_of_a_slab_is_known_and_what_is_free_in_it_is_not)
{
        enum { N = 5000 };
        static char *block[N];

        for (unsigned i = 0; i < SIZE_CLASS_N_SMALL; i++) {
                size_t bytes = size_class_bytes(i);
                unsigned n = (unsigned)(4 * GEO_GRANULE_BYTES / bytes + 1);

                n = n < N ? n : N;
                for (unsigned k = 0; k < n; k++)
                        NEED(block[k] = shheap_malloc(h, bytes));
                for (unsigned k = 0; k < n; k++) {
                        NEED(shmalloc_usable_size(block[k]) == bytes && shmalloc_usable_size(block[k] + 8) == 0);
                        NEED(shrealloc(block[k], bytes) == block[k]);
                }
                for (unsigned k = 0; k < n; k++)
                        if (k % 3 != 0)
                                shfree_sized(block[k], bytes);
                NEED(shheap_purge(h, -1) == 0);
                for (unsigned k = 0; k < n; k++)
                        NEED(shmalloc_usable_size(hide(block[k])) == (k % 3 != 0 ? 0 : bytes));
                for (unsigned k = 0; k < n; k += 3)
                        shfree_sized(block[k], bytes);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ alignment */

START_TEST(every_alignment_up_to_a_gibibyte_is_kept)
{
        const size_t sizes[] = {1, 100, 5000, 33000, 300000, 2 * MIB, 3 * MIB, 9 * MIB};

        reopen(SHHEAP_CREATE, "capacity:4096M");
        for (unsigned la = 0; la <= 30; la++) {
                size_t align = (size_t)1 << la;

                for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                        void *p[4] = {shheap_aligned_alloc(h, align, sizes[i]),
                                      shheap_mallocx(h, sizes[i], SHA_LG_ALIGN(la)),
                                      shheap_mallocx(h, sizes[i], SHA_ALIGN(align) | SHA_TCACHE_NONE), NULL};

                        if (la >= 3)
                                NEED(shheap_posix_memalign(h, &p[3], align, sizes[i]) == 0);
                        for (int k = 0; k < (la >= 3 ? 4 : 3); k++) {
                                NEED(p[k] && is_aligned(p[k], align) && is_aligned(p[k], 16));
                                NEED(usable(p[k]) >= sizes[i]);
                                NEED(usable(p[k]) == shheap_nallocx(h, sizes[i], SHA_LG_ALIGN(la)));
                                fill(p[k], sizes[i], la + (unsigned)k);
                        }
                        for (int k = 0; k < (la >= 3 ? 4 : 3); k++) {
                                NEED(holds(p[k], sizes[i], sizes[i], la + (unsigned)k));
                                shheap_free_aligned_sized(h, p[k], align, sizes[i]);
                        }
                }
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(bad_alignments_are_einval)
{
        const size_t bad[] = {0, 3, 24, 48, SIZE_MAX, 2 * GIB, (size_t)1 << 63};
        void *untouched = &untouched;

        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                volatile size_t align = bad[i];

                errno = 0;
                NEED(!shheap_aligned_alloc(h, align, 100) && errno == EINVAL);
                errno = EXDEV;
                if (align < GIB || align == SIZE_MAX)
                        NEED(shheap_posix_memalign(h, &untouched, align, 100) == EINVAL);
                else
                        NEED(shheap_posix_memalign(h, &untouched, align, 100) != 0);
                NEED(untouched == &untouched && errno == EXDEV);
        }
        NEED(shheap_posix_memalign(h, &untouched, 4, 100) == EINVAL && untouched == &untouched);
        for (unsigned la = 31; la < 64; la++) {
                void *p = shheap_malloc(h, 100);

                errno = 0;
                NEED(!shheap_mallocx(h, 100, SHA_LG_ALIGN(la)) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_rallocx(h, p, 200, SHA_LG_ALIGN(la)) && errno == EINVAL);
                NEED(shheap_nallocx(h, 100, SHA_LG_ALIGN(la)) == 0);
                NEED(shheap_xallocx(h, p, 112, 0, SHA_LG_ALIGN(la)) == 112);
                shheap_free(h, p);
        }
}
END_TEST

START_TEST(nallocx_says_what_mallocx_gives)
{
        reopen(SHHEAP_CREATE, "capacity:1024M");
        for (unsigned la = 0; la <= 24; la += 3)
                for (size_t size = 1; size < 5 * MIB; size += 1 + size / (CLASS_STEP == 1 ? 60 : 5)) {
                        size_t n = shheap_nallocx(h, size, SHA_LG_ALIGN(la));
                        void *p = shheap_mallocx(h, size, SHA_LG_ALIGN(la));

                        NEED(p && n >= size && usable(p) == n);
                        shheap_free(h, p);
                }
        NEED(shheap_nallocx(h, 2048 * MIB, 0) == 0);
}
END_TEST

/* ------------------------------------------------------------------ zeroed and other contents */

/* What blocks of all these sizes held before is in the memory that the next ones get. */
static void
soil(void)
{
        void *p[N_SOME_SIZES][4];

        for (unsigned i = 0; i < N_SOME_SIZES; i++)
                for (unsigned k = 0; k < 2 + 2 * (some_sizes[i] < MIB); k++) {
                        p[i][k] = shheap_malloc(h, some_sizes[i]);
                        NEED(p[i][k]);
                        memset(p[i][k], 0xee, usable(p[i][k]));
                }
        for (unsigned i = 0; i < N_SOME_SIZES; i++)
                for (unsigned k = 0; k < 2 + 2 * (some_sizes[i] < MIB); k++)
                        shheap_free(h, p[i][k]);
}

START_TEST(zeroed_blocks_are_zero_in_used_memory)
{
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                size_t size = some_sizes[i];
                void *p[3];

                soil();
                p[0] = shheap_calloc(h, 1, size);
                p[1] = shheap_mallocx(h, size, SHA_ZERO);
                p[2] = shheap_mallocx(h, size, SHA_ZERO | SHA_TCACHE_NONE | SHA_LG_ALIGN(7));
                for (int k = 0; k < 3; k++) {
                        NEED(p[k] && is_all(p[k], 0, size, 0));
                        shheap_free(h, p[k]);
                }
        }
}
END_TEST

/* As in jemalloc's manual: the usable size is the border between old and new, so all of it has to be zero. */
START_TEST(block_that_is_always_resized_with_zero_is_zero_all_over)
{
        size_t size = 1, most = 6 * MIB;
        char *p;

        soil();
        p = shheap_mallocx(h, size, SHA_ZERO);
        while (size < most) {
                size_t next = size + 1 + size / 6;

                p = shheap_rallocx(h, p, next, SHA_ZERO);
                NEED(p && is_all(p, size, next, 0) && is_all(p, 0, 1, 0));
                size = next;
                if (size % 5 == 0)
                        soil();
        }
        shheap_free(h, p);

        soil();
        p = hide(shheap_mallocx(h, 40000, SHA_ZERO)); /* the compiler would go by its size at first */
        NEED(p);
        for (size = 40000; size < 2 * MIB; size += 30001) {
                size_t now = shheap_xallocx(h, p, size, 5000, SHA_ZERO);

                NEED(is_all(p, 0, now, 0));
        }
        shheap_free(h, p);
}
END_TEST

START_TEST(zero_and_junk_options_fill_what_is_handed_out)
{
        char *p, *q;

        soil();
        reopen(0, "zero:true");
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                p = shheap_malloc(h, some_sizes[i]);
                NEED(p && is_all(p, 0, some_sizes[i], 0));
                fill(p, usable(p), i);
                q = shheap_realloc(h, p, some_sizes[i] * 2);
                NEED(q && holds(q, some_sizes[i], shheap_nallocx(h, some_sizes[i], 0), i));
                NEED(is_all(q, shheap_nallocx(h, some_sizes[i], 0), some_sizes[i] * 2, 0));
                shheap_free(h, q);
        }
        reopen(0, "junk:true");
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                p = hide(shheap_malloc(h, some_sizes[i]));
                NEED(p && is_all(p, 0, some_sizes[i], 0xa5));
                memset(p, 0, some_sizes[i]);
                shheap_free(h, p);
                q = hide(p);
                if (some_sizes[i] <= MIB) /* its pages are still there: it is cached, or a run that nobody has purged */
                        NEED(is_all(q, 0, some_sizes[i], 0x5a));
                q = shheap_calloc(h, 1, some_sizes[i]);
                NEED(q && is_all(q, 0, some_sizes[i], 0));
                shheap_free_sized(h, q, some_sizes[i]);
        }
        reopen(0, "junk:true,check:true");
        soil();
}
END_TEST

START_TEST(free_keeps_errno)
{
        void *p[2000];

        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                unsigned n = some_sizes[i] < 10000 ? 2000 : 3;

                for (unsigned k = 0; k < n; k++)
                        NEED((p[k] = shheap_malloc(h, some_sizes[i])) != NULL);
                errno = EXDEV;
                for (unsigned k = 0; k < n; k++)
                        k % 3 == 0   ? shfree(p[k])
                        : k % 3 == 1 ? shheap_free(h, p[k])
                                     : shheap_free_sized(h, p[k], some_sizes[i]);
                NEED(errno == EXDEV);
        }
        shheap_free(h, NULL);
        shheap_free_sized(h, NULL, 1);
        shheap_free_aligned_sized(h, NULL, 16, 1);
        shfree(NULL);
        shfree_sized(NULL, 1);
        NEED(errno == EXDEV);
}
END_TEST

/* ------------------------------------------------------------------ strings */

START_TEST(strings_are_copied)
{
        char *p = shheap_strdup(h, ""), *q = shheap_strdup(h, "hello, heap"), *r = shheap_strndup(h, "hello, heap", 5);
        char *s = shheap_strndup(h, "short", 1000), *t = shheap_strndup(h, "no NUL is read here", 0), *u;
        char raw[3] = {'a', 'b', 'c'};

        NEED(strcmp(p, "") == 0 && strcmp(q, "hello, heap") == 0 && strcmp(r, "hello") == 0);
        NEED(strcmp(s, "short") == 0 && strcmp(t, "") == 0);
        u = shheap_strndup(h, raw, sizeof raw);
        NEED(strcmp(u, "abc") == 0);
        shheap_free(h, p);
        shheap_free(h, q);
        shheap_free(h, r);
        shheap_free(h, s);
        shheap_free(h, t);
        shheap_free(h, u);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ main */

static void
add_sizes(Suite *suite)
{
        TCase *tcase = tcase_create("sizes");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, size_zero_gives_a_block_of_its_own);
        tcase_add_test(tcase, size_zero_with_flags_is_einval);
        tcase_add_test(tcase, impossible_sizes_are_enomem);
        tcase_add_test(tcase, every_size_around_every_class_is_served_whole);
        tcase_add_test(tcase, usable_size_is_of_block_starts_only);
        tcase_add_test(tcase, each_block_of_a_slab_is_known_and_what_is_free_in_it_is_not);
        tcase_add_test(tcase, every_alignment_up_to_a_gibibyte_is_kept);
        tcase_add_test(tcase, bad_alignments_are_einval);
        tcase_add_test(tcase, nallocx_says_what_mallocx_gives);
        suite_add_tcase(suite, tcase);
}

static void
add_contents(Suite *suite)
{
        TCase *tcase = tcase_create("contents");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, zeroed_blocks_are_zero_in_used_memory);
        tcase_add_test(tcase, block_that_is_always_resized_with_zero_is_zero_all_over);
        tcase_add_test(tcase, zero_and_junk_options_fill_what_is_handed_out);
        tcase_add_test(tcase, free_keeps_errno);
        tcase_add_test(tcase, strings_are_copied);
        suite_add_tcase(suite, tcase);
}

int
main(void)
{
        Suite *suite = suite_create("malloc");
        int status;

        add_sizes(suite);
        add_contents(suite);
        heap_dir_create("malloc");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
