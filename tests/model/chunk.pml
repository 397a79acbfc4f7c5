/*
 * chunk.pml - chunks given to arenas, taken back, purged, and used for huge blocks (lib/pages/chunk.c, huge.c,
 * decay.c).
 *
 * Two chunks of two granules, two arenas.  Threads give a chunk to an arena, claim a granule of an arena for a block
 * and free it, retire chunks, allocate and free a huge block of both chunks, purge free chunks, and reap.  Steps are
 * CHUNK.n, RETIRE.n, HUGE.n, HUGE_FREE.n, PURGE_CHUNK.n, RUN.n and SETTLE.2 of doc/recovery.md.
 *
 * Who claims a granule of an arena finds its chunk given to that arena; whoever stores to a word asserts that it is
 * its own.  At the end every chunk is free, an arena's, or part of one huge block, and its granule words say the same.
 *
 * may: 1 give, 2 claim and free a granule, 4 retire, 8 and 16 allocate and free a huge block, 32 purge, 64 reap
 * sizes: HALTS=2 FIRST=1 MAY_1=6 OPS_1=1 MAY_2=5 OPS_2=1 MAY_3=67 OPS_3=1
 * sizes: HALTS=2 FIRST=2 MAY_1=16 OPS_1=1 MAY_2=57 OPS_2=1 MAY_3=77 OPS_3=1
 * large: HALTS=2 FIRST=1 MAY_1=6 OPS_1=2 MAY_2=5 OPS_2=1 MAY_3=71 OPS_3=1
 * large: HALTS=2 FIRST=0 MAY_1=15 OPS_1=1 MAY_2=63 OPS_2=1 MAY_3=127 OPS_3=1
 *
 * mutant: given_before_words            CHUNK.5 before CHUNK.4
 * mutant: chunk_released_before_words   RETIRE.5 before RETIRE.4
 * mutant: huge_head_freed_first 2        HUGE_FREE.2 with the head first
 */
#define PROCS 3
#include "common.pml"

#define GIVE      1
#define CLAIM     2
#define RETIRE    4
#define HUGE      8
#define HUGE_FREE 16
#define PURGE     32
#define REAP      64

#define CHUNKS   2
#define PER      2 /* granules per chunk */
#define GRANULES (CHUNKS * PER)

/* chunk words: state 0..2 | owner 3..5 | arena, or count, 6..7 */
#define C_FREE    0
#define C_NEW     1
#define C_ARENA   2
#define C_HUGE    3
#define C_TAIL    4
#define C_FREEING 5
/* granule words: likewise */
#define G_NONE    0
#define G_FREE    1
#define G_NEW     2
#define G_LARGE   3
#define G_FREEING 4
#define WORD(state, owner, arena) ((state) | ((owner) << 3) | ((arena) << 6))
#define STATE(word_)              ((word_)&7)
#define OWNER(word_)              (((word_) >> 3) & 7)
#define ARENA(word_)              ((word_) >> 6)

byte chunk[CHUNKS];
byte granule[GRANULES];

#define NO_CANDIDATE  0
#define RUN_OF        1
#define CHUNK_OF      2
#define HUGE_OF       3
byte candidate[PROCS + 2], place[PROCS + 2];

bit in_use[GRANULES]; /* the block there is a user's */
bit huge_in_use;

inline candidate_set(kind, at_)
{
        STEP(candidate[t] = kind; place[t] = at_)
}

inline candidate_clear()
{
        STEP(candidate[t] = NO_CANDIDATE)
}

inline claim_chunk(c)
{
        candidate_set(CHUNK_OF, c);                        /* CHUNK.1 */
        CAS(chunk[c], C_FREE, WORD(C_NEW, t, 0), is_ok);   /* CHUNK.2 */
        if
        :: !is_ok -> candidate_clear()
        :: else
        fi
}

inline chunk_give(c, arena)
{
        claim_chunk(c);
        if
        :: is_ok ->
#ifdef MUTATION_given_before_words
                STEP(assert(OWNER(chunk[c]) == t); chunk[c] = WORD(C_ARENA, 0, arena));
#endif
                for (i : 0 .. PER - 1) {
                        STEP(assert(granule[PER * c + i] == G_NONE);
                             granule[PER * c + i] = WORD(G_NEW, t, arena)) /* CHUNK.4 */
                }
#ifndef MUTATION_given_before_words
                STEP(assert(OWNER(chunk[c]) == t); chunk[c] = WORD(C_ARENA, 0, arena)); /* CHUNK.5: commit */
#endif
                for (i : 0 .. PER - 1) {
                        STEP(assert(OWNER(granule[PER * c + i]) == t);
                             granule[PER * c + i] = WORD(G_FREE, 0, arena)) /* CHUNK.6 */
                }
                candidate_clear() /* CHUNK.7 */
        :: else
        fi
}

/* A block of one granule: RUN.n, LARGE.n */
inline large_alloc(g, arena)
{
        candidate_set(RUN_OF, g);
        CAS(granule[g], WORD(G_FREE, 0, arena), WORD(G_NEW, t, arena), is_ok);
        if
        :: is_ok ->
                STEP(assert(granule[g] == WORD(G_NEW, t, arena) && chunk[(g) / PER] == WORD(C_ARENA, 0, arena));
                     granule[g] = WORD(G_LARGE, 0, arena); in_use[g] = 1)
        :: else
        fi;
        candidate_clear()
}

inline large_free(g)
{
        if
        :: d_step { in_use[g] -> in_use[g] = 0; is_ok = 1 }
        :: else -> is_ok = 0
        fi;
        if
        :: is_ok ->
                STEP(a_word = granule[g]);
                candidate_set(RUN_OF, g);
                CAS(granule[g], a_word, WORD(G_FREEING, t, ARENA(a_word)), is_ok); /* RUN_FREE.1 */
                assert(is_ok);
                STEP(assert(OWNER(granule[g]) == t && chunk[(g) / PER] == WORD(C_ARENA, 0, ARENA(a_word)));
                     granule[g] = WORD(G_FREE, 0, ARENA(a_word))); /* RUN_FREE.4 */
                candidate_clear()
        :: else
        fi
}

inline chunk_retire(c)
{
        STEP(a_word = chunk[c]);
        if
        :: STATE(a_word) == C_ARENA ->
                candidate_set(CHUNK_OF, c); /* RETIRE.1 */
                i = 0;
                is_ok = 1;
                do
                :: i < PER && is_ok -> /* RETIRE.2 */
                        CAS(granule[PER * c + i], WORD(G_FREE, 0, ARENA(a_word)), WORD(G_NEW, t, ARENA(a_word)), is_ok);
                        i = (is_ok -> i + 1 : i)
                :: else -> break
                od;
                if
                :: !is_ok ->
                        do
                        :: i > 0 ->
                                i--;
                                STEP(assert(OWNER(granule[PER * c + i]) == t);
                                     granule[PER * c + i] = WORD(G_FREE, 0, ARENA(a_word)))
                        :: else -> break
                        od
                :: else ->
                        CAS(chunk[c], a_word, WORD(C_FREEING, t, ARENA(a_word)), is_ok); /* RETIRE.3 */
                        assert(is_ok); /* who holds all granules of a chunk is the only one that may change its word */
                        retire_words(c)
                fi;
                candidate_clear()
        :: else
        fi
}

inline retire_words(c)
{
#ifdef MUTATION_chunk_released_before_words
        STEP(chunk[c] = C_FREE);
#endif
        for (i : 0 .. PER - 1) {
                STEP(assert(OWNER(granule[PER * c + i]) == t); granule[PER * c + i] = G_NONE) /* RETIRE.4 */
        }
#ifndef MUTATION_chunk_released_before_words
        STEP(assert(OWNER(chunk[c]) == t); chunk[c] = C_FREE) /* RETIRE.5 */
#endif
}

inline huge_alloc()
{
        candidate_set(HUGE_OF, 0); /* HUGE.1 */
        i = 0;
        is_ok = 1;
        do
        :: i < CHUNKS && is_ok -> CAS(chunk[i], C_FREE, WORD(C_NEW, t, 0), is_ok); i = (is_ok -> i + 1 : i) /* HUGE.2 */
        :: else -> break
        od;
        if
        :: !is_ok ->
                do
                :: i > 0 -> i--; STEP(assert(OWNER(chunk[i]) == t); chunk[i] = C_FREE)
                :: else -> break
                od
        :: else ->
                STEP(assert(OWNER(chunk[1]) == t && granule[0] == G_NONE && granule[PER] == G_NONE);
                     chunk[1] = WORD(C_TAIL, 0, 1)); /* HUGE.5 */
                STEP(assert(OWNER(chunk[0]) == t); /* HUGE.6: commit */
                     chunk[0] = WORD(C_HUGE, 0, CHUNKS); huge_in_use = 1)
        fi;
        candidate_clear() /* HUGE.7 */
}

inline huge_free()
{
        if
        :: d_step { huge_in_use -> huge_in_use = 0; is_ok = 1 }
        :: else -> is_ok = 0
        fi;
        if
        :: is_ok ->
                candidate_set(HUGE_OF, 0);
                CAS(chunk[0], WORD(C_HUGE, 0, CHUNKS), WORD(C_FREEING, t, CHUNKS), is_ok); /* HUGE_FREE.1: commit */
                assert(is_ok);
#ifndef MUTATION_huge_head_freed_first
                STEP(assert(chunk[1] == WORD(C_TAIL, 0, 1)); chunk[1] = C_FREE); /* HUGE_FREE.2 */
                STEP(assert(OWNER(chunk[0]) == t); chunk[0] = C_FREE);
#else
                STEP(assert(OWNER(chunk[0]) == t); chunk[0] = C_FREE);
                STEP(assert(chunk[1] == WORD(C_TAIL, 0, 1)); chunk[1] = C_FREE);
#endif
                candidate_clear()
        :: else
        fi
}

inline purge_free_chunk(c)
{
        claim_chunk(c); /* PURGE_CHUNK.1, .2 */
        if
        :: is_ok ->
                for (i : 0 .. PER - 1) {
                        /* PURGE_CHUNK.3 to .5: its notes of pages are ours */
                        STEP(assert(granule[PER * c + i] == G_NONE))
                }
                STEP(assert(OWNER(chunk[c]) == t); chunk[c] = C_FREE);
                candidate_clear()
        :: else
        fi
}

/* ------------------------------------------------------------------ settling the dead */

inline run_settle(s, g)
{
        STEP(a_word = granule[g]);
        if
        :: OWNER(a_word) == s -> STEP(assert(OWNER(granule[g]) == s); granule[g] = WORD(G_FREE, 0, ARENA(a_word)))
        :: else
        fi
}

inline chunk_settle(s, c)
{
        STEP(a_word = chunk[c]);
        for (i : 0 .. PER - 1) {
                STEP(is_ok = (OWNER(granule[PER * c + i]) == s));
                if
                :: is_ok ->
                        STEP(assert(OWNER(granule[PER * c + i]) == s);
                             granule[PER * c + i] = (STATE(a_word) == C_ARENA ->
                                     WORD(G_FREE, 0, ARENA(granule[PER * c + i])) : G_NONE))
                :: else
                fi
        }
        if
        :: STATE(a_word) != C_ARENA && OWNER(a_word) == s -> STEP(assert(OWNER(chunk[c]) == s); chunk[c] = C_FREE)
        :: else
        fi
}

inline huge_settle(s)
{
        STEP(a_word = chunk[0]);
        STEP(is_ok = (OWNER(chunk[1]) == s || (OWNER(a_word) == s && chunk[1] == WORD(C_TAIL, 0, 1))));
        if
        :: is_ok -> STEP(assert(OWNER(chunk[1]) == s || OWNER(chunk[0]) == s); chunk[1] = C_FREE)
        :: else
        fi;
        if
        :: OWNER(a_word) == s -> STEP(assert(OWNER(chunk[0]) == s); chunk[0] = C_FREE)
        :: else
        fi
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok ->
                if
                :: candidate[s] == RUN_OF -> run_settle(s, place[s])
                :: candidate[s] == CHUNK_OF -> chunk_settle(s, place[s])
                :: candidate[s] == HUGE_OF -> huge_settle(s)
                :: else
                fi;
                STEP(candidate[s] = NO_CANDIDATE);
                END_REAP(s)
        :: else
        fi
}

proctype Thread(byte t; byte may; byte ops)
{
        byte who, at, i, a_word;
        bit is_ok;

        do
        :: ops > 0 && (may & GIVE) -> ops--; atomic { select (at : 0 .. CHUNKS - 1) }; chunk_give(at, (t & 1))
        :: ops > 0 && (may & CLAIM) -> ops--; atomic { select (at : 0 .. GRANULES - 1) }; large_alloc(at, (t & 1))
        :: ops > 0 && (may & CLAIM) -> ops--; atomic { select (at : 0 .. GRANULES - 1) }; large_free(at)
        :: ops > 0 && (may & RETIRE) -> ops--; atomic { select (at : 0 .. CHUNKS - 1) }; chunk_retire(at)
        :: ops > 0 && (may & HUGE) -> ops--; huge_alloc()
        :: ops > 0 && (may & HUGE_FREE) -> ops--; huge_free()
        :: ops > 0 && (may & PURGE) -> ops--; atomic { select (at : 0 .. CHUNKS - 1) }; purge_free_chunk(at)
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[t] = 1;
dead:
        skip
}

init
{
        byte who, t = SURVIVOR, i, a_word, c;
        bit is_ok;

        d_step { /* FIRST: chunk 0 is arena 1's, with a block in it; or both are a huge block; or both are free */
#if FIRST == 1
                chunk[0] = WORD(C_ARENA, 0, 1);
                granule[0] = WORD(G_LARGE, 0, 1);
                granule[1] = WORD(G_FREE, 0, 1);
                in_use[0] = 1;
#elif FIRST == 2
                chunk[0] = WORD(C_HUGE, 0, CHUNKS);
                chunk[1] = WORD(C_TAIL, 0, 1);
                huge_in_use = 1;
#endif
                skip
        }
        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
                OVER(1) && OVER(2) && OVER(3);
                for (who : 1 .. PROCS) {
                        slot_reap_one(who)
                }
                for (c : 0 .. CHUNKS - 1) {
                        a_word = chunk[c];
                        assert(OWNER(a_word) == 0);
                        assert(a_word == C_FREE || STATE(a_word) == C_ARENA ||
                               (c == 0 && a_word == WORD(C_HUGE, 0, CHUNKS) && chunk[1] == WORD(C_TAIL, 0, 1)) ||
                               (c == 1 && a_word == WORD(C_TAIL, 0, 1) && chunk[0] == WORD(C_HUGE, 0, CHUNKS)));
                        assert(STATE(a_word) != C_HUGE || huge_in_use || halts > 0);
                        for (i : 0 .. PER - 1) {
                                assert(STATE(a_word) == C_ARENA || granule[PER * c + i] == G_NONE);
                                assert(STATE(a_word) != C_ARENA ||
                                       granule[PER * c + i] == WORD(G_FREE, 0, ARENA(a_word)) ||
                                       granule[PER * c + i] == WORD(G_LARGE, 0, ARENA(a_word)));
                                assert(STATE(granule[PER * c + i]) != G_LARGE || in_use[PER * c + i] || halts > 0);
                                assert(STATE(granule[PER * c + i]) == G_LARGE || !in_use[PER * c + i])
                        }
                }
        }
dead:
        skip
}
