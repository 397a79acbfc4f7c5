/*
 * What is at stake: unrelated processes find each other in a heap by the names of its roots, at the same time, while
 * some of them are stopped in the midst of making one, or killed.  All have to get the same object, at once; and what
 * the dead had under construction has to come back, to the byte.
 */
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/clock_call.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_CHILDREN = 4, N_NAMES = 8, N_ROUNDS = 10 };

static shheap *h;

/* What children tell their parent: an object of its own, by name. */
struct board {
        shref found[N_CHILDREN];
        uint64_t n_inits;
        uint64_t n_done[N_CHILDREN];
};

static struct board *board;

static void
setup(void)
{
        void *p;

        heap_dir_empty();
        h = heap_dir_open("root", SHHEAP_CREATE, NULL);
        ck_assert_int_eq(shheap_root(h, "board", sizeof *board, 0, NULL, NULL, &p), 0);
        board = p;
}

static void
teardown(void)
{
        shheap_close(h);
        heap_dir_empty();
}

static int
count(const char *name, void *obj, size_t size, void *arg)
{
        (void)name;
        (void)size;
        *(size_t *)arg += shheap_usable_size(h, obj);
        return 0;
}

/* Nothing is allocated but the objects that the names lead to. */
static void
assert_only_roots(void)
{
        size_t bytes = 0;

        heap_assert_clean(h);
        ck_assert_int_eq(shheap_root_iterate(h, count, &bytes), 0);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), bytes);
}

/* A handle of the child's own, which finds the board by its name. */
static void
open_anew(void)
{
        void *p;

        h = heap_dir_open("root", 0, NULL);
        MUST(shheap_root(h, "board", 0, 0, NULL, NULL, &p) == 0);
        board = p;
}

/* ------------------------------------------------------------------ who comes first */

static int
stamp(void *obj, size_t size, void *arg)
{
        (void)arg;
        __atomic_fetch_add(&board->n_inits, 1, __ATOMIC_RELAXED);
        memset(obj, 0x77, size);
        return 0;
}

static void
child_finds_or_creates(struct child *self, void *arg)
{
        int i = (int)(intptr_t)arg;
        char *p;
        void *obj;

        open_anew();
        MUST(child_tell(self) && child_hear(self)); /* all are ready */
        MUST(shheap_root(h, "object", 5000, 0, stamp, NULL, &obj) == 0);
        p = obj;
        MUST(p[0] == 0x77 && p[4999] == 0x77);
        board->found[i] = shheap_ref(h, obj);
}

START_TEST(processes_that_come_at_once_get_one_object)
{
        struct child children[N_CHILDREN];
        uint64_t n_inits = 0;

        for (int round = 0; round < N_ROUNDS; round++) {
                memset(board, 0, sizeof *board);
                for (int i = 0; i < N_CHILDREN; i++)
                        child_start(&children[i], child_finds_or_creates, (void *)(intptr_t)i);
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_hear(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_tell(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_int_eq(child_end(&children[i]), 0);
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_uint_eq(board->found[i], board->found[0]);
                n_inits += board->n_inits;
                assert_only_roots();
                ck_assert_int_eq(shheap_root_remove(h, "object"), 0);
        }
        ck_assert_uint_ge(n_inits, N_ROUNDS);
}
END_TEST

/* ------------------------------------------------------------------ constructions of several blocks */

struct chain {
        shref data;
};

static int
build_chain(void *obj, size_t size, void *arg)
{
        struct chain *c = obj;

        (void)size;
        __atomic_fetch_add(&board->n_inits, 1, __ATOMIC_RELAXED);
        if (arg) /* all are in here before one of them is published */
                MUST(child_tell(arg) && child_hear(arg));
        return shheap_malloc_to(h, 4000, 0, &c->data) ? 0 : -ENOMEM;
}

static void
undo_chain(void *obj, size_t size, void *arg)
{
        struct chain *c = obj;

        (void)arg;
        MUST(size == sizeof *c);
        MUST(shheap_free_from(h, &c->data) == 0);
        __atomic_fetch_sub(&board->n_inits, 1, __ATOMIC_RELAXED);
}

static void
child_builds_a_chain(struct child *self, void *arg)
{
        void *obj;

        (void)arg;
        open_anew();
        MUST(shheap_root_undo(h, "chain", sizeof(struct chain), 0, build_chain, undo_chain, self, &obj) == 0);
}

START_TEST(losers_of_a_race_give_back_what_their_init_has_allocated)
{
        struct child children[N_CHILDREN];
        void *obj;

        for (int round = 0; round < N_ROUNDS; round++) {
                board->n_inits = 0;
                for (int i = 0; i < N_CHILDREN; i++)
                        child_start(&children[i], child_builds_a_chain, NULL);
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_hear(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_tell(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_int_eq(child_end(&children[i]), 0);
                ck_assert_uint_eq(board->n_inits, 1);
                ck_assert_int_eq(shheap_root(h, "chain", 0, 0, NULL, NULL, &obj), 0);
                ck_assert_int_eq(shheap_free_from(h, &((struct chain *)obj)->data), 0);
                assert_only_roots();
                ck_assert_int_eq(shheap_root_remove(h, "chain"), 0);
        }
}
END_TEST

static void
child_takes(struct child *self, void *arg)
{
        size_t size;
        void *obj;
        int err;

        (void)arg;
        open_anew();
        MUST(child_tell(self) && child_hear(self)); /* all are ready */
        err = shheap_root_take(h, "prize", &obj, &size);
        MUST(err == 0 || err == -ENOENT);
        if (err < 0)
                return;
        MUST(size == 5000 && *(char *)obj == 0x77);
        shheap_free(h, obj);
        __atomic_fetch_add(&board->n_done[0], 1, __ATOMIC_RELAXED);
}

START_TEST(of_several_who_take_an_object_one_gets_it)
{
        struct child children[N_CHILDREN];
        void *obj;

        for (int round = 0; round < N_ROUNDS; round++) {
                ck_assert_int_eq(shheap_root(h, "prize", 5000, 0, stamp, NULL, &obj), 0);
                for (int i = 0; i < N_CHILDREN; i++)
                        child_start(&children[i], child_takes, NULL);
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_hear(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert(child_tell(&children[i]));
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_int_eq(child_end(&children[i]), 0);
                ck_assert_uint_eq(board->n_done[0], (uint64_t)round + 1);
                assert_only_roots();
        }
        ck_assert_int_eq(shheap_root_take(h, "prize", &obj, NULL), -ENOENT);
        ck_assert_int_eq(shheap_root_take(h, "", &obj, NULL), -EINVAL);
}
END_TEST

/* ------------------------------------------------------------------ stopped, or killed, in init() */

static int
wait_in_init(void *obj, size_t size, void *arg)
{
        struct child *self = arg;

        memset(obj, 0x11, size);
        MUST(child_tell(self) && child_hear(self));
        return 0;
}

static void
child_creates_slowly(struct child *self, void *arg)
{
        void *obj;

        open_anew();
        MUST(shheap_root(h, "object", *(size_t *)arg, 0, wait_in_init, self, &obj) == 0);
        MUST(*(char *)obj == 0x77);
}

static const size_t sizes[] = {40, 5000, 100000, 5 << 20};

START_TEST(who_is_stopped_in_init_keeps_nobody)
{
        struct child c;
        void *obj;

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                child_start(&c, child_creates_slowly, (void *)(uintptr_t)&sizes[i]);
                ck_assert(child_hear(&c)); /* it is in init(), for as long as we like */
                ck_assert_int_eq(shheap_root(h, "object", sizes[i], 0, stamp, NULL, &obj), 0);
                ck_assert_int_eq(shheap_root(h, "object", sizes[i], 0, stamp, NULL, &obj), 0);
                ck_assert(child_tell(&c));
                ck_assert_int_eq(child_end(&c), 0); /* and got ours */
                assert_only_roots();
                ck_assert_int_eq(shheap_root_remove(h, "object"), 0);
        }
}
END_TEST

START_TEST(who_is_killed_in_init_leaves_nothing)
{
        struct child c;
        void *obj;

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                child_start(&c, child_creates_slowly, (void *)(uintptr_t)&sizes[i]);
                ck_assert(child_hear(&c));
                child_kill(&c);
                ck_assert_int_eq(shheap_root(h, "object", 0, 0, NULL, NULL, &obj), -ENOENT);
                ck_assert_int_eq(shheap_root(h, "object", 10, 0, stamp, NULL, &obj), 0);
                ck_assert_uint_ge(heap_reap(h), 1);
                assert_only_roots();
                ck_assert_int_eq(shheap_root_remove(h, "object"), 0);
        }
}
END_TEST

/* ------------------------------------------------------------------ come, go and die */

static void
child_comes_and_goes(struct child *self, void *arg)
{
        int i = (int)(intptr_t)arg;
        uint64_t random = (uint64_t)getpid() * UINT64_C(0x9e3779b97f4a7c15);

        (void)self;
        open_anew();
        for (uint64_t n = 1;; n++) {
                char name[2] = {(char)('a' + (random >> 60) % N_NAMES), '\0'};
                int err;
                void *obj;

                random = random * UINT64_C(6364136223846793005) + 1442695040888963407;
                if (random >> 50 & 1)
                        err = shheap_root(h, name, sizes[random >> 40 & 3], 0, NULL, NULL, &obj);
                else
                        err = shheap_root_remove(h, name);
                MUST(err == 0 || err == -EEXIST || err == -ENOENT || err == -ENOBUFS || err == -ENOMEM);
                __atomic_store_n(&board->n_done[i], n, __ATOMIC_RELAXED);
        }
}

static void
wait_for_work(const struct child *c, int i, uint64_t n)
{
        siginfo_t end = {0};

        while (__atomic_load_n(&board->n_done[i], __ATOMIC_RELAXED) < n) {
                sched_yield();
                ck_assert_int_eq(waitid(P_PID, (id_t)c->pid, &end, WEXITED | WNOHANG | WNOWAIT), 0);
                ck_assert_msg(end.si_pid == 0, "a child has ended by itself");
        }
}

START_TEST(killed_processes_lose_nothing)
{
        struct child children[N_CHILDREN];

        for (int round = 0; round < N_ROUNDS; round++) {
                for (int i = 0; i < N_CHILDREN; i++) {
                        board->n_done[i] = 0;
                        child_start(&children[i], child_comes_and_goes, (void *)(intptr_t)i);
                }
                for (int i = 0; i < N_CHILDREN; i++) {
                        wait_for_work(&children[i], i, 20 + 37 * (uint64_t)round);
                        kill(children[i].pid, SIGKILL);
                }
                for (int i = 0; i < N_CHILDREN; i++)
                        ck_assert_int_eq(WTERMSIG(child_end(&children[i])), SIGKILL);
                ck_assert_uint_ge(heap_reap(h), 1);
                assert_only_roots();
        }
        for (char name[2] = "a"; name[0] < 'a' + N_NAMES; name[0]++) {
                int err = shheap_root_remove(h, name);

                ck_assert(err == 0 || err == -ENOENT);
        }
        assert_only_roots();
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), shheap_usable_size(h, board));
}
END_TEST

START_TEST(stopped_processes_keep_nobody_from_any_name)
{
        struct child children[N_CHILDREN];
        void *obj;

        for (int i = 0; i < N_CHILDREN; i++) {
                child_start(&children[i], child_comes_and_goes, (void *)(intptr_t)i);
                wait_for_work(&children[i], i, 50 * (uint64_t)(i + 1));
                kill(children[i].pid, SIGSTOP);
        }
        for (int turn = 0; turn < 3; turn++)
                for (char name[2] = "a"; name[0] < 'a' + N_NAMES; name[0]++) {
                        int err = shheap_root_remove(h, name);

                        ck_assert(err == 0 || err == -ENOENT);
                        ck_assert_int_eq(shheap_root(h, name, 40, 0, NULL, NULL, &obj), 0);
                }
        for (int i = 0; i < N_CHILDREN; i++)
                child_kill(&children[i]);
        ck_assert_uint_ge(heap_reap(h), 1);
        assert_only_roots();
}
END_TEST

/* ------------------------------------------------------------------ stopped at every so many instructions */

enum { N_STOPS = 150, STEPS_PER_STOP = 17 };

static void
peer_allocates(void)
{
        void *p = shheap_mallocx(h, 40, SHA_TCACHE_NONE), *q = shheap_mallocx(h, 40, SHA_TCACHE_NONE);

        MUST(p && q);
        shheap_free(h, q);
        MUST(shheap_free_from(h, &board->found[0]) == 0 && shheap_malloc_to(h, 40, SHA_TCACHE_NONE, &board->found[0]));
        shheap_free(h, p);
}

static void
peer_makes_roots(void)
{
        int err = shheap_root_remove(h, "a");
        void *obj;

        MUST(err == 0 || err == -ENOENT);
        MUST(shheap_root(h, "a", 40, 0, NULL, NULL, &obj) == 0);
        MUST(shheap_root(h, "b", 40, 0, NULL, NULL, &obj) == 0);
}

static void
child_is_stepped(struct child *self, void *arg)
{
        void (*work)(void);

        (void)self;
        memcpy(&work, arg, sizeof work);
        open_anew();
        work();
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
        for (;;)
                work();
}

static void
step(const struct child *c)
{
        int status;

        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, c->pid, NULL, NULL), 0);
        ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
        ck_assert_msg(WIFSTOPPED(status), "the peer has ended: %#x", status);
}

/* Every name is removed and made again, while the peer stands still. */
static void
names_come_and_go(int stop)
{
        for (char name[2] = "a"; name[0] < 'a' + N_NAMES; name[0]++) {
                int err = shheap_root_remove(h, name);
                void *obj;

                ck_assert_msg(err == 0 || err == -ENOENT, "stop %d: %d: %s", stop, err, shheap_errormsg());
                err = shheap_root(h, name, 40, 0, NULL, NULL, &obj);
                ck_assert_msg(err == 0, "stop %d: %d: %s", stop, err, shheap_errormsg());
        }
}

/* In a heap of one arena, whose slabs all share. */
static void
names_beside(void (*work)(void))
{
        struct child c;
        int status;

        teardown();
        h = heap_dir_open("root", SHHEAP_CREATE, "arenas:1");
        ck_assert_int_eq(shheap_root(h, "board", sizeof *board, 0, NULL, NULL, (void **)&board), 0);
        child_start(&c, child_is_stepped, &work);
        ck_assert_int_eq(waitpid(c.pid, &status, 0), c.pid);
        ck_assert(WIFSTOPPED(status));
        for (int stop = 0; stop < N_STOPS; stop++) {
                for (int i = 0; i < STEPS_PER_STOP; i++)
                        step(&c);
                names_come_and_go(stop);
        }
        child_kill(&c);
        shheap_reap(h);
        ck_assert_int_eq(shheap_free_from(h, &board->found[0]), 0);
}

START_TEST(names_come_and_go_beside_who_is_stopped_anywhere)
{
        names_beside(peer_allocates);
        heap_assert_clean(h);
        names_beside(peer_makes_roots);
        assert_only_roots();
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("root");
        TCase *tc = tcase_create("processes");
        int status;

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_test(tc, processes_that_come_at_once_get_one_object);
        tcase_add_test(tc, losers_of_a_race_give_back_what_their_init_has_allocated);
        tcase_add_test(tc, of_several_who_take_an_object_one_gets_it);
        tcase_add_test(tc, who_is_stopped_in_init_keeps_nobody);
        tcase_add_test(tc, who_is_killed_in_init_leaves_nothing);
        tcase_add_test(tc, killed_processes_lose_nothing);
        tcase_add_test(tc, stopped_processes_keep_nobody_from_any_name);
        tcase_add_test(tc, names_come_and_go_beside_who_is_stopped_anywhere);
        suite_add_tcase(suite, tc);
        heap_dir_create("root");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
