#include "support/small_fs.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include <unistd.h>

static const char *
dir(void)
{
        return getenv("SHMALLOC_DIR");
}

static bool
write_text(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC);
        bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

        close(fd);
        return done;
}

const char *
small_fs_make(void)
{
        char map[64];
        unsigned uid = geteuid();

        if (unshare(CLONE_NEWNS) < 0) {
                snprintf(map, sizeof map, "0 %u 1\n", uid);
                if (unshare(CLONE_NEWUSER | CLONE_NEWNS) < 0 || !write_text("/proc/self/uid_map", map))
                        return "not root, and no user namespace can be made";
        }
        if (mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0)
                return "mounts cannot be made private";
        return mount("none", dir(), "tmpfs", 0, "size=64k") < 0 ? "no tmpfs can be mounted" : NULL;
}

bool
small_fs_resize(size_t bytes)
{
        char options[40];

        snprintf(options, sizeof options, "size=%zuk", bytes >> 10);
        return mount("none", dir(), "tmpfs", MS_REMOUNT, options) == 0;
}

size_t
small_fs_room(void)
{
        struct statvfs st;

        return statvfs(dir(), &st) == 0 ? (size_t)st.f_bavail * st.f_bsize : 0;
}

void
small_fs_remove(void)
{
        umount2(dir(), MNT_DETACH);
}
