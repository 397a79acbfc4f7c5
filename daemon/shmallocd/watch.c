/*
 * watch.c - processes, by pidfd: what the daemon hears of deaths by.
 *
 * A pidfd stands for one process for ever, whatever becomes of its number.  The daemon holds one for each client, and
 * nothing else of it; when the limit of descriptors is reached, further clients are not watched, and their deaths are
 * noticed by the helper's look at the heap once a second, or by other clients.
 */
#include <errno.h>
#include <poll.h>
#include <search.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "shmallocd/daemon.h"
#include "shmallocd/log.h"

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

static void
tell_death(struct kept *k, uint32_t pid, uint32_t client_idx, uint32_t incarnation)
{
        struct talk t = {.kind = TALK_DEAD, .client_idx = client_idx, .incarnation = incarnation, .pid = pid};

        k->n_deaths++;
        log_line(LOG_INFO, k->config.name, "client %u.%u, process %u, has died", client_idx, incarnation, pid);
        kept_say(k, &t);
}

static int
on_death(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
        struct watch *w = arg;

        (void)source, (void)fd, (void)revents;
        tell_death(w->kept, w->pid, w->client_idx, w->incarnation);
        drop(w);
        return 0;
}

static bool
is_dead(int pidfd)
{
        struct pollfd p = {.fd = pidfd, .events = POLLIN};

        return poll(&p, 1, 0) == 1;
}

/* True: the process is watched already, and is only another client now: it has opened the heap again. */
static bool
update(struct kept *k, uint32_t pid, uint32_t client_idx, uint32_t incarnation)
{
        struct watch key = {.kept = k, .pid = pid};
        struct watch **found = tfind(&key, &k->daemon->watches, by_heap_and_pid);

        if (!found)
                return false;
        if (is_dead((*found)->pidfd)) { /* and its number is another process's: the event is on its way */
                tell_death(k, pid, (*found)->client_idx, (*found)->incarnation);
                drop(*found);
                return false;
        }
        (*found)->client_idx = client_idx;
        (*found)->incarnation = incarnation;
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
                 "%u clients are watched and no more can be (raise the limit of open files, LimitNOFILE=): deaths of "
                 "others are noticed within about a second",
                 d->n_watches);
}

static int
watch_make(struct kept *k, uint32_t pid, uint32_t client_idx, uint32_t incarnation, int pidfd)
{
        struct daemon *d = k->daemon;
        struct watch *w = calloc(1, sizeof *w);
        int err;

        if (!w)
                return -ENOMEM;
        *w = (struct watch){
                .kept = k, .pid = pid, .client_idx = client_idx, .incarnation = incarnation, .pidfd = pidfd};
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
watch_add(struct kept *k, uint32_t pid, uint32_t client_idx, uint32_t incarnation, int pidfd)
{
        struct daemon *d = k->daemon;
        int err = 0;

        if (pid == 0 || (pid_t)pid == k->helper_pid || update(k, pid, client_idx, incarnation))
                goto out;
        if (d->n_watches >= d->watches_max) {
                say_full(d);
                goto out;
        }
        if (pidfd < 0)
                pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0) {
                if (errno == ESRCH)
                        tell_death(k, pid, client_idx, incarnation);
                else
                        say_full(d);
                return;
        }
        err = watch_make(k, pid, client_idx, incarnation, pidfd);
        if (err == 0)
                return;
        log_line(LOG_WARNING, k->config.name, "process %u cannot be watched: error %d", pid, -err);
out:
        if (pidfd >= 0)
                close(pidfd);
}

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

        if (!g.all)
                return; /* they stay until they die */
        twalk_r(k->daemon->watches, gather, &g);
        for (size_t i = 0; i < g.n; i++)
                drop(g.all[i]);
        free(g.all);
}
