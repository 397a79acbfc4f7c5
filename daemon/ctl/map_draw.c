/*
 * map_draw.c - the picture of a heap's memory: in the terminal, and as SVG.
 *
 * Colour is the size class, from blue for small blocks to red for huge ones; how full a cell is of its colour says how
 * much of it is allocated, what is free in it having a pale shade of the same.  Cached blocks stand above in amber,
 * free memory that may have pages is grey, and what has none is empty.
 */
#include <inttypes.h>
#include <string.h>

#include "common/text.h"
#include "ctl/map.h"

enum { CELL = 11, STEP = 12, LEFT = 96, TOP = 64, STRIP = 8 };

static const char cached_colour[] = "#f5b301", free_colour[] = "#e3e8ef", dirty_colour[] = "#b4b9c2",
                  moving_colour[] = "#8a2be2", line_colour[] = "#d5d9e0";

/* Hue in degrees: blue (225) to red (0). */
static unsigned
hue_of(uint32_t class_idx)
{
        return class_idx < SIZE_CLASS_N ? 225 - class_idx * 205 / SIZE_CLASS_N : 0;
}

/* sRGB from hue, saturation 65 %, lightness 46 %, mixed with white: some readers of SVG do not know hsl(). */
static const char *
mixed_colour(char buf[8], uint32_t class_idx, double white)
{
        const double c = (1 - (2 * 0.46 - 1 < 0 ? 1 - 2 * 0.46 : 2 * 0.46 - 1)) * 0.65, m = 0.46 - c / 2;
        double h = hue_of(class_idx) / 60.0, f = h - 2 * (int)(h / 2) - 1, x = c * (1 - (f < 0 ? -f : f));
        double rgb[3] = {h < 1 || h >= 5   ? c
                         : h < 2 || h >= 4 ? x
                                           : 0,
                         h < 1   ? x
                         : h < 3 ? c
                         : h < 4 ? x
                                 : 0,
                         h < 2   ? 0
                         : h < 3 ? x
                         : h < 5 ? c
                                 : x};
        unsigned bytes[3];

        for (int i = 0; i < 3; i++)
                bytes[i] = (unsigned)(((rgb[i] + m) * (1 - white) + white) * 255);
        snprintf(buf, 8, "#%02x%02x%02x", bytes[0], bytes[1], bytes[2]);
        return buf;
}

static const char *
colour_of(char buf[8], uint32_t class_idx)
{
        return mixed_colour(buf, class_idx, 0);
}

static const char *const kind_names[MAP_N_KINDS] = {
        [MAP_UNUSED] = "free, no pages", [MAP_DIRTY] = "free, dirty", [MAP_SLAB] = "slab",
        [MAP_LARGE] = "large block",     [MAP_HUGE] = "huge block",   [MAP_MOVING] = "changing hands",
};

static const char *const kind_words[MAP_N_KINDS] = {
        [MAP_UNUSED] = "unused", [MAP_DIRTY] = "dirty", [MAP_SLAB] = "slab",
        [MAP_LARGE] = "large",   [MAP_HUGE] = "huge",   [MAP_MOVING] = "moving",
};

static uint64_t
n_lines(const struct map *map)
{
        return (map->n_cells + map->n_columns - 1) / map->n_columns;
}

/* ------------------------------------------------------------------ SVG */

static void
svg_text(FILE *out, uint64_t x, uint64_t y, const char *anchor, const char *style, const char *text)
{
        fprintf(out, "<text x=\"%" PRIu64 "\" y=\"%" PRIu64 "\" text-anchor=\"%s\"%s>%s</text>\n", x, y, anchor, style,
                text);
}

static void
svg_rect(FILE *out, double x, double y, double width, double height, const char *colour)
{
        fprintf(out, "<rect x=\"%.1f\" y=\"%.1f\" width=\"%.1f\" height=\"%.1f\" fill=\"%s\"/>\n", x, y, width, height,
                colour);
}

enum { CELL_ROOTS_MAX = 8 };

/* The named objects that begin in the cell. */
static void
svg_roots(const struct map *map, uint64_t idx, FILE *out)
{
        uint64_t start = idx * map->cell_bytes, end = start + map->cell_bytes;
        uint32_t low = 0, high = map->roots.n, n = 0;

        while (low < high) {
                uint32_t middle = low + (high - low) / 2;

                if (map->roots.all[middle].block_off < start)
                        low = middle + 1;
                else
                        high = middle;
        }
        for (; low < map->roots.n && map->roots.all[low].block_off < end; low++, n++) {
                const struct root_view *root = &map->roots.all[low];
                char name[ROOT_TEXT_MAX];

                text_escape(name, sizeof name, root->name, sizeof root->name, TEXT_MARKUP);
                if (n < CELL_ROOTS_MAX)
                        fprintf(out, "; root &quot;%s&quot;", name);
        }
        if (n > CELL_ROOTS_MAX)
                fprintf(out, "; and %u more root%s", n - CELL_ROOTS_MAX, text_s(n - CELL_ROOTS_MAX));
}

/* What a pointer over the cell tells. */
static void
svg_title(const struct map *map, const struct map_cell *cell, uint64_t idx, FILE *out)
{
        char size[16], live[TEXT_BYTES_MAX], cached[TEXT_BYTES_MAX];

        fprintf(out, "<title>%s", kind_names[cell->kind]);
        if (cell->kind == MAP_SLAB || cell->kind == MAP_LARGE)
                fprintf(out, " of %s", map_class_name(size, cell->class_idx));
        fprintf(out, "; %s allocated (%u %%), %s cached; +%" PRIu64 " KiB", text_bytes(live, cell->live_bytes),
                map_fill(map, cell), text_bytes(cached, cell->cached_bytes), idx * map->cell_bytes >> 10);
        if (cell->node != UINT8_MAX)
                fprintf(out, "; node %u", cell->node);
        svg_roots(map, idx, out);
        fputs("</title>", out);
}

/* Free below, then live from the bottom, cached on top of it. */
static void
svg_cell(const struct map *map, uint64_t idx, FILE *out)
{
        const struct map_cell *cell = &map->cells[idx];
        double x = LEFT + (double)(idx % map->n_columns) * STEP, y = TOP + (double)(idx / map->n_columns) * STEP;
        double live = CELL * (double)cell->live_bytes / (double)map->cell_bytes;
        double cached = CELL * (double)cell->cached_bytes / (double)map->cell_bytes;
        char colour[8], size[16];

        if (cell->kind == MAP_UNUSED && cell->live_bytes == 0 && cell->cached_bytes == 0)
                return;
        fprintf(out, "<g data-kind=\"%s\" data-class=\"%s\" data-fill=\"%u\"", kind_words[cell->kind],
                cell->kind == MAP_SLAB || cell->kind == MAP_LARGE ? map_class_name(size, cell->class_idx)
                : cell->kind == MAP_HUGE                          ? "huge"
                                                                  : "",
                map_fill(map, cell));
        if (cell->node != UINT8_MAX)
                fprintf(out, " data-node=\"%u\"", cell->node);
        fputs(">", out);
        svg_title(map, cell, idx, out);
        svg_rect(out, x, y, CELL, CELL,
                 cell->kind == MAP_DIRTY    ? dirty_colour
                 : cell->kind == MAP_MOVING ? moving_colour
                 : cell->kind == MAP_UNUSED ? free_colour
                                            : mixed_colour(colour, cell->class_idx, 0.75));
        if (live > 0.05)
                svg_rect(out, x, y + CELL - live, CELL, live, colour_of(colour, cell->class_idx));
        if (cached > 0.05)
                svg_rect(out, x, y + CELL - live - cached, CELL, cached, cached_colour);
        fputs("</g>\n", out);
}

static void
svg_line(const struct map *map, uint64_t line, FILE *out)
{
        uint64_t y = TOP + line * STEP;
        uint8_t node = map->cells[line * map->n_columns].node;
        char text[32], bytes[TEXT_BYTES_MAX], colour[8];

        if (line % 4 == 0) {
                snprintf(text, sizeof text, "+%s", text_bytes(bytes, line * map->line_bytes));
                svg_text(out, LEFT - STRIP - 30, y + CELL - 1, "end", "", text);
        }
        if (map->line_arena[line] != UINT32_MAX) {
                snprintf(text, sizeof text, "a%u", map->line_arena[line]);
                svg_text(out, LEFT - STRIP - 4, y + CELL - 1, "end", " fill=\"#68707c\"", text);
        }
        if (node != UINT8_MAX)
                svg_rect(out, LEFT - STRIP, (double)y, STRIP - 3, CELL, colour_of(colour, node % 8 * 7));
        fprintf(out,
                "<rect x=\"%d\" y=\"%" PRIu64 "\" width=\"%u\" height=\"%d\" fill=\"#ffffff\" stroke=\"%s\" "
                "stroke-width=\"0.5\"/>\n",
                LEFT, y, map->n_columns * STEP - 1, CELL, line_colour);
}

static void
svg_key(FILE *out, uint64_t *x, uint64_t y, const char *colour, const char *text)
{
        fprintf(out,
                "<rect x=\"%" PRIu64 "\" y=\"%" PRIu64 "\" width=\"%d\" height=\"%d\" fill=\"%s\" stroke=\"%s\" "
                "stroke-width=\"0.5\"/>\n",
                *x, y, CELL, CELL, colour, line_colour);
        svg_text(out, *x + CELL + 4, y + CELL - 1, "start", "", text);
        *x += CELL + 18 + 11 * strlen(text) / 2;
}

/* Of the strip at the left. */
static void
svg_nodes(const struct map *map, FILE *out, uint64_t y)
{
        uint64_t x = LEFT;
        char colour[8], text[16];

        for (uint32_t node = 0; node < map->view->region.n_nodes && node < 8; node++) {
                snprintf(text, sizeof text, "node %u", node);
                svg_key(out, &x, y, colour_of(colour, node % 8 * 7), text);
        }
}

static void
svg_legend(const struct map *map, FILE *out, uint64_t y)
{
        static const uint32_t classes[] = {0, 8, 16, 24, 32, 40, 48, 56};
        char colour[8], size[16], text[32];
        uint64_t x = LEFT;

        for (unsigned i = 0; i < sizeof classes / sizeof classes[0]; i++)
                if (classes[i] < SIZE_CLASS_N) {
                        snprintf(text, sizeof text, "%s", map_class_name(size, classes[i]));
                        svg_key(out, &x, y, colour_of(colour, classes[i]), text);
                }
        svg_key(out, &x, y, colour_of(colour, SIZE_CLASS_NONE), "huge");
        x = LEFT;
        y += 18;
        svg_key(out, &x, y, cached_colour, "cached");
        svg_key(out, &x, y, free_colour, "pale: free in a slab or behind a block");
        svg_key(out, &x, y, dirty_colour, "free, dirty");
        svg_key(out, &x, y, moving_colour, "changing hands");
        svg_key(out, &x, y, "#ffffff", "free, no pages");
        snprintf(text, sizeof text, "a cell is %" PRIu64 " KiB", map->cell_bytes >> 10);
        svg_text(out, LEFT + map->n_columns * STEP, y + CELL - 1, "end", " fill=\"#68707c\"", text);
        if (map->view->region.n_nodes > 1)
                svg_nodes(map, out, y + 18);
}

static void
svg_head(const struct map *map, FILE *out)
{
        char used[TEXT_BYTES_MAX], live[TEXT_BYTES_MAX], dirty[TEXT_BYTES_MAX], text[240],
                at[32] = "", name[LAYOUT_NAME_MAX * TEXT_ESCAPED + 1];
        struct tm tm;

        text_escape(name, sizeof name, map->view->name, sizeof map->view->name, TEXT_MARKUP);
        if (gmtime_r(&map->at, &tm))
                strftime(at, sizeof at, "%Y-%m-%d %H:%M:%S UTC", &tm);
        svg_text(out, LEFT, 26, "start", " font-size=\"18\" font-weight=\"bold\"", name);
        snprintf(text, sizeof text, "%s: %s of memory in use so far, %s allocated in blocks, %s dirty", at,
                 text_bytes(used, region_chunks_hwm(&map->view->region) << GEO_CHUNK_SHIFT),
                 text_bytes(live, check_live_bytes(&map->totals)), text_bytes(dirty, map->totals.dirty_bytes));
        svg_text(out, LEFT, 46, "start", " font-size=\"12\" fill=\"#68707c\"", text);
}

void
map_draw_svg(const struct map *map, FILE *out)
{
        uint64_t lines = n_lines(map), width = LEFT + map->n_columns * STEP + 16, height = TOP + lines * STEP + 74;

        fprintf(out,
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"%" PRIu64 "\" height=\"%" PRIu64
                "\" viewBox=\"0 0 %" PRIu64 " %" PRIu64 "\" font-family=\"sans-serif\" font-size=\"10\">\n",
                width, height, width, height);
        fprintf(out, "<rect width=\"%" PRIu64 "\" height=\"%" PRIu64 "\" fill=\"#ffffff\"/>\n", width, height);
        svg_head(map, out);
        for (uint64_t line = 0; line < lines; line++)
                svg_line(map, line, out);
        for (uint64_t idx = 0; idx < map->n_cells; idx++)
                svg_cell(map, idx, out);
        svg_legend(map, out, TOP + lines * STEP + 16);
        fputs("</svg>\n", out);
}

/* ------------------------------------------------------------------ the terminal */

/* Of the 6x6x6 colours, by hue. */
static unsigned
terminal_colour(uint32_t class_idx)
{
        static const uint8_t by_hue[] = {160, 166, 172, 142, 106, 70, 71, 72, 73, 67, 62, 26};

        return by_hue[hue_of(class_idx) * (sizeof by_hue - 1) / 225];
}

/* How much of it is allocated, in eighths of a letter. */
static const char *
terminal_letter(const struct map *map, const struct map_cell *cell)
{
        static const char *const eighths[] = {"▁", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
        uint64_t used = cell->live_bytes + cell->cached_bytes;

        if (cell->kind == MAP_MOVING)
                return "~";
        if (used == 0)
                return cell->kind == MAP_DIRTY ? "░" : cell->kind == MAP_UNUSED ? " " : "·";
        if (cell->live_bytes == 0)
                return "c";
        return eighths[cell->live_bytes * 8 / map->cell_bytes <= 8 ? cell->live_bytes * 8 / map->cell_bytes : 8];
}

static void
terminal_line(const struct map *map, uint64_t line, FILE *out, bool has_colour)
{
        char bytes[TEXT_BYTES_MAX];

        fprintf(out, "%9s ", text_bytes(bytes, line * map->line_bytes)); /* 80 columns in all */
        if (map->line_arena[line] != UINT32_MAX)
                fprintf(out, "a%-3u ", map->line_arena[line]);
        else
                fputs("     ", out);
        for (uint64_t i = line * map->n_columns; i < (line + 1) * map->n_columns && i < map->n_cells; i++) {
                const struct map_cell *cell = &map->cells[i];
                bool is_coloured = has_colour && cell->live_bytes + cell->cached_bytes != 0;

                if (is_coloured)
                        fprintf(out, "\033[38;5;%um", cell->live_bytes == 0 ? 214 : terminal_colour(cell->class_idx));
                fputs(terminal_letter(map, cell), out);
                if (is_coloured)
                        fputs("\033[0m", out);
        }
        fputs("|\n", out);
}

/* By class: what a colour stands for. */
static void
terminal_classes(const struct map *map, FILE *out, bool has_colour)
{
        char size[16], live[TEXT_BYTES_MAX], cached[TEXT_BYTES_MAX];

        for (uint32_t i = 0; i < SIZE_CLASS_N; i++) {
                const struct check_class *c = &map->totals.classes[i];

                if (c->n_runs == 0)
                        continue;
                if (has_colour)
                        fprintf(out, "\033[38;5;%um█\033[0m", terminal_colour(i));
                else
                        fputs(" ", out);
                fprintf(out, " %8s  %10s allocated, %10s cached, %6" PRIu64 " %s%s\n", map_class_name(size, i),
                        text_bytes(live, c->n_live * size_class_bytes(i)),
                        text_bytes(cached, c->n_cached * size_class_bytes(i)), c->n_runs,
                        size_class_is_small(i) ? "slab" : "run", text_s(c->n_runs));
        }
        if (map->totals.n_huge != 0)
                fprintf(out, "      huge  %10s allocated, %10s cached, %6" PRIu64 " block%s\n",
                        text_bytes(live, map->totals.huge_bytes - map->totals.huge_cached_bytes),
                        text_bytes(cached, map->totals.huge_cached_bytes), map->totals.n_huge,
                        text_s(map->totals.n_huge));
}

enum { TERMINAL_ROOTS_MAX = 16 };

static void
terminal_roots(const struct map *map, FILE *out)
{
        uint32_t n = map->roots.n < TERMINAL_ROOTS_MAX ? map->roots.n : TERMINAL_ROOTS_MAX;

        for (uint32_t i = 0; i < n; i++) {
                const struct root_view *root = &map->roots.all[i];
                char size[TEXT_BYTES_MAX], at[TEXT_BYTES_MAX], name[ROOT_TEXT_MAX];

                text_escape(name, sizeof name, root->name, sizeof root->name, TEXT_PLAIN);
                fprintf(out, "      root  %10s at +%s: %s\n", text_bytes(size, root->bytes),
                        text_bytes(at, root->block_off), name);
        }
        if (map->roots.n > n)
                fprintf(out, "      and %u more root%s (shmallocctl roots)\n", map->roots.n - n,
                        text_s(map->roots.n - n));
}

void
map_draw_terminal(const struct map *map, FILE *out, bool has_colour)
{
        char bytes[TEXT_BYTES_MAX];

        fprintf(out,
                "%s: a cell is %s\n"
                "▁..█ allocated, c cached only, · free in a slab, ░ free and dirty, ~ changing\n",
                map->view->name, text_bytes(bytes, map->cell_bytes));
        for (uint64_t line = 0; line < n_lines(map); line++)
                terminal_line(map, line, out, has_colour);
        terminal_classes(map, out, has_colour);
        terminal_roots(map, out);
}
