/*
 * slot_fixture.c - see slot_fixture.h.
 */
#include "support/slot_fixture.h"

#include <sched.h>
#include <string.h>
#include <time.h>

#include "clients/slot.h"
#include "os/process.h"
#include "support/checks.h"
#include "support/plain_region.h"

static struct region region;
struct region *const r = &region;
struct client_id client;

void
slot_setup(void)
{
        plain_region_make(r, N_CLIENTS, N_THREADS, 1, 2);
        ck_assert_int_eq(client_register(r, &client), 0);
}

void
slot_teardown(void)
{
        plain_region_drop(r);
}

void
settle_count(struct region *region_settled, uint32_t thread_no, void *arg)
{
        struct settled *settled = arg;

        ck_assert_ptr_eq(region_settled, r);
        ck_assert_uint_ge(thread_no, 1);
        ck_assert_uint_le(thread_no, N_THREADS);
        __atomic_fetch_add(&settled->n[thread_no], 1, __ATOMIC_RELAXED);
}

void
settle_never(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)region_settled;
        (void)arg;
        ck_abort_msg("slot %u was settled although nobody died", thread_no);
}

uint64_t
state_of(uint32_t idx)
{
        return load_relaxed(&region_gate(r, idx)->state);
}

void *
in_thread(void *(*fn)(void *), void *arg)
{
        pthread_t thread;
        void *result;

        ck_assert_int_eq(pthread_create(&thread, NULL, fn, arg), 0);
        ck_assert_int_eq(pthread_join(thread, &result), 0);
        return result;
}

static void *
actor_run(void *arg)
{
        struct actor *actor = arg;

        actor->err = slot_attach(&actor->t, r, &client, NULL, NULL);
        pthread_barrier_wait(&actor->attached);
        pthread_barrier_wait(&actor->told);
        if (actor->err == 0 && actor->ending == END_DETACH)
                slot_detach(&actor->t);
        if (actor->err == 0 && actor->ending == END_RELEASE)
                slot_release(&actor->t);
        return NULL;
}

void
actor_start(struct actor *actor)
{
        memset(actor, 0, sizeof *actor);
        pthread_barrier_init(&actor->attached, NULL, 2);
        pthread_barrier_init(&actor->told, NULL, 2);
        ck_assert_int_eq(pthread_create(&actor->pthread, NULL, actor_run, actor), 0);
        pthread_barrier_wait(&actor->attached);
}

void
actor_end(struct actor *actor, enum ending ending)
{
        actor->ending = ending;
        pthread_barrier_wait(&actor->told);
        ck_assert_int_eq(pthread_join(actor->pthread, NULL), 0);
}

void
await_gone(uint32_t idx)
{
        while (!process_thread_is_gone((uint32_t)region_gate(r, idx)->os_tid))
                sched_yield(); /* libcheck's limit is the watchdog */
}

uint32_t
dead_slot(void)
{
        struct actor actor;

        actor_start(&actor);
        ck_assert_int_eq(actor.err, 0);
        actor_end(&actor, END_DIE);
        await_gone(actor.t.no - 1);
        return actor.t.no - 1;
}

void
fill_all(struct actor actors[N_THREADS], uint32_t n)
{
        for (uint32_t i = 0; i < n; i++) {
                actor_start(&actors[i]);
                ck_assert_int_eq(actors[i].err, 0);
        }
}
