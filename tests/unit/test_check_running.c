/*
 * What is at stake: shheap_check() may look at a heap that others work in.  If it takes what a living owner is in the
 * midst of for damage, nobody believes it; if it forgives that to those who are not there, it misses what the dead have
 * left.
 *
 * So each state in which an owner may be stopped is made by hand, which is no fault while its owner lives and is one at
 * rest, and threads fill, empty, exchange and resize while the check is asked again and again.
 */
#include <pthread.h>

#include "audit/check.h"
#include "base/atomic.h"
#include "blocks/drain.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "clients/slot.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/random.h"
#include "support/rich_heap.h"
#include "support/suite.h"
#include "support/where.h"

#define GRANULE(g)    (r->granules[g])
#define MAGAZINE(idx) (r->magazines[idx])
#define TAG0          tag_make(0, 0)

static struct rich_heap rich;
static struct region *const r = &rich.fx.region;
static struct thread *t, *u; /* of node 0 and node 1 */

static void
setup(void)
{
        rich_heap_make(&rich);
        t = rich.t;
        u = rich.u;
}

static void
teardown(void)
{
        rich_heap_drop(&rich);
}

/* ------------------------------------------------------------------ work in progress */

/* States in which a living owner may be stopped: no fault, but at rest each is one. */
static void
expect_in_progress(const char *what)
{
        int n = rich_heap_ask(&rich, 0, NULL);

        ck_assert_msg(n == 0, "%s is no damage while its owner lives:\n%s", what, rich.report);
        n = rich_heap_ask(&rich, CHECK_QUIESCENT, NULL);
        ck_assert_msg(n > 0, "%s is not seen at rest", what);
}

START_TEST(claimed_run_is_work_in_progress)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(t, WHERE_RUN(0, CHUNK_ANY, 3, 1), &head), 0);
        expect_in_progress("a run of NEW granules");
        for (uint32_t i = 1; i < 3; i++)
                GRANULE(head + i) =
                        granule_with_count(granule_word(GRANULE_CONT, 0, 0) | (GRANULE(head + i) & GRANULE_BACKING), i);
        r->tags[head] = 5;
        expect_in_progress("a run whose interior is stored and its head not");
        GRANULE(head) = granule_with_count(granule_with_state(GRANULE(head), GRANULE_FREEING), 3);
        GRANULE(head + 1) = run_free_word(GRANULE(head + 1), 0);
        expect_in_progress("a run that is freed by half");
        run_settle(r, t->no, head, 3);
        t->slot->candidate = 0;
        rich_heap_expect_good(&rich, CHECK_QUIESCENT);
}
END_TEST

START_TEST(owned_slab_is_work_in_progress)
{
        struct magazine *m = &MAGAZINE(rich.cached);
        uint64_t off = region_entry_off(r, m->slot[m->n - 1]);

        t->slot->candidate = candidate_make(CANDIDATE_RUN, rich.slab, 1);
        GRANULE(rich.slab) = granule_with_owner(GRANULE(rich.slab), t->no);
        expect_in_progress("an owned slab");
        t->slot->intent = INTENT(DRAIN, drain, .head = rich.slab, .magazine = rich.cached, .n = m->n - 1);
        rich_heap_flip_bit(&rich, rich.slab, rich_heap_block_idx(&rich, off));
        expect_in_progress("a drain before its commit");
        m->n--;
        expect_in_progress("a drain after its commit");
}
END_TEST

START_TEST(magazines_on_their_way_are_work_in_progress)
{
        uint32_t *current = magazine_current(t, TAG0), *spare = magazine_spare(t, TAG0), idx;

        damage_is_done(true);
        t->slot->hand = rich.cached + 1;
        expect_in_progress("a magazine that the hand and a place name");
        *current = rich.spare + 1;
        expect_in_progress("two places that name one magazine, and the hand the other");
        *current = rich.cached + 1;
        *spare = rich.spare + 1;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 7), &idx), 0);
        MAGAZINE(idx).cap = MAGAZINE_CAP_MAX;
        expect_in_progress("a magazine that has just been taken from the pool");
}
END_TEST

START_TEST(swapped_entries_are_work_in_progress)
{
        struct magazine *m = &MAGAZINE(rich.cached);

        t->slot->intent = INTENT(SWAP, swap, .magazine = rich.cached, .i = 0, .j = 2, .a = m->slot[0], .b = m->slot[2]);
        m->slot[0] = m->slot[2];
        expect_in_progress("one of two stores of a swap");
        t->slot->intent.swap.magazine = rich.depot;
        ck_assert_int_gt(rich_heap_ask(&rich, 0, NULL), 0);
}
END_TEST

START_TEST(resized_run_is_work_in_progress)
{
        uint32_t n = granule_count(GRANULE(rich.large));

        GRANULE(rich.large) = granule_with_owner(GRANULE(rich.large), t->no) | GRANULE_DOOMED;
        expect_in_progress("an owned run that is doomed");
        GRANULE(rich.large + n) =
                granule_with_count(granule_word(GRANULE_CONT, 0, 0) | (GRANULE(rich.large + n) & GRANULE_BACKING), n);
        r->tags[rich.large] = TAG_NONE;
        expect_in_progress("a run that is about to be longer");
        r->tags[rich.large] = 77; /* a free could take it for something else */
        ck_assert_int_gt(rich_heap_ask(&rich, 0, NULL), 0);
}
END_TEST

START_TEST(chunks_on_their_way_are_work_in_progress)
{
        uint64_t first = rich.free_chunk * GEO_GRANULES_PER_CHUNK, *word = &r->chunk_words[rich.free_chunk];

        *word = chunk_with_owner(chunk_with_state(*word, CHUNK_NEW), t->no);
        GRANULE(first + 3) = granule_word(GRANULE_NEW, t->no, 0) | (GRANULE(first + 3) & GRANULE_BACKING);
        expect_in_progress("a chunk on its way to an arena");
        *word = chunk_with_node1(chunk_word(CHUNK_ARENA, 0, 0), 1);
        for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK; i++)
                GRANULE(first + i) = granule_word(GRANULE_NEW, t->no, 0) | (GRANULE(first + i) & GRANULE_BACKING);
        expect_in_progress("a chunk whose granules are not free yet");
        *word = chunk_with_node1(chunk_word(CHUNK_FREEING, t->no, 0), 1);
        GRANULE(first) &= GRANULE_BACKING;
        expect_in_progress("a chunk on its way back");
        GRANULE(first + 1) = granule_with_owner(GRANULE(first + 1), u->no);
        ck_assert_int_gt(rich_heap_ask(&rich, 0, NULL), 0);
}
END_TEST

START_TEST(huge_block_being_freed_is_work_in_progress)
{
        uint64_t *word = &r->chunk_words[rich.huge];

        *word = chunk_with_owner(*word, t->no);
        expect_in_progress("an owned huge block");
        *word = chunk_with_owner(chunk_with_state(*word, CHUNK_FREEING), t->no);
        expect_in_progress("a huge block that nothing has been freed of");
        r->chunk_words[rich.huge + 1] = chunk_word(CHUNK_FREE, 0, 0);
        expect_in_progress("a huge block that has been freed by half");
        *word = chunk_with_owner(*word, 7);
        ck_assert_int_gt(rich_heap_ask(&rich, 0, NULL), 0);
}
END_TEST

/* ------------------------------------------------------------------ while others run */

enum { N_ACTORS = 4, N_TURNS = 1000, N_HELD = 40, N_CHECKS = 60 };

static uint32_t n_running, n_checks;
static pthread_barrier_t attached;

/* Fills, empties and exchanges magazines, frees what it has, resizes: all that moves owner words. */
static void
turn(struct thread *who, uint64_t *seed, uint32_t idx, uint64_t *held)
{
        uint64_t *at = &held[random_next(seed) % N_HELD];
        uint64_t what = random_next(seed) % 8, head;

        if (what == 0 && MAGAZINE(idx).n > 0) {
                drain_magazine(who, idx, 0);
        } else if (what == 1 && MAGAZINE(idx).n == 0) {
                if (slab_find_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, 0), &head) ||
                    slab_create_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, 0), &head) == 0)
                        slab_fill(who, head, idx, 1 + (uint32_t)(random_next(seed) % size_class_magazine_cap(0)));
        } else if (*at == 0 && what < 6) {
                uint32_t class_idx = (uint32_t)(random_next(seed) % SIZE_CLASS_N_SMALL);

                if (slab_find_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, class_idx), &head) ||
                    slab_create_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, class_idx), &head) == 0)
                        slab_alloc_one(who, head, 0, at);
        } else if (*at == 0) {
                large_alloc(
                        who,
                        WHERE_LARGE(who->arena, CHUNK_ANY, SIZE_CLASS_N_SMALL + (uint32_t)(random_next(seed) % 6), 1),
                        0, at);
        } else {
                uint64_t word;

                if (what == 2 && large_block_of(r, *at, &head, &word))
                        large_resize(who, *at, SIZE_CLASS_N_SMALL + (uint32_t)(random_next(seed) % 6));
                else if (large_block_of(r, *at, &head, &word) ? large_free(who, *at, 0) == 0
                                                              : slab_free_one(who, *at, 0) == 0)
                        *at = 0;
        }
}

static void *
actor(void *arg)
{
        struct thread *who = &rich.fx.threads[rich.fx.n_threads - 1 - (uintptr_t)arg];
        uint64_t seed = 77 + (uintptr_t)arg, held[N_HELD] = {0};
        uint32_t idx;

        ck_assert_int_eq(slot_attach(who, r, &rich.fx.client, NULL, NULL), 0);
        who->arena = (uintptr_t)arg % 2 ? 0 : 2;
        who->node = region_arena_node(r, who->arena);
        store_relaxed(&r->bindings[who->no - 1], BINDING_ARENA(who->arena));
        ck_assert_int_eq(magazine_take_empty(who, tag_make(who->node, 0), &idx), 0);
        magazine_place(who, magazine_current(who, tag_make(who->node, 0)), idx);
        pthread_barrier_wait(&attached);
        for (int i = 0; i < N_TURNS || __atomic_load_n(&n_checks, __ATOMIC_RELAXED) < N_CHECKS; i++)
                turn(who, &seed, idx, held);
        drain_magazine(who, idx, 0);
        magazine_pick_up(who, magazine_current(who, tag_make(who->node, 0)), idx);
        magazine_put(who, idx, who->arena, true);
        __atomic_fetch_sub(&n_running, 1, __ATOMIC_ACQ_REL);
        slot_release(who);
        return NULL;
}

START_TEST(busy_heap_is_good)
{
        pthread_t threads[N_ACTORS];

        pthread_barrier_init(&attached, NULL, N_ACTORS + 1);
        n_running = N_ACTORS;
        rich.fx.n_threads += N_ACTORS;
        for (uintptr_t i = 0; i < N_ACTORS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, actor, (void *)i), 0);
        pthread_barrier_wait(&attached);
        while (__atomic_load_n(&n_running, __ATOMIC_ACQUIRE) > 0) {
                int n = rich_heap_ask_unprotected(&rich, 0, NULL);

                ck_assert_msg(n == 0, "check %u of a busy heap:\n%s", n_checks, rich.report);
                __atomic_fetch_add(&n_checks, 1, __ATOMIC_RELAXED);
        }
        for (int i = 0; i < N_ACTORS; i++)
                pthread_join(threads[i], NULL);
        rich_heap_expect_good(&rich, CHECK_QUIESCENT);
}
END_TEST

/* ------------------------------------------------------------------ suite */

int
main(void)
{
        Suite *suite = suite_create("check_running");
        TCase *tcase = tcase_create("running");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 240);
        suite_add_tcase(suite, tcase);
        tcase_add_test(tcase, claimed_run_is_work_in_progress);
        tcase_add_test(tcase, owned_slab_is_work_in_progress);
        tcase_add_test(tcase, magazines_on_their_way_are_work_in_progress);
        tcase_add_test(tcase, swapped_entries_are_work_in_progress);
        tcase_add_test(tcase, resized_run_is_work_in_progress);
        tcase_add_test(tcase, chunks_on_their_way_are_work_in_progress);
        tcase_add_test(tcase, huge_block_being_freed_is_work_in_progress);
        tcase_add_test(tcase, busy_heap_is_good);
        return suite_run(suite);
}
