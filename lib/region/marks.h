/*
 * marks.h - the high-water marks as a list, and which bytes of the region belong to their elements.
 *
 * A mark is named as in header.sweep: SWEEP_CHUNKS, SWEEP_THREADS, SWEEP_CLIENTS, SWEEP_ROOTS, SWEEP_MAGAZINES + node.
 */
#ifndef REGION_MARKS_H
#define REGION_MARKS_H

#include "region/region.h"

/* Bytes [off, end) of the region. */
struct stretch {
        uint64_t off, end;
};

enum { STRETCHES_MAX = 9 };

static inline uint32_t
marks_n(const struct region *r)
{
        return SWEEP_MAGAZINES + r->n_nodes;
}

/* What lies below is backed (E1.acq). */
uint64_t marks_value(const struct region *r, uint32_t mark);

/* How many elements there can be. */
uint64_t marks_limit(const struct region *r, uint32_t mark);

/* What belongs to elements [from, to) of the mark.  The last element of a table takes the rest of its page, too. */
uint32_t marks_stretches(const struct region *r, uint32_t mark, uint64_t from, uint64_t to,
                         struct stretch s[STRETCHES_MAX]);

#endif
