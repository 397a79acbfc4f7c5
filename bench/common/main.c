/*
 * main.c - runs a question with all allocators in turn, and prints medians.
 *
 * Each run is a process of its own, this program started again with --one: so nothing that an allocator did, or that
 * its memory looks like, lasts until the next one.  A run prints its figures on a pipe; the process that started it
 * keeps them all until the last round.
 */
#include <argp.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/bench.h"

bool bench_is_quick, bench_is_tiny;

static const struct bench_question *question;
static const struct bench_case *cases; /* of the question */
static FILE *one_out;                  /* of a run */

/* ------------------------------------------------------------------ options */

enum {
        OPTION_ONE = 256,
        OPTION_LIST,
        OPTION_PEER,
        OPTION_TINY,
        OPTION_COUNT,
        OPTION_OWN,
        ROUNDS_MAX = 64,
        VALUES_MAX = 512,
        RUN_SECONDS_MAX = 120
};

static struct {
        int rounds;
        const char *allocators, *cases, *csv, *one, *counts;
        bool lists, is_verbose;
} options;

static struct argp_option option_list[] = {
        {"rounds", 'r', "N", 0, "Repeat each run N times, the allocators in turn (default 5; --quick: 2)", 0},
        {"quick", 'q', NULL, 0, "Take a fifth of the time, for a first look", 0},
        {"allocators", 'a', "LIST", 0, "Only these, with commas in between; null is always there", 0},
        {"cases", 'c', "LIST", 0, "Only these cases", 0},
        {"csv", 'o', "FILE", 0, "Append all figures to FILE", 0},
        {"list", OPTION_LIST, NULL, 0, "List the cases, and the allocators that are here", 0},
        {"verbose", 'v', NULL, 0, "Show each run", 0},
        {"peer", OPTION_PEER, "FILE", 0, "One more private allocator: any shared library with a malloc; repeatable", 0},
        {"count", OPTION_COUNT, "DIR", 0, "Count instructions instead of time, by callgrind, whose files stay in DIR",
         0},
        {"one", OPTION_ONE, "ALLOCATOR", OPTION_HIDDEN, "", 0},
        {"tiny", OPTION_TINY, NULL, OPTION_HIDDEN, "", 0}, /* for tests: no time at all */
        {0},                                               /* the question's own */
        {0},
};

/* Those that a run is started with know the peers, too, by the same names. */
static const char peers_variable[] = "BENCH_PEERS";

static void
add_peer(const char *path, struct argp_state *state)
{
        const char *before = getenv(peers_variable);
        char *all = NULL;

        if (!bench_add_peer(path))
                argp_error(state, "%s cannot be used", path);
        if (asprintf(&all, "%s%s%s", before ? before : "", before ? ":" : "", path) < 0 ||
            setenv(peers_variable, all, 1) < 0)
                err(1, "memory");
        free(all);
}

static void
add_peers_again(void)
{
        char *all = getenv(peers_variable), *copy = all ? strdup(all) : NULL, *rest = NULL;

        for (char *path = copy ? strtok_r(copy, ":", &rest) : NULL; path; path = strtok_r(NULL, ":", &rest))
                (void)bench_add_peer(path); /* said by itself */
        free(copy);
}

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "a benchmark of shmalloc " BENCH_VERSION;

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        switch (key) {
        case 'r':
                options.rounds = atoi(arg);
                if (options.rounds < 1 || options.rounds > ROUNDS_MAX)
                        argp_error(state, "%s is not a number from 1 to %d", arg, ROUNDS_MAX);
                return 0;
        case 'q':
                bench_is_quick = true;
                return 0;
        case 'a':
                options.allocators = arg;
                return 0;
        case 'c':
                options.cases = arg;
                return 0;
        case 'o':
                options.csv = arg;
                return 0;
        case OPTION_LIST:
                options.lists = true;
                return 0;
        case 'v':
                options.is_verbose = true;
                return 0;
        case OPTION_ONE:
                options.one = arg;
                return 0;
        case OPTION_PEER:
                add_peer(arg, state);
                return 0;
        case OPTION_TINY:
                bench_is_tiny = bench_is_quick = true;
                return 0;
        case OPTION_COUNT:
                options.counts = arg;
                return bench_can_count() ? 0 : (argp_error(state, "build it where valgrind is installed"), EINVAL);
        case OPTION_OWN:
                return setenv(question->option->variable, arg, 1) < 0 ? errno : 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

/* Whether a list with commas names it; no list names all. */
static bool
is_listed(const char *list, const char *name)
{
        size_t length = strlen(name);

        for (const char *at = list; at; at = strchr(at, ','), at = at ? at + 1 : NULL)
                if (strncmp(at, name, length) == 0 && (at[length] == ',' || at[length] == '\0'))
                        return true;
        return !list;
}

/* A list that names something that there is not is a mistake. */
static void
check_list(const char *list, const char *what, bool (*is_known)(const char *name))
{
        char *copy = list ? strdup(list) : NULL, *rest = NULL;

        for (char *name = copy ? strtok_r(copy, ",", &rest) : NULL; name; name = strtok_r(NULL, ",", &rest))
                if (!is_known(name))
                        errx(2, "there is no %s called %s; --list shows them", what, name);
        free(copy);
}

static bool
is_case(const char *name)
{
        for (const struct bench_case *c = cases; c->name; c++)
                if (strcmp(c->name, name) == 0)
                        return true;
        return false;
}

static bool
is_allocator(const char *name)
{
        struct bench_choice *choices;
        size_t n = bench_choices(&choices);

        for (size_t i = 0; i < n; i++)
                if (strcmp(choices[i].name, name) == 0)
                        return true;
        return false;
}

/* ------------------------------------------------------------------ one run, in a process of its own */

const char *
bench_heap_name(void)
{
        static char name[64];

        if (!name[0])
                snprintf(name, sizeof name, "bench-%ld", (long)getppid()); /* the same for all that it starts */
        return name;
}

void
bench_value(const char *metric, const char *unit, enum bench_kind kind, double value)
{
        fprintf(one_out, "%s %s %d %.9g\n", metric, unit, (int)kind, value);
}

void
bench_need(const struct bench_allocator *a, const void *p)
{
        if (p)
                return;
        fprintf(stderr, "%s has no more memory for this question\n", a->name);
        if (a->teardown)
                a->teardown();
        _exit(BENCH_SKIPPED);
}

static int
run_one(const char *allocator, const char *case_name)
{
        const struct bench_allocator *a = bench_load(allocator);
        int status = 1;

        one_out = stdout;
        (void)bench_heap_name(); /* before any process is started here */
        if (!a)
                return 1;
        for (const struct bench_case *c = cases; c->name; c++)
                if (strcmp(c->name, case_name) == 0)
                        status = question->run(a, c);
        if (a->teardown)
                a->teardown();
        fflush(stdout);
        _exit(status); /* exit handlers of a preloaded allocator are nobody's business */
}

/* ------------------------------------------------------------------ all runs */

struct metric {
        char name[32], unit[16];
        enum bench_kind kind;
        struct series {
                double value[VALUES_MAX];
                int n;
        } * series; /* by allocator */
};

enum { METRICS_MAX = 32 };
static struct metric metrics[METRICS_MAX];
static int n_metrics;
static struct bench_choice *choices;
static size_t n_choices;
static bool is_chosen[64], has_failed[64];

static struct metric *
metric_of(const char *name, const char *unit, enum bench_kind kind)
{
        struct metric *m = metrics;

        for (; m < metrics + n_metrics; m++)
                if (strcmp(m->name, name) == 0)
                        return m;
        if (n_metrics == METRICS_MAX)
                errx(1, "too many figures");
        n_metrics++;
        snprintf(m->name, sizeof m->name, "%s", name);
        snprintf(m->unit, sizeof m->unit, "%s", unit);
        m->kind = kind;
        m->series = calloc(n_choices, sizeof *m->series);
        if (!m->series)
                err(1, "memory");
        return m;
}

/* Where callgrind writes what it counts in a run. */
static const char *
count_file(size_t allocator, const char *case_name)
{
        static char path[PATH_MAX];

        snprintf(path, sizeof path, "%s/%s-%s-%s.callgrind", options.counts, question->name, case_name,
                 choices[allocator].name);
        return path;
}

/* The program again: the allocator's functions come with it. */
static void
start_one(size_t allocator, const char *case_name, int out)
{
        const char *file = choices[allocator].file, *program = "/proc/self/exe";
        const char *argv[BENCH_COUNT_ARGUMENTS + 7];
        char self[PATH_MAX] = "";
        int n = 0;

        if (options.counts) {
                bench_count_arguments(count_file(allocator, case_name), argv);
                n = BENCH_COUNT_ARGUMENTS;
                if (readlink(program, self, sizeof self - 1) < 0)
                        err(127, "%s", program);
                program = argv[0];
        }
        argv[n++] = options.counts ? self : question->name;
        argv[n++] = "--one";
        argv[n++] = choices[allocator].name;
        argv[n++] = "--cases";
        argv[n++] = case_name;
        argv[n++] = bench_is_tiny ? "--tiny" : bench_is_quick ? "--quick" : NULL;
        argv[n] = NULL;

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out, STDOUT_FILENO);
        if (choices[allocator].is_preload)
                setenv("LD_PRELOAD", file, 1);
        if (question->decay_ms || options.counts) { /* of those that can be told; what is counted goes by no clock */
                int decay_ms = options.counts ? -1 : question->decay_ms;
                char conf[64];

                snprintf(conf, sizeof conf, "decay_ms:%d", decay_ms);
                setenv("SHMALLOC_CONF", conf, 1);
                snprintf(conf, sizeof conf, "dirty_decay_ms:%d,muzzy_decay_ms:0", decay_ms);
                setenv("MALLOC_CONF", conf, 1); /* jemalloc */
        }
        /* An allocator that hangs is no reason to wait for ever. */
        alarm(options.counts ? 10 * RUN_SECONDS_MAX : RUN_SECONDS_MAX);
        execvp(program, (char *const *)argv); /* a path, or valgrind */
        err(127, "cannot start %s", program);
}

/* The only figure of a run that was counted. */
static void
add_count(size_t allocator, const char *case_name, double n_ops)
{
        double n = bench_count_of(count_file(allocator, case_name));
        struct series *s;

        if (n_ops <= 0 || n < 0)
                return;
        s = &metric_of("instructions", "per-op", BENCH_TIME)->series[allocator];
        if (s->n < VALUES_MAX)
                s->value[s->n++] = n / n_ops;
}

/* How many operations were counted. */
static double
read_figures(FILE *in, size_t allocator)
{
        double n_counted = 0;
        char name[32], unit[16];
        double value;
        int kind, n_fields;

        while ((n_fields = fscanf(in, "%31s %15s %d %lf", name, unit, &kind, &value)) == 4) {
                struct series *s;

                if (options.counts && bench_is_ops_metric(name))
                        n_counted = value;
                if (options.counts)
                        continue; /* times under callgrind are nobody's */
                s = &metric_of(name, unit, (enum bench_kind)kind)->series[allocator];
                if (options.is_verbose)
                        fprintf(stderr, "  %-10s %-16s %12.3f %s\n", choices[allocator].name, name, value, unit);
                if (s->n < VALUES_MAX)
                        s->value[s->n++] = value;
        }
        if (n_fields != EOF)
                errx(1, "%s: figures of %s cannot be read, after \"%s\"", question->name, choices[allocator].name,
                     name);
        return n_counted;
}

static void
run_allocator(size_t allocator, const char *case_name)
{
        int fd[2], status;
        double n_counted;
        pid_t pid;
        FILE *in;

        if (pipe2(fd, O_CLOEXEC) < 0 || (pid = fork()) < 0)
                err(1, "cannot start a run");
        if (pid == 0)
                start_one(allocator, case_name, fd[1]);
        close(fd[1]);
        in = fdopen(fd[0], "r");
        if (!in)
                err(1, "cannot read from a run");
        n_counted = read_figures(in, allocator);
        fclose(in);
        if (waitpid(pid, &status, 0) != pid || status != 0) {
                has_failed[allocator] = true;
                if (WIFEXITED(status) && WEXITSTATUS(status) == BENCH_SKIPPED)
                        return;
                if (WIFSIGNALED(status))
                        warnx("%s, %s: %s was ended by signal %d", question->name, case_name, choices[allocator].name,
                              WTERMSIG(status));
                else
                        warnx("%s, %s: %s failed with status %d", question->name, case_name, choices[allocator].name,
                              WEXITSTATUS(status));
        } else if (options.counts) {
                add_count(allocator, case_name, n_counted);
        }
}

static int
by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

/* Of the values in order, that which lies so far along. */
static double
quantile(struct series *s, double part)
{
        double at = part * (s->n - 1);
        int low = (int)at;

        if (s->n == 0)
                return 0;
        qsort(s->value, (size_t)s->n, sizeof *s->value, by_value);
        return low + 1 < s->n ? s->value[low] + (at - low) * (s->value[low + 1] - s->value[low]) : s->value[low];
}

static double
median(struct series *s)
{
        return quantile(s, 0.5);
}

/* ------------------------------------------------------------------ what is printed */

static double
net_of(const struct metric *m, size_t allocator)
{
        double net = median(&m->series[allocator]);

        if (m->kind == BENCH_TIME && choices[0].is_there && m->series[0].n > 0)
                net -= median(&m->series[0]);
        return net;
}

/* How far two figures of the driver alone may lie apart: half of its runs do, and nothing below 5 % is a difference.
 * targets.awk and summary.awk reckon alike. */
static double
noise_of(const struct metric *m)
{
        struct series *null = &m->series[0];
        double between = quantile(null, 0.75) - quantile(null, 0.25);

        return between > 0.05 * median(null) ? between : 0.05 * median(null);
}

static bool
is_noise(const struct metric *m, size_t allocator)
{
        double net = net_of(m, allocator);

        return allocator != 0 && m->kind == BENCH_TIME && m->series[0].n > 0 && net <= noise_of(m);
}

static void
append_csv(const char *case_name)
{
        static const char *const kind_names[] = {"time", "plain", "more"};
        FILE *csv = options.csv ? fopen(options.csv, "a") : NULL;

        if (!options.csv)
                return;
        if (!csv)
                err(1, "cannot write to %s", options.csv);
        if (ftell(csv) == 0)
                fprintf(csv, "question,case,metric,unit,allocator,group,median,net,min,max,runs,q1,q3,kind\n");
        for (int i = 0; i < n_metrics; i++)
                for (size_t k = 0; k < n_choices; k++) {
                        struct series *s = &metrics[i].series[k];
                        unsigned group = choices[k].group;
                        double middle = median(s);

                        if (s->n == 0)
                                continue;
                        fprintf(csv, "%s,%s,%s,%s,%s,%s,%.6g,%.6g,%.6g,%.6g,%d,%.6g,%.6g,%s\n", question->name,
                                case_name, metrics[i].name, metrics[i].unit, choices[k].name,
                                k == 0                  ? "null"
                                : group & BENCH_OURS    ? "ours"
                                : group == BENCH_SHARED ? "shared"
                                                        : "private",
                                middle, net_of(&metrics[i], k), s->value[0], s->value[s->n - 1], s->n,
                                quantile(s, 0.25), quantile(s, 0.75), kind_names[metrics[i].kind]);
                }
        if (fclose(csv) != 0)
                err(1, "cannot write to %s", options.csv);
}

/* With a mark where it is not told apart from nothing. */
static void
print_number(double value, bool is_nothing)
{
        int digits = value != 0 && value < 10 && value > -10 ? 2 : value < 1000 && value > -1000 ? 1 : 0;

        printf(" %s%.*f |", is_nothing ? "~ " : "", digits, value);
}

static void
print_table(const char *case_name)
{
        printf("\n### %s: %s\n\n| |", question->name, case_name);
        for (int i = 0; i < n_metrics; i++)
                printf(" %s%s, %s |", metrics[i].name, metrics[i].kind == BENCH_TIME ? " net" : "", metrics[i].unit);
        printf("\n|---|");
        for (int i = 0; i < n_metrics; i++)
                printf("---:|");
        printf("\n");
        for (size_t k = 0; k < n_choices; k++) {
                bool has_any = false;

                for (int i = 0; i < n_metrics; i++)
                        has_any |= metrics[i].series[k].n > 0;
                if (!has_any)
                        continue;
                printf("| %s |", choices[k].name);
                for (int i = 0; i < n_metrics; i++)
                        if (metrics[i].series[k].n == 0)
                                printf(" |");
                        else
                                print_number(k == 0 ? median(&metrics[i].series[k]) : net_of(&metrics[i], k),
                                             is_noise(&metrics[i], k));
                printf("\n");
        }
        fflush(stdout);
}

static void
choose_allocators(void)
{
        for (size_t k = 0; k < n_choices; k++) {
                is_chosen[k] = choices[k].is_there && (choices[k].group & question->allocators) != 0 &&
                               (k == 0 || choices[k].is_peer || is_listed(options.allocators, choices[k].name));
                if (k == 0 && question->allocators & BENCH_NO_NULL)
                        is_chosen[k] = false;
                if (options.allocators && is_listed(options.allocators, choices[k].name) && !choices[k].is_there)
                        errx(2, "%s is not here: it needs the Debian packages %s", choices[k].name, choices[k].package);
        }
}

static void
list_all(void)
{
        printf("%s: %s\ncases:", question->name, question->summary);
        for (const struct bench_case *c = cases; c->name; c++)
                printf(" %s", c->name);
        printf("\nallocators:");
        for (size_t k = 0; k < n_choices; k++)
                if (choices[k].is_there && choices[k].group & question->allocators)
                        printf(" %s", choices[k].name);
        for (size_t k = 0; k < n_choices; k++)
                if (!choices[k].is_there)
                        printf("\nmissing: %s needs the packages %s", choices[k].name, choices[k].package);
        printf("\n");
}

static void
run_case(const char *case_name, int rounds)
{
        n_metrics = 0;
        memset(has_failed, 0, sizeof has_failed);
        for (int round = 0; round < rounds; round++)
                for (size_t k = 0; k < n_choices; k++)
                        if (is_chosen[k] && !has_failed[k])
                                run_allocator(k, case_name);
        if (n_metrics > 0)
                print_table(case_name);
        append_csv(case_name);
        for (int i = 0; i < n_metrics; i++)
                free(metrics[i].series);
}

int
bench_main(int argc, char **argv, const struct bench_question *q)
{
        static char doc[1024];
        struct argp argp = {option_list, parse, NULL, doc, NULL, NULL, NULL};
        int rounds;

        question = q;
        if (q->option)
                option_list[sizeof option_list / sizeof *option_list - 2] =
                        (struct argp_option){q->option->name, OPTION_OWN, q->option->arg, 0, q->option->doc, 0};
        snprintf(doc, sizeof doc,
                 "%s\vA table per case: medians of all rounds; what is called net is without the driver, as measured "
                 "with an allocator that does nothing (null); ~ marks what is within its noise. bench/README.md says "
                 "more.",
                 q->summary);
        if (argc < 2 || strcmp(argv[1], "--one") != 0)
                unsetenv(peers_variable);
        argp_parse(&argp, argc, argv, 0, NULL, NULL);
        cases = q->find_cases ? q->find_cases() : q->cases;
        if (options.one)
                add_peers_again();
        n_choices = bench_choices(&choices);
        if (options.one)
                return run_one(options.one, options.cases ? options.cases : "");
        check_list(options.cases, "case", is_case);
        check_list(options.allocators, "allocator", is_allocator);
        if (options.lists) {
                list_all();
                return 0;
        }
        choose_allocators();
        rounds = options.rounds ? options.rounds : options.counts ? 1 : bench_is_quick ? 2 : q->rounds ? q->rounds : 5;
        for (const struct bench_case *c = cases; c->name; c++)
                if (is_listed(options.cases, c->name))
                        run_case(c->name, rounds);
        return 0;
}
