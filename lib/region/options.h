/*
 * options.h - what the user wants of a heap, from all the places where it can be said.
 *
 * Precedence: attribute field > attribute's conf string > SHMALLOC_CONF > default.  options.c is the only file of the
 * library that reads the environment.
 */
#ifndef REGION_OPTIONS_H
#define REGION_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "layout/layout.h"

enum options_numa {
        OPTIONS_NUMA_LOCAL = 0,      /* memory of the node that the thread runs on, others when that is full */
        OPTIONS_NUMA_INTERLEAVE = 1, /* spread over the nodes */
        OPTIONS_NUMA_BIND = 2,       /* only numa_nodes, others when those are full */
        OPTIONS_NUMA_STRICT = 3      /* memory of the thread's node or none */
};

/* Complete and checked: a layout follows from it. */
struct options {
        uint64_t capacity;     /* bytes of chunks at first; whole chunks */
        uint64_t max_capacity; /* bytes of chunks that it can grow to; whole chunks */
        uint32_t max_clients;
        uint32_t max_threads;
        uint32_t max_roots;
        uint32_t n_nodes;    /* of the system, and one more if has_spread */
        uint32_t has_spread; /* 1 where there are several nodes */
        uint32_t arenas_per_node;
        uint32_t page_shift;
        uint32_t mode;        /* of the file, at creation */
        uint32_t numa_policy; /* enum options_numa */
        uint64_t numa_nodes;  /* bit mask; 0 = all */
        uint64_t base_addr;   /* where a new heap goes; 0 = chosen by map.c */
        int64_t decay_ms;     /* -1 never, 0 at once */
        bool check;           /* every free is checked at once */
        bool junk;            /* blocks are filled with garbage when allocated and when freed */
        bool zero;            /* blocks are zeroed when allocated */
        bool disk;            /* the file need not lie in memory */
        bool dump;            /* core files of this process have what is in use */
};

/* The fields of the caller's attributes; 0 or NULL = not given. */
struct options_given {
        bool opens; /* what is there already: how large a new heap would be is of no use */
        uint64_t capacity;
        uint64_t max_capacity;
        uint32_t max_clients;
        uint32_t max_threads;
        uint32_t page_shift;
        uint32_t mode;
        uint32_t numa_policy;
        uint64_t numa_nodes;
        uint64_t base_addr;
        const char *conf; /* "key:value,..." */
};

/* 0, or -EINVAL (-ENOTSUP: huge pages) and a message that names the key and what is valid.  `given` may be NULL. */
int options_resolve(const struct options_given *given, struct options *ret_options);

/* The part that the layout of a new heap follows from. */
struct layout_params options_params(const struct options *o);

enum options_env {
        OPTIONS_ENV_DIR,      /* SHMALLOC_DIR     directory of heaps */
        OPTIONS_ENV_HEAP,     /* SHMALLOC_HEAP    name of the default heap */
        OPTIONS_ENV_CONF,     /* SHMALLOC_CONF    options */
        OPTIONS_ENV_SOCKET,   /* SHMALLOC_SOCKET  of the daemon */
        OPTIONS_ENV_TOPOLOGY, /* SHMALLOC_TOPOLOGY  nodes that tests play; builds with SHM_DEBUG only */
        OPTIONS_ENV_N
};

/* NULL when unset, empty, or when the process runs with rights that its user has not (secure_getenv). */
const char *options_env(enum options_env var);

#endif
