/*
 * lines.c - see lines.h.
 */
#include "os/lines.h"

#include <fcntl.h>
#include <string.h>

#include "base/verify.h"
#include "os/descriptor.h"
#include "os/syscall.h"

int
lines_open(struct lines *ret_lines, const char *path)
{
        int fd = descriptor_openat(AT_FDCWD, path, O_RDONLY, 0);

        if (fd < 0)
                return fd;
        ret_lines->fd = fd;
        ret_lines->n = ret_lines->used = 0;
        ret_lines->is_eof = false;
        return 0;
}

void
lines_close(struct lines *lines)
{
        ASSERT(lines->fd >= 0);
        sys_close(lines->fd);
}

static bool
lines_refill(struct lines *lines)
{
        long n;

        ASSERT(lines->used <= lines->n && lines->n <= sizeof lines->buf);
        memmove(lines->buf, lines->buf + lines->used, lines->n - lines->used);
        lines->n -= lines->used;
        lines->used = 0;
        if (lines->n == sizeof lines->buf)
                return false;
        n = sys_read(lines->fd, lines->buf + lines->n, sizeof lines->buf - lines->n);
        lines->is_eof = n <= 0;
        lines->n += n > 0 ? (size_t)n : 0;
        return n > 0;
}

const char *
lines_next(struct lines *lines)
{
        ASSERT(lines->used <= lines->n && lines->n <= sizeof lines->buf);
        for (;;) {
                char *start = lines->buf + lines->used;
                char *end = memchr(start, '\n', lines->n - lines->used);

                if (end != NULL) {
                        *end = '\0';
                        lines->used = (size_t)(end - lines->buf) + 1;
                        return start;
                }
                if (lines->used == 0 && lines->n == sizeof lines->buf) {
                        lines->buf[sizeof lines->buf - 1] = '\0';
                        lines->n = sizeof lines->buf;
                        lines->used = lines->n; /* its tail comes as a line of its own, which does not parse */
                        return lines->buf;
                }
                if (lines->is_eof || !lines_refill(lines))
                        return NULL;
        }
}
