/*
 * What is at stake: that no system call is relied on to succeed.  A traced process runs one operation with its first
 * system call failing, then its second, and so on until none is left to fail: really every call that the operation
 * makes, the C library's included, not only those that the library expects to fail.  Whatever fails, the operation
 * succeeds or says what is the matter, nobody dies, the heap is exact afterwards, and the same operation succeeds next
 * time.  The same for who finds no slot.  And how many calls it takes until a process has a block, none of which is
 * about a descriptor that the program writes and reads by: the file's server may be one that does not answer.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/numa.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/registers.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

enum { CALLS_MAX = 400, MARK = 424242 };

static shheap *h;
static void *block;

static const char conf[] = "capacity:48M,arenas:2";

/* ------------------------------------------------------------------ operations: true, or false and errno */

static bool
from_error(int err)
{
        errno = -err;
        return err >= 0;
}

static bool
op_create(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.conf = conf;
        return from_error(shheap_open(&h, "fresh", SHHEAP_CREATE, &attr));
}

static bool
op_open(void)
{
        return from_error(shheap_open(&h, "every", 0, NULL));
}

static bool
op_open_readonly(void)
{
        return from_error(shheap_open(&h, "every", SHHEAP_RDONLY, NULL));
}

static bool
use(size_t size)
{
        void *p = shheap_malloc(h, size);

        if (!p)
                return false;
        memset(p, 1, size);
        shheap_free(h, p);
        return true;
}

static bool
op_small(void)
{
        return use(3000);
}

static bool
op_large(void)
{
        return use(300000);
}

static bool
op_huge(void)
{
        return use(9 * MIB);
}

static bool
op_realloc(void)
{
        void *p = shheap_realloc(h, block, 6 * MIB);

        if (!p)
                return false;
        block = shheap_realloc(h, p, 1000); /* shrinking may fail, and the block stays */
        block = block ? block : p;
        return true;
}

static bool
op_reserve(void)
{
        return from_error(shheap_reserve(h, 6 * MIB));
}

static bool
op_root(void)
{
        void *obj;

        if (!from_error(shheap_root(h, "root", 70000, 0, NULL, NULL, &obj)))
                return false;
        return from_error(shheap_root_remove(h, "root"));
}

static bool
op_purge(void)
{
        return use(300000) && from_error(shheap_purge(h, -1));
}

static bool
op_reap(void)
{
        return from_error(shheap_reap(h));
}

static bool
op_check(void)
{
        return from_error(shheap_check(h, 0, NULL));
}

static bool
op_stats(void)
{
        static FILE *out;

        out = out ? out : fopen("/dev/null", "w");
        if (out)
                clearerr(out); /* it would remember the call that failed the last time */
        return out && from_error(shheap_stats_print(h, out, "J"));
}

static bool
op_close(void)
{
        shheap_free(h, block);
        return from_error(shheap_close(h));
}

enum where { NOT_OPEN, OPENED, FORKED };

static const struct op {
        const char *name;
        bool (*run)(void);
        enum where where; /* the process has the heap open, or its parent has, or nobody */
        unsigned n_least; /* calls that it makes at least */
} ops[] = {
        {"create", op_create, NOT_OPEN, 10},
        {"open", op_open, NOT_OPEN, 10},
        {"open read-only", op_open_readonly, NOT_OPEN, 5},
        {"malloc, small", op_small, OPENED, 1},
        {"malloc, large", op_large, OPENED, 1},
        {"malloc, huge", op_huge, OPENED, 1},
        {"realloc", op_realloc, OPENED, 1},
        {"reserve", op_reserve, OPENED, 1},
        {"root", op_root, OPENED, 1},
        {"purge", op_purge, OPENED, 1},
        {"reap", op_reap, OPENED, 3},
        {"check", op_check, OPENED, 1},
        {"stats", op_stats, OPENED, 1},
        {"close", op_close, OPENED, 2},
        {"malloc after fork", op_small, FORKED, 5},
        {"reap after fork", op_reap, FORKED, 5},
        {"close after fork", op_close, FORKED, 1},
};

/* ------------------------------------------------------------------ the traced process */

static void
mark(void)
{
        syscall(SYS_sched_get_priority_max, MARK);
}

/* What it leaves in the heap is the parent's to judge. */
static void __attribute__((noreturn)) run_traced(const struct op *op)
{
        bool is_good;
        int err;

        if (op->where == OPENED) {
                h = heap_dir_open("every", 0, NULL);
                block = shheap_malloc(h, 200000);
                MUST(block);
        } else if (op->where == FORKED) {
                block = NULL;
        }
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        errno = 0;
        mark();
        is_good = op->run();
        err = errno;
        mark();
        if (!is_good) {
                MUST(err > 0 && err < 4096 && strlen(shheap_errormsg()) > 5);
                MUST(op->run == op_close || op->run());
        }
        if (op->where == OPENED && op->run != op_close)
                shheap_free(h, block);
        if (op->run != op_close)
                MUST(shheap_close(h) == 0);
        _exit(0);
}

/* ------------------------------------------------------------------ the tracer */

static int
error_of(long call)
{
        switch (call) {
        case SYS_fallocate:
        case SYS_linkat:
                return ENOSPC;
        case SYS_openat:
        case SYS_dup:
        case SYS_fcntl:
        case SYS_memfd_create:
                return EMFILE;
        case SYS_mmap:
        case SYS_munmap:
        case SYS_mprotect:
        case SYS_madvise:
        case SYS_brk:
                return ENOMEM;
        default:
                return EPERM;
        }
}

/* What cannot fail, as it is called here. */
static bool
is_infallible(long call)
{
        return call == SYS_getpid || call == SYS_gettid || call == SYS_geteuid || call == SYS_getuid ||
               call == SYS_sched_yield || call == SYS_exit_group || call == SYS_rt_sigreturn ||
               call == SYS_rt_sigprocmask;
}

/* To the next stop; false: it has ended, *ret_status says how. */
static bool
go_on(pid_t pid, int *ret_status)
{
        int signo = 0;

        for (;;) {
                ck_assert_int_eq(ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(intptr_t)signo), 0);
                ck_assert_int_eq(waitpid(pid, ret_status, 0), pid);
                if (!WIFSTOPPED(*ret_status))
                        return false;
                if (WSTOPSIG(*ret_status) == (SIGTRAP | 0x80))
                        return true;
                signo = WSTOPSIG(*ret_status);
        }
}

static long
call_of(pid_t pid, struct registers *ret_regs)
{
        ck_assert(registers_get(pid, ret_regs));
        return registers_call(ret_regs);
}

/* Runs it to its end with the call `at` between the marks failing.  Whether there was one. */
static bool
trace(pid_t pid, unsigned at, int *ret_status, long *ret_failed)
{
        struct registers regs;
        unsigned n = 0, n_marks = 0;
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSTOPPED(status));
        ck_assert_int_eq(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)), 0);
        while (go_on(pid, &status)) { /* it enters a call */
                long call = call_of(pid, &regs);
                bool fails = false;

                if (call == SYS_sched_get_priority_max && registers_first_argument(&regs) == MARK)
                        n_marks++;
                else if (n_marks == 1 && !is_infallible(call))
                        fails = ++n == at;
                if (fails) {
                        registers_set_call(&regs, -1);
                        *ret_failed = call;
                        ck_assert(registers_set(pid, &regs));
                }
                if (!go_on(pid, &status)) /* it leaves it */
                        break;
                if (fails) {
                        (void)call_of(pid, &regs);
                        registers_set_result(&regs, -error_of(call));
                        ck_assert(registers_set(pid, &regs));
                }
        }
        *ret_status = status;
        return n >= at;
}

/* ------------------------------------------------------------------ around it */

/* Somebody who died with blocks in its caches. */
static void
die_in_child(struct child *self, void *arg)
{
        shheap *mine = heap_dir_open("every", 0, NULL);

        (void)self, (void)arg;
        for (int i = 0; i < 40; i++)
                shheap_free(mine, shheap_malloc(mine, 100 + (size_t)i * 40));
        raise(SIGKILL);
}

static void
prepare(const struct op *op)
{
        struct child child;

        heap_dir_empty();
        h = heap_dir_open("every", SHHEAP_CREATE, conf);
        child_start(&child, die_in_child, NULL);
        child_end(&child);
        if (op->where != FORKED)
                shheap_close(h);
}

static bool
fail_one(const struct op *op, unsigned at)
{
        long failed = -1;
        int status = 0;
        bool there_was_one;
        pid_t pid;

        prepare(op);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run_traced(op);
        there_was_one = trace(pid, at, &status, &failed);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "%s, call %u (number %ld) failing: status %#x",
                      op->name, at, failed, (unsigned)status);
        if (op->where != FORKED)
                h = heap_dir_open("every", 0, NULL);
        ck_assert_int_ge(shheap_reap(h), 0);
        ck_assert_msg(heap_ctl(h, "stats.allocated") == 0, "%s, call %u (number %ld) failing: %llu bytes left",
                      op->name, at, failed, (unsigned long long)heap_ctl(h, "stats.allocated"));
        heap_assert_clean(h);
        shheap_close(h);
        return there_was_one;
}

START_TEST(operation_survives_the_failure_of_any_call)
{
        unsigned at = 1;

        if (registers_are_missing("operation_survives_the_failure_of_any_call"))
                return;
        while (fail_one(&ops[_i], at))
                ck_assert_uint_lt(at++, CALLS_MAX);
        ck_assert_msg(at > ops[_i].n_least, "%s: %u calls only", ops[_i].name, at - 1);
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ how many there are */

/* As bench/start counts them; of one more node or CPU there are none more. */
enum { CALLS_TO_CREATE = 58, CALLS_TO_OPEN = 46 };

static bool
take_first(void)
{
        return from_error(shheap_set_default(h)) && shmalloc(64) != NULL;
}

static bool
op_create_and_take(void)
{
        return op_create() && take_first();
}

static bool
op_open_and_take(void)
{
        return op_open() && take_first();
}

static bool
is_any(pid_t pid, const struct registers *regs)
{
        (void)pid, (void)regs;
        return true;
}

static unsigned
count_calls(pid_t pid, bool (*is_counted)(pid_t pid, const struct registers *regs), int *ret_status)
{
        struct registers regs;
        unsigned n = 0, n_marks = 0;
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFSTOPPED(status));
        ck_assert_int_eq(ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)(PTRACE_O_TRACESYSGOOD | PTRACE_O_EXITKILL)), 0);
        while (go_on(pid, &status)) {
                if (call_of(pid, &regs) == SYS_sched_get_priority_max && registers_first_argument(&regs) == MARK)
                        n_marks++;
                else
                        n += n_marks == 1 && is_counted(pid, &regs);
                if (!go_on(pid, &status))
                        break;
        }
        *ret_status = status;
        return n;
}

/* The maker of the heap lives: who opens it asks about it. */
static void
make_and_stay(struct child *self, void *arg)
{
        (void)arg;
        h = heap_dir_open("every", SHHEAP_CREATE, conf);
        child_tell(self);
        child_hear(self);
}

START_TEST(a_heap_and_its_first_block_take_few_calls)
{
        static const struct op counted[] = {{"create", op_create_and_take, NOT_OPEN, 0},
                                            {"open", op_open_and_take, NOT_OPEN, 0}};
        static const unsigned most[] = {CALLS_TO_CREATE, CALLS_TO_OPEN};
        struct child maker;
        unsigned n;
        int status;
        pid_t pid;

        if (registers_are_missing("a_heap_and_its_first_block_take_few_calls"))
                return;
        if (os_numa()->online != 1) {
                printf("a_heap_and_its_first_block_take_few_calls: skipped, since nodes are asked about\n");
                return;
        }
        heap_dir_empty();
        ck_assert_int_eq(setenv("SHMALLOC_SOCKET", "/nonexistent/socket", 1), 0);
        if (counted[_i].run == op_open_and_take) {
                child_start(&maker, make_and_stay, NULL);
                ck_assert(child_hear(&maker));
        }
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run_traced(&counted[_i]);
        n = count_calls(pid, is_any, &status);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_msg(n > 10 && n <= most[_i], "%s: %u calls, at most %u are wanted", counted[_i].name, n, most[_i]);
        if (counted[_i].run == op_open_and_take) {
                child_tell(&maker);
                ck_assert_int_eq(child_end(&maker), 0);
        }
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ about which descriptors */

static bool
is_stdio(unsigned long fd)
{
        return fd <= STDERR_FILENO;
}

static bool
polls_stdio(pid_t pid, const struct registers *regs)
{
        unsigned long at = registers_first_argument(regs), n = registers_second_argument(regs);
        struct pollfd p;
        long word;

        for (; n-- > 0; at += sizeof p) {
                word = ptrace(PTRACE_PEEKDATA, pid, (void *)at, NULL);
                memcpy(&p, &word, sizeof p);
                if (is_stdio((unsigned)p.fd))
                        return true;
        }
        return false;
}

/* All calls that the library makes with a descriptor. */
static bool
is_about_stdio(pid_t pid, const struct registers *regs)
{
        switch (registers_call(regs)) {
        case SYS_ppoll:
#ifdef SYS_poll
        case SYS_poll:
#endif
                return polls_stdio(pid, regs);
        case SYS_read:
        case SYS_pread64:
        case SYS_write:
        case SYS_close:
        case SYS_fstat:
        case SYS_newfstatat:
        case SYS_fstatfs:
        case SYS_lseek:
        case SYS_ioctl:
        case SYS_fcntl:
        case SYS_flock:
        case SYS_dup:
        case SYS_fchmod:
        case SYS_ftruncate:
        case SYS_fallocate:
        case SYS_openat:
        case SYS_getdents64:
                return is_stdio(registers_first_argument(regs));
        default:
                return false;
        }
}

START_TEST(nobody_is_asked_about_0_to_2)
{
        static const struct op asked[] = {{"create", op_create_and_take, NOT_OPEN, 0},
                                          {"open", op_open_and_take, NOT_OPEN, 0},
                                          {"open read-only", op_open_readonly, NOT_OPEN, 0}};
        int status, null = open("/dev/null", O_RDWR | O_CLOEXEC);
        pid_t pid;
        unsigned n;

        if (registers_are_missing("nobody_is_asked_about_0_to_2"))
                return;
        for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
                ck_assert(fcntl(fd, F_GETFD) >= 0 || dup2(null, fd) == fd);
        heap_dir_empty();
        shheap_close(heap_dir_open("every", SHHEAP_CREATE, conf));
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run_traced(&asked[_i]);
        n = count_calls(pid, is_about_stdio, &status);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_msg(n == 0, "%s: %u calls are about descriptors 0 to 2", asked[_i].name, n);
        close(null);
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ tables that are full */

static void
open_and_stay(struct child *self, void *arg)
{
        (void)arg;
        h = heap_dir_open("full", 0, NULL);
        child_tell(self);
        child_hear(self);
        MUST(shheap_close(h) == 0);
}

static void
be_refused(struct child *self, void *arg)
{
        (void)self, (void)arg;
        MUST(shheap_open(&h, "full", 0, NULL) == -EUSERS);
        MUST(strstr(shheap_errormsg(), "taken by liv") && strstr(shheap_errormsg(), "create the heap with more max_"));
}

/* A process needs a client's slot, a thread's, and one in reserve. */
START_TEST(who_finds_no_slot_is_refused_and_served_when_there_is_one)
{
        static const char *const confs[] = {"max_clients:2,max_threads:100", "max_clients:100,max_threads:4",
                                            "max_clients:100,max_threads:5"};
        struct child second, third;

        heap_dir_empty();
        h = heap_dir_open("full", SHHEAP_CREATE, confs[_i]);
        for (int round = 0; round < 3; round++) {
                child_start(&second, open_and_stay, NULL);
                ck_assert(child_hear(&second));
                for (int i = 0; i < 2; i++) {
                        child_start(&third, be_refused, NULL);
                        ck_assert_int_eq(child_end(&third), 0);
                }
                if (round == 1) {
                        child_kill(&second); /* its slots are found by who needs them */
                } else {
                        child_tell(&second);
                        ck_assert_int_eq(child_end(&second), 0);
                }
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("every_call");
        TCase *tc = tcase_create("calls");
        int status;

        tcase_add_loop_test(tc, operation_survives_the_failure_of_any_call, 0, sizeof ops / sizeof ops[0]);
        tcase_add_loop_test(tc, a_heap_and_its_first_block_take_few_calls, 0, 2);
        tcase_add_loop_test(tc, nobody_is_asked_about_0_to_2, 0, 3);
        tcase_add_loop_test(tc, who_finds_no_slot_is_refused_and_served_when_there_is_one, 0, 3);
        suite_add_tcase(suite, tc);
        heap_dir_create("every");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
