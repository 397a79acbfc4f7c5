/*
 * scripts_life.c - threads, roots, purging, and what happens when memory runs out.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

#include "blocks/large.h"
#include "blocks/pool_purge.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reserve.h"
#include "heap/root.h"
#include "pages/chunk.h"
#include "pages/sweep.h"
#include "support/ask.h"

enum { GRANULE = 65536, PAGE = 4096, CAP = 8 };

static void
malloc_n(struct actor *a, size_t size, int n)
{
        for (int i = 0; i < n; i++)
                actor_push(a, a_malloc(a, size));
}

static void
free_n(struct actor *a, int n)
{
        for (int i = 0; i < n; i++)
                a_free(a, actor_pop(a));
}

/* ------------------------------------------------------------------ threads */

static void
run_attach(struct actor *a)
{
        actor_attach(a);
}

/* Caches of several classes, some of which others have crowded. */
static void
setup_detach(struct actor *a)
{
        malloc_n(a, PAGE, 2 * CAP + 3);
        free_n(a, 2 * CAP);
        malloc_n(a, 100, 10);
        free_n(a, 5);
        malloc_n(a, 200000, 2);
        free_n(a, 1);
}

static void
run_thread_exit(struct actor *a)
{
        struct tcache *t = tcache_find(a->heap);

        a->is_attached = false;
        tcache_detach(t, false);
}

static void
setup_attach_again(struct actor *a)
{
        setup_detach(a);
        run_thread_exit(a);
}

static void
run_close(struct actor *a)
{
        struct shield shield;

        shield_raise(&shield); /* as it is done with the registry's lock held */
        a->is_attached = false;
        tcache_forget(a->heap);
        slot_unreserve(&a->heap->reserve, world_region, &a->heap->client);
        client_unregister(world_region, &a->heap->client);
        shield_lower(&shield);
}

/* One call by a thread that has no slot. */
static void
run_borrow(struct actor *a)
{
        struct call rq = {.size = PAGE, .align = 1};
        struct thread t;
        uint64_t off;

        ask_classify(&rq);
        if (thread_borrow(a->heap, &t) < 0) {
                report_line("the reserve slot cannot be had");
                return;
        }
        rq.arena = t.arena;
        a->op.new_bytes = PAGE;
        kill_order();
        a->op.n_new = 1;
        kill_order();
        if (ask_block(&t, &rq, &off) == 0)
                actor_keep(a, region_block(world_region, off));
        kill_order();
        a->op.n_new = 0;
        thread_return(a->heap, &t);
}

/* A block of somebody else's, which a thread is going to free that can have no slot. */
static void
setup_lend(struct actor *a)
{
        void *p;

        actor_switch(&actors[ACTOR_B]);
        p = a_malloc(&actors[ACTOR_B], PAGE);
        actor_switch(a);
        actor_push(a, p);
}

/* By the reserve slot of a client that does not use it. */
static void
run_lend(struct actor *a)
{
        void *p = actor_pop(a);
        struct shield shield;
        struct thread t;

        a->op.freed = (uint64_t)((char *)p - world_region->chunks) + 1;
        kill_order();
        actor_drop(a, p);
        kill_order();
        if (thread_lend(a->heap, &t, &shield) < 0) {
                report_line("nobody lends a slot");
                actor_keep(a, p);
        } else {
                free_block_finally(&t, (uint64_t)((char *)p - world_region->chunks));
                thread_give_back(a->heap, &t, &shield);
        }
        kill_order();
        a->op.freed = 0;
}

static bool
is_freeing_one(struct actor *a)
{
        (void)a;
        for (uint32_t idx = 0; idx < region_threads_hwm(world_region); idx++)
                if (load_relaxed(&region_thread(world_region, idx)->intent.kind) == INTENT_FREE_ONE)
                        return true;
        return false;
}

/* The slot that is lent next has been lent to somebody who died in the midst of it. */
static void
setup_lend_of_the_dead(struct actor *a)
{
        struct actor *e = &actors[ACTOR_E];

        setup_lend(a);
        setup_lend(e);
        actor_switch(e);
        if (!step_until_true(e, run_lend, is_freeing_one))
                report_line("nobody frees by a slot that was lent");
        actor_kill(e);
        e->is_stopped = false;
        actor_switch(a);
}

static void
run_reap(struct actor *a)
{
        (void)a;
        actor_reap();
}

/* ------------------------------------------------------------------ roots */

static int
init_root(void *obj, size_t size, void *arg)
{
        (void)arg;
        memset(obj, 7, size < 32 ? size : 32);
        return 0;
}

static void
root(struct actor *a, const char *name)
{
        uint64_t off;

        if (root_find_or_create(a_enter(a), name, 300, 0, init_root, NULL, NULL, &off) < 0)
                report_line("no root %s", name);
        a_leave(a);
}

static void
run_root(struct actor *a)
{
        root(a, "alpha");
}

static void
setup_root(struct actor *a)
{
        malloc_n(a, 300, 1);
}

static void
setup_root_there(struct actor *a)
{
        setup_root(a);
        root(a, "beta");
        root(a, "alpha");
}

static void
run_root_remove(struct actor *a)
{
        (void)root_remove(a_enter(a), "alpha"); /* -ENOENT when another one was faster */
        a_leave(a);
}

/* The record is there, the object is not. */
static void
setup_root_again(struct actor *a)
{
        setup_root_there(a);
        run_root_remove(a);
}

/* init() allocates, and is outrun: by itself, which creates the same name once more. */
static struct actor *maker;

static int
init_chained(void *obj, size_t size, void *arg)
{
        (void)size;
        (void)arg;
        a_leave(maker);
        root(maker, "alpha");
        *(void **)obj = a_malloc(maker, PAGE);
        a_enter(maker);
        return 0;
}

static void
undo_chained(void *obj, size_t size, void *arg)
{
        (void)size;
        (void)arg;
        a_leave(maker);
        a_free(maker, *(void **)obj);
        a_enter(maker);
}

static void
run_root_undo(struct actor *a)
{
        uint64_t off;

        maker = a;
        if (root_find_or_create(a_enter(a), "alpha", 300, 0, init_chained, undo_chained, NULL, &off) < 0)
                report_line("no root alpha");
        a_leave(a);
}

static void
run_root_take(struct actor *a)
{
        uint64_t off, size;

        a->op.new_bytes = 300; /* once it is the taker's, and known to nobody else */
        kill_order();
        a->op.n_new = 1;
        kill_order();
        if (root_take(a_enter(a), "alpha", &off, &size) == 0) { /* -ENOENT when another one was faster */
                if (size != 300)
                        report_line("an object of %lu bytes was taken", size);
                actor_keep(a, region_block(world_region, off));
        }
        a_leave(a);
        kill_order();
        a->op.n_new = 0;
}

/* Another thread is stopped with the slab of the object in its hands. */
static void
setup_root_aside(struct actor *a)
{
        void *busy = a_alloc_direct(a, 300);

        setup_root_there(a);
        stop_one_with_slab_of(busy);
}

/* ------------------------------------------------------------------ giving back */

static void
setup_purge(struct actor *a)
{
        void *p[4];

        malloc_n(a, PAGE, 3 * CAP);
        free_n(a, 3 * CAP);
        for (int i = 0; i < 4; i++)
                p[i] = a_alloc_direct(a, GRANULE);
        a_free_direct(a, p[0]);
        a_free_direct(a, p[1]);
        a_free_direct(a, p[3]);
        actor_push(a, p[2]);
        a_free(a, a_malloc(a, 3 << 20));
}

static void
run_purge(struct actor *a)
{
        decay_purge(a_enter(a), UINT32_MAX);
        a_leave(a);
}

/* Some free granules have pages, some more get them. */
static void
run_with_reserve(struct actor *a)
{
        if (reserve_bytes(a_enter(a), 12 * GRANULE) < 0)
                report_line("nothing can be reserved");
        a_leave(a);
}

/* Pages beyond the marks that somebody touched: of magazines, and of chunks, also where the others' blocks do not
 * reach. */
static void
setup_sweep(struct actor *a)
{
        const struct layout *l = &world_region->layout;
        uint64_t first = 2 * region_magazines_hwm(world_region, 0) + 100, hwm;

        malloc_n(a, PAGE, 1);
        hwm = region_chunks_hwm(world_region);
        for (int i = 0; i < 4; i++)
                world_touch(l->off[TABLE_MAGAZINES] + first * l->stride[TABLE_MAGAZINES] +
                            (uint64_t)(i + i / 2) * PAGE);
        for (uint64_t chunk = hwm; chunk < hwm + 2; chunk++) {
                world_touch(l->chunks_off + chunk * GEO_CHUNK_BYTES);
                world_touch(l->chunks_off + chunk * GEO_CHUNK_BYTES + 1000 * PAGE);
                world_touch(l->chunks_off + chunk * GEO_CHUNK_BYTES + 1001 * PAGE);
        }
}

static void
run_sweep(struct actor *a)
{
        sweep_now(a_enter(a));
        a_leave(a);
}

enum { N_POOLED = 12 }; /* three pages */

static uint32_t first_pooled;

/* Magazines in the pool, with pages and hints. */
static void
setup_pool(struct actor *a)
{
        actor_push(a, a_malloc(a, 100));
        first_pooled = region_magazines_hwm(world_region, 0);
        for (uint32_t k = first_pooled; k < first_pooled + N_POOLED; k++) {
                if (region_raise_magazines(world_region, 0, k) < 0)
                        abort();
                world_region->pool_hints[k / 64] |= UINT64_C(1) << k % 64;
        }
}

static void
run_purge_pool(struct actor *a)
{
        uint64_t bytes = 0;

        pool_purge_stretch(a_enter(a), first_pooled, N_POOLED, &bytes);
        pool_purge_stretch(thread_of(a), first_pooled - 1, 2, &bytes); /* of which the first one is in use */
        a_leave(a);
}

/* The next magazine needs pages first: of the others there are no hints. */
static void
setup_pool_bare(struct actor *a)
{
        const struct region *r = world_region;
        uint64_t bytes = 0;

        setup_pool(a);
        pool_purge_stretch(thread_of(a), first_pooled, N_POOLED, &bytes);
        for (uint32_t idx = 0; idx < first_pooled + N_POOLED; idx++)
                if (world_backing(r->layout.off[TABLE_MAGAZINES] + idx * r->layout.stride[TABLE_MAGAZINES]) !=
                    BACKING_HOLE)
                        r->pool_hints[idx / 64] &= ~(UINT64_C(1) << idx % 64);
}

static void
run_take_bare(struct actor *a)
{
        actor_push(a, a_malloc(a, 700));
}

static uint32_t emptied; /* slot that somebody has used, and left */

static void
leave_slot(const struct actor *by)
{
        struct thread t = {0};

        if (slot_attach(&t, world_region, &by->heap->client, NULL, NULL) < 0)
                abort();
        emptied = t.no - 1;
        t.slot->room[0] += 5; /* nobody else counts there */
        judge_counted += 5;
        slot_release(&t);
}

static void
setup_purge_thread(struct actor *a)
{
        leave_slot(a);
}

static void
run_purge_thread(struct actor *a)
{
        slot_purge(a_enter(a), emptied);
        a_leave(a);
}

/* The next thread gets a slot that has no pages. */
static void
setup_slot_bare(struct actor *a)
{
        actor_switch(&actors[ACTOR_B]);
        leave_slot(&actors[ACTOR_B]);
        if (slot_purge(thread_of(&actors[ACTOR_B]), emptied) < 0)
                abort();
        actor_switch(a);
}

/* Slabs of one and of four granules with blocks here and there, and pages in between that no block lies in. */
static void
setup_purge_slab(struct actor *a)
{
        void *p[2 * CAP];

        for (int i = 0; i < 2 * CAP; i++)
                p[i] = a_alloc_direct(a, i < CAP ? PAGE : 28672);
        for (int i = 0; i < 2 * CAP; i++)
                if (i % CAP == 1 || i % CAP == 6)
                        actor_push(a, p[i]);
                else
                        a_free_direct(a, p[i]);
}

/* The same, purged: the next block from there needs pages first. */
static void
setup_purged_slab(struct actor *a)
{
        setup_purge_slab(a);
        decay_purge(thread_of(a), UINT32_MAX);
}

static void
run_malloc_page(struct actor *a)
{
        actor_push(a, a_malloc(a, PAGE));
}

/* The second chunk is empty. */
static void
setup_retire(struct actor *a)
{
        void *p[66];

        malloc_n(a, PAGE, 1);
        for (int i = 0; i < 66; i++)
                p[i] = a_alloc_direct(a, GRANULE);
        for (int i = 0; i < 66; i++)
                if (i < 10)
                        actor_push(a, p[i]);
                else
                        a_free_direct(a, p[i]);
}

static void
run_retire(struct actor *a)
{
        chunk_retire_all(a_enter(a), UINT32_MAX);
        a_leave(a);
}

/* It is, but for one granule near its end. */
static void
setup_retire_not(struct actor *a)
{
        void *p[128];

        for (int i = 0; i < 128; i++)
                p[i] = a_alloc_direct(a, GRANULE);
        for (int i = 0; i < 128; i++)
                if (i == 3 || i == 120)
                        actor_push(a, p[i]);
                else
                        a_free_direct(a, p[i]);
}

/* The next slow call is one that does what is done now and then; a magazine in the depot has lost its hint. */
static void
setup_tick(struct actor *a)
{
        struct tcache *t = tcache_find(a->heap);
        struct arena *arena;

        setup_purge(a);
        arena = region_arena(world_region, t->thread.arena);
        memset(arena->depot, 0, sizeof arena->depot);
        memset(arena->depot_n, 0, sizeof arena->depot_n);
        for (uint32_t class_idx = 0; class_idx < TAG_CLASSES; class_idx++)
                arena->depot_low[class_idx] = 1;
        malloc_n(a, PAGE, 5 * CAP);
        free_n(a, 4 * CAP);
        world_ms += 100000;
        t->n_slow = 63;
}

static void
run_tick(struct actor *a)
{
        actor_push(a, a_malloc(a, 777));
}

/* The next slow call notices that a class has not been used, whose magazines are full: one finds room in the depot. */
static void
setup_trim(struct actor *a)
{
        struct tcache *t = tcache_find(a->heap);
        uint32_t class_idx = size_class_of(PAGE);

        malloc_n(a, PAGE, (DEPOT_PLACES + 1) * CAP);
        free_n(a, (DEPOT_PLACES + 1) * CAP);
        t->trim_tag = tag_make(t->thread.node, class_idx);
        t->trim_seen[class_idx] = CAP + 1;
        t->n_slow = 63;
}

/* ------------------------------------------------------------------ running out, in a heap of one chunk */

/* All granules are in use. */
static void
setup_full(struct actor *a)
{
        void *p;

        while ((p = a_alloc_direct(a, GRANULE)))
                actor_push(a, p);
}

static void
run_malloc_fails(struct actor *a)
{
        actor_push(a, a_malloc(a, GRANULE));
}

/* What is free is in this thread's magazines, and in the depot. */
static void
setup_hoard(struct actor *a)
{
        struct thread *t = thread_of(a);
        struct where where = {.arena = t->arena, .chunk = CHUNK_ANY, .need = large_need(size_class_of(GRANULE), 1)};
        uint64_t off;
        void *p[24];

        for (int i = 0; i < 24; i++)
                p[i] = a_alloc_direct(a, GRANULE);
        setup_full(a);
        for (int i = 0; i < 24; i++)
                a_free_direct(a, p[i]);
        malloc_n(a, 32768, 40);
        free_n(a, 40);
        while (large_alloc(t, &where, 0, &off) == 0) /* makes no effort */
                actor_keep(a, region_block(world_region, off));
}

const struct script scripts_life[] = {
        {.name = "attach", .run = run_attach, .flags = SCRIPT_UNATTACHED, .hot_bytes = PAGE},
        {.name = "attach-again", .setup = setup_attach_again, .run = run_attach, .hot_bytes = PAGE},
        {.name = "thread-exit", .setup = setup_detach, .run = run_thread_exit, .hot_bytes = PAGE},
        {.name = "close", .setup = setup_detach, .run = run_close, .hot_bytes = PAGE},
        {.name = "borrow", .setup = setup_root, .run = run_borrow, .hot_bytes = PAGE},
        {.name = "lend",
         .setup = setup_lend,
         .run = run_lend,
         .flags = SCRIPT_UNATTACHED | SCRIPT_PLAYED,
         .hot_bytes = PAGE},
        {.name = "lend-of-the-dead",
         .setup = setup_lend_of_the_dead,
         .run = run_lend,
         .flags = SCRIPT_UNATTACHED | SCRIPT_PLAYED,
         .hot_bytes = PAGE},
        {.name = "reap", .run = run_reap, .hot_bytes = PAGE},
        {.name = "root-first", .setup = setup_root, .run = run_root, .hot_bytes = 300},
        {.name = "root-again", .setup = setup_root_again, .run = run_root, .hot_bytes = 300},
        {.name = "root-find", .setup = setup_root_there, .run = run_root, .hot_bytes = 300},
        {.name = "root-remove", .setup = setup_root_there, .run = run_root_remove, .hot_bytes = 300},
        {.name = "root-undo", .setup = setup_root, .run = run_root_undo, .hot_bytes = 300},
        {.name = "root-take", .setup = setup_root_there, .run = run_root_take, .hot_bytes = 300},
        {.name = "root-aside",
         .setup = setup_root_aside,
         .run = run_root_remove,
         .hot_bytes = 300,
         .flags = SCRIPT_PLAYED},
        {.name = "purge", .setup = setup_purge, .run = run_purge, .hot_bytes = GRANULE},
        {.name = "sweep", .setup = setup_sweep, .run = run_sweep, .hot_bytes = 3000000},
        {.name = "purge-slab", .setup = setup_purge_slab, .run = run_purge, .hot_bytes = PAGE},
        {.name = "purge-pool", .setup = setup_pool, .run = run_purge_pool, .hot_bytes = PAGE},
        {.name = "purge-thread",
         .setup = setup_purge_thread,
         .run = run_purge_thread,
         .hot_bytes = PAGE,
         .flags = SCRIPT_PLAYED | SCRIPT_SLOT},
        {.name = "attach-bare",
         .setup = setup_slot_bare,
         .run = run_attach,
         .flags = SCRIPT_UNATTACHED | SCRIPT_PLAYED,
         .hot_bytes = PAGE},
        {.name = "pool-bare", .setup = setup_pool_bare, .run = run_take_bare, .hot_bytes = 700},
        {.name = "fill-purged", .setup = setup_purged_slab, .run = run_malloc_page, .hot_bytes = PAGE},
        {.name = "reserve", .setup = setup_purge, .run = run_with_reserve, .hot_bytes = GRANULE},
        {.name = "retire", .setup = setup_retire, .run = run_retire, .hot_bytes = GRANULE},
        {.name = "retire-not", .setup = setup_retire_not, .run = run_retire, .hot_bytes = GRANULE},
        {.name = "tick",
         .setup = setup_tick,
         .run = run_tick,
         .hot_bytes = PAGE,
         .decay_ms = 32000,
         .flags = SCRIPT_PLAYED},
        {.name = "trim", .setup = setup_trim, .run = run_tick, .hot_bytes = PAGE},
        {.name = "full",
         .setup = setup_full,
         .run = run_malloc_fails,
         .n_chunks = 1,
         .flags = SCRIPT_TIGHT,
         .hot_bytes = PAGE},
        {.name = "hoard",
         .setup = setup_hoard,
         .run = run_malloc_fails,
         .n_chunks = 1,
         .flags = SCRIPT_TIGHT,
         .hot_bytes = PAGE},
        {.name = "hoard-two",
         .setup = setup_hoard,
         .run = run_malloc_fails,
         .n_chunks = 2,
         .flags = SCRIPT_TIGHT,
         .hot_bytes = PAGE},
        {.name = NULL},
};
