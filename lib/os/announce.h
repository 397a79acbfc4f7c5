/*
 * announce.h - telling the daemon that a process has opened a heap, without ever waiting for it.
 *
 * One packet to a UNIX socket that nobody may be listening on: a connection that is not accepted at once, because the
 * daemon is stopped or busy, keeps the packet; one that cannot be made is given up.  The daemon finds a process that
 * did not announce itself in the heap's table of clients, a little later.
 */
#ifndef OS_ANNOUNCE_H
#define OS_ANNOUNCE_H

#include <stdint.h>

#define ANNOUNCE_SOCKET_DEFAULT "/run/shmalloc/shmallocd.sock"
#define ANNOUNCE_MAGIC          UINT32_C(0x6d687331) /* "1shm", little-endian */

enum announce_kind {
        ANNOUNCE_REGISTER = 1, /* the sender is client (client_idx, incarnation) of heap (dev, ino) */
        ANNOUNCE_STATUS = 2    /* what the daemon knows, please: the other fields are 0 */
};

/* All fields are in the byte order of the machine: both sides run on it. */
struct announce_message {
        uint32_t magic; /* ANNOUNCE_MAGIC: says the version, too */
        uint32_t kind;
        uint64_t dev, ino; /* of the heap's file */
        uint32_t client_idx;
        uint32_t incarnation;
};

/* Connects without waiting: a descriptor, or -errno.  For those who want to hear an answer. */
int announce_connect(const char *socket_path);

/*
 * Sends one message and forgets about it.  0, or why it could not be: -ENOENT and -ECONNREFUSED when there is no
 * daemon,
 * -EAGAIN when too many are waiting for it, -EACCES.  Keeps errno.
 *
 * Where the kernel cannot give the daemon a descriptor of the process at the other end (before 6.5), the message
 * carries one, and the sender's credentials.
 */
int announce_send(const char *socket_path, const struct announce_message *message);

#endif
