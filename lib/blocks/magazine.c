/*
 * magazine.c - see magazine.h; the steps are MAG.n in doc/recovery.md.
 *
 * Take and put are one CAS or one release each on the magazine's owner word.  The order in the slot is always: name it
 * in the hand, take it, let go of what stood in its place, name it in its place, empty the hand.  So the slot names a
 * superset of what its thread owns at every instruction.
 *
 * A depot is an array of hints in the arena, used as a stack: a place is written while the magazine is still owned,
 * before the release, and emptied by whoever finds it stale.  How many are in use is a hint, too: it is stored, not
 * counted, so two who come and go at once may leave it too low.  A magazine that no place below it names (its depot was
 * crowded, or somebody emptied the place too early) is still in a depot by its word, and is found by the clock hand of
 * its arena.
 *
 * A magazine in the pool may be bare: its pages have been given back (blocks/pool_purge.c).  Whoever takes one reserves
 * them while it owns it, and touches nothing of it before.
 */
#include "blocks/magazine.h"

#include <errno.h>

#include "base/bits.h"
#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/sift.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owned.h"
#include "clients/owner.h"
#include "os/process.h"

enum {
        POOL_TRIES_MAX = 64, /* lost races for a pooled magazine before the table is grown instead */
        DEPOT_SPARED = 2     /* magazines that a depot must have for another arena's thread to take one */
};

uint32_t
magazine_home(const struct thread *t, uint32_t tag)
{
        const struct region *r = t->region;
        uint32_t first = tag_node(tag) * r->arenas_per_node;

        ASSERT_INVARIANT(I3, tag_is_of_class(&r->layout, tag));
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        if (tag_node(tag) == t->node)
                return t->arena;
        for (uint32_t i = 0; i < r->arenas_per_node; i++) {
                uint32_t arena = first + (t->seed + i) % r->arenas_per_node;

                if (region_arena(r, arena))
                        return arena;
        }
        return t->arena;
}

/* I7: what is in the hand now is somebody else's, or in a place, or stays there. */
static ASSERTED_ONLY bool
hand_may_become(const struct thread *t, uint32_t idx1)
{
        uint32_t hand = load_relaxed(&t->slot->hand);

        return hand == 0 || hand == idx1 || magazine_owner(owner_load(&t->region->magazine_words[hand - 1])) != t->no ||
               magazine_count_places(t->region, t->slot, hand - 1) > 0;
}

/* I7: what is in the place now is somebody else's, or in another place, or stays there. */
static ASSERTED_ONLY bool
place_may_become(const struct thread *t, const uint32_t *place, uint32_t idx)
{
        uint32_t old = magazine_in(t, place);

        return old == MAGAZINE_IDX_NONE || old == idx || magazine_count_places(t->region, t->slot, old) > 1;
}

static void
hand_set(struct thread *t, uint32_t idx1)
{
        ASSERT_INVARIANT(I7, hand_may_become(t, idx1));
        kill_order();
        store_relaxed(&t->slot->hand, idx1);
        kill_order();
}

/* MAG.1 hand; MAG.2 CAS.  On failure the hand is empty again.  What comes out of a depot others have filled; what is
 * bare still is. */
static bool
take(struct thread *t, uint32_t idx, uint64_t expected, uint32_t tag)
{
        ASSERT(idx < t->region->layout.n[TABLE_MAGAZINES]);
        ASSERT(tag < t->region->layout.n_tags);
        hand_set(t, idx + 1);
        if (magazine_acquire(t, &t->region->magazine_words[idx], &expected,
                             magazine_word(MAGAZINE_TCACHE, t->no, magazine_home(t, tag), tag) |
                                     (magazine_state(expected) == MAGAZINE_DEPOT ? MAGAZINE_FOREIGN : 0) |
                                     (expected & MAGAZINE_BARE)))
                return true;
        hand_set(t, 0);
        return false;
}

/* ------------------------------------------------------------------ pool */

static void
pool_hint(struct region *r, uint32_t idx, bool is_there)
{
        uint64_t *word = &r->pool_hints[idx / 64];
        uint64_t bit = UINT64_C(1) << idx % 64;

        ASSERT(idx < r->layout.n[TABLE_MAGAZINES]);
        if (is_there && !(load_relaxed(word) & bit))
                fetch_or_relaxed(word, bit);
        else if (!is_there && (load_relaxed(word) & bit))
                fetch_and_relaxed(word, ~bit);
}

/* To the pool.  Somebody may have come by before the release. */
static void
release_to_pool(struct region *r, uint32_t thread_no, uint32_t idx, uint64_t bare)
{
        ASSERT(bare == 0 || bare == MAGAZINE_BARE);
        pool_hint(r, idx, true);
        magazine_release(r, thread_no, &r->magazine_words[idx],
                         magazine_word(MAGAZINE_POOL, THREAD_NONE, 0, 0) | bare); /* MAG.3, E3.rel */
        pool_hint(r, idx, true);
}

/* MAG_BARE.1 to .3: pages for a magazine that was just taken.  Without them it goes back as it was. */
static int
reserve_taken(struct thread *t, uint32_t idx)
{
        struct region *r = t->region;
        int err = region_reserve_table(r, TABLE_MAGAZINES, idx, 1); /* MAG_BARE.1 */

        ASSERT_INVARIANT(I5, magazine_owner(owner_load(&r->magazine_words[idx])) == t->no);
        if (err < 0) {
                release_to_pool(r, t->no, idx, MAGAZINE_BARE);
                hand_set(t, 0);
                return err;
        }
        store_relaxed(&r->magazines[idx].n, UINT64_C(0)); /* MAG_BARE.2 */
        kill_order();
        magazine_store(r, t->no, &r->magazine_words[idx],
                       owner_load(&r->magazine_words[idx]) & ~MAGAZINE_BARE); /* MAG_BARE.3 */
        kill_order();
        return 0;
}

/* Magazines of the pool that one call looks for. */
struct pool_search {
        uint32_t tag;
        bool has_pages; /* only one that has them */
};

static bool
take_pooled(struct thread *t, uint32_t idx, struct pool_search *search)
{
        struct magazine *m = &t->region->magazines[idx];
        uint64_t word = owner_load(&t->region->magazine_words[idx]);

        if (magazine_state(word) == MAGAZINE_POOL && magazine_is_bare(word) && search->has_pages)
                return false;
        pool_hint(t->region, idx, false);
        if (magazine_state(word) != MAGAZINE_POOL || !take(t, idx, word, search->tag))
                return false;
        if (magazine_is_bare(word) && reserve_taken(t, idx) < 0) {
                search->has_pages = true;
                return false;
        }
        store_relaxed(&m->n, UINT64_C(0));
        store_relaxed(&m->cap, (uint64_t)size_class_magazine_cap(tag_class(search->tag)));
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        return true;
}

/* The hint words below the mark, from a start that differs from thread to thread. */
static bool
take_hinted(struct thread *t, uint32_t hwm, struct pool_search *search, uint32_t *ret_idx)
{
        struct region *r = t->region;
        uint32_t first = t->node * r->layout.magazines_per_node;
        uint32_t n_words = (hwm + 63) / 64;
        uint32_t tries = 0;

        ASSERT_INVARIANT(I17, hwm <= r->layout.magazines_per_node);
        for (uint32_t i = 0; i < n_words; i++) {
                uint32_t w = (t->seed + i) % n_words;
                uint64_t hints = load_relaxed(&r->pool_hints[first / 64 + w]);

                for (; hints != 0 && tries < POOL_TRIES_MAX; hints &= hints - 1, tries++) {
                        *ret_idx = first + w * 64 + bits_ctz(hints);
                        if (w * 64 + bits_ctz(hints) < hwm && take_pooled(t, *ret_idx, search))
                                return true;
                }
        }
        return false;
}

static bool
take_unhinted(struct thread *t, uint32_t hwm, struct pool_search *search, uint32_t *ret_idx)
{
        struct region *r = t->region;
        uint32_t first = t->node * r->layout.magazines_per_node;

        ASSERT_INVARIANT(I17, hwm <= r->layout.magazines_per_node);
        for (uint32_t i = 0; i < hwm; i++)
                if (magazine_state(owner_load(&r->magazine_words[first + i])) == MAGAZINE_POOL &&
                    take_pooled(t, first + i, search)) {
                        *ret_idx = first + i;
                        return true;
                }
        return false;
}

int
magazine_take_empty(struct thread *t, uint32_t tag, uint32_t *ret_idx)
{
        struct region *r = t->region;
        struct pool_search search = {.tag = tag, .has_pages = t->call.no_grow};

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == 0);
        ASSERT(tag_is_of_class(&r->layout, tag));
        for (int tries = 0; tries < POOL_TRIES_MAX; tries++) {
                uint32_t hwm = region_magazines_hwm(r, t->node);

                if (take_hinted(t, hwm, &search, ret_idx))
                        return 0;
                if (hwm >= r->layout.magazines_per_node || t->call.no_grow ||
                    region_raise_magazines(r, t->node, hwm) < 0)
                        return take_unhinted(t, hwm, &search, ret_idx) ? 0 : -ENOMEM;
                *ret_idx = t->node * r->layout.magazines_per_node + hwm;
                if (take_pooled(t, *ret_idx, &search))
                        return 0;
        }
        return -ENOMEM;
}

/* ------------------------------------------------------------------ depot */

/* The places of a class in a depot. */
struct depot {
        uint32_t *place;
        uint32_t *n;
        uint32_t n_places;
};

/* False: there is no such arena yet, or no such class. */
static bool
depot_of(struct region *r, uint32_t arena, uint32_t tag, struct depot *ret_depot)
{
        struct arena *a = region_arena(r, arena);
        uint32_t class_idx = tag_class(tag);

        ASSERT_INVARIANT(I3, tag_is_of_class(&r->layout, tag));
        if (!a || class_idx >= SIZE_CLASS_N_CACHED) /* of a damaged word: anything */
                return false;
        *ret_depot = (struct depot){.place = &a->depot[size_class_depot_first(class_idx)],
                                    .n = &a->depot_n[class_idx],
                                    .n_places = size_class_depot_places(class_idx)};
        return true;
}

bool
magazine_take_exactly(struct thread *t, uint32_t idx, uint32_t arena, uint32_t tag)
{
        uint64_t word = owner_load(&t->region->magazine_words[idx]);

        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == 0);
        ASSERT(idx < t->region->layout.n[TABLE_MAGAZINES]);
        return magazine_with_depot_place1(word, 0) == magazine_word(MAGAZINE_DEPOT, THREAD_NONE, arena, tag) &&
               take(t, idx, word, tag);
}

/* What the hit paths rely on.  A magazine that was put down empty, or by somebody who damaged it, is no use. */
static bool
is_sound(const struct magazine *m)
{
        uint64_t n = load_relaxed(&m->n), cap = load_relaxed(&m->cap); /* owned */

        return n > 0 && n <= cap && cap <= MAGAZINE_CAP_MAX;
}

static bool
is_seen_in(const struct magazine *m, uint64_t entry)
{
        uint64_t n = load_relaxed(&m->n); /* others may change it meanwhile: what is seen below n was freed */

        for (uint64_t i = 0; i < n && i < MAGAZINE_CAP_MAX; i++)
                if (load_relaxed(&m->slot[i]) == entry)
                        return true;
        return false;
}

/* Whose magazine it is stores an entry, then the count.  Where processors may show others the count first, what lay
 * there before looks pushed: so whoever sees the entry lets all of them finish their stores, and looks once more.
 * (Refused by a filter, the first look counts.) */
bool
magazine_holds(const struct magazine *m, uint64_t entry)
{
        if (!is_seen_in(m, entry))
                return false;
        if (PROCESS_STORES_IN_ORDER)
                return true;
        process_fence_all();
        return is_seen_in(m, entry);
}

uint32_t
magazine_depot_count(const struct arena *a, uint32_t class_idx)
{
        uint32_t n = load_relaxed(&a->depot_n[class_idx]), n_places = size_class_depot_places(class_idx); /* a hint */

        return n < n_places ? n : n_places;
}

bool
magazine_is_hinted(const struct region *r, uint32_t idx, uint64_t word)
{
        const struct arena *a = region_arena(r, magazine_arena(word));
        uint32_t class_idx = tag_class(magazine_tag(word));
        uint32_t place1 = magazine_depot_place1(word);

        ASSERT(idx < r->layout.n[TABLE_MAGAZINES]);
        return a && place1 != 0 && place1 <= magazine_depot_count(a, class_idx) &&
               load_relaxed(&a->depot[size_class_depot_first(class_idx) + place1 - 1]) == idx + 1;
}

/* What the depot did not need since the last decay tick is given back then. */
static void
note_low(struct arena *a, uint32_t class_idx)
{
        uint32_t n = magazine_depot_count(a, class_idx);

        ASSERT(class_idx < TAG_CLASSES);
        if (n < load_relaxed(&a->depot_low[class_idx])) /* a hint, too */
                store_relaxed(&a->depot_low[class_idx], n);
}

/* Takes what a place names.  Whether that was taken or is stale, the place is empty then.  Two who empty it at once may
 * lose what a third put there in between: a hint. */
static bool
take_from(struct thread *t, uint32_t *place, uint32_t arena, uint32_t tag, uint32_t idx1)
{
        struct region *r = t->region;
        bool is_taken = region_has_magazine(r, idx1 - 1) && magazine_take_exactly(t, idx1 - 1, arena, tag);

        ASSERT(idx1 != 0);
        if (load_relaxed(place) == idx1)
                store_relaxed(place, 0u);
        if (!is_taken || is_sound(&r->magazines[idx1 - 1]))
                return is_taken;
        store_relaxed(&r->magazines[idx1 - 1].n, UINT64_C(0));
        magazine_put(t, idx1 - 1, arena, true); /* to the pool */
        return false;
}

bool
magazine_take_depot(struct thread *t, uint32_t arena, uint32_t tag, uint32_t *ret_idx)
{
        struct depot depot;
        uint32_t n;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == 0);
        if (!depot_of(t->region, arena, tag, &depot))
                return false;
        n = load_relaxed(depot.n);
        if (n == 0)
                return false;
        for (uint32_t i = n < depot.n_places ? n : depot.n_places; i > 0; i--) { /* the last one first: it is warm */
                uint32_t idx1 = load_relaxed(&depot.place[i - 1]);

                if (idx1 == 0 || !take_from(t, &depot.place[i - 1], arena, tag, idx1))
                        continue;
                store_relaxed(depot.n, i - 1);
                note_low(region_arena(t->region, arena), tag_class(tag));
                *ret_idx = idx1 - 1;
                ASSERT_INVARIANT(I11, magazine_is_own(t, *ret_idx));
                return true;
        }
        if (load_relaxed(depot.n) == n)
                store_relaxed(depot.n, 0u);
        return false;
}

/* Another arena of the node, the next in turn. */
static uint32_t
next_neighbour(struct thread *t)
{
        uint32_t n = t->region->arenas_per_node, nth = t->depot_hand++ % n;

        return t->node * n + nth == t->arena ? (nth + 1) % n : nth;
}

bool
magazine_take_neighbour(struct thread *t, uint32_t tag, uint32_t *ret_idx)
{
        struct region *r = t->region;
        uint32_t n = r->arenas_per_node;

        for (int i = 0; i < 2 && n > 1; i++) {
                uint32_t nth = i == 0 ? t->depot_found : next_neighbour(t), arena = t->node * n + nth;
                const struct arena *a = arena == t->arena ? NULL : region_arena(r, arena);

                if (a && magazine_depot_count(a, tag_class(tag)) >= DEPOT_SPARED &&
                    magazine_take_depot(t, arena, tag, ret_idx)) {
                        t->depot_found = nth;
                        return true;
                }
        }
        return false;
}

bool
magazine_take(struct thread *t, uint32_t arena, uint32_t class_idx, uint32_t *ret_idx)
{
        uint32_t tag = tag_make(region_arena_node(t->region, arena), class_idx);

        return magazine_take_depot(t, arena, tag, ret_idx) ||
               (arena == t->arena && magazine_take_neighbour(t, tag, ret_idx));
}

static bool
depot_has_room(struct region *r, uint32_t arena, uint32_t tag)
{
        struct depot depot;

        ASSERT(arena < r->layout.n_arenas);
        return depot_of(r, arena, tag, &depot) && load_relaxed(depot.n) < depot.n_places;
}

/* A place for an owned magazine, behind those in use: its number + 1.  0: there is none, or not that easily. */
static uint32_t
depot_hint(struct region *r, uint32_t arena, uint32_t tag, uint32_t idx)
{
        struct depot depot;

        ASSERT(idx < r->layout.n[TABLE_MAGAZINES]);
        if (!depot_of(r, arena, tag, &depot))
                return 0;
        for (uint32_t i = load_relaxed(depot.n); i < depot.n_places; i++) {
                uint32_t none = 0;

                if (load_relaxed(&depot.place[i]) != 0)
                        continue;
                if (!cas_relaxed(&depot.place[i], &none, idx + 1))
                        continue;
                store_relaxed(depot.n, i + 1);
                return i + 1;
        }
        /* Two who store the height at once may leave it below places that are in use, and a taker looks at none above
         * it.  So it is what it looks like: who takes next finds those that name nothing. */
        store_relaxed(depot.n, depot.n_places);
        return 0;
}

/* ------------------------------------------------------------------ places */

void
magazine_place(struct thread *t, uint32_t *place, uint32_t idx)
{
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == idx + 1);
        ASSERT_INVARIANT(I7, place_may_become(t, place, idx));
        kill_order();
        store_relaxed(place, idx + 1); /* MAG.4 */
        hand_set(t, 0);                /* MAG.5 */
}

void
magazine_pick_up(struct thread *t, uint32_t *place, uint32_t idx)
{
        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == 0 && load_relaxed(place) == idx + 1);
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        hand_set(t, idx + 1);
        store_relaxed(place, 0u);
        kill_order();
}

bool
magazine_has_room(const struct region *r, uint32_t idx)
{
        uint64_t n = load_relaxed(&r->magazines[idx].n); /* owned */

        ASSERT(idx < r->layout.n[TABLE_MAGAZINES]);
        return n < load_relaxed(&r->magazines[idx].cap) && n < MAGAZINE_CAP_MAX;
}

void
magazine_push(struct thread *t, uint32_t idx, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[idx];
        uint64_t n = load_relaxed(&m->n);

        ASSERT_INVARIANT(I11, magazine_is_own(t, idx) && magazine_has_room(r, idx));
        ASSERT_INVARIANT(I20, dest_is_valid(r, dest_off));
        store_relaxed(&m->slot[n], region_entry(r, block_off)); /* PUSH.1 */
        kill_order();
        if (dest_off != 0)
                intent_begin(t, INTENT(PUSH_FROM, push_from, .magazine = idx, .n = n + 1, .block = block_off,
                                       .dest = dest_off)); /* PUSH_FROM.1 */
        store_relaxed(&m->n, n + 1);                       /* PUSH.2, PUSH_FROM.2: commit */
        kill_order();
        if (dest_off == 0)
                return;
        dest_store(r, dest_off, UINT64_C(0)); /* PUSH_FROM.3 */
        intent_end(t);                        /* PUSH_FROM.4 */
}

static void
let_go(struct thread *t, uint32_t idx, uint32_t arena, uint32_t place1)
{
        struct region *r = t->region;
        uint64_t *word = &r->magazine_words[idx];
        uint32_t tag = magazine_tag(owner_load(word));

        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        ASSERT_INVARIANT(I7, magazine_is_named(r, t->slot, word));
        if (load_relaxed(&r->magazines[idx].n) == 0)
                release_to_pool(r, t->no, idx, 0);
        else
                magazine_release(r, t->no, word,
                                 magazine_with_depot_place1(magazine_word(MAGAZINE_DEPOT, THREAD_NONE, arena, tag),
                                                            place1)); /* MAG.3, E3.rel */
        if (load_relaxed(&t->slot->hand) == idx + 1)
                hand_set(t, 0); /* MAG.5 */
}

bool
magazine_put(struct thread *t, uint32_t idx, uint32_t arena, bool force)
{
        struct region *r = t->region;
        uint64_t *word = &r->magazine_words[idx];
        uint32_t tag = magazine_tag(owner_load(word)), place1 = 0;

        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        ASSERT_INVARIANT(I7, magazine_is_named(r, t->slot, word));
        ASSERT(arena < r->layout.n_arenas);
        if (!force && load_relaxed(&r->magazines[idx].n) != 0 && !depot_has_room(r, arena, tag))
                return false; /* its blocks go home instead: drain_magazine() looks at them */
        sift_own(t, idx);
        if (load_relaxed(&r->magazines[idx].n) != 0)
                place1 = depot_hint(r, arena, tag, idx);
        if (load_relaxed(&r->magazines[idx].n) != 0 && place1 == 0 && !force)
                return false;
        let_go(t, idx, arena, place1);
        return true;
}

void
magazine_put_aside(struct thread *t, uint32_t idx, uint32_t arena)
{
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        ASSERT(arena < t->region->layout.n_arenas);
        sift_own(t, idx);
        let_go(t, idx, arena, 0);
}

void
magazine_is_empty_now(struct thread *t, uint32_t idx)
{
        uint64_t *at = &t->region->magazine_words[idx], word = owner_load(at);

        ASSERT_INVARIANT(I5, magazine_owner(word) == t->no);
        if (magazine_is_foreign(word) && load_relaxed(&t->region->magazines[idx].n) == 0)
                magazine_store(t->region, t->no, at, word & ~MAGAZINE_FOREIGN);
}

void
magazine_bad_entry(struct thread *t, uint32_t idx, uint32_t what, uint64_t block_off)
{
        ASSERT_INVARIANT(I5, magazine_owner(owner_load(&t->region->magazine_words[idx])) == t->no);
        owner_add(&t->slot->n_dropped, UINT64_C(1));
        if (magazine_is_foreign(owner_load(&t->region->magazine_words[idx])))
                fault_note_others(t, block_off);
        else
                (void)fault_note(t, (enum fault_what)what, block_off);
}

void
magazine_settle(struct region *r, uint32_t thread_no, uint32_t idx)
{
        uint64_t word, left;

        ASSERT(thread_no != THREAD_NONE);
        if (!region_has_magazine(r, idx))
                return;
        word = owner_load(&r->magazine_words[idx]);
        if (magazine_owner(word) != thread_no)
                return;
        if (magazine_is_bare(word) || load_relaxed(&r->magazines[idx].n) == 0) {
                release_to_pool(r, thread_no, idx, word & MAGAZINE_BARE);
                return;
        }
        left = magazine_word(MAGAZINE_DEPOT, THREAD_NONE, magazine_arena(word), magazine_tag(word));
        left = magazine_with_depot_place1(
                left, depot_hint(r, magazine_arena(word), magazine_tag(word), idx)); /* 0: the clock hand finds it */
        magazine_release(r, thread_no, &r->magazine_words[idx], left);               /* E3.rel */
}
