/*
 * descriptor.c - see descriptor.h.
 */
#include "os/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/verify.h"
#include "os/syscall.h"

enum { STDIO_N = 3 };

static __thread bool is_plugged __attribute__((tls_model("initial-exec"))); /* by descriptor_plug_all() */

/* A new descriptor has the lowest number that is free, so nobody is asked about 0 to 2, whose files may have servers
 * that do not answer. */
static void
plug(struct descriptor_plugs *ret_plugs)
{
        int fd = 0;

        *ret_plugs = (struct descriptor_plugs){{-1, -1, -1}};
        for (int i = 0; i <= STDIO_N && fd >= 0 && fd < STDIO_N; i++) {
                fd = sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
                if (fd >= STDIO_N)
                        sys_close(fd);
                else if (fd >= 0 && i < STDIO_N)
                        ret_plugs->fd[i] = fd;
        }
}

void
descriptor_plug(struct descriptor_plugs *ret_plugs)
{
        if (is_plugged)
                *ret_plugs = (struct descriptor_plugs){{-1, -1, -1}};
        else
                plug(ret_plugs);
}

void
descriptor_unplug(const struct descriptor_plugs *plugs)
{
        for (int i = 0; i < STDIO_N; i++)
                if (plugs->fd[i] >= 0)
                        sys_close(plugs->fd[i]);
}

void
descriptor_plug_all(struct descriptor_plugs *ret_plugs)
{
        plug(ret_plugs); /* whatever a jump has left */
        is_plugged = true;
}

void
descriptor_unplug_all(const struct descriptor_plugs *plugs)
{
        ASSERT(is_plugged);
        is_plugged = false;
        descriptor_unplug(plugs);
}

/* A duplicate from `min` up, or as high as the process's limit allows. */
static int
dup_from(int fd, int min)
{
        int dup;

        ASSERT(min >= STDIO_N);
        do
                dup = sys_fcntl(fd, F_DUPFD_CLOEXEC, min);
        while ((dup == -EINVAL || dup == -EMFILE) && (min /= 4) >= STDIO_N);
        return dup == -EINVAL || dup == -EMFILE ? sys_fcntl(fd, F_DUPFD_CLOEXEC, STDIO_N) : dup;
}

int
descriptor_dup(int fd)
{
        return dup_from(fd, DESCRIPTOR_KEPT_MIN);
}

int
descriptor_keep(int fd)
{
        int high = fd >= 0 && fd < DESCRIPTOR_KEPT_MIN ? descriptor_dup(fd) : fd;

        if (high < 0) /* no number is left: this one will do, unless it was closed under us */
                return fd < STDIO_N || high == -EBADF ? high : fd;
        if (high != fd)
                sys_close(fd);
        return high;
}

int
descriptor_lift(int fd)
{
        int lifted;

        if (fd < 0 || fd >= STDIO_N)
                return fd;
        lifted = sys_fcntl(fd, F_DUPFD_CLOEXEC, STDIO_N);
        ASSERT(lifted < 0 || lifted >= STDIO_N);
        sys_close(fd);
        return lifted;
}

int
descriptor_openat(int dirfd, const char *path, int flags, uint32_t mode)
{
        struct descriptor_plugs plugs;
        int fd;

        descriptor_plug(&plugs);
        fd = descriptor_lift(sys_openat(dirfd, path, flags | O_CLOEXEC, mode));
        descriptor_unplug(&plugs);
        ASSERT(fd < 0 || fd >= STDIO_N);
        return fd;
}

bool
descriptor_is(int fd, uint64_t dev, uint64_t ino)
{
        struct stat st;

        return fd >= 0 && sys_fstat(fd, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}
