/*
 * clients.c - who has a heap open, and `shmallocctl clients`.
 *
 * The table is read as it stands.  Of a client of this pid namespace the kernel says whether its process exists, and
 * /proc, if it says anything, in which state.  A process with its number that did not start when the client says it did
 * is another one, unless a lock says that the client lives: time has namespaces, too.  The process of a client of
 * another namespace is looked for by who it is there (common/identity.h); where it is not found its locks say what
 * there is to say.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit/check.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "common/identity.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "layout/words.h"
#include "os/process.h"

/* ------------------------------------------------------------------ one process */

/* The third field of /proc/PID/stat; 0: there is no such process. */
static char
process_state(uint32_t pid)
{
        char path[32], line[256];
        const char *end;
        size_t n = 0;
        FILE *f;

        snprintf(path, sizeof path, "/proc/%u/stat", pid);
        f = fopen(path, "re");
        if (f) {
                n = fread(line, 1, sizeof line - 1, f);
                fclose(f);
        }
        line[n] = '\0';
        end = strrchr(line, ')'); /* the name may contain anything */
        return end && end[1] == ' ' ? end[2] : 0;
}

/* Whether another process has the number by now. */
static bool
started_later(const struct client_view *c)
{
        uint64_t start = process_start_ticks(c->pid_here);

        return start != 0 && c->start_ticks != 0 && start != c->start_ticks && c->n_held == 0;
}

/* Of one that has a number here.  The first thread of a process may have ended before the others: a Z, but no zombie.
 * */
static enum client_view_state
state_here(const struct client_view *c)
{
        char state = process_state(c->pid_here);

        if (started_later(c))
                return CLIENT_VIEW_DEAD;
        if (process_is_gone(c->pid_here))
                return state == 'Z' || state == 'X' ? CLIENT_VIEW_ZOMBIE : CLIENT_VIEW_DEAD;
        return state == 'T' || state == 't' ? CLIENT_VIEW_STOPPED : CLIENT_VIEW_ALIVE;
}

/* Of one that nobody here knows.  One without a thread holds nothing, and may have closed its eyes for ever. */
static enum client_view_state
state_elsewhere(const struct client_view *c)
{
        return c->n_dead_threads > 0 && c->n_held == 0 ? CLIENT_VIEW_DEAD : CLIENT_VIEW_ELSEWHERE;
}

static bool
is_of_here(const struct client_view *c)
{
        return c->pid_ns == process_pid_ns() && c->pid_ns != PROCESS_NS_UNKNOWN;
}

bool
client_is_dead(const struct client_view *client)
{
        return client->state == CLIENT_VIEW_DEAD || client->state == CLIENT_VIEW_ZOMBIE;
}

bool
client_is_living(const struct client_view *client)
{
        return client->state == CLIENT_VIEW_ELSEWHERE ? client->n_held > 0 : !client_is_dead(client);
}

const char *
client_state_name(enum client_view_state state)
{
        static const char *const names[] = {
                [CLIENT_VIEW_ALIVE] = "alive", [CLIENT_VIEW_STOPPED] = "stopped",     [CLIENT_VIEW_ZOMBIE] = "zombie",
                [CLIENT_VIEW_DEAD] = "dead",   [CLIENT_VIEW_ELSEWHERE] = "elsewhere",
        };

        return names[state];
}

const char *
client_state_text(char text[CLIENT_TEXT_MAX], const struct client_view *client)
{
        const char *more = "";
        int n;

        if (client_is_dead(client) && client->n_threads > 0)
                more = ", not reaped yet";
        else if (client->state == CLIENT_VIEW_ELSEWHERE)
                more = client->n_held > 0 ? ", not known to be dead" : ", holds nothing";
        n = snprintf(text, CLIENT_TEXT_MAX, "%s%s", client_state_name(client->state), more);
        if (is_of_here(client))
                return text;
        if (client->pid_ns == 0 || client->pid_ns == PROCESS_NS_UNKNOWN)
                snprintf(text + n, CLIENT_TEXT_MAX - (size_t)n, ", of a pid namespace that it could not tell");
        else
                snprintf(text + n, CLIENT_TEXT_MAX - (size_t)n, ", process %u of pid namespace %u", client->pid,
                         client->pid_ns);
        return text;
}

/* ------------------------------------------------------------------ their threads */

static void
add_arena(const struct region *r, uint32_t thread_idx, struct client_view *c)
{
        int64_t arena = (int64_t)(load_relaxed(&r->bindings[thread_idx]) & ~(BINDING_USED | BINDING_RESERVE)) - 1;

        if (arena < 0 || arena >= r->layout.n_arenas || arena == c->arena)
                return;
        c->n_arenas++;
        if (c->arena < 0)
                c->arena = arena;
}

static void
add_thread(const struct region *r, uint32_t idx, struct client_view *c)
{
        c->n_threads++;
        c->n_dead_threads += slot_thread_is_dead_hint(r, idx);
        c->n_held += !slot_has_let_go(r, idx);
        add_arena(r, idx, c);
        check_add_cached(r, idx + 1, &c->cached_blocks, &c->cached_bytes);
}

/* ------------------------------------------------------------------ all of them */

static bool
read_client(const struct region *r, uint32_t idx, struct client_view *c)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot ? load_relaxed(&slot->word) : 0;
        struct client_id client;

        if (WORD_FIELD(word, 0, 2) != CLIENT_LIVE)
                return false;
        *c = (struct client_view){
                .idx = idx,
                .incarnation = (uint32_t)(word >> 32),
                .uid = load_relaxed(&slot->uid),
                .arena = -1,
        };
        if (!client_who_anywhere(r, idx, &client, &c->pid,
                                 &c->pid_ns)) /* it has not got that far, or is nobody any more */
                c->pid = c->pid_ns = 0;
        c->start_ticks = load_relaxed(&slot->start_ticks);
        if (is_of_here(c))
                c->pid_here = c->pid;
        for (size_t i = 0; i + 1 < sizeof c->name && slot->name[i] != '\0'; i++)
                c->name[i] = slot->name[i] >= ' ' && slot->name[i] <= '~' ? slot->name[i] : '?';
        return true;
}

/* One pass over all threads, whoever they belong to: by_idx says where each client stands, 0 = nowhere. */
static void
read_threads(const struct region *r, const uint32_t *by_idx, uint32_t n_idx, struct client_views *clients)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t i = 0; i < hwm; i++) {
                const struct slot_gate *gate = region_gate(r, i);
                uint32_t client_idx = gate ? load_relaxed(&gate->client_idx) : UINT32_MAX;
                struct client_view *c;

                if (client_idx >= n_idx || by_idx[client_idx] == 0 || load_relaxed(&gate->state) != 1)
                        continue;
                c = &clients->all[by_idx[client_idx] - 1];
                if (load_relaxed(&gate->client_incarnation) == c->incarnation)
                        add_thread(r, i, c);
        }
}

/* Those of other namespaces; without memory for it they stay where they are. */
static void
find_processes(struct client_views *clients)
{
        struct identity_search *wanted = calloc(clients->n + 1, sizeof *wanted);
        uint32_t n = 0;

        for (uint32_t i = 0; wanted && i < clients->n; i++)
                if (clients->all[i].pid_here == 0 && clients->all[i].pid != 0 &&
                    clients->all[i].pid_ns != PROCESS_NS_UNKNOWN)
                        wanted[n++].who = (struct identity){clients->all[i].pid, clients->all[i].pid_ns};
        if (n > 0)
                identity_find(wanted, n);
        for (uint32_t i = 0, k = 0; k < n && i < clients->n; i++) {
                struct client_view *c = &clients->all[i];

                if (c->pid_here != 0 || c->pid != wanted[k].who.pid || c->pid_ns != wanted[k].who.pid_ns)
                        continue;
                c->pid_here = wanted[k].pid;
                if (wanted[k].pidfd >= 0)
                        close(wanted[k].pidfd);
                k++;
        }
        free(wanted);
}

void
clients_read(const struct region *r, struct client_views *ret)
{
        uint32_t hwm = region_clients_hwm(r);
        uint32_t *by_idx = calloc(hwm + 1, sizeof *by_idx);

        *ret = (struct client_views){.all = calloc(hwm + 1, sizeof *ret->all)};
        if (!by_idx || !ret->all) {
                fprintf(stderr, "shmallocctl: no memory for %u client%s\n", hwm, text_s(hwm));
                exit(CTL_FAULTS);
        }
        for (uint32_t idx = 0; idx < hwm; idx++)
                if (read_client(r, idx, &ret->all[ret->n]))
                        by_idx[idx] = ++ret->n;
        read_threads(r, by_idx, hwm, ret);
        find_processes(ret);
        for (uint32_t i = 0; i < ret->n; i++) {
                struct client_view *c = &ret->all[i];

                c->state = c->pid_here != 0 ? state_here(c) : state_elsewhere(c);
                ret->n_dead += client_is_dead(c);
        }
        free(by_idx);
}

void
clients_free(struct client_views *clients)
{
        free(clients->all);
        *clients = (struct client_views){.n = 0};
}

/* ------------------------------------------------------------------ the verb */

static json_t *
client_json(const struct client_view *c)
{
        return json_pack("{si si sI si si ss si si sI si sI sI ss}", "client", c->idx, "pid", c->pid, "pid_ns",
                         (json_int_t)c->pid_ns, "pid_here", c->pid_here, "uid", c->uid, "name", c->name, "threads",
                         c->n_threads, "dead_threads", c->n_dead_threads, "arena", (json_int_t)c->arena, "arenas",
                         c->n_arenas, "cached_bytes", (json_int_t)c->cached_bytes, "cached_blocks",
                         (json_int_t)c->cached_blocks, "state", client_state_name(c->state));
}

static int
print_json(const struct view *v, const struct client_views *clients)
{
        json_t *list = json_array();

        for (uint32_t i = 0; i < clients->n; i++)
                json_array_append_new(list, client_json(&clients->all[i]));
        return ctl_print_json(json_pack("{ss so}", "name", v->name, "clients", list));
}

static void
print_text(const struct client_views *clients, const struct ctl_args *args)
{
        char bytes[CTL_SIZE_MAX], state[CLIENT_TEXT_MAX], arena[24];

        printf("%8s %-15s %6s %7s %7s %9s  %s\n", "PID", "NAME", "UID", "THREADS", "ARENA", "CACHED", "STATE");
        for (uint32_t i = 0; i < clients->n; i++) {
                const struct client_view *c = &clients->all[i];

                if (c->arena < 0)
                        snprintf(arena, sizeof arena, "-");
                else if (c->n_arenas > 1)
                        snprintf(arena, sizeof arena, "%d and %u", (int)c->arena, c->n_arenas - 1);
                else
                        snprintf(arena, sizeof arena, "%d", (int)c->arena);
                printf("%8u %-15s %6u %7u %7s %9s  %s\n", c->pid_here ? c->pid_here : c->pid, c->name, c->uid,
                       c->n_threads, arena, ctl_bytes(bytes, args, c->cached_bytes), client_state_text(state, c));
        }
}

int
verb_clients(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_NAME | CTL_WANTS_JSON | CTL_WANTS_BYTES};
        struct client_views clients;
        struct view v;
        int status;

        ctl_parse(
                argc, argv, &args, NULL, NULL,
                "Who has a heap open: process, command, user, threads, the arena they are bound to, what they cache.\v"
                "A client is alive, stopped, a zombie, dead (and perhaps not reaped yet), or elsewhere: in another pid "
                "namespace, and not to be found from here.  Then only its locks tell whether it may live.");
        status = ctl_view(&v, args.name);
        if (status != CTL_GOOD)
                return status;
        clients_read(&v.region, &clients);
        if (args.is_json)
                status = print_json(&v, &clients);
        else
                print_text(&clients, &args);
        clients_free(&clients);
        return ctl_view_done(&v, status);
}
