/*
 * What is at stake: two threads that own one block.  Here threads are the clients, so that ThreadSanitizer sees each
 * missing edge between them and AddressSanitizer each stray access: they allocate and free blocks of all sizes, past
 * the magazines and through them, hand blocks to each other, come, go and die, while memory is plenty, and while there
 * is none.  Each block bears a stamp at both ends that only its owner may change; at the end the judge finds every
 * block in exactly one place, and all of the heap can be had in whole chunks again.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/size_class.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "clients/slot.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "pages/chunk.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "tcache/tcache.h"

enum { N_WORKERS = 4, N_BOXES = 64, N_OWN_MAX = 400 };

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { N_STEPS = 6000 };
#else
enum { N_STEPS = 60000 };
#endif

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static uint64_t boxes[N_BOXES]; /* block offset + 1, 0 = empty; handed over by exchange */

/* ------------------------------------------------------------------ stamps
 *
 * At both ends of a block: its offset, and how many bytes were asked for.
 */

struct stamp {
        uint64_t block_off, bytes;
};

static void
stamp_write(uint64_t block_off, uint64_t bytes)
{
        struct stamp stamp = {.block_off = ~block_off, .bytes = bytes};
        char *p = region_block(r, block_off);

        if (bytes < sizeof stamp)
                return;
        memcpy(p, &stamp, sizeof stamp);
        memcpy(p + bytes - sizeof stamp, &stamp, sizeof stamp);
        if (bytes < 2 * sizeof stamp)
                memcpy(p, &stamp, sizeof stamp);
}

static void
stamp_check(uint64_t block_off, uint64_t bytes)
{
        struct stamp front, back;
        char *p = region_block(r, block_off);

        memcpy(&front, p, sizeof front);
        ck_assert_uint_eq(front.block_off, ~block_off);
        ck_assert_uint_le(front.bytes, bytes);
        if (front.bytes < 2 * sizeof front)
                return;
        memcpy(&back, p + front.bytes - sizeof back, sizeof back);
        ck_assert_uint_eq(back.block_off, ~block_off);
        ck_assert_uint_eq(back.bytes, front.bytes);
}

/* ------------------------------------------------------------------ one worker */

struct worker {
        pthread_t pthread;
        uint64_t random;
        struct tcache *t;
        uint64_t own[N_OWN_MAX];
        unsigned n_own;
        unsigned n_steps;
        uint64_t bytes_max; /* of one request */
        uint64_t n_failed;
};

static uint64_t
random_below(struct worker *w, uint64_t n)
{
        w->random ^= w->random << 13;
        w->random ^= w->random >> 7;
        w->random ^= w->random << 17;
        return (w->random >> 11) % n;
}

/* Each doubling from 16 bytes on is half as likely as the one before. */
static uint64_t
random_bytes(struct worker *w)
{
        uint64_t bytes = 16 + random_below(w, 48);

        while (bytes < w->bytes_max && random_below(w, 100) < 62)
                bytes *= 2;
        return bytes > w->bytes_max ? w->bytes_max : bytes;
}

static void
no_fault(struct worker *w)
{
        ck_assert_msg(w->t->thread.fault.what == 0, "fault %u at %#lx", w->t->thread.fault.what,
                      (unsigned long)w->t->thread.fault.block_off);
}

static uint64_t
usable(uint64_t block_off)
{
        uint32_t class_idx;

        return block_usable(r, block_off, &class_idx);
}

/* The block's offset + 1; 0 = none. */
static uint64_t
allocate_cached(struct worker *w, uint64_t bytes)
{
        unsigned class_idx1 = bytes <= SIZE_CLASS_BY_SIZE_MAX ? w->t->by_size[bytes] : 0;
        void *p;

        if (!tcache_pop(w->t, class_idx1, &p))
                p = ask_tcache(w->t, bytes);
        return p ? (uint64_t)((char *)p - r->chunks) + 1 : 0;
}

static uint64_t
allocate_directly(struct worker *w, uint64_t bytes)
{
        struct call rq = {.size = bytes, .align = UINT64_C(1) << random_below(w, 18), .arena = w->t->thread.arena};
        uint64_t block_off;

        ck_assert(ask_classify(&rq));
        rq.flags = random_below(w, 4) == 0 ? CALL_NO_GROW : 0;
        if (ask_block(&w->t->thread, &rq, &block_off) < 0)
                return 0;
        ck_assert_uint_eq((r->layout.chunks_off + block_off) % rq.align, 0);
        return block_off + 1;
}

static void
release(struct worker *w, uint64_t block_off)
{
        int err = 0;

        stamp_check(block_off, usable(block_off));
        memset(region_block(r, block_off), 0x5a, 16);
        if (random_below(w, 8) == 0) {
                while ((err = free_block(&w->t->thread, block_off, 0)) == -EBUSY)
                        continue;
                ck_assert_int_eq(err, 0);
        } else if (!tcache_push(w->t, region_block(r, block_off))) {
                tcache_free_slow(w->t, block_off);
        }
        no_fault(w);
}

static void
release_one(struct worker *w)
{
        unsigned i = (unsigned)random_below(w, w->n_own);
        uint64_t block_off = w->own[i];

        w->own[i] = w->own[--w->n_own];
        release(w, block_off);
}

static void
allocate_one(struct worker *w)
{
        uint64_t bytes = random_bytes(w);
        uint64_t got = random_below(w, 8) == 0 ? allocate_directly(w, bytes) : allocate_cached(w, bytes);

        no_fault(w);
        if (got == 0) {
                w->n_failed++;
                for (int i = 0; i < 20 && w->n_own > 0; i++)
                        release_one(w);
                return;
        }
        ck_assert_uint_ge(usable(got - 1), bytes);
        stamp_write(got - 1, bytes);
        w->own[w->n_own++] = got - 1;
}

/* Puts a block of its own into a box, and frees what was in there. */
static void
exchange_one(struct worker *w)
{
        unsigned i = (unsigned)random_below(w, w->n_own);
        uint64_t block_off = w->own[i];
        uint64_t got = __atomic_exchange_n(&boxes[random_below(w, N_BOXES)], block_off + 1, __ATOMIC_ACQ_REL);

        w->own[i] = w->own[--w->n_own];
        if (got != 0)
                release(w, got - 1);
}

static void
resize_one(struct worker *w)
{
        uint64_t block_off = w->own[random_below(w, w->n_own)], bytes;
        uint32_t class_idx;
        int err;

        bytes = block_usable(r, block_off, &class_idx);
        stamp_check(block_off, bytes);
        if (class_idx == SIZE_CLASS_NONE)
                err = huge_resize(&w->t->thread, block_off, GEO_CHUNK_BYTES / 2 * (1 + random_below(w, 5)));
        else if (size_class_is_large(class_idx))
                err = large_resize(&w->t->thread, block_off,
                                   SIZE_CLASS_N_SMALL + (uint32_t)random_below(w, SIZE_CLASS_N - SIZE_CLASS_N_SMALL));
        else
                return;
        ck_assert(err == 0 || err == -ENOMEM);
        stamp_write(block_off, usable(block_off));
        no_fault(w);
}

static void
step(struct worker *w)
{
        uint64_t what = random_below(w, 1000);

        if (what == 0)
                tcache_flush(w->t);
        else if (what == 1)
                decay_purge(&w->t->thread, UINT32_MAX);
        else if (what == 2)
                decay_tick(&w->t->thread);
        else if (what == 3)
                chunk_retire_all(&w->t->thread, 1);
        else if (what == 4)
                slot_reap_all(r, reap_settle, &w->t->thread);
        else if (what < 20 && w->n_own > 0)
                resize_one(w);
        else if (what < 100 && w->n_own > 0)
                exchange_one(w);
        else if (what < 530 ? w->n_own < N_OWN_MAX : w->n_own == 0)
                allocate_one(w);
        else
                release_one(w);
        /* After a flush the hit paths find nothing until a slow path has published a magazine again. */
}

static void *
work(void *arg)
{
        struct worker *w = arg;
        int err;

        w->t = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(w->t);
        for (unsigned i = 0; i < w->n_steps; i++)
                step(w);
        return NULL;
}

static void *
work_and_leave(void *arg)
{
        struct worker *w = arg;

        work(w);
        while (w->n_own > 0)
                release_one(w);
        return NULL; /* the destructor gives the magazines back */
}

#if defined(__SANITIZE_THREAD__)
static pthread_barrier_t all_done;
#endif

/* Dies between two calls, with whatever is in its magazines; what it owned others have by then. */
static void *
work_and_die(void *arg)
{
        struct worker *w = arg;

        work(w);
        while (w->n_own > 0)
                release_one(w);
        tcache_list = NULL; /* so the destructor finds nothing to give back */
#if defined(__SANITIZE_THREAD__)
        /* The kernel orders all that a thread did before its death is known, which the sanitizer cannot see: here only
         * the next round may find it dead. */
        pthread_barrier_wait(&all_done);
#endif
        return NULL;
}

/* ------------------------------------------------------------------ all of them */

static void
run(void *(*fn)(void *), unsigned n_rounds, uint64_t bytes_max, uint64_t seed)
{
        static struct worker workers[N_WORKERS];

#if defined(__SANITIZE_THREAD__)
        ck_assert_int_eq(pthread_barrier_init(&all_done, NULL, N_WORKERS), 0);
#endif
        for (unsigned round = 0; round < n_rounds; round++) {
                memset(workers, 0, sizeof workers);
                for (unsigned i = 0; i < N_WORKERS; i++) {
                        workers[i].random = 88172645463325252u + seed * 1000 + round * N_WORKERS + i;
                        workers[i].n_steps = N_STEPS / n_rounds;
                        workers[i].bytes_max = bytes_max;
                        ck_assert_int_eq(pthread_create(&workers[i].pthread, NULL, fn, &workers[i]), 0);
                }
                for (unsigned i = 0; i < N_WORKERS; i++)
                        ck_assert_int_eq(pthread_join(workers[i].pthread, NULL), 0);
        }
}

/* Every block in one place; then all are freed, and the heap can be had in whole chunks. */
static void
settle_up(void)
{
        uint64_t n_chunks = region_capacity_chunks(r), n = 0, block_off;
        struct live live = {0};
        struct thread *t;

        while (slot_reap_all(r, reap_settle, NULL) > 0)
                continue;
        for (unsigned i = 0; i < N_BOXES; i++)
                if (boxes[i] != 0) {
                        stamp_check(boxes[i] - 1, usable(boxes[i] - 1));
                        live_add(&live, boxes[i] - 1);
                }
        heap_verify(r, &live);
        t = heap_attach(&fx, 0);
        while (live.n > 0)
                ck_assert_int_eq(free_block(t, live_pop(&live), 0), 0);
        heap_verify(r, NULL);
        for (; n < n_chunks; n++) {
                struct call rq = {.size = GEO_CHUNK_BYTES, .align = 1};

                ck_assert(ask_classify(&rq));
                ck_assert_msg(ask_block(t, &rq, &block_off) == 0, "only %lu of %lu chunks can be had again",
                              (unsigned long)n, (unsigned long)n_chunks);
        }
        live_fini(&live);
}

START_TEST(threads_with_plenty_of_memory)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 32, .max_threads = 16, .arenas_per_node = 2});
        run(work_and_leave, 1, 3 * GEO_CHUNK_BYTES, 1);
        settle_up();
}
END_TEST

START_TEST(threads_that_fight_for_the_last_block)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 3, .max_threads = 16, .arenas_per_node = 2});
        run(work_and_leave, 1, 2 * GEO_CHUNK_BYTES, 2);
        settle_up();
}
END_TEST

START_TEST(threads_that_share_one_arena)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 16});
        run(work_and_leave, 1, 512, 3);
        settle_up();
}
END_TEST

START_TEST(threads_of_two_nodes)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 16, .n_nodes = 2, .arenas_per_node = 2});
        run(work_and_leave, 1, GEO_CHUNK_BYTES, 4);
        settle_up();
}
END_TEST

START_TEST(threads_that_come_and_go)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .max_threads = 16, .arenas_per_node = 2});
        run(work_and_leave, 20, GEO_CHUNK_BYTES, 5);
        settle_up();
}
END_TEST

START_TEST(threads_that_die)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 4, .max_threads = 8, .arenas_per_node = 2});
        run(work_and_die, 20, GEO_CHUNK_BYTES, 6);
        settle_up();
}
END_TEST

static void
teardown(void)
{
        heap_drop(&fx);
        memset(boxes, 0, sizeof boxes);
}

int
main(void)
{
        Suite *suite = suite_create("threads");
        TCase *tcase = tcase_create("threads");

        tcase_add_checked_fixture(tcase, NULL, teardown);
        tcase_add_test(tcase, threads_with_plenty_of_memory);
        tcase_add_test(tcase, threads_that_fight_for_the_last_block);
        tcase_add_test(tcase, threads_that_share_one_arena);
        tcase_add_test(tcase, threads_of_two_nodes);
        tcase_add_test(tcase, threads_that_come_and_go);
        tcase_add_test(tcase, threads_that_die);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
