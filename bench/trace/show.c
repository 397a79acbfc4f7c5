/*
 * show - prints traces, a line for each call: what it was, the block's number, the size, the alignment.  With --sum,
 * what the calls are in all.
 */
#include <argp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

#include "trace/trace.h"

static const char *const names[TRACE_KINDS] = {"malloc", "free", "calloc", "realloc", "aligned_alloc"};
static bool is_sum;

static void
print_events(const struct trace *t)
{
        for (size_t i = 0; i < t->n; i++) {
                const struct trace_event *e = &t->event[i];

                printf("%s %u", names[e->kind], e->block);
                if (e->kind != TRACE_FREE)
                        printf(" %u", e->size);
                if (e->kind == TRACE_ALIGNED)
                        printf(" %u", e->align);
                printf("\n");
        }
}

static void
print_sum(const char *path, const struct trace *t)
{
        size_t n[TRACE_KINDS] = {0};

        for (size_t i = 0; i < t->n; i++)
                n[t->event[i].kind]++;
        printf("%s: %zu calls, at most %u blocks at once, %zu left at the end;", path, t->n, t->n_blocks,
               t->n_live_end);
        for (int k = 0; k < TRACE_KINDS; k++)
                printf(" %s %zu%s", names[k], n[k], k + 1 < TRACE_KINDS ? "," : "\n");
}

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "trace-show, of shmalloc " BENCH_VERSION;

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        struct trace t;

        switch (key) {
        case 's':
                is_sum = true;
                return 0;
        case ARGP_KEY_ARG:
                if (trace_load(arg, &t) < 0)
                        exit(1);
                if (is_sum)
                        print_sum(arg, &t);
                else
                        print_events(&t);
                return 0;
        case ARGP_KEY_NO_ARGS:
                argp_usage(state);
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

int
main(int argc, char **argv)
{
        static const struct argp_option options[] = {
                {"sum", 's', NULL, 0, "A line for each trace instead: how many calls of what kind", 0}, {0}};
        struct argp argp = {options, parse, "FILE...", "Prints traces of malloc that record.sh made.",
                            NULL,    NULL,  NULL};

        argp_parse(&argp, argc, argv, ARGP_IN_ORDER, NULL, NULL);
        return fflush(stdout) == 0 ? 0 : 1;
}
