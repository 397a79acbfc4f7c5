/*
 * worker.h - one process that serves clients.
 */
#ifndef KVCACHE_WORKER_H
#define KVCACHE_WORKER_H

#include <shmalloc/shmalloc.h>

#include "shared.h"

enum { EXIT_SETUP = 3 }; /* a worker that could not begin: its successor could not, either */

/* A socket that listens at the address and port of the settings, beside those of other workers; -1 with a message. */
int worker_listen(unsigned port);

/* Does not return.  `ready`: a byte is written to it when clients can come. */
_Noreturn void worker_run(shheap *heap, struct root *root, uint32_t no, int ready);

#endif
