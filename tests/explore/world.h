/*
 * world.h - the heap that actors share, who of them is dead, and the judge: every block is in exactly one place.
 *
 * The region is plain memory with the tiny geometry.  Life and death are known to the scheduler: clients/liveness.h has
 * a table of functions here whose locks are the words in the slots, without a kernel.
 */
#ifndef EXPLORE_WORLD_H
#define EXPLORE_WORLD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/size_class.h"
#include "clients/client.h"
#include "clients/thread.h"
#include "explore/engine.h"
#include "region/region.h"
#include "tcache/tcache.h"

enum { HELD_MAX = 16 };

/*
 * An actor's private data.  What it holds is what its caller would know after its death: a block that an unfinished
 * call was about to give or take is in flight, and may be allocated or not.
 */
struct script {
        uint32_t n_held;
        uint32_t n_in_flight;
        uint64_t held[HELD_MAX];
        uint64_t in_flight[HELD_MAX]; /* being freed; those being allocated are not known yet */
        uint32_t n_allocating;
        int32_t result[4]; /* for the scenario's own claim */
        const char *complaint;
        struct thread t; /* from here on it dies with the actor */

        /* Of scenarios that have one: script_tcache_begin(). */
        struct tcache tcache;
        int64_t free_at[1 + TAG_CLASSES];
};

#define SCRIPT_OUTCOME_BYTES offsetof(struct script, t)

typedef void script_fn(struct script *me);

struct scenario {
        const char *name;
        const char *what;
        void (*setup)(void);               /* after world_make() */
        script_fn *actors[3];              /* A, B, C; NULL ends them */
        int n_preemptions, n_deaths;       /* in the default run */
        int slow_preemptions, slow_deaths; /* in the slow run; 0 = 2 */
        bool is_without_deaths; /* nor are there any in the slow run: what one leaves is right, and looks wrong */
        uint64_t n_chunks;
        uint32_t max_threads;       /* 0: as many as there are */
        uint32_t arenas_per_node;   /* 0 = 1 */
        bool is_reaper_lent;        /* it lends its thread to reap_settle() */
        bool is_unreaped;           /* no reaper comes before the end */
        bool is_unattached;         /* actors have no slot to begin with */
        uint32_t n_reapers;         /* 0 = 1 */
        uint32_t n_dests;           /* words of world_dests that have a block if they are not 0 */
        const char *(*claim)(void); /* what must hold in the end, besides */
        bool has_tcache;            /* malloc and free as threads call them */
        bool tests_capacity;        /* all that is free can be allocated */
};

extern const struct scenario *const world_scenarios[];

/* For scenarios' setup. */
extern struct region world_region;
extern struct client_id world_client;
extern struct script world_scripts[ACTORS_MAX];
extern uint64_t world_dests[2]; /* region offsets */

/* A heap, and a slot for each actor of the scenario; engine parameters for it. */
void world_begin(const struct scenario *scenario, struct engine_params *ret_params);
void world_end(void);

/* The script of actor k as it is now. */
struct script *world_script(int k);

/* Which actor somebody plays outside of the search. */
void world_play(int k);

void world_describe(uint64_t off, char *text, size_t bytes);

/* Prints what check_region() has to say the next time that the judge finds something. */
extern bool world_is_verbose;

/* ------------------------------------------------------------------ what scripts do */

/* All record what is held.  Negative or false: it could not be had. */
int script_alloc(struct script *me, uint64_t bytes);                   /* one block, past the magazines */
int script_free(struct script *me);                                    /* the block held last, likewise */
int script_free_off(struct script *me, uint64_t block_off);            /* a block that the script does not hold */
int script_alloc_to(struct script *me, uint64_t bytes, uint32_t dest); /* world_dests[dest] has it, nobody else */
int script_free_from(struct script *me, uint32_t dest);
bool script_fill(struct script *me, uint32_t class_idx);            /* an empty magazine, from a slab or depot */
void script_pop(struct script *me, uint32_t class_idx, uint32_t n); /* hit path, n times */
void script_push(struct script *me, uint32_t class_idx);            /* hit path: the block held last */
void script_drain(struct script *me, uint32_t class_idx);           /* the magazine's blocks into their slabs */
bool script_put(struct script *me, uint32_t class_idx);             /* the magazine into the depot or pool */
void script_tcache_begin(struct script *me);                        /* before the next ones */
bool script_malloc(struct script *me, uint64_t bytes);
void script_mfree(struct script *me); /* the block held last */
void script_hold(struct script *me, uint64_t block_off);
uint64_t script_drop(struct script *me);
void script_complain(struct script *me, const char *text);

#endif
