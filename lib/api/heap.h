/*
 * heap.h - the heaps that this process has open: which there are, and what is told of them.
 */
#ifndef API_HEAP_H
#define API_HEAP_H

#include <stdbool.h>
#include <stdint.h>

#include "tcache/tcache.h"
#include <shmalloc/shmalloc.h>

/* What every public function asks first, but for hits: whether the handle may be used.  False: errno and message. */
bool handle_refuse(const struct shheap *h, const char *operation);

static inline bool
handle_is_open(const struct shheap *h, const char *operation)
{
        if (LIKELY(h && load_relaxed(&h->is_open)))
                return true;
        return handle_refuse(h, operation);
}

/* What this thread holds of all heaps: in the child of a fork() there is nobody else. */
extern __thread uint32_t handle_n_holds __attribute__((tls_model("initial-exec"), visibility("hidden")));

/* Around a call that reads the heap and calls the caller's function: it stays mapped, also if that closes it.  The end
 * is a cleanup, for what is thrown; after a jump out it stays mapped for good. */
static inline struct shheap *
handle_hold(struct shheap *h)
{
        fetch_add_relaxed(&h->n_called, 1u); /* before this thread closes it; no other is in here then */
        handle_n_holds++;
        return h;
}

static inline void
handle_let_go(struct shheap **at)
{
        handle_n_holds--;
        fetch_add_relaxed(&(*at)->n_called, -1u);
}

/* The open heap whose chunks contain the address, or NULL.  Never waits, and leaves nothing behind if it is left. */
struct shheap *handle_of_address(const void *p);

/* The one in whose tables, before its chunks, the address is. */
struct shheap *handle_of_table(const void *p);

/* Whether a file, by a descriptor of the program's, is that of an open heap.  Never waits, as above. */
bool handle_is_file(int fd);

/* The default heap, opened from the environment at first use; NULL: errno and message are set. */
struct shheap *handle_default(void);

/* Reports what a thread noted, once nothing is owned: message, fault handler, abort. */
void fault_report(struct shheap *h, const struct fault *fault, const char *operation, const void *p, size_t given_size);

/* What a thread noted while it let go of the heap at its end: said, and nothing else. */
void fault_tell(struct shheap *h, const struct fault *fault);

/* A valid block that is freed, and there is no place for it.  Nobody is to blame. */
void fault_tell_lost(struct shheap *h, const void *p, const char *operation, const char *why);

/* Entries of caches that were dropped because no free block of theirs was there, by whoever met them. */
uint64_t handle_n_dropped(const struct shheap *h);

/* Misuse found before any thread was involved (foreign pointer, not a client ...). */
void fault_report_pointer(struct shheap *h, uint32_t what, const char *operation, const void *p, size_t given_size);

#endif
