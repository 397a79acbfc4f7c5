/*
 * robust.h - process-shared robust mutexes in type-stable shared memory, and the futex word inside them.
 *
 * A robust mutex tells, through the kernel, that its holder died.  Here one is only ever tried, never waited for.
 * Its memory starts as zeroes, stays a mutex for ever and may be initialised by anybody at any time.
 */
#ifndef OS_ROBUST_H
#define OS_ROBUST_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"

/* The bits of the futex word that the kernel and the C library agree on (linux/futex.h). */
#define ROBUST_TID_MASK   UINT32_C(0x3fffffff) /* thread id of the holder */
#define ROBUST_OWNER_DIED UINT32_C(0x40000000) /* the mark: the holder died */

/* Makes the mutex one by storing those words of an initialised image that are not zero.  Never touches the futex
 * word, so it is harmless on a mutex that somebody holds, and racing initialisers store the same. */
void robust_init(pthread_mutex_t *m);

/* 0 locked; 1 locked after its holder died: what it protects has to be settled before robust_recover();
 * -EBUSY held; -ENOTRECOVERABLE damaged for good. */
int robust_trylock(pthread_mutex_t *m);

/* The state that the mutex protects is settled.  Does nothing when that was never in doubt. */
void robust_recover(pthread_mutex_t *m);

/* By the holder; after a robust_trylock() that gave 1, only once it has been recovered. */
void robust_unlock(pthread_mutex_t *m);

/* 0 = free, else the holder's thread id, with ROBUST_OWNER_DIED once it is known to be dead. */
static inline uint32_t
robust_word(const pthread_mutex_t *m)
{
        /* Relaxed: says only whether it is worth a trylock, which decides. */
        return load_relaxed((const uint32_t *)(const void *)m);
}

/* Does the kernel's work for a holder that is gone without a mark: exactly `word` becomes marked.  False when it has
 * changed meanwhile.  Only for a word whose holder is known to be dead. */
bool robust_mark(pthread_mutex_t *m, uint32_t word);

/* The same where the word itself is the evidence: its thread id is gone.  The holder must be of this process's pid
 * namespace.  False when the thread exists, or when nothing can be known. */
bool robust_mark_dead(pthread_mutex_t *m, uint32_t word);

#endif
