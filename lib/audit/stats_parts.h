/*
 * stats_parts.h - figures as rows of groups: what stats.c gathers and stats_write.c writes.
 */
#ifndef AUDIT_STATS_PARTS_H
#define AUDIT_STATS_PARTS_H

#include <stdbool.h>
#include <stdint.h>

#include "audit/check.h"
#include "audit/stats.h"

enum { STATS_LABELS_MAX = 4, STATS_VALUES_MAX = 28, STATS_GROUPS = 5 };

/* Everything that is counted; the same for all formats. */
struct stats {
        struct region *r; /* never written to */
        struct check_totals totals;
        struct check_totals *by_arena;
        struct thread_counters counted; /* by all threads that ever were */
        uint32_t n_bound[ARENA_MAX];    /* threads per arena */
};

/* A figure.  Its name ends in its unit. */
struct stats_metric {
        const char *name;
        const char *unit;
        const char *help;
        bool is_counter; /* grows only; otherwise it is what there is now */
};

struct stats_label {
        const char *name;
        bool is_number;
        char value[64]; /* printable ASCII */
};

struct stats_row {
        uint32_t n_labels;
        struct stats_label labels[STATS_LABELS_MAX];
        uint64_t values[STATS_VALUES_MAX]; /* in the order of the metrics */
};

struct stats_group {
        const char *name; /* "class" */
        const char *plural;
        const struct stats_metric *metrics;
        uint32_t n_metrics;
        uint32_t (*n_rows)(const struct stats *s);
        bool (*row)(const struct stats *s, uint32_t idx, struct stats_row *ret_row); /* false: there is no such row */
};

extern const struct stats_group stats_groups[STATS_GROUPS]; /* the first one is the heap as a whole, of one row */

/* The name that the heap was created with, whatever is in the header now; printable. */
void stats_heap_name(const struct stats *s, char name[LAYOUT_NAME_MAX + 1]);

/* False: there is no such row. */
bool stats_load_row(const struct stats *s, const struct stats_group *group, uint32_t idx, struct stats_row *ret_row);

/* `flags`: STATS_UNITS counts. */
void stats_write_text(const struct stats *s, FILE *out, uint32_t n_groups, unsigned flags);
void stats_write_json(const struct stats *s, FILE *out, uint32_t n_groups);
void stats_write_openmetrics(const struct stats *s, FILE *out, uint32_t n_groups);

#endif
