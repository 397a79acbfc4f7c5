/*
 * print.c - see print.h.
 *
 * The signals that a write() brings upon its thread are blocked meanwhile, and taken away if they have come: not one
 * that was pending before, which cannot be told from it, and is the same for whoever sees it.  SIGTTOU would stop the
 * process, and its process group; where it is blocked the terminal takes the text, and no signal comes.
 */
#include "os/print.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/syscall.h"

enum { KERNEL_SIGSET_BYTES = 8 };

void
print_list(FILE *out, const char *fmt, va_list args)
{
        int state;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        vfprintf(out, fmt, args);
        pthread_setcancelstate(state, NULL);
}

void
print(FILE *out, const char *fmt, ...)
{
        va_list args;

        va_start(args, fmt);
        print_list(out, fmt, args);
        va_end(args);
}

int
print_end(FILE *out)
{
        int state, err = 0;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &state);
        if (fflush(out) != 0)
                err = error_set(-EIO, "cannot write to the stream: fflush: %s", error_name(errno));
        else if (ferror(out))
                err = error_set(-EIO, "cannot write to the stream: it had failed before");
        pthread_setcancelstate(state, NULL);
        return err;
}

/* As far as can be known without writing; other writers may be faster. */
static bool
can_write_at_once(int fd)
{
        struct pollfd p = {.fd = fd, .events = POLLOUT};
        const struct timespec at_once = {0, 0};

        ASSERT(fd >= 0);
        return syscall(SYS_ppoll, &p, 1, &at_once, NULL, 0) != 0;
}

void
print_line(int fd, const char *text, size_t bytes, bool waits)
{
        const struct timespec at_once = {0, 0};
        sigset_t own, before, pending;
        long err;

        ASSERT(fd >= 0 && bytes > 0);
        if (!waits && !can_write_at_once(fd))
                return;
        sigemptyset(&own);
        sigaddset(&own, SIGPIPE);
        sigaddset(&own, SIGXFSZ);
        sigaddset(&own, SIGTTOU);
        pthread_sigmask(SIG_BLOCK, &own, &before);
        sigpending(&pending);
        err = sys_write(fd, text, bytes);
        sigemptyset(&own);
        if (err == -EPIPE && !sigismember(&pending, SIGPIPE))
                sigaddset(&own, SIGPIPE);
        if (err == -EFBIG && !sigismember(&pending, SIGXFSZ))
                sigaddset(&own, SIGXFSZ);
        if (!sigisemptyset(&own))
                syscall(SYS_rt_sigtimedwait, &own, NULL, &at_once, KERNEL_SIGSET_BYTES);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
}
