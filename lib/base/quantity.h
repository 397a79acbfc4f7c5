/*
 * quantity.h - sizes as people read them.
 */
#ifndef BASE_QUANTITY_H
#define BASE_QUANTITY_H

#include <stdint.h>

enum { QUANTITY_BYTES_MAX = 16 };

/* "1.5 GiB", "12 KiB", "7 B": three digits or four.  Gives buf. */
const char *quantity_bytes(char buf[QUANTITY_BYTES_MAX], uint64_t bytes);

#endif
