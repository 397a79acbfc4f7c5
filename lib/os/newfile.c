/*
 * newfile.c - see newfile.h.
 *
 * The temporary name of the fallback is only ever linked or renamed over nothing, so the published file is complete
 * there too.  What the fallback gives up: a maker that dies leaves a file until the next maker comes, and one that
 * dies between its link and its unlink leaves a second name of a good file, which the next one removes likewise.
 */
#include "os/newfile.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/inject.h"
#include "os/lease.h"
#include "os/shm.h"
#include "os/syscall.h"

#define TEMP_PREFIX ".shmalloc-"
#define TEMP_SUFFIX ".tmp"

enum { TEMP_TRIES = 16 };

static void
proc_path(char path[32], int fd)
{
        ASSERT(fd >= 0);
        snprintf(path, 32, "/proc/self/fd/%d", fd);
}

/* -EOPNOTSUPP also where the file could not be given a name later: it is looked at by the path by which it will. */
static int
open_unnamed(int dirfd, struct stat *ret_st)
{
        char path[32];
        int err = os_injected("tmpfile");
        int fd = err < 0 ? err : descriptor_openat(dirfd, ".", O_TMPFILE | O_RDWR, 0600);

        if (fd < 0)
                return fd;
        proc_path(path, fd);
        if (os_injected("proc") < 0 || sys_fstatat(AT_FDCWD, path, ret_st, 0) < 0) {
                os_close(fd);
                return -EOPNOTSUPP;
        }
        return fd;
}

/* Removes a temporary file whose maker is gone. */
static int
sweep_one(const char *file, void *arg)
{
        int dirfd = *(int *)arg;
        size_t len = strlen(file);
        int fd;

        if (strncmp(file, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) != 0 || len < sizeof TEMP_SUFFIX ||
            strcmp(file + len - (sizeof TEMP_SUFFIX - 1), TEMP_SUFFIX) != 0)
                return 0;
        fd = os_open_file(dirfd, file, true);
        if (fd < 0)
                return 0;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0 &&
            lease_take(fd) != -EAGAIN) /* a replaced heap may bear the name, with clients */
                sys_unlinkat(dirfd, file);
        os_close(fd);
        return 0;
}

/* Between creation and lock a sweeper may have removed the name. */
static bool
lock_named(int fd, struct stat *ret_st)
{
        ASSERT(fd >= 0);
        return flock(fd, LOCK_EX | LOCK_NB) == 0 && sys_fstat(fd, ret_st) == 0 && ret_st->st_nlink > 0;
}

static int
open_temp(int dirfd, char temp[32], struct stat *ret_st)
{
        ASSERT(dirfd >= 0);
        os_list_dir(dirfd, sweep_one, &dirfd);
        for (int i = 0; i < TEMP_TRIES; i++) {
                int fd, err = os_injected("create");

                snprintf(temp, 32, TEMP_PREFIX "%016" PRIx64 TEMP_SUFFIX, os_random());
                fd = err < 0 ? err : descriptor_openat(dirfd, temp, O_CREAT | O_EXCL | O_RDWR | O_NOFOLLOW, 0600);
                if (fd >= 0 && lock_named(fd, ret_st))
                        return fd;
                if (fd < 0 && (err < 0 || fd != -EEXIST))
                        return fd;
                os_close(fd);
        }
        return -EBUSY;
}

struct os_facts
os_facts_of(const struct stat *st)
{
        return (struct os_facts){.dev = st->st_dev, .ino = st->st_ino, .uid = st->st_uid, .mode = st->st_mode & 07777};
}

int
os_newfile_open(struct os_newfile *ret_file, int dirfd)
{
        struct os_newfile file = {.dirfd = dirfd};
        struct stat st;

        file.fd = open_unnamed(dirfd, &st);
        /* Kernels and file systems without it say one of these; others are real failures. */
        if (file.fd == -EOPNOTSUPP || file.fd == -EISDIR || file.fd == -EINVAL)
                file.fd = open_temp(dirfd, file.temp, &st);
        if (file.fd < 0)
                return error_refused("openat", file.fd);
        file.facts = os_facts_of(&st);
        *ret_file = file;
        return 0;
}

static int
publish_temp(struct os_newfile *file, const char *name)
{
        int err = sys_linkat(file->dirfd, file->temp, file->dirfd, name, 0);

        ASSERT(file->temp[0] == TEMP_PREFIX[0]);
        if (err == 0)
                sys_unlinkat(file->dirfd, file->temp);
        else if (err != -EEXIST) /* no hard links here */
                err = sys_renameat2(file->dirfd, file->temp, name, RENAME_NOREPLACE);
        return err;
}

int
os_newfile_publish(struct os_newfile *file, const char *name)
{
        char path[32];
        int err = os_injected("link");

        ASSERT(file->fd >= 0 && name[0] != 0);
        proc_path(path, file->fd);
        if (err == 0 && file->temp[0] == '\0')
                err = sys_linkat(AT_FDCWD, path, file->dirfd, name, AT_SYMLINK_FOLLOW);
        else if (err == 0 && (err = publish_temp(file, name)) == 0)
                flock(file->fd, LOCK_UN);
        return err < 0 ? error_refused("linkat", err) : 0;
}

void
os_temp_name(int dirfd, char ret_temp[OS_TEMP_BYTES])
{
        os_list_dir(dirfd, sweep_one, &dirfd);
        snprintf(ret_temp, OS_TEMP_BYTES, TEMP_PREFIX "%016" PRIx64 TEMP_SUFFIX, os_random());
}

/* Locked first, so that no sweeper takes it for one whose maker is gone. */
int
os_newfile_name(struct os_newfile *file)
{
        char path[32], temp[OS_TEMP_BYTES];
        int err = os_injected("link");

        if (err == 0 && file->temp[0] != '\0')
                return 0;
        if (err == 0 && flock(file->fd, LOCK_EX | LOCK_NB) < 0)
                return error_refused("flock", -errno);
        os_temp_name(file->dirfd, temp);
        proc_path(path, file->fd);
        if (err == 0)
                err = sys_linkat(AT_FDCWD, path, file->dirfd, temp, AT_SYMLINK_FOLLOW);
        if (err < 0)
                return error_refused("linkat", err);
        memcpy(file->temp, temp, sizeof temp);
        return 0;
}

void
os_newfile_named(struct os_newfile *file)
{
        ASSERT(file->temp[0] == TEMP_PREFIX[0]);
        sys_unlinkat(file->dirfd, file->temp);
        file->temp[0] = '\0';
        flock(file->fd, LOCK_UN);
}

static int
rename_in(int dirfd, const char *from, const char *to, unsigned flags, int injected)
{
        int err = injected < 0 ? injected : sys_renameat2(dirfd, from, to, flags);

        return err < 0 ? error_refused("renameat2", err) : 0;
}

int
os_exchange(int dirfd, const char *a, const char *b)
{
        return rename_in(dirfd, a, b, RENAME_EXCHANGE, os_injected("exchange"));
}

int
os_move(int dirfd, const char *from, const char *to)
{
        return rename_in(dirfd, from, to, RENAME_NOREPLACE, os_injected("move"));
}

void
os_newfile_discard(struct os_newfile *file)
{
        if (file->temp[0] != '\0')
                sys_unlinkat(file->dirfd, file->temp);
        os_close(file->fd);
}
