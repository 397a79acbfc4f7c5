/*
 * fragment - what a heap occupies after random work, and after 90 % of it has been freed and unused memory has had the
 * time to go back to the system.  The floor is what no allocator can be below that moves no blocks: the pages in which
 * there is a live one.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "common/bench.h"

enum {
        DECAY_MS = 200,
        LIVE_BYTES = 128 << 20,
        BLOCKS_MAX = 1 << 19,
        OTHERS = 512,
        OTHERS_BYTES = 128 << 10,
        OTHER_BYTES = 256
};

enum { RANDOM, IN_ORDER, BUSY }; /* what is freed; and what goes on then: sizes of all kinds */

struct block {
        char *p;
        uint32_t size;
};

struct state {
        struct bench_rng random;
        uint32_t size_min, size_max, n;
        uint64_t live_bytes;
        struct block block[BLOCKS_MAX];
};

static double
mib(double bytes)
{
        return bytes / 1048576;
}

static void
take(const struct bench_allocator *a, struct state *s, struct block *b)
{
        b->size = s->size_min + bench_below(&s->random, s->size_max - s->size_min + 1);
        b->p = a->take(b->size);
        bench_need(a, b->p);
        memset(b->p, 1, b->size);
        s->live_bytes += b->size;
}

static void
give(const struct bench_allocator *a, struct state *s, struct block *b)
{
        a->give(b->p);
        s->live_bytes -= b->size;
        b->p = NULL;
}

static void
fill(const struct bench_allocator *a, struct state *s)
{
        while (s->live_bytes < LIVE_BYTES && s->n < BLOCKS_MAX)
                take(a, s, &s->block[s->n++]);
}

/* Every block is replaced twice, on average. */
static void
work(const struct bench_allocator *a, struct state *s)
{
        for (uint32_t i = 0; i < 2 * s->n; i++) {
                struct block *b = &s->block[bench_below(&s->random, s->n)];

                give(a, s, b);
                take(a, s, b);
        }
}

static int
by_number(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return (x > y) - (x < y);
}

static uint64_t
floor_bytes(const struct state *s)
{
        size_t bytes = (s->n * UINT64_C(2) + LIVE_BYTES / 2048) * sizeof(uint64_t), n = 0;
        uint64_t *page = bench_map(bytes), n_pages = 0;

        for (uint32_t i = 0; i < s->n; i++)
                for (uintptr_t at = (uintptr_t)s->block[i].p >> 12;
                     s->block[i].p && at <= ((uintptr_t)s->block[i].p + s->block[i].size - 1) >> 12; at++)
                        page[n++] = at;
        qsort(page, n, sizeof *page, by_number);
        for (size_t i = 0; i < n; i++)
                n_pages += i == 0 || page[i] != page[i - 1];
        munmap(page, bytes);
        return n_pages << 12;
}

/* A little work goes on, so that allocators that give memory back on the way can do so: 128 KiB of one size.  It is
 * always the same size, unless that is what is asked for: then each turn has another, and the caches of all of them are
 * in use. */
static void
let_decay(const struct bench_allocator *a, struct state *s, bool is_busy)
{
        double end = bench_now() + 5 * DECAY_MS / 1e3;
        void *other[OTHERS];

        while (bench_now() < end) {
                uint32_t size =
                        is_busy ? s->size_min + bench_below(&s->random, s->size_max - s->size_min + 1) : OTHER_BYTES;
                int n = size > OTHERS_BYTES / OTHERS ? (int)(OTHERS_BYTES / size) : OTHERS;

                for (int i = 0; i < n; i++)
                        other[i] = a->take(size);
                for (int i = 0; i < n; i++)
                        a->give(other[i]);
        }
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s = bench_map(sizeof *s);
        bool is_in_order = c->c == IN_ORDER;
        size_t before;
        double resident, least;

        if (a->is_slow)
                return BENCH_SKIPPED;
        bench_pin(0);
        s->random.x = 88172645463325252;
        s->size_min = (uint32_t)c->a;
        s->size_max = (uint32_t)c->b;
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        before = bench_resident(a);
        fill(a, s);
        if (!is_in_order)
                work(a, s);
        resident = (double)(bench_resident(a) - before);
        bench_value("live", "MiB", BENCH_PLAIN, mib((double)s->live_bytes));
        bench_value("resident", "MiB", BENCH_PLAIN, mib(resident));
        bench_value("overhead", "x", BENCH_PLAIN, resident / (double)s->live_bytes);
        if (a->tables)
                bench_value("tables", "%", BENCH_PLAIN, 100 * (double)a->tables() / (double)s->live_bytes);
        for (uint32_t i = 0; i < s->n; i++)
                if (is_in_order ? i < s->n / 10 * 9 : bench_below(&s->random, 10) != 0)
                        give(a, s, &s->block[i]);
        let_decay(a, s, c->c == BUSY);
        resident = (double)bench_resident(a) - (double)before;
        least = (double)floor_bytes(s);
        bench_value("live_10%", "MiB", BENCH_PLAIN, mib((double)s->live_bytes));
        bench_value("floor_10%", "MiB", BENCH_PLAIN, mib(least));
        bench_value("resident_10%", "MiB", BENCH_PLAIN, mib(resident));
        bench_value("overhead_10%", "x", BENCH_PLAIN, resident / (is_in_order ? (double)s->live_bytes : least));
        return 0;
}

static const struct bench_case cases[] = {{"small", 16, 1024, RANDOM},
                                          {"mixed", 16, 8192, RANDOM},
                                          {"order", 16, 1024, IN_ORDER},
                                          {"busy", 16, 8192, BUSY},
                                          {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "fragment",  "What a heap occupies after random work, and after 90 % of it has been freed.",
                cases,       BENCH_PRIVATE | BENCH_SHARED | BENCH_NO_NULL,
                .rounds = 3, .decay_ms = DECAY_MS,
                .run = run};

        return bench_main(argc, argv, &question);
}
