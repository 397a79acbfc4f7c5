/*
 * client.c - the table of attached processes.
 *
 * All changes of hands are in one word: state, incarnation, and how often a thread of the client has attached.
 * Claiming, giving back, taking from the dead and evicting are one CAS each, of exactly the word that was judged, so a
 * slot can neither be taken twice nor be taken from somebody who came meanwhile.
 *
 * Who the process is stands in three words of their own, process id, image and pid namespace, and each bears the
 * incarnation that it speaks of: a claimer that was overtaken, and writes its own long after, misleads nobody, and
 * overwrites nothing newer.  A process id is judged only where all of it is the claim's, and the namespace is ours.  Of
 * others nothing is known but whether any of their threads holds a slot, which the locks tell everybody
 * (clients/liveness.h).
 *
 * A client of which no thread holds a slot holds nothing.  Where there is no slot left for a client or a thread, such
 * clients are evicted, dead or alive.  A living one finds at its next attach that its incarnation stands in the table
 * no more, and registers anew.
 *
 * REGISTER                                        a death after it leaves                 settled by
 *   .1  word: EMPTY, or LIVE of a dead process,   a client without a process id           EVICT
 *       -> LIVE, incarnation + 1
 *   .2  fields, process, image, pid_ns            a client of a process that is gone      the next REGISTER.1, EVICT
 * CONFIRM (an attacher, whose slot names the client by now)
 *   .1  word: attached + 1                        the same
 * UNREGISTER
 *   .1  word: LIVE -> EMPTY                       an empty slot                           nobody needs to
 * EVICT
 *   .1  word read, LIVE
 *   .2  no thread slot that names the client is held, or has to be settled
 *   .3  word: exactly that -> EMPTY               an empty slot                           nobody needs to
 *
 *      attacher                               evictor
 *      lock, client's name in the slot
 *                                             EVICT.1  reads {LIVE, n, incarnation}
 *                                             EVICT.2  sees no slot
 *      CONFIRM.1  n -> n + 1
 *                                             EVICT.3  finds n + 1: gives up
 *   The other way round CONFIRM.1 finds the word EMPTY, or another incarnation, and the attacher empties its slot
 *   again.  If EVICT.1 reads n + 1 already, it sees all that the attacher wrote before (E18).  The count returns after
 *   2^30 attaches, all of them between two steps of one evictor.
 *
 * An exec leaves the client of what the process was before: the process exists.  The process itself knows better: a
 * client that bears its own id but another image is nobody's.
 *
 * What this gave up: a dead client of another namespace stands in the table until the slots run out, a daemon knows of
 * it, or somebody of the same namespace comes.  And the lowest slot that could be had: a newcomer does not ask about
 * everybody who is there.
 */
#include "clients/client.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/liveness.h"
#include "layout/words.h"
#include "os/process.h"

enum {
        CLIENT_ASKED_MAX = 16, /* clients that a newcomer asks the kernel about before it takes a new slot */
        TRIES_MAX = 1 << 16    /* of a CAS that only attaching siblings and claimers make fail: there are fewer */
};

_Static_assert(sizeof((struct client_slot *)0)->name == PROCESS_NAME_MAX + 1, "a command name fits");

/* ------------------------------------------------------------------ words */

static uint64_t
client_word(enum client_state state, uint32_t incarnation)
{
        ASSERT(state == CLIENT_EMPTY || state == CLIENT_LIVE);
        return (uint64_t)state | WORD_PUT(incarnation, 32);
}

static bool
word_is_live(uint64_t word)
{
        return WORD_FIELD(word, 0, 2) == CLIENT_LIVE;
}

static uint32_t
word_incarnation(uint64_t word)
{
        return (uint32_t)(word >> 32);
}

static bool
word_is_of(uint64_t word, uint32_t incarnation)
{
        return word_is_live(word) && word_incarnation(word) == incarnation;
}

/* The count goes round. */
static uint64_t
word_attached(uint64_t word)
{
        ASSERT(word_is_live(word));
        return WORD_SET(word, 2, 30, WORD_FIELD(word, 2, 30) + 1);
}

/* What a stamped word says of a claim; false: it speaks of another one. */
static bool
stamp_read(const uint64_t *stamp, uint32_t incarnation, uint32_t *ret_value)
{
        uint64_t found = load_acquire(stamp); /* E8.acq; whole: it says itself what it belongs to */

        *ret_value = (uint32_t)found;
        return found >> 32 == incarnation;
}

/* Never over what a later claim wrote.  A failed try reloads; each is a claimer of this slot who was faster. */
static void
stamp_write(uint64_t *stamp, uint32_t incarnation, uint32_t value)
{
        uint64_t found = load_relaxed(stamp);

        for (int i = 0; i < TRIES_MAX && (int32_t)(incarnation - (uint32_t)(found >> 32)) >= 0; i++)
                /* E8.rel: whoever finds the incarnation in the last of them sees the other fields of this claim. */
                if (cas_release(stamp, &found, (uint64_t)incarnation << 32 | value))
                        return;
}

/* The process of the claim, if its number means something here. */
static bool
client_process(const struct client_slot *slot, uint32_t incarnation, uint32_t *ret_pid)
{
        uint32_t pid_ns, ours = liveness->pid_ns();

        return stamp_read(&slot->process, incarnation, ret_pid) && stamp_read(&slot->pid_ns, incarnation, &pid_ns) &&
               pid_ns == ours && ours != PROCESS_NS_UNKNOWN;
}

static bool
client_is_gone(const struct client_slot *slot, uint32_t incarnation)
{
        uint32_t pid;

        return client_process(slot, incarnation, &pid) && liveness->process_is_gone(pid);
}

/* ------------------------------------------------------------------ what still holds a client */

/* The calling process before its last exec: nobody but the process itself can tell. */
static bool
client_is_own_past(const struct client_slot *slot, uint64_t word, const struct liveness_self *self)
{
        uint32_t pid, image;

        ASSERT(word_is_live(word) && self->pid_ns != 0);
        return client_process(slot, word_incarnation(word), &pid) && pid == self->pid &&
               stamp_read(&slot->image, word_incarnation(word), &image) && image != process_image();
}

static bool
slot_names(const struct slot_gate *gate, uint32_t idx, uint32_t incarnation)
{
        return load_relaxed(&gate->client_idx) == idx && load_relaxed(&gate->client_incarnation) == incarnation;
}

/* Whether a thread slot of the client still has to be settled.  A reserve slot between two uses owns nothing. */
static bool
client_is_named(const struct region *r, uint32_t idx, uint32_t incarnation)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t t = 0; t < hwm; t++) {
                uint32_t binding = load_relaxed(&r->bindings[t]); /* a hint: an empty slot names nobody */
                const struct slot_gate *gate = binding != 0 ? region_gate(r, t) : NULL;

                if (gate != NULL && slot_names(gate, idx, incarnation) &&
                    ((binding & BINDING_RESERVE) == 0 || load_relaxed(&gate->state) != 0))
                        return true;
        }
        return false;
}

/* Whether a process lives costs system calls: only where `ask` is given. */
static bool
client_can_be_claimed(const struct region *r, uint32_t idx, uint64_t word, const struct liveness_self *self, bool ask)
{
        ASSERT(idx < region_clients_hwm(r) && self->pid_ns != 0);
        if (!word_is_live(word))
                return true;
        if (!client_is_own_past(&r->clients[idx], word, self) &&
            !(ask && client_is_gone(&r->clients[idx], word_incarnation(word))))
                return false;
        return !client_is_named(r, idx, word_incarnation(word));
}

/* ------------------------------------------------------------------ register */

/* REGISTER.2 */
static void
client_fill(struct client_slot *slot, const struct liveness_self *self, uint32_t incarnation)
{
        char name[PROCESS_NAME_MAX + 1];
        uint64_t start_ticks;

        ASSERT(self->pid != 0 && self->pid_ns != 0);
        process_describe(name, &start_ticks);
        store_relaxed(&slot->uid, (uint32_t)geteuid());
        store_relaxed(&slot->start_ticks, start_ticks);
        for (unsigned i = 0; i < sizeof name; i++)
                store_relaxed(&slot->name[i], name[i]);
        stamp_write(&slot->process, incarnation, self->pid);
        stamp_write(&slot->image, incarnation, process_image());
        stamp_write(&slot->pid_ns, incarnation, self->pid_ns);
}

/* REGISTER on one slot; false when it is somebody's. */
static bool
client_try_claim(struct region *r, uint32_t idx, const struct liveness_self *self, bool ask,
                 struct client_id *ret_client)
{
        struct client_slot *slot = region_client(r, idx);
        uint64_t word;

        if (slot == NULL)
                return false;
        word = load_relaxed(&slot->word); /* confirmed by the CAS */
        if (!client_can_be_claimed(r, idx, word, self, ask))
                return false;
        *ret_client = (struct client_id){.idx = idx, .incarnation = word_incarnation(word) + 1};
        /* One try: who fails has been overtaken by another claimer and finds the next slot. */
        if (!cas_acq_rel(&slot->word, &word, client_word(CLIENT_LIVE, ret_client->incarnation))) /* REGISTER.1 */
                return false;
        client_fill(slot, self, ret_client->incarnation);
        return true;
}

/* One of the first `n_slots`: `n` of them are tried. */
static bool
client_claim_any(struct region *r, uint32_t n_slots, uint32_t n, const struct liveness_self *self, bool ask,
                 struct client_id *ret_client)
{
        ASSERT(n <= n_slots);
        for (uint32_t i = 0; i < n; i++)
                if (client_try_claim(r, (self->pid + i) % n_slots, self, ask, ret_client))
                        return true;
        return false;
}

/* A slot beyond the mark, as long as the table has some.  Others may take what this process raised it for. */
static int
client_claim_new(struct region *r, const struct liveness_self *self, struct client_id *ret_client)
{
        uint32_t n = (uint32_t)r->layout.n[TABLE_CLIENTS];

        for (uint32_t idx = region_clients_hwm(r); idx < n; idx++) {
                int err = region_raise_clients(r, idx);

                if (err < 0)
                        return error_set_refused(err == -ENOSPC ? -ENOMEM : err,
                                                 "cannot register process %u: no memory for another client slot",
                                                 self->pid);
                ASSERT_INVARIANT(I17, region_clients_hwm(r) > idx);
                if (client_try_claim(r, idx, self, false, ret_client))
                        return 0;
        }
        return error_set(-EUSERS,
                         "cannot register process %u: all %u clients of this heap are taken by live processes, as far "
                         "as can be told in this pid namespace; close it in one of them, or create the heap with "
                         "more max_clients",
                         self->pid, n);
}

/*
 * Empty slots first.  Then some of the others are asked about, from a start that differs from process to process: with
 * every newcomer doing so the dead stay few, and nobody pays for a thousand living.  Then a new slot; and only when
 * there is none, everybody is asked about.
 */
int
client_register(struct region *r, struct client_id *ret_client)
{
        struct liveness_self self;
        struct client_id client;
        uint32_t hwm, n;
        int err;

        process_pid_ns_refresh();
        err = liveness->identify(&self);
        if (err < 0)
                return err;
        hwm = region_clients_hwm(r);
        if (!client_claim_any(r, hwm, hwm, &self, false, &client) &&
            !client_claim_any(r, hwm, hwm < CLIENT_ASKED_MAX ? hwm : CLIENT_ASKED_MAX, &self, true, &client)) {
                err = client_claim_new(r, &self, &client);
                n = region_clients_hwm(r);
                if (err < 0 && !client_claim_any(r, n, n, &self, true, &client))
                        return err;
        }
        ASSERT(client.idx < region_clients_hwm(r));
        *ret_client = client;
        return 0;
}

/* Relaxed: an attacher asks again, by a CAS. */
bool
client_is_registered(const struct region *r, const struct client_id *client)
{
        const struct client_slot *slot = region_client(r, client->idx);

        return slot != NULL && word_is_of(load_relaxed(&slot->word), client->incarnation);
}

bool
client_is_of(const struct region *r, const struct client_id *client, uint32_t pid, uint32_t pid_ns)
{
        const struct client_slot *slot = region_client(r, client->idx);
        uint32_t found;

        if (slot == NULL || !word_is_of(load_relaxed(&slot->word), client->incarnation) ||
            !stamp_read(&slot->process, client->incarnation, &found) || found != pid)
                return false;
        return pid_ns == 0 || (stamp_read(&slot->pid_ns, client->incarnation, &found) && found == pid_ns);
}

/* A failed try reloads: a sibling attached, or an evictor was faster.  ABA: as above. */
bool
client_confirm(struct region *r, const struct client_id *client)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        ASSERT(client->idx < r->layout.n[TABLE_CLIENTS]);
        for (int i = 0; i < TRIES_MAX && word_is_of(word, client->incarnation); i++)
                /* E18.rel: the slot that names the client. */
                if (cas_release(&slot->word, &word, word_attached(word))) /* CONFIRM.1 */
                        return true;
        return false;
}

/* A failed try reloads: a sibling attached meanwhile. */
void
client_unregister(struct region *r, const struct client_id *client)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        ASSERT(client->idx < r->layout.n[TABLE_CLIENTS]);
        for (int i = 0; i < TRIES_MAX && word_is_of(word, client->incarnation); i++)
                if (cas_acq_rel(&slot->word, &word, client_word(CLIENT_EMPTY, client->incarnation))) /* UNREGISTER.1 */
                        return;
}

/* ------------------------------------------------------------------ the dead, and those who hold nothing */

/* One try: who changes the word meanwhile claims the slot, attaches, or unregisters after all. */
bool
client_bury(struct region *r, const struct client_id *client, uint32_t pid, uint32_t pid_ns, bool is_known)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        if (!word_is_of(word, client->incarnation) || !client_is_of(r, client, pid, pid_ns))
                return false;
        ASSERT(word_is_live(word) && slot == &r->clients[client->idx]);
        if ((!is_known && !client_is_gone(slot, client->incarnation)) ||
            client_is_named(r, client->idx, client->incarnation))
                return false;
        return cas_acq_rel(&slot->word, &word, client_word(CLIENT_EMPTY, client->incarnation)); /* UNREGISTER.1 */
}

/* EVICT.2.  Also a thread that has detached from its slot, and holds the lock until it ends: its process's mapping,
 * which the kernel needs then, is counted by the client's name in it. */
static bool
client_holds_nothing(const struct region *r, uint32_t idx, uint32_t incarnation)
{
        const struct client_id client = {.idx = idx, .incarnation = incarnation};

        ASSERT(idx < region_clients_hwm(r));
        return client_threads_remaining(r, &client) == 0 && !client_is_named(r, idx, incarnation);
}

bool
client_evict(struct region *r, const struct client_id *client)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_acquire(&slot->word) : 0; /* E18.acq, EVICT.1 */

        if (!word_is_of(word, client->incarnation) || !client_holds_nothing(r, client->idx, client->incarnation))
                return false;
        ASSERT(word_is_live(word) && slot == &r->clients[client->idx]);
        /* One try: who fails has met somebody who attached, or who was faster. */
        return cas_acq_rel(&slot->word, &word, client_word(CLIENT_EMPTY, client->incarnation)); /* EVICT.3 */
}

/* From a start that differs from process to process, so that it is not always the same who have to register anew. */
bool
client_evict_any(struct region *r)
{
        uint32_t hwm = region_clients_hwm(r);

        for (uint32_t i = 0; i < hwm; i++) {
                struct client_id client = {.idx = (process_id() + i) % hwm};
                const struct client_slot *slot = region_client(r, client.idx);

                client.incarnation = slot != NULL ? word_incarnation(load_relaxed(&slot->word)) : 0;
                if (client_evict(r, &client))
                        return true;
        }
        return false;
}

bool
client_who_anywhere(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid,
                    uint32_t *ret_pid_ns)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        *ret_client = (struct client_id){.idx = idx, .incarnation = word_incarnation(word)};
        return word_is_live(word) && stamp_read(&slot->process, ret_client->incarnation, ret_pid) &&
               stamp_read(&slot->pid_ns, ret_client->incarnation, ret_pid_ns);
}

bool
client_who(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid)
{
        uint32_t pid_ns, ours = liveness->pid_ns();

        return client_who_anywhere(r, idx, ret_client, ret_pid, &pid_ns) && pid_ns == ours &&
               ours != PROCESS_NS_UNKNOWN;
}

void
client_bury_all(struct region *r)
{
        uint32_t hwm = region_clients_hwm(r), pid, pid_ns;
        struct client_id client;

        for (uint32_t idx = 0; idx < hwm; idx++)
                if (client_who_anywhere(r, idx, &client, &pid, &pid_ns))
                        client_bury(r, &client, pid, pid_ns, false);
}

bool
client_is_live(const struct region *r, uint32_t idx, uint32_t incarnation)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0; /* a later incarnation says so itself */

        return word_is_of(word, incarnation) && !client_is_gone(slot, incarnation);
}

uint32_t
client_threads_remaining(const struct region *r, const struct client_id *client)
{
        uint32_t hwm = region_threads_hwm(r);
        uint32_t n = 0;

        for (uint32_t t = 0; t < hwm; t++) {
                const struct slot_gate *gate = region_gate(r, t);

                if (gate != NULL && slot_names(gate, client->idx, client->incarnation))
                        n += liveness->lock_view(&gate->life, 0, false) == LOCK_HELD;
        }
        return n;
}
