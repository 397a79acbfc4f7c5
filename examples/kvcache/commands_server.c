/*
 * commands_server.c - commands about the connection and the server.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "glob.h"
#include "reply.h"
#include "settings.h"
#include "store.h"

/* ------------------------------------------------------------------ connection */

static enum command_result
run_ping(struct request *rq)
{
        if (rq->n > 2)
                reply_error(rq->out, "ERR wrong number of arguments for 'ping' command");
        else if (rq->n == 2)
                reply_bulk(rq->out, arg_of(rq, 1), rq->arg[1].bytes);
        else
                reply_status(rq->out, "PONG");
        return COMMAND_DONE;
}

static enum command_result
run_echo(struct request *rq)
{
        reply_bulk(rq->out, arg_of(rq, 1), rq->arg[1].bytes);
        return COMMAND_DONE;
}

static enum command_result
run_quit(struct request *rq)
{
        reply_status(rq->out, "OK");
        return COMMAND_CLOSE;
}

static enum command_result
run_select(struct request *rq)
{
        int64_t no;

        if (!arg_number(rq, 1, &no))
                return COMMAND_DONE;
        if (no == 0)
                reply_status(rq->out, "OK");
        else
                reply_error(rq->out, "ERR DB index is out of range");
        return COMMAND_DONE;
}

/* ------------------------------------------------------------------ COMMAND */

static void
count_command(const struct command *command, void *arg)
{
        (void)command;
        (*(size_t *)arg)++;
}

static void
reply_command(const struct command *command, void *arg)
{
        struct buffer *out = arg;
        const char *at = command->flags;
        size_t n = 1;

        for (const char *p = at; *p; p++)
                n += *p == ' ';
        reply_array(out, 6);
        reply_text(out, command->name);
        reply_integer(out, command->arity);
        reply_array(out, n);
        for (; n > 0; n--) {
                size_t bytes = strcspn(at, " ");

                reply_bulk(out, at, bytes);
                at += bytes + (at[bytes] == ' ');
        }
        reply_integer(out, command->first_key);
        reply_integer(out, command->last_key);
        reply_integer(out, command->key_step);
}

static enum command_result
run_command(struct request *rq)
{
        size_t n = 0;

        command_each(count_command, &n);
        if (rq->n == 1) {
                reply_array(rq->out, n);
                command_each(reply_command, rq->out);
        } else if (arg_is(rq, 1, "count") && rq->n == 2) {
                reply_integer(rq->out, (int64_t)n);
        } else if (arg_is(rq, 1, "docs")) {
                reply_array(rq->out, 0); /* redis-cli has its own */
        } else if (arg_is(rq, 1, "info")) {
                reply_array(rq->out, rq->n - 2);
                for (uint32_t i = 2; i < rq->n; i++) {
                        const struct command *command = command_find(arg_of(rq, i), rq->arg[i].bytes);

                        if (command)
                                reply_command(command, rq->out);
                        else
                                buffer_put(rq->out, "*-1\r\n", 5);
                }
        } else {
                reply_error(rq->out, "ERR unknown subcommand '%.*s'. Try COMMAND [COUNT | INFO name ...]",
                            rq->arg[1].bytes < 64 ? (int)rq->arg[1].bytes : 64, arg_of(rq, 1));
        }
        return COMMAND_DONE;
}

/* ------------------------------------------------------------------ CONFIG GET */

struct setting {
        const char *name;
        char value[64];
};

static enum command_result
run_config(struct request *rq)
{
        struct setting list[] = {{"maxmemory", ""},
                                 {"maxmemory-policy", "allkeys-lru"},
                                 {"maxclients", ""},
                                 {"port", ""},
                                 {"bind", ""},
                                 {"databases", "1"},
                                 {"save", ""},
                                 {"appendonly", "no"},
                                 {"proto-max-bulk-len", ""},
                                 {"timeout", "0"}};
        bool is_wanted[sizeof list / sizeof list[0]] = {false};
        size_t n = 0;

        if (!arg_is(rq, 1, "get") || rq->n < 3) {
                reply_error(rq->out, arg_is(rq, 1, "get")
                                             ? "ERR wrong number of arguments for 'config|get' command"
                                             : "ERR unknown subcommand of 'config': only CONFIG GET is there; settings "
                                               "are options of the server, see kvcache --help");
                return COMMAND_DONE;
        }
        snprintf(list[0].value, sizeof list[0].value, "%" PRIu64, rq->c->root->max_bytes);
        snprintf(list[2].value, sizeof list[2].value, "%u", settings.max_clients);
        snprintf(list[3].value, sizeof list[3].value, "%u", settings.port);
        snprintf(list[4].value, sizeof list[4].value, "%s", settings.address);
        snprintf(list[8].value, sizeof list[8].value, "%zu", RESP_BULK_MAX);
        for (size_t k = 0; k < sizeof list / sizeof list[0]; k++) {
                for (uint32_t i = 2; i < rq->n; i++)
                        is_wanted[k] |= glob_match(arg_of(rq, i), rq->arg[i].bytes, list[k].name, strlen(list[k].name));
                n += is_wanted[k];
        }
        reply_array(rq->out, 2 * n);
        for (size_t k = 0; k < sizeof list / sizeof list[0]; k++)
                if (is_wanted[k]) {
                        reply_text(rq->out, list[k].name);
                        reply_text(rq->out, list[k].value);
                }
        return COMMAND_DONE;
}

/* ------------------------------------------------------------------ INFO */

struct text {
        char p[4096];
        size_t n;
};

__attribute__((format(printf, 2, 3))) static void
add(struct text *text, const char *fmt, ...)
{
        va_list list;
        int n;

        va_start(list, fmt);
        n = vsnprintf(text->p + text->n, sizeof text->p - text->n, fmt, list);
        va_end(list);
        text->n += n < (int)(sizeof text->p - text->n) ? (size_t)n : sizeof text->p - text->n - 1;
}

static uint64_t
sum(const struct cache *c, size_t offset)
{
        uint64_t n = 0;

        for (uint32_t i = 0; i < WORKERS_MAX; i++)
                n += get((const shared_word *)(const void *)((const char *)&c->root->place[i] + offset));
        return n;
}

static void
info_server(const struct cache *c, struct text *t)
{
        add(t,
            "# Server\r\nserver_name:kvcache\r\nredis_mode:standalone\r\nprocess_id:%d\r\ntcp_port:%u\r\n"
            "uptime_in_seconds:%" PRIu64 "\r\nworkers:%" PRIu64 "\r\nworker_number:%u\r\nworker_restarts:%" PRIu64
            "\r\nheap:%s\r\n\r\n",
            (int)getpid(), settings.port, (c->now_ms - c->root->started_ms) / 1000, get(&c->root->n_workers), c->me_no,
            get(&c->root->n_restarts), settings.heap_name);
}

static void
info_clients(const struct cache *c, struct text *t)
{
        add(t, "# Clients\r\nconnected_clients:%" PRIu64 "\r\nmaxclients:%u\r\n\r\n",
            sum(c, offsetof(struct place, n_clients)), settings.max_clients);
}

static void
info_memory(const struct cache *c, struct text *t)
{
        uint64_t mapped = 0;
        size_t bytes = sizeof mapped;

        (void)shheap_ctl(c->heap, "stats.mapped", &mapped, &bytes, NULL, 0);
        add(t,
            "# Memory\r\nused_memory:%" PRIu64 "\r\nused_memory_rss:%" PRIu64 "\r\nmaxmemory:%" PRIu64
            "\r\nmaxmemory_policy:allkeys-lru\r\ntable_bytes:%" PRIu64 "\r\nclient_buffers:%zu\r\n\r\n",
            table_n_bytes(c), mapped, c->root->max_bytes, c->root->n_buckets * sizeof(struct bucket), buffer_total);
}

static void
info_stats(const struct cache *c, struct text *t)
{
        add(t,
            "# Stats\r\ntotal_connections_received:%" PRIu64 "\r\ntotal_commands_processed:%" PRIu64
            "\r\nkeyspace_hits:%" PRIu64 "\r\nkeyspace_misses:%" PRIu64 "\r\nexpired_keys:%" PRIu64
            "\r\nevicted_keys:%" PRIu64 "\r\nupdates_finished_for_others:%" PRIu64 "\r\n\r\n",
            sum(c, offsetof(struct place, n_accepted)), sum(c, offsetof(struct place, n_commands)),
            sum(c, offsetof(struct place, n_hits)), sum(c, offsetof(struct place, n_misses)),
            sum(c, offsetof(struct place, n_expired)), sum(c, offsetof(struct place, n_evicted)),
            sum(c, offsetof(struct place, n_helped)));
}

static void
info_keyspace(const struct cache *c, struct text *t)
{
        uint64_t n = table_n_items(c);

        add(t, "# Keyspace\r\n");
        if (n > 0)
                add(t, "db0:keys=%" PRIu64 "\r\n", n);
}

static enum command_result
run_info(struct request *rq)
{
        static const struct section {
                const char *name;
                void (*fn)(const struct cache *c, struct text *t);
        } sections[] = {{"server", info_server},
                        {"clients", info_clients},
                        {"memory", info_memory},
                        {"stats", info_stats},
                        {"keyspace", info_keyspace}};
        struct text t = {.n = 0};

        for (size_t k = 0; k < sizeof sections / sizeof sections[0]; k++) {
                bool is_wanted = rq->n == 1;

                for (uint32_t i = 1; i < rq->n; i++)
                        is_wanted |= arg_is(rq, i, sections[k].name) || arg_is(rq, i, "all") ||
                                     arg_is(rq, i, "default") || arg_is(rq, i, "everything");
                if (is_wanted)
                        sections[k].fn(rq->c, &t);
        }
        reply_bulk(rq->out, t.p, t.n);
        return COMMAND_DONE;
}

const struct command commands_server[] = {
        {"ping", -1, run_ping, "fast", 0, 0, 0},          {"echo", 2, run_echo, "fast", 0, 0, 0},
        {"quit", -1, run_quit, "fast", 0, 0, 0},          {"select", 2, run_select, "fast", 0, 0, 0},
        {"command", -1, run_command, "loading", 0, 0, 0}, {"config", -2, run_config, "admin", 0, 0, 0},
        {"info", -1, run_info, "loading", 0, 0, 0},       {.name = NULL},
};
