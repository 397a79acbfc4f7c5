/*
 * hash.h - what tells states apart.
 */
#ifndef EXPLORE_HASH_H
#define EXPLORE_HASH_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define HASH_STEP UINT64_C(0x9e3779b97f4a7c15)

static inline uint64_t
hash_mix(uint64_t x)
{
        x ^= x >> 32;
        x *= UINT64_C(0xd6e8feb86659fd93);
        x ^= x >> 32;
        x *= UINT64_C(0xd6e8feb86659fd93);
        return x ^ x >> 32;
}

/* Of whole words. */
static inline uint64_t
hash_bytes(const void *p, size_t bytes)
{
        uint64_t hash = bytes, word;

        for (size_t i = 0; i < bytes; i += 8) {
                memcpy(&word, (const char *)p + i, 8);
                hash = (hash ^ word) * HASH_STEP;
                hash ^= hash >> 29;
        }
        return hash_mix(hash);
}

#endif
