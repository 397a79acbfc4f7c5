#include "support/rich_heap.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "heap/root.h"
#include "pages/chunk.h"
#include "support/checks.h"
#include "support/where.h"

/* ------------------------------------------------------------------ making */

static void
keep(struct rich_heap *rich, uint64_t block_off)
{
        ck_assert_uint_lt(rich->n_live, RICH_HEAP_LIVE_MAX);
        rich->live_off[rich->n_live++] = block_off;
}

static uint64_t
make_slab(struct thread *who, uint32_t class_idx)
{
        uint64_t head;

        if (!slab_find_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, class_idx), &head))
                ck_assert_int_eq(slab_create_owned(who, WHERE_SLAB(who->arena, CHUNK_ANY, class_idx), &head), 0);
        return head;
}

static uint64_t
make_small(struct rich_heap *rich, struct thread *who, uint32_t class_idx)
{
        uint64_t block_off;

        ck_assert(slab_alloc_one(who, make_slab(who, class_idx), 0, &block_off));
        keep(rich, block_off);
        return block_off;
}

static uint64_t
make_large(struct thread *who, uint32_t class_idx, uint64_t align)
{
        uint64_t block_off;

        ck_assert_int_eq(large_alloc(who, WHERE_LARGE(who->arena, CHUNK_ANY, class_idx, align), 0, &block_off), 0);
        return block_off;
}

static uint32_t
make_magazine(struct thread *who, uint32_t tag, uint32_t *place)
{
        uint32_t idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, place, idx);
        return idx;
}

static uint32_t
make_filled(struct thread *who, uint32_t class_idx, uint32_t n)
{
        uint32_t tag = tag_make(who->node, class_idx);
        uint32_t idx = make_magazine(who, tag, magazine_current(who, tag));

        ck_assert_uint_eq(slab_fill(who, make_slab(who, class_idx), idx, n), n);
        return idx;
}

static void
make_magazines(struct rich_heap *rich)
{
        struct region *r = &rich->fx.region;
        struct thread *t = rich->t, *u = rich->u;
        uint32_t large = SIZE_CLASS_N_SMALL, tag = tag_make(0, large);
        uint32_t *place;

        rich->cached = make_filled(t, 0, 3);
        rich->spare = make_magazine(t, tag_make(0, 0), magazine_spare(t, tag_make(0, 0)));
        rich->other = make_filled(u, 0, 2);
        rich->depot = make_filled(t, 1, 2);
        place = magazine_current(t, tag_make(0, 1));
        magazine_pick_up(t, place, rich->depot);
        ck_assert(magazine_put(t, rich->depot, 0, false));
        rich->cached_large = make_magazine(t, tag, magazine_current(t, tag));
        r->magazines[rich->cached_large].slot[0] = region_entry(r, make_large(t, large, 1));
        r->magazines[rich->cached_large].n = 1;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 2), &rich->pooled), 0);
        ck_assert(magazine_put(t, rich->pooled, 0, false));
}

static void
make_runs(struct rich_heap *rich)
{
        struct thread *t = rich->t, *u = rich->u;
        uint64_t block_off;

        rich->live = make_small(rich, t, 0);
        rich->slab = rich->live >> GEO_GRANULE_SHIFT;
        for (uint32_t class_idx = 1; class_idx < SIZE_CLASS_N_SMALL; class_idx += 3)
                make_small(rich, class_idx % 2 ? t : u, class_idx);
        rich->long_slab = make_small(rich, t, class_with_granules(2)) >> GEO_GRANULE_SHIFT;
        rich->large = make_large(t, SIZE_CLASS_N - 4, GEO_PAGE_BYTES) >> GEO_GRANULE_SHIFT;
        keep(rich, rich->large << GEO_GRANULE_SHIFT);
        do { /* the colour depends on the place: one in 64 has none */
                block_off = make_large(t, SIZE_CLASS_N_SMALL, 1);
                keep(rich, block_off);
        } while (block_off % GEO_GRANULE_BYTES == 0);
        rich->coloured = block_off >> GEO_GRANULE_SHIFT;
        ck_assert_int_eq(huge_alloc(t, 2 * GEO_CHUNK_BYTES + 5 * GEO_PAGE_BYTES, 1, 0, 0, &block_off), 0);
        keep(rich, block_off);
        rich->huge = block_off >> GEO_CHUNK_SHIFT;
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 1, 0, &block_off), 0);
        rich->free_chunk = block_off >> GEO_CHUNK_SHIFT;
        ck_assert_int_eq(huge_free(t, block_off, 0), 0);
}

static void
make_roots(struct rich_heap *rich)
{
        struct thread *t = rich->t;
        uint64_t dest = (uint64_t)((char *)&t->gate->pending[0] - rich->fx.region.base);

        ck_assert_int_eq(root_find_or_create(t, "a", 40, 0, NULL, NULL, NULL, &rich->object), 0);
        keep(rich, rich->object);
        ck_assert(slab_alloc_one(t, make_slab(t, 3), dest, &rich->pending));
}

static uint64_t
find_free_granule(struct region *r)
{
        for (uint64_t g = 0; g < region_granules_hwm(r); g++)
                if (granule_state(r->granules[g]) == GRANULE_FREE)
                        return g;
        ck_abort_msg("no granule is free");
}

void
rich_heap_make(struct rich_heap *rich)
{
        memset(rich, 0, sizeof *rich);
        heap_make(&rich->fx, (struct heap_params){.n_chunks = 8, .n_nodes = 2, .arenas_per_node = 2});
        rich->t = heap_attach(&rich->fx, 0);
        rich->u = heap_attach(&rich->fx, 2);
        ck_assert_int_eq(chunk_give(rich->t, 0), 0);
        ck_assert_int_eq(chunk_give(rich->u, 2), 0);
        make_runs(rich);
        make_magazines(rich);
        make_roots(rich);
        rich->free_granule = find_free_granule(&rich->fx.region);
}

void
rich_heap_drop(struct rich_heap *rich)
{
        heap_drop(&rich->fx);
}

/* ------------------------------------------------------------------ asking */

void
rich_heap_protect(struct rich_heap *rich, int tables, int chunks)
{
        const struct region *r = &rich->fx.region;

        ck_assert_int_eq(mprotect(r->base, r->layout.chunks_off & ~UINT64_C(4095), tables), 0);
        ck_assert_int_eq(mprotect(r->chunks, r->layout.n_chunks << GEO_CHUNK_SHIFT, chunks), 0);
}

int
rich_heap_ask_unprotected(struct rich_heap *rich, unsigned flags, struct check_totals *ret_totals)
{
        FILE *f = fmemopen(rich->report, sizeof rich->report - 1, "w");
        int n;

        ck_assert_ptr_nonnull(f);
        rich->report[0] = '\0';
        n = check_region(&rich->fx.region, flags, f, ret_totals);
        fclose(f);
        return n;
}

int
rich_heap_ask(struct rich_heap *rich, unsigned flags, struct check_totals *ret_totals)
{
        int n;

        rich_heap_protect(rich, PROT_READ, PROT_NONE);
        n = rich_heap_ask_unprotected(rich, flags, ret_totals);
        rich_heap_protect(rich, PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE);
        return n;
}

void
rich_heap_expect_good(struct rich_heap *rich, unsigned flags)
{
        int n = rich_heap_ask(rich, flags, NULL);

        ck_assert_msg(n == 0, "%s: %d faults in a heap that has none:\n%s", flags ? "at rest" : "running", n,
                      rich->report);
}

/* ------------------------------------------------------------------ bitmaps */

uint32_t
rich_heap_block_idx(const struct rich_heap *rich, uint64_t block_off)
{
        return size_class_block_index(granule_class(rich->fx.region.granules[rich->slab]),
                                      block_off - (rich->slab << GEO_GRANULE_SHIFT));
}

void
rich_heap_flip_bit(struct rich_heap *rich, uint64_t head, uint32_t block_idx)
{
        *region_slab_word(&rich->fx.region, head, block_idx / 64) ^= UINT64_C(1) << block_idx % 64;
}
