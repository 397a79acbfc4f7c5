/*
 * map.h - where in a heap's memory what is: gathered by map.c, drawn by map_draw.c and map_page.c.
 */
#ifndef CTL_MAP_H
#define CTL_MAP_H

#include <stdint.h>
#include <stdio.h>
#include <time.h>

#include "common/view.h"
#include "ctl/ctl.h"

enum map_kind {
        MAP_UNUSED, /* free, and without pages as far as is known */
        MAP_DIRTY,  /* free, and may have pages */
        MAP_SLAB,
        MAP_LARGE,
        MAP_HUGE,
        MAP_MOVING, /* being claimed, freed or purged */
        MAP_N_KINDS
};

/* A stretch of memory: a granule, or several in a big heap.  Blocks take live + cached + free bytes of it. */
struct map_cell {
        uint64_t live_bytes, cached_bytes, free_bytes;
        uint32_t class_idx; /* of most of it; SIZE_CLASS_NONE: huge, or nothing */
        uint8_t kind;       /* enum map_kind, of most of it */
        uint8_t node;       /* UINT8_MAX: none in particular */
};

struct map {
        struct view *view;
        struct map_cell *cells;
        uint64_t n_cells;
        uint64_t cell_bytes;
        uint32_t n_columns; /* cells of a line */
        uint64_t line_bytes;
        struct check_totals totals;
        uint32_t *line_arena;    /* UINT32_MAX: of none, or of several */
        struct root_views roots; /* where they lie, the lowest first */
        time_t at;
};

/* Cells of at least a granule, so that there are at most `cells_max`.  0, or -errno with the message set. */
int map_gather(struct map *map, struct view *v, uint64_t cells_max);
void map_free(struct map *map);

/* "64 B" ... "2 MiB", "huge". */
const char *map_class_name(char buf[16], uint32_t class_idx);

/* Per cent of it that is allocated; 0 only where nothing is, 100 only where nothing else is. */
unsigned map_fill(const struct map *map, const struct map_cell *cell);

void map_draw_terminal(const struct map *map, FILE *out, bool has_colour);
void map_draw_svg(const struct map *map, FILE *out);
void map_draw_html(const struct map *map, FILE *out);

#endif
