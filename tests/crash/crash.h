/*
 * crash.h - what the parts of the crash tests share.
 *
 * What is at stake: promises P1 and P2.  A thread is killed, or stopped, at every instruction of an operation; whoever
 * is left must find each block in exactly one place and go on at once.
 *
 * One process plays all clients.  The region is private anonymous memory, so a fork is a copy of the whole world, and
 * what a death at an instruction leaves is examined in a fork, while the victim goes on to its next instruction.  An
 * actor is a client of its own: handle, slot, cache, identity; switching actors exchanges what the library keeps per
 * thread and process.  Who is dead is decided here (clients/liveness.h), and so are memory and time (world.c).  The
 * same operations under real processes, real SIGKILLs and real robust mutexes: real.c.
 */
#ifndef CRASH_H
#define CRASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "api/heap.h"

enum { ACTOR_A, ACTOR_B, ACTOR_C, ACTOR_D, ACTOR_E, ACTOR_F, N_ACTORS }; /* F attaches when all is over */
enum { DEPOT_PLACES = SIZE_CLASS_DEPOT_OF(0) }; /* of each class alike, where magazines are short */
enum { BLOCKS_MAX = 6000, WORLD_CHUNKS_MAX = 8, POINTERS_MAX = 4096 };

struct block {
        uint64_t off;   /* from the first chunk */
        uint64_t bytes; /* usable */
};

/* What the operation that an actor is in may have done, or not, if it dies there. */
struct op {
        uint32_t n_new;     /* blocks that may be allocated without anybody knowing where */
        uint64_t new_bytes; /* asked for */
        uint64_t *dest;     /* if not NULL: nothing may be lost; what it refers to is the new, or the freed, block */
        uint64_t n_zeroes;  /* at the start of what dest comes to refer to */
        uint64_t freed;     /* offset + 1 of a block that may be free already */
};

struct script;

struct actor {
        int no;
        uint32_t os_pid; /* as slots name it */
        bool is_attached;
        bool is_dead;
        bool is_stopped;     /* in the midst of something, for good: dies before the world is inspected */
        struct shheap *heap; /* private memory of its process */
        struct tcache *tcache_list, *tcache_default, *tcache_last; /* the thread's own, while it is not current */
        struct tcache_known *tcache_known;                         /* likewise */
        struct tcache *entered;                                    /* by a_enter() */
        bool is_shielded;                                          /* no handler runs in it now */
        struct op op;
        uint32_t n_live;
        struct block live[BLOCKS_MAX]; /* allocated and not freed, as the actor knows */
        uint32_t n_p;
        void *p[POINTERS_MAX]; /* the script's own */
        uint64_t *dest;        /* likewise: a word in a block */
};

struct script {
        const char *name;
        void (*setup)(struct actor *a);
        void (*run)(struct actor *a); /* what is stepped */
        unsigned n_chunks;            /* 0 = 4 */
        unsigned n_nodes;             /* 0 = 1; everybody runs on the first of them */
        unsigned n_arenas;            /* of each node; 0 = 1 */
        unsigned flags;
        uint64_t hot_bytes; /* others use mostly blocks of this size */
        int64_t decay_ms;   /* 0 = never */
};

enum {
        SCRIPT_UNATTACHED = 1u << 0, /* A is no client yet */
        SCRIPT_TIGHT = 1u << 1,      /* the heap may be too small for everybody's wishes */
        SCRIPT_TRACED = 1u << 2,     /* copies so much that only stores to the metadata are looked at */
        SCRIPT_PLAYED = 1u << 3,     /* needs other actors in its own process, or its own clock */
        SCRIPT_MISUSED = 1u << 4,    /* A frees what it must not: until it is settled the check has something to say */
        SCRIPT_SLOT = 1u << 5,       /* somebody has left another slot */
};

extern const struct script scripts_small[], scripts_large[], scripts_life[]; /* end with a NULL name */

/* ------------------------------------------------------------------ world.c */

extern struct region *world_region; /* as the current actor has it */
extern struct actor *actors;        /* N_ACTORS */
extern struct actor *actor_now;
extern uint64_t world_ms; /* the clock */

void world_make(const struct script *script);
void actor_switch(struct actor *a);
void actor_attach(struct actor *a);

/* The current actor's thread comes to its end, in order. */
void actor_ends(void);

/* Its thread and its process are gone; the kernel has marked its locks, or (in every other world) could not. */
void actor_kill(struct actor *a);
void world_marks_the_dead(bool marks);

/* A process that was not there before opens the heap. */
void newcomer_comes(void);

/* An actor is at its own books, which others change, too: no moment to stop it, for a real process has its own. */
extern bool actor_keeps_books;

/* By the current actor: how many slots were settled. */
uint32_t actor_reap(void);

/* Whether the page of the region has been allocated. */
enum backing { BACKING_UNKNOWN, BACKING_HOLE, BACKING_PAGE };
enum backing world_backing(uint64_t region_off);

/* Somebody reads the page, which nobody has reserved: now it is there. */
void world_touch(uint64_t region_off);

/* What the system knows of placement and of such pages: it is part of the world's state, beside the region. */
const void *world_system(size_t *ret_bytes);

/* Whether pages of the chunk come, and came, from this node (+ 1; 0 = any), as far as is known. */
bool world_is_placed(uint64_t chunk, uint32_t node1);

/* ------------------------------------------------------------------ operations of actors, with bookkeeping */

void *a_malloc(struct actor *a, size_t size);
void *a_mallocx(struct actor *a, size_t size, unsigned flags);
void a_free(struct actor *a, void *p);
void *a_aligned(struct actor *a, size_t align, size_t size);
void *a_calloc(struct actor *a, size_t n, size_t size);
void *a_realloc(struct actor *a, void *p, size_t size);
void a_malloc_to(struct actor *a, size_t size, unsigned flags, uint64_t *dest);
void a_free_from(struct actor *a, uint64_t *dest);
void a_free_from_direct(struct actor *a, uint64_t *dest); /* past the magazines */
void *a_alloc_direct(struct actor *a, size_t size);       /* past the magazines */
void a_free_direct(struct actor *a, void *p);
struct thread *thread_of(const struct actor *a); /* also in the midst of a call */
struct thread *a_enter(struct actor *a);         /* into the heap, as the public calls do before they call down */
void a_leave(struct actor *a);
void actor_keep(struct actor *a, void *p);
void actor_drop(struct actor *a, void *p);
void actor_judge_stamps(const struct actor *a);
void actor_push(struct actor *a, void *p); /* to a->p */
void *actor_pop(struct actor *a);

/* Actor E stops for good in the midst of freeing p, when it holds the slab (scripts_small.c). */
void stop_one_with_slab_of(void *p);

/* Blocks that a script's setup leaves for others to free. */
void gift(void *p);

/* A bounded number of mixed operations of the current actor, all given back at the end. */
void workload(struct actor *a, uint64_t hot_bytes, unsigned n_ops, uint64_t seed);

uint64_t random_next(uint64_t *state);

/* ------------------------------------------------------------------ judge.c */

extern uint64_t judge_counted; /* in room[0] of the counters of all slots together */

struct verdict {
        uint32_t n_faults;
        uint32_t n_live;
        struct block live[N_ACTORS * BLOCKS_MAX / 2]; /* by offset */
        uint64_t n_reclaimable;                       /* granules without a block that is live or cached by `others` */
        uint64_t chunks_capacity;
};

/* Nobody is inside a call and the dead are settled.  Faults go to report_line(). */
void judge(const struct region *r, uint32_t flusher_no, struct verdict *v);

/* What is live must be what the actors know of, give or take what the dead were at. */
void judge_live(const struct verdict *v);

/* At any time: what the actor asked for zeroed is so where its dest refers to it. */
void judge_zeroes(const struct actor *a);

/* ------------------------------------------------------------------ report.c */

struct report;
void report_init(void);
void report_reset(void);
__attribute__((format(printf, 1, 2))) void report_line(const char *fmt, ...);
uint32_t report_faults(void);                       /* since the last reset */
void report_print(void);                            /* the lines since the last reset */
void report_place(uintptr_t at);                    /* symbol, source line, step of doc/recovery.md */
void report_steps(const uintptr_t *at, unsigned n); /* the steps that they belong to, to standard output */
double seconds_now(void);

/* SIGALRM after so many seconds of this process's processor time, whatever else the machine does; or after many times
 * as long, in case it waits without using any. */
void watchdog_start(unsigned seconds);

/* ------------------------------------------------------------------ inspect.c */

/* In a fork: settle the dead as actor `by`, and examine everything. */
void inspect_dead(struct actor *by, bool is_thorough);

/* In a fork: nobody is inside a call. */
void inspect_rest(struct actor *by, bool is_thorough);

/* ------------------------------------------------------------------ step.c */

struct crash_options {
        const char *command; /* how to call this again */
        const struct script *script, *other;
        int depth;      /* of kills */
        bool every;     /* every instruction, not only those that change the region, or a sample */
        unsigned n_ops; /* of others while one is stopped */
        uint64_t seed;
        unsigned n_samples;    /* of points */
        unsigned deep_part;    /* deaths of reapers: at one in so many states, chosen by the seed */
        unsigned deep_victims; /* and only of those of one in so many victims, likewise */
        bool marks;            /* the kernel marks the locks of the dead */
        bool steps;            /* tell which steps of doc/recovery.md somebody died after */
        unsigned watchdog;     /* seconds of processor time */
        long only[4];          /* by depth: -1, or the one point to look at */
};

extern struct crash_options opt;

/* Whether a script that is played left the heap as only misuse does. */
static inline bool
is_misused(void)
{
        return ((opt.script ? opt.script->flags : 0) | (opt.other ? opt.other->flags : 0)) & SCRIPT_MISUSED;
}

struct counts {
        uint64_t n_instructions, n_changes, n_states, n_states_deep, n_deep_seen, n_forks, n_bad, n_hangs;
        uint64_t n_taken_over; /* words of the dead by an heir */
        uint64_t most_us;      /* that others needed while one was stopped */
};

extern struct counts *counts; /* shared by all forks */

/* Runs fn(a) until its n_changes-th change of the region: there `a` stays for good.  False: it came to its end. */
bool step_until(struct actor *a, void (*fn)(struct actor *a), long n_changes);

/* The same until is_there(). */
bool step_until_true(struct actor *a, void (*fn)(struct actor *a), bool (*is_there)(struct actor *a));

/* ------------------------------------------------------------------ enumerate.c */

/* A copy of the world.  0 in the copy, which ends with copy_leave(). */
pid_t copy_enter(void);
void copy_leave(void);

/* Waits for a copy and says what was wrong in it. */
void copy_see(pid_t pid, const char *what, uintptr_t at, const char *options);

/* The world of the script, A as it is before its operation. */
void prepare(void);

/* The operation comes to its end, untroubled. */
void see_the_end(void);

void mode_real(void); /* real.c */
void mode_left(void); /* left.c */
void mode_left_again(void);
void mode_interrupted(void);
void mode_kill(void);
void mode_stop(void);
void mode_two(void);
void mode_three(void);

#endif
