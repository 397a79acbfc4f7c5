/* This project: a heap as anybody gets it, with default options. */
#include <stdio.h>
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

const struct bench_allocator bench_adapter = {.name = "shmalloc",
                                              .is_shared = true,
                                              .setup = setup,
                                              .take = shmalloc,
                                              .give = shfree,
                                              .resize = shrealloc,
                                              .backing = backing,
                                              .reopen = reopen,
                                              .teardown = teardown};
