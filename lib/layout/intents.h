/*
 * intents.h - what a thread writes into its slot before it makes a thing that it owns inconsistent.
 *
 * One table holds all that depends on the kind: its number (its place in the table), its name, its operands, who
 * settles it.  Made from it are the enum, the union of the operands, who has a dest (clients/intent.h), a reaper's
 * dispatch (heap/reap.c) and what shmallocctl dump prints; "The intents" in doc/recovery.md is checked against it.
 *
 * The numbers and the places of the operands are part of the layout: a new intent goes to the end of the table.
 */
#ifndef LAYOUT_INTENTS_H
#define LAYOUT_INTENTS_H

#include <stddef.h>
#include <stdint.h>

/* ------------------------------------------------------------------ operands: all the words, used or not */

struct intent_entries {
        uint64_t head;     /* granule index of the head of the slab or run */
        uint64_t magazine; /* magazine index */
        uint64_t n;        /* how many of its entries: see the table */
        uint64_t pad[4];
};

struct intent_swap {
        uint64_t pad;
        uint64_t magazine;
        uint64_t pad2;
        uint64_t i, j; /* indices of entries */
        uint64_t a, b; /* entries */
};

struct intent_block {
        uint64_t head; /* granule (or chunk) index of the head of the slab, run or huge block */
        uint64_t pad[2];
        uint64_t was; /* what was in dest before */
        uint64_t pad2;
        uint64_t block; /* its offset (from the chunks) */
        uint64_t dest;  /* region offset of the word that its reference is stored to; 0 = nowhere */
};

struct intent_handover {
        uint64_t pad;
        uint64_t magazine;
        uint64_t n; /* how many blocks are in it when it is done */
        uint64_t was;
        uint64_t pad2;
        uint64_t block;
        uint64_t dest;
};

/* Whether such operands have a dest, which is the last word then. */
enum { intent_entries_has_dest = 0, intent_swap_has_dest = 0, intent_block_has_dest = 1, intent_handover_has_dest = 1 };

/* ------------------------------------------------------------------ the table */

/* X(kind, member of struct intent, name, operands, function of heap/reap.c that settles it) */
#define INTENTS(X)                                                                                                     \
        /* entries 0..n-1 are being taken out of the slab */                                                           \
        X(FILL, fill, "fill", entries, undo_fill)                                                                      \
        /* entries n.. of the magazine are being put into the slab */                                                  \
        X(DRAIN, drain, "drain", entries, redo_drain)                                                                  \
        /* entry i becomes b and entry j becomes a */                                                                  \
        X(SWAP, swap, "swap", swap, redo_swap)                                                                         \
        /* the entry at n, a run, is being freed */                                                                    \
        X(DRAIN_RUN, drain_run, "drain-run", entries, redo_drain_run)                                                  \
        /* the entry at n, a huge block, is being freed */                                                             \
        X(DRAIN_HUGE, drain_huge, "drain-huge", entries, redo_drain_huge)                                              \
        /* one block is taken past the magazines */                                                                    \
        X(ALLOC_ONE, alloc_one, "alloc-one", block, settle_one)                                                        \
        /* one block is put past the magazines */                                                                      \
        X(FREE_ONE, free_one, "free-one", block, settle_one)                                                           \
        /* a run is being handed over */                                                                               \
        X(RUN_TO, run_to, "run-to", block, settle_run_dest)                                                            \
        /* a run is being freed */                                                                                     \
        X(RUN_FROM, run_from, "run-from", block, settle_run_dest)                                                      \
        /* a huge block is being handed over */                                                                        \
        X(HUGE_TO, huge_to, "huge-to", block, settle_huge_dest)                                                        \
        /* a huge block is being freed */                                                                              \
        X(HUGE_FROM, huge_from, "huge-from", block, settle_huge_dest)                                                  \
        /* the topmost block is handed out */                                                                          \
        X(POP_TO, pop_to, "pop-to", handover, undo_pop)                                                                \
        /* a block is put on top */                                                                                    \
        X(PUSH_FROM, push_from, "push-from", handover, redo_push)

#define INTENT_KIND(kind, member, name, operands, settle)     INTENT_##kind,
#define INTENT_OPERANDS(kind, member, name, operands, settle) struct intent_##operands member;

enum intent_kind { INTENT_NONE = 0, INTENTS(INTENT_KIND) INTENT_N_KINDS };

enum { INTENT_WORDS = 7, INTENT_DEST = INTENT_WORDS - 1 };

/* At most one at a time per thread.  Operands first, then kind; kind cleared first of all when it is over. */
struct intent {
        uint64_t kind; /* owner, reaper  enum intent_kind */
        union {
                INTENTS(INTENT_OPERANDS)     /* owner */
                uint64_t word[INTENT_WORDS]; /* owner  any of these */
        };
};

#endif
