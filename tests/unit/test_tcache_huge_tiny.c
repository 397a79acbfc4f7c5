/*
 * The same claims in the tiny geometry, where chunks and bitmaps are a few bits long.
 */
#include "base/geometry.h"

_Static_assert(GEO_GRANULE_BYTES == 512, "built with SHM_TINY_GEOMETRY");

#include "test_tcache_huge.c"
