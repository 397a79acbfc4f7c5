/*
 * map.c - `shmallocctl map`: gathering the picture, and the verb.
 *
 * The walk tells of each block and each free stretch where it is and in which state; its bytes are added to the cells
 * that it lies in.  While others use the heap, the picture is as sharp as one of a moving thing can be.
 */
#include "ctl/map.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/owner.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "layout/words.h"

enum { COLUMNS = GEO_GRANULES_PER_CHUNK };

/* ------------------------------------------------------------------ gathering */

static void
add_bytes(struct map *map, const struct check_block *block)
{
        uint64_t at = block->block_off, end = at + block->bytes;

        while (at < end) {
                uint64_t idx = at / map->cell_bytes, cell_end = (idx + 1) * map->cell_bytes;
                uint64_t n = (end < cell_end ? end : cell_end) - at;
                struct map_cell *cell = idx < map->n_cells ? &map->cells[idx] : NULL;

                if (!cell)
                        return;
                if (block->where == CHECK_LIVE)
                        cell->live_bytes += n;
                else if (block->where == CHECK_CACHED)
                        cell->cached_bytes += n;
                else if (block->where == CHECK_FREE)
                        cell->free_bytes += n;
                if (block->where != CHECK_STRETCH)
                        cell->class_idx = block->class_idx;
                if (block->node < UINT8_MAX)
                        cell->node = (uint8_t)block->node;
                at += n;
        }
}

static int
on_block(const struct check_block *block, void *arg)
{
        add_bytes(arg, block);
        return 0;
}

static enum map_kind
kind_of_granule(const struct region *r, uint64_t granule)
{
        uint64_t chunk = load_acquire(&r->chunk_words[granule / GEO_GRANULES_PER_CHUNK]);
        uint64_t word = load_relaxed(&r->granules[granule]);

        if (chunk_state(chunk) == CHUNK_HUGE || chunk_state(chunk) == CHUNK_TAIL)
                return MAP_HUGE;
        if (granule_state(word) == GRANULE_CONT && granule_count(word) <= granule)
                word = load_relaxed(&r->granules[granule - granule_count(word)]);
        switch (granule_state(word)) {
        case GRANULE_NONE:
        case GRANULE_FREE:
                return word & GRANULE_MAY_HAVE ? MAP_DIRTY : MAP_UNUSED;
        case GRANULE_SLAB:
                return MAP_SLAB;
        case GRANULE_LARGE:
                return MAP_LARGE;
        default:
                return MAP_MOVING;
        }
}

static void
set_kinds(struct map *map)
{
        const struct region *r = &map->view->region;
        uint64_t per_cell = map->cell_bytes >> GEO_GRANULE_SHIFT, n_granules = region_granules_hwm(r);

        for (uint64_t i = 0; i < map->n_cells; i++) {
                uint32_t n[MAP_N_KINDS] = {0}, most = 0;

                for (uint64_t g = i * per_cell; g < (i + 1) * per_cell && g < n_granules; g++)
                        n[kind_of_granule(r, g)]++;
                for (uint32_t kind = 1; kind < MAP_N_KINDS; kind++)
                        most = n[kind] > n[most] ? kind : most;
                map->cells[i].kind = (uint8_t)most;
        }
}

static void
set_arenas(struct map *map)
{
        const struct region *r = &map->view->region;
        uint64_t per_line = map->line_bytes >> GEO_CHUNK_SHIFT, n_chunks = region_chunks_hwm(r);

        for (uint64_t line = 0; line * map->n_columns < map->n_cells; line++) {
                map->line_arena[line] = UINT32_MAX;
                for (uint64_t c = line * per_line; c < (line + 1) * per_line && c < n_chunks; c++) {
                        uint64_t word = load_acquire(&r->chunk_words[c]);
                        uint32_t arena = chunk_state(word) == CHUNK_ARENA ? chunk_arena(word) : UINT32_MAX;

                        if (c > line * per_line && arena != map->line_arena[line])
                                arena = UINT32_MAX;
                        map->line_arena[line] = arena;
                        if (arena == UINT32_MAX)
                                break;
                }
        }
}

static int
by_offset(const void *a, const void *b)
{
        const struct root_view *x = a, *y = b;

        return x->block_off < y->block_off ? -1 : x->block_off > y->block_off;
}

int
map_gather(struct map *map, struct view *v, uint64_t cells_max)
{
        uint64_t n_granules = region_granules_hwm(&v->region), per_cell = 1;
        int n;

        *map = (struct map){.view = v, .n_columns = COLUMNS};
        while (n_granules / per_cell > cells_max)
                per_cell *= 2;
        map->cell_bytes = per_cell << GEO_GRANULE_SHIFT;
        map->line_bytes = map->cell_bytes * COLUMNS;
        map->n_cells = (n_granules + per_cell - 1) / per_cell;
        map->cells = calloc(map->n_cells + 1, sizeof *map->cells);
        map->line_arena = calloc(map->n_cells / COLUMNS + 2, sizeof *map->line_arena);
        if (!map->cells || !map->line_arena)
                return error_set(-ENOMEM, "no memory for a picture of %llu cells", (unsigned long long)map->n_cells);
        for (uint64_t i = 0; i < map->n_cells; i++) {
                map->cells[i].class_idx = SIZE_CLASS_NONE;
                map->cells[i].node = UINT8_MAX;
        }
        n = view_check(v, 0, NULL, &map->totals, NULL);
        if (n >= 0)
                n = check_walk(&v->region, CHECK_LIVE | CHECK_CACHED | CHECK_FREE | CHECK_STRETCH, on_block, map);
        if (n < 0)
                return error_set(n, "no memory to walk through heap \"%s\"", v->name);
        set_kinds(map);
        set_arenas(map);
        roots_read(&v->region, &map->roots);
        if (map->roots.n > 0)
                qsort(map->roots.all, map->roots.n, sizeof *map->roots.all, by_offset);
        map->at = time(NULL);
        return 0;
}

void
map_free(struct map *map)
{
        free(map->cells);
        free(map->line_arena);
        roots_free(&map->roots);
}

unsigned
map_fill(const struct map *map, const struct map_cell *cell)
{
        uint64_t live = cell->live_bytes < map->cell_bytes ? cell->live_bytes : map->cell_bytes;
        unsigned percent = (unsigned)(live * 100 / map->cell_bytes);

        return percent == 0 && live > 0 ? 1 : percent;
}

const char *
map_class_name(char buf[16], uint32_t class_idx)
{
        if (class_idx < SIZE_CLASS_N)
                return text_bytes(buf, size_class_bytes(class_idx));
        return "huge";
}

/* ------------------------------------------------------------------ the verb */

enum { KEY_SVG = 's' + 256, KEY_HTML, KEY_CELLS, CELLS_TERMINAL = 64 * COLUMNS, CELLS_PICTURE = 256 * COLUMNS };

struct map_args {
        struct ctl_args common;
        const char *svg, *html;
        uint64_t cells_max; /* 0: as it suits */
};

static error_t
map_option(int key, char *arg, struct argp_state *state)
{
        struct map_args *args = state->input;

        switch (key) {
        case KEY_SVG:
                args->svg = arg;
                return 0;
        case KEY_HTML:
                args->html = arg;
                return 0;
        case KEY_CELLS:
                if (!text_parse_number(arg, 10, 1, 1 << 16, &args->cells_max))
                        argp_error(state, "--lines=%s: 1 to 65536 is possible", arg);
                args->cells_max *= COLUMNS;
                return 0;
        case ARGP_KEY_END:
                if (args->svg && args->html)
                        argp_error(state, "--svg and --html exclude each other");
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static int
draw_file(const struct map *map, const char *path, void (*draw)(const struct map *map, FILE *out))
{
        FILE *out;
        int err = 0;

        if (strcmp(path, "-") == 0) {
                draw(map, stdout); /* the guard of standard output sees to it */
                return CTL_GOOD;
        }
        out = fopen(path, "we");
        if (out) {
                draw(map, out);
                err = ferror(out) ? -EIO : 0;
                if (fclose(out) != 0)
                        err = -errno;
        } else {
                err = -errno;
        }
        return err == 0 ? CTL_GOOD : ctl_fail(error_set(err, "cannot write \"%s\": %s", path, error_name(err)));
}

static int
draw(const struct map *map, const struct map_args *args)
{
        if (args->svg)
                return draw_file(map, args->svg, map_draw_svg);
        if (args->html)
                return draw_file(map, args->html, map_draw_html);
        map_draw_terminal(map, stdout, ctl_use_colour());
        return CTL_GOOD;
}

int
verb_map(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"svg", KEY_SVG, "FILE", 0, "Draw it as a picture; - is standard output", 0},
                {"html", KEY_HTML, "FILE", 0,
                 "The same as a page of its own, with what each cell holds, filters and zoom", 0},
                {"lines", KEY_CELLS, "N", 0, "At most N lines of 64 cells; default 64, in a picture 256", 0},
                {0}};
        struct map_args args = {.common = {.wants = CTL_WANTS_NAME}};
        struct map map;
        struct view v;
        int err, status;

        ctl_parse(argc, argv, &args.common, options, map_option,
                  "A picture of a heap's memory: what is allocated, cached, dirty and free, by "
                  "size class and node, and where the named objects lie.\vA cell is 64 KiB, and a line 4 MiB, unless "
                  "there are "
                  "more lines than --lines allows.");
        status = ctl_view(&v, args.common.name);
        if (status != CTL_GOOD)
                return status;
        if (args.cells_max == 0)
                args.cells_max = args.svg || args.html ? CELLS_PICTURE : CELLS_TERMINAL;
        err = map_gather(&map, &v, args.cells_max);
        status = err < 0 ? ctl_fail(err) : draw(&map, &args);
        map_free(&map);
        return ctl_view_done(&v, status);
}
