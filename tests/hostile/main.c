/*
 * What is at stake: whoever looks at a region that somebody has damaged, by accident or on purpose, must get a clear
 * report: never a crash, a hang, or an access outside of the mapping.
 *
 *      hostile --fields [--use-every K]            each field set to each of its boundary values, one at a time
 *      hostile --random N [--seed S]               N regions with a few random changes each
 *      hostile --live SECONDS [--seed S]           a process that flips words while others attach, check, reap, print
 *      hostile FILE...                             the inputs in these files (what libFuzzer found, or --keep wrote)
 *
 * Cases run in a child; when it dies, or does not get on, the case is reported with a command
 * that repeats it, and another child goes on behind it.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "hostile/hostile.h"
#include "hostile/live.h"
#include "support/heap_dir.h"

enum { STALL_S = 500, STALL_PROCESSOR_S = 20, INPUT_MAX = 400, FAILURES_MAX = 20, WORKER_AGAIN = 98 };

/* ------------------------------------------------------------------ what is run */

struct run {
        struct image image;
        struct fields fields;
        uint64_t n_cases;
        const char *const *files; /* instead of fields or dice */
        bool by_fields, is_verbose;
        uint64_t seed, part, n_parts, every, first;
        uint64_t use_every; /* only every so many cases the heap is also used, which takes longest */
};

/* Shared with the children. */
struct progress {
        uint64_t n_done; /* cases that are over */
        uint64_t n_run, n_refused, n_faults, n_found, n_stuck;
        char name[160]; /* of the case being run */
};

static struct progress *progress;
static int errors_fd; /* what the child says while it runs a case */

/* Which field, and which of its values, a case is. */
static bool
find_value(const struct run *run, uint64_t number, const struct field **ret_field, uint64_t *ret_value)
{
        static size_t field_idx;
        static uint64_t first; /* number of the field's first case */

        if (number < first)
                field_idx = first = 0;
        for (; field_idx < run->fields.n; field_idx++) {
                uint64_t values[FIELD_VALUES_MAX];
                size_t n = field_values(&run->image, &run->fields.all[field_idx], values);

                if (number < first + n) {
                        *ret_field = &run->fields.all[field_idx];
                        *ret_value = values[number - first];
                        return true;
                }
                first += n;
        }
        return false;
}

static uint64_t
count_values(const struct run *run)
{
        uint64_t n = 0, values[FIELD_VALUES_MAX];

        for (size_t i = 0; i < run->fields.n; i++)
                n += field_values(&run->image, &run->fields.all[i], values);
        return n;
}

static void
fail(const char *what)
{
        fprintf(stderr, "hostile: %s: %s\n", what, strerror(errno));
        exit(1);
}

static size_t
read_input(const char *path, uint8_t data[INPUT_MAX])
{
        FILE *file = fopen(path, "rb");
        size_t n = file ? fread(data, 1, INPUT_MAX, file) : 0;

        if (!file)
                fail(path);
        fclose(file);
        return n;
}

/* ------------------------------------------------------------------ one case */

static void
note_outcome(const struct run *run, const struct outcome *o, bool is_refused)
{
        progress->n_run++;
        progress->n_refused += o->open_error != 0;
        progress->n_faults += o->was_fault;
        progress->n_found += o->n_found > 0;
        progress->n_stuck += o->is_stuck;
        if (run->is_verbose)
                printf("%s: %d %s, found %d%s%s\n", progress->name, o->open_error, o->message, o->n_found,
                       o->was_fault ? ", fault" : "", o->is_stuck ? ", stuck" : "");
        if (is_refused && o->open_error == 0) {
                fprintf(stderr, "opening did not fail\n");
                abort();
        }
}

static struct outcome
run_case(const struct run *run, uint64_t number, int fd)
{
        const struct field *field = NULL;
        uint8_t data[INPUT_MAX];
        struct outcome o;
        unsigned what = number % 4 == 0 ? DO_ALL | DO_MORE : DO_ALL;
        uint64_t value = 0;

        if (run->by_fields && find_value(run, number, &field, &value)) {
                snprintf(progress->name, sizeof progress->name, "--fields, case %" PRIu64 ": %s := %#" PRIx64, number,
                         field->name, value);
                field_store(field, fd, value);
                if (number / (run->n_parts * run->every) % run->use_every != 0)
                        what &= ~(unsigned)DO_USE;
        } else if (run->files) {
                snprintf(progress->name, sizeof progress->name, "%s", run->files[number]);
                what = changes_apply(&run->image, &run->fields, fd, data, read_input(run->files[number], data));
        } else {
                struct dice dice = {run->seed * UINT64_C(1000003) + number};

                snprintf(progress->name, sizeof progress->name, "--random, seed %" PRIu64 ", case %" PRIu64, run->seed,
                         number);
                what = changes_apply(&run->image, &run->fields, fd, data,
                                     changes_roll(&run->fields, &dice, data, sizeof data));
        }
        exercise(&run->image, fd, what, &o);
        note_outcome(run, &o, field && field->is_refused);
        return o;
}

static void __attribute__((noreturn)) run_cases(const struct run *run, uint64_t from)
{
        int fd = image_open(&run->image);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (dup2(errors_fd, 2) < 0)
                fail("dup2");
        for (uint64_t number = from; number < run->n_cases; number++) {
                struct outcome o = {0};

                if (number % (run->n_parts * run->every) == run->part) {
                        if (ftruncate(errors_fd, 0) < 0 || lseek(errors_fd, 0, SEEK_SET) < 0)
                                fail("errors");
                        image_restore(&run->image, fd);
                        o = run_case(run, number, fd);
                }
                progress->n_done = number + 1;
                if (o.is_stuck) { /* nothing else can be mapped there in this process */
                        fflush(stdout);
                        _exit(WORKER_AGAIN);
                }
        }
        fflush(stdout);
        _exit(0);
}

/* ------------------------------------------------------------------ the parent */

static double
processor_seconds(clockid_t clock)
{
        struct timespec used;

        return clock_gettime(clock, &used) < 0 ? 0 : (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* The child's status; -1: it was stuck, and has been killed.  A busy machine is told from a loop by processor time. */
static int
await(pid_t pid)
{
        struct pollfd fd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        uint64_t n_done = progress->n_done;
        bool is_stuck = false;
        double since = 0;
        clockid_t clock;
        int status, waited = 0;

        if (fd.fd < 0 || clock_getcpuclockid(pid, &clock) != 0)
                fail("pidfd");
        while (!is_stuck && poll(&fd, 1, 1000) == 0) {
                double now = processor_seconds(clock);

                if (progress->n_done != n_done)
                        since = now, waited = 0;
                n_done = progress->n_done;
                is_stuck = now - since > STALL_PROCESSOR_S || ++waited > STALL_S;
        }
        if (is_stuck)
                kill(pid, SIGABRT); /* leaves a trace under a sanitizer */
        close(fd.fd);
        if (waitpid(pid, &status, 0) != pid)
                fail("waitpid");
        return is_stuck ? -1 : status;
}

static void
print_errors(void)
{
        char text[6000];
        ssize_t n = pread(errors_fd, text, sizeof text - 1, 0);

        text[n > 0 ? n : 0] = '\0';
        fputs(text, stderr);
}

static unsigned
run_all(const struct run *run)
{
        unsigned n_failures = 0;
        uint64_t from = run->first;

        while (from < run->n_cases && n_failures < FAILURES_MAX) {
                pid_t pid;
                int status;

                fflush(NULL);
                progress->n_done = from;
                pid = fork();
                if (pid < 0)
                        fail("fork");
                if (pid == 0)
                        run_cases(run, from);
                status = await(pid);
                from = progress->n_done;
                if (status == 0 || (status > 0 && WIFEXITED(status) && WEXITSTATUS(status) == WORKER_AGAIN))
                        continue;
                n_failures++;
                fprintf(stderr, "hostile: %s: ", progress->name);
                if (status < 0)
                        fprintf(stderr, "no end within %d s of processor time\n", STALL_PROCESSOR_S);
                else
                        fprintf(stderr, "%s\n", WIFSIGNALED(status) ? strsignal(WTERMSIG(status)) : "ended");
                print_errors();
                from++;
        }
        return n_failures;
}

static uint64_t
number(char **argv)
{
        char *end;
        uint64_t value = argv[1] ? strtoull(argv[1], &end, 0) : 0;

        if (!argv[1] || *end != '\0') {
                fprintf(stderr, "hostile: %s wants a number\n", argv[0]);
                exit(2);
        }
        return value;
}

static void
usage(FILE *out)
{
        fputs("hostile --fields [--use-every K]            each field set to each of its boundary values; every Kth\n"
              "                                            heap is used as well, the others are only looked at and "
              "reaped\n"
              "hostile --random N [--seed S]               N regions with a few random changes each\n"
              "hostile --live SECONDS [--seed S]           words are flipped while others look, attach and reap\n"
              "hostile FILE...                             the inputs in these files\n"
              "  --first I        begin with case I        --count N   no more than N cases\n"
              "  --part I/N       the Ith of N parts       --every K   every Kth case\n"
              "  --list           print the fields         --verbose   say what became of each case\n",
              out);
}

static void __attribute__((noreturn)) fail_usage(const char *why)
{
        fprintf(stderr, "hostile: %s\n", why);
        exit(2);
}

static uint64_t live_s, n_random, count = UINT64_MAX;
static bool wants_list;

static char **
parse(struct run *run, char **argv)
{
        for (; *argv && **argv == '-'; argv++) {
                if (strcmp(*argv, "--fields") == 0)
                        run->by_fields = true;
                else if (strcmp(*argv, "--list") == 0)
                        wants_list = true;
                else if (strcmp(*argv, "--verbose") == 0)
                        run->is_verbose = true;
                else if (strcmp(*argv, "--random") == 0)
                        n_random = number(argv++);
                else if (strcmp(*argv, "--seed") == 0)
                        run->seed = number(argv++);
                else if (strcmp(*argv, "--live") == 0)
                        live_s = number(argv++);
                else if (strcmp(*argv, "--first") == 0)
                        run->first = number(argv++);
                else if (strcmp(*argv, "--count") == 0)
                        count = number(argv++);
                else if (strcmp(*argv, "--use-every") == 0)
                        run->use_every = number(argv++);
                else if (strcmp(*argv, "--every") == 0)
                        run->every = number(argv++);
                else if (strcmp(*argv, "--part") == 0 && argv[1] &&
                         sscanf(argv[1], "%" SCNu64 "/%" SCNu64, &run->part, &run->n_parts) == 2)
                        argv++;
                else {
                        usage(strcmp(*argv, "--help") == 0 ? stdout : stderr);
                        exit(strcmp(*argv, "--help") == 0 ? 0 : 2);
                }
        }
        if (run->every == 0 || run->use_every == 0 || run->n_parts == 0 || run->part >= run->n_parts) {
                usage(stderr);
                exit(2);
        }
        return argv;
}

static void
list_all(const struct run *run)
{
        for (size_t i = 0; i < run->fields.n; i++)
                printf("%#10" PRIx64 " %2u+%u %s\n", run->fields.all[i].off, run->fields.all[i].shift,
                       run->fields.all[i].bits, run->fields.all[i].name);
}

int
main(int argc, char **argv)
{
        struct run run = {.seed = (uint64_t)time(NULL), .n_parts = 1, .every = 1, .use_every = 1};
        char **files = parse(&run, argv + 1);
        unsigned n_failures;

        heap_dir_create("hostile");
        progress = mmap(NULL, sizeof *progress, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        errors_fd = memfd_create("errors", MFD_CLOEXEC);
        if (progress == MAP_FAILED || errors_fd < 0)
                fail("memory");
        image_make(&run.image);
        heap_dir_remove();
        fields_list(&run.image, &run.fields);
        if (*files) {
                run.files = (const char *const *)files;
                run.n_cases = (uint64_t)(argv + argc - files);
        } else {
                run.n_cases = run.by_fields ? count_values(&run) : n_random;
        }
        if (count < run.n_cases - run.first)
                run.n_cases = run.first + count;
        printf("seed %" PRIu64 ", %zu pages, %zu fields, %" PRIu64 " cases\n", run.seed, run.image.n_pages,
               run.fields.n, run.n_cases);
        if (wants_list)
                list_all(&run);
        if (live_s == 0 && !wants_list && run.first >= run.n_cases)
                fail_usage("there is nothing to do: --help says what there is");
        n_failures = live_s > 0 ? live_run(&run.image, &run.fields, run.seed, live_s) : run_all(&run);
        if (live_s == 0)
                printf("%" PRIu64 " run, %" PRIu64 " refused, %" PRIu64 " with faults found, %" PRIu64
                       " with misuse reported, %" PRIu64 " kept mapped\n",
                       progress->n_run, progress->n_refused, progress->n_found, progress->n_faults, progress->n_stuck);
        printf("%s\n", n_failures == 0 ? "ok" : "FAILED");
        fields_drop(&run.fields);
        image_drop(&run.image);
        return n_failures == 0 ? 0 : 1;
}
