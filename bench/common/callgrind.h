/*
 * callgrind.h - the marks between which callgrind counts, where valgrind's headers are there.
 */
#ifndef BENCH_CALLGRIND_H
#define BENCH_CALLGRIND_H

#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define CAN_COUNT 1
#else
#define CAN_COUNT                0
#define CALLGRIND_TOGGLE_COLLECT ((void)0)
#endif

#endif
