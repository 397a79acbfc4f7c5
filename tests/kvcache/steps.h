/*
 * steps.h - stopping this process after each store to a heap, or after each instruction.
 *
 * What a death leaves is exactly a prefix of the stores of the dead, so the points after each store to the heap are all
 * that a kill at any instruction can leave.  `every`: after each instruction all the same.
 */
#ifndef KVCACHE_STEPS_H
#define KVCACHE_STEPS_H

#include <stdbool.h>

/* Finds where the heap of this name is mapped.  Ends the process if it is not. */
void steps_init(const char *heap_name);

/* From here on, until steps_end(), point(n) is called after the n-th step, n from 1. */
void steps_begin(void (*point)(long n), bool every);
void steps_end(void);

#endif
