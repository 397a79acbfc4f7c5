/*
 * What is at stake: what programs ask for beyond malloc.  A block comes from the arena that was named, from reserved
 * memory without a system call, past the caches, or together with the word that refers to it, and a walk names each
 * block once.  What cannot be granted is refused: a wish that is silently ignored shows much later, as a stall or as a
 * block that nobody refers to.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "api/heap.h"
#include "clients/owner.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ flags */

/* Programs and bindings that were compiled before have these numbers. */
_Static_assert(SHA_ZERO == 0x40u && SHA_TCACHE_NONE == 0x100u && SHA_NOGROW == 0x200u, "bits");
_Static_assert(SHA_NODE_LOCAL == SHA_NODE(0xfe) && SHA_NODE_SPREAD == SHA_NODE(0xfd), "nodes that no heap has");
_Static_assert(SHA_NODE(0) == 0x1000u && SHA_ARENA(0) == 0x100000u && SHA_NODES(5) == 0x5800u, "places");
_Static_assert(SHHEAP_CREATE == 1 && SHHEAP_EXCL == 2 && SHHEAP_RDONLY == 4 && SHHEAP_RELOCATABLE == 8, "opening");
_Static_assert(SHHEAP_REPLACE_STALE == 16 && SHHEAP_POPULATE == 32 && SHHEAP_CHECK_QUIESCENT == 1, "and checking");
_Static_assert(sizeof(SHREF_NULL) == 8 && SHREF_NULL == 0 && ~SHA_ZERO > 0, "of their type");
#if !defined(SHA_ZERO) || !defined(SHREF_NULL)
#error "a source file may ask for a flag by #ifdef"
#endif

static int
find_block(const struct shheap_block *block, void *arg)
{
        struct shheap_block *wanted = arg;

        if (block->ref != wanted->ref)
                return 0;
        *wanted = *block;
        return 1;
}

static uint32_t
arena_of(const void *p)
{
        struct shheap_block block = {.ref = shheap_ref(h, p)};

        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, find_block, &block) == 1);
        NEED(block.size == sizeof block && block.usable == usable(p));
        return block.arena;
}

START_TEST(blocks_come_from_the_arena_that_is_asked_for)
{
        const size_t sizes[] = {10, 5000, 100000, 2 * MIB};

        for (unsigned arena = 0; arena < 2; arena++)
                for (unsigned i = 0; i < 4; i++) {
                        void *p = shheap_mallocx(h, sizes[i], SHA_ARENA(arena));
                        void *q = shheap_mallocx(h, sizes[i], SHA_ARENA(arena) | SHA_NODE(0) | SHA_LG_ALIGN(8));

                        NEED(p && arena_of(p) == arena && q && arena_of(q) == arena && is_aligned(q, 256));
                        shheap_free(h, p);
                        shheap_free(h, q);
                }
}
END_TEST

START_TEST(flags_that_nobody_knows_and_places_that_are_not_there_are_einval)
{
        const unsigned bad[] = {0x80u,           0x400u,       0x800u,       SHA_ARENA(heap_ctl(h, "heap.arenas")),
                                SHA_ARENA(4000), SHA_NODE(64), SHA_NODE(200)};
        void *p = shheap_malloc(h, 100);
        shref *dest = shheap_calloc(h, 1, sizeof *dest);

        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                errno = 0;
                NEED(!shheap_mallocx(h, 100, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_rallocx(h, p, 3000, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_rallocx(h, p, 100, bad[i]) && errno == EINVAL);
                errno = 0;
                NEED(!shheap_malloc_to(h, 100, bad[i], dest) && errno == EINVAL && *dest == SHREF_NULL);
        }
        shheap_free(h, p);
        shheap_free(h, dest);
}
END_TEST

START_TEST(tcache_none_leaves_the_caches_alone)
{
        uint64_t cached;
        void *p[100];

        for (int i = 0; i < 100; i++)
                p[i] = shheap_malloc(h, 200);
        for (int i = 0; i < 100; i++)
                shheap_free(h, p[i]);
        cached = heap_ctl(h, "stats.cached");
        for (int i = 0; i < 100; i++)
                NEED((p[i] = shheap_mallocx(h, 200, SHA_TCACHE_NONE)) != NULL);
        ck_assert_uint_eq(heap_ctl(h, "stats.cached"), cached);
        for (int i = 0; i < 100; i++)
                shheap_free(h, p[i]);
}
END_TEST

/* ------------------------------------------------------------------ without growing */

/* From here on a system call that could give memory to the heap kills the process. */
static void
forbid_growth(void)
{
        struct sock_filter code[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fallocate, 2, 0),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ftruncate, 1, 0),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
        };
        struct sock_fprog prog = {.len = sizeof code / sizeof code[0], .filter = code};

        MUST(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0);
        MUST(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog) == 0);
}

static uint64_t
st_blocks(void)
{
        return heap_ctl(h, "stats.mapped");
}

/* Allocates blocks of a size, touching them all, until there are no more.  Their bytes. */
static size_t
exhaust(size_t size, unsigned flags)
{
        size_t bytes = 0;
        void **last = NULL, **p;

        while ((p = shheap_mallocx(h, size, flags)) != NULL) {
                memset(p, 0x11, usable(p));
                *p = last;
                last = p;
                bytes += usable(p);
        }
        MUST(errno == ENOMEM);
        for (; last; last = p) {
                p = *last;
                shheap_free(h, last);
        }
        return bytes;
}

/* Of each size by each way all that was reserved, or nearly. */
static void
exhaust_all(void)
{
        const size_t sizes[] = {64, 3000, 20000, 100000, MIB};

        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
                MUST(exhaust(sizes[i], SHA_NOGROW) >= 13 * MIB);
                MUST(exhaust(sizes[i], SHA_NOGROW | SHA_TCACHE_NONE) >= 13 * MIB);
                MUST(exhaust(sizes[i], SHA_NOGROW | SHA_ZERO | SHA_LG_ALIGN(6)) >= 12 * MIB);
        }
}

static void
take_without_growing(void)
{
        const int64_t never = -1; /* on a slow machine, what was reserved would be given back meanwhile */
        uint64_t before;
        void *p = shheap_malloc(h, 10);

        shheap_free(h, p);
        MUST(shheap_ctl(h, "heap.decay_ms", NULL, NULL, &never, sizeof never) == 0);
        MUST(shheap_reserve(h, 16 * MIB) == 0);
        exhaust_all(); /* fills have grown to whole magazines then, and after the next, */
        exhaust_all(); /* frees, which may take new magazines, have theirs */
        before = st_blocks();
        forbid_growth();
        exhaust_all();
        MUST(st_blocks() == before);
}

static void
take_from_nothing_without_growing(void)
{
        void *p = shheap_malloc(h, 10); /* attached */
        uint64_t before = st_blocks();

        forbid_growth();
        errno = 0;
        MUST(!shheap_mallocx(h, 5 * MIB, SHA_NOGROW) && errno == ENOMEM);
        errno = 0;
        MUST(!shheap_rallocx(h, p, 5 * MIB, SHA_NOGROW) && errno == ENOMEM);
        MUST(!shheap_mallocx(h, 100000, SHA_NOGROW) && !shheap_mallocx(h, 3000, SHA_NOGROW));
        MUST(st_blocks() == before);
}

START_TEST(nogrow_takes_what_was_reserved_and_makes_no_system_call_for_more)
{
        in_child(take_without_growing);
        reopen(SHHEAP_CREATE, NULL);
        in_child(take_from_nothing_without_growing);
}
END_TEST

static void
hold_all_the_same(void)
{
        exhaust(5 * MIB, 0);
        exhaust(100000, 0);
        exhaust(1000, 0);
}

static uint64_t *held; /* word of the slab of what is under construction */
static jmp_buf out_of_init;
static const struct slot_gate *gate; /* where that is named */

/* The last call that init() makes may not grow, and nobody can free the object where it belongs. */
static int
resize_without_growing(void *obj, size_t size, void *arg)
{
        struct region *r = &h->region;
        void *p = shheap_malloc(h, 1000);

        NEED(size == 100 && p && shheap_rallocx(h, p, 1000, SHA_NOGROW) == p);
        held = run_word(r, (uint64_t)((char *)obj - r->chunks) >> GEO_GRANULE_SHIFT);
        owner_release(held, granule_with_owner(owner_load(held), h->reserve.idx + 1));
        gate = tcache_last->thread.gate;
        NEED(gate->pending[0] != 0);
        if (arg)
                longjmp(out_of_init, 1);
        return -ECANCELED;
}

static void *
jump_out_and_end(void *arg)
{
        void *obj;

        if (setjmp(out_of_init) == 0)
                NEED(shheap_root(h, "a", 100, 0, resize_without_growing, &out_of_init, &obj) != 0);
        return arg;
}

/* It goes into a magazine, for which there may have to be one more. */
START_TEST(nogrow_is_over_with_its_call)
{
        pthread_t thread;
        void *obj;

        if (_i == 0) {
                NEED(shheap_root(h, "a", 100, 0, resize_without_growing, NULL, &obj) == -ECANCELED);
        } else {
                ck_assert_int_eq(pthread_create(&thread, NULL, jump_out_and_end, NULL), 0);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
        }
        ck_assert_uint_eq(gate->pending[0], 0);
        owner_release(held, granule_with_owner(owner_load(held), THREAD_NONE));
}
END_TEST

START_TEST(reserve_says_when_it_cannot)
{
        NEED(shheap_reserve(h, 0) == 0);
        NEED(shheap_reserve(h, 10 * MIB) == 0 && st_blocks() >= 10 * MIB);
        ck_assert_int_eq(shheap_reserve(h, 100 * MIB), -ENOMEM);
        ck_assert_int_eq(shheap_reserve(h, SIZE_MAX), -ENOMEM);
        in_child(hold_all_the_same);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* Of a class with so many blocks the second half of the bitmap has pages where there is a slab of it.  A damaged tag
 * says that there is: whoever only asks makes no page real, which a full file system would not give. */
START_TEST(asking_by_a_damaged_tag_takes_no_memory)
{
        char *p = shheap_malloc(h, 1024);
        uint64_t granule = (uint64_t)(p - h->region.chunks) >> GEO_GRANULE_SHIFT;
        uint16_t *tag = &h->region.tags[granule], was = *tag;
        uint64_t before = st_blocks();

        *tag = (uint16_t)tag_make(0, 0);
        ck_assert_uint_eq(shheap_usable_size(h, h->region.chunks + (granule << GEO_GRANULE_SHIFT) + 16 * 1000), 0);
        ck_assert_uint_eq(st_blocks(), before);
        *tag = was;
        ck_assert_uint_eq(shheap_usable_size(h, p), 1024);
        shheap_free(h, p);
}
END_TEST

/* ------------------------------------------------------------------ hand-over */

START_TEST(malloc_to_and_free_from_change_the_word_and_the_heap_together)
{
        shref *dest = shheap_calloc(h, 4, sizeof *dest);
        shref outside = 0;

        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                char *p = shheap_malloc_to(h, some_sizes[i], SHA_ZERO, &dest[1]);

                NEED(p && dest[1] == shheap_ref(h, p) && usable(p) >= some_sizes[i] && is_all(p, 0, some_sizes[i], 0));
                NEED(shheap_ptr(h, dest[1]) == p && dest[0] == 0 && dest[2] == 0);
                NEED(shheap_free_from(h, &dest[1]) == 0 && dest[1] == SHREF_NULL);
                ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), usable(dest));
                NEED(shheap_free_from(h, &dest[1]) == 0);
        }
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, &outside) && errno == EINVAL && outside == 0);
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, NULL) && errno == EINVAL);
        errno = 0;
        NEED(!shheap_malloc_to(h, 100, 0, (shref *)(void *)((char *)dest + 4)) && errno == EINVAL);
        errno = 0;
        NEED(!shheap_malloc_to(h, 0, 0, dest) && errno == EINVAL && dest[0] == 0);
        errno = 0;
        NEED(!shheap_malloc_to(h, 65 * MIB, 0, dest) && errno == ENOMEM && dest[0] == 0);
        NEED(shheap_free_from(h, &outside) == -EINVAL && shheap_free_from(h, NULL) == -EINVAL);
        shheap_free(h, dest);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* ------------------------------------------------------------------ walking */

struct walked {
        shref last;
        size_t n, bytes;
};

static int
count_block(const struct shheap_block *block, void *arg)
{
        struct walked *w = arg;

        if (block->ref <= w->last)
                return -EDOM;
        w->last = block->ref;
        w->n++;
        w->bytes += block->usable;
        return 0;
}

static int
stop_walk(const struct shheap_block *block, void *arg)
{
        (void)block;
        (void)arg;
        return 42;
}

START_TEST(walk_names_each_block_once_in_the_order_of_addresses)
{
        void *p[N_SOME_SIZES];
        struct walked live = {0}, gone = {0}, unused = {0};
        size_t bytes = 0;

        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                p[i] = shheap_malloc(h, some_sizes[i]);
                NEED(p[i]);
                bytes += usable(p[i]);
        }
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, count_block, &live) == 0);
        NEED(live.n == N_SOME_SIZES && live.bytes == bytes && bytes == heap_ctl(h, "stats.allocated"));
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, stop_walk, NULL) == 42);
        NEED(shheap_walk(h, 2, count_block, &live) == -EINVAL);
        for (unsigned i = 0; i < N_SOME_SIZES; i++)
                shheap_free(h, p[i]);
        NEED(shheap_walk(h, SHHEAP_WALK_LIVE, count_block, &gone) == 0 && gone.n == 0);
        NEED(shheap_walk(h, SHHEAP_WALK_FREE, count_block, &unused) == 0 && unused.n > 0);
        NEED(unused.bytes >= heap_ctl(h, "stats.cached"));
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("flags");
        TCase *tcase = tcase_create("flags");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, blocks_come_from_the_arena_that_is_asked_for);
        tcase_add_test(tcase, flags_that_nobody_knows_and_places_that_are_not_there_are_einval);
        tcase_add_test(tcase, tcache_none_leaves_the_caches_alone);
        tcase_add_test(tcase, nogrow_takes_what_was_reserved_and_makes_no_system_call_for_more);
        tcase_add_loop_test(tcase, nogrow_is_over_with_its_call, 0, 2);
        tcase_add_test(tcase, reserve_says_when_it_cannot);
        tcase_add_test(tcase, asking_by_a_damaged_tag_takes_no_memory);
        tcase_add_test(tcase, malloc_to_and_free_from_change_the_word_and_the_heap_together);
        tcase_add_test(tcase, walk_names_each_block_once_in_the_order_of_addresses);
        suite_add_tcase(suite, tcase);

        heap_dir_create("flags");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
