/*
 * instructions - how many a pair of malloc and free, or another call, executes that is served from the thread's caches,
 * counted by callgrind: those of N less those of none, less those of as many that do nothing.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/calls.h"

enum { PAIRS = 20000 };

/* Not even the null allocator's arithmetic. */
static void *
take_nothing(size_t size)
{
        return (void *)size;
}

/* These two under callgrind. */
static int
run_calls(const struct bench_allocator *a, const struct bench_call *call, uint64_t n)
{
        struct bench_call_state s;

        if (a->setup((size_t)64 << 20) < 0)
                return 1;
        bench_call_prepare(a, call, &s);
        call->batch(a, &s, 1000 + n);
        return 0;
}

static int
run_pairs(const struct bench_allocator *a, size_t size, long n)
{
        void *(*take)(size_t) = a->is_null ? take_nothing : a->take;
        void (*give)(void *) = a->give;

        if (a->setup((size_t)64 << 20) < 0)
                return 1;
        for (long i = -1000; i < n; i++)
                give(take(size));
        return 0;
}

/* What valgrind had to say, where it failed: else it is about system calls that it does not know. */
static void
show(const char *path)
{
        FILE *in = fopen(path, "r");
        char line[256];

        while (in && fgets(line, sizeof line, in))
                fputs(line, stderr);
        if (in)
                fclose(in);
}

/* What callgrind counts of so many pairs; negative if it cannot. */
static double
count(const struct bench_allocator *a, const char *case_name, const char *pairs)
{
        char file[] = "/tmp/bench-callgrind-XXXXXX", log[sizeof file + 8], option[64], log_option[64];
        int fd = mkstemp(file), status;
        double n = -1;
        pid_t pid;

        if (fd < 0)
                return -1;
        close(fd);
        snprintf(option, sizeof option, "--callgrind-out-file=%s", file);
        snprintf(log, sizeof log, "%s.log", file);
        snprintf(log_option, sizeof log_option, "--log-file=%s", log);
        pid = fork();
        if (pid == 0) {
                char self[4096] = "";

                if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
                        _exit(1);
                setenv("BENCH_PAIRS", pairs, 1);
                execlp("valgrind", "valgrind", "-q", "--tool=callgrind", log_option, option, self, "--one", a->name,
                       "--cases", case_name, (char *)NULL);
                _exit(127);
        }
        if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
                n = bench_count_of(file);
        else
                show(log);
        unlink(file);
        unlink(log);
        return n;
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        const struct bench_call *call = bench_call_of(a, c->name);
        const char *pairs = getenv("BENCH_PAIRS");
        bool is_pair = c->a != 0;
        char most[16];
        double with, without;

        if (!is_pair && !call)
                return BENCH_SKIPPED;
        if (pairs)
                return is_pair ? run_pairs(a, c->a, strtol(pairs, NULL, 10))
                               : run_calls(a, call, strtoul(pairs, NULL, 10));
        snprintf(most, sizeof most, "%d", PAIRS);
        with = count(a, c->name, most);
        without = count(a, c->name, "0");
        if (with < 0 || without < 0) {
                fprintf(stderr, "%s: valgrind is missing, or cannot run this allocator\n", a->name);
                return BENCH_SKIPPED;
        }
        bench_value("instructions", "per-call", BENCH_TIME, (double)(long)((with - without) / PAIRS * 10 + 0.5) / 10);
        return 0;
}

static const struct bench_case cases[] = {{"16", 16, 0, 0},   {"64", 64, 0, 0}, {"1024", 1024, 0, 0},
                                          {"4K", 4096, 0, 0}, BENCH_CALL_CASES, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "instructions",
                "How many instructions a pair of malloc and free, or another call, executes that hits the caches.",
                cases,
                BENCH_PRIVATE,
                .rounds = 1,
                .run = run};

        return bench_main(argc, argv, &question);
}
