/*
 * What is at stake: containers that share a heap.  Their processes have numbers that mean nothing elsewhere, so the
 * dead of one must be known by their marks in all others, and nobody who lives or is stopped may be taken for dead
 * because its number is unknown, or somebody else's.  What cannot be known must cost nothing for ever: client slots
 * come back, memory comes back.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/container.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#ifndef N_NAMESPACES
#define N_NAMESPACES 60 /* one after the other; test_namespaces_slow.c takes more */
#endif

enum { MAX_CLIENTS = 6 };

#define SMALL_TABLES "max_clients:6,max_threads:12"

/* ------------------------------------------------------------------ what the processes do */

static shheap *of_parent; /* which a child inherits, as long as it has not let go of it */

static shheap *
open_here(void)
{
        if (of_parent)
                MUST(shheap_close(of_parent) == 0);
        of_parent = heap_dir_open("ns", 0, NULL);
        return of_parent;
}

static shheap *
create(const char *conf)
{
        return of_parent = heap_dir_open("ns", SHHEAP_CREATE, conf);
}

static void
finish(shheap *h)
{
        ck_assert_int_ge(shheap_reap(h), 0);
        heap_assert_clean(h);
        of_parent = NULL;
        ck_assert_int_eq(shheap_close(h), 0);
}

/* How many threads are attached once the dead are settled who are known to be. */
static uint64_t
left_by_reaping(shheap *h)
{
        return shheap_reap(h) < 0 ? UINT64_MAX : heap_ctl(h, "heap.threads");
}

/* Blocks of many sizes, all of them freed again: into this thread's magazines. */
static void
fill_caches(shheap *h)
{
        static void *p[1000];

        for (int i = 0; i < 1000; i++)
                MUST((p[i] = shheap_malloc(h, (size_t)(30000 / (1 + i % 100)))) != NULL);
        for (int i = 0; i < 1000; i++)
                shheap_free(h, p[i]);
}

static void
open_and_cache(struct child *self, void *arg)
{
        shheap *h = open_here();

        (void)arg;
        fill_caches(h);
        child_tell(self);
        child_hear(self);
}

static void
open_and_close(struct child *self, void *arg)
{
        shheap *h = open_here();

        (void)arg;
        fill_caches(h);
        MUST(shheap_close(h) == 0);
        child_tell(self);
        child_hear(self);
}

static void
open_and_hide(struct child *self, void *arg)
{
        shheap *h = open_here();

        (void)arg;
        fill_caches(h);
        container_hide_locks();
        child_tell(self);
        child_hear(self);
}

static void
run_to_the_end(struct child *c)
{
        ck_assert(child_tell(c));
        ck_assert_int_eq(child_end(c), 0);
}

/* In a thread that ends, so that none of this process is attached afterwards. */
static void *
use_once(void *arg)
{
        fill_caches(arg);
        return NULL;
}

static void
use_in_a_thread(shheap *h)
{
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, use_once, h), 0);
        pthread_join(thread, NULL);
}

static void *
open_in_thread(void *arg)
{
        *(shheap **)arg = open_here();
        return NULL;
}

static shheap *
open_idle(void)
{
        pthread_t thread;
        shheap *h;

        MUST(pthread_create(&thread, NULL, open_in_thread, &h) == 0);
        MUST(pthread_join(thread, NULL) == 0);
        return h;
}

/* ------------------------------------------------------------------ what the heap says */

/* How many bytes can be had, in blocks of 64 KiB; all of them are given back. */
static size_t
available(shheap *h)
{
        void **head = NULL, **p;
        size_t n = 0;

        while ((p = shheap_malloc(h, 65536)) != NULL) {
                *p = head;
                head = p;
                n += 65536;
        }
        while ((p = head) != NULL) {
                head = *p;
                shheap_free(h, p);
        }
        return n;
}

/* The slot of the only thread that is attached besides those of this process; UINT32_MAX: none. */
static uint32_t
other_slot(shheap *h)
{
        const struct region *r = &h->region;

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                if (load_relaxed(&region_gate(r, idx)->state) == 1 &&
                    load_relaxed(&region_gate(r, idx)->client_idx) != h->client.idx)
                        return idx;
        return UINT32_MAX;
}

static uint64_t
life_of(shheap *h, uint32_t idx)
{
        return robust_word(&region_gate(&h->region, idx)->life);
}

/* ------------------------------------------------------------------ one after the other */

START_TEST(clients_that_crash_in_namespaces_of_their_own_cost_nothing)
{
        shheap *h = create(SMALL_TABLES);
        size_t before = available(h);

        for (int i = 0; container_is_possible() && i < N_NAMESPACES; i++) {
                struct child c;

                container_start(&c, open_and_cache, NULL);
                ck_assert_msg(child_hear(&c), "the client in namespace %d was refused", i);
                child_kill(&c);
        }
        ck_assert_uint_eq(left_by_reaping(h), 1);
        ck_assert_uint_ge(available(h) + (1 << 20), before);
        finish(h);
}
END_TEST

START_TEST(clients_that_close_in_namespaces_of_their_own_leave_their_places)
{
        enum { N = 2 * MAX_CLIENTS };

        shheap *h = create(SMALL_TABLES);
        struct child children[N];

        for (int i = 0; container_is_possible() && i < N; i++) { /* all of them live on */
                container_start(&children[i], open_and_close, NULL);
                ck_assert_msg(child_hear(&children[i]), "the client in namespace %d was refused", i);
        }
        for (int i = 0; container_is_possible() && i < N; i++)
                run_to_the_end(&children[i]);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        finish(h);
}
END_TEST

/* ------------------------------------------------------------------ marks */

/* With an empty /proc, and without pidfds: then nobody knows even which namespace it is in. */
static void
open_and_cache_blindly(struct child *self, void *arg)
{
        container_empty_proc();
        container_forbid_pidfds();
        MUST(process_pid_ns() == PROCESS_NS_UNKNOWN);
        open_and_cache(self, arg);
}

static void
reap_blindly(struct child *self, void *arg)
{
        shheap *h;

        container_empty_proc();
        container_forbid_pidfds();
        h = open_here();
        MUST(left_by_reaping(h) == *(uint64_t *)arg);
        MUST(shheap_close(h) == 0);
        child_tell(self);
        child_hear(self);
}

START_TEST(mark_is_known_to_those_who_know_nothing_else)
{
        shheap *h = create(SMALL_TABLES);
        struct child living, dead, reaper;
        uint64_t n_threads = 3;

        if (!container_is_possible())
                return;
        container_start(&living, open_and_cache_blindly, NULL);
        ck_assert(child_hear(&living));
        container_start(&reaper, reap_blindly, &n_threads); /* itself, too */
        ck_assert(child_hear(&reaper));
        run_to_the_end(&reaper);
        ck_assert_uint_eq(left_by_reaping(h), 2);
        container_start(&dead, open_and_cache, NULL);
        ck_assert(child_hear(&dead));
        child_kill(&dead);
        container_start(&reaper, reap_blindly, &n_threads);
        ck_assert(child_hear(&reaper));
        run_to_the_end(&reaper);
        child_kill(&living);
        ck_assert_uint_eq(left_by_reaping(h), 1);
        finish(h);
}
END_TEST

/* Workers in a chroot that has no /proc, of another user: nobody who is left can look up anything. */
static void
crash_in_a_chroot(struct child *self, void *arg)
{
        shheap *h = open_idle();
        char dir[] = "/tmp/shmalloc-test-chroot-XXXXXX";

        (void)arg;
        MUST(mkdtemp(dir) != NULL && chmod(dir, 0755) == 0);
        MUST(chroot(dir) == 0 && chdir("/") == 0);
        child_tell(self);
        child_hear(self); /* the directory is removed */
        MUST(setresgid(65534, 65534, 65534) == 0 && setresuid(65534, 65534, 65534) == 0);
        for (int i = 0; i < 4 * MAX_CLIENTS; i++) {
                int status;
                pid_t pid = fork();

                if (pid == 0) {
                        fill_caches(h);
                        raise(SIGKILL);
                }
                MUST(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        }
        fill_caches(h); /* the parent is evicted meanwhile: it comes back */
        child_tell(self);
        child_hear(self);
}

START_TEST(workers_that_crash_in_a_chroot_cost_nothing)
{
        shheap *h = create(SMALL_TABLES);
        size_t before = available(h);
        struct child server;

        if (geteuid() != 0)
                return;
        child_start(&server, crash_in_a_chroot, NULL);
        ck_assert(child_hear(&server));
        ck_assert_int_eq(system("rmdir /tmp/shmalloc-test-chroot-??????"), 0);
        ck_assert(child_tell(&server));
        ck_assert(child_hear(&server));
        child_kill(&server);
        ck_assert_uint_eq(left_by_reaping(h), 1);
        ck_assert_uint_ge(available(h) + (1 << 20), before);
        finish(h);
}
END_TEST

START_TEST(zombies_hold_no_place)
{
        enum { N = 2 * MAX_CLIENTS };

        shheap *h = create(SMALL_TABLES);
        struct child children[N];

        for (int i = 0; i < N; i++) {
                siginfo_t info;

                child_start(&children[i], i % 2 == 0 ? open_and_cache : open_and_hide, NULL);
                ck_assert_msg(child_hear(&children[i]), "client %d was refused", i);
                kill(children[i].pid, SIGKILL);
                ck_assert_int_eq(waitid(P_PID, (id_t)children[i].pid, &info, WEXITED | WNOWAIT), 0);
        }
        ck_assert_uint_eq(left_by_reaping(h), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        for (int i = 0; i < N; i++)
                child_end(&children[i]);
        finish(h);
}
END_TEST

/* ------------------------------------------------------------------ no marks */

/* Nobody elsewhere may guess; who knows by other means may say so. */
START_TEST(unmarked_dead_of_another_namespace_wait_for_who_knows)
{
        shheap *h = create(SMALL_TABLES);
        struct region *r = &h->region;
        const struct slot_gate *gate;
        struct client_id its;
        struct child c;
        uint32_t idx;

        if (!container_is_possible())
                return;
        fill_caches(h);
        container_start(&c, open_and_hide, NULL);
        ck_assert(child_hear(&c));
        idx = other_slot(h);
        ck_assert_uint_ne(idx, UINT32_MAX);
        ck_assert_uint_eq(robust_word_tid(life_of(h, idx)), 1);
        ck_assert_uint_eq(robust_word_pid_ns(life_of(h, idx)), container_pid_ns(c.pid));
        child_kill(&c);
        ck_assert(robust_word_is_held(life_of(h, idx)));
        ck_assert_uint_eq(left_by_reaping(h), 2);
        gate = region_gate(r, idx);
        its = (struct client_id){.idx = gate->client_idx, .incarnation = gate->client_incarnation};
        ck_assert(!client_evict(r, &its)); /* it may be attached */
        ck_assert_int_eq(slot_reap_of_dead(r, idx, &its, reap_settle, NULL), 1);
        ck_assert(client_evict(r, &its));
        finish(h);
}
END_TEST

/* Their own siblings see that they are gone. */
static void
lose_a_sibling(struct child *self, void *arg)
{
        shheap *h = open_here();
        struct child c;

        (void)arg;
        MUST(getpid() == 1);
        child_start(&c, open_and_hide, NULL);
        MUST(child_hear(&c));
        MUST(left_by_reaping(h) == 3);
        child_kill(&c);
        MUST(left_by_reaping(h) == 2);
        child_tell(self);
        child_hear(self);
}

START_TEST(unmarked_dead_are_known_in_their_own_namespace)
{
        shheap *h = create(SMALL_TABLES);
        struct child c;

        if (!container_is_possible())
                return;
        container_start(&c, lose_a_sibling, NULL);
        ck_assert(child_hear(&c));
        run_to_the_end(&c);
        finish(h);
}
END_TEST

/* The kernel gives the number of a namespace that is gone to the next one.  The dead one's words then name processes of
 * the new one: absent, it is dead; present, nothing is known.  Its own living are never judged by the old one's
 * words. */
static void
judge_the_old(struct child *self, void *arg)
{
        const uint64_t *expected = arg;
        shheap *h = open_here();

        MUST(getpid() == 1);
        MUST(left_by_reaping(h) == *expected);
        child_tell(self);
        child_hear(self);
}

static void
hide_in_a_child(struct child *self, void *arg) /* as number 2 */
{
        struct child c;

        child_start(&c, open_and_hide, arg);
        MUST(child_hear(&c));
        child_tell(self);
        child_hear(self);
}

/* A new namespace that has the old one's number: with others running beside, it may take a few tries.  False: none. */
static bool
start_in_the_same(struct child *c, uint32_t pid_ns, void (*fn)(struct child *, void *), void *arg)
{
        for (int tries = 0; tries < 50; tries++) {
                container_start(c, fn, arg);
                if (container_pid_ns(c->pid) == pid_ns)
                        return true;
                child_kill(c);
        }
        return false;
}

static void
test_reused_number(void (*victim)(struct child *, void *), uint64_t n_left)
{
        shheap *h = create(SMALL_TABLES);
        struct child c;
        uint32_t pid_ns;

        container_start(&c, victim, NULL);
        ck_assert(child_hear(&c));
        pid_ns = container_pid_ns(c.pid);
        child_kill(&c); /* and all who are in there */
        ck_assert_uint_eq(left_by_reaping(h), 2);
        if (start_in_the_same(&c, pid_ns, judge_the_old, &n_left)) {
                ck_assert(child_hear(&c));
                ck_assert_uint_eq(left_by_reaping(h), n_left); /* the new one lives */
                run_to_the_end(&c);
        } else {
                fprintf(stderr, "a namespace's number that is used again: not tested, others took it\n");
        }
        of_parent = NULL;
        shheap_close(h);
}

START_TEST(dead_of_a_namespace_whose_number_is_used_again)
{
        if (!container_is_possible())
                return;
        test_reused_number(hide_in_a_child, 2); /* there is no number 2 */
        heap_dir_empty();
        test_reused_number(open_and_hide, 3); /* there is a number 1 */
}
END_TEST

/* ------------------------------------------------------------------ the living */

enum { N_LEVELS = 5 }; /* with the outermost */

/* Numbers that are nobody's, or somebody else's, from every level. */
static void
live_at_each_level(struct child *self, void *arg)
{
        uint64_t here = *(uint64_t *)arg, next = here + 1;
        shheap *h = open_here();
        struct child c;

        fill_caches(h);
        MUST(left_by_reaping(h) == here);
        if (here < N_LEVELS) {
                container_start(&c, live_at_each_level, &next);
                MUST(child_hear(&c));
        }
        MUST(left_by_reaping(h) == N_LEVELS);
        child_tell(self);
        if (!child_hear(self))
                return; /* the level above is being killed */
        MUST(left_by_reaping(h) == N_LEVELS);
        if (here < N_LEVELS) {
                MUST(kill(c.pid, SIGKILL) == 0 && child_end(&c) == SIGKILL);
                MUST(left_by_reaping(h) == here); /* it is gone, and all within */
        }
        fill_caches(h);
        MUST(shheap_close(h) == 0);
}

START_TEST(nobody_who_lives_is_taken_for_dead_at_any_depth)
{
        shheap *h = create(SMALL_TABLES);
        uint64_t next = 2;
        struct child c;

        if (!container_is_possible())
                return;
        fill_caches(h);
        container_start(&c, live_at_each_level, &next);
        ck_assert(child_hear(&c));
        kill(c.pid, SIGSTOP);
        ck_assert_uint_eq(left_by_reaping(h), N_LEVELS);
        kill(c.pid, SIGCONT);
        run_to_the_end(&c);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        finish(h);
}
END_TEST

/* ------------------------------------------------------------------ those who hold nothing */

/* More processes than places, of which few use the heap at a time: each gets one when it needs one. */
static void
be_idle_and_come_back(struct child *self, void *arg)
{
        shheap *h = open_idle();

        (void)arg;
        for (;;) {
                child_tell(self);
                if (!child_hear(self))
                        return;
                use_in_a_thread(h);
        }
}

START_TEST(idle_clients_make_room_and_come_back)
{
        enum { N = 2 * MAX_CLIENTS };

        shheap *h = create(SMALL_TABLES);
        struct child children[N];

        for (int i = 0; i < N; i++) {
                child_start(&children[i], be_idle_and_come_back, NULL);
                ck_assert_msg(child_hear(&children[i]), "client %d was refused", i);
                kill(children[i].pid, SIGSTOP); /* who is stopped, too */
        }
        for (int round = 0; round < 3; round++)
                for (int i = 0; i < N; i++) {
                        kill(children[i].pid, SIGCONT);
                        ck_assert(child_tell(&children[i]));
                        ck_assert(child_hear(&children[i]));
                        ck_assert_uint_eq(left_by_reaping(h), 1);
                }
        ck_assert_uint_le(heap_ctl(h, "heap.clients"), MAX_CLIENTS);
        for (int i = 0; i < N; i++)
                child_kill(&children[i]);
        finish(h);
}
END_TEST

/* And those who use it keep it, alive or stopped: the next one is told. */
static void
be_refused(struct child *self, void *arg)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;

        (void)arg;
        MUST(shheap_open(&h, "ns", 0, &attr) == -EUSERS);
        MUST(strstr(shheap_errormsg(), "all 6 clients") != NULL);
        child_tell(self);
        child_hear(self);
}

START_TEST(clients_with_a_thread_are_not_evicted)
{
        shheap *h = create("max_clients:6,max_threads:20");
        struct child children[MAX_CLIENTS - 1], last;

        for (int i = 0; i < MAX_CLIENTS - 1; i++) {
                child_start(&children[i], open_and_cache, NULL);
                ck_assert(child_hear(&children[i]));
                kill(children[i].pid, SIGSTOP);
        }
        child_start(&last, be_refused, NULL);
        ck_assert(child_hear(&last));
        run_to_the_end(&last);
        ck_assert_uint_eq(left_by_reaping(h), MAX_CLIENTS);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), MAX_CLIENTS);
        for (int i = 0; i < MAX_CLIENTS - 1; i++) {
                kill(children[i].pid, SIGCONT);
                run_to_the_end(&children[i]);
        }
        ck_assert_uint_eq(left_by_reaping(h), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        finish(h);
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("namespaces");
        TCase *tc = tcase_create("namespaces");
        int status;

        tcase_add_test(tc, clients_that_crash_in_namespaces_of_their_own_cost_nothing);
        tcase_add_test(tc, clients_that_close_in_namespaces_of_their_own_leave_their_places);
        tcase_add_test(tc, mark_is_known_to_those_who_know_nothing_else);
        tcase_add_test(tc, workers_that_crash_in_a_chroot_cost_nothing);
        tcase_add_test(tc, zombies_hold_no_place);
        tcase_add_test(tc, unmarked_dead_of_another_namespace_wait_for_who_knows);
        tcase_add_test(tc, unmarked_dead_are_known_in_their_own_namespace);
        tcase_add_test(tc, dead_of_a_namespace_whose_number_is_used_again);
        tcase_add_test(tc, nobody_who_lives_is_taken_for_dead_at_any_depth);
        tcase_add_test(tc, idle_clients_make_room_and_come_back);
        tcase_add_test(tc, clients_with_a_thread_are_not_evicted);
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        suite_add_tcase(s, tc);
        heap_dir_create("namespaces");
        status = suite_run(s);
        heap_dir_remove();
        return status;
}
