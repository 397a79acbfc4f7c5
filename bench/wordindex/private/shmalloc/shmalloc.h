/*
 * What examples/wordindex uses of <shmalloc/shmalloc.h>, on top of malloc: so the same sources become a program with
 * threads and private memory.
 */
#ifndef BENCH_PRIVATE_SHMALLOC_H
#define BENCH_PRIVATE_SHMALLOC_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define SHMALLOC_IS_PRIVATE 1

typedef uint64_t shref;
typedef struct shheap {
        void *root;
} shheap;
struct shheap_attr;

enum { SHHEAP_CREATE = 1, SHHEAP_EXCL = 2, SHA_ZERO = 0x40 };
#define SHREF_NULL ((shref)0)

static shheap *const private_heap; /* the root is kept by main.c */
void *private_root(size_t size);

static inline int
shheap_open(shheap **ret_heap, const char *name, unsigned flags, const struct shheap_attr *attr)
{
        (void)name, (void)flags, (void)attr;
        *ret_heap = private_heap;
        return 0;
}

static inline int
shheap_close(shheap *h)
{
        (void)h;
        return 0;
}

static inline const char *
shheap_errormsg(void)
{
        return strerror(errno);
}

static inline int
shheap_reap(shheap *h)
{
        (void)h;
        return 0;
}

static inline int
shheap_settled(shheap *h, const shref *dest)
{
        (void)h, (void)dest;
        return 0;
}

static inline int
shheap_root(shheap *h, const char *name, size_t size, unsigned flags, int (*init)(void *, size_t, void *), void *arg,
            void **ret_obj)
{
        (void)h, (void)name, (void)flags;
        *ret_obj = private_root(size);
        return init ? init(*ret_obj, size, arg) : 0;
}

static inline int
shheap_root_remove(shheap *h, const char *name)
{
        (void)h, (void)name;
        return 0;
}

static inline void *
shheap_calloc(shheap *h, size_t n, size_t size)
{
        (void)h;
        return calloc(n, size);
}

static inline char *
shheap_strdup(shheap *h, const char *s)
{
        (void)h;
        return strdup(s);
}

static inline void
shheap_free(shheap *h, void *p)
{
        (void)h;
        free(p);
}

static inline void *
shheap_ptr(const shheap *h, shref ref)
{
        (void)h;
        return (void *)(uintptr_t)ref;
}

static inline void *
shheap_malloc_to(shheap *h, size_t size, unsigned flags, shref *dest)
{
        void *p = flags & SHA_ZERO ? calloc(1, size) : malloc(size);

        (void)h;
        if (p)
                *dest = (uintptr_t)p;
        return p;
}

static inline int
shheap_free_from(shheap *h, shref *dest)
{
        (void)h;
        free((void *)(uintptr_t)*dest);
        *dest = SHREF_NULL;
        return 0;
}

#endif
