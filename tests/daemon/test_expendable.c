/*
 * The daemon is expendable: killed again and again, or stopped, while clients work and die, it makes no allocation fail
 * and no client wait, and what died meanwhile is settled when there is a daemon again.
 *
 *   expendable [ROUNDS]    how often it is killed; 200 unless said otherwise
 */
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { N_WORKERS = 2, N_BLOCKS = 512, N_OPENERS = 200 };

static unsigned n_rounds = 200;

/* Shared with the workers: what they have done. */
static struct {
        unsigned long n_done[N_WORKERS];
        int is_over;
} * board;

static void
make_board(void)
{
        board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(board, MAP_FAILED);
}

static unsigned long
done_by(int worker)
{
        return __atomic_load_n(&board->n_done[worker], __ATOMIC_RELAXED);
}

/* Nothing that it asks for may fail.  Sizes change all the time, so that its slow paths are taken. */
static void
work(struct child *self, void *arg)
{
        unsigned worker = *(const unsigned *)arg, seed = (unsigned)getpid();
        shheap *h = heap_dir_open("work", 0, NULL);
        void *blocks[N_BLOCKS] = {NULL};

        child_tell(self);
        while (!__atomic_load_n(&board->is_over, __ATOMIC_RELAXED)) {
                for (int i = 0; i < N_BLOCKS; i++) {
                        unsigned at = (seed = seed * 1664525 + 1013904223) >> 23;

                        shheap_free(h, blocks[at]);
                        MUST(blocks[at] = shheap_malloc(h, (size_t)16 << (seed >> 8) % 13));
                }
                __atomic_add_fetch(&board->n_done[worker], 1, __ATOMIC_RELAXED);
                sched_yield(); /* the daemon has to start meanwhile */
        }
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
        MUST(shheap_close(h) == 0);
}

static void
start_workers(struct child workers[N_WORKERS])
{
        static unsigned numbers[N_WORKERS];

        board->is_over = 0;
        for (unsigned i = 0; i < N_WORKERS; i++) {
                numbers[i] = i;
                child_start(&workers[i], work, &numbers[i]);
                ck_assert(child_hear(&workers[i]));
        }
}

static void
end_workers(struct child workers[N_WORKERS])
{
        __atomic_store_n(&board->is_over, 1, __ATOMIC_RELAXED);
        for (int i = 0; i < N_WORKERS; i++)
                ck_assert_int_eq(child_end(&workers[i]), 0);
}

/* Each of them gets something done. */
static void
expect_progress(void)
{
        unsigned long before[N_WORKERS];

        for (int i = 0; i < N_WORKERS; i++)
                before[i] = done_by(i);
        for (int i = 0; i < N_WORKERS; i++)
                while (done_by(i) == before[i])
                        sched_yield();
}

/* Opens the heap, caches something, and waits to be killed. */
static void
cache_and_wait(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("work", 0, NULL);
        void *p = shheap_malloc(h, 100);

        (void)arg;
        MUST(p);
        shheap_free(h, p);
        child_tell(self);
        child_hear(self);
}

static void
die_with_the_heap_open(void)
{
        struct child child;

        child_start(&child, cache_and_wait, NULL);
        ck_assert(child_hear(&child));
        child_kill(&child);
}

/* ------------------------------------------------------------------ killed */

START_TEST(killed_under_load_again_and_again)
{
        struct child workers[N_WORKERS];
        struct rig rig;
        uint64_t mapped = 0;
        shheap *h;

        make_board();
        rig_start(&rig, "--heap=work", "--capacity=256M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("work", 0, NULL);
        start_workers(workers);
        for (unsigned i = 0; i < n_rounds; i++) {
                pid_t helper = rig_helper(&rig);

                if (i % 3 == 0) /* the death of a client meets the death of the daemon */
                        die_with_the_heap_open();
                rig_kill(&rig);
                ck_assert_int_gt(helper, 0);
                if (i % 4 == 0)
                        expect_progress();
                if (i % 5 == 0)
                        die_with_the_heap_open();
                unlink(rig.log);
                rig_start(&rig, "--heap=work", "--capacity=256M", "--verbose", NULL);
                if (i % 7 == 3) { /* killed while it starts */
                        rig_kill(&rig);
                        unlink(rig.log);
                        rig_start(&rig, "--heap=work", "--capacity=256M", "--verbose", NULL);
                }
                rig_expect(&rig, "ready:");
                if (i == 20)
                        mapped = heap_ctl(h, "stats.mapped");
        }
        ck_assert_int_ge(shheap_check(h, 0, NULL), 0);
        end_workers(workers);
        rig_expect_no_strangers(&rig, h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        while (rig_count_stranger_clients(h) > 0) /* the place of a client goes after its slots */
                sched_yield();
        if (n_rounds > 20) /* what the heap occupies does not grow with the number of daemons that it has seen */
                ck_assert_uint_lt(heap_ctl(h, "stats.mapped"), mapped + (64u << 20));
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* Without workers: they would settle the dead as well. */
START_TEST(a_helper_that_is_killed_is_replaced)
{
        struct rig rig;
        shheap *h;

        rig_start(&rig, "--heap=work", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("work", 0, NULL);
        for (int i = 0; i < 4; i++) {
                kill(rig_helper(&rig), SIGKILL);
                rig_expect(&rig, "adopted again");
                die_with_the_heap_open();
                rig_expect_no_strangers(&rig, h);
        }
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* ------------------------------------------------------------------ stopped */

/* More than the daemon could be told while it is stopped. */
static void
open_and_close(void)
{
        for (int i = 0; i < N_OPENERS; i++) {
                pid_t pid = fork();

                ck_assert_int_ge(pid, 0);
                if (pid == 0) {
                        shheap *h = heap_dir_open("work", 0, NULL);

                        if (!shheap_malloc(h, 64))
                                _exit(1);
                        if (i % 2)
                                kill(getpid(), SIGKILL);
                        _exit(0);
                }
                ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        }
}

/* Opening would wait for ever if it waited at all. */
START_TEST(stopped_under_load_it_delays_nobody)
{
        struct child workers[N_WORKERS];
        struct rig rig;
        shheap *h;

        make_board();
        rig_start(&rig, "--heap=work", "--capacity=256M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("work", 0, NULL);
        start_workers(workers);
        kill(rig.pid, SIGSTOP);
        open_and_close();
        expect_progress();
        kill(rig_helper(&rig), SIGSTOP);
        open_and_close();
        expect_progress();
        kill(rig_helper(&rig), SIGCONT);
        kill(rig.pid, SIGCONT);
        end_workers(workers);
        rig_expect_no_strangers(&rig, h);
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* A daemon that dies while its helper is stopped does not leave it behind: the heap could not be kept again. */
START_TEST(a_stopped_helper_does_not_outlive_its_daemon)
{
        struct rig rig;

        rig_start(&rig, "--heap=work", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        kill(rig_helper(&rig), SIGSTOP);
        rig_kill(&rig);
        rig_start(&rig, "--heap=work", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "adopted");
        rig_stop(&rig);
}
END_TEST

int
main(int argc, char **argv)
{
        if (argc > 1)
                n_rounds = (unsigned)atoi(argv[1]);
        if (n_rounds > 1000)
                return SUITE_RUN("a daemon that is killed", "expendable", killed_under_load_again_and_again);
        return SUITE_RUN("an expendable daemon", "expendable", killed_under_load_again_and_again,
                         a_helper_that_is_killed_is_replaced, stopped_under_load_it_delays_nobody,
                         a_stopped_helper_does_not_outlive_its_daemon);
}
