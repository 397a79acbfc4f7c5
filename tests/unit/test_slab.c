/*
 * What is at stake: a block handed out twice, or never again.  A slab's bitmap is changed by its owner only, under an
 * intent from which a reaper can tell what was done; frees that make no sense are noted and change nothing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/slab_heap.h"
#include "support/suite.h"
#include "support/where.h"

/* ------------------------------------------------------------------ creating */

START_TEST(new_slab_has_all_its_blocks_and_no_more)
{
        uint32_t class_idx = (uint32_t)_i;
        uint64_t head;

        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        ck_assert_uint_eq(granule_state(word_of(head)), GRANULE_SLAB);
        ck_assert_uint_eq(granule_owner(word_of(head)), t->no);
        ck_assert_uint_eq(granule_class(word_of(head)), class_idx);
        ck_assert_uint_eq(granule_count(word_of(head)), n_blocks_of(class_idx));
        ck_assert_uint_eq(slab_count_free(r, head, class_idx), n_blocks_of(class_idx));
        slab_settle(r, t->no, head); /* lets go of it */
        t->slot->candidate = 0;
        ck_assert_uint_eq(heap_verify(r, NULL).free_blocks[class_idx], n_blocks_of(class_idx));
}
END_TEST

START_TEST(slab_that_finds_no_run_is_no_slab)
{
        uint64_t head;

        while (run_claim(t, WHERE_RUN(0, CHUNK_ANY, 1, 1), &head) == 0)
                t->slot->candidate = 0;
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        t->call.no_grow = true;
        run_free_owned(t, 0, 1); /* without pages */
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head), -ENOMEM);
        ck_assert_uint_eq(t->slot->candidate, 0);
        ck_assert_uint_eq(granule_state(word_of(0)), GRANULE_FREE);
        ck_assert_uint_eq(r->tags[0], TAG_NONE);
}
END_TEST

/* ------------------------------------------------------------------ block addresses */

START_TEST(block_of_tells_every_byte_of_a_slab)
{
        uint32_t class_idx = (uint32_t)_i;
        uint64_t first = alloc_one(t, class_idx), bytes = size_class_bytes(class_idx), head;
        uint64_t length = (uint64_t)size_class_slab_granules(class_idx) * GEO_GRANULE_BYTES;
        uint32_t block_idx;

        head = head_of(first);
        ck_assert_uint_eq(head << GEO_GRANULE_SHIFT, first);
        for (uint64_t off = 0; off < length; off += off < 4 * bytes ? 1 : 8) {
                uint64_t got_head;
                bool is_start = off % bytes == 0 && off / bytes < n_blocks_of(class_idx);

                ck_assert_int_eq(slab_block_of(r, first + off, &got_head, &block_idx), is_start);
                if (!is_start)
                        continue;
                ck_assert_uint_eq(got_head, head);
                ck_assert_uint_eq(block_idx, off / bytes);
        }
        ck_assert(!slab_block_of(r, first + length, &head, &block_idx));
        ck_assert(!slab_block_of(r, region_chunks_hwm(r) << GEO_CHUNK_SHIFT, &head, &block_idx));
        ck_assert(!slab_block_of(r, UINT64_MAX, &head, &block_idx));
        ck_assert(!slab_block_of(r, UINT64_MAX << GEO_GRANULE_SHIFT, &head, &block_idx));
}
END_TEST

/* ------------------------------------------------------------------ fill */

/* Down to the last block, by magazines; then there is none, and each block was there once. */
START_TEST(slab_is_filled_from_until_it_is_empty)
{
        uint32_t class_idx = (uint32_t)_i, n_blocks = n_blocks_of(class_idx), left = n_blocks;
        uint64_t head = find_or_create(t, class_idx), expected = head << GEO_GRANULE_SHIFT;
        uint32_t idx = empty_magazine(t, class_idx), k;

        while (left > 0) {
                k = slab_fill(t, head, idx, cap_of(class_idx));
                ck_assert_uint_eq(k, left < cap_of(class_idx) ? left : cap_of(class_idx));
                ck_assert_uint_eq(magazine(idx)->n, k);
                left -= k;
                ck_assert_uint_eq(granule_owner(word_of(head)), 0);
                ck_assert_uint_eq(granule_count(word_of(head)), left);
                ck_assert_uint_eq(t->slot->candidate, 0);
                if (left % 5 == 0)
                        ck_assert_uint_eq(heap_verify(r, &live).cached_blocks[class_idx], k);
                while (k-- > 0) { /* the lowest is on top */
                        ck_assert_uint_eq(entry(idx, k), expected);
                        live_add(&live, expected);
                        expected += size_class_bytes(class_idx);
                }
                magazine(idx)->n = 0;
                if (left > 0)
                        ck_assert_uint_eq(find_or_create(t, class_idx), head);
        }
        ck_assert(!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head));
        heap_verify(r, &live);
}
END_TEST

START_TEST(fill_gives_no_more_than_is_wanted)
{
        uint32_t idx = empty_magazine(t, 0);

        ck_assert_uint_eq(slab_fill(t, find_or_create(t, 0), idx, 1), 1);
        ck_assert_uint_eq(magazine(idx)->n, 1);
        magazine(idx)->n = 0;
        damage_is_done(true); /* it holds more than magazines of its class do */
        ck_assert_uint_eq(slab_fill(t, find_or_create(t, 0), idx, UINT32_MAX), MAGAZINE_CAP_MAX);
}
END_TEST

/* A slab gets its pages with its fills: never fewer than its blocks need, never a quarter of a granule (or a page) more
 * than the next fill does. */
START_TEST(slab_gets_its_pages_as_it_is_filled)
{
        uint32_t class_idx = (uint32_t)_i, n = 0, k, idx;
        uint64_t step = GEO_GRANULE_BYTES / 4 > GEO_PAGE_BYTES ? GEO_GRANULE_BYTES / 4 : GEO_PAGE_BYTES;
        uint64_t bytes = size_class_bytes(class_idx), head = find_or_create(t, class_idx), backed;

        do {
                bool was_last = n + cap_of(class_idx) >= n_blocks_of(class_idx);

                ck_assert_int_eq(magazine_take_empty(t, tag_make(t->node, class_idx), &idx), 0);
                k = slab_fill(t, head, idx, cap_of(class_idx));
                ck_assert_uint_eq(k, was_last ? n_blocks_of(class_idx) - n : cap_of(class_idx));
                n += k;
                backed = backed_bytes_of(head, class_idx);
                ck_assert_uint_ge(backed, n * bytes);
                ck_assert(backed < n * bytes + step || backed == bits_align_up(cap_of(class_idx) * bytes, step));
                magazine_put(t, idx, 0, true);
        } while (slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head) && head == 0);
        ck_assert_uint_eq(n, n_blocks_of(class_idx));
        ck_assert_uint_ge(backed, n * bytes);
        heap_verify(r, NULL);
}
END_TEST

/* No pages for more: what has some is handed out, and the slab is whole again when there are. */
START_TEST(slab_without_more_pages_gives_the_blocks_that_have_some)
{
        uint32_t class_idx = class_with_most_fills(), idx = empty_magazine(t, class_idx), n = 0, k;
        uint64_t head = find_or_create(t, class_idx), found, sure = backed_bytes_of(head, class_idx);

        ck_assert_uint_lt(sure, slab_bytes_of(class_idx));
        t->call.no_grow = true;
        do {
                k = slab_fill(t, head, idx, cap_of(class_idx));
                n += k;
                magazine(idx)->n = 0; /* they stay allocated */
        } while (k > 0 && slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &found));
        ck_assert_uint_eq(n, sure / size_class_bytes(class_idx));
        ck_assert_uint_eq(backed_bytes_of(head, class_idx), sure);
        ck_assert_uint_eq(granule_count(word_of(head)), n_blocks_of(class_idx) - n);
        ck_assert_int_lt(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &found), 0);
        t->call.no_grow = false;
        ck_assert_uint_eq(find_or_create(t, class_idx), head);
        ck_assert_uint_gt(slab_fill(t, head, idx, 1), 0);
        ck_assert_uint_eq(entry(idx, 0), (head << GEO_GRANULE_SHIFT) + n * size_class_bytes(class_idx));
        ck_assert_uint_gt(backed_bytes_of(head, class_idx), sure);
}
END_TEST

/* A bitmap longer than a line gets its pages before there is a slab, and none without growth. */
START_TEST(slab_of_many_blocks_has_a_bitmap_first)
{
        uint64_t head, words = (n_blocks_of(0) + 63) / 64;
        bool is_long = words > SLAB_WORDS;

        ck_assert_uint_eq(r->rest_maps[0], 0);
        head = find_or_create(t, class_with_granules(2)); /* which has a chunk given to the arena */
        ck_assert_uint_eq(r->rest_maps[0], 0);
        ck_assert(region_has_bitmap(r, head + 2, 0) == !is_long);
        slab_fill(t, head, empty_magazine(t, class_with_granules(2)), 1);
        t->call.no_grow = true;
        ck_assert_int_lt(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head), 0);
        ck_assert_uint_eq(r->rest_maps[0], 0);
        t->call.no_grow = false;
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head), 0);
        ck_assert_uint_eq(r->rest_maps[0], is_long ? bits_mask((uint32_t)head / 8 * 8, 8) : 0);
        ck_assert_uint_eq(slab_count_free(r, head, 0), n_blocks_of(0));
        slab_fill(t, head, empty_magazine(t, 0), 1);
        if (is_long) { /* a word that says so without one is no slab */
                uint64_t block_off = (head << GEO_GRANULE_SHIFT) + size_class_bytes(0), at;
                uint32_t block_idx;

                ck_assert(slab_block_of(r, block_off, &at, &block_idx));
                r->rest_maps[0] = 0;
                ck_assert(!slab_block_of(r, block_off, &at, &block_idx));
                ck_assert(!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &at));
        }
}
END_TEST

/* Where no more pages can be had, the blocks on those that are there still can. */
START_TEST(slab_purged_in_part_gives_the_blocks_on_the_pages_it_has)
{
        uint64_t first = alloc_one(t, 0), head = head_of(first), n_on_page = GEO_PAGE_BYTES / size_class_bytes(0);
        uint32_t idx = empty_magazine(t, 0);
        uint64_t found, block_off, n;

        damage_is_done(true); /* the slab is nobody's just now */
        ck_assert_int_eq(run_reserve(t, head, slab_bytes_of(0)), 0);
        damage_is_done(false);
        ck_assert_uint_gt(slab_purge_chunk(t, head / GEO_GRANULES_PER_CHUNK, 0, -1, &(uint32_t){100}), 0);
        t->call.no_grow = true;
        ck_assert(slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &found) && found == head);
        ck_assert_uint_eq(slab_fill(t, head, idx, 3), 3);
        for (n = 1 + 3; slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &found) && found == head; n++) {
                ck_assert(slab_alloc_one(t, head, 0, &block_off));
                ck_assert_uint_eq(block_off >> GEO_PAGE_SHIFT, first >> GEO_PAGE_SHIFT);
                live_add(&live, block_off);
        }
        ck_assert_uint_eq(n, n_on_page);
        ck_assert_uint_eq(granule_count(word_of(head)), n_blocks_of(0) - n_on_page);
        t->call.no_grow = false;
        ck_assert_uint_eq(head_of(alloc_one(t, 0)), head);
        heap_verify(r, &live);
}
END_TEST

/* A count that is wrong costs one try, not the slab. */
START_TEST(damaged_count_is_put_right_by_the_bitmap)
{
        uint32_t n_blocks = n_blocks_of(0), idx = empty_magazine(t, 0);
        uint64_t head = find_or_create(t, 0);

        damage_is_done(true);
        *run_word(r, head) = granule_with_count(word_of(head), 1); /* fewer than there are */
        ck_assert_uint_eq(slab_fill(t, head, idx, 3), 3);
        ck_assert_uint_eq(granule_count(word_of(head)), n_blocks - 3);
        for (uint32_t w = 0; w < (n_blocks + 63) / 64; w++)
                *region_slab_word(r, head, w) = 0; /* more than there are: none */
        magazine(idx)->n = 0;
        ck_assert_uint_eq(slab_fill(t, find_or_create(t, 0), idx, 3), 0);
        ck_assert_uint_eq(granule_count(word_of(head)), 0);
        ck_assert_uint_eq(granule_owner(word_of(head)), 0);
        ck_assert(!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
}
END_TEST

/* ------------------------------------------------------------------ finding */

START_TEST(lowest_slab_with_room_wins)
{
        uint32_t n = n_blocks_of(0);

        for (uint32_t i = 0; i < 3 * n; i++)
                alloc_one(t, 0);
        ck_assert_uint_eq(head_of(live.off[0]), 0);
        ck_assert_uint_eq(head_of(live.off[n]), 1);
        free_one(t, live.off[2 * n]);
        free_one(t, live.off[n]);
        memset(u->slab_last, 0, sizeof u->slab_last);
        ck_assert_uint_eq(head_of(alloc_one(u, 0)), 1);
        ck_assert_uint_eq(head_of(alloc_one(u, 0)), 2);
}
END_TEST

START_TEST(slab_that_somebody_holds_is_passed_by)
{
        uint64_t held = find_or_create(t, 0), head;

        ck_assert(!slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 0), &head)); /* there is one, but not for u */
        ck_assert_uint_eq(u->slot->candidate, 0);
        ck_assert_int_eq(slab_create_owned(u, WHERE_SLAB(0, CHUNK_ANY, 0), &head), 0);
        ck_assert_uint_ne(head, held);
}
END_TEST

START_TEST(slab_is_found_again_after_it_was_held)
{
        uint64_t held, head, block_off;

        alloc_one(t, 0);
        held = find_or_create(t, 0);
        ck_assert(!slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
        ck_assert(slab_alloc_one(t, held, 0, &block_off));
        ck_assert(slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
        ck_assert_uint_eq(head, held);
}
END_TEST

START_TEST(hints_that_lie_are_mended)
{
        uint64_t block_off, head;

        alloc_one(t, 1);
        heap_scramble_hints(r, true);
        ck_assert(!slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
        ck_assert(slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 1), &head));
        ck_assert(slab_alloc_one(u, head, 0, &block_off));
        live_add(&live, block_off);
        heap_scramble_hints(r, false);
        memset(u->slab_last, 0, sizeof u->slab_last);
        ck_assert(!slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 1), &head));
        ck_assert(slab_find_owned(u, WHERE_SLAB(0, 0, 1), &head));
        ck_assert(!slab_find_owned(t, WHERE_SLAB(0, 1, 1), &head));
        ck_assert(slab_alloc_one(u, head, 0, &block_off));
        live_add(&live, block_off);
        ck_assert(slab_find_owned(u, WHERE_SLAB(0, CHUNK_ANY, 1), &head)); /* its release has hinted at it again */
        ck_assert(slab_alloc_one(u, head, 0, &block_off));
        live_add(&live, block_off);
        heap_verify(r, &live);
}
END_TEST

START_TEST(slab_of_another_arena_is_not_taken)
{
        uint64_t head;

        (void)heap_attach(&fx, 1);
        alloc_one(t, 0);
        heap_scramble_hints(r, true);
        ck_assert(!slab_find_owned(u, WHERE_SLAB(1, CHUNK_ANY, 0), &head));
        ck_assert(!slab_find_owned(u, WHERE_SLAB(1, 0, 0), &head));
        u->slab_last[0] = (uint32_t)head_of(live.off[0]) + 1;
        ck_assert(!slab_find_owned(u, WHERE_SLAB(1, CHUNK_ANY, 0), &head));
}
END_TEST

/* What a thread remembers may have become anything, or lie beyond a mark. */
START_TEST(slab_used_last_is_only_a_hint)
{
        uint64_t head;

        for (uint32_t last = 0; last < 2 * GEO_GRANULES_PER_CHUNK + 3; last++) {
                t->slab_last[0] = last;
                ck_assert(!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
        }
        t->slab_last[0] = UINT32_MAX;
        ck_assert(!slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 0), &head));
}
END_TEST

/* ------------------------------------------------------------------ single blocks */

START_TEST(last_block_that_comes_back_gives_up_the_slab)
{
        uint32_t class_idx = (uint32_t)_i;
        uint32_t n = n_blocks_of(class_idx);

        for (uint32_t i = 0; i < n; i++)
                alloc_one(t, class_idx);
        ck_assert_uint_eq(heap_verify(r, &live).n_slabs, 1);
        for (uint32_t i = 0; i < n; i++) {
                if (i % 10 == 0 || i == n - 1)
                        ck_assert_uint_eq(heap_verify(r, &live).n_slabs, 1);
                free_one(i % 2 ? t : u, live.off[live.n * 7 / 11]);
        }
        ck_assert_uint_eq(heap_verify(r, &live).n_slabs, 0);
}
END_TEST

START_TEST(second_free_is_noted_and_changes_nothing)
{
        uint64_t a = alloc_one(t, 2), b = alloc_one(t, 2), word;

        free_one(u, a);
        word = word_of(head_of(b));
        ck_assert_int_eq(slab_free_one(t, a, 0), -EINVAL);
        expect_fault(t, FAULT_DOUBLE_FREE, a);
        ck_assert_uint_eq(word_of(head_of(b)), word);
        heap_verify(r, &live);
}
END_TEST

START_TEST(pointers_that_are_no_block_are_noted_and_change_nothing)
{
        uint64_t a = alloc_one(t, 4);
        const uint64_t bad[] = {a + 1,
                                a + 16,
                                GEO_GRANULE_BYTES * 5,
                                GEO_CHUNK_BYTES,
                                r->layout.n_chunks << GEO_CHUNK_SHIFT,
                                UINT64_MAX,
                                UINT64_MAX - 15};

        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                ck_assert_int_eq(slab_free_one(t, bad[i], 0), -EINVAL);
                expect_fault(t, FAULT_INVALID_FREE, bad[i]);
                heap_verify(r, &live);
        }
}
END_TEST

START_TEST(first_fault_is_kept)
{
        uint64_t a = alloc_one(t, 4), b = alloc_one(t, 4);

        free_one(t, a);
        ck_assert_int_eq(slab_free_one(t, a, 0), -EINVAL);
        ck_assert_int_eq(slab_free_one(t, b + 1, 0), -EINVAL);
        expect_fault(t, FAULT_DOUBLE_FREE, a);
}
END_TEST

START_TEST(free_into_a_held_slab_is_refused)
{
        uint64_t a = alloc_one(t, 0), held = find_or_create(t, 0), block_off;

        ck_assert_int_eq(slab_free_one(u, a, 0), -EBUSY);
        ck_assert_uint_eq(u->slot->candidate, 0);
        ck_assert_uint_eq(u->fault.what, FAULT_NONE);
        ck_assert(slab_alloc_one(t, held, 0, &block_off));
        live_add(&live, block_off);
        free_one(u, a);
        heap_verify(r, &live);
}
END_TEST

START_TEST(block_and_destination_change_together)
{
        uint64_t cell = alloc_one(t, 0), block_off;
        uint64_t *dest = region_block(r, cell);
        uint64_t dest_off = r->layout.chunks_off + cell;

        *dest = 1;
        ck_assert(slab_alloc_one(t, find_or_create(t, 1), dest_off, &block_off));
        ck_assert_uint_eq(*dest, r->layout.chunks_off + block_off);
        live_add(&live, block_off);
        heap_verify(r, &live);
        ck_assert_int_eq(slab_free_one(t, block_off, dest_off), 0);
        live_drop(&live, block_off);
        ck_assert_uint_eq(*dest, 0);
        *dest = 5;
        ck_assert_int_eq(slab_free_one(t, block_off + 16, dest_off), -EINVAL);
        ck_assert_uint_eq(*dest, 5); /* a fault leaves it */
        heap_verify(r, &live);
}
END_TEST

/* ------------------------------------------------------------------ drain */

START_TEST(drained_magazine_empties_and_gives_up_the_slab)
{
        uint32_t class_idx = (uint32_t)_i, cap = cap_of(class_idx);
        uint32_t k = cap < n_blocks_of(class_idx) ? cap : n_blocks_of(class_idx);
        uint32_t idx = filled_magazine(t, class_idx, k);

        ck_assert_int_eq(slab_drain(t, idx), 0); /* they stand together in one slab */
        ck_assert_uint_eq(magazine(idx)->n, 0);
        ck_assert_uint_eq(heap_verify(r, NULL).n_slabs, 0);
}
END_TEST

START_TEST(drain_takes_only_what_stands_together)
{
        uint32_t idx = empty_magazine(t, 0), n = n_blocks_of(0);

        for (uint32_t i = 0; i < n + 4; i++)
                alloc_one(t, 0);
        put_entry(idx, live.off[n]); /* the second slab */
        put_entry(idx, live.off[0]);
        put_entry(idx, live.off[5]);
        live_drop(&live, entry(idx, 0));
        live_drop(&live, entry(idx, 1));
        live_drop(&live, entry(idx, 2));
        ck_assert_int_eq(slab_drain(t, idx), 0);
        ck_assert_uint_eq(magazine(idx)->n, 1);
        heap_verify(r, &live);
        ck_assert_int_eq(slab_drain(t, idx), 0);
        ck_assert_uint_eq(magazine(idx)->n, 0);
        ck_assert_int_eq(slab_drain(t, idx), 0); /* nothing to do */
        heap_verify(r, &live);
}
END_TEST

START_TEST(drain_into_a_held_slab_is_refused)
{
        uint64_t held, block_off;
        uint32_t idx = filled_magazine(t, 0, 3);

        held = find_or_create(u, 0);
        ck_assert_int_eq(slab_drain(t, idx), -EBUSY);
        ck_assert_uint_eq(magazine(idx)->n, 3);
        ck_assert(slab_alloc_one(u, held, 0, &block_off));
        live_add(&live, block_off);
        ck_assert_int_eq(slab_drain(t, idx), 0);
        heap_verify(r, &live);
}
END_TEST

/* Free already, twice in the magazine, of another class, within a block, nowhere: each is dropped and noted. */
START_TEST(entries_that_are_no_blocks_are_dropped_and_noted)
{
        uint64_t a = alloc_one(t, 3), b = alloc_one(t, 3), c = alloc_one(t, 5), d = alloc_one(t, 3);
        const uint64_t bad[] = {b, a + 16, c, GEO_CHUNK_BYTES + 64, UINT64_MAX / 2, UINT64_MAX - 7};
        uint32_t idx = empty_magazine(t, 3);

        free_one(t, b);
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                put_entry(idx, bad[i]);
                ck_assert_int_eq(slab_drain(t, idx), -EINVAL);
                expect_fault(t, i == 0 ? FAULT_DOUBLE_FREE : FAULT_INVALID_FREE, bad[i]);
                ck_assert_uint_eq(magazine(idx)->n, 0);
                heap_verify(r, &live);
        }
        put_entry(idx, a);
        put_entry(idx, d);
        put_entry(idx, a);
        ck_assert_int_eq(slab_drain(t, idx), -EINVAL);
        expect_fault(t, FAULT_DOUBLE_FREE, a);
        live_drop(&live, a);
        live_drop(&live, d);
        ck_assert_uint_eq(magazine(idx)->n, 0);
        heap_verify(r, &live);
}
END_TEST

/* A bad entry below good ones stops the stretch; the good ones above it go home. */
START_TEST(bad_entry_does_not_keep_the_good_ones)
{
        uint64_t a = alloc_one(t, 3), b = alloc_one(t, 3);
        uint32_t idx = empty_magazine(t, 3);

        alloc_one(t, 3);
        put_entry(idx, a + 8);
        put_entry(idx, a);
        put_entry(idx, b);
        ck_assert_int_eq(slab_drain(t, idx), 0);
        live_drop(&live, a);
        live_drop(&live, b);
        ck_assert_uint_eq(magazine(idx)->n, 1);
        ck_assert_int_eq(slab_drain(t, idx), -EINVAL);
        expect_fault(t, FAULT_INVALID_FREE, a + 8);
        heap_verify(r, &live);
}
END_TEST

START_TEST(magazine_whose_count_is_damaged_is_left_alone)
{
        uint32_t idx = filled_magazine(t, 0, 2);

        damage_is_done(true);
        for (uint64_t n = MAGAZINE_CAP_MAX + 1; n != 0; n *= 2) {
                magazine(idx)->n = n;
                (void)slab_drain(t, idx);
                ck_assert_uint_eq(magazine(idx)->n, n);
        }
        magazine(idx)->n = 2;
        heap_verify(r, NULL);
}
END_TEST

/* ------------------------------------------------------------------ tidying */

START_TEST(slab_that_a_reaper_left_empty_is_given_up)
{
        uint32_t class_idx = class_with_granules(2);
        uint64_t head = find_or_create(t, class_idx);

        alloc_one(u, 0);
        heap_bury(&fx, t); /* before it could fill from its new slab */
        ck_assert_uint_eq(heap_verify(r, &live).free_blocks[class_idx], n_blocks_of(class_idx));
        ck_assert_uint_eq(slab_tidy_chunk(u, 0), 1);
        ck_assert_uint_eq(heap_verify(r, &live).n_slabs, 1);
        ck_assert_uint_eq(granule_state(word_of(head)), GRANULE_FREE);
        ck_assert_uint_eq(slab_tidy_chunk(u, 0), 0);
        ck_assert_uint_eq(slab_tidy_chunk(u, 1), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("slab");
        TCase *tcase = tcase_create("slab");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, new_slab_has_all_its_blocks_and_no_more, 0, SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, slab_that_finds_no_run_is_no_slab);
        tcase_add_loop_test(tcase, block_of_tells_every_byte_of_a_slab, 0, SIZE_CLASS_N_SMALL);
        tcase_add_loop_test(tcase, slab_is_filled_from_until_it_is_empty, 0, SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, fill_gives_no_more_than_is_wanted);
        tcase_add_loop_test(tcase, slab_gets_its_pages_as_it_is_filled, 0, SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, slab_without_more_pages_gives_the_blocks_that_have_some);
        tcase_add_test(tcase, slab_of_many_blocks_has_a_bitmap_first);
        tcase_add_test(tcase, slab_purged_in_part_gives_the_blocks_on_the_pages_it_has);
        tcase_add_test(tcase, damaged_count_is_put_right_by_the_bitmap);
        tcase_add_test(tcase, lowest_slab_with_room_wins);
        tcase_add_test(tcase, slab_that_somebody_holds_is_passed_by);
        tcase_add_test(tcase, slab_is_found_again_after_it_was_held);
        tcase_add_test(tcase, hints_that_lie_are_mended);
        tcase_add_test(tcase, slab_of_another_arena_is_not_taken);
        tcase_add_test(tcase, slab_used_last_is_only_a_hint);
        tcase_add_loop_test(tcase, last_block_that_comes_back_gives_up_the_slab, SIZE_CLASS_N_SMALL / 2,
                            SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, second_free_is_noted_and_changes_nothing);
        tcase_add_test(tcase, pointers_that_are_no_block_are_noted_and_change_nothing);
        tcase_add_test(tcase, first_fault_is_kept);
        tcase_add_test(tcase, free_into_a_held_slab_is_refused);
        tcase_add_test(tcase, block_and_destination_change_together);
        tcase_add_loop_test(tcase, drained_magazine_empties_and_gives_up_the_slab, 0, SIZE_CLASS_N_SMALL);
        tcase_add_test(tcase, drain_takes_only_what_stands_together);
        tcase_add_test(tcase, drain_into_a_held_slab_is_refused);
        tcase_add_test(tcase, entries_that_are_no_blocks_are_dropped_and_noted);
        tcase_add_test(tcase, bad_entry_does_not_keep_the_good_ones);
        tcase_add_test(tcase, magazine_whose_count_is_damaged_is_left_alone);
        tcase_add_test(tcase, slab_that_a_reaper_left_empty_is_given_up);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
