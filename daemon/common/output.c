/*
 * output.c - see output.h.
 *
 * A full file system or a broken device is noticed when the last buffer is written, or by close() alone: so it is
 * looked for at the very end, where --help and --version end, too.
 */
#include "common/output.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *program;
static int exit_status;

static void
close_output(void)
{
        int has_failed = ferror(stdout);

        errno = 0;
        if (fclose(stdout) == 0 && !has_failed)
                return;
        fprintf(stderr, "%s: cannot write to standard output%s%s\n", program, errno ? ": " : "",
                errno ? strerror(errno) : "");
        fflush(stderr);
        _exit(exit_status);
}

void
output_guard(const char *name, int status)
{
        program = name;
        exit_status = status;
        atexit(close_output);
}
