/*
 * count.c - instructions instead of time (--count): a run is started under callgrind, which collects between the two
 * marks around the work only.  The run says how many operations these were, and callgrind's file what they took: so it
 * can be read once more, by function.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/bench.h"
#include "common/callgrind.h"

static const char variable[] = "BENCH_COUNT"; /* in the environment of a run that is counted: callgrind's file */
static const char ops_metric[] = "counted";

bool
bench_can_count(void)
{
        return CAN_COUNT;
}

bool
bench_is_counting(void)
{
        return getenv(variable) != NULL;
}

void
bench_count_begin(void)
{
        CALLGRIND_TOGGLE_COLLECT;
}

void
bench_count_end(uint64_t n_ops)
{
        CALLGRIND_TOGGLE_COLLECT;
        bench_value(ops_metric, "ops", BENCH_PLAIN, (double)n_ops);
}

bool
bench_is_ops_metric(const char *metric)
{
        return strcmp(metric, ops_metric) == 0;
}

/* Beyond the arguments of the run itself, which follow. */
void
bench_count_arguments(const char *file, const char *argv[BENCH_COUNT_ARGUMENTS])
{
        static char option[4200], log_option[4200];

        snprintf(option, sizeof option, "--callgrind-out-file=%s", file);
        snprintf(log_option, sizeof log_option, "--log-file=%s.log", file);
        setenv(variable, file, 1);
        argv[0] = "valgrind";
        argv[1] = "-q";
        argv[2] = "--tool=callgrind";
        argv[3] = "--collect-atstart=no";
        argv[4] = log_option;
        argv[5] = option;
}

double
bench_count_of(const char *file)
{
        FILE *in = fopen(file, "r");
        char line[512];
        double n = -1;

        while (in && fgets(line, sizeof line, in))
                if (sscanf(line, "summary: %lf", &n) == 1 || sscanf(line, "totals: %lf", &n) == 1)
                        break;
        if (in)
                fclose(in);
        return n;
}
