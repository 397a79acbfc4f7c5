/*
 * What is at stake: that local means local.  Each situation below is played by processes on the nodes of the machine
 * that this runs on, and then every page of every block is looked up with move_pages().
 *
 * usage: audit [SITUATION...]     all of them by default; 77 if the machine has one node only
 */
#include <errno.h>
#include <fcntl.h>
#include <numa.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "api/heap.h"
#include "helper.h"
#include "shmalloc/shmalloc.h"

enum { NODES_MAX = 16, BLOCKS_MAX = 1 << 15 };

#define MIB (UINT64_C(1) << 20)

static const size_t sizes[] = {64, 512, 4096, 24 << 10, 100 << 10, 1 << 20, 5 << 20};
enum { N_SIZES = sizeof sizes / sizeof sizes[0] };

static uint32_t n_nodes;     /* of the machine */
static uint32_t n_cpu_nodes; /* the first of them */
static const char *heap_name = "numa-audit";
static struct shheap_attr attr;
static unsigned open_flags;
static shheap *heap;

/* ------------------------------------------------------------------ the board: who allocated what */

struct board {
        uint32_t n;
        void *block[BLOCKS_MAX];
};

static struct board *board;

/* In each process once. */
static void
open_heap(void)
{
        void *obj;
        int err;

        if (heap)
                return;
        err = shheap_open(&heap, heap_name, SHHEAP_CREATE | open_flags, &attr);
        MUST(err == 0, "%s", shheap_errormsg());
        MUST(shheap_root(heap, "board", sizeof *board, 0, NULL, NULL, &obj) == 0, "%s", shheap_errormsg());
        board = obj;
}

static uint64_t
ctl(const char *name)
{
        uint64_t value = 0;
        size_t len = sizeof value;

        MUST(shheap_ctl(heap, name, &value, &len, NULL, 0) == 0, "%s", shheap_errormsg());
        return value;
}

static size_t
size_of_turn(uint32_t i)
{
        return sizes[i % N_SIZES] * (i % N_SIZES < 4 || i % 31 == 0 ? 1 : 0);
}

/* Allocates blocks of all sizes, most of them small, up to about so many bytes, on the board. */
static void
allocate(uint64_t bytes, unsigned flags)
{
        for (uint32_t i = 0; bytes > 0 && board->n < BLOCKS_MAX; i++) {
                size_t size = size_of_turn(i);
                void *p = size > 0 ? shheap_mallocx(heap, size, flags) : NULL;

                if (size == 0)
                        continue;
                MUST(p != NULL, "%zu bytes: %s", size, shheap_errormsg());
                memset(p, 1, size);
                board->block[board->n++] = p;
                bytes -= size < bytes ? size : bytes;
        }
}

static void
free_all(void)
{
        while (board->n > 0)
                shheap_free(heap, board->block[--board->n]);
}

/* The blocks on the board, all of which should lie on the node; with -1, each page where shheap_node_of() says. */
static struct pages
audit(int node)
{
        struct pages pages = {0, 0};

        for (uint32_t i = 0; i < board->n; i++) {
                const char *p = board->block[i];
                size_t bytes = shheap_usable_size(heap, p);

                if (node >= 0)
                        pages_add(&pages, p, bytes, node);
                for (size_t off = 0; node < 0 && off < bytes; off += 4096)
                        pages_add(&pages, p + off, 1, shheap_node_of(heap, p + off));
        }
        return pages;
}

/* ------------------------------------------------------------------ jobs of helpers */

static struct pages
job_allocate(const struct order *o)
{
        open_heap();
        allocate(o->bytes, o->flags);
        return audit(o->node);
}

static struct pages
job_small(const struct order *o)
{
        open_heap();
        for (uint64_t bytes = 0; bytes < o->bytes; bytes += 16 << 10) {
                void *p = shheap_mallocx(heap, 16 << 10, o->flags);

                MUST(p != NULL && board->n < BLOCKS_MAX, "%s", shheap_errormsg());
                board->block[board->n++] = p;
        }
        return audit(o->node);
}

static struct pages
job_audit(const struct order *o)
{
        open_heap();
        return audit(o->node);
}

static struct pages
job_free_all(const struct order *o)
{
        (void)o;
        open_heap();
        free_all();
        return (struct pages){0, 0};
}

static struct pages
job_purge(const struct order *o)
{
        (void)o;
        open_heap();
        shheap_reap(heap);
        MUST(shheap_purge(heap, -1) == 0, "%s", shheap_errormsg());
        return (struct pages){0, 0};
}

static struct pages
job_check(const struct order *o)
{
        (void)o;
        open_heap();
        MUST(shheap_check(heap, 0, stderr) == 0, "shheap_check");
        return (struct pages){0, 0};
}

/* Nothing of a populated heap was given back. */
static struct pages
job_check_backed(const struct order *o)
{
        (void)o;
        MUST(ctl("stats.mapped") >= ctl("heap.capacity"), "%lu bytes are backed", (unsigned long)ctl("stats.mapped"));
        return (struct pages){0, 0};
}

static struct pages
job_fill(const struct order *o)
{
        fill_node(0, o->bytes);
        return (struct pages){0, 0};
}

/* ------------------------------------------------------------------ saying it */

static int n_failed;

static void
say(const char *what, struct pages pages, double least)
{
        double share = pages.n > 0 ? 100.0 * (double)pages.n_right / (double)pages.n : 0;
        int is_good = pages.n > 0 && share >= least;

        printf("%-34s %7lu of %7lu pages on their node, %6.2f %%%s\n", what, (unsigned long)pages.n_right,
               (unsigned long)pages.n, share, is_good ? "" : "  TOO FEW");
        fflush(stdout);
        n_failed += !is_good;
}

static void
claim(const char *what, int holds)
{
        printf("%-34s %s\n", what, holds ? "yes" : "NO");
        fflush(stdout);
        n_failed += !holds;
}

/* ------------------------------------------------------------------ situations */

static void
local(void)
{
        for (uint32_t node = 0; node < n_cpu_nodes; node++) {
                struct helper h = helper_start(node), other = helper_start((node + 1) % n_cpu_nodes);
                struct order o = {24 * MIB, 0, (int)node};
                char what[64];

                snprintf(what, sizeof what, "local, node %u", node);
                say(what, helper_do(&h, job_allocate, &o), 99);
                helper_do(&other, job_free_all, NULL);
                o.node = (int)other.node;
                say("  freed there, allocated there", helper_do(&other, job_allocate, &o), 99);
                helper_do(&h, job_free_all, NULL);
                helper_do(&h, job_check, NULL);
                helper_stop(&h);
                helper_stop(&other);
        }
}

/* Nobody but a process on the wrong node touches what was backed for this one. */
static struct pages
job_reserve(const struct order *o)
{
        (void)o;
        open_heap();
        MUST(shheap_reserve(heap, 8 * MIB) == 0, "%s", shheap_errormsg());
        for (uint32_t i = 0; i < 64; i++) {
                board->block[i] = shheap_malloc(heap, 96 << 10);
                MUST(board->block[i], "%s", shheap_errormsg());
                board->n = i + 1;
        }
        return (struct pages){0, 0};
}

static struct pages
job_touch(const struct order *o)
{
        (void)o;
        open_heap();
        for (uint32_t i = 0; i < board->n; i++)
                memset(board->block[i], 2, shheap_usable_size(heap, board->block[i]));
        return audit(0);
}

static void
wrong_touch(void)
{
        struct helper h = helper_start(0), other = helper_start(1);

        helper_do(&h, job_reserve, NULL);
        say("first touch on the wrong node", helper_do(&other, job_touch, NULL), 99);
        helper_do(&h, job_free_all, NULL);
        helper_stop(&h);
        helper_stop(&other);
}

static struct pages
job_migrate(const struct order *o)
{
        struct pages pages;
        uint32_t n;

        (void)o;
        open_heap();
        allocate(8 * MIB, 0);
        pages = audit(0);
        n = board->n;
        run_on(1);
        allocate(8 * MIB, 0);
        MUST(ctl("thread.node") == 1, "the thread is still bound to node %lu", (unsigned long)ctl("thread.node"));
        for (uint32_t i = n; i < board->n; i++)
                pages_add(&pages, board->block[i], shheap_usable_size(heap, board->block[i]), 1);
        return pages;
}

/* Some blocks come from the old node until the thread has noticed: what is asked for is that this is soon. */
static void
migration(void)
{
        struct helper h = helper_start(0);

        say("a thread that moves", helper_do(&h, job_migrate, NULL), 95);
        helper_do(&h, job_free_all, NULL);
        helper_do(&h, job_check, NULL);
        helper_stop(&h);
}

static struct pages
job_fill_up(const struct order *o)
{
        struct pages pages = {0, 0};
        uint64_t bytes = 0;
        int most = 0;
        void *p;

        open_heap();
        while (bytes < o->bytes && board->n < BLOCKS_MAX && (p = shheap_mallocx(heap, 16 << 10, o->flags)) != NULL) {
                memset(p, 1, 16 << 10);
                board->block[board->n++] = p;
                bytes += 16 << 10;
        }
        for (uint32_t i = 0; i < board->n; i++)
                most += shheap_node_of(heap, board->block[i]) == 0;
        pages = audit(-1);
        printf("  %u blocks of 16 KiB, %d of node 0%s\n", board->n, most,
               bytes < o->bytes ? ", then NULL and ENOMEM" : "");
        MUST(bytes >= o->bytes || errno == ENOMEM, "%s", strerror(errno));
        fflush(stdout);
        return pages;
}

/* Takes what node 0 still has, and more: the others help out, nobody is killed, and the heap knows what lies where; but
 * for the last pages, some of which the system already takes from elsewhere, without telling. */
static void
full(void)
{
        struct helper filler = helper_start(0), h = helper_start(0);
        struct order o = {64 * MIB, 0, 0}, leave = {32 * MIB, 0, 0};

        helper_do(&filler, job_fill, &leave);
        say("node 0 full: as the heap tells", helper_do(&h, job_fill_up, &o), 97);
        helper_do(&h, job_free_all, NULL);
        helper_do(&h, job_check, NULL);
        helper_stop(&h);
        helper_stop(&filler);
}

static void
strict(void)
{
        struct order o = {64 * MIB, 0, 0}, leave = {32 * MIB, 0, 0};
        struct helper filler, h;

        attr.numa_policy = SHHEAP_NUMA_STRICT;
        filler = helper_start(0);
        h = helper_start(0);
        helper_do(&filler, job_fill, &leave);
        say("strict, node 0 full", helper_do(&h, job_fill_up, &o), 100);
        helper_do(&h, job_free_all, NULL);
        helper_do(&h, job_check, NULL);
        helper_stop(&h);
        helper_stop(&filler);
}

/* The blocks on the board are the dead one's legacy. */
static void
death(void)
{
        struct order there = {12 * MIB, 0, 1}, here = {12 * MIB, 0, 0};
        struct helper dead = helper_start(1), h = helper_start(0), heir = helper_start(1);

        helper_do(&dead, job_allocate, &there);
        helper_kill(&dead);
        helper_do(&h, job_purge, NULL);
        say("a client on node 1 was killed", helper_do(&h, job_audit, &there), 99);
        helper_do(&h, job_free_all, NULL);
        say("  node 0 after that", helper_do(&h, job_allocate, &here), 99);
        helper_do(&h, job_free_all, NULL);
        say("  node 1 after that", helper_do(&heir, job_allocate, &there), 99);
        helper_do(&heir, job_free_all, NULL);
        helper_do(&heir, job_check, NULL);
        helper_stop(&h);
        helper_stop(&heir);
}

/* Pages that somebody else on another node gave back come again on the right one. */
static void
purge(void)
{
        struct order o = {16 * MIB, 0, 0};
        struct helper h = helper_start(0), daemon = helper_start(1);

        helper_do(&h, job_allocate, &o);
        helper_do(&h, job_free_all, NULL);
        helper_do(&h, job_purge, NULL);
        helper_do(&daemon, job_purge, NULL);
        say("after a purge by another node", helper_do(&h, job_allocate, &o), 99);
        helper_do(&h, job_free_all, NULL);
        helper_stop(&h);
        helper_stop(&daemon);
}

/* A heap of a few chunks, all of which one node used before the other needs them. */
static void
chunk_moves(void)
{
        struct order first = {24 * MIB, 0, 0}, second = {24 * MIB, 0, 1};
        struct helper h, other;

        attr.capacity = 32 * MIB;
        h = helper_start(0);
        other = helper_start(1);
        say("most chunks used by node 0", helper_do(&h, job_small, &first), 99);
        helper_do(&h, job_free_all, NULL);
        helper_stop(&h);
        say("  and then by node 1", helper_do(&other, job_small, &second), 99);
        helper_do(&other, job_free_all, NULL);
        helper_do(&other, job_check, NULL);
        helper_stop(&other);
}

/* All pages are there from the start, and each node's are enough for those who run on it. */
static void
populate(void)
{
        struct order o = {20 * MIB, 0, 0};

        attr.capacity = n_nodes * 40 * MIB;
        attr.conf = "decay_ms:-1"; /* else some of it goes again after ten seconds */
        open_flags = SHHEAP_POPULATE;
        for (uint32_t node = 0; node < n_cpu_nodes; node++) {
                struct helper h = helper_start(node);
                char what[64];

                o.node = (int)node;
                snprintf(what, sizeof what, "populated at creation, node %u", node);
                say(what, helper_do(&h, job_allocate, &o), 99);
                helper_do(&h, job_check_backed, NULL);
                helper_do(&h, job_free_all, NULL);
                helper_stop(&h);
        }
        open_flags = 0;
}

static int
write_file(const char *path, const char *text)
{
        int fd = open(path, O_WRONLY | O_CLOEXEC), ok;

        if (fd < 0)
                return 0;
        ok = write(fd, text, strlen(text)) == (ssize_t)strlen(text);
        close(fd);
        return ok;
}

static struct pages
job_cpuset(const struct order *o)
{
        struct pages pages;
        char pid[32];
        void *p;

        (void)o;
        snprintf(pid, sizeof pid, "%d", (int)getpid());
        MUST(write_file("/tmp/cgroup/one/cgroup.procs", pid), "%s", strerror(errno));
        open_heap();
        errno = 0;
        p = shheap_mallocx(heap, 4096, SHA_NODE(1));
        claim("cpuset without node 1: ENODEV", p == NULL && errno == ENODEV);
        printf("  %s\n", shheap_errormsg());
        allocate(8 * MIB, 0);
        pages = audit(0);
        free_all();
        return pages;
}

static void
cpuset(void)
{
        struct helper h;

        mkdir("/tmp/cgroup", 0755);
        if (mount("none", "/tmp/cgroup", "cgroup2", 0, NULL) < 0 ||
            !write_file("/tmp/cgroup/cgroup.subtree_control", "+cpuset") || mkdir("/tmp/cgroup/one", 0755) < 0 ||
            !write_file("/tmp/cgroup/one/cpuset.mems", "0")) {
                printf("cpuset: not here: no cgroups to be made (%s)\n", strerror(errno));
                return;
        }
        h = helper_start(0);
        say("  what it gets", helper_do(&h, job_cpuset, NULL), 99);
        helper_stop(&h);
        h = helper_start(1);
        say("  on a CPU of node 1", helper_do(&h, job_cpuset, NULL), 99);
        helper_stop(&h);
        rmdir("/tmp/cgroup/one");
        umount("/tmp/cgroup");
}

/* By flag, to every node, also those without CPUs. */
static void
by_flag(void)
{
        for (uint32_t node = 0; node < n_nodes; node++) {
                struct order o = {8 * MIB, SHA_NODE(node), (int)node};
                struct helper h = helper_start(0);
                char what[64];

                snprintf(what, sizeof what, "SHA_NODE(%u)%s", node, node < n_cpu_nodes ? "" : ", memory only");
                say(what, helper_do(&h, job_allocate, &o), 100);
                helper_do(&h, job_free_all, NULL);
                o.flags = SHA_NODES(1u << node);
                snprintf(what, sizeof what, "SHA_NODES(1 << %u)", node);
                say(what, helper_do(&h, job_allocate, &o), 100);
                helper_do(&h, job_free_all, NULL);
                helper_do(&h, job_check, NULL);
                helper_stop(&h);
        }
}

/* How evenly the pages of the blocks lie on the nodes: the fewest on one of them. */
static struct pages
job_spread(const struct order *o)
{
        struct pages least = {0, UINT64_MAX}, told;

        open_heap();
        allocate(o->bytes, o->flags);
        for (uint32_t node = 0; node < n_nodes; node++) {
                struct pages pages = audit((int)node);

                printf("  node %u has %lu of %lu pages\n", node, (unsigned long)pages.n_right, (unsigned long)pages.n);
                least.n = pages.n;
                least.n_right = pages.n_right < least.n_right ? pages.n_right : least.n_right;
        }
        fflush(stdout);
        told = audit(-1);
        MUST(told.n == told.n_right, "shheap_node_of() is wrong of %lu pages", (unsigned long)(told.n - told.n_right));
        free_all();
        return least;
}

static void
interleave(void)
{
        struct order o = {16 * MIB, SHA_NODE_SPREAD, 0};
        struct helper h = helper_start(0);
        struct pages pages = helper_do(&h, job_spread, &o);

        claim("SHA_NODE_SPREAD: all nodes alike", pages.n_right * n_nodes * 100 >= pages.n * 95);
        helper_stop(&h);
        MUST(shheap_unlink(heap_name) == 0, "%s", shheap_errormsg());
        attr.numa_policy = SHHEAP_NUMA_INTERLEAVE;
        o.flags = 0;
        h = helper_start(0);
        pages = helper_do(&h, job_spread, &o);
        claim("policy interleave: all nodes alike", pages.n_right * n_nodes * 100 >= pages.n * 95);
        helper_do(&h, job_check, NULL);
        helper_stop(&h);
}

static void
bind_set(void)
{
        struct order o = {8 * MIB, 0, 1};
        struct helper h;

        attr.numa_policy = SHHEAP_NUMA_BIND;
        attr.numa_nodes = 2;
        h = helper_start(0);
        say("policy bind to node 1, on node 0", helper_do(&h, job_allocate, &o), 99);
        helper_do(&h, job_free_all, NULL);
        helper_stop(&h);
}

/* ------------------------------------------------------------------ threads and arenas */

enum { THREADS_PER_NODE = 7 };

static pthread_barrier_t all_bound, all_read;

struct bound {
        uint32_t node, arena;
};

static void *
bind_thread(void *arg)
{
        struct bound *b = arg;

        run_on(b->node);
        shheap_free(heap, shheap_malloc(heap, 64));
        pthread_barrier_wait(&all_bound);
        b->arena = (uint32_t)ctl("thread.arena");
        pthread_barrier_wait(&all_read);
        return NULL;
}

static struct pages
job_bind(const struct order *o)
{
        struct bound bound[NODES_MAX * THREADS_PER_NODE];
        pthread_t threads[NODES_MAX * THREADS_PER_NODE];
        uint32_t n = n_cpu_nodes * THREADS_PER_NODE, load[256] = {0}, apart = 0, per_node;
        struct pages right = {0, 0};

        (void)o;
        open_heap();
        shheap_close(heap); /* this thread is bound to an arena too: not any more */
        heap = NULL;
        MUST(shheap_open(&heap, heap_name, 0, NULL) == 0, "%s", shheap_errormsg());
        per_node = (uint32_t)(ctl("heap.arenas") / (ctl("heap.nodes") + 1));
        load[ctl("thread.arena")]++;
        pthread_barrier_init(&all_bound, NULL, n);
        pthread_barrier_init(&all_read, NULL, n);
        for (uint32_t i = 0; i < n; i++) {
                bound[i] = (struct bound){i % n_cpu_nodes, 0};
                MUST(pthread_create(&threads[i], NULL, bind_thread, &bound[i]) == 0, "thread %u", i);
        }
        for (uint32_t i = 0; i < n; i++) {
                pthread_join(threads[i], NULL);
                right.n++;
                right.n_right += bound[i].arena / per_node == bound[i].node;
                load[bound[i].arena]++;
        }
        for (uint32_t node = 0; node < n_cpu_nodes; node++) {
                uint32_t least = UINT32_MAX, most = 0;

                for (uint32_t a = node * per_node; a < (node + 1) * per_node; a++) {
                        least = load[a] < least ? load[a] : least;
                        most = load[a] > most ? load[a] : most;
                }
                apart = most - least > apart ? most - least : apart;
        }
        printf("  %u threads on each of %u nodes with %u arenas: loads at most %u apart\n", THREADS_PER_NODE,
               n_cpu_nodes, per_node, apart);
        claim("loads at most one apart", apart <= 1);
        return right;
}

static void
arenas(void)
{
        struct helper h = helper_start(0);
        struct pages right = helper_do(&h, job_bind, NULL);

        claim("threads on arenas of their node", right.n == right.n_right);
        helper_stop(&h);
}

/* ------------------------------------------------------------------ metadata */

static struct pages
job_metadata(const struct order *o)
{
        const struct region *r;
        struct pages pages = {0, 0};
        uint32_t arena;

        open_heap();
        allocate(4 * MIB, 0);
        r = &heap->region;
        arena = (uint32_t)ctl("thread.arena");
        pages_add(&pages, region_thread(r, tcache_find(heap)->thread.no - 1), (size_t)r->layout.stride[TABLE_THREADS],
                  o->node);
        pages_add(&pages, region_arena(r, arena), (size_t)r->layout.stride[TABLE_ARENAS], o->node);
        for (uint32_t i = 8; i + 8 < region_magazines_hwm(r, (uint32_t)o->node); i++) /* but for the tables' borders */
                pages_add(&pages, &r->magazines[(uint32_t)o->node * r->layout.magazines_per_node + i],
                          sizeof(struct magazine), o->node);
        return pages;
}

static void
metadata(void)
{
        struct helper first = helper_start(0); /* makes the heap, with slots for itself and for its reserve */

        helper_do(&first, job_check, NULL);
        for (int node = 0; node < (int)n_cpu_nodes; node++) {
                struct helper h = helper_start((uint32_t)node);
                struct order o = {0, 0, node};
                char what[64];

                snprintf(what, sizeof what, "slot, arena, magazines, node %d", node);
                say(what, helper_do(&h, job_metadata, &o), 99);
                helper_kill(&h); /* its slot is not used again */
        }
        helper_do(&first, job_free_all, NULL);
        helper_stop(&first);
}

/* ------------------------------------------------------------------ all of them */

static const struct situation {
        const char *name;
        void (*play)(void);
} situations[] = {
        {"local", local},   {"wrong_touch", wrong_touch}, {"migration", migration},
        {"full", full},     {"strict", strict},           {"death", death},
        {"purge", purge},   {"chunk_moves", chunk_moves}, {"populate", populate},
        {"cpuset", cpuset}, {"by_flag", by_flag},         {"interleave", interleave},
        {"bind", bind_set}, {"arenas", arenas},           {"metadata", metadata},
};

static int
is_asked(const char *name, int argc, char **argv)
{
        for (int i = 1; i < argc; i++)
                if (strcmp(argv[i], name) == 0)
                        return 1;
        return argc == 1;
}

static void
count_nodes(void)
{
        struct bitmask *cpus = numa_allocate_cpumask();

        n_nodes = (uint32_t)numa_max_node() + 1;
        while (n_cpu_nodes < n_nodes && numa_node_to_cpus((int)n_cpu_nodes, cpus) == 0 && numa_bitmask_weight(cpus) > 0)
                n_cpu_nodes++;
        numa_free_cpumask(cpus);
}

int
main(int argc, char **argv)
{
        int n_played = 0;

        if (numa_available() < 0 || numa_max_node() == 0) {
                fprintf(stderr, "audit: this machine has one NUMA node: there is nothing to look at\n");
                return 77;
        }
        count_nodes();
        printf("%u nodes, %u of them with CPUs\n", n_nodes, n_cpu_nodes);
        MUST(n_cpu_nodes >= 2 && n_nodes <= NODES_MAX, "two nodes with CPUs, %d in all, is what this can do",
             NODES_MAX);
        for (size_t i = 0; i < sizeof situations / sizeof situations[0]; i++) {
                if (!is_asked(situations[i].name, argc, argv))
                        continue;
                attr = (struct shheap_attr)SHHEAP_ATTR_INIT;
                attr.capacity = 512 * MIB;
                (void)shheap_unlink(heap_name);
                situations[i].play();
                (void)shheap_unlink(heap_name);
                n_played++;
        }
        printf("%d situations, %d claims failed\n", n_played, n_failed);
        return n_failed > 0 || n_played == 0;
}
