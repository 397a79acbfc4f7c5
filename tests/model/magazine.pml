/*
 * magazine.pml - magazines between the pool, threads and a depot, found by hints that may be lost or stale
 * (lib/blocks/magazine.c, lib/tcache/refill.c and flush.c).
 *
 * Threads refill and unload as the slow paths do: take an empty magazine from the pool, take one from the depot,
 * exchange current and spare, put one down, flush; some also change hints at random, drain what the clock hand finds,
 * and reap.  A magazine holds at most one block; filling and draining it is one step here (fill.pml).  Steps are MAG.n,
 * MALLOC.1, PUSH.2 and SETTLE.n of doc/recovery.md.
 *
 * At the end every magazine is in one place: the pool, the depot, or exactly one place of a living thread; and every
 * block is in the slab, in one magazine, or its user's.  Where nobody halted and no hint was tampered with, no magazine
 * of the pool lacks its hint.
 *
 * may: 1 refill, 2 unload, 4 flush, 8 clock hand, 16 hints change, 32 reap
 * first: 0 all magazines are in the pool; 1 thread 1 has two full ones; 2 two empty ones, and one is in the depot
 * sizes: HALTS=2 FIRST=0 MAGAZINES=2 BLOCKS=2 MAY_1=3 OPS_1=2 MAY_2=7 OPS_2=1 MAY_3=32 OPS_3=1
 * sizes: HALTS=2 FIRST=1 MAGAZINES=3 BLOCKS=4 MAY_1=2 OPS_1=1 MAY_2=7 OPS_2=1 MAY_3=48 OPS_3=1
 * sizes: HALTS=2 FIRST=2 MAGAZINES=3 BLOCKS=2 MAY_1=1 OPS_1=1 MAY_2=5 OPS_2=1 MAY_3=48 OPS_3=1
 * sizes: HALTS=2 FIRST=0 MAGAZINES=2 BLOCKS=2 MAY_1=7 OPS_1=2 MAY_2=32 OPS_2=1 MAY_3=48 OPS_3=2
 * sizes: HALTS=0 FIRST=0 MAGAZINES=2 BLOCKS=2 MAY_1=7 OPS_1=2 MAY_2=7 OPS_2=2 MAY_3=8 OPS_3=1
 * large: HALTS=2 FIRST=0 MAGAZINES=2 BLOCKS=2 MAY_1=7 OPS_1=3 MAY_2=39 OPS_2=2 MAY_3=56 OPS_3=1
 *
 * mutant: hand_named_after_cas          MAG.1 behind MAG.2
 * mutant: hand_cleared_before_place     MAG.5 before MAG.4
 * mutant: pool_hint_set_once 3           not again after MAG.3
 * mutant: place_emptied_before_settled  SETTLE.4 in the wrong order
 */
#define PROCS 3
#include "common.pml"

#define REFILL 1
#define UNLOAD 2
#define FLUSH  4
#define CLOCK  8
#define HINTS  16
#define REAP   32

#define POOL       0
#define DEPOT      1
#define TCACHE(t_) ((t_) + 1)

byte word[MAGAZINES];
byte n[MAGAZINES];         /* blocks in it: 0 or 1 */
bit pool_hint[MAGAZINES];
byte depot_slot;           /* a hint: magazine + 1 */
byte hand[PROCS + 2];      /* magazine + 1, as in the places */
byte current[PROCS + 2];
byte spare[PROCS + 2];

byte in_slab = BLOCKS;
byte used[PROCS + 2]; /* blocks that the thread's program has */
bit tampered;

#define IS_IN(place) (place != 0 && word[place - 1] == TCACHE(t)) /* magazine_in(): our own slot, our own word */

/* MAG.1, MAG.2 */
inline take(m, expected)
{
#ifndef MUTATION_hand_named_after_cas
        STEP(hand[t] = m + 1);                     /* MAG.1 */
        CAS(word[m], expected, TCACHE(t), is_ok);  /* MAG.2 */
#else
        CAS(word[m], expected, TCACHE(t), is_ok);
        STEP(if
             :: is_ok -> hand[t] = m + 1
             :: else
             fi);
#endif
        if
        :: !is_ok -> STEP(hand[t] = 0)
        :: else
        fi
}

inline take_pooled(m)
{
        STEP(pool_hint[m] = 0);
        take(m, POOL);
        if
        :: is_ok -> STEP(assert(word[m] == TCACHE(t)); n[m] = 0)
        :: else
        fi
}

/* In the hand: found - 1, or none.  Hints first, then the words: the table has its full size. */
inline magazine_take_empty()
{
        found = 0;
        m = 0;
        do
        :: m < MAGAZINES && !found ->
                STEP(is_ok = pool_hint[m]);
                if
                :: is_ok -> take_pooled(m); found = (is_ok -> m + 1 : 0)
                :: else
                fi;
                m++
        :: else -> break
        od;
        m = 0;
        do
        :: m < MAGAZINES && !found ->
                STEP(is_ok = (word[m] == POOL));
                if
                :: is_ok -> take_pooled(m); found = (is_ok -> m + 1 : 0)
                :: else
                fi;
                m++
        :: else -> break
        od
}

inline magazine_take_depot()
{
        STEP(found = depot_slot);
        if
        :: found != 0 ->
                STEP(is_ok = (word[found - 1] == DEPOT));
                if
                :: is_ok -> take(found - 1, DEPOT)
                :: else
                fi;
                CAS_ONCE(depot_slot, found, 0); /* taken or stale: either way it is of no more use */
                if
                :: is_ok && n[found - 1] == 0 -> m = found - 1; magazine_put(m, 1); found = 0
                :: is_ok && n[found - 1] != 0
                :: !is_ok -> found = 0
                fi
        :: else
        fi
}

inline set_pool_hint(m)
{
        STEP(pool_hint[m] = 1)
}

/* is_ok: the magazine is let go of */
inline magazine_put(m, force)
{
        if
        :: n[m] == 0 ->
                set_pool_hint(m);
                STEP(assert(word[m] == TCACHE(t)); word[m] = POOL); /* MAG.3 */
#ifndef MUTATION_pool_hint_set_once
                set_pool_hint(m); /* somebody may have come by before the release */
#endif
                is_ok = 1
        :: else ->
                CAS(depot_slot, 0, m + 1, is_ok);
                if
                :: is_ok || force ->
                        STEP(assert(word[m] == TCACHE(t)); word[m] = DEPOT); /* MAG.3 */
                        is_ok = 1
                :: else
                fi
        fi;
        if
        :: is_ok && hand[t] == m + 1 -> STEP(hand[t] = 0); is_ok = 1 /* MAG.5 */
        :: else
        fi
}

inline magazine_place(place, m)
{
#ifndef MUTATION_hand_cleared_before_place
        STEP(place = m + 1);  /* MAG.4 */
        STEP(hand[t] = 0)     /* MAG.5 */
#else
        STEP(hand[t] = 0);
        STEP(place = m + 1)
#endif
}

inline magazine_pick_up(place, m)
{
        STEP(hand[t] = m + 1);
        STEP(place = 0)
}

/* Exchanges what is in the two places: between the two stores only the hand names what was the current one. */
inline swap_places()
{
        STEP(hand[t] = current[t]; m = current[t] - 1);
        STEP(current[t] = spare[t]);
        magazine_place(spare[t], m)
}

inline pop()
{
        STEP(assert(word[current[t] - 1] == TCACHE(t)); n[current[t] - 1]--; used[t]++) /* MALLOC.1 */
}

/* malloc_small(): ends with a block if there is one */
inline refill()
{
        if
        :: !IS_IN(current[t]) ->
                magazine_take_empty();
                if
                :: found -> m = found - 1; magazine_place(current[t], m)
                :: else
                fi
        :: else
        fi;
        if
        :: IS_IN(current[t]) && n[current[t] - 1] != 0 -> pop()
        :: IS_IN(current[t]) && n[current[t] - 1] == 0 ->
                if
                :: IS_IN(spare[t]) && n[spare[t] - 1] != 0 -> swap_places(); pop()
                :: else ->
                        magazine_take_depot();
                        if
                        :: found -> /* replace_empty() */
                                if
                                :: !IS_IN(spare[t]) -> STEP(spare[t] = current[t])
                                :: else -> m = current[t] - 1; magazine_put(m, 1)
                                fi;
                                m = found - 1;
                                magazine_place(current[t], m);
                                pop()
                        :: !found && in_slab > 0 ->
                                STEP(if
                                     :: in_slab > 0 -> in_slab--; n[current[t] - 1] = 1
                                     :: else
                                     fi)
                        :: !found && in_slab == 0
                        fi
                fi
        :: else
        fi
}

/* tcache_free_slow() of a block that the program has */
inline unload()
{
        if
        :: !IS_IN(current[t]) ->
                magazine_take_empty();
                if
                :: found -> m = found - 1; magazine_place(current[t], m)
                :: else
                fi
        :: IS_IN(current[t]) && n[current[t] - 1] != 0 ->
                if
                :: !IS_IN(spare[t]) ->
                        magazine_take_empty();
                        if
                        :: found -> m = found - 1; magazine_place(spare[t], m)
                        :: else
                        fi
                :: IS_IN(spare[t]) && n[spare[t] - 1] != 0 -> unload_spare()
                :: else
                fi;
                if
                :: IS_IN(spare[t]) && n[spare[t] - 1] == 0 -> swap_places()
                :: else
                fi
        :: else
        fi;
        if
        :: used[t] > 0 && IS_IN(current[t]) && n[current[t] - 1] == 0 ->
                STEP(n[current[t] - 1]++; used[t]--) /* PUSH.2 */
        :: else
        fi
}

inline drain(m)
{
        STEP(assert(word[m] == TCACHE(t)); in_slab = in_slab + n[m]; n[m] = 0)
}

inline unload_spare()
{
        was = spare[t] - 1;
        magazine_pick_up(spare[t], was);
        magazine_put(was, 0);
        if
        :: !is_ok -> drain(was); magazine_place(spare[t], was)
        :: else ->
                magazine_take_empty();
                if
                :: found -> m = found - 1; magazine_place(spare[t], m)
                :: else
                fi
        fi
}

inline flush_place(place)
{
        if
        :: IS_IN(place) ->
                was = place - 1;
                magazine_pick_up(place, was);
                magazine_put(was, 0);
                if
                :: !is_ok -> drain(was); magazine_put(was, 1)
                :: else
                fi
        :: else
        fi
}

/* A magazine in the depot that no hint names. */
inline drain_clock_hand()
{
        was = 0;
        do
        :: was < MAGAZINES ->
                STEP(is_ok = (word[was] == DEPOT && depot_slot != was + 1));
                if
                :: is_ok -> take(was, DEPOT)
                :: else
                fi;
                if
                :: is_ok -> drain(was); magazine_put(was, 1)
                :: else
                fi;
                was++
        :: else -> break
        od
}

inline tamper()
{
        STEP(tampered = 1;
             if
             :: pool_hint[0] = !pool_hint[0]
             :: pool_hint[MAGAZINES - 1] = !pool_hint[MAGAZINES - 1]
             :: depot_slot = 0
             :: depot_slot = 1
             :: depot_slot = MAGAZINES
             fi)
}

inline magazine_settle(s, m)
{
        STEP(is_ok = (word[m] == TCACHE(s)));
        if
        :: is_ok && n[m] == 0 ->
                set_pool_hint(m);
                STEP(assert(word[m] == TCACHE(s)); word[m] = POOL)
        :: is_ok && n[m] != 0 ->
                CAS_ONCE(depot_slot, 0, m + 1); /* a crowded depot: the clock hand finds it */
                STEP(assert(word[m] == TCACHE(s)); word[m] = DEPOT)
        :: else
        fi
}

inline settle_place(s, place)
{
        was = place;
#ifdef MUTATION_place_emptied_before_settled
        STEP(place = 0);
#endif
        if
        :: was != 0 -> m = was - 1; magazine_settle(s, m)
        :: else
        fi;
        STEP(place = 0)
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok ->
                settle_place(s, hand[s]);    /* SETTLE.3 */
                settle_place(s, current[s]); /* SETTLE.4 */
                settle_place(s, spare[s]);
                END_REAP(s)
        :: else
        fi
}

proctype Thread(byte t; byte may; byte ops)
{
        byte who, m, found, was;
        bit is_ok;

        do
        :: ops > 0 && (may & REFILL) -> ops--; refill()
        :: ops > 0 && (may & UNLOAD) -> ops--; unload()
        :: ops > 0 && (may & FLUSH) -> ops--; flush_place(current[t]); flush_place(spare[t])
        :: ops > 0 && (may & CLOCK) -> ops--; drain_clock_hand()
        :: ops > 0 && (may & HINTS) -> ops--; tamper()
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[t] = 1;
dead:
        skip
}

init
{
        byte who, t = SURVIVOR, m, was, k, blocks;
        bit is_ok;

        d_step {
                for (m : 0 .. MAGAZINES - 1) {
                        pool_hint[m] = 1
                }
                m = 0;
#if FIRST > 0
                word[0] = TCACHE(1);
                word[1] = TCACHE(1);
                current[1] = 1;
                spare[1] = 2;
                pool_hint[0] = 0;
                pool_hint[1] = 0;
#endif
#if FIRST == 1
                n[0] = 1;
                n[1] = 1;
                used[1] = 1;
                in_slab = BLOCKS - 3
#elif FIRST == 2
                word[2] = DEPOT;
                n[2] = 1;
                depot_slot = 3;
                pool_hint[2] = 0;
                in_slab = BLOCKS - 1
#endif
        }
        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
                OVER(1) && OVER(2) && OVER(3);
                for (who : 1 .. PROCS) {
                        slot_reap_one(who)
                }
                blocks = in_slab + used[1] + used[2] + used[3];
                for (k : 0 .. MAGAZINES - 1) {
                        blocks = blocks + n[k];
                        assert(word[k] != POOL || n[k] == 0);
                        assert(word[k] != POOL || halts > 0 || tampered || pool_hint[k]);
                        if
                        :: word[k] > DEPOT ->
                                was = word[k] - 1; /* a living thread, which has it in one place */
                                assert(!halted[was] && hand[was] == 0);
                                assert((current[was] == k + 1) + (spare[was] == k + 1) == 1)
                        :: else
                        fi
                }
                assert(blocks == BLOCKS)
        }
dead:
        skip
}
