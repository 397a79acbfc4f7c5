/*
 * worker.c - see worker.h.
 */
#include "worker.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include "client.h"
#include "reply.h"
#include "settings.h"
#include "store.h"

enum { EVENTS_MAX = 256, ACCEPTS_MAX = 64, BACKLOG = 511, TICK_MS = 100, PATIENCE_MS = 10000 };

struct worker {
        struct cache cache;
        int epoll, listening, signals;
        unsigned n_clients;
        struct client all; /* head of the list */
        uint64_t ticked_ms;
};

/* ------------------------------------------------------------------ clients */

static void
watch(struct worker *w, struct client *client)
{
        uint32_t events = client->wants_out ? EPOLLOUT : EPOLLIN;
        struct epoll_event e = {.events = events, .data.ptr = client};

        if (client->epoll_events == events)
                return;
        epoll_ctl(w->epoll, client->epoll_events == 0 ? EPOLL_CTL_ADD : EPOLL_CTL_MOD, client->fd, &e);
        client->epoll_events = events;
}

static void
drop(struct worker *w, struct client *client)
{
        client->previous->next = client->next;
        client->next->previous = client->previous;
        client_fini(client);
        free(client);
        put(&w->cache.me->n_clients, --w->n_clients);
}

static void
refuse(int fd, const char *text)
{
        (void)send(fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
        close(fd);
}

static void
adopt(struct worker *w, int fd)
{
        struct client *client = w->n_clients < settings.max_clients ? malloc(sizeof *client) : NULL;
        int on = 1;

        put(&w->cache.me->n_accepted, get(&w->cache.me->n_accepted) + 1);
        if (!client) {
                refuse(fd, "-ERR max number of clients reached\r\n");
                return;
        }
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        client_init(client, fd);
        client->next = w->all.next;
        client->previous = &w->all;
        client->next->previous = client;
        w->all.next = client;
        put(&w->cache.me->n_clients, ++w->n_clients);
        watch(w, client);
}

static void
accept_clients(struct worker *w)
{
        for (int i = 0; i < ACCEPTS_MAX; i++) {
                int fd = accept4(w->listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

                if (fd < 0)
                        return; /* none, or no descriptor left: whoever waits goes on waiting */
                adopt(w, fd);
        }
}

/* ------------------------------------------------------------------ life */

int
worker_listen(unsigned port)
{
        struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
        int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), on = 1;

        if (inet_pton(AF_INET, settings.address, &a.sin_addr) != 1) {
                fprintf(stderr, "kvcache: --bind %s: not an IPv4 address\n", settings.address);
                return -1;
        }
        if (fd < 0 || setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) < 0 ||
            setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof on) < 0 ||
            bind(fd, (struct sockaddr *)&a, sizeof a) < 0) {
                fprintf(stderr, "kvcache: cannot use %s:%u: %s\n", settings.address, port, strerror(errno));
                if (fd >= 0)
                        close(fd);
                return -1;
        }
        return fd;
}

static void
watch_descriptor(struct worker *w, int fd, void *tag)
{
        struct epoll_event e = {.events = EPOLLIN, .data.ptr = tag};

        if (epoll_ctl(w->epoll, EPOLL_CTL_ADD, fd, &e) < 0) {
                perror("kvcache: epoll_ctl");
                exit(EXIT_SETUP);
        }
}

static int
signals_open(void)
{
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        sigprocmask(SIG_SETMASK, &set, NULL);
        return signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
}

/*
 * A request that arrives makes a worker ready, but need not take the processor from whoever sent it, who may have more
 * to send: with as many workers as processors that would be a switch every third request.  A policy that somebody else
 * chose stays.
 */
static void
prefer_batches(void)
{
        if (sched_getscheduler(0) == SCHED_OTHER)
                (void)sched_setscheduler(0, SCHED_BATCH, &(struct sched_param){0}); /* refused: it is slower, no more */
}

static void
begin(struct worker *w, shheap *heap, struct root *root, uint32_t no)
{
        if (store_enter(&w->cache, heap, root, no, PATIENCE_MS) < 0) {
                fprintf(stderr, "kvcache: place %u of heap %s is taken by a process that lives, or not yet settled\n",
                        no, settings.heap_name);
                exit(EXIT_SETUP);
        }
        prefer_batches();
        buffer_total_max = settings.max_buffer_bytes;
        w->all.next = w->all.previous = &w->all;
        w->epoll = epoll_create1(EPOLL_CLOEXEC);
        w->signals = signals_open();
        w->listening = worker_listen(settings.port);
        if (w->epoll < 0 || w->signals < 0 || w->listening < 0 || listen(w->listening, BACKLOG) < 0)
                exit(EXIT_SETUP);
        watch_descriptor(w, w->listening, &w->listening);
        watch_descriptor(w, w->signals, &w->signals);
}

static bool
tick(struct worker *w)
{
        if (w->cache.now_ms - w->ticked_ms < TICK_MS)
                return true;
        w->ticked_ms = w->cache.now_ms;
        return memory_tick(&w->cache);
}

static void
serve(struct worker *w)
{
        struct epoll_event events[EVENTS_MAX];
        bool has_more = true;

        for (;;) {
                int n = epoll_wait(w->epoll, events, EVENTS_MAX, has_more ? TICK_MS : -1);

                w->cache.now_ms = store_now_ms();
                for (int i = 0; i < n; i++) {
                        struct client *client = events[i].data.ptr;

                        if (events[i].data.ptr == &w->signals)
                                return;
                        if (events[i].data.ptr == &w->listening)
                                accept_clients(w);
                        else if (client_serve(client, &w->cache))
                                watch(w, client);
                        else
                                drop(w, client);
                }
                has_more = tick(w) || n > 0;
        }
}

void
worker_run(shheap *heap, struct root *root, uint32_t no, int ready)
{
        static struct worker w;

        begin(&w, heap, root, no);
        if (write(ready, "", 1) != 1)
                exit(0); /* the supervisor has gone */
        close(ready);
        serve(&w);
        close(w.listening);
        while (w.all.next != &w.all)
                drop(&w, w.all.next);
        store_leave(&w.cache);
        shheap_close(heap);
        exit(0);
}
