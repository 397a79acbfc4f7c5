/*
 * What is at stake: NULL although there is memory.  Whatever went before - blocks in magazines of the dead, in crowded
 * depots, in slabs of other arenas, hints that lie in both directions, slabs that somebody stopped in - the last scan
 * finds every block and every run that nobody uses, and says no only when there is none.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/slot.h"
#include "heap/free.h"
#include "heap/reserve.h"
#include "os/inject.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/alloc_heap.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

/* ------------------------------------------------------------------ requests */

START_TEST(requests_are_classified)
{
        for (uint64_t align = 1; align != 0; align *= 2)
                for (uint64_t size = 1; size < UINT64_C(1) << 50; size += size / 7 + 1) {
                        struct call rq = {.size = size, .align = align};

                        if (align > UINT64_C(1) << 30 || size > UINT64_C(1) << 46) {
                                ck_assert(!ask_classify(&rq));
                                continue;
                        }
                        ck_assert(ask_classify(&rq));
                        if (rq.class_idx == SIZE_CLASS_NONE) {
                                ck_assert(size > GEO_LARGE_MAX || align > GEO_CHUNK_BYTES);
                                continue;
                        }
                        ck_assert_uint_lt(rq.class_idx, SIZE_CLASS_N);
                        ck_assert_uint_ge(size_class_bytes(rq.class_idx), size);
                        if (size_class_is_small(rq.class_idx))
                                ck_assert_uint_eq(size_class_bytes(rq.class_idx) % align, 0);
                        else
                                ck_assert(size > GEO_SMALL_MAX / 2 || align > 16);
                }
}
END_TEST

START_TEST(alignments_that_are_no_powers_of_two_are_refused)
{
        for (uint64_t align = 3; align < 70; align++) {
                struct call rq = {.size = 64, .align = align};

                ck_assert_int_eq(ask_classify(&rq), (align & (align - 1)) == 0);
        }
        ck_assert(!ask_classify(&(struct call){.size = 64, .align = 0}));
}
END_TEST

START_TEST(aligned_blocks_are_aligned)
{
        for (uint64_t align = 1; align <= GEO_CHUNK_BYTES; align *= 2)
                for (uint64_t size = 1; size <= GEO_CHUNK_BYTES; size += size / 2 + 1) {
                        struct call rq = {.size = size, .align = align};
                        uint64_t block_off;
                        uint32_t class_idx;

                        ck_assert(ask_classify(&rq));
                        ck_assert_int_eq(ask_block(t, &rq, &block_off), 0);
                        ck_assert_uint_eq((r->layout.chunks_off + block_off) % align, 0);
                        ck_assert_uint_ge(block_usable(r, block_off, &class_idx), size);
                        ck_assert_uint_eq(class_idx, rq.class_idx);
                        live_add(&live, block_off);
                        free_it(u, block_off);
                }
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ down to the last block
 *
 * For every class in the tiny geometry; in the normal one for some, of which a heap holds no more than a few thousand.
 */

enum { SOME_CLASSES = GEO_GRANULE_BYTES > 4096 ? 8 : SIZE_CLASS_N };

static uint32_t
some_class(int i)
{
        return GEO_GRANULE_BYTES > 4096 ? 23 + (uint32_t)i * 11 / 2 : (uint32_t)i;
}

START_TEST(all_of_the_heap_serves_every_class)
{
        uint32_t class_idx = some_class(_i);
        uint64_t n;

        for (int turn = 0; turn < 3; turn++) {
                if (turn > 0)
                        heap_scramble_hints(r, turn == 2);
                n = exhaust(turn % 2 ? u : t, class_idx);
                /* A clock hand that finds free granules piecemeal puts runs where they waste the rest of a chunk. */
                ck_assert_uint_le(n, most(class_idx, N_CHUNKS));
                ck_assert_uint_ge(n, most(class_idx, N_CHUNKS) * (turn == 0 ? 8 : 7) / 8);
                ck_assert(!alloc(t, class_idx));
                free_all();
        }
        heap_verify(r, NULL);
}
END_TEST

/* What was freed as one class can be had as any other. */
START_TEST(memory_moves_from_class_to_class)
{
        uint32_t from = some_class(_i);

        for (uint32_t to = 0; to < SIZE_CLASS_N; to += SIZE_CLASS_N / 7) {
                if (most(to, N_CHUNKS) > 6000)
                        continue; /* the smallest ones take long */
                exhaust(t, from);
                free_all();
                ck_assert_uint_eq(exhaust(u, to), most(to, N_CHUNKS));
                free_all();
        }
}
END_TEST

START_TEST(memory_moves_between_blocks_and_chunks)
{
        struct call rq = {.size = N_CHUNKS * GEO_CHUNK_BYTES, .align = 1};
        uint64_t block_off;

        ck_assert(ask_classify(&rq));
        for (int turn = 0; turn < 3; turn++) {
                exhaust(t, SIZE_CLASS_N_SMALL - 1);
                free_all();
                ck_assert_int_eq(ask_block(t, &rq, &block_off), 0);
                ck_assert(!alloc(t, 0));
                ck_assert_int_eq(ask_block(u, &rq, &block_off), -ENOMEM);
                live_add(&live, block_off);
                heap_verify(r, &live);
                free_it(u, block_off);
                heap_scramble_hints(r, turn % 2);
        }
}
END_TEST

/* ------------------------------------------------------------------ where blocks hide */

/* In the own magazines, of the class or of any other. */
START_TEST(own_magazines_are_emptied_for_another_class)
{
        uint32_t from = 0, to = SIZE_CLASS_N_SMALL - 1, n = 0;

        while (n < 2 * r->layout.n_tags - 2) {
                struct call rq = request_of_class(from, 0);
                uint32_t idx, got;
                uint64_t block_off;

                if (magazine_take_empty(t, tag_make(0, from), &idx) < 0)
                        break;
                magazine_place(t, &t->slot->magazines[1 + n++], idx);
                if (ask_magazine(t, &rq, idx, &got, &block_off) < 0)
                        break;
        }
        ck_assert_uint_gt(heap_verify_words(r).cached_blocks[from], 0);
        ck_assert_uint_eq(exhaust(t, to), most(to, N_CHUNKS));
        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[from], 0);
}
END_TEST

/* In depots: hinted, not hinted, crowded. */
START_TEST(depots_are_emptied_for_another_class)
{
        uint32_t from = GEO_GRANULE_BYTES == 512 ? 1 : size_class_of(1280), to = SIZE_CLASS_N_SMALL - 1, idx;
        uint32_t n_places = size_class_depot_places(from);

        for (uint32_t i = 0; i < n_places + 5; i++)
                fill_magazine(u, from, &u->slot->magazines[1 + i]);
        for (uint32_t i = 0; i < n_places + 5; i++) {
                idx = magazine_in(u, &u->slot->magazines[1 + i]);
                magazine_pick_up(u, &u->slot->magazines[1 + i], idx);
                ck_assert(magazine_put(u, idx, 0, true));
                if (i == 3)
                        heap_scramble_hints(r, false);
        }
        ck_assert_uint_gt(heap_verify(r, NULL).n_depot, n_places);
        ck_assert_uint_eq(exhaust(t, to), most(to, N_CHUNKS));
}
END_TEST

static void *
take_all_and_die(void *arg)
{
        struct thread *mortal = arg;
        uint32_t class_idx = 0, idx, got;
        struct call rq = {.size = 16, .align = 1, .class_idx = class_idx};
        uint64_t block_off;

        if (slot_attach(mortal, r, &fx.client, NULL, NULL) < 0)
                return NULL;
        for (uint32_t place = 1; place < 2 * r->layout.n_tags; place++) {
                if (place == r->layout.n_tags || magazine_take_empty(mortal, tag_make(0, class_idx), &idx) < 0)
                        continue;
                magazine_place(mortal, &mortal->slot->magazines[place], idx);
                if (ask_magazine(mortal, &rq, idx, &got, &block_off) < 0)
                        break;
                if (got != idx)
                        magazine_put(mortal, got, 0, true);
        }
        return NULL;
}

/* In the magazines of a thread that died. */
START_TEST(the_dead_are_reaped_before_null)
{
        static struct thread mortal;
        pthread_t pthread;

        memset(&mortal, 0, sizeof mortal);
        ck_assert_int_eq(pthread_create(&pthread, NULL, take_all_and_die, &mortal), 0);
        ck_assert_int_eq(pthread_join(pthread, NULL), 0);
        ck_assert_uint_eq(mortal.no, 3);
        ck_assert_uint_gt(heap_verify_words(r).n_tcache, 2);
        ck_assert_uint_eq(exhaust(t, SIZE_CLASS_N_SMALL - 1), most(SIZE_CLASS_N_SMALL - 1, N_CHUNKS));
        ck_assert_uint_eq(r->bindings[mortal.no - 1], 0);
}
END_TEST

/* In slabs that a reaper left without a block. */
START_TEST(slabs_that_died_at_birth_are_found)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_SMALL; class_idx++) {
                struct thread *dead = heap_attach(&fx, 0);
                uint64_t head;

                if (chunk_give(dead, 0) < 0 && class_idx == 0)
                        ck_abort();
                if (slab_create_owned(dead, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head) < 0)
                        class_idx = SIZE_CLASS_N_SMALL;
                heap_bury(&fx, dead);
                fx.n_threads--;
        }
        ck_assert_uint_eq(exhaust(t, SIZE_CLASS_N - 1), most(SIZE_CLASS_N - 1, N_CHUNKS));
}
END_TEST

/* The lowest granule that is free has all its pages, but none for the bitmap of so many blocks; those reserved have. */
START_TEST(without_growth_memory_comes_from_where_all_that_it_needs_is)
{
        uint32_t class_idx = size_class_of(GEO_GRANULE_BYTES > 4096 ? 1024 : 128);
        uint64_t block_off = 0, first;

        for (uint32_t i = 0; i < size_class_slab_blocks(class_idx); i++)
                ck_assert(alloc(t, class_idx));
        first = live.off[0] >> GEO_GRANULE_SHIFT;
        ck_assert_uint_eq(granule_backed(*run_word(r, first)), GRANULE_BACKED_ALL);
        ck_assert_int_eq(reserve_bytes(t, 2 * GEO_GRANULE_BYTES), 0);
        free_all();
        ck_assert_uint_eq(granule_state(*run_word(r, first)), GRANULE_FREE);
        ck_assert(alloc_flags(t, 0, CALL_NO_GROW, &block_off));
        ck_assert(region_has_bitmap(r, first, 0) == (block_off >> GEO_GRANULE_SHIFT == first));
        heap_verify(r, &live);
}
END_TEST

/* In slabs and runs of the node's other arenas. */
START_TEST(other_arenas_of_the_node_serve)
{
        uint32_t class_idx = some_class(0);
        uint64_t n;

        ck_assert_int_eq(arena_init(r, 1), 0);
        ck_assert_int_eq(chunk_give(t, 1), 0);
        ck_assert_int_eq(chunk_give(t, 1), 0);
        u->arena = 1;
        ck_assert(alloc(u, class_idx));
        for (n = 1; alloc(t, class_idx); n++)
                continue;
        ck_assert_uint_eq(n, most(class_idx, N_CHUNKS));
        heap_verify(r, &live);
}
END_TEST

/* Empty chunks of one arena become another's. */
START_TEST(chunks_move_between_arenas)
{
        uint32_t class_idx = SIZE_CLASS_N - 1;

        ck_assert_int_eq(arena_init(r, 1), 0);
        u->arena = 1;
        for (int turn = 0; turn < 4; turn++) {
                uint64_t n = 0, block_off;

                while (alloc_flags(turn % 2 ? u : t, class_idx, CALL_THIS_ARENA, &block_off)) {
                        ck_assert_uint_eq(granule_arena(*run_word(r, block_off >> GEO_GRANULE_SHIFT)), turn % 2);
                        n++;
                }
                ck_assert_uint_eq(n, most(class_idx, N_CHUNKS));
                free_all();
                heap_scramble_hints(r, turn / 2);
        }
}
END_TEST

/* Wherever somebody stopped, the others go on with what is left. */
START_TEST(held_slabs_are_done_without)
{
        uint32_t class_idx = some_class(0), n_slabs = 0;
        uint64_t head, n;

        while (slab_create_owned(u, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head) == 0 || chunk_give(u, 0) == 0) {
                u->slot->candidate = 0; /* u is at work in many slabs, and stopped */
                n_slabs = 0;
                for (uint64_t g = 0; g < region_granules_hwm(r); g++)
                        n_slabs += granule_state(*run_word(r, g)) == GRANULE_SLAB;
                if (n_slabs == GRANULES)
                        break;
        }
        for (n = 0; alloc(t, class_idx); n++)
                continue;
        ck_assert_uint_eq(n, most(class_idx, N_CHUNKS) - (uint64_t)n_slabs * size_class_slab_blocks(class_idx));
        ck_assert(!alloc(t, SIZE_CLASS_N - 1));
}
END_TEST

/* ------------------------------------------------------------------ after any history */

static uint64_t random_state = 88172645463325252u;

static uint64_t
random_below(uint64_t n)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (random_state >> 11) % n;
}

/* Threads allocate, cache, free, die and are settled, at random; then the rest is as much as arithmetic says. */
START_TEST(all_free_capacity_can_be_had_after_any_history)
{
        struct thread *dead;
        uint32_t idx, got;
        uint64_t block_off;

        random_state += (uint64_t)_i * 1234567;
        ck_assert_int_eq(arena_init(r, 1), 0);
        dead = heap_attach(&fx, 1);
        for (int step = 0; step < 600; step++) {
                struct thread *who = step % 3 == 0 ? t : step % 3 == 1 ? u : dead;
                uint32_t class_idx = (uint32_t)random_below(SIZE_CLASS_N);
                struct call rq = request_of_class(class_idx, 0);

                rq.arena = who->arena;
                switch (random_below(8)) {
                case 0:
                case 1:
                case 2:
                        alloc(who, class_idx);
                        break;
                case 3:
                case 4:
                        if (live.n > 0)
                                free_it(who, live.off[random_below(live.n)]);
                        break;
                case 5:
                        class_idx = rq.class_idx = (uint32_t)random_below(SIZE_CLASS_N_SMALL);
                        if (magazine_in(who, magazine_current(who, tag_make(0, class_idx))) != MAGAZINE_IDX_NONE ||
                            magazine_take_empty(who, tag_make(0, class_idx), &idx) < 0)
                                break;
                        magazine_place(who, magazine_current(who, tag_make(0, class_idx)), idx);
                        if (ask_magazine(who, &rq, idx, &got, &block_off) < 0)
                                break;
                        if (got == MAGAZINE_IDX_NONE)
                                live_add(&live, block_off);
                        else if (got != idx)
                                magazine_put(who, got, who->arena, true);
                        break;
                case 6:
                        heap_scramble_hints(r, random_below(2));
                        break;
                default:
                        if (random_below(8) == 0) {
                                heap_bury(&fx, dead);
                                fx.n_threads--;
                                dead = heap_attach(&fx, 1);
                                fx.region.bindings[dead->no - 1] = BINDING_ARENA(1);
                        }
                }
                if (step % 50 == 0)
                        heap_verify(r, &live);
        }
        heap_bury(&fx, dead);
        drain_depots(u, 0, UINT32_MAX);
        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++)
                if ((idx = magazine_in(u, &u->slot->magazines[place])) != MAGAZINE_IDX_NONE)
                        drain_magazine(u, idx, 0);
        heap_scramble_hints(r, random_below(2));
        exhaust(t, some_class(0)); /* of which all free granules can be made, and all of its own slabs filled */
        free_all();
        ck_assert_uint_eq(exhaust(t, SIZE_CLASS_N - 1), most(SIZE_CLASS_N - 1, N_CHUNKS));
}
END_TEST

/* ------------------------------------------------------------------ magazines */

START_TEST(magazine_is_filled_or_found)
{
        uint32_t tag = tag_make(0, 3), idx = fill_magazine(u, 3, magazine_current(u, tag)), empty, got;
        struct call rq = request_of_class(3, 0);
        uint64_t block_off;

        magazine_pick_up(u, magazine_current(u, tag), idx);
        ck_assert(magazine_put(u, idx, 0, true));
        ck_assert_int_eq(magazine_take_empty(t, tag, &empty), 0);
        magazine_place(t, magazine_current(t, tag), empty);
        ck_assert_int_eq(ask_magazine(t, &rq, empty, &got, &block_off), 0);
        ck_assert_uint_eq(got, idx); /* the depot first */
        ck_assert_uint_eq(t->slot->hand, idx + 1);
        magazine_place(t, magazine_spare(t, tag), got);
        ck_assert_int_eq(ask_magazine(t, &rq, empty, &got, &block_off), 0);
        ck_assert_uint_eq(got, empty);
        ck_assert_uint_eq(t->slot->hand, 0);
        heap_verify(r, NULL);
}
END_TEST

/* Before anything is taken from slabs: what another arena's threads do not use. */
START_TEST(magazine_of_another_arena_is_found_before_a_slab)
{
        uint32_t tag = tag_make(0, 3), put[2], empty, got;
        struct call rq = request_of_class(3, 0);
        struct thread *near = heap_attach(&fx, 1);
        uint64_t block_off;

        for (int i = 0; i < 2; i++)
                put[i] = fill_magazine(u, 3, i == 0 ? magazine_current(u, tag) : magazine_spare(u, tag));
        for (int i = 0; i < 2; i++) {
                magazine_pick_up(u, i == 0 ? magazine_current(u, tag) : magazine_spare(u, tag), put[i]);
                ck_assert(magazine_put(u, put[i], 0, true));
        }
        ck_assert_int_eq(magazine_take_empty(near, tag, &empty), 0);
        magazine_place(near, magazine_current(near, tag), empty);
        rq.arena = near->arena;
        ck_assert_int_eq(ask_magazine(near, &rq, empty, &got, &block_off), 0);
        ck_assert_uint_eq(got, put[1]); /* the warmest */
        magazine_place(near, magazine_spare(near, tag), got);
        ck_assert_int_eq(ask_magazine(near, &rq, empty, &got, &block_off), 0);
        ck_assert_uint_eq(got, empty); /* the last one is left: filled from a slab of its own */
        ck_assert_uint_eq(magazine_state(r->magazine_words[put[0]]), MAGAZINE_DEPOT);
        heap_verify(r, NULL);
}
END_TEST

/* No magazine to be had: one block at a time. */
START_TEST(without_a_magazine_there_are_single_blocks)
{
        struct call rq = request_of_class(3, 0);
        uint32_t got;
        uint64_t block_off;

        for (int i = 0; i < 5; i++) {
                ck_assert_int_eq(ask_magazine(t, &rq, MAGAZINE_IDX_NONE, &got, &block_off), 0);
                ck_assert_uint_eq(got, MAGAZINE_IDX_NONE);
                live_add(&live, block_off);
        }
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ flags and nodes */

START_TEST(no_grow_takes_what_is_there_and_nothing_new)
{
        uint64_t off;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++) {
                ck_assert(!alloc_flags(t, class_idx, CALL_NO_GROW, &off));
                ck_assert_uint_eq(region_chunks_hwm(r), 0);
        }
        ck_assert(alloc(t, 0));
        ck_assert(alloc_flags(t, 0, CALL_NO_GROW, &off)); /* the rest of the slab */
        ck_assert(!alloc_flags(t, 1, CALL_NO_GROW, &off));
        free_all();
        ck_assert(alloc_flags(t, 1, CALL_NO_GROW, &off)); /* its pages */
        heap_verify(r, &live);
}
END_TEST

#if SHM_DEBUG
static uint32_t n_calls;

static int
count_calls(const char *call)
{
        (void)call;
        n_calls++;
        return 0;
}

START_TEST(no_grow_makes_no_system_call)
{
        uint64_t off;

        heap_drop(&fx);
        make(1, 1, true);
        exhaust(t, SIZE_CLASS_N_SMALL);
        free_all();
        os_inject = count_calls;
        n_calls = 0;
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                alloc_flags(t, class_idx, CALL_NO_GROW, &off);
        os_inject = NULL;
        ck_assert_uint_eq(n_calls, 0);
        ck_assert_uint_gt(live.n, 0);
        heap_verify(r, &live);
}
END_TEST

static int n_left; /* calls that succeed */

static int
no_memory_later(const char *call)
{
        (void)call;
        return n_left-- > 0 ? 0 : ENOSPC;
}

/* The file system is full, from the nth call on: NULL, and everything as it was. */
START_TEST(full_file_system_is_null_and_nothing_else)
{
        uint32_t class_idx = _i % 3 == 0 ? 0 : _i % 3 == 1 ? class_with_granules(2) : SIZE_CLASS_N - 1;
        uint64_t off;
        bool ok;

        heap_drop(&fx);
        make(1, 1, true);
        n_left = _i / 3;
        os_inject = no_memory_later;
        ok = alloc_flags(t, class_idx, 0, &off);
        os_inject = NULL;
        heap_verify(r, &live);
        ck_assert(ok || alloc(t, class_idx));
        free_all();
        ck_assert_uint_eq(exhaust(t, SIZE_CLASS_N - 1), most(SIZE_CLASS_N - 1, N_CHUNKS));
}
END_TEST
#endif

START_TEST(this_arena_and_this_node_mean_it)
{
        uint64_t off, n = 0;

        u->arena = 2;
        u->node = 1;
        for (uint32_t a = 1; a < 4; a++)
                ck_assert_int_eq(arena_init(r, a), 0);
        while (alloc_flags(t, SIZE_CLASS_N_SMALL, CALL_THIS_NODE, &off))
                n++;
        ck_assert_uint_eq(n, most(SIZE_CLASS_N_SMALL, N_CHUNKS));
        free_it(t, off);
        ck_assert(!alloc_flags(u, SIZE_CLASS_N_SMALL, CALL_THIS_NODE, &off)); /* it is node 0's */
        ck_assert(!alloc_flags(u, 0, CALL_THIS_ARENA, &off));
        t->arena = 1;
        ck_assert(!alloc_flags(t, SIZE_CLASS_N_SMALL, CALL_THIS_ARENA, &off)); /* it is arena 0's */
        ck_assert(alloc_flags(t, SIZE_CLASS_N_SMALL, CALL_THIS_NODE, &off));
        ck_assert_uint_eq(granule_arena(*run_word(r, off >> GEO_GRANULE_SHIFT)), 0);
        t->arena = 0;
        heap_verify(r, &live);
}
END_TEST

START_TEST(other_nodes_serve_single_blocks)
{
        struct call rq = request_of_class(1, 0);
        uint32_t idx, got;
        uint64_t off, before;

        u->arena = 2;
        u->node = 1;
        ck_assert_int_eq(arena_init(r, 2), 0);
        ck_assert_int_eq(chunk_give(u, 2), 0);
        ck_assert_int_eq(chunk_give(u, 2), 0);
        ck_assert(alloc_flags(u, 0, 0, &off));
        ck_assert(alloc_flags(u, 0, 0, &off)); /* both chunks are in use: none can be taken back */
        while (alloc_flags(u, SIZE_CLASS_N - 1, CALL_THIS_NODE, &off))
                continue;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 1), &idx), 0);
        magazine_place(t, magazine_current(t, tag_make(0, 1)), idx);
        before = t->slot->n_fallback;
        ck_assert_int_eq(ask_magazine(t, &rq, idx, &got, &off), 0);
        ck_assert_uint_eq(got, MAGAZINE_IDX_NONE);
        ck_assert_uint_eq(r->magazines[idx].n, 0);
        ck_assert_uint_eq(t->slot->n_fallback, before + 1);
        ck_assert_uint_eq(granule_arena(*run_word(r, (uint64_t)run_head_of(r, off >> GEO_GRANULE_SHIFT))), 2);
        live_add(&live, off);
        heap_verify(r, &live);
}
END_TEST

/* Chunks are nobody's: there is one place to look for them. */
START_TEST(huge_block_that_cannot_be_had_is_null_on_every_node)
{
        struct call rq = {.size = (N_CHUNKS + 1) * GEO_CHUNK_BYTES, .align = 1, .arena = 0};
        uint64_t off;

        ck_assert(ask_classify(&rq));
        ck_assert_int_eq(ask_block(t, &rq, &off), -ENOMEM);
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ what blocks are */

START_TEST(usable_bytes_are_those_of_the_class_and_of_nothing_else)
{
        uint32_t class_idx = (uint32_t)_i, got;
        uint64_t off, bytes = size_class_bytes(class_idx);

        ck_assert(alloc_flags(t, class_idx, 0, &off));
        ck_assert_uint_eq(block_usable(r, off, &got), bytes);
        ck_assert_uint_eq(got, class_idx);
        ck_assert_uint_eq(block_usable(r, off + 1, &got), 0);
        ck_assert_uint_eq(block_usable(r, off + 16, &got), class_idx == 0 ? 16 : 0);
        if (bytes > GEO_GRANULE_BYTES)
                ck_assert_uint_eq(block_usable(r, (off & ~(GEO_GRANULE_BYTES - 1)) + GEO_GRANULE_BYTES, &got), 0);
        memset(region_block(r, off), 1, bytes);
        free_it(u, off);
        heap_verify(r, NULL);
}
END_TEST

START_TEST(freeing_what_is_no_block_is_noted_and_changes_nothing)
{
        struct call rq = {.size = GEO_LARGE_MAX + 1, .align = 1};
        uint64_t off, huge;

        ck_assert(alloc_flags(t, 2, 0, &off));
        ck_assert(ask_classify(&rq));
        ck_assert_int_eq(ask_block(t, &rq, &huge), 0);
        live_add(&live, huge);
        for (uint64_t bad = 1; bad != 0; bad *= 2) {
                const uint64_t bads[] = {off + bad, huge + bad, bad, UINT64_MAX - bad, off ^ bad << 8};

                for (int i = 0; i < 5; i++) {
                        uint32_t class_idx;

                        if (block_usable(r, bads[i], &class_idx) != 0 && (bads[i] == off || bads[i] == huge))
                                continue;
                        ck_assert_int_eq(free_block(t, bads[i], 0), -EINVAL);
                        ck_assert_uint_ne(t->fault.what, FAULT_NONE);
                        t->fault.what = FAULT_NONE;
                        ck_assert_uint_eq(t->slot->candidate, 0);
                }
        }
        heap_verify(r, &live);
}
END_TEST

static TCase *
cases(Suite *suite, const char *name, void (*make_fixture)(void))
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, make_fixture, teardown);
        suite_add_tcase(suite, tcase);
        return tcase;
}

int
main(void)
{
        Suite *suite = suite_create("alloc");
        TCase *tcase = cases(suite, "one arena", setup);

        tcase_add_test(tcase, requests_are_classified);
        tcase_add_test(tcase, alignments_that_are_no_powers_of_two_are_refused);
        tcase_add_test(tcase, aligned_blocks_are_aligned);
        tcase_add_loop_test(tcase, all_of_the_heap_serves_every_class, 0, SOME_CLASSES);
        tcase_add_loop_test(tcase, memory_moves_from_class_to_class, 0, SOME_CLASSES);
        tcase_add_test(tcase, memory_moves_between_blocks_and_chunks);
        tcase_add_test(tcase, own_magazines_are_emptied_for_another_class);
        tcase_add_test(tcase, depots_are_emptied_for_another_class);
        tcase_add_test(tcase, the_dead_are_reaped_before_null);
        tcase_add_test(tcase, slabs_that_died_at_birth_are_found);
        tcase_add_test(tcase, held_slabs_are_done_without);
        tcase_add_test(tcase, magazine_is_filled_or_found);
        tcase_add_test(tcase, without_a_magazine_there_are_single_blocks);
        tcase_add_test(tcase, no_grow_takes_what_is_there_and_nothing_new);
#if SHM_DEBUG
        tcase_add_test(tcase, no_grow_makes_no_system_call);
        tcase_add_loop_test(tcase, full_file_system_is_null_and_nothing_else, 0, 3 * 14);
#endif
        tcase_add_loop_test(tcase, usable_bytes_are_those_of_the_class_and_of_nothing_else, 0, SIZE_CLASS_N);
        tcase_add_test(tcase, freeing_what_is_no_block_is_noted_and_changes_nothing);

        tcase = cases(suite, "two arenas", setup_two_arenas);
        tcase_add_test(tcase, magazine_of_another_arena_is_found_before_a_slab);
        tcase_add_test(tcase, other_arenas_of_the_node_serve);
        tcase_add_test(tcase, without_growth_memory_comes_from_where_all_that_it_needs_is);
        tcase_add_test(tcase, chunks_move_between_arenas);
        tcase_add_loop_test(tcase, all_free_capacity_can_be_had_after_any_history, 0,
                            GEO_GRANULE_BYTES > 4096 ? 2 : 20);

        tcase = cases(suite, "two nodes", setup_two_nodes);
        tcase_add_test(tcase, this_arena_and_this_node_mean_it);
        tcase_add_test(tcase, other_nodes_serve_single_blocks);
        tcase_add_test(tcase, huge_block_that_cannot_be_had_is_null_on_every_node);

        return suite_run(suite);
}
