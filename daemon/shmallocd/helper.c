/*
 * helper.c - see helper.h.
 *
 * It creates or adopts the heap, keeps it open, settles the dead when the daemon says so, and once a second does what
 * nobody asked for: settles all who died unnoticed, gives unused memory back, tells the daemon of clients that it may
 * not know, looks whether the heap still has its name.
 *
 * It may be killed or crash at any instruction: it is a client, whom the next helper, or any other client, reaps.  It
 * takes part in no election of arenas, since it allocates nothing.  That there is one helper per heap is a lock for
 * writing on the heap's file (F_OFD_SETLK), which the kernel takes back when it dies, and which it gives only to who
 * may write to the file.  Whoever may only read it could put a lock for reading in the way: such a one is passed over,
 * and the helper goes on without.  The lock keeps daemons from doing the same work twice; the heap does not need it.
 *
 * What this gave up: a stopped helper keeps the lock, so no other daemon can take the heap over until the first one has
 * ended it, or died: it does not outlive its daemon.
 */
#include "shmallocd/helper.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "api/heap.h"
#include "base/error.h"
#include "clients/client.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "os/process.h"
#include "os/shm.h"
#include "region/open.h"
#include "shmallocd/talk.h"

enum {
        TICK_MS = 1000,
        LOCK_MAX_MS = 1000, /* for a predecessor to end */
        LOCK_PIECE_MS = 2,
        NOBODY_GID = 65534,
        DEAD_FIRST_ROOM = 64
};

struct dead {
        struct client_id client;
        uint32_t pid, pid_ns, pid_here; /* talk.h */
};

struct helper {
        const struct heap_config *config;
        shheap *heap;
        struct region *r;
        struct thread *thread;
        uint32_t *told; /* by client index: incarnation that the daemon knows */
        struct dead *dead;
        size_t n_dead, room;
        bool wants_all;
        bool is_over;
};

/* ------------------------------------------------------------------ talking */

/* Waits for the daemon, which may be busy, but not for ever: it kills a helper that it hears nothing of. */
static void
say(struct talk *t)
{
        if (send(TALK_FD, t, sizeof *t, MSG_NOSIGNAL) < 0 && errno != EINTR)
                _exit(0); /* the daemon is gone */
}

static void __attribute__((format(printf, 3, 4))) say_text(enum talk_kind kind, int64_t n, const char *fmt, ...)
{
        struct talk t = {.kind = kind, .n = n};
        va_list args;

        va_start(args, fmt);
        vsnprintf(t.text, sizeof t.text, fmt, args);
        va_end(args);
        say(&t);
}

static int
fail(int err)
{
        say_text(TALK_FAILED, err, "%s", error_message());
        return 1;
}

static uint64_t
now_ns(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

/* ------------------------------------------------------------------ rights */

static int
drop_rights(const struct heap_config *c)
{
        gid_t gid = c->gid != (gid_t)-1 ? c->gid : c->uid == geteuid() ? getegid() : NOBODY_GID;

        if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0))
                return error_set(-errno, "cannot become group %u: %s", gid, error_name(errno));
        if (geteuid() != c->uid && setresuid(c->uid, c->uid, c->uid) < 0)
                return error_set(-errno, "cannot become user %u: %s", c->uid, error_name(errno));
        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
                return error_set(-errno, "cannot give up new rights: %s", error_name(errno));
        return 0;
}

/* Dies with the daemon, also while it is stopped.  A daemon that died before this was said is missed on the socket. */
static void
bind_to_daemon(void)
{
        prctl(PR_SET_NAME, "shmallocd-help", 0, 0, 0); /* what the heap's table of clients shows */
        prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
        signal(SIGPIPE, SIG_IGN);
        signal(SIGINT, SIG_IGN); /* of a terminal: the daemon decides */
        signal(SIGHUP, SIG_IGN);
}

/* ------------------------------------------------------------------ opening */

/* -EAGAIN: another helper has it; -EDEADLK: somebody's lock for reading is in the way, which no helper takes. */
static int
try_lock(int fd)
{
        struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_len = 1};

        if (fcntl(fd, F_OFD_SETLK, &lock) == 0)
                return 0;
        if (errno != EAGAIN && errno != EACCES)
                return errno == EINTR ? -EAGAIN : -errno;
        if (fcntl(fd, F_OFD_GETLK, &lock) < 0)
                return -errno;
        return lock.l_type == F_RDLCK ? -EDEADLK : -EAGAIN;
}

/* A process that ends gives its lock back: worth a moment, while the daemon is still there. */
static int
lock_heap(struct helper *h)
{
        struct pollfd p = {.fd = TALK_FD, .events = 0};
        int err = 0;

        for (int ms = 0; ms < LOCK_MAX_MS; ms += LOCK_PIECE_MS) {
                err = try_lock(h->r->fd);
                if (err == 0)
                        return 0;
                if (err == -EDEADLK)
                        break;
                if (err != -EAGAIN)
                        return error_set(err, "cannot lock heap \"%s\": %s", h->config->name, error_name(err));
                if (poll(&p, 1, LOCK_PIECE_MS) > 0)
                        _exit(0);
        }
        if (err == -EDEADLK) {
                say_text(TALK_NOTED, 0, "somebody who may only read its file keeps a lock on it: passed over");
                return 0;
        }
        return error_set(-EBUSY, "heap \"%s\" is kept by another shmallocd: stop that one first", h->config->name);
}

/* The helper counts for no arena: it allocates nothing. */
static int
attach(struct helper *h)
{
        int err = 0;
        struct tcache *t = tcache_get(h->heap, &err);

        if (!t)
                return err;
        h->thread = &t->thread;
        store_relaxed(&h->r->bindings[h->thread->no - 1], BINDING_USED);
        return 0;
}

static void
attr_of(const struct heap_config *c, struct shheap_attr *attr, char *conf, size_t size)
{
        heap_config_conf(c, conf, size);
        *attr = (struct shheap_attr)SHHEAP_ATTR_INIT;
        attr->capacity = c->capacity;
        attr->max_capacity = c->max_capacity;
        attr->max_clients = c->max_clients;
        attr->max_threads = c->max_threads;
        attr->page_shift = c->page_shift;
        attr->mode = c->mode;
        attr->numa_nodes = c->numa_nodes;
        attr->numa_policy = c->numa_policy;
        attr->conf = conf;
}

/* What was created in between is adopted. */
static int
open_heap(struct helper *h, bool *ret_is_created)
{
        struct shheap_attr attr;
        char conf[128];
        int err;

        attr_of(h->config, &attr, conf, sizeof conf);
        err = shheap_open(&h->heap, h->config->name, SHHEAP_CREATE | SHHEAP_EXCL | SHHEAP_RELOCATABLE, &attr);
        *ret_is_created = err == 0;
        if (err == -EEXIST)
                err = shheap_open(&h->heap, h->config->name, SHHEAP_RELOCATABLE, &attr); /* of which "disk" counts */
        if (err == -EPROTO && h->config->replaces_stale) {
                err = shheap_open(&h->heap, h->config->name, SHHEAP_CREATE | SHHEAP_REPLACE_STALE | SHHEAP_RELOCATABLE,
                                  &attr);
                *ret_is_created = err == 0;
        }
        if (err < 0)
                return err;
        h->r = &h->heap->region;
        h->told = calloc(h->r->layout.n[TABLE_CLIENTS], sizeof *h->told);
        return h->told ? attach(h) : error_set(-ENOMEM, "no memory for the table of clients");
}

/* What the configuration says and cannot be changed any more. */
static void
note_differences(const struct helper *h)
{
        const struct heap_config *c = h->config;
        const struct layout_params *p = &h->r->header->params;
        struct stat st;

        if (os_fstat(h->r->fd, &st) == 0 && (st.st_mode & 07777) != c->mode)
                say_text(TALK_NOTED, 0, "its mode is %04o, not %04o as configured: chmod changes it",
                         st.st_mode & 07777, c->mode);
        if (c->max_capacity && c->max_capacity > h->r->layout.n_chunks << GEO_CHUNK_SHIFT)
                say_text(TALK_NOTED, 0, "it was created with a max_capacity of %llu bytes, less than configured",
                         (unsigned long long)(h->r->layout.n_chunks << GEO_CHUNK_SHIFT));
        if (c->max_clients && c->max_clients != p->max_clients)
                say_text(TALK_NOTED, 0, "it was created with max_clients %u, not %u as configured", p->max_clients,
                         c->max_clients);
        if (c->max_threads && c->max_threads != p->max_threads)
                say_text(TALK_NOTED, 0, "it was created with max_threads %u, not %u as configured", p->max_threads,
                         c->max_threads);
}

/* What can be changed while everybody goes on. */
static void
set_options(struct helper *h, uint64_t capacity, int64_t decay_ms)
{
        uint64_t now = region_capacity_chunks(h->r) << GEO_CHUNK_SHIFT;

        if (capacity > now) {
                if (shheap_ctl(h->heap, "heap.capacity", NULL, NULL, &capacity, sizeof capacity) < 0)
                        say_text(TALK_NOTED, 0, "%s", error_message());
                else
                        say_text(TALK_NOTED, 0, "its capacity has grown from %llu to %llu bytes",
                                 (unsigned long long)now,
                                 (unsigned long long)(region_capacity_chunks(h->r) << GEO_CHUNK_SHIFT));
        } else if (capacity != 0 && capacity + GEO_CHUNK_BYTES <= now) {
                say_text(TALK_NOTED, 0, "its capacity is %llu bytes, more than configured: it does not shrink",
                         (unsigned long long)now);
        }
        if (decay_ms == INT64_MIN || decay_ms == load_relaxed(&h->r->header->decay_ms))
                return;
        if (shheap_ctl(h->heap, "heap.decay_ms", NULL, NULL, &decay_ms, sizeof decay_ms) < 0)
                say_text(TALK_NOTED, 0, "%s", error_message());
        else
                say_text(TALK_NOTED, 0, "its decay_ms is %lld now", (long long)decay_ms);
}

/* ------------------------------------------------------------------ the dead */

static void
note_settled(struct helper *h, uint64_t n, uint32_t pid_here, uint64_t since_ns)
{
        struct talk t = {.kind = TALK_SETTLED, .n = (int64_t)n, .pid_here = pid_here, .a = now_ns() - since_ns};

        if (n == 0)
                return;
        owner_add(&h->thread->slot->n_reaped, n);
        say(&t);
}

static void
reap_all(struct helper *h)
{
        uint64_t start = now_ns();

        note_settled(h, slot_reap_all(h->r, reap_settle, h->thread), 0, start);
        client_bury_all(h->r);
}

static int
by_client(const void *a, const void *b)
{
        const struct dead *x = a, *y = b;

        return x->client.idx < y->client.idx ? -1 : x->client.idx > y->client.idx;
}

/* A client says itself which one it is, so it is believed only if the table has its process there.  One that has closed
 * the heap in order does not stand there any more. */
static bool
is_credible(const struct helper *h, const struct dead *dead)
{
        return dead->pid_ns != 0 && dead->pid_ns != PROCESS_NS_UNKNOWN &&
               client_is_of(h->r, &dead->client, dead->pid, dead->pid_ns);
}

static void
say_died(const struct dead *dead)
{
        struct talk t = {
                .kind = TALK_DIED,
                .client_idx = dead->client.idx,
                .incarnation = dead->client.incarnation,
                .pid = dead->pid,
                .pid_ns = dead->pid_ns,
                .pid_here = dead->pid_here,
        };

        say(&t);
}

static uint64_t
reap_slot_of_dead(struct helper *h, uint32_t idx)
{
        const struct slot_gate *gate = region_gate(h->r, idx);
        struct dead key = {.client.idx = gate ? load_relaxed(&gate->client_idx) : UINT32_MAX};
        const struct dead *dead = bsearch(&key, h->dead, h->n_dead, sizeof *h->dead, by_client);

        if (!dead)
                return 0;
        return (uint64_t)slot_reap_of_dead(h->r, idx, &dead->client, reap_settle, h->thread);
}

/* All that the daemon has told of, in one pass over the threads. */
static void
reap_dead(struct helper *h)
{
        uint64_t start = now_ns(), n = 0;
        uint32_t pid_here = h->n_dead == 1 ? h->dead[0].pid_here : 0, hwm = region_threads_hwm(h->r);
        size_t n_credible = 0;

        for (size_t i = 0; i < h->n_dead; i++)
                if (is_credible(h, &h->dead[i])) {
                        say_died(&h->dead[i]);
                        h->dead[n_credible++] = h->dead[i];
                }
        h->n_dead = n_credible;
        if (h->n_dead > 0)
                qsort(h->dead, h->n_dead, sizeof *h->dead, by_client);
        for (uint32_t idx = 0; h->n_dead > 0 && idx < hwm; idx++)
                n += reap_slot_of_dead(h, idx);
        note_settled(h, n, pid_here, start);
        for (size_t i = 0; i < h->n_dead; i++)
                client_bury(h->r, &h->dead[i].client, h->dead[i].pid, h->dead[i].pid_ns, true);
        h->n_dead = 0;
}

static void
note_dead(struct helper *h, const struct talk *t)
{
        if (h->n_dead == h->room) {
                size_t room = h->room ? h->room * 2 : DEAD_FIRST_ROOM;
                struct dead *dead = realloc(h->dead, room * sizeof *dead);

                if (!dead) {
                        h->wants_all = true;
                        return;
                }
                h->dead = dead;
                h->room = room;
        }
        h->dead[h->n_dead++] = (struct dead){{t->client_idx, t->incarnation}, t->pid, t->pid_ns, t->pid_here};
}

/* ------------------------------------------------------------------ once a second */

/* Without being bound to any arena, the helper does for each of them what its threads do on their slow paths. */
static void
purge(struct helper *h)
{
        struct talk t = {.kind = TALK_PURGED};
        uint64_t before = load_relaxed(&h->thread->slot->purged_bytes);
        uint32_t arena = h->thread->arena, node = h->thread->node;

        for (uint32_t i = 0; i < h->r->layout.n_arenas; i++) {
                if (!region_arena(h->r, i))
                        continue;
                h->thread->arena = i;
                h->thread->node = region_arena_node(h->r, i);
                decay_tick(h->thread);
        }
        h->thread->arena = arena;
        h->thread->node = node;
        t.a = load_relaxed(&h->thread->slot->purged_bytes) - before;
        if (t.a != 0)
                say(&t);
}

/* Whoever the daemon has not been told of yet, of whatever namespace. */
static void
tell_clients(struct helper *h)
{
        struct client_id client;

        for (uint32_t idx = 0; idx < region_clients_hwm(h->r); idx++) {
                struct talk t = {.kind = TALK_CLIENT, .client_idx = idx};

                if (!client_who_anywhere(h->r, idx, &client, &t.pid, &t.pid_ns) || h->told[idx] == client.incarnation ||
                    t.pid_ns == PROCESS_NS_UNKNOWN || (t.pid == process_id() && t.pid_ns == process_pid_ns()))
                        continue;
                t.incarnation = h->told[idx] = client.incarnation;
                say(&t);
        }
}

static void
tick(struct helper *h)
{
        reap_all(h);
        purge(h);
        tell_clients(h);
        if (region_is_linked(h->r) == 0) {
                say_text(TALK_FAILED, -ENOENT,
                         "its file has been removed by somebody else, or replaced: who has it "
                         "open keeps it, but who comes later gets another heap");
                h->is_over = true;
        }
}

/* ------------------------------------------------------------------ listening */

static void
unlink_heap(struct helper *h)
{
        if (shheap_unlink(h->config->name) < 0)
                say_text(TALK_NOTED, 0, "%s", error_message());
        else
                say_text(TALK_NOTED, 0, "removed");
}

static void
obey(struct helper *h, const struct talk *t)
{
        struct talk pong = {.kind = TALK_PONG};

        switch (t->kind) {
        case TALK_DEAD:
                note_dead(h, t);
                break;
        case TALK_REAP:
                h->wants_all = true;
                break;
        case TALK_PING:
                say(&pong);
                break;
        case TALK_SET:
                set_options(h, t->a, (int64_t)t->b);
                break;
        case TALK_UNLINK:
                unlink_heap(h);
                break;
        default:
                h->is_over = true;
        }
}

/* All that is there; then what follows from it is done at once for all. */
static void
listen_to_daemon(struct helper *h)
{
        struct talk t;
        ssize_t n;

        while ((n = recv(TALK_FD, &t, sizeof t, MSG_DONTWAIT)) == (ssize_t)sizeof t)
                obey(h, &t);
        if (n == 0)
                h->is_over = true;
        if (h->n_dead > 0)
                reap_dead(h);
        if (h->wants_all)
                reap_all(h);
        h->wants_all = false;
}

static void
work(struct helper *h)
{
        uint64_t next_ns = 0;

        while (!h->is_over) {
                struct pollfd p = {.fd = TALK_FD, .events = POLLIN};
                uint64_t now = now_ns();

                if (now >= next_ns) {
                        tick(h);
                        next_ns = now_ns() + TICK_MS * UINT64_C(1000000);
                        continue;
                }
                if (poll(&p, 1, (int)((next_ns - now) / 1000000) + 1) > 0)
                        listen_to_daemon(h);
        }
}

int
helper_main(const struct heap_config *config)
{
        struct helper h = {.config = config};
        struct talk ready = {.kind = TALK_READY};
        bool is_created = false;
        int err = drop_rights(config);

        bind_to_daemon();
        if (err == 0)
                err = open_heap(&h, &is_created);
        if (err == 0)
                err = lock_heap(&h);
        if (err < 0) {
                free(h.told);
                return fail(err);
        }
        ready.n = is_created;
        ready.a = h.r->dev;
        ready.b = h.r->ino;
        say(&ready);
        if (!is_created) {
                note_differences(&h);
                set_options(&h, config->capacity, config->decay_ms);
        }
        work(&h);
        shheap_close(h.heap);
        free(h.told);
        free(h.dead);
        return 0;
}
