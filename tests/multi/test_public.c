/*
 * What is at stake: what holds for every function of the library, also for the next one that somebody adds: so they are
 * all in one table (support/every_function.h), which is compared with what the library exports.
 *
 * Through a handle that is not open each refuses, whatever has become of the heap, the handle and its threads
 * meanwhile; a free is a fault.  And none ends a thread that has been cancelled: what a call holds would be held for
 * ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/effort.h"
#include "support/every_function.h"
#include "support/heap_dir.h"
#include "support/suite.h"

/* What a thread that is cancelled anywhere leaves of its stack stays marked for AddressSanitizer: its own destructors
 * stumble over it. */
#if defined(__SANITIZE_ADDRESS__)
enum { N_OTHERS = 50, N_CANCELLED = 0 };
#else
enum { N_OTHERS = 50, N_CANCELLED = 20 };
#endif

/* The symbols of the short names have a prefix. */
static const struct function *
find_function(const char *name)
{
        if (strncmp(name, "shheap_sh", strlen("shheap_sh")) == 0)
                name += strlen("shheap_");
        for (int i = 0; i < N_FUNCTIONS; i++)
                if (strcmp(functions[i].name, name) == 0)
                        return &functions[i];
        return NULL;
}

START_TEST(table_has_all_that_is_exported)
{
        const char *path = getenv("SHMALLOC_MAP");
        char line[128], name[100];
        int n = 0;
        FILE *map = fopen(path ? path : "lib/shmalloc.map", "re");

        ck_assert_msg(map != NULL, "SHMALLOC_MAP names what the library exports: %s", strerror(errno));
        while (fgets(line, sizeof line, map))
                if (sscanf(line, " %99[a-z_]", name) == 1 && strncmp(name, "sh", 2) == 0) {
                        n++;
                        ck_assert_msg(find_function(name) != NULL, "%s is exported and not in the table here", name);
                }
        fclose(map);
        ck_assert_int_gt(n, 50);
}
END_TEST

/* ------------------------------------------------------------------ scenes */

static struct scene scene;

static void
make_scene(struct scene *s, const char *name)
{
        *s = (struct scene){.h = heap_dir_open(name, SHHEAP_CREATE, "capacity:32M,max_clients:8"),
                            .out = fopen("/dev/null", "we")};
        s->p = shheap_malloc(s->h, 100);
        s->dest = shheap_calloc(s->h, 1, sizeof *s->dest);
        s->ref = shheap_ref(s->h, s->p);
        ck_assert(s->p && s->dest && s->out);
}

static void
setup(void)
{
        heap_dir_empty();
        setenv("SHMALLOC_CONF", "capacity:32M", 1);
        make_scene(&scene, "public");
        shheap_set_fault_handler(take_fault, NULL);
}

static void
teardown(void)
{
        shheap_set_fault_handler(NULL, NULL);
        while (shheap_close(scene.h) == 0)
                continue;
        fclose(scene.out);
        unsetenv("SHMALLOC_CONF");
        heap_dir_empty();
}

START_TEST(all_work_on_an_open_heap)
{
        for (int i = 0; i < N_FUNCTIONS; i++) {
                int err = functions[i].call(&scene);

                ck_assert_msg(err == 0, "%s: %s: %s", functions[i].name, strerror(-err), shheap_errormsg());
        }
        heap_assert_clean(scene.h);
}
END_TEST

/* ------------------------------------------------------------------ handles that are not open */

/* NULL is what shheap_set_default() takes for "none". */
static int
refusal(const struct function *f, const shheap *h)
{
        if (h)
                return -EBADF;
        return strcmp(f->name, "shheap_set_default") == 0 ? 0 : -EBADF;
}

static void
assert_all_refuse(struct scene *s)
{
        volatile size_t never = SIZE_MAX; /* of any heap: the handle is looked at before */

        errno = 0;
        ck_assert_ptr_null(shheap_malloc(s->h, never));
        ck_assert_int_eq(errno, EBADF);
        for (int i = 0; i < N_FUNCTIONS; i++) {
                struct scene copy = *s;
                int err;

                if (!functions[i].has_handle)
                        continue;
                err = functions[i].call(&copy);
                ck_assert_msg(err == refusal(&functions[i], s->h), "%s: %s", functions[i].name, strerror(-err));
                ck_assert_msg(err == 0 ||
                                      strstr(shheap_errormsg(), err == -EBADF ? "not an open heap" : "wants a heap"),
                              "%s: %s", functions[i].name, shheap_errormsg());
        }
}

START_TEST(closed_handle_is_refused_by_all)
{
        ck_assert_int_eq(shheap_close(scene.h), 0);
        assert_all_refuse(&scene);
}
END_TEST

START_TEST(no_handle_is_refused_by_all)
{
        struct scene none = scene;

        none.h = NULL;
        assert_all_refuse(&none);
}
END_TEST

static pthread_barrier_t turn;

/* Still attached when the heap is closed: the handle stands for a heap that is mapped. */
static void *
stay_attached(void *arg)
{
        struct scene *s = arg;

        shheap_free(s->h, shheap_malloc(s->h, 100));
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        return NULL;
}

START_TEST(closed_handle_is_refused_while_other_threads_hold_slots)
{
        pthread_t thread;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, stay_attached, &scene), 0);
        pthread_barrier_wait(&turn);
        ck_assert_int_eq(shheap_close(scene.h), 0);
        assert_all_refuse(&scene);
        pthread_barrier_wait(&turn);
        pthread_join(thread, NULL);
        assert_all_refuse(&scene);
}
END_TEST

struct attached {
        struct scene *scene;
        int (*call)(struct scene *s); /* the first thing after the close */
        pthread_t thread;
        pthread_barrier_t turn;
        int err, err_again;
};

/* With full and with empty magazines: what it calls would be a hit. */
static void *
call_after_close(void *arg)
{
        struct attached *a = arg;
        struct scene *s = a->scene;
        struct scene mine = *s;
        void *p[3];

        for (int i = 0; i < 3; i++)
                p[i] = shheap_malloc(s->h, 100);
        shheap_free(s->h, p[0]);
        shheap_free(s->h, p[1]);
        mine.p = p[2];
        pthread_barrier_wait(&a->turn);
        pthread_barrier_wait(&a->turn);
        a->err = a->call(&mine);
        mine.p = p[2];
        assert_all_refuse(&mine);
        pthread_barrier_wait(&a->turn);
        pthread_barrier_wait(&a->turn);
        a->err_again = call_malloc(s);
        return NULL;
}

START_TEST(closed_handle_is_refused_in_threads_that_are_attached)
{
        struct attached attached[] = {
                {.scene = &scene, .call = call_malloc},
                {.scene = &scene, .call = call_free},
                {.scene = &scene, .call = call_malloc_large},
                {.scene = &scene, .call = call_check},
        };
        shheap *same;

        for (int i = 0; i < 4; i++) {
                pthread_barrier_init(&attached[i].turn, NULL, 2);
                ck_assert_int_eq(pthread_create(&attached[i].thread, NULL, call_after_close, &attached[i]), 0);
                pthread_barrier_wait(&attached[i].turn);
        }
        ck_assert_int_eq(shheap_close(scene.h), 0);
        for (int i = 0; i < 4; i++) {
                pthread_barrier_wait(&attached[i].turn);
                pthread_barrier_wait(&attached[i].turn);
                ck_assert_msg(attached[i].err == -EBADF, "%d: %s", i, strerror(-attached[i].err));
        }
        ck_assert_int_eq(shheap_open(&same, "public", 0, NULL), 0); /* they have let go: another handle */
        ck_assert_ptr_ne(same, scene.h);
        for (int i = 0; i < 4; i++) {
                pthread_barrier_wait(&attached[i].turn);
                pthread_join(attached[i].thread, NULL);
                ck_assert_int_eq(attached[i].err_again, -EBADF);
        }
        heap_assert_clean(same);
        ck_assert_int_eq(shheap_close(same), 0);
}
END_TEST

/* Closed and opened again by another thread: the same handle, and hits as before. */
static void *
use_when_open_again(void *arg)
{
        struct scene *s = arg;

        for (int i = 0; i < 2; i++) {
                shheap_free(s->h, shheap_malloc(s->h, 100));
                ck_assert(tcache_last->limit != 0 && tcache_last->by_size[100] != 0);
                pthread_barrier_wait(&turn);
                pthread_barrier_wait(&turn);
        }
        return NULL;
}

START_TEST(heap_that_is_opened_again_is_as_quick_as_before)
{
        pthread_t thread;
        shheap *same;

        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(pthread_create(&thread, NULL, use_when_open_again, &scene), 0);
        pthread_barrier_wait(&turn);
        ck_assert_int_eq(shheap_close(scene.h), 0);
        ck_assert_int_eq(shheap_open(&same, "public", 0, NULL), 0);
        ck_assert_ptr_eq(same, scene.h);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        pthread_barrier_wait(&turn);
        pthread_join(thread, NULL);
        heap_assert_clean(scene.h);
}
END_TEST

static void *
refuse_in_thread(void *arg)
{
        assert_all_refuse(arg);
        return NULL;
}

START_TEST(closed_handle_is_refused_in_threads_that_never_used_it)
{
        pthread_t thread;

        ck_assert_int_eq(shheap_close(scene.h), 0);
        ck_assert_int_eq(pthread_create(&thread, NULL, refuse_in_thread, &scene), 0);
        pthread_join(thread, NULL);
}
END_TEST

static void
child_refuses(struct child *self, void *arg)
{
        (void)self;
        if (scene.h->is_open)
                MUST(shheap_close(scene.h) == 0);
        assert_all_refuse(arg);
}

START_TEST(closed_handle_is_refused_in_children)
{
        struct child c;

        child_start(&c, child_refuses, &scene); /* closes what is its parent's, too */
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_int_eq(shheap_close(scene.h), 0);
        child_start(&c, child_refuses, &scene);
        ck_assert_int_eq(child_end(&c), 0);
}
END_TEST

START_TEST(closed_handle_is_refused_when_others_have_been_opened)
{
        struct scene other;

        ck_assert_int_eq(shheap_close(scene.h), 0);
        for (int i = 0; i < N_OTHERS; i++) {
                make_scene(&other, "other");
                ck_assert_ptr_ne(other.h, scene.h);
                shheap_free(other.h, other.p);
                ck_assert_int_eq(shheap_close(other.h), 0);
                fclose(other.out);
                heap_dir_empty();
        }
        assert_all_refuse(&scene);
}
END_TEST

START_TEST(heap_is_found_by_address_until_it_is_closed)
{
        ck_assert_int_eq(shheap_set_default(scene.h), 0);
        ck_assert_int_eq(shheap_close(scene.h), 0);
        ck_assert_uint_eq(shmalloc_usable_size(scene.p), 0);
        ck_assert_uint_eq(shref_of(scene.p), SHREF_NULL);
        ck_assert_int_eq(call_shfree(&scene), -EFAULT);
        ck_assert_uint_eq(fault_what, SHHEAP_FAULT_FOREIGN_POINTER);
        errno = 0;
        ck_assert_ptr_null(shmalloc(100));
        ck_assert_int_eq(errno, ENODEV);
}
END_TEST

/* ------------------------------------------------------------------ cancellation */

struct victim {
        const struct function *function;
        struct scene *scene;
        int err;
        bool has_returned;
};

/* A cancel is pending when the call begins: it would end the thread at the first cancellation point. */
static void *
call_when_cancelled(void *arg)
{
        struct victim *v = arg;

        pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, NULL);
        pthread_cancel(pthread_self());
        pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, NULL);
        v->err = v->function->call(v->scene);
        v->has_returned = true;
        pthread_testcancel();
        return NULL;
}

static void
assert_none_is_cancelled(struct scene *s)
{
        for (int i = 0; i < N_FUNCTIONS; i++) {
                struct victim v = {&functions[i], s, 0, false};
                pthread_t thread;
                void *result;

                ck_assert_int_eq(pthread_create(&thread, NULL, call_when_cancelled, &v), 0);
                ck_assert_int_eq(pthread_join(thread, &result), 0);
                ck_assert_msg(v.has_returned, "%s is a cancellation point", functions[i].name);
                ck_assert_msg(v.err == 0, "%s: %s", functions[i].name, strerror(-v.err));
                ck_assert_ptr_eq(result, PTHREAD_CANCELED); /* it was not lost either */
        }
}

/* Each by a new thread, which attaches and lets go, while memory comes and goes. */
START_TEST(none_is_a_cancellation_point)
{
        int64_t at_once = 0;

        ck_assert_int_eq(shheap_ctl(scene.h, "heap.decay_ms", NULL, NULL, &at_once, sizeof at_once), 0);
        for (int round = 0; round < 3; round++)
                assert_none_is_cancelled(&scene);
        heap_assert_clean(scene.h);
}
END_TEST

/* ------------------------------------------------------------------ asynchronous cancellation */

/* Calls one after the other until it is cancelled, wherever that is. */
static void *
call_until_cancelled(void *arg)
{
        struct scene mine = *(struct scene *)arg;
        int skip = rand() % N_FUNCTIONS;

        pthread_barrier_wait(&turn);
        pthread_setcanceltype(PTHREAD_CANCEL_ASYNCHRONOUS, NULL);
        for (;;) {
                mine.p = shheap_malloc(mine.h, 100); /* what is lost of these is found by a walk */
                for (int i = 0; i < N_FUNCTIONS; i++)
                        if (i >= skip && functions[i].call != call_open) /* which leaves its heap open */
                                (void)functions[i].call(&mine);
                skip = 0;
                shheap_free(mine.h, mine.p);
        }
        return NULL;
}

enum { N_LEFT_MAX = 256 };

struct left {
        shref ref[N_LEFT_MAX];
        int n;
};

static int
note_block(const struct shheap_block *block, void *arg)
{
        struct left *left = arg;

        if (left->n == N_LEFT_MAX)
                return 1;
        left->ref[left->n++] = block->ref;
        return 0;
}

/* What cancelled threads had allocated is there, once, and all of it can be had again. */
static void
assert_nothing_is_lost(struct scene *s)
{
        struct left left = {.n = 0};

        (void)shheap_root_remove(s->h, "of the test");
        shheap_reap(s->h);
        ck_assert_int_eq(shheap_walk(s->h, SHHEAP_WALK_LIVE, note_block, &left), 0);
        for (int i = 0; i < left.n; i++)
                if (shheap_ptr(s->h, left.ref[i]) != s->dest)
                        shheap_free(s->h, shheap_ptr(s->h, left.ref[i]));
        heap_assert_clean(s->h);
        ck_assert_uint_eq(heap_ctl(s->h, "stats.allocated"), shheap_usable_size(s->h, s->dest));
}

START_TEST(cancelled_anywhere_a_thread_leaves_nothing_behind)
{
        srand(1);
        pthread_barrier_init(&turn, NULL, 2);
        ck_assert_int_eq(shheap_set_default(scene.h), 0);
        shheap_free(scene.h, scene.p);
        for (unsigned round = 0, n_rounds = effort(N_CANCELLED); round < n_rounds; round++) {
                unsigned wait = (unsigned)rand() % 200;
                pthread_t thread;

                *scene.dest = SHREF_NULL;
                ck_assert_int_eq(pthread_create(&thread, NULL, call_until_cancelled, &scene), 0);
                pthread_barrier_wait(&turn);
                while (wait-- > 0)
                        sched_yield();
                pthread_cancel(thread);
                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                assert_nothing_is_lost(&scene);
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("public");
        TCase *tcase = tcase_create("every function");
        int status;

        heap_dir_create("public");
        tcase_add_checked_fixture(tcase, setup, teardown);
        tcase_add_test(tcase, table_has_all_that_is_exported);
        tcase_add_test(tcase, all_work_on_an_open_heap);
        tcase_add_test(tcase, closed_handle_is_refused_by_all);
        tcase_add_test(tcase, no_handle_is_refused_by_all);
        tcase_add_test(tcase, closed_handle_is_refused_while_other_threads_hold_slots);
        tcase_add_test(tcase, closed_handle_is_refused_in_threads_that_are_attached);
        tcase_add_test(tcase, heap_that_is_opened_again_is_as_quick_as_before);
        tcase_add_test(tcase, closed_handle_is_refused_in_threads_that_never_used_it);
        tcase_add_test(tcase, closed_handle_is_refused_in_children);
        tcase_add_test(tcase, closed_handle_is_refused_when_others_have_been_opened);
        tcase_add_test(tcase, heap_is_found_by_address_until_it_is_closed);
        tcase_add_test(tcase, none_is_a_cancellation_point);
        tcase_add_test(tcase, cancelled_anywhere_a_thread_leaves_nothing_behind);
        suite_add_tcase(suite, tcase);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
