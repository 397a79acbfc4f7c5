/*
 * name.h - heap names, and the files they stand for: heap NAME is the file shmalloc.NAME of one directory.
 */
#ifndef REGION_NAME_H
#define REGION_NAME_H

#include <stdbool.h>

#include "layout/layout.h"

#define NAME_FILE_PREFIX "shmalloc."

enum { NAME_FILE_BYTES = sizeof NAME_FILE_PREFIX + LAYOUT_NAME_MAX }; /* with the NUL */

/* [A-Za-z0-9._-], 1 to 63 bytes, no leading dot.  False for NULL. */
bool name_is_valid(const char *name);

/* 0, or -EINVAL and a message that says what a name may be. */
int name_to_file(const char *name, char ret_file[NAME_FILE_BYTES]);

/* The heap's name inside a file's name; NULL if the file is none of ours. */
const char *name_from_file(const char *file);

/* The directory of heaps: SHMALLOC_DIR or /dev/shm. */
const char *name_dir(void);

/* Opens a file of it as os_open_file() does, and lets who has a lease on it finish first (stale.c), which is a matter
 * of a few system calls; -EAGAIN: it is held for longer. */
int name_open_file(int dirfd, const char *file, bool is_readonly);

/* Opens it: a descriptor, or -errno and a message. */
int name_open_dir(void);

#endif
