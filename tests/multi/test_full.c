/*
 * What is at stake: a full file system.  To a store into a page that it cannot back it answers with SIGBUS, which kills
 * programs that did nothing wrong; a heap says NULL and ENOMEM instead, goes on, and gives all of its capacity again as
 * soon as there is room, however often that happens.  Here the file system is a small tmpfs in a mount namespace of the
 * test's own, so that nothing of it stays, and every block that is handed out is written to.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support/checks.h"
#include "support/child.h"
#include "support/effort.h"
#include "support/heap_dir.h"
#include "support/small_fs.h"
#include "support/suite.h"

#define KIB ((size_t)1 << 10)
#define MIB ((size_t)1 << 20)

/* Cheaper than ck_assert(), which notes each success. */
#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        ck_abort_msg("line %d: not true: %s (errno %d, \"%s\")", __LINE__, #claim, errno,              \
                                     shheap_errormsg());                                                               \
        } while (0)

static const char *why_no_mount; /* NULL: there is a mount namespace */
static shheap *h;

/* ------------------------------------------------------------------ a small file system */

static void
resize_dir(size_t bytes)
{
        NEED(small_fs_resize(bytes));
}

static size_t
mapped(void)
{
        return heap_ctl(h, "stats.mapped");
}

/* Takes all the room but `leave` bytes. */
static void
take_room(size_t leave)
{
        size_t bytes = small_fs_room();
        char path[100];
        int fd;

        snprintf(path, sizeof path, "%s/ballast", getenv("SHMALLOC_DIR"));
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
        NEED(fd >= 0);
        if (bytes > leave)
                NEED(posix_fallocate(fd, 0, (off_t)(bytes - leave)) == 0);
        close(fd);
}

static void
leave_room(void)
{
        char path[100];

        snprintf(path, sizeof path, "%s/ballast", getenv("SHMALLOC_DIR"));
        NEED(unlink(path) == 0);
}

static void
setup(void)
{
        heap_dir_empty();
        resize_dir(6 * MIB);
        h = heap_dir_open("full", SHHEAP_CREATE, "arenas:2");
}

static void
teardown(void)
{
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
        ck_assert_uint_ge(small_fs_room(), 64 * KIB);
}

/* ------------------------------------------------------------------ filling */

struct list {
        void *first; /* each block begins with the address of the next one */
        size_t n, bytes;
};

static void
push(struct list *list, void *p)
{
        size_t usable = shheap_usable_size(h, p);

        for (size_t at = 0; at < usable; at += 4096) /* every page */
                ((char *)p)[at] = 0x33;
        ((char *)p)[usable - 1] = 0x33;
        memcpy(p, &list->first, sizeof list->first);
        list->first = p;
        list->n++;
        list->bytes += usable;
}

/* As many as can be had. */
static void
fill(struct list *list, size_t size)
{
        void *p;

        while ((p = shheap_malloc(h, size)) != NULL)
                push(list, p);
        NEED(errno == ENOMEM);
}

static void
empty(struct list *list)
{
        void *p = list->first, *next;

        for (; p; p = next) {
                memcpy(&next, p, sizeof next);
                shheap_free(h, p);
        }
        *list = (struct list){0};
}

/* Bytes in blocks of a size, when nothing else is allocated. */
static size_t
capacity_for(size_t size)
{
        struct list list = {0};
        size_t bytes;

        fill(&list, size);
        bytes = list.bytes;
        empty(&list);
        return bytes;
}

static const size_t sizes[] = {5 * MIB, 100 * KIB, 5000, 24, 3 * MIB, 1 * MIB, 300, 30 * KIB, 2 * MIB, 64};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

/* ------------------------------------------------------------------ a full file system */

START_TEST(all_that_fits_can_be_had_in_blocks_of_any_size_after_any_other)
{
        size_t most = small_fs_room();

        for (int round = 0; round < 4; round++)
                for (unsigned i = 0; i < N_SIZES; i++) {
                        size_t size = sizes[(i * 7 + (unsigned)round) % N_SIZES], got = capacity_for(size);

                        /* All but tables, what slabs waste, and what is too little for one more. */
                        ck_assert_msg(got + size + 256 * KIB + most / 4 >= most, "%zu bytes in blocks of %zu, of %zu",
                                      got, size, most);
                }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(mixed_blocks_fill_it_again_and_again)
{
        size_t first[N_SIZES] = {0}, got = 0;

        resize_dir(3 * MIB);
        for (unsigned round = 0, n_rounds = effort(40); round < n_rounds; round++) {
                struct list list = {0};

                for (unsigned i = 0; i < 12; i++) { /* a few of each, then all that is left in one size */
                        void *p = shheap_malloc(h, sizes[(round + i * 3) % N_SIZES]);

                        NEED(p || errno == ENOMEM);
                        if (p)
                                push(&list, p);
                }
                fill(&list, 20 * KIB);
                if (round % 50 == 0)
                        fill(&list, 40);
                got = list.bytes;
                if (round < N_SIZES)
                        first[round] = got;
                /* What is left over of the pages of blocks that had other sizes is less than a fifth. */
                ck_assert_msg(got + got / 5 > first[round % N_SIZES] && got > 3 * MIB / 2,
                              "round %u: %zu bytes, %zu at first", round, got, first[round % N_SIZES]);
                empty(&list);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(room_that_others_took_is_missed_and_used_when_they_give_it_back)
{
        struct list list = {0};
        size_t before;
        void *p;

        resize_dir(24 * MIB);
        NEED((p = shheap_malloc(h, 100)) != NULL);
        for (int round = 0; round < 5; round++) {
                take_room(0);
                before = mapped();
                fill(&list, 5 * MIB);
                NEED(list.n == 0);
                fill(&list, 500);
                NEED(mapped() <= before); /* what no block lies in may have been given back */
                leave_room();
                fill(&list, 5 * MIB);
                NEED(list.bytes >= 15 * MIB);
                empty(&list);
                NEED(shheap_purge(h, -1) == 0);
        }
        shheap_free(h, p);
}
END_TEST

static const char *
resize_all(struct list *list, size_t size)
{
        void *p = list->first, *next, *q;
        struct list moved = {0};

        for (; p; p = next) {
                memcpy(&next, p, sizeof next);
                q = shheap_realloc(h, p, size);
                if (!q && errno != ENOMEM)
                        return "a realloc that cannot says something else than ENOMEM";
                push(&moved, q ? q : p);
        }
        *list = moved;
        return NULL;
}

START_TEST(realloc_on_a_full_file_system_gives_null_or_all_that_was_asked_for)
{
        static const size_t from[] = {5 * MIB, 3 * MIB, MIB, 100 * KIB, 30 * KIB, 5000};

        for (unsigned i = 0; i < sizeof from / sizeof from[0]; i++)
                for (unsigned k = 0; k < N_SIZES; k++) {
                        struct list list = {0};

                        fill(&list, from[i]);
                        ck_assert_ptr_null(resize_all(&list, sizes[k]));
                        ck_assert_ptr_null(resize_all(&list, from[i]));
                        empty(&list);
                }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

START_TEST(other_calls_on_a_full_file_system_say_what_they_lack)
{
        struct list list = {0};
        shref *dest;
        void *obj = &obj;

        dest = shheap_calloc(h, 1, sizeof *dest);
        fill(&list, 100 * KIB);
        fill(&list, 10);
        ck_assert_int_eq(shheap_reserve(h, MIB), -ENOSPC);
        ck_assert_int_eq(shheap_root(h, "root", 50000, 0, NULL, NULL, &obj), -ENOMEM);
        NEED(obj == &obj);
        NEED(!shheap_malloc_to(h, 50000, 0, dest) && errno == ENOMEM && *dest == SHREF_NULL);
        fill(&list, sizeof "twenty characters and more");
        NEED(!shheap_strdup(h, "twenty characters and more") && errno == ENOMEM);
        NEED(shheap_check(h, SHHEAP_CHECK_QUIESCENT, stderr) == 0);
        NEED(shheap_purge(h, -1) == 0);
        empty(&list);
        NEED(shheap_root(h, "root", 50000, 0, NULL, NULL, &obj) == 0 && shheap_root_remove(h, "root") == 0);
        shheap_free(h, dest);
}
END_TEST

/* ------------------------------------------------------------------ threads and processes that come too late */

static void *
free_in_thread(void *arg)
{
        shheap_free(h, arg);
        return NULL;
}

static void *
allocate_in_thread(void *arg)
{
        (void)arg;
        return shheap_malloc(h, 100);
}

START_TEST(threads_that_find_no_room_for_themselves_can_free_and_allocate)
{
        struct list list = {0};
        pthread_t thread[200];
        void *p[200], *got;
        unsigned n_got = 0;

        for (int i = 0; i < 200; i++)
                NEED((p[i] = shheap_malloc(h, 1000)) != NULL);
        fill(&list, 100 * KIB);
        fill(&list, 10);
        for (int i = 0; i < 200; i++)
                NEED(pthread_create(&thread[i], NULL, free_in_thread, p[i]) == 0);
        for (int i = 0; i < 200; i++)
                NEED(pthread_join(thread[i], NULL) == 0);
        for (int i = 0; i < 200; i++)
                NEED(pthread_create(&thread[i], NULL, allocate_in_thread, NULL) == 0);
        for (int i = 0; i < 200; i++) {
                NEED(pthread_join(thread[i], &got) == 0);
                n_got += got != NULL;
                shheap_free(h, got);
        }
        NEED(n_got > 100);
        empty(&list);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
}
END_TEST

/* Lives on the edge: takes what it can get, gives back some of it. */
static void
compete(struct child *self, void *arg)
{
        unsigned seed = (unsigned)(uintptr_t)arg, n = 0;
        void *p[300];

        (void)self;
        for (int step = 0; step < 1000; step++) {
                size_t size = sizes[(unsigned)rand_r(&seed) % N_SIZES];
                void *got = n < 300 && rand_r(&seed) % 3 ? shheap_malloc(h, size) : NULL;

                if (got) {
                        memset(got, 0x44, size < 20000 ? size : 20000);
                        ((char *)got)[size - 1] = 0x44;
                        p[n++] = got;
                } else if (n > 0) {
                        unsigned i = (unsigned)rand_r(&seed) % n;

                        shheap_free(h, p[i]);
                        p[i] = p[--n];
                }
        }
        while (n > 0)
                shheap_free(h, p[--n]);
        MUST(shheap_close(h) == 0);
}

START_TEST(processes_that_compete_for_the_last_page_are_never_killed)
{
        struct child child[4];
        size_t got;

        for (unsigned i = 0; i < 4; i++)
                child_start(&child[i], compete, (void *)(uintptr_t)(i + 1));
        for (unsigned i = 0; i < 4; i++)
                ck_assert_int_eq(child_end(&child[i]), 0);
        NEED(shheap_reap(h) >= 0);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        got = capacity_for(64 * KIB);
        ck_assert_msg(got >= 5 * MIB, "%zu bytes", got);
}
END_TEST

/* ------------------------------------------------------------------ a file system that is too small */

START_TEST(heap_in_a_tiny_file_system_opens_or_fails_and_leaves_nothing)
{
        size_t opened_from = 0, used_from = 0;
        shheap *small;

        shheap_close(h);
        heap_dir_empty();
        for (size_t bytes = 4 * KIB; bytes <= 512 * KIB; bytes += 4 * KIB) {
                struct shheap_attr attr = SHHEAP_ATTR_INIT;
                size_t free_before;
                void *p;
                int err;

                resize_dir(bytes);
                free_before = small_fs_room();
                attr.conf = "capacity:64M";
                err = shheap_open(&small, "small", SHHEAP_CREATE, &attr);
                if (err < 0) {
                        ck_assert_msg(err == -ENOSPC || err == -ENOMEM, "%zu: %d, %s", bytes, err, shheap_errormsg());
                        ck_assert_uint_eq(opened_from, 0);
                } else {
                        opened_from = opened_from ? opened_from : bytes;
                        p = shheap_malloc(small, 64);
                        if (p) {
                                used_from = used_from ? used_from : bytes;
                                memset(p, 1, 64);
                        } else {
                                NEED(errno == ENOMEM);
                        }
                        NEED(shheap_malloc(small, 300 * KIB) == NULL || bytes > 300 * KIB);
                        heap_assert_clean(small);
                        shheap_close(small);
                        NEED(shheap_unlink("small") == 0);
                }
                NEED(heap_dir_count() == 0 && small_fs_room() == free_before);
        }
        ck_assert_msg(opened_from <= 160 * KIB, "a heap opens from %zu KiB on", opened_from / KIB);
        ck_assert_uint_ne(opened_from, 0);
        ck_assert_uint_le(used_from, 320 * KIB);
        ck_assert_uint_ne(used_from, 0);
        resize_dir(6 * MIB);
        h = heap_dir_open("full", SHHEAP_CREATE, NULL);
}
END_TEST

/* ------------------------------------------------------------------ populated */

START_TEST(populate_without_room_fails_and_leaves_nothing)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        size_t before = small_fs_room(), got;
        shheap *other = h;

        attr.capacity = 8 * MIB;
        ck_assert_int_eq(shheap_open(&other, "populated", SHHEAP_CREATE | SHHEAP_POPULATE, &attr), -ENOSPC);
        NEED(other == h && heap_dir_count() == 1 && small_fs_room() == before);
        NEED(strstr(shheap_errormsg(), "no room"));
        /* Neither does it harm a heap that there is. */
        ck_assert_int_eq(shheap_open(&other, "full", SHHEAP_POPULATE, NULL), -ENOSPC);
        heap_assert_clean(h);
        got = capacity_for(MIB);
        NEED(got >= 3 * MIB);
}
END_TEST

START_TEST(populated_heap_needs_nothing_more)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        struct list list = {0};

        shheap_close(h);
        heap_dir_empty();
        resize_dir(24 * MIB);
        attr.capacity = 16 * MIB;
        NEED(shheap_open(&h, "full", SHHEAP_CREATE | SHHEAP_POPULATE, &attr) == 0);
        NEED(mapped() >= 16 * MIB);
        take_room(0);
        for (unsigned i = 0; i < N_SIZES; i++) {
                size_t got = capacity_for(sizes[i]);

                ck_assert_msg(got + sizes[i] + 2 * MIB >= 16 * MIB || (sizes[i] > 4 * MIB && got == 2 * sizes[i]),
                              "%zu bytes in blocks of %zu", got, sizes[i]);
        }
        empty(&list);
}
END_TEST

/* ------------------------------------------------------------------ capacity */

static void
setup_capacity(void)
{
        heap_dir_empty();
        if (!why_no_mount)
                resize_dir(200 * MIB);
        h = heap_dir_open("full", SHHEAP_CREATE, "capacity:8M,arenas:2,decay_ms:-1");
}

static void
teardown_capacity(void)
{
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}

/* Without decay: what has pages is taken first, so the clock would decide where blocks lie, and how many fit between
 * them. */
START_TEST(capacity_can_be_had_a_thousand_times)
{
        size_t first[N_SIZES] = {0};

        for (unsigned round = 0; round < 1000; round++) {
                unsigned i = round * 7 % N_SIZES;
                size_t got = capacity_for(sizes[i]);

                if (first[i] == 0)
                        first[i] = got;
                ck_assert_msg(got + sizes[i] >= first[i] &&
                                      got + sizes[i] + MIB >= 8 * MIB - 3 * MIB * (sizes[i] > 4 * MIB),
                              "round %u: %zu bytes in blocks of %zu, %zu at first", round, got, sizes[i], first[i]);
        }
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_le(mapped(), 10 * MIB);
}
END_TEST

START_TEST(capacity_costs_nothing_until_it_is_used)
{
        struct stat st;
        int fd;

        shheap_close(h);
        heap_dir_empty();
        h = heap_dir_open("full", SHHEAP_CREATE, "capacity:1024G");
        NEED(heap_ctl(h, "heap.capacity") == (uint64_t)1 << 40);
        fd = shheap_dup_fd(h, 0);
        NEED(fd >= 0 && fstat(fd, &st) == 0);
        close(fd);
        ck_assert_uint_ge(st.st_size, (off_t)1 << 40);
        ck_assert_uint_le((size_t)st.st_blocks * 512, 256 * KIB);
        ck_assert_uint_eq((size_t)st.st_blocks * 512, mapped());
        for (int i = 0; i < 1000; i++) {
                void *p = shheap_malloc(h, 64);

                NEED(p);
                memset(p, 1, 64);
        }
        ck_assert_uint_le(mapped(), 1 * MIB);
        heap_assert_clean(h);
}
END_TEST

START_TEST(one_client_with_a_thousand_small_blocks_occupies_little)
{
        struct stat st;
        int fd;

        shheap_close(h);
        heap_dir_empty();
        NEED(shheap_open(&h, "full", SHHEAP_CREATE, NULL) == 0); /* all defaults */
        for (int i = 0; i < 1000; i++) {
                void *p = shheap_malloc(h, 64);

                NEED(p);
                memset(p, 1, 64);
        }
        fd = shheap_dup_fd(h, 0);
        NEED(fd >= 0 && fstat(fd, &st) == 0);
        close(fd);
        ck_assert_uint_le((size_t)st.st_blocks * 512, 512 * KIB); /* 2 MiB are promised */
        heap_assert_clean(h);
}
END_TEST

/* ------------------------------------------------------------------ main */

static void
add_small(Suite *suite)
{
        TCase *tcase;

        if (why_no_mount) {
                printf("skipped: a full file system: %s\n", why_no_mount);
                return;
        }
        tcase = tcase_create("small file system");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, all_that_fits_can_be_had_in_blocks_of_any_size_after_any_other);
        tcase_add_test(tcase, mixed_blocks_fill_it_again_and_again);
        tcase_add_test(tcase, room_that_others_took_is_missed_and_used_when_they_give_it_back);
        tcase_add_test(tcase, realloc_on_a_full_file_system_gives_null_or_all_that_was_asked_for);
        tcase_add_test(tcase, other_calls_on_a_full_file_system_say_what_they_lack);
        tcase_add_test(tcase, threads_that_find_no_room_for_themselves_can_free_and_allocate);
        tcase_add_test(tcase, processes_that_compete_for_the_last_page_are_never_killed);
        tcase_add_test(tcase, heap_in_a_tiny_file_system_opens_or_fails_and_leaves_nothing);
        tcase_add_test(tcase, populate_without_room_fails_and_leaves_nothing);
        tcase_add_test(tcase, populated_heap_needs_nothing_more);
        suite_add_tcase(suite, tcase);
}

int
main(void)
{
        Suite *suite = suite_create("full");
        TCase *tcase = tcase_create("capacity");
        int status;

        heap_dir_create("full");
        why_no_mount = small_fs_make();
        add_small(suite);
        tcase_add_checked_fixture(tcase, setup_capacity, teardown_capacity);
        tcase_add_test(tcase, capacity_can_be_had_a_thousand_times);
        tcase_add_test(tcase, capacity_costs_nothing_until_it_is_used);
        tcase_add_test(tcase, one_client_with_a_thousand_small_blocks_occupies_little);
        suite_add_tcase(suite, tcase);
        status = suite_run(suite);
        if (!why_no_mount)
                small_fs_remove();
        heap_dir_remove();
        return status;
}
