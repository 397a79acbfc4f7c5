/*
 * reply.c - see reply.h.
 */
#include "reply.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

static void
put_line(struct buffer *out, char type, const char *text, size_t bytes)
{
        buffer_put(out, &type, 1);
        buffer_put(out, text, bytes);
        buffer_put(out, "\r\n", 2);
}

static void
put_number(struct buffer *out, char type, int64_t value)
{
        char line[32] = {type};
        int n = 1 + number_print(line + 1, value);

        line[n++] = '\r';
        line[n++] = '\n';
        buffer_put(out, line, (size_t)n);
}

void
reply_status(struct buffer *out, const char *text)
{
        put_line(out, '+', text, strlen(text));
}

void
reply_error(struct buffer *out, const char *fmt, ...)
{
        char text[512];
        va_list list;
        int n;

        va_start(list, fmt);
        n = vsnprintf(text, sizeof text, fmt, list);
        va_end(list);
        n = n < (int)sizeof text ? n : (int)sizeof text - 1;
        for (int i = 0; i < n; i++) /* what clients sent may be in it */
                if (text[i] == '\r' || text[i] == '\n')
                        text[i] = ' ';
        put_line(out, '-', text, (size_t)n);
}

void
reply_integer(struct buffer *out, int64_t value)
{
        put_number(out, ':', value);
}

void
reply_bulk(struct buffer *out, const void *p, size_t bytes)
{
        put_number(out, '$', (int64_t)bytes);
        buffer_put(out, p, bytes);
        buffer_put(out, "\r\n", 2);
}

void
reply_text(struct buffer *out, const char *text)
{
        reply_bulk(out, text, strlen(text));
}

void
reply_null(struct buffer *out)
{
        buffer_put(out, "$-1\r\n", 5);
}

void
reply_array(struct buffer *out, size_t n)
{
        put_number(out, '*', (int64_t)n);
}
