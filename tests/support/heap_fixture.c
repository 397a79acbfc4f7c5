#include "support/heap_fixture.h"
#include "support/damage.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clients/slot.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "support/checks.h"

#define FAIL(...) ck_abort_msg(__VA_ARGS__)
#define MUST(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        FAIL(__VA_ARGS__);                                                                             \
        } while (0)

/* ------------------------------------------------------------------ making */

static int
file_over(uintptr_t base, uint64_t bytes)
{
        int fd = memfd_create("heap_fixture", MFD_CLOEXEC);

        MUST(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "no file of %" PRIu64 " bytes", bytes);
        MUST(mmap((void *)base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == (void *)base,
             "the file cannot be mapped");
        return fd;
}

void
heap_make(struct heap_fixture *fx, struct heap_params p)
{
        struct layout_params params = {.max_capacity = (p.n_chunks ? p.n_chunks : 4) * GEO_CHUNK_BYTES,
                                       .max_clients = 2,
                                       .max_threads = p.max_threads ? p.max_threads : 8,
                                       .n_nodes = p.n_nodes ? p.n_nodes : 1,
                                       .arenas_per_node = p.arenas_per_node ? p.arenas_per_node : 1,
                                       .max_roots = 4,
                                       .page_shift = 12};
        struct layout layout;
        const char *what;
        uintptr_t base;

        memset(fx, 0, sizeof *fx);
        MUST(layout_compute(&params, &layout, &what) == 0, "layout: %s", what);
        fx->mapping_bytes = layout.region_bytes + GEO_CHUNK_BYTES;
        fx->mapping = mmap(NULL, fx->mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                           -1, 0);
        MUST(fx->mapping != MAP_FAILED, "no memory for a region of %" PRIu64 " bytes", layout.region_bytes);
        base = ((uintptr_t)fx->mapping + GEO_CHUNK_BYTES - 1) & ~(uintptr_t)(GEO_CHUNK_BYTES - 1);
        fx->region.fd = p.has_file ? file_over(base, layout.region_bytes) : -1;
        region_bind(&fx->region, (void *)base, &layout);
        region_format(&fx->region, &params, "plain", base);
        ck_assert_int_eq(client_register(&fx->region, &fx->client), 0);
        fx->heap.region = fx->region;
        fx->heap.client = fx->client;
        fx->heap.generation = tcache_generation();
        fx->heap.is_open = true;
        ck_assert_int_eq(pthread_mutex_init(&fx->heap.lock, NULL), 0);
}

void
heap_drop(struct heap_fixture *fx)
{
        bool was_done = damage_is_done(true); /* threads may be in the midst of what they do */

        for (uint32_t i = 0; i < fx->n_threads; i++)
                if (fx->threads[i].slot != NULL)
                        slot_release(&fx->threads[i]);
        if (fx->region.fd >= 0)
                close(fx->region.fd);
        munmap(fx->mapping, fx->mapping_bytes);
        damage_is_done(was_done);
}

struct thread *
heap_attach(struct heap_fixture *fx, uint32_t arena)
{
        struct thread *t = &fx->threads[fx->n_threads++];

        ck_assert_uint_le(fx->n_threads, HEAP_THREADS_MAX);
        ck_assert_int_eq(slot_attach(t, &fx->region, &fx->client, NULL, NULL), 0);
        ck_assert_int_eq(arena_init(&fx->region, arena), 0);
        t->arena = arena;
        t->node = region_arena_node(&fx->region, arena);
        t->seed = t->no * 7;
        fx->region.bindings[t->no - 1] = BINDING_ARENA(arena);
        return t;
}

void
heap_bury(struct heap_fixture *fx, struct thread *t)
{
        reap_settle(&fx->region, t->no, NULL);
        slot_release(t);
}

/* ------------------------------------------------------------------ live blocks */

void
live_add(struct live *live, uint64_t block_off)
{
        if (live->n == live->room) {
                live->room = live->room ? 2 * live->room : 256;
                live->off = realloc(live->off, live->room * sizeof *live->off);
                ck_assert_ptr_nonnull(live->off);
        }
        live->off[live->n++] = block_off;
}

void
live_drop(struct live *live, uint64_t block_off)
{
        for (size_t i = live->n; i-- > 0;)
                if (live->off[i] == block_off) {
                        live->off[i] = live->off[--live->n];
                        return;
                }
        FAIL("block %#" PRIx64 " is not live", block_off);
}

uint64_t
live_pop(struct live *live)
{
        ck_assert_uint_gt(live->n, 0);
        return live->off[--live->n];
}

void
live_fini(struct live *live)
{
        free(live->off);
        memset(live, 0, sizeof *live);
}

/* ------------------------------------------------------------------ the judge */

static void __attribute__((format(printf, 1, 2))) fail_test(const char *fmt, ...)
{
        char text[512];
        va_list args;

        va_start(args, fmt);
        vsnprintf(text, sizeof text, fmt, args);
        va_end(args);
        FAIL("%s", text);
}

static struct tally
judge(struct region *r, const struct live *live)
{
        struct judge j = {.r = r, .fault = fail_test};

        judge_region(&j);
        for (size_t i = 0; live && i < live->n; i++)
                judge_has(&j, live->off[i], "the test", i);
        MUST(!live || j.n_allocated == 0, "%" PRIu64 " blocks are lost: neither free, nor cached, nor live",
             j.n_allocated);
        return j.tally;
}

struct tally
heap_verify(struct region *r, const struct live *live)
{
        static const struct live none;

        return judge(r, live ? live : &none);
}

struct tally
heap_verify_words(struct region *r)
{
        return judge(r, NULL);
}

/* ------------------------------------------------------------------ small helpers */

void
heap_scramble_hints(struct region *r, bool set)
{
        int byte = set ? 0xff : 0;
        uint64_t hwm = region_chunks_hwm(r);

        for (uint32_t a = 0; a < r->layout.n_arenas; a++) {
                struct arena *arena = region_arena(r, a);

                if (!arena)
                        continue;
                memset(arena->summary, byte, sizeof *arena->summary * HINT_N_KINDS * r->layout.n_summary_words);
                memset(&r->hint_groups[(uint64_t)a * r->layout.n_groups], byte,
                       r->layout.n_groups * sizeof *r->hint_groups);
                memset(arena->depot_n, byte, sizeof arena->depot_n);
                for (uint32_t i = 0; i < SIZE_CLASS_DEPOT_PLACES; i++)
                        arena->depot[i] = set ? i + 1 : 0;
        }
        memset(r->free_chunks, byte, r->layout.n[TABLE_FREE_CHUNKS] * sizeof(uint64_t));
        memset(r->chunk_maps, byte, hwm * sizeof *r->chunk_maps);
        memset(r->pool_hints, byte, r->layout.n[TABLE_POOL_HINTS] * sizeof(uint64_t));
}

uint32_t
class_with_granules(uint32_t n_granules)
{
        for (uint32_t c = 0; c < SIZE_CLASS_N_SMALL; c++)
                if (size_class_table[c].n_granules == n_granules)
                        return c;
        return SIZE_CLASS_NONE;
}
