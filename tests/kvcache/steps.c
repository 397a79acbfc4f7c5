/*
 * steps.c - see steps.h.
 *
 * The heap is write-protected, so that a store to it traps (or protected altogether, so that each
 * access does); it is let through with the trap flag on, and stops behind it.
 * To stop after each instruction, the trap flag stays on.
 */
#include "steps.h"
#include "support/clock_call.h"

#include <dlfcn.h>
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <ucontext.h>
#include <unistd.h>

#define TRAP_FLAG 0x100

enum { RANGES_MAX = 16 };

static struct range {
        char *start;
        size_t bytes;
} ranges[RANGES_MAX];
static int n_ranges;

static struct {
        void (*point)(long n); /* NULL: not stepping */
        enum steps steps;
        long n;
} stepping;

/*
 * The library lets no signal through between two stores to its list of locks.  What this goes by are two signals, so
 * here these pass: their handlers return there, or the process is killed.
 */
__attribute__((visibility("default"))) long
syscall(long number, ...)
{
        static long (*real)(long number, ...);
        long a[6];
        va_list args;
        uint64_t set;

        va_start(args, number);
        for (int i = 0; i < 6; i++)
                a[i] = va_arg(args, long);
        va_end(args);
        if (!real)
                real = (long (*)(long number, ...))(uintptr_t)dlsym(RTLD_NEXT, "syscall");
        if (number == SYS_rt_sigprocmask && stepping.point && a[0] == SIG_BLOCK && a[1] != 0) {
                memcpy(&set, (const void *)(uintptr_t)a[1], sizeof set);
                set &= ~(UINT64_C(1) << (SIGSEGV - 1) | UINT64_C(1) << (SIGTRAP - 1));
                a[1] = (long)(uintptr_t)&set;
        }
        return real(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static void
protect(int protection)
{
        for (int i = 0; i < n_ranges; i++)
                if (mprotect(ranges[i].start, ranges[i].bytes, protection) < 0)
                        abort();
}

static void
protect_again(void)
{
        if (stepping.steps == STEPS_STORES)
                protect(PROT_READ);
        else if (stepping.steps == STEPS_ACCESSES)
                protect(PROT_NONE);
}

static bool
is_in_heap(const void *p)
{
        for (int i = 0; i < n_ranges; i++)
                if ((const char *)p >= ranges[i].start && (const char *)p < ranges[i].start + ranges[i].bytes)
                        return true;
        return false;
}

static void
on_store(int sig, siginfo_t *info, void *context)
{
        ucontext_t *uc = context;

        if (!stepping.point || stepping.steps == STEPS_INSTRUCTIONS || !is_in_heap(info->si_addr)) {
                signal(sig, SIG_DFL); /* comes again */
                return;
        }
        protect(PROT_READ | PROT_WRITE);
        uc->uc_mcontext.gregs[REG_EFL] |= TRAP_FLAG;
}

static void
on_trap(int sig, siginfo_t *info, void *context)
{
        ucontext_t *uc = context;
        int saved_errno = errno;

        (void)sig;
        (void)info;
        if (!stepping.point || stepping.steps != STEPS_INSTRUCTIONS)
                uc->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
        if (!stepping.point)
                return;
        stepping.point(++stepping.n);
        protect_again();
        errno = saved_errno;
}

void
steps_init(const char *heap_name)
{
        struct sigaction sa = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};
        FILE *maps = fopen("/proc/self/maps", "r");
        char line[512], name[128];

        snprintf(name, sizeof name, "/shmalloc.%s", heap_name);
        n_ranges = 0;
        while (maps && fgets(line, sizeof line, maps)) {
                unsigned long start, end;
                char mode[8];

                if (strstr(line, name) && sscanf(line, "%lx-%lx %7s", &start, &end, mode) == 3 && mode[1] == 'w' &&
                    n_ranges < RANGES_MAX)
                        ranges[n_ranges++] = (struct range){(char *)(uintptr_t)start, end - start};
        }
        if (maps)
                fclose(maps);
        sigaction(SIGTRAP, &sa, NULL);
        sa.sa_sigaction = on_store;
        sigaction(SIGSEGV, &sa, NULL);
        if (n_ranges == 0) {
                fprintf(stderr, "heap %s is not mapped\n", heap_name);
                exit(99);
        }
}

void
steps_begin(void (*point)(long n), enum steps steps)
{
        stepping.n = 0;
        stepping.steps = steps;
        stepping.point = point;
        if (steps == STEPS_INSTRUCTIONS)
                __asm__ volatile("sub $128,%%rsp; pushfq; orq $0x100,(%%rsp); popfq; add $128,%%rsp" ::
                                         : "cc", "memory");
        else
                protect_again();
}

void
steps_end(void)
{
        stepping.point = NULL;
        if (stepping.steps == STEPS_INSTRUCTIONS)
                __asm__ volatile("sub $128,%%rsp; pushfq; andq $~0x100,(%%rsp); popfq; add $128,%%rsp" ::
                                         : "cc", "memory");
        else
                protect(PROT_READ | PROT_WRITE);
}
