/*
 * realloc.c - what is asked of a block that is there already: its size, another size, or to be freed by its size.
 */
#include <errno.h>
#include <string.h>

#include "api/flags.h"
#include "api/malloc.h"
#include "api/quick.h"
#include "base/bits.h"
#include "base/error.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"

/* ------------------------------------------------------------------ sizes */

static __attribute__((noinline)) struct tcache *
tcache_elsewhere(const void *p)
{
        struct tcache *t = quick_tcache_at(p);

        return LIKELY(quick_is_near(t, p) || !p) ? t : quick_turn_to_near(handle_of_address(p), p);
}

/* The tcache to ask about what quick_is_block() does not know in the default heap's: that, or another heap's, or the
 * dummy. */
static ALWAYS_INLINE struct tcache *
tcache_anywhere(const void *p)
{
        return LIKELY(quick_is_near(tcache_default, p)) ? tcache_default : tcache_elsewhere(p);
}

static __attribute__((noinline)) size_t
default_usable_large(const void *p)
{
        const struct shheap *h = p ? handle_of_address(p) : NULL;

        return h ? handle_usable(h, p) : 0;
}

static __attribute__((noinline)) size_t
default_usable_slow(const void *p)
{
        uint32_t class1 = quick_class1_in_slab(tcache_anywhere(p), p);

        return LIKELY(class1 != 0) ? size_class_bytes(class1 - 1) : default_usable_large(p);
}

static __attribute__((noinline)) size_t
usable_slow(const struct shheap *h, const void *p)
{
        uint32_t class1 = quick_class1_in_slab(quick_tcache(h), p);

        if (LIKELY(class1 != 0))
                return size_class_bytes(class1 - 1);
        return handle_is_open(h, "shheap_usable_size") && p ? handle_usable(h, p) : 0;
}

size_t
shheap_usable_size(const shheap *h, const void *p)
{
        uint32_t tag;

        return LIKELY(quick_is_block(quick_tcache(h), p, &tag)) ? size_class_in_granule[quick_class1(tag)].bytes
                                                                : usable_slow(h, p);
}

size_t
shmalloc_usable_size(const void *p)
{
        uint32_t tag;

        return LIKELY(quick_is_block(tcache_default, p, &tag)) ? size_class_in_granule[quick_class1(tag)].bytes
                                                               : default_usable_slow(p);
}

size_t
shheap_nallocx(const shheap *h, size_t size, unsigned flags)
{
        uint32_t class_idx;

        if (!handle_is_open(h, "shheap_nallocx") || size == 0 || !flags_are_valid(h, flags) ||
            !size_class_for(size, flags_align(flags), &class_idx) ||
            call_usable(size, class_idx) > h->region.layout.n_chunks << GEO_CHUNK_SHIFT)
                return 0;
        return call_usable(size, class_idx);
}

/* ------------------------------------------------------------------ free_sized */

/* Whether a request of this size would be given a block like the one at p, by this alignment or a stricter one that p
 * has: true of what was asked for, and of all from there to what is usable. */
static bool
size_fits(const void *p, size_t size, size_t align, size_t usable)
{
        for (; align <= (size_t)1 << FLAGS_LG_ALIGN_MAX && (uintptr_t)p % align == 0; align *= 2) {
                uint32_t class_idx;

                if (size_class_for(size, align, &class_idx) && call_usable(size, class_idx) == usable)
                        return true;
        }
        return false;
}

static NOINLINE void
free_sized_in(struct shheap *h, void *p, size_t size, size_t align, const char *operation)
{
        size_t usable;

        if (!p)
                return;
        if (!h || !handle_has(h, p)) {
                fault_report_pointer(h, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, size);
                return;
        }
        usable = handle_usable(h, p);
        if (usable == 0)
                fault_report_pointer(h, handle_no_block(h, p), operation, p, size);
        else if (!size_fits(p, size, align, usable)) /* C23 leaves it undefined, we tell */
                fault_report_pointer(h, SHHEAP_FAULT_SIZE_MISMATCH, operation, p, size);
        else
                call_free(h, p, operation);
}

/* Of any slab; false: nothing was done. */
static bool
free_sized_in_slab(const struct tcache *t, const void *p, size_t size)
{
        uint32_t class1 = quick_class1_in_slab(t, p);

        return class1 != 0 && quick_class1_of(t, size) == class1 && tcache_push(t, p);
}

static __attribute__((noinline)) void
free_sized_slow(struct shheap *h, void *p, size_t size)
{
        if (!free_sized_in_slab(quick_tcache(h), p, size) && p && call_may_free(h, p, "shheap_free_sized", size))
                free_sized_in(h, p, size, 1, "shheap_free_sized");
}

void
shheap_free_sized(shheap *h, void *p, size_t size)
{
        if (UNLIKELY(!quick_free_sized(quick_tcache(h), p, size)))
                free_sized_slow(h, p, size);
}

void
shheap_free_aligned_sized(shheap *h, void *p, size_t align, size_t size)
{
        if (!p || !call_may_free(h, p, "shheap_free_aligned_sized", size))
                return;
        if (!bits_is_pow2(align) || (uintptr_t)p % align != 0)
                fault_report_pointer(h, SHHEAP_FAULT_SIZE_MISMATCH, "shheap_free_aligned_sized", p, size);
        else
                free_sized_in(h, p, size, align, "shheap_free_aligned_sized");
}

static __attribute__((noinline)) void
default_free_sized_slow(void *p, size_t size)
{
        if (p && !free_sized_in_slab(tcache_anywhere(p), p, size))
                free_sized_in(handle_of_address(p), p, size, 1, "shfree_sized");
}

void
shfree_sized(void *p, size_t size)
{
        if (UNLIKELY(!quick_free_sized(tcache_default, p, size)))
                default_free_sized_slow(p, size);
}

/* ------------------------------------------------------------------ realloc */

/* Makes the block fit what the call asks for where it stands, if it may.  0, or -ENOMEM: it cannot; -EINVAL: no block,
 * or a free one (fault noted). */
static int
resize_in_place(struct visit *v, uint64_t block_off, bool may_fit)
{
        const struct call *c = &v->thread->call;
        struct region *r = v->thread->region;
        uint32_t class_idx;

        if (block_usable(r, block_off, &class_idx) == 0)
                return fault_note(v->thread, FAULT_INVALID_FREE, block_off);
        if (block_is_home(r, block_off))
                return fault_note(v->thread, FAULT_DOUBLE_FREE, block_off);
        if (v->heap->is_checked && !call_check_free(v->thread, block_off))
                return -EINVAL;
        if (!may_fit)
                return -ENOMEM;
        if (class_idx == c->class_idx && class_idx != SIZE_CLASS_NONE)
                return 0;
        if (class_idx == SIZE_CLASS_NONE && c->class_idx == SIZE_CLASS_NONE)
                return huge_resize(v->thread, block_off, c->size);
        if (size_class_is_large(class_idx) && class_idx != SIZE_CLASS_NONE && size_class_is_large(c->class_idx))
                return large_resize(v->thread, block_off, c->class_idx);
        return -ENOMEM;
}

/* A block that cannot fit, whatever is done, is looked at all the same. */
static int
try_in_place(struct shheap *h, void *p, size_t size, size_t align, unsigned flags, const char *operation)
{
        uint32_t class_idx = SIZE_CLASS_NONE;
        bool may_fit = size_class_for(size, align, &class_idx) && (uintptr_t)p % align == 0;
        struct visit v;
        int err = visit_begin(&v, h, operation);

        if (err < 0)
                return err;
        call_for(v.thread, size, align, class_idx)->no_grow = (flags & SHA_NOGROW) != 0;
        err = resize_in_place(&v, handle_block_off(h, p), may_fit);
        visit_end(&v, operation, p, size);
        return err;
}

/* errno and message are those of the allocation that has failed. */
static int
retry_in_place(struct shheap *h, void *p, size_t size, size_t align, unsigned flags, const char *operation)
{
        int saved_errno = errno, err;

        err = try_in_place(h, p, size, align, flags, operation);
        errno = saved_errno;
        return err;
}

static void *
realloc_in(struct shheap *h, void *p, size_t size, unsigned flags, const char *operation)
{
        size_t align = flags_align(flags), old, now;
        void *new_p = NULL;
        int err;

        if (!handle_is_open(h, operation))
                return NULL;
        if (!p)
                return call_allocate(h, size, align, flags, 0, operation);
        if (!handle_has(h, p)) {
                fault_report_pointer(h, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, size);
                return NULL;
        }
        old = handle_usable(h, p);
        err = try_in_place(h, p, size, align, flags, operation);
        if (err < 0 && old == 0) { /* this process cannot use the heap, or others free and allocate it meanwhile */
                errno = -err;
                return NULL;
        }
        if (err < 0)
                new_p = call_allocate(h, size, align, flags & ~SHA_ZERO, 0, operation);
        if (err < 0 && !new_p) /* then all that is cached has gone home: perhaps what stood behind it */
                err = retry_in_place(h, p, size, align, flags, operation);
        if (err == 0) {
                call_fill_new(h, p, old, handle_usable(h, p), flags);
                return p;
        }
        if (!new_p)
                return NULL;
        /* All that was usable and still fits: what lies behind it is new.  Less would leave what others had there. */
        now = handle_usable(h, new_p);
        memcpy(new_p, p, old < now ? old : now);
        if (flags & SHA_ZERO)
                call_fill_new(h, new_p, old, now, flags);
        call_free(h, p, operation);
        return new_p;
}

/* By the magazines and the tag, of any slab's block; NULL: nothing was done. */
static void *
realloc_in_slab(struct tcache *t, void *p, size_t size, const char *operation)
{
        uint32_t class1 = quick_class1_in_slab(t, p), new_class1 = quick_class1_of(t, size);
        void *copy;

        if (class1 == 0 || class1 == new_class1)
                return class1 != 0 ? p : NULL;
        copy = quick_copy(t, p, class1, new_class1, operation);
        if (copy && !tcache_push(t, p))
                call_free(t->heap, p, operation);
        return copy;
}

static __attribute__((noinline)) void *
realloc_slow(struct shheap *h, void *p, size_t size, const char *operation)
{
        void *new_p = realloc_in_slab(quick_tcache(h), p, size, operation);

        if (!new_p && quick_turn_to(h))
                new_p = realloc_in_slab(quick_tcache(h), p, size, operation);
        if (!p && !new_p)
                new_p = quick_malloc(quick_tcache(h), size);
        return new_p ? new_p : realloc_in(h, p, size, 0, operation);
}

static NOINLINE void *
default_realloc_new(size_t size, const char *operation)
{
        struct shheap *h = handle_default();
        void *p = h ? quick_malloc(quick_tcache(h), size) : NULL;

        return p || !h ? p : realloc_in(h, NULL, size, 0, operation);
}

static __attribute__((noinline)) void *
default_realloc_slow(void *p, size_t size, const char *operation)
{
        struct shheap *h;
        void *new_p;

        if (!p)
                return default_realloc_new(size, operation);
        new_p = realloc_in_slab(tcache_anywhere(p), p, size, operation);
        if (LIKELY(new_p != NULL))
                return new_p;
        h = handle_of_address(p);
        if (h)
                return realloc_in(h, p, size, 0, operation);
        fault_report_pointer(NULL, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, size);
        return NULL;
}

/* A block that has been looked at, to another class. */
static __attribute__((noinline)) void *
realloc_moved(struct tcache *t, void *p, size_t size, uint32_t tag, uint32_t new_class1, const char *operation)
{
        void *copy = quick_copy(t, p, quick_class1(tag), new_class1, operation);

        if (LIKELY(copy != NULL)) {
                if (UNLIKELY(!tcache_push_tagged(t, p, tag)))
                        call_free(t->heap, p, operation);
                return copy;
        }
        return realloc_in(t->heap, p, size, 0, operation);
}

static ALWAYS_INLINE void *
heap_realloc(struct shheap *h, void *p, size_t size, const char *operation)
{
        struct tcache *t = quick_tcache(h);
        uint32_t tag, new_class1;

        if (UNLIKELY(!quick_is_block(t, p, &tag)))
                return realloc_slow(h, p, size, operation);
        new_class1 = quick_class1_of(t, size);
        return new_class1 == quick_class1(tag) ? p : realloc_moved(t, p, size, tag, new_class1, operation);
}

static ALWAYS_INLINE void *
default_realloc(void *p, size_t size, const char *operation)
{
        struct tcache *t = tcache_default;
        uint32_t tag, new_class1;

        if (UNLIKELY(!quick_is_block(t, p, &tag)))
                return default_realloc_slow(p, size, operation);
        new_class1 = quick_class1_of(t, size);
        return new_class1 == quick_class1(tag) ? p : realloc_moved(t, p, size, tag, new_class1, operation);
}

void *
shheap_realloc(shheap *h, void *p, size_t size)
{
        return heap_realloc(h, p, size, "shheap_realloc");
}

void *
shrealloc(void *p, size_t size)
{
        return default_realloc(p, size, "shrealloc");
}

static void *
array_too_large(size_t n, size_t size)
{
        errno = -error_set(-ENOMEM, "reallocarray: %zu times %zu bytes overflow", n, size);
        return NULL;
}

void *
shheap_reallocarray(shheap *h, void *p, size_t n, size_t size)
{
        size_t bytes;

        if (__builtin_mul_overflow(n, size, &bytes))
                return handle_is_open(h, "shheap_reallocarray") ? array_too_large(n, size) : NULL;
        return heap_realloc(h, p, bytes, "shheap_reallocarray");
}

void *
shreallocarray(void *p, size_t n, size_t size)
{
        size_t bytes;

        if (__builtin_mul_overflow(n, size, &bytes))
                return array_too_large(n, size);
        return default_realloc(p, bytes, "shreallocarray");
}

/* ------------------------------------------------------------------ *allocx */

void *
shheap_mallocx(shheap *h, size_t size, unsigned flags)
{
        void *p = NULL;

        if (size != 0 && flags == 0)
                p = quick_malloc(quick_tcache(h), size);
        else if (size != 0 && flags == SHA_ZERO)
                p = quick_calloc(quick_tcache(h), size, "shheap_mallocx");
        if (LIKELY(p != NULL))
                return p;
        if (!handle_is_open(h, "shheap_mallocx") || !call_check_size(size, "shheap_mallocx") ||
            !flags_check(h, flags, "shheap_mallocx"))
                return NULL;
        return call_allocate(h, size, flags_align(flags), flags, 0, "shheap_mallocx");
}

void *
shheap_rallocx(shheap *h, void *p, size_t size, unsigned flags)
{
        if (!handle_is_open(h, "shheap_rallocx") || !call_check_size(size, "shheap_rallocx") ||
            !flags_check(h, flags, "shheap_rallocx"))
                return NULL;
        return realloc_in(h, p, size, flags, "shheap_rallocx");
}

size_t
shheap_xallocx(shheap *h, void *p, size_t size, size_t extra, unsigned flags)
{
        size_t old, want, now;

        if (!handle_is_open(h, "shheap_xallocx"))
                return 0;
        if (!p || !handle_has(h, p)) {
                fault_report_pointer(h, SHHEAP_FAULT_FOREIGN_POINTER, "shheap_xallocx", p, size);
                return 0;
        }
        old = handle_usable(h, p);
        if (!call_check_size(size, "shheap_xallocx") || !flags_check(h, flags, "shheap_xallocx"))
                return old;
        if (__builtin_add_overflow(size, extra, &want))
                want = SIZE_MAX;
        if (try_in_place(h, p, want, flags_align(flags), flags, "shheap_xallocx") < 0 && extra > 0 && old < size)
                (void)try_in_place(h, p, size, flags_align(flags), flags, "shheap_xallocx");
        now = handle_usable(h, p);
        call_fill_new(h, p, old, now, flags);
        return now;
}
