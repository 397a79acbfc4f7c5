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
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/atomic.h"
#include "os/descriptor.h"
#include "os/syscall.h"

static uint64_t pid_ns_known;    /* this process's pid namespace, 0 = not asked yet */
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

static bool
id_can_be_judged(uint32_t id)
{
        return id > 0 && id <= INT32_MAX && process_pid_ns() != PROCESS_NS_UNKNOWN;
}

/* kill() with 0 reaches nobody.  EPERM means that the process exists. */
bool
process_is_gone(uint32_t pid)
{
        int saved = errno;
        bool is_gone = id_can_be_judged(pid) && kill((pid_t)pid, 0) < 0 && errno == ESRCH;

        errno = saved;
        return is_gone;
}

bool
process_thread_is_gone(uint32_t tid)
{
        int saved = errno;
        bool is_gone = id_can_be_judged(tid) && syscall(SYS_tkill, (pid_t)tid, 0) < 0 && errno == ESRCH;

        errno = saved;
        return is_gone;
}

void
process_pid_ns_refresh(void)
{
        struct stat st;
        int saved = errno;
        bool is_known = sys_fstatat(AT_FDCWD, "/proc/self/ns/pid", &st, 0) == 0;

        errno = saved;
        /* Relaxed: all threads store the same, and each relies on its own store only. */
        store_relaxed(&pid_ns_known, is_known ? (uint64_t)st.st_ino : PROCESS_NS_UNKNOWN);
        store_relaxed(&pid_ns_known_by, process_id());
}

uint64_t
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

bool
process_has_robust_list(void)
{
        void *head = NULL;
        size_t bytes;

        return syscall(SYS_get_robust_list, 0, &head, &bytes) == 0 && head != NULL;
}

/* What the C library believes is found without touching shared memory: it writes it into any mutex that it locks. */
bool
process_tid_is_cached(void)
{
        pthread_mutex_t probe = PTHREAD_ERRORCHECK_MUTEX_INITIALIZER_NP;
        uint32_t tid;

        if (pthread_mutex_lock(&probe) != 0)
                return false;
        tid = (uint32_t)probe.__data.__owner;
        pthread_mutex_unlock(&probe);
        return tid == process_tid();
}
