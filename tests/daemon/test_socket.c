/*
 * The socket: whoever is at the other end, and whatever is in the place of the socket, clients open their heaps, and
 * the daemon goes on and watches those only who may open the heap.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "os/announce.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { NOBODY = 65534, N_GARBAGE = 500, N_SILENT = 300 };

static bool
needs_root(void)
{
        if (geteuid() == 0)
                return true;
        fprintf(stderr, "skipped: this needs root, to become another user\n");
        return false;
}

static void
start(struct rig *rig, const char *heap)
{
        char arg[100];

        snprintf(arg, sizeof arg, "--heap=%s", heap);
        rig_start(rig, arg, "--capacity=64M", "--verbose", NULL);
        rig_expect(rig, "ready:");
}

static void
message_for(const shheap *h, struct announce_message *ret)
{
        struct stat st;
        int fd = shheap_dup_fd(h, 0);

        ck_assert_int_eq(fstat(fd, &st), 0);
        close(fd);
        *ret = (struct announce_message){.magic = ANNOUNCE_MAGIC, .kind = ANNOUNCE_REGISTER};
        ret->dev = st.st_dev;
        ret->ino = st.st_ino;
        ret->client_idx = 1000;
        ret->incarnation = 1;
}

static int
connect_to_daemon(void)
{
        int fd = announce_connect(getenv("SHMALLOC_SOCKET"));

        ck_assert_int_ge(fd, 0);
        return fd;
}

/* ------------------------------------------------------------------ who may not */

START_TEST(another_uid_is_refused)
{
        struct announce_message m;
        struct rig rig;
        shheap *h;
        pid_t pid;

        if (!needs_root())
                return;
        ck_assert_int_eq(chmod(rig_dir(), 0755), 0);
        start(&rig, "mine");
        h = heap_dir_open("mine", 0, NULL);
        message_for(h, &m);
        pid = fork();
        if (pid == 0) {
                if (setgroups(0, NULL) < 0 || setresgid(NOBODY, NOBODY, NOBODY) < 0 ||
                    setresuid(NOBODY, NOBODY, NOBODY) < 0)
                        _exit(1);
                _exit(-announce_send(getenv("SHMALLOC_SOCKET"), &m));
        }
        rig_expect(&rig, "of uid 65534 is refused: it may not open the heap");
        ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
        ck_assert(!rig_has_said(&rig, "client 1000.1"));
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* What may stand in the place of a socket that can be used. */
static void
open_must_work(void)
{
        shheap *h = heap_dir_open("free", SHHEAP_CREATE, NULL);
        void *p = shheap_malloc(h, 100);

        ck_assert_ptr_nonnull(p);
        shheap_free(h, p);
        ck_assert_int_eq(shheap_close(h), 0);
}

static void
open_as_nobody(struct child *self, void *arg)
{
        shheap *h;

        (void)self, (void)arg;
        if (geteuid() == 0)
                MUST(setgroups(0, NULL) == 0 && setresgid(NOBODY, NOBODY, NOBODY) == 0 &&
                     setresuid(NOBODY, NOBODY, NOBODY) == 0);
        MUST(announce_connect(getenv("SHMALLOC_SOCKET")) == -EACCES);
        MUST(shheap_open(&h, "shared", 0, NULL) == 0);
        MUST(shheap_malloc(h, 100));
        MUST(shheap_close(h) == 0);
}

START_TEST(a_socket_that_may_not_be_used_costs_nothing)
{
        struct child child;
        struct rig rig;

        ck_assert_int_eq(chmod(rig_dir(), 0755), 0);
        rig_start(&rig, "--heap=shared", "--capacity=64M", "--mode=0666", NULL);
        rig_expect(&rig, "ready:");
        ck_assert_int_eq(chmod(getenv("SHMALLOC_SOCKET"), 0), 0);
        child_start(&child, open_as_nobody, NULL);
        ck_assert_int_eq(child_end(&child), 0);
        rig_stop(&rig);
}
END_TEST

START_TEST(whatever_the_socket_is_heaps_open)
{
        const char *good = strdup(getenv("SHMALLOC_SOCKET"));
        char long_path[200];

        memset(long_path, 'x', sizeof long_path - 1);
        long_path[0] = '/';
        long_path[sizeof long_path - 1] = '\0';
        setenv("SHMALLOC_SOCKET", rig_write("plain", "no socket\n"), 1);
        open_must_work();
        setenv("SHMALLOC_SOCKET", rig_dir(), 1);
        open_must_work();
        setenv("SHMALLOC_SOCKET", long_path, 1);
        open_must_work();
        setenv("SHMALLOC_SOCKET", "/nowhere/at/all", 1);
        open_must_work();
        setenv("SHMALLOC_SOCKET", good, 1);
        open_must_work();
}
END_TEST

/* A queue that is full, because nobody accepts: connect() would wait if it were a waiting one. */
START_TEST(a_daemon_that_never_accepts_is_not_waited_for)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
        int held[16], n = 0;

        snprintf(address.sun_path, sizeof address.sun_path, "%s", getenv("SHMALLOC_SOCKET"));
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        ck_assert_int_eq(listen(fd, 2), 0);
        while (n < 16 && (held[n] = announce_connect(getenv("SHMALLOC_SOCKET"))) >= 0)
                n++;
        ck_assert_int_lt(n, 16);
        ck_assert_int_eq(held[n], -EAGAIN);
        open_must_work();
        while (n > 0)
                close(held[--n]);
        close(fd);
}
END_TEST

/* ------------------------------------------------------------------ who lies */

static void
send_with_pidfd(const struct announce_message *m, int pidfd)
{
        struct iovec part = {.iov_base = (void *)(uintptr_t)m, .iov_len = sizeof *m};
        union {
                char bytes[CMSG_SPACE(sizeof(int))];
                struct cmsghdr align;
        } control = {{0}};
        struct msghdr msg = {.msg_iov = &part,
                             .msg_iovlen = 1,
                             .msg_control = control.bytes,
                             .msg_controllen = sizeof control.bytes};
        struct cmsghdr *c = CMSG_FIRSTHDR(&msg);
        int fd = connect_to_daemon();

        *c = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof pidfd)};
        memcpy(CMSG_DATA(c), &pidfd, sizeof pidfd);
        ck_assert_int_eq(sendmsg(fd, &msg, MSG_NOSIGNAL), (int)sizeof *m);
        close(fd);
}

static void
wait_to_be_killed(struct child *self, void *arg)
{
        (void)arg;
        child_hear(self);
}

/* Where the kernel cannot tell who the peer is, what the peer sends is taken if it is a pidfd, and the peer's own. */
START_TEST(a_pidfd_counts_if_it_is_the_sender_s)
{
        struct announce_message m;
        struct child child;
        struct rig rig;
        char text[64];
        shheap *h;
        int own, other;

        start(&rig, "mine");
        h = heap_dir_open("mine", 0, NULL);
        message_for(h, &m);
        child_start(&child, wait_to_be_killed, NULL);
        other = (int)syscall(SYS_pidfd_open, child.pid, 0);
        own = (int)syscall(SYS_pidfd_open, getpid(), 0);
        send_with_pidfd(&m, other);
        rig_expect(&rig, "the pidfd in it is not the sender's");
        snprintf(text, sizeof text, "client 1000.1 is process %d", (int)getpid());
        ck_assert(!rig_has_said(&rig, text));
        send_with_pidfd(&m, own);
        rig_expect(&rig, text);
        close(own);
        close(other);
        child_kill(&child);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* Anything, of any length, with descriptors or without. */
START_TEST(garbage_is_survived_and_nothing_leaks)
{
        struct announce_message last;
        struct rig rig;
        unsigned seed = 1;
        char bytes[4096];
        shheap *h;
        int n_fds;

        start(&rig, "mine");
        h = heap_dir_open("mine", 0, NULL);
        rig_expect(&rig, "is process");
        n_fds = rig_count_fds(&rig);
        for (int i = 0; i < N_GARBAGE; i++) {
                struct announce_message m;
                int fd = connect_to_daemon();

                for (size_t at = 0; at < sizeof bytes; at++)
                        bytes[at] = (char)((seed = seed * 1664525 + 1013904223) >> 24);
                if (i % 3 == 0) { /* nearly right */
                        message_for(h, &m);
                        ((uint32_t *)&m)[i / 3 % 8] ^= seed;
                        memcpy(bytes, &m, sizeof m);
                }
                send(fd, bytes, i % 3 == 0 ? sizeof m : seed % sizeof bytes, MSG_NOSIGNAL);
                if (i % 7 == 0) {
                        message_for(h, &m);
                        send_with_pidfd(&m, fd);
                }
                close(fd);
        }
        message_for(h, &last);
        last.client_idx = 77;
        ck_assert_int_eq(announce_send(getenv("SHMALLOC_SOCKET"), &last), 0);
        rig_expect(&rig, "client 77.1 is process");
        ck_assert_int_le(rig_count_fds(&rig), n_fds + 1); /* the connection just heard may be open still */
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* Connections that say nothing do not keep others from being heard. */
START_TEST(the_silent_do_not_keep_others_from_being_heard)
{
        struct announce_message m;
        int silent[N_SILENT];
        struct rig rig;
        shheap *h;

        start(&rig, "mine");
        h = heap_dir_open("mine", 0, NULL);
        for (int i = 0; i < N_SILENT; i++)
                silent[i] = connect_to_daemon();
        message_for(h, &m);
        m.client_idx = 78;
        ck_assert_int_eq(announce_send(getenv("SHMALLOC_SOCKET"), &m), 0);
        rig_expect(&rig, "client 78.1 is process");
        ck_assert_int_lt(rig_count_fds(&rig), N_SILENT);
        for (int i = 0; i < N_SILENT; i++)
                close(silent[i]);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* ------------------------------------------------------------------ two daemons */

START_TEST(a_second_daemon_on_the_same_socket_refuses)
{
        struct rig first, second;
        char text[96];
        int status;

        start(&first, "mine");
        rig_start(&second, "--heap=other", "--capacity=64M", NULL);
        status = rig_wait(&second);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        snprintf(text, sizeof text, "another shmallocd, process %d, listens on", (int)first.pid);
        ck_assert(rig_has_said(&second, text));
        rig_stop(&first);
}
END_TEST

START_TEST(another_daemons_socket_is_not_removed)
{
        struct rig rig, other;

        start(&rig, "one");
        ck_assert_int_eq(unlink(getenv("SHMALLOC_SOCKET")), 0); /* a sweeper of temporary files */
        start(&other, "two");
        rig_stop(&rig);
        close(connect_to_daemon());
        rig_stop(&other);
        ck_assert_int_ne(access(getenv("SHMALLOC_SOCKET"), F_OK), 0);
}
END_TEST

START_TEST(a_second_daemon_for_the_same_heap_refuses)
{
        struct rig first, second;
        char socket[128];
        int status;

        start(&first, "mine");
        snprintf(socket, sizeof socket, "--socket=%s/second", rig_dir());
        rig_start(&second, "--heap=mine", socket, NULL);
        status = rig_wait(&second);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        ck_assert(rig_has_said(&second, "is kept by another shmallocd"));
        ck_assert(!rig_has_said(&first, "ended by"));
        rig_stop(&first);
}
END_TEST

/* Whoever may read the file may lock it, too: with each kind of lock that there is. */
START_TEST(a_readers_locks_do_not_keep_the_daemon_away)
{
        struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET};
        char path[200];
        struct rig rig;
        int fd;

        ck_assert_int_eq(shheap_close(heap_dir_open("mine", SHHEAP_CREATE, NULL)), 0);
        snprintf(path, sizeof path, "%s/shmalloc.mine", rig_dir());
        fd = open(path, O_RDONLY | O_CLOEXEC);
        ck_assert_int_eq(flock(fd, LOCK_EX), 0);
        start(&rig, "mine");
        rig_stop(&rig);
        ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
        start(&rig, "mine");
        ck_assert(rig_has_said(&rig, "somebody who may only read its file keeps a lock on it"));
        rig_stop(&rig);
        close(fd);
}
END_TEST

/* Lines of the log that contain the text, and what is said of lines that are not there. */
static unsigned
count_lines(const struct rig *rig, const char *text, unsigned *ret_n_suppressed)
{
        FILE *f = fopen(rig->log, "r");
        char line[1024];
        unsigned n = 0;

        *ret_n_suppressed = 0;
        while (fgets(line, sizeof line, f)) {
                const char *suppressed = strstr(line, " suppressed, such as: ") ? strstr(line, " more line") : NULL;

                if (!strstr(line, text))
                        continue;
                if (!suppressed) {
                        n++;
                        continue;
                }
                while (suppressed > line && suppressed[-1] >= '0' && suppressed[-1] <= '9')
                        suppressed--;
                *ret_n_suppressed += (unsigned)strtoul(suppressed, NULL, 10);
        }
        fclose(f);
        return n;
}

START_TEST(a_talker_does_not_fill_the_log)
{
        enum { N = 2000 };
        struct rig rig;
        unsigned n, n_suppressed;

        rig_start(&rig, "--heap=mine", "--capacity=64M", NULL);
        rig_expect(&rig, "ready:");
        for (int i = 0; i < N; i++) {
                int fd = connect_to_daemon();

                ck_assert_int_eq(send(fd, "garbage", 7, MSG_NOSIGNAL), 7);
                ck_assert_int_eq(poll(&(struct pollfd){.fd = fd, .events = POLLIN}, 1, -1), 1); /* it has been heard */
                close(fd);
        }
        rig_stop(&rig);
        n = count_lines(&rig, "is ignored: it is not of this version", &n_suppressed);
        ck_assert_msg(n + n_suppressed == N, "%u written, %u suppressed", n, n_suppressed);
        ck_assert_uint_gt(n_suppressed, 0);
}
END_TEST

/* With other heaps to keep, it waits for its turn. */
START_TEST(a_heap_that_is_busy_is_taken_over_later)
{
        struct rig first, second;
        char socket[128], conf[160];

        start(&first, "mine");
        snprintf(socket, sizeof socket, "--socket=%s/second", rig_dir());
        snprintf(conf, sizeof conf, "--config=%s",
                 rig_write("two.conf", "[mine]\ncapacity = 64M\n[other]\ncapacity = 64M\n"));
        rig_start(&second, conf, socket, NULL);
        rig_expect(&second, "is kept by another shmallocd");
        rig_kill(&first);
        rig_expect(&second, "heap \"mine\": adopted");
        rig_stop(&second);
}
END_TEST

START_TEST(what_is_no_socket_is_not_removed)
{
        struct rig rig;
        int status;

        ck_assert_int_eq(close(open(getenv("SHMALLOC_SOCKET"), O_CREAT | O_WRONLY, 0600)), 0);
        rig_start(&rig, "--heap=mine", "--capacity=64M", NULL);
        status = rig_wait(&rig);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        ck_assert(rig_has_said(&rig, "is there and no socket: remove it"));
        ck_assert_int_eq(access(getenv("SHMALLOC_SOCKET"), F_OK), 0);
}
END_TEST

/* ------------------------------------------------------------------ without and with systemd */

static int
listen_at(const char *path, int type)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, type | SOCK_CLOEXEC, 0);

        snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
        return fd;
}

static void
expect_notice(int fd, const char *what)
{
        char text[512];
        ssize_t n;

        do {
                n = recv(fd, text, sizeof text - 1, 0);
                ck_assert_int_gt(n, 0);
                text[n] = '\0';
        } while (!strstr(text, what));
}

/* As systemd starts it: the socket is there already, and readiness is told. */
START_TEST(it_takes_its_socket_from_systemd_and_says_when_it_is_ready)
{
        char notify[128], pid_text[16];
        struct announce_message m = {.magic = ANNOUNCE_MAGIC, .kind = ANNOUNCE_STATUS};
        int listen_fd = listen_at(getenv("SHMALLOC_SOCKET"), SOCK_SEQPACKET), notify_fd, fd, status;
        char answer[4096] = "";
        pid_t pid;

        ck_assert_int_eq(listen(listen_fd, 16), 0);
        snprintf(notify, sizeof notify, "%s/notify", rig_dir());
        notify_fd = listen_at(notify, SOCK_DGRAM);
        pid = fork();
        if (pid == 0) {
                dup2(listen_fd, 3);
                snprintf(pid_text, sizeof pid_text, "%d", (int)getpid());
                setenv("LISTEN_PID", pid_text, 1);
                setenv("LISTEN_FDS", "1", 1);
                setenv("NOTIFY_SOCKET", notify, 1);
                execl(getenv("SHMALLOCD"), "shmallocd", "--heap=mine", "--capacity=64M", "--quiet", NULL);
                _exit(127);
        }
        fd = connect_to_daemon(); /* before anybody listens */
        ck_assert_int_eq(send(fd, &m, sizeof m, 0), (int)sizeof m);
        expect_notice(notify_fd, "READY=1");
        fcntl(fd, F_SETFL, 0); /* now wait for the answer */
        ck_assert_int_gt(recv(fd, answer, sizeof answer - 1, 0), 0);
        ck_assert_ptr_nonnull(strstr(answer, "\"mine\""));
        kill(pid, SIGTERM);
        expect_notice(notify_fd, "STOPPING=1");
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        ck_assert_int_eq(access(getenv("SHMALLOC_SOCKET"), F_OK), 0); /* systemd's, not its own */
        close(fd);
        close(notify_fd);
        close(listen_fd);
}
END_TEST

int
main(void)
{
        return SUITE_RUN("the socket", "socket", another_uid_is_refused, a_socket_that_may_not_be_used_costs_nothing,
                         whatever_the_socket_is_heaps_open, a_daemon_that_never_accepts_is_not_waited_for,
                         a_pidfd_counts_if_it_is_the_sender_s, garbage_is_survived_and_nothing_leaks,
                         the_silent_do_not_keep_others_from_being_heard, a_second_daemon_on_the_same_socket_refuses,
                         another_daemons_socket_is_not_removed, a_second_daemon_for_the_same_heap_refuses,
                         a_readers_locks_do_not_keep_the_daemon_away, a_talker_does_not_fill_the_log,
                         a_heap_that_is_busy_is_taken_over_later, what_is_no_socket_is_not_removed,
                         it_takes_its_socket_from_systemd_and_says_when_it_is_ready);
}
