/*
 * robust_copy.h - lib/os/robust.h once more, as another copy of the library in the same process has it.
 */
#ifndef SUPPORT_ROBUST_COPY_H
#define SUPPORT_ROBUST_COPY_H

#include "os/robust.h"

bool robust_copy_take(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns);
void robust_copy_unlock(struct robust_lock *lock, uint32_t tid, uint32_t pid_ns);
void robust_copy_forget(const void *start, uint64_t bytes);

#endif
