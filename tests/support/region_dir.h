/*
 * region_dir.h - a directory of regions for the tests of what lies below the public functions (for those, heap_dir.h):
 * SHMALLOC_DIR points there, nobody else's heaps are in it, and nothing of it stays.
 *
 * Each test runs in a process of its own (libcheck forks); the directory belongs to the test case, whose parent removes
 * it whatever became of the test.
 */
#ifndef SUPPORT_REGION_DIR_H
#define SUPPORT_REGION_DIR_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "region/open.h"
#include "support/checks.h"

/* The thread sanitizer ends processes that map something in the second window of addresses (region/map.c). */
#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

/* ------------------------------------------------------------------ the directory */

/* A new test case of the suite with a directory, which is empty before each of its tests. */
TCase *region_dir_case(Suite *suite, const char *name);

/* Its path, and that of a heap's file in it, which the next call overwrites. */
const char *region_dir_name(void);
const char *region_dir_path(const char *name);

/* How many files are in it. */
int region_dir_count(void);

/* A file under the name of a heap: n bytes, cut off or filled up with zeroes to `size`. */
void region_dir_plant(const char *name, const void *bytes, size_t n, off_t size);

/* ------------------------------------------------------------------ opening */

struct region_open_args args_of(unsigned flags, uint64_t capacity);

/* A heap that is created has 16 MiB. */
int try_open(struct region *ret, const char *name, unsigned flags);
struct region must_open(const char *name, unsigned flags);

/* The message contains `fragment`. */
void must_refuse(const char *name, unsigned flags, int expected, const char *fragment);

/* Creates a heap and leaves only its file. */
void must_create(const char *name);

/* What fn does in a child: its exit status, or 1000 + the signal that ended it. */
int status_of_child(int (*fn)(void *arg), void *arg);

#endif
