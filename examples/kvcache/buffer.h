/*
 * buffer.h - bytes that wait to be parsed or to be sent, and the bound of all of them together.
 */
#ifndef KVCACHE_BUFFER_H
#define KVCACHE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct buffer {
        char *p;
        size_t start, end, room; /* p[start .. end) waits */
        bool has_failed;         /* no memory for something that was to be put in: what it holds is not to be used */
};

/* Bytes that all buffers of this process hold, and may hold. */
extern size_t buffer_total, buffer_total_max;

static inline size_t
buffer_bytes(const struct buffer *b)
{
        return b->end - b->start;
}

/* Room for so many bytes behind the end.  False: there is none. */
bool buffer_reserve(struct buffer *b, size_t bytes);
void buffer_put(struct buffer *b, const void *p, size_t bytes);
void buffer_take(struct buffer *b, size_t bytes); /* from the start */
void buffer_free(struct buffer *b);

#endif
