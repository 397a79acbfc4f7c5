/*
 * calls.h - what there is besides malloc and free, each as a loop over a block that the caches have.
 */
#ifndef BENCH_COMMON_CALLS_H
#define BENCH_COMMON_CALLS_H

#include "common/bench.h"

struct bench_call_state {
        size_t size;
        void *block;
};

struct bench_call {
        const char *name;
        bench_batch_fn *batch; /* of a bench_call_state */
        size_t size;
};

/* The cases of who asks about them; the rest of such a list is its own. */
#define BENCH_CALL_CASES                                                                                               \
        {"calloc-64", 0, 0, 0}, {"calloc-1024", 0, 0, 0}, {"aligned-64", 0, 0, 0}, {"aligned-4096", 0, 0, 0},          \
                {"realloc-1000", 0, 0, 0}, {"usable_size", 0, 0, 0}, {"free_sized", 0, 0, 0}, {"strdup", 0, 0, 0},     \
                {"mallocx", 0, 0, 0},                                                                                  \
        {                                                                                                              \
                "malloc_to", 0, 0, 0                                                                                   \
        }

/* NULL: the allocator has no such call. */
const struct bench_call *bench_call_of(const struct bench_allocator *a, const char *name);

/* The block that the call works on, after setup(). */
void bench_call_prepare(const struct bench_allocator *a, const struct bench_call *call,
                        struct bench_call_state *ret_state);

#endif
