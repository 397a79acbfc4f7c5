/*
 * lines.h - a file of the kernel's, line by line, through a small buffer on the stack.
 */
#ifndef OS_LINES_H
#define OS_LINES_H

#include <stdbool.h>
#include <stddef.h>

struct lines {
        int fd;
        size_t n;    /* bytes in buf */
        size_t used; /* of them, given out */
        bool is_eof;
        char buf[512]; /* the caller's stack may be small */
};

/* 0 or -errno. */
int lines_open(struct lines *ret_lines, const char *path);

/* The next line, without its end, in the buffer; NULL at the end.  Of one that is longer than the buffer the tail comes
 * as a line of its own. */
const char *lines_next(struct lines *lines);
void lines_close(struct lines *lines);

#endif
