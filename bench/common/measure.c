/*
 * measure.c - clocks, pinning, slices, histograms, memory.
 */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "common/bench.h"

/* ------------------------------------------------------------------ clocks */

static double
clock_of(clockid_t clock)
{
        struct timespec ts;

        clock_gettime(clock, &ts);
        return (double)ts.tv_sec + (double)ts.tv_nsec / 1e9;
}

double
bench_now(void)
{
        return clock_of(CLOCK_MONOTONIC);
}

double
bench_cpu(void)
{
        return clock_of(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t
bench_ticks(void)
{
#if defined(__x86_64__)
        return __builtin_ia32_rdtsc();
#else
        struct timespec ts;

        clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
#endif
}

double
bench_tick_ns(void)
{
        static double ns;

        if (ns == 0) {
                double start = bench_now();
                uint64_t ticks = bench_ticks();

                while (bench_now() < start + 0.005)
                        continue;
                ns = (bench_now() - start) * 1e9 / (double)(bench_ticks() - ticks);
        }
        return ns;
}

double
bench_seconds(double seconds)
{
        return bench_is_tiny ? seconds / 200 : bench_is_quick ? seconds / 5 : seconds;
}

uint64_t
bench_some(uint64_t n, uint64_t quick, uint64_t tiny)
{
        return bench_is_tiny ? tiny : bench_is_quick ? quick : n;
}

static cpu_set_t all; /* that we may use, as it was before anything was pinned */

__attribute__((constructor)) static void
note_cpus(void)
{
        sched_getaffinity(0, sizeof all, &all);
}

void
bench_pin(int i)
{
        cpu_set_t one;
        int n = CPU_COUNT(&all), cpu = -1;

        if (n == 0)
                return;
        for (i %= n; i >= 0; i--)
                while (!CPU_ISSET(++cpu, &all))
                        continue;
        CPU_ZERO(&one);
        CPU_SET(cpu, &one);
        sched_setaffinity(0, sizeof one, &one);
}

/* ------------------------------------------------------------------ slices */

static int
by_value(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return (x > y) - (x < y);
}

enum { SLICES_MAX = 4096 };

void
bench_measure(const char *prefix, const struct bench_allocator *a, bench_batch_fn *batch, void *state, double seconds)
{
        bench_measure_each(prefix, a, batch, state, seconds, 1);
}

/* Under callgrind, which takes fifty times as long: as many as take a while, and again. */
static void
count(const struct bench_allocator *a, bench_batch_fn *batch, void *state, uint64_t n_each)
{
        double end = bench_now() + (bench_is_tiny ? 0.01 : 0.5);
        uint64_t n = 1, n_done = 0;

        for (; bench_now() < end; n_done += n, n = n_done)
                batch(a, state, n);
        bench_count_begin();
        batch(a, state, n_done);
        bench_count_end(n_done * n_each);
}

void
bench_measure_each(const char *prefix, const struct bench_allocator *a, bench_batch_fn *batch, void *state,
                   double seconds, uint64_t n_each)
{
        double *slice = bench_map(SLICES_MAX * sizeof *slice), end, cpu;
        uint64_t n = n_each < 16 ? 16 / n_each : 1, n_ops = 0;
        size_t n_slices = 0;
        char name[64];

        if (bench_is_counting()) {
                count(a, batch, state, n_each);
                return;
        }
        seconds = bench_seconds(seconds);
        /* A slice of half a millisecond or more, and warm: by CPU time, since whatever else the machine does warms up
         * nothing. */
        for (double warm = 0, took; warm < seconds / 8; warm += took) {
                double start = bench_cpu();

                batch(a, state, n);
                took = bench_cpu() - start;
                if (took <= 0.0005)
                        n *= 2;
        }
        cpu = bench_cpu();
        end = bench_now() + seconds;
        for (double start = bench_now(), stop; start < end && n_slices < SLICES_MAX; start = stop) {
                batch(a, state, n);
                stop = bench_now();
                slice[n_slices++] = (stop - start) * 1e9 / (double)(n * n_each);
                n_ops += n * n_each;
        }
        cpu = bench_cpu() - cpu;
        qsort(slice, n_slices, sizeof *slice, by_value);
        snprintf(name, sizeof name, "%stime", prefix);
        bench_value(name, "ns", BENCH_TIME, slice[n_slices / 2]);
        snprintf(name, sizeof name, "%scpu", prefix);
        bench_value(name, "ns", BENCH_TIME, cpu * 1e9 / (double)n_ops);
        munmap(slice, SLICES_MAX * sizeof *slice);
}

/* ------------------------------------------------------------------ histograms: 32 steps per doubling */

static uint32_t
bucket_of(uint64_t ticks)
{
        uint32_t log2 = 63 - (uint32_t)__builtin_clzll(ticks | 1);

        return log2 < 5 ? (uint32_t)ticks : (log2 - 4) * 32 + (uint32_t)(ticks >> (log2 - 5) & 31);
}

static double
bucket_ticks(uint32_t bucket)
{
        uint32_t log2 = bucket / 32 + 4;

        return bucket < 32 ? bucket : (double)((UINT64_C(32) + bucket % 32) << (log2 - 5));
}

void
bench_histogram_add(struct bench_histogram *h, uint64_t ticks)
{
        h->n++;
        h->count[bucket_of(ticks)]++;
        if (ticks > h->max)
                h->max = ticks;
}

void
bench_histogram_report(const char *prefix, const struct bench_histogram *h)
{
        static const struct {
                const char *name;
                double part;
        } point[] = {{"p50", .5}, {"p99", .99}, {"p99.9", .999}};
        uint64_t seen = 0;
        uint32_t bucket = 0;
        char name[64];

        for (size_t i = 0; i < sizeof point / sizeof *point; i++) {
                while (bucket < 64 * 32 - 1 && (double)(seen + h->count[bucket]) < point[i].part * (double)h->n)
                        seen += h->count[bucket++];
                snprintf(name, sizeof name, "%s%s", prefix, point[i].name);
                bench_value(name, "ns", BENCH_TIME, bucket_ticks(bucket) * bench_tick_ns());
        }
        snprintf(name, sizeof name, "%smax", prefix);
        bench_value(name, "ns", BENCH_PLAIN, (double)h->max * bench_tick_ns());
}

/* ------------------------------------------------------------------ memory */

void *
bench_map(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

        if (p == MAP_FAILED) {
                perror("mmap");
                exit(1);
        }
        return p;
}

/* A line of /proc/self/status, in bytes. */
static size_t
status_bytes(const char *key)
{
        char text[8192], *at;
        int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
        ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

        if (fd >= 0)
                close(fd);
        if (n <= 0)
                return 0;
        text[n] = '\0';
        at = strstr(text, key);
        return at ? (size_t)strtoull(at + strlen(key), NULL, 10) * 1024 : 0;
}

size_t
bench_resident(const struct bench_allocator *a)
{
        if (a->backing)
                return a->backing() + status_bytes("RssAnon:");
        return status_bytes("RssAnon:") + status_bytes("RssShmem:");
}
