/*
 * numa.c - see numa.h.
 *
 * Binding goes through a second mapping of the range that is made for it and forgotten again: the policy is the file's,
 * but the call would also cut the caller's mapping of the region in pieces, one per change of node, and a process may
 * have 65530 of them.
 *
 * Free memory is read from sysfs with read(2): stdio would allocate, on a path that may have been entered by malloc.
 * libnuma uses stdio for what it knows of the machine, which it is asked once, with cancellation off (os/shield.h).
 */
#include "os/numa.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <numa.h>
#include <numaif.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/atomic.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/inject.h"
#include "os/lines.h"
#include "os/shield.h"
#include "os/shm.h"
#include "os/syscall.h"

enum {
        DISTANCE_SELF = 10,
        DISTANCE_OTHER = 20,
        PAGES_AT_ONCE = 64,
        KEPT_BYTES = 1 << 20, /* beside what the kernel says: it is not asked about each page */
        MASK_BITS = 65        /* the kernel takes one bit less than it is told */
};

#if SHM_DEBUG
const struct os_numa_fake *os_numa_fake;
#define FAKE(function) (os_numa_fake && os_numa_fake->function)
#endif

/* ------------------------------------------------------------------ the machine */

static struct os_numa machine;
static struct once machine_once = ONCE_INIT;

static uint64_t
mask_of(const struct bitmask *nodes)
{
        uint64_t mask = 0;

        for (unsigned node = 0; nodes && node < OS_NODES_MAX; node++)
                if (numa_bitmask_isbitset(nodes, node))
                        mask |= UINT64_C(1) << node;
        return mask;
}

static void
read_cpus(struct os_numa *m, uint32_t node, struct bitmask *cpus)
{
        uint32_t n = numa_node_to_cpus((int)node, cpus) == 0 ? numa_bitmask_weight(cpus) : 0;

        ASSERT(node < OS_NODES_MAX);
        if (n > 0)
                m->with_cpus |= UINT64_C(1) << node;
        if (n > m->n_cpus_max)
                m->n_cpus_max = n;
}

/* A line of /proc/zoneinfo, which has a part for each zone of each node.  The kernel leaves a zone when less is free
 * than its low mark and the most that it keeps there for those who can use no other zone. */
static void
read_zone_line(struct os_numa *m, const char *line, uint32_t *node)
{
        unsigned long pages, most = 0;
        char *at;

        if (sscanf(line, "Node %" SCNu32 ", zone", node) == 1)
                return;
        if (*node >= OS_NODES_MAX)
                return;
        if (sscanf(line, " low %lu", &pages) == 1)
                m->kept_bytes[*node] += pages * OS_PAGE_BYTES;
        at = strstr(line, "protection: (");
        for (at = at ? at + strlen("protection: (") : NULL; at && *at >= '0' && *at <= '9'; at += strspn(at, ", ")) {
                pages = strtoul(at, &at, 10);
                most = pages > most ? pages : most;
        }
        m->kept_bytes[*node] += most * OS_PAGE_BYTES;
}

static void
read_zones(struct os_numa *m)
{
        ASSERT(m->kept_bytes[0] == 0);
        struct lines lines;
        uint32_t node = OS_NODES_MAX;
        const char *line;

        for (uint32_t i = 0; i < OS_NODES_MAX; i++)
                m->kept_bytes[i] = KEPT_BYTES;
        if (lines_open(&lines, "/proc/zoneinfo") < 0)
                return;
        while ((line = lines_next(&lines)) != NULL)
                read_zone_line(m, line, &node);
        lines_close(&lines);
}

static void
machine_of_one(struct os_numa *m)
{
        long n = sysconf(_SC_NPROCESSORS_ONLN);

        *m = (struct os_numa){.online = 1, .with_cpus = 1, .with_memory = 1, .n_cpus_max = n > 0 ? (uint32_t)n : 1};
        m->distance[0][0] = DISTANCE_SELF;
}

static void
machine_read(void)
{
        struct os_numa *m = &machine;
        struct bitmask *cpus;

        if (numa_available() < 0 || mask_of(numa_nodes_ptr) == 0) {
                machine_of_one(m);
                return;
        }
        m->online = mask_of(numa_nodes_ptr);
        cpus = numa_allocate_cpumask();
        for (uint32_t node = 0; node < OS_NODES_MAX; node++) {
                if (!(m->online >> node & 1))
                        continue;
                if (numa_node_size64((int)node, NULL) > 0)
                        m->with_memory |= UINT64_C(1) << node;
                read_cpus(m, node, cpus);
                for (uint32_t other = 0; other < OS_NODES_MAX; other++) {
                        int distance = m->online >> other & 1 ? numa_distance((int)node, (int)other) : 0;

                        m->distance[node][other] = distance > 0 && distance < UINT8_MAX ? (uint8_t)distance : UINT8_MAX;
                }
        }
        numa_free_cpumask(cpus);
        read_zones(m);
        if (m->with_cpus == 0 || m->with_memory == 0)
                machine_of_one(m);
}

/* Where there is one node nothing has to be read: libnuma found that out as it was loaded, and how many CPUs there are,
 * those among them that are offline just now.  Relaxed: all threads store the same. */
static struct os_numa one = {.online = 1, .with_cpus = 1, .with_memory = 1, .distance = {{DISTANCE_SELF}}};
static struct once one_once = ONCE_INIT;

static bool
is_of_one_node(void)
{
        int n;

        if (load_relaxed(&one.n_cpus_max) != 0)
                return true;
        if (load_relaxed(&machine_once.is_done) || mask_of(numa_nodes_ptr) != 1)
                return false;
        n = numa_num_configured_cpus();
        if (n < 1)
                return false;
        store_relaxed(&one.n_cpus_max, (uint32_t)n);
        return true;
}

static void
read_zones_of_one(void)
{
        read_zones(&one);
}

const struct os_numa *
os_numa(void)
{
#if SHM_DEBUG
        if (os_numa_fake)
                return &os_numa_fake->machine;
#endif
        if (is_of_one_node())
                return &one;
        once_do(&machine_once, machine_read);
        ASSERT(machine.with_memory != 0 && (machine.with_memory & ~machine.online) == 0);
        return &machine;
}

uint32_t
os_numa_here(void)
{
        unsigned cpu, node;

#if SHM_DEBUG
        if (FAKE(here))
                return os_numa_fake->here();
#endif
        return getcpu(&cpu, &node) == 0 && node < OS_NODES_MAX ? node : 0;
}

uint64_t
os_numa_allowed(void)
{
        unsigned long mask[(1024 + 64) / 64] = {0}; /* the kernel wants room for all nodes that it could have */

#if SHM_DEBUG
        if (FAKE(allowed))
                return os_numa_fake->allowed();
#endif
        if (get_mempolicy(NULL, mask, 1025, NULL, MPOL_F_MEMS_ALLOWED) < 0)
                return UINT64_MAX;
        return mask[0];
}

/* ------------------------------------------------------------------ free memory */

/* "Node 0 MemFree:   123456 kB" */
static uint64_t
meminfo_bytes(const char *text, const char *key)
{
        const char *at = strstr(text, key);

        return at ? strtoull(at + strlen(key), NULL, 10) << 10 : 0;
}

uint64_t
os_numa_free_bytes(uint32_t node)
{
        uint64_t kept, free_bytes;
        char path[64], text[512];
        long n;
        int fd;

        ASSERT(node < OS_NODES_MAX);
#if SHM_DEBUG
        if (FAKE(free_bytes))
                return os_numa_fake->free_bytes(node);
#endif
        if (os_numa() == &one)
                once_do(&one_once, read_zones_of_one); /* a heap of several nodes, on a machine that has one */
        kept = os_numa()->kept_bytes[node];
        snprintf(path, sizeof path, "/sys/devices/system/node/node%u/meminfo", node);
        fd = descriptor_openat(AT_FDCWD, path, O_RDONLY, 0);
        if (fd < 0)
                return fd == -ENOENT ? 0 : UINT64_MAX; /* offline; or no descriptor left: then we do not know */
        n = sys_read(fd, text, sizeof text - 1);
        os_close(fd);
        if (n <= 0)
                return UINT64_MAX;
        text[n] = '\0';
        free_bytes = meminfo_bytes(text, "MemFree:");
        return free_bytes > kept ? free_bytes - kept : 0;
}

/* ------------------------------------------------------------------ binding */

int
os_numa_bind(void *addr, uint64_t bytes, uint64_t nodes, bool interleave)
{
        unsigned long mask[2] = {nodes, 0};
        int err = os_injected("numa_bind");
        void *p;

        ASSERT((uintptr_t)addr % OS_PAGE_BYTES == 0 && bytes > 0);
        if (err < 0)
                return err;
#if SHM_DEBUG
        if (FAKE(bind))
                return os_numa_fake->bind(addr, bytes, nodes, interleave);
#endif
        p = mremap(addr, 0, bytes, MREMAP_MAYMOVE); /* of a shared mapping: a second one of the same pages */
        if (p == MAP_FAILED)
                return -errno;
        if (mbind(p, bytes, interleave ? MPOL_INTERLEAVE : MPOL_PREFERRED, mask, MASK_BITS, 0) < 0)
                err = -errno;
        munmap(p, bytes);
        return err;
}

/* ------------------------------------------------------------------ where pages lie */

int
os_numa_node_of(const void *addr)
{
        int node = -1;

        (void)load_relaxed((const unsigned char *)addr); /* else it may not be mapped here */
        if (get_mempolicy(&node, NULL, 0, (void *)(uintptr_t)addr, MPOL_F_NODE | MPOL_F_ADDR) < 0)
                return -errno;
        return node;
}

/* Of at most PAGES_AT_ONCE pages. */
static int64_t
count_elsewhere(const char *addr, uint64_t n, uint32_t node)
{
        void *pages[PAGES_AT_ONCE];
        int status[PAGES_AT_ONCE];
        int64_t n_elsewhere = 0;

        ASSERT(n >= 1 && n <= PAGES_AT_ONCE);
        for (uint64_t i = 0; i < n; i++) {
                pages[i] = (void *)(uintptr_t)(addr + i * OS_PAGE_BYTES);
                (void)load_relaxed((const unsigned char *)pages[i]);
        }
        if (move_pages(0, n, pages, NULL, status, 0) < 0)
                return -errno;
        for (uint64_t i = 0; i < n; i++)
                n_elsewhere += status[i] != (int)node;
        return n_elsewhere;
}

int64_t
os_numa_count_elsewhere(const void *addr, uint64_t bytes, uint32_t node)
{
        const char *at = (const char *)((uintptr_t)addr & ~(uintptr_t)(OS_PAGE_BYTES - 1));
        const char *end = (const char *)addr + bytes;
        int64_t n_elsewhere = 0;

        ASSERT(node < OS_NODES_MAX && bytes > 0);
#if SHM_DEBUG
        if (FAKE(count_elsewhere))
                return os_numa_fake->count_elsewhere(addr, bytes, node);
#endif
        while (at < end) {
                uint64_t n = ((uint64_t)(end - at) + OS_PAGE_BYTES - 1) / OS_PAGE_BYTES;
                int64_t part = count_elsewhere(at, n < PAGES_AT_ONCE ? n : PAGES_AT_ONCE, node);

                if (part < 0)
                        return part;
                n_elsewhere += part;
                at += PAGES_AT_ONCE * OS_PAGE_BYTES;
        }
        return n_elsewhere;
}

/* ------------------------------------------------------------------ machines of tests */

#if SHM_DEBUG
static struct os_numa_fake played;

static uint32_t
play_here(void)
{
        uint32_t turn = (uint32_t)gettid() % (uint32_t)__builtin_popcountll(played.machine.with_cpus);
        uint64_t nodes = played.machine.with_cpus;

        while (turn-- > 0)
                nodes &= nodes - 1;
        return (uint32_t)__builtin_ctzll(nodes);
}

static uint64_t
play_allowed(void)
{
        return played.machine.with_memory;
}

static uint64_t
play_free_bytes(uint32_t node)
{
        return played.machine.with_memory >> node & 1 ? UINT64_MAX : 0;
}

static int
play_bind(void *addr, uint64_t bytes, uint64_t nodes, bool interleave)
{
        (void)addr, (void)bytes, (void)interleave;
        return nodes & played.machine.with_memory ? 0 : -EINVAL;
}

static int64_t
play_count_elsewhere(const void *addr, uint64_t bytes, uint32_t node)
{
        (void)addr, (void)bytes, (void)node;
        return 0;
}

/* One node, and where the next one starts. */
static const char *
play_node(const char *text, struct os_numa *m, uint32_t node)
{
        char *end;
        unsigned long n_cpus = strtoul(text, &end, 10), distance = DISTANCE_OTHER;

        ASSERT(node < OS_NODES_MAX);
        if (end == text || n_cpus > 1024)
                return NULL;
        m->online |= UINT64_C(1) << node;
        if (n_cpus > 0)
                m->with_cpus |= UINT64_C(1) << node;
        if (n_cpus > m->n_cpus_max)
                m->n_cpus_max = (uint32_t)n_cpus;
        if (*end == 'm')
                end++;
        else
                m->with_memory |= UINT64_C(1) << node;
        if (*end == ':')
                distance = strtoul(end + 1, &end, 10);
        for (uint32_t other = 0; other <= node; other++)
                m->distance[node][other] = m->distance[other][node] =
                        (uint8_t)(other == node ? DISTANCE_SELF : distance);
        return *end == ',' ? end + 1 : *end == '\0' ? end : NULL;
}

bool
os_numa_play(const char *text)
{
        struct os_numa m = {0};

        for (uint32_t node = 0; *text != '\0'; node++) {
                text = node < OS_NODES_MAX ? play_node(text, &m, node) : NULL;
                if (!text)
                        return false;
        }
        if (m.with_cpus == 0 || m.with_memory == 0)
                return false;
        played = (struct os_numa_fake){m, play_here, play_allowed, play_free_bytes, play_bind, play_count_elsewhere};
        os_numa_fake = &played;
        return true;
}
#endif
