/*
 * command.h - the commands: their names and numbers of arguments, and carrying them out.
 */
#ifndef KVCACHE_COMMAND_H
#define KVCACHE_COMMAND_H

#include "buffer.h"
#include "cache.h"
#include "resp.h"

enum command_result {
        COMMAND_DONE,
        COMMAND_AGAIN, /* much has been replied: call it again once that is sent */
        COMMAND_CLOSE  /* the client wants to go */
};

/* A command of a client. */
struct request {
        struct cache *c;
        struct buffer *out;
        const char *data; /* of the whole command; the spans are places in it */
        const struct span *arg;
        uint32_t n;
        uint32_t *resume; /* 0, or where the last call of the same command came to */
        const struct command *command;
};

/* Replies beyond this wait until the client has taken some. */
enum { COMMAND_OUT_MAX = 256 << 10 };

typedef enum command_result command_fn(struct request *rq);

struct command {
        const char *name; /* lower case */
        int arity;        /* with the name; negative: at least so many */
        command_fn *run;
        const char *flags; /* words, as COMMAND tells them */
        int first_key, last_key, key_step;
};

/* The tables end with a NULL name. */
extern const struct command commands_values[], commands_keys[], commands_server[];

/* request->command is looked up. */
enum command_result command_run(struct request *rq);

/* For each command of all tables. */
void command_each(void (*fn)(const struct command *command, void *arg), void *arg);
const struct command *command_find(const char *name, size_t bytes);

/* ------------------------------------------------------------------ for those who carry them out */

static inline const char *
arg_of(const struct request *rq, uint32_t i)
{
        return rq->data + rq->arg[i].off;
}

static inline struct key
key_of(const struct request *rq, uint32_t i)
{
        return key_make(rq->c, arg_of(rq, i), rq->arg[i].bytes);
}

/* Whether it is this word, in whatever case. */
bool arg_is(const struct request *rq, uint32_t i, const char *word);

/* Replies with an error unless it is a number. */
bool arg_number(const struct request *rq, uint32_t i, int64_t *ret_value);

void reply_no_room(struct buffer *out);
void reply_syntax(struct buffer *out);

/* A time to live in units of so many ms: when that is over.  Replies with an error if that cannot be. */
bool arg_expiry(const struct request *rq, uint32_t i, int64_t unit_ms, bool may_be_past, uint64_t *ret_expires_ms);

#endif
