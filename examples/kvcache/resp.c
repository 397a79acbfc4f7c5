/*
 * resp.c - see resp.h.
 */
#include "resp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "number.h"

enum { ARGS_KEPT = 64 };

void
resp_init(struct resp *resp)
{
        *resp = (struct resp){.bulk = -1};
}

void
resp_fini(struct resp *resp)
{
        free(resp->arg);
        resp_init(resp);
}

static void
start(struct resp *resp)
{
        if (resp->room > ARGS_KEPT) {
                free(resp->arg);
                resp->arg = NULL;
                resp->room = 0;
        }
        resp->n = 0;
        resp->at = 0;
        resp->bulk = -1;
        resp->in_array = false;
}

static bool
add(struct resp *resp, size_t off, size_t bytes)
{
        if (resp->n == resp->room) {
                uint32_t room = resp->room < 8 ? 8 : resp->room * 2;
                struct span *arg = realloc(resp->arg, room * sizeof *arg);

                if (!arg)
                        return false;
                resp->arg = arg;
                resp->room = room;
        }
        resp->arg[resp->n++] = (struct span){.off = (uint32_t)off, .bytes = (uint32_t)bytes};
        return true;
}

/* ------------------------------------------------------------------ lines */

/* The line that starts at resp->at, without its end; the place behind it.  False: not here yet, or too long. */
static bool
line_of(const struct resp *resp, const char *p, size_t bytes, size_t *ret_length, size_t *ret_next, bool *ret_is_long)
{
        size_t room = bytes - resp->at;
        const char *start_of = p + resp->at;
        const char *end = memchr(start_of, '\n', room < RESP_LINE_MAX ? room : RESP_LINE_MAX);

        *ret_is_long = !end && room >= RESP_LINE_MAX;
        if (!end)
                return false;
        *ret_next = (size_t)(end - p) + 1;
        *ret_length = (size_t)(end - start_of);
        if (*ret_length > 0 && end[-1] == '\r')
                (*ret_length)--;
        return true;
}

/* ------------------------------------------------------------------ inline commands */

static int
hex(char c)
{
        return c >= '0' && c <= '9'   ? c - '0'
               : c >= 'a' && c <= 'f' ? c - 'a' + 10
               : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                      : -1;
}

/* The character that a backslash at *p stands for. */
static char
escaped(const char **p, const char *end)
{
        const char *at = *p + 1;

        if (end - at >= 3 && at[0] == 'x' && hex(at[1]) >= 0 && hex(at[2]) >= 0) {
                *p = at + 3;
                return (char)(hex(at[1]) << 4 | hex(at[2]));
        }
        *p = at + 1;
        switch (*at) {
        case 'n':
                return '\n';
        case 'r':
                return '\r';
        case 't':
                return '\t';
        case 'b':
                return '\b';
        case 'a':
                return '\a';
        default:
                return *at;
        }
}

static bool
is_blank(char c)
{
        return c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == '\v' || c == '\f' || c == '\0';
}

/* One word at *at, unquoted to where it stands.  False: a quote is not closed, or not at the end of the word. */
static bool
unquote(const char **at, const char *end, char **out)
{
        char quote = 0;
        const char *p = *at;

        for (;;) {
                if (p == end) {
                        if (quote)
                                return false;
                        break;
                }
                if (!quote && is_blank(*p))
                        break;
                if (!quote && (*p == '"' || *p == '\'')) {
                        quote = *p++;
                } else if (quote && *p == quote) {
                        if (p + 1 != end && !is_blank(p[1]))
                                return false;
                        p++;
                        break;
                } else if (quote == '"' && *p == '\\' && p + 1 != end) {
                        *(*out)++ = escaped(&p, end);
                } else if (quote == '\'' && *p == '\\' && p + 1 != end && p[1] == '\'') {
                        *(*out)++ = '\'';
                        p += 2;
                } else {
                        *(*out)++ = *p++;
                }
        }
        *at = p;
        return true;
}

static enum resp_result
inline_command(struct resp *resp, char *p, size_t bytes, size_t *ret_used, const char **ret_error)
{
        size_t length;
        bool is_long;
        const char *at, *end;

        resp->at = 0;
        if (!line_of(resp, p, bytes, &length, ret_used, &is_long)) {
                *ret_error = "ERR Protocol error: too big inline request";
                return is_long ? RESP_BAD : RESP_MORE;
        }
        for (at = p, end = p + length;;) {
                char *word, *out;

                while (at != end && is_blank(*at))
                        at++;
                if (at == end)
                        return RESP_COMMAND;
                word = out = p + (at - p);
                if (!unquote(&at, end, &out)) {
                        *ret_error = "ERR Protocol error: unbalanced quotes in request";
                        return RESP_BAD;
                }
                if (!add(resp, (size_t)(word - p), (size_t)(out - word))) {
                        *ret_error = "ERR out of memory";
                        return RESP_BAD;
                }
        }
}

/* ------------------------------------------------------------------ arrays */

static enum resp_result
bad(const char **ret_error, const char *text)
{
        *ret_error = text;
        return RESP_BAD;
}

/* A line "*N" or "$N": RESP_COMMAND stands for "it is there". */
static enum resp_result
count_line(struct resp *resp, const char *p, size_t bytes, int64_t *ret_n, const char **ret_error, const char *too_big,
           const char *invalid)
{
        size_t length, next;
        bool is_long;

        if (!line_of(resp, p, bytes, &length, &next, &is_long))
                return is_long ? bad(ret_error, too_big) : RESP_MORE;
        if (!number_parse(p + resp->at + 1, length > 0 ? length - 1 : 0, ret_n))
                return bad(ret_error, invalid);
        resp->at = next;
        return RESP_COMMAND;
}

static enum resp_result
array_start(struct resp *resp, const char *p, size_t bytes, const char **ret_error)
{
        int64_t n;
        enum resp_result result =
                count_line(resp, p, bytes, &n, ret_error, "ERR Protocol error: too big mbulk count string",
                           "ERR Protocol error: invalid multibulk length");

        if (result != RESP_COMMAND)
                return result;
        if (n > RESP_ARGS_MAX)
                return bad(ret_error, "ERR Protocol error: invalid multibulk length");
        resp->in_array = true;
        resp->left = n > 0 ? (uint32_t)n : 0;
        return RESP_COMMAND;
}

static const char *
expected_dollar(char c)
{
        static char text[64];

        if (c >= ' ' && c <= '~')
                snprintf(text, sizeof text, "ERR Protocol error: expected '$', got '%c'", c);
        else
                snprintf(text, sizeof text, "ERR Protocol error: expected '$', got '\\x%02x'", (unsigned char)c);
        return text;
}

static enum resp_result
bulk_start(struct resp *resp, const char *p, size_t bytes, const char **ret_error)
{
        enum resp_result result;

        if (resp->at == bytes)
                return RESP_MORE;
        if (p[resp->at] != '$')
                return bad(ret_error, expected_dollar(p[resp->at]));
        result = count_line(resp, p, bytes, &resp->bulk, ret_error, "ERR Protocol error: too big bulk count string",
                            "ERR Protocol error: invalid bulk length");
        if (result == RESP_COMMAND && (resp->bulk < 0 || (size_t)resp->bulk > RESP_BULK_MAX))
                return bad(ret_error, "ERR Protocol error: invalid bulk length");
        if (result == RESP_COMMAND && resp->at + (size_t)resp->bulk + 2 > RESP_COMMAND_MAX)
                return bad(ret_error, "ERR Protocol error: command is longer than 256 MiB");
        if (result != RESP_COMMAND)
                resp->bulk = -1;
        return result;
}

static enum resp_result
array(struct resp *resp, const char *p, size_t bytes, const char **ret_error)
{
        while (resp->left > 0) {
                enum resp_result result = resp->bulk < 0 ? bulk_start(resp, p, bytes, ret_error) : RESP_COMMAND;

                if (result != RESP_COMMAND)
                        return result;
                if (bytes - resp->at < (size_t)resp->bulk + 2)
                        return RESP_MORE;
                if (p[resp->at + (size_t)resp->bulk] != '\r' || p[resp->at + (size_t)resp->bulk + 1] != '\n')
                        return bad(ret_error, "ERR Protocol error: bulk string does not end where it should");
                if (!add(resp, resp->at, (size_t)resp->bulk))
                        return bad(ret_error, "ERR out of memory");
                resp->at += (size_t)resp->bulk + 2;
                resp->bulk = -1;
                resp->left--;
        }
        return RESP_COMMAND;
}

enum resp_result
resp_next(struct resp *resp, char *p, size_t bytes, size_t *ret_used, const char **ret_error)
{
        enum resp_result result;

        if (!resp->in_array) {
                start(resp);
                if (bytes == 0)
                        return RESP_MORE;
                if (p[0] != '*')
                        return inline_command(resp, p, bytes, ret_used, ret_error);
                result = array_start(resp, p, bytes, ret_error);
                if (result != RESP_COMMAND)
                        return result;
        }
        result = array(resp, p, bytes, ret_error);
        if (result == RESP_COMMAND) {
                *ret_used = resp->at;
                resp->in_array = false;
        }
        return result;
}

size_t
resp_expected(const struct resp *resp)
{
        return resp->in_array && resp->bulk >= 0 ? resp->at + (size_t)resp->bulk + 2 : 0;
}
