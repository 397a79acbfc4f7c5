/*
 * number.h - whole numbers as text, as the protocol and the values have them.
 */
#ifndef KVCACHE_NUMBER_H
#define KVCACHE_NUMBER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* -?[1-9][0-9]*|0, in the range of an int64_t, and nothing else. */
bool number_parse(const char *p, size_t bytes, int64_t *ret_value);

/* Into at least 21 bytes, without a NUL; how many. */
int number_print(char *p, int64_t value);

#endif
