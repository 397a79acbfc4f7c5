/*
 * ls.c - `shmallocctl ls`: the heaps on this machine.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "common/text.h"
#include "ctl/ctl.h"
#include "layout/words.h"
#include "os/shm.h"
#include "region/name.h"
#include "region/open.h"

struct row {
        char name[LAYOUT_NAME_MAX + 1];
        char why[128]; /* it cannot be looked at; empty: it can */
        uint64_t capacity_bytes, used_bytes;
        uint32_t uid, mode;
        uint32_t n_clients, n_dead;
        const char *daemon; /* what it says of the heap */
        uint32_t pid;       /* of a process that has it mapped, where its file has lost its name; else 0 */
        uint64_t dev, ino;  /* of the same */
};

struct rows {
        struct row *all;
        size_t n;
        const json_t *daemon;
};

/* ------------------------------------------------------------------ gathering */

static const char *
daemon_says(const json_t *daemon, uint64_t dev, uint64_t ino)
{
        const json_t *heap = ask_find(daemon, dev, ino);
        const char *state = heap ? json_string_value(json_object_get(heap, "state")) : NULL;

        return state ? state : "-";
}

/* The view was opened, or the message says why not. */
static void
read_view(struct row *row, struct view *v, int err, const json_t *daemon)
{
        struct client_views clients;

        row->daemon = "-";
        if (err < 0) {
                snprintf(row->why, sizeof row->why, "%s", error_message());
                return;
        }
        row->capacity_bytes = region_capacity_chunks(&v->region) << GEO_CHUNK_SHIFT;
        row->used_bytes = v->file_bytes;
        row->uid = v->header.st.st_uid;
        row->mode = v->header.st.st_mode & 07777;
        clients_read(&v->region, &clients);
        row->n_clients = clients.n - clients.n_dead;
        row->n_dead = clients.n_dead;
        row->daemon = daemon_says(daemon, v->region.dev, v->region.ino);
        clients_free(&clients);
        view_close(v);
}

static void
read_row(struct row *row, const json_t *daemon)
{
        struct view v;

        if (row->pid == 0)
                read_view(row, &v, view_open(&v, row->name), daemon);
}

static struct row *
new_row(struct rows *rows, const char *name)
{
        struct row *all = realloc(rows->all, (rows->n + 1) * sizeof *all);

        if (!all)
                return NULL;
        rows->all = all;
        memset(&all[rows->n], 0, sizeof *all);
        snprintf(all[rows->n].name, sizeof all[0].name, "%s", name);
        return &all[rows->n++];
}

static int
add_name(const char *name, void *arg)
{
        return new_row(arg, name) ? 0 : error_set(-ENOMEM, "no memory for the list of heaps");
}

/* At once, while its process may still have it open. */
static int
add_nameless(const struct nameless *heap, void *arg)
{
        struct rows *rows = arg;
        char what[LAYOUT_NAME_MAX + 32];
        struct row *row;
        struct view v;

        for (size_t i = 0; i < rows->n; i++)
                if (rows->all[i].pid != 0 && rows->all[i].dev == heap->dev && rows->all[i].ino == heap->ino) {
                        os_close(heap->fd);
                        return 0;
                }
        row = new_row(rows, heap->name);
        if (!row) {
                os_close(heap->fd);
                return error_set(-ENOMEM, "no memory for the list of heaps");
        }
        row->pid = heap->pid;
        row->dev = heap->dev;
        row->ino = heap->ino;
        snprintf(what, sizeof what, "heap \"%s\"", heap->name);
        read_view(row, &v,
                  heap->fd < 0 ? error_set(heap->fd, "its file cannot be opened: %s", error_name(heap->fd))
                               : view_open_fd(&v, heap->fd, heap->name, what),
                  rows->daemon);
        return 0;
}

static int
by_name(const void *a, const void *b)
{
        return strcmp(((const struct row *)a)->name, ((const struct row *)b)->name);
}

/* ------------------------------------------------------------------ printing */

static int
print_json(const struct rows *rows, bool has_daemon)
{
        json_t *list = json_array();

        for (size_t i = 0; i < rows->n; i++) {
                const struct row *row = &rows->all[i];
                char mode[TEXT_MODE_MAX];

                if (row->why[0]) {
                        json_array_append_new(list, json_pack("{ss ss sb}", "name", row->name, "error", row->why,
                                                              "nameless", row->pid != 0));
                        continue;
                }
                text_mode(mode, row->mode);
                json_array_append_new(list, json_pack("{ss sI sI si ss si si ss sb}", "name", row->name,
                                                      "capacity_bytes", (json_int_t)row->capacity_bytes, "used_bytes",
                                                      (json_int_t)row->used_bytes, "uid", row->uid, "mode", mode,
                                                      "clients", row->n_clients, "dead_clients", row->n_dead, "daemon",
                                                      row->daemon, "nameless", row->pid != 0));
        }
        return ctl_print_json(json_pack("{ss sb so}", "directory", name_dir(), "daemon", has_daemon, "heaps", list));
}

static void
print_text(const struct rows *rows, const struct ctl_args *args)
{
        char capacity[CTL_SIZE_MAX], used[CTL_SIZE_MAX], clients[32], name[LAYOUT_NAME_MAX + 16], note[64] = "",
                                                                                                  mode[TEXT_MODE_MAX];

        printf("%-24s %10s %10s %6s %5s %-12s %s\n", "NAME", "CAPACITY", "USED", "UID", "MODE", "CLIENTS", "DAEMON");
        for (size_t i = 0; i < rows->n; i++) {
                const struct row *row = &rows->all[i];

                snprintf(name, sizeof name, "%s%s", row->name, row->pid ? " (deleted)" : "");
                snprintf(note, sizeof note, row->pid ? " nameless, open in process %u" : "", row->pid);
                if (row->why[0]) {
                        printf("%-24s %s%s%s\n", name, row->why, row->pid ? ";" : "", note);
                        continue;
                }
                snprintf(clients, sizeof clients, row->n_dead ? "%u, %u dead" : "%u", row->n_clients, row->n_dead);
                text_mode(mode, row->mode);
                printf("%-24s %10s %10s %6u %5s %-12s %s%s\n", name, ctl_bytes(capacity, args, row->capacity_bytes),
                       ctl_bytes(used, args, row->used_bytes), row->uid, mode, clients, row->daemon, note);
        }
}

int
verb_ls(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_JSON | CTL_WANTS_SOCKET | CTL_WANTS_BYTES};
        struct rows rows = {.n = 0};
        const char *why = NULL;
        json_t *daemon;
        int err, status = CTL_GOOD;

        ctl_parse(argc, argv, &args, NULL, NULL,
                  "The heaps on this machine: capacity, memory that they occupy, owner, clients, and whether a daemon "
                  "looks after them.\vHeaps are looked for in /dev/shm, or in the directory that SHMALLOC_DIR names; "
                  "and, "
                  "where their file has lost its name, in processes that this user may look at.");
        err = region_list(add_name, &rows);
        if (err < 0)
                return ctl_fail(err);
        rows.daemon = daemon = ask_daemon(args.socket, &why);
        err = nameless_each(add_nameless, &rows);
        if (err < 0) {
                json_decref(daemon);
                free(rows.all);
                return ctl_fail(err);
        }
        if (rows.n > 0)
                qsort(rows.all, rows.n, sizeof *rows.all, by_name);
        for (size_t i = 0; i < rows.n; i++)
                read_row(&rows.all[i], daemon);
        if (args.is_json)
                status = print_json(&rows, daemon != NULL);
        else if (rows.n > 0)
                print_text(&rows, &args);
        else
                fprintf(stderr, "no heaps in %s\n", name_dir());
        json_decref(daemon);
        free(rows.all);
        return status;
}
