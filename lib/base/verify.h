/*
 * verify.h - checks on our own logic.  Never used on bytes that another client can write: those are tested with
 * `if` and answered with -EUCLEAN, because a hostile or dying peer must not be able to end this process.
 *
 * CHECK is always on: it stands where going on would damage the memory of others.  ASSERT is for builds with
 * SHM_ASSERTS, which is what SHM_DEBUG is unless it is given; in others it is no code, but what it says has to compile,
 * and counts as a use of its variables.  ASSERT_INVARIANT says which invariant of layout/invariants.h is broken.
 *
 * An asserting build is one for tests.  It does believe what stands in the region, of things that this thread owns:
 * nobody else writes them, unless somebody damages the heap.  Tests that do so say it: verify_heap_is_damaged.
 */
#ifndef BASE_VERIFY_H
#define BASE_VERIFY_H

#include <stdbool.h>

#ifndef SHM_ASSERTS
#define SHM_ASSERTS SHM_DEBUG
#endif

#define LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define UNLIKELY(cond) __builtin_expect(!!(cond), 0)

/* Before a static function that only assertions call. */
#define ASSERTED_ONLY __attribute__((unused))

#define CHECK(cond)                                                                                                    \
        do {                                                                                                           \
                if (UNLIKELY(!(cond)))                                                                                 \
                        __builtin_trap();                                                                              \
        } while (0)

#if SHM_ASSERTS

/* Says what does not hold, and ends the process: 134 in a shell.  `name` may be NULL. */
void verify_failed(const char *name, const char *cond, const char *file, int line) __attribute__((noreturn, cold));

/* What reads memory for an assertion alone: an explorer of schedules takes no notice of it. */
extern __thread unsigned verify_depth;

/* Set by a test that writes what no client would write.  Invariants of the region are not asserted from then on. */
extern bool verify_heap_is_damaged;

#define VERIFY_ONE(name, cond, is_wanted)                                                                              \
        do {                                                                                                           \
                verify_depth++;                                                                                        \
                if (UNLIKELY((is_wanted) && !(cond)))                                                                  \
                        verify_failed((name), #cond, __FILE__, __LINE__);                                              \
                verify_depth--;                                                                                        \
        } while (0)

#define ASSERT(cond)                 VERIFY_ONE((const char *)0, cond, true)
#define ASSERT_INVARIANT(name, cond) VERIFY_ONE(#name, cond, !verify_heap_is_damaged)

#else

#define verify_depth                 0u
#define ASSERT(cond)                 ((void)sizeof(!(cond)))
#define ASSERT_INVARIANT(name, cond) ((void)sizeof(!(cond)))

#endif

#endif
