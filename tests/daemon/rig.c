#include "daemon/rig.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/client.h"
#include "support/checks.h"
#include "support/heap_dir.h"

enum { ARGS_MAX = 32 };

static unsigned n_logs;

/* ------------------------------------------------------------------ the directory */

const char *
rig_dir(void)
{
        return getenv("SHMALLOC_DIR");
}

void
rig_create(const char *suite)
{
        char socket[128];

        heap_dir_create(suite);
        if (snprintf(socket, sizeof socket, "%s/socket", rig_dir()) >= 108)
                abort();
        setenv("SHMALLOC_SOCKET", socket, 1);
}

void
rig_remove(void)
{
        heap_dir_remove();
}

void
rig_empty(void)
{
        heap_dir_empty();
}

const char *
rig_write(const char *name, const char *text)
{
        static char path[200];
        FILE *f;

        snprintf(path, sizeof path, "%s/%s", rig_dir(), name);
        f = fopen(path, "w");
        ck_assert_ptr_nonnull(f);
        fputs(text, f);
        fclose(f);
        return path;
}

/* ------------------------------------------------------------------ processes */

static void
must_be(int result, const char *what)
{
        if (result < 0) {
                perror(what);
                _exit(127);
        }
}

static void
mount_proc(const char *type)
{
        must_be(unshare(CLONE_NEWNS), "unshare");
        must_be(mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL), "mount /");
        must_be(mount("none", "/proc", type, 0, NULL), "mount /proc");
}

static void __attribute__((noreturn)) become_daemon(struct rig *rig, char **args, const char *proc_type)
{
        const char *program = getenv("SHMALLOCD");
        int fd = open(rig->log, O_WRONLY | O_APPEND | O_CREAT, 0600);

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        dup2(fd, STDERR_FILENO);
        close(fd);
        if (proc_type)
                mount_proc(proc_type);
        args[0] = (char *)(uintptr_t) "shmallocd";
        execv(program ? program : "shmallocd", args);
        perror("cannot start the daemon: SHMALLOCD names it");
        _exit(127);
}

static void
begin_daemon(struct rig *rig, const char *proc_type, const char *argument, va_list list)
{
        char *args[ARGS_MAX] = {NULL};
        int n = 1;

        snprintf(rig->log, sizeof rig->log, "%s/log-%d-%u", rig_dir(), (int)getpid(), n_logs++);
        rig->read_to = 0;
        close(open(rig->log, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        for (const char *arg = argument; arg && n < ARGS_MAX - 1; arg = va_arg(list, const char *))
                args[n++] = (char *)(uintptr_t)arg;
        fflush(NULL);
        rig->pid = fork();
        ck_assert_int_ge(rig->pid, 0);
        if (rig->pid == 0)
                become_daemon(rig, args, proc_type);
}

void
rig_start(struct rig *rig, const char *argument, ...)
{
        va_list list;

        va_start(list, argument);
        begin_daemon(rig, NULL, argument, list);
        va_end(list);
}

void
rig_start_inside(const char *type, struct rig *rig, const char *argument, ...)
{
        int own = open("/proc/self/ns/pid", O_RDONLY | O_CLOEXEC);
        va_list list;

        ck_assert_int_eq(unshare(CLONE_NEWPID), 0);
        va_start(list, argument);
        begin_daemon(rig, type, argument, list);
        va_end(list);
        ck_assert_int_eq(setns(own, CLONE_NEWPID), 0);
        close(own);
}

int
rig_wait(struct rig *rig)
{
        int status = -1;

        ck_assert_int_eq(waitpid(rig->pid, &status, 0), rig->pid);
        rig->pid = 0;
        return status;
}

void
rig_kill(struct rig *rig)
{
        kill(rig->pid, SIGKILL);
        rig_wait(rig);
}

void
rig_stop(struct rig *rig)
{
        int status;

        kill(rig->pid, SIGTERM);
        status = rig_wait(rig);
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "the daemon ended with wait status %#x", status);
}

int
rig_count_fds(const struct rig *rig)
{
        char path[64];
        DIR *d;
        int n = 0;

        snprintf(path, sizeof path, "/proc/%d/fd", (int)rig->pid);
        d = opendir(path);
        while (d && readdir(d))
                n++;
        if (d)
                closedir(d);
        return n;
}

/* ------------------------------------------------------------------ the log */

static char *
read_log(const struct rig *rig, long from)
{
        FILE *f = fopen(rig->log, "r");
        char *text;
        long size;

        ck_assert_ptr_nonnull(f);
        fseek(f, 0, SEEK_END);
        size = ftell(f) - from;
        text = calloc(1, (size_t)size + 1);
        fseek(f, from, SEEK_SET);
        size = (long)fread(text, 1, (size_t)size, f);
        text[size] = '\0';
        fclose(f);
        return text;
}

/* Up to the end of the line with the text. */
static bool
look(struct rig *rig, const char *text)
{
        char *log = read_log(rig, rig->read_to), *found = strstr(log, text);
        const char *end = found ? strchr(found, '\n') : NULL;

        if (end)
                rig->read_to += end + 1 - log;
        free(log);
        return end != NULL;
}

/* Until the log grows, or the daemon has ended. */
static bool
wait_for_log(const struct rig *rig, int watch, int pidfd)
{
        struct pollfd p[2] = {{.fd = watch, .events = POLLIN}, {.fd = pidfd, .events = POLLIN}};
        char events[4096];

        (void)rig;
        while (poll(p, 2, -1) < 0)
                ;
        if (p[0].revents & POLLIN)
                (void)!read(watch, events, sizeof events);
        return !(p[1].revents & POLLIN);
}

void
rig_expect(struct rig *rig, const char *text)
{
        int watch = inotify_init1(IN_CLOEXEC), pidfd = (int)syscall(SYS_pidfd_open, rig->pid, 0);
        bool is_alive = true, has_said;

        ck_assert_int_ge(inotify_add_watch(watch, rig->log, IN_MODIFY), 0);
        while (!(has_said = look(rig, text)) && is_alive)
                is_alive = wait_for_log(rig, watch, pidfd);
        close(watch);
        close(pidfd);
        if (!has_said) {
                char *log = read_log(rig, 0);

                ck_abort_msg("the daemon ended without saying \"%s\", but:\n%s", text, log);
        }
}

bool
rig_has_said(const struct rig *rig, const char *text)
{
        char *log = read_log(rig, 0);
        bool has = strstr(log, text) != NULL;

        free(log);
        return has;
}

pid_t
rig_helper(const struct rig *rig)
{
        char *log = read_log(rig, 0);
        const char *at = log;
        int pid = 0;

        while ((at = strstr(at, "looked after by helper ")) != NULL)
                sscanf(at++, "looked after by helper %d", &pid);
        free(log);
        return pid;
}

/* ------------------------------------------------------------------ the heap's own view */

static bool
client_is_stranger(const struct region *r, uint32_t idx)
{
        const struct client_slot *slot = region_client(r, idx);

        return slot && (uint32_t)load_relaxed(&slot->process) != (uint32_t)getpid() &&
               strncmp(slot->name, "shmallocd-help", 14) != 0;
}

uint32_t
rig_count_strangers(shheap *h)
{
        const struct region *r = &h->region;
        uint32_t n = 0;

        for (uint32_t i = 0; i < region_threads_hwm(r); i++) {
                const struct slot_gate *gate = region_gate(r, i);

                n += load_relaxed(&gate->state) == 1 && client_is_stranger(r, load_relaxed(&gate->client_idx));
        }
        return n;
}

uint32_t
rig_count_stranger_clients(shheap *h)
{
        const struct region *r = &h->region;
        struct client_id client;
        uint32_t n = 0, pid;

        for (uint32_t i = 0; i < region_clients_hwm(r); i++)
                n += client_who(r, i, &client, &pid) && client_is_stranger(r, i);
        return n;
}

void
rig_expect_no_strangers(struct rig *rig, shheap *h)
{
        while (rig_count_strangers(h) > 0)
                rig_expect(rig, " settled in ");
}
