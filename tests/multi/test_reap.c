/*
 * What is at stake: processes are killed wherever they happen to be, by the dozen, and the others go on at once with a
 * heap that has lost nothing.  The children keep their books in the heap itself: each block that they own stands in a
 * table there, put and taken by shheap_malloc_to() and shheap_free_from() in one step with the allocation.  So whatever
 * is allocated after they have died must stand in a table, to the byte.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_CHILDREN = 6, N_ROUNDS = 8, N_ENTRIES = 64, N_OPERATIONS = 3000, SURVIVORS_WORK = 20000 };

static shheap *h;

static void
setup(void)
{
        heap_dir_empty();
        h = heap_dir_open("reap", SHHEAP_CREATE, "capacity:256M");
}

static void
teardown(void)
{
        shheap_close(h);
        heap_dir_empty();
}

/* ------------------------------------------------------------------ books */

struct table {
        shref entry[N_ENTRIES];
        uint64_t n_done; /* operations, for the parent to see that there are some */
};

static uint64_t
random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* Mostly small, some large, few huge. */
static size_t
random_size(uint64_t *state)
{
        uint64_t r = random_next(state);

        if (r % 100 == 0)
                return (3 << 20) + (size_t)(r >> 40) % (4 << 20);
        if (r % 10 == 0)
                return (size_t)(r >> 40) % (1 << 20) + 1;
        return (size_t)(r >> 40) % 2000 + 1;
}

static void
keep_books(struct table *table, uint64_t seed, uint64_t n_max)
{
        uint64_t state = seed * UINT64_C(0x9e3779b97f4a7c15) + 1;

        for (uint64_t n = 0; n < n_max; n++) {
                shref *entry = &table->entry[random_next(&state) % N_ENTRIES];

                if (*entry == SHREF_NULL) {
                        size_t size = random_size(&state);
                        char *p = shheap_malloc_to(h, size, 0, entry);

                        MUST(p || errno == ENOMEM);
                        if (p)
                                p[0] = p[size - 1] = 1;
                } else {
                        int err = shheap_free_from(h, entry);

                        MUST(err == 0 || err == -EBUSY); /* stays booked: its slab is held by one who stopped or died */
                }
                __atomic_store_n(&table->n_done, n + 1, __ATOMIC_RELAXED);
        }
}

static uint64_t
bytes_in(const struct table *tables, int n_tables)
{
        uint64_t bytes = 0;

        for (int i = 0; i < n_tables; i++)
                for (int k = 0; k < N_ENTRIES; k++)
                        if (tables[i].entry[k] != SHREF_NULL) {
                                size_t usable = shheap_usable_size(h, shheap_ptr(h, tables[i].entry[k]));

                                ck_assert_uint_gt(usable, 0);
                                bytes += usable;
                        }
        return bytes;
}

/* Nothing is allocated but the tables and what stands in them. */
static void
assert_books_balance(const struct table *tables, int n_tables)
{
        uint64_t booked = bytes_in(tables, n_tables) + shheap_usable_size(h, tables);

        heap_assert_clean(h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), booked);
}

static void
clear(struct table *tables, int n_tables)
{
        for (int i = 0; i < n_tables; i++) {
                for (int k = 0; k < N_ENTRIES; k++)
                        ck_assert_int_eq(shheap_free_from(h, &tables[i].entry[k]), 0);
                tables[i].n_done = 0;
        }
}

static struct table *
tables_make(void)
{
        struct table *tables = shheap_calloc(h, N_CHILDREN, sizeof *tables);

        ck_assert_ptr_nonnull(tables);
        return tables;
}

static uint64_t
n_done(const struct table *table)
{
        return __atomic_load_n(&table->n_done, __ATOMIC_RELAXED);
}

static void
wait_for_work(const struct child *c, const struct table *table, uint64_t n)
{
        siginfo_t end = {0};

        while (n_done(table) < n) {
                sched_yield();
                ck_assert_int_eq(waitid(P_PID, (id_t)c->pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
                ck_assert_msg(end.si_pid == 0, "a child has ended by itself");
        }
}

/* ------------------------------------------------------------------ killed */

static void
child_keeps_books(struct child *self, void *arg)
{
        (void)self;
        keep_books(arg, (uint64_t)getpid(), UINT64_MAX);
}

START_TEST(killed_processes_lose_nothing)
{
        struct table *tables = tables_make();
        uint64_t state = (uint64_t)getpid();
        struct child children[N_CHILDREN];

        for (int round = 0; round < N_ROUNDS; round++) {
                uint64_t n_reaped;

                for (int i = 0; i < N_CHILDREN; i++) {
                        tables[i].n_done = 0;
                        child_start(&children[i], child_keeps_books, &tables[i]);
                }
                for (int i = 0; i < N_CHILDREN; i++) {
                        wait_for_work(&children[i], &tables[i], random_next(&state) % 300 + 1);
                        kill(children[i].pid, SIGKILL);
                }
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_int_eq(WTERMSIG(child_end(&children[i])), SIGKILL);
                n_reaped = heap_reap(h); /* the others have been reaped by their siblings, or replaced */
                ck_assert_uint_ge(n_reaped, 1);
                ck_assert_uint_le(n_reaped, 2 * N_CHILDREN);
                ck_assert_uint_eq(heap_reap(h), 0);
                ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
                ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
                assert_books_balance(tables, N_CHILDREN);
                if (round % 4 == 3)
                        clear(tables, N_CHILDREN);
        }
        clear(tables, N_CHILDREN);
        assert_books_balance(tables, N_CHILDREN);
        shheap_free(h, tables);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* By their caches: the same classes over and over, magazines full and empty. */
static void
child_exchanges(struct child *self, void *arg)
{
        uint64_t state = (uint64_t)getpid() * 77 + 1;
        struct table *table = arg;
        void *blocks[200] = {0};

        (void)self;
        for (uint64_t n = 1;; n++) {
                void **block = &blocks[random_next(&state) % 200];

                shheap_free(h, *block);
                *block = shheap_malloc(h, random_next(&state) % 700);
                __atomic_store_n(&table->n_done, n, __ATOMIC_RELAXED);
        }
}

START_TEST(what_killed_processes_had_cached_is_there_for_others)
{
        struct table *tables = tables_make();
        struct child children[N_CHILDREN];
        uint64_t before = 0;

        for (int round = 0; round < N_ROUNDS; round++) {
                for (int i = 0; i < N_CHILDREN; i++) {
                        tables[i].n_done = 0;
                        child_start(&children[i], child_exchanges, &tables[i]);
                }
                for (int i = 0; i < N_CHILDREN; i++) {
                        wait_for_work(&children[i], &tables[i], (uint64_t)(round + 1) * 200);
                        child_kill(&children[i]);
                }
                ck_assert_uint_ge(heap_reap(h), 1);
                heap_assert_clean(h);
                /* What they had allocated, 200 blocks each, is lost, as any process leaks what it forgets. */
                ck_assert_uint_le(heap_ctl(h, "stats.allocated") - before, N_CHILDREN * 200 * 768 + 100000);
                before = heap_ctl(h, "stats.allocated");
        }
        shheap_free(h, tables);
}
END_TEST

/* ------------------------------------------------------------------ who reaps */

START_TEST(memory_of_the_dead_is_found_by_who_runs_out)
{
        struct table *tables = tables_make();
        shref *last = &tables[0].entry[0];
        struct child c;
        size_t n = 0;

        child_start(&c, child_exchanges, &tables[1]);
        wait_for_work(&c, &tables[1], 1000);
        child_kill(&c);
        while (shheap_malloc_to(h, 100, 0, last)) {
                n++;
                *(shref *)shheap_ptr(h, *last) =
                        n > 1 ? shheap_ref(h, last + 1) : SHREF_NULL; /* forgotten on purpose */
                *last = SHREF_NULL;
        }
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_uint_eq(heap_reap(h), 0); /* has been done on the way, reserve slot and all */
        heap_assert_clean(h);
}
END_TEST

START_TEST(survivors_go_on_while_others_are_stopped_anywhere)
{
        struct table *tables = tables_make();
        struct child children[N_CHILDREN];

        for (int i = 1; i < N_CHILDREN; i++) {
                child_start(&children[i], child_keeps_books, &tables[i]);
                wait_for_work(&children[i], &tables[i], 50 * (uint64_t)i);
                kill(children[i].pid, SIGSTOP);
        }
        keep_books(&tables[0], 1, SURVIVORS_WORK);
        ck_assert_uint_eq(heap_reap(h), 0); /* stopped is not dead */
        ck_assert_int_eq(shheap_check(h, 0, NULL), 0);
        for (int i = 1; i < N_CHILDREN; i++) {
                uint64_t seen = n_done(&tables[i]);

                kill(children[i].pid, SIGCONT);
                wait_for_work(&children[i], &tables[i], seen + 100);
        }
        for (int i = 1; i < N_CHILDREN; i++)
                child_kill(&children[i]);
        ck_assert_uint_ge(heap_reap(h), 1);
        assert_books_balance(tables, N_CHILDREN);
}
END_TEST

static void
child_reaps(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        for (;;)
                MUST(shheap_reap(h) >= 0);
}

START_TEST(reapers_that_are_killed_are_followed_by_others)
{
        struct table *tables = tables_make();
        struct child reapers[2], victim;

        for (int round = 0; round < N_ROUNDS; round++) {
                for (int i = 0; i < 2; i++)
                        child_start(&reapers[i], child_reaps, NULL);
                for (int i = 0; i < 4; i++) {
                        tables[i].n_done = 0;
                        child_start(&victim, child_keeps_books, &tables[i]);
                        wait_for_work(&victim, &tables[i], 20 * (uint64_t)(round + 1));
                        child_kill(&victim);
                }
                for (int i = 0; i < 2; i++)
                        child_kill(&reapers[i]);
                shheap_reap(h);
                ck_assert_uint_eq(heap_reap(h), 0);
                ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
                assert_books_balance(tables, N_CHILDREN);
        }
}
END_TEST

/* ------------------------------------------------------------------ several threads each */

struct thread_job {
        struct table *table;
        uint64_t seed;
};

static void *
thread_keeps_books(void *arg)
{
        const struct thread_job *job = arg;

        keep_books(job->table, job->seed, UINT64_MAX);
        return NULL;
}

static void
child_with_threads(struct child *self, void *arg)
{
        struct table *tables = arg;
        struct thread_job jobs[3];
        pthread_t thread;

        (void)self;
        for (int i = 0; i < 3; i++) {
                jobs[i] = (struct thread_job){&tables[i], (uint64_t)getpid() + (uint64_t)i};
                MUST(pthread_create(&thread, NULL, thread_keeps_books, &jobs[i]) == 0);
        }
        pthread_join(thread, NULL);
}

START_TEST(processes_of_several_threads_are_reaped_whole)
{
        struct table *tables = tables_make();
        struct child children[2];

        for (int round = 0; round < N_ROUNDS; round++) {
                for (int i = 0; i < 2; i++) {
                        for (int k = 0; k < 3; k++)
                                tables[3 * i + k].n_done = 0;
                        child_start(&children[i], child_with_threads, &tables[3 * i]);
                }
                for (int i = 0; i < 2; i++) {
                        wait_for_work(&children[i], &tables[3 * i + round % 3], 100);
                        child_kill(&children[i]);
                }
                shheap_reap(h);
                ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
                assert_books_balance(tables, N_CHILDREN);
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("reap");
        TCase *tcase = tcase_create("reap");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, killed_processes_lose_nothing);
        tcase_add_test(tcase, what_killed_processes_had_cached_is_there_for_others);
        tcase_add_test(tcase, memory_of_the_dead_is_found_by_who_runs_out);
        tcase_add_test(tcase, survivors_go_on_while_others_are_stopped_anywhere);
        tcase_add_test(tcase, reapers_that_are_killed_are_followed_by_others);
        tcase_add_test(tcase, processes_of_several_threads_are_reaped_whole);
        suite_add_tcase(suite, tcase);

        heap_dir_create("reap");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
