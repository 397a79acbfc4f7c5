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
#include "api/quick.h"
#include "base/bits.h"
#include "base/error.h"
#include "base/place.h"
#include "blocks/fault.h"
#include "blocks/large.h"
#include "heap/find.h"
#include "heap/root.h"
#include "pages/arena.h"

enum { JUNK_FREE = 0x5a };

/* ------------------------------------------------------------------ allocate, in general */

bool
call_check_size(size_t size, const char *operation)
{
        if (size != 0)
                return true;
        errno = -error_set(-EINVAL, "%s: size 0", operation);
        return false;
}

uint64_t
call_usable(uint64_t size, uint32_t class_idx)
{
        return class_idx == SIZE_CLASS_NONE ? bits_align_up(size, GEO_PAGE_BYTES) : size_class_bytes(class_idx);
}

static enum call_fill
fill_wanted(const struct shheap *h, unsigned flags)
{
        if (flags & SHA_ZERO || h->is_zeroed)
                return FILL_ZERO;
        return h->is_junked ? FILL_JUNK : FILL_NONE;
}

void
call_fill_new(const struct shheap *h, void *p, size_t from, size_t to, unsigned flags)
{
        enum call_fill fill = fill_wanted(h, flags);

        if (from < to && fill != FILL_NONE)
                memset((char *)p + from, fill == FILL_ZERO ? 0 : CALL_JUNK, to - from);
}

static void *
never(size_t size, size_t align, const char *operation)
{
        errno = -error_set(-ENOMEM, "%s: %zu bytes aligned to %zu can never be had", operation, size, align);
        return NULL;
}

static void *
no_memory(size_t size, size_t align, unsigned flags, const char *operation)
{
        errno = -error_append_refused(error_set(-ENOMEM, "%s: no memory for %zu bytes aligned to %zu%s", operation,
                                                size, align, flags & SHA_NOGROW ? ", without growing" : ""));
        return NULL;
}

/* What the call asks for: through the magazines where it may. */
static void *
take(struct visit *v)
{
        const struct call *c = &v->thread->call;
        struct region *r = v->thread->region;
        bool is_small = size_class_is_small(c->class_idx);
        bool has_magazine =
                is_small || (size_class_is_large(c->class_idx) && c->align <= LARGE_COLOUR_ALIGN) ||
                (c->class_idx == SIZE_CLASS_NONE && c->size <= SIZE_CLASS_HUGE_MAX && c->align <= GEO_CHUNK_BYTES);
        void *p;

        if (v->tcache && has_magazine && (is_small || c->dest_off == 0) && !(c->flags & CALL_NO_MAGAZINE)) {
                if (c->dest_off != 0)
                        p = tcache_pop_to(v->tcache, c->class_idx, c->dest_off);
                else if (r->is_relocated || c->class_idx == SIZE_CLASS_NONE ||
                         !tcache_pop(v->tcache, c->class_idx + 1, &p))
                        p = NULL;
                if (p)
                        return p;
                if (!(c->flags & CALL_NO_GROW))
                        return tcache_malloc_slow(v->tcache);
        }
        if (c->arena != v->thread->arena && arena_init(r, c->arena) < 0)
                return NULL;
        return find_block(v->thread) < 0 ? NULL : region_block(r, c->found_off);
}

void *
call_allocate(struct shheap *h, size_t size, size_t align, unsigned flags, uint64_t dest_off, const char *operation)
{
        struct visit v;
        struct call *c;
        uint32_t class_idx;
        bool is_possible;
        void *p = NULL;
        int err;

        if (!size_class_for(size, align, &class_idx))
                return handle_is_open(h, operation) ? never(size, align, operation) : NULL;
        err = visit_begin(&v, h, operation);
        if (err < 0) {
                errno = -err;
                return NULL;
        }
        if (v.tcache && v.thread->region->n_nodes > 1 && !(flags & SHA_NOGROW))
                tcache_follow_node(v.tcache);
        c = call_for(v.thread, size, align, class_idx);
        c->dest_off = dest_off;
        if (dest_off != 0)
                c->fill = (uint8_t)fill_wanted(h, flags);
        flags_to_call(v.thread, flags);
        is_possible = flags_are_possible(v.thread, operation);
        if (is_possible)
                p = take(&v);
        visit_end(&v, operation, NULL, size);
        if (!is_possible)
                return NULL;
        if (!p)
                return no_memory(size, align, flags, operation);
        /* The hit paths believe an entry of a magazine; here somebody is going to write to what it names. */
        if (UNLIKELY(!handle_holds(h, p, call_usable(size, class_idx))))
                fault_report_pointer(h, SHHEAP_FAULT_METADATA, operation, p, size);
        if (dest_off == 0) /* else others have its reference already: dest_fill() */
                call_fill_new(h, p, 0, call_usable(size, class_idx), flags);
        return p;
}

/* ------------------------------------------------------------------ free, in general */

bool
call_may_free(const struct shheap *h, const void *p, const char *operation, size_t given_size)
{
        int saved_errno = errno;

        if (handle_is_open(h, operation))
                return true;
        fault_report_pointer(NULL, SHHEAP_FAULT_NOT_A_CLIENT, operation, p, given_size);
        errno = saved_errno;
        return false;
}

bool
call_check_free(struct thread *t, uint64_t block_off)
{
        struct region *r = t->region;
        uint32_t class_idx;

        if (block_usable(r, block_off, &class_idx) == 0) {
                (void)fault_note(t, FAULT_INVALID_FREE, block_off);
                return false;
        }
        if (block_is_free_or_cached(r, block_off)) {
                (void)fault_note(t, FAULT_DOUBLE_FREE, block_off);
                return false;
        }
        if (root_has(r, block_off)) {
                (void)fault_note(t, FAULT_NAMED_OBJECT, block_off);
                return false;
        }
        return true;
}

static NOINLINE void
free_in(struct shheap *h, void *p, const char *operation)
{
        int saved_errno = errno;
        uint64_t block_off = handle_block_off(h, p);
        struct visit v;
        uint32_t class_idx;
        int err = visit_begin_to_free(&v, h, operation);

        if (err < 0) {
                if (visit_is_short(err))
                        fault_tell_lost(h, p, operation, error_message());
                else
                        fault_report_pointer(h, SHHEAP_FAULT_NOT_A_CLIENT, operation, p, 0);
                errno = saved_errno;
                return;
        }
        if (!h->is_checked || call_check_free(v.thread, block_off)) {
                if (h->is_junked)
                        memset(p, JUNK_FREE, block_usable(v.thread->region, block_off, &class_idx));
                if (v.tcache)
                        tcache_free_slow(v.tcache, block_off);
                else
                        free_block_finally(v.thread, block_off);
        }
        visit_end(&v, operation, p, 0);
        errno = saved_errno;
}

static NOINLINE void
free_anywhere(void *p, const char *operation)
{
        struct shheap *h = p ? handle_of_address(p) : NULL;

        if (!p || tcache_push(quick_turn_to_near(h, p), p))
                return;
        if (h)
                free_in(h, p, operation);
        else
                fault_report_pointer(NULL, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, 0);
}

/* ------------------------------------------------------------------ shmalloc, shfree */

PLACE("hit_pair");
PLACE("hit_computed");

/* False: nothing was done.  *ret_p is NULL where there is no memory: errno and message are set. */
static bool
malloc_plain(struct tcache *t, size_t size, const char *operation, void **ret_p)
{
        bool is_done;

        if (!tcache_is_usable(t))
                return false;
        tcache_enter(t);
        is_done = tcache_malloc(t, size, ret_p);
        visit_leave_plain(t, operation, NULL, size);
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
        is_done = tcache_free(t, p);
        visit_leave_plain(t, operation, p, 0);
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
        h = handle_default();
        return h ? call_allocate(h, size, 1, 0, 0, "shmalloc") : NULL;
}

static NOINLINE void
default_free_slow(void *p)
{
        if (!free_plain(tcache_default, p, "shfree") && !free_plain(quick_tcache_at(p), p, "shfree"))
                free_anywhere(p, "shfree");
}

/* Behind the hit paths: what is huge hits here. */
static __attribute__((noinline)) void *
default_malloc_huge(size_t size)
{
        const struct tcache *t = tcache_default;
        void *p;

        if (LIKELY(quick_takes_huge(t, size)) && LIKELY(tcache_pop_huge(t, size, &p)))
                return p;
        return default_malloc_slow(size);
}

/* What is huge, another heap's, or has no room in the default heap's magazine.  Where a heap lies, chunks begin at
 * multiples of their size. */
static __attribute__((noinline)) void
default_free_elsewhere(void *p)
{
        if (UNLIKELY((uintptr_t)p % GEO_CHUNK_BYTES == 0) && tcache_push_huge(tcache_default, p))
                return;
        if (UNLIKELY(!tcache_push(quick_tcache_at(p), p)))
                default_free_slow(p);
}

/* Beyond the table of sizes: the class is computed. */
static PLACED_COMPUTED __attribute__((noinline)) void *
default_malloc_computed(size_t size)
{
        const struct tcache *t = tcache_default;
        void *p;

        if (LIKELY(size <= GEO_LARGE_MAX && t->by_size[0] != 0 && tcache_pop(t, size_class_of(size) + 1, &p)))
                return p;
        return size > GEO_LARGE_MAX ? default_malloc_huge(size) : default_malloc_slow(size);
}

PLACED_PAIR void *
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

PLACED_PAIR void
shfree(void *p)
{
        const struct tcache *t = tcache_default;

        if (UNLIKELY(!tcache_push(t, p)))
                default_free_elsewhere(p);
}

/* ------------------------------------------------------------------ the same on a heap */

bool
quick_turn_to(const struct shheap *h)
{
        return h && quick_tcache(h) == tcache_none() && tcache_find(h) && quick_tcache(h) != tcache_none();
}

struct tcache *
quick_turn_to_near(const struct shheap *h, const void *p)
{
        struct tcache *t;

        if (!h)
                return tcache_none();
        (void)quick_turn_to(h);
        t = quick_tcache(h);
        if (t == tcache_default || t == quick_tcache_at(p)) /* that has been tried */
                return tcache_none();
        tcache_remember(t, p);
        return t;
}

void
quick_check_taken(const struct tcache *t, const void *p, uint64_t bytes, const char *operation)
{
        if (!handle_holds(t->heap, p, bytes))
                fault_report_pointer(t->heap, SHHEAP_FAULT_METADATA, operation, p, bytes);
}

static NOINLINE void *
malloc_slow(struct shheap *h, size_t size)
{
        void *p;

        if (quick_turn_to(h))
                return shheap_malloc(h, size);
        return malloc_plain(quick_tcache(h), size, "shheap_malloc", &p)
                       ? p
                       : call_allocate(h, size, 1, 0, 0, "shheap_malloc");
}

/* As default_malloc_huge(). */
static __attribute__((noinline)) void *
malloc_huge(struct shheap *h, size_t size)
{
        const struct tcache *t = quick_tcache(h);
        void *p;

        if (LIKELY(quick_takes_huge(t, size)) && LIKELY(tcache_pop_huge(t, size, &p)))
                return p;
        return malloc_slow(h, size);
}

void *
shheap_malloc(shheap *h, size_t size)
{
        const struct tcache *t = quick_tcache(h);
        void *p;

        return LIKELY(tcache_pop(t, quick_class1_of(t, size), &p)) ? p : malloc_huge(h, size);
}

/* The next call of this thread finds the heap by the address. */
static NOINLINE void *
malloc_near_slow(const void *near, size_t size)
{
        struct shheap *h = handle_of_address(near);
        struct tcache *t;

        if (!h && !handle_is_open(h, "shheap_malloc_near"))
                return NULL;
        (void)quick_turn_to(h);
        t = quick_tcache(h);
        if (t != tcache_none() && t != quick_tcache_at(near))
                tcache_remember(t, near);
        return shheap_malloc(h, size);
}

void *
shheap_malloc_near(const void *near, size_t size)
{
        const struct tcache *t = tcache_last;
        void *p;

        if (UNLIKELY(!quick_is_near(t, near) || t->hit_heap == TCACHE_HIDDEN))
                t = quick_tcache_at(near);
        if (LIKELY(quick_is_near(t, near)) && LIKELY(tcache_pop(t, quick_class1_of(t, size), &p)))
                return p;
        return malloc_near_slow(near, size);
}

static NOINLINE void
free_slow(struct shheap *h, void *p, const char *operation)
{
        if (quick_turn_to(h) && tcache_push(quick_tcache(h), p))
                return;
        if (!p || free_plain(quick_tcache(h), p, operation))
                return;
        if (!call_may_free(h, p, operation, 0))
                return;
        if (LIKELY(handle_has(h, p)))
                free_in(h, p, operation);
        else
                fault_report_pointer(h, SHHEAP_FAULT_FOREIGN_POINTER, operation, p, 0);
}

/* As default_free_elsewhere(). */
static __attribute__((noinline)) void
free_huge(struct shheap *h, void *p, const char *operation)
{
        if (UNLIKELY(!tcache_push_huge(quick_tcache(h), p)))
                free_slow(h, p, operation);
}

void
call_free(struct shheap *h, void *p, const char *operation)
{
        if (UNLIKELY(!tcache_push(quick_tcache(h), p)))
                free_huge(h, p, operation);
}

void
shheap_free(shheap *h, void *p)
{
        if (UNLIKELY(!tcache_push(quick_tcache(h), p)))
                free_huge(h, p, "shheap_free");
}

/* ------------------------------------------------------------------ calloc, aligned */

static NOINLINE void *
calloc_in(struct shheap *h, size_t n, size_t size, const char *operation)
{
        size_t bytes;

        if (!handle_is_open(h, operation))
                return NULL;
        if (__builtin_mul_overflow(n, size, &bytes)) {
                errno = -error_set(-ENOMEM, "%s: %zu times %zu bytes overflow", operation, n, size);
                return NULL;
        }
        return call_allocate(h, bytes, 1, SHA_ZERO, 0, operation);
}

static NOINLINE void *
default_calloc_slow(size_t n, size_t size)
{
        struct shheap *h = handle_default();

        return h ? calloc_in(h, n, size, "shcalloc") : NULL;
}

void *
shheap_calloc(shheap *h, size_t n, size_t size)
{
        size_t bytes;
        void *p = NULL;

        if (LIKELY(!__builtin_mul_overflow(n, size, &bytes)))
                p = quick_calloc(quick_tcache(h), bytes, "shheap_calloc");
        if (LIKELY(p != NULL))
                return p;
        return quick_turn_to(h) ? shheap_calloc(h, n, size) : calloc_in(h, n, size, "shheap_calloc");
}

void *
shcalloc(size_t n, size_t size)
{
        size_t bytes;
        void *p = NULL;

        if (LIKELY(!__builtin_mul_overflow(n, size, &bytes)))
                p = quick_calloc(tcache_default, bytes, "shcalloc");
        return LIKELY(p != NULL) ? p : default_calloc_slow(n, size);
}

static NOINLINE void *
aligned_in(struct shheap *h, size_t align, size_t size, const char *operation)
{
        if (!handle_is_open(h, operation))
                return NULL;
        if (!bits_is_pow2(align) || align > (size_t)1 << FLAGS_LG_ALIGN_MAX) {
                errno = -error_set(-EINVAL, "%s: alignment %zu is not a power of two up to 1 GiB", operation, align);
                return NULL;
        }
        return call_allocate(h, size, align, 0, 0, operation);
}

static NOINLINE void *
default_aligned_slow(size_t align, size_t size)
{
        struct shheap *h = handle_default();

        return h ? aligned_in(h, align, size, "shaligned_alloc") : NULL;
}

void *
shheap_aligned_alloc(shheap *h, size_t align, size_t size)
{
        void *p = quick_aligned(quick_tcache(h), align, size);

        if (LIKELY(p != NULL))
                return p;
        return quick_turn_to(h) ? shheap_aligned_alloc(h, align, size)
                                : aligned_in(h, align, size, "shheap_aligned_alloc");
}

void *
shaligned_alloc(size_t align, size_t size)
{
        void *p = quick_aligned(tcache_default, align, size);

        return LIKELY(p != NULL) ? p : default_aligned_slow(align, size);
}

static NOINLINE int
posix_memalign_in(struct shheap *h, void **ret_p, size_t align, size_t size)
{
        int saved_errno = errno, err;
        void *p;

        if (!handle_is_open(h, "posix_memalign")) {
                errno = saved_errno;
                return EBADF;
        }
        if (!bits_is_pow2(align) || align % sizeof(void *) != 0)
                return -error_set(-EINVAL, "posix_memalign: alignment %zu is no power of two, or below %zu", align,
                                  sizeof(void *));
        p = call_allocate(h, size, align, 0, 0, "posix_memalign");
        err = p ? 0 : errno;
        errno = saved_errno;
        if (p)
                *ret_p = p;
        return err;
}

static NOINLINE int
default_posix_memalign_slow(void **ret_p, size_t align, size_t size)
{
        int saved_errno = errno, err;
        struct shheap *h = handle_default();

        err = h ? 0 : errno;
        errno = saved_errno;
        return h ? posix_memalign_in(h, ret_p, align, size) : err;
}

static ALWAYS_INLINE bool
quick_posix_memalign(const struct tcache *t, void **ret_p, size_t align, size_t size)
{
        void *p = align >= sizeof(void *) ? quick_aligned(t, align, size) : NULL;

        if (LIKELY(p != NULL))
                *ret_p = p;
        return p != NULL;
}

int
shheap_posix_memalign(shheap *h, void **ret_p, size_t align, size_t size)
{
        return LIKELY(quick_posix_memalign(quick_tcache(h), ret_p, align, size))
                       ? 0
                       : posix_memalign_in(h, ret_p, align, size);
}

int
shposix_memalign(void **ret_p, size_t align, size_t size)
{
        return LIKELY(quick_posix_memalign(tcache_default, ret_p, align, size))
                       ? 0
                       : default_posix_memalign_slow(ret_p, align, size);
}

/* ------------------------------------------------------------------ strings */

static NOINLINE char *
string_in(struct shheap *h, const char *s, size_t length, const char *operation)
{
        char *copy = call_allocate(h, length + 1, 1, 0, 0, operation);

        if (copy) {
                memcpy(copy, s, length);
                copy[length] = '\0';
        }
        return copy;
}

static inline char *
heap_string(struct shheap *h, const char *s, size_t length, const char *operation)
{
        char *copy = quick_string(quick_tcache(h), s, length, operation);

        return LIKELY(copy != NULL) ? copy : string_in(h, s, length, operation);
}

static inline char *
default_string(const char *s, size_t length, const char *operation)
{
        char *copy = quick_string(tcache_default, s, length, operation);
        struct shheap *h;

        if (LIKELY(copy != NULL))
                return copy;
        h = handle_default();
        return h ? string_in(h, s, length, operation) : NULL;
}

char *
shheap_strdup(shheap *h, const char *s)
{
        return heap_string(h, s, strlen(s), "shheap_strdup");
}

char *
shheap_strndup(shheap *h, const char *s, size_t n)
{
        return heap_string(h, s, strnlen(s, n), "shheap_strndup");
}

char *
shstrdup(const char *s)
{
        return default_string(s, strlen(s), "shstrdup");
}

char *
shstrndup(const char *s, size_t n)
{
        return default_string(s, strnlen(s, n), "shstrndup");
}
