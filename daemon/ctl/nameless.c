/*
 * nameless.c - heaps whose file has lost its name while processes have it open: found where these have it mapped.
 *
 * A mapping says which file it is of, by which name that had been opened, and that the name is gone.  The file is
 * opened by one of the process's descriptors for it, or, where that has been closed, by the mapping itself; either may
 * be refused, then the heap is listed all the same.  Nothing that a process shows is trusted: the file is looked at
 * before it is opened, and has to be the mapping's.
 *
 * What it gave up: processes that this user may not look at, files that another mount namespace shows by another path,
 * and heaps that never had a name (their users know who they are).
 */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "ctl/ctl.h"
#include "os/maps.h"
#include "os/shm.h"
#include "region/name.h"

#define GONE " (deleted)"

struct search {
        char dir[PATH_MAX]; /* as the kernel calls it */
        nameless_fn *fn;
        void *arg;
        const char *pid;
        uint64_t dev, ino; /* of the last mapping that was looked at: a heap is mapped in pieces */
};

/* What it is a descriptor for is the file in question. */
static bool
is_file(int fd, uint64_t dev, uint64_t ino)
{
        struct stat st;

        return os_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_dev == dev && st.st_ino == ino;
}

/* A descriptor for reading, or -errno. */
static int
open_if_file(const char *path, uint64_t dev, uint64_t ino)
{
        int at = open(path, O_PATH | O_CLOEXEC), fd;

        if (at < 0)
                return -errno;
        fd = is_file(at, dev, ino) ? os_reopen(at, true) : -ENOENT;
        os_close(at);
        return fd;
}

static int
open_by_descriptor(const char *pid, uint64_t dev, uint64_t ino)
{
        char path[NAME_MAX + 64];
        const struct dirent *entry;
        int fd = -ENOENT;
        DIR *d;

        snprintf(path, sizeof path, "/proc/%s/fd", pid);
        d = opendir(path);
        if (!d)
                return -errno;
        while (fd == -ENOENT && (entry = readdir(d)))
                if (isdigit((unsigned char)entry->d_name[0])) {
                        snprintf(path, sizeof path, "/proc/%s/fd/%s", pid, entry->d_name);
                        fd = open_if_file(path, dev, ino);
                }
        closedir(d);
        return fd;
}

static int
open_mapped(const struct search *s, const struct os_mapping *m)
{
        char path[128];
        int fd = open_by_descriptor(s->pid, m->dev, m->ino);

        if (fd >= 0)
                return fd;
        snprintf(path, sizeof path, "/proc/%.20s/map_files/%lx-%lx", s->pid, m->start, m->end);
        return open_if_file(path, m->dev, m->ino);
}

/* The name of the heap whose file the mapping is of, cut out of what it is called; NULL: it is of none, or that has its
 * name. */
static const char *
heap_name(const struct search *s, char *what)
{
        size_t length = strlen(what), dir_length = strlen(s->dir);

        if (length <= sizeof GONE - 1 || strcmp(what + length - (sizeof GONE - 1), GONE) != 0 ||
            strncmp(what, s->dir, dir_length) != 0 || what[dir_length] != '/')
                return NULL;
        what[length - (sizeof GONE - 1)] = '\0';
        return name_from_file(what + dir_length + 1);
}

static int
look_at(const struct os_mapping *mapping, void *arg)
{
        struct search *s = arg;
        struct os_mapping m = *mapping;
        const char *name;

        if (m.ino == 0 || (m.dev == s->dev && m.ino == s->ino))
                return 0;
        s->dev = m.dev;
        s->ino = m.ino;
        name = heap_name(s, m.what);
        return name ? s->fn(&(struct nameless){name, m.dev, m.ino, (uint32_t)atoi(s->pid), open_mapped(s, &m)}, s->arg)
                    : 0;
}

int
nameless_each(nameless_fn *fn, void *arg)
{
        struct search s = {.fn = fn, .arg = arg};
        const struct dirent *entry;
        int result = 0;
        DIR *proc;

        if (!realpath(name_dir(), s.dir))
                return error_set(-errno, "cannot look at %s: %s", name_dir(), error_name(errno));
        proc = opendir("/proc");
        while (proc && result == 0 && (entry = readdir(proc))) {
                char path[NAME_MAX + 16];

                if (!isdigit((unsigned char)entry->d_name[0]))
                        continue;
                snprintf(path, sizeof path, "/proc/%s/maps", entry->d_name);
                s.pid = entry->d_name;
                s.dev = s.ino = 0;
                result = os_maps_each_of(path, look_at, &s);
                result = result < 0 && result != -ENOMEM ? 0 : result; /* it has ended, or is not ours to look at */
        }
        if (proc)
                closedir(proc);
        return result;
}
