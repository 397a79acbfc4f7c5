/*
 * What is at stake: that a process takes itself for another one.  What it was told of itself is remembered, and a child
 * has a copy of its parent's memory: one that went on with its parent's numbers would take locks in its name.
 */
#include <check.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/process.h"
#include "support/suite.h"

static bool
knows_itself(void)
{
        return process_id() == (uint32_t)getpid() && process_tid() == (uint32_t)syscall(SYS_gettid) &&
               process_generation() != 0;
}

/* Twice: what is remembered, too. */
static int
child_is_wrong(uint32_t parent_generation)
{
        if (*process_mark() != 0)
                return 1;
        if (!knows_itself() || !knows_itself())
                return 2;
        return process_generation() != parent_generation ? 0 : 3;
}

static pid_t
raw_clone(void)
{
        return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static pid_t (*const ways[])(void) = {fork, _Fork, raw_clone};

/* Of a child, and of its child. */
static int
fork_twice(pid_t (*way)(void), int depth)
{
        uint32_t generation = process_generation();
        int status, wrong;
        pid_t pid = way();

        if (pid == 0) {
                wrong = child_is_wrong(generation);
                *process_mark() = 1;
                _exit(wrong != 0 || depth == 0 ? wrong : 10 * fork_twice(way, depth - 1));
        }
        return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

START_TEST(child_forgets_what_its_parent_was_told)
{
        ck_assert_int_eq(process_remember(), 0);
        ck_assert(knows_itself() && knows_itself());
        ck_assert_uint_eq(*process_mark(), 1);
        ck_assert_int_eq(fork_twice(ways[_i], 1), 0);
        ck_assert(knows_itself());
        ck_assert_uint_eq(*process_mark(), 1);
}
END_TEST

static void *
thread_knows_itself(void *arg)
{
        return knows_itself() && knows_itself() && process_generation() == *(uint32_t *)arg ? NULL : arg;
}

START_TEST(thread_has_a_number_of_its_own)
{
        uint32_t generation;
        pthread_t thread;
        void *wrong;

        ck_assert_int_eq(process_remember(), 0);
        generation = process_generation();
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(pthread_create(&thread, NULL, thread_knows_itself, &generation), 0);
                ck_assert_int_eq(pthread_join(thread, &wrong), 0);
                ck_assert_ptr_null(wrong);
        }
        ck_assert(knows_itself());
}
END_TEST

START_TEST(namespace_is_the_inode_of_the_link_in_proc)
{
        struct stat st;

        ck_assert_int_eq(stat("/proc/self/ns/pid", &st), 0);
        ck_assert_uint_eq(process_pid_ns(), st.st_ino);
        ck_assert_int_eq(process_remember(), 0);
        ck_assert_uint_eq(process_pid_ns(), st.st_ino);
        process_pid_ns_refresh();
        ck_assert_uint_eq(process_pid_ns(), st.st_ino);
}
END_TEST

/* Of its first thread, whichever asks; as long a name as the kernel has, with what ends the field in it. */
static void *
describe(void *arg)
{
        char name[PROCESS_NAME_MAX + 1];
        uint64_t ticks;

        (void)arg;
        ck_assert_int_eq(pthread_setname_np(pthread_self(), "another"), 0);
        process_describe(name, &ticks);
        ck_assert_str_eq(name, "a) R 1 (b) 2 c)");
        ck_assert_uint_eq(ticks, process_start_ticks((uint32_t)getpid()));
        ck_assert_uint_ne(ticks, 0);
        return NULL;
}

START_TEST(process_is_described_by_its_own_name)
{
        pthread_t thread;

        ck_assert_int_eq(pthread_setname_np(pthread_self(), "a) R 1 (b) 2 c)"), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, describe, NULL), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("process");
        TCase *tc = tcase_create("process");

        tcase_add_loop_test(tc, child_forgets_what_its_parent_was_told, 0, sizeof ways / sizeof ways[0]);
        tcase_add_test(tc, thread_has_a_number_of_its_own);
        tcase_add_test(tc, namespace_is_the_inode_of_the_link_in_proc);
        tcase_add_test(tc, process_is_described_by_its_own_name);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
