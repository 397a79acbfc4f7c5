/*
 * output.h - what a program has printed has arrived, or it fails.
 */
#ifndef COMMON_OUTPUT_H
#define COMMON_OUTPUT_H

/* At the program's end, however it comes by exit(), standard output is closed; if that fails, or anything before did,
 * the program says so and ends with `status`.  Once per program. */
void output_guard(const char *program, int status);

#endif
