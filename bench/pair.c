/*
 * pair - one block is allocated and freed, over and over: what a hit costs.
 */
#include <stdio.h>

#include "common/bench.h"

struct state {
        uint64_t size;
};

static void
batch(const struct bench_allocator *a, void *arg, uint64_t n)
{
        void *(*take)(size_t) = a->take;
        void (*give)(void *) = a->give;
        uint64_t size = ((const struct state *)arg)->size;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(size);

                *(volatile char *)p = 1;
                give(p);
        }
}

static void
latencies(const struct bench_allocator *a, uint64_t size)
{
        struct bench_histogram *take = bench_map(sizeof *take), *give = bench_map(sizeof *give);
        double end = bench_now() + bench_seconds(0.03);

        do {
                for (int i = 0; i < 1000; i++) {
                        uint64_t t0 = bench_ticks(), t1, t2;
                        void *p = a->take(size);

                        t1 = bench_ticks();
                        a->give(p);
                        t2 = bench_ticks();
                        bench_histogram_add(take, t1 - t0);
                        bench_histogram_add(give, t2 - t1);
                }
        } while (bench_now() < end);
        bench_histogram_report("malloc_", take);
        bench_histogram_report("free_", give);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state s = {c->a};
        void *p;

        bench_pin(0);
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        bench_need(a, p = a->take(c->a));
        a->give(p);
        bench_measure("", a, batch, &s, 0.06);
        latencies(a, c->a);
        return 0;
}

static const struct bench_case cases[] = {
        {"16", 16, 0, 0},      {"64", 64, 0, 0},        {"256", 256, 0, 0},   {"1024", 1024, 0, 0},
        {"4K", 4096, 0, 0},    {"32K", 32768, 0, 0},    {"64K", 65536, 0, 0}, {"1M", 1048576, 0, 0},
        {"3M", 3 << 20, 0, 0}, {"20M", 20 << 20, 0, 0}, {NULL, 0, 0, 0},
};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "pair",      "What a pair of malloc and free of one size costs when it is repeated.",
                cases,       BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
