/*
 * owner.c - see owner.h.
 *
 * Only its owner may say that reading is not to be noted in a file (O_NOATIME), or who has the capability to act for all
 * of the namespace's users: asking for it asks the kernel, and changes nothing else.
 */
#include "os/owner.h"

#include <fcntl.h>
#include <unistd.h>

bool
owner_is_self(int fd, const struct stat *st)
{
        int flags = fcntl(fd, F_GETFL);

        return st->st_uid == geteuid() && flags >= 0 && fcntl(fd, F_SETFL, flags | O_NOATIME) == 0;
}

uint64_t
owner_user_ns(void)
{
        struct stat st;

        return stat("/proc/self/ns/user", &st) == 0 ? (uint64_t)st.st_ino : 0;
}
