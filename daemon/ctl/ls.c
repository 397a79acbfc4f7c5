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
#include "region/name.h"
#include "region/open.h"

struct row {
        char name[LAYOUT_NAME_MAX + 1];
        char why[128]; /* it cannot be looked at; empty: it can */
        uint64_t capacity_bytes, used_bytes;
        uint32_t uid, mode;
        uint32_t n_clients, n_dead;
        const char *daemon; /* what it says of the heap */
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

static void
read_row(struct row *row, const json_t *daemon)
{
        struct client_views clients;
        struct view v;
        int err = view_open(&v, row->name);

        row->daemon = "-";
        if (err < 0) {
                snprintf(row->why, sizeof row->why, "%s", error_message());
                return;
        }
        row->capacity_bytes = region_capacity_chunks(&v.region) << GEO_CHUNK_SHIFT;
        row->used_bytes = v.file_bytes;
        row->uid = v.header.st.st_uid;
        row->mode = v.header.st.st_mode & 07777;
        clients_read(&v.region, &clients);
        row->n_clients = clients.n - clients.n_dead;
        row->n_dead = clients.n_dead;
        row->daemon = daemon_says(daemon, v.region.dev, v.region.ino);
        clients_free(&clients);
        view_close(&v);
}

static int
add_name(const char *name, void *arg)
{
        struct rows *rows = arg;
        struct row *all = realloc(rows->all, (rows->n + 1) * sizeof *all);

        if (!all)
                return error_set(-ENOMEM, "no memory for the list of heaps");
        rows->all = all;
        memset(&all[rows->n], 0, sizeof *all);
        snprintf(all[rows->n++].name, sizeof all[0].name, "%s", name);
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
                char mode[8];

                if (row->why[0]) {
                        json_array_append_new(list, json_pack("{ss ss}", "name", row->name, "error", row->why));
                        continue;
                }
                snprintf(mode, sizeof mode, "%04o", row->mode);
                json_array_append_new(list,
                                      json_pack("{ss sI sI si ss si si ss}", "name", row->name, "capacity_bytes",
                                                (json_int_t)row->capacity_bytes, "used_bytes",
                                                (json_int_t)row->used_bytes, "uid", row->uid, "mode", mode, "clients",
                                                row->n_clients, "dead_clients", row->n_dead, "daemon", row->daemon));
        }
        return ctl_print_json(json_pack("{ss sb so}", "directory", name_dir(), "daemon", has_daemon, "heaps", list));
}

static void
print_text(const struct rows *rows)
{
        char capacity[TEXT_BYTES_MAX], used[TEXT_BYTES_MAX], clients[32];

        printf("%-24s %10s %10s %6s %5s %-12s %s\n", "NAME", "CAPACITY", "USED", "UID", "MODE", "CLIENTS", "DAEMON");
        for (size_t i = 0; i < rows->n; i++) {
                const struct row *row = &rows->all[i];

                if (row->why[0]) {
                        printf("%-24s %s\n", row->name, row->why);
                        continue;
                }
                snprintf(clients, sizeof clients, row->n_dead ? "%u, %u dead" : "%u", row->n_clients, row->n_dead);
                printf("%-24s %10s %10s %6u %05o %-12s %s\n", row->name, text_bytes(capacity, row->capacity_bytes),
                       text_bytes(used, row->used_bytes), row->uid, row->mode, clients, row->daemon);
        }
}

int
verb_ls(int argc, char **argv)
{
        struct ctl_args args = {.wants = CTL_WANTS_JSON | CTL_WANTS_SOCKET};
        struct rows rows = {.n = 0};
        const char *why = NULL;
        json_t *daemon;
        int err, status = CTL_GOOD;

        ctl_parse(argc, argv, &args,
                  "The heaps on this machine: capacity, memory that they occupy, owner, clients, and whether a daemon "
                  "looks after them.\vHeaps are looked for in /dev/shm, or in the directory that SHMALLOC_DIR names.");
        err = region_list(add_name, &rows);
        if (err < 0)
                return ctl_fail(err);
        daemon = ask_daemon(args.socket, &why);
        if (rows.n > 0)
                qsort(rows.all, rows.n, sizeof *rows.all, by_name);
        for (size_t i = 0; i < rows.n; i++)
                read_row(&rows.all[i], daemon);
        if (args.is_json)
                status = print_json(&rows, daemon != NULL);
        else if (rows.n > 0)
                print_text(&rows);
        else
                fprintf(stderr, "no heaps in %s\n", name_dir());
        json_decref(daemon);
        free(rows.all);
        return status;
}
