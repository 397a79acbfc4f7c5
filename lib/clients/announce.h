/*
 * announce.h - a new client makes itself known to the daemon, if there is one.
 */
#ifndef CLIENTS_ANNOUNCE_H
#define CLIENTS_ANNOUNCE_H

#include "clients/client.h"

/* Costs three system calls where there is no daemon, six where there is one, and never waits; sets no message and keeps
 * errno.  Nothing depends on whether it is heard. */
void client_announce(const struct region *r, const struct client_id *client);

#endif
