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

static _Thread_local struct {
        const char *call; /* NULL: none */
        int err;
} refused __attribute__((tls_model("initial-exec")));

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

int
error_refused(const char *call, int neg_errno)
{
        refused.call = call;
        refused.err = -neg_errno;
        return neg_errno;
}

void
error_forget_refused(void)
{
        refused.call = NULL;
}

static const char *
hint_of(int err)
{
        switch (err) {
        case EPERM:
        case ENOSYS:
                return " (does a seccomp filter refuse it?)";
        case ENOSPC:
                return " (see df; the directory is chosen by SHMALLOC_DIR)";
        case EFBIG:
                return " (see ulimit -f)";
        case EMFILE:
                return " (see ulimit -n)";
        case ENFILE:
                return " (see fs.file-max)";
        case EAGAIN:
                return " (is locked memory limited? see ulimit -l)";
        case ENOMEM:
                return " (is the address space limited, see ulimit -v, or the number of mappings, see "
                       "vm.max_map_count?)";
        case EFAULT:
                return " (no page could be had)";
        default:
                return "";
        }
}

int
error_append_refused(int neg_errno)
{
        if (refused.call)
                error_append(0, ": %s: %s%s", refused.call, error_name(refused.err), hint_of(refused.err));
        return neg_errno;
}

int
error_set_refused(int neg_errno, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        format_at(0, fmt, args);
        va_end(args);
        return error_append_refused(neg_errno);
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
