/*
 * What is at stake: programs that come to a heap in another way than by a handle and a slot of their own: by the short
 * names, in a thread that found no slot, past a client that is stopped, through a handle that is relocated or
 * read-only.  They have the whole malloc family or a clear refusal, and no block is lost on the way.
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>

#include "api/heap.h"
#include "clients/owner.h"
#include "pages/run.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/suite.h"

/* ------------------------------------------------------------------ the short names */

START_TEST(short_names_want_a_default_heap_to_allocate_but_not_to_free)
{
        shheap *other = heap_dir_open("other", SHHEAP_CREATE, NULL);
        void *untouched = &untouched;
        char *p, *q;

        errno = 0;
        NEED(!shmalloc(10) && errno == ENODEV);
        errno = 0;
        NEED(!shcalloc(1, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shrealloc(NULL, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shaligned_alloc(16, 10) && errno == ENODEV);
        errno = 0;
        NEED(!shstrdup("x") && errno == ENODEV);
        errno = EXDEV;
        NEED(shposix_memalign(&untouched, 16, 10) == ENODEV && untouched == &untouched && errno == EXDEV);
        NEED(!shptr_of(4096));

        NEED(shheap_set_default(h) == 0 && shheap_default() == h);
        p = shmalloc(100);
        NEED(p && usable(p) == 112 && shheap_usable_size(other, p) == 0);
        NEED(shref_of(p) == shheap_ref(h, p) && shptr_of(shref_of(p)) == p);
        q = shheap_malloc(other, 100);
        NEED(shmalloc_usable_size(q) == 112 && shref_of(q) == shheap_ref(other, q));
        fill(q, 100, 9);
        q = shrealloc(q, 100000); /* stays in its heap */
        NEED(q && shheap_usable_size(other, q) >= 100000 && usable(q) == 0 && holds(q, 100, 100, 9));
        q = shreallocarray(q, 100, 7);
        NEED(q && shheap_usable_size(other, q) >= 700 && holds(q, 100, 100, 9));
        shfree_sized(q, 700);
        shfree(p);
        NEED((p = shcalloc(10, 10)) != NULL && is_all(p, 0, 100, 0));
        shfree(p);
        NEED((p = shaligned_alloc(4096, 10)) != NULL && is_aligned(p, 4096));
        shfree(p);
        NEED(shposix_memalign(&untouched, 4096, 10) == 0 && is_aligned(untouched, 4096));
        shfree(untouched);
        NEED((p = shstrndup("hello", 4)) != NULL && strcmp(p, "hell") == 0);
        shfree(p);
        for (size_t size = 0; size < 3 * MIB; size += 1 + size / 7) {
                NEED((p = shmalloc(size)) != NULL && usable(p) >= size);
                fill(p, size, 7);
                shfree(p);
        }
        errno = 0;
        NEED(!shmalloc(65 * MIB) && errno == ENOMEM);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_eq(heap_ctl(other, "stats.allocated"), 0);
        heap_assert_clean(other);
        NEED(shheap_close(h) == 0 && !shmalloc(10));
        shheap_close(other);
        h = heap_dir_open("m", 0, NULL);
}
END_TEST

/* ------------------------------------------------------------------ other ways in */

/* All of the family once, for sizes of all kinds. */
static void
use_the_family(shheap *heap)
{
        for (unsigned i = 0; i < N_SOME_SIZES; i++) {
                size_t size = some_sizes[i];
                void *p = shheap_malloc(heap, size), *q = shheap_calloc(heap, 1, size), *m = NULL;
                void *a = shheap_aligned_alloc(heap, 256, size), *x = shheap_mallocx(heap, size, SHA_TCACHE_NONE);

                MUST(p && q && a && x && is_all(q, 0, size, 0) && is_aligned(a, 256));
                MUST(shheap_posix_memalign(heap, &m, 4096, size) == 0);
                fill(p, size, i);
                fill(m, size, i + 1);
                p = shheap_realloc(heap, p, size * 2);
                m = shheap_realloc(heap, m, size / 2);
                MUST(p && m && holds(p, size, size, i) && holds(m, size / 2, size, i + 1));
                MUST(shheap_usable_size(heap, p) >= size * 2);
                MUST(shheap_xallocx(heap, p, size * 2, 0, 0) >= size * 2);
                shheap_free(heap, p);
                shheap_free_sized(heap, q, size);
                shheap_free_aligned_sized(heap, a, 256, size);
                shfree(m);
                shheap_free(heap, x);
        }
}

static void *
use_in_thread(void *arg)
{
        use_the_family(arg);
        return NULL;
}

START_TEST(thread_without_a_slot_has_the_whole_family)
{
        pthread_t thread;

        reopen(SHHEAP_CREATE, "max_threads:2"); /* one for this thread, one in reserve */
        for (int i = 0; i < 3; i++) {
                ck_assert_int_eq(pthread_create(&thread, NULL, use_in_thread, h), 0);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
}
END_TEST

/* As a client that is stopped in the midst of a fill or drain leaves it. */
static void
hold_slab_of(const void *p, bool is_held)
{
        struct region *r = &h->region;
        uint64_t granule = (uint64_t)((const char *)p - r->chunks) >> GEO_GRANULE_SHIFT;
        uint64_t word = owner_load(run_word(r, granule));

        NEED(granule_state(word) == GRANULE_SLAB);
        owner_store(run_word(r, granule), granule_with_owner(word, is_held ? 1 : THREAD_NONE));
}

static void *
free_in_thread(void *arg)
{
        shheap_free(h, arg);
        return NULL;
}

static void *
free_from_in_thread(void *arg)
{
        ck_assert_int_eq(shheap_free_from(h, arg), 0);
        return NULL;
}

START_TEST(free_of_a_block_whose_slab_is_held_for_ever_is_not_lost)
{
        pthread_t thread;
        shref *dest;
        void *p;

        reopen(SHHEAP_CREATE, "max_threads:2");
        dest = shheap_calloc(h, 1, sizeof *dest);
        p = shheap_malloc_to(h, 100, 0, dest);
        NEED(p);
        hold_slab_of(p, true);
        ck_assert_int_eq(pthread_create(&thread, NULL, free_from_in_thread, dest), 0); /* it has no magazines */
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        NEED(*dest == SHREF_NULL);
        hold_slab_of(p, false);
        p = shheap_malloc_to(h, 100, 0, dest);
        NEED(p);
        hold_slab_of(p, true);
        *dest = SHREF_NULL;
        ck_assert_int_eq(pthread_create(&thread, NULL, free_in_thread, p), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        hold_slab_of(p, false);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), usable(dest));
        heap_assert_clean(h);
        shheap_free(h, dest);
}
END_TEST

/* Finds something in the way where the heap belongs. */
static void
use_relocated(void)
{
        void *base = (void *)(uintptr_t)heap_ctl(h, "heap.base"), *in_the_way;
        shheap *other;
        char *p, *q;
        shref ref;

        p = shheap_malloc(h, 1000);
        fill(p, 1000, 5);
        ref = shheap_ref(h, p);
        q = shheap_malloc(h, 300);
        shheap_close(h);
        in_the_way = mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0);
        MUST(in_the_way == base);
        MUST(shheap_open(&other, "m", 0, NULL) == -EADDRINUSE);
        MUST(shheap_open(&other, "m", SHHEAP_RELOCATABLE, NULL) == 0);
        MUST((void *)(uintptr_t)heap_ctl(other, "heap.base") != base);
        q = shheap_ptr(other, ref);
        MUST(q != p && holds(q, 1000, 1000, 5) && shheap_usable_size(other, q) == 1024);
        q = shheap_realloc(other, q, 100000);
        MUST(q && holds(q, 1000, 1000, 5));
        shheap_free(other, q);
        use_the_family(other);
        MUST(shheap_set_default(other) == 0);
        for (int round = 0; round < 3; round++) {
                char *list[500];

                for (int i = 0; i < 500; i++) {
                        MUST((list[i] = shmalloc((size_t)i * 3)) != NULL);
                        fill(list[i], (size_t)i * 3, (unsigned)i);
                }
                for (int i = 0; i < 500; i++) {
                        MUST(holds(list[i], (size_t)i * 3, (size_t)i * 3, (unsigned)i));
                        shfree(list[i]);
                }
        }
        MUST(heap_ctl(other, "stats.allocated") == 304 || heap_ctl(other, "stats.allocated") == 320);
        heap_assert_clean(other);
        shheap_close(other);
        munmap(in_the_way, 4096);
}

START_TEST(family_works_where_the_heap_lies_elsewhere)
{
        in_child(use_relocated);
        use_the_family(h);
}
END_TEST

static void
use_what_may_not_be_used(void)
{
        shheap *old = h;
        void *p;

        MUST(shheap_close(h) == 0);
        errno = 0;
        MUST(shheap_open(&h, "m", SHHEAP_RDONLY, NULL) == 0);
        errno = 0;
        MUST(!shheap_malloc(h, 10) && errno == EACCES);
        errno = 0;
        MUST(!shheap_calloc(h, 1, 10) && errno == EACCES);
        MUST(shheap_posix_memalign(h, &p, 16, 10) == EACCES);
        MUST(shheap_reserve(h, 10) == -EACCES && shheap_set_default(h) == -EACCES);
        (void)old;
}

START_TEST(read_only_handle_gives_eacces)
{
        in_child(use_what_may_not_be_used);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("ways_in");
        TCase *tcase = tcase_create("ways in");
        int status;

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, short_names_want_a_default_heap_to_allocate_but_not_to_free);
        tcase_add_test(tcase, thread_without_a_slot_has_the_whole_family);
        tcase_add_test(tcase, free_of_a_block_whose_slab_is_held_for_ever_is_not_lost);
        tcase_add_test(tcase, family_works_where_the_heap_lies_elsewhere);
        tcase_add_test(tcase, read_only_handle_gives_eacces);
        suite_add_tcase(suite, tcase);

        heap_dir_create("ways_in");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
