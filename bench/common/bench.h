/*
 * bench.h - one driver for all allocators.
 *
 * A question is a program: it names its cases and how one of them is run with an allocator that is given as a table of
 * functions.  bench_main() does the rest: it starts a fresh process for each run (private allocators are loaded into it
 * by LD_PRELOAD, those in shared memory by dlopen), round after round with the allocators in turn, and prints medians.
 *
 * The first allocator of every round is "null", which does nothing: it gives each thread the same block again and
 * again, which is as warm as memory can be.  So it is a floor: no allocator can take less, but for noise.  What is left
 * of it is the driver, and the columns called "net" are without it.  A net figure within the noise of null says nothing
 * but that.
 */
#ifndef BENCH_COMMON_BENCH_H
#define BENCH_COMMON_BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* ------------------------------------------------------------------ allocators */

/* What there is besides malloc, free and realloc, each by the call that the allocator has for it; NULL: it has none. */
struct bench_family {
        void *(*zeroed)(size_t n, size_t size);
        void *(*aligned)(size_t align, size_t size);
        size_t (*usable)(const void *p);
        void (*give_sized)(void *p, size_t size);
        char *(*copy)(const char *s);
        void *(*take_flags)(size_t size); /* mallocx(size, 0) */
        void *(*take_to)(size_t size, uint64_t *dest);
        void (*give_from)(uint64_t *dest);
        void *(*heap_new)(void); /* one more heap; NULL if there cannot be any more */
        void *(*heap_take)(void *heap, size_t size);
        void (*heap_give)(void *heap, void *p);
};

struct bench_allocator {
        const char *name;
        bool is_shared; /* workers are processes, else threads */
        bool is_null;
        int (*setup)(size_t capacity); /* before any worker starts; 0, or -1 with a line on standard error */
        void *(*take)(size_t size);
        void (*give)(void *p);
        void *(*resize)(void *p, size_t size); /* NULL: there is none */
        size_t (*backing)(void);               /* bytes that the shared heap occupies; NULL: what the process maps */
        size_t (*tables)(void);                /* of these, bytes of tables; NULL: not known */
        void (*reopen)(void);                  /* opens what setup() made once more; NULL: cannot be done */
        bool is_slow;                          /* with many live blocks */
        int workers_max;                       /* more would take minutes; 0: any number */
        void (*teardown)(void);                /* removes what outlives the process */
        const struct bench_family *family;     /* NULL: none of them */
};

/* What an adapter, a module loaded by dlopen, exports. */
extern const struct bench_allocator bench_adapter;

/* Names of heaps and files of a run: unique, and known to the process that has to clean up after a crash. */
const char *bench_heap_name(void);

/* ------------------------------------------------------------------ questions */

/* A figure of one run.  Several runs of a case give several values of the same name. */
enum bench_kind {
        BENCH_TIME,  /* less is better; null is subtracted */
        BENCH_PLAIN, /* less is better; null means nothing */
        BENCH_MORE   /* more is better */
};
void bench_value(const char *metric, const char *unit, enum bench_kind kind, double value);

struct bench_case {
        const char *name;
        uint64_t a, b, c; /* what they mean is the question's business */
};

enum {
        BENCH_PRIVATE = 1,
        BENCH_SHARED = 2,
        BENCH_OURS = 4,   /* shmalloc alone */
        BENCH_NO_NULL = 8 /* an allocator that does nothing makes no sense */
};

/* An option of one question alone: what it is given is the value of an environment variable in all runs. */
struct bench_option {
        const char *name, *arg, *doc, *variable;
};

struct bench_question {
        const char *name, *summary;
        const struct bench_case *cases; /* ends with a name that is NULL */
        unsigned allocators;            /* BENCH_PRIVATE | BENCH_SHARED, or BENCH_OURS */
        int rounds;                     /* 0 = 5 */
        int decay_ms;                   /* when unused memory goes back to the system; 0 = as each allocator likes */
        int (*run)(const struct bench_allocator *a, const struct bench_case *c); /* 0 = done */
        const struct bench_option *option;
        const struct bench_case *(*find_cases)(void); /* instead of cases: they depend on the option */
};

/* What run() returns where the allocator cannot do what is asked; 1 if something failed. */
enum { BENCH_SKIPPED = 77 };

/* Ends a run whose allocator gave NULL: what it was asked for is more than it can. */
void bench_need(const struct bench_allocator *a, const void *p);

/* True where a run should take a fifth of its time; and where it is only to be seen that it works. */
extern bool bench_is_quick, bench_is_tiny;

int bench_main(int argc, char **argv, const struct bench_question *question);

/* ------------------------------------------------------------------ allocators.c */

struct bench_choice {
        const char *name;
        unsigned group;      /* BENCH_... */
        const char *file;    /* to be preloaded, or the adapter */
        const char *package; /* what it needs */
        bool is_there, is_preload, is_peer;
};
size_t bench_choices(struct bench_choice **ret_choices);

/* One more private allocator, a shared library with a malloc.  Its name, or NULL with a line on standard error. */
const char *bench_add_peer(const char *path);
const struct bench_allocator *bench_load(const char *name);

/* ------------------------------------------------------------------ measure.c */

double bench_now(void);                                         /* seconds */
double bench_cpu(void);                                         /* seconds of this thread's CPU time */
uint64_t bench_ticks(void);                                     /* of a fast counter */
double bench_tick_ns(void);                                     /* nanoseconds per tick */
double bench_seconds(double);                                   /* how long to measure: less where bench_is_quick */
uint64_t bench_some(uint64_t n, uint64_t quick, uint64_t tiny); /* of three numbers the one that is meant */
void bench_pin(int i);                                          /* to the i-th CPU that we may use, round and round */

/* Nanoseconds per operation of n operations in short slices, by the clock and by this thread's CPU time: medians. */
typedef void bench_batch_fn(const struct bench_allocator *a, void *state, uint64_t n);
void bench_measure(const char *prefix, const struct bench_allocator *a, bench_batch_fn *batch, void *state,
                   double seconds);

/* The same where each of the n is work of so many operations. */
void bench_measure_each(const char *prefix, const struct bench_allocator *a, bench_batch_fn *batch, void *state,
                        double seconds, uint64_t n_each);

/* ------------------------------------------------------------------ count.c: instructions instead of time */

bool bench_can_count(void); /* valgrind's header was there when this was built */

/* What runs use that do not measure by bench_measure(): marks around work that is to be counted, once in a run. */
bool bench_is_counting(void);
void bench_count_begin(void);
void bench_count_end(uint64_t n_ops);

/* What main.c uses. */
enum { BENCH_COUNT_ARGUMENTS = 6 };
void bench_count_arguments(const char *file, const char *argv[BENCH_COUNT_ARGUMENTS]);
bool bench_is_ops_metric(const char *metric);
double bench_count_of(const char *file); /* instructions that the file is about; negative: there is none */

/* ------------------------------------------------------------------ latencies of single calls */

struct bench_histogram {
        uint64_t n, max;
        uint64_t count[64 * 32];
};
void bench_histogram_add(struct bench_histogram *h, uint64_t ticks);
void bench_histogram_report(const char *prefix, const struct bench_histogram *h);

/* Between two looks at what another worker is to change. */
static inline void
bench_pause(void)
{
#if defined(__x86_64__)
        __builtin_ia32_pause();
#endif
}

struct bench_rng {
        uint64_t x;
};
static inline uint64_t
bench_random(struct bench_rng *r)
{
        r->x ^= r->x << 13;
        r->x ^= r->x >> 7;
        r->x ^= r->x << 17;
        return r->x;
}
/* Uniform below n. */
static inline uint32_t
bench_below(struct bench_rng *r, uint32_t n)
{
        return (uint32_t)((bench_random(r) >> 32) * n >> 32);
}

/* ------------------------------------------------------------------ memory */

void *bench_map(size_t bytes);                          /* zeroed, touched, shared with children; never from malloc */
size_t bench_resident(const struct bench_allocator *a); /* bytes of memory that the process and the heap occupy */

/* ------------------------------------------------------------------ crew.c: several workers */

struct bench_worker {
        int idx, n;
        double deadline; /* in bench_now() */
        void *arg;       /* memory that all workers share */
        uint64_t n_ops;  /* out */
        double seconds, cpu_seconds;
        double start, cpu_start, wanted; /* bench_begin()'s */
};

/* From here on it is measured; what the worker has done before is not, where it calls this. */
void bench_begin(struct bench_worker *w);

typedef void bench_worker_fn(const struct bench_allocator *a, struct bench_worker *w);

/* Threads or processes, pinned, that start together and stop at the deadline.  The workers' results. */
const struct bench_worker *bench_crew(const struct bench_allocator *a, int n, bench_worker_fn *fn, void *arg,
                                      double seconds);

/* Does setup() in a process of its own, which stays until this one ends.  0, or -1. */
int bench_apart(const struct bench_allocator *a, size_t capacity);

/* Reports operations in all per second, and nanoseconds per operation in all. */
void bench_report_crew(const struct bench_worker *workers, int n);

#endif
