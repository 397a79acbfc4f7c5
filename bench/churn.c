/*
 * churn - each worker keeps 10,000 blocks of 16 to 1024 bytes, or to 32 KiB, and replaces one chosen at random by a new
 * one.
 */
#include "common/bench.h"

enum { N_LIVE = 10000, BYTES_MIN = 16, REPLACED = 10 }; /* so often each of them before it is measured */

struct state {
        struct bench_rng random;
        uint32_t bytes_max;
        void *block[N_LIVE];
};

/* The generator's state stays in a register: in memory, reading it would have to wait for the address of the write into
 * the block before, and the whole run would be one chain of the latencies of malloc. */
static void
batch(const struct bench_allocator *a, void *arg, uint64_t n)
{
        struct state *s = arg;
        struct bench_rng random = s->random;
        uint32_t n_sizes = s->bytes_max - BYTES_MIN + 1;

        for (uint64_t i = 0; i < n; i++) {
                uint32_t at = bench_below(&random, N_LIVE);
                uint32_t size = BYTES_MIN + bench_below(&random, n_sizes);
                uint64_t *p;

                a->give(s->block[at]);
                p = a->take(size);
                *p = size;
                s->block[at] = p;
        }
        s->random = random;
}

static void
fill(const struct bench_allocator *a, struct state *s, int idx, const struct bench_case *c)
{
        s->bytes_max = (uint32_t)c->b;
        s->random.x = 0x9e3779b97f4a7c15 * (uint64_t)(idx + 1);
        for (int i = 0; i < N_LIVE; i++) {
                uint32_t size = BYTES_MIN + bench_below(&s->random, s->bytes_max - BYTES_MIN + 1);
                uint64_t *p = a->take(size);

                bench_need(a, p);
                *p = size; /* so that what is resident later does not depend on how much has been replaced */
                s->block[i] = p;
        }
}

static void
latencies(const struct bench_allocator *a, struct state *s)
{
        struct bench_histogram *take = bench_map(sizeof *take), *give = bench_map(sizeof *give);
        double end = bench_now() + bench_seconds(0.1);

        do {
                for (int i = 0; i < 1000; i++) {
                        uint32_t at = bench_below(&s->random, N_LIVE);
                        uint32_t size = BYTES_MIN + bench_below(&s->random, s->bytes_max - BYTES_MIN + 1);
                        uint64_t t0 = bench_ticks(), t1, t2;

                        a->give(s->block[at]);
                        t1 = bench_ticks();
                        s->block[at] = a->take(size);
                        t2 = bench_ticks();
                        bench_histogram_add(give, t1 - t0);
                        bench_histogram_add(take, t2 - t1);
                }
        } while (bench_now() < end);
        bench_histogram_report("malloc_", take);
        bench_histogram_report("free_", give);
}

static void
worker(const struct bench_allocator *a, struct bench_worker *w)
{
        struct state *s = bench_map(sizeof *s);

        fill(a, s, w->idx, w->arg);
        if (!a->is_slow)
                batch(a, s, REPLACED * N_LIVE);
        bench_begin(w);
        do {
                batch(a, s, 1000);
                w->n_ops += 1000;
        } while (bench_now() < w->deadline);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s;
        size_t before;

        if (a->workers_max != 0 && c->a > (uint64_t)a->workers_max)
                return BENCH_SKIPPED;
        if (c->a == 1)
                bench_pin(0);
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        if (c->a > 1) {
                bench_report_crew(bench_crew(a, (int)c->a, worker, (void *)c, 0.2), (int)c->a);
                return 0;
        }
        s = bench_map(sizeof *s);
        before = bench_resident(a);
        fill(a, s, 0, c);
        batch(a, s, a->is_slow ? N_LIVE : REPLACED * N_LIVE);
        bench_measure("", a, batch, s, 0.2);
        bench_value("resident", "MiB", BENCH_PLAIN, ((double)bench_resident(a) - (double)before) / 1048576);
        latencies(a, s);
        return 0;
}

static const struct bench_case cases[] = {{"1", 1, 1024, 0},   {"2", 2, 1024, 0},      {"4", 4, 1024, 0},
                                          {"16", 16, 1024, 0}, {"1-32K", 1, 32768, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "churn",     "What replacing one of 10,000 live blocks costs, with 1, 2, 4 and 16 workers.",
                cases,       BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 9, .run = run};

        return bench_main(argc, argv, &question);
}
