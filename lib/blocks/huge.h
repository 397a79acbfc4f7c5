/*
 * huge.h - huge blocks: whole chunks side by side.  Steps HUGE.n in doc/recovery.md.
 */
#ifndef BLOCKS_HUGE_H
#define BLOCKS_HUGE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/size_class.h"
#include "clients/thread.h"

/* Allocates `bytes` at a multiple of `align` (a power of two, 1 GiB at most).  0, -ENOMEM, -ENOSPC. */
int huge_alloc(struct thread *t, uint64_t bytes, uint64_t align, uint32_t node, uint64_t dest_off,
               uint64_t *ret_block_off);

/* 0, or -EINVAL with the fault noted. */
int huge_free(struct thread *t, uint64_t block_off, uint64_t dest_off);

/* Frees the topmost entry of an owned magazine of huge blocks.  0, -EINVAL: it was no block, or free already, and is
 * dropped; -EBUSY: somebody is at it. */
int huge_drain(struct thread *t, uint64_t magazine_idx);

/* Makes it `bytes` long where it stands.  0, -ENOMEM: it cannot; -EINVAL: fault noted. */
int huge_resize(struct thread *t, uint64_t block_off, uint64_t bytes);

/* The head chunk's word if a huge block starts exactly here. */
bool huge_block_of(struct region *r, uint64_t block_off, uint64_t *ret_chunk, uint64_t *ret_word);

/* The tag of the magazines that may have the block whose head this is; TAG_NONE: it is none, or has too many chunks, or
 * somebody is at it. */
static inline uint32_t
huge_tag_of(const struct region *r, uint64_t word)
{
        uint32_t n_chunks = chunk_count(word), node = chunk_node1(word) - 1;

        if (UNLIKELY(!chunk_is_huge(word)) || UNLIKELY(n_chunks - 1 >= SIZE_CLASS_N_HUGE) ||
            UNLIKELY(node >= r->n_nodes))
                return TAG_NONE;
        return tag_make(node, size_class_of_chunks(n_chunks));
}

/* Of the one that starts exactly here. */
uint32_t huge_tag(const struct region *r, uint64_t block_off);

/* Usable bytes. */
uint64_t huge_usable(struct region *r, uint64_t chunk, uint64_t word);

/* For the candidate HUGE of a dead thread. */
void huge_settle(struct region *r, uint32_t thread_no, uint64_t chunk, uint64_t n);

#endif
