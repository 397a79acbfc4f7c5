/*
 * malloc.c - the malloc family: the hit paths, and the way into the slow ones.
 *
 * shmalloc and shfree read one thread-local pointer and the thread's magazine; they execute no atomic instruction, no
 * fence, and no branch but "is it small", "is there one" and "is there room".  Everything else (not attached, another
 * heap, a fork in between, NULL, misuse) shows as an empty or full magazine, or as an address beyond the limit, and is
 * sorted out behind that.
 */
#include <errno.h>
#include <string.h>

#include "api/flags.h"
#include "api/malloc.h"
#include "base/bits.h"
#include "base/error.h"
#include "blocks/fault.h"
#include "blocks/large.h"
#include "heap/root.h"
#include "pages/arena.h"

enum { JUNK_FREE = 0x5a };

#define NOINLINE __attribute__((noinline, cold))

/* ------------------------------------------------------------------ into a heap and out of it */

bool
heap_enter(struct entry *e, struct shheap *h)
{
        int err;

        e->heap = h;
        e->is_lent = false;
        if (h->is_readonly) {
                errno = -error_set(-EACCES, "the heap is open read-only: it can be read, not allocated from");
                return false;
        }
        e->t = tcache_get(h, &err);
        if (e->t) {
                e->thread = &e->t->thread;
                tcache_enter(e->t);
                return true;
        }
        if (err == -EUSERS || err == -ENOMEM)
                err = thread_borrow(h, &e->borrowed);
        if (err == -EBUSY) { /* whoever has that one may be stopped */
                err = thread_lend(h, &e->borrowed, &e->lent);
                e->is_lent = err == 0;
        }
        e->thread = &e->borrowed;
        if (err < 0)
                errno = -err;
        return err == 0;
}

static bool
is_shortage(int err)
{
        return err == EUSERS || err == ENOMEM || err == ENOSPC;
}

bool
heap_enter_to_free(struct entry *e, struct shheap *h)
{
        int err;

        if (LIKELY(heap_enter(e, h)))
                return true;
        err = errno;
        e->is_lent = is_shortage(err) && thread_lend(h, &e->borrowed, &e->lent) == 0;
        errno = err;
        return e->is_lent;
}

static void
let_go(struct entry *e)
{
        if (e->t)
                tcache_leave(e->t);
        else if (UNLIKELY(e->is_lent))
                thread_give_back(e->heap, &e->borrowed, &e->lent);
        else
                thread_return(e->heap, &e->borrowed);
}

void
heap_leave(struct entry *e, const char *operation, const void *p, size_t given_size)
{
        struct thread noted;

        if (LIKELY(e->thread->fault.what == FAULT_NONE)) {
                let_go(e);
                return;
        }
        noted = *e->thread;
        e->thread->fault.what = FAULT_NONE;
        let_go(e);
        fault_report(e->heap, &noted, operation, p, given_size);
}

/* ------------------------------------------------------------------ allocate, in general */

bool
heap_size_check(size_t size, const char *operation)
{
        if (size != 0)
                return true;
        errno = -error_set(-EINVAL, "%s: size 0", operation);
        return false;
}

uint64_t
request_usable(const struct request *rq)
{
        return rq->class_idx == SIZE_CLASS_NONE ? bits_align_up(rq->size, GEO_PAGE_BYTES)
                                                : size_class_bytes(rq->class_idx);
}

static enum thread_fill
fill_wanted(const struct shheap *h, unsigned flags)
{
        if (flags & SHA_ZERO || h->is_zeroed)
                return FILL_ZERO;
        return h->is_junked ? FILL_JUNK : FILL_NONE;
}

void
heap_fill_new(const struct shheap *h, void *p, size_t from, size_t to, unsigned flags)
{
        enum thread_fill fill = fill_wanted(h, flags);

        if (from < to && fill != FILL_NONE)
                memset((char *)p + from, fill == FILL_ZERO ? 0 : THREAD_JUNK, to - from);
}

static void *
no_memory(size_t size, size_t align, unsigned flags, const char *operation)
{
        struct request rq = {.size = size ? size : 1, .align = align};

        if (request_classify(&rq))
                errno = -error_append_refused(error_set(-ENOMEM, "%s: no memory for %zu bytes aligned to %zu%s",
                                                        operation, size, align,
                                                        flags & SHA_NOGROW ? ", without growing" : ""));
        else
                errno = -error_set(-ENOMEM, "%s: %zu bytes aligned to %zu can never be had", operation, size, align);
        return NULL;
}

/* Through the magazines where the request allows it. */
static void *
take(struct entry *e, struct request *rq)
{
        struct region *r = e->thread->region;
        bool is_small = size_class_is_small(rq->class_idx);
        bool has_magazine = is_small || (size_class_is_large(rq->class_idx) && rq->align <= LARGE_COLOUR_ALIGN);
        uint64_t block_off;
        void *p;

        if (e->t && has_magazine && (is_small || rq->dest_off == 0) && !(rq->flags & ALLOC_NO_MAGAZINE)) {
                if (rq->dest_off != 0)
                        p = tcache_pop_to(e->t, rq->class_idx, rq->dest_off);
                else if (r->is_relocated || !tcache_pop(e->t, rq->class_idx + 1, &p))
                        p = NULL;
                if (p)
                        return p;
                if (!(rq->flags & ALLOC_NO_GROW))
                        return tcache_malloc_slow(e->t, size_class_bytes(rq->class_idx), rq->dest_off);
        }
        if (rq->arena != e->thread->arena && arena_init(r, rq->arena) < 0)
                return NULL;
        return alloc_block(e->thread, rq, &block_off) < 0 ? NULL : region_block(r, block_off);
}

void *
heap_allocate(struct shheap *h, size_t size, size_t align, unsigned flags, uint64_t dest_off, const char *operation)
{
        struct request rq = {.size = size ? size : 1, .align = align, .dest_off = dest_off};
        struct entry e;
        bool is_possible;
        void *p = NULL;

        if (!heap_is_open(h, operation))
                return NULL;
        if (!request_classify(&rq))
                return no_memory(size, align, flags, operation);
        if (!heap_enter(&e, h))
                return NULL;
        if (e.t && e.thread->region->n_nodes > 1 && !(flags & SHA_NOGROW))
                tcache_follow_node(e.t);
        rq.arena = e.thread->arena;
        flags_to_request(&rq, e.thread, flags);
        is_possible = flags_are_possible(&rq, e.thread->region, operation);
        e.thread->fill = (uint8_t)(dest_off != 0 ? fill_wanted(h, flags) : FILL_NONE);
        if (is_possible)
                p = take(&e, &rq);
        e.thread->fill = FILL_NONE;
        heap_leave(&e, operation, NULL, size);
        if (!is_possible)
                return NULL;
        if (!p)
                return no_memory(size, align, flags, operation);
        /* The hit paths believe an entry of a magazine; here somebody is going to write to what it names. */
        if (UNLIKELY(!heap_holds(h, p, request_usable(&rq))))
                fault_report_pointer(h, SHHEAP_FAULT_METADATA, operation, p, size);
        if (dest_off == 0) /* else others have its reference already: dest_fill() */
                heap_fill_new(h, p, 0, request_usable(&rq), flags);
        return p;
}

/* ------------------------------------------------------------------ free, in general */

bool
heap_can_free(const struct shheap *h, const void *p, const char *operation, size_t given_size)
{
        int saved_errno = errno;

        if (heap_is_open(h, operation))
                return true;
        fault_report_pointer(NULL, SHHEAP_FAULT_NOT_A_CLIENT, operation, p, given_size);
        errno = saved_errno;
        return false;
}

bool
heap_check_free(struct entry *e, uint64_t block_off)
{
        struct region *r = e->thread->region;
        uint32_t class_idx;

        if (block_usable(r, block_off, &class_idx) == 0) {
                (void)fault_note(e->thread, FAULT_INVALID_FREE, block_off);
                return false;
        }
        if (block_is_free_or_cached(r, block_off)) {
                (void)fault_note(e->thread, FAULT_DOUBLE_FREE, block_off);
                return false;
        }
        if (root_has(r, block_off)) {
                (void)fault_note(e->thread, FAULT_NAMED_OBJECT, block_off);
                return false;
        }
        return true;
}

static NOINLINE void
free_in(struct shheap *h, void *p, const char *operation)
{
        int saved_errno = errno;
        uint64_t block_off = heap_block_off(h, p);
        struct entry e;

        if (!heap_enter_to_free(&e, h)) {
                if (is_shortage(errno))
                        fault_tell_lost(h, p, operation, error_message());
                else
                        fault_report_pointer(h, SHHEAP_FAULT_NOT_A_CLIENT, operation, p, 0);
                errno = saved_errno;
                return;
        }
        if (!h->is_checked || heap_check_free(&e, block_off)) {
                uint32_t class_idx;

                if (h->is_junked)
                        memset(p, JUNK_FREE, block_usable(e.thread->region, block_off, &class_idx));
                if (e.t)
                        tcache_free_slow(e.t, block_off);
                else
                        free_block_finally(e.thread, block_off);
        }
        heap_leave(&e, operation, p, 0);
        errno = saved_errno;
}

static NOINLINE void
free_anywhere(void *p, const char *operation)
{
        struct shheap *h;

        if (!p)
                return;
        h = heap_of_address(p);
        if (h)
                free_in(h, p, operation);
        else
                fault_report_pointer(NULL, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, 0);
}

/* ------------------------------------------------------------------ shmalloc, shfree */

/* By the spare magazine; NULL: it takes more than that.  Only small classes have one. */
static void *
malloc_spare(struct tcache *t, size_t size)
{
        uint32_t class_idx1 = 0;
        void *p;

        if (size <= SIZE_CLASS_BY_SIZE_MAX)
                class_idx1 = t->by_size[size];
        else if (size <= GEO_SMALL_MAX && t->by_size[0] != 0)
                class_idx1 = size_class_of(size) + 1;
        p = class_idx1 != 0 ? tcache_malloc_spare(t, class_idx1) : NULL;
        if (p && t->thread.region->n_nodes > 1)
                tcache_follow_node(t);
        return p;
}

/* An attached thread in an open heap whose options ask for nothing beyond a hit: what remains to do of a plain call can be
 * done in the tcache. */
static bool
is_plain(const struct tcache *t)
{
        return t->limit != 0 && t->by_size[0] != 0 && !load_relaxed(&t->heap->is_closed);
}

static void
leave_plain(struct tcache *t, const char *operation, const void *p, size_t given_size)
{
        struct entry e;

        if (LIKELY(t->thread.fault.what == FAULT_NONE)) {
                tcache_leave(t);
                return;
        }
        e.heap = t->heap;
        e.t = t;
        e.thread = &t->thread;
        e.is_lent = false;
        heap_leave(&e, operation, p, given_size);
}

/* False: nothing was done.  *ret_p is NULL where there is no memory: errno and message are set. */
static bool
malloc_plain(struct tcache *t, size_t size, const char *operation, void **ret_p)
{
        bool is_done = true;

        if (!tcache_is_usable(t))
                return false;
        tcache_enter(t);
        *ret_p = malloc_spare(t, size);
        if (*ret_p) {
                tcache_leave(t);
                return true;
        }
        is_done = is_plain(t);
        if (is_done && t->thread.region->n_nodes > 1)
                tcache_follow_node(t);
        if (is_done)
                *ret_p = tcache_malloc_slow(t, size, 0);
        leave_plain(t, operation, NULL, size);
        if (UNLIKELY(is_done && !*ret_p))
                *ret_p = no_memory(size, 1, 0, operation);
        return is_done;
}

/* False: nothing was done. */
static bool
free_plain(struct tcache *t, void *p, const char *operation)
{
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks);
        int saved_errno = errno;
        bool is_done;

        if (block_off >= t->limit || !tcache_is_usable(t))
                return false;
        tcache_enter(t);
        if (tcache_free_spare(t, p)) {
                tcache_leave(t);
                return true;
        }
        is_done = is_plain(t);
        if (is_done)
                tcache_free_slow(t, block_off);
        leave_plain(t, operation, p, 0);
        errno = saved_errno;
        return is_done;
}

static NOINLINE void *
default_malloc_slow(size_t size)
{
        struct tcache *t = tcache_default;
        struct shheap *h;
        void *p;

        if (t->heap == tcache_default_heap() && malloc_plain(t, size, "shmalloc", &p))
                return p;
        h = heap_default_open();
        return h ? heap_allocate(h, size, 1, 0, 0, "shmalloc") : NULL;
}

static NOINLINE void
default_free_slow(void *p)
{
        if (!free_plain(tcache_default, p, "shfree"))
                free_anywhere(p, "shfree");
}

/* Beyond the table of sizes: the class is computed. */
static __attribute__((noinline)) void *
default_malloc_computed(size_t size)
{
        const struct tcache *t = tcache_default;

        void *p;

        if (LIKELY(size <= GEO_LARGE_MAX && t->by_size[0] != 0 && tcache_pop(t, size_class_of(size) + 1, &p)))
                return p;
        return default_malloc_slow(size);
}

void *
shmalloc(size_t size)
{
        const struct tcache *t = tcache_default;
        void *p;

        if (UNLIKELY(size > SIZE_CLASS_BY_SIZE_MAX))
                return default_malloc_computed(size);
        if (UNLIKELY(!tcache_pop(t, t->by_size[size], &p)))
                return default_malloc_slow(size);
        return p;
}

void
shfree(void *p)
{
        const struct tcache *t = tcache_default;

        if (UNLIKELY(!tcache_push(t, p)))
                default_free_slow(p);
}

/* ------------------------------------------------------------------ the same on a heap */

static inline struct tcache *
quick_tcache(const struct shheap *h)
{
        struct tcache *t = tcache_last;

        return LIKELY(t->heap == h) ? t : tcache_none();
}

static NOINLINE void *
malloc_slow(struct shheap *h, size_t size)
{
        void *p;

        return malloc_plain(quick_tcache(h), size, "shheap_malloc", &p)
                       ? p
                       : heap_allocate(h, size, 1, 0, 0, "shheap_malloc");
}

void *
shheap_malloc(shheap *h, size_t size)
{
        const struct tcache *t = quick_tcache(h);
        void *p;

        if (LIKELY(size <= SIZE_CLASS_BY_SIZE_MAX)) {
                if (LIKELY(tcache_pop(t, t->by_size[size], &p)))
                        return p;
        } else if (size <= GEO_LARGE_MAX && t->by_size[0] != 0) {
                if (LIKELY(tcache_pop(t, size_class_of(size) + 1, &p)))
                        return p;
        }
        return malloc_slow(h, size);
}

static NOINLINE void
free_slow(struct shheap *h, void *p, const char *operation)
{
        if (!p || free_plain(quick_tcache(h), p, operation))
                return;
        if (!heap_can_free(h, p, operation, 0))
                return;
        if (LIKELY(heap_has(h, p)))
                free_in(h, p, operation);
        else
                fault_report_pointer(h, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, 0);
}

void
heap_free(struct shheap *h, void *p, const char *operation)
{
        if (UNLIKELY(!tcache_push(quick_tcache(h), p)))
                free_slow(h, p, operation);
}

void
shheap_free(shheap *h, void *p)
{
        heap_free(h, p, "shheap_free");
}

/* ------------------------------------------------------------------ calloc, aligned */

static void *
calloc_in(struct shheap *h, size_t n, size_t size, const char *operation)
{
        size_t bytes;

        if (!heap_is_open(h, operation))
                return NULL;
        if (__builtin_mul_overflow(n, size, &bytes)) {
                errno = -error_set(-ENOMEM, "%s: %zu times %zu bytes overflow", operation, n, size);
                return NULL;
        }
        return heap_allocate(h, bytes, 1, SHA_ZERO, 0, operation);
}

void *
shheap_calloc(shheap *h, size_t n, size_t size)
{
        return calloc_in(h, n, size, "shheap_calloc");
}

void *
shcalloc(size_t n, size_t size)
{
        struct shheap *h = heap_default_open();

        return h ? calloc_in(h, n, size, "shcalloc") : NULL;
}

static void *
aligned_in(struct shheap *h, size_t align, size_t size, const char *operation)
{
        if (!heap_is_open(h, operation))
                return NULL;
        if (!bits_is_pow2(align) || align > (size_t)1 << FLAGS_LG_ALIGN_MAX) {
                errno = -error_set(-EINVAL, "%s: alignment %zu is not a power of two up to 1 GiB", operation, align);
                return NULL;
        }
        return heap_allocate(h, size, align, 0, 0, operation);
}

void *
shheap_aligned_alloc(shheap *h, size_t align, size_t size)
{
        return aligned_in(h, align, size, "shheap_aligned_alloc");
}

void *
shaligned_alloc(size_t align, size_t size)
{
        struct shheap *h = heap_default_open();

        return h ? aligned_in(h, align, size, "shaligned_alloc") : NULL;
}

int
shheap_posix_memalign(shheap *h, void **ret_p, size_t align, size_t size)
{
        int saved_errno = errno, err;
        void *p;

        if (!heap_is_open(h, "posix_memalign")) {
                errno = saved_errno;
                return EBADF;
        }
        if (!bits_is_pow2(align) || align % sizeof(void *) != 0)
                return -error_set(-EINVAL, "posix_memalign: alignment %zu is no power of two, or below %zu", align,
                                  sizeof(void *));
        p = heap_allocate(h, size, align, 0, 0, "posix_memalign");
        err = p ? 0 : errno;
        errno = saved_errno;
        if (p)
                *ret_p = p;
        return err;
}

int
shposix_memalign(void **ret_p, size_t align, size_t size)
{
        int saved_errno = errno, err;
        struct shheap *h = heap_default_open();

        err = h ? 0 : errno;
        errno = saved_errno;
        return h ? shheap_posix_memalign(h, ret_p, align, size) : err;
}

/* ------------------------------------------------------------------ strings */

static char *
strndup_in(struct shheap *h, const char *s, size_t n, const char *operation)
{
        size_t length = strnlen(s, n);
        char *copy = heap_allocate(h, length + 1, 1, 0, 0, operation);

        if (copy) {
                memcpy(copy, s, length);
                copy[length] = '\0';
        }
        return copy;
}

char *
shheap_strdup(shheap *h, const char *s)
{
        return strndup_in(h, s, strlen(s), "shheap_strdup");
}

char *
shheap_strndup(shheap *h, const char *s, size_t n)
{
        return strndup_in(h, s, n, "shheap_strndup");
}

char *
shstrdup(const char *s)
{
        struct shheap *h = heap_default_open();

        return h ? strndup_in(h, s, strlen(s), "shstrdup") : NULL;
}

char *
shstrndup(const char *s, size_t n)
{
        struct shheap *h = heap_default_open();

        return h ? strndup_in(h, s, n, "shstrndup") : NULL;
}

/* ------------------------------------------------------------------ crash-atomic hand-over */

uint64_t
heap_dest_off(const struct shheap *h, const shref *dest, const char *operation)
{
        if (dest && (uintptr_t)dest % sizeof *dest == 0 && heap_has(h, dest))
                return h->region.layout.chunks_off + heap_block_off(h, dest);
        errno = -error_set(-EINVAL, "%s: dest must be an 8-aligned word in a block of the same heap", operation);
        return 0;
}

void *
shheap_malloc_to(shheap *h, size_t size, unsigned flags, shref *dest)
{
        uint64_t dest_off = heap_is_open(h, "shheap_malloc_to") ? heap_dest_off(h, dest, "shheap_malloc_to") : 0;

        if (dest_off == 0 || !heap_size_check(size, "shheap_malloc_to") || !flags_check(h, flags, "shheap_malloc_to"))
                return NULL;
        return heap_allocate(h, size, flags_align(flags), flags, dest_off, "shheap_malloc_to");
}

int
shheap_free_from(shheap *h, shref *dest)
{
        uint64_t dest_off, block_off;
        struct entry e;
        int err = -EBUSY;

        if (!heap_is_open(h, "shheap_free_from"))
                return -EBADF;
        dest_off = heap_dest_off(h, dest, "shheap_free_from");
        if (dest_off == 0)
                return -EINVAL;
        if (load_relaxed(dest) == SHREF_NULL)
                return 0;
        block_off = load_relaxed(dest) - h->region.layout.chunks_off;
        if (!heap_enter_to_free(&e, h))
                return -errno;
        if (h->is_checked && !heap_check_free(&e, block_off))
                err = -EINVAL;
        if (err == -EBUSY && e.t && tcache_push_from(e.t, block_off, dest_off))
                err = 0;
        if (err == -EBUSY)
                err = free_block_patiently(e.thread, block_off, dest_off);
        heap_leave(&e, "shheap_free_from", region_block(e.thread->region, block_off), 0);
        return err;
}
