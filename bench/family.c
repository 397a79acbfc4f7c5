/*
 * family - what a small call costs besides malloc and free: each on a block that the caches have, again and again.
 */
#include "common/bench.h"

enum { BLOCK_BYTES = 64, RESIZED_BYTES = 1000 };

static const char text[] = "twenty-three characters";

struct state {
        size_t size;
        void *block;
};

/* The call's functions are loaded once: what is measured is they, not where they are found. */

static void
zeroed(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->zeroed) take = a->family->zeroed;
        size_t size = ((const struct state *)arg)->size;
        void (*give)(void *) = a->give;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(1, size);

                *(volatile char *)p = 1;
                give(p);
        }
}

static void
aligned(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->aligned) take = a->family->aligned;
        size_t size = ((const struct state *)arg)->size;
        void (*give)(void *) = a->give;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(size, size);

                *(volatile char *)p = 1;
                give(p);
        }
}

/* Sizes that every allocator keeps in the same block. */
static void
resized(const struct bench_allocator *a, void *arg, uint64_t n)
{
        void *(*resize)(void *, size_t) = a->resize;
        struct state *s = arg;
        void *p = s->block;

        for (uint64_t i = 0; i < n; i++) {
                p = resize(p, RESIZED_BYTES - 8 * (i & 1));
                *(volatile char *)p = 1;
        }
        s->block = p;
}

static void
usable(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->usable) size_of = a->family->usable;
        void *p = ((const struct state *)arg)->block;

        for (uint64_t i = 0; i < n; i++)
                size_of(p);
}

static void
sized(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->give_sized) give = a->family->give_sized;
        size_t size = ((const struct state *)arg)->size;
        void *(*take)(size_t) = a->take;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(size);

                *(volatile char *)p = 1;
                give(p, size);
        }
}

static void
copied(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->copy) copy = a->family->copy;
        void (*give)(void *) = a->give;

        (void)arg;
        for (uint64_t i = 0; i < n; i++)
                give(copy(text));
}

static void
flagged(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->take_flags) take = a->family->take_flags;
        size_t size = ((const struct state *)arg)->size;
        void (*give)(void *) = a->give;

        for (uint64_t i = 0; i < n; i++) {
                void *p = take(size);

                *(volatile char *)p = 1;
                give(p);
        }
}

static void
handed_over(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->take_to) take = a->family->take_to;
        __typeof__(a->family->give_from) give = a->family->give_from;
        size_t size = ((const struct state *)arg)->size;
        uint64_t *dest = ((const struct state *)arg)->block;

        *dest = 0;
        for (uint64_t i = 0; i < n; i++) {
                *(volatile char *)take(size, dest) = 1;
                give(dest);
        }
}

enum { ZEROED, ALIGNED, RESIZED, USABLE, SIZED, COPIED, FLAGGED, HANDED_OVER };
static bench_batch_fn *const batches[] = {
        [ZEROED] = zeroed, [ALIGNED] = aligned, [RESIZED] = resized, [USABLE] = usable,
        [SIZED] = sized,   [COPIED] = copied,   [FLAGGED] = flagged, [HANDED_OVER] = handed_over};

static bool
has(const struct bench_allocator *a, uint64_t what)
{
        const struct bench_family *f = a->family;

        switch (what) {
        case ZEROED:
                return f && f->zeroed;
        case ALIGNED:
                return f && f->aligned;
        case RESIZED:
                return a->resize;
        case USABLE:
                return f && f->usable;
        case SIZED:
                return f && f->give_sized;
        case COPIED:
                return f && f->copy;
        case FLAGGED:
                return f && f->take_flags;
        default:
                return f && f->take_to && f->give_from;
        }
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        struct state s = {.size = c->b};

        if (!has(a, c->a))
                return BENCH_SKIPPED;
        bench_pin(0);
        if (a->setup((size_t)256 << 20) < 0)
                return 1;
        /* malloc_to() of null writes to the block that it hands out, so what it stores there has a place of its own. */
        s.block = a->is_null ? bench_map(4096) : a->take(c->a == RESIZED ? RESIZED_BYTES : BLOCK_BYTES);
        bench_need(a, s.block);
        bench_measure("", a, batches[c->a], &s, 0.06);
        return 0;
}

static const struct bench_case cases[] = {{"calloc-64", ZEROED, 64, 0},
                                          {"calloc-1024", ZEROED, 1024, 0},
                                          {"aligned-64", ALIGNED, 64, 0},
                                          {"aligned-4096", ALIGNED, 4096, 0},
                                          {"realloc-1000", RESIZED, RESIZED_BYTES, 0},
                                          {"usable_size", USABLE, BLOCK_BYTES, 0},
                                          {"free_sized", SIZED, BLOCK_BYTES, 0},
                                          {"strdup", COPIED, sizeof text, 0},
                                          {"mallocx", FLAGGED, BLOCK_BYTES, 0},
                                          {"malloc_to", HANDED_OVER, BLOCK_BYTES, 0},
                                          {NULL, 0, 0, 0}};

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
