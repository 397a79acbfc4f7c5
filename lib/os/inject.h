/*
 * inject.h - where tests make system calls fail.
 *
 * Every wrapper of this layer that can fail for lack of something asks here first, with its own name.  In a build
 * with SHM_DEBUG a test sets os_inject to a function that returns 0 (go on) or an errno value (fail with it), and so
 * fails the Nth call, or all of one kind.  Closing and unmapping ask, too, and heed no answer.  Other builds contain
 * nothing of this.
 */
#ifndef OS_INJECT_H
#define OS_INJECT_H

#include <stddef.h>

#if SHM_DEBUG
extern int (*os_inject)(const char *call); /* NULL: no call fails */

/* 0, or the -errno that the test wants. */
static inline int
os_injected(const char *call)
{
        return os_inject != NULL ? -os_inject(call) : 0;
}
#else
static inline int
os_injected(const char *call)
{
        (void)call;
        return 0;
}
#endif

#endif
