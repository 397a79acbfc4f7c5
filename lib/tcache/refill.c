/*
 * refill.c - the slow path of malloc: another magazine for the class.
 *
 * The spare first; then what find_magazine() has: a full one from a depot, or the empty one, filled from a slab.
 */
#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "blocks/drain.h"
#include "blocks/huge.h"
#include "blocks/magazine.h"
#include "blocks/slab_pages.h"
#include "clients/intent.h"
#include "clients/owned.h"
#include "heap/find.h"
#include "tcache/tcache.h"

/* Puts a magazine from the hand into the current place; the empty one that was there becomes the spare or goes. */
static void
replace_empty(struct tcache *t, uint32_t tag, uint32_t current, uint32_t idx)
{
        struct thread *th = &t->thread;

        ASSERT(idx != current && magazine_in(th, magazine_current(th, tag)) == current);
        if (current != MAGAZINE_IDX_NONE && magazine_in(th, magazine_spare(th, tag)) == MAGAZINE_IDX_NONE) {
                store_relaxed(magazine_spare(th, tag), current + 1);
                kill_order();
        } else if (current != MAGAZINE_IDX_NONE) {
                magazine_put(th, current, magazine_home(th, tag), true);
        }
        magazine_place(th, magazine_current(th, tag), idx);
        tcache_publish(t, tag);
        ASSERT_INVARIANT(I7, load_relaxed(&th->slot->hand) == 0);
}

void *
tcache_pop_to(struct tcache *t, uint32_t class_idx, uint64_t dest_off)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t idx = magazine_in(th, magazine_current(th, tag_make(th->node, class_idx)));
        uint64_t n = idx == MAGAZINE_IDX_NONE ? 0 : load_relaxed(&r->magazines[idx].n), block_off;

        if (n == 0)
                return NULL;
        ASSERT(n <= MAGAZINE_CAP_MAX && size_class_is_small(class_idx));
        block_off = region_entry_off(r, load_relaxed(&r->magazines[idx].slot[n - 1]));
        dest_fill(th, dest_off, block_off, size_class_bytes(class_idx));
        intent_begin(th, INTENT(POP_TO, pop_to, .magazine = idx, .n = n - 1, .was = dest_load(r, dest_off),
                                .block = block_off, .dest = dest_off)); /* POP_TO.1 */
        dest_store(r, dest_off, r->layout.chunks_off + block_off);      /* POP_TO.2 */
        kill_order();
        store_relaxed(&r->magazines[idx].n, n - 1); /* POP_TO.3: commit */
        intent_end(th);                             /* POP_TO.4 */
        return region_block(r, block_off);
}

static void *
pop_current(struct tcache *t, uint32_t class_idx, uint64_t dest_off)
{
        struct region *r = t->thread.region;
        void *entry;

        if (dest_off != 0)
                return tcache_pop_to(t, class_idx, dest_off);
        if (!tcache_pop(t, class_idx + 1, &entry))
                return NULL;
        return region_block(r, region_entry_off(r, (uint64_t)(uintptr_t)entry));
}

void *
tcache_malloc_spare(struct tcache *t, uint32_t class_idx1)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        uint32_t tag, current, spare;
        void *p;

        ASSERT(class_idx1 <= SIZE_CLASS_N);
        if (class_idx1 == 0 || !tcache_is_quick(t))
                return NULL;
        tag = tag_make(th->node, class_idx1 - 1);
        current = magazine_in(th, magazine_current(th, tag));
        spare = magazine_in(th, magazine_spare(th, tag));
        if (current == MAGAZINE_IDX_NONE || load_relaxed(&r->magazines[current].n) > 0 || spare == MAGAZINE_IDX_NONE ||
            load_relaxed(&r->magazines[spare].n) == 0)
                return NULL;
        t->n_slow++;
        tcache_swap_places(t, tag, current, spare);
        return tcache_pop(t, class_idx1, &p) ? p : NULL;
}

static void *
malloc_small(struct tcache *t)
{
        struct thread *th = &t->thread;
        struct region *r = th->region;
        struct call *c = &th->call;
        uint32_t class_idx = c->class_idx, tag = tag_make(th->node, class_idx), current, spare;

        if (!tcache_has_magazine(t, tag) && slab_malloc_goes_past(th, class_idx))
                return find_block(th) < 0 ? NULL : region_block(r, c->found_off);
        current = tcache_ensure_current(t, tag);
        spare = magazine_in(th, magazine_spare(th, tag));
        ASSERT_INVARIANT(I19, thread_is_valid(th));
        ASSERT_INVARIANT(I21, tcache_shows(t, tag));
        if (current != MAGAZINE_IDX_NONE && load_relaxed(&r->magazines[current].n) > 0)
                return pop_current(t, class_idx, c->dest_off); /* a caller that does not use the hit path */
        if (spare != MAGAZINE_IDX_NONE && load_relaxed(&r->magazines[spare].n) > 0) {
                if (current != MAGAZINE_IDX_NONE)
                        tcache_swap_places(t, tag, current, spare);
                else {
                        magazine_pick_up(th, magazine_spare(th, tag), spare);
                        magazine_place(th, magazine_current(th, tag), spare);
                        tcache_publish(t, tag);
                }
                return pop_current(t, class_idx, c->dest_off);
        }
        if (find_magazine(th, current) < 0)
                return NULL;
        if (c->found_idx == MAGAZINE_IDX_NONE)
                return region_block(r, c->found_off);
        if (t->is_away)
                tcache_count_away(t, load_relaxed(&r->magazines[c->found_idx].n));
        if (c->found_idx != current)
                replace_empty(t, tag, current, c->found_idx);
        return pop_current(t, class_idx, c->dest_off);
}

/* Whether a huge block of so many chunks is at an entry, and nobody's; *ret_bytes is what is usable. */
static bool
is_kept(struct region *r, uint64_t block_off, uint64_t n_chunks, uint64_t *ret_bytes)
{
        uint64_t chunk, word;

        if (!huge_block_of(r, block_off, &chunk, &word) || !chunk_is_huge_of(word, n_chunks))
                return false;
        *ret_bytes = huge_usable(r, chunk, word);
        return true;
}

/* Whether the topmost block of a huge class is of the size that the call asks for, or can be made so: it has the chunks
 * for it, and most often the pages.  A block in a magazine is resized as any other, and stays in there meanwhile. */
static bool
top_fits(struct thread *t, uint32_t class_idx, uint32_t idx)
{
        struct region *r = t->region;
        uint64_t top = load_relaxed(&r->magazines[idx].n) - 1, block_off, bytes;
        uint64_t n_chunks = size_class_bytes(class_idx) >> GEO_CHUNK_SHIFT, want;
        bool fits;

        ASSERT(size_class_is_huge(class_idx));
        if (top >= MAGAZINE_CAP_MAX)
                return false;
        block_off = region_entry_off(r, load_relaxed(&r->magazines[idx].slot[top]));
        want = bits_align_up(t->call.size, GEO_PAGE_BYTES);
        if (is_kept(r, block_off, n_chunks, &bytes)) {
                fits = bytes == want || huge_resize(t, block_off, t->call.size) == 0;
                if (bytes == want || is_kept(r, block_off, n_chunks, &bytes)) /* else it was DOOMED, and is free now */
                        return fits;
        }
        drain_magazine(t, idx, top); /* freed by others as well: that is told before it is allocated again */
        return false;
}

static void *
malloc_whole(struct tcache *t)
{
        struct thread *th = &t->thread;
        const struct call *c = &th->call;
        uint32_t class_idx = c->class_idx, idx = MAGAZINE_IDX_NONE;

        if (class_idx == SIZE_CLASS_NONE && c->align <= GEO_CHUNK_BYTES)
                class_idx = size_class_of_huge(c->size);
        if (class_idx != SIZE_CLASS_NONE)
                idx = magazine_in(th, magazine_current(th, tag_make(th->node, class_idx)));
        if (idx != MAGAZINE_IDX_NONE && load_relaxed(&th->region->magazines[idx].n) > 0 &&
            (size_class_is_large(class_idx) || top_fits(th, class_idx, idx)))
                return pop_current(t, class_idx, 0); /* a caller that does not use the hit path */
        return find_block(th) < 0 ? NULL : region_block(th->region, c->found_off);
}

void *
tcache_malloc_slow(struct tcache *t)
{
        const struct call *c = &t->thread.call;
        void *p;

        tcache_tick(t);
        p = size_class_is_small(c->class_idx) ? malloc_small(t) : malloc_whole(t);
        if (!p)
                errno = ENOMEM;
        else if (c->fallback_node1 != 0)
                tcache_follow_fallback(t);
        t->limit = tcache_limit(t); /* a fill may have brought a chunk */
        return p;
}

bool
tcache_malloc(struct tcache *t, size_t size, void **ret_p)
{
        bool has_nodes = t->thread.region->n_nodes > 1;
        uint32_t class_idx;

        if (size <= SIZE_CLASS_BY_SIZE_MAX && t->by_size[size] != 0)
                class_idx = t->by_size[size] - 1u;
        else if (!size_class_for(size, 1, &class_idx))
                return false;
        *ret_p = t->by_size[0] != 0 && size_class_is_small(class_idx) ? tcache_malloc_spare(t, class_idx + 1) : NULL;
        if (!*ret_p && !tcache_is_plain(t))
                return false;
        if (has_nodes)
                tcache_follow_node(t);
        if (!*ret_p) {
                call_begin(&t->thread, size, 1, class_idx);
                *ret_p = tcache_malloc_slow(t);
        }
        return true;
}
