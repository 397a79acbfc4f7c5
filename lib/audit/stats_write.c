/*
 * stats_write.c - the rows in the formats that programs read: JSON and OpenMetrics.  For people: stats_text.c.
 *
 * Each writer goes over the groups and knows nothing of what the figures mean.  Names and units are ours, and plain;
 * the only foreign text is in labels and the heap's name, which gather makes printable, and which are quoted here.
 */
#include <inttypes.h>
#include <string.h>

#include "audit/stats_parts.h"
#include "os/print.h"

void
stats_heap_name(const struct stats *s, char name[LAYOUT_NAME_MAX + 1])
{
        const char *from = s->r->header->name;

        for (uint32_t i = 0; i < LAYOUT_NAME_MAX; i++) {
                name[i] = from[i];
                if (name[i] == '\0')
                        return;
                if (name[i] < ' ' || name[i] > '~')
                        name[i] = '?';
        }
        name[LAYOUT_NAME_MAX] = '\0';
}

bool
stats_load_row(const struct stats *s, const struct stats_group *group, uint32_t idx, struct stats_row *ret_row)
{
        memset(ret_row, 0, sizeof *ret_row);
        return group->row(s, idx, ret_row);
}

/* Printable text in double quotes: JSON and OpenMetrics escape alike what can be in it. */
static void
put_quoted(FILE *out, const char *text)
{
        print(out, "\"");
        for (; *text; text++)
                print(out, *text == '"' || *text == '\\' ? "\\%c" : "%c", *text);
        print(out, "\"");
}

/* ------------------------------------------------------------------ JSON */

static void
json_row(const struct stats_group *group, const struct stats_row *row, FILE *out)
{
        const char *comma = "";

        print(out, "{");
        for (uint32_t i = 0; i < row->n_labels; i++, comma = ", ") {
                print(out, "%s\"%s\": ", comma, row->labels[i].name);
                if (row->labels[i].is_number)
                        print(out, "%s", row->labels[i].value);
                else
                        put_quoted(out, row->labels[i].value);
        }
        for (uint32_t i = 0; i < group->n_metrics; i++, comma = ", ")
                print(out, "%s\"%s\": %" PRIu64, comma, group->metrics[i].name, row->values[i]);
        print(out, "}");
}

static void
json_group(const struct stats *s, const struct stats_group *group, FILE *out)
{
        const char *comma = "";
        struct stats_row row;

        print(out, ",\n  \"%s\": [", group->plural);
        for (uint32_t idx = 0; idx < group->n_rows(s); idx++) {
                if (!stats_load_row(s, group, idx, &row))
                        continue;
                print(out, "%s\n    ", comma);
                json_row(group, &row, out);
                comma = ",";
        }
        print(out, "\n  ]");
}

static void
json_descriptions(FILE *out, uint32_t n_groups)
{
        const char *comma = "";

        print(out, ",\n  \"metrics\": [");
        for (uint32_t g = 0; g < n_groups; g++)
                for (uint32_t i = 0; i < stats_groups[g].n_metrics; i++, comma = ",") {
                        const struct stats_metric *m = &stats_groups[g].metrics[i];

                        print(out,
                              "%s\n    {\"of\": \"%s\", \"name\": \"%s\", \"unit\": \"%s\", \"type\": \"%s\", "
                              "\"help\": ",
                              comma, stats_groups[g].plural, m->name, m->unit, m->is_counter ? "counter" : "gauge");
                        put_quoted(out, m->help);
                        print(out, "}");
                }
        print(out, "\n  ]");
}

void
stats_write_json(const struct stats *s, FILE *out, uint32_t n_groups)
{
        char name[LAYOUT_NAME_MAX + 1];
        struct stats_row row;

        stats_heap_name(s, name);
        print(out, "{\n  \"name\": ");
        put_quoted(out, name);
        print(out, ",\n  \"heap\": ");
        stats_load_row(s, &stats_groups[0], 0, &row);
        json_row(&stats_groups[0], &row, out);
        for (uint32_t g = 1; g < n_groups; g++)
                json_group(s, &stats_groups[g], out);
        json_descriptions(out, n_groups);
        print(out, "\n}\n");
}

/* ------------------------------------------------------------------ OpenMetrics */

static void
openmetrics_sample(const struct stats *s, const struct stats_group *group, uint32_t metric, const struct stats_row *row,
                   FILE *out)
{
        char name[LAYOUT_NAME_MAX + 1];

        stats_heap_name(s, name);
        print(out, "shmalloc_%s_%s%s{heap=", group->name, group->metrics[metric].name,
              group->metrics[metric].is_counter ? "_total" : "");
        put_quoted(out, name);
        for (uint32_t i = 0; i < row->n_labels; i++) {
                print(out, ",%s=", row->labels[i].name);
                put_quoted(out, row->labels[i].value);
        }
        print(out, "} %" PRIu64 "\n", row->values[metric]);
}

static void
openmetrics_metric(const struct stats *s, const struct stats_group *group, uint32_t metric, FILE *out)
{
        const struct stats_metric *m = &group->metrics[metric];
        struct stats_row row;

        print(out, "# TYPE shmalloc_%s_%s %s\n", group->name, m->name, m->is_counter ? "counter" : "gauge");
        print(out, "# UNIT shmalloc_%s_%s %s\n", group->name, m->name, m->unit);
        print(out, "# HELP shmalloc_%s_%s %s: %s\n", group->name, m->name, m->unit, m->help);
        for (uint32_t idx = 0; idx < group->n_rows(s); idx++)
                if (stats_load_row(s, group, idx, &row))
                        openmetrics_sample(s, group, metric, &row, out);
}

void
stats_write_openmetrics(const struct stats *s, FILE *out, uint32_t n_groups)
{
        for (uint32_t g = 0; g < n_groups; g++)
                for (uint32_t i = 0; i < stats_groups[g].n_metrics; i++)
                        openmetrics_metric(s, &stats_groups[g], i, out);
        print(out, "# EOF\n");
}
