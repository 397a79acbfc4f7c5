/*
 * sweep.c - see sweep.h.
 *
 * A punch cannot be called back: between looking at a mark and punching, the sweeper may be stopped, and others raise
 * the mark and use what lies there.  So it owns what it punches.
 *
 * Chunks, which are nearly all of it, are owned by their words, as everywhere: SWEEP_CHUNK.n (chunk.c).  A word's page
 * is reserved first, as who raises the mark would, and stays.  The mark is raised over a chunk that is being swept as
 * over any other; whoever stops there keeps that one chunk from the others.
 *
 * Tables have no owner words, only marks.  Of them a piece is punched at a time, and header.sweep names the sweeper,
 * the mark, and the first element that the piece touches: the mark is not raised beyond that meanwhile.  A raiser that
 * comes there yields a few times, then does without (raise_begin() in region.c): nobody waits.  Between pieces the word
 * is 0 and the mark is looked at anew, so that the limit never lies below twice of what is in use then, and some more.
 *
 * Why no raiser misses the limit: after it is published the sweeper writes the mark once more, as it was, by a CAS
 * (SWEEP.2).  A raise that comes later in the order of the mark's values reads what that CAS, or a raise behind it,
 * wrote, and with it the limit (E1: each is a release, each raiser's look at the mark an acquire).  The one raise that
 * may be under way from the very value that the sweeper saw goes to the element at the mark, which lies below the
 * limit.  If the mark has moved, nothing is punched.
 *
 * Pieces are found, and so swept, in the order of the file (SEEK_DATA knows no other).  Each is named only while it is
 * punched, so the order decides nothing for who raises a mark meanwhile.
 *
 * What it gave up: what lies between a mark and the lowest limit stays, as do the words of chunks, and tables that have
 * no mark (arenas, hints, long bitmaps).
 */
#include "pages/sweep.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "clients/owned.h"
#include "os/shm.h"
#include "pages/chunk.h"
#include "region/file.h"
#include "region/marks.h"

#define PIECE_BYTES (UINT64_C(128) << 10) /* some ten microseconds */

/* A table of a mark's elements in the file. */
struct span {
        uint64_t off;    /* of the first element */
        uint64_t stride; /* from one to the next */
        uint64_t end;    /* of the pages that are theirs alone */
};

/* What of each mark is swept by its elements: all but the chunks, which come last in their list, and their words, which
 * come first. */
static uint32_t
spans_of(const struct region *r, uint32_t mark, struct span spans[STRETCHES_MAX])
{
        struct stretch first[STRETCHES_MAX], all[STRETCHES_MAX];
        uint32_t n = marks_stretches(r, mark, 0, 1, first), n_spans = 0, skipped = mark == SWEEP_CHUNKS;

        marks_stretches(r, mark, 0, marks_limit(r, mark), all);
        ASSERT(n >= 1 && n <= STRETCHES_MAX && mark < marks_n(r));
        if (mark == SWEEP_CHUNKS)
                all[n - 2].end =
                        r->layout.chunks_off - LAYOUT_GUARD_BYTES; /* the tags' table is shorter than their span */
        for (uint32_t i = skipped; i < n - skipped; i++)
                spans[n_spans++] = (struct span){.off = all[i].off,
                                                 .stride = first[i].end - first[i].off,
                                                 .end = bits_align_down(all[i].end, OS_PAGE_BYTES)};
        return n_spans;
}

/* No piece below this element is swept while the mark has that value. */
static uint64_t
lowest_limit(uint32_t mark, uint64_t value)
{
        return 2 * value + (mark == SWEEP_CHUNKS ? 64 : 17);
}

/* SWEEP.2: whether the mark is still `value`, by writing that once more. */
static bool
write_again(struct region *r, uint32_t mark, uint64_t value)
{
        struct region_header *h = r->header;
        uint32_t *mark32, expected32 = (uint32_t)value;
        uint64_t expected = value;

        ASSERT(mark < marks_n(r));
        if (mark == SWEEP_CHUNKS)
                return cas_release(&h->chunks_hwm, &expected, value); /* E1.rel */
        mark32 = mark == SWEEP_THREADS   ? &h->threads_hwm
                 : mark == SWEEP_CLIENTS ? &h->clients_hwm
                 : mark == SWEEP_ROOTS   ? &h->roots_hwm
                                         : &h->magazines_hwm[mark - SWEEP_MAGAZINES];
        return cas_release(mark32, &expected32, (uint32_t)value); /* E1.rel */
}

/* I18: nobody but who has set the word changes it. */
static ASSERTED_ONLY bool
sweep_names(const struct region *r, uint32_t no, uint32_t mark, uint64_t limit)
{
        return load_relaxed(&r->header->sweep) == sweep_word(no, mark, limit);
}

/* A piece that touches the mark's elements from `limit` on.  False: somebody else sweeps, or pages cannot be given
 * back. */
static bool
sweep_piece(struct thread *t, uint32_t mark, uint64_t limit, uint64_t off, uint64_t n, uint64_t *bytes)
{
        struct region *r = t->region;
        uint64_t value = marks_value(r, mark), none = 0;
        int err = 0;

        ASSERT(n > 0 && off + n <= r->layout.region_bytes);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        if (limit < lowest_limit(mark, value))
                return true;
        if (!cas_acquire(&r->header->sweep, &none, sweep_word(t->no, mark, limit))) /* SWEEP.1 */
                return false;
        ASSERT_INVARIANT(I18, sweep_names(r, t->no, mark, limit));
        if (write_again(r, mark, value)) {     /* SWEEP.2 */
                err = region_punch(r, off, n); /* SWEEP.3 */
                ASSERT_INVARIANT(I18, marks_value(r, mark) <= limit);
                *bytes += err == 0 ? n : 0;
        }
        ASSERT_INVARIANT(I18, sweep_names(r, t->no, mark, limit));
        store_release(&r->header->sweep, UINT64_C(0)); /* SWEEP.4, E17.rel: the pages are gone before they come again */
        return err == 0;
}

/* Pages side by side, as they were last seen: to look for their end again for each piece would take time without end.
 * */
struct extent {
        int fd;
        uint64_t off, end;
};

/* The first page at `off` or behind it. */
static uint64_t
next_page(struct extent *x, uint64_t off)
{
        ASSERT(x->fd >= 0);
        if (off >= x->off && off < x->end)
                return off;
        x->off = file_next_page(x->fd, off);
        x->end = x->off != UINT64_MAX ? x->off + file_pages_bytes(x->fd, x->off) : UINT64_MAX;
        return x->off;
}

/* A table, piece by piece. */
static bool
sweep_span(struct thread *t, struct extent *x, uint32_t mark, const struct span *s, uint64_t most, uint64_t *bytes)
{
        ASSERT(s->stride > 0 && s->off <= s->end);
        for (uint64_t at = s->off, n; *bytes < most; at += n) {
                uint64_t lowest = lowest_limit(mark, marks_value(t->region, mark));
                uint64_t from = bits_align_up(s->off + lowest * s->stride, OS_PAGE_BYTES);

                at = at > from ? at : from;
                if (at >= s->end || (at = next_page(x, at)) >= s->end)
                        return true;
                n = x->end - at < s->end - at ? x->end - at : s->end - at;
                n = n < PIECE_BYTES ? n : PIECE_BYTES;
                if (!sweep_piece(t, mark, (at - s->off) / s->stride, at, n, bytes))
                        return false;
        }
        return true;
}

static uint64_t
pages_of_chunk(struct extent *x, uint64_t off)
{
        uint64_t end = off + GEO_CHUNK_BYTES, bytes = 0;

        for (uint64_t at = next_page(x, off), n; at < end; at = next_page(x, at + n)) {
                n = x->end - at < end - at ? x->end - at : end - at;
                bytes += n;
        }
        return bytes;
}

static uint64_t
sweep_chunks(struct thread *t, struct extent *x, uint64_t most)
{
        struct region *r = t->region;
        uint64_t chunk = region_chunks_hwm(r), bytes = 0;

        while (bytes < most && chunk < r->layout.n_chunks) {
                uint64_t at = next_page(x, r->layout.chunks_off + (chunk << GEO_CHUNK_SHIFT)), n;
                int err;

                if (at >= r->layout.region_bytes)
                        break;
                chunk = (at - r->layout.chunks_off) >> GEO_CHUNK_SHIFT;
                if (region_reserve_table(r, TABLE_CHUNK_WORDS, chunk, 1) < 0) { /* SWEEP_CHUNK.1 */
                        chunk = bits_align_up(chunk + 1, OS_PAGE_BYTES / sizeof r->chunk_words[0]);
                        continue;
                }
                n = pages_of_chunk(x, r->layout.chunks_off + (chunk << GEO_CHUNK_SHIFT));
                err = chunk_sweep(t, chunk);
                if (err < 0 && err != -EBUSY)
                        break;
                bytes += err == 0 ? n : 0;
                chunk++;
        }
        return bytes;
}

/* Tables first: where the file system is full, their pages do for the words of chunks. */
uint64_t
sweep_beyond_marks(struct thread *t, int fd, uint64_t most)
{
        const struct region *r = t->region;
        struct extent x = {.fd = fd};
        uint64_t bytes = 0;
        bool goes_on = true;

        ASSERT(fd >= 0);
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        for (uint32_t mark = 0; mark < marks_n(r); mark++) {
                struct span spans[STRETCHES_MAX];
                uint32_t n = spans_of(r, mark, spans);

                for (uint32_t i = 0; i < n && goes_on; i++)
                        goes_on = sweep_span(t, &x, mark, &spans[i], most, &bytes);
        }
        return bytes < most ? bytes + sweep_chunks(t, &x, most - bytes) : bytes;
}

void
sweep_now(struct thread *t)
{
        int fd = file_borrow_kept(t->region);

        if (fd < 0)
                return;
        (void)sweep_beyond_marks(t, fd, SWEEP_SOME_BYTES);
        os_close(fd);
}

void
sweep_settle(struct region *r, uint32_t thread_no)
{
        ASSERT(thread_no != THREAD_NONE);
        if (sweep_owner(load_relaxed(&r->header->sweep)) == thread_no) /* of the dead: nobody else changes it */
                store_release(&r->header->sweep, UINT64_C(0));         /* E17.rel: as above */
}
