/*
 * daemon.h - what the daemon knows.  None of it matters: a daemon that starts finds out all of it again.
 *
 * The daemon itself opens no heap.  It looks at a heap's file (owner, mode), it knows processes by their pidfd, and it
 * talks to one helper per heap, which does everything that touches one.
 */
#ifndef SHMALLOCD_DAEMON_H
#define SHMALLOCD_DAEMON_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "common/identity.h"
#include "shmallocd/config.h"
#include "shmallocd/talk.h"

struct daemon;

enum heap_state {
        HEAP_STARTING, /* its helper has not said anything yet */
        HEAP_KEPT,     /* all is well */
        HEAP_FAILING,  /* its helper ended; another one is started later */
        HEAP_BUSY,     /* kept by another daemon; tried again later */
        HEAP_LEAVING   /* not wanted any more: the helper is on its way out */
};

/* A heap that is kept, and its helper. */
struct kept {
        struct daemon *daemon;
        struct kept *next;
        struct heap_config config;
        enum heap_state state;
        uint64_t dev, ino; /* of its file; 0 until a helper has opened it */

        pid_t helper_pid; /* 0 = none */
        int talk_fd;
        sd_event_source *talk_source, *child_source, *restart_source;
        bool is_behind;     /* the helper did not take a message: it is to reap everything */
        bool was_ever_kept; /* by this daemon */
        bool has_answered;  /* since the daemon began: for the start */
        uint64_t heard_us, started_us;
        uint32_t n_failures; /* in a row */
        char why[256];       /* it fails */

        uint32_t n_watches;
        uint64_t n_deaths, n_settled, n_restarts, n_refused, purged_bytes;
        uint64_t settle_ns_last, settle_ns_max;
};

/* Which client, and who it is by its own account. */
struct client_ref {
        uint32_t idx, incarnation;
        struct identity who;
};

/* A client of another pid namespace that the daemon looks for in its own. */
struct sought {
        struct kept *kept;
        struct client_ref client;
};

/* More than one, if a process has two copies of the library, or what the dead of a namespace with the same numbers
 * left. */
enum { WATCH_CLIENTS_MAX = 4 };

/* A client process of a heap, and its pidfd. */
struct watch {
        struct kept *kept;
        uint32_t pid; /* here */
        uint32_t n_clients;
        struct client_ref clients[WATCH_CLIENTS_MAX]; /* the newest one last */
        int pidfd;
        sd_event_source *source;
};

struct daemon {
        sd_event *event;
        struct config config;
        const char *config_path; /* NULL: heaps are given on the command line */
        char socket[108];
        bool has_socket_file; /* ours, to be removed */
        uint64_t socket_dev, socket_ino;
        bool unlinks; /* heaps, at the end */
        bool has_begun, is_ready, is_stopping;
        int exit_status;
        int listen_fd;
        int spare_fd; /* given up to refuse a connection when there are no descriptors left */
        sd_event_source *listen_source, *clock_source;
        struct kept *heaps;
        void *watches; /* tree of struct watch, by heap and pid */
        uint32_t n_watches, watches_max;
        struct sought *sought;
        uint32_t n_sought, sought_room;
        struct pending *pending; /* connections that have said nothing yet: server.c */
        uint32_t n_pending;
        uint64_t n_refused, n_unwatched;
        bool has_said_full;
        uint64_t started_us;
};

uint64_t daemon_now_us(const struct daemon *d);

/* ------------------------------------------------------------------ kept.c */

/* Begins to keep a heap.  0 or -errno. */
int kept_add(struct daemon *d, const struct heap_config *config);

/* Ends the helper, and forgets the heap when it is gone. */
void kept_leave(struct kept *k);

/* The configuration has changed: what can be changed is. */
void kept_change(struct kept *k, const struct heap_config *config);

/* Says something to the helper; if it does not listen just now, it will reap everything later. */
void kept_say(struct kept *k, const struct talk *t);

/* Now and then: a helper that says nothing is ended. */
void kept_look_after(struct kept *k);

struct kept *kept_find(struct daemon *d, uint64_t dev, uint64_t ino);
struct kept *kept_find_name(struct daemon *d, const char *name);
const char *kept_state_name(enum heap_state state);

/* ------------------------------------------------------------------ watch.c */

/* Watches a client that is process `pid` here; takes the pidfd over (-1: it is of this pid namespace, and opened here).
 * A process that is dead already is told of at once. */
void watch_add(struct kept *k, uint32_t pid, const struct client_ref *client, int pidfd);

/* Watches a client whatever namespace it is of, if it can be found: one of another at the next watch_seek(). */
void watch_find(struct kept *k, const struct client_ref *client);
void watch_seek(struct daemon *d);

void watch_forget_all(struct kept *k);

/* ------------------------------------------------------------------ server.c */

/* Takes the socket from systemd, or makes it.  0, or -errno and it has been said why. */
int server_open(struct daemon *d);
void server_close(struct daemon *d);

/* ------------------------------------------------------------------ main.c */

/* A heap has got its first answer, or one has been forgotten. */
void daemon_heap_answered(struct daemon *d);

#endif
