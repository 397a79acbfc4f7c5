/*
 * robust.h - locks that tell, through the kernel, that their holder died: in type-stable shared memory, and across pid
 * namespaces.
 *
 * Such a lock is only ever tried, never waited for.  Its memory starts as zeroes, which are a free lock, and stays a
 * lock for ever.  Its word names the holder and where that name means something: thread id and pid namespace, changed
 * together.
 */
#ifndef OS_ROBUST_H
#define OS_ROBUST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "layout/layout.h"

/* The bits of the futex word that the kernel and we agree on (linux/futex.h). */
#define ROBUST_TID_MASK   UINT32_C(0x3fffffff) /* thread id of the holder */
#define ROBUST_OWNER_DIED UINT32_C(0x40000000) /* the mark: the holder died */

/* Ours alone, and never in a word that the kernel may find in a list: whoever this names is about to ask once more
 * whether the one before is gone. */
#define ROBUST_UNSURE UINT32_C(0x80000000)

static inline uint64_t
robust_word_of(uint32_t tid, uint32_t pid_ns)
{
        return (uint64_t)pid_ns << 32 | tid;
}

static inline uint64_t
robust_word(const struct robust_lock *lock)
{
        /* Relaxed: says only whether it is worth a try, which decides. */
        return load_relaxed(&lock->word);
}

/* 0 = nobody, or nobody any more. */
static inline uint32_t
robust_word_tid(uint64_t word)
{
        return (uint32_t)word & ROBUST_TID_MASK;
}

static inline uint32_t
robust_word_pid_ns(uint64_t word)
{
        return (uint32_t)(word >> 32);
}

static inline bool
robust_word_is_free(uint64_t word)
{
        return (uint32_t)word == 0;
}

/* By somebody who is not marked as dead. */
static inline bool
robust_word_is_held(uint64_t word)
{
        return robust_word_tid(word) != 0 && ((uint32_t)word & ROBUST_OWNER_DIED) == 0;
}

/* Whether the kernel would mark the locks of the calling thread when it dies: 0.  -ENOTSUP: not in a child made by a
 * raw clone(2), nor where the C library keeps its robust mutexes at another distance from their list than x86-64's
 * does.  Else what the system says that refuses to tell; it is remembered (base/error.h). */
int robust_check(void);
int robust_check_anew(void); /* the kernel is asked, whatever it told before */

/* Takes a lock that is free, or whose holder is known to be dead, if its word still is `seen`.  The caller is thread
 * `tid` of namespace `pid_ns`. */
bool robust_take(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns);

/* The same of a lock whose holder has been found gone by its number.  Another thread may have that number by now,
 * and may have taken the lock: so the question is asked once more, `is_gone(seen, pid)`, when nobody else can take
 * it. */
bool robust_take_gone(struct robust_lock *lock, uint64_t seen, uint32_t tid, uint32_t pid_ns,
                      bool (*is_gone)(uint64_t word, uint32_t pid), uint32_t pid);

/* A stretch in which no signal handler at all runs, so that locks are taken and let go of in it without saying so each
 * time.  Short, and without system calls: one that a filter refuses with a signal would end the process.  One inside
 * another is none. */
struct robust_quiet {
        uint64_t signals; /* that were blocked before */
        bool is_quiet;    /* else there is no such stretch: a filter forbids it, or it is over */
};

void robust_quiet_begin(struct robust_quiet *ret_quiet);
void robust_quiet_end(struct robust_quiet *quiet);
bool robust_is_quiet(void);

/* By its holder, who took it with the same two numbers; does nothing to a lock that is somebody else's. */
void robust_unlock(struct robust_lock *lock, uint32_t tid, uint32_t pid_ns);

/* Before memory is unmapped: takes what lies there out of the calling thread's list, which leads nowhere else then. */
void robust_forget(const void *start, uint64_t bytes);

/* The calling thread ends, and takes and lets go of none any more, or hardly: gives memory back. */
void robust_thread_ends(void);

#endif
