/*
 * What is at stake: names while their creators die, and race.  Whoever dies in the midst of it, a name leads to one
 * object or to none, and no block is lost; see test_root.c for what one thread after the other does.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "heap/root.h"
#include "heap/root_cell.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/root_heap.h"
#include "support/root_judge.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ death */

static int
die(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        raise(SIGKILL);
        return 0;
}

static void
bury(pid_t pid, int signal)
{
        int status;

        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(signal != 0 ? WIFSIGNALED(status) && WTERMSIG(status) == signal : status == 0, "status %#x",
                      status);
}

/* A child dies in init() as thread `t`. */
static void
die_in_init(struct thread *t, size_t size)
{
        pid_t pid = fork();

        if (pid == 0) {
                try_create(t, "a", size, die, NULL);
                _exit(1);
        }
        bury(pid, SIGKILL);
}

START_TEST(who_dies_in_init_leaves_nothing_once_reaped)
{
        die_in_init(ta, 100);
        reap_settle(r, ta->no, tb);
        ck_assert_uint_eq(root_judge(r), 0);
        die_in_init(ta, 100000);
        reap_settle(r, ta->no, tb);
        ck_assert_uint_eq(root_judge(r), 0);
        die_in_init(ta, 5 << 20);
        reap_settle(r, ta->no, tb);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(without_a_reapers_thread_the_block_waits_for_the_next_owner)
{
        die_in_init(ta, 100);
        reap_settle(r, ta->no, NULL);
        ck_assert_uint_ne(ta->gate->pending[0], 0);
        reap_settle(r, ta->no, NULL);
        create(ta, "b", 100); /* the slot's next owner */
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

START_TEST(a_reaper_without_a_free_cell_leaves_the_block_where_it_is)
{
        uint64_t block_off;

        die_in_init(ta, 100);
        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                store_relaxed(&tb->gate->pending[i], 1); /* reserved: in the midst of allocating */
        reap_settle(r, ta->no, tb);
        ck_assert_uint_ne(ta->gate->pending[0], 0);
        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                store_relaxed(&tb->gate->pending[i], 0);
        reap_settle(r, ta->no, tb);
        ck_assert_uint_eq(ta->gate->pending[0], 0);
        ck_assert_int_eq(root_find_or_create(tb, "a", 1, 0, NULL, NULL, NULL, &block_off), 0);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

static jmp_buf out_of_init;

static int
jump_out(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        longjmp(out_of_init, 1);
}

/* Attaches, and ends with what init() was about under construction. */
static void *
attach_and_end(void *arg)
{
        struct thread t = {0};

        ck_assert_int_eq(slot_attach(&t, r, &heap.client, NULL, NULL), 0);
        *(uint32_t *)arg = t.no;
        if (setjmp(out_of_init) == 0)
                try_create(&t, "a", 100, jump_out, NULL);
        return NULL;
}

static void
fill_the_heap(struct live *live)
{
        for (uint64_t bytes = GEO_LARGE_MAX; bytes > GEO_SMALL_MAX; bytes /= 2) {
                struct call rq = {.size = bytes, .align = 1};
                uint64_t block_off;

                ck_assert(ask_classify(&rq));
                while (ask_block(tb, &rq, &block_off) == 0)
                        live_add(live, block_off);
        }
}

START_TEST(a_reap_in_the_midst_of_an_allocation_takes_another_cell)
{
        struct live live = {0};
        uint32_t no = 0;
        uint64_t *word;
        pthread_t thread;

        fill_the_heap(&live); /* nothing is left but a run or two for a slab */
        ck_assert_int_eq(free_block(tb, live_pop(&live), 0), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, attach_and_end, &no), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        word = hold_slab(tb, cell_block_off(region_gate(r, no - 1)->pending[0]));
        take_every_magazine(tb);
        ck_assert_int_eq(try_create(ta, "b", GEO_LARGE_MAX, NULL, NULL), -ENOMEM); /* has reaped the dead */
        ck_assert_uint_eq(region_gate(r, no - 1)->pending[0], 0);
        ck_assert_uint_ne(ta->gate->pending[1], 0);
        let_go(word);
        root_tidy(ta);
        give_back_every_magazine(tb);
        while (live.n > 0)
                ck_assert_int_eq(free_block(tb, live_pop(&live), 0), 0);
        live_fini(&live);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(who_leaves_settles_its_own_slot)
{
        pid_t pid;

        die_in_init(ta, 100);
        pid = fork(); /* the same thread jumped out of init(): it lives, and detaches */
        if (pid == 0) {
                root_settle_pending(r, ta->slot, ta->no, ta);
                _exit(0);
        }
        bury(pid, 0);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(a_dead_claim_of_a_record_is_free_again)
{
        for (uint32_t i = 0; i < N_NAMES; i++) { /* as if a thread had died after LINK.3, once per record */
                ck_assert_int_eq(region_raise_roots(r, i), 0);
                candidate_set(tb, candidate_make(CANDIDATE_ROOT, i, 1));
                strcpy(r->roots[i].name, "a");
                owner_release(&r->roots[i].word, ROOT_NEW | (uint64_t)tb->no << 4);
                if (i + 1 < N_NAMES)
                        reap_settle(r, tb->no, NULL);
        }
        for (uint32_t i = 0; i < N_NAMES; i++)
                ck_assert_uint_eq(r->roots[i].word & 0xf, i + 1 < N_NAMES ? ROOT_FREE : ROOT_NEW);
        reap_settle(r, tb->no, NULL);
        create(ta, "a", 10);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

/* ------------------------------------------------------------------ races of threads */

enum { N_RACERS = 4, N_ROUNDS = 200 };

static pthread_barrier_t barrier;

struct racer {
        struct thread *t;
        uint64_t got[N_ROUNDS];
        uint64_t n_inits;
};

static int
count_and_stamp(void *obj, size_t size, void *arg)
{
        struct racer *racer = arg;

        racer->n_inits++;
        *(uint64_t *)obj = size * 3;
        return 0;
}

static void *
race_to_create(void *arg)
{
        struct racer *racer = arg;

        for (int round = 0; round < N_ROUNDS; round++) {
                size_t size = 8 + (size_t)round * 100;
                int err;

                pthread_barrier_wait(&barrier);
                err = root_find_or_create(racer->t, "a", size, 0, count_and_stamp, NULL, racer, &racer->got[round]);
                ck_assert_msg(err == 0, "%d: %s", err, error_message());
                ck_assert_uint_eq(*(uint64_t *)region_block(r, racer->got[round]), size * 3);
                pthread_barrier_wait(&barrier);
                if (racer->t == ta)
                        ck_assert_int_eq(root_remove(ta, "a"), 0);
        }
        return NULL;
}

static void
run_racers(void *(*fn)(void *), struct racer racers[N_RACERS])
{
        pthread_t threads[N_RACERS];

        memset(racers, 0, N_RACERS * sizeof *racers);
        for (int i = 0; i < N_RACERS; i++)
                racers[i].t = i == 0 ? ta : i == 1 ? tb : heap_attach(&heap, 0);
        pthread_barrier_init(&barrier, NULL, N_RACERS);
        for (int i = 1; i < N_RACERS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, fn, &racers[i]), 0);
        fn(&racers[0]);
        for (int i = 1; i < N_RACERS; i++)
                pthread_join(threads[i], NULL);
        pthread_barrier_destroy(&barrier);
        for (int i = 0; i < N_RACERS; i++)
                root_tidy(racers[i].t);
}

START_TEST(racing_creators_get_one_object)
{
        static struct racer racers[N_RACERS];
        uint64_t n_inits = 0;

        run_racers(race_to_create, racers);
        for (int round = 0; round < N_ROUNDS; round++)
                for (int i = 1; i < N_RACERS; i++)
                        ck_assert_uint_eq(racers[i].got[round], racers[0].got[round]);
        for (int i = 0; i < N_RACERS; i++)
                n_inits += racers[i].n_inits;
        ck_assert_uint_ge(n_inits, N_ROUNDS);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

static void *
race_for_all(void *arg)
{
        static const char *const names[N_NAMES] = {"a", "b", "c", "d"};
        struct racer *racer = arg;
        uint32_t random = racer->t->no * 2654435761u;

        pthread_barrier_wait(&barrier);
        for (int i = 0; i < 4000; i++) {
                const char *name;
                int err;

                random = random * 1664525 + 1013904223;
                name = names[random >> 30];
                if (random >> 16 & 1)
                        err = try_create(racer->t, name, random >> 15 & 1 ? 64 : 40000, NULL, NULL);
                else
                        err = root_remove(racer->t, name);
                ck_assert_msg(err == 0 || err == -EEXIST || err == -ENOENT || err == -ENOSPC || err == -ENOBUFS,
                              "%d: %s", err, error_message());
                ck_assert_uint_eq(racer->t->fault.what, 0);
        }
        return NULL;
}

START_TEST(a_storm_of_creators_and_removers_loses_nothing)
{
        static struct racer racers[N_RACERS];

        run_racers(race_for_all, racers);
        root_judge(r);
        for (char name[2] = "a"; name[0] < 'a' + N_NAMES; name[0]++)
                (void)root_remove(ta, name);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

/* ------------------------------------------------------------------ races of processes, and their deaths */

enum { N_KILLS = 150 };

struct progress {
        uint64_t n_operations[N_RACERS];
};

static uint64_t *progress; /* in memory that the children share: a block of the heap, by a root */

static void
run_child(struct thread *t, int i)
{
        uint32_t random = (uint32_t)getpid() * 2654435761u;

        for (;;) {
                char name[2] = {(char)('a' + (random >> 20) % (N_NAMES - 1)), '\0'};

                random = random * 1664525 + 1013904223;
                if (random >> 16 & 1)
                        try_create(t, name, random >> 15 & 1 ? 64 : 40000, NULL, NULL);
                else
                        root_remove(t, name);
                if (t->fault.what != 0)
                        _exit(1);
                __atomic_fetch_add(&progress[i], 1, __ATOMIC_RELAXED);
        }
}

static pid_t
start_child(struct thread *t, int i)
{
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                run_child(t, i);
        return pid;
}

START_TEST(a_storm_of_deaths_loses_nothing)
{
        struct thread *threads[3];
        pid_t pids[3];
        uint32_t random = 1;

        progress = region_block(r, create(ta, "progress", sizeof(struct progress)));
        for (int i = 0; i < 3; i++) {
                threads[i] = heap_attach(&heap, 0);
                pids[i] = start_child(threads[i], i);
        }
        for (int n = 0; n < N_KILLS; n++) {
                int victim = (random = random * 1664525 + 1013904223) >> 20 & 1;
                uint64_t goal = __atomic_load_n(&progress[victim], __ATOMIC_RELAXED) + (random >> 16 & 15);

                while (__atomic_load_n(&progress[victim], __ATOMIC_RELAXED) < goal)
                        sched_yield();
                kill(pids[victim], SIGKILL);
                bury(pids[victim], SIGKILL);
                reap_settle(r, threads[victim]->no, n % 3 == 0 ? NULL : ta);
                pids[victim] = start_child(threads[victim], victim);
        }
        for (int i = 0; i < 3; i++) {
                kill(pids[i], SIGKILL);
                bury(pids[i], SIGKILL);
        }
        for (int i = 0; i < 3; i++)
                reap_settle(r, threads[i]->no, ta);
        for (int i = 0; i < 3; i++)
                root_tidy(threads[i]);
        root_tidy(ta);
        ck_assert_uint_ge(root_judge(r), 1);
        for (char name[2] = "a"; name[0] < 'a' + N_NAMES - 1; name[0]++)
                (void)root_remove(ta, name);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("root_death");

        ADD(suite, "death", who_dies_in_init_leaves_nothing_once_reaped,
            without_a_reapers_thread_the_block_waits_for_the_next_owner,
            a_reaper_without_a_free_cell_leaves_the_block_where_it_is,
            a_reap_in_the_midst_of_an_allocation_takes_another_cell, who_leaves_settles_its_own_slot,
            a_dead_claim_of_a_record_is_free_again);
        ADD(suite, "races", racing_creators_get_one_object, a_storm_of_creators_and_removers_loses_nothing,
            a_storm_of_deaths_loses_nothing);
        return suite_run(suite);
}
