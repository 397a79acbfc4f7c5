/*
 * trace.h - what a schedule did, line by line of the source.
 */
#ifndef EXPLORE_TRACE_H
#define EXPLORE_TRACE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

void trace_begin(void);
void trace_note(char actor, uint64_t n, uint64_t off, size_t bytes, bool is_write, const void *pc);
void trace_death(char actor);
void trace_print(FILE *out);

#endif
