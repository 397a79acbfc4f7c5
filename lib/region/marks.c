/*
 * marks.c - see marks.h.
 */
#include "region/marks.h"

#include "base/bits.h"
#include "base/verify.h"
#include "os/shm.h"

uint64_t
marks_value(const struct region *r, uint32_t mark)
{
        ASSERT(mark < marks_n(r));
        switch (mark) {
        case SWEEP_CHUNKS:
                return region_chunks_hwm(r);
        case SWEEP_THREADS:
                return region_threads_hwm(r);
        case SWEEP_CLIENTS:
                return region_clients_hwm(r);
        case SWEEP_ROOTS:
                return region_roots_hwm(r);
        default:
                return region_magazines_hwm(r, mark - SWEEP_MAGAZINES);
        }
}

uint64_t
marks_limit(const struct region *r, uint32_t mark)
{
        ASSERT(mark < marks_n(r));
        switch (mark) {
        case SWEEP_CHUNKS:
                return r->layout.n_chunks;
        case SWEEP_THREADS:
                return r->layout.n[TABLE_THREADS];
        case SWEEP_CLIENTS:
                return r->layout.n[TABLE_CLIENTS];
        case SWEEP_ROOTS:
                return r->layout.n[TABLE_ROOTS];
        default:
                return r->layout.magazines_per_node;
        }
}

static struct stretch
of_table(const struct region *r, enum layout_table table, uint64_t from, uint64_t to)
{
        const struct layout *l = &r->layout;
        uint64_t end = l->off[table] + to * l->stride[table];

        ASSERT(from <= to && to <= r->layout.n[table]);
        return (struct stretch){
                .off = l->off[table] + from * l->stride[table],
                .end = to == l->n[table] ? bits_align_up(end, OS_PAGE_BYTES) : end,
        };
}

static uint32_t
of_chunks(const struct region *r, uint64_t from, uint64_t to, struct stretch *s)
{
        static const struct {
                enum layout_table table;
                uint64_t per;
        } tables[] = {
                {TABLE_CHUNK_WORDS, 1},
                {TABLE_HUGE_BYTES, 1},
                {TABLE_CHUNK_MAPS, 1},
                {TABLE_GRANULES, GEO_GRANULES_PER_CHUNK},
                {TABLE_SLABS, GEO_GRANULES_PER_CHUNK},
                {TABLE_REST_MAPS, 1},
                {TABLE_SLAB_RESTS, GEO_GRANULES_PER_CHUNK},
                {TABLE_TAGS, GEO_GRANULES_PER_CHUNK},
        };
        uint64_t chunks_off = r->layout.chunks_off;
        uint32_t n = 0;

        ASSERT(from <= to && to <= r->layout.n_chunks);
        for (; n < sizeof tables / sizeof tables[0]; n++)
                s[n] = of_table(r, tables[n].table, from * tables[n].per, to * tables[n].per);
        s[n++] = (struct stretch){chunks_off + (from << GEO_CHUNK_SHIFT), chunks_off + (to << GEO_CHUNK_SHIFT)};
        ASSERT(n <= STRETCHES_MAX);
        return n;
}

uint32_t
marks_stretches(const struct region *r, uint32_t mark, uint64_t from, uint64_t to, struct stretch s[STRETCHES_MAX])
{
        uint64_t first = (mark - SWEEP_MAGAZINES) * (uint64_t)r->layout.magazines_per_node;

        ASSERT(mark < marks_n(r) && from <= to);
        switch (mark) {
        case SWEEP_CHUNKS:
                return of_chunks(r, from, to, s);
        case SWEEP_THREADS:
                s[0] = of_table(r, TABLE_GATES, from, to);
                s[1] = of_table(r, TABLE_THREADS, from, to);
                return 2;
        case SWEEP_CLIENTS:
                s[0] = of_table(r, TABLE_CLIENTS, from, to);
                return 1;
        case SWEEP_ROOTS:
                s[0] = of_table(r, TABLE_ROOTS, from, to);
                return 1;
        default:
                s[0] = of_table(r, TABLE_MAGAZINE_WORDS, first + from, first + to);
                s[1] = of_table(r, TABLE_MAGAZINES, first + from, first + to);
                return 2;
        }
}
