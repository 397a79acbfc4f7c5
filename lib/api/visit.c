/*
 * visit.c - see visit.h.
 */
#include "api/visit.h"

#include <errno.h>

#include "base/error.h"
#include "heap/fault.h"

int
visit_begin(struct visit *v, struct shheap *h, const char *operation)
{
        int err;

        v->heap = h;
        v->tcache = NULL;
        if (!heap_is_open(h, operation))
                return -EBADF;
        if (h->is_readonly)
                return error_set(-EACCES, "%s: the heap is open read-only", operation);
        v->tcache = tcache_get(&h->process, &err);
        v->thread = v->tcache ? &v->tcache->thread : &v->borrowed;
        if (v->tcache) {
                tcache_enter(v->tcache);
                return 0;
        }
        return err == -EUSERS || err == -ENOMEM ? thread_borrow(&h->process, &v->borrowed) : err;
}

void
visit_end(struct visit *v, const char *operation)
{
        struct thread noted = *v->thread;

        v->thread->fault.what = FAULT_NONE;
        if (v->tcache)
                tcache_leave(v->tcache);
        else
                thread_return(&v->heap->process, &v->borrowed);
        if (noted.fault.what != FAULT_NONE)
                fault_report(v->heap, &noted, operation, NULL, 0);
}
