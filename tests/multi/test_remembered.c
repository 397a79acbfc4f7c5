/*
 * What is at stake: whose death the kernel tells of, and by which number.  A process remembers what it was told of
 * itself and of its threads' lists of locks; what it remembers wrongly makes it dead to others while it lives, or
 * leaves its locks unmarked when it dies.  So nobody who only shares its memory is remembered, and a list that has been
 * registered anew is noticed before a slot is taken.
 */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/slot.h"
#include "os/process.h"
#include "os/robust.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"
#include "tcache/tcache.h"

enum { N_BLOCKS = 64, BYTES = 100 };

static void
setup(void)
{
        heap_dir_empty();
}

static void
teardown(void)
{
        heap_dir_empty();
}

/* ------------------------------------------------------------------ between vfork() and exec() */

/* Settles the dead, and takes all that there is. */
static void
make_reap_and_take(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("one", SHHEAP_CREATE, "capacity:8M");
        void *p;

        (void)arg;
        child_tell(self);
        child_hear(self);
        MUST(shheap_reap(h) == 0);
        MUST(heap_ctl(h, "heap.clients") == 2 && heap_ctl(h, "stats.reaped") == 0);
        while ((p = shheap_malloc(h, BYTES)))
                memset(p, 0xee, BYTES);
        child_tell(self);
        child_hear(self);
        MUST(shheap_check(h, 0, NULL) == 0);
}

/* Of a process that has not opened any heap so far.  It is told what it cannot have, and ends. */
static void
open_between_vfork_and_exec(void)
{
        int status;
        pid_t pid = vfork();

        if (pid == 0) {
                shheap *h;

                _exit(shheap_open(&h, "one", 0, NULL) == -ENOTSUP ? 0 : 1);
        }
        MUST(pid > 0 && waitpid(pid, &status, 0) == pid);
        MUST(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

static void
go_on_after_vfork(struct child *self, void *arg)
{
        const struct slot_gate *gate;
        char *p[N_BLOCKS];
        shheap *h;

        (void)arg;
        open_between_vfork_and_exec();
        h = heap_dir_open("one", 0, NULL);
        gate = h->tcaches->thread.gate;
        MUST(gate->os_pid == (uint32_t)getpid() && gate->os_tid == (uint32_t)syscall(SYS_gettid));
        MUST(robust_word_tid(robust_word(&gate->life)) == gate->os_tid);
        for (int i = 0; i < N_BLOCKS; i++)
                MUST((p[i] = shheap_malloc(h, BYTES)) && memset(p[i], 0x11, BYTES));
        for (int i = 0; i < N_BLOCKS / 2; i++)
                shheap_free(h, p[i]); /* into its magazine */
        child_tell(self);
        child_hear(self);
        for (int i = 0; i < N_BLOCKS / 2; i++)
                MUST((p[i] = shheap_malloc(h, BYTES)) && (unsigned char)p[i][BYTES / 2] != 0xee);
}

START_TEST(child_of_vfork_leaves_no_number_in_what_its_parent_remembers)
{
        struct child maker, looker;

        child_start(&maker, make_reap_and_take, NULL);
        ck_assert(child_hear(&maker));
        child_start(&looker, go_on_after_vfork, NULL);
        ck_assert(child_hear(&looker));
        child_tell(&maker);
        ck_assert(child_hear(&maker));
        child_tell(&looker);
        ck_assert_int_eq(child_end(&looker), 0);
        child_tell(&maker);
        ck_assert_int_eq(child_end(&maker), 0);
}
END_TEST

/* ------------------------------------------------------------------ another list */

static struct robust_list_head *
own_list(void)
{
        struct robust_list_head *head = NULL;
        size_t bytes;

        MUST(syscall(SYS_get_robust_list, 0, &head, &bytes) == 0 && head);
        return head;
}

/* Empty, and behind the C library's back. */
static void
register_list(struct robust_list_head *head, long futex_offset)
{
        *head = (struct robust_list_head){.list = {&head->list}, .futex_offset = futex_offset};
        MUST(syscall(SYS_set_robust_list, head, sizeof *head) == 0);
}

static void
register_anew(void)
{
        static struct robust_list_head head;

        register_list(&head, own_list()->futex_offset);
}

static void
open_and_die(struct child *self, void *arg)
{
        (void)self, (void)arg;
        MUST(shheap_malloc(heap_dir_open("other", SHHEAP_CREATE, NULL), BYTES));
        register_anew();
        MUST(shheap_malloc(heap_dir_open("one", 0, NULL), BYTES));
        raise(SIGKILL);
}

static void *
attach_and_die(void *arg)
{
        MUST(shheap_malloc(heap_dir_open("other", SHHEAP_CREATE, NULL), BYTES));
        register_anew();
        MUST(shheap_malloc(arg, BYTES));
        kill(getpid(), SIGKILL);
        return NULL;
}

static void
attach_in_a_thread_and_die(struct child *self, void *arg)
{
        pthread_t thread;

        (void)self, (void)arg;
        MUST(pthread_create(&thread, NULL, attach_and_die, heap_dir_open("one", 0, NULL)) == 0);
        pthread_join(thread, NULL);
}

/* By the mark, which who is in another pid namespace needs; no number has been asked about. */
START_TEST(lock_that_is_taken_after_its_list_was_registered_anew_is_marked)
{
        shheap *h = heap_dir_open("one", SHHEAP_CREATE, NULL);
        uint32_t n_threads = _i == 0 ? 1 : 2, n_marked = 0;
        struct child c;

        child_start(&c, _i == 0 ? open_and_die : attach_in_a_thread_and_die, NULL);
        ck_assert_int_eq(WTERMSIG(child_end(&c)), SIGKILL);
        for (uint32_t idx = 0; idx < region_threads_hwm(&h->region); idx++)
                n_marked += h->region.gates[idx].state != 0 && slot_thread_is_dead_hint(&h->region, idx);
        ck_assert_uint_eq(n_marked, n_threads);
        ck_assert_int_eq(shheap_reap(h), 0);
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ a list that does not do */

static bool
borrows(shheap *h, int wanted)
{
        void *p;

        errno = 0;
        p = shheap_malloc(h, BYTES);
        if (p)
                shheap_free(h, p);
        return p ? wanted == 0 : errno == wanted;
}

/* It can map nothing, so it never attaches. */
static void *
go_without_a_slot(void *arg)
{
        static struct robust_list_head strange;
        struct robust_list_head *head = own_list();
        const struct rlimit none = {0, 0};

        MUST(setrlimit(RLIMIT_AS, &none) == 0);
        MUST(borrows(arg, 0));
        register_list(&strange, head->futex_offset + 8);
        MUST(borrows(arg, ENOTSUP));
        MUST(syscall(SYS_set_robust_list, head, sizeof *head) == 0);
        MUST(borrows(arg, 0));
        return NULL;
}

static void
start_who_goes_without(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("one", SHHEAP_CREATE, NULL);
        pthread_t thread;

        (void)self, (void)arg;
        MUST(pthread_create(&thread, NULL, go_without_a_slot, h) == 0 && pthread_join(thread, NULL) == 0);
        _exit(0);
}

START_TEST(who_borrows_a_slot_is_asked_about_its_list_too)
{
        struct child c;

        child_start(&c, start_who_goes_without, NULL);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("remembered");
        TCase *tcase = tcase_create("remembered");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, child_of_vfork_leaves_no_number_in_what_its_parent_remembers);
        tcase_add_loop_test(tcase, lock_that_is_taken_after_its_list_was_registered_anew_is_marked, 0, 2);
        tcase_add_test(tcase, who_borrows_a_slot_is_asked_about_its_list_too);
        suite_add_tcase(suite, tcase);

        heap_dir_create("remembered");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
