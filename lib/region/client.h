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

/* Gives the slot of a dead process back, once none of its threads is left to settle.  `pid` must be the client's: only
 * then does the caller know whom he speaks of; `is_known` says that he knows it to be dead, else the system is asked.
 * False: it is not that process's, not dead, or not settled yet. */
bool client_bury(struct region *r, const struct client_id *client, uint32_t pid, bool is_known);

/* All who are dead and settled, by the system's word. */
void client_bury_all(struct region *r);

/* Who stands in the slot: false if nobody, or somebody of another pid namespace, whose number would mean nothing. */
bool client_who(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid);

/* False once it has unregistered, or its process does not exist any more.  A client of another pid namespace, of
 * which nothing can be known, is live. */
bool client_is_live(const struct region *r, uint32_t idx, uint32_t incarnation);

/* Thread slots of the client whose `life` is still locked by somebody not known to be dead.  The client's mapping
 * has to stay until there are none: the kernel follows a dying thread's list through its slot. */
uint32_t client_threads_remaining(const struct region *r, const struct client_id *client);

#endif
