/*
 * slab_pages.h - which pages of a slab there are, and which are wanted.
 *
 * A slab gets its pages as it is filled, from its start on, and loses those in which no block is allocated when nobody
 * has used it for long.  The granules' words note how many bytes from the start surely have some (doc/decisions/0011).
 */
#ifndef BLOCKS_SLAB_PAGES_H
#define BLOCKS_SLAB_PAGES_H

#include <stdbool.h>
#include <stdint.h>

#include "clients/thread.h"
#include "pages/run.h"

enum {
        FILL_STEPS_PAST = 2, /* up to it a call goes past the magazines */
        FILL_STEPS_MAX = 6
};

/*
 * How many blocks a fill takes: one at first, each time four times as many, up to a whole magazine.  The pages that are
 * reserved at once grow with it, from one to a granule.
 */
uint32_t slab_fill_size(const struct thread *t, uint32_t class_idx);

/* True for the first malloc, and the first free: it goes past the magazines.  So a class that a thread uses once costs
 * it nothing, and one that it uses much soon goes by magazines.  For who has no magazine of the class. */
bool slab_malloc_goes_past(struct thread *t, uint32_t class_idx);
bool slab_free_goes_past(struct thread *t, uint32_t class_idx);

/* A fill of the class has been needed; or its magazines were given up. */
void slab_fill_more(struct thread *t, uint32_t class_idx);
void slab_fill_less(struct thread *t, uint32_t class_idx);

/* Which blocks of a slab have pages. */
struct slab_backing {
        uint32_t n_first; /* so many from the start */
        uint64_t pages;   /* and such as lie on these pages and no others */
};

/* SLAB.2, .3: pages for what one fill takes, and for the bitmap where its line is too short.  The run is NEW(t).
 * 0, -ENOMEM, -ENOSPC. */
int slab_reserve_new(struct thread *t, uint64_t head, uint32_t class_idx);

/* The blocks of an owned slab that may be handed out, after reserving pages for the first `want` that are free.  Where
 * no more pages can be had: those that have some. */
struct slab_backing slab_ensure_pages(struct thread *t, uint64_t head, uint32_t class_idx, uint32_t want);

/* The free blocks of word w of the bitmap that have pages. */
uint64_t slab_backed_blocks(struct region *r, uint64_t head, uint32_t class_idx, uint32_t w,
                            const struct slab_backing *backing);

/* Whether an owned slab has free blocks on the pages that are there; of another one, a guess. */
bool slab_has_backed_room(struct region *r, uint64_t head, uint32_t class_idx);

/* Bytes from the start of a slab that surely have pages. */
uint64_t slab_backed_bytes(struct region *r, uint64_t head, uint32_t class_idx);

/* The pages of a slab in which no allocated block lies, one bit each. */
uint64_t slab_unused_pages(struct region *r, uint64_t head, uint32_t class_idx);

#endif
