/*
 * tcache.h - the thread's side: what the hit paths read, and the thread's place in a heap.
 *
 * A tcache lies in a private anonymous mapping.  Its first two words are a magazine with n = cap = 0, both empty and
 * full, and magazines are found by their distance from the tcache itself.  So an all-zero tcache *is* the dummy that
 * sends every call to its slow path: distance 0 is its own header, the table of sizes says "slow", the limit is 0.
 * Threads that are not attached point at a zero page, and a tcache that fork() wiped becomes one; the hit paths test
 * for nothing.
 *
 * A call may be left by another door: a signal handler jumps out of it, or ends the thread; or a handler calls us while
 * its thread is in a call, and returns.  So whoever changes more than a hit does enters the tcache first: it is marked,
 * and the hit paths do not find it until the call leaves it.  Whatever the thread calls meanwhile, from a handler
 * or after a jump, goes slow, finds the mark, and takes another tcache of the heap, with a slot of its own.  What is
 * marked when the thread ends stays as it is, its slot's `life` held: the kernel marks that, and a reaper settles it as
 * if the thread had been killed in the call.
 */
#ifndef TCACHE_TCACHE_H
#define TCACHE_TCACHE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/huge.h"
#include "clients/slot.h"
#include "clients/thread.h"
#include "os/shield.h"
#include "region/header.h"
#include "region/options.h"
#include "region/region.h"
#include "tcache/heap.h"

/*
 * Some of the thread's tcaches, by their heap's handle, and by where blocks of theirs lie that it has freed; as their
 * distance from the dummy, so that zeroes are that.  A guess: whoever takes one looks at it.  What leaves tcache_list
 * is in it no more.
 *
 * Handles lie on pages of their own, in a row.  No two heaps have blocks between the same multiples of
 * HEADER_BASE_ALIGN, but for some that were relocated, where nothing is a hit.
 */
enum { TCACHE_KNOWN_N = 512, TCACHE_HANDLE_SHIFT = 12 };

struct tcache_known {
        int64_t by_heap[TCACHE_KNOWN_N];
        int64_t by_address[TCACHE_KNOWN_N];
};

struct tcache {
        /* read by the hit paths; all zero in the dummy */
        uint64_t dummy_n;   /* always 0 */
        uint64_t dummy_cap; /* always 0 */
        char *chunks;       /* address of the first chunk */
        uint64_t limit;     /* bytes of chunks whose tags may be read: the mark when this thread last looked */
        const struct shheap *hit_heap;               /* by whose handle hits find it; TCACHE_HIDDEN: nothing does */
        const struct slab_bitmap *slabs;             /* of all granules; those below the limit may be read */
        uint8_t by_size[SIZE_CLASS_BY_SIZE_MAX + 8]; /* class + 1 by size, 0 = slow */
        int64_t malloc_at[TAG_CLASSES + 1];          /* by class + 1: distance of the magazine to take from; 0 = slow */

        /* slow paths only */
        struct shheap *heap;
        struct tcache *next; /* the thread's other tcaches */
        struct tcache *next_of_heap;
        struct thread thread;
        bool is_attached;
        bool is_inside;    /* a call is at work here, or has been left by another door */
        uint32_t n_called; /* calls that call back just now, or were left so by a jump: it outlasts a close */
        bool is_crowded;   /* its slot has no room for another root under construction: calls take another one */
        uint32_t n_destructor_rounds;
        uint32_t n_slow;          /* calls of slow paths, for what is done now and then */
        uint32_t home_node;       /* where the thread ran when it last looked */
        uint32_t n_elsewhere;     /* slow calls in a row that found it on another node */
        bool is_away;             /* bound to a node that is not its own, because its own was full */
        uint64_t run_bytes_max;   /* sum of what the magazines of large classes may hold */
        uint64_t run_bytes_share; /* the most that this may be; 0 = not known yet */
        uint32_t large_hand;      /* tag of the large magazine that was looked at last, to make room */
        uint8_t large_seen[SIZE_CLASS_N_CACHED -
                           SIZE_CLASS_N_SMALL]; /* blocks that it held then, plus 1; 0 = never seen */
        uint32_t trim_tag;                      /* looked at next, to see whether it is in use; 0 = none for now */
        uint32_t trim_stamp;                    /* when the round of looks began (decay_stamp.h) */
        uint8_t trim_seen[SIZE_CLASS_N_CACHED]; /* blocks that the magazine of the thread's node held then, plus 1 */
        uint64_t mapped_bytes;
        struct tcache_known *known; /* room for what the thread knows, behind all of this; NULL once wiped by a fork */

        int64_t free_at[]; /* by tag: distance of the magazine to put into; 0 = slow */
};

extern const struct tcache tcache_dummy __attribute__((aligned(64), visibility("hidden"))); /* as a magazine */

/* The default heap's tcache of this thread, or the dummy.  All that shmalloc and shfree read of thread-local state. */
extern __thread struct tcache *tcache_default __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* The tcache that this thread left last, or the dummy: what the hits of shheap_malloc and shheap_free look at first. */
extern __thread struct tcache *tcache_last __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* What this thread knows, or zeroes: what they look at next, when several heaps are used in turns. */
extern const struct tcache_known tcache_known_none __attribute__((visibility("hidden")));
extern __thread struct tcache_known *tcache_known __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* What is hit_heap while a call is in the tcache, and once it is given up: no handle, nor the lack of one. */
#define TCACHE_HIDDEN ((const struct shheap *)(uintptr_t)1)

/* This thread's tcaches, the youngest first; NULL-terminated.  Changed behind a shield only. */
extern __thread struct tcache *tcache_list __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* ------------------------------------------------------------------ attach.c */

/* A tcache of the calling thread in a heap that no call is in, attached; NULL if it has no slot (then use
 * thread_borrow) or the heap cannot be used by it: *ret_err is -EUSERS, -ENOMEM, -ENOTSUP, -EBADF (closed), with a
 * message. */
struct tcache *tcache_get(struct shheap *heap, int *ret_err);

/* The same behind a shield of the caller's, who has called robust_check_anew() behind it. */
struct tcache *tcache_get_shielded(struct shheap *heap, int *ret_err);

/* The same, without attaching: NULL if the thread has none. */
struct tcache *tcache_find(const struct shheap *heap);

/* A block of this tcache's heap: tcache_known_at() finds it by this one and its neighbours from now on. */
void tcache_remember(struct tcache *t, const void *p);

/* Makes this heap the one that tcache_default stands for, in this thread now and in others at their next slow call. */
void tcache_set_default(struct shheap *heap);
struct shheap *tcache_default_heap(void);

/* This heap, which is open no more, is not the default one any more, if it was. */
void tcache_unset_default(const struct shheap *heap);

/* Gives everything back and lets go of the slot; `unlock` as slot_release(), else as slot_detach().  One that a call is
 * in, or whose slot has something half done, is left as it is, for a reaper. */
void tcache_detach(struct tcache *t, bool unlock);

/* Lets go of the heap in the calling thread and forgets its tcaches (close), but for those that are left as they are,
 * or that a call will come back to. */
void tcache_forget(struct shheap *heap);

/* At the last close, and when a heap that is mapped still is opened again: whether calls of any thread are hits.  No
 * thread is inside a call on the heap. */
void tcache_close_all(struct shheap *heap);
void tcache_open_all(struct shheap *heap);

/* What the end of a thread does with its tcaches, once in each round of destructors; the argument means nothing. */
void tcache_thread_ends(void *arg);

/* A slot for one call when the thread can have none of its own: after tcache_get(), which has asked the kernel anew for
 * the thread's list of locks.  0, or -errno with a message.  Until it is given back the thread is behind a shield: the
 * slot's lock is the process's. */
int thread_borrow(struct shheap *heap, struct thread *ret_thread);
void thread_return(struct shheap *heap, struct thread *t);

/* For a call by a thread that can have neither, after tcache_get(), too: a slot that others keep and do not use just
 * now.  0, or -errno with a message: -EUSERS where there is none for a while. */
int thread_lend(struct shheap *heap, struct thread *ret_thread, struct shield *ret_shield);
void thread_give_back(struct shheap *heap, struct thread *t, const struct shield *shield);

/* In the child of fork(): nothing of the parent's is ours. */
void tcache_after_fork(void);

/* What `limit` should be now. */
uint64_t tcache_limit(const struct tcache *t);

/* Process-wide: bumped in each child of fork(). */
uint32_t tcache_generation(void);

/* ------------------------------------------------------------------ refill.c */

/* shmalloc() behind the hit path: by the spare, else the slow way.  NULL: errno is set.  False: it takes more than the
 * tcache, nothing was done. */
bool tcache_malloc(struct tcache *t, size_t size, void **ret_p);

/* The quick half of it, by a current magazine that is empty, and a spare that is not: the two change places.  NULL: not
 * that easy, nothing was done. */
void *tcache_malloc_spare(struct tcache *t, uint32_t class_idx1);

/* The slow way of what t->thread.call asks for; dest_off is 0 for large classes.  NULL: errno is set. */
void *tcache_malloc_slow(struct tcache *t);

/* Takes the topmost block of the magazine of a small class, and stores its reference at a region offset, in one step.
 * NULL: the magazine is empty, nothing was done. */
void *tcache_pop_to(struct tcache *t, uint32_t class_idx, uint64_t dest_off);

/* ------------------------------------------------------------------ flush.c */

/* shfree() behind the hit path, for a block below the limit.  Notes faults in t->thread.fault.  False: as above. */
bool tcache_free(struct tcache *t, const void *p);

/* The quick half of it, by a current magazine that is full, and a spare that is not.  False: nothing was done. */
bool tcache_free_spare(struct tcache *t, const void *p);

/* The slow way, of any block, in a call that has begun. */
void tcache_free_slow(struct tcache *t, uint64_t block_off);

/* The reverse of tcache_pop_to(): puts a block of a small class on top, and zeroes the word.  False: it is no such
 * block, is free already, or no magazine could be had; nothing was done. */
bool tcache_push_from(struct tcache *t, uint64_t block_off, uint64_t dest_off);

/* ------------------------------------------------------------------ keep.c */

/* What is done now and then on slow paths: decay, clock hands, giving up what is idle or too much, reaping one other
 * slot. */
void tcache_tick(struct tcache *t);

/* Its parts: classes in whose magazines nothing has moved for decay_ms give them up, one per call; and what is beyond
 * the thread's share of cached large blocks, as it is now, goes. */
void tcache_trim(struct tcache *t);
void tcache_trim_large(struct tcache *t);

/* All of this thread's magazines go home. */
void tcache_flush(struct tcache *t);

/* Those with blocks of this node, and all of large blocks. */
void tcache_flush_node(struct tcache *t, uint32_t node);

/* Refreshes what the hit paths read of a tag after its magazines changed places. */
void tcache_publish(struct tcache *t, uint32_t tag);

/* I21, for assertions: what the hit paths read of a tag is the magazine in its place. */
bool tcache_shows(const struct tcache *t, uint32_t tag);

/* Exchanges what is in the two places of a tag; both magazines are the thread's. */
void tcache_swap_places(struct tcache *t, uint32_t tag, uint32_t current, uint32_t spare);

/* One in either place of the tag. */
bool tcache_has_magazine(const struct tcache *t, uint32_t tag);

/* The magazine in the current place, an empty one if there was none; MAGAZINE_IDX_NONE: none is to be had. */
uint32_t tcache_ensure_current(struct tcache *t, uint32_t tag);

/* Bytes that a magazine of a large class may hold, before it grows. */
uint64_t tcache_run_bytes(uint32_t class_idx);

/* Makes a full magazine of a large class hold more, where the thread's share leaves that: as long as half of it is free
 * for classes that have none yet.  False: it holds what it held. */
bool tcache_grow(struct tcache *t, uint32_t tag, uint32_t idx);

/*
 * Room for `bytes` in what the thread may cache of large runs, if that is to be had at no more cost than a look at one
 * other class: its magazine goes if nothing has moved in it since the last look.  So a program that uses more classes
 * than fit keeps some of them, instead of filling and emptying all of them in turn.
 */
bool tcache_make_room(struct tcache *t, uint64_t bytes);

enum { TCACHE_TICK_EVERY = 64 }; /* slow calls */

/* A slow call that can do without looking at anything but the thread's own magazines: no tick is due, nothing was
 * closed. */
static inline bool
tcache_is_quick(const struct tcache *t)
{
        return (t->n_slow + 1) % TCACHE_TICK_EVERY != 0 && !load_relaxed(&t->heap->is_closed);
}

/* An attached thread in an open heap whose options ask for nothing beyond a hit: what remains to do of a plain call can
 * be done in the tcache. */
static inline bool
tcache_is_plain(const struct tcache *t)
{
        return t->limit != 0 && t->by_size[0] != 0 && !load_relaxed(&t->heap->is_closed);
}

/* ------------------------------------------------------------------ rebind.c */

/* The thread's node is what it is now; at attach. */
void tcache_settle_node(struct tcache *t);

/* Binds the thread to an arena of the node that it runs on, if that is another one by now; on slow paths. */
void tcache_follow_node(struct tcache *t);

/* Counts blocks that a thread got from the node to which it is away. */
void tcache_count_away(struct tcache *t, uint64_t n_blocks);

/* After an allocation that another node had to serve: binds the thread there until its own node has room again. */
void tcache_follow_fallback(struct tcache *t);

/* ------------------------------------------------------------------ entering and leaving */

static inline struct tcache *
tcache_none(void)
{
        return (struct tcache *)(uintptr_t)&tcache_dummy;
}

/* Something was left half done here.  The mark says so, and should it not, the slot does. */
static inline bool
tcache_is_left(const struct tcache *t)
{
        return load_relaxed(&t->is_inside) || UNLIKELY(!thread_is_at_rest(&t->thread));
}

/* A call of this thread may enter it.  Never the dummy. */
static inline bool
tcache_is_usable(const struct tcache *t)
{
        return t->is_attached && !t->is_crowded && !tcache_is_left(t);
}

/* From here on what the thread calls in between, from a signal handler or after a jump, does not find this tcache.  The
 * mark first: a handler that came before it and shows the hit paths this tcache again would do so for the whole
 * call. */
static inline void
tcache_enter(struct tcache *t)
{
        store_relaxed(&t->is_inside, true); /* ENTER.1 */
        kill_order();
        t->hit_heap = TCACHE_HIDDEN; /* ENTER.2 */
        if (tcache_default == t)
                tcache_default = tcache_none();
        kill_order();
}

/* All is as it should be between two calls. */
static inline void
tcache_leave(struct tcache *t)
{
        kill_order();
        store_relaxed(&t->is_inside, false); /* LEAVE.1 */
        kill_order();
        t->hit_heap = t->heap; /* LEAVE.2 */
        tcache_last = t;
        if (t->heap == tcache_default_heap()) /* it may have become that after this thread attached */
                tcache_default = t;
}

/* ------------------------------------------------------------------ what the thread knows */

static inline __attribute__((always_inline)) struct tcache *
tcache_at_distance(int64_t distance)
{
        return (struct tcache *)((uintptr_t)&tcache_dummy + (uintptr_t)distance);
}

/* Perhaps the tcache of a heap; else another one, or the dummy: hit_heap says so. */
static inline __attribute__((always_inline)) struct tcache *
tcache_known_of(const struct shheap *heap)
{
        return tcache_at_distance(tcache_known->by_heap[((uintptr_t)heap >> TCACHE_HANDLE_SHIFT) % TCACHE_KNOWN_N]);
}

/* Perhaps the tcache of the heap whose block is at p; else another one, or the dummy: limit says so.  Hits may use it
 * unless it is hidden. */
static inline __attribute__((always_inline)) struct tcache *
tcache_known_at(const void *p)
{
        return tcache_at_distance(tcache_known->by_address[(uintptr_t)p / HEADER_BASE_ALIGN % TCACHE_KNOWN_N]);
}

/* ------------------------------------------------------------------ the hit paths */

static inline struct magazine *
tcache_magazine(const struct tcache *t, int64_t distance)
{
        return (struct magazine *)(uintptr_t)((intptr_t)t + distance);
}

/*
 * Takes the topmost block of the class's magazine; false: go slow.  The store of n is the commit; the entry stays where
 * it is until this thread pushes again, so it may be read afterwards, which is an instruction shorter.
 */
static inline __attribute__((always_inline)) bool
tcache_pop(const struct tcache *t, uint32_t class_idx1, void **ret_p)
{
        struct magazine *m = tcache_magazine(t, t->malloc_at[class_idx1]);
        uint64_t n;

        if (UNLIKELY(__builtin_sub_overflow(load_hit(&m->n), 1, &n)))
                return false;
        store_hit(&m->n, n);                                            /* MALLOC.1: commit */
        *ret_p = (void *)(uintptr_t)load_hit(hit_element(&m->slot[n])); /* entries are addresses: region_entry() */
        return true;
}

/* Puts a block into its tag's magazine; false: go slow. */
static inline __attribute__((always_inline)) bool
tcache_push_tagged(const struct tcache *t, const void *p, uint32_t tag)
{
        struct magazine *m = tcache_magazine(t, t->free_at[tag]);
        uint64_t n = load_hit(&m->n);

        if (UNLIKELY(n == m->cap)) /* written by this thread only */
                return false;
        __builtin_prefetch(p, 1); /* the next malloc of the class gets it: its first store is a hit then */
        store_hit(hit_element(&m->slot[n]), (uint64_t)(uintptr_t)p); /* PUSH.1 */
        kill_order();
        increment_hit(&m->n, n); /* PUSH.2: commit */
        return true;
}

/* The same where the tag is not known.  It is read without order: whoever may free the block was handed it, in the end,
 * by a thread that filled its magazine under E3, after the slab's tags were written. */
static inline __attribute__((always_inline)) bool
tcache_push(const struct tcache *t, const void *p)
{
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks);
        const uint16_t *tags;

        if (UNLIKELY(block_off >= t->limit))
                return false;
        /* Not before the limit is known to hold: the dummy has no chunks. */
        tags = (const uint16_t *)(const void *)(t->chunks - LAYOUT_TAGS_DISTANCE);
        return tcache_push_tagged(t, p, load_relaxed(&tags[block_off >> GEO_GRANULE_SHIFT]));
}

/*
 * The same of huge blocks, which are few and have a word each: that is looked at, and so are the other entries.  What a
 * pop gives is a huge block, nobody's, of as many chunks and of the very size that is asked for, above GEO_LARGE_MAX
 * and up to SIZE_CLASS_HUGE_MAX; what is pushed is one that starts there and is not in the magazine already.
 */
static inline __attribute__((always_inline)) bool
tcache_pop_huge(const struct tcache *t, size_t size, void **ret_p)
{
        uint64_t n_chunks = (size + GEO_CHUNK_BYTES - 1) >> GEO_CHUNK_SHIFT, block_off, entry, n;
        const struct region *r = t->thread.region;
        struct magazine *m = tcache_magazine(t, t->malloc_at[SIZE_CLASS_N + n_chunks]);

        ASSERT(size > GEO_LARGE_MAX && size <= SIZE_CLASS_HUGE_MAX);
        if (UNLIKELY(__builtin_sub_overflow(load_hit(&m->n), 1, &n)))
                return false;
        entry = load_hit(&m->slot[n]);
        block_off = entry - (uint64_t)(uintptr_t)t->chunks;
        if (UNLIKELY(block_off >= t->limit) || UNLIKELY(block_off % GEO_CHUNK_BYTES != 0) ||
            UNLIKELY(!chunk_is_huge_of(load_acquire(&r->chunk_words[block_off >> GEO_CHUNK_SHIFT]), n_chunks)) ||
            UNLIKELY(load_relaxed(&r->huge_bytes[block_off >> GEO_CHUNK_SHIFT]) != /* written by who had the block */
                     bits_align_up(size, GEO_PAGE_BYTES)))
                return false;
        store_hit(&m->n, n); /* MALLOC.1: commit */
        *ret_p = (void *)(uintptr_t)entry;
        return true;
}

static inline __attribute__((always_inline)) bool
tcache_push_huge(const struct tcache *t, const void *p)
{
        uint64_t block_off = (uint64_t)((uintptr_t)p - (uintptr_t)t->chunks), n;
        const struct region *r = t->thread.region;
        struct magazine *m;
        uint32_t tag;

        if (block_off % GEO_CHUNK_BYTES != 0 || block_off >= t->limit)
                return false;
        tag = huge_tag_of(r, load_acquire(&r->chunk_words[block_off >> GEO_CHUNK_SHIFT])); /* E3.acq */
        m = tcache_magazine(t, t->free_at[tag]);
        n = load_hit(&m->n);
        if (UNLIKELY(n >= m->cap) || UNLIKELY(n >= MAGAZINE_CAP_MAX)) /* written by this thread only */
                return false;
        for (uint64_t i = 0; i < n; i++)
                if (UNLIKELY(load_hit(&m->slot[i]) == (uint64_t)(uintptr_t)p))
                        return false;
        store_hit(&m->slot[n], (uint64_t)(uintptr_t)p); /* PUSH.1 */
        kill_order();
        store_hit(&m->n, n + 1); /* PUSH.2: commit */
        return true;
}

#endif
