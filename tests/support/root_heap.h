/*
 * root_heap.h - a heap with room for four names and two threads in it, for the tests of roots; the judge looks at it
 * after each.  Included by one source of a program.
 */
#ifndef SUPPORT_ROOT_HEAP_H
#define SUPPORT_ROOT_HEAP_H

#include "base/error.h"
#include "blocks/magazine.h"
#include "clients/owner.h"
#include "heap/root.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/root_judge.h"
#include "support/suite.h"

enum { N_NAMES = 4 }; /* as many records as the fixture's heap has */

static struct heap_fixture heap;
static struct region *r;
static struct thread *ta, *tb;

static inline void
setup(void)
{
        heap_make(&heap, (struct heap_params){.n_chunks = 8});
        r = &heap.region;
        ta = heap_attach(&heap, 0);
        tb = heap_attach(&heap, 0);
        ck_assert_uint_eq(r->layout.n[TABLE_ROOTS], N_NAMES);
}

static inline void
teardown(void)
{
        root_judge(r);
        heap_drop(&heap);
}

static inline uint64_t
create(struct thread *t, const char *name, size_t size)
{
        uint64_t block_off = 0;
        int err = root_find_or_create(t, name, size, 0, NULL, NULL, NULL, &block_off);

        ck_assert_msg(err == 0, "%s: %d: %s", name, err, error_message());
        return block_off;
}

static inline int
try_create(struct thread *t, const char *name, size_t size, root_init_fn *init, void *arg)
{
        uint64_t block_off;

        return root_find_or_create(t, name, size, 0, init, NULL, arg, &block_off);
}

/* ------------------------------------------------------------------ a slab that somebody holds */

/* Owns the slab of the block, as a thread does that is stopped in the midst of a fill. */
static inline uint64_t *
hold_slab(struct thread *t, uint64_t block_off)
{
        uint64_t *word = run_word(r, block_off >> GEO_GRANULE_SHIFT);

        ck_assert_int_eq(granule_state(owner_load(word)), GRANULE_SLAB);
        owner_release(word, granule_with_owner(owner_load(word), t->no));
        return word;
}

static inline void
let_go(uint64_t *word)
{
        owner_release(word, granule_with_owner(owner_load(word), THREAD_NONE));
}

/* All that there can be are in use, by `t` say. */
static inline void
take_every_magazine(struct thread *t)
{
        uint32_t idx;

        while (magazine_take_empty(t, 1, &idx) == 0)
                t->slot->hand = 0;
}

static inline void
give_back_every_magazine(const struct thread *t)
{
        for (uint32_t idx = 0; idx < region_magazines_hwm(r, 0); idx++)
                if (magazine_owner(r->magazine_words[idx]) == t->no)
                        r->magazine_words[idx] = 0;
}

static inline void
add(Suite *suite, const char *name, const TTest *const *tests, size_t n)
{
        TCase *tc = tcase_create(name);

        tcase_add_checked_fixture(tc, setup, teardown);
        for (size_t i = 0; i < n; i++)
                tcase_add_test(tc, tests[i]);
        suite_add_tcase(suite, tc);
}

#define ADD(suite, name, ...)                                                                                          \
        do {                                                                                                           \
                const TTest *const tests[] = {__VA_ARGS__};                                                            \
                add(suite, name, tests, sizeof tests / sizeof tests[0]);                                               \
        } while (0)

#endif
