/*
 * What is at stake: a class too small overruns the neighbour's block; a class too large wastes memory unseen;
 * a wrong quotient makes a free hit another block, or take a pointer into the middle of a block for its
 * start. The tables are small enough to be compared with the rules for every size and every offset there is,
 * so nothing is sampled.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/size_class.h"
#include "layout/words.h"
#include "support/checks.h"
#include "support/suite.h"

#define SIZES_MAX (UINT64_C(4) << 20)

_Static_assert(SIZES_MAX > GEO_LARGE_MAX, "huge sizes are walked too");

/* Loops call this only on failure, since libcheck writes a record for each assertion that holds. */
#define FAIL_IF(cond, ...)                                                                                             \
        do {                                                                                                           \
                if (cond)                                                                                              \
                        ck_abort_msg(#cond ": " __VA_ARGS__);                                                          \
        } while (0)

#define FAIL_IF_CLASS(cond, idx, what, value)                                                                          \
        FAIL_IF(cond, "class %" PRIu32 ", %s %" PRIu64, (uint32_t)(idx), what, (uint64_t)(value))

/* The rule in its own words, independent of the macros and of the arithmetic under test. */
static uint64_t
next_class_bytes(uint64_t bytes)
{
        uint64_t doubling = 128;

        if (bytes < 128)
                return bytes + 16;
        while (doubling * 2 <= bytes)
                doubling *= 2;
        return bytes + doubling / 4;
}

static uint32_t
clamp(uint64_t x, uint32_t min, uint32_t max)
{
        return x < min ? min : x > max ? max : (uint32_t)x;
}

START_TEST(classes_are_sixteen_byte_steps_then_quarters_of_doublings)
{
        uint64_t bytes = 0;

        for (uint32_t idx = 0; idx < SIZE_CLASS_N; idx++) {
                bytes = next_class_bytes(bytes);
                FAIL_IF_CLASS(size_class_bytes(idx) != bytes, idx, "bytes", size_class_bytes(idx));
                FAIL_IF_CLASS(size_class_is_small(idx) != (bytes <= GEO_SMALL_MAX), idx, "bytes", bytes);
                FAIL_IF_CLASS(size_class_is_large(idx) != (bytes > GEO_SMALL_MAX), idx, "bytes", bytes);
        }
        ck_assert_uint_eq(bytes, GEO_LARGE_MAX);
}
END_TEST

START_TEST(the_numbers_of_classes_are_those_of_the_geometry)
{
        static const uint8_t constant_in_an_array_bound[SIZE_CLASS_N + SIZE_CLASS_BLOCKS_MAX];
        bool is_tiny = GEO_GRANULE_BYTES == 512;

        ck_assert_uint_eq(SIZE_CLASS_N_SMALL, is_tiny ? 12 : 40);
        ck_assert_uint_eq(SIZE_CLASS_N_LARGE, is_tiny ? 12 : 24);
        ck_assert_uint_eq(SIZE_CLASS_BLOCKS_MAX, is_tiny ? 32 : 4096);
        ck_assert_uint_eq(GEO_GRANULES_PER_CHUNK, is_tiny ? 8 : 64);
        ck_assert_uint_eq(GEO_SMALL_MAX, is_tiny ? 256 : 32768);
        ck_assert_uint_eq(GEO_LARGE_MAX, is_tiny ? 2048 : 2097152);
        ck_assert_uint_eq(sizeof(constant_in_an_array_bound), SIZE_CLASS_N + SIZE_CLASS_BLOCKS_MAX);
}
END_TEST

START_TEST(an_index_that_is_no_class_is_neither_small_nor_large)
{
        static const uint32_t strange[] = {SIZE_CLASS_N, SIZE_CLASS_N + 1, 255, UINT32_MAX / 2, SIZE_CLASS_NONE};

        for (size_t i = 0; i < sizeof(strange) / sizeof(strange[0]); i++) {
                ck_assert(!size_class_is_small(strange[i]));
                ck_assert(!size_class_is_large(strange[i]));
        }
}
END_TEST

START_TEST(every_size_gets_the_smallest_class_that_fits)
{
        for (uint64_t size = 1; size <= GEO_LARGE_MAX; size++) {
                uint32_t idx = size_class_of(size);

                FAIL_IF_CLASS(idx >= SIZE_CLASS_N, idx, "size", size);
                FAIL_IF_CLASS(size_class_bytes(idx) < size, idx, "size", size);
                FAIL_IF_CLASS(idx > 0 && size_class_bytes(idx - 1) >= size, idx, "size", size);
        }
        ck_assert_uint_eq(size_class_of(0), size_class_of(1));
}
END_TEST

START_TEST(no_block_wastes_a_fifth_of_itself_and_sixteen_bytes)
{
        for (uint64_t size = 1; size <= GEO_LARGE_MAX; size++) {
                uint64_t bytes = size_class_bytes(size_class_of(size));
                uint64_t waste_bytes = bytes - size;

                FAIL_IF_CLASS(waste_bytes >= 16 && waste_bytes * 5 >= bytes, size_class_of(size), "size", size);
        }
}
END_TEST

START_TEST(class_grows_with_size_up_to_the_largest_size_there_is)
{
        uint32_t idx = size_class_of(0);

        for (uint64_t size = 1; size <= SIZES_MAX; size++) {
                uint32_t next_idx = size_class_of(size);

                FAIL_IF_CLASS(next_idx < idx || next_idx > idx + 1, next_idx, "size", size);
                idx = next_idx;
        }
        for (unsigned shift = 22; shift < 64; shift++) {
                uint32_t next_idx = size_class_of((size_t)1 << shift);

                FAIL_IF_CLASS(next_idx < idx, next_idx, "shift", shift);
                idx = next_idx;
        }
        ck_assert_uint_ge(size_class_of(SIZE_MAX), idx);
}
END_TEST

START_TEST(sizes_above_the_largest_class_are_no_class)
{
        for (uint64_t size = GEO_LARGE_MAX + 1; size <= SIZES_MAX; size++)
                FAIL_IF_CLASS(size_class_of(size) < SIZE_CLASS_N, size_class_of(size), "size", size);
        ck_assert_uint_ge(size_class_of(SIZE_MAX), SIZE_CLASS_N);
        ck_assert_uint_ne(size_class_of(SIZE_MAX), SIZE_CLASS_NONE);
}
END_TEST

START_TEST(table_by_size_equals_the_function_plus_one)
{
        ck_assert_uint_eq(sizeof(size_class_by_size), 1025);
        for (uint64_t size = 0; size <= SIZE_CLASS_BY_SIZE_MAX; size++) {
                uint32_t expected = size <= GEO_LARGE_MAX ? size_class_of(size) + 1 : 0;

                FAIL_IF_CLASS(size_class_by_size[size] != expected, expected - 1, "size", size);
        }
}
END_TEST

/* By brute force: the first class that is large enough and of whose slab every block is aligned. */
static uint32_t
naive_class_of_aligned(uint64_t size, uint64_t align)
{
        for (uint32_t idx = 0; idx < SIZE_CLASS_N_SMALL; idx++) {
                uint64_t bytes = size_class_bytes(idx);
                bool is_aligned = bytes >= size;

                for (uint64_t block_idx = 0; is_aligned && block_idx < size_class_slab_blocks(idx); block_idx++)
                        is_aligned = (GEO_GRANULE_BYTES + block_idx * bytes) % align == 0;
                if (is_aligned)
                        return idx;
        }
        return SIZE_CLASS_NONE;
}

START_TEST(aligned_class_is_the_smallest_whose_blocks_are_all_aligned)
{
        for (uint64_t align = 1; align <= 2 * GEO_GRANULE_BYTES; align *= 2) {
                uint32_t expected = SIZE_CLASS_NONE;

                /* The answer can change only behind a class, so the slow search need not run for every size.
                   */
                for (uint64_t size = 0; size <= GEO_SMALL_MAX + 64; size++) {
                        uint64_t class_bytes = size ? size_class_bytes(size_class_of(size - 1)) : 0;

                        if (size == 0 || size - 1 == 0 || size - 1 == class_bytes)
                                expected = naive_class_of_aligned(size, align);
                        FAIL_IF(size_class_of_aligned(size, align) != expected,
                                "size %" PRIu64 ", align %" PRIu64 ": class %" PRIu32 ", not %" PRIu32, size, align,
                                size_class_of_aligned(size, align), expected);
                }
        }
}
END_TEST

START_TEST(aligned_class_refuses_what_no_small_class_can_serve)
{
        static const size_t not_pow2[] = {0, 3, 24, 48, 4095, SIZE_MAX};

        for (size_t i = 0; i < sizeof(not_pow2) / sizeof(not_pow2[0]); i++)
                ck_assert_uint_eq(size_class_of_aligned(1, not_pow2[i]), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(SIZE_MAX, 16), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(SIZE_MAX, GEO_SMALL_MAX), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(1, GEO_SMALL_MAX * 2), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(1, (SIZE_MAX >> 1) + 1), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(GEO_SMALL_MAX + 1, 1), SIZE_CLASS_NONE);
        ck_assert_uint_eq(size_class_of_aligned(GEO_SMALL_MAX, GEO_SMALL_MAX), SIZE_CLASS_N_SMALL - 1);
}
END_TEST

static bool
tail_is_below(uint64_t part, uint64_t bytes, uint64_t n_granules)
{
        uint64_t slab_bytes = n_granules * GEO_GRANULE_BYTES;

        return (slab_bytes - slab_bytes / bytes * bytes) * part < slab_bytes;
}

/* The shortest that wastes less than a 64th, or an eighth where none does. */
static uint32_t
expected_granules(uint64_t bytes)
{
        for (uint64_t part = GEO_GRANULE_BYTES == 512 ? 8 : 64; part >= 8; part /= 8)
                for (uint32_t n_granules = 1; n_granules <= SIZE_CLASS_SLAB_GRANULES_MAX; n_granules++)
                        if (tail_is_below(part, bytes, n_granules))
                                return n_granules;
        return 0;
}

START_TEST(slab_is_the_shortest_that_wastes_little)
{
        uint32_t n_blocks_max = 0;
        uint32_t n_granules_max = 0;

        for (uint32_t idx = 0; idx < SIZE_CLASS_N_SMALL; idx++) {
                uint64_t bytes = size_class_bytes(idx);
                uint32_t n_granules = size_class_slab_granules(idx);
                uint32_t n_blocks = size_class_slab_blocks(idx);

                FAIL_IF_CLASS(n_granules < 1 || n_granules > GEO_GRANULES_PER_CHUNK / 2, idx, "granules", n_granules);
                FAIL_IF_CLASS(n_granules != expected_granules(bytes), idx, "granules", n_granules);
                FAIL_IF_CLASS(n_blocks != n_granules * GEO_GRANULE_BYTES / bytes, idx, "blocks", n_blocks);
                n_blocks_max = n_blocks > n_blocks_max ? n_blocks : n_blocks_max;
                n_granules_max = n_granules > n_granules_max ? n_granules : n_granules_max;
        }
        ck_assert_uint_eq(n_blocks_max, SIZE_CLASS_BLOCKS_MAX);
        ck_assert_uint_eq(n_granules_max, SIZE_CLASS_SLAB_GRANULES_MAX);
}
END_TEST

START_TEST(run_is_as_long_as_its_block_needs)
{
        for (uint32_t idx = SIZE_CLASS_N_SMALL; idx < SIZE_CLASS_N; idx++) {
                uint64_t bytes = size_class_bytes(idx);
                uint64_t run_bytes = size_class_run_granules(idx) * GEO_GRANULE_BYTES;

                FAIL_IF_CLASS(run_bytes < bytes || run_bytes - bytes >= GEO_GRANULE_BYTES, idx, "bytes", run_bytes);
                FAIL_IF_CLASS(run_bytes > GEO_CHUNK_BYTES, idx, "bytes", run_bytes);
        }
}
END_TEST

START_TEST(magazine_cap_is_the_budget_over_the_size_within_its_bounds)
{
        bool is_tiny = GEO_GRANULE_BYTES == 512;

        for (uint32_t idx = 0; idx < SIZE_CLASS_N; idx++) {
                uint64_t bytes = size_class_bytes(idx);
                uint32_t cap = size_class_magazine_cap(idx);
                uint32_t expected;

                if (size_class_is_small(idx))
                        expected = is_tiny         ? clamp(512 / bytes, 2, 4)
                                   : bytes <= 1024 ? clamp(32768 / bytes, 64, 128)
                                                   : clamp(262144 / bytes, 2, 64);
                else
                        expected = is_tiny ? 1 : clamp(262144 / bytes, 1, 8);
                FAIL_IF_CLASS(cap != expected, idx, "cap", cap);
                FAIL_IF_CLASS(cap > SIZE_CLASS_MAGAZINE_CAP_MAX, idx, "cap", cap);
        }
}
END_TEST

START_TEST(block_index_is_exact_for_every_offset_of_every_slab)
{
        for (uint32_t idx = 0; idx < SIZE_CLASS_N_SMALL; idx++) {
                uint64_t bytes = size_class_bytes(idx);

                for (uint64_t off = 0; off <= SIZE_CLASS_SLAB_BYTES_MAX; off++)
                        FAIL_IF_CLASS(size_class_block_index(idx, off) != off / bytes, idx, "offset", off);
        }
}
END_TEST

START_TEST(block_starts_are_the_multiples_below_the_tail)
{
        for (uint32_t idx = 0; idx < SIZE_CLASS_N_SMALL; idx++) {
                uint64_t bytes = size_class_bytes(idx);
                uint64_t slab_bytes = size_class_slab_granules(idx) * GEO_GRANULE_BYTES;
                uint32_t n_starts = 0;

                for (uint64_t off = 0; off < slab_bytes; off++) {
                        bool expected = off % bytes == 0 && off + bytes <= slab_bytes;

                        FAIL_IF_CLASS(size_class_is_block_start(idx, off) != expected, idx, "offset", off);
                        expected = off % bytes == 0; /* the tail's start, too */
                        FAIL_IF_CLASS(size_class_is_multiple(size_class_reciprocal(idx), off) != expected, idx,
                                      "offset", off);
                        n_starts += size_class_is_block_start(idx, off);
                }
                ck_assert_uint_eq(n_starts, size_class_slab_blocks(idx));
        }
}
END_TEST

/* By tag, so that no tag, and the tags of other classes, are among them. */
START_TEST(records_of_slabs_of_one_granule_say_the_same)
{
        for (uint32_t tag = 0; tag <= TAG_CLASSES; tag++) {
                uint32_t idx = tag - 1;
                bool is_any = tag != 0 && size_class_is_small(idx) && size_class_slab_granules(idx) == 1;
                const struct size_class_in_granule *c = &size_class_in_granule[tag % TAG_CLASSES];
                uint64_t block_idx;

                ck_assert_uint_eq(c->bytes, is_any ? size_class_bytes(idx) : 0);
                for (uint64_t off = 0; off < GEO_GRANULE_BYTES; off++) {
                        bool expected = is_any && size_class_is_block_start(idx, off);

                        FAIL_IF_CLASS(size_class_starts_in_granule(c, off, &block_idx) != expected, idx, "offset", off);
                        FAIL_IF_CLASS(expected && block_idx != off / c->bytes, idx, "offset", off);
                }
        }
}
END_TEST

START_TEST(a_run_is_one_block_that_starts_at_its_start)
{
        for (uint32_t idx = SIZE_CLASS_N_SMALL; idx < SIZE_CLASS_N; idx++) {
                uint64_t run_bytes = size_class_run_granules(idx) * GEO_GRANULE_BYTES;

                ck_assert_uint_eq(size_class_slab_blocks(idx), 1);
                for (uint64_t off = 0; off < run_bytes; off++) {
                        FAIL_IF_CLASS(size_class_block_index(idx, off) != 0, idx, "offset", off);
                        FAIL_IF_CLASS(size_class_is_block_start(idx, off) != (off == 0), idx, "offset", off);
                }
        }
}
END_TEST

static Suite *
size_class_suite(void)
{
        Suite *suite = suite_create("size_class");
        TCase *classes = tcase_create("classes");
        TCase *slabs = tcase_create("slabs");

        tcase_set_timeout(classes, 60);
        tcase_add_test(classes, classes_are_sixteen_byte_steps_then_quarters_of_doublings);
        tcase_add_test(classes, the_numbers_of_classes_are_those_of_the_geometry);
        tcase_add_test(classes, an_index_that_is_no_class_is_neither_small_nor_large);
        tcase_add_test(classes, every_size_gets_the_smallest_class_that_fits);
        tcase_add_test(classes, no_block_wastes_a_fifth_of_itself_and_sixteen_bytes);
        tcase_add_test(classes, class_grows_with_size_up_to_the_largest_size_there_is);
        tcase_add_test(classes, sizes_above_the_largest_class_are_no_class);
        tcase_add_test(classes, table_by_size_equals_the_function_plus_one);
        tcase_add_test(classes, aligned_class_is_the_smallest_whose_blocks_are_all_aligned);
        tcase_add_test(classes, aligned_class_refuses_what_no_small_class_can_serve);
        suite_add_tcase(suite, classes);

        tcase_set_timeout(slabs, 60);
        tcase_add_test(slabs, slab_is_the_shortest_that_wastes_little);
        tcase_add_test(slabs, run_is_as_long_as_its_block_needs);
        tcase_add_test(slabs, magazine_cap_is_the_budget_over_the_size_within_its_bounds);
        tcase_add_test(slabs, block_index_is_exact_for_every_offset_of_every_slab);
        tcase_add_test(slabs, block_starts_are_the_multiples_below_the_tail);
        tcase_add_test(slabs, records_of_slabs_of_one_granule_say_the_same);
        tcase_add_test(slabs, a_run_is_one_block_that_starts_at_its_start);
        suite_add_tcase(suite, slabs);
        return suite;
}

int
main(void)
{
        return suite_run(size_class_suite());
}
