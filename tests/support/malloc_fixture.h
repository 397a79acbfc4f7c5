/*
 * malloc_fixture.h - what the tests of the malloc family share: a heap that each test finds empty, contents by which a
 * block is known again, and children that use the heap as their parent has it open.
 */
#ifndef SUPPORT_MALLOC_FIXTURE_H
#define SUPPORT_MALLOC_FIXTURE_H

#include <errno.h>
#include <stdbool.h>
#include <stddef.h>

#include <shmalloc/shmalloc.h>

#include "support/checks.h"

#define MIB ((size_t)1 << 20)

/* Says what the library says. */
#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        ck_abort_msg("line %d: not true: %s (errno %d, \"%s\")", __LINE__, #claim, errno,              \
                                     shheap_errormsg());                                                               \
        } while (0)

/* Tests that go through all size classes take every third one where a sanitizer makes them slow. */
#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
enum { CLASS_STEP = 3 };
#else
enum { CLASS_STEP = 1 };
#endif

/* ------------------------------------------------------------------ the heap */

/* Open in each test, with two arenas. */
extern shheap *h;

/* Before and after each test, at whose end the heap has to be in order. */
void setup(void);
void teardown(void);

/* The same heap, with other options or another size. */
void reopen(unsigned flags, const char *conf);

/* ------------------------------------------------------------------ pointers and contents */

/* Hides a pointer from a compiler that knows what malloc and free mean.  Inline, so that it may be a freed one. */
static inline void *
hide(void *p)
{
        static void *sink;

        __atomic_store_n(&sink, p, __ATOMIC_RELAXED);
        return __atomic_load_n(&sink, __ATOMIC_RELAXED);
}

size_t usable(const void *p);
bool is_aligned(const void *p, size_t align);

/* Fills a block with a pattern that depends on the seed; of large ones the ends, and a byte here and there between. */
void fill(void *p, size_t bytes, unsigned seed);

/* The first `bytes` of what was filled as a block of `filled`. */
bool holds(const void *p, size_t bytes, size_t filled, unsigned seed);

bool is_all(const void *p, size_t from, size_t bytes, unsigned char value);

/* Small, large and huge, at borders of classes and between them. */
static const size_t some_sizes[] = {1,    16,    24,    100,    112, 1000,    1024,        1025,
                                    5000, 32768, 32769, 100000, MIB, 2 * MIB, 2 * MIB + 1, 5 * MIB};
enum { N_SOME_SIZES = sizeof some_sizes / sizeof some_sizes[0] };

/* ------------------------------------------------------------------ children */

/* Runs fn() in a child, which has to end well, and settles what it left in the heap. */
void in_child(void (*fn)(void));

#endif
