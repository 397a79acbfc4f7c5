/*
 * burst - many blocks are allocated and then all of them freed, in order or at random, again and again; and the first
 * fill of a heap, in which every block is new.  Time is that of a block, with its free where it is freed.
 */
#include <string.h>

#include "common/bench.h"

enum { IN_ORDER, AT_RANDOM, FILL };

enum { BLOCKS_MAX = 1 << 20, FILL_BYTES = 64 << 20 };

struct state {
        struct bench_rng random;
        uint32_t n, size_min, n_sizes;
        void *block[BLOCKS_MAX];
        uint32_t order[BLOCKS_MAX]; /* in which they are freed */
        uint32_t size[BLOCKS_MAX];
};

static void
bursts(const struct bench_allocator *a, void *arg, uint64_t n)
{
        void *(*take)(size_t) = a->take;
        void (*give)(void *) = a->give;
        struct state *s = arg;

        while (n-- > 0) {
                for (uint32_t i = 0; i < s->n; i++) {
                        void *p = take(s->size[i]);

                        *(volatile char *)p = 1;
                        s->block[i] = p;
                }
                for (uint32_t i = 0; i < s->n; i++)
                        give(s->block[s->order[i]]);
        }
}

static void
prepare(struct state *s, bool is_random)
{
        s->random.x = 88172645463325252;
        for (uint32_t i = 0; i < s->n; i++) {
                s->order[i] = i;
                s->size[i] = s->size_min + bench_below(&s->random, s->n_sizes);
        }
        for (uint32_t i = s->n; is_random && i > 1; i--) {
                uint32_t other = bench_below(&s->random, i), was = s->order[i - 1];

                s->order[i - 1] = s->order[other];
                s->order[other] = was;
        }
}

/* Of the thread's time: the first touch of a page is the system's work, and belongs to it. */
static void
fill(const struct bench_allocator *a, struct state *s)
{
        double start = bench_cpu();

        if (bench_is_counting())
                bench_count_begin();
        for (uint32_t i = 0; i < s->n; i++) {
                void *p = a->take(s->size_min);

                bench_need(a, p);
                *(volatile char *)p = 1;
        }
        if (bench_is_counting())
                bench_count_end(s->n);
        bench_value("time", "ns", BENCH_TIME, (bench_cpu() - start) * 1e9 / s->n);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s = bench_map(sizeof *s);
        bool is_fill = c->c == FILL;

        if (a->is_slow)
                return BENCH_SKIPPED;
        s->size_min = (uint32_t)c->b;
        s->n_sizes = strstr(c->name, "mixed") ? 1024 - s->size_min + 1 : 1;
        s->n = is_fill ? (uint32_t)(bench_some(FILL_BYTES, FILL_BYTES, 1 << 20) / c->b) : (uint32_t)c->a;
        if (s->n > BLOCKS_MAX)
                s->n = BLOCKS_MAX;
        bench_pin(0);
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        if (is_fill) {
                fill(a, s);
                return 0;
        }
        prepare(s, c->c == AT_RANDOM);
        bench_measure_each("", a, bursts, s, 0.1, s->n);
        return 0;
}

static const struct bench_case cases[] = {{"200-of-64", 200, 64, IN_ORDER},
                                          {"1000-of-64", 1000, 64, IN_ORDER},
                                          {"10000-of-64", 10000, 64, IN_ORDER},
                                          {"100000-of-64-random", 100000, 64, AT_RANDOM},
                                          {"100000-mixed-random", 100000, 16, AT_RANDOM},
                                          {"1000-of-4K", 1000, 4096, IN_ORDER},
                                          {"100-of-16K", 100, 16384, IN_ORDER},
                                          {"20-of-64K", 20, 65536, IN_ORDER},
                                          {"20-of-1M", 20, 1 << 20, IN_ORDER},
                                          {"10-of-3M", 10, 3 << 20, IN_ORDER},
                                          {"fill-16", 0, 16, FILL},
                                          {"fill-64", 0, 64, FILL},
                                          {"fill-256", 0, 256, FILL},
                                          {"fill-1024", 0, 1024, FILL},
                                          {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "burst",     "What a block costs of many that are allocated and then freed, or that are all new.",
                cases,       .allocators = BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
