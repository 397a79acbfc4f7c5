/*
 * scripts_large.c - operations on runs and chunks.
 */
#include "crash.h"

const struct script scripts_large[] = {
        {.name = NULL},
};
