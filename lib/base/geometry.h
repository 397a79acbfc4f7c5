/*
 * The units in which a region is cut up: page, granule, chunk, and the bounds between small, large and huge
 * blocks.
 *
 * They are compile-time constants, because the hit paths shift and compare by them and because every process
 * that shares a region must agree on them. SHM_TINY_GEOMETRY shrinks all of them alike: a whole heap then
 * fits into 64 KiB, so that a test can copy it, compare it and kill its user at every instruction. The ratios
 * that the code relies on are asserted below and hold in both.
 *
 * Every constant may be used in #if. Those that count bytes or granules are 64 bits wide.
 */
#ifndef BASE_GEOMETRY_H
#define BASE_GEOMETRY_H

#include <assert.h>
#include <stdint.h>

#if defined(SHM_TINY_GEOMETRY) && SHM_TINY_GEOMETRY
#define GEO_PAGE_SHIFT    8 /* a page in the arithmetic only: the kernel's are larger */
#define GEO_GRANULE_SHIFT 9
#define GEO_CHUNK_SHIFT   12
#define GEO_SMALL_SHIFT   8
#define GEO_LARGE_SHIFT   11
#else
#define GEO_PAGE_SHIFT    12
#define GEO_GRANULE_SHIFT 16
#define GEO_CHUNK_SHIFT   22
#define GEO_SMALL_SHIFT   15
#define GEO_LARGE_SHIFT   21
#endif

#define GEO_PAGE_BYTES         (UINT64_C(1) << GEO_PAGE_SHIFT)
#define GEO_GRANULE_BYTES      (UINT64_C(1) << GEO_GRANULE_SHIFT)
#define GEO_CHUNK_BYTES        (UINT64_C(1) << GEO_CHUNK_SHIFT)
#define GEO_GRANULES_PER_CHUNK (UINT64_C(1) << (GEO_CHUNK_SHIFT - GEO_GRANULE_SHIFT))

/* Bytes of the largest block cut from a slab, and of the largest that is a run. */
#define GEO_SMALL_MAX (UINT64_C(1) << GEO_SMALL_SHIFT)
#define GEO_LARGE_MAX (UINT64_C(1) << GEO_LARGE_SHIFT)

_Static_assert(GEO_PAGE_SHIFT < GEO_GRANULE_SHIFT, "a granule is several pages, so that it can be purged in part");
_Static_assert(GEO_GRANULE_SHIFT < GEO_CHUNK_SHIFT, "a chunk is several granules");
_Static_assert(GEO_GRANULES_PER_CHUNK <= 64, "one 64-bit word maps the granules of a chunk");
_Static_assert(GEO_SMALL_MAX * 2 <= GEO_GRANULE_BYTES, "a slab of one granule holds two blocks at least");
_Static_assert(GEO_SMALL_MAX < GEO_LARGE_MAX, "there are large classes");
_Static_assert(GEO_LARGE_MAX * 2 <= GEO_CHUNK_BYTES, "a chunk holds two of the longest runs at least");
_Static_assert(GEO_LARGE_MAX <= UINT32_MAX, "the bytes of a class fit 32 bits");

#endif
