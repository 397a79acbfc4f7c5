/*
 * robust.c - the kernel's list of robust futexes, used without the C library's mutexes.
 *
 * Each thread has a list of the locks that it holds, which the kernel walks when the thread dies: where a futex word is
 * the dead thread's id, it is replaced by a mark.  The C library registers the list and keeps its robust mutexes in it;
 * we link our locks into the same list (Documentation/robust-futex-ABI in the kernel's sources), as entries that look like
 * its own: its neighbours' links go through ours, and ours through theirs.
 *
 * Why not the C library's mutexes: they also announce, in `list_op_pending`, the lock that is being taken or let go of, and
 * the kernel marks that one, too, if its word is the dead thread's id.  But ids are those of the thread's own pid
 * namespace.  A thread that is number 5 there and dies about to take a lock that number 5 of another namespace has just got
 * would leave a living holder marked as dead.  What is only in the list cannot be confused: an entry is linked after its
 * word has become ours, and unlinked before it ceases to be.
 *
 * TAKE                                  a death after it leaves
 *   .1 word: what was seen -> ours      a lock that is held and will not be marked
 *   .2 linked                           a lock that the kernel marks
 * UNLOCK
 *   .1 unlinked                         as TAKE.1
 *   .2 word -> 0                        a free lock
 *
 * Between .1 and .2 there is no system call, and no signal handler runs: one that jumped out or took a lock itself would
 * leave the list as it must not be.  What a SIGKILL there leaves is judged like every other word without a mark: by its
 * thread id where that means something, by what a daemon knows elsewhere (region/liveness.h).  Nor is anything marked where
 * the address space went first (the OOM reaper, process_mrelease), where the list leads through memory that is not mapped
 * any more, or when another thread than the first of its process calls exec.
 *
 * The links are in shared memory, but only the holder's process reads them, and the kernel for it.  `prev` is there for
 * the C library alone, which writes it in its neighbours; we find what points to an entry by walking from the list's head.
 *
 * What this gave up: the C library's own checks; and at most 2,048 locks per thread are walked at its death.
 */
#include "os/robust.h"

#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

_Static_assert(ROBUST_TID_MASK == FUTEX_TID_MASK, "as the kernel has it");
_Static_assert(ROBUST_OWNER_DIED == FUTEX_OWNER_DIED, "as the kernel has it");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "the futex word is the lower half of the lock's word");
_Static_assert(offsetof(struct robust_lock, next) == offsetof(struct robust_lock, prev) + sizeof(uint64_t),
               "the C library finds prev before next");
_Static_assert(sizeof(void *) == sizeof(uint64_t), "links are addresses");

/* From a list entry to its futex word: one number for all entries of a thread, so ours must be the C library's. */
#define ROBUST_DISTANCE ((long)offsetof(struct robust_lock, word) - (long)offsetof(struct robust_lock, next))

_Static_assert(ROBUST_DISTANCE == (long)offsetof(pthread_mutex_t, __data.__lock) -
                                          (long)offsetof(pthread_mutex_t, __data.__list.__next),
               "a lock is a mutex to the kernel");

enum { ROBUST_WALK_MAX = 2048, KERNEL_SIGSET_BYTES = 8 };

#define LINK_IS_PI UINT64_C(1) /* in a link: what it leads to is a priority-inheriting mutex */

/* ------------------------------------------------------------------ the calling thread's list */

/* As the kernel told when this thread took its last lock: it is needed to let go of it, and then nothing may fail. */
static __thread struct robust_list_head *list_known __attribute__((tls_model("initial-exec")));

/* NULL where there is none that our locks fit into. */
static struct robust_list_head *
own_list(void)
{
        struct robust_list_head *head = NULL;
        size_t bytes;

        if (syscall(SYS_get_robust_list, 0, &head, &bytes) != 0 || !head || head->futex_offset != ROBUST_DISTANCE)
                return NULL;
        return head;
}

bool
robust_is_possible(void)
{
        return own_list() != NULL;
}

/* All signals, also those that the C library keeps for itself.  False: a filter forbids it, and nothing has changed. */
static bool
signals_block(uint64_t *ret_old)
{
        uint64_t all = UINT64_MAX;

        return syscall(SYS_rt_sigprocmask, SIG_BLOCK, &all, ret_old, KERNEL_SIGSET_BYTES) == 0;
}

static void
signals_restore(const uint64_t *old, bool is_blocked)
{
        if (is_blocked)
                syscall(SYS_rt_sigprocmask, SIG_SETMASK, old, NULL, KERNEL_SIGSET_BYTES);
}

/* Links are loaded and stored relaxed: nobody else reads them, and the kernel's walk is behind all of them. */
static uint64_t *
link_at(uint64_t link)
{
        return (uint64_t *)(uintptr_t)(link & ~LINK_IS_PI);
}

static void
link_in(struct robust_list_head *head, struct robust_lock *lock)
{
        uint64_t *first = (uint64_t *)(void *)&head->list.next;
        uint64_t next = load_relaxed(first);

        store_relaxed(&lock->next, next);
        store_relaxed(&lock->prev, (uint64_t)(uintptr_t)first);
        if (link_at(next) != first)
                store_relaxed(link_at(next) - 1, (uint64_t)(uintptr_t)&lock->next);
        kill_order();
        store_relaxed(first, (uint64_t)(uintptr_t)&lock->next); /* TAKE.2 */
        kill_order();
}

/* False: it is not there.  It was never linked, or the C library has emptied the list for a new process. */
static bool
link_out(struct robust_list_head *head, struct robust_lock *lock)
{
        uint64_t *first = (uint64_t *)(void *)&head->list.next, *at = first;

        for (int n = 0; n < ROBUST_WALK_MAX && link_at(load_relaxed(at)) != first; n++) {
                uint64_t next;

                if (link_at(load_relaxed(at)) != &lock->next) {
                        at = link_at(load_relaxed(at));
                        continue;
                }
                next = load_relaxed(&lock->next);
                store_relaxed(at, next); /* UNLOCK.1 */
                kill_order();
                if (link_at(next) != first)
                        store_relaxed(link_at(next) - 1, (uint64_t)(uintptr_t)at);
                return true;
        }
        return false;
}

/* ------------------------------------------------------------------ the lock */

bool
robust_take(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns)
{
        struct robust_list_head *head = own_list();
        bool is_ours, is_blocked;
        uint64_t old;

        if (!head || robust_word(lock) != seen)
                return false;
        list_known = head;
        is_blocked = signals_block(&old);
        /* E16.acq: what the last holder did, who let go or is dead.  One try: who fails has been overtaken. */
        is_ours = cas_acquire(&lock->word, &seen, robust_word_of(tid, pid_ns)); /* TAKE.1 */
        kill_order();
        if (is_ours)
                link_in(head, lock);
        signals_restore(&old, is_blocked);
        return is_ours;
}

/* What stands in the list of this thread is its own, whatever has become of the word: it must not stay there. */
void
robust_unlock(struct robust_lock *lock, uint32_t tid, uint32_t pid_ns)
{
        bool is_blocked, is_linked;
        uint64_t old, word;

        is_blocked = signals_block(&old);
        is_linked = list_known && link_out(list_known, lock);
        kill_order();
        word = robust_word(lock);
        /* E16.rel: what was done under the lock.  It fails only where the word is damaged just now. */
        if (is_linked ? robust_word_tid(word) == tid : word == robust_word_of(tid, pid_ns))
                cas_release(&lock->word, &word, UINT64_C(0)); /* UNLOCK.2 */
        signals_restore(&old, is_blocked);
}

/* What is left there is a lock that the thread jumped out with while it settled the dead. */
void
robust_forget(const void *start, uint64_t bytes)
{
        struct robust_list_head *head = own_list();
        uint64_t *first, *at, old;
        bool is_blocked;

        if (!head)
                return;
        first = at = (uint64_t *)(void *)&head->list.next;
        is_blocked = signals_block(&old);
        for (int n = 0; n < ROBUST_WALK_MAX && link_at(load_relaxed(at)) != first; n++) {
                uint64_t *entry = link_at(load_relaxed(at)), next;

                if ((uintptr_t)entry - (uintptr_t)start >= bytes) {
                        at = entry;
                        continue;
                }
                next = load_relaxed(entry);
                store_relaxed(at, next);
                kill_order();
                if (link_at(next) != first)
                        store_relaxed(link_at(next) - 1, (uint64_t)(uintptr_t)at);
        }
        signals_restore(&old, is_blocked);
}
