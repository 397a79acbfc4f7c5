/*
 * every_function.h - a table of all functions of the library, each with a call of it, and the fault handler that the
 * calls want.  Included by one source of a program.
 */
#ifndef SUPPORT_EVERY_FUNCTION_H
#define SUPPORT_EVERY_FUNCTION_H

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <shmalloc/shmalloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/heap.h"

/* What a call works on.  `h` may be closed, then p, dest and ref were good in it. */
struct scene {
        shheap *h;
        void *p;
        shref *dest;
        shref ref;
        FILE *out;
};

/* 0, or what the call failed with, as -errno. */
struct function {
        const char *name;
        int (*call)(struct scene *s);
        bool has_handle; /* it is the first argument */
};

/* ------------------------------------------------------------------ faults */

static sigjmp_buf on_fault;
static uint32_t fault_what;

static inline void
take_fault(const struct shheap_fault *fault, void *arg)
{
        (void)arg;
        fault_what = fault->what;
        siglongjmp(on_fault, 1);
}

/* A free gives no error. */
static inline int
freed(void (*fn)(struct scene *s), struct scene *s)
{
        int saved = errno = 4711;

        fault_what = 0;
        if (sigsetjmp(on_fault, 1) == 0) {
                fn(s);
                return errno == saved ? 0 : -ENOTRECOVERABLE;
        }
        return fault_what == SHHEAP_FAULT_NOT_A_CLIENT ? -EBADF : -EFAULT;
}

static inline int
got(struct scene *s, void *p)
{
        if (!p)
                return -errno;
        shheap_free(s->h, p);
        return 0;
}

/* ------------------------------------------------------------------ the functions */

#define FREE(name, expression)                                                                                         \
        static void name##_now(struct scene *s)                                                                        \
        {                                                                                                              \
                expression;                                                                                            \
                if (s->h)                                                                                              \
                        s->p = NULL;                                                                                   \
        }                                                                                                              \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                if (!s->p)                                                                                             \
                        s->p = shheap_malloc(s->h, 100);                                                               \
                return freed(name##_now, s);                                                                           \
        }
#define POINTER(name, expression)                                                                                      \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                errno = 0;                                                                                             \
                return got(s, expression);                                                                             \
        }
#define INT(name, expression)                                                                                          \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                int result = ((void)s, (expression));                                                                  \
                return result < 0 ? result : 0;                                                                        \
        }
#define SIZE(name, expression)                                                                                         \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                errno = 0;                                                                                             \
                return (expression) != 0 ? 0 : -errno;                                                                 \
        }

static inline void
keep(struct scene *s, void *p)
{
        s->p = p ? p : s->p;
}

#define REALLOC(name, expression)                                                                                      \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                void *p;                                                                                               \
                errno = 0;                                                                                             \
                p = (expression);                                                                                      \
                keep(s, p);                                                                                            \
                return p ? 0 : -errno;                                                                                 \
        }

FREE(call_free, shheap_free(s->h, s->p))
FREE(call_free_sized, shheap_free_sized(s->h, s->p, 100))
FREE(call_free_aligned_sized, shheap_free_aligned_sized(s->h, s->p, 16, 100))
POINTER(call_malloc, shheap_malloc(s->h, 100))
POINTER(call_malloc_near, shheap_malloc_near(s->p, 100))
POINTER(call_malloc_large, shheap_malloc(s->h, 100000))
POINTER(call_malloc_huge, shheap_malloc(s->h, 5 << 20))
POINTER(call_calloc, shheap_calloc(s->h, 10, 10))
POINTER(call_aligned_alloc, shheap_aligned_alloc(s->h, 64, 100))
POINTER(call_strdup, shheap_strdup(s->h, "text"))
POINTER(call_strndup, shheap_strndup(s->h, "text", 2))
POINTER(call_mallocx, shheap_mallocx(s->h, 100, SHA_ZERO))
REALLOC(call_realloc, shheap_realloc(s->h, s->p, 5000))
REALLOC(call_reallocarray, shheap_reallocarray(s->h, s->p, 10, 1000))
REALLOC(call_rallocx, shheap_rallocx(s->h, s->p, 100, 0))
SIZE(call_xallocx, shheap_xallocx(s->h, s->p, 100, 0, 0))
SIZE(call_nallocx, shheap_nallocx(s->h, 100, 0))
SIZE(call_usable_size, shheap_usable_size(s->h, s->p))
SIZE(call_ref, shheap_ref(s->h, s->p))
SIZE(call_ptr, shheap_ptr(s->h, s->ref) != NULL)
INT(call_reserve, shheap_reserve(s->h, 1 << 20))
INT(call_node_of, shheap_node_of(s->h, s->p))
INT(call_free_from, shheap_free_from(s->h, s->dest))
INT(call_reap, shheap_reap(s->h))
INT(call_check, shheap_check(s->h, 0, s->out))
INT(call_purge, shheap_purge(s->h, -1))
INT(call_stats_print, shheap_stats_print(s->h, s->out, NULL))
INT(call_set_default, shheap_set_default(s->h))

static inline int
call_posix_memalign(struct scene *s)
{
        void *p = NULL;
        int err = shheap_posix_memalign(s->h, &p, 64, 100);

        if (err == 0)
                shheap_free(s->h, p);
        return -err;
}

static inline int
call_malloc_to(struct scene *s)
{
        errno = 0;
        return shheap_malloc_to(s->h, 100, 0, s->dest) ? shheap_free_from(s->h, s->dest) : -errno;
}

/* close() is a cancellation point. */
static inline void
close_quietly(int fd)
{
        if (fd >= 0)
                syscall(SYS_close, fd);
}

static inline int
call_dup_fd(struct scene *s)
{
        int fd = shheap_dup_fd(s->h, 0);

        close_quietly(fd);
        return fd < 0 ? fd : 0;
}

static inline int
call_root(struct scene *s)
{
        void *obj;

        return shheap_root(s->h, "of the test", 100, 0, NULL, NULL, &obj);
}

static inline int
count_root(const char *name, void *obj, size_t size, void *arg)
{
        (void)name, (void)obj, (void)size, (void)arg;
        return 0;
}

INT(call_root_iterate, shheap_root_iterate(s->h, count_root, NULL))
static inline int
call_root_undo(struct scene *s)
{
        void *obj;

        return shheap_root_undo(s->h, "of the test", 100, 0, NULL, NULL, NULL, &obj);
}

static inline int
call_root_find(struct scene *s)
{
        size_t size;
        void *obj;

        return shheap_root_find(s->h, "of the test", &obj, &size);
}

static inline int
call_root_take(struct scene *s)
{
        size_t size;
        void *obj;
        int err = shheap_root_take(s->h, "of the test", &obj, &size);

        if (err == 0)
                shheap_free(s->h, obj);
        return err;
}

INT(call_settled, shheap_settled(s->h, s->dest))
INT(call_root_remove, shheap_root_remove(s->h, "of the test"))

static inline int
see_block(const struct shheap_block *block, void *arg)
{
        (void)block, (void)arg;
        return 0;
}

INT(call_walk, shheap_walk(s->h, SHHEAP_WALK_LIVE, see_block, NULL))

static inline int
call_ctl(struct scene *s)
{
        uint64_t value;
        size_t length = sizeof value;

        return shheap_ctl(s->h, "stats.allocated", &value, &length, NULL, 0);
}

/* Opened once more first, where it is open. */
static inline int
call_close(struct scene *s)
{
        shheap *same;

        if (s->h && s->h->is_open && shheap_open(&same, "public", 0, NULL) < 0)
                return -errno;
        return shheap_close(s->h);
}

static inline int
call_open(struct scene *s)
{
        shheap *other;
        int err = shheap_open(&other, "another", SHHEAP_CREATE, NULL);

        (void)s;
        return err < 0 ? err : shheap_close(other);
}

static inline int
call_open_fd(struct scene *s)
{
        int fd = shheap_dup_fd(s->h, 0), err;
        shheap *same;

        err = shheap_open_fd(&same, fd, 0);
        close_quietly(fd);
        return err < 0 ? err : shheap_close(same);
}

INT(call_unlink, (shheap_unlink("another"), 0))
INT(call_errormsg, shheap_errormsg() ? 0 : -EINVAL)
INT(call_of, shheap_of(s->p) ? 0 : -EINVAL)
INT(call_flag_lg_align, shheap_flag_lg_align(4) == SHA_LG_ALIGN(4) ? 0 : -EINVAL)
INT(call_flag_align, shheap_flag_align(4096) == SHA_ALIGN(4096) ? 0 : -EINVAL)
INT(call_flag_node, shheap_flag_node(5) == SHA_NODE(5) ? 0 : -EINVAL)
INT(call_flag_nodes, shheap_flag_nodes(6) == SHA_NODES(6) ? 0 : -EINVAL)
INT(call_flag_arena, shheap_flag_arena(7) == SHA_ARENA(7) ? 0 : -EINVAL)
INT(call_default, shheap_default() ? 0 : -errno)

static inline int
call_set_fault_handler(struct scene *s)
{
        (void)s;
        shheap_set_fault_handler(take_fault, NULL);
        return 0;
}

/* On the default heap, which is the same. */
FREE(call_shfree, shfree(s->p))
FREE(call_shfree_sized, shfree_sized(s->p, 100))
POINTER(call_shmalloc, shmalloc(100))
POINTER(call_shcalloc, shcalloc(10, 10))
POINTER(call_shaligned_alloc, shaligned_alloc(64, 100))
POINTER(call_shstrdup, shstrdup("text"))
POINTER(call_shstrndup, shstrndup("text", 2))
REALLOC(call_shrealloc, shrealloc(s->p, 5000))
REALLOC(call_shreallocarray, shreallocarray(s->p, 10, 1000))
SIZE(call_shmalloc_usable_size, shmalloc_usable_size(s->p))
SIZE(call_shref_of, shref_of(s->p))
SIZE(call_shptr_of, shptr_of(s->ref) != NULL)

static inline int
call_shposix_memalign(struct scene *s)
{
        void *p = NULL;
        int err = shposix_memalign(&p, 64, 100);

        (void)s;
        shfree(p);
        return -err;
}

/* In the order of calls; the object of shheap_root() is there for those behind it. */
static const struct function functions[] = {
        {"shheap_set_fault_handler", call_set_fault_handler, false},
        {"shheap_open", call_open, false},
        {"shheap_open_fd", call_open_fd, false},
        {"shheap_unlink", call_unlink, false},
        {"shheap_errormsg", call_errormsg, false},
        {"shheap_set_default", call_set_default, true},
        {"shheap_default", call_default, false},
        {"shheap_dup_fd", call_dup_fd, true},
        {"shheap_close", call_close, true},
        {"shheap_malloc", call_malloc, true},
        {"shheap_malloc", call_malloc_large, true},
        {"shheap_malloc", call_malloc_huge, true},
        {"shheap_free", call_free, true},
        {"shheap_free_sized", call_free_sized, true},
        {"shheap_free_aligned_sized", call_free_aligned_sized, true},
        {"shheap_calloc", call_calloc, true},
        {"shheap_realloc", call_realloc, true},
        {"shheap_reallocarray", call_reallocarray, true},
        {"shheap_aligned_alloc", call_aligned_alloc, true},
        {"shheap_posix_memalign", call_posix_memalign, true},
        {"shheap_strdup", call_strdup, true},
        {"shheap_strndup", call_strndup, true},
        {"shheap_mallocx", call_mallocx, true},
        {"shheap_rallocx", call_rallocx, true},
        {"shheap_xallocx", call_xallocx, true},
        {"shheap_nallocx", call_nallocx, true},
        {"shheap_usable_size", call_usable_size, true},
        {"shheap_reserve", call_reserve, true},
        {"shheap_node_of", call_node_of, true},
        {"shheap_of", call_of, false},
        {"shheap_malloc_near", call_malloc_near, false},
        {"shheap_flag_lg_align", call_flag_lg_align, false},
        {"shheap_flag_align", call_flag_align, false},
        {"shheap_flag_node", call_flag_node, false},
        {"shheap_flag_nodes", call_flag_nodes, false},
        {"shheap_flag_arena", call_flag_arena, false},
        {"shheap_ref", call_ref, true},
        {"shheap_ptr", call_ptr, true},
        {"shheap_malloc_to", call_malloc_to, true},
        {"shheap_free_from", call_free_from, true},
        {"shheap_root", call_root, true},
        {"shheap_root_find", call_root_find, true},
        {"shheap_root_iterate", call_root_iterate, true},
        {"shheap_root_remove", call_root_remove, true},
        {"shheap_root_undo", call_root_undo, true},
        {"shheap_root_take", call_root_take, true},
        {"shheap_settled", call_settled, true},
        {"shheap_reap", call_reap, true},
        {"shheap_ctl", call_ctl, true},
        {"shheap_stats_print", call_stats_print, true},
        {"shheap_walk", call_walk, true},
        {"shheap_check", call_check, true},
        {"shheap_purge", call_purge, true},
        {"shfree", call_shfree, false},
        {"shfree_sized", call_shfree_sized, false},
        {"shmalloc", call_shmalloc, false},
        {"shcalloc", call_shcalloc, false},
        {"shrealloc", call_shrealloc, false},
        {"shreallocarray", call_shreallocarray, false},
        {"shaligned_alloc", call_shaligned_alloc, false},
        {"shposix_memalign", call_shposix_memalign, false},
        {"shstrdup", call_shstrdup, false},
        {"shstrndup", call_shstrndup, false},
        {"shmalloc_usable_size", call_shmalloc_usable_size, false},
        {"shref_of", call_shref_of, false},
        {"shptr_of", call_shptr_of, false},
};

enum { N_FUNCTIONS = sizeof functions / sizeof functions[0] };

#endif
