/*
 * allocators.c - which allocators there are, and how to get at their functions.
 */
#include <ctype.h>
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/bench.h"

/* ------------------------------------------------------------------ null: what is left is the driver */

/* Longer than any block that is asked for; only what is touched of it is ever memory. */
static const size_t null_bytes = (size_t)4 << 30;
static __thread char *null_block;

static __attribute__((noinline, cold)) char *
null_start(void)
{
        null_block = mmap(NULL, null_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (null_block == MAP_FAILED) {
                perror("mmap");
                exit(1);
        }
        return null_block;
}

/* A block of each thread's own: two that wrote to the same one would wait for each other. */
static void *
null_take(size_t size)
{
        char *p = null_block;

        (void)size;
        return __builtin_expect(p != NULL, 1) ? p : null_start();
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
        return 0;
}

static size_t
null_backing(void)
{
        return 0;
}

static void *
null_take_two(size_t n, size_t size)
{
        (void)n;
        return null_take(size);
}

static size_t
null_usable(const void *p)
{
        (void)p;
        return 0;
}

static void
null_give_sized(void *p, size_t size)
{
        (void)p, (void)size;
}

static char *
null_copy(const char *s)
{
        (void)s;
        return null_take(0);
}

static void *
null_take_to(size_t size, uint64_t *dest)
{
        void *p = null_take(size);

        *dest = (uintptr_t)p;
        return p;
}

static void
null_give_from(uint64_t *dest)
{
        *dest = 0;
}

static void *
null_heap_new(void)
{
        return null_take(0);
}

static void *
null_heap_take(void *heap, size_t size)
{
        (void)heap;
        return null_take(size);
}

static void
null_heap_give(void *heap, void *p)
{
        (void)heap, (void)p;
}

static const struct bench_family null_family = {.zeroed = null_take_two,
                                                .aligned = null_take_two,
                                                .usable = null_usable,
                                                .give_sized = null_give_sized,
                                                .copy = null_copy,
                                                .take_flags = null_take,
                                                .take_to = null_take_to,
                                                .give_from = null_give_from,
                                                .heap_new = null_heap_new,
                                                .heap_take = null_heap_take,
                                                .heap_give = null_heap_give};

static const struct bench_allocator null_allocator = {.name = "null",
                                                      .is_null = true,
                                                      .setup = null_setup,
                                                      .take = null_take,
                                                      .give = null_give,
                                                      .resize = null_resize,
                                                      .backing = null_backing,
                                                      .family = &null_family};

/* ------------------------------------------------------------------ private ones: malloc, whosever it is */

static int
private_setup(size_t capacity)
{
        (void)capacity;
        return 0;
}

static size_t
private_usable(const void *p)
{
        return malloc_usable_size((void *)p);
}

/* What C does not have, or not yet, each has under a name of its own. */
static void *(*any_mallocx)(size_t size, int flags);
static void (*any_sdallocx)(void *p, size_t size, int flags);
static void *(*mimalloc_heap_malloc)(void *heap, size_t size);
static void (*mimalloc_free)(void *p);

static void *
private_take_flags(size_t size)
{
        return any_mallocx(size, 0);
}

static void
private_give_sized(void *p, size_t size)
{
        any_sdallocx(p, size, 0);
}

static void *
private_heap_take(void *heap, size_t size)
{
        return mimalloc_heap_malloc(heap, size);
}

static void
private_heap_give(void *heap, void *p)
{
        (void)heap;
        mimalloc_free(p);
}

static struct bench_family private_family = {
        .zeroed = calloc, .aligned = aligned_alloc, .usable = private_usable, .copy = strdup};

static struct bench_allocator private_allocator = {
        .setup = private_setup, .take = malloc, .give = free, .resize = realloc, .family = &private_family};

static void *
symbol(const char *name)
{
        return dlsym(RTLD_DEFAULT, name);
}

static void
find_family(void)
{
        static const char *const sized[] = {"free_sized", "tc_free_sized", "mi_free_size"};

        any_mallocx = (__typeof__(any_mallocx))symbol("mallocx");
        if (any_mallocx)
                private_family.take_flags = private_take_flags;
        for (size_t i = 0; i < sizeof sized / sizeof *sized && !private_family.give_sized; i++)
                private_family.give_sized = (__typeof__(private_family.give_sized))symbol(sized[i]);
        any_sdallocx = (__typeof__(any_sdallocx))symbol("sdallocx");
        if (!private_family.give_sized && any_sdallocx)
                private_family.give_sized = private_give_sized;
        mimalloc_heap_malloc = (__typeof__(mimalloc_heap_malloc))symbol("mi_heap_malloc");
        mimalloc_free = (__typeof__(mimalloc_free))symbol("mi_free");
        if (mimalloc_heap_malloc && mimalloc_free) {
                private_family.heap_new = (__typeof__(private_family.heap_new))symbol("mi_heap_new");
                private_family.heap_take = private_heap_take;
                private_family.heap_give = private_heap_give;
        }
}

/* The dynamic linker only says that it cannot preload a library, and goes on with libc's malloc. */
static bool
is_malloc_another(void)
{
        Dl_info ours, libcs;
        void *malloc_here = symbol("malloc"), *libc = symbol("gnu_get_libc_version");

        return malloc_here && libc && dladdr(malloc_here, &ours) != 0 && dladdr(libc, &libcs) != 0 &&
               strcmp(ours.dli_fname, libcs.dli_fname) != 0;
}

/* ------------------------------------------------------------------ the list */

enum { N_CHOICES = 10, PEERS_MAX = 16 };

static struct bench_choice choices[N_CHOICES + PEERS_MAX] = {
        {"null", BENCH_PRIVATE | BENCH_SHARED, NULL, NULL, true, false, false},
        {"shmalloc", BENCH_PRIVATE | BENCH_SHARED | BENCH_OURS, "shmalloc.so", "this project", false, false, false},
        {"glibc", BENCH_PRIVATE, NULL, NULL, true, false, false},
        {"jemalloc", BENCH_PRIVATE, "libjemalloc.so.2", "libjemalloc2", false, true, false},
        {"mimalloc", BENCH_PRIVATE, "libmimalloc.so.2", "libmimalloc2.0", false, true, false},
        {"tcmalloc", BENCH_PRIVATE, "libtcmalloc_minimal.so.4", "libtcmalloc-minimal4", false, true, false},
        {"boost", BENCH_SHARED, "boost.so", "libboost-dev g++", false, false, false},
        {"apr", BENCH_SHARED, "apr.so", "libapr1-dev libaprutil1-dev", false, false, false},
        {"mm", BENCH_SHARED, "mm.so", "libmm-dev", false, false, false},
        {"dpdk", BENCH_SHARED, "dpdk.so", "libdpdk-dev", false, false, false},
};
static size_t n_choices = N_CHOICES;

static bool
is_name_taken(const char *name)
{
        for (size_t i = 0; i < n_choices; i++)
                if (strcmp(choices[i].name, name) == 0)
                        return true;
        return false;
}

/* libNAME.so.2.1 is NAME.2.1, with a number behind it where there is one of this name. */
static char *
peer_name(const char *path)
{
        const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
        char stem[48], *name = malloc(sizeof stem + 16), *so;

        if (!name)
                return NULL;
        snprintf(stem, sizeof stem, "%s", strncmp(base, "lib", 3) == 0 && base[3] ? base + 3 : base);
        so = strstr(stem, ".so");
        if (so && so != stem)
                memmove(so, so + 3, strlen(so + 3) + 1);
        for (char *c = stem; *c; c++) /* it is a field of a table with commas, and of a list */
                if (!isalnum((unsigned char)*c) && !strchr("._-", *c))
                        *c = '_';
        snprintf(name, sizeof stem + 16, "%s", stem);
        for (int i = 2; is_name_taken(name); i++)
                snprintf(name, sizeof stem + 16, "%s-%d", stem, i);
        return name;
}

const char *
bench_add_peer(const char *path)
{
        struct bench_choice *peer = &choices[n_choices];
        char *file = realpath(path, NULL), *name = file ? peer_name(path) : NULL;
        struct stat st;

        if (strpbrk(path, ": ") || (file && strpbrk(file, ": "))) {
                fprintf(stderr, "%s: LD_PRELOAD has no way to name a path with a colon or a space\n", path);
                return NULL;
        }
        if (!name || access(file, R_OK) < 0) {
                fprintf(stderr, "%s: %s\n", path, strerror(errno));
                return NULL;
        }
        if (stat(file, &st) < 0 || !S_ISREG(st.st_mode) || n_choices == sizeof choices / sizeof *choices) {
                fprintf(stderr, "%s is no library, or one too many\n", path);
                return NULL;
        }
        *peer = (struct bench_choice){name, BENCH_PRIVATE, file, path, true, true, true};
        n_choices++;
        return name;
}

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

size_t
bench_choices(struct bench_choice **ret_choices)
{
        for (size_t i = 0; i < N_CHOICES; i++)
                if (choices[i].file)
                        choices[i].is_there = choices[i].is_preload ? is_preloadable(choices[i].file)
                                                                    : access(adapter_path(choices[i].file), R_OK) == 0;
        *ret_choices = choices;
        return n_choices;
}

/* The allocator of this process: private ones are here already, preloaded. */
const struct bench_allocator *
bench_load(const char *name)
{
        for (size_t i = 0; i < n_choices; i++) {
                void *module, *adapter;

                if (strcmp(choices[i].name, name) != 0)
                        continue;
                if (strcmp(name, "null") == 0)
                        return &null_allocator;
                if (choices[i].is_preload && !is_malloc_another()) {
                        fprintf(stderr, "%s is not in use: malloc is still libc's\n", choices[i].file);
                        return NULL;
                }
                private_allocator.name = choices[i].name;
                if (choices[i].is_preload || !choices[i].file) {
                        find_family();
                        return &private_allocator;
                }
                module = dlopen(adapter_path(choices[i].file), RTLD_NOW | RTLD_LOCAL);
                adapter = module ? dlsym(module, "bench_adapter") : NULL;
                if (!adapter)
                        fprintf(stderr, "%s\n", dlerror());
                return adapter;
        }
        fprintf(stderr, "no allocator is called %s\n", name);
        return NULL;
}
