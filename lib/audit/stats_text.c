/*
 * stats_text.c - the rows as tables for people, in 80 columns.
 *
 * A column is as wide as what stands in it, its head has a line for each word of its name, and one that says nothing
 * but 0 is left out; what does not fit into a line goes on in another table below, with the same labels.  For that all
 * rows are looked at twice: what comes in between may be wider than its column, and then moves the others.
 */
#include <inttypes.h>
#include <string.h>

#include "audit/stats_parts.h"
#include "base/quantity.h"
#include "base/verify.h"
#include "os/print.h"

enum { LINE_MAX_COLUMNS = 80, NAME_COLUMNS = 20, COLUMNS_MAX = STATS_LABELS_MAX + STATS_VALUES_MAX, VALUE_MAX = 32 };

/* ------------------------------------------------------------------ pieces */

/* From column `indent` on, where the cursor is; further lines begin there, too. */
static void
put_wrapped(FILE *out, int indent, const char *first, const char *text)
{
        int at = indent;

        ASSERT(indent >= 0 && indent < LINE_MAX_COLUMNS);
        for (const char *piece = first; piece; piece = piece == first ? text : NULL)
                for (const char *word = piece; *word;) {
                        int length = (int)strcspn(word, " ");

                        if (at > indent && at + 1 + length > LINE_MAX_COLUMNS) {
                                print(out, "\n%*s", indent, "");
                                at = indent;
                        }
                        print(out, at > indent ? " %.*s" : "%.*s", length, word);
                        at += length + (at > indent);
                        word += length;
                        word += strspn(word, " ");
                }
        print(out, "\n");
}

static bool
has_unit(const struct stats_metric *m, unsigned flags)
{
        return (flags & STATS_UNITS) && strcmp(m->unit, "bytes") == 0;
}

static const char *
value_text(char buf[VALUE_MAX], const struct stats_metric *m, uint64_t value, unsigned flags)
{
        _Static_assert((int)QUANTITY_BYTES_MAX <= (int)VALUE_MAX, "a size fits");

        if (has_unit(m, flags))
                return quantity_bytes(buf, value);
        snprintf(buf, VALUE_MAX, "%" PRIu64, value);
        return buf;
}

/* Of a size its unit has been said. */
static void
put_help(FILE *out, int indent, const struct stats_metric *m, unsigned flags)
{
        put_wrapped(out, indent, has_unit(m, flags) ? "" : m->unit, m->help);
}

/* ------------------------------------------------------------------ the heap as a whole */

static void
text_heap(const struct stats *s, FILE *out, unsigned flags)
{
        const struct stats_group *group = &stats_groups[0];
        char name[LAYOUT_NAME_MAX + 1], value[VALUE_MAX];
        int columns = flags & STATS_UNITS ? 10 : 16;
        struct stats_row row;

        stats_heap_name(s, name);
        print(out, "heap %s\n", name);
        stats_load_row(s, group, 0, &row);
        for (uint32_t i = 0; i < group->n_metrics; i++) {
                const struct stats_metric *m = &group->metrics[i];

                print(out, "  %-*s %*s  ", NAME_COLUMNS, m->name, columns, value_text(value, m, row.values[i], flags));
                put_help(out, 2 + NAME_COLUMNS + 1 + columns + 2, m, flags);
        }
}

/* ------------------------------------------------------------------ tables */

/* Labels first, then values. */
struct table {
        const struct stats_group *group;
        uint32_t n_labels;
        unsigned flags;
        uint8_t width[COLUMNS_MAX]; /* 0: left out */
};

static uint32_t
n_columns(const struct table *t)
{
        return t->n_labels + t->group->n_metrics;
}

static bool
is_all_zero(const struct stats_group *group, const struct stats_row *row)
{
        for (uint32_t i = 0; i < group->n_metrics; i++)
                if (row->values[i] != 0)
                        return false;
        return true;
}

/* Rows that have anything to tell. */
static bool
next_row(const struct stats *s, const struct table *t, uint32_t *idx, struct stats_row *ret_row)
{
        while (*idx < t->group->n_rows(s))
                if (stats_load_row(s, t->group, (*idx)++, ret_row) && !is_all_zero(t->group, ret_row))
                        return true;
        return false;
}

static const char *
cell_text(const struct table *t, const struct stats_row *row, uint32_t column, char buf[VALUE_MAX])
{
        uint32_t i = column - t->n_labels;

        ASSERT(column < n_columns(t));
        if (column < t->n_labels)
                return row->labels[column].value;
        ASSERT(i < t->group->n_metrics);
        return value_text(buf, &t->group->metrics[i], row->values[i], t->flags);
}

/* The words of a name, the last of which is number 0; *ret_length is 0 beyond the first. */
static const char *
word_from_end(const char *name, uint32_t number, size_t *ret_length)
{
        size_t end = strlen(name), start;

        for (;; end = start - 1) {
                for (start = end; start > 0 && name[start - 1] != '_'; start--)
                        ;
                *ret_length = end - start;
                if (number-- == 0)
                        return name + start;
                if (start == 0) {
                        *ret_length = 0;
                        return name;
                }
        }
}

static const char *
column_name(const struct table *t, const struct stats_row *row, uint32_t column)
{
        ASSERT(column < n_columns(t) && t->n_labels <= STATS_LABELS_MAX);
        return column < t->n_labels ? row->labels[column].name : t->group->metrics[column - t->n_labels].name;
}

static void
widen(struct table *t, uint32_t column, size_t length)
{
        ASSERT(column < COLUMNS_MAX && length <= UINT8_MAX);
        if (length > t->width[column])
                t->width[column] = (uint8_t)length;
}

/* False: there is no row.  *ret_row is one, for the names of the labels. */
static bool
measure(const struct stats *s, struct table *t, struct stats_row *ret_row)
{
        struct stats_row row;
        bool has_rows = false;

        for (uint32_t idx = 0; next_row(s, t, &idx, &row); has_rows = true) {
                t->n_labels = row.n_labels;
                for (uint32_t column = 0; column < n_columns(t); column++) {
                        char buf[VALUE_MAX];

                        if (column < t->n_labels || row.values[column - t->n_labels] != 0)
                                widen(t, column, strlen(cell_text(t, &row, column, buf)));
                }
                *ret_row = row;
        }
        for (uint32_t column = 0; has_rows && column < n_columns(t); column++)
                for (uint32_t i = 0; t->width[column] != 0; i++) {
                        size_t length;

                        word_from_end(column_name(t, ret_row, column), i, &length);
                        if (length == 0)
                                break;
                        widen(t, column, length);
                }
        return has_rows;
}

static void
put_head(const struct table *t, const struct stats_row *row, uint32_t first, uint32_t end, FILE *out)
{
        for (uint32_t line = 3; line-- > 0;) { /* no name has more words: test_stats.c */
                bool has_words = false;

                for (int pass = 0; pass < 2; pass++)
                        for (uint32_t column = 0; column < end; column++) {
                                size_t length;
                                const char *word = word_from_end(column_name(t, row, column), line, &length);

                                if (t->width[column] == 0 || (column >= t->n_labels && column < first))
                                        continue;
                                if (pass == 0)
                                        has_words = has_words || length > 0;
                                else if (has_words)
                                        print(out, " %*.*s", t->width[column], (int)length, word);
                        }
                if (has_words)
                        print(out, "\n");
        }
}

static void
put_rows(const struct stats *s, const struct table *t, uint32_t first, uint32_t end, FILE *out)
{
        struct stats_row row;
        char buf[VALUE_MAX];

        for (uint32_t idx = 0; next_row(s, t, &idx, &row);) {
                for (uint32_t column = 0; column < end; column++)
                        if (t->width[column] != 0 && (column < t->n_labels || column >= first))
                                print(out, " %*s", t->width[column], cell_text(t, &row, column, buf));
                print(out, "\n");
        }
}

/* Where the table ends that begins with column `first`: one at least is in it. */
static uint32_t
table_end(const struct table *t, uint32_t first)
{
        uint32_t columns = 0, end = first;

        ASSERT(first >= t->n_labels && first < n_columns(t));
        for (uint32_t column = 0; column < t->n_labels; column++)
                columns += 1u + t->width[column];
        for (; end < n_columns(t); end++) {
                uint32_t more = t->width[end] != 0 ? 1u + t->width[end] : 0;

                if (end > first && columns + more > LINE_MAX_COLUMNS)
                        break;
                columns += more;
        }
        return end;
}

static void
text_group(const struct stats *s, const struct stats_group *group, FILE *out, unsigned flags)
{
        struct table t = {.group = group, .flags = flags};
        struct stats_row row;

        print(out, "\n%s\n", group->plural);
        for (uint32_t i = 0; i < group->n_metrics; i++) {
                print(out, "  %-*s  ", NAME_COLUMNS, group->metrics[i].name);
                put_help(out, 2 + NAME_COLUMNS + 2, &group->metrics[i], flags);
        }
        if (!measure(s, &t, &row))
                return;
        for (uint32_t first = t.n_labels, end; first < n_columns(&t); first = end) {
                end = table_end(&t, first);
                put_head(&t, &row, first, end, out);
                put_rows(s, &t, first, end, out);
        }
}

void
stats_write_text(const struct stats *s, FILE *out, uint32_t n_groups, unsigned flags)
{
        text_heap(s, out, flags);
        for (uint32_t g = 1; g < n_groups; g++)
                text_group(s, &stats_groups[g], out, flags);
}
