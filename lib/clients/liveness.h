/*
 * liveness.h - who holds a lock of a slot, who is dead, and who we are: all evidence that slots and clients go by.
 *
 * One table of functions.  Builds with SHM_DEBUG let a test put its own notion of life and death in its place, so that
 * actors without a kernel thread (coroutines of an explorer) attach, die and reap on plain memory; in other builds the
 * table is a constant and the calls are direct.
 */
#ifndef CLIENTS_LIVENESS_H
#define CLIENTS_LIVENESS_H

#include <stdbool.h>
#include <stdint.h>

#include "layout/layout.h"
#include "os/robust.h"

enum lock_view {
        LOCK_FREE, /* nobody holds it */
        LOCK_DEAD, /* its holder is known to be dead */
        LOCK_MINE, /* the calling thread holds it */
        /* Somebody holds it who is not known to be dead: it runs, or is stopped, or its namespace is unknown. */
        LOCK_HELD
};

struct liveness_self {
        uint32_t pid_ns; /* never 0; os/process.h */
        uint32_t pid;
        uint32_t tid;
};

struct liveness_ops {
        /* Who is calling.  -ENOTSUP, with the message set, when its death would go unnoticed. */
        int (*identify)(struct liveness_self *ret_self);

        /* The pid namespace of the caller, as in identify(), but cheap. */
        uint32_t (*pid_ns)(void);

        /* A hint, but for LOCK_MINE.  Without `ask` it is one load and tells neither LOCK_MINE nor who died unmarked
         * from LOCK_HELD; with it the kernel is asked.  `pid`: the process of the lock's holder, in its own pid
         * namespace; 0 = not known. */
        enum lock_view (*lock_view)(const struct robust_lock *lock, uint32_t pid, bool ask);

        /* 0 locked, 1 locked after its holder died, -EBUSY held by one who may live.  Asks the kernel.  `pid` as above;
         * `holder_is_dead`: the caller knows that whoever may be holding it is dead. */
        int (*lock_try)(struct robust_lock *lock, uint32_t pid, bool holder_is_dead);

        /* By its holder, once what it protects is settled. */
        void (*lock_release)(struct robust_lock *lock);

        /* A stretch in which locks are taken and let go of without telling the system each time (os/robust.h).  Nobody
         * is asked about in it: a lock that somebody holds is -EBUSY. */
        void (*quiet_begin)(struct robust_quiet *ret_quiet);
        void (*quiet_end)(struct robust_quiet *quiet);

        /* True only when it is known that there is no such process in the caller's pid namespace, or a zombie. */
        bool (*process_is_gone)(uint32_t pid);
};

extern const struct liveness_ops liveness_system;

#if SHM_DEBUG
extern const struct liveness_ops *liveness;
#else
#define liveness (&liveness_system)
#endif

#endif
