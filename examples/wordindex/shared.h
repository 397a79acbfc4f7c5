/*
 * shared.h - the index as it lies in the heap: everything that two processes see.
 *
 * The index is one root object.  What hangs off it are blocks that any worker may have allocated, and that the process
 * that prints the result frees.  They refer to each other by plain pointers, which mean the same in every process.
 *
 *      index -> files[]      path, state
 *            -> buckets[]    word -> word -> ...       chains, locked by stripes
 *                              key, posting -> posting -> ...
 *            worker[]        draft -> draft -> ...     what a worker has allocated and not yet published
 *
 * Why nothing is lost when a worker dies at any instruction.  The heap looks after itself; the index is ours to look
 * after, and it is made safe by three rules:
 *
 *   1. At any instant, each block is referred to from the heap by exactly one owner: a field of the worker's list of
 *      drafts, or the table.  Allocation stores the first such reference in one step with the allocation
 *      (shheap_malloc_to), freeing takes it back in one step (shheap_free_from).  So a dead worker's blocks are found.
 *   2. Whatever is more than one store is either private until one store publishes it (a file's drafts, by the
 *      file's state) or written down before it is begun, so that somebody else can finish it (redo.h).
 *   3. Whoever finishes may die as well: each step may be done again from its beginning.
 *
 * Rules 2 and 3 want the stores of a process in the order in which they are written.  A killed process leaves
 * exactly those that it had executed, in program order, whichever processor looks next: so the compiler must keep the
 * order, and no fence is needed.  keep_order() says where.
 */
#ifndef WORDINDEX_SHARED_H
#define WORDINDEX_SHARED_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

#include <shmalloc/shmalloc.h>

#include "redo.h"

#define WORKERS_MAX 64
#define N_STRIPES   64        /* locks; each looks after every 64th bucket */
#define N_BUCKETS   (1 << 15) /* a power of two, of N_STRIPES at least */

/* Where a word stands in one file. */
struct posting {
        struct posting *next;
        uint32_t file;       /* number in index->files */
        uint32_t n;          /* occurrences */
        uint32_t position[]; /* 0 is the file's first word */
};

struct word {
        struct word *next; /* in the same bucket */
        char *key;
        uint64_t hash;
        struct posting *postings; /* the newest first */
        uint64_t n_files;         /* how many postings there are */
        uint64_t n_total;         /* occurrences in all of them */
};

/*
 * A word of a file that has been read and not yet been merged into the table, and the owner of the blocks that are to
 * go there: each reference is not null as long as the draft, and not the table, owns the block.
 */
struct draft {
        shref next; /* in the worker's list */
        shref posting;
        shref word, key; /* only while the table gets a new word */
        uint64_t hash;
        char text[]; /* the word itself */
};

/*
 * The place of a worker.  When its process dies, the next one takes the same place and first settles what it finds.
 *
 * A draft gets into the list, and out of it, by way of `pending`:
 *
 *      in    pending = new block; link it to the list's first; first = pending; pending = 0
 *      out   pending = first; first = the next one; free what pending holds
 *
 * So a block in `pending` that is not the list's first is in no list, and a successor frees it; nothing but its
 * address is looked at, since it may not have been filled.
 */
struct worker {
        shref drafts;  /* the list's first */
        shref pending; /* on its way into the list or out of it */
};

/* TODO -> TAKEN by compare-and-swap; TAKEN -> DRAFTED -> DONE or TAKEN -> FAILED by whoever has the worker's place. */
enum file_state {
        FILE_TODO,
        FILE_TAKEN,   /* the worker's drafts are incomplete: a successor throws them away and begins again */
        FILE_DRAFTED, /* they are complete: a successor merges what has not been merged */
        FILE_DONE,
        FILE_FAILED /* it could not be read */
};
#define FILE_STATE(state, worker) ((uint64_t)(state) | (uint64_t)(worker) << 8)
#define FILE_STATE_OF(word)       ((enum file_state)((word)&0xff))

struct file {
        char *path;
        _Atomic uint64_t state; /* FILE_STATE() */
        uint64_t n_words;       /* valid from DRAFTED on */
};

/* The mutex is process-shared and robust: who locks it after its owner's death is told, and calls redo_finish(). */
struct stripe {
        pthread_mutex_t mutex;
        struct redo redo;
        uint64_t n_words; /* distinct ones, in its buckets */
};

struct index {
        struct file *files;
        struct word **buckets;
        uint64_t n_files;
        struct worker worker[WORKERS_MAX];
        struct stripe stripe[N_STRIPES];

        /* What deaths have led to; only to be shown. */
        _Atomic uint64_t n_begun_again, n_merged_by_successor, n_stripes_repaired;
};

static inline struct stripe *
stripe_of(struct index *index, uint64_t hash)
{
        return &index->stripe[hash % N_STRIPES];
}

static inline struct word **
bucket_of(const struct index *index, uint64_t hash)
{
        return &index->buckets[hash % N_BUCKETS];
}

#endif
