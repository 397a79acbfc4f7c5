/*
 * file.h - the file that a region is mapped from.
 *
 * Pages are given and taken by the mapping (os/pages.h).  A descriptor is wanted for what cannot be done so, and the
 * one that was kept may be closed by now, or be another file's.
 */
#ifndef REGION_FILE_H
#define REGION_FILE_H

#include "region/region.h"

/* A descriptor of the file with a number of its own, the caller's to close: of the kept one, else of the file of that
 * name, if it is still the same.  -EBADF and a message: there is none any more. */
int file_borrow(const struct region *r);

/*
 * A region that is meant to be used lies in memory, or `disk` says that it need not.  Else -ENOTSUP and a message: on a
 * disk that is full, stores into pages that were reserved may end in SIGBUS, since the file system may need room to
 * write them.
 */
int file_check_kind(int fd, const char *what, bool disk);

/* The same of the kept one only, and without a message. */
int file_borrow_kept(const struct region *r);

/* The first page at `off` or behind it, of the file of a borrowed descriptor; UINT64_MAX: there is none, or nobody can
 * say. */
uint64_t file_next_page(int fd, uint64_t off);

/* How many bytes from there on have pages side by side. */
uint64_t file_pages_bytes(int fd, uint64_t off);

/* Copies words of the region as they are now, where there may be a hole by now: it is read as one reads a file, so a
 * hole is zeroes, and stays a hole.  `fd` is a borrowed descriptor; where there is none, or it cannot be read, the
 * words are looked at. */
void file_look(const struct region *r, int fd, const void *from, void *ret_copy, size_t bytes);

/* Closes the kept one, unless it is another file's by now. */
void file_drop(struct region *r);

#endif
