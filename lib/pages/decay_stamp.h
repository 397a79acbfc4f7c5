/*
 * decay_stamp.h - when a granule became free, in eight bits.
 *
 * The unit is a 32nd of decay_ms, so that a whole decay interval fits the stamp with room to spare and the purger,
 * who comes by several times per interval, never meets one that has wrapped.  A stamp is a hint: read wrongly, a
 * granule is given back too early or too late, nothing more.
 */
#ifndef PAGES_DECAY_STAMP_H
#define PAGES_DECAY_STAMP_H

#include <stdint.h>

#include "region/region.h"

enum { DECAY_AGE = 32 }; /* units in decay_ms, of a millisecond at least */

static inline uint64_t
decay_unit_ms(const struct region *r)
{
        int64_t decay_ms = load_relaxed(&r->header->decay_ms); /* a setting: any value will do */

        return decay_ms > DECAY_AGE ? (uint64_t)decay_ms / DECAY_AGE : 1;
}

static inline uint32_t
decay_stamp(const struct region *r, uint64_t now_ms)
{
        return (uint32_t)(now_ms / decay_unit_ms(r)) & 0xff;
}

/* Units that have passed since the stamp was made. */
static inline uint32_t
decay_age(uint32_t now_stamp, uint32_t stamp)
{
        return (now_stamp - stamp) & 0xff;
}

#endif
