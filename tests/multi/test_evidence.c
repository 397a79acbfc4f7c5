/*
 * Evidence from outside: a daemon that holds a pidfd knows that a process is dead where a zombie, a number that is used
 * again, or a mark that the kernel did not set would keep others from knowing.  What it says is done for exactly the
 * client that it means.
 */
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "os/process.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

/* Caches blocks in its magazines, and waits. */
static void
cache_and_wait(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("evidence", 0, NULL);
        void *p = shheap_malloc(h, 100);

        (void)arg;
        MUST(p);
        shheap_free(h, p);
        child_tell(self);
        child_hear(self);
}

/* The client that a process is. */
static struct client_id
client_of(const struct region *r, pid_t pid)
{
        struct client_id client = {0, 0};
        uint32_t found = 0;

        for (uint32_t idx = 0; idx < region_clients_hwm(r) && found != (uint32_t)pid; idx++)
                if (!client_who(r, idx, &client, &found))
                        found = 0;
        ck_assert_uint_eq(found, (uint32_t)pid);
        return client;
}

static int
reap_of_dead(struct region *r, const struct client_id *client)
{
        int n = 0;

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                n += slot_reap_of_dead(r, idx, client, reap_settle, NULL);
        return n;
}

/* A stopped process stands for one whose death shows in nothing but the caller's word for it: it lives, so the slot's
 * own evidence says no. */
START_TEST(the_word_of_who_knows_counts_for_that_client_only)
{
        shheap *h = heap_dir_open("evidence", SHHEAP_CREATE, NULL);
        struct region *r = &h->region;
        struct client_id own = h->client, theirs, other;
        uint32_t here = process_pid_ns();
        struct child child;

        child_start(&child, cache_and_wait, NULL);
        ck_assert(child_hear(&child));
        kill(child.pid, SIGSTOP);
        theirs = client_of(r, child.pid);
        ck_assert_uint_eq(heap_reap(h), 0);
        other = (struct client_id){theirs.idx, theirs.incarnation + 1};
        ck_assert_int_eq(reap_of_dead(r, &other), 0);
        other = (struct client_id){theirs.idx + 1, theirs.incarnation};
        ck_assert_int_eq(reap_of_dead(r, &other), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 2);

        ck_assert(!client_bury(r, &theirs, (uint32_t)child.pid, here, true)); /* its thread is not settled yet */
        ck_assert_int_ge(reap_of_dead(r, &theirs), 1);
        ck_assert_int_eq(reap_of_dead(r, &theirs), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        ck_assert(!client_bury(r, &theirs, (uint32_t)child.pid, here, false)); /* the system knows it to live */
        ck_assert(!client_bury(r, &theirs, (uint32_t)child.pid + 1, here, true));
        ck_assert(!client_bury(r, &theirs, (uint32_t)child.pid, here + 1, true));
        ck_assert(!client_bury(r, &own, (uint32_t)getpid(), here, false));
        ck_assert(client_bury(r, &theirs, (uint32_t)child.pid, here, true));
        ck_assert(!client_bury(r, &theirs, (uint32_t)child.pid, here, true));
        ck_assert(!client_who(r, theirs.idx, &other, &(uint32_t){0}));
        child_kill(&child);
        shheap_reap(h);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* shheap_reap() leaves no place taken by the dead. */
START_TEST(reaping_gives_back_the_places_of_dead_clients)
{
        shheap *h = heap_dir_open("evidence", SHHEAP_CREATE, NULL);
        struct region *r = &h->region;
        struct client_id theirs, found;
        struct child child;
        uint32_t pid;

        child_start(&child, cache_and_wait, NULL);
        ck_assert(child_hear(&child));
        theirs = client_of(r, child.pid);
        child_kill(&child);
        ck_assert(client_who(r, theirs.idx, &found, &pid));
        ck_assert_uint_ge(heap_reap(h), 1);
        ck_assert(!client_who(r, theirs.idx, &found, &pid));
        ck_assert(client_who(r, h->client.idx, &found, &pid)); /* ourselves */
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("evidence from outside");
        TCase *tc = tcase_create("evidence");
        int status;

        tcase_add_test(tc, the_word_of_who_knows_counts_for_that_client_only);
        tcase_add_test(tc, reaping_gives_back_the_places_of_dead_clients);
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        suite_add_tcase(s, tc);
        heap_dir_create("evidence");
        status = suite_run(s);
        heap_dir_remove();
        return status;
}
