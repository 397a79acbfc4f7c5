/*
 * huge.c - see huge.h.
 *
 * Chunk words are claimed as run.c claims granules: in address order, one CAS each, the head's final word stored last.
 * The granule words under a huge block stay NONE; its owner keeps the notes of their pages there while the chunk is
 * claimed.  Only as many pages as the block needs are backed.
 */
#include "blocks/huge.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "os/clock.h"
#include "pages/chunk.h"
#include "pages/decay_stamp.h"
#include "pages/placement.h"
#include "pages/run.h"

static uint64_t
chunks_for(uint64_t bytes)
{
        return (bytes >> GEO_CHUNK_SHIFT) + (bytes % GEO_CHUNK_BYTES != 0);
}

static uint64_t
page_up(uint64_t bytes)
{
        return bits_align_up(bytes, GEO_PAGE_BYTES);
}

bool
huge_block_of(struct region *r, uint64_t block_off, uint64_t *ret_chunk, uint64_t *ret_word)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT;
        uint64_t word;

        if (chunk >= region_chunks_hwm(r) || block_off % GEO_CHUNK_BYTES != 0)
                return false;
        word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
        if (chunk_state(word) != CHUNK_HUGE || chunk_count(word) == 0 ||
            chunk + chunk_count(word) > region_chunks_hwm(r))
                return false;
        *ret_chunk = chunk;
        *ret_word = word;
        return true;
}

uint64_t
huge_usable(struct region *r, uint64_t chunk, uint64_t word)
{
        uint64_t bytes = load_relaxed(&r->huge_bytes[chunk]); /* written before the head was released: E3 */
        uint64_t most = (uint64_t)chunk_count(word) << GEO_CHUNK_SHIFT;

        ASSERT(chunk < r->layout.n_chunks);
        return bytes <= most ? bytes : most;
}

/* ------------------------------------------------------------------ claim */

static uint64_t
free_word_of(uint64_t word)
{
        return chunk_with_node1(chunk_word(CHUNK_FREE, THREAD_NONE, 0), chunk_node1(word));
}

/* Lets go of a chunk that thread `no` owns (NEW, or TAIL of its head), without touching the candidate. */
static void
release_chunk(struct region *r, uint32_t no, uint64_t chunk)
{
        uint64_t granule = chunk * GEO_GRANULES_PER_CHUNK;
        uint64_t word = owner_load(run_word(r, granule));

        ASSERT(no != THREAD_NONE && chunk < r->layout.n_chunks);
        ASSERT_INVARIANT(I5, chunk_is_owned(r, no, &r->chunk_words[chunk]));
        /* The first granule's stamp says since when the chunk lies idle. */
        granule_store(r, no, run_word(r, granule), granule_with_stamp(word, decay_stamp(r, clock_ms())));
        chunk_hint_free(r, chunk, true);
        chunk_release(r, no, &r->chunk_words[chunk], free_word_of(owner_load(&r->chunk_words[chunk]))); /* E3.rel */
        chunk_hint_lost(r, chunk); /* somebody may have come by before the release */
}

/* HUGE.2: chunks [from, to) in address order, or none. */
static bool
claim_chunks(struct thread *t, uint64_t from, uint64_t to)
{
        struct region *r = t->region;

        ASSERT(from <= to && to <= region_chunks_hwm(r));
        for (uint64_t chunk = from; chunk < to; chunk++) {
                uint64_t word = owner_load(&r->chunk_words[chunk]);

                if (chunk_state(word) == CHUNK_FREE && chunk_owner(word) == THREAD_NONE &&
                    chunk_acquire(t, &r->chunk_words[chunk], &word,
                                  chunk_with_node1(chunk_word(CHUNK_NEW, t->no, 0), chunk_node1(word)))) {
                        chunk_hint_free(r, chunk, false);
                        continue;
                }
                while (chunk-- > from)
                        release_chunk(r, t->no, chunk);
                return false;
        }
        return true;
}

/* Chunks [from, to) that the mark does not cover yet. */
static int
raise_to(struct thread *t, uint64_t to)
{
        struct region *r = t->region;

        ASSERT(to <= r->layout.n_chunks);
        for (uint64_t hwm = region_chunks_hwm(r); hwm < to; hwm = region_chunks_hwm(r)) {
                int err = region_raise_chunks(r, hwm);

                if (err < 0) {
                        t->call.lacks_pages = true;
                        return err;
                }
                chunk_hint_free(r, hwm, true);
        }
        return 0;
}

/* Free, and of this node or none, or of whatever node. */
static bool
may_take(struct region *r, uint64_t chunk, uint32_t node)
{
        uint64_t word = owner_load(&r->chunk_words[chunk]);

        ASSERT(chunk < r->layout.n_chunks);
        return chunk_state(word) == CHUNK_FREE &&
               (node == NODE_NONE || chunk_node1(word) == 0 || chunk_node1(word) == node + 1);
}

/* What a gap has to be like. */
struct gap {
        uint64_t n; /* chunks */
        uint64_t align;
        uint32_t node;  /* NODE_NONE: any */
        bool is_hinted; /* starts at a chunk that is hinted to be free, or beyond the mark */
};

/* The lowest gap from chunk `from` on; UINT64_MAX if there is none. */
static uint64_t
find_gap(struct region *r, uint64_t from, const struct gap *gap)
{
        uint64_t hwm = region_chunks_hwm(r), capacity = region_capacity_chunks(r), start = from;
        uint64_t n = gap->n, align = gap->align;

        ASSERT(n > 0 && bits_is_pow2(align));
        for (;;) {
                int64_t hinted = gap->is_hinted && start < hwm ? chunk_find_free(r, start, hwm) : (int64_t)start;
                uint64_t end, addr;

                start = hinted == POSITION_NONE ? hwm : (uint64_t)hinted;
                addr = r->layout.chunks_off + (start << GEO_CHUNK_SHIFT);
                if (align > GEO_CHUNK_BYTES)
                        start += (bits_align_up(addr, align) - addr) >> GEO_CHUNK_SHIFT;
                if (start + n > capacity || start + n < n)
                        return UINT64_MAX;
                for (end = start; end < start + n && end < hwm; end++)
                        if (!may_take(r, end, gap->node))
                                break;
                if (end >= start + n || end >= hwm)
                        return start;
                start = end + 1;
        }
}

static int
claim_gap_of(struct thread *t, const struct gap *gap, uint64_t *ret_chunk)
{
        struct region *r = t->region;
        uint64_t from = 0, n = gap->n;

        for (;;) { /* each turn starts higher: bounded by the capacity */
                uint64_t chunk = find_gap(r, from, gap);
                int err;

                if (chunk == UINT64_MAX)
                        return -ENOMEM;
                if (t->call.no_grow && chunk + n > region_chunks_hwm(r))
                        return -ENOMEM;
                err = raise_to(t, chunk + n);
                if (err < 0)
                        return err;
                ASSERT(chunk + n <= region_chunks_hwm(r));
                candidate_set(t, candidate_make(CANDIDATE_HUGE, chunk, n)); /* HUGE.1 */
                if (claim_chunks(t, chunk, chunk + n)) {                    /* HUGE.2 */
                        *ret_chunk = chunk;
                        return 0;
                }
                candidate_clear(t);
                from = chunk + 1;
        }
}

/* Chunks that other nodes used would have to give their pages back.  A free chunk whose hint was lost is found last. */
static int
claim_gap(struct thread *t, uint64_t n, uint64_t align, uint32_t node, uint64_t *ret_chunk)
{
        struct gap gap = {.n = n, .align = align};
        int err = -ENOMEM;

        ASSERT(n > 0 && bits_is_pow2(align) && node < t->region->n_nodes);
        for (int hinted = 1; hinted >= 0 && err < 0; hinted--) {
                gap.is_hinted = hinted != 0;
                gap.node = node;
                if (t->region->n_nodes > 1)
                        err = claim_gap_of(t, &gap, ret_chunk);
                gap.node = NODE_NONE;
                if (err < 0)
                        err = claim_gap_of(t, &gap, ret_chunk);
        }
        return err;
}

/* HUGE.3: backs the first `bytes` from `chunk` on, whose words this thread owns. */
static int
reserve(struct thread *t, uint64_t chunk, uint64_t bytes)
{
        uint64_t head = chunk * GEO_GRANULES_PER_CHUNK;

        ASSERT_INVARIANT(I5, chunk_is_owned(t->region, t->no, &t->region->chunk_words[chunk]));
        ASSERT(bytes > 0);
        for (uint64_t done = 0; done < bytes; done += GEO_CHUNK_BYTES) {
                uint64_t part = bytes - done < GEO_CHUNK_BYTES ? bytes - done : GEO_CHUNK_BYTES;
                int err = run_reserve(t, head + (done >> GEO_GRANULE_SHIFT), part);

                if (err < 0)
                        return err;
        }
        return 0;
}

static void
release_all(struct thread *t, uint64_t chunk, uint64_t n)
{
        struct region *r = t->region;

        ASSERT(n > 0);
        ASSERT_INVARIANT(I5, chunk_owner(owner_load(&r->chunk_words[chunk])) == t->no);
        for (uint64_t i = 1; i < n; i++)
                release_chunk(r, t->no, chunk + i);
        release_chunk(r, t->no, chunk);
        candidate_clear(t);
        thread_note_release(t);
}

static void
tails_store(struct thread *t, uint64_t chunk, uint64_t from, uint64_t to)
{
        ASSERT(chunk + to <= t->region->layout.n_chunks || from >= to);
        for (uint64_t i = from; i < to; i++) {
                uint64_t *word = &t->region->chunk_words[chunk + i];
                uint64_t tail = chunk_with_node1(chunk_word(CHUNK_TAIL, THREAD_NONE, 0), chunk_node1(owner_load(word)));

                chunk_store(t->region, t->no, word, chunk_with_count(tail, (uint32_t)i));
        }
}

int
huge_alloc(struct thread *t, uint64_t bytes, uint64_t align, uint32_t node, uint64_t dest_off, uint64_t *ret_block_off)
{
        struct region *r = t->region;
        uint64_t n = chunks_for(bytes), chunk, word;
        int err;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        ASSERT(bits_is_pow2(align) && node < r->n_nodes);
        if (bytes == 0 || n > r->layout.n_chunks)
                return -ENOMEM;
        if (!t->call.no_grow && !placement_has_room(r, node, page_up(bytes))) {
                t->call.lacks_node = true;
                return -ENOMEM;
        }
        err = claim_gap(t, n, align, node, &chunk);
        if (err < 0)
                return err;
        err = placement_bind_chunks(t, chunk, n, node);
        if (err == 0)
                err = reserve(t, chunk, page_up(bytes)); /* HUGE.3 */
        if (err < 0) {
                release_all(t, chunk, n);
                return err;
        }
        store_relaxed(&r->huge_bytes[chunk], page_up(bytes)); /* HUGE.4 */
        tails_store(t, chunk, 1, n);                          /* HUGE.5 */
        word = chunk_with_node1(chunk_word(CHUNK_HUGE, THREAD_NONE, 0),
                                chunk_node1(owner_load(&r->chunk_words[chunk])));
        ASSERT_INVARIANT(I14, huge_is_valid(r, chunk, chunk_with_count(word, (uint32_t)n)));
        if (dest_off != 0) {
                dest_fill(t, dest_off, chunk << GEO_CHUNK_SHIFT, page_up(bytes));
                intent_begin(t, INTENT(HUGE_TO, huge_to, .head = chunk, .was = dest_load(r, dest_off),
                                       .block = chunk << GEO_CHUNK_SHIFT, .dest = dest_off)); /* HUGE_TO.1 */
                dest_store(r, dest_off, r->layout.chunks_off + (chunk << GEO_CHUNK_SHIFT));   /* HUGE_TO.2 */
        }
        kill_order();
        chunk_release(r, t->no, &r->chunk_words[chunk],
                      chunk_with_count(word, (uint32_t)n)); /* HUGE.6: commit.  E3.rel */
        if (dest_off != 0)
                intent_end(t); /* HUGE_TO.3 */
        candidate_clear(t);    /* HUGE.7 */
        owner_add(&t->slot->n_huge_malloc, UINT64_C(1));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        *ret_block_off = chunk << GEO_CHUNK_SHIFT;
        return 0;
}

/* ------------------------------------------------------------------ free */

int
huge_free(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint64_t chunk, word;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        for (int tries = 0; tries < 1024; tries++) { /* a failure means that a resizer went on: bounded by its steps */
                uint64_t freeing;

                if (!huge_block_of(r, block_off, &chunk, &word) || (word & CHUNK_DOOMED))
                        return fault_note(t, tries == 0 ? FAULT_INVALID_FREE : FAULT_DOUBLE_FREE, block_off);
                if (chunk_owner(word) != THREAD_NONE) {
                        if (dest_off != 0)
                                return -EBUSY; /* no step both dooms it and zeroes *dest */
                        if (owner_release_marked(&r->chunk_words[chunk], &word, word | CHUNK_DOOMED)) /* not ours */
                                return 0; /* whoever drops the owner frees it */
                        continue;
                }
                candidate_set(t, candidate_make(CANDIDATE_HUGE, chunk, chunk_count(word)));
                if (dest_off != 0)
                        intent_begin(t, INTENT(HUGE_FROM, huge_from, .head = chunk, .block = block_off,
                                               .dest = dest_off)); /* HUGE_FROM.1 */
                freeing = chunk_with_owner(chunk_with_state(word, CHUNK_FREEING), t->no);
                if (chunk_acquire(t, &r->chunk_words[chunk], &word, freeing)) { /* HUGE_FREE.1: commit */
                        ASSERT_INVARIANT(I14, huge_is_valid(r, chunk, word));
                        dest_store(r, dest_off, UINT64_C(0)); /* HUGE_FROM.2 */
                        if (dest_off != 0)
                                intent_end(t); /* HUGE_FROM.3 */
                        owner_add(&t->slot->n_huge_free, UINT64_C(1));
                        release_all(t, chunk, chunk_count(word)); /* HUGE_FREE.2 */
                        return 0;
                }
                if (dest_off != 0)
                        intent_end(t);
                candidate_clear(t);
        }
        return fault_note(t, FAULT_METADATA, block_off);
}

int
huge_drain(struct thread *t, uint64_t magazine_idx)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[magazine_idx];
        uint32_t class_idx = tag_class(magazine_tag(owner_load(&r->magazine_words[magazine_idx])));
        uint64_t n = load_relaxed(&m->n), block_off, chunk, word;

        ASSERT_INVARIANT(I11, magazine_is_own(t, magazine_idx));
        if (n == 0 || n > MAGAZINE_CAP_MAX)
                return 0;
        block_off = region_entry_off(r, load_relaxed(&m->slot[n - 1]));
        if (!huge_block_of(r, block_off, &chunk, &word) || size_class_of_chunks(chunk_count(word)) != class_idx) {
                bool is_inside = block_off % GEO_CHUNK_BYTES != 0; /* of a damaged entry: anything */

                store_relaxed(&m->n, n - 1);
                magazine_bad_entry(t, (uint32_t)magazine_idx, is_inside ? FAULT_INVALID_FREE : FAULT_DOUBLE_FREE,
                                   block_off);
                return -EINVAL;
        }
        if (chunk_owner(word) != THREAD_NONE)
                return -EBUSY; /* somebody resizes what has been freed */
        candidate_set(t, candidate_make(CANDIDATE_HUGE, chunk, chunk_count(word))); /* DRAIN_HUGE.1 */
        intent_begin(t, INTENT(DRAIN_HUGE, drain_huge, .head = chunk, .magazine = magazine_idx,
                               .n = n - 1)); /* DRAIN_HUGE.2 */
        if (!chunk_acquire(t, &r->chunk_words[chunk], &word,
                           chunk_with_owner(chunk_with_state(word, CHUNK_FREEING), t->no))) { /* DRAIN_HUGE.3: commit */
                intent_end(t);
                candidate_clear(t);
                store_relaxed(&m->n, n - 1);
                magazine_bad_entry(t, (uint32_t)magazine_idx, FAULT_DOUBLE_FREE, block_off);
                return -EINVAL;
        }
        kill_order();
        store_relaxed(&m->n, n - 1); /* DRAIN_HUGE.4 */
        intent_end(t);               /* DRAIN_HUGE.5 */
        ASSERT_INVARIANT(I14, huge_is_valid(r, chunk, word));
        owner_add(&t->slot->n_huge_drained, UINT64_C(1));
        release_all(t, chunk, chunk_count(word)); /* HUGE_FREE.2 */
        return 0;
}

uint32_t
huge_tag(const struct region *r, uint64_t block_off)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT, word;

        if (chunk >= region_chunks_hwm(r) || block_off % GEO_CHUNK_BYTES != 0)
                return TAG_NONE;
        word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
        return chunk + chunk_count(word) <= region_chunks_hwm(r) ? huge_tag_of(r, word) : TAG_NONE;
}

/* ------------------------------------------------------------------ resize */

static void
drop_owner(struct thread *t, uint64_t chunk, uint64_t word)
{
        uint64_t *at = &t->region->chunk_words[chunk];
        uint64_t seen = owner_load(at);

        ASSERT_INVARIANT(I5, chunk_owner(seen) == t->no && chunk_owner(word) == t->no);
        ASSERT_INVARIANT(I14, huge_is_valid(t->region, chunk, word));
        while (!(seen & CHUNK_DOOMED))
                if (chunk_release_marked(t->region, t->no, at, &seen, chunk_with_owner(word, THREAD_NONE))) {
                        candidate_clear(t);
                        return;
                }
        chunk_store(t->region, t->no, at, chunk_with_owner(chunk_with_state(word, CHUNK_FREEING), t->no));
        release_all(t, chunk, chunk_count(word));
}

int
huge_resize(struct thread *t, uint64_t block_off, uint64_t bytes)
{
        struct region *r = t->region;
        uint64_t n = chunks_for(bytes), chunk, word, old;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        if (!huge_block_of(r, block_off, &chunk, &word))
                return fault_note(t, FAULT_INVALID_FREE, block_off);
        old = chunk_count(word);
        if (n == 0 || chunk_owner(word) != THREAD_NONE || chunk + n > region_capacity_chunks(r) ||
            (t->call.no_grow && chunk + n > region_chunks_hwm(r)) || (n > old && raise_to(t, chunk + n) < 0))
                return -ENOMEM;
        candidate_set(t, candidate_make(CANDIDATE_HUGE, chunk, n > old ? n : old));            /* HUGE_RESIZE.1 */
        if (!chunk_acquire(t, &r->chunk_words[chunk], &word, chunk_with_owner(word, t->no))) { /* HUGE_RESIZE.2 */
                candidate_clear(t);
                return -ENOMEM;
        }
        word = chunk_with_owner(word, t->no);
        ASSERT_INVARIANT(I14, huge_is_valid(r, chunk, word));
        if (n > old && !claim_chunks(t, chunk + old, chunk + n)) { /* HUGE_RESIZE.3 */
                drop_owner(t, chunk, word);
                return -ENOMEM;
        }
        if ((n > old && placement_bind_chunks(t, chunk + old, n - old, chunk_node1(word) - 1) < 0) ||
            reserve(t, chunk, page_up(bytes)) < 0) { /* HUGE_RESIZE.4 */
                for (uint64_t i = old; i < n; i++)
                        release_chunk(r, t->no, chunk + i);
                drop_owner(t, chunk, word);
                return -ENOMEM;
        }
        tails_store(t, chunk, old, n); /* HUGE_RESIZE.5 */
        word = chunk_with_count(word, (uint32_t)n);
        if (n < old) {
                uint64_t seen = owner_load(&r->chunk_words[chunk]);

                while (!chunk_release_marked(r, t->no, &r->chunk_words[chunk], &seen, word | (seen & CHUNK_DOOMED)))
                        continue; /* HUGE_RESIZE.6: commit of a shrink; fails once at most, when DOOMED comes */
                for (uint64_t i = n; i < old; i++)
                        release_chunk(r, t->no, chunk + i);
        }
        store_relaxed(&r->huge_bytes[chunk], page_up(bytes)); /* HUGE_RESIZE.7 */
        drop_owner(t, chunk, word);                           /* HUGE_RESIZE.8: commit of a growth */
        return 0;
}

/* ------------------------------------------------------------------ settle */

void
huge_settle(struct region *r, uint32_t thread_no, uint64_t chunk, uint64_t n)
{
        uint64_t head = owner_load(&r->chunk_words[chunk]);
        bool owns_head = chunk_owner(head) == thread_no;
        uint64_t keep = owns_head && chunk_state(head) == CHUNK_HUGE ? chunk_count(head) : 1;

        ASSERT(thread_no != THREAD_NONE);
        for (uint64_t i = keep; i < n && chunk + i < r->layout.n_chunks; i++) {
                uint64_t word = owner_load(&r->chunk_words[chunk + i]);

                if (chunk_owner(word) == thread_no ||
                    (owns_head && chunk_state(word) == CHUNK_TAIL && chunk_count(word) == i))
                        release_chunk(r, thread_no, chunk + i);
        }
        if (!owns_head)
                return;
        if (chunk_state(head) == CHUNK_HUGE) /* died while shrinking it: what it holds now */
                store_relaxed(&r->huge_bytes[chunk], huge_usable(r, chunk, head));
        while (chunk_state(head) == CHUNK_HUGE && !(head & CHUNK_DOOMED))
                if (chunk_release_marked(r, thread_no, &r->chunk_words[chunk], &head,
                                         chunk_with_owner(head, THREAD_NONE)))
                        return;
        if (chunk_state(head) == CHUNK_HUGE) { /* doomed: now it is being freed, by whoever settles it */
                chunk_store(r, thread_no, &r->chunk_words[chunk],
                            chunk_with_state(head, CHUNK_FREEING) & ~CHUNK_DOOMED);
                huge_settle(r, thread_no, chunk, keep);
                return;
        }
        release_chunk(r, thread_no, chunk);
}
