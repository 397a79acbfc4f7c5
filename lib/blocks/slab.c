/*
 * slab.c - see slab.h.
 *
 * Why it is safe when others race: the bitmap is touched by the owner of the slab only, and ownership is one CAS on
 * the head's granule word.  Why it is safe when the owner dies: before a bit changes, an intent in the owner's slot
 * names the slab, the magazine and how many entries; after the change one store (the magazine's n, or the intent's
 * end for single blocks) commits.  A reaper undoes what lies before the commit and leaves what lies behind it.
 * The entries are written before the intent: an intent that named entries not yet written made recovery free stale
 * ones.
 *
 * What it gave up: several threads working in one slab at once.  A held slab is skipped, at the price of sometimes
 * opening another.
 */
#include "blocks/slab.h"

#include <errno.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/magazine.h"
#include "blocks/slab_pages.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "pages/hint.h"
#include "pages/run.h"
#include "pages/valid.h"
#include "region/file.h"

enum { FIND_CHUNKS_MAX = 16 }; /* chunks with nothing but held slabs before a new slab is better */

/* A slab's stamp says when it was released last, and whether it has been purged since. */
enum { STAMP_TIME = 0x7f, STAMP_PURGED = 0x80 };

static void
bit_set(struct region *r, uint64_t head, uint32_t block_idx)
{
        uint64_t *word = region_slab_word(r, head, block_idx / 64);

        ASSERT(block_idx < SIZE_CLASS_BLOCKS_MAX);
        store_relaxed(word, load_relaxed(word) | UINT64_C(1) << block_idx % 64);
}

static bool
bit_is_set(struct region *r, uint64_t head, uint32_t block_idx)
{
        ASSERT(block_idx < SIZE_CLASS_BLOCKS_MAX);
        return load_relaxed(region_slab_word(r, head, block_idx / 64)) >> block_idx % 64 & 1;
}

uint32_t
slab_count_free(struct region *r, uint64_t head, uint32_t class_idx)
{
        uint32_t n_blocks = size_class_slab_blocks(class_idx);
        uint32_t n_free = 0;

        ASSERT(size_class_is_small(class_idx));
        for (uint32_t w = 0; w < bits_words(n_blocks); w++)
                n_free += bits_popcount(load_relaxed(region_slab_word(r, head, w)) & bits_first(w, n_blocks));
        ASSERT(n_free <= n_blocks);
        return n_free;
}

/* Whether a granule's word is the head of a slab of a sane class that lies within its chunk and has a bitmap. */
static bool
word_is_slab(struct region *r, uint64_t head, uint64_t word)
{
        return granule_state(word) == GRANULE_SLAB && size_class_is_small(granule_class(word)) &&
               head % GEO_GRANULES_PER_CHUNK + size_class_slab_granules(granule_class(word)) <=
                       GEO_GRANULES_PER_CHUNK &&
               region_has_bitmap(r, head, granule_class(word));
}

bool
slab_block_of(struct region *r, uint64_t block_off, uint64_t *ret_head, uint32_t *ret_block_idx)
{
        uint64_t granule = block_off >> GEO_GRANULE_SHIFT;
        int64_t head;
        uint64_t word, off;

        if (granule >= region_granules_hwm(r))
                return false;
        head = run_head_of(r, granule);
        if (head == POSITION_NONE)
                return false;
        word = load_acquire(run_word(r, (uint64_t)head)); /* E3.acq */
        off = block_off - ((uint64_t)head << GEO_GRANULE_SHIFT);
        if (!word_is_slab(r, (uint64_t)head, word) ||
            off >= (uint64_t)size_class_slab_granules(granule_class(word)) << GEO_GRANULE_SHIFT ||
            !size_class_is_block_start(granule_class(word), off))
                return false;
        *ret_head = (uint64_t)head;
        *ret_block_idx = size_class_block_index(granule_class(word), off);
        ASSERT(*ret_block_idx < size_class_slab_blocks(granule_class(word)));
        return true;
}

bool
slab_has_given(struct region *r, uint64_t block_off)
{
        uint64_t head;
        uint32_t block_idx;

        return slab_block_of(r, block_off, &head, &block_idx) && !bit_is_set(r, head, block_idx);
}

/* ------------------------------------------------------------------ create, find, release */

/* SLAB.2, .3 and on: the run is NEW(t) and the candidate names it. */
static int
make_slab(struct thread *t, uint64_t head, uint32_t arena, uint32_t class_idx)
{
        struct region *r = t->region;
        uint32_t granules = size_class_slab_granules(class_idx);
        uint32_t n_blocks = size_class_slab_blocks(class_idx);
        uint64_t word;
        int err = slab_reserve_new(t, head, class_idx);

        ASSERT_INVARIANT(I16, run_is_new(t, head, granules, arena));
        if (err < 0) {
                run_unclaim(t, head, granules);
                return err;
        }
        for (uint32_t w = 0; w < bits_words(n_blocks); w++)
                store_relaxed(region_slab_word(r, head, w), bits_first(w, n_blocks));
        for (uint32_t i = 0; i < granules; i++) { /* SLAB.4: tags */
                store_relaxed(&r->tags[head + i], (uint16_t)tag_make(region_arena_node(r, arena), class_idx));
                if (i == 0)
                        continue;
                word = granule_word(GRANULE_CONT, THREAD_NONE, arena) |
                       (owner_load(run_word(r, head + i)) & GRANULE_BACKING);
                granule_store(r, t->no, run_word(r, head + i), granule_with_count(word, i)); /* SLAB.5: interior */
        }
        word = granule_word(GRANULE_SLAB, t->no, arena) | (owner_load(run_word(r, head)) & GRANULE_BACKING);
        word = granule_with_count(granule_with_class(word, class_idx), n_blocks);
        kill_order();
        granule_release(r, t->no, run_word(r, head),
                        word); /* SLAB.6: commit; still owned.  E3.rel: tags and interior */
        ASSERT_INVARIANT(I12, slab_is_own(t, head) && slab_count_is_exact(r, head));
        return 0;
}

struct run_need
slab_need(uint32_t class_idx)
{
        ASSERT(size_class_is_small(class_idx));
        return (struct run_need){.granules = size_class_slab_granules(class_idx),
                                 .align_granules = 1,
                                 .class_idx = class_idx,
                                 .bytes = size_class_bytes(class_idx)};
}

int
slab_create_owned(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        int err;

        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        ASSERT(size_class_is_small(where->need.class_idx));
        err = run_claim(t, where, ret_head); /* SLAB.1 */
        return err < 0 ? err : make_slab(t, *ret_head, where->arena, where->need.class_idx);
}

/* FILL.1, .2, PURGE_SLAB.1, .2: candidate, CAS.  As ONE's. */
static bool
acquire(struct thread *t, uint64_t head, uint32_t arena, uint32_t class_idx)
{
        struct region *r = t->region;
        uint64_t word = owner_load(run_word(r, head));

        ASSERT(head < region_granules_hwm(r) && size_class_is_small(class_idx));
        if (!word_is_slab(r, head, word) || granule_class(word) != class_idx || granule_arena(word) != arena ||
            granule_count(word) == 0 || granule_owner(word) != THREAD_NONE)
                return false;
        candidate_set(t, candidate_make(CANDIDATE_RUN, head, size_class_slab_granules(class_idx)));
        if (granule_acquire(t, run_word(r, head), &word, granule_with_owner(word, t->no)))
                return true;
        candidate_clear(t);
        return false;
}

enum found { FOUND_NONE, FOUND_HELD, FOUND_OWNED };

static enum found
find_in_chunk(struct thread *t, const struct where *where, uint64_t chunk, uint64_t *ret_head)
{
        struct region *r = t->region;
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;
        uint32_t class_idx = where->need.class_idx;
        bool is_held = false;

        ASSERT(chunk < region_chunks_hwm(r));
        for (uint64_t head = first; head < first + GEO_GRANULES_PER_CHUNK; head++) {
                uint64_t word = owner_load(run_word(r, head));

                if (granule_state(word) != GRANULE_SLAB || granule_class(word) != class_idx)
                        continue;
                if (t->call.no_grow && granule_count(word) > 0 && word_is_slab(r, head, word) &&
                    !slab_has_backed_room(r, head, class_idx)) {
                        is_held = true; /* by the file system, so to speak: its hint stays */
                        continue;
                }
                if (acquire(t, head, where->arena, class_idx)) {
                        *ret_head = head;
                        return FOUND_OWNED;
                }
                is_held |= granule_owner(word) != THREAD_NONE;
        }
        return is_held ? FOUND_HELD : FOUND_NONE;
}

static bool
find_by_hints(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        struct region *r = t->region;
        uint32_t class_idx = where->need.class_idx, arena = where->arena;
        int64_t chunk = hint_find(r, arena, class_idx, 0);

        ASSERT(size_class_is_small(class_idx) && arena < r->layout.n_arenas);
        for (int tries = 0; chunk != POSITION_NONE && tries < FIND_CHUNKS_MAX; tries++) {
                enum found found = find_in_chunk(t, where, (uint64_t)chunk, ret_head);

                if (found == FOUND_OWNED)
                        return true;
                if (found == FOUND_NONE) {
                        hint_clear(r, arena, class_idx, (uint64_t)chunk);
                        /* Somebody may have set it just before it was cleared: look once more. */
                        found = find_in_chunk(t, where, (uint64_t)chunk, ret_head);
                        if (found != FOUND_NONE)
                                hint_set(r, arena, class_idx, (uint64_t)chunk);
                        if (found == FOUND_OWNED)
                                return true;
                }
                chunk = hint_find(r, arena, class_idx, (uint64_t)chunk + 1);
        }
        return false;
}

bool
slab_find_owned(struct thread *t, const struct where *where, uint64_t *ret_head)
{
        uint32_t class_idx = where->need.class_idx, last1 = t->slab_last[class_idx];

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT(size_class_is_small(class_idx));
        if (where->chunk != CHUNK_ANY)
                return find_in_chunk(t, where, where->chunk, ret_head) == FOUND_OWNED;
        if (last1 != 0 && last1 - 1 < region_granules_hwm(t->region) && !t->call.no_grow &&
            acquire(t, last1 - 1, where->arena, class_idx)) {
                *ret_head = last1 - 1;
                return true;
        }
        return find_by_hints(t, where, ret_head);
}

/* Lets go of an owned slab with the count that its bitmap has now.  An empty one becomes a free run. */
static void
release_stamped(struct thread *t, uint64_t head, uint32_t n_free, uint32_t stamp)
{
        struct region *r = t->region;
        uint64_t word = granule_with_stamp(owner_load(run_word(r, head)), stamp);
        uint32_t class_idx = granule_class(word);
        uint32_t granules = size_class_slab_granules(class_idx);

        ASSERT_INVARIANT(I12, slab_is_own(t, head));
        ASSERT_INVARIANT(I12, n_free == slab_count_free(r, head, class_idx));
        ASSERT_INVARIANT(I8, load_relaxed(&t->slot->intent.kind) == INTENT_NONE);
        if (n_free == size_class_slab_blocks(class_idx)) {
                granule_store(r, t->no, run_word(r, head),
                              granule_with_count(granule_with_state(word, GRANULE_FREEING), granules));
                run_free_owned(t, head, granules);
                return;
        }
        if (n_free > 0)
                hint_set(r, granule_arena(word), class_idx, head / GEO_GRANULES_PER_CHUNK);
        granule_release(r, t->no, run_word(r, head),
                        granule_with_owner(granule_with_count(word, n_free), THREAD_NONE)); /* E3.rel */
        candidate_clear(t);
        if (n_free > 0) /* a finder that met the slab held may have cleared it */
                hint_set(r, granule_arena(word), class_idx, head / GEO_GRANULES_PER_CHUNK);
}

static void
release(struct thread *t, uint64_t head, uint32_t n_free)
{
        release_stamped(t, head, n_free, t->stamp & STAMP_TIME);
}

uint32_t
slab_tidy_chunk(struct thread *t, uint64_t chunk)
{
        struct region *r = t->region;
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;
        uint32_t n = 0;

        ASSERT(chunk < region_chunks_hwm(r));
        for (uint64_t head = first; head < first + GEO_GRANULES_PER_CHUNK; head++) {
                uint64_t word = owner_load(run_word(r, head));

                if (!word_is_slab(r, head, word) ||
                    granule_count(word) != size_class_slab_blocks(granule_class(word)) ||
                    !acquire(t, head, granule_arena(word), granule_class(word)))
                        continue;
                release(t, head, slab_count_free(r, head, granule_class(word)));
                n++;
        }
        return n;
}

/* ------------------------------------------------------------------ purge */

/* PURGE_SLAB.3 what the words say, .4 the pages.  How many pieces were punched. */
static uint32_t
punch_unused(struct thread *t, uint64_t head, uint32_t class_idx, uint64_t pages, uint64_t *bytes)
{
        struct region *r = t->region;
        uint32_t per_granule = GEO_GRANULE_BYTES / GEO_PAGE_BYTES, n = 0;
        uint64_t sure = bits_mask(0, (uint32_t)(slab_backed_bytes(r, head, class_idx) >> GEO_PAGE_SHIFT));

        ASSERT_INVARIANT(I12, slab_is_own(t, head));
        ASSERT(pages != 0 && granule_class(owner_load(run_word(r, head))) == class_idx);
        for (uint32_t i = 0; i < size_class_slab_granules(class_idx); i++) /* PURGE_SLAB.3 */
                if (pages & bits_mask(i * per_granule, per_granule))
                        granule_store(r, t->no, run_word(r, head + i),
                                      granule_with_backed(owner_load(run_word(r, head + i)), 0));
        kill_order();
        while (pages != 0) { /* PURGE_SLAB.4 */
                uint32_t first = bits_ctz(pages), len = ~(pages >> first) == 0 ? 64 : bits_ctz(~(pages >> first));
                uint64_t off = region_granule_off(r, head) + ((uint64_t)first << GEO_PAGE_SHIFT);

                if (region_punch(r, off, (uint64_t)len << GEO_PAGE_SHIFT) == 0)
                        *bytes += (uint64_t)bits_popcount(bits_mask(first, len) & sure) << GEO_PAGE_SHIFT;
                pages &= ~bits_mask(first, len);
                n++;
        }
        kill_order();
        return n;
}

/* Whether pages of a slab may be idle: nobody has filled from it or drained into it for so long, or ever purged it
 * since. */
static bool
is_idle(const struct thread *t, uint64_t word, uint32_t min_age)
{
        return granule_owner(word) == THREAD_NONE && granule_count(word) > 0 &&
               ((t->stamp - granule_stamp(word)) & STAMP_TIME) >= min_age;
}

/* Whether a slab that was purged has pages again, where no block is allocated: somebody has made the holes real.  A
 * hint, as the bitmap may be changing. */
static bool
has_strays(struct region *r, uint64_t head, uint32_t class_idx, int fd)
{
        uint64_t pages = fd >= 0 ? slab_unused_pages(r, head, class_idx) : 0, base = region_granule_off(r, head);

        ASSERT(size_class_is_small(class_idx));
        while (pages != 0) {
                uint32_t first = bits_ctz(pages), len = ~(pages >> first) == 0 ? 64 : bits_ctz(~(pages >> first));
                uint64_t off = base + ((uint64_t)first << GEO_PAGE_SHIFT);

                if (file_next_page(fd, off) < off + ((uint64_t)len << GEO_PAGE_SHIFT))
                        return true;
                pages &= ~bits_mask(first, len);
        }
        return false;
}

uint64_t
slab_purge_chunk(struct thread *t, uint64_t chunk, uint32_t min_age, int fd, uint32_t *n_left)
{
        struct region *r = t->region;
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, bytes = 0;

        ASSERT(chunk < region_chunks_hwm(r) && min_age <= STAMP_TIME + 1);
        for (uint64_t head = first; (head < first + GEO_GRANULES_PER_CHUNK) && *n_left > 0; head++) {
                uint64_t word = owner_load(run_word(r, head)), pages;
                uint32_t class_idx = granule_class(word), n;

                if (!word_is_slab(r, head, word) || !is_idle(t, word, min_age) ||
                    ((granule_stamp(word) & STAMP_PURGED) && !has_strays(r, head, class_idx, fd)) ||
                    !acquire(t, head, granule_arena(word), class_idx)) /* PURGE_SLAB.1, .2 */
                        continue;
                pages = slab_unused_pages(r, head, class_idx);
                n = pages == 0 ? 0 : punch_unused(t, head, class_idx, pages, &bytes);
                *n_left -= n < *n_left ? n : *n_left;
                release_stamped(t, head, slab_count_free(r, head, class_idx),
                                (t->stamp & STAMP_TIME) | STAMP_PURGED); /* PURGE_SLAB.5 */
        }
        return bytes;
}

/* ------------------------------------------------------------------ fill */

/* Writes the entries of up to `want` free blocks, lowest on top of the stack.  Returns how many. */
static uint32_t
choose_blocks(struct region *r, uint64_t head, uint32_t class_idx, const struct slab_backing *backing, uint32_t want,
              uint64_t *entries)
{
        uint32_t n_words = bits_words(size_class_slab_blocks(class_idx));
        uint64_t base = region_entry(r, head << GEO_GRANULE_SHIFT), bytes = size_class_bytes(class_idx);
        uint64_t free[(SIZE_CLASS_BLOCKS_MAX + 63) / 64];
        uint32_t k = 0, n = 0, first = n_words;

        ASSERT(want <= MAGAZINE_CAP_MAX && n_words <= sizeof free / sizeof free[0]);
        for (uint32_t w = 0; w < n_words && k < want; w++) {
                free[w] = slab_backed_blocks(r, head, class_idx, w, backing);
                first = first == n_words && free[w] != 0 ? w : first;
                k += bits_popcount(free[w]);
        }
        k = k < want ? k : want;
        for (uint32_t w = first; n < k; w++)
                for (uint64_t bits = free[w]; bits != 0 && n < k; bits &= bits - 1)
                        store_relaxed(&entries[k - 1 - n++], base + (w * 64 + bits_ctz(bits)) * bytes);
        ASSERT(k <= want);
        return k;
}

/* Clears the lowest k free bits: exactly those that choose_blocks() named. */
static void
clear_lowest(struct region *r, uint64_t head, uint32_t class_idx, const struct slab_backing *backing, uint32_t k)
{
        uint32_t n_words = bits_words(size_class_slab_blocks(class_idx));

        ASSERT(k <= MAGAZINE_CAP_MAX);
        for (uint32_t w = 0; w < n_words && k > 0; w++) {
                uint64_t bits = slab_backed_blocks(r, head, class_idx, w, backing), kept = bits;

                if (bits_popcount(bits) <= k) {
                        k -= bits_popcount(bits);
                        kept = 0;
                } else {
                        for (; k > 0; k--)
                                kept &= kept - 1;
                }
                store_relaxed(region_slab_word(r, head, w),
                              load_relaxed(region_slab_word(r, head, w)) & ~(bits & ~kept));
        }
        ASSERT(k == 0);
}

uint32_t
slab_fill(struct thread *t, uint64_t head, uint64_t magazine_idx, uint32_t want)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[magazine_idx];
        uint64_t word = owner_load(run_word(r, head));
        uint32_t class_idx = granule_class(word);
        uint32_t n_free = granule_count(word);
        struct slab_backing backing;
        uint32_t k;

        ASSERT_INVARIANT(I12, slab_is_own(t, head) && slab_count_is_exact(r, head));
        ASSERT_INVARIANT(I11, magazine_is_own(t, magazine_idx));
        ASSERT_INVARIANT(I3, tag_class(magazine_tag(owner_load(&r->magazine_words[magazine_idx]))) == class_idx);
        ASSERT(load_relaxed(&m->n) == 0);
        magazine_is_empty_now(t, (uint32_t)magazine_idx);
        want = want < MAGAZINE_CAP_MAX ? want : MAGAZINE_CAP_MAX;
        backing = slab_ensure_pages(t, head, class_idx, want);
        k = choose_blocks(r, head, class_idx, &backing, want, m->slot); /* FILL.3 */
        if (k > 0) {
                kill_order();
                intent_begin(t, INTENT(FILL, fill, .head = head, .magazine = magazine_idx, .n = k)); /* FILL.4 */
                clear_lowest(r, head, class_idx, &backing, k);                                       /* FILL.5 */
                kill_order();
                store_relaxed(&m->n, (uint64_t)k); /* FILL.6: commit */
                intent_end(t);                     /* FILL.7 */
                owner_add(&t->slot->counters[class_idx].n_filled, (uint64_t)k);
                t->slab_last[class_idx] = (uint32_t)head + 1;
        }
        if (k < want) /* there were no more, whatever the count says; or none that have pages */
                n_free = backing.n_first >= size_class_slab_blocks(class_idx) ? k
                                                                              : k + slab_count_free(r, head, class_idx);
        if (k > n_free) /* the count was damaged: go by the bitmap */
                n_free = k + slab_count_free(r, head, class_idx);
        release(t, head, n_free - k); /* FILL.8, FILL.9 */
        ASSERT_INVARIANT(I11, load_relaxed(&m->n) == k && magazine_is_own(t, magazine_idx));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        return k;
}

/* ------------------------------------------------------------------ single blocks */

bool
slab_alloc_one(struct thread *t, uint64_t head, uint64_t dest_off, uint64_t *ret_block_off)
{
        struct region *r = t->region;
        uint64_t word = owner_load(run_word(r, head));
        uint32_t class_idx = granule_class(word);
        uint32_t n_free = granule_count(word);
        uint64_t entry, block_off;
        struct slab_backing backing = slab_ensure_pages(t, head, class_idx, 1);
        uint32_t k = choose_blocks(r, head, class_idx, &backing, 1, &entry);

        ASSERT_INVARIANT(I12, slab_is_own(t, head) && slab_count_is_exact(r, head));
        if (k == 1) {
                block_off = region_entry_off(r, entry);
                dest_fill(t, dest_off, block_off, size_class_bytes(class_idx));
                intent_begin(t, INTENT(ALLOC_ONE, alloc_one, .head = head, .was = dest_load(r, dest_off),
                                       .block = block_off, .dest = dest_off)); /* ONE.1 */
                clear_lowest(r, head, class_idx, &backing, 1);                 /* ONE.2 */
                dest_store(r, dest_off, r->layout.chunks_off + block_off);     /* ONE.3 */
                intent_end(t);                                                 /* ONE.4: commit */
                owner_add(&t->slot->counters[class_idx].n_filled, UINT64_C(1));
                owner_add(&t->slot->counters[class_idx].n_malloc, UINT64_C(1));
                t->slab_last[class_idx] = (uint32_t)head + 1;
                *ret_block_off = block_off;
        }
        if (k == 0 || n_free == 0) /* no pages; or the count was wrong: go by the bitmap */
                n_free = slab_count_free(r, head, class_idx) + k;
        release(t, head, n_free - k); /* ONE.5 */
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        return k == 1;
}

int
slab_take(struct thread *t, const struct where *where)
{
        struct call *c = &t->call;
        uint64_t head;
        int err = slab_find_owned(t, where, &head) ? 0 : slab_create_owned(t, where, &head);

        if (err < 0)
                return err;
        if (!c->wants_magazine || c->empty_idx == MAGAZINE_IDX_NONE)
                return slab_alloc_one(t, head, c->dest_off, &c->found_off) ? 0 : -ENOMEM;
        if (slab_fill(t, head, c->empty_idx, slab_fill_size(t, c->class_idx)) == 0)
                return -ENOMEM;
        slab_fill_more(t, c->class_idx);
        c->found_idx = c->empty_idx;
        return 0;
}

/* DRAIN.1, .2, and what ONE needs: acquires the slab of a block.  0, -EBUSY, -EINVAL: there is none, of the class. */
static int
acquire_of(struct thread *t, uint64_t block_off, uint32_t class_expected, uint64_t *ret_head, uint32_t *ret_block_idx)
{
        struct region *r = t->region;
        uint64_t word;

        ASSERT_INVARIANT(I6, load_relaxed(&t->slot->candidate) == 0);
        for (int tries = 0; tries < 8; tries++) { /* a lost CAS means that the word moved on: bounded, then busy */
                if (!slab_block_of(r, block_off, ret_head, ret_block_idx))
                        return -EINVAL;
                word = owner_load(run_word(r, *ret_head));
                if (!word_is_slab(r, *ret_head, word) ||
                    (class_expected != SIZE_CLASS_NONE && granule_class(word) != class_expected))
                        return -EINVAL;
                if (granule_owner(word) != THREAD_NONE)
                        return -EBUSY;
                candidate_set(t,
                              candidate_make(CANDIDATE_RUN, *ret_head, size_class_slab_granules(granule_class(word))));
                if (granule_acquire(t, run_word(r, *ret_head), &word, granule_with_owner(word, t->no)))
                        return 0;
                candidate_clear(t);
        }
        return -EBUSY;
}

int
slab_free_one(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint64_t head;
        uint32_t block_idx, class_idx, n_free;
        int err = acquire_of(t, block_off, SIZE_CLASS_NONE, &head, &block_idx);

        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        if (err == -EINVAL)
                return fault_note(t, FAULT_INVALID_FREE, block_off);
        if (err < 0)
                return err;
        class_idx = granule_class(owner_load(run_word(r, head)));
        n_free = granule_count(owner_load(run_word(r, head)));
        ASSERT_INVARIANT(I12, slab_is_own(t, head) && slab_count_is_exact(r, head));
        if (bit_is_set(r, head, block_idx)) {
                release(t, head, n_free);
                return fault_note(t, FAULT_DOUBLE_FREE, block_off);
        }
        intent_begin(t, INTENT(FREE_ONE, free_one, .head = head, .block = block_off, .dest = dest_off)); /* ONE.1 */
        dest_store(r, dest_off, UINT64_C(0));                                                            /* ONE.2 */
        bit_set(r, head, block_idx);                                                                     /* ONE.3 */
        intent_end(t); /* ONE.4: commit */
        owner_add(&t->slot->counters[class_idx].n_drained, UINT64_C(1));
        owner_add(&t->slot->counters[class_idx].n_free, UINT64_C(1));
        release(t, head, n_free + 1); /* ONE.5 */
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        return 0;
}

/* ------------------------------------------------------------------ drain */

/* How many entries at the top, from n down, are allocated blocks of the slab, and which ones. */
static uint32_t
top_blocks(struct region *r, const struct magazine *m, uint64_t n, uint64_t head, uint32_t class_idx, uint16_t *idx)
{
        uint64_t start = region_entry(r, head << GEO_GRANULE_SHIFT), bytes = size_class_bytes(class_idx);
        uint64_t length = size_class_slab_blocks(class_idx) * bytes;
        uint32_t k = 0;

        ASSERT(n >= 1 && n <= MAGAZINE_CAP_MAX);
        while (k < n) {
                uint64_t off = load_relaxed(&m->slot[n - 1 - k]) - start;
                uint32_t block_idx;

                if (off >= length)
                        break;
                block_idx = size_class_block_index(class_idx, off);
                if (block_idx * bytes != off || bit_is_set(r, head, block_idx))
                        break;
                idx[k++] = (uint16_t)block_idx;
        }
        return k;
}

int
slab_drain(struct thread *t, uint64_t magazine_idx)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[magazine_idx];
        uint32_t class_idx = tag_class(magazine_tag(owner_load(&r->magazine_words[magazine_idx])));
        uint64_t n = load_relaxed(&m->n), head, top;
        uint16_t idx[MAGAZINE_CAP_MAX];
        uint32_t block_idx, k, n_free;
        bool is_bad = false;
        int err;

        ASSERT_INVARIANT(I11, magazine_is_own(t, magazine_idx));
        if (n == 0 || n > MAGAZINE_CAP_MAX)
                return 0;
        top = region_entry_off(r, load_relaxed(&m->slot[n - 1]));
        err = acquire_of(t, top, class_idx, &head, &block_idx);
        if (err == -EINVAL) {
                store_relaxed(&m->n, n - 1); /* no block of ours: drop it */
                magazine_bad_entry(t, (uint32_t)magazine_idx, FAULT_INVALID_FREE, top);
        }
        if (err < 0)
                return err;
        n_free = granule_count(owner_load(run_word(r, head)));
        ASSERT_INVARIANT(I12, slab_is_own(t, head) && slab_count_is_exact(r, head));
        k = top_blocks(r, m, n, head, class_idx, idx);
        if (k == 0) { /* the topmost is free already */
                store_relaxed(&m->n, n - 1);
                release(t, head, n_free);
                magazine_bad_entry(t, (uint32_t)magazine_idx, FAULT_DOUBLE_FREE, top);
                return -EINVAL;
        }
        intent_begin(t, INTENT(DRAIN, drain, .head = head, .magazine = magazine_idx, .n = n - k)); /* DRAIN.3 */
        for (uint32_t i = 0; i < k; i++) {
                if (bit_is_set(r, head, idx[i])) { /* twice in here */
                        magazine_bad_entry(t, (uint32_t)magazine_idx, FAULT_DOUBLE_FREE,
                                           region_entry_off(r, load_relaxed(&m->slot[n - 1 - i])));
                        is_bad = true;
                } else {
                        n_free++;
                }
                bit_set(r, head, idx[i]); /* DRAIN.4 */
        }
        kill_order();
        store_relaxed(&m->n, n - k); /* DRAIN.5: commit */
        intent_end(t);               /* DRAIN.6 */
        owner_add(&t->slot->counters[class_idx].n_drained, (uint64_t)k);
        release(t, head, n_free); /* DRAIN.7, DRAIN.8 */
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        return is_bad ? -EINVAL : 0;
}

/* ------------------------------------------------------------------ settle */

void
slab_settle_block(struct region *r, uint64_t head, uint64_t block_off)
{
        uint32_t class_idx = granule_class(owner_load(run_word(r, head)));
        uint64_t off = block_off - (head << GEO_GRANULE_SHIFT);

        ASSERT_INVARIANT(I12, granule_state(owner_load(run_word(r, head))) == GRANULE_SLAB);
        if (off < (uint64_t)size_class_slab_granules(class_idx) << GEO_GRANULE_SHIFT &&
            size_class_is_block_start(class_idx, off))
                bit_set(r, head, size_class_block_index(class_idx, off));
}

void
slab_settle(struct region *r, uint32_t thread_no, uint64_t head)
{
        uint64_t word = owner_load(run_word(r, head));
        uint32_t n_free = slab_count_free(r, head, granule_class(word));

        ASSERT_INVARIANT(I5, granule_owner(word) == thread_no);
        if (n_free > 0)
                hint_set(r, granule_arena(word), granule_class(word), head / GEO_GRANULES_PER_CHUNK);
        word = granule_with_stamp(granule_with_count(word, n_free), 0); /* what the dead freed was not purged */
        granule_release(r, thread_no, run_word(r, head), granule_with_owner(word, THREAD_NONE)); /* E3.rel */
}
