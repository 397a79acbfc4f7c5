/*
 * placement.h - which node the pages of a chunk come from.
 */
#ifndef HEAP_PLACEMENT_H
#define HEAP_PLACEMENT_H

#include <stdint.h>

#include "region/thread.h"

/* Binds an owned chunk's pages to a node before its first page exists.  0 or -errno. */
int placement_bind_chunk(struct thread *t, uint64_t chunk, uint32_t node);

/* The node that the calling thread runs on, as the heap numbers them; 0 where that is unknown. */
uint32_t placement_node_here(const struct region *r);

#endif
