/*
 * commands_values.c - commands that read and write values.
 */
#include <errno.h>

#include "command.h"
#include "reply.h"

static void
count(shared_word *at)
{
        put(at, get(at) + 1);
}

static void
reply_value(struct request *rq, uint32_t i)
{
        struct key key = key_of(rq, i);
        const struct item *item = cache_get(rq->c, &key);

        count(item ? &rq->c->me->n_hits : &rq->c->me->n_misses);
        if (item)
                reply_bulk(rq->out, item_value(item), item->value_bytes);
        else
                reply_null(rq->out);
        cache_done(rq->c);
}

static enum command_result
run_get(struct request *rq)
{
        reply_value(rq, 1);
        return COMMAND_DONE;
}

static enum command_result
run_mget(struct request *rq)
{
        if (*rq->resume == 0) {
                reply_array(rq->out, rq->n - 1);
                *rq->resume = 1;
        }
        for (; *rq->resume < rq->n; (*rq->resume)++) {
                if (buffer_bytes(rq->out) > COMMAND_OUT_MAX)
                        return COMMAND_AGAIN;
                reply_value(rq, *rq->resume);
        }
        return COMMAND_DONE;
}

/* The words behind SET key value.  False: the error is replied. */
static bool
set_options(struct request *rq, unsigned *ret_flags, uint64_t *ret_expires_ms)
{
        unsigned flags = 0;
        uint64_t expires_ms = 0;

        for (uint32_t i = 3; i < rq->n; i++) {
                bool is_ex = arg_is(rq, i, "ex"), has_next = i + 1 < rq->n;

                if (arg_is(rq, i, "nx") && !(flags & CACHE_OLD)) {
                        flags |= CACHE_NEW;
                } else if (arg_is(rq, i, "xx") && !(flags & CACHE_NEW)) {
                        flags |= CACHE_OLD;
                } else if (arg_is(rq, i, "keepttl") && expires_ms == 0) {
                        flags |= CACHE_KEEP_EXPIRY;
                } else if ((is_ex || arg_is(rq, i, "px")) && has_next && expires_ms == 0 &&
                           !(flags & CACHE_KEEP_EXPIRY)) {
                        if (!arg_expiry(rq, ++i, is_ex ? 1000 : 1, false, &expires_ms))
                                return false;
                } else {
                        reply_syntax(rq->out);
                        return false;
                }
        }
        *ret_flags = flags;
        *ret_expires_ms = expires_ms;
        return true;
}

static enum command_result
run_set(struct request *rq)
{
        struct key key = key_of(rq, 1);
        uint64_t expires_ms;
        unsigned flags;
        int result;

        if (!set_options(rq, &flags, &expires_ms))
                return COMMAND_DONE;
        result = cache_set(rq->c, &key, arg_of(rq, 2), rq->arg[2].bytes, flags, expires_ms);
        if (result < 0)
                reply_no_room(rq->out);
        else if (result == 0)
                reply_null(rq->out);
        else
                reply_status(rq->out, "OK");
        return COMMAND_DONE;
}

static enum command_result
run_mset(struct request *rq)
{
        if (rq->n % 2 == 0) {
                reply_error(rq->out, "ERR wrong number of arguments for 'mset' command");
                return COMMAND_DONE;
        }
        for (uint32_t i = 1; i < rq->n; i += 2) {
                struct key key = key_of(rq, i);

                if (cache_set(rq->c, &key, arg_of(rq, i + 1), rq->arg[i + 1].bytes, 0, 0) < 0) {
                        reply_no_room(rq->out);
                        return COMMAND_DONE;
                }
        }
        reply_status(rq->out, "OK");
        return COMMAND_DONE;
}

static enum command_result
add(struct request *rq, int64_t delta)
{
        struct key key = key_of(rq, 1);
        int64_t value;

        switch (cache_add(rq->c, &key, delta, &value)) {
        case 0:
                reply_integer(rq->out, value);
                break;
        case -EINVAL:
                reply_error(rq->out, "ERR value is not an integer or out of range");
                break;
        case -ERANGE:
                reply_error(rq->out, "ERR increment or decrement would overflow");
                break;
        default:
                reply_no_room(rq->out);
        }
        return COMMAND_DONE;
}

static enum command_result
run_incr(struct request *rq)
{
        return add(rq, 1);
}

static enum command_result
run_decr(struct request *rq)
{
        return add(rq, -1);
}

static enum command_result
run_incrby(struct request *rq)
{
        int64_t delta;

        return arg_number(rq, 2, &delta) ? add(rq, delta) : COMMAND_DONE;
}

static enum command_result
run_decrby(struct request *rq)
{
        int64_t delta;

        if (!arg_number(rq, 2, &delta))
                return COMMAND_DONE;
        if (delta == INT64_MIN) {
                reply_error(rq->out, "ERR decrement would overflow");
                return COMMAND_DONE;
        }
        return add(rq, -delta);
}

static enum command_result
run_append(struct request *rq)
{
        struct key key = key_of(rq, 1);
        uint64_t bytes;
        int result = cache_append(rq->c, &key, arg_of(rq, 2), rq->arg[2].bytes, &bytes);

        if (result == 0)
                reply_integer(rq->out, (int64_t)bytes);
        else if (result == -E2BIG)
                reply_error(rq->out, "ERR string exceeds maximum allowed size (64 MiB)");
        else
                reply_no_room(rq->out);
        return COMMAND_DONE;
}

static enum command_result
run_strlen(struct request *rq)
{
        struct key key = key_of(rq, 1);
        const struct item *item = cache_get(rq->c, &key);

        reply_integer(rq->out, item ? item->value_bytes : 0);
        cache_done(rq->c);
        return COMMAND_DONE;
}

const struct command commands_values[] = {
        {"get", 2, run_get, "readonly fast", 1, 1, 1},
        {"set", -3, run_set, "write denyoom", 1, 1, 1},
        {"mget", -2, run_mget, "readonly fast", 1, -1, 1},
        {"mset", -3, run_mset, "write denyoom", 1, -1, 2},
        {"incr", 2, run_incr, "write denyoom fast", 1, 1, 1},
        {"decr", 2, run_decr, "write denyoom fast", 1, 1, 1},
        {"incrby", 3, run_incrby, "write denyoom fast", 1, 1, 1},
        {"decrby", 3, run_decrby, "write denyoom fast", 1, 1, 1},
        {"append", 3, run_append, "write denyoom fast", 1, 1, 1},
        {"strlen", 2, run_strlen, "readonly fast", 1, 1, 1},
        {.name = NULL},
};
