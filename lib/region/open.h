/*
 * open.h - finding, creating, mapping and forgetting regions.
 *
 * All functions set a message (base/error.h) when they fail.  A struct region is plain private data: these functions
 * allocate nothing, start nothing, and know nothing of clients.  Opening one heap twice gives two mappings (or
 * -EADDRINUSE): the layer above keeps the regions of the process apart by (dev, ino, id).
 */
#ifndef REGION_OPEN_H
#define REGION_OPEN_H

#include <stdbool.h>

#include "region/options.h"
#include "region/region.h"

/* The same bits as SHHEAP_*. */
enum region_open_flags {
        REGION_CREATE = 1u << 0,        /* create it if there is none */
        REGION_EXCL = 1u << 1,          /* with CREATE: -EEXIST if there is one */
        REGION_RDONLY = 1u << 2,        /* read-only descriptor and mapping */
        REGION_RELOCATABLE = 1u << 3,   /* map elsewhere if its own address is taken */
        REGION_REPLACE_STALE = 1u << 4, /* with CREATE: also if there is one of another layout that nobody has open */
        REGION_POPULATE = 1u << 5       /* back all of the capacity now */
};

struct region_open_args {
        unsigned flags;         /* enum region_open_flags; others are ignored */
        struct options options; /* for creation */
};

/*
 *   -EINVAL      name or flags              -ENOENT  none such, no CREATE       -EEXIST  EXCL, and there is one
 *   -ENODEV      no region of ours          -EPROTO  of another build           -EBADMSG damaged or truncated
 *   -EAGAIN      it is being replaced, again and again
 *   -EACCES      forbidden, or somebody else's (see open.c)                     -EADDRINUSE its address is taken
 *   -ENOTSUP     not in memory, and no disk:true
 *   -ENOMEM, -ENOSPC, -EFBIG  no memory, no room in the file system, file size limit
 */
int region_open(struct region *ret, const char *name, const struct region_open_args *args);

/* Any descriptor of a region; it is duplicated.  REGION_CREATE and REGION_EXCL are -EINVAL. */
int region_open_fd(struct region *ret, int fd, const struct region_open_args *args);

/* A new region in a sealed memfd, known by its descriptor only.  `label` is its name, as of any heap. */
int region_create_anonymous(struct region *ret, const char *label, const struct region_open_args *args);

/* Unmaps and closes.  `r` is not to be used any more. */
void region_close(struct region *r);

/* Removes the name; those who have the region open keep it. */
int region_unlink(const char *name);

/* 1 if the region has a name by which others find it: the one that it was opened by, else its own; 0 if there is
 * nothing of that name, or another file; -errno if that cannot be seen from here. */
int region_is_linked(const struct region *r);

/* A descriptor of the region for somebody else, close-on-exec; the caller's to close. */
int region_dup_fd(const struct region *r, bool is_readonly);

/* Names of the files that look like heaps, until fn returns non-zero, which is returned. */
int region_list(int (*fn)(const char *name, void *arg), void *arg);

#endif
