/*
 * fork_heap.h - the heap of the tests of forks, the default one of their program.  Included by one source of a program.
 */
#ifndef SUPPORT_FORK_HEAP_H
#define SUPPORT_FORK_HEAP_H

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"

static shheap *h;

static inline void
setup(void)
{
        heap_dir_empty();
        h = heap_dir_open("fork", SHHEAP_CREATE, "max_clients:8");
        ck_assert_int_eq(shheap_set_default(h), 0);
}

static inline void
teardown(void)
{
        shheap_reap(h);
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}

static inline void
assert_ended_well(struct child *c)
{
        int status = child_end(c);

        ck_assert_msg(status == 0, "wait status %#x", status);
}

#endif
