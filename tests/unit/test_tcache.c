/*
 * What is at stake: the calls that everybody makes.  A hit takes a block from the thread's magazine, or puts one there,
 * and must go slow whenever anything else is the case: no magazine, none that fits, not attached, not any more, a fork
 * in between, a pointer from elsewhere.  And a thread that ends must leave nothing behind.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "clients/liveness.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "pages/decay_stamp.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "tcache/tcache.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct tcache *t;
static struct live live;

static struct tcache *
attach(void)
{
        int err;
        struct tcache *got = tcache_get(&fx.heap, &err);

        ck_assert_msg(got != NULL, "tcache_get: %s: %s", strerror(-err), error_message());
        return got;
}

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 4});
        t = attach();
}

static void
setup_two_nodes(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 4, .n_nodes = 2});
        t = attach();
}

static void
teardown(void)
{
        tcache_forget(&fx.heap);
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
off_of(const void *p)
{
        return (uint64_t)((const char *)p - r->chunks);
}

/* As the public calls do it.  *ret_hit: the slow path was not needed. */
static void *
take(size_t bytes, bool *ret_hit)
{
        unsigned class_idx1 = bytes <= SIZE_CLASS_BY_SIZE_MAX ? t->by_size[bytes] : size_class_of(bytes) + 1;
        void *p = NULL;

        *ret_hit = class_idx1 <= TAG_CLASSES && tcache_pop(t, class_idx1, &p);
        if (!*ret_hit && class_idx1 <= TAG_CLASSES)
                p = tcache_malloc_spare(t, class_idx1);
        if (!*ret_hit && !p)
                p = ask_tcache(t, bytes);
        if (p)
                live_add(&live, off_of(p));
        return p;
}

static void *
alloc(size_t bytes)
{
        bool hit;
        void *p = take(bytes, &hit);

        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq((uintptr_t)p % 16, 0);
        return p;
}

static bool
give(uint64_t block_off)
{
        void *p = region_block(r, block_off);
        bool hit = tcache_push(t, p);

        if (!hit && !tcache_free_spare(t, p))
                tcache_free_slow(t, block_off);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        live_drop(&live, block_off);
        return hit;
}

static uint32_t
cap_of(uint32_t class_idx)
{
        return size_class_magazine_cap(class_idx);
}

static struct thread *
thread(void)
{
        return &t->thread;
}

/* Runs fn in a thread of its own, from beginning to end. */
static void *
in_thread(void *(*fn)(void *), void *arg)
{
        pthread_t pthread;
        void *result;

        ck_assert_int_eq(pthread_create(&pthread, NULL, fn, arg), 0);
        ck_assert_int_eq(pthread_join(pthread, &result), 0);
        return result;
}

/* ------------------------------------------------------------------ the dummy */

START_TEST(zeroes_send_every_call_to_the_slow_path)
{
        static struct tcache zeroes __attribute__((aligned(64))); /* like a page that fork wiped */
        struct tcache *dummies[] = {(struct tcache *)(uintptr_t)&tcache_dummy, &zeroes};
        void *p;

        for (int i = 0; i < 2; i++) {
                for (unsigned class_idx1 = 0; class_idx1 <= TAG_CLASSES; class_idx1++)
                        ck_assert(!tcache_pop(dummies[i], class_idx1, &p));
                for (unsigned size = 0; size <= SIZE_CLASS_BY_SIZE_MAX; size++)
                        ck_assert_uint_eq(dummies[i]->by_size[size], 0);
                for (uintptr_t bit = 1; bit != 0; bit *= 2)
                        ck_assert(!tcache_push(dummies[i], (void *)bit));
                ck_assert(!tcache_push(dummies[i], NULL));
                ck_assert_ptr_null(tcache_malloc_spare(dummies[i], dummies[i]->by_size[1]));
                ck_assert(!tcache_free_spare(dummies[i], &zeroes));
        }
}
END_TEST

/* ------------------------------------------------------------------ attaching */

START_TEST(thread_has_one_cache_per_heap)
{
        ck_assert_ptr_eq(attach(), t);
        ck_assert_ptr_eq(tcache_find(&fx.heap), t);
        ck_assert_uint_eq(thread()->no, 1);
        ck_assert_uint_eq(thread()->slot->state, 1);
        ck_assert_uint_eq(r->bindings[0], BINDING_ARENA(thread()->arena));
        ck_assert_ptr_nonnull(region_arena(r, thread()->arena));
        ck_assert_ptr_eq(t->chunks, r->chunks);
}
END_TEST

static void *
look_around(void *arg)
{
        struct tcache *mine;
        int err;

        (void)arg;
        ck_assert_ptr_null(tcache_find(&fx.heap));
        mine = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(mine);
        ck_assert_ptr_ne(mine, t);
        ck_assert_uint_eq(mine->thread.no, 2);
        ck_assert_uint_eq(ask_tcache(mine, 100) != NULL, 1);
        return NULL;
}

START_TEST(thread_that_ends_leaves_nothing_but_what_it_allocated)
{
        in_thread(look_around, NULL);
        ck_assert_uint_eq(r->bindings[1], 0);
        /* It never unlocked: the kernel may still be at its list, and has marked it by now (clients/slot.c). */
        ck_assert_int_eq(liveness->lock_view(&region_thread(r, 1)->life, 0, false), LOCK_DEAD);
        ck_assert_uint_eq(heap_verify_words(r).n_tcache, 0);
        in_thread(look_around, NULL); /* the same slot again */
        ck_assert_uint_eq(region_threads_hwm(r), 2);
}
END_TEST

static pthread_key_t late_key;

/* Runs after the heap's own destructor, in the round in which that has given everything back. */
static void
late_destructor(void *arg)
{
        uint32_t *no = arg;
        struct tcache *mine;
        int err;

        mine = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(mine);
        *no = mine->thread.no;
        ck_assert_ptr_nonnull(ask_tcache(mine, 100));
}

static void *
end_late(void *arg)
{
        struct tcache *mine;
        int err;

        mine = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(mine);
        ck_assert_int_eq(pthread_key_create(&late_key, late_destructor), 0); /* after the heap's: it runs later */
        ck_assert_int_eq(pthread_setspecific(late_key, arg), 0);
        return NULL;
}

START_TEST(destructor_that_allocates_gets_the_old_slot_and_leaves_nothing)
{
        uint32_t no = 0;

        in_thread(end_late, &no);
        ck_assert_uint_eq(no, 2);
        ck_assert_uint_eq(region_threads_hwm(r), 2);
        ck_assert_uint_eq(r->bindings[1], 0);
        ck_assert_uint_eq(heap_verify_words(r).n_tcache, 0);
}
END_TEST

START_TEST(closed_heap_is_let_go_of)
{
        uint32_t idx = thread()->no - 1;
        int err;

        alloc(100);
        fx.heap.is_closed = true;
        ck_assert_ptr_null(tcache_get(&fx.heap, &err));
        ck_assert_int_eq(err, -EBADF);
        ck_assert_ptr_null(tcache_find(&fx.heap));
        ck_assert_uint_eq(r->bindings[idx], 0);
        ck_assert(slot_has_let_go(r, idx));
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 0);
        fx.heap.is_closed = false;
        t = attach();
}
END_TEST

/* Each of them once, to keep max_threads threads alive at the same time. */
static pthread_barrier_t all_attached, may_end;

static void *
occupy(void *arg)
{
        struct tcache *mine;
        int err;

        (void)arg;
        mine = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(mine);
        pthread_barrier_wait(&all_attached);
        pthread_barrier_wait(&may_end);
        return NULL;
}

static void *
borrow(void *arg)
{
        struct call rq = {.size = 64, .align = 1};
        struct thread borrowed;
        uint64_t block_off;
        int err;

        (void)arg;
        ck_assert_ptr_null(tcache_get(&fx.heap, &err));
        ck_assert_int_eq(err, -EUSERS);
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(thread_borrow(&fx.heap, &borrowed), 0);
                rq.arena = borrowed.arena;
                ck_assert(ask_classify(&rq));
                ck_assert_int_eq(ask_block(&borrowed, &rq, &block_off), 0);
                ck_assert_int_eq(free_block(&borrowed, block_off, 0), 0);
                thread_return(&fx.heap, &borrowed);
        }
        return NULL;
}

START_TEST(thread_without_a_slot_borrows_one)
{
        pthread_t others[2];

        slot_reserve_init(&fx.heap.reserve);
        ck_assert_int_eq(slot_reserve(&fx.heap.reserve, r, &fx.client, reap_settle, NULL), 0);
        pthread_barrier_init(&all_attached, NULL, 3);
        pthread_barrier_init(&may_end, NULL, 3);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(pthread_create(&others[i], NULL, occupy, NULL), 0);
        pthread_barrier_wait(&all_attached);
        in_thread(borrow, NULL);
        pthread_barrier_wait(&may_end);
        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(pthread_join(others[i], NULL), 0);
        heap_verify(r, NULL);
        slot_unreserve(&fx.heap.reserve, r, &fx.client);
}
END_TEST

/* ------------------------------------------------------------------ hits */

START_TEST(pairs_hit_after_the_first)
{
        uint32_t class_idx = (uint32_t)_i;
        size_t bytes = size_class_bytes(class_idx);
        bool hit, is_cached = bytes <= UINT64_C(1) << 20; /* what a thread may cache of large blocks in a small heap */

        take(bytes, &hit);
        ck_assert(!hit);
        /* The first free of a large block makes its magazine; one that starts a chunk raises the limit. */
        give(live.off[0]);
        for (int i = 0; i < 10; i++) {
                take(bytes, &hit);
                ck_assert_int_eq(hit, is_cached);
                ck_assert_int_eq(give(live.off[0]), is_cached);
        }
        heap_verify(r, NULL);
}
END_TEST

START_TEST(all_sizes_are_served_by_their_class)
{
        for (size_t bytes = 0; bytes <= GEO_LARGE_MAX; bytes += bytes < 2000 ? 1 : bytes / 50) {
                void *p = alloc(bytes);
                uint32_t class_idx;

                ck_assert_uint_ge(block_usable(r, off_of(p), &class_idx), bytes);
                ck_assert_uint_eq(class_idx, size_class_of(bytes));
                give(off_of(p));
        }
        heap_verify(r, &live);
}
END_TEST

/* Many in a row, and back: one slow call per magazine. */
START_TEST(slow_calls_are_one_per_magazine)
{
        uint32_t class_idx = 0, n = 6 * cap_of(class_idx), n_slow = 0;
        bool hit;

        for (uint32_t i = 0; i < n; i++) {
                take(1, &hit);
                n_slow += !hit;
        }
        ck_assert_uint_le(n_slow, 6);
        heap_verify(r, &live);
        n_slow = 0;
        while (live.n > 0)
                n_slow += !give(live.off[live.n - 1]);
        ck_assert_uint_le(n_slow, 7);
        heap_verify(r, &live);
}
END_TEST

/* At the edge between two magazines a pair costs nothing, in whichever direction: the spare sees to that. */
START_TEST(edge_of_a_magazine_is_no_cliff)
{
        uint32_t cap = cap_of(0), n_slow = 0;
        bool hit;

        for (uint32_t i = 0; i < 3 * cap; i++)
                take(1, &hit);
        for (uint32_t i = 0; i < cap; i++)
                give(live.off[0]);
        for (uint32_t i = 0; i < 20 * cap; i++) { /* one over, one under */
                n_slow += !give(live.off[0]);
                take(1, &hit);
                n_slow += !hit;
        }
        ck_assert_uint_le(n_slow, 2);
        heap_verify(r, &live);
}
END_TEST

/* What it takes for the spare to serve without a look at anything else. */
START_TEST(spare_serves_where_that_is_all_there_is_to_do)
{
        const uint32_t n_slow_due = TCACHE_TICK_EVERY - 1;
        uint32_t cap = cap_of(0), class_idx1 = t->by_size[1];
        void *p;

        for (uint32_t i = 0; i < 2 * cap; i++)
                alloc(1);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        for (uint32_t i = 0; i < cap; i++) {
                ck_assert_ptr_null(tcache_malloc_spare(t, class_idx1));
                alloc(1);
        }
        t->n_slow = n_slow_due;
        ck_assert_ptr_null(tcache_malloc_spare(t, class_idx1));
        t->n_slow = 0;
        fx.heap.is_closed = true;
        ck_assert_ptr_null(tcache_malloc_spare(t, class_idx1));
        fx.heap.is_closed = false;

        p = tcache_malloc_spare(t, class_idx1); /* empty, and a full one */
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq(t->n_slow, 1);
        live_add(&live, off_of(p));
        heap_verify(r, &live);
        ck_assert_ptr_null(tcache_malloc_spare(t, class_idx1));
        ck_assert(!tcache_free_spare(t, p));
        give(off_of(p));

        p = region_block(r, live.off[0]); /* full, and an empty one */
        t->n_slow = n_slow_due;
        ck_assert(!tcache_free_spare(t, p));
        t->n_slow = 0;
        fx.heap.is_closed = true;
        ck_assert(!tcache_free_spare(t, p));
        fx.heap.is_closed = false;
        ck_assert(tcache_free_spare(t, p));
        ck_assert_uint_eq(t->n_slow, 1);
        live_drop(&live, off_of(p));
        heap_verify(r, &live);

        p = alloc(GEO_LARGE_MAX); /* of a class that has no spare */
        ck_assert_ptr_null(tcache_malloc_spare(t, size_class_of(GEO_LARGE_MAX) + 1));
        ck_assert(!tcache_free_spare(t, p));
}
END_TEST

START_TEST(blocks_are_reused_last_in_first_out)
{
        void *a = alloc(64), *b = alloc(64);

        give(off_of(a));
        give(off_of(b));
        ck_assert_ptr_eq(alloc(64), b);
        ck_assert_ptr_eq(alloc(64), a);
}
END_TEST

/* ------------------------------------------------------------------ magazines that go home */

START_TEST(flush_gives_everything_back)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx += 3) {
                alloc(size_class_bytes(class_idx));
                give(live.off[0]);
        }
        ck_assert_uint_gt(heap_verify(r, NULL).n_tcache, 0);
        tcache_flush(t);
        ck_assert_uint_eq(heap_verify(r, NULL).n_tcache, 0);
        for (uint32_t i = 0; i < 2 * r->layout.n_tags; i++)
                ck_assert_uint_eq(thread()->slot->magazines[i], 0);
        for (unsigned class_idx1 = 0; class_idx1 <= TAG_CLASSES; class_idx1++)
                ck_assert_int_eq(t->malloc_at[class_idx1], 0);
        for (uint32_t tag = 0; tag < r->layout.n_tags; tag++)
                ck_assert_int_eq(t->free_at[tag], 0);
        alloc(64); /* and it goes on */
        give(live.off[0]);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(full_magazines_serve_other_threads)
{
        struct thread *other = heap_attach(&fx, thread()->arena);
        uint32_t tag = tag_make(0, 0), idx, n = 5 * cap_of(0);

        for (uint32_t i = 0; i < n; i++)
                alloc(1);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_gt(heap_verify(r, NULL).n_depot, 0);
        ck_assert(magazine_take_depot(other, thread()->arena, tag, &idx));
        magazine_place(other, magazine_current(other, tag), idx);
        ck_assert_uint_eq(r->magazines[idx].n, cap_of(0));
}
END_TEST

/* Nothing is lost where the depot is full: then blocks go back to their slabs. */
START_TEST(crowded_depot_sends_blocks_to_their_slabs)
{
        uint32_t n = (DEPOT_SLOTS + 6) * cap_of(0);

        for (uint32_t i = 0; i < n; i++)
                alloc(1);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_le(heap_verify(r, NULL).n_depot, DEPOT_SLOTS);
        tcache_flush(t);
        ck_assert_uint_le(heap_verify(r, NULL).n_depot, DEPOT_SLOTS);
}
END_TEST

/* The same while somebody stopped in one of those slabs: its blocks wait in magazines, and are found there later. */
START_TEST(crowded_depot_and_held_slabs_lose_nothing)
{
        struct thread *stopped = heap_attach(&fx, thread()->arena);
        uint32_t n = (DEPOT_SLOTS + 6) * cap_of(0);
        uint64_t *first;

        for (uint32_t i = 0; i < n; i++)
                alloc(1);
        first = run_word(r, live.off[0] >> GEO_GRANULE_SHIFT);
        *first = granule_with_owner(*first, stopped->no);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        *first = granule_with_owner(*first, 0);
        heap_verify(r, NULL);
        tcache_flush(t);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(thread());
        drain_depots(thread(), thread()->arena, UINT32_MAX);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

/* As all the ticks of a round do; it begins only when decay_ms has passed since the last one. */
static void
trim_round(bool is_due)
{
        if (is_due)
                t->trim_stamp = t->thread.stamp - DECAY_AGE;
        do
                tcache_trim(t);
        while (t->trim_tag != 0);
}

/* The thread is one of this node, wherever it happens to run. */
static void
be_of_node(uint32_t node)
{
        ck_assert_int_eq(arena_bind(thread(), node), 0);
        ck_assert_uint_eq(thread()->node, node);
}

START_TEST(blocks_of_another_node_do_not_linger)
{
        uint32_t tag = tag_make(1 - (uint32_t)_i, 0), idx;

        be_of_node((uint32_t)_i);
        r->header->decay_ms = 1000;
        ck_assert_int_eq(magazine_take_empty(thread(), tag, &idx), 0);
        magazine_place(thread(), magazine_current(thread(), tag), idx);
        tcache_publish(t, tag);
        trim_round(true);
        ck_assert_int_eq(t->free_at[tag], 0);
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 0);
}
END_TEST

/* Blocks of another node are collected apart, and go to that node's depot. */
START_TEST(blocks_of_another_node_go_home)
{
        struct thread *far = heap_attach(&fx, 1 - (uint32_t)_i);
        struct call rq = {.size = 64, .align = 1, .arena = far->arena};
        uint32_t class_idx, n = 4 * cap_of(size_class_of(64)), idx;
        uint64_t block_off;

        be_of_node((uint32_t)_i);
        ck_assert(ask_classify(&rq));
        class_idx = rq.class_idx;
        for (uint32_t i = 0; i < n; i++) {
                ck_assert_int_eq(ask_block(far, &rq, &block_off), 0);
                live_add(&live, block_off);
        }
        for (bool hit; live.n < 2 * n;)
                take(64, &hit); /* our own, in between */
        while (live.n > n)
                give(live.off[live.n - 1]);
        while (live.n > 0)
                give(live.off[live.n - 1]);
        ck_assert_uint_gt(thread()->slot->n_remote_free, 0);
        ck_assert(magazine_take_depot(far, far->arena, tag_make(far->node, class_idx), &idx));
        magazine_place(far, magazine_current(far, tag_make(far->node, class_idx)), idx);
        heap_verify(r, NULL);
        for (bool hit; live.n < 3 * n;) /* and we never get them */
                ck_assert_uint_eq(
                        region_arena_node(r, chunk_arena(r->chunk_words[off_of(take(64, &hit)) >> GEO_CHUNK_SHIFT])),
                        thread()->node);
        heap_verify(r, &live);
}
END_TEST

static uint64_t
cached_large_bytes(void)
{
        struct tally tally = heap_verify(r, NULL);
        uint64_t bytes = 0;

        for (uint32_t c = SIZE_CLASS_N_SMALL; c < SIZE_CLASS_N; c++)
                bytes += tally.cached_blocks[c] * size_class_bytes(c);
        return bytes;
}

/* All large classes in turn.  The most that was cached of them meanwhile. */
static uint64_t
cache_large(void)
{
        uint64_t most = 0;

        for (int round = 0; round < 3; round++)
                for (uint32_t class_idx = SIZE_CLASS_N_SMALL; class_idx < SIZE_CLASS_N; class_idx++) {
                        uint64_t bytes;

                        for (int i = 0; i < 4; i++)
                                alloc(size_class_bytes(class_idx));
                        while (live.n > 0)
                                give(live.off[live.n - 1]);
                        bytes = cached_large_bytes();
                        most = bytes > most ? bytes : most;
                }
        return most;
}

/* What a thread keeps of large runs is bounded, whatever it frees: its share of a 32nd of the heap, or 1 MiB. */
START_TEST(cached_runs_are_bounded)
{
        const uint64_t least = UINT64_C(1) << 20, alone = 4 * least;

        tcache_forget(&fx.heap);
        heap_drop(&fx);
        heap_make(&fx, (struct heap_params){.n_chunks = 32, .max_threads = 4});
        t = attach();
        r->header->decay_ms = -1; /* nothing else is to be trimmed */
        ck_assert_uint_eq(r->layout.n_chunks * GEO_CHUNK_BYTES, 32 * alone);
        ck_assert_uint_le(cache_large(), alone);
        ck_assert_uint_gt(cached_large_bytes(), alone / 2);
        for (int i = 0; i < 3; i++)
                heap_attach(&fx, 0);
        ck_assert_uint_gt(t->run_bytes_max, least);
        t->n_slow = TCACHE_TICK_EVERY;
        tcache_trim_large(t);
        ck_assert_uint_gt(t->run_bytes_max, least); /* it looks now and then only */
        t->n_slow = 0;
        tcache_trim_large(t);
        ck_assert_uint_le(cached_large_bytes(), least);
        ck_assert_uint_le(t->run_bytes_max, least);
        ck_assert_uint_le(cache_large(), least);
        ck_assert_uint_gt(cached_large_bytes(), 0);
        tcache_flush(t);
        ck_assert_uint_eq(t->run_bytes_max, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_runs, 0);
}
END_TEST

/* A magazine of a large class that is full gives one up for another, but not for one that is in it already. */
START_TEST(second_free_of_a_large_block_into_a_full_magazine_is_noticed)
{
        uint32_t class_idx = SIZE_CLASS_N_SMALL;
        uint64_t a;

        while (size_class_magazine_cap(class_idx) > 1)
                class_idx++;
        a = off_of(alloc(size_class_bytes(class_idx)));
        give(a);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        tcache_free_slow(t, a);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_DOUBLE_FREE);
        ck_assert_uint_eq(t->thread.fault.block_off, a);
        t->thread.fault.what = FAULT_NONE;
        while (live.n > 0)
                give(live.off[0]);
        heap_verify(r, NULL);
}
END_TEST

static uint32_t
n_in_magazines(uint32_t class_idx)
{
        return (uint32_t)heap_verify(r, &live).cached_blocks[class_idx];
}

START_TEST(classes_that_are_not_used_give_up_their_magazines)
{
        const uint32_t idle = 0, busy = 2, large = SIZE_CLASS_N_SMALL;

        r->header->decay_ms = 1000;
        for (uint32_t i = 0; i < 2 * cap_of(idle); i++)
                alloc(size_class_bytes(idle));
        while (live.n > 0)
                give(live.off[live.n - 1]);
        alloc(size_class_bytes(large));
        give(live.off[0]);
        alloc(size_class_bytes(busy));
        trim_round(true); /* a first look */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        ck_assert_uint_eq(n_in_magazines(idle), 2 * cap_of(idle));
        trim_round(false); /* too soon */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        alloc(size_class_bytes(busy));
        r->header->decay_ms = -1;
        trim_round(true); /* memory is to be kept */
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 4);
        r->header->decay_ms = 1000;
        trim_round(true);
        ck_assert_uint_eq(heap_verify(r, &live).n_tcache, 1);
        ck_assert_int_eq(t->free_at[tag_make(0, idle)], 0);
        ck_assert_int_eq(t->malloc_at[idle + 1], 0);
        ck_assert_int_eq(t->free_at[tag_make(0, large)], 0);
        ck_assert_int_ne(t->free_at[tag_make(0, busy)], 0);
        ck_assert_uint_eq(t->run_bytes_max, 0);
        alloc(size_class_bytes(idle)); /* and it goes on */
        while (live.n > 0)
                give(live.off[live.n - 1]);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ without memory, without magazines */

START_TEST(out_of_memory_is_null_and_not_the_end)
{
        size_t bytes = size_class_bytes((uint32_t)_i), n;
        bool hit;

        errno = 0;
        while (take(bytes, &hit))
                continue;
        ck_assert_int_eq(errno, ENOMEM);
        heap_verify(r, &live);
        n = live.n;
        for (size_t i = 0; i < n / 2; i++)
                give(live.off[i % live.n]);
        while (take(bytes, &hit))
                continue;
        ck_assert_uint_eq(live.n, n);
        heap_verify(r, &live);
        ck_assert_ptr_null(ask_tcache(t, UINT64_MAX));
        ck_assert_ptr_null(ask_tcache(t, r->layout.n_chunks * GEO_CHUNK_BYTES + 1));
        while (live.n > 0)
                give(live.off[live.n - 1]);
        heap_verify(r, NULL);
}
END_TEST

/* Somebody has all magazines: blocks come and go one by one. */
START_TEST(without_magazines_it_goes_on_slowly)
{
        struct thread *hog = heap_attach(&fx, 0);
        uint32_t idx;
        bool hit;

        while (magazine_take_empty(hog, 1, &idx) == 0)
                hog->slot->hand = 0;
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx += 2)
                for (int i = 0; i < 3; i++) {
                        ck_assert_ptr_nonnull(take(size_class_bytes(class_idx), &hit));
                        ck_assert(!hit);
                }
        while (live.n > 0)
                ck_assert(!give(live.off[live.n / 2]));
        heap_bury(&fx, hog); /* whose magazines its slot did not even name */
        for (uint64_t i = 0; i < region_magazines_hwm(r, 0); i++)
                r->magazine_words[i] = 0;
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ pointers from elsewhere */

START_TEST(bad_pointers_are_noted_in_the_end_and_nothing_is_lost)
{
        const uint64_t bad[] = {r->layout.n_chunks << GEO_CHUNK_SHIFT, UINT64_MAX, UINT64_MAX - 4095,
                                5 * GEO_CHUNK_BYTES, GEO_GRANULE_BYTES * 3};

        alloc(64);
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                ck_assert(!tcache_push(t, r->chunks + bad[i]) || bad[i] < t->limit);
                tcache_free_slow(t, bad[i]);
                ck_assert_uint_eq(t->thread.fault.what, FAULT_INVALID_FREE);
                t->thread.fault.what = FAULT_NONE;
                heap_verify(r, &live);
        }
        tcache_free_slow(t, live.off[0] + 8); /* looks like a block until it is drained */
        tcache_flush(t);
        for (uint32_t idx; magazine_take_depot(thread(), thread()->arena, tag_make(0, size_class_of(64)), &idx);) {
                r->magazine_words[idx] = 0;
                r->magazines[idx].n = 0;
                thread()->slot->hand = 0;
                r->header->n_released++;
        }
}
END_TEST

/* A chunk that others raised since this thread looked: slow once, then known. */
START_TEST(limit_follows_the_mark)
{
        struct thread *other = heap_attach(&fx, thread()->arena);
        struct call rq = {.size = 64, .align = 1, .arena = other->arena};
        uint64_t block_off = 0;

        ck_assert(ask_classify(&rq));
        alloc(64);
        give(live.off[0]);
        while (block_off < t->limit) {
                ck_assert_int_eq(ask_block(other, &rq, &block_off), 0);
                live_add(&live, block_off);
        }
        ck_assert(!give(block_off));
        ck_assert_uint_gt(t->limit, block_off);
        ck_assert_int_eq(ask_block(other, &rq, &block_off), 0);
        live_add(&live, block_off);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ options */

static void
never_hits(void)
{
        t = attach();
        for (int i = 0; i < 200; i++) {
                void *p = ask_tcache(t, 64);

                ck_assert_ptr_nonnull(p);
                live_add(&live, off_of(p));
                ck_assert(!tcache_push(t, p));
        }
        heap_verify(r, &live);
        while (live.n > 0) {
                tcache_free_slow(t, live.off[live.n - 1]);
                live.n--;
        }
        ck_assert_uint_eq(t->limit, 0);
        ck_assert_uint_eq(t->thread.fault.what, FAULT_NONE);
        heap_verify(r, NULL);
}

START_TEST(heap_that_checks_each_free_never_hits_one)
{
        tcache_forget(&fx.heap);
        fx.heap.is_checked = true;
        never_hits();
        ck_assert_uint_gt(t->by_size[64], 0);
}
END_TEST

START_TEST(heap_that_fills_blocks_with_junk_never_hits)
{
        tcache_forget(&fx.heap);
        fx.heap.is_junked = true;
        never_hits();
        ck_assert_uint_eq(t->by_size[64], 0);
}
END_TEST

/* Mapped elsewhere than at its own base: entries are addresses of there. */
START_TEST(relocated_heap_never_hits)
{
        tcache_forget(&fx.heap);
        fx.heap.region.is_relocated = true;
        r->canonical += 5 * GEO_CHUNK_BYTES;
        fx.heap.region.canonical = r->canonical;
        never_hits();
        ck_assert_uint_eq(t->by_size[64], 0);
}
END_TEST

/* ------------------------------------------------------------------ now and then */

static void *
die_with_magazines(void *arg)
{
        struct tcache *mine;
        int err;

        (void)arg;
        mine = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(mine);
        ck_assert_ptr_nonnull(ask_tcache(mine, 64));
        tcache_list = NULL; /* its destructor finds nothing: as if it had been killed */
        return NULL;
}

START_TEST(dead_are_noticed_on_slow_paths)
{
        in_thread(die_with_magazines, NULL);
        ck_assert_uint_ne(r->bindings[1], 0);
        for (int i = 0; i < 64 * 8; i++)
                tcache_tick(t);
        ck_assert_uint_eq(r->bindings[1], 0);
        ck_assert_uint_eq(thread()->slot->n_reaped, 1);
        heap_verify_words(r);
}
END_TEST

/* ------------------------------------------------------------------ fork */

static void
child(void)
{
        struct tcache *mine = NULL;
        void *p;
        int err;

        if (t->limit != 0 || tcache_pop(t, 1, &p)) /* wiped */
                _exit(1);
        tcache_after_fork();
        mine = tcache_get(&fx.heap, &err);
        if (mine == NULL || mine == t || mine->thread.no == thread()->no || fx.heap.client.idx == fx.client.idx)
                _exit(2);
        p = ask_tcache(mine, 1000);
        if (p == NULL || off_of(p) == live.off[0])
                _exit(3);
        if (!tcache_push(mine, region_block(r, live.off[0]))) /* what the parent allocated, the child may free */
                tcache_free_slow(mine, live.off[0]);
        _exit(mine->thread.fault.what == FAULT_NONE ? 0 : 4);
}

START_TEST(child_of_fork_is_a_client_of_its_own)
{
        int status;
        pid_t pid;

        alloc(1000);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                child();
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the child ended with %#x", status);
        ck_assert_uint_ne(r->bindings[2], 0); /* it left without a word: its slot and its reserve */
        ck_assert_uint_eq(slot_reap_all(r, reap_settle, &t->thread), 2);
        ck_assert_uint_eq(r->bindings[1] | r->bindings[2], 0);
        heap_verify_words(r);
        alloc(1000);
}
END_TEST

static TCase *
cases(Suite *suite, const char *name, void (*make_fixture)(void))
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, make_fixture, teardown);
        suite_add_tcase(suite, tcase);
        return tcase;
}

int
main(void)
{
        Suite *suite = suite_create("tcache");
        TCase *tcase = cases(suite, "attach", setup);

        tcase_add_test(tcase, zeroes_send_every_call_to_the_slow_path);
        tcase_add_test(tcase, thread_has_one_cache_per_heap);
        tcase_add_test(tcase, thread_that_ends_leaves_nothing_but_what_it_allocated);
        tcase_add_test(tcase, destructor_that_allocates_gets_the_old_slot_and_leaves_nothing);
        tcase_add_test(tcase, closed_heap_is_let_go_of);
        tcase_add_test(tcase, thread_without_a_slot_borrows_one);

        tcase = cases(suite, "hits", setup);
        tcase_add_loop_test(tcase, pairs_hit_after_the_first, 0, SIZE_CLASS_N);
        tcase_add_test(tcase, all_sizes_are_served_by_their_class);
        tcase_add_test(tcase, slow_calls_are_one_per_magazine);
        tcase_add_test(tcase, edge_of_a_magazine_is_no_cliff);
        tcase_add_test(tcase, spare_serves_where_that_is_all_there_is_to_do);
        tcase_add_test(tcase, blocks_are_reused_last_in_first_out);

        tcase = cases(suite, "home", setup);
        tcase_add_test(tcase, flush_gives_everything_back);
        tcase_add_test(tcase, full_magazines_serve_other_threads);
        tcase_add_test(tcase, crowded_depot_sends_blocks_to_their_slabs);
        tcase_add_test(tcase, crowded_depot_and_held_slabs_lose_nothing);
        if (GEO_LARGE_MAX > 4096) /* the tiny heap is less than what any thread may cache */
                tcase_add_test(tcase, cached_runs_are_bounded);
        tcase_add_test(tcase, second_free_of_a_large_block_into_a_full_magazine_is_noticed);
        tcase_add_test(tcase, classes_that_are_not_used_give_up_their_magazines);
        tcase = cases(suite, "home, two nodes", setup_two_nodes);
        tcase_add_loop_test(tcase, blocks_of_another_node_go_home, 0, 2);
        tcase_add_loop_test(tcase, blocks_of_another_node_do_not_linger, 0, 2);

        tcase = cases(suite, "edges", setup);
        tcase_add_loop_test(tcase, out_of_memory_is_null_and_not_the_end, GEO_GRANULE_BYTES > 4096 ? 28 : 0,
                            SIZE_CLASS_N);
        tcase_add_test(tcase, without_magazines_it_goes_on_slowly);
        tcase_add_test(tcase, bad_pointers_are_noted_in_the_end_and_nothing_is_lost);
        tcase_add_test(tcase, limit_follows_the_mark);
        tcase_add_test(tcase, heap_that_checks_each_free_never_hits_one);
        tcase_add_test(tcase, heap_that_fills_blocks_with_junk_never_hits);
        tcase_add_test(tcase, relocated_heap_never_hits);
        tcase_add_test(tcase, dead_are_noticed_on_slow_paths);
        tcase_add_test(tcase, child_of_fork_is_a_client_of_its_own);

        return suite_run(suite);
}
