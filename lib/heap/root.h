/*
 * root.h - named objects: the way into a heap for a process that knows nothing but names.
 *
 * A name is found by its record, which is linked once and stays for ever; the object of a name comes and goes.  Nobody
 * waits for anybody: whoever meets something half done does the rest of it, and recovery does the same (root.c).
 */
#ifndef HEAP_ROOT_H
#define HEAP_ROOT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "clients/thread.h"

/* Fills the zeroed object.  A value below 0 gives it up and is passed on. */
typedef int root_init_fn(void *obj, size_t size, void *arg);

/* Takes back what init() has done to the object, which is freed afterwards. */
typedef void root_undo_fn(void *obj, size_t size, void *arg);

/* `name` is a copy, valid during the call.  Non-zero stops. */
typedef int root_visit_fn(const char *name, uint64_t block_off, uint64_t size, void *arg);

/*
 * Finds the object of that name and size, or makes it: a zeroed block, passed to init() (unless that is NULL), then
 * published by one step.  init() may run in several threads at once, each on a block of its own: one is published, the
 * others are freed again, after undo() (unless that or init() is NULL) in their makers.  Both may allocate and free,
 * and may themselves find or create roots, ROOTS_PENDING_MAX deep in all.  What they throw comes through, and the
 * object is freed.
 *
 * 0; -EEXIST: the name has an object of another size; -EINVAL: the name is not 1 to 63 bytes, or size is 0; -ENOSPC:
 * every record has a name; -ENOMEM; -ENOBUFS: nested too deep, or too much waits to be freed; -EUCLEAN: damage; -EINTR:
 * t->is_left, and so is the object; what init() returned.  The message is
 * set, but for init()'s errors.  t->fault tells of misuse met on the way.
 */
int root_find_or_create(struct thread *t, const char *name, size_t size, uint32_t alloc_flags, root_init_fn *init,
                        root_undo_fn *undo, void *arg, uint64_t *ret_block_off);

/* The same without making it, for a caller who may be no client.  0, -ENOENT, -EINVAL, -EUCLEAN. */
int root_find(struct region *r, const char *name, uint64_t *ret_block_off, uint64_t *ret_size);

/* Takes the object from the name and frees it: nobody may use it any more.  The record is kept for that name.
 * 0, -ENOENT, -EINVAL, -ENOBUFS, -EUCLEAN: damage, or somebody had freed the object by other means; then the name has
 * none any more, too. */
int root_remove(struct thread *t, const char *name);

/* Takes the object from the name and gives it to the caller, as a block like any other.  As root_remove(). */
int root_take(struct thread *t, const char *name, uint64_t *ret_block_off, uint64_t *ret_size);

/* Whether the block is the object of a name.  Looks at every name: for the option that checks each free. */
bool root_has(struct region *r, uint64_t block_off);

/* All that the thread's slot has room for are objects under construction. */
bool root_has_no_room(const struct thread *t);

/* Every name that has an object, the youngest record first; what comes or goes meanwhile may be seen or not.  0, what
 * visit() returned, or -EUCLEAN.  Writes nothing. */
int root_iterate(struct region *r, root_visit_fn *visit, void *arg);

/* Frees blocks that were left in the thread's slot, by its last owner or because there was no magazine to put them
 * aside.  To be called after attaching; finding and removing roots does it too. */
void root_tidy(struct thread *t);

/* For the candidate ROOT of a dead thread: its record is linked, or free again. */
void root_settle_record(struct region *r, uint32_t thread_no, uint64_t record_idx);

/*
 * Blocks that were on their way into or out of a root when the slot's thread died: given to their root, or freed.
 * Without a reaper, who has to own nothing and have no intent, those to be freed wait in the slot (root_tidy).
 *
 * A thread that lets go of its slot calls it for itself, with itself as the reaper.
 */
void root_settle_pending(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper);

#endif
