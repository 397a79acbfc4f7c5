/*
 * What is at stake: as in test_root_explore_tiny.c, from which this is made.  A step is an instruction here: the allocation
 * and the free of an object are interrupted, and die, wherever they are.
 */
#define BY_INSTRUCTION 1
#include "test_root_explore_tiny.c"
