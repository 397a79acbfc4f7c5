/*
 * Clients and daemons in different pid namespaces.  What is at stake: a client of a container that dies without a mark
 * of the kernel must not keep its memory for ever where the daemon can see its process; and no client that lives or is
 * stopped may be taken for dead because its number, or its namespace's, is another's.  Most of the clients here are
 * number 1.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "support/child.h"
#include "support/container.h"
#include "support/heap_dir.h"

enum { N_BLOCKS = 300 };

/* ------------------------------------------------------------------ clients */

struct how {
        bool hides_locks; /* its death leaves no mark */
        bool is_silent;   /* it does not announce itself */
};

static shheap *of_parent; /* which children inherit, and let go of */

static void
fill_caches(shheap *h)
{
        void *blocks[N_BLOCKS];

        for (int i = 0; i < N_BLOCKS; i++)
                MUST(blocks[i] = shheap_malloc(h, (size_t)16 << i % 9));
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
}

/* Opens the heap, fills its caches, and waits; goes on if it is told to.  One that hides its locks can but be killed
 * then: they lead through memory that is not there. */
static void
be_a_client(struct child *self, void *arg)
{
        const struct how *how = arg;
        shheap *h;

        if (how->is_silent)
                setenv("SHMALLOC_SOCKET", "/nowhere", 1);
        MUST(shheap_close(of_parent) == 0);
        h = heap_dir_open("far", 0, NULL);
        fill_caches(h);
        if (how->hides_locks)
                container_hide_locks();
        child_tell(self);
        if (!child_hear(self) || how->hides_locks)
                return;
        fill_caches(h);
        MUST(shheap_close(h) == 0);
        child_tell(self);
        child_hear(self);
}

static void
start(struct child *c, bool is_elsewhere, bool hides_locks, bool is_silent)
{
        struct how how = {hides_locks, is_silent};

        (is_elsewhere ? container_start : child_start)(c, be_a_client, &how);
        ck_assert(child_hear(c));
}

static void
expect_watched(struct rig *rig, const struct child *c)
{
        char text[64];

        snprintf(text, sizeof text, "is process %d", (int)c->pid);
        rig_expect(rig, text);
}

static void
expect_death(struct rig *rig, pid_t pid)
{
        char text[64];

        snprintf(text, sizeof text, "process %d, has died", (int)pid);
        rig_expect(rig, text);
}

/* All but n, who live.  The line need not name whom it is about: deaths that come together are settled together. */
static void
expect_strangers(struct rig *rig, shheap *h, uint32_t n)
{
        while (rig_count_strangers(h) > n)
                rig_expect(rig, " settled in ");
        ck_assert_uint_eq(rig_count_strangers(h), n);
}

/* Its place in the table of clients, too: this process's and the helper's are left, and those of n others. */
static void
expect_clients(shheap *h, uint64_t n)
{
        while (heap_ctl(h, "heap.clients") > 2 + n)
                sched_yield();
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 2 + n);
}

static void
finish(struct child *c)
{
        ck_assert(child_tell(c));
        ck_assert(child_hear(c));
        ck_assert(child_tell(c));
        ck_assert_int_eq(child_end(c), 0);
}

/* It lives, and nobody has settled it. */
static void
kill_last(struct rig *rig, shheap *h, struct child *c)
{
        ck_assert_int_eq(waitpid(c->pid, NULL, WNOHANG), 0);
        ck_assert_uint_eq(rig_count_strangers(h), 1);
        child_kill(c);
        expect_strangers(rig, h, 0);
}

static shheap *
begin(struct rig *rig)
{
        rig_start(rig, "--heap=far", "--capacity=64M", "--verbose", NULL);
        rig_expect(rig, "ready:");
        return of_parent = heap_dir_open("far", 0, NULL);
}

static void
end(struct rig *rig, shheap *h)
{
        rig_stop(rig);
        heap_assert_clean(h);
        shheap_close(h);
}

/* ------------------------------------------------------------------ the daemon outside */

/* Killed without a mark, once as a zombie, in a namespace that is gone with it. */
static void
test_unmarked(bool is_silent)
{
        struct rig rig;
        shheap *h = begin(&rig);

        for (int i = 0; i < 4; i++) {
                struct child c;

                start(&c, true, true, is_silent);
                expect_watched(&rig, &c);
                ck_assert_uint_eq(rig_count_strangers(h), 1);
                kill(c.pid, SIGKILL);
                if (i % 2)
                        child_end(&c);
                expect_death(&rig, c.pid);
                expect_strangers(&rig, h, 0);
                expect_clients(h, 0);
                if (i % 2 == 0)
                        child_end(&c);
        }
        end(&rig, h);
}

START_TEST(unmarked_death_elsewhere_is_settled)
{
        if (container_is_possible())
                test_unmarked(false);
}
END_TEST

START_TEST(who_never_announced_himself_elsewhere_is_found)
{
        if (container_is_possible())
                test_unmarked(true);
}
END_TEST

/* All are number 1, and two are stopped: one death is one death. */
START_TEST(nobody_else_of_the_same_number_is_taken_for_dead)
{
        enum { N = 5 };

        struct child c[N];
        struct rig rig;
        shheap *h;

        if (!container_is_possible())
                return;
        h = begin(&rig);
        for (int i = 0; i < N; i++) {
                start(&c[i], true, i <= 1, i % 2);
                expect_watched(&rig, &c[i]);
                if (i != 1)
                        kill(c[i].pid, SIGSTOP);
        }
        child_kill(&c[1]);
        expect_strangers(&rig, h, N - 1);
        expect_clients(h, N - 1);
        for (int i = 0; i < N; i++) {
                kill(c[i].pid, SIGCONT);
                if (i > 1)
                        finish(&c[i]);
        }
        kill_last(&rig, h, &c[0]);
        expect_clients(h, 0);
        end(&rig, h);
}
END_TEST

/* The number of a namespace that is gone is given to a later one, and with it who the client of one who died unseen is
 * said to be.  The daemon knows processes, not numbers: who is watched is settled, and who lives is left alone. */
START_TEST(namespaces_one_after_another_with_the_same_numbers)
{
        uint32_t pid_ns = 0, n_same = 0;
        struct child unseen, seen, living;
        struct rig rig;
        shheap *h;

        if (!container_is_possible())
                return;
        h = begin(&rig);
        start(&living, true, false, false);
        expect_watched(&rig, &living);
        for (int i = 0; i < 10; i++) {
                start(&unseen, true, true, true);
                pid_ns = container_pid_ns(unseen.pid);
                child_kill(&unseen);
                start(&seen, true, true, false);
                n_same += container_pid_ns(seen.pid) == pid_ns;
                expect_watched(&rig, &seen);
                child_kill(&seen);
                expect_death(&rig, seen.pid);
                rig_expect(&rig, " settled in ");
                ck_assert_uint_ge(rig_count_strangers(h), 1);
        }
        fprintf(stderr, "%u of 10 namespaces had the number of the last one\n", n_same);
        ck_assert_int_eq(waitpid(living.pid, NULL, WNOHANG), 0);
        finish(&living);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* ------------------------------------------------------------------ the daemon inside */

/* It can see nobody outside: marks count, and nothing else. */
START_TEST(daemon_in_a_namespace_of_its_own_goes_by_marks)
{
        struct child living, unmarked, marked;
        struct rig rig;
        shheap *h;

        if (!container_is_possible())
                return;
        rig_start_inside("proc", &rig, "--heap=far", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = of_parent = heap_dir_open("far", 0, NULL);
        start(&living, false, false, false);
        start(&unmarked, true, true, false);
        start(&marked, false, false, false);
        kill(living.pid, SIGSTOP);
        child_kill(&unmarked);
        child_kill(&marked);
        rig_expect(&rig, " settled in ");
        ck_assert_uint_eq(rig_count_strangers(h), 2);
        kill(living.pid, SIGCONT);
        finish(&living);
        ck_assert_uint_eq(rig_count_strangers(h), 1); /* of that one nobody knows */
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* Without a /proc that says anything it does what it can. */
START_TEST(daemon_without_proc_goes_by_marks_and_its_own_pidfds)
{
        struct child living, far, near;
        struct rig rig;
        shheap *h;

        if (!container_is_possible())
                return;
        rig_start_inside("tmpfs", &rig, "--heap=far", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = of_parent = heap_dir_open("far", 0, NULL);
        start(&living, true, false, false);
        kill(living.pid, SIGSTOP);
        start(&far, true, false, false);
        start(&near, false, false, false);
        child_kill(&far);
        rig_expect(&rig, " settled in ");
        child_kill(&near);
        rig_expect(&rig, " settled in ");
        ck_assert_uint_eq(rig_count_strangers(h), 1);
        kill(living.pid, SIGCONT);
        finish(&living);
        end(&rig, h);
}
END_TEST

/* ------------------------------------------------------------------ no death */

START_TEST(who_has_closed_the_heap_has_not_died)
{
        struct child closed, dead;
        char text[64];
        struct rig rig;
        shheap *h = begin(&rig);

        start(&closed, false, false, false);
        expect_watched(&rig, &closed);
        finish(&closed);
        snprintf(text, sizeof text, "process %d, which announced client", (int)closed.pid);
        rig_expect(&rig, text);
        start(&dead, false, false, false);
        expect_watched(&rig, &dead);
        child_kill(&dead);
        expect_death(&rig, dead.pid); /* what the daemon had to say of the other one it has said */
        snprintf(text, sizeof text, "process %d, has died", (int)closed.pid);
        ck_assert(!rig_has_said(&rig, text));
        rig_expect_no_strangers(&rig, h);
        end(&rig, h);
}
END_TEST

int
main(void)
{
        return SUITE_RUN(
                "clients and daemons in different pid namespaces", "elsewhere", unmarked_death_elsewhere_is_settled,
                who_never_announced_himself_elsewhere_is_found, nobody_else_of_the_same_number_is_taken_for_dead,
                namespaces_one_after_another_with_the_same_numbers, daemon_in_a_namespace_of_its_own_goes_by_marks,
                daemon_without_proc_goes_by_marks_and_its_own_pidfds, who_has_closed_the_heap_has_not_died);
}
