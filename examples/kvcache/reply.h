/*
 * reply.h - replies of the Redis protocol, version 2.
 */
#ifndef KVCACHE_REPLY_H
#define KVCACHE_REPLY_H

#include <stddef.h>
#include <stdint.h>

#include "buffer.h"

void reply_status(struct buffer *out, const char *text);
__attribute__((format(printf, 2, 3))) void reply_error(struct buffer *out, const char *fmt,
                                                       ...); /* with its code: "ERR ..." */
void reply_integer(struct buffer *out, int64_t value);
void reply_bulk(struct buffer *out, const void *p, size_t bytes);
void reply_text(struct buffer *out, const char *text); /* a bulk string */
void reply_null(struct buffer *out);
void reply_array(struct buffer *out, size_t n); /* n replies follow */

#endif
