/*
 * stat.c - `shmallocctl stat` and `shmallocctl check`: what the library says of a heap, for people and programs.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/stats.h"
#include "base/error.h"
#include "common/text.h"
#include "ctl/ctl.h"

/* ------------------------------------------------------------------ stat */

enum { KEY_OPENMETRICS = 'o', KEY_TOTALS = 't', KEY_QUIESCENT = 'q' };

struct stat_args {
        struct ctl_args common;
        unsigned flags;
};

static error_t
stat_option(int key, char *arg, struct argp_state *state)
{
        struct stat_args *args = state->input;

        (void)arg;
        switch (key) {
        case KEY_OPENMETRICS:
                args->flags |= STATS_OPENMETRICS;
                return 0;
        case KEY_TOTALS:
                args->flags |= STATS_MERGED;
                return 0;
        case ARGP_KEY_END:
                if (args->common.is_json && (args->flags & STATS_OPENMETRICS))
                        argp_error(state, "--json and --openmetrics exclude each other");
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int
verb_stat(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"openmetrics", KEY_OPENMETRICS, NULL, 0, "In the text format that Prometheus reads", 0},
                {"totals", KEY_TOTALS, NULL, 0, "The heap as a whole only: no classes, arenas, nodes, clients", 0},
                {0}};
        struct stat_args args = {.common = {.wants = CTL_WANTS_NAME | CTL_WANTS_JSON | CTL_WANTS_BYTES}};
        struct view v;
        int err, status;

        ctl_parse(argc, argv, &args.common, options, stat_option,
                  "What a heap is used for: as a whole, by size class, arena, node, client.\v"
                  "Tables have 80 columns; columns and rows of nothing but 0 are left out.");
        status = ctl_view(&v, args.common.name);
        if (status != CTL_GOOD)
                return status;
        args.flags |= args.common.is_json ? STATS_JSON : args.common.is_exact ? 0 : STATS_UNITS;
        err = stats_print(&v.region, stdout, args.flags);
        if (err == -EIO)
                status = CTL_FAULTS; /* the guard of standard output says it */
        else if (err < 0)
                status = ctl_fail(error_set(err, "cannot print: %s", error_name(err)));
        return ctl_view_done(&v, status);
}

/* ------------------------------------------------------------------ check */

struct check_args {
        struct ctl_args common;
        bool is_quiescent;
};

static error_t
check_option(int key, char *arg, struct argp_state *state)
{
        struct check_args *args = state->input;

        (void)arg;
        switch (key) {
        case KEY_QUIESCENT:
                args->is_quiescent = true;
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* A line per fault, as the check writes them. */
static json_t *
lines_json(char *lines)
{
        json_t *list = json_array();
        char *rest = NULL;

        for (char *line = strtok_r(lines, "\n", &rest); line; line = strtok_r(NULL, "\n", &rest))
                json_array_append_new(list, json_string(line));
        return list;
}

/* The report, to be freed; *ret_n is the number of faults or -errno. */
static char *
check_report(struct view *v, const struct check_args *args, struct check_totals *ret_totals, int *ret_n)
{
        char *lines = NULL;
        size_t length = 0;
        FILE *report = open_memstream(&lines, &length);

        *ret_n = report ? view_check(v, args->is_quiescent ? CHECK_QUIESCENT : 0, report, ret_totals, NULL)
                        : error_set(-ENOMEM, "no memory for the report");
        if (report)
                fclose(report);
        return lines;
}

static int
check_json(const struct view *v, const struct check_args *args, const struct check_totals *totals, char *lines, int n)
{
        int status =
                ctl_print_json(json_pack("{ss sb si sI sI so}", "name", v->name, "exact", args->is_quiescent, "faults",
                                         n, "allocated_bytes", (json_int_t)check_live_bytes(totals), "metadata_bytes",
                                         (json_int_t)totals->metadata_bytes, "report", lines_json(lines)));

        return status != CTL_GOOD || n == 0 ? status : CTL_FAULTS;
}

static int
check_text(const struct view *v, const struct check_args *args, const struct check_totals *totals, const char *lines,
           int n)
{
        char bytes[TEXT_BYTES_MAX];

        if (n > 0) {
                printf("%sheap %s: %d fault%s\n", lines, v->name, n, text_s((uint64_t)n));
                return CTL_FAULTS;
        }
        printf("heap %s: in order%s, %s in blocks\n", v->name,
               args->is_quiescent ? "" : " as far as can be seen while others may be using it",
               text_bytes(bytes, check_live_bytes(totals)));
        return CTL_GOOD;
}

int
verb_check(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"quiescent", KEY_QUIESCENT, NULL, 0,
                 "Nobody is using the heap, and the dead have been reaped: then the check is exact", 0},
                {0}};
        struct check_args args = {.common = {.wants = CTL_WANTS_NAME | CTL_WANTS_JSON | CTL_WANTS_FAULTS}};
        struct check_totals totals;
        struct view v;
        char *lines;
        int n, status;

        ctl_parse(argc, argv, &args.common, options, check_option,
                  "Proves that every block of a heap is in exactly one place and that all of "
                  "its tables agree.\vExits with 0 if it is in order and 1 if faults were "
                  "found.  Without --quiescent, states in between are no faults.");
        status = ctl_view(&v, args.common.name);
        if (status != CTL_GOOD)
                return status;
        lines = check_report(&v, &args, &totals, &n);
        if (n < 0)
                status = ctl_fail(n);
        else
                status = args.common.is_json ? check_json(&v, &args, &totals, lines, n)
                                             : check_text(&v, &args, &totals, lines, n);
        free(lines);
        return ctl_view_done(&v, status);
}
