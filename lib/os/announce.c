/*
 * announce.c - see announce.h.
 *
 * Everything is done on a socket of our own that nobody else has, with calls that do not block, and it is closed at
 * once: the kernel keeps what was sent for whoever accepts the connection later, together with who made it.  That it
 * fails is as good as that it works, so no test makes it fail (os/inject.h).
 */
#include "os/announce.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/verify.h"
#include "os/descriptor.h"
#include "os/syscall.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

int
announce_connect(const char *socket_path)
{
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        size_t length = strlen(socket_path);
        struct descriptor_plugs plugs;
        int fd, err;

        if (length >= sizeof address.sun_path)
                return -ENAMETOOLONG;
        memcpy(address.sun_path, socket_path, length + 1);
        descriptor_plug(&plugs);
        fd = descriptor_lift((int)SYS_RETRY(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0)));
        descriptor_unplug(&plugs);
        if (fd < 0)
                return fd;
        err = sys_connect(fd, &address, sizeof address);
        if (err == 0)
                return fd;
        sys_close(fd);
        return err;
}

/* The other end is the daemon's: whether it can ask for us, as we can for it. */
static int
pidfd_needed(int fd)
{
        ASSERT(fd >= 0);
        socklen_t size = sizeof(int);
        int peer = -1;

        if (getsockopt(fd, SOL_SOCKET, SO_PEERPIDFD, &peer, &size) == 0) {
                sys_close(peer);
                return 0;
        }
        return errno == ENOPROTOOPT;
}

/* With a descriptor of this process and its credentials, if pidfd is one. */
static int
send_with(int fd, const struct announce_message *message, int pidfd)
{
        struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = sizeof *message};
        struct ucred me = {.pid = getpid(), .uid = geteuid(), .gid = getegid()};
        union {
                char bytes[CMSG_SPACE(sizeof(int)) + CMSG_SPACE(sizeof me)];
                struct cmsghdr align;
        } control = {{0}};
        struct msghdr m = {.msg_iov = &part, .msg_iovlen = 1};
        struct cmsghdr *c;
        long err;

        ASSERT(fd >= 0);
        if (pidfd >= 0) {
                m.msg_control = control.bytes;
                m.msg_controllen = sizeof control.bytes;
                c = CMSG_FIRSTHDR(&m);
                *c = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof pidfd)};
                memcpy(CMSG_DATA(c), &pidfd, sizeof pidfd);
                c = CMSG_NXTHDR(&m, c);
                *c = (struct cmsghdr){
                        .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_CREDENTIALS, .cmsg_len = CMSG_LEN(sizeof me)};
                memcpy(CMSG_DATA(c), &me, sizeof me);
        }
        err = sys_sendmsg(fd, &m, MSG_NOSIGNAL | MSG_DONTWAIT);
        return err < 0 ? (int)err : 0;
}

int
announce_send(const char *socket_path, const struct announce_message *message)
{
        int saved = errno, fd, pidfd = -1, err;
        struct stat st;

        if (sys_fstatat(AT_FDCWD, socket_path, &st, 0) == -ENOENT) { /* as nearly everywhere */
                errno = saved;
                return -ENOENT;
        }
        fd = announce_connect(socket_path);
        err = fd < 0 ? fd : 0;

        if (fd >= 0) {
                if (pidfd_needed(fd))
                        pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0);
                err = send_with(fd, message, pidfd);
                if (pidfd >= 0)
                        sys_close(pidfd);
                sys_close(fd);
        }
        errno = saved;
        return err;
}
