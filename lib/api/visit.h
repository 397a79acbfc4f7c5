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
        struct shield lent; /* of a slot that was lent */
        bool is_lent;
};

/* 0, or -errno with a message; `operation` is for the message. */
int visit_begin(struct visit *v, struct shheap *h, const char *operation);

/* Reports a misuse that was found on the way, and may not return then. */
void visit_end(struct visit *v, const char *operation);

/* Around a function of the caller's, in a visit that is not borrowed: it may use the heap.  Should it have left one of its calls
 * by another door, and so this slot in the midst of that, thread->is_left says so. */
void visit_pause(struct visit *v);
void visit_resume(struct visit *v);

/* As visit_end(), on the way out of something that was thrown: reports nothing. */
void visit_drop(struct visit *v);

#endif
