/*
 * rows.c - what is measured.  Each row has a process and a heap of its own.
 *
 * Nothing depends on the clock: unused memory is never given back by itself, and the thread stays on one processor, so
 * that the same build executes the same instructions again.
 */
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "against/against.h"

/* Hits take 3 ns: many more of them make a stretch. */
enum { BLOCKS_MAX = 8192, PAIRS = 1000, HIT_PAIRS = 100000, N_LIVE = 32 };

static const struct library *lib;
static const struct row *row;
static shheap *heap;
static char heap_name[48];
static void **block;       /* shared with children */
static uint32_t *is_ready; /* the same */
static uint64_t random_state = 88172645463325252;

static void
fail(const char *what)
{
        fprintf(stderr, "against: %s: %s: %s\n", row->name, what, lib->shheap_errormsg());
        exit(1);
}

static void *
need(void *p)
{
        if (!p)
                fail("no memory");
        return p;
}

static void
must(int err, const char *what)
{
        if (err < 0)
                fail(what);
}

static void *
map_shared(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (p == MAP_FAILED) {
                perror("against: mmap");
                exit(1);
        }
        return p;
}

static void
open_heap(unsigned flags)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.capacity = (uint64_t)1 << 30;
        attr.conf = "decay_ms:-1";
        must(lib->shheap_open(&heap, heap_name, flags, &attr), "open");
}

void
rows_begin(const struct library *with, const struct row *of)
{
        lib = with;
        row = of;
        block = map_shared(BLOCKS_MAX * sizeof *block);
        is_ready = map_shared(sizeof *is_ready);
        snprintf(heap_name, sizeof heap_name, "against-%ld", (long)getpid());
        open_heap(SHHEAP_CREATE | SHHEAP_EXCL);
        must(lib->shheap_set_default(heap), "set default");
}

void
rows_end(void)
{
        must(lib->shheap_unlink(heap_name), "unlink");
}

static uint32_t
random_below(uint32_t n)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (uint32_t)((random_state >> 32) * n >> 32);
}

/* ------------------------------------------------------------------ hits: a is the size */

static void
pairs_of_default(void)
{
        __typeof__(lib->shmalloc) take = lib->shmalloc;
        __typeof__(lib->shfree) give = lib->shfree;
        size_t size = row->a;

        measure_begin();
        for (int i = 0; i < HIT_PAIRS; i++)
                give(take(size));
        measure_end(HIT_PAIRS);
}

static void
pairs_of_heap(void)
{
        __typeof__(lib->shheap_malloc) take = lib->shheap_malloc;
        __typeof__(lib->shheap_free) give = lib->shheap_free;
        shheap *h = heap;
        size_t size = row->a;

        measure_begin();
        for (int i = 0; i < HIT_PAIRS; i++)
                give(h, take(h, size));
        measure_end(HIT_PAIRS);
}

/* ------------------------------------------------------------------ misses and drains: a is the size, b how many */

static void
take_all(void)
{
        for (uint64_t i = 0; i < row->b; i++)
                block[i] = need(lib->shmalloc(row->a));
}

static void
give_all(void)
{
        for (uint64_t i = 0; i < row->b; i++)
                lib->shfree(block[i]);
}

static void
misses(void)
{
        measure_begin();
        take_all();
        measure_end(row->b);
        give_all();
}

static void
drains(void)
{
        take_all();
        measure_begin();
        give_all();
        measure_end(row->b);
}

/* Does `fn` in a process that is dead before this returns, with all that it has cached. */
static void
in_child(void (*fn)(void))
{
        pid_t pid;

        __atomic_store_n(is_ready, 0, __ATOMIC_RELAXED);
        pid = fork();
        if (pid < 0) {
                perror("against: fork");
                exit(1);
        }
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                fn();
                __atomic_store_n(is_ready, 1, __ATOMIC_RELEASE);
                raise(SIGKILL);
        }
        waitpid(pid, NULL, 0);
        if (!__atomic_load_n(is_ready, __ATOMIC_ACQUIRE)) {
                fprintf(stderr, "against: %s: a child did not do its part\n", row->name);
                exit(1);
        }
}

/* Blocks that another process allocated. */
static void
foreign_drains(void)
{
        in_child(take_all);
        must(lib->shheap_reap(heap), "reap");
        measure_begin();
        give_all();
        measure_end(row->b);
}

/* ------------------------------------------------------------------ other ways to a block: a is the size */

static void
callocs(void)
{
        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                lib->shheap_free(heap, need(lib->shheap_calloc(heap, 1, row->a)));
        measure_end(PAIRS);
}

static void
aligned(void)
{
        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                lib->shheap_free(heap, need(lib->shheap_aligned_alloc(heap, row->b, row->a)));
        measure_end(PAIRS);
}

static void
without_cache(void)
{
        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                lib->shheap_free(heap, need(lib->shheap_mallocx(heap, row->a, SHA_TCACHE_NONE)));
        measure_end(PAIRS);
}

/* From a to b, doubled each time; what is counted is a realloc. */
static void
reallocs(void)
{
        uint64_t n = 0;

        measure_begin();
        for (int i = 0; i < (row->b <= 16384 ? 20 : 2); i++) {
                void *p = need(lib->shheap_malloc(heap, row->a));

                for (size_t size = 2 * row->a; size <= row->b; size *= 2, n++)
                        p = need(lib->shheap_realloc(heap, p, size));
                lib->shheap_free(heap, p);
        }
        measure_end(n);
}

/* Between sizes of one class. */
static void
reallocs_in_place(void)
{
        char *p = need(lib->shheap_malloc(heap, row->a));

        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                p = need(lib->shheap_realloc(heap, p, i % 2 ? row->a : row->b));
        measure_end(PAIRS);
        lib->shheap_free(heap, p);
}

static void
handed_over(void)
{
        shref *dest = need(lib->shheap_malloc(heap, sizeof *dest));

        *dest = SHREF_NULL;
        measure_begin();
        for (int i = 0; i < PAIRS; i++) {
                need(lib->shheap_malloc_to(heap, row->a, 0, dest));
                must(lib->shheap_free_from(heap, dest), "free_from");
        }
        measure_end(PAIRS);
        lib->shheap_free(heap, dest);
}

/* One of 32 blocks is replaced by a new one of a to 2 a bytes, b times. */
static void
replaced(void)
{
        measure_begin();
        for (uint64_t i = 0; i < row->b; i++) {
                uint32_t at = random_below(N_LIVE);

                if (block[at])
                        lib->shfree(block[at]);
                block[at] = need(lib->shmalloc(row->a + random_below((uint32_t)row->a)));
        }
        measure_end(row->b);
}

static void
usable_sizes(void)
{
        void *p = need(lib->shheap_malloc(heap, row->a));
        size_t sum = 0;

        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                sum += lib->shheap_usable_size(heap, p);
        measure_end(PAIRS);
        lib->shheap_free(heap, p);
        if (sum < PAIRS * row->a)
                fail("a usable size that is none");
}

/* ------------------------------------------------------------------ names */

static int
init(void *obj, size_t size, void *arg)
{
        (void)arg;
        memset(obj, 0, size);
        return 0;
}

static void
roots_made(void)
{
        enum { N = 50 };
        void *obj;

        measure_begin();
        for (int i = 0; i < N; i++) {
                must(lib->shheap_root(heap, "row", row->a, 0, init, NULL, &obj), "root");
                must(lib->shheap_root_remove(heap, "row"), "root_remove");
        }
        measure_end(N);
}

static void
roots_found(void)
{
        void *obj;

        must(lib->shheap_root(heap, "row", row->a, 0, init, NULL, &obj), "root");
        measure_begin();
        for (int i = 0; i < PAIRS; i++)
                must(lib->shheap_root(heap, "row", row->a, 0, init, NULL, &obj), "root");
        measure_end(PAIRS);
}

/* ------------------------------------------------------------------ coming and going */

static void
open_and_close(unsigned flags)
{
        measure_begin();
        open_heap(flags);
        lib->shheap_free(heap, need(lib->shheap_malloc(heap, 64)));
        must(lib->shheap_close(heap), "close");
        measure_end(1);
}

/* The heap is there, and open nowhere in this process. */
static void
opened(void)
{
        if (heap)
                must(lib->shheap_close(heap), "close");
        open_and_close(0);
        heap = NULL;
}

static void
created(void)
{
        if (heap)
                must(lib->shheap_close(heap), "close");
        must(lib->shheap_unlink(heap_name), "unlink");
        open_and_close(SHHEAP_CREATE | SHHEAP_EXCL);
        heap = NULL;
}

static void *
first_call(void *arg)
{
        measure_begin();
        lib->shheap_free(heap, need(lib->shheap_malloc(heap, 64)));
        measure_end(1);
        return arg;
}

/* A thread's first call, with which it is attached. */
static void
attached(void)
{
        pthread_t thread;

        if (pthread_create(&thread, NULL, first_call, NULL) != 0 || pthread_join(thread, NULL) != 0) {
                fprintf(stderr, "against: no thread\n");
                exit(1);
        }
}

/* So many classes of small blocks, cached by who is to die. */
static void
fill_caches(void)
{
        size_t size = 16;

        for (uint64_t i = 0; i < row->a; i++, size += size < 128 ? 16 : size / 2) {
                void *p[256];

                for (int k = 0; k < 256; k++)
                        p[k] = need(lib->shheap_malloc(heap, size));
                for (int k = 0; k < 256; k++)
                        lib->shheap_free(heap, p[k]);
        }
}

static uint64_t
n_reaped(void)
{
        uint64_t n = 0;
        size_t length = sizeof n;

        must(lib->shheap_ctl(heap, "stats.reaped", &n, &length, NULL, 0), "stats.reaped");
        return n;
}

static void
reaped(void)
{
        uint64_t before;
        int err;

        in_child(fill_caches);
        before = n_reaped();
        measure_begin();
        err = lib->shheap_reap(heap); /* what it gives has not always meant the same */
        measure_end(1);
        must(err, "reap");
        if (n_reaped() == before)
                fail("nobody was reaped");
}

/* ------------------------------------------------------------------ looking, and giving back */

static void
checked(void)
{
        static bool is_full;

        if (!is_full) /* every other one stays */
                for (int i = 0; i < BLOCKS_MAX; i++)
                        block[i] = need(lib->shmalloc(16 + random_below(1024)));
        for (int i = 0; i < BLOCKS_MAX && !is_full; i += 2)
                lib->shfree(block[i]);
        is_full = true;
        measure_begin();
        must(lib->shheap_check(heap, 0, NULL), "check");
        measure_end(1);
}

static void
purged(void)
{
        for (uint64_t i = 0; i < row->b; i++)
                memset(block[i] = need(lib->shmalloc(row->a)), 1, row->a);
        give_all();
        measure_begin();
        must(lib->shheap_purge(heap, -1), "purge");
        measure_end(1);
}

const struct row rows[] = {
        {"pair-16", "shmalloc and shfree of 16 bytes, hits", ROW_HIT, pairs_of_default, 16, 0},
        {"pair-64", "the same of 64", ROW_HIT, pairs_of_default, 64, 0},
        {"pair-1K", "the same of 1 KiB", ROW_HIT, pairs_of_default, 1024, 0},
        {"pair-4K", "the same of 4 KiB", ROW_HIT, pairs_of_default, 4096, 0},
        {"pair-heap-64", "shheap_malloc and shheap_free of 64 bytes, hits", ROW_HIT, pairs_of_heap, 64, 0},
        {"miss-64", "8192 blocks of 64 bytes, allocated: hits and fills", ROW_SLOW, misses, 64, 8192},
        {"miss-1K", "1024 of 1 KiB", ROW_SLOW, misses, 1024, 1024},
        {"miss-16K", "256 of 16 KiB", ROW_SLOW, misses, 16384, 256},
        {"drain-64", "8192 blocks of 64 bytes, freed: hits and drains", ROW_SLOW, drains, 64, 8192},
        {"drain-1K", "1024 of 1 KiB", ROW_SLOW, drains, 1024, 1024},
        {"drain-16K", "256 of 16 KiB", ROW_SLOW, drains, 16384, 256},
        {"foreign-64", "4096 blocks of 64 bytes, of another process", ROW_SLOW, foreign_drains, 64, 4096},
        {"calloc-64", "calloc and free of 64 bytes", ROW_SLOW, callocs, 64, 0},
        {"calloc-4K", "the same of 4 KiB", ROW_SLOW, callocs, 4096, 0},
        {"calloc-64K", "the same of 64 KiB", ROW_SLOW, callocs, 65536, 0},
        {"aligned-256", "aligned_alloc of 100 bytes at 256, and free", ROW_SLOW, aligned, 100, 256},
        {"no-cache-64", "64 bytes past the caches, and free", ROW_SLOW, without_cache, 64, 0},
        {"realloc-same", "realloc between 100 and 110 bytes, in place", ROW_SLOW, reallocs_in_place, 100, 110},
        {"realloc-small", "realloc by doubling, 16 bytes to 16 KiB", ROW_SLOW, reallocs, 16, 16384},
        {"realloc-large", "the same, 32 KiB to 2 MiB", ROW_SLOW, reallocs, 32768, 2 << 20},
        {"realloc-huge", "the same, 4 MiB to 64 MiB", ROW_SLOW, reallocs, 4 << 20, 64 << 20},
        {"to-64", "shheap_malloc_to and shheap_free_from of 64 bytes", ROW_SLOW, handed_over, 64, 0},
        {"to-64K", "the same of 64 KiB", ROW_SLOW, handed_over, 65536, 0},
        {"large", "one of 32 live blocks of 64 to 128 KiB is replaced", ROW_SLOW, replaced, 65536, 200},
        {"larger", "the same, 512 KiB to 1 MiB", ROW_SLOW, replaced, 512 << 10, 200},
        {"huge", "the same, 4 to 8 MiB", ROW_SLOW, replaced, 4 << 20, 50},
        {"usable-64", "shheap_usable_size", ROW_SLOW, usable_sizes, 64, 0},
        {"root-made", "shheap_root of 256 bytes and shheap_root_remove", ROW_SLOW, roots_made, 256, 0},
        {"root-found", "shheap_root of a name that is there", ROW_SLOW, roots_found, 256, 0},
        {"create", "a heap is made, gives a block, is closed", ROW_SLOW, created, 0, 0},
        {"open", "a heap that is there is opened, gives a block, is closed", ROW_SLOW, opened, 0, 0},
        {"attach", "a thread's first malloc, and free", ROW_SLOW, attached, 0, 0},
        {"reap", "one who was killed with 8 classes in its caches", ROW_SLOW, reaped, 8, 0},
        {"check", "shheap_check of 4096 blocks", ROW_SLOW, checked, 0, 0},
        {"purge", "shheap_purge of 16 MiB", ROW_SLOW, purged, 256 << 10, 64},
        {NULL, NULL, ROW_SLOW, NULL, 0, 0}};
