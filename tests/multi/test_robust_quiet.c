/*
 * What is at stake: a thread that takes several locks in one quiet stretch.  A handler that ran in it could jump out
 * with the list half changed; a system call in it may be one that a filter answers with a signal, which ends the
 * process when it is blocked.  So all signals are blocked in it, and nobody is asked about.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/verify.h"
#include "clients/liveness.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/suite.h"

static struct shared {
        struct robust_lock locks[3];
        pid_t dead; /* a number that nobody has */
} * shared;

static void
setup(void)
{
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
}

static void
teardown(void)
{
        munmap(shared, sizeof *shared);
}

static bool
take(int i)
{
        return robust_take(&shared->locks[i], 0, process_tid(), process_pid_ns());
}

static void
let_go(int i)
{
        robust_unlock(&shared->locks[i], process_tid(), process_pid_ns());
}

static void
end_at_once(struct child *self, void *arg)
{
        (void)self, (void)arg;
}

static uint64_t
blocked_signals(void)
{
        uint64_t set = 0;

        MUST(syscall(SYS_rt_sigprocmask, SIG_BLOCK, NULL, &set, sizeof set) == 0);
        return set;
}

/* A lock of who is gone, by its number, which only a question would tell. */
static void
be_quiet(struct child *self, void *arg)
{
        const uint64_t all = UINT64_MAX & ~(UINT64_C(1) << (SIGKILL - 1)) & ~(UINT64_C(1) << (SIGSTOP - 1));
        struct robust_quiet quiet, inner;
        uint64_t before = blocked_signals();

        (void)self, (void)arg;
        MUST(process_remember() == 0 && robust_check() == 0);
        store_relaxed(&shared->locks[1].word, robust_word_of((uint32_t)shared->dead, process_pid_ns()));
        robust_quiet_begin(&quiet);
        MUST(robust_is_quiet() && blocked_signals() == all);
        robust_quiet_begin(&inner);
        MUST(take(0) && take(2));
        MUST(liveness_system.lock_try(&shared->locks[1], 0, false) == -EBUSY);
        robust_quiet_end(&inner);
        MUST(robust_is_quiet() && blocked_signals() == all);
        let_go(2);
        MUST(blocked_signals() == all);
        robust_quiet_end(&quiet);
        MUST(!robust_is_quiet() && blocked_signals() == before);
        MUST(liveness_system.lock_try(&shared->locks[1], 0, false) == 1 && blocked_signals() == before);
        robust_quiet_end(&quiet);
        MUST(blocked_signals() == before);
        raise(SIGKILL);
}

START_TEST(quiet_stretch_blocks_all_signals_and_asks_about_nobody)
{
        struct child c;

        child_start(&c, end_at_once, NULL);
        shared->dead = c.pid;
        ck_assert_int_eq(child_end(&c), 0);
        child_start(&c, be_quiet, NULL);
        ck_assert_int_eq(child_end(&c), SIGKILL);
        ck_assert_uint_eq((uint32_t)robust_word(&shared->locks[0]), ROBUST_OWNER_DIED);
        ck_assert_uint_eq((uint32_t)robust_word(&shared->locks[1]), ROBUST_OWNER_DIED);
        ck_assert_uint_eq((uint32_t)robust_word(&shared->locks[2]), 0);
}
END_TEST

/* Where locks have to find room, or the list is not known, somebody would be asked. */
static void
be_quiet_no_more(struct child *self, void *arg)
{
        static struct robust_lock many[3];
        struct robust_quiet quiet;
        uint64_t before = blocked_signals();

        (void)self, (void)arg;
        robust_quiet_begin(&quiet);
        MUST(!robust_is_quiet() && blocked_signals() == before);
        MUST(process_remember() == 0 && robust_check() == 0);
        for (int i = 0; i < 3; i++)
                MUST(robust_take(&many[i], 0, process_tid(), process_pid_ns()));
        robust_quiet_begin(&quiet);
        MUST(!robust_is_quiet() && blocked_signals() == before);
        for (int i = 0; i < 3; i++)
                robust_unlock(&many[i], process_tid(), process_pid_ns());
        robust_quiet_begin(&quiet);
        MUST(robust_is_quiet());
        robust_quiet_end(&quiet);
        MUST(blocked_signals() == before);
}

START_TEST(quiet_stretch_is_none_where_something_has_to_be_asked)
{
        struct child c;

        child_start(&c, be_quiet_no_more, NULL);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

int
main(void)
{
        Suite *s = suite_create("robust_quiet");
        TCase *tc = tcase_create("quiet");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, quiet_stretch_blocks_all_signals_and_asks_about_nobody);
        tcase_add_test(tc, quiet_stretch_is_none_where_something_has_to_be_asked);
        suite_add_tcase(s, tc);
        return suite_run(s);
}
