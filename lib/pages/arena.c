/*
 * arena.c - see arena.h.
 *
 * Initialising is owned by nobody: each thread that finds the arena not ready backs its memory itself (backing is
 * idempotent) and stores READY; zeroed memory is a valid arena, so there is nothing else to do.
 */
#include "pages/arena.h"

#include <errno.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/binding.h"
#include "clients/owned.h"
#include "region/dump.h"

int
arena_init(struct region *r, uint32_t arena)
{
        int err;

        if (arena >= r->layout.n_arenas)
                return -EINVAL;
        if (region_arena(r, arena))
                return 0;
        err = region_reserve_table(r, TABLE_ARENAS, arena, 1);
        if (err == 0)
                store_release(&r->arena_words[arena], (uint32_t)ARENA_READY); /* E2.rel: its memory is backed */
        dump_follow(r);
        return err;
}

int
arena_bind(struct thread *t, uint32_t node)
{
        struct region *r = t->region;
        int err = binding_choose(t, node);

        ASSERT(r->layout.n_arenas > 0 && r->layout.n_arenas % r->n_nodes == 0);
        if (err == 0)
                err = arena_init(r, t->arena);
        for (uint32_t i = 0; (err == -ENOMEM || err == -ENOSPC) && i < r->layout.n_arenas; i++) {
                uint32_t arena = (t->arena + i) % r->layout.n_arenas;

                if (arena_init(r, arena) == 0) {
                        binding_set(t, arena);
                        ASSERT_INVARIANT(I19, thread_is_valid(t));
                        return 0;
                }
        }
        return err == -ENOSPC || err == -ENOMEM
                       ? error_set_refused(-ENOMEM, "cannot attach a thread: no memory for an arena")
                       : err;
}
