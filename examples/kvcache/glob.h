/*
 * glob.h - patterns as KEYS, SCAN and CONFIG GET know them: * ? [abc] [^a-z] and \ before what is meant as it stands.
 */
#ifndef KVCACHE_GLOB_H
#define KVCACHE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/* In time of the order of both lengths multiplied, whatever the pattern. */
bool glob_match(const char *pattern, size_t pattern_bytes, const char *text, size_t text_bytes);

#endif
