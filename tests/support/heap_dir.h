/*
 * heap_dir.h - a directory of heaps that belongs to one test program: SHMALLOC_DIR points there, nobody else's heaps
 * are in it, and nothing of it stays.
 */
#ifndef SUPPORT_HEAP_DIR_H
#define SUPPORT_HEAP_DIR_H

#include <shmalloc/shmalloc.h>

/* By main(), before and after all tests. */
void heap_dir_create(const char *suite);
void heap_dir_remove(void);

/* Before and after each test: forgets what others left behind. */
void heap_dir_empty(void);

/* How many files are in it. */
int heap_dir_count(void);

/* The file of a heap; valid until the next call. */
const char *heap_dir_file(const char *name);

/* Writes `bytes` of value into the file, or makes the heap one of another layout. */
void heap_dir_overwrite(const char *name, size_t off, size_t bytes, uint64_t value);
void heap_dir_make_stale(const char *name);

/* Opens a heap or aborts the test, saying why.  `conf` may be NULL; a heap that is created has 64 MiB unless it says
 * otherwise. */
shheap *heap_dir_open(const char *name, unsigned flags, const char *conf);

/* The calling thread uses blocks of that size until it has a magazine of them: the first ones go past it. */
void heap_use(shheap *h, size_t size);

/* A setting or figure that is a number. */
uint64_t heap_ctl(shheap *h, const char *name);

/* Settles the dead, and aborts the test if any of them are left.  How many there were. */
uint64_t heap_reap(shheap *h);

/* Aborts the test unless the heap, in which nobody is at work, is in order. */
void heap_assert_clean(shheap *h);

#endif
