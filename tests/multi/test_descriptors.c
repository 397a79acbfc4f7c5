/*
 * What is at stake: files of the program around us.  The heap's descriptor has a number that the program does not know
 * of: if it is 0, 1 or 2 the next message goes over the header; if the program closes it, or puts a file of its own
 * there, what was meant for the heap's file destroys the program's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "os/descriptor.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB  (UINT64_C(1) << 20)
#define CONF "max_clients:16,max_threads:64"

enum { FDS_MAX = 4096 };

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

static int
kept_fd(const shheap *h)
{
        return h->region.fd;
}

/* ------------------------------------------------------------------ 0, 1 and 2 */

static int closed_set, stop;

/* Somebody else's messages, all the time: none of them may go anywhere. */
static void *
write_to_closed(void *arg)
{
        static const char text[64] = "a message";
        int *n_written = arg;

        while (!__atomic_load_n(&stop, __ATOMIC_ACQUIRE))
                for (int fd = 0; fd < 3; fd++)
                        if (closed_set >> fd & 1)
                                *n_written += write(fd, text, sizeof text) >= 0;
        return NULL;
}

static void
open_with_closed(struct child *self, void *arg)
{
        const unsigned flags[] = {0, SHHEAP_RDONLY, SHHEAP_CREATE};
        pthread_t writer;
        int n_written = 0;

        (void)self;
        MUST(shheap_close(arg) == 0);
        for (int fd = 0; fd < 3; fd++)
                if (closed_set >> fd & 1)
                        close(fd);
        MUST(pthread_create(&writer, NULL, write_to_closed, &n_written) == 0);
        for (int i = 0; i < 60; i++) {
                const char *name = i % 4 == 3 ? "new" : "old";
                shheap *h;
                int fd;

                MUST(shheap_open(&h, name, flags[i % 4 == 3 ? 2 : i % 3], NULL) == 0);
                MUST((fd = shheap_dup_fd(h, SHHEAP_RDONLY)) >= 3 && close(fd) == 0);
                MUST((i % 3 != 0 && i % 4 != 3) || shheap_malloc(h, 100) != NULL);
                MUST(shheap_close(h) == 0);
                if (i % 4 == 3)
                        MUST(shheap_unlink("new") == 0);
        }
        __atomic_store_n(&stop, 1, __ATOMIC_RELEASE);
        MUST(pthread_join(writer, NULL) == 0);
        MUST(n_written == 0);
        for (int fd = 0; fd < 3; fd++)
                MUST(!(closed_set >> fd & 1) || fcntl(fd, F_GETFD) < 0);
}

START_TEST(numbers_0_to_2_are_never_the_librarys_not_even_for_a_moment)
{
        shheap *h = heap_dir_open("old", SHHEAP_CREATE, NULL);
        struct child c;

        closed_set = _i;
        child_start(&c, open_with_closed, h);
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_int_eq(shheap_check(h, 0, NULL), 0);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* A file that another thread puts there meanwhile, by dup2(), is that thread's. */
static void
put_files_over_plugs(struct child *self, void *arg)
{
        int null = open("/dev/null", O_RDWR | O_CLOEXEC), dir;
        bool lasts = *(int *)arg != 0;
        struct descriptor_plugs plugs;

        (void)self;
        for (int fd = 0; fd < 3; fd++)
                close(fd);
        if (lasts)
                descriptor_plug_all();
        else
                descriptor_plug(&plugs);
        MUST((dir = descriptor_openat(AT_FDCWD, "/", O_RDONLY | O_DIRECTORY, 0)) >= 3);
        MUST(close(descriptor_openat(AT_FDCWD, "/dev/null", O_RDWR, 0)) == 0);
        for (int fd = 0; fd < 3; fd++) /* else this process's messages would go somewhere */
                MUST(write(fd, "a", 1) < 0 && errno == EBADF && fcntl(fd, F_GETFD) >= 0);
        MUST(dup2(null, 1) == 1);
        if (lasts)
                descriptor_unplug_all();
        else
                descriptor_unplug(&plugs);
        MUST(write(1, "a", 1) == 1);
        MUST(fcntl(0, F_GETFD) < 0 && fcntl(2, F_GETFD) < 0);
        close(dir);
}

START_TEST(file_that_is_put_over_a_plug_stays)
{
        struct child c;

        child_start(&c, put_files_over_plugs, &_i);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

/* An opening that was left by a jump has plugs that nobody takes out; the next one does. */
static void
plug_twice(struct child *self, void *arg)
{
        (void)self, (void)arg;
        for (int fd = 0; fd < 3; fd++)
                close(fd);
        descriptor_plug_all();
        MUST(close(descriptor_openat(AT_FDCWD, "/dev/null", O_RDWR, 0)) == 0 && fcntl(0, F_GETFD) >= 0);
        descriptor_plug_all();
        descriptor_unplug_all();
        for (int fd = 0; fd < 3; fd++)
                MUST(fcntl(fd, F_GETFD) < 0);
}

START_TEST(plugs_that_a_jump_has_left_go_with_the_next)
{
        struct child c;

        child_start(&c, plug_twice, NULL);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

START_TEST(what_is_kept_has_a_high_number_where_the_limit_allows)
{
        struct rlimit before, low;
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL), *other;

        ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
        if (before.rlim_cur > DESCRIPTOR_KEPT_MIN)
                ck_assert_int_ge(kept_fd(h), DESCRIPTOR_KEPT_MIN);
        ck_assert(fcntl(kept_fd(h), F_GETFD) & FD_CLOEXEC);
        low = (struct rlimit){100, before.rlim_max};
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &low), 0);
        other = heap_dir_open("y", SHHEAP_CREATE, NULL);
        ck_assert(kept_fd(other) >= 3 && kept_fd(other) < 100);
        ck_assert_int_eq(shheap_close(other), 0);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ closed, and put to other use */

enum how { CLOSED, REPLACED, CLOSED_UNLINKED, REPLACED_UNLINKED, REPLACED_RECREATED, REPLACED_BY_FD, N_HOW };

/* A file of the program's as long as the heap's, with something in it where the heap has blocks. */
static int
own_file(const shheap *h)
{
        uint64_t bytes = h->region.layout.region_bytes;
        char page[4096];
        int fd = memfd_create("own", MFD_CLOEXEC);

        memset(page, 'x', sizeof page);
        MUST(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
        for (uint64_t off = bytes - 60 * MIB; off < bytes - 30 * MIB; off += sizeof page)
                MUST(pwrite(fd, page, sizeof page, (off_t)off) == sizeof page);
        MUST(pwrite(fd, page, sizeof page, 0) == sizeof page);
        return fd;
}

static uint64_t
sum_of(int fd)
{
        struct stat st;
        uint64_t sum = 0;
        char buf[4096];
        off_t at = 0;

        MUST(fstat(fd, &st) == 0);
        sum = (uint64_t)st.st_size * 31 + (uint64_t)st.st_blocks;
        for (; (at = lseek(fd, at, SEEK_DATA)) >= 0; at += (off_t)sizeof buf)
                for (ssize_t i = 0, n = pread(fd, buf, sizeof buf, at); i < n; i++)
                        sum = sum * 31 + (unsigned char)buf[i];
        return sum;
}

/* All that goes to the system for memory. */
static void
work(shheap *h)
{
        void *p[8], *q;

        for (int round = 0; round < 2; round++) {
                for (int i = 0; i < 8; i++)
                        MUST((p[i] = shheap_malloc(h, MIB)) != NULL && memset(p[i], i, MIB));
                MUST((q = shheap_malloc(h, 9 * MIB)) != NULL && memset(q, 9, 9 * MIB));
                shheap_free(h, q);
                for (int i = 0; i < 8; i++)
                        shheap_free(h, p[i]);
                MUST(shheap_purge(h, -1) == 0);
                MUST(shheap_reserve(h, 4 * MIB) == 0);
        }
}

static void
lose_descriptor(struct child *self, void *arg)
{
        enum how how = *(enum how *)arg;
        shheap *h = heap_dir_open("mine", SHHEAP_CREATE, CONF), *second = NULL;
        bool is_closed = how == CLOSED || how == CLOSED_UNLINKED, has_name = how <= REPLACED || how == REPLACED_BY_FD;
        uint64_t sum = 0, mapped;
        size_t len = sizeof mapped;
        int fd, other, own = -1;

        (void)self;
        if (how == REPLACED_BY_FD) {
                MUST((fd = shheap_dup_fd(h, 0)) >= 0 && shheap_close(h) == 0);
                MUST(shheap_open_fd(&h, fd, 0) == 0 && close(fd) == 0);
        }
        work(h);
        if (!has_name)
                MUST(shheap_unlink("mine") == 0);
        if (how == REPLACED_RECREATED) /* a heap of that name, but another one */
                second = heap_dir_open("mine", SHHEAP_CREATE, CONF);
        fd = kept_fd(h);
        own = is_closed ? -1 : own_file(h);
        for (int n = 3; n < FDS_MAX; n++) /* a loop that wants to be a daemon */
                if (n != own)
                        close(n);
        if (!is_closed) {
                MUST(dup2(own, fd) == fd);
                sum = sum_of(own);
        }
        work(h);
        other = shheap_dup_fd(h, 0);
        MUST(has_name == (other >= 0));
        MUST(has_name || strstr(shheap_errormsg(), "descriptor"));
        MUST(!has_name || descriptor_is(other, h->region.dev, h->region.ino));
        MUST(has_name == (shheap_ctl(h, "stats.mapped", &mapped, &len, NULL, 0) == 0));
        MUST(!has_name || mapped < 60 * MIB);
        MUST(shheap_check(h, SHHEAP_CHECK_QUIESCENT, NULL) == 0);
        MUST(shheap_close(h) == 0 && (!second || shheap_close(second) == 0));
        if (!is_closed) {
                struct stat a, b;

                MUST(sum_of(own) == sum);
                MUST(fstat(own, &a) == 0 && fstat(fd, &b) == 0 && a.st_ino == b.st_ino); /* nor closed */
        }
}

START_TEST(a_descriptor_that_the_program_took_away_costs_nothing)
{
        enum how how = (enum how)_i;
        struct child c;

        child_start(&c, lose_descriptor, &how);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("multi/descriptors");
        TCase *tc = tcase_create("descriptors");
        int status;

        heap_dir_create("descriptors");
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, numbers_0_to_2_are_never_the_librarys_not_even_for_a_moment, 1, 8);
        tcase_add_loop_test(tc, file_that_is_put_over_a_plug_stays, 0, 2);
        tcase_add_test(tc, plugs_that_a_jump_has_left_go_with_the_next);
        tcase_add_test(tc, what_is_kept_has_a_high_number_where_the_limit_allows);
        tcase_add_loop_test(tc, a_descriptor_that_the_program_took_away_costs_nothing, 0, N_HOW);
        suite_add_tcase(suite, tc);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
