/*
 * What is at stake: touching what has no pages behind it is SIGBUS, and pages that nobody touches are memory that
 * nobody has.  So each mark is raised and what it covers is looked at from outside, a heap of a tebibyte may cost
 * nothing, and a full file system must be an error.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "base/error.h"
#include "os/shm.h"
#include "region/open.h"
#include "support/checks.h"
#include "support/region_dir.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)

/* ------------------------------------------------------------------ what has pages */

static uint64_t
file_used_bytes(int fd)
{
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* True if every page of the range was backed: backing it once more costs nothing.  (SEEK_DATA does not tell: to it,
 * a page of tmpfs that has been backed but not written yet is a hole.) */
static bool
is_backed(const struct region *r, uint64_t off, uint64_t bytes)
{
        uint64_t before = file_used_bytes(r->fd);

        ck_assert_int_eq(fallocate(r->fd, 0, (off_t)off, (off_t)bytes), 0);
        return file_used_bytes(r->fd) == before;
}

static bool
element_is_backed(const struct region *r, enum layout_table table, uint64_t idx, uint64_t n)
{
        return is_backed(r, r->layout.off[table] + idx * r->layout.stride[table], n * r->layout.stride[table]);
}

/* ------------------------------------------------------------------ backing */

START_TEST(what_is_always_backed_is_backed)
{
        struct region r = must_open("backed", REGION_CREATE);

        ck_assert(is_backed(&r, 0, sizeof *r.header));
        ck_assert(element_is_backed(&r, TABLE_ARENA_WORDS, 0, r.layout.n[TABLE_ARENA_WORDS]));
        ck_assert(element_is_backed(&r, TABLE_BINDINGS, 0, r.layout.n[TABLE_BINDINGS]));
        ck_assert(element_is_backed(&r, TABLE_FREE_CHUNKS, 0, r.layout.n[TABLE_FREE_CHUNKS]));
        ck_assert(!is_backed(&r, r.layout.chunks_off, 1));
}
END_TEST

START_TEST(a_tebibyte_costs_nothing_until_used)
{
        struct region_open_args args = args_of(REGION_CREATE, UINT64_C(1) << 40);
        struct region r;

        if (UNDER_TSAN) { /* it ends processes that map where 1 TiB would have to go: we must not even try */
                ck_assert_int_eq(region_open(&r, "tera", &args), -EADDRINUSE);
                args.options.base_addr = UINT64_C(0x200000000000);
                ck_assert_int_eq(region_open(&r, "tera", &args), -EADDRINUSE);
                ck_assert_ptr_nonnull(strstr(error_message(), "thread sanitizer"));
                return;
        }
        ck_assert_msg(region_open(&r, "tera", &args) == 0, "%s", error_message());
        ck_assert_uint_lt(file_used_bytes(r.fd), MIB);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_threads(&r, 0), 0);
        ck_assert_uint_lt(file_used_bytes(r.fd), MIB);
}
END_TEST

START_TEST(reserving_backs_exactly_what_is_asked)
{
        struct region r = must_open("reserve", REGION_CREATE);
        uint64_t off = r.layout.chunks_off, before = file_used_bytes(r.fd);

        ck_assert_int_eq(region_reserve(&r, off + 4095, 2), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 8192);
        ck_assert_int_eq(region_reserve(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB);
        ck_assert_int_eq(region_reserve(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB);
        r.chunks[100] = 7;
        ck_assert_int_eq(region_punch(&r, off + 1, 8192), 0); /* one whole page */
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB - 4096);
        ck_assert_int_eq(r.chunks[100], 7);
        ck_assert_int_eq(region_punch(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before);
        ck_assert_int_eq(region_reserve(&r, off, 0), 0);
        ck_assert_int_eq(region_reserve(&r, r.layout.region_bytes - 1, 2), -EINVAL);
        ck_assert_int_eq(region_reserve(&r, UINT64_MAX, 2), -EINVAL);
        ck_assert_int_eq(region_reserve(&r, 4096, UINT64_MAX), -EINVAL);
        ck_assert_int_eq(region_punch(&r, r.layout.region_bytes, 1), -EINVAL);
        ck_assert_uint_eq(file_used_bytes(r.fd), before);
}
END_TEST

static void
assert_chunk_is_backed(const struct region *r, uint64_t k)
{
        const uint64_t n = GEO_GRANULES_PER_CHUNK;

        ck_assert(element_is_backed(r, TABLE_CHUNK_WORDS, k, 1));
        ck_assert(element_is_backed(r, TABLE_HUGE_BYTES, k, 1));
        ck_assert(element_is_backed(r, TABLE_CHUNK_MAPS, k, 1));
        ck_assert(element_is_backed(r, TABLE_GRANULES, k * n, n));
        ck_assert(element_is_backed(r, TABLE_SLABS, k * n, n));
        ck_assert(element_is_backed(r, TABLE_TAGS, k * n, n));
}

/* 1200 chunks: every table crosses a page at least twice. */
START_TEST(each_chunk_below_the_mark_is_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 1200 * GEO_CHUNK_BYTES);
        struct region r;

        ck_assert_int_eq(region_open(&r, "chunks", &args), 0);
        for (uint64_t k = 0; k < 1200; k++) {
                ck_assert_int_eq(region_raise_chunks(&r, k), 0);
                if (region_chunks_hwm(&r) != k + 1)
                        ck_abort_msg("mark of %lu", region_chunks_hwm(&r));
                assert_chunk_is_backed(&r, k);
        }
        ck_assert_int_eq(region_raise_chunks(&r, 1200), -ENOSPC);
        ck_assert_int_eq(region_raise_chunks(&r, 7), 0); /* somebody else did it */
        ck_assert_uint_eq(region_granules_hwm(&r), 1200 * GEO_GRANULES_PER_CHUNK);
}
END_TEST

START_TEST(chunks_stop_at_the_capacity_until_it_grows)
{
        struct region_open_args args = args_of(REGION_CREATE, 2 * GEO_CHUNK_BYTES);
        struct region r;
        uint64_t used;

        args.options.max_capacity = 3 * GEO_CHUNK_BYTES;
        ck_assert_int_eq(region_open(&r, "grow", &args), 0);
        ck_assert_uint_eq(r.layout.n_chunks, 3);
        ck_assert_uint_eq(region_capacity_chunks(&r), 2);
        used = file_used_bytes(r.fd);
        ck_assert_int_eq(region_raise_chunks(&r, 1), -EUCLEAN);
        ck_assert_uint_eq(file_used_bytes(r.fd), used);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 1), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 2), -ENOSPC);
        r.header->capacity_chunks = 3;
        ck_assert_int_eq(region_raise_chunks(&r, 2), 0);
        r.header->capacity_chunks = 1000; /* damage: the layout is the limit */
        ck_assert_int_eq(region_raise_chunks(&r, 3), -ENOSPC);
}
END_TEST

START_TEST(slots_below_their_marks_are_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;

        args.options.max_threads = 3;
        ck_assert_int_eq(region_open(&r, "slots", &args), 0);
        for (uint32_t k = 0; k < 3; k++) {
                ck_assert(k < 2 ? region_thread(&r, k) != NULL : region_thread(&r, k) == NULL); /* as it was made */
                ck_assert_int_eq(region_raise_threads(&r, k), 0);
                ck_assert_ptr_nonnull(region_thread(&r, k));
                ck_assert(element_is_backed(&r, TABLE_THREADS, k, 1));
        }
        ck_assert_int_eq(region_raise_threads(&r, 3), -ENOSPC);
        for (uint32_t k = 0; k < 100; k++) {
                ck_assert_int_eq(region_raise_clients(&r, k), 0);
                ck_assert(element_is_backed(&r, TABLE_CLIENTS, k, 1));
                ck_assert_int_eq(region_raise_roots(&r, k), 0);
                ck_assert(element_is_backed(&r, TABLE_ROOTS, k, 1));
        }
        ck_assert_ptr_nonnull(region_client(&r, 99));
        ck_assert_ptr_null(region_client(&r, 100));
        ck_assert_int_eq(region_raise_clients(&r, 102), -EUCLEAN);
}
END_TEST

START_TEST(magazines_of_each_node_are_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;
        uint32_t per_node;

        args.options.n_nodes = 2;
        args.options.max_threads = 5;
        args.options.arenas_per_node = 1;
        ck_assert_int_eq(region_open(&r, "magazines", &args), 0);
        per_node = r.layout.magazines_per_node;
        ck_assert_uint_ne(per_node * r.layout.stride[TABLE_MAGAZINE_WORDS] % OS_PAGE_BYTES, 0); /* nodes share a page */
        ck_assert_uint_eq(r.n_nodes, 2);
        for (uint32_t node = 2; node-- > 0;) {
                for (uint32_t k = 0; k < per_node; k++) {
                        uint64_t idx = (uint64_t)node * per_node + k;

                        ck_assert(!region_has_magazine(&r, idx));
                        ck_assert_int_eq(region_raise_magazines(&r, node, k), 0);
                        ck_assert(region_has_magazine(&r, idx));
                        ck_assert(element_is_backed(&r, TABLE_MAGAZINES, idx, 1));
                        ck_assert(element_is_backed(&r, TABLE_MAGAZINE_WORDS, idx, 1));
                        ck_assert(element_is_backed(&r, TABLE_POOL_HINTS, idx / 64, 1));
                }
                ck_assert_int_eq(region_raise_magazines(&r, node, per_node), -ENOSPC);
        }
        ck_assert_int_eq(region_raise_magazines(&r, 2, 0), -EINVAL);
}
END_TEST

/* Blocks, and the long bitmaps that slabs of the smallest ones take. */
static void
assert_all_is_backed(const struct region *r)
{
        ck_assert(is_backed(r, r->layout.chunks_off, 16 * MIB));
        ck_assert(element_is_backed(r, TABLE_SLAB_RESTS, 0, 4 * GEO_GRANULES_PER_CHUNK));
        for (uint64_t granule = 0; granule < 4 * GEO_GRANULES_PER_CHUNK; granule++)
                ck_assert(region_has_bitmap(r, granule, 0));
}

START_TEST(populate_backs_all_of_the_capacity)
{
        struct region r = must_open("full", REGION_CREATE | REGION_POPULATE);

        ck_assert_uint_eq(region_chunks_hwm(&r), 4);
        assert_all_is_backed(&r);
        region_close(&r);
        must_create("later");
        r = must_open("later", REGION_POPULATE);
        assert_all_is_backed(&r);
}
END_TEST

/* ------------------------------------------------------------------ a small file system */

/* A tmpfs of the given size as the directory of heaps, in a mount namespace of this test process only. */
static bool
mount_small(const char *size)
{
        char options[32];

        snprintf(options, sizeof options, "size=%s", size);
        if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("tmpfs", region_dir_name(), "tmpfs", 0, options) == 0)
                return true;
        printf("skipped: mounting a tmpfs takes root (%s)\n", strerror(errno));
        return false;
}

START_TEST(a_full_file_system_is_an_error_and_never_a_fault)
{
        struct region_open_args args = args_of(REGION_CREATE, 1200 * GEO_CHUNK_BYTES);
        struct region r;
        uint64_t k = 0, off;

        if (!mount_small("4m"))
                return;
        ck_assert_msg(region_open(&r, "small", &args) == 0, "%s", error_message());
        off = r.layout.chunks_off;
        ck_assert_int_eq(region_reserve(&r, off, 16 * MIB), -ENOSPC);
        ck_assert_int_eq(region_punch(&r, off, 16 * MIB), 0);
        while (region_raise_chunks(&r, k) == 0) {
                r.chunk_words[k] = r.huge_bytes[k] = r.granules[k * GEO_GRANULES_PER_CHUNK] = 1;
                r.slabs[k * GEO_GRANULES_PER_CHUNK].word[0] = r.tags[k * GEO_GRANULES_PER_CHUNK] = 1;
                k++;
        }
        ck_assert_uint_gt(k, 10);
        ck_assert_uint_lt(k, 1200);
        ck_assert_uint_eq(region_chunks_hwm(&r), k); /* nothing changed by the failure */
        ck_assert_int_eq(region_raise_chunks(&r, k), -ENOSPC);
        must_refuse("second", REGION_CREATE, -ENOSPC, "SHMALLOC_DIR");
        ck_assert_int_eq(region_dir_count(), 1);
}
END_TEST

START_TEST(a_populate_that_fails_leaves_nothing)
{
        struct region r;

        if (!mount_small("8m"))
                return;
        must_refuse("big", REGION_CREATE | REGION_POPULATE, -ENOSPC, "the capacity");
        ck_assert_int_eq(region_dir_count(), 0);
        r = must_open("big", REGION_CREATE);
        region_close(&r);
        must_refuse("big", REGION_POPULATE, -ENOSPC, "the capacity");
        ck_assert_int_eq(region_dir_count(), 1);
}
END_TEST

/* ------------------------------------------------------------------ layout */

START_TEST(first_magazine_of_all_starts_no_page)
{
        const struct layout_params params = {4 * MIB, 4, 4, 2, 3, 4, 12, 0};
        struct layout layout;
        const char *what;

        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        ck_assert_uint_eq(layout.off[TABLE_MAGAZINES] % OS_PAGE_BYTES, sizeof(struct magazine));
        ck_assert_uint_ge(layout.off[TABLE_MAGAZINES],
                          layout.off[TABLE_MAGAZINE_WORDS] +
                                  layout.n[TABLE_MAGAZINE_WORDS] * layout.stride[TABLE_MAGAZINE_WORDS]);
}
END_TEST

/* ------------------------------------------------------------------ plain memory */

START_TEST(plain_memory_will_do)
{
        const struct layout_params params = {4 * MIB, 4, 4, 2, 3, 4, 12, 0};
        struct region r = {.fd = -1};
        struct layout layout;
        const char *what;
        void *mem;

        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        mem = mmap(NULL, layout.region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                   0);
        region_bind(&r, mem, &layout);
        region_format(&r, &params, "plain", 0);
        ck_assert_uint_eq(r.n_nodes, 2);
        ck_assert_uint_eq(r.arenas_per_node, 3);
        ck_assert_int_eq(region_reserve_fixed(&r), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 1), -ENOSPC);
        ck_assert_int_eq(region_raise_magazines(&r, 1, 0), 0);
        r.chunks[5] = 1;
        ck_assert_int_eq(region_punch(&r, layout.chunks_off, 4096), 0);
        ck_assert_int_eq(r.chunks[5], 0);
}
END_TEST

/* ------------------------------------------------------------------ suite */

static void
add_backing(Suite *suite)
{
        TCase *tcase = region_dir_case(suite, "backing");

        tcase_add_test(tcase, what_is_always_backed_is_backed);
        tcase_add_test(tcase, a_tebibyte_costs_nothing_until_used);
        tcase_add_test(tcase, reserving_backs_exactly_what_is_asked);
        tcase_add_test(tcase, each_chunk_below_the_mark_is_backed);
        tcase_add_test(tcase, chunks_stop_at_the_capacity_until_it_grows);
        tcase_add_test(tcase, slots_below_their_marks_are_backed);
        tcase_add_test(tcase, magazines_of_each_node_are_backed);
        tcase_add_test(tcase, populate_backs_all_of_the_capacity);
        tcase_add_test(tcase, a_full_file_system_is_an_error_and_never_a_fault);
        tcase_add_test(tcase, a_populate_that_fails_leaves_nothing);
        tcase_add_test(tcase, first_magazine_of_all_starts_no_page);
        tcase_add_test(tcase, plain_memory_will_do);
}

int
main(void)
{
        Suite *suite = suite_create("region_backing");

        add_backing(suite);
        return suite_run(suite);
}
