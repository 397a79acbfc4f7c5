/*
 * helper.h - processes that run on a node and do what they are told, and where the pages of blocks lie.
 */
#ifndef NUMA_HELPER_H
#define NUMA_HELPER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* Pages that were looked at, and those of them on the node where they should be. */
struct pages {
        uint64_t n, n_right;
};

struct order {
        uint64_t bytes;
        unsigned flags;
        int node; /* where it should lie */
};

/* What a helper is told to do: in its process, on its node.  The result comes back. */
typedef struct pages job_fn(const struct order *order);

struct helper {
        pid_t pid;
        int to, from;
        uint32_t node;
};

/* Ends the program with a message if something that must be does not hold. */
#define MUST(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        must_failed(__FILE__, __LINE__, #cond, __VA_ARGS__);                                           \
        } while (0)
void must_failed(const char *file, int line, const char *cond, const char *format, ...)
        __attribute__((noreturn, format(printf, 4, 5)));

/* The calling thread runs on the CPUs of the node from now on. */
void run_on(uint32_t node);

struct helper helper_start(uint32_t node);
struct pages helper_do(struct helper *h, job_fn *fn, const struct order *order);
void helper_tell(struct helper *h, job_fn *fn, const struct order *order); /* without waiting for the result */
struct pages helper_hear(struct helper *h);
void helper_stop(struct helper *h);
void helper_kill(struct helper *h); /* by SIGKILL */

/* Adds the pages in which [p, p + bytes) lies.  They are read, so that they are mapped here. */
void pages_add(struct pages *pages, const void *p, size_t bytes, int node);

/* Memory that is taken from a node until so many bytes are free there, and given back when this process ends. */
void fill_node(uint32_t node, uint64_t leave_bytes);
uint64_t node_free_bytes(uint32_t node);

#endif
