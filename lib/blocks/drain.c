/*
 * drain.c - see drain.h.
 *
 * Blocks leave from the top, because the store of n is what commits.  A block whose slab somebody else holds changes
 * places with one at the bottom, under an intent that holds both (SWAP: recovery stores both again), and the others go
 * on.  Nothing waits for the holder.
 */
#include "blocks/drain.h"

#include <errno.h>

#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/sift.h"
#include "blocks/slab.h"
#include "blocks/valid.h"
#include "clients/intent.h"
#include "clients/owner.h"

static void
swap(struct thread *t, uint32_t idx, uint64_t i, uint64_t j)
{
        struct magazine *m = &t->region->magazines[idx];
        uint64_t a = load_relaxed(&m->slot[i]), b = load_relaxed(&m->slot[j]);

        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        intent_begin(t, INTENT(SWAP, swap, .magazine = idx, .i = i, .j = j, .a = a, .b = b)); /* SWAP.1 */
        store_relaxed(&m->slot[i], b);                                                        /* SWAP.2 */
        kill_order();
        store_relaxed(&m->slot[j], a); /* SWAP.3 */
        intent_end(t);                 /* SWAP.4 */
}

bool
drain_magazine(struct thread *t, uint32_t idx, uint64_t keep)
{
        struct region *r = t->region;
        struct magazine *m = &r->magazines[idx];
        uint32_t class_idx = tag_class(magazine_tag(owner_load(&r->magazine_words[idx])));
        uint64_t bottom = 0; /* entries below it were tried and are held by others */

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        sift_own(t, idx); /* one from a depot, too: its thread may have put blocks there since */
        for (uint64_t n = load_relaxed(&m->n); n > keep && n > bottom && n <= MAGAZINE_CAP_MAX;
             n = load_relaxed(&m->n)) {
                int err = size_class_is_small(class_idx)   ? slab_drain(t, idx)
                          : size_class_is_large(class_idx) ? large_drain(t, idx)
                                                           : huge_drain(t, idx);

                if (err != -EBUSY)
                        continue;
                if (bottom + 1 < n)
                        swap(t, idx, bottom, n - 1);
                bottom++;
        }
        ASSERT_INVARIANT(I11, magazine_is_own(t, idx));
        magazine_is_empty_now(t, idx);
        return load_relaxed(&m->n) <= keep;
}

void
drain_own(struct thread *t)
{
        for (uint32_t place = 0; place < 2 * t->region->layout.n_tags; place++) {
                uint32_t idx = magazine_in(t, &t->slot->magazines[place]);

                if (idx != MAGAZINE_IDX_NONE)
                        drain_magazine(t, idx, 0);
        }
}

void
drain_home(struct thread *t, uint32_t idx, uint32_t arena)
{
        ASSERT_INVARIANT(I7, load_relaxed(&t->slot->hand) == idx + 1);
        if (drain_magazine(t, idx, 0))
                magazine_put(t, idx, arena, true);
        else
                magazine_put_aside(t, idx, arena);
}

uint32_t
drain_unload(struct thread *t, uint32_t *place, uint32_t idx, uint32_t tag)
{
        uint32_t home = magazine_home(t, tag);

        magazine_pick_up(t, place, idx);
        if (!magazine_put(t, idx, home, false)) {
                if (drain_magazine(t, idx, 0)) {
                        magazine_place(t, place, idx);
                        return idx;
                }
                magazine_put(t, idx, home, true); /* held slabs: the clock hand will drain it */
        }
        if (magazine_take_empty(t, tag, &idx) < 0)
                return MAGAZINE_IDX_NONE;
        magazine_place(t, place, idx);
        return idx;
}

void
drain_out(struct thread *t, uint32_t *place, uint32_t tag)
{
        uint32_t idx = magazine_in(t, place), home;

        if (idx == MAGAZINE_IDX_NONE)
                return;
        home = magazine_home(t, tag);
        magazine_pick_up(t, place, idx);
        if (!magazine_put(t, idx, home, false))
                drain_home(t, idx, home);
}

uint32_t
drain_depots(struct thread *t, uint32_t arena, uint32_t want)
{
        uint32_t node = region_arena_node(t->region, arena);
        uint32_t n = 0, idx;

        ASSERT(arena < t->region->layout.n_arenas);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N_CACHED; class_idx++)
                /* Bounded: others may put as many there meanwhile. */
                for (uint32_t i = size_class_depot_places(class_idx); i > 0 && n < want; i--, n++) {
                        if (!magazine_take_depot(t, arena, tag_make(node, class_idx), &idx))
                                break;
                        drain_home(t, idx, arena);
                }
        return n;
}

void
drain_node(struct thread *t, uint32_t node)
{
        ASSERT(node < t->region->n_nodes);
        for (uint32_t i = 0; i < t->region->arenas_per_node; i++)
                drain_depots(t, node * t->region->arenas_per_node + i, UINT32_MAX);
}

/* Those of the table of a node's threads, which put the blocks of other nodes there, too. */
static void
drain_table(struct thread *t, uint32_t table, uint32_t node)
{
        struct region *r = t->region;
        uint32_t first = table * r->layout.magazines_per_node, hwm = region_magazines_hwm(r, table);

        ASSERT(table < NODE_MAX && first + hwm <= r->layout.n[TABLE_MAGAZINES]);
        for (uint32_t idx = first; idx < first + hwm; idx++) {
                uint64_t word = owner_load(&r->magazine_words[idx]);

                if (magazine_state(word) != MAGAZINE_DEPOT || !region_has_tag(r, magazine_tag(word)) ||
                    (node != NODE_NONE && tag_node(magazine_tag(word)) != node))
                        continue;
                if (magazine_take_exactly(t, idx, magazine_arena(word), magazine_tag(word)))
                        drain_home(t, idx, magazine_arena(word));
        }
}

void
drain_all_depots(struct thread *t, uint32_t node)
{
        struct region *r = t->region;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        for (uint32_t n = 0; n < r->n_nodes; n++) /* by their places, so that these are free again */
                if (node == NODE_NONE || node == n)
                        drain_node(t, n);
        for (uint32_t n = 0; n < NODE_MAX && (uint64_t)n * r->layout.magazines_per_node < r->layout.n[TABLE_MAGAZINES];
             n++)
                drain_table(t, n, node);
}

void
drain_clock_hand(struct thread *t)
{
        struct region *r = t->region;
        struct arena *a = region_arena(r, t->arena);
        uint32_t hwm = region_magazines_hwm(r, t->node);
        uint32_t first = t->node * r->layout.magazines_per_node;
        uint64_t hand;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        if (!a || hwm == 0)
                return;
        hand = load_relaxed(&a->magazine_hand); /* a hint: two threads may look at the same line */
        store_relaxed(&a->magazine_hand, hand + 8);
        for (uint32_t i = 0; i < 8; i++) {
                uint32_t idx = first + (uint32_t)((hand + i) % hwm);
                uint64_t word = owner_load(&r->magazine_words[idx]);

                if (magazine_state(word) != MAGAZINE_DEPOT || !region_has_tag(r, magazine_tag(word)) ||
                    magazine_is_hinted(r, idx, word))
                        continue;
                if (magazine_take_exactly(t, idx, magazine_arena(word), magazine_tag(word)))
                        drain_home(t, idx, magazine_arena(word));
        }
}
