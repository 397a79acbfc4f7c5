/*
 * verify.h - checks on our own logic.  Never used on bytes that another client can write: those are tested with
 * `if` and answered with -EUCLEAN, because a hostile or dying peer must not be able to end this process.
 *
 * CHECK is always on: it stands where going on would damage the memory of others.  ASSERT is for debug builds.
 */
#ifndef BASE_VERIFY_H
#define BASE_VERIFY_H

#define LIKELY(cond)   __builtin_expect(!!(cond), 1)
#define UNLIKELY(cond) __builtin_expect(!!(cond), 0)

#define CHECK(cond)                                                                                                    \
        do {                                                                                                           \
                if (UNLIKELY(!(cond)))                                                                                 \
                        __builtin_trap();                                                                              \
        } while (0)

#if SHM_DEBUG
#define ASSERT(cond) CHECK(cond)
#else
#define ASSERT(cond) ((void)0)
#endif

#endif
