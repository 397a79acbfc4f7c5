/*
 * server.c - the socket.
 *
 * A client connects, sends one packet, and is gone; the connection is read once and closed, so that it costs no
 * descriptor.  Who is at the other end the kernel says: credentials as they were at connect(), and a pidfd.  What the
 * packet says is believed as far as it concerns the sender itself: which heap it has open, and which client it is.
 *
 * Nothing here waits: a connection that has said nothing is kept for a while among a bounded number of such.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "base/error.h"
#include "common/protocol.h"
#include "os/process.h"
#include "shmallocd/daemon.h"
#include "shmallocd/log.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

enum { ACCEPT_BATCH = 64, PENDING_MAX = 128, PENDING_MS = 5000, BACKLOG = 4096, GROUPS_MAX = 1024 };

struct peer {
        struct ucred cred;
        int pidfd; /* -1: none; PEER_DEAD: it is gone already */
};

enum { PEER_DEAD = -2 };

/* A connection that has not said anything yet; in the order in which they came. */
struct pending {
        struct daemon *daemon;
        struct pending *next;
        int fd;
        sd_event_source *io, *timer;
};

/* ------------------------------------------------------------------ who it is */

/* "Pid:" of a pidfd; 0: it is none, or its process is gone. */
static uint32_t
pid_of_pidfd(int fd)
{
        char path[64], line[128];
        long pid = 0;
        FILE *f;

        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", fd);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof line, f))
                if (sscanf(line, "Pid: %ld", &pid) == 1)
                        break;
        if (f)
                fclose(f);
        return pid > 0 ? (uint32_t)pid : 0;
}

/* One packet with what came along: at most one descriptor, perhaps credentials.  Bytes of it, 0 at the end, or -errno.
 * More descriptors than there is room for are dropped by the kernel, and the rest here. */
static ssize_t
receive(int fd, struct announce_message *message, int *ret_pidfd, bool *ret_has_cred, struct ucred *ret_cred)
{
        struct iovec part = {.iov_base = message, .iov_len = sizeof *message};
        union {
                char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof(struct ucred))];
                struct cmsghdr align;
        } control;
        struct msghdr m = {.msg_iov = &part,
                           .msg_iovlen = 1,
                           .msg_control = control.bytes,
                           .msg_controllen = sizeof control.bytes};
        ssize_t n = recvmsg(fd, &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        *ret_pidfd = -1;
        *ret_has_cred = false;
        if (n < 0)
                return -errno;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
                if (c->cmsg_level != SOL_SOCKET)
                        continue;
                if (c->cmsg_type == SCM_RIGHTS)
                        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                                if (*ret_pidfd >= 0)
                                        close(*ret_pidfd);
                                memcpy(ret_pidfd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                        }
                if (c->cmsg_type == SCM_CREDENTIALS && c->cmsg_len == CMSG_LEN(sizeof *ret_cred)) {
                        memcpy(ret_cred, CMSG_DATA(c), sizeof *ret_cred);
                        *ret_has_cred = true;
                }
        }
        return n;
}

/* The kernel's word for it; where it has none (before 6.5), the sender's own pidfd if it is the sender's. */
static int
identify(int fd, int sent_pidfd, bool has_cred, const struct ucred *sent, struct peer *ret)
{
        socklen_t size = sizeof ret->cred;

        ret->pidfd = -1;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &ret->cred, &size) < 0)
                return -errno;
        if (sent_pidfd >= 0) {
                uint32_t pid = pid_of_pidfd(sent_pidfd);

                if (pid != 0 && (pid != (uint32_t)ret->cred.pid || (has_cred && sent->pid != ret->cred.pid)))
                        return -EPERM;
                ret->pidfd = pid != 0 ? fcntl(sent_pidfd, F_DUPFD_CLOEXEC, 3) : PEER_DEAD;
                return ret->pidfd == -1 ? -errno : 0;
        }
        size = sizeof ret->pidfd;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &ret->pidfd, &size) == 0)
                return 0;
        ret->pidfd = errno == ENOPROTOOPT ? -1 : PEER_DEAD;
        return errno == EMFILE || errno == ENFILE ? -errno : 0;
}

/* ------------------------------------------------------------------ what it may */

static bool
is_in_group(int fd, const struct ucred *cred, gid_t gid)
{
        gid_t groups[GROUPS_MAX];
        socklen_t size = sizeof groups;

        if (cred->gid == gid)
                return true;
#ifdef SO_PEERGROUPS
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) == 0)
                for (size_t i = 0; i < size / sizeof groups[0]; i++)
                        if (groups[i] == gid)
                                return true;
#endif
        return false;
}

/* Whether the peer may open the heap for writing, as the kernel would decide it. */
static bool
may_open(const struct kept *k, int fd, const struct ucred *cred)
{
        char path[PATH_MAX], file[NAME_FILE_BYTES];
        struct stat st;
        mode_t wanted;

        if (cred->uid == 0)
                return true;
        if (name_to_file(k->config.name, file) < 0)
                return false;
        snprintf(path, sizeof path, "%s/%s", name_dir(), file);
        if (lstat(path, &st) < 0 || st.st_dev != k->dev || st.st_ino != k->ino)
                return false;
        wanted = cred->uid == st.st_uid ? 0600 : is_in_group(fd, cred, st.st_gid) ? 0060 : 0006;
        return (st.st_mode & wanted) == wanted;
}

static void
refuse(struct daemon *d, struct kept *k, const struct ucred *cred, const char *why)
{
        d->n_refused++;
        k->n_refused++;
        log_line_of(cred->uid, LOG_WARNING, k->config.name, "process %d of uid %u is refused: %s", cred->pid, cred->uid,
                    why);
}

static void
on_register(struct daemon *d, int fd, const struct announce_message *m, struct peer *peer)
{
        struct kept *k = kept_find(d, m->dev, m->ino);
        struct client_ref client = {.idx = m->client_idx, .incarnation = m->incarnation};

        if (!k)
                return; /* a heap that nobody asked us to keep */
        if (!may_open(k, fd, &peer->cred)) {
                refuse(d, k, &peer->cred, "it may not open the heap");
                return;
        }
        log_line(LOG_DEBUG, k->config.name, "client %u.%u is process %d of uid %u", m->client_idx, m->incarnation,
                 peer->cred.pid, peer->cred.uid);
        if (peer->pidfd == PEER_DEAD) {
                struct talk t = {.kind = TALK_REAP};

                log_line_of(peer->cred.uid, LOG_INFO, k->config.name, "process %d died before it was heard",
                            peer->cred.pid);
                k->n_deaths++;
                kept_say(k, &t);
                return;
        }
        if (peer->pidfd < 0 ||
            !identity_of(peer->pidfd, &client.who)) /* of this namespace, or the heap will not agree */
                client.who = (struct identity){(uint32_t)peer->cred.pid, process_pid_ns()};
        watch_add(k, (uint32_t)peer->cred.pid, &client, peer->pidfd);
        peer->pidfd = -1; /* the watch's now */
}

/* ------------------------------------------------------------------ statistics */

static json_t *
heap_json(const struct kept *k)
{
        return json_pack("{ss sI sI ss si si sI sI sI sI sI sI sI ss}", "name", k->config.name, "dev",
                         (json_int_t)k->dev, "ino", (json_int_t)k->ino, "state", kept_state_name(k->state), "helper",
                         (int)k->helper_pid, "watched", (int)k->n_watches, "deaths", (json_int_t)k->n_deaths,
                         "settled_threads", (json_int_t)k->n_settled, "settle_last_ns", (json_int_t)k->settle_ns_last,
                         "settle_max_ns", (json_int_t)k->settle_ns_max, "purged_bytes", (json_int_t)k->purged_bytes,
                         "restarts", (json_int_t)k->n_restarts, "refused", (json_int_t)k->n_refused, "why", k->why);
}

static json_t *
status_json(const struct daemon *d)
{
        json_t *heaps = json_array();

        for (const struct kept *k = d->heaps; k; k = k->next)
                json_array_append_new(heaps, heap_json(k));
        return json_pack("{si ss ss sI si si sI so}", "pid", (int)getpid(), "version", SHMALLOC_VERSION, "socket",
                         d->socket, "uptime_ms", (json_int_t)((daemon_now_us(d) - d->started_us) / 1000), "watched",
                         (int)d->n_watches, "watched_max", (int)d->watches_max, "unwatched", (json_int_t)d->n_unwatched,
                         "heaps", heaps);
}

/* What does not fit into the socket's buffer is not waited for: it holds more than all heaps can be. */
static void
on_status(struct daemon *d, int fd)
{
        json_t *status = status_json(d);
        char *text = json_dumps(status, JSON_COMPACT);
        size_t length = text ? strlen(text) : 0;

        for (size_t done = 0; done < length;) {
                size_t piece = length - done < PROTOCOL_PACKET_MAX ? length - done : PROTOCOL_PACKET_MAX;

                if (send(fd, text + done, piece, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                        break;
                done += piece;
        }
        free(text);
        json_decref(status);
}

/* ------------------------------------------------------------------ connections */

static void
ignore(struct daemon *d, int fd, const char *why)
{
        struct ucred cred = {.uid = LOG_NOBODY};
        socklen_t size = sizeof cred;

        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size);
        d->n_refused++;
        log_line_of(cred.uid, LOG_WARNING, NULL, "a message of process %d of uid %u is ignored: %s", cred.pid, cred.uid,
                    why);
}

/* True: it has said what it had to say, and can be closed. */
static bool
converse(struct daemon *d, int fd)
{
        struct announce_message m;
        struct peer peer = {.pidfd = -1};
        struct ucred sent = {0};
        int sent_pidfd, err;
        bool has_cred;
        ssize_t n = receive(fd, &m, &sent_pidfd, &has_cred, &sent);

        if (n == -EAGAIN || n == -EINTR)
                return false;
        err = n == (ssize_t)sizeof m && m.magic == ANNOUNCE_MAGIC ? identify(fd, sent_pidfd, has_cred, &sent, &peer)
                                                                  : -EPROTO;
        if (err == 0 && m.kind == ANNOUNCE_REGISTER)
                on_register(d, fd, &m, &peer);
        else if (err == 0 && m.kind == ANNOUNCE_STATUS)
                on_status(d, fd);
        else if (n > 0)
                ignore(d, fd, err == -EPERM ? "the pidfd in it is not the sender's" : "it is not of this version");
        if (peer.pidfd >= 0)
                close(peer.pidfd);
        if (sent_pidfd >= 0)
                close(sent_pidfd);
        return true;
}

static void
pending_drop(struct pending *p)
{
        struct pending **at = &p->daemon->pending;

        while (*at != p)
                at = &(*at)->next;
        *at = p->next;
        p->daemon->n_pending--;
        sd_event_source_unref(p->io);
        sd_event_source_unref(p->timer);
        close(p->fd);
        free(p);
}

static int
on_pending(sd_event_source *source, int fd, uint32_t revents, void *arg)
{
        struct pending *p = arg;

        (void)source, (void)revents;
        if (converse(p->daemon, fd))
                pending_drop(p);
        return 0;
}

static int
on_pending_timeout(sd_event_source *source, uint64_t usec, void *arg)
{
        (void)source, (void)usec;
        pending_drop(arg);
        return 0;
}

/* When there are too many, the one that has been silent for longest goes: the others may be about to speak. */
static void
keep_pending(struct daemon *d, int fd)
{
        struct pending *p = calloc(1, sizeof *p), **at = &d->pending;

        if (!p) {
                close(fd);
                return;
        }
        if (d->n_pending >= PENDING_MAX)
                pending_drop(d->pending);
        while (*at)
                at = &(*at)->next;
        *at = p;
        *p = (struct pending){.daemon = d, .fd = fd};
        d->n_pending++;
        if (sd_event_add_io(d->event, &p->io, fd, POLLIN, on_pending, p) < 0 ||
            sd_event_add_time_relative(d->event, &p->timer, CLOCK_MONOTONIC, PENDING_MS * UINT64_C(1000), 0,
                                       on_pending_timeout, p) < 0)
                pending_drop(p);
}

/* Without descriptors the connection would stay at the head of the queue and wake us for ever: refuse it by a spare. */
static void
refuse_for_lack(struct daemon *d)
{
        close(d->spare_fd);
        d->spare_fd = accept4(d->listen_fd, NULL, NULL, SOCK_CLOEXEC);
        if (d->spare_fd >= 0)
                close(d->spare_fd);
        d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        d->n_unwatched++;
}

static int
on_connection(sd_event_source *source, int listen_fd, uint32_t revents, void *arg)
{
        struct daemon *d = arg;

        (void)source, (void)revents;
        for (int i = 0; i < ACCEPT_BATCH; i++) {
                int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

                if (fd < 0 && (errno == EMFILE || errno == ENFILE))
                        refuse_for_lack(d);
                if (fd < 0)
                        return 0;
                if (converse(d, fd))
                        close(fd);
                else
                        keep_pending(d, fd);
        }
        return 0;
}

/* ------------------------------------------------------------------ the socket itself */

/* > 0: given by systemd; 0: none was. */
static int
take_from_systemd(struct daemon *d)
{
        int n = sd_listen_fds(1), fd = SD_LISTEN_FDS_START;

        if (n <= 0)
                return n;
        if (n > 1 || sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0) {
                log_line(LOG_ERR, NULL,
                         "systemd gave %d descriptors: one listening UNIX socket is wanted, of type "
                         "SOCK_SEQPACKET (ListenSequentialPacket=)",
                         n);
                return -EINVAL;
        }
        d->listen_fd = fd;
        return 1;
}

/* A socket that nobody listens on is left from a daemon that was killed. */
static int
clear_path(const char *path)
{
        struct ucred cred = {0};
        socklen_t size = sizeof cred;
        struct stat st;
        int fd = announce_connect(path);

        if (fd >= 0 || fd == -EAGAIN) {
                if (fd >= 0) {
                        getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &size);
                        close(fd);
                }
                log_line(LOG_ERR, NULL, "another shmallocd, process %d, listens on %s: stop it, or give --socket",
                         cred.pid, path);
                return -EADDRINUSE;
        }
        if (lstat(path, &st) < 0)
                return 0;
        if (!S_ISSOCK(st.st_mode)) {
                log_line(LOG_ERR, NULL, "%s is there and no socket: remove it, or give --socket", path);
                return -EEXIST;
        }
        return unlink(path) < 0 ? -errno : 0;
}

static int
make_socket(struct daemon *d)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        char folder[sizeof d->socket];
        struct stat st = {0};
        int err = clear_path(d->socket);

        if (err < 0)
                return err;
        snprintf(folder, sizeof folder, "%s", d->socket);
        mkdir(dirname(folder), 0755); /* /run is empty after each boot; what else is wrong bind() says */
        memcpy(address.sun_path, d->socket, sizeof address.sun_path);
        d->listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (d->listen_fd < 0)
                return -errno;
        if (bind(d->listen_fd, (const struct sockaddr *)&address, sizeof address) < 0)
                return -errno;
        d->has_socket_file = lstat(d->socket, &st) == 0;
        d->socket_dev = st.st_dev;
        d->socket_ino = st.st_ino;
        if (chmod(d->socket, d->config.socket_mode) < 0 || listen(d->listen_fd, BACKLOG) < 0)
                return -errno;
        return 0;
}

int
server_open(struct daemon *d)
{
        int one = 1, err = take_from_systemd(d);

        if (err < 0)
                return err;
        if (err == 0) {
                err = make_socket(d);
                if (err < 0) {
                        if (err != -EADDRINUSE && err != -EEXIST)
                                log_line(LOG_ERR, NULL, "cannot listen on %s: %s", d->socket, error_name(err));
                        return err;
                }
        }
        fcntl(d->listen_fd, F_SETFL, fcntl(d->listen_fd, F_GETFL) | O_NONBLOCK);
        setsockopt(d->listen_fd, SOL_SOCKET, SO_PASSCRED, &one, sizeof one); /* connections inherit it */
        d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        err = sd_event_add_io(d->event, &d->listen_source, d->listen_fd, POLLIN, on_connection, d);
        if (err < 0)
                log_line(LOG_ERR, NULL, "cannot listen: %s", error_name(err));
        return err < 0 ? err : 0;
}

void
server_close(struct daemon *d)
{
        struct stat st;

        d->listen_source = sd_event_source_unref(d->listen_source);
        if (d->has_socket_file && lstat(d->socket, &st) == 0 && st.st_dev == d->socket_dev &&
            st.st_ino == d->socket_ino) /* else somebody removed it, and another daemon has made its own */
                unlink(d->socket);
        d->has_socket_file = false;
        if (d->listen_fd >= 0)
                close(d->listen_fd);
        d->listen_fd = -1;
}
