/*
 * create.h - making a region that becomes visible when it is complete.
 */
#ifndef REGION_CREATE_H
#define REGION_CREATE_H

#include "region/open.h"

/* -EEXIST if there is something of that name by the time the region is complete; or, if it is to replace a stale one
 * (stale.h), anything but that.  On failure nothing is left of ours,
 * but for one case: once it has its name it stays, as if we had died then, if the kernel cannot map it again. */
int create_region(struct region *ret, int dirfd, const char *name, const struct region_open_args *args, bool replaces);

/* Backs all of the capacity, of a new region by equal parts from its nodes.  -ENOMEM or -ENOSPC, and a message; what
 * was backed until then stays backed. */
int create_populate(struct region *r, const char *what, bool is_new);

#endif
