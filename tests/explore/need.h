/*
 * need.h - memory that the explorer cannot do without.
 */
#ifndef EXPLORE_NEED_H
#define EXPLORE_NEED_H

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

static inline void *
need(void *p)
{
        if (!p || p == MAP_FAILED) {
                perror("explore: memory");
                exit(2);
        }
        return p;
}

#endif
