/*
 * name.c - see name.h.
 *
 * A name can neither hold a slash nor begin with a dot, so it never leaves the directory, never hides, and a
 * temporary file of ours (.shmalloc-...) is never taken for a heap.
 */
#include "region/name.h"

#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/shm.h"
#include "region/options.h"

enum { LEASE_TRIES = 1000 };

static bool
char_is_valid(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' ||
               c == '-';
}

bool
name_is_valid(const char *name)
{
        size_t len = 0;

        if (name == NULL || name[0] == '\0' || name[0] == '.')
                return false;
        for (; name[len] != '\0'; len++)
                if (len >= LAYOUT_NAME_MAX || !char_is_valid(name[len]))
                        return false;
        return true;
}

int
name_to_file(const char *name, char ret_file[NAME_FILE_BYTES])
{
        if (!name_is_valid(name))
                return error_set(-EINVAL,
                                 "heap name \"%.80s\" is not valid: 1 to %u of A-Z a-z 0-9 . _ -, no leading dot",
                                 name != NULL ? name : "(null)", LAYOUT_NAME_MAX);
        snprintf(ret_file, NAME_FILE_BYTES, NAME_FILE_PREFIX "%s", name);
        ASSERT(strlen(ret_file) < NAME_FILE_BYTES);
        return 0;
}

const char *
name_from_file(const char *file)
{
        size_t len = sizeof NAME_FILE_PREFIX - 1;

        return strncmp(file, NAME_FILE_PREFIX, len) == 0 && name_is_valid(file + len) ? file + len : NULL;
}

const char *
name_dir(void)
{
        const char *dir = options_env(OPTIONS_ENV_DIR);

        return dir != NULL ? dir : "/dev/shm";
}

int
name_open_file(int dirfd, const char *file, bool is_readonly)
{
        int fd = -EAGAIN;

        for (int i = 0; i < LEASE_TRIES && fd == -EAGAIN; i++) {
                if (i > 0)
                        sched_yield();
                fd = os_open_file(dirfd, file, is_readonly);
        }
        return fd;
}

int
name_open_dir(void)
{
        int fd = os_open_dir(name_dir());

        if (fd < 0)
                return error_set_refused(fd, "cannot open the directory of heaps %s%s", name_dir(),
                                         fd == -ENOENT ? " (it is chosen by SHMALLOC_DIR)" : "");
        return fd;
}
