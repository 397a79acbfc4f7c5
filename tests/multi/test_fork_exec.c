/*
 * What is at stake: a program that execs, or lives for a moment only, leaves nothing behind: no descriptor, no mapping,
 * no place among the clients.  What else is made by fork() is in test_fork.c.
 */
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/fork_heap.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_SHORT_LIVES = 100 };

static char program[PATH_MAX];

/* ------------------------------------------------------------------ exec, short lives */

/* What the program does when it is started anew by the next test. */
static int
main_after_exec(void)
{
        DIR *d = opendir("/proc/self/fd");
        const struct dirent *entry;
        char target[PATH_MAX];
        ssize_t n;

        MUST(d != NULL);
        while ((entry = readdir(d)) != NULL) {
                n = readlinkat(dirfd(d), entry->d_name, target, sizeof target - 1);
                target[n > 0 ? n : 0] = '\0';
                MUST(strncmp(target, "/dev/shm/", 9) != 0);
        }
        closedir(d);
        h = heap_dir_open("fork", 0, NULL); /* as itself, not as what it was */
        MUST(shheap_malloc(h, 100) != NULL);
        MUST(heap_ctl(h, "heap.clients") <= 3); /* what it was before may not have been reaped yet */
        return shheap_close(h) == 0 ? 0 : 1;
}

static void
child_execs(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        MUST(shmalloc(100) != NULL);
        execl(program, program, "--after-exec", (char *)NULL);
        MUST(!"exec");
}

START_TEST(exec_closes_everything_and_may_open_again)
{
        for (int i = 0; i < 20; i++) { /* more than there are clients */
                struct child c;

                child_start(&c, child_execs, NULL);
                assert_ended_well(&c);
        }
}
END_TEST

static void
child_opens_and_dies(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        heap_dir_open("fork", 0, NULL);
        _exit(0);
}

START_TEST(processes_that_open_and_die_use_nothing_up)
{
        for (int i = 0; i < N_SHORT_LIVES; i++) {
                struct child c;

                child_start(&c, child_opens_and_dies, NULL);
                assert_ended_well(&c);
        }
        shheap_reap(h);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

int
main(int argc, char **argv)
{
        Suite *suite = suite_create("fork_exec");
        TCase *tcase;
        int status;

        (void)argv;
        if (argc > 1)
                return main_after_exec();
        if (readlink("/proc/self/exe", program, sizeof program - 1) <= 0)
                return EXIT_FAILURE;
        tcase = suite_case(suite, "exec", setup, teardown);
        tcase_add_test(tcase, exec_closes_everything_and_may_open_again);
        tcase_add_test(tcase, processes_that_open_and_die_use_nothing_up);

        heap_dir_create("fork_exec");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
