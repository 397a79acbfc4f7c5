/*
 * client.c - see client.h.
 *
 * Bytes are read into one buffer of the worker, and commands carried out from there; only what is left of them is
 * copied to a buffer of the client's own.  So a client that waits costs a few hundred bytes.
 */
#include "client.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "command.h"
#include "reply.h"

enum { SCRATCH_BYTES = 64 << 10, READS_MAX = 16 };

static char scratch[SCRATCH_BYTES];

void
client_init(struct client *client, int fd)
{
        *client = (struct client){.fd = fd};
        resp_init(&client->resp);
}

void
client_fini(struct client *client)
{
        close(client->fd);
        resp_fini(&client->resp);
        buffer_free(&client->in);
        buffer_free(&client->out);
}

/* ------------------------------------------------------------------ out */

/* False: the client is gone. */
static bool
send_out(struct client *client)
{
        client->wants_out = false;
        while (buffer_bytes(&client->out) > 0) {
                ssize_t n =
                        send(client->fd, client->out.p + client->out.start, buffer_bytes(&client->out), MSG_NOSIGNAL);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) {
                        client->wants_out = true;
                        return true;
                }
                if (n < 0)
                        return false;
                buffer_take(&client->out, (size_t)n);
        }
        return true;
}

/* ------------------------------------------------------------------ commands */

static enum command_result
carry_out(struct client *client, struct cache *c, const char *p)
{
        struct request rq = {.c = c,
                             .out = &client->out,
                             .data = p,
                             .arg = client->resp.arg,
                             .n = client->resp.n,
                             .resume = &client->resume};
        enum command_result result = rq.n == 0 ? COMMAND_DONE : command_run(&rq);

        if (result != COMMAND_AGAIN) {
                client->resume = 0;
                put(&c->me->n_commands, get(&c->me->n_commands) + 1);
        }
        return result;
}

/* One command, as far as there is room for its replies.  False: it is to be gone on with later. */
static bool
run_parsed(struct client *client, struct cache *c, const char *p)
{
        for (;;) {
                enum command_result result = carry_out(client, c, p);

                client->is_closing = result == COMMAND_CLOSE;
                if (result != COMMAND_AGAIN || client->out.has_failed)
                        return true;
                if (!send_out(client) || client->wants_out)
                        return false;
        }
}

/* Carries out what is complete; how many bytes of it.  Stops early when much is to be sent. */
static size_t
run_commands(struct client *client, struct cache *c, char *p, size_t bytes)
{
        size_t done = 0;

        while (!client->is_closing && !client->out.has_failed) {
                const char *error;

                if (buffer_bytes(&client->out) > COMMAND_OUT_MAX && (!send_out(client) || client->wants_out))
                        return done; /* if it is gone, reading will tell */
                if (client->begun == 0)
                        switch (resp_next(&client->resp, p + done, bytes - done, &client->begun, &error)) {
                        case RESP_MORE:
                                return done;
                        case RESP_COMMAND:
                                break;
                        case RESP_BAD:
                                reply_error(&client->out, "%s", error);
                                client->is_closing = true;
                                return bytes;
                        }
                if (!run_parsed(client, c, p + done))
                        return done;
                done += client->begun;
                client->begun = 0;
        }
        return bytes;
}

/* ------------------------------------------------------------------ in */

/* Keeps what was not used of the scratch buffer. */
static bool
keep_rest(struct client *client, const char *p, size_t bytes)
{
        if (bytes == 0)
                return true;
        if (!buffer_reserve(&client->in, bytes))
                return false;
        buffer_put(&client->in, p, bytes);
        return true;
}

/* Room for what is known to come, but not for more than as much again as has come. */
static size_t
room_wanted(const struct client *client)
{
        size_t held = buffer_bytes(&client->in), expected = resp_expected(&client->resp);
        size_t wanted = expected > held ? expected - held : 0;

        if (wanted > held)
                wanted = held;
        return wanted > SCRATCH_BYTES ? wanted : SCRATCH_BYTES;
}

enum got { GOT_NOTHING, GOT_SOME, GOT_END };

static enum got
read_some(struct client *client, struct cache *c)
{
        bool is_scratch = buffer_bytes(&client->in) == 0;
        char *p = scratch;
        size_t room = SCRATCH_BYTES, done;
        ssize_t n;

        if (!is_scratch) {
                room = room_wanted(client);
                if (!buffer_reserve(&client->in, room))
                        return GOT_END; /* buffers of all clients are at their bound: this one goes */
                room = client->in.room - client->in.end;
                p = client->in.p + client->in.end;
        }
        n = recv(client->fd, p, room, 0);
        if (n < 0)
                return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR ? GOT_NOTHING : GOT_END;
        if (n == 0)
                return GOT_END;
        if (is_scratch) {
                done = run_commands(client, c, scratch, (size_t)n);
                return keep_rest(client, scratch + done, (size_t)n - done) ? (size_t)n < room ? GOT_NOTHING : GOT_SOME
                                                                           : GOT_END;
        }
        client->in.end += (size_t)n;
        buffer_take(&client->in, run_commands(client, c, client->in.p + client->in.start, buffer_bytes(&client->in)));
        return (size_t)n < room ? GOT_NOTHING : GOT_SOME;
}

bool
client_serve(struct client *client, struct cache *c)
{
        if (client->wants_out) {
                if (!send_out(client))
                        return false;
                if (client->wants_out)
                        return true;
                if (buffer_bytes(&client->in) > 0) /* commands that had to wait */
                        buffer_take(&client->in, run_commands(client, c, client->in.p + client->in.start,
                                                              buffer_bytes(&client->in)));
        }
        for (int i = 0; i < READS_MAX && !client->wants_out && !client->is_closing && !client->out.has_failed; i++) {
                enum got got = read_some(client, c);

                if (got == GOT_END) {
                        send_out(client); /* as far as it goes */
                        return false;
                }
                if (got == GOT_NOTHING)
                        break;
        }
        /* Once it has waited it goes on waiting: sent by now, nothing would say that commands are left. */
        if (client->out.has_failed || (!client->wants_out && !send_out(client)))
                return false;
        return !client->is_closing || client->wants_out;
}
