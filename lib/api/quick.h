/*
 * quick.h - the rest of the family by hits: what the thread's magazines and the tags are enough for.
 *
 * Like shmalloc and shfree these read the thread's tcache, change nothing but magazines by tcache_pop() and
 * tcache_push(), and leave everything else to the long way: each says so and has done nothing then.  The dummy, and a
 * heap whose options ask for more, have no sizes and a limit of 0.  So whatever a call must not do without looking
 * (closed, another heap, a fork in between, NULL, misuse) goes the long way here, too.
 *
 * A magazine's entry and a tag are believed as the hits believe them, but where we ourselves write to a block: then it
 * lies in the heap; or tell that there is one: then it lies below the limit, starts where a block of its class does,
 * and is not free in its slab.
 */
#ifndef API_QUICK_H
#define API_QUICK_H

#include <string.h>

#include "blocks/slab.h"
#include "tcache/tcache.h"

#define ALWAYS_INLINE inline __attribute__((always_inline))
#define NOINLINE      __attribute__((noinline, cold))

/* So likely that a branch is better than a conditional move, which would wait for what it is about. */
#define SURELY(condition) __builtin_expect_with_probability(!!(condition), 1, 0.999)

/* The calling thread's tcache of this heap if it was the last one that it left, or is known; else the dummy. */
static ALWAYS_INLINE struct tcache *
quick_tcache(const struct shheap *h)
{
        struct tcache *t = tcache_last;

        if (LIKELY(t->hit_heap == h))
                return t;
        t = tcache_known_of(h);
        return SURELY(t->hit_heap == h) ? t : tcache_none();
}

/* The one of the heap that an address lies in, if a block near it is remembered; else another one, or the dummy. */
static ALWAYS_INLINE struct tcache *
quick_tcache_at(const void *p)
{
        struct tcache *t = tcache_known_at(p);

        return SURELY(t->hit_heap != TCACHE_HIDDEN) ? t : tcache_none();
}

/* True: the thread has a tcache of this heap that was not known, and now is: a call may try to be a hit once more. */
bool quick_turn_to(const struct shheap *h);

/* The same by a block of the heap, for who has tried tcache_default and quick_tcache_at(p): the tcache, remembered now;
 * the dummy, if it is one of these or there is none. */
struct tcache *quick_turn_to_near(const struct shheap *h, const void *p);

/* A block that was taken lies beyond the limit, which may be behind: reports a fault, and does not return, where it is
 * beyond the heap. */
__attribute__((noinline)) void quick_check_taken(const struct tcache *t, const void *p, uint64_t bytes,
                                                 const char *operation);

/* Of a size, the class plus one whose magazine serves it; 0: go the long way. */
static ALWAYS_INLINE uint32_t
quick_class1_of(const struct tcache *t, size_t size)
{
        if (LIKELY(size <= SIZE_CLASS_BY_SIZE_MAX))
                return t->by_size[size];
        return size <= GEO_LARGE_MAX && t->by_size[0] != 0 ? size_class_of(size) + 1 : 0;
}

/* Whether it is one of a huge block for which there is a magazine. */
static ALWAYS_INLINE bool
quick_takes_huge(const struct tcache *t, size_t size)
{
        return size - GEO_LARGE_MAX - 1 < SIZE_CLASS_HUGE_MAX - GEO_LARGE_MAX && t->by_size[0] != 0;
}

/* A block for the caller. */
static ALWAYS_INLINE void *
quick_take(const struct tcache *t, uint32_t class1)
{
        void *p;

        return LIKELY(tcache_pop(t, class1, &p)) ? p : NULL;
}

/* A block to which we write first: it is looked at once it is taken, when nobody changes what was looked at. */
static ALWAYS_INLINE void *
quick_take_to_write(const struct tcache *t, uint32_t class1, const char *operation)
{
        void *p = quick_take(t, class1);
        uint64_t bytes;

        if (UNLIKELY(!p))
                return NULL;
        bytes = size_class_bytes(class1 - 1);
        if (UNLIKELY(t->limit < bytes || (uintptr_t)p - (uintptr_t)t->chunks > t->limit - bytes))
                quick_check_taken(t, p, bytes, operation);
        return p;
}

/* Whether an address is below the limit in the chunks of the tcache's heap. */
static ALWAYS_INLINE bool
quick_is_near(const struct tcache *t, const void *p)
{
        return (uintptr_t)p - (uintptr_t)t->chunks < t->limit;
}

/* The tag of a block below the limit, read as in tcache_push(). */
static ALWAYS_INLINE uint32_t
quick_tag(const struct tcache *t, uint64_t block_off)
{
        const uint16_t *tags = (const uint16_t *)(const void *)(t->chunks - LAYOUT_TAGS_DISTANCE);

        return load_relaxed(&tags[block_off >> GEO_GRANULE_SHIFT]);
}

/* Of a tag of a small class, that plus one. */
static ALWAYS_INLINE uint32_t
quick_class1(uint32_t tag)
{
        _Static_assert(SIZE_CLASS_IN_GRANULE_N == TAG_CLASSES, "the lower bits of a tag are those of class + 1");
        return tag % TAG_CLASSES;
}

/* Whether a block is free in the slab that begins at a granule, as block_is_home() says; also, where there are no pages
 * that could say so. */
static ALWAYS_INLINE bool
quick_is_home(const struct tcache *t, uint64_t granule, uint64_t block_idx)
{
        const struct region *r;
        uint64_t word;

        if (block_idx < SLAB_WORDS * 64) {
                word = load_hit(&t->slabs[granule].word[block_idx / 64]);
        } else {
                r = t->thread.region;
                if (UNLIKELY(!region_has_rest(r, granule)))
                        return true;
                word = load_hit(&r->slab_rests[granule].word[block_idx / 64 - SLAB_WORDS]);
        }
        return word >> block_idx % 64 & 1;
}

/* Whether the block of a small class starts at p and is not free in its slab, and its tag then.  False, too: its slab
 * has several granules, and the next function is to be asked. */
static ALWAYS_INLINE bool
quick_is_block(const struct tcache *t, const void *p, uint32_t *ret_tag)
{
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks), block_idx;

        if (UNLIKELY(!quick_is_near(t, p)))
                return false;
        *ret_tag = quick_tag(t, block_off);
        return LIKELY(size_class_starts_in_granule(&size_class_in_granule[quick_class1(*ret_tag)],
                                                   block_off % GEO_GRANULE_BYTES, &block_idx)) &&
               LIKELY(!quick_is_home(t, block_off >> GEO_GRANULE_SHIFT, block_idx));
}

/* The class plus one of the block of any slab that starts at p and is not free in that; 0: go the long way. */
static ALWAYS_INLINE uint32_t
quick_class1_in_slab(const struct tcache *t, const void *p)
{
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks), granule = block_off >> GEO_GRANULE_SHIFT;
        uint64_t off = block_off & (GEO_GRANULE_BYTES - 1);
        uint32_t tag, class_idx;

        if (!quick_is_near(t, p))
                return 0;
        tag = quick_tag(t, block_off);
        if (tag == TAG_NONE || !size_class_is_small(tag_class(tag)))
                return 0;
        class_idx = tag_class(tag);
        if (size_class_slab_granules(class_idx) != 1) {
                uint64_t word = load_acquire(run_word(t->thread.region, granule)); /* E3.acq */
                uint32_t back = granule_state(word) == GRANULE_CONT ? granule_count(word) : 0;

                if (back >= size_class_slab_granules(class_idx) || back > granule)
                        return 0;
                granule -= back;
                if (granule + size_class_slab_granules(class_idx) > t->limit >> GEO_GRANULE_SHIFT)
                        return 0; /* its end may lie beyond the last chunk */
                off += (uint64_t)back << GEO_GRANULE_SHIFT;
        }
        if (!size_class_is_block_start(class_idx, off) ||
            quick_is_home(t, granule, size_class_block_index(class_idx, off)))
                return 0;
        return class_idx + 1;
}

/* ------------------------------------------------------------------ what the family makes of them
 *
 * NULL, or false: nothing was done, go the long way.
 */

static ALWAYS_INLINE void *
quick_malloc(const struct tcache *t, size_t size)
{
        return quick_take(t, quick_class1_of(t, size));
}

static ALWAYS_INLINE void *
quick_calloc(const struct tcache *t, size_t bytes, const char *operation)
{
        uint32_t class1 = quick_class1_of(t, bytes);
        void *p = quick_take_to_write(t, class1, operation);

        return LIKELY(p != NULL) ? memset(p, 0, size_class_bytes(class1 - 1)) : NULL;
}

static ALWAYS_INLINE void *
quick_aligned(const struct tcache *t, size_t align, size_t size)
{
        return quick_take(t, t->by_size[0] != 0 ? size_class_of_aligned(size, align) + 1 : 0);
}

/* A copy of `length` bytes and a zero. */
static ALWAYS_INLINE char *
quick_string(const struct tcache *t, const char *s, size_t length, const char *operation)
{
        char *copy = quick_take_to_write(t, quick_class1_of(t, length + 1), operation);

        if (UNLIKELY(!copy))
                return NULL;
        memcpy(copy, s, length);
        copy[length] = '\0';
        return copy;
}

/* By a size for which a block like this would be given. */
static ALWAYS_INLINE bool
quick_free_sized(const struct tcache *t, const void *p, size_t size)
{
        uint32_t tag;

        return LIKELY(quick_is_block(t, p, &tag)) && LIKELY(quick_class1_of(t, size) == quick_class1(tag)) &&
               tcache_push_tagged(t, p, tag);
}

/* A block of another class, with what fits of one of a class: that is still to be freed. */
static ALWAYS_INLINE void *
quick_copy(const struct tcache *t, const void *p, uint32_t class1, uint32_t new_class1, const char *operation)
{
        void *copy = quick_take_to_write(t, new_class1, operation);
        uint64_t bytes = size_class_bytes(class1 - 1), new_bytes;

        if (UNLIKELY(!copy))
                return NULL;
        new_bytes = size_class_bytes(new_class1 - 1);
        return memcpy(copy, p, bytes < new_bytes ? bytes : new_bytes); /* all that is usable and still fits */
}

#endif
