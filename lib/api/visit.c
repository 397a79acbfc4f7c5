/*
 * visit.c - see visit.h.
 */
#include "api/visit.h"

#include <errno.h>

#include "base/error.h"
#include "blocks/fault.h"

int
visit_begin(struct visit *v, struct shheap *h, const char *operation)
{
        int err;

        v->heap = h;
        v->tcache = NULL;
        v->is_lent = false;
        if (!heap_is_open(h, operation))
                return -EBADF;
        if (h->is_readonly)
                return error_set(-EACCES, "%s: the heap is open read-only", operation);
        v->tcache = tcache_get(h, &err);
        v->thread = v->tcache ? &v->tcache->thread : &v->borrowed;
        if (v->tcache) {
                tcache_enter(v->tcache);
                return 0;
        }
        if (err == -EUSERS || err == -ENOMEM)
                err = thread_borrow(h, &v->borrowed);
        if (err == -EBUSY) { /* as in heap_enter() */
                err = thread_lend(h, &v->borrowed, &v->lent);
                v->is_lent = err == 0;
        }
        return err;
}

void
visit_drop(struct visit *v)
{
        v->thread->fault.what = FAULT_NONE;
        if (v->is_lent)
                thread_give_back(v->heap, &v->borrowed, &v->lent);
        else if (!v->tcache)
                thread_return(v->heap, &v->borrowed);
        else if (!v->thread->is_left)
                tcache_leave(v->tcache);
}

void
visit_pause(struct visit *v)
{
        v->tcache->n_called++;
        tcache_leave(v->tcache);
}

void
visit_resume(struct visit *v)
{
        if (v->tcache->mapped_bytes != 0) /* 0: wiped, in the child of a fork */
                v->tcache->n_called--;
        if (v->tcache->mapped_bytes == 0 || tcache_is_left(v->tcache))
                v->thread->is_left = true;
        else
                tcache_enter(v->tcache);
}

void
visit_end(struct visit *v, const char *operation)
{
        struct thread noted = *v->thread;

        visit_drop(v);
        if (noted.fault.what != FAULT_NONE)
                fault_report(v->heap, &noted, operation, NULL, 0);
}
