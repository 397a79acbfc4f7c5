/*
 * table.c - the hash table.  The protocol is in table.h.
 *
 * Hazards: before a process looks at a block that others may take away, it says so in its place, and then looks again
 * whether the block can still be found.  If so, whoever takes it away later sees the hazard before freeing the block.
 * Hazard and second look, and removal and the look at the hazards, are sequentially consistent: that is what it takes.
 */
#include "table.h"

#include <errno.h>
#include <string.h>

#include "siphash.h"

enum { RECLAIM_EVERY = 64, RECLAIM_BYTES = 1 << 20 };

/* ------------------------------------------------------------------ hazards */

static inline uint64_t
look_again(const shared_word *at)
{
        return atomic_load_explicit(at, memory_order_seq_cst);
}

static inline void
protect(struct cache *c, enum hazard which, const void *p)
{
        atomic_exchange_explicit(&c->me->hazard[which], (uint64_t)(uintptr_t)p, memory_order_seq_cst);
}

static inline void
unprotect(struct cache *c, enum hazard which)
{
        put(&c->me->hazard[which], 0);
}

void
table_release(struct cache *c)
{
        for (int i = 0; i < N_HAZARDS; i++)
                if (get(&c->me->hazard[i]) != 0)
                        unprotect(c, (enum hazard)i);
}

/* ------------------------------------------------------------------ looking */

static struct bucket *
bucket_of(const struct cache *c, uint64_t hash)
{
        return &c->root->buckets[hash & (c->root->n_buckets - 1)];
}

struct key
key_make(const struct cache *c, const void *p, size_t bytes)
{
        struct key key = {.p = p, .bytes = (uint32_t)bytes, .hash = siphash(c->root->hash_key, p, bytes)};

        __builtin_prefetch(bucket_of(c, key.hash));
        return key;
}

void
table_prefetch(const struct cache *c, const struct key *key)
{
        const struct bucket *bucket = bucket_of(c, key->hash);

        for (int i = 0; i < BUCKET_SLOTS; i++) {
                uint64_t word = get(&bucket->slot[i]);

                if (slot_may_be(word, key->hash))
                        __builtin_prefetch(slot_address(word));
        }
}

/* The slots of a bucket, part by part. */
struct part {
        shared_word *slot, *more;
        int n;
        struct extension *extension; /* NULL: the bucket itself */
        enum hazard hazard;          /* for the next one */
};

static struct part
first_part(struct bucket *bucket)
{
        return (struct part){
                .slot = bucket->slot, .more = &bucket->more, .n = BUCKET_SLOTS, .hazard = HAZARD_EXTENSION};
}

/* The part before stays protected until the one behind this is asked for: its link is looked at again. */
static bool
next_part(struct cache *c, struct part *part)
{
        for (;;) {
                uint64_t word = get(part->more);

                if (slot_is_empty(word))
                        return false;
                protect(c, part->hazard, slot_address(word));
                if (look_again(part->more) != word)
                        continue;
                part->extension = slot_address(word);
                part->slot = part->extension->slot;
                part->more = &part->extension->more;
                part->n = EXTENSION_SLOTS;
                part->hazard = part->hazard == HAZARD_EXTENSION ? HAZARD_EXTENSION_2 : HAZARD_EXTENSION;
                return true;
        }
}

/* The item in the slot, protected, and its word. */
static struct item *
look_at(struct cache *c, shared_word *slot, uint64_t *ret_word)
{
        for (;;) {
                uint64_t word = get(slot);

                *ret_word = word;
                if (slot_is_empty(word))
                        return NULL;
                protect(c, HAZARD_ITEM, slot_address(word));
                if (look_again(slot) == word)
                        return slot_address(word);
        }
}

static struct item *
match(struct cache *c, shared_word *slot, const struct key *key, uint64_t *ret_word)
{
        struct item *item;

        *ret_word = get(slot);
        if (!slot_may_be(*ret_word, key->hash))
                return NULL;
        item = look_at(c, slot, ret_word);
        return item && item->hash == key->hash && item->key_bytes == key->bytes &&
                               memcmp(item->bytes, key->p, key->bytes) == 0
                       ? item
                       : NULL;
}

struct item *
table_get(struct cache *c, const struct key *key)
{
        struct part part = first_part(bucket_of(c, key->hash));
        uint64_t word;

        do
                for (int i = 0; i < part.n; i++) {
                        struct item *item = match(c, &part.slot[i], key, &word);

                        if (item)
                                return item;
                }
        while (next_part(c, &part));
        return NULL;
}

void
table_each(struct cache *c, struct bucket *bucket, table_fn *fn, void *arg)
{
        struct part part = first_part(bucket);
        uint64_t word;

        do
                for (int i = 0; i < part.n; i++) {
                        struct item *item = look_at(c, &part.slot[i], &word);

                        if (item)
                                fn(c, bucket, word, item, arg);
                }
        while (next_part(c, &part));
        table_release(c);
}

/* ------------------------------------------------------------------ updates in progress */

/* T.4 to T.6, by anybody; the extension that the slot lies in is protected, and the old word cannot come again. */
static void
carry_out(struct bucket *bucket, uint64_t busy, struct record *record, shared_word *slot, uint64_t old_word,
          uint64_t new_word, uint64_t version)
{
        uint64_t number = busy & ~bucket_busy(0x7f, 0), pending = number << 2 | PHASE_PENDING;

        atomic_compare_exchange_strong(slot, &old_word, new_word);                          /* T.4 */
        atomic_compare_exchange_strong(&record->phase, &pending, number << 2 | PHASE_DONE); /* T.5 */
        atomic_compare_exchange_strong(&bucket->word, &busy, version + 1);                  /* T.6 */
}

void
table_help(struct cache *c, struct bucket *bucket)
{
        uint64_t busy = get(&bucket->word), old_word, new_word, version;
        uint32_t place_no = bucket_place(busy);
        struct record *record = &c->root->place[place_no % PLACES].record;
        shared_word *slot;

        if (!(busy & BUCKET_BUSY))
                return;
        old_word = get(&record->old_word);
        new_word = get(&record->new_word);
        version = get(&record->version);
        slot = (shared_word *)(uintptr_t)get(&record->slot);
        protect(c, HAZARD_HELP, slot_is_empty(old_word) ? NULL : slot_address(old_word));
        protect(c, HAZARD_HELP_CONTAINER, (void *)(uintptr_t)get(&record->container));
        if (look_again(&bucket->word) == busy) { /* the record was the right one, and nothing of it has been freed */
                carry_out(bucket, busy, record, slot, old_word, new_word, version);
                if (place_no != c->me_no)
                        put(&c->me->n_helped, get(&c->me->n_helped) + 1);
        }
        unprotect(c, HAZARD_HELP);
        unprotect(c, HAZARD_HELP_CONTAINER);
}

/* The version of the bucket once no update is in progress. */
static uint64_t
version_of(struct cache *c, struct bucket *bucket)
{
        uint64_t word;

        while ((word = look_again(&bucket->word)) & BUCKET_BUSY)
                table_help(c, bucket);
        return word;
}

/* ------------------------------------------------------------------ finding, for a writer */

/* The first empty slot is noted, too. */
static bool
find_in(struct cache *c, struct part *part, const struct key *key, uint64_t exact_word, struct found *f)
{
        for (int i = 0; i < part->n; i++) {
                uint64_t word = get(&part->slot[i]);
                struct item *item = NULL;

                if (key)
                        item = match(c, &part->slot[i], key, &word);
                else if (word == exact_word)
                        item = look_at(c, &part->slot[i], &word);
                if (item) {
                        f->slot = &part->slot[i];
                        f->word = word;
                        f->container = part->extension;
                        f->item = item;
                        return true;
                }
                if (!f->slot && slot_is_empty(word)) {
                        f->slot = &part->slot[i];
                        f->word = word;
                        f->container = part->extension;
                }
        }
        return false;
}

static void
find_at(struct cache *c, struct bucket *bucket, const struct key *key, uint64_t exact_word, struct found *f)
{
        for (;;) {
                struct part part = first_part(bucket);

                *f = (struct found){.bucket = bucket, .version = version_of(c, bucket)};
                while (!find_in(c, &part, key, exact_word, f) && next_part(c, &part))
                        ;
                if (!f->slot) { /* neither the key nor an empty slot: part is the last one */
                        f->slot = part.more;
                        f->word = get(part.more);
                        f->container = part.extension;
                        f->wants_extension = true;
                }
                if (!f->container)
                        return;
                protect(c, HAZARD_CONTAINER, f->container);
                if (look_again(&bucket->word) == f->version) /* nothing has changed, so it is still in the chain */
                        return;
        }
}

void
table_find(struct cache *c, const struct key *key, struct found *ret_found)
{
        find_at(c, bucket_of(c, key->hash), key, 0, ret_found);
}

bool
table_find_word(struct cache *c, struct bucket *bucket, uint64_t word, struct found *ret_found)
{
        find_at(c, bucket, NULL, word, ret_found);
        return ret_found->item != NULL;
}

/* ------------------------------------------------------------------ retired blocks */

_Static_assert(RETIRED_MAX > PLACES * N_HAZARDS, "not all of retired[] can be looked at");

struct looks {
        int n;
        uint64_t at[PLACES * N_HAZARDS];
};

/* What anybody is looking at.  A block that was retired before and is not among it can be looked at no more. */
static void
looks_take(const struct cache *c, struct looks *looks)
{
        uint32_t n = (uint32_t)get(&c->root->n_workers);

        looks->n = 0;
        for (uint32_t i = 0; i <= n && i < PLACES; i++) {
                const struct place *place = &c->root->place[i < n ? i : VISITOR];

                for (int k = 0; k < N_HAZARDS; k++) { /* in this order: from lower to higher ones looks may move */
                        uint64_t p = look_again(&place->hazard[k]);

                        if (p != 0)
                                looks->at[looks->n++] = p;
                }
        }
}

static bool
looks_have(const struct looks *looks, const void *p)
{
        for (int i = 0; i < looks->n; i++)
                if (looks->at[i] == (uintptr_t)p)
                        return true;
        return false;
}

/* The list is full of blocks in one slab that somebody holds who is stopped.  Rather than wait, such a block is freed
 * the usual way; it is lost if this process is killed between the two lines. */
static void
reclaim_one_unsafely(struct cache *c, const struct looks *looks)
{
        for (uint32_t i = 0; i < RETIRED_MAX; i++) {
                void *p = shheap_ptr(c->heap, c->me->retired[i]);

                if (!p || looks_have(looks, p))
                        continue;
                c->me->retired[i] = SHREF_NULL;
                shheap_free(c->heap, p);
                c->free_retired[c->n_free_retired++] = (uint16_t)i;
                return;
        }
}

void
table_reclaim(struct cache *c)
{
        struct looks looks;

        looks_take(c, &looks);
        c->n_free_retired = 0;
        for (uint32_t i = RETIRED_MAX; i-- > 0;) {
                shref *retired = &c->me->retired[i];

                if (*retired != SHREF_NULL &&
                    (looks_have(&looks, shheap_ptr(c->heap, *retired)) || shheap_free_from(c->heap, retired) < 0))
                        continue; /* later */
                c->free_retired[c->n_free_retired++] = (uint16_t)i;
        }
        if (c->n_free_retired == 0)
                reclaim_one_unsafely(c, &looks);
        c->n_retired = RETIRED_MAX - c->n_free_retired;
        c->reclaim_at = c->n_retired + RECLAIM_EVERY;
        c->retired_bytes = 0;
}

/* ------------------------------------------------------------------ updating */

struct change {
        struct bucket *bucket;
        uint64_t version;
        shared_word *slot;
        void *container;
        uint64_t old_word, new_word;
        const void *retired; /* block that the old word refers to, or NULL */
        uint64_t retired_bytes;
        uint64_t n_items, n_bytes; /* to be added to the worker's counts; may wrap around */
        bool is_extended;
};

static void
put_ref(shref *at, shref ref)
{
        __atomic_store_n(at, ref, __ATOMIC_RELEASE);
}

/* T.7, T.8: what the record says of the worker's own books. */
static void
finish(struct cache *c)
{
        struct place *me = c->me;
        struct record *r = &me->record;
        uint64_t retired_no = get(&r->retired_no), old_word = get(&r->old_word);

        if (retired_no < RETIRED_MAX)
                put_ref(&me->retired[retired_no], shheap_ref(c->heap, slot_address(old_word)));
        if (!slot_is_empty(get(&r->new_word)))
                put_ref(&me->fresh_item, SHREF_NULL);
        if (get(&r->is_extended))
                put_ref(&me->fresh_extension, SHREF_NULL);
        put(&me->n_items, get(&r->n_items_after));
        put(&me->n_bytes, get(&r->n_bytes_after));
        put(&r->phase, (get(&r->phase) & ~UINT64_C(3)) | PHASE_IDLE);
}

static bool
update(struct cache *c, const struct change *u)
{
        struct record *r = &c->me->record;
        uint64_t number = (get(&r->phase) >> 2) + 1, version = u->version, busy;

        if (u->retired && c->n_free_retired == 0)
                table_reclaim(c);              /* where a slot points to is among our hazards */
        put(&r->bucket, (uintptr_t)u->bucket); /* T.1 */
        put(&r->slot, (uintptr_t)u->slot);
        put(&r->container, (uintptr_t)u->container);
        put(&r->old_word, u->old_word);
        put(&r->new_word, u->new_word);
        put(&r->version, u->version);
        put(&r->retired_no, u->retired ? c->free_retired[c->n_free_retired - 1] : RETIRED_MAX);
        put(&r->is_extended, u->is_extended);
        put(&r->n_items_after, get(&c->me->n_items) + u->n_items);
        put(&r->n_bytes_after, get(&c->me->n_bytes) + u->n_bytes);
        put(&r->phase, number << 2 | PHASE_PENDING); /* T.2 */
        busy = bucket_busy(c->me_no, number);
        if (!atomic_compare_exchange_strong(&u->bucket->word, &version, busy)) { /* T.3 */
                put(&r->phase, number << 2 | PHASE_IDLE);
                return false;
        }
        carry_out(u->bucket, busy, r, u->slot, u->old_word, u->new_word, u->version);
        finish(c);
        table_release(c);
        if (u->retired) {
                c->n_free_retired--;
                c->n_retired++;
                c->retired_bytes += u->retired_bytes;
        }
        if (c->n_retired >= c->reclaim_at || c->retired_bytes >= RECLAIM_BYTES)
                table_reclaim(c);
        return true;
}

static uint64_t
cost_of(const struct item *item)
{
        return item ? item_cost(item->key_bytes, item->value_bytes) : 0;
}

int
table_extension_new(struct cache *c)
{
        struct extension *extension;

        if (c->me->fresh_extension != SHREF_NULL)
                return 0;
        extension = shheap_malloc_to(c->heap, sizeof *extension, 0, &c->me->fresh_extension);
        if (!extension)
                return -ENOMEM;
        memset((void *)extension, 0, sizeof *extension);
        return 0;
}

bool
table_update(struct cache *c, const struct found *found, struct item *item)
{
        struct change u = {.bucket = found->bucket,
                           .version = found->version,
                           .slot = found->slot,
                           .container = found->container,
                           .old_word = found->word,
                           .new_word = item ? slot_word(item, item->hash) : slot_emptied(found->version),
                           .retired = found->item,
                           .retired_bytes = cost_of(found->item),
                           .n_items = (uint64_t)(item != NULL) - (uint64_t)(found->item != NULL),
                           .n_bytes = cost_of(item) - cost_of(found->item),
                           .is_extended = item && found->wants_extension};

        if (u.is_extended) {
                struct extension *extension = shheap_ptr(c->heap, c->me->fresh_extension);

                put(&extension->slot[0], u.new_word);
                u.new_word = slot_word(extension, 0);
                u.n_bytes += sizeof *extension;
        }
        return update(c, &u);
}

static bool
is_empty_part(const struct part *part)
{
        for (int i = 0; i < part->n; i++)
                if (!slot_is_empty(get(&part->slot[i])))
                        return false;
        return true;
}

/* One extension, the last of the chain.  False: there is none, or it is not empty. */
static bool
trim_last(struct cache *c, struct bucket *bucket)
{
        uint64_t version = version_of(c, bucket);
        struct part last = first_part(bucket), before = last, next = last;

        while (next_part(c, &next)) {
                before = last;
                last = next;
        }
        if (!last.extension || !is_empty_part(&last))
                return false;
        protect(c, HAZARD_CONTAINER, before.extension);
        if (look_again(&bucket->word) == version)
                (void)update(c, &(struct change){.bucket = bucket,
                                                 .version = version,
                                                 .slot = before.more,
                                                 .container = before.extension,
                                                 .old_word = slot_word(last.extension, 0),
                                                 .new_word = slot_emptied(version),
                                                 .retired = last.extension,
                                                 .retired_bytes = sizeof(struct extension),
                                                 .n_bytes = -(uint64_t)sizeof(struct extension)});
        return true; /* or somebody was faster: look again */
}

void
table_trim(struct cache *c, struct bucket *bucket)
{
        while (trim_last(c, bucket))
                ;
        table_release(c);
}

/* ------------------------------------------------------------------ after a death */

void
table_settle(struct cache *c)
{
        struct place *me = c->me;
        struct record *r = &me->record;
        uint64_t phase = get(&r->phase);

        for (int i = 0; i < N_HAZARDS; i++)
                unprotect(c, (enum hazard)i);
        if ((phase & 3) != PHASE_IDLE) {
                struct bucket *bucket = (struct bucket *)(uintptr_t)get(&r->bucket);

                if (get(&bucket->word) == bucket_busy(c->me_no, phase >> 2))
                        table_help(c, bucket);
                /* Whoever releases the bucket has said DONE before. */
                if ((get(&r->phase) & 3) == PHASE_DONE)
                        finish(c);
                else
                        put(&r->phase, (phase & ~UINT64_C(3)) | PHASE_IDLE);
        }
        (void)shheap_free_from(c->heap, &me->fresh_item); /* -EBUSY: tried again before it is used */
        (void)shheap_free_from(c->heap, &me->fresh_extension);
        table_reclaim(c);
}

/* ------------------------------------------------------------------ counts */

static uint64_t
sum(const struct cache *c, size_t offset)
{
        uint64_t n = 0;

        for (uint32_t i = 0; i < PLACES; i++)
                n += get((const shared_word *)(const void *)((const char *)&c->root->place[i] + offset));
        return (int64_t)n < 0 ? 0 : n; /* summed while others were at it */
}

uint64_t
table_n_items(const struct cache *c)
{
        return sum(c, offsetof(struct place, n_items));
}

uint64_t
table_n_bytes(const struct cache *c)
{
        return sum(c, offsetof(struct place, n_bytes));
}
