/*
 * process.c - identity and existence of processes and threads.
 *
 * Everything here is a question to the kernel.  Ids read from a region are hostile input: they are signalled with 0
 * only, and ids that would name a process group or everybody are refused.
 *
 * The pid namespace is remembered per process id.  A forked child has another id, but for one case: the first process
 * of a nested namespace, forked by the first process of its parent's.  Both are number 1, so whoever registers a new
 * client asks again (process_pid_ns_refresh()) before anything else relies on the answer.
 */
#include "os/process.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/membarrier.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/syscall.h"

#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xff, 5) /* linux/pidfd.h */
#endif

static uint32_t pid_ns_known;    /* this process's pid namespace, 0 = not asked yet */
static uint32_t pid_ns_known_by; /* the process that asked */

uint32_t
process_id(void)
{
        return (uint32_t)getpid();
}

uint32_t
process_tid(void)
{
        return (uint32_t)syscall(SYS_gettid);
}

void
process_fence_all(void)
{
        (void)syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL, 0, 0);
}

static bool
id_can_be_judged(uint32_t id)
{
        return id > 0 && id <= INT32_MAX && process_pid_ns() != PROCESS_NS_UNKNOWN;
}

/* Readable once the process has ended, all its threads, whether anybody has waited for it or not. */
static bool
has_ended(uint32_t pid) /* or of a thread that is not the first of its process: false */
{
        struct pollfd p = {.fd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0), .events = POLLIN};
        const struct timespec at_once = {0, 0};
        bool is_readable;

        if (p.fd < 0)
                return false; /* there is none, no descriptor is left, or the kernel does not know: no evidence */
        is_readable = syscall(SYS_ppoll, &p, 1, &at_once, NULL, 0) == 1 && (p.revents & POLLIN) != 0;
        sys_close(p.fd);
        return is_readable;
}

/* kill() with 0 reaches nobody.  EPERM means that the process exists. */
bool
process_is_gone(uint32_t pid)
{
        int saved = errno;
        bool is_gone = false;

        if (id_can_be_judged(pid))
                is_gone = (kill((pid_t)pid, 0) < 0 && errno == ESRCH) || has_ended(pid);
        errno = saved;
        return is_gone;
}

/* The first thread of a process is there as long as that is, as a zombie, too. */
bool
process_thread_is_gone(uint32_t tid)
{
        int saved = errno;
        bool is_gone = false;

        if (id_can_be_judged(tid))
                is_gone = (syscall(SYS_tkill, (pid_t)tid, 0) < 0 && errno == ESRCH) || has_ended(tid);
        errno = saved;
        return is_gone;
}

/* A descriptor of this process's pid namespace, or -1.  The kernel tells since 6.11, also where there is no /proc, or
 * one that is none. */
static int
pid_ns_open(void)
{
        int pidfd = (int)syscall(SYS_pidfd_open, getpid(), 0), fd = -1;

        if (pidfd >= 0) {
                fd = (int)syscall(SYS_ioctl, pidfd, PIDFD_GET_PID_NAMESPACE, 0);
                sys_close(pidfd);
        }
        return fd >= 0 ? fd : descriptor_openat(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY, 0);
}

static uint32_t
pid_ns_ask(void)
{
        int fd = pid_ns_open();
        uint32_t ns = PROCESS_NS_UNKNOWN;
        struct statfs fs;
        struct stat st;

        if (fd < 0)
                return PROCESS_NS_UNKNOWN;
        if (fstatfs(fd, &fs) == 0 && fs.f_type == NSFS_MAGIC && sys_fstat(fd, &st) == 0 && st.st_ino <= UINT32_MAX)
                ns = (uint32_t)st.st_ino;
        sys_close(fd);
        return ns;
}

void
process_pid_ns_refresh(void)
{
        int saved = errno;
        uint32_t ns = pid_ns_ask();

        ASSERT(ns != 0);
        errno = saved;
        /* Relaxed: all threads store the same, and each relies on its own store only. */
        store_relaxed(&pid_ns_known, ns);
        store_relaxed(&pid_ns_known_by, process_id());
}

uint32_t
process_pid_ns(void)
{
        if (load_relaxed(&pid_ns_known) == 0 || load_relaxed(&pid_ns_known_by) != process_id())
                process_pid_ns_refresh();
        return load_relaxed(&pid_ns_known);
}

/* The command name may contain anything, so fields are counted from its last parenthesis: the third comes next. */
static uint64_t
start_ticks_parse(const char *stat_line)
{
        const char *field = strrchr(stat_line, ')');

        for (int n = 2; field != NULL && n < 22; n++)
                field = strchr(field + 1, ' ');
        return field != NULL ? strtoull(field, NULL, 10) : 0;
}

uint64_t
process_start_ticks(uint32_t pid)
{
        char path[32], line[768];
        long n;
        int fd;

        ASSERT(pid != 0);
        snprintf(path, sizeof path, "/proc/%u/stat", pid);
        fd = descriptor_openat(AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0)
                return 0;
        n = sys_read(fd, line, sizeof line - 1);
        sys_close(fd);
        if (n <= 0)
                return 0;
        line[n] = '\0';
        return start_ticks_parse(line);
}

/* The kernel gives each image 16 random bytes.  The C library's canaries are made of them, so only 32 bits of a mix
 * of all leave the process. */
uint32_t
process_image(void)
{
        const void *random = (const void *)getauxval(AT_RANDOM);
        uint64_t half[2] = {0, 0};

        if (random != NULL)
                memcpy(half, random, sizeof half);
        half[0] = (half[0] ^ half[0] >> 29) * UINT64_C(0xbf58476d1ce4e5b9);
        half[1] = (half[1] ^ half[1] >> 32) * UINT64_C(0x94d049bb133111eb);
        return (uint32_t)((half[0] ^ half[1]) >> 32);
}

void
process_name(char ret_name[PROCESS_NAME_MAX + 1])
{
        memset(ret_name, 0, PROCESS_NAME_MAX + 1);
        prctl(PR_GET_NAME, ret_name, 0, 0, 0);
}
