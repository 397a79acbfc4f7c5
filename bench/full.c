/*
 * full - how much of a region of fixed size is live when malloc gives NULL for the first time.  The live set grows by
 * one block with each turn: three blocks chosen at random are freed, and four are taken.  So each block has been
 * replaced about three times by then, and what is free lies scattered.
 */
#include <stdio.h>

#include "common/bench.h"

enum { REGION_BYTES = 64 << 20, BLOCKS_MAX = 1 << 18, BYTES_MIN = 16, FREED = 3, SECONDS_MAX = 60 };

struct state {
        struct bench_rng random;
        uint32_t bytes_max, n;
        uint64_t live_bytes;
        struct {
                void *p;
                uint32_t size;
        } block[BLOCKS_MAX];
};

static bool
take(const struct bench_allocator *a, struct state *s)
{
        uint32_t size = BYTES_MIN + bench_below(&s->random, s->bytes_max - BYTES_MIN + 1);
        void *p = a->take(size);

        if (!p || s->n == BLOCKS_MAX)
                return false;
        *(volatile char *)p = 1;
        s->block[s->n].p = p;
        s->block[s->n++].size = size;
        s->live_bytes += size;
        return true;
}

static void
give(const struct bench_allocator *a, struct state *s)
{
        uint32_t at = bench_below(&s->random, s->n);

        a->give(s->block[at].p);
        s->live_bytes -= s->block[at].size;
        s->block[at] = s->block[--s->n];
}

/* Until there is no more; false: it takes too long. */
static bool
churn(const struct bench_allocator *a, struct state *s)
{
        double end = bench_now() + SECONDS_MAX;

        for (uint32_t turn = 1; turn % 256 != 0 || bench_now() < end; turn++) {
                for (int i = 0; i < FREED && s->n > 0; i++)
                        give(a, s);
                for (int i = 0; i < FREED + 1; i++)
                        if (!take(a, s))
                                return true;
        }
        return false;
}

/* What is live as the allocator rounds it up: where there are size classes it could not be more than this. */
static uint64_t
usable_bytes(const struct bench_allocator *a, const struct state *s)
{
        uint64_t bytes = 0;

        for (uint32_t i = 0; i < s->n; i++)
                bytes += a->family->usable(s->block[i].p);
        return bytes;
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s = bench_map(sizeof *s);
        uint64_t region = bench_some(REGION_BYTES, REGION_BYTES, REGION_BYTES / 4);

        bench_pin(0);
        s->random.x = 0x9e3779b97f4a7c15;
        s->bytes_max = (uint32_t)c->a;
        if (a->setup(region) < 0)
                return 1;
        if (!churn(a, s))
                return BENCH_SKIPPED;
        if (s->n == BLOCKS_MAX) {
                fprintf(stderr, "%s never says that it is full\n", a->name);
                return 1;
        }
        region += a->tables ? a->tables() : 0; /* where they lie beside what was asked for, not in it */
        bench_value("live_share", "%", BENCH_MORE, 100 * (double)s->live_bytes / (double)region);
        if (a->family && a->family->usable)
                bench_value("rounded_share", "%", BENCH_MORE, 100 * (double)usable_bytes(a, s) / (double)region);
        bench_value("blocks", "k", BENCH_PLAIN, (double)s->n / 1000);
        return 0;
}

static const struct bench_case cases[] = {{"1K", 1024, 0, 0}, {"32K", 32768, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "full",      "How much of a region of fixed size is live when malloc gives NULL for the first time.",
                cases,       .allocators = BENCH_SHARED | BENCH_NO_NULL,
                .rounds = 1, .run = run};

        return bench_main(argc, argv, &question);
}
