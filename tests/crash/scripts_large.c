/*
 * scripts_large.c - operations on runs and chunks.
 */
#include "crash.h"

#include "heap/reserve.h"

#define MIB (UINT64_C(1) << 20)

/* Of the class of RUN a magazine holds one at first.  Worlds are so small that what a thread may cache of runs is
 * 1 MiB, hence nothing of the class of UNCACHED. */
enum { GRANULE = 65536, RUN = 200000, UNCACHED = 1310720, UNCACHED_GRANULES = 20 };

static void
run_free(struct actor *a)
{
        a_free(a, actor_pop(a));
}

static void
setup_chunk(struct actor *a)
{
        actor_push(a, a_malloc(a, 5000)); /* the arena has a chunk */
}

/* ------------------------------------------------------------------ runs */

static void
run_malloc_run(struct actor *a)
{
        actor_push(a, a_malloc(a, RUN));
}

static void
setup_run(struct actor *a)
{
        setup_chunk(a);
        run_malloc_run(a);
}

/* One is in the magazine of the class, which holds one. */
static void
setup_run_cached(struct actor *a)
{
        setup_chunk(a);
        run_malloc_run(a);
        run_malloc_run(a);
        run_free(a);
}

/* Half of what may be cached is, so the magazine does not grow. */
static void
setup_run_drain(struct actor *a)
{
        void *other;

        setup_chunk(a);
        other = a_malloc(a, 262144);
        run_malloc_run(a);
        run_malloc_run(a);
        run_free(a);
        a_free(a, other);
}

/* A magazine that has grown is in the way of a class that has none. */
static void
setup_run_shrink(struct actor *a)
{
        struct tcache *t = tcache_find(a->heap);
        uint32_t tag = tag_make(t->thread.node, size_class_of(RUN));

        setup_chunk(a);
        actor_push(a, a_malloc(a, RUN - GRANULE / 2));
        run_malloc_run(a);
        run_malloc_run(a);
        run_free(a);
        run_free(a);
        t->run_bytes_share = t->run_bytes_max;
        t->large_hand = tag - 1;
}

/* Magazines of large classes hold as much as a thread may cache.  Each free of another class looks at the next class's
 * magazine: after a lap over all of them, the ninth, that of 160 KiB, is the next to be looked at, has not moved since,
 * and makes room. */
static void
setup_give_up(struct actor *a)
{
        static const size_t sizes[] = {262144, 229376, 196608, 163840};
        void *p[4];

        setup_chunk(a);
        for (int i = 0; i < 4; i++)
                p[i] = a_malloc(a, sizes[i]);
        for (int i = 0; i < 4; i++)
                a_free(a, p[i]);
        for (unsigned i = 0; i < SIZE_CLASS_N_LARGE + SIZE_CLASS_N_HUGE + 8; i++)
                a_free(a, a_malloc(a, 131072));
        actor_push(a, a_malloc(a, 131072));
}

static void
run_malloc_uncached(struct actor *a)
{
        actor_push(a, a_malloc(a, UNCACHED));
}

static void
setup_uncached(struct actor *a)
{
        setup_chunk(a);
        run_malloc_uncached(a);
}

static void
run_calloc_run(struct actor *a)
{
        actor_push(a, a_calloc(a, 5, 10000));
}

static void
run_aligned_run(struct actor *a)
{
        actor_push(a, a_aligned(a, 4 * GRANULE, RUN));
}

/* ------------------------------------------------------------------ resizing in place */

static void
run_grow(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 1572864));
}

static void
run_shrink(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 720896));
}

/* Two granules behind it are free, the third is not: the tail is claimed, given back, and the block moves. */
static void
setup_grow_blocked(struct actor *a)
{
        void *block, *behind[3];

        setup_chunk(a);
        block = a_malloc(a, 720896); /* of 12 granules */
        for (int i = 0; i < 3; i++)
                behind[i] = a_alloc_direct(a, GRANULE);
        a_free_direct(a, behind[0]);
        a_free_direct(a, behind[1]);
        actor_push(a, behind[2]);
        actor_push(a, block);
}

/* ------------------------------------------------------------------ chunks */

static void
setup_full_chunk(struct actor *a)
{
        for (int i = 0; i < 64; i++)
                actor_push(a, a_alloc_direct(a, GRANULE));
}

static void
run_malloc_granule(struct actor *a)
{
        actor_push(a, a_malloc(a, GRANULE));
}

/* ------------------------------------------------------------------ huge blocks */

static void
run_malloc_huge(struct actor *a)
{
        actor_push(a, a_malloc(a, 5 * MIB));
}

/* The one chunk that is free was of node 0, and has pages. */
static void
setup_chunk_of_other_node(struct actor *a)
{
        void *p[3];

        setup_chunk(a);
        for (int i = 0; i < 3; i++)
                p[i] = a_malloc(a, 3 * MIB);
        a_free(a, p[2]);
}

static void
run_malloc_other_node(struct actor *a)
{
        actor_push(a, a_mallocx(a, 5000, SHA_NODE(1)));
}

static void
run_huge_other_node(struct actor *a)
{
        actor_push(a, a_mallocx(a, 3 * MIB, SHA_NODE(1)));
}

static void
setup_huge(struct actor *a)
{
        setup_chunk(a);
        run_malloc_huge(a);
}

static void
run_huge_grow(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 13 * MIB));
}

static void
run_huge_grow_within(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 7 * MIB));
}

static void
run_huge_shrink(struct actor *a)
{
        actor_push(a, a_realloc(a, actor_pop(a), 3 * MIB));
}

/* One chunk behind it is free, the next is not. */
static void
setup_huge_blocked(struct actor *a)
{
        void *between;

        setup_huge(a);
        between = a_malloc(a, 3 * MIB);
        gift(a_malloc(a, 3 * MIB));
        a_free(a, between);
}

static void
run_huge_aligned(struct actor *a)
{
        actor_push(a, a_aligned(a, 8 * MIB, 3 * MIB));
}

/* ------------------------------------------------------------------ huge blocks in magazines */

/* As in a large heap, where a thread's share has room for huge blocks. */
static void
setup_huge_share(struct actor *a)
{
        setup_chunk(a);
        tcache_find(a->heap)->run_bytes_share = 16 * MIB;
}

static void
setup_huge_to_cache(struct actor *a)
{
        setup_huge_share(a);
        run_malloc_huge(a);
}

/* One is in the magazine of the class. */
static void
setup_huge_cached(struct actor *a)
{
        setup_huge_to_cache(a);
        run_free(a);
}

/* The magazine is there, and empty. */
static void
setup_huge_hit(struct actor *a)
{
        setup_huge_cached(a);
        run_malloc_huge(a);
}

static void
run_malloc_huge_other(struct actor *a)
{
        actor_push(a, a_malloc(a, 7 * MIB));
}

static void
run_malloc_huge_less(struct actor *a)
{
        actor_push(a, a_malloc(a, 5 * MIB - 100000));
}

/* The magazine is full, and may not grow. */
static void
setup_huge_drain(struct actor *a)
{
        setup_huge_share(a);
        run_malloc_huge(a);
        run_malloc_huge(a);
        run_free(a);
        tcache_find(a->heap)->run_bytes_share = 8 * MIB;
}

/* The chunk that is wanted is one of a block that is kept. */
static void
setup_reserve_kept(struct actor *a)
{
        setup_huge_to_cache(a);
        gift(a_malloc(a, 3 * MIB));
        run_free(a);
}

static void
run_reserve_kept(struct actor *a)
{
        if (reserve_bytes(a_enter(a), GEO_CHUNK_BYTES) < 0)
                report_line("nothing can be reserved");
        a_leave(a);
}

/* ------------------------------------------------------------------ hand-over in one step */

static void
setup_dest(struct actor *a)
{
        char *box = a_calloc(a, 1, 64);

        a->dest = (uint64_t *)(void *)(box + 16); /* the stamps are at the ends */
        setup_chunk(a);
}

static void
run_run_to(struct actor *a)
{
        a_malloc_to(a, RUN, 0, a->dest);
}

static void
run_huge_to(struct actor *a)
{
        a_malloc_to(a, 5 * MIB, 0, a->dest);
}

static void
setup_run_from(struct actor *a)
{
        setup_dest(a);
        run_run_to(a);
}

static void
setup_huge_from(struct actor *a)
{
        setup_dest(a);
        run_huge_to(a);
}

static void
run_from(struct actor *a)
{
        a_free_from(a, a->dest);
}

const struct script scripts_large[] = {
        {.name = "run-alloc", .setup = setup_chunk, .run = run_malloc_run, .hot_bytes = RUN},
        {.name = "run-free", .setup = setup_run, .run = run_free, .hot_bytes = RUN},
        {.name = "run-take-cached", .setup = setup_run_cached, .run = run_malloc_run, .hot_bytes = RUN},
        {.name = "run-grow", .setup = setup_run_cached, .run = run_free, .hot_bytes = RUN},
        {.name = "run-shrink", .setup = setup_run_shrink, .run = run_free, .hot_bytes = RUN},
        {.name = "run-drain", .setup = setup_run_drain, .run = run_free, .hot_bytes = RUN},
        {.name = "run-give-up", .setup = setup_give_up, .run = run_free, .hot_bytes = RUN},
        {.name = "run-alloc-uncached", .setup = setup_chunk, .run = run_malloc_uncached, .hot_bytes = UNCACHED},
        {.name = "run-free-uncached", .setup = setup_uncached, .run = run_free, .hot_bytes = UNCACHED},
        {.name = "run-calloc", .setup = setup_chunk, .run = run_calloc_run, .hot_bytes = RUN},
        {.name = "run-aligned", .setup = setup_chunk, .run = run_aligned_run, .hot_bytes = RUN},
        {.name = "resize-grow", .setup = setup_uncached, .run = run_grow, .hot_bytes = GRANULE},
        {.name = "resize-shrink", .setup = setup_uncached, .run = run_shrink, .hot_bytes = GRANULE},
        {.name = "resize-move",
         .setup = setup_grow_blocked,
         .run = run_grow,
         .flags = SCRIPT_TRACED,
         .hot_bytes = GRANULE},
        {.name = "chunk-new", .setup = setup_full_chunk, .run = run_malloc_granule, .hot_bytes = GRANULE},
        {.name = "chunk-moves",
         .setup = setup_chunk_of_other_node,
         .run = run_malloc_other_node,
         .n_nodes = 2,
         .flags = SCRIPT_PLAYED | SCRIPT_TIGHT,
         .hot_bytes = GRANULE},
        {.name = "huge-moves",
         .setup = setup_chunk_of_other_node,
         .run = run_huge_other_node,
         .n_nodes = 2,
         .flags = SCRIPT_PLAYED | SCRIPT_TIGHT,
         .hot_bytes = GRANULE},
        {.name = "huge-alloc", .setup = setup_chunk, .run = run_malloc_huge, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-free", .setup = setup_huge, .run = run_free, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-grow", .setup = setup_huge, .run = run_huge_grow, .n_chunks = 7, .hot_bytes = 3 * MIB},
        {.name = "huge-grow-within",
         .setup = setup_huge,
         .run = run_huge_grow_within,
         .n_chunks = 6,
         .hot_bytes = 3 * MIB},
        {.name = "huge-shrink", .setup = setup_huge, .run = run_huge_shrink, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-move",
         .setup = setup_huge_blocked,
         .run = run_huge_grow,
         .n_chunks = 8,
         .flags = SCRIPT_TRACED,
         .hot_bytes = 3 * MIB},
        {.name = "huge-aligned", .setup = setup_chunk, .run = run_huge_aligned, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-cached-free",
         .setup = setup_huge_to_cache,
         .run = run_free,
         .n_chunks = 6,
         .hot_bytes = 3 * MIB},
        {.name = "huge-cached-alloc",
         .setup = setup_huge_cached,
         .run = run_malloc_huge,
         .n_chunks = 6,
         .hot_bytes = 3 * MIB},
        {.name = "huge-cached-more",
         .setup = setup_huge_cached,
         .run = run_malloc_huge_other,
         .n_chunks = 6,
         .hot_bytes = 3 * MIB},
        {.name = "huge-cached-less",
         .setup = setup_huge_cached,
         .run = run_malloc_huge_less,
         .n_chunks = 6,
         .hot_bytes = 3 * MIB},
        {.name = "huge-hit-free", .setup = setup_huge_hit, .run = run_free, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-drain", .setup = setup_huge_drain, .run = run_free, .n_chunks = 8, .hot_bytes = 3 * MIB},
        {.name = "reserve-kept", .setup = setup_reserve_kept, .run = run_reserve_kept, .flags = SCRIPT_TIGHT},
        {.name = "run-to", .setup = setup_dest, .run = run_run_to, .hot_bytes = RUN},
        {.name = "run-from", .setup = setup_run_from, .run = run_from, .hot_bytes = RUN},
        {.name = "huge-to", .setup = setup_dest, .run = run_huge_to, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = "huge-from", .setup = setup_huge_from, .run = run_from, .n_chunks = 6, .hot_bytes = 3 * MIB},
        {.name = NULL},
};
