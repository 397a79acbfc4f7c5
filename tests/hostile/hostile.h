/*
 * hostile.h - regions that somebody has damaged, and what must be safe on them.
 *
 * An IMAGE is the bytes of a heap in which much has happened: blocks of all kinds, depots, roots, and dead threads that
 * were in the midst of every operation.  A FIELD is a word of it, or some bits of one, that the library reads.  A CASE
 * is the image with a few fields changed; it is put into a memfd and used (exercise.c).
 */
#ifndef HOSTILE_HOSTILE_H
#define HOSTILE_HOSTILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <shmalloc/shmalloc.h>

#include "layout/layout.h"
#include "region/region.h"

/* ------------------------------------------------------------------ image.c */

struct image {
        char *bytes;     /* private memory of region_bytes; untouched where the file has no pages */
        uint64_t *pages; /* offsets of those pages that are not all zero */
        size_t n_pages;
        struct region region; /* bound to bytes, so that its accessors work on the image */
        shref *blocks;        /* that are allocated */
        size_t n_blocks;
};

/* Between heap_dir_create() and heap_dir_remove(); says on standard error why it failed, and ends the process. */
void image_make(struct image *ret_image);

void image_drop(struct image *image);

/* A new sealed memfd with the image in it. */
int image_open(const struct image *image);

/* Makes its content that of the image again. */
void image_restore(const struct image *image, int fd);

/* ------------------------------------------------------------------ fields.c */

enum { FIELD_BOUNDS = 3, FIELD_VALUES_MAX = 24 };

struct field {
        char name[56];
        uint64_t off;                  /* in the region */
        uint8_t bytes;                 /* of the word: 1, 2, 4, 8 */
        uint8_t shift;                 /* of the bits in it */
        uint8_t bits;                  /* how many */
        bool is_refused;               /* opening has to fail, whatever else it says */
        uint64_t bounds[FIELD_BOUNDS]; /* values that mean something; 0 = none */
};

struct fields {
        struct field *all;
        size_t n, room;
};

void fields_list(const struct image *image, struct fields *ret_fields);
void fields_drop(struct fields *fields);

/* The boundary values of a field, without the one that it has. */
size_t field_values(const struct image *image, const struct field *field, uint64_t ret_values[FIELD_VALUES_MAX]);

/* Stores a value into the field of a region that is open as fd. */
void field_store(const struct field *field, int fd, uint64_t value);

/* ------------------------------------------------------------------ exercise.c */

enum {
        DO_LOOK = 1u << 0,  /* read-only: open, check, statistics, walk, roots */
        DO_JOIN = 1u << 1,  /* attach, reap, check, statistics, leave */
        DO_USE = 1u << 2,   /* and allocate, free, purge, remove roots in between */
        DO_MOVED = 1u << 3, /* with SHHEAP_RELOCATABLE */
        DO_MORE = 1u << 4,  /* whatever else can be looked at */
        DO_ALL = DO_LOOK | DO_JOIN | DO_USE
};

struct outcome {
        int open_error; /* 0: it could be opened */
        int n_found;    /* faults that the check found before anything was changed */
        bool was_fault; /* a misuse was reported */
        bool is_stuck;  /* the mapping is still there after all was closed */
        char message[256];
};

/* Uses the region in fd.  What goes wrong in a way that is no clear report ends the process. */
void exercise(const struct image *image, int fd, unsigned what, struct outcome *ret_outcome);

/* ------------------------------------------------------------------ random.c */

struct dice {
        uint64_t state;
};

static inline uint64_t
dice_next(struct dice *d)
{
        uint64_t z = d->state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

/* What a fuzzer's input means: a byte of DO_ flags, then changes, each a field, a kind and a value.  Returns the flags;
 * `fd` has the image before. */
unsigned changes_apply(const struct image *image, const struct fields *fields, int fd, const uint8_t *data,
                       size_t bytes);

/* An input of at most `room` bytes.  Returns its length. */
size_t changes_roll(const struct fields *fields, struct dice *dice, uint8_t *data, size_t room);

#endif
