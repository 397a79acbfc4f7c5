/*
 * What is at stake: that a log cannot be filled by whoever may connect to the daemon, that the lines of others are
 * still there, and that what is left out is counted to the last line.
 */
#include <stdio.h>
#include <string.h>

#include "daemon/suite.h"
#include "shmallocd/limit.h"

static struct limit l;
static uint64_t n_said, n_flushed;
static char last[LIMIT_TEXT_MAX];

static void
note(uint64_t n, const char *text)
{
        n_said++;
        n_flushed += n;
        snprintf(last, sizeof last, "%s", text);
}

/* How many of n lines may be written. */
static unsigned
write_lines(const char *kind, uint64_t cause, unsigned n, uint64_t now_ms)
{
        unsigned n_written = 0;

        for (unsigned i = 0; i < n; i++)
                n_written += limit_allows(&l, kind, cause, "an example", now_ms);
        return n_written;
}

START_TEST(one_cause_has_so_many_lines_and_others_have_theirs)
{
        static const char refused[] = "refused", ignored[] = "ignored";

        ck_assert_uint_eq(write_lines(refused, 1, 5000, 10), LIMIT_PER_CAUSE);
        ck_assert_uint_eq(write_lines(refused, 2, 1, 10), 1);
        ck_assert_uint_eq(write_lines(ignored, 1, 1, 10), 1);
        limit_flush(&l, false, 10 + LIMIT_WINDOW_MS - 1, note);
        ck_assert_uint_eq(n_said, 0);
        limit_flush(&l, false, 10 + LIMIT_WINDOW_MS, note);
        ck_assert_uint_eq(n_said, 1);
        ck_assert_uint_eq(n_flushed, 5000 - LIMIT_PER_CAUSE);
        ck_assert_str_eq(last, "an example");
        ck_assert_uint_eq(write_lines(refused, 1, 5000, 10 + LIMIT_WINDOW_MS), LIMIT_PER_CAUSE);
}
END_TEST

/* However many users somebody has, or pretends to be. */
START_TEST(all_causes_together_are_limited)
{
        static const char refused[] = "refused";
        unsigned n = 0;

        for (uint64_t cause = 0; cause < 10000; cause++)
                n += write_lines(refused, cause * 77, 3, 5);
        ck_assert_uint_eq(n, LIMIT_PER_KIND);
        limit_flush(&l, true, 6, note);
        ck_assert_uint_eq(n_said, 1);
        ck_assert_uint_eq(n_flushed, 30000 - LIMIT_PER_KIND);
        limit_flush(&l, true, 7, note); /* once */
        ck_assert_uint_eq(n_said, 1);
}
END_TEST

START_TEST(every_line_is_written_or_counted)
{
        static char kinds[2 * LIMIT_KINDS];
        uint64_t n = 0, n_written = 0;

        for (uint64_t now = 0; now < 20 * (uint64_t)LIMIT_WINDOW_MS; now += 977) {
                for (unsigned i = 0; i < sizeof kinds; i++, n += 3)
                        n_written += write_lines(&kinds[i], now / 5000 % 3, 3, now);
                limit_flush(&l, false, now, note);
        }
        limit_flush(&l, true, 1, note);
        ck_assert_uint_gt(n_written, 0);
        ck_assert_uint_gt(n_flushed, 0);
        ck_assert_uint_eq(n_written + n_flushed, n);
}
END_TEST

int
main(void)
{
        return SUITE_RUN("limit", "limit", one_cause_has_so_many_lines_and_others_have_theirs,
                         all_causes_together_are_limited, every_line_is_written_or_counted);
}
