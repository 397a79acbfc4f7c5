/*
 * What is at stake: that a broken invariant is noticed by who breaks it, or by the first who relies on it, and not by a
 * checker long after.  Each one of layout/invariants.h is broken in a child of its own, by a store that no client would
 * make or a call that none would make, and the child has to end by an assertion that names it.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blocks/drain.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "clients/liveness.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/reap.h"
#include "heap/root.h"
#include "os/inject.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "pages/sweep.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "support/where.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u;

static void
setup(void)
{
        heap_make(&fx, (struct heap_params){.arenas_per_node = 2, .n_chunks = 8});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 0);
        ck_assert_int_eq(chunk_give(t, 0), 0);
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ what each violation begins with */

static uint64_t
owned_slab(struct thread *who)
{
        uint64_t head;

        ck_assert_int_eq(slab_create_owned(who, WHERE_SLAB(0, CHUNK_ANY, 3), &head), 0);
        return head;
}

static uint64_t
free_slab(void) /* of nobody, with a block taken */
{
        uint64_t head = owned_slab(t), block_off;

        ck_assert(slab_alloc_one(t, head, 0, &block_off));
        return head;
}

static uint32_t
placed_magazine(struct thread *who)
{
        uint32_t tag = tag_make(who->node, 3), idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, magazine_current(who, tag), idx);
        return idx;
}

static uint64_t
large_block(void)
{
        uint64_t block_off;

        ck_assert_int_eq(large_alloc(t, WHERE_LARGE(0, CHUNK_ANY, SIZE_CLASS_N - 1, 1), 0, &block_off), 0);
        return block_off;
}

static uint64_t
huge_block(void)
{
        uint64_t block_off;

        ck_assert_int_eq(huge_alloc(t, 2 * GEO_CHUNK_BYTES, 1, 0, 0, &block_off), 0);
        return block_off;
}

static uint64_t
claimed_run(struct thread *who)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(who, WHERE_RUN(0, CHUNK_ANY, 3, 1), &head), 0);
        return head;
}

/* ------------------------------------------------------------------ words */

static void
granule_new_of_nobody(void)
{
        uint64_t head = claimed_run(t);

        granule_store(r, t->no, run_word(r, head), granule_word(GRANULE_NEW, THREAD_NONE, 0));
}

static void
granule_backed_without_pages(void)
{
        uint64_t head = claimed_run(t);

        granule_store(r, t->no, run_word(r, head), granule_with_backed(granule_word(GRANULE_NEW, t->no, 0), 3));
}

static void
slab_with_more_than_all_blocks(void)
{
        uint64_t head = owned_slab(t), word = owner_load(run_word(r, head));

        granule_release(r, t->no, run_word(r, head), granule_with_count(word, size_class_slab_blocks(3) + 1));
}

static void
chunk_of_an_arena_with_an_owner(void)
{
        uint64_t chunk = huge_block() >> GEO_CHUNK_SHIFT, word = owner_load(&r->chunk_words[chunk]);

        candidate_set(t, candidate_make(CANDIDATE_HUGE, chunk, 2));
        ck_assert(chunk_acquire(t, &r->chunk_words[chunk], &word, chunk_with_owner(word, t->no)));
        chunk_release(r, t->no, &r->chunk_words[chunk], chunk_word(CHUNK_ARENA, t->no, 0));
}

static void
magazine_in_a_depot_with_an_owner(void)
{
        uint32_t idx = placed_magazine(t);

        magazine_release(r, t->no, &r->magazine_words[idx], magazine_word(MAGAZINE_DEPOT, t->no, 0, tag_make(0, 3)));
}

static void
candidate_over_two_chunks(void)
{
        candidate_set(t, candidate_make(CANDIDATE_RUN, GEO_GRANULES_PER_CHUNK - 1, 2));
}

/* ------------------------------------------------------------------ ownership */

static void
store_to_what_another_owns(void)
{
        uint64_t head = claimed_run(u);

        granule_store(r, t->no, run_word(r, head), granule_word(GRANULE_NEW, t->no, 0));
}

static void
release_of_what_another_owns(void)
{
        uint64_t head = owned_slab(u), word = owner_load(run_word(r, head));

        granule_release(r, t->no, run_word(r, head), granule_with_owner(word, THREAD_NONE));
}

static void
magazine_of_another_is_let_go_of(void)
{
        uint32_t idx = placed_magazine(u);

        magazine_release(r, t->no, &r->magazine_words[idx], 0);
}

static void
taken_without_a_candidate(void)
{
        (void)run_take(t, run_word(r, 5), 0);
}

static void
candidate_cleared_before_the_release(void)
{
        (void)owned_slab(t);
        candidate_clear(t);
}

static void
two_candidates(void)
{
        candidate_set(t, candidate_make(CANDIDATE_RUN, 1, 2));
        candidate_set(t, candidate_make(CANDIDATE_RUN, 5, 2));
}

static void
magazine_put_that_nothing_names(void)
{
        uint32_t tag = tag_make(0, 3), idx;

        ck_assert_int_eq(magazine_take_empty(t, tag, &idx), 0);
        t->slot->hand = 0;
        magazine_put(t, idx, 0, true);
}

static void
hand_emptied_of_what_is_owned(void)
{
        uint32_t idx, other;

        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 3), &idx), 0);
        (void)magazine_take_empty(t, tag_make(0, 4), &other);
}

static void
two_intents(void)
{
        uint64_t head = owned_slab(t);
        struct intent in = INTENT(FREE_ONE, free_one, .head = head, .block = head << GEO_GRANULE_SHIFT);

        intent_begin(t, in);
        intent_begin(t, in);
}

static void
intent_about_what_another_owns(void)
{
        uint64_t head = owned_slab(u);

        intent_begin(t, INTENT(FREE_ONE, free_one, .head = head, .block = head << GEO_GRANULE_SHIFT));
}

static void
fill_of_more_than_a_magazine_holds(void)
{
        uint64_t head = owned_slab(t);
        uint32_t idx = placed_magazine(t);

        intent_begin(t, INTENT(FILL, fill, .head = head, .magazine = idx, .n = r->magazines[idx].cap + 1));
}

static void
call_with_a_candidate_left(void)
{
        uint64_t head;

        (void)owned_slab(t);
        (void)slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, 3), &head);
}

static void
slot_detached_with_an_intent(void)
{
        t->slot->intent.kind = INTENT_SWAP;
        slot_detach(t);
}

static void
settled_without_its_lock(struct region *region, uint32_t thread_no, void *arg)
{
        (void)arg;
        liveness->lock_release(&region_gate(region, thread_no - 1)->reap);
}

static void *
attach_and_die(void *arg)
{
        *(struct thread **)arg = heap_attach(&fx, 0);
        return NULL;
}

static void
settler_has_lost_the_lock(void)
{
        struct thread *dead = NULL;
        pthread_t thread;

        ck_assert_int_eq(pthread_create(&thread, NULL, attach_and_die, &dead), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        (void)slot_reap_one(r, dead->no - 1, settled_without_its_lock, NULL);
}

/* ------------------------------------------------------------------ what is owned */

static void
magazine_fuller_than_it_can_be(void)
{
        uint32_t idx = placed_magazine(t);

        r->magazines[idx].n = r->magazines[idx].cap + 1;
        (void)drain_magazine(t, idx, 0);
}

static void
magazine_of_another_capacity(void)
{
        uint32_t idx = placed_magazine(t);

        r->magazines[idx].cap--;
        magazine_pick_up(t, magazine_current(t, tag_make(0, 3)), idx);
}

static void
slab_count_is_wrong(void)
{
        uint64_t head = free_slab(), found;
        uint32_t idx = placed_magazine(t);

        *run_word(r, head) = granule_with_count(*run_word(r, head), 1);
        ck_assert(slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 3), &found) && found == head);
        (void)slab_fill(t, head, idx, 4);
}

static void
slab_bit_behind_the_last_block(void)
{
        uint32_t class_idx = 0, idx;
        uint64_t head;

        while (size_class_slab_blocks(class_idx) % 64 == 0)
                class_idx++;
        ck_assert_int_eq(slab_create_owned(t, WHERE_SLAB(0, CHUNK_ANY, class_idx), &head), 0);
        *region_slab_word(r, head, size_class_slab_blocks(class_idx) / 64) |= UINT64_C(1) << 63;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, class_idx), &idx), 0);
        (void)slab_fill(t, head, idx, 1);
}

static void
slab_with_another_tag(void)
{
        uint64_t head = owned_slab(t), block_off;

        r->tags[head] = tag_make(0, 4);
        (void)slab_alloc_one(t, head, 0, &block_off);
}

static void
large_interior_is_not_its_own(void)
{
        uint64_t block_off = large_block(), head = block_off >> GEO_GRANULE_SHIFT;

        *run_word(r, head + 1) = granule_word(GRANULE_FREE, THREAD_NONE, 0);
        (void)large_resize(t, block_off, SIZE_CLASS_N - 1);
}

static void
large_block_of_another_tag(void)
{
        uint64_t block_off = large_block();

        r->tags[block_off >> GEO_GRANULE_SHIFT] = tag_make(0, 3);
        (void)large_resize(t, block_off, SIZE_CLASS_N - 1);
}

static void
huge_bytes_of_fewer_chunks(void)
{
        uint64_t block_off = huge_block();

        r->huge_bytes[block_off >> GEO_CHUNK_SHIFT] = GEO_CHUNK_BYTES;
        (void)huge_resize(t, block_off, 2 * GEO_CHUNK_BYTES);
}

static void
huge_tail_is_not_its_own(void)
{
        uint64_t block_off = huge_block(), chunk = block_off >> GEO_CHUNK_SHIFT;

        r->chunk_words[chunk + 1] = chunk_word(CHUNK_ARENA, THREAD_NONE, 0);
        (void)huge_resize(t, block_off, 2 * GEO_CHUNK_BYTES);
}

static void
freed_with_its_tag(void)
{
        uint64_t head = claimed_run(t);

        r->tags[head] = tag_make(0, 3);
        run_unclaim(t, head, 3);
}

static void
freed_in_a_chunk_of_another_arena(void)
{
        uint64_t head = claimed_run(t);

        granule_store(r, t->no, run_word(r, head), granule_word(GRANULE_NEW, t->no, 1));
        granule_release(r, t->no, run_word(r, head), granule_word(GRANULE_FREE, THREAD_NONE, 1));
}

static void
new_run_of_two_owners(void)
{
        uint64_t head = claimed_run(t);

        *run_word(r, head + 1) = granule_with_owner(*run_word(r, head + 1), u->no);
        run_unclaim(t, head, 3);
}

/* ------------------------------------------------------------------ the rest */

static void
more_is_dumped_than_there_can_be(void)
{
        r->is_dumped = true;
        r->dumped[SWEEP_CHUNKS] = r->layout.n_chunks + 1;
        (void)region_raise_chunks(r, region_chunks_hwm(r));
}

static int
end_the_sweep(const char *call)
{
        if (strcmp(call, "remove") == 0)
                r->header->sweep = 0;
        return 0;
}

static void
sweep_is_ended_by_another(void)
{
        heap_drop(&fx);
        memset(&fx, 0, sizeof fx);
        heap_make(&fx, (struct heap_params){.n_chunks = 1024, .has_file = true});
        t = heap_attach(&fx, 0);
        memset(&r->slabs[900 * GEO_GRANULES_PER_CHUNK], 1, sizeof r->slabs[0]); /* a page that nobody knows of */
        os_inject = end_the_sweep;
        (void)sweep_beyond_marks(t, r->fd, SWEEP_SOME_BYTES);
}

static void
thread_of_another_slot(void)
{
        uint64_t head;

        t->slot = u->slot;
        (void)slab_find_owned(t, WHERE_SLAB(0, CHUNK_ANY, 3), &head);
}

static void
thread_on_a_node_not_its_arenas(void)
{
        uint64_t block_off;

        t->node++;
        (void)huge_alloc(t, GEO_CHUNK_BYTES, 1, 0, 0, &block_off);
}

static void
dest_that_is_not_aligned(void)
{
        uint64_t head = owned_slab(t), block_off;

        (void)slab_alloc_one(t, head, r->layout.chunks_off + 4, &block_off);
}

static void
dest_outside_of_the_chunks(void)
{
        uint64_t head = owned_slab(t), block_off;

        (void)slab_alloc_one(t, head, r->layout.off[TABLE_GRANULES], &block_off);
}

static void
cache_that_shows_another_magazine(void)
{
        struct tcache *cache;
        int err;

        cache = tcache_get(&fx.heap, &err);
        /* The first goes past the magazines. */
        if (cache && ask_tcache(cache, 100) && ask_tcache(cache, 100)) {
                cache->free_at[tag_make(0, size_class_of(100))] += (int64_t)sizeof(struct magazine);
                (void)ask_tcache(cache, 100);
        }
}

static int
forget_the_object(void *p, size_t size, void *arg)
{
        (void)p, (void)size, (void)arg;
        t->gate->pending[0] = 0;
        return 0;
}

static void
root_object_that_nothing_names(void)
{
        uint64_t block_off;

        (void)root_find_or_create(t, "name", 100, 0, forget_the_object, NULL, NULL, &block_off);
}

/* ------------------------------------------------------------------ each is noticed */

struct violation {
        const char *invariant;
        void (*fn)(void);
};

#define VIOLATION(invariant, fn)                                                                                       \
        {                                                                                                              \
#invariant, fn                                                                                         \
        }

static const struct violation violations[] = {
        VIOLATION(I1, granule_new_of_nobody),
        VIOLATION(I1, granule_backed_without_pages),
        VIOLATION(I1, slab_with_more_than_all_blocks),
        VIOLATION(I2, chunk_of_an_arena_with_an_owner),
        VIOLATION(I3, magazine_in_a_depot_with_an_owner),
        VIOLATION(I4, candidate_over_two_chunks),
        VIOLATION(I5, store_to_what_another_owns),
        VIOLATION(I5, release_of_what_another_owns),
        VIOLATION(I5, magazine_of_another_is_let_go_of),
        VIOLATION(I6, taken_without_a_candidate),
        VIOLATION(I6, candidate_cleared_before_the_release),
        VIOLATION(I6, two_candidates),
        VIOLATION(I7, magazine_put_that_nothing_names),
        VIOLATION(I7, hand_emptied_of_what_is_owned),
        VIOLATION(I8, two_intents),
        VIOLATION(I8, intent_about_what_another_owns),
        VIOLATION(I8, fill_of_more_than_a_magazine_holds),
        VIOLATION(I9, call_with_a_candidate_left),
        VIOLATION(I9, slot_detached_with_an_intent),
        VIOLATION(I10, settler_has_lost_the_lock),
        VIOLATION(I11, magazine_fuller_than_it_can_be),
        VIOLATION(I11, magazine_of_another_capacity),
        VIOLATION(I12, slab_count_is_wrong),
        VIOLATION(I12, slab_bit_behind_the_last_block),
        VIOLATION(I12, slab_with_another_tag),
        VIOLATION(I13, large_interior_is_not_its_own),
        VIOLATION(I13, large_block_of_another_tag),
        VIOLATION(I14, huge_bytes_of_fewer_chunks),
        VIOLATION(I14, huge_tail_is_not_its_own),
        VIOLATION(I15, freed_with_its_tag),
        VIOLATION(I15, freed_in_a_chunk_of_another_arena),
        VIOLATION(I16, new_run_of_two_owners),
        VIOLATION(I17, more_is_dumped_than_there_can_be),
        VIOLATION(I18, sweep_is_ended_by_another),
        VIOLATION(I19, thread_of_another_slot),
        VIOLATION(I19, thread_on_a_node_not_its_arenas),
        VIOLATION(I20, dest_that_is_not_aligned),
        VIOLATION(I20, dest_outside_of_the_chunks),
        VIOLATION(I21, cache_that_shows_another_magazine),
        VIOLATION(I22, root_object_that_nothing_names),
};

enum { N_VIOLATIONS = sizeof violations / sizeof violations[0] };

/* What a child says of itself when it runs fn, and how it ends. */
static int
run_in_child(void (*fn)(void), char *text, size_t bytes)
{
        int pipe_fds[2], status;
        size_t n = 0;
        ssize_t got;
        pid_t pid;

        ck_assert_int_eq(pipe(pipe_fds), 0);
        pid = fork();
        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
                dup2(pipe_fds[1], STDERR_FILENO);
                fn();
                _exit(0);
        }
        close(pipe_fds[1]);
        while (n + 1 < bytes && (got = read(pipe_fds[0], text + n, bytes - 1 - n)) > 0)
                n += (size_t)got;
        text[n] = '\0';
        close(pipe_fds[0]);
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return status;
}

START_TEST(violation_is_caught_by_its_invariant)
{
        const struct violation *v = &violations[_i];
        char text[1024], expected[64];
        int status = run_in_child(v->fn, text, sizeof text);

        snprintf(expected, sizeof expected, "shmalloc: assertion failed: %s: ", v->invariant);
        ck_assert_msg(WIFSIGNALED(status) && WTERMSIG(status) == SIGABRT, "%s, number %d: status %#x, \"%s\"",
                      v->invariant, _i, status, text);
        ck_assert_msg(strncmp(text, expected, strlen(expected)) == 0, "%s, number %d: \"%s\"", v->invariant, _i, text);
}
END_TEST

/* Tests that damage a heap would learn nothing of how the library takes it. */
static void
damage_a_heap(void)
{
        verify_heap_is_damaged = true;
        magazine_fuller_than_it_can_be();
}

START_TEST(damaged_heap_is_not_believed)
{
        char text[1024];
        int status = run_in_child(damage_a_heap, text, sizeof text);

        ck_assert_msg(status == 0, "status %#x, \"%s\"", status, text);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("invariants");
        TCase *tc = tcase_create("violations");

        tcase_add_checked_fixture(tc, setup, teardown);
        tcase_add_loop_test(tc, violation_is_caught_by_its_invariant, 0, N_VIOLATIONS);
        tcase_add_test(tc, damaged_heap_is_not_believed);
        suite_add_tcase(suite, tc);
        return suite_run(suite);
}
