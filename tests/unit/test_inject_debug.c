/*
 * What is at stake: what a heap does when the system refuses.  Each operation is run with its first system call
 * failing, then its second, and so on until none is left to fail; and again with everything failing from there on.
 * What fails says so in words and leaves no trace: no byte allocated or changed, no file, descriptor or mapping more
 * than before, the tables exact; and the same operation succeeds as soon as the system does.  Frees always succeed.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "clients/client.h"
#include "clients/liveness.h"
#include "os/inject.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        ck_abort_msg("line %d: not true: %s (errno %d, \"%s\"; %s, call %u, %s)", __LINE__, #claim,    \
                                     errno, shheap_errormsg(), doing, fail_at,                                         \
                                     keeps_failing ? "all from there on" : failed_call);                               \
        } while (0)

enum { CALLS_MAX = 300 };

static shheap *h;
static const char *doing = "", *failed_call = "";

/* ------------------------------------------------------------------ failing calls */

static unsigned n_calls, fail_at; /* the first call is 1; 0: none fails */
static bool keeps_failing;

static int
error_of(const char *call)
{
        if (strcmp(call, "allocate") == 0 || strcmp(call, "link") == 0 || strcmp(call, "create") == 0)
                return ENOSPC;
        if (strncmp(call, "open", 4) == 0 || strcmp(call, "reopen") == 0 || strcmp(call, "dup") == 0)
                return EMFILE;
        return strncmp(call, "map", 3) == 0 || strcmp(call, "protect") == 0 || strcmp(call, "memfd") == 0 ? ENOMEM
                                                                                                          : EIO;
}

static int
inject(const char *call)
{
        unsigned n = __atomic_add_fetch(&n_calls, 1, __ATOMIC_RELAXED);

        if (fail_at == 0 || n < fail_at || (n > fail_at && !keeps_failing))
                return 0;
        failed_call = call;
        return error_of(call);
}

static void
arm(unsigned at, bool keep)
{
        n_calls = 0;
        fail_at = at;
        keeps_failing = keep;
        failed_call = "";
        os_inject = inject;
}

/* Whether a call was made to fail. */
static bool
disarm(void)
{
        os_inject = NULL;
        return n_calls >= fail_at;
}

/* ------------------------------------------------------------------ what a process has */

static unsigned
n_entries(const char *path)
{
        DIR *d = opendir(path);
        unsigned n = 0;

        ck_assert_ptr_nonnull(d);
        while (readdir(d))
                n++;
        closedir(d);
        return n;
}

/* Mappings of heap files. */
static unsigned
n_mappings(void)
{
        FILE *f = fopen("/proc/self/maps", "re");
        char line[512];
        unsigned n = 0;

        ck_assert_ptr_nonnull(f);
        while (fgets(line, sizeof line, f))
                n += strstr(line, "/dev/shm/") != NULL || strstr(line, "memfd:") != NULL;
        fclose(f);
        return n;
}

struct belongings {
        unsigned n_fds, n_mappings;
        int n_files;
};

static struct belongings
count_belongings(void)
{
        return (struct belongings){n_entries("/proc/self/fd"), n_mappings(), heap_dir_count()};
}

/* ------------------------------------------------------------------ opening */

static const struct opening {
        const char *name;
        unsigned flags;
        bool there_is_one; /* created by another process */
        bool by_fd;
} openings[] = {
        {"create", SHHEAP_CREATE, false, false},
        {"create, exclusively", SHHEAP_CREATE | SHHEAP_EXCL, false, false},
        {"create, populated", SHHEAP_CREATE | SHHEAP_POPULATE, false, false},
        {"open", 0, true, false},
        {"open or create", SHHEAP_CREATE, true, false},
        {"open, populated", SHHEAP_POPULATE, true, false},
        {"open read-only", SHHEAP_RDONLY, true, false},
        {"open relocatable", SHHEAP_RELOCATABLE, true, false},
        {"open by descriptor", 0, true, true},
};

static void
create_in_child(void)
{
        int status;
        pid_t pid = fork();

        ck_assert_int_ge(pid, 0);
        if (pid == 0) {
                shheap_close(heap_dir_open("i", SHHEAP_CREATE, "capacity:8M"));
                _exit(0);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        ck_assert_int_eq(status, 0);
}

static int
open_one(const struct opening *o, int fd)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        attr.conf = "capacity:8M";
        return o->by_fd ? shheap_open_fd(&h, fd, o->flags) : shheap_open(&h, "i", o->flags, &attr);
}

/* Whether another call is left to fail. */
static bool
fail_opening(const struct opening *o, unsigned at, bool keep)
{
        struct belongings before;
        char path[200];
        int fd = -1, err;
        bool has_failed;

        heap_dir_empty();
        if (o->there_is_one)
                create_in_child();
        snprintf(path, sizeof path, "%s/shmalloc.i", getenv("SHMALLOC_DIR"));
        if (o->by_fd)
                NEED((fd = open(path, O_RDWR | O_CLOEXEC)) >= 0);
        before = count_belongings();
        h = NULL;
        arm(at, keep);
        err = open_one(o, fd);
        has_failed = disarm();
        if (err < 0) {
                struct belongings after = count_belongings();

                NEED(has_failed && !h && err >= -4095 && strlen(shheap_errormsg()) > 10);
                NEED(after.n_fds == before.n_fds && after.n_mappings == before.n_mappings);
                /* Once it has its name, it is a heap like any other, and somebody else's perhaps. */
                NEED(after.n_files == before.n_files || (after.n_files == 1 && !o->there_is_one));
                if (after.n_files == before.n_files || !(o->flags & SHHEAP_EXCL))
                        NEED(open_one(o, fd) == 0);
                else
                        NEED(shheap_open(&h, "i", 0, NULL) == 0);
        }
        if (!(o->flags & SHHEAP_RDONLY)) {
                void *p = shheap_malloc(h, 1000);

                NEED(p && heap_ctl(h, "stats.allocated") == 1024);
                shheap_free(h, p);
        }
        heap_assert_clean(h);
        NEED(shheap_close(h) == 0 && heap_dir_count() == 1);
        close(fd);
        return has_failed;
}

START_TEST(opening_succeeds_or_leaves_nothing)
{
        for (unsigned i = 0; i < sizeof openings / sizeof openings[0]; i++)
                for (int keep = 0; keep < 2; keep++) {
                        unsigned at = 1;

                        doing = openings[i].name;
                        while (fail_opening(&openings[i], at, keep == 1))
                                ck_assert_uint_lt(at++, CALLS_MAX);
                        ck_assert_uint_gt(at, 3);
                }
        heap_dir_empty();
}
END_TEST

START_TEST(descriptor_is_given_or_not)
{
        struct belongings before;
        int fd;

        heap_dir_empty();
        h = heap_dir_open("i", SHHEAP_CREATE, NULL);
        before = count_belongings();
        doing = "dup_fd";
        for (unsigned flags = 0; flags <= SHHEAP_RDONLY; flags += SHHEAP_RDONLY)
                for (unsigned at = 1;; at++) {
                        arm(at, false);
                        fd = shheap_dup_fd(h, flags);
                        if (!disarm()) {
                                NEED(fd >= 0);
                                close(fd);
                                break;
                        }
                        close(fd); /* there is more than one way to get it */
                        NEED(count_belongings().n_fds == before.n_fds);
                }
        shheap_close(h);
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ operations in a heap */

/* What each test of an operation begins with: a heap with a block of a kind, which was filled. */
static unsigned char *block;
static size_t block_bytes;
static shref *dest;
static void *got; /* what the operation gave */

static void
begin(size_t bytes)
{
        heap_dir_empty();
        h = heap_dir_open("i", SHHEAP_CREATE, "capacity:64M,arenas:2");
        dest = shheap_calloc(h, 1, sizeof *dest);
        block = shheap_malloc(h, bytes);
        NEED(block && dest);
        block_bytes = bytes;
        for (size_t i = 0; i < bytes; i++)
                block[i] = (unsigned char)(i * 7 + (i >> 8));
        got = NULL;
}

static bool
block_is_as_it_was(const unsigned char *b, size_t bytes)
{
        for (size_t i = 0; i < bytes; i++)
                if (b[i] != (unsigned char)(i * 7 + (i >> 8)))
                        return false;
        return true;
}

static bool
op_malloc_small(void)
{
        return (got = shheap_malloc(h, 3000)) != NULL;
}

static bool
op_malloc_large(void)
{
        return (got = shheap_malloc(h, 300000)) != NULL;
}

static bool
op_malloc_huge(void)
{
        return (got = shheap_malloc(h, 9 * MIB)) != NULL;
}

static bool
op_aligned(void)
{
        return (got = shheap_aligned_alloc(h, 8 * MIB, 200)) != NULL;
}

static bool
op_calloc(void)
{
        return (got = shheap_calloc(h, 1000, 100)) != NULL;
}

static bool
op_without_cache(void)
{
        return (got = shheap_mallocx(h, 500, SHA_TCACHE_NONE)) != NULL;
}

static bool
op_other_arena(void)
{
        return (got = shheap_mallocx(h, 500, SHA_ARENA(1))) != NULL;
}

static bool
op_malloc_to(void)
{
        return (got = shheap_malloc_to(h, 70000, 0, dest)) != NULL;
}

static bool
op_malloc_huge_to(void)
{
        return (got = shheap_malloc_to(h, 5 * MIB, 0, dest)) != NULL;
}

static bool
resize_to(size_t bytes)
{
        unsigned char *p = shheap_realloc(h, block, bytes);

        if (!p)
                return false;
        NEED(block_is_as_it_was(p, block_bytes < bytes ? block_bytes : bytes));
        memset(p, 1, bytes);
        got = p;
        block = NULL;
        return true;
}

static bool
op_grow_small(void)
{
        return resize_to(20000);
}

static bool
op_grow_to_large(void)
{
        return resize_to(500000);
}

static bool
op_grow_to_huge(void)
{
        return resize_to(6 * MIB);
}

static bool
op_grow_to_large_again(void)
{
        return resize_to(1500000);
}

static bool
op_grow_much(void)
{
        return resize_to(20 * MIB);
}

static bool
op_shrink(void)
{
        return resize_to(3000);
}

static bool
op_root(void)
{
        void *obj = NULL;
        int err = shheap_root(h, "root", 5000, 0, NULL, NULL, &obj);

        NEED((err == 0) == (obj != NULL));
        if (err < 0)
                errno = -err == ENOSPC ? ENOMEM : -err;
        else
                NEED(shheap_root_remove(h, "root") == 0);
        return err == 0;
}

static bool
op_reserve(void)
{
        int err = shheap_reserve(h, 20 * MIB);

        if (err < 0)
                errno = -err == ENOSPC ? ENOMEM : -err;
        return err == 0;
}

static bool
op_capacity(void)
{
        uint64_t value;
        size_t length = sizeof value;
        int err = shheap_ctl(h, "stats.mapped", &value, &length, NULL, 0);

        if (err < 0)
                errno = ENOMEM;
        return err == 0;
}

/* Another thread's first call. */
static void *
allocate_in_thread(void *arg)
{
        got = shheap_malloc(h, 3000);
        if (!got)
                *(int *)arg = errno;
        return NULL;
}

static bool
op_thread(void)
{
        pthread_t thread;
        int err = 0;

        ck_assert_int_eq(pthread_create(&thread, NULL, allocate_in_thread, &err), 0);
        ck_assert_int_eq(pthread_join(thread, NULL), 0);
        errno = err;
        return got != NULL;
}

static const struct op {
        const char *name;
        size_t bytes; /* of the block that is there before */
        bool (*run)(void);
} ops[] = {
        {"malloc, small", 100, op_malloc_small},
        {"malloc, large", 100, op_malloc_large},
        {"malloc, huge", 100, op_malloc_huge},
        {"aligned_alloc", 100, op_aligned},
        {"calloc", 100, op_calloc},
        {"mallocx past the caches", 100, op_without_cache},
        {"mallocx from an arena", 100, op_other_arena},
        {"malloc_to", 100, op_malloc_to},
        {"malloc_to, huge", 100, op_malloc_huge_to},
        {"realloc, small", 100, op_grow_small},
        {"realloc to large", 100, op_grow_to_large},
        {"realloc to huge", 100, op_grow_to_huge},
        {"realloc, large in place", 500000, op_grow_to_large_again},
        {"realloc, large to huge", 500000, op_grow_to_huge},
        {"realloc, huge in place", 5 * MIB, op_grow_much},
        {"realloc, huge to small", 5 * MIB, op_shrink},
        {"realloc, large to small", 500000, op_shrink},
        {"root", 100, op_root},
        {"reserve", 100, op_reserve},
        {"ctl", 100, op_capacity},
        {"first malloc of a thread", 100, op_thread},
};

/* Whether another call is left to fail. */
static bool
fail_op(const struct op *op, unsigned at, bool keep)
{
        struct belongings before;
        uint64_t allocated;
        bool has_failed, has_worked;

        begin(op->bytes);
        before = count_belongings();
        allocated = heap_ctl(h, "stats.allocated");
        errno = 0;
        arm(at, keep);
        has_worked = op->run();
        has_failed = disarm();
        if (!has_worked) {
                NEED(has_failed && errno == ENOMEM && !got && strlen(shheap_errormsg()) > 10);
                NEED(heap_ctl(h, "stats.allocated") == allocated && *dest == SHREF_NULL);
                NEED(block_is_as_it_was(block, block_bytes));
                heap_assert_clean(h);
                NEED(op->run());
        }
        shheap_free(h, got);
        shheap_free(h, block);
        shheap_free(h, dest);
        NEED(heap_ctl(h, "stats.allocated") == 0);
        heap_assert_clean(h);
        NEED(count_belongings().n_fds == before.n_fds && heap_dir_count() == 1);
        shheap_close(h);
        NEED(n_mappings() == 0);
        return has_failed;
}

START_TEST(operation_succeeds_or_leaves_all_as_it_was)
{
        for (unsigned i = 0; i < sizeof ops / sizeof ops[0]; i++)
                for (int keep = 0; keep < 2; keep++) {
                        unsigned at = 1;

                        doing = ops[i].name;
                        while (fail_op(&ops[i], at, keep == 1))
                                ck_assert_uint_lt(at++, CALLS_MAX);
                        ck_assert_uint_ge(at, op_shrink == ops[i].run ? 1 : 2);
                }
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ what must not fail */

static void *
free_in_thread(void *arg)
{
        shheap_free(h, arg);
        return NULL;
}

START_TEST(frees_succeed_whatever_fails)
{
        const size_t sizes[] = {24, 3000, 40000, MIB, 5 * MIB};
        void *p[400];

        doing = "free";
        for (unsigned at = 1; at < 12; at++) {
                pthread_t thread;

                begin(100);
                for (unsigned i = 0; i < 400; i++)
                        p[i] = shheap_malloc(h, sizes[i < 20 ? i % 5 : i % 2]);
                arm(at, true);
                for (unsigned i = 0; i < 400; i++)
                        if (i % 40 == 0) { /* a thread that is new here, and finds no memory for itself */
                                ck_assert_int_eq(pthread_create(&thread, NULL, free_in_thread, p[i]), 0);
                                ck_assert_int_eq(pthread_join(thread, NULL), 0);
                        } else {
                                shheap_free(h, p[i]);
                        }
                disarm();
                shheap_free(h, block);
                shheap_free(h, dest);
                NEED(heap_ctl(h, "stats.allocated") == 0);
                heap_assert_clean(h);
                shheap_close(h);
        }
        heap_dir_empty();
}
END_TEST

START_TEST(purge_that_cannot_leaves_memory_to_be_used)
{
        doing = "purge";
        for (int keep = 0; keep < 2; keep++)
                for (unsigned at = 1;; at++) {
                        bool has_failed;

                        begin(500000);
                        for (int i = 0; i < 3; i++) { /* something to purge: runs, a huge block, slabs */
                                void *p[4] = {shheap_malloc(h, 100000), shheap_malloc(h, 5 * MIB),
                                              shheap_malloc(h, 5000), shheap_mallocx(h, 1000, SHA_ARENA(1))};

                                for (int k = 0; k < 4; k++)
                                        memset(p[k], 0xee, 1000);
                                for (int k = 0; k < 4; k++)
                                        shheap_free(h, p[k]);
                        }
                        arm(at, keep == 1);
                        NEED(shheap_purge(h, -1) == 0);
                        has_failed = disarm();
                        heap_assert_clean(h);
                        NEED(block_is_as_it_was(block, block_bytes));
                        for (size_t size = 64; size < 8 * MIB; size *= 4) {
                                got = shheap_calloc(h, 1, size);
                                NEED(got);
                                memset(got, 1, size);
                                shheap_free(h, got);
                        }
                        NEED(shheap_purge(h, -1) == 0);
                        shheap_free(h, block);
                        shheap_free(h, dest);
                        NEED(heap_ctl(h, "stats.allocated") == 0);
                        heap_assert_clean(h);
                        shheap_close(h);
                        if (!has_failed)
                                break;
                        ck_assert_uint_lt(at, CALLS_MAX);
                }
        heap_dir_empty();
}
END_TEST

START_TEST(closing_needs_nothing)
{
        int status;
        pid_t pid;

        for (int i = 0; i < 2; i++) {
                begin(100);
                doing = "close";
                for (int k = 0; k < 500; k++)
                        got = shheap_malloc(h, 200);
                if (i == 1) {
                        pid = fork();
                        ck_assert_int_ge(pid, 0);
                        if (pid == 0) {
                                fclose(stderr);
                                close(STDERR_FILENO);
                                arm(1, true);
                                shheap_free(h, block); /* or it says that it cannot become a client */
                                disarm();
                                shheap_close(h);
                                _exit(0);
                        }
                        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
                        ck_assert_msg(WIFEXITED(status) || WTERMSIG(status) == SIGABRT, "status %#x", status);
                }
                arm(1, true);
                NEED(shheap_close(h) == 0);
                disarm();
                NEED(n_mappings() == 0);
                h = heap_dir_open("i", 0, NULL);
                shheap_reap(h);
                heap_assert_clean(h);
                shheap_close(h);
        }
        heap_dir_empty();
}
END_TEST

/* ------------------------------------------------------------------ places for processes */

static void *
open_in_thread(void *arg)
{
        *(shheap **)arg = heap_dir_open("i", 0, NULL);
        return NULL;
}

/* A client whose threads have ended: it holds nothing but its place. */
static void
be_idle(struct child *self, void *arg)
{
        pthread_t thread;
        shheap *own = NULL;

        (void)arg;
        MUST(pthread_create(&thread, NULL, open_in_thread, &own) == 0);
        MUST(pthread_join(thread, NULL) == 0 && own);
        child_tell(self);
        child_hear(self);
        MUST(shheap_close(own) == 0);
}

static int
no_room(const char *call)
{
        return strcmp(call, "allocate") == 0 || strcmp(call, "populate") == 0 ? ENOSPC : 0;
}

static void
come_where_no_page_is_left(struct child *self, void *arg)
{
        (void)self;
        (void)arg;
        os_inject = no_room;
        h = heap_dir_open("i", 0, NULL);
        MUST(h);
        MUST(shheap_reap(h) >= 0);
        os_inject = NULL;
        MUST(shheap_close(h) == 0);
}

/* In the newcomer: others that come at the same time are played by what it asks who it is with.  Whenever it does so,
 * the place that it has just got is taken from it, and has somebody else in it. */
static struct liveness_ops liveness_of_the_late;
static const struct liveness_ops *liveness_proper;
static struct region *region_of_the_late;
static struct client_id faster;
static unsigned n_lost;

static int
identify_and_lose(struct liveness_self *ret_self)
{
        struct region *r = region_of_the_late;
        int err = liveness_proper->identify(ret_self);

        for (uint32_t idx = 0; err == 0 && idx < region_clients_hwm(r); idx++) {
                struct client_id client = {.idx = idx, .incarnation = (uint32_t)(region_client(r, idx)->word >> 32)};

                if ((client.idx == faster.idx && client.incarnation == faster.incarnation) ||
                    !client_is_of(r, &client, ret_self->pid, 0) || !client_evict(r, &client))
                        continue;
                liveness = liveness_proper;
                MUST(client_register(r, &faster) == 0);
                liveness = &liveness_of_the_late;
                n_lost++;
        }
        return err;
}

static void
come_too_late(struct child *self, void *arg)
{
        bool is_short = arg != NULL;
        shheap *own = NULL;

        (void)self;
        region_of_the_late = &h->region;
        liveness_proper = liveness;
        liveness_of_the_late = *liveness;
        liveness_of_the_late.identify = identify_and_lose;
        liveness = &liveness_of_the_late;
        os_inject = is_short ? no_room : NULL;
        MUST(shheap_open(&own, "i", 0, NULL) == -EUSERS && !own);
        os_inject = NULL;
        liveness = liveness_proper;
        MUST(n_lost >= 10);
        MUST(!strstr(shheap_errormsg(), "no memory for another client slot") == !is_short);
        MUST(!strstr(shheap_errormsg(), "No space left on device") == !is_short);
        MUST(!strstr(shheap_errormsg(), "have taken this process's place") == is_short);
        MUST(!strstr(shheap_errormsg(), "max_clients"));
}

START_TEST(newcomer_gets_the_place_of_one_who_holds_nothing_where_no_page_is_left)
{
        static struct child idle[200];
        const struct region *r;
        struct child newcomer;
        unsigned n = 0, per_page;

        heap_dir_empty();
        h = heap_dir_open("i", SHHEAP_CREATE, "capacity:64M,arenas:2,max_clients:300,max_threads:1000");
        r = &h->region;
        per_page = 4096 / (unsigned)r->layout.stride[TABLE_CLIENTS];
        do { /* the next place ends in another page */
                child_start(&idle[n], be_idle, NULL);
                ck_assert(child_hear(&idle[n]));
                n++;
                ck_assert_uint_lt(n, 200);
        } while (region_clients_hwm(r) != per_page);
        child_start(&newcomer, come_where_no_page_is_left, NULL);
        ck_assert_int_eq(child_end(&newcomer), 0);
        for (int is_short = 1; is_short >= 0; is_short--) { /* they get none, and are told why */
                child_start(&newcomer, come_too_late, is_short ? &newcomer : NULL);
                ck_assert_int_eq(child_end(&newcomer), 0);
        }
        while (n > 0) {
                n--;
                ck_assert(child_tell(&idle[n]));
                ck_assert_int_eq(child_end(&idle[n]), 0);
        }
        heap_assert_clean(h);
        ck_assert_int_eq(shheap_close(h), 0);
        heap_dir_empty();
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("inject");
        TCase *tcase = tcase_create("failing calls");
        int status;

        tcase_add_test(tcase, opening_succeeds_or_leaves_nothing);
        tcase_add_test(tcase, descriptor_is_given_or_not);
        tcase_add_test(tcase, operation_succeeds_or_leaves_all_as_it_was);
        tcase_add_test(tcase, frees_succeed_whatever_fails);
        tcase_add_test(tcase, purge_that_cannot_leaves_memory_to_be_used);
        tcase_add_test(tcase, closing_needs_nothing);
        tcase_add_test(tcase, newcomer_gets_the_place_of_one_who_holds_nothing_where_no_page_is_left);
        suite_add_tcase(suite, tcase);
        heap_dir_create("inject");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
