/*
 * What is at stake: sizes that people read.  A rounding that is off by a unit is off by a thousand, and the buffer is
 * as long as the longest.
 */
#include "base/quantity.h"

#include <stdio.h>
#include <string.h>

#include "support/checks.h"
#include "support/suite.h"

START_TEST(sizes_have_three_digits_or_four_and_a_unit)
{
        static const struct {
                uint64_t bytes;
                const char *text;
        } sizes[] = {
                {0, "0 B"},
                {1, "1 B"},
                {1023, "1023 B"},
                {1024, "1.0 KiB"},
                {1536, "1.5 KiB"},
                {99 * 1024, "99.0 KiB"},
                {102348, "99.9 KiB"},
                {102350, "100 KiB"},
                {1023 * 1024, "1023 KiB"},
                {1023 * 1024 + 511, "1023 KiB"},
                {1023 * 1024 + 512, "1.0 MiB"},
                {1048575, "1.0 MiB"},
                {1048576, "1.0 MiB"},
                {UINT64_C(128) << 20, "128 MiB"},
                {UINT64_C(3) << 39, "1.5 TiB"},
                {UINT64_C(1) << 63, "8.0 EiB"},
                {UINT64_MAX, "16.0 EiB"},
        };

        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                char buf[QUANTITY_BYTES_MAX];

                ck_assert_str_eq(quantity_bytes(buf, sizes[i].bytes), sizes[i].text);
        }
}
END_TEST

/* What is read back is right to half of its last digit, and a larger size is never shown as a smaller one. */
START_TEST(text_is_the_size_to_its_last_digit)
{
        static const char units[] = "BKMGTPE";
        double last = 0;

        for (uint64_t bytes = 1; bytes < UINT64_C(1) << 62; bytes += bytes / 97 + 1) {
                char buf[QUANTITY_BYTES_MAX], unit;
                double value;

                ck_assert_uint_lt(strlen(quantity_bytes(buf, bytes)), 9);
                ck_assert_int_eq(sscanf(buf, "%lf %c", &value, &unit), 2);
                for (const char *at = units; *at != unit; at++)
                        value *= 1024;
                ck_assert_msg(value >= last, "%s after %.0f", buf, last);
                ck_assert_msg(value > (double)bytes * 0.949 && value < (double)bytes * 1.051, "%llu is no %s",
                              (unsigned long long)bytes, buf);
                last = value;
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("quantities");
        TCase *sizes = tcase_create("sizes");

        tcase_add_test(sizes, sizes_have_three_digits_or_four_and_a_unit);
        tcase_add_test(sizes, text_is_the_size_to_its_last_digit);
        suite_add_tcase(suite, sizes);
        return suite_run(suite);
}
