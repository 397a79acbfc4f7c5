/*
 * heaps - one thread uses several heaps: two or 64 in turns, each by its handle; and blocks of another heap than the
 * default one, or of 64 in turns, are freed by who does not know which.
 */
#include "common/bench.h"

enum { HEAPS_MAX = 64, BLOCK_BYTES = 64 };

struct state {
        uint64_t n; /* a power of two */
        void *heap[HEAPS_MAX];
};

static void
in_turns(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->heap_take) take = a->family->heap_take;
        __typeof__(a->family->heap_give) give = a->family->heap_give;
        const struct state *s = arg;

        for (uint64_t i = 0; i < n; i++) {
                void *heap = s->heap[i & (s->n - 1)], *p = take(heap, BLOCK_BYTES);

                *(volatile char *)p = 1;
                give(heap, p);
        }
}

static void
freed_from_another(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->heap_take) take = a->family->heap_take;
        const struct state *s = arg;
        void (*give)(void *) = a->give;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(s->heap[i & (s->n - 1)], BLOCK_BYTES);

                *(volatile char *)p = 1;
                give(p);
        }
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state s = {.n = c->a};
        bench_batch_fn *work;

        if (!a->family || !a->family->heap_new)
                return BENCH_SKIPPED;
        bench_pin(0);
        if (a->setup((size_t)256 << 20) < 0)
                return 1;
        for (uint64_t i = 0; i < s.n; i++)
                bench_need(a, s.heap[i] = a->family->heap_new());
        work = c->b ? freed_from_another : in_turns;
        work(a, &s, 16 * s.n); /* the first block of each heap is another matter */
        bench_measure("", a, work, &s, 0.06);
        return 0;
}

static const struct bench_case cases[] = {
        {"2", 2, 0, 0}, {"64", 64, 0, 0}, {"another", 1, 1, 0}, {"another-of-64", 64, 1, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "heaps",     "What a pair of malloc and free costs where a thread uses several heaps.",
                cases,       .allocators = BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
