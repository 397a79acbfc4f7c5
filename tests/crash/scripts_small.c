/*
 * scripts_small.c - operations on small blocks.  Each is as short as the step of interest allows.
 */
#include "crash.h"

#include "base/size_class.h"
#include "heap/reap.h"

/* ------------------------------------------------------------------ hits */

static void
setup_hit(struct actor *a)
{
        for (int i = 0; i < 4; i++)
                actor_push(a, a_malloc(a, 100));
        a_free(a, actor_pop(a));
}

static void
run_hit_malloc(struct actor *a)
{
        actor_push(a, a_malloc(a, 100));
}

static void
run_hit_free(struct actor *a)
{
        a_free(a, actor_pop(a));
}

/* ------------------------------------------------------------------ fill */

static void
run_malloc_4k(struct actor *a)
{
        actor_push(a, a_malloc(a, 4096));
}

/* The magazine of 8 is empty, the slab of 16 half full. */
static void
setup_fill(struct actor *a)
{
        for (int i = 0; i < 8; i++)
                actor_push(a, a_malloc(a, 4096));
}

/* ------------------------------------------------------------------ drain */

enum { DRAIN_BYTES = 8192, DRAIN_CAP = 4, DRAIN_BLOCKS = 8 };

/* Both magazines and the depot are full, so the next free drains one; its blocks are of several slabs. */
static void
setup_drain(struct actor *a)
{
        void *p[160];
        int n = DRAIN_CAP * 18 + DRAIN_BLOCKS;

        for (int i = 0; i < n; i++)
                p[i] = a_malloc(a, DRAIN_BYTES);
        for (int i = 0; i < DRAIN_BLOCKS; i++) /* one of each slab, but for the last */
                actor_push(a, p[i * DRAIN_BLOCKS]);
        for (int i = 0; i < n; i++)
                if (i % DRAIN_BLOCKS != 0 || i >= DRAIN_BLOCKS * DRAIN_BLOCKS)
                        a_free(a, p[i]);
        for (int i = 0; i < 3; i++)
                a_free(a, actor_pop(a));
}

static void
run_drain(struct actor *a)
{
        for (int i = 0; i < DRAIN_CAP; i++)
                a_free(a, actor_pop(a));
}

const struct script scripts_small[] = {
        {.name = "hit-malloc", .setup = setup_hit, .run = run_hit_malloc, .hot_bytes = 100, .flags = SCRIPT_EVERY},
        {.name = "hit-free", .setup = setup_hit, .run = run_hit_free, .hot_bytes = 100, .flags = SCRIPT_EVERY},
        {.name = "fill", .setup = setup_fill, .run = run_malloc_4k, .hot_bytes = 4096, .flags = SCRIPT_EVERY},
        {.name = "fill-first", .run = run_malloc_4k, .hot_bytes = 4096},
        {.name = "drain", .setup = setup_drain, .run = run_drain, .hot_bytes = DRAIN_BYTES, .flags = SCRIPT_EVERY},
        {.name = NULL},
};
