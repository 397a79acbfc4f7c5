/*
 * pages.c - see pages.h.
 *
 * Pages of a mapping that is locked in memory cannot be given back by that mapping: the range is unlocked for the
 * moment, and locked again as its pages come into use.
 */
#include "os/pages.h"

#include <errno.h>
#include <sys/mman.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/inject.h"
#include "os/shm.h"
#include "os/syscall.h"

#ifndef MADV_POPULATE_WRITE
#define MADV_POPULATE_WRITE 23
#endif

/* Pages of a locked mapping cannot be dropped from page tables; of another one they can, and come back from the
 * file. */
static bool
is_locked(void *page)
{
        ASSERT((uintptr_t)page % OS_PAGE_BYTES == 0);
        return madvise(page, OS_PAGE_BYTES, MADV_DONTNEED) < 0 && errno == EINVAL;
}

int
os_populate(void *addr, uint64_t bytes)
{
        int err = os_injected("populate");

        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        if (err == 0)
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_POPULATE_WRITE));
        return err < 0 ? error_refused("madvise(MADV_POPULATE_WRITE)", err) : 0;
}

/* Locks of pages as they come; without the right to that, none. */
static void
lock_on_fault(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0);
        if (mlock2(addr, bytes, MLOCK_ONFAULT) < 0)
                munlock(addr, bytes);
}

int
os_remove(void *addr, uint64_t bytes, void *whole, uint64_t whole_bytes)
{
        int err = os_injected("remove");

        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        ASSERT((char *)addr >= (char *)whole && (char *)addr + bytes <= (char *)whole + whole_bytes);
        if (err == 0)
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_REMOVE));
        if (err == -EINVAL && is_locked(addr)) {
                lock_on_fault(whole, whole_bytes);
                munlock(addr, bytes);
                err = (int)SYS_RETRY(madvise(addr, bytes, MADV_REMOVE));
                lock_on_fault(addr, bytes);
        }
        return err;
}

bool
os_is_real(void *addr)
{
        unsigned char is_there;

        addr = (char *)addr - (uintptr_t)addr % OS_PAGE_BYTES;
        return mincore(addr, OS_PAGE_BYTES, &is_there) < 0 || (is_there & 1);
}

void
os_keep_sparse(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        if (is_locked(addr))
                lock_on_fault(addr, bytes);
        (void)os_dump(addr, bytes, false); /* else core files are longer */
}

int
os_dump(void *addr, uint64_t bytes, bool is_wanted)
{
        int err = os_injected("dump");

        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        return err < 0 ? err : (int)SYS_RETRY(madvise(addr, bytes, is_wanted ? MADV_DODUMP : MADV_DONTDUMP));
}
