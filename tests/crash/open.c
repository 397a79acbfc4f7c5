/*
 * open.c - crash_open WHAT: a process is killed at every system call of opening a heap, or of a fork.
 *
 * What others can see of a heap that is being made changes with system calls only; the stores to the region of somebody
 * who attaches are enumerated elsewhere (scripts attach, close).  So the victim is stopped at the beginning and the end
 * of each of its system calls, one after the other in a new world each time, and killed there.
 *
 *   create      the first process opens the heap by its name, and makes it
 *   second      another one has it open already
 *   fork        a process with the heap open forks, and dies; its child lives on
 *   fork-child  the child dies, the parent lives on
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "crash.h"

#define NAME "crash"

enum { WATCHDOG_SECONDS = 60, CALLS_MAX = 2000 };

struct crash_options opt = {.n_ops = 200, .seed = 1};
struct actor *actors, *actor_now;
struct region *world_region;
uint64_t world_ms;

static char dir[64];
static uint32_t *is_done; /* shared: the victim has come to its end */

/* ------------------------------------------------------------------ the world: a heap with a name */

enum backing
world_backing(uint64_t region_off)
{
        (void)region_off;
        return BACKING_UNKNOWN;
}

bool
world_is_placed(uint64_t chunk, uint32_t node1)
{
        (void)chunk;
        (void)node1;
        return true;
}

void
actor_switch(struct actor *a)
{
        actor_now = a;
        world_region = a->heap ? &a->heap->region : NULL;
}

void
actor_kill(struct actor *a)
{
        a->is_dead = true;
}

static int
open_heap(struct actor *a, unsigned flags)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        int err;

        attr.capacity = 4 * GEO_CHUNK_BYTES;
        attr.max_clients = 2; /* the victim and the survivor: a newcomer needs the place of one */
        attr.max_threads = 4;
        attr.conf = "arenas:1,decay_ms:-1";
        a->os_pid = (uint32_t)getpid();
        err = shheap_open(&a->heap, NAME, flags, &attr);
        if (err == 0) {
                a->is_attached = true;
                actor_switch(a);
        }
        return err;
}

void
actor_attach(struct actor *a)
{
        if (open_heap(a, 0) < 0)
                report_line("the heap cannot be opened: %s", shheap_errormsg());
}

void
newcomer_comes(void)
{
        struct actor *f = &actors[ACTOR_F];
        pid_t pid;
        int status;

        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                shheap_close(actors[ACTOR_C].heap); /* our parent's; this process opens it by itself */
                actor_attach(f);
                if (report_faults() == 0)
                        a_free(f, a_malloc(f, 64));
                _exit(report_faults() != 0);
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
                report_line("a new process cannot take the place of the dead");
        f->is_dead = true;
        actor_reap();
}

/* ------------------------------------------------------------------ victims */

static void
open_and_use(struct actor *a, unsigned flags)
{
        if (open_heap(a, flags) < 0)
                _exit(98);
        actor_push(a, a_malloc(a, 100));
}

/* The child has the same handle, and is a client of its own from its first call on. */
static void
fork_and_use(struct actor *a)
{
        pid_t pid = fork();

        if (pid == 0) {
                struct actor *b = &actors[ACTOR_B];

                b->heap = a->heap;
                b->os_pid = (uint32_t)getpid();
                actor_switch(b);
                a_free(b, a_malloc(b, 3000));
                _exit(0);
        }
        a_free(a, a_malloc(a, 5000));
        waitpid(pid, NULL, 0);
}

static void
be_victim(const char *what)
{
        struct actor *a = &actors[ACTOR_A];
        bool forks = strncmp(what, "fork", 4) == 0;

        ptrace(PTRACE_TRACEME, 0, 0, 0);
        a->os_pid = (uint32_t)getpid();
        if (forks)
                open_and_use(a, SHHEAP_CREATE);
        raise(SIGSTOP);
        if (forks)
                fork_and_use(a);
        else
                open_and_use(a, SHHEAP_CREATE);
        store_relaxed(is_done, 1u);
        raise(SIGSTOP);
        _exit(0);
}

/* ------------------------------------------------------------------ driving it */

/* The beginning or the end of a system call.  0: it ended, or is done; the new child's id after a fork. */
static pid_t
next_call(pid_t pid, bool *ret_is_standing)
{
        unsigned long child = 0;
        int status;

        ptrace(PTRACE_SYSCALL, pid, 0, 0);
        *ret_is_standing = waitpid(pid, &status, 0) == pid && WIFSTOPPED(status) && !load_relaxed(is_done);
        if (*ret_is_standing && status >> 16 != 0)
                ptrace(PTRACE_GETEVENTMSG, pid, 0, &child);
        return (pid_t)child;
}

/* The pid of the one to kill, standing after n calls; 0: it ended first. */
static pid_t
drive(pid_t victim, const char *what, long n, pid_t *ret_parent)
{
        bool is_standing = true;
        pid_t child = 0, pid;

        *ret_parent = 0;
        ptrace(PTRACE_SETOPTIONS, victim, 0,
               PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK | PTRACE_O_TRACECLONE);
        if (strcmp(what, "fork-child") == 0) {
                while (child == 0 && is_standing)
                        child = next_call(victim, &is_standing);
                if (child == 0 || waitpid(child, NULL, 0) != child)
                        exit(99);
                ptrace(PTRACE_CONT, victim, 0, 0);
                *ret_parent = victim;
                victim = child;
        }
        for (long i = 0; i < n && is_standing; i++) {
                pid = next_call(victim, &is_standing);
                if (pid != 0 && waitpid(pid, NULL, 0) == pid)
                        ptrace(PTRACE_DETACH, pid, 0, 0); /* lives on by itself */
        }
        return is_standing ? victim : 0;
}

/* Waits for everybody who is left but has not `pid`. */
static void
reap_processes(void)
{
        while (waitpid(-1, NULL, __WALL) > 0 || errno == EINTR)
                continue;
}

static void
judge_directory(void)
{
        DIR *d = opendir(dir);
        struct dirent *e;

        while (d && (e = readdir(d)))
                if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 &&
                    strcmp(e->d_name, "shmalloc." NAME) != 0)
                        report_line("%s was left behind", e->d_name);
        if (d)
                closedir(d);
}

/* In a process of its own.  3: the victim came to its end before. */
static int
try_call(const char *what, long n)
{
        struct actor *c = &actors[ACTOR_C];
        pid_t victim, parent;

        prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
        if (strcmp(what, "second") == 0)
                open_and_use(c, SHHEAP_CREATE);
        fflush(NULL);
        victim = fork();
        if (victim == 0) {
                if (c->heap) { /* a stranger, not a client by its parent's handle */
                        shheap_close(c->heap);
                        c->is_attached = true;
                }
                be_victim(what);
        }
        if (waitpid(victim, NULL, 0) != victim)
                return 99;
        if (!c->heap && strncmp(what, "fork", 4) == 0 && open_heap(c, 0) < 0)
                return 99;
        victim = drive(victim, what, n, &parent);
        if (victim == 0)
                return 3;
        kill(victim, SIGKILL);
        if (parent != 0) { /* lives on to its end; then it stops */
                int status;

                waitpid(victim, NULL, __WALL);
                if (waitpid(parent, &status, __WALL) != parent || !WIFSTOPPED(status))
                        report_line("the parent of the dead did not go on: status %#x", status);
                while (!load_relaxed(is_done)) {
                        ptrace(PTRACE_CONT, parent, 0, 0);
                        if (waitpid(parent, &status, __WALL) != parent || !WIFSTOPPED(status))
                                break;
                }
                kill(parent, SIGKILL);
        }
        reap_processes();
        actor_kill(&actors[ACTOR_A]);
        actor_kill(&actors[ACTOR_B]);
        if (!c->is_attached && open_heap(c, SHHEAP_CREATE) < 0) {
                report_line("the heap cannot be opened: %s", shheap_errormsg());
                return 1;
        }
        judge_directory();
        inspect_dead(c, true);
        return report_faults() != 0;
}

/* ------------------------------------------------------------------ all of them */

static void
make_dir(void)
{
        snprintf(dir, sizeof dir, "%s/shmalloc-crash-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
        if (!mkdtemp(dir) || setenv("SHMALLOC_DIR", dir, 1) < 0) {
                perror("crash_open: no directory");
                exit(99);
        }
}

static int
run_once(const char *what, long n)
{
        pid_t pid;
        int status;

        report_reset();
        memset(actors, 0, N_ACTORS * sizeof *actors);
        for (int no = 0; no < N_ACTORS; no++) {
                actors[no].no = no;
                actors[no].os_pid = UINT32_MAX;
        }
        *is_done = 0;
        fflush(NULL);
        pid = fork();
        if (pid == 0) {
                watchdog_start(WATCHDOG_SECONDS);
                _exit(try_call(what, n));
        }
        if (pid < 0 || waitpid(pid, &status, 0) != pid)
                exit(99);
        shheap_unlink(NAME);
        return status;
}

int
main(int argc, char **argv)
{
        long only = argc > 3 && strcmp(argv[2], "--at") == 0 ? atol(argv[3]) : -1;
        long stride = argc > 3 && strcmp(argv[2], "--stride") == 0 ? atol(argv[3]) : 1;
        double start = seconds_now();
        unsigned long n_bad = 0;
        long n;

        if (argc < 2 || stride < 1) {
                fputs("usage: crash_open create|second|fork|fork-child [--at N | --stride N]\n", stderr);
                return 2;
        }
        report_init();
        make_dir();
        actors = mmap(NULL, N_ACTORS * sizeof *actors, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        is_done = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        if (actors == MAP_FAILED || is_done == MAP_FAILED)
                return 99;
        for (n = only >= 0 ? only : 1; n < CALLS_MAX && (only < 0 || n == only); n += stride) {
                int status = run_once(argv[1], n);

                if (WIFEXITED(status) && WEXITSTATUS(status) == 3)
                        break;
                if (status == 0)
                        continue;
                n_bad++;
                fprintf(stderr, "FAULT: %s: killed at stop %ld of its system calls: status %#x\n", argv[1], n, status);
                report_print();
                fprintf(stderr, "  replay: %s %s --at %ld\n", argv[0], argv[1], n);
        }
        rmdir(dir);
        printf("open %s: killed at %ld stops at system calls, %lu bad, %.2f s\n", argv[1], (n - 1) / stride, n_bad,
               seconds_now() - start);
        return n_bad != 0 || n < 3;
}
