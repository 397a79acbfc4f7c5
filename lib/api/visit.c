/*
 * visit.c - see visit.h.
 */
#include "api/visit.h"

#include "base/error.h"
#include "blocks/fault.h"

/* A slot that others lend: where there is none else for a free, or where whoever has the process's may be stopped. */
static int
begin(struct visit *v, struct shheap *h, const char *operation, bool is_free)
{
        int err;

        v->heap = h;
        v->tcache = NULL;
        v->thread = &v->borrowed;
        v->is_lent = false;
        if (!handle_is_open(h, operation))
                return -EBADF;
        if (h->is_readonly)
                return error_set(-EACCES, "%s: the heap is open read-only: it can be read, nothing else", operation);
        v->tcache = tcache_get(h, &err);
        if (v->tcache) {
                v->thread = &v->tcache->thread;
                tcache_enter(v->tcache);
                v->tcache->limit = tcache_limit(v->tcache); /* so that the next one may be a hit */
                err = 0;
        } else if (err == -EUSERS || err == -ENOMEM) {
                err = thread_borrow(h, &v->borrowed);
        }
        if (err == -EBUSY || (is_free && visit_is_short(err))) {
                int lend_err = thread_lend(h, &v->borrowed, &v->lent);

                v->is_lent = lend_err == 0;
                err = v->is_lent || err == -EBUSY ? lend_err : err;
        }
        if (err == 0)
                call_begin(v->thread, 0, 1, SIZE_CLASS_NONE);
        return err;
}

int
visit_begin(struct visit *v, struct shheap *h, const char *operation)
{
        return begin(v, h, operation, false);
}

int
visit_begin_to_free(struct visit *v, struct shheap *h, const char *operation)
{
        return begin(v, h, operation, true);
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
        if (v->tcache->mapped_bytes == 0 || tcache_is_left(v->tcache)) {
                v->thread->is_left = true;
                return;
        }
        tcache_enter(v->tcache);
        call_begin(v->thread, 0, 1, SIZE_CLASS_NONE);
}

void
visit_end(struct visit *v, const char *operation, const void *p, size_t given_size)
{
        struct fault noted;

        if (LIKELY(v->thread->fault.what == FAULT_NONE)) {
                visit_drop(v);
                return;
        }
        noted = v->thread->fault;
        visit_drop(v);
        fault_report(v->heap, &noted, operation, p, given_size);
}
