/*
 * client.h - attached processes.
 *
 * A client is {index, incarnation}: the index says where it stands, the incarnation tells it from everybody else who
 * ever stood there.  It is live as long as its process exists; nobody has to be told when it goes.
 */
#ifndef REGION_CLIENT_H
#define REGION_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "region/region.h"

struct client_id {
        uint32_t idx;
        uint32_t incarnation;
};

/* Claims a client slot for this process.  A slot of a dead client is reused once no thread slot of it is left to
 * settle.  0; -EUSERS when all are taken (slot_reap_all() may help: then try again); -ENOMEM; -ENOTSUP in a child
 * that was made behind the C library's back.  The message is set. */
int client_register(struct region *r, struct client_id *ret_client);

/* Gives the slot back: the process has closed the heap and none of its threads holds a slot.  Does nothing when
 * *client is not registered any more. */
void client_unregister(struct region *r, const struct client_id *client);

/* False once it has unregistered, or its process does not exist any more.  A client of another pid namespace, of
 * which nothing can be known, is live. */
bool client_is_live(const struct region *r, uint32_t idx, uint32_t incarnation);

/* Thread slots of the client whose `life` is still locked by somebody not known to be dead.  The client's mapping
 * has to stay until there are none: the kernel follows a dying thread's list through its slot. */
uint32_t client_threads_remaining(const struct region *r, const struct client_id *client);

#endif
