/*
 * What is at stake: services that open what they need and then shut themselves in: a chroot without anything in it,
 * another user's rights, locked memory.  What they have open goes on working in every respect, and what they can open
 * no more says why.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/confine.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

enum { NOBODY = 65534, N_BLOCKS = 200 };

/* ------------------------------------------------------------------ everything */

static void
cache_and_die(struct child *self, void *arg)
{
        shheap *h = arg;

        for (int i = 0; i < N_BLOCKS; i++)
                MUST(shheap_malloc(h, 100 + (size_t)i));
        child_tell(self);
        child_hear(self);
}

static void *
work_in_a_thread(void *arg)
{
        shheap *h = arg;
        void *p[N_BLOCKS];

        for (int i = 0; i < N_BLOCKS; i++)
                MUST((p[i] = shheap_malloc(h, (size_t)(100000 / (i + 1)))));
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, p[i]);
        return NULL;
}

/* A new process that dies, a new thread that comes and goes, memory that grows and is given back, names, and what
 * looks. */
static void
do_everything(shheap *h)
{
        FILE *null = tmpfile();
        uint64_t mapped, reaped = heap_ctl(h, "stats.reaped");
        struct child c;
        pthread_t thread;
        void *p, *root;
        shref *dest;

        child_start(&c, cache_and_die, h);
        MUST(child_hear(&c));
        child_kill(&c);
        MUST(shheap_reap(h) == 0 && heap_ctl(h, "stats.reaped") > reaped);
        MUST(pthread_create(&thread, NULL, work_in_a_thread, h) == 0 && pthread_join(thread, NULL) == 0);

        MUST((p = shheap_malloc(h, 24 * MIB)) && memset(p, 1, 24 * MIB));
        MUST((p = shheap_realloc(h, p, 30 * MIB)) && memset(p, 1, 30 * MIB));
        mapped = heap_ctl(h, "stats.mapped");
        shheap_free(h, p);
        MUST(shheap_purge(h, -1) == 0 && heap_ctl(h, "stats.mapped") + 20 * MIB < mapped);
        MUST(shheap_reserve(h, 4 * MIB) == 0);

        MUST(shheap_root(h, "confined", 100, 0, NULL, NULL, &root) == 0 && shheap_root_remove(h, "confined") == 0);
        MUST((dest = shheap_calloc(h, 1, sizeof *dest)));
        MUST(shheap_malloc_to(h, 300, SHA_ZERO, dest) && shheap_settled(h, dest) == 0 &&
             shheap_free_from(h, dest) == 0);
        shheap_free(h, dest);
        if (null) { /* there is nowhere to write to in a chroot */
                MUST(shheap_stats_print(h, null, NULL) == 0);
                fclose(null);
        }
        MUST(shheap_check(h, 0, NULL) == 0);
}

static void
must_say(int err, int wanted, const char *a, const char *b)
{
        if (err != wanted || !strstr(shheap_errormsg(), a) || !strstr(shheap_errormsg(), b)) {
                fprintf(stderr, "%d: %s\n", err, shheap_errormsg());
                child_fail(__FILE__, __LINE__, "it fails for the reason that it says");
        }
}

/* ------------------------------------------------------------------ a chroot */

static void
go_into_an_empty_root(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL), *again;
        const char *dir = getenv("SHMALLOC_DIR");
        int fd;

        (void)self;
        if (chroot(arg) < 0 || chdir("/") < 0)
                _exit(CONFINE_SKIPPED);
        do_everything(h);
        must_say(shheap_open(&again, "y", 0, NULL), -ENOENT, dir, strerror(ENOENT));
        must_say(shheap_open(&again, "y", SHHEAP_CREATE, NULL), -ENOENT, dir, "SHMALLOC_DIR");
        MUST((fd = shheap_dup_fd(h, 0)) >= 0 && close(fd) == 0);
        do_everything(h);
        MUST(shheap_close(h) == 0);
        must_say(shheap_open(&again, "x", 0, NULL), -ENOENT, dir, strerror(ENOENT));
}

START_TEST(who_goes_into_an_empty_chroot_goes_on)
{
        char dir[] = "/tmp/shmalloc-test-root-XXXXXX";
        bool is_good;

        ck_assert_ptr_nonnull(mkdtemp(dir));
        is_good = confine_run(go_into_an_empty_root, dir, NULL);
        ck_assert_int_eq(rmdir(dir), 0);
        ck_assert(is_good);
}
END_TEST

/* ------------------------------------------------------------------ dropped rights */

/* Which knows of the heap only what its name says. */
static void
come_as_nobody(struct child *self, void *arg)
{
        shheap *h;

        (void)self;
        MUST(shheap_close(arg) == 0);
        must_say(shheap_open(&h, "x", 0, NULL), -EACCES, "belongs to uid 0 with mode 0600", "uid 65534 may not");
        must_say(shheap_open(&h, "x", SHHEAP_CREATE, NULL), -EACCES, "belongs to uid 0", "uid 65534");
        must_say(shheap_open(&h, "new", SHHEAP_CREATE, NULL), -EACCES, "openat", strerror(EACCES));
        must_say(shheap_unlink("x"), -EACCES, "unlinkat", strerror(EACCES));
}

static void
become_nobody(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL);
        struct child c;

        (void)self, (void)arg;
        MUST(chmod(getenv("SHMALLOC_DIR"), 0755) == 0);
        if (setresgid(NOBODY, NOBODY, NOBODY) < 0 || setresuid(NOBODY, NOBODY, NOBODY) < 0)
                _exit(CONFINE_SKIPPED);
        do_everything(h);
        child_start(&c, come_as_nobody, h);
        MUST(child_end(&c) == 0);
        do_everything(h);
        MUST(shheap_close(h) == 0);
}

START_TEST(who_drops_its_rights_goes_on_and_newcomers_without_them_are_told)
{
        ck_assert(confine_run(become_nobody, NULL, NULL));
}
END_TEST

/* ------------------------------------------------------------------ locked memory */

static void
lock_all_that_is_there(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, "max_clients:16,max_threads:64");

        (void)self, (void)arg;
        confine_lock_all(MCL_CURRENT);
        MUST(heap_ctl(h, "stats.mapped") > 60 * MIB); /* which cannot be prevented */
        do_everything(h);
        MUST(shheap_purge(h, -1) == 0);
        MUST(heap_ctl(h, "stats.mapped") < 24 * MIB); /* and comes back */
        do_everything(h);
        MUST(shheap_close(h) == 0);
}

START_TEST(who_locks_all_memory_goes_on_and_it_comes_back)
{
        ck_assert(confine_run(lock_all_that_is_there, NULL, NULL));
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("multi/confined");
        TCase *tc = tcase_create("confined");
        int status;

        heap_dir_create("confined");
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        tcase_set_timeout(tc, 120);
        tcase_add_test(tc, who_goes_into_an_empty_chroot_goes_on);
        tcase_add_test(tc, who_drops_its_rights_goes_on_and_newcomers_without_them_are_told);
        tcase_add_test(tc, who_locks_all_memory_goes_on_and_it_comes_back);
        suite_add_tcase(suite, tc);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
