/*
 * watch.c - processes, by pidfd: what the daemon hears of deaths by.
 *
 * A pidfd stands for one process for ever, whatever becomes of its number.  The daemon holds one for each client, and
 * nothing else of it; when the limit of descriptors is reached, further clients are not watched, and their deaths are
 * noticed by the helper's look at the heap once a second, or by other clients.
 *
 * A client of another pid namespace is watched if its process can be found here, by who it is there
 * (common/identity.h): the kernel gives its pidfd when it announces itself, and of the others /proc is searched, for
 * all together, every other second and only if somebody new has come.  Who is not found is settled by the kernel's
 * marks alone.
 */
#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "os/process.h"
#include "shmallocd/daemon.h"
#include "shmallocd/log.h"

enum { SOUGHT_FIRST_ROOM = 16 };

static int
by_heap_and_pid(const void *a, const void *b)
{
        const struct watch *x = a, *y = b;

        if (x->kept != y->kept)
                return (uintptr_t)x->kept < (uintptr_t)y->kept ? -1 : 1;
        return x->pid < y->pid ? -1 : x->pid > y->pid;
}

static void
drop(struct watch *w)
{
        struct daemon *d = w->kept->daemon;

        tdelete(w, &d->watches, by_heap_and_pid);
        sd_event_source_unref(w->source); /* before its descriptor is closed */
        close(w->pidfd);
        w->kept->n_watches--;
        d->n_watches--;
        free(w);
}

/* The helper says whether it was a client still; without one nobody knows. */
static void
tell_death(struct kept *k, uint32_t pid, const struct client_ref *client)
{
        struct talk t = {
                .kind = TALK_DEAD,
                .client_idx = client->idx,
                .incarnation = client->incarnation,
                .pid = client->who.pid,
                .pid_ns = client->who.pid_ns,
                .pid_here = pid,
        };

        log_line(LOG_DEBUG, k->config.name, "process %u, which announced client %u.%u, has ended", pid, client->idx,
                 client->incarnation);
        kept_say(k, &t);
}

static void
end_watch(struct watch *w)
{
        for (uint32_t i = 0; i < w->n_clients; i++)
                tell_death(w->kept, w->pid, &w->clients[i]);
        drop(w);
}

static int
on_death(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
        (void)source, (void)fd, (void)revents;
        end_watch(arg);
        return 0;
}

static bool
is_dead(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, 0) == 1;
}

/* In the place of one that stood in the same place of the table, or else of the oldest, if there are too many: a
 * process may claim to be whatever it likes. */
static void
add_client(struct watch *w, const struct client_ref *client)
{
        uint32_t i = 0;

        while (i < w->n_clients && w->clients[i].idx != client->idx)
                i++;
        if (i == w->n_clients && w->n_clients < WATCH_CLIENTS_MAX)
                w->n_clients++;
        else if (i == w->n_clients)
                i = 0;
        for (; i + 1 < w->n_clients; i++)
                w->clients[i] = w->clients[i + 1];
        w->clients[i] = *client;
}

/* True: the process is watched already, and is another client, too, now: it has opened the heap again. */
static bool
update(struct kept *k, uint32_t pid, const struct client_ref *client)
{
        struct watch key = {.kept = k, .pid = pid};
        struct watch **found = tfind(&key, &k->daemon->watches, by_heap_and_pid);

        if (!found)
                return false;
        if (is_dead((*found)->pidfd)) { /* and its number is another process's: the event is on its way */
                end_watch(*found);
                return false;
        }
        add_client(*found, client);
        return true;
}

static void
say_full(struct daemon *d)
{
        d->n_unwatched++;
        if (d->has_said_full)
                return;
        d->has_said_full = true;
        log_line(LOG_WARNING, NULL,
                 "%u client%s watched and no more can be (raise the limit of open files, LimitNOFILE=): deaths of "
                 "others are noticed within about a second",
                 d->n_watches, d->n_watches == 1 ? " is" : "s are");
}

static int
watch_make(struct kept *k, uint32_t pid, const struct client_ref *client, int pidfd)
{
        struct daemon *d = k->daemon;
        struct watch *w = calloc(1, sizeof *w);
        int err;

        if (!w)
                return -ENOMEM;
        *w = (struct watch){.kept = k, .pid = pid, .n_clients = 1, .clients = {*client}, .pidfd = pidfd};
        err = sd_event_add_io(d->event, &w->source, pidfd, POLLIN, on_death, w);
        if (err >= 0 && !tsearch(w, &d->watches, by_heap_and_pid))
                err = -ENOMEM;
        if (err < 0) {
                sd_event_source_unref(w->source);
                free(w);
                return err;
        }
        k->n_watches++;
        d->n_watches++;
        return 0;
}

void
watch_add(struct kept *k, uint32_t pid, const struct client_ref *client, int pidfd)
{
        struct daemon *d = k->daemon;
        int err = 0;

        if (pid == 0 || (pid_t)pid == k->helper_pid || update(k, pid, client))
                goto out;
        if (d->n_watches >= d->watches_max) {
                say_full(d);
                goto out;
        }
        if (pidfd < 0)
                pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
                if (errno == ESRCH)
                        tell_death(k, pid, client);
                else
                        say_full(d);
                return;
        }
        err = watch_make(k, pid, client, pidfd);
        if (err == 0)
                return;
        log_line(LOG_WARNING, k->config.name, "process %u cannot be watched: error %d", pid, -err);
out:
        if (pidfd >= 0)
                close(pidfd);
}

/* ------------------------------------------------------------------ of other namespaces */

void
watch_find(struct kept *k, const struct client_ref *client)
{
        struct daemon *d = k->daemon;

        if (client->who.pid_ns == process_pid_ns()) {
                watch_add(k, client->who.pid, client, -1);
                return;
        }
        if (d->n_sought == d->sought_room) {
                uint32_t room = d->sought_room ? 2 * d->sought_room : SOUGHT_FIRST_ROOM;
                struct sought *sought = d->n_sought < d->watches_max ? realloc(d->sought, room * sizeof *sought) : NULL;

                if (!sought) {
                        say_full(d);
                        return;
                }
                d->sought = sought;
                d->sought_room = room;
        }
        d->sought[d->n_sought++] = (struct sought){k, *client};
}

static void
watch_found(const struct sought *sought, const struct identity_search *found)
{
        const struct client_ref *c = &sought->client;

        if (found->pidfd < 0) {
                log_line(LOG_DEBUG, sought->kept->config.name,
                         "client %u.%u, process %u of pid namespace %u, is not to be found here: it is not watched",
                         c->idx, c->incarnation, c->who.pid, c->who.pid_ns);
                return;
        }
        log_line(LOG_DEBUG, sought->kept->config.name, "client %u.%u, process %u of pid namespace %u, is process %u",
                 c->idx, c->incarnation, c->who.pid, c->who.pid_ns, found->pid);
        watch_add(sought->kept, found->pid, c, found->pidfd);
}

void
watch_seek(struct daemon *d)
{
        struct identity_search *wanted = d->n_sought > 0 ? calloc(d->n_sought, sizeof *wanted) : NULL;

        if (!wanted)
                return; /* there is nobody, or no memory now */
        for (uint32_t i = 0; i < d->n_sought; i++)
                wanted[i].who = d->sought[i].client.who;
        identity_find(wanted, d->n_sought);
        for (uint32_t i = 0; i < d->n_sought; i++)
                watch_found(&d->sought[i], &wanted[i]);
        free(wanted);
        d->n_sought = 0;
}

static void
seek_no_more(struct kept *k)
{
        struct daemon *d = k->daemon;
        uint32_t n = 0;

        for (uint32_t i = 0; i < d->n_sought; i++)
                if (d->sought[i].kept != k)
                        d->sought[n++] = d->sought[i];
        d->n_sought = n;
}

/* ------------------------------------------------------------------ all of a heap */

/* The tree has no way to be walked while it changes: gather, then drop. */
struct gathering {
        struct kept *kept;
        struct watch **all;
        size_t n;
};

static void
gather(const void *node, VISIT which, void *arg)
{
        struct gathering *g = arg;
        struct watch *w = *(struct watch *const *)node;

        if ((which == postorder || which == leaf) && w->kept == g->kept)
                g->all[g->n++] = w;
}

void
watch_forget_all(struct kept *k)
{
        struct gathering g = {.kept = k, .all = calloc(k->n_watches + 1, sizeof *g.all)};

        seek_no_more(k);
        if (!g.all)
                return; /* they stay until they die */
        twalk_r(k->daemon->watches, gather, &g);
        for (size_t i = 0; i < g.n; i++)
                drop(g.all[i]);
        free(g.all);
}
