#include "support/ways.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef SYS_process_mrelease
#define SYS_process_mrelease 448
#endif

enum { OOM_WAIT_MS = 150, PATH_BYTES = 400 };

/* ------------------------------------------------------------------ process_mrelease */

bool
ways_kill_and_release(pid_t pid)
{
        int fd = (int)syscall(SYS_pidfd_open, pid, 0);
        bool is_done;

        kill(pid, SIGKILL);
        is_done = fd >= 0 && syscall(SYS_process_mrelease, fd, 0) == 0;
        close(fd);
        return is_done;
}

/* ------------------------------------------------------------------ a memory cgroup */

static char cgroup[PATH_BYTES]; /* "" = none */

static bool
write_to(const char *dir, const char *file, const char *text)
{
        char path[PATH_BYTES + 64];
        bool is_done;
        int fd;

        snprintf(path, sizeof path, "%s/%s", dir, file);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        is_done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
        close(fd);
        return is_done;
}

/* Where this process is in the hierarchy that has the memory controller: of its own (v1), or the only one (v2). */
static bool
find_own(char own[PATH_BYTES], bool *ret_is_v1)
{
        char line[PATH_BYTES];
        FILE *file = fopen("/proc/self/cgroup", "r");
        bool is_found = false;

        while (file && !is_found && fgets(line, sizeof line, file)) {
                char *v1 = strstr(line, ":memory:"), *v2 = strncmp(line, "0::", 3) == 0 ? line + 3 : NULL;

                line[strcspn(line, "\n")] = '\0';
                if (!v1 && !v2)
                        continue;
                *ret_is_v1 = v1 != NULL;
                snprintf(own, PATH_BYTES, "/sys/fs/cgroup%s%.300s", v1 ? "/memory" : "", v1 ? v1 + 8 : v2);
                is_found = access(own, W_OK) == 0;
        }
        if (file)
                fclose(file);
        return is_found;
}

const char *
ways_oom_prepare(void)
{
        char own[PATH_BYTES];
        bool is_v1;

        if (!find_own(own, &is_v1))
                return "no cgroup of ours can be written to";
        snprintf(cgroup, sizeof cgroup, "%.300s/shmalloc-test-%d", own, (int)getpid());
        if (mkdir(cgroup, 0700) < 0) {
                cgroup[0] = '\0';
                return "no cgroup can be made";
        }
        if (write_to(cgroup, is_v1 ? "memory.limit_in_bytes" : "memory.max", "4096"))
                return NULL;
        ways_oom_remove();
        return "cgroups have no limit of memory here";
}

void
ways_oom_remove(void)
{
        if (cgroup[0] != '\0')
                rmdir(cgroup);
        cgroup[0] = '\0';
}

bool
ways_kill_by_oom(pid_t pid)
{
        struct pollfd fd = {.fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN};
        char number[16];
        bool is_done;

        snprintf(number, sizeof number, "%d", (int)pid);
        is_done = cgroup[0] != '\0' && fd.fd >= 0 && write_to(cgroup, "cgroup.procs", number) &&
                  poll(&fd, 1, OOM_WAIT_MS) == 1;
        close(fd.fd);
        if (!is_done)
                kill(pid, SIGKILL);
        return is_done;
}

/* ------------------------------------------------------------------ a pid namespace */

static int own_ns = -1, other_ns = -1;
static pid_t first; /* of the other: it buries whoever is nobody's child there */

static void __attribute__((noreturn)) be_first(void)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGCHLD, SIG_IGN);
        for (;;)
                pause();
}

const char *
ways_ns_make(void)
{
        char path[64];

        own_ns = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        if (own_ns < 0 || unshare(CLONE_NEWPID) < 0)
                return "no pid namespace can be made";
        first = fork();
        if (first == 0)
                be_first();
        if (first < 0 || setns(own_ns, CLONE_NEWPID) < 0) {
                fprintf(stderr, "test: pid namespace: %s\n", strerror(errno));
                abort();
        }
        snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)first);
        other_ns = open(path, O_RDONLY | O_CLOEXEC);
        return other_ns < 0 ? "the pid namespace cannot be opened" : NULL;
}

/* Its end is not waited for: it comes when all that ever was in there has been buried, perhaps by ourselves. */
void
ways_ns_remove(void)
{
        if (first > 0)
                kill(first, SIGKILL);
        first = 0;
}

pid_t
ways_ns_fork(void)
{
        pid_t pid;

        if (setns(other_ns, CLONE_NEWPID) < 0)
                return -1;
        pid = fork();
        if (pid != 0 && setns(own_ns, CLONE_NEWPID) < 0)
                abort();
        return pid;
}

uint32_t
ways_ns_pid(pid_t pid)
{
        char path[64], line[256];
        const char *last;
        uint32_t found = 0;
        FILE *file;

        snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
        file = fopen(path, "r");
        while (file && found == 0 && fgets(line, sizeof line, file))
                if (strncmp(line, "NSpid:", 6) == 0 && (last = strrchr(line, '\t')))
                        found = (uint32_t)strtoul(last, NULL, 10);
        if (file)
                fclose(file);
        return found;
}

uint64_t
ways_ns_id(pid_t pid)
{
        char path[64];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
        return stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}
