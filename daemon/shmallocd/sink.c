/*
 * sink.c - see sink.h.
 *
 * Whether a write may wait belongs to the open file, which the daemon shares with whoever started it, and may not
 * change.  So a pipe, a FIFO or a terminal is opened once more, by its name in /proc, for writing without waiting; a
 * socket is sent to without waiting anyway.  A file is written to as it is: it takes what it gets, or fails.  A
 * terminal that stops a process which writes to it from the background does not stop one that ignores SIGTTOU (main.c).
 *
 * A line is shorter than PIPE_BUF, so a pipe takes it as a whole.  Of what takes a part of one, the rest is kept and
 * goes first next time: until then nothing else is written, and lines stay lines.
 *
 * What this gave up: without /proc, it is asked whether a pipe has room, and then written.  That waits if another
 * process fills the same pipe in between.
 */
#include "shmallocd/sink.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

enum sink_kind { SINK_UNKNOWN, SINK_FILE, SINK_SOCKET, SINK_REOPENED, SINK_POLLED };

static enum sink_kind kind;
static int out = STDERR_FILENO;
static char rest[1024];
static size_t n_rest;

static void
find_kind(void)
{
        struct stat st;
        int fd;

        kind = SINK_FILE;
        if (fstat(STDERR_FILENO, &st) < 0 || S_ISREG(st.st_mode))
                return;
        if (S_ISSOCK(st.st_mode)) {
                kind = SINK_SOCKET;
                return;
        }
        fd = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        kind = fd < 0 ? SINK_POLLED : SINK_REOPENED;
        out = fd < 0 ? STDERR_FILENO : fd;
}

/* How much of it was taken; -1: nothing, just now. */
static ssize_t
write_some(const char *data, size_t length)
{
        struct pollfd p = {.fd = out, .events = POLLOUT};

        if (kind == SINK_UNKNOWN)
                find_kind();
        if (kind == SINK_SOCKET)
                return send(out, data, length, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (kind == SINK_POLLED && (poll(&p, 1, 0) != 1 || !(p.revents & POLLOUT)))
                return -1;
        return write(out, data, length);
}

static bool
write_rest(void)
{
        ssize_t n = n_rest == 0 ? 0 : write_some(rest, n_rest);

        if (n > 0) {
                n_rest -= (size_t)n;
                memmove(rest, rest + n, n_rest);
        }
        return n_rest == 0;
}

bool
sink_write(const char *line, size_t length)
{
        ssize_t n;

        if (length > sizeof rest || !write_rest())
                return false;
        n = write_some(line, length);
        if (n < 0)
                return false;
        n_rest = length - (size_t)n;
        memcpy(rest, line + n, n_rest);
        return true;
}

bool
sink_send_journal(const char *datagram, size_t length)
{
        static const struct sockaddr_un journal = {.sun_family = AF_UNIX, .sun_path = "/run/systemd/journal/socket"};
        static int fd = -1;

        if (fd < 0)
                fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        return fd >= 0 && sendto(fd, datagram, length, MSG_DONTWAIT | MSG_NOSIGNAL, (const struct sockaddr *)&journal,
                                 sizeof journal) == (ssize_t)length;
}
