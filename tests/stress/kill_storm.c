/*
 * What is at stake: that the whole holds together.  2, 8 and 64 processes allocate, stamp, hand over and free blocks of
 * 1 byte to 8 MiB; they are killed at random moments, they leave and come back, and some of them are stopped all the
 * while.  No block may be handed out twice, no stamp may change, nobody may be held up, and in the end every block is
 * where somebody has it, or is free again: to the byte.
 *
 *      kill_storm [--seed S] [--kills K [--resume FILE]]
 *      kill_storm [--seed S] --processes N [--threads T] [--stopped M] [--reapers R] [--in-ns I] [--kills K] [--exact]
 *                 [--capacity MIB] [--fs MIB] [--decay MS]
 *
 * They die by SIGKILL, by SIGKILL and process_mrelease(2), and by the OOM killer of a memory cgroup; reapers die; some
 * live in another pid namespace; and some have children of their own that die.
 *
 * With --kills the storms are repeated until so many have died.  FILE notes after each storm how far it got: who is
 * ended goes on from there, so that a million deaths can be had in pieces.
 *
 * The seed makes the choices of the actors repeatable, though not the moments of the kills.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "stress/storm/storm.h"
#include "support/heap_dir.h"
#include "support/small_fs.h"

#ifndef KILLS_TIMES
#define KILLS_TIMES 1 /* as many in each storm */
#define KILLS_ALL   0 /* each storm once */
#endif

static const struct plan plans[] = {
        {.n_processes = 2, .n_threads = 1, .n_kills = 30, .capacity_mib = 32, .decay_ms = 10000},
        {.n_processes = 8, .n_threads = 1, .n_kills = 30, .capacity_mib = 48, .decay_ms = 50},
        {.n_processes = 8, .n_threads = 1, .n_kills = 30, .capacity_mib = 48, .decay_ms = 1000, .is_exact = true},
        {.n_processes = 16,
         .n_threads = 4,
         .n_reapers = 3,
         .n_in_ns = 4,
         .n_kills = 15,
         .capacity_mib = 64,
         .decay_ms = 200},
        {.n_processes = 6,
         .n_threads = 1,
         .n_reapers = 4,
         .n_in_ns = 2,
         .n_kills = 50,
         .capacity_mib = 32,
         .decay_ms = 0},
        {.n_processes = 64, .n_threads = 1, .n_kills = 20, .capacity_mib = 64, .decay_ms = 200},
        {.n_processes = 8, .n_threads = 1, .n_kills = 15, .capacity_mib = 64, .fs_mib = 12, .decay_ms = 1000},
        {.n_processes = 8, .n_threads = 1, .n_stopped = 3, .n_kills = 15, .capacity_mib = 48, .decay_ms = 200},
        {.n_processes = 64, .n_threads = 1, .n_stopped = 16, .n_kills = 20, .capacity_mib = 64, .decay_ms = 200},
        /* So much for each that they keep huge blocks. */
        {.n_processes = 2, .n_threads = 1, .n_kills = 30, .capacity_mib = 256, .decay_ms = 1000},
};

enum { N_PLANS = sizeof plans / sizeof plans[0] };

/* What is to be done, and how far it has got. */
struct campaign {
        uint64_t seed;
        uint64_t n_kills; /* 0: each plan once */
        uint64_t n_storms;
        const char *file; /* where that is noted; NULL = nowhere */
        struct storm_counts before;
};

static void
clean_up(void)
{
        storm_forget_ways();
        small_fs_remove();
        heap_dir_remove();
}

static void
on_signal(int signo)
{
        clean_up();
        _exit(128 + signo);
}

/* ------------------------------------------------------------------ the file of a campaign */

#define FILE_FORMAT                                                                                                    \
        "seed %" PRIu64 "\nstorms %" PRIu64 "\nkills %" PRIu64 "\nreleased %" PRIu64 "\nby_oom %" PRIu64               \
        "\nreapers %" PRIu64 "\nin_ns %" PRIu64 "\noperations %" PRIu64 "\n"
#define FILE_SCAN                                                                                                      \
        "seed %" SCNu64 " storms %" SCNu64 " kills %" SCNu64 " released %" SCNu64 " by_oom %" SCNu64                   \
        " reapers %" SCNu64 " in_ns %" SCNu64 " operations %" SCNu64

static void __attribute__((noreturn)) fail(const char *what, const char *why)
{
        fprintf(stderr, "kill_storm: %s: %s\n", what, why);
        exit(2);
}

static void
campaign_load(struct campaign *c, bool has_seed)
{
        struct storm_counts *n = &storm_counts;
        FILE *file = c->file ? fopen(c->file, "r") : NULL;
        uint64_t seed;

        if (!file && c->file && errno != ENOENT)
                fail(c->file, strerror(errno));
        if (!file)
                return;
        if (fscanf(file, FILE_SCAN, &seed, &c->n_storms, &n->n_killed, &n->n_released, &n->n_by_oom,
                   &n->n_reapers_killed, &n->n_in_ns_killed, &n->n_ops) != 8)
                fail(c->file, "not a file that --resume wrote");
        fclose(file);
        if (has_seed && seed != c->seed)
                fail(c->file, "it was begun with another seed");
        c->seed = seed;
        c->before = *n;
}

/* Whole or not at all. */
static void
campaign_save(const struct campaign *c)
{
        const struct storm_counts *n = &storm_counts;
        char path[400];
        FILE *file;

        if (!c->file)
                return;
        snprintf(path, sizeof path, "%s.new", c->file);
        file = fopen(path, "w");
        if (!file ||
            fprintf(file, FILE_FORMAT, c->seed, c->n_storms, n->n_killed, n->n_released, n->n_by_oom,
                    n->n_reapers_killed, n->n_in_ns_killed, n->n_ops) < 0 ||
            fclose(file) != 0 || rename(path, c->file) < 0)
                fail(c->file, strerror(errno));
}

/* ------------------------------------------------------------------ storms */

/* The i-th storm.  Rounds differ by their seeds. */
static bool
run_next(struct campaign *c, bool has_fs)
{
        struct plan plan = plans[c->n_storms % N_PLANS];
        uint64_t missing = c->n_kills == 0 ? UINT64_MAX : c->n_kills - storm_counts.n_killed;

        plan.seed = c->seed * 1000003 + c->n_storms;
        plan.n_kills = plan.n_kills * KILLS_TIMES < missing ? plan.n_kills * KILLS_TIMES : missing;
        if (plan.fs_mib != 0 && !has_fs)
                plan.fs_mib = 0;
        c->n_storms++;
        if (!storm_run(&plan)) {
                fprintf(stderr, "kill_storm: storm %" PRIu64 " of seed %" PRIu64 " failed\n", c->n_storms - 1, c->seed);
                return false;
        }
        campaign_save(c);
        return true;
}

static bool
run_campaign(struct campaign *c, bool has_fs)
{
        bool is_good = true;

        while (is_good && (c->n_kills == 0 ? c->n_storms < N_PLANS : storm_counts.n_killed < c->n_kills))
                is_good = run_next(c, has_fs);
        return is_good;
}

static void
print_counts(const struct campaign *c)
{
        const struct storm_counts *n = &storm_counts;

        printf("%" PRIu64 " deaths (%" PRIu64 " in this run), of them %" PRIu64 " with memory released first, %" PRIu64
               " by the OOM killer, %" PRIu64 " of reapers, %" PRIu64 " in another pid namespace; %" PRIu64
               " operations\n",
               n->n_killed, n->n_killed - c->before.n_killed, n->n_released, n->n_by_oom, n->n_reapers_killed,
               n->n_in_ns_killed, n->n_ops);
}

/* ------------------------------------------------------------------ arguments */

static void
usage(FILE *out)
{
        fputs("kill_storm [--seed S] [--kills K [--resume FILE]]\n"
              "kill_storm [--seed S] --processes N [--threads T] [--stopped M] [--reapers R] [--in-ns I] [--kills K]\n"
              "           [--exact] [--gentle] [--capacity MIB] [--fs MIB] [--decay MS]\n",
              out);
}

static uint64_t
number(char **argv)
{
        char *end;
        uint64_t value = argv[1] ? strtoull(argv[1], &end, 10) : 0;

        if (!argv[1] || *end != '\0')
                fail(argv[0], "wants a number");
        return value;
}

struct arguments {
        struct plan one; /* if it has processes */
        struct campaign campaign;
        bool has_seed;
};

static void
parse(char **argv, struct arguments *a)
{
        for (; *argv; argv++) {
                if (strcmp(*argv, "--exact") == 0)
                        a->one.is_exact = true;
                else if (strcmp(*argv, "--gentle") == 0)
                        a->one.is_gentle = true;
                else if (strcmp(*argv, "--seed") == 0)
                        a->campaign.seed = number(argv++), a->has_seed = true;
                else if (strcmp(*argv, "--processes") == 0)
                        a->one.n_processes = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--threads") == 0)
                        a->one.n_threads = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--stopped") == 0)
                        a->one.n_stopped = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--reapers") == 0)
                        a->one.n_reapers = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--in-ns") == 0)
                        a->one.n_in_ns = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--decay") == 0)
                        a->one.decay_ms = (int)number(argv++);
                else if (strcmp(*argv, "--fs") == 0)
                        a->one.fs_mib = number(argv++);
                else if (strcmp(*argv, "--capacity") == 0)
                        a->one.capacity_mib = number(argv++);
                else if (strcmp(*argv, "--kills") == 0)
                        a->campaign.n_kills = number(argv++);
                else if (strcmp(*argv, "--resume") == 0 && argv[1])
                        a->campaign.file = *++argv;
                else {
                        usage(strcmp(*argv, "--help") == 0 ? stdout : stderr);
                        exit(strcmp(*argv, "--help") == 0 ? 0 : 2);
                }
        }
}

int
main(int argc, char **argv)
{
        struct arguments a = {
                .one = {.n_threads = 1, .capacity_mib = 192, .decay_ms = 50},
                .campaign = {.seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid(), .n_kills = KILLS_ALL}};
        const char *why_no_fs;
        bool is_good;

        if (argc == 8 && strcmp(argv[1], "--worker") == 0)
                storm_worker_main(argv + 2);
        parse(argv + 1, &a);
        campaign_load(&a.campaign, a.has_seed);
        printf("seed %" PRIu64 "\n", a.campaign.seed);
        fflush(stdout);
        heap_dir_create("storm");
        why_no_fs = storm_prepare_fs();
        if (why_no_fs)
                printf("skipped: storms on a full file system: %s\n", why_no_fs);
        storm_prepare_ways();
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        if (a.one.n_processes != 0) {
                a.one.seed = a.campaign.seed;
                a.one.n_kills = a.campaign.n_kills ? a.campaign.n_kills : 1000;
                is_good = storm_run(&a.one);
        } else {
                is_good = run_campaign(&a.campaign, !why_no_fs);
        }
        clean_up();
        print_counts(&a.campaign);
        printf("%s\n", is_good ? "ok" : "FAILED");
        return is_good ? 0 : 1;
}
