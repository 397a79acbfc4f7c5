/*
 * trace.h - what a program asked of malloc, call by call.
 *
 * A trace is an array of struct trace_event, without a head: a call each, in the order in which they happened,
 * whichever thread made them.  Blocks are numbered from 0; the number of one that has been freed is given to a later
 * one, and a block keeps its number when it is resized.  Words are little-endian, as on all machines that this runs on.
 * Behind the last call there may be any number of events of zeros: those of a program that ended without notice.  A
 * file whose name ends in .zst is compressed by zstd.
 */
#ifndef BENCH_TRACE_TRACE_H
#define BENCH_TRACE_TRACE_H

#include <stddef.h>
#include <stdint.h>

enum trace_kind { TRACE_MALLOC, TRACE_FREE, TRACE_CALLOC, TRACE_REALLOC, TRACE_ALIGNED, TRACE_KINDS };

struct trace_event {
        uint32_t kind;  /* enum trace_kind */
        uint32_t block; /* its number */
        uint32_t size;  /* bytes asked for; 0 for a free */
        uint32_t align; /* of TRACE_ALIGNED, else 0 */
};

struct trace {
        struct trace_event *event;
        size_t n, n_live_end; /* events; blocks that nobody frees */
        uint32_t n_blocks;    /* numbers that occur: below this */
        uint32_t align_max;
};

/* Reads a trace that is whole: no block is freed or resized that is not there.  0, or -1 with a line on standard error.
 * Takes nothing from malloc: that is what is to be measured. */
int trace_load(const char *path, struct trace *ret_trace);

#endif
