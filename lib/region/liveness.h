/*
 * liveness.h - who holds a lock of a slot, who is dead, and who we are: all evidence that slots and clients go by.
 *
 * One table of functions.  Builds with SHM_DEBUG let a test put its own notion of life and death in its place, so that
 * actors without a kernel thread (coroutines of an explorer) attach, die and reap on plain memory; in other builds the
 * table is a constant and the calls are direct.
 */
#ifndef REGION_LIVENESS_H
#define REGION_LIVENESS_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

enum lock_view {
        LOCK_FREE, /* nobody holds it */
        LOCK_DEAD, /* its holder is known to be dead */
        LOCK_MINE, /* the calling thread holds it */
        LOCK_HELD  /* somebody holds it who is not known to be dead: running, stopped, or a zombie */
};

struct liveness_self {
        uint64_t pid_ns; /* never 0 */
        uint32_t pid;
        uint32_t tid;
};

struct liveness_ops {
        /* Who is calling.  -ENOTSUP, with the message set, when its death would go unnoticed. */
        int (*identify)(struct liveness_self *ret_self);

        /* The pid namespace of the caller, as in identify(), but cheap: 0 is never given. */
        uint64_t (*pid_ns)(void);

        /* A hint, but for LOCK_MINE.  Without `ask` it is one load and tells neither LOCK_MINE nor who died unmarked from
         * LOCK_HELD; with it the kernel is asked, and the holder must be of the caller's pid namespace. */
        enum lock_view (*lock_view)(const pthread_mutex_t *lock, bool ask);

        /* 0 locked, 1 locked after its holder died, -EBUSY held by a living one.  Asks the kernel.  Makes a lock of
         * zeroed memory first.  `holder_is_dead`: the caller knows that whoever may be holding it is dead. */
        int (*lock_try)(pthread_mutex_t *lock, bool holder_is_dead);

        /* By its holder, once what it protects is settled. */
        void (*lock_release)(pthread_mutex_t *lock);

        /* True only when the process is known not to exist in the caller's pid namespace any more. */
        bool (*process_is_gone)(uint32_t pid);
};

extern const struct liveness_ops liveness_system;

#if SHM_DEBUG
extern const struct liveness_ops *liveness;
#else
#define liveness (&liveness_system)
#endif

#endif
