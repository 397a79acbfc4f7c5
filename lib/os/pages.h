/*
 * pages.h - giving pages to a mapped file and taking them back, by its mapping.
 *
 * What is mapped somewhere is known, whatever the program around us has done to descriptors: a mapping cannot become
 * another file's unless somebody maps over it.  So these calls need no descriptor, and there is no moment between
 * looking at one and using it.
 */
#ifndef OS_PAGES_H
#define OS_PAGES_H

#include <stdbool.h>
#include <stdint.h>

/* Page-aligned ranges of a shared mapping of a file. */

/*
 * The range has pages afterwards, and they are mapped here.  Signals do not interrupt it.  On failure a part of the
 * range may have got pages.  -EFAULT: the file system has none (why, os_allocate() would tell); -EINVAL: a kernel
 * before 5.14.
 */
int os_populate(void *addr, uint64_t bytes);

/* Gives the range's pages back, for everybody who maps the file; it reads as zeroes afterwards.  `whole` is the
 * mapping: if it is locked in memory, its pages are locked as they come into use from then on. */
int os_remove(void *addr, uint64_t bytes, void *whole, uint64_t whole_bytes);

/* Whether the page of an address is real, whoever made it so; true, too, where the kernel does not tell. */
bool os_is_real(void *addr);

/* Of a new mapping that is not accessible yet: nobody fills its holes by locking memory or by dumping it. */
void os_keep_sparse(void *addr, uint64_t bytes);

/* Whether a core file has what lies in the range.  0; -ENOMEM and others: as before. */
int os_dump(void *addr, uint64_t bytes, bool is_wanted);

#endif
