/*
 * plain_region.h - a region without a file, for tests of the layers that live in one: anonymous memory, shared with
 * forked children.
 */
#ifndef SUPPORT_PLAIN_REGION_H
#define SUPPORT_PLAIN_REGION_H

#include <stdint.h>

#include "region/region.h"

/* As formatted at creation: no thread slot and no client slot exists yet.  Aborts the test when it cannot. */
void plain_region_make(struct region *r, uint32_t max_clients, uint32_t max_threads, uint32_t n_nodes,
                       uint32_t arenas_per_node);

void plain_region_drop(struct region *r);

#endif
