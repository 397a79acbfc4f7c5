/*
 * view.h - a heap looked at from outside: the tables of its file, mapped read-only, without a client, a slot or a lock.
 *
 * Only what the file has pages for is mapped; where it has a hole, private zero pages lie, so that looking neither
 * adds a page to the file nor fails on a full file system.  The blocks are not mapped at all.  The file may be
 * anything, and may be truncated meanwhile: nothing read here is trusted further than lib/audit/check.h does.
 */
#ifndef COMMON_VIEW_H
#define COMMON_VIEW_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "audit/check.h"
#include "region/header.h"
#include "region/region.h"

struct view {
        struct region region;           /* read-only: for check_region(), stats_print() and the accessors of region.h */
        struct header header;           /* as it was when the view was opened, checked */
        char name[LAYOUT_NAME_MAX + 1]; /* that the file has; of a file that is not a heap's by name: the header's */
        uint64_t file_bytes;            /* that the file occupies, when it was opened or refreshed */
        char *mapping;
};

/* `what` is the name of a heap, or with a slash in it the path of a file: a saved heap.  0, or -errno with the message
 * set (base/error.h): -ENOENT, -EACCES, -ENODEV, -EPROTO, -EBADMSG, -EINVAL, -ENOMEM. */
int view_open(struct view *v, const char *what);

/* The same by a descriptor for reading, which is taken over, also when it fails. */
int view_open_fd(struct view *v, int fd, const char *name, const char *what);

void view_close(struct view *v);

/* Maps what the file has gained since. */
int view_refresh(struct view *v);

/* A file that shrinks under a view gives zeroes instead of a signal from here on.  Once per program. */
void view_guard(void);

/* Whether that has happened. */
bool view_was_truncated(void);

/* check_region_by_arena() until it finds no fault, a few times: while others run, the file may have gained tables that
 * the view has not mapped yet.  Damage stays.  `by_arena` may be NULL. */
int view_check(struct view *v, unsigned flags, FILE *report, struct check_totals *ret_totals,
               struct check_totals *by_arena);

#endif
