/*
 * family - what a small call costs besides malloc and free: each on a block that the caches have, again and again.
 */
#include "common/calls.h"

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        const struct bench_call *call = bench_call_of(a, c->name);
        struct bench_call_state s;

        if (!call)
                return BENCH_SKIPPED;
        bench_pin(0);
        if (a->setup((size_t)256 << 20) < 0)
                return 1;
        bench_call_prepare(a, call, &s);
        bench_measure("", a, call->batch, &s, 0.06);
        return 0;
}

static const struct bench_case cases[] = {BENCH_CALL_CASES, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {"family",
                                                       "What calloc, realloc in place, aligned_alloc, strdup and their "
                                                       "like cost when the caches have the block.",
                                                       cases,
                                                       .allocators = BENCH_PRIVATE | BENCH_SHARED,
                                                       .rounds = 5,
                                                       .run = run};

        return bench_main(argc, argv, &question);
}
