/*
 * identity.c - see identity.h.
 *
 * Numbers are only where the search begins.  What is found is a pidfd, which stands for one process for ever, and it is
 * that process that is asked who it is: by what the kernel says of the descriptor, never by what stands in /proc under
 * a number that may have become somebody else's meanwhile.
 *
 * Why a client that says that it is number N of namespace X is dead when the process that is found is: while that one
 * lived, no other process had both.  So the client is that process, or was dead before, and X or N has been given
 * again.  It must have been read from the heap before the process is asked.
 *
 * What this gave up: where /proc is empty, or hides others' processes, or the caller may not look at them (it takes
 * what ptrace(2) takes), or is in a namespace within, nothing is found.
 */
#include "common/identity.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xff, 5) /* linux/pidfd.h */
#endif

/* ------------------------------------------------------------------ who is it */

/* "NSpid:	1234	5": its numbers from the namespace of this /proc inwards; the last is its own. */
static uint32_t
last_number(const char *line)
{
        const char *at = strrchr(line, '\t');

        return at ? (uint32_t)strtoul(at + 1, NULL, 10) : 0;
}

/* False: it has been waited for, or is not in the namespace of this /proc. */
static bool
numbers_of(int pidfd, uint32_t *ret_proc_pid, uint32_t *ret_own_pid)
{
        char path[64], line[1024];
        long pid = 0;
        FILE *f;

        *ret_own_pid = 0;
        snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
        f = fopen(path, "re");
        while (f && fgets(line, sizeof line, f)) {
                if (sscanf(line, "Pid: %ld", &pid) != 1 && strncmp(line, "NSpid:", 6) == 0)
                        *ret_own_pid = last_number(line);
        }
        if (f)
                fclose(f);
        *ret_proc_pid = pid > 0 ? (uint32_t)pid : 0;
        return pid > 0 && *ret_own_pid > 0;
}

static uint32_t
inode_of(const char *path)
{
        struct stat st;

        return stat(path, &st) == 0 && st.st_ino <= UINT32_MAX ? (uint32_t)st.st_ino : 0;
}

static uint32_t
namespace_of_number(uint32_t proc_pid)
{
        char path[64];

        snprintf(path, sizeof path, "/proc/%u/ns/pid", proc_pid);
        return inode_of(path);
}

/* Of the process, by its descriptor: since 6.11. */
static uint32_t
namespace_of(int pidfd)
{
        int fd = ioctl(pidfd, PIDFD_GET_PID_NAMESPACE, 0);
        struct stat st;
        uint32_t ns = 0;

        if (fd < 0)
                return 0;
        if (fstat(fd, &st) == 0 && st.st_ino <= UINT32_MAX)
                ns = (uint32_t)st.st_ino;
        close(fd);
        return ns;
}

/* A number is nobody else's while its process has not been waited for, which the second look shows. */
bool
identity_of(int pidfd, struct identity *ret)
{
        uint32_t proc_pid, again;

        if (!numbers_of(pidfd, &proc_pid, &ret->pid))
                return false;
        ret->pid_ns = namespace_of(pidfd);
        if (ret->pid_ns == 0)
                ret->pid_ns = namespace_of_number(proc_pid);
        return ret->pid_ns != 0 && numbers_of(pidfd, &again, &ret->pid) && again == proc_pid;
}

/* ------------------------------------------------------------------ which is it */

static bool
is_wanted_namespace(const struct identity_search *wanted, size_t n, uint32_t pid_ns)
{
        for (size_t i = 0; i < n; i++)
                if (wanted[i].pidfd < 0 && wanted[i].who.pid_ns == pid_ns)
                        return true;
        return false;
}

/* The first that wants it and has nothing yet. */
static bool
give(struct identity_search *wanted, size_t n, const struct identity *who, uint32_t pid, int pidfd)
{
        for (size_t i = 0; i < n; i++)
                if (wanted[i].pidfd < 0 && wanted[i].who.pid == who->pid && wanted[i].who.pid_ns == who->pid_ns) {
                        wanted[i].pid = pid;
                        wanted[i].pidfd = fcntl(pidfd, F_DUPFD_CLOEXEC, 3);
                        return wanted[i].pidfd >= 0;
                }
        return false;
}

static void
try_number(struct identity_search *wanted, size_t n, uint32_t pid)
{
        struct identity who;
        int pidfd;

        if (!is_wanted_namespace(wanted, n, namespace_of_number(pid)))
                return;
        pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
        if (pidfd < 0)
                return;
        if (identity_of(pidfd, &who))
                while (give(wanted, n, &who, pid, pidfd))
                        ; /* for several heaps */
        close(pidfd);
}

void
identity_find(struct identity_search *wanted, size_t n)
{
        DIR *proc = opendir("/proc");
        const struct dirent *entry;

        for (size_t i = 0; i < n; i++) {
                wanted[i].pid = 0;
                wanted[i].pidfd = -1;
        }
        while (proc && n > 0 && (entry = readdir(proc)) != NULL)
                if (isdigit((unsigned char)entry->d_name[0]))
                        try_number(wanted, n, (uint32_t)strtoul(entry->d_name, NULL, 10));
        if (proc)
                closedir(proc);
}
