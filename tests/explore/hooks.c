/*
 * hooks.c - what the compiler calls before each access to memory in code compiled with -fsanitize=thread, and what
 * code compiled with -fno-builtin calls to copy and clear it (by --wrap).
 *
 * A copy or a clearing is one step: nothing that the protocols rely on is written that way.
 */
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#include "explore/engine.h"

#pragma GCC diagnostic ignored "-Wmissing-prototypes"

#define PC __builtin_return_address(0)

void
__tsan_init(void)
{
}

void
__tsan_func_entry(void *pc)
{
        (void)pc;
}

void
__tsan_func_exit(void)
{
}

#define PLAIN(n)                                                                                                       \
        void __tsan_read##n(void *p)                                                                                   \
        {                                                                                                              \
                engine_access(p, n, ACCESS_READ, PC);                                                                  \
        }                                                                                                              \
        void __tsan_write##n(void *p)                                                                                  \
        {                                                                                                              \
                engine_access(p, n, ACCESS_WRITE, PC);                                                                 \
        }                                                                                                              \
        void __tsan_unaligned_read##n(void *p)                                                                         \
        {                                                                                                              \
                engine_access(p, n, ACCESS_READ, PC);                                                                  \
        }                                                                                                              \
        void __tsan_unaligned_write##n(void *p)                                                                        \
        {                                                                                                              \
                engine_access(p, n, ACCESS_WRITE, PC);                                                                 \
        }

/* clang-format off */
PLAIN(1) PLAIN(2) PLAIN(4) PLAIN(8) PLAIN(16)
        /* clang-format on */

        void __tsan_read_range(void *p, size_t bytes)
{
        engine_access(p, bytes, ACCESS_READ, PC);
}

void
__tsan_write_range(void *p, size_t bytes)
{
        engine_access(p, bytes, ACCESS_WRITE, PC);
}

#define FETCH(bits, type, op)                                                                                          \
        type __tsan_atomic##bits##_##op(volatile type *p, type v, int order)                                           \
        {                                                                                                              \
                (void)order;                                                                                           \
                engine_access(p, bits / 8, ACCESS_WRITE, PC);                                                          \
                return __atomic_##op(p, v, __ATOMIC_SEQ_CST);                                                          \
        }

#define ATOMIC(bits, type)                                                                                             \
        type __tsan_atomic##bits##_load(const volatile type *p, int order)                                             \
        {                                                                                                              \
                (void)order;                                                                                           \
                engine_access(p, bits / 8, ACCESS_READ, PC);                                                           \
                return __atomic_load_n(p, __ATOMIC_SEQ_CST);                                                           \
        }                                                                                                              \
        void __tsan_atomic##bits##_store(volatile type *p, type v, int order)                                          \
        {                                                                                                              \
                (void)order;                                                                                           \
                engine_access(p, bits / 8, ACCESS_WRITE, PC);                                                          \
                __atomic_store_n(p, v, __ATOMIC_SEQ_CST);                                                              \
        }                                                                                                              \
        type __tsan_atomic##bits##_exchange(volatile type *p, type v, int order)                                       \
        {                                                                                                              \
                (void)order;                                                                                           \
                engine_access(p, bits / 8, ACCESS_WRITE, PC);                                                          \
                return __atomic_exchange_n(p, v, __ATOMIC_SEQ_CST);                                                    \
        }                                                                                                              \
        int __tsan_atomic##bits##_compare_exchange_strong(volatile type *p, type *e, type v, int order, int failed)    \
        {                                                                                                              \
                (void)order;                                                                                           \
                (void)failed;                                                                                          \
                engine_access(p, bits / 8, ACCESS_WRITE, PC);                                                          \
                return __atomic_compare_exchange_n(p, e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                \
        }                                                                                                              \
        int __tsan_atomic##bits##_compare_exchange_weak(volatile type *p, type *e, type v, int order, int failed)      \
        {                                                                                                              \
                return __tsan_atomic##bits##_compare_exchange_strong(p, e, v, order, failed);                          \
        }                                                                                                              \
        type __tsan_atomic##bits##_compare_exchange_val(volatile type *p, type e, type v, int order, int failed)       \
        {                                                                                                              \
                (void)order;                                                                                           \
                (void)failed;                                                                                          \
                engine_access(p, bits / 8, ACCESS_WRITE, PC);                                                          \
                __atomic_compare_exchange_n(p, &e, v, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);                      \
                return e;                                                                                              \
        }                                                                                                              \
        FETCH(bits, type, fetch_add)                                                                                   \
        FETCH(bits, type, fetch_sub)                                                                                   \
        FETCH(bits, type, fetch_and)                                                                                   \
        FETCH(bits, type, fetch_or)                                                                                    \
        FETCH(bits, type, fetch_xor)

/* clang-format off */
ATOMIC(8, uint8_t) ATOMIC(16, uint16_t) ATOMIC(32, uint32_t) ATOMIC(64, uint64_t)
        /* clang-format on */

        void __tsan_atomic_thread_fence(int order)
{
        (void)order;
}

void
__tsan_atomic_signal_fence(int order)
{
        (void)order;
}

/* ------------------------------------------------------------------ the C library, by --wrap */

void *__real_memset(void *p, int c, size_t bytes);
void *__real_memcpy(void *restrict to, const void *restrict from, size_t bytes);
void *__real_memmove(void *to, const void *from, size_t bytes);

void *
__wrap_memset(void *p, int c, size_t bytes)
{
        if (bytes > 0)
                engine_access(p, bytes, ACCESS_WRITE, PC);
        return __real_memset(p, c, bytes);
}

void *
__wrap_memcpy(void *restrict to, const void *restrict from, size_t bytes)
{
        if (bytes > 0)
                engine_access(to, bytes, ACCESS_WRITE, PC);
        return __real_memcpy(to, from, bytes);
}

void *
__wrap_memmove(void *to, const void *from, size_t bytes)
{
        if (bytes > 0)
                engine_access(to, bytes, ACCESS_WRITE, PC);
        return __real_memmove(to, from, bytes);
}

/* Time stands still: else no state would be met twice. */
int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
        (void)clock;
        *now = (struct timespec){.tv_sec = 1000};
        return 0;
}
