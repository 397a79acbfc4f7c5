/*
 * allocators.c - which allocators there are, and how to get at their functions.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/bench.h"

/* ------------------------------------------------------------------ null: what is left is the driver */

enum { NULL_BYTES = 8 << 20, NULL_SMALL_BYTES = 1 << 20, NULL_SMALL_MAX = 32 << 10 };

static char *null_memory;
static __thread size_t null_at;

/* Blocks overlap after a few MiB have been handed out: the memory is as warm as it can be, and nobody looks at what is
 * in it. */
static void *
null_take(size_t size)
{
        size_t at = null_at;

        if (at + size > (size <= NULL_SMALL_MAX ? NULL_SMALL_BYTES : NULL_BYTES))
                at = 0;
        null_at = (at + size + 15) & ~(size_t)15;
        return null_memory + at;
}

static void
null_give(void *p)
{
        (void)p;
}

static void *
null_resize(void *p, size_t size)
{
        (void)size;
        return p;
}

static int
null_setup(size_t capacity)
{
        (void)capacity;
        null_memory = bench_map(NULL_BYTES);
        return 0;
}

static size_t
null_backing(void)
{
        return 0;
}

static const struct bench_allocator null_allocator = {.name = "null",
                                                      .is_null = true,
                                                      .setup = null_setup,
                                                      .take = null_take,
                                                      .give = null_give,
                                                      .resize = null_resize,
                                                      .backing = null_backing};

/* ------------------------------------------------------------------ private ones: malloc, whosever it is */

static int
private_setup(size_t capacity)
{
        (void)capacity;
        return 0;
}

static struct bench_allocator private_allocator = {
        .setup = private_setup, .take = malloc, .give = free, .resize = realloc};

/* ------------------------------------------------------------------ the list */

static struct bench_choice choices[] = {
        {"null", BENCH_PRIVATE | BENCH_SHARED, NULL, NULL, true},
        {"shmalloc", BENCH_PRIVATE | BENCH_SHARED | BENCH_OURS, "shmalloc.so", "this project", false},
        {"glibc", BENCH_PRIVATE, NULL, NULL, true},
        {"jemalloc", BENCH_PRIVATE, "libjemalloc.so.2", "libjemalloc2", false},
        {"mimalloc", BENCH_PRIVATE, "libmimalloc.so.2", "libmimalloc2.0", false},
        {"tcmalloc", BENCH_PRIVATE, "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", false},
        {"boost", BENCH_SHARED, "boost.so", "libboost-dev g++", false},
        {"apr", BENCH_SHARED, "apr.so", "libapr1-dev libaprutil1-dev", false},
        {"mm", BENCH_SHARED, "mm.so", "libmm-dev", false},
        {"dpdk", BENCH_SHARED, "dpdk.so", "libdpdk-dev", false},
};
enum { N_CHOICES = sizeof choices / sizeof *choices };

/* Adapters lie beside the program. */
static const char *
adapter_path(const char *file)
{
        static char path[4096];
        ssize_t n = readlink("/proc/self/exe", path, sizeof path - 64);

        if (n < 0)
                return file;
        path[n] = '\0';
        snprintf(strrchr(path, '/') + 1, 64, "%s", file);
        return path;
}

static bool
is_preloadable(const char *file)
{
        static const char *const folders[] = {"/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64",
                                              "/usr/lib", "/usr/local/lib"};
        char path[4096];

        for (size_t i = 0; i < sizeof folders / sizeof *folders; i++) {
                snprintf(path, sizeof path, "%s/%s", folders[i], file);
                if (access(path, R_OK) == 0)
                        return true;
        }
        return false;
}

static bool
is_adapter(const char *file)
{
        return file && strncmp(file, "lib", 3) != 0;
}

size_t
bench_choices(struct bench_choice **ret_choices)
{
        for (size_t i = 0; i < N_CHOICES; i++)
                if (choices[i].file)
                        choices[i].is_there = is_adapter(choices[i].file)
                                                      ? access(adapter_path(choices[i].file), R_OK) == 0
                                                      : is_preloadable(choices[i].file);
        *ret_choices = choices;
        return N_CHOICES;
}

/* The allocator of this process: private ones are here already, preloaded. */
const struct bench_allocator *
bench_load(const char *name)
{
        for (size_t i = 0; i < N_CHOICES; i++) {
                void *module, *adapter;

                if (strcmp(choices[i].name, name) != 0)
                        continue;
                if (strcmp(name, "null") == 0)
                        return &null_allocator;
                private_allocator.name = choices[i].name;
                if (!is_adapter(choices[i].file))
                        return &private_allocator;
                module = dlopen(adapter_path(choices[i].file), RTLD_NOW | RTLD_LOCAL);
                adapter = module ? dlsym(module, "bench_adapter") : NULL;
                if (!adapter)
                        fprintf(stderr, "%s\n", dlerror());
                return adapter;
        }
        fprintf(stderr, "no allocator is called %s\n", name);
        return NULL;
}
