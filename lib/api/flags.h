/*
 * flags.h - the flags of shheap_mallocx() and its kin.
 */
#ifndef API_FLAGS_H
#define API_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "api/heap.h"

enum { FLAGS_LG_ALIGN_MASK = 0x3f, FLAGS_LG_ALIGN_MAX = 30 };

/* Known, and of an alignment, nodes and an arena that this heap can have. */
bool flags_are_valid(const struct shheap *h, unsigned flags);

/* The same; if not, errno and the message are set. */
bool flags_check(const struct shheap *h, unsigned flags, const char *operation);

size_t flags_align(unsigned flags);

/* What valid flags say of where and how, for a call that has begun. */
void flags_to_call(struct thread *t, unsigned flags);

/* Whether the system can have memory where the call is limited to; if not, errno and the message are set. */
bool flags_are_possible(const struct thread *t, const char *operation);

#endif
