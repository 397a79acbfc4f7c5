/*
 * What is at stake: what the dead left, and everybody who goes on.  A reaper settles exactly what names the dead, may
 * die itself after any of its stores, and may come upon a slot in which anything stands.  What each single protocol
 * leaves when it is cut short is proved beside its module (test_slab.c, test_run.c ...); here it is the reaper who is
 * at risk.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "heap/reap.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;
static struct live live;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_chunks = 6, .max_threads = 4});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
}

static void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ helpers */

static uint64_t
alloc(struct thread *who, uint32_t class_idx)
{
        struct call rq = {.size = size_class_bytes(class_idx), .align = 1, .class_idx = class_idx};
        uint64_t block_off;

        ck_assert_int_eq(ask_block(who, &rq, &block_off), 0);
        live_add(&live, block_off);
        return block_off;
}

static uint32_t
filled_magazine(struct thread *who, uint32_t class_idx, uint32_t k)
{
        uint32_t tag = tag_make(0, class_idx), idx;
        uint64_t head;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, magazine_current(who, tag), idx);
        if (!slab_find_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head))
                ck_assert_int_eq(slab_create_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        ck_assert_uint_eq(slab_fill(who, head, idx, k), k);
        return idx;
}

static uint64_t
own_slab(struct thread *who, uint32_t class_idx)
{
        uint64_t head;

        ck_assert(slab_find_owned(who, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head));
        return head;
}

static uint64_t random_state;

static uint64_t
random_u64(void)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return random_state * UINT64_C(2685821657736338717);
}

/* Small, near a bound, or anything. */
static uint64_t
random_value(void)
{
        uint64_t x = random_u64();

        switch (x >> 60) {
        case 0:
                return x % 2 ? UINT64_MAX : UINT64_MAX - x % 70;
        case 1:
                return x;
        case 2:
                return x >> (x >> 54 & 63);
        case 3:
                return region_granules_hwm(r) + x % 3 - 1;
        case 4:
                return region_magazines_hwm(r, 0) + x % 3 - 1;
        default:
                return x % 80;
        }
}

/* ------------------------------------------------------------------ a slot full of anything */

static void
scribble(struct thread_slot *slot)
{
        uint64_t *intent = (uint64_t *)(void *)&slot->intent;

        slot->candidate = random_u64() % 4 ? candidate_make((enum candidate_kind)(random_u64() % 4),
                                                            random_value() & 0x3fffffff, random_value() & 0xfffffff)
                                           : random_u64();
        if (candidate_kind(slot->candidate) == CANDIDATE_ROOT)
                slot->candidate = 0; /* roots have a test of their own */
        slot->hand = (uint32_t)random_value();
        for (unsigned i = 0; i < sizeof slot->intent / sizeof *intent; i++)
                intent[i] = random_value();
        if (random_u64() % 8)
                slot->intent.kind = random_u64() % INTENT_N_KINDS;
        for (uint32_t p = 0; p < 2 * r->layout.n_tags; p++)
                slot->magazines[p] = (uint32_t)random_value();
}

/* A thread that owns nothing may have left what it likes: nothing else changes. */
START_TEST(slot_full_of_garbage_touches_nobody)
{
        uint32_t idx;

        damage_is_done(true);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx += SIZE_CLASS_N / 8)
                alloc(u, class_idx);
        ck_assert_int_eq(magazine_take_empty(u, tag_make(0, 1), &idx), 0);
        magazine_place(u, magazine_current(u, tag_make(0, 1)), idx);
        filled_magazine(u, 0, 2);
        idx = filled_magazine(u, 2, 1);
        magazine_pick_up(u, magazine_current(u, tag_make(0, 2)), idx);
        magazine_put(u, idx, 0, true);
        {
                struct call rq = {.size = GEO_LARGE_MAX + 1, .align = 1};
                uint64_t huge;

                ck_assert(ask_classify(&rq));
                ck_assert_int_eq(ask_block(u, &rq, &huge), 0);
                live_add(&live, huge);
        }
        random_state = 4711 + (uint64_t)_i;
        for (int i = 0; i < 4000; i++) {
                scribble(t->slot);
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(t->slot->candidate, 0);
                ck_assert_uint_eq(t->slot->hand, 0);
                ck_assert_uint_eq(t->slot->intent.kind, INTENT_NONE);
                if (i % 100 == 0)
                        heap_verify(r, &live);
        }
        heap_verify(r, &live);
}
END_TEST

/* The same of one that owns a slab, a magazine and a run: what it had may suffer, what others have may not. */
START_TEST(slot_full_of_garbage_about_its_own_things_touches_nobody_else)
{
        damage_is_done(true);
        random_state = 815 + (uint64_t)_i;
        for (int i = 0; i < 200; i++) {
                struct heap_fixture small;
                struct thread *a, *b;
                uint64_t head, run, block_off, words[3], theirs;
                uint32_t idx;
                struct magazine before;

                heap_make(&small, (struct heap_params){.n_chunks = 3, .max_threads = 4});
                a = heap_attach(&small, 0);
                b = heap_attach(&small, 0);
                ck_assert_int_eq(chunk_give(b, 0), 0);
                ck_assert_int_eq(large_alloc(b, WHERE_LARGE(0, CHUNK_ANY, SIZE_CLASS_N_SMALL, 1), 0, &block_off), 0);
                ck_assert_int_eq(magazine_take_empty(b, tag_make(0, 0), &idx), 0);
                magazine_place(b, magazine_current(b, tag_make(0, 0)), idx);
                ck_assert_int_eq(slab_create_owned(b, WHERE_SLAB(0, CHUNK_ANY, 0), &head), 0);
                theirs = head;
                ck_assert_uint_eq(slab_fill(b, head, idx, 2), 2);
                before = small.region.magazines[idx];
                words[0] = small.region.granules[block_off >> GEO_GRANULE_SHIFT];
                words[1] = small.region.magazine_words[idx];
                words[2] = small.region.slabs[theirs].word[0];
                ck_assert_int_eq(magazine_take_empty(a, tag_make(0, 1), &idx), 0);
                ck_assert_int_eq(slab_create_owned(a, WHERE_SLAB(0, CHUNK_ANY, 1), &head), 0);
                ck_assert_int_eq(run_claim(a, WHERE_RUN(0, CHUNK_ANY, 2, 1), &run), 0);
                a->slot->intent = (struct intent){.word = {random_u64() % 3 ? head : run, idx, random_value()}};
                scribble(a->slot);
                if (random_u64() % 2)
                        a->slot->intent.word[0] = head;
                if (random_u64() % 2)
                        a->slot->intent.word[1] = idx;
                if (random_u64() % 2)
                        a->slot->candidate =
                                candidate_make(CANDIDATE_RUN, random_u64() % 2 ? head : run, random_value() % 70);
                a->slot->intent.word[INTENT_DEST] = 0; /* a destination is the user's */
                for (int k = 0; k < MAGAZINE_CAP_MAX; k++)
                        small.region.magazines[idx].slot[k] = random_value();
                small.region.magazines[idx].n = random_value();
                reap_settle(&small.region, a->no, NULL);
                ck_assert_uint_eq(small.region.granules[block_off >> GEO_GRANULE_SHIFT], words[0]);
                ck_assert_uint_eq(
                        small.region.magazine_words[before.slot[0] ? magazine_in(b, magazine_current(b, tag_make(0, 0)))
                                                                   : 0],
                        words[1]);
                ck_assert_mem_eq(&small.region.magazines[magazine_in(b, magazine_current(b, tag_make(0, 0)))], &before,
                                 sizeof before);
                ck_assert_uint_eq(small.region.slabs[theirs].word[0], words[2]);
                heap_drop(&small);
        }
}
END_TEST

START_TEST(thread_that_does_not_exist_is_not_settled)
{
        reap_settle(r, 0, NULL);
        reap_settle(r, region_threads_hwm(r) + 1, NULL);
        reap_settle(r, UINT32_MAX, NULL);
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ reapers that die
 *
 * A reaper clears the intent, the candidate, the hand and the places in this order, each after what it is about has
 * been settled.  So its death leaves the slot with the first k of them cleared, and the next one finds some of what the
 * rest names settled, or even in use again.
 */

static void
scene_fill(void)
{
        uint32_t idx = filled_magazine(t, 0, 1);
        uint64_t head = own_slab(t, 0), first = region_entry_off(r, r->magazines[idx].slot[0]);

        live_add(&live, first);
        r->magazines[idx].slot[0] = region_entry(r, first + 2 * size_class_bytes(0));
        r->magazines[idx].slot[1] = region_entry(r, first + size_class_bytes(0));
        r->magazines[idx].n = 0;
        intent_left(t, INTENT(FILL, fill, .head = head, .magazine = idx, .n = 2));
        r->slabs[head].word[0] &= ~UINT64_C(6);
}

static void
scene_drain(void)
{
        uint32_t idx = filled_magazine(t, 0, 3);
        uint64_t head = own_slab(t, 0);

        intent_left(t, INTENT(DRAIN, drain, .head = head, .magazine = idx, .n = 1));
        r->slabs[head].word[0] |= 1;
}

static void
scene_swap(void)
{
        uint32_t idx = filled_magazine(t, 0, 3);
        struct magazine *m = &r->magazines[idx];

        intent_left(t, INTENT(SWAP, swap, .magazine = idx, .i = 0, .j = 2, .a = m->slot[0], .b = m->slot[2]));
        m->slot[0] = m->slot[2];
}

static void
scene_single(void)
{
        uint64_t cell = alloc(u, 3), head;

        alloc(t, 1);
        head = own_slab(t, 1);
        intent_left(t, INTENT(ALLOC_ONE, alloc_one, .head = head,
                              .block = (head << GEO_GRANULE_SHIFT) + size_class_bytes(1),
                              .dest = r->layout.chunks_off + cell));
        r->slabs[head].word[0] &= ~UINT64_C(2);
        *(uint64_t *)region_block(r, cell) = r->layout.chunks_off + (head << GEO_GRANULE_SHIFT) + size_class_bytes(1);
}

static void
scene_resize(void)
{
        uint64_t block_off = alloc(t, SIZE_CLASS_N - 5), head = block_off >> GEO_GRANULE_SHIFT;
        uint32_t from = size_class_run_granules(SIZE_CLASS_N - 5), to = size_class_run_granules(SIZE_CLASS_N - 1);

        t->slot->candidate = candidate_make(CANDIDATE_RUN, head, to);
        *run_word(r, head) = granule_with_owner(*run_word(r, head), t->no);
        for (uint32_t i = from; i < to; i++)
                *run_word(r, head + i) = granule_word(GRANULE_NEW, t->no, 0);
        ck_assert_int_eq(large_free(u, block_off, 0), 0); /* and doomed */
        live_drop(&live, block_off);
}

static void
scene_chunk(void)
{
        uint64_t chunk = region_chunks_hwm(r);

        ck_assert_int_eq(region_raise_chunks(r, chunk), 0);
        r->chunk_words[chunk] = chunk_word(CHUNK_NEW, t->no, 0);
        t->slot->candidate = candidate_make(CANDIDATE_CHUNK, chunk, 1);
        for (uint32_t i = 0; i < 3; i++)
                *run_word(r, chunk * GEO_GRANULES_PER_CHUNK + i) = granule_word(GRANULE_NEW, t->no, 0);
}

static void
scene_huge(void)
{
        uint64_t block_off;

        ck_assert_int_eq(huge_alloc(t, 2 * GEO_CHUNK_BYTES, 1, 0, 0, &block_off), 0);
        t->slot->candidate = candidate_make(CANDIDATE_HUGE, block_off >> GEO_CHUNK_SHIFT, 2);
        r->chunk_words[block_off >> GEO_CHUNK_SHIFT] = chunk_with_count(chunk_word(CHUNK_FREEING, t->no, 0), 2);
}

static void
scene_magazines(void)
{
        for (uint32_t class_idx = 0; class_idx < 4; class_idx++)
                filled_magazine(t, class_idx, 1);
        t->slot->hand = *magazine_current(t, tag_make(0, 2));
}

static void (*const scenes[])(void) = {scene_fill,   scene_drain, scene_swap, scene_single,
                                       scene_resize, scene_chunk, scene_huge, scene_magazines};

enum { N_SCENES = sizeof scenes / sizeof scenes[0], N_CLEARED = 4, N_USES = 3 };

struct slot_copy {
        uint64_t candidate;
        struct intent intent;
        uint32_t hand;
        uint32_t magazines[2 * (1 + TAG_CLASSES)];
};

static void
slot_save(struct slot_copy *copy)
{
        copy->candidate = t->slot->candidate;
        copy->intent = t->slot->intent;
        copy->hand = t->slot->hand;
        memcpy(copy->magazines, t->slot->magazines, 2 * r->layout.n_tags * sizeof(uint32_t));
}

static void
slot_restore(const struct slot_copy *copy, int n_cleared)
{
        if (n_cleared < 1)
                t->slot->intent = copy->intent;
        if (n_cleared < 2)
                t->slot->candidate = copy->candidate;
        if (n_cleared < 3)
                t->slot->hand = copy->hand;
        memcpy(t->slot->magazines, copy->magazines, 2 * r->layout.n_tags * sizeof(uint32_t));
}

START_TEST(reaper_that_dies_is_followed_by_another)
{
        int scene = _i % N_SCENES, n_cleared = _i / N_SCENES % N_CLEARED, use = _i / N_SCENES / N_CLEARED;
        struct slot_copy copy;
        uint32_t idx;

        scenes[scene]();
        slot_save(&copy);
        reap_settle(r, t->no, NULL);
        heap_verify(r, &live);
        if (use >= 1) /* others have taken what was passed on */
                for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N;
                     class_idx += class_idx < 4 ? 1 : SIZE_CLASS_N / 9)
                        alloc(u, class_idx);
        for (uint32_t class_idx = 0; use >= 2 && class_idx < 4; class_idx++)
                if (magazine_take_depot(u, 0, tag_make(0, class_idx), &idx))
                        magazine_place(u, magazine_current(u, tag_make(0, class_idx)), idx);
        slot_restore(&copy, n_cleared);
        reap_settle(r, t->no, NULL);
        heap_verify(r, &live);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(t->slot->intent.kind, INTENT_NONE);
}
END_TEST

/* A hand-over out of, or into, a magazine: the store of n is the commit. */
START_TEST(handover_cut_short_is_undone_or_finished)
{
        for (int step = 0; step < 8; step++) {
                bool is_push = step >= 4;
                uint32_t idx = filled_magazine(t, 0, 3);
                struct magazine *m = &r->magazines[idx];
                uint64_t cell = alloc(u, 3), block_off = region_entry_off(r, m->slot[2]), before = is_push ? 0 : 7;
                uint64_t ref = r->layout.chunks_off + block_off, *dest = region_block(r, cell);
                bool is_stored = step % 4 >= 1, is_committed = step % 4 >= (is_push ? 1 : 2);

                m->n = is_push ? 2 : 3;
                *dest = is_push ? ref : before;
                intent_left(t, (struct intent){is_push ? INTENT_PUSH_FROM : INTENT_POP_TO,
                                               .push_from = {.magazine = idx,
                                                             .n = is_push ? 3 : 2,
                                                             .was = before,
                                                             .block = block_off,
                                                             .dest = r->layout.chunks_off + cell}});
                if (is_push && is_committed)
                        m->n = 3;
                if (is_push && step % 4 >= 2)
                        *dest = 0;
                if (!is_push && is_stored)
                        *dest = ref;
                if (!is_push && is_committed)
                        m->n = 2;
                if (is_push != is_committed)
                        live_add(&live, block_off);
                reap_settle(r, t->no, NULL);
                ck_assert_uint_eq(*dest, is_push != is_committed ? ref : before);
                heap_verify(r, &live);
        }
}
END_TEST

/* The reaper was in the middle of settling the intent: it is all there still, and half of it done. */
START_TEST(intent_half_settled_is_settled)
{
        uint32_t idx;
        uint64_t head;

        scene_drain();
        idx = (uint32_t)t->slot->intent.drain.magazine;
        head = t->slot->intent.drain.head;
        r->slabs[head].word[0] |= 2; /* one of its two bits; n stands as it was */
        ck_assert_uint_eq(r->magazines[idx].n, 3);
        reap_settle(r, t->no, NULL);
        ck_assert_uint_eq(r->magazines[idx].n, 1);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ taking over */

/* The slots of the fixture's threads are not known to be dead, so who names the dest stays. */
START_TEST(a_dest_is_settled_when_no_intent_names_it)
{
        static const enum intent_kind kinds[] = {INTENT_ALLOC_ONE, INTENT_FREE_ONE,  INTENT_RUN_TO, INTENT_RUN_FROM,
                                                 INTENT_HUGE_TO,   INTENT_HUGE_FROM, INTENT_POP_TO, INTENT_PUSH_FROM};
        uint64_t dest_off = r->layout.chunks_off + alloc(t, 3);

        ck_assert_int_eq(reap_dest(t, dest_off), 0);
        for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
                intent_left(u, (struct intent){kinds[i], .word = {[INTENT_DEST] = dest_off}});
                ck_assert_int_eq(reap_dest(t, dest_off), -EBUSY);
                ck_assert_int_eq(reap_dest(t, dest_off + 8), 0);
                intent_end(u);
                ck_assert_int_eq(reap_dest(t, dest_off), 0); /* though the operands still stand there */
        }
        intent_left(u, (struct intent){INTENT_SWAP, .word = {[INTENT_DEST] = dest_off}}); /* there it is an entry */
        ck_assert_int_eq(reap_dest(t, dest_off), 0);
        intent_end(u);
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ hints */

START_TEST(what_is_passed_on_can_be_found_by_hints)
{
        uint32_t idx = filled_magazine(t, 0, 2), got;
        uint64_t head;

        alloc(t, 5);
        head = own_slab(t, 5);
        heap_scramble_hints(r, false);
        reap_settle(r, t->no, NULL);
        ck_assert(magazine_take_depot(u, 0, tag_make(0, 0), &got));
        ck_assert_uint_eq(got, idx);
        magazine_place(u, magazine_current(u, tag_make(0, 0)), got);
        ck_assert_uint_eq(own_slab(u, 5), head);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("reap");
        TCase *tcase = tcase_create("reap");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, slot_full_of_garbage_touches_nobody, 0, 4);
        tcase_add_loop_test(tcase, slot_full_of_garbage_about_its_own_things_touches_nobody_else, 0, 4);
        tcase_add_test(tcase, thread_that_does_not_exist_is_not_settled);
        tcase_add_loop_test(tcase, reaper_that_dies_is_followed_by_another, 0, N_SCENES * N_CLEARED * N_USES);
        tcase_add_test(tcase, handover_cut_short_is_undone_or_finished);
        tcase_add_test(tcase, intent_half_settled_is_settled);
        tcase_add_test(tcase, a_dest_is_settled_when_no_intent_names_it);
        tcase_add_test(tcase, what_is_passed_on_can_be_found_by_hints);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
