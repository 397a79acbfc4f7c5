/*
 * client.c - the table of attached processes.
 *
 * All that decides about a client is in one word: state, process id, incarnation.  Claiming, giving back and taking
 * from the dead are one CAS each, of exactly the word that was judged, so a slot can neither be taken twice nor be
 * taken from somebody who came meanwhile.  What else the slot says of the process is for people; `filled` tells
 * which claim it belongs to.
 *
 * A process id means something in one pid namespace only.  So a slot belongs to the namespace of whoever used it
 * first, for ever: `pid_ns` is set once, before the first claim, and everybody else passes the slot by.
 *
 * REGISTER                                        a death after it leaves                 settled by
 *   .1  pid_ns: 0 -> ours                         an empty slot of our namespace          nobody needs to
 *   .2  word: EMPTY, or LIVE of a dead process,   a client of a process that is gone      the next REGISTER.2
 *       -> LIVE, our pid, incarnation + 1
 *   .3  fields, then `filled` := incarnation      the same                                the same
 * UNREGISTER
 *   .1  word: LIVE -> EMPTY                       an empty slot                           nobody needs to
 *
 * An exec leaves the client of what the process was before: the process exists.  The process itself knows better: a
 * client that bears its own id but another image is nobody's.
 *
 * What this gave up: the slots of a pid namespace whose processes are all gone stay taken until somebody of the
 * same namespace comes.  And the lowest slot that could be had: a newcomer does not ask about everybody who is there.
 */
#include "region/client.h"

#include <errno.h>
#include <unistd.h>

#include "base/error.h"
#include "layout/words.h"
#include "os/process.h"
#include "region/liveness.h"

enum {
        CLIENT_PID_BITS = 30,
        CLIENT_ASKED_MAX = 16 /* clients that a newcomer asks the kernel about before it takes a new slot */
};

_Static_assert(sizeof((struct client_slot *)0)->name == PROCESS_NAME_MAX + 1, "a command name fits");

static uint64_t
client_word(enum client_state state, uint32_t pid, uint32_t incarnation)
{
        return (uint64_t)state | WORD_PUT(pid & ((UINT32_C(1) << CLIENT_PID_BITS) - 1), 2) | WORD_PUT(incarnation, 32);
}

static bool
word_is_live(uint64_t word)
{
        return WORD_FIELD(word, 0, 2) == CLIENT_LIVE;
}

static uint32_t
word_pid(uint64_t word)
{
        return (uint32_t)WORD_FIELD(word, 2, CLIENT_PID_BITS);
}

static uint32_t
word_incarnation(uint64_t word)
{
        return (uint32_t)(word >> 32);
}

/* REGISTER.1 */
static bool
client_join_ns(struct client_slot *slot, uint64_t pid_ns)
{
        uint64_t found = 0;

        return cas_relaxed(&slot->pid_ns, &found, pid_ns) || found == pid_ns;
}

/* The calling process before its last exec: nobody but the process itself can tell. */
static bool
client_is_own_past(const struct client_slot *slot, uint64_t word, const struct liveness_self *self)
{
        if (word_pid(word) != self->pid)
                return false;
        /* E8.acq: the image belongs to the incarnation that `filled` names. */
        return load_acquire(&slot->filled) == word_incarnation(word) && load_relaxed(&slot->image) != process_image();
}

/* Whether a thread slot of the client still has to be settled.  A reserve slot between two uses owns nothing. */
static bool
client_is_named(const struct region *r, uint32_t idx, uint32_t incarnation)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t t = 0; t < hwm; t++) {
                uint32_t binding = load_relaxed(&r->bindings[t]); /* a hint: an empty slot names nobody */
                const struct thread_slot *slot = binding != 0 ? region_thread(r, t) : NULL;

                if (slot == NULL || load_relaxed(&slot->client_idx) != idx ||
                    load_relaxed(&slot->client_incarnation) != incarnation)
                        continue;
                if ((binding & BINDING_RESERVE) == 0 || load_relaxed(&slot->state) != 0)
                        return true;
        }
        return false;
}

/* Whether a process lives costs a system call: only where `ask` is given. */
static bool
client_can_be_claimed(const struct region *r, uint32_t idx, uint64_t word, const struct liveness_self *self, bool ask)
{
        if (!word_is_live(word))
                return true;
        if (!client_is_own_past(&r->clients[idx], word, self) && !(ask && liveness->process_is_gone(word_pid(word))))
                return false;
        return !client_is_named(r, idx, word_incarnation(word));
}

/* REGISTER.3 */
static void
client_fill(struct client_slot *slot, const struct liveness_self *self, uint32_t incarnation)
{
        char name[PROCESS_NAME_MAX + 1];

        process_name(name);
        store_relaxed(&slot->pid, self->pid);
        store_relaxed(&slot->uid, (uint32_t)geteuid());
        store_relaxed(&slot->start_ticks, process_start_ticks(self->pid));
        store_relaxed(&slot->reserve_thread, UINT32_C(0));
        store_relaxed(&slot->image, process_image());
        for (unsigned i = 0; i < sizeof name; i++)
                store_relaxed(&slot->name[i], name[i]);
        /* E8.rel: whoever finds the incarnation in `filled` sees the fields of this claim. */
        store_release(&slot->filled, incarnation);
}

/* REGISTER.1 to .3 on one slot; false when it is somebody's. */
static bool
client_try_claim(struct region *r, uint32_t idx, const struct liveness_self *self, bool ask,
                 struct client_id *ret_client)
{
        struct client_slot *slot = region_client(r, idx);
        uint64_t word;

        if (slot == NULL || !client_join_ns(slot, self->pid_ns))
                return false;
        word = load_relaxed(&slot->word); /* confirmed by the CAS */
        if (!client_can_be_claimed(r, idx, word, self, ask))
                return false;
        *ret_client = (struct client_id){.idx = idx, .incarnation = word_incarnation(word) + 1};
        /* One try: who fails has been overtaken by another claimer and finds the next slot. */
        if (!cas_acq_rel(&slot->word, &word, client_word(CLIENT_LIVE, self->pid, ret_client->incarnation)))
                return false;
        client_fill(slot, self, ret_client->incarnation);
        return true;
}

/* One of the first `n_slots`: `n` of them are tried. */
static bool
client_claim_any(struct region *r, uint32_t n_slots, uint32_t n, const struct liveness_self *self, bool ask,
                 struct client_id *ret_client)
{
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
                if (client_try_claim(r, idx, self, false, ret_client))
                        return 0;
        }
        return error_set(-EUSERS,
                         "cannot register process %u: all %u clients of this heap are taken by live processes; close "
                         "it in one of them, or create the heap with more max_clients",
                         self->pid, n);
}

/*
 * Empty slots first.  Then some of the others are asked about, from a start that differs from process to process: with
 * every newcomer doing so the dead stay few, and nobody pays for a thousand living.  Then a new slot; and only when there is
 * none, everybody is asked about.
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
        *ret_client = client;
        return 0;
}

void
client_unregister(struct region *r, const struct client_id *client)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        /* One try: nobody else changes the word of a live client. */
        if (word_is_live(word) && word_incarnation(word) == client->incarnation)
                cas_acq_rel(&slot->word, &word, client_word(CLIENT_EMPTY, 0, client->incarnation)); /* UNREGISTER.1 */
}

/* One try: who changes the word meanwhile claims the slot, or unregisters after all. */
bool
client_bury(struct region *r, const struct client_id *client, uint32_t pid, bool is_known)
{
        struct client_slot *slot = region_client(r, client->idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        if (!word_is_live(word) || word_incarnation(word) != client->incarnation || word_pid(word) != pid ||
            load_relaxed(&slot->pid_ns) != liveness->pid_ns())
                return false;
        if ((!is_known && !liveness->process_is_gone(pid)) || client_is_named(r, client->idx, client->incarnation))
                return false;
        return cas_acq_rel(&slot->word, &word, client_word(CLIENT_EMPTY, 0, client->incarnation)); /* UNREGISTER.1 */
}

bool
client_who(const struct region *r, uint32_t idx, struct client_id *ret_client, uint32_t *ret_pid)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0;

        if (!word_is_live(word) || load_relaxed(&slot->pid_ns) != liveness->pid_ns())
                return false;
        *ret_client = (struct client_id){.idx = idx, .incarnation = word_incarnation(word)};
        *ret_pid = word_pid(word);
        return true;
}

void
client_bury_all(struct region *r)
{
        uint32_t hwm = region_clients_hwm(r);
        struct client_id client;
        uint32_t pid;

        for (uint32_t idx = 0; idx < hwm; idx++)
                if (client_who(r, idx, &client, &pid))
                        client_bury(r, &client, pid, false);
}

bool
client_is_live(const struct region *r, uint32_t idx, uint32_t incarnation)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot != NULL ? load_relaxed(&slot->word) : 0; /* a later incarnation says so itself */

        if (!word_is_live(word) || word_incarnation(word) != incarnation)
                return false;
        return load_relaxed(&slot->pid_ns) != liveness->pid_ns() || !liveness->process_is_gone(word_pid(word));
}

uint32_t
client_threads_remaining(const struct region *r, const struct client_id *client)
{
        uint32_t hwm = region_threads_hwm(r);
        uint32_t n = 0;

        for (uint32_t t = 0; t < hwm; t++) {
                const struct thread_slot *slot = region_thread(r, t);

                if (slot != NULL && load_relaxed(&slot->client_idx) == client->idx &&
                    load_relaxed(&slot->client_incarnation) == client->incarnation)
                        n += liveness->lock_view(&slot->life, false) == LOCK_HELD;
        }
        return n;
}
