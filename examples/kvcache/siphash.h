/*
 * siphash.h - SipHash-1-3: a hash that clients who do not know the key cannot make collide.
 *
 * After Jean-Philippe Aumasson and Daniel J. Bernstein, "SipHash: a fast short-input PRF"; one round per word, three at
 * the end.
 */
#ifndef KVCACHE_SIPHASH_H
#define KVCACHE_SIPHASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t siphash(const uint64_t key[2], const void *p, size_t bytes);

#endif
