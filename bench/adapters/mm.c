/* OSSP mm. */
#include <mm.h>
#include <stdio.h>

#include "common/bench.h"

static MM *mm;

static int
setup(size_t capacity)
{
        mm = mm_create(capacity, NULL);
        if (!mm) {
                fprintf(stderr, "mm: %s\n", mm_error());
                return -1;
        }
        return 0;
}

static void *
take(size_t size)
{
        return mm_malloc(mm, size);
}

static void
give(void *p)
{
        mm_free(mm, p);
}

static void *
resize(void *p, size_t size)
{
        return mm_realloc(mm, p, size);
}

static void
teardown(void)
{
        if (mm)
                mm_destroy(mm);
}

const struct bench_allocator bench_adapter = {.name = "mm",
                                              .is_shared = true,
                                              .setup = setup,
                                              .take = take,
                                              .give = give,
                                              .resize = resize,
                                              .is_slow = true,
                                              .workers_max = 4,
                                              .teardown = teardown};
