/*
 * sweep.pml - pages beyond a high-water mark given back while others raise it: elements of a table, and a chunk
 * (lib/pages/sweep.c, chunk_sweep() in lib/pages/chunk.c, raise_begin() in lib/region/region.c).
 *
 * OP 1: a table of N elements of a page each, all of which somebody has touched.  Processes 1 and 2 raise the mark; who
 * meets a piece that is being swept settles one of the dead, and tries once more.  Process 3 sweeps pieces of one
 * element, from the lowest limit on that the argument allows.  Steps are SWEEP.n of doc/recovery.md.  OP 2: processes 1
 * and 2 raise the mark over the one chunk, take it, use it, and let go; process 3 sweeps it by SWEEP_CHUNK.n.
 *
 * At the end what lies below the mark has pages, and so has what a note says has; and all can be raised, or taken.
 *
 * sizes: HALTS=1 OP=1 N=4 RAISES=3 PIECES=2
 * sizes: HALTS=2 OP=1 N=3 RAISES=3 PIECES=2
 * sizes: HALTS=2 OP=2 N=1 RAISES=2 PIECES=2
 * large: HALTS=2 OP=1 N=4 RAISES=3 PIECES=2
 * large: HALTS=3 OP=2 N=1 RAISES=3 PIECES=3
 *
 * mutant: mark_not_written_again 1  SWEEP.2 left out
 * mutant: word_cleared_first 1      SWEEP.4 before SWEEP.3
 * mutant: limit_at_the_mark 1       the element that a raise may be under way to is swept, too
 * mutant: word_before_mark 1        who raises looks at the word, then at the mark
 * mutant: anybodys_word 1           who settles one of the dead clears the word of whomever
 * mutant: chunk_let_go_first 3      SWEEP_CHUNK.5 before .4
 * mutant: chunk_without_a_look 3    SWEEP_CHUNK.4 without a look at the mark
 */
#define PROCS 3
#include "common.pml"

byte mark;
byte sweep_owner, sweep_limit; /* one word, which changes in one step */
bit page[N];                   /* of the element, or of the chunk */
byte word[N];                  /* of the chunk: who owns it */
bit noted[N];                  /* the granules' words say that it has pages */

/* SWEEP: sweep_settle; SETTLE.2. */
inline settle(s)
{
#ifndef MUTATION_anybodys_word
        STEP(if
             :: sweep_owner == s -> sweep_owner = 0
             :: else
             fi);
#else
        STEP(sweep_owner = 0);
#endif
        STEP(if
             :: word[0] == s -> word[0] = 0
             :: else
             fi)
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok -> settle(s); END_REAP(s)
        :: else
        fi
}

#define IS_SWEPT(k) (sweep_owner != 0 && k >= sweep_limit)

/* is_free: nobody is giving back what element k needs. */
inline look(k)
{
        STEP(is_free = !IS_SWEPT(k))
}

inline region_raise()
{
#ifdef MUTATION_word_before_mark
        look(mark);
        STEP(k = mark);
#else
        STEP(k = mark);
        if
        :: k < N -> look(k)
        :: else
        fi;
#endif
        if
        :: k < N && !is_free ->
                reap_any();
                look(k)
        :: else
        fi;
        if
        :: k < N && is_free ->
#if OP == 1
                STEP(page[k] = 1);
#endif
                CAS_ONCE(mark, k, k + 1)
        :: else
        fi
}

/* A chunk below the mark, whose notes are relied on. */
inline use_chunk()
{
        STEP(is_ok = (mark > 0 && word[0] == 0));
        if
        :: is_ok -> CAS(word[0], 0, ME, is_ok)
        :: else
        fi;
        if
        :: is_ok ->
                STEP(is_free = noted[0]);
                if
                :: is_free -> skip
                :: else -> STEP(page[0] = 1); STEP(noted[0] = 1)
                fi;
                STEP(assert(page[0])); /* what was written is there */
                STEP(word[0] = 0)
        :: else
        fi
}

proctype Raiser(byte t)
{
        byte k, n, who;
        bit is_ok, is_free = 1;

        do
        :: n < RAISES ->
                n++;
                region_raise();
#if OP == 2
                use_chunk()
#endif
        :: else -> break
        od;
        done[t] = 1;
dead:
        skip
}

inline sweep_piece()
{
        STEP(value = mark);
#ifndef MUTATION_limit_at_the_mark
        k = value + 1;
#else
        k = value;
#endif
        do
        :: k < N - 1 -> k++
        :: break
        od;
        if
        :: k < N ->
                if
                :: d_step { sweep_owner == 0 -> sweep_owner = ME; sweep_limit = k; is_ok = 1 } /* SWEEP.1 */
                :: d_step { sweep_owner != 0 -> is_ok = 0 }
                :: HALT
                fi;
                if
                :: is_ok ->
#ifndef MUTATION_mark_not_written_again
                        CAS(mark, value, value, is_ok); /* SWEEP.2 */
#endif
#ifdef MUTATION_word_cleared_first
                        STEP(sweep_owner = 0);
#endif
                        if
                        :: is_ok -> STEP(page[k] = 0) /* SWEEP.3 */
                        :: else
                        fi;
#ifndef MUTATION_word_cleared_first
                        STEP(sweep_owner = 0) /* SWEEP.4 */
#endif
                :: else
                fi
        :: else
        fi
}

inline chunk_sweep()
{
        CAS(word[0], 0, ME, is_ok); /* SWEEP_CHUNK.3 */
        if
        :: is_ok ->
#ifdef MUTATION_chunk_let_go_first
                STEP(word[0] = 0);
#endif
                STEP(value = mark);
#ifdef MUTATION_chunk_without_a_look
                value = 0;
#endif
                if
                :: value == 0 -> STEP(page[0] = 0) /* SWEEP_CHUNK.4 */
                :: else
                fi;
#ifndef MUTATION_chunk_let_go_first
                STEP(word[0] = 0) /* SWEEP_CHUNK.5 */
#endif
        :: else
        fi
}

proctype Sweeper(byte t)
{
        byte k, n, value;
        bit is_ok;

        do
        :: n < PIECES ->
                n++;
#if OP == 1
                sweep_piece()
#else
                chunk_sweep()
#endif
        :: else -> break
        od;
        done[t] = 1;
dead:
        skip
}

init {
        byte t = SURVIVOR, k, n, who;
        bit is_ok, is_free = 1;

        atomic {
                for (k : 0 .. N - 1) {
                        page[k] = 1
                };
                run Raiser(1);
                run Raiser(2);
                run Sweeper(3)
        };
        OVER(1) && OVER(2) && OVER(3);
        n = 1;
        do
        :: n <= PROCS -> slot_reap_one(n); n++
        :: else -> break
        od;
        assert(sweep_owner == 0 && word[0] == 0);
        for (n : 1 .. N) { /* nothing is in the way any more */
                region_raise()
        };
        assert(mark == N);
#if OP == 1
        for (k : 0 .. N - 1) {
                assert(page[k])
        };
#else
        assert(!noted[0] || page[0]);
        use_chunk();
        assert(noted[0]);
#endif
dead:
        skip
}
