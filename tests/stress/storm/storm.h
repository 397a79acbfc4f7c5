/*
 * storm.h - many processes in one heap, some of which are killed at random moments, and some stopped: the supervisor
 * starts and kills them, settles what the dead left behind in the stage (stage.h), and in the end the judge proves that
 * every block is where it should be.
 */
#ifndef STORM_STORM_H
#define STORM_STORM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stress/storm/stage.h"

struct plan {
        uint32_t n_processes;
        uint32_t n_threads; /* of each process */
        uint32_t n_stopped; /* processes that are stopped early on, and continued when all others are done */
        uint32_t n_reapers; /* processes, the last ones, that do nothing but settle what the dead left */
        uint32_t n_in_ns;   /* processes, the first ones, that live in a pid namespace of their own */
        uint64_t n_kills;
        uint64_t capacity_mib;
        uint64_t fs_mib; /* of a file system that is smaller than the heap; 0 = the usual one */
        int decay_ms;
        bool is_exact;  /* only what leaves no window */
        bool is_gentle; /* plain SIGKILLs only */
        uint64_t seed;
};

/* Of all storms of this run. */
struct storm_counts {
        uint64_t n_killed, n_released, n_by_oom, n_reapers_killed, n_in_ns_killed, n_ops;
};
extern struct storm_counts storm_counts;

/* True: it went as it should.  Says on standard output what happened, on standard error what went wrong. */
bool storm_run(const struct plan *plan);

/* Before the first storm; without it no plan may have fs_mib.  NULL, or why not. */
const char *storm_prepare_fs(void);

/* Before the first storm, behind that.  Says on standard output what this machine does not allow, and is left out. */
void storm_prepare_ways(void);
void storm_forget_ways(void);

/* A worker that was started by exec: never returns. */
void storm_worker_main(char **args) __attribute__((noreturn));

/* ------------------------------------------------------------------ what deaths may have lost or kept */

struct ledger {
        shref *maybe_live; /* freed by somebody who died meanwhile */
        size_t n_maybe_live, room_maybe_live;
        uint64_t *maybe_lost; /* usable bytes of what a process was just given when it died */
        size_t n_maybe_lost, room_maybe_lost;
};

void ledger_maybe_live(struct ledger *ledger, shref ref);
void ledger_maybe_lost(struct ledger *ledger, uint64_t usable);
void ledger_fini(struct ledger *ledger);

/* ------------------------------------------------------------------ the judge */

enum { FILL_SIZES = 8 };

/* How many blocks of each of a few sizes can be had from a heap in which nobody else is. */
struct capacity {
        uint64_t n[FILL_SIZES];
};
struct capacity judge_capacity(shheap *h);

/* shheap_check() finds nothing; if it does, it says so on standard error. */
bool is_in_order(shheap *h, unsigned flags);

/* Nobody is at work any more.  True: the live blocks are exactly those that the stage and the ledger know, each is as
 * it was stamped; and when all are freed, nothing is allocated, and `expected` can be had again. */
bool judge(shheap *h, struct stage *stage, struct ledger *ledger, const struct capacity *expected);

#endif
