/*
 * large - 32 live blocks of 64 KiB to 4 MiB, one of which is replaced by a new one; untouched, or every page touched.
 */
#include "common/bench.h"

enum { N_LIVE = 32 };

struct state {
        struct bench_rng random;
        bool touches;
        void *block[N_LIVE];
};

/* Each doubling from 64 KiB to 4 MiB is as likely as any other. */
static size_t
random_size(struct bench_rng *r)
{
        size_t base = (size_t)65536 << bench_below(r, 6);

        return base + bench_below(r, (uint32_t)base);
}

static void
replace(const struct bench_allocator *a, struct state *s)
{
        uint32_t at = bench_below(&s->random, N_LIVE);
        size_t size = random_size(&s->random);
        char *p;

        if (s->block[at])
                a->give(s->block[at]);
        p = a->take(size);
        bench_need(a, p);
        if (s->touches)
                for (size_t i = 0; i < size; i += 4096)
                        *(volatile char *)(p + i) = 1;
        else
                *(volatile char *)p = 1;
        s->block[at] = p;
}

static void
batch(const struct bench_allocator *a, void *arg, uint64_t n)
{
        for (uint64_t i = 0; i < n; i++)
                replace(a, arg);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s = bench_map(sizeof *s);
        struct bench_histogram *h = bench_map(sizeof *h);
        size_t before;
        double end;

        bench_pin(0);
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        s->random.x = 88172645463325252;
        s->touches = c->a != 0;
        before = bench_resident(a);
        batch(a, s, 1000);
        bench_measure("", a, batch, s, 0.25);
        bench_value("resident", "MiB", BENCH_PLAIN, (double)(bench_resident(a) - before) / 1048576);
        end = bench_now() + bench_seconds(0.1);
        while (bench_now() < end) {
                uint64_t start = bench_ticks();

                replace(a, s);
                bench_histogram_add(h, bench_ticks() - start);
        }
        bench_histogram_report("op_", h);
        return 0;
}

static const struct bench_case cases[] = {{"untouched", 0, 0, 0}, {"touched", 1, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "large",     "What replacing one of 32 live blocks of 64 KiB to 4 MiB costs.",
                cases,       BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
