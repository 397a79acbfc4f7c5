/*
 * effort.h - how often a test repeats what could be repeated for ever: a little by default, more where asked to.
 */
#ifndef SUPPORT_EFFORT_H
#define SUPPORT_EFFORT_H

#include <stdlib.h>

/* `n`, or as many times that as the environment's SHMALLOC_EFFORT says.  The tests labelled slow say 10. */
static inline unsigned
effort(unsigned n)
{
        const char *times = getenv("SHMALLOC_EFFORT");

        return times ? n * (unsigned)strtoul(times, NULL, 10) : n;
}

/* Of what can be counted: every n-th by default, each where more is asked for. */
static inline unsigned
effort_stride(unsigned n)
{
        return effort(1) > 1 ? 1 : n;
}

#endif
