/*
 * What is at stake: people and programs decide by these figures.  JSON that does not parse, or a metric whose unit or
 * sum is wrong, misleads them; and the names in it come from the region, where anybody may have written anything.
 */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/heap.h"
#include "audit/check.h"
#include "audit/stats_parts.h"
#include "base/error.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "pages/chunk.h"
#include "support/checks.h"
#include "support/effort.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t;
static char text[1 << 20];

/* Three blocks of 16 bytes allocated and four cached, one large and one huge block. */
static void
setup(void)
{
        uint64_t head, block_off;
        uint32_t idx;

        heap_make(&fx, (struct heap_params){.n_chunks = 8, .n_nodes = 2, .arenas_per_node = 2});
        t = heap_attach(&fx, 1);
        ck_assert_int_eq(chunk_give(t, 1), 0);
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(1, CHUNK_ANY, 0), &head), 0);
        for (int i = 0; i < 3; i++) {
                ck_assert(slab_alloc_one(t, head, 0, &block_off));
                ck_assert(slab_find_owned(t, WHERE_SLAB(1, CHUNK_ANY, 0), &head));
        }
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 0), &idx), 0);
        magazine_place(t, magazine_current(t, tag_make(0, 0)), idx);
        ck_assert_uint_eq(slab_fill(t, head, idx, 4), 4);
        ck_assert_int_eq(large_alloc(t, WHERE_LARGE(1, CHUNK_ANY, SIZE_CLASS_N_SMALL, 1), 0, &block_off), 0);
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES + 1, 1, 0, 0, &block_off), 0);
}

static void
teardown(void)
{
        heap_drop(&fx);
}

static const char *
print(unsigned flags)
{
        FILE *f = fmemopen(text, sizeof text, "w");

        ck_assert_ptr_nonnull(f);
        ck_assert_int_eq(stats_print(r, f, flags), 0);
        fclose(f);
        return text;
}

/* ------------------------------------------------------------------ JSON: a reader for what is written, and no more */

struct json {
        const char *at;
        int depth;
        uint32_t n_values;
};

static void
skip_space(struct json *j)
{
        while (*j->at == ' ' || *j->at == '\n')
                j->at++;
}

static void
expect(struct json *j, char c)
{
        skip_space(j);
        ck_assert_msg(*j->at == c, "'%c' is missing before: %.60s", c, j->at);
        j->at++;
}

static void
read_string(struct json *j)
{
        expect(j, '"');
        for (; *j->at != '"'; j->at++) {
                ck_assert_msg((unsigned char)*j->at >= ' ', "a control character in a string: %.60s", j->at);
                if (*j->at == '\\')
                        j->at++;
        }
        j->at++;
}

static void read_value(struct json *j);

/* Members or elements, up to the closing bracket. */
static void
read_list(struct json *j, char close)
{
        ck_assert_int_lt(j->depth++, 8);
        j->at++;
        skip_space(j);
        if (*j->at == close) {
                j->at++;
                j->depth--;
                return;
        }
        for (;;) {
                if (close == '}') {
                        read_string(j);
                        expect(j, ':');
                }
                read_value(j);
                skip_space(j);
                if (*j->at != ',')
                        break;
                j->at++;
                skip_space(j);
        }
        expect(j, close);
        j->depth--;
}

static void
read_value(struct json *j)
{
        skip_space(j);
        j->n_values++;
        if (*j->at == '{' || *j->at == '[') {
                read_list(j, *j->at == '{' ? '}' : ']');
        } else if (*j->at == '"') {
                read_string(j);
        } else {
                ck_assert_msg(isdigit((unsigned char)*j->at), "no value: %.60s", j->at);
                ck_assert_msg(j->at[0] != '0' || !isdigit((unsigned char)j->at[1]), "a leading zero: %.60s", j->at);
                while (isdigit((unsigned char)*j->at))
                        j->at++;
        }
}

static uint32_t
validate(const char *json)
{
        struct json j = {.at = json};

        read_value(&j);
        skip_space(&j);
        ck_assert_msg(*j.at == '\0', "more behind the end: %.60s", j.at);
        return j.n_values;
}

/* The number of a member, the first one of that name behind `from`. */
static uint64_t
number(const char *from, const char *member)
{
        char quoted[64];
        const char *at;

        snprintf(quoted, sizeof quoted, "\"%s\": ", member);
        at = strstr(from, quoted);
        ck_assert_msg(at != NULL, "no %s", member);
        return strtoull(at + strlen(quoted), NULL, 10);
}

static const char *
find(const char *from, const char *what)
{
        const char *at = strstr(from, what);

        ck_assert_msg(at != NULL, "no %s in:\n%.2000s", what, from);
        return at;
}

START_TEST(json_is_valid)
{
        ck_assert_uint_gt(validate(print(STATS_JSON)), 300);
        ck_assert_uint_lt(validate(print(STATS_JSON | STATS_MERGED)), 250);
        ck_assert_ptr_null(strstr(text, "\"classes\""));
}
END_TEST

/* Another opinion, where there is one. */
START_TEST(json_is_valid_for_python_too)
{
        FILE *f;

        if (system("python3 -c 'import json' >/dev/null 2>&1") != 0)
                return;
        f = popen("python3 -m json.tool >/dev/null", "w");
        ck_assert_ptr_nonnull(f);
        fputs(print(STATS_JSON), f);
        ck_assert_int_eq(pclose(f), 0);
}
END_TEST

START_TEST(json_says_what_there_is)
{
        const char *json = print(STATS_JSON), *at;
        uint64_t parts = 0;
        static const char *const members[] = {"allocated_bytes", "cached_bytes",     "pending_bytes", "free_slab_bytes",
                                              "free_run_bytes",  "free_chunk_bytes", "moving_bytes",  "waste_bytes"};

        at = find(json, "\"heap\": {");
        ck_assert_uint_eq(number(at, "allocated_blocks"), 5);
        ck_assert_uint_eq(number(at, "allocated_bytes"),
                          3 * 16 + size_class_bytes(SIZE_CLASS_N_SMALL) + GEO_CHUNK_BYTES + GEO_PAGE_BYTES);
        ck_assert_uint_eq(number(at, "cached_bytes"), 4 * 16);
        ck_assert_uint_eq(number(at, "attached_threads"), 1);
        ck_assert_uint_eq(number(at, "found_faults"), 0);
        for (size_t i = 0; i < sizeof members / sizeof members[0]; i++)
                parts += number(at, members[i]);
        ck_assert_uint_eq(parts, number(at, "used_bytes"));
        ck_assert_uint_eq(number(at, "used_bytes"), region_chunks_hwm(r) << GEO_CHUNK_SHIFT);

        at = find(json, "{\"size\": 16,");
        ck_assert_uint_eq(number(at, "allocated_blocks"), 3);
        ck_assert_uint_eq(number(at, "cached_blocks"), 4);
        ck_assert_uint_eq(number(at, "free_blocks"), size_class_slab_blocks(0) - 7);
        ck_assert_uint_eq(number(at, "filled_blocks"), 7);
        ck_assert_uint_eq(number(at, "direct_malloc_blocks"), 3);
        at = find(json, "{\"size\": \"huge\",");
        ck_assert_uint_eq(number(at, "allocated_bytes"), GEO_CHUNK_BYTES + GEO_PAGE_BYTES);

        ck_assert_ptr_null(strstr(json, "{\"arena\": 0,")); /* not ready */
        at = find(json, "{\"arena\": 1, \"node\": 0,");
        ck_assert_uint_eq(number(at, "bound_threads"), 1);
        ck_assert_uint_eq(number(at, "allocated_bytes"), 3 * 16 + size_class_bytes(SIZE_CLASS_N_SMALL));
        at = find(json, "{\"node\": 1,");
        ck_assert_uint_eq(number(at, "allocated_bytes"), 0);
        at = find(json, "{\"client\": 0,");
        ck_assert_uint_eq(number(at, "cached_bytes"), 4 * 16);
        ck_assert_uint_eq(number(at, "attached_threads"), 1);
}
END_TEST

/* ------------------------------------------------------------------ OpenMetrics */

static bool
starts_with(const char *line, const char *prefix)
{
        return strncmp(line, prefix, strlen(prefix)) == 0;
}

/* "shmalloc_heap_x_bytes{heap=...} 5", of the metric that was declared last. */
static void
validate_sample(const char *line, const char *metric, bool is_counter)
{
        const char *at = strchr(line, '{');
        size_t n = strlen(metric);

        ck_assert_msg(at && starts_with(line, metric), "a sample of another metric than %s: %s", metric, line);
        ck_assert_msg(is_counter ? starts_with(line + n, "_total{") : line[n] == '{', "the wrong suffix: %s", line);
        at = strrchr(at, '}');
        ck_assert_msg(at && at[1] == ' ' && isdigit((unsigned char)at[2]), "no value: %s", line);
        for (at += 2; *at; at++)
                ck_assert_msg(isdigit((unsigned char)*at), "no number: %s", line);
}

START_TEST(openmetrics_is_well_formed)
{
        char metric[128] = "", type[32] = "", unit[64] = "", *line, *save = NULL;
        uint32_t n_samples = 0, n_metrics = 0;
        bool has_ended = false;

        print(STATS_OPENMETRICS);
        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                ck_assert_msg(!has_ended, "a line behind the end: %s", line);
                if (starts_with(line, "# TYPE ")) {
                        ck_assert_int_eq(sscanf(line, "# TYPE %127s %31s", metric, type), 2);
                        n_metrics++;
                } else if (starts_with(line, "# UNIT ")) {
                        char again[128];

                        ck_assert_int_eq(sscanf(line, "# UNIT %127s %63s", again, unit), 2);
                        ck_assert_str_eq(again, metric);
                        ck_assert_msg(strlen(metric) > strlen(unit) &&
                                              strcmp(metric + strlen(metric) - strlen(unit), unit) == 0,
                                      "%s does not end in its unit %s", metric, unit);
                } else if (starts_with(line, "# HELP ")) {
                        ck_assert(starts_with(line + 7, metric));
                } else if (strcmp(line, "# EOF") == 0) {
                        has_ended = true;
                } else {
                        validate_sample(line, metric, strcmp(type, "counter") == 0);
                        n_samples++;
                }
        }
        ck_assert(has_ended);
        ck_assert_uint_gt(n_metrics, 40);
        ck_assert_uint_gt(n_samples, n_metrics);
}
END_TEST

/* ------------------------------------------------------------------ text */

/* All white space as one blank, whichever lines it stands in. */
static const char *
in_one_line(void)
{
        char *to = text;

        for (const char *from = text; *from; from++)
                if (*from != ' ' && *from != '\n')
                        *to++ = *from;
                else if (to > text && to[-1] != ' ')
                        *to++ = ' ';
        *to = '\0';
        return text;
}

START_TEST(text_explains_what_it_shows)
{
        print(0);
        find(in_one_line(), "heap plain");
        for (uint32_t g = 0; g < STATS_GROUPS; g++)
                for (uint32_t i = 0; i < stats_groups[g].n_metrics; i++) {
                        char line[200];

                        snprintf(line, sizeof line, "%s %s", stats_groups[g].metrics[i].unit,
                                 stats_groups[g].metrics[i].help);
                        find(text, line);
                }
        ck_assert_uint_lt(strlen(print(STATS_MERGED)), strlen(print(0)));
}
END_TEST

/* Whatever the figures are: every counter and label as wide as it can be. */
START_TEST(text_has_80_columns)
{
        for (unsigned flags = 0; flags <= STATS_UNITS; flags += STATS_UNITS) {
                char *save = NULL;

                print(flags);
                for (char *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                        ck_assert_msg(strlen(line) <= 80, "%zu columns: %s", strlen(line), line);
        }
        memset(r->clients[0].name, 'W', sizeof r->clients[0].name);
        memset(&t->slot->counters, 0x55, sizeof t->slot->counters);
        print(0);
        for (char *save = NULL, *line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                ck_assert_msg(strlen(line) <= 80, "%zu columns: %s", strlen(line), line);
}
END_TEST

START_TEST(text_has_sizes_in_units_or_to_the_byte)
{
        char line[100];

        print(STATS_UNITS | STATS_MERGED);
        find(in_one_line(), "cached_bytes 64 B in blocks that");
        find(text, "cached_blocks 4 blocks are cached");
        find(text, " used_bytes ");
        print(STATS_MERGED);
        snprintf(line, sizeof line, "used_bytes %" PRIu64 " bytes of chunks", region_chunks_hwm(r) << GEO_CHUNK_SHIFT);
        find(in_one_line(), line);
        find(text, "cached_bytes 64 bytes in blocks that");
}
END_TEST

/* The row of blocks of 16 bytes, by the words above its columns. */
START_TEST(text_tables_leave_out_columns_of_zeroes)
{
        const char *classes = find(print(0), "\nclasses\n"), *row, *head = NULL, *end;
        uint64_t runs, allocated, blocks, cached, freed, filled, direct, size;

        row = find(classes, "\n    16 ") + 1; /* as wide as "524288" */
        head = find(classes, "direct_free_blocks");
        ck_assert_int_eq(sscanf(row,
                                "%" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64 " %" SCNu64
                                " %" SCNu64,
                                &size, &runs, &allocated, &blocks, &cached, &freed, &filled, &direct),
                         8);
        ck_assert_uint_eq(runs, 1);
        ck_assert_uint_eq(allocated, 3 * 16);
        ck_assert_uint_eq(blocks, 3);
        ck_assert_uint_eq(cached, 4);
        ck_assert_uint_eq(freed, size_class_slab_blocks(0) - 7);
        ck_assert_uint_eq(filled, 7);
        ck_assert_uint_eq(direct, 3);
        end = strchr(row, '\n');
        ck_assert_ptr_nonnull(end);
        for (; head < row; head = strchr(head, '\n') + 1) /* nothing is pending, nothing has come back */
                ck_assert(strncmp(head, " pending", 8) != 0 && !strstr(head, "drained\n"));
}
END_TEST

static unsigned
n_words(const char *name)
{
        unsigned n = 1;

        for (; *name; name++)
                n += *name == '_';
        return n;
}

START_TEST(every_metric_is_described)
{
        for (uint32_t g = 0; g < STATS_GROUPS; g++)
                for (uint32_t i = 0; i < stats_groups[g].n_metrics; i++) {
                        const struct stats_metric *m = &stats_groups[g].metrics[i];

                        ck_assert(m->name && m->unit && m->help);
                        ck_assert_uint_le(strlen(m->name), 20); /* the columns of the lists */
                        ck_assert_uint_le(n_words(m->name), 3); /* the lines of the heads of tables */
                        ck_assert_ptr_null(strpbrk(m->help, "\"\\\n"));
                        ck_assert_uint_gt(strlen(m->name), strlen(m->unit));
                        ck_assert_str_eq(m->name + strlen(m->name) - strlen(m->unit), m->unit);
                }
}
END_TEST

/* ------------------------------------------------------------------ the public function */

static int
print_public(const char *opts)
{
        struct shheap h = fx.heap;
        FILE *f = fmemopen(text, sizeof text, "w");
        int err = shheap_stats_print(&h, f, opts);

        fclose(f);
        return err;
}

START_TEST(letters_choose_the_format)
{
        ck_assert_int_eq(print_public(NULL), 0);
        find(text, "heap plain");
        ck_assert_int_eq(print_public("Jm"), 0);
        validate(text);
        ck_assert_ptr_null(strstr(text, "\"classes\""));
        ck_assert_int_eq(print_public("O"), 0);
        find(text, "# EOF");
        ck_assert_int_eq(print_public("JO"), -EINVAL);
        ck_assert_int_eq(print_public("x"), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "'x'"));
}
END_TEST

/* ------------------------------------------------------------------ hostile regions */

START_TEST(foreign_names_are_quoted)
{
        memset(r->header->name, '"', sizeof r->header->name);
        memcpy(r->clients[0].name, "\\\"\n\x01\xff{}", 8);
        memset(r->clients[0].name + 8, 'z', sizeof r->clients[0].name - 8);
        validate(print(STATS_JSON));
        find(text, "\\\\\\\"???{}");
        print(STATS_OPENMETRICS);
        find(text, "name=\"\\\\\\\"???{}");
        print(0);
}
END_TEST

static uint64_t
random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

START_TEST(random_damage_changes_nothing_but_the_figures)
{
        static const enum layout_table where[] = {TABLE_CHUNK_WORDS, TABLE_GRANULES,       TABLE_TAGS,
                                                  TABLE_HUGE_BYTES,  TABLE_MAGAZINE_WORDS, TABLE_MAGAZINES,
                                                  TABLE_BINDINGS,    TABLE_THREADS,        TABLE_CLIENTS};
        uint64_t seed = 12345;

        for (unsigned round = 0, n_rounds = effort(20); round < n_rounds; round++) {
                enum layout_table table = where[random_next(&seed) % (sizeof where / sizeof where[0])];
                uint64_t n = r->layout.n[table] * r->layout.stride[table] / 8;
                uint64_t *word =
                        (uint64_t *)(void *)(r->base + r->layout.off[table]) + random_next(&seed) % (n < 512 ? n : 512);
                uint64_t old = *word;

                *word = random_next(&seed) >> random_next(&seed) % 64;
                validate(print(STATS_JSON));
                if (round % 8 == 0)
                        *word = old;
        }
}
END_TEST

START_TEST(full_output_is_an_error)
{
        FILE *f = fopen("/dev/full", "w");

        if (!f)
                return;
        ck_assert_int_eq(stats_print(r, f, STATS_JSON), -EIO);
        fclose(f);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("stats");
        TCase *tcase = tcase_create("stats");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, json_is_valid);
        tcase_add_test(tcase, json_is_valid_for_python_too);
        tcase_add_test(tcase, json_says_what_there_is);
        tcase_add_test(tcase, openmetrics_is_well_formed);
        tcase_add_test(tcase, text_explains_what_it_shows);
        tcase_add_test(tcase, text_has_80_columns);
        tcase_add_test(tcase, text_has_sizes_in_units_or_to_the_byte);
        tcase_add_test(tcase, text_tables_leave_out_columns_of_zeroes);
        tcase_add_test(tcase, every_metric_is_described);
        tcase_add_test(tcase, letters_choose_the_format);
        tcase_add_test(tcase, foreign_names_are_quoted);
        tcase_add_test(tcase, random_damage_changes_nothing_but_the_figures);
        tcase_add_test(tcase, full_output_is_an_error);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
