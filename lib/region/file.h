/*
 * file.h - the file that a region is mapped from.
 *
 * Pages are given and taken by the mapping (os/pages.h).  A descriptor is wanted for what cannot be done so, and the one
 * that was kept may be closed by now, or be another file's.
 */
#ifndef REGION_FILE_H
#define REGION_FILE_H

#include "region/region.h"

/* A descriptor of the file with a number of its own, the caller's to close: of the kept one, else of the file of that
 * name, if it is still the same.  -EBADF and a message: there is none any more. */
int file_borrow(const struct region *r);

/*
 * A region that is meant to be used lies in memory, or `disk` says that it need not.  Else -ENOTSUP and a message: on a disk
 * that is full, stores into pages that were reserved may end in SIGBUS, since the file system may need room to write them.
 */
int file_check_kind(int fd, const char *what, bool disk);

/* Closes the kept one, unless it is another file's by now. */
void file_drop(struct region *r);

#endif
