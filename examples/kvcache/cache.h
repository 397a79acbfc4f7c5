/*
 * cache.h - what clients ask for, one key at a time; each call happens at one instant, whoever else is at the key.
 *
 * -ENOMEM: no room, even after eviction.
 */
#ifndef KVCACHE_CACHE_H
#define KVCACHE_CACHE_H

#include "memory.h"

enum { VALUE_MAX = 64 << 20 }; /* bytes; also of keys */

enum cache_set_flags {
        CACHE_NEW = 1,        /* only if it is not there */
        CACHE_OLD = 2,        /* only if it is there */
        CACHE_KEEP_EXPIRY = 4 /* of the value before */
};

/* The item, or NULL; it stays until cache_done(). */
const struct item *cache_get(struct cache *c, const struct key *key);
static inline void
cache_done(struct cache *c)
{
        table_release(c);
}

/* 1 set, 0 not by the flags. */
int cache_set(struct cache *c, const struct key *key, const void *value, size_t bytes, unsigned flags,
              uint64_t expires_ms);

/* 1 deleted, 0 not there. */
int cache_delete(struct cache *c, const struct key *key);

/* 0; -EINVAL: the value is no number; -ERANGE: it would overflow. */
int cache_add(struct cache *c, const struct key *key, int64_t delta, int64_t *ret_value);

/* 0; -E2BIG. */
int cache_append(struct cache *c, const struct key *key, const void *value, size_t bytes, uint64_t *ret_bytes);

/* 0: takes the expiry away.  1 changed, 0 not there, or nothing to take away. */
int cache_expire(struct cache *c, const struct key *key, uint64_t expires_ms);

void cache_flush(struct cache *c);

#endif
