/*
 * steps.h - stopping this process after each store to a heap, each access, or each instruction.
 *
 * What a death leaves is exactly a prefix of the stores of the dead, so the points after each store to the heap are all
 * that a kill at any instruction can leave.  Who is stopped, and goes on, may have read something: for that, the points
 * after each load matter, too.
 */
#ifndef KVCACHE_STEPS_H
#define KVCACHE_STEPS_H

enum steps { STEPS_STORES, STEPS_ACCESSES, STEPS_INSTRUCTIONS };

/* Finds where the heap of this name is mapped.  Ends the process if it is not. */
void steps_init(const char *heap_name);

/* From here on, until steps_end(), point(n) is called after the n-th step, n from 1. */
void steps_begin(void (*point)(long n), enum steps steps);
void steps_end(void);

#endif
