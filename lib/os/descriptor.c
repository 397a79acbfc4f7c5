/*
 * descriptor.c - see descriptor.h.
 *
 * A new descriptor has the lowest number that is free, so nobody is asked about 0 to 2, whose files may have servers
 * that do not answer.
 *
 * What this gave up: between the look at a plug and its closing another thread may put a file there, which is closed
 * then; nothing closes a number only if it is still one's own.  And a child of _Fork() or a raw clone(2), made by
 * another thread just then, has the plugs until it calls exec: no handler runs in it, and a write to them fails as it
 * should.
 */
#include "os/descriptor.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "base/verify.h"
#include "os/syscall.h"

enum { STDIO_N = 3 };

/* Of descriptor_plug_all(). */
static __thread struct {
        bool is_on;
        bool is_known; /* which are closed; and they are plugged */
        struct descriptor_plugs plugs;
} all __attribute__((tls_model("initial-exec")));

static void
plug(struct descriptor_plugs *ret_plugs)
{
        int fd = 0;

        ret_plugs->set = 0;
        for (int i = 0; i <= STDIO_N && fd >= 0 && fd < STDIO_N; i++) {
                fd = sys_openat(AT_FDCWD, "/", O_PATH | O_CLOEXEC, 0);
                if (fd >= STDIO_N)
                        sys_close(fd);
                else if (fd >= 0 && i < STDIO_N)
                        ret_plugs->set |= (uint8_t)(1u << fd);
        }
}

static void
plug_for_all(void)
{
        if (!all.is_known)
                plug(&all.plugs);
        all.is_known = true;
}

void
descriptor_plug(struct descriptor_plugs *ret_plugs)
{
        ret_plugs->set = 0;
        if (all.is_on)
                plug_for_all();
        else
                plug(ret_plugs);
}

/* A plug, or a directory, unless another thread has put a file over it. */
static void
close_unless_taken(int fd)
{
        int flags = sys_fcntl(fd, F_GETFL, 0);

        ASSERT(fd >= 0 && fd < STDIO_N);
        if (flags >= 0 && (flags & (O_PATH | O_DIRECTORY)) != 0)
                sys_close(fd);
}

void
descriptor_unplug(const struct descriptor_plugs *plugs)
{
        for (int i = 0; i < STDIO_N; i++)
                if (plugs->set >> i & 1)
                        close_unless_taken(i);
}

void
descriptor_plug_all(void)
{
        if (all.is_on) /* a jump has left it */
                descriptor_unplug_all();
        all.is_on = true;
        all.is_known = false;
}

void
descriptor_unplug_all(void)
{
        ASSERT(all.is_on);
        all.is_on = false;
        if (all.is_known)
                descriptor_unplug(&all.plugs);
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

/* What tells which are closed while it opens what is wanted.  It is as good as a plug: what is written there fails. */
static bool
is_directory(int flags)
{
        return (flags & O_TMPFILE) == O_DIRECTORY;
}

/* False: it has a number of 0 to 2, and has been closed. */
static bool
open_first(int dirfd, const char *path, int flags, int *ret_fd)
{
        *ret_fd = sys_openat(dirfd, path, flags | O_CLOEXEC, 0);
        if (*ret_fd >= 0 && *ret_fd < STDIO_N) {
                close_unless_taken(*ret_fd);
                return false;
        }
        all.plugs.set = 0;
        all.is_known = *ret_fd >= 0;
        return true;
}

int
descriptor_openat(int dirfd, const char *path, int flags, uint32_t mode)
{
        struct descriptor_plugs plugs;
        int fd;

        if (all.is_on && !all.is_known && is_directory(flags) && open_first(dirfd, path, flags, &fd))
                return fd;
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
