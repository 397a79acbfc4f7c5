/*
 * free.c - see free.h.
 *
 * A block goes back to its slab, or is a run or chunks of its own.  Where somebody holds the slab, who may be stopped
 * for ever, nothing waits for it: the block is put aside in a magazine, from which somebody will drain it.
 *
 * Nothing here is owned between two steps but the thread's magazines, so a death in between needs no repair.
 */
#include "heap/free.h"

#include <errno.h>
#include <sched.h>

#include "base/size_class.h"
#include "blocks/drain.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "os/process.h"
#include "os/shm.h"
#include "pages/run.h"
#include "region/file.h"

enum {
        TRIES_MAX = 1 << 14, /* for a slab that is held */
        TRIES_REAP = 64      /* tries after which its holder may well be dead */
};

/* ------------------------------------------------------------------ what a block is */

uint64_t
block_usable(struct region *r, uint64_t block_off, uint32_t *ret_class)
{
        uint64_t head, word;
        uint32_t block_idx;

        if (slab_block_of(r, block_off, &head, &block_idx)) {
                *ret_class = granule_class(owner_load(run_word(r, head)));
                return size_class_is_small(*ret_class) ? size_class_bytes(*ret_class) : 0;
        }
        if (large_block_of(r, block_off, &head, &word)) {
                *ret_class = granule_class(word);
                return size_class_bytes(*ret_class);
        }
        if (huge_block_of(r, block_off, &head, &word)) {
                *ret_class = SIZE_CLASS_NONE;
                return huge_usable(r, head, word);
        }
        return 0;
}

bool
block_is_home(struct region *r, uint64_t block_off)
{
        uint64_t head;
        uint32_t block_idx;

        /* Of a block that is allocated the bit is 0, whatever the slab's owner does to others of its word. */
        return slab_block_of(r, block_off, &head, &block_idx) &&
               (load_relaxed(region_slab_word(r, head, block_idx / 64)) >> block_idx % 64 & 1);
}

/* Others may purge it once they have emptied it. */
static bool
is_held_in(const struct region *r, uint64_t idx, uint64_t entry, int fd)
{
        struct magazine copy;

        file_look(r, fd, &r->magazines[idx], &copy, sizeof copy);
        if (!magazine_holds(&copy, entry))
                return false;
        if (PROCESS_STORES_IN_ORDER)
                return true;
        file_look(r, fd, &r->magazines[idx], &copy, sizeof copy); /* that was a fence: again */
        return magazine_holds(&copy, entry);
}

static bool
is_in_any_magazine(const struct region *r, uint32_t tag, uint64_t entry, int fd)
{
        for (uint64_t idx = 0; idx < r->layout.n[TABLE_MAGAZINES]; idx++) {
                uint64_t node_idx = idx / r->layout.magazines_per_node * r->layout.magazines_per_node, word;

                if (!region_has_magazine(r, idx)) {
                        idx = node_idx + r->layout.magazines_per_node - 1; /* beyond this node's mark */
                        continue;
                }
                word = owner_load(&r->magazine_words[idx]);
                if (magazine_tag(word) == tag && !magazine_is_bare(word) && is_held_in(r, idx, entry, fd))
                        return true;
        }
        return false;
}

bool
block_is_free_or_cached(struct region *r, uint64_t block_off)
{
        uint32_t tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* below the mark: the caller looked */
        uint64_t head, word;
        uint32_t block_idx;
        bool is_cached;
        int fd;

        if (block_is_home(r, block_off))
                return true;
        if (huge_block_of(r, block_off, &head, &word))
                tag = huge_tag_of(r, word);
        else if (!slab_block_of(r, block_off, &head, &block_idx) && !large_block_of(r, block_off, &head, &word))
                return false;
        if (tag == TAG_NONE)
                return false;
        fd = file_borrow_kept(r);
        is_cached = is_in_any_magazine(r, tag, region_entry(r, block_off), fd);
        os_close(fd);
        return is_cached;
}

/* ------------------------------------------------------------------ free */

int
free_block(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint64_t head, word;
        uint32_t block_idx;

        if (large_block_of(r, block_off, &head, &word))
                return large_free(t, block_off, dest_off);
        if (slab_block_of(r, block_off, &head, &block_idx))
                return slab_free_one(t, block_off, dest_off);
        if (huge_block_of(r, block_off, &head, &word))
                return huge_free(t, block_off, dest_off);
        return large_free(t, block_off, dest_off);
}

/* A dest that does not name the block any more: its free was somebody else's, and has been finished. */
static bool
is_done(const struct region *r, uint64_t block_off, uint64_t dest_off)
{
        return dest_off != 0 && load_relaxed((const uint64_t *)(const void *)(r->base + dest_off)) !=
                                        r->layout.chunks_off + block_off; /* only the caller and a reaper write it */
}

/* Where no empty magazine is to be had: one of a depot that has room, or is given some. */
static bool
take_roomy(struct thread *t, uint32_t tag, uint32_t *ret_idx)
{
        uint32_t first = tag_node(tag) * t->region->arenas_per_node, cap = size_class_magazine_cap(tag_class(tag));

        for (uint32_t arena = first; arena < first + t->region->arenas_per_node; arena++) {
                if (!magazine_take_depot(t, arena, tag, ret_idx)) /* MAG.1, .2 */
                        continue;
                if (drain_magazine(t, *ret_idx, cap - 1))
                        return true;
                magazine_put(t, *ret_idx, arena, true);
        }
        return false;
}

bool
free_block_aside(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        struct region *r = t->region;
        uint32_t tag = load_relaxed(&r->tags[block_off >> GEO_GRANULE_SHIFT]); /* as shfree: the caller was handed it */
        uint32_t idx;

        if (!region_has_small_tag(r, tag))
                return false;
        idx = magazine_in(t, magazine_current(t, tag));
        if (idx != MAGAZINE_IDX_NONE && magazine_has_room(r, idx)) {
                magazine_push(t, idx, block_off, dest_off);
                return true;
        }
        if (magazine_take_empty(t, tag, &idx) < 0 && !take_roomy(t, tag, &idx)) /* MAG.1, .2 */
                return false;
        magazine_push(t, idx, block_off, dest_off);
        magazine_put(t, idx, magazine_home(t, tag), true); /* MAG.3 */
        return true;
}

int
free_block_patiently(struct thread *t, uint64_t block_off, uint64_t dest_off)
{
        int err = -EBUSY;

        for (int tries = 0; err == -EBUSY && tries < TRIES_MAX; tries++) {
                if (is_done(t->region, block_off, dest_off))
                        return 0;
                if (tries == TRIES_REAP)
                        slot_reap_all(t->region, reap_settle, t);
                else if (tries > TRIES_REAP && free_block_aside(t, block_off, dest_off))
                        return 0;
                else if (tries > TRIES_REAP)
                        sched_yield(); /* a courtesy to the holder */
                err = free_block(t, block_off, dest_off);
        }
        if (err == -EINVAL && is_done(t->region, block_off, dest_off)) {
                t->fault.what = FAULT_NONE;
                return 0;
        }
        return err;
}

void
free_block_finally(struct thread *t, uint64_t block_off)
{
        if (free_block_patiently(t, block_off, 0) == -EBUSY)
                fault_note_lost(t, block_off);
}
