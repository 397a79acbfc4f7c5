#include "support/container.h"

#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "os/process.h"
#include "os/robust.h"
#include "support/confine.h"

static void
die(const char *what)
{
        perror(what);
        abort();
}

bool
container_is_possible(void)
{
        static int is_possible = -1;
        int status = 0;
        pid_t pid;

        if (is_possible >= 0)
                return is_possible;
        pid = fork();
        if (pid == 0)
                _exit(unshare(CLONE_NEWPID | CLONE_NEWNS) < 0);
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                die("fork");
        is_possible = status == 0;
        if (!is_possible)
                fprintf(stderr, "pid namespaces: not tested, not permitted here\n");
        return is_possible;
}

void
container_start(struct child *c, void (*fn)(struct child *self, void *arg), void *arg)
{
        int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);

        if (own < 0 || unshare(CLONE_NEWPID) < 0)
                die("unshare");
        child_start(c, fn, arg);
        if (setns(own, CLONE_NEWPID) < 0)
                die("setns");
        close(own);
}

uint32_t
container_pid_ns(pid_t pid)
{
        char path[64];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
        return stat(path, &st) == 0 ? (uint32_t)st.st_ino : 0;
}

/* The kernel's walk ends at a lock that is not mapped any more. */
void
container_hide_locks(void)
{
        struct robust_lock *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        MUST(lock != MAP_FAILED && robust_take(lock, 0, process_tid(), process_pid_ns()));
        MUST(munmap(lock, 4096) == 0);
}

void
container_empty_proc(void)
{
        MUST(unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
        MUST(mount("none", "/proc", "tmpfs", 0, NULL) == 0);
}

void
container_forbid_pidfds(void)
{
        confine_refuse(SYS_pidfd_open, 0, ENOSYS);
}
