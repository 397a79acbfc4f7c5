/*
 * print.c - see print.h.
 */
#include "os/print.h"

#include <errno.h>
#include <pthread.h>

#include "base/error.h"

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
