#include "stress/storm/stage.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { HEADER_BYTES = 32, ALL_BYTES_MAX = 512, END_BYTES = 64, PAGE = 4096 };

struct stage *
stage_find(shheap *h)
{
        void *stage;

        if (shheap_root(h, "stage", sizeof(struct stage), 0, NULL, NULL, &stage) < 0) {
                fprintf(stderr, "storm: the stage: %s\n", shheap_errormsg());
                abort();
        }
        return stage;
}

/* ------------------------------------------------------------------ stamps */

static unsigned char
pattern(uint64_t at, uint64_t seed)
{
        return (unsigned char)((at ^ seed ^ seed >> 8) * 167 + (at >> 8) * 29 + (seed >> 16));
}

/* Where the next byte of the pattern is. */
static uint64_t
next(uint64_t at, uint64_t whole)
{
        if (whole <= ALL_BYTES_MAX || at + 1 < END_BYTES || whole - at <= END_BYTES)
                return at + 1;
        at = (at / PAGE + 1) * PAGE;
        return at < whole - END_BYTES ? at : whole - END_BYTES;
}

static void
header_make(shref ref, uint64_t whole, uint64_t seed, uint64_t ret_words[4])
{
        ret_words[0] = ~ref;
        ret_words[1] = whole;
        ret_words[2] = seed;
        ret_words[3] = whole * UINT64_C(0x9e3779b97f4a7c15) ^ seed ^ ref;
}

void
stamp_write(shheap *h, void *p, uint64_t size, uint64_t seed)
{
        uint64_t header[4];

        for (uint64_t at = 0; at < size; at = next(at, size))
                ((unsigned char *)p)[at] = pattern(at, seed);
        header_make(shheap_ref(h, p), size, seed, header);
        if (size >= HEADER_BYTES)
                memcpy(p, header, sizeof header);
}

const char *
stamp_fault_of_copy(const void *p, uint64_t size, shref ref, uint64_t whole, uint64_t seed)
{
        const unsigned char *bytes = p;
        uint64_t header[4];

        header_make(ref, whole, seed, header);
        if (whole >= HEADER_BYTES && memcmp(p, header, size < sizeof header ? size : sizeof header) != 0)
                return "another header";
        for (uint64_t at = whole >= HEADER_BYTES ? HEADER_BYTES : 0; at < size; at = next(at, whole))
                if (bytes[at] != pattern(at, seed))
                        return "another content";
        return NULL;
}

const char *
stamp_fault(const shheap *h, const void *p, uint64_t size, uint64_t seed)
{
        return stamp_fault_of_copy(p, size, shheap_ref(h, p), size, seed);
}

void
stamp_spoil(void *p, uint64_t size)
{
        memset(p, 0xdd, size < END_BYTES ? size : END_BYTES);
}
