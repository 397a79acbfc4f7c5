/*
 * visit.h - the calling thread inside a heap for the time of one call: by its own slot, or by the one that its process
 * keeps for threads that have none.
 */
#ifndef API_VISIT_H
#define API_VISIT_H

#include "api/heap.h"

struct visit {
        struct shheap *heap;
        struct tcache *tcache; /* NULL: borrowed */
        struct thread *thread;
        struct thread borrowed;
};

/* 0, or -errno with a message; `operation` is for the message. */
int visit_begin(struct visit *v, struct shheap *h, const char *operation);

/* Reports a misuse that was found on the way, and may not return then. */
void visit_end(struct visit *v, const char *operation);

#endif
