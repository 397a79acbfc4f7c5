/*
 * shield.c - see shield.h.
 */
#include "os/shield.h"

#include <errno.h>

void
shield_raise(struct shield *ret_shield)
{
        static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
        sigset_t others;

        sigfillset(&others);
        for (unsigned i = 0; i < sizeof own / sizeof own[0]; i++)
                sigdelset(&others, own[i]);
        pthread_sigmask(SIG_BLOCK, &others, &ret_shield->signals); /* first: a jump would leave the other one changed */
        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &ret_shield->cancel_state);
}

/* A cancelled thread may end in here, and a handler runs at the end: nothing is held any more. */
void
shield_lower(const struct shield *shield)
{
        struct shield was = *shield; /* may lie in what another thread uses next */
        int saved = errno;

        pthread_setcancelstate(was.cancel_state, NULL);
        pthread_sigmask(SIG_SETMASK, &was.signals, NULL);
        errno = saved;
}

void
once_do_slow(struct once *once, void (*fn)(void))
{
        struct shield shield;

        shield_raise(&shield);
        pthread_once(&once->control, fn);
        store_release(&once->is_done, 1u); /* E13.rel: what fn did */
        shield_lower(&shield);
}

void
process_lock_init(pthread_mutex_t *lock)
{
        pthread_mutexattr_t attr;

        pthread_mutexattr_init(&attr);
        pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
        pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST);
        pthread_mutex_init(lock, &attr);
        pthread_mutexattr_destroy(&attr);
}

void
process_lock(pthread_mutex_t *lock)
{
        if (pthread_mutex_lock(lock) == EOWNERDEAD)
                pthread_mutex_consistent(lock);
}
