/*
 * registry.h - the heaps that this process has open, and those it has closed but cannot unmap yet.
 */
#ifndef API_REGISTRY_H
#define API_REGISTRY_H

#include <stdbool.h>
#include <stdint.h>

#include "api/heap.h"
#include "os/shield.h"

/* Held while heaps are opened and closed, and across fork(), behind a shield.  Notices a fork that ran no handlers. */
void registry_lock(struct shield *ret_shield);
void registry_unlock(const struct shield *shield);
void registry_lock_shielded(void); /* behind a shield of the caller's, who lowers it afterwards by registry_unlock() */

/* Without the lock: whether it is the handle of an open heap.  Does not look into it.  It may be closed just now. */
bool registry_lists(const struct shheap *h);

/* All of the rest: under the lock. */

/* Whether there are no heaps, open or closed. */
bool registry_is_empty(void);

/* The heap of this file, open or closed (process.is_closed), or NULL. */
struct shheap *registry_find(uint64_t dev, uint64_t ino);

/* Whether the handle is one of an open heap.  Does not look into it. */
bool registry_has(const struct shheap *h);

/* A handle: zeroed, and not the one of a heap that was closed lately.  NULL: no memory, or REGISTRY_HANDLES are in
 * use. */
struct shheap *registry_new(void);

enum { REGISTRY_HANDLES = 4096 };

/* Makes a new or closed heap one that is open: from now on handle_of_address() finds it. */
void registry_add(struct shheap *h);

/* The reverse, at the last close. */
void registry_remove(struct shheap *h);

/* Lets go of a heap that is not in the registry: its client, its mapping, and the handle. */
void registry_destroy(struct shheap *h);

/* Destroys the closed heaps in which no thread of this process is attached any more. */
void registry_sweep(void);

#endif
