/*
 * slot.pml - thread slots: attach, detach, release, reap, and the slot's next owner (lib/clients/slot.c).
 *
 * Processes attach to slots, own a thing through them, let go of it, detach or release, attach again, end, and reap
 * each other at any time; reapers halt like everybody else and are reaped in their turn, to any depth that HALTS
 * allows.  The step names are those at the top of lib/clients/slot.c.
 *
 * A thing is owned by a slot's number, as owner words name threads, so this model is about whom a number stands for:
 * nobody settles what a living thread owns, an empty slot owns nothing, and no slot is lost.
 *
 * With FIRST=1 slot 0 is the reserve slot of process 1, which borrows it, returns it, and gives it up at last.
 *
 * Locks are robust mutexes: a lock whose holder has halted may be found dead (marked by the kernel, or its thread id is
 * nobody's) or still held (not marked yet, or the holder is only stopped).  With STOPS=1 all that halt are stopped, and
 * nobody finds them dead before the survivor: so who waited for a lock would wait for ever, and be seen.
 *
 * may: 1 attach, work, detach, release, 2 reap, 4 borrow, return, unreserve
 * sizes: HALTS=2 STOPS=0 FIRST=0 MAY_1=3 OPS_1=2 MAY_2=3 OPS_2=1 MAY_3=3 OPS_3=1
 * sizes: HALTS=2 STOPS=0 FIRST=0 MAY_1=3 OPS_1=3 MAY_2=3 OPS_2=2 MAY_3=3 OPS_3=0
 * sizes: HALTS=2 STOPS=0 FIRST=1 MAY_1=4 OPS_1=4 MAY_2=2 OPS_2=2 MAY_3=3 OPS_3=1
 * sizes: HALTS=1 STOPS=1 FIRST=1 MAY_1=6 OPS_1=2 MAY_2=3 OPS_2=2 MAY_3=1 OPS_3=1
 * large: HALTS=2 STOPS=1 FIRST=1 MAY_1=7 OPS_1=2 MAY_2=3 OPS_2=2 MAY_3=3 OPS_3=1
 * large: HALTS=3 STOPS=0 FIRST=0 MAY_1=3 OPS_1=2 MAY_2=3 OPS_2=2 MAY_3=3 OPS_3=1
 *
 * mutant: attach_does_not_look_again   ATTACH.2 trusts what it saw before ATTACH.1
 * mutant: reap_by_life_alone           REAP without REAP.1
 * mutant: lock_waited_for 4            ATTACH.1, BORROW.1 and REAP.1 wait where they find the lock held
 * mutant: slot_emptied_after_unlock    REAP.4 and .5 behind REAP.6 and .7
 * mutant: reserve_not_kept 3           a reserve slot between two uses is taken for a dead thread's
 */
#define ATTACH  1
#define REAP    2
#define BORROW  4

#define PROCS 3
#define SLOTS 2
#define OWN_SLOTS
#include "common.pml"

#define USED    1
#define RESERVE 2

byte life[SLOTS];    /* the thread that holds it, 0 = free */
byte reap[SLOTS];    /* likewise */
bit state[SLOTS];    /* 1 = in use */
byte binding[SLOTS]; /* USED, RESERVE or 0; with state the slot is empty when both are 0 */
byte os_pid[SLOTS];  /* the process that the slot speaks for */
bit owned[SLOTS];    /* things whose owner word names the slot's number */
bit ended[PROCS + 2];

/* What the processes believe; nobody reads it but assertions. */
byte user[SLOTS];

#define GONE(p)     ((halted[p] && (!STOPS || t == SURVIVOR)) || ended[p])
#define IS_EMPTY(s) (binding[s] == 0 && state[s] == 0)

/* liveness->lock_try(): 0, 1 (its holder is dead), BUSY */
inline lock_try(lock)
{
        if
        :: d_step { lock == 0 -> lock = t; got = 0 }
        :: d_step { lock != 0 && GONE(lock) -> lock = t; got = 1 }
#ifndef MUTATION_lock_waited_for
        :: d_step { lock != 0 && !(t == SURVIVOR && GONE(lock)) -> got = BUSY }
#endif
        :: HALT
        fi
}

inline lock_release(lock)
{
        STEP(assert(lock == t); lock = 0)
}

/* liveness->process_is_gone(): ESRCH is certain, everything else says nothing */
inline process_is_gone(p)
{
        if
        :: d_step { GONE(p) -> is_gone = 1 }
        :: d_step { !(t == SURVIVOR && GONE(p)) -> is_gone = 0 }
        :: HALT
        fi
}

/* The caller holds `reap`, so whoever holds `life` is the slot's thread, or dead. */
inline slot_lock_life(s)
{
        lock_try(life[s]);
        if
        :: got == BUSY ->
                process_is_gone(os_pid[s]);
                if
                :: is_gone -> /* marks the lock, whoever holds it */
                        STEP(assert(life[s] == 0 || GONE(life[s])); got = (life[s] != 0); life[s] = t)
                :: else
                fi
        :: else
        fi
}

/* ATTACH.1 and .2 */
inline slot_lock_empty(s)
{
        STEP(is_empty = IS_EMPTY(s));
        if
        :: is_empty ->
                lock_try(reap[s]); /* ATTACH.1 */
                if
                :: got != BUSY ->
#ifndef MUTATION_attach_does_not_look_again
                        STEP(is_empty = IS_EMPTY(s));
#endif
                        if
                        :: is_empty -> slot_lock_life(s) /* ATTACH.2 */
                        :: else -> got = BUSY
                        fi;
                        if
                        :: got == BUSY -> lock_release(reap[s]); got = BUSY
                        :: else
                        fi
                :: else
                fi
        :: else -> got = BUSY
        fi
}

inline slot_attach(s)
{
        slot_lock_empty(s);
        if
        :: got != BUSY -> slot_attach_locked(s)
        :: else
        fi
}

/* Both locks are held: ATTACH.3 to .6 */
inline slot_attach_locked(s)
{
        d_step {
                assert(reap[s] == t && life[s] == t);
                assert(!owned[s]);                         /* an empty slot owns nothing */
                assert(user[s] == 0 || GONE(user[s]));     /* and nobody else believes to have it */
        }
        STEP(os_pid[s] = t);                 /* ATTACH.3 */
        STEP(binding[s] = USED);             /* ATTACH.4 */
        STEP(state[s] = 1; user[s] = t);     /* ATTACH.5 */
        lock_release(reap[s]);               /* ATTACH.6 */
        mine = s + 1;
        is_attached = 1
}

/* A thread that detached from this slot and has not ended holds its `life` still. */
inline slot_attach_own(s)
{
        STEP(is_empty = (IS_EMPTY(s) && life[s] == t));
        if
        :: is_empty ->
                lock_try(reap[s]);
                if
                :: got != BUSY -> slot_attach_locked(s)
                :: else
                fi
        :: else
        fi
}

inline slot_empty(s, last_binding)
{
        STEP(state[s] = 0; if :: user[s] == t -> user[s] = 0 :: else fi); /* DETACH.1, RELEASE.1, REAP.4 */
        STEP(binding[s] = last_binding)                                    /* DETACH.2, RELEASE.2, REAP.5 */
}

/* Something is owned through the slot, and given back: nobody else may touch it meanwhile. */
inline work(s)
{
        STEP(assert(!owned[s]); owned[s] = 1);
        STEP(assert(owned[s] && user[s] == t && state[s]); owned[s] = 0)
}

/* reap_settle(): what names the slot is given back. */
inline settle(s)
{
        STEP(assert(user[s] == 0 || user[s] == t || GONE(user[s])); owned[s] = 0) /* REAP.3 */
}

/* slot_is_kept(): the client lives, as far as can be told.  It is its process: it unregisters when it ends. */
inline slot_is_kept(s)
{
#ifndef MUTATION_reserve_not_kept
        if
        :: d_step { binding[s] == RESERVE && !(t == SURVIVOR && GONE(os_pid[s])) -> is_kept = 1 }
        :: d_step { binding[s] != RESERVE || GONE(os_pid[s]) -> is_kept = 0 }
        :: HALT
        fi
#else
        is_kept = 0
#endif
}

inline slot_reap_one(s)
{
        slot_is_kept(s);
        if
        :: d_step { !IS_EMPTY(s) && GONE(life[s]) -> is_dead = 1 }
        :: d_step { !IS_EMPTY(s) && life[s] == 0 && !is_kept -> is_dead = 1 }
        :: d_step { IS_EMPTY(s) || (life[s] == 0 && is_kept) || (life[s] != 0 && !(t == SURVIVOR && GONE(life[s]))) ->
                    is_dead = 0 }
        :: HALT
        fi;
        if
        :: is_dead ->
#ifndef MUTATION_reap_by_life_alone
                lock_try(reap[s]); /* REAP.1 */
#else
                got = 0;
#endif
                if
                :: got != BUSY ->
                        STEP(is_empty = IS_EMPTY(s));
                        if
                        :: !is_empty ->
                                slot_lock_life(s); /* REAP.2 */
                                slot_is_kept(s);
                                if /* a reserve slot between two uses */
                                :: got == 0 && is_kept && !state[s] -> lock_release(life[s]); got = BUSY
                                :: else
                                fi
                        :: else -> got = BUSY
                        fi;
                        if
                        :: got != BUSY ->
                                settle(s);
#ifndef MUTATION_slot_emptied_after_unlock
                                slot_is_kept(s);
                                kept = (is_kept -> RESERVE : 0);
                                slot_empty(s, kept);
                                lock_release(life[s]); /* REAP.6 */
#ifndef MUTATION_reap_by_life_alone
                                lock_release(reap[s]) /* REAP.7 */
#endif
#else
                                lock_release(life[s]);
                                lock_release(reap[s]);
                                slot_empty(s, 0)
#endif
#ifndef MUTATION_reap_by_life_alone
                        :: else -> lock_release(reap[s])
#else
                        :: else
#endif
                        fi
                :: else
                fi
        :: else
        fi
}

/* BORROW of slot 0, which is process 1's; no two of its threads do that at once */
inline slot_borrow(s)
{
        lock_try(reap[s]); /* BORROW.1 */
        if
        :: got != BUSY ->
                assert(binding[s] == RESERVE && os_pid[s] == t);
                slot_lock_life(s); /* BORROW.2 */
                if
                :: got == 1 || (got == 0 && state[s]) -> settle(s); slot_empty(s, RESERVE); got = 1 /* BORROW.3 */
                :: else
                fi;
                if
                :: got != BUSY ->
                        assert(!owned[s] && (user[s] == 0 || GONE(user[s])));
                        STEP(state[s] = 1; user[s] = t); /* BORROW.4 */
                        lock_release(reap[s]);           /* BORROW.5 */
                        is_borrowed = 1
                :: else -> lock_release(reap[s])
                fi
        :: else
        fi
}

inline slot_return(s)
{
        STEP(assert(user[s] == t); state[s] = 0; user[s] = 0); /* RETURN.1 */
        lock_release(life[s]);                                 /* RETURN.2 */
        is_borrowed = 0
}

inline slot_unreserve(s)
{
        has_reserve = 0;
        lock_try(reap[s]); /* UNRESERVE.1 */
        if
        :: got != BUSY ->
                if
                :: binding[s] == RESERVE && !state[s] -> STEP(binding[s] = 0) /* UNRESERVE.2 */
                :: else
                fi;
                lock_release(reap[s]) /* UNRESERVE.3 */
        :: else
        fi
}

/* may: ATTACH, REAP, BORROW; ops: how many operations */
proctype Thread(byte t; byte may; byte ops)
{
        byte got, mine, s, kept; /* mine: the slot that it attached to last, + 1 */
        bit is_empty, is_gone, is_dead, is_kept, is_attached, is_borrowed;
        bit has_reserve = (FIRST == 1 && t == 1);

        do
        :: ops > 0 && is_attached -> ops--; work(mine - 1)
        :: ops > 0 && is_attached -> ops--; is_attached = 0; slot_empty(mine - 1, 0) /* DETACH: `life` is kept */
        :: ops > 0 && is_attached ->                                                 /* RELEASE */
                ops--;
                is_attached = 0;
                slot_empty(mine - 1, 0);
                lock_release(life[mine - 1]); /* RELEASE.3 */
                mine = 0
        :: ops > 0 && (may & ATTACH) && !is_attached && mine != 0 -> ops--; slot_attach_own(mine - 1)
        :: ops > 0 && (may & ATTACH) && !is_attached && mine == 0 ->
                ops--;
                select (s : 0 .. SLOTS - 1);
                slot_attach(s)
        :: ops > 0 && (may & REAP) ->
                ops--;
                select (s : 0 .. SLOTS - 1);
                slot_reap_one(s)
        :: ops > 0 && (may & BORROW) && has_reserve && !is_borrowed -> ops--; slot_borrow(0)
        :: ops > 0 && is_borrowed -> ops--; work(0)
        :: ops > 0 && is_borrowed -> ops--; slot_return(0)
        :: ops > 0 && (may & BORROW) && has_reserve && !is_borrowed -> ops--; slot_unreserve(0)
        :: ops > 0 && !(may & (REAP | ATTACH)) && !has_reserve -> ops = 0
        :: ops == 0 -> break
        od;
        if
        :: d_step { ended[t] = 1; done[t] = 1 } /* the kernel marks what it holds */
        :: done[t] = 1                          /* it lives, and does no more */
        fi;
dead:
        skip
}

init
{
        byte t = SURVIVOR, s, got, mine, kept;
        bit is_empty, is_gone, is_dead, is_kept, is_attached;

#if FIRST == 1
        d_step { binding[0] = RESERVE; os_pid[0] = 1 }
#endif

        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
        OVER(1) && OVER(2) && OVER(3);
        s = 0;
        do
        :: s < SLOTS ->
                slot_reap_one(s);
                if
                :: binding[s] == RESERVE && !state[s] -> /* its client lives, and it can be borrowed */
                        assert(s == 0 && FIRST == 1 && !GONE(1));
                        assert(!owned[s] && (life[s] == 0 || GONE(life[s])) && (reap[s] == 0 || GONE(reap[s])))
                :: binding[s] == RESERVE && state[s] -> /* it has been */
                        assert(s == 0 && user[s] == 1 && !GONE(1) && life[s] == 1)
                :: binding[s] != RESERVE && !IS_EMPTY(s) ->
                        assert(user[s] != 0 && !GONE(user[s]) && life[s] == user[s] && binding[s] == USED && state[s])
                :: else -> /* it is nobody's, or a living thread has detached from it and still holds `life` */
                        assert(!owned[s] && (reap[s] == 0 || GONE(reap[s])));
                        slot_attach(s);
                        assert(got != BUSY || !GONE(life[s]))
                fi;
                s++
        :: else -> break
        od
        }
dead:
        skip
}
