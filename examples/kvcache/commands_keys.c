/*
 * commands_keys.c - commands about keys, whatever their values.
 */
#include <string.h>

#include "command.h"
#include "glob.h"
#include "number.h"
#include "reply.h"

enum { SCAN_COUNT = 10, SCAN_BUCKETS_MIN = 4096 };

static enum command_result
run_del(struct request *rq)
{
        int64_t n = 0;

        for (uint32_t i = 1; i < rq->n; i++) {
                struct key key = key_of(rq, i);

                n += cache_delete(rq->c, &key);
        }
        reply_integer(rq->out, n);
        return COMMAND_DONE;
}

static enum command_result
run_exists(struct request *rq)
{
        int64_t n = 0;

        for (uint32_t i = 1; i < rq->n; i++) {
                struct key key = key_of(rq, i);

                n += cache_get(rq->c, &key) != NULL;
                cache_done(rq->c);
        }
        reply_integer(rq->out, n);
        return COMMAND_DONE;
}

static enum command_result
run_type(struct request *rq)
{
        struct key key = key_of(rq, 1);

        reply_status(rq->out, cache_get(rq->c, &key) ? "string" : "none");
        cache_done(rq->c);
        return COMMAND_DONE;
}

/* ------------------------------------------------------------------ expiry */

static enum command_result
expire(struct request *rq, int64_t unit_ms)
{
        struct key key = key_of(rq, 1);
        uint64_t expires_ms;
        int result;

        if (rq->n > 3) {
                reply_error(rq->out, "ERR Unsupported option %.*s", rq->arg[3].bytes < 64 ? (int)rq->arg[3].bytes : 64,
                            arg_of(rq, 3));
                return COMMAND_DONE;
        }
        if (!arg_expiry(rq, 2, unit_ms, true, &expires_ms))
                return COMMAND_DONE;
        if (expires_ms <= rq->c->now_ms)
                result = cache_delete(rq->c, &key);
        else
                result = cache_expire(rq->c, &key, expires_ms);
        if (result < 0)
                reply_no_room(rq->out);
        else
                reply_integer(rq->out, result);
        return COMMAND_DONE;
}

static enum command_result
run_expire(struct request *rq)
{
        return expire(rq, 1000);
}

static enum command_result
run_pexpire(struct request *rq)
{
        return expire(rq, 1);
}

static enum command_result
run_persist(struct request *rq)
{
        struct key key = key_of(rq, 1);
        int result = cache_expire(rq->c, &key, 0);

        if (result < 0)
                reply_no_room(rq->out);
        else
                reply_integer(rq->out, result);
        return COMMAND_DONE;
}

/* In units of so many ms, rounded; -1: never, -2: not there. */
static enum command_result
ttl(struct request *rq, uint64_t unit_ms)
{
        struct key key = key_of(rq, 1);
        const struct item *item = cache_get(rq->c, &key);
        int64_t left = -2;

        if (item)
                left = item->expires_ms == 0 ? -1
                                             : (int64_t)((item->expires_ms - rq->c->now_ms + unit_ms / 2) / unit_ms);
        cache_done(rq->c);
        reply_integer(rq->out, left);
        return COMMAND_DONE;
}

static enum command_result
run_ttl(struct request *rq)
{
        return ttl(rq, 1000);
}

static enum command_result
run_pttl(struct request *rq)
{
        return ttl(rq, 1);
}

/* ------------------------------------------------------------------ all keys */

struct listing {
        const char *pattern;
        size_t pattern_bytes;
        struct buffer text; /* replies, a bulk string each */
        size_t n;
};

static void
list_item(struct cache *c, struct bucket *bucket, uint64_t word, struct item *item, void *arg)
{
        struct listing *l = arg;

        (void)bucket;
        (void)word;
        if (item_has_expired(c, item) ||
            (l->pattern && !glob_match(l->pattern, l->pattern_bytes, item->bytes, item->key_bytes)))
                return;
        reply_bulk(&l->text, item->bytes, item->key_bytes);
        l->n++;
}

static void
reply_listing(struct request *rq, struct listing *l)
{
        reply_array(rq->out, l->n);
        if (l->n > 0)
                buffer_put(rq->out, l->text.p + l->text.start, buffer_bytes(&l->text));
        rq->out->has_failed |= l->text.has_failed;
        buffer_free(&l->text);
}

static enum command_result
run_keys(struct request *rq)
{
        struct listing l = {.pattern = arg_of(rq, 1), .pattern_bytes = rq->arg[1].bytes};

        for (uint64_t i = 0; i < rq->c->root->n_buckets && !l.text.has_failed; i++)
                table_each(rq->c, &rq->c->root->buckets[i], list_item, &l);
        reply_listing(rq, &l);
        return COMMAND_DONE;
}

static bool
scan_options(struct request *rq, struct listing *l, int64_t *ret_count)
{
        for (uint32_t i = 2; i < rq->n; i += 2) {
                if (i + 1 == rq->n) {
                        reply_syntax(rq->out);
                        return false;
                }
                if (arg_is(rq, i, "match")) {
                        l->pattern = arg_of(rq, i + 1);
                        l->pattern_bytes = rq->arg[i + 1].bytes;
                } else if (arg_is(rq, i, "count")) {
                        if (!arg_number(rq, i + 1, ret_count))
                                return false;
                } else {
                        reply_syntax(rq->out);
                        return false;
                }
                if (*ret_count < 1) {
                        reply_syntax(rq->out);
                        return false;
                }
        }
        return true;
}

/* The cursor is the number of a bucket: keys never move to another one, so none that stays is missed or told twice. */
static enum command_result
run_scan(struct request *rq)
{
        struct listing l = {.pattern = NULL};
        int64_t cursor, count = SCAN_COUNT;
        uint64_t at, limit;
        char text[24];

        if (!number_parse(arg_of(rq, 1), rq->arg[1].bytes, &cursor) || cursor < 0) {
                reply_error(rq->out, "ERR invalid cursor");
                return COMMAND_DONE;
        }
        if (!scan_options(rq, &l, &count))
                return COMMAND_DONE;
        at = (uint64_t)cursor;
        limit = (uint64_t)count > SCAN_BUCKETS_MIN / 10 ? (uint64_t)count * 10 : SCAN_BUCKETS_MIN;
        for (; at < rq->c->root->n_buckets && l.n < (uint64_t)count && limit-- > 0 && !l.text.has_failed; at++)
                table_each(rq->c, &rq->c->root->buckets[at], list_item, &l);
        reply_array(rq->out, 2);
        reply_bulk(rq->out, text, (size_t)number_print(text, at < rq->c->root->n_buckets ? (int64_t)at : 0));
        reply_listing(rq, &l);
        return COMMAND_DONE;
}

static enum command_result
run_dbsize(struct request *rq)
{
        reply_integer(rq->out, (int64_t)table_n_items(rq->c));
        return COMMAND_DONE;
}

static enum command_result
run_flush(struct request *rq)
{
        if (rq->n > 2 || (rq->n == 2 && !arg_is(rq, 1, "async") && !arg_is(rq, 1, "sync"))) {
                reply_syntax(rq->out);
                return COMMAND_DONE;
        }
        cache_flush(rq->c);
        reply_status(rq->out, "OK");
        return COMMAND_DONE;
}

const struct command commands_keys[] = {
        {"del", -2, run_del, "write", 1, -1, 1},
        {"unlink", -2, run_del, "write fast", 1, -1, 1},
        {"exists", -2, run_exists, "readonly fast", 1, -1, 1},
        {"type", 2, run_type, "readonly fast", 1, 1, 1},
        {"expire", -3, run_expire, "write fast", 1, 1, 1},
        {"pexpire", -3, run_pexpire, "write fast", 1, 1, 1},
        {"ttl", 2, run_ttl, "readonly fast", 1, 1, 1},
        {"pttl", 2, run_pttl, "readonly fast", 1, 1, 1},
        {"persist", 2, run_persist, "write fast", 1, 1, 1},
        {"keys", 2, run_keys, "readonly", 0, 0, 0},
        {"scan", -2, run_scan, "readonly", 0, 0, 0},
        {"dbsize", 1, run_dbsize, "readonly fast", 0, 0, 0},
        {"flushall", -1, run_flush, "write", 0, 0, 0},
        {"flushdb", -1, run_flush, "write", 0, 0, 0},
        {.name = NULL},
};
