/*
 * where.h - places to look for runs, slabs and large blocks, written in one line.
 */
#ifndef SUPPORT_WHERE_H
#define SUPPORT_WHERE_H

#include "blocks/large.h"
#include "blocks/slab.h"

#define WHERE_OF(arena_, chunk_, need_)                                                                                \
        (&(const struct where){.arena = (uint32_t)(arena_), .chunk = (chunk_), .need = (need_)})
#define WHERE_RUN(arena, chunk, granules_, align_)                                                                     \
        WHERE_OF(arena, chunk,                                                                                         \
                 ((struct run_need){.granules = (uint32_t)(granules_),                                                 \
                                    .align_granules = (uint32_t)(align_),                                              \
                                    .class_idx = SIZE_CLASS_N_SMALL}))
#define WHERE_SLAB(arena, chunk, class_idx)         WHERE_OF(arena, chunk, slab_need(class_idx))
#define WHERE_LARGE(arena, chunk, class_idx, align) WHERE_OF(arena, chunk, large_need(class_idx, align))

#endif
