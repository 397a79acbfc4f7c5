/*
 * top.c - `shmallocctl top`: a heap, live.
 *
 * Every interval the heap is counted as `stat` does it, read-only.  Rates are differences of counters that only ever
 * grow: blocks that left slabs and came back, memory given back, dead threads settled.
 */
#include <curses.h>
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "common/text.h"
#include "ctl/ctl.h"

enum { INTERVAL_MIN_MS = 100, INTERVAL_MAX_MS = 60000, ASK_EVERY_MS = 3000 };

enum colour { COLOUR_TITLE = 1, COLOUR_LIVE, COLOUR_CACHED, COLOUR_DIRTY, COLOUR_DEAD, COLOUR_HEAD };

enum sort { SORT_CACHED, SORT_THREADS, SORT_PID, SORT_N };

struct sample {
        uint64_t at_ns;
        struct check_totals totals;
        struct check_totals *by_arena;
        uint32_t *n_bound; /* threads by arena */
        struct client_views clients;
        uint64_t n_out, n_in; /* blocks that left their slab, run or chunk, and came back; ever */
        uint64_t n_reaped, purged_bytes, n_dead_threads;
        int n_faults;
};

struct top {
        struct view view;
        struct sample now, last;
        const char *socket;
        char daemon[64]; /* what it says of the heap */
        uint64_t asked_ns;
        int interval_ms;
        enum sort sort;
        bool is_paused;
        bool has_rates;
};

/* ------------------------------------------------------------------ gathering */

static uint64_t
now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* What all threads have counted. */
static void
add_counters(const struct region *r, struct sample *s)
{
        struct thread_counters counted;

        slot_totals(r, 0, THREAD_COUNTERS_N, (uint64_t *)(void *)&counted);
        for (uint32_t i = 0; i < SIZE_CLASS_N; i++) {
                s->n_out += counted.counters[i].n_filled;
                s->n_in += counted.counters[i].n_drained;
        }
        s->n_out += counted.n_huge_malloc;
        s->n_in += counted.n_huge_free + counted.n_huge_drained;
        s->n_reaped += counted.n_reaped;
        s->purged_bytes += counted.purged_bytes;
}

static void
add_slot(const struct region *r, uint32_t idx, struct sample *s)
{
        const struct slot_gate *gate = region_gate(r, idx);
        uint32_t binding = load_relaxed(&r->bindings[idx]);
        uint32_t arena = (binding & ~(BINDING_USED | BINDING_RESERVE)) - 1;

        s->n_dead_threads += load_relaxed(&gate->state) == 1 && slot_thread_is_dead_hint(r, idx);
        if ((binding & BINDING_USED) && arena < r->layout.n_arenas)
                s->n_bound[arena]++;
}

static void
sample_free(struct sample *s)
{
        free(s->by_arena);
        free(s->n_bound);
        clients_free(&s->clients);
        memset(s, 0, sizeof *s);
}

static int
sample_take(struct top *t, struct sample *s)
{
        const struct region *r = &t->view.region;
        int err = view_refresh(&t->view);

        memset(s, 0, sizeof *s);
        if (err < 0)
                return err;
        s->by_arena = calloc(r->layout.n_arenas, sizeof *s->by_arena);
        s->n_bound = calloc(r->layout.n_arenas, sizeof *s->n_bound);
        if (!s->by_arena || !s->n_bound)
                return error_set(-ENOMEM, "no memory to count with");
        s->at_ns = now_ns();
        s->n_faults = view_check(&t->view, 0, NULL, &s->totals, s->by_arena);
        if (s->n_faults < 0)
                return s->n_faults;
        clients_read(r, &s->clients);
        for (uint32_t i = 0; i < region_threads_hwm(r); i++)
                add_slot(r, i, s);
        add_counters(r, s);
        return 0;
}

static void
ask(struct top *t)
{
        const char *why = "it says nothing of this heap", *state = NULL;
        json_t *daemon, *heap;

        if (t->asked_ns != 0 && now_ns() - t->asked_ns < ASK_EVERY_MS * UINT64_C(1000000))
                return;
        daemon = ask_daemon(t->socket, &why);
        heap = daemon ? ask_find(daemon, t->view.region.dev, t->view.region.ino) : NULL;
        state = json_string_value(json_object_get(heap, "state"));
        if (state)
                snprintf(t->daemon, sizeof t->daemon, "daemon %d: %s",
                         (int)json_integer_value(json_object_get(daemon, "pid")), state);
        else
                snprintf(t->daemon, sizeof t->daemon, "no daemon: %s", why);
        json_decref(daemon);
        t->asked_ns = now_ns();
}

/* ------------------------------------------------------------------ drawing */

/*
 * For 40 columns and more: what is said in words flows into as many lines as it takes, tables leave out the columns
 * that matter least, and nothing is written beyond the edge, where curses would go on in the line below.
 */

static void __attribute__((format(printf, 4, 5))) put(int line, int column, attr_t attributes, const char *fmt, ...)
{
        char text[512];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        if (line >= LINES || column >= COLS)
                return;
        attron(attributes);
        mvaddnstr(line, column, text, COLS - column);
        attroff(attributes);
}

/* Where the next piece goes. */
struct flow {
        int line, column;
};

/* Behind the last piece, or below it. */
static void __attribute__((format(printf, 3, 4))) flow(struct flow *at, attr_t attributes, const char *fmt, ...)
{
        char text[160];
        va_list args;
        int length;

        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        length = (int)strlen(text);
        if (at->column > 0 && at->column + 2 + length > COLS) {
                at->line++;
                at->column = 0;
        } else if (at->column > 0) {
                at->column += 2;
        }
        put(at->line, at->column, attributes, "%s", text);
        at->column += length;
}

static void
flow_end(struct flow *at)
{
        at->line++;
        at->column = 0;
}

/* Per second, since the last sample. */
static double
rate(const struct top *t, uint64_t now, uint64_t last)
{
        double seconds = (double)(t->now.at_ns - t->last.at_ns) / 1e9;

        return t->has_rates && seconds > 0 && now >= last ? (double)(now - last) / seconds : 0;
}

static const char *
short_number(char buf[16], double n)
{
        const char *units = " kMG";

        for (; n >= 999.5 && units[1]; units++)
                n /= 1000;
        snprintf(buf, 16, n < 9.95 && n > 0 ? "%.1f%c" : "%.0f%c", n, *units);
        if (*units == ' ')
                buf[strlen(buf) - 1] = '\0';
        return buf;
}

enum { BAR_LABEL = 11, BAR_SIZE = 11, BAR_MORE = 18, BAR_MIN = 8 };

static void
bar(int line, const char *what, uint64_t part, uint64_t whole, enum colour colour, const char *more)
{
        bool has_more = COLS >= BAR_LABEL + BAR_MIN + BAR_SIZE + BAR_MORE;
        int width = COLS - BAR_LABEL - BAR_SIZE - (has_more ? BAR_MORE : 0);
        int n = whole ? (int)((double)part / (double)whole * width) : 0;
        char bytes[TEXT_BYTES_MAX];

        if (width < 0 || line >= LINES - 1)
                return;
        n = n < width ? n : width;
        put(line, 0, 0, "%-10s ", what);
        put(line, BAR_LABEL, COLOR_PAIR(colour) | A_REVERSE, "%*s", n, "");
        attron(A_DIM);
        if (n < width)
                mvhline(line, BAR_LABEL + n, '.', width - n);
        attroff(A_DIM);
        put(line, BAR_LABEL + width, 0, " %10s", text_bytes(bytes, part));
        if (has_more)
                put(line, BAR_LABEL + width + BAR_SIZE, 0, "  %s", more);
}

static void
draw_title(const struct top *t, struct flow *at)
{
        char text[32] = "";
        time_t now = time(NULL);
        struct tm tm;

        if (localtime_r(&now, &tm))
                strftime(text, sizeof text, "%T", &tm);
        flow(at, COLOR_PAIR(COLOUR_TITLE) | A_BOLD, "%s", t->view.name);
        flow(at, 0, "%s", text);
        flow(at, 0, "every %.1f s%s", t->interval_ms / 1000.0, t->is_paused ? " (paused)" : "");
        flow(at, 0, "%s", t->daemon);
        flow_end(at);
}

static void
draw_totals(const struct top *t, struct flow *at)
{
        const struct check_totals *c = &t->now.totals;
        uint64_t capacity = region_capacity_chunks(&t->view.region) << GEO_CHUNK_SHIFT;
        uint64_t n_live = c->n_huge - c->n_huge_cached, n_cached = check_cached_blocks(c);
        char bytes[TEXT_BYTES_MAX], text[64];

        for (uint32_t i = 0; i < SIZE_CLASS_N; i++)
                n_live += c->classes[i].n_live;
        flow(at, 0, "capacity %s", text_bytes(bytes, capacity));
        flow(at, 0, "used so far %s", text_bytes(bytes, region_chunks_hwm(&t->view.region) << GEO_CHUNK_SHIFT));
        flow(at, 0, "the file occupies %s", text_bytes(bytes, t->view.file_bytes));
        flow_end(at);
        snprintf(text, sizeof text, "%" PRIu64 " block%s", n_live, text_s(n_live));
        bar(at->line++, "allocated", check_live_bytes(c), capacity, COLOUR_LIVE, text);
        snprintf(text, sizeof text, "%" PRIu64 " block%s", n_cached, text_s(n_cached));
        bar(at->line++, "cached", check_cached_bytes(c), capacity, COLOUR_CACHED, text);
        bar(at->line++, "dirty", c->dirty_bytes, capacity, COLOUR_DIRTY, "free, with pages");
        at->line++;
}

static void
draw_rates(const struct top *t, struct flow *at)
{
        const struct sample *now = &t->now, *last = &t->last;
        char a[16], c[TEXT_BYTES_MAX], d[TEXT_BYTES_MAX];

        flow(at, 0, "blocks out %s/s", short_number(a, rate(t, now->n_out, last->n_out)));
        flow(at, 0, "back %s/s", short_number(a, rate(t, now->n_in, last->n_in)));
        flow(at, 0, "given back %s, %s/s", text_bytes(c, now->purged_bytes),
             text_bytes(d, (uint64_t)rate(t, now->purged_bytes, last->purged_bytes)));
        flow(at, 0, "deaths settled %" PRIu64 ", %s/s", now->n_reaped,
             short_number(a, rate(t, now->n_reaped, last->n_reaped)));
        flow_end(at);
}

static void
draw_counts(const struct top *t, struct flow *at)
{
        const struct sample *now = &t->now;

        flow(at, 0, "clients %u", now->clients.n - now->clients.n_dead);
        if (now->clients.n_dead || now->n_dead_threads)
                flow(at, COLOR_PAIR(COLOUR_DEAD) | A_BOLD, "%u dead with %" PRIu64 " thread%s not reaped yet",
                     now->clients.n_dead, now->n_dead_threads, text_s(now->n_dead_threads));
        flow(at, 0, "threads %" PRIu64, now->totals.n_threads);
        flow(at, 0, "named objects %" PRIu64, now->totals.n_roots);
        if (now->n_faults > 0)
                flow(at, COLOR_PAIR(COLOUR_DEAD) | A_BOLD, "%d FAULT%s: run shmallocctl check", now->n_faults,
                     now->n_faults == 1 ? "" : "S");
        flow_end(at);
        at->line++;
}

/* ------------------------------------------------------------------ tables */

struct column {
        int width; /* with the space before it; < 0: the text begins at the left */
        int rank;  /* 0: always there; the highest goes first */
};

enum { COLUMNS_MAX = 8, CELL_MAX = 128 };

/* The highest rank of which all columns fit. */
static int
highest_rank(const struct column *columns, int n)
{
        for (int rank = COLUMNS_MAX; rank > 0; rank--) {
                int width = 0;

                for (int i = 0; i < n; i++)
                        width += columns[i].rank <= rank ? abs(columns[i].width) : 0;
                if (width <= COLS)
                        return rank;
        }
        return 0;
}

/* A head is drawn up to the edge, and so is the last cell. */
static void
draw_cells(int line, const struct column *columns, int n, char cells[][CELL_MAX], attr_t attributes, bool is_head)
{
        int at = 0, rank = highest_rank(columns, n);

        if (is_head)
                put(line, 0, attributes, "%*s", COLS, "");
        for (int i = 0; i < n; i++) {
                int width = abs(columns[i].width);

                if (columns[i].rank > rank)
                        continue;
                if (columns[i].width >= 0)
                        put(line, at, attributes, "%*.*s", width, width, cells[i]);
                else
                        put(line, at, attributes, " %-.*s", i == n - 1 ? CELL_MAX : width - 1, cells[i]);
                at += width;
        }
}

enum { PART_COLUMNS = 8 };
static const struct column part_columns[PART_COLUMNS] = {{10, 0}, {5, 5},  {8, 3},  {8, 6},
                                                         {11, 1}, {11, 2}, {11, 4}, {11, 4}};

static void
draw_part(int line, const char *what, uint32_t idx, uint32_t node, uint32_t n_threads, const struct check_totals *c)
{
        char cells[PART_COLUMNS][CELL_MAX], bytes[TEXT_BYTES_MAX];
        uint64_t live_bytes = 0;

        for (uint32_t i = 0; i < SIZE_CLASS_N; i++)
                live_bytes += c->classes[i].n_live * size_class_bytes(i);
        snprintf(cells[0], CELL_MAX, "%-5s %4u", what, idx);
        snprintf(cells[1], CELL_MAX, "%u", node);
        snprintf(cells[2], CELL_MAX, "%u", n_threads);
        snprintf(cells[3], CELL_MAX, "%" PRIu64, c->n_chunks_arena);
        snprintf(cells[4], CELL_MAX, "%s", text_bytes(bytes, live_bytes));
        snprintf(cells[5], CELL_MAX, "%s", text_bytes(bytes, check_cached_bytes(c)));
        snprintf(cells[6], CELL_MAX, "%s", text_bytes(bytes, c->free_run_bytes));
        snprintf(cells[7], CELL_MAX, "%s", text_bytes(bytes, c->dirty_bytes));
        draw_cells(line, part_columns, PART_COLUMNS, cells, 0, false);
}

/* The totals are counters and nothing else. */
static void
add_totals(struct check_totals *to, const struct check_totals *from)
{
        uint64_t *a = (uint64_t *)(void *)to;
        const uint64_t *b = (const uint64_t *)(const void *)from;

        for (size_t i = 0; i < sizeof *to / sizeof *a; i++)
                a[i] += b[i];
}

/* Arenas that have something; nodes where there are several. */
static void
draw_arenas(const struct top *t, struct flow *at)
{
        static char head[PART_COLUMNS][CELL_MAX] = {"#",         "NODE",   "THREADS", "CHUNKS",
                                                    "ALLOCATED", "CACHED", "FREE",    "DIRTY"};
        const struct region *r = &t->view.region;
        int line = at->line;

        draw_cells(line++, part_columns, PART_COLUMNS, head, COLOR_PAIR(COLOUR_HEAD) | A_REVERSE, true);
        for (uint32_t i = 0; i < r->layout.n_arenas && line < LINES - 4; i++)
                if (t->now.n_bound[i] != 0 || t->now.by_arena[i].n_chunks_arena != 0)
                        draw_part(line++, "arena", i, region_arena_node(r, i), t->now.n_bound[i], &t->now.by_arena[i]);
        for (uint32_t node = 0; r->n_nodes > 1 && node < r->n_nodes && line < LINES - 4; node++) {
                struct check_totals sum = {.n_faults = 0};
                uint32_t n_threads = 0;

                for (uint32_t i = node * r->arenas_per_node; i < (node + 1) * r->arenas_per_node; i++) {
                        add_totals(&sum, &t->now.by_arena[i]);
                        n_threads += t->now.n_bound[i];
                }
                draw_part(line++, "node", node, node, n_threads, &sum);
        }
        at->line = line + 1;
}

static enum sort sort_by;

static int
by_choice(const void *a, const void *b)
{
        const struct client_view *x = a, *y = b;

        if (sort_by == SORT_CACHED && x->cached_bytes != y->cached_bytes)
                return x->cached_bytes > y->cached_bytes ? -1 : 1;
        if (sort_by == SORT_THREADS && x->n_threads != y->n_threads)
                return x->n_threads > y->n_threads ? -1 : 1;
        return x->pid < y->pid ? -1 : x->pid > y->pid;
}

enum { CLIENT_COLUMNS = 6 };
static const struct column client_columns[CLIENT_COLUMNS] = {{8, 0}, {-13, 0}, {7, 4}, {10, 3}, {10, 1}, {-9, 2}};

static void
draw_client(int line, const struct client_view *c)
{
        char cells[CLIENT_COLUMNS][CELL_MAX], bytes[TEXT_BYTES_MAX], state[CLIENT_TEXT_MAX];

        snprintf(cells[0], CELL_MAX, "%u", c->pid_here ? c->pid_here : c->pid);
        snprintf(cells[1], CELL_MAX, "%s", c->name);
        snprintf(cells[2], CELL_MAX, "%u", c->uid);
        snprintf(cells[3], CELL_MAX, "%u", c->n_threads);
        snprintf(cells[4], CELL_MAX, "%s", text_bytes(bytes, c->cached_bytes));
        snprintf(cells[5], CELL_MAX, " %s", client_state_text(state, c));
        draw_cells(line, client_columns, CLIENT_COLUMNS, cells, client_is_dead(c) ? COLOR_PAIR(COLOUR_DEAD) : 0, false);
}

static void
draw_clients(struct top *t, struct flow *at)
{
        char head[CLIENT_COLUMNS][CELL_MAX] = {"PID", "NAME", "UID", "THREADS", "CACHED", " STATE"};
        static const int sorted[SORT_N] = {[SORT_CACHED] = 4, [SORT_THREADS] = 3, [SORT_PID] = 0};

        strcat(head[sorted[t->sort]], " v");
        if (at->line < LINES - 1)
                draw_cells(at->line, client_columns, CLIENT_COLUMNS, head, COLOR_PAIR(COLOUR_HEAD) | A_REVERSE, true);
        sort_by = t->sort;
        qsort(t->now.clients.all, t->now.clients.n, sizeof *t->now.clients.all, by_choice);
        for (uint32_t i = 0; i < t->now.clients.n && ++at->line < LINES - 1; i++)
                draw_client(at->line, &t->now.clients.all[i]);
}

static void
draw(struct top *t)
{
        struct flow at = {0, 0};

        erase();
        draw_title(t, &at);
        draw_totals(t, &at);
        draw_rates(t, &at);
        draw_counts(t, &at);
        draw_arenas(t, &at);
        draw_clients(t, &at);
        move(LINES - 1, 0);
        clrtoeol();
        put(LINES - 1, 0, A_DIM, "q quit  p pause  + - interval  s sort");
        refresh();
}

/* ------------------------------------------------------------------ the loop */

/* False: the terminal is of no type that is known. */
static bool
start_screen(void)
{
        setlocale(LC_ALL, "");
        if (!newterm(NULL, stdout, stdin))
                return false;
        cbreak();
        noecho();
        curs_set(0);
        keypad(stdscr, TRUE);
        if (!has_colors() || !ctl_use_colour())
                return true;
        start_color();
        use_default_colors();
        init_pair(COLOUR_TITLE, COLOR_CYAN, -1);
        init_pair(COLOUR_LIVE, COLOR_BLUE, -1);
        init_pair(COLOUR_CACHED, COLOR_YELLOW, -1);
        init_pair(COLOUR_DIRTY, COLOR_WHITE, -1);
        init_pair(COLOUR_DEAD, COLOR_RED, -1);
        init_pair(COLOUR_HEAD, -1, -1);
        return true;
}

/* False: enough. */
static bool
handle_key(struct top *t, int key)
{
        switch (key) {
        case 'q':
        case 'Q':
        case 27: /* Escape */
                return false;
        case 'p':
        case ' ':
                t->is_paused = !t->is_paused;
                break;
        case '+':
                t->interval_ms = t->interval_ms * 2 < INTERVAL_MAX_MS ? t->interval_ms * 2 : INTERVAL_MAX_MS;
                break;
        case '-':
                t->interval_ms = t->interval_ms / 2 > INTERVAL_MIN_MS ? t->interval_ms / 2 : INTERVAL_MIN_MS;
                break;
        case 's':
                t->sort = (t->sort + 1) % SORT_N;
                break;
        default:
                break;
        }
        return true;
}

/* Up to the end of the interval, or a key. */
static bool
wait_for_key(struct top *t)
{
        uint64_t end = t->now.at_ns + (uint64_t)t->interval_ms * 1000000;
        uint64_t now = now_ns();
        int key;

        timeout(t->is_paused ? -1 : now < end ? (int)((end - now) / 1000000) + 1 : 0);
        key = getch();
        return key == ERR || handle_key(t, key);
}

static int
next_sample(struct top *t)
{
        struct sample s;
        int err = sample_take(t, &s);

        if (err < 0) {
                sample_free(&s);
                return err;
        }
        sample_free(&t->last);
        t->has_rates = t->now.at_ns != 0;
        t->last = t->now;
        t->now = s;
        ask(t);
        return 0;
}

static int
run(struct top *t, uint64_t n_samples)
{
        int err = next_sample(t);

        while (err == 0) {
                draw(t);
                if (!wait_for_key(t) || view_was_truncated())
                        break;
                if (t->is_paused || now_ns() < t->now.at_ns + (uint64_t)t->interval_ms * 1000000)
                        continue;
                if (n_samples != 0 && --n_samples == 0)
                        break;
                err = next_sample(t);
        }
        return err;
}

enum { KEY_DELAY = 'd', KEY_COUNT = 'n' };

struct top_args {
        struct ctl_args common;
        uint64_t interval_ms, n_samples;
};

static error_t
top_option(int key, char *arg, struct argp_state *state)
{
        struct top_args *args = state->input;

        switch (key) {
        case KEY_DELAY:
                if (!text_parse_number(arg, 10, INTERVAL_MIN_MS, INTERVAL_MAX_MS, &args->interval_ms))
                        argp_error(state, "--interval=%s: milliseconds, %d to %d", arg, INTERVAL_MIN_MS,
                                   INTERVAL_MAX_MS);
                return 0;
        case KEY_COUNT:
                if (!text_parse_number(arg, 10, 1, UINT32_MAX, &args->n_samples))
                        argp_error(state, "--count=%s: 1 or more", arg);
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int
verb_top(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"interval", KEY_DELAY, "MS", 0, "Milliseconds between two looks, 100 to 60000; default 1000", 0},
                {"count", KEY_COUNT, "N", 0, "End after N looks", 0},
                {0}};
        struct top_args args = {.common = {.wants = CTL_WANTS_NAME | CTL_WANTS_SOCKET}, .interval_ms = 1000};
        struct top t = {.sort = SORT_CACHED};
        int err, status;

        ctl_parse(argc, argv, &args.common, options, top_option,
                  "A heap, live: bytes, rates, arenas, nodes, clients, deaths.\vKeys: q quits, p "
                  "pauses, + and - change the interval, s the order of clients.  Rates count "
                  "blocks where they leave slabs and come back, not each malloc and free.");
        if (!isatty(STDIN_FILENO) || !isatty(STDOUT_FILENO)) {
                fprintf(stderr, "shmallocctl: top wants a terminal; shmallocctl stat prints the same once\n");
                return CTL_USAGE;
        }
        status = ctl_view(&t.view, args.common.name);
        if (status != CTL_GOOD)
                return status;
        t.socket = args.common.socket;
        t.interval_ms = (int)args.interval_ms;
        if (!start_screen()) {
                const char *term = getenv("TERM");

                fprintf(stderr, "shmallocctl: TERM=%s: no terminal of a known type; shmallocctl stat prints the same\n",
                        term ? term : "");
                return ctl_view_done(&t.view, CTL_USAGE);
        }
        err = run(&t, args.n_samples);
        endwin();
        sample_free(&t.now);
        sample_free(&t.last);
        return ctl_view_done(&t.view, err < 0 ? ctl_fail(err) : CTL_GOOD);
}
