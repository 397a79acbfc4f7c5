/*
 * registers.h - what of a traced process's registers tests look at and change: at a system call and between
 * instructions.
 *
 * They are those of x86-64.  On other machines REGISTERS_KNOWN is 0, all compiles, and a test that needs them says so
 * by registers_are_missing() and does nothing.
 */
#ifndef SUPPORT_REGISTERS_H
#define SUPPORT_REGISTERS_H

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/types.h>
#include <sys/user.h>

#if defined(__x86_64__) && !defined(SUPPORT_NO_REGISTERS)

enum { REGISTERS_KNOWN = 1 };

struct registers {
        struct user_regs_struct raw;
};

static inline bool
registers_get(pid_t pid, struct registers *ret)
{
        return ptrace(PTRACE_GETREGS, pid, NULL, &ret->raw) == 0;
}

static inline bool
registers_set(pid_t pid, struct registers *r)
{
        return ptrace(PTRACE_SETREGS, pid, NULL, &r->raw) == 0;
}

/* The system call that is entered or left; -1 to be set: none is done. */
static inline long
registers_call(const struct registers *r)
{
        return (long)r->raw.orig_rax;
}

static inline void
registers_set_call(struct registers *r, long call)
{
        r->raw.orig_rax = (unsigned long long)call;
}

static inline unsigned long
registers_first_argument(const struct registers *r)
{
        return r->raw.rdi;
}

static inline unsigned long
registers_second_argument(const struct registers *r)
{
        return r->raw.rsi;
}

static inline long
registers_result(const struct registers *r)
{
        return (long)r->raw.rax;
}

static inline void
registers_set_result(struct registers *r, long result)
{
        r->raw.rax = (unsigned long long)result;
}

/* The same instruction of the same frame. */
static inline bool
registers_are_at(const struct registers *a, const struct registers *b)
{
        return a->raw.rip == b->raw.rip && a->raw.rsp == b->raw.rsp;
}

#else

enum { REGISTERS_KNOWN = 0 };

struct registers {
        long call, first_argument, second_argument, result;
};

static inline bool
registers_get(pid_t pid, struct registers *ret)
{
        (void)pid, (void)ret;
        abort();
}

static inline bool
registers_set(pid_t pid, struct registers *r)
{
        (void)pid, (void)r;
        abort();
}

static inline long
registers_call(const struct registers *r)
{
        return r->call;
}

static inline void
registers_set_call(struct registers *r, long call)
{
        r->call = call;
}

static inline unsigned long
registers_first_argument(const struct registers *r)
{
        return (unsigned long)r->first_argument;
}

static inline unsigned long
registers_second_argument(const struct registers *r)
{
        return (unsigned long)r->second_argument;
}

static inline long
registers_result(const struct registers *r)
{
        return r->result;
}

static inline void
registers_set_result(struct registers *r, long result)
{
        r->result = result;
}

static inline bool
registers_are_at(const struct registers *a, const struct registers *b)
{
        return a->call == b->call;
}

#endif

static inline bool
registers_are_missing(const char *test)
{
        if (!REGISTERS_KNOWN)
                fprintf(stderr, "%s: cannot be run here: it changes a traced process's registers, and knows x86-64's\n",
                        test);
        return !REGISTERS_KNOWN;
}

#endif
