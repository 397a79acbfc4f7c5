/*
 * root.c - see root.h.
 *
 * Two words hold blocks here: a record's `object`, and the `pending` words of a thread's slot, for what is on its way
 * into or out of a root.  Call both cells.  A block is in one cell, except while it moves, and no two words can be
 * changed at once: so each move is decided by one CAS on the cell outside the mover's slot, which leaves a mark that
 * names the mover's cell and its sequence number.  As long as the mark stands it tells on which side the block is.
 * Whoever wants to go on from a marked cell, be it another thread or a reaper, first writes the decision into the
 * mover's cell, then drops the mark.  Both are CASes on exactly what was read, the mover does the same, and so does
 * recovery; nobody waits, and a stopped mover stops nobody.  Sequence numbers are per slot and go on with its next
 * owner, so that a late CAS finds nothing that it expects.
 *
 *   in pending                              in an object (TAKEN: also in the pending word of a dead slot)
 *   BLOCK      0, or a block that only      OBJECT   the object
 *              this cell names              FROM     the object, named by the mover's cell (BUILDING or PUBLISHED)
 *   RESERVED   a block is being allocated   TAKEN    nothing: the block is the mover's cell's, whether it still says
 *   BUILDING   a block under construction            TAKING or not
 *   PUBLISHED  the record has it
 *   TAKING     the cell it came from has it, unless that is marked TAKEN
 *
 * A block that is nowhere published is freed from a cell of the freer's own slot, by the free that zeroes the cell in
 * the same step.  A reaper therefore first moves it from the dead slot to its own: were it freed from the dead slot,
 * and the reaper died of it, two more reapers would be at that cell, each for one of the dead.
 *
 *   CREATE                                            a death after it leaves                settled by
 *   ROOT.1   look for the name: done if it has an     nothing
 *            object
 *   ROOT.2   pending[k] := RESERVED                   RESERVED                               zeroed
 *   ROOT.3   allocate; the block's offset replaces    BLOCK                                  freed
 *            it in the same step
 *   ROOT.4   pending[k] := BUILDING                   BUILDING, no FROM                      freed
 *   ROOT.5   zero it; init(), which may nest          the same, of several                   all freed
 *   ROOT.6   find the record of the name, or LINK     the same
 *   ROOT.7   pending_record[k] := record              the same
 *   ROOT.8   CAS object 0 -> FROM (commit)            BUILDING and its FROM: published       ROOT.9 to .11
 *   ROOT.9   CAS pending[k] BUILDING -> PUBLISHED     PUBLISHED and its FROM                 ROOT.10, .11
 *   ROOT.10  CAS object FROM -> OBJECT                PUBLISHED, no FROM                     ROOT.11
 *   ROOT.11  pending[k] := 0                          a finished root
 *   Whoever finds FROM may do .9 and .10.  The loser of ROOT.8 (and a creator whose init() failed):
 *   ROOT.12  pending[k] := BLOCK                      BLOCK                                  freed
 *   ROOT.13  free it, zeroing pending[k]              nothing, or the free's own intent      reap.c
 *
 *   LINK
 *   LINK.1   candidate := the record                  a record that is not ours              left alone
 *   LINK.2   CAS record word FREE -> NEW              NEW, not in the chain                  FREE
 *   LINK.3   name, next := the head                   the same                               FREE
 *   LINK.4   CAS head -> the record (commit)          NEW, in the chain: linked              LINKED
 *   LINK.5   record word := LINKED                    LINKED                                 left alone
 *   LINK.6   candidate := 0
 *   If LINK.4 fails, the records before the old head are new: one of them may bear the name.  Then FREE, and LINK.6.
 *   What is in the chain stays there, so nothing that was read of it changes.  ABA: the head never comes back.
 *
 *   TAKE (to remove, from an object; to reap, from a dead slot's pending word)
 *   TAKE.1   pending_record[k] := where from;         TAKING, no TAKEN                       zeroed
 *            pending[k] := TAKING
 *   TAKE.2   CAS that cell -> TAKEN (commit)          TAKING and its TAKEN: ours             TAKE.3 to .5
 *   TAKE.3   CAS pending[k] TAKING -> BLOCK           BLOCK, perhaps TAKEN                   freed; TAKEN means nothing
 *   TAKE.4   CAS that cell TAKEN -> 0                 BLOCK                                  freed
 *   TAKE.5   as ROOT.13
 *   Whoever finds TAKEN may do .3 and .4.
 *
 * What it gave up: a name is for ever, because a record that could be unlinked would need somebody to know that nobody
 * is looking at it.  Racing creators of a new name need a record each for a moment, so the last one but few may be
 * refused.  A block that init() allocated is init()'s to undo when it fails or loses: only the object is freed.
 */
#include "heap/root.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "heap/alloc.h"
#include "region/intent.h"
#include "region/owner.h"

enum {
        CELL_TRIES_MAX = 1 << 16, /* each means that others changed the object of this very name; then it is damage */
        SETTLE_TRIES_MAX = 64,    /* steps of one pending word: four will do, since the mover is dead */
        LINK_ROUNDS_MAX = 64,     /* courtesy to creators who hold the last records for a moment */
        FREE_TRIES_MAX = 1024     /* slab held: its holder needs it for less, unless it is stopped */
};

/* ------------------------------------------------------------------ cell words
 *
 *   BUILDING, PUBLISHED, TAKING  kind 0..2 | sequence 3..26 | block offset / 16 27..63
 *   OBJECT                       kind 0..2 | slack 3..21 | block offset / 16 27..63
 *   FROM, TAKEN                  kind 0..2 | sequence 3..26 | thread 27..42 | entry 43..44 | slack 45..63 (FROM)
 *   BLOCK                        a region offset, 0 = none; as an allocation or free stores it
 *
 * The slack is what the block has beyond the object's size: so the exact size needs no room in the block.
 */
enum cell_kind {
        CELL_BLOCK = 0,
        CELL_RESERVED,
        CELL_BUILDING,
        CELL_PUBLISHED,
        CELL_TAKING,
        CELL_OBJECT,
        CELL_FROM,
        CELL_TAKEN,
};

#define SEQUENCE_BITS 24
#define SLACK_BITS 19
#define SLACK_MAX ((UINT64_C(1) << SLACK_BITS) - 1)

_Static_assert(LAYOUT_CAPACITY_MAX <= UINT64_C(16) << 37, "block offsets fit a cell");
_Static_assert(GEO_LARGE_MAX / 4 <= SLACK_MAX && GEO_PAGE_BYTES <= SLACK_MAX, "what a class or a page wastes fits a cell");
_Static_assert(ROOTS_PENDING_MAX <= 4, "entries fit a mark");

/* The mover's cell as a mark names it. */
struct mover {
        uint32_t thread_no;
        uint32_t entry;
        uint64_t sequence;
};

static enum cell_kind
cell_kind(uint64_t word)
{
        return (enum cell_kind)WORD_FIELD(word, 0, 3);
}

static uint64_t
cell_sequence(uint64_t word)
{
        return WORD_FIELD(word, 3, SEQUENCE_BITS);
}

static uint64_t
cell_block_off(uint64_t word)
{
        return WORD_FIELD(word, 27, 37) * 16;
}

static uint64_t
cell_with_kind(uint64_t word, enum cell_kind kind)
{
        return WORD_SET(word, 0, 3, (uint64_t)kind);
}

static uint64_t
cell_moving(enum cell_kind kind, uint64_t sequence, uint64_t block_off)
{
        return (uint64_t)kind | WORD_PUT(sequence, 3) | WORD_PUT(block_off / 16, 27);
}

static uint64_t
cell_object(uint64_t slack, uint64_t block_off)
{
        return (uint64_t)CELL_OBJECT | WORD_PUT(slack, 3) | WORD_PUT(block_off / 16, 27);
}

static uint64_t
object_slack(uint64_t word)
{
        return WORD_FIELD(word, 3, SLACK_BITS);
}

static uint64_t
mark_make(enum cell_kind kind, struct mover mover, uint64_t slack)
{
        return (uint64_t)kind | WORD_PUT(mover.sequence, 3) | WORD_PUT(mover.thread_no, 27) |
               WORD_PUT(mover.entry, 43) | WORD_PUT(slack, 45);
}

static struct mover
mark_mover(uint64_t mark)
{
        return (struct mover){.thread_no = (uint32_t)WORD_FIELD(mark, 27, 16),
                              .entry = (uint32_t)WORD_FIELD(mark, 43, 2),
                              .sequence = cell_sequence(mark)};
}

static uint64_t
mark_slack(uint64_t mark)
{
        return WORD_FIELD(mark, 45, SLACK_BITS);
}

/* ------------------------------------------------------------------ cells */

static struct root_record *
record_at(struct region *r, uint32_t idx)
{
        return idx < region_roots_hwm(r) ? &r->roots[idx] : NULL;
}

static uint64_t *
pending_at(struct region *r, uint32_t thread_no, uint32_t entry)
{
        struct thread_slot *slot = thread_no != THREAD_NONE ? region_thread(r, thread_no - 1) : NULL;

        return slot && entry < ROOTS_PENDING_MAX ? &slot->pending[entry] : NULL;
}

/* What pending_record holds: a record's index, or the cell of a dead slot. */
#define HOME_IS_SLOT (UINT32_C(1) << 31)

static uint32_t
home_of_slot(uint32_t thread_no, uint32_t entry)
{
        return HOME_IS_SLOT | entry << 16 | thread_no;
}

/* NULL: no such cell.  Objects are published to records only. */
static uint64_t *
home_cell(struct region *r, uint32_t home, bool is_from_slot_too)
{
        struct root_record *record;

        if (home & HOME_IS_SLOT)
                return is_from_slot_too ? pending_at(r, home & 0xffff, home >> 16 & 3) : NULL;
        record = record_at(r, home);
        return record ? &record->object : NULL;
}

/* The word of the mover's cell if that is still at what the mark tells of; else 0, and then the mark is gone. */
static uint64_t
mover_word(struct region *r, uint64_t mark, uint64_t **ret_cell)
{
        struct mover mover = mark_mover(mark);
        uint64_t *cell = pending_at(r, mover.thread_no, mover.entry);
        uint64_t word = cell ? load_acquire(cell) : 0; /* E11.acq: so that what is read next is not older */

        *ret_cell = cell;
        return cell_kind(word) != CELL_BLOCK && cell_sequence(word) == mover.sequence ? word : 0;
}

/* E11: a cell's CAS publishes what the mover wrote before it: the object, its own cell.  Failure reloads the word. */
static bool
cell_cas(uint64_t *cell, uint64_t expected, uint64_t word)
{
        return cas_acq_rel(cell, &expected, word); /* E11.rel: see above.  E11.acq: likewise */
}

/* ROOT.9, ROOT.10, by anybody who finds FROM.  The object is one afterwards, or changed meanwhile. */
static void
finish_publish(struct region *r, uint64_t *object, uint64_t mark)
{
        uint64_t *cell;
        uint64_t word = mover_word(r, mark, &cell);

        if (cell_kind(word) == CELL_BUILDING) {
                if (!cell_cas(cell, word, cell_with_kind(word, CELL_PUBLISHED))) /* ROOT.9 */
                        word = mover_word(r, mark, &cell);
                else
                        word = cell_with_kind(word, CELL_PUBLISHED);
        }
        if (cell_kind(word) == CELL_PUBLISHED)
                cell_cas(object, mark, cell_object(mark_slack(mark), cell_block_off(word))); /* ROOT.10 */
}

/* TAKE.3, TAKE.4, by anybody who finds TAKEN. */
static void
finish_take(struct region *r, uint64_t *from, uint64_t mark)
{
        uint64_t *cell;
        uint64_t word = mover_word(r, mark, &cell);

        if (cell_kind(word) == CELL_TAKING)
                cell_cas(cell, word, r->layout.chunks_off + cell_block_off(word)); /* TAKE.3 */
        cell_cas(from, mark, 0);                                                   /* TAKE.4 */
}

/* ------------------------------------------------------------------ the thread's own cells */

/* Nested creations take them one after the other; 4 is all there are. */
static int
entry_find_free(const struct thread *t)
{
        for (int entry = 0; entry < ROOTS_PENDING_MAX; entry++)
                if (load_relaxed(&t->slot->pending[entry]) == 0) /* ours: others change only what they know */
                        return entry;
        return -ENOBUFS;
}

static uint64_t
next_sequence(const struct thread *t)
{
        uint32_t sequence = load_relaxed(&t->slot->pad2) + 1;

        store_relaxed(&t->slot->pad2, sequence);
        kill_order();
        return sequence & ((UINT64_C(1) << SEQUENCE_BITS) - 1);
}

static void
entry_store(const struct thread *t, uint32_t entry, uint64_t word)
{
        kill_order();
        store_release(&t->slot->pending[entry], word); /* E11.rel: whoever misses a mark's cell sees the mark gone */
        kill_order();
}

static uint64_t
entry_dest_off(const struct thread *t, uint32_t entry)
{
        return (uint64_t)((char *)&t->slot->pending[entry] - t->region->base);
}

/* False: no region offset of a block. */
static bool
block_word_is_valid(const struct region *r, uint64_t word)
{
        return word >= r->layout.chunks_off && word < r->layout.region_bytes && word % 16 == 0;
}

/* ROOT.13, TAKE.5.  A block whose slab is held for long stays, for root_tidy(). */
static void
entry_free(struct thread *t, uint32_t entry)
{
        uint64_t word = load_relaxed(&t->slot->pending[entry]);
        int err = block_word_is_valid(t->region, word) ? -EBUSY : -EINVAL;

        for (int tries = 0; err == -EBUSY && tries < FREE_TRIES_MAX; tries++)
                err = free_block(t, word - t->region->layout.chunks_off, entry_dest_off(t, entry));
        if (err != -EBUSY)
                entry_store(t, entry, 0); /* was done by the free, unless that was none */
}

/* ROOT.12 */
static void
entry_abandon(struct thread *t, uint32_t entry)
{
        uint64_t word = load_relaxed(&t->slot->pending[entry]);

        entry_store(t, entry, t->region->layout.chunks_off + cell_block_off(word));
        entry_free(t, entry);
}

void
root_tidy(struct thread *t)
{
        for (uint32_t entry = 0; entry < ROOTS_PENDING_MAX; entry++) {
                uint64_t word = load_relaxed(&t->slot->pending[entry]);

                if (word != 0 && cell_kind(word) == CELL_BLOCK)
                        entry_free(t, entry);
        }
}

/* 0: the block was in `from` and has been freed; -EAGAIN: `from` is not `seen` any more; -ENOBUFS. */
static int
take(struct thread *t, uint64_t *from, uint64_t seen, uint32_t home, uint64_t block_off)
{
        int entry = entry_find_free(t);
        struct mover mover;
        uint64_t mark;

        if (entry < 0)
                return entry;
        mover = (struct mover){.thread_no = t->no, .entry = (uint32_t)entry, .sequence = next_sequence(t)};
        mark = mark_make(CELL_TAKEN, mover, 0);
        store_relaxed(&t->slot->pending_record[entry], home);
        entry_store(t, mover.entry, cell_moving(CELL_TAKING, mover.sequence, block_off)); /* TAKE.1 */
        if (!cell_cas(from, seen, mark)) {                                                /* TAKE.2: commit */
                entry_store(t, mover.entry, 0);
                return -EAGAIN;
        }
        finish_take(t->region, from, mark); /* TAKE.3, TAKE.4 */
        entry_free(t, mover.entry);         /* TAKE.5 */
        return 0;
}

/* ------------------------------------------------------------------ records */

/* A name as records hold it: padded with zeroes. */
struct key {
        char name[LAYOUT_ROOT_NAME_MAX + 1];
};

static int
key_make(const char *name, struct key *ret_key)
{
        size_t len = name ? strnlen(name, LAYOUT_ROOT_NAME_MAX + 1) : 0;

        if (len == 0 || len > LAYOUT_ROOT_NAME_MAX)
                return error_set(-EINVAL, "root name \"%.80s\" is not valid: 1 to %u bytes", name ? name : "(null)",
                                 LAYOUT_ROOT_NAME_MAX);
        memset(ret_key, 0, sizeof *ret_key);
        memcpy(ret_key->name, name, len);
        return 0;
}

static int
chain_is_damaged(void)
{
        return error_set(-EUCLEAN, "the list of root names is damaged: run shmallocctl check");
}

/* Looks in the chain from `head` (index + 1) to before `until`.  0, -ENOENT, -EUCLEAN. */
static int
chain_find(struct region *r, const struct key *key, uint32_t head, uint32_t until, uint32_t *ret_idx)
{
        for (uint64_t hops = 0; head != until; hops++) {
                struct root_record *record = head != 0 ? record_at(r, head - 1) : NULL;

                if (!record || hops >= r->layout.n[TABLE_ROOTS])
                        return chain_is_damaged();
                if (memcmp(record->name, key->name, sizeof key->name) == 0) {
                        *ret_idx = head - 1;
                        return 0;
                }
                head = load_relaxed(&record->next); /* const once linked: E10 */
        }
        return -ENOENT;
}

static uint32_t
chain_head(struct region *r)
{
        return load_acquire(&r->header->roots_head); /* E10.acq: name and next of every record from here on */
}

static int
record_find(struct region *r, const struct key *key, struct root_record **ret_record)
{
        uint32_t idx = 0;
        int err = chain_find(r, key, chain_head(r), 0, &idx);

        if (err == 0)
                *ret_record = &r->roots[idx];
        return err;
}

static uint64_t
record_word(enum root_state state, uint32_t owner)
{
        return (uint64_t)state | WORD_PUT(owner, 4);
}

/* LINK.1, LINK.2: one of those below the mark.  1: none is free, but some are so only for a moment. */
static int
record_claim_below(struct thread *t, uint32_t hwm, uint32_t *ret_idx)
{
        struct region *r = t->region;
        bool has_new = false;

        for (uint32_t idx = 0; idx < hwm; idx++) {
                uint64_t word = owner_load(&r->roots[idx].word);

                has_new |= WORD_FIELD(word, 0, 4) == ROOT_NEW;
                if (WORD_FIELD(word, 0, 4) != ROOT_FREE)
                        continue;
                candidate_set(t, candidate_make(CANDIDATE_ROOT, idx, 1));                          /* LINK.1 */
                if (owner_acquire(&r->roots[idx].word, &word, record_word(ROOT_NEW, t->no))) {     /* LINK.2 */
                        *ret_idx = idx;
                        return 0;
                }
                candidate_clear(t);
                has_new = true;
        }
        return has_new ? 1 : -ENOSPC;
}

/* 0: claimed; 1: perhaps later; -ENOSPC; -ENOMEM. */
static int
record_claim(struct thread *t, uint32_t *ret_idx)
{
        struct region *r = t->region;

        for (uint32_t hwm = region_roots_hwm(r);; hwm = region_roots_hwm(r)) { /* rises each time: bounded by the table */
                int err = record_claim_below(t, hwm, ret_idx);

                if (err == 0 || hwm >= r->layout.n[TABLE_ROOTS])
                        return err;
                err = region_raise_roots(r, hwm);
                if (err < 0)
                        return err == -EUCLEAN ? chain_is_damaged()
                                               : error_set(-ENOMEM, "no memory for another root name");
        }
}

/* LINK.3 to LINK.6 for a claimed record, whose name is not in the chain from `head` on.  0, -EUCLEAN. */
static int
record_link(struct thread *t, const struct key *key, uint32_t head, uint32_t idx, uint32_t *ret_idx)
{
        struct region *r = t->region;
        struct root_record *record = &r->roots[idx];
        uint64_t word = record_word(ROOT_FREE, THREAD_NONE);
        int err = -ENOENT;

        memcpy(record->name, key->name, sizeof record->name); /* LINK.3 */
        while (err == -ENOENT) { /* a lost CAS means a record more in the chain: bounded by the table, which the walk counts */
                uint32_t old = head;

                store_relaxed(&record->next, head);
                /* E10.rel: name and next.  E10.acq: those of the records that came in between. */
                if (cas_acq_rel(&r->header->roots_head, &head, idx + 1)) { /* LINK.4: commit */
                        *ret_idx = idx;
                        word = record_word(ROOT_LINKED, THREAD_NONE);
                        err = 0;
                } else {
                        err = chain_find(r, key, head, old, ret_idx);
                }
        }
        owner_release(&record->word, word); /* LINK.5, E3.rel */
        candidate_clear(t);                 /* LINK.6 */
        return err;
}

static int
record_find_or_link(struct thread *t, const struct key *key, uint32_t *ret_idx)
{
        int err = 1;

        for (int round = 0; err == 1 && round < LINK_ROUNDS_MAX; round++) {
                uint32_t head = chain_head(t->region), idx;

                err = chain_find(t->region, key, head, 0, ret_idx);
                if (err != -ENOENT)
                        return err;
                err = record_claim(t, &idx);
                if (err == 0)
                        return record_link(t, key, head, idx, ret_idx);
        }
        if (err == 1 || err == -ENOSPC)
                err = error_set(-ENOSPC, "no room for root \"%s\": all %u names of this heap are used, and a name is "
                                "for ever; create the heap with more roots", key->name,
                                (uint32_t)t->region->layout.n[TABLE_ROOTS]);
        return err;
}

/* ------------------------------------------------------------------ objects */

struct object {
        uint64_t block_off;
        uint64_t size;
};

static int
object_is_damaged(const struct root_record *record)
{
        return error_set(-EUCLEAN, "root \"%.*s\" is damaged: run shmallocctl check", (int)LAYOUT_ROOT_NAME_MAX,
                         record->name);
}

/* The block and slack that an object word tells of.  0; -EAGAIN: it changed meanwhile; -ENOENT; -EUCLEAN. */
static int
object_decode(struct region *r, uint64_t word, uint64_t *ret_block_off, uint64_t *ret_slack)
{
        uint64_t *cell;
        uint64_t moving;

        switch (cell_kind(word)) {
        case CELL_BLOCK:
                return word == 0 ? -ENOENT : -EUCLEAN;
        case CELL_TAKEN:
                return -ENOENT;
        case CELL_OBJECT:
                *ret_block_off = cell_block_off(word);
                *ret_slack = object_slack(word);
                return 0;
        case CELL_FROM:
                moving = mover_word(r, word, &cell);
                if (cell_kind(moving) != CELL_BUILDING && cell_kind(moving) != CELL_PUBLISHED)
                        return -EAGAIN;
                *ret_block_off = cell_block_off(moving);
                *ret_slack = mark_slack(word);
                return 0;
        default:
                return -EUCLEAN;
        }
}

/* What the name stands for now.  Writes nothing.  0, -ENOENT, -EUCLEAN. */
static int
object_read(struct region *r, const struct root_record *record, struct object *ret_object)
{
        for (int tries = 0; tries < CELL_TRIES_MAX; tries++) {
                uint64_t word = load_acquire(&record->object); /* E11.acq: the object is as init() left it */
                uint64_t block_off = 0, slack = 0, usable = 0;
                uint32_t class_idx;
                int err = object_decode(r, word, &block_off, &slack);

                if (err == 0)
                        usable = block_usable(r, block_off, &class_idx);
                if (load_acquire(&record->object) != word) /* E11.acq: or the block's size may be its successor's */
                        continue;
                if (err == -ENOENT)
                        return err;
                if (err < 0 || usable <= slack)
                        break;
                *ret_object = (struct object){.block_off = block_off, .size = usable - slack};
                return 0;
        }
        return object_is_damaged(record);
}

/* ROOT.2 to ROOT.5.  What is under construction is in pending[*ret_entry]. */
static int
object_build(struct thread *t, size_t size, uint32_t alloc_flags, root_init_fn *init, void *arg, uint32_t *ret_entry,
             struct object *ret_object)
{
        struct request request = {.size = size, .align = 1, .flags = alloc_flags, .arena = t->arena};
        int entry = entry_find_free(t), err;
        uint64_t block_off;

        if (entry < 0)
                return error_set(entry, "roots are created %d deep inside each other: too deep", ROOTS_PENDING_MAX + 1);
        *ret_entry = (uint32_t)entry;
        request.dest_off = entry_dest_off(t, *ret_entry);
        entry_store(t, *ret_entry, CELL_RESERVED);                                     /* ROOT.2 */
        if (!request_classify(&request) || alloc_block(t, &request, &block_off) < 0) { /* ROOT.3 */
                entry_store(t, *ret_entry, 0);
                return error_set(-ENOMEM, "no memory for a root object of %zu bytes", size);
        }
        entry_store(t, *ret_entry, cell_moving(CELL_BUILDING, next_sequence(t), block_off)); /* ROOT.4 */
        memset(region_block(t->region, block_off), 0, size);                                 /* ROOT.5 */
        err = init ? init(region_block(t->region, block_off), size, arg) : 0;
        if (err < 0)
                entry_abandon(t, *ret_entry);
        *ret_object = (struct object){.block_off = block_off, .size = size};
        return err < 0 ? err : 0;
}

/* ROOT.8 to ROOT.11 for what is under construction in `entry`.  0: done; 1: another one is, and is *object now. */
static int
object_publish(struct thread *t, uint32_t entry, uint32_t record_idx, struct object *object)
{
        struct region *r = t->region;
        struct root_record *record = &r->roots[record_idx];
        uint64_t building = load_relaxed(&t->slot->pending[entry]);
        struct mover mover = {.thread_no = t->no, .entry = entry, .sequence = cell_sequence(building)};
        uint32_t class_idx;
        uint64_t slack = block_usable(r, object->block_off, &class_idx) - object->size;
        uint64_t mark = mark_make(CELL_FROM, mover, slack);

        if (slack > SLACK_MAX)
                return object_is_damaged(record);
        for (int tries = 0; tries < CELL_TRIES_MAX; tries++) {
                uint64_t seen = load_acquire(&record->object); /* E11.acq */
                int err;

                if (cell_kind(seen) == CELL_TAKEN) {
                        finish_take(r, &record->object, seen);
                        continue;
                }
                if (seen == 0 && cell_cas(&record->object, 0, mark)) { /* ROOT.8: commit */
                        finish_publish(r, &record->object, mark);      /* ROOT.9, ROOT.10 */
                        entry_store(t, entry, 0);                      /* ROOT.11 */
                        return 0;
                }
                err = object_read(r, record, object);
                if (err != -ENOENT)
                        return err < 0 ? err : 1;
        }
        return object_is_damaged(record);
}

static int
object_create(struct thread *t, const struct key *key, size_t size, uint32_t alloc_flags, root_init_fn *init, void *arg,
              struct object *ret_object)
{
        uint32_t entry, record_idx;
        int err;

        root_tidy(t);
        err = object_build(t, size, alloc_flags, init, arg, &entry, ret_object);
        if (err < 0)
                return err;
        err = record_find_or_link(t, key, &record_idx); /* ROOT.6 */
        if (err == 0) {
                store_relaxed(&t->slot->pending_record[entry], record_idx); /* ROOT.7 */
                err = object_publish(t, entry, record_idx, ret_object);
        }
        if (err != 0)
                entry_abandon(t, entry);
        return err < 0 ? err : 0;
}

/* ------------------------------------------------------------------ the operations */

static int
find(struct region *r, const struct key *key, struct object *ret_object)
{
        struct root_record *record;
        int err = record_find(r, key, &record);

        return err == 0 ? object_read(r, record, ret_object) : err;
}

int
root_find(struct region *r, const char *name, uint64_t *ret_block_off, uint64_t *ret_size)
{
        struct object object;
        struct key key;
        int err = key_make(name, &key);

        if (err == 0)
                err = find(r, &key, &object);
        if (err == -ENOENT)
                return error_set(err, "no root \"%s\" in this heap", key.name);
        if (err < 0)
                return err;
        *ret_block_off = object.block_off;
        *ret_size = object.size;
        return 0;
}

int
root_find_or_create(struct thread *t, const char *name, size_t size, uint32_t alloc_flags, root_init_fn *init, void *arg,
                    uint64_t *ret_block_off)
{
        struct object object;
        struct key key;
        int err = key_make(name, &key);

        if (err == 0 && size == 0)
                err = error_set(-EINVAL, "root \"%s\": a size of 0 bytes", key.name);
        if (err < 0)
                return err;
        err = find(t->region, &key, &object); /* ROOT.1 */
        if (err == -ENOENT)
                err = object_create(t, &key, size, alloc_flags, init, arg, &object);
        if (err < 0)
                return err;
        if (object.size != size)
                return error_set(-EEXIST, "root \"%s\" exists with %llu bytes, not %zu", key.name,
                                 (unsigned long long)object.size, size);
        *ret_block_off = object.block_off;
        return 0;
}

int
root_remove(struct thread *t, const char *name)
{
        struct region *r = t->region;
        struct root_record *record = NULL;
        struct key key;
        int err = key_make(name, &key);

        if (err == 0)
                err = record_find(r, &key, &record);
        if (err == 0)
                root_tidy(t);
        for (int tries = 0; err == 0 && tries < CELL_TRIES_MAX; tries++) {
                uint64_t seen = load_acquire(&record->object); /* E11.acq: what is freed was finished */
                uint64_t block_off, slack;

                if (cell_kind(seen) == CELL_FROM) {
                        finish_publish(r, &record->object, seen);
                        continue;
                }
                err = object_decode(r, seen, &block_off, &slack);
                if (err < 0)
                        break;
                err = take(t, &record->object, seen, (uint32_t)(record - r->roots), block_off);
                if (err == 0)
                        return 0;
                if (err == -EAGAIN)
                        err = 0;
        }
        if (err == -ENOENT)
                return error_set(err, "no root \"%s\" in this heap", key.name);
        if (err == -ENOBUFS)
                return error_set(err, "root \"%s\" cannot be removed in the midst of so many creations", key.name);
        return err == 0 || err == -EUCLEAN ? (record ? object_is_damaged(record) : err) : err;
}

int
root_iterate(struct region *r, root_visit_fn *visit, void *arg)
{
        uint32_t head = chain_head(r);

        for (uint64_t hops = 0; head != 0; hops++) {
                struct root_record *record = record_at(r, head - 1);
                struct object object;
                struct key key;
                int ret;

                if (!record || hops >= r->layout.n[TABLE_ROOTS])
                        return chain_is_damaged();
                memcpy(key.name, record->name, sizeof key.name);
                key.name[sizeof key.name - 1] = '\0';
                if (object_read(r, record, &object) == 0) {
                        ret = visit(key.name, object.block_off, object.size, arg);
                        if (ret != 0)
                                return ret;
                }
                head = load_relaxed(&record->next); /* const once linked: E10 */
        }
        return 0;
}

/* ------------------------------------------------------------------ settling the dead */

/* Whether the record is in the chain; true also when that cannot be told: then it is lost, and nothing worse. */
static bool
record_is_linked(struct region *r, uint32_t idx)
{
        uint32_t head = chain_head(r);

        for (uint64_t hops = 0; head != 0; hops++) {
                if (head - 1 == idx || head - 1 >= region_roots_hwm(r) || hops >= r->layout.n[TABLE_ROOTS])
                        return true;
                head = load_relaxed(&r->roots[head - 1].next); /* const once linked: E10 */
        }
        return false;
}

void
root_settle_record(struct region *r, uint32_t thread_no, uint64_t record_idx)
{
        struct root_record *record = record_idx < region_roots_hwm(r) ? &r->roots[record_idx] : NULL;

        if (!record || owner_load(&record->word) != record_word(ROOT_NEW, thread_no))
                return;
        owner_release(&record->word, record_word(record_is_linked(r, (uint32_t)record_idx) ? ROOT_LINKED : ROOT_FREE,
                                                 THREAD_NONE)); /* E3.rel */
}

/* One step of a dead thread's entry.  True when it is 0 or a block that nothing else names.  The dead do nothing any
 * more, but others may still be finishing what the dead had begun: so everything here is a CAS on what was read. */
static bool
entry_settle(struct region *r, struct thread_slot *slot, struct mover mover)
{
        uint64_t *cell = &slot->pending[mover.entry];
        uint64_t word = load_acquire(cell); /* E11.acq: before the mark that others may have dropped */
        uint64_t *home, mark;

        mover.sequence = cell_sequence(word);
        home = home_cell(r, load_relaxed(&slot->pending_record[mover.entry]), cell_kind(word) == CELL_TAKING);
        mark = home ? load_acquire(home) : 0; /* E11.acq */
        switch (cell_kind(word)) {
        case CELL_BLOCK:
                return true;
        case CELL_BUILDING:
                if (cell_kind(mark) == CELL_FROM && mark == mark_make(CELL_FROM, mover, mark_slack(mark)))
                        finish_publish(r, home, mark);
                else
                        cell_cas(cell, word, r->layout.chunks_off + cell_block_off(word));
                return false;
        case CELL_PUBLISHED:
                if (cell_kind(mark) == CELL_FROM && mark == mark_make(CELL_FROM, mover, mark_slack(mark)))
                        finish_publish(r, home, mark);
                cell_cas(cell, word, 0);
                return false;
        case CELL_TAKING:
                if (mark == mark_make(CELL_TAKEN, mover, 0))
                        finish_take(r, home, mark);
                else
                        cell_cas(cell, word, 0);
                return false;
        case CELL_TAKEN: /* by a reaper who died */
                finish_take(r, cell, word);
                return false;
        default: /* RESERVED, or damage */
                cell_cas(cell, word, 0);
                return false;
        }
}

void
root_settle_pending(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper)
{
        for (uint32_t entry = 0; entry < ROOTS_PENDING_MAX; entry++) {
                struct mover mover = {.thread_no = thread_no, .entry = entry};
                int tries = 0;
                uint64_t word;

                while (!entry_settle(r, slot, mover) && tries < SETTLE_TRIES_MAX)
                        tries++;
                word = load_acquire(&slot->pending[entry]); /* E11.acq */
                if (word == 0 || cell_kind(word) != CELL_BLOCK || !reaper)
                        continue;
                if (reaper->slot == slot)
                        entry_free(reaper, entry);
                else if (block_word_is_valid(r, word))
                        (void)take(reaper, &slot->pending[entry], word, home_of_slot(thread_no, entry),
                                   word - r->layout.chunks_off); /* no cell left: it waits in the slot */
                else
                        cell_cas(&slot->pending[entry], word, 0);
        }
}
