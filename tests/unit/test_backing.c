/*
 * What is at stake: SIGBUS.  On a full file system whoever touches a page that was never reserved is killed, even by
 * reading it.  Here the heap lies in a file, threads use it in all ways, and afterwards no page of the file has been
 * touched but those that a high-water mark, a ready arena or the note of a granule vouches for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blocks/huge.h"
#include "blocks/large.h"
#include "clients/slot.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "os/shm.h"
#include "pages/arena.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "support/ask.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_fixture.h"
#include "support/suite.h"
#include "tcache/tcache.h"

enum { N_CHUNKS = 12, N_ARENAS = 4, N_CLIENTS = 3 };

static struct heap_fixture fx;
static struct region *const r = &fx.region;
static struct thread *actors[N_CLIENTS];
static struct live live;

static void
setup(void)
{
        heap_make(
                &fx,
                (struct heap_params){
                        .n_chunks = N_CHUNKS, .max_threads = 8, .n_nodes = 2, .arenas_per_node = 2, .has_file = true});
        for (uint32_t i = 0; i < N_CLIENTS; i++)
                actors[i] = heap_attach(&fx, i);
}

static void
teardown(void)
{
        heap_drop(&fx);
        live_fini(&live);
}

/* ------------------------------------------------------------------ what may be touched */

static uint8_t *may; /* per page of the system */

static void
allow(uint64_t off, uint64_t bytes)
{
        for (uint64_t page = off / OS_PAGE_BYTES; bytes > 0 && page <= (off + bytes - 1) / OS_PAGE_BYTES; page++)
                may[page] = 1;
}

static void
allow_table(enum layout_table table, uint64_t idx, uint64_t n)
{
        allow(r->layout.off[table] + idx * r->layout.stride[table], n * r->layout.stride[table]);
}

static bool was_given[N_ARENAS]; /* the arena has had a chunk, so it has had hints */

static void
note_given(void)
{
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++)
                if (chunk_state(r->chunk_words[chunk]) == CHUNK_ARENA)
                        was_given[chunk_arena(r->chunk_words[chunk])] = true;
}

static void
allow_chunk(uint64_t chunk)
{
        const enum layout_table per_chunk[] = {TABLE_CHUNK_WORDS, TABLE_HUGE_BYTES, TABLE_CHUNK_MAPS, TABLE_REST_MAPS};
        const enum layout_table per_granule[] = {TABLE_GRANULES, TABLE_SLABS, TABLE_TAGS};
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;

        for (int i = 0; i < 4; i++)
                allow_table(per_chunk[i], chunk, 1);
        for (int i = 0; i < 3; i++)
                allow_table(per_granule[i], first, GEO_GRANULES_PER_CHUNK);
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t word = r->granules[g];

                ck_assert(granule_backed(word) == 0 || (word & GRANULE_MAY_HAVE));
                if (word & GRANULE_MAY_HAVE) /* of what is backed no more is sure, but this much may exist */
                        allow(region_granule_off(r, g), GEO_GRANULE_BYTES);
                if (r->rest_maps[chunk] >> g % GEO_GRANULES_PER_CHUNK & 1)
                        allow_table(TABLE_SLAB_RESTS, g, 1);
        }
}

static void
allow_all_that_is_reserved(void)
{
        allow(0, sizeof *r->header);
        allow_table(TABLE_ARENA_WORDS, 0, r->layout.n[TABLE_ARENA_WORDS]);
        allow_table(TABLE_BINDINGS, 0, r->layout.n[TABLE_BINDINGS]);
        allow_table(TABLE_FREE_CHUNKS, 0, r->layout.n[TABLE_FREE_CHUNKS]);
        allow_table(TABLE_CLIENTS, 0, region_clients_hwm(r));
        allow_table(TABLE_GATES, 0, region_threads_hwm(r));
        allow_table(TABLE_THREADS, 0, region_threads_hwm(r));
        if (r->header->folding != 0)
                allow_table(TABLE_TOTALS, 0, 2);
        allow_table(TABLE_ROOTS, 0, region_roots_hwm(r));
        for (uint32_t a = 0; a < N_ARENAS; a++) {
                if (region_arena(r, a))
                        allow_table(TABLE_ARENAS, a, 1);
                if (was_given[a])
                        allow_table(TABLE_HINT_GROUPS, (uint64_t)a * r->layout.n_groups, r->layout.n_groups);
        }
        for (uint32_t node = 0; node < r->n_nodes; node++) {
                uint64_t first = (uint64_t)node * r->layout.magazines_per_node, n = region_magazines_hwm(r, node);

                allow_table(TABLE_MAGAZINE_WORDS, first, n);
                allow_table(TABLE_MAGAZINES, first, n);
                allow_table(TABLE_POOL_HINTS, first / 64, (n + 63) / 64);
        }
        for (uint64_t chunk = 0; chunk < region_chunks_hwm(r); chunk++)
                allow_chunk(chunk);
}

/* ------------------------------------------------------------------ what has been touched */

enum { ALL_IS_WELL = -1 };

/* A page that was touched and may not be, or ALL_IS_WELL. */
static off_t
find_stray(void)
{
        off_t end = (off_t)r->layout.region_bytes, data = 0, stray = ALL_IS_WELL;

        may = calloc(r->layout.region_bytes / OS_PAGE_BYTES + 1, 1);
        ck_assert_ptr_nonnull(may);
        allow_all_that_is_reserved();
        while (stray < 0 && data < end && (data = lseek(r->fd, data, SEEK_DATA)) >= 0) {
                off_t hole = lseek(r->fd, data, SEEK_HOLE);

                for (; stray < 0 && data < hole; data += (off_t)OS_PAGE_BYTES)
                        if (!may[(uint64_t)data / OS_PAGE_BYTES])
                                stray = data;
        }
        free(may);
        return stray;
}

static void
audit(void)
{
        off_t stray = find_stray();
        int table = 0;

        while (table + 1 < TABLE_N && (off_t)r->layout.off[table + 1] <= stray)
                table++;
        ck_assert_msg(stray < 0,
                      "page %#jx was touched and never reserved: %#jx behind table %d, %jd before the chunks",
                      (intmax_t)stray, (intmax_t)(stray - (off_t)r->layout.off[table]), table,
                      (intmax_t)((off_t)r->layout.chunks_off - stray));
}

/* ------------------------------------------------------------------ a random history */

static uint64_t random_state;

static uint64_t
random_below(uint64_t n)
{
        random_state ^= random_state << 13;
        random_state ^= random_state >> 7;
        random_state ^= random_state << 17;
        return (random_state >> 11) % n;
}

static uint64_t
file_blocks(void)
{
        struct stat st;

        ck_assert_int_eq(fstat(r->fd, &st), 0);
        return (uint64_t)st.st_blocks;
}

/* Uses a block, all of which has pages: the file does not grow. */
static void
touch(char *p, int c, uint64_t bytes)
{
        uint64_t before = file_blocks();

        memset(p, c, bytes);
        ck_assert_uint_eq(file_blocks(), before);
}

static void
allocate(struct thread *t)
{
        struct call rq = {.size = UINT64_C(1) << random_below(24), .align = UINT64_C(1) << random_below(20)};
        uint64_t block_off;
        uint32_t class_idx;

        rq.size += random_below(rq.size);
        rq.arena = t->arena;
        rq.flags = (unsigned)random_below(8);
        ck_assert(ask_classify(&rq));
        if (ask_block(t, &rq, &block_off) < 0)
                return;
        touch(region_block(r, block_off), 1, block_usable(r, block_off, &class_idx));
        live_add(&live, block_off);
}

static void
resize(struct thread *t, uint64_t block_off)
{
        uint32_t class_idx;

        (void)block_usable(r, block_off, &class_idx);
        if (class_idx == SIZE_CLASS_NONE)
                huge_resize(t, block_off, 1 + random_below(3 * GEO_CHUNK_BYTES));
        else if (size_class_is_large(class_idx))
                large_resize(t, block_off,
                             SIZE_CLASS_N_SMALL + (uint32_t)random_below(SIZE_CLASS_N - SIZE_CLASS_N_SMALL));
        touch(region_block(r, block_off), 2, block_usable(r, block_off, &class_idx));
}

/* Through the magazines, by whoever calls. */
static void
use_cache(void)
{
        struct tcache *t;
        int err;

        t = tcache_get(&fx.heap, &err);
        ck_assert_ptr_nonnull(t);
        for (int i = 0; i < 200; i++) {
                size_t bytes = UINT64_C(1) << random_below(20);
                char *p = ask_tcache(t, bytes);

                if (!p)
                        continue;
                touch(p, 3, bytes);
                if (!tcache_push(t, p))
                        tcache_free_slow(t, (uint64_t)(p - r->chunks));
        }
        note_given();
        tcache_forget(&fx.heap);
}

START_TEST(nothing_is_touched_that_is_not_reserved)
{
        random_state = 88172645463325252u + (uint64_t)_i * 4711;
        memset(was_given, 0, sizeof was_given);
        audit();
        for (int step = 0; step < 1500; step++) {
                uint32_t who = (uint32_t)random_below(N_CLIENTS);
                struct thread *t = actors[who];

                switch (random_below(16)) {
                case 0:
                        resize(t, live.n > 0 ? live.off[random_below(live.n)] : UINT64_MAX);
                        t->fault.what = 0;
                        break;
                case 1:
                        if (random_below(10) == 0)
                                decay_purge(t, UINT32_MAX);
                        break;
                case 2:
                        if (random_below(5) == 0)
                                chunk_retire_all(t, 1);
                        break;
                case 3:
                        if (random_below(20) == 0)
                                use_cache();
                        break;
                case 4:
                        t->slot->candidate = candidate_make(CANDIDATE_RUN, random_below(region_granules_hwm(r) + 1),
                                                            1 + random_below(8)); /* never claimed */
                        damage_is_done(true);                                     /* nor is it in one chunk */
                        reap_settle(r, t->no, NULL);
                        damage_is_done(false);
                        break;
                case 5:
                case 6:
                case 7:
                case 8:
                case 9:
                case 10:
                        if (live.n > 0) {
                                uint64_t block_off = live.off[random_below(live.n)];

                                ck_assert_int_eq(free_block(t, block_off, 0), 0);
                                live_drop(&live, block_off);
                        }
                        break;
                default:
                        allocate(t);
                }
                note_given();
                if (step % 100 == 0)
                        audit();
        }
        audit();
        heap_verify(r, &live);
}
END_TEST

/* The audit itself: one page too many is seen, whether it was written or read. */
START_TEST(page_that_is_touched_is_seen)
{
        uint64_t page_off = bits_align_up(r->layout.off[TABLE_MAGAZINES], OS_PAGE_BYTES) + 100 * OS_PAGE_BYTES;
        volatile char *page = r->base + page_off;

        ck_assert_int_eq(find_stray(), ALL_IS_WELL);
        if (_i)
                *page = 1;
        else
                (void)*page;
        ck_assert_int_eq(find_stray(), (off_t)page_off);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("backing");
        TCase *tcase = tcase_create("backing");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_loop_test(tcase, nothing_is_touched_that_is_not_reserved, 0, 4);
        tcase_add_loop_test(tcase, page_that_is_touched_is_seen, 0, 2);
        suite_add_tcase(suite, tcase);
        return suite_run(suite);
}
