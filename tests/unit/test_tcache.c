/*
 * What is at stake: the calls that everybody makes.  A hit takes a block from the thread's magazine, or puts one there,
 * and must go slow whenever anything else is the case: no magazine, none that fits, not attached, not any more, a fork
 * in between, a pointer from elsewhere.  And a thread that ends must leave nothing behind.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab_pages.h"
#include "clients/liveness.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/fills.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/tcache_heap.h"
#include "tcache/tcache.h"

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
        ck_assert_uint_eq(thread()->gate->state, 1);
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
        ck_assert_int_eq(liveness->lock_view(&region_gate(r, 1)->life, 0, false), LOCK_DEAD);
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

        /* The first malloc and free of a small class go past the magazines, the second malloc fills one; the first free
         * of a large block makes its magazine; one that starts a chunk raises the limit. */
        for (int i = 0; i < 2; i++) {
                take(bytes, &hit);
                ck_assert(!hit || (i == 1 && is_cached && !size_class_is_small(class_idx)));
                give(live.off[0]);
        }
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

/* The first block is no fill, the first fill takes one block, each next one four times as many, up to a whole
 * magazine. */
START_TEST(fills_begin_small)
{
        uint32_t class_idx = size_class_of(32), cap = cap_of(class_idx), filled = 1, n_had = 1;
        bool hit;

        take(32, &hit);
        ck_assert(!hit && !tcache_has_magazine(t, tag_make(0, class_idx)));
        for (; n_had < 3 * cap; n_had++) {
                uint32_t size = slab_fill_size(&t->thread, class_idx);

                take(32, &hit);
                ck_assert_int_eq(hit, n_had < filled);
                filled += hit ? 0 : size;
                ck_assert_uint_eq(slab_fill_size(&t->thread, class_idx), hit ? size : 4 * size < cap ? 4 * size : cap);
        }
        tcache_flush(t);
        ck_assert_uint_eq(slab_fill_size(&t->thread, class_idx), 1);
        heap_verify(r, &live);
}
END_TEST

/* A thread that takes one block and frees it, or frees what others took, keeps nothing; after that it caches. */
START_TEST(first_use_goes_past_the_magazines)
{
        uint32_t class_idx = size_class_of(32), tag = tag_make(0, class_idx);
        bool hit;

        for (int round = 0; round < 2; round++) {
                take(32, &hit);
                give(live.off[0]);
                ck_assert(!hit && !tcache_has_magazine(t, tag));
                ck_assert_uint_eq(heap_verify_words(r).n_tcache, 0);
                take(32, &hit);
                ck_assert(!hit && tcache_has_magazine(t, tag));
                give(live.off[0]);
                tcache_flush(t); /* and begins anew */
        }
        heap_verify(r, &live);
}
END_TEST

/* Many in a row, and back: one slow call per magazine. */
START_TEST(slow_calls_are_one_per_magazine)
{
        uint32_t class_idx = 0, n = 6 * cap_of(class_idx), n_slow = 0;
        bool hit;

        fills_are_whole(&t->thread);
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

        fills_are_whole(&t->thread);
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
        tcase_add_test(tcase, fills_begin_small);
        tcase_add_test(tcase, first_use_goes_past_the_magazines);
        tcase_add_test(tcase, slow_calls_are_one_per_magazine);
        tcase_add_test(tcase, edge_of_a_magazine_is_no_cliff);
        tcase_add_test(tcase, spare_serves_where_that_is_all_there_is_to_do);
        tcase_add_test(tcase, blocks_are_reused_last_in_first_out);

        tcase = cases(suite, "home, two nodes", setup_two_nodes);

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
