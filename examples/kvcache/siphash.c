/*
 * siphash.c - see siphash.h.
 */
#include "siphash.h"

#include <string.h>

static inline uint64_t
rotate(uint64_t x, int n)
{
        return x << n | x >> (64 - n);
}

static inline void
mix(uint64_t v[4])
{
        v[0] += v[1];
        v[1] = rotate(v[1], 13) ^ v[0];
        v[0] = rotate(v[0], 32);
        v[2] += v[3];
        v[3] = rotate(v[3], 16) ^ v[2];
        v[0] += v[3];
        v[3] = rotate(v[3], 21) ^ v[0];
        v[2] += v[1];
        v[1] = rotate(v[1], 17) ^ v[2];
        v[2] = rotate(v[2], 32);
}

static inline void
absorb(uint64_t v[4], uint64_t word)
{
        v[3] ^= word;
        mix(v);
        v[0] ^= word;
}

uint64_t
siphash(const uint64_t key[2], const void *p, size_t bytes)
{
        uint64_t v[4] = {key[0] ^ UINT64_C(0x736f6d6570736575), key[1] ^ UINT64_C(0x646f72616e646f6d),
                         key[0] ^ UINT64_C(0x6c7967656e657261), key[1] ^ UINT64_C(0x7465646279746573)};
        const char *at = p;
        uint64_t word = 0;
        size_t left = bytes;

        for (; left >= 8; left -= 8, at += 8) {
                memcpy(&word, at, 8);
                absorb(v, word);
        }
        word = 0;
        memcpy(&word, at, left);
        absorb(v, word | (uint64_t)bytes << 56);
        v[2] ^= 0xff;
        mix(v);
        mix(v);
        mix(v);
        return v[0] ^ v[1] ^ v[2] ^ v[3];
}
