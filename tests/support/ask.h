/*
 * ask.h - asking for memory below the API, in one line.
 */
#ifndef SUPPORT_ASK_H
#define SUPPORT_ASK_H

#include <errno.h>

#include "base/size_class.h"
#include "heap/find.h"
#include "tcache/tcache.h"

/* Fills in the class of what is asked for.  False: it can never be had. */
static inline bool
ask_classify(struct call *asked)
{
        return size_class_for(asked->size, asked->align, &asked->class_idx);
}

/* As find_block(). */
static inline int
ask_block(struct thread *t, const struct call *asked, uint64_t *ret_block_off)
{
        int err;

        t->call = *asked;
        err = find_block(t);
        *ret_block_off = t->call.found_off;
        return err;
}

/* As find_magazine(). */
static inline int
ask_magazine(struct thread *t, const struct call *asked, uint32_t empty_idx, uint32_t *ret_magazine,
             uint64_t *ret_block_off)
{
        int err;

        t->call = *asked;
        err = find_magazine(t, empty_idx);
        *ret_magazine = t->call.found_idx;
        *ret_block_off = t->call.found_off;
        return err;
}

/* As tcache_malloc_slow(). */
static inline void *
ask_tcache(struct tcache *t, uint64_t size)
{
        uint32_t class_idx;

        if (!size_class_for(size, 1, &class_idx)) {
                errno = ENOMEM;
                return NULL;
        }
        call_begin(&t->thread, size, 1, class_idx);
        return tcache_malloc_slow(t);
}

#endif
