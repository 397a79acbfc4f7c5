/*
 * against.h - the same rows of work, done by one program with either of two builds of the library.
 *
 * The program is not linked to the library: it opens the one that it is told by its path, and finds the functions by
 * name.  So what differs between two runs is the library, not the driver, nor where the linker put it.
 */
#ifndef BENCH_AGAINST_AGAINST_H
#define BENCH_AGAINST_AGAINST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "shmalloc/shmalloc.h"

/* ------------------------------------------------------------------ library.c */

/* What the rows call; ends the program with a line if the library cannot be opened or lacks one of them. */
struct library {
#define FUNCTIONS(X)                                                                                                   \
        X(shheap_open)                                                                                                 \
        X(shheap_close)                                                                                                \
        X(shheap_unlink)                                                                                               \
        X(shheap_errormsg)                                                                                             \
        X(shheap_set_default)                                                                                          \
        X(shheap_malloc)                                                                                               \
        X(shheap_free)                                                                                                 \
        X(shheap_calloc)                                                                                               \
        X(shheap_realloc)                                                                                              \
        X(shheap_aligned_alloc)                                                                                        \
        X(shheap_mallocx)                                                                                              \
        X(shheap_malloc_to)                                                                                            \
        X(shheap_free_from)                                                                                            \
        X(shheap_root)                                                                                                 \
        X(shheap_root_remove)                                                                                          \
        X(shheap_reap)                                                                                                 \
        X(shheap_ctl)                                                                                                  \
        X(shheap_check)                                                                                                \
        X(shheap_purge)                                                                                                \
        X(shheap_usable_size)
#define POINTER(name) __typeof__(name) *name;
        FUNCTIONS(POINTER)
#undef POINTER
        __typeof__(shmalloc) *shmalloc;
        __typeof__(shfree) *shfree;
};

void library_open(struct library *lib, const char *path);

/* ------------------------------------------------------------------ measure.c */

/* What is measured of a row lies between these two, in any thread, one at a time; `n` operations were done. */
void measure_begin(void);
void measure_end(uint64_t n);

/* Between two looks at the clock: in nanoseconds per operation, the lower quartile of all stretches that were measured.
 * A figure of `work` done again and again for so many seconds. */
double measure_time(void (*work)(void), double seconds);

/* Under callgrind, which counts what is between measure_begin() and measure_end() only: does `work` so often, and says
 * how many operations that were. */
uint64_t measure_count(void (*work)(void), int n_warm, int n_counted);

/* False: this program was built without valgrind's headers. */
bool measure_can_count(void);

/* ------------------------------------------------------------------ rows.c */

enum row_kind {
        ROW_HIT, /* served from the thread's caches: not one instruction more */
        ROW_SLOW /* all else */
};

struct row {
        const char *name, *what;
        enum row_kind kind;
        void (*work)(void); /* a stretch of it: measure_begin(), operations, measure_end() */
        uint64_t a, b;      /* what they mean is the row's business */
};

extern const struct row rows[]; /* ends with a name that is NULL */

/* Makes the heap that the row works on, with this library. */
void rows_begin(const struct library *lib, const struct row *row);
void rows_end(void);

#endif
