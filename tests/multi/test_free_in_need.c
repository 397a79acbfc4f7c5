/*
 * What is at stake: a free has nobody to tell that it failed, and a process that frees a valid block has done nothing
 * wrong.  So it succeeds where a process can have no place among the clients, a thread no slot, the file system no page
 * and the process no memory: by a slot that somebody else keeps and does not use just now.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/malloc_fixture.h"
#include "support/small_fs.h"
#include "support/suite.h"
#include "tcache/tcache.h"

static const char *why_no_mount; /* NULL: there is a mount namespace */

static void
setup_roomy(void)
{
        if (!why_no_mount)
                NEED(small_fs_resize(1024 * MIB));
        setup();
}

/* ------------------------------------------------------------------ blocks of every kind, and ways to free them */

static const size_t sizes[] = {16, 100, 3000, 32768, 50000, 2 * MIB, 3 * MIB};
enum { N_SIZES = sizeof sizes / sizeof sizes[0], N_WAYS = 5, N_BLOCKS = N_SIZES * N_WAYS };

static void *block[N_BLOCKS];
static shref *dest; /* a word for each */

static void
make_blocks(void)
{
        NEED((dest = shheap_calloc(h, N_BLOCKS, sizeof *dest)) != NULL);
        for (int i = 0; i < N_BLOCKS; i++) {
                NEED((block[i] = shheap_malloc(h, sizes[i / N_WAYS])) != NULL);
                dest[i] = shheap_ref(h, block[i]);
        }
}

static void
free_one(int i)
{
        void *p = hide(block[i]);

        errno = EXDEV;
        switch (i % N_WAYS) {
        case 0:
                shheap_free(h, p);
                break;
        case 1:
                shfree(p);
                break;
        case 2:
                shheap_free_sized(h, p, sizes[i / N_WAYS]);
                break;
        case 3:
                shfree_sized(p, sizes[i / N_WAYS]);
                break;
        default:
                MUST(shheap_free_from(h, &dest[i]) == 0 && dest[i] == SHREF_NULL);
                errno = EXDEV;
        }
        MUST(errno == EXDEV);
}

static void
free_all(void)
{
        for (int i = 0; i < N_BLOCKS; i++)
                free_one(i);
}

static void
cannot_allocate(int wanted)
{
        void *p;

        errno = 0;
        p = hide(shheap_malloc(h, 100));
        MUST(!p && (errno == wanted || wanted == 0));
}

/* The children ended well, said nothing, and every block is free. */
static void
assert_freed(int status, const char *text)
{
        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0 && text[0] == '\0', "status %#x, \"%s\"", status,
                      text);
        shheap_free(h, dest);
        shheap_reap(h);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        ck_assert_uint_eq(heap_ctl(h, "stats.dropped"), 0);
}

/* ------------------------------------------------------------------ no place */

static void
frees_as_no_client(void)
{
        cannot_allocate(EUSERS);
        free_all();
        cannot_allocate(EUSERS);
}

START_TEST(child_frees_when_there_are_as_many_clients_as_there_may_be)
{
        char text[4096];
        int status;

        reopen(SHHEAP_CREATE, "max_clients:1,arenas:1");
        make_blocks();
        status = child_says(frees_as_no_client, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

START_TEST(checked_child_frees_when_there_are_as_many_clients_as_there_may_be)
{
        char text[4096];
        int status;

        reopen(SHHEAP_CREATE, "max_clients:1,arenas:1,check:true,junk:true");
        make_blocks();
        status = child_says(frees_as_no_client, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

START_TEST(child_frees_when_all_thread_slots_are_taken)
{
        char text[4096];
        int status;

        reopen(SHHEAP_CREATE, "max_threads:2,arenas:1"); /* this thread's, and the one kept for others */
        make_blocks();
        status = child_says(frees_as_no_client, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

/* By many at a time: there is one slot to lend. */
static void *
frees_its_part(void *arg)
{
        for (int i = (int)(intptr_t)arg; i < N_BLOCKS; i += 4)
                free_one(i);
        return NULL;
}

static void
frees_in_threads(void)
{
        pthread_t thread[4];

        for (intptr_t i = 0; i < 4; i++)
                MUST(pthread_create(&thread[i], NULL, frees_its_part, (void *)i) == 0);
        for (int i = 0; i < 4; i++)
                MUST(pthread_join(thread[i], NULL) == 0);
}

START_TEST(threads_of_a_child_that_is_no_client_free_side_by_side)
{
        char text[4096];
        int status;

        reopen(SHHEAP_CREATE, "max_clients:1,arenas:1");
        make_blocks();
        status = child_says(frees_in_threads, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

/* ------------------------------------------------------------------ no memory */

static void
frees_without_address_space(void)
{
        struct rlimit none = {0, 0};

        MUST(setrlimit(RLIMIT_AS, &none) == 0);
        free_all();
        _exit(0);
}

START_TEST(child_frees_when_it_can_map_nothing)
{
        char text[4096];
        int status;

        make_blocks();
        status = child_says(frees_without_address_space, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

static void
fill_directory(void)
{
        char path[100];
        int fd;

        snprintf(path, sizeof path, "%s/ballast", getenv("SHMALLOC_DIR"));
        NEED((fd = open(path, O_CREAT | O_WRONLY, 0600)) >= 0);
        for (off_t i = 0; posix_fallocate(fd, i, 4096) == 0; i += 4096)
                continue;
        close(fd);
}

static void
frees_and_stays(struct child *self, void *arg)
{
        free_one(*(int *)arg);
        child_tell(self);
        child_hear(self);
}

/* Each child stays, so that each next one needs a place that has no page yet. */
START_TEST(children_free_on_a_full_file_system)
{
        static struct child child[N_BLOCKS];

        if (why_no_mount) {
                fprintf(stderr, "not tried: %s\n", why_no_mount);
                return;
        }
        NEED(small_fs_resize(40 * MIB));
        make_blocks();
        fill_directory();
        for (int i = 0; i < N_BLOCKS; i++) {
                child_start(&child[i], frees_and_stays, &i);
                NEED(child_hear(&child[i]));
        }
        for (int i = 0; i < N_BLOCKS; i++) {
                child_tell(&child[i]);
                NEED(child_end(&child[i]) == 0);
        }
        NEED(small_fs_resize(1024 * MIB));
        assert_freed(0, "");
}
END_TEST

/* ------------------------------------------------------------------ who lends is not hurt */

static void
dies_in_its_free(struct child *self, void *arg)
{
        (void)arg;
        for (;;) { /* killed anywhere in here */
                free_one(0);
                child_tell(self);
                child_hear(self);
        }
}

/* The client whose slot was lent to somebody who died there has it again. */
START_TEST(slot_that_was_lent_to_the_dead_is_had_again)
{
        char text[4096];
        int status;

        reopen(SHHEAP_CREATE, "max_clients:1,arenas:1");
        make_blocks();
        for (int round = 0; round < 5; round++) {
                struct child c;

                child_start(&c, dies_in_its_free, NULL);
                NEED(child_hear(&c));
                child_kill(&c);
                shheap_reap(h);
                NEED((block[0] = shheap_malloc(h, sizes[0])) != NULL);
        }
        status = child_says(frees_as_no_client, text, sizeof text);
        assert_freed(status, text);
}
END_TEST

static void
has_a_slot(struct child *self, void *arg)
{
        void *p = shheap_malloc(h, 100);

        (void)arg;
        MUST(p != NULL);
        shheap_free(h, p);
        MUST(child_tell(self));
        child_hear(self);
}

/* Lent is the slot that comes first after its thread id: the parent's, or another one, and then it ends at once. */
static void
borrows_from_its_parent(struct child *self, struct thread *ret_thread, struct shield *ret_shield)
{
        uint32_t wanted = h->reserve.idx;

        (void)self;
        MUST(thread_lend(h, ret_thread, ret_shield) == 0);
        if (ret_thread->no != wanted + 1) {
                thread_give_back(h, ret_thread, ret_shield);
                _exit(0);
        }
}

static void
borrows_and_stops(struct child *self, void *arg)
{
        struct thread t;
        struct shield shield;

        (void)arg;
        borrows_from_its_parent(self, &t, &shield);
        MUST(child_tell(self));
        raise(SIGSTOP);
        thread_give_back(h, &t, &shield);
}

static void
borrows_again_and_again(struct child *self, void *arg)
{
        struct thread t;
        struct shield shield;

        (void)arg;
        borrows_from_its_parent(self, &t, &shield);
        MUST(child_tell(self));
        for (;;) { /* until it is killed */
                thread_give_back(h, &t, &shield);
                while (thread_lend(h, &t, &shield) < 0)
                        ;
        }
}

static void
start_borrower(struct child *c, void (*fn)(struct child *self, void *arg))
{
        for (;;) {
                child_start(c, fn, NULL);
                if (child_hear(c))
                        return;
                NEED(child_end(c) == 0); /* it was lent another one */
        }
}

/* All that is done in a slot. */
static void *
works_without_a_slot(void *arg)
{
        void *p, *obj;

        for (int i = 0; i < 300; i++) {
                NEED((p = shheap_malloc(h, 100)) != NULL);
                shheap_free(h, p);
                NEED(shheap_settled(h, &dest[0]) == 0);
                NEED(shheap_root(h, "name", 100, 0, NULL, NULL, &obj) == 0);
                NEED(shheap_root_remove(h, "name") == 0);
                NEED(shheap_reap(h) >= 0);
                NEED(heap_ctl(h, "thread.arena") == 0);
        }
        return arg;
}

static void
work_without_a_slot(void)
{
        pthread_t thread;

        NEED(pthread_create(&thread, NULL, works_without_a_slot, NULL) == 0);
        NEED(pthread_join(thread, NULL) == 0);
}

/* Who frees in a slot that it was lent may be stopped there, or come again at any moment: its owner goes on all the
 * same, in another client's. */
START_TEST(client_whose_slot_is_lent_goes_on)
{
        struct child neighbour, borrower;
        int status;

        reopen(SHHEAP_CREATE, "max_threads:4,arenas:1"); /* this thread's, the neighbour's, and what is kept for each */
        make_blocks();
        child_start(&neighbour, has_a_slot, NULL);
        NEED(child_hear(&neighbour));
        work_without_a_slot(); /* all are taken, but ours is not in use */

        start_borrower(&borrower, _i == 0 ? borrows_and_stops : borrows_again_and_again);
        if (_i == 0)
                NEED(waitpid(borrower.pid, &status, WUNTRACED) == borrower.pid && WIFSTOPPED(status));
        work_without_a_slot();
        child_kill(&borrower);
        work_without_a_slot();

        NEED(child_tell(&neighbour) && child_end(&neighbour) == 0);
        free_all();
        assert_freed(0, "");
}
END_TEST

/* No slot is left at all: this thread has one, and who has borrowed the other one is stopped. */
static void *
frees_what_is_lost(void *arg)
{
        void *p;

        shheap_free(h, hide(block[0]));
        shfree(hide(block[1]));
        MUST(shheap_free_from(h, &dest[4]) == -EUSERS && dest[4] != SHREF_NULL);
        cannot_allocate(EUSERS);
        MUST(shheap_root(h, "name", 100, 0, NULL, NULL, &p) == -EUSERS);
        MUST(shheap_settled(h, &dest[0]) == -EUSERS);
        MUST(strstr(shheap_errormsg(), "stopped"));
        return arg;
}

static void
frees_beside_a_stopped_borrower(void)
{
        struct child borrower;
        pthread_t thread;
        int status;

        h = heap_dir_open("n", SHHEAP_CREATE, "max_threads:2,arenas:1");
        MUST(h && shheap_set_default(h) == 0);
        make_blocks();
        start_borrower(&borrower, borrows_and_stops);
        MUST(waitpid(borrower.pid, &status, WUNTRACED) == borrower.pid && WIFSTOPPED(status));
        MUST(pthread_create(&thread, NULL, frees_what_is_lost, NULL) == 0 && pthread_join(thread, NULL) == 0);
        child_kill(&borrower);
        MUST(heap_ctl(h, "stats.allocated") >= shheap_usable_size(h, block[0]) + shheap_usable_size(h, block[1]));
        free_all(); /* they were lost to that thread only */
        shheap_free(h, dest);
        MUST(heap_ctl(h, "stats.allocated") == 0);
        MUST(shheap_close(h) == 0);
}

START_TEST(free_that_finds_all_slots_kept_by_the_stopped_loses_the_block_and_says_so)
{
        char text[4096];
        int status = child_says(frees_beside_a_stopped_borrower, text, sizeof text);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0 && strstr(text, "the block is lost"),
                      "status %#x, \"%s\"", status, text);
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("free_in_need");
        TCase *tcase = tcase_create("free_in_need");
        int status;

        tcase_add_checked_fixture(tcase, setup_roomy, teardown);
        tcase_set_timeout(tcase, 240);
        tcase_add_test(tcase, child_frees_when_there_are_as_many_clients_as_there_may_be);
        tcase_add_test(tcase, checked_child_frees_when_there_are_as_many_clients_as_there_may_be);
        tcase_add_test(tcase, child_frees_when_all_thread_slots_are_taken);
        tcase_add_test(tcase, threads_of_a_child_that_is_no_client_free_side_by_side);
        tcase_add_test(tcase, child_frees_when_it_can_map_nothing);
        tcase_add_test(tcase, children_free_on_a_full_file_system);
        tcase_add_test(tcase, slot_that_was_lent_to_the_dead_is_had_again);
        tcase_add_loop_test(tcase, client_whose_slot_is_lent_goes_on, 0, 2);
        tcase_add_test(tcase, free_that_finds_all_slots_kept_by_the_stopped_loses_the_block_and_says_so);
        suite_add_tcase(suite, tcase);

        heap_dir_create("need");
        why_no_mount = small_fs_make();
        status = suite_run(suite);
        if (!why_no_mount)
                small_fs_remove();
        heap_dir_remove();
        return status;
}
