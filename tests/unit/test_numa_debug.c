/*
 * What is at stake: memory of the right node, by rules that must hold on machines that nobody has at hand.  The machine
 * is played: which nodes there are, where a thread runs, what is free, what the system answers when chunks are bound.
 * (tests/numa shows on machines with real nodes that pages go where they are bound to.)
 */
#include <errno.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "api/heap.h"
#include "os/numa.h"
#include "support/checks.h"
#include "support/heap_dir.h"
#include "support/heap_fixture.h"
#include "support/suite.h"

#define MIB ((size_t)1 << 20)

#define NEED(claim)                                                                                                    \
        do {                                                                                                           \
                if (!(claim))                                                                                          \
                        ck_abort_msg("line %d: not true: %s (errno %d, \"%s\")", __LINE__, #claim, errno,              \
                                     shheap_errormsg());                                                               \
        } while (0)

/* ------------------------------------------------------------------ the machine */

enum { BINDS_MAX = 4096, NODES = 64 };

struct bind {
        const char *addr;
        uint64_t bytes, nodes;
        bool interleave, has_pages;
};

static struct os_numa_fake machine;
static __thread uint32_t here;
static uint64_t allowed, free_of[NODES];
static int64_t elsewhere;
static int bind_error;
static struct bind binds[BINDS_MAX];
static uint32_t n_binds;
static shheap *h;

static uint32_t
play_here(void)
{
        return here;
}

static uint64_t
play_allowed(void)
{
        return allowed;
}

static uint64_t
play_free(uint32_t node)
{
        return free_of[node];
}

static int64_t
play_elsewhere(const void *addr, uint64_t bytes, uint32_t node)
{
        (void)addr, (void)bytes;
        return node == 0 ? elsewhere : 0;
}

static bool
has_pages(char *addr, uint64_t bytes)
{
        unsigned char there[4096];
        bool has = false;

        for (uint64_t done = 0, n; done < bytes; done += n * 4096) {
                n = (bytes - done) / 4096 < sizeof there ? (bytes - done) / 4096 : sizeof there;
                ck_assert_int_eq(mincore(addr + done, n * 4096, there), 0);
                has |= memchr(there, 1, n) != NULL;
        }
        return has;
}

static int
play_bind(void *addr, uint64_t bytes, uint64_t nodes, bool interleave)
{
        uint32_t i = __atomic_fetch_add(&n_binds, 1, __ATOMIC_RELAXED);

        if (bind_error != 0)
                return bind_error;
        ck_assert_uint_lt(i, BINDS_MAX);
        binds[i] = (struct bind){addr, bytes, nodes, interleave, has_pages(addr, bytes)};
        return nodes & machine.machine.with_memory & allowed ? 0 : -EINVAL;
}

static void
play(const char *text)
{
        ck_assert_msg(os_numa_play(text), "\"%s\" is no machine", text);
        machine = *os_numa_fake;
        machine.here = play_here;
        machine.allowed = play_allowed;
        machine.free_bytes = play_free;
        machine.count_elsewhere = play_elsewhere;
        machine.bind = play_bind;
        os_numa_fake = &machine;
        allowed = UINT64_MAX;
        elsewhere = 0;
        bind_error = 0;
        n_binds = 0;
        here = 0;
        for (int node = 0; node < NODES; node++)
                free_of[node] = machine.machine.with_memory >> node & 1 ? UINT64_MAX : 0;
}

static const char *const machines[] = {"2", "2,2", "2,2,2,2", "2,2,2,2,2,2,2,2"};
static const uint32_t machine_nodes[] = {1, 2, 4, 8};
enum { N_MACHINES = 4 };

static void
teardown(void)
{
        if (h) {
                NEED(shheap_reap(h) >= 0);
                heap_assert_clean(h);
                (void)heap_verify_words(&h->region);
                shheap_close(h);
        }
        h = NULL;
        heap_dir_empty();
}

static void
open_on(const char *text, const char *conf)
{
        play(text);
        h = heap_dir_open("numa", SHHEAP_CREATE, conf);
}

static uint32_t
node_of(const void *p)
{
        return (uint32_t)shheap_node_of(h, p);
}

static uint32_t
thread_node(void)
{
        return (uint32_t)heap_ctl(h, "thread.node");
}

static const size_t sizes[] = {16, 100, 1000, 10000, 40000, 300000, MIB, 3 * MIB, 9 * MIB};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

/* ------------------------------------------------------------------ nodes and arenas */

START_TEST(heap_has_the_nodes_of_the_machine)
{
        uint32_t n = machine_nodes[_i];

        open_on(machines[_i], NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.nodes"), n);
        ck_assert_uint_eq(heap_ctl(h, "heap.arenas"), n == 1 ? 2 : 2 * (n + 1));
        ck_assert_int_eq(shheap_purge(h, (int)n - 1), 0);
        ck_assert_int_eq(shheap_purge(h, (int)n), -EINVAL);
        ck_assert(!shheap_mallocx(h, 100, SHA_NODE(n)) && errno == EINVAL);
}
END_TEST

enum { PER_NODE = 5 };

struct bound {
        uint32_t node, arena, thread_node;
        uint32_t wrong[N_SIZES];
        pthread_barrier_t *barrier;
};

static void *
bind_and_allocate(void *arg)
{
        struct bound *b = arg;
        void *p[N_SIZES];

        here = b->node;
        shheap_free(h, shheap_malloc(h, 1));
        pthread_barrier_wait(b->barrier);
        b->arena = (uint32_t)heap_ctl(h, "thread.arena");
        b->thread_node = thread_node();
        for (unsigned i = 0; i < N_SIZES; i++) {
                p[i] = sizes[i] <= MIB || b->arena % 2 == 0 ? shheap_malloc(h, sizes[i]) : NULL;
                b->wrong[i] = p[i] && node_of(p[i]) != b->node;
        }
        for (unsigned i = 0; i < N_SIZES; i++)
                shheap_free(h, p[i]);
        pthread_barrier_wait(b->barrier);
        return NULL;
}

START_TEST(threads_use_arenas_of_their_node_evenly)
{
        uint32_t n_nodes = machine_nodes[_i], n = PER_NODE * n_nodes, load[NODES] = {0};
        struct bound bound[PER_NODE * 8];
        pthread_t threads[PER_NODE * 8];
        pthread_barrier_t barrier;

        open_on(machines[_i], "capacity:1G");
        pthread_barrier_init(&barrier, NULL, n);
        load[heap_ctl(h, "thread.arena")]++;
        for (uint32_t i = 0; i < n; i++) {
                bound[i] = (struct bound){.node = i % n_nodes, .barrier = &barrier};
                ck_assert_int_eq(pthread_create(&threads[i], NULL, bind_and_allocate, &bound[i]), 0);
        }
        for (uint32_t i = 0; i < n; i++) {
                pthread_join(threads[i], NULL);
                ck_assert_uint_eq(bound[i].thread_node, bound[i].node);
                for (unsigned s = 0; s < N_SIZES; s++)
                        ck_assert_msg(!bound[i].wrong[s], "%zu bytes for node %u", sizes[s], bound[i].node);
                load[bound[i].arena]++;
        }
        for (uint32_t node = 0; node < n_nodes; node++)
                ck_assert_int_le(abs((int)load[2 * node] - (int)load[2 * node + 1]), 1);
}
END_TEST

/* ------------------------------------------------------------------ binding chunks */

/* Chunks are bound to one node each, and before they have pages. */
static uint32_t
check_binds(uint32_t from, uint64_t nodes)
{
        const char *chunks = h->region.chunks;
        uint32_t n = 0;

        for (uint32_t i = from; i < n_binds; i++) {
                if (binds[i].addr < chunks)
                        continue;
                ck_assert(!binds[i].has_pages && !binds[i].interleave);
                ck_assert_uint_eq(binds[i].nodes, nodes);
                ck_assert_uint_eq((uint64_t)(binds[i].addr - chunks) % GEO_CHUNK_BYTES, 0);
                n += (uint32_t)(binds[i].bytes / GEO_CHUNK_BYTES);
        }
        return n;
}

START_TEST(chunks_are_bound_before_they_have_pages)
{
        void *p[N_SIZES];

        open_on("2,2", NULL);
        for (unsigned i = 0; i < N_SIZES; i++)
                NEED((p[i] = shheap_malloc(h, sizes[i])) != NULL);
        ck_assert_uint_ge(check_binds(0, 1), 4);
        for (unsigned i = 0; i < N_SIZES; i++)
                shheap_free(h, p[i]);
}
END_TEST

/* All chunks were of node 0, and had pages, when node 1 needs them. */
START_TEST(chunk_that_changes_node_gives_its_pages_back_first)
{
        void *p[512];
        uint32_t n, before;

        open_on("2,2", "capacity:16M");
        for (n = 0; n < 512 && (p[n] = shheap_mallocx(h, 40000, SHA_NODE(0))) != NULL; n++)
                memset(p[n], 1, 40000);
        ck_assert_uint_gt(n, 200);
        while (n > 0)
                shheap_free(h, p[--n]);
        before = n_binds;
        here = 1;
        for (n = 0; n < 100; n++)
                NEED((p[n] = shheap_malloc(h, 40000)) != NULL && (n < 20 || node_of(p[n]) == 1)); /* some are cached */
        ck_assert_uint_ge(check_binds(before, 2), 2);
        while (n > 0)
                shheap_free(h, p[--n]);
        shheap_purge(h, -1);
        before = n_binds;
        NEED((p[0] = shheap_malloc(h, 9 * MIB)) != NULL && node_of(p[0]) == 1); /* a huge one takes them likewise */
        NEED(check_binds(before, 2) <= 3);
        shheap_free(h, p[0]);
}
END_TEST

START_TEST(chunk_that_comes_back_to_its_node_is_not_bound_again)
{
        uint32_t before;
        void *p;

        open_on("2,2", "capacity:16M");
        shheap_free(h, shheap_malloc(h, 9 * MIB));
        before = n_binds;
        NEED((p = shheap_malloc(h, 9 * MIB)) != NULL);
        ck_assert_uint_eq(n_binds, before);
        shheap_free(h, p);
}
END_TEST

START_TEST(system_that_binds_nothing_is_good_enough_unless_strict)
{
        void *p;

        play("2,2");
        bind_error = -EPERM;
        h = heap_dir_open("numa", SHHEAP_CREATE, NULL);
        for (unsigned i = 0; i < N_SIZES; i++) {
                NEED((p = shheap_malloc(h, sizes[i])) != NULL);
                shheap_free(h, p);
        }
        errno = 0;
        ck_assert(!shheap_mallocx(h, 5 * MIB, SHA_NODE(1)) && errno == ENOMEM);
        teardown();
        bind_error = -EPERM;
        h = heap_dir_open("numa", SHHEAP_CREATE, "numa:strict");
        errno = 0;
        ck_assert(!shheap_malloc(h, 100) && errno == ENOMEM);
        bind_error = 0;
        NEED((p = shheap_malloc(h, 100)) != NULL);
        shheap_free(h, p);
}
END_TEST

/* ------------------------------------------------------------------ moving */

/* Magazines with blocks of the node in the calling thread's places. */
static uint32_t
places_of_node(uint32_t node)
{
        const struct thread *t = &tcache_find(h)->thread;
        uint32_t n = 0;

        for (uint32_t place = 0; place < 2 * t->region->layout.n_tags; place++) {
                uint32_t tag = place % t->region->layout.n_tags;

                n += tag != TAG_NONE && tag_node(tag) == node && t->slot->magazines[place] != 0;
        }
        return n;
}

START_TEST(thread_that_moves_rebinds_and_its_magazines_go_home)
{
        uint32_t to = machine_nodes[_i] - 1;
        void *p[300];

        open_on(machines[_i], NULL);
        for (unsigned i = 0; i < 300; i++)
                p[i] = shheap_malloc(h, sizes[i % 6]);
        for (unsigned i = 0; i < 300; i++)
                shheap_free(h, p[i]);
        ck_assert_uint_ge(places_of_node(0), 5);
        here = to;
        for (unsigned i = 0; i < 300; i++)
                NEED((p[i] = shheap_malloc(h, sizes[i % 6])) != NULL);
        ck_assert_uint_eq(thread_node(), to);
        if (to != 0)
                ck_assert_uint_eq(places_of_node(0), 0);
        for (unsigned i = 250; i < 300; i++)
                ck_assert_uint_eq(node_of(p[i]), to);
        for (unsigned i = 0; i < 300; i++)
                shheap_free(h, p[i]);
        heap_assert_clean(h);
}
END_TEST

START_TEST(a_visit_of_one_slow_call_changes_nothing)
{
        void *p[8];

        open_on("2,2", NULL);
        for (unsigned i = 0; i < 8; i++) {
                here = i % 2;
                NEED((p[i] = shheap_malloc(h, 300000 + i * 50000)) != NULL); /* slow each time */
                ck_assert_uint_eq(thread_node(), 0);
        }
        for (unsigned i = 0; i < 8; i++)
                shheap_free(h, p[i]);
}
END_TEST

START_TEST(remote_frees_never_enter_local_magazines)
{
        enum { N = 400 };
        uint32_t n_nodes = machine_nodes[_i];
        uint64_t n_remote = 0;
        void *p[N];

        open_on(machines[_i], NULL);
        for (uint32_t node = 1; node < n_nodes; node++) {
                for (unsigned i = 0; i < N; i++)
                        NEED((p[i] = shheap_mallocx(h, 100, SHA_NODE(node))) != NULL && node_of(p[i]) == node);
                for (unsigned i = 0; i < N; i++)
                        shheap_free(h, p[i]);
                for (unsigned i = 0; i < N; i++)
                        NEED((p[i] = shheap_malloc(h, 100)) != NULL && node_of(p[i]) == 0);
                for (unsigned i = 0; i < N; i++)
                        shheap_free(h, p[i]);
                n_remote = tcache_find(h)->thread.slot->n_remote_free;
                ck_assert_uint_ge(n_remote, 100 * node);
        }
        if (n_nodes == 1) /* nothing is remote then */
                ck_assert_uint_eq(n_remote, 0);
}
END_TEST

/* ------------------------------------------------------------------ full nodes */

START_TEST(full_node_is_helped_out_by_the_nearest)
{
        const struct thread *t;
        void *p[2000];
        unsigned n = 0;

        open_on("2,2:40,2:20", NULL);
        t = &tcache_find(h)->thread;
        free_of[0] = 0;
        for (unsigned i = 0; i < 20; i++)
                NEED((p[n++] = shheap_malloc(h, sizes[i % 7])) != NULL && node_of(p[n - 1]) == 2);
        ck_assert_uint_eq(thread_node(), 2);
        ck_assert_uint_gt(t->slot->n_fallback, 0);
        NEED((p[n++] = shheap_malloc(h, 3 * MIB)) != NULL && node_of(p[n - 1]) == 2); /* huge */
        free_of[2] = 0;
        NEED((p[n++] = shheap_malloc(h, 4 * MIB)) != NULL && node_of(p[n - 1]) == 1);
        free_of[0] = UINT64_MAX;
        while (n < 2000 && thread_node() != 0)
                NEED((p[n++] = shheap_malloc(h, 20000)) != NULL);
        ck_assert_uint_eq(thread_node(), 0);
        NEED((p[n - 1]) && (p[n] = shheap_malloc(h, 100)) != NULL && node_of(p[n]) == 0);
        for (unsigned i = 0; i <= n; i++)
                shheap_free(h, p[i]);
}
END_TEST

START_TEST(strict_heap_says_no_rather_than_go_elsewhere)
{
        void *p, *q;

        open_on("2,2", "numa:strict");
        NEED((p = shheap_malloc(h, 100)) != NULL);
        free_of[0] = 0;
        NEED((q = shheap_malloc(h, 100)) != NULL && node_of(q) == 0); /* from what is there already */
        shheap_free(h, q);
        for (unsigned i = 4; i < N_SIZES; i++) {
                errno = 0;
                ck_assert(!shheap_malloc(h, sizes[i]) && errno == ENOMEM);
        }
        NEED((q = shheap_mallocx(h, 40000, SHA_NODES(3))) != NULL && node_of(q) == 1); /* if it is asked for */
        shheap_free(h, q);
        free_of[0] = UINT64_MAX;
        elsewhere = 1; /* what the system gave came from another node, whatever it said before */
        errno = 0;
        ck_assert(!shheap_malloc(h, 300000) && errno == ENOMEM);
        elsewhere = 0;
        NEED((q = shheap_malloc(h, 300000)) != NULL && node_of(q) == 0);
        shheap_free(h, q);
        shheap_free(h, p);
}
END_TEST

START_TEST(flags_say_which_node_and_nothing_else_will_do)
{
        void *p;

        open_on("2,2,2,2", NULL);
        for (unsigned i = 0; i < N_SIZES; i++)
                for (uint32_t node = 0; node < 4; node++) {
                        NEED((p = shheap_mallocx(h, sizes[i], SHA_NODE(node))) != NULL && node_of(p) == node);
                        shheap_free(h, p);
                        NEED((p = shheap_mallocx(h, sizes[i], SHA_ARENA(2 * node + 1))) != NULL && node_of(p) == node);
                        shheap_free(h, p);
                        NEED((p = shheap_mallocx(h, sizes[i], SHA_NODES(1u << node))) != NULL && node_of(p) == node);
                        shheap_free(h, p);
                }
        NEED((p = shheap_mallocx(h, 100, SHA_NODES(15))) != NULL && node_of(p) == 0); /* its own, if it may */
        shheap_free(h, p);
        shheap_purge(h, -1);
        free_of[0] = free_of[2] = 0;
        NEED((p = shheap_mallocx(h, 5 * MIB, SHA_NODES(5 | 8))) != NULL && node_of(p) == 3);
        shheap_free(h, p);
        errno = 0;
        ck_assert(!shheap_mallocx(h, 5 * MIB, SHA_NODES(5)) && errno == ENOMEM);
        ck_assert(!shheap_mallocx(h, 5 * MIB, SHA_NODE(2)) && errno == ENOMEM);
        ck_assert(!shheap_mallocx(h, 5 * MIB, SHA_NODE_LOCAL) && errno == ENOMEM);
        ck_assert(!shheap_mallocx(h, 100, SHA_NODES(0)) && errno == EINVAL);
        ck_assert(!shheap_mallocx(h, 100, SHA_NODES(0x10)) && errno == EINVAL);
        ck_assert(!shheap_mallocx(h, 100, SHA_NODE(4)) && errno == EINVAL);
}
END_TEST

/* ------------------------------------------------------------------ nodes that are not ours, or have nothing */

START_TEST(node_outside_of_the_cpuset_is_enodev)
{
        void *p;

        open_on("2,2,2:15", NULL);
        allowed = 5;
        errno = 0;
        ck_assert(!shheap_mallocx(h, 100, SHA_NODE(1)) && errno == ENODEV);
        errno = 0;
        ck_assert(!shheap_mallocx(h, 100, SHA_NODES(2)) && errno == ENODEV);
        errno = 0;
        ck_assert(!shheap_mallocx(h, 100, SHA_ARENA(3)) && errno == ENODEV);
        here = 1; /* it runs there all the same: then the nearest that it may use */
        shheap_free(h, shheap_malloc(h, 400000));
        NEED((p = shheap_malloc(h, 500000)) != NULL && node_of(p) == 2);
        shheap_free(h, p);
        NEED((p = shheap_mallocx(h, 400000, SHA_NODE_LOCAL)) != NULL && node_of(p) == 2);
        shheap_free(h, p);
}
END_TEST

START_TEST(node_without_memory_uses_the_nearest)
{
        void *p;

        open_on("2m,2:40,2:20", NULL);
        ck_assert_uint_eq(thread_node(), 2);
        for (unsigned i = 0; i < N_SIZES; i++) {
                NEED((p = shheap_malloc(h, sizes[i])) != NULL && node_of(p) == 2);
                shheap_free(h, p);
        }
        errno = 0;
        ck_assert(!shheap_mallocx(h, 100, SHA_NODE(0)) && errno == ENODEV);
}
END_TEST

/* Nobody runs there, so nobody's own arenas are there: what is freed must be used again all the same. */
START_TEST(memory_of_a_node_without_cpus_is_used_again)
{
        void *p[16];

        open_on("2,0:31", NULL);
        for (unsigned turn = 0; turn < 500; turn++) {
                for (unsigned i = 0; i < 16; i++)
                        NEED((p[i] = shheap_mallocx(h, sizes[(turn + i) % 7], SHA_NODE(1))) != NULL &&
                             node_of(p[i]) == 1);
                for (unsigned i = 0; i < 16; i++)
                        shheap_free(h, p[i]);
        }
        ck_assert_uint_le(region_chunks_hwm(&h->region), 12);
}
END_TEST

/* ------------------------------------------------------------------ policies */

START_TEST(interleaved_memory_is_bound_to_all_nodes_by_turns)
{
        const char *chunks;
        uint64_t n = 0;
        void *p[N_SIZES];

        open_on("2,2,2", _i == 0 ? "numa:interleave" : "numa:interleave,numa_nodes:0+2");
        chunks = h->region.chunks;
        for (unsigned i = 0; i < N_SIZES; i++)
                NEED((p[i] = shheap_malloc(h, sizes[i])) != NULL);
        for (uint32_t i = 0; i < n_binds; i++) {
                if (binds[i].addr < chunks)
                        continue;
                n++;
                ck_assert(binds[i].interleave && !binds[i].has_pages);
                ck_assert_uint_eq(binds[i].nodes, _i == 0 ? 7 : 5);
        }
        ck_assert_uint_ge(n, 3);
        for (unsigned i = 0; i < N_SIZES; i++)
                shheap_free(h, p[i]);
}
END_TEST

START_TEST(one_block_may_be_interleaved)
{
        void *p;
        uint32_t last;

        open_on("2,2", NULL);
        NEED((p = shheap_mallocx(h, 5 * MIB, SHA_NODE_SPREAD)) != NULL);
        last = n_binds - 1;
        ck_assert(binds[last].interleave && binds[last].nodes == 3);
        shheap_free(h, p);
        teardown();
        open_on("2", NULL); /* of one node, it means nothing */
        NEED((p = shheap_mallocx(h, 100, SHA_NODE_SPREAD)) != NULL);
        shheap_free(h, p);
}
END_TEST

START_TEST(heap_for_some_nodes_uses_these)
{
        void *p;

        open_on("2,2,2:15", "numa:bind,numa_nodes:1-2");
        ck_assert_uint_eq(thread_node(), 2);
        for (unsigned i = 0; i < N_SIZES; i++) {
                NEED((p = shheap_malloc(h, sizes[i])) != NULL && node_of(p) == 2);
                shheap_free(h, p);
        }
        shheap_purge(h, -1);
        free_of[2] = 0;
        NEED((p = shheap_malloc(h, 5 * MIB)) != NULL && node_of(p) == 1);
        shheap_free(h, p);
        free_of[1] = 0;
        NEED((p = shheap_malloc(h, 6 * MIB)) != NULL && node_of(p) == 0); /* rather than none */
        shheap_free(h, p);
}
END_TEST

START_TEST(options_that_make_no_sense_are_refused)
{
        static const char *const bad[] = {"numa_nodes:",   "numa_nodes:x",    "numa_nodes:1-", "numa_nodes:2-1",
                                          "numa_nodes:63", "numa_nodes:1++2", "numa_nodes:2",  "numa:near"};
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *heap;

        play("2,2");
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
                attr.conf = bad[i];
                ck_assert_msg(shheap_open(&heap, "numa", SHHEAP_CREATE, &attr) == -EINVAL, "%s", bad[i]);
        }
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "local, strict, interleave or bind"));
        ck_assert_int_eq(heap_dir_count(), 0);
}
END_TEST

START_TEST(environment_plays_a_machine)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;

        os_numa_fake = NULL;
        setenv("SHMALLOC_TOPOLOGY", "2,many", 1);
        ck_assert_int_eq(shheap_open(&h, "numa", SHHEAP_CREATE, &attr), -EINVAL);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "SHMALLOC_TOPOLOGY"));
        setenv("SHMALLOC_TOPOLOGY", "2,2,0:31", 1);
        h = heap_dir_open("numa", SHHEAP_CREATE, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.nodes"), 3);
        unsetenv("SHMALLOC_TOPOLOGY");
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("numa");
        TCase *tcase = tcase_create("rules");
        int status;

        tcase_add_checked_fixture(tcase, heap_dir_empty, teardown); /* emptied first too: a test may have failed */
        tcase_add_loop_test(tcase, heap_has_the_nodes_of_the_machine, 0, N_MACHINES);
        tcase_add_loop_test(tcase, threads_use_arenas_of_their_node_evenly, 0, N_MACHINES);
        tcase_add_test(tcase, chunks_are_bound_before_they_have_pages);
        tcase_add_test(tcase, chunk_that_changes_node_gives_its_pages_back_first);
        tcase_add_test(tcase, chunk_that_comes_back_to_its_node_is_not_bound_again);
        tcase_add_test(tcase, system_that_binds_nothing_is_good_enough_unless_strict);
        tcase_add_loop_test(tcase, thread_that_moves_rebinds_and_its_magazines_go_home, 0, N_MACHINES);
        tcase_add_test(tcase, a_visit_of_one_slow_call_changes_nothing);
        tcase_add_loop_test(tcase, remote_frees_never_enter_local_magazines, 0, N_MACHINES);
        tcase_add_test(tcase, full_node_is_helped_out_by_the_nearest);
        tcase_add_test(tcase, strict_heap_says_no_rather_than_go_elsewhere);
        tcase_add_test(tcase, flags_say_which_node_and_nothing_else_will_do);
        tcase_add_test(tcase, node_outside_of_the_cpuset_is_enodev);
        tcase_add_test(tcase, node_without_memory_uses_the_nearest);
        tcase_add_test(tcase, memory_of_a_node_without_cpus_is_used_again);
        tcase_add_loop_test(tcase, interleaved_memory_is_bound_to_all_nodes_by_turns, 0, 2);
        tcase_add_test(tcase, one_block_may_be_interleaved);
        tcase_add_test(tcase, heap_for_some_nodes_uses_these);
        tcase_add_test(tcase, options_that_make_no_sense_are_refused);
        tcase_add_test(tcase, environment_plays_a_machine);
        suite_add_tcase(suite, tcase);
        heap_dir_create("numa");
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
