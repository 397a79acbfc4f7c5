/*
 * owner.c - see owner.h.
 *
 * Only its owner may say that reading is not to be noted in a file (O_NOATIME), or who has the capability to act for
 * all of the namespace's users: asking for it asks the kernel, and changes nothing else.
 */
#include "os/owner.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/error.h"
#include "os/syscall.h"

int
owner_is_self(int fd, const struct stat *st)
{
        int flags, err;

        if (st->st_uid != geteuid())
                return 0;
        flags = sys_fcntl(fd, F_GETFL, 0);
        if (flags < 0)
                return error_refused("fcntl(F_GETFL)", flags);
        err = sys_fcntl(fd, F_SETFL, flags | O_NOATIME);
        if (err == 0 || err == -EPERM)
                return err == 0;
        return error_refused("fcntl(F_SETFL)", err);
}

uint64_t
owner_user_ns(void)
{
        struct stat st;

        return sys_fstatat(AT_FDCWD, "/proc/self/ns/user", &st, 0) == 0 ? (uint64_t)st.st_ino : 0;
}
