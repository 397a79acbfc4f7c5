/*
 * undo.c - see undo.h.
 *
 * The hash is an exclusive or over words, so that one that is written leaves it with its old value and comes back with
 * its new one.
 */
#include "explore/undo.h"

#include "explore/hash.h"
#include "explore/need.h"

struct write {
        uint64_t *at;
        uint64_t old;
};

static struct {
        char *region;
        size_t bytes;
        bool (*is_statistic)(uint64_t off);
        struct write *log;
        size_t n, room;
        uint64_t hash;
        uint64_t *pending_at; /* a write that the hash does not know yet */
        size_t n_pending;
} u;

static uint64_t
word_hash(const uint64_t *at)
{
        uint64_t off = (uint64_t)((const char *)at - u.region);

        return u.is_statistic && u.is_statistic(off) ? 0 : hash_mix(*at + off * HASH_STEP);
}

uint64_t
undo_hash_anew(void)
{
        uint64_t hash = 0;

        for (size_t off = 0; off < u.bytes; off += 8)
                hash ^= word_hash((const uint64_t *)(void *)(u.region + off));
        return hash;
}

void
undo_begin(char *region, size_t bytes, bool (*is_statistic)(uint64_t off))
{
        u.region = region;
        u.bytes = bytes;
        u.is_statistic = is_statistic;
        u.n = u.n_pending = 0;
        u.hash = undo_hash_anew();
}

void
undo_note(uint64_t off, size_t bytes)
{
        uint64_t *first = (uint64_t *)(void *)(u.region + (off & ~UINT64_C(7)));
        uint64_t *end = (uint64_t *)(void *)(u.region + ((off + bytes + 7) & ~UINT64_C(7)));

        for (uint64_t *at = first; at < end; at++) {
                if (u.n == u.room)
                        u.log = need(realloc(u.log, (u.room = u.room ? 2 * u.room : 4096) * sizeof *u.log));
                u.log[u.n++] = (struct write){.at = at, .old = *at};
                u.hash ^= word_hash(at);
        }
        u.pending_at = first;
        u.n_pending = (size_t)(end - first);
}

void
undo_settle(void)
{
        for (size_t i = 0; i < u.n_pending; i++)
                u.hash ^= word_hash(u.pending_at + i);
        u.n_pending = 0;
}

size_t
undo_length(void)
{
        return u.n;
}

uint64_t
undo_hash(void)
{
        return u.hash;
}

void
undo_to(size_t length, uint64_t hash)
{
        while (u.n > length) {
                u.n--;
                *u.log[u.n].at = u.log[u.n].old;
        }
        u.n_pending = 0;
        u.hash = hash;
}
