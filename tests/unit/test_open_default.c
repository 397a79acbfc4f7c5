/*
 * What is at stake: the default heap is the one that was chosen last and is still open, for all threads of the process
 * at once, and there is none where nobody chose one.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)

static void
setup(void)
{
        heap_dir_empty();
}

static void
teardown(void)
{
        heap_dir_empty();
}

static void
close_heap(shheap *h)
{
        ck_assert_msg(shheap_close(h) == 0, "%s", shheap_errormsg());
}

START_TEST(default_heap_comes_from_the_environment_or_from_the_program)
{
        shheap *h, *other;
        void *p;

        errno = 0;
        ck_assert_ptr_null(shmalloc(10));
        ck_assert_int_eq(errno, ENODEV);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "SHMALLOC_HEAP"));
        setenv("SHMALLOC_HEAP", "not/valid", 1);
        ck_assert_ptr_null(shmalloc(10));
        ck_assert_int_eq(errno, EINVAL);
        setenv("SHMALLOC_HEAP", "default", 1);
        setenv("SHMALLOC_CONF", "capacity:16M", 1);
        p = shmalloc(10);
        ck_assert_msg(p != NULL, "%s", shheap_errormsg());
        h = shheap_default();
        ck_assert_ptr_eq(handle_of_address(p), h);
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 16 * MIB);
        other = heap_dir_open("other", SHHEAP_CREATE, NULL);
        ck_assert_int_eq(shheap_set_default(other), 0);
        ck_assert_ptr_eq(handle_of_address(shmalloc(10)), other);
        shfree(p); /* of the former one */
        close_heap(other);
        ck_assert_ptr_eq(shheap_default(), h); /* opened once more */
        ck_assert_ptr_eq(handle_of_address(shmalloc(10)), h);
        close_heap(h);
        close_heap(h);
        ck_assert_int_eq(shheap_set_default(h), -EBADF);
        unsetenv("SHMALLOC_HEAP");
        unsetenv("SHMALLOC_CONF");
        ck_assert_ptr_null(shheap_default());
}
END_TEST

static pthread_barrier_t turn;
static shheap *closing;

enum { CLOSING_N = 3000 };

static void *
choose_what_is_closed(void *arg)
{
        for (int i = 0; i < CLOSING_N; i++) {
                int err;

                pthread_barrier_wait(&turn);
                while ((err = shheap_set_default(closing)) == 0)
                        continue;
                pthread_barrier_wait(&turn);
                if (err != -EBADF)
                        return "neither chosen nor refused";
        }
        return arg;
}

/* Whichever of the two comes first. */
START_TEST(heap_that_is_closed_just_now_does_not_stay_the_default)
{
        pthread_t chooser;
        void *wrong;

        closing = heap_dir_open("closing", SHHEAP_CREATE, "max_threads:16");
        close_heap(closing);
        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&chooser, NULL, choose_what_is_closed, NULL), 0);
        for (int i = 0; i < CLOSING_N; i++) {
                closing = heap_dir_open("closing", 0, NULL);
                pthread_barrier_wait(&turn);
                close_heap(closing);
                pthread_barrier_wait(&turn);
                ck_assert_ptr_null(shheap_default());
        }
        pthread_join(chooser, &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
        pthread_barrier_destroy(&turn);
}
END_TEST

static void *
use_default(void *arg)
{
        for (int i = 0; i < 1000; i++) {
                void *p = shmalloc(64);

                if (!p || handle_of_address(p) != arg)
                        return "the default heap is not the default heap";
                shfree(p);
        }
        return NULL;
}

START_TEST(threads_agree_on_the_default_heap)
{
        shheap *h = heap_dir_open("agreed", SHHEAP_CREATE, NULL);
        pthread_t threads[4];
        void *wrong;

        ck_assert_int_eq(shheap_set_default(h), 0);
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, use_default, h), 0);
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], &wrong);
                ck_assert_msg(!wrong, "%s", (char *)wrong);
        }
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        close_heap(h);
}
END_TEST

static Suite *
suite_make(void)
{
        Suite *suite = suite_create("open_default");
        TCase *tcase = tcase_create("default heap");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, default_heap_comes_from_the_environment_or_from_the_program);
        tcase_add_test(tcase, heap_that_is_closed_just_now_does_not_stay_the_default);
        tcase_add_test(tcase, threads_agree_on_the_default_heap);
        suite_add_tcase(suite, tcase);
        return suite;
}

int
main(void)
{
        int status;

        heap_dir_create("open-default");
        status = suite_run(suite_make());
        heap_dir_remove();
        return status;
}
