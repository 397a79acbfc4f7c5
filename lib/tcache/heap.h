/*
 * heap.h - what this process knows of a heap that it has open, behind the opaque `shheap` of the public API.
 *
 * One object per heap.  A handle of the API is its address for ever: it is zeroed when the heap is gone, and stays
 * readable (api/registry.c).
 */
#ifndef TCACHE_HEAP_H
#define TCACHE_HEAP_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <urcu/list.h>

#include "clients/slot.h"
#include "clients/thread.h"
#include "os/shield.h"
#include "region/region.h"

struct tcache;

struct shheap {
        struct region region;
        /* Says what was found wrong in the caches of a thread that ends; set by who opens the heap. */
        void (*tell)(struct shheap *h, const struct fault *fault);
        struct client_id client; /* another one once it has been evicted: stored as a whole */
        struct reserve reserve;
        bool is_closed;         /* set by close: threads let go at their next slow call or at their end */
        bool is_checked;        /* option check: no free is a hit */
        bool is_junked;         /* option junk */
        bool is_zeroed;         /* option zero */
        uint32_t generation;    /* of fork(): client and reserve are this process's only if it is the current one */
        uint32_t reserve_of;    /* the generation that the lock of `reserve` was made in */
        struct shield shield;   /* of the thread that has borrowed the reserve slot, under the reserve's lock */
        pthread_mutex_t lock;   /* among this process's threads: registering a client anew, and: */
        struct tcache *tcaches; /* of all threads, attached */
        uint32_t n_lent;        /* threads that use a slot which they were lent, or have left it by another door */
        uint32_t n_called;      /* calls that read the heap and call back, of all threads, or were left so by a jump */

        /* the registry's (api/registry.c) */
        struct cds_list_head node; /* under its lock */
        uint32_t n_opens;          /* handles given out by open, under its lock */
        bool is_taken;             /* the handle is in use, likewise */
        bool is_open;              /* calls may use it: what every public function asks first */
        bool is_readonly;
        uint64_t told_s; /* when it was last said that others' bad frees were met, in seconds of the clock */
};

#endif
