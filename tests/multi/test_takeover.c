/*
 * What is at stake: a reference that a process died of handing over has an heir, who must not believe it, nor write to
 * it, while somebody else may be about to settle the dead: or one block has two owners.  Here a third process has begun
 * to settle the dead one and stands still, by ptrace, at one instruction or another.  The heir goes by
 * shheap_settled().
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "heap/reap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/clock_call.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_STOPS = 20, STEPS_MAX = 1 << 20 };

enum { PREDECESSOR, REAPER, N_CHILDREN };

static shheap *h;

/* A root object. */
struct estate {
        shref dest, kept;
        uint64_t is_done[N_CHILDREN]; /* what a stepped child had to do */
};

static struct estate *estate;

/* What the predecessor dies of, in which function. */
struct handover {
        size_t size;
        unsigned flags;
        bool frees;
        uintptr_t fn;
};

static const struct handover handovers[] = {
        {200, 0, false, (uintptr_t)tcache_pop_to},
        {200, 0, true, (uintptr_t)magazine_push},
        {200, SHA_TCACHE_NONE, false, (uintptr_t)slab_alloc_one},
        {50000, 0, false, (uintptr_t)large_alloc},
        {50000, 0, true, (uintptr_t)large_free},
        {5 << 20, 0, false, (uintptr_t)huge_alloc},
        {5 << 20, 0, true, (uintptr_t)huge_free},
};

static void
setup(void)
{
        void *obj;

        heap_dir_empty();
        h = heap_dir_open("takeover", SHHEAP_CREATE, "arenas:1");
        ck_assert_int_eq(shheap_root(h, "estate", sizeof *estate, 0, NULL, NULL, &obj), 0);
        estate = obj;
}

static void
teardown(void)
{
        shheap_close(h);
        heap_dir_empty();
}

/* ------------------------------------------------------------------ who is stepped */

static void
begin_stepped(void)
{
        shheap_free(h, shheap_malloc(h, 200)); /* attached, with a magazine */
        MUST(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0);
        raise(SIGSTOP);
}

static void
end_stepped(int which)
{
        __atomic_store_n(&estate->is_done[which], 1, __ATOMIC_RELAXED);
        raise(SIGSTOP);
}

static void
child_hands_over(struct child *self, void *arg)
{
        const struct handover *what = arg;

        (void)self;
        begin_stepped();
        if (what->frees)
                MUST(shheap_free_from(h, &estate->dest) == 0);
        else
                MUST(shheap_malloc_to(h, what->size, what->flags, &estate->dest));
        end_stepped(PREDECESSOR);
}

static void
child_reaps(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        begin_stepped();
        MUST(shheap_reap(h) >= 0);
        end_stepped(REAPER);
}

static bool
is_done(int which)
{
        return __atomic_load_n(&estate->is_done[which], __ATOMIC_RELAXED) != 0;
}

static void
wait_until_it_stops(const struct child *c)
{
        int status;

        ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
        ck_assert_msg(WIFSTOPPED(status), "a child has ended: %#x", status);
}

static void
start_stepped(struct child *c, int which, void (*fn)(struct child *self, void *arg), const void *arg)
{
        estate->is_done[which] = 0;
        child_start(c, fn, (void *)(uintptr_t)arg);
        wait_until_it_stops(c);
}

static void
step(const struct child *c)
{
        ck_assert_int_eq(ptrace(PTRACE_SINGLESTEP, c->pid, NULL, NULL), 0);
        wait_until_it_stops(c);
}

/* To the first instruction of a function: its second argument.  0: it does not come by. */
static uint64_t
run_to(const struct child *c, uintptr_t fn)
{
        struct user_regs_struct regs;
        long text;
        int status;

        step(c); /* it may stand there already */
        text = ptrace(PTRACE_PEEKTEXT, c->pid, fn, NULL);
        ck_assert_int_eq(ptrace(PTRACE_POKETEXT, c->pid, fn, (text & ~0xffL) | 0xcc), 0);
        ck_assert_int_eq(ptrace(PTRACE_CONT, c->pid, NULL, NULL), 0);
        ck_assert_int_eq(waitpid(c->pid, &status, 0), c->pid);
        ck_assert_msg(WIFSTOPPED(status), "a child has ended: %#x", status);
        ck_assert_int_eq(ptrace(PTRACE_POKETEXT, c->pid, fn, text), 0);
        if (WSTOPSIG(status) != SIGTRAP)
                return 0;
        ck_assert_int_eq(ptrace(PTRACE_GETREGS, c->pid, NULL, &regs), 0);
        regs.rip = fn;
        ck_assert_int_eq(ptrace(PTRACE_SETREGS, c->pid, NULL, &regs), 0);
        return regs.rsi;
}

static void
go_to_the_end(struct child *c, int which)
{
        if (!is_done(which)) {
                ck_assert_int_eq(ptrace(PTRACE_CONT, c->pid, NULL, NULL), 0);
                wait_until_it_stops(c);
        }
        child_kill(c);
}

/* ------------------------------------------------------------------ the dead, the reaper, the heir */

/* Dies when *dest has changed, or after n_steps if that comes first.  After how many it was. */
static long
die_in(const struct handover *what, long n_steps)
{
        shref old = estate->dest;
        struct child c;
        long n = 0;

        start_stepped(&c, PREDECESSOR, child_hands_over, what);
        run_to(&c, what->fn);
        for (; n < n_steps && estate->dest == old && !is_done(PREDECESSOR); n++)
                step(&c);
        child_kill(&c);
        return n;
}

/* Into the settling of the dead, if an intent of its stands, and so many instructions more. */
static void
step_into_settling(const struct child *reaper, long n_more)
{
        const struct region *r = &h->region;
        uint64_t thread_no;

        do
                thread_no = run_to(reaper, (uintptr_t)reap_settle); /* of the reserve slot, perhaps, at first */
        while (thread_no != 0 && region_thread(r, (uint32_t)thread_no - 1)->intent.kind == INTENT_NONE);
        for (; n_more > 0 && !is_done(REAPER); n_more--)
                step(reaper);
}

static size_t
usable(shref ref)
{
        return shheap_usable_size(h, shheap_ptr(h, ref));
}

struct outcome {
        unsigned n_taken, n_refused;
};

/* The reaper stands still so many instructions after it has begun to settle the dead.  What the heir takes is its own
 * whatever the reaper does later, and all that there is is in one place. */
static void
one_death(const struct handover *what, long n_steps, long n_more, struct outcome *outcome)
{
        uint64_t before = heap_ctl(h, "stats.allocated");
        struct child reaper;
        int err;

        if (what->frees)
                ck_assert(shheap_malloc_to(h, what->size, what->flags, &estate->dest));
        start_stepped(&reaper, REAPER, child_reaps,
                      NULL); /* before the death: else it would settle it as it attaches */
        die_in(what, n_steps);
        step_into_settling(&reaper, n_more);
        err = shheap_settled(h, &estate->dest);
        ck_assert_msg(err == 0 || err == -EBUSY, "%d: %s", err, shheap_errormsg());
        if (err == 0) {
                estate->kept = estate->dest;
                estate->dest = SHREF_NULL;
        }
        outcome->n_taken += err == 0;
        outcome->n_refused += err != 0;
        go_to_the_end(&reaper, REAPER);
        heap_reap(h);
        ck_assert_int_eq(shheap_settled(h, &estate->dest), 0);
        ck_assert(err != 0 || estate->dest == SHREF_NULL);
        heap_assert_clean(h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), before + usable(estate->kept) + usable(estate->dest));
        ck_assert_int_eq(shheap_free_from(h, &estate->kept), 0);
        ck_assert_int_eq(shheap_free_from(h, &estate->dest), 0);
        heap_assert_clean(h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), before);
}

START_TEST(an_heir_is_told_when_a_reference_is_its_own)
{
        const struct handover *what = &handovers[_i];
        struct outcome outcome = {0, 0};
        long n_steps;

        if (what->frees)
                ck_assert(shheap_malloc_to(h, what->size, what->flags, &estate->dest));
        n_steps = die_in(what, STEPS_MAX);
        heap_reap(h);
        ck_assert_int_eq(shheap_free_from(h, &estate->dest), 0);
        /* A free clears the reference last: so it dies some instructions earlier, too. */
        for (long stop = 0; stop < N_STOPS; stop++)
                one_death(what, n_steps - (what->frees ? stop % 8 : 0), stop * stop, &outcome);
        ck_assert_uint_gt(outcome.n_refused, 0);
        ck_assert_uint_gt(outcome.n_taken, 0);
}
END_TEST

/* Whoever is in the midst of a hand-over and is not dead: nothing is said of what it does. */
START_TEST(an_heir_does_not_take_over_from_the_living)
{
        struct child c;

        start_stepped(&c, PREDECESSOR, child_hands_over, &handovers[0]);
        run_to(&c, handovers[0].fn);
        for (long n = 0; n < STEPS_MAX && estate->dest == SHREF_NULL; n++)
                step(&c);
        ck_assert_int_eq(shheap_settled(h, &estate->dest), -EBUSY);
        ck_assert_int_eq(shheap_settled(h, &estate->kept), 0);
        child_kill(&c);
        ck_assert_int_eq(shheap_settled(h, &estate->dest), 0);
        ck_assert_uint_eq(estate->dest, SHREF_NULL); /* it was before the commit */
        heap_reap(h);
        heap_assert_clean(h);
}
END_TEST

/* shheap_reap() says how many it could not settle. */
START_TEST(a_reaper_that_stands_still_is_counted)
{
        struct child reaper;

        start_stepped(&reaper, REAPER, child_reaps, NULL);
        die_in(&handovers[0], STEPS_MAX);
        step_into_settling(&reaper, 0);
        ck_assert_int_eq(shheap_reap(h), 1);
        ck_assert_int_eq(shheap_settled(h, &estate->dest), -EBUSY);
        go_to_the_end(&reaper, REAPER);
        ck_assert_int_eq(shheap_reap(h), 0);
        ck_assert_int_eq(shheap_settled(h, &estate->dest), 0);
        heap_assert_clean(h);
}
END_TEST

START_TEST(a_reference_is_a_word_in_a_block_of_the_heap)
{
        static shref outside;

        ck_assert_int_eq(shheap_settled(h, NULL), -EINVAL);
        ck_assert_int_eq(shheap_settled(h, &outside), -EINVAL);
        ck_assert_int_eq(shheap_settled(h, (shref *)((char *)&estate->dest + 4)), -EINVAL);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "shheap_settled"));
        ck_assert_int_eq(shheap_settled(h, &estate->dest), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("takeover");
        TCase *tc = tcase_create("takeover");
        int status;

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_set_timeout(tc, 500);
        tcase_add_loop_test(tc, an_heir_is_told_when_a_reference_is_its_own, 0,
                            (int)(sizeof handovers / sizeof handovers[0]));
        tcase_add_test(tc, an_heir_does_not_take_over_from_the_living);
        tcase_add_test(tc, a_reaper_that_stands_still_is_counted);
        tcase_add_test(tc, a_reference_is_a_word_in_a_block_of_the_heap);
        suite_add_tcase(suite, tc);
        heap_dir_create("takeover");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
