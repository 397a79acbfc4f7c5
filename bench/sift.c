/*
 * sift - a magazine is about to leave its thread's hands: what does it cost, per block of it, to look for blocks that
 * are in there twice and for pointers that are no start of one.  By the order in which blocks were freed, and by
 * whether the thread has another magazine of the class, which is looked at, too.  Calls the library's insides: no other
 * allocator has a place in this.
 */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "base/size_class.h"
#include "blocks/magazine.h"
#include "blocks/sift.h"
#include "tcache/tcache.h"
#include <shmalloc/shmalloc.h>

enum { N_MAGAZINES = 64, ROUNDS = 200, REPEATS = 20 };

static double
seconds_now(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

static uint64_t
random_below(uint64_t n)
{
        static uint64_t state = 88172645463325252;

        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        return state % n;
}

static uint32_t
magazine_of(struct thread *t, uint32_t tag, void *const *p)
{
        uint32_t idx, cap = size_class_magazine_cap(tag_class(tag));

        if (magazine_take_empty(t, tag, &idx) < 0)
                exit(1);
        for (uint32_t i = 0; i < cap; i++)
                t->region->magazines[idx].slot[i] = (uint64_t)(uintptr_t)p[i];
        t->region->magazines[idx].n = cap;
        t->slot->hand = 0; /* they are named nowhere, and nobody dies */
        return idx;
}

/* The least of several runs: the machine has other work. */
static double
ns_per_block(struct thread *t, uint32_t tag, const uint32_t *idx, bool has_other)
{
        double best = 1e9;

        for (int k = 0; k < REPEATS; k++) {
                double start = seconds_now(), ns;

                for (int round = 0; round < ROUNDS; round++)
                        for (int i = 0; i < N_MAGAZINES; i++) {
                                if (has_other)
                                        t->slot->magazines[tag] = idx[(i + 1) % N_MAGAZINES] + 1;
                                sift_own(t, idx[i]);
                        }
                ns = (seconds_now() - start) * 1e9 / ROUNDS / N_MAGAZINES / size_class_magazine_cap(tag_class(tag));
                best = ns < best ? ns : best;
        }
        t->slot->magazines[tag] = 0;
        return best;
}

static void
measure(shheap *h, size_t size, unsigned n_slabs)
{
        uint32_t class_idx = size_class_of(size), cap = size_class_magazine_cap(class_idx), idx[N_MAGAZINES];
        uint32_t n = N_MAGAZINES * cap > n_slabs * size_class_slab_blocks(class_idx)
                             ? N_MAGAZINES * cap
                             : n_slabs * size_class_slab_blocks(class_idx);
        void **p = malloc(n * sizeof *p);
        struct thread *t;

        for (uint32_t i = 0; i < n; i++)
                p[i] = shheap_mallocx(h, size, SHA_TCACHE_NONE);
        for (uint32_t i = n - 1; n_slabs > 1 && i > 0; i--) {
                uint32_t k = (uint32_t)random_below(i + 1);
                void *was = p[i];

                p[i] = p[k];
                p[k] = was;
        }
        t = &tcache_list->thread;
        for (int i = 0; i < N_MAGAZINES; i++)
                idx[i] = magazine_of(t, tag_make(0, class_idx), &p[(uint32_t)i * cap]);
        printf("%6zu bytes, %-18s %6.2f %6.2f\n", size,
               n_slabs > 1 ? "random over slabs:" : "in order:", ns_per_block(t, tag_make(0, class_idx), idx, false),
               ns_per_block(t, tag_make(0, class_idx), idx, true));
        for (int i = 0; i < N_MAGAZINES; i++)
                t->region->magazine_words[idx[i]] = t->region->magazines[idx[i]].n = 0;
        free(p);
}

int
main(void)
{
        static const size_t sizes[] = {16, 64, 100, 1024, 3000, 28000};
        char name[64];
        shheap *h;

        snprintf(name, sizeof name, "bench-sift-%ld", (long)getpid());
        if (shheap_open(&h, name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return 1;
        }
        shheap_unlink(name);
        printf("ns per block:                    alone, beside another full magazine\n");
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                measure(h, sizes[i], 1);
                measure(h, sizes[i], 64);
        }
        return 0;
}
