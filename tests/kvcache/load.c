/*
 * load.c - the same load for servers of the Redis protocol and of memcached's: for examples/kvcache/compare.sh.
 *
 *      load redis|memcached PORT get|set REQUESTS CLIENTS PIPELINE KEYS VALUE_BYTES
 *
 * Each of the connections sends so many requests at once and waits for all replies.  `set` takes the keys one after the
 * other, `get` at random; they have to be there, so that every reply is of the same length, and that is checked.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CLIENTS_MAX = 1000, PIPELINE_MAX = 128, EVENTS_MAX = 128, VALUE_MAX = 65536, KEY_BYTES = 16 };

static struct {
        bool is_memcached, is_set;
        int port, clients, pipeline;
        long requests, keys, value_bytes;
} opt;

static struct connection {
        int fd, in_flight;
        size_t awaited; /* bytes of replies */
} connections[CLIENTS_MAX];

static char request[PIPELINE_MAX * (VALUE_MAX + 128)], value[VALUE_MAX], reply_start[64];
static size_t reply_bytes;
static long n_sent;
static uint64_t seed = 88172645463325252;

static _Noreturn void
fail(const char *what)
{
        fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
        exit(1);
}

static long
key_next(void)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return opt.is_set ? n_sent % opt.keys : (long)(seed % (uint64_t)opt.keys);
}

static size_t
put_request(char *p)
{
        char key[32];
        size_t n;

        snprintf(key, sizeof key, "key:%012ld", key_next());
        if (!opt.is_set)
                return (size_t)sprintf(p, opt.is_memcached ? "get %s\r\n" : "*2\r\n$3\r\nGET\r\n$16\r\n%s\r\n", key);
        n = (size_t)sprintf(p, opt.is_memcached ? "set %s 0 0 %ld\r\n" : "*3\r\n$3\r\nSET\r\n$16\r\n%s\r\n$%ld\r\n",
                            key, opt.value_bytes);
        memcpy(p + n, value, (size_t)opt.value_bytes);
        memcpy(p + n + opt.value_bytes, "\r\n", 2);
        return n + (size_t)opt.value_bytes + 2;
}

static void
expect_replies(void)
{
        if (opt.is_set)
                strcpy(reply_start, opt.is_memcached ? "STORED\r\n" : "+OK\r\n");
        else if (opt.is_memcached)
                strcpy(reply_start, "VALUE key:");
        else
                snprintf(reply_start, sizeof reply_start, "$%ld\r\n", opt.value_bytes);
        reply_bytes = strlen(reply_start);
        if (!opt.is_set && !opt.is_memcached)
                reply_bytes += (size_t)opt.value_bytes + 2;
        if (!opt.is_set && opt.is_memcached)
                reply_bytes = (size_t)snprintf(NULL, 0, "VALUE key:%012d 0 %ld\r\n", 0, opt.value_bytes) +
                              (size_t)opt.value_bytes + strlen("\r\nEND\r\n");
}

static void
send_batch(struct connection *c)
{
        size_t bytes = 0, sent = 0;

        for (c->in_flight = 0; c->in_flight < opt.pipeline && n_sent < opt.requests; c->in_flight++, n_sent++)
                bytes += put_request(request + bytes);
        c->awaited = reply_bytes * (size_t)c->in_flight;
        while (sent < bytes) { /* requests are short, and nothing else is in flight: it does not block for long */
                ssize_t n = send(c->fd, request + sent, bytes - sent, MSG_NOSIGNAL);

                if (n <= 0)
                        fail("send");
                sent += (size_t)n;
        }
}

static void
receive(struct connection *c)
{
        static char replies[1 << 18];
        ssize_t n = recv(c->fd, replies, sizeof replies, 0);
        bool is_start = c->awaited == reply_bytes * (size_t)c->in_flight;

        if (n <= 0 || (size_t)n > c->awaited)
                fail("unexpected reply, or the connection is closed");
        if (is_start &&
            memcmp(replies, reply_start, strlen(reply_start) < (size_t)n ? strlen(reply_start) : (size_t)n) != 0)
                fail("unexpected reply");
        c->awaited -= (size_t)n;
}

static void
open_all(int epoll)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)opt.port)};
        int on = 1;

        a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        for (int i = 0; i < opt.clients; i++) {
                struct epoll_event e = {.events = EPOLLIN, .data.ptr = &connections[i]};

                connections[i].fd = socket(AF_INET, SOCK_STREAM, 0);
                if (connections[i].fd < 0 || connect(connections[i].fd, (struct sockaddr *)&a, sizeof a) < 0)
                        fail("connect");
                setsockopt(connections[i].fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
                epoll_ctl(epoll, EPOLL_CTL_ADD, connections[i].fd, &e);
        }
}

int
main(int argc, char **argv)
{
        struct epoll_event events[EVENTS_MAX];
        struct timespec start, end;
        int epoll = epoll_create1(0), n_busy = 0;

        if (argc == 9) {
                opt.is_memcached = strcmp(argv[1], "memcached") == 0;
                opt.port = atoi(argv[2]);
                opt.is_set = strcmp(argv[3], "set") == 0;
                opt.requests = atol(argv[4]);
                opt.clients = atoi(argv[5]);
                opt.pipeline = atoi(argv[6]);
                opt.keys = atol(argv[7]);
                opt.value_bytes = atol(argv[8]);
        }
        if (opt.requests < 1 || opt.clients < 1 || opt.clients > CLIENTS_MAX || opt.pipeline < 1 ||
            opt.pipeline > PIPELINE_MAX || opt.keys < 1 || opt.value_bytes < 1 || opt.value_bytes > VALUE_MAX) {
                fputs("usage: load redis|memcached PORT get|set REQUESTS CLIENTS PIPELINE KEYS VALUE_BYTES\n", stderr);
                return 2;
        }
        memset(value, 'v', sizeof value);
        expect_replies();
        open_all(epoll);
        clock_gettime(CLOCK_MONOTONIC, &start);
        for (int i = 0; i < opt.clients; i++) {
                send_batch(&connections[i]);
                n_busy += connections[i].in_flight > 0;
        }
        while (n_busy > 0) {
                int n = epoll_wait(epoll, events, EVENTS_MAX, 20000);

                if (n <= 0)
                        fail("no reply");
                for (int i = 0; i < n; i++) {
                        struct connection *c = events[i].data.ptr;

                        receive(c);
                        if (c->awaited == 0) {
                                send_batch(c);
                                n_busy -= c->in_flight == 0;
                        }
                }
        }
        clock_gettime(CLOCK_MONOTONIC, &end);
        printf("%.0f\n", (double)opt.requests /
                                 ((double)(end.tv_sec - start.tv_sec) + (double)(end.tv_nsec - start.tv_nsec) / 1e9));
        return 0;
}
