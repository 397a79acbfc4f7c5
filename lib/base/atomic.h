/*
 * atomic.h - the only place where lib/ names an atomic builtin.
 *
 * The memory order is part of each name.  Sequential consistency has no name here: no protocol of this library
 * needs it.  Shared fields are plain integers; these macros work on any naturally aligned 8, 16, 32 or 64 bit one.
 *
 * kill_order() keeps stores in program order for a survivor.  A process killed by SIGKILL leaves exactly the
 * stores that it executed in program order, whichever core looks next, so only the compiler has to be held back:
 * it is a compiler barrier, not a fence, and costs no instruction.
 */
#ifndef BASE_ATOMIC_H
#define BASE_ATOMIC_H

#include <stdbool.h>
#include <stdint.h>

#define load_relaxed(ptr)         __atomic_load_n((ptr), __ATOMIC_RELAXED)
#define load_acquire(ptr)         __atomic_load_n((ptr), __ATOMIC_ACQUIRE)
#define store_relaxed(ptr, value) __atomic_store_n((ptr), (value), __ATOMIC_RELAXED)
#define store_release(ptr, value) __atomic_store_n((ptr), (value), __ATOMIC_RELEASE)

/* The same for a struct as large, and as aligned, as a word. */
#define load_relaxed_to(ptr, ret)     __atomic_load((ptr), (ret), __ATOMIC_RELAXED)
#define store_relaxed_from(ptr, from) __atomic_store((ptr), (from), __ATOMIC_RELAXED)

/* A failed try leaves what it saw in *expected. */
#define cas_relaxed(ptr, expected, desired)                                                                            \
        __atomic_compare_exchange_n((ptr), (expected), (desired), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define cas_acquire(ptr, expected, desired)                                                                            \
        __atomic_compare_exchange_n((ptr), (expected), (desired), false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)
#define cas_release(ptr, expected, desired)                                                                            \
        __atomic_compare_exchange_n((ptr), (expected), (desired), false, __ATOMIC_RELEASE, __ATOMIC_RELAXED)
#define cas_acq_rel(ptr, expected, desired)                                                                            \
        __atomic_compare_exchange_n((ptr), (expected), (desired), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)

#define fetch_or_relaxed(ptr, value)  __atomic_fetch_or((ptr), (value), __ATOMIC_RELAXED)
#define fetch_or_release(ptr, value)  __atomic_fetch_or((ptr), (value), __ATOMIC_RELEASE)
#define fetch_and_relaxed(ptr, value) __atomic_fetch_and((ptr), (value), __ATOMIC_RELAXED)
#define fetch_add_relaxed(ptr, value) __atomic_fetch_add((ptr), (value), __ATOMIC_RELAXED)

/* Relaxed accesses of the hit paths.  Compilers do not fold a relaxed atomic into an addressing mode or an operand,
 * which costs the hit paths two instructions; a volatile access of an aligned word is as whole, and folds. */
#ifdef __SANITIZE_THREAD__
#define load_hit(ptr)         load_relaxed(ptr)
#define store_hit(ptr, value) store_relaxed((ptr), (value))
#else
#define load_hit(ptr)         (*(const volatile __typeof__(*(ptr)) *)(ptr))
#define store_hit(ptr, value) (*(volatile __typeof__(*(ptr)) *)(ptr) = (value))
#endif

/* The address of an element, in a register of its own.  A processor that forwards a store to a load without delay
 * (Golden Cove) does so only where neither is addressed by an index: a pair of hits takes less than half the time. */
static inline __attribute__((always_inline)) uint64_t *
hit_element(uint64_t *element)
{
        __asm__("" : "+r"(element));
        return element;
}

/* Adds one to what only this thread writes, and is known to be `value`: in one instruction where there is one. */
static inline __attribute__((always_inline)) void
increment_hit(uint64_t *ptr, uint64_t value)
{
#if defined(__x86_64__) && !defined(__SANITIZE_THREAD__)
        (void)value;
        __asm__ volatile("incq %0" : "+m"(*ptr) : : "cc");
#else
        store_hit(ptr, value + 1);
#endif
}

#define kill_order() __atomic_signal_fence(__ATOMIC_ACQ_REL)

/* Adds to a counter that only this thread writes: readers may see an old value, never a torn one. */
#define owner_add(ptr, value) store_relaxed((ptr), load_relaxed(ptr) + (value))

#endif
