/*
 * What is at stake: "it costs next to nothing until it is used".  Who locks its memory, or crashes and is dumped,
 * touches every page of the mapping, and makes a heap as large as it could ever become real for everybody.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/confine.h"
#include "support/effort.h"
#include "support/heap_dir.h"
#include "support/suite.h"
#include "tcache/tcache.h"

#define MIB (UINT64_C(1) << 20)

/* How many mappings of the heap there are, and how many with this flag. */
static void
count_flags(const shheap *h, const char *flag, unsigned *ret_n, unsigned *ret_with)
{
        FILE *file = fopen("/proc/self/smaps", "re");
        uint64_t base = heap_ctl((shheap *)(uintptr_t)h, "heap.base"), start, end;
        uint64_t bytes = heap_ctl((shheap *)(uintptr_t)h, "heap.region_bytes");
        bool is_ours = false;
        char line[512];

        *ret_n = *ret_with = 0;
        MUST(file != NULL);
        while (fgets(line, sizeof line, file))
                if (sscanf(line, "%lx-%lx ", &start, &end) == 2) {
                        is_ours = start >= base && end <= base + bytes;
                        *ret_n += is_ours;
                } else if (is_ours && strncmp(line, "VmFlags:", 8) == 0) {
                        *ret_with += strstr(line, flag) != NULL;
                }
        fclose(file);
}

/* ------------------------------------------------------------------ dumps */

START_TEST(no_part_of_a_heap_is_dumped)
{
        static const unsigned flags[] = {SHHEAP_CREATE, 0, SHHEAP_RDONLY, SHHEAP_RELOCATABLE};
        shheap *first = heap_dir_open("x", SHHEAP_CREATE, NULL), *h;
        unsigned n, n_with;
        void *p;

        ck_assert_ptr_nonnull(p = shheap_malloc(first, MIB));
        memset(p, 1, MIB);
        ck_assert_int_eq(shheap_close(first), 0);
        for (unsigned i = 0; i < sizeof flags / sizeof flags[0]; i++) {
                h = heap_dir_open("x", flags[i], NULL);
                count_flags(h, " dd", &n, &n_with);
                ck_assert_uint_ge(n, 1);
                ck_assert_uint_eq(n, n_with);
                ck_assert_int_eq(shheap_close(h), 0);
        }
}
END_TEST

/* Bytes of the heap that a core file of this process would have; NULL: of all of it, else of the range. */
static uint64_t
dumped_bytes(shheap *h, const void *p, uint64_t length)
{
        FILE *file = fopen("/proc/self/smaps", "re");
        uint64_t first = p ? (uintptr_t)p : heap_ctl(h, "heap.base"), a, b, start = 0, end = 0, sum = 0;
        uint64_t last = first + (p ? length : heap_ctl(h, "heap.region_bytes"));
        char line[512];

        ck_assert_ptr_nonnull(file);
        while (fgets(line, sizeof line, file))
                if (sscanf(line, "%lx-%lx ", &a, &b) == 2) {
                        start = a > first ? a : first;
                        end = b < last ? b : last;
                } else if (strncmp(line, "VmFlags:", 8) == 0 && start < end && !strstr(line, " dd")) {
                        sum += end - start;
                }
        fclose(file);
        return sum;
}

/* All tables that have elements, and their chunks. */
static uint64_t
bytes_in_use(const shheap *h)
{
        const struct region *r = &h->region;

        return region_chunks_hwm(r) * (GEO_CHUNK_BYTES + GEO_CHUNK_BYTES / 64) +
               region_threads_hwm(r) * r->layout.stride[TABLE_THREADS] +
               r->layout.n_arenas * r->layout.stride[TABLE_ARENAS] +
               region_magazines_hwm(r, 0) * sizeof(struct magazine) + 32 * 4096 + r->layout.off[TABLE_POOL_HINTS];
}

static void
grow_by_32_mib(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("x", 0, NULL);
        void *p, **found = arg;

        (void)self;
        MUST((p = shheap_malloc(h, 32 * MIB)));
        __atomic_store_n(found, p, __ATOMIC_RELEASE);
}

static void *
attach_a_thread(void *arg)
{
        return shheap_malloc(arg, 10);
}

START_TEST(with_dump_used_what_is_in_use_is_dumped_and_no_more)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, "dump:used,max_capacity:1G");
        void **found = shheap_calloc(h, 1, sizeof *found), *p[40];
        struct child c;
        pthread_t thread;
        unsigned n, n_with;

        for (int i = 0; i < 40; i++) {
                size_t size = i % 2 ? MIB : 100;

                ck_assert_ptr_nonnull(p[i] = shheap_malloc(h, size));
                ck_assert_uint_eq(dumped_bytes(h, p[i], size), size);
        }
        ck_assert_uint_eq(dumped_bytes(h, h->region.header, 4096), 4096);
        ck_assert_uint_le(dumped_bytes(h, NULL, 0), bytes_in_use(h));

        child_start(&c, grow_by_32_mib, found); /* what others make is seen when this one comes by */
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, attach_a_thread, h), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_uint_eq(dumped_bytes(h, *found, 32 * MIB), 32 * MIB);
        shheap_free(h, *found);

        child_start(&c, grow_by_32_mib, found);
        ck_assert_int_eq(child_end(&c), 0);
        while (dumped_bytes(h, *found, 32 * MIB) < 32 * MIB) /* at last, by its slow paths */
                for (int k = 0; k < 2; k++)
                        for (int i = 0; i < 40; i++) {
                                shheap_free(h, p[i]);
                                ck_assert_ptr_nonnull(p[i] = shheap_malloc(h, i % 2 ? MIB : 100));
                        }
        ck_assert_uint_le(dumped_bytes(h, NULL, 0), bytes_in_use(h));
        count_flags(h, " dd", &n, &n_with);
        ck_assert_uint_lt(n, 64);
        ck_assert_int_eq(shheap_close(h), 0);

        h = heap_dir_open("x", SHHEAP_RDONLY, "dump:used"); /* a wish of each process */
        ck_assert_uint_eq(dumped_bytes(h, *found, 32 * MIB), 32 * MIB);
        ck_assert_int_eq(shheap_close(h), 0);
        h = heap_dir_open("x", 0, "dump:none");
        ck_assert_uint_eq(dumped_bytes(h, NULL, 0), 0);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ locks */

static void
open_when_locked(struct child *self, void *arg)
{
        unsigned flags = *(unsigned *)arg, n, n_locked;
        void *p[8];
        shheap *h;

        (void)self;
        confine_lock_all(MCL_CURRENT | MCL_FUTURE);
        h = heap_dir_open("x", flags, NULL);
        MUST(heap_ctl(h, "stats.mapped") < 8 * MIB);
        count_flags(h, " lo", &n, &n_locked);
        MUST(n > 0 && n_locked == n); /* what comes into use is locked */
        if (flags & SHHEAP_RDONLY)
                return;
        for (int i = 0; i < 8; i++)
                MUST((p[i] = shheap_malloc(h, MIB)) && memset(p[i], 1, MIB));
        MUST(heap_ctl(h, "stats.mapped") < 16 * MIB);
        for (int i = 0; i < 8; i++)
                shheap_free(h, p[i]);
        MUST(shheap_purge(h, -1) == 0);
        MUST(heap_ctl(h, "stats.mapped") < 8 * MIB); /* pages of a locked mapping can be given back */
        count_flags(h, " lo", &n, &n_locked);
        MUST(n == n_locked && n < 16);
        MUST(shheap_close(h) == 0);
}

START_TEST(who_locks_all_memory_to_come_opens_a_heap_that_stays_sparse)
{
        static const unsigned flags[] = {SHHEAP_CREATE, 0, SHHEAP_RDONLY, SHHEAP_RELOCATABLE};
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL);
        unsigned f = flags[_i];

        ck_assert_int_eq(shheap_close(h), 0);
        if (f == SHHEAP_CREATE)
                ck_assert_int_eq(shheap_unlink("x"), 0);
        ck_assert(confine_run(open_when_locked, &f, NULL));
}
END_TEST

/* ------------------------------------------------------------------ what comes back */

/* Somebody reads all that is mapped: each hole becomes a page. */
static void
read_everything(struct child *self, void *arg)
{
        shheap *h = arg;
        const volatile char *base = (void *)(uintptr_t)heap_ctl(h, "heap.base");
        const struct region *r = &h->region;
        uint64_t guard = r->layout.chunks_off - LAYOUT_GUARD_BYTES;

        (void)self;
        for (uint64_t off = 0; off < r->layout.region_bytes; off += 4096)
                if (off < guard || off >= r->layout.chunks_off)
                        (void)base[off];
}

static void
lock_everything(struct child *self, void *arg)
{
        (void)self, (void)arg;
        confine_lock_all(MCL_CURRENT);
}

enum { N_BLOCKS = 4000, BLOCK = 3000 };

static void
make_real(shheap *h, bool by_lock)
{
        bool is_skipped;

        ck_assert(confine_run(by_lock ? lock_everything : read_everything, h, &is_skipped));
        if (!is_skipped)
                ck_assert_uint_gt(heap_ctl(h, "stats.mapped"), 47 * MIB);
}

START_TEST(what_others_made_real_comes_back)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE,
                                  _i & 2 ? "decay_ms:100,max_clients:16,max_threads:64"
                                         : "decay_ms:-1,max_capacity:512M,max_threads:512");
        static unsigned char *p[N_BLOCKS];
        uint64_t before, after;

        for (int i = 0; i < N_BLOCKS; i++) {
                ck_assert_ptr_nonnull(p[i] = shheap_malloc(h, BLOCK));
                memset(p[i], i, BLOCK);
        }
        for (int i = 0; i < N_BLOCKS; i++)
                if (i % 100 != 0)
                        shheap_free(h, p[i]);
        ck_assert_int_eq(shheap_purge(h, -1), 0);
        before = heap_ctl(h, "stats.mapped");
        make_real(h, _i & 1);
        if (_i & 2) /* by ticks of whoever goes on working, at last */
                for (after = before + 17 * MIB; after > before + 16 * MIB; after = heap_ctl(h, "stats.mapped")) {
                        void *q[500];

                        for (int i = 0; i < 500; i++)
                                ck_assert_ptr_nonnull(q[i] = shheap_malloc(h, 200));
                        for (int i = 0; i < 500; i++)
                                shheap_free(h, q[i]);
                }
        else
                ck_assert_int_eq(shheap_purge(h, -1), 0);
        after = heap_ctl(h, "stats.mapped");
        ck_assert_msg(after <= before + 16 * MIB, "%lu bytes before, %lu now", before, after);
        for (int i = 0; i < N_BLOCKS; i += 100)
                for (int k = 0; k < BLOCK; k++)
                        ck_assert_msg(p[i][k] == (unsigned char)i, "block %d lost byte %d", i, k);
        for (int i = 0; i < N_BLOCKS; i++)
                if (i % 100 != 0) {
                        ck_assert_ptr_nonnull(p[i] = shheap_malloc(h, BLOCK));
                        memset(p[i], 1, BLOCK);
                }
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* A process that locks its memory before it has anything: its first block brings back what it did not ask for. */
START_TEST(what_was_locked_before_the_first_block_comes_back_with_that)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, "decay_ms:-1,max_clients:16,max_threads:64");
        uint64_t before = heap_ctl(h, "stats.mapped"), after;

        make_real(h, true);
        ck_assert_ptr_nonnull(shheap_malloc(h, MIB));
        after = heap_ctl(h, "stats.mapped");
        ck_assert_msg(after <= before + 16 * MIB, "%lu bytes before, %lu now", before, after);
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

/* ------------------------------------------------------------------ sweeps that stop half-way */

/* What the children tell, and where one of them stands still. */
static struct shared {
        int n_removals; /* by the purger */
        int n_blocks;   /* of the filler */
} * shared;

static struct {
        struct child *self;
        int at; /* this removal of pages; 0: none */
        bool is_after;
} still;

static bool refuses_to_dump; /* the kernel, which finds no memory to cut a mapping */

int
madvise(void *addr, size_t bytes, int advice)
{
        bool is_there = still.self && advice == MADV_REMOVE && ++shared->n_removals == still.at;
        int result;

        if (is_there && !still.is_after && child_tell(still.self))
                child_hear(still.self);
        if (refuses_to_dump && advice == MADV_DODUMP) {
                errno = ENOMEM;
                return -1;
        }
        result = (int)syscall(SYS_madvise, addr, bytes, advice);
        if (is_there && still.is_after && child_tell(still.self))
                child_hear(still.self);
        return result;
}

START_TEST(what_the_kernel_refuses_to_dump_it_is_told_of_again)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, "dump:used,max_capacity:1G");
        void *p;

        refuses_to_dump = true;
        p = shheap_malloc(h, 32 * MIB);
        ck_assert_ptr_nonnull(p);
        ck_assert_uint_eq(dumped_bytes(h, p, 32 * MIB), 0);
        refuses_to_dump = false;
        ck_assert_ptr_nonnull(shheap_malloc(h, 5 * MIB)); /* raises a mark */
        ck_assert_uint_eq(dumped_bytes(h, p, 32 * MIB), 32 * MIB);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

static void
purge(struct child *self, void *arg)
{
        shared->n_removals = 0;
        still.self = self;
        MUST(shheap_purge(arg, -1) == 0);
}

enum { BIG = 60000, BIGS_MAX = 4096 };

/* All that can be had, until it is told to look at it and to give it back. */
static void
fill(struct child *self, void *arg)
{
        static unsigned char *p[BIGS_MAX];
        int n = 0;

        while (n < BIGS_MAX && (p[n] = shheap_malloc(arg, BIG)))
                memset(p[n], n, BIG), n++;
        shared->n_blocks = n;
        MUST(child_tell(self) && child_hear(self));
        while (n-- > 0) {
                for (int k = 0; k < BIG; k++)
                        MUST(p[n][k] == (unsigned char)n);
                shheap_free(arg, p[n]);
        }
        MUST(shheap_close(arg) == 0);
}

enum { ENDS_WELL, DIES, IS_UNTROUBLED, N_ENDS };

/* One purger stands still at a removal, in a heap in which everything is real, while another process fills it.  How
 * many blocks that got, and how many removals the purger made.  False: there were not so many, and it was done. */
static bool
fill_while_one_purges(int at, bool is_after, int end, struct shared *ret)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, "capacity:48M,max_capacity:48M,max_clients:16,max_threads:64");
        struct child purger, filler;
        uint64_t before;
        bool is_there;
        void *p;

        ck_assert_ptr_nonnull(p = shheap_malloc(h, 100));
        before = heap_ctl(h, "stats.mapped");
        make_real(h, false);
        still.at = at;
        still.is_after = is_after;
        child_start(&purger, purge, h);
        still.at = 0;
        is_there = child_hear(&purger);
        if (!is_there)
                end = IS_UNTROUBLED;
        if (end == DIES)
                child_kill(&purger);
        else if (end == IS_UNTROUBLED)
                ck_assert_int_eq(child_end(&purger), 0);
        child_start(&filler, fill, h);
        ck_assert(child_hear(&filler));
        if (end == ENDS_WELL) {
                ck_assert(child_tell(&purger));
                ck_assert_int_eq(child_end(&purger), 0);
        }
        ck_assert(child_tell(&filler));
        ck_assert_int_eq(child_end(&filler), 0);
        *ret = *shared;
        heap_reap(h);
        ck_assert_int_eq(shheap_purge(h, -1), 0);
        ck_assert_uint_le(heap_ctl(h, "stats.mapped"), before + 8 * MIB); /* the tables of its chunks */
        shheap_free(h, p);
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_int_eq(shheap_unlink("x"), 0);
        return is_there;
}

START_TEST(who_stops_or_dies_in_a_sweep_costs_others_one_chunk_or_nothing)
{
        struct shared all, got;

        shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ck_assert(shared != MAP_FAILED);
        ck_assert(!fill_while_one_purges(0, false, IS_UNTROUBLED, &all));
        ck_assert_int_ge(all.n_removals, 20); /* the tables' pieces, and chunk after chunk */
        ck_assert_int_ge(all.n_blocks, 11 * 64);
        for (int i = effort_stride(3) > 1 ? _i : 0; i < 4; i += (int)effort_stride(3)) {
                int end = (i + _i) % 2 ? DIES : ENDS_WELL, at = 1 + (all.n_removals - 5) * i / 3;

                /* Some removals more or less happen: whose slots the processes take differs. */
                while (!fill_while_one_purges(at, _i != 0, end, &got))
                        ck_assert_int_gt(at = got.n_removals, 0);
                ck_assert_msg(got.n_blocks >= all.n_blocks - (end == DIES ? 0 : 64), "%d blocks of %d, purger %s",
                              got.n_blocks, all.n_blocks, end == DIES ? "dead" : "stopped");
        }
        munmap(shared, sizeof *shared);
}
END_TEST

/* Kinds of growth. */
static bool
grow_small(shheap *h)
{
        for (int i = 0; i < 400; i++)
                if (!shheap_malloc(h, 30000))
                        return false;
        return true;
}

static bool
grow_large(shheap *h)
{
        for (int i = 0; i < 100; i++)
                if (!shheap_malloc(h, 100000))
                        return false;
        return true;
}

static bool
grow_huge(shheap *h)
{
        return shheap_malloc(h, 40 * MIB) != NULL;
}

static bool
grow_reserve(shheap *h)
{
        return shheap_reserve(h, 20 * MIB) == 0;
}

static bool
grow_roots(shheap *h)
{
        void *obj;

        return shheap_root(h, "a name", 100, 0, NULL, NULL, &obj) == 0;
}

static void
attach(struct child *self, void *arg)
{
        (void)self;
        MUST(shheap_malloc(arg, 100) != NULL);
        MUST(shheap_close(arg) == 0);
}

static bool
grow_processes(shheap *h)
{
        struct child c[3];
        bool is_good = true;

        for (int i = 0; i < 3; i++)
                child_start(&c[i], attach, h);
        for (int i = 0; i < 3; i++)
                is_good &= child_end(&c[i]) == 0;
        return is_good;
}

static const struct growth {
        bool (*grow)(shheap *h);
        uint32_t mark;
} growths[] = {
        {grow_small, SWEEP_CHUNKS},      {grow_large, SWEEP_CHUNKS}, {grow_huge, SWEEP_CHUNKS},
        {grow_reserve, SWEEP_CHUNKS},    {grow_roots, SWEEP_ROOTS},  {grow_processes, SWEEP_THREADS},
        {grow_processes, SWEEP_CLIENTS},
};

static uint64_t
mark_now(const struct region *r, uint32_t mark)
{
        return mark == SWEEP_CHUNKS    ? region_chunks_hwm(r)
               : mark == SWEEP_THREADS ? region_threads_hwm(r)
               : mark == SWEEP_ROOTS   ? region_roots_hwm(r)
                                       : region_clients_hwm(r);
}

static uint32_t swept_mark;

/* Says that it sweeps just at the mark, and stays so until it is killed. */
static void
stop_in_sweep(struct child *self, void *arg)
{
        shheap *h = arg;
        struct region *r = &h->region;
        int err;
        struct tcache *t = tcache_get(h, &err);

        MUST(t != NULL);
        __atomic_store_n(&r->header->sweep, sweep_word(t->thread.no, swept_mark, mark_now(r, swept_mark)),
                         __ATOMIC_RELEASE);
        MUST(child_tell(self));
        child_hear(self);
}

START_TEST(growth_that_the_dead_are_in_the_way_of_settles_them_and_goes_on)
{
        shheap *h = heap_dir_open("x", SHHEAP_CREATE, NULL);
        struct region *r = &h->region;
        struct child c;
        void *p;

        ck_assert_ptr_nonnull(p = shheap_malloc(h, 100));
        swept_mark = growths[_i].mark;
        child_start(&c, stop_in_sweep, h);
        ck_assert(child_hear(&c));
        if (growths[_i].grow == grow_huge) { /* while it lives it is in the way, and nobody waits */
                ck_assert(!grow_huge(h));
                ck_assert_int_eq(errno, ENOMEM);
                ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "stopped or dead thread"));
        }
        child_kill(&c);
        ck_assert(growths[_i].grow(h));
        ck_assert_uint_eq(r->header->sweep, 0);
        shheap_free(h, p);
        heap_reap(h);
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("multi/made_real");
        TCase *dumps = tcase_create("dumps"), *tc = tcase_create("made real");
        int status;

        heap_dir_create("made-real");
        tcase_add_checked_fixture(dumps, heap_dir_empty, heap_dir_empty);
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        tcase_set_timeout(tc, 120);
        tcase_add_test(dumps, no_part_of_a_heap_is_dumped);
        tcase_add_test(dumps, with_dump_used_what_is_in_use_is_dumped_and_no_more);
        tcase_add_test(dumps, what_the_kernel_refuses_to_dump_it_is_told_of_again);
        tcase_add_loop_test(tc, who_locks_all_memory_to_come_opens_a_heap_that_stays_sparse, 0, 4);
        tcase_add_loop_test(tc, what_others_made_real_comes_back, 0, 4);
        tcase_add_test(tc, what_was_locked_before_the_first_block_comes_back_with_that);
        suite_add_tcase(suite, dumps);
        suite_add_tcase(suite, tc);
        tc = tcase_create("sweeps");
        tcase_add_checked_fixture(tc, heap_dir_empty, heap_dir_empty);
        tcase_set_timeout(tc, 120);
        tcase_add_loop_test(tc, who_stops_or_dies_in_a_sweep_costs_others_one_chunk_or_nothing, 0, 2);
        tcase_add_loop_test(tc, growth_that_the_dead_are_in_the_way_of_settles_them_and_goes_on, 0,
                            sizeof growths / sizeof growths[0]);
        suite_add_tcase(suite, tc);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
