/*
 * sqlite - SQLite with a heap of the allocator's for all its memory, by SQLite's own hooks: an in-memory database is
 * made, filled, indexed, asked and emptied again.  By statements that are prepared once, or each anew, which is what
 * allocates most.  Time is that of a statement.
 */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"

enum { ROWS = 4000, TEXT_MAX = 200, STATEMENTS_PER_ROW = 3 };

static const struct bench_allocator *allocator;
static bool is_prepared_anew;

/* ------------------------------------------------------------------ SQLite's hooks */

static void *
hook_take(int size)
{
        return allocator->take((size_t)size);
}

static void
hook_give(void *p)
{
        allocator->give(p);
}

static void *
hook_resize(void *p, int size)
{
        return allocator->resize(p, (size_t)size);
}

static int
hook_size(void *p)
{
        return p ? (int)allocator->family->usable(p) : 0;
}

static int
hook_round(int size)
{
        return (size + 7) & ~7;
}

static int
hook_start(void *arg)
{
        (void)arg;
        return SQLITE_OK;
}

static void
hook_stop(void *arg)
{
        (void)arg;
}

/* ------------------------------------------------------------------ the work */

/* Nothing here may fail: what SQLite says, and the end. */
static void
need(sqlite3 *db, int result, int wanted)
{
        if (result == wanted)
                return;
        fprintf(stderr, "sqlite: %s\n", sqlite3_errmsg(db));
        exit(1);
}

static void
run_sql(sqlite3 *db, const char *sql)
{
        need(db, sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
}

/* A statement with one number and one text in it, ready to be stepped. */
static sqlite3_stmt *
ready(sqlite3 *db, sqlite3_stmt **kept, const char *sql, int64_t number, const char *text, int text_length)
{
        if (!*kept)
                need(db, sqlite3_prepare_v2(db, sql, -1, kept, NULL), SQLITE_OK);
        need(db, sqlite3_bind_int64(*kept, 1, number), SQLITE_OK);
        if (text)
                need(db, sqlite3_bind_text(*kept, 2, text, text_length, SQLITE_TRANSIENT), SQLITE_OK);
        return *kept;
}

static void
done(sqlite3 *db, sqlite3_stmt **kept)
{
        if (is_prepared_anew) {
                need(db, sqlite3_finalize(*kept), SQLITE_OK);
                *kept = NULL;
        } else {
                need(db, sqlite3_reset(*kept), SQLITE_OK);
        }
}

static void
insert_all(sqlite3 *db, struct bench_rng *random, uint64_t *ret_n_bytes)
{
        sqlite3_stmt *insert = NULL;
        char text[TEXT_MAX];

        memset(text, 'x', sizeof text);
        for (int64_t i = 0; i < ROWS; i++) {
                int length = 1 + (int)bench_below(random, TEXT_MAX);

                *ret_n_bytes += (uint64_t)length;
                snprintf(text, sizeof text, "%x", bench_below(random, UINT32_MAX));
                text[strlen(text)] = 'x';
                need(db, sqlite3_step(ready(db, &insert, "INSERT INTO t (a, b) VALUES (?1, ?2)", i, text, length)),
                     SQLITE_DONE);
                done(db, &insert);
        }
        need(db, sqlite3_finalize(insert), SQLITE_OK);
}

/* Each row once, by the index, in another order. */
static void
select_all(sqlite3 *db, uint64_t *ret_n_bytes)
{
        sqlite3_stmt *select = NULL;

        for (int64_t i = 0; i < ROWS; i++) {
                int64_t row = i * 1237 % ROWS;
                sqlite3_stmt *s = ready(db, &select, "SELECT b FROM t WHERE a = ?1 ORDER BY b", row, NULL, 0);

                need(db, sqlite3_step(s), SQLITE_ROW);
                *ret_n_bytes += (uint64_t)sqlite3_column_bytes(s, 0);
                need(db, sqlite3_step(s), SQLITE_DONE);
                done(db, &select);
        }
        need(db, sqlite3_finalize(select), SQLITE_OK);
}

static void
delete_all(sqlite3 *db)
{
        sqlite3_stmt *delete = NULL;

        for (int64_t i = 0; i < ROWS; i++) {
                need(db, sqlite3_step(ready(db, &delete, "DELETE FROM t WHERE a = ?1", i, NULL, 0)), SQLITE_DONE);
                if (sqlite3_changes(db) != 1) {
                        fprintf(stderr, "sqlite: a row is not there\n");
                        exit(1);
                }
                done(db, &delete);
        }
        need(db, sqlite3_finalize(delete), SQLITE_OK);
}

static void
work(const struct bench_allocator *a, void *arg, uint64_t n)
{
        (void)a, (void)arg;
        while (n-- > 0) {
                struct bench_rng random = {88172645463325252};
                uint64_t n_written = 0, n_read = 0;
                sqlite3 *db;

                need(NULL, sqlite3_open(":memory:", &db), SQLITE_OK);
                run_sql(db, "CREATE TABLE t (a INTEGER, b TEXT); BEGIN");
                insert_all(db, &random, &n_written);
                run_sql(db, "COMMIT; CREATE INDEX by_a ON t (a)");
                select_all(db, &n_read);
                if (n_read != n_written) {
                        fprintf(stderr, "sqlite: %lu bytes are not what was written\n", (unsigned long)n_read);
                        exit(1);
                }
                run_sql(db, "BEGIN");
                delete_all(db);
                run_sql(db, "COMMIT");
                need(db, sqlite3_close(db), SQLITE_OK);
        }
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        static const sqlite3_mem_methods hooks = {hook_take,  hook_give,  hook_resize, hook_size,
                                                  hook_round, hook_start, hook_stop,   NULL};

        if (!a->resize || !a->family || !a->family->usable)
                return BENCH_SKIPPED; /* SQLite asks how large a block is */
        allocator = a;
        is_prepared_anew = c->a != 0;
        bench_pin(0);
        if (a->setup((size_t)256 << 20) < 0)
                return 1;
        if (sqlite3_config(SQLITE_CONFIG_MALLOC, &hooks) != SQLITE_OK || sqlite3_initialize() != SQLITE_OK) {
                fprintf(stderr, "sqlite: it does not take the hooks\n");
                return 1;
        }
        bench_measure_each("", a, work, NULL, 0.5, ROWS * STATEMENTS_PER_ROW);
        return 0;
}

static const struct bench_case cases[] = {{"prepared-once", 0, 0, 0}, {"prepared-anew", 1, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "sqlite",    "What a statement costs of SQLite whose memory is the allocator's, by its hooks.",
                cases,       .allocators = BENCH_PRIVATE | BENCH_SHARED | BENCH_NO_NULL,
                .rounds = 5, .run = run};

        return bench_main(argc, argv, &question);
}
