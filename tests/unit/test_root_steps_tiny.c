/*
 * What is at stake: as in test_root_explore_tiny.c, from which this is made.  A step is an instruction here: the
 * allocation and the free of an object are interrupted, and die, wherever they are.
 */
#if defined(__x86_64__)

#define BY_INSTRUCTION 1
#include "test_root_explore_tiny.c"

#else /* no trap flag that a program may set for itself */

int
main(void)
{
        return 0;
}

#endif
