/*
 * wordindex - several processes index text into one hash table in a shared heap, and may be killed meanwhile.
 *
 *      main.c       what is asked for; the order of events; what is printed
 *      run.c        worker processes: start, replace, kill
 *      worker.c     what a worker does, and what it finds if its predecessor was killed
 *      index.c      the hash table in the heap
 *      redo.c       several stores at once, whoever dies
 *      shared.h     what lies in the heap, and why it survives: begin here
 *      documents.c  files and words; private memory only
 */
#include <argp.h>
#include <err.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "index.h"
#include "run.h"
#include "worker.h"

/* ------------------------------------------------------------------ options */

enum { OPTION_KILL = 256, OPTION_SEED, OPTION_KEEP, OPTION_WORKER, OPTION_HEAP };

struct options {
        unsigned n_workers, n_top;
        bool does_kill, keeps, is_quiet;
        uint64_t seed;
        char **files;
        size_t n_files;
        int worker; /* -1: this is not one */
        const char *heap_name;
};

static const struct argp_option option_list[] = {
        {"workers", 'w', "N", 0, "Let N processes work, 1 to 64 (default 4)", 0},
        {"top", 'n', "N", 0, "Show the N most frequent words (default 10)", 0},
        {"quiet", 'q', NULL, 0, "Print the words only, not how it went", 0},
        {"kill", OPTION_KILL, NULL, 0, "Index twice, killing workers at random moments the second time, and compare",
         0},
        {"seed", OPTION_SEED, "S", 0, "Choose the moments of the kills by this number", 0},
        {"keep", OPTION_KEEP, NULL, 0, "Leave the heap, with the index in it, and say its name", 0},
        {"worker", OPTION_WORKER, "N", OPTION_HIDDEN, "", 0},
        {"heap", OPTION_HEAP, "NAME", OPTION_HIDDEN, "", 0},
        {0},
};

static uint64_t
number(struct argp_state *state, const char *text, uint64_t min, uint64_t max)
{
        char *end;
        uint64_t value;

        errno = 0;
        value = strtoull(text, &end, 0);
        if (errno != 0 || end == text || *end || *text == '-' || value < min || value > max)
                argp_error(state, "%s is not a number from %" PRIu64 " to %" PRIu64, text, min, max);
        return value;
}

#define TEXT_OF(x)  TEXT_OF2(x)
#define TEXT_OF2(x) #x

/* argp finds it by name, and could not if it were hidden. */
__attribute__((visibility("default"))) const char *argp_program_version =
        "wordindex, with shmalloc " TEXT_OF(SHMALLOC_VERSION_MAJOR) "." TEXT_OF(SHMALLOC_VERSION_MINOR);

static error_t
parse(int key, char *arg, struct argp_state *state)
{
        struct options *o = state->input;

        switch (key) {
        case 'w':
                o->n_workers = (unsigned)number(state, arg, 1, WORKERS_MAX);
                break;
        case 'n':
                o->n_top = (unsigned)number(state, arg, 0, 1000000);
                break;
        case 'q':
                o->is_quiet = true;
                break;
        case OPTION_KILL:
                o->does_kill = true;
                break;
        case OPTION_SEED:
                o->seed = number(state, arg, 0, UINT64_MAX);
                break;
        case OPTION_KEEP:
                o->keeps = true;
                break;
        case OPTION_WORKER:
                o->worker = (int)number(state, arg, 0, WORKERS_MAX - 1);
                break;
        case OPTION_HEAP:
                o->heap_name = arg;
                break;
        case ARGP_KEY_ARGS:
                o->files = state->argv + state->next;
                o->n_files = (size_t)(state->argc - state->next);
                break;
        default:
                return ARGP_ERR_UNKNOWN;
        }
        return 0;
}

static const struct argp argp = {
        option_list,
        parse,
        "[FILE...]",
        "Processes index text into one hash table in a shared heap: the FILEs, those below FILE where it is a folder, "
        "or "
        "some of the documentation found on this machine."
        "\vExit status: 0 if all went well; 1 if something failed or the results are wrong; 2 for bad arguments.",
        NULL,
        NULL,
        NULL,
};

/* ------------------------------------------------------------------ the heap */

static char heap_name[64];

/* On every exit, by a signal too. */
static void
clear_away(void)
{
        run_kill_workers();
        if (heap_name[0])
                shheap_unlink(heap_name);
}

/* The line that says what it was has been printed. */
static void
fault(const struct shheap_fault *what, void *arg)
{
        (void)what;
        (void)arg;
        exit(1);
}

static shheap *
create_heap(void)
{
        shheap *heap;

        snprintf(heap_name, sizeof heap_name, "wordindex.%d", (int)getpid());
        if (shheap_open(&heap, heap_name, SHHEAP_CREATE | SHHEAP_EXCL, NULL) < 0) {
                heap_name[0] = '\0';
                errx(1, "%s", shheap_errormsg());
        }
        return heap;
}

struct usage {
        uint64_t n, bytes;
};

static int
count_block(const struct shheap_block *block, void *arg)
{
        struct usage *usage = arg;

        usage->n++;
        usage->bytes += block->usable;
        return 0;
}

/* What is allocated.  Exact, since nobody else uses the heap when this is called. */
static struct usage
allocated(shheap *heap)
{
        struct usage usage = {0, 0};

        if (shheap_walk(heap, SHHEAP_WALK_LIVE, count_block, &usage) < 0)
                errx(1, "cannot count the blocks: %s", shheap_errormsg());
        return usage;
}

static uint64_t
statistic(shheap *heap, const char *name)
{
        uint64_t value = 0;
        size_t size = sizeof value;

        shheap_ctl(heap, name, &value, &size, NULL, 0);
        return value;
}

/* ------------------------------------------------------------------ what is printed */

static const char *bold = "", *red = "", *green = "", *plain = "";

static void
choose_colours(void)
{
        const char *terminal = getenv("TERM"), *no_color = getenv("NO_COLOR");

        if (isatty(STDOUT_FILENO) && terminal && strcmp(terminal, "dumb") != 0 && (!no_color || !*no_color)) {
                bold = "\033[1m";
                red = "\033[31m";
                green = "\033[32m";
                plain = "\033[0m";
        }
}

static void
print_top(const struct summary *s)
{
        if (s->n_top > 0)
                printf("%s%10s %8s  %s%s\n", bold, "count", "files", "word", plain);
        for (size_t i = 0; i < s->n_top; i++)
                printf("%10" PRIu64 " %8" PRIu64 "  %s\n", s->top[i].n_total, s->top[i].n_files, s->top[i].key);
        printf("%s%" PRIu64 " words, %" PRIu64 " distinct, in %" PRIu64 " files; fingerprint %016" PRIx64 "%s\n", bold,
               s->n_words, s->n_distinct, s->n_files, s->digest, plain);
}

static void
print_line(const char *what, bool is_good, const char *result)
{
        printf("%-10s %s%s%s\n", what, is_good ? green : red, result, plain);
}

static double
mebibytes(uint64_t bytes)
{
        return (double)bytes / (1 << 20);
}

/* ------------------------------------------------------------------ the order of events */

/* One index, from nothing to nothing. */
struct session {
        const struct options *options;
        const struct documents *documents;
        shheap *heap;
        struct summary summary;
        struct run run;
        struct usage before, full, after;
        uint64_t mapped, n_freed, n_begun_again, n_merged_by_successor, n_stripes_repaired;
        int n_faults;
        bool is_kept; /* the index is not destroyed in the end */
};

static void
check_heap(struct session *s)
{
        char *report = NULL;
        size_t length;
        FILE *out = open_memstream(&report, &length);
        int n = shheap_check(s->heap, SHHEAP_CHECK_QUIESCENT, out);

        if (out)
                fclose(out);
        if (n < 0)
                errx(1, "cannot check the heap: %s", shheap_errormsg());
        if (n > 0 && report)
                fputs(report, stderr);
        free(report);
        s->n_faults += n;
}

static void
index_documents(struct session *s, double kill_every_seconds)
{
        struct index *index;

        run_interrupted();
        s->before = allocated(s->heap);
        index = index_create(s->heap, s->documents);
        s->run = (struct run){
                .heap = s->heap,
                .heap_name = heap_name,
                .n_workers = s->options->n_workers,
                .seed = s->options->seed,
                .kill_every_seconds = kill_every_seconds,
        };
        run_workers(&s->run);
        shheap_reap(s->heap); /* what the killed had cached is free again; it would be found without this, too */

        index_summarize(index, s->options->n_top, &s->summary);
        s->n_begun_again = atomic_load(&index->n_begun_again);
        s->n_merged_by_successor = atomic_load(&index->n_merged_by_successor);
        s->n_stripes_repaired = atomic_load(&index->n_stripes_repaired);
        s->full = allocated(s->heap);
        s->mapped = statistic(s->heap, "stats.mapped");
        check_heap(s);
        if (s->is_kept)
                return;
        run_interrupted();
        s->n_freed = index_destroy(s->heap, index);
        s->after = allocated(s->heap);
        check_heap(s);
}

/* Of all files: each has been reported done, since the run ended. */
static bool
is_same_index(const struct summary *a, const struct summary *b)
{
        return a->n_words == b->n_words && a->n_distinct == b->n_distinct && a->n_postings == b->n_postings &&
               memcmp(a->file_digest, b->file_digest, a->n_files * sizeof *a->file_digest) == 0;
}

static bool
is_nothing_leaked(const struct session *s)
{
        return s->after.n == s->before.n && s->after.bytes == s->before.bytes && s->full.n - s->before.n == s->n_freed;
}

static void
print_session(const struct session *s, const struct session *reference)
{
        char text[200];

        printf("%-10s %.1f MiB in %zu files\n", "text", mebibytes(s->documents->bytes), s->documents->n);
        if (s->summary.n_failed > 0) {
                snprintf(text, sizeof text, "%" PRIu64 " files could not be read", s->summary.n_failed);
                print_line("failed", false, text);
        }
        printf("%-10s %.2f s, %u processes\n", "time", s->run.seconds, s->run.n_workers);
        if (reference) {
                printf("%-10s %" PRIu64 " workers killed (seed %" PRIu64 "): %" PRIu64 " files begun again, %" PRIu64
                       " merges and %" PRIu64 " locks taken over\n",
                       "kills", s->run.n_killed, s->options->seed, s->n_begun_again, s->n_merged_by_successor,
                       s->n_stripes_repaired);
                print_line("result", is_same_index(&s->summary, &reference->summary),
                           is_same_index(&s->summary, &reference->summary) ? "the same as without kills, file by file"
                                                                           : "differs from that without kills");
        } else if (s->run.n_killed > 0) {
                printf("%-10s %" PRIu64 " workers killed by others\n", "kills", s->run.n_killed);
        }
        printf("%-10s %.1f MiB of memory for %" PRIu64 " blocks of %.1f MiB\n", "heap", mebibytes(s->mapped),
               s->full.n - s->before.n, mebibytes(s->full.bytes - s->before.bytes));
        if (s->is_kept) {
                printf("%-10s heap %s; /dev/shm/shmalloc.%s, unless SHMALLOC_DIR says otherwise\n", "kept", heap_name,
                       heap_name);
        } else {
                snprintf(text, sizeof text,
                         "%" PRIu64 " blocks by this process; %" PRIu64 " bytes in %" PRIu64
                         " blocks are left, as before",
                         s->n_freed, s->after.bytes, s->after.n);
                if (!is_nothing_leaked(s))
                        snprintf(text, sizeof text, "%" PRIu64 " blocks; leaked: %" PRIu64 " blocks, %" PRIu64 " bytes",
                                 s->n_freed, s->after.n - s->before.n, s->after.bytes - s->before.bytes);
                print_line("freed", is_nothing_leaked(s), text);
        }
        snprintf(text, sizeof text, "%d faults", s->n_faults);
        print_line("check", s->n_faults == 0, s->n_faults == 0 ? "clean" : text);
}

static bool
is_good(const struct session *s)
{
        return s->n_faults == 0 && s->summary.n_failed == 0 && (s->is_kept || is_nothing_leaked(s));
}

/* A tenth of a millisecond to 30: some dozens of kills, however much text there is. */
static double
kill_interval(double seconds_without)
{
        double every = seconds_without / 50;

        return every < 1e-4 ? 1e-4 : every > 0.03 ? 0.03 : every;
}

static int
index_and_print(const struct options *options)
{
        struct documents documents;
        struct session quiet = {.options = options, .documents = &documents}, killed = quiet;
        const struct session *shown = options->does_kill ? &killed : &quiet;
        bool ok;

        documents_find(&documents, options->files, options->n_files);
        choose_colours();
        run_prepare();
        atexit(clear_away);
        shheap_set_fault_handler(fault, NULL);
        quiet.heap = killed.heap = create_heap();

        quiet.is_kept = options->keeps && !options->does_kill;
        index_documents(&quiet, 0);
        ok = is_good(&quiet);
        if (options->does_kill) {
                killed.is_kept = options->keeps;
                index_documents(&killed, kill_interval(quiet.run.seconds));
                ok = ok && is_good(&killed) && is_same_index(&quiet.summary, &killed.summary);
        }
        print_top(&shown->summary);
        if (!options->is_quiet)
                print_session(shown, options->does_kill ? &quiet : NULL);

        shheap_close(quiet.heap);
        if (options->keeps)
                heap_name[0] = '\0';
        summary_free(&quiet.summary);
        summary_free(&killed.summary);
        documents_free(&documents);
        if (fflush(stdout) != 0 || ferror(stdout))
                err(1, "standard output");
        return ok ? 0 : 1;
}

int
main(int argc, char **argv)
{
        struct options options = {.n_workers = 4, .n_top = 10, .worker = -1};

        argp_err_exit_status = 2;
        if (getrandom(&options.seed, sizeof options.seed, GRND_NONBLOCK) < 0)
                options.seed = (uint64_t)getpid();
        options.seed &= 0xffffffff; /* short enough to be typed */
        argp_parse(&argp, argc, argv, 0, NULL, &options);
        if (options.worker >= 0 && options.heap_name)
                return worker_run(options.heap_name, (unsigned)options.worker);
        return index_and_print(&options);
}
