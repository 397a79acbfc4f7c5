/*
 * link.pml - names of roots: records claimed, named, put in front of the chain, and settled for the dead
 * (lib/heap/root_record.c).
 *
 * Threads look for a name and link it where it is missing; one who finds no record gives up, since names are for ever
 * and nobody waits.  Steps are LINK.n.  At the end every record is free or linked, it is linked if and only if it is in
 * the chain, no name is there twice, and whoever was told of a record was told of that name.
 *
 * may: 1 link, 2 reap
 * sizes: HALTS=2 RECORDS=2 MAY_1=1 OPS_1=1 MAY_2=3 OPS_2=1 MAY_3=3 OPS_3=1
 * sizes: HALTS=2 RECORDS=3 MAY_1=1 OPS_1=2 MAY_2=1 OPS_2=1 MAY_3=2 OPS_3=1
 * large: HALTS=3 RECORDS=2 MAY_1=1 OPS_1=1 MAY_2=3 OPS_2=1 MAY_3=3 OPS_3=1
 * large: HALTS=3 RECORDS=3 MAY_1=1 OPS_1=2 MAY_2=1 OPS_2=1 MAY_3=2 OPS_3=2
 *
 * mutant: candidate_after_cas        LINK.1 behind LINK.2
 * mutant: newcomers_not_looked_at    LINK.4 is tried again without a look at who came in between
 * mutant: settled_without_looking    a dead claimer's record is freed even if it is in the chain
 */
#define PROCS 3
#include "common.pml"

#define LINK 1
#define REAP 2

#define R_FREE   0
#define R_NEW    1
#define R_LINKED 2
#define WORD(state, owner) ((state) | ((owner) << 2))

byte word[RECORDS];
byte name[RECORDS];
byte next[RECORDS];
byte head; /* first linked record + 1 */
byte candidate[PROCS + 2]; /* record + 1 */

/* walk_find(): from `link` to before `until`; found: record + 1, or 0 */
inline walk_find(until, a_name)
{
        found = 0;
        at = link;
        do
        :: at != until && !found ->
                STEP(found = (name[at - 1] == a_name -> at : 0); at = next[at - 1]) /* both const once linked */
        :: else -> break
        od
}

/* LINK.1, LINK.2; idx: record + 1, or 0 */
inline claim()
{
        idx = 0;
        i = 0;
        do
        :: i < RECORDS && !idx ->
                STEP(is_ok = (word[i] == WORD(R_FREE, 0)));
                if
                :: is_ok ->
#ifndef MUTATION_candidate_after_cas
                        STEP(candidate[t] = i + 1);                           /* LINK.1 */
#endif
                        CAS(word[i], WORD(R_FREE, 0), WORD(R_NEW, t), is_ok); /* LINK.2 */
#ifdef MUTATION_candidate_after_cas
                        STEP(candidate[t] = i + 1);
#endif
                        if
                        :: is_ok -> idx = i + 1
                        :: else -> STEP(candidate[t] = 0)
                        fi
                :: else
                fi;
                i++
        :: else -> break
        od
}

/* LINK.4: a lost CAS means that the chain has grown: one that came in between may bear the same name. */
inline push(a_name)
{
        do
        :: 1 ->
                old = link;
                STEP(next[idx - 1] = old);
                CAS(head, old, idx, is_ok);
                if
                :: is_ok -> found = idx; break
                :: else ->
                        STEP(link = head);
#ifndef MUTATION_newcomers_not_looked_at
                        walk_find(old, a_name)
#endif
                fi;
                if
                :: found -> break
                :: else
                fi
        od
}

inline find_or_link(a_name)
{
        STEP(link = head);
        walk_find(0, a_name);
        if
        :: !found ->
                claim();
                if
                :: idx ->
                        STEP(assert(word[idx - 1] == WORD(R_NEW, t)); name[idx - 1] = a_name); /* LINK.3 */
                        push(a_name);                                                          /* LINK.4 */
                        STEP(assert(word[idx - 1] == WORD(R_NEW, t));
                             word[idx - 1] = (found == idx -> WORD(R_LINKED, 0) : WORD(R_FREE, 0))); /* LINK.5 */
                        STEP(candidate[t] = 0)                                                 /* LINK.6 */
                :: else
                fi
        :: else
        fi;
        assert(found == 0 || name[found - 1] == a_name)
}

/* root_settle_record() */
inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok ->
                idx = candidate[s];
                if
                :: idx != 0 && word[idx - 1] == WORD(R_NEW, s) ->
#ifndef MUTATION_settled_without_looking
                        STEP(at = head);
#else
                        at = 0;
#endif
                        do
                        :: at != 0 && at != idx -> STEP(at = next[at - 1])
                        :: else -> break
                        od;
                        STEP(assert(word[idx - 1] == WORD(R_NEW, s));
                             word[idx - 1] = (at == idx -> WORD(R_LINKED, 0) : WORD(R_FREE, 0)))
                :: else
                fi;
                STEP(candidate[s] = 0);
                END_REAP(s)
        :: else
        fi
}

proctype Thread(byte t; byte may; byte ops)
{
        byte who, link, at, found, idx, i, old;
        bit is_ok;

        do
        :: ops > 0 && (may & LINK) -> ops--; find_or_link(1)
        :: ops > 0 && (may & LINK) -> ops--; find_or_link(2)
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[t] = 1;
dead:
        skip
}

init
{
        byte who, t = SURVIVOR, at, idx, i, n1, n2;
        bit is_ok;
        bit in_chain[RECORDS];

        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
                OVER(1) && OVER(2) && OVER(3);
                for (who : 1 .. PROCS) {
                        slot_reap_one(who)
                }
                at = head;
                do
                :: at != 0 ->
                        assert(!in_chain[at - 1]);
                        in_chain[at - 1] = 1;
                        n1 = n1 + (name[at - 1] == 1);
                        n2 = n2 + (name[at - 1] == 2);
                        at = next[at - 1]
                :: else -> break
                od;
                assert(n1 <= 1 && n2 <= 1);
                for (i : 0 .. RECORDS - 1) {
                        assert(word[i] == (in_chain[i] -> WORD(R_LINKED, 0) : WORD(R_FREE, 0)))
                }
        }
dead:
        skip
}
