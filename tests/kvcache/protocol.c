/*
 * protocol.c - the parser of kvcache, under AddressSanitizer.
 *
 * What is at stake: whatever a client sends, however it is cut into pieces, gives commands or an error, never a byte
 * read beyond what is there, nor memory for what was only announced.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "buffer.h"
#include "feed.h"
#include "glob.h"
#include "number.h"
#include "resp.h"
#include "support/checks.h"
#include "support/suite.h"

enum { ROUNDS = 30000 };

static const struct {
        const char *stream, *outcome;
        size_t bytes; /* 0: up to the NUL */
} cases[] = {
        {"*2\r\n$3\r\nGET\r\n$1\r\nk\r\n", "[GET|k]", 0},
        {"*1\r\n$4\r\nPING\r\n*1\r\n$4\r\nPING\r\n", "[PING][PING]", 0},
        {"*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "[GET|]", 0},
        {"*0\r\n*-1\r\nPING\r\n", "[][][PING]", 0},
        {"PING\r\n", "[PING]", 0},
        {"PING\n\n\r\nPING\n", "[PING][][][PING]", 0},
        {"set a \"b c\\x41\\n\\\"\" 'd\\'e\\n'\r\n", "[set|a|b cA\n\"|d'e\\n]", 0},
        {"set \"\" ''\r\n", "[set||]", 0},
        {"set \"a", "", 0},
        {"set \"a\r\n", "!ERR Protocol error: unbalanced quotes in request", 0},
        {"set \"a\"b\r\n", "!ERR Protocol error: unbalanced quotes in request", 0},
        {"*x\r\n", "!ERR Protocol error: invalid multibulk length", 0},
        {"*\r\n", "!ERR Protocol error: invalid multibulk length", 0},
        {"*1048577\r\n", "!ERR Protocol error: invalid multibulk length", 0},
        {"*99999999999999999999\r\n", "!ERR Protocol error: invalid multibulk length", 0},
        {"*1\r\n+OK\r\n", "!ERR Protocol error: expected '$', got '+'", 0},
        {"*1\r\n\x01", "!ERR Protocol error: expected '$', got '\\x01'", 0},
        {"*1\r\n$-1\r\n", "!ERR Protocol error: invalid bulk length", 0},
        {"*1\r\n$67108865\r\n", "!ERR Protocol error: invalid bulk length", 0},
        {"*1\r\n$1x\r\n", "!ERR Protocol error: invalid bulk length", 0},
        {"*1\r\n$1\r\nab\r\n", "!ERR Protocol error: bulk string does not end where it should", 0},
        {"PING\r\n*1\r\n$x\r\n", "[PING]!ERR Protocol error: invalid bulk length", 0},
        {"*2\r\n$3\r\na\0b\r\n$2\r\n\r\n\r\n", "[a\0b|\r\n]", 21},
};

START_TEST(stream_gives_the_same_in_whatever_pieces)
{
        size_t bytes = cases[_i].bytes ? cases[_i].bytes : strlen(cases[_i].stream);

        for (size_t piece = 1; piece <= bytes; piece++) {
                struct outcome o;

                feed(cases[_i].stream, bytes, piece, &o);
                if (cases[_i].bytes == 0)
                        ck_assert_str_eq(o.text, cases[_i].outcome);
                else
                        ck_assert_mem_eq(o.text, cases[_i].outcome, 8);
        }
}
END_TEST

START_TEST(endless_lines_are_refused)
{
        static const char starts[][4] = {"*", "*1\r", "x"};
        size_t bytes = RESP_LINE_MAX + 100;
        char *stream = malloc(bytes);
        struct outcome o;

        memset(stream, '1', bytes);
        memcpy(stream, starts[_i], strlen(starts[_i]));
        if (_i == 1)
                memcpy(stream, "*1\r\n$", 5);
        feed(stream, bytes, 5000, &o);
        free(stream);
        ck_assert_ptr_nonnull(strstr(o.text, "!ERR Protocol error: too big"));
}
END_TEST

START_TEST(what_is_only_announced_costs_nothing)
{
        struct resp resp;
        char stream[] = "*1048576\r\n$67108864\r\nabc";
        const char *error;
        size_t used;

        resp_init(&resp);
        ck_assert_int_eq(resp_next(&resp, stream, strlen(stream), &used, &error), RESP_MORE);
        ck_assert_uint_le(resp.room, 64);
        ck_assert_uint_gt(resp_expected(&resp), 67108864);
        resp_fini(&resp);
}
END_TEST

START_TEST(command_as_a_whole_is_bounded)
{
        size_t bulk = RESP_BULK_MAX, bytes = 0;
        char *stream = malloc(RESP_COMMAND_MAX + (1 << 20));
        struct resp resp;
        const char *error = "";
        size_t used;

        ck_assert_ptr_nonnull(stream);
        bytes += (size_t)sprintf(stream, "*5\r\n");
        for (int i = 0; i < 3; i++) {
                bytes += (size_t)sprintf(stream + bytes, "$%zu\r\n", bulk);
                memset(stream + bytes, 'x', bulk);
                bytes += bulk;
                bytes += (size_t)sprintf(stream + bytes, "\r\n");
        }
        bytes += (size_t)sprintf(stream + bytes, "$%zu\r\n", bulk);
        resp_init(&resp);
        ck_assert_int_eq(resp_next(&resp, stream, bytes, &used, &error), RESP_BAD);
        ck_assert_str_eq(error, "ERR Protocol error: command is longer than 256 MiB");
        resp_fini(&resp);
        free(stream);
}
END_TEST

static uint32_t seed = 1;

static uint32_t
next(uint32_t n)
{
        seed = seed * 1664525 + 1013904223;
        return (uint32_t)((uint64_t)(seed >> 4) * n >> 28);
}

/* Streams that are nearly right. */
static size_t
make_stream(char *stream)
{
        static const char *const parts[] = {"*1\r\n",      "*2\r\n",     "$3\r\nGET\r\n",
                                            "$1\r\nk\r\n", "$0\r\n\r\n", "PING\r\n",
                                            "$-1\r\n",     "*-1\r\n",    "\"a b\" ",
                                            "'",           "\r\n",       "\n",
                                            "*",           "$",          "9999999999",
                                            "\\x4",        "\\",         "*3\r\n$3\r\nSET\r\n$1\r\na\r\n$2\r\nbc\r\n"};
        size_t n = 0;

        for (uint32_t k = next(12) + 1; k > 0; k--) {
                const char *part = parts[next(sizeof parts / sizeof parts[0])];

                memcpy(stream + n, part, strlen(part));
                n += strlen(part);
        }
        for (uint32_t k = next(4); k > 0; k--)
                stream[next((uint32_t)n)] = (char)next(256);
        return n;
}

START_TEST(random_streams_give_the_same_in_whatever_pieces)
{
        static struct outcome whole, pieces;
        char stream[TEXT_MAX];

        for (int i = 0; i < ROUNDS; i++) {
                size_t n = make_stream(stream);

                feed(stream, n, n, &whole);
                feed(stream, n, 1 + next(7), &pieces);
                ck_assert_uint_eq(whole.n, pieces.n);
                ck_assert_mem_eq(whole.text, pieces.text, whole.n);
        }
}
END_TEST

START_TEST(numbers_are_whole_and_in_range)
{
        static const char *const bad[] = {"",
                                          "-",
                                          "+1",
                                          "01",
                                          "-0",
                                          "1 ",
                                          " 1",
                                          "1.0",
                                          "9223372036854775808",
                                          "-9223372036854775809",
                                          "99999999999999999999",
                                          "a"};
        char text[32];
        int64_t value;

        for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++)
                ck_assert(!number_parse(bad[i], strlen(bad[i]), &value));
        ck_assert(number_parse("-9223372036854775808", 20, &value) && value == INT64_MIN);
        ck_assert(number_parse("9223372036854775807", 19, &value) && value == INT64_MAX);
        ck_assert_int_eq(number_print(text, INT64_MIN), 20);
        ck_assert_mem_eq(text, "-9223372036854775808", 20);
        ck_assert_int_eq(number_print(text, 0), 1);
}
END_TEST

START_TEST(patterns_match_as_in_redis)
{
        static const struct {
                const char *pattern, *text;
                bool fits;
        } globs[] = {{"*", "", true},
                     {"", "", true},
                     {"", "a", false},
                     {"h?llo", "hello", true},
                     {"h?llo", "hllo", false},
                     {"h*llo", "heeello", true},
                     {"h[ae]llo", "hallo", true},
                     {"h[^e]llo", "hello", false},
                     {"h[a-b]llo", "hbllo", true},
                     {"a\\*b", "a*b", true},
                     {"a\\*b", "axb", false},
                     {"[", "x", false},
                     {"*a*b*", "xxaxxbxx", true},
                     {"*a*b*", "xxbxxaxx", false},
                     {"a*", "b", false},
                     {"[a", "a", true},
                     {"\\", "\\", true}};

        for (size_t i = 0; i < sizeof globs / sizeof globs[0]; i++)
                ck_assert_msg(glob_match(globs[i].pattern, strlen(globs[i].pattern), globs[i].text,
                                         strlen(globs[i].text)) == globs[i].fits,
                              "%s %s", globs[i].pattern, globs[i].text);
}
END_TEST

/* With one star after the other, a matcher that tries all ways would take for ever. */
START_TEST(no_pattern_takes_long)
{
        char pattern[201], text[5001];

        for (int i = 0; i < 200; i += 2)
                memcpy(pattern + i, "*a", 3);
        memset(text, 'a', 5000);
        text[4999] = 'b';
        ck_assert(!glob_match(pattern, 200, text, 5000));
}
END_TEST

START_TEST(buffers_have_a_bound)
{
        struct buffer b = {.p = NULL};

        buffer_total_max = 10000;
        buffer_put(&b, "abc", 3);
        ck_assert(buffer_reserve(&b, 5000));
        ck_assert(!buffer_reserve(&b, 20000));
        ck_assert_mem_eq(b.p + b.start, "abc", 3);
        buffer_take(&b, 3);
        buffer_free(&b);
        ck_assert_uint_eq(buffer_total, 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("protocol");
        TCase *tc = tcase_create("protocol");

        tcase_add_loop_test(tc, stream_gives_the_same_in_whatever_pieces, 0, sizeof cases / sizeof cases[0]);
        tcase_add_loop_test(tc, endless_lines_are_refused, 0, 3);
        tcase_add_test(tc, what_is_only_announced_costs_nothing);
        tcase_add_test(tc, command_as_a_whole_is_bounded);
        tcase_add_test(tc, random_streams_give_the_same_in_whatever_pieces);
        tcase_add_test(tc, numbers_are_whole_and_in_range);
        tcase_add_test(tc, patterns_match_as_in_redis);
        tcase_add_test(tc, no_pattern_takes_long);
        tcase_add_test(tc, buffers_have_a_bound);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
