/*
 * process.c - identity and existence of processes and threads.
 *
 * Everything here is a question to the kernel.  Ids read from a region are hostile input: they are signalled with 0
 * only, and ids that would name a process group or everybody are refused.
 *
 * Who this process is stays so, and is asked once.  It is remembered in a page that reads as zeroes in the child of a
 * fork, however that was made, so no child takes itself for its parent.  A thread remembers its id together with the
 * generation that stands in the page, which no other process's threads have in theirs.  Who shares the memory of a
 * process without being a thread of it (vfork(2)) passes for the one that it was made by, whose robust list, stack and
 * memory of its own it uses, too; made with others (a raw clone(2)), it remembers nothing and has no list
 * (os/robust.c).
 *
 * Without the page (process_remember() has not been called yet, or failed) everything is asked anew, but for the pid
 * namespace, which is remembered per process id.  A forked child has another id, but for one case: the first process
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
#include "os/shm.h"
#include "os/syscall.h"

#ifndef PIDFD_GET_PID_NAMESPACE
#define PIDFD_GET_PID_NAMESPACE _IO(0xff, 5) /* linux/pidfd.h */
#endif

static uint32_t pid_ns_known;    /* this process's pid namespace, 0 = not asked yet; where there is no page */
static uint32_t pid_ns_known_by; /* the process that asked */

/* ------------------------------------------------------------------ what a fork makes forget */

/* What it says is 0, or of this process: relaxed, since all threads store the same, but for `generation`. */
struct page {
        uint32_t mark;       /* process_mark() */
        uint32_t generation; /* CAS from 0 */
        uint32_t pid;
        uint32_t pid_ns;
} __attribute__((aligned(4096)));

_Static_assert(sizeof(struct page) == OS_PAGE_BYTES, "the page is nothing else's");

static struct page own_page;     /* saves making one */
static struct page *page;        /* wiped by forks; NULL = nothing is remembered so far */
static uint32_t last_generation; /* that was given out here, or in a process that this one was forked from */

static __thread struct {
        uint32_t tid, generation;
} self __attribute__((tls_model("initial-exec")));

static struct page *
known(void)
{
        return load_acquire(&page); /* E12.acq: what the page says */
}

/* Where that memory is of another kind than usual, such as large pages, another one. */
static struct page *
page_make(int *ret_err)
{
        void *p = &own_page;

        *ret_err = os_wipe_by_fork(p, sizeof own_page);
        if (*ret_err == -EINVAL)
                *ret_err = os_map_private(sizeof own_page, true, &p);
        return *ret_err == 0 ? p : NULL;
}

int
process_remember(void)
{
        struct page *none = NULL, *made;
        int err = 0;

        if (known())
                return 0;
        made = page_make(&err);
        if (!made)
                return err;
        store_relaxed(&made->mark, 1u);
        /* E12.rel: what the page says. */
        if (!cas_release(&page, &none, made) && made != &own_page) /* another thread was faster */
                os_unmap(made, sizeof *made);
        return 0;
}

uint32_t *
process_mark(void)
{
        struct page *p = known();

        return p ? &p->mark : NULL;
}

uint32_t
process_generation(void)
{
        struct page *p = known();
        uint32_t generation = p ? load_relaxed(&p->generation) : 0, next;

        if (!p || generation != 0)
                return generation;
        next = fetch_add_relaxed(&last_generation, 1u) + 1;
        ASSERT(next != 0 && self.generation != next);
        return cas_relaxed(&p->generation, &generation, next) ? next : generation; /* a sibling's */
}

static int
ask_list(void **ret_head)
{
        size_t bytes;

        *ret_head = NULL;
        if (syscall(SYS_get_robust_list, 0, ret_head, &bytes) != 0)
                return -errno;
        ASSERT(bytes == 3 * sizeof(void *)); /* struct robust_list_head */
        return 0;
}

/* Who shares the memory of a process without being a thread of it has no list: what it is told is not remembered. */
static bool
is_thread(void)
{
        void *head;

        return ask_list(&head) == 0 && head != NULL;
}

uint32_t
process_id(void)
{
        struct page *p = known();
        uint32_t pid = p ? load_relaxed(&p->pid) : 0;

        if (pid != 0)
                return pid;
        pid = (uint32_t)getpid();
        if (p && is_thread())
                store_relaxed(&p->pid, pid);
        return pid;
}

/* Of a thread of this process. */
static void
learn_tid(uint32_t generation)
{
        if (self.generation != generation) {
                self.tid = (uint32_t)syscall(SYS_gettid);
                self.generation = generation;
        }
        ASSERT(self.tid != 0 && self.generation == generation);
}

uint32_t
process_tid(void)
{
        uint32_t generation = process_generation();

        if (generation == 0 || (self.generation != generation && !is_thread()))
                return (uint32_t)syscall(SYS_gettid);
        learn_tid(generation);
        return self.tid;
}

/* ------------------------------------------------------------------ others */

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

/* ------------------------------------------------------------------ the pid namespace */

/* What its link in /proc says, "pid:[4026531836]"; 0: nothing of the kind. */
static uint32_t
pid_ns_read(void)
{
        char text[32], *end;
        long n = SYS_RETRY(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/ns/pid", text, sizeof text - 1));
        unsigned long ns;

        if (n <= 6 || memcmp(text, "pid:[", 5) != 0 || text[n - 1] != ']')
                return 0;
        text[n - 1] = '\0';
        ns = strtoul(text + 5, &end, 10);
        return *end == '\0' && ns <= UINT32_MAX ? (uint32_t)ns : 0;
}

/* A descriptor of this process's pid namespace, or -1.  The kernel tells since 6.11, also where there is no /proc, or
 * one that is none. */
static int
pid_ns_open(void)
{
        int pidfd = (int)syscall(SYS_pidfd_open, (pid_t)process_id(), 0), fd = -1;

        if (pidfd >= 0) {
                fd = (int)syscall(SYS_ioctl, pidfd, PIDFD_GET_PID_NAMESPACE, 0);
                sys_close(pidfd);
        }
        return fd >= 0 ? fd : descriptor_openat(AT_FDCWD, "/proc/self/ns/pid", O_RDONLY, 0);
}

static uint32_t
pid_ns_ask(void)
{
        uint32_t ns = pid_ns_read();
        struct statfs fs;
        struct stat st;
        int fd;

        if (ns > PROCESS_NS_UNKNOWN)
                return ns;
        ns = PROCESS_NS_UNKNOWN;
        fd = pid_ns_open();
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
        struct page *p = known();
        int saved = errno;
        uint32_t ns;

        if (p && load_relaxed(&p->pid_ns) > PROCESS_NS_UNKNOWN)
                return;
        ns = pid_ns_ask();
        ASSERT(ns != 0);
        errno = saved;
        /* Relaxed: all threads store the same, and each relies on its own store only. */
        if (p && is_thread())
                store_relaxed(&p->pid_ns, ns);
        store_relaxed(&pid_ns_known, ns);
        store_relaxed(&pid_ns_known_by, process_id());
}

uint32_t
process_pid_ns(void)
{
        struct page *p = known();
        uint32_t ns = p ? load_relaxed(&p->pid_ns) : 0;

        if (ns != 0)
                return ns;
        if (p || load_relaxed(&pid_ns_known) == 0 || load_relaxed(&pid_ns_known_by) != process_id())
                process_pid_ns_refresh();
        return load_relaxed(&pid_ns_known);
}

/* ------------------------------------------------------------------ all at once */

int
process_ask_list(void **ret_head)
{
        struct page *p = known();
        int saved = errno, err = ask_list(ret_head);

        errno = saved;
        if (err < 0 || !*ret_head || !p)
                return err;
        if (load_relaxed(&p->pid) == 0)
                store_relaxed(&p->pid, (uint32_t)getpid());
        learn_tid(process_generation());
        if (load_relaxed(&p->pid_ns) == 0)
                store_relaxed(&p->pid_ns, pid_ns_ask());
        errno = saved;
        return 0;
}

/* ------------------------------------------------------------------ for people */

/* The command name may contain anything, so fields are counted from its last parenthesis: the third comes next. */
static uint64_t
start_ticks_parse(const char *stat_line)
{
        const char *field = strrchr(stat_line, ')');

        for (int n = 2; field != NULL && n < 22; n++)
                field = strchr(field + 1, ' ');
        return field != NULL ? strtoull(field, NULL, 10) : 0;
}

enum { STAT_LINE_BYTES = 768 };

static bool
stat_line_read(const char *path, char line[STAT_LINE_BYTES])
{
        long n;
        int fd;

        fd = descriptor_openat(AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0)
                return false;
        n = sys_read(fd, line, STAT_LINE_BYTES - 1);
        sys_close(fd);
        line[n > 0 ? n : 0] = '\0';
        return n > 0;
}

uint64_t
process_start_ticks(uint32_t pid)
{
        char path[32], line[STAT_LINE_BYTES];

        ASSERT(pid != 0);
        snprintf(path, sizeof path, "/proc/%u/stat", pid);
        return stat_line_read(path, line) ? start_ticks_parse(line) : 0;
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

/* "27 (name) R ...": the name may contain anything. */
void
process_describe(char ret_name[PROCESS_NAME_MAX + 1], uint64_t *ret_start_ticks)
{
        char line[STAT_LINE_BYTES];
        bool is_read = stat_line_read("/proc/self/stat", line);
        const char *start = is_read ? strchr(line, '(') : NULL, *end = start ? strrchr(start, ')') : NULL;

        memset(ret_name, 0, PROCESS_NAME_MAX + 1);
        if (end && end - start - 1 <= PROCESS_NAME_MAX)
                memcpy(ret_name, start + 1, (size_t)(end - start - 1));
        else
                prctl(PR_GET_NAME, ret_name, 0, 0, 0);
        *ret_start_ticks = is_read ? start_ticks_parse(line) : 0;
}
