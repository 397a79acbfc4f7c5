/*
 * syscall.h - the system calls that are cancellation points in the C library, without being any.
 *
 * open(), read(), fallocate() and so on end a thread that somebody has cancelled, and what a call of ours holds at that
 * moment would be held for ever.  syscall(2) makes the same calls and never ends a thread.  So lib/ has these calls
 * from here, and a test keeps all of the C library's cancellation points out of the rest of it
 * (tests/style/check_cancel.sh): those that POSIX allows to be some, too, although this C library makes none of them.
 *
 * Each gives its result or -errno, and is retried when a signal interrupts it, but for sys_close().
 */
#ifndef OS_SYSCALL_H
#define OS_SYSCALL_H

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(sizeof(long) == sizeof(off_t),
               "an offset is one argument, and the kernel's struct stat is the C library's");

/* Of any call that gives -1 and errno. */
#define SYS_RETRY(call)                                                                                                \
        ({                                                                                                             \
                long sys_result;                                                                                       \
                do                                                                                                     \
                        sys_result = (long)(call);                                                                     \
                while (sys_result < 0 && errno == EINTR);                                                              \
                sys_result < 0 ? -(long)errno : sys_result;                                                            \
        })

static inline int
sys_openat(int dirfd, const char *path, int flags, uint32_t mode)
{
        return (int)SYS_RETRY(syscall(SYS_openat, dirfd, path, flags, mode));
}

static inline int
sys_open(const char *path, int flags)
{
        return sys_openat(AT_FDCWD, path, flags, 0);
}

/* Never retried: the descriptor is gone even when EINTR is reported. */
static inline void
sys_close(int fd)
{
        syscall(SYS_close, fd);
}

static inline long
sys_read(int fd, void *buf, size_t bytes)
{
        return SYS_RETRY(syscall(SYS_read, fd, buf, bytes));
}

static inline long
sys_pread(int fd, void *buf, size_t bytes, uint64_t off)
{
        return SYS_RETRY(syscall(SYS_pread64, fd, buf, bytes, off));
}

static inline long
sys_write(int fd, const void *buf, size_t bytes)
{
        return SYS_RETRY(syscall(SYS_write, fd, buf, bytes));
}

static inline int
sys_fcntl(int fd, int command, long arg)
{
        return (int)SYS_RETRY(syscall(SYS_fcntl, fd, command, arg));
}

static inline int
sys_fallocate(int fd, int mode, uint64_t off, uint64_t bytes)
{
        return (int)SYS_RETRY(syscall(SYS_fallocate, fd, mode, off, bytes));
}

static inline int64_t
sys_lseek(int fd, uint64_t off, int whence)
{
        return SYS_RETRY(syscall(SYS_lseek, fd, off, whence));
}

static inline int
sys_fstat(int fd, struct stat *ret_st)
{
        return (int)SYS_RETRY(syscall(SYS_fstat, fd, ret_st));
}

static inline int
sys_fstatat(int dirfd, const char *path, struct stat *ret_st, int flags)
{
        return (int)SYS_RETRY(syscall(SYS_newfstatat, dirfd, path, ret_st, flags));
}

static inline int
sys_fchmod(int fd, uint32_t mode)
{
        return (int)SYS_RETRY(syscall(SYS_fchmod, fd, mode));
}

static inline int
sys_linkat(int from_dirfd, const char *from, int to_dirfd, const char *to, int flags)
{
        return (int)SYS_RETRY(syscall(SYS_linkat, from_dirfd, from, to_dirfd, to, flags));
}

/* The C library turns ENOSYS into EINVAL. */
static inline int
sys_renameat2(int dirfd, const char *from, const char *to, unsigned flags)
{
        return (int)SYS_RETRY(syscall(SYS_renameat2, dirfd, from, dirfd, to, flags));
}

static inline int
sys_unlinkat(int dirfd, const char *path)
{
        return (int)SYS_RETRY(syscall(SYS_unlinkat, dirfd, path, 0));
}

static inline long
sys_getrandom(void *buf, size_t bytes, unsigned flags)
{
        return SYS_RETRY(syscall(SYS_getrandom, buf, bytes, flags));
}

static inline int
sys_connect(int fd, const void *address, size_t bytes)
{
        return (int)SYS_RETRY(syscall(SYS_connect, fd, address, bytes));
}

static inline long
sys_sendmsg(int fd, const struct msghdr *message, int flags)
{
        return SYS_RETRY(syscall(SYS_sendmsg, fd, message, flags));
}

#endif
