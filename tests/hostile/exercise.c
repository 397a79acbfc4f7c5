/*
 * What is done with a damaged region.  Whatever it contains, each call has to come back: with a result, an error and a
 * message, or, for frees, a reported fault.  Results are not judged here, since there is no right one.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <shmalloc/shmalloc.h>

#include "hostile/hostile.h"

static sigjmp_buf out;
static bool may_jump;

/* A misuse is reported with nothing held, and whoever is told may jump. */
static void
on_fault(const struct shheap_fault *fault, void *arg)
{
        (void)fault, (void)arg;
        if (may_jump)
                siglongjmp(out, 1);
}

#define MUST(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim)) {                                                                                        \
                        fprintf(stderr, "hostile: not true: %s (errno %d, %s)\n", #claim, errno, shheap_errormsg());   \
                        abort();                                                                                       \
                }                                                                                                      \
        } while (0)

/* ------------------------------------------------------------------ looking */

/* Somewhere to print to. */
static FILE *
nowhere(void)
{
        static FILE *file;

        if (!file)
                file = fopen("/dev/null", "w");
        MUST(file);
        return file;
}

static int
count_block(const struct shheap_block *block, void *arg)
{
        (void)block;
        return ++*(uint64_t *)arg > 1000000;
}

static int
count_root(const char *name, void *obj, size_t size, void *arg)
{
        (void)obj, (void)size;
        MUST(strlen(name) <= LAYOUT_ROOT_NAME_MAX);
        return ++*(uint64_t *)arg > 100000;
}

static void
look_at_blocks(shheap *h, const struct image *image)
{
        for (size_t i = 0; i < image->n_blocks; i++) {
                void *p = shheap_ptr(h, image->blocks[i]);
                size_t usable = shheap_usable_size(h, p);

                MUST(usable <= image->region.layout.n_chunks * GEO_CHUNK_BYTES);
                (void)shheap_node_of(h, p);
        }
}

static void
look_at_settings(shheap *h)
{
        static const char *const names[] = {"heap.id",       "heap.base",       "heap.capacity", "heap.max_capacity",
                                            "heap.decay_ms", "heap.nodes",      "heap.arenas",   "heap.clients",
                                            "heap.threads",  "stats.allocated", "stats.cached",  "stats.mapped",
                                            "stats.purged",  "stats.reaped"};
        char text[80];
        size_t length = sizeof text;

        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
                uint64_t value;
                size_t bytes = sizeof value;

                MUST(shheap_ctl(h, names[i], &value, &bytes, NULL, 0) <= 0);
        }
        if (shheap_ctl(h, "heap.name", text, &length, NULL, 0) == 0)
                MUST(length <= sizeof text && text[length - 1] == '\0');
}

/* What the check found. */
static int
look(shheap *h, const struct image *image, unsigned what)
{
        static const char *const names[] = {"first", "second", "gone", "never was"};
        uint64_t n = 0;
        void *object;
        int n_found = shheap_check(h, 0, nowhere());

        MUST(n_found >= 0 && shheap_check(h, SHHEAP_CHECK_QUIESCENT, nowhere()) >= 0);
        MUST(shheap_stats_print(h, nowhere(), what & DO_MORE ? NULL : "J") == 0);
        MUST(shheap_walk(h, SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE, count_block, &n) >= 0);
        n = 0;
        (void)shheap_root_iterate(h, count_root, &n);
        for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
                (void)!shheap_root(h, names[i], 0, 0, NULL, NULL, &object);
        look_at_blocks(h, image);
        if (what & DO_MORE) {
                MUST(shheap_stats_print(h, nowhere(), "O") == 0);
                look_at_settings(h);
        }
        return n_found;
}

/* ------------------------------------------------------------------ using */

enum { SIZES = 12, EACH = 4, SIZES_SMALL = 8, LEAVE_TRIES_MAX = 8 };

static void
use_memory(shheap *h)
{
        static const size_t sizes[SIZES] = {1, 48, 64, 112, 640, 2048, 9000, 32768, 40000, 100000, 300000, 2200000};
        void *p[SIZES][EACH];

        for (int i = 0; i < SIZES; i++)
                for (int k = 0; k < EACH; k++) {
                        p[i][k] = i < SIZES_SMALL || k == 0 ? shheap_malloc(h, sizes[i]) : NULL;
                        if (p[i][k] && shheap_usable_size(h, p[i][k]) >= sizes[i]) {
                                ((char *)p[i][k])[0] = 1;
                                ((char *)p[i][k])[sizes[i] - 1] = 1;
                        }
                }
        for (int i = 0; i < SIZES; i++) {
                void *moved = p[i][0] ? shheap_realloc(h, p[i][0], sizes[i] * 2) : NULL;

                p[i][0] = moved ? moved : p[i][0];
                for (int k = 0; k < EACH; k++)
                        shheap_free(h, p[i][k]);
        }
}

static int
init(void *object, size_t size, void *arg)
{
        (void)arg;
        memset(object, 1, size);
        return 0;
}

static void
use_roots(shheap *h)
{
        void *object;

        (void)!shheap_root(h, "second", 4200, 0, init, NULL, &object);
        (void)!shheap_root(h, "new", 500, 0, init, NULL, &object);
        (void)shheap_root_remove(h, "first");
        (void)shheap_root_remove(h, "new");
}

static void
use_references(shheap *h)
{
        shref *dest = shheap_calloc(h, 4, sizeof *dest);

        if (!dest)
                return;
        (void)!shheap_malloc_to(h, 100, 0, &dest[0]);
        (void)!shheap_malloc_to(h, 100000, 0, &dest[1]);
        (void)!shheap_malloc_to(h, 2200000, 0, &dest[2]);
        for (int i = 0; i < 3; i++)
                (void)!shheap_free_from(h, &dest[i]);
        shheap_free(h, dest);
}

/* Each part ends early if it meets a misuse, and the next one goes on. */
static bool
try(void (*part)(shheap *h), shheap *h)
{
        volatile bool was_fault = false;

        if (sigsetjmp(out, 0) == 0) {
                may_jump = true;
                part(h);
        } else {
                was_fault = true;
        }
        may_jump = false;
        return was_fault;
}

static const struct image *image_used;

static void
free_known(shheap *h)
{
        static volatile size_t next; /* a fault ends one free, not all of them */

        for (next = 0; next < image_used->n_blocks;) {
                void *p = shheap_ptr(h, image_used->blocks[next]);

                if (sigsetjmp(out, 0) == 0)
                        switch (next++ % 3) {
                        case 0:
                                shheap_free(h, p);
                                break;
                        case 1:
                                (void)!shheap_realloc(h, p, 100);
                                break;
                        default:
                                (void)shheap_xallocx(h, p, 50000, 0, 0);
                        }
        }
}

static void
reap(shheap *h)
{
        (void)shheap_reap(h);
}

static void
purge(shheap *h)
{
        (void)shheap_purge(h, -1);
        (void)shheap_reserve(h, 1 << 18);
}

/* Caches are emptied, and what is found then is reported when the heap is closed. */
static void
leave(shheap *h)
{
        MUST(shheap_close(h) == 0);
}

static bool
use(shheap *h)
{
        static void (*const parts[])(shheap *) = {use_memory, reap,  use_roots, use_references,
                                                  free_known, purge, use_memory};
        bool was_fault = false;

        for (size_t i = 0; i < sizeof parts / sizeof parts[0]; i++)
                was_fault |= try(parts[i], h);
        return was_fault;
}

/* ------------------------------------------------------------------ all of it */

static bool
is_mapped(const struct image *image)
{
        void *base = (void *)(uintptr_t)image->region.header->base_addr;
        void *p = mmap(base, image->region.layout.chunks_off, PROT_NONE,
                       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED_NOREPLACE, -1, 0);

        if (p == MAP_FAILED)
                return true;
        munmap(p, image->region.layout.chunks_off);
        return p != base;
}

static void
note_error(struct outcome *o, int err)
{
        MUST(err < 0 && shheap_errormsg()[0] != '\0');
        if (o->open_error == 0)
                o->open_error = err;
        snprintf(o->message, sizeof o->message, "%s", shheap_errormsg());
}

void
exercise(const struct image *image, int fd, unsigned what, struct outcome *ret_outcome)
{
        unsigned flags = what & DO_MOVED ? SHHEAP_RELOCATABLE : 0;
        struct outcome *o = ret_outcome;
        shheap *h;
        int err;

        *o = (struct outcome){.n_found = -1};
        image_used = image;
        shheap_set_fault_handler(on_fault, NULL);
        if (what & DO_LOOK) {
                err = shheap_open_fd(&h, fd, flags | SHHEAP_RDONLY);
                if (err < 0) {
                        note_error(o, err);
                } else {
                        o->n_found = look(h, image, what);
                        MUST(shheap_close(h) == 0);
                }
        }
        if (what & (DO_JOIN | DO_USE)) {
                err = shheap_open_fd(&h, fd, flags);
                if (err < 0) {
                        note_error(o, err);
                } else {
                        o->was_fault |= try(reap, h);
                        if (what & DO_USE)
                                o->was_fault |= use(h);
                        MUST(shheap_check(h, SHHEAP_CHECK_QUIESCENT, nowhere()) >= 0);
                        for (int tries = 0; tries < LEAVE_TRIES_MAX && try(leave, h); tries++)
                                o->was_fault = true;
                }
        }
        o->is_stuck = is_mapped(image);
}
