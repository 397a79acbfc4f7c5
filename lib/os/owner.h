/*
 * owner.h - whose file it is, as the kernel sees it.
 */
#ifndef OS_OWNER_H
#define OS_OWNER_H

#include <stdint.h>
#include <sys/stat.h>

/*
 * 1: the open file belongs to this process's user; 0: it does not; -errno: the system refuses to say.  Numbers alone do
 * not say so: all users that a user namespace has no number for are shown by the same one there, which may be our own.
 */
int owner_is_self(int fd, const struct stat *st);

/* The user namespace that this process's numbers of users belong to; 0: unknown, as where there is no /proc. */
uint64_t owner_user_ns(void);

#endif
