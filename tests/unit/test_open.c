/*
 * What is at stake: one process has a heap open once however it gets at it, an address belongs to the heap that it lies
 * in while others come and go, and whatever cannot be opened or changed says so and leaves nothing behind.
 */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/heap.h"
#include "api/quick.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_HEAPS = 6, N_WALLS = 64, N_CHURNS = 60, N_LOOKS = 1000000 };

#define MIB (UINT64_C(1) << 20)

static void
setup(void)
{
        heap_dir_empty();
}

static void
teardown(void)
{
        heap_dir_empty();
}

static int
ctl_set(shheap *h, const char *name, uint64_t value)
{
        return shheap_ctl(h, name, NULL, NULL, &value, sizeof value);
}

static void
close_heap(shheap *h)
{
        ck_assert_msg(shheap_close(h) == 0, "%s", shheap_errormsg());
}

/* ------------------------------------------------------------------ one handle per heap */

START_TEST(opening_again_gives_the_same_handle_until_the_last_close)
{
        shheap *h = heap_dir_open("one", SHHEAP_CREATE, NULL), *again = heap_dir_open("one", SHHEAP_CREATE, NULL),
               *by_fd;
        int fd = shheap_dup_fd(h, 0);
        void *p;

        ck_assert_ptr_eq(h, again);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(shheap_open_fd(&by_fd, fd, 0), 0);
        ck_assert_ptr_eq(h, by_fd);
        close(fd);
        close_heap(h);
        close_heap(h);
        p = shheap_malloc(h, 100);
        ck_assert_ptr_nonnull(p);
        shheap_free(h, p);
        close_heap(h);
        ck_assert_int_eq(shheap_close(h), -EBADF);
        ck_assert_int_eq(shheap_close(NULL), -EBADF);
}
END_TEST

START_TEST(name_that_was_unlinked_and_created_again_is_another_heap)
{
        shheap *old = heap_dir_open("twice", SHHEAP_CREATE, NULL), *new;
        char *p, *q;

        ck_assert_int_eq(shheap_unlink("twice"), 0);
        new = heap_dir_open("twice", SHHEAP_CREATE | SHHEAP_EXCL, NULL);
        ck_assert_ptr_ne(old, new);
        ck_assert_uint_ne(heap_ctl(old, "heap.id"), heap_ctl(new, "heap.id"));
        ck_assert_uint_ne(heap_ctl(old, "heap.base"), heap_ctl(new, "heap.base"));
        p = shheap_malloc(old, 100);
        q = shheap_malloc(new, 100);
        ck_assert_uint_ne(shheap_ref(old, p), SHREF_NULL);
        ck_assert_uint_eq(shheap_ref(old, q), SHREF_NULL);
        ck_assert_ptr_eq(handle_of_address(p), old);
        ck_assert_ptr_eq(handle_of_address(q), new);
        shfree(p);
        shfree(q);
        close_heap(old);
        close_heap(new);
}
END_TEST

START_TEST(block_of_any_open_heap_is_freed_by_its_address)
{
        shheap *heaps[N_HEAPS];
        char name[16], *blocks[N_HEAPS];

        for (int i = 0; i < N_HEAPS; i++) {
                snprintf(name, sizeof name, "h%d", i);
                heaps[i] = heap_dir_open(name, SHHEAP_CREATE, NULL);
                blocks[i] = shheap_malloc(heaps[i], 5000);
                ck_assert_ptr_nonnull(blocks[i]);
        }
        for (int i = N_HEAPS - 1; i >= 0; i--) {
                ck_assert_uint_ge(shmalloc_usable_size(blocks[i]), 5000);
                ck_assert_uint_eq(shref_of(blocks[i]), shheap_ref(heaps[i], blocks[i]));
                shfree(blocks[i]);
        }
        for (int i = 0; i < N_HEAPS; i++) {
                ck_assert_uint_eq(heap_ctl(heaps[i], "stats.allocated"), 0);
                heap_assert_clean(heaps[i]);
                close_heap(heaps[i]);
        }
        ck_assert_ptr_null(handle_of_address(blocks[0]));
        ck_assert_uint_eq(shref_of(blocks[0]), SHREF_NULL);
}
END_TEST

/* By turns each of many heaps is used, by its handle and by the addresses of its blocks, and one of them goes and comes
 * again: what the thread has kept of it is of no use then. */
START_TEST(thread_finds_each_of_many_heaps_while_some_come_and_go)
{
        shheap *heaps[N_HEAPS];
        char name[N_HEAPS][16];
        void *wall[N_WALLS];

        for (int i = 0; i < N_HEAPS; i++) {
                snprintf(name[i], sizeof name[i], "k%d", i);
                heaps[i] = heap_dir_open(name[i], SHHEAP_CREATE, NULL);
        }
        for (int round = 0; round < 2 * N_HEAPS; round++) {
                int goes = round * 7 % N_HEAPS;

                for (int i = 0; i < N_HEAPS; i++) {
                        char *p = shheap_malloc(heaps[i], 100), *q = shheap_malloc(heaps[(i + 1) % N_HEAPS], 200);
                        char *near = shheap_malloc_near(p, 200);

                        ck_assert_ptr_eq(shheap_of(p), heaps[i]);
                        ck_assert_ptr_eq(shheap_of(q), heaps[(i + 1) % N_HEAPS]);
                        ck_assert_ptr_eq(shheap_of(near), heaps[i]);
                        shfree(p);
                        shfree(q);
                        shfree(near);
                }
                for (int i = 0; i < N_HEAPS; i++)
                        ck_assert_uint_eq(heap_ctl(heaps[i], "stats.allocated"), 0);
                close_heap(heaps[goes]);
                for (int i = 0; i < N_WALLS; i++) /* no new cache comes to lie where the old one was */
                        wall[i] = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
                if (round % 2)
                        ck_assert_int_eq(shheap_unlink(name[goes]), 0);
                heaps[goes] = heap_dir_open(name[goes], SHHEAP_CREATE, NULL);
                shfree(shheap_malloc(heaps[goes], 100));
                for (int i = 0; i < N_WALLS; i++)
                        munmap(wall[i], 4096);
        }
        for (int i = 0; i < N_HEAPS; i++)
                close_heap(heaps[i]);
}
END_TEST

/* What is known of several heaps, too, is not used by what a handler, or the thread after a jump, calls meanwhile. */
START_TEST(no_hit_finds_a_cache_that_a_call_is_in)
{
        shheap *mine = heap_dir_open("default", SHHEAP_CREATE, NULL),
               *other = heap_dir_open("other", SHHEAP_CREATE, NULL);
        const struct magazine *m;
        struct tcache *t;
        void *p[3];
        uint64_t n;

        ck_assert_int_eq(shheap_set_default(mine), 0);
        for (int i = 0; i < 3; i++)
                p[i] = shheap_malloc(other, 64);
        shfree(p[0]);
        shheap_free(mine, shheap_malloc(mine, 64));
        t = tcache_find(other);
        ck_assert_ptr_eq(quick_tcache(other), t);
        ck_assert_ptr_eq(quick_tcache_at(p[1]), t);
        m = tcache_magazine(t, t->malloc_at[t->by_size[64]]);
        n = m->n;
        tcache_enter(t);
        ck_assert_ptr_ne(quick_tcache(other), t);
        ck_assert_ptr_ne(quick_tcache_at(p[1]), t);
        shheap_free(other, shheap_malloc(other, 64));
        shfree(p[1]);
        ck_assert_uint_eq(m->n, n);
        ck_assert_ptr_ne(tcache_find(other), t);
        tcache_leave(t);
        ck_assert_ptr_eq(quick_tcache(other), t);
        shheap_free(other, p[2]);
        ck_assert_uint_eq(m->n, n + 1);
        ck_assert_uint_eq(heap_ctl(other, "stats.allocated"), 0);
        heap_assert_clean(other);
        close_heap(other);
        close_heap(mine);
}
END_TEST

/* ------------------------------------------------------------------ what is refused */

START_TEST(bad_arguments_are_refused_with_a_reason)
{
        struct {
                struct shheap_attr attr;
                uint64_t later;
        } longer = {.attr = SHHEAP_ATTR_INIT};
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h = NULL;

        ck_assert_int_eq(shheap_open(&h, "no/slashes", SHHEAP_CREATE, NULL), -EINVAL);
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE | 1u << 17, NULL), -EINVAL);
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_EXCL, NULL), -EINVAL);
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE | SHHEAP_RDONLY, NULL), -EINVAL);
        ck_assert_int_eq(shheap_open(&h, "x", 0, NULL), -ENOENT);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "\"x\""));
        attr.size = 0;
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE, &attr), -EINVAL);
        attr.size = sizeof attr;
        attr.conf = "capacity:4M,capacty:8M";
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE, &attr), -EINVAL);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "capacty"));
        longer.attr.size = sizeof longer;
        longer.later = 1;
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE, &longer.attr), -EINVAL);
        ck_assert_int_eq(shheap_open_fd(&h, -1, 0), -EBADF);
        ck_assert_int_eq(shheap_open_fd(&h, STDERR_FILENO, SHHEAP_CREATE), -EINVAL);
        ck_assert_int_eq(shheap_unlink("x"), -ENOENT);
        ck_assert_ptr_null(h);
        ck_assert_int_eq(heap_dir_count(), 0);
        longer.later = 0;
        longer.attr.capacity = 4 * MIB;
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE, &longer.attr), 0);
        ck_assert_int_eq(shheap_open(&h, "x", SHHEAP_CREATE | SHHEAP_EXCL, NULL), -EEXIST);
        ck_assert_int_eq(shheap_dup_fd(h, SHHEAP_CREATE), -EINVAL);
        close_heap(h);
}
END_TEST

START_TEST(caller_who_knew_fewer_attributes_gets_defaults_for_the_rest)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;

        attr.size = offsetof(struct shheap_attr, max_capacity);
        attr.capacity = 8 * MIB;
        attr.max_capacity = 1; /* beyond what the caller knew: whatever lies there */
        attr.conf = (const char *)1;
        ck_assert_msg(shheap_open(&h, "old", SHHEAP_CREATE, &attr) == 0, "%s", shheap_errormsg());
        ck_assert_uint_eq(heap_ctl(h, "heap.max_capacity"), 8 * MIB);
        close_heap(h);
}
END_TEST

START_TEST(taken_address_is_refused_unless_any_will_do)
{
        shheap *h = heap_dir_open("moved", SHHEAP_CREATE, NULL), *elsewhere = NULL;
        void *base = (void *)(uintptr_t)heap_ctl(h, "heap.base"), *p;
        shref ref;

        p = shheap_malloc(h, 100);
        memcpy(p, "shared", 7);
        ref = shheap_ref(h, p);
        close_heap(h);
        ck_assert_ptr_eq(mmap(base, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE, -1, 0), base);
        ck_assert_int_eq(shheap_open(&elsewhere, "moved", 0, NULL), -EADDRINUSE);
        ck_assert_ptr_null(elsewhere);
        elsewhere = heap_dir_open("moved", SHHEAP_RELOCATABLE, NULL);
        ck_assert_ptr_ne((void *)(uintptr_t)heap_ctl(elsewhere, "heap.base"), base);
        p = shheap_ptr(elsewhere, ref);
        ck_assert_str_eq(p, "shared");
        shheap_free(elsewhere, p);
        for (int i = 0; i < 1000; i++)
                ck_assert_ptr_nonnull(shheap_malloc(elsewhere, 48));
        heap_assert_clean(elsewhere);
        close_heap(elsewhere);
        munmap(base, 4096);
}
END_TEST

START_TEST(references_outside_of_the_heap_are_null)
{
        shheap *h = heap_dir_open("refs", SHHEAP_CREATE, NULL);
        char *p = shheap_malloc(h, 100);
        uint64_t chunks = h->region.layout.chunks_off;

        ck_assert_uint_eq(shheap_ref(h, NULL), SHREF_NULL);
        ck_assert_uint_eq(shheap_ref(h, &p), SHREF_NULL);
        ck_assert_uint_eq(shheap_ref(h, h->region.base), SHREF_NULL);
        ck_assert_ptr_null(shheap_ptr(h, SHREF_NULL));
        ck_assert_ptr_null(shheap_ptr(h, 64));
        ck_assert_ptr_null(shheap_ptr(h, chunks - 1));
        ck_assert_ptr_null(shheap_ptr(h, chunks + 64 * MIB));
        ck_assert_ptr_null(shheap_ptr(h, UINT64_MAX));
        ck_assert_ptr_eq(shheap_ptr(h, shheap_ref(h, p + 7)), p + 7);
        ck_assert_int_eq(shheap_node_of(h, p + 7), 0);
        ck_assert_int_eq(shheap_node_of(h, p + 40 * MIB), -EINVAL);
        ck_assert_int_eq(shheap_node_of(h, &p), -EINVAL);
        ck_assert_ptr_eq(shheap_of(p + 7), h);
        ck_assert_ptr_null(shheap_of(&p));
        ck_assert_ptr_null(shheap_of(h->region.base));
        ck_assert_ptr_null(shheap_of(NULL));
        ck_assert_ptr_null(shptr_of(shheap_ref(h, p)));
        ck_assert_int_eq(shheap_set_default(h), 0);
        ck_assert_ptr_eq(shptr_of(shheap_ref(h, p)), p);
        shheap_free(h, p);
        close_heap(h);
}
END_TEST

/* Others are in the way that have no name any more. */
START_TEST(new_heap_that_may_lie_anywhere_lies_at_its_own_address)
{
        shheap *heaps[80];
        enum { N = sizeof heaps / sizeof heaps[0] };

        for (int i = 0; i < N; i++) {
                char name[16];

                snprintf(name, sizeof name, "%d", i);
                heaps[i] = heap_dir_open(name, SHHEAP_CREATE | SHHEAP_RELOCATABLE, "max_threads:16");
                ck_assert(!heaps[i]->region.is_relocated);
                ck_assert_int_eq(shheap_unlink(name), 0);
        }
        for (int i = 0; i < N; i++)
                close_heap(heaps[i]);
}
END_TEST

/* ------------------------------------------------------------------ read-only */

static int
count_root(const char *name, void *obj, size_t size, void *arg)
{
        ck_assert_str_eq(name, "found");
        ck_assert_ptr_nonnull(obj);
        ck_assert_uint_eq(size, 64);
        ++*(int *)arg;
        return 0;
}

START_TEST(read_only_heap_is_looked_at_and_not_changed)
{
        shheap *h = heap_dir_open("ro", SHHEAP_CREATE, NULL), *ro;
        void *obj, *seen = NULL;
        size_t bytes = 0;
        int fd, n = 0;

        ck_assert_int_eq(shheap_root(h, "found", 64, 0, NULL, NULL, &obj), 0);
        memcpy(obj, "here", 5);
        ck_assert_int_eq(shheap_open(&ro, "ro", SHHEAP_RDONLY, NULL), -EBUSY);
        fd = shheap_dup_fd(h, SHHEAP_RDONLY);
        close_heap(h);
        ck_assert_int_lt(shheap_open_fd(&ro, fd, 0), 0); /* not through this descriptor */
        ck_assert_int_eq(shheap_open_fd(&ro, fd, SHHEAP_RDONLY), 0);
        close(fd);
        ck_assert_int_eq(shheap_root(ro, "found", 64, 0, NULL, NULL, &seen), 0);
        ck_assert_str_eq(seen, "here");
        ck_assert_int_eq(shheap_root(ro, "lost", 64, 0, NULL, NULL, &seen), -EACCES);
        ck_assert_int_eq(shheap_root_find(ro, "found", &obj, &bytes), 0);
        ck_assert(obj == seen && bytes == 64);
        ck_assert_int_eq(shheap_root_find(ro, "lost", &obj, &bytes), -ENOENT);
        ck_assert_int_eq(shheap_root_iterate(ro, count_root, &n), 0);
        ck_assert_int_eq(n, 1);
        errno = 0;
        ck_assert_ptr_null(shheap_malloc(ro, 10));
        ck_assert_int_eq(errno, EACCES);
        ck_assert_int_eq(shheap_reap(ro), -EACCES);
        ck_assert_int_eq(shheap_purge(ro, -1), -EACCES);
        ck_assert_int_eq(shheap_reserve(ro, 1), -EACCES);
        ck_assert_int_eq(shheap_root_remove(ro, "found"), -EACCES);
        ck_assert_int_eq(shheap_set_default(ro), -EACCES);
        ck_assert_int_eq(ctl_set(ro, "heap.decay_ms", 0), -EACCES);
        ck_assert_int_eq(shheap_dup_fd(ro, 0), -EACCES);
        ck_assert_uint_eq(heap_ctl(ro, "heap.clients"), 0);
        ck_assert_uint_eq(heap_ctl(ro, "stats.allocated"), shheap_usable_size(ro, seen));
        heap_assert_clean(ro);
        close_heap(ro);
}
END_TEST

/* In the midst of a block, the default heap's too; of sizes that no hit serves; of a thread that has no cache yet. */
static void *
take_near(void *arg)
{
        const size_t sizes[] = {0, 1, 100, 30000, 2 * MIB, 5 * MIB};

        for (int i = 0; i < 12; i++) {
                char *p = shheap_malloc_near((char *)arg + 7, sizes[i % 6]);

                ck_assert_ptr_eq(shheap_of(p), shheap_of(arg));
                ck_assert_uint_ge(shheap_usable_size(shheap_of(p), p), sizes[i % 6]);
                memset(p, 1, sizes[i % 6]);
                shheap_free(shheap_of(arg), p);
        }
        return NULL;
}

static int
near_error(const void *p, size_t size)
{
        errno = 0;
        return shheap_malloc_near(p, size) ? 0 : errno;
}

START_TEST(block_is_had_of_the_heap_in_which_an_address_lies)
{
        shheap *a = heap_dir_open("near", SHHEAP_CREATE, NULL), *b = heap_dir_open("far", SHHEAP_CREATE, NULL), *ro;
        char *p = shheap_malloc(a, 100), *q = shheap_malloc(b, 100);
        volatile size_t never = SIZE_MAX / 2;
        pthread_t thread;

        for (int round = 0; round < 3; round++) {
                take_near(p);
                take_near(q);
                ck_assert_int_eq(shheap_set_default(round == 0 ? b : a), 0);
        }
        ck_assert_int_eq(pthread_create(&thread, NULL, take_near, q), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        ck_assert_int_eq(near_error(p, never), ENOMEM);
        ck_assert_int_eq(near_error(NULL, 100), EBADF);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "shheap_malloc_near"));
        ck_assert_int_eq(near_error(&p, 100), EBADF);
        ck_assert_int_eq(near_error(a->region.base, 100), EBADF); /* its tables */
        close_heap(a);
        ck_assert_int_eq(near_error(p, 100), EBADF);
        take_near(q);
        ck_assert_int_eq(shheap_open(&ro, "near", SHHEAP_RDONLY, NULL), 0);
        ck_assert_int_eq(near_error(p, 100), EACCES);
        close_heap(ro);
        shheap_free(b, q);
        ck_assert_uint_eq(heap_ctl(b, "stats.allocated"), 0);
        close_heap(b);
}
END_TEST

/* ------------------------------------------------------------------ options, settings */

START_TEST(options_of_the_process_take_effect)
{
        shheap *h = heap_dir_open("opts", SHHEAP_CREATE, "junk:true,decay_ms:-1");
        unsigned char *p = shheap_malloc(h, 100);
        const volatile unsigned char *freed;

        ck_assert_int_eq(p[0], 0xa5);
        ck_assert_int_eq(p[99], 0xa5);
        freed = (const volatile unsigned char *)shheap_ptr(h, shheap_ref(h, p)); /* not what the compiler knows as p */
        shheap_free(h, p);
        ck_assert_int_eq(freed[50], 0x5a);
        ck_assert_int_eq((int64_t)heap_ctl(h, "heap.decay_ms"), -1);
        close_heap(h);
        h = heap_dir_open("opts", 0, "zero:true");
        for (int i = 0; i < 200; i++) {
                p = shheap_malloc(h, 100);
                ck_assert_int_eq(p[50], 0);
        }
        close_heap(h);
}
END_TEST

START_TEST(capacity_grows_while_the_heap_is_in_use)
{
        shheap *h = heap_dir_open("grow", SHHEAP_CREATE, "capacity:8M,max_capacity:32M");
        int n = 0, n_grown = 0;

        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 8 * MIB);
        while (shheap_malloc(h, MIB))
                n++;
        ck_assert_int_eq(errno, ENOMEM);
        ck_assert_int_ge(n, 7);
        ck_assert_int_eq(ctl_set(h, "heap.capacity", 33 * MIB), -EINVAL);
        ck_assert_int_eq(ctl_set(h, "heap.capacity", UINT64_MAX), -EINVAL);
        ck_assert_int_eq(ctl_set(h, "heap.capacity", 4 * MIB), -EINVAL);
        ck_assert_int_eq(ctl_set(h, "heap.capacity", 31 * MIB), 0); /* in whole chunks */
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 32 * MIB);
        while (shheap_malloc(h, MIB))
                n_grown++;
        ck_assert_int_ge(n_grown, 23);
        heap_assert_clean(h);
        close_heap(h);
}
END_TEST

START_TEST(settings_answer_by_name)
{
        shheap *h = heap_dir_open("ctl", SHHEAP_CREATE, "arenas:3");
        char text[64];
        uint64_t value, old;
        size_t length = sizeof text, eight = 8;

        ck_assert_int_eq(shheap_ctl(NULL, "version", text, &length, NULL, 0), 0);
        ck_assert_str_eq(text, "0.1");
        ck_assert_uint_eq(length, 4);
        length = 3;
        ck_assert_int_eq(shheap_ctl(NULL, "version", text, &length, NULL, 0), -ERANGE);
        length = sizeof text;
        ck_assert_int_eq(shheap_ctl(h, "heap.name", text, &length, NULL, 0), 0);
        ck_assert_str_eq(text, "ctl");
        ck_assert_int_eq(shheap_ctl(h, "heap.name", NULL, NULL, "x", 2), -EPERM);
        ck_assert_int_eq(shheap_ctl(NULL, "heap.id", &value, &eight, NULL, 0), -EBADF);
        ck_assert_int_eq(shheap_ctl(h, "heap.nonsense", &value, &eight, NULL, 0), -ENOENT);
        length = 4;
        ck_assert_int_eq(shheap_ctl(h, "heap.id", &value, &length, NULL, 0), -EINVAL);
        ck_assert_int_eq(ctl_set(h, "heap.id", 1), -EPERM);
        ck_assert_uint_eq(heap_ctl(h, "heap.arenas"), 3);
        ck_assert_uint_eq(heap_ctl(h, "heap.nodes"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.numa_policy"), SHHEAP_NUMA_LOCAL);
        ck_assert_uint_lt(heap_ctl(h, "thread.arena"), 3);
        ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
        ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
        value = 5;
        ck_assert_int_eq(shheap_ctl(h, "heap.decay_ms", &old, &eight, &value, 8), 0);
        ck_assert_uint_eq(old, 10000);
        ck_assert_uint_eq(heap_ctl(h, "heap.decay_ms"), 5);
        ck_assert_int_eq(ctl_set(h, "heap.decay_ms", (uint64_t)-2), -EINVAL);
        close_heap(h);
}
END_TEST

/* A mark of the heap that somebody else moves, up and down. */
struct moving {
        uint32_t *mark, high;
        bool is_over;
};

static void *
move_mark(void *arg)
{
        struct moving *m = arg;

        for (uint32_t i = 0; !__atomic_load_n(&m->is_over, __ATOMIC_RELAXED); i++)
                __atomic_store_n(m->mark, i % 2 ? m->high : 0, __ATOMIC_RELAXED);
        __atomic_store_n(m->mark, m->high, __ATOMIC_RELAXED);
        return NULL;
}

START_TEST(figures_survive_a_mark_that_sinks_meanwhile)
{
        static const char *const names[] = {"heap.threads", "stats.purged", "stats.reaped", "stats.dropped"};
        shheap *h = heap_dir_open("sinks", SHHEAP_CREATE, NULL);
        struct moving moving = {.mark = &h->region.header->threads_hwm, .high = h->region.header->threads_hwm};
        pthread_t mover;

        ck_assert_int_eq(pthread_create(&mover, NULL, move_mark, &moving), 0);
        for (int i = 0; i < N_LOOKS; i++)
                (void)heap_ctl(h, names[i % 4]);
        __atomic_store_n(&moving.is_over, true, __ATOMIC_RELAXED);
        ck_assert_int_eq(pthread_join(mover, NULL), 0);
        close_heap(h);
}
END_TEST

/* ------------------------------------------------------------------ memory in advance */

START_TEST(populated_heap_has_all_its_pages)
{
        shheap *h = heap_dir_open("full", SHHEAP_CREATE | SHHEAP_POPULATE, "capacity:8M");

        ck_assert_uint_ge(heap_ctl(h, "stats.mapped"), 8 * MIB);
        ck_assert_ptr_eq(heap_dir_open("full", SHHEAP_POPULATE, NULL), h);
        close_heap(h);
        close_heap(h);
}
END_TEST

START_TEST(reserved_memory_is_had_without_growing)
{
        shheap *h = heap_dir_open("reserve", SHHEAP_CREATE, "decay_ms:-1");
        uint64_t mapped;
        size_t got = 0;

        ck_assert_int_eq(shheap_reserve(h, 20 * MIB), 0);
        mapped = heap_ctl(h, "stats.mapped");
        ck_assert_uint_ge(mapped, 20 * MIB);
        ck_assert_int_eq(shheap_reserve(h, 20 * MIB), 0); /* which it is */
        ck_assert_uint_eq(heap_ctl(h, "stats.mapped"), mapped);
        while (got < 19 * MIB && shheap_mallocx(h, MIB, SHA_NOGROW))
                got += MIB;
        ck_assert_uint_ge(got, 19 * MIB);
        ck_assert_uint_eq(heap_ctl(h, "stats.mapped"), mapped);
        ck_assert_int_eq(shheap_reserve(h, 100 * MIB), -ENOMEM);
        heap_assert_clean(h);
        close_heap(h);
}
END_TEST

START_TEST(purged_memory_is_the_systems_again)
{
        shheap *h = heap_dir_open("purge", SHHEAP_CREATE, "decay_ms:-1");
        uint64_t empty = heap_ctl(h, "stats.mapped");
        void *blocks[40];

        for (int i = 0; i < 40; i++)
                ck_assert_ptr_nonnull(blocks[i] = shheap_malloc(h, i % 2 ? 100000 : 900000));
        ck_assert_uint_gt(heap_ctl(h, "stats.mapped"), empty + 18 * MIB);
        for (int i = 0; i < 40; i++)
                shheap_free(h, blocks[i]);
        ck_assert_int_eq(shheap_purge(h, 7), -EINVAL);
        ck_assert_int_eq(shheap_purge(h, -1), 0);
        ck_assert_uint_lt(heap_ctl(h, "stats.mapped"), empty + MIB);
        ck_assert_uint_gt(heap_ctl(h, "stats.purged"), 18 * MIB);
        heap_assert_clean(h);
        close_heap(h);
}
END_TEST

/* ------------------------------------------------------------------ named objects */

static int
init_object(void *obj, size_t size, void *arg)
{
        for (size_t i = 0; i < size; i++)
                if (((char *)obj)[i] != 0)
                        return -EILSEQ;
        memcpy(obj, "made", 5);
        return *(int *)arg;
}

START_TEST(named_object_is_made_once_and_found_again)
{
        shheap *h = heap_dir_open("roots", SHHEAP_CREATE, NULL);
        int refusal = -EDOM, zero = 0;
        void *obj = NULL, *again = NULL;
        size_t bytes = 7;

        ck_assert_int_eq(shheap_root_find(h, "it", &obj, &bytes), -ENOENT);
        ck_assert_int_eq(shheap_root_find(h, "", &obj, &bytes), -EINVAL);
        ck_assert(!obj && bytes == 7);
        ck_assert_int_eq(shheap_root(h, "it", 0, 0, NULL, NULL, &obj), -ENOENT);
        ck_assert_int_eq(shheap_root(h, "it", 100, 0, init_object, &refusal, &obj), -EDOM);
        ck_assert_ptr_null(obj);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_int_eq(shheap_root(h, "it", 100, SHA_ARENA(0), init_object, &zero, &obj), -EINVAL);
        ck_assert_int_eq(shheap_root(h, "it", 100, 0, init_object, &zero, &obj), 0);
        ck_assert_str_eq(obj, "made");
        ck_assert_int_eq(shheap_root(h, "it", 100, 0, init_object, &refusal, &again), 0);
        ck_assert_ptr_eq(obj, again);
        ck_assert_int_eq(shheap_root(h, "it", 0, 0, NULL, NULL, &again), 0);
        ck_assert_int_eq(shheap_root(h, "it", 101, 0, NULL, NULL, &again), -EEXIST);
        ck_assert_int_eq(shheap_root_find(h, "it", &again, &bytes), 0);
        ck_assert(again == obj && bytes == 100);
        ck_assert_int_eq(shheap_root_find(h, "it", &again, NULL), 0);
        ck_assert_int_eq(shheap_root_remove(h, "it"), 0);
        ck_assert_int_eq(shheap_root_remove(h, "it"), -ENOENT);
        ck_assert_int_eq(shheap_root_find(h, "it", &again, &bytes), -ENOENT);
        heap_assert_clean(h);
        close_heap(h);
}
END_TEST

/* ------------------------------------------------------------------ heaps come and go */

struct churn {
        shheap *fixed;
        bool is_over;
};

/* Asks whose blocks are whose while the list changes. */
static void *
ask(void *arg)
{
        struct churn *churn = arg;
        char *wrong = NULL;

        for (int i = 0; !wrong && (i < 100 || !__atomic_load_n(&churn->is_over, __ATOMIC_ACQUIRE)); i++) {
                void *p = shheap_malloc(churn->fixed, 64);

                if (shmalloc_usable_size(p) < 64)
                        wrong = "a block of an open heap is in none";
                if (shmalloc_usable_size(churn) != 0)
                        wrong = "private memory is in a heap";
                shfree(p);
        }
        return wrong;
}

START_TEST(addresses_are_looked_up_while_heaps_come_and_go)
{
        struct churn churn = {.fixed = heap_dir_open("fixed", SHHEAP_CREATE, NULL)};
        pthread_t threads[2];
        void *wrong;

        for (int i = 0; i < 2; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, ask, &churn), 0);
        for (int i = 0; i < N_CHURNS; i++) {
                shheap *h = heap_dir_open(i % 3 ? "a" : "b", SHHEAP_CREATE, "capacity:4M");

                shfree(shheap_malloc(h, 64));
                close_heap(h);
        }
        __atomic_store_n(&churn.is_over, true, __ATOMIC_RELEASE);
        for (int i = 0; i < 2; i++) {
                pthread_join(threads[i], &wrong);
                ck_assert_msg(!wrong, "%s", (char *)wrong);
        }
        close_heap(churn.fixed);
}
END_TEST

static void *
open_and_close(void *arg)
{
        for (int i = 0; i < N_CHURNS; i++) {
                shheap *h = heap_dir_open(arg, SHHEAP_CREATE, "capacity:64M"); /* no thread waits for another's chunk */
                void *p = shheap_malloc(h, 1000);

                if (!p)
                        return strdup(shheap_errormsg());
                if (handle_of_address(p) != h)
                        return "a block of another heap";
                shheap_free(h, p);
                if (shheap_close(h) < 0)
                        return "close failed";
        }
        return NULL;
}

START_TEST(threads_open_and_close_the_same_heaps)
{
        static char same[] = "same", other[] = "other";
        pthread_t threads[4];
        void *wrong;

        for (int i = 0; i < 4; i++)
                ck_assert_int_eq(pthread_create(&threads[i], NULL, open_and_close, i % 2 ? same : other), 0);
        for (int i = 0; i < 4; i++) {
                pthread_join(threads[i], &wrong);
                ck_assert_msg(!wrong, "%s", (char *)wrong);
        }
        for (int i = 0; i < 2; i++) {
                shheap *h = heap_dir_open(i ? same : other, 0, NULL);

                ck_assert_uint_eq(heap_ctl(h, "heap.clients"), 1);
                ck_assert_uint_eq(heap_ctl(h, "heap.threads"), 1);
                ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
                heap_assert_clean(h);
                close_heap(h);
        }
}
END_TEST

static Suite *
suite_make(void)
{
        Suite *suite = suite_create("open");
        TCase *tcase = tcase_create("handles");

        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, opening_again_gives_the_same_handle_until_the_last_close);
        tcase_add_test(tcase, name_that_was_unlinked_and_created_again_is_another_heap);
        tcase_add_test(tcase, block_of_any_open_heap_is_freed_by_its_address);
        tcase_add_test(tcase, thread_finds_each_of_many_heaps_while_some_come_and_go);
        tcase_add_test(tcase, no_hit_finds_a_cache_that_a_call_is_in);
        tcase_add_test(tcase, bad_arguments_are_refused_with_a_reason);
        tcase_add_test(tcase, caller_who_knew_fewer_attributes_gets_defaults_for_the_rest);
        tcase_add_test(tcase, taken_address_is_refused_unless_any_will_do);
        tcase_add_test(tcase, references_outside_of_the_heap_are_null);
        tcase_add_test(tcase, new_heap_that_may_lie_anywhere_lies_at_its_own_address);
        tcase_add_test(tcase, read_only_heap_is_looked_at_and_not_changed);
        tcase_add_test(tcase, block_is_had_of_the_heap_in_which_an_address_lies);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("settings");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, options_of_the_process_take_effect);
        tcase_add_test(tcase, capacity_grows_while_the_heap_is_in_use);
        tcase_add_test(tcase, settings_answer_by_name);
        tcase_add_test(tcase, figures_survive_a_mark_that_sinks_meanwhile);
        tcase_add_test(tcase, populated_heap_has_all_its_pages);
        tcase_add_test(tcase, reserved_memory_is_had_without_growing);
        tcase_add_test(tcase, purged_memory_is_the_systems_again);
        tcase_add_test(tcase, named_object_is_made_once_and_found_again);
        suite_add_tcase(suite, tcase);

        tcase = tcase_create("threads");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, addresses_are_looked_up_while_heaps_come_and_go);
        tcase_add_test(tcase, threads_open_and_close_the_same_heaps);
        suite_add_tcase(suite, tcase);
        return suite;
}

int
main(void)
{
        int status;

        heap_dir_create("open");
        status = suite_run(suite_make());
        heap_dir_remove();
        return status;
}
