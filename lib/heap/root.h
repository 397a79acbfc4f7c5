/*
 * root.h - named objects.  See root.c for the protocol.
 */
#ifndef HEAP_ROOT_H
#define HEAP_ROOT_H

#include <stdint.h>

#include "region/thread.h"

/* For the candidate ROOT of a dead thread: its record is linked, or free again. */
void root_settle_record(struct region *r, uint32_t thread_no, uint64_t record_idx);

/* Objects that a dead thread had under construction: published, or freed. */
void root_settle_pending(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper);

#endif
