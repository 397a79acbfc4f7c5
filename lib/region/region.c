/*
 * region.c - the memory behind the tables: binding, formatting, backing, and the high-water marks.
 *
 * A mark is raised from k to k + 1 only, and only by a thread that has itself backed all that element k needs.  So
 * whoever sees a mark above k may touch k, whatever became of the thread that raised it: backing is idempotent, dying
 * between the backing and the CAS leaves pages that the next one backs again, and losing the CAS means that
 * another one has done the same work.
 *
 * System calls are saved where elements share pages: element k - 1 lies below the mark, hence is backed, hence so is
 * the page in which it ends.  That needs no page bitmap, and holds after any death.  Tables start on pages of their
 * own, so nothing else decides about their pages.
 *
 * What this gives up: backing is by range, so a page that a hostile client punched is not noticed: what is promised
 * is safety from a full file system, not from whoever may write the file.
 */
#include "region/region.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/verify.h"
#include "os/numa.h"
#include "os/pages.h"
#include "os/shm.h"
#include "region/dump.h"
#include "region/file.h"
#include "region/options.h"

/* A call for so many takes about a millisecond; a fallocate holds the inode meanwhile, and a signal rolls it back. */
#define RESERVE_PIECE_BYTES (UINT64_C(2) << 20)

enum { SWEPT_TRIES_MAX = 16 }; /* looks at a piece that is being swept */

/* ------------------------------------------------------------------ binding and formatting */

void
region_bind(struct region *r, void *base, const struct layout *layout)
{
        char *p = base;

        ASSERT(layout->n_chunks > 0 && layout->magazines_per_node > 0);
        ASSERT(layout->chunks_off % GEO_CHUNK_BYTES == 0 && layout->region_bytes > layout->chunks_off);
        r->layout = *layout;
        r->n_nodes = (uint32_t)(layout->n[TABLE_MAGAZINES] / layout->magazines_per_node);
        r->arenas_per_node = layout->n_arenas / r->n_nodes;
        r->base = p;
        r->chunks = p + layout->chunks_off;
        r->canonical = (uint64_t)(uintptr_t)r->chunks;
        r->header = (void *)p;
        r->arena_words = (void *)(p + layout->off[TABLE_ARENA_WORDS]);
        r->bindings = (void *)(p + layout->off[TABLE_BINDINGS]);
        r->free_chunks = (void *)(p + layout->off[TABLE_FREE_CHUNKS]);
        r->pool_hints = (void *)(p + layout->off[TABLE_POOL_HINTS]);
        r->clients = (void *)(p + layout->off[TABLE_CLIENTS]);
        r->gates = (void *)(p + layout->off[TABLE_GATES]);
        r->totals = (void *)(p + layout->off[TABLE_TOTALS]);
        r->threads = p + layout->off[TABLE_THREADS];
        r->roots = (void *)(p + layout->off[TABLE_ROOTS]);
        r->arenas = p + layout->off[TABLE_ARENAS];
        r->hint_groups = (void *)(p + layout->off[TABLE_HINT_GROUPS]);
        r->magazine_words = (void *)(p + layout->off[TABLE_MAGAZINE_WORDS]);
        r->magazines = (void *)(p + layout->off[TABLE_MAGAZINES]);
        r->chunk_words = (void *)(p + layout->off[TABLE_CHUNK_WORDS]);
        r->huge_bytes = (void *)(p + layout->off[TABLE_HUGE_BYTES]);
        r->chunk_maps = (void *)(p + layout->off[TABLE_CHUNK_MAPS]);
        r->granules = (void *)(p + layout->off[TABLE_GRANULES]);
        r->slabs = (void *)(p + layout->off[TABLE_SLABS]);
        r->rest_maps = (void *)(p + layout->off[TABLE_REST_MAPS]);
        r->slab_rests = (void *)(p + layout->off[TABLE_SLAB_RESTS]);
        r->tags = (void *)(p + layout->off[TABLE_TAGS]);
        ASSERT(r->n_nodes >= 1 && r->n_nodes <= NODE_MAX && r->arenas_per_node >= 1);
}

void
region_format(struct region *r, const struct layout_params *params, const char *name, uint64_t base_addr)
{
        struct region_header *header = r->header;

        header->magic = LAYOUT_MAGIC;
        header->version = LAYOUT_VERSION;
        header->hash = layout_hash();
        header->region_bytes = r->layout.region_bytes;
        header->base_addr = base_addr;
        header->params = *params;
        strncpy(header->name, name, LAYOUT_NAME_MAX);
        header->capacity_chunks = r->layout.n_chunks;
        header->decay_ms = 10000;
}

void
region_set_policy(struct region *r, uint32_t numa_policy, uint64_t numa_nodes)
{
        uint64_t all = UINT64_MAX >> (64 - region_system_nodes(r));

        ASSERT(region_system_nodes(r) >= 1 && region_system_nodes(r) <= 64);
        r->numa_policy = numa_policy <= OPTIONS_NUMA_STRICT ? numa_policy : OPTIONS_NUMA_LOCAL;
        r->numa_nodes = (numa_nodes & all) != 0 ? numa_nodes & all : all;
        ASSERT((r->numa_nodes & ~all) == 0 && r->numa_nodes != 0);
}

/* ------------------------------------------------------------------ backing */

static bool
range_is_valid(const struct region *r, uint64_t off, uint64_t bytes)
{
        return off <= r->layout.region_bytes && bytes <= r->layout.region_bytes - off;
}

/*
 * By the mapping.  Where that does not do, fallocate(2) says why, or does it after all: for a kernel that is too old, a
 * filter that refuses the first call, or since room was found meanwhile.
 */
static int
reserve_piece(const struct region *r, uint64_t off, uint64_t bytes)
{
        int fd, err = os_populate(r->base + off, bytes);

        ASSERT(off % OS_PAGE_BYTES == 0 && bytes <= RESERVE_PIECE_BYTES);
        ASSERT(bytes > 0 && off + bytes <= bits_align_up(r->layout.region_bytes, OS_PAGE_BYTES));
        if (err == 0)
                return 0;
        fd = file_borrow(r);
        if (fd < 0) {
                error_refused("the heap's descriptor was closed by the program; madvise(MADV_POPULATE_WRITE)", err);
                return err == -EFAULT ? -ENOSPC : -ENOMEM;
        }
        err = os_allocate(fd, off, bytes);
        os_close(fd);
        return err == -EDQUOT ? -ENOSPC : err < 0 && err != -ENOSPC ? -ENOMEM : err;
}

int
region_reserve(struct region *r, uint64_t off, uint64_t bytes)
{
        uint64_t end = bits_align_up(off + bytes, OS_PAGE_BYTES);

        if (!range_is_valid(r, off, bytes))
                return -EINVAL;
        if (r->fd < 0 || bytes == 0)
                return 0;
        for (off = bits_align_down(off, OS_PAGE_BYTES); off < end;) {
                uint64_t piece = end - off < RESERVE_PIECE_BYTES ? end - off : RESERVE_PIECE_BYTES;
                int err = reserve_piece(r, off, piece);

                if (err < 0)
                        return err;
                off += piece;
        }
        return 0;
}

int
region_reserve_table(struct region *r, enum layout_table table, uint64_t idx, uint64_t n)
{
        const struct layout *l = &r->layout;

        ASSERT(table < TABLE_N);
        if (idx > l->n[table] || n > l->n[table] - idx)
                return -EINVAL;
        return region_reserve(r, l->off[table] + idx * l->stride[table], n * l->stride[table]);
}

int
region_reserve_fixed(struct region *r)
{
        _Static_assert(TABLE_ARENA_WORDS == 0 && TABLE_BINDINGS == 1 && TABLE_FREE_CHUNKS == 2 && TABLE_POOL_HINTS == 3,
                       "the header and these are side by side");

        return region_reserve(r, 0, r->layout.off[TABLE_POOL_HINTS] + r->layout.stride[TABLE_POOL_HINTS]);
}

/* Only whole pages go: punching a part of one would zero it, and with it what belongs to a neighbour.  Plain memory
 * is zeroed alike, since callers rely on punched pages to read as zeroes. */
int
region_punch(struct region *r, uint64_t off, uint64_t bytes)
{
        uint64_t start = bits_align_up(off, OS_PAGE_BYTES);
        uint64_t end = bits_align_down(off + bytes, OS_PAGE_BYTES);

        if (!range_is_valid(r, off, bytes))
                return -EINVAL;
        if (r->fd < 0) {
                memset(r->base + off, 0, bytes);
                return 0;
        }
        return start < end ? os_remove(r->base + start, end - start, r->base, r->layout.region_bytes) : 0;
}

/* ------------------------------------------------------------------ marks */

/* Pages [off, end) of the region. */
struct pages {
        uint64_t off, end;
};

/*
 * Those of elements [idx, idx + n) of a table, but for the page where element idx - 1 ends, if that one is known to be
 * backed (has_previous).
 */
static struct pages
next_pages(const struct region *r, enum layout_table table, uint64_t idx, uint64_t n, bool has_previous)
{
        const struct layout *l = &r->layout;
        uint64_t off = l->off[table] + idx * l->stride[table];
        uint64_t end = bits_align_up(off + n * l->stride[table], OS_PAGE_BYTES);

        ASSERT(table < TABLE_N && idx + n <= l->n[table]);
        ASSERT(!has_previous || idx > 0);
        off = has_previous ? bits_align_up(off, OS_PAGE_BYTES) : bits_align_down(off, OS_PAGE_BYTES);
        ASSERT(off % OS_PAGE_BYTES == 0 && off <= bits_align_up(r->layout.region_bytes, OS_PAGE_BYTES));
        return (struct pages){off, end < r->layout.region_bytes ? end : r->layout.region_bytes};
}

static int
reserve_pages(struct region *r, struct pages p)
{
        return p.off < p.end ? region_reserve(r, p.off, p.end - p.off) : 0;
}

static int
reserve_next(struct region *r, enum layout_table table, uint64_t idx, uint64_t n, bool has_previous)
{
        return reserve_pages(r, next_pages(r, table, idx, n, has_previous));
}

/* Somebody is just giving back pages that element k needs: header.sweep.  E17.acq: of a sweep that is over, the pages
 * that it took. */
static bool
is_swept(const struct region *r, uint32_t which, uint64_t k)
{
        uint64_t sweep = load_acquire(&r->header->sweep); /* E17.acq */

        ASSERT(which < SWEEP_N);
        return sweep_owner(sweep) != THREAD_NONE && sweep_mark(sweep) == which && k >= sweep_limit(sweep);
}

/* What is to be done before k can be published.  1 = the mark is above k already. */
static int
raise_begin(const struct region *r, uint32_t which, uint64_t mark, uint64_t k, uint64_t n)
{
        ASSERT(which < SWEEP_N);
        if (mark > k)
                return 1;
        if (k >= n)
                return -ENOSPC;
        for (int tries = 0; is_swept(r, which, k); tries++) {
                if (tries == SWEPT_TRIES_MAX) {
                        error_refused("a stopped or dead thread is giving back the pages that it takes", -EBUSY);
                        return -ENOMEM;
                }
                sched_yield(); /* a courtesy: it is a matter of microseconds, unless the sweeper stands still */
        }
        return mark == k ? 0 : -EUCLEAN;
}

/* A failed CAS means that another one has raised the mark: it never shrinks, so it is above k for good.  (A weaker
 * outcome is damage.)  E1.rel: pairs with the acquire in region_*_hwm(): what lies below the mark is backed. */
static int
raise_commit64(uint64_t *mark, uint64_t k)
{
        uint64_t expected = k;

        if (cas_release(mark, &expected, k + 1))
                return 0;
        ASSERT_INVARIANT(I17, expected > k);
        return expected > k ? 0 : -EUCLEAN;
}

static int
raise_commit32(uint32_t *mark, uint32_t k)
{
        uint32_t expected = k;

        if (cas_release(mark, &expected, k + 1)) /* E1.rel */
                return 0;
        ASSERT_INVARIANT(I17, expected > k);
        return expected > k ? 0 : -EUCLEAN;
}

int
region_raise_chunks(struct region *r, uint64_t k)
{
        static const struct {
                enum layout_table table;
                uint64_t n; /* elements per chunk */
        } parts[] = {
                {TABLE_CHUNK_WORDS, 1},
                {TABLE_HUGE_BYTES, 1},
                {TABLE_CHUNK_MAPS, 1},
                {TABLE_GRANULES, GEO_GRANULES_PER_CHUNK},
                {TABLE_SLABS, GEO_GRANULES_PER_CHUNK},
                {TABLE_REST_MAPS, 1},
                {TABLE_TAGS, GEO_GRANULES_PER_CHUNK},
        };
        uint64_t *mark = &r->header->chunks_hwm;
        struct pages side_by_side = {0, 0};
        int err = raise_begin(r, SWEEP_CHUNKS, load_acquire(mark), k,
                              region_capacity_chunks(r)); /* E1.acq: k - 1 is backed */

        if (err != 0)
                return err > 0 ? 0 : err;
        for (unsigned i = 0; i < sizeof parts / sizeof parts[0]; i++) {
                struct pages p = next_pages(r, parts[i].table, k * parts[i].n, parts[i].n, k > 0);

                if (p.off == side_by_side.end) {
                        side_by_side.end = p.end > p.off ? p.end : p.off;
                        continue;
                }
                err = reserve_pages(r, side_by_side);
                if (err < 0)
                        return err;
                side_by_side = p;
        }
        err = reserve_pages(r, side_by_side);
        if (err < 0)
                return err;
        ASSERT_INVARIANT(I17, k < region_capacity_chunks(r) && region_chunks_hwm(r) >= k);
        err = raise_commit64(mark, k);
        dump_follow(r);
        return err;
}

/* A slot has pages of its own, and its next thread is the one that asks.  At best: see bind_tables() in create.c. */
int
region_reserve_slot(struct region *r, uint32_t idx)
{
        uint64_t stride = r->layout.stride[TABLE_THREADS];

        ASSERT(idx < r->layout.n[TABLE_THREADS]);
        if (r->has_numa)
                (void)os_numa_bind(r->base + r->layout.off[TABLE_THREADS] + idx * stride, stride,
                                   UINT64_C(1) << os_numa_here(), false);
        return region_reserve_table(r, TABLE_THREADS, idx, 1);
}

static int
raise_slots(struct region *r, enum layout_table table, uint32_t which, uint32_t *mark, uint32_t k)
{
        int err = raise_begin(r, which, load_acquire(mark), k, r->layout.n[table]); /* E1.acq: k - 1 is backed */

        ASSERT(table == TABLE_GATES || table == TABLE_CLIENTS || table == TABLE_ROOTS);
        if (err != 0)
                return err > 0 ? 0 : err;
        err = reserve_next(r, table, k, 1, k > 0);
        if (err == 0 && table == TABLE_GATES)
                err = region_reserve_slot(r, k);
        ASSERT_INVARIANT(I17, k < r->layout.n[table] && load_relaxed(mark) >= k);
        if (err == 0)
                err = raise_commit32(mark, k);
        dump_follow(r);
        return err;
}

int
region_raise_threads(struct region *r, uint32_t k)
{
        return raise_slots(r, TABLE_GATES, SWEEP_THREADS, &r->header->threads_hwm, k);
}

int
region_raise_clients(struct region *r, uint32_t k)
{
        return raise_slots(r, TABLE_CLIENTS, SWEEP_CLIENTS, &r->header->clients_hwm, k);
}

int
region_raise_roots(struct region *r, uint32_t k)
{
        return raise_slots(r, TABLE_ROOTS, SWEEP_ROOTS, &r->header->roots_hwm, k);
}

/* Marks are per node: the element before a node's first one belongs to another mark, so it proves nothing. */
int
region_raise_magazines(struct region *r, uint32_t node, uint32_t k)
{
        uint64_t idx = (uint64_t)node * r->layout.magazines_per_node + k;
        uint32_t *mark;
        int err;

        if (node >= r->n_nodes)
                return -EINVAL;
        mark = &r->header->magazines_hwm[node];
        err = raise_begin(r, SWEEP_MAGAZINES + node, load_acquire(mark), k,
                          r->layout.magazines_per_node); /* E1.acq: k - 1 is backed */
        if (err != 0)
                return err > 0 ? 0 : err;
        err = reserve_next(r, TABLE_MAGAZINE_WORDS, idx, 1, k > 0);
        if (err == 0)
                err = reserve_next(r, TABLE_MAGAZINES, idx, 1, k > 0);
        if (err == 0 && k % 64 == 0)
                err = reserve_next(r, TABLE_POOL_HINTS, idx / 64, 1, k > 0);
        ASSERT_INVARIANT(I17, k < r->layout.magazines_per_node && load_relaxed(mark) >= k);
        if (err == 0)
                err = raise_commit32(mark, k);
        dump_follow(r);
        return err;
}

int
region_raise_bitmaps(struct region *r, uint64_t first, uint32_t n)
{
        int err = region_reserve_table(r, TABLE_SLAB_RESTS, first, n);

        ASSERT(n >= 1 && first % GEO_GRANULES_PER_CHUNK + n <= GEO_GRANULES_PER_CHUNK);
        if (err == 0)
                fetch_or_release(&r->rest_maps[first / GEO_GRANULES_PER_CHUNK], /* E1.rel */
                                 bits_mask(first % GEO_GRANULES_PER_CHUNK, n));
        return err;
}
