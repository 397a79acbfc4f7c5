/*
 * sift.c - see sift.h; the steps are SIFT.n in doc/recovery.md.
 *
 * A free is a hit if its tag says so: it looks at no entry.  A second free of a block that is still in the thread's
 * magazines, or a pointer into the middle of one, is noticed here, before others can take it for a block: where a
 * magazine goes to a depot or into its slabs, at close, at thread exit, and by the reaper for the dead.
 *
 * That happens to every block that leaves a thread's hands, so it has to cost next to nothing: one multiplication says
 * whether an offset is the start of a block.  Entries that follow each other in memory, as those do that were freed in
 * one go, are none twice, and another magazine has none of them if all of its lie outside.  For others a hash is the
 * way by which a small table on the stack finds the same entry again.  The table holds entry numbers, is exact (what
 * meets there is compared), and is searched once more for each entry of the other magazines.  bench_sift measures it.
 *
 * What it gave up: to look at the slab's bitmap, and at magazines that have left already.  A second free after the
 * first has left the thread's hands is not seen here (shmalloc.h says so).
 */
#include "blocks/sift.h"

#include <string.h>

#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/valid.h"
#include "clients/owner.h"
#include "pages/run.h"

/* What was dropped. */
struct sifted {
        uint32_t n;
        uint32_t what;      /* of the first: enum fault_what */
        uint64_t block_off; /* of the first */
        bool is_others;     /* another thread may have put one of them there */
};

enum { SEEN_SHIFT = 10, SEEN_MAX = 1 << SEEN_SHIFT, SEEN_PER_ENTRY = 8 };

_Static_assert(MAGAZINE_CAP_MAX < UINT8_MAX && MAGAZINE_CAP_MAX * SEEN_PER_ENTRY <= SEEN_MAX, "entry numbers fit");

/* By hash of an entry, its number in the magazine plus 1; 0 = none.  Whoever meets another one there goes on. */
struct seen {
        uint8_t number1[SEEN_MAX];
};

static inline uint64_t
seen_slot(uint64_t entry)
{
        return entry * UINT64_C(0x9e3779b97f4a7c15) >> (64 - SEEN_SHIFT); /* by the golden ratio */
}

/* Where the entry is, or would be. */
static uint64_t
seen_find(const struct seen *seen, const struct magazine *m, uint64_t entry, uint64_t at)
{
        ASSERT(at < SEEN_MAX);
        while (seen->number1[at] != 0 && load_relaxed(&m->slot[seen->number1[at] - 1]) != entry)
                at = (at + 1) % SEEN_MAX;
        return at;
}

/* How far it is from the start of the slab.  Slabs of one granule, and so those of all classes that threads take and
 * free most, need no look at the granule's word. */
static inline uint64_t
off_in_slab(struct region *r, uint64_t block_off, bool is_long)
{
        uint64_t off = block_off % GEO_GRANULE_BYTES, granule = block_off >> GEO_GRANULE_SHIFT, word;

        if (!is_long || granule >= region_granules_hwm(r))
                return off;
        word = owner_load(run_word(r, granule));
        return granule_state(word) == GRANULE_CONT ? off + ((uint64_t)granule_count(word) << GEO_GRANULE_SHIFT) : off;
}

/* Whether an entry cannot be the start of a block of the class.  A granule that is no slab of it any more is left to
 * who drains. */
static inline __attribute__((always_inline)) bool
is_no_start(struct region *r, uint64_t block_off, uint32_t class_idx, bool is_long)
{
        const uint64_t used = size_class_slab_blocks(class_idx) * size_class_bytes(class_idx);
        uint64_t off = off_in_slab(r, block_off, is_long);

        return UNLIKELY(!size_class_is_multiple(size_class_reciprocal(class_idx), off)) || UNLIKELY(off >= used);
}

/* How many entries, from the lowest on, are good and follow each other upwards, or downwards: none of them is there
 * twice, and no table is needed to know it. */
static inline __attribute__((always_inline)) uint64_t
count_in_order(struct region *r, const struct magazine *m, uint64_t n, uint32_t class_idx, bool is_long, bool is_down)
{
        const uint64_t canonical = r->canonical;
        uint64_t last = load_relaxed(&m->slot[0]), i;

        if (is_no_start(r, last - canonical, class_idx, is_long))
                return 0;
        for (i = 1; i < n; i++) {
                uint64_t entry = load_relaxed(&m->slot[i]); /* owned */

                if (UNLIKELY(is_down ? entry >= last : entry <= last) ||
                    is_no_start(r, entry - canonical, class_idx, is_long))
                        break;
                last = entry;
        }
        return i;
}

/* None of the other magazine's entries lies between the first and the last of n that are in order. */
static bool
is_apart(const struct magazine *m, uint64_t n, const struct magazine *other)
{
        uint64_t first = load_relaxed(&m->slot[0]), last = load_relaxed(&m->slot[n - 1]);
        uint64_t low = first < last ? first : last, length = (first < last ? last : first) - low;
        uint64_t n_other = load_relaxed(&other->n);

        ASSERT(n >= 1 && other != m);
        for (uint64_t i = 0; i < n_other && i < MAGAZINE_CAP_MAX; i++)
                if (UNLIKELY(load_relaxed(&other->slot[i]) - low <= length))
                        return false;
        return true;
}

/* The lowest of n entries, from the one of that number on, that cannot be the start of a block; n: all can. */
static inline __attribute__((always_inline)) uint64_t
find_no_start(struct region *r, const struct magazine *m, uint64_t from, uint64_t n, uint32_t class_idx, bool is_long)
{
        const uint64_t canonical = r->canonical;

        ASSERT(from <= n && n <= MAGAZINE_CAP_MAX);
        while (from < n && !is_no_start(r, load_relaxed(&m->slot[from]) - canonical, class_idx, is_long))
                from++;
        return from;
}

/* Another entry is where entry `i` would be: notes it elsewhere; false where it is the same one. */
static __attribute__((noinline, cold)) bool
seen_add_aside(struct seen *seen, const struct magazine *m, uint64_t i, uint64_t at)
{
        at = seen_find(seen, m, load_relaxed(&m->slot[i]), at);
        if (seen->number1[at] != 0)
                return false;
        seen->number1[at] = (uint8_t)(i + 1);
        return true;
}

/* Notes the first n entries.  The lowest that is there twice; n: none is. */
static uint64_t
seen_add(struct seen *seen, const struct magazine *m, uint64_t n)
{
        ASSERT(n <= MAGAZINE_CAP_MAX);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t at = seen_slot(load_relaxed(&m->slot[i])); /* owned */

                if (LIKELY(seen->number1[at] == 0))
                        seen->number1[at] = (uint8_t)(i + 1);
                else if (!seen_add_aside(seen, m, i, at))
                        return i;
        }
        return n;
}

/* Few, and each with a word of its own. */
static uint64_t
find_bad_large(struct region *r, const struct magazine *m, uint64_t n, uint32_t *ret_what)
{
        ASSERT(n <= MAGAZINE_CAP_MAX);
        for (uint64_t i = 0; i < n; i++) {
                uint64_t block_off = region_entry_off(r, load_relaxed(&m->slot[i])), head, word;

                for (uint64_t k = 0; k < i; k++)
                        if (region_entry_off(r, load_relaxed(&m->slot[k])) == block_off) {
                                *ret_what = FAULT_DOUBLE_FREE;
                                return i;
                        }
                if (block_off >> GEO_GRANULE_SHIFT < region_granules_hwm(r) &&
                    granule_state(owner_load(run_word(r, block_off >> GEO_GRANULE_SHIFT))) == GRANULE_LARGE &&
                    !large_block_of(r, block_off, &head, &word)) {
                        *ret_what = FAULT_INVALID_FREE;
                        return i;
                }
        }
        return n;
}

/* The same of huge ones, whose chunk has a word that says how many they have. */
static uint64_t
find_bad_huge(struct region *r, const struct magazine *m, uint64_t n, uint32_t class_idx, uint32_t *ret_what)
{
        ASSERT(n <= MAGAZINE_CAP_MAX && size_class_is_huge(class_idx));
        for (uint64_t i = 0; i < n; i++) {
                uint64_t block_off = region_entry_off(r, load_relaxed(&m->slot[i])), chunk, word;

                for (uint64_t k = 0; k < i; k++)
                        if (region_entry_off(r, load_relaxed(&m->slot[k])) == block_off) {
                                *ret_what = FAULT_DOUBLE_FREE;
                                return i;
                        }
                if (!huge_block_of(r, block_off, &chunk, &word) ||
                    size_class_of_chunks(chunk_count(word)) != class_idx) {
                        *ret_what = block_off % GEO_CHUNK_BYTES != 0 ? FAULT_INVALID_FREE : FAULT_DOUBLE_FREE;
                        return i;
                }
        }
        return n;
}

/* SIFT.1 the topmost entry takes its place; SIFT.2 there is one less. */
static void
drop(struct region *r, struct magazine *m, uint64_t i, uint64_t n, struct sifted *done, uint32_t what)
{
        ASSERT(i < n && n <= MAGAZINE_CAP_MAX);
        if (done->n++ == 0) {
                done->what = what;
                done->block_off = region_entry_off(r, load_relaxed(&m->slot[i]));
        }
        store_relaxed(&m->slot[i], load_relaxed(&m->slot[n - 1])); /* SIFT.1 */
        kill_order();
        store_relaxed(&m->n, n - 1); /* SIFT.2 */
        kill_order();
}

/* The number of an entry that another magazine has too; n: there is none. */
static uint64_t
find_shared(const struct seen *seen, const struct magazine *m, uint64_t n, const struct magazine *other)
{
        uint64_t n_other = load_relaxed(&other->n);

        ASSERT(n <= MAGAZINE_CAP_MAX && other != m);
        n_other = n_other < MAGAZINE_CAP_MAX ? n_other : MAGAZINE_CAP_MAX;
        for (uint64_t i = 0; i < n_other; i++) {
                uint64_t entry = load_relaxed(&other->slot[i]);
                uint64_t at = seen_slot(entry);

                if (LIKELY(seen->number1[at] == 0))
                        continue;
                at = seen_find(seen, m, entry, at);
                if (seen->number1[at] != 0)
                        return seen->number1[at] - 1;
        }
        return n;
}

/* The lowest bad entry; n: none is.  What is allocated or freed in one go mostly lies in order, and apart from what is
 * in the other magazines: then no table is made. */
static inline __attribute__((always_inline)) uint64_t
search_small(struct region *r, const struct magazine *m, uint64_t n, uint32_t class_idx, bool is_long,
             const struct magazine *const *others, uint32_t n_others, uint32_t *ret_what)
{
        bool is_down = n > 1 && load_relaxed(&m->slot[1]) < load_relaxed(&m->slot[0]);
        uint64_t n_good = is_down ? count_in_order(r, m, n, class_idx, is_long, true)
                                  : count_in_order(r, m, n, class_idx, is_long, false);
        struct seen seen;
        uint64_t bad;
        uint32_t i = 0;

        while (n_good == n && i < n_others && is_apart(m, n, others[i]))
                i++;
        if (n_good == n && i == n_others)
                return n;
        memset(&seen, 0, sizeof seen);
        n_good = find_no_start(r, m, n_good, n, class_idx, is_long);
        *ret_what = FAULT_DOUBLE_FREE;
        bad = seen_add(&seen, m, n_good);
        if (bad == n_good && n_good < n)
                *ret_what = FAULT_INVALID_FREE;
        for (i = 0; bad == n && i < n_others; i++)
                bad = find_shared(&seen, m, n, others[i]);
        return bad;
}

/* Drops until nothing is found: the next search starts anew, since another entry stands there now. */
static void
sift_small(struct region *r, struct magazine *m, uint32_t class_idx, const struct magazine *const *others,
           uint32_t n_others, struct sifted *done)
{
        bool is_long = size_class_slab_granules(class_idx) > 1;
        uint32_t what = FAULT_NONE;
        uint64_t n, bad;

        ASSERT(size_class_is_small(class_idx) && n_others <= 2);
        while ((n = load_relaxed(&m->n)) > 0 && n <= MAGAZINE_CAP_MAX) { /* who damages the heap may change it */
                bad = is_long ? search_small(r, m, n, class_idx, true, others, n_others, &what)
                              : search_small(r, m, n, class_idx, false, others, n_others, &what);
                if (LIKELY(bad == n))
                        return;
                drop(r, m, bad, n, done, what);
        }
}

static void
sift_whole(struct region *r, struct magazine *m, uint32_t class_idx, struct sifted *done)
{
        uint32_t what = FAULT_NONE;
        uint64_t n, bad;

        while ((n = load_relaxed(&m->n)) > 0 && n <= MAGAZINE_CAP_MAX) {
                bad = size_class_is_huge(class_idx) ? find_bad_huge(r, m, n, class_idx, &what)
                                                    : find_bad_large(r, m, n, &what);
                if (bad == n)
                        return;
                drop(r, m, bad, n, done, what);
        }
}

/* See sift_own(): by the thread, or for the dead one. */
static struct sifted
sift_magazine(struct region *r, const struct thread_slot *slot, uint32_t thread_no, uint32_t idx)
{
        struct magazine *m = &r->magazines[idx];
        uint64_t word = owner_load(&r->magazine_words[idx]), n = load_relaxed(&m->n);
        uint32_t tag = magazine_tag(word), n_others = 0;
        struct sifted done = {.is_others = magazine_is_foreign(word)};
        const struct magazine *others[2];

        ASSERT(idx < r->layout.n[TABLE_MAGAZINES]);
        ASSERT_INVARIANT(I5, magazine_owner(word) == thread_no);
        if (n == 0 || n > MAGAZINE_CAP_MAX || !region_has_tag(r, tag))
                return done;                       /* nothing to find, or damage that is no business of ours */
        if (size_class_is_whole(tag_class(tag))) { /* they have no spare */
                sift_whole(r, m, tag_class(tag), &done);
                return done;
        }
        for (uint32_t place = tag; place < 2 * r->layout.n_tags; place += r->layout.n_tags) {
                uint32_t other = load_relaxed(&slot->magazines[place]) - 1;

                if (other == idx || !region_has_magazine(r, other))
                        continue;
                word = owner_load(&r->magazine_words[other]);
                if (magazine_owner(word) != thread_no)
                        continue;
                done.is_others |= magazine_is_foreign(word);
                others[n_others++] = &r->magazines[other];
        }
        sift_small(r, m, tag_class(tag), others, n_others, &done);
        return done;
}

void
sift_own(struct thread *t, uint32_t idx)
{
        struct sifted done = sift_magazine(t->region, t->slot, t->no, idx);

        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        if (LIKELY(done.n == 0))
                return;
        owner_add(&t->slot->n_dropped, (uint64_t)done.n);
        if (done.is_others)
                fault_note_others(t, done.block_off);
        else
                fault_note(t, (enum fault_what)done.what, done.block_off);
}

/* A magazine of the dead goes on without what the dead should not have freed. */
static void
settle(struct region *r, struct thread_slot *slot, uint32_t thread_no, uint32_t idx, struct thread *reaper)
{
        uint64_t word = region_has_magazine(r, idx) ? owner_load(&r->magazine_words[idx]) : 0;

        if (magazine_owner(word) == thread_no && !magazine_is_bare(word)) {
                struct sifted done = sift_magazine(r, slot, thread_no, idx);

                if (UNLIKELY(done.n > 0))
                        owner_add(&slot->n_dropped, (uint64_t)done.n);
                if (UNLIKELY(done.n > 0) && reaper)
                        fault_note_others(reaper, done.block_off);
        }
        magazine_settle(r, thread_no, idx);
}

void
sift_dead(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper)
{
        uint32_t idx1 = load_relaxed(&slot->hand); /* SETTLE.3 */

        ASSERT(thread_no != THREAD_NONE);
        if (idx1 != 0)
                settle(r, slot, thread_no, idx1 - 1, reaper);
        kill_order();
        store_relaxed(&slot->hand, 0u);
        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++) { /* SETTLE.4 */
                idx1 = load_relaxed(&slot->magazines[place]);
                if (idx1 == 0)
                        continue;
                settle(r, slot, thread_no, idx1 - 1, reaper);
                kill_order();
                store_relaxed(&slot->magazines[place], 0u);
        }
}
