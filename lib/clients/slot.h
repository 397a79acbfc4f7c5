/*
 * slot.h - thread slots: attaching, letting go, and settling what the dead left.
 *
 * A thread holds its slot's lock `life` as long as it lives, so the kernel tells of its death.  Nobody ever waits for
 * a lock of a slot: a slot that is busy is passed by.
 */
#ifndef CLIENTS_SLOT_H
#define CLIENTS_SLOT_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include "clients/client.h"
#include "clients/thread.h"
#include "region/region.h"

/* Settles everything that a dead thread's slot owns.  Idempotent at every instruction, since whoever runs it may die;
 * acquires nothing.  The caller holds the slot's `reap` and `life`. */
typedef void slot_settle_fn(struct region *r, uint32_t thread_no, void *arg);

/* ------------------------------------------------------------------ a thread's own slot */

/*
 * Gives the calling thread a slot: the lowest empty one, else one of the dead, settled, else a new one.  Fills *t but
 * for its arena.  `settle` NULL: the dead are left alone.
 *
 * *t is zeroed memory of the calling thread, or what slot_detach() left in it: then the thread still holds the `life`
 * of its old slot and gets that one again.
 *
 * 0; -EUSERS when all slots are taken; -ENOMEM when the next one cannot be backed; -ENOTSUP when the thread's death
 * would go unnoticed; -ESTALE when the client has been evicted: register anew, and try again.  The message is set, but
 * for -ESTALE.
 */
int slot_attach(struct thread *t, struct region *r, const struct client_id *client, slot_settle_fn *settle, void *arg);

/* Thread exit.  The slot owns nothing any more.  Empties it and keeps `life` locked: the kernel marks it at the end. */
void slot_detach(struct thread *t);

/* Close.  The slot owns nothing any more.  Empties it, also after slot_detach(), and unlocks `life`. */
void slot_release(struct thread *t);

/* Whether nobody alive holds the slot's `life`: its mapping is not needed for its sake any more.  Asks no kernel. */
bool slot_has_let_go(const struct region *r, uint32_t idx);

/* ------------------------------------------------------------------ the dead */

/* 1 = it was dead, has been settled, and is empty now; 0 = empty, not known to be dead, or somebody else is at it. */
int slot_reap_one(struct region *r, uint32_t idx, slot_settle_fn *settle, void *arg);

/* The same for a slot of a client whose process the caller knows to be dead by evidence of its own: a pidfd that has
 * been held since it registered.  So it does not matter that the kernel has marked nothing, that another process has
 * its number by now, or in which pid namespace it was. */
int slot_reap_of_dead(struct region *r, uint32_t idx, const struct client_id *dead, slot_settle_fn *settle, void *arg);

/* How many were reaped, of all slots.  A system call for each living thread. */
uint32_t slot_reap_all(struct region *r, slot_settle_fn *settle, void *arg);

/* Slots of threads that are known to be dead, and slots that somebody is settling just now (or, for an instant,
 * attaching to).  A system call for each living thread. */
uint32_t slot_count_unsettled(const struct region *r);

/* The kernel has marked the slot's thread as dead.  One load; may say no for a while, or for ever. */
bool slot_thread_is_dead_hint(const struct region *r, uint32_t idx);

/* ------------------------------------------------------------------ the reserve slot of a client
 *
 * Kept from open to close for threads that find no other slot.  One of the process's threads at a time uses it.
 */

struct reserve {
        pthread_mutex_t lock; /* among the threads of this process only */
        uint32_t idx;
};

/* Once per process: also in a forked child, whatever the parent's threads were doing. */
void slot_reserve_init(struct reserve *ret_reserve);

/* For each client that the process becomes.  Waits as slot_borrow() does.  Errors as slot_attach(), but no -ESTALE: a
 * client that has been evicted has no reserve slot either, and nobody learns of it here. */
int slot_reserve(struct reserve *reserve, struct region *r, const struct client_id *client, slot_settle_fn *settle,
                 void *arg);

/* At the last close, before client_unregister(). */
void slot_unreserve(struct reserve *reserve, struct region *r, const struct client_id *client);

/* Waits for other threads of this process only.  Fills *t as slot_attach() does.  What a thread left that died while
 * using it is settled first.  -EBUSY when another process is just settling that, -ESTALE when the client has been
 * evicted: register anew, and try again; -ENOTSUP. */
int slot_borrow(struct reserve *reserve, struct thread *t, struct region *r, const struct client_id *client,
                slot_settle_fn *settle, void *arg);

/* By the borrower, whose slot owns nothing any more. */
void slot_return(struct reserve *reserve, struct thread *t);

/* For who must not fail or wait: the reserve slot of whatever client does not use it just now, for one call.  Whoever
 * has the heap open has one, so where a slot or a client's place is lacking there is one to lend.  Fills *t but for its
 * arena.  -EBUSY: there is none after all; -ENOTSUP. */
int slot_lend(struct thread *t, struct region *r, slot_settle_fn *settle, void *arg);
void slot_give_back(struct thread *t);

#endif
