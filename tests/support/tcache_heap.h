/*
 * tcache_heap.h - a heap and this thread's tcache in it, and blocks taken and given through that, for the tests of
 * tcaches.  Included by one source of a program.
 */
#ifndef SUPPORT_TCACHE_HEAP_H
#define SUPPORT_TCACHE_HEAP_H

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "blocks/fault.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "tcache/tcache.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct tcache *t;
static struct live live;

static inline struct tcache *
attach(void)
{
        int err;
        struct tcache *got = tcache_get(&fx.heap, &err);

        ck_assert_msg(got != NULL, "tcache_get: %s: %s", strerror(-err), error_message());
        return got;
}

static inline void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 4});
        t = attach();
}

static inline void
setup_two_nodes(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 4, .n_nodes = 2});
        t = attach();
}

static inline void
teardown(void)
{
        tcache_forget(&fx.heap);
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static inline uint64_t
off_of(const void *p)
{
        return (uint64_t)((const char *)p - r->chunks);
}

/* As the public calls do it.  *ret_hit: the slow path was not needed. */
static inline void *
take(size_t bytes, bool *ret_hit)
{
        unsigned class_idx1 = bytes <= SIZE_CLASS_BY_SIZE_MAX ? t->by_size[bytes] : size_class_of(bytes) + 1;
        void *p = NULL;

        if (bytes > GEO_LARGE_MAX)
                class_idx1 = UINT32_MAX;
        *ret_hit = class_idx1 <= TAG_CLASSES ? tcache_pop(t, class_idx1, &p)
                                             : bytes <= SIZE_CLASS_HUGE_MAX && tcache_pop_huge(t, bytes, &p);
        if (!*ret_hit && class_idx1 <= TAG_CLASSES)
                p = tcache_malloc_spare(t, class_idx1);
        if (!*ret_hit && !p)
                p = ask_tcache(t, bytes);
        if (p)
                live_add(&live, off_of(p));
        return p;
}

static inline void *
alloc(size_t bytes)
{
        bool hit;
        void *p = take(bytes, &hit);

        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        return p;
}

static inline bool
give(uint64_t block_off)
{
        void *p = region_block(r, block_off);
        bool hit = tcache_push(t, p) || tcache_push_huge(t, p);

        if (!hit && !tcache_free_spare(t, p))
                tcache_free_slow(t, block_off);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        live_drop(&live, block_off);
        return hit;
}

static inline uint32_t
cap_of(uint32_t class_idx)
{
        return size_class_magazine_cap(class_idx);
}

static inline struct thread *
thread(void)
{
        return &t->thread;
}

/* Runs fn in a thread of its own, from beginning to end. */
static inline void *
in_thread(void *(*fn)(void *), void *arg)
{
        pthread_t pthread;
        void *result;

        ck_assert_int_eq(pthread_create(&pthread, NULL, fn, arg), 0);
        ck_assert_int_eq(pthread_join(pthread, &result), 0);
        return result;
}

#endif
