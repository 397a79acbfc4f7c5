/*
 * sweep.c - see sweep.h.
 *
 * A punch cannot be called back: between looking at a mark and punching, the sweeper may be stopped, and others raise the mark and
 * use what lies there.  So it owns what it punches.  header.sweep names the sweeper, one mark, and a limit that the mark is not
 * raised beyond meanwhile; a raiser that comes there does without (raise_begin() in region.c), so nobody waits.  The limit lies
 * well above the mark: only who needs twice as much as there was meets it.
 *
 * Why no raiser misses the limit: after it is published the sweeper writes the mark once more, as it was, by a CAS (SWEEP.2).
 * A raise that comes later in the order of the mark's values reads what that CAS, or a raise behind it, wrote, and with it the
 * limit (E1: each is a release, each raiser's look at the mark an acquire).  The one raise that may be under way from the very value
 * that the sweeper saw goes to the element at the mark, which lies below the limit.  If the mark has moved, nothing is punched.
 *
 * What it gave up: what lies between a mark and the limit stays, as do tables that have no mark (arenas, hints, long bitmaps).
 */
#include "region/sweep.h"

#include "base/bits.h"
#include "os/shm.h"
#include "region/file.h"
#include "region/marks.h"

/* What belongs to elements of the mark from `limit` on, in whole pages. */
static uint32_t
beyond(const struct region *r, uint32_t mark, uint64_t limit, struct stretch s[STRETCHES_MAX])
{
        uint64_t n_most = marks_limit(r, mark);
        uint32_t n = limit < n_most ? marks_stretches(r, mark, limit, n_most, s) : 0;

        for (uint32_t i = 0; i < n; i++) {
                s[i].off = bits_align_up(s[i].off, OS_PAGE_BYTES);
                s[i].end = bits_align_down(s[i].end, OS_PAGE_BYTES);
        }
        if (mark == SWEEP_CHUNKS && n > 0) /* the tags' table is shorter than their span, before the chunks' own */
                s[n - 2].end = r->layout.chunks_off - LAYOUT_GUARD_BYTES;
        return n;
}

/* SWEEP.2: whether the mark is still `value`, by writing that once more. */
static bool
write_again(struct region *r, uint32_t mark, uint64_t value)
{
        struct region_header *h = r->header;
        uint32_t *mark32, expected32 = (uint32_t)value;
        uint64_t expected = value;

        if (mark == SWEEP_CHUNKS)
                return cas_release(&h->chunks_hwm, &expected, value); /* E1.rel */
        mark32 = mark == SWEEP_THREADS   ? &h->threads_hwm
                 : mark == SWEEP_CLIENTS ? &h->clients_hwm
                 : mark == SWEEP_ROOTS   ? &h->roots_hwm
                                         : &h->magazines_hwm[mark - SWEEP_MAGAZINES];
        return cas_release(mark32, &expected32, (uint32_t)value); /* E1.rel */
}

/* The first page of a stretch, or its end. */
static uint64_t
next_page(const struct stretch *s, int fd, uint64_t off)
{
        uint64_t at = off < s->end ? file_next_page(fd, off) : s->end;

        return at < s->end ? at : s->end;
}

/* SWEEP.3. */
static uint64_t
punch(struct region *r, const struct stretch *s, int fd, uint64_t most)
{
        uint64_t bytes = 0;

        for (uint64_t at = next_page(s, fd, s->off), n; at < s->end && bytes < most; at = next_page(s, fd, at + n)) {
                n = file_pages_bytes(fd, at);
                n = n < s->end - at ? n : s->end - at;
                n = n < most - bytes ? n : bits_align_up(most - bytes, OS_PAGE_BYTES);
                if (region_punch(r, at, n) < 0)
                        break;
                bytes += n;
        }
        return bytes;
}

static uint64_t
sweep_one(struct region *r, uint32_t thread_no, int fd, uint32_t mark, uint64_t most)
{
        struct stretch s[STRETCHES_MAX];
        uint64_t value = marks_value(r, mark), none = 0, bytes = 0;
        uint64_t limit = value + 1 + (mark == SWEEP_CHUNKS ? value / 8 : value + 16);
        uint32_t n = beyond(r, mark, limit, s);
        bool has_pages = false;

        for (uint32_t i = 0; i < n; i++)
                has_pages |= s[i].off < s[i].end && next_page(&s[i], fd, s[i].off) < s[i].end;
        if (!has_pages || !cas_acquire(&r->header->sweep, &none, sweep_word(thread_no, mark, limit))) /* SWEEP.1 */
                return 0;
        if (write_again(r, mark, value)) /* SWEEP.2 */
                for (uint32_t i = 0; i < n && bytes < most; i++)
                        bytes += s[i].off < s[i].end ? punch(r, &s[i], fd, most - bytes) : 0; /* SWEEP.3 */
        store_release(&r->header->sweep, UINT64_C(0)); /* SWEEP.4, E17.rel: the pages are gone before they come again */
        return bytes;
}

uint64_t
sweep_beyond_marks(struct region *r, uint32_t thread_no, int fd, uint64_t most)
{
        uint64_t bytes = 0;

        for (uint32_t mark = 0; mark < SWEEP_MAGAZINES + r->n_nodes && bytes < most; mark++)
                bytes += sweep_one(r, thread_no, fd, mark, most - bytes);
        return bytes;
}

void
sweep_now(struct region *r, uint32_t thread_no)
{
        int fd = file_borrow_kept(r);

        if (fd < 0)
                return;
        (void)sweep_beyond_marks(r, thread_no, fd, SWEEP_PIECE_BYTES);
        os_close(fd);
}

void
sweep_settle(struct region *r, uint32_t thread_no)
{
        if (sweep_owner(load_relaxed(&r->header->sweep)) == thread_no) /* of the dead: nobody else changes it */
                store_release(&r->header->sweep, UINT64_C(0));         /* E17.rel: as above */
}
