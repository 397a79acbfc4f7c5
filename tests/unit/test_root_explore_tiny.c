/*
 * What is at stake: creators, removers and reapers of one name meet at its words at any time, stop there for as long as
 * they like, die there, and are carried on by each other.  Actors are coroutines of this process, and the heap is
 * private memory.  At each step of an actor, while the schedule may still take a turn, the process forks: in the child
 * another actor goes on from here, or the running one dies and a reaper comes, who may be interrupted and killed in
 * turn.  So every schedule with so many turns is run to its end, and the judge looks at what it left.
 *
 * Here a step is an access to a shared word by the code of roots, which is included with its accesses handed to the
 * scheduler; an allocation or a free counts as one.  In test_root_steps_tiny.c it is an instruction, whosever it is:
 * then two turns would take too long, a death is tried where memory has changed, and another goes on there and at some
 * of the instructions between.  By access, a first turn is tried at each, a second one at some.  ROOT_TURNS,
 * ROOT_DEATHS and ROOT_STRIDE (how far apart these are) in the environment ask for more than the default run has time
 * for.
 */
#ifndef BY_INSTRUCTION
#define BY_INSTRUCTION 0
#endif

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "base/error.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/find.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "heap/root.h"
#include "heap/root_cell.h"
#include "heap/root_record.h"
#include "support/clock_call.h"
#include "support/root_judge.h"
#include "support/suite.h"

static void step(void);

#if !BY_INSTRUCTION

/* ------------------------------------------------------------------ the code under test, every access a step */

#undef load_acquire
#undef store_relaxed
#undef store_release
#undef cas_acq_rel
#define load_acquire(ptr)         (step(), __atomic_load_n((ptr), __ATOMIC_ACQUIRE))
#define store_relaxed(ptr, value) (step(), __atomic_store_n((ptr), (value), __ATOMIC_RELAXED))
#define store_release(ptr, value) (step(), __atomic_store_n((ptr), (value), __ATOMIC_RELEASE))
#define cas_acq_rel(ptr, expected, word)                                                                               \
        (step(), __atomic_compare_exchange_n((ptr), (expected), (word), false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
#define owner_load(word)                      (step(), owner_load(word))
#define owner_acquire(word, expected, owned)  (step(), owner_acquire(word, expected, owned))
#define owner_release(word, value)            (step(), owner_release(word, value))
#define candidate_set(t, candidate)           (step(), candidate_set(t, candidate))
#define candidate_clear(t)                    (step(), candidate_clear(t))
#define find_block(t)                         (step(), find_block(t))
#define block_usable(r, block_off, ret_class) (step(), block_usable(r, block_off, ret_class))
#define free_block(t, block_off, dest_off)    (step(), free_block(t, block_off, dest_off))

#include "heap/root.c"
#include "heap/root_record.c"
#include "support/checks.h"

#undef owner_load
#undef owner_acquire
#undef owner_release
#undef candidate_set
#undef candidate_clear
#undef find_block
#undef free_block
#undef block_usable

#endif

/* ------------------------------------------------------------------ what actors do */

/* libcheck keeps a record of each assertion that holds, and its malloc() bears no interruption. */
#define NEED(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        ck_abort_msg(__VA_ARGS__);                                                                     \
        } while (0)

typedef void actor_fn(struct thread *t);

static size_t x_bytes = 40; /* a block of a slab; or a run, or chunks */

static int
create(struct thread *t)
{
        uint64_t block_off;

        return root_find_or_create(t, "x", x_bytes, 0, NULL, NULL, NULL, &block_off);
}

static bool may_lack_records;

static void
act_create(struct thread *t)
{
        int err = create(t);

        NEED(err == 0 || (may_lack_records && err == -ENOSPC), "%d: %s", err, error_message());
}

static void
act_remove(struct thread *t)
{
        int err = root_remove(t, "x");

        NEED(err == 0 || err == -ENOENT, "%d: %s", err, error_message());
}

static void
act_take(struct thread *t)
{
        uint64_t block_off, size;
        int err = root_take(t, "x", &block_off, &size);

        NEED(err == 0 || err == -ENOENT, "%d: %s", err, error_message());
        if (err == 0)
                NEED(size == x_bytes && free_block(t, block_off, 0) == 0, "%lu bytes taken", size);
}

static void
act_create_remove(struct thread *t)
{
        act_create(t);
        act_remove(t);
}

static int
refuse(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        return -EPROTO;
}

static void
act_fail(struct thread *t)
{
        uint64_t block_off;
        int err = root_find_or_create(t, "x", x_bytes, 0, refuse, NULL, NULL, &block_off);

        NEED(err == 0 || err == -EPROTO, "%d", err);
}

/* ------------------------------------------------------------------ actors and schedules */

enum { A, B, REAPER, N_ACTORS };
enum { DIES = -1 };
enum { STACK_BYTES = 1 << 18, TURNS_MAX = 4 };

struct actor {
        struct thread *t;
        actor_fn *fn;
        ucontext_t context;
        char *stack;
        bool is_runnable;
        bool is_dead;
};

static struct heap_fixture heap;
static struct region *r;
static struct thread *last_reaper;
static struct actor actors[N_ACTORS];
static int running = -1; /* -1: nobody; then steps are not scheduled */
static bool reaps_with_thread;
static ucontext_t end_of_all;

static int turns_left, deaths_left;
static bool is_original = true;
static int n_turns, n_steps[N_ACTORS];
static bool (*is_of_interest)(int to); /* NULL: every turn is */
static bool has_changed = true;        /* memory, since the step before: else a death leaves nothing new */
static int stride;                     /* at how many steps, where not at all, another goes on */

/* What all universes see.  They run one after the other. */
static struct {
        unsigned long long n_schedules;
        int n_turns; /* of the schedule that is running */
        struct {
                int actor, step, to; /* to: the actor that goes on, or DIES */
        } turns[TURNS_MAX];
} * shared;

static void
tell_schedule(void)
{
        for (int i = 0; i < shared->n_turns; i++)
                fprintf(stderr, "  turn %d: %c at its step %d, then %s\n", i + 1, "ABR"[shared->turns[i].actor],
                        shared -> turns[i].step,
                        shared->turns[i].to == DIES ? "it dies" : (const char *[]){"A", "B", "R"}[shared->turns[i].to]);
}

/* True in a universe of its own; false once that has come to its end. */
static bool
branch(void)
{
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                is_original = false;
                return true;
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        if (status != 0 && is_original)
                fprintf(stderr, "  a universe ended with status %#x\n", status), tell_schedule();
        if (status != 0)
                _exit(1); /* libcheck has been told why */
        shared->n_turns = n_turns;
        return false;
}

static void
switch_from(ucontext_t *from, int to)
{
        running = to;
        swapcontext(from, &actors[to].context);
}

/* The running actor has ended or died: each other may be next. */
static void
go_on_with_another(void)
{
        int last = -1;

        running = -1;
        for (int i = 0; i < N_ACTORS; i++) {
                if (!actors[i].is_runnable)
                        continue;
                if (last >= 0 && branch()) {
                        running = last;
                        setcontext(&actors[last].context);
                }
                last = i;
        }
        if (last < 0)
                setcontext(&end_of_all);
        running = last;
        setcontext(&actors[last].context);
}

static void
take_turn(int to)
{
        shared->turns[n_turns].actor = running;
        shared->turns[n_turns].step = n_steps[running];
        shared->turns[n_turns++].to = to;
        shared->n_turns = n_turns;
        turns_left--;
}

static void actor_main(void);

static void
actor_start(int i)
{
        getcontext(&actors[i].context);
        actors[i].context.uc_stack.ss_sp = actors[i].stack;
        actors[i].context.uc_stack.ss_size = STACK_BYTES;
        makecontext(&actors[i].context, actor_main, 0);
        actors[i].is_runnable = true;
}

static void
die(void)
{
        take_turn(DIES);
        deaths_left--;
        actors[running].is_runnable = false;
        actors[running].is_dead = true;
        if (running != REAPER && !actors[REAPER].is_dead && !actors[REAPER].is_runnable)
                actor_start(REAPER);
        go_on_with_another();
}

/* Whether another may go on here; by access, or the running one die. */
static bool
may_turn(void)
{
        return (BY_INSTRUCTION ? has_changed : n_turns == 0) || n_steps[running] % stride == 0;
}

static void
step(void)
{
        if (running < 0)
                return;
        n_steps[running]++;
        if (turns_left == 0 || (!BY_INSTRUCTION && !may_turn()))
                return;
        for (int i = 0; i < N_ACTORS && may_turn(); i++)
                if (i != running && actors[i].is_runnable && (!is_of_interest || is_of_interest(i)) && branch()) {
                        ucontext_t *from = &actors[running].context;

                        take_turn(i);
                        switch_from(from, i);
                        return;
                }
        if (deaths_left > 0 && has_changed && (!is_of_interest || is_of_interest(DIES)) && branch())
                die();
}

#if BY_INSTRUCTION

#define TRAP_FLAG 0x100L

static char *last_seen; /* the memory of the heap at the step before */

static void
trap_begin(void)
{
        if (turns_left > 0)
                __asm__ volatile(
                        "leaq -128(%%rsp), %%rsp; pushfq; orq $0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
                                : "memory", "cc");
}

static void
trap_end(void)
{
        __asm__ volatile("leaq -128(%%rsp), %%rsp; pushfq; andq $~0x100, (%%rsp); popfq; leaq 128(%%rsp), %%rsp" ::
                                 : "memory", "cc");
}

/* After each instruction of an actor, on its stack. */
static void
on_trap(int signal, siginfo_t *info, void *context)
{
        (void)signal;
        (void)info;
        has_changed = memcmp(last_seen, heap.mapping, heap.mapping_bytes) != 0;
        if (has_changed)
                memcpy(last_seen, heap.mapping, heap.mapping_bytes);
        step();
        if (turns_left == 0)
                ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~TRAP_FLAG;
}

static void
trap_prepare(void)
{
        struct sigaction action = {.sa_sigaction = on_trap, .sa_flags = SA_SIGINFO | SA_NODEFER};

        last_seen = malloc(heap.mapping_bytes);
        ck_assert_ptr_nonnull(last_seen);
        ck_assert_int_eq(sigaction(SIGTRAP, &action, NULL), 0);
}

#else

#define trap_begin()
#define trap_end()
#define trap_prepare()

#endif

static void
actor_main(void)
{
        trap_begin();
        actors[running].fn(actors[running].t);
        trap_end();
        actors[running].is_runnable = false;
        go_on_with_another();
}

static void
reap_the_dead(struct thread *t)
{
        for (int i = A; i <= B; i++)
                if (actors[i].is_dead)
                        reap_settle(r, actors[i].t->no, reaps_with_thread ? t : NULL);
}

static void
actor_make(int i, actor_fn *fn)
{
        actors[i] = (struct actor){.t = heap_attach(&heap, 0), .fn = fn, .stack = malloc(STACK_BYTES)};
        ck_assert_ptr_nonnull(actors[i].stack);
        if (fn && i != REAPER)
                actor_start(i);
}

/* ------------------------------------------------------------------ the heap, and what is true in the end */

/* So that each universe has a heap of its own. */
static void
make_private(void)
{
        char *copy = malloc(heap.mapping_bytes);

        ck_assert_ptr_nonnull(copy);
        memcpy(copy, heap.mapping, heap.mapping_bytes);
        ck_assert_ptr_eq(mmap(heap.mapping, heap.mapping_bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
                         heap.mapping);
        memcpy(heap.mapping, copy, heap.mapping_bytes);
        free(copy);
}

static void
settle_dead(int i)
{
        if (actors[i].is_dead)
                reap_settle(r, actors[i].t->no, reaps_with_thread ? last_reaper : NULL);
}

static void
use_the_heap(void)
{
        for (int i = 0; i < N_ACTORS; i++)
                root_tidy(actors[i].t);
        root_tidy(last_reaper);
        root_judge(r);
        act_create(last_reaper);
        root_judge(r);
        act_remove(last_reaper);
        root_judge(r);
        for (int i = 0; i < N_ACTORS; i++)
                ck_assert_uint_eq(actors[i].t->fault.what, 0);
        ck_assert_uint_eq(last_reaper->fault.what, 0);
}

/* In which order the dead are settled by the last reaper is nobody's choice. */
static void
finish(void)
{
        running = -1;
        shared->n_schedules++;
        if (actors[REAPER].is_dead && branch()) {
                settle_dead(REAPER);
                settle_dead(B);
                settle_dead(A);
                use_the_heap();
                _exit(0);
        }
        settle_dead(A);
        settle_dead(B);
        settle_dead(REAPER);
        use_the_heap();
        if (!is_original)
                _exit(0);
}

static volatile bool has_begun; /* getcontext() returns twice */

static void
explore(actor_fn *a, actor_fn *b, int n_turns_max, int n_deaths_max)
{
        turns_left = getenv("ROOT_TURNS") ? atoi(getenv("ROOT_TURNS")) : n_turns_max;
        deaths_left = getenv("ROOT_DEATHS") ? atoi(getenv("ROOT_DEATHS")) : n_deaths_max;
        stride = getenv("ROOT_STRIDE") ? atoi(getenv("ROOT_STRIDE")) : is_of_interest ? 4 : BY_INSTRUCTION ? 61 : 29;
        actor_make(A, a);
        actor_make(B, b);
        actor_make(REAPER, reap_the_dead);
        last_reaper = heap_attach(&heap, 0);
        make_private();
        trap_prepare();
        has_begun = false;
        getcontext(&end_of_all);
        if (!has_begun) {
                has_begun = true;
                go_on_with_another(); /* A or B first */
        }
        finish();
        printf("%llu schedules\n", shared->n_schedules);
        fflush(stdout);
}

static void
setup(void)
{
        heap_make(&heap, (struct heap_params){.n_chunks = 4});
        r = &heap.region;
        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert_ptr_ne(shared, MAP_FAILED);
        reaps_with_thread = true;
}

/* Someone has made x before. */
static void
setup_x(void)
{
        setup();
        act_create(heap_attach(&heap, 0));
}

/* One who dies, and is reaped by one who dies. */
#define DEATHS BY_INSTRUCTION ? 1 : 2, 2

/* Two who interrupt each other, and may die of it. */
#define MEETING BY_INSTRUCTION ? 1 : 2, 1

START_TEST(death_of_a_creator)
{
        explore(act_create, NULL, DEATHS);
}
END_TEST

START_TEST(death_of_a_creator_whose_init_fails)
{
        explore(act_fail, NULL, DEATHS);
}
END_TEST

START_TEST(death_without_a_reapers_thread)
{
        reaps_with_thread = false;
        explore(act_create, NULL, DEATHS);
}
END_TEST

START_TEST(two_creators)
{
        explore(act_create, act_create, MEETING);
}
END_TEST

START_TEST(creator_and_come_and_go)
{
        explore(act_create, act_create_remove, MEETING);
}
END_TEST

START_TEST(death_of_a_remover)
{
        explore(act_remove, NULL, DEATHS);
}
END_TEST

START_TEST(two_removers)
{
        explore(act_remove, act_remove, MEETING);
}
END_TEST

/* Without deaths: who dies with what it has taken takes it along (tests/crash, root-take). */
START_TEST(two_takers)
{
        explore(act_take, act_take, BY_INSTRUCTION ? 1 : 2, 0);
}
END_TEST

START_TEST(taker_and_come_and_go)
{
        explore(act_take, act_create_remove, BY_INSTRUCTION ? 1 : 2, 0);
}
END_TEST

START_TEST(remover_and_creator)
{
        explore(act_remove, act_create, MEETING);
}
END_TEST

#if BY_INSTRUCTION /* else these are as small ones are */

START_TEST(death_of_a_creator_of_a_run)
{
        x_bytes = GEO_SMALL_MAX + 1;
        explore(act_create, NULL, DEATHS);
}
END_TEST

START_TEST(death_of_a_creator_of_chunks)
{
        x_bytes = GEO_CHUNK_BYTES + 1;
        explore(act_create, NULL, DEATHS);
}
END_TEST

START_TEST(death_of_a_remover_of_a_run)
{
        x_bytes = GEO_SMALL_MAX + 1;
        explore(act_create_remove, NULL, DEATHS);
}
END_TEST

START_TEST(death_of_a_remover_of_chunks)
{
        x_bytes = GEO_CHUNK_BYTES + 1;
        explore(act_create_remove, NULL, DEATHS);
}
END_TEST

#else /* these meet too seldom for so many steps */

static void
act_create_y(struct thread *t)
{
        uint64_t block_off;
        int err = root_find_or_create(t, "y", 100, 0, NULL, NULL, NULL, &block_off);

        NEED(err == 0 || err == -ENOSPC, "%d", err);
}

static void
act_remove_create_y(struct thread *t)
{
        act_remove(t);
        act_create_y(t);
}

static void
act_remove_create(struct thread *t)
{
        act_remove(t);
        act_create(t);
}

/* One record is left. */
static void
setup_last_record(void)
{
        struct thread *t;
        uint64_t block_off;

        setup();
        may_lack_records = true;
        t = heap_attach(&heap, 0);
        for (char name[2] = "p"; name[0] < 's'; name[0]++)
                ck_assert_int_eq(root_find_or_create(t, name, 40, 0, NULL, NULL, NULL, &block_off), 0);
}

START_TEST(two_who_remove_and_create)
{
        explore(act_remove_create, act_remove_create, MEETING);
}
END_TEST

static int n_creations;

static void
act_create_remove_create(struct thread *t)
{
        n_creations = 1;
        act_create(t);
        act_remove(t);
        n_creations = 2;
        act_create(t);
}

/* B meets A's object when it is half published, stops wherever it likes, and goes on when A, who has come to the same
 * place with the same block once more, has just died. */
static bool
is_late_help(int to)
{
        switch (n_turns) {
        case 0:
                return to == B && running == A && cell_kind(r->roots[0].object) == CELL_FROM;
        case 1:
                return to == A;
        default:
                return to == DIES && running == A && n_creations == 2 && actors[A].t->gate->pending[0] != 0;
        }
}

START_TEST(who_comes_late_finds_nothing_that_it_expects)
{
        is_of_interest = is_late_help;
        explore(act_create_remove_create, act_remove, 3, 1);
}
END_TEST

START_TEST(finder_and_who_uses_the_memory_for_another_size)
{
        explore(act_create, act_remove_create_y, MEETING);
}
END_TEST

START_TEST(two_names_and_one_record)
{
        explore(act_create, act_create_y, MEETING);
}
END_TEST

static void
add_last_record(Suite *suite)
{
        TCase *tc = tcase_create("one record");

        tcase_add_checked_fixture(tc, setup_last_record, NULL);
        tcase_add_test(tc, two_names_and_one_record);
        suite_add_tcase(suite, tc);
}

#endif

int
main(void)
{
        Suite *suite = suite_create("root_explore");
        TCase *none = tcase_create("no x"), *x = tcase_create("x");

        tcase_add_checked_fixture(none, setup, NULL);
        tcase_add_test(none, death_of_a_creator);
        tcase_add_test(none, death_of_a_creator_whose_init_fails);
        tcase_add_test(none, death_without_a_reapers_thread);
        tcase_add_test(none, two_creators);
        tcase_add_test(none, creator_and_come_and_go);
        suite_add_tcase(suite, none);
        tcase_add_checked_fixture(x, setup_x, NULL);
        tcase_add_test(x, death_of_a_remover);
        tcase_add_test(x, two_removers);
        tcase_add_test(x, two_takers);
        tcase_add_test(x, taker_and_come_and_go);
        tcase_add_test(x, remover_and_creator);
        suite_add_tcase(suite, x);
#if BY_INSTRUCTION
        tcase_add_test(none, death_of_a_creator_of_a_run);
        tcase_add_test(none, death_of_a_creator_of_chunks);
        tcase_add_test(none, death_of_a_remover_of_a_run);
        tcase_add_test(none, death_of_a_remover_of_chunks);
#else
        tcase_add_test(none, who_comes_late_finds_nothing_that_it_expects);
        tcase_add_test(x, two_who_remove_and_create);
        tcase_add_test(x, finder_and_who_uses_the_memory_for_another_size);
        add_last_record(suite);
#endif
        return suite_run(suite);
}
