/*
 * What is at stake: a sweeper of /dev/shm removes the file of a heap that is in use, and a newcomer makes the name
 * again.  Old clients go on in the old heap, and their pointers reach processes that have the new one: these must be
 * seen to be foreign.  Old clients can find out, and open the new heap besides their own.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

static char path[256];

static const char *
file_of(const char *name)
{
        snprintf(path, sizeof path, "%s/shmalloc.%s", getenv("SHMALLOC_DIR"), name);
        return path;
}

/* Others make files meanwhile, and after so many of them the addresses come round: then once more. */
static shheap *
make_anew(const char *old_block)
{
        shheap *h = heap_dir_open("gone", SHHEAP_CREATE | SHHEAP_EXCL, NULL);

        for (int i = 0; i < 3 && shheap_ref(h, old_block) != SHREF_NULL; i++) {
                MUST(shheap_close(h) == 0 && shheap_unlink("gone") == 0);
                h = heap_dir_open("gone", SHHEAP_CREATE | SHHEAP_EXCL, NULL);
        }
        return h;
}

/* A newcomer, who makes the heap anew and is handed a pointer into the old one by another way. */
static void
newcomer(struct child *self, void *arg)
{
        char *old_block, *block = NULL;
        shheap *h;

        (void)arg;
        MUST(read(self->from, &old_block, sizeof old_block) == sizeof old_block); /* the name is gone */
        h = make_anew(old_block);
        for (int i = 0; i < 100; i++)
                MUST((block = shheap_malloc(h, 100)) != NULL);
        MUST(heap_ctl(h, "heap.is_linked") == 1);
        MUST(shheap_ref(h, old_block) == SHREF_NULL);
        MUST(shheap_usable_size(h, old_block) == 0);
        MUST(child_tell(self) && child_hear(self));
        MUST(shheap_close(h) == 0);
}

START_TEST(stale_pointers_are_foreign_to_a_heap_made_anew)
{
        shheap *old, *new;
        char *p = NULL, *q;
        struct child c;

        child_start(&c, newcomer, NULL); /* it has nothing mapped where the old heap is to lie */
        old = heap_dir_open("gone", SHHEAP_CREATE, NULL);
        for (int i = 0; i < 20; i++)
                p = shheap_malloc(old, 100);
        ck_assert_uint_eq(heap_ctl(old, "heap.is_linked"), 1);
        ck_assert_int_eq(unlink(file_of("gone")), 0);
        ck_assert_uint_eq(heap_ctl(old, "heap.is_linked"), 0);
        ck_assert_int_eq(write(c.to, &p, sizeof p), sizeof p);
        ck_assert(child_hear(&c));
        ck_assert_uint_eq(heap_ctl(old, "heap.is_linked"), 0); /* the name is another heap's */
        new = heap_dir_open("gone", 0, NULL);
        ck_assert_ptr_ne(new, old);
        ck_assert_uint_eq(heap_ctl(new, "heap.is_linked"), 1);
        q = shheap_malloc(new, 100);
        shfree(p); /* each goes home */
        shfree(q);
        ck_assert_int_eq(shheap_check(old, 0, stderr), 0);
        ck_assert_int_eq(shheap_check(new, 0, stderr), 0);
        child_tell(&c);
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_int_eq(shheap_close(old), 0);
        ck_assert_int_eq(shheap_close(new), 0);
}
END_TEST

/* Whatever lies there now: it is not the heap's file. */
START_TEST(name_is_lost_by_anything_else_in_its_place)
{
        shheap *h = heap_dir_open("moved", SHHEAP_CREATE, NULL);
        char other[256];

        snprintf(other, sizeof other, "%s", file_of("else"));
        ck_assert_int_eq(rename(file_of("moved"), other), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 0);
        ck_assert_int_eq(mkdir(file_of("moved"), 0700), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 0);
        ck_assert_int_eq(rmdir(file_of("moved")), 0);
        ck_assert_int_eq(symlink("shmalloc.else", file_of("moved")), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 0); /* opening follows none */
        ck_assert_int_eq(rename(other, file_of("moved")), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 1);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* A name that it was opened by is its name, whatever it was created as. */
START_TEST(name_is_the_one_that_it_was_opened_by)
{
        shheap *h = heap_dir_open("first", SHHEAP_CREATE, NULL);
        char second[256];
        int fd;

        ck_assert_int_eq(shheap_close(h), 0);
        snprintf(second, sizeof second, "%s", file_of("second"));
        ck_assert_int_eq(rename(file_of("first"), second), 0);
        h = heap_dir_open("second", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 1);
        ck_assert_int_eq(shheap_close(h), 0);
        fd = open(second, O_RDWR);
        ck_assert_int_eq(shheap_open_fd(&h, fd, 0), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 0); /* "first", by its own account */
        ck_assert_int_eq(shheap_close(h), 0);
        close(fd);
}
END_TEST

static uint64_t
is_linked(shheap *h, int *ret_err)
{
        uint64_t value = 4711;
        size_t length = sizeof value;

        *ret_err = shheap_ctl(h, "heap.is_linked", &value, &length, NULL, 0);
        return value;
}

START_TEST(whether_a_name_is_there_cannot_be_seen_without_the_directory)
{
        shheap *h = heap_dir_open("away", SHHEAP_CREATE, NULL);
        char dir[256];
        int err;

        snprintf(dir, sizeof dir, "%s", getenv("SHMALLOC_DIR"));
        setenv("SHMALLOC_DIR", "/nowhere", 1);
        ck_assert_uint_eq(is_linked(h, &err), 4711);
        ck_assert_int_eq(err, -ENOENT);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "/nowhere"));
        setenv("SHMALLOC_DIR", dir, 1);
        ck_assert_uint_eq(is_linked(h, &err), 1);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

static Suite *
make_suite(void)
{
        Suite *suite = suite_create("removed");
        TCase *tcase = tcase_create("removed");

        tcase_add_checked_fixture(tcase, NULL, heap_dir_empty);
        tcase_add_test(tcase, stale_pointers_are_foreign_to_a_heap_made_anew);
        tcase_add_test(tcase, name_is_lost_by_anything_else_in_its_place);
        tcase_add_test(tcase, name_is_the_one_that_it_was_opened_by);
        tcase_add_test(tcase, whether_a_name_is_there_cannot_be_seen_without_the_directory);
        suite_add_tcase(suite, tcase);
        return suite;
}

int
main(void)
{
        int status;

        heap_dir_create("removed");
        status = suite_run(make_suite());
        heap_dir_remove();
        return status;
}
