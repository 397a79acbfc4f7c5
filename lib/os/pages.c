/*
 * pages.c - see pages.h.
 *
 * Pages of a mapping that is locked in memory cannot be given back by that mapping: the range is unlocked for the moment,
 * and locked again as its pages come into use.
 */
#include "os/pages.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/error.h"
#include "os/inject.h"
#include "os/syscall.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

int
os_populate(void *addr, uint64_t bytes)
{
        int err = os_injected("populate");

        if (err == 0)
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_POPULATE_WRITE));
        return err < 0 ? error_refused("madvise(MADV_POPULATE_WRITE)", err) : 0;
}

int
os_remove(void *addr, uint64_t bytes)
{
        int err = os_injected("remove");

        if (err == 0)
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_REMOVE));
        if (err == -EINVAL && munlock(addr, bytes) == 0) { /* locked, or a mapping that cannot */
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_REMOVE));
                if (err == 0)
                        (void)mlock2(addr, bytes, MLOCK_ONFAULT); /* where that is refused it stays unlocked */
        }
        return err;
}
