/*
 * The same claims about the tiny geometry, which the tests that enumerate whole heaps are built with: were
 * its classes wrong, those would prove something about another allocator.
 */
#include "base/geometry.h"

_Static_assert(GEO_GRANULE_BYTES == 512, "built with SHM_TINY_GEOMETRY");

#include "test_size_class.c"
