/*
 * index.h - making the index, finding it, merging words into it, reading it, and giving all of it back.
 *
 * Functions that end the process say on standard error why.
 */
#ifndef WORDINDEX_INDEX_H
#define WORDINDEX_INDEX_H

#include <stdbool.h>

#include "documents.h"
#include "shared.h"

/* Before any worker runs. */
struct index *index_create(shheap *heap, const struct documents *documents);

/* For a worker. */
struct index *index_find(shheap *heap);

/* Ends the process unless p is a block. */
void *need_block(const void *p);

/* Until nothing that the dead have begun can change *ref any more. */
void await_settled(shheap *heap, const shref *ref);

/* Frees the block that *ref owns, if any. */
void free_owned(shheap *heap, shref *ref);

/* Waits for others, though not for the dead: their half-done changes are finished first. */
void stripe_lock(struct index *index, struct stripe *stripe);
void stripe_unlock(struct stripe *stripe);

/* Moves a draft's posting into the table, unless that has happened already. */
void index_merge(shheap *heap, struct index *index, struct draft *draft);

/* What is in the index.  The arrays are private memory, freed by summary_free(). */
struct summary {
        struct top_word {
                char *key;
                uint64_t n_total, n_files;
        } * top;
        size_t n_top;
        uint64_t n_files, n_failed, n_words, n_distinct, n_postings;
        uint64_t *file_digest; /* by file: of all its words and where they stand, whatever their order in memory */
        uint64_t digest;       /* of all of it */
};

/* Ends the process if the counts that the workers have kept differ from what is there. */
void index_summarize(struct index *index, size_t n_top, struct summary *summary);
void summary_free(struct summary *summary);

/* Frees all the blocks of the index, the root object last.  How many there were. */
uint64_t index_destroy(shheap *heap, struct index *index);

#endif
