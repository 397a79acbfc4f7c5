/*
 * scripts_small.c - operations on small blocks.  Each is as short as the step of interest allows.
 */
#include "crash.h"

#include <stdlib.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "blocks/magazine.h"
#include "clients/binding.h"
#include "clients/owner.h"
#include "pages/arena.h"
#include "pages/run.h"

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

/* Blocks in the current magazine of the class. */
static uint64_t
n_current(struct actor *a, size_t size)
{
        struct thread *t = thread_of(a);
        uint32_t idx = magazine_in(t, magazine_current(t, tag_make(0, size_class_of(size))));

        return idx == MAGAZINE_IDX_NONE ? 0 : world_region->magazines[idx].n;
}

/* ------------------------------------------------------------------ hits */

static void
setup_hit(struct actor *a)
{
        malloc_n(a, 100, 4);
        free_n(a, 1);
}

static void
run_hit_malloc(struct actor *a)
{
        actor_push(a, a_malloc(a, 100));
}

static void
run_free(struct actor *a)
{
        a_free(a, actor_pop(a));
}

/* ------------------------------------------------------------------ magazines: of 8 blocks, a slab has 16 */

enum { PAGE = 4096, CAP = 8, SHORT_BYTES = 256 };

static void
run_malloc(struct actor *a)
{
        actor_push(a, a_malloc(a, PAGE));
}

/* Empty, and none to spare; the slab is half full. */
static void
setup_fill(struct actor *a)
{
        malloc_n(a, PAGE, CAP);
}

/* As a thread that has just begun: a fill is a part of a magazine, and the slab has pages for two of them. */
static void
setup_fill_pages(struct actor *a)
{
        uint8_t *steps = &thread_of(a)->fill_steps[size_class_of(PAGE)];

        for (int i = 0; i < 2; i++) {
                *steps = 2;
                malloc_n(a, PAGE, CAP / 2);
        }
        *steps = 2;
}

/* As setup_fill(); what the slab has left is less than a magazine. */
static void
setup_fill_last(struct actor *a)
{
        malloc_n(a, PAGE, CAP);
        for (int i = 0; i < 3; i++)
                actor_push(a, a_alloc_direct(a, PAGE));
}

/* The current one empty, the spare full. */
static void
setup_spare(struct actor *a)
{
        malloc_n(a, PAGE, 2 * CAP);
        free_n(a, 2 * CAP);
        malloc_n(a, PAGE, CAP);
}

/* Both empty, one in the depot. */
static void
setup_depot_take(struct actor *a)
{
        malloc_n(a, PAGE, 3 * CAP);
        free_n(a, 3 * CAP);
        malloc_n(a, PAGE, 2 * CAP);
}

/* Both empty, two in the depot of the other arena. */
static void
setup_depot_neighbour(struct actor *a)
{
        uint32_t other = thread_of(a)->arena ^ 1;

        malloc_n(a, PAGE, 4 * CAP);
        free_n(a, 4 * CAP);
        malloc_n(a, PAGE, 2 * CAP);
        if (arena_init(world_region, other) < 0)
                report_line("no other arena");
        binding_set(thread_of(a), other);
}

/* The current one full, no spare. */
static void
setup_free_swap(struct actor *a)
{
        malloc_n(a, PAGE, 2 * CAP);
        while (n_current(a, PAGE) < CAP)
                free_n(a, 1);
}

/* Both full, room in the depot. */
static void
setup_depot_put(struct actor *a)
{
        malloc_n(a, PAGE, 4 * CAP);
        while (n_current(a, PAGE) < CAP)
                free_n(a, 1);
        free_n(a, CAP);
}

/* ------------------------------------------------------------------ sift: what should not have been freed */

static void
free_once_more(void *p)
{
        if (!tcache_push(tcache_list, p))
                report_line("no room for a double");
}

/* Both magazines full: a block is in one of them twice, with a pointer into the middle of it, and once in the other. */
static void
setup_sift(struct actor *a)
{
        void *twice;

        malloc_n(a, PAGE, 4 * CAP);
        twice = a->p[a->n_p - 1];
        free_n(a, 1);
        free_once_more(twice);
        free_once_more((char *)twice + 64);
        free_n(a, CAP - 3);
        free_n(a, CAP - 1);
        free_once_more(twice);
}

/* The spare one leaves the thread's hands. */
static void
run_sift(struct actor *a)
{
        struct thread *t = thread_of(a);
        uint32_t tag = tag_make(0, size_class_of(PAGE)), idx = magazine_in(t, magazine_spare(t, tag));

        magazine_pick_up(t, magazine_spare(t, tag), idx);
        magazine_put(t, idx, t->arena, true);
        t->fault.what = 0;
}

/* ------------------------------------------------------------------ drain: both full, the depot crowded */

/* Frees all but the last so that the depot is full, the spare holds `spare` and the current one what is left. */
static void
crowd(struct actor *a, void **blocks, int n, int cap, const int *spare)
{
        int n_depot = DEPOT_PLACES * cap;

        for (int i = 0; i < n && n_depot > 0; i++) {
                bool is_spare = false;

                for (int k = 0; k < cap; k++)
                        is_spare |= spare[k] == i;
                if (is_spare || !blocks[i])
                        continue;
                a_free(a, blocks[i]);
                blocks[i] = NULL;
                n_depot--;
        }
        for (int k = 0; k < cap; k++) {
                a_free(a, blocks[spare[k]]);
                blocks[spare[k]] = NULL;
        }
        for (int i = 0, k = 0; i < n && k < cap; i++)
                if (blocks[i]) {
                        a_free(a, blocks[i]);
                        blocks[i] = NULL;
                        k++;
                }
        for (int i = 0; i < n; i++)
                actor_push(a, blocks[i]);
}

enum { DRAIN_BYTES = 8192, DRAIN_CAP = 4, DRAIN_SLAB = 8, DRAIN_N = (DEPOT_PLACES + 2) * DRAIN_CAP + 8 };

static void *busy_block;

/* The magazine that will be drained holds blocks of three slabs, topmost one of the second. */
static void
make_drain(struct actor *a, bool keeps_one)
{
        static const int spare[] = {1, DRAIN_SLAB + 1, 2 * DRAIN_SLAB + 1, DRAIN_SLAB + 2};
        void *blocks[DRAIN_N];

        for (int i = 0; i < DRAIN_N; i++)
                blocks[i] = a_malloc(a, DRAIN_BYTES);
        if (keeps_one) {
                busy_block = blocks[DRAIN_SLAB + 5];
                blocks[DRAIN_SLAB + 5] = NULL;
        }
        crowd(a, blocks, DRAIN_N, DRAIN_CAP, spare);
}

static void
setup_drain(struct actor *a)
{
        make_drain(a, false);
}

static bool
holds_slab(struct actor *e)
{
        uint64_t off = (uint64_t)((uintptr_t)busy_block - (uintptr_t)world_region->chunks);
        int64_t head = run_head_of(world_region, off >> GEO_GRANULE_SHIFT);

        return head != POSITION_NONE &&
               granule_owner(owner_load(run_word(world_region, (uint64_t)head))) == thread_of(e)->no;
}

static void
free_busy(struct actor *e)
{
        a_free_direct(e, busy_block);
}

void
stop_one_with_slab_of(void *p)
{
        busy_block = p;
        if (!step_until_true(&actors[ACTOR_E], free_busy, holds_slab))
                report_line("nobody holds the slab");
}

/* Another thread is stopped with the second slab in its hands. */
static void
setup_drain_busy(struct actor *a)
{
        make_drain(a, true);
        stop_one_with_slab_of(busy_block);
}

/* The same when a block is freed past the magazines: it has to go into one. */
static void
setup_free_aside(struct actor *a)
{
        void *busy = a_malloc(a, DRAIN_BYTES);

        actor_push(a, a_malloc(a, DRAIN_BYTES));
        stop_one_with_slab_of(busy);
}

enum { PAIR_BYTES = 32768, PAIR_CAP = 2, PAIR_N = (DEPOT_PLACES + 2) * PAIR_CAP + 2 };

/* Both blocks of a slab are drained: it becomes empty, and a free run. */
static void
setup_slab_empty(struct actor *a)
{
        static const int spare[] = {2, 3};
        void *blocks[PAIR_N];

        for (int i = 0; i < PAIR_N; i++)
                blocks[i] = a_malloc(a, PAIR_BYTES);
        crowd(a, blocks, PAIR_N, PAIR_CAP, spare);
}

/* ------------------------------------------------------------------ slabs */

static void
setup_chunk(struct actor *a)
{
        actor_push(a, a_malloc(a, 5000)); /* the arena has a chunk */
}

static void
run_malloc_48(struct actor *a)
{
        actor_push(a, a_malloc(a, 48));
}

/* A slab of several granules. */
static void
run_malloc_28k(struct actor *a)
{
        actor_push(a, a_malloc(a, 28672));
}

static void
run_alloc_one(struct actor *a)
{
        actor_push(a, a_alloc_direct(a, PAGE));
}

static void
run_free_one(struct actor *a)
{
        a_free_direct(a, actor_pop(a));
}

/* ------------------------------------------------------------------ the others of the family */

static void
run_calloc(struct actor *a)
{
        actor_push(a, a_calloc(a, 10, 50));
}

static void
run_aligned(struct actor *a)
{
        actor_push(a, a_aligned(a, 1024, 3000));
}

static void
run_realloc_move(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 5000));
}

static void
run_realloc_same(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 99));
}

/* ------------------------------------------------------------------ hand-over in one step */

static void
setup_dest(struct actor *a)
{
        char *box = a_calloc(a, 1, 64);

        a->dest = (uint64_t *)(void *)(box + 16); /* the stamps are at the ends */
        malloc_n(a, PAGE, 3);
}

static void
run_malloc_to(struct actor *a)
{
        a_malloc_to(a, PAGE, 0, a->dest);
}

static void
run_malloc_to_past(struct actor *a)
{
        a_malloc_to(a, PAGE, SHA_TCACHE_NONE, a->dest);
}

/* The blocks that come next have been in use, in the magazine or in the slab. */
static void
setup_dest_dirty(struct actor *a)
{
        setup_dest(a);
        actor_push(a, a_malloc(a, SHORT_BYTES));
        free_n(a, 1);
        a_free_direct(a, a_alloc_direct(a, SHORT_BYTES));
}

static void
run_malloc_to_zero(struct actor *a)
{
        a_malloc_to(a, SHORT_BYTES, SHA_ZERO, a->dest);
}

static void
run_malloc_to_zero_past(struct actor *a)
{
        a_malloc_to(a, SHORT_BYTES, SHA_ZERO | SHA_TCACHE_NONE, a->dest);
}

/* The magazine is empty. */
static void
setup_dest_fill(struct actor *a)
{
        setup_dest(a);
        malloc_n(a, PAGE, CAP - 3);
}

static void
setup_free_from(struct actor *a)
{
        setup_dest(a);
        run_malloc_to(a);
}

/* The current one is full, the spare has room. */
static void
setup_free_from_full(struct actor *a)
{
        setup_free_from(a);
        malloc_n(a, PAGE, 2 * CAP);
        while (n_current(a, PAGE) < CAP)
                free_n(a, 1);
}

/* Past the magazines, into a slab that another thread is stopped with. */
static void
setup_free_from_aside(struct actor *a)
{
        void *busy;

        setup_dest(a);
        busy = a_malloc(a, DRAIN_BYTES);
        a_malloc_to(a, DRAIN_BYTES, 0, a->dest);
        stop_one_with_slab_of(busy);
}

static void
run_free_from(struct actor *a)
{
        a_free_from(a, a->dest);
}

static void
run_free_from_past(struct actor *a)
{
        a_free_from_direct(a, a->dest);
}

const struct script scripts_small[] = {
        {.name = "hit-malloc", .setup = setup_hit, .run = run_hit_malloc, .hot_bytes = 100},
        {.name = "hit-free", .setup = setup_hit, .run = run_free, .hot_bytes = 100},
        {.name = "spare", .setup = setup_spare, .run = run_malloc, .hot_bytes = PAGE},
        {.name = "fill", .setup = setup_fill, .run = run_malloc, .hot_bytes = PAGE},
        {.name = "fill-pages", .setup = setup_fill_pages, .run = run_malloc, .hot_bytes = PAGE},
        {.name = "fill-last", .setup = setup_fill_last, .run = run_malloc, .hot_bytes = PAGE},
        {.name = "fill-first", .run = run_malloc, .hot_bytes = PAGE},
        {.name = "depot-take", .setup = setup_depot_take, .run = run_malloc, .hot_bytes = PAGE},
        {.name = "depot-neighbour",
         .setup = setup_depot_neighbour,
         .run = run_malloc,
         .n_arenas = 2,
         .hot_bytes = PAGE},
        {.name = "free-swap", .setup = setup_free_swap, .run = run_free, .hot_bytes = PAGE},
        {.name = "depot-put", .setup = setup_depot_put, .run = run_free, .hot_bytes = PAGE},
        {.name = "sift", .setup = setup_sift, .run = run_sift, .hot_bytes = PAGE, .flags = SCRIPT_MISUSED},
        {.name = "drain", .setup = setup_drain, .run = run_free, .hot_bytes = DRAIN_BYTES},
        {.name = "drain-busy",
         .setup = setup_drain_busy,
         .run = run_free,
         .hot_bytes = DRAIN_BYTES,
         .flags = SCRIPT_PLAYED},
        {.name = "slab-empty", .setup = setup_slab_empty, .run = run_free, .hot_bytes = PAIR_BYTES},
        {.name = "slab-new", .setup = setup_chunk, .run = run_malloc_48, .hot_bytes = 48},
        {.name = "slab-new-long", .setup = setup_chunk, .run = run_malloc_28k, .hot_bytes = 28672},
        {.name = "alloc-one", .setup = setup_fill, .run = run_alloc_one, .hot_bytes = PAGE},
        {.name = "free-one", .setup = setup_fill, .run = run_free_one, .hot_bytes = PAGE},
        {.name = "free-aside",
         .setup = setup_free_aside,
         .run = run_free_one,
         .hot_bytes = DRAIN_BYTES,
         .flags = SCRIPT_PLAYED},
        {.name = "calloc", .setup = setup_chunk, .run = run_calloc, .hot_bytes = 500},
        {.name = "aligned", .setup = setup_chunk, .run = run_aligned, .hot_bytes = 3072},
        {.name = "realloc-move", .setup = setup_hit, .run = run_realloc_move, .hot_bytes = 100},
        {.name = "realloc-same", .setup = setup_hit, .run = run_realloc_same, .hot_bytes = 100},
        {.name = "malloc-to", .setup = setup_dest, .run = run_malloc_to, .hot_bytes = PAGE},
        {.name = "malloc-to-fill", .setup = setup_dest_fill, .run = run_malloc_to, .hot_bytes = PAGE},
        {.name = "malloc-to-past", .setup = setup_dest, .run = run_malloc_to_past, .hot_bytes = PAGE},
        {.name = "malloc-to-zero", .setup = setup_dest_dirty, .run = run_malloc_to_zero, .hot_bytes = SHORT_BYTES},
        {.name = "malloc-to-zero-past",
         .setup = setup_dest_dirty,
         .run = run_malloc_to_zero_past,
         .hot_bytes = SHORT_BYTES},
        {.name = "free-from", .setup = setup_free_from, .run = run_free_from, .hot_bytes = PAGE},
        {.name = "free-from-full", .setup = setup_free_from_full, .run = run_free_from, .hot_bytes = PAGE},
        {.name = "free-from-aside",
         .setup = setup_free_from_aside,
         .run = run_free_from_past,
         .hot_bytes = DRAIN_BYTES,
         .flags = SCRIPT_PLAYED},
        {.name = "free-from-past", .setup = setup_free_from, .run = run_free_from_past, .hot_bytes = PAGE},
        {.name = NULL},
};
