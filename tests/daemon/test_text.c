/*
 * What is at stake: names that others wrote reach terminals, pages and JSON.  A byte that gets through unescaped
 * colours the terminal, ends an element, or makes a document that nobody can read.
 */
#include <string.h>

#include "common/text.h"
#include "daemon/suite.h"

static const char *
escaped(const char *text, enum text_kind kind)
{
        static char buf[200];

        text_escape(buf, sizeof buf, text, strlen(text), kind);
        return buf;
}

START_TEST(what_is_printable_stays)
{
        ck_assert_str_eq(escaped("a b~!{}[]", TEXT_PLAIN), "a b~!{}[]");
        ck_assert_str_eq(escaped("gr\xc3\xb6\xc3\x9f"
                                 "e",
                                 TEXT_UTF8),
                         "gr\xc3\xb6\xc3\x9f"
                         "e");
        ck_assert_str_eq(escaped("\xe2\x82\xac\xf0\x9f\x99\x82", TEXT_MARKUP), "\xe2\x82\xac\xf0\x9f\x99\x82");
}
END_TEST

START_TEST(what_is_not_is_escaped_byte_by_byte)
{
        ck_assert_str_eq(escaped("\x1b[31m\n\t\x7f", TEXT_PLAIN), "\\x1b[31m\\x0a\\x09\\x7f");
        ck_assert_str_eq(escaped("\xc3\xb6", TEXT_PLAIN), "\\xc3\\xb6");
        ck_assert_str_eq(escaped("a\\x1b", TEXT_PLAIN), "a\\x5cx1b"); /* and so means what it says */
        ck_assert_str_eq(escaped("<a href=\"'&", TEXT_MARKUP), "&#60;a href=&#34;&#39;&#38;");
        ck_assert_str_eq(escaped("<a href=\"'&", TEXT_UTF8), "<a href=\"'&");
}
END_TEST

START_TEST(what_is_no_character_is_bytes)
{
        static const char *const none[] = {
                "\xff",
                "\x80",
                "\xc3",
                "\xc0\x80", /* too long */
                "\xe0\x80\xaf",
                "\xed\xa0\x80",     /* half of a pair */
                "\xf4\x90\x80\x80", /* beyond the last */
                "\xc2\x85",         /* a control */
                "\xe2\x80\xae",     /* from right to left */
                "\xef\xbb\xbf",
                "\xef\xbf\xbf",
                "\xf8\x88\x80\x80",
        };

        for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
                for (int kind = TEXT_PLAIN; kind <= TEXT_MARKUP; kind++) {
                        const char *text = escaped(none[i], (enum text_kind)kind);

                        ck_assert_msg(strlen(text) == 4 * strlen(none[i]), "%zu: %s", i, text);
                        ck_assert(strspn(text, "\\x0123456789abcdef") == strlen(text));
                }
}
END_TEST

/* Whatever the length, it ends between two characters, and nothing is written behind it. */
START_TEST(what_does_not_fit_is_left_out)
{
        for (size_t size = 1; size < 12; size++) {
                char buf[16];

                memset(buf, '#', sizeof buf);
                text_escape(buf, size, "a\xc3\xb6\nb", 5, TEXT_UTF8);
                ck_assert_uint_lt(strlen(buf), size);
                ck_assert_int_eq(buf[size], '#');
                ck_assert_int_eq(strncmp("a\xc3\xb6\\x0a"
                                         "b",
                                         buf, strlen(buf)),
                                 0);
                ck_assert_uint_ne(strlen(buf), 2);
                ck_assert(strlen(buf) < 4 || strlen(buf) >= 7);
        }
        text_escape((char[4]){"xyz"}, 4, "", 0, TEXT_PLAIN);
}
END_TEST

START_TEST(counts_have_a_plural)
{
        char mode[TEXT_MODE_MAX];

        ck_assert_str_eq(text_s(1), "");
        ck_assert_str_eq(text_s(0), "s");
        ck_assert_str_eq(text_s(2), "s");
        text_mode(mode, 0100600);
        ck_assert_str_eq(mode, "0600");
        text_mode(mode, 0);
        ck_assert_str_eq(mode, "0000");
        text_mode(mode, 06755);
        ck_assert_str_eq(mode, "6755");
}
END_TEST

int
main(void)
{
        return SUITE_RUN("text that others wrote", "text", what_is_printable_stays, what_is_not_is_escaped_byte_by_byte,
                         what_is_no_character_is_bytes, what_does_not_fit_is_left_out, counts_have_a_plural);
}
