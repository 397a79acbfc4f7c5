/*
 * shm.c - see shm.h.
 *
 * fallocate(2) is called, not posix_fallocate(): where a file system has none, glibc's falls back on reading and
 * writing a byte of each page, which races with other processes' stores.
 */
#include "os/shm.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/inject.h"
#include "os/pages.h"
#include "os/syscall.h"

#if SHM_DEBUG
int (*os_inject)(const char *call);
#endif

/* The result of a system call, unless a test makes it fail; why it was refused is remembered. */
#define CALL(call, injected, result)                                                                                   \
        ({                                                                                                             \
                long call_result = os_injected(injected);                                                              \
                if (call_result == 0)                                                                                  \
                        call_result = (long)(result);                                                                  \
                call_result < 0 ? error_refused(call, (int)call_result) : (int)call_result;                            \
        })

/* One that may not be read can still be looked up in. */
static int
open_dir(const char *path)
{
        int fd = descriptor_openat(AT_FDCWD, path, O_DIRECTORY | O_RDONLY, 0);

        return fd == -EACCES ? descriptor_openat(AT_FDCWD, path, O_DIRECTORY | O_PATH, 0) : fd;
}

int
os_open_dir(const char *path)
{
        return CALL("openat", "open_dir", open_dir(path));
}

int
os_open_file(int dirfd, const char *file, bool is_readonly)
{
        const int flags = O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | (is_readonly ? O_RDONLY : O_RDWR);

        return CALL("openat", "open_file", descriptor_openat(dirfd, file, flags, 0));
}

int
os_reopen(int fd, bool is_readonly)
{
        char path[32];

        snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
        return CALL("openat", "reopen",
                    descriptor_openat(AT_FDCWD, path, O_NONBLOCK | (is_readonly ? O_RDONLY : O_RDWR), 0));
}

int
os_dup(int fd)
{
        return CALL("fcntl", "dup", sys_fcntl(fd, F_DUPFD_CLOEXEC, 3));
}

void
os_close(int fd)
{
        (void)os_injected("close");
        if (fd >= 0)
                sys_close(fd);
}

int
os_fstat(int fd, struct stat *ret_st)
{
        return CALL("fstat", "fstat", sys_fstat(fd, ret_st));
}

int
os_stat_at(int dirfd, const char *file, struct stat *ret_st)
{
        return CALL("newfstatat", "stat_at", sys_fstatat(dirfd, file, ret_st, AT_SYMLINK_NOFOLLOW));
}

bool
os_is_in_memory(int fd)
{
        struct statfs st;

        return CALL("fstatfs", "fstatfs", SYS_RETRY(fstatfs(fd, &st))) < 0 || st.f_type == TMPFS_MAGIC ||
               st.f_type == RAMFS_MAGIC;
}

int
os_fchmod(int fd, uint32_t mode)
{
        return CALL("fchmod", "fchmod", sys_fchmod(fd, mode));
}

int
os_unlink(int dirfd, const char *file)
{
        return CALL("unlinkat", "unlink", sys_unlinkat(dirfd, file));
}

int
os_truncate(int fd, uint64_t bytes)
{
        struct rlimit limit;

        ASSERT(bytes > 0);
        if (getrlimit(RLIMIT_FSIZE, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY && bytes > limit.rlim_cur)
                return error_refused("ftruncate", -EFBIG);
        return CALL("ftruncate", "truncate", SYS_RETRY(ftruncate(fd, (off_t)bytes)));
}

int
os_pread(int fd, void *buf, size_t bytes, uint64_t off)
{
        ASSERT(fd >= 0 && bytes > 0);
        for (size_t done = 0; done < bytes;) {
                int n = CALL("pread64", "pread", sys_pread(fd, (char *)buf + done, bytes - done, off + done));

                if (n < 0)
                        return n;
                if (n == 0)
                        return -ENODATA;
                done += (size_t)n;
        }
        return 0;
}

int64_t
os_seek(int fd, uint64_t off, bool is_page)
{
        return sys_lseek(fd, off, is_page ? SEEK_DATA : SEEK_HOLE);
}

int
os_allocate(int fd, uint64_t off, uint64_t bytes)
{
        ASSERT(off % OS_PAGE_BYTES == 0 && bytes > 0);
        return CALL("fallocate", "allocate", sys_fallocate(fd, 0, off, bytes));
}

/* ------------------------------------------------------------------ mapping */

/*
 * With mlockall(MCL_FUTURE) in force the kernel fills each new mapping, but for those that may not be touched; so a
 * mapping becomes accessible once it is settled that its pages are locked as they come.  One that another one will
 * follow is left as it is: becoming accessible does not fill it.
 */
static int
map(int fd, void *addr, uint64_t bytes, bool is_readonly, bool stays, int flag, void **ret_addr)
{
        int prot = is_readonly ? PROT_READ : PROT_READ | PROT_WRITE, err = os_injected("map");
        void *p;

        ASSERT(bytes > 0 && (uintptr_t)addr % OS_PAGE_BYTES == 0);
        if (err < 0)
                return error_refused("mmap", err);
        p = mmap(addr, bytes, PROT_NONE, MAP_SHARED | MAP_NORESERVE | flag, fd, 0);
        if (p == MAP_FAILED)
                return error_refused("mmap", -errno);
        if (stays)
                os_keep_sparse(p, bytes);
        else
                (void)os_dump(p, bytes, false);
        err = CALL("mprotect", "protect", SYS_RETRY(mprotect(p, bytes, prot)));
        if (err < 0)
                munmap(p, bytes);
        else
                *ret_addr = p;
        return err;
}

int
os_map_at(int fd, void *addr, uint64_t bytes, bool is_readonly, bool stays)
{
        void *p = NULL;
        int err;

        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        err = map(fd, addr, bytes, is_readonly, stays, MAP_FIXED_NOREPLACE, &p);
        if (err < 0 || p == addr)
                return err;
        munmap(p, bytes); /* a kernel before 4.17, or an emulator, took the address for a hint */
        return -EEXIST;
}

int
os_map_over(int fd, void *addr, uint64_t bytes, bool is_readonly)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        return map(fd, addr, bytes, is_readonly, true, MAP_FIXED, &addr);
}

/* Holds more addresses than needed, so that an aligned part of them exists, and gives the rest back. */
static int
hold_aligned(uint64_t bytes, uint64_t align, char **ret_addr)
{
        char *p = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        uint64_t head;

        if (p == MAP_FAILED)
                return error_refused("mmap", -errno);
        head = -(uintptr_t)p & (align - 1);
        if (head > 0)
                munmap(p, head);
        if (align - head > 0)
                munmap(p + head + bytes, align - head);
        ASSERT(((uintptr_t)p + head) % align == 0);
        *ret_addr = p + head;
        return 0;
}

int
os_map_anywhere(int fd, uint64_t bytes, uint64_t align, bool is_readonly, void **ret_addr)
{
        char *held = NULL;
        int err;

        ASSERT(align >= OS_PAGE_BYTES && (align & (align - 1)) == 0);
        err = hold_aligned(bytes, align, &held);
        if (err < 0)
                return err;
        err = map(fd, held, bytes, is_readonly, true, MAP_FIXED, ret_addr);
        if (err < 0)
                munmap(held, bytes);
        return err;
}

int
os_unmap(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        (void)os_injected("unmap");
        return (int)SYS_RETRY(munmap(addr, bytes));
}

int
os_protect_none(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0);
        return CALL("mprotect", "protect", SYS_RETRY(mprotect(addr, bytes, PROT_NONE)));
}

int
os_wipe_by_fork(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        return CALL("madvise(MADV_WIPEONFORK)", "wipe", SYS_RETRY(madvise(addr, bytes, MADV_WIPEONFORK)));
}

int
os_map_private(uint64_t bytes, bool wiped_by_fork, void **ret_addr)
{
        int err = os_injected("map_private");
        void *p;

        ASSERT(bytes > 0);
        if (err < 0)
                return error_refused("mmap", err);
        p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (p == MAP_FAILED)
                return error_refused("mmap", -errno);
        if (wiped_by_fork && madvise(p, bytes, MADV_WIPEONFORK) < 0) {
                err = error_refused("madvise(MADV_WIPEONFORK)", -errno);
                munmap(p, bytes);
                return err;
        }
        *ret_addr = p;
        return 0;
}

int
os_hold_private(uint64_t bytes, void **ret_addr)
{
        int err = os_injected("map_private");
        void *p;

        ASSERT(bytes > 0);
        if (err < 0)
                return error_refused("mmap", err);
        p = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED)
                return error_refused("mmap", -errno);
        munlock(p, bytes); /* else all pages come with the right to write */
        *ret_addr = p;
        return 0;
}

int
os_unprotect(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        return CALL("mprotect", "protect", SYS_RETRY(mprotect(addr, bytes, PROT_READ | PROT_WRITE)));
}

void
os_wipe_private(void *addr, uint64_t bytes)
{
        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        if (madvise(addr, bytes, MADV_DONTNEED) < 0) /* locked */
                memset(addr, 0, bytes);
}

/* ------------------------------------------------------------------ anonymous files */

int
os_memfd(const char *label)
{
        struct descriptor_plugs plugs;
        int fd;

        descriptor_plug(&plugs);
        fd = CALL("memfd_create", "memfd", SYS_RETRY(memfd_create(label, MFD_CLOEXEC | MFD_ALLOW_SEALING)));
        fd = descriptor_lift(fd);
        descriptor_unplug(&plugs);
        return fd;
}

int
os_seal_size(int fd)
{
        return CALL("fcntl", "seal", sys_fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
}

int
os_seals(int fd)
{
        return sys_fcntl(fd, F_GET_SEALS, 0);
}

/* ------------------------------------------------------------------ directories, randomness */

/* opendir() allocates; this does not. */
struct entries {
        long n;                                   /* bytes, or -errno */
        _Alignas(struct dirent64) char buf[1024]; /* the caller's stack may be small; a name has 255 bytes at most */
};

static long
entries_read(struct entries *e, int fd)
{
        return e->n = CALL("getdents64", "list", SYS_RETRY(getdents64(fd, e->buf, sizeof e->buf)));
}

static int
entries_each(const struct entries *e, int (*fn)(const char *file, void *arg), void *arg)
{
        for (long off = 0; off < e->n;) {
                const struct dirent64 *entry = (const void *)(e->buf + off);
                int result = fn(entry->d_name, arg);

                if (result != 0)
                        return result;
                off += entry->d_reclen;
        }
        return 0;
}

static int
list_open_dir(int fd, int (*fn)(const char *file, void *arg), void *arg)
{
        struct entries e;
        int result = 0;

        while (result == 0 && entries_read(&e, fd) > 0)
                result = entries_each(&e, fn, arg);
        return result != 0 ? result : (int)e.n;
}

int
os_list_dir(int dirfd, int (*fn)(const char *file, void *arg), void *arg)
{
        int fd, result;

        fd = CALL("openat", "list_dir", descriptor_openat(dirfd, ".", O_RDONLY | O_DIRECTORY, 0));
        if (fd < 0)
                return fd;
        result = list_open_dir(fd, fn, arg);
        os_close(fd);
        return result;
}

/* In the descriptor itself, whose place is at the end when this has been done before.  Where there would have been room
 * for another entry there is none. */
void
os_glance_dir(int dirfd, int (*fn)(const char *file, void *arg), void *arg)
{
        struct entries e;
        bool goes_on = true;

        if (entries_read(&e, dirfd) == 0 && sys_lseek(dirfd, 0, SEEK_SET) == 0)
                entries_read(&e, dirfd);
        if (e.n < 0)
                (void)os_list_dir(dirfd, fn, arg);
        while (e.n > 0 && goes_on) {
                goes_on = entries_each(&e, fn, arg) == 0 && e.n + (long)sizeof(struct dirent64) > (long)sizeof e.buf;
                if (goes_on)
                        entries_read(&e, dirfd);
        }
}

uint64_t
os_random(void)
{
        uint64_t value = 0;
        struct timespec now = {0};

        if (sys_getrandom(&value, sizeof value, GRND_NONBLOCK) == (long)sizeof value && value != 0)
                return value;
        clock_gettime(CLOCK_MONOTONIC, &now); /* early in boot */
        value = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        return (value ^ (uint64_t)getpid() << 40) * UINT64_C(0x9e3779b97f4a7c15) | 1;
}
