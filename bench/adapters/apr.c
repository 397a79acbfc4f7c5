/* APR's relocatable memory manager in APR's shared memory, with the lock that several processes need. */
#include <apr_errno.h>
#include <apr_general.h>
#include <apr_rmm.h>
#include <apr_shm.h>
#include <stdio.h>

#include "common/bench.h"

static apr_rmm_t *rmm;

static int
setup(size_t capacity)
{
        apr_anylock_t lock = {.type = apr_anylock_procmutex};
        apr_pool_t *pool;
        apr_shm_t *shm;

        if (apr_initialize() != APR_SUCCESS || apr_pool_create(&pool, NULL) != APR_SUCCESS ||
            apr_shm_create(&shm, capacity, NULL, pool) != APR_SUCCESS ||
            apr_proc_mutex_create(&lock.lock.pm, NULL, APR_LOCK_PROC_PTHREAD, pool) != APR_SUCCESS ||
            apr_rmm_init(&rmm, &lock, apr_shm_baseaddr_get(shm), capacity, pool) != APR_SUCCESS) {
                fprintf(stderr, "apr: cannot make a heap of %zu bytes\n", capacity);
                return -1;
        }
        return 0;
}

static void *
take(size_t size)
{
        apr_rmm_off_t off = apr_rmm_malloc(rmm, size);

        return off == 0 ? NULL : apr_rmm_addr_get(rmm, off);
}

static void
give(void *p)
{
        (void)apr_rmm_free(rmm, apr_rmm_offset_get(rmm, p));
}

static void *
resize(void *p, size_t size)
{
        apr_rmm_off_t off = apr_rmm_realloc(rmm, p, size);

        return off == 0 ? NULL : apr_rmm_addr_get(rmm, off);
}

const struct bench_allocator bench_adapter = {.name = "apr",
                                              .is_shared = true,
                                              .setup = setup,
                                              .take = take,
                                              .give = give,
                                              .resize = resize,
                                              .is_slow = true,
                                              .workers_max = 1};
