/*
 * The tables of the size classes.
 *
 * The rules are written once, as macros over a class index, and the compiler expands them into constant
 * tables: there is no generator to run and no table to initialise, hence nothing that a fork, a second thread
 * or a read before main() could find half done. What the rules promise is asserted for every class, so a
 * geometry that breaks them does not compile. What this gave up is choice: classes follow from the geometry
 * and cannot be configured per heap.
 */
#include "base/size_class.h"

/* Bytes of a class. From the fifth class on, the quarters of a doubling; below, plain quanta; of huge ones, chunks. */
#define BYTES(idx)                                                                                                     \
        ((idx) >= SIZE_CLASS_N ? ((idx)-SIZE_CLASS_N + UINT64_C(1)) << GEO_CHUNK_SHIFT                                 \
         : (idx) < 4           ? ((idx) + UINT64_C(1)) << SIZE_CLASS_QUANTUM_SHIFT                                     \
                               : (5 + UINT64_C(1) * (idx) % 4) << (SIZE_CLASS_QUANTUM_SHIFT + (idx) / 4 - 1))

#define IS_SMALL(idx) ((idx) < SIZE_CLASS_N_SMALL)

/* A slab is the shortest whose tail, too short for one more block, is less than a 64th of it, or an eighth where there
 * is none; always an eighth in the tiny geometry.  A long slab costs no more than a short one: it gets its pages as it
 * is filled. */
#if defined(SHM_TINY_GEOMETRY) && SHM_TINY_GEOMETRY
#define SLAB_TAIL_PART 8
#else
#define SLAB_TAIL_PART 64
#endif
#define SLAB_TAIL_BYTES(idx, granules) (GEO_GRANULE_BYTES * (granules) % BYTES(idx))
#define SLAB_FITS(idx, granules, part) (SLAB_TAIL_BYTES(idx, granules) * (part) < GEO_GRANULE_BYTES * (granules))
#define SLAB_SHORTEST(idx, part)                                                                                       \
        (SLAB_FITS(idx, 1, part)   ? 1                                                                                 \
         : SLAB_FITS(idx, 2, part) ? 2                                                                                 \
         : SLAB_FITS(idx, 3, part) ? 3                                                                                 \
         : SLAB_FITS(idx, 4, part) ? 4                                                                                 \
                                   : 0)

#define SLAB_GRANULES(idx)                                                                                             \
        (SLAB_SHORTEST(idx, SLAB_TAIL_PART) ? SLAB_SHORTEST(idx, SLAB_TAIL_PART) : SLAB_SHORTEST(idx, 8))
#define SLAB_BLOCKS(idx) (SLAB_GRANULES(idx) * GEO_GRANULE_BYTES / BYTES(idx))

#define RUN_GRANULES(idx) ((BYTES(idx) + GEO_GRANULE_BYTES - 1) / GEO_GRANULE_BYTES)

#define RECIPROCAL(idx) (((UINT64_C(1) << SIZE_CLASS_RECIPROCAL_SHIFT) + BYTES(idx) - 1) / BYTES(idx))

/* A magazine holds at most so many bytes: what a thread may keep to itself per class.  Of blocks up to FULL_BYTES_MAX
 * it holds more, FULL_MIN at least, for these are what threads take and free most. */
#if defined(SHM_TINY_GEOMETRY) && SHM_TINY_GEOMETRY
#define MAGAZINE_FULL_BYTES_MAX  UINT64_C(128)
#define MAGAZINE_FULL_MIN        UINT64_C(4)
#define MAGAZINE_SMALL_BYTES_MAX UINT64_C(512)
#define MAGAZINE_LARGE_BYTES_MAX UINT64_C(0)
#elif defined(SHM_SHORT_MAGAZINES) && SHM_SHORT_MAGAZINES
#define MAGAZINE_FULL_BYTES_MAX  UINT64_C(1024)
#define MAGAZINE_FULL_MIN        UINT64_C(64)
#define MAGAZINE_SMALL_BYTES_MAX (UINT64_C(32) << 10)
#define MAGAZINE_LARGE_BYTES_MAX (UINT64_C(256) << 10)
#else
#define MAGAZINE_FULL_BYTES_MAX  UINT64_C(1024)
#define MAGAZINE_FULL_MIN        UINT64_C(64)
#define MAGAZINE_SMALL_BYTES_MAX (UINT64_C(256) << 10)
#define MAGAZINE_LARGE_BYTES_MAX (UINT64_C(256) << 10)
#endif

/* Two small blocks at least, whatever their size: with one, the second of two frees would go slow. */
#define CLAMP(x, min, max) ((x) < (min) ? (min) : (x) > (max) ? (max) : (x))
#define MAGAZINE_CAP(idx)                                                                                              \
        (!IS_SMALL(idx) ? CLAMP(MAGAZINE_LARGE_BYTES_MAX / BYTES(idx), 1, SIZE_CLASS_MAGAZINE_CAP_MAX)                 \
         : BYTES(idx) <= MAGAZINE_FULL_BYTES_MAX                                                                       \
                 ? CLAMP((UINT64_C(32) << 10) / BYTES(idx), MAGAZINE_FULL_MIN, SIZE_CLASS_MAGAZINE_CAP_MAX)            \
                 : CLAMP(MAGAZINE_SMALL_BYTES_MAX / BYTES(idx), 2, MAGAZINE_FULL_MIN))

#define CLASS(idx)                                                                                                     \
        [idx] = {                                                                                                      \
                .reciprocal = IS_SMALL(idx) ? RECIPROCAL(idx) : 0,                                                     \
                .bytes = (uint32_t)BYTES(idx),                                                                         \
                .n_blocks = IS_SMALL(idx) ? SLAB_BLOCKS(idx) : 1,                                                      \
                .n_granules = IS_SMALL(idx) ? SLAB_GRANULES(idx) : RUN_GRANULES(idx),                                  \
                .magazine_cap = MAGAZINE_CAP(idx),                                                                     \
                .depot_first = SIZE_CLASS_DEPOT_BELOW((idx) / 4) + (idx) % 4 * SIZE_CLASS_DEPOT_OF((idx) / 4),         \
                .depot_places = SIZE_CLASS_DEPOT_OF((idx) / 4),                                                        \
        },

/* Names each class once. */
#define EIGHT(f, i) f((i)) f((i) + 1) f((i) + 2) f((i) + 3) f((i) + 4) f((i) + 5) f((i) + 6) f((i) + 7)
#if SIZE_CLASS_N == 64
#define EACH_CLASS(f)                                                                                                  \
        EIGHT(f, 0)                                                                                                    \
        EIGHT(f, 8) EIGHT(f, 16) EIGHT(f, 24) EIGHT(f, 32) EIGHT(f, 40) EIGHT(f, 48) EIGHT(f, 56) EIGHT(f, 64)
#elif SIZE_CLASS_N == 24
#define EACH_CLASS(f) EIGHT(f, 0) EIGHT(f, 8) EIGHT(f, 16) EIGHT(f, 24)
#else
#error "EACH_CLASS() has to name SIZE_CLASS_N_CACHED classes"
#endif

#define ASSERT_CLASS(idx)                                                                                              \
        _Static_assert(!IS_SMALL(idx) || SLAB_GRANULES(idx) != 0, "the tail is less than an eighth");                  \
        _Static_assert(!IS_SMALL(idx) || SLAB_BLOCKS(idx) <= SIZE_CLASS_BLOCKS_MAX, "slab heads have room");

_Static_assert(SIZE_CLASS_SLAB_GRANULES_MAX == 4, "SLAB_GRANULES() tries all lengths");
_Static_assert(BYTES(SIZE_CLASS_N_SMALL - 1) == GEO_SMALL_MAX, "the last small class is the largest small block");
_Static_assert(BYTES(SIZE_CLASS_N - 1) == GEO_LARGE_MAX, "the last class is the largest large block");
_Static_assert(SIZE_CLASS_N_HUGE == 8, "EACH_CLASS() names eight of them");
_Static_assert(SIZE_CLASS_HUGE_MAX <= UINT32_MAX, "the bytes of a class fit 32 bits");
_Static_assert(SIZE_CLASS_N % 4 == 0 && SIZE_CLASS_N_CACHED % 4 == 0 && SIZE_CLASS_N_CACHED <= 4 * 20,
               "SIZE_CLASS_DEPOT_BELOW() sums up all doublings");
EACH_CLASS(ASSERT_CLASS)

const struct size_class size_class_table[SIZE_CLASS_N_CACHED] = {EACH_CLASS(CLASS)};

#define IS_IN_GRANULE(idx) (IS_SMALL(idx) && SLAB_GRANULES(idx) == 1)
#define IN_GRANULE(idx)                                                                                                \
        [(idx) + 1] = {                                                                                                \
                .reciprocal = IS_IN_GRANULE(idx) ? ((UINT64_C(1) << 32) + BYTES(idx) - 1) / BYTES(idx) : 0,            \
                .n_blocks = IS_IN_GRANULE(idx) ? SLAB_BLOCKS(idx) : 0,                                                 \
                .bytes = IS_IN_GRANULE(idx) ? (uint16_t)BYTES(idx) : 0,                                                \
        },

_Static_assert(SIZE_CLASS_N_CACHED < SIZE_CLASS_IN_GRANULE_N, "each has a place, and none another's");
_Static_assert(SIZE_CLASS_BLOCKS_MAX <= UINT16_MAX && GEO_SMALL_MAX <= UINT16_MAX, "a record is one word");

const struct size_class_in_granule size_class_in_granule[SIZE_CLASS_IN_GRANULE_N] = {EACH_CLASS(IN_GRANULE)};

/* size_class_of(last + 1) as a constant expression, for the four doublings that reach SIZE_CLASS_BY_SIZE_MAX.
   */
#define CLASS_OF_LAST(last)                                                                                            \
        ((last) < 128   ? (last) >> 4                                                                                  \
         : (last) < 256 ? 4 + ((last) >> 5)                                                                            \
         : (last) < 512 ? 8 + ((last) >> 6)                                                                            \
                        : 12 + ((last) >> 7))
#define BY_SIZE(size) ((size) > GEO_LARGE_MAX ? 0 : CLASS_OF_LAST((size)-1) + 1)

#define SIZES_4(size)   BY_SIZE(size), BY_SIZE((size) + 1), BY_SIZE((size) + 2), BY_SIZE((size) + 3)
#define SIZES_16(size)  SIZES_4(size), SIZES_4((size) + 4), SIZES_4((size) + 8), SIZES_4((size) + 12)
#define SIZES_64(size)  SIZES_16(size), SIZES_16((size) + 16), SIZES_16((size) + 32), SIZES_16((size) + 48)
#define SIZES_256(size) SIZES_64(size), SIZES_64((size) + 64), SIZES_64((size) + 128), SIZES_64((size) + 192)

_Static_assert(SIZE_CLASS_BY_SIZE_MAX == 1024 && SIZE_CLASS_LINEAR_SHIFT == 6, "CLASS_OF_LAST() covers the table");

const uint8_t size_class_by_size[SIZE_CLASS_BY_SIZE_MAX + 1] = {
        BY_SIZE(1), SIZES_256(1), SIZES_256(257), SIZES_256(513), SIZES_256(769),
};

bool
size_class_for(uint64_t size, uint64_t align, uint32_t *ret_class_idx)
{
        uint32_t class_idx = SIZE_CLASS_NONE;

        if (!bits_is_pow2(align) || align > UINT64_C(1) << 30 || size > UINT64_C(1) << 46)
                return false;
        if (size <= GEO_SMALL_MAX && align <= GEO_SMALL_MAX)
                class_idx = size_class_of_aligned(size, align);
        if (class_idx == SIZE_CLASS_NONE && size <= GEO_LARGE_MAX && align <= GEO_CHUNK_BYTES) {
                class_idx = size_class_of(size);
                if (size_class_is_small(class_idx)) /* none of these is aligned so: a run is */
                        class_idx = SIZE_CLASS_N_SMALL;
        }
        *ret_class_idx = class_idx;
        return true;
}
