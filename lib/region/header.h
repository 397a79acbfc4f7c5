/*
 * header.h - reading the header of a file that may be anything.
 */
#ifndef REGION_HEADER_H
#define REGION_HEADER_H

#include <stdbool.h>
#include <sys/stat.h>

#include "layout/layout.h"

/* Addresses of regions are multiples of this. */
#define HEADER_BASE_ALIGN (UINT64_C(1) << 30)

/* A private copy that has passed all checks, and what follows from it. */
struct header {
        struct region_header copy;
        struct layout layout;
        struct stat st;
};

/* Reads and checks; `what` names the file in messages.  0, -ENODEV, -EPROTO, -EBADMSG, or what reading gave.  -EPROTO:
 * it is a heap, but this library may not use it so: the frozen line alone has been read, and is in ret_header. */
int header_read(int fd, const char *what, bool is_readonly, struct header *ret_header);

/* The frozen line without words, for a look at a neighbour: false if it is no region of any version. */
bool header_peek(int fd, struct region_header *ret_copy);

/* "a directory", "a FIFO", ... */
const char *header_file_type(const struct stat *st);

#endif
