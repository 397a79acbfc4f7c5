/*
 * What is at stake: a program that frees what it must not is told so in one line from which the mistake can be found,
 * and ends; the heap and everybody else in it notice nothing.  Each misuse happens in a child, whose standard error is
 * read.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { HANDLER_RETURNED = 5, HANDLER_EXITED = 7 };

static shheap *h, *other;
static char text[1 << 18]; /* what the child wrote */
static void *noinit_sink;  /* hides from the compiler that a pointer is not to be freed */

static void
setup(void)
{
        heap_dir_empty();
        h = heap_dir_open("fault", SHHEAP_CREATE, NULL);
        other = heap_dir_open("other", SHHEAP_CREATE, NULL);
}

static void
teardown(void)
{
        shheap_reap(h);
        heap_assert_clean(h);
        heap_assert_clean(other);
        shheap_close(h);
        shheap_close(other);
        heap_dir_empty();
}

static void *
hide(void *p)
{
        __atomic_store_n(&noinit_sink, p, __ATOMIC_RELAXED);
        return __atomic_load_n(&noinit_sink, __ATOMIC_RELAXED);
}

/* The child was aborted and said one line, in which these words are. */
static void
assert_aborts(void (*fn)(void), const char *const *words)
{
        int status = child_says(fn, text, sizeof text);

        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x: %s", status, text);
        ck_assert_msg(strchr(text, '\n') == text + strlen(text) - 1, "not one line: %s", text);
        ck_assert_msg(strncmp(text, "shmalloc: ", 10) == 0, "%s", text);
        for (; *words; words++)
                ck_assert_msg(strstr(text, *words) != NULL, "no \"%s\" in: %s", *words, text);
}

#define ABORTS(fn, ...) assert_aborts(fn, (const char *const[]){__VA_ARGS__, NULL})

/* ------------------------------------------------------------------ the misuses */

static void
free_of_stack(void)
{
        int local;

        shheap_free(h, hide(&local));
}

static void
shfree_of_stack(void)
{
        int local;

        shfree(hide(&local));
}

static void
free_in_wrong_heap(void)
{
        shheap_free(h, hide(shheap_malloc(other, 100)));
}

static void
free_in_unused_memory(void)
{
        shheap_free(h, hide((char *)shheap_malloc(h, 100) + (48 << 20)));
}

static void
double_free_of_huge(void)
{
        void *p = hide(shheap_malloc(h, 5 << 20)), *again = hide(p);

        shheap_free(h, p);
        shheap_free(h, again);
}

static void
free_inside_huge(void)
{
        shheap_free(h, hide((char *)shheap_malloc(h, 9 << 20) + (4 << 20) + 64));
}

static void
double_free_of_small(void)
{
        void *p = hide(shheap_malloc(h, 100)), *again = hide(p);

        heap_use(h, 100);
        MUST(shheap_malloc(h, 100)); /* keeps the slab, so that the class is still known */
        shheap_free(h, p);
        shheap_free(h, again);
        shheap_purge(h, -1);
}

static void
double_free_at_close(void)
{
        void *p = hide(shheap_malloc(h, 70000)), *again = hide(p);

        shheap_free(h, p);
        shheap_free(h, again);
        shheap_close(h);
}

static void
free_inside_small(void)
{
        heap_use(h, 100);
        shheap_free(h, hide((char *)shheap_malloc(h, 100) + 16));
        shheap_purge(h, -1);
}

static void
free_inside_large(void)
{
        shheap_free(h, hide((char *)shheap_malloc(h, 1 << 20) + (1 << 17)));
}

static void
free_near_start_of_large(void)
{
        shheap_free(h, hide((char *)shheap_malloc(h, 1 << 20) + 64));
        shheap_purge(h, -1);
}

static void
wrong_size(void)
{
        shheap_free_sized(h, shheap_malloc(h, 100), 500);
}

static void
wrong_alignment(void)
{
        void *p = shheap_aligned_alloc(h, 64, 64);

        shheap_free_aligned_sized(h, (char *)p, 1 << 20, 64);
}

static void
free_without_right(void)
{
        void *p = shheap_malloc(other, 10);
        shref ref = shheap_ref(other, p);
        shheap *ro;

        shheap_close(other);
        MUST(shheap_open(&ro, "other", SHHEAP_RDONLY, NULL) == 0);
        shheap_free(ro, shheap_ptr(ro, ref));
}

START_TEST(pointer_of_no_heap_is_foreign)
{
        ABORTS(free_of_stack, "shheap_free(0x", "foreign pointer", "in no heap that this process has open");
        ABORTS(shfree_of_stack, "shfree(0x", "foreign pointer");
        ABORTS(free_in_wrong_heap, "foreign pointer", "is in heap \"other\", not in \"fault\"", "112 bytes each");
        ABORTS(free_in_unused_memory, "no block starts", "memory that the heap has never used");
}
END_TEST

START_TEST(huge_block_and_all_but_the_start_of_large_ones_are_checked_at_once)
{
        ABORTS(free_inside_large, "shheap_free(0x", "no block starts", "inside the run at 0x",
               "one block of 1048576 bytes");
        ABORTS(double_free_of_huge, "shheap_free(0x", "free memory, no block");
        ABORTS(free_inside_huge, "no block starts at this pointer", "inside the huge block of 9437184 bytes");
}
END_TEST

START_TEST(cached_misuse_is_told_when_caches_are_emptied)
{
        ABORTS(double_free_of_small, "shheap_purge()", "double free", "found only now", "112 bytes each (class ",
               "arena ", "node 0", "\"fault\"");
        ABORTS(double_free_at_close, "shheap_close()", "double free");
        ABORTS(free_inside_small, "shheap_purge()", "no block starts", "16 bytes inside block ");
        ABORTS(free_near_start_of_large, "shheap_purge()", "found only now", "inside the run at 0x");
}
END_TEST

START_TEST(wrong_size_or_alignment_is_told_at_once)
{
        ABORTS(wrong_size, "shheap_free_sized(0x", "500 bytes", "wrong size", "112 bytes each");
        ABORTS(wrong_alignment, "shheap_free_aligned_sized(0x", "wrong size or alignment", "64 bytes each");
}
END_TEST

START_TEST(free_in_a_heap_that_may_not_be_changed_is_told)
{
        ABORTS(free_without_right, "cannot use the heap", "read-only");
}
END_TEST

START_TEST(checked_heap_tells_at_once)
{
        shheap_close(h);
        h = heap_dir_open("fault", 0, "check:true");
        ABORTS(double_free_of_small, "shheap_free(0x", "double free");
        ABORTS(free_inside_small, "shheap_free(0x", "no block starts", "16 bytes inside block ");
        ABORTS(free_near_start_of_large, "shheap_free(0x", "no block starts", "inside the run at 0x");
}
END_TEST

/* ------------------------------------------------------------------ handlers */

static sigjmp_buf back;
static struct shheap_fault seen;
static int wanted_arg;

static void
handler_returns(const struct shheap_fault *fault, void *arg)
{
        (void)fault;
        MUST(arg == &wanted_arg);
        MUST(write(STDERR_FILENO, "handled\n", 8) == 8);
}

static void
handler_exits(const struct shheap_fault *fault, void *arg)
{
        (void)fault;
        (void)arg;
        shheap_close(h);
        _exit(HANDLER_EXITED);
}

static void
handler_jumps(const struct shheap_fault *fault, void *arg)
{
        (void)arg;
        seen = *fault;
        MUST(fault->size == sizeof *fault);
        MUST(strncmp(fault->text, "shmalloc: ", 10) == 0 && !strchr(fault->text, '\n'));
        shheap_free(h, shheap_malloc(h, 100)); /* the heap may be used */
        siglongjmp(back, 1);
}

static void
faults_with_handler_that_returns(void)
{
        shheap_set_fault_handler(handler_returns, &wanted_arg);
        free_of_stack();
        _exit(HANDLER_RETURNED);
}

static void
faults_with_handler_that_exits(void)
{
        shheap_set_fault_handler(handler_exits, NULL);
        free_inside_huge();
}

static void
faults_with_no_handler_again(void)
{
        shheap_set_fault_handler(handler_exits, NULL);
        shheap_set_fault_handler(NULL, NULL);
        free_of_stack();
}

static void
expect(void (*fn)(void), uint32_t what, size_t block_size, size_t given_size)
{
        memset(&seen, 0, sizeof seen);
        if (sigsetjmp(back, 1) == 0)
                fn();
        MUST(seen.what == what);
        MUST(seen.ptr != NULL);
        MUST(seen.block_size == block_size);
        MUST(seen.given_size == given_size);
}

static void
faults_with_handler_that_jumps(void)
{
        shheap_set_fault_handler(handler_jumps, NULL);
        for (int i = 0; i < 50; i++) {
                expect(free_of_stack, SHHEAP_FAULT_FOREIGN_POINTER, 0, 0);
                expect(free_inside_huge, SHHEAP_FAULT_INVALID_FREE, 0, 0);
                expect(free_inside_small, SHHEAP_FAULT_INVALID_FREE, 0, 0);
                expect(double_free_of_small, SHHEAP_FAULT_DOUBLE_FREE, 112, 0);
                expect(wrong_size, SHHEAP_FAULT_SIZE_MISMATCH, 112, 500);
                for (int k = 0; k < 1000; k++)
                        shheap_free(h, shheap_malloc(h, (size_t)k * 40));
                if (i % 10 == 0)
                        shheap_purge(h, -1); /* makes room for what leaks here */
        }
        shheap_set_fault_handler(NULL, NULL);
        shheap_close(h);
        shheap_close(other);
}

START_TEST(process_whose_handler_returns_is_aborted)
{
        int status = child_says(faults_with_handler_that_returns, text, sizeof text);

        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "status %#x: %s", status, text);
        ck_assert_msg(strstr(text, "foreign pointer") && strstr(text, "\nhandled\n"), "%s", text);
}
END_TEST

START_TEST(handler_may_end_the_process)
{
        int status = child_says(faults_with_handler_that_exits, text, sizeof text);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == HANDLER_EXITED, "status %#x: %s", status, text);
}
END_TEST

START_TEST(handler_may_jump_out_and_the_heap_is_as_good_as_before)
{
        int status;

        shheap_close(h);
        ck_assert_int_eq(shheap_unlink("fault"), 0);
        h = heap_dir_open("fault", SHHEAP_CREATE, "capacity:1024M,decay_ms:-1");
        status = child_says(faults_with_handler_that_jumps, text, sizeof text);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "status %#x: %s", status,
                      text + (strlen(text) > 1000 ? strlen(text) - 1000 : 0));
}
END_TEST

START_TEST(handler_can_be_taken_back)
{
        ABORTS(faults_with_no_handler_again, "foreign pointer");
}
END_TEST

START_TEST(null_is_no_fault_and_errno_is_kept)
{
        errno = EXDEV;
        shfree(NULL);
        shheap_free(h, NULL);
        shheap_free_sized(h, NULL, 10);
        shheap_free_aligned_sized(h, NULL, 16, 10);
        shheap_free(h, shheap_malloc(h, 5 << 20));
        ck_assert_int_eq(errno, EXDEV);
}
END_TEST

/* ------------------------------------------------------------------ standard error that takes nothing */

static void
stderr_is_a_broken_pipe(void)
{
        int pipes[2];

        MUST(pipe(pipes) == 0 && dup2(pipes[1], STDERR_FILENO) == STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
}

static void
stderr_is_a_socket_without_a_peer(void)
{
        int sockets[2];

        MUST(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0 && dup2(sockets[1], STDERR_FILENO) == STDERR_FILENO);
        close(sockets[0]);
        close(sockets[1]);
}

static void
stderr_is_a_file_of_full_length(void)
{
        struct rlimit none = {0, 0};
        FILE *f = tmpfile();

        MUST(f && dup2(fileno(f), STDERR_FILENO) == STDERR_FILENO && setrlimit(RLIMIT_FSIZE, &none) == 0);
}

static void
stderr_is_a_pipe_that_nobody_reads(void)
{
        char full[4096] = {0};
        int pipes[2];

        MUST(pipe(pipes) == 0 && dup2(pipes[1], STDERR_FILENO) == STDERR_FILENO);
        MUST(fcntl(STDERR_FILENO, F_SETFL, O_NONBLOCK) == 0);
        while (write(STDERR_FILENO, full, sizeof full) > 0)
                ;
        MUST(fcntl(STDERR_FILENO, F_SETFL, 0) == 0);
}

/* The process in the foreground: the one behind it ends, and what it wrote is there. */
static void
expect_an_end_and_a_line(int terminal, pid_t pid)
{
        struct pollfd p = {.fd = terminal, .events = POLLIN};
        int status;

        if (waitpid(pid, &status, WUNTRACED) != pid || !WIFEXITED(status)) {
                kill(pid, SIGKILL);
                _exit(CHILD_MUST_FAILED);
        }
        _exit(poll(&p, 1, 10000) == 1 ? WEXITSTATUS(status) : CHILD_MUST_FAILED);
}

/* `stty tostop`, and not in the foreground: who writes there is stopped. */
static void
stderr_is_a_terminal_that_stops_who_writes(void)
{
        int terminal = posix_openpt(O_RDWR | O_NOCTTY), fd;
        struct termios settings;
        pid_t pid;

        MUST(terminal >= 0 && grantpt(terminal) == 0 && unlockpt(terminal) == 0 && setsid() > 0);
        fd = open(ptsname(terminal), O_RDWR); /* the new session's own */
        MUST(fd >= 0 && tcgetpgrp(fd) == getpgrp() && tcgetattr(fd, &settings) == 0);
        settings.c_lflag |= TOSTOP;
        MUST(tcsetattr(fd, TCSANOW, &settings) == 0);
        pid = fork();
        MUST(pid >= 0);
        if (pid > 0)
                expect_an_end_and_a_line(terminal, pid);
        MUST(setpgid(0, 0) == 0 && tcgetpgrp(fd) != getpgrp() && dup2(fd, STDERR_FILENO) == STDERR_FILENO);
}

/* As in a process without standard streams that is sent a heap's descriptor. */
static void
stderr_is_a_heap(void)
{
        int fd = shheap_dup_fd(other, 0);

        MUST(fd >= 0 && dup2(fd, STDERR_FILENO) == STDERR_FILENO && lseek(STDERR_FILENO, 0, SEEK_SET) == 0);
}

static void (*const bad_stderr[])(void) = {
        stderr_is_a_broken_pipe, stderr_is_a_socket_without_a_peer,          stderr_is_a_file_of_full_length,
        stderr_is_a_heap,        stderr_is_a_terminal_that_stops_who_writes, stderr_is_a_pipe_that_nobody_reads};
enum { N_BAD_STDERR = sizeof bad_stderr / sizeof bad_stderr[0], N_THAT_FAIL = N_BAD_STDERR - 1 };

static int stderr_no; /* that the child has */

static void
says_what_is_not_its_fault(void)
{
        sigset_t before, after, pending;

        bad_stderr[stderr_no]();
        sigprocmask(SIG_SETMASK, NULL, &before);
        errno = 0;
        fault_tell_lost(h, shheap_malloc(h, 100), "shheap_free", "for a test");
        sigprocmask(SIG_SETMASK, NULL, &after);
        sigpending(&pending);
        for (int i = 1; i < SIGRTMIN; i++)
                if (sigismember(&before, i) != sigismember(&after, i) || sigismember(&pending, i))
                        _exit(i); /* MUST() has nowhere to say it */
}

/* A signal that was there before stays, and one that is blocked is not left behind. */
static void
says_it_with_signals_blocked(void)
{
        sigset_t pipe_only, pending;

        sigemptyset(&pipe_only);
        sigaddset(&pipe_only, SIGPIPE);
        sigprocmask(SIG_BLOCK, &pipe_only, NULL);
        says_what_is_not_its_fault();
        raise(SIGPIPE);
        fault_tell_lost(other, shheap_malloc(other, 100), "shheap_free", "for a test");
        sigpending(&pending);
        if (!sigismember(&pending, SIGPIPE))
                _exit(CHILD_MUST_FAILED);
}

/* What stands in its first line, a newcomer reads. */
static void
others_can_open_it(void)
{
        ck_assert_int_eq(shheap_close(other), 0);
        other = heap_dir_open("other", 0, NULL);
}

START_TEST(who_tells_of_others_is_not_hurt_by_its_standard_error)
{
        stderr_no = _i;
        ck_assert_int_eq(child_says(says_what_is_not_its_fault, text, sizeof text), 0);
        ck_assert_int_eq(child_says(says_it_with_signals_blocked, text, sizeof text), 0);
        others_can_open_it();
}
END_TEST

static void
is_to_blame(void)
{
        bad_stderr[stderr_no]();
        shheap_set_fault_handler(handler_exits, NULL);
        free_of_stack();
}

START_TEST(handler_is_called_whatever_became_of_standard_error)
{
        int status;

        stderr_no = _i;
        status = child_says(is_to_blame, text, sizeof text);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == HANDLER_EXITED, "status %#x", status);
        others_can_open_it();
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("fault");
        TCase *tcase = tcase_create("misuse");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, pointer_of_no_heap_is_foreign);
        tcase_add_test(tcase, huge_block_and_all_but_the_start_of_large_ones_are_checked_at_once);
        tcase_add_test(tcase, cached_misuse_is_told_when_caches_are_emptied);
        tcase_add_test(tcase, wrong_size_or_alignment_is_told_at_once);
        tcase_add_test(tcase, free_in_a_heap_that_may_not_be_changed_is_told);
        tcase_add_test(tcase, checked_heap_tells_at_once);
        tcase_add_test(tcase, null_is_no_fault_and_errno_is_kept);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("handlers");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, process_whose_handler_returns_is_aborted);
        tcase_add_test(tcase, handler_may_end_the_process);
        tcase_add_test(tcase, handler_may_jump_out_and_the_heap_is_as_good_as_before);
        tcase_add_test(tcase, handler_can_be_taken_back);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("stderr");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, who_tells_of_others_is_not_hurt_by_its_standard_error, 0, N_BAD_STDERR);
        tcase_add_loop_test(tcase, handler_is_called_whatever_became_of_standard_error, 0, N_THAT_FAIL);
        suite_add_tcase(suite, tcase);

        heap_dir_create("fault");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
