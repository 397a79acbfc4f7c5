/*
 * scenarios_small.c - blocks of slabs: filled, drained, taken and freed one by one; magazines, pool and depots.
 */
#include <errno.h>

#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "explore/scenarios.h"

enum {
        /* A magazine of each holds 4. */
        CLASS_64 = 3,  /* 8 blocks to a slab of a granule */
        CLASS_112 = 6, /* 9 blocks to a slab of two granules */
        CLASS_128 = 7  /* 4 blocks to a slab of a granule */
};

static struct script *
play(int k)
{
        world_play(k);
        return &world_scripts[k];
}

static void
fill_of(struct script *me, uint32_t class_idx)
{
        if (!script_fill(me, class_idx))
                script_complain(me, "a magazine could not be filled although there was memory");
}

static void
fill_64(struct script *me)
{
        fill_of(me, CLASS_64);
}

static void
fill_pop_64(struct script *me)
{
        fill_of(me, CLASS_64);
        script_pop(me, CLASS_64, 1);
}

static void
drain_64(struct script *me)
{
        script_drain(me, CLASS_64);
}

/* A holds half of a slab; the addresses still stand in its empty magazine. */
static void
setup_popped(void)
{
        fill_64(play(0));
        script_pop(play(0), CLASS_64, 4);
}

const struct scenario scenario_fill_fill = {
        .name = "fill-fill",
        .what = "two magazines are filled from one slab",
        .setup = setup_popped,
        .actors = {fill_64, fill_pop_64},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_fill_fill_fill = {
        .name = "fill-fill-fill",
        .what = "three magazines are filled from one slab",
        .setup = setup_popped,
        .actors = {fill_64, fill_64, fill_64},
        .n_preemptions = 2,
        .n_deaths = 0,
        .slow_preemptions = 1,
        .slow_deaths = 1,
        .tests_capacity = true,
};

/* Two blocks are left in A's magazine, two are held, four are free. */
static void
setup_half(void)
{
        fill_64(play(0));
        script_pop(play(0), CLASS_64, 2);
}

const struct scenario scenario_fill_drain = {
        .name = "fill-drain",
        .what = "a magazine is drained into the slab that another is filled from",
        .setup = setup_half,
        .actors = {drain_64, fill_64},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ drain */

static void
drain_112(struct script *me)
{
        script_drain(me, CLASS_112);
}

/* Gives what A holds of the class to another actor's magazine. */
static void
hand_over(int to, uint32_t class_idx)
{
        struct script *from = play(0);
        uint32_t n = from->n_held, idx, tag = tag_make(0, class_idx);
        struct script *me = play(to);

        if (magazine_take_empty(&me->t, tag, &idx) == 0)
                magazine_place(&me->t, magazine_current(&me->t, tag), idx);
        for (uint32_t i = 0; i < n; i++) {
                script_hold(me, script_drop(from));
                script_push(me, class_idx);
        }
}

/* A slab of two granules, all of whose allocated blocks lie in the magazines of A and B: the last drain frees it. */
static void
setup_shared_slab(void)
{
        fill_of(play(0), CLASS_112);
        script_pop(play(0), CLASS_112, 2);
        hand_over(1, CLASS_112);
}

const struct scenario scenario_drain_drain = {
        .name = "drain-drain",
        .what = "two magazines are drained into one slab, and the last makes a free run of it",
        .setup = setup_shared_slab,
        .actors = {drain_112, drain_112},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* B's magazine has blocks of two slabs in turn. */
static void
setup_mixed(void)
{
        fill_of(play(0), CLASS_128);
        script_pop(play(0), CLASS_128, 4);
        fill_of(play(0), CLASS_128);
        script_pop(play(0), CLASS_128, 4);
        for (uint32_t i = 0; i < 2; i++) { /* 0..3 and 4..7 are of one slab each */
                uint64_t off = world_scripts[0].held[i];

                world_scripts[0].held[i] = world_scripts[0].held[4 + i];
                world_scripts[0].held[4 + i] = off;
        }
        for (uint32_t i = 0; i < 4; i++) {
                uint64_t off = script_drop(play(0));

                script_hold(play(1), off);
        }
        for (int i = 0; i < 2; i++)
                script_free(play(0));
}

static void
push_and_drain_128(struct script *me)
{
        uint32_t idx, tag = tag_make(0, CLASS_128);

        if (magazine_take_empty(&me->t, tag, &idx) < 0)
                return;
        magazine_place(&me->t, magazine_current(&me->t, tag), idx);
        while (me->n_held > 0)
                script_push(me, CLASS_128);
        script_drain(me, CLASS_128);
}

static void
alloc_128(struct script *me)
{
        if (script_alloc(me, 128) < 0)
                script_complain(me, "no block although there was memory");
}

const struct scenario scenario_drain_swap = {
        .name = "drain-swap",
        .what = "a magazine with blocks of two slabs is drained while one of them is held",
        .setup = setup_mixed,
        .actors = {alloc_128, push_and_drain_128},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ single blocks */

static void
setup_two_blocks(void)
{
        script_alloc(play(0), 128);
        script_alloc(play(1), 128);
}

static void
free_one(struct script *me)
{
        script_free(me);
}

static void
alloc_free_one(struct script *me)
{
        alloc_128(me);
        script_free(me);
}

const struct scenario scenario_one_one = {
        .name = "one-one",
        .what = "single blocks of one slab are taken and freed",
        .setup = setup_two_blocks,
        .actors = {free_one, alloc_free_one},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

static uint64_t contested_off;

static void
setup_contested_small(void)
{
        script_alloc(play(0), 128);
        script_alloc(play(0), 128);
        contested_off = script_drop(play(0));
}

static void
free_contested(struct script *me)
{
        me->result[0] = 1 + script_free_off(me, contested_off);
}

/* Who was told 0, and has lived to be told. */
static const char *
claim_one_winner(void)
{
        int n_won = 0, n_told = 0;

        for (int k = 0; k < 2; k++) {
                n_told += world_script(k)->result[0] != 0;
                n_won += world_script(k)->result[0] == 1;
        }
        if (n_won > 1)
                return "two frees of one block have both succeeded";
        return n_told == 2 && n_won == 0 ? "two frees of one block have both failed" : NULL;
}

const struct scenario scenario_double_free = {
        .name = "double-free",
        .what = "two actors free one small block: exactly one of them does",
        .setup = setup_contested_small,
        .actors = {free_contested, free_contested},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .claim = claim_one_winner,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ pool and depots */

static void
put_64(struct script *me)
{
        script_put(me, CLASS_64);
}

const struct scenario scenario_depot_put_take = {
        .name = "depot-put-take",
        .what = "a magazine goes to the depot while another is wanted from there",
        .setup = setup_half,
        .actors = {put_64, fill_pop_64},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

static void
setup_depot(void)
{
        setup_half();
        put_64(play(0));
}

const struct scenario scenario_depot_take_take = {
        .name = "depot-take-take",
        .what = "two want the only magazine of a depot",
        .setup = setup_depot,
        .actors = {fill_pop_64, fill_64},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* Two magazines, of two blocks and of one; B is of another arena, which has nothing. */
static void
setup_two_in_depot(void)
{
        uint32_t idx, tag = tag_make(0, CLASS_64);

        setup_depot();
        if (magazine_take_empty(&play(0)->t, tag, &idx) < 0)
                script_complain(play(0), "no magazine in a new heap");
        else
                magazine_place(&play(0)->t, magazine_current(&play(0)->t, tag), idx);
        script_push(play(0), CLASS_64);
        put_64(play(0));
}

const struct scenario scenario_depot_neighbour = {
        .name = "depot-neighbour",
        .what = "a depot is taken from by a thread of its arena, and by one of another arena",
        .setup = setup_two_in_depot,
        .actors = {fill_pop_64, fill_64},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .arenas_per_node = 2,
        .tests_capacity = true,
};

static void
take_put_empty(struct script *me)
{
        uint32_t idx, tag = tag_make(0, CLASS_128);

        if (magazine_take_empty(&me->t, tag, &idx) < 0) {
                script_complain(me, "no magazine although there were some");
                return;
        }
        magazine_place(&me->t, magazine_current(&me->t, tag), idx);
        script_put(me, CLASS_128);
}

static void
take_empty(struct script *me)
{
        uint32_t idx, tag = tag_make(0, CLASS_128);

        if (magazine_take_empty(&me->t, tag, &idx) < 0)
                script_complain(me, "no magazine although there were some");
        else
                magazine_place(&me->t, magazine_current(&me->t, tag), idx);
}

static void
setup_pool(void)
{
        take_put_empty(play(0));
}

const struct scenario scenario_pool = {
        .name = "pool",
        .what = "magazines are taken from the pool and put there",
        .setup = setup_pool,
        .actors = {take_put_empty, take_empty},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ new slabs */

static void
setup_chunk(void)
{
        script_alloc(play(0), 16);
        script_free(play(0));
}

static void
fill_112(struct script *me)
{
        fill_of(me, CLASS_112);
}

const struct scenario scenario_slab_slab = {
        .name = "slab-slab",
        .what = "two make a slab in one chunk: runs of two granules and of one",
        .setup = setup_chunk,
        .actors = {fill_112, fill_64},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = ENGINE_UNBOUNDED,
        .slow_deaths = 1,
        .tests_capacity = true,
};

/* One slab of two granules, whose blocks are all in A's magazine; nothing else is free but the granule behind it. */
static void
setup_tight(void)
{
        fill_112(play(0));
        for (int i = 0; i < 5; i++) {
                script_alloc(play(1), GEO_GRANULE_BYTES);
        }
}

static void
alloc_granules(struct script *me)
{
        script_alloc(me, 2 * GEO_GRANULE_BYTES);
}

const struct scenario scenario_free_claim = {
        .name = "free-claim",
        .what = "a slab becomes a free run while another wants a run there",
        .setup = setup_tight,
        .actors = {drain_112, alloc_granules},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};
