/*
 * main.c - explore SCENARIO: all its schedules within the bounds; or one schedule again, step by step.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "explore/world.h"
#include "support/damage.h"

static struct {
        int n_preemptions, n_deaths; /* -1: the scenario's own */
        double seconds_max;
        const char *replay;
        bool is_slow, expects_fault, is_listed;
} options = {.n_preemptions = -1, .n_deaths = -1};

static const struct scenario *running;
static struct engine_params params;

static void
tell_fault(const char *fault, const char *schedule)
{
        printf("  FAULT: %s\n  schedule: %s\n  replay:   %s -p %d -c %d --replay '%s' %s\n", fault, schedule,
               program_invocation_name, params.n_preemptions, params.n_deaths, schedule, running->name);
}

static void
on_trap(int signal)
{
        char schedule[1024];

        engine_tell_schedule(schedule, sizeof schedule);
        printf("%s:\n", running->name);
        tell_fault(strsignal(signal), schedule);
        fflush(stdout);
        _exit(options.expects_fault ? EXIT_SUCCESS : EXIT_FAILURE);
}

static void
trap_signals(void)
{
        static char stack[64 << 10];
        struct sigaction action = {.sa_handler = on_trap, .sa_flags = SA_ONSTACK};
        stack_t alternate = {.ss_sp = stack, .ss_size = sizeof stack};

        sigaltstack(&alternate, NULL);
        for (int i = 0; i < 5; i++)
                sigaction((int[]){SIGILL, SIGSEGV, SIGBUS, SIGFPE, SIGABRT}[i], &action, NULL);
}

static void
bounds_set(const struct scenario *s)
{
        if (options.is_slow) {
                params.n_preemptions = s->slow_preemptions ? s->slow_preemptions : 2;
                params.n_deaths = s->is_without_deaths ? 0 : s->slow_deaths ? s->slow_deaths : 2;
        }
        if (options.n_preemptions >= 0)
                params.n_preemptions = options.n_preemptions;
        if (options.n_deaths >= 0)
                params.n_deaths = options.n_deaths;
        if (options.seconds_max > 0)
                params.seconds_max = options.seconds_max;
}

/* True: as it should be. */
static bool
run(const struct scenario *s)
{
        struct engine_result result;
        char preemptions[16] = "any";

        running = s;
        damage_is_done(options.expects_fault); /* what is planted is for the judge to find, not for an assertion */
        world_begin(s, &params);
        bounds_set(s);
        if (options.replay) {
                const char *fault;

                world_is_verbose = true;
                fault = engine_replay(&params, options.replay, stdout);
                printf("%s: %s\n", s->name, fault ? fault : "no fault");
                world_end();
                return !fault;
        }
        engine_explore(&params, &result);
        if (params.n_preemptions < ENGINE_UNBOUNDED)
                snprintf(preemptions, sizeof preemptions, "%d", params.n_preemptions);
        printf("%-24s P=%-3s C=%d %9.3g schedules %9llu states %8llu ends %7.2f s%s\n", s->name, preemptions,
               params.n_deaths, result.n_schedules, (unsigned long long)result.n_states,
               (unsigned long long)result.n_ends, result.seconds,
               result.fault         ? ""
               : result.is_complete ? "  complete"
                                    : "  CUT SHORT");
        if (result.fault)
                tell_fault(result.fault, result.schedule);
        if (result.fault && !options.expects_fault) {
                world_is_verbose = true;
                engine_replay(&params, result.schedule, stdout);
        }
        world_end();
        fflush(stdout);
        return options.expects_fault ? result.fault != NULL : result.fault == NULL && result.is_complete;
}

static int
usage(void)
{
        fprintf(stderr,
                "usage: %s [-p PREEMPTIONS] [-c DEATHS] [-t SECONDS] [--slow] [--expect-fault] [--list]\n"
                "       [--replay SCHEDULE] [SCENARIO...]\n"
                "PREEMPTIONS %d means any number.  Without a scenario all are explored, one after the other.\n",
                program_invocation_short_name, ENGINE_UNBOUNDED);
        return 2;
}

static bool
parse(int argc, char **argv)
{
        static const struct option longs[] = {{"slow", no_argument, NULL, 's'},
                                              {"expect-fault", no_argument, NULL, 'f'},
                                              {"list", no_argument, NULL, 'l'},
                                              {"replay", required_argument, NULL, 'r'},
                                              {NULL, 0, NULL, 0}};

        for (int c; (c = getopt_long(argc, argv, "p:c:t:", longs, NULL)) != -1;)
                switch (c) {
                case 'p':
                        options.n_preemptions = atoi(optarg);
                        break;
                case 'c':
                        options.n_deaths = atoi(optarg);
                        break;
                case 't':
                        options.seconds_max = atof(optarg);
                        break;
                case 's':
                        options.is_slow = true;
                        break;
                case 'f':
                        options.expects_fault = true;
                        break;
                case 'l':
                        options.is_listed = true;
                        break;
                case 'r':
                        options.replay = optarg;
                        break;
                default:
                        return false;
                }
        return true;
}

static bool
is_chosen(const struct scenario *s, int n, char **names)
{
        for (int i = 0; i < n; i++)
                if (strcmp(names[i], s->name) == 0)
                        return true;
        return n == 0;
}

int
main(int argc, char **argv)
{
        int n_bad = 0, n_run = 0;

        if (!parse(argc, argv))
                return usage();
        trap_signals();
        for (const struct scenario *const *s = world_scenarios; *s; s++) {
                if (options.is_listed) {
                        printf("%-24s %s\n", (*s)->name, (*s)->what);
                        continue;
                }
                if (!is_chosen(*s, argc - optind, argv + optind))
                        continue;
                n_run++;
                n_bad += !run(*s);
        }
        if (n_run == 0 && !options.is_listed) {
                fprintf(stderr, "%s: no such scenario\n", program_invocation_short_name);
                return 2;
        }
        return n_bad == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
