/*
 * shield.h - what a thread does while it holds a lock of its process, whole: no signal handler, no cancellation.
 *
 * A handler may jump out of whatever it interrupted, fork, or call us again; a cancelled thread ends where it is.  With
 * a lock held the first would leave it locked for ever, the second would wait for a lock that its own thread has.  So
 * whoever takes a lock of the process raises the shield first, and takes it down last.
 *
 * Signals that the thread brings upon itself stay what they are (a fault, a trap, abort(), a system call that a filter
 * has a handler for): blocked, they would end the process in spite of their handler.
 *
 * Shields nest: each has its own struct.  The caller's code (callbacks, fault handlers) never runs behind one.
 */
#ifndef OS_SHIELD_H
#define OS_SHIELD_H

#include <pthread.h>
#include <signal.h>
#include <stdint.h>

#include "base/atomic.h"

struct shield {
        sigset_t signals; /* that were blocked before */
        int cancel_state; /* before */
};

void shield_raise(struct shield *ret_shield);
void shield_lower(const struct shield *shield);

/* A lock of the process, taken behind a shield.  A handler of a fault may jump out all the same: then its thread may
 * take the lock again, and who ends with it leaves it to the next.  So it protects what is whole between any two
 * stores. */
void process_lock_init(pthread_mutex_t *lock);
void process_lock(pthread_mutex_t *lock);

/* What a process does once. */
struct once {
        uint32_t is_done;
        pthread_once_t control;
};

#define ONCE_INIT                                                                                                      \
        {                                                                                                              \
                0, PTHREAD_ONCE_INIT                                                                                   \
        }

/* Behind a shield; others wait meanwhile. */
void once_do_slow(struct once *once, void (*fn)(void));

static inline void
once_do(struct once *once, void (*fn)(void))
{
        if (!load_acquire(&once->is_done)) /* E13.acq: what fn did */
                once_do_slow(once, fn);
}

#endif
