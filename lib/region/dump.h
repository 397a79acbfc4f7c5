/*
 * dump.h - option dump:used: a core file has what is in use of the heap, and no more.
 */
#ifndef REGION_DUMP_H
#define REGION_DUMP_H

#include "region/region.h"

/* From now on this process's core files have what is in use. */
void dump_begin(struct region *r);

/* What has come into use since then, by whomever.  Costs a look at each mark, and nothing where it is not wanted. */
void dump_follow(struct region *r);

#endif
