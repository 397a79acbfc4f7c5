/*
 * stale.h - heaps that this library cannot use, because they are of another layout, and that nobody else uses either.
 */
#ifndef REGION_STALE_H
#define REGION_STALE_H

#include "os/newfile.h"

/*
 * All of these: 0, or with a message
 *   -EPROTO   it is of another layout, but somebody has it open, or it is another user's, or the kernel cannot tell
 *   -EEXIST   there is something else of that name, or nothing, by now: look again
 * and what the system calls give.
 */

/* Whether it can be replaced, just now. */
int stale_probe(int dirfd, const char *file, const char *what);

/* Gives its name to a complete new file. */
int stale_replace(struct os_newfile *new, const char *file, const char *what);

/* Removes it.  Its own user's, or of any as root. */
int stale_remove(int dirfd, const char *file, const char *what);

#endif
