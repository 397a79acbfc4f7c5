/*
 * What is at stake: that the whole holds together.  2, 8 and 64 processes allocate, stamp, hand over and free blocks of
 * 1 byte to 8 MiB; they are killed at random moments, they leave and come back, and some of them are stopped all the
 * while.  No block may be handed out twice, no stamp may change, nobody may be held up, and in the end every block is
 * where somebody has it, or is free again: to the byte.
 *
 *      kill_storm [--seed S] [--processes N [--threads T] [--stopped M] [--kills K] [--exact]
 *                  [--capacity MIB] [--fs MIB] [--decay MS]]
 *
 * The seed makes the choices of the actors repeatable, though not the moments of the kills.
 */
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
#define KILLS_TIMES 1
#endif

static const struct plan plans[] = {
        {.n_processes = 2, .n_threads = 1, .n_kills = 250, .capacity_mib = 48, .decay_ms = 10000},
        {.n_processes = 8, .n_threads = 1, .n_kills = 250, .capacity_mib = 96, .decay_ms = 50},
        {.n_processes = 8, .n_threads = 1, .n_kills = 250, .capacity_mib = 96, .decay_ms = 1000, .is_exact = true},
        {.n_processes = 4, .n_threads = 4, .n_kills = 100, .capacity_mib = 128, .decay_ms = 0},
        {.n_processes = 64, .n_threads = 1, .n_kills = 100, .capacity_mib = 192, .decay_ms = 200},
        {.n_processes = 8, .n_threads = 1, .n_kills = 150, .capacity_mib = 128, .fs_mib = 12, .decay_ms = 1000},
        {.n_processes = 8, .n_threads = 1, .n_stopped = 3, .n_kills = 150, .capacity_mib = 96, .decay_ms = 200},
        {.n_processes = 64, .n_threads = 1, .n_stopped = 16, .n_kills = 60, .capacity_mib = 192, .decay_ms = 200},
};

static void
on_signal(int signo)
{
        small_fs_remove();
        heap_dir_remove();
        _exit(128 + signo);
}

static uint64_t
number(char **argv)
{
        char *end;
        uint64_t value = argv[1] ? strtoull(argv[1], &end, 10) : 0;

        if (!argv[1] || *end != '\0') {
                fprintf(stderr, "kill_storm: %s wants a number\n", argv[0]);
                exit(2);
        }
        return value;
}

static void
parse(char **argv, struct plan *one, uint64_t *seed)
{
        for (; *argv; argv++) {
                if (strcmp(*argv, "--exact") == 0)
                        one->is_exact = true;
                else if (strcmp(*argv, "--seed") == 0)
                        *seed = number(argv++);
                else if (strcmp(*argv, "--processes") == 0)
                        one->n_processes = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--threads") == 0)
                        one->n_threads = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--stopped") == 0)
                        one->n_stopped = (uint32_t)number(argv++);
                else if (strcmp(*argv, "--decay") == 0)
                        one->decay_ms = (int)number(argv++);
                else if (strcmp(*argv, "--fs") == 0)
                        one->fs_mib = number(argv++);
                else if (strcmp(*argv, "--capacity") == 0)
                        one->capacity_mib = number(argv++);
                else if (strcmp(*argv, "--kills") == 0)
                        one->n_kills = number(argv++);
                else {
                        fprintf(stderr, "kill_storm: unknown argument %s\n", *argv);
                        exit(2);
                }
        }
}

int
main(int argc, char **argv)
{
        struct plan one = {.n_threads = 1, .n_kills = 1000, .capacity_mib = 192, .decay_ms = 50};
        uint64_t seed = (uint64_t)time(NULL) << 20 ^ (uint64_t)getpid();
        bool is_good = true;
        const char *why_no_fs;

        if (argc == 7 && strcmp(argv[1], "--worker") == 0)
                storm_worker_main(argv + 2);
        parse(argv + 1, &one, &seed);
        printf("seed %" PRIu64 "\n", seed);
        fflush(stdout);
        heap_dir_create("storm");
        why_no_fs = storm_prepare_fs();
        if (why_no_fs)
                printf("skipped: storms on a full file system: %s\n", why_no_fs);
        signal(SIGTERM, on_signal);
        signal(SIGINT, on_signal);
        if (one.n_processes != 0) {
                one.seed = seed;
                is_good = storm_run(&one);
        }
        for (size_t i = 0; one.n_processes == 0 && is_good && i < sizeof plans / sizeof plans[0]; i++) {
                struct plan plan = plans[i];

                plan.seed = seed + i;
                plan.n_kills *= KILLS_TIMES;
                if (plan.fs_mib == 0 || !why_no_fs)
                        is_good = storm_run(&plan);
        }
        small_fs_remove();
        heap_dir_remove();
        printf("%s\n", is_good ? "ok" : "FAILED");
        return is_good ? 0 : 1;
}
