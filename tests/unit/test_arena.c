/*
 * What is at stake: an arena that is used before its memory is there.  Nobody owns its initialisation: each thread that
 * finds it not ready does all of it, so neither a death nor a stop in the middle keeps anybody waiting.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "os/inject.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.n_nodes = 2, .arenas_per_node = 2, .has_file = true});
}

static void
teardown(void)
{
        heap_drop(&fx);
}

START_TEST(arena_is_there_once_it_is_ready)
{
        for (uint32_t a = 0; a < 4; a++) {
                ck_assert_ptr_null(region_arena(r, a));
                ck_assert_int_eq(arena_init(r, a), 0);
                ck_assert_ptr_nonnull(region_arena(r, a));
                ck_assert_uint_eq(region_arena_node(r, a), a / 2);
        }
}
END_TEST

START_TEST(there_are_no_arenas_beyond_the_table)
{
        const uint32_t beyond[] = {4, 5, 1024, UINT32_MAX};

        for (int i = 0; i < 4; i++) {
                ck_assert_int_eq(arena_init(r, beyond[i]), -EINVAL);
                ck_assert_ptr_null(region_arena(r, beyond[i]));
        }
}
END_TEST

START_TEST(initialising_again_changes_nothing)
{
        struct thread *t = heap_attach(&fx, 1);

        ck_assert_int_eq(chunk_give(t, 1), 0);
        region_arena(r, 1)->depot[3] = 5;
        r->arena_words[1] = ARENA_UNINIT; /* as somebody sees it who is late */
        ck_assert_int_eq(arena_init(r, 1), 0);
        ck_assert_uint_eq(region_arena(r, 1)->depot[3], 5);
        region_arena(r, 1)->depot[3] = 0;
        ck_assert_uint_eq(heap_verify(r, NULL).n_free_granules, GEO_GRANULES_PER_CHUNK);
}
END_TEST

#if SHM_DEBUG
static int
no_memory(const char *call)
{
        (void)call;
        return ENOSPC;
}

START_TEST(arena_whose_memory_cannot_be_had_is_not_ready)
{
        os_inject = no_memory;
        ck_assert_int_lt(arena_init(r, 2), 0);
        os_inject = NULL;
        ck_assert_ptr_null(region_arena(r, 2));
        ck_assert_int_eq(arena_init(r, 2), 0);
}
END_TEST
#endif

/* Ready means backed: using all of it adds no page to the file. */
START_TEST(ready_arena_is_backed)
{
        struct stat before, after;

        ck_assert_int_eq(arena_init(r, 3), 0);
        ck_assert_int_eq(fstat(r->fd, &before), 0);
        for (uint64_t i = 0; i < r->layout.stride[TABLE_ARENAS]; i += 64)
                ((volatile char *)region_arena(r, 3))[i] = 0;
        ck_assert_int_eq(fstat(r->fd, &after), 0);
        ck_assert_int_eq(before.st_blocks, after.st_blocks);
}
END_TEST

static void *
initialise(void *arg)
{
        (void)arg;
        for (uint32_t a = 0; a < 4; a++) {
                ck_assert_int_eq(arena_init(r, a), 0);
                __atomic_fetch_add(&region_arena(r, a)->granule_hand, 1, __ATOMIC_RELAXED);
        }
        return NULL;
}

START_TEST(many_may_initialise_at_once)
{
        pthread_t threads[4];

        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, initialise, NULL), 0);
        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_join(threads[i], NULL), 0);
        for (uint32_t a = 0; a < 4; a++)
                ck_assert_uint_eq(region_arena(r, a)->granule_hand, 4);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("arena");
        TCase *tcase = tcase_create("arena");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, arena_is_there_once_it_is_ready);
        tcase_add_test(tcase, there_are_no_arenas_beyond_the_table);
        tcase_add_test(tcase, initialising_again_changes_nothing);
#if SHM_DEBUG
        tcase_add_test(tcase, arena_whose_memory_cannot_be_had_is_not_ready);
#endif
        tcase_add_test(tcase, ready_arena_is_backed);
        tcase_add_test(tcase, many_may_initialise_at_once);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
