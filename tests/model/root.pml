/*
 * root.pml - publication and removal of a named object, and what reapers do for its movers (lib/heap/root.c).
 *
 * Threads create the object of one name, remove it, and reap each other; slot 1 may be taken over by an heir, whose
 * sequence numbers go on.  A block moves between the free blocks, the record's `object` and the `pending` words of
 * slots; at the end each block must be in exactly one of these places, and no mark may be left.  Every finder is handed
 * a block that is allocated and that init() has filled.
 *
 * Each slot has one pending word here: so creations are not nested, and a reaper in the midst of a creation has no cell
 * for a dead one's block and leaves it, as root_settle_pending() does.  Allocating a block, with the cell as dest, is
 * one step: that it is as one is what fill.pml is about.  So is freeing, unless FREE_STEPS is 1.  That one reaper at a
 * time settles a slot is slot.pml.  The record is linked already: link.pml.
 *
 * may: 1 create, 2 remove, 4 reap
 * sizes: HALTS=2 MAY_1=1 OPS_1=1 MAY_2=1 OPS_2=1 MAY_3=4 OPS_3=1 MAY_4=0 OPS_4=0 BLOCKS=2 FIRST=0 REAPS=0 FREE_STEPS=0
 * sizes: HALTS=2 MAY_1=3 OPS_1=1 MAY_2=4 OPS_2=1 MAY_3=4 OPS_3=2 MAY_4=3 OPS_4=1 BLOCKS=2 FIRST=1 REAPS=0 FREE_STEPS=0
 * sizes: HALTS=1 MAY_1=1 OPS_1=2 MAY_2=2 OPS_2=1 MAY_3=2 OPS_3=1 MAY_4=0 OPS_4=0 BLOCKS=2 FIRST=0 REAPS=0 FREE_STEPS=0
 * sizes: HALTS=2 MAY_1=2 OPS_1=1 MAY_2=1 OPS_2=1 MAY_3=4 OPS_3=1 MAY_4=1 OPS_4=1 BLOCKS=2 FIRST=1 REAPS=1 FREE_STEPS=0
 * sizes: HALTS=2 MAY_1=2 OPS_1=1 MAY_2=4 OPS_2=1 MAY_3=4 OPS_3=2 MAY_4=1 OPS_4=1 BLOCKS=2 FIRST=1 REAPS=0 FREE_STEPS=1
 * large: HALTS=2 MAY_1=7 OPS_1=1 MAY_2=7 OPS_2=1 MAY_3=7 OPS_3=1 MAY_4=7 OPS_4=1 BLOCKS=3 FIRST=0 REAPS=0 FREE_STEPS=0
 * large: HALTS=3 MAY_1=2 OPS_1=1 MAY_2=7 OPS_2=1 MAY_3=6 OPS_3=2 MAY_4=7 OPS_4=1 BLOCKS=2 FIRST=1 REAPS=0 FREE_STEPS=1
 *
 * mutant: mark_dropped_first      TAKE.4 before TAKE.3
 * mutant: published_by_store      ROOT.8 looks and stores
 * mutant: sequence_not_compared 3  a mark is believed whatever move the mover is at
 * mutant: freed_from_dead_slot 5   the reaper frees the dead's block from where it is, not from its own slot
 * mutant: settled_by_store 4       the reaper zeroes the dead's cell whatever others have made of it
 */
#define CREATE 1
#define REMOVE 2
#define REAP   4

#define PROCS 4 /* threads in slots 1 to 3, an heir to slot 1; the survivor has slot 4 */
#define SLOTS 4
#define ME    p
#define OWN_SLOTS
#include "common.pml"

#define BLOCK     0 /* 0, or a block that nothing else names */
#define WANTED    1
#define BUILDING  2
#define PUBLISHED 3
#define TAKING    4
#define OBJECT    5
#define FROM      6
#define TAKEN     7

/* kind 0..2 | sequence 3..5 | block, or the mover's cell, from 6 */
#define WORD(kind, sequence, arg) ((kind) | ((sequence) << 3) | ((arg) << 6))
#define KIND(word)                ((word)&7)
#define SEQUENCE(word)            (((word) >> 3) & 7)
#define ARG(word)                 ((word) >> 6)
#define WITH_KIND(word, kind)     (((word) & ~7) | (kind))
#define IS_MARK(word)             (KIND(word) >= FROM)
#define IS_MOVING(word)           (KIND(word) >= BUILDING && KIND(word) <= TAKING)

#define THE_OBJECT 0
short cell[SLOTS + 1]; /* the record's object; by slot: its pending word */
byte home[SLOTS + 1];  /* by slot: pending_record, here the index of a cell */
byte sequence[SLOTS + 1];
byte reaper[SLOTS + 1];  /* who holds `reap` */
byte process[SLOTS + 1]; /* who is in the slot */
bit in_use[SLOTS + 1];

/* With FREE_STEPS: the slab of all blocks, and the intent of a free with dest (fill.pml). */
byte slab_owner, intent[SLOTS + 1], intent_dest[SLOTS + 1];

bit is_free[BLOCKS + 1];
bit is_filled[BLOCKS + 1]; /* by init() */

/* mover_word(): the mover's word, if that still is at the move that the mark tells of, else 0 */
#ifndef MUTATION_sequence_not_compared
#define IS_AT(word, mark) (IS_MOVING(word) && SEQUENCE(word) == SEQUENCE(mark))
#else
#define IS_AT(word, mark) IS_MOVING(word)
#endif
#define MOVER_WORD(mark) (IS_AT(cell[ARG(mark)], mark) -> cell[ARG(mark)] : 0)

inline finish_publish(object, a_mark)
{
        STEP(moving = MOVER_WORD(a_mark));
        if
        :: KIND(moving) == BUILDING ->
                CAS_ONCE(cell[ARG(a_mark)], moving, WITH_KIND(moving, PUBLISHED)); /* ROOT.9 */
                STEP(moving = MOVER_WORD(a_mark))
        :: else
        fi;
        if
        :: KIND(moving) == PUBLISHED -> CAS_ONCE(cell[object], a_mark, WORD(OBJECT, 0, ARG(moving))) /* ROOT.10 */
        :: else
        fi
}

inline finish_take(from, a_mark)
{
        STEP(moving = MOVER_WORD(a_mark));
#ifdef MUTATION_mark_dropped_first
        CAS_ONCE(cell[from], a_mark, 0);
#endif
        if
        :: KIND(moving) == TAKING -> CAS_ONCE(cell[ARG(a_mark)], moving, WORD(BLOCK, 0, ARG(moving))) /* TAKE.3 */
        :: else
        fi;
#ifndef MUTATION_mark_dropped_first
        CAS_ONCE(cell[from], a_mark, 0) /* TAKE.4 */
#endif
}

/* ROOT.13, TAKE.5: the block in a cell, which is the thread's own. */
#if FREE_STEPS
inline free_from(from)
{
        CAS(slab_owner, 0, t, is_ok);
        if
        :: is_ok ->
                STEP(assert(KIND(cell[from]) == BLOCK && ARG(cell[from]) != 0);
                     intent[t] = ARG(cell[from]); intent_dest[t] = from);                   /* ONE.1 */
                STEP(cell[from] = 0);                                                       /* ONE.2 */
                STEP(assert(!is_free[intent[t]]); is_free[intent[t]] = 1; is_filled[intent[t]] = 0); /* ONE.3 */
                STEP(intent[t] = 0);                                                        /* ONE.4 */
                STEP(slab_owner = 0)                                                        /* ONE.5 */
        :: else /* -EBUSY: it stays where it is, for root_tidy() */
        fi
}

/* SETTLE.1, settle_one(); SETTLE.2 */
inline settle_intent(s)
{
        if
        :: slab_owner == s && intent[s] != 0 ->
                STEP(is_free[intent[s]] = 1; is_filled[intent[s]] = 0);
                CAS_ONCE(cell[intent_dest[s]], WORD(BLOCK, 0, intent[s]), 0)
        :: else
        fi;
        STEP(intent[s] = 0);
        if
        :: slab_owner == s -> STEP(slab_owner = 0)
        :: else
        fi
}
#else
inline free_from(from)
{
        STEP(assert(KIND(cell[from]) == BLOCK && ARG(cell[from]) != 0 && !is_free[ARG(cell[from])]);
             is_free[ARG(cell[from])] = 1; is_filled[ARG(cell[from])] = 0; cell[from] = 0)
}

inline settle_intent(s)
{
        skip
}
#endif

inline entry_free()
{
        free_from(t)
}

inline root_tidy()
{
        if
        :: cell[t] != 0 && KIND(cell[t]) == BLOCK -> entry_free()
        :: else
        fi
}

/* The block is in cell `from`, which was seen as `a_word`. */
inline take(from, a_word)
{
        if
        :: cell[t] == 0 -> /* else -ENOBUFS */
                STEP(sequence[t]++; assert(sequence[t] < 8); home[t] = from);
                STEP(cell[t] = WORD(TAKING, sequence[t], ARG(a_word)));           /* TAKE.1 */
                CAS(cell[from], a_word, WORD(TAKEN, sequence[t], t), is_ok);      /* TAKE.2: commit */
                if
                :: is_ok ->
                        mark = WORD(TAKEN, sequence[t], t);
                        finish_take(from, mark);
                        entry_free() /* TAKE.5 */
                :: else -> STEP(cell[t] = 0)
                fi
        :: else
        fi
}

/* object_read(): found = 0: none; a block; or AGAIN */
#define AGAIN 255
inline object_read()
{
        STEP(seen = cell[THE_OBJECT]);
        if
        :: KIND(seen) == OBJECT -> found = ARG(seen)
        :: KIND(seen) == FROM ->
                STEP(moving = MOVER_WORD(seen));
                found = (KIND(moving) == BUILDING || KIND(moving) == PUBLISHED -> ARG(moving) : AGAIN)
        :: else -> found = 0
        fi;
        if
        :: found != 0 && found != AGAIN ->
                STEP(if
                     :: cell[THE_OBJECT] == seen -> assert(!is_free[found] && is_filled[found])
                     :: else -> found = AGAIN
                     fi)
        :: else
        fi
}

inline root_find_or_create()
{
        object_read(); /* ROOT.1 */
        root_tidy();
        if
        :: found == 0 && cell[t] == 0 ->
                STEP(sequence[t]++; assert(sequence[t] < 8); cell[t] = WANTED); /* ROOT.2 */
                block = 0;
                STEP(if
                     :: slab_owner == 0 && is_free[1] -> block = 1
                     :: slab_owner == 0 && !is_free[1] && is_free[BLOCKS] -> block = BLOCKS
                     :: else
                     fi;
                     if
                     :: block != 0 -> is_free[block] = 0; cell[t] = WORD(BLOCK, 0, block) /* ROOT.3 */
                     :: else -> cell[t] = 0
                     fi);
                if
                :: block != 0 ->
                        STEP(cell[t] = WORD(BUILDING, sequence[t], block)); /* ROOT.4 */
                        STEP(is_filled[block] = 1);                         /* ROOT.5 */
                        if
                        :: REAPS -> reap_any() /* init() calls malloc */
                        :: else
                        fi;
                        STEP(home[t] = THE_OBJECT); /* ROOT.7 */
                        object_publish()
                :: else
                fi
        :: else
        fi
}

inline object_publish()
{
        found = AGAIN;
        do
        :: found == AGAIN || found == 0 ->
                STEP(seen = cell[THE_OBJECT]);
                if
                :: KIND(seen) == TAKEN -> finish_take(THE_OBJECT, seen)
                :: else
                fi;
#ifndef MUTATION_published_by_store
                CAS(cell[THE_OBJECT], 0, WORD(FROM, sequence[t], t), is_ok); /* ROOT.8: commit */
#else
                STEP(seen = cell[THE_OBJECT]);
                if
                :: seen == 0 -> STEP(cell[THE_OBJECT] = WORD(FROM, sequence[t], t)); is_ok = 1
                :: else -> is_ok = 0
                fi;
#endif
                if
                :: is_ok ->
                        mark = WORD(FROM, sequence[t], t);
                        finish_publish(THE_OBJECT, mark);
                        STEP(cell[t] = 0); /* ROOT.11 */
                        break
                :: else -> object_read()
                fi
        :: else -> /* another one is published */
                STEP(cell[t] = WORD(BLOCK, 0, ARG(cell[t]))); /* ROOT.12 */
                entry_free();
                break
        od
}

inline root_remove()
{
        root_tidy();
        STEP(seen = cell[THE_OBJECT]);
        if
        :: KIND(seen) == FROM -> finish_publish(THE_OBJECT, seen); STEP(seen = cell[THE_OBJECT])
        :: else
        fi;
        if
        :: KIND(seen) == OBJECT -> take(THE_OBJECT, seen)
        :: else
        fi
}

/* One step of a dead thread's entry; is_settled once it is 0 or a block that nothing else names. */
inline entry_settle(s)
{
        STEP(word = cell[s]);
        STEP(mark = cell[home[s]]);
        has_mark = (IS_MARK(mark) && SEQUENCE(mark) == SEQUENCE(word) && ARG(mark) == s);
        if
        :: KIND(word) == BLOCK ->
                is_settled = 1;
                if
                :: word != 0 && KIND(mark) == TAKEN -> finish_take(home[s], mark)
                :: else
                fi
        :: KIND(word) == BUILDING && has_mark -> finish_publish(home[s], mark)
        :: KIND(word) == BUILDING && !has_mark -> CAS_ONCE(cell[s], word, WORD(BLOCK, 0, ARG(word)))
        :: KIND(word) == PUBLISHED ->
                if
                :: has_mark -> finish_publish(home[s], mark)
                :: else
                fi;
                CAS_ONCE(cell[s], word, 0)
        :: KIND(word) == TAKING && has_mark -> finish_take(home[s], mark)
#ifndef MUTATION_settled_by_store
        :: KIND(word) == TAKING && !has_mark -> CAS_ONCE(cell[s], word, 0)
#else
        :: KIND(word) == TAKING && !has_mark -> STEP(cell[s] = 0)
#endif
        :: KIND(word) == TAKEN -> finish_take(s, word) /* by a reaper who died */
        :: else -> CAS_ONCE(cell[s], word, 0)
        fi
}

#define IS_DEAD(s) (in_use[s] && halted[process[s]] && (reaper[s] == 0 || halted[reaper[s]]))
#define CAS_REAP(s)                                                                                                    \
        if                                                                                                             \
        :: d_step { IS_DEAD(s)->reaper[s] = p; is_ok = 1 }                                                             \
        :: d_step { !(p == SURVIVOR && IS_DEAD(s)) -> is_ok = 0 }                                                      \
        :: HALT                                                                                                        \
        fi

/* root_settle_pending(), and the frame of REAP around it */
inline slot_reap_one(s)
{
        CAS_REAP(s);
        if
        :: is_ok ->
                settle_intent(s);
                is_settled = 0;
                do
                :: !is_settled -> entry_settle(s)
                :: else -> break
                od;
                if /* entry_reap(), which a reaper that is only about to attach leaves out */
                :: STEP(word = cell[s]);
                        if
#ifndef MUTATION_freed_from_dead_slot
                        :: KIND(word) == BLOCK && word != 0 -> take(s, word)
#else
                        :: KIND(word) == BLOCK && word != 0 -> free_from(s)
#endif
                        :: else
                        fi
                :: p != SURVIVOR
                fi;
                STEP(in_use[s] = 0);
                STEP(reaper[s] = 0)
        :: else
        fi
}

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

/* may: CREATE, REMOVE, REAP; ops: how many of them */
proctype Thread(byte p; byte t; byte may; byte ops)
{
        short seen, mark, moving, word;
        byte found, block, who;
        bit is_ok, is_settled, has_mark;

end_not_begun: /* the heir attaches when the slot is empty, if it ever is */
        atomic { !in_use[t] || process[t] == p -> in_use[t] = 1; process[t] = p }
        do
        :: ops > 0 && (may & CREATE) -> ops--; root_find_or_create()
        :: ops > 0 && (may & REMOVE) -> ops--; root_remove()
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[p] = 1;
dead:
        skip
}

init
{
        byte p = SURVIVOR, t = 4, found, block, who, n;
        short seen, mark, moving, word;
        bit is_ok, is_settled, has_mark;

        d_step {
                for (block : 1 .. BLOCKS) {
                        is_free[block] = 1
                }
#if FIRST
                is_free[1] = 0;
                is_filled[1] = 1;
                cell[THE_OBJECT] = WORD(OBJECT, 0, 1);
#endif
                for (who : 1 .. 3) {
                        in_use[who] = 1;
                        process[who] = who
                }
        }
        atomic {
                run Thread(1, 1, MAY_1, OPS_1);
                run Thread(2, 2, MAY_2, OPS_2);
                run Thread(3, 3, MAY_3, OPS_3);
                run Thread(4, 1, MAY_4, OPS_4)
        }
        atomic {
                OVER(1) && OVER(2) && OVER(3) && (OVER(4) || process[1] != 4);
                in_use[4] = 1;
                for (who : 1 .. 3) {
                        slot_reap_one(who)
                }
                assert(KIND(cell[THE_OBJECT]) == OBJECT || cell[THE_OBJECT] == 0);
                for (block : 1 .. BLOCKS) {
                        n = is_free[block] + (cell[THE_OBJECT] == WORD(OBJECT, 0, block));
                        for (who : 1 .. SLOTS) {
                                assert(KIND(cell[who]) == BLOCK);
                                n = n + (cell[who] == WORD(BLOCK, 0, block))
                        }
                        assert(n == 1)
                }
        }
dead:
        skip
}
