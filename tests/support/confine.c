#include "support/confine.h"

#include <limits.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

void
confine_refuse(int number, int and_number, int error)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)number, 1, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, and_number ? (unsigned)and_number : UINT_MAX, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        struct sock_fprog program = {sizeof code / sizeof code[0], code};

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0)
                _exit(CONFINE_SKIPPED);
}

void
confine_lock_all(int flags)
{
        struct rlimit unlimited = {RLIM_INFINITY, RLIM_INFINITY};

        (void)setrlimit(RLIMIT_MEMLOCK, &unlimited);
        if (mlockall(flags) < 0)
                _exit(CONFINE_SKIPPED);
}

bool
confine_run(void (*fn)(struct child *self, void *arg), void *arg, bool *ret_skipped)
{
        struct child c;
        int status;

        child_start(&c, fn, arg);
        status = child_end(&c);
        if (ret_skipped)
                *ret_skipped = status != 0;
        return status == 0 || (WIFEXITED(status) && WEXITSTATUS(status) == CONFINE_SKIPPED);
}
