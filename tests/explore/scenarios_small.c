/*
 * scenarios_small.c - blocks of slabs: fill, drain, single blocks, magazines and depots.
 */
#include "explore/scenarios.h"

enum { CLASS_64 = 3, CLASS_128 = 7 }; /* 8 and 4 blocks to a slab, which is a granule */

/* A holds all but two blocks of a slab, whose addresses still stand in its empty magazine. */
static void
setup_popped(void)
{
        world_play(0);
        script_fill(&world_scripts[0], CLASS_64);
        script_pop(&world_scripts[0], CLASS_64, 6);
}

static void
fill(struct script *me)
{
        if (!script_fill(me, CLASS_64))
                script_complain(me, "a magazine could not be filled although there was memory");
}

static void
fill_pop(struct script *me)
{
        fill(me);
        script_pop(me, CLASS_64, 1);
}

const struct scenario scenario_fill_fill = {
        .name = "fill-fill",
        .what = "two magazines are filled from one slab",
        .setup = setup_popped,
        .actors = {fill, fill_pop},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 3,
        .slow_deaths = 2,
        .tests_capacity = true,
};
