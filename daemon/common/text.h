/*
 * text.h - sizes and times as people write them.
 */
#ifndef COMMON_TEXT_H
#define COMMON_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { TEXT_BYTES_MAX = 16 };

/* "1.5 GiB", "12 KiB", "7 B". */
const char *text_bytes(char buf[TEXT_BYTES_MAX], uint64_t bytes);

/* Digits, and perhaps K, M, G or T behind them, each 1024 times the last. */
bool text_parse_bytes(const char *text, uint64_t *ret_bytes);

/* All digits of base 8 or 10, nothing else, between min and max. */
bool text_parse_number(const char *text, unsigned base, uint64_t min, uint64_t max, uint64_t *ret_value);

/* "true", "yes", "on", "1", and their opposites. */
bool text_parse_bool(const char *text, bool *ret_value);

#endif
