/*
 * scenarios_large.c - runs, chunks and huge blocks: allocated, freed twice, resized, given, retired, purged.
 */
#include <errno.h>

#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "explore/scenarios.h"
#include "heap/decay.h"
#include "pages/chunk.h"
#include "pages/hint.h"

#define RUN_2_BYTES (2 * GEO_GRANULE_BYTES)
#define RUN_3_BYTES (3 * GEO_GRANULE_BYTES)

static struct script *
play(int k)
{
        world_play(k);
        return &world_scripts[k];
}

static uint64_t contested_off;

static void
alloc_2(struct script *me)
{
        script_alloc(me, RUN_2_BYTES);
}

static void
alloc_3(struct script *me)
{
        script_alloc(me, RUN_3_BYTES);
}

static void
free_it(struct script *me)
{
        if (script_free(me) < 0)
                script_complain(me, "a block could not be freed");
}

static void
free_contested(struct script *me)
{
        me->result[0] = 1 + script_free_off(me, contested_off);
}

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

/* ------------------------------------------------------------------ large */

static void
setup_large(void)
{
        alloc_3(play(0));
        alloc_3(play(1));
}

/* The next of two granules takes the place of the block of three that is being freed, or what is left. */
const struct scenario scenario_large = {
        .name = "large",
        .what = "a run is freed while others are claimed, also in its place",
        .setup = setup_large,
        .actors = {free_it, alloc_2},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

static void
setup_chunk(void)
{
        alloc_2(play(0));
        free_it(play(0));
}

const struct scenario scenario_claim_claim = {
        .name = "claim-claim",
        .what = "two claim runs of different lengths at the same place",
        .setup = setup_chunk,
        .actors = {alloc_2, alloc_3},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};

static void
setup_full(void)
{
        setup_large();
        alloc_2(play(0));
}

/* Nothing is free but what A frees: B's claim overlaps it, one granule of it or more. */
static void
setup_full_contested(void)
{
        setup_full();
        contested_off = script_drop(play(0));
}

static void
free_alloc_3(struct script *me)
{
        script_free(me);
        script_alloc(me, RUN_3_BYTES);
}

const struct scenario scenario_large_overlap = {
        .name = "large-overlap",
        .what = "two neighbouring runs are freed and claimed anew across their border",
        .setup = setup_full,
        .actors = {free_it, free_alloc_3},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_large_double_free = {
        .name = "large-double-free",
        .what = "two actors free one run: exactly one of them does",
        .setup = setup_full_contested,
        .actors = {free_contested, free_contested},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .claim = claim_one_winner,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ resize */

static void
setup_resize(void)
{
        alloc_2(play(0));
        contested_off = script_drop(play(0));
}

static void
grow(struct script *me)
{
        me->in_flight[me->n_in_flight++] = contested_off;
        me->result[1] = 1 + large_resize(&me->t, contested_off, size_class_of(RUN_3_BYTES));
        me->in_flight[--me->n_in_flight] = 0;
}

static void
shrink(struct script *me)
{
        me->in_flight[me->n_in_flight++] = contested_off;
        me->result[1] = 1 + large_resize(&me->t, contested_off, size_class_of(GEO_GRANULE_BYTES));
        me->in_flight[--me->n_in_flight] = 0;
}

/* The block is freed by B, whoever does it in the end, unless B died before that. */
static void
free_resized(struct script *me)
{
        me->result[0] = 1 + script_free_off(me, contested_off);
        if (me->result[0] != 1)
                script_complain(me, "a free during a resize has failed");
}

const struct scenario scenario_grow_free = {
        .name = "grow-free",
        .what = "a run is freed while it grows: DOOMED",
        .setup = setup_resize,
        .actors = {grow, free_resized},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_shrink_free = {
        .name = "shrink-free",
        .what = "a run is freed while it shrinks: DOOMED",
        .setup = setup_resize,
        .actors = {shrink, free_resized},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

static void
setup_resize_held(void)
{
        setup_resize();
        script_hold(play(0), contested_off);
}

static void
grow_held(struct script *me)
{
        large_resize(&me->t, contested_off, size_class_of(RUN_3_BYTES));
}

static void
shrink_held(struct script *me)
{
        large_resize(&me->t, contested_off, size_class_of(GEO_GRANULE_BYTES));
}

const struct scenario scenario_grow_claim = {
        .name = "grow-claim",
        .what = "a run grows into granules that another claims",
        .setup = setup_resize_held,
        .actors = {grow_held, alloc_3},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_shrink_claim = {
        .name = "shrink-claim",
        .what = "a run shrinks, and another claims what it leaves",
        .setup = setup_resize_held,
        .actors = {shrink_held, alloc_2},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ large blocks in magazines */

static void
drain_runs(struct script *me)
{
        script_drain(me, size_class_of(RUN_2_BYTES));
}

static void
setup_cached_runs(void)
{
        uint32_t class_idx = size_class_of(RUN_2_BYTES), idx, tag = tag_make(0, class_idx);
        struct script *me = play(0);

        alloc_2(me);
        alloc_2(me);
        if (magazine_take_empty(&me->t, tag, &idx) == 0)
                magazine_place(&me->t, magazine_current(&me->t, tag), idx);
        script_push(me, class_idx);
}

const struct scenario scenario_drain_runs = {
        .name = "drain-runs",
        .what = "a cached run is freed while another is claimed",
        .setup = setup_cached_runs,
        .actors = {drain_runs, alloc_3},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ chunks */

static void
give(struct script *me)
{
        me->result[0] = 1 + chunk_give(&me->t, me->t.arena);
}

const struct scenario scenario_give_give = {
        .name = "give-give",
        .what = "two arenas want the last chunk",
        .actors = {give, give},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .arenas_per_node = 2,
        .tests_capacity = true,
};

static void
setup_given(void)
{
        give(play(0));
}

static void
retire(struct script *me)
{
        me->result[0] = chunk_retire(&me->t, 0);
}

const struct scenario scenario_retire_claim = {
        .name = "retire-claim",
        .what = "a chunk is taken back while a run is claimed in it",
        .setup = setup_given,
        .actors = {retire, alloc_3},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_retire_give = {
        .name = "retire-give",
        .what = "a chunk is taken back while another arena wants one",
        .setup = setup_given,
        .actors = {retire, give},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .arenas_per_node = 2,
        .tests_capacity = true,
};

static void
sweep_second(struct script *me)
{
        me->result[0] = 1 + chunk_sweep(&me->t, 1);
}

const struct scenario scenario_sweep_give = {
        .name = "sweep-give",
        .what = "the pages of a chunk beyond the mark are given back while an arena wants it",
        .setup = setup_given,
        .actors = {sweep_second, give},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .arenas_per_node = 2,
        .n_chunks = 2,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ huge */

static void
alloc_huge(struct script *me)
{
        script_alloc(me, GEO_CHUNK_BYTES + 1);
}

const struct scenario scenario_huge_give = {
        .name = "huge-give",
        .what = "a huge block of two chunks is wanted, and a chunk for an arena",
        .actors = {alloc_huge, give},
        .n_preemptions = 2,
        .n_deaths = 1,
        .slow_preemptions = 3,
        .slow_deaths = 1,
        .n_chunks = 2,
        .tests_capacity = true,
};

static void
setup_huge(void)
{
        alloc_huge(play(0));
}

const struct scenario scenario_huge_free_give = {
        .name = "huge-free-give",
        .what = "a huge block is freed while an arena wants a chunk",
        .setup = setup_huge,
        .actors = {free_it, give},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 2,
        .tests_capacity = true,
};

static void
setup_huge_contested(void)
{
        setup_huge();
        contested_off = script_drop(play(0));
}

const struct scenario scenario_huge_double_free = {
        .name = "huge-double-free",
        .what = "two actors free one huge block: exactly one of them does",
        .setup = setup_huge_contested,
        .actors = {free_contested, free_contested},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 2,
        .claim = claim_one_winner,
        .tests_capacity = true,
};

static void
grow_huge(struct script *me)
{
        me->in_flight[me->n_in_flight++] = contested_off;
        huge_resize(&me->t, contested_off, 2 * GEO_CHUNK_BYTES + 1);
        me->in_flight[--me->n_in_flight] = 0;
}

static void
shrink_huge(struct script *me)
{
        me->in_flight[me->n_in_flight++] = contested_off;
        huge_resize(&me->t, contested_off, GEO_CHUNK_BYTES / 2);
        me->in_flight[--me->n_in_flight] = 0;
}

const struct scenario scenario_huge_grow_free = {
        .name = "huge-grow-free",
        .what = "a huge block is freed while it grows: DOOMED",
        .setup = setup_huge_contested,
        .actors = {grow_huge, free_resized},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 3,
        .tests_capacity = true,
};

const struct scenario scenario_huge_shrink_free = {
        .name = "huge-shrink-free",
        .what = "a huge block is freed while it shrinks: DOOMED",
        .setup = setup_huge_contested,
        .actors = {shrink_huge, free_resized},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 2,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ huge blocks in magazines */

#define CLASS_2_CHUNKS (SIZE_CLASS_N + 1)

static uint32_t
kept_in(struct script *me)
{
        return magazine_in(&me->t, magazine_current(&me->t, tag_make(0, CLASS_2_CHUNKS)));
}

static void
setup_kept(void)
{
        uint32_t idx, tag = tag_make(0, CLASS_2_CHUNKS);
        struct script *me = play(0);

        alloc_huge(me);
        contested_off = script_drop(me);
        script_hold(me, contested_off);
        if (magazine_take_empty(&me->t, tag, &idx) == 0)
                magazine_place(&me->t, magazine_current(&me->t, tag), idx);
        script_push(me, CLASS_2_CHUNKS);
}

static void
drain_kept(struct script *me)
{
        script_drain(me, CLASS_2_CHUNKS);
}

static void
drain_contested(struct script *me)
{
        me->result[0] = 1 + huge_drain(&me->t, kept_in(me));
}

/* Taken for another size. */
static void
refit_kept(struct script *me)
{
        if (huge_resize(&me->t, contested_off, GEO_CHUNK_BYTES + 2 * GEO_PAGE_BYTES) < 0)
                script_complain(me, "a huge block cannot get pages in its chunks");
        script_pop(me, CLASS_2_CHUNKS, 1);
}

static void
claim_chunk(struct script *me)
{
        script_alloc(me, GEO_CHUNK_BYTES);
}

const struct scenario scenario_huge_drain_give = {
        .name = "huge-drain-give",
        .what = "a kept huge block goes back while an arena wants a chunk",
        .setup = setup_kept,
        .actors = {drain_kept, give},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 2,
        .tests_capacity = true,
};

const struct scenario scenario_huge_drain_claim = {
        .name = "huge-drain-claim",
        .what = "a kept huge block goes back while another wants one as long, and finds the same chunks",
        .setup = setup_kept,
        .actors = {drain_kept, alloc_huge},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 2,
        .tests_capacity = true,
};

/* Without deaths: what is freed twice may lie in a magazine of the dead until somebody drains that. */
const struct scenario scenario_huge_drain_free = {
        .name = "huge-drain-free",
        .what = "a kept huge block goes back while another frees it again: exactly one of them does",
        .setup = setup_kept,
        .actors = {drain_contested, free_contested},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_chunks = 2,
        .is_without_deaths = true,
        .claim = claim_one_winner,
};

const struct scenario scenario_huge_refit = {
        .name = "huge-refit",
        .what = "a kept huge block is taken for another size while another one is claimed",
        .setup = setup_kept,
        .actors = {refit_kept, claim_chunk},
        .n_preemptions = ENGINE_UNBOUNDED,
        .n_deaths = 1,
        .n_chunks = 3,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ purging */

static void
purge(struct script *me)
{
        decay_purge(&me->t, UINT32_MAX);
}

static void
setup_dirty(void)
{
        alloc_3(play(0));
        alloc_2(play(1));
        free_it(play(0));
}

const struct scenario scenario_purge_claim = {
        .name = "purge-claim",
        .what = "free granules are purged while a run is claimed",
        .setup = setup_dirty,
        .actors = {purge, alloc_2},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};

/* ------------------------------------------------------------------ hints */

static void
hints_lie(bool set)
{
        struct region *r = &world_region;

        for (uint32_t kind = 0; kind < HINT_N_KINDS; kind++) {
                hint_set(r, 0, kind, 0);
                if (!set)
                        hint_clear(r, 0, kind, 0);
        }
        r->chunk_maps[0].free = r->chunk_maps[0].warm = set ? UINT64_MAX : 0;
        r->free_chunks[0] = set ? UINT64_MAX : 0;
        r->pool_hints[0] = set ? UINT64_MAX : 0;
}

static void
setup_hints_lost(void)
{
        alloc_3(play(0));
        alloc_2(play(1));
        hints_lie(false);
}

static void
setup_hints_stale(void)
{
        alloc_3(play(0));
        alloc_2(play(1));
        hints_lie(true);
}

const struct scenario scenario_hints_lost = {
        .name = "hints-lost",
        .what = "a run is freed and another claimed where no hint is right: all are lost",
        .setup = setup_hints_lost,
        .actors = {free_it, alloc_2},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};

const struct scenario scenario_hints_stale = {
        .name = "hints-stale",
        .what = "a run is freed and another claimed where no hint is right: all are set",
        .setup = setup_hints_stale,
        .actors = {free_it, alloc_2},
        .n_preemptions = 2,
        .n_deaths = 1,
        .tests_capacity = true,
};
