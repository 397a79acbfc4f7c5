/*
 * instructions - how many a pair of malloc and free, or another call, executes that is served from the thread's caches,
 * counted by callgrind, less those of as many calls that do nothing.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/calls.h"

enum { WARM = 1000, CALLS = 20000 };

/* Not even the null allocator's arithmetic. */
static void *
take_nothing(size_t size)
{
        return (void *)size;
}

/* These two under callgrind. */
static int
run_calls(const struct bench_allocator *a, const struct bench_call *call)
{
        struct bench_call_state s;

        if (a->setup((size_t)64 << 20) < 0)
                return 1;
        bench_call_prepare(a, call, &s);
        call->batch(a, &s, WARM);
        bench_count_begin();
        call->batch(a, &s, CALLS);
        bench_count_end(CALLS);
        return 0;
}

static int
run_pairs(const struct bench_allocator *a, size_t size)
{
        void *(*take)(size_t) = a->is_null ? take_nothing : a->take;
        void (*give)(void *) = a->give;

        if (a->setup((size_t)64 << 20) < 0)
                return 1;
        for (int i = 0; i < WARM; i++)
                give(take(size));
        bench_count_begin();
        for (int i = 0; i < CALLS; i++)
                give(take(size));
        bench_count_end(CALLS);
        return 0;
}

/* What valgrind had to say, where it failed: else it is about system calls that it does not know. */
static void
show(const char *file)
{
        char path[64], line[256];
        FILE *in;

        snprintf(path, sizeof path, "%s.log", file);
        in = fopen(path, "r");
        while (in && fgets(line, sizeof line, in))
                fputs(line, stderr);
        if (in)
                fclose(in);
}

/* What callgrind counts of one call; negative if it cannot. */
static double
count(const struct bench_allocator *a, const char *case_name)
{
        char folder[] = "/tmp/bench-callgrind-XXXXXX", file[sizeof folder + 8], log[sizeof file + 8];
        double n = -1;
        int status;
        pid_t pid;

        if (!mkdtemp(folder))
                return -1;
        snprintf(file, sizeof file, "%s/out", folder);
        snprintf(log, sizeof log, "%s.log", file);
        pid = fork();
        if (pid == 0) {
                const char *argv[BENCH_COUNT_ARGUMENTS + 6];
                char self[4096] = "";
                int k = BENCH_COUNT_ARGUMENTS, nothing;

                if (readlink("/proc/self/exe", self, sizeof self - 1) < 0)
                        _exit(1);
                bench_count_arguments(file, argv);
                argv[k++] = self;
                argv[k++] = "--one";
                argv[k++] = a->name;
                argv[k++] = "--cases";
                argv[k++] = case_name;
                argv[k] = NULL;
                nothing = open("/dev/null", O_WRONLY | O_CLOEXEC); /* its figures are not this run's */
                if (nothing < 0 || dup2(nothing, STDOUT_FILENO) < 0)
                        _exit(1);
                execvp(argv[0], (char *const *)argv);
                _exit(127);
        }
        if (pid > 0 && waitpid(pid, &status, 0) == pid && status == 0)
                n = bench_count_of(file);
        else
                show(file);
        unlink(file);
        unlink(log);
        rmdir(folder);
        return n < 0 ? n : n / CALLS;
}

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        const struct bench_call *call = bench_call_of(a, c->name);
        bool is_pair = c->a != 0;
        double n;

        if (!is_pair && !call)
                return BENCH_SKIPPED;
        if (bench_is_counting())
                return is_pair ? run_pairs(a, c->a) : run_calls(a, call);
        n = bench_can_count() ? count(a, c->name) : -1;
        if (n < 0) {
                fprintf(stderr, "%s: valgrind is missing, or cannot run this allocator\n", a->name);
                return BENCH_SKIPPED;
        }
        bench_value("instructions", "per-call", BENCH_TIME, (double)(long)(n * 10 + 0.5) / 10);
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
