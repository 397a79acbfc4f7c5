/*
 * resize - a block grows by realloc: by a little at a time, as a buffer that is appended to, or by doubling; alone, or
 * many in turns.
 */
#include "common/bench.h"

enum { N_OTHERS = 64, ARRAYS_MAX = 1000 };

struct state {
        size_t first, last, step; /* step 0: doubled each time */
        void *other[N_OTHERS];    /* allocated in between, so that blocks have neighbours */
        uint64_t n;
        uint32_t n_arrays; /* that grow in turns; 0: one alone */
        char *array[ARRAYS_MAX];
};

static void
grow(const struct bench_allocator *a, struct state *s)
{
        size_t size = s->first;
        char *p = a->take(size);

        p[0] = 1;
        while (size < s->last) {
                size_t next = s->step ? size + s->step : 2 * size;
                void **other = &s->other[s->n++ % N_OTHERS];

                if (*other)
                        a->give(*other);
                *other = a->take(64);
                p = a->resize(p, next);
                for (size_t i = (size + 4095) & ~(size_t)4095; i < next; i += 4096)
                        *(volatile char *)(p + i) = 1; /* what is new is used */
                p[next - 1] = 1;
                size = next;
        }
        a->give(p);
}

/* Each of them by one step, then each by the next one. */
static void
grow_many(const struct bench_allocator *a, struct state *s)
{
        size_t size = s->first;

        for (uint32_t i = 0; i < s->n_arrays; i++)
                *(s->array[i] = a->take(size)) = 1;
        while (size < s->last) {
                size = s->step ? size + s->step : 2 * size;
                for (uint32_t i = 0; i < s->n_arrays; i++) {
                        s->array[i] = a->resize(s->array[i], size);
                        s->array[i][size - 1] = 1;
                }
        }
        for (uint32_t i = 0; i < s->n_arrays; i++)
                a->give(s->array[i]);
}

static void
batch(const struct bench_allocator *a, void *arg, uint64_t n)
{
        struct state *s = arg;

        for (uint64_t i = 0; i < n; i++)
                if (s->n_arrays > 0)
                        grow_many(a, s);
                else
                        grow(a, s);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state *s = bench_map(sizeof *s);

        *s = (struct state){.first = c->a, .last = c->b, .step = (uint32_t)c->c, .n_arrays = (uint32_t)(c->c >> 32)};
        bench_pin(0);
        if (!a->resize)
                return BENCH_SKIPPED;
        if (a->setup((size_t)256 << 20) < 0)
                return 1;
        bench_measure("", a, batch, s, 0.15);
        return 0;
}

/* first, last, step, and how many grow at once */
#define ARRAYS(n) ((uint64_t)(n) << 32)
static const struct bench_case cases[] = {{"append-64B-to-16K", 64, 16384, 64},
                                          {"append-4K-to-1M", 4096, 1 << 20, 4096},
                                          {"double-16B-to-4M", 16, 4 << 20, 0},
                                          {"100-append-64B-to-4K", 64, 4096, ARRAYS(100) | 64},
                                          {"1000-double-16B-to-1K", 16, 1024, ARRAYS(1000)},
                                          {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "resize",    "What it costs to let a block grow by realloc, from first to last.",
                cases,       BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
