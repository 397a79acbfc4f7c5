/*
 * memory.h - room for new items: the bound of memory, eviction, and what has expired.
 */
#ifndef KVCACHE_MEMORY_H
#define KVCACHE_MEMORY_H

#include "table.h"

/* A new item in the mailbox, with its key; the value is the caller's to fill in.  Takes away others that have not been
 * used for long where the bound asks for it.  NULL: there is no room.  It calls the table, so what was found before is
 * to be found again. */
struct item *memory_item(struct cache *c, const struct key *key, uint64_t value_bytes, uint64_t expires_ms);

/* The mailbox is emptied: 0, or -EBUSY. */
int memory_drop(struct cache *c);

/* An extension in the other mailbox: 0, -ENOMEM.  It calls the table, too. */
int memory_extension(struct cache *c);

static inline bool
item_has_expired(const struct cache *c, const struct item *item)
{
        return item->expires_ms != 0 && item->expires_ms <= c->now_ms;
}

/* Takes away an item that somebody came across, if it has expired and is still there. */
void memory_expire(struct cache *c, struct bucket *bucket, uint64_t word);

/* Now and then: looks for expired items in some more buckets, and frees what is retired.  False: there is nothing to
 * come back for. */
bool memory_tick(struct cache *c);

#endif
