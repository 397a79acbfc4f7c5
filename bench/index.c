/*
 * index - the text index of examples/wordindex: processes and a shared heap against the same sources with threads and
 * each private malloc.  The shared one stores each block's reference in one step with the allocation, so that a worker
 * may be killed at any instruction; the others could not.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/bench.h"

static int
run(const struct bench_allocator *a, const struct bench_case *c)
{
        char path[PATH_MAX], command[PATH_MAX + 128];
        ssize_t length = readlink("/proc/self/exe", path, sizeof path - 1);
        unsigned long words, digest;
        double seconds;
        FILE *in;
        int n;

        if (length < 0)
                return 1;
        path[length] = '\0';
        *strrchr(path, '/') = '\0';
        for (int i = 0; i < (bench_is_quick ? 1 : 3); i++) {
                snprintf(command, sizeof command, "'%s/wordindex-%s' %s %lu", path, a->is_shared ? "shared" : "private",
                         bench_heap_name(), (unsigned long)c->a);
                in = popen(command, "r");
                if (!in)
                        return 1;
                n = fscanf(in, "%lf %lu %lx", &seconds, &words, &digest);
                if (pclose(in) != 0 || n != 3 || words == 0)
                        return 1;
                bench_value("time", "ms", BENCH_PLAIN, seconds * 1e3);
                bench_value("words", "M/s", BENCH_MORE, (double)words / seconds / 1e6);
        }
        return 0;
}

static const struct bench_case cases[] = {{"1", 1, 0, 0}, {"2", 2, 0, 0}, {"4", 4, 0, 0}, {NULL, 0, 0, 0}};

int
main(int argc, char **argv)
{
        static const struct bench_question question = {
                "index",
                "How long a text index takes: processes and a shared heap, or threads and a private malloc.",
                cases,
                BENCH_PRIVATE | BENCH_NO_NULL,
                .rounds = 3,
                .run = run};

        return bench_main(argc, argv, &question);
}
