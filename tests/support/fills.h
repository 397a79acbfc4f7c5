/*
 * fills.h - a thread whose fills take whole magazines from the first one on, as they do in the long run.
 */
#ifndef SUPPORT_FILLS_H
#define SUPPORT_FILLS_H

#include <string.h>

#include "blocks/slab_pages.h"

static inline void
fills_are_whole(struct thread *t)
{
        memset(t->fill_steps, FILL_STEPS_MAX, sizeof t->fill_steps);
}

#endif
