/*
 * mortal.h - processes that attach to one piece of shared memory and die there, for the tests of death.  A child says
 * through a pipe how far it is.  Included by one source of a program.
 */
#ifndef SUPPORT_MORTAL_H
#define SUPPORT_MORTAL_H

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/client.h"
#include "clients/slot.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/plain_region.h"

enum { N_CLIENTS = 6, N_THREADS = 48 };

/* What the processes share besides the region. */
struct shared {
        uint32_t settled[N_THREADS + 1]; /* how often each thread number was settled */
        uint32_t user_of[N_THREADS];     /* who believes to have the slot */
        uint32_t n_came;
        uint32_t n_refused;
};

static struct region region, *r = &region;
static struct shared *shared;
static struct client_id client; /* of this process */

static inline void
setup(void)
{
        plain_region_make(r, N_CLIENTS, N_THREADS, 1, 2);
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
        ck_assert_int_eq(client_register(r, &client), 0);
}

static inline void
teardown(void)
{
        plain_region_drop(r);
        munmap(shared, sizeof *shared);
}

/* ------------------------------------------------------------------ children */

struct child {
        pid_t pid;
        int said;  /* the parent reads what the child says */
        int hears; /* the parent writes what the child hears */
};

/* In a child, where libcheck's assertions would speak for the wrong process. */
#define NEED(cond)                                                                                                     \
        do {                                                                                                           \
                if (!(cond)) {                                                                                         \
                        fprintf(stderr, "%s:%d: child %d: %s is false (%s)\n", __FILE__, __LINE__, (int)getpid(),      \
                                #cond, error_message());                                                               \
                        _exit(99);                                                                                     \
                }                                                                                                      \
        } while (0)

static int child_says, child_hears; /* in a child: its ends of the pipes */

static inline void
say(void)
{
        NEED(write(child_says, "x", 1) == 1);
}

static inline void
hear(void)
{
        char c;

        NEED(read(child_hears, &c, 1) == 1);
}

static inline void
child_start(struct child *child, void (*run)(void))
{
        int up[2], down[2];

        ck_assert_int_eq(pipe2(up, O_CLOEXEC), 0);
        ck_assert_int_eq(pipe2(down, O_CLOEXEC), 0);
        child->pid = fork();
        ck_assert_int_ge(child->pid, 0);
        if (child->pid == 0) {
                close(up[0]);
                close(down[1]);
                child_says = up[1];
                child_hears = down[0];
                run();
                _exit(0);
        }
        close(up[1]);
        close(down[0]);
        child->said = up[0];
        child->hears = down[1];
}

static inline void
child_await(const struct child *child)
{
        char c;

        ck_assert_msg(read(child->said, &c, 1) == 1, "the child ended too early");
}

static inline void
child_tell(const struct child *child)
{
        ck_assert_int_eq(write(child->hears, "x", 1), 1);
}

/* It is a zombie on return: dead, and still there. */
static inline void
child_await_zombie(const struct child *child)
{
        siginfo_t info;

        ck_assert_int_eq(waitid(P_PID, (id_t)child->pid, &info, WEXITED | WNOWAIT), 0);
}

static inline void
child_await_stopped(const struct child *child)
{
        siginfo_t info;

        ck_assert_int_eq(waitid(P_PID, (id_t)child->pid, &info, WSTOPPED), 0);
}

static inline int
child_bury(const struct child *child)
{
        int status;

        ck_assert_int_eq(waitpid(child->pid, &status, 0), child->pid);
        close(child->said);
        close(child->hears);
        return status;
}

static inline void
child_must_succeed(const struct child *child)
{
        int status = child_bury(child);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0, "child ended with status %#x", status);
}

static inline void
child_kill_and_bury(const struct child *child)
{
        ck_assert_int_eq(kill(child->pid, SIGKILL), 0);
        child_bury(child);
}

/* ------------------------------------------------------------------ what children do */

static struct thread child_thread;

static inline void
settle_count(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)region_settled;
        (void)arg;
        __atomic_fetch_add(&shared->settled[thread_no], 1, __ATOMIC_RELAXED);
}

static inline void
settle_never(struct region *region_settled, uint32_t thread_no, void *arg)
{
        (void)region_settled;
        (void)arg;
        fprintf(stderr, "slot %u was settled although nobody died\n", thread_no);
        abort();
}

static inline void
attach(void)
{
        NEED(client_register(r, &client) == 0);
        NEED(slot_attach(&child_thread, r, &client, NULL, NULL) == 0);
}

static inline void
attach_and_wait(void)
{
        attach();
        say();
        hear();
}

static inline void
attach_wait_and_release(void)
{
        attach_and_wait();
        slot_release(&child_thread);
}

/* Holds a lock of its own and unmaps it: the kernel's walk ends there. */
static inline void
cut_robust_list(void)
{
        struct robust_lock *lock = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        NEED(lock != MAP_FAILED);
        NEED(robust_take(lock, 0, process_tid(), process_pid_ns()));
        NEED(munmap(lock, 4096) == 0);
}

static inline void
attach_and_cut_robust_list(void)
{
        attach();
        cut_robust_list();
        say();
        hear();
}

/* The slot that a child attached to: the first, unless the test took it. */
static inline struct slot_gate *
gate_at(uint32_t idx)
{
        return region_gate(r, idx);
}

static inline bool
life_is_marked(uint32_t idx)
{
        return (robust_word(&gate_at(idx)->life) & ROBUST_OWNER_DIED) != 0;
}

static inline uint32_t
life_pid_ns(uint32_t idx)
{
        return robust_word_pid_ns(robust_word(&gate_at(idx)->life));
}

/* A child that attached to slot 0, was killed and is buried. */
static inline void
leave_dead_slot(void)
{
        struct child child;

        child_start(&child, attach_and_wait);
        child_await(&child);
        child_kill_and_bury(&child);
        ck_assert_uint_eq(gate_at(0)->state, 1);
}

#endif
