/*
 * client.h - attached processes.
 *
 * A client is {index, incarnation}: the index says where it stands, the incarnation tells it from everybody else who
 * ever stood there.  It is live as long as its process exists; nobody has to be told when it goes.  But it holds its
 * place only while one of its threads holds a slot: see client_evict().
 */
#ifndef CLIENTS_CLIENT_H
#define CLIENTS_CLIENT_H

#include <stdbool.h>
#include <stdint.h>

#include "region/region.h"

struct client_id {
        uint32_t idx;
        uint32_t incarnation;
} __attribute__((aligned(8))); /* loaded and stored as a whole */

/* Claims a client slot for this process.  A slot of a dead client is reused once no thread slot of it is left to
 * settle.  0; -EUSERS when all are taken (slot_reap_all() may help, then client_evict_any(): try again);
 * -ENOMEM; -ENOTSUP in a child that was made behind the C library's back.  The message is set. */
int client_register(struct region *r, struct client_id *ret_client);

/* Whether it still stands in the table: a hint, for it may be evicted at any time while it holds no slot. */
bool client_is_registered(const struct region *r, const struct client_id *client);

/* By a thread whose slot names the client by now, before it relies on that: false when the client has been evicted.
 * After that it cannot be, until the slot is let go of. */
bool client_confirm(struct region *r, const struct client_id *client);

/* Whether it stands in the table as process `pid` of that namespace; 0 = of whatever namespace. */
bool client_is_of(const struct region *r, const struct client_id *client, uint32_t pid, uint32_t pid_ns);

/* Gives the slot back: the process has closed the heap and none of its threads holds a slot.  Does nothing when
 * *client is not registered any more. */
void client_unregister(struct region *r, const struct client_id *client);

/* Gives the slot of a dead process back, once none of its threads is left to settle.  It must be the client's, as
 * client_is_of() has it: only then does the caller know which process it speaks of.  `is_known`: the caller knows that
 * process to be dead; else the system is asked, of processes of this namespace.  False: it is not that process's, not
 * dead, or not settled yet. */
bool client_bury(struct region *r, const struct client_id *client, uint32_t pid, uint32_t pid_ns, bool is_known);

/* All who are dead and settled, by the system's word. */
void client_bury_all(struct region *r);

/* Takes the place of a client, alive or dead, of which no thread holds a slot or has to be settled; its reserve slot is
 * nobody's then.  False if it holds something, or attaches just now. */
bool client_evict(struct region *r, const struct client_id *client);

/* One of all such; false when there is none. */
bool client_evict_any(struct region *r);

/* Who stands in the slot: false if nobody, or somebody of another pid namespace, whose number would mean nothing. */
bool client_who(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid);

/* Also of other namespaces: the number there, and the namespace.  False if nobody, or it has not said yet who it is. */
bool client_who_anywhere(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid,
                         uint32_t *ret_pid_ns);

/* False once it has unregistered, or its process does not exist any more.  A client of another pid namespace, of
 * which nothing can be known, is live. */
bool client_is_live(const struct region *r, uint32_t idx, uint32_t incarnation);

/* Thread slots of the client whose `life` is still locked by somebody not known to be dead.  The client's mapping
 * has to stay until there are none: the kernel follows a dying thread's list through its slot. */
uint32_t client_threads_remaining(const struct region *r, const struct client_id *client);

#endif
