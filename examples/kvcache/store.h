/*
 * store.h - the heap and the root object, and taking a place in it.
 */
#ifndef KVCACHE_STORE_H
#define KVCACHE_STORE_H

#include "table.h"

struct store_options {
        const char *name; /* of the heap */
        uint64_t max_bytes;
        uint64_t n_buckets; /* 0: as fits max_bytes */
};

/* Makes the heap and the empty table; or takes over what is there under this name, with the bound it was made with.
 * *ret_is_new tells.  0, or a negative errno value with a message on standard error: -EBUSY when a server has it. */
int store_create(const struct store_options *options, shheap **ret_heap, struct root **ret_root, bool *ret_is_new);

/* Finds them.  0, or a negative errno value with a message. */
int store_open(const char *name, shheap **ret_heap, struct root **ret_root);

/* Takes a place, and settles what its last process left there.  -EBUSY: its process lives on after so long,
 * or another one is still at settling what it did in the heap. */
int store_enter(struct cache *c, shheap *heap, struct root *root, uint32_t place_no, unsigned patience_ms);
void store_leave(struct cache *c);

/* Settles all places that nobody has. */
void store_settle_places(shheap *heap, struct root *root);

uint64_t store_now_ms(void);

#endif
