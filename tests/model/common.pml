/*
 * common.pml - steps, deaths and stops: the same in every model.
 *
 * A STEP is one access to what others may see, with local computation around it.  Before each of them the process may
 * halt: it never goes on.  Whether it was killed or is stopped for ever is the same to its own stores; the difference
 * is what others make of it.  A reaper may at any later time find evidence that it is dead, or never: so each halt is a
 * death at that step that is noticed early, late, or not at all, and a stop.  At most HALTS processes halt in one run,
 * reapers like everybody else.
 *
 * The survivor, process number SURVIVOR, never halts.  It begins when everybody else is done or halted, settles
 * everything once more and judges.  If somebody waited for a halted process, the survivor would never begin, and spin
 * would report an invalid end state.
 *
 * A model defines PROCS (processes are numbered from 1 to PROCS) and HALTS; in every process ME is its number, and a
 * halted one goes to its label `dead`.
 */
#ifndef ME
#define ME t
#endif
#define SURVIVOR (PROCS + 1)
#define BUSY     2 /* what a trylock says of a lock that is held; 1: its holder is dead, and the lock is ours */

byte halts;              /* so far */
bit halted[PROCS + 2];   /* by process: does not go on */
bit done[PROCS + 2];     /* by process: has reached the end of its script */

#define OVER(p) (halted[p] || done[p])

#define MAY_HALT(p) (p != SURVIVOR && halts < HALTS)
#define HALT        atomic { MAY_HALT(ME) -> halts++; halted[ME] = 1; goto dead }

#define STEP(statements) if :: d_step { statements } :: HALT fi

/* One compare-and-swap of exactly the word that was read. */
#define CAS(word, old, new, ok)                                                                                        \
        if                                                                                                             \
        :: d_step { (word) == (old) -> word = new; ok = 1 }                                                            \
        :: d_step { (word) != (old) -> ok = 0 }                                                                        \
        :: HALT                                                                                                        \
        fi

/* The same where the outcome does not matter. */
#define CAS_ONCE(word, old, new)                                                                                       \
        if                                                                                                             \
        :: d_step { (word) == (old) -> word = new }                                                                    \
        :: (word) != (old)                                                                                             \
        :: HALT                                                                                                        \
        fi

/*
 * Where process t has slot t and nobody takes the slot over: one reaper at a time settles a slot, and whoever comes
 * after a halted one starts over (slot.pml shows that).  is_ok is the caller's.
 */
#ifndef OWN_SLOTS
byte reaper[PROCS + 2]; /* by slot: who holds `reap` */
bit settled[PROCS + 2]; /* by slot: emptied */

#define IS_DEAD(s) (halted[s] && !settled[s] && (reaper[s] == 0 || halted[reaper[s]]))

/* REAP.1, .2.  A halted process may be found dead, or not, for it may as well be stopped. */
#define TRY_REAP(s)                                                                                                    \
        if                                                                                                             \
        :: d_step { IS_DEAD(s) -> reaper[s] = ME; is_ok = 1 }                                                          \
        :: d_step { !(ME == SURVIVOR && IS_DEAD(s)) -> is_ok = 0 }                                                     \
        :: HALT                                                                                                        \
        fi

#define END_REAP(s) STEP(settled[s] = 1; reaper[s] = 0)

/* One of the dead, by whatever the model calls reap_settle().  `who` is the caller's. */
inline reap_any()
{
        atomic {
                if
                :: IS_DEAD(1) -> who = 1
                :: IS_DEAD(2) -> who = 2
                :: IS_DEAD(3) -> who = 3
                :: who = 0 /* there is no evidence yet */
                fi
        };
        if
        :: who != 0 -> slot_reap_one(who)
        :: else
        fi
}
#endif
