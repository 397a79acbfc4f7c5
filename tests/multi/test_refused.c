/*
 * What is at stake: who runs in a sandbox, under a quota or at a limit, and reads what a failed call says.  "No memory"
 * sends it looking in the wrong place: so a call does without what the system refuses, or names it and the system's
 * reason.
 */
#include <errno.h>
#include <linux/capability.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/confine.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

/* ------------------------------------------------------------------ filters */

static const struct refusal {
        const char *name; /* as messages have it */
        int number;
        int and_number; /* refused as well, 0: none */
        const char *and_name;
} refusals[] = {
        {"fallocate", SYS_fallocate, 0, NULL},
        {"madvise", SYS_madvise, 0, NULL},
        {"fallocate", SYS_fallocate, SYS_madvise, "madvise"},
        {"mmap", SYS_mmap, 0, NULL},
        {"mprotect", SYS_mprotect, 0, NULL},
        {"ftruncate", SYS_ftruncate, 0, NULL},
        {"fchmod", SYS_fchmod, 0, NULL},
        {"openat", SYS_openat, 0, NULL},
        {"linkat", SYS_linkat, 0, NULL},
        {"fstat", SYS_fstat, 0, NULL},
        {"pread64", SYS_pread64, 0, NULL},
        {"fcntl", SYS_fcntl, 0, NULL},
        {"getdents64", SYS_getdents64, 0, NULL},
        {"newfstatat", SYS_newfstatat, 0, NULL},
        {"fstatfs", SYS_fstatfs, 0, NULL},
        {"mremap", SYS_mremap, 0, NULL},
        {"munlock", SYS_munlock, SYS_mlock2, "mlock2"},
};
/* Those that are done without, or fail for no other reason. */
static const struct refusal refused_once[] = {
        {"lseek", SYS_lseek, 0, NULL},
        {"getrandom", SYS_getrandom, 0, NULL},
        {"read", SYS_read, 0, NULL},
        {"socket", SYS_socket, SYS_connect, "connect"},
        {"get_robust_list", SYS_get_robust_list, SYS_set_robust_list, "set_robust_list"},
        {"sched_yield", SYS_sched_yield, 0, NULL},
        {"sysinfo", SYS_sysinfo, SYS_prlimit64, "prlimit64"},
        {"getcpu", SYS_getcpu, SYS_mbind, "mbind"},
        {"get_mempolicy", SYS_get_mempolicy, SYS_move_pages, "move_pages"},
        {"pidfd_open", SYS_pidfd_open, SYS_kill, "kill"},
        {"flock", SYS_flock, SYS_unlinkat, "unlinkat"},
        {"munmap", SYS_munmap, SYS_renameat2, "renameat2"},
        {"gettid", SYS_gettid, 0, NULL},
        {"rt_sigprocmask", SYS_rt_sigprocmask, 0, NULL},
};
enum { N_REFUSED_ONCE = sizeof refused_once / sizeof refused_once[0] };

static const int errors[] = {EPERM, ENOSYS, EDQUOT};

enum { N_REFUSALS = sizeof refusals / sizeof refusals[0], N_ERRORS = sizeof errors / sizeof errors[0] };

static void
refuse(const struct refusal *refusal, int error)
{
        confine_refuse(refusal->number, refusal->and_number, error);
}

static void
must_name(const struct refusal *refusal, int error)
{
        const char *text = shheap_errormsg();

        if ((!strstr(text, refusal->name) && !(refusal->and_name && strstr(text, refusal->and_name))) ||
            !strstr(text, strerror(error)))
                child_fail(__FILE__, __LINE__, "the message names the call and the reason");
}

/* What was created and could not be used has no name, where those calls are there by which a name is removed. */
static void
must_have_left_no_name(const struct refusal *refusal)
{
        static const int needed[] = {SYS_openat, SYS_newfstatat, SYS_fcntl, SYS_flock};
        char path[4096];

        for (unsigned i = 0; i < sizeof needed / sizeof needed[0]; i++)
                if (refusal->number == needed[i])
                        return;
        snprintf(path, sizeof path, "%s/shmalloc.x", getenv("SHMALLOC_DIR"));
        if (access(path, F_OK) == 0)
                child_fail(__FILE__, __LINE__, "a heap that could not be opened has left its name");
}

enum moment { BEFORE_CREATE, BEFORE_OPEN, AFTER_OPEN, N_MOMENTS };

struct trial {
        const struct refusal *refusal;
        int error;
        enum moment moment;
};

static void
do_without_or_say_so(struct child *self, void *arg)
{
        const struct trial *trial = arg;
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h = NULL;
        size_t size;
        void *p;
        int err;

        (void)self;
        attr.capacity = 64 * MIB;
        if (trial->moment == BEFORE_OPEN)
                MUST(shheap_open(&h, "x", SHHEAP_CREATE, &attr) == 0 && shheap_close(h) == 0);
        if (trial->moment != AFTER_OPEN)
                refuse(trial->refusal, trial->error);
        err = shheap_open(&h, "x", SHHEAP_CREATE, &attr);
        if (err < 0) {
                must_name(trial->refusal, trial->error);
                if (trial->moment == BEFORE_CREATE)
                        must_have_left_no_name(trial->refusal);
                return;
        }
        if (trial->moment == AFTER_OPEN)
                refuse(trial->refusal, trial->error);
        for (size = 100; size <= 16 * MIB; size *= 8) {
                p = shheap_malloc(h, size);
                if (p)
                        memset(p, 1, size);
                else
                        must_name(trial->refusal, trial->error);
                shheap_free(h, p);
        }
        MUST(shheap_purge(h, -1) == 0);
        err = shheap_reserve(h, 20 * MIB);
        if (err < 0)
                must_name(trial->refusal, trial->error);
        err = shheap_root(h, "r", 100, 0, NULL, NULL, &p);
        if (err < 0)
                must_name(trial->refusal, trial->error);
        MUST(shheap_close(h) == 0);
}

START_TEST(what_is_refused_is_done_without_or_named)
{
        struct trial trial = {
                .refusal = &refusals[_i / (N_ERRORS * N_MOMENTS)],
                .error = errors[_i / N_MOMENTS % N_ERRORS],
                .moment = (enum moment)(_i % N_MOMENTS),
        };

        ck_assert_msg(confine_run(do_without_or_say_so, &trial, NULL), "%s%s, %s, moment %d", trial.refusal->name,
                      trial.refusal->and_number ? " and another" : "", strerror(trial.error), trial.moment);
}
END_TEST

START_TEST(what_else_is_refused_is_done_without_or_named)
{
        struct trial trial = {
                .refusal = &refused_once[_i / N_MOMENTS], .error = EPERM, .moment = (enum moment)(_i % N_MOMENTS)};

        ck_assert_msg(confine_run(do_without_or_say_so, &trial, NULL), "%s, moment %d", trial.refusal->name,
                      trial.moment);
}
END_TEST

/* ------------------------------------------------------------------ replacing, removing, counting */

static const struct refusal of_others[] = {
        {"fcntl", SYS_fcntl, 0, NULL},           {"renameat2", SYS_renameat2, 0, NULL},
        {"flock", SYS_flock, 0, NULL},           {"linkat", SYS_linkat, 0, NULL},
        {"openat", SYS_openat, 0, NULL},         {"fstat", SYS_fstat, 0, NULL},
        {"pread64", SYS_pread64, 0, NULL},       {"newfstatat", SYS_newfstatat, 0, NULL},
        {"unlinkat", SYS_unlinkat, 0, NULL},     {"mmap", SYS_mmap, SYS_mmap, "mmap"},
        {"getdents64", SYS_getdents64, 0, NULL},
};
enum { N_OF_OTHERS = sizeof of_others / sizeof of_others[0] };

static void
replace_or_say_so(struct child *self, void *arg)
{
        const struct trial *trial = arg;
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;

        (void)self;
        attr.capacity = 64 * MIB;
        refuse(trial->refusal, trial->error);
        if (shheap_open(&h, "x", SHHEAP_CREATE | SHHEAP_REPLACE_STALE, &attr) < 0)
                must_name(trial->refusal, trial->error);
        else
                MUST(shheap_malloc(h, 100) && shheap_close(h) == 0);
        if (shheap_unlink("x") < 0)
                must_name(trial->refusal, trial->error);
}

static void
print_or_say_so(struct child *self, void *arg)
{
        const struct trial *trial = arg;
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL);
        FILE *out = fopen("/dev/null", "we");

        (void)self;
        MUST(out && setvbuf(out, NULL, _IONBF, 0) == 0);
        refuse(trial->refusal, trial->error);
        if (shheap_stats_print(h, out, NULL) < 0)
                must_name(trial->refusal, trial->error);
        if (shheap_check(h, 0, out) != 0)
                must_name(trial->refusal, trial->error);
}

START_TEST(replacing_removing_and_counting_name_what_is_refused)
{
        struct trial trial = {.refusal = &of_others[_i / N_ERRORS], .error = errors[_i % N_ERRORS]};

        for (int part = 0; part < 2; part++) {
                heap_dir_empty();
                ck_assert_int_eq(shheap_close(heap_dir_open("x", SHHEAP_CREATE, NULL)), 0);
                if (part == 0)
                        heap_dir_make_stale("x");
                ck_assert_msg(confine_run(part == 0 ? replace_or_say_so : print_or_say_so, &trial, NULL),
                              "%s, %s, part %d", trial.refusal->name, strerror(trial.error), part);
        }
}
END_TEST

START_TEST(stream_that_takes_nothing_is_named)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL);
        FILE *full = fopen("/dev/full", "we");

        ck_assert_ptr_nonnull(full);
        ck_assert_int_eq(shheap_stats_print(h, full, "m"), -EIO);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "stream"));
        fclose(full);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ limits */

static void
limit(int resource, rlim_t value)
{
        struct rlimit r = {value, value};

        MUST(setrlimit(resource, &r) == 0);
}

static void
must_fail(const char *a, const char *b)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;

        attr.capacity = 64 * MIB;
        MUST(shheap_open(&h, "x", SHHEAP_CREATE, &attr) < 0);
        MUST(strstr(shheap_errormsg(), a) && strstr(shheap_errormsg(), b));
}

static void
without_keys(void)
{
        pthread_key_t key;

        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        pthread_key_t last = 0;
        shheap *h;

        while (pthread_key_create(&key, NULL) == 0)
                last = key;
        must_fail("pthread_key_create", strerror(EAGAIN));
        MUST(pthread_key_delete(last) == 0); /* and tried again */
        attr.capacity = 64 * MIB;
        MUST(shheap_open(&h, "x", SHHEAP_CREATE, &attr) == 0 && shheap_malloc(h, 100) && shheap_close(h) == 0);
}

static void
without_address_space(void)
{
        limit(RLIMIT_AS, 64 * MIB);
        must_fail("mmap", "ulimit -v");
}

/* Not even to look for an address. */
static void
without_any_address_space(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;

        attr.capacity = 64 * MIB;
        limit(RLIMIT_AS, 4096);
        MUST(shheap_open(&h, "x", SHHEAP_CREATE, &attr) == -ENOMEM);
}

static void
without_descriptors(void)
{
        limit(RLIMIT_NOFILE, 0);
        must_fail("openat", "ulimit -n");
}

static void
without_locked_memory(void)
{
        struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
        struct __user_cap_data_struct data[2] = {{0}};

        MUST(mlockall(MCL_FUTURE) == 0);
        MUST(syscall(SYS_capset, &header, data) == 0); /* with the right to lock anything there is no limit */
        limit(RLIMIT_MEMLOCK, 1 * MIB);
        must_fail("mmap", "ulimit -l");
}

static void
with_small_files(void)
{
        limit(RLIMIT_FSIZE, 1 * MIB);
        must_fail("ftruncate", "ulimit -f");
}

static void (*const limits[])(void) = {
        without_keys,        without_address_space, without_any_address_space,
        without_descriptors, without_locked_memory, with_small_files,
};

static void
under_limit(struct child *self, void *arg)
{
        (void)self;
        (*(void (*const *)(void))arg)();
}

START_TEST(limit_that_is_reached_is_named)
{
        struct child c;

        child_start(&c, under_limit, (void *)(uintptr_t)&limits[_i]);
        ck_assert_msg(child_end(&c) == 0, "limit %d", _i);
}
END_TEST

/* ------------------------------------------------------------------ file systems */

/* Another file system than one in memory. */
static const char *
disk_dir(void)
{
        static char dir[64];

        strcpy(dir, "/var/tmp/shmalloc-test-XXXXXX");
        return mkdtemp(dir);
}

START_TEST(heap_on_a_disk_is_refused_unless_it_is_asked_for)
{
        const char *dir = disk_dir(), *before = getenv("SHMALLOC_DIR");
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h = NULL, *readonly = NULL, *by_fd = NULL;
        int refused, created, again, fd, of_fd, looked;
        bool names, is_memory;
        char old[200], path[100];

        ck_assert_ptr_nonnull(dir);
        snprintf(old, sizeof old, "%s", before);
        attr.capacity = 16 * MIB;
        setenv("SHMALLOC_DIR", dir, 1);
        refused = shheap_open(&h, "d", SHHEAP_CREATE, &attr);
        is_memory = refused == 0; /* /var/tmp is a tmpfs here */
        names = strstr(shheap_errormsg(), "file system") && strstr(shheap_errormsg(), "disk:true");
        if (is_memory)
                shheap_close(h);
        attr.conf = "disk:true";
        created = shheap_open(&h, "d", SHHEAP_CREATE, &attr);
        fd = created == 0 ? shheap_dup_fd(h, 0) : -1;
        if (created == 0)
                shheap_close(h);
        again = shheap_open(&h, "d", 0, NULL);
        of_fd = shheap_open_fd(&by_fd, fd, 0);
        looked = shheap_open(&readonly, "d", SHHEAP_RDONLY, NULL);
        if (looked == 0)
                shheap_close(readonly);
        shheap_unlink("d");
        close(fd);
        snprintf(path, sizeof path, "%s", dir);
        rmdir(path);
        setenv("SHMALLOC_DIR", old, 1);
        if (is_memory)
                return;
        ck_assert_int_eq(refused, -ENOTSUP);
        ck_assert(names);
        ck_assert_int_eq(created, 0);
        ck_assert_int_eq(again, -ENOTSUP);
        ck_assert_int_eq(of_fd, -ENOTSUP);
        ck_assert_int_eq(looked, 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("multi/refused");
        TCase *tc = tcase_create("refused");
        int status;

        heap_dir_create("refused");
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, what_is_refused_is_done_without_or_named, 0, N_REFUSALS * N_ERRORS * N_MOMENTS);
        tcase_add_loop_test(tc, what_else_is_refused_is_done_without_or_named, 0, N_REFUSED_ONCE * N_MOMENTS);
        tcase_add_loop_test(tc, replacing_removing_and_counting_name_what_is_refused, 0, N_OF_OTHERS * N_ERRORS);
        tcase_add_test(tc, stream_that_takes_nothing_is_named);
        tcase_add_loop_test(tc, limit_that_is_reached_is_named, 0, (int)(sizeof limits / sizeof limits[0]));
        tcase_add_test(tc, heap_on_a_disk_is_refused_unless_it_is_asked_for);
        suite_add_tcase(suite, tc);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
