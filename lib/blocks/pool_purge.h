/*
 * pool_purge.h - giving back the pages of magazines that are in the pool.
 */
#ifndef BLOCKS_POOL_PURGE_H
#define BLOCKS_POOL_PURGE_H

#include "clients/thread.h"

/* Gives back pages of the tables of magazines in which only magazines of the pool lie; `fd` is a descriptor of the file
 * (region/file.h), by which they are found.  About `most` bytes at most.  How many. */
uint64_t pool_purge(struct thread *t, int fd, uint64_t most);

/* The same of magazines [first, first + n) of one node, all below its mark, whether they have pages or not.  Adds what
 * went to *bytes.  0, or -errno: the system gives none back. */
int pool_purge_stretch(struct thread *t, uint64_t first, uint32_t n, uint64_t *bytes);

/* PURGE_MAG: what a reaper does for a dead thread whose candidate names these. */
void pool_purge_settle(struct region *r, uint32_t thread_no, uint64_t first, uint64_t n);

#endif
