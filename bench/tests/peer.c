/*
 * peer - a malloc that is not installed: glibc's under its own name, or one that makes a mistake now and then, which a
 * replay has to notice.
 */
#include <errno.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

void *__libc_malloc(size_t size);
void *__libc_calloc(size_t n, size_t size);
void *__libc_realloc(void *p, size_t size);
void *__libc_memalign(size_t align, size_t size);
void __libc_free(void *p);

enum { SIZE = 12345 }; /* of the blocks that mistakes are made with */

void *
malloc(size_t size)
{
#if defined(PEER_OVERLAPS)
        static char *last;

        if (size == SIZE) /* it begins in the midst of the one before */
                return last = last ? last + 16 : __libc_malloc(1 << 20);
#endif
        return __libc_malloc(size);
}

void *
calloc(size_t n, size_t size)
{
#if defined(PEER_DIRTY)
        if (n * size == SIZE) {
                char *p = __libc_malloc(SIZE);

                return memset(p, 1, SIZE);
        }
#endif
        return __libc_calloc(n, size);
}

void
free(void *p)
{
#if defined(PEER_OVERLAPS) || defined(PEER_CROOKED)
        (void)p; /* glibc would not take it back */
#else
        __libc_free(p);
#endif
}

void *
realloc(void *p, size_t size)
{
#if defined(PEER_OVERLAPS)
        void *q = malloc(size);

        return p && q ? memcpy(q, p, 16) : q;
#elif defined(PEER_LOSES)
        if (size == SIZE)
                return __libc_calloc(1, SIZE);
        return __libc_realloc(p, size);
#else
        return __libc_realloc(p, size);
#endif
}

void *
aligned_alloc(size_t align, size_t size)
{
#if defined(PEER_CROOKED)
        if (size == SIZE)
                return (char *)__libc_memalign(align, size + 16) + 16;
#endif
        return __libc_memalign(align, size);
}

void *
memalign(size_t align, size_t size)
{
        return aligned_alloc(align, size);
}

int
posix_memalign(void **ret_p, size_t align, size_t size)
{
        void *p = aligned_alloc(align, size);

        if (!p)
                return ENOMEM;
        *ret_p = p;
        return 0;
}
