/*
 * liveness.c - evidence of death as the system gives it.
 *
 * A lock's word is read first and the lock is tried only when the word is 0 or marked.  A word that names a thread id
 * which nobody has is marked here, as the kernel would have done (os/robust.c tells when it does not).  Nothing but the
 * mark and ESRCH is evidence, so nobody who is slow, stopped or being debugged is ever taken for dead.
 */
#include "region/liveness.h"

#include <errno.h>

#include "base/error.h"
#include "os/process.h"
#include "os/robust.h"

static int
system_identify(struct liveness_self *ret_self)
{
        if (!process_has_robust_list() || !process_tid_is_cached())
                return error_set(-ENOTSUP,
                                 "process %u was made by a raw clone(2) behind the C library's back, so its death "
                                 "would go unnoticed: it cannot use a heap before it calls exec",
                                 process_id());
        *ret_self = (struct liveness_self){.pid_ns = process_pid_ns(), .pid = process_id(), .tid = process_tid()};
        return 0;
}

static bool
word_is_held(uint32_t word)
{
        return word != 0 && (word & ROBUST_OWNER_DIED) == 0;
}

static enum lock_view
system_lock_view(const pthread_mutex_t *lock, bool ask)
{
        uint32_t word = robust_word(lock);

        if (word == 0)
                return LOCK_FREE;
        if (!word_is_held(word))
                return LOCK_DEAD;
        if (!ask)
                return LOCK_HELD;
        if ((word & ROBUST_TID_MASK) == process_tid())
                return LOCK_MINE;
        return process_thread_is_gone(word & ROBUST_TID_MASK) ? LOCK_DEAD : LOCK_HELD;
}

static int
system_lock_try(pthread_mutex_t *lock, bool holder_is_dead)
{
        uint32_t word;

        robust_init(lock);
        word = robust_word(lock);
        if (word_is_held(word) && !(holder_is_dead ? robust_mark(lock, word) : robust_mark_dead(lock, word)))
                return -EBUSY;
        return robust_trylock(lock);
}

static void
system_lock_release(pthread_mutex_t *lock)
{
        robust_recover(lock);
        robust_unlock(lock);
}

const struct liveness_ops liveness_system = {
        .identify = system_identify,
        .pid_ns = process_pid_ns,
        .lock_view = system_lock_view,
        .lock_try = system_lock_try,
        .lock_release = system_lock_release,
        .process_is_gone = process_is_gone,
};

#if SHM_DEBUG
const struct liveness_ops *liveness = &liveness_system;
#endif
