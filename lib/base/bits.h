/*
 * Arithmetic on 64-bit words: masks, runs of set bits, powers of two.
 *
 * A set bit stands for a free granule (or slot, or block), so finding room means finding a run of ones. Every
 * function is total: there is no argument for which its result is undefined, since maps are often read from a
 * region, where another process may have left anything.
 */
#ifndef BASE_BITS_H
#define BASE_BITS_H

#include <stdbool.h>
#include <stdint.h>

#define BITS_PER_WORD 64u

/* Instead of the index of a bit, a granule or a chunk that was looked for: there is none. */
enum { POSITION_NONE = -1 };

/* Index of the lowest set bit; 64 if there is none. */
static inline uint32_t
bits_ctz(uint64_t map)
{
        return map ? (uint32_t)__builtin_ctzll(map) : BITS_PER_WORD;
}

/* The compiler's own is a call into a table on machines that are not promised the instruction. */
static inline uint32_t
bits_popcount(uint64_t map)
{
        map -= map >> 1 & UINT64_C(0x5555555555555555);
        map = (map & UINT64_C(0x3333333333333333)) + (map >> 2 & UINT64_C(0x3333333333333333));
        map = (map + (map >> 4)) & UINT64_C(0x0f0f0f0f0f0f0f0f);
        return (uint32_t)(map * UINT64_C(0x0101010101010101) >> 56);
}

static inline bool
bits_is_pow2(uint64_t x)
{
        return x != 0 && (x & (x - 1)) == 0;
}

/* The largest k with 2^k <= x; 0 for x = 0. */
static inline uint32_t
bits_log2_floor(uint64_t x)
{
        return 63 ^ (uint32_t)__builtin_clzll(x | 1);
}

/* The smallest k with 2^k >= x; 64 above 2^63. */
static inline uint32_t
bits_log2_ceil(uint64_t x)
{
        return x <= 1 ? 0 : bits_log2_floor(x - 1) + 1;
}

/* The next multiple of `align`, a power of two, at or below x. */
static inline uint64_t
bits_align_down(uint64_t x, uint64_t align)
{
        return x & ~(align - 1);
}

/* The next multiple of `align`, a power of two, at or above x. 0 if that is 2^64 (whoever takes x from
   outside bounds it first). */
static inline uint64_t
bits_align_up(uint64_t x, uint64_t align)
{
        return (x + (align - 1)) & ~(align - 1);
}

/* Ones at first .. first + len - 1, as far as the word reaches. */
static inline uint64_t
bits_mask(uint32_t first, uint32_t len)
{
        uint64_t ones = len < BITS_PER_WORD ? (UINT64_C(1) << len) - 1 : UINT64_MAX;

        return first < BITS_PER_WORD ? ones << first : 0;
}

/* Words of a bitmap of n bits. */
static inline uint32_t
bits_words(uint32_t n)
{
        return n / BITS_PER_WORD + (n % BITS_PER_WORD != 0);
}

/* Ones at those bits of word w of a long bitmap that stand for its first n bits. */
static inline uint64_t
bits_first(uint32_t w, uint32_t n)
{
        return n / BITS_PER_WORD < w ? 0 : bits_mask(0, n - w * BITS_PER_WORD);
}

/* Ones at all bits from which `len` set bits follow, themselves included; none for a length other than 1 to
   64. Each turn doubles the length that a bit vouches for, so there are six at most. */
static inline uint64_t
bits_run_starts(uint64_t map, uint32_t len)
{
        if (len == 0 || len > BITS_PER_WORD)
                return 0;
        for (uint32_t known = 1; known < len;) {
                uint32_t step = known < len - known ? known : len - known;

                map &= map >> step;
                known += step;
        }
        return map;
}

/* Ones at the multiples of `align`, a power of two; none for another one. From 64 on, only index 0 is a
   multiple. */
static inline uint64_t
bits_multiples(uint64_t align)
{
        if (!bits_is_pow2(align))
                return 0;
        return align < BITS_PER_WORD ? UINT64_MAX / ((UINT64_C(1) << align) - 1) : 1;
}

/* Index of the lowest run of `len` set bits, 1 to 64, among the multiples of `align_granules`, a power of two;
   POSITION_NONE for another length or alignment, too. */
static inline int
bits_find_run_aligned(uint64_t map, uint32_t len, uint64_t align_granules)
{
        uint64_t starts = bits_run_starts(map, len) & bits_multiples(align_granules);

        return starts ? (int)bits_ctz(starts) : POSITION_NONE;
}

/* Length of the longest run of set bits, 0 to 64. */
static inline uint32_t
bits_longest_run(uint64_t map)
{
        uint32_t len = 0;

        for (; map; map &= map >> 1)
                len++;
        return len;
}

/* How many of the lengths 1, 2, 4 .. 64 the longest run of set bits reaches, 0 to 7: quicker than its length. */
static inline uint32_t
bits_run_levels(uint64_t map)
{
        uint32_t levels = 0;

        for (uint32_t step = 1; map && levels < 7; map &= step < BITS_PER_WORD ? map >> step : 0, step *= 2)
                levels++;
        return levels;
}

#endif
