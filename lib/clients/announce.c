/*
 * announce.c - see announce.h.
 *
 * The daemon hears of deaths at once of those who told it of themselves: the kernel says who they are, so no more than
 * the place in the table of clients has to be told, and no answer is needed.  It finds everybody else in that table.
 */
#include "clients/announce.h"

#include "os/announce.h"
#include "region/options.h"

void
client_announce(const struct region *r, const struct client_id *client)
{
        const char *socket_path = options_env(OPTIONS_ENV_SOCKET);
        struct announce_message message = {
                .magic = ANNOUNCE_MAGIC,
                .kind = ANNOUNCE_REGISTER,
                .dev = r->dev,
                .ino = r->ino,
                .client_idx = client->idx,
                .incarnation = client->incarnation,
        };

        if (r->fd >= 0) /* else it is memory of a test, which no daemon knows */
                announce_send(socket_path ? socket_path : ANNOUNCE_SOCKET_DEFAULT, &message);
}
