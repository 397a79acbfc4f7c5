/*
 * slot_fixture.h - what the tests of slots and clients share: a region with one client, and threads that play others
 * and die by ending without a word.
 */
#ifndef SUPPORT_SLOT_FIXTURE_H
#define SUPPORT_SLOT_FIXTURE_H

#include <pthread.h>
#include <stdint.h>

#include "clients/client.h"
#include "clients/thread.h"

enum { N_CLIENTS = 8, N_THREADS = 6 };

extern struct region *const r;
extern struct client_id client;

/* Before and after each test. */
void slot_setup(void);
void slot_teardown(void);

/* A settle function that counts, per thread number. */
struct settled {
        uint32_t n[N_THREADS + 1];
};

void settle_count(struct region *region_settled, uint32_t thread_no, void *arg);

/* For reapers that must find nothing. */
void settle_never(struct region *region_settled, uint32_t thread_no, void *arg);

uint64_t state_of(uint32_t idx);

/* Runs fn in a thread of its own, from beginning to end. */
void *in_thread(void *(*fn)(void *), void *arg);

/* A thread that attaches, says so, and waits to be told how to end. */
enum ending { END_DIE, END_DETACH, END_RELEASE };

struct actor {
        pthread_t pthread;
        pthread_barrier_t attached, told;
        enum ending ending;
        struct thread t;
        int err;
};

/* On return the actor has attached and lives. */
void actor_start(struct actor *actor);

/* The same of several, all of which attach. */
void fill_all(struct actor actors[N_THREADS], uint32_t n);

/* On return the actor's thread has ended and the kernel has walked its list. */
void actor_end(struct actor *actor, enum ending ending);

/* Until nobody has the id of the slot's thread any more: a join returns a moment before that. */
void await_gone(uint32_t idx);

/* A thread that comes and dies with its slot. */
uint32_t dead_slot(void);

#endif
