/*
 * worker.h - the life of a worker process.
 */
#ifndef WORDINDEX_WORKER_H
#define WORDINDEX_WORKER_H

/* Opens the heap by its name, takes the place of worker number `number`, and indexes files until none is left.  The
 * status to exit with. */
int worker_run(const char *heap_name, unsigned number);

#endif
