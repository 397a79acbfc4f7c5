/*
 * main.c - shmallocctl: what is going on in heaps.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/output.h"
#include "ctl/ctl.h"
#include "os/descriptor.h"

static const struct verb {
        const char *name;
        ctl_verb_fn *fn;
        const char *doc;
} verbs[] = {
        {"ls", verb_ls, "the heaps on this machine"},
        {"stat", verb_stat, "what a heap is used for: text, --json, --openmetrics"},
        {"top", verb_top, "the same, live: clients, bytes, rates, arenas, nodes, deaths"},
        {"clients", verb_clients, "who has a heap open"},
        {"map", verb_map, "a picture of the heap's memory: in the terminal, --svg, --html"},
        {"check", verb_check, "whether a heap is in order; exits with 1 if not"},
        {"reap", verb_reap, "settle what the dead left in a heap, now"},
        {"purge", verb_purge, "give unused memory back to the system, now"},
        {"dump", verb_dump, "all that is in a heap's tables, dead or alive; --save copies it"},
        {"explain", verb_explain, "what is at an address: class, slab, owner, cached or not"},
        {"roots", verb_roots, "the named objects of a heap: name, size, address"},
        {"rm", verb_rm, "remove a heap's name"},
};

enum { N_VERBS = sizeof verbs / sizeof verbs[0] };

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "shmallocctl " SHMALLOC_VERSION;

static void
usage(FILE *out)
{
        fputs("usage: shmallocctl VERB [OPTION...] [NAME]\n\n", out);
        for (unsigned i = 0; i < N_VERBS; i++)
                fprintf(out, "  %-8s %s\n", verbs[i].name, verbs[i].doc);
        fputs("\nNAME is a heap's, or with a slash in it the path of a saved one.\n"
              "shmallocctl VERB --help tells more.\n"
              "All but reap, purge and rm only look: they take no place in the heap, write\n"
              "nothing to it and delay nobody.\n"
              "Exit status: 0 good, 1 faults found, 2 usage, 3 no such heap, 4 no permission.\n",
              out);
}

static const struct verb *
find_verb(const char *name)
{
        for (unsigned i = 0; i < N_VERBS; i++)
                if (strcmp(verbs[i].name, name) == 0)
                        return &verbs[i];
        return NULL;
}

int
main(int argc, char **argv)
{
        const struct verb *verb = argc > 1 ? find_verb(argv[1]) : NULL;
        struct descriptor_plugs plugs;
        char name[64];

        output_guard("shmallocctl", CTL_FAULTS);
        descriptor_plug(&plugs); /* for good: what we print goes into no heap, if 0 to 2 are closed */
        argp_err_exit_status = CTL_USAGE;
        if (argc > 1 &&
            (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0)) {
                usage(stdout);
                return CTL_GOOD;
        }
        if (argc > 1 && (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)) {
                puts(argp_program_version);
                return CTL_GOOD;
        }
        if (!verb) {
                if (argc > 1)
                        fprintf(stderr, "shmallocctl: there is no verb \"%s\"\n", argv[1]);
                usage(stderr);
                return CTL_USAGE;
        }
        view_guard();
        snprintf(name, sizeof name, "shmallocctl %s", verb->name);
        argv[1] = name;
        return verb->fn(argc - 1, argv + 1);
}
