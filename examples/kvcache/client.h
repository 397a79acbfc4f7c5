/*
 * client.h - a connection: bytes in, commands, bytes out.
 *
 * A client that does not read its replies is not read from: what waits for it is bounded by COMMAND_OUT_MAX and one
 * reply.  What a client sends grows with what has arrived, not with what it announces.
 */
#ifndef KVCACHE_CLIENT_H
#define KVCACHE_CLIENT_H

#include "buffer.h"
#include "cache.h"
#include "resp.h"

struct client {
        int fd;
        bool is_closing; /* once all has been sent */
        bool wants_out;  /* is waiting for room in the socket */
        uint32_t resume; /* of the command that is begun, see command.h */
        size_t begun;    /* bytes of that command, which is parsed already */
        uint32_t epoll_events;
        struct resp resp;
        struct buffer in, out;
        struct client *previous, *next; /* all of them */
};

void client_init(struct client *client, int fd);
void client_fini(struct client *client);

/* There is something to read, or room to write.  False: it has gone, or is to go. */
bool client_serve(struct client *client, struct cache *c);

#endif
