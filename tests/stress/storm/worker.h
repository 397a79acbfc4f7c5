/*
 * worker.h - a worker process of a storm: threads that allocate, fill, look after, hand over and free blocks until they
 * are told to stop, or killed.
 */
#ifndef STORM_WORKER_H
#define STORM_WORKER_H

#include <stdbool.h>
#include <stdint.h>

#include <shmalloc/shmalloc.h>

enum { WORKER_FAILED = 99, THREADS_MAX = 16 };

struct worker_args {
        uint32_t first_actor, n_threads;
        uint64_t seed;
        int ticks; /* a pipe: a byte now and then, as a sign of life */
        bool is_reaper;
};

/* Never returns: ends with status 0, or WORKER_FAILED after a line that says why. */
void worker_run(shheap *h, const struct worker_args *args) __attribute__((noreturn));

#endif
