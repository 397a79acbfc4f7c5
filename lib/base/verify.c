/*
 * verify.c - the end of a process that has found its own logic broken.  Only in builds that assert.
 */
#include "base/verify.h"

#if SHM_ASSERTS

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

__thread unsigned verify_depth;
bool verify_heap_is_damaged;

void
verify_failed(const char *name, const char *cond, const char *file, int line)
{
        char text[512];
        int n = snprintf(text, sizeof text, "shmalloc: assertion failed: %s%s%s (%s:%d)\n", name ? name : "",
                         name ? ": " : "", cond, file, line);

        n = n < (int)sizeof text ? n : (int)sizeof text - 1;
        if (n > 0 && write(STDERR_FILENO, text, (size_t)n) != n)
                __builtin_trap();
        abort();
}

#endif
