/*
 * floor - the allocator that does nothing is a floor for all others only if its memory is as warm as can be: each
 * thread gets the same block of its own, whatever is asked for, by whichever call.
 */
#include <pthread.h>
#include <stdio.h>
#include <string.h>

#include "common/bench.h"

static int n_bad;

static void
check(bool is_so, const char *what)
{
        if (!is_so) {
                fprintf(stderr, "floor: %s\n", what);
                n_bad++;
        }
}

static void *
take_elsewhere(void *null)
{
        return ((const struct bench_allocator *)null)->take(64);
}

int
main(void)
{
        const struct bench_allocator *null = bench_load("null");
        const struct bench_family *f = null->family;
        void *p, *other = NULL;
        uint64_t dest = 0;
        pthread_t thread;

        check(null->setup((size_t)1 << 30) == 0, "it cannot be set up");
        p = null->take(64);
        check(null->take(64) == p, "another block each time");
        null->give(p);
        check(null->take(100 << 20) == p, "another block by size");
        check(null->resize(p, 1000) == p, "another block by realloc");
        check(f->zeroed(1, 64) == p && f->aligned(4096, 64) == p && f->take_flags(64) == p &&
                      (void *)f->copy("text") == p && f->take_to(64, &dest) == p &&
                      f->heap_take(f->heap_new(), 64) == p,
              "another block by another call");
        check(dest == (uintptr_t)p, "malloc_to stores nothing");
        f->give_from(&dest);
        check(dest == 0, "free_from leaves what was stored");
        check((uintptr_t)p % 4096 == 0, "not aligned for all");
        memset(p, 1, 20 << 20); /* as much of it as the largest question touches */
        check(pthread_create(&thread, NULL, take_elsewhere, (void *)null) == 0 && pthread_join(thread, &other) == 0 &&
                      other && other != p,
              "two threads write to one block");
        return n_bad != 0;
}
