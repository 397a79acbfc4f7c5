/*
 * liveness.c - evidence of death as the system gives it.
 *
 * The word of a lock is read first, and tried only when nobody holds it who may live.  The kernel's mark is evidence
 * for everybody, in every pid namespace, for zombies, without /proc.  A word without a mark is judged where its number
 * means something, by threads of its holder's own namespace: nobody has that thread id any more, or the process has
 * ended.  The namespace stands in the word itself, so it is always that of the holder whom the thread id names.
 *
 * A thread id that was nobody's when it was judged may be a new thread's when the word is taken, and that thread the
 * holder: of `reap`, which any thread takes that no other lock keeps away.  So it is judged once more in between
 * (LOCK_GONE in os/robust.c).
 *
 * Namespaces are told apart by inode numbers, which are used again.  That harms nobody: the number of a living holder's
 * namespace is no other's, and where the numbers of a dead holder name another thread they say that the holder lives.
 *
 * What this gave up: a word without a mark says "held" to all but its own namespace, unless a daemon knows better
 * (slot_reap_of_dead(), doc/daemon.md), and to that, too, as long as another thread and process have the numbers.
 */
#include "clients/liveness.h"

#include <errno.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/process.h"
#include "os/robust.h"

static int
system_identify(struct liveness_self *ret_self)
{
        int err = robust_check();

        if (err < 0 && err != -ENOTSUP)
                return error_set_refused(
                        err, "cannot attach a thread: whether the kernel would tell of its death is not known");
        if (err < 0)
                return error_set(-ENOTSUP,
                                 "the kernel would not tell of the death of process %u: it was made by a raw clone(2) "
                                 "behind the C library's back, and cannot use a heap before it calls exec; or its C "
                                 "library lays robust mutexes out in a way that this library was not built for",
                                 process_id());
        *ret_self = (struct liveness_self){.pid_ns = process_pid_ns(), .pid = process_id(), .tid = process_tid()};
        ASSERT(ret_self->pid_ns != 0 && ret_self->pid != 0 && ret_self->tid != 0);
        return 0;
}

static bool
holder_is_gone(uint64_t word, uint32_t pid)
{
        ASSERT(robust_word_is_held(word));
        if (robust_word_pid_ns(word) != process_pid_ns())
                return false;
        return process_thread_is_gone(robust_word_tid(word)) || process_is_gone(pid);
}

static enum lock_view
system_lock_view(const struct robust_lock *lock, uint32_t pid, bool ask)
{
        uint64_t word = robust_word(lock);
        bool is_own;

        if (robust_word_is_free(word))
                return LOCK_FREE;
        if (!robust_word_is_held(word))
                return LOCK_DEAD;
        if (!ask)
                return LOCK_HELD;
        is_own = word == robust_word_of(process_tid(), process_pid_ns()); /* or a dead one's who had the same numbers */
        if (!(is_own && pid == 0) && holder_is_gone(word, pid))
                return LOCK_DEAD;
        return is_own ? LOCK_MINE : LOCK_HELD;
}

static int
system_lock_try(struct robust_lock *lock, uint32_t pid, bool holder_is_dead)
{
        uint64_t word = robust_word(lock);
        bool by_number = robust_word_is_held(word) && !holder_is_dead;

        if (by_number && (robust_is_quiet() || !holder_is_gone(word, pid)))
                return -EBUSY;
        if (!robust_take_gone(lock, word, process_tid(), process_pid_ns(), by_number ? holder_is_gone : NULL, pid))
                return -EBUSY;
        return robust_word_is_free(word) ? 0 : 1;
}

static void
system_lock_release(struct robust_lock *lock)
{
        robust_unlock(lock, process_tid(), process_pid_ns());
}

const struct liveness_ops liveness_system = {
        .identify = system_identify,
        .pid_ns = process_pid_ns,
        .lock_view = system_lock_view,
        .lock_try = system_lock_try,
        .lock_release = system_lock_release,
        .quiet_begin = robust_quiet_begin,
        .quiet_end = robust_quiet_end,
        .process_is_gone = process_is_gone,
};

#if SHM_DEBUG
const struct liveness_ops *liveness = &liveness_system;
#endif
