/*
 * clock_call.h - for programs that are stepped: they read the clock by a system call, which is one step.  The kernel's
 * code in the process (vdso) begins again when the clock has moved on meanwhile; on a busy machine, where a step takes
 * longer than the clock's tick, it would never end.  Included by one source of a program.
 */
#ifndef SUPPORT_CLOCK_CALL_H
#define SUPPORT_CLOCK_CALL_H

#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Instead of libc's. */
int
clock_gettime(clockid_t clock, struct timespec *ret_time)
{
        return (int)syscall(SYS_clock_gettime, clock, ret_time);
}

#endif
