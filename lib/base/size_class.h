/*
 * Size classes: which class serves a request, and everything that follows from a class alone.
 *
 * A class is an index `idx` in 0 .. SIZE_CLASS_N - 1, ordered by size. Steps are 16 bytes up to 128, then
 * four classes per doubling, so that a block wastes less than a fifth of itself or less than 16 bytes.
 * Classes up to GEO_SMALL_MAX are small: blocks of a slab. Those above, up to GEO_LARGE_MAX, are large: each
 * block is a run of granules. Beyond that a block is huge and has no class: its size is its own. What threads
 * cache of those has huge classes, by the number of their chunks.
 *
 * All of it is constant data of the program: nothing is initialised at run time and nothing here lies in the
 * region. Where a function takes `idx`, the caller has made sure of idx < SIZE_CLASS_N_CACHED; an index read from a
 * region is tested with size_class_is_small() or size_class_is_large() first.
 */
#ifndef BASE_SIZE_CLASS_H
#define BASE_SIZE_CLASS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/bits.h"
#include "base/geometry.h"
#include "base/verify.h"

/* Blocks are multiples of 16 bytes, the alignment that malloc promises. */
#define SIZE_CLASS_QUANTUM_SHIFT 4
#define SIZE_CLASS_QUANTUM_BYTES (UINT64_C(1) << SIZE_CLASS_QUANTUM_SHIFT)

/* Sixteen-byte steps are four per doubling between 64 and 128 already; so four quanta is where doubling
   starts. */
#define SIZE_CLASS_LINEAR_SHIFT (SIZE_CLASS_QUANTUM_SHIFT + 2)

#define SIZE_CLASS_N_SMALL (4 * (GEO_SMALL_SHIFT - SIZE_CLASS_LINEAR_SHIFT + 1))
#define SIZE_CLASS_N_LARGE (4 * (GEO_LARGE_SHIFT - GEO_SMALL_SHIFT))
#define SIZE_CLASS_N       (SIZE_CLASS_N_SMALL + SIZE_CLASS_N_LARGE)
#define SIZE_CLASS_NONE    UINT32_MAX

/* Huge blocks of so many chunks at most have a class, behind the others: of 1 chunk, of 2, and so on. */
#define SIZE_CLASS_N_HUGE   8
#define SIZE_CLASS_N_CACHED (SIZE_CLASS_N + SIZE_CLASS_N_HUGE)
#define SIZE_CLASS_HUGE_MAX (SIZE_CLASS_N_HUGE * GEO_CHUNK_BYTES)

/* Blocks of any slab, and its length, at most. */
#define SIZE_CLASS_BLOCKS_MAX        (GEO_GRANULE_BYTES / SIZE_CLASS_QUANTUM_BYTES)
#define SIZE_CLASS_SLAB_GRANULES_MAX 4

/*
 * Capacities of magazines, at most. The normal ones: 32 KiB of blocks up to 1 KiB, but 64 to 128 of them; 128 KiB, and
 * at most 64, of larger small ones; 256 KiB of runs, one at least. The tiny ones make every slow path a few calls long;
 * the short ones, a quarter of the normal ones at 4 KiB, are for tests that go by each entry.
 */
#if defined(SHM_TINY_GEOMETRY) && SHM_TINY_GEOMETRY
#define SIZE_CLASS_MAGAZINE_CAP_MAX 4
#elif defined(SHM_SHORT_MAGAZINES) && SHM_SHORT_MAGAZINES
#define SIZE_CLASS_MAGAZINE_CAP_MAX 64
#else
#define SIZE_CLASS_MAGAZINE_CAP_MAX 128
#endif

/*
 * Places of a depot, by doubling, four classes each: for full magazines of up to 8 MiB of each class up to 2 KiB, at
 * most 1024 of them, 32 of each larger one, and 8 of each huge one, where only the dead leave any.
 */
#if (defined(SHM_TINY_GEOMETRY) && SHM_TINY_GEOMETRY) || (defined(SHM_SHORT_MAGAZINES) && SHM_SHORT_MAGAZINES)
#define SIZE_CLASS_DEPOT_OF(doubling) ((doubling) >= SIZE_CLASS_N / 4 ? UINT32_C(8) : UINT32_C(32))
#else
#define SIZE_CLASS_DEPOT_OF(doubling)                                                                                  \
        ((doubling) >= SIZE_CLASS_N / 4 ? UINT32_C(8)                                                                  \
         : (doubling) == 0              ? UINT32_C(1024)                                                               \
         : (doubling) == 1              ? UINT32_C(512)                                                                \
         : (doubling) <= 3              ? UINT32_C(256)                                                                \
         : (doubling) == 4              ? UINT32_C(128)                                                                \
         : (doubling) == 5              ? UINT32_C(64)                                                                 \
                                        : UINT32_C(32))
#endif
#define SIZE_CLASS_DEPOT_IF(k, n) ((k) < (n) ? 4 * SIZE_CLASS_DEPOT_OF(k) : 0)
#define SIZE_CLASS_DEPOT_4(k, n)                                                                                       \
        (SIZE_CLASS_DEPOT_IF(k, n) + SIZE_CLASS_DEPOT_IF(k + 1, n) + SIZE_CLASS_DEPOT_IF(k + 2, n) +                   \
         SIZE_CLASS_DEPOT_IF(k + 3, n))

/* Places of the first n doublings; of all. */
#define SIZE_CLASS_DEPOT_BELOW(n)                                                                                      \
        (SIZE_CLASS_DEPOT_4(0, n) + SIZE_CLASS_DEPOT_4(4, n) + SIZE_CLASS_DEPOT_4(8, n) + SIZE_CLASS_DEPOT_4(12, n) +  \
         SIZE_CLASS_DEPOT_4(16, n))
#define SIZE_CLASS_DEPOT_PLACES SIZE_CLASS_DEPOT_BELOW(SIZE_CLASS_N_CACHED / 4)

/* The sizes for which size_class_by_size[] answers. */
#define SIZE_CLASS_BY_SIZE_MAX 1024

_Static_assert(SIZE_CLASS_N <= 64, "a granule's word has six bits for the class");
_Static_assert(SIZE_CLASS_SLAB_GRANULES_MAX <= GEO_GRANULES_PER_CHUNK / 2, "a chunk holds two of the longest slabs");

struct size_class {
        uint64_t reciprocal;   /* small: 2^SIZE_CLASS_RECIPROCAL_SHIFT / bytes, rounded up; large: 0 */
        uint32_t bytes;        /* of a block; of a huge one at most */
        uint32_t n_blocks;     /* blocks of a slab; 1 for a run, or for chunks */
        uint32_t n_granules;   /* length of a slab, of a run, or of the chunks */
        uint32_t magazine_cap; /* blocks that a magazine holds */
        uint32_t depot_first;  /* its places in a depot begin there */
        uint32_t depot_places; /* full magazines of it that a depot keeps */
};

/* Hidden, so that position-independent code reads them without a detour through the GOT. */
extern const struct size_class size_class_table[SIZE_CLASS_N_CACHED] __attribute__((visibility("hidden")));

/* By requested size, the index of its class **plus one**; 0 means that no class fits and the caller goes its
   slow path, so the hit path needs no second comparison. Size 0 is served as size 1. */
extern const uint8_t size_class_by_size[SIZE_CLASS_BY_SIZE_MAX + 1] __attribute__((visibility("hidden")));

/*
 * Of small classes whose slab is one granule, in one word: what tells whether a block starts at an offset in that, as
 * size_class_is_block_start() does.  By class **plus one**, of which the lower bits do: none has the index 0.  All
 * others are zeroes, and of them nothing starts anywhere.
 */
#if SHM_TINY_GEOMETRY
#define SIZE_CLASS_IN_GRANULE_N 64u
#else
#define SIZE_CLASS_IN_GRANULE_N 128u
#endif

struct size_class_in_granule {
        uint32_t reciprocal; /* 2^32 / bytes, rounded up */
        uint16_t n_blocks;
        uint16_t bytes;
};

extern const struct size_class_in_granule size_class_in_granule[SIZE_CLASS_IN_GRANULE_N]
        __attribute__((visibility("hidden")));

/* The class of a block for a request: small, large, or SIZE_CLASS_NONE for huge.  False: never to be had (too large, or
 * no such
   alignment). */
bool size_class_for(uint64_t size, uint64_t align, uint32_t *ret_class_idx) __attribute__((visibility("hidden")));

/* The smallest class whose blocks hold `size` bytes; 0 counts as 1. Above GEO_LARGE_MAX the result is
   SIZE_CLASS_N or more, which is neither small nor large. */
static inline uint32_t
size_class_of(size_t size)
{
        uint64_t last = (uint64_t)size - (size != 0); /* offset of the last byte: a class is (a, b] */
        uint32_t log2 = bits_log2_floor(last | (UINT64_C(1) << SIZE_CLASS_LINEAR_SHIFT));

        /* The three leading bits of `last`, 4 to 7, tell the quarter of its doubling (0 to 7 below the first
           one). */
        return 4 * (log2 - SIZE_CLASS_LINEAR_SHIFT) + (uint32_t)(last >> (log2 - 2));
}

/*
 * The smallest small class of at least `size` bytes whose blocks are all multiples of `align`, a power of two, given
 * that slabs start at multiples of a granule. SIZE_CLASS_NONE if there is none: then a run serves.
 *
 * All blocks are multiples of `align` if and only if their size is one. The size wanted is therefore the request
 * rounded up, and the class of that is a multiple of `align` itself: classes of a doubling are multiples of a quarter
 * of its lower end, which is either a multiple of `align`, or smaller, and then the rounded size is a class exactly.
 */
static inline uint32_t
size_class_of_aligned(size_t size, size_t align)
{
        uint64_t rounded_bytes;

        if (size > GEO_SMALL_MAX || !bits_is_pow2(align))
                return SIZE_CLASS_NONE;
        rounded_bytes = bits_align_up(size + (size == 0), align);
        return rounded_bytes <= GEO_SMALL_MAX ? size_class_of(rounded_bytes) : SIZE_CLASS_NONE;
}

static inline bool
size_class_is_small(uint32_t idx)
{
        return idx < SIZE_CLASS_N_SMALL;
}

static inline bool
size_class_is_large(uint32_t idx)
{
        return idx >= SIZE_CLASS_N_SMALL && idx < SIZE_CLASS_N;
}

static inline bool
size_class_is_huge(uint32_t idx)
{
        return idx >= SIZE_CLASS_N && idx < SIZE_CLASS_N_CACHED;
}

/* Large or huge: each block stands for itself. */
static inline bool
size_class_is_whole(uint32_t idx)
{
        return idx >= SIZE_CLASS_N_SMALL && idx < SIZE_CLASS_N_CACHED;
}

/* The class of huge blocks of so many chunks, 1 to SIZE_CLASS_N_HUGE; SIZE_CLASS_NONE: they have none. */
static inline uint32_t
size_class_of_chunks(uint64_t n_chunks)
{
        return n_chunks - 1 < SIZE_CLASS_N_HUGE ? SIZE_CLASS_N + (uint32_t)n_chunks - 1 : SIZE_CLASS_NONE;
}

/* The class of huge blocks for a request above GEO_LARGE_MAX, likewise. */
static inline uint32_t
size_class_of_huge(uint64_t size)
{
        return size <= SIZE_CLASS_HUGE_MAX ? size_class_of_chunks((size + GEO_CHUNK_BYTES - 1) >> GEO_CHUNK_SHIFT)
                                           : SIZE_CLASS_NONE;
}

static inline uint64_t
size_class_bytes(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N_CACHED);
        return size_class_table[idx].bytes;
}

/* Small classes. */
static inline uint32_t
size_class_slab_granules(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N);
        return size_class_table[idx].n_granules;
}

/* Small classes; a run counts as one block. */
static inline uint32_t
size_class_slab_blocks(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N);
        return size_class_table[idx].n_blocks;
}

/* Large classes. */
static inline uint32_t
size_class_run_granules(uint32_t idx)
{
        ASSERT(size_class_is_large(idx));
        return size_class_table[idx].n_granules;
}

static inline uint32_t
size_class_magazine_cap(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N_CACHED);
        return size_class_table[idx].magazine_cap;
}

static inline uint32_t
size_class_depot_first(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N_CACHED);
        return size_class_table[idx].depot_first;
}

static inline uint32_t
size_class_depot_places(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N_CACHED);
        return size_class_table[idx].depot_places;
}

/*
 * Division by the bytes of a class, without a divide. With r = (2^S + e) / bytes and 0 <= e < bytes, the
 * product off * r / 2^S exceeds off / bytes by off * e / (bytes * 2^S). The quotient is exact while that is
 * below 1 / bytes, that is, while off * e < 2^S. The asserts say so for every offset of the longest slab, and
 * that the product fits 64 bits.
 */
#define SIZE_CLASS_RECIPROCAL_SHIFT 40
#define SIZE_CLASS_SLAB_BYTES_MAX   (SIZE_CLASS_SLAB_GRANULES_MAX * GEO_GRANULE_BYTES)

_Static_assert((SIZE_CLASS_SLAB_BYTES_MAX * GEO_SMALL_MAX) >> SIZE_CLASS_RECIPROCAL_SHIFT == 0,
               "the quotient is exact");
_Static_assert(SIZE_CLASS_SLAB_BYTES_MAX < UINT64_C(1) << (64 - SIZE_CLASS_RECIPROCAL_SHIFT),
               "the product fits 64 bits");

static inline uint64_t
size_class_reciprocal(uint32_t idx)
{
        ASSERT(idx < SIZE_CLASS_N);
        return size_class_table[idx].reciprocal;
}

/* The block that the byte at `off_in_slab`, below the slab's length, belongs to. The tail that is too short
   for a block gives the number of blocks; a run gives 0. */
static inline uint32_t
size_class_block_index(uint32_t idx, uint64_t off_in_slab)
{
        ASSERT(idx < SIZE_CLASS_N);
        return (uint32_t)((off_in_slab * size_class_reciprocal(idx)) >> SIZE_CLASS_RECIPROCAL_SHIFT);
}

/*
 * Whether `off_in_slab` is a multiple of the bytes of the class, for who has the reciprocal at hand and goes through
 * many: the product's fraction is idx * e for multiples, less than a slab is long; for others it is at least the
 * reciprocal.
 */
_Static_assert(SIZE_CLASS_SLAB_BYTES_MAX < (UINT64_C(1) << SIZE_CLASS_RECIPROCAL_SHIFT) / GEO_SMALL_MAX,
               "a fraction tells multiples from others");

static inline bool
size_class_is_multiple(uint64_t reciprocal, uint64_t off_in_slab)
{
        ASSERT(off_in_slab < SIZE_CLASS_SLAB_BYTES_MAX);
        return (off_in_slab * reciprocal & ((UINT64_C(1) << SIZE_CLASS_RECIPROCAL_SHIFT) - 1)) < reciprocal;
}

/*
 * The same in a slab of one granule: whether a block starts at `off`, below its length; *ret_block_idx is that.  Here
 * off * e < 2^32 has to hold, and the lower half of the product tells multiples.
 */
_Static_assert(GEO_GRANULE_BYTES *GEO_SMALL_MAX < UINT64_C(1) << 32, "quotient and fraction are exact");

static inline bool
size_class_starts_in_granule(const struct size_class_in_granule *c, uint64_t off, uint64_t *ret_block_idx)
{
        uint64_t product = off * c->reciprocal;

        ASSERT(off < GEO_GRANULE_BYTES);
        *ret_block_idx = product >> 32;
        return (uint32_t)product < c->reciprocal && *ret_block_idx < c->n_blocks;
}

/* Whether a block starts at `off_in_slab`: false inside blocks and at the start of the tail. */
static inline bool
size_class_is_block_start(uint32_t idx, uint64_t off_in_slab)
{
        uint32_t block_idx = size_class_block_index(idx, off_in_slab);

        ASSERT(idx < SIZE_CLASS_N);
        return block_idx * size_class_bytes(idx) == off_in_slab && block_idx < size_class_slab_blocks(idx);
}

#endif
