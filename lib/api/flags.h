/*
 * flags.h - the flags of shheap_mallocx() and its kin.
 */
#ifndef API_FLAGS_H
#define API_FLAGS_H

#include <stdbool.h>
#include <stddef.h>

#include "api/heap.h"
#include "heap/find.h"

enum { FLAGS_LG_ALIGN_MASK = 0x3f, FLAGS_LG_ALIGN_MAX = 30 };

/* Known, and of an alignment, nodes and an arena that this heap can have. */
bool flags_are_valid(const struct shheap *h, unsigned flags);

/* The same; if not, errno and the message are set. */
bool flags_check(const struct shheap *h, unsigned flags, const char *operation);

size_t flags_align(unsigned flags);

/* What valid flags say of where and how, for a request that starts from the thread's own arena. */
void flags_to_request(struct request *rq, const struct thread *t, unsigned flags);

/* Memory of what the request is limited to can be had, as far as the system goes; if not, errno and the message are
 * set. */
bool flags_are_possible(const struct request *rq, const struct region *r, const char *operation);

#endif
