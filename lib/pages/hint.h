/*
 * hint.h - what an arena remembers about where to look, per kind and chunk.
 *
 * Two levels of bitmaps: a word per kind and group of 64 chunks, and a summary with a bit per group.  A hint may be
 * wrong at any time: set where there is nothing (whoever finds that clears it and looks once more), or clear where
 * there is something (a death between clearing and looking again): the clock hands and the last scan find that.
 * All accesses are relaxed: whatever a hint leads to is confirmed by the CAS on an owner word.
 */
#ifndef PAGES_HINT_H
#define PAGES_HINT_H

#include <stdbool.h>
#include <stdint.h>

#include "region/region.h"

void hint_set(struct region *r, uint32_t arena, uint32_t kind, uint64_t chunk);

/* Several hints about one chunk: kinds kind .. kind + n - 1. */
void hint_set_several(struct region *r, uint32_t arena, uint32_t kind, uint32_t n, uint64_t chunk);
void hint_clear(struct region *r, uint32_t arena, uint32_t kind, uint64_t chunk);

/* Lowest chunk at or above `from` with the hint, or POSITION_NONE. */
int64_t hint_find(struct region *r, uint32_t arena, uint32_t kind, uint64_t from);

/* Backs the hints that `arena` keeps about `chunk`: before the arena is given the chunk. */
int hint_reserve(struct region *r, uint32_t arena, uint64_t chunk);

#endif
