/*
 * hostile.c - clients of kvcache that send what they should not, or do not read what they asked for.
 *
 * What is at stake: they get an error and are closed, or wait; no worker ends, and none takes memory for what was only
 * announced, or for replies that nobody takes.
 *
 *      hostile PROGRAM
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"

enum { PATIENCE_MS = 300000, ANNOUNCERS = 300, VALUE_BYTES = 1000000, GETS = 400 };

#define ANONYMOUS_MAX_KIB 40000 /* of a worker */

static struct server server;

static int
open_connection(void)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)server.port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
                test_fail("cannot connect: %s", strerror(errno));
        return fd;
}

static void
send_all(int fd, const char *p, size_t bytes)
{
        while (bytes > 0) {
                ssize_t n = send(fd, p, bytes, MSG_NOSIGNAL);

                if (n <= 0)
                        return; /* closed meanwhile: what is received tells why */
                p += n;
                bytes -= (size_t)n;
        }
}

/* Until so many bytes have come, or the end: how many. */
static size_t
receive(int fd, char *p, size_t room, size_t wanted)
{
        static char waste[1 << 16];
        size_t got = 0;

        while (got < wanted) {
                struct pollfd pfd = {.fd = fd, .events = POLLIN};
                ssize_t n;

                if (poll(&pfd, 1, PATIENCE_MS) != 1)
                        test_fail("no reply after %d ms, %zu bytes of %zu have come", PATIENCE_MS, got, wanted);
                n = recv(fd, waste, sizeof waste < wanted - got ? sizeof waste : wanted - got, 0);
                if (n <= 0)
                        break;
                if (got < room)
                        memcpy(p + got, waste, (size_t)n < room - got ? (size_t)n : room - got);
                got += (size_t)n;
        }
        return got;
}

/* All workers serve: as many connections as it takes to meet each. */
static void
judge_alive(void)
{
        for (int i = 0; i < 16; i++) {
                char reply[8] = "";
                int fd = open_connection();

                send_all(fd, "PING\r\n", 6);
                if (receive(fd, reply, 7, 7) != 7 || strcmp(reply, "+PONG\r\n") != 0)
                        test_fail("no PONG, but '%s'", reply);
                close(fd);
        }
}

static void
judge_memory(const char *when)
{
        char path[64], line[256];
        int pids[64], n = 0;
        FILE *f;

        snprintf(path, sizeof path, "/proc/%d/task/%d/children", (int)server.pid, (int)server.pid);
        f = fopen(path, "r");
        while (f && n < 64 && fscanf(f, "%d", &pids[n]) == 1)
                n++;
        if (f)
                fclose(f);
        if (n == 0)
                test_fail("there are no workers");
        for (int i = 0; i < n; i++) {
                long kib = -1;

                snprintf(path, sizeof path, "/proc/%d/status", pids[i]);
                f = fopen(path, "r");
                while (f && fgets(line, sizeof line, f))
                        if (sscanf(line, "RssAnon: %ld", &kib) == 1)
                                break;
                if (f)
                        fclose(f);
                if (kib < 0 || kib > ANONYMOUS_MAX_KIB)
                        test_fail("%s: a worker has %ld KiB", when, kib);
        }
}

/* ------------------------------------------------------------------ what is malformed */

static void
malformed_input_is_answered_and_closed(void)
{
        static const char *const inputs[] = {"*x\r\n",
                                             "*1048577\r\n",
                                             "*1\r\n:5\r\n",
                                             "*1\r\n$67108865\r\n",
                                             "*1\r\n$-5\r\n",
                                             "*2\r\n$3\r\nGETxx\r\n",
                                             "SET \"a\r\n",
                                             "*1\r\n$1\r\nabc\r\n",
                                             "*99999999999999999999999\r\n"};

        for (size_t i = 0; i < sizeof inputs / sizeof inputs[0]; i++) {
                char reply[64] = "";
                int fd = open_connection();

                send_all(fd, "PING\r\n", 6);
                send_all(fd, inputs[i], strlen(inputs[i]));
                receive(fd, reply, sizeof reply - 1, SIZE_MAX);
                if (strncmp(reply, "+PONG\r\n-ERR Protocol error: ", 28) != 0)
                        test_fail("input %zu is answered by '%s'", i, reply);
                close(fd);
        }
        judge_alive();
}

static void
random_bytes_do_no_harm(void)
{
        unsigned seed = (unsigned)getpid();
        char bytes[4096];

        for (int i = 0; i < 300; i++) {
                int fd = open_connection();

                for (size_t k = 0; k < sizeof bytes; k++)
                        bytes[k] = "*$\r\n0123\0\xff\"'aGETS "[(unsigned)rand_r(&seed) % 20];
                send_all(fd, bytes, sizeof bytes);
                close(fd);
        }
        judge_alive();
        judge_memory("after random bytes");
}

static void
endless_line_is_refused(void)
{
        static char line[200000];
        char reply[64] = "";
        int fd = open_connection();

        memset(line, 'x', sizeof line);
        send_all(fd, line, sizeof line);
        receive(fd, reply, sizeof reply - 1, 28);
        if (strncmp(reply, "-ERR Protocol error: too big", 28) != 0)
                test_fail("an endless line is answered by '%s'", reply);
        close(fd);
}

/* ------------------------------------------------------------------ what is too much */

static void
announced_bytes_cost_nothing(void)
{
        static const char start[] = "*1048576\r\n$3\r\nSET\r\n$67108864\r\nabc";
        int fd[ANNOUNCERS];

        for (int i = 0; i < ANNOUNCERS; i++) {
                fd[i] = open_connection();
                send_all(fd[i], start, sizeof start - 1);
        }
        judge_alive();
        judge_memory("many have announced 64 MiB");
        for (int i = 0; i < ANNOUNCERS; i++)
                close(fd[i]);
}

/* The value is there, and so are all replies once somebody takes them. */
static void
replies_that_nobody_takes_cost_little(bool is_one_command)
{
        static char value[VALUE_BYTES + 64], text[GETS * 32];
        int fd = open_connection(), n = snprintf(value, 64, "*3\r\n$3\r\nSET\r\n$1\r\nv\r\n$%d\r\n", VALUE_BYTES);
        size_t wanted, got, at = 0;

        memset(value + n, 'v', VALUE_BYTES);
        memcpy(value + n + VALUE_BYTES, "\r\n", 2);
        send_all(fd, value, (size_t)n + VALUE_BYTES + 2);
        if (receive(fd, NULL, 0, 5) != 5)
                test_fail("SET fails");
        if (is_one_command)
                at += (size_t)sprintf(text, "*%d\r\n$4\r\nMGET\r\n", GETS + 1);
        for (int i = 0; i < GETS; i++)
                at += (size_t)sprintf(text + at, is_one_command ? "$1\r\nv\r\n" : "*2\r\n$3\r\nGET\r\n$1\r\nv\r\n");
        send_all(fd, text, at);
        judge_alive();
        judge_memory("nobody takes the replies");
        wanted = (size_t)GETS * (VALUE_BYTES + 12) + (is_one_command ? 6 : 0); /* $1000000 \r\n ... \r\n; *400 \r\n */
        got = receive(fd, NULL, 0, wanted);
        if (got != wanted)
                test_fail("%zu bytes of replies, and not %zu", got, wanted);
        send_all(fd, "PING\r\n", 6);
        if (receive(fd, NULL, 0, 7) != 7)
                test_fail("no PONG behind them");
        close(fd);
}

int
main(int argc, char **argv)
{
        struct server_counts counts;

        if (argc != 2) {
                fputs("usage: hostile PROGRAM\n", stderr);
                return 2;
        }
        signal(SIGPIPE, SIG_IGN);
        server_start(&server, argv[1], 2, "64M");
        malformed_input_is_answered_and_closed();
        random_bytes_do_no_harm();
        endless_line_is_refused();
        announced_bytes_cost_nothing();
        replies_that_nobody_takes_cost_little(false);
        replies_that_nobody_takes_cost_little(true);
        judge_alive();
        if (!server_check(&server, &counts))
                test_fail("the table or the heap is damaged");
        server_stop(&server);
        puts("no worker ended, and none took much");
        return 0;
}
