/*
 * run.h - lets worker processes make an index, and kills them if asked to.
 */
#ifndef WORDINDEX_RUN_H
#define WORDINDEX_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "shared.h"

struct run {
        shheap *heap;
        const char *heap_name;
        unsigned n_workers;
        uint64_t seed;             /* of the moments of the kills */
        double kill_every_seconds; /* on average, at first; 0: never */

        /* What came of it. */
        double seconds;
        uint64_t n_killed;
};

/* Before the first run: from here on, a signal that would end this process waits until run_interrupted() is called. */
void run_prepare(void);

/* Until all files are done.  Ends this process if that cannot be had; the workers end with it in any case. */
void run_workers(struct run *run);

/* Ends this process if a signal asks for it. */
void run_interrupted(void);

/* Kills those that still run; for exits. */
void run_kill_workers(void);

#endif
