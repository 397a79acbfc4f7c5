/*
 * live.h - a region that changes under the eyes of those who look.
 */
#ifndef HOSTILE_LIVE_H
#define HOSTILE_LIVE_H

#include "hostile/hostile.h"

/* How many of those who looked or attached did not end as they should.  Says so on standard error. */
unsigned live_run(const struct image *image, const struct fields *fields, uint64_t seed, uint64_t seconds);

#endif
