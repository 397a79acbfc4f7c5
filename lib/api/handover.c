/*
 * handover.c - a block and the word that refers to it, in one step.
 *
 * Whoever dies in between leaves either both or neither: one intent stores to the word and takes the block out of a
 * magazine or puts it back (tcache_pop_to(), tcache_push_from()), or out of its slab or run.  Where the thread's
 * magazine and the tag are enough, that is all there is to do; everything else goes the way of every call.
 */
#include <errno.h>

#include "api/flags.h"
#include "api/malloc.h"
#include "api/quick.h"
#include "base/error.h"
#include "blocks/fault.h"

uint64_t
call_dest_off(const struct shheap *h, const shref *dest, const char *operation)
{
        if (dest && (uintptr_t)dest % sizeof *dest == 0 && handle_has(h, dest))
                return h->region.layout.chunks_off + handle_block_off(h, dest);
        errno = -error_set(-EINVAL, "%s: dest must be an 8-aligned word in a block of the same heap", operation);
        return 0;
}

/* False: nothing was done. */
static bool
malloc_to_plain(struct shheap *h, size_t size, uint64_t dest_off, void **ret_p)
{
        struct tcache *t = quick_tcache(h);
        uint32_t class1 = quick_class1_of(t, size);
        void *p;

        if (class1 == 0 || !size_class_is_small(class1 - 1) || !tcache_is_usable(t) || !tcache_is_plain(t))
                return false;
        tcache_enter(t);
        call_begin(&t->thread, size, 1, class1 - 1)->dest_off = dest_off;
        p = tcache_pop_to(t, class1 - 1, dest_off);
        visit_leave_plain(t, "shheap_malloc_to", NULL, size);
        if (p && UNLIKELY(!handle_holds(h, p, size_class_bytes(class1 - 1))))
                fault_report_pointer(h, SHHEAP_FAULT_METADATA, "shheap_malloc_to", p, size);
        *ret_p = p;
        return p != NULL;
}

/* False: nothing was done. */
static bool
free_from_plain(struct shheap *h, uint64_t block_off, uint64_t dest_off)
{
        struct tcache *t = quick_tcache(h);
        bool is_done;

        if (block_off >= t->limit || !region_has_small_tag(t->thread.region, quick_tag(t, block_off)) ||
            !tcache_is_usable(t) || !tcache_is_plain(t))
                return false;
        tcache_enter(t);
        call_begin(&t->thread, 0, 1, SIZE_CLASS_NONE);
        is_done = tcache_push_from(t, block_off, dest_off);
        visit_leave_plain(t, "shheap_free_from", region_block(t->thread.region, block_off), 0);
        return is_done;
}

void *
shheap_malloc_to(shheap *h, size_t size, unsigned flags, shref *dest)
{
        uint64_t dest_off = handle_is_open(h, "shheap_malloc_to") ? call_dest_off(h, dest, "shheap_malloc_to") : 0;
        void *p;

        if (dest_off == 0 || !call_check_size(size, "shheap_malloc_to"))
                return NULL;
        if (LIKELY(flags == 0 && malloc_to_plain(h, size, dest_off, &p)))
                return p;
        if (!flags_check(h, flags, "shheap_malloc_to"))
                return NULL;
        return call_allocate(h, size, flags_align(flags), flags, dest_off, "shheap_malloc_to");
}

int
shheap_free_from(shheap *h, shref *dest)
{
        uint64_t dest_off, block_off;
        struct visit v;
        int err;

        if (!handle_is_open(h, "shheap_free_from"))
                return -EBADF;
        dest_off = call_dest_off(h, dest, "shheap_free_from");
        if (dest_off == 0)
                return -EINVAL;
        if (load_relaxed(dest) == SHREF_NULL)
                return 0;
        block_off = load_relaxed(dest) - h->region.layout.chunks_off;
        if (LIKELY(free_from_plain(h, block_off, dest_off)))
                return 0;
        err = visit_begin_to_free(&v, h, "shheap_free_from");
        if (err < 0)
                return err;
        if (h->is_checked && !call_check_free(v.thread, block_off))
                err = -EINVAL;
        else if (!v.tcache || !tcache_push_from(v.tcache, block_off, dest_off))
                err = free_block_patiently(v.thread, block_off, dest_off);
        visit_end(&v, "shheap_free_from", region_block(v.thread->region, block_off), 0);
        return err;
}
