/*
 * What is at stake: a check that runs while others use the heap reports no fault that is none.  The marks are read when
 * it begins; threads, processes, names and chunks that came after that were taken for words that lead nowhere: "bound,
 * and its slot does not exist".
 *
 * The check is made to pause where the heap has to grow: its first line, of a fault that the test has made, goes to a
 * stream whose write function lets the heap grow.
 */
#include <pthread.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { N_THREADS = 4, N_BLOCKS = 600 };

static shheap *h;
static sem_t attached, may_end;
static pthread_t threads[N_THREADS];
static struct child child;

static void *
attach_and_wait(void *arg)
{
        void *blocks[N_BLOCKS];

        (void)arg;
        for (int i = 0; i < N_BLOCKS; i++)
                blocks[i] = shheap_malloc(h, 9000);
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
        sem_post(&attached);
        sem_wait(&may_end);
        return NULL;
}

static void
open_and_wait(struct child *self, void *arg)
{
        (void)arg;
        shheap_free(h, shheap_malloc(h, 100)); /* after a fork a client of its own */
        child_tell(self);
        child_hear(self);
}

static void
grow_threads(void)
{
        for (int i = 0; i < N_THREADS; i++) {
                ck_assert_int_eq(pthread_create(&threads[i], NULL, attach_and_wait, NULL), 0);
                sem_wait(&attached);
        }
}

static void
end_threads(void)
{
        for (int i = 0; i < N_THREADS; i++)
                sem_post(&may_end);
        for (int i = 0; i < N_THREADS; i++)
                pthread_join(threads[i], NULL);
}

static void
grow_clients(void)
{
        child_start(&child, open_and_wait, NULL);
        ck_assert(child_hear(&child));
}

static void
end_clients(void)
{
        child_tell(&child);
        ck_assert_int_eq(child_end(&child), 0);
}

static void
grow_names(void)
{
        char name[] = "name 0";
        void *object;

        for (; name[5] < '4'; name[5]++)
                ck_assert_int_eq(shheap_root(h, name, 5000, 0, NULL, NULL, &object), 0);
}

static void
grow_huge(void)
{
        ck_assert_ptr_nonnull(shheap_malloc(h, 30 << 20));
}

static void
end_nothing(void)
{
}

static const struct growth {
        void (*grow)(void);
        void (*end)(void);
} growths[] = {
        {grow_threads, end_threads}, {grow_clients, end_clients}, {grow_names, end_nothing}, {grow_huge, end_nothing}};

/* ------------------------------------------------------------------ a stream that lets the heap grow */

struct stream {
        const struct growth *growth;
        bool has_grown;
        char text[4096];
        size_t length;
};

static ssize_t
write_and_grow(void *cookie, const char *bytes, size_t n)
{
        struct stream *s = cookie;
        size_t room = sizeof s->text - 1 - s->length;

        memcpy(s->text + s->length, bytes, n < room ? n : room);
        s->length += n < room ? n : room;
        if (!s->has_grown) {
                s->has_grown = true;
                s->growth->grow();
        }
        return (ssize_t)n;
}

START_TEST(what_came_after_the_check_began_is_no_fault)
{
        struct stream s = {.growth = &growths[_i]};
        FILE *report = fopencookie(&s, "w", (cookie_io_functions_t){.write = write_and_grow});
        uint64_t magic;
        int n;

        h = heap_dir_open("growing", SHHEAP_CREATE, "capacity:96M");
        setvbuf(report, NULL, _IONBF, 0);
        magic = h->region.header->magic;
        h->region.header->magic = 0;
        n = shheap_check(h, 0, report);
        h->region.header->magic = magic;
        fclose(report);
        ck_assert(s.has_grown);
        ck_assert_msg(n == 1, "%d faults:\n%s", n, s.text);
        growths[_i].end();
        shheap_reap(h);
        heap_assert_clean(h);
        shheap_close(h);
        heap_dir_empty();
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("check_while_growing");
        TCase *tc = tcase_create("marks");
        int status;

        tcase_add_loop_test(tc, what_came_after_the_check_began_is_no_fault, 0, sizeof growths / sizeof growths[0]);
        suite_add_tcase(suite, tc);
        sem_init(&attached, 0, 0);
        sem_init(&may_end, 0, 0);
        heap_dir_create("growing");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
