/*
 * fill.pml - blocks between slabs, magazines, and words that hold a reference: fill, drain, swap, single blocks with a
 * dest, and recovery by reapers that die (lib/blocks/slab.c, drain.c, reap.c).
 *
 * Two slabs of SLAB_BLOCKS blocks; every thread has one magazine of two entries, which nobody takes from it
 * (magazine.pml does that), a block in its program's hands, and a word `dest` that malloc_to and free_from use.  Steps
 * are FILL.n, DRAIN.n, SWAP.n, ONE.n, MALLOC.1, PUSH.n and SETTLE.n of doc/recovery.md.
 *
 * At the end every block is in exactly one place: free in its slab, in a magazine, in a dest, or its user's; every slab
 * is nobody's, and its count is right.
 *
 * may: 1 malloc, 2 free, 4 drain, 8 and 16 allocate and free a single block, 32 reap
 * sizes: HALTS=2 MAY_1=3 OPS_1=2 MAY_2=4 OPS_2=2 MAY_3=32 OPS_3=1
 * sizes: HALTS=2 MAY_1=24 OPS_1=2 MAY_2=13 OPS_2=1 MAY_3=32 OPS_3=1
 * large: HALTS=2 MAY_1=27 OPS_1=2 MAY_2=37 OPS_2=2 MAY_3=35 OPS_3=1
 * large: HALTS=3 MAY_1=3 OPS_1=2 MAY_2=36 OPS_2=2 MAY_3=32 OPS_3=2
 *
 * mutant: intent_before_entries         FILL.4 before FILL.3
 * mutant: fill_committed_before_bits    FILL.6 before FILL.5
 * mutant: drain_committed_before_bits   DRAIN.5 before DRAIN.4
 * mutant: candidate_cleared_first       FILL.9 before FILL.8
 * mutant: candidate_before_intent       SETTLE.2 before SETTLE.1
 */
#define PROCS 3
#include "common.pml"

#define MALLOC     1
#define FREE       2
#define DRAIN      4
#define ALLOC_ONE  8
#define FREE_ONE   16
#define REAP       32

#define SLABS 2
#ifndef SLAB_BLOCKS
#define SLAB_BLOCKS 2
#endif
#define BLOCKS (SLABS * SLAB_BLOCKS)
#define CAP    2

#define SLAB_OF(block) ((block) / SLAB_BLOCKS)
#define FIRST_OF(slab) ((slab)*SLAB_BLOCKS)

/* the slabs */
byte owner[SLABS]; /* with count one word */
byte count[SLABS] = SLAB_BLOCKS;
bit is_free[BLOCKS] = 1;

/* by thread: its magazine, its slot, its program */
#define ENTRY(t_, i) entry[(t_)*CAP + (i)]
byte n[PROCS + 2];
byte entry[(PROCS + 2) * CAP];
byte candidate[PROCS + 2]; /* slab + 1 */
mtype = { NONE, FILLING, DRAINING, SWAPPING, ALLOCATING_ONE, FREEING_ONE };
mtype intent[PROCS + 2] = NONE;
byte intent_slab[PROCS + 2], intent_n[PROCS + 2], intent_a[PROCS + 2], intent_b[PROCS + 2];
byte used[PROCS + 2]; /* block + 1 */
byte dest[PROCS + 2]; /* block + 1 */

inline count_free(slab)
{
        d_step {
                k = 0;
                for (i : 0 .. SLAB_BLOCKS - 1) {
                        k = k + is_free[FIRST_OF(slab) + i]
                }
                i = 0
        }
}

/* candidate, CAS */
inline acquire(slab)
{
        STEP(candidate[t] = slab + 1);   /* FILL.1, DRAIN.1 */
        CAS(owner[slab], 0, t, is_ok);   /* FILL.2, DRAIN.2 */
        if
        :: !is_ok -> STEP(candidate[t] = 0)
        :: else
        fi
}

inline release(slab, n_free)
{
#ifdef MUTATION_candidate_cleared_first
        STEP(candidate[t] = 0);
#endif
        STEP(assert(owner[slab] == t); owner[slab] = 0; count[slab] = n_free); /* FILL.8, DRAIN.7, ONE.5 */
#ifndef MUTATION_candidate_cleared_first
        STEP(candidate[t] = 0) /* FILL.9, DRAIN.8 */
#endif
}

/* FILL.3: up to CAP free blocks, the lowest on top; nobody looks at entries beyond n. */
inline choose_blocks(slab, want)
{
        d_step {
                k = 0;
                for (i : 0 .. SLAB_BLOCKS - 1) {
                        if
                        :: is_free[FIRST_OF(slab) + i] && k < want -> block = FIRST_OF(slab) + i; k++
                        :: else
                        fi
                }
                i = 0
        }
}

inline write_entries(slab)
{
        d_step {
                k = 0;
                for (i : 0 .. SLAB_BLOCKS - 1) {
                        if
                        :: is_free[FIRST_OF(slab) + i] && k < CAP -> ENTRY(t, k) = FIRST_OF(slab) + i; k++
                        :: else
                        fi
                }
                if
                :: k == 2 -> i = ENTRY(t, 0); ENTRY(t, 0) = ENTRY(t, 1); ENTRY(t, 1) = i
                :: else
                fi;
                i = 0
        }
}

inline slab_fill(slab)
{
#ifndef MUTATION_intent_before_entries
        if
        :: write_entries(slab) /* FILL.3 */
        :: HALT
        fi;
        STEP(intent_slab[t] = slab; intent_n[t] = k; intent[t] = FILLING); /* FILL.4 */
#else
        count_free(slab);
        k = (k < CAP -> k : CAP);
        STEP(intent_slab[t] = slab; intent_n[t] = k; intent[t] = FILLING);
        if
        :: write_entries(slab)
        :: HALT
        fi;
#endif
        want = k;
#ifdef MUTATION_fill_committed_before_bits
        STEP(n[t] = want);
#endif
        i = want;
        do
        :: i > 0 ->
                STEP(assert(owner[slab] == t && is_free[ENTRY(t, i - 1)]); is_free[ENTRY(t, i - 1)] = 0); /* FILL.5 */
                i--
        :: else -> break
        od;
#ifndef MUTATION_fill_committed_before_bits
        STEP(n[t] = want); /* FILL.6: commit */
#endif
        STEP(intent[t] = NONE); /* FILL.7 */
        count_free(slab);
        release(slab, k)
}

/* A slab that looks as if it had room. */
inline find_slab()
{
        STEP(slab = (owner[0] == 0 && count[0] > 0 -> 0 : (owner[1] == 0 && count[1] > 0 -> 1 : SLABS)))
}

inline malloc()
{
        if
        :: n[t] == 0 ->
                find_slab();
                if
                :: slab < SLABS ->
                        acquire(slab);
                        count_free_if_ok();
                        if
                        :: is_ok && k > 0 -> slab_fill(slab)
                        :: is_ok && k == 0 -> release(slab, 0)
                        :: else
                        fi
                :: else
                fi
        :: else
        fi;
        if
        :: n[t] > 0 && used[t] == 0 -> STEP(used[t] = ENTRY(t, n[t] - 1) + 1; n[t]--) /* MALLOC.1 */
        :: else
        fi
}

inline count_free_if_ok()
{
        if
        :: is_ok -> count_free(slab)
        :: else
        fi
}

inline free()
{
        if
        :: used[t] != 0 && n[t] == CAP -> drain()
        :: else
        fi;
        if
        :: used[t] != 0 && n[t] < CAP ->
                STEP(ENTRY(t, n[t]) = used[t] - 1); /* PUSH.1 */
                STEP(n[t]++; used[t] = 0)           /* PUSH.2 */
        :: else
        fi
}

/* slab_drain(), and drain_magazine()'s exchange where the slab is held */
inline drain()
{
        if
        :: n[t] > 0 ->
                slab = SLAB_OF(ENTRY(t, n[t] - 1));
                STEP(is_ok = (owner[slab] == 0));
                if
                :: is_ok -> acquire(slab)
                :: else
                fi;
                if
                :: is_ok -> slab_drain(slab)
                :: !is_ok && n[t] == 2 -> swap()
                :: else
                fi
        :: else
        fi
}

inline slab_drain(slab)
{
        k = n[t] - 1; /* n', with those at the top that are of the same slab */
        if
        :: k > 0 && SLAB_OF(ENTRY(t, k - 1)) == slab -> k--
        :: else
        fi;
        STEP(intent_slab[t] = slab; intent_n[t] = k; intent[t] = DRAINING); /* DRAIN.3 */
#ifdef MUTATION_drain_committed_before_bits
        want = n[t];
        STEP(n[t] = k);
        i = want;
#else
        i = n[t];
#endif
        do
        :: i > k ->
                STEP(assert(owner[slab] == t && !is_free[ENTRY(t, i - 1)]); is_free[ENTRY(t, i - 1)] = 1); /* DRAIN.4 */
                i--
        :: else -> break
        od;
#ifndef MUTATION_drain_committed_before_bits
        STEP(n[t] = k); /* DRAIN.5: commit */
#endif
        STEP(intent[t] = NONE); /* DRAIN.6 */
        count_free(slab);
        release(slab, k)
}

inline swap()
{
        STEP(intent_a[t] = ENTRY(t, 0); intent_b[t] = ENTRY(t, 1); intent[t] = SWAPPING); /* SWAP.1 */
        STEP(ENTRY(t, 0) = intent_b[t]); /* SWAP.2 */
        STEP(ENTRY(t, 1) = intent_a[t]); /* SWAP.3 */
        STEP(intent[t] = NONE)           /* SWAP.4 */
}

inline slab_alloc_one()
{
        find_slab();
        if
        :: slab < SLABS ->
                acquire(slab);
                if
                :: is_ok -> choose_blocks(slab, 1)
                :: else -> k = 0
                fi;
                if
                :: is_ok && k == 1 ->
                        STEP(intent_slab[t] = slab; intent_a[t] = block; intent_b[t] = dest[t];
                             intent[t] = ALLOCATING_ONE);
                        STEP(assert(owner[slab] == t && is_free[block]); is_free[block] = 0); /* ONE.2 */
                        STEP(dest[t] = block + 1);                                            /* ONE.3 */
                        STEP(intent[t] = NONE)                                                /* ONE.4: commit */
                :: else
                fi;
                if
                :: is_ok -> count_free(slab); release(slab, k)
                :: else
                fi
        :: else
        fi
}

inline slab_free_one()
{
        if
        :: dest[t] != 0 ->
                block = dest[t] - 1;
                slab = SLAB_OF(block);
                STEP(is_ok = (owner[slab] == 0));
                if
                :: is_ok -> acquire(slab)
                :: else
                fi;
                if
                :: is_ok ->
                        STEP(intent_slab[t] = slab; intent_a[t] = block; intent_b[t] = 0; intent[t] = FREEING_ONE);
                        STEP(dest[t] = 0);                                                     /* ONE.2 */
                        STEP(assert(owner[slab] == t && !is_free[block]); is_free[block] = 1); /* ONE.3 */
                        STEP(intent[t] = NONE);                                                /* ONE.4 */
                        count_free(slab);
                        release(slab, k)
                :: else
                fi
        :: else
        fi
}

/* slab_settle_block() for entries [from, to) of the dead's magazine */
inline settle_entries(s, from, to)
{
        i = from;
        do
        :: i < to -> STEP(assert(owner[intent_slab[s]] == s); is_free[ENTRY(s, i)] = 1); i++
        :: else -> break
        od
}

inline settle_intent(s)
{
        if
        :: intent[s] == FILLING && n[s] == 0 && owner[intent_slab[s]] == s -> settle_entries(s, 0, intent_n[s])
        :: intent[s] == DRAINING && n[s] > intent_n[s] && owner[intent_slab[s]] == s ->
                settle_entries(s, intent_n[s], n[s]);
                STEP(n[s] = intent_n[s])
        :: intent[s] == SWAPPING -> STEP(ENTRY(s, 0) = intent_b[s]); STEP(ENTRY(s, 1) = intent_a[s])
        :: (intent[s] == ALLOCATING_ONE || intent[s] == FREEING_ONE) && owner[intent_slab[s]] == s ->
                STEP(is_free[intent_a[s]] = 1);
                CAS_ONCE(dest[s], intent_a[s] + 1, intent_b[s])
        :: else
        fi;
        STEP(intent[s] = NONE)
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok ->
#ifndef MUTATION_candidate_before_intent
                settle_intent(s); /* SETTLE.1 */
#endif
                if                /* SETTLE.2: slab_settle() */
                :: candidate[s] != 0 && owner[candidate[s] - 1] == s ->
                        count_free(candidate[s] - 1);
                        STEP(assert(owner[candidate[s] - 1] == s);
                             owner[candidate[s] - 1] = 0; count[candidate[s] - 1] = k)
                :: else
                fi;
                STEP(candidate[s] = 0);
#ifdef MUTATION_candidate_before_intent
                settle_intent(s);
#endif
                END_REAP(s)
        :: else
        fi
}

proctype Thread(byte t; byte may; byte ops)
{
        byte who, slab, block, want, i, k;
        bit is_ok;

        do
        :: ops > 0 && (may & MALLOC) -> ops--; malloc()
        :: ops > 0 && (may & FREE) -> ops--; free()
        :: ops > 0 && (may & DRAIN) -> ops--; drain()
        :: ops > 0 && (may & ALLOC_ONE) && dest[t] == 0 -> ops--; slab_alloc_one()
        :: ops > 0 && (may & FREE_ONE) -> ops--; slab_free_one()
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[t] = 1;
dead:
        skip
}

init
{
        byte t = SURVIVOR, who, block, i, k;
        bit is_ok;

        /* Thread 2 begins with a full magazine, one block of each slab: a drain that meets a held slab swaps. */
        d_step {
                is_free[0] = 0;
                is_free[BLOCKS - 1] = 0;
                count[0]--;
                count[1]--;
                ENTRY(2, 0) = 0;
                ENTRY(2, 1) = BLOCKS - 1;
                n[2] = 2
        }
        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
                OVER(1) && OVER(2) && OVER(3);
                for (who : 1 .. PROCS) {
                        slot_reap_one(who)
                }
                for (who : 0 .. SLABS - 1) {
                        count_free(who);
                        assert(owner[who] == 0 && count[who] == k)
                }
                for (block : 0 .. BLOCKS - 1) {
                        k = is_free[block];
                        for (who : 1 .. PROCS) {
                                k = k + (used[who] == block + 1) + (dest[who] == block + 1);
                                k = k + (n[who] > 0 && ENTRY(who, 0) == block) + (n[who] > 1 && ENTRY(who, 1) == block)
                        }
                        assert(k == 1)
                }
        }
dead:
        skip
}
