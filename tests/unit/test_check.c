/*
 * What is at stake: shheap_check() is what says whether a heap is whole, after deaths and in all tests.  If it misses
 * damage, blocks are lost or handed out twice and nobody knows; if it sees damage where there is none, nobody believes
 * it; if it crashes on what it is asked to look at, it is of no use to whoever needs it most.
 *
 * So: a heap with one of everything is good; each single thing changed in it by hand is found and named; whatever a
 * living owner may leave behind in the midst of an operation is no fault; and ten thousand times random words in all
 * tables change nothing but the verdict.  Each check runs with the tables write-protected and the chunks unmapped.
 */
#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "api/heap.h"
#include "base/bits.h"
#include "base/error.h"
#include "heap/check.h"
#include "heap/chunk.h"
#include "heap/drain.h"
#include "heap/huge.h"
#include "heap/large.h"
#include "heap/magazine.h"
#include "heap/root.h"
#include "heap/run.h"
#include "heap/slab.h"
#include "region/intent.h"
#include "region/slot.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *t, *u; /* of node 0 and node 1 */

/* What the rich heap has, for whoever wants to damage it. */
static struct {
        uint32_t cached;       /* magazine in t's current place of class 0, of several blocks */
        uint32_t spare;        /* empty, in t's spare place of class 0 */
        uint32_t depot;        /* magazine in the depot of arena 0, of class 1 */
        uint32_t cached_large; /* magazine in t's current place of the lowest large class, one block */
        uint32_t other;        /* magazine in u's current place of class 0, node 1 */
        uint32_t pooled;
        uint64_t slab;      /* of class 0 */
        uint64_t long_slab; /* of several granules */
        uint64_t large;     /* head of a live large run of several granules */
        uint64_t coloured;  /* head of a live large run whose block is not at its start */
        uint64_t free_granule;
        uint64_t huge; /* chunk of a huge block of three */
        uint64_t free_chunk;
        uint64_t live;    /* a live block of class 0 */
        uint64_t pending; /* a block that waits in t's slot */
        uint64_t object;  /* of root "a" */
        uint64_t n_live;
} rich;

static uint64_t live_off[64];
static uint32_t n_live;

static char report[64 << 10];

/* ------------------------------------------------------------------ asking */

static void
protect(int tables, int chunks)
{
        ck_assert_int_eq(mprotect(r->base, r->layout.chunks_off & ~UINT64_C(4095), tables), 0);
        ck_assert_int_eq(mprotect(r->chunks, r->layout.n_chunks << GEO_CHUNK_SHIFT, chunks), 0);
}

static int
ask_unprotected(unsigned flags, struct check_totals *ret_totals)
{
        FILE *f = fmemopen(report, sizeof report - 1, "w");
        int n;

        ck_assert_ptr_nonnull(f);
        report[0] = '\0';
        n = check_region(r, flags, f, ret_totals);
        fclose(f);
        return n;
}

/* The check reads the tables and never looks into a block. */
static int
ask(unsigned flags, struct check_totals *ret_totals)
{
        int n;

        protect(PROT_READ, PROT_NONE);
        n = ask_unprotected(flags, ret_totals);
        protect(PROT_READ | PROT_WRITE, PROT_READ | PROT_WRITE);
        return n;
}

static void
expect_good(unsigned flags)
{
        int n = ask(flags, NULL);

        ck_assert_msg(n == 0, "%s: %d faults in a heap that has none:\n%s", flags ? "at rest" : "running", n, report);
}

/* ------------------------------------------------------------------ the rich heap */

static void
keep(uint64_t block_off)
{
        ck_assert_uint_lt(n_live, sizeof live_off / sizeof live_off[0]);
        live_off[n_live++] = block_off;
}

static uint64_t
make_slab(struct thread *who, uint32_t class_idx)
{
        uint64_t head;

        if (!slab_find_owned(who, who->arena, class_idx, &head))
                ck_assert_int_eq(slab_create_owned(who, who->arena, class_idx, &head), 0);
        return head;
}

static uint64_t
make_small(struct thread *who, uint32_t class_idx)
{
        uint64_t block_off;

        ck_assert(slab_alloc_one(who, make_slab(who, class_idx), 0, &block_off));
        keep(block_off);
        return block_off;
}

static uint64_t
make_large(struct thread *who, uint32_t class_idx, uint64_t align)
{
        uint64_t block_off;

        ck_assert_int_eq(large_alloc(who, who->arena, class_idx, align, 0, &block_off), 0);
        return block_off;
}

static uint32_t
make_magazine(struct thread *who, uint32_t tag, uint32_t *place)
{
        uint32_t idx;

        ck_assert_int_eq(magazine_take_empty(who, tag, &idx), 0);
        magazine_place(who, place, idx);
        return idx;
}

static uint32_t
make_filled(struct thread *who, uint32_t class_idx, uint32_t n)
{
        uint32_t tag = tag_make(who->node, class_idx);
        uint32_t idx = make_magazine(who, tag, magazine_current(who, tag));

        ck_assert_uint_eq(slab_fill(who, make_slab(who, class_idx), idx, n), n);
        return idx;
}

static void
make_magazines(void)
{
        uint32_t large = SIZE_CLASS_N_SMALL, tag = tag_make(0, large);
        uint32_t *place;

        rich.cached = make_filled(t, 0, 3);
        rich.spare = make_magazine(t, tag_make(0, 0), magazine_spare(t, tag_make(0, 0)));
        rich.other = make_filled(u, 0, 2);
        rich.depot = make_filled(t, 1, 2);
        place = magazine_current(t, tag_make(0, 1));
        magazine_pick_up(t, place, rich.depot);
        ck_assert(magazine_put(t, rich.depot, 0, false));
        rich.cached_large = make_magazine(t, tag, magazine_current(t, tag));
        r->magazines[rich.cached_large].slot[0] = region_entry(r, make_large(t, large, 1));
        r->magazines[rich.cached_large].n = 1;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 2), &rich.pooled), 0);
        ck_assert(magazine_put(t, rich.pooled, 0, false));
}

static void
make_runs(void)
{
        uint64_t block_off;

        rich.live = make_small(t, 0);
        rich.slab = rich.live >> GEO_GRANULE_SHIFT;
        for (uint32_t class_idx = 1; class_idx < SIZE_CLASS_N_SMALL; class_idx += 3)
                keep(make_small(class_idx % 2 ? t : u, class_idx)), n_live--;
        rich.long_slab = make_small(t, class_with_granules(2)) >> GEO_GRANULE_SHIFT;
        rich.large = make_large(t, SIZE_CLASS_N - 4, GEO_PAGE_BYTES) >> GEO_GRANULE_SHIFT;
        keep(rich.large << GEO_GRANULE_SHIFT);
        do { /* the colour depends on the place: one in 64 has none */
                block_off = make_large(t, SIZE_CLASS_N_SMALL, 1);
                keep(block_off);
        } while (block_off % GEO_GRANULE_BYTES == 0);
        rich.coloured = block_off >> GEO_GRANULE_SHIFT;
        ck_assert_int_eq(huge_alloc(t, 2 * GEO_CHUNK_BYTES + 5 * GEO_PAGE_BYTES, 1, 0, 0, &block_off), 0);
        keep(block_off);
        rich.huge = block_off >> GEO_CHUNK_SHIFT;
        ck_assert_int_eq(huge_alloc(t, GEO_CHUNK_BYTES, 1, 1, 0, &block_off), 0);
        rich.free_chunk = block_off >> GEO_CHUNK_SHIFT;
        ck_assert_int_eq(huge_free(t, block_off, 0), 0);
}

static void
make_roots(void)
{
        uint64_t dest = (uint64_t)((char *)&t->slot->pending[0] - r->base);

        ck_assert_int_eq(root_find_or_create(t, "a", 40, 0, NULL, NULL, &rich.object), 0);
        keep(rich.object);
        ck_assert(slab_alloc_one(t, make_slab(t, 3), dest, &rich.pending));
}

static uint64_t
find_free_granule(void)
{
        for (uint64_t g = 0; g < region_granules_hwm(r); g++)
                if (granule_state(r->granules[g]) == GRANULE_FREE)
                        return g;
        ck_abort_msg("no granule is free");
}

static void
setup(void)
{
        n_live = 0;
        heap_make(&fx, (struct heap_params){.n_chunks = 8, .n_nodes = 2, .arenas_per_node = 2});
        t = heap_attach(&fx, 0);
        u = heap_attach(&fx, 2);
        ck_assert_int_eq(chunk_give(t, 0), 0);
        ck_assert_int_eq(chunk_give(u, 2), 0);
        make_runs();
        make_magazines();
        make_roots();
        rich.free_granule = find_free_granule();
        rich.n_live = n_live;
}

static void
teardown(void)
{
        heap_drop(&fx);
}

/* ------------------------------------------------------------------ a good heap */

START_TEST(rich_heap_is_good)
{
        expect_good(CHECK_QUIESCENT);
        expect_good(0);
        ck_assert_ptr_nonnull(strstr(report, "good: 0 faults"));
}
END_TEST

START_TEST(new_heap_is_good)
{
        struct check_totals totals;

        heap_drop(&fx);
        heap_make(&fx, (struct heap_params){.n_chunks = 8});
        ck_assert_int_eq(ask(CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(check_live_bytes(&totals), 0);
        ck_assert_uint_gt(totals.metadata_bytes, 0);
}
END_TEST

static uint64_t
sum_of(const struct check_totals *totals, size_t off)
{
        uint64_t n = 0;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                n += *(const uint64_t *)(const void *)((const char *)&totals->classes[class_idx] + off);
        return n;
}

#define SUM(totals, field) sum_of((totals), offsetof(struct check_class, field))

START_TEST(totals_are_exact)
{
        struct check_totals totals;

        ck_assert_int_eq(ask(CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(SUM(&totals, n_live) + totals.n_huge, rich.n_live);
        ck_assert_uint_eq(SUM(&totals, n_pending), 1);
        ck_assert_uint_eq(SUM(&totals, n_cached), 3 + 2 + 2 + 1);
        ck_assert_uint_eq(totals.classes[0].n_cached, 5);
        ck_assert_uint_eq(totals.classes[SIZE_CLASS_N_SMALL].n_cached, 1);
        ck_assert_uint_eq(totals.n_huge, 1);
        ck_assert_uint_eq(totals.huge_bytes, 2 * GEO_CHUNK_BYTES + 5 * GEO_PAGE_BYTES);
        ck_assert_uint_eq(totals.huge_span_bytes, 3 * GEO_CHUNK_BYTES);
        ck_assert_uint_eq(totals.n_chunks_huge, 3);
        ck_assert_uint_eq(totals.n_magazines_tcache, 4);
        ck_assert_uint_eq(totals.n_magazines_depot, 1);
        ck_assert_uint_eq(totals.n_threads, 2);
        ck_assert_uint_eq(totals.n_clients, 1);
        ck_assert_uint_eq(totals.n_roots, 1);
        ck_assert_uint_eq(totals.moving_bytes, 0);
        ck_assert_uint_eq(totals.unhinted_bytes, 0);
}
END_TEST

/* Every granule of an arena is free or in a run, and every block of a run in one place. */
START_TEST(totals_account_for_every_byte)
{
        struct check_totals totals, *by_arena = calloc(4, sizeof *by_arena);
        uint64_t granules = 0, chunks = 0;

        ck_assert_ptr_nonnull(by_arena);
        ck_assert_int_eq(check_region_by_arena(r, CHECK_QUIESCENT, NULL, &totals, by_arena), 0);
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++) {
                const struct check_class *c = &totals.classes[class_idx];

                granules += c->n_runs * size_class_table[class_idx].n_granules;
                ck_assert_uint_eq(c->n_runs * size_class_table[class_idx].n_blocks,
                                  c->n_live + c->n_cached + c->n_pending + c->n_free);
                for (uint32_t a = 0; a < 4; a++)
                        ck_assert_uint_eq(by_arena[a].classes[class_idx].n_runs * size_class_table[class_idx].n_blocks,
                                          by_arena[a].classes[class_idx].n_live +
                                                  by_arena[a].classes[class_idx].n_cached +
                                                  by_arena[a].classes[class_idx].n_pending +
                                                  by_arena[a].classes[class_idx].n_free);
        }
        ck_assert_uint_eq(totals.n_chunks_arena * GEO_CHUNK_BYTES,
                          granules * GEO_GRANULE_BYTES + totals.free_run_bytes);
        for (uint32_t a = 0; a < 4; a++)
                chunks += by_arena[a].n_chunks_arena;
        ck_assert_uint_eq(chunks, totals.n_chunks_arena);
        ck_assert_uint_eq(totals.n_chunks_arena + totals.n_chunks_free + totals.n_chunks_huge, region_chunks_hwm(r));
        free(by_arena);
}
END_TEST

/* ------------------------------------------------------------------ walking */

struct seen {
        uint64_t n, bytes, last_off, live_n;
        uint64_t n_by_where[16];
        uint64_t stop_at;
};

static int
see(const struct check_block *block, void *arg)
{
        struct seen *seen = arg;
        bool is_ours = false;

        ck_assert(seen->n == 0 || block->block_off > seen->last_off);
        seen->last_off = block->block_off;
        seen->n++;
        seen->bytes += block->bytes;
        seen->n_by_where[block->where]++;
        for (uint32_t i = 0; i < n_live; i++)
                is_ours |= live_off[i] == block->block_off;
        ck_assert_msg(is_ours == (block->where == CHECK_LIVE), "block %#" PRIx64 " is %d", block->block_off,
                      block->where);
        return seen->n == seen->stop_at ? 77 : 0;
}

START_TEST(walk_shows_each_block_where_it_is)
{
        struct seen live = {0}, all = {0};
        struct check_totals totals;

        ck_assert_int_eq(check_walk(r, CHECK_LIVE, see, &live), 0);
        ck_assert_uint_eq(live.n, rich.n_live);
        ck_assert_int_eq(check_walk(r, CHECK_LIVE | CHECK_CACHED | CHECK_FREE | CHECK_STRETCH, see, &all), 0);
        ck_assert_int_eq(ask(CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_eq(live.bytes, check_live_bytes(&totals));
        ck_assert_uint_eq(all.n_by_where[CHECK_LIVE], rich.n_live);
        ck_assert_uint_eq(all.n_by_where[CHECK_CACHED], SUM(&totals, n_cached) + SUM(&totals, n_pending));
        ck_assert_uint_eq(all.n_by_where[CHECK_FREE], SUM(&totals, n_free));
        ck_assert_uint_ge(all.n_by_where[CHECK_STRETCH], 3);
}
END_TEST

START_TEST(walk_ends_when_it_is_told)
{
        struct seen seen = {.stop_at = 3};

        ck_assert_int_eq(check_walk(r, CHECK_FREE, see, &seen), 77);
        ck_assert_uint_eq(seen.n, 3);
}
END_TEST

static int
ask_whether_allocated(const struct check_block *block, void *arg)
{
        (void)arg;
        ck_assert_int_eq(check_block_is_allocated(r, block->block_off), block->where == CHECK_LIVE);
        return 0;
}

START_TEST(allocated_is_what_is_nowhere_else)
{
        ck_assert_int_eq(check_walk(r, CHECK_LIVE | CHECK_CACHED | CHECK_STRETCH, ask_whether_allocated, NULL), 0);
        ck_assert(check_block_is_allocated(r, rich.live));
        ck_assert(!check_block_is_allocated(r, rich.live + 1));
        ck_assert(!check_block_is_allocated(r, rich.pending));
        ck_assert(!check_block_is_allocated(r, rich.coloured << GEO_GRANULE_SHIFT));
        ck_assert(!check_block_is_allocated(r, UINT64_MAX));
        ck_assert(!check_block_is_allocated(r, region_chunks_hwm(r) << GEO_CHUNK_SHIFT));
}
END_TEST

/* ------------------------------------------------------------------ the public functions */

static int
see_public(const struct shheap_block *block, void *arg)
{
        uint64_t *bytes = arg;

        ck_assert_uint_eq(block->size, sizeof *block);
        ck_assert_uint_ge(block->ref, r->layout.chunks_off);
        ck_assert(block->arena == UINT32_MAX || block->node == region_arena_node(r, block->arena));
        ck_assert_uint_lt(block->node, r->n_nodes);
        *bytes += block->usable;
        return 0;
}

START_TEST(public_functions_say_the_same)
{
        struct shheap h = {.process = fx.process};
        uint64_t live_bytes = 0, free_bytes = 0, all_bytes = 0;
        struct check_totals totals;

        ck_assert_int_eq(ask(CHECK_QUIESCENT, &totals), 0);
        ck_assert_int_eq(shheap_check(&h, SHHEAP_CHECK_QUIESCENT, NULL), 0);
        ck_assert_int_eq(shheap_check(&h, 0, NULL), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_LIVE, see_public, &live_bytes), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_FREE, see_public, &free_bytes), 0);
        ck_assert_int_eq(shheap_walk(&h, SHHEAP_WALK_LIVE | SHHEAP_WALK_FREE, see_public, &all_bytes), 0);
        ck_assert_uint_eq(live_bytes, check_live_bytes(&totals));
        ck_assert_uint_eq(all_bytes, live_bytes + free_bytes);
        r->tags[rich.slab]++;
        ck_assert_int_eq(shheap_check(&h, SHHEAP_CHECK_QUIESCENT, NULL), 1);
}
END_TEST

START_TEST(public_functions_refuse_what_they_do_not_know)
{
        struct shheap h = {.process = fx.process};

        ck_assert_int_eq(shheap_check(&h, 2, NULL), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "SHHEAP_CHECK_QUIESCENT"));
        ck_assert_int_eq(shheap_walk(&h, 2, see_public, NULL), -EINVAL);
        ck_assert_ptr_nonnull(strstr(error_message(), "LIVE and FREE"));
}
END_TEST

/* ------------------------------------------------------------------ one thing damaged */

#define GRANULE(g)    (r->granules[g])
#define MAGAZINE(idx) (r->magazines[idx])
#define TAG0          tag_make(0, 0)

static void
granule_change(uint64_t g, uint64_t word)
{
        ck_assert_uint_ne(GRANULE(g), word);
        GRANULE(g) = word;
}

static void
magazine_change(uint32_t idx, uint64_t word)
{
        ck_assert_uint_ne(r->magazine_words[idx], word);
        r->magazine_words[idx] = word;
}

static uint32_t
block_of(uint64_t block_off)
{
        return size_class_block_index(granule_class(GRANULE(rich.slab)), block_off - (rich.slab << GEO_GRANULE_SHIFT));
}

static void
bit_flip(uint64_t head, uint32_t block_idx)
{
        r->slabs[head].word[block_idx / 64] ^= UINT64_C(1) << block_idx % 64;
}

static void
make_free_and_cached(void)
{
        uint64_t off = region_entry_off(r, MAGAZINE(rich.cached).slot[1]);

        bit_flip(rich.slab, block_of(off));
        GRANULE(rich.slab) = granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) + 1);
}

static void
make_bit_behind_the_last(void)
{
        uint32_t n_blocks = size_class_slab_blocks(granule_class(GRANULE(rich.long_slab)));

        ck_assert_uint_ne(n_blocks % 64, 0);
        bit_flip(rich.long_slab, n_blocks);
}

static void
make_in_two_magazines(void)
{
        MAGAZINE(rich.spare).slot[0] = MAGAZINE(rich.cached).slot[2];
        MAGAZINE(rich.spare).n = 1;
}

static void
make_root_object_cached(void)
{
        uint64_t off = region_entry_off(r, MAGAZINE(rich.cached).slot[0]);

        r->roots[0].object = (r->roots[0].object & 7) | off / 16 << 27;
}

static void
make_two_roots(void)
{
        uint64_t block_off;

        ck_assert_int_eq(root_find_or_create(t, "b", 40, 0, NULL, NULL, &block_off), 0);
        r->roots[1].object = r->roots[0].object;
}

/* A slot that exists and that nobody uses: of thread 3. */
static struct thread_slot *
make_empty_slot(void)
{
        struct thread *third = heap_attach(&fx, 0);
        struct thread_slot *slot = third->slot;

        ck_assert_uint_eq(third->no, 3);
        slot_release(third);
        return slot;
}

/* A head so close to the end of its chunk that its run would leave it. */
static void
make_run_that_leaves(enum granule_state state, uint32_t class_idx)
{
        uint64_t g = GEO_GRANULES_PER_CHUNK - 1, word = granule_word(state, 0, 0) | (GRANULE(g) & GRANULE_BACKING);

        ck_assert_int_eq(granule_state(GRANULE(g)), GRANULE_FREE);
        GRANULE(g) = granule_with_class(granule_with_count(word, size_class_table[class_idx].n_granules), class_idx);
}

#define BOTH 0
#define REST CHECK_QUIESCENT /* only when nobody is running: else it might be work in progress */

/* Damages are numbered as they stand here; the one that is wanted is done. */
struct damage {
        int wanted, n;
        unsigned when;
        const char *says; /* by which the check names it */
};

#define DAMAGE(d, when_found, text, ...)                                                                               \
        do {                                                                                                           \
                if ((d)->n++ == (d)->wanted) {                                                                         \
                        (d)->when = (when_found);                                                                      \
                        (d)->says = (text);                                                                            \
                        __VA_ARGS__;                                                                                   \
                }                                                                                                      \
        } while (0)

static void
damage_granules(struct damage *d)
{
        DAMAGE(d, BOTH, "free blocks by its word", bit_flip(rich.slab, block_of(rich.live)));
        DAMAGE(d, BOTH, "is cached here and free in its slab", make_free_and_cached());
        DAMAGE(d, BOTH, "free bit", make_bit_behind_the_last());
        DAMAGE(d, BOTH, "free blocks by its word",
               granule_change(rich.slab,
                              granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) + 1)));
        DAMAGE(d, BOTH, "free blocks by its word",
               granule_change(rich.slab,
                              granule_with_count(GRANULE(rich.slab), granule_count(GRANULE(rich.slab)) - 1)));
        DAMAGE(d, BOTH, "its tag is 1, not 5", granule_change(rich.slab, granule_with_class(GRANULE(rich.slab), 4)));
        DAMAGE(d, BOTH, "a slab of class 63", granule_change(rich.slab, granule_with_class(GRANULE(rich.slab), 63)));
        DAMAGE(d, BOTH, "fields that a slab has not", granule_change(rich.slab, GRANULE(rich.slab) | GRANULE_DOOMED));
        DAMAGE(d, BOTH, "is owned by thread 3, whose slot does not exist",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 3)));
        DAMAGE(d, BOTH, "is owned by thread 3, whose slot is empty", make_empty_slot();
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 3)));
        DAMAGE(d, REST, "is owned by thread 1 although nobody is running",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 1)));
        DAMAGE(d, BOTH, "its 2 granules leave the chunk", make_run_that_leaves(GRANULE_SLAB, class_with_granules(2)));
        DAMAGE(d, BOTH, "its 32 granules leave the chunk", make_run_that_leaves(GRANULE_LARGE, SIZE_CLASS_N - 1));
        DAMAGE(d, BOTH, "its head would be 0 granules before it",
               granule_change(rich.free_granule, granule_word(GRANULE_CONT, 0, 0)));
        DAMAGE(d, BOTH, "is owned by thread 60000, whose slot does not exist",
               granule_change(rich.slab, granule_with_owner(GRANULE(rich.slab), 60000)));
        DAMAGE(d, BOTH, "in a chunk of arena 0", granule_change(rich.slab, GRANULE(rich.slab) ^ WORD_PUT(1, 20)));
        DAMAGE(d, BOTH, "lies in a free granule",
               granule_change(rich.slab, granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.slab) & GRANULE_BACKING)));
        DAMAGE(d, BOTH, "backed for 15 sixteenths, and its block needs 16",
               granule_change(rich.slab, granule_with_backed(GRANULE(rich.slab), 15)));
        DAMAGE(d, BOTH, "may have no pages", granule_change(rich.slab, GRANULE(rich.slab) & ~GRANULE_MAY_HAVE));
        DAMAGE(d, BOTH, "17 sixteenths of it are backed",
               granule_change(rich.slab, granule_with_backed(GRANULE(rich.slab), 17)));
        DAMAGE(d, BOTH, "its tag is 2, not 1", r->tags[rich.slab]++);
        DAMAGE(d, BOTH, "its tag is 0, not", r->tags[rich.long_slab + 1] = 0);
        DAMAGE(d, BOTH, "and it says distance 2",
               granule_change(rich.long_slab + 1, granule_with_count(GRANULE(rich.long_slab + 1), 2)));
        DAMAGE(d, BOTH, "inside a run, with fields of its own",
               granule_change(rich.long_slab + 1, granule_with_owner(GRANULE(rich.long_slab + 1), 1)));
        DAMAGE(d, BOTH, "behind its head",
               granule_change(rich.long_slab + 1,
                              granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.long_slab + 1) & GRANULE_BACKING)));
        DAMAGE(d, BOTH, "its head would be granule",
               granule_change(rich.large, granule_word(GRANULE_FREE, 0, 0) | (GRANULE(rich.large) & GRANULE_BACKING));
               r->tags[rich.large] = 0);
        DAMAGE(d, BOTH, "a large run of class",
               granule_change(rich.large,
                              granule_with_count(GRANULE(rich.large), granule_count(GRANULE(rich.large)) - 1)));
        DAMAGE(d, BOTH, "not 0", r->tags[rich.large + 1] = tag_make(0, SIZE_CLASS_N - 4));
        DAMAGE(d, BOTH, "its tag is 0, not", r->tags[rich.coloured] = 0);
        DAMAGE(d, BOTH, "doomed, and nobody is there",
               granule_change(rich.large, GRANULE(rich.large) | GRANULE_DOOMED));
        DAMAGE(d, BOTH, "its block starts at",
               granule_change(rich.coloured, granule_with_stamp(GRANULE(rich.coloured), 200)));
        DAMAGE(d, BOTH, "and its block needs",
               granule_change(rich.coloured, granule_with_backed(GRANULE(rich.coloured), 3)));
        DAMAGE(d, BOTH, "(free, arena 0): its tag is 1", r->tags[rich.free_granule] = tag_make(0, 0));
        DAMAGE(d, BOTH, "fields that a free granule has not",
               granule_change(rich.free_granule, granule_with_count(GRANULE(rich.free_granule), 1)));
        DAMAGE(d, BOTH, "fields that a free granule has not",
               granule_change(rich.free_granule, granule_with_owner(GRANULE(rich.free_granule), 1)));
        DAMAGE(d, BOTH, "state 0 in a chunk of an arena", granule_change(rich.free_granule, 0));
        DAMAGE(d, BOTH, "it belongs to nobody",
               granule_change(rich.free_granule, granule_with_state(GRANULE(rich.free_granule), GRANULE_NEW)));
        DAMAGE(d, BOTH, "state 9 in a chunk of an arena",
               granule_change(rich.free_granule, GRANULE(rich.free_granule) | 8));
        DAMAGE(d, BOTH, "in a chunk of no arena",
               granule_change(rich.free_chunk * GEO_GRANULES_PER_CHUNK, granule_word(GRANULE_FREE, 0, 0)));
        DAMAGE(d, BOTH, "its tag is 1 in a chunk of no arena", r->tags[rich.free_chunk * GEO_GRANULES_PER_CHUNK] = 1);
}

static void
damage_chunks(struct damage *d)
{
        DAMAGE(d, BOTH, "state 7", r->chunk_words[rich.free_chunk] |= 7);
        DAMAGE(d, BOTH, "is owned by thread 5, whose slot does not exist",
               r->chunk_words[rich.free_chunk] = chunk_with_owner(r->chunk_words[rich.free_chunk], 5));
        DAMAGE(d, BOTH, "no word of a chunk", r->chunk_words[rich.free_chunk] |= UINT64_C(1) << 62);
        DAMAGE(d, BOTH, "(free): fields that it has not",
               r->chunk_words[rich.free_chunk] = chunk_with_count(r->chunk_words[rich.free_chunk], 1));
        DAMAGE(d, BOTH, "and it belongs to nobody",
               r->chunk_words[rich.free_chunk] = chunk_with_state(r->chunk_words[rich.free_chunk], CHUNK_NEW));
        DAMAGE(d, BOTH, "given to arena 1, which is not ready", r->chunk_words[0] ^= WORD_PUT(1, 19));
        DAMAGE(d, BOTH, "chunk 0 of arena 0: owner 0, count 0, node 2",
               r->chunk_words[0] = chunk_with_node1(r->chunk_words[0], 2));
        DAMAGE(d, BOTH, "its head would be chunk",
               r->chunk_words[rich.huge] = chunk_with_count(r->chunk_words[rich.huge], 2));
        DAMAGE(d, BOTH, "a huge block of 8388608 chunks",
               r->chunk_words[rich.huge] = chunk_with_count(r->chunk_words[rich.huge], 1 << 23));
        DAMAGE(d, BOTH, "behind the head of a huge block of 3",
               r->chunk_words[rich.huge + 1] = chunk_with_count(r->chunk_words[rich.huge + 1], 2));
        DAMAGE(d, BOTH, "behind the head of a huge block of 3",
               r->chunk_words[rich.huge + 2] = chunk_word(CHUNK_FREE, 0, 0));
        DAMAGE(d, BOTH, "its head would be chunk", r->chunk_words[rich.huge] = chunk_word(CHUNK_FREE, 0, 0));
        DAMAGE(d, BOTH, "its head would be 0 chunks before it",
               r->chunk_words[rich.huge + 1] = chunk_with_count(r->chunk_words[rich.huge + 1], 0));
        DAMAGE(d, BOTH, "(inside a huge block): fields of its own",
               r->chunk_words[rich.huge + 1] = chunk_with_owner(r->chunk_words[rich.huge + 1], 1));
        DAMAGE(d, BOTH, "usable bytes", r->huge_bytes[rich.huge] = GEO_CHUNK_BYTES);
        DAMAGE(d, BOTH, "usable bytes", r->huge_bytes[rich.huge]++);
        DAMAGE(d, BOTH, "(huge): fields that it has not", r->chunk_words[rich.huge] |= CHUNK_DOOMED);
        DAMAGE(d, BOTH, "backed for 0 sixteenths, and its block needs 16",
               uint64_t g = (rich.huge + 1) * GEO_GRANULES_PER_CHUNK + 1;
               granule_change(g, granule_with_backed(GRANULE(g), 0)));
}

static void
damage_magazines(struct damage *d)
{
        DAMAGE(d, BOTH, "is also in magazine", MAGAZINE(rich.cached).slot[2] = MAGAZINE(rich.cached).slot[0]);
        DAMAGE(d, BOTH, "is also in magazine", make_in_two_magazines());
        DAMAGE(d, BOTH, "is not the start of a block of its slab", MAGAZINE(rich.cached).slot[1] += 8);
        DAMAGE(d, BOTH, "in a magazine for tag 1", MAGAZINE(rich.cached).slot[1] = MAGAZINE(rich.depot).slot[0]);
        DAMAGE(d, BOTH, "in a magazine for tag 1", MAGAZINE(rich.cached).slot[1] = MAGAZINE(rich.other).slot[0]);
        DAMAGE(d, BOTH, "lies beyond the chunks in use", MAGAZINE(rich.cached).slot[1] = 0);
        DAMAGE(d, BOTH, "lies in a free granule",
               MAGAZINE(rich.cached).slot[1] = region_entry(r, rich.free_granule << GEO_GRANULE_SHIFT));
        DAMAGE(d, BOTH, "is not the start of its large block", MAGAZINE(rich.cached_large).slot[0] ^= 64);
        DAMAGE(d, BOTH, "is also a root under construction by thread 1",
               t->slot->pending[0] = r->layout.chunks_off + region_entry_off(r, MAGAZINE(rich.depot).slot[0]));
        DAMAGE(d, BOTH, "entries, and it has room for", MAGAZINE(rich.cached).n = MAGAZINE(rich.cached).cap + 1);
        DAMAGE(d, BOTH, "entries, and it has room for", MAGAZINE(rich.cached).n = UINT64_MAX);
        DAMAGE(d, BOTH, "room for 1099511627776 blocks", MAGAZINE(rich.cached).cap = UINT64_C(1) << 40);
        DAMAGE(d, BOTH, "room for", MAGAZINE(rich.cached).cap--);
        DAMAGE(d, BOTH, "(pool): 1 entries", MAGAZINE(rich.pooled).n = 1);
        DAMAGE(d, BOTH, "(pool): fields that it has not",
               magazine_change(rich.pooled, magazine_word(MAGAZINE_POOL, 0, 0, 5)));
        DAMAGE(d, BOTH, "empty in the depot of arena 0", MAGAZINE(rich.depot).n = 0);
        DAMAGE(d, BOTH, "in the depot of arena 0, and owned by thread 1",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 1, 0, tag_make(0, 1))));
        DAMAGE(d, BOTH, "of arena 2, for blocks of node 0",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 2, tag_make(0, 1))));
        DAMAGE(d, BOTH, "of arena 1, for blocks of node 0",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 1, tag_make(0, 1))));
        DAMAGE(d, BOTH, "in a magazine for tag 1",
               magazine_change(rich.depot, magazine_word(MAGAZINE_DEPOT, 0, 0, tag_make(0, 0))));
        DAMAGE(d, BOTH, "for tag 65535, which has none",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, t->no, 0, 0xffff)));
        DAMAGE(d, BOTH, "for tag 0, which has none",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, t->no, 0, 0)));
        DAMAGE(d, BOTH, "no word of a magazine", r->magazine_words[rich.pooled] |= 3);
        DAMAGE(d, BOTH, "owned by thread 3, whose slot does not exist",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, 3, 0, TAG0)));
        DAMAGE(d, BOTH, "owned by thread 2, and none of its places names it",
               magazine_change(rich.cached, magazine_word(MAGAZINE_TCACHE, u->no, 0, TAG0)));
        DAMAGE(d, BOTH, "owned by thread 1, and none of its places names it", *magazine_spare(t, TAG0) = 0);
        DAMAGE(d, REST, "in 2 places of thread 1", r->magazine_words[rich.spare] = 0;
               *magazine_spare(t, TAG0) = rich.cached + 1);
}

static void
damage_slots(struct damage *d)
{
        DAMAGE(d, BOTH, "names magazine 2147483646, which does not exist",
               *magazine_spare(t, tag_make(0, 5)) = 0x7fffffff);
        DAMAGE(d, REST, "which is not its own", *magazine_current(t, tag_make(1, 0)) = rich.other + 1);
        DAMAGE(d, BOTH, "which is for tag 1", *magazine_current(t, tag_make(0, 5)) = rich.cached + 1);
        DAMAGE(d, REST, "in its hand although nobody is running", t->slot->hand = rich.pooled + 1);
        DAMAGE(d, REST, "intent 1 stands although nobody is running", t->slot->intent.kind = INTENT_FILL);
        DAMAGE(d, BOTH, "an intent of kind 77", t->slot->intent.kind = 77);
        DAMAGE(d, REST, "stands although nobody is running", t->slot->candidate = candidate_make(CANDIDATE_RUN, 3, 1));
        DAMAGE(d, BOTH, "a candidate of kind 15", t->slot->candidate = 15);
        DAMAGE(d, BOTH, "its slot has state 2", t->slot->state = 2);
        DAMAGE(d, BOTH, "owned by thread 1, whose slot is empty", t->slot->state = 0);
        DAMAGE(d, BOTH, "of client 70000, which does not exist", t->slot->client_idx = 70000);
        DAMAGE(d, BOTH, "bound to arena 900", r->bindings[t->no - 1] = BINDING_ARENA(900));
        DAMAGE(d, BOTH, "its binding 0 says empty", r->bindings[t->no - 1] = 0);
        DAMAGE(d, REST, "its slot is empty, and its binding 0x40000001 says in use", make_empty_slot();
               r->bindings[2] = BINDING_ARENA(0));
        DAMAGE(d, BOTH, "its slot is empty, and a place names magazine 8", make_empty_slot()->magazines[1] = 9);
        DAMAGE(d, BOTH, "bound, and its slot does not exist", r->bindings[7] = BINDING_USED);
        DAMAGE(d, BOTH, "client 0: state 3", r->clients[0].word |= 3);
        DAMAGE(d, BOTH, "pending for a root, is not the start of a block",
               t->slot->pending[1] = r->layout.chunks_off + 8);
        DAMAGE(d, BOTH, "pending for a root, lies in a free granule",
               t->slot->pending[1] = r->layout.chunks_off + (rich.free_granule << GEO_GRANULE_SHIFT));
        DAMAGE(d, BOTH, "is pending for one of thread 1, too", t->slot->pending[1] = t->slot->pending[0]);
        DAMAGE(d, REST, "a root is being made or removed", t->slot->pending[1] = 1);
}

static void
damage_roots(struct damage *d)
{
        DAMAGE(d, BOTH, "new, and it belongs to nobody", r->roots[0].word = ROOT_NEW);
        DAMAGE(d, BOTH, "free, and it has an object", r->roots[0].word = 0; r->header->roots_head = 0);
        DAMAGE(d, BOTH, "in the chain, and not linked by its word", r->roots[0].word = ROOT_FREE);
        DAMAGE(d, BOTH, "is pending in thread 1, too", t->slot->pending[1] = r->layout.chunks_off + rich.object);
        DAMAGE(d, BOTH, "no word of a record", r->roots[0].word |= WORD_PUT(2, 4));
        DAMAGE(d, BOTH, "linked without a name", memset(r->roots[0].name, 'x', sizeof r->roots[0].name));
        DAMAGE(d, BOTH, "linked by its word, and not in the chain", r->header->roots_head = 0);
        DAMAGE(d, BOTH, "the chain leads to record 3999", r->header->roots_head = 4000);
        DAMAGE(d, BOTH, "the chain comes back to record 0", r->roots[0].next = 1);
        DAMAGE(d, BOTH, "its object, block", r->roots[0].object += UINT64_C(1) << 32);
        DAMAGE(d, REST, "its object is being changed although nobody is running", r->roots[0].object ^= 3);
        DAMAGE(d, BOTH, ", is in magazine", make_root_object_cached());
        DAMAGE(d, REST, "is another root's, too", make_two_roots());
}

static void
damage_header(struct damage *d)
{
        DAMAGE(d, BOTH, "the magic number is gone", r->header->magic++);
        DAMAGE(d, BOTH, "not the layout of this library", r->header->version++);
        DAMAGE(d, BOTH, "not the layout of this library", r->header->hash++);
        DAMAGE(d, BOTH, "region_bytes is", r->header->region_bytes++);
        DAMAGE(d, BOTH, "the base address has changed", r->header->base_addr += 4096);
        DAMAGE(d, BOTH, "the parameters have changed", r->header->params.n_nodes = 1);
        DAMAGE(d, BOTH, "the parameters have changed", r->header->params.max_threads = 0);
        DAMAGE(d, BOTH, "chunks_hwm is 18446744073709551615", r->header->chunks_hwm = UINT64_MAX);
        DAMAGE(d, BOTH, "and the capacity 1", r->header->capacity_chunks = 1);
        DAMAGE(d, BOTH, "capacity_chunks is 1000", r->header->capacity_chunks = 1000);
        DAMAGE(d, BOTH, "threads_hwm is", r->header->threads_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "clients_hwm is", r->header->clients_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "roots_hwm is", r->header->roots_hwm = UINT32_MAX);
        DAMAGE(d, BOTH, "magazines_hwm is", r->header->magazines_hwm[0] = UINT32_MAX);
        DAMAGE(d, BOTH, "magazines_hwm is 1, and the table ends at 0", r->header->magazines_hwm[9] = 1);
        DAMAGE(d, BOTH, "arena 1: its word is 7", r->arena_words[1] = 7);
        DAMAGE(d, BOTH, "which is not ready", r->arena_words[0] = 0);
}

/* Does damage `wanted`; how many there are. */
static int
damage(int wanted, struct damage *d)
{
        *d = (struct damage){.wanted = wanted};
        damage_granules(d);
        damage_chunks(d);
        damage_magazines(d);
        damage_slots(d);
        damage_roots(d);
        damage_header(d);
        return d->n;
}

START_TEST(damage_is_found_and_named)
{
        struct damage d;
        int n;

        damage(_i, &d);
        n = ask(CHECK_QUIESCENT, NULL);
        ck_assert_msg(n > 0, "damage %d: \"%s\" is not found", _i, d.says);
        ck_assert_msg(strstr(report, d.says) != NULL, "damage %d is not named \"%s\", but:\n%s", _i, d.says, report);
        n = ask(0, NULL);
        if (d.when == BOTH)
                ck_assert_msg(n > 0 && strstr(report, d.says) != NULL,
                              "damage %d is not named \"%s\" while running, but:\n%s", _i, d.says, report);
        else
                ck_assert_msg(n == 0, "damage %d is work in progress, and not:\n%s", _i, report);
}
END_TEST

/* ------------------------------------------------------------------ work in progress */

/* States in which a living owner may be stopped: no fault, but at rest each is one. */
static void
expect_in_progress(const char *what)
{
        int n = ask(0, NULL);

        ck_assert_msg(n == 0, "%s is no damage while its owner lives:\n%s", what, report);
        n = ask(CHECK_QUIESCENT, NULL);
        ck_assert_msg(n > 0, "%s is not seen at rest", what);
}

START_TEST(claimed_run_is_work_in_progress)
{
        uint64_t head;

        ck_assert_int_eq(run_claim(t, 0, 3, 1, &head), 0);
        expect_in_progress("a run of NEW granules");
        for (uint32_t i = 1; i < 3; i++)
                GRANULE(head + i) =
                        granule_with_count(granule_word(GRANULE_CONT, 0, 0) | (GRANULE(head + i) & GRANULE_BACKING), i);
        r->tags[head] = 5;
        expect_in_progress("a run whose interior is stored and its head not");
        GRANULE(head) = granule_with_count(granule_with_state(GRANULE(head), GRANULE_FREEING), 3);
        GRANULE(head + 1) = run_free_word(GRANULE(head + 1), 0);
        expect_in_progress("a run that is freed by half");
        run_settle(r, t->no, head, 3);
        t->slot->candidate = 0;
        expect_good(CHECK_QUIESCENT);
}
END_TEST

START_TEST(owned_slab_is_work_in_progress)
{
        struct magazine *m = &MAGAZINE(rich.cached);
        uint64_t off = region_entry_off(r, m->slot[m->n - 1]);

        t->slot->candidate = candidate_make(CANDIDATE_RUN, rich.slab, 1);
        GRANULE(rich.slab) = granule_with_owner(GRANULE(rich.slab), t->no);
        expect_in_progress("an owned slab");
        t->slot->intent =
                (struct intent){.slab = rich.slab, .magazine = rich.cached, .n = m->n - 1, .kind = INTENT_DRAIN};
        bit_flip(rich.slab, block_of(off));
        expect_in_progress("a drain before its commit");
        m->n--;
        expect_in_progress("a drain after its commit");
}
END_TEST

START_TEST(magazines_on_their_way_are_work_in_progress)
{
        uint32_t *current = magazine_current(t, TAG0), *spare = magazine_spare(t, TAG0), idx;

        t->slot->hand = rich.cached + 1;
        expect_in_progress("a magazine that the hand and a place name");
        *current = rich.spare + 1;
        expect_in_progress("two places that name one magazine, and the hand the other");
        *current = rich.cached + 1;
        *spare = rich.spare + 1;
        ck_assert_int_eq(magazine_take_empty(t, tag_make(0, 7), &idx), 0);
        MAGAZINE(idx).cap = MAGAZINE_CAP_MAX;
        expect_in_progress("a magazine that has just been taken from the pool");
}
END_TEST

START_TEST(swapped_entries_are_work_in_progress)
{
        struct magazine *m = &MAGAZINE(rich.cached);

        t->slot->intent = (struct intent){
                .magazine = rich.cached, .i = 0, .j = 2, .a = m->slot[0], .b = m->slot[2], .kind = INTENT_SWAP};
        m->slot[0] = m->slot[2];
        expect_in_progress("one of two stores of a swap");
        t->slot->intent.magazine = rich.depot;
        ck_assert_int_gt(ask(0, NULL), 0);
}
END_TEST

START_TEST(resized_run_is_work_in_progress)
{
        uint32_t n = granule_count(GRANULE(rich.large));

        GRANULE(rich.large) = granule_with_owner(GRANULE(rich.large), t->no) | GRANULE_DOOMED;
        expect_in_progress("an owned run that is doomed");
        GRANULE(rich.large + n) =
                granule_with_count(granule_word(GRANULE_CONT, 0, 0) | (GRANULE(rich.large + n) & GRANULE_BACKING), n);
        r->tags[rich.large] = 77;
        expect_in_progress("a run that is about to be longer");
}
END_TEST

START_TEST(chunks_on_their_way_are_work_in_progress)
{
        uint64_t first = rich.free_chunk * GEO_GRANULES_PER_CHUNK, *word = &r->chunk_words[rich.free_chunk];

        *word = chunk_with_owner(chunk_with_state(*word, CHUNK_NEW), t->no);
        GRANULE(first + 3) = granule_word(GRANULE_NEW, t->no, 0) | (GRANULE(first + 3) & GRANULE_BACKING);
        expect_in_progress("a chunk on its way to an arena");
        *word = chunk_with_node1(chunk_word(CHUNK_ARENA, 0, 0), 1);
        for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK; i++)
                GRANULE(first + i) = granule_word(GRANULE_NEW, t->no, 0) | (GRANULE(first + i) & GRANULE_BACKING);
        expect_in_progress("a chunk whose granules are not free yet");
        *word = chunk_with_node1(chunk_word(CHUNK_FREEING, t->no, 0), 1);
        GRANULE(first) &= GRANULE_BACKING;
        expect_in_progress("a chunk on its way back");
        GRANULE(first + 1) = granule_with_owner(GRANULE(first + 1), u->no);
        ck_assert_int_gt(ask(0, NULL), 0);
}
END_TEST

START_TEST(huge_block_being_freed_is_work_in_progress)
{
        uint64_t *word = &r->chunk_words[rich.huge];

        *word = chunk_with_owner(*word, t->no);
        expect_in_progress("an owned huge block");
        *word = chunk_with_owner(chunk_with_state(*word, CHUNK_FREEING), t->no);
        expect_in_progress("a huge block that nothing has been freed of");
        r->chunk_words[rich.huge + 1] = chunk_word(CHUNK_FREE, 0, 0);
        expect_in_progress("a huge block that has been freed by half");
        *word = chunk_with_owner(*word, 7);
        ck_assert_int_gt(ask(0, NULL), 0);
}
END_TEST

/* ------------------------------------------------------------------ bounds */

START_TEST(report_is_bounded)
{
        uint32_t n_lines = 0;
        int n;

        for (uint64_t g = 0; g < region_granules_hwm(r); g++)
                r->tags[g] = 999;
        n = ask(CHECK_QUIESCENT, NULL);
        ck_assert_int_gt(n, CHECK_LINES_MAX);
        for (const char *at = report; (at = strstr(at, "fault: ")) != NULL; at++)
                n_lines++;
        ck_assert_uint_eq(n_lines, CHECK_LINES_MAX);
        ck_assert_ptr_nonnull(strstr(report, "more faults"));
        ck_assert_ptr_nonnull(strstr(report, "damaged: "));
}
END_TEST

/* The other place of a block is looked for, but not for ever. */
START_TEST(blocks_in_thousands_of_places_are_reported_in_time)
{
        enum { N_MAGAZINES = 64 };
        uint32_t cap = size_class_magazine_cap(0), first = region_magazines_hwm(r, 0);

        for (uint32_t idx = first; idx < first + N_MAGAZINES; idx++) {
                ck_assert_int_eq(region_raise_magazines(r, 0, idx), 0);
                r->magazine_words[idx] = magazine_word(MAGAZINE_DEPOT, 0, 0, TAG0);
                MAGAZINE(idx).n = MAGAZINE(idx).cap = cap;
                for (uint32_t i = 0; i < cap; i++)
                        MAGAZINE(idx).slot[i] = region_entry(r, rich.live);
        }
        ck_assert_int_eq(ask(CHECK_QUIESCENT, NULL), (int)(N_MAGAZINES * cap - 1));
        ck_assert_int_gt(ask(0, NULL), 0);
}
END_TEST

/* A walk over everything the hints are for: without them memory is found by the clock hands only. */
START_TEST(lost_hints_are_no_faults_and_counted)
{
        struct check_totals totals;

        heap_scramble_hints(r, false);
        ck_assert_int_eq(ask(CHECK_QUIESCENT, &totals), 0);
        ck_assert_uint_ge(totals.unhinted_bytes, totals.free_run_bytes + totals.n_chunks_free * GEO_CHUNK_BYTES);
        heap_scramble_hints(r, true);
        ck_assert_int_eq(ask(CHECK_QUIESCENT, NULL), 0);
}
END_TEST

/* ------------------------------------------------------------------ hostile regions */

enum { FUZZ_ROUNDS = 10000, FUZZ_WORDS_MAX = 24 };

static uint64_t
random_next(uint64_t *state)
{
        *state ^= *state << 13;
        *state ^= *state >> 7;
        *state ^= *state << 17;
        return *state;
}

/* Tables and how much of them there is below the marks, since that is where the check looks. */
static struct {
        uint64_t off, bytes;
} tables[TABLE_N + 1];

static void
find_tables(void)
{
        for (int table = 0; table < TABLE_N; table++) {
                uint64_t n = r->layout.n[table], chunks = region_chunks_hwm(r);

                if (table == TABLE_CLIENTS)
                        n = region_clients_hwm(r);
                if (table == TABLE_THREADS)
                        n = region_threads_hwm(r) + 1;
                if (table == TABLE_ROOTS)
                        n = region_roots_hwm(r) + 1;
                if (table == TABLE_MAGAZINE_WORDS || table == TABLE_MAGAZINES)
                        n = region_magazines_hwm(r, 0) + 2;
                if (table == TABLE_GRANULES || table == TABLE_SLABS || table == TABLE_TAGS)
                        n = chunks * GEO_GRANULES_PER_CHUNK;
                tables[table].off = r->layout.off[table];
                tables[table].bytes = n * r->layout.stride[table];
        }
        tables[TABLE_N].bytes = sizeof *r->header;
}

struct flipped {
        uint64_t *word, old;
};

static void
flip_some(uint64_t *seed, struct flipped flipped[FUZZ_WORDS_MAX], uint32_t n)
{
        for (uint32_t i = 0; i < n; i++) {
                uint32_t table = (uint32_t)(random_next(seed) % (TABLE_N + 1));
                uint64_t at = tables[table].off + random_next(seed) % tables[table].bytes / 8 * 8;
                uint64_t *word = (uint64_t *)(void *)(r->base + at);
                uint64_t kind = random_next(seed) % 4, value = random_next(seed);

                flipped[i] = (struct flipped){word, *word};
                if (kind == 0)
                        *word = value;
                else if (kind == 1)
                        *word ^= UINT64_C(1) << value % 64;
                else if (kind == 2)
                        *word += value % 16 - 8;
                else
                        *word = *(uint64_t *)(void *)(r->base + tables[table].off +
                                                      value % tables[table].bytes / 8 * 8);
        }
}

static int
count_visit(const struct check_block *block, void *arg)
{
        (void)block;
        ++*(uint64_t *)arg;
        return 0;
}

START_TEST(random_damage_changes_nothing_but_the_verdict)
{
        uint64_t seed = UINT64_C(0x9e3779b97f4a7c15), n_visited = 0, n_found = 0;
        struct flipped flipped[FUZZ_WORDS_MAX];

        find_tables();
        protect(PROT_READ | PROT_WRITE, PROT_NONE);
        for (int round = 0; round < FUZZ_ROUNDS; round++) {
                uint32_t n = 1 + (uint32_t)(random_next(&seed) % FUZZ_WORDS_MAX);

                flip_some(&seed, flipped, n);
                n_found += ask_unprotected(round % 8 == 0 ? 0 : CHECK_QUIESCENT, NULL) > 0;
                if (round % 4 == 0)
                        ck_assert_int_eq(check_walk(r, 15, count_visit, &n_visited), 0);
                if (round % 16 == 0)
                        check_block_is_allocated(r, random_next(&seed) % (r->layout.n_chunks << GEO_CHUNK_SHIFT));
                while (n-- > 0)
                        *flipped[n].word = flipped[n].old;
        }
        expect_good(CHECK_QUIESCENT);
        ck_assert_uint_gt(n_found, FUZZ_ROUNDS / 4);
        ck_assert_uint_gt(n_visited, 0);
}
END_TEST

/* ------------------------------------------------------------------ while others run */

enum { N_ACTORS = 4, N_TURNS = 1000, N_HELD = 40, N_CHECKS = 60 };

static uint32_t n_running, n_checks;
static pthread_barrier_t attached;

/* Fills, empties and exchanges magazines, frees what it has, resizes: all that moves owner words. */
static void
turn(struct thread *who, uint64_t *seed, uint32_t idx, uint64_t *held)
{
        uint64_t *at = &held[random_next(seed) % N_HELD];
        uint64_t what = random_next(seed) % 8, head;

        if (what == 0 && MAGAZINE(idx).n > 0) {
                drain_magazine(who, idx, 0);
        } else if (what == 1 && MAGAZINE(idx).n == 0) {
                if (slab_find_owned(who, who->arena, 0, &head) || slab_create_owned(who, who->arena, 0, &head) == 0)
                        slab_fill(who, head, idx, 1 + (uint32_t)(random_next(seed) % size_class_magazine_cap(0)));
        } else if (*at == 0 && what < 6) {
                uint32_t class_idx = (uint32_t)(random_next(seed) % SIZE_CLASS_N_SMALL);

                if (slab_find_owned(who, who->arena, class_idx, &head) ||
                    slab_create_owned(who, who->arena, class_idx, &head) == 0)
                        slab_alloc_one(who, head, 0, at);
        } else if (*at == 0) {
                large_alloc(who, who->arena, SIZE_CLASS_N_SMALL + (uint32_t)(random_next(seed) % 6), 1, 0, at);
        } else {
                uint64_t word;

                if (what == 2 && large_block_of(r, *at, &head, &word))
                        large_resize(who, *at, SIZE_CLASS_N_SMALL + (uint32_t)(random_next(seed) % 6));
                else if (large_block_of(r, *at, &head, &word) ? large_free(who, *at, 0) == 0
                                                              : slab_free_one(who, *at, 0) == 0)
                        *at = 0;
        }
}

static void *
actor(void *arg)
{
        struct thread *who = &fx.threads[fx.n_threads - 1 - (uintptr_t)arg];
        uint64_t seed = 77 + (uintptr_t)arg, held[N_HELD] = {0};
        uint32_t idx;

        ck_assert_int_eq(slot_attach(who, r, &fx.client, NULL, NULL), 0);
        who->arena = (uintptr_t)arg % 2 ? 0 : 2;
        who->node = region_arena_node(r, who->arena);
        store_relaxed(&r->bindings[who->no - 1], BINDING_ARENA(who->arena));
        ck_assert_int_eq(magazine_take_empty(who, tag_make(who->node, 0), &idx), 0);
        magazine_place(who, magazine_current(who, tag_make(who->node, 0)), idx);
        pthread_barrier_wait(&attached);
        for (int i = 0; i < N_TURNS || __atomic_load_n(&n_checks, __ATOMIC_RELAXED) < N_CHECKS; i++)
                turn(who, &seed, idx, held);
        drain_magazine(who, idx, 0);
        magazine_pick_up(who, magazine_current(who, tag_make(who->node, 0)), idx);
        magazine_put(who, idx, who->arena, true);
        __atomic_fetch_sub(&n_running, 1, __ATOMIC_ACQ_REL);
        slot_release(who);
        return NULL;
}

START_TEST(busy_heap_is_good)
{
        pthread_t threads[N_ACTORS];

        pthread_barrier_init(&attached, NULL, N_ACTORS + 1);
        n_running = N_ACTORS;
        fx.n_threads += N_ACTORS;
        for (uintptr_t i = 0; i < N_ACTORS; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, actor, (void *)i), 0);
        pthread_barrier_wait(&attached);
        while (__atomic_load_n(&n_running, __ATOMIC_ACQUIRE) > 0) {
                int n = ask_unprotected(0, NULL);

                ck_assert_msg(n == 0, "check %u of a busy heap:\n%s", n_checks, report);
                __atomic_fetch_add(&n_checks, 1, __ATOMIC_RELAXED);
        }
        for (int i = 0; i < N_ACTORS; i++)
                pthread_join(threads[i], NULL);
        expect_good(CHECK_QUIESCENT);
}
END_TEST

/* ------------------------------------------------------------------ all of it */

static TCase *
cases(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_set_timeout(tcase, 240);
        suite_add_tcase(suite, tcase);
        return tcase;
}

int
main(void)
{
        Suite *suite = suite_create("check");
        TCase *tcase = cases(suite, "good");
        struct damage none;

        tcase_add_test(tcase, rich_heap_is_good);
        tcase_add_test(tcase, new_heap_is_good);
        tcase_add_test(tcase, totals_are_exact);
        tcase_add_test(tcase, totals_account_for_every_byte);
        tcase_add_test(tcase, walk_shows_each_block_where_it_is);
        tcase_add_test(tcase, walk_ends_when_it_is_told);
        tcase_add_test(tcase, allocated_is_what_is_nowhere_else);
        tcase_add_test(tcase, public_functions_say_the_same);
        tcase_add_test(tcase, public_functions_refuse_what_they_do_not_know);
        tcase = cases(suite, "damaged");
        tcase_add_loop_test(tcase, damage_is_found_and_named, 0, damage(-1, &none));
        tcase_add_test(tcase, report_is_bounded);
        tcase_add_test(tcase, blocks_in_thousands_of_places_are_reported_in_time);
        tcase_add_test(tcase, lost_hints_are_no_faults_and_counted);
        tcase_add_test(tcase, random_damage_changes_nothing_but_the_verdict);
        tcase = cases(suite, "running");
        tcase_add_test(tcase, claimed_run_is_work_in_progress);
        tcase_add_test(tcase, owned_slab_is_work_in_progress);
        tcase_add_test(tcase, magazines_on_their_way_are_work_in_progress);
        tcase_add_test(tcase, swapped_entries_are_work_in_progress);
        tcase_add_test(tcase, resized_run_is_work_in_progress);
        tcase_add_test(tcase, chunks_on_their_way_are_work_in_progress);
        tcase_add_test(tcase, huge_block_being_freed_is_work_in_progress);
        tcase_add_test(tcase, busy_heap_is_good);
        return suite_run(suite);
}
