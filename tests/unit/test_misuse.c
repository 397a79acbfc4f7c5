/*
 * What is at stake: the memory of everybody else in the heap.  Whichever function of the malloc family is handed a
 * pointer or a size that it must not be ends the process before it does harm, with a line that names the function and
 * the mistake; and a checked heap notices every second free at once.  What a process that is gone did wrong ends nobody
 * else, and gives nobody a block twice.
 */
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/size_class.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

static void
ends_with(void (*fn)(void), const char *word, const char *other_word)
{
        char text[4096];
        int status = child_says(fn, text, sizeof text);

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

/* Less than what any request for such a block can have been, whatever its alignment. */
static void
frees_with_too_small_a_size(void)
{
        shheap_free_sized(h, hide(shheap_malloc(h, 100)), 95);
}

static void
frees_large_with_too_small_a_size(void)
{
        shheap_free_sized(h, hide(shheap_malloc(h, 100000)), 80000);
}

static void
frees_huge_with_too_small_a_size(void)
{
        shheap_free_sized(h, hide(shheap_malloc(h, 3 * MIB)), 3 * MIB - 4096);
}

static void
frees_huge_with_the_size_of_a_small_one(void)
{
        shfree_sized(hide(shheap_malloc(h, 3 * MIB)), 100);
}

static void
frees_aligned_with_too_small_a_size(void)
{
        shheap_free_aligned_sized(h, hide(shheap_aligned_alloc(h, 32, 150)), 32, 50);
}

/* Puts the block where it came from, past all caches. */
static void *
allocate_and_send_home(size_t size)
{
        void *p = hide(shheap_malloc(h, size)), *keep = shheap_malloc(h, size);

        MUST(p && keep);
        shheap_free(h, p);
        shheap_purge(h, -1);
        return hide(p);
}

static void
reallocates_what_is_free(void)
{
        void *p = shheap_realloc(h, allocate_and_send_home(500), 5000);

        (void)p;
}

static void
reallocates_what_is_free_to_the_same_size(void)
{
        void *p = shheap_realloc(h, allocate_and_send_home(500), 500);

        (void)p;
}

static void
reallocates_from_inside_with_alignment(void)
{
        void *p = shheap_rallocx(h, (char *)hide(shheap_malloc(h, 500)) + 16, 500, SHA_LG_ALIGN(20));

        (void)p;
}

static void
resizes_what_is_free(void)
{
        (void)shheap_xallocx(h, allocate_and_send_home(500), 5000, 0, 0);
}

static void
frees_sized_what_is_free(void)
{
        shheap_free_sized(h, allocate_and_send_home(500), 500);
}

/* The heap's tables end before its chunks. */
static void *
in_tables(void)
{
        return (void *)(uintptr_t)(heap_ctl(h, "heap.base") + 4096);
}

static void
frees_in_tables(void)
{
        shheap_free(h, hide(in_tables()));
}

static void
frees_in_tables_of_any_heap(void)
{
        shfree(hide(in_tables()));
}

static void
frees_sized_in_tables(void)
{
        shheap_free_sized(h, hide(in_tables()), 16);
}

static void
reallocates_from_tables(void)
{
        void *p = shrealloc(hide(in_tables()), 16);

        (void)p;
}

static void
frees_from_tables(void)
{
        shref *dest = shheap_calloc(h, 1, sizeof *dest);

        *dest = 4096;
        (void)shheap_free_from(h, dest);
}

static void
frees_in_tables_of_another_heap(void)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, NULL);

        MUST(shheap_unlink("other") == 0);
        shheap_free(other, hide(in_tables()));
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

static void
frees_an_object(void)
{
        void *obj;

        MUST(shheap_root(h, "named", 100, 0, NULL, NULL, &obj) == 0);
        shheap_free(h, obj);
}

static void
frees_an_object_from(void)
{
        shref *dest = shheap_calloc(h, 1, sizeof *dest);
        void *obj;

        MUST(shheap_root(h, "named", 3 * MIB, 0, NULL, NULL, &obj) == 0);
        *dest = shheap_ref(h, obj);
        (void)shheap_free_from(h, dest);
}

static void
reallocates_an_object(void)
{
        void *obj;

        MUST(shheap_root(h, "named", 100, 0, NULL, NULL, &obj) == 0);
        obj = shheap_realloc(h, obj, 5000);
}

/* The object stays its name's. */
START_TEST(checked_heap_notices_the_free_of_a_named_object)
{
        static void (*const misuses[])(void) = {frees_an_object, frees_an_object_from, reallocates_an_object};

        for (unsigned i = 0; i < sizeof misuses / sizeof misuses[0]; i++) {
                reopen(0, "check:true");
                ends_with(misuses[i], "the object of a name", "shheap_root_remove()");
                ck_assert_int_eq(shheap_root_remove(h, "named"), 0);
        }
}
END_TEST

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
        ends_with(frees_with_too_small_a_size, "shheap_free_sized(", "wrong size");
        ends_with(frees_large_with_too_small_a_size, "shheap_free_sized(", "wrong size");
        ends_with(frees_huge_with_too_small_a_size, "shheap_free_sized(", "wrong size");
        ends_with(frees_huge_with_the_size_of_a_small_one, "shfree_sized(", "wrong size");
        ends_with(frees_aligned_with_too_small_a_size, "shheap_free_aligned_sized(", "wrong size or alignment");
        ends_with(frees_with_wrong_alignment, "shheap_free_aligned_sized(", "wrong size or alignment");
        ends_with(frees_sized_from_inside, "shheap_free_sized(", "no block starts");
        ends_with(frees_sized_from_stack, "shfree_sized(", "foreign pointer");
        ends_with(frees_in_unused_memory, "shheap_free(", "never used");
        ends_with(frees_after_close, "shfree(", "foreign pointer");
}
END_TEST

START_TEST(what_is_free_and_in_no_cache_is_noticed_by_all_but_a_plain_free)
{
        ends_with(reallocates_what_is_free, "shheap_realloc(", "double free");
        ends_with(reallocates_what_is_free_to_the_same_size, "shheap_realloc(", "double free");
        ends_with(reallocates_from_inside_with_alignment, "shheap_rallocx(", "no block starts");
        ends_with(resizes_what_is_free, "shheap_xallocx(", "double free");
        ends_with(frees_sized_what_is_free, "shheap_free_sized(", "double free");
}
END_TEST

START_TEST(pointer_into_the_tables_is_inside_of_the_heap)
{
        ends_with(frees_in_tables, "shheap_free(", "no block starts at this pointer");
        ends_with(frees_in_tables_of_any_heap, "shfree(", "in heap \"m\": the heap's own tables, no block");
        ends_with(frees_sized_in_tables, "shheap_free_sized(", "no block starts");
        ends_with(reallocates_from_tables, "shrealloc(", "no block starts");
        ends_with(frees_from_tables, "shheap_free_from(", "own tables, no block");
        ends_with(frees_in_tables_of_another_heap, "foreign pointer", "is in heap \"m\", not in \"other\"");
}
END_TEST

START_TEST(usable_size_of_what_is_free_and_in_no_cache_is_zero)
{
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                void *keep = shheap_malloc(h, some_sizes[i]), *p = hide(shheap_malloc(h, some_sizes[i]));

                NEED(keep && p && usable(p) >= some_sizes[i]);
                shheap_free(h, p);
                NEED(shheap_purge(h, -1) == 0);
                NEED(usable(hide(p)) == 0 && shmalloc_usable_size(hide(p)) == 0);
                shheap_free(h, keep);
        }
}
END_TEST

/* What was asked for, what is usable, and what lies between, by each way to ask and each alignment. */
START_TEST(sized_frees_take_every_size_from_what_was_asked_for_to_what_is_usable)
{
        for (unsigned i = 0; i < N_SOME_SIZES; i++)
                for (unsigned la = 0; la < 16; la++)
                        for (unsigned way = 0; way < 6; way++) {
                                size_t size = some_sizes[i], all, given;
                                void *p = hide(shheap_mallocx(h, size, SHA_LG_ALIGN(la)));

                                NEED(p);
                                all = usable(p);
                                given = way % 3 == 0 ? size : way % 3 == 1 ? all : size + (all - size) / 2;
                                if (way < 3)
                                        shheap_free_sized(h, p, given);
                                else
                                        shheap_free_aligned_sized(h, p, (size_t)1 << la, given);
                        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ others */

enum { N_SHARED = 400, HANDLED = 7 };

static void *shared[N_SHARED]; /* blocks of one class, known to parent and children */
static unsigned distance;      /* frees between the two of one block */

/* As badly as can be: blocks twice, at a distance, and pointers into the middle of one. */
static void
frees_badly(void)
{
        heap_use(h, shheap_usable_size(h, shared[0]));
        for (unsigned i = 0; i < 3; i++)
                shheap_free(h, hide(shared[i]));
        for (unsigned i = 3; i < 3 + distance; i++)
                shheap_free(h, hide(shared[i]));
        for (unsigned i = 0; i < 3; i++)
                shheap_free(h, hide(shared[i]));
        shheap_free(h, hide((char *)shared[0] + 16));
        shheap_free(h, hide((char *)shared[N_SHARED - 1] + 96));
}

static void
frees_badly_and_is_gone(void)
{
        frees_badly();
        _exit(0);
}

static void
frees_badly_and_closes(void)
{
        frees_badly();
        shheap_close(h);
}

static void *
frees_badly_in_a_thread(void *arg)
{
        frees_badly();
        return arg;
}

static void
frees_badly_and_ends_the_thread(void)
{
        pthread_t thread;

        MUST(pthread_create(&thread, NULL, frees_badly_in_a_thread, NULL) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        _exit(0);
}

static int
by_address(const void *a, const void *b)
{
        const uintptr_t x = (uintptr_t) * (void *const *)a, y = (uintptr_t) * (void *const *)b;

        return x < y ? -1 : x > y;
}

/* Nobody gets a block twice, or one that is somebody's, or none; and all that was freed can be had again. */
static void
assert_each_is_had_once(size_t size, unsigned n_freed)
{
        static void *got[2 * N_SHARED];
        unsigned n = 0;

        for (; n < N_SHARED; n++)
                NEED((got[n] = shheap_malloc(h, size)) != NULL && shheap_usable_size(h, got[n]) >= size);
        for (unsigned i = n_freed; i < N_SHARED; i++)
                got[n++] = shared[i];
        qsort(got, n, sizeof got[0], by_address);
        for (unsigned i = 1; i < n; i++)
                NEED(got[i] != got[i - 1]);
        for (unsigned i = 0; i < n; i++)
                shheap_free(h, got[i]);
        NEED(shheap_purge(h, -1) == 0);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        heap_assert_clean(h);
}

/* Wherever the second free was in the magazines when its process ended, and however that ended. */
START_TEST(bad_frees_of_another_process_hurt_nobody)
{
        static void (*const ways[])(void) = {frees_badly_and_is_gone, frees_badly_and_closes,
                                             frees_badly_and_ends_the_thread};
        static const unsigned distances[] = {0, 1, 40, 61, 70, 110};
        static const size_t sizes[] = {100, 1024, 3000};
        char text[4096];

        for (unsigned w = 0; w < 3; w++)
                for (unsigned d = 0; d < sizeof distances / sizeof distances[0]; d++)
                        for (unsigned k = 0; k < 3; k++) {
                                unsigned cap = size_class_magazine_cap(size_class_of(sizes[k]));
                                uint64_t n_dropped = heap_ctl(h, "stats.dropped");
                                int status;

                                distance = distances[d] + 10 < 2 * cap ? distances[d] : 2 * cap - 10;
                                for (unsigned i = 0; i < N_SHARED; i++)
                                        NEED((shared[i] = shheap_malloc(h, sizes[k])) != NULL);
                                status = child_says(ways[w], text, sizeof text);
                                if (w == 1) /* it is told itself, while there is somebody to tell */
                                        NEED(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT &&
                                             strstr(text, "shheap_close("));
                                else
                                        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
                                                      "status %#x, \"%s\"", status, text);
                                if (w == 2) /* there is nobody to report it to, but it is said */
                                        NEED(strstr(text, "end of a thread: ") && strstr(text, "only now"));
                                shheap_reap(h);
                                NEED(heap_ctl(h, "stats.dropped") == n_dropped + 5);
                                assert_each_is_had_once(sizes[k], 3 + distance);
                        }
}
END_TEST

static void
frees_badly_and_goes_on(void)
{
        distance = 30;
        frees_badly();
        for (unsigned i = 3 + distance; i < N_SHARED; i++)
                shheap_free(h, hide(shared[i]));
}

START_TEST(bad_frees_are_told_before_others_can_get_the_blocks)
{
        for (unsigned i = 0; i < N_SHARED; i++)
                NEED((shared[i] = shheap_malloc(h, 100)) != NULL);
        ends_with(frees_badly_and_goes_on, "shheap_free(", "found only now");
        heap_assert_clean(h);
}
END_TEST

/* What the heap has back is freed again, by a process that ends before anybody could notice. */
static void
frees_what_is_home_and_is_gone(void)
{
        heap_use(h, 500);
        for (unsigned i = 0; i < 10; i++)
                shheap_free(h, hide(shared[i]));
        MUST(shheap_purge(h, -1) == 0);
        heap_use(h, 500);
        for (unsigned i = 0; i < 10; i++)
                shheap_free(h, hide(shared[i]));
        _exit(0);
}

static void
ends_with_a_status(const struct shheap_fault *fault, void *arg)
{
        (void)fault;
        (void)arg;
        _exit(HANDLED);
}

/* An innocent process: it meets what others did, a thousand times if it must. */
static void
empties_caches(void)
{
        shheap_set_fault_handler(ends_with_a_status, NULL);
        for (int i = 0; i < 3; i++) {
                shheap_reap(h);
                MUST(shheap_purge(h, -1) == 0);
        }
}

START_TEST(who_meets_bad_frees_of_others_says_so_and_goes_on)
{
        char text[4096];
        int status;

        for (unsigned i = 0; i < N_SHARED; i++)
                NEED((shared[i] = shheap_malloc(h, 500)) != NULL);
        status = child_says(frees_what_is_home_and_is_gone, text, sizeof text);
        NEED(WIFEXITED(status) && text[0] == '\0');
        status = child_says(empties_caches, text, sizeof text);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x, \"%s\"", status, text);
        ck_assert_msg(strstr(text, "dropped from a cache") && strstr(text, "in heap \"m\"") &&
                              strstr(text, "512 bytes each"),
                      "%s", text);
        ck_assert_uint_eq(heap_ctl(h, "stats.dropped"), 10);
        for (unsigned i = 10; i < N_SHARED; i++)
                shheap_free(h, shared[i]);
        heap_assert_clean(h);
}
END_TEST

/* A line of each heap and second, however much there is to be said. */
static void
meets_bad_frees_all_the_time(void)
{
        time_t first, last;
        char text[4096];

        for (unsigned i = 0; i < N_SHARED; i++)
                MUST((shared[i] = shheap_malloc(h, 500)) != NULL);
        time(&first);
        for (int i = 0; i < 8; i++) {
                MUST(child_says(frees_what_is_home_and_is_gone, text, sizeof text) == 0);
                for (int k = 0; k < 10; k++)
                        MUST((shared[k] = shheap_malloc(h, 500)) != NULL);
                shheap_reap(h);
                MUST(shheap_purge(h, -1) == 0);
        }
        time(&last);
        MUST(heap_ctl(h, "stats.dropped") >= 8);
        dprintf(STDERR_FILENO, "seconds: %ld\n", (long)(last - first) + 2);
}

START_TEST(bad_frees_of_others_are_said_once_a_second)
{
        char text[1 << 14], *line = text;
        long n = 0, n_most;
        int status = child_says(meets_bad_frees_all_the_time, text, sizeof text);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x, \"%s\"", status, text);
        NEED(sscanf(strstr(text, "seconds: "), "seconds: %ld", &n_most) == 1);
        while ((line = strstr(line, "dropped from a cache")) != NULL) {
                line++;
                n++;
        }
        ck_assert_int_ge(n, 1);
        ck_assert_int_le(n, n_most);
        shheap_reap(h);
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

int
main(void)
{
        Suite *suite = suite_create("misuse");
        TCase *tcase = tcase_create("misuse");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, misuse_ends_the_process_with_a_line);
        tcase_add_test(tcase, what_is_free_and_in_no_cache_is_noticed_by_all_but_a_plain_free);
        tcase_add_test(tcase, pointer_into_the_tables_is_inside_of_the_heap);
        tcase_add_test(tcase, usable_size_of_what_is_free_and_in_no_cache_is_zero);
        tcase_add_test(tcase, sized_frees_take_every_size_from_what_was_asked_for_to_what_is_usable);
        tcase_add_test(tcase, checked_heap_notices_every_second_free_at_once);
        tcase_add_test(tcase, checked_heap_notices_the_free_of_a_named_object);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("others");
        tcase_set_timeout(tcase, 240);
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, bad_frees_of_another_process_hurt_nobody);
        tcase_add_test(tcase, bad_frees_are_told_before_others_can_get_the_blocks);
        tcase_add_test(tcase, who_meets_bad_frees_of_others_says_so_and_goes_on);
        tcase_add_test(tcase, bad_frees_of_others_are_said_once_a_second);
        suite_add_tcase(suite, tcase);

        heap_dir_create("misuse");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
