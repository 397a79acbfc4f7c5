/*
 * storm.c - clients of kvcache while its workers are killed.
 *
 * What is at stake: a client whose connection breaks connects again and finds everything that was acknowledged to it;
 * what was not acknowledged happened or did not.  Each client has keys of its own and keeps a log of what each must be;
 * it also reads the others' keys, whose values say whose they are.  In the end every key is read, the heap and the
 * table are checked block by block, and FLUSHALL brings the heap's use back to where it was.
 *
 *      storm PROGRAM SECONDS KILLS_PER_SECOND [WORKERS]
 */
#include <errno.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>

#include "server.h"

enum {
        N_CLIENTS = 4,
        KEYS = 200, /* of each */
        BATCH_MAX = 8,
        BLOB_MAX = 200000,
        TOKENS_MAX = 40,
        TIMEOUT_SECONDS = 300
};

/* What a key is, by its number: a blob that is set, a number that is added to, or a text that is appended to. */
enum kind { KIND_BLOB, KIND_NUMBER, KIND_TEXT };

struct state {
        bool is_there;
        uint64_t version; /* of a blob; the number; how many tokens */
        uint32_t bytes;   /* of a blob */
};

struct logged {
        struct state now, other; /* other: what it may be instead, if is_open */
        bool is_open;
};

struct client {
        pthread_t thread;
        int no;
        uint64_t random, version;
        redisContext *context;
        struct logged key[KEYS];
        char *blob; /* BLOB_MAX + some, for what is expected */
        uint64_t n_commands, n_acknowledged, n_lost, n_connects;
        double longest; /* seconds from a lost connection to the next */
};

static struct server server;
static _Atomic bool is_over;

static uint64_t
next(uint64_t *state)
{
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

static double
now(void)
{
        struct timespec t;

        clock_gettime(CLOCK_MONOTONIC, &t);
        return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ------------------------------------------------------------------ values */

static enum kind
kind_of(int key)
{
        return key % 4 == 0 ? KIND_NUMBER : key % 4 == 1 ? KIND_TEXT : KIND_BLOB;
}

static void
name_of(char *name, size_t room, int client, int key)
{
        snprintf(name, room, "client-%d-key-%d", client, key);
}

/* The value that a key of this state has. */
static size_t
value_of(char *p, int client, int key, const struct state *s)
{
        int n;

        switch (kind_of(key)) {
        case KIND_NUMBER:
                return (size_t)sprintf(p, "%lu", (unsigned long)s->version);
        case KIND_TEXT:
                for (uint64_t i = 0; i < s->version; i++)
                        memcpy(p + 4 * i, "abc;", 4);
                return 4 * s->version;
        default:
                n = sprintf(p, "client-%d-key-%d-%lu:", client, key, (unsigned long)s->version);
                if ((uint32_t)n < s->bytes)
                        memset(p + n, 'a' + (int)(s->version % 26), s->bytes - (uint32_t)n);
                return s->bytes > (uint32_t)n ? s->bytes : (size_t)n;
        }
}

static bool
reply_is(struct client *c, int key, const redisReply *reply, const struct state *s)
{
        size_t bytes;

        if (!s->is_there)
                return reply->type == REDIS_REPLY_NIL;
        if (reply->type != REDIS_REPLY_STRING)
                return false;
        bytes = value_of(c->blob, c->no, key, s);
        return reply->len == bytes && memcmp(reply->str, c->blob, bytes) == 0;
}

static _Noreturn void
wrong(const struct client *c, int key, const redisReply *reply, const char *operation)
{
        test_fail("client %d, key %d: %s gives type %d '%.100s' (%ld); it is to be %s, version %lu", c->no, key,
                  operation, reply->type, reply->str ? reply->str : "", (long)reply->integer,
                  c->key[key].now.is_there ? "there" : "absent", (unsigned long)c->key[key].now.version);
}

/* ------------------------------------------------------------------ connections */

static void
connect_again(struct client *c)
{
        double start = now();

        if (c->context)
                redisFree(c->context);
        for (;;) {
                struct timeval timeout = {.tv_sec = TIMEOUT_SECONDS};

                c->context = redisConnectWithTimeout("127.0.0.1", server.port, timeout);
                if (c->context && c->context->err == 0) {
                        redisSetTimeout(c->context, timeout);
                        break;
                }
                if (c->context)
                        redisFree(c->context);
                if (now() - start > TIMEOUT_SECONDS)
                        test_fail("client %d cannot connect", c->no);
        }
        c->n_connects++;
        if (now() - start > c->longest)
                c->longest = now() - start;
}

/* A reply, or NULL: the connection is lost.  A timeout is a hang. */
static redisReply *
receive(struct client *c)
{
        void *reply = NULL;

        if (redisGetReply(c->context, &reply) == REDIS_OK)
                return reply;
        if (c->context->err == REDIS_ERR_IO && (errno == EAGAIN || errno == ETIMEDOUT))
                test_fail("client %d has had no reply for %d s", c->no, TIMEOUT_SECONDS);
        return NULL;
}

/* What the key turned out to be, after the connection was lost with the reply. */
static void
find_out(struct client *c, int key)
{
        char name[64];
        redisReply *reply;

        name_of(name, sizeof name, c->no, key);
        while (redisAppendCommand(c->context, "GET %s", name) != REDIS_OK || !(reply = receive(c)))
                connect_again(c);
        if (reply_is(c, key, reply, &c->key[key].other))
                c->key[key].now = c->key[key].other;
        else if (!reply_is(c, key, reply, &c->key[key].now))
                wrong(c, key, reply, "after a lost connection, GET");
        c->key[key].is_open = false;
        freeReplyObject(reply);
}

/* ------------------------------------------------------------------ commands */

enum what { WHAT_GET, WHAT_SET, WHAT_SET_NX, WHAT_DEL, WHAT_ADD, WHAT_APPEND, WHAT_FOREIGN, WHAT_EXPIRE };

struct sent {
        enum what what;
        int key, owner;
        struct state after;
};

static enum what
choose(struct client *c, int key)
{
        uint64_t dice = next(&c->random) % 100;

        if (dice < 30)
                return WHAT_GET;
        if (dice < 40)
                return WHAT_FOREIGN;
        if (dice < 50)
                return WHAT_DEL;
        if (dice < 53)
                return WHAT_EXPIRE;
        if (kind_of(key) == KIND_NUMBER)
                return WHAT_ADD;
        if (kind_of(key) == KIND_TEXT)
                return c->key[key].now.is_there && c->key[key].now.version >= TOKENS_MAX ? WHAT_DEL : WHAT_APPEND;
        return dice < 60 ? WHAT_SET_NX : WHAT_SET;
}

static void
send_set(struct client *c, struct sent *s, const char *name)
{
        const char *argv[] = {"SET", name, c->blob, "NX"};
        size_t lengths[] = {3, strlen(name), 0, 2};

        s->after = (struct state){.is_there = true,
                                  .version = ++c->version,
                                  .bytes = (uint32_t)(next(&c->random) % 100 == 0 ? next(&c->random) % BLOB_MAX
                                                                                  : next(&c->random) % 300)};
        lengths[2] = value_of(c->blob, c->no, s->key, &s->after);
        redisAppendCommandArgv(c->context, s->what == WHAT_SET_NX ? 4 : 3, argv, lengths);
        if (s->what == WHAT_SET_NX && c->key[s->key].now.is_there)
                s->after = c->key[s->key].now;
}

static void
send_one(struct client *c, struct sent *s)
{
        struct state *before = &c->key[s->key].now;
        char name[64];

        s->owner = c->no;
        s->what = choose(c, s->key);
        if (s->what == WHAT_FOREIGN)
                s->owner = (int)(next(&c->random) % N_CLIENTS);
        name_of(name, sizeof name, s->owner, s->key);
        s->after = *before;
        switch (s->what) {
        case WHAT_GET:
        case WHAT_FOREIGN:
                redisAppendCommand(c->context, "GET %s", name);
                break;
        case WHAT_SET:
        case WHAT_SET_NX:
                send_set(c, s, name);
                break;
        case WHAT_DEL:
                redisAppendCommand(c->context, "DEL %s", name);
                s->after = (struct state){.is_there = false};
                break;
        case WHAT_ADD:
                redisAppendCommand(c->context, "INCR %s", name);
                s->after = (struct state){.is_there = true, .version = before->is_there ? before->version + 1 : 1};
                break;
        case WHAT_APPEND:
                redisAppendCommand(c->context, "APPEND %s abc;", name);
                s->after = (struct state){.is_there = true, .version = before->is_there ? before->version + 1 : 1};
                break;
        case WHAT_EXPIRE:
                redisAppendCommand(c->context, "EXPIRE %s 100000", name);
                break;
        }
        c->n_commands++;
}

/* Some other client's key: whatever its value, it is one of that key's. */
static void
judge_foreign(const struct client *c, const struct sent *s, const redisReply *reply)
{
        char start[64];
        int n = snprintf(start, sizeof start, "client-%d-key-%d-", s->owner, s->key);

        if (reply->type == REDIS_REPLY_NIL || (reply->type == REDIS_REPLY_STRING && kind_of(s->key) != KIND_BLOB))
                return;
        if (reply->type != REDIS_REPLY_STRING || reply->len < (size_t)n || memcmp(reply->str, start, (size_t)n) != 0)
                test_fail("client %d: key %d of client %d has a value that is not its own: %.100s", c->no, s->key,
                          s->owner, reply->str ? reply->str : "");
}

static void
judge(struct client *c, const struct sent *s, const redisReply *reply)
{
        struct state *before = &c->key[s->key].now;
        bool is_right = true;

        switch (s->what) {
        case WHAT_GET:
                is_right = reply_is(c, s->key, reply, before);
                break;
        case WHAT_FOREIGN:
                judge_foreign(c, s, reply);
                return;
        case WHAT_SET:
                is_right = reply->type == REDIS_REPLY_STATUS;
                break;
        case WHAT_SET_NX:
                is_right = reply->type == (before->is_there ? REDIS_REPLY_NIL : REDIS_REPLY_STATUS);
                break;
        case WHAT_DEL:
        case WHAT_EXPIRE:
                is_right = reply->type == REDIS_REPLY_INTEGER && reply->integer == before->is_there;
                break;
        case WHAT_ADD:
                is_right = reply->type == REDIS_REPLY_INTEGER && (uint64_t)reply->integer == s->after.version;
                break;
        case WHAT_APPEND:
                is_right = reply->type == REDIS_REPLY_INTEGER && (uint64_t)reply->integer == 4 * s->after.version;
                break;
        }
        if (!is_right)
                wrong(c, s->key, reply, "a command");
        *before = s->after;
}

/* Some commands at once, for different keys. */
static void
batch(struct client *c)
{
        struct sent sent[BATCH_MAX];
        int n = (int)(next(&c->random) % BATCH_MAX) + 1, first = (int)(next(&c->random) % KEYS), done = 0;

        for (int i = 0; i < n; i++) {
                sent[i].key = (first + i * 7) % KEYS;
                send_one(c, &sent[i]);
        }
        for (redisReply *reply; done < n && (reply = receive(c)); done++) {
                judge(c, &sent[done], reply);
                freeReplyObject(reply);
                c->n_acknowledged++;
        }
        if (done == n)
                return;
        connect_again(c);
        for (int i = done; i < n; i++) {
                c->n_lost++;
                if (sent[i].owner != c->no)
                        continue;
                c->key[sent[i].key].other = sent[i].after;
                c->key[sent[i].key].is_open = true;
        }
        for (int i = done; i < n; i++)
                if (c->key[sent[i].key].is_open)
                        find_out(c, sent[i].key);
}

static void *
run(void *arg)
{
        struct client *c = arg;

        c->blob = malloc(BLOB_MAX + 100);
        connect_again(c);
        while (!is_over)
                batch(c);
        return NULL;
}

/* ------------------------------------------------------------------ the whole */

static unsigned long
kill_workers(double seconds, double per_second, uint64_t *random)
{
        struct itimerspec every = {.it_interval.tv_nsec = (long)(1e9 / per_second) % 1000000000,
                                   .it_interval.tv_sec = (time_t)(1 / per_second)};
        int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
        unsigned long n = 0;
        uint64_t ticks;

        every.it_value = every.it_interval;
        timerfd_settime(timer, 0, &every, NULL);
        for (double end = now() + seconds; now() < end;) {
                if (read(timer, &ticks, sizeof ticks) != sizeof ticks)
                        test_fail("no timer");
                n += server_kill_worker(&server, next(random));
        }
        close(timer);
        return n;
}

static void
read_all(struct client *c)
{
        for (int key = 0; key < KEYS; key++) {
                c->key[key].other = c->key[key].now;
                find_out(c, key);
        }
}

/* The heap holds no more than before; blocks that are retired may take a moment. */
static void
judge_heap(struct client *c, const struct server_counts *before)
{
        struct server_counts counts;
        redisReply *reply;
        double start = now();

        if (!server_check(&server, &counts))
                test_fail("the table or the heap is damaged");
        printf("%lu items in %lu blocks of %lu bytes, and no fault\n", counts.n_items, counts.n_blocks, counts.n_bytes);
        reply = redisCommand(c->context, "FLUSHALL");
        if (!reply || reply->type != REDIS_REPLY_STATUS)
                test_fail("FLUSHALL fails");
        freeReplyObject(reply);
        do {
                if (!server_check(&server, &counts))
                        test_fail("after FLUSHALL the table or the heap is damaged");
                if (now() - start > TIMEOUT_SECONDS)
                        test_fail("after FLUSHALL %lu items, %lu blocks of %lu bytes are left, and not %lu of %lu",
                                  counts.n_items, counts.n_blocks, counts.n_bytes, before->n_blocks, before->n_bytes);
        } while (counts.n_items != 0 || counts.n_blocks != before->n_blocks || counts.n_bytes != before->n_bytes);
}

int
main(int argc, char **argv)
{
        static struct client clients[N_CLIENTS];
        uint64_t random = (uint64_t)time(NULL) * 1000 + (uint64_t)getpid();
        struct server_counts before;
        unsigned long n_kills, n_commands = 0, n_lost = 0, n_connects = 0;
        double longest = 0;

        if (argc < 4 || atof(argv[2]) <= 0 || atof(argv[3]) <= 0) {
                fputs("usage: storm PROGRAM SECONDS KILLS_PER_SECOND [WORKERS]\n", stderr);
                return 2;
        }
        server_start(&server, argv[1], argc > 4 ? (unsigned)atoi(argv[4]) : 3, "256M");
        if (!server_check(&server, &before))
                test_fail("the empty table or the heap is damaged");
        for (int i = 0; i < N_CLIENTS; i++) {
                clients[i].no = i;
                clients[i].random = random + (uint64_t)i;
                if (pthread_create(&clients[i].thread, NULL, run, &clients[i]) != 0)
                        test_fail("no thread");
        }
        n_kills = kill_workers(atof(argv[2]), atof(argv[3]), &random);
        is_over = true;
        for (int i = 0; i < N_CLIENTS; i++) {
                pthread_join(clients[i].thread, NULL);
                read_all(&clients[i]);
                n_commands += clients[i].n_acknowledged;
                n_lost += clients[i].n_lost;
                n_connects += clients[i].n_connects;
                longest = longest > clients[i].longest ? longest : clients[i].longest;
        }
        printf("%lu workers killed; %lu commands acknowledged, %lu lost with their connection; %lu connections, at "
               "most "
               "%.3f s until one was there again\n",
               n_kills, n_commands, n_lost, n_connects, longest);
        judge_heap(&clients[0], &before);
        server_stop(&server);
        return n_kills == 0 || n_lost == 0;
}
