/*
 * text.h - sizes and counts as people write and read them, and text that others wrote.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/quantity.h"

enum { TEXT_BYTES_MAX = QUANTITY_BYTES_MAX, TEXT_MODE_MAX = 8 };

/* "1.5 GiB", "12 KiB", "7 B". */
const char *text_bytes(char buf[TEXT_BYTES_MAX], uint64_t bytes);

/* What is behind a noun of which there are n: "1 client", "2 clients". */
const char *text_s(uint64_t n);

/* "0600": the mode of a file wherever one is shown. */
void text_mode(char buf[TEXT_MODE_MAX], uint32_t mode);

enum text_kind {
        TEXT_PLAIN,  /* printable ASCII, for terminals */
        TEXT_UTF8,   /* and characters beyond it, for JSON */
        TEXT_MARKUP, /* the same with entities, for HTML and SVG */
};
enum { TEXT_ESCAPED = 6 }; /* bytes that one may become */

/* Text of at most n bytes, or up to a NUL, which may be anything: what is not of the kind stands as \xNN, byte by byte,
 * and so does a backslash. */
void text_escape(char *buf, size_t size, const char *text, size_t n, enum text_kind kind);

/* Digits, and perhaps K, M, G or T behind them, each 1024 times the last. */
bool text_parse_bytes(const char *text, uint64_t *ret_bytes);

/* All digits of base 8 or 10, nothing else, between min and max. */
bool text_parse_number(const char *text, unsigned base, uint64_t min, uint64_t max, uint64_t *ret_value);

/* "true", "yes", "on", "1", and their opposites. */
bool text_parse_bool(const char *text, bool *ret_value);

#endif
