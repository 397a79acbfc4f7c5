/*
 * slot_pages.c - see slot_pages.h.
 *
 * What others look at in a slot, its locks first of all, lies in its gate, which always has its page.  The rest is its
 * own thread's, or its reaper's, and zero while the slot is empty, but for what has been counted in it.  So it can go,
 * if that is kept: it is added to the totals, of which there are two.  Those in force are told by header.folding, and
 * the others are made of them and of the slot's counters; one store then changes the totals, and says that the slot's
 * counters are in them.  At most one thread folds at a time.
 *
 * A bare slot may have pages all the same, and in them what it has counted: so who takes it zeroes it.  No word tells
 * which empty slots have pages: they are found in the file (SEEK_DATA), whatever somebody who died has left.
 *
 * PURGE_SLOT                                 a death after it leaves                           settled by
 *   .1 try `reap`, the slot being empty      `reap` marked                                     taken over
 *   (.2 to .6 unless it is bare already)
 *   .2 folding: 0 -> {t, slot}               a slot that nobody can take, others cannot be     SETTLE: folding -> 0
 *                                            purged
 *   .3 the other totals := totals + counters the same                                          the same
 *   .4 folding := {t, slot, committed}       the same; its counters are in the totals          SETTLE: .5, .6
 *   .5 gate: bare                            the same                                          the same
 *   .6 folding := 0, and the new totals      a bare slot, `reap` marked                        taken over
 *   .7 its pages are punched                 the same                                          the same
 *   .8 release `reap`                        a bare slot
 * BACK (an attacher, behind ATTACH.2; for RESERVE, too)
 *   .1 pages reserved                        `reap`, `life` marked; bare, empty                inherited
 *   .2 zeroed                                the same                                          inherited
 *   .3 gate: not bare                        the same, with its pages                          inherited
 *
 * While folding names a slot nobody uses it, though the purger may have died and its `reap` be anybody's: so what a
 * reaper does for the purger later meets nobody.  Between .1 and .8 of a purger that is stopped, one slot is passed by;
 * between .2 and .6 no other slot loses its pages, either.
 *
 * Who looks at another's slot without owning it - a check, statistics, a tool - looks at the gate first, and then reads
 * the slot as one reads a file (file_look()): it may have been stopped in between, until the slot's thread has ended
 * and a purge has come by.
 *
 * What it gave up: where the descriptor is gone, or a filter refuses to read, such a look makes a page real for nothing
 * then, and faults on a file system that is full.  And the order of two totals that are read at once: each is of some
 * time since the call.
 */
#include "clients/slot_pages.h"

#include <errno.h>

#include "base/bits.h"
#include "base/verify.h"
#include "clients/liveness.h"
#include "clients/owned.h"
#include "os/shield.h"
#include "os/shm.h"
#include "region/file.h"

enum {
        TOTALS_TRIES_MAX = 8,  /* each means that somebody has folded a slot meanwhile */
        COUNTERS_AT_ONCE = 128 /* of a slot that is looked at: a kilobyte of the stack */
};

static uint64_t *
totals_at(const struct region *r, uint32_t n_folds)
{
        return (uint64_t *)(void *)&r->totals[n_folds & 1];
}

/* E22.acq: of totals that are in force, what they are. */
static uint64_t
folding_load(const struct region *r)
{
        return load_acquire(&r->header->folding); /* E22.acq */
}

/* ------------------------------------------------------------------ there and back */

int
slot_back(struct region *r, uint32_t idx)
{
        struct slot_gate *gate = &r->gates[idx];
        uint64_t *words = (uint64_t *)(void *)slot_at(r, idx);

        ASSERT(idx < r->layout.n[TABLE_THREADS] && slot_is_empty(r, idx));
        if (folding_slot_no(folding_load(r)) == idx + 1)
                return -EBUSY;
        if (load_relaxed(&gate->is_bare) == 0)
                return 0;
        if (region_reserve_slot(r, idx) < 0) /* BACK.1 */
                return -ENOMEM;
        for (uint64_t i = 0; i < r->layout.stride[TABLE_THREADS] / sizeof *words; i++)
                store_relaxed(&words[i], UINT64_C(0)); /* BACK.2 */
        kill_order();
        store_release(&gate->is_bare, 0u); /* BACK.3, E21.rel: it has pages */
        kill_order();
        return 0;
}

/* PURGE_SLOT.2 to .6 */
static int
fold(struct thread *t, uint32_t idx)
{
        struct region *r = t->region;
        uint64_t word = folding_load(r);
        const uint64_t *from = slot_at(r, idx)->count, *in_force = totals_at(r, folding_n(word));
        uint32_t n = folding_n_next(word);
        uint64_t *to = totals_at(r, n);

        if (folding_owner(word) != THREAD_NONE)
                return -EBUSY;
        if (folding_n(word) == 0 && region_reserve_table(r, TABLE_TOTALS, 0, 2) < 0)
                return -ENOMEM;
        if (!cas_acquire(&r->header->folding, &word, folding_word(t->no, idx + 1, false, folding_n(word)))) /* .2 */
                return -EBUSY;
        kill_order();
        for (uint32_t i = 0; i < THREAD_COUNTERS_N; i++) /* PURGE_SLOT.3; E24.rel: these are not in force */
                store_release(&to[i], load_relaxed(&in_force[i]) + load_relaxed(&from[i]));
        store_release(&r->header->folding, folding_word(t->no, idx + 1, true, n)); /* PURGE_SLOT.4, E22.rel */
        kill_order();
        store_release(&r->gates[idx].is_bare, 1u); /* PURGE_SLOT.5, E21.rel: its counters are in the totals */
        store_release(&r->header->folding, folding_word(THREAD_NONE, THREAD_NONE, false, n)); /* .6, E22.rel */
        kill_order();
        return 0;
}

/* PURGE_SLOT.1 is done. */
static int
purge_locked(struct thread *t, uint32_t idx)
{
        struct region *r = t->region;
        uint64_t stride = r->layout.stride[TABLE_THREADS];
        int err = 0;

        if (!slot_is_empty(r, idx) || folding_slot_no(folding_load(r)) == idx + 1)
                return -EBUSY;
        if (load_relaxed(&r->gates[idx].is_bare) == 0)
                err = fold(t, idx);
        if (err == 0)
                err = region_punch(r, r->layout.off[TABLE_THREADS] + idx * stride, stride); /* PURGE_SLOT.7 */
        return err;
}

int
slot_purge(struct thread *t, uint32_t idx)
{
        struct slot_gate *gate = region_gate(t->region, idx);
        struct shield shield;
        int err = -EBUSY;

        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        if (!gate || !slot_is_empty(t->region, idx) ||
            (load_relaxed(&gate->is_bare) == 0 && folding_owner(folding_load(t->region)) != THREAD_NONE))
                return -EBUSY;
        shield_raise(&shield);
        if (liveness->lock_try(&gate->reap, 0, false) >= 0) { /* PURGE_SLOT.1 */
                err = purge_locked(t, idx);
                liveness->lock_release(&gate->reap); /* PURGE_SLOT.8 */
        }
        shield_lower(&shield);
        return err;
}

uint64_t
slot_purge_all(struct thread *t, int fd, uint64_t most, uint32_t n_kept)
{
        const struct region *r = t->region;
        uint64_t stride = r->layout.stride[TABLE_THREADS], next = 0, bytes = 0;
        uint32_t hwm = region_threads_hwm(r);

        ASSERT(fd >= 0);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        for (uint32_t idx = 0; idx < hwm && bytes < most; idx++) {
                uint64_t off = r->layout.off[TABLE_THREADS] + idx * stride;
                int err = -EBUSY;

                if (!slot_is_empty(r, idx))
                        continue;
                if (n_kept > 0 && load_relaxed(&r->gates[idx].is_bare) == 0) { /* the lowest: who attaches takes them */
                        n_kept--;
                        continue;
                }
                if (next < off)
                        next = file_next_page(fd, off); /* the first page at `off` or behind it */
                if (next < off + stride)
                        err = slot_purge(t, idx);
                bytes += err == 0 ? stride : 0;
                if (err < 0 && err != -EBUSY) /* nor will it be otherwise with the next */
                        break;
        }
        return bytes;
}

/* The dead thread held the `reap` of the slot, which others may hold by now: they do not use it before this. */
void
slot_pages_settle(struct region *r, uint32_t thread_no)
{
        uint64_t word = folding_load(r);

        ASSERT(thread_no != THREAD_NONE);
        if (folding_owner(word) != thread_no)
                return;
        if (folding_is_committed(word) && folding_slot_no(word) - 1 < r->layout.n[TABLE_THREADS])
                store_release(&r->gates[folding_slot_no(word) - 1].is_bare, 1u); /* E21.rel */
        store_release(&r->header->folding,
                      folding_word(THREAD_NONE, THREAD_NONE, false, folding_n(word))); /* E22.rel: it is bare */
        kill_order();
}

/* ------------------------------------------------------------------ totals */

/* Which counters of all threads are wanted, and the file that they are read from. */
struct look {
        const struct region *r;
        int fd; /* -1: memory of a test, or there is none any more */
        uint32_t first, n;
};

/* Statistics of others, each on its own.  In pieces: the caller's stack may be small. */
static void
add(const struct look *look, const uint64_t *counters, uint64_t *sums)
{
        uint64_t copy[COUNTERS_AT_ONCE];

        for (uint32_t i = 0, n; i < look->n; i += n) {
                n = look->n - i < COUNTERS_AT_ONCE ? look->n - i : COUNTERS_AT_ONCE;
                file_look(look->r, look->fd, &counters[look->first + i], copy, n * sizeof *copy);
                for (uint32_t k = 0; k < n; k++)
                        sums[i + k] += copy[k];
        }
}

static void
sum_once(const struct look *look, uint64_t folding, uint64_t *ret_sums)
{
        const struct region *r = look->r;
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t i = 0; i < look->n; i++)
                ret_sums[i] = 0;
        if (folding_n(folding) > 0)
                add(look, totals_at(r, folding_n(folding)), ret_sums);
        for (uint32_t idx = 0; idx < hwm; idx++)
                if (load_acquire(&r->gates[idx].is_bare) == 0 && /* E21.acq */
                    !(folding_is_committed(folding) && folding_slot_no(folding) == idx + 1))
                        add(look, slot_at(r, idx)->count, ret_sums);
}

void
slot_totals(const struct region *r, uint32_t first, uint32_t n, uint64_t *ret_sums)
{
        struct look look = {.r = r, .fd = file_borrow_kept(r), .first = first, .n = n};
        uint64_t folding = folding_load(r), before;

        ASSERT(first + n <= THREAD_COUNTERS_N);
        for (int tries = 0; tries < TOTALS_TRIES_MAX; tries++) {
                before = folding;
                sum_once(&look, before, ret_sums);
                folding = folding_load(r);
                if (folding_n(folding) == folding_n(before))
                        break;
        }
        os_close(look.fd);
}
