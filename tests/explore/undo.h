/*
 * undo.h - the region's writes, so that they can be taken back, and a hash of what is in it.
 */
#ifndef EXPLORE_UNDO_H
#define EXPLORE_UNDO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Forgets all writes.  Words of which is_statistic(offset) is true are not part of the hash; NULL: all are. */
void undo_begin(char *region, size_t bytes, bool (*is_statistic)(uint64_t off));

/* Before a write of these bytes. */
void undo_note(uint64_t off, size_t bytes);

/* After it, and before the hash is asked for. */
void undo_settle(void);

/* How many writes there have been, and the hash now.  Both given to undo_to() lead back here. */
size_t undo_length(void);
uint64_t undo_hash(void);
void undo_to(size_t length, uint64_t hash);

/* The hash, from all that is there. */
uint64_t undo_hash_anew(void);

#endif
