/*
 * map.h - where a region lies in this process's address space.
 */
#ifndef REGION_MAP_H
#define REGION_MAP_H

#include <stdbool.h>
#include <stdint.h>

#include "region/region.h"

/*
 * An address for a new region called `name` in the file `ino`: the first slot, counted from a place that the two give,
 * on which no other heap of the directory lies and nothing is mapped in this process; when all slots are in use, one
 * that is free here.  0 when there is none: *ret_err is -EADDRINUSE; or when there is no memory to look for one:
 * -ENOMEM.  A hint: another creator may choose the same at the same time.  What is mapped here is only looked at with
 * `looks`: mapping tells, too.
 */
uint64_t map_choose_base(int dirfd, const char *name, uint64_t ino, uint64_t region_bytes, bool looks, int *ret_err);

/*
 * Maps r->fd, binds `r` and, if the mapping stays, puts the guard in place.  r->fd and r->is_readonly must have been
 * set.  -EADDRINUSE when base_addr is taken and the caller has not said that any address will do, and a message that
 * says by what; on failure nothing is mapped.
 */
int map_region(struct region *r, const struct layout *layout, const char *what, uint64_t base_addr, bool relocatable,
               bool stays);

/* Maps r->fd, by now another descriptor of the same file, where `r` is mapped, with its guard.  On failure, which only
 * a kernel out of memory gives, nothing is mapped. */
int map_again(struct region *r, const char *what);

/* The same for a mapping that was not to stay, and does. */
int map_guard(struct region *r, const char *what);

#endif
