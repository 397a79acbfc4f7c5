/*
 * main.c - crash MODE SCRIPT [SCRIPT] [OPTION...]: one enumeration, one line of figures.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct crash_options opt = {.depth = 1,
                            .n_ops = 500,
                            .seed = 1,
                            .n_samples = 200,
                            .deep_part = 1,
                            .deep_victims = 1,
                            .marks = true,
                            .watchdog = 30,
                            .only = {-1, -1, -1, -1}};

struct counts *counts;

static const struct script *const lists[] = {scripts_small, scripts_large, scripts_life};

static const struct mode {
        const char *name;
        void (*run)(void);
        bool has_other;
} modes[] = {
#if CRASH_REAL
        {"real", mode_real, false},
#else
        {"kill", mode_kill, false},
        {"stop", mode_stop, false},
        {"left", mode_left, false},
        {"left-again", mode_left_again, false},
        {"interrupted", mode_interrupted, false},
        {"two", mode_two, true},
        {"three", mode_three, true},
#endif
};

static void
usage(void)
{
        fputs("usage: crash MODE SCRIPT [SCRIPT] [OPTION...]\n"
              "  kill SCRIPT      a thread dies at each change that it makes to the region\n"
              "  stop SCRIPT      a thread is stopped where it has read or changed the region, others work, it goes "
              "on\n"
              "  left SCRIPT      a handler jumps out of it at each change, and the thread ends\n"
              "  left-again SCRIPT    the same, and the thread goes on for a while before it ends\n"
              "  interrupted SCRIPT   a handler allocates and frees at each change, and returns\n"
              "  two A B          A is stopped, B dies in its operation meanwhile and is reaped\n"
              "  three A B        B has died in its operation, A is stopped in its own while B is reaped\n"
              "options: --depth N (reapers die too)  --deep-part N (at one in N of their states)\n"
              "         --deep-victims N (reapers of one in N victims)  --every (instruction)  --samples N  --ops N\n"
              "         --seed N  --unmarked  --steps\n"
              "         --watchdog SECONDS (of processor time)  --at N --at2 N --at3 N (one point only)\nscripts:",
              stderr);
        for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++)
                for (const struct script *s = lists[i]; s->name; s++)
                        fprintf(stderr, " %s", s->name);
        fputs("\n", stderr);
        exit(2);
}

static const struct script *
script_find(const char *name)
{
        for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++)
                for (const struct script *s = lists[i]; s->name; s++)
                        if (strcmp(s->name, name) == 0)
                                return s;
        usage();
        return NULL;
}

static long
number_after(char **argv, int *i)
{
        if (!argv[*i + 1])
                usage();
        return atol(argv[++*i]);
}

static void
parse_options(char **argv)
{
        for (int i = 0; argv[i]; i++) {
                if (strcmp(argv[i], "--every") == 0)
                        opt.every = true;
                else if (strcmp(argv[i], "--unmarked") == 0)
                        opt.marks = false;
                else if (strcmp(argv[i], "--steps") == 0)
                        opt.steps = true;
                else if (strcmp(argv[i], "--watchdog") == 0)
                        opt.watchdog = (unsigned)number_after(argv, &i);
                else if (strcmp(argv[i], "--depth") == 0)
                        opt.depth = (int)number_after(argv, &i);
                else if (strcmp(argv[i], "--samples") == 0)
                        opt.n_samples = (unsigned)number_after(argv, &i);
                else if (strcmp(argv[i], "--deep-part") == 0)
                        opt.deep_part = (unsigned)number_after(argv, &i);
                else if (strcmp(argv[i], "--deep-victims") == 0)
                        opt.deep_victims = (unsigned)number_after(argv, &i);
                else if (strcmp(argv[i], "--ops") == 0)
                        opt.n_ops = (unsigned)number_after(argv, &i);
                else if (strcmp(argv[i], "--seed") == 0)
                        opt.seed = (uint64_t)number_after(argv, &i);
                else if (strcmp(argv[i], "--at") == 0)
                        opt.only[1] = number_after(argv, &i);
                else if (strcmp(argv[i], "--at2") == 0)
                        opt.only[2] = number_after(argv, &i);
                else if (strcmp(argv[i], "--at3") == 0)
                        opt.only[3] = number_after(argv, &i);
                else
                        usage();
        }
        if (opt.deep_part == 0 || opt.deep_victims == 0 || opt.n_ops == 0)
                usage();
        if (opt.depth < 2 && opt.only[2] >= 0)
                opt.depth = opt.only[3] >= 0 ? 3 : 2;
}

int
main(int argc, char **argv)
{
        double start = seconds_now();
        const struct mode *mode = NULL;
        static char command[512];

        for (unsigned i = 0; argc >= 3 && i < sizeof modes / sizeof modes[0]; i++)
                if (strcmp(argv[1], modes[i].name) == 0)
                        mode = &modes[i];
        if (!mode || (mode->has_other && argc < 4))
                usage();
        opt.script = script_find(argv[2]);
        if (mode->has_other)
                opt.other = script_find(argv[3]);
        parse_options(argv + (mode->has_other ? 4 : 3));
        snprintf(command, sizeof command, "%s %s", argv[0], mode->name);
        opt.command = command;
        counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        report_init();
        mode->run();
        printf("%s %s%s%s: %lu instructions, %lu changes, %lu points (%lu of reapers), %lu forks, %lu bad, %.2f s",
               mode->name, opt.script->name, opt.other ? " " : "", opt.other ? opt.other->name : "",
               counts->n_instructions, counts->n_changes, counts->n_states, counts->n_states_deep, counts->n_forks,
               counts->n_bad, seconds_now() - start);
        if (counts->n_taken_over)
                printf(", %lu references taken over", counts->n_taken_over);
        if (counts->most_us)
                printf(", others needed %lu us at most", counts->most_us);
        printf("; seed %lu\n", opt.seed);
        return counts->n_bad != 0;
}
