/*
 * scenarios.h - what is explored.
 */
#ifndef EXPLORE_SCENARIOS_H
#define EXPLORE_SCENARIOS_H

#include "explore/world.h"

extern const struct scenario scenario_fill_fill;
extern const struct scenario scenario_fill_fill_fill;
extern const struct scenario scenario_fill_drain;
extern const struct scenario scenario_drain_drain;
extern const struct scenario scenario_drain_swap;
extern const struct scenario scenario_one_one;
extern const struct scenario scenario_double_free;
extern const struct scenario scenario_depot_put_take;
extern const struct scenario scenario_depot_take_take;
extern const struct scenario scenario_depot_neighbour;
extern const struct scenario scenario_pool;
extern const struct scenario scenario_slab_slab;
extern const struct scenario scenario_free_claim;
extern const struct scenario scenario_large;
extern const struct scenario scenario_claim_claim;
extern const struct scenario scenario_large_overlap;
extern const struct scenario scenario_large_double_free;
extern const struct scenario scenario_grow_free;
extern const struct scenario scenario_shrink_free;
extern const struct scenario scenario_grow_claim;
extern const struct scenario scenario_shrink_claim;
extern const struct scenario scenario_drain_runs;
extern const struct scenario scenario_give_give;
extern const struct scenario scenario_retire_claim;
extern const struct scenario scenario_retire_give;
extern const struct scenario scenario_sweep_give;
extern const struct scenario scenario_huge_give;
extern const struct scenario scenario_huge_free_give;
extern const struct scenario scenario_huge_double_free;
extern const struct scenario scenario_huge_grow_free;
extern const struct scenario scenario_huge_shrink_free;
extern const struct scenario scenario_huge_drain_give;
extern const struct scenario scenario_huge_drain_claim;
extern const struct scenario scenario_huge_drain_free;
extern const struct scenario scenario_huge_refit;
extern const struct scenario scenario_purge_claim;
extern const struct scenario scenario_hints_lost;
extern const struct scenario scenario_hints_stale;
extern const struct scenario scenario_attach_attach;
extern const struct scenario scenario_lend_borrow;
extern const struct scenario scenario_evict_attach;
extern const struct scenario scenario_slot_reuse;
extern const struct scenario scenario_purge_attach;
extern const struct scenario scenario_purge_purge;
extern const struct scenario scenario_purge_total;
extern const struct scenario scenario_reap_reap;
extern const struct scenario scenario_reap_nested;
extern const struct scenario scenario_root_root;
extern const struct scenario scenario_root_remove;
extern const struct scenario scenario_root_take;
extern const struct scenario scenario_malloc_malloc;
extern const struct scenario scenario_free_malloc;
extern const struct scenario scenario_leave_malloc;
extern const struct scenario scenario_tick;
extern const struct scenario scenario_scarce;
extern const struct scenario scenario_to_small;
extern const struct scenario scenario_from_small;
extern const struct scenario scenario_from_twice;
extern const struct scenario scenario_to_run;
extern const struct scenario scenario_from_run;
extern const struct scenario scenario_to_huge;
extern const struct scenario scenario_from_huge;

#endif
