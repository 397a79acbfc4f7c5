/*
 * kept.c - the heaps that the daemon keeps, and their helpers: started, listened to, ended, started again.
 *
 * A helper that ends, however, is started again: at once the first time, then later and later, up to half a minute, so
 * that a heap that kills each helper costs next to nothing.  One that says nothing for long is killed.  Nothing that a
 * helper says makes the daemon do more than log it, count it, or watch a process.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "common/text.h"
#include "shmallocd/daemon.h"
#include "shmallocd/log.h"

enum {
        RESTART_FIRST_MS = 20,
        RESTART_MAX_MS = 30000,
        BUSY_MS = 2000,
        HEALTHY_MS = 60000, /* after so long, failures before are forgotten */
        SILENT_MS = 20000,  /* then a helper is killed: it is asked every 2 s */
        ARGS_MAX = 40,
        ARG_BYTES = 256 /* the longest are 64 nodes, one by one */
};

extern char **environ;

static int helper_start(struct kept *k);

const char *
kept_state_name(enum heap_state state)
{
        static const char *const names[] = {"starting", "kept", "failing", "busy", "leaving"};

        return names[state];
}

struct kept *
kept_find(struct daemon *d, uint64_t dev, uint64_t ino)
{
        struct kept *k = d->heaps;

        while (k && (k->ino == 0 || k->dev != dev || k->ino != ino))
                k = k->next;
        return k;
}

struct kept *
kept_find_name(struct daemon *d, const char *name)
{
        struct kept *k = d->heaps;

        while (k && strcmp(k->config.name, name) != 0)
                k = k->next;
        return k;
}

/* ------------------------------------------------------------------ the end of a helper */

static void
forget(struct kept *k)
{
        struct daemon *d = k->daemon;
        struct kept **at = &d->heaps;

        while (*at != k)
                at = &(*at)->next;
        *at = k->next;
        watch_forget_all(k);
        sd_event_source_unref(k->restart_source);
        free(k);
        daemon_heap_answered(d);
}

static int
on_restart(sd_event_source *source, uint64_t usec, void *arg)
{
        struct kept *k = arg;

        (void)source, (void)usec;
        k->restart_source = sd_event_source_unref(k->restart_source);
        helper_start(k);
        return 0;
}

static uint64_t
restart_delay_ms(const struct kept *k)
{
        uint32_t shift = k->n_failures > 1 ? k->n_failures - 1 : 0;

        if (k->state == HEAP_BUSY)
                return BUSY_MS;
        return shift < 11 ? (uint64_t)RESTART_FIRST_MS << shift : RESTART_MAX_MS;
}

static void
start_later(struct kept *k)
{
        uint64_t delay_ms = restart_delay_ms(k);
        int err = sd_event_add_time_relative(k->daemon->event, &k->restart_source, CLOCK_MONOTONIC, delay_ms * 1000,
                                             1000, on_restart, k);

        if (err < 0)
                log_line(LOG_ERR, k->config.name, "no other helper can be started: %s", error_name(err));
        else
                log_line(k->state == HEAP_BUSY && k->n_failures > 1 ? LOG_DEBUG : LOG_NOTICE, k->config.name,
                         "another helper is started in %" PRIu64 " ms", delay_ms);
}

static void
helper_drop(struct kept *k)
{
        k->talk_source = sd_event_source_unref(k->talk_source);
        k->child_source = sd_event_source_unref(k->child_source);
        if (k->talk_fd >= 0)
                close(k->talk_fd);
        k->talk_fd = -1;
        k->helper_pid = 0;
}

static void
note_end(struct kept *k, const siginfo_t *info)
{
        bool is_signal = info->si_code == CLD_KILLED || info->si_code == CLD_DUMPED;

        if (k->state == HEAP_BUSY || (k->state == HEAP_FAILING && !is_signal))
                return; /* it has said why itself */
        k->state = HEAP_FAILING;
        if (is_signal)
                snprintf(k->why, sizeof k->why, "helper %d was ended by signal %d (%s)", info->si_pid, info->si_status,
                         sigabbrev_np(info->si_status) ? sigabbrev_np(info->si_status) : "?");
        else
                snprintf(k->why, sizeof k->why, "helper %d ended with status %d", info->si_pid, info->si_status);
        log_line(LOG_WARNING, k->config.name, "%s", k->why);
}

static int on_talk(sd_event_source *source, int fd, uint32_t revents, void *arg);

/* What it said last may still be in the socket. */
static int
on_helper_end(sd_event_source *source, const siginfo_t *info, void *arg)
{
        struct kept *k = arg;

        (void)source;
        on_talk(NULL, k->talk_fd, POLLIN, k);
        if (k->state == HEAP_LEAVING || k->daemon->is_stopping) {
                helper_drop(k);
                log_line(LOG_NOTICE, k->config.name, "left as it is");
                forget(k);
                return 0;
        }
        note_end(k, info);
        if (daemon_now_us(k->daemon) - k->started_us > HEALTHY_MS * UINT64_C(1000))
                k->n_failures = 0;
        k->n_failures++;
        helper_drop(k);
        k->n_restarts++;
        k->has_answered = true;
        daemon_heap_answered(k->daemon);
        if (!k->daemon->is_stopping)
                start_later(k);
        return 0;
}

/* ------------------------------------------------------------------ listening */

/* That it is the file of that name is seen for oneself. */
static void
on_ready(struct kept *k, const struct talk *t)
{
        k->dev = t->a;
        k->ino = t->b;
        k->state = HEAP_KEPT;
        k->why[0] = '\0';
        log_line(LOG_NOTICE, k->config.name, "%s, looked after by helper %d of uid %u",
                 t->n               ? "created"
                 : k->was_ever_kept ? "adopted again"
                                    : "adopted",
                 k->helper_pid, k->config.uid);
        k->was_ever_kept = k->has_answered = true;
        daemon_heap_answered(k->daemon);
}

static void
on_failed(struct kept *k, const struct talk *t)
{
        bool is_news = k->state != HEAP_BUSY || strcmp(k->why, t->text) != 0;

        k->state = t->n == -EBUSY ? HEAP_BUSY : HEAP_FAILING;
        snprintf(k->why, sizeof k->why, "%s", t->text);
        if (is_news)
                log_line(LOG_ERR, k->config.name, "%s", k->why);
}

static void
on_client(struct kept *k, const struct talk *t)
{
        const struct client_ref client = {t->client_idx, t->incarnation, {t->pid, t->pid_ns}};

        watch_find(k, &client);
}

static void
on_settled(struct kept *k, const struct talk *t)
{
        if (t->n <= 0)
                return;
        k->n_settled += (uint64_t)t->n;
        k->settle_ns_last = t->a;
        if (t->a > k->settle_ns_max)
                k->settle_ns_max = t->a;
        if (t->pid_here != 0)
                log_line(LOG_INFO, k->config.name, "%" PRId64 " thread%s of process %u settled in %" PRIu64 " us", t->n,
                         text_s((uint64_t)t->n), t->pid_here, t->a / 1000);
        else
                log_line(LOG_INFO, k->config.name, "%" PRId64 " thread%s of the dead settled in %" PRIu64 " us", t->n,
                         text_s((uint64_t)t->n), t->a / 1000);
}

static void
on_purged(struct kept *k, const struct talk *t)
{
        char bytes[TEXT_BYTES_MAX];

        k->purged_bytes += t->a;
        log_line(LOG_DEBUG, k->config.name, "%s given back to the system", text_bytes(bytes, t->a));
}

static void
hear(struct kept *k, struct talk *t)
{
        t->text[sizeof t->text - 1] = '\0';
        k->heard_us = daemon_now_us(k->daemon);
        switch (t->kind) {
        case TALK_READY:
                on_ready(k, t);
                break;
        case TALK_FAILED:
                on_failed(k, t);
                break;
        case TALK_CLIENT:
                on_client(k, t);
                break;
        case TALK_DIED:
                k->n_deaths++;
                log_line(LOG_INFO, k->config.name, "client %u.%u, process %u, has died", t->client_idx, t->incarnation,
                         t->pid_here);
                break;
        case TALK_SETTLED:
                on_settled(k, t);
                break;
        case TALK_PURGED:
                on_purged(k, t);
                break;
        case TALK_NOTED:
                log_line(LOG_NOTICE, k->config.name, "%s", t->text);
                break;
        default: /* TALK_PONG, or nonsense */
                break;
        }
}

/* A bounded number at a time: others want to be heard, too. */
static int
on_talk(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
        struct talk t, reap = {.kind = TALK_REAP};
        struct kept *k = arg;

        if (revents & POLLIN)
                for (int i = 0; i < 256 && recv(fd, &t, sizeof t, MSG_DONTWAIT) == (ssize_t)sizeof t; i++)
                        hear(k, &t);
        if (source && (revents & POLLOUT) && k->is_behind) {
                k->is_behind = false;
                sd_event_source_set_io_events(source, POLLIN);
                kept_say(k, &reap);
        }
        if (source && (revents & (POLLHUP | POLLERR)) && !(revents & POLLIN))
                sd_event_source_set_enabled(source, SD_EVENT_OFF); /* its end will be told */
        return 0;
}

void
kept_say(struct kept *k, const struct talk *t)
{
        if (k->talk_fd < 0 || k->state == HEAP_FAILING || k->state == HEAP_BUSY)
                return; /* the next helper begins by reaping everything */
        if (send(k->talk_fd, t, sizeof *t, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)sizeof *t || errno != EAGAIN)
                return;
        if (!k->is_behind)
                sd_event_source_set_io_events(k->talk_source, POLLIN | POLLOUT);
        k->is_behind = true;
}

void
kept_look_after(struct kept *k)
{
        struct talk ping = {.kind = TALK_PING};
        uint64_t now = daemon_now_us(k->daemon);

        if (k->helper_pid == 0)
                return;
        if (now - k->heard_us > SILENT_MS * UINT64_C(1000)) {
                log_line(LOG_ERR, k->config.name, "helper %d has said nothing for %d s: it is killed", k->helper_pid,
                         SILENT_MS / 1000);
                kill(k->helper_pid, SIGKILL); /* our own child, not waited for yet */
                k->heard_us = now;
                return;
        }
        kept_say(k, &ping);
}

/* ------------------------------------------------------------------ starting */

/* "--helper --heap=NAME --capacity=..." */
static void
args_make(const struct kept *k, char *args[ARGS_MAX], char buf[ARGS_MAX][ARG_BYTES])
{
        int n = 0;

        snprintf(buf[n++], ARG_BYTES, "shmallocd");
        snprintf(buf[n++], ARG_BYTES, "--helper");
        snprintf(buf[n++], ARG_BYTES, "--heap=%s", k->config.name);
        for (size_t i = 0; i < config_n_keys; i++) {
                char value[ARG_BYTES - 32];

                if (heap_config_get(&k->config, i, value, sizeof value))
                        snprintf(buf[n++], ARG_BYTES, "--%s=%s", config_keys[i].name, value);
        }
        for (int i = 0; i < n; i++)
                args[i] = buf[i];
        args[n] = NULL;
}

/* Without /proc, by the name that it was started by. */
static const char *
own_program(void)
{
        static const char of_kernel[] = "/proc/self/exe";
        const char *started = (const char *)getauxval(AT_EXECFN);

        return access(of_kernel, X_OK) == 0 || !started ? of_kernel : started;
}

/* The same program, with the socket pair and standard error and nothing else.  The child has no signal blocked. */
static int
spawn(struct kept *k, int fd)
{
        static char buf[ARGS_MAX][ARG_BYTES];
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        char *args[ARGS_MAX];
        sigset_t none;
        pid_t pid;
        int err;

        args_make(k, args, buf);
        sigemptyset(&none);
        posix_spawnattr_init(&attr);
        posix_spawnattr_setsigmask(&attr, &none);
        posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, fd, TALK_FD);
        posix_spawn_file_actions_addclosefrom_np(&actions, TALK_FD + 1);
        err = posix_spawn(&pid, own_program(), &actions, &attr, args, environ);
        posix_spawn_file_actions_destroy(&actions);
        posix_spawnattr_destroy(&attr);
        if (err == 0)
                k->helper_pid = pid;
        return -err;
}

/* An existing file of another owner is not adopted: the configuration says whose it is to be. */
static int
check_file(struct kept *k)
{
        char path[PATH_MAX], file[NAME_FILE_BYTES];
        struct stat st;

        if (name_to_file(k->config.name, file) < 0)
                return -EINVAL;
        snprintf(path, sizeof path, "%s/%s", name_dir(), file);
        if (lstat(path, &st) < 0 || st.st_uid == k->config.uid)
                return 0;
        snprintf(k->why, sizeof k->why,
                 "%.160s belongs to uid %u, not to %u as configured: change owner =, or remove it", path, st.st_uid,
                 k->config.uid);
        return -EACCES;
}

static void
fail_start(struct kept *k, const char *why)
{
        k->state = HEAP_FAILING;
        if (why)
                snprintf(k->why, sizeof k->why, "%s", why);
        log_line(LOG_ERR, k->config.name, "%s", k->why);
        k->n_failures++;
        k->n_restarts++;
        k->has_answered = true;
        daemon_heap_answered(k->daemon);
        start_later(k);
}

static int
helper_start(struct kept *k)
{
        int pair[2] = {-1, -1}, err = check_file(k);

        if (err < 0) {
                fail_start(k, NULL);
                return err;
        }
        err = socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0 ? -errno : spawn(k, pair[1]);
        if (err == 0) {
                k->talk_fd = pair[0];
                if (k->state != HEAP_BUSY)
                        k->state = HEAP_STARTING;
                k->is_behind = false;
                k->started_us = k->heard_us = daemon_now_us(k->daemon);
                err = sd_event_add_io(k->daemon->event, &k->talk_source, k->talk_fd, POLLIN, on_talk, k);
                if (err >= 0)
                        err = sd_event_add_child(k->daemon->event, &k->child_source, k->helper_pid, WEXITED,
                                                 on_helper_end, k);
        }
        if (pair[1] >= 0)
                close(pair[1]);
        if (err >= 0)
                return 0;
        if (k->helper_pid != 0)
                kill(k->helper_pid, SIGKILL);
        else if (pair[0] >= 0)
                close(pair[0]);
        helper_drop(k);
        fail_start(k, error_name(err));
        return err;
}

int
kept_add(struct daemon *d, const struct heap_config *config)
{
        struct kept *k = calloc(1, sizeof *k), **at = &d->heaps;

        if (!k)
                return -ENOMEM;
        *k = (struct kept){.daemon = d, .config = *config, .talk_fd = -1};
        while (*at)
                at = &(*at)->next;
        *at = k;
        helper_start(k);
        return 0;
}

void
kept_leave(struct kept *k)
{
        struct talk quit = {.kind = TALK_QUIT};

        if (k->helper_pid == 0) {
                forget(k);
                return;
        }
        kept_say(k, &quit);
        k->state = HEAP_LEAVING;
        shutdown(k->talk_fd, SHUT_WR); /* also when it was not listening */
}

/* Capacity and decay can be changed; the rest is what the heap was created with. */
void
kept_change(struct kept *k, const struct heap_config *config)
{
        struct talk set = {.kind = TALK_SET, .a = config->capacity, .b = (uint64_t)config->decay_ms};
        struct heap_config old = k->config;

        k->config = *config;
        if (old.capacity != config->capacity || old.decay_ms != config->decay_ms)
                kept_say(k, &set);
        old.capacity = config->capacity;
        old.decay_ms = config->decay_ms;
        old.line = config->line;
        if (memcmp(&old, config, sizeof old) != 0)
                log_line(LOG_NOTICE, k->config.name,
                         "the configuration has changed: what else it says than capacity and decay_ms counts when the "
                         "heap is created anew");
}
