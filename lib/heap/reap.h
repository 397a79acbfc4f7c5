/*
 * reap.h - settling what a dead thread left.  Acquires nothing: every step ends in a store to a word that names it.
 */
#ifndef HEAP_REAP_H
#define HEAP_REAP_H

#include <stdint.h>

#include "clients/thread.h"

/* Settles everything that names the thread; the caller holds the slot's `reap` and has evidence of death.  Idempotent
 * at every instruction; needs no slot and no intent of its own.  `arg` is the struct thread of the client that reaps,
 * or NULL: with it, root objects that were never published are freed, without it they wait in the emptied slot. */
void reap_settle(struct region *r, uint32_t thread_no, void *arg);

/*
 * For who takes over a dest (a region offset) from a thread that has died: settles those who name it in an intent, if
 * they are known to be dead.  0: nobody names it any more, so nobody stores there but who begins to do so now; -EBUSY:
 * somebody does, who lives, or may, or is being settled by another reaper.  `t` owns nothing.
 */
int reap_dest(struct thread *t, uint64_t dest_off);

#endif
