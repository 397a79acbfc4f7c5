/*
 * check_parts.h - what the files of the check share: its state, its tries, its voice.
 */
#ifndef AUDIT_CHECK_PARTS_H
#define AUDIT_CHECK_PARTS_H

#include <inttypes.h>

#include "audit/check.h"
#include "blocks/large.h"

enum {
        CHECK_TRIES_MAX = 8,      /* readings of a thing that others may be changing, before it is called damaged */
        CHECK_RESCANS_MAX = 1024, /* searches for the other place of a block, each a pass over all magazines */
};

#define CHECK_ARENA_NONE UINT32_MAX
#define CHECK_IDX_NONE   UINT64_MAX

/* The block that an offset names. */
struct check_found {
        uint64_t mark_off; /* by which it is marked */
        uint64_t bytes;
        uint64_t head;      /* granule; chunk of a huge block */
        uint32_t class_idx; /* SIZE_CLASS_NONE: huge */
        uint32_t tag;       /* of the magazines that may have it; TAG_NONE: none may */
        uint32_t block_idx;
        uint32_t arena; /* CHECK_ARENA_NONE: huge */
        bool is_held;   /* its slab, run or chunk has an owner just now */
        bool is_free;   /* by the bitmap */
        bool is_later;  /* in a chunk that came after the check began: nothing is known of it */
};

enum { CHECK_ROOTS_MAX = 65536 };

/* Memory of its own, not of the caller's stack, which may be small. */
struct check {
        struct region *r; /* never written to */
        bool is_quiescent;
        FILE *report;

        /* The marks, read once. */
        uint64_t chunks_hwm, n_granules;
        uint32_t threads_hwm, clients_hwm, roots_hwm;
        uint32_t magazines_hwm[NODE_MAX];

        uint64_t *marks; /* a bit per 16 bytes of chunks: the block that starts there is cached or pending */
        uint64_t marks_bytes;

        struct check_totals totals;
        struct check_totals *by_arena; /* may be NULL */
        struct check_totals part;      /* of the unit being read, if it counts */
        uint32_t part_arena;

        uint32_t n_seen; /* faults of this reading of the unit */
        bool is_last;    /* they are true, and reported */
        bool has_found;  /* the unit named a block that is where it says: */
        struct check_found found;
        uint32_t n_rescans;
        uint64_t n_lines;

        /* What may lose its pages while it is looked at is looked at by a copy. */
        int fd;                   /* of the file; -1: none */
        uint32_t slot_bytes;      /* of one slot */
        struct thread_slot *slot; /* the one looked at last */
        struct magazine magazine; /* likewise; which it is: */
        uint64_t magazine_idx;    /* CHECK_IDX_NONE: its copy is not to be trusted any more */

        uint64_t chain[CHECK_ROOTS_MAX / 64]; /* which root records the chain leads to */
};

/* ------------------------------------------------------------------ check.c */

/* Reads a unit until it shows no fault, a bounded number of times; what the last reading shows is reported. */
typedef void check_unit_fn(struct check *c, uint64_t unit);
void check_unit(struct check *c, check_unit_fn *fn, uint64_t unit);

/* The same for a unit that counts: what the last reading leaves in c->part is added to the totals. */
void check_unit_counted(struct check *c, check_unit_fn *fn, uint64_t unit);

/* Notes a fault of the unit being read. */
void check_fault(struct check *c, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* Whether a thread slot of this number exists and is in use. */
bool check_thread_exists(const struct check *c, uint32_t thread_no);
bool check_thread_has_pages(const struct check *c, uint32_t idx);

/* As it is now, until the next call; NULL: it has no pages, too. */
const struct thread_slot *check_thread(const struct check *c, uint32_t idx);
bool check_thread_is_used(const struct check *c, uint32_t thread_no);

/* Notes a fault if a word may not name this owner: at rest any, else one that does not exist. */
void check_owner(struct check *c, const char *what, uint64_t idx, uint32_t owner);

/* NULL and *ret_found, or what is wrong, in words.  ret_found->is_held is set in either case. */
const char *check_find(const struct check *c, uint64_t block_off, struct check_found *ret_found);

/* Marks a block as being somewhere else than with its user.  False: it was marked already. */
bool check_mark(struct check *c, uint64_t mark_off);
bool check_is_marked(const struct check *c, uint64_t mark_off);

/* Counts a marked block out of the live ones of its class. */
void check_count_marked(struct check *c, const struct check_found *found, bool is_pending);

/* Where the block of a large run starts in it. */
static inline uint64_t
check_large_offset(uint64_t word)
{
        return (uint64_t)granule_stamp(word) * LARGE_COLOUR_ALIGN;
}

/* ------------------------------------------------------------------ the parts */

void check_chunks(struct check *c);    /* check_chunks.c: chunk words, granule words, tags, slabs */
void check_slots(struct check *c);     /* check_slots.c: thread slots, clients, blocks that are pending */
void check_magazines(struct check *c); /* check_magazines.c: magazines and the blocks in them */
void check_roots(struct check *c);     /* check_slots.c: after those two, since a root's object is in neither */

/* A place that names a block: an entry of a magazine, or a pending word of a slot. */
struct check_place {
        uint64_t magazine_idx; /* CHECK_IDX_NONE: pending */
        uint64_t entry_idx;
        uint32_t slot_idx; /* of the pending word */
};

/* Where the block is besides `place`.  False: nowhere else, or this has been asked too often already. */
bool check_find_other_place(struct check *c, uint64_t mark_off, struct check_place place,
                            struct check_place *ret_other);

/* The block that a pending word names and nothing else does, as an offset from the first chunk; UINT64_MAX: none. */
uint64_t check_pending_off(const struct check *c, uint64_t pending);

#endif
