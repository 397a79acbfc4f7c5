/*
 * heap.h - the heaps that this process has open, behind the opaque `struct shheap` of the public API.
 */
#ifndef API_HEAP_H
#define API_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include <urcu/rculist.h>

#include "tcache/tcache.h"
#include <shmalloc/shmalloc.h>

struct shheap {
        struct process_heap process; /* first: what the layers below know of it */
        struct cds_list_head node;   /* in the registry, read under RCU */
        uint32_t n_opens;            /* handles given out by open, under the registry's lock */
        bool is_readonly;
};

/* The open heap whose chunks contain the address, or NULL.  Never waits. */
struct shheap *heap_of_address(const void *p);

/* The default heap, opened from the environment at first use; NULL: errno and message are set. */
struct shheap *heap_default_open(void);

/* Reports what the thread noted (t->fault), once nothing is owned: message, fault handler, abort. */
void fault_report(struct shheap *h, const struct thread *t, const char *operation, const void *p, size_t given_size);

/* Misuse found before any thread was involved (foreign pointer, not a client ...). */
void fault_report_pointer(struct shheap *h, uint32_t what, const char *operation, const void *p, size_t given_size);

#endif
