/*
 * What is at stake: a child has its parent's handles and none of its parent's threads, caches and slots.  If it went on
 * with any of these, two processes would hand out the same blocks; if it waited for them, it would wait for ever.  So:
 * every way in which processes are made, while other threads are inside the library, and calls at the most awkward
 * moments.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "api/registry.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/fork_heap.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_BLOCKS = 500, N_FORKS = 60, MUST_REFUSE = 3 };

/* ------------------------------------------------------------------ whose caches */

/* What parent and child have been given: nothing twice. */
struct ledger {
        shref block[2][N_BLOCKS];
};

/* Some blocks of several classes, each stamped. */
static void
allocate_all(shref *blocks, int stamp)
{
        for (int i = 0; i < N_BLOCKS; i++) {
                size_t size = 16 + (size_t)(i % 7) * 100;
                char *p = i % 2 ? shmalloc(size) : shheap_malloc(h, size);

                MUST(p != NULL);
                memset(p, stamp, size);
                blocks[i] = shheap_ref(h, p);
        }
}

static void
check_stamps(const shref *blocks, int stamp)
{
        for (int i = 0; i < N_BLOCKS; i++) {
                const char *p = shheap_ptr(h, blocks[i]);
                size_t size = 16 + (size_t)(i % 7) * 100;

                MUST(p[0] == stamp && p[size - 1] == stamp);
        }
}

static void
child_allocates(struct child *self, void *arg)
{
        struct ledger *ledger = arg;

        allocate_all(ledger->block[1], 2);
        MUST(heap_ctl(h, "heap.clients") == 2);
        MUST(heap_ctl(h, "heap.threads") == 2);
        child_tell(self);
        child_hear(self); /* the parent has allocated, too */
        check_stamps(ledger->block[1], 2);
        MUST(shheap_close(h) == 0);
}

static void
parent_allocates(struct child *c, struct ledger *ledger)
{
        ck_assert(child_hear(c));
        allocate_all(ledger->block[0], 1);
        ck_assert(child_tell(c));
        assert_ended_well(c);
        check_stamps(ledger->block[0], 1);
        check_stamps(ledger->block[1], 2);
        for (int i = 0; i < 2 * N_BLOCKS; i++)
                shfree(shheap_ptr(h, ledger->block[i / N_BLOCKS][i % N_BLOCKS]));
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
}

/* Blocks in magazines of many classes, hits as well as misses to come. */
static struct ledger *
fill_caches(void)
{
        struct ledger *ledger = shheap_calloc(h, 1, sizeof *ledger);

        allocate_all(ledger->block[0], 0);
        for (int i = 0; i < N_BLOCKS; i++)
                shfree(shheap_ptr(h, ledger->block[0][i]));
        return ledger;
}

START_TEST(forked_child_is_a_client_of_its_own)
{
        struct ledger *ledger = fill_caches();
        struct child c;

        child_start(&c, child_allocates, ledger);
        parent_allocates(&c, ledger);
        shfree(ledger);
}
END_TEST

/* Without fork handlers. */
static void
child_start_raw(struct child *c, pid_t (*make)(void), void (*fn)(struct child *self, void *arg), void *arg)
{
        int pipes[4];
        pid_t pid;

        child_pipes(c, pipes);
        pid = make();
        if (pid == 0) {
                child_is_child(c, pipes);
                fn(c, arg);
                _exit(0);
        }
        child_is_parent(c, pipes, pid);
}

START_TEST(child_of__Fork_is_a_client_of_its_own)
{
        struct ledger *ledger = fill_caches();
        struct child c;

        child_start_raw(&c, _Fork, child_allocates, ledger);
        parent_allocates(&c, ledger);
        shfree(ledger);
}
END_TEST

/* First call in the child: an open, which takes the registry's lock. */
static void
child_opens(struct child *self, void *arg)
{
        shheap *again = heap_dir_open("fork", 0, NULL), *other = heap_dir_open("other", SHHEAP_CREATE, NULL);

        MUST(again == h && other != h);
        child_allocates(self, arg);
        MUST(shheap_close(h) == 0);
        MUST(shheap_close(other) == 0);
}

START_TEST(child_of__Fork_may_open_heaps_first)
{
        struct ledger *ledger = fill_caches();
        struct child c;

        child_start_raw(&c, _Fork, child_opens, ledger);
        parent_allocates(&c, ledger);
        shfree(ledger);
}
END_TEST

static void
child_stays(struct child *self, void *arg)
{
        (void)arg;
        shfree(shmalloc(100));
        child_tell(self);
        child_hear(self);
        MUST(shheap_close(h) == 0);
}

/* A client before it forks, or not. */
static void
child_forks(struct child *self, struct ledger *ledger, bool is_client)
{
        struct child grandchild;

        (void)self;
        if (is_client)
                shfree(shmalloc(100));
        child_start(&grandchild, is_client ? child_stays : child_allocates, ledger);
        MUST(child_hear(&grandchild));
        MUST(heap_ctl(h, "heap.clients") == (is_client ? 3 : 2));
        MUST(child_tell(&grandchild));
        MUST(child_end(&grandchild) == 0);
        for (int i = 0; !is_client && i < N_BLOCKS; i++)
                shfree(shheap_ptr(h, ledger->block[1][i]));
        MUST(shheap_close(h) == 0);
}

static void
client_forks(struct child *self, void *arg)
{
        child_forks(self, arg, true);
}

static void
stranger_forks(struct child *self, void *arg)
{
        child_forks(self, arg, false);
}

START_TEST(grandchildren_are_clients_of_their_own)
{
        struct ledger *ledger = fill_caches();
        struct child c;

        child_start(&c, client_forks, ledger);
        assert_ended_well(&c);
        child_start(&c, stranger_forks, ledger);
        assert_ended_well(&c);
        shfree(ledger);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
}
END_TEST

static void
child_closes(struct child *self, void *arg)
{
        void *base = (void *)(uintptr_t)heap_ctl(h, "heap.base");

        (void)self;
        (void)arg;
        MUST(shheap_close(h) == 0);
        MUST(shheap_close(h) == -EBADF);
        MUST(msync(base, 4096, MS_ASYNC) < 0 && errno == ENOMEM); /* none of the threads that need it is here */
}

START_TEST(child_that_only_closes_takes_nothing_from_its_parent)
{
        struct child c;
        void *p = shmalloc(100);

        child_start(&c, child_closes, NULL);
        assert_ended_well(&c);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        shfree(p);
}
END_TEST

START_TEST(child_of__Fork_that_only_closes_takes_nothing_from_its_parent)
{
        struct child c;

        child_start_raw(&c, _Fork, child_closes, NULL);
        assert_ended_well(&c);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        shfree(shmalloc(100));
}
END_TEST

static pthread_barrier_t turn;

static void *
hold_the_lock(void *arg)
{
        struct shield shield;

        registry_lock(&shield); /* as a thread does that opens a heap */
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        registry_unlock(&shield);
        return arg;
}

START_TEST(child_of__Fork_does_not_wait_for_a_lock_that_another_thread_held)
{
        struct ledger *ledger = fill_caches();
        pthread_t thread;
        struct child c;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, hold_the_lock, NULL), 0);
        pthread_barrier_wait(&turn);
        child_start_raw(&c, _Fork, child_opens, ledger);
        parent_allocates(&c, ledger);
        pthread_barrier_wait(&turn);
        pthread_join(thread, NULL);
        shfree(ledger);
}
END_TEST

/* Its end comes while it is at the lock, as when it takes its cache from the heap's list. */
static void *
hold_the_lock_of_a_heap(void *arg)
{
        shheap *other = arg;

        ck_assert_ptr_nonnull(shheap_malloc(other, 100));
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn); /* it has been closed */
        process_lock(&other->lock);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        pthread_mutex_unlock(&other->lock);
        return NULL;
}

static void
child_opens_another(struct child *self, void *arg)
{
        shheap *other = heap_dir_open("own", SHHEAP_CREATE, "capacity:4M");

        (void)self;
        (void)arg;
        shfree(shheap_malloc(other, 100));
        shfree(shmalloc(100));
        MUST(shheap_close(other) == 0);
}

START_TEST(child_does_not_wait_for_the_lock_of_a_heap_that_another_thread_held)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, "capacity:4M");
        bool is_closed = _i != 0;
        pthread_t thread;
        struct child c;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, hold_the_lock_of_a_heap, other), 0);
        pthread_barrier_wait(&turn);
        if (is_closed)
                ck_assert_int_eq(shheap_close(other), 0);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        child_start(&c, child_opens_another, NULL);
        assert_ended_well(&c);
        pthread_barrier_wait(&turn);
        pthread_join(thread, NULL);
        if (!is_closed)
                ck_assert_int_eq(shheap_close(other), 0);
}
END_TEST

/* In a call that calls back, while another thread forks. */
static int
block_that_waits(const struct shheap_block *block, void *arg)
{
        (void)block;
        (void)arg;
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        return 1;
}

static void *
walk_and_wait(void *arg)
{
        ck_assert_int_eq(shheap_walk(arg, SHHEAP_WALK_LIVE, block_that_waits, NULL), 1);
        return NULL;
}

static void
child_closes_for_good(struct child *self, void *arg)
{
        shheap *other = arg;
        void *header = other->region.base;
        unsigned char is_resident;

        (void)self;
        MUST(shheap_close(other) == 0);
        MUST(mincore(header, 4096, &is_resident) < 0 && errno == ENOMEM); /* nothing is mapped there */
}

START_TEST(heap_that_another_thread_was_called_back_from_goes_with_its_last_close)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, "capacity:4M");
        void *p = shheap_malloc(other, 100);
        pthread_t thread;
        struct child c;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, walk_and_wait, other), 0);
        pthread_barrier_wait(&turn);
        child_start(&c, child_closes_for_good, other);
        assert_ended_well(&c);
        pthread_barrier_wait(&turn);
        pthread_join(thread, NULL);
        shheap_free(other, p);
        ck_assert_int_eq(shheap_close(other), 0);
}
END_TEST

/* ------------------------------------------------------------------ init() of a root */

static struct child of_init;

static int
init_forks(void *obj, size_t size, void *arg)
{
        int pipes[4];
        pid_t pid;

        memset(obj, 1, size);
        child_pipes(&of_init, pipes);
        pid = fork();
        if (pid == 0)
                child_is_child(&of_init, pipes);
        else
                child_is_parent(&of_init, pipes, pid);
        return *(int *)arg;
}

/* The object is the parent's. */
START_TEST(child_that_init_forks_may_return_and_the_parent_makes_the_object)
{
        int wanted = _i == 0 ? 0 : -EDOM;
        void *obj = NULL;
        int err = shheap_root(h, "forks", 100, 0, init_forks, &wanted, &obj);

        if (of_init.pid == 0) {
                MUST(err == -EINTR && obj == NULL);
                MUST(child_hear(&of_init));
                MUST(shheap_root(h, "forks", 0, 0, NULL, NULL, &obj) == (wanted == 0 ? 0 : -ENOENT));
                shfree(shmalloc(100));
                MUST(heap_ctl(h, "heap.clients") == 2);
                _exit(0);
        }
        ck_assert_int_eq(err, wanted);
        ck_assert(child_tell(&of_init));
        assert_ended_well(&of_init);
        ck_assert_int_eq(shheap_root_remove(h, "forks"), wanted == 0 ? 0 : -ENOENT);
        heap_reap(h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ handlers of others */

static bool handlers_are_on;
static shref made_by_handler;

static void
allocate_in_handler(void)
{
        if (!handlers_are_on)
                return;
        shfree(shmalloc(5000));
        made_by_handler = shheap_ref(h, shmalloc(100));
}

/* In the child only: the parent's handlers could do as they like anyway. */
static void
install_handlers(void)
{
        pthread_atfork(NULL, NULL, allocate_in_handler);
}

/* A signal that comes while the library holds its lock for a fork. */
static __thread bool is_signalled;

static void
raise_in_handler(void)
{
        if (is_signalled)
                raise(SIGUSR1);
}

/* Before all constructors: the child runs it before the library's own handler, and the parent the first one after. */
static void
install_early_handlers(void)
{
        pthread_atfork(raise_in_handler, NULL, allocate_in_handler);
}
__attribute__((section(".preinit_array"), used)) static void (*const early)(void) = install_early_handlers;

static void
child_after_handlers(struct child *self, void *arg)
{
        MUST(made_by_handler != SHREF_NULL);
        MUST(heap_ctl(h, "heap.clients") == 2);
        MUST(heap_ctl(h, "heap.threads") == 2); /* one of them ours, although the handlers ran twice */
        child_allocates(self, arg);
}

START_TEST(fork_handlers_of_others_may_allocate)
{
        struct ledger *ledger = fill_caches();
        struct child c;

        install_handlers();
        handlers_are_on = true;
        child_start(&c, child_after_handlers, ledger);
        parent_allocates(&c, ledger);
        shfree(ledger);
}
END_TEST

/* ------------------------------------------------------------------ while others are at work */

static int is_over;

static void *
churn(void *arg)
{
        const char *wrong = NULL;

        for (int i = 0; !wrong && !__atomic_load_n(&is_over, __ATOMIC_ACQUIRE); i++) {
                shheap *other = heap_dir_open(arg, SHHEAP_CREATE, "capacity:4M");
                void *p = shheap_malloc(other, 100), *q = shmalloc((size_t)i % 5000);

                if (!p || !q)
                        wrong = "no memory";
                shfree(p);
                shfree(q);
                if (shheap_close(other) < 0)
                        wrong = "close failed";
        }
        return (void *)(uintptr_t)wrong;
}

static void
child_uses_all(struct child *self, void *arg)
{
        shheap *other = heap_dir_open("own", SHHEAP_CREATE, "capacity:4M");

        (void)self;
        (void)arg;
        for (int i = 0; i < 50; i++) {
                shfree(shheap_malloc(other, 100));
                shfree(shmalloc(100));
        }
        MUST(shheap_close(other) == 0);
        MUST(shheap_close(h) == 0);
}

START_TEST(fork_among_busy_threads_gives_a_child_that_works)
{
        static char names[2][8] = {"churn-a", "churn-b"};
        pthread_t threads[2];
        void *wrong;

        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, churn, names[i]), 0);
        for (int i = 0; i < N_FORKS; i++) {
                struct child c;

                child_start(&c, child_uses_all, NULL);
                assert_ended_well(&c); /* within the time that the test has */
        }
        __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
        for (int i = 0; i < 2; i++) {
                pthread_join(threads[i], &wrong);
                ck_assert_msg(!wrong, "%s", (char *)wrong);
        }
}
END_TEST

/* ------------------------------------------------------------------ forks inside forks, and many at once */

static int n_forks_in_handlers;

static void
fork_in_handler(int signo)
{
        struct child c;

        (void)signo;
        is_signalled = false;
        child_start(&c, child_uses_all, NULL);
        assert_ended_well(&c);
        __atomic_fetch_add(&n_forks_in_handlers, 1, __ATOMIC_RELAXED);
}

/* The signal is let through as soon as the fork lets go: its handler forks, too. */
static void
fork_and_be_signalled(void)
{
        struct child c;

        is_signalled = true;
        child_start(&c, child_uses_all, NULL);
        assert_ended_well(&c);
}

START_TEST(handler_of_a_signal_that_comes_during_fork_may_fork)
{
        signal(SIGUSR1, fork_in_handler);
        for (int i = 0; i < 10; i++)
                fork_and_be_signalled();
        ck_assert_int_eq(n_forks_in_handlers, 10);
}
END_TEST

static void *
fork_often(void *arg)
{
        for (int i = 0; i < 10; i++)
                fork_and_be_signalled();
        return arg;
}

START_TEST(threads_fork_at_once_and_handlers_in_them)
{
        pthread_t threads[3], churning;
        void *wrong;

        signal(SIGUSR1, fork_in_handler);
        ck_assert_int_eq(pthread_create(&churning, NULL, churn, "churn-a"), 0);
        for (int i = 0; i < 3; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, fork_often, NULL), 0);
        for (int i = 0; i < 3; i++)
                pthread_join(threads[i], NULL);
        __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
        pthread_join(churning, &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
        ck_assert_int_eq(n_forks_in_handlers, 30);
}
END_TEST

/* They share the memory of their parent, or are given none, and run no handlers. */
START_TEST(vfork_and_posix_spawn_touch_nothing)
{
        pthread_t churning;
        void *wrong;

        ck_assert_int_eq(pthread_create(&churning, NULL, churn, "churn-a"), 0);
        for (int i = 0; i < N_FORKS; i++) {
                char *const argv[] = {(char *)(uintptr_t) "true", NULL};
                struct child c = {.to = -1, .from = -1};

                if (i % 2 != 0) {
                        ck_assert_int_eq(posix_spawn(&c.pid, "/bin/true", NULL, NULL, argv, environ), 0);
                } else {
                        c.pid = vfork();
                        if (c.pid == 0) {
                                execv("/bin/true", argv);
                                _exit(1);
                        }
                }
                assert_ended_well(&c);
                shfree(shmalloc(100));
        }
        __atomic_store_n(&is_over, 1, __ATOMIC_RELEASE);
        pthread_join(churning, &wrong);
        ck_assert_msg(!wrong, "%s", (char *)wrong);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
}
END_TEST

/* Whether the calling process's first thread waits for something. */
static bool
main_thread_is_waiting(void)
{
        char path[64], stat[512];
        FILE *f;
        size_t n;

        snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)getpid());
        f = fopen(path, "r");
        if (!f)
                return false;
        n = fread(stat, 1, sizeof stat - 1, f);
        fclose(f);
        stat[n] = '\0';
        return strstr(stat, ") S ") != NULL;
}

static volatile bool is_half_done;

static void *
change_something(void *arg)
{
        struct shield shield;

        registry_lock(&shield);
        is_half_done = true;
        pthread_barrier_wait(&turn);
        while (!main_thread_is_waiting())
                sched_yield();
        is_half_done = false;
        registry_unlock(&shield);
        return arg;
}

static void
child_sees_it_whole(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        MUST(!is_half_done);
        child_uses_all(self, arg);
}

START_TEST(fork_waits_for_a_change_of_the_registry)
{
        pthread_t thread;
        struct child c;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, change_something, NULL), 0);
        pthread_barrier_wait(&turn);
        child_start(&c, child_sees_it_whole, NULL);
        assert_ended_well(&c);
        pthread_join(thread, NULL);
}
END_TEST

/* ------------------------------------------------------------------ raw clone */

static pid_t
raw_clone(void)
{
        return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
}

static void
child_is_refused(struct child *self, void *arg)
{
        shheap *other;

        (void)self;
        errno = 0;
        MUST(shmalloc(100) == NULL);
        MUST(errno == ENOTSUP);
        MUST(strstr(shheap_errormsg(), "clone") != NULL);
        MUST(shheap_malloc(h, 100) == NULL);
        MUST(shheap_reap(h) == -ENOTSUP);
        MUST(shheap_open(&other, "third", SHHEAP_CREATE, NULL) == -ENOTSUP);
        MUST(strcmp(arg, "shared") == 0); /* blocks are there all the same */
        _exit(MUST_REFUSE);
}

START_TEST(child_of_a_raw_clone_is_refused)
{
        char *p = shmalloc(100);
        struct child c;
        int status;

        strcpy(p, "shared");
        child_start_raw(&c, raw_clone, child_is_refused, p);
        status = child_end(&c);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == MUST_REFUSE, "status %#x", status);
        shfree(p);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("fork");
        TCase *tcase;
        int status;

        tcase = tcase_create("children");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, forked_child_is_a_client_of_its_own);
        tcase_add_test(tcase, child_of__Fork_is_a_client_of_its_own);
        tcase_add_test(tcase, child_of__Fork_may_open_heaps_first);
        tcase_add_test(tcase, grandchildren_are_clients_of_their_own);
        tcase_add_test(tcase, child_that_only_closes_takes_nothing_from_its_parent);
        tcase_add_test(tcase, child_of__Fork_that_only_closes_takes_nothing_from_its_parent);
        tcase_add_test(tcase, child_of__Fork_does_not_wait_for_a_lock_that_another_thread_held);
        tcase_add_loop_test(tcase, child_does_not_wait_for_the_lock_of_a_heap_that_another_thread_held, 0, 2);
        tcase_add_test(tcase, heap_that_another_thread_was_called_back_from_goes_with_its_last_close);
        tcase_add_loop_test(tcase, child_that_init_forks_may_return_and_the_parent_makes_the_object, 0, 2);
        tcase_add_test(tcase, fork_handlers_of_others_may_allocate);
        tcase_add_test(tcase, fork_among_busy_threads_gives_a_child_that_works);
        tcase_add_test(tcase, handler_of_a_signal_that_comes_during_fork_may_fork);
        tcase_add_test(tcase, threads_fork_at_once_and_handlers_in_them);
        tcase_add_test(tcase, vfork_and_posix_spawn_touch_nothing);
        tcase_add_test(tcase, fork_waits_for_a_change_of_the_registry);
        tcase_add_test(tcase, child_of_a_raw_clone_is_refused);
        suite_add_tcase(suite, tcase);

        heap_dir_create("fork");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
