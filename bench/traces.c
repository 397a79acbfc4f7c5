/*
 * traces - what programs asked of malloc, done again by one thread: the calls that were recorded, in their order.
 *
 * Of each new block the first word is written, the last byte, and one byte of each page; of a block that grows, the
 * last byte and one of each page that is new.  What is left at the end of a pass is freed.  The first pass gets fresh
 * pages; the time of the others is their median, of the thread's CPU time, by call, with the frees at the end.  A last
 * pass, which is not timed, fills what it gets and looks whether it is all still there, and zero where it has to be.
 */
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bench.h"
#include "trace/trace.h"

enum { TRACES_MAX = 64, PASSES_MAX = 200, PAGE = 4096, CHECKED_WHOLE = 4096 };
enum { SLOW_SECONDS = 2 }; /* for those who need more, one pass is enough */

static const char variable[] = "BENCH_TRACES";

/* ------------------------------------------------------------------ the calls */

struct state {
        struct trace trace;
        char **block; /* by its number; NULL: not there */
        uint32_t *size;
};

static void
touch(char *p, size_t from, size_t size)
{
        for (size_t at = (from + PAGE - 1) & ~(size_t)(PAGE - 1); at < size; at += PAGE)
                *(volatile char *)(p + at) = 1;
        *(volatile char *)(p + size - 1) = 1;
}

static void
touch_new(char *p, size_t size)
{
        touch(p, 0, size);
        if (size >= sizeof(uint64_t))
                *(volatile uint64_t *)(void *)p = size;
}

static void *
take_zeroed(const struct bench_allocator *a, size_t size)
{
        void *p;

        if (a->family && a->family->zeroed)
                return a->family->zeroed(1, size);
        p = a->take(size);
        return p ? memset(p, 0, size) : NULL;
}

static void *
take_aligned(const struct bench_allocator *a, size_t align, size_t size)
{
        return a->family && a->family->aligned ? a->family->aligned(align, size) : a->take(size);
}

/* Who has no realloc does what everybody does then. */
static void *
resize(const struct bench_allocator *a, void *p, size_t before, size_t size)
{
        void *q;

        if (a->resize)
                return a->resize(p, size);
        q = a->take(size);
        if (q) {
                memcpy(q, p, before < size ? before : size);
                a->give(p);
        }
        return q;
}

/* ------------------------------------------------------------------ passes */

static inline void
need(const struct bench_allocator *a, const void *p)
{
        if (__builtin_expect(p == NULL, 0))
                bench_need(a, p);
}

static void
pass(const struct bench_allocator *a, struct state *s)
{
        const struct trace_event *e = s->trace.event, *end = e + s->trace.n;

        for (; e < end; e++) {
                char **block = &s->block[e->block], *p;

                switch (e->kind) {
                case TRACE_MALLOC:
                        p = a->take(e->size);
                        break;
                case TRACE_CALLOC:
                        p = take_zeroed(a, e->size);
                        break;
                case TRACE_ALIGNED:
                        p = take_aligned(a, e->align, e->size);
                        break;
                case TRACE_REALLOC:
                        p = resize(a, *block, s->size[e->block], e->size);
                        need(a, p);
                        if (e->size > s->size[e->block])
                                touch(p, s->size[e->block], e->size);
                        *block = p;
                        s->size[e->block] = e->size;
                        continue;
                default:
                        a->give(*block);
                        *block = NULL;
                        continue;
                }
                need(a, p);
                touch_new(p, e->size);
                *block = p;
                s->size[e->block] = e->size;
        }
        for (uint32_t i = 0; s->trace.n_live_end > 0 && i < s->trace.n_blocks; i++)
                if (s->block[i]) {
                        a->give(s->block[i]);
                        s->block[i] = NULL;
                }
}

/* ------------------------------------------------------------------ the last pass */

static char
mark_of(uint32_t block)
{
        return (char)(1 + block % 251);
}

/* Of a large block its first and its last bytes stand for all. */
static void
fill(char *p, size_t size, char mark)
{
        memset(p, mark, size < CHECKED_WHOLE ? size : CHECKED_WHOLE);
        if (size > CHECKED_WHOLE)
                memset(p + size - CHECKED_WHOLE, mark, CHECKED_WHOLE);
}

static bool
is_all(const char *p, size_t size, char mark)
{
        for (size_t i = 0; i < size; i++)
                if (p[i] != mark)
                        return false;
        return true;
}

static bool
holds(const char *p, size_t size, char mark)
{
        return is_all(p, size < CHECKED_WHOLE ? size : CHECKED_WHOLE, mark) &&
               (size <= CHECKED_WHOLE || is_all(p + size - CHECKED_WHOLE, CHECKED_WHOLE, mark));
}

/* What is wrong with what this event gave, or frees: NULL if nothing is. */
static const char *
proof_of(const struct bench_allocator *a, struct state *s, const struct trace_event *e)
{
        char **block = &s->block[e->block], mark = mark_of(e->block), *p = *block;
        size_t before = s->size[e->block], kept = before < e->size ? before : e->size;

        if (e->kind == TRACE_FREE || e->kind == TRACE_REALLOC)
                if (!holds(p, before, mark))
                        return "a block has been overwritten";
        *block = NULL;
        if (e->kind == TRACE_FREE) {
                a->give(p);
                return NULL;
        }
        p = e->kind == TRACE_MALLOC    ? a->take(e->size)
            : e->kind == TRACE_CALLOC  ? take_zeroed(a, e->size)
            : e->kind == TRACE_ALIGNED ? take_aligned(a, e->align, e->size)
                                       : resize(a, p, before, e->size);
        bench_need(a, p);
        if (e->kind == TRACE_REALLOC && !is_all(p, kept < CHECKED_WHOLE ? kept : CHECKED_WHOLE, mark))
                return "realloc has not kept what was there";
        if (e->kind == TRACE_CALLOC && !holds(p, e->size, 0))
                return "what calloc gave is not zero";
        if ((uintptr_t)p % (e->kind == TRACE_ALIGNED ? e->align : sizeof(void *)) != 0)
                return "a block is not aligned";
        fill(p, e->size, mark);
        *block = p;
        s->size[e->block] = e->size;
        return NULL;
}

static int
prove(const struct bench_allocator *a, struct state *s)
{
        for (size_t i = 0; i < s->trace.n; i++) {
                const char *fault = proof_of(a, s, &s->trace.event[i]);

                if (fault) {
                        fprintf(stderr, "%s: event %zu: %s\n", a->name, i, fault);
                        return 1;
                }
        }
        return 0;
}

/* ------------------------------------------------------------------ a run */

static char paths[TRACES_MAX][PATH_MAX];

static int
by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* Nanoseconds per call. */
static double
timed_pass(const struct bench_allocator *a, struct state *s)
{
        double start = bench_cpu();

        pass(a, s);
        return (bench_cpu() - start) * 1e9 / (double)(s->trace.n + s->trace.n_live_end);
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        static double ns[PASSES_MAX];
        struct state s;
        double first, start;
        int n = 0;

        if (a->is_slow)
                return BENCH_SKIPPED;
        if (trace_load(paths[c->a], &s.trace) < 0)
                return 1;
        if (s.trace.align_max > 16 && !(a->family && a->family->aligned))
                return BENCH_SKIPPED;
        for (size_t i = 0; i < s.trace.n; i++) /* of none there is no telling what each of them does */
                s.trace.event[i].size += s.trace.event[i].size == 0;
        s.block = bench_map(s.trace.n_blocks * sizeof *s.block);
        s.size = bench_map(s.trace.n_blocks * sizeof *s.size);
        bench_pin(0);
        if (a->setup((size_t)1 << 30) < 0)
                return 1;
        if (a->is_null)
                pass(a, &s); /* a floor has no fresh pages */
        first = timed_pass(a, &s);
        if (bench_is_counting()) {
                pass(a, &s);
                bench_count_begin();
                pass(a, &s);
                bench_count_end(s.trace.n + s.trace.n_live_end);
                return 0;
        }
        start = bench_now();
        do
                ns[n++] = timed_pass(a, &s);
        while (n < PASSES_MAX && bench_now() < start + (n < 3 ? SLOW_SECONDS : bench_seconds(0.5)));
        qsort(ns, (size_t)n, sizeof *ns, by_value);
        if (!a->is_null && prove(a, &s) != 0)
                return 1;
        bench_value("time", "ns", BENCH_TIME, ns[n / 2]);
        bench_value("first", "ns", BENCH_TIME, first);
        return 0;
}

/* ------------------------------------------------------------------ which traces there are */

static bool
is_trace(const char *name)
{
        const char *dot = strstr(name, ".trace");

        return dot && dot != name && (strcmp(dot, ".trace") == 0 || strcmp(dot, ".trace.zst") == 0);
}

static int
is_entry_trace(const struct dirent *entry)
{
        return is_trace(entry->d_name);
}

/* NAME.trace is the case NAME. */
static const char *
case_name(const char *file)
{
        char *name = strdup(file);

        if (!name)
                err(1, "memory");
        *strstr(name, ".trace") = '\0';
        for (char *c = name; *c; c++) /* it is a field of a table with commas, and of a list */
                if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
                        *c = '_';
        return name;
}

/* Where run.sh puts what it records: beside the program. */
static const char *
default_folder(void)
{
        static char path[PATH_MAX];
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 1);

        if (n < 0)
                err(1, "/proc/self/exe");
        path[n] = '\0';
        snprintf(strrchr(path, '/') + 1, 16, "recorded");
        return path;
}

static const struct bench_case *
find_cases(void)
{
        static struct bench_case found[TRACES_MAX + 1];
        const char *folder = getenv(variable) ? getenv(variable) : default_folder();
        struct dirent **entry;
        int n = scandir(folder, &entry, is_entry_trace, alphasort);

        if (n <= 0)
                errx(2, "there is no trace in %s: bench/record.sh makes one, --traces names another folder", folder);
        if (n > TRACES_MAX)
                errx(2, "there are more than %d traces in %s", TRACES_MAX, folder);
        for (int i = 0; i < n; i++) {
                if ((size_t)snprintf(paths[i], sizeof paths[i], "%s/%s", folder, entry[i]->d_name) >= sizeof paths[i])
                        errx(2, "%s/%s is too long a name", folder, entry[i]->d_name);
                found[i] = (struct bench_case){case_name(entry[i]->d_name), (uint64_t)i, 0, 0};
                free(entry[i]);
        }
        free(entry);
        return found;
}

int
main(int argc, char **argv)
{
        static const struct bench_option traces = {
                "traces", "DIR",
                "Replay the traces in DIR, NAME.trace or NAME.trace.zst (default: recorded/ beside this)", variable};
        static const struct bench_question question = {
                "traces",
                "What a call costs of those that real programs made, recorded and done again.",
                .option = &traces,
                .find_cases = find_cases,
                .allocators = BENCH_PRIVATE | BENCH_SHARED,
                .rounds = 3,
                .run = run};

        return bench_main(argc, argv, &question);
}
