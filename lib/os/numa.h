/*
 * numa.h - NUMA nodes: what there is, where the caller runs, where the pages of a file are to lie, and where they do.
 *
 * Sets of nodes are bit masks, bit n for the node that the system calls n; nodes from OS_NODES_MAX on are not seen.
 */
#ifndef OS_NUMA_H
#define OS_NUMA_H

#include <stdbool.h>
#include <stdint.h>

enum { OS_NODES_MAX = 63 };

struct os_numa {
        uint64_t online;                   /* nodes; at least one */
        uint64_t with_cpus;                /* of these */
        uint64_t with_memory;              /* of these */
        uint32_t n_cpus_max;               /* of the node that has most of them */
        uint64_t kept_bytes[OS_NODES_MAX]; /* free memory with less of which the kernel goes to other nodes */
        uint8_t distance[OS_NODES_MAX][OS_NODES_MAX]; /* as the firmware tells: 10 = itself */
};

/* The machine as it was at the first call. */
const struct os_numa *os_numa(void);

/* The node that the calling thread runs on; 0 where that is unknown. */
uint32_t os_numa_here(void);

/* Nodes that the calling thread may have memory of: its cpuset says so.  All where that is unknown. */
uint64_t os_numa_allowed(void);

/* Bytes that are free on the node, less what the kernel keeps; 0 if it is offline or has no memory. */
uint64_t os_numa_free_bytes(uint32_t node);

/*
 * Whoever gives pages to the part of the file that is mapped here: they come from that node, from others when that is
 * full; with `interleave`, from all of the nodes in turn.  Pages that are there already stay.  A policy of the file,
 * not of a mapping: it holds in every process, and outlives this one.  Page-aligned.  0, -EINVAL: none of the nodes is
 * online and allowed; -EPERM, -ENOSYS: the system has no such thing for this process; -ENOMEM.
 */
int os_numa_bind(void *addr, uint64_t bytes, uint64_t nodes, bool interleave);

/* The node that the page at this address lies on.  It is read for that: it must be there.  -errno. */
int os_numa_node_of(const void *addr);

/* How many of the pages of [addr, addr + bytes) lie on another node than `node`.  They are read for that.  -errno. */
int64_t os_numa_count_elsewhere(const void *addr, uint64_t bytes, uint32_t node);

#if SHM_DEBUG
/* Tests play machines of their own; they answer instead of the system.  NULL functions: the system answers. */
struct os_numa_fake {
        struct os_numa machine;
        uint32_t (*here)(void);
        uint64_t (*allowed)(void);
        uint64_t (*free_bytes)(uint32_t node);
        int (*bind)(void *addr, uint64_t bytes, uint64_t nodes, bool interleave);
        int64_t (*count_elsewhere)(const void *addr, uint64_t bytes, uint32_t node);
};

extern const struct os_numa_fake *os_numa_fake; /* NULL: there is none */

/* A machine by its nodes, "CPUS[:DISTANCE]" each with a comma between them: "2,2,0:31" has two nodes of two CPUs and
 * one of memory only; a node "2m" has no memory.  Threads run on its nodes by turns, pages are said to lie where they
 * should, and nothing is ever full.  False: that is none. */
bool os_numa_play(const char *text);
#endif

#endif
