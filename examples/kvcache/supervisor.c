/*
 * supervisor.c - see supervisor.h.
 *
 * It keeps the port (by a socket that is bound and does not listen), the heap and the workers' places; it serves
 * nobody.  When it is killed itself its workers end, the heap stays, and the next start takes it over.
 */
#include "supervisor.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "settings.h"
#include "store.h"
#include "worker.h"

enum { CRASHES_MAX = 10, CRASH_MS = 500, STOP_MS = 5000 };

struct supervisor {
        shheap *heap;
        struct root *root;
        int reserved; /* socket */
        int ready[2]; /* pipe: workers say that they serve */
        int signals;  /* SIGCHLD, SIGTERM, SIGINT */
        pid_t pid[WORKERS_MAX];
        uint64_t started_ms[WORKERS_MAX];
        unsigned n_crashes; /* one after the other, soon after the start */
        unsigned n_ready;
        bool is_stopping, has_failed;
};

__attribute__((format(printf, 1, 2))) static void
say(const char *fmt, ...)
{
        va_list list;

        if (settings.is_quiet)
                return;
        va_start(list, fmt);
        fputs("kvcache: ", stdout);
        vprintf(fmt, list);
        putchar('\n');
        fflush(stdout);
        va_end(list);
}

/* ------------------------------------------------------------------ workers */

static void
start_worker(struct supervisor *s, uint32_t no)
{
        pid_t parent = getpid(), pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGTERM);
                if (getppid() != parent)
                        _exit(0);
                close(s->reserved);
                close(s->signals);
                close(s->ready[0]);
                worker_run(s->heap, s->root, no, s->ready[1]);
        }
        s->pid[no] = pid < 0 ? 0 : pid;
        s->started_ms[no] = store_now_ms();
        if (pid < 0) {
                fprintf(stderr, "kvcache: cannot start worker %u: %s\n", no, strerror(errno));
                s->has_failed = true;
        }
}

static void
signal_workers(const struct supervisor *s, int sig)
{
        for (uint32_t i = 0; i < settings.n_workers; i++)
                if (s->pid[i] > 0)
                        kill(s->pid[i], sig);
}

static unsigned
count_workers(const struct supervisor *s)
{
        unsigned n = 0;

        for (uint32_t i = 0; i < settings.n_workers; i++)
                n += s->pid[i] > 0;
        return n;
}

/* Whether it can be expected that the next one in this place does better. */
static bool
is_worth_a_restart(struct supervisor *s, uint32_t no, int status)
{
        bool is_killed = WIFSIGNALED(status) && (WTERMSIG(status) == SIGKILL || WTERMSIG(status) == SIGTERM);
        bool is_soon = store_now_ms() - s->started_ms[no] < CRASH_MS;

        if (WIFEXITED(status) && WEXITSTATUS(status) == EXIT_SETUP)
                return false;
        s->n_crashes = is_soon && !is_killed ? s->n_crashes + 1 : 0;
        return s->n_crashes < CRASHES_MAX;
}

static void
worker_has_ended(struct supervisor *s, uint32_t no, int status)
{
        int pid = (int)s->pid[no];

        s->pid[no] = 0;
        if (s->is_stopping)
                return;
        if (!is_worth_a_restart(s, no, status)) {
                fprintf(stderr, "kvcache: worker %u ended with %s %d soon after its start: giving up\n", no,
                        WIFSIGNALED(status) ? "signal" : "status",
                        WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
                s->has_failed = true;
                return;
        }
        start_worker(s, no);
        put(&s->root->n_restarts, get(&s->root->n_restarts) + 1);
        say("worker %u, process %d, ended by %s %d; process %d takes its place", no, pid,
            WIFSIGNALED(status) ? "signal" : "status", WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status),
            (int)s->pid[no]);
}

static void
reap_workers(struct supervisor *s)
{
        for (uint32_t i = 0; i < settings.n_workers; i++) {
                int status;

                if (s->pid[i] > 0 && waitpid(s->pid[i], &status, WNOHANG) == s->pid[i])
                        worker_has_ended(s, i, status);
        }
}

/* ------------------------------------------------------------------ beginning */

static bool
reserve_port(struct supervisor *s)
{
        struct sockaddr_in a;
        socklen_t bytes = sizeof a;

        s->reserved = worker_listen(settings.port);
        if (s->reserved < 0 || getsockname(s->reserved, (struct sockaddr *)&a, &bytes) < 0)
                return false;
        settings.port = ntohs(a.sin_port);
        if (settings.heap_name[0] == '\0')
                snprintf(settings.heap_name, sizeof settings.heap_name, "kvcache-%u", settings.port);
        return true;
}

/* A descriptor for each client, and some. */
static void
raise_descriptors(void)
{
        struct rlimit limit;
        rlim_t wanted = settings.max_clients + 64;

        if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= wanted)
                return;
        limit.rlim_cur = limit.rlim_max < wanted ? limit.rlim_max : wanted;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted)
                settings.max_clients = (unsigned)limit.rlim_cur - 64;
}

static bool
open_signals(struct supervisor *s)
{
        sigset_t set;

        signal(SIGPIPE, SIG_IGN);
        sigemptyset(&set);
        sigaddset(&set, SIGCHLD);
        sigaddset(&set, SIGTERM);
        sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return false;
        s->signals = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
        return s->signals >= 0 && pipe2(s->ready, O_CLOEXEC | O_NONBLOCK) == 0;
}

static bool
open_store(struct supervisor *s, bool *ret_is_new)
{
        struct store_options o = {
                .name = settings.heap_name, .max_bytes = settings.max_bytes, .n_buckets = settings.n_buckets};

        if (store_create(&o, &s->heap, &s->root, ret_is_new) < 0)
                return false;
        if (!*ret_is_new && s->root->max_bytes != settings.max_bytes)
                fprintf(stderr, "kvcache: heap %s was made with --max-memory=%" PRIu64 ", which is kept to\n",
                        settings.heap_name, s->root->max_bytes);
        put(&s->root->n_workers, settings.n_workers);
        return true;
}

/* ------------------------------------------------------------------ until the end */

static void
count_ready(struct supervisor *s, const char *found)
{
        char bytes[64];
        ssize_t n = read(s->ready[0], bytes, sizeof bytes);
        bool was_ready = s->n_ready >= settings.n_workers;

        s->n_ready += n > 0 ? (unsigned)n : 0;
        if (!was_ready && s->n_ready >= settings.n_workers)
                say("%u workers serve %s:%u from heap %s%s", settings.n_workers, settings.address, settings.port,
                    settings.heap_name, found);
}

static void
take_signals(struct supervisor *s)
{
        struct signalfd_siginfo info;

        while (read(s->signals, &info, sizeof info) == sizeof info) {
                if (info.ssi_signo != SIGCHLD && !s->is_stopping) {
                        s->is_stopping = true;
                        signal_workers(s, SIGTERM);
                }
        }
        reap_workers(s);
}

static void
look_after_workers(struct supervisor *s, const char *found)
{
        struct pollfd fds[] = {{.fd = s->signals, .events = POLLIN}, {.fd = s->ready[0], .events = POLLIN}};
        uint64_t stopped_ms = 0;

        while (count_workers(s) > 0) {
                if (s->has_failed && !s->is_stopping) {
                        s->is_stopping = true;
                        signal_workers(s, SIGTERM);
                }
                if (s->is_stopping && stopped_ms == 0)
                        stopped_ms = store_now_ms();
                poll(fds, 2, s->is_stopping ? STOP_MS : -1);
                count_ready(s, found);
                take_signals(s);
                if (stopped_ms != 0 && store_now_ms() - stopped_ms >= STOP_MS)
                        signal_workers(s, SIGKILL); /* stopped, perhaps */
        }
}

static void
close_store(struct supervisor *s)
{
        store_settle_places(s->heap, s->root);
        pthread_mutex_unlock(&s->root->supervisor);
        shheap_close(s->heap);
        if (settings.is_kept)
                say("heap %s is kept", settings.heap_name);
        else if (shheap_unlink(settings.heap_name) < 0)
                fprintf(stderr, "kvcache: %s\n", shheap_errormsg());
}

int
supervisor_run(void)
{
        static struct supervisor s;
        char found[64] = "";
        bool is_new;

        raise_descriptors();
        if (!open_signals(&s) || !reserve_port(&s) || !open_store(&s, &is_new))
                return 1;
        store_settle_places(s.heap, s.root);
        if (!is_new) {
                struct cache c = {.root = s.root};

                snprintf(found, sizeof found, ", with %" PRIu64 " keys that were there", table_n_items(&c));
        }
        for (uint32_t i = 0; i < settings.n_workers; i++)
                start_worker(&s, i);
        look_after_workers(&s, found);
        close_store(&s);
        return s.has_failed ? 1 : 0;
}
