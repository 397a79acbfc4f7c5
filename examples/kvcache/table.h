/*
 * table.h - the hash table: finding, and changing one slot of a bucket at a time.
 *
 * Readers never wait and write nothing but their own hazards.  A writer looks at the bucket, writes into its record
 * which slot is to change from what to what, and then makes the bucket name the record, by one compare-and-swap that
 * fails if the bucket has been updated since the writer looked.  From then on the update is as good as done: whoever
 * meets a bucket that names a record carries it out, whether its writer runs, is stopped or dead.
 *
 *      T.1  the record: slot, old word, new word, what the worker's books will say
 *      T.2  phase PENDING
 *      T.3  bucket: version -> record               by the writer only; the update is decided
 *      T.4  slot: old word -> new word              by anybody; readers see it
 *      T.5  phase: PENDING -> DONE                  by anybody
 *      T.6  bucket: record -> version + 1           by anybody
 *      T.7  what was there before is in retired[], the mailboxes are empty, the counts are new
 *      T.8  phase IDLE                              T.7, T.8 by the writer, or by who takes its place
 *
 * All of 4 to 7 may be done twice.  Late helpers fail: a slot does not hold the same word twice while they look, since
 * they have its old word among their hazards; and phase and bucket have a number that does not come again.
 */
#ifndef KVCACHE_TABLE_H
#define KVCACHE_TABLE_H

#include "shared.h"

/* One process's view of the cache. */
struct cache {
        shheap *heap;
        struct root *root;
        struct place *me;
        uint32_t me_no;
        uint64_t now_ms;
        uint64_t random;
        uint64_t may_take; /* bytes before the bound has to be looked at again */
        uint64_t sweep;    /* bucket where to look for expired items next */
        uint32_t n_retired, n_free_retired;
        uint32_t reclaim_at;                /* n_retired when the list is looked through next */
        uint16_t free_retired[RETIRED_MAX]; /* entries of me->retired that are empty */
        uint64_t retired_bytes;             /* about */
};

struct key {
        const char *p;
        uint32_t bytes;
        uint64_t hash;
};

struct key key_make(const struct cache *c, const void *p, size_t bytes);

/* The key's item will be looked at soon. */
void table_prefetch(const struct cache *c, const struct key *key);

/* One look at the bucket of a key. */
struct found {
        struct bucket *bucket;
        uint64_t version;  /* of the bucket */
        shared_word *slot; /* the key's slot; else an empty one, which may be the link to an extension to come */
        uint64_t word;     /* in it */
        void *container;   /* extension that the slot lies in, or NULL */
        bool wants_extension;
        struct item *item; /* NULL: not there */
};

/* The item of a key, or NULL.  It stays until the next call on the table, or until table_release(). */
struct item *table_get(struct cache *c, const struct key *key);
void table_release(struct cache *c);

/* For a writer.  What was found stays likewise, but may be outdated at once: table_update() tells. */
void table_find(struct cache *c, const struct key *key, struct found *ret_found);

/* The same for the item in a bucket that the slot's word is known of. */
bool table_find_word(struct cache *c, struct bucket *bucket, uint64_t word, struct found *ret_found);

/* Puts an item, which the mailbox holds, where the key was found; or takes away what is there (NULL).  False: the
 * bucket has been updated meanwhile, and the mailbox still holds the item.  Where found->wants_extension, the other
 * mailbox must hold one, prepared by table_extension_new(). */
bool table_update(struct cache *c, const struct found *found, struct item *item);

/* 0, -ENOMEM. */
int table_extension_new(struct cache *c);

/* After a removal from an extension: gives back extensions at the end of the bucket's chain that are empty. */
void table_trim(struct cache *c, struct bucket *bucket);

/* Calls fn for each item of a bucket; the item stays while fn looks at it.  fn may not call the table. */
typedef void table_fn(struct cache *c, struct bucket *bucket, uint64_t word, struct item *item, void *arg);
void table_each(struct cache *c, struct bucket *bucket, table_fn *fn, void *arg);

/* Sets right what the last process in this place left behind, which may be dead.  The heap must have been reaped. */
void table_settle(struct cache *c);

/* Frees what is retired and not looked at by anybody. */
void table_reclaim(struct cache *c);

uint64_t table_n_items(const struct cache *c);
uint64_t table_n_bytes(const struct cache *c);

/* Finishes the update that the bucket is in, if any. */
void table_help(struct cache *c, struct bucket *bucket);

#endif
