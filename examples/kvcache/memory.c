/*
 * memory.c - see memory.h.
 *
 * Eviction is by sampling: of some items found from a random bucket on, the one that has not been read for longest
 * goes.  No list of uses has to be kept, which all workers would have to write to; reading stores a time at most, and
 * only if it has changed.
 *
 * Each worker may add some bytes before it looks at everybody's counts again, so that the bound may be passed by a few
 * percent of it.
 */
#include "memory.h"

#include <errno.h>
#include <string.h>

enum {
        SAMPLES = 8,
        EVICTIONS_MAX = 1 << 20, /* in one call */
        TRIES_MAX = 16,          /* for a block */
        SWEEP_PER_TICK = 4096,   /* buckets */
        SPARE = 256              /* of the bound, this part is made free at once */
};

static uint64_t
random_next(struct cache *c)
{
        uint64_t x = c->random;

        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        c->random = x;
        return x * UINT64_C(0x2545f4914f6cdd1d);
}

static void
count(shared_word *at)
{
        put(at, get(at) + 1); /* only this worker writes it */
}

/* ------------------------------------------------------------------ taking away */

/* Removes exactly what was found, unless somebody is faster. */
static bool
remove_found(struct cache *c, const struct found *f)
{
        bool is_extended = f->container != NULL;

        if (!table_update(c, f, NULL))
                return false;
        if (is_extended)
                table_trim(c, f->bucket);
        return true;
}

void
memory_expire(struct cache *c, struct bucket *bucket, uint64_t word)
{
        struct found f;

        if (table_find_word(c, bucket, word, &f) && item_has_expired(c, f.item) && remove_found(c, &f))
                count(&c->me->n_expired);
        table_release(c);
}

struct sample {
        int n;
        struct bucket *bucket; /* of the one used longest ago */
        uint64_t word;
        uint32_t age;
};

static void
sample_item(struct cache *c, struct bucket *bucket, uint64_t word, struct item *item, void *arg)
{
        struct sample *s = arg;
        uint32_t now = (uint32_t)(c->now_ms / CLOCK_TICK_MS);
        uint32_t age = now - atomic_load_explicit(&item->used, memory_order_relaxed);

        if (item_has_expired(c, item))
                age = UINT32_MAX;
        if ((int32_t)age < 0 && age != UINT32_MAX)
                age = 0; /* of a worker whose clock is ahead */
        if (s->n++ == 0 || age > s->age) {
                s->bucket = bucket;
                s->word = word;
                s->age = age;
        }
}

/* False: there is nothing in the table. */
static bool
evict_one(struct cache *c)
{
        uint64_t first = random_next(c), mask = c->root->n_buckets - 1;
        struct sample s = {.n = 0};
        struct found f;

        for (uint64_t i = 0; i <= mask && s.n < SAMPLES; i++)
                table_each(c, &c->root->buckets[(first + i) & mask], sample_item, &s);
        if (s.n == 0)
                return false;
        if (table_find_word(c, s.bucket, s.word, &f) && remove_found(c, &f))
                count(&c->me->n_evicted);
        table_release(c);
        return true;
}

/* Until so many bytes fit under the bound; and some more, so that this is not done for each item. */
static bool
make_room(struct cache *c, uint64_t bytes)
{
        uint64_t max = c->root->max_bytes, used, spare;

        if (bytes <= c->may_take) {
                c->may_take -= bytes;
                return true;
        }
        if (bytes > max)
                return false;
        used = table_n_bytes(c);
        spare = max / SPARE < max - bytes ? max / SPARE : max - bytes;
        if (used + bytes > max)
                for (int i = 0; used + bytes + spare > max; i++) {
                        if (i == EVICTIONS_MAX || !evict_one(c))
                                return false;
                        used = table_n_bytes(c);
                }
        c->may_take = (max - used - bytes) / (get(&c->root->n_workers) + 1);
        return true;
}

/* The heap has nothing left, whatever the bound says. */
static bool
make_room_in_heap(struct cache *c, uint64_t bytes)
{
        uint64_t before = table_n_bytes(c), wanted = bytes > 65536 ? bytes : 65536;

        while (before - table_n_bytes(c) < wanted && table_n_bytes(c) <= before)
                if (!evict_one(c))
                        break;
        table_reclaim(c);
        return table_n_bytes(c) < before;
}

/* ------------------------------------------------------------------ new blocks */

int
memory_drop(struct cache *c)
{
        return shheap_free_from(c->heap, &c->me->fresh_item);
}

struct item *
memory_item(struct cache *c, const struct key *key, uint64_t value_bytes, uint64_t expires_ms)
{
        size_t size = sizeof(struct item) + key->bytes + value_bytes;
        struct item *item;

        if (memory_drop(c) < 0 || !make_room(c, item_cost(key->bytes, value_bytes)))
                return NULL;
        item = shheap_malloc_to(c->heap, size, 0, &c->me->fresh_item);
        for (int i = 0; !item && i < TRIES_MAX && make_room_in_heap(c, size); i++)
                item = shheap_malloc_to(c->heap, size, 0, &c->me->fresh_item);
        if (!item)
                return NULL;
        item->hash = key->hash;
        item->expires_ms = expires_ms;
        item->key_bytes = key->bytes;
        item->value_bytes = (uint32_t)value_bytes;
        item->unused = 0;
        atomic_store_explicit(&item->used, (uint32_t)(c->now_ms / CLOCK_TICK_MS), memory_order_relaxed);
        memcpy(item->bytes, key->p, key->bytes);
        if (expires_ms != 0 && !get(&c->root->has_expiring))
                put(&c->root->has_expiring, 1);
        return item;
}

int
memory_extension(struct cache *c)
{
        int err = make_room(c, sizeof(struct extension)) ? table_extension_new(c) : -ENOMEM;

        for (int i = 0; err < 0 && i < TRIES_MAX && make_room_in_heap(c, sizeof(struct extension)); i++)
                err = table_extension_new(c);
        return err;
}

/* ------------------------------------------------------------------ now and then */

struct expired {
        int n;
        uint64_t word[BUCKET_SLOTS + EXTENSION_SLOTS];
};

static void
note_expired(struct cache *c, struct bucket *bucket, uint64_t word, struct item *item, void *arg)
{
        struct expired *e = arg;

        (void)bucket;
        if (item_has_expired(c, item) && e->n < (int)(sizeof e->word / sizeof e->word[0]))
                e->word[e->n++] = word;
}

/* Each worker looks after its own share of the buckets. */
static void
sweep(struct cache *c)
{
        uint64_t n_workers = get(&c->root->n_workers), n = c->root->n_buckets / n_workers + 1;
        uint64_t limit = n < SWEEP_PER_TICK ? n : SWEEP_PER_TICK;

        for (uint64_t i = 0; i < limit; i++) {
                uint64_t at = c->sweep++ * n_workers + c->me_no;
                struct bucket *bucket = &c->root->buckets[at];
                struct expired e = {.n = 0};

                if (at >= c->root->n_buckets) {
                        c->sweep = 0;
                        continue;
                }
                table_each(c, bucket, note_expired, &e);
                while (e.n > 0)
                        memory_expire(c, bucket, e.word[--e.n]);
        }
}

bool
memory_tick(struct cache *c)
{
        bool is_sweeping = get(&c->root->has_expiring) != 0;

        if (is_sweeping)
                sweep(c);
        if (c->n_retired > 0)
                table_reclaim(c);
        (void)shheap_free_from(c->heap, &c->me->fresh_extension); /* left over; -EBUSY: next time */
        return is_sweeping || c->n_retired > 0;
}
