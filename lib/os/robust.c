/*
 * robust.c - the kernel's list of robust futexes, used without the C library's mutexes.
 *
 * Each thread has a list of the locks that it holds, which the kernel walks when the thread dies: where a futex word is
 * the dead thread's id, it is replaced by a mark.  The C library registers the list and keeps its robust mutexes in it;
 * we link our locks into the same list (Documentation/robust-futex-ABI in the kernel's sources), as entries that look
 * like its own: its neighbours' links go through ours, and ours through theirs.
 *
 * Why not the C library's mutexes: they also announce, in `list_op_pending`, the lock that is being taken or let go of,
 * and the kernel marks that one, too, if its word is the dead thread's id.  But ids are those of the thread's own pid
 * namespace.  A thread that is number 5 there and dies about to take a lock that number 5 of another namespace has just
 * got would leave a living holder marked as dead.  What is only in the list cannot be confused: an entry is linked
 * after its word has become ours, and unlinked before it ceases to be.
 *
 * LOCK                                  a death after it leaves
 *   .1 word: what was seen -> ours      a lock that is held and will not be marked
 *   .2 linked                           a lock that the kernel marks
 * UNLOCK
 *   .1 unlinked                         as LOCK.1
 *   .2 word -> 0                        a free lock
 * LOCK_GONE (of a holder that is gone, by its number)
 *   .1 word: what was seen -> ours, unsure
 *                                       as LOCK.1
 *   .2 asked once more: if it is there, word: ours, unsure -> what was seen
 *                                       as before
 *   .3 word: ours, unsure -> ours       as LOCK.1
 *   .4 linked                           as LOCK.2
 *
 * LOCK_GONE, because a number is given again.  Between the question and .1 others may settle what the dead left, and a
 * new thread of the same number may take the lock: .1 finds the very word that was judged.  But then that thread is
 * there at .2, or has died since.  It may let go meanwhile: UNLOCK.2 of a thread that has the lock in its list also
 * frees it while somebody is unsure of it, whose next step fails then.  Until then the links are that thread's own.
 *
 * Between .1 and .2 there is no system call, and no signal handler runs, be it that signals are blocked for these two
 * steps or for a quiet stretch around them: one that jumped out or took a lock itself would leave the list as it must
 * not be.  What a SIGKILL there leaves is judged like every other word without a mark: by its thread id where that
 * means something, by what a daemon knows elsewhere (clients/liveness.h).  Nor is anything marked where the address
 * space went first (the OOM reaper, process_mrelease), where the list leads through memory that is not mapped any more,
 * or when another thread than the first of its process calls exec.
 *
 * The links are in shared memory, where others may damage them, and only the kernel reads them: it takes them for what
 * they are, and ends its walk where they lead nowhere.  The thread knows from memory of its own what it holds and in
 * which order.  `prev` is there for the C library, which writes it in its neighbours, and never reads it in ours.
 *
 * What this gave up: who is killed between LOCK_GONE.1 and .2 while the holder lives after all takes the lock from it;
 * that takes a number given again and a kill, within a few instructions each.  And the C library's own checks; at most
 * 2,048 locks per thread are walked at its death, so one that holds as many of the C library's gets none of ours; and
 * where links or words are damaged, a dead thread's locks may not be marked.
 */
#include "os/robust.h"

#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/process.h"
#include "os/shm.h"

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

enum {
        ROBUST_WALK_MAX = 2048, /* as the kernel has it */
        KERNEL_SIGSET_BYTES = 8,
        UNLOCK_TRIES_MAX = 64,
        HELD_FEW = 4, /* one for each heap, as long as the thread is attached, and two while it settles a slot */
        HELD_MORE_BYTES = 16384,
        HELD_MAX = HELD_FEW + HELD_MORE_BYTES / sizeof(void *)
};

#define LINK_IS_PI UINT64_C(1) /* in a link: what it leads to is a priority-inheriting mutex */

/* ------------------------------------------------------------------ the calling thread's list */

/*
 * Ours stand together behind all of the C library's, which puts its own in front, so they need no link of its, and no
 * link of ours is ever read: what lies in a region may be damaged.  `lock` has them as they stand in the list, the
 * first one last.
 *
 * Behind them may stand those of another copy of the library (dlopen(3)), of which this one knows nothing.  So the last
 * of ours is an entry that is no lock, in memory of our own: whoever stands behind it, its link leads there.  Its words
 * are where a lock has them, with others of ours in between: plugins get little of this memory.
 * Those in front are passed by their links, as the C library's mutexes are.
 */
static __thread struct held {
        uint64_t tail_word;            /* 0: free, to the kernel */
        struct robust_list_head *head; /* as the kernel told for the last lock: letting go of it may not fail */
        uint64_t *first;               /* its `next`; NULL = none of ours is in the list, nor the tail */
        uint64_t tail_prev, tail_next;
        uint64_t *others; /* the first of those that are in there, and not known any more; NULL = none */
        uint32_t n;
        uint32_t generation;                /* of the process (os/process.h), when the kernel told; 0: ask again */
        struct robust_lock *lock[HELD_FEW]; /* the oldest, */
        struct robust_lock **more;          /* and the others, where a thread has many; NULL = not needed so far */
        bool is_quiet;                      /* robust_quiet_begin() */
} held __attribute__((tls_model("initial-exec")));

_Static_assert((long)offsetof(struct held, tail_word) - (long)offsetof(struct held, tail_next) == ROBUST_DISTANCE &&
                       offsetof(struct held, tail_next) == offsetof(struct held, tail_prev) + sizeof(uint64_t),
               "the tail is a lock to the kernel and the C library");

static struct robust_lock **
held_at(uint32_t i)
{
        ASSERT(i < HELD_MAX && (i < HELD_FEW || held.more != NULL));
        return i < HELD_FEW ? &held.lock[i] : &held.more[i - HELD_FEW];
}

/* Its place, or held.n. */
static uint32_t
held_find(const struct robust_lock *lock)
{
        uint32_t i = 0;

        while (i < held.n && *held_at(i) != lock)
                i++;
        ASSERT(i <= held.n);
        return i;
}

/* For one more. */
static bool
held_has_room(void)
{
        void *more = NULL;

        if (held.n < HELD_FEW || (held.more && held.n < HELD_MAX))
                return true;
        if (held.more || os_map_private(HELD_MORE_BYTES, true, &more) < 0)
                return false;
        held.more = more;
        return true;
}

static void
held_set(uint32_t n)
{
        ASSERT(n <= HELD_MAX);
        held.n = n;
        held.first = n > 0 ? &(*held_at(n - 1))->next : held.others;
}

/* NULL, and *ret_err: a filter refuses to tell, or there is none that our locks fit into. */
static struct robust_list_head *
find_list(int *ret_err)
{
        struct robust_list_head *head;
        void *found;

        *ret_err = 0;
        if (held.head && held.generation != 0 && held.generation == process_generation())
                return held.head;
        *ret_err = process_ask_list(&found);
        head = found;
        if (*ret_err < 0)
                error_refused("get_robust_list", *ret_err);
        else if (!head || head->futex_offset != ROBUST_DISTANCE)
                *ret_err = -ENOTSUP;
        if (*ret_err < 0)
                return NULL;
        held.head = head;
        held.generation = process_generation();
        return head;
}

static struct robust_list_head *
own_list(void)
{
        int err;

        return find_list(&err);
}

int
robust_check_anew(void)
{
        ASSERT(!held.is_quiet);
        held.generation = 0;
        return robust_check();
}

int
robust_check(void)
{
        int err;

        (void)find_list(&err);
        return err;
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

void
robust_quiet_begin(struct robust_quiet *ret_quiet)
{
        bool is_known = held.generation != 0 && held.generation == process_generation(); /* nobody is to be asked */

        ret_quiet->is_quiet =
                !held.is_quiet && is_known && held.n + 2 <= HELD_FEW && signals_block(&ret_quiet->signals);
        held.is_quiet |= ret_quiet->is_quiet;
}

void
robust_quiet_end(struct robust_quiet *quiet)
{
        if (!quiet->is_quiet)
                return;
        ASSERT(held.is_quiet && held.n <= HELD_FEW);
        quiet->is_quiet = false;
        held.is_quiet = false;
        signals_restore(&quiet->signals, true);
}

bool
robust_is_quiet(void)
{
        return held.is_quiet;
}

/* Links are loaded and stored relaxed: nobody else reads them, and the kernel's walk is behind all of them. */
static uint64_t *
link_at(uint64_t link)
{
        return (uint64_t *)(uintptr_t)(link & ~LINK_IS_PI);
}

/* Where the list begins, and what its last link leads to. */
static uint64_t *
list_end(void)
{
        ASSERT(held.head != NULL && held.head->futex_offset == ROBUST_DISTANCE);
        return (uint64_t *)(void *)&held.head->list.next;
}

/* The link that leads to the first of ours, or to the end where there is none: the list's head, or one of the C
 * library's.  NULL: more of those than the kernel follows. */
static uint64_t *
link_to_ours(void)
{
        uint64_t *at = list_end();

        for (int n = 0; n < ROBUST_WALK_MAX; n++) {
                uint64_t *entry = link_at(load_relaxed(at));

                if (entry == held.first)
                        return at;
                if (entry == list_end()) { /* the C library has emptied it, for a new process */
                        held.others = NULL;
                        held_set(0);
                        return at;
                }
                at = entry;
        }
        return NULL;
}

/* An entry, by its `next`, between two links that lead to each other. */
static void
insert(uint64_t *at, uint64_t *next, uint64_t *entry)
{
        store_relaxed(entry, (uint64_t)(uintptr_t)next);
        store_relaxed(entry - 1, (uint64_t)(uintptr_t)at);
        if (next != list_end())
                store_relaxed(next - 1, (uint64_t)(uintptr_t)entry);
        kill_order();
        store_relaxed(at, (uint64_t)(uintptr_t)entry);
        kill_order();
}

static void
link_in(uint64_t *at, struct robust_lock *lock)
{
        if (!held.first)
                insert(at, list_end(), &held.tail_next);
        insert(at, held.first ? held.first : &held.tail_next, &lock->next); /* LOCK.2 */
        *held_at(held.n) = lock;
        held_set(held.n + 1);
}

/* False: it is not there. */
static bool
link_out(const struct robust_lock *lock)
{
        uint64_t *at = held.n > 0 ? link_to_ours() : NULL, *next, link;
        uint32_t i = held_find(lock);

        if (!at || i == held.n)
                return false;
        if (i + 1 < held.n)
                at = &(*held_at(i + 1))->next;
        next = i > 0 ? &(*held_at(i - 1))->next : held.others ? held.others : &held.tail_next;
        link = (uint64_t)(uintptr_t)next;
        if (held.n == 1 && !held.others) /* the last one: with the tail */
                link = load_relaxed(&held.tail_next);
        next = link_at(link);
        store_relaxed(at, link); /* UNLOCK.1 */
        kill_order();
        if (next != list_end())
                store_relaxed(next - 1, (uint64_t)(uintptr_t)at);
        for (; i + 1 < held.n; i++)
                *held_at(i) = *held_at(i + 1);
        held_set(held.n - 1);
        return true;
}

/* ------------------------------------------------------------------ the lock */

/* LOCK_GONE.2, .3.  Nothing was done under the lock so far, so there is no order to keep.  A CAS fails where the holder
 * lived, and has let go. */
static bool
make_sure(struct robust_lock *lock, uint64_t seen, uint64_t own, bool is_gone)
{
        uint64_t unsure = own | ROBUST_UNSURE;

        return cas_relaxed(&lock->word, &unsure, is_gone ? own : seen) && is_gone;
}

bool
robust_take_gone(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns,
                 bool (*is_gone)(uint64_t word, uint32_t pid), uint32_t pid)
{
        uint64_t *at, old, own = robust_word_of(tid, pid_ns), judged = seen;
        struct robust_list_head *head = own_list();
        bool is_ours, is_blocked;

        if (!head || robust_word(lock) != seen || !held_has_room())
                return false;
        is_blocked = !held.is_quiet && signals_block(&old);
        at = link_to_ours();
        /* One that is in the list already has lost its word to somebody who damages it.  E16.acq: what the last holder
         * did, who let go or is dead.  One try: who fails has been overtaken. */
        is_ours = at && held_find(lock) == held.n &&
                  cas_acquire(&lock->word, &seen, is_gone ? own | ROBUST_UNSURE : own); /* LOCK.1, LOCK_GONE.1 */
        kill_order();
        if (is_ours && is_gone)
                is_ours = make_sure(lock, judged, own, is_gone(judged, pid));
        kill_order();
        if (is_ours)
                link_in(at, lock); /* LOCK.2, LOCK_GONE.4 */
        signals_restore(&old, is_blocked);
        return is_ours;
}

bool
robust_take(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns)
{
        return robust_take_gone(lock, seen, tid, pid_ns, NULL, 0);
}

/* Whether a lock that stood in this thread's list, or did not, is its own to free. */
static bool
is_to_free(uint64_t word, uint32_t tid, uint32_t pid_ns, bool is_linked)
{
        ASSERT(tid != 0);
        return is_linked ? robust_word_tid(word) == tid || (word & ROBUST_UNSURE) != 0
                         : word == robust_word_of(tid, pid_ns);
}

/* What stands in the list of this thread is its own, whatever has become of the word: it must not stay there. */
void
robust_unlock(struct robust_lock *lock, uint32_t tid, uint32_t pid_ns)
{
        bool is_blocked, is_linked;
        uint64_t old, word;

        ASSERT(tid != 0 && (tid & ~ROBUST_TID_MASK) == 0);
        is_blocked = !held.is_quiet && signals_block(&old);
        is_linked = link_out(lock);
        kill_order();
        word = robust_word(lock);
        /* E16.rel: what was done under the lock.  A try fails where somebody becomes unsure, or sure, of this thread:
         * of those who judged another one of its number; or where the word is damaged just now. */
        for (int n = 0; n < UNLOCK_TRIES_MAX && is_to_free(word, tid, pid_ns, is_linked); n++)
                if (cas_release(&lock->word, &word, UINT64_C(0))) /* UNLOCK.2 */
                        break;
        signals_restore(&old, is_blocked);
}

/* Mutexes of the program that it keeps there, and holds: the C library follows their links at each lock and unlock, so
 * they have to be sound already. */
static void
forget_others(const void *start, uint64_t bytes)
{
        uint64_t *at = list_end();

        for (int n = 0; n < ROBUST_WALK_MAX; n++) {
                uint64_t link = load_relaxed(at), *entry = link_at(link), *next;

                if (entry == list_end() || entry == held.first)
                        return;
                if ((uintptr_t)entry - (uintptr_t)start >= bytes) {
                        at = entry;
                        continue;
                }
                link = load_relaxed(entry);
                next = link_at(link);
                store_relaxed(at, link);
                if (next != list_end())
                        store_relaxed(next - 1, (uint64_t)(uintptr_t)at);
        }
}

/* What is left there of ours is a lock that the thread jumped out with while it settled the dead. */
void
robust_forget(const void *start, uint64_t bytes)
{
        struct robust_list_head *head = own_list();
        bool is_blocked;
        uint64_t old;

        if (!head)
                return;
        is_blocked = !held.is_quiet && signals_block(&old);
        for (uint32_t i = held.n; i-- > 0 && i < held.n;)
                if ((uintptr_t)*held_at(i) - (uintptr_t)start < bytes)
                        link_out(*held_at(i));
        forget_others(start, bytes);
        signals_restore(&old, is_blocked);
}

/* What it still holds stays in the list, for the kernel. */
void
robust_thread_ends(void)
{
        struct robust_lock **more = held.more;

        if (!more)
                return;
        held.others = held.first;
        held.n = 0;
        held.more = NULL;
        os_unmap(more, HELD_MORE_BYTES);
}
