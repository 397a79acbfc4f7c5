/*
 * run_model.pml - what run.pml and candidate.pml share.
 */
#define PROCS 3
#include "common.pml"

#ifndef GRANULES
#define GRANULES 3
#endif

#define ALLOC  1
#define FREE   2
#define RESIZE 4
#define SLAB   8
#define PURGE  16
#define REAP   32

/* granule words: state 0..2 | owner 3..5 | count 6..8 | doomed 9.  The count of a slab is that of its free blocks, of
 * one. */
#define G_FREE    0
#define G_NEW     1
#define G_SLAB    2
#define G_LARGE   3
#define G_CONT    4
#define G_FREEING 5
#define G_PURGING 6
#define DOOMED    512
#define WORD(state, owner, count)  ((state) | ((owner) << 3) | ((count) << 6))
#define STATE(word_)               ((word_)&7)
#define OWNER(word_)               (((word_) >> 3) & 7)
#define COUNT(word_)               (((word_) >> 6) & 7)
#define WITH_OWNER(word_, owner)   (((word_) & ~56) | ((owner) << 3))
#define WITH_STATE(word_, state)   (((word_) & ~7) | (state))
#define WITH_COUNT(word_, count)   (((word_) & ~448) | ((count) << 6))
#define SLAB_GRANULES              2

short word[GRANULES];
byte head_of[PROCS + 2], length_of[PROCS + 2]; /* the candidate; length 0: none */
bit is_tagged[GRANULES];

/* What the users think: the block that starts at a granule is theirs. */
bit in_use[GRANULES];

#define IS_MINE(i) (OWNER(word[i]) == t)

inline candidate_set(h, l)
{
        STEP(head_of[t] = h; length_of[t] = l)
}

inline candidate_clear()
{
        STEP(length_of[t] = 0)
}

/* RUN.1, RUN.2; is_ok: all are NEW(t) */
inline claim_at(h, l)
{
        candidate_set(h, l); /* RUN.1 */
        claim_granules(h, h + l);
        if
        :: !is_ok -> candidate_clear() /* RUN.4 */
        :: else
        fi
}

/* [from, to), in address order, or none */
inline claim_granules(from, to)
{
        i = from;
        is_ok = 1;
        do
        :: i < to && is_ok -> CAS(word[i], G_FREE, WORD(G_NEW, t, 0), is_ok); i = (is_ok -> i + 1 : i) /* RUN.2 */
        :: else -> break
        od;
        if
        :: !is_ok ->
                do
                :: i > from -> i--; STEP(assert(word[i] == WORD(G_NEW, t, 0)); word[i] = G_FREE) /* RUN.3 */
                :: else -> break
                od
        :: else
        fi
}

inline interior_store(h, from, to)
{
        i = from;
        do
        :: i < to -> STEP(assert(word[i] == WORD(G_NEW, t, 0)); word[i] = WORD(G_CONT, 0, i - (h))); i++
        :: else -> break
        od
}

/* The head is mine: FREEING(t), or a NEW(t) run of one. */
inline run_free_owned(h, l)
{
        STEP(assert(IS_MINE(h)); is_tagged[h] = 0);
#ifdef MUTATION_head_freed_first
        STEP(assert(IS_MINE(h)); word[h] = G_FREE);
#endif
        i = h + 1;
        do
        :: i < h + l ->
                STEP(is_tagged[i] = 0); /* RUN_FREE.2 */
                STEP(assert(word[i] == WORD(G_CONT, 0, i - (h))); word[i] = G_FREE); /* RUN_FREE.3 */
                i++
        :: else -> break
        od;
#ifndef MUTATION_head_freed_first
        STEP(assert(IS_MINE(h)); word[h] = G_FREE); /* RUN_FREE.4 */
#endif
        candidate_clear() /* RUN_FREE.5 */
}

inline large_alloc(h, l)
{
        claim_at(h, l); /* LARGE.1 */
        if
        :: is_ok ->
                interior_store(h, h + 1, h + l);                                                    /* LARGE.3 */
                STEP(is_tagged[h] = 1);                                                             /* LARGE.4 */
                STEP(assert(word[h] == WORD(G_NEW, t, 0)); word[h] = WORD(G_LARGE, 0, l); in_use[h] = 1); /* LARGE.5 */
                candidate_clear()                                                                   /* LARGE.6 */
        :: else
        fi
}

/* The block at h is its user's, which frees it once: who frees takes that right along. */
inline any_free(h)
{
        if
        :: d_step { in_use[h] -> in_use[h] = 0; is_ok = 1 }
        :: else -> is_ok = 0
        fi;
        do
        :: is_ok ->
                STEP(a_word = word[h]);
                if
                :: STATE(a_word) == G_SLAB && OWNER(a_word) != 0 -> STEP(in_use[h] = 1); break /* -EBUSY: it is kept */
                :: STATE(a_word) == G_SLAB && OWNER(a_word) == 0 ->
                        candidate_set(h, SLAB_GRANULES);
                        CAS(word[h], a_word, WITH_OWNER(a_word, t), is_ok);
                        if
                        :: is_ok -> slab_release(h, 1); break
                        :: else -> candidate_clear(); is_ok = 1
                        fi
                :: STATE(a_word) == G_LARGE && OWNER(a_word) != 0 -> /* doom() */
                        assert(!(a_word & DOOMED));
                        CAS(word[h], a_word, a_word | DOOMED, is_ok);
                        if
                        :: is_ok -> break
                        :: else -> is_ok = 1
                        fi
                :: STATE(a_word) == G_LARGE && OWNER(a_word) == 0 ->
                        candidate_set(h, COUNT(a_word));
                        /* RUN_FREE.1: commit */
                        CAS(word[h], a_word, WITH_STATE(WITH_OWNER(a_word, t), G_FREEING), is_ok);
                        if
                        :: is_ok -> l = COUNT(a_word); run_free_owned(h, l); break
                        :: else -> candidate_clear(); is_ok = 1
                        fi
                :: else -> assert(false) /* what a user has is a block */
                fi
        :: else -> break
        od
}

/* The slab is mine; an empty one becomes a free run. */
inline slab_release(h, n_free)
{
        if
        :: n_free == 1 ->
                STEP(assert(IS_MINE(h)); word[h] = WORD(G_FREEING, t, SLAB_GRANULES));
                run_free_owned(h, SLAB_GRANULES)
        :: else ->
                STEP(assert(IS_MINE(h)); word[h] = WORD(G_SLAB, 0, n_free); in_use[h] = 1);
                candidate_clear()
        fi
}

/* slab_find_owned() or slab_create_owned(), and its one block taken */
inline slab_use(h)
{
        STEP(a_word = word[h]);
        if
        :: a_word == WORD(G_SLAB, 0, 1) ->
                candidate_set(h, SLAB_GRANULES);
                CAS(word[h], a_word, WITH_OWNER(a_word, t), is_ok);
                if
                :: !is_ok -> candidate_clear()
                :: else
                fi
        :: a_word == G_FREE && h + SLAB_GRANULES <= GRANULES ->
                claim_at(h, SLAB_GRANULES); /* SLAB.1 */
                if
                :: is_ok ->
                        STEP(is_tagged[h] = 1; is_tagged[h + 1] = 1); /* SLAB.5 */
                        interior_store(h, h + 1, h + SLAB_GRANULES);  /* SLAB.6 */
                        STEP(assert(word[h] == WORD(G_NEW, t, 0)); word[h] = WORD(G_SLAB, t, 1)) /* SLAB.6 */
                :: else
                fi
        :: else -> is_ok = 0
        fi;
        if
        :: is_ok -> slab_release(h, 0) /* filled */
        :: else
        fi
}

/* LARGE(t) loses its owner; who finds it doomed frees it. */
inline drop_owner(h, last)
{
        do
        :: 1 ->
                STEP(a_word = word[h]);
                if
#ifndef MUTATION_doomed_overlooked
                :: a_word & DOOMED ->
                        STEP(assert(IS_MINE(h)); word[h] = WITH_STATE(last, G_FREEING));
                        l = COUNT(last);
                        run_free_owned(h, l);
                        break
                :: else ->
#else
                :: 1 ->
#endif
                        CAS(word[h], a_word, WITH_OWNER(last, 0), is_ok); /* RESIZE.10 */
                        if
                        :: is_ok -> candidate_clear(); break
                        :: else
                        fi
                fi
        od
}

inline store_length(h, size)
{
        mine = WITH_COUNT(mine, size);
        is_ok = 0;
        do
        :: !is_ok ->
                STEP(a_word = word[h]);
                CAS(word[h], a_word, mine | (a_word & DOOMED), is_ok) /* RESIZE.7: commit */
        :: else -> break
        od
}

inline large_resize(h, size)
{
        STEP(a_word = word[h]);
        old = COUNT(a_word);
        if
        :: STATE(a_word) == G_LARGE && OWNER(a_word) == 0 && old != size && h + size <= GRANULES ->
                l = (size > old -> size : old);
                candidate_set(h, l);                                /* RESIZE.1 */
                CAS(word[h], a_word, WITH_OWNER(a_word, t), is_ok); /* RESIZE.2 */
                mine = WITH_OWNER(a_word, t);
                if
                :: is_ok && size > old ->
                        claim_granules(h + old, h + size); /* RESIZE.4 */
                        if
                        :: is_ok ->
                                interior_store(h, h + old, h + size); /* RESIZE.6 */
                                store_length(h, size)
                        :: else
                        fi;
                        drop_owner(h, mine)
                :: is_ok && size < old ->
                        store_length(h, size);
                        i = h + size; /* RESIZE.8 */
                        do
                        :: i < h + old -> STEP(assert(word[i] == WORD(G_CONT, 0, i - (h))); word[i] = G_FREE); i++
                        :: else -> break
                        od;
                        drop_owner(h, mine)
                :: else -> candidate_clear()
                fi
        :: else
        fi
}

inline purge(h)
{
        l = (h + 2 <= GRANULES -> 2 : 1);
        candidate_set(h, l); /* PURGE.1 */
        i = h;
        is_ok = 1;
        do
        :: is_ok && i < h + l -> CAS(word[i], G_FREE, WORD(G_PURGING, t, 0), is_ok); i = (is_ok -> i + 1 : i)
        :: else -> break
        od;
        do
        :: i > h -> i--; STEP(assert(word[i] == WORD(G_PURGING, t, 0)); word[i] = G_FREE) /* PURGE.4 */
        :: else -> break
        od;
        candidate_clear()
}

/* ------------------------------------------------------------------ settling the dead */

/* Nobody alive has what a reaper is about to free. */
#define assert_settles(s) \
        assert(OWNER(word[h]) == s || (STATE(word[h]) == G_CONT && OWNER(word[h - COUNT(word[h])]) == s))

#ifndef MUTATION_candidate_believed
#define NAMES(a_word_, s) (OWNER(a_word_) == s)
#else
#define NAMES(a_word_, s) ((a_word_) != G_FREE)
#endif
#ifndef MUTATION_settled_without_head
#define HEAD_NAMES(s) NAMES(a_word, s)
#else
#define HEAD_NAMES(s) true
#endif

inline run_settle(s)
{
        STEP(a_word = word[head_of[s]]);
        i = 1;
        do
        :: i < length_of[s] ->
                h = head_of[s] + i;
                STEP(is_ok = (NAMES(word[h], s) || (word[h] == WORD(G_CONT, 0, i) && HEAD_NAMES(s))));
                if
                :: is_ok -> STEP(is_tagged[h] = 0); STEP(assert_settles(s); word[h] = G_FREE)
                :: else
                fi;
                i++
        :: else -> break
        od;
        if
        :: NAMES(a_word, s) ->
                STEP(is_tagged[head_of[s]] = 0);
                STEP(assert(OWNER(word[head_of[s]]) == s); word[head_of[s]] = G_FREE)
        :: else
        fi
}

inline large_settle(s)
{
        i = COUNT(a_word);
        do
        :: i < length_of[s] ->
                h = head_of[s] + i;
                STEP(is_ok = (OWNER(word[h]) == s || word[h] == WORD(G_CONT, 0, i)));
                if
                :: is_ok -> STEP(assert_settles(s); word[h] = G_FREE)
                :: else
                fi;
                i++
        :: else -> break
        od;
        STEP(is_tagged[head_of[s]] = 1);
        is_ok = 0;
        do
        :: !is_ok && !(a_word & DOOMED) ->
                CAS(word[head_of[s]], a_word, WITH_OWNER(a_word, 0), is_ok);
                if
                :: !is_ok -> STEP(a_word = word[head_of[s]])
                :: else
                fi
        :: !is_ok && (a_word & DOOMED) ->
                STEP(word[head_of[s]] = WITH_STATE(a_word, G_FREEING) & ~DOOMED);
                run_settle(s);
                is_ok = 1
        :: is_ok -> break
        od
}

inline slot_reap_one(s)
{
        TRY_REAP(s);
        if
        :: is_ok && length_of[s] != 0 -> /* SETTLE.2: settle_run() */
                STEP(a_word = word[head_of[s]]);
                if
                :: OWNER(a_word) == s && STATE(a_word) == G_SLAB ->
                        STEP(assert(OWNER(word[head_of[s]]) == s); word[head_of[s]] = WITH_OWNER(a_word, 0))
                :: OWNER(a_word) == s && STATE(a_word) == G_LARGE -> large_settle(s)
                :: else -> run_settle(s)
                fi;
                STEP(length_of[s] = 0);
                END_REAP(s)
        :: is_ok && length_of[s] == 0 -> END_REAP(s)
        :: else
        fi
}

proctype Thread(byte t; byte may; byte ops)
{
        byte who, h, l, i, old, at, size;
        short a_word, mine;
        bit is_ok;

        do
        :: ops > 0 && (may & ALLOC) ->
                ops--;
                atomic { select (at : 0 .. GRANULES - 1); select (size : 1 .. 2) };
                if
                :: at + size <= GRANULES -> large_alloc(at, size)
                :: else
                fi
        :: ops > 0 && (may & FREE) -> ops--; atomic { select (at : 0 .. GRANULES - 1) }; any_free(at)
        :: ops > 0 && (may & RESIZE) ->
                ops--;
                atomic { select (at : 0 .. GRANULES - 1); select (size : 1 .. 2) };
                large_resize(at, size)
        :: ops > 0 && (may & SLAB) -> ops--; atomic { select (at : 0 .. GRANULES - 1) }; slab_use(at)
        :: ops > 0 && (may & PURGE) -> ops--; atomic { select (at : 0 .. GRANULES - 1) }; purge(at)
        :: ops > 0 && (may & REAP) -> ops--; reap_any()
        :: ops == 0 -> break
        od;
        done[t] = 1;
dead:
        skip
}

init
{
        byte who, t = SURVIVOR, h, l, i, g;
        short a_word;
        bit is_ok;

        d_step { /* there is a block of the user's: large, of two granules */
#if FIRST
                word[0] = WORD(G_LARGE, 0, 2);
                word[1] = WORD(G_CONT, 0, 1);
                in_use[0] = 1;
                is_tagged[0] = 1;
#endif
                skip
        }
        atomic { run Thread(1, MAY_1, OPS_1); run Thread(2, MAY_2, OPS_2); run Thread(3, MAY_3, OPS_3) }
        atomic {
                OVER(1) && OVER(2) && OVER(3);
                for (who : 1 .. PROCS) {
                        slot_reap_one(who)
                }
                g = 0;
                do
                :: g < GRANULES && word[g] == G_FREE -> assert(!in_use[g] && !is_tagged[g]); g++
                :: g < GRANULES && word[g] != G_FREE ->
                        assert(STATE(word[g]) == G_LARGE || STATE(word[g]) == G_SLAB);
                        assert(OWNER(word[g]) == 0 && !(word[g] & DOOMED) && is_tagged[g]);
                        /* a user has it, unless the user died when it was about to free it; a slab may be empty */
                        assert(in_use[g] || halts > 0);
                        l = (STATE(word[g]) == G_LARGE -> COUNT(word[g]) : SLAB_GRANULES);
                        for (i : 1 .. 2) {
                                assert(i >= l || word[g + i] == WORD(G_CONT, 0, i));
                                assert(i >= l || !in_use[g + i])
                        }
                        g = g + l
                :: g >= GRANULES -> break
                od;
                assert(g == GRANULES)
        }
dead:
        skip
}
