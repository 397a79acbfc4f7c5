/* This project: a heap as anybody gets it, with default options. */
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bench.h"
#include "shmalloc/shmalloc.h"

static shheap *heap;

static int
setup(size_t capacity)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.capacity = capacity;
        if (shheap_open(&heap, bench_heap_name(), SHHEAP_CREATE | SHHEAP_EXCL, &attr) < 0 ||
            shheap_set_default(heap) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return -1;
        }
        return 0;
}

static size_t
backing(void)
{
        int fd = shheap_dup_fd(heap, SHHEAP_RDONLY);
        struct stat st = {0};

        if (fd >= 0) {
                fstat(fd, &st);
                close(fd);
        }
        return (size_t)st.st_blocks * 512;
}

/* The tables are what lies before the blocks. */
static size_t
tables(void)
{
        int fd = shheap_dup_fd(heap, SHHEAP_RDONLY);
        uint64_t capacity = 0;
        size_t len = sizeof capacity, bytes = 0;
        struct stat st = {0};
        off_t end, data = 0, hole;

        if (fd < 0 || fstat(fd, &st) < 0 || shheap_ctl(heap, "heap.max_capacity", &capacity, &len, NULL, 0) < 0) {
                fprintf(stderr, "cannot look at the heap's file: %s\n", shheap_errormsg());
                exit(EXIT_FAILURE);
        }
        end = st.st_size - (off_t)capacity;
        while ((data = lseek(fd, data, SEEK_DATA)) >= 0 && data < end && (hole = lseek(fd, data, SEEK_HOLE)) > data) {
                bytes += (size_t)((hole < end ? hole : end) - data);
                data = hole;
        }
        close(fd);
        return bytes;
}

static void
reopen(void)
{
        shheap *h;

        if (shheap_open(&h, bench_heap_name(), 0, NULL) < 0)
                fprintf(stderr, "%s\n", shheap_errormsg());
        else
                shheap_set_default(h);
}

static void
teardown(void)
{
        (void)shheap_unlink(bench_heap_name());
}

/* ------------------------------------------------------------------ the rest of the family */

static void *
take_flags(size_t size)
{
        return shheap_mallocx(heap, size, 0);
}

static void *
take_to(size_t size, uint64_t *dest)
{
        return shheap_malloc_to(heap, size, 0, dest);
}

static void
give_from(uint64_t *dest)
{
        if (shheap_free_from(heap, dest) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                exit(EXIT_FAILURE);
        }
}

/* Its name goes at once: nobody else opens it, and nothing is left of it. */
static void *
heap_new(void)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        static unsigned n;
        char name[64];
        shheap *h;

        attr.capacity = (size_t)256 << 20;
        snprintf(name, sizeof name, "%.50s-%u", bench_heap_name(), ++n);
        if (shheap_open(&h, name, SHHEAP_CREATE | SHHEAP_EXCL, &attr) < 0) {
                fprintf(stderr, "%s\n", shheap_errormsg());
                return NULL;
        }
        (void)shheap_unlink(name);
        return h;
}

static void *
heap_take(void *h, size_t size)
{
        return shheap_malloc(h, size);
}

static void
heap_give(void *h, void *p)
{
        shheap_free(h, p);
}

static const struct bench_family family = {.zeroed = shcalloc,
                                           .aligned = shaligned_alloc,
                                           .usable = shmalloc_usable_size,
                                           .give_sized = shfree_sized,
                                           .copy = shstrdup,
                                           .take_flags = take_flags,
                                           .take_to = take_to,
                                           .give_from = give_from,
                                           .heap_new = heap_new,
                                           .heap_take = heap_take,
                                           .heap_give = heap_give};

const struct bench_allocator bench_adapter = {.name = "shmalloc",
                                              .is_shared = true,
                                              .setup = setup,
                                              .take = shmalloc,
                                              .give = shfree,
                                              .resize = shrealloc,
                                              .backing = backing,
                                              .tables = tables,
                                              .reopen = reopen,
                                              .teardown = teardown,
                                              .family = &family};
