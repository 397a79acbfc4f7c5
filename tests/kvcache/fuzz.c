/*
 * fuzz.c - the parser of kvcache under libFuzzer: the first byte of an input says into what pieces the rest is cut, and
 * what comes out must be what comes out of it in one piece.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "feed.h"

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
        static struct outcome whole, pieces;

        if (bytes < 2 || bytes > TEXT_MAX)
                return 0;
        feed((const char *)input + 1, bytes - 1, bytes - 1, &whole);
        feed((const char *)input + 1, bytes - 1, 1 + input[0] % 16, &pieces);
        if (whole.n != pieces.n || memcmp(whole.text, pieces.text, whole.n) != 0) {
                fprintf(stderr, "in one piece: %.*s\nin pieces: %.*s\n", (int)whole.n, whole.text, (int)pieces.n,
                        pieces.text);
                abort();
        }
        return 0;
}
