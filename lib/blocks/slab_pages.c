/*
 * slab_pages.c - see slab_pages.h.
 *
 * Reserving is idempotent, and a page more than the words know of hurts nobody: a death anywhere in here leaves nothing
 * to repair.
 */
#include "blocks/slab_pages.h"

#include <errno.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/valid.h"
#include "clients/owner.h"

enum { STEP_DOUBLINGS = 2 }; /* a fill, and the pages that are reserved at once, quadruple */

_Static_assert(1 << (FILL_STEPS_MAX - FILL_STEPS_PAST) * STEP_DOUBLINGS >= SIZE_CLASS_MAGAZINE_CAP_MAX,
               "the last fill is a whole magazine");

bool
slab_malloc_goes_past(struct thread *t, uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        if (t->fill_steps[class_idx] > 0)
                return false;
        t->fill_steps[class_idx] = 1;
        return true;
}

bool
slab_free_goes_past(struct thread *t, uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        if (t->fill_steps[class_idx] >= FILL_STEPS_PAST)
                return false;
        t->fill_steps[class_idx] = FILL_STEPS_PAST;
        return true;
}

/* How often fills have grown. */
static uint32_t
growth_of(const struct thread *t, uint32_t class_idx)
{
        uint32_t steps = t->fill_steps[class_idx];

        ASSERT(steps <= FILL_STEPS_MAX);
        return steps > FILL_STEPS_PAST ? steps - FILL_STEPS_PAST : 0;
}

uint32_t
slab_fill_size(const struct thread *t, uint32_t class_idx)
{
        uint32_t cap = size_class_magazine_cap(class_idx);
        uint32_t size = 1 << STEP_DOUBLINGS * growth_of(t, class_idx);

        return size < cap ? size : cap;
}

void
slab_fill_more(struct thread *t, uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        t->fill_steps[class_idx] = (uint8_t)(FILL_STEPS_PAST + growth_of(t, class_idx));
        t->fill_steps[class_idx] += t->fill_steps[class_idx] < FILL_STEPS_MAX;
}

void
slab_fill_less(struct thread *t, uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        t->fill_steps[class_idx] = 0;
}

static uint64_t
slab_bytes(uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        return (uint64_t)size_class_slab_granules(class_idx) << GEO_GRANULE_SHIFT;
}

/* Bytes from the start of a slab in which its first n blocks lie, in steps by which the thread reserves pages. */
static uint64_t
reach_of(const struct thread *t, uint32_t class_idx, uint32_t n)
{
        uint32_t growth = growth_of(t, class_idx);
        uint64_t step = GEO_PAGE_BYTES << STEP_DOUBLINGS * (growth > 0 ? growth - 1 : 0);
        uint64_t reach =
                bits_align_up(n * size_class_bytes(class_idx), step < GEO_GRANULE_BYTES ? step : GEO_GRANULE_BYTES);

        ASSERT(n <= size_class_slab_blocks(class_idx) || reach >= slab_bytes(class_idx));
        return reach < slab_bytes(class_idx) ? reach : slab_bytes(class_idx);
}

int
slab_reserve_new(struct thread *t, uint64_t head, uint32_t class_idx)
{
        int err;

        ASSERT_INVARIANT(I5, granule_is_owned(t->region, t->no, run_word(t->region, head)));
        ASSERT(granule_state(owner_load(run_word(t->region, head))) == GRANULE_NEW);
        if (t->call.no_grow) /* it was claimed for what it has: slab_need() */
                return 0;
        err = run_reserve(t, head, reach_of(t, class_idx, t->call.wants_magazine ? slab_fill_size(t, class_idx) : 1));
        if (err < 0 || region_has_bitmap(t->region, head, class_idx))
                return err;
        err = region_raise_bitmaps(t->region, head / 8 * 8, 8); /* a page, or two */
        t->call.lacks_pages |= err < 0;
        return err;
}

uint64_t
slab_backed_bytes(struct region *r, uint64_t head, uint32_t class_idx)
{
        uint64_t bytes = 0;

        for (uint32_t i = 0; i < size_class_slab_granules(class_idx); i++) {
                uint32_t backed = granule_backed(owner_load(run_word(r, head + i)));

                if (backed < GRANULE_BACKED_ALL)
                        return bytes + backed * GRANULE_BACKED_UNIT;
                bytes += GEO_GRANULE_BYTES;
        }
        return bytes;
}

/* The pages of a slab that one of its blocks lies on, one bit each. */
static uint64_t
pages_of(uint32_t class_idx, uint32_t block_idx)
{
        uint64_t bytes = size_class_bytes(class_idx), start = block_idx * bytes;
        uint32_t first = (uint32_t)(start >> GEO_PAGE_SHIFT);

        ASSERT(block_idx < size_class_slab_blocks(class_idx));
        return bits_mask(first, (uint32_t)((start + bytes - 1) >> GEO_PAGE_SHIFT) - first + 1);
}

uint64_t
slab_unused_pages(struct region *r, uint64_t head, uint32_t class_idx)
{
        uint64_t used = 0;
        uint32_t n_blocks = size_class_slab_blocks(class_idx);

        ASSERT(size_class_is_small(class_idx));
        for (uint32_t w = 0; w < bits_words(n_blocks); w++) {
                uint64_t free = load_relaxed(region_slab_word(r, head, w));

                for (uint64_t bits = ~free & bits_first(w, n_blocks); bits != 0; bits &= bits - 1)
                        used |= pages_of(class_idx, w * 64 + bits_ctz(bits));
        }
        return ~used & bits_mask(0, size_class_slab_granules(class_idx) << (GEO_GRANULE_SHIFT - GEO_PAGE_SHIFT));
}

static uint32_t
blocks_within(uint32_t class_idx, uint64_t bytes)
{
        ASSERT(bytes <= slab_bytes(class_idx));
        return bytes == slab_bytes(class_idx) ? size_class_slab_blocks(class_idx)
                                              : (uint32_t)(bytes / size_class_bytes(class_idx));
}

/* Where the first `want` free blocks of a slab end: so many blocks from its start. */
static uint32_t
blocks_to_pass(struct region *r, uint64_t head, uint32_t class_idx, uint32_t want)
{
        uint32_t n_blocks = size_class_slab_blocks(class_idx);

        ASSERT(want >= 1);
        for (uint32_t w = 0; w < bits_words(n_blocks); w++) {
                uint64_t bits = load_relaxed(region_slab_word(r, head, w));
                uint32_t n = bits != 0 ? bits_popcount(bits) : 0; /* 0 in all that have been passed */

                if (n >= want) {
                        for (uint32_t i = 1; i < want; i++)
                                bits &= bits - 1;
                        return w * 64 + bits_ctz(bits) + 1;
                }
                want -= n;
        }
        return n_blocks;
}

/* What is backed without reserving anything: the start of the slab, and the pages behind it that allocated blocks lie
 * in. */
static struct slab_backing
backing_now(struct region *r, uint64_t head, uint32_t class_idx)
{
        uint64_t bytes = slab_backed_bytes(r, head, class_idx);
        uint64_t all = bits_mask(0, (uint32_t)(slab_bytes(class_idx) >> GEO_PAGE_SHIFT));
        uint64_t first = bits_mask(0, (uint32_t)(bytes >> GEO_PAGE_SHIFT));
        uint64_t used = all & ~slab_unused_pages(r, head, class_idx);

        return (struct slab_backing){.n_first = blocks_within(class_idx, bytes),
                                     .pages = used & ~first ? used | first : 0};
}

struct slab_backing
slab_ensure_pages(struct thread *t, uint64_t head, uint32_t class_idx, uint32_t want)
{
        uint64_t bytes = slab_backed_bytes(t->region, head, class_idx), reach;

        ASSERT_INVARIANT(I12, slab_is_own(t, head));
        ASSERT(want >= 1);
        if (bytes == slab_bytes(class_idx))
                return (struct slab_backing){.n_first = size_class_slab_blocks(class_idx)};
        reach = reach_of(t, class_idx, blocks_to_pass(t->region, head, class_idx, want));
        if (reach > bytes && run_reserve(t, head, reach) < 0)
                return backing_now(t->region, head, class_idx);
        return (struct slab_backing){.n_first = blocks_within(class_idx, reach > bytes ? reach : bytes)};
}

uint64_t
slab_backed_blocks(struct region *r, uint64_t head, uint32_t class_idx, uint32_t w, const struct slab_backing *backing)
{
        uint64_t word = load_relaxed(region_slab_word(r, head, w));
        uint64_t found = word & bits_first(w, backing->n_first);
        uint64_t others = backing->pages != 0 ? word & bits_first(w, size_class_slab_blocks(class_idx)) & ~found : 0;

        ASSERT(w < bits_words(size_class_slab_blocks(class_idx)));
        ASSERT(backing->n_first <= size_class_slab_blocks(class_idx));
        for (uint64_t bits = others; bits != 0; bits &= bits - 1)
                if ((pages_of(class_idx, w * 64 + bits_ctz(bits)) & ~backing->pages) == 0)
                        found |= bits & -bits;
        return found;
}

bool
slab_has_backed_room(struct region *r, uint64_t head, uint32_t class_idx)
{
        struct slab_backing backing;
        uint64_t found = 0;

        if (slab_backed_bytes(r, head, class_idx) == slab_bytes(class_idx))
                return true;
        backing = backing_now(r, head, class_idx);
        for (uint32_t w = 0; w < bits_words(size_class_slab_blocks(class_idx)); w++)
                found |= slab_backed_blocks(r, head, class_idx, w, &backing);
        return found != 0;
}
