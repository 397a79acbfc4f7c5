/*
 * idle - what a thread keeps that has used one block of each small class and then waits.  Of several threads, so that
 * what they share counts little; the main thread has done the same before, so what is made once is there already.  What
 * null has is the thread itself, its stack above all.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/bench.h"

enum { N_THREADS = 32, SMALL_MAX = 32 << 10 };

static const struct bench_allocator *allocator;
static pthread_barrier_t barrier; /* all have done it; all have been measured */

/* The sizes of classes with four steps in each doubling, which is what most allocators have, or finer ones. */
static void
use_each_class(void)
{
        for (size_t size = 16; size <= SMALL_MAX; size += size < 128 ? 16 : (size_t)1 << (61 - __builtin_clzll(size))) {
                void *p = allocator->take(size);

                bench_need(allocator, p);
                *(volatile char *)p = 1;
                allocator->give(p);
        }
}

static void *
thread_main(void *arg)
{
        use_each_class();
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        return arg;
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        pthread_t thread[N_THREADS];
        size_t before;

        if (a->is_shared && !a->family)
                return BENCH_SKIPPED; /* what caches nothing has nothing to tell */
        allocator = a;
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        use_each_class();
        pthread_barrier_init(&barrier, NULL, (unsigned)c->a + 1);
        before = bench_resident(a);
        for (uint64_t i = 0; i < c->a; i++)
                if (pthread_create(&thread[i], NULL, thread_main, NULL) != 0) {
                        fprintf(stderr, "no thread\n");
                        return 1;
                }
        pthread_barrier_wait(&barrier);
        bench_value("memory", "KiB", BENCH_TIME, ((double)bench_resident(a) - (double)before) / 1024 / (double)c->a);
        pthread_barrier_wait(&barrier);
        for (uint64_t i = 0; i < c->a; i++)
                pthread_join(thread[i], NULL);
        return 0;
}

static const struct bench_case cases[] = {{"thread", N_THREADS, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "idle",      "What memory a thread keeps that has used one block of each small class, and waits.",
                cases,       .allocators = BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 3, .run = run};

        return bench_main(argc, argv, &question);
}
