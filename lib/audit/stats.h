/*
 * stats.h - what a heap is used for, in words and numbers.
 */
#ifndef AUDIT_STATS_H
#define AUDIT_STATS_H

#include <stdio.h>

#include "region/region.h"

enum {
        STATS_JSON = 1u << 0,        /* one object */
        STATS_OPENMETRICS = 1u << 1, /* the text format that Prometheus reads; neither: tables for people */
        STATS_MERGED = 1u << 2,      /* the heap as a whole only: no classes, arenas, nodes, clients */
        STATS_UNITS = 1u << 3        /* in tables for people: sizes as 1.5 GiB, not to the byte */
};

/* Writes to `out`.  The numbers come from a walk through the heap, exact while nobody uses it, and from the counters of
 * all thread slots, which only ever grow.  0; -ENOMEM; -EIO when `out` takes no more. */
int stats_print(const struct region *r, FILE *out, unsigned flags);

#endif
