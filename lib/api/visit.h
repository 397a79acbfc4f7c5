/*
 * visit.h - the calling thread inside a heap for the time of one call: by its own slot; by the one that its process
 * keeps for threads that have none; or by one that others lend.
 */
#ifndef API_VISIT_H
#define API_VISIT_H

#include <errno.h>

#include "api/heap.h"
#include "blocks/fault.h"

struct visit {
        struct shheap *heap;
        struct tcache *tcache; /* NULL: borrowed */
        struct thread *thread; /* a call for nothing has begun there */
        struct thread borrowed;
        struct shield lent; /* of a slot that was lent */
        bool is_lent;
};

/* 0, or -errno with a message; `operation` is for the message. */
int visit_begin(struct visit *v, struct shheap *h, const char *operation);

/* Where slots, clients' places or pages are short. */
static inline bool
visit_is_short(int err)
{
        return err == -EUSERS || err == -ENOMEM || err == -ENOSPC;
}

/* The same for a free, which is not to fail where these are short: then by a slot that others lend. */
int visit_begin_to_free(struct visit *v, struct shheap *h, const char *operation);

/* Reports a misuse that was found on the way, now that nothing is owned, and may not return then.  p and given_size:
 * what the caller gave, for the message. */
void visit_end(struct visit *v, const char *operation, const void *p, size_t given_size);

/* As visit_end(), out of a tcache that was entered where there was nothing to ask before. */
static inline void
visit_leave_plain(struct tcache *t, const char *operation, const void *p, size_t given_size)
{
        struct fault noted;

        if (LIKELY(t->thread.fault.what == FAULT_NONE)) {
                tcache_leave(t);
                return;
        }
        noted = t->thread.fault;
        t->thread.fault.what = FAULT_NONE;
        tcache_leave(t);
        fault_report(t->heap, &noted, operation, p, given_size);
}

/* Around a function of the caller's, in a visit that is not borrowed: it may use the heap.  Should it have left one of
 * its calls by another door, and so this slot in the midst of that, thread->is_left says so.  Else a call for nothing
 * has begun once more: what was asked for before, the function's calls have overwritten. */
void visit_pause(struct visit *v);
void visit_resume(struct visit *v);

/* As visit_end(), on the way out of something that was thrown: reports nothing. */
void visit_drop(struct visit *v);

#endif
