/*
 * What is at stake: the memory of everybody else in the heap.  Whichever function of the malloc family is handed a
 * pointer or a size that it must not be ends the process before it does harm, with a line that names the function and
 * the mistake; and a checked heap notices every second free at once.
 */
#include <check.h>
#include <signal.h>
#include <string.h>
#include <sys/wait.h>

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

        heap_dir_create("misuse");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
