/*
 * decay.h - giving unused memory back: dirty runs after decay_ms, magazines that a depot never needed, empty chunks.
 */
#ifndef HEAP_DECAY_H
#define HEAP_DECAY_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* A tick of a slow path: if the arena's time has come, a bounded piece of purging. */
void decay_tick(struct thread *t);

/* Gives back everything of the node (UINT32_MAX: of all) that no block lies in, at once.  Bytes given back. */
uint64_t decay_purge(struct thread *t, uint32_t node);

/* The same, for room elsewhere.  Whether something may have gone: of slabs that were purged before nobody knows. */
bool decay_make_room(struct thread *t, uint32_t node);

#endif
