/*
 * talk.h - what the daemon and the helper of a heap say to each other, over a socket pair of packets.
 *
 * The helper works in a heap that may be hostile, so the daemon takes what it says for what a stranger says: packets of
 * one size, numbers that are only numbers, text that is only printed.
 */
#ifndef SHMALLOCD_TALK_H
#define SHMALLOCD_TALK_H

#include <stdint.h>

enum talk_kind {
        /* the daemon says */
        TALK_DEAD = 1, /* client client_idx.incarnation, process pid of pid_ns, is dead: settle it */
        TALK_REAP,     /* settle all who are dead */
        TALK_PING,     /* are you well? */
        TALK_SET,      /* a: capacity in bytes or 0, b: decay_ms, as configured now */
        TALK_UNLINK,   /* remove the heap's name */
        TALK_QUIT,     /* close the heap and end */
        /* the helper says */
        TALK_READY = 32, /* a, b: device and inode; n: 1 = created, 0 = adopted; text: what it does */
        TALK_FAILED,     /* n: -errno; text: why.  It ends */
        TALK_CLIENT,     /* client_idx.incarnation of process pid of pid_ns is in the table of clients */
        TALK_DIED,       /* it was still a client when TALK_DEAD was heard: those two, pid_here and all */
        TALK_SETTLED,    /* n threads of the dead were settled in a nanoseconds; pid_here: of whom, 0 = of several */
        TALK_PURGED,     /* a bytes were given back */
        TALK_PONG,
        TALK_NOTED /* text: something to be logged */
};

struct talk {
        uint32_t kind;
        uint32_t client_idx;
        uint32_t incarnation;
        uint32_t pid, pid_ns; /* as the table of clients has them */
        uint32_t pid_here;    /* its number for the daemon: for the log */
        int64_t n;
        uint64_t a, b;
        char text[256]; /* with its NUL */
};

/* The helper's end of the socket pair. */
enum { TALK_FD = 3 };

#endif
