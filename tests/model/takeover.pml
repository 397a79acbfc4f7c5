/*
 * takeover.pml - a reference that a thread died of handing a block to or from, its heir, and reapers that are slow,
 * stop or die (lib/heap/reap.c: reap_dest and settle_intent, for POP_TO and PUSH_FROM).
 *
 * Process 1 moves the one block from its magazine to *dest, or back.  When it is gone, process 2, the heir, asks
 * whether *dest is settled; if so, it takes what is there, and puts it into a magazine of its own, or takes the block
 * from the depot to the same *dest once more.  Process 3 reaps whoever it finds dead.  Steps are POP_TO.n, PUSH_FROM.n
 * and SETTLE.n of doc/recovery.md.
 *
 * At the end the block is in one place: a magazine, a depot, or its owner's, whom *dest or `kept` names.
 *
 * op: 1 the block goes to *dest; 2 from *dest into the magazine
 * sizes: HALTS=1 OP=1 REAPS=2
 * sizes: HALTS=1 OP=2 REAPS=2
 * sizes: HALTS=3 OP=1 REAPS=2
 * sizes: HALTS=3 OP=2 REAPS=2
 * large: HALTS=3 OP=1 REAPS=4
 * large: HALTS=3 OP=2 REAPS=4
 *
 * mutant: heir_goes_by_the_reaped   it takes over when it could settle nobody any more
 * mutant: intent_ends_first         the reaper ends the intent before its store to *dest
 * mutant: heir_asks_nobody          it takes over as soon as it knows of the death
 */
#define PROCS 3
#include "common.pml"

#define NONE      0
#define POP_TO    1
#define PUSH_FROM 2

byte kind[PROCS + 2];          /* the intent in the slot; its dest is *dest */
bit in_magazine = (OP == 1);   /* of process 1: it names that one until SETTLE.4 */
bit dest = (OP == 2);
bit in_depot, in_heirs;        /* a magazine of the heir */
bit kept;                      /* the heir's own word */

/* A block in the magazine is not *dest's: SETTLE.1. */
inline restore_dest()
{
        if
        :: k != NONE && is_there -> CAS_ONCE(dest, 1, 0)
        :: else
        fi
}

inline settle(s)
{
        STEP(k = kind[s]);
        STEP(is_there = (s == 1 && in_magazine));
#ifndef MUTATION_intent_ends_first
        restore_dest();
        STEP(kind[s] = NONE);
#else
        STEP(kind[s] = NONE);
        restore_dest();
#endif
        if
        :: s == 1 -> STEP(if
                          :: in_magazine -> in_magazine = 0; in_depot = 1 /* SETTLE.4 */
                          :: else
                          fi)
        :: else
        fi
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok -> settle(s); END_REAP(s)
        :: else
        fi
}

/* is_ok: the heir may take over. */
inline reap_dest()
{
#ifndef MUTATION_heir_asks_nobody
        STEP(k = kind[1]);
        if
        :: k != NONE ->
                slot_reap_one(1);
#ifndef MUTATION_heir_goes_by_the_reaped
                STEP(is_ok = (kind[1] == NONE))
#else
                is_ok = 1
#endif
        :: else -> is_ok = 1
        fi
#else
        is_ok = 1
#endif
}

proctype Predecessor(byte t)
{
#if OP == 1
        STEP(kind[t] = POP_TO);  /* POP_TO.1 */
        STEP(dest = 1);          /* POP_TO.2 */
        STEP(in_magazine = 0);   /* POP_TO.3 */
#else
        STEP(kind[t] = PUSH_FROM); /* PUSH_FROM.1 */
        STEP(in_magazine = 1);     /* PUSH_FROM.2 */
        STEP(dest = 0);            /* PUSH_FROM.3 */
#endif
        STEP(kind[t] = NONE); /* .4 */
        done[t] = 1;
dead:
        skip
}

proctype Heir(byte t)
{
        bit is_ok, is_there;
        byte k;

        OVER(1); /* it knows by evidence of its own */
        reap_dest();
        if
        :: is_ok ->
                STEP(kept = dest);
                STEP(dest = 0);
                if
                :: STEP(if
                        :: kept -> kept = 0; in_heirs = 1
                        :: else
                        fi)
                :: STEP(if
                        :: in_depot && !kept -> in_depot = 0; dest = 1 /* POP_TO, in one step */
                        :: else
                        fi)
                fi
        :: else
        fi;
        done[t] = 1;
dead:
        skip
}

proctype Reaper(byte t)
{
        bit is_ok, is_there;
        byte k, who, n;

        do
        :: n < REAPS -> n++; reap_any()
        :: else -> break
        od;
        done[t] = 1;
dead:
        skip
}

init {
        byte t = SURVIVOR, k, n;
        bit is_ok, is_there;

        atomic {
                run Predecessor(1);
                run Heir(2);
                run Reaper(3)
        };
        OVER(1) && OVER(2) && OVER(3);
        n = 1;
        do
        :: n <= PROCS -> slot_reap_one(n); n++
        :: else -> break
        od;
        assert(kind[1] == NONE);
        assert(in_magazine + in_depot + in_heirs + (kept || dest) == 1);
dead:
        skip
}
