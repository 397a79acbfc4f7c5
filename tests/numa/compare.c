/*
 * What else there is: the same work with this library, with a malloc on one shared mapping whose pages are placed by
 * first touch, and with the process's own malloc.  Workers on all nodes pass blocks on to each other, which free them;
 * in the end each allocates what it works on, and the pages of that are looked up.
 *
 * usage: compare shmalloc|mapping|malloc [ROUNDS]
 *
 * With "malloc" the workers are threads, otherwise processes.
 */
#include <errno.h>
#include <numa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "helper.h"
#include "shmalloc/shmalloc.h"

enum { WORKERS_MAX = 32, BLOCKS = 6000, OWN_BLOCKS = 8000 };

struct exchange {
        pthread_barrier_t barrier;
        void *block[WORKERS_MAX][BLOCKS];
        struct pages pages[WORKERS_MAX];
};

static struct exchange *exchange;
static uint32_t n_workers, n_nodes, n_rounds = 6;
static shheap *heap;

/* ------------------------------------------------------------------ a malloc on one mapping */

enum { LISTS = 48 };

struct mapping {
        pthread_mutex_t mutex;
        char *top, *end;
        void *list[LISTS]; /* free blocks of 2^i bytes */
};

static struct mapping *mapping;

static uint32_t
list_of(size_t size)
{
        uint32_t i = 5;

        while (((size_t)1 << i) < size + 16)
                i++;
        return i;
}

static void *
mapping_malloc(size_t size)
{
        uint32_t i = list_of(size);
        char *p;

        pthread_mutex_lock(&mapping->mutex);
        p = mapping->list[i];
        if (p)
                memcpy(&mapping->list[i], p + 16, sizeof(void *));
        else if (mapping->end - mapping->top >= (ptrdiff_t)1 << i) {
                p = mapping->top;
                mapping->top += (size_t)1 << i;
        }
        pthread_mutex_unlock(&mapping->mutex);
        if (!p)
                return NULL;
        memcpy(p, &i, sizeof i);
        return p + 16;
}

static void
mapping_free(void *block)
{
        uint32_t i;

        memcpy(&i, (char *)block - 16, sizeof i);
        pthread_mutex_lock(&mapping->mutex);
        memcpy(block, &mapping->list[i], sizeof(void *));
        mapping->list[i] = (char *)block - 16;
        pthread_mutex_unlock(&mapping->mutex);
}

static void *
map_shared(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        MUST(p != MAP_FAILED, "%s", strerror(errno));
        return p;
}

static void
mapping_make(void)
{
        size_t bytes = (size_t)1 << 30;
        pthread_mutexattr_t attr;
        char *p = map_shared(bytes);

        mapping = (struct mapping *)(void *)p;
        pthread_mutexattr_init(&attr);
        pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_mutex_init(&mapping->mutex, &attr);
        mapping->top = p + 4096;
        mapping->end = p + bytes;
}

/* ------------------------------------------------------------------ the one that is asked for */

static void *
heap_malloc(size_t size)
{
        return shheap_malloc(heap, size);
}

static void
heap_free(void *p)
{
        shheap_free(heap, p);
}

static const struct allocator {
        const char *name;
        void *(*malloc)(size_t size);
        void (*free)(void *p);
} allocators[] = {
        {"shmalloc", heap_malloc, heap_free},
        {"mapping", mapping_malloc, mapping_free},
        {"malloc", malloc, free},
};

static const struct allocator *allocator;

/* ------------------------------------------------------------------ a worker */

static size_t
size_of_turn(uint32_t i)
{
        return i % 8 == 7 ? 4000 + i % 5 * 2000 : 64 + i * 37 % 900;
}

static void *
allocate(uint32_t i)
{
        size_t size = size_of_turn(i);
        void *p = allocator->malloc(size);

        MUST(p != NULL, "%zu bytes: %s", size, strerror(errno));
        return memset(p, 1, size);
}

/* In each round one half of its blocks is freed by itself, one by a worker of another node. */
static void
work(uint32_t worker)
{
        void **own = exchange->block[worker], **others = exchange->block[(worker + 1) % n_workers];
        struct pages pages = {0, 0};

        run_on(worker % n_nodes);
        for (uint32_t round = 0; round < n_rounds; round++) {
                for (uint32_t i = 0; i < BLOCKS; i++)
                        own[i] = allocate(i + round);
                pthread_barrier_wait(&exchange->barrier);
                for (uint32_t i = 0; i < BLOCKS; i++)
                        allocator->free(i % 2 == 0 ? own[i] : others[i]);
                pthread_barrier_wait(&exchange->barrier);
        }
        for (uint32_t i = 0; i < OWN_BLOCKS; i++)
                pages_add(&pages, allocate(i), size_of_turn(i), (int)(worker % n_nodes));
        exchange->pages[worker] = pages;
        pthread_barrier_wait(&exchange->barrier);
}

static void *
work_thread(void *arg)
{
        work((uint32_t)(uintptr_t)arg);
        return NULL;
}

static void
run_threads(void)
{
        pthread_t threads[WORKERS_MAX];

        for (uint32_t i = 0; i < n_workers; i++)
                MUST(pthread_create(&threads[i], NULL, work_thread, (void *)(uintptr_t)i) == 0, "thread %u", i);
        for (uint32_t i = 0; i < n_workers; i++)
                pthread_join(threads[i], NULL);
}

static void
run_processes(void)
{
        pid_t pids[WORKERS_MAX];
        int status;

        for (uint32_t i = 0; i < n_workers; i++) {
                pids[i] = fork();
                MUST(pids[i] >= 0, "%s", strerror(errno));
                if (pids[i] == 0) {
                        work(i);
                        exit(0);
                }
        }
        for (uint32_t i = 0; i < n_workers; i++)
                MUST(waitpid(pids[i], &status, 0) == pids[i] && status == 0, "worker %u: status %#x", i, status);
}

int
main(int argc, char **argv)
{
        pthread_barrierattr_t attr;
        struct pages sum = {0, 0};

        for (size_t i = 0; argc > 1 && i < sizeof allocators / sizeof allocators[0]; i++)
                if (strcmp(argv[1], allocators[i].name) == 0)
                        allocator = &allocators[i];
        if (!allocator) {
                fprintf(stderr, "usage: compare shmalloc|mapping|malloc [ROUNDS]\n");
                return 2;
        }
        if (numa_available() < 0 || numa_max_node() == 0) {
                fprintf(stderr, "compare: this machine has one NUMA node: there is nothing to compare\n");
                return 77;
        }
        if (argc > 2)
                n_rounds = (uint32_t)atoi(argv[2]);
        n_nodes = (uint32_t)numa_max_node() + 1;
        n_workers = 2 * n_nodes;
        exchange = map_shared(sizeof *exchange);
        pthread_barrierattr_init(&attr);
        pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
        pthread_barrier_init(&exchange->barrier, &attr, n_workers);
        if (allocator->malloc == heap_malloc)
                MUST(shheap_open(&heap, "numa-compare", SHHEAP_CREATE, NULL) == 0, "%s", shheap_errormsg());
        if (allocator->malloc == mapping_malloc)
                mapping_make();
        if (allocator->malloc == malloc)
                run_threads();
        else
                run_processes();
        if (heap)
                shheap_unlink("numa-compare");
        for (uint32_t i = 0; i < n_workers; i++) {
                sum.n += exchange->pages[i].n;
                sum.n_right += exchange->pages[i].n_right;
        }
        printf("%s%s: %u workers on %u nodes, %u rounds: %lu of %lu pages of the last blocks are local, %.2f %%\n",
               argv[1], argc > 3 ? argv[3] : "", n_workers, n_nodes, n_rounds, (unsigned long)sum.n_right,
               (unsigned long)sum.n, 100.0 * (double)sum.n_right / (double)sum.n);
        return allocator->malloc == heap_malloc && sum.n_right * 100 < sum.n * 99;
}
