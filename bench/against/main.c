/*
 * against - two builds of the library, measured alternately in one run.
 *
 * Each figure comes from a process of its own, this program started again with --one: so nothing that a build did, or
 * that its memory looks like, lasts until the next one.  Instructions first, under callgrind; then the times, round
 * after round, and within a round each row with both builds, one right after the other, by turns the one or the other
 * first.  All figures go to standard output as lines ROW,KIND,METRIC,BUILD,VALUE,WHAT, for judge.awk.
 */
#include <argp.h>
#include <err.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "against/against.h"

enum { OPTION_ONE = 256, OPTION_COUNT, OPTION_LIST, RUN_SECONDS_MAX = 600, COUNT_WARM = 4, COUNT_STRETCHES = 4 };

static struct {
        const char *build[2]; /* ours, theirs */
        const char *rows, *one, *dir;
        int rounds;
        double seconds;
        bool counts, lists;
} options = {.rounds = 9, .seconds = 0.04};

static const struct argp_option option_list[] = {
        {"rounds", 'r', "N", 0, "Measure times N times (default 9)", 0},
        {"quick", 'q', NULL, 0, "Three rounds, and a quarter of the time for each run: a first look", 0},
        {"rows", 'c', "LIST", 0, "Only these rows, with commas in between", 0},
        {"scratch", 'd', "DIR", 0, "An empty directory for heaps and for callgrind's files, which are removed", 0},
        {"list", OPTION_LIST, NULL, 0, "List the rows", 0},
        {"one", OPTION_ONE, "ROW", OPTION_HIDDEN, "", 0},
        {"count", OPTION_COUNT, NULL, OPTION_HIDDEN, "", 0},
        {0},
};

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version = "against, of shmalloc " BENCH_VERSION;

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        switch (key) {
        case 'r':
                options.rounds = atoi(arg);
                if (options.rounds < 1 || options.rounds > 99)
                        argp_error(state, "%s is not a number from 1 to 99", arg);
                return 0;
        case 'q':
                options.rounds = 3;
                options.seconds = 0.01;
                return 0;
        case 'c':
                options.rows = arg;
                return 0;
        case 'd':
                options.dir = arg;
                return 0;
        case OPTION_LIST:
                options.lists = true;
                return 0;
        case OPTION_ONE:
                options.one = arg;
                return 0;
        case OPTION_COUNT:
                options.counts = true;
                return 0;
        case ARGP_KEY_ARG:
                if (state->arg_num >= 2)
                        return ARGP_ERR_UNKNOWN;
                options.build[state->arg_num] = arg;
                return 0;
        case ARGP_KEY_END:
                if (!options.lists && !options.build[options.one ? 0 : 1])
                        argp_error(state, "name two libraries");
                if (!options.lists && !options.dir)
                        argp_error(state, "name a directory for heaps: --scratch");
                return 0;
        default:
                return ARGP_ERR_UNKNOWN;
        }
}

static bool
is_listed(const char *list, const char *name)
{
        size_t length = strlen(name);

        if (!list)
                return true;
        for (const char *at = list; (at = strstr(at, name)) != NULL; at++)
                if ((at == list || at[-1] == ',') && (at[length] == ',' || at[length] == '\0'))
                        return true;
        return false;
}

static const struct row *
row_named(const char *name, size_t length)
{
        for (const struct row *row = rows; row->name; row++)
                if (strlen(row->name) == length && strncmp(row->name, name, length) == 0)
                        return row;
        errx(2, "there is no row called %.*s; see --list", (int)length, name);
}

/* ------------------------------------------------------------------ one run, in a process of its own */

static void
pin(void)
{
        cpu_set_t all, one;

        CPU_ZERO(&one);
        if (sched_getaffinity(0, sizeof all, &all) < 0)
                return;
        for (int cpu = 0; cpu < CPU_SETSIZE; cpu++)
                if (CPU_ISSET(cpu, &all)) {
                        CPU_SET(cpu, &one);
                        sched_setaffinity(0, sizeof one, &one);
                        return;
                }
}

static int
run_one(const char *name)
{
        const struct row *row = row_named(name, strlen(name));
        struct library lib;

        pin();
        library_open(&lib, options.build[0]);
        rows_begin(&lib, row);
        if (options.counts)
                printf("%llu\n", (unsigned long long)measure_count(row->work, COUNT_WARM, COUNT_STRETCHES));
        else
                printf("%.9g\n", measure_time(row->work, options.seconds));
        rows_end();
        return 0;
}

/* ------------------------------------------------------------------ all runs */

/* Where a run under callgrind says what is wrong. */
static const char *
log_path(void)
{
        static char path[4096];

        snprintf(path, sizeof path, "%s/valgrind.log", options.dir);
        return path;
}

static void
send_errors_to(const char *path)
{
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

        if (fd < 0)
                err(127, "cannot write %s", path);
        dup2(fd, STDERR_FILENO);
}

static void
show_log(void)
{
        FILE *in = fopen(log_path(), "r");
        char line[512];

        while (in && fgets(line, sizeof line, in))
                if (strncmp(line, "--", 2) != 0) /* what callgrind itself has to say */
                        fputs(line, stderr);
        if (in)
                fclose(in);
}

static void
start_one(const struct row *row, int build, const char *callgrind_out, int out)
{
        char self[4096] = "", seconds[32], out_option[4200], *argv[16];
        int n = 0;

        if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
                err(127, "cannot find myself");
        snprintf(seconds, sizeof seconds, "%.3f", options.seconds);
        snprintf(out_option, sizeof out_option, "--callgrind-out-file=%s", callgrind_out ? callgrind_out : "");
        if (callgrind_out) {
                argv[n++] = "valgrind";
                argv[n++] = "-q";
                argv[n++] = "--tool=callgrind";
                argv[n++] = "--collect-atstart=no";
                argv[n++] = out_option;
        }
        argv[n++] = self;
        if (callgrind_out)
                argv[n++] = "--count";
        else if (options.seconds < 0.04)
                argv[n++] = "--quick";
        argv[n++] = "--scratch";
        argv[n++] = (char *)options.dir;
        argv[n++] = "--one";
        argv[n++] = (char *)row->name;
        argv[n++] = (char *)options.build[build];
        argv[n] = NULL;
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(out, STDOUT_FILENO);
        if (callgrind_out) /* it does not know all system calls, and says so each time */
                send_errors_to(log_path());
        setenv("SHMALLOC_DIR", options.dir, 1);
        unsetenv("SHMALLOC_CONF");
        unsetenv("SHMALLOC_HEAP");
        alarm(RUN_SECONDS_MAX); /* a build that hangs is no reason to wait for ever */
        execvp(argv[0], argv);
        err(127, "cannot start %s", argv[0]);
}

/* The number that a run prints; *ret_pid is what it was. */
static double
run(const struct row *row, int build, const char *callgrind_out, pid_t *ret_pid)
{
        int fd[2], status;
        double value;
        FILE *in;

        if (pipe(fd) < 0 || (*ret_pid = fork()) < 0)
                err(1, "cannot start a run");
        if (*ret_pid == 0) {
                close(fd[0]);
                start_one(row, build, callgrind_out, fd[1]);
        }
        close(fd[1]);
        in = fdopen(fd[0], "r");
        if (!in || fscanf(in, "%lf", &value) != 1)
                value = -1;
        if (in)
                fclose(in);
        if (waitpid(*ret_pid, &status, 0) == *ret_pid && status == 0 && value >= 0)
                return value;
        if (callgrind_out)
                show_log();
        errx(1, "%s with %s gave no figure (status %#x)", row->name, options.build[build], (unsigned)status);
}

/* What callgrind counted. */
static double
read_total(const char *path)
{
        double n = -1;
        char line[256];
        FILE *in = fopen(path, "r");

        if (!in)
                err(1, "cannot read %s", path);
        while (n < 0 && fgets(line, sizeof line, in))
                if (sscanf(line, "summary: %lf", &n) != 1 && sscanf(line, "totals: %lf", &n) != 1)
                        n = -1;
        fclose(in);
        if (n <= 0)
                errx(1, "callgrind counted nothing: %s", path);
        return n;
}

static void
print_figure(const struct row *row, const char *metric, int build, double value)
{
        printf("%s,%s,%s,%s,%.9g,%s\n", row->name, row->kind == ROW_HIT ? "hit" : "slow", metric,
               build == 0 ? "ours" : "theirs", value, row->what);
        fflush(stdout);
}

/* The file names have %p in them, since children of the row's process write one, too. */
static void
count(const struct row *row, int build)
{
        char pattern[4096], path[4096];
        double n_ops;
        pid_t pid;

        snprintf(pattern, sizeof pattern, "%s/callgrind.%%p", options.dir);
        n_ops = run(row, build, pattern, &pid);
        snprintf(path, sizeof path, "%s/callgrind.%ld", options.dir, (long)pid);
        print_figure(row, "instructions", build, read_total(path) / n_ops);
        unlink(path);
}

static void
check_list(void)
{
        for (const char *at = options.rows, *end; at; at = *end ? end + 1 : NULL) {
                end = strchrnul(at, ',');
                row_named(at, (size_t)(end - at));
        }
}

int
main(int argc, char **argv)
{
        static const struct argp argp = {option_list,
                                         parse,
                                         "OURS THEIRS",
                                         "Measures two builds of the library, given by their files, alternately.\v"
                                         "bench/run.sh --against BUILD runs this and judges what it prints.",
                                         NULL,
                                         NULL,
                                         NULL};
        pid_t pid;

        argp_err_exit_status = 2;
        argp_parse(&argp, argc, argv, 0, NULL, NULL);
        if (options.one)
                return run_one(options.one);
        check_list();
        for (const struct row *row = rows; options.lists && row->name; row++)
                printf("%-14s %-5s %s\n", row->name, row->kind == ROW_HIT ? "hit" : "slow", row->what);
        if (options.lists)
                return 0;
        if (!measure_can_count())
                errx(2, "instructions cannot be counted: build it where valgrind is installed");
        for (const struct row *row = rows; row->name; row++)
                for (int build = 0; build < 2 && is_listed(options.rows, row->name); build++)
                        count(row, build);
        for (int round = 0; round < options.rounds; round++)
                for (const struct row *row = rows; row->name; row++)
                        for (int i = 0; i < 2 && is_listed(options.rows, row->name); i++) {
                                int build = (round + i) % 2;

                                print_figure(row, "time", build, run(row, build, NULL, &pid));
                        }
        return 0;
}
