/*
 * What is at stake: threads with the smallest stacks that the system allows, as embedded programs and language
 * run-times make them.  A call that needs more ends the process by SIGSEGV, and on whose stack it is run nobody asks
 * beforehand.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

static shheap *h;
static FILE *null;

static void
setup(void)
{
        heap_dir_empty();
        null = fopen("/dev/null", "w");
        h = heap_dir_open("one", SHHEAP_CREATE, "max_clients:32,max_threads:64");
}

static void
teardown(void)
{
        fclose(null);
        shheap_close(h);
        heap_dir_empty();
}

/* ------------------------------------------------------------------ the calls */

static int
see_block(const struct shheap_block *block, void *arg)
{
        (void)block, (void)arg;
        return 0;
}

static int
see_root(const char *name, void *obj, size_t size, void *arg)
{
        (void)name, (void)obj, (void)size, (void)arg;
        return 0;
}

static int
init_root(void *obj, size_t size, void *arg)
{
        (void)obj, (void)size, (void)arg;
        return shheap_malloc(h, 1000) ? 0 : -1;
}

static void
call_open(void)
{
        shheap *x;
        int fd = shheap_dup_fd(h, 0);

        MUST(fd >= 0 && shheap_open(&x, "one", 0, NULL) == 0 && shheap_close(x) == 0);
        MUST(shheap_close(h) == 0);
        MUST(shheap_open(&h, "one", 0, NULL) == 0 && shheap_close(h) == 0);
        MUST(shheap_open(&h, "one", SHHEAP_RDONLY, NULL) == 0 && shheap_close(h) == 0);
        MUST(shheap_open_fd(&h, fd, 0) == 0);
        close(fd);
}

static void
call_create(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *x[8];
        char name[16];

        attr.capacity = 16 * MIB;
        attr.conf = "decay_ms:0,check:true,numa:local";
        for (int i = 0; i < 8; i++) {
                snprintf(name, sizeof name, "new-%d", i);
                MUST(shheap_open(&x[i], name, SHHEAP_CREATE | (i % 2 ? SHHEAP_POPULATE : 0), &attr) == 0);
        }
        for (int i = 0; i < 8; i++) {
                snprintf(name, sizeof name, "new-%d", i);
                MUST(shheap_close(x[i]) == 0 && shheap_unlink(name) == 0);
        }
}

static void
call_open_that_fails(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *x;

        attr.conf = "capacity:nonsense";
        MUST(shheap_open(&x, "no name", 0, NULL) == -EINVAL);
        MUST(shheap_open(&x, "none", 0, NULL) == -ENOENT);
        MUST(shheap_open(&x, "one", SHHEAP_CREATE | SHHEAP_EXCL, NULL) == -EEXIST);
        MUST(shheap_open(&x, "one", SHHEAP_CREATE, &attr) == -EINVAL);
        attr.conf = NULL;
        attr.base_addr = (uint64_t)(uintptr_t)h >> 30 << 30; /* something lies there */
        MUST(shheap_open(&x, "two", SHHEAP_CREATE, &attr) < 0);
        MUST(shheap_open_fd(&x, fileno(null), 0) == -ENODEV);
}

static void
call_malloc(void)
{
        static void *p[70000];
        int n = 0;

        while (n < 70000 && (p[n] = shheap_malloc(h, (size_t)16 << n % 18)))
                n++;
        MUST(n > 100 && n < 70000);
        while (n > 0)
                shheap_free(h, p[--n]);
        MUST((p[0] = shheap_mallocx(h, 100, SHA_TCACHE_NONE | SHA_ZERO | SHA_ALIGN(4096))) != NULL);
        MUST((p[0] = shheap_realloc(h, p[0], 300000)) && (p[0] = shheap_realloc(h, p[0], 5 * MIB)));
        MUST(shheap_xallocx(h, p[0], 6 * MIB, 0, 0) >= 6 * MIB);
        MUST(shheap_node_of(h, p[0]) >= 0);
        shheap_free(h, p[0]);
}

static void
call_hand_over(void)
{
        shref *dest = shheap_calloc(h, 1, sizeof *dest);

        for (size_t size = 16; size <= 8 * MIB; size *= 8)
                MUST(dest && shheap_malloc_to(h, size, 0, dest) && shheap_free_from(h, dest) == 0);
}

static void
call_root(void)
{
        void *obj;

        MUST(shheap_root(h, "r", 100, 0, init_root, NULL, &obj) == 0);
        MUST(shheap_root(h, "r", 101, 0, NULL, NULL, &obj) == -EEXIST);
        MUST(shheap_root_iterate(h, see_root, NULL) == 0 && shheap_root_remove(h, "r") == 0);
}

static void
call_look(void)
{
        static const char *const names[] = {
                "heap.id",      "heap.base",    "heap.region_bytes", "heap.capacity",   "heap.clients",
                "heap.threads", "thread.arena", "thread.node",       "stats.allocated", "stats.cached",
                "stats.mapped", "stats.purged", "stats.reaped",
        };
        static const char *const opts[] = {NULL, "J", "O", "m", "Jm"};
        uint64_t value;
        size_t len = sizeof value;

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                MUST(shheap_ctl(h, names[i], &value, &len, NULL, 0) == 0);
        for (size_t i = 0; i < sizeof opts / sizeof opts[0]; i++)
                MUST(shheap_stats_print(h, null, opts[i]) == 0);
        MUST(shheap_check(h, 0, null) == 0);
        MUST(shheap_walk(h, SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE, see_block, NULL) == 0);
}

static void
call_give_back(void)
{
        MUST(shheap_reserve(h, 8 * MIB) == 0 && shheap_reserve(h, 100 * MIB) < 0);
        MUST(shheap_reap(h) >= 0 && shheap_purge(h, -1) == 0);
}

static void
leave(const struct shheap_fault *fault, void *arg)
{
        (void)arg;
        _exit(fault->what == SHHEAP_FAULT_INVALID_FREE ? 0 : 1);
}

/* The report is written from here, too. */
static void
call_free_twice(void)
{
        void *volatile p = shheap_malloc(h, 3 * MIB);

        shheap_set_fault_handler(leave, NULL);
        shheap_free(h, p);
        shheap_free(h, p);
        _exit(2);
}

static void
call_fork(void)
{
        int status;
        pid_t pid = fork();

        MUST(pid >= 0);
        if (pid == 0) {
                call_hand_over();
                _exit(shheap_close(h) == 0 ? 0 : 1);
        }
        MUST(waitpid(pid, &status, 0) == pid && status == 0);
}

static void
call_close(void)
{
        MUST(shheap_close(h) == 0);
}

static void (*const calls[])(void) = {
        call_open, call_create,    call_open_that_fails, call_malloc, call_hand_over, call_root,
        call_look, call_give_back, call_free_twice,      call_fork,   call_close,
};

/* ------------------------------------------------------------------ the thread */

static void *
thread_main(void *arg)
{
        (*(void (*const *)(void))arg)();
        return NULL; /* and what its end does */
}

static void
run_on_small_stack(struct child *self, void *arg)
{
        pthread_attr_t attr;
        pthread_t thread;

        (void)self;
        MUST(pthread_attr_init(&attr) == 0 && pthread_attr_setstacksize(&attr, (size_t)PTHREAD_STACK_MIN) == 0);
        MUST(pthread_create(&thread, &attr, thread_main, arg) == 0);
        MUST(pthread_join(thread, NULL) == 0);
}

START_TEST(every_call_gets_by_with_the_smallest_stack)
{
        struct child c;

        child_start(&c, run_on_small_stack, (void *)(uintptr_t)&calls[_i]);
        ck_assert_msg(child_end(&c) == 0, "call %d", _i);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("multi/small_stack");
        TCase *tc = tcase_create("calls");
        int status;

        heap_dir_create("small-stack");
        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, every_call_gets_by_with_the_smallest_stack, 0, (int)(sizeof calls / sizeof calls[0]));
        suite_add_tcase(suite, tc);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
