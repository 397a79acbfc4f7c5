/*
 * small_fs.h - a file system of a size of the test's choice over the directory of its heaps: a tmpfs in a mount
 * namespace of the process's own, and of the children that it makes from then on, so that nothing of it stays, whoever
 * dies.
 */
#ifndef SUPPORT_SMALL_FS_H
#define SUPPORT_SMALL_FS_H

#include <stdbool.h>
#include <stddef.h>

/* After heap_dir_create(), before there are threads.  NULL, or why it cannot be had: as root, or where user namespaces
 * are allowed, it can. */
const char *small_fs_make(void);

/* False: no smaller than what is in it. */
bool small_fs_resize(size_t bytes);

/* Bytes that are free. */
size_t small_fs_room(void);

/* Takes it away with all that is in it, so that heap_dir_remove() can remove the directory. */
void small_fs_remove(void);

#endif
