/*
 * shared.h - the cache as it lies in the heap: everything that two processes see.
 *
 *      root -> buckets[]         word, slot[6] -> items, more -> extension: slot[7] -> items, more -> ...
 *           -> slot[]            one per worker: what it is just at, what it is looking at, what it has to free
 *
 * A key has one item, which never changes once it can be found; a new value is a new item in the same slot.  A slot
 * changes by one compare-and-swap.  table.h tells how, and README.md why nobody waits and nothing is lost.
 *
 * All fields that two processes see are atomic.  A store is a release and a load an acquire, which costs nothing on
 * x86-64; what is stronger is written out.
 */
#ifndef KVCACHE_SHARED_H
#define KVCACHE_SHARED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <shmalloc/shmalloc.h>

enum {
        WORKERS_MAX = 63,
        VISITOR = WORKERS_MAX, /* the place of `kvcache --check` */
        PLACES = WORKERS_MAX + 1,
        BUCKET_SLOTS = 6,
        EXTENSION_SLOTS = 7,
        RETIRED_MAX = 512,
        N_HAZARDS = 6
};

#define ROOT_NAME   "kvcache"
#define ROOT_LAYOUT UINT64_C(0x6b76636163686531) /* another number for another layout */

typedef _Atomic uint64_t shared_word;

static inline uint64_t
get(const shared_word *at)
{
        return atomic_load_explicit(at, memory_order_acquire);
}

static inline void
put(shared_word *at, uint64_t value)
{
        atomic_store_explicit(at, value, memory_order_release);
}

/* ------------------------------------------------------------------ items */

struct item {
        uint64_t hash;
        uint64_t expires_ms; /* 0: never */
        uint32_t key_bytes, value_bytes;
        _Atomic uint32_t used; /* when it was last read, in ticks of CLOCK_TICK_MS: any worker */
        uint32_t unused;
        char bytes[]; /* key, value */
};

enum { CLOCK_TICK_MS = 128 };

static inline const char *
item_value(const struct item *item)
{
        return item->bytes + item->key_bytes;
}

/* What the bound of memory counts. */
static inline uint64_t
item_cost(uint64_t key_bytes, uint64_t value_bytes)
{
        return (sizeof(struct item) + key_bytes + value_bytes + 15) / 16 * 16;
}

/* ------------------------------------------------------------------ slots and buckets */

/*
 * A slot holds the address of an item and, in the top 16 bits, some bits of its hash; or, if its lowest bit is set or
 * it is 0, nothing.  An empty slot says which update emptied it, so that no slot ever holds the same word twice, as
 * long as somebody may still compare with it.
 */
#define SLOT_ADDRESS UINT64_C(0x0000fffffffffff0)

static inline bool
slot_is_empty(uint64_t word)
{
        return word == 0 || (word & 1);
}

static inline void *
slot_address(uint64_t word)
{
        return (void *)(uintptr_t)(word & SLOT_ADDRESS);
}

static inline uint64_t
slot_word(const void *p, uint64_t hash)
{
        return (uint64_t)(uintptr_t)p | (hash & ~(SLOT_ADDRESS | 0xf));
}

static inline bool
slot_may_be(uint64_t word, uint64_t hash)
{
        return !slot_is_empty(word) && ((word ^ hash) & ~(SLOT_ADDRESS | 0xf)) == 0;
}

static inline uint64_t
slot_emptied(uint64_t version)
{
        return version << 1 | 1;
}

struct bucket {
        shared_word word; /* free: how many updates there have been; or the update in progress, see below */
        shared_word slot[BUCKET_SLOTS];
        shared_word more; /* slot of an extension */
};

/* Where a bucket has more items than slots. */
struct extension {
        shared_word slot[EXTENSION_SLOTS];
        shared_word more;
};

_Static_assert(sizeof(struct bucket) == 64, "a bucket is a cache line");

/* A bucket that is being updated names the worker and the number of the worker's update. */
#define BUCKET_BUSY UINT64_C(0x8000000000000000)

static inline uint64_t
bucket_busy(uint32_t place, uint64_t number)
{
        return BUCKET_BUSY | (uint64_t)place << 56 | (number & UINT64_C(0x00ffffffffffffff));
}

static inline uint32_t
bucket_place(uint64_t word)
{
        return (uint32_t)(word >> 56) & 0x7f;
}

/* ------------------------------------------------------------------ workers */

/* How far a worker's update is: the number above, the phase in the low two bits. */
enum phase {
        PHASE_IDLE,    /* there is none: what the record says means nothing */
        PHASE_PENDING, /* the record is complete; whether the bucket names it, the bucket tells */
        PHASE_DONE     /* it has happened; by whom does not matter */
};

/* The redo record.  The first part is for whoever comes by the bucket, the second for whoever has the worker's
 * place. */
struct record {
        shared_word phase;
        shared_word bucket;    /* address */
        shared_word slot;      /* address */
        shared_word container; /* address of the extension that the slot lies in, or 0 */
        shared_word old_word, new_word;
        shared_word version;    /* of the bucket before */
        shared_word retired_no; /* of the worker's retired[], for what the slot held before, or RETIRED_MAX */
        shared_word is_extended;
        shared_word n_items_after, n_bytes_after; /* the worker's counts */
};

/* What a worker is looking at: nobody frees it meanwhile.  In this order: see table.c. */
enum hazard { HAZARD_EXTENSION, HAZARD_EXTENSION_2, HAZARD_ITEM, HAZARD_CONTAINER, HAZARD_HELP, HAZARD_HELP_CONTAINER };

/* The place of a worker.  When its process dies, the next one takes the same place and settles what it finds. */
struct place {
        pthread_mutex_t life; /* robust: held by the worker's process as long as it lives */
        _Alignas(64) shared_word hazard[N_HAZARDS];
        _Alignas(64) struct record record;
        shref fresh_item; /* mailboxes: blocks that nobody can find yet */
        shref fresh_extension;
        shared_word n_items, n_bytes; /* what this worker has added, less what it has taken away: may wrap around */

        /* Only to be shown. */
        shared_word pid, n_started, n_clients, n_accepted, n_commands, n_hits, n_misses, n_expired, n_evicted, n_helped;

        shref retired[RETIRED_MAX]; /* blocks that can be found no more, to be freed once nobody looks at them */
};

struct root {
        uint64_t layout; /* ROOT_LAYOUT once all of this is complete */
        shref buckets_ref;
        struct bucket *buckets;
        uint64_t n_buckets; /* a power of two */
        uint64_t max_bytes;
        uint64_t hash_key[2];
        uint64_t started_ms;
        pthread_mutex_t supervisor; /* robust: held by the supervisor's process */
        shared_word n_workers;      /* places from 0 on that are in use */
        shared_word has_expiring;   /* whether there ever was an item that expires */
        shared_word n_restarts;
        _Alignas(64) struct place place[PLACES];
};

#endif
