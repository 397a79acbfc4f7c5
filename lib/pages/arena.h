/*
 * arena.h - arenas: the depots, slabs and chunks that the threads bound to them share.  Nobody owns an arena.
 */
#ifndef PAGES_ARENA_H
#define PAGES_ARENA_H

#include <stdint.h>

#include "clients/thread.h"

/* Makes the arena ready: backs its memory, then says so.  Idempotent; zero is a valid arena.  0, -ENOMEM, -ENOSPC. */
int arena_init(struct region *r, uint32_t arena);

/* Binds the thread to an arena that is ready: of the node by the least-load rule, or, where there is no memory for that
 * one, to whichever there is.  0, or -errno with a message: -ENOMEM, -EINVAL (no such node). */
int arena_bind(struct thread *t, uint32_t node);

#endif
