/*
 * What is at stake: calls that are left by another door.  A signal handler jumps out of one, or ends its thread in
 * there; a thread is cancelled at whatever instruction; a handler allocates, and the call that it interrupted goes on.
 * Signals come at random moments here; tests/crash (left, left-again, interrupted) takes the moments one by one.
 *
 * Threads use calls that hand over in one step, so that what is allocated in the end is known to the byte.
 */
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/random.h"
#include "support/suite.h"

enum { N_THREADS = 200, N_JUMPS = 150, N_SLOTS = 64, N_DESTS = 8, N_OWN = 32, N_REAPS = 300, N_HANDLED = 300 };

static shheap *h;
static shref *dests; /* N_DESTS for each thread */
static uint64_t allocated_before;

/* What is left of the heap once everybody has gone: what was there before. */
static void
assert_nothing_is_lost(void)
{
        ck_assert_int_ge(shheap_reap(h), 0);
        heap_assert_clean(h);
        for (int i = 0; i < N_THREADS * N_DESTS; i++)
                ck_assert_int_eq(shheap_free_from(h, &dests[i]), 0);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), allocated_before);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
}

static void
make(const char *conf)
{
        h = heap_dir_open("leave", SHHEAP_CREATE, conf);
        dests = shheap_calloc(h, N_THREADS * N_DESTS, sizeof *dests);
        ck_assert_ptr_nonnull(dests);
        allocated_before = heap_ctl(h, "stats.allocated");
}

static void
setup(void)
{
        heap_dir_empty();
        make(NULL);
}

static void
setup_without_slots(void)
{
        heap_dir_empty();
        make("max_threads:2"); /* main()'s, and the reserve */
}

static void
teardown(void)
{
        ck_assert_int_eq(shheap_close(h), 0);
        heap_dir_empty();
}

/* ------------------------------------------------------------------ signals at random moments */

enum door { DOOR_JUMP, DOOR_THREAD_EXIT, DOOR_CANCEL, DOOR_RETURN };

struct visitor {
        int no;
        enum door door;
        uint64_t random;
        timer_t timer;
        sigjmp_buf out;
        volatile sig_atomic_t is_armed;
        volatile sig_atomic_t n_handled;
        uint64_t *own[N_OWN]; /* the handler's blocks, stamped */
};

static __thread struct visitor *self;

static size_t
random_size(uint64_t *random)
{
        uint64_t dice = random_next(random) % 16;

        return 1 + random_next(random) % (dice < 8 ? 2000 : dice < 12 ? 40000 : dice < 15 ? 400000 : 5 << 20);
}

static uint64_t
stamp_of(const uint64_t *p)
{
        return (uint64_t)(uintptr_t)p * UINT64_C(0x9e3779b97f4a7c15);
}

/* Allocates or frees one of this visitor's own blocks, which nobody else may write to. */
static void
use_own(struct visitor *v)
{
        uint64_t **at = &v->own[random_next(&v->random) % N_OWN];

        if (!*at) {
                *at = shheap_malloc(h, 8 + random_size(&v->random) % 300000);
                if (*at)
                        **at = stamp_of(*at);
        } else {
                if (**at != stamp_of(*at))
                        abort();
                **at = 0;
                shheap_free(h, *at);
                *at = NULL;
        }
}

static void
free_own(struct visitor *v)
{
        for (int i = 0; i < N_OWN; i++)
                if (v->own[i])
                        shheap_free(h, v->own[i]);
        memset(v->own, 0, sizeof v->own);
}

static void
on_signal(int sig)
{
        struct visitor *v = self;

        (void)sig;
        if (!v || !v->is_armed)
                return;
        v->n_handled++;
        if (v->door == DOOR_RETURN) {
                use_own(v);
                return;
        }
        v->is_armed = 0;
        if (v->door == DOOR_JUMP)
                siglongjmp(v->out, 1);
        pthread_exit(NULL);
}

static void
arm(struct visitor *v)
{
        struct itimerspec in = {.it_value = {0, (long)(10000 + random_next(&v->random) % 200000)}};

        if (v->door == DOOR_RETURN)
                in.it_interval = in.it_value;
        v->is_armed = 1;
        timer_settime(v->timer, 0, &in, NULL);
}

static void
disarm(struct visitor *v)
{
        struct itimerspec never = {.it_value = {0, 0}};

        v->is_armed = 0;
        timer_settime(v->timer, 0, &never, NULL);
}

/* Each of these calls is at work on the thread's caches, or on the heap itself; none is served by a hit. */
static void
use(struct visitor *v)
{
        shref *dest = &dests[v->no * N_DESTS + (int)(random_next(&v->random) % N_DESTS)];
        uint64_t dice = random_next(&v->random) % 256;

        if (*dest != SHREF_NULL)
                (void)shheap_free_from(h, dest);
        else if (dice == 0)
                (void)shheap_purge(h, -1);
        else if (dice == 1)
                (void)shheap_reserve(h, 1 << 20);
        else
                (void)!shheap_malloc_to(h, random_size(&v->random), dice % 4 == 0 ? SHA_TCACHE_NONE : 0, dest);
}

static void
begin(struct visitor *v)
{
        struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = SIGUSR1};

        event._sigev_un._tid = gettid();
        ck_assert_int_eq(timer_create(CLOCK_MONOTONIC, &event, &v->timer), 0);
        self = v;
}

static void
end(struct visitor *v)
{
        disarm(v);
        timer_delete(v->timer);
        self = NULL;
}

/* Comes back when the signal has come. */
static void
use_until_jumped_out(struct visitor *v)
{
        if (sigsetjmp(v->out, 1) == 0) {
                arm(v);
                for (;;)
                        use(v);
        }
}

/* One thread after the other, each in another place of `dests`. */
static void
run_threads_from(int seed, int n, enum door door, void *(*fn)(void *))
{
        struct visitor *visitors = calloc((size_t)n, sizeof *visitors);

        signal(SIGUSR1, on_signal);
        for (int i = 0; i < n; i++) {
                pthread_t thread;

                visitors[i] = (struct visitor){.no = i, .door = door, .random = (uint64_t)(seed + i) * 7919 + 1};
                ck_assert_int_eq(pthread_create(&thread, NULL, fn, &visitors[i]), 0);
                if (door == DOOR_CANCEL) {
                        for (uint64_t spins = random_next(&visitors[i].random) % 300000; spins > 0; spins--)
                                __asm__ volatile("" ::: "memory");
                        pthread_cancel(thread);
                }
                pthread_join(thread, NULL);
                if (door == DOOR_THREAD_EXIT)
                        timer_delete(visitors[i].timer);
        }
        free(visitors);
}

/* Whatever they leave is settled, and nothing lost. */
static void
run_threads(int n, enum door door, void *(*fn)(void *))
{
        run_threads_from(0, n, door, fn);
        assert_nothing_is_lost();
}

/* ------------------------------------------------------------------ the doors */

static void *
jump_and_end(void *arg)
{
        begin(arg);
        use_until_jumped_out(arg);
        end(arg);
        return NULL;
}

START_TEST(threads_that_jump_out_and_end_lose_nothing)
{
        run_threads(N_THREADS, DOOR_JUMP, jump_and_end);
}
END_TEST

static void *
jump_and_go_on(struct visitor *v, bool is_elsewhere)
{
        begin(v);
        for (int i = 0; i < N_JUMPS; i++) {
                v->no = is_elsewhere ? i : v->no;
                use_until_jumped_out(v);
                for (int n = 0; n < 50; n++)
                        use_own(v);
        }
        ck_assert_uint_le(heap_ctl(h, "heap.threads"), 1 + N_SLOTS);
        end(v);
        free_own(v);
        return NULL;
}

static void *
jump_again_and_again(void *arg)
{
        return jump_and_go_on(arg, false);
}

/* A dest that a left call was about says so once its slot is settled: until the thread ends others keep off it, and the
 * thread itself goes on in another place. */
static void *
jump_and_go_on_elsewhere(void *arg)
{
        return jump_and_go_on(arg, true);
}

START_TEST(thread_that_jumps_out_goes_on_using_the_heap)
{
        run_threads(1, DOOR_JUMP, jump_and_go_on_elsewhere);
}
END_TEST

START_TEST(process_that_jumps_out_can_close_and_open_the_heap)
{
        struct visitor v = {.door = DOOR_JUMP, .random = 5};
        shheap *again;

        signal(SIGUSR1, on_signal);
        begin(&v);
        for (int i = 0; i < 20; i++) {
                use_until_jumped_out(&v);
                ck_assert_int_eq(shheap_close(h), 0);
                again = heap_dir_open("leave", 0, NULL);
                ck_assert_ptr_nonnull(again);
                h = again;
                shheap_free(h, shheap_malloc(h, 100));
                v.no++;
        }
        end(&v);
        ck_assert_int_eq(shheap_check(h, 0, NULL), 0);
}
END_TEST

/* Has a thread's end to settle, is interrupted in that, and looks once more. */
static void *
jump_out_of_reaping(void *arg)
{
        struct visitor *v = arg;
        struct itimerspec in = {.it_value = {0, (long)(1000 + random_next(&v->random) % 30000)}};

        begin(v);
        shheap_free(h, shheap_malloc(h, 100));
        if (sigsetjmp(v->out, 1) == 0) {
                v->is_armed = 1;
                timer_settime(v->timer, 0, &in, NULL);
                for (;;)
                        (void)shheap_reap(h);
        }
        end(v);
        ck_assert_int_ge(shheap_reap(h), 0);
        ck_assert_uint_le(heap_ctl(h, "heap.threads"), 1 + 2); /* main()'s; the one that was left, and another */
        return NULL;
}

START_TEST(reap_that_is_jumped_out_of_keeps_no_dead_to_itself)
{
        for (int i = 0; i < N_REAPS; i++) {
                run_threads_from(i, 1, DOOR_JUMP, jump_and_end);
                run_threads_from(i, 1, DOOR_JUMP, jump_out_of_reaping);
        }
        assert_nothing_is_lost();
}
END_TEST

static void *
end_in_the_handler(void *arg)
{
        begin(arg);
        arm(arg);
        for (;;)
                use(arg);
        return NULL;
}

START_TEST(threads_that_end_in_a_handler_lose_nothing)
{
        run_threads(N_THREADS, DOOR_THREAD_EXIT, end_in_the_handler);
}
END_TEST

static void *
be_cancelled_anywhere(void *arg)
{
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
        for (;;)
                use(arg);
        return NULL;
}

START_TEST(threads_that_are_cancelled_at_any_instruction_lose_nothing)
{
        run_threads(N_THREADS, DOOR_CANCEL, be_cancelled_anywhere);
}
END_TEST

static void *
be_interrupted(void *arg)
{
        struct visitor *v = arg;

        begin(v);
        arm(v);
        while (v->n_handled < N_HANDLED)
                use(v);
        end(v);
        free_own(v);
        return NULL;
}

START_TEST(handlers_that_allocate_in_a_call_and_return_do_no_harm)
{
        run_threads(4, DOOR_RETURN, be_interrupted);
}
END_TEST

/* ------------------------------------------------------------------ locks of the process */

/* A handler of SIGABRT, which no call blocks, jumps out where a lock is held: at the n-th unlocking of a thread's
 * calls. */
static __thread int unlocks_to_go;
static __thread sigjmp_buf out_of_lock;

int
pthread_mutex_unlock(pthread_mutex_t *mutex)
{
        static int (*unlock)(pthread_mutex_t * mutex);

        if (!unlock)
                *(void **)&unlock = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
        if (unlocks_to_go > 0 && --unlocks_to_go == 0)
                raise(SIGABRT);
        return unlock(mutex);
}

static void
jump_out_of_lock(int sig)
{
        (void)sig;
        siglongjmp(out_of_lock, 1);
}

/* Its first call, and another one after that; *arg becomes 0 if there were not so many locks. */
static void *
leave_locks(void *arg)
{
        int *at = arg;

        if (sigsetjmp(out_of_lock, 1) == 0) {
                unlocks_to_go = *at;
                MUST(shheap_malloc(h, 100) != NULL);
                unlocks_to_go = 0;
                *at = 0;
        }
        shheap_free(h, shheap_malloc(h, 100));
        return NULL;
}

static void
run_in_thread(void *(*fn)(void *), void *arg)
{
        pthread_t thread;

        MUST(pthread_create(&thread, NULL, fn, arg) == 0);
        MUST(pthread_join(thread, NULL) == 0);
}

static void *
allocate_once(void *arg)
{
        MUST(shheap_malloc(h, 100) != NULL);
        return arg;
}

enum { LEFT_NO_LOCK = 3 };

/* As a client that is new, too: that takes the lock once more. */
static void
leave_a_lock_and_go_on(struct child *c, void *arg)
{
        int at = *(int *)arg;

        (void)c;
        signal(SIGABRT, jump_out_of_lock);
        run_in_thread(leave_locks, &at);
        if (at == 0)
                _exit(LEFT_NO_LOCK);
        run_in_thread(allocate_once, NULL);
        MUST(shheap_close(h) == 0);
}

START_TEST(lock_that_was_left_by_a_jump_is_had_by_its_thread_and_after_its_end_by_others)
{
        int at = 0, status = 0;

        while (status == 0) {
                struct child c;

                at++;
                child_start(&c, leave_a_lock_and_go_on, &at);
                status = child_end(&c);
        }
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == LEFT_NO_LOCK, "lock %d: status %#x", at, status);
        ck_assert_int_gt(at, 2); /* to become a client, and to have a cache */
        heap_reap(h);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        heap_assert_clean(h);
}
END_TEST

/* ------------------------------------------------------------------ init() of a root */

enum { N_INITS = 30 };

static struct visitor *in_init;

/* Jumps out of init(), not out of a call. */
static int
init_that_is_left(void *obj, size_t size, void *arg)
{
        (void)obj, (void)size, (void)arg;
        use_own(in_init);
        siglongjmp(in_init->out, 1);
}

/* Out of a call inside init(), which goes on. */
static int
init_in_which_a_call_is_left(void *obj, size_t size, void *arg)
{
        (void)obj, (void)size, (void)arg;
        use_until_jumped_out(in_init);
        use_own(in_init);
        return 0;
}

/* As often as one likes: not only until the slot's words for objects under construction are used up. */
static void *
leave_inits(void *arg)
{
        struct visitor *v = in_init = arg;
        char name[32];
        void *obj;

        for (volatile int i = 0; i < N_INITS; i++) {
                snprintf(name, sizeof name, "left%d", i);
                if (sigsetjmp(v->out, 1) == 0)
                        ck_abort_msg("init() did not jump: %d",
                                     shheap_root(h, name, 1000, 0, init_that_is_left, NULL, &obj));
                ck_assert_int_eq(shheap_root(h, name, 0, 0, NULL, NULL, &obj), -ENOENT);
                ck_assert_int_eq(shheap_root(h, name, 1000, 0, NULL, NULL, &obj), 0);
                ck_assert_int_eq(shheap_root_remove(h, name), 0);
        }
        free_own(v);
        return NULL;
}

START_TEST(init_may_be_left_by_a_jump)
{
        run_threads(1, DOOR_JUMP, leave_inits);
}
END_TEST

static void *
leave_calls_of_inits(void *arg)
{
        struct visitor *v = in_init = arg;
        char name[32];
        void *obj;

        begin(v);
        for (v->no = 0; v->no < N_INITS; v->no++) {
                int err;

                snprintf(name, sizeof name, "inside%d", v->no);
                err = shheap_root(h, name, 1000, 0, init_in_which_a_call_is_left, NULL, &obj);
                if (err == 0) /* it was between two calls, or the call was another slot's */
                        ck_assert_int_eq(shheap_root_remove(h, name), 0);
                else
                        ck_assert_int_eq(err, -EINTR);
                ck_assert_int_eq(shheap_root(h, name, 0, 0, NULL, NULL, &obj), -ENOENT);
        }
        end(v);
        free_own(v);
        return NULL;
}

START_TEST(init_that_leaves_a_call_by_a_jump_makes_nothing)
{
        run_threads(1, DOOR_JUMP, leave_calls_of_inits);
}
END_TEST

static int
init_inside_init(void *obj, size_t size, void *arg)
{
        int depth = *(int *)arg - 1;
        char name[32];
        void *inner;

        (void)obj, (void)size;
        if (depth == 0)
                return 0;
        snprintf(name, sizeof name, "depth%d", depth);
        return shheap_root(h, name, 100, 0, init_inside_init, &depth, &inner);
}

/* And what that takes of slots is used again. */
START_TEST(inits_may_be_deep_inside_each_other)
{
        void *obj;

        for (int i = 0; i < 10; i++) {
                int depth = 11;

                ck_assert_int_eq(shheap_root(h, "depth11", 100, 0, init_inside_init, &depth, &obj), 0);
                for (depth = 1; depth <= 11; depth++) {
                        char name[32];

                        snprintf(name, sizeof name, "depth%d", depth);
                        ck_assert_int_eq(shheap_root_remove(h, name), 0);
                }
                ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 3);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), allocated_before);
}
END_TEST

/* The slot is the process's: a thread that jumps out has given it back. */
START_TEST(borrowed_slot_is_not_left_by_a_jump)
{
        run_threads(N_THREADS, DOOR_JUMP, jump_and_end);
        run_threads(1, DOOR_JUMP, jump_again_and_again);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("leave");
        TCase *tcase = tcase_create("doors");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, threads_that_jump_out_and_end_lose_nothing);
        tcase_add_test(tcase, thread_that_jumps_out_goes_on_using_the_heap);
        tcase_add_test(tcase, process_that_jumps_out_can_close_and_open_the_heap);
        tcase_add_test(tcase, reap_that_is_jumped_out_of_keeps_no_dead_to_itself);
        tcase_add_test(tcase, threads_that_end_in_a_handler_lose_nothing);
        tcase_add_test(tcase, threads_that_are_cancelled_at_any_instruction_lose_nothing);
        tcase_add_test(tcase, handlers_that_allocate_in_a_call_and_return_do_no_harm);
        tcase_add_test(tcase, lock_that_was_left_by_a_jump_is_had_by_its_thread_and_after_its_end_by_others);
        tcase_add_test(tcase, init_may_be_left_by_a_jump);
        tcase_add_test(tcase, init_that_leaves_a_call_by_a_jump_makes_nothing);
        tcase_add_test(tcase, inits_may_be_deep_inside_each_other);
        tcase_set_timeout(tcase, 60);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("without slots");
        tcase_add_checked_fixture(tcase, setup_without_slots, teardown);
        tcase_add_test(tcase, borrowed_slot_is_not_left_by_a_jump);
        tcase_set_timeout(tcase, 60);
        suite_add_tcase(suite, tcase);

        heap_dir_create("leave");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
