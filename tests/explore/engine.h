/*
 * engine.h - all schedules of a few actors on one region, each access to it a place where another may go on or where
 * the actor dies.
 *
 * Actors are coroutines of this process.  The code that they run is compiled with the hooks of a thread sanitizer, and
 * hooks.c hands each access to engine_access().  The search goes depth first over states: what the region holds, what
 * each actor's stack holds, how many preemptions and deaths are left.  A state that was met before is not searched
 * again, for what follows from it is known; so the number of schedules covered is far above the number that ran.
 *
 * Two things make it exact.  All state is in the region or on the actors' stacks (a thread's private data lies at the
 * top of its stack); and every write to the region passes through the hooks, which is verified: at the end the region
 * is undone write by write and has to be what it was.  Memory is sequentially consistent here.
 */
#ifndef EXPLORE_ENGINE_H
#define EXPLORE_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { ACTORS_MAX = 5 };

enum access {
        ACCESS_READ = 0,
        ACCESS_WRITE = 1u << 0,
        ACCESS_LIVENESS = 1u << 1, /* asks who is dead: others may have died just before */
};

enum actor_state {
        ACTOR_ABSENT,
        ACTOR_WAITING, /* a reaper as long as nobody has died */
        ACTOR_READY,
        ACTOR_DONE,
        ACTOR_DEAD
};

/* What an actor knows: `private_bytes` at the top of its stack, of which the first `outcome_bytes` outlive it. */
typedef void actor_fn(void *private);

struct actor_params {
        char name; /* A, B, C; R and S reap */
        actor_fn *fn;
        const void *private; /* copied */
        bool is_mortal;
        bool is_reaper; /* begins when somebody has died */
};

struct engine_params {
        void *region;
        size_t region_bytes;
        uint32_t n_actors;
        struct actor_params actors[ACTORS_MAX];
        size_t private_bytes;
        size_t outcome_bytes;
        int n_preemptions; /* ENGINE_UNBOUNDED: as many as there may be */
        int n_deaths;
        double seconds_max;
        uint64_t states_max;

        /* True: only the actor itself reads or writes there, or whoever has evidence of its death. */
        bool (*is_private)(uint64_t off);
        /* True: counts only; two states that differ there are one. */
        bool (*is_statistic)(uint64_t off);
        /* Nobody can go on.  NULL, or what is wrong.  May change the region: that is undone. */
        const char *(*judge)(void);
};

enum { ENGINE_UNBOUNDED = 1000 };

struct engine_result {
        uint64_t n_states;
        uint64_t n_ends;     /* distinct states in which nobody can go on; each was judged */
        double n_schedules;  /* ways that lead there */
        uint64_t n_accesses; /* executed */
        double seconds;      /* of processor time */
        bool is_complete;
        const char *fault;   /* NULL: none */
        char schedule[1024]; /* that shows it */
};

void engine_explore(const struct engine_params *params, struct engine_result *ret_result);

/* Runs one schedule, as `schedule` above tells it, and writes each access to `out`.  What the judge says. */
const char *engine_replay(const struct engine_params *params, const char *schedule, FILE *out);

/* By the hooks, before each access. */
void engine_access(const volatile void *p, size_t bytes, unsigned access, const void *pc);

/* The actor that runs, -1: none. */
int engine_running(void);
enum actor_state engine_actor_state(int actor);
void *engine_private(int actor);

/* Where a signal struck: the schedule up to there. */
void engine_tell_schedule(char *text, size_t bytes);

#endif
