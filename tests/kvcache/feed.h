/*
 * feed.h - the parser of kvcache, fed with a stream in pieces.
 */
#ifndef KVCACHE_FEED_H
#define KVCACHE_FEED_H

#include <stddef.h>

enum { TEXT_MAX = 4096 };

/* What came out of a stream: commands as "[a|b]", an error as "!text". */
struct outcome {
        char text[4 * TEXT_MAX];
        size_t n;
};

/* Feeds the stream in pieces of up to `piece` bytes, each time from memory of exactly the size that has come. */
void feed(const char *stream, size_t bytes, size_t piece, struct outcome *o);

#endif
