/*
 * cache.c - see cache.h.
 *
 * Everything that changes a key has the same form: find it, prepare a new item, and put that in its place, if the
 * bucket is as it was found; else again.  Each time that fails, another worker's update has succeeded.
 */
#include "cache.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "number.h"

/* ------------------------------------------------------------------ reading */

static void
expire_key(struct cache *c, const struct key *key)
{
        struct found f;

        table_find(c, key, &f);
        if (f.item && item_has_expired(c, f.item))
                memory_expire(c, f.bucket, f.word);
        table_release(c);
}

const struct item *
cache_get(struct cache *c, const struct key *key)
{
        struct item *item = table_get(c, key);
        uint32_t now = (uint32_t)(c->now_ms / CLOCK_TICK_MS);

        if (!item)
                return NULL;
        if (item_has_expired(c, item)) {
                expire_key(c, key);
                return NULL;
        }
        if (atomic_load_explicit(&item->used, memory_order_relaxed) != now)
                atomic_store_explicit(&item->used, now, memory_order_relaxed);
        return item;
}

/* ------------------------------------------------------------------ changing */

/* What is found, if it has not expired. */
static const struct item *
living(const struct cache *c, const struct found *f)
{
        return f->item && !item_has_expired(c, f->item) ? f->item : NULL;
}

/* The item in the mailbox goes where f says: 1; or not, and has to be tried again: 0. */
static int
put_item(struct cache *c, const struct found *f, struct item *item)
{
        if (f->wants_extension && c->me->fresh_extension == SHREF_NULL) {
                int err = memory_extension(c);

                return err < 0 ? err : 0;
        }
        return table_update(c, f, item) ? 1 : 0;
}

/* Nothing is to be changed after all. */
static int
leave(struct cache *c, int result)
{
        table_release(c);
        (void)memory_drop(c); /* -EBUSY: before its next use */
        return result;
}

static bool
may_set(const struct item *old, unsigned flags)
{
        return !((flags & CACHE_NEW) && old) && !((flags & CACHE_OLD) && !old);
}

int
cache_set(struct cache *c, const struct key *key, const void *value, size_t bytes, unsigned flags, uint64_t expires_ms)
{
        struct item *item = NULL;
        struct found f;
        int result;

        if (flags & (CACHE_NEW | CACHE_OLD)) { /* as a rule, it can be seen at once that it is not to be */
                const struct item *old = table_get(c, key);

                if (!may_set(old && !item_has_expired(c, old) ? old : NULL, flags))
                        return leave(c, 0);
        }
        item = memory_item(c, key, bytes, expires_ms);
        if (!item)
                return leave(c, -ENOMEM);
        table_prefetch(c, key);
        memcpy(item->bytes + key->bytes, value, bytes);
        do {
                table_find(c, key, &f);
                if (!may_set(living(c, &f), flags))
                        return leave(c, 0);
                if (flags & CACHE_KEEP_EXPIRY)
                        item->expires_ms = living(c, &f) ? f.item->expires_ms : 0;
                result = put_item(c, &f, item);
        } while (result == 0);
        return result < 0 ? leave(c, result) : 1;
}

int
cache_delete(struct cache *c, const struct key *key)
{
        struct found f;
        bool was_there;

        do {
                table_find(c, key, &f);
                if (!f.item)
                        return leave(c, 0);
                was_there = living(c, &f) != NULL;
        } while (!table_update(c, &f, NULL));
        if (f.container)
                table_trim(c, f.bucket);
        return was_there;
}

/* A value of another size, made from the one before.  NULL in *item: it has to be found again. */
static int
need_item(struct cache *c, const struct key *key, const struct found *f, uint64_t value_bytes, struct item **item)
{
        const struct item *old = living(c, f);
        uint64_t expires_ms = old ? old->expires_ms : 0;

        if (*item && (*item)->value_bytes == value_bytes) {
                (*item)->expires_ms = expires_ms;
                return 1;
        }
        *item = memory_item(c, key, value_bytes, expires_ms);
        return *item ? 0 : -ENOMEM;
}

int
cache_add(struct cache *c, const struct key *key, int64_t delta, int64_t *ret_value)
{
        struct item *item = NULL;
        int result;

        do {
                char text[24];
                struct found f;
                const struct item *old;
                int64_t value = 0;
                int n;

                table_find(c, key, &f);
                old = living(c, &f);
                if (old && !number_parse(item_value(old), old->value_bytes, &value))
                        return leave(c, -EINVAL);
                if (__builtin_add_overflow(value, delta, &value))
                        return leave(c, -ERANGE);
                n = number_print(text, value);
                result = need_item(c, key, &f, (uint64_t)n, &item);
                if (result == 1) {
                        memcpy(item->bytes + key->bytes, text, (size_t)n);
                        *ret_value = value;
                        result = put_item(c, &f, item);
                }
        } while (result == 0);
        return result < 0 ? leave(c, result) : 0;
}

int
cache_append(struct cache *c, const struct key *key, const void *value, size_t bytes, uint64_t *ret_bytes)
{
        struct item *item = NULL;
        int result;

        do {
                struct found f;
                const struct item *old;
                uint64_t old_bytes;

                table_find(c, key, &f);
                old = living(c, &f);
                old_bytes = old ? old->value_bytes : 0;
                if (old_bytes + bytes > VALUE_MAX)
                        return leave(c, -E2BIG);
                result = need_item(c, key, &f, old_bytes + bytes, &item);
                if (result == 1) {
                        if (old)
                                memcpy(item->bytes + key->bytes, item_value(old), old_bytes);
                        memcpy(item->bytes + key->bytes + old_bytes, value, bytes);
                        *ret_bytes = old_bytes + bytes;
                        result = put_item(c, &f, item);
                }
        } while (result == 0);
        return result < 0 ? leave(c, result) : 0;
}

int
cache_expire(struct cache *c, const struct key *key, uint64_t expires_ms)
{
        struct item *item = NULL;
        int result;

        do {
                struct found f;
                const struct item *old;

                table_find(c, key, &f);
                old = living(c, &f);
                if (!old || (expires_ms == 0 && old->expires_ms == 0))
                        return leave(c, 0);
                result = need_item(c, key, &f, old->value_bytes, &item);
                if (result == 1) {
                        item->expires_ms = expires_ms;
                        memcpy(item->bytes + key->bytes, item_value(old), old->value_bytes);
                        result = put_item(c, &f, item);
                }
                if (item && expires_ms != 0 && !get(&c->root->has_expiring))
                        put(&c->root->has_expiring, 1);
        } while (result == 0);
        return result < 0 ? leave(c, result) : 1;
}

/* ------------------------------------------------------------------ all of it */

static void
note_word(struct cache *c, struct bucket *bucket, uint64_t word, struct item *item, void *arg)
{
        (void)c;
        (void)bucket;
        (void)item;
        *(uint64_t *)arg = word;
}

void
cache_flush(struct cache *c)
{
        for (uint64_t i = 0; i < c->root->n_buckets; i++) {
                struct bucket *bucket = &c->root->buckets[i];
                uint64_t word;

                /* Others may go on adding: what was there when it began goes, and who is fast may come back once. */
                for (int n = 0; n < 1 << 20; n++) {
                        struct found f;

                        word = 0;
                        table_each(c, bucket, note_word, &word);
                        if (word == 0)
                                break;
                        if (table_find_word(c, bucket, word, &f))
                                (void)table_update(c, &f, NULL);
                }
                table_trim(c, bucket);
        }
        table_reclaim(c);
        c->may_take = 0;
}
