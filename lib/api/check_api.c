/*
 * check_api.c - shheap_check() and shheap_walk(): the heap seen from outside.  Neither needs a place in it, so both
 * work for threads that are not attached and for processes that may only read.
 */
#include <errno.h>

#include "api/heap.h"
#include "audit/check.h"
#include "base/error.h"

_Static_assert((unsigned)SHHEAP_CHECK_QUIESCENT == (unsigned)CHECK_QUIESCENT, "flags are passed on as they are");

int
shheap_check(shheap *h, unsigned flags, FILE *report)
{
        int n;

        if (!handle_is_open(h, "shheap_check"))
                return -EBADF;
        if (flags & ~(unsigned)SHHEAP_CHECK_QUIESCENT)
                return error_set(-EINVAL, "shheap_check: flags %#x: only SHHEAP_CHECK_QUIESCENT is known", flags);
        error_forget_refused();
        n = check_region(&h->region, flags, report, NULL);
        return n >= 0 ? n : error_set_refused(n, "shheap_check: no memory for a bit per 16 bytes of the heap");
}

struct visitor {
        const struct region *region;
        shheap_walk_fn *fn;
        void *arg;
};

static int
visit_block(const struct check_block *block, void *arg)
{
        const struct visitor *visitor = arg;
        struct shheap_block b = {.size = sizeof b,
                                 .ref = visitor->region->layout.chunks_off + block->block_off,
                                 .usable = block->bytes,
                                 .arena = block->arena,
                                 .node = block->node != visitor->region->layout.spread_node ? block->node : UINT32_MAX};

        return visitor->fn(&b, visitor->arg);
}

static int
walk(struct shheap *h, unsigned where, struct visitor *visitor)
{
        struct shheap *called __attribute__((cleanup(handle_let_go))) = handle_hold(h);

        return check_walk(&called->region, where, visit_block, visitor);
}

int
shheap_walk(shheap *h, unsigned what, shheap_walk_fn *fn, void *arg)
{
        unsigned where = 0;
        int ret;

        if (!handle_is_open(h, "shheap_walk"))
                return -EBADF;
        if (what & ~(unsigned)(SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE))
                return error_set(-EINVAL, "shheap_walk: %#x: LIVE and FREE are what can be walked", what);
        if (what & SHHEAP_WALK_LIVE)
                where |= CHECK_LIVE;
        if (what & SHHEAP_WALK_FREE)
                where |= CHECK_CACHED | CHECK_FREE;
        error_forget_refused();
        ret = walk(h, where, &(struct visitor){&h->region, fn, arg});
        if (ret == -ENOMEM)
                error_set_refused(
                        ret, "shheap_walk: no memory for a bit per 16 bytes of the heap, or what the visitor returned");
        return ret;
}
