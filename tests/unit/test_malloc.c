/*
 * What is at stake: programs that were written for malloc.  Each function of the family does what the C standard, POSIX
 * and jemalloc's manual say of its model, and what the header promises beyond that: at every size class and their
 * borders, in place and moving, for every flag, through handles that are read-only, closed, relocated or without a slot
 * of their own; and what it cannot do it refuses without a trace.
 */
#include <check.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "base/size_class.h"
#include "heap/run.h"
#include "region/owner.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)

/* Cheaper than ck_assert(), which notes each success. */
#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        ck_abort_msg("line %d: not true: %s (errno %d, \"%s\")", __LINE__, #claim, errno,              \
                                     shheap_errormsg());                                                               \
        } while (0)

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { CLASS_STEP = 3 };
#else
enum { CLASS_STEP = 1 };
#endif

static shheap *h;
static void *sink; /* hides a pointer from a compiler that knows what malloc and free mean */

static void
setup(void)
{
        heap_dir_empty();
        h = heap_dir_open("m", SHHEAP_CREATE, "arenas:2");
}

static void
teardown(void)
{
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}

/* The same heap, with other options or another size. */
static void
reopen(unsigned flags, const char *conf)
{
        shheap_close(h);
        if (flags & SHHEAP_CREATE)
                NEED(shheap_unlink("m") == 0);
        h = heap_dir_open("m", flags, conf);
}

static void *
hide(void *p)
{
        __atomic_store_n(&sink, p, __ATOMIC_RELAXED);
        return __atomic_load_n(&sink, __ATOMIC_RELAXED);
}

/* ------------------------------------------------------------------ contents */

/* A byte that depends on where it is and in which block. */
static unsigned char
pattern(size_t at, unsigned seed)
{
        return (unsigned char)((at * 131 + (at >> 8) * 31 + seed * 17) ^ 0x5c);
}

/* Each byte of small blocks; of others the ends, and a byte in each 512. */
static size_t
pattern_step(size_t at, size_t bytes)
{
        return at < 300 || bytes - at < 300 ? 1 : bytes - at < 900 ? bytes - at - 299 : 512;
}

static void
fill(void *p, size_t bytes, unsigned seed)
{
        for (size_t at = 0; at < bytes; at += pattern_step(at, bytes))
                ((unsigned char *)p)[at] = pattern(at, seed);
}

/* The first `bytes` of what was filled as a block of `filled`. */
static bool
holds(const void *p, size_t bytes, size_t filled, unsigned seed)
{
        for (size_t at = 0; at < bytes; at += pattern_step(at, filled))
                if (((const unsigned char *)p)[at] != pattern(at, seed))
                        return false;
        return true;
}

static bool
is_all(const void *p, size_t from, size_t bytes, unsigned char value)
{
        const unsigned char *b = p;

        for (size_t at = from; at < bytes; at++)
                if (b[at] != value)
                        return false;
        return true;
}

static size_t
usable(const void *p)
{
        return shheap_usable_size(h, p);
}

static bool
is_aligned(const void *p, size_t align)
{
        return (uintptr_t)p % align == 0;
}

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

static const size_t some_sizes[] = {1,    16,    24,    100,    112, 1000,    1024,        1025,
                                    5000, 32768, 32769, 100000, MIB, 2 * MIB, 2 * MIB + 1, 5 * MIB};
enum { N_SOME_SIZES = sizeof some_sizes / sizeof some_sizes[0] };

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

/* ------------------------------------------------------------------ realloc */

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

/* ------------------------------------------------------------------ flags */

static int
find_block(const struct shheap_block *block, void *arg)
{
        struct shheap_block *wanted = arg;

        if (block->ref != wanted->ref)
                return 0;
        *wanted = *block;
        return 1;
}

static uint32_t
arena_of(const void *p)
{
        struct shheap_block block = {.ref = shheap_ref(h, p)};

        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, find_block, &block) == 1);
        NEED(block.size == sizeof block && block.usable == usable(p));
        return block.arena;
}

START_TEST(blocks_come_from_the_arena_that_is_asked_for)
{
        const size_t sizes[] = {10, 5000, 100000, 2 * MIB};

        for (unsigned arena = 0; arena < 2; arena++)
                for (unsigned i = 0; i < 4; i++) {
                        void *p = shheap_mallocx(h, sizes[i], SHA_ARENA(arena));
                        void *q = shheap_mallocx(h, sizes[i], SHA_ARENA(arena) | SHA_NODE(0) | SHA_LG_ALIGN(8));

                        NEED(p && arena_of(p) == arena && q && arena_of(q) == arena && is_aligned(q, 256));
                        shheap_free(h, p);
                        shheap_free(h, q);
                }
}
END_TEST

START_TEST(flags_that_nobody_knows_and_places_that_are_not_there_are_einval)
{
        const unsigned bad[] = {0x80u,           0x400u,       0x800u,       SHA_ARENA(heap_ctl(h, "heap.arenas")),
                                SHA_ARENA(4000), SHA_NODE(64), SHA_NODE(200)};
        void *p = shheap_malloc(h, 100);
        shref *dest = shheap_calloc(h, 1, sizeof *dest);

        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                errno = 0;
                NEED(!shheap_mallocx(h, 100, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_rallocx(h, p, 3000, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_rallocx(h, p, 100, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_malloc_to(h, 100, bad[i], dest) && errno == EINVAL && *dest == SHREF_NULL);
        }
        shheap_free(h, p);
        shheap_free(h, dest);
}
END_TEST

START_TEST(tcache_none_leaves_the_caches_alone)
{
        uint64_t cached;
        void *p[100];

        for (int i = 0; i < 100; i++)
                p[i] = shheap_malloc(h, 200);
        for (int i = 0; i < 100; i++)
                shheap_free(h, p[i]);
        cached = heap_ctl(h, "stats.cached");
        for (int i = 0; i < 100; i++)
                NEED((p[i] = shheap_mallocx(h, 200, SHA_TCACHE_NONE)) != NULL);
        ck_assert_uint_eq(heap_ctl(h, "stats.cached"), cached);
        for (int i = 0; i < 100; i++)
                shheap_free(h, p[i]);
}
END_TEST

/* ------------------------------------------------------------------ without growing */

/* From here on a system call that could give memory to the heap kills the process. */
static void
forbid_growth(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 2, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ftruncate, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog prog = {.len = sizeof code / sizeof code[0], .filter = code};

        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static uint64_t
st_blocks(void)
{
        return heap_ctl(h, "stats.mapped");
}

/* Allocates blocks of a size, touching them all, until there are no more.  Their bytes. */
static size_t
exhaust(size_t size, unsigned flags)
{
        size_t bytes = 0;
        void **last = NULL, **p;

        while ((p = shheap_mallocx(h, size, flags)) != NULL) {
                memset(p, 0x11, usable(p));
                *p = last;
                last = p;
                bytes += usable(p);
        }
        MUST(errno == ENOMEM);
        for (; last; last = p) {
                p = *last;
                shheap_free(h, last);
        }
        return bytes;
}

static void
in_child(void (*fn)(void))
{
        pid_t pid;
        int status;

        fflush(NULL);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                fn();
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x", status);
        shheap_reap(h);
}

static void
take_without_growing(void)
{
        const size_t sizes[] = {64, 3000, 20000, 100000, MIB};
        const int64_t never = -1; /* on a slow machine, what was reserved would be given back meanwhile */
        uint64_t before;
        void *p = shheap_malloc(h, 10);

        shheap_free(h, p);
        MUST(shheap_ctl(h, "heap.decay_ms", NULL, NULL, &never, sizeof never) == 0);
        MUST(shheap_reserve(h, 16 * MIB) == 0);
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
                exhaust(sizes[i], SHA_NOGROW); /* frees have their magazines then */
        before = st_blocks();
        forbid_growth();
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                MUST(exhaust(sizes[i], SHA_NOGROW) >= 13 * MIB);
                MUST(exhaust(sizes[i], SHA_NOGROW | SHA_TCACHE_NONE) >= 13 * MIB);
                MUST(exhaust(sizes[i], SHA_NOGROW | SHA_ZERO | SHA_LG_ALIGN(6)) >= 12 * MIB);
        }
        MUST(st_blocks() == before);
}

static void
take_from_nothing_without_growing(void)
{
        void *p = shheap_malloc(h, 10); /* attached */
        uint64_t before = st_blocks();

        forbid_growth();
        errno = 0;
        MUST(!shheap_mallocx(h, 5 * MIB, SHA_NOGROW) && errno == ENOMEM);
        errno = 0;
        MUST(!shheap_rallocx(h, p, 5 * MIB, SHA_NOGROW) && errno == ENOMEM);
        MUST(!shheap_mallocx(h, 100000, SHA_NOGROW) && !shheap_mallocx(h, 3000, SHA_NOGROW));
        MUST(st_blocks() == before);
}

START_TEST(nogrow_takes_what_was_reserved_and_makes_no_system_call_for_more)
{
        in_child(take_without_growing);
        reopen(SHHEAP_CREATE, NULL);
        in_child(take_from_nothing_without_growing);
}
END_TEST

static void
hold_all_the_same(void)
{
        exhaust(5 * MIB, 0);
        exhaust(100000, 0);
        exhaust(1000, 0);
}

START_TEST(reserve_says_when_it_cannot)
{
        NEED(shheap_reserve(h, 0) == 0);
        NEED(shheap_reserve(h, 10 * MIB) == 0 && st_blocks() >= 10 * MIB);
        ck_assert_int_eq(shheap_reserve(h, 100 * MIB), -ENOMEM);
        ck_assert_int_eq(shheap_reserve(h, SIZE_MAX), -ENOMEM);
        in_child(hold_all_the_same);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ hand-over */

START_TEST(malloc_to_and_free_from_change_the_word_and_the_heap_together)
{
        shref *dest = shheap_calloc(h, 4, sizeof *dest);
        shref outside = 0;

        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                char *p = shheap_malloc_to(h, some_sizes[i], SHA_ZERO, &dest[1]);

                NEED(p && dest[1] == shheap_ref(h, p) && usable(p) >= some_sizes[i] && is_all(p, 0, some_sizes[i], 0));
                NEED(shheap_ptr(h, dest[1]) == p && dest[0] == 0 && dest[2] == 0);
                NEED(shheap_free_from(h, &dest[1]) == 0 && dest[1] == SHREF_NULL);
                ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), usable(dest));
                NEED(shheap_free_from(h, &dest[1]) == 0);
        }
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, &outside) && errno == EINVAL && outside == 0);
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, NULL) && errno == EINVAL);
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, (shref *)(void *)((char *)dest + 4)) && errno == EINVAL);
        errno = 0;
        NEED(!shheap_malloc_to(h, 0, 0, dest) && errno == EINVAL && dest[0] == 0);
        errno = 0;
        NEED(!shheap_malloc_to(h, 65 * MIB, 0, dest) && errno == ENOMEM && dest[0] == 0);
        NEED(shheap_free_from(h, &outside) == -EINVAL && shheap_free_from(h, NULL) == -EINVAL);
        shheap_free(h, dest);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ walking */

struct walked {
        shref last;
        size_t n, bytes;
};

static int
count_block(const struct shheap_block *block, void *arg)
{
        struct walked *w = arg;

        if (block->ref <= w->last)
                return -EDOM;
        w->last = block->ref;
        w->n++;
        w->bytes += block->usable;
        return 0;
}

static int
stop_walk(const struct shheap_block *block, void *arg)
{
        (void)block;
        (void)arg;
        return 42;
}

START_TEST(walk_names_each_block_once_in_the_order_of_addresses)
{
        void *p[N_SOME_SIZES];
        struct walked live = {0}, gone = {0}, unused = {0};
        size_t bytes = 0;

        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                p[i] = shheap_malloc(h, some_sizes[i]);
                NEED(p[i]);
                bytes += usable(p[i]);
        }
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, count_block, &live) == 0);
        NEED(live.n == N_SOME_SIZES && live.bytes == bytes && bytes == heap_ctl(h, "stats.allocated"));
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, stop_walk, NULL) == 42);
        NEED(shheap_walk(h, 2, count_block, &live) == -EINVAL);
        for (unsigned i = 0; i < N_SOME_SIZES; i++)
                shheap_free(h, p[i]);
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, count_block, &gone) == 0 && gone.n == 0);
        NEED(shheap_walk(h, SHHEAP_WALK_FREE, count_block, &unused) == 0 && unused.n > 0);
        NEED(unused.bytes >= heap_ctl(h, "stats.cached"));
}
END_TEST

/* ------------------------------------------------------------------ the short names */

START_TEST(short_names_want_a_default_heap_to_allocate_but_not_to_free)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, NULL);
        void *untouched = &untouched;
        char *p, *q;

        errno = 0;
        NEED(!shmalloc(10) && errno == ENODEV);
        errno = 0;
        NEED(!shcalloc(1, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shrealloc(NULL, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shaligned_alloc(16, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shstrdup("x") && errno == ENODEV);
        errno = EXDEV;
        NEED(shposix_memalign(&untouched, 16, 10) == ENODEV && untouched == &untouched && errno == EXDEV);
        NEED(!shptr_of(4096));

        NEED(shheap_set_default(h) == 0 && shheap_default() == h);
        p = shmalloc(100);
        NEED(p && usable(p) == 112 && shheap_usable_size(other, p) == 0);
        NEED(shref_of(p) == shheap_ref(h, p) && shptr_of(shref_of(p)) == p);
        q = shheap_malloc(other, 100);
        NEED(shmalloc_usable_size(q) == 112 && shref_of(q) == shheap_ref(other, q));
        fill(q, 100, 9);
        q = shrealloc(q, 100000); /* stays in its heap */
        NEED(q && shheap_usable_size(other, q) >= 100000 && usable(q) == 0 && holds(q, 100, 100, 9));
        q = shreallocarray(q, 100, 7);
        NEED(q && shheap_usable_size(other, q) >= 700 && holds(q, 100, 100, 9));
        shfree_sized(q, 700);
        shfree(p);
        NEED((p = shcalloc(10, 10)) != NULL && is_all(p, 0, 100, 0));
        shfree(p);
        NEED((p = shaligned_alloc(4096, 10)) != NULL && is_aligned(p, 4096));
        shfree(p);
        NEED(shposix_memalign(&untouched, 4096, 10) == 0 && is_aligned(untouched, 4096));
        shfree(untouched);
        NEED((p = shstrndup("hello", 4)) != NULL && strcmp(p, "hell") == 0);
        shfree(p);
        for (size_t size = 0; size < 3 * MIB; size += 1 + size / 7) {
                NEED((p = shmalloc(size)) != NULL && usable(p) >= size);
                fill(p, size, 7);
                shfree(p);
        }
        errno = 0;
        NEED(!shmalloc(65 * MIB) && errno == ENOMEM);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_eq(heap_ctl(other, "stats.allocated"), 0);
        heap_assert_clean(other);
        NEED(shheap_close(h) == 0 && !shmalloc(10));
        shheap_close(other);
        h = heap_dir_open("m", 0, NULL);
}
END_TEST

/* ------------------------------------------------------------------ other ways in */

/* All of the family once, for sizes of all kinds. */
static void
use_the_family(shheap *heap)
{
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                size_t size = some_sizes[i];
                void *p = shheap_malloc(heap, size), *q = shheap_calloc(heap, 1, size), *m = NULL;
                void *a = shheap_aligned_alloc(heap, 256, size), *x = shheap_mallocx(heap, size, SHA_TCACHE_NONE);

                MUST(p && q && a && x && is_all(q, 0, size, 0) && is_aligned(a, 256));
                MUST(shheap_posix_memalign(heap, &m, 4096, size) == 0);
                fill(p, size, i);
                fill(m, size, i + 1);
                p = shheap_realloc(heap, p, size * 2);
                m = shheap_realloc(heap, m, size / 2);
                MUST(p && m && holds(p, size, size, i) && holds(m, size / 2, size, i + 1));
                MUST(shheap_usable_size(heap, p) >= size * 2);
                MUST(shheap_xallocx(heap, p, size * 2, 0, 0) >= size * 2);
                shheap_free(heap, p);
                shheap_free_sized(heap, q, size);
                shheap_free_aligned_sized(heap, a, 256, size);
                shfree(m);
                shheap_free(heap, x);
        }
}

static void *
use_in_thread(void *arg)
{
        use_the_family(arg);
        return NULL;
}

START_TEST(thread_without_a_slot_has_the_whole_family)
{
        pthread_t thread;

        reopen(SHHEAP_CREATE, "max_threads:2"); /* one for this thread, one in reserve */
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(pthread_create(&thread, NULL, use_in_thread, h), 0);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
}
END_TEST

/* As a client that is stopped in the midst of a fill or drain leaves it. */
static void
hold_slab_of(const void *p, bool is_held)
{
        struct region *r = &h->process.region;
        uint64_t granule = (uint64_t)((const char *)p - r->chunks) >> GEO_GRANULE_SHIFT;
        uint64_t word = owner_load(run_word(r, granule));

        NEED(granule_state(word) == GRANULE_SLAB);
        owner_store(run_word(r, granule), granule_with_owner(word, is_held ? 1 : THREAD_NONE));
}

static void *
free_in_thread(void *arg)
{
        shheap_free(h, arg);
        return NULL;
}

static void *
free_from_in_thread(void *arg)
{
        ck_assert_int_eq(shheap_free_from(h, arg), -EBUSY);
        return NULL;
}

START_TEST(free_of_a_block_whose_slab_is_held_for_ever_is_not_lost)
{
        pthread_t thread;
        shref *dest;
        void *p;

        reopen(SHHEAP_CREATE, "max_threads:2");
        dest = shheap_calloc(h, 1, sizeof *dest);
        p = shheap_malloc_to(h, 100, 0, dest);
        NEED(p);
        hold_slab_of(p, true);
        ck_assert_int_eq(pthread_create(&thread, NULL, free_from_in_thread, dest), 0); /* it has no magazines */
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        NEED(*dest == shheap_ref(h, p));
        ck_assert_int_eq(pthread_create(&thread, NULL, free_in_thread, p), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        hold_slab_of(p, false);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), usable(dest));
        heap_assert_clean(h);
        shheap_free(h, dest);
}
END_TEST

/* Finds something in the way where the heap belongs. */
static void
use_relocated(void)
{
        void *base = (void *)(uintptr_t)heap_ctl(h, "heap.base"), *in_the_way;
        shheap *other;
        char *p, *q;
        shref ref;

        p = shheap_malloc(h, 1000);
        fill(p, 1000, 5);
        ref = shheap_ref(h, p);
        q = shheap_malloc(h, 300);
        shheap_close(h);
        in_the_way = mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        MUST(in_the_way == base);
        MUST(shheap_open(&other, "m", 0, NULL) == -EADDRINUSE);
        MUST(shheap_open(&other, "m", SHHEAP_RELOCATABLE, NULL) == 0);
        MUST((void *)(uintptr_t)heap_ctl(other, "heap.base") != base);
        q = shheap_ptr(other, ref);
        MUST(q != p && holds(q, 1000, 1000, 5) && shheap_usable_size(other, q) == 1024);
        q = shheap_realloc(other, q, 100000);
        MUST(q && holds(q, 1000, 1000, 5));
        shheap_free(other, q);
        use_the_family(other);
        MUST(shheap_set_default(other) == 0);
        for (int round = 0; round < 3; round++) {
                char *list[500];

                for (int i = 0; i < 500; i++) {
                        MUST((list[i] = shmalloc((size_t)i * 3)) != NULL);
                        fill(list[i], (size_t)i * 3, (unsigned)i);
                }
                for (int i = 0; i < 500; i++) {
                        MUST(holds(list[i], (size_t)i * 3, (size_t)i * 3, (unsigned)i));
                        shfree(list[i]);
                }
        }
        MUST(heap_ctl(other, "stats.allocated") == 304 || heap_ctl(other, "stats.allocated") == 320);
        heap_assert_clean(other);
        shheap_close(other);
        munmap(in_the_way, 4096);
}

START_TEST(family_works_where_the_heap_lies_elsewhere)
{
        in_child(use_relocated);
        use_the_family(h);
}
END_TEST

static void
use_what_may_not_be_used(void)
{
        shheap *old = h;
        void *p;

        MUST(shheap_close(h) == 0);
        errno = 0;
        MUST(shheap_open(&h, "m", SHHEAP_RDONLY, NULL) == 0);
        errno = 0;
        MUST(!shheap_malloc(h, 10) && errno == EACCES);
        errno = 0;
        MUST(!shheap_calloc(h, 1, 10) && errno == EACCES);
        MUST(shheap_posix_memalign(h, &p, 16, 10) == EACCES);
        MUST(shheap_reserve(h, 10) == -EACCES && shheap_set_default(h) == -EACCES);
        (void)old;
}

START_TEST(read_only_handle_gives_eacces)
{
        in_child(use_what_may_not_be_used);
}
END_TEST

/* ------------------------------------------------------------------ misuse that ends the process */

static void
ends_with(void (*fn)(void), const char *word, const char *other_word)
{
        char text[4096];
        size_t length = 0;
        int pipes[2], status;
        ssize_t n;
        pid_t pid;

        ck_assert_int_eq(pipe(pipes), 0);
        fflush(NULL);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                dup2(pipes[1], STDERR_FILENO);
                close(pipes[0]);
                close(pipes[1]);
                fn();
                _exit(0);
        }
        close(pipes[1]);
        while ((n = read(pipes[0], text + length, sizeof text - 1 - length)) > 0)
                length += (size_t)n;
        text[length] = '\0';
        close(pipes[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x, \"%s\"", status, text);
        ck_assert_msg(strstr(text, word) && strstr(text, other_word), "no \"%s\" or \"%s\" in: %s", word, other_word,
                      text);
        shheap_reap(h);
}

#define TWICE(size)                                                                                                    \
        void *p = hide(shheap_malloc(h, size)), *keep = shheap_malloc(h, size);                                        \
                                                                                                                       \
        MUST(p != NULL && keep != NULL);                                                                               \
        shheap_free(h, p);                                                                                             \
        shheap_free(h, hide(p))

static void
frees_small_twice(void)
{
        TWICE(500);
}

static void
frees_large_twice(void)
{
        TWICE(50000);
}

static void
frees_largest_twice(void)
{
        TWICE(2 * MIB);
}

static void
frees_huge_twice(void)
{
        TWICE(3 * MIB);
}

static void
frees_sized_twice(void)
{
        void *p = hide(shheap_malloc(h, 50000)), *keep = shheap_malloc(h, 50000);

        MUST(keep);
        shheap_free_sized(h, p, 50000);
        shheap_free_sized(h, hide(p), 50000);
}

static void
frees_from_what_is_free(void)
{
        shref *dest = shheap_calloc(h, 2, sizeof *dest);
        void *p = shheap_malloc_to(h, 300000, 0, &dest[0]);

        MUST(p);
        dest[1] = dest[0];
        MUST(shheap_free_from(h, &dest[0]) == 0);
        (void)shheap_free_from(h, &dest[1]);
}

static void
frees_from_what_is_cached(void)
{
        shref *dest = shheap_calloc(h, 2, sizeof *dest);
        void *p = shheap_malloc_to(h, 500, 0, &dest[0]);

        shheap_free(h, p);
        (void)shheap_free_from(h, &dest[0]);
}

static void
reallocates_twice(void)
{
        void *p = hide(shheap_malloc(h, 500));
        void *q = shheap_realloc(h, p, 3 * MIB);

        MUST(q && q != hide(p));
        q = shheap_realloc(h, hide(p), 3 * MIB);
        (void)q;
}

static void
reallocates_from_inside(void)
{
        void *p = shheap_realloc(h, (char *)hide(shheap_malloc(h, 500)) + 16, 5000);

        (void)p;
}

static void
reallocates_from_stack(void)
{
        int x;
        void *p = shheap_realloc(h, hide(&x), 5000);

        (void)p;
}

static void
reallocates_from_nowhere(void)
{
        int x;
        void *p = shrealloc(hide(&x), 5000);

        (void)p;
}

static void
resizes_nothing(void)
{
        (void)shheap_xallocx(h, NULL, 100, 0, 0);
}

static void
frees_with_wrong_size(void)
{
        shheap_free_sized(h, hide(shheap_malloc(h, 100)), 113);
}

static void
frees_large_with_wrong_size(void)
{
        shheap_free_sized(h, hide(shheap_malloc(h, 3 * MIB)), 3 * MIB + 1);
}

static void
frees_with_wrong_alignment(void)
{
        shheap_free_aligned_sized(h, hide(shheap_malloc(h, 100)), 24, 100);
}

static void
frees_sized_from_inside(void)
{
        shheap_free_sized(h, (char *)hide(shheap_malloc(h, 100)) + 16, 10);
}

static void
frees_sized_from_stack(void)
{
        int x;

        shfree_sized(hide(&x), sizeof x);
}

static void
frees_in_unused_memory(void)
{
        shheap_free(h, hide((char *)shheap_malloc(h, 100) + 50 * MIB));
}

static void
frees_after_close(void)
{
        void *p = shheap_malloc(h, 100);

        shheap_close(h);
        shfree(hide(p));
}

START_TEST(misuse_ends_the_process_with_a_line)
{
        ends_with(frees_huge_twice, "shheap_free(", "free memory, no block");
        ends_with(frees_from_what_is_free, "shheap_free_from(", "");
        ends_with(reallocates_from_inside, "shheap_realloc(", "no block starts");
        ends_with(reallocates_from_stack, "shheap_realloc(", "foreign pointer");
        ends_with(reallocates_from_nowhere, "shrealloc(", "foreign pointer");
        ends_with(resizes_nothing, "shheap_xallocx(", "");
        ends_with(frees_with_wrong_size, "shheap_free_sized(", "wrong size");
        ends_with(frees_large_with_wrong_size, "shheap_free_sized(", "wrong size");
        ends_with(frees_with_wrong_alignment, "shheap_free_aligned_sized(", "wrong size or alignment");
        ends_with(frees_sized_from_inside, "shheap_free_sized(", "no block starts");
        ends_with(frees_sized_from_stack, "shfree_sized(", "foreign pointer");
        ends_with(frees_in_unused_memory, "shheap_free(", "never used");
        ends_with(frees_after_close, "shfree(", "foreign pointer");
}
END_TEST

START_TEST(checked_heap_notices_every_second_free_at_once)
{
        reopen(0, "check:true");
        ends_with(frees_small_twice, "shheap_free(", "double free");
        ends_with(frees_large_twice, "shheap_free(", "double free");
        ends_with(frees_largest_twice, "shheap_free(", "no block");
        ends_with(frees_huge_twice, "shheap_free(", "no block");
        ends_with(frees_sized_twice, "shheap_free_sized(", "double free");
        ends_with(frees_from_what_is_free, "shheap_free_from(", "no block");
        ends_with(frees_from_what_is_cached, "shheap_free_from(", "double free");
        ends_with(reallocates_twice, "shheap_realloc(", "double free");
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

static void
add_realloc(Suite *suite)
{
        TCase *tcase = tcase_create("realloc");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, realloc_keeps_contents_between_every_two_classes);
        tcase_add_test(tcase, realloc_within_a_class_stays_in_place);
        tcase_add_test(tcase, large_blocks_grow_and_shrink_in_place_where_there_is_room);
        tcase_add_test(tcase, huge_blocks_grow_and_shrink_in_place_where_there_is_room);
        tcase_add_test(tcase, realloc_that_cannot_leaves_all_as_it_was);
        tcase_add_test(tcase, reallocx_keeps_alignment);
        tcase_add_test(tcase, xallocx_takes_what_it_can_get_and_never_less_than_it_has);
        suite_add_tcase(suite, tcase);
}

static void
add_flags(Suite *suite)
{
        TCase *tcase = tcase_create("flags");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, blocks_come_from_the_arena_that_is_asked_for);
        tcase_add_test(tcase, flags_that_nobody_knows_and_places_that_are_not_there_are_einval);
        tcase_add_test(tcase, tcache_none_leaves_the_caches_alone);
        tcase_add_test(tcase, nogrow_takes_what_was_reserved_and_makes_no_system_call_for_more);
        tcase_add_test(tcase, reserve_says_when_it_cannot);
        tcase_add_test(tcase, malloc_to_and_free_from_change_the_word_and_the_heap_together);
        tcase_add_test(tcase, walk_names_each_block_once_in_the_order_of_addresses);
        suite_add_tcase(suite, tcase);
}

static void
add_ways_in(Suite *suite)
{
        TCase *tcase = tcase_create("ways in");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, short_names_want_a_default_heap_to_allocate_but_not_to_free);
        tcase_add_test(tcase, thread_without_a_slot_has_the_whole_family);
        tcase_add_test(tcase, free_of_a_block_whose_slab_is_held_for_ever_is_not_lost);
        tcase_add_test(tcase, family_works_where_the_heap_lies_elsewhere);
        tcase_add_test(tcase, read_only_handle_gives_eacces);
        tcase_add_test(tcase, misuse_ends_the_process_with_a_line);
        tcase_add_test(tcase, checked_heap_notices_every_second_free_at_once);
        suite_add_tcase(suite, tcase);
}

int
main(void)
{
        Suite *suite = suite_create("malloc");
        int status;

        add_sizes(suite);
        add_contents(suite);
        add_realloc(suite);
        add_flags(suite);
        add_ways_in(suite);
        heap_dir_create("malloc");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
