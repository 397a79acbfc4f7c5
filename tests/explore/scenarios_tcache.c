/*
 * scenarios_tcache.c - malloc and free as threads call them: hits and all that stands behind a miss.
 */
#include "clients/slot.h"
#include "explore/scenarios.h"

enum { TICK_IS_NEXT = 63 };

static struct script *
play(int k)
{
        world_play(k);
        return &world_scripts[k];
}

static void
must_malloc(struct script *me, uint64_t bytes)
{
        if (!script_malloc(me, bytes))
                script_complain(me, "no block although there was memory");
}

static void
malloc_one(struct script *me)
{
        script_tcache_begin(me);
        must_malloc(me, 128);
}

static void
malloc_free(struct script *me)
{
        script_tcache_begin(me);
        must_malloc(me, 128);
        script_mfree(me);
}

static void
setup_slab(void)
{
        script_alloc(play(0), 128);
}

const struct scenario scenario_malloc_malloc = {
        .name = "malloc-malloc",
        .what = "two threads miss, one frees again",
        .setup = setup_slab,
        .actors = {malloc_free, malloc_one},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 3,
        .slow_deaths = 1,
        .has_tcache = true,
        .tests_capacity = true,
};

/* A holds nine blocks: two magazines and one more, so that freeing them fills the depot. */
static void
setup_nine(void)
{
        for (int i = 0; i < 9; i++)
                script_alloc(play(0), 128);
}

static void
free_nine(struct script *me)
{
        script_tcache_begin(me);
        while (me->n_held > 0)
                script_mfree(me);
}

const struct scenario scenario_free_malloc = {
        .name = "free-malloc",
        .what = "a thread frees two magazines and one block more, another wants some",
        .setup = setup_nine,
        .actors = {free_nine, malloc_one},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .has_tcache = true,
        .tests_capacity = true,
};

static void
malloc_five(struct script *me)
{
        script_tcache_begin(me);
        for (int i = 0; i < 5; i++)
                must_malloc(me, 128);
}

/* Everything goes home, as at the end of a thread. */
static void
leave(struct script *me)
{
        script_tcache_begin(me);
        tcache_flush(&me->tcache);
        slot_release(&me->tcache.thread);
}

static void
setup_cached(void)
{
        struct script *me = play(0);

        script_tcache_begin(me);
        for (int i = 0; i < 6; i++)
                must_malloc(me, 128);
        for (int i = 0; i < 5; i++)
                script_mfree(me);
}

const struct scenario scenario_leave_malloc = {
        .name = "leave-malloc",
        .what = "a thread ends, another takes what it puts into the depot",
        .setup = setup_cached,
        .actors = {leave, malloc_five},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 2,
        .slow_deaths = 1,
        .has_tcache = true,
        .tests_capacity = true,
};

/* The next slow call does what is done now and then: decay, clock hands, a look at another slot. */
static void
tick(struct script *me)
{
        script_tcache_begin(me);
        me->tcache.n_slow = TICK_IS_NEXT;
        must_malloc(me, 64);
}

const struct scenario scenario_tick = {
        .name = "tick",
        .what = "slow calls that tick, and look after each other",
        .setup = setup_cached,
        .actors = {tick, tick},
        .n_preemptions = 1,
        .n_deaths = 1,
        .slow_preemptions = 1,
        .slow_deaths = 2,
        .has_tcache = true,
        .tests_capacity = true,
};

/* Only as much memory as one of them can have: the other has to give up, or to find what the first lets go. */
static void
setup_scarce(void)
{
        struct script *me = play(0);

        script_tcache_begin(me);
        for (int i = 0; i < 3; i++)
                must_malloc(me, 2 * GEO_GRANULE_BYTES);
        must_malloc(me, GEO_GRANULE_BYTES);
        script_mfree(me);
        script_mfree(me);
}

static void
malloc_run(struct script *me)
{
        script_tcache_begin(me);
        script_malloc(me, 2 * GEO_GRANULE_BYTES);
        if (me->n_held > 0)
                script_mfree(me);
}

static void
malloc_run_hold(struct script *me)
{
        script_tcache_begin(me);
        script_malloc(me, 3 * GEO_GRANULE_BYTES);
}

const struct scenario scenario_scarce = {
        .name = "scarce",
        .what = "runs are wanted where there is next to no memory: every effort is made",
        .setup = setup_scarce,
        .actors = {malloc_run, malloc_run_hold},
        .n_preemptions = 1,
        .n_deaths = 1,
        .has_tcache = true,
        .tests_capacity = true,
};
