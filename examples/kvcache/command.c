/*
 * command.c - see command.h.
 */
#include "command.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "number.h"
#include "reply.h"

enum { INDEX_SIZE = 256, NAME_MAX_BYTES = 32, SHOWN_MAX = 128 };

static const struct command *const tables[] = {commands_values, commands_keys, commands_server};
static const struct command *by_name[INDEX_SIZE];

void
command_each(void (*fn)(const struct command *command, void *arg), void *arg)
{
        for (size_t i = 0; i < sizeof tables / sizeof tables[0]; i++)
                for (const struct command *command = tables[i]; command->name; command++)
                        fn(command, arg);
}

static unsigned
index_of(const char *name, size_t bytes)
{
        return ((unsigned)(name[0] | 0x20) * 31 + (unsigned)(name[bytes - 1] | 0x20) * 7 + (unsigned)bytes) %
               INDEX_SIZE;
}

static void
enter(const struct command *command, void *arg)
{
        unsigned i = index_of(command->name, strlen(command->name));

        (void)arg;
        while (by_name[i])
                i = (i + 1) % INDEX_SIZE;
        by_name[i] = command;
}

const struct command *
command_find(const char *name, size_t bytes)
{
        static bool is_indexed;

        if (!is_indexed) {
                command_each(enter, NULL);
                is_indexed = true;
        }
        if (bytes == 0 || bytes > NAME_MAX_BYTES)
                return NULL;
        for (unsigned i = index_of(name, bytes); by_name[i]; i = (i + 1) % INDEX_SIZE)
                if (strncasecmp(by_name[i]->name, name, bytes) == 0 && by_name[i]->name[bytes] == '\0')
                        return by_name[i];
        return NULL;
}

/* ------------------------------------------------------------------ arguments */

bool
arg_is(const struct request *rq, uint32_t i, const char *word)
{
        return strlen(word) == rq->arg[i].bytes && strncasecmp(arg_of(rq, i), word, rq->arg[i].bytes) == 0;
}

bool
arg_number(const struct request *rq, uint32_t i, int64_t *ret_value)
{
        if (number_parse(arg_of(rq, i), rq->arg[i].bytes, ret_value))
                return true;
        reply_error(rq->out, "ERR value is not an integer or out of range");
        return false;
}

bool
arg_expiry(const struct request *rq, uint32_t i, int64_t unit_ms, bool may_be_past, uint64_t *ret_expires_ms)
{
        int64_t value;

        if (!arg_number(rq, i, &value))
                return false;
        if ((value <= 0 && !may_be_past) || __builtin_mul_overflow(value, unit_ms, &value) ||
            __builtin_add_overflow(value, (int64_t)rq->c->now_ms, &value)) {
                reply_error(rq->out, "ERR invalid expire time in '%s' command", rq->command->name);
                return false;
        }
        *ret_expires_ms = value > 0 ? (uint64_t)value : 1; /* long ago */
        return true;
}

void
reply_no_room(struct buffer *out)
{
        reply_error(out, "OOM command not allowed when used memory > 'maxmemory'.");
}

void
reply_syntax(struct buffer *out)
{
        reply_error(out, "ERR syntax error");
}

/* ------------------------------------------------------------------ running */

static void
reply_unknown(const struct request *rq)
{
        char shown[SHOWN_MAX + 8] = "";
        int n = 0;

        for (uint32_t i = 1; i < rq->n && n < SHOWN_MAX; i++) {
                int bytes = rq->arg[i].bytes < (unsigned)(SHOWN_MAX - n) ? (int)rq->arg[i].bytes : SHOWN_MAX - n;
                int written = snprintf(shown + n, sizeof shown - (size_t)n, "'%.*s' ", bytes, arg_of(rq, i));

                n += written < (int)sizeof shown - n ? written : (int)sizeof shown - 1 - n;
        }
        reply_error(rq->out, "ERR unknown command '%.*s', with args beginning with: %s",
                    rq->arg[0].bytes < SHOWN_MAX ? (int)rq->arg[0].bytes : SHOWN_MAX, arg_of(rq, 0), shown);
}

enum command_result
command_run(struct request *rq)
{
        const struct command *command = command_find(arg_of(rq, 0), rq->arg[0].bytes);
        uint32_t least;

        if (!command) {
                reply_unknown(rq);
                return COMMAND_DONE;
        }
        least = (uint32_t)(command->arity < 0 ? -command->arity : command->arity);
        if (rq->n < least || (command->arity > 0 && rq->n > least)) {
                reply_error(rq->out, "ERR wrong number of arguments for '%s' command", command->name);
                return COMMAND_DONE;
        }
        rq->command = command;
        return command->run(rq);
}
