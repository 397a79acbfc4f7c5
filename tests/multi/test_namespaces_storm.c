/*
 * What is at stake: nobody who lives is taken for dead, and nothing of the dead is lost, whoever dies in whatever way
 * next to whom.  Clients come and go in pid namespaces of their own, one and two levels deep, where all of them are
 * number 1 or 2; they allocate, write, verify and free all the time, and settle the dead as they like.  They are
 * killed, with and without their namespace, by process_mrelease and by the OOM killer, which leave no marks, and
 * stopped while others settle.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/container.h"
#include "support/heap_dir.h"
#include "support/suite.h"
#include "support/ways.h"

#ifndef N_ROUNDS
#define N_ROUNDS 60 /* test_namespaces_storm_slow.c takes more */
#endif

enum { N_SEATS = 5, N_OWN = 40, REAP_EVERY = 64 };

/* Shared by all processes. */
static struct seat {
        uint32_t is_over; /* it is to end */
        uint32_t pid;     /* here */
        struct client_id client;
} * seats;

static shheap *of_parent;

/* ------------------------------------------------------------------ a client */

struct block {
        unsigned char *p;
        size_t bytes;
};

static void
let_go(shheap *h, struct block *b, unsigned char stamp)
{
        for (size_t i = 0; b->p && i < b->bytes; i++)
                MUST(b->p[i] == stamp); /* nobody else has it */
        shheap_free(h, b->p);
        b->p = NULL;
}

static void
take(shheap *h, struct block *b, size_t bytes, unsigned char stamp)
{
        b->bytes = bytes;
        b->p = shheap_malloc(h, bytes);
        if (b->p) /* the dead may have all of it */
                memset(b->p, stamp, bytes);
}

static uint32_t
number_here(void)
{
        char text[32] = "";

        MUST(readlink("/proc/self", text, sizeof text - 1) > 0);
        return (uint32_t)atoi(text);
}

static void
work(struct child *self, void *arg)
{
        static struct block own[N_OWN];
        struct seat *seat = arg;
        uint32_t random = number_here(), n = 0;
        unsigned char stamp = (unsigned char)(random | 1);
        shheap *h;

        MUST(shheap_close(of_parent) == 0);
        h = heap_dir_open("storm", 0, NULL);
        take(h, &own[0], 100, stamp);
        seat->client = h->client;
        store_release(&seat->pid, number_here());
        child_tell(self);
        while (!load_relaxed(&seat->is_over)) {
                struct block *b = &own[(random = random * 1664525 + 1013904223) % N_OWN];

                let_go(h, b, stamp);
                take(h, b, (size_t)1 << ((random >> 20) % 12), stamp);
                if (++n % REAP_EVERY == 0)
                        MUST(shheap_reap(h) >= 0);
        }
        for (int i = 0; i < N_OWN; i++)
                let_go(h, &own[i], stamp);
        MUST(shheap_close(h) == 0);
}

/* The first process of a namespace, within which another one begins. */
static void
work_within(struct child *self, void *arg)
{
        struct child c;
        int status;

        container_start(&c, work, arg);
        MUST(child_hear(&c));
        child_tell(self);
        status = child_end(&c);
        MUST(status == 0 || WIFSIGNALED(status));
}

/* ------------------------------------------------------------------ the storm */

static struct actor {
        struct child child; /* or who has it within */
        bool is_here, is_within;
} actors[N_SEATS];

static uint32_t n_by_kind[6];

static void
begin(int i)
{
        struct actor *a = &actors[i];

        a->is_here = true;
        a->is_within = rand() % 2;
        memset(&seats[i], 0, sizeof seats[i]);
        container_start(&a->child, a->is_within ? work_within : work, &seats[i]);
        ck_assert_msg(child_hear(&a->child), "a client was refused or has failed");
}

/* Who knows that it is dead says so. */
static void
settle(shheap *h, const struct client_id *client)
{
        struct region *r = &h->region;

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                slot_reap_of_dead(r, idx, client, reap_settle, NULL);
}

static void
end_well(int i)
{
        store_relaxed(&seats[i].is_over, 1u);
        ck_assert_int_eq(child_end(&actors[i].child), 0);
        actors[i].is_here = false;
}

static void
end_badly(shheap *h, int i, int way)
{
        struct actor *a = &actors[i];
        pid_t pid = (pid_t)load_acquire(&seats[i].pid);

        if (way == 1)
                n_by_kind[4] += ways_kill_and_release(pid);
        else if (way == 2)
                n_by_kind[5] += ways_kill_by_oom(pid);
        else if (way == 0)
                kill(pid, SIGKILL);
        kill(a->child.pid, SIGKILL); /* its whole namespace, if it is not the client itself */
        child_end(&a->child);
        a->is_here = false;
        settle(h, &seats[i].client);
}

static void
stop_for_a_while(shheap *h, int i)
{
        kill((pid_t)load_acquire(&seats[i].pid), SIGSTOP);
        ck_assert_int_ge(shheap_reap(h), 0);
        settle(h, &(struct client_id){.idx = seats[i].client.idx, .incarnation = seats[i].client.incarnation + 1});
        kill((pid_t)load_acquire(&seats[i].pid), SIGCONT);
}

static uint64_t
count_living(void)
{
        uint64_t n = 1; /* this process */

        for (int i = 0; i < N_SEATS; i++) {
                n += actors[i].is_here;
                ck_assert(!actors[i].is_here || waitpid(actors[i].child.pid, NULL, WNOHANG) == 0);
        }
        return n;
}

/* Who was killed without a mark while it settled another one's slot keeps that from being settled, outside of its
 * namespace. */
static void
judge_the_rest(shheap *h)
{
        const struct region *r = &h->region;

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++) {
                const struct slot_gate *gate = region_gate(r, idx);

                if (load_relaxed(&gate->state) == 1 && load_relaxed(&gate->client_idx) != h->client.idx)
                        ck_assert_msg(robust_word_is_held(robust_word(&gate->reap)), "slot %u was not settled", idx);
        }
}

START_TEST(nobody_who_lives_is_taken_for_dead)
{
        const char *no_oom;
        shheap *h;

        if (!container_is_possible())
                return;
        seats = mmap(NULL, N_SEATS * sizeof *seats, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(seats, MAP_FAILED);
        no_oom = ways_oom_prepare();
        if (no_oom)
                fprintf(stderr, "the OOM killer: not tested, %s\n", no_oom);
        srand(1);
        h = of_parent = heap_dir_open("storm", SHHEAP_CREATE, "max_clients:40,max_threads:200");
        for (int round = 0; round < N_ROUNDS; round++) {
                int i = rand() % N_SEATS, way = rand() % 5;

                if (!actors[i].is_here) {
                        begin(i);
                        continue;
                }
                n_by_kind[way < 3 ? 0 : way - 2]++;
                if (way <= 2)
                        end_badly(h, i, way);
                else if (way == 3)
                        stop_for_a_while(h, i);
                else
                        end_well(i);
                ck_assert_int_ge(shheap_reap(h), 0);
                ck_assert_uint_ge(heap_ctl(h, "heap.threads"), count_living());
        }
        for (int i = 0; i < N_SEATS; i++)
                if (actors[i].is_here)
                        end_well(i);
        ways_oom_remove();
        ck_assert_int_ge(shheap_reap(h), 0);
        judge_the_rest(h);
        ck_assert_int_eq(shheap_check(h, 0, stderr), 0);
        fprintf(stderr, "%u killed (%u by process_mrelease, %u for want of memory), %u stopped, %u ended\n",
                n_by_kind[0], n_by_kind[4], n_by_kind[5], n_by_kind[1], n_by_kind[2]);
        shheap_close(h);
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("namespaces storm");
        TCase *tc = tcase_create("storm");
        int status;

        tcase_add_test(tc, nobody_who_lives_is_taken_for_dead);
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        suite_add_tcase(s, tc);
        heap_dir_create("namespaces-storm");
        status = suite_run(s);
        heap_dir_remove();
        return status;
}
