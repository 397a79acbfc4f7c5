/*
 * What is at stake: what holds for every function of the library, also for the next one that somebody adds: so they are
 * all in one table here, which is compared with what the library exports.
 *
 * Through a handle that is not open each refuses, whatever has become of the heap, the handle and its threads
 * meanwhile; a free is a fault.  And none ends a thread that has been cancelled: what a call holds would be held for
 * ever.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/effort.h"
#include "support/heap_dir.h"
#include "support/suite.h"

/* What a call works on.  `h` may be closed, then p, dest and ref were good in it. */
struct scene {
        shheap *h;
        void *p;
        shref *dest;
        shref ref;
        FILE *out;
};

/* 0, or what the call failed with, as -errno. */
struct function {
        const char *name;
        int (*call)(struct scene *s);
        bool has_handle; /* it is the first argument */
};

/* ------------------------------------------------------------------ faults */

static sigjmp_buf on_fault;
static uint32_t fault_what;

static void
take_fault(const struct shheap_fault *fault, void *arg)
{
        (void)arg;
        fault_what = fault->what;
        siglongjmp(on_fault, 1);
}

/* A free gives no error. */
static int
freed(void (*fn)(struct scene *s), struct scene *s)
{
        int saved = errno = 4711;

        fault_what = 0;
        if (sigsetjmp(on_fault, 1) == 0) {
                fn(s);
                return errno == saved ? 0 : -ENOTRECOVERABLE;
        }
        return fault_what == SHHEAP_FAULT_NOT_A_CLIENT ? -EBADF : -EFAULT;
}

static int
got(struct scene *s, void *p)
{
        if (!p)
                return -errno;
        shheap_free(s->h, p);
        return 0;
}

/* ------------------------------------------------------------------ the functions */

#define FREE(name, expression)                                                                                         \
        static void name##_now(struct scene *s)                                                                        \
        {                                                                                                              \
                expression;                                                                                            \
                if (s->h)                                                                                              \
                        s->p = NULL;                                                                                   \
        }                                                                                                              \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                if (!s->p)                                                                                             \
                        s->p = shheap_malloc(s->h, 100);                                                               \
                return freed(name##_now, s);                                                                           \
        }
#define POINTER(name, expression)                                                                                      \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                errno = 0;                                                                                             \
                return got(s, expression);                                                                             \
        }
#define INT(name, expression)                                                                                          \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                int result = ((void)s, (expression));                                                                  \
                return result < 0 ? result : 0;                                                                        \
        }
#define SIZE(name, expression)                                                                                         \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                errno = 0;                                                                                             \
                return (expression) != 0 ? 0 : -errno;                                                                 \
        }

static void
keep(struct scene *s, void *p)
{
        s->p = p ? p : s->p;
}

#define REALLOC(name, expression)                                                                                      \
        static int name(struct scene *s)                                                                               \
        {                                                                                                              \
                void *p;                                                                                               \
                errno = 0;                                                                                             \
                p = (expression);                                                                                      \
                keep(s, p);                                                                                            \
                return p ? 0 : -errno;                                                                                 \
        }

FREE(call_free, shheap_free(s->h, s->p))
FREE(call_free_sized, shheap_free_sized(s->h, s->p, 100))
FREE(call_free_aligned_sized, shheap_free_aligned_sized(s->h, s->p, 16, 100))
POINTER(call_malloc, shheap_malloc(s->h, 100))
POINTER(call_malloc_large, shheap_malloc(s->h, 100000))
POINTER(call_malloc_huge, shheap_malloc(s->h, 5 << 20))
POINTER(call_calloc, shheap_calloc(s->h, 10, 10))
POINTER(call_aligned_alloc, shheap_aligned_alloc(s->h, 64, 100))
POINTER(call_strdup, shheap_strdup(s->h, "text"))
POINTER(call_strndup, shheap_strndup(s->h, "text", 2))
POINTER(call_mallocx, shheap_mallocx(s->h, 100, SHA_ZERO))
REALLOC(call_realloc, shheap_realloc(s->h, s->p, 5000))
REALLOC(call_reallocarray, shheap_reallocarray(s->h, s->p, 10, 1000))
REALLOC(call_rallocx, shheap_rallocx(s->h, s->p, 100, 0))
SIZE(call_xallocx, shheap_xallocx(s->h, s->p, 100, 0, 0))
SIZE(call_nallocx, shheap_nallocx(s->h, 100, 0))
SIZE(call_usable_size, shheap_usable_size(s->h, s->p))
SIZE(call_ref, shheap_ref(s->h, s->p))
SIZE(call_ptr, shheap_ptr(s->h, s->ref) != NULL)
INT(call_reserve, shheap_reserve(s->h, 1 << 20))
INT(call_node_of, shheap_node_of(s->h, s->p))
INT(call_free_from, shheap_free_from(s->h, s->dest))
INT(call_reap, shheap_reap(s->h))
INT(call_check, shheap_check(s->h, 0, s->out))
INT(call_purge, shheap_purge(s->h, -1))
INT(call_stats_print, shheap_stats_print(s->h, s->out, NULL))
INT(call_set_default, shheap_set_default(s->h))

static int
call_posix_memalign(struct scene *s)
{
        void *p = NULL;
        int err = shheap_posix_memalign(s->h, &p, 64, 100);

        if (err == 0)
                shheap_free(s->h, p);
        return -err;
}

static int
call_malloc_to(struct scene *s)
{
        errno = 0;
        return shheap_malloc_to(s->h, 100, 0, s->dest) ? shheap_free_from(s->h, s->dest) : -errno;
}

/* close() is a cancellation point. */
static void
close_quietly(int fd)
{
        if (fd >= 0)
                syscall(SYS_close, fd);
}

static int
call_dup_fd(struct scene *s)
{
        int fd = shheap_dup_fd(s->h, 0);

        close_quietly(fd);
        return fd < 0 ? fd : 0;
}

static int
call_root(struct scene *s)
{
        void *obj;

        return shheap_root(s->h, "of the test", 100, 0, NULL, NULL, &obj);
}

static int
count_root(const char *name, void *obj, size_t size, void *arg)
{
        (void)name, (void)obj, (void)size, (void)arg;
        return 0;
}

INT(call_root_iterate, shheap_root_iterate(s->h, count_root, NULL))
static int
call_root_undo(struct scene *s)
{
        void *obj;

        return shheap_root_undo(s->h, "of the test", 100, 0, NULL, NULL, NULL, &obj);
}

static int
call_root_take(struct scene *s)
{
        size_t size;
        void *obj;
        int err = shheap_root_take(s->h, "of the test", &obj, &size);

        if (err == 0)
                shheap_free(s->h, obj);
        return err;
}

INT(call_settled, shheap_settled(s->h, s->dest))
INT(call_root_remove, shheap_root_remove(s->h, "of the test"))

static int
see_block(const struct shheap_block *block, void *arg)
{
        (void)block, (void)arg;
        return 0;
}

INT(call_walk, shheap_walk(s->h, SHHEAP_WALK_LIVE, see_block, NULL))

static int
call_ctl(struct scene *s)
{
        uint64_t value;
        size_t length = sizeof value;

        return shheap_ctl(s->h, "stats.allocated", &value, &length, NULL, 0);
}

/* Opened once more first, where it is open. */
static int
call_close(struct scene *s)
{
        shheap *same;

        if (s->h && s->h->is_open && shheap_open(&same, "public", 0, NULL) < 0)
                return -errno;
        return shheap_close(s->h);
}

static int
call_open(struct scene *s)
{
        shheap *other;
        int err = shheap_open(&other, "another", SHHEAP_CREATE, NULL);

        (void)s;
        return err < 0 ? err : shheap_close(other);
}

static int
call_open_fd(struct scene *s)
{
        int fd = shheap_dup_fd(s->h, 0), err;
        shheap *same;

        err = shheap_open_fd(&same, fd, 0);
        close_quietly(fd);
        return err < 0 ? err : shheap_close(same);
}

INT(call_unlink, (shheap_unlink("another"), 0))
INT(call_errormsg, shheap_errormsg() ? 0 : -EINVAL)
INT(call_default, shheap_default() ? 0 : -errno)

static int
call_set_fault_handler(struct scene *s)
{
        (void)s;
        shheap_set_fault_handler(take_fault, NULL);
        return 0;
}

/* On the default heap, which is the same. */
FREE(call_shfree, shfree(s->p))
FREE(call_shfree_sized, shfree_sized(s->p, 100))
POINTER(call_shmalloc, shmalloc(100))
POINTER(call_shcalloc, shcalloc(10, 10))
POINTER(call_shaligned_alloc, shaligned_alloc(64, 100))
POINTER(call_shstrdup, shstrdup("text"))
POINTER(call_shstrndup, shstrndup("text", 2))
REALLOC(call_shrealloc, shrealloc(s->p, 5000))
REALLOC(call_shreallocarray, shreallocarray(s->p, 10, 1000))
SIZE(call_shmalloc_usable_size, shmalloc_usable_size(s->p))
SIZE(call_shref_of, shref_of(s->p))
SIZE(call_shptr_of, shptr_of(s->ref) != NULL)

static int
call_shposix_memalign(struct scene *s)
{
        void *p = NULL;
        int err = shposix_memalign(&p, 64, 100);

        (void)s;
        shfree(p);
        return -err;
}

/* In the order of calls; the object of shheap_root() is there for those behind it. */
static const struct function functions[] = {
        {"shheap_set_fault_handler", call_set_fault_handler, false},
        {"shheap_open", call_open, false},
        {"shheap_open_fd", call_open_fd, false},
        {"shheap_unlink", call_unlink, false},
        {"shheap_errormsg", call_errormsg, false},
        {"shheap_set_default", call_set_default, true},
        {"shheap_default", call_default, false},
        {"shheap_dup_fd", call_dup_fd, true},
        {"shheap_close", call_close, true},
        {"shheap_malloc", call_malloc, true},
        {"shheap_malloc", call_malloc_large, true},
        {"shheap_malloc", call_malloc_huge, true},
        {"shheap_free", call_free, true},
        {"shheap_free_sized", call_free_sized, true},
        {"shheap_free_aligned_sized", call_free_aligned_sized, true},
        {"shheap_calloc", call_calloc, true},
        {"shheap_realloc", call_realloc, true},
        {"shheap_reallocarray", call_reallocarray, true},
        {"shheap_aligned_alloc", call_aligned_alloc, true},
        {"shheap_posix_memalign", call_posix_memalign, true},
        {"shheap_strdup", call_strdup, true},
        {"shheap_strndup", call_strndup, true},
        {"shheap_mallocx", call_mallocx, true},
        {"shheap_rallocx", call_rallocx, true},
        {"shheap_xallocx", call_xallocx, true},
        {"shheap_nallocx", call_nallocx, true},
        {"shheap_usable_size", call_usable_size, true},
        {"shheap_reserve", call_reserve, true},
        {"shheap_node_of", call_node_of, true},
        {"shheap_ref", call_ref, true},
        {"shheap_ptr", call_ptr, true},
        {"shheap_malloc_to", call_malloc_to, true},
        {"shheap_free_from", call_free_from, true},
        {"shheap_root", call_root, true},
        {"shheap_root_iterate", call_root_iterate, true},
        {"shheap_root_remove", call_root_remove, true},
        {"shheap_root_undo", call_root_undo, true},
        {"shheap_root_take", call_root_take, true},
        {"shheap_settled", call_settled, true},
        {"shheap_reap", call_reap, true},
        {"shheap_ctl", call_ctl, true},
        {"shheap_stats_print", call_stats_print, true},
        {"shheap_walk", call_walk, true},
        {"shheap_check", call_check, true},
        {"shheap_purge", call_purge, true},
        {"shfree", call_shfree, false},
        {"shfree_sized", call_shfree_sized, false},
        {"shmalloc", call_shmalloc, false},
        {"shcalloc", call_shcalloc, false},
        {"shrealloc", call_shrealloc, false},
        {"shreallocarray", call_shreallocarray, false},
        {"shaligned_alloc", call_shaligned_alloc, false},
        {"shposix_memalign", call_shposix_memalign, false},
        {"shstrdup", call_shstrdup, false},
        {"shstrndup", call_shstrndup, false},
        {"shmalloc_usable_size", call_shmalloc_usable_size, false},
        {"shref_of", call_shref_of, false},
        {"shptr_of", call_shptr_of, false},
};
enum { N_OTHERS = 50, N_CANCELLED = 20, N_FUNCTIONS = sizeof functions / sizeof functions[0] };

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

/* NULL is what shheap_set_default() takes for "none", and shheap_ctl() for questions of no heap. */
static int
refusal(const struct function *f, const shheap *h)
{
        if (h)
                return -EBADF;
        return strcmp(f->name, "shheap_set_default") == 0 ? 0 : strcmp(f->name, "shheap_ctl") == 0 ? -EINVAL : -EBADF;
}

static void
assert_all_refuse(struct scene *s)
{
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
