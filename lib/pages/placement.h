/*
 * placement.h - which node memory comes from: of which one a thread is, and where the pages of a chunk lie.
 */
#ifndef PAGES_PLACEMENT_H
#define PAGES_PLACEMENT_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"

/* The node whose arenas the calling thread belongs to: where it runs if that is one of the heap's, else the nearest of
 * these that has memory; the spread node in a heap that interleaves. */
uint32_t placement_node_here(const struct region *r);

/* The node nearest to `node`, itself included, that this process may have memory of and that is not in `without`; of
 * those that the heap is meant for first.  NODE_NONE: there is none left. */
uint32_t placement_next_node(const struct region *r, uint32_t node, uint64_t without);

/* Whether this process can have memory of the node at all: it is online, has memory, and is in our cpuset. */
bool placement_is_possible(const struct region *r, uint32_t node);

/* Whether the node has so many bytes for us just now.  A guess: others take memory too.  The spread node always has. */
bool placement_has_room(const struct region *r, uint32_t node, uint64_t bytes);

/* Whether what this thread asks for lies on the node that it asks for or nowhere. */
bool placement_is_strict(const struct thread *t);

/*
 * Binds owned chunks to a node, so that whoever backs their pages gets them from there.  Pages that they have from
 * another node are given back first.  0; -errno where that is impossible and the thread is strict: then they are bound
 * to none.  Steps BIND_CHUNK.n in doc/recovery.md.
 */
int placement_bind_chunks(struct thread *t, uint64_t chunk, uint64_t n, uint32_t node);

/* Asked before `bytes` of an owned chunk are backed: 0, or -ENOMEM and call.lacks_node. */
int placement_may_back(struct thread *t, uint64_t chunk, uint64_t bytes);

/* Asked after region bytes [off, off + bytes) of an owned chunk were backed: 0, or -ENOMEM and call.lacks_node when the
 * thread is strict and they came from elsewhere. */
int placement_check_backed(struct thread *t, uint64_t chunk, uint64_t off, uint64_t bytes);

/* Gives the pages of an owned chunk back, and notes that first: PURGE_CHUNK.3 to .5.  *ret_bytes (may be NULL): about
 * how many.  0 or -errno. */
int placement_drop_pages(struct thread *t, uint64_t chunk, uint64_t *ret_bytes);

#endif
