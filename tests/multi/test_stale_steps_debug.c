/*
 * What is at stake: the steps of REPLACE (region/stale.c).  Whoever replaces a heap may be killed, or stopped for as
 * long as somebody else likes, before any of its system calls; what it does then must neither leave the name without a
 * heap, nor take the name from a heap that somebody has come into meanwhile.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "layout/layout.h"
#include "os/inject.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { REPLACE = SHHEAP_CREATE | SHHEAP_REPLACE_STALE, CALLS_MAX = 2000 };

static const char *
file_of(const char *name)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/shmalloc.%s", getenv("SHMALLOC_DIR"), name);
        return path;
}

static void
leave_old_heap(void)
{
        uint32_t version = LAYOUT_VERSION + 1;
        int fd;

        ck_assert_int_eq(shheap_close(heap_dir_open("old", SHHEAP_CREATE, NULL)), 0);
        fd = open(file_of("old"), O_WRONLY);
        ck_assert_int_eq(pwrite(fd, &version, sizeof version, offsetof(struct region_header, version)), sizeof version);
        close(fd);
}

static ino_t
inode(void)
{
        struct stat st;

        ck_assert_int_eq(lstat(file_of("old"), &st), 0); /* there is always one */
        return st.st_ino;
}

static int
try_open(unsigned flags)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;
        int err;

        attr.capacity = 16 << 20;
        err = shheap_open(&h, "old", flags, &attr);
        if (err == 0)
                ck_assert_int_eq(shheap_close(h), 0);
        return err;
}

/* ------------------------------------------------------------------ deaths */

static int n_calls, die_at;

static int
dies(const char *call)
{
        (void)call;
        if (++n_calls == die_at)
                raise(SIGKILL);
        return 0;
}

static void
replace_and_die(struct child *self, void *arg)
{
        (void)self, (void)arg;
        os_inject = dies;
        MUST(try_open(REPLACE) == 0);
}

/* Of the new heap's sizes nobody knows, so the number of calls is found by trying. */
START_TEST(death_before_any_call_leaves_one_heap_or_the_other)
{
        int n_old = 0, n_new = 0, status = -1;
        struct child c;

        for (die_at = 1; status != 0; die_at++) {
                ino_t old;
                int err;

                ck_assert_int_lt(die_at, CALLS_MAX);
                leave_old_heap();
                old = inode();
                child_start(&c, replace_and_die, NULL);
                status = child_end(&c);
                ck_assert(status == 0 || (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL));
                err = try_open(0);
                n_old += err == -EPROTO;
                n_new += err == 0;
                ck_assert_int_eq(err, inode() == old ? -EPROTO : 0);
                ck_assert_int_le(heap_dir_count(), 2);
                if (err == 0) { /* the next one meets a heap of another layout as well */
                        ck_assert_int_eq(shheap_unlink("old"), 0);
                        leave_old_heap();
                }
                ck_assert_int_eq(try_open(REPLACE), 0);
                ck_assert_int_eq(heap_dir_count(), 1); /* what the dead left is swept away */
                ck_assert_int_eq(shheap_unlink("old"), 0);
        }
        ck_assert_int_gt(n_old, 5);
        ck_assert_int_gt(n_new, 1);
}
END_TEST

/* ------------------------------------------------------------------ what others do meanwhile */

static const char *stop_at; /* the call */
static void (*meanwhile)(struct child *self, void *arg);
static struct child other;
static bool has_stopped;

static int
lets_others(const char *call)
{
        if (has_stopped || strcmp(call, stop_at) != 0)
                return 0;
        has_stopped = true;
        child_start(&other, meanwhile, NULL);
        ck_assert(child_hear(&other));
        return 0;
}

/* Replaces as long as `fn` wants to do its work in another process before the first `call`. */
static int
replace_while(const char *call, void (*fn)(struct child *self, void *arg))
{
        int err;

        stop_at = call;
        meanwhile = fn;
        has_stopped = false;
        os_inject = lets_others;
        err = try_open(REPLACE);
        os_inject = NULL;
        ck_assert(has_stopped);
        return err;
}

static void
end_other(void)
{
        child_tell(&other);
        ck_assert_int_eq(child_end(&other), 0);
}

static uint64_t
id_meanwhile(void)
{
        uint64_t id = 0;

        ck_assert_int_eq(read(other.from, &id, sizeof id), sizeof id);
        return id;
}

static void
makes_another(struct child *self, void *arg)
{
        shheap *h;
        uint64_t id;

        (void)arg;
        os_inject = NULL;
        MUST(shheap_unlink("old") == 0);
        h = heap_dir_open("old", SHHEAP_CREATE | SHHEAP_EXCL, NULL);
        id = heap_ctl(h, "heap.id");
        child_tell(self);
        MUST(write(self->to, &id, sizeof id) == sizeof id);
        child_hear(self);
        MUST(heap_ctl(h, "heap.is_linked") == 1);
        MUST(shheap_close(h) == 0);
}

START_TEST(heap_that_others_made_meanwhile_keeps_its_name)
{
        static const char *const calls[] = {"lease", "link", "exchange"};
        uint64_t id;
        shheap *h;

        leave_old_heap();
        ck_assert_int_eq(replace_while(calls[_i], makes_another), 0);
        id = id_meanwhile();
        h = heap_dir_open("old", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.id"), id);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_int_eq(heap_dir_count(), 1);
        end_other();
}
END_TEST

static void
removes(struct child *self, void *arg)
{
        (void)arg;
        os_inject = NULL;
        MUST(shheap_unlink("old") == 0);
        child_tell(self);
        child_hear(self);
}

START_TEST(heap_that_others_removed_meanwhile_is_made_anew)
{
        static const char *const calls[] = {"lease", "link", "exchange"};

        leave_old_heap();
        ck_assert_int_eq(replace_while(calls[_i], removes), 0);
        ck_assert_int_eq(try_open(0), 0);
        ck_assert_int_eq(heap_dir_count(), 1);
        end_other();
}
END_TEST

/* What the kernel does to a lease whose holder is stopped for too long, while somebody wants to come in. */
static void
drop_leases(void)
{
        for (int fd = 3; fd < 1024; fd++)
                fcntl(fd, F_SETLEASE, F_UNLCK);
}

static void
comes_in(struct child *self, void *arg)
{
        int fd;

        (void)arg;
        drop_leases(); /* the descriptor is the same */
        for (fd = 3; fd < 1024; fd++)
                if (fd != self->from && fd != self->to)
                        close(fd);
        MUST(open(file_of("old"), O_RDWR | O_NONBLOCK) >= 0);
        child_tell(self);
        child_hear(self);
}

START_TEST(who_came_in_while_the_replacer_was_stopped_keeps_his_heap)
{
        ino_t old;

        leave_old_heap();
        old = inode();
        ck_assert_int_eq(replace_while("exchange", comes_in), -EPROTO);
        ck_assert_uint_eq(inode(), old);
        ck_assert_int_eq(heap_dir_count(), 1);
        end_other();
        ck_assert_int_eq(try_open(REPLACE), 0);
}
END_TEST

static void
only_looks(struct child *self, void *arg)
{
        int fd;

        (void)arg;
        os_inject = NULL;
        fd = open(file_of("old"), O_RDONLY | O_NONBLOCK);
        MUST(fd < 0 && errno == EAGAIN); /* nobody comes in */
        MUST(try_open(0) == -EAGAIN);    /* which is said */
        MUST(strstr(shheap_errormsg(), "lease") != NULL);
        child_tell(self);
        child_hear(self);
}

/* It is told by a signal which would end a process that knows nothing of it. */
START_TEST(who_is_kept_out_harms_nobody)
{
        leave_old_heap();
        ck_assert_int_eq(replace_while("exchange", only_looks), 0);
        end_other();
        ck_assert_int_eq(try_open(0), 0);
}
END_TEST

/* ------------------------------------------------------------------ where it cannot be done */

static const char *fail_call;
static int fail_err;

static int
fails(const char *call)
{
        return strcmp(call, fail_call) == 0 ? fail_err : 0;
}

START_TEST(without_proof_the_heap_stays)
{
        static const struct {
                const char *call;
                int err, expected;
        } cases[] = {
                {"lease", EINVAL, -EPROTO},    {"lease", EACCES, -EPROTO}, {"lease", EAGAIN, -EPROTO},
                {"exchange", EINVAL, -EINVAL}, {"link", ENOSPC, -ENOSPC},
        };
        ino_t old;

        leave_old_heap();
        old = inode();
        fail_call = cases[_i].call;
        fail_err = cases[_i].err;
        os_inject = fails;
        ck_assert_int_eq(try_open(REPLACE), cases[_i].expected);
        os_inject = NULL;
        ck_assert_uint_eq(inode(), old);
        ck_assert_int_eq(heap_dir_count(), 1);
        ck_assert_int_eq(try_open(REPLACE), 0);
}
END_TEST

static Suite *
make_suite(void)
{
        Suite *suite = suite_create("stale_steps");
        TCase *tcase = tcase_create("steps");

        tcase_set_timeout(tcase, 600);
        tcase_add_checked_fixture(tcase, NULL, heap_dir_empty);
        tcase_add_test(tcase, death_before_any_call_leaves_one_heap_or_the_other);
        tcase_add_loop_test(tcase, heap_that_others_made_meanwhile_keeps_its_name, 0, 3);
        tcase_add_loop_test(tcase, heap_that_others_removed_meanwhile_is_made_anew, 0, 3);
        tcase_add_test(tcase, who_came_in_while_the_replacer_was_stopped_keeps_his_heap);
        tcase_add_test(tcase, who_is_kept_out_harms_nobody);
        tcase_add_loop_test(tcase, without_proof_the_heap_stays, 0, 5);
        suite_add_tcase(suite, tcase);
        return suite;
}

int
main(void)
{
        int status;

        heap_dir_create("stale_steps");
        status = suite_run(make_suite());
        heap_dir_remove();
        return status;
}
