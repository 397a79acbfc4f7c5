/*
 * calls.c - the calls of calls.h, each in a loop of its own.  Functions are loaded once: what is measured is they, not
 * where they are found.
 */
#include <string.h>

#include "common/calls.h"

enum { BLOCK_BYTES = 64, RESIZED_BYTES = 1000 };

static const char text[] = "twenty-three characters";

static void
zeroed(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->zeroed) take = a->family->zeroed;
        size_t size = ((const struct bench_call_state *)arg)->size;
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
        size_t size = ((const struct bench_call_state *)arg)->size;
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
        struct bench_call_state *s = arg;
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
        void *p = ((const struct bench_call_state *)arg)->block;

        for (uint64_t i = 0; i < n; i++)
                size_of(p);
}

static void
sized(const struct bench_allocator *a, void *arg, uint64_t n)
{
        __typeof__(a->family->give_sized) give = a->family->give_sized;
        size_t size = ((const struct bench_call_state *)arg)->size;
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
        size_t size = ((const struct bench_call_state *)arg)->size;
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
        size_t size = ((const struct bench_call_state *)arg)->size;
        uint64_t *dest = ((const struct bench_call_state *)arg)->block;

        *dest = 0;
        for (uint64_t i = 0; i < n; i++) {
                *(volatile char *)take(size, dest) = 1;
                give(dest);
        }
}

static const struct bench_call calls[] = {{"calloc-64", zeroed, 64},
                                          {"calloc-1024", zeroed, 1024},
                                          {"aligned-64", aligned, 64},
                                          {"aligned-4096", aligned, 4096},
                                          {"realloc-1000", resized, RESIZED_BYTES},
                                          {"usable_size", usable, BLOCK_BYTES},
                                          {"free_sized", sized, BLOCK_BYTES},
                                          {"strdup", copied, sizeof text},
                                          {"mallocx", flagged, BLOCK_BYTES},
                                          {"malloc_to", handed_over, BLOCK_BYTES}};

static bool
has(const struct bench_allocator *a, bench_batch_fn *batch)
{
        const struct bench_family *f = a->family;

        return batch == resized   ? a->resize != NULL
               : !f               ? false
               : batch == zeroed  ? f->zeroed != NULL
               : batch == aligned ? f->aligned != NULL
               : batch == usable  ? f->usable != NULL
               : batch == sized   ? f->give_sized != NULL
               : batch == copied  ? f->copy != NULL
               : batch == flagged ? f->take_flags != NULL
                                  : f->take_to && f->give_from;
}

const struct bench_call *
bench_call_of(const struct bench_allocator *a, const char *name)
{
        for (size_t i = 0; i < sizeof calls / sizeof *calls; i++)
                if (strcmp(calls[i].name, name) == 0)
                        return has(a, calls[i].batch) ? &calls[i] : NULL;
        return NULL;
}

/* malloc_to() of null writes to the block that it hands out, so what it stores there has a place of its own. */
void
bench_call_prepare(const struct bench_allocator *a, const struct bench_call *call, struct bench_call_state *ret_state)
{
        ret_state->size = call->size;
        ret_state->block = a->is_null ? bench_map(4096) : a->take(call->batch == resized ? RESIZED_BYTES : BLOCK_BYTES);
        bench_need(a, ret_state->block);
}
