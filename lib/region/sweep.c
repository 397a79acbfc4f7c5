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

/* A stretch of the file that belongs to elements of a mark. */
struct stretch {
        uint64_t off, end;
};

enum { STRETCHES_MAX = 9 };

/* Elements [from, n) of a table, `per` to each element of the mark, in whole pages. */
static struct stretch
of_table(const struct region *r, enum layout_table table, uint64_t first, uint64_t end)
{
        const struct layout *l = &r->layout;
        bool is_all = end == l->n[table];

        end = l->off[table] + end * l->stride[table];
        return (struct stretch){
                .off = bits_align_up(l->off[table] + first * l->stride[table], OS_PAGE_BYTES),
                .end = is_all ? bits_align_up(end, OS_PAGE_BYTES) : bits_align_down(end, OS_PAGE_BYTES),
        };
}

static uint32_t
of_chunks(const struct region *r, uint64_t limit, struct stretch *s)
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
        const struct layout *l = &r->layout;
        uint32_t n = 0;

        for (; n < sizeof tables / sizeof tables[0]; n++)
                s[n] = of_table(r, tables[n].table, limit * tables[n].per, l->n[tables[n].table]);
        s[n - 1].end = l->chunks_off - LAYOUT_GUARD_BYTES; /* the tags' table is shorter than their span */
        s[n++] = (struct stretch){l->chunks_off + (limit << GEO_CHUNK_SHIFT), l->region_bytes};
        return n;
}

/* What belongs to elements of the mark from `limit` on. */
static uint32_t
beyond(const struct region *r, uint32_t mark, uint64_t limit, struct stretch s[STRETCHES_MAX])
{
        uint64_t per_node = r->layout.magazines_per_node, node = mark - SWEEP_MAGAZINES;

        switch (mark) {
        case SWEEP_CHUNKS:
                return of_chunks(r, limit, s);
        case SWEEP_THREADS:
                s[0] = of_table(r, TABLE_THREADS, limit, r->layout.n[TABLE_THREADS]);
                return 1;
        case SWEEP_CLIENTS:
                s[0] = of_table(r, TABLE_CLIENTS, limit, r->layout.n[TABLE_CLIENTS]);
                return 1;
        case SWEEP_ROOTS:
                s[0] = of_table(r, TABLE_ROOTS, limit, r->layout.n[TABLE_ROOTS]);
                return 1;
        default:
                s[0] = of_table(r, TABLE_MAGAZINE_WORDS, node * per_node + limit, (node + 1) * per_node);
                s[1] = of_table(r, TABLE_MAGAZINES, node * per_node + limit, (node + 1) * per_node);
                return 2;
        }
}

static uint64_t
mark_of(const struct region *r, uint32_t mark)
{
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
        uint64_t value = mark_of(r, mark), none = 0, bytes = 0;
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
