/*
 * What is at stake: a magazine with two owners, and with it every block in it; or one that nobody can have again.
 * A magazine changes hands by one CAS, is named by its owner's slot all the time, and is found again although every
 * hint about it may be wrong.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/drain.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

enum { LAST = GEO_GRANULE_BYTES == 512 ? 0 : SIZE_CLASS_N_SMALL - 1 }; /* a class of which depots keep few */

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static uint32_t tag;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.max_threads = 4, .n_nodes = 2, .arenas_per_node = 2});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
        tag = tag_make(0, 2);
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
word_of(uint32_t idx)
{
        return r->magazine_words[idx];
}

static struct magazine *
magazine(uint32_t idx)
{
        return region_magazine(r, idx);
}

static uint32_t
take_empty(struct thread *who, uint32_t of_tag)
{
        uint32_t idx;

        ck_assert_int_eq(magazine_take_empty(who, of_tag, &idx), 0);
        ck_assert_uint_eq(magazine_state(word_of(idx)), MAGAZINE_TCACHE);
        ck_assert_uint_eq(magazine_owner(word_of(idx)), who->no);
        ck_assert_uint_eq(magazine_tag(word_of(idx)), of_tag);
        ck_assert_uint_eq(magazine(idx)->n, 0);
        ck_assert_uint_eq(magazine(idx)->cap, size_class_magazine_cap(tag_class(of_tag)));
        ck_assert_uint_eq(who->slot->hand, idx + 1);
        return idx;
}

/* A magazine with one block of the class, in the hand. */
static uint32_t
take_filled(struct thread *who, uint32_t class_idx)
{
        uint32_t idx = take_empty(who, tag_make(0, class_idx));
        uint64_t head;

        if (!slab_find_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head))
                ck_assert_int_eq(slab_create_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        ck_assert_uint_eq(slab_fill(who, head, idx, 1), 1);
        return idx;
}

static void
put(struct thread *who, uint32_t idx)
{
        ck_assert(magazine_put(who, idx, 0, true));
        ck_assert_uint_eq(magazine_owner(word_of(idx)), 0);
        ck_assert_uint_eq(who->slot->hand, 0);
}

/* Those of a class in a depot. */
static uint32_t *
places(uint32_t arena, uint32_t class_idx)
{
        return &region_arena(r, arena)->depot[size_class_depot_first(class_idx)];
}

static uint32_t
n_hints(uint32_t arena, uint32_t class_idx)
{
        uint32_t n = 0;

        for (uint32_t i = 0; i < size_class_depot_places(class_idx); i++)
                n += places(arena, class_idx)[i] != 0;
        return n;
}

/* ------------------------------------------------------------------ pool */

START_TEST(empty_magazine_comes_from_the_pool_and_goes_back)
{
        uint32_t idx = take_empty(t, tag);

        put(t, idx);
        ck_assert_uint_eq(word_of(idx), 0);
        ck_assert_uint_eq(take_empty(u, tag_make(0, 0)), idx); /* rather than a new one, and for another class */
        put(u, idx);
        ck_assert_uint_eq(heap_verify(r, NULL).n_pooled, 1);
        ck_assert_uint_eq(region_magazines_hwm(r, 0), 1);
}
END_TEST

START_TEST(two_threads_never_get_the_same)
{
        uint32_t a = take_empty(t, tag), b = take_empty(u, tag);

        ck_assert_uint_ne(a, b);
}
END_TEST

START_TEST(magazines_lie_on_the_node_of_the_thread)
{
        struct thread *far = heap_attach(&fx, 2);
        uint32_t idx = take_empty(far, tag_make(0, 0)); /* for blocks of another node */

        ck_assert_uint_ge(idx, r->layout.magazines_per_node);
        put(far, idx);
        ck_assert_uint_lt(take_empty(t, tag_make(1, 0)), r->layout.magazines_per_node);
}
END_TEST

/* All of the table, then no more, then again: with true hints, with none, and with nothing but lies. */
START_TEST(all_magazines_can_be_had_whatever_the_hints_say)
{
        uint32_t n = r->layout.magazines_per_node, idx;

        damage_is_done(true);
        for (int turn = 0; turn < 4; turn++) {
                if (turn > 1)
                        heap_scramble_hints(r, turn == 2);
                for (uint32_t i = 0; i < n; i++)
                        magazine_place(t, magazine_current(t, tag), take_empty(t, tag));
                ck_assert_int_eq(magazine_take_empty(t, tag, &idx), -ENOMEM);
                ck_assert_uint_eq(t->slot->hand, 0);
                ck_assert_int_eq(magazine_take_empty(u, tag, &idx), -ENOMEM);
                if (turn == 2)
                        heap_scramble_hints(r, true);
                for (uint32_t i = 0; i < n; i++)
                        ck_assert(magazine_put(t, i, 0, true));
                *magazine_current(t, tag) = 0;
                ck_assert_uint_eq(heap_verify(r, NULL).n_pooled, n);
        }
}
END_TEST

START_TEST(no_new_magazine_without_growing)
{
        uint32_t idx;

        t->call.no_grow = true;
        ck_assert_int_eq(magazine_take_empty(t, tag, &idx), -ENOMEM);
        ck_assert_uint_eq(region_magazines_hwm(r, 0), 0);
        idx = take_empty(u, tag);
        put(u, idx);
        ck_assert_uint_eq(take_empty(t, tag), idx);
}
END_TEST

/* ------------------------------------------------------------------ depot */

START_TEST(magazine_with_blocks_goes_through_the_depot)
{
        uint32_t idx = take_filled(t, 2), got;

        put(t, idx);
        ck_assert_uint_eq(word_of(idx), magazine_with_depot_place1(magazine_word(MAGAZINE_DEPOT, 0, 0, tag), 1));
        ck_assert_uint_eq(heap_verify(r, NULL).n_cached_in_depots, 1);
        ck_assert(!magazine_take_depot(u, 0, tag_make(0, 3), &got)); /* another class */
        ck_assert(!magazine_take_depot(u, 1, tag, &got));            /* another arena, not even ready */
        ck_assert(magazine_take_depot(u, 0, tag, &got));
        ck_assert_uint_eq(got, idx);
        ck_assert_uint_eq(magazine_owner(word_of(idx)), u->no);
        ck_assert_uint_eq(u->slot->hand, idx + 1);
        ck_assert_uint_eq(n_hints(0, 2), 0);
        ck_assert(!magazine_take_depot(t, 0, tag, &got));
        magazine_place(u, magazine_current(u, tag), idx);
        heap_verify(r, NULL);
}
END_TEST

/* A thread that only frees fills its arena's depot; who allocates elsewhere on the node finds that, and leaves one. */
START_TEST(depot_of_a_neighbour_gives_what_it_can_spare)
{
        struct thread *near = heap_attach(&fx, 1), *far = heap_attach(&fx, 2);
        uint32_t idx[3], got;

        for (int i = 0; i < 3; i++) {
                idx[i] = take_filled(t, 2);
                put(t, idx[i]);
        }
        ck_assert(!magazine_take_neighbour(u, tag, &got));               /* its own depot is no neighbour's */
        ck_assert(!magazine_take_neighbour(near, tag_make(0, 3), &got)); /* another class */
        ck_assert(!magazine_take_neighbour(far, tag_make(1, 2), &got));  /* another node */
        for (int i = 0; i < 2; i++) {
                ck_assert(magazine_take_neighbour(near, tag, &got));
                ck_assert_uint_eq(got, idx[2 - i]); /* the warmest */
                ck_assert_uint_eq(word_of(got),
                                  magazine_word(MAGAZINE_TCACHE, near->no, near->arena, tag) | MAGAZINE_FOREIGN);
                ck_assert_uint_eq(near->slot->hand, got + 1);
                magazine_place(near, i == 0 ? magazine_current(near, tag) : magazine_spare(near, tag), got);
        }
        ck_assert(!magazine_take_neighbour(near, tag, &got)); /* the last one */
        ck_assert_uint_eq(near->slot->hand, 0);
        ck_assert(magazine_take_depot(u, 0, tag, &got));
        ck_assert_uint_eq(got, idx[0]);
        magazine_place(u, magazine_current(u, tag), got);
        heap_verify(r, NULL);
}
END_TEST

/* Hints may say anything. */
START_TEST(neighbour_whose_hints_lie_gives_nothing)
{
        struct thread *near = heap_attach(&fx, 1);
        uint32_t mine = take_filled(t, 2), got;

        ck_assert_int_eq(arena_init(r, 0), 0);
        for (uint32_t i = 0; i < size_class_depot_places(2); i++)
                places(0, 2)[i] = i % 2 ? mine + 1 : UINT32_MAX - i;
        region_arena(r, 0)->depot_n[2] = UINT32_MAX;
        near->depot_found = 0;
        ck_assert(!magazine_take_neighbour(near, tag, &got));
        ck_assert_uint_eq(magazine_owner(word_of(mine)), t->no);
        ck_assert_uint_eq(n_hints(0, 2), 0);
        put(t, mine);
}
END_TEST

/* The last to be refused stays with its owner, unless that insists: then no hint names it, but the clock hand does. */
START_TEST(crowded_depot_refuses_and_loses_nothing)
{
        uint32_t n_places = size_class_depot_places(LAST), n_taken = 0, got, last;

        damage_is_done(true);
        for (uint32_t i = 0; i < n_places; i++)
                ck_assert(magazine_put(t, take_filled(t, LAST), 0, false));
        last = take_filled(t, LAST);
        ck_assert(!magazine_put(t, last, 0, false));
        ck_assert_uint_eq(magazine_owner(word_of(last)), t->no);
        ck_assert_uint_eq(t->slot->hand, last + 1);
        put(t, last);
        ck_assert_uint_eq(heap_verify(r, NULL).n_cached_in_depots, n_places + 1);
        while (magazine_take_depot(t, 0, tag_make(0, LAST), &got)) {
                magazine_place(t, magazine_current(t, tag), got);
                n_taken++;
        }
        ck_assert_uint_eq(n_taken, n_places);
        ck_assert_uint_eq(magazine_state(word_of(last)), MAGAZINE_DEPOT);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(t);
        ck_assert_uint_eq(magazine_state(word_of(last)), MAGAZINE_POOL);
}
END_TEST

/* As two leave it who come and go at once, or as anybody leaves it: too low, and what stands above it is neither lost
 * nor in the way; too high, and what is there is found. */
START_TEST(count_of_a_depot_that_lies_costs_nothing)
{
        uint32_t first = take_filled(t, 2), second, third, got, *n = &region_arena(r, 0)->depot_n[2];

        put(t, first);
        second = take_filled(t, 2);
        put(t, second);
        ck_assert_uint_eq(*n, 2);
        *n = 1;
        third = take_filled(t, 2);
        put(t, third); /* behind the second */
        ck_assert_uint_eq(*n, 3);
        ck_assert_uint_eq(places(0, 2)[1], second + 1);
        ck_assert_uint_eq(places(0, 2)[2], third + 1);
        *n = UINT32_MAX;
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == third);
        magazine_place(u, magazine_current(u, tag), got);
        ck_assert_uint_eq(*n, 2);
        *n = 1; /* nobody comes: the second has no hint now, the first has */
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(u);
        ck_assert_uint_eq(magazine_state(word_of(second)), MAGAZINE_POOL);
        ck_assert_uint_eq(magazine_state(word_of(first)), MAGAZINE_DEPOT);
        ck_assert(magazine_take_depot(u, 0, tag, &got) && got == first);
        ck_assert_uint_eq(*n, 0);
        magazine_place(u, magazine_spare(u, tag), got);
        heap_verify(r, NULL);
}
END_TEST

/* A taker that is slow, or stopped for ever, stores a height that was true once: a depot that is full above it is as
 * large as ever to who comes next. */
START_TEST(depot_that_is_full_above_its_count_is_found_again)
{
        uint32_t n_places = size_class_depot_places(LAST), n_taken = 0, got, last;
        uint32_t *n = &region_arena(r, 0)->depot_n[LAST];

        damage_is_done(true);
        for (uint32_t i = 0; i < n_places; i++)
                ck_assert(magazine_put(t, take_filled(t, LAST), 0, false));
        *n = 0;
        last = take_filled(t, LAST);
        ck_assert(!magazine_put(t, last, 0, false));
        ck_assert_uint_eq(*n, n_places);
        put(t, last);
        while (magazine_take_depot(t, 0, tag_make(0, LAST), &got)) {
                magazine_place(t, magazine_current(t, tag), got);
                n_taken++;
        }
        ck_assert_uint_eq(n_taken, n_places);
        ck_assert_uint_eq(*n, 0);
}
END_TEST

/* No class stores its hints where another one's are. */
START_TEST(places_of_classes_lie_side_by_side)
{
        uint32_t next = 0;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_CACHED; class_idx++) {
                ck_assert_uint_eq(size_class_depot_first(class_idx), next);
                ck_assert_uint_ge(size_class_depot_places(class_idx), size_class_is_huge(class_idx) ? 8 : 32);
                next += size_class_depot_places(class_idx);
        }
        ck_assert_uint_eq(next, SIZE_CLASS_DEPOT_PLACES);
        ck_assert_uint_eq(sizeof region_arena(r, 0)->depot, next * sizeof(uint32_t));
}
END_TEST

START_TEST(clock_hand_leaves_what_is_hinted)
{
        uint32_t idx = take_filled(t, 0);

        put(t, idx);
        for (int i = 0; i < 10; i++)
                drain_clock_hand(u);
        ck_assert_uint_eq(magazine_state(word_of(idx)), MAGAZINE_DEPOT);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(depot_hints_that_lie_are_cleared)
{
        uint32_t owned = take_filled(t, 2), other = take_filled(u, 3), got;
        uint32_t *depot = places(0, 2);

        magazine_place(t, magazine_current(t, tag), owned);
        put(u, other);
        depot[0] = owned + 1;  /* somebody's */
        depot[3] = other + 1;  /* of another class */
        depot[4] = UINT32_MAX; /* no magazine */
        depot[5] = (uint32_t)r->layout.n[TABLE_MAGAZINES] + 1;
        region_arena(r, 0)->depot_n[2] = 6;
        ck_assert(!magazine_take_depot(u, 0, tag, &got));
        ck_assert_uint_eq(n_hints(0, 2), 0);
        ck_assert_uint_eq(u->slot->hand, 0);
        ck_assert_uint_eq(n_hints(0, 3), 1);
        heap_verify(r, NULL);
}
END_TEST

/* Put down empty by word, or damaged: the hit paths never get to see it. */
START_TEST(magazine_that_is_not_sound_goes_to_the_pool)
{
        const uint64_t n[] = {0, MAGAZINE_CAP_MAX + 1, UINT64_MAX, 1}, cap[] = {2, 2, 2, MAGAZINE_CAP_MAX + 1};

        damage_is_done(true);
        for (int i = 0; i < 4; i++) {
                uint32_t idx = take_empty(t, tag), got;

                magazine_place(t, magazine_current(t, tag), idx);
                magazine_pick_up(t, magazine_current(t, tag), idx);
                magazine(idx)->n = 1;
                put(t, idx);
                magazine(idx)->n = n[i];
                magazine(idx)->cap = cap[i];
                ck_assert(!magazine_take_depot(t, 0, tag, &got));
                ck_assert_uint_eq(word_of(idx), 0);
                ck_assert_uint_eq(magazine(idx)->n, 0);
                heap_verify(r, NULL);
        }
}
END_TEST

START_TEST(exact_take_wants_the_exact_word)
{
        uint32_t idx = take_filled(t, 2);

        ck_assert(!magazine_take_exactly(u, idx, 0, tag)); /* still t's */
        put(t, idx);
        ck_assert(!magazine_take_exactly(u, idx, 1, tag));
        ck_assert(!magazine_take_exactly(u, idx, 0, tag + 1));
        ck_assert(magazine_take_exactly(u, idx, 0, tag)); /* although its hint stands: that is stale now */
        magazine_place(u, magazine_current(u, tag), idx);
        ck_assert(!magazine_take_depot(t, 0, tag, &idx));
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ places */

START_TEST(place_names_only_what_the_thread_owns)
{
        uint32_t idx = take_empty(t, tag), *place = magazine_spare(t, tag);

        ck_assert_uint_eq(magazine_in(t, place), MAGAZINE_IDX_NONE);
        magazine_place(t, place, idx);
        ck_assert_uint_eq(magazine_in(t, place), idx);
        ck_assert_uint_eq(t->slot->hand, 0);
        ck_assert_uint_eq(magazine_in(t, magazine_current(t, tag)), MAGAZINE_IDX_NONE);
        magazine_pick_up(t, place, idx);
        ck_assert_uint_eq(magazine_in(t, place), MAGAZINE_IDX_NONE);
        ck_assert_uint_eq(t->slot->hand, idx + 1);
        put(t, idx);
        *place = idx + 1; /* a place that was never cleared */
        ck_assert_uint_eq(magazine_in(t, place), MAGAZINE_IDX_NONE);
        *place = UINT32_MAX;
        ck_assert_uint_eq(magazine_in(t, place), MAGAZINE_IDX_NONE);
}
END_TEST

START_TEST(magazines_of_another_node_go_home)
{
        struct thread *far = heap_attach(&fx, 3);

        ck_assert_uint_eq(magazine_home(t, tag_make(0, 0)), 0);
        ck_assert_uint_eq(magazine_home(t, tag_make(1, 0)), 3); /* the one arena there that is ready */
        ck_assert_uint_eq(magazine_home(far, tag_make(1, 0)), 3);
        ck_assert_uint_eq(magazine_home(far, tag_make(0, 0)), 0);
}
END_TEST

/* ------------------------------------------------------------------ the dead
 *
 * The slot names the magazine by the hand, by places, or by several of them, as each step of a move leaves it.
 */
START_TEST(magazine_of_the_dead_goes_to_the_pool_or_the_depot)
{
        for (int i = 0; i < 2 * 15; i++) {
                uint32_t named = (uint32_t)i / 2 + 1, idx, got;
                bool is_filled = i % 2;

                idx = is_filled ? take_filled(t, 2) : take_empty(t, tag);
                t->slot->hand = named & 1 ? idx + 1 : 0;
                *magazine_current(t, tag) = named & 2 ? idx + 1 : 0;
                *magazine_spare(t, tag) = named & 4 ? idx + 1 : 0;
                *magazine_current(t, tag_make(1, 5)) = named & 8 ? idx + 1 : 0;
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(magazine_state(word_of(idx)), is_filled ? MAGAZINE_DEPOT : MAGAZINE_POOL);
                heap_verify(r, NULL);
                if (is_filled) {
                        ck_assert(magazine_take_depot(u, 0, tag, &got));
                        ck_assert_uint_eq(got, idx);
                        ck_assert(drain_magazine(u, got, 0));
                        put(u, got);
                }
        }
}
END_TEST

/* MAG.1: named before the CAS, which another one won. */
START_TEST(magazine_that_others_took_is_left_alone)
{
        uint32_t idx = take_filled(u, 2);

        magazine_place(u, magazine_current(u, tag), idx);
        t->slot->hand = idx + 1;
        *magazine_current(t, tag) = idx + 1;
        *magazine_spare(t, tag) = UINT32_MAX;
        reap_settle(r, t->no, NULL);
        ck_assert_uint_eq(magazine_owner(word_of(idx)), u->no);
        ck_assert_uint_eq(magazine(idx)->n, 1);
        ck_assert_uint_eq(t->slot->hand, 0);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(dead_ones_magazines_find_a_crowded_depot_and_are_found)
{
        uint32_t n = size_class_depot_places(LAST) + 3, idx;

        for (uint32_t i = 0; i < n; i++) {
                idx = take_filled(t, LAST);
                t->slot->magazines[1 + i] = idx + 1;
                t->slot->hand = 0;
        }
        reap_settle(r, t->no, NULL);
        ck_assert_uint_eq(heap_verify(r, NULL).n_cached_in_depots, n);
        drain_depots(u, 0, UINT32_MAX);
        for (uint32_t i = 0; i < region_magazines_hwm(r, 0); i += 8)
                drain_clock_hand(u);
        ck_assert_uint_eq(heap_verify(r, NULL).n_depot, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("magazine");
        TCase *tcase = tcase_create("magazine");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, empty_magazine_comes_from_the_pool_and_goes_back);
        tcase_add_test(tcase, two_threads_never_get_the_same);
        tcase_add_test(tcase, magazines_lie_on_the_node_of_the_thread);
        tcase_add_test(tcase, all_magazines_can_be_had_whatever_the_hints_say);
        tcase_add_test(tcase, no_new_magazine_without_growing);
        tcase_add_test(tcase, magazine_with_blocks_goes_through_the_depot);
        tcase_add_test(tcase, depot_of_a_neighbour_gives_what_it_can_spare);
        tcase_add_test(tcase, neighbour_whose_hints_lie_gives_nothing);
        tcase_add_test(tcase, crowded_depot_refuses_and_loses_nothing);
        tcase_add_test(tcase, count_of_a_depot_that_lies_costs_nothing);
        tcase_add_test(tcase, depot_that_is_full_above_its_count_is_found_again);
        tcase_add_test(tcase, places_of_classes_lie_side_by_side);
        tcase_add_test(tcase, clock_hand_leaves_what_is_hinted);
        tcase_add_test(tcase, depot_hints_that_lie_are_cleared);
        tcase_add_test(tcase, magazine_that_is_not_sound_goes_to_the_pool);
        tcase_add_test(tcase, exact_take_wants_the_exact_word);
        tcase_add_test(tcase, place_names_only_what_the_thread_owns);
        tcase_add_test(tcase, magazines_of_another_node_go_home);
        tcase_add_test(tcase, magazine_of_the_dead_goes_to_the_pool_or_the_depot);
        tcase_add_test(tcase, magazine_that_others_took_is_left_alone);
        tcase_add_test(tcase, dead_ones_magazines_find_a_crowded_depot_and_are_found);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
