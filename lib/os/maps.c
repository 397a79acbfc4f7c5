/*
 * maps.c - see maps.h.
 *
 * The file is read through a small buffer on the stack, line by line; a line longer than the buffer loses its tail,
 * which is the tail of a path.
 */
#include "os/maps.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "os/inject.h"
#include "os/shm.h"

struct lines {
        int fd;
        size_t n;    /* bytes in buf */
        size_t used; /* of them, given out */
        bool is_eof;
        char buf[2048];
};

static bool
lines_refill(struct lines *lines)
{
        ssize_t n;

        memmove(lines->buf, lines->buf + lines->used, lines->n - lines->used);
        lines->n -= lines->used;
        lines->used = 0;
        if (lines->n == sizeof lines->buf)
                return false;
        do
                n = read(lines->fd, lines->buf + lines->n, sizeof lines->buf - lines->n);
        while (n < 0 && errno == EINTR);
        lines->is_eof = n <= 0;
        lines->n += n > 0 ? (size_t)n : 0;
        return n > 0;
}

/* The next line, NUL-terminated in the buffer; NULL at the end. */
static char *
lines_next(struct lines *lines)
{
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

/* start-end perms offset dev inode   what */
static bool
parse(const char *line, struct os_mapping *ret_mapping)
{
        struct os_mapping m = {0};
        int what_idx = 0;

        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %n", &m.start, &m.end, &what_idx) != 2 || what_idx == 0)
                return false;
        snprintf(m.what, sizeof m.what, "%s", line[what_idx] != '\0' ? line + what_idx : "anonymous memory");
        *ret_mapping = m;
        return true;
}

int
os_maps_each(int (*fn)(const struct os_mapping *mapping, void *arg), void *arg)
{
        struct lines lines = {.fd = os_injected("maps")};
        struct os_mapping mapping;
        int result = 0;
        char *line;

        if (lines.fd < 0)
                return lines.fd;
        lines.fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
        if (lines.fd < 0)
                return -errno;
        while (result == 0 && (line = lines_next(&lines)) != NULL)
                if (parse(line, &mapping))
                        result = fn(&mapping, arg);
        os_close(lines.fd);
        return result;
}

struct find {
        uint64_t start, end;
        struct os_mapping found;
};

static int
find_fn(const struct os_mapping *mapping, void *arg)
{
        struct find *find = arg;

        if (mapping->start >= find->end || mapping->end <= find->start)
                return 0;
        find->found = *mapping;
        return 1;
}

int
os_maps_find(uint64_t start, uint64_t end, struct os_mapping *ret_mapping)
{
        struct find find = {.start = start, .end = end};
        int result = os_maps_each(find_fn, &find);

        if (result == 1)
                *ret_mapping = find.found;
        return result;
}
