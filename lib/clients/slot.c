/*
 * slot.c - thread slots: who holds one, and how it passes from the dead to the living.
 *
 * A slot has two locks, both robust (os/robust.h) and only ever tried.  `life` is held by the slot's thread as long as
 * it lives; that is the evidence of life.  `reap` is held by whoever attaches to the slot or settles it, so that the
 * slot cannot change under its eyes.  Under `reap` the holder of `life` is the slot's own thread, or dead: nobody else
 * takes `life` without `reap`.
 *
 * A slot is empty when `state` and its entry in r->bindings are 0.  Somebody may still hold `life` then: a thread that
 * has detached and not yet ended.  The entry alone is the hint by which empty slots are found.
 *
 * Each operation below lists its steps, with the same numbers in the code.  "Inherited" means: the next attacher's
 * trylock says that the holder died, finds the slot empty, and goes on.  Where a death leaves `reap` marked, whoever
 * tries it next takes it over; it protects no state of its own, so nothing is to be done for it.
 *
 * ATTACH                                     a death after it leaves                        settled by
 *   .1 try `reap`                            `reap` marked                                  taken over
 *   .2 try `life`, the slot being empty      `life`, `reap` marked; empty                   inherited
 *   .3 client, process, thread id            the same                                       inherited
 *   .4 binding := USED                       not empty, owns nothing                        REAP
 *   .5 state := 1 (commit)                   a dead thread's slot that owns nothing         REAP
 *   .6 CONFIRM (client.c)                    the same                                       REAP
 *   .7 release `reap`                        `life` marked                                  REAP
 *   Where .6 finds that the client has been evicted: state := 0, binding := 0, `life` and `reap` released.
 *   A thread that detached, and attaches again before it ends, holds `life` already: ATTACH.2 is left out.
 * DETACH (thread exit; the slot owns nothing)
 *   .1 state := 0                            binding left                                   REAP
 *   .2 binding := 0                          empty, `life` marked (as every exit does)      inherited
 * RELEASE (close)
 *   .1, .2 state := 0, binding := 0          as DETACH                                      as DETACH
 *   .3 unlock `life`                         empty, `life` free or marked                   inherited
 * REAP
 *   .1 try `reap`                            `reap` marked                                  taken over
 *   .2 look again; try `life`                both marked, nothing changed                   the next REAP
 *   .3 settle                                the same; half settled, which is idempotent    the next REAP
 *   .4 state := 0                            binding left, owns nothing                     the next REAP
 *   .5 binding := 0 (RESERVE stays while     empty, `life` marked                           inherited
 *      its client lives)
 *   .6 recover and unlock `life`             empty, `reap` marked                           inherited
 *   .7 recover and unlock `reap`             empty
 * RESERVE (open)
 *   .1 .2 .3 as ATTACH
 *   .4 binding := RESERVE                    a reserve slot of a client that is gone        REAP
 *   .5, .6 release `life`, `reap`            the same                                       REAP
 * BORROW, after the lock that only this process's threads know
 *   .1, .2 try `reap`, `life`                `life` marked, empty but for the binding       REAP
 *   .3 settle, if `life` was marked          as REAP.3                                      REAP
 *   .4 thread id; state := 1                 a dead thread's slot                           REAP
 *   .5 CONFIRM (client.c)                    the same                                       REAP
 *   .6 release `reap`                        the same                                       REAP
 * RETURN
 *   .1 state := 0                            `life` marked, binding left                    REAP
 *   .2 release `life`                        a reserve slot, of a living client or not      REAP, once it is gone
 * LEND (for one call, to who can have no slot and not its own reserve slot: the reserve slot of whatever client)
 *   .1 .2 .3 as BORROW, the slot being of no use just now
 *   .4 process and thread id: the borrower's as BORROW.2                                    REAP
 *   .5, .6 state := 1, release `reap`        a dead thread's slot                           REAP
 *   given back as RETURN
 * UNRESERVE (close)
 *   .1 try `reap`                            `reap` marked, a reserve slot                  REAP, once it is gone
 *   .2 binding := 0                          empty, `reap` marked                           taken over
 *   .3 release `reap`                        empty
 *
 * Where the kernel marks nothing (os/robust.c), a lock's word names a thread that does not exist, or the slot's process
 * has ended: then REAP.1, REAP.2 and ATTACH take it all the same.  The slot's process is evidence against the holder of
 * `life` only under `reap`, as above, and only in the namespace that the word of `life` names: a thread that took
 * `life` under `reap` either wrote its own process there, too, or is dead.
 *
 * The locks of an empty slot that nobody holds are taken, and those of ATTACH.1 to .7 and RESERVE.1 to .6 let go of, in
 * one quiet stretch (os/robust.h): there is no system call in it, and nobody is asked about, so nothing changes but how
 * often signals are blocked.  Of a bare slot it ends before BACK.
 *
 * A reaper stopped between REAP.1 and .7 keeps one slot from being used; everybody else passes it by.  A reserve slot
 * whose client lives is touched only by LEND, or if its borrower died.  A client that finds it busy so, by somebody who
 * may be stopped, is lent another one's (thread_lend()).  When all slots are taken, the reserve slots of clients that
 * use none are, too: they are evicted (client.c), and register anew.
 *
 * What this gave up: a thread that dies without a mark in another pid namespace, and is known to no daemon, keeps its
 * slot; one that it was lent it keeps even if a daemon knows.  And a thread that dies so in the midst of REAP keeps the
 * slot that it was settling, from all but its own namespace: `reap` does not say of which client the thread was, so a
 * daemon's word does not count there.
 */
#include "clients/slot.h"

#include <errno.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/liveness.h"
#include "clients/owned.h"
#include "clients/slot_pages.h"
#include "os/robust.h"
#include "os/shield.h"

/* ------------------------------------------------------------------ looking */

/* I10, I19: for assertions. */
static ASSERTED_ONLY bool
lock_is_mine(const struct robust_lock *lock)
{
        return liveness->lock_view(lock, 0, true) == LOCK_MINE;
}

static bool
slot_is_of(const struct slot_gate *gate, const struct client_id *client)
{
        return load_relaxed(&gate->client_idx) == client->idx &&
               load_relaxed(&gate->client_incarnation) == client->incarnation;
}

static bool
slot_is_reserve(const struct region *r, uint32_t idx)
{
        ASSERT(idx < r->layout.n[TABLE_THREADS]);
        return (load_relaxed(&r->bindings[idx]) & BINDING_RESERVE) != 0;
}

/* Kept for a living client: only a death in use is a reason to touch it. */
static bool
slot_is_kept(const struct region *r, const struct slot_gate *gate, uint32_t idx)
{
        ASSERT(gate == &r->gates[idx]);
        return slot_is_reserve(r, idx) &&
               client_is_live(r, load_relaxed(&gate->client_idx), load_relaxed(&gate->client_incarnation));
}

/* The thread that holds `life`, or held it last, is of the client's process: else it is another one's in a reserve
 * slot, and the client's death is no evidence.  Under `reap`. */
static bool
slot_is_its_own(const struct region *r, const struct slot_gate *gate, const struct client_id *client)
{
        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap));
        return slot_is_of(gate, client) &&
               client_is_of(r, client, load_relaxed(&gate->os_pid), robust_word_pid_ns(robust_word(&gate->life)));
}

bool
slot_thread_is_dead_hint(const struct region *r, uint32_t idx)
{
        const struct slot_gate *gate = region_gate(r, idx);

        return gate != NULL && liveness->lock_view(&gate->life, 0, false) == LOCK_DEAD;
}

bool
slot_has_let_go(const struct region *r, uint32_t idx)
{
        const struct slot_gate *gate = region_gate(r, idx);
        enum lock_view view = gate != NULL ? liveness->lock_view(&gate->life, 0, false) : LOCK_FREE;

        return view == LOCK_FREE || view == LOCK_DEAD;
}

/* ------------------------------------------------------------------ the two locks */

/* Nobody says of whom it is, but the word itself. */
static int
slot_lock_reap(struct slot_gate *gate)
{
        return liveness->lock_try(&gate->reap, 0, false);
}

/* The caller holds `reap`, so whoever holds `life` is the slot's thread, or dead. */
static int
slot_lock_life(struct slot_gate *gate)
{
        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap));
        return liveness->lock_try(&gate->life, load_relaxed(&gate->os_pid), false);
}

/* Nobody has to be asked about to take both locks. */
static bool
slot_is_unlocked(const struct slot_gate *gate)
{
        return !robust_word_is_held(robust_word(&gate->reap)) && !robust_word_is_held(robust_word(&gate->life));
}

/* ATTACH.1, .2 and BACK: 0 with both locks held, the slot empty and its pages there; in a quiet stretch, where that can
 * be, for the caller to end.  It is over before there is a system call for pages.  -ENOMEM: they cannot be had. */
static int
slot_lock_empty(struct region *r, uint32_t idx, struct robust_quiet *ret_quiet)
{
        struct slot_gate *gate = region_gate(r, idx);
        int err = -EBUSY;

        ASSERT(idx < r->layout.n[TABLE_THREADS]);
        ret_quiet->is_quiet = false;
        if (gate == NULL || !slot_is_empty(r, idx))
                return -EBUSY;
        if (slot_is_unlocked(gate))
                liveness->quiet_begin(ret_quiet);
        if (slot_lock_reap(gate) >= 0) {
                if (slot_is_empty(r, idx) && slot_lock_life(gate) >= 0) {
                        if (load_relaxed(&gate->is_bare) != 0)
                                liveness->quiet_end(ret_quiet);
                        err = slot_back(r, idx);
                        if (err == 0)
                                return 0;
                        liveness->lock_release(&gate->life);
                }
                liveness->lock_release(&gate->reap);
        }
        liveness->quiet_end(ret_quiet);
        return err;
}

/* ATTACH.1 for a thread that detached from this slot and has not ended: 0 with both locks held, in no stretch. */
static int
slot_lock_own(const struct thread *t, struct region *r, const struct client_id *client, struct robust_quiet *ret_quiet)
{
        uint32_t idx = t->no - 1;
        struct slot_gate *gate = t->region == r && t->no != 0 ? region_gate(r, idx) : NULL;

        if (gate == NULL || !slot_is_of(gate, client) || !slot_is_empty(r, idx) ||
            liveness->lock_view(&gate->life, 0, true) != LOCK_MINE)
                return -EBUSY;
        ret_quiet->is_quiet = false;
        if (slot_lock_reap(gate) < 0)
                return -EBUSY;
        if (slot_back(r, idx) == 0)
                return 0;
        liveness->lock_release(&gate->reap);
        return -EBUSY;
}

static void
slot_unlock_both(struct slot_gate *gate)
{
        struct robust_quiet quiet;

        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap) && lock_is_mine(&gate->life));
        liveness->quiet_begin(&quiet);
        liveness->lock_release(&gate->life);
        liveness->lock_release(&gate->reap);
        liveness->quiet_end(&quiet);
}

/* ------------------------------------------------------------------ finding an empty one */

/* One that has its pages, or one that has to get them: -ENOMEM where it cannot. */
static int
slot_find_empty(struct region *r, bool is_bare, uint32_t *ret_idx, struct robust_quiet *ret_quiet)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t idx = 0; idx < hwm; idx++) {
                int err = -EBUSY;

                if (load_relaxed(&r->bindings[idx]) == 0 && (load_relaxed(&r->gates[idx].is_bare) != 0) == is_bare)
                        err = slot_lock_empty(r, idx, ret_quiet);
                if (err == 0)
                        *ret_idx = idx;
                if (err == 0 || err == -ENOMEM)
                        return err;
        }
        return -EUSERS;
}

/* What the kernel has marked costs one load to see. */
static int
slot_find_marked(struct region *r, slot_settle_fn *settle, void *arg, uint32_t *ret_idx, struct robust_quiet *ret_quiet)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t idx = 0; settle != NULL && idx < hwm; idx++)
                if (slot_thread_is_dead_hint(r, idx) && slot_reap_one(r, idx, settle, arg) == 1 &&
                    slot_lock_empty(r, idx, ret_quiet) == 0) {
                        *ret_idx = idx;
                        return 0;
                }
        return -EUSERS;
}

/* Others may take what this thread raised the mark for; each turn of the loop is a slot that somebody got. */
static int
slot_find_new(struct region *r, uint32_t *ret_idx, struct robust_quiet *ret_quiet)
{
        uint32_t n = (uint32_t)r->layout.n[TABLE_THREADS];

        for (uint32_t idx = region_threads_hwm(r); idx < n; idx++) {
                int err = region_raise_threads(r, idx);

                if (err < 0)
                        return err == -ENOSPC ? -ENOMEM : err; /* idx < n: it is the file system that is full */
                ASSERT_INVARIANT(I17, region_threads_hwm(r) > idx);
                if (slot_lock_empty(r, idx, ret_quiet) == 0) {
                        *ret_idx = idx;
                        return 0;
                }
        }
        return -EUSERS;
}

static int
slot_find_failed(const struct region *r, int err)
{
        if (err != -EUSERS)
                return error_set_refused(err, "cannot attach a thread: no memory for another thread slot");
        return error_set(err,
                         "cannot attach a thread: all %u thread slots of this heap are taken by living threads, as far "
                         "as can be told in this pid namespace; end some, or create the heap with more max_threads",
                         (uint32_t)r->layout.n[TABLE_THREADS]);
}

/* The reserve slot of a client, not the caller's, that uses none: the client is evicted, and the slot emptied. */
static int
slot_find_evicting(struct region *r, const struct client_id *client, slot_settle_fn *settle, void *arg,
                   uint32_t *ret_idx, struct robust_quiet *ret_quiet)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t idx = 0; idx < hwm; idx++) {
                const struct slot_gate *gate = slot_is_reserve(r, idx) ? region_gate(r, idx) : NULL;
                struct client_id its;

                if (gate == NULL || slot_is_of(gate, client) || load_relaxed(&gate->state) != 0)
                        continue;
                its = (struct client_id){.idx = load_relaxed(&gate->client_idx),
                                         .incarnation = load_relaxed(&gate->client_incarnation)};
                client_evict(r, &its);
                slot_reap_one(r, idx, settle, arg);
                if (slot_lock_empty(r, idx, ret_quiet) == 0) {
                        *ret_idx = idx;
                        return 0;
                }
        }
        return -EUSERS;
}

/* An empty slot with both locks held: ATTACH.1 and .2; in a quiet stretch, perhaps, that the caller ends. */
static int
slot_find(struct region *r, const struct client_id *client, slot_settle_fn *settle, void *arg, uint32_t *ret_idx,
          struct robust_quiet *ret_quiet)
{
        int err;

        if (slot_find_empty(r, false, ret_idx, ret_quiet) == 0 ||
            slot_find_marked(r, settle, arg, ret_idx, ret_quiet) == 0)
                return 0;
        err = slot_find_empty(r, true, ret_idx, ret_quiet);
        if (err == -EUSERS)
                err = slot_find_new(r, ret_idx, ret_quiet);
        if (err == 0)
                return 0;
        if (settle != NULL) {
                slot_reap_all(r, settle, arg);
                if (slot_find_empty(r, false, ret_idx, ret_quiet) == 0) /* perhaps one that others have just settled */
                        return 0;
                if (slot_find_evicting(r, client, settle, arg, ret_idx, ret_quiet) == 0)
                        return 0;
        }
        return slot_find_failed(r, err);
}

/* NULL: somebody has lowered the mark meanwhile. */
static int
slot_check_locked(const struct slot_gate *gate)
{
        return gate != NULL
                       ? 0
                       : error_set(-EBADMSG, "cannot attach a thread: the heap's number of thread slots is damaged");
}

/* ------------------------------------------------------------------ attach, detach, release */

/* ATTACH.3: whom the slot speaks for.  It is empty, so nobody believes it yet. */
static void
slot_fill(struct slot_gate *gate, const struct client_id *client, const struct liveness_self *self)
{
        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap) && lock_is_mine(&gate->life));
        ASSERT(self->pid != 0 && self->tid != 0);
        store_relaxed(&gate->client_idx, client->idx);
        store_relaxed(&gate->client_incarnation, client->incarnation);
        store_relaxed(&gate->os_pid, self->pid);
        store_relaxed(&gate->os_tid, self->tid);
        kill_order();
}

static void
slot_bind(struct region *r, uint32_t idx, uint32_t binding)
{
        ASSERT(idx < r->layout.n[TABLE_THREADS]);
        ASSERT(binding == 0 || binding == BINDING_USED || binding == BINDING_RESERVE);
        store_relaxed(&r->bindings[idx], binding);
        kill_order();
}

/* state first: a slot with a binding is one that a reaper looks at. */
static void
slot_empty(struct region *r, struct slot_gate *gate, uint32_t idx, uint32_t binding)
{
        ASSERT(gate == &r->gates[idx]);
        ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
        kill_order();
        store_release(&gate->state, UINT64_C(0)); /* E23.rel: what has been counted in it */
        kill_order();
        slot_bind(r, idx, binding);
}

static void
thread_fill(struct thread *t, struct region *r, uint32_t idx, struct slot_gate *gate, const struct client_id *client)
{
        ASSERT(gate == &r->gates[idx]);
        ASSERT_INVARIANT(I19, load_relaxed(&gate->state) == 1 && lock_is_mine(&gate->life));
        t->region = r;
        t->gate = gate;
        t->slot = slot_at(r, idx);
        t->no = idx + 1;
        t->client_idx = client->idx;
        t->client_incarnation = client->incarnation;
}

int
slot_attach(struct thread *t, struct region *r, const struct client_id *client, slot_settle_fn *settle, void *arg)
{
        struct liveness_self self;
        struct robust_quiet quiet;
        struct slot_gate *gate;
        uint32_t idx = t->no - 1;
        int err = liveness->identify(&self);

        ASSERT(t->slot == NULL || t->no == THREAD_NONE);
        if (err < 0)
                return err;
        if (slot_lock_own(t, r, client, &quiet) < 0 && (err = slot_find(r, client, settle, arg, &idx, &quiet)) < 0)
                return err;
        gate = region_gate(r, idx);
        err = slot_check_locked(gate);
        if (err < 0) {
                liveness->quiet_end(&quiet);
                return err;
        }
        ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
        slot_fill(gate, client, &self);  /* ATTACH.3 */
        slot_bind(r, idx, BINDING_USED); /* ATTACH.4 */
        owner_add(&slot_at(r, idx)->n_attached, UINT64_C(1));
        store_relaxed(&gate->state, UINT64_C(1)); /* ATTACH.5 */
        kill_order();
        if (!client_confirm(r, client)) { /* ATTACH.6 */
                slot_empty(r, gate, idx, 0);
                slot_unlock_both(gate);
                liveness->quiet_end(&quiet);
                t->no = 0;
                return -ESTALE;
        }
        liveness->lock_release(&gate->reap); /* ATTACH.7 */
        liveness->quiet_end(&quiet);
        thread_fill(t, r, idx, gate, client);
        ASSERT(t->no == idx + 1 && t->gate == gate);
        return 0;
}

void
slot_detach(struct thread *t)
{
        ASSERT_INVARIANT(I9, slot_has_no_step(t->region, t->gate));
        ASSERT_INVARIANT(I19, lock_is_mine(&t->gate->life));
        slot_empty(t->region, t->gate, t->no - 1, 0); /* DETACH.1, .2 */
        t->slot = NULL;
        t->gate = NULL;
}

/* The mark is not asked, which may have been damaged since: the thread has had the slot, so its pages are there, and
 * what is linked into the thread's list of locks must not stay there. */
void
slot_release(struct thread *t)
{
        struct slot_gate *gate;

        if (t->no == 0)
                return;
        gate = &t->region->gates[t->no - 1];
        if (t->slot != NULL && liveness->lock_view(&gate->life, 0, true) == LOCK_MINE)
                slot_empty(t->region, gate, t->no - 1, 0); /* RELEASE.1, .2 */
        liveness->lock_release(&gate->life);               /* RELEASE.3 */
        t->slot = NULL;
        t->gate = NULL;
        t->no = 0;
}

/* ------------------------------------------------------------------ reap */

/* Without a lock: whether it is worth trying one.  Nobody else's slot may be disturbed for nothing: while `reap` is
 * held, its own thread cannot attach again. */
static bool
slot_is_dead_hint(const struct region *r, const struct slot_gate *gate, uint32_t idx)
{
        enum lock_view view;

        if (slot_is_empty(r, idx))
                return false;
        view = liveness->lock_view(&gate->life, load_relaxed(&gate->os_pid), true);
        if (view == LOCK_FREE)
                return !slot_is_kept(r, gate, idx);
        return view == LOCK_DEAD;
}

/* REAP.2: 0 with `life` held and something to settle.  A free `life` in a slot that is not empty is a reserve slot
 * between two uses: the client's as long as that lives.  `dead` is NULL, or a client whose process is known to be dead:
 * then so is whoever holds the `life` of a slot that is still its own. */
static int
slot_lock_dead(struct region *r, struct slot_gate *gate, uint32_t idx, const struct client_id *dead)
{
        int got;

        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap));
        if (slot_is_empty(r, idx))
                return -EBUSY;
        got = dead != NULL && slot_is_its_own(r, gate, dead) ? liveness->lock_try(&gate->life, 0, true)
                                                             : slot_lock_life(gate);
        if (got == 0 && slot_is_kept(r, gate, idx) && load_relaxed(&gate->state) == 0) {
                liveness->lock_release(&gate->life);
                return -EBUSY;
        }
        return got < 0 ? -EBUSY : 0;
}

static int
slot_reap(struct region *r, struct slot_gate *gate, uint32_t idx, const struct client_id *dead, slot_settle_fn *settle,
          void *arg)
{
        struct liveness_self self;

        if (liveness->identify(&self) < 0 || slot_lock_reap(gate) < 0) /* REAP.1 */
                return 0;
        if (slot_lock_dead(r, gate, idx, dead) < 0) { /* REAP.2 */
                liveness->lock_release(&gate->reap);
                return 0;
        }
        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap) && lock_is_mine(&gate->life));
        settle(r, idx + 1, arg); /* REAP.3 */
        ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
        slot_empty(r, gate, idx, slot_is_kept(r, gate, idx) ? BINDING_RESERVE : 0); /* REAP.4, .5 */
        slot_unlock_both(gate);                                                     /* REAP.6, .7 */
        return 1;
}

/* A handler that jumped out would leave both locks with this thread: what the dead had would wait for its end, too. */
static int
slot_reap_shielded(struct region *r, struct slot_gate *gate, uint32_t idx, const struct client_id *dead,
                   slot_settle_fn *settle, void *arg)
{
        struct shield shield;
        int n;

        shield_raise(&shield);
        n = slot_reap(r, gate, idx, dead, settle, arg);
        shield_lower(&shield);
        return n;
}

int
slot_reap_one(struct region *r, uint32_t idx, slot_settle_fn *settle, void *arg)
{
        struct slot_gate *gate = region_gate(r, idx);

        if (gate == NULL || !slot_is_dead_hint(r, gate, idx))
                return 0;
        return slot_reap_shielded(r, gate, idx, NULL, settle, arg);
}

int
slot_reap_of_dead(struct region *r, uint32_t idx, const struct client_id *dead, slot_settle_fn *settle, void *arg)
{
        struct slot_gate *gate = region_gate(r, idx);

        if (gate == NULL || slot_is_empty(r, idx) || !slot_is_of(gate, dead))
                return 0;
        return slot_reap_shielded(r, gate, idx, dead, settle, arg);
}

uint32_t
slot_reap_all(struct region *r, slot_settle_fn *settle, void *arg)
{
        uint32_t hwm = region_threads_hwm(r);
        uint32_t n = 0;

        ASSERT_INVARIANT(I17, hwm <= r->layout.n[TABLE_THREADS]);
        for (uint32_t idx = 0; idx < hwm; idx++)
                n += slot_reap_one(r, idx, settle, arg) == 1;
        return n;
}

/* With `state` 1 a slot's `reap` is held by who settles it, or for the last instructions of its attaching. */
uint32_t
slot_count_unsettled(const struct region *r)
{
        uint32_t hwm = region_threads_hwm(r), n = 0;

        for (uint32_t idx = 0; idx < hwm; idx++) {
                const struct slot_gate *gate = region_gate(r, idx);

                n += gate != NULL && load_relaxed(&gate->state) != 0 &&
                     (slot_is_dead_hint(r, gate, idx) || liveness->lock_view(&gate->reap, 0, false) == LOCK_HELD);
        }
        ASSERT(n <= hwm);
        return n;
}

/* ------------------------------------------------------------------ the reserve slot */

/* Robust, so that a thread that ends with the slot in use leaves it to its siblings. */
void
slot_reserve_init(struct reserve *ret_reserve)
{
        process_lock_init(&ret_reserve->lock);
        ret_reserve->idx = UINT32_MAX;
}

int
slot_reserve(struct reserve *reserve, struct region *r, const struct client_id *client, slot_settle_fn *settle,
             void *arg)
{
        struct liveness_self self;
        struct robust_quiet quiet;
        struct slot_gate *gate;
        uint32_t idx;
        int err = liveness->identify(&self);

        if (err < 0 || (err = slot_find(r, client, settle, arg, &idx, &quiet)) < 0) /* RESERVE.1, .2 */
                return err;
        gate = region_gate(r, idx);
        err = slot_check_locked(gate);
        if (err < 0) {
                liveness->quiet_end(&quiet);
                return err;
        }
        ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
        slot_fill(gate, client, &self);     /* RESERVE.3 */
        slot_bind(r, idx, BINDING_RESERVE); /* RESERVE.4 */
        slot_unlock_both(gate);             /* RESERVE.5, .6 */
        liveness->quiet_end(&quiet);
        process_lock(&reserve->lock);
        reserve->idx = idx;
        pthread_mutex_unlock(&reserve->lock);
        return 0;
}

void
slot_unreserve(struct reserve *reserve, struct region *r, const struct client_id *client)
{
        struct slot_gate *gate = region_gate(r, reserve->idx);

        process_lock(&reserve->lock);
        /* A reserve slot that is busy, or whose borrower died, is left to the reapers: its client will be gone. */
        if (gate != NULL && slot_lock_reap(gate) >= 0) { /* UNRESERVE.1 */
                if (slot_is_reserve(r, reserve->idx) && slot_is_of(gate, client) && load_relaxed(&gate->state) == 0)
                        slot_bind(r, reserve->idx, 0); /* UNRESERVE.2 */
                liveness->lock_release(&gate->reap);   /* UNRESERVE.3 */
        }
        pthread_mutex_unlock(&reserve->lock);
        pthread_mutex_destroy(&reserve->lock);
}

/* BORROW.1 to .3: 0 with both locks held and the slot settled. */
static int
reserve_lock(struct region *r, uint32_t idx, const struct client_id *client, slot_settle_fn *settle, void *arg)
{
        struct slot_gate *gate = region_gate(r, idx);
        int err = -EBUSY;
        int got;

        if (gate == NULL || !slot_is_of(gate, client))
                return -ESTALE;
        if (slot_lock_reap(gate) < 0) /* BORROW.1 */
                return error_set(-EBUSY, "cannot use the reserve slot: another process is settling it");
        if (!slot_is_reserve(r, idx) || !slot_is_of(gate, client)) {
                err = -ESTALE;
                goto err_reap;
        }
        got = slot_lock_life(gate); /* BORROW.2 */
        if (got < 0) {
                err = error_set(-EBUSY, "cannot use the reserve slot: it is in use");
                goto err_reap;
        }
        if (got == 1 || load_relaxed(&gate->state) != 0) {
                settle(r, idx + 1, arg); /* BORROW.3 */
                slot_empty(r, gate, idx, BINDING_RESERVE);
        }
        return 0;
err_reap:
        liveness->lock_release(&gate->reap);
        return err;
}

int
slot_borrow(struct reserve *reserve, struct thread *t, struct region *r, const struct client_id *client,
            slot_settle_fn *settle, void *arg)
{
        struct liveness_self self;
        struct slot_gate *gate;
        int err = liveness->identify(&self);

        if (err < 0)
                return err;
        process_lock(&reserve->lock);
        err = reserve_lock(r, reserve->idx, client, settle, arg);
        gate = region_gate(r, reserve->idx);
        if (err == 0)
                err = slot_check_locked(gate);
        if (err < 0) {
                pthread_mutex_unlock(&reserve->lock);
                return err;
        }
        ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
        ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap) && lock_is_mine(&gate->life));
        store_relaxed(&gate->os_pid, self.pid); /* it may have been lent */
        store_relaxed(&gate->os_tid, self.tid);
        owner_add(&slot_at(r, reserve->idx)->n_attached, UINT64_C(1));
        store_relaxed(&gate->state, UINT64_C(1)); /* BORROW.4 */
        kill_order();
        if (!client_confirm(r, client)) { /* BORROW.5 */
                slot_empty(r, gate, reserve->idx, 0);
                slot_unlock_both(gate);
                pthread_mutex_unlock(&reserve->lock);
                return -ESTALE;
        }
        liveness->lock_release(&gate->reap); /* BORROW.6 */
        thread_fill(t, r, reserve->idx, gate, client);
        return 0;
}

void
slot_give_back(struct thread *t)
{
        struct slot_gate *gate = t->gate;

        ASSERT_INVARIANT(I19, slot_has_no_step(t->region, gate) && lock_is_mine(&gate->life));
        kill_order();
        store_release(&gate->state, UINT64_C(0)); /* RETURN.1, E23.rel */
        kill_order();
        t->slot = NULL;
        t->gate = NULL;
        t->no = 0;
        liveness->lock_release(&gate->life); /* RETURN.2 */
}

void
slot_return(struct reserve *reserve, struct thread *t)
{
        slot_give_back(t);
        pthread_mutex_unlock(&reserve->lock);
}

/* ------------------------------------------------------------------ lending */

/* LEND.1 to .3: 0 with both locks held and the slot settled. */
static int
lend_lock(struct region *r, uint32_t idx, struct slot_gate *gate, slot_settle_fn *settle, void *arg)
{
        int got = -EBUSY;

        if (!slot_is_reserve(r, idx) || (load_relaxed(&gate->state) != 0 && !slot_thread_is_dead_hint(r, idx)) ||
            slot_lock_reap(gate) < 0) /* LEND.1 */
                return -EBUSY;
        if (slot_is_reserve(r, idx))
                got = slot_lock_life(gate); /* LEND.2 */
        if (got >= 0 && (got == 1 || load_relaxed(&gate->state) != 0)) {
                settle(r, idx + 1, arg); /* LEND.3 */
                slot_empty(r, gate, idx, BINDING_RESERVE);
        }
        if (got < 0)
                liveness->lock_release(&gate->reap);
        return got < 0 ? -EBUSY : 0;
}

int
slot_lend(struct thread *t, struct region *r, slot_settle_fn *settle, void *arg)
{
        uint32_t hwm = region_threads_hwm(r);
        struct liveness_self self;
        int err = liveness->identify(&self);

        if (err < 0)
                return err;
        for (uint32_t idx = 0; idx < hwm; idx++) {
                struct slot_gate *gate = region_gate(r, idx);
                struct client_id its;

                if (gate == NULL || lend_lock(r, idx, gate, settle, arg) < 0)
                        continue;
                ASSERT_INVARIANT(I10, lock_is_mine(&gate->reap) && lock_is_mine(&gate->life));
                ASSERT_INVARIANT(I9, slot_has_no_step(r, gate));
                store_relaxed(&gate->os_pid, self.pid); /* LEND.4 */
                store_relaxed(&gate->os_tid, self.tid);
                kill_order();
                store_relaxed(&gate->state, UINT64_C(1)); /* LEND.5 */
                kill_order();
                liveness->lock_release(&gate->reap); /* LEND.6 */
                its = (struct client_id){.idx = load_relaxed(&gate->client_idx),
                                         .incarnation = load_relaxed(&gate->client_incarnation)};
                thread_fill(t, r, idx, gate, &its);
                return 0;
        }
        return -EBUSY;
}
