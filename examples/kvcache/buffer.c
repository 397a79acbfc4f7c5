/*
 * buffer.c - see buffer.h.
 */
#include "buffer.h"

#include <stdlib.h>
#include <string.h>

enum { ROOM_MIN = 1024, ROOM_KEPT = 256 << 10 };

size_t buffer_total, buffer_total_max = (size_t)1 << 30;

void
buffer_free(struct buffer *b)
{
        buffer_total -= b->room;
        free(b->p);
        *b = (struct buffer){.p = NULL};
}

bool
buffer_reserve(struct buffer *b, size_t bytes)
{
        size_t held = buffer_bytes(b), room = b->room < ROOM_MIN ? ROOM_MIN : b->room;
        char *p;

        if (b->room - b->end >= bytes && b->p)
                return true;
        if (b->start > 0 && b->start >= held && b->room - held >= bytes) {
                memcpy(b->p, b->p + b->start, held);
                b->start = 0;
                b->end = held;
                return true;
        }
        while (room - held < bytes)
                room *= 2;
        if (room - b->room > buffer_total_max - buffer_total || buffer_total > buffer_total_max)
                room = held + bytes; /* exactly that, then */
        if (room > b->room && (buffer_total > buffer_total_max || room - b->room > buffer_total_max - buffer_total))
                return false;
        p = malloc(room);
        if (!p)
                return false;
        if (held > 0)
                memcpy(p, b->p + b->start, held);
        free(b->p);
        buffer_total += room - b->room;
        *b = (struct buffer){.p = p, .end = held, .room = room, .has_failed = b->has_failed};
        return true;
}

void
buffer_put(struct buffer *b, const void *p, size_t bytes)
{
        if (b->room - b->end < bytes && !buffer_reserve(b, bytes)) {
                b->has_failed = true;
                return;
        }
        memcpy(b->p + b->end, p, bytes);
        b->end += bytes;
}

void
buffer_take(struct buffer *b, size_t bytes)
{
        b->start += bytes;
        if (b->start < b->end)
                return;
        b->start = b->end = 0;
        if (b->room > ROOM_KEPT)
                buffer_free(b);
}
