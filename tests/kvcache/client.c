/*
 * client.c - a connection of kvcache whose other end is slow to take its replies.
 *
 * What is at stake: whenever the socket has no room, and gets it again at whatever moment, everything that was asked
 * for is answered: what the worker waits for next is always something that will happen.  The socket's room is the
 * test's to say, by a send() that is refused now and then though there is room.
 */
#include "client.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "shared.h"
#include "support/checks.h"
#include "support/suite.h"

enum { COMMANDS = 2000, TEXT_BYTES = 1000, PERIOD_MAX = 12, ROOM_BYTES = 1 << 20 /* the system may allow less */ };

static unsigned refused_every, refused_after, n_sends; /* one send() in so many, after so many */
static char commands[COMMANDS * (TEXT_BYTES + 64)], wanted[COMMANDS * (TEXT_BYTES + 64)], got[sizeof wanted];

ssize_t __real_send(int fd, const void *p, size_t bytes, int flags);
ssize_t __wrap_send(int fd, const void *p, size_t bytes, int flags);

ssize_t
__wrap_send(int fd, const void *p, size_t bytes, int flags)
{
        if (n_sends++ % refused_every == refused_after) {
                errno = EAGAIN;
                return -1;
        }
        return __real_send(fd, p, bytes, flags);
}

static size_t
write_all_that_fits(int fd, size_t at, size_t bytes)
{
        while (at < bytes) {
                ssize_t n = write(fd, commands + at, bytes - at);

                if (n < 0)
                        break;
                at += (size_t)n;
        }
        return at;
}

static size_t
read_all_there_is(int fd, size_t at)
{
        ssize_t n;

        while ((n = read(fd, got + at, sizeof got - at)) > 0)
                at += (size_t)n;
        return at;
}

/* A worker, as far as one connection goes: served when what it waits for has happened, and only then. */
static size_t
converse(struct cache *c, int theirs, int ours, size_t bytes)
{
        struct client client;
        size_t sent = 0, received = 0;

        client_init(&client, ours);
        for (;;) {
                struct pollfd pfd = {.fd = ours};

                sent = write_all_that_fits(theirs, sent, bytes);
                received = read_all_there_is(theirs, received);
                pfd.events = client.wants_out ? POLLOUT : POLLIN;
                if (poll(&pfd, 1, 0) == 0)
                        break; /* nothing more will ever wake it */
                ck_assert(client_serve(&client, c));
        }
        ck_assert_uint_eq(sent, bytes);
        client_fini(&client);
        return received;
}

START_TEST(everything_is_answered_whenever_there_is_no_room)
{
        static struct place place;
        struct cache c = {.me = &place};
        char text[TEXT_BYTES + 1];
        size_t bytes = 0, expected = 0;
        int fd[2];

        refused_every = 2; /* one in one: there would never be room */
        for (refused_after = (unsigned)_i; refused_after >= refused_every;)
                refused_after -= refused_every++;
        for (int i = 0; i < COMMANDS; i++) {
                memset(text, 'a' + i % 26, TEXT_BYTES);
                text[TEXT_BYTES] = '\0';
                bytes += (size_t)sprintf(commands + bytes, "*2\r\n$4\r\nECHO\r\n$%d\r\n%s\r\n", TEXT_BYTES, text);
                expected += (size_t)sprintf(wanted + expected, "$%d\r\n%s\r\n", TEXT_BYTES, text);
        }
        ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, fd), 0);
        for (int i = 0; i < 2; i++) /* more than a worker lets wait */
                setsockopt(fd[i], SOL_SOCKET, SO_SNDBUF, &(int){ROOM_BYTES}, sizeof(int));
        ck_assert_uint_eq(converse(&c, fd[0], fd[1], bytes), expected);
        ck_assert(memcmp(got, wanted, expected) == 0);
        ck_assert_uint_eq(place.n_commands, COMMANDS);
        close(fd[0]);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("client");
        TCase *tc = tcase_create("client");

        tcase_add_loop_test(tc, everything_is_answered_whenever_there_is_no_room, 0,
                            PERIOD_MAX * (PERIOD_MAX + 1) / 2 - 1);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
