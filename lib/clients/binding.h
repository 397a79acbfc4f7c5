/*
 * binding.h - which arena a thread uses.
 */
#ifndef CLIENTS_BINDING_H
#define CLIENTS_BINDING_H

#include <stdint.h>

#include "clients/thread.h"

/*
 * Binds the thread to an arena of the node by the least-load rule: an arena that is ready and has no thread bound,
 * else one that is not yet initialised and has none, else the one with the fewest; the lowest of equals.  Sets t->arena
 * and t->node and publishes the binding in r->bindings, but for a borrowed reserve slot, which does not count.  The
 * caller makes the arena ready if it is not.
 *
 * 0; -EINVAL when there is no such node.  Never waits: among binders that race for long, loads may end unequal.
 */
int binding_choose(struct thread *t, uint32_t node);

/* Threads that are bound to whatever arena, the dead that nobody has settled among them. */
uint32_t binding_count_all(const struct region *r);

/* Binds the thread to this arena, whoever else is bound to it. */
void binding_set(struct thread *t, uint32_t arena);

#endif
