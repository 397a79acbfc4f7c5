/*
 * What is at stake: a run found where a bit is clear hands one granule to two blocks; a run overlooked is
 * memory that nobody can allocate. Words come from a region that others write, so the edges count as much as
 * the middle: each function is compared with a loop that looks at one bit at a time, on random words and on
 * every edge.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "base/bits.h"
#include "support/checks.h"
#include "support/suite.h"

#define N_RANDOM_WORDS 20000

/* Loops call this only on failure, since libcheck writes a record for each assertion that holds. */
#define FAIL_IF(cond, ...)                                                                                             \
        do {                                                                                                           \
                if (cond)                                                                                              \
                        ck_abort_msg(#cond ": " __VA_ARGS__);                                                          \
        } while (0)

/* xorshift64 from a fixed seed: every run of the test sees the same words. */
static uint64_t
random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* Words of all densities, since runs are short in dense noise: n words or-ed or and-ed, then a run of ones
   put in. */
static uint64_t
random_map(uint64_t *state)
{
        uint64_t shape = random_next(state);
        uint64_t map = random_next(state);

        for (uint64_t n = shape & 3; n > 0; n--)
                map = shape & 4 ? map | random_next(state) : map & random_next(state);
        if (shape & 8)
                map |= (UINT64_MAX >> (shape >> 8 & 63)) << (shape >> 16 & 63);
        if (shape & 16)
                map = ~map;
        return map;
}

static bool
bit_is_set(uint64_t map, uint32_t idx)
{
        return idx < 64 && (map >> idx & 1);
}

static uint32_t
naive_run_at(uint64_t map, uint32_t idx)
{
        uint32_t len = 0;

        while (bit_is_set(map, idx + len))
                len++;
        return len;
}

static int
naive_find_run(uint64_t map, uint32_t len, uint64_t align)
{
        for (uint32_t idx = 0; len > 0 && idx < 64; idx++) {
                if (idx % align == 0 && naive_run_at(map, idx) >= len)
                        return (int)idx;
        }
        return -1;
}

static uint32_t
naive_longest_run(uint64_t map)
{
        uint32_t longest = 0;

        for (uint32_t idx = 0; idx < 64; idx++)
                longest = naive_run_at(map, idx) > longest ? naive_run_at(map, idx) : longest;
        return longest;
}

static void
compare_counts(uint64_t map)
{
        uint32_t lowest = 0;
        uint32_t n_set = 0;

        while (lowest < 64 && !bit_is_set(map, lowest))
                lowest++;
        for (uint32_t idx = 0; idx < 64; idx++)
                n_set += bit_is_set(map, idx);
        FAIL_IF(bits_ctz(map) != lowest, "map %#" PRIx64, map);
        FAIL_IF(bits_popcount(map) != n_set, "map %#" PRIx64, map);
        FAIL_IF(bits_is_pow2(map) != (n_set == 1), "map %#" PRIx64, map);
}

static void
compare_runs(uint64_t map)
{
        for (uint32_t len = 0; len <= 66; len++) {
                for (uint64_t align = 1; align <= 256; align *= 2)
                        FAIL_IF(bits_find_run_aligned(map, len, align) != naive_find_run(map, len, align),
                                "map %#" PRIx64 ", len %" PRIu32 ", align %" PRIu64, map, len, align);
        }
        FAIL_IF(bits_longest_run(map) != naive_longest_run(map), "map %#" PRIx64, map);
        FAIL_IF(bits_run_levels(map) != (map == 0 ? 0 : bits_log2_floor(naive_longest_run(map)) + 1), "map %#" PRIx64,
                map);
}

START_TEST(counts_and_runs_of_random_words_are_those_of_a_bit_by_bit_search)
{
        uint64_t state = UINT64_C(0x9e3779b97f4a7c15);

        for (uint32_t i = 0; i < N_RANDOM_WORDS; i++) {
                uint64_t map = random_map(&state);

                compare_counts(map);
                compare_runs(map);
        }
}
END_TEST

START_TEST(counts_and_runs_of_words_with_one_run_or_one_hole_are_exact)
{
        for (uint32_t first = 0; first < 64; first++) {
                for (uint32_t len = 0; first + len <= 64; len++) {
                        compare_counts(bits_mask(first, len));
                        compare_counts(~bits_mask(first, len));
                        compare_runs(bits_mask(first, len));
                        compare_runs(~bits_mask(first, len));
                }
        }
}
END_TEST

START_TEST(lengths_and_alignments_without_meaning_find_nothing)
{
        static const uint32_t lengths[] = {0, 65, 128, UINT32_MAX};
        static const uint64_t alignments[] = {0, 3, 6, 63, 65, UINT64_MAX};

        for (size_t i = 0; i < sizeof(lengths) / sizeof(lengths[0]); i++) {
                ck_assert_int_eq(bits_find_run_aligned(UINT64_MAX, lengths[i], 1), POSITION_NONE);
        }
        for (size_t i = 0; i < sizeof(alignments) / sizeof(alignments[0]); i++)
                ck_assert_int_eq(bits_find_run_aligned(UINT64_MAX, 1, alignments[i]), POSITION_NONE);
        ck_assert_int_eq(bits_find_run_aligned(UINT64_MAX, 64, UINT64_C(1) << 63), 0);
}
END_TEST

START_TEST(mask_has_exactly_the_bits_of_its_range_that_a_word_has)
{
        static const uint32_t far_away[] = {64, 65, 127, 128, UINT32_MAX};

        for (uint32_t first = 0; first < 64; first++) {
                for (uint32_t len = 0; len <= 66; len++) {
                        for (uint32_t idx = 0; idx < 64; idx++)
                                FAIL_IF(bit_is_set(bits_mask(first, len), idx) != (idx >= first && idx - first < len),
                                        "first %" PRIu32 ", len %" PRIu32 ", bit %" PRIu32, first, len, idx);
                }
                ck_assert_uint_eq(bits_mask(first, UINT32_MAX), UINT64_MAX << first);
        }
        for (size_t i = 0; i < sizeof(far_away) / sizeof(far_away[0]); i++) {
                ck_assert_uint_eq(bits_mask(far_away[i], 1), 0);
                ck_assert_uint_eq(bits_mask(far_away[i], UINT32_MAX), 0);
        }
}
END_TEST

START_TEST(words_of_a_long_bitmap_hold_its_first_bits_and_no_more)
{
        for (uint32_t n = 0; n <= 200; n++) {
                ck_assert_uint_eq(bits_words(n), n <= 0 ? 0 : n <= 64 ? 1 : n <= 128 ? 2 : n <= 192 ? 3 : 4);
                for (uint32_t i = 0; i < 320; i++)
                        FAIL_IF(bit_is_set(bits_first(i / 64, n), i & 63) != (i < n), "n %" PRIu32 ", bit %" PRIu32, n,
                                i);
        }
        ck_assert_uint_eq(bits_words(UINT32_MAX), UINT32_C(1) << 26);
        ck_assert_uint_eq(bits_first(UINT32_MAX, UINT32_MAX), 0);
        ck_assert_uint_eq(bits_first(UINT32_MAX / 64, UINT32_MAX), UINT64_MAX >> 1);
}
END_TEST

static void
compare_log2(uint64_t x)
{
        uint32_t floor = 0;
        uint32_t ceil = 0;

        while (floor < 63 && UINT64_C(1) << (floor + 1) <= x)
                floor++;
        while (ceil < 64 && UINT64_C(1) << ceil < x)
                ceil++;
        FAIL_IF(bits_log2_floor(x) != floor, "x %#" PRIx64, x);
        FAIL_IF(bits_log2_ceil(x) != ceil, "x %#" PRIx64, x);
}

START_TEST(logarithms_round_as_their_names_say)
{
        uint64_t state = 1;

        for (uint64_t x = 0; x < 4096; x++)
                compare_log2(x);
        for (uint32_t shift = 0; shift < 64; shift++) {
                compare_log2(UINT64_C(1) << shift);
                compare_log2((UINT64_C(1) << shift) - 1);
                compare_log2((UINT64_C(1) << shift) + 1);
                for (uint32_t i = 0; i < 100; i++)
                        compare_log2(random_next(&state) >> shift);
        }
        compare_log2(UINT64_MAX);
        ck_assert_uint_eq(bits_log2_floor(0), 0);
        ck_assert_uint_eq(bits_log2_ceil(0), 0);
        ck_assert_uint_eq(bits_log2_ceil(UINT64_MAX), 64);
}
END_TEST

static void
compare_align(uint64_t x, uint64_t align)
{
        uint64_t down = x - x % align;
        uint64_t up = x % align == 0 ? x : down + align;

        FAIL_IF(bits_align_down(x, align) != down, "x %#" PRIx64 ", align %#" PRIx64, x, align);
        FAIL_IF(bits_align_up(x, align) != up, "x %#" PRIx64 ", align %#" PRIx64, x, align);
}

START_TEST(aligning_goes_to_the_nearest_multiple_on_its_side)
{
        uint64_t state = 1;

        for (uint32_t shift = 0; shift < 64; shift++) {
                uint64_t align = UINT64_C(1) << shift;

                for (uint64_t x = 0; x < 70; x++)
                        compare_align(x, align);
                for (uint32_t i = 0; i < 1000; i++)
                        compare_align(random_next(&state) >> (i & 63), align);
                compare_align(align - 1, align);
                compare_align(align, align);
                compare_align(align + 1, align);
                compare_align(UINT64_MAX - align + 1, align);
                compare_align(UINT64_MAX, align);
        }
        ck_assert_uint_eq(bits_align_up(UINT64_MAX, 16), 0);
}
END_TEST

static Suite *
bits_suite(void)
{
        Suite *suite = suite_create("bits");
        TCase *words = tcase_create("words");

        tcase_set_timeout(words, 120);
        tcase_add_test(words, counts_and_runs_of_random_words_are_those_of_a_bit_by_bit_search);
        tcase_add_test(words, counts_and_runs_of_words_with_one_run_or_one_hole_are_exact);
        tcase_add_test(words, lengths_and_alignments_without_meaning_find_nothing);
        tcase_add_test(words, words_of_a_long_bitmap_hold_its_first_bits_and_no_more);
        tcase_add_test(words, mask_has_exactly_the_bits_of_its_range_that_a_word_has);
        tcase_add_test(words, logarithms_round_as_their_names_say);
        tcase_add_test(words, aligning_goes_to_the_nearest_multiple_on_its_side);
        suite_add_tcase(suite, words);
        return suite;
}

int
main(void)
{
        return suite_run(bits_suite());
}
