/*
 * clients.c - who has a heap open, and `shmallocctl clients`.
 *
 * The table is read as it stands; each process is then looked for in /proc.  A process with the number of a client that
 * did not start when the client says it did is another one: the client is dead.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/text.h"
#include "ctl/ctl.h"
#include "layout/words.h"
#include "os/process.h"
#include "region/owner.h"
#include "region/slot.h"

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

static enum client_view_state
client_state(const struct client_slot *slot, uint32_t pid)
{
        uint64_t start = load_relaxed(&slot->start_ticks);
        char state;

        if ((uint32_t)load_relaxed(&slot->pid_ns) != process_pid_ns())
                return CLIENT_VIEW_ELSEWHERE;
        state = process_is_gone(pid) ? 0 : process_state(pid);
        if (state == 0 || (start != 0 && process_start_ticks(pid) != start))
                return CLIENT_VIEW_DEAD;
        if (state == 'T' || state == 't')
                return CLIENT_VIEW_STOPPED;
        return state == 'Z' || state == 'X' ? CLIENT_VIEW_ZOMBIE : CLIENT_VIEW_ALIVE;
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

/* ------------------------------------------------------------------ their threads */

/* What the magazines in the places of a slot hold. */
static void
add_cached(const struct region *r, uint32_t thread_no, const struct thread_slot *slot, struct client_view *c)
{
        for (uint32_t place = 0; place < 2 * r->layout.n_tags; place++) {
                uint32_t idx1 = load_relaxed(&slot->magazines[place]);
                const struct magazine *m = idx1 != 0 ? region_magazine(r, idx1 - 1) : NULL;
                uint64_t word = m ? owner_load(&r->magazine_words[idx1 - 1]) : 0, n;
                uint32_t class_idx = magazine_tag(word) != TAG_NONE ? tag_class(magazine_tag(word)) : SIZE_CLASS_N;

                if (magazine_owner(word) != thread_no || class_idx >= SIZE_CLASS_N)
                        continue;
                n = load_relaxed(&m->n);
                n = n <= MAGAZINE_CAP_MAX ? n : MAGAZINE_CAP_MAX;
                c->cached_blocks += n;
                c->cached_bytes += n * size_class_bytes(class_idx);
        }
}

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
        const struct thread_slot *slot = region_thread(r, idx);

        c->n_threads++;
        c->n_dead_threads += slot_thread_is_dead_hint(r, idx);
        add_arena(r, idx, c);
        add_cached(r, idx + 1, slot, c);
}

/* ------------------------------------------------------------------ all of them */

static bool
read_client(const struct region *r, uint32_t idx, struct client_view *c)
{
        const struct client_slot *slot = region_client(r, idx);
        uint64_t word = slot ? load_relaxed(&slot->word) : 0;

        if (WORD_FIELD(word, 0, 2) != CLIENT_LIVE)
                return false;
        *c = (struct client_view){
                .idx = idx,
                .incarnation = (uint32_t)(word >> 32),
                .pid = (uint32_t)load_relaxed(&slot->process),
                .uid = load_relaxed(&slot->uid),
                .arena = -1,
        };
        for (size_t i = 0; i + 1 < sizeof c->name && slot->name[i] != '\0'; i++)
                c->name[i] = slot->name[i] >= ' ' && slot->name[i] <= '~' ? slot->name[i] : '?';
        c->state = client_state(slot, c->pid);
        return true;
}

/* One pass over all threads, whoever they belong to: by_idx says where each client stands, 0 = nowhere. */
static void
read_threads(const struct region *r, const uint32_t *by_idx, uint32_t n_idx, struct client_views *clients)
{
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t i = 0; i < hwm; i++) {
                const struct thread_slot *slot = region_thread(r, i);
                uint32_t client_idx = slot ? load_relaxed(&slot->client_idx) : UINT32_MAX;
                struct client_view *c;

                if (client_idx >= n_idx || by_idx[client_idx] == 0 || load_relaxed(&slot->state) != 1)
                        continue;
                c = &clients->all[by_idx[client_idx] - 1];
                if (load_relaxed(&slot->client_incarnation) == c->incarnation)
                        add_thread(r, i, c);
        }
}

void
clients_read(const struct region *r, struct client_views *ret)
{
        uint32_t hwm = region_clients_hwm(r);
        uint32_t *by_idx = calloc(hwm + 1, sizeof *by_idx);

        *ret = (struct client_views){.all = calloc(hwm + 1, sizeof *ret->all)};
        if (!by_idx || !ret->all) {
                fprintf(stderr, "shmallocctl: no memory for %u clients\n", hwm);
                exit(CTL_FAULTS);
        }
        for (uint32_t idx = 0; idx < hwm; idx++)
                if (read_client(r, idx, &ret->all[ret->n])) {
                        ret->n_dead += ret->all[ret->n].state == CLIENT_VIEW_DEAD;
                        by_idx[idx] = ++ret->n;
                }
        read_threads(r, by_idx, hwm, ret);
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
        return json_pack("{si si si ss si si sI si sI sI ss}", "client", c->idx, "pid", c->pid, "uid", c->uid, "name",
                         c->name, "threads", c->n_threads, "dead_threads", c->n_dead_threads, "arena",
                         (json_int_t)c->arena, "arenas", c->n_arenas, "cached_bytes", (json_int_t)c->cached_bytes,
                         "cached_blocks", (json_int_t)c->cached_blocks, "state", client_state_name(c->state));
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
print_text(const struct client_views *clients)
{
        char bytes[TEXT_BYTES_MAX], arena[24];

        printf("%8s %-16s %6s %8s %8s %12s  %s\n", "PID", "NAME", "UID", "THREADS", "ARENA", "CACHED", "STATE");
        for (uint32_t i = 0; i < clients->n; i++) {
                const struct client_view *c = &clients->all[i];

                if (c->arena < 0)
                        snprintf(arena, sizeof arena, "-");
                else if (c->n_arenas > 1)
                        snprintf(arena, sizeof arena, "%d and %u", (int)c->arena, c->n_arenas - 1);
                else
                        snprintf(arena, sizeof arena, "%d", (int)c->arena);
                printf("%8u %-16s %6u %8u %8s %12s  %s%s\n", c->pid, c->name, c->uid, c->n_threads, arena,
                       text_bytes(bytes, c->cached_bytes), client_state_name(c->state),
                       c->state == CLIENT_VIEW_DEAD ? ", not reaped yet" : "");
        }
}

int
verb_clients(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_NAME | CTL_WANTS_JSON};
        struct client_views clients;
        struct view v;
        int status;

        ctl_parse(
                argc, argv, &args,
                "Who has a heap open: process, command, user, threads, the arena they are bound to, what they cache.\v"
                "A client is alive, stopped, a zombie, dead (and not reaped yet), or elsewhere: in another pid "
                "namespace, where nothing can be known of it.");
        status = ctl_view(&v, args.name);
        if (status != CTL_GOOD)
                return status;
        clients_read(&v.region, &clients);
        if (args.is_json)
                status = print_json(&v, &clients);
        else
                print_text(&clients);
        clients_free(&clients);
        return ctl_view_done(&v, status);
}
