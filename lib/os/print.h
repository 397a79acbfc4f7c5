/*
 * print.h - text to a stream of the program.
 *
 * Streams are written with calls at which a cancelled thread ends.  No call of the library is such a point, so the
 * thread cannot be cancelled while one of these runs; it is cancelled later, elsewhere.
 */
#ifndef OS_PRINT_H
#define OS_PRINT_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

__attribute__((format(printf, 2, 3))) void print(FILE *out, const char *fmt, ...);
__attribute__((format(printf, 2, 0))) void print_list(FILE *out, const char *fmt, va_list args);

/* 0; -EIO with a message: some of what was printed is lost. */
int print_end(FILE *out);

/* Text to a descriptor, by one system call, so that lines of several processes do not mix; nobody can be told if it
 * fails.  No signal comes of it: not of a pipe that nobody has open any more, nor of a file that is as long as it may
 * be, nor of a terminal that stops who writes there from the background.  Without `waits` nothing is written where it
 * would have to be waited for somebody to read. */
void print_line(int fd, const char *text, size_t bytes, bool waits);

#endif
