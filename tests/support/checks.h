/*
 * checks.h - libcheck, whose assertions write once for each place.
 *
 * libcheck notes each place that an assertion has passed, by a write to a file, to be able to say which was the last
 * before a crash.  In a loop of a million assertions that is most of a test's time.  Here a place is noted when it is
 * passed for the first time: after a crash, "after this point" is the newest place, not the last one.
 */
#ifndef SUPPORT_CHECKS_H
#define SUPPORT_CHECKS_H

#include <check.h>
#include <stdint.h>

static inline void
checks_passed(const char *file, int line)
{
        static _Thread_local uint8_t noted[256];
        uint8_t bit = (uint8_t)(1U << (line & 7)), *byte = &noted[line / 8 % 256];

        if ((*byte & bit) == 0) {
                *byte |= bit;
                _mark_point(file, line);
        }
}

#undef ck_assert_msg
#define ck_assert_msg(expression, ...)                                                                                 \
        ((expression) ? checks_passed(__FILE__, __LINE__)                                                              \
                      : _ck_assert_failed(__FILE__, __LINE__, "Assertion '" #expression "' failed", ##__VA_ARGS__))

#endif
