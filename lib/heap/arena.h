/*
 * arena.h - arenas: the depots, slabs and chunks that the threads bound to them share.  Nobody owns an arena.
 */
#ifndef HEAP_ARENA_H
#define HEAP_ARENA_H

#include <stdint.h>

#include "region/thread.h"

/* Makes the arena ready: backs its memory, then says so.  Idempotent; zero is a valid arena.  0, -ENOMEM, -ENOSPC. */
int arena_init(struct region *r, uint32_t arena);

#endif
