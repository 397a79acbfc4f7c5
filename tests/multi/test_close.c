/*
 * What is at stake: a heap is closed while threads are attached to it whose lists of robust mutexes run through its
 * memory.  Unmapped too early, it takes a thread down that locks a mutex of its own long after; never unmapped, it is a
 * leak; and what a closing process or an ending thread does not give back is lost to the others.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"
#include "tcache/tcache.h"

enum { N_MUTEXES = 20, N_SHORT_LIVES = 4000, N_AT_A_TIME = 8, N_DESTRUCTOR_ROUNDS = 3 };

static void
setup(void)
{
        heap_dir_empty();
}

static void
teardown(void)
{
        heap_dir_empty();
}

/* ------------------------------------------------------------------ threads that are told what to do */

struct worker {
        pthread_t thread;
        pthread_barrier_t turn;
        void (*task)(struct worker *w); /* NULL: end */
        shheap *h;
        void *p;
};

static void *
work(void *arg)
{
        struct worker *w = arg;

        for (;;) {
                pthread_barrier_wait(&w->turn);
                if (!w->task)
                        return NULL;
                w->task(w);
                pthread_barrier_wait(&w->turn);
        }
}

static void
worker_start(struct worker *w, shheap *h)
{
        memset(w, 0, sizeof *w);
        w->h = h;
        pthread_barrier_init(&w->turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&w->thread, NULL, work, w), 0);
}

/* Has it done, and waits until it is. */
static void
worker_do(struct worker *w, void (*task)(struct worker *w))
{
        w->task = task;
        pthread_barrier_wait(&w->turn);
        pthread_barrier_wait(&w->turn);
}

static void
worker_end(struct worker *w)
{
        w->task = NULL;
        pthread_barrier_wait(&w->turn);
        pthread_join(w->thread, NULL);
        pthread_barrier_destroy(&w->turn);
}

static void
task_allocate(struct worker *w)
{
        w->p = shheap_malloc(w->h, 100);
        ck_assert_ptr_nonnull(w->p);
}

static void
task_free(struct worker *w)
{
        shheap_free(w->h, w->p);
}

/* Whether anything is mapped there. */
static bool
is_mapped(uint64_t address)
{
        return msync((void *)(uintptr_t)(address & ~UINT64_C(4095)), 4096, MS_ASYNC) == 0;
}

/* ------------------------------------------------------------------ other threads at close */

static pthread_mutex_t mutexes[N_MUTEXES];

static void
mutexes_make(void)
{
        pthread_mutexattr_t attr;

        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        for (int i = 0; i < N_MUTEXES; i++)
                pthread_mutex_init(&mutexes[i], &attr);
        pthread_mutexattr_destroy(&attr);
}

/* Their places in the thread's list are next to the heap's, before and after. */
static void
task_lock_some(struct worker *w)
{
        (void)w;
        for (int i = 0; i < N_MUTEXES / 2; i++)
                ck_assert_int_eq(pthread_mutex_lock(&mutexes[i]), 0);
}

static void
task_lock_and_unlock_all(struct worker *w)
{
        (void)w;
        for (int i = N_MUTEXES / 2; i < N_MUTEXES; i++)
                ck_assert_int_eq(pthread_mutex_lock(&mutexes[i]), 0);
        for (int i = 0; i < N_MUTEXES; i += 2)
                ck_assert_int_eq(pthread_mutex_unlock(&mutexes[i]), 0);
        for (int i = 0; i < N_MUTEXES; i += 2)
                ck_assert_int_eq(pthread_mutex_lock(&mutexes[i]), 0);
        for (int i = N_MUTEXES - 1; i >= 0; i--)
                ck_assert_int_eq(pthread_mutex_unlock(&mutexes[i]), 0);
}

static void
sweep(void)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, "capacity:4M");

        ck_assert_int_eq(shheap_close(other), 0);
}

START_TEST(mapping_stays_for_threads_that_are_attached_and_goes_when_they_have_gone)
{
        shheap *h = heap_dir_open("close", SHHEAP_CREATE, NULL);
        uint64_t base = heap_ctl(h, "heap.base");
        struct worker workers[2];

        mutexes_make();
        for (int i = 0; i < 2; i++)
                worker_start(&workers[i], h);
        worker_do(&workers[0], task_lock_some);
        for (int i = 0; i < 2; i++)
                worker_do(&workers[i], task_allocate);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 3);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(is_mapped(base));
        worker_do(&workers[0], task_lock_and_unlock_all);
        worker_end(&workers[1]);
        sweep();
        ck_assert(is_mapped(base));
        worker_do(&workers[0], task_lock_some);
        worker_do(&workers[0], task_lock_and_unlock_all);
        worker_end(&workers[0]);
        sweep();
        ck_assert(!is_mapped(base));
        h = heap_dir_open("close", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

START_TEST(heap_that_nobody_else_is_attached_to_is_unmapped_at_once)
{
        shheap *h = heap_dir_open("alone", SHHEAP_CREATE, NULL);
        uint64_t base = heap_ctl(h, "heap.base");
        struct worker w;

        worker_start(&w, h);
        worker_do(&w, task_allocate);
        worker_do(&w, task_free);
        worker_end(&w);
        ck_assert(is_mapped(base));
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(!is_mapped(base));
}
END_TEST

START_TEST(reopening_takes_up_what_is_still_mapped)
{
        shheap *h = heap_dir_open("again", SHHEAP_CREATE, NULL);
        uint64_t base = heap_ctl(h, "heap.base");
        struct worker w;

        worker_start(&w, h);
        worker_do(&w, task_allocate);
        for (int i = 0; i < 20; i++) {
                ck_assert_int_eq(shheap_close(h), 0);
                ck_assert_ptr_eq(heap_dir_open("again", 0, NULL), h);
                ck_assert_uint_eq(heap_ctl(h, "heap.base"), base);
                ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
                worker_do(&w, i % 2 ? task_allocate : task_free); /* the thread goes on as before */
        }
        worker_end(&w);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(!is_mapped(base));
}
END_TEST

static void
task_must_allocate(struct worker *w)
{
        w->p = shheap_malloc(w->h, 100);
        MUST(w->p);
}

static void
child_reopens(shheap *h)
{
        struct worker w;

        MUST(shheap_malloc(h, 100));
        worker_start(&w, h);
        worker_do(&w, task_must_allocate);
        MUST(shheap_close(h) == 0);
        MUST(heap_dir_open("again", 0, NULL) == h);
        worker_do(&w, task_must_allocate);
        worker_end(&w);
        MUST(shheap_close(h) == 0);
}

/* What the fork has wiped is in the heap's list still: no fork handler has run that takes it out. */
START_TEST(reopening_takes_up_what_is_still_mapped_in_a_child_of__Fork)
{
        shheap *h = heap_dir_open("again", SHHEAP_CREATE, NULL);
        int pipes[4];
        struct child c;
        pid_t pid;

        shheap_free(h, shheap_malloc(h, 100));
        child_pipes(&c, pipes);
        pid = _Fork();
        if (pid == 0) {
                child_is_child(&c, pipes);
                child_reopens(h);
                _exit(0);
        }
        child_is_parent(&c, pipes, pid);
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

struct loan {
        struct thread thread;
        struct shield shield;
};

static void
task_be_lent_a_slot(struct worker *w)
{
        struct loan *loan = w->p;

        ck_assert_int_eq(thread_lend(w->h, &loan->thread, &loan->shield), 0);
}

static void
task_give_it_back(struct worker *w)
{
        struct loan *loan = w->p;

        thread_give_back(w->h, &loan->thread, &loan->shield);
}

static void
child_is_a_client(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("lent", 0, NULL);

        (void)arg;
        MUST(child_tell(self) && child_hear(self));
        MUST(shheap_close(h) == 0);
}

/* Another client's slot: only its borrower knows of that. */
START_TEST(mapping_stays_for_who_was_lent_a_slot)
{
        shheap *h = heap_dir_open("lent", SHHEAP_CREATE, NULL);
        uint64_t base = heap_ctl(h, "heap.base");
        struct loan loans[2];
        struct worker workers[2], *other;
        struct child c;

        child_start(&c, child_is_a_client, NULL);
        ck_assert(child_hear(&c));
        for (int i = 0; i < 2; i++) {
                worker_start(&workers[i], h);
                workers[i].p = &loans[i];
                worker_do(&workers[i], task_be_lent_a_slot);
        }
        other = &workers[loans[0].thread.no == h->reserve.idx + 1];
        worker_do(other == workers ? workers + 1 : workers, task_give_it_back);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(is_mapped(base));
        sweep();
        ck_assert(is_mapped(base));
        worker_do(other, task_give_it_back);
        sweep();
        ck_assert(!is_mapped(base));
        for (int i = 0; i < 2; i++)
                worker_end(&workers[i]);
        ck_assert(child_tell(&c));
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

static void *
open_here(void *arg)
{
        shheap *h = heap_dir_open(arg, 0, NULL);

        ck_assert_ptr_nonnull(shheap_malloc(h, 10));
        return h;
}

START_TEST(thread_that_opened_may_end_before_another_closes)
{
        static char name[] = "opener";
        shheap *h = heap_dir_open(name, SHHEAP_CREATE, NULL);
        uint64_t base = heap_ctl(h, "heap.base");
        pthread_t thread;
        void *opened;

        ck_assert_int_eq(pthread_create(&thread, NULL, open_here, name), 0);
        pthread_join(thread, &opened);
        ck_assert_ptr_eq(opened, h);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_ptr_nonnull(shheap_malloc(h, 10));
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(!is_mapped(base));
}
END_TEST

/* What the closed heap looks like to others. */
static void
child_looks(struct child *self, void *arg)
{
        shheap *ro;

        (void)arg;
        child_hear(self);
        MUST(shheap_open(&ro, "left", SHHEAP_RDONLY, NULL) == 0);
        MUST(heap_ctl(ro, "heap.clients") == 0);
        MUST(heap_ctl(ro, "heap.threads") == 0);
        MUST(heap_ctl(ro, "stats.allocated") == 0);
        heap_assert_clean(ro);
        MUST(shheap_close(ro) == 0);
}

START_TEST(close_gives_back_slots_and_caches)
{
        struct child c;
        shheap *h;

        child_start(&c, child_looks, NULL);
        h = heap_dir_open("left", SHHEAP_CREATE, NULL);
        for (size_t size = 1; size < 300000; size = size * 3 / 2 + 1) {
                void *p = shheap_malloc(h, size), *q = shheap_malloc(h, size);

                shheap_free(h, p);
                shheap_free(h, q);
        }
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert(child_tell(&c));
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

/* ------------------------------------------------------------------ thread exit */

static pthread_key_t key;
static shheap *destructor_heap;
static int n_destructor_rounds;

/* Comes after the library's destructor, or before it, or in between: it sets itself again. */
static void
allocate_in_destructor(void *arg)
{
        intptr_t round = (intptr_t)arg;
        char *p = shheap_malloc(destructor_heap, 100);

        ck_assert_ptr_nonnull(p);
        memset(p, 1, 100);
        shheap_free(destructor_heap, p);
        __atomic_fetch_add(&n_destructor_rounds, 1, __ATOMIC_RELAXED);
        if (round < N_DESTRUCTOR_ROUNDS)
                pthread_setspecific(key, (void *)(round + 1));
}

static void *
end_with_destructor(void *arg)
{
        pthread_setspecific(key, (void *)1);
        if (arg)
                shheap_free(destructor_heap, shheap_malloc(destructor_heap, 100));
        return NULL;
}

static void
run_ending_threads(void)
{
        for (int i = 0; i < 50; i++) {
                pthread_t thread;

                ck_assert_int_eq(pthread_create(&thread, NULL, end_with_destructor, i % 2 ? &key : NULL), 0);
                pthread_join(thread, NULL);
        }
}

START_TEST(destructors_of_thread_data_may_allocate)
{
        pthread_key_create(&key, allocate_in_destructor); /* before the library's own key */
        destructor_heap = heap_dir_open("tls", SHHEAP_CREATE, "max_threads:6");
        run_ending_threads();
        pthread_key_delete(key);
        pthread_key_create(&key, allocate_in_destructor); /* and after it */
        run_ending_threads();
        ck_assert_int_eq(n_destructor_rounds, 100 * N_DESTRUCTOR_ROUNDS);
        shheap_reap(destructor_heap);
        ck_assert_uint_eq(heap_ctl(destructor_heap, "heap.threads"), 1);
        ck_assert_uint_eq(heap_ctl(destructor_heap, "stats.allocated"), 0);
        heap_assert_clean(destructor_heap);
        ck_assert_int_eq(shheap_close(destructor_heap), 0);
}
END_TEST

static void *
live_shortly(void *arg)
{
        void *blocks[10];

        for (int i = 0; i < 10; i++)
                blocks[i] = shheap_malloc(arg, (size_t)i * 50);
        for (int i = 0; i < 10; i++)
                shheap_free(arg, blocks[i]);
        return NULL;
}

START_TEST(thousands_of_threads_come_and_go)
{
        shheap *h = heap_dir_open("many", SHHEAP_CREATE, "max_threads:64");
        pthread_t threads[N_AT_A_TIME];

        for (int i = 0; i < N_SHORT_LIVES / N_AT_A_TIME; i++) {
                for (int k = 0; k < N_AT_A_TIME; k++)
                        ck_assert_int_eq(pthread_create(&threads[k], NULL, live_shortly, h), 0);
                for (int k = 0; k < N_AT_A_TIME; k++)
                        pthread_join(threads[k], NULL);
        }
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        heap_assert_clean(h);
        ck_assert_uint_lt(heap_ctl(h, "stats.mapped"), 4 << 20);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ no slot left */

static void
child_is_one_too_many(struct child *self, void *arg)
{
        shheap *h = NULL;

        (void)arg;
        for (int i = 0; i < 2; i++) { /* no slot at all, then one, where two are needed */
                child_hear(self);
                MUST(shheap_open(&h, "full", 0, NULL) == -EUSERS);
                MUST(strstr(shheap_errormsg(), "max_threads") != NULL);
                MUST(h == NULL);
                child_tell(self);
        }
        child_hear(self);
        MUST(shheap_open(&h, "full", 0, NULL) == 0);
        MUST(heap_ctl(h, "heap.clients") == 2); /* the failures have left nothing */
        MUST(shheap_close(h) == 0);
}

static int
init_never(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        return -EDOM;
}

static void
task_borrow(struct worker *w)
{
        void *obj;

        w->p = shheap_malloc(w->h, 100);
        ck_assert_ptr_nonnull(w->p);
        shheap_free(w->h, w->p);
        w->p = shheap_malloc(w->h, 100000);
        ck_assert_ptr_nonnull(w->p);
        ck_assert_int_eq(shheap_root(w->h, "root", 100, 0, NULL, NULL, &obj), 0);
        ck_assert_int_eq(shheap_root(w->h, "another", 100, 0, init_never, NULL, &obj), -EUSERS); /* might allocate */
        ck_assert_int_eq(shheap_root_remove(w->h, "root"), 0);
        ck_assert_int_eq(shheap_reap(w->h), 0);
        ck_assert_int_eq(shheap_purge(w->h, -1), 0);
        ck_assert_int_eq(shheap_reserve(w->h, 1 << 20), 0);
}

static void
child_goes_on(struct child *c)
{
        ck_assert(child_tell(c));
        ck_assert(child_hear(c));
}

START_TEST(full_heap_is_refused_at_open_and_its_own_threads_go_on)
{
        struct worker workers[3];
        struct child c;
        shheap *h;

        child_start(&c, child_is_one_too_many, NULL); /* opens for itself when it is told to */
        h = heap_dir_open("full", SHHEAP_CREATE, "max_threads:4");
        for (int i = 0; i < 3; i++) {
                worker_start(&workers[i], h);
                worker_do(&workers[i], i < 2 ? task_allocate : task_borrow); /* all are taken for the third */
        }
        child_goes_on(&c);
        worker_do(&workers[2], task_free);
        worker_end(&workers[2]);
        worker_do(&workers[0], task_free);
        worker_end(&workers[0]);
        child_goes_on(&c);
        worker_do(&workers[1], task_free);
        worker_end(&workers[1]);
        ck_assert(child_tell(&c));
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ out of a function that was called back */

static shheap *closed_inside;

static void
close_it(void)
{
        if (shheap_close(closed_inside) == 0)
                ck_assert_ptr_null(shheap_malloc(closed_inside, 100));
        ck_assert_int_eq(errno, EBADF);
}

static int
init_that_closes(void *obj, size_t size, void *arg)
{
        memset(obj, 1, size);
        close_it();
        memset(obj, 2, size);
        return arg == NULL ? 0 : -ECANCELED;
}

static void
undo_that_closes(void *obj, size_t size, void *arg)
{
        (void)arg;
        memset(obj, 3, size);
        close_it();
        memset(obj, 4, size);
}

static int
root_that_closes(const char *name, void *obj, size_t size, void *arg)
{
        (void)name, (void)arg;
        close_it();
        memset(obj, 5, size);
        return 0;
}

static int
block_that_closes(const struct shheap_block *block, void *arg)
{
        (void)block, (void)arg;
        close_it();
        return 0;
}

/* Makes the name, so that the object of whoever has called it is not published. */
static int
init_that_is_outrun(void *obj, size_t size, void *arg)
{
        void *other;

        (void)obj, (void)arg;
        return shheap_root(closed_inside, "name", size, 0, NULL, NULL, &other);
}

enum { CLOSE_IN_INIT, CLOSE_IN_FAILING_INIT, CLOSE_IN_UNDO, CLOSE_IN_ITERATION, CLOSE_IN_WALK, N_CLOSES };

static int
call_that_closes(int which)
{
        shheap *h = closed_inside;
        void *obj;

        switch (which) {
        case CLOSE_IN_INIT:
                return shheap_root(h, "name", 1000, 0, init_that_closes, NULL, &obj);
        case CLOSE_IN_FAILING_INIT:
                return shheap_root(h, "name", 1000, 0, init_that_closes, &obj, &obj) == -ECANCELED ? 0 : -1;
        case CLOSE_IN_UNDO:
                return shheap_root_undo(h, "name", 1000, 0, init_that_is_outrun, undo_that_closes, NULL, &obj);
        case CLOSE_IN_ITERATION:
                return shheap_root_iterate(h, root_that_closes, NULL);
        default:
                return shheap_walk(h, SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE, block_that_closes, NULL);
        }
}

/* The call comes back to what it was at, and the heap goes when nothing more of this thread is there. */
START_TEST(heap_may_be_closed_in_a_function_that_it_calls)
{
        shheap *h = closed_inside = heap_dir_open("inside", SHHEAP_CREATE, "arenas:1"), *again;
        uint64_t base = heap_ctl(h, "heap.base");
        void *obj;

        if (_i >= CLOSE_IN_ITERATION)
                for (int i = 0; i < 3; i++)
                        ck_assert_int_eq(shheap_root(h, (const char *[]){"a", "b", "c"}[i], 100, 0, NULL, NULL, &obj),
                                         0);
        ck_assert_int_eq(call_that_closes(_i), 0);
        errno = 0;
        ck_assert_ptr_null(shheap_malloc(h, 100)); /* lets go of it */
        ck_assert_int_eq(errno, EBADF);
        sweep();
        ck_assert(!is_mapped(base));

        again = heap_dir_open("inside", 0, NULL);
        ck_assert_int_eq(shheap_root(again, "name", 0, 0, NULL, NULL, &obj),
                         _i == CLOSE_IN_INIT || _i == CLOSE_IN_UNDO ? 0 : -ENOENT);
        heap_assert_clean(again);
        ck_assert_int_eq(shheap_close(again), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("close");
        TCase *tcase = tcase_create("close");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, mapping_stays_for_threads_that_are_attached_and_goes_when_they_have_gone);
        tcase_add_test(tcase, heap_that_nobody_else_is_attached_to_is_unmapped_at_once);
        tcase_add_test(tcase, reopening_takes_up_what_is_still_mapped);
        tcase_add_test(tcase, reopening_takes_up_what_is_still_mapped_in_a_child_of__Fork);
        tcase_add_test(tcase, mapping_stays_for_who_was_lent_a_slot);
        tcase_add_test(tcase, thread_that_opened_may_end_before_another_closes);
        tcase_add_test(tcase, close_gives_back_slots_and_caches);
        tcase_add_loop_test(tcase, heap_may_be_closed_in_a_function_that_it_calls, 0, N_CLOSES);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("threads");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, destructors_of_thread_data_may_allocate);
        tcase_add_test(tcase, thousands_of_threads_come_and_go);
        tcase_add_test(tcase, full_heap_is_refused_at_open_and_its_own_threads_go_on);
        suite_add_tcase(suite, tcase);

        heap_dir_create("close");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
