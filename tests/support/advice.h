/*
 * advice.h - madvise() in the hands of a test: what happens before pages are removed, or reserved.
 *
 * It defines madvise(), so one file of a program includes it.
 */
#ifndef SUPPORT_ADVICE_H
#define SUPPORT_ADVICE_H

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

/* Called before pages are removed, and before they are reserved: what is not 0 is the outcome. */
static int (*on_advice)(int advice);

int
madvise(void *addr, size_t bytes, int advice)
{
        int err = on_advice ? on_advice(advice) : 0;

        if (err == 0)
                return (int)syscall(SYS_madvise, addr, bytes, advice);
        errno = err;
        return -1;
}

#endif
