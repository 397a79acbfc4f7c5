/*
 * What is at stake: the locks of the process.  While a thread is inside shheap_open() or shheap_close() a signal
 * handler may fork, jump out, or open and close heaps itself, and somebody may cancel the thread, whatever its type of
 * cancellation.  Each of that is done at each system call that the library makes there.  Nobody hangs afterwards, and
 * nothing is left of it.
 */
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/inject.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { FORK, JUMP, CALL, CANCEL, N_DEEDS };
enum { CREATE, OPEN, OPEN_AGAIN, CLOSE_ONE, CLOSE, N_OPERATIONS };

static const char *const deeds[] = {"fork", "jump", "call", "cancel"};
static const char *const operations[] = {"create", "open", "open again", "close one", "close"};

static int deed;
static unsigned n_calls, at; /* system calls of the library so far; the one where it is done, 0 = never */
static bool was_done;
static __thread bool is_inside;
static sigjmp_buf outside;

/* ------------------------------------------------------------------ the deeds */

static void
use_heaps(void)
{
        shheap *h, *other;

        MUST(shheap_open(&h, "inside", SHHEAP_CREATE, NULL) == 0);
        MUST(shheap_open(&other, "other", SHHEAP_CREATE, NULL) == 0);
        shheap_free(h, shheap_malloc(h, 100));
        shheap_free(other, shheap_malloc(other, 100));
        MUST(shheap_close(other) == 0);
        MUST(shheap_close(h) == 0);
}

static void
on_signal(int signo)
{
        int status;
        pid_t pid;

        (void)signo;
        if (deed == JUMP)
                siglongjmp(outside, 1);
        if (deed == CALL)
                use_heaps();
        if (deed != FORK)
                return;
        pid = fork();
        MUST(pid >= 0);
        if (pid == 0) {
                use_heaps();
                _exit(0);
        }
        MUST(waitpid(pid, &status, 0) == pid);
        MUST(status == 0);
}

static int
do_it_here(const char *call)
{
        (void)call;
        if (!is_inside || ++n_calls != at)
                return 0;
        was_done = true;
        if (deed == CANCEL)
                pthread_cancel(pthread_self());
        else
                raise(SIGUSR1);
        return 0;
}

/* ------------------------------------------------------------------ operations */

struct run {
        int operation;
        shheap *h;
};

static void
prepare(struct run *run)
{
        shheap *same;

        heap_dir_empty();
        if (run->operation == CREATE)
                return;
        run->h = heap_dir_open("inside", SHHEAP_CREATE, NULL);
        if (run->operation == OPEN)
                MUST(shheap_close(run->h) == 0);
        if (run->operation == CLOSE_ONE)
                MUST(shheap_open(&same, "inside", 0, NULL) == 0);
}

static void *
operate(void *arg)
{
        struct run *run = arg;

        prepare(run); /* here, so that no other thread is attached, for whom the heap would stay mapped */
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
        if (sigsetjmp(outside, 1) == 0) {
                is_inside = true;
                if (run->operation <= OPEN_AGAIN)
                        MUST(shheap_open(&run->h, "inside", SHHEAP_CREATE, NULL) == 0);
                else
                        MUST(shheap_close(run->h) == 0);
        }
        is_inside = false;
        return NULL;
}

static void *
use_elsewhere(void *arg)
{
        use_heaps();
        return arg;
}

/* In a process of its own: what is wrong shows in its status, or it hangs. */
static void
run_once(struct child *self, void *arg)
{
        struct run run = {.operation = *(int *)arg};
        pthread_t thread;
        shheap *h;

        (void)self;
        n_calls = 0;
        MUST(pthread_create(&thread, NULL, operate, &run) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        MUST(pthread_create(&thread, NULL, use_elsewhere, NULL) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        use_heaps();
        h = heap_dir_open("inside", SHHEAP_CREATE, NULL);
        MUST(heap_ctl(h, "heap.clients") == 1);
        MUST(heap_ctl(h, "stats.allocated") == 0);
        MUST(shheap_check(h, 0, NULL) == 0);
        while (shheap_close(h) == 0)
                continue;
        _exit(was_done ? 0 : 77);
}

/* At each call until there is none any more. */
static void
run_all(int operation)
{
        for (at = 1;; at++) {
                struct child c;
                int status;

                was_done = false;
                child_start(&c, run_once, &operation);
                status = child_end(&c);
                if (WIFEXITED(status) && WEXITSTATUS(status) == 77)
                        break;
                ck_assert_msg(status == 0, "%s inside %s, at call %u: wait status %#x", deeds[deed],
                              operations[operation], at, status);
        }
        ck_assert_msg(at > 1 || operation == CLOSE_ONE, /* a lock and a number */
                      "no call in %s", operations[operation]);
}

START_TEST(nobody_hangs)
{
        deed = _i / N_OPERATIONS;
        run_all(_i % N_OPERATIONS);
}
END_TEST

static void
setup(void)
{
        struct sigaction action = {.sa_handler = on_signal};

        sigaction(SIGUSR1, &action, NULL);
        setenv("SHMALLOC_CONF", "capacity:4M,max_clients:16,max_threads:64", 1);
        os_inject = do_it_here;
}

static void
teardown(void)
{
        os_inject = NULL;
        unsetenv("SHMALLOC_CONF");
        heap_dir_empty();
}

int
main(void)
{
        Suite *suite = suite_create("inside");
        TCase *tcase = tcase_create("locks of the process");
        int status;

        heap_dir_create("inside");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, nobody_hangs, 0, N_DEEDS * N_OPERATIONS);
        suite_add_tcase(suite, tcase);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
