/*
 * main.c - crash MODE SCRIPT [OPTION...]: one enumeration, one line of figures.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

struct crash_options opt = {.depth = 1, .n_ops = 500, .seed = 1, .n_samples = 0, .only = -1, .only2 = -1, .marks = true};

static const struct script *const lists[] = {scripts_small};

const struct script *
script_find(const char *name)
{
        for (unsigned i = 0; i < sizeof lists / sizeof lists[0]; i++)
                for (const struct script *s = lists[i]; s->name; s++)
                        if (strcmp(s->name, name) == 0)
                                return s;
        fprintf(stderr, "crash: no script %s\n", name);
        exit(2);
}

int
main(int argc, char **argv)
{
        double start = seconds_now();

        if (argc < 3)
                return 2;
        opt.script = script_find(argv[2]);
        for (int i = 3; i < argc; i++) {
                if (strcmp(argv[i], "--every") == 0)
                        opt.every = true;
                else if (strcmp(argv[i], "--unmarked") == 0)
                        opt.marks = false;
                else if (i + 1 < argc && strcmp(argv[i], "--depth") == 0)
                        opt.depth = atoi(argv[++i]);
                else if (i + 1 < argc && strcmp(argv[i], "--at") == 0)
                        opt.only = atol(argv[++i]);
                else if (i + 1 < argc && strcmp(argv[i], "--at2") == 0)
                        opt.only2 = atol(argv[++i]);
                else
                        return 2;
        }
        counts = mmap(NULL, sizeof *counts, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        report_init();
        mode_kill();
        printf("%s %s: %lu instructions, %lu changed the region, %lu states, %lu forks, %lu bad, %.2f s\n", argv[1],
               opt.script->name, counts->n_instructions, counts->n_changes, counts->n_states, counts->n_forks, counts->n_bad,
               seconds_now() - start);
        return counts->n_bad != 0;
}
