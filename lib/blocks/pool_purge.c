/*
 * pool_purge.c - see pool_purge.h; the steps are PURGE_MAG.n in doc/recovery.md.
 *
 * Magazines are no multiple of a page, so a page goes only with all magazines that touch it: these are taken out of the
 * pool side by side, as a purge takes granules.  What is put back is bare, so that whoever takes it reserves its pages
 * before it touches them (MAG_BARE).  Nobody waits: a magazine that is being purged is passed by, as one that is in
 * use.
 *
 * No word tells that a magazine of the pool has pages: they are found in the file (SEEK_DATA), as the sweep finds its
 * own.  So it does not matter what a purger that died left, or who made a hole real by looking at it.
 *
 * A page that reaches up to the mark, where the next magazine will begin, stays: who raises the mark relies on it.
 *
 * What it gave up: the page in which the first magazine of a node begins, and the last one below its mark ends.
 */
#include "blocks/pool_purge.h"

#include "base/bits.h"
#include "base/verify.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "os/shm.h"
#include "region/file.h"

/* Bytes of the region. */
static uint64_t
start_of(const struct region *r, uint64_t idx)
{
        ASSERT(idx <= r->layout.n[TABLE_MAGAZINES]);
        return r->layout.off[TABLE_MAGAZINES] + idx * r->layout.stride[TABLE_MAGAZINES];
}

static uint64_t
magazine_at(const struct region *r, uint64_t off)
{
        ASSERT(off >= r->layout.off[TABLE_MAGAZINES]);
        return (off - r->layout.off[TABLE_MAGAZINES]) / r->layout.stride[TABLE_MAGAZINES];
}

static void
put_back(struct region *r, uint32_t thread_no, uint64_t idx)
{
        uint64_t *hints = &r->pool_hints[idx / 64], bit = UINT64_C(1) << idx % 64;

        fetch_or_relaxed(hints, bit);
        magazine_release(r, thread_no, &r->magazine_words[idx],
                         magazine_word(MAGAZINE_POOL, THREAD_NONE, 0, 0) | MAGAZINE_BARE); /* E3.rel */
        fetch_or_relaxed(hints, bit); /* somebody may have come by before the release */
}

/* How many are claimed, from the first one on: PURGE_MAG.2. */
static uint32_t
claim(struct thread *t, uint64_t first, uint32_t n)
{
        uint64_t taken = magazine_word(MAGAZINE_PURGING, t->no, 0, TAG_NONE) | MAGAZINE_BARE;
        uint32_t i = 0;

        ASSERT(region_has_magazine(t->region, first + n - 1));
        for (; i < n; i++) {
                uint64_t *at = &t->region->magazine_words[first + i], word = owner_load(at);

                if (magazine_state(word) != MAGAZINE_POOL || !magazine_acquire(t, at, &word, taken))
                        break;
        }
        return i;
}

int
pool_purge_stretch(struct thread *t, uint64_t first, uint32_t n, uint64_t *bytes)
{
        struct region *r = t->region;
        uint64_t start = bits_align_up(start_of(r, first), OS_PAGE_BYTES), end;
        int err = 0;

        ASSERT(n >= 1 && n <= CANDIDATE_MAGAZINES_MAX);
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        candidate_set(t, candidate_make(CANDIDATE_MAGAZINES, first, n)); /* PURGE_MAG.1 */
        n = claim(t, first, n);                                          /* PURGE_MAG.2 */
        kill_order();
        end = bits_align_down(start_of(r, first + n), OS_PAGE_BYTES);
        if (start < end)
                err = region_punch(r, start, end - start); /* PURGE_MAG.3 */
        *bytes += start < end && err == 0 ? end - start : 0;
        kill_order();
        for (uint32_t i = n; i-- > 0;)
                put_back(r, t->no, first + i); /* PURGE_MAG.4 */
        candidate_clear(t);                    /* PURGE_MAG.5 */
        return err;
}

/* Magazines of the pool side by side, from `idx` on. */
static uint32_t
count_pooled(const struct region *r, uint64_t idx, uint64_t end)
{
        uint32_t n = 0;

        while (idx + n < end && n < CANDIDATE_MAGAZINES_MAX &&
               magazine_state(owner_load(&r->magazine_words[idx + n])) == MAGAZINE_POOL)
                n++;
        return n;
}

/* Those of a node's table, below its mark.  The file is asked only about pages that nobody uses.  -errno: pages cannot
 * be given back, nor will the next. */
static int
purge_table(struct thread *t, uint64_t first, uint64_t end, int fd, uint64_t most, uint64_t *bytes)
{
        const struct region *r = t->region;
        uint64_t at = bits_align_up(start_of(r, first), OS_PAGE_BYTES);
        uint64_t table_end = bits_align_down(start_of(r, end), OS_PAGE_BYTES);
        int err = 0;

        ASSERT(first <= end && end <= r->layout.n[TABLE_MAGAZINES]);

        while (at < table_end && *bytes < most && err == 0) {
                uint64_t idx = magazine_at(r, at), pages_end;
                uint32_t n = count_pooled(r, idx, end);

                pages_end = bits_align_down(start_of(r, idx + n), OS_PAGE_BYTES);
                if (pages_end <= at)
                        pages_end = at + OS_PAGE_BYTES;
                else if (file_next_page(fd, at) < pages_end)
                        err = pool_purge_stretch(t, idx, n, bytes);
                at = pages_end;
        }
        return err;
}

uint64_t
pool_purge(struct thread *t, int fd, uint64_t most)
{
        const struct region *r = t->region;
        uint64_t bytes = 0;
        int err = 0;

        ASSERT(fd >= 0);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        for (uint32_t node = 0; node < r->n_nodes && bytes < most && err == 0; node++) {
                uint64_t first = (uint64_t)node * r->layout.magazines_per_node;

                err = purge_table(t, first, first + region_magazines_hwm(r, node), fd, most, &bytes);
        }
        return bytes;
}

void
pool_purge_settle(struct region *r, uint32_t thread_no, uint64_t first, uint64_t n)
{
        ASSERT(thread_no != THREAD_NONE);
        for (uint64_t idx = first; idx < first + n && n <= CANDIDATE_MAGAZINES_MAX; idx++) {
                uint64_t word = region_has_magazine(r, idx) ? owner_load(&r->magazine_words[idx]) : 0;

                if (magazine_state(word) == MAGAZINE_PURGING && magazine_owner(word) == thread_no)
                        put_back(r, thread_no, idx);
        }
}
