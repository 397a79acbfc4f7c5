/*
 * dump.c - see dump.h.
 *
 * A mapping is left out of core files as a whole (os_keep_sparse), since the kernel's dumper makes a page of every hole
 * that it meets, for everybody and for good.  What is to be dumped it is told of range by range: what lies below the
 * high-water marks, the arenas that are ready, and what was reserved at creation.  These only grow, so the ranges are
 * prefixes of tables, a mapping is cut up in a few dozen pieces whatever its size, and nothing ever has to be taken
 * back.
 *
 * Each process tells its own kernel mapping.  It sees the marks that it raises itself at once, and those that others
 * raise when it comes by: when a thread attaches, at the ticks of slow paths, before a fault ends the process.
 *
 * What the kernel refuses (a cut takes memory) is told again when the thread comes by the next time.
 *
 * Several threads may tell the same: what one stores in `dumped` it has told, and telling again changes nothing.
 *
 * What it gave up: free memory below the marks that has been given back is made real by a dump, and so comes back by
 * purges and ticks (pages/sweep.h tells of the like); what others have made since this process last came by is missing;
 * hints are missing.
 */
#include "region/dump.h"

#include "base/bits.h"
#include "base/verify.h"
#include "os/pages.h"
#include "os/shm.h"
#include "region/marks.h"

static bool
tell(const struct region *r, struct stretch s)
{
        uint64_t off = bits_align_down(s.off, OS_PAGE_BYTES), end = bits_align_up(s.end, OS_PAGE_BYTES);

        ASSERT(s.off <= s.end && r->is_dumped);
        return off >= end || os_dump(r->base + off, end - off, true) == 0;
}

static void
follow_mark(struct region *r, uint32_t mark)
{
        uint64_t told = load_relaxed(&r->dumped[mark]), value = marks_value(r, mark); /* by this process only */
        struct stretch s[STRETCHES_MAX];
        bool is_told = true;

        ASSERT(mark < marks_n(r));
        ASSERT_INVARIANT(I17, told <= marks_limit(r, mark));
        if (value <= told)
                return;
        for (uint32_t n = marks_stretches(r, mark, told, value, s); n-- > 0;)
                is_told = tell(r, s[n]) && is_told;
        if (is_told)
                store_relaxed(&r->dumped[mark], value);
}

static void
follow_arenas(struct region *r)
{
        uint64_t told = load_relaxed(&r->dumped_arenas), n = r->layout.n_arenas; /* by this process only */

        ASSERT(told <= r->layout.n_arenas);
        while (n > told && !region_arena(r, (uint32_t)n - 1))
                n--;
        if (n <= told)
                return;
        if (tell(r, (struct stretch){r->layout.off[TABLE_ARENAS] + told * r->layout.stride[TABLE_ARENAS],
                                     r->layout.off[TABLE_ARENAS] + n * r->layout.stride[TABLE_ARENAS]}))
                store_relaxed(&r->dumped_arenas, n);
}

void
dump_begin(struct region *r)
{
        r->is_dumped = true;
        /* What region_reserve_fixed() reserves; refused, dumps lack it. */
        (void)tell(r, (struct stretch){0, r->layout.off[TABLE_POOL_HINTS]});
        dump_follow(r);
}

void
dump_follow(struct region *r)
{
        if (!r->is_dumped)
                return;
        for (uint32_t mark = 0; mark < marks_n(r); mark++)
                follow_mark(r, mark);
        follow_arenas(r);
}
