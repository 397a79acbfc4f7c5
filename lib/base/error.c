/*
 * error.c - see error.h.
 *
 * An all-zero buffer means "no error", so a new thread needs no initialisation.  A child of fork() keeps the text of
 * the thread that forked.  errno is preserved, since callers report failures between a system call and its use.
 */
#include "base/error.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static _Thread_local char message[ERROR_MESSAGE_MAX + 1] __attribute__((tls_model("initial-exec")));

static void
format_at(size_t start, const char *fmt, va_list args)
{
        int saved = errno;

        vsnprintf(message + start, sizeof message - start, fmt, args);
        for (char *p = message + start; *p != '\0'; p++)
                if ((unsigned char)*p < 0x20 || *p == 0x7f)
                        *p = '?';
        errno = saved;
}

int
error_set(int neg_errno, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        format_at(0, fmt, args);
        va_end(args);
        return neg_errno;
}

int
error_append(int neg_errno, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        format_at(strlen(message), fmt, args);
        va_end(args);
        return neg_errno;
}

const char *
error_message(void)
{
        return message[0] != '\0' ? message : "no error";
}

const char *
error_name(int err)
{
        const char *text = strerrordesc_np(err < 0 ? -err : err);

        return text != NULL ? text : "unknown error";
}
