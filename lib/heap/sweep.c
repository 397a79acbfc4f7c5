/*
 * sweep.c - see sweep.h.
 *
 * A punch cannot be called back: between looking at a mark and punching, the sweeper may be stopped, and others raise the mark and
 * use what lies there.  So it owns what it punches.
 *
 * Chunks, which are nearly all of it, are owned by their words, as everywhere: SWEEP_CHUNK.n (chunk.c).  A word's page is
 * reserved first, as who raises the mark would, and stays.  The mark is raised over a chunk that is being swept as over any
 * other; whoever stops there keeps that one chunk from the others.
 *
 * Tables have no owner words, only marks.  Of them a piece is punched at a time, and header.sweep names the sweeper, the mark, and
 * the first element that the piece touches: the mark is not raised beyond that meanwhile.  A raiser that comes there yields
 * a few times, then does without (raise_begin() in region.c): nobody waits.  Between pieces the word is 0 and the mark is
 * looked at anew, so that the limit never lies below twice of what is in use then, and some more.
 *
 * Why no raiser misses the limit: after it is published the sweeper writes the mark once more, as it was, by a CAS (SWEEP.2).
 * A raise that comes later in the order of the mark's values reads what that CAS, or a raise behind it, wrote, and with it the
 * limit (E1: each is a release, each raiser's look at the mark an acquire).  The one raise that may be under way from the very value
 * that the sweeper saw goes to the element at the mark, which lies below the limit.  If the mark has moved, nothing is punched.
 *
 * Pieces are found, and so swept, in the order of the file (SEEK_DATA knows no other).  Each is named only while it is punched, so
 * the order decides nothing for who raises a mark meanwhile.
 *
 * What it gave up: what lies between a mark and the lowest limit stays, as do the words of chunks, and tables that have no mark
 * (arenas, hints, long bitmaps).
 */
#include "heap/sweep.h"

#include <errno.h>

#include "base/bits.h"
#include "heap/chunk.h"
#include "os/shm.h"
#include "region/file.h"

#define PIECE_BYTES (UINT64_C(128) << 10) /* some ten microseconds */

/* A table of a mark, of which there are so many elements to each of the mark's. */
struct part {
        enum layout_table table;
        uint32_t per;
};

/* Where the elements of a mark are in the file. */
struct span {
        uint64_t off;    /* of the first */
        uint64_t stride; /* from one to the next */
        uint64_t end;    /* of the pages that are theirs alone */
};

static uint32_t
parts_of(uint32_t mark, const struct part **ret_parts)
{
        static const struct part of_chunks[] = {
                {TABLE_HUGE_BYTES, 1},
                {TABLE_CHUNK_MAPS, 1},
                {TABLE_GRANULES, GEO_GRANULES_PER_CHUNK},
                {TABLE_SLABS, GEO_GRANULES_PER_CHUNK},
                {TABLE_REST_MAPS, 1},
                {TABLE_SLAB_RESTS, GEO_GRANULES_PER_CHUNK},
                {TABLE_TAGS, GEO_GRANULES_PER_CHUNK},
        };
        static const struct part of_threads = {TABLE_THREADS, 1}, of_clients = {TABLE_CLIENTS, 1},
                                 of_roots = {TABLE_ROOTS, 1};
        static const struct part of_magazines[] = {{TABLE_MAGAZINE_WORDS, 1}, {TABLE_MAGAZINES, 1}};

        switch (mark) {
        case SWEEP_CHUNKS:
                *ret_parts = of_chunks;
                return sizeof of_chunks / sizeof of_chunks[0];
        case SWEEP_THREADS:
                *ret_parts = &of_threads;
                return 1;
        case SWEEP_CLIENTS:
                *ret_parts = &of_clients;
                return 1;
        case SWEEP_ROOTS:
                *ret_parts = &of_roots;
                return 1;
        default:
                *ret_parts = of_magazines;
                return sizeof of_magazines / sizeof of_magazines[0];
        }
}

static struct span
span_of(const struct region *r, uint32_t mark, struct part part)
{
        const struct layout *l = &r->layout;
        uint64_t stride = part.per * l->stride[part.table], first = 0, n = l->n[part.table] / part.per, end;

        if (mark >= SWEEP_MAGAZINES) { /* the table is divided among the nodes */
                n = l->magazines_per_node;
                first = (mark - SWEEP_MAGAZINES) * n;
        }
        end = l->off[part.table] + (first + n) * stride;
        if (part.table == TABLE_TAGS)
                end = l->chunks_off - LAYOUT_GUARD_BYTES; /* the table is shorter than its span */
        else if ((first + n) * part.per == l->n[part.table])
                end = bits_align_up(end, OS_PAGE_BYTES);
        return (struct span){.off = l->off[part.table] + first * stride,
                             .stride = stride,
                             .end = bits_align_down(end, OS_PAGE_BYTES)};
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

        if (mark == SWEEP_CHUNKS)
                return cas_release(&h->chunks_hwm, &expected, value); /* E1.rel */
        mark32 = mark == SWEEP_THREADS   ? &h->threads_hwm
                 : mark == SWEEP_CLIENTS ? &h->clients_hwm
                 : mark == SWEEP_ROOTS   ? &h->roots_hwm
                                         : &h->magazines_hwm[mark - SWEEP_MAGAZINES];
        return cas_release(mark32, &expected32, (uint32_t)value); /* E1.rel */
}

/* A piece that touches the mark's elements from `limit` on.  False: somebody else sweeps, or pages cannot be given back. */
static bool
sweep_piece(struct thread *t, uint32_t mark, uint64_t limit, uint64_t off, uint64_t n, uint64_t *bytes)
{
        struct region *r = t->region;
        uint64_t value = mark_of(r, mark), none = 0;
        int err = 0;

        if (limit < lowest_limit(mark, value))
                return true;
        if (!cas_acquire(&r->header->sweep, &none, sweep_word(t->no, mark, limit))) /* SWEEP.1 */
                return false;
        if (write_again(r, mark, value)) {     /* SWEEP.2 */
                err = region_punch(r, off, n); /* SWEEP.3 */
                *bytes += err == 0 ? n : 0;
        }
        store_release(&r->header->sweep, UINT64_C(0)); /* SWEEP.4, E17.rel: the pages are gone before they come again */
        return err == 0;
}

/* A table, piece by piece. */
static bool
sweep_span(struct thread *t, int fd, uint32_t mark, const struct span *s, uint64_t most, uint64_t *bytes)
{
        for (uint64_t at = s->off, n; *bytes < most; at += n) {
                uint64_t lowest = lowest_limit(mark, mark_of(t->region, mark));
                uint64_t from = bits_align_up(s->off + lowest * s->stride, OS_PAGE_BYTES);

                at = at > from ? at : from;
                if (at >= s->end || (at = file_next_page(fd, at)) >= s->end)
                        return true;
                n = file_pages_bytes(fd, at);
                n = n < PIECE_BYTES ? n : PIECE_BYTES;
                n = n < s->end - at ? n : s->end - at;
                if (!sweep_piece(t, mark, (at - s->off) / s->stride, at, n, bytes))
                        return false;
        }
        return true;
}

static uint64_t
pages_of_chunk(const struct region *r, int fd, uint64_t chunk)
{
        uint64_t off = region_granule_off(r, chunk * GEO_GRANULES_PER_CHUNK), end = off + GEO_CHUNK_BYTES, bytes = 0;

        for (uint64_t at = file_next_page(fd, off), n; at < end; at = file_next_page(fd, at + n)) {
                n = file_pages_bytes(fd, at);
                n = n < end - at ? n : end - at;
                bytes += n;
        }
        return bytes;
}

static uint64_t
sweep_chunks(struct thread *t, int fd, uint64_t most)
{
        struct region *r = t->region;
        uint64_t chunk = region_chunks_hwm(r), bytes = 0;

        while (bytes < most && chunk < r->layout.n_chunks) {
                uint64_t at = file_next_page(fd, region_granule_off(r, chunk * GEO_GRANULES_PER_CHUNK)), n;
                int err;

                if (at >= r->layout.region_bytes)
                        break;
                chunk = (at - r->layout.chunks_off) >> GEO_CHUNK_SHIFT;
                n = pages_of_chunk(r, fd, chunk);
                if (region_reserve_table(r, TABLE_CHUNK_WORDS, chunk, 1) < 0) { /* SWEEP_CHUNK.1 */
                        chunk = bits_align_up(chunk + 1, OS_PAGE_BYTES / sizeof r->chunk_words[0]);
                        continue;
                }
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
        uint64_t bytes = 0;
        bool goes_on = true;

        for (uint32_t mark = 0; mark < SWEEP_MAGAZINES + r->n_nodes; mark++) {
                const struct part *parts;
                uint32_t n = parts_of(mark, &parts);

                for (uint32_t i = 0; i < n && goes_on; i++) {
                        struct span s = span_of(r, mark, parts[i]);

                        goes_on = sweep_span(t, fd, mark, &s, most, &bytes);
                }
        }
        return bytes < most ? bytes + sweep_chunks(t, fd, most - bytes) : bytes;
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
        if (sweep_owner(load_relaxed(&r->header->sweep)) == thread_no) /* of the dead: nobody else changes it */
                store_release(&r->header->sweep, UINT64_C(0));         /* E17.rel: as above */
}
