/*
 * What is at stake: a name leads every process to one and the same object, for as long as it has one.  Two objects
 * under one name split the processes that should share; a block that is freed twice, or while a name still leads to it,
 * hands one piece of memory to two owners; a block that neither a name nor a slot names is lost for ever.  So after
 * each test the judge (support/root_judge.h) looks for the objects that the names lead to, and no other block may be
 * allocated.
 *
 * Threads, and children on shared memory, play the clients; who dies, dies by SIGKILL.  What is left at every single
 * instruction is the matter of test_root_steps_tiny.c, all interleavings of two that of test_root_explore_tiny.c.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/error.h"
#include "blocks/magazine.h"
#include "clients/intent.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "heap/root.h"
#include "heap/root_cell.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/root_heap.h"
#include "support/root_judge.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ one thread after the other */

START_TEST(a_name_leads_all_to_one_object)
{
        uint64_t block_off = create(ta, "a", 100), found, size;

        ck_assert_uint_eq(create(tb, "a", 100), block_off);
        ck_assert_uint_ne(create(tb, "b", 100), block_off);
        ck_assert_int_eq(root_find(r, "a", &found, &size), 0);
        ck_assert_uint_eq(found, block_off);
        ck_assert_uint_eq(size, 100);
        ck_assert_uint_eq(root_judge(r), 2);
}
END_TEST

static int
expect_zeroes(void *obj, size_t size, void *arg)
{
        char *p = obj;

        for (size_t i = 0; i < size; i++)
                ck_assert_int_eq(p[i], 0);
        memset(p, 0x5a, size);
        *(size_t *)arg = size;
        return 0;
}

START_TEST(an_object_is_zeroed_then_initialised)
{
        size_t seen = 0;
        char *p;

        for (int round = 0; round < 3; round++) { /* the same block again, with what was left in it */
                uint64_t block_off;

                ck_assert_int_eq(root_find_or_create(ta, "a", 200, 0, expect_zeroes, NULL, &seen, &block_off), 0);
                ck_assert_uint_eq(seen, 200);
                p = region_block(r, block_off);
                ck_assert_int_eq(p[0], 0x5a);
                ck_assert_int_eq(p[199], 0x5a);
                ck_assert_int_eq(root_remove(ta, "a"), 0);
        }
}
END_TEST

struct listing {
        char names[N_NAMES][64];
        uint64_t sizes[N_NAMES];
        unsigned n;
};

static int
list(const char *name, uint64_t block_off, uint64_t size, void *arg)
{
        struct listing *l = arg;

        (void)block_off;
        strcpy(l->names[l->n], name);
        l->sizes[l->n++] = size;
        return l->n == N_NAMES ? 7 : 0;
}

START_TEST(every_size_is_exact)
{
        static const size_t sizes[] = {1,
                                       16,
                                       17,
                                       1000,
                                       32768,
                                       32769,
                                       100000,
                                       (1 << 20) + 1,
                                       (7 << 18) + 1,
                                       1 << 21,
                                       (1 << 21) + 1,
                                       (4 << 20) + 4097};

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                struct listing l = {.n = 0};

                create(ta, "a", sizes[i]);
                ck_assert_int_eq(try_create(tb, "a", sizes[i] + 1, NULL, NULL), -EEXIST);
                ck_assert_int_eq(try_create(tb, "a", sizes[i] - 1, NULL, NULL), sizes[i] == 1 ? -EINVAL : -EEXIST);
                ck_assert_int_eq(root_iterate(r, list, &l), 0);
                ck_assert_uint_eq(l.n, 1);
                ck_assert_uint_eq(l.sizes[0], sizes[i]);
                ck_assert_uint_eq(root_judge(r), 1);
                ck_assert_int_eq(root_remove(tb, "a"), 0);
        }
}
END_TEST

START_TEST(a_removed_object_is_gone_and_its_name_can_be_used_again)
{
        uint64_t found, size;

        create(ta, "a", 100);
        ck_assert_int_eq(root_remove(tb, "a"), 0);
        ck_assert_uint_eq(root_judge(r), 0);
        ck_assert_int_eq(root_find(r, "a", &found, &size), -ENOENT);
        ck_assert_int_eq(root_remove(ta, "a"), -ENOENT);
        ck_assert_int_eq(root_remove(ta, "b"), -ENOENT);
        create(ta, "a", 4000);
        ck_assert_uint_eq(root_judge(r), 1);
        ck_assert_uint_eq(region_roots_hwm(r), 1); /* the name has kept its record */
}
END_TEST

START_TEST(iterating_sees_what_has_an_object)
{
        struct listing l = {.n = 0};

        create(ta, "one", 10);
        create(ta, "two", 20);
        create(ta, "three", 30);
        ck_assert_int_eq(root_remove(ta, "two"), 0);
        ck_assert_int_eq(root_iterate(r, list, &l), 0);
        ck_assert_uint_eq(l.n, 2);
        ck_assert_str_eq(l.names[0], "three");
        ck_assert_str_eq(l.names[1], "one");
        create(ta, "two", 20);
        create(ta, "four", 40);
        l.n = 0;
        ck_assert_int_eq(root_iterate(r, list, &l), 7);
}
END_TEST

START_TEST(a_name_is_1_to_63_bytes)
{
        char name[66];

        memset(name, 'x', sizeof name);
        name[64] = '\0';
        ck_assert_int_eq(try_create(ta, name, 10, NULL, NULL), -EINVAL);
        ck_assert_int_eq(try_create(ta, "", 10, NULL, NULL), -EINVAL);
        ck_assert_int_eq(try_create(ta, NULL, 10, NULL, NULL), -EINVAL);
        ck_assert_int_eq(root_remove(ta, name), -EINVAL);
        name[63] = '\0';
        create(ta, name, 10);
        name[62] = 'y';
        create(ta, name, 20);
        ck_assert_uint_eq(root_judge(r), 2);
}
END_TEST

START_TEST(when_all_names_are_used_another_is_refused_and_nothing_lost)
{
        char name[2] = "a";

        for (int i = 0; i < N_NAMES; i++, name[0]++)
                create(ta, name, 100);
        ck_assert_int_eq(try_create(ta, "z", 100, NULL, NULL), -ENOSPC);
        ck_assert_uint_eq(root_judge(r), N_NAMES);
        ck_assert_int_eq(root_remove(ta, "b"), 0);
        ck_assert_int_eq(try_create(ta, "z", 100, NULL, NULL), -ENOSPC); /* a name is for ever */
        create(tb, "b", 100);
        ck_assert_uint_eq(root_judge(r), N_NAMES);
}
END_TEST

START_TEST(without_memory_nothing_changes)
{
        ck_assert_int_eq(try_create(ta, "a", (size_t)1 << 40, NULL, NULL), -ENOMEM);
        ck_assert_int_eq(try_create(ta, "a", SIZE_MAX, NULL, NULL), -ENOMEM);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

/* ------------------------------------------------------------------ init() */

static int
give_up(void *obj, size_t size, void *arg)
{
        memset(obj, 1, size);
        return *(int *)arg;
}

START_TEST(a_failing_init_leaves_nothing)
{
        int err = -EPROTO;
        uint64_t found, size;

        ck_assert_int_eq(try_create(ta, "a", 100, give_up, &err), -EPROTO);
        ck_assert_int_eq(root_find(r, "a", &found, &size), -ENOENT);
        ck_assert_uint_eq(region_roots_hwm(r), 0); /* nor does it use up a name */
        ck_assert_int_eq(try_create(ta, "a", 5 << 20, give_up, &err), -EPROTO);
        ck_assert_uint_eq(root_judge(r), 0);
        err = 1;
        ck_assert_int_eq(try_create(ta, "a", 100, give_up, &err), 0); /* only what is below 0 is an error */
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

struct nest {
        int depth;
        int err;
};

static int
create_inside(void *obj, size_t size, void *arg)
{
        struct nest *nest = arg;
        char name[2] = {(char)('a' + nest->depth), '\0'};

        (void)obj;
        (void)size;
        if (nest->depth == 0) {
                root_tidy(ta); /* must not take what is under construction for left over */
                return nest->err;
        }
        nest->depth--;
        return try_create(ta, name, 50 + (size_t)nest->depth, create_inside, nest);
}

START_TEST(creations_nest)
{
        struct nest nest = {.depth = ROOTS_PENDING_MAX - 1};

        ck_assert_int_eq(try_create(ta, "top", 100, create_inside, &nest), 0);
        ck_assert_uint_eq(root_judge(r), ROOTS_PENDING_MAX);
}
END_TEST

START_TEST(a_failure_deep_inside_undoes_all)
{
        struct nest nest = {.depth = ROOTS_PENDING_MAX - 1, .err = -EPROTO};

        ck_assert_int_eq(try_create(ta, "top", 100, create_inside, &nest), -EPROTO);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(too_deep_a_nest_is_refused)
{
        struct nest nest = {.depth = ROOTS_PENDING_MAX};

        ck_assert_int_eq(try_create(ta, "top", 100, create_inside, &nest), -ENOBUFS);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

static int
create_the_same_name(void *obj, size_t size, void *arg)
{
        memset(obj, 1, size);
        *(uint64_t *)arg = create(tb, "a", size);
        return 0;
}

START_TEST(the_loser_frees_its_own_and_gets_the_winners)
{
        uint64_t winner = 0, block_off = 0;

        ck_assert_int_eq(root_find_or_create(ta, "a", 100, 0, create_the_same_name, NULL, &winner, &block_off), 0);
        ck_assert_uint_eq(block_off, winner);
        ck_assert_int_eq(*(char *)region_block(r, block_off), 0);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

static int
create_another_size(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)arg;
        create(tb, "a", size * 1000);
        return 0;
}

START_TEST(the_loser_to_another_size_is_told)
{
        ck_assert_int_eq(try_create(ta, "a", 100, create_another_size, NULL), -EEXIST);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

static int
come_and_go(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)arg;
        create(tb, "a", size);
        ck_assert_int_eq(root_remove(tb, "a"), 0);
        return 0;
}

/* What init() has allocated hangs on the object, and undo() frees it there. */
struct chain {
        uint64_t block_off;
};

static int n_undone;

static int
chain_and_lose(void *obj, size_t size, void *arg)
{
        struct chain *c = obj;
        struct call rq = {.size = 5000, .align = 1, .arena = ta->arena};

        (void)size;
        if (arg)
                create(tb, "a", *(size_t *)arg);
        ck_assert(ask_classify(&rq));
        ck_assert_int_eq(ask_block(ta, &rq, &c->block_off), 0);
        return 0;
}

static void
unchain(void *obj, size_t size, void *arg)
{
        const struct chain *c = obj;

        (void)arg;
        ck_assert_uint_eq(size, sizeof *c);
        ck_assert_uint_eq(ta->slot->intent.kind, INTENT_NONE);
        ck_assert_uint_eq(ta->slot->candidate, 0);
        ck_assert_int_eq(free_block(ta, c->block_off, 0), 0);
        n_undone++;
}

static int
make_chain(size_t *other_size, uint64_t *ret_off)
{
        n_undone = 0;
        return root_find_or_create(ta, "a", sizeof(struct chain), 0, chain_and_lose, unchain, other_size, ret_off);
}

START_TEST(undo_runs_in_the_loser_on_its_own_object)
{
        size_t same = sizeof(struct chain), another = 200;
        uint64_t off, found, size;

        ck_assert_int_eq(make_chain(&same, &off), 0);
        ck_assert_int_eq(n_undone, 1);
        ck_assert_int_eq(root_find(r, "a", &found, &size), 0);
        ck_assert_uint_eq(off, found); /* tb's */
        ck_assert_int_eq(root_remove(ta, "a"), 0);
        ck_assert_int_eq(make_chain(&another, &off), -EEXIST);
        ck_assert_int_eq(n_undone, 1);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

START_TEST(undo_does_not_run_for_what_is_published)
{
        uint64_t off;

        ck_assert_int_eq(make_chain(NULL, &off), 0);
        ck_assert_int_eq(n_undone, 0);
        ck_assert_int_eq(free_block(ta, ((struct chain *)region_block(r, off))->block_off, 0), 0);
        ck_assert_int_eq(make_chain(NULL, &off), 0); /* found */
        ck_assert_int_eq(n_undone, 0);
}
END_TEST

START_TEST(undo_runs_where_there_is_no_room_for_the_name)
{
        static const char *const names[N_NAMES] = {"b", "c", "d", "e"};
        uint64_t off;

        for (int i = 0; i < N_NAMES; i++)
                create(tb, names[i], 10);
        ck_assert_int_eq(make_chain(NULL, &off), -ENOSPC);
        ck_assert_int_eq(n_undone, 1);
        ck_assert_uint_eq(root_judge(r), N_NAMES);
}
END_TEST

static void
undo_never(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        ck_abort_msg("undo() runs");
}

static int
init_fails(void *obj, size_t size, void *arg)
{
        (void)obj;
        (void)size;
        (void)arg;
        return -EPROTO;
}

START_TEST(undo_does_not_run_after_an_init_that_failed_or_is_missing)
{
        uint64_t off;

        ck_assert_int_eq(root_find_or_create(ta, "a", 100, 0, init_fails, undo_never, NULL, &off), -EPROTO);
        ck_assert_int_eq(root_find_or_create(ta, "a", 100, 0, NULL, undo_never, NULL, &off), 0);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

START_TEST(a_taken_object_is_the_takers_alone)
{
        static const size_t sizes[] = {40, 5000, 100000, 5 << 20};

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                uint64_t off = create(ta, "a", sizes[i]), taken, size, other;

                ck_assert_int_eq(root_take(tb, "a", &taken, &size), 0);
                ck_assert_uint_eq(taken, off);
                ck_assert_uint_eq(size, sizes[i]);
                ck_assert_int_eq(root_take(ta, "a", &other, &size), -ENOENT);
                ck_assert_int_eq(root_remove(ta, "a"), -ENOENT);
                ck_assert(!root_has(r, off));
                ck_assert_uint_ne(create(ta, "a", sizes[i]), off); /* it is in use */
                ck_assert_int_eq(root_remove(ta, "a"), 0);
                ck_assert_int_eq(free_block(tb, taken, 0), 0);
                ck_assert_uint_eq(root_judge(r), 0);
        }
}
END_TEST

START_TEST(what_was_freed_by_other_means_is_not_given_to_a_taker)
{
        uint64_t taken = 1, size = 1;

        ck_assert_int_eq(free_block(tb, create(ta, "a", 100), 0), 0);
        ck_assert_int_eq(root_take(ta, "a", &taken, &size), -EUCLEAN);
        ck_assert(taken == 1 && size == 1);
        ck_assert_int_eq(root_take(ta, "a", &taken, &size), -ENOENT);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(a_winner_that_is_gone_again_does_not_count)
{
        ck_assert_int_eq(try_create(ta, "a", 100, come_and_go, NULL), 0);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

/* ------------------------------------------------------------------ a slab that somebody holds */

/* Its holder may be stopped for ever: the block is as good as free, in a magazine. */
START_TEST(a_block_of_a_held_slab_is_put_aside)
{
        uint64_t *word = hold_slab(tb, create(ta, "a", 100));

        ck_assert_int_eq(root_remove(ta, "a"), 0);
        ck_assert_uint_eq(ta->gate->pending[0], 0);
        ck_assert_uint_eq(ta->slot->hand, 0);
        let_go(word);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(names_come_and_go_beside_who_holds_slabs_for_ever)
{
        static const char *const names[N_NAMES] = {"a", "b", "c", "d"};
        enum { N_HELD = 20 };
        uint64_t *words[N_HELD];

        for (int i = 0; i < N_HELD; i++) {
                for (int k = 0; k < N_NAMES; k++)
                        create(ta, names[k], 100);
                words[i] = hold_slab(tb, create(ta, names[i % N_NAMES], 100));
                for (int k = 0; k < N_NAMES; k++)
                        ck_assert_msg(root_remove(ta, names[k]) == 0, "slab %d: %s", i, error_message());
        }
        for (int i = 0; i < N_HELD; i++)
                let_go(words[i]);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(without_a_magazine_the_block_waits_in_the_slot)
{
        uint64_t *word = hold_slab(tb, create(ta, "a", 100));

        take_every_magazine(tb);
        ck_assert_int_eq(root_remove(ta, "a"), 0);
        ck_assert_uint_ne(ta->gate->pending[0], 0);
        create(ta, "b", 100000); /* tries again: still held */
        ck_assert_uint_ne(ta->gate->pending[0], 0);
        let_go(word);
        root_tidy(ta);
        ck_assert_uint_eq(ta->gate->pending[0], 0);
        give_back_every_magazine(tb);
        ck_assert_uint_eq(root_judge(r), 1);
}
END_TEST

START_TEST(cells_that_wait_are_not_used_for_anything_else)
{
        static const char *const names[] = {"a", "b", "c", "d"};
        uint64_t *word = NULL;

        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                create(ta, names[i], 100);
        word = hold_slab(tb, create(ta, "a", 100));
        take_every_magazine(tb);
        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                ck_assert_int_eq(root_remove(ta, names[i]), 0);
        ck_assert_int_eq(try_create(ta, "a", 100000, NULL, NULL), -ENOBUFS);
        ck_assert_ptr_nonnull(strstr(error_message(), "no memory for another magazine"));
        create(tb, "a", 100000); /* another thread has cells of its own */
        let_go(word);
        create(ta, "b", 100000);
        give_back_every_magazine(tb);
        ck_assert_uint_eq(root_judge(r), 2);
}
END_TEST

/* ------------------------------------------------------------------ freed by other means */

/* In whatever place a free leaves a block: its slab, a magazine in a place or a depot, a run, chunks. */
static void
free_by_mistake(uint64_t block_off, bool is_cached)
{
        uint32_t tag = r->tags[block_off >> GEO_GRANULE_SHIFT], idx;

        if (!is_cached) {
                ck_assert_int_eq(free_block(tb, block_off, 0), 0);
                return;
        }
        ck_assert_int_eq(magazine_take_empty(tb, tag, &idx), 0);
        magazine_push(tb, idx, block_off, 0);
        magazine_place(tb, magazine_current(tb, tag), idx);
}

START_TEST(an_object_that_was_freed_by_other_means_is_not_freed_again)
{
        static const size_t sizes[] = {40, 5000, 100000, 5 << 20};

        for (unsigned i = 0; i < 2 * sizeof sizes / sizeof sizes[0]; i++) {
                size_t size = sizes[i / 2];
                bool is_cached = i % 2 == 0 && size <= GEO_LARGE_MAX;

                free_by_mistake(create(ta, "a", size), is_cached);
                ck_assert_int_eq(root_remove(ta, "a"), -EUCLEAN);
                ck_assert_ptr_nonnull(strstr(error_message(), "freed by other means"));
                ck_assert_uint_eq(ta->fault.what, 0);
                ck_assert_int_eq(root_remove(ta, "a"), -ENOENT); /* and the name is of use again */
                ck_assert_uint_eq(root_judge(r), 0);
                create(ta, "a", size);
                ck_assert_uint_eq(root_judge(r), 1);
                ck_assert_int_eq(root_remove(ta, "a"), 0);
        }
}
END_TEST

/* Two names, the second one for a block that the first one's misuse had made free. */
START_TEST(one_block_under_two_names_is_freed_once)
{
        uint64_t block_off = create(ta, "a", 100);

        free_by_mistake(block_off, false);
        ck_assert_uint_eq(create(ta, "b", 100), block_off);
        ck_assert_int_eq(root_remove(ta, "a"), 0);
        ck_assert_int_eq(root_remove(ta, "b"), -EUCLEAN);
        ck_assert_uint_eq(root_judge(r), 0);
}
END_TEST

START_TEST(who_has_a_name_is_known_by_its_block)
{
        uint64_t a = create(ta, "a", 100), b = create(ta, "b", 5 << 20);

        ck_assert(root_has(r, a) && root_has(r, b));
        ck_assert(!root_has(r, a + 112) && !root_has(r, b + 16));
        ck_assert_int_eq(root_remove(ta, "a"), 0);
        ck_assert(!root_has(r, a) && root_has(r, b));
}
END_TEST

/* ------------------------------------------------------------------ damage */

START_TEST(a_damaged_region_is_no_trap)
{
        uint64_t found, size, object, block_off = create(ta, "a", 100);
        struct listing l = {.n = 0};

        create(ta, "b", 100);
        object = r->roots[0].object;
        r->roots[0].object = 5 | UINT64_C(0xfffffffff) << 27; /* a block beyond the mark */
        ck_assert_int_eq(root_find(r, "a", &found, &size), -EUCLEAN);
        r->roots[0].object = 6 | UINT64_C(7) << 27; /* published by a thread that is not there */
        ck_assert_int_eq(root_find(r, "a", &found, &size), -EUCLEAN);
        ck_assert_int_eq(root_remove(ta, "a"), -EUCLEAN);
        r->roots[0].object = 48; /* nothing that a record may hold */
        ck_assert_int_eq(root_find(r, "a", &found, &size), -EUCLEAN);
        ck_assert_int_eq(root_iterate(r, list, &l), 0);
        ck_assert_uint_eq(l.n, 1);
        r->roots[0].object = object;
        ck_assert_uint_eq(create(tb, "a", 100), block_off);

        r->roots[0].next = 2; /* a circle */
        ck_assert_int_eq(root_find(r, "x", &found, &size), -EUCLEAN);
        ck_assert_int_eq(try_create(ta, "x", 10, NULL, NULL), -EUCLEAN);
        r->roots[0].next = 4711; /* beyond the mark */
        ck_assert_int_eq(root_find(r, "x", &found, &size), -EUCLEAN);
        l.n = 0;
        ck_assert_int_eq(root_iterate(r, list, &l), -EUCLEAN);
        r->roots[0].next = 0;

        tb->gate->pending[0] = 7; /* a mark that leads nowhere */
        tb->gate->pending[1] = 5;
        tb->gate->pending[2] = 4 | UINT64_C(3) << 27;
        tb->slot->pending_record[2] = UINT32_MAX;
        tb->gate->pending[3] = 16; /* a block before the first chunk */
        reap_settle(r, tb->no, ta);
        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                ck_assert_uint_eq(tb->gate->pending[i], 0);
        ck_assert_uint_eq(root_judge(r), 2);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("root");

        ADD(suite, "one after the other", a_name_leads_all_to_one_object, an_object_is_zeroed_then_initialised,
            every_size_is_exact, a_removed_object_is_gone_and_its_name_can_be_used_again,
            iterating_sees_what_has_an_object, a_name_is_1_to_63_bytes,
            when_all_names_are_used_another_is_refused_and_nothing_lost, without_memory_nothing_changes);
        ADD(suite, "init", a_failing_init_leaves_nothing, creations_nest, a_failure_deep_inside_undoes_all,
            too_deep_a_nest_is_refused, the_loser_frees_its_own_and_gets_the_winners, the_loser_to_another_size_is_told,
            a_winner_that_is_gone_again_does_not_count);
        ADD(suite, "undo", undo_runs_in_the_loser_on_its_own_object, undo_does_not_run_for_what_is_published,
            undo_runs_where_there_is_no_room_for_the_name, undo_does_not_run_after_an_init_that_failed_or_is_missing);
        ADD(suite, "take", a_taken_object_is_the_takers_alone, what_was_freed_by_other_means_is_not_given_to_a_taker);
        ADD(suite, "held slabs", a_block_of_a_held_slab_is_put_aside, names_come_and_go_beside_who_holds_slabs_for_ever,
            without_a_magazine_the_block_waits_in_the_slot, cells_that_wait_are_not_used_for_anything_else);
        ADD(suite, "misuse", an_object_that_was_freed_by_other_means_is_not_freed_again,
            one_block_under_two_names_is_freed_once, who_has_a_name_is_known_by_its_block);
        ADD(suite, "damage", a_damaged_region_is_no_trap);
        return suite_run(suite);
}
