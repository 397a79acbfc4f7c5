/*
 * reserve.h - pages for later: memory that is free and backed, so that allocating it needs no system call.
 */
#ifndef HEAP_RESERVE_H
#define HEAP_RESERVE_H

#include <stdint.h>

#include "clients/thread.h"

/* Sees to it that at least `bytes` of free granules of the thread's arena are backed, taking chunks as needed.
 * 0, -ENOMEM (capacity reached), -ENOSPC: what could be had is backed all the same. */
int reserve_bytes(struct thread *t, uint64_t bytes);

#endif
