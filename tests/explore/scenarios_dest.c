/*
 * scenarios_dest.c - blocks that are allocated together with the word that names them, and freed together with it:
 * after any death the word names a block if and only if that is allocated.
 */
#include <errno.h>

#include "explore/scenarios.h"

#define RUN_BYTES  (2 * GEO_GRANULE_BYTES)
#define HUGE_BYTES (GEO_CHUNK_BYTES + 1)

static struct script *
play(int k)
{
        world_play(k);
        return &world_scripts[k];
}

/* The words lie in blocks of A's. */
static void
setup_words(void)
{
        for (int i = 0; i < 2; i++) {
                script_alloc(play(0), 64);
                world_dests[i] = world_region.layout.chunks_off + world_scripts[0].held[i];
        }
}

static void
to_small(struct script *me)
{
        script_alloc_to(me, 128, 0);
}

static void
to_small_too(struct script *me)
{
        script_alloc_to(me, 128, 1);
}

static void
to_run(struct script *me)
{
        script_alloc_to(me, RUN_BYTES, 0);
}

static void
to_run_too(struct script *me)
{
        script_alloc_to(me, RUN_BYTES, 1);
}

static void
to_huge(struct script *me)
{
        script_alloc_to(me, HUGE_BYTES, 0);
}

static void
to_huge_too(struct script *me)
{
        script_alloc_to(me, HUGE_BYTES, 1);
}

static void
from(struct script *me)
{
        script_free_from(me, 0); /* -EBUSY: then the word still names it */
}

static void
from_and_to_run(struct script *me)
{
        script_free_from(me, 0);
        script_alloc_to(me, RUN_BYTES, 0);
}

static void
setup_small(void)
{
        setup_words();
        to_small(play(0));
}

static void
setup_run(void)
{
        setup_words();
        to_run(play(0));
}

static void
setup_huge(void)
{
        setup_words();
        to_huge(play(0));
}

const struct scenario scenario_to_small = {
        .name = "to-small",
        .what = "two allocate small blocks to words of theirs",
        .setup = setup_words,
        .actors = {to_small, to_small_too},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = ENGINE_UNBOUNDED,
        .slow_deaths = 1,
        .n_dests = 2,
        .tests_capacity = true,
};

const struct scenario scenario_from_small = {
        .name = "from-small",
        .what = "a small block is freed with its word while another is allocated to one",
        .setup = setup_small,
        .actors = {from, to_small_too},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_dests = 2,
        .tests_capacity = true,
};

const struct scenario scenario_from_twice = {
        .name = "from-twice",
        .what = "two free a small block with its word",
        .setup = setup_small,
        .actors = {from, from},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_dests = 1,
        .tests_capacity = true,
};

const struct scenario scenario_to_run = {
        .name = "to-run",
        .what = "two allocate runs to words of theirs",
        .setup = setup_words,
        .actors = {to_run, to_run_too},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .n_dests = 2,
        .tests_capacity = true,
};

const struct scenario scenario_from_run = {
        .name = "from-run",
        .what = "a run is freed with its word, and another takes its place",
        .setup = setup_run,
        .actors = {from_and_to_run, to_run_too},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .n_dests = 2,
        .tests_capacity = true,
};

const struct scenario scenario_to_huge = {
        .name = "to-huge",
        .what = "two want the chunks for a huge block with a word",
        .setup = setup_words,
        .actors = {to_huge, to_huge_too},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .n_chunks = 3,
        .n_dests = 2,
        .tests_capacity = true,
};

const struct scenario scenario_from_huge = {
        .name = "from-huge",
        .what = "a huge block is freed with its word, and another takes its place",
        .setup = setup_huge,
        .actors = {from, to_huge_too},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 2,
        .n_chunks = 3,
        .n_dests = 2,
        .tests_capacity = true,
};
