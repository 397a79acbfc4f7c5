/*
 * root.c - see root.h; names are root_record.c, the words root_cell.h.
 *
 * Two words hold blocks here: a record's `object`, and the `pending` words of a thread's slot for what is on its way
 * into or out of a root.  Call both cells.  A block is in one cell, but no two words can be changed at once: so each
 * move is decided by one CAS on the cell outside the mover's slot, which leaves a mark there that names the mover's
 * cell and its sequence number.  As long as the mark stands it tells on which side the block is.  Whoever wants to go
 * on from a marked cell, be it another thread or a reaper, first writes the decision into the mover's cell, then drops
 * the mark.  Both are CASes on exactly what was read; the mover does the same, and so does recovery.  So nobody waits,
 * and a stopped mover stops nobody.  Sequence numbers are counted in the slot and go on with its next owner, so a CAS
 * that comes late finds nothing that it expects.
 *
 *   in a pending word                         in an object; TAKEN also in a dead slot's pending word
 *   BLOCK      0, or a block that nothing     OBJECT  the object
 *              else names                     FROM    the object, named by the mover's cell: BUILDING or PUBLISHED
 *   WANTED     a block is being allocated     TAKEN   nothing: the block is the mover's, whose cell says so, or still
 *   BUILDING   a block under construction             says TAKING
 *   PUBLISHED  the record has the block       0       nothing
 *   TAKING     another cell has the block,
 *              unless that is marked TAKEN
 *
 * A block that nothing else names is freed from a cell of the freer's own slot, by a free that zeroes the cell in the
 * same step: home, or into a magazine where somebody, stopped perhaps, holds its slab.  A block that is free already
 * has been freed by other means, and is forgotten.  A reaper moves a block from the dead slot to its own first: were it
 * freed from where it is, and the reaper died of it, two would repair that cell, one for each of the dead, and the
 * slower one would free another's block.
 *
 *   CREATE                                           a death after it leaves               settled by
 *   ROOT.1   look for the name; done if it has       nothing
 *            an object
 *   ROOT.2   pending[k] := WANTED                    WANTED                                zeroed
 *   ROOT.3   allocate: the block's offset takes      BLOCK                                 freed
 *            its place in the same step
 *   ROOT.4   pending[k] := BUILDING                  BUILDING, no FROM                     freed
 *   ROOT.5   zero the object; init(), which may      the same, once per nested creation    freed
 *            create others
 *   ROOT.6   find the name's record, or link one     the same (root_record.c)              freed
 *   ROOT.7   pending_record[k] := record             the same                              freed
 *   ROOT.8   CAS object 0 -> FROM (commit)           BUILDING and its FROM                 ROOT.9, .10, .11
 *   ROOT.9   CAS pending[k] BUILDING -> PUBLISHED    PUBLISHED and its FROM                ROOT.10, .11
 *   ROOT.10  CAS object FROM -> OBJECT               PUBLISHED, no FROM                    ROOT.11
 *   ROOT.11  pending[k] := 0                         a finished root
 *   Whoever finds FROM may do .9 and .10.  Where init() failed, or another one has published an object; then, if init()
 *   has not failed, undo() runs on the object first, with nothing but this cell in hand, as init() did:
 *   ROOT.12  pending[k] := BLOCK                     BLOCK                                 freed
 *   ROOT.13  free, zeroing pending[k]                nothing, or the free's own intent:    reap.c
 *                                                    FREE_ONE, RUN_FROM, HUGE_FROM, PUSH_FROM
 *
 *   TAKE, from a record to remove its object or to give it to the caller, from a dead slot to reap
 *   TAKE.1   pending_record[k] := where from;        TAKING, no TAKEN                      zeroed
 *            pending[k] := TAKING
 *   TAKE.2   CAS that cell -> TAKEN (commit)         TAKING and its TAKEN                  TAKE.3, .4, .5
 *   TAKE.3   CAS pending[k] TAKING -> BLOCK          BLOCK; TAKEN, which means nothing     freed
 *   TAKE.4   CAS that cell TAKEN -> 0                BLOCK                                 freed
 *   TAKE.5   as ROOT.13; or, for the caller,         nothing: the block is the caller's,   nobody
 *            pending[k] := 0 (commit)                and lost with it, as malloc's are
 *   Whoever finds TAKEN may do .3 and .4.
 *
 * What it gave up: blocks that init() allocated are init()'s to give back when it fails, undo()'s when it is outrun,
 * and are lost when its thread dies: only the object itself is freed.  A block that was freed by other means and
 * allocated again is not told from the object.
 */
#include "heap/root.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/owned.h"
#include "clients/owner.h"
#include "heap/find.h"
#include "heap/free.h"
#include "heap/root_cell.h"
#include "heap/root_record.h"

enum {
        OBJECT_TRIES_MAX = 1 << 16, /* each means that others changed this very object; past them it is damage */
        SETTLE_TRIES_MAX = 64,      /* steps of one pending word; the mover is dead, so four will do */
        FREE_TRIES_MAX = 64         /* the slab is held: for less than that, unless its holder is stopped */
};

/* ------------------------------------------------------------------ cells */

static uint64_t *
pending_at(struct region *r, uint32_t thread_no, uint32_t entry)
{
        struct slot_gate *gate = thread_no != THREAD_NONE ? region_gate(r, thread_no - 1) : NULL;

        return gate && entry < ROOTS_PENDING_MAX ? &gate->pending[entry] : NULL;
}

/* What pending_record holds: the index of a record, or a cell of a dead slot. */
#define HOME_IS_SLOT (UINT32_C(1) << 31)

static uint32_t
home_of_slot(uint32_t thread_no, uint32_t entry)
{
        ASSERT(entry < ROOTS_PENDING_MAX && thread_no != THREAD_NONE && thread_no <= THREAD_NO_MAX);
        return HOME_IS_SLOT | entry << 16 | thread_no;
}

/* NULL: there is no such cell. */
static uint64_t *
home_cell(struct region *r, uint32_t home)
{
        struct root_record *record;

        if (home & HOME_IS_SLOT)
                return pending_at(r, home & 0xffff, home >> 16 & 3);
        record = root_record_at(r, home);
        return record ? &record->object : NULL;
}

/* E11: whoever finds what this stores also finds what the storing thread did before: the object that init() filled, its
 * own cell, the other's cell. */
static bool
cell_cas(uint64_t *cell, uint64_t expected, uint64_t word)
{
        return cas_acq_rel(cell, &expected, word); /* E11.rel: see above.  E11.acq: likewise */
}

static uint64_t
cell_load(const uint64_t *cell)
{
        return load_acquire(cell); /* E11.acq: see cell_cas() */
}

/* The mover's cell and its word, if that still is at the move that the mark tells of.  Else 0: the mark is gone, or, if
 * it is TAKEN, means nothing. */
static uint64_t
mover_word(struct region *r, uint64_t mark, uint64_t **ret_cell)
{
        struct mover mover = mark_mover(mark);
        uint64_t *cell = pending_at(r, mover.thread_no, mover.entry);
        uint64_t word = cell ? cell_load(cell) : 0;

        *ret_cell = cell;
        return cell_is_moving(word) && cell_sequence(word) == mover.sequence ? word : 0;
}

/* ROOT.9, ROOT.10.  The cell is not marked like this any more afterwards, unless it is damaged. */
static void
finish_publish(struct region *r, uint64_t *object, uint64_t mark)
{
        uint64_t *cell;
        uint64_t word = mover_word(r, mark, &cell);

        ASSERT_INVARIANT(I22, cell_kind(mark) == CELL_FROM);
        if (cell_kind(word) == CELL_BUILDING) {
                cell_cas(cell, word, cell_with_kind(word, CELL_PUBLISHED)); /* ROOT.9 */
                word = mover_word(r, mark, &cell);
        }
        if (cell_kind(word) == CELL_PUBLISHED)
                cell_cas(object, mark, cell_object(mark_slack(mark), cell_block_off(word))); /* ROOT.10 */
}

/* TAKE.3, TAKE.4.  The cell is not marked like this any more afterwards. */
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

/* What nested creations have taken is not 0, nor is what could not be freed yet. */
static int
entry_find_free(const struct thread *t)
{
        for (int entry = 0; entry < ROOTS_PENDING_MAX; entry++)
                if (load_relaxed(&t->gate->pending[entry]) == 0) /* ours: nobody else makes it anything but 0 */
                        return entry;
        return -ENOBUFS;
}

bool
root_has_no_room(const struct thread *t)
{
        for (int entry = 0; entry < ROOTS_PENDING_MAX; entry++) {
                uint64_t word = load_relaxed(&t->gate->pending[entry]); /* as above */

                if (word == 0 || cell_kind(word) == CELL_BLOCK)
                        return false;
        }
        return true;
}

static struct mover
entry_mover(const struct thread *t, int entry)
{
        uint32_t sequence = load_relaxed(&t->gate->root_sequence) + 1; /* ours alone */

        store_relaxed(&t->gate->root_sequence, sequence);
        return (struct mover){.thread_no = t->no, .entry = (uint32_t)entry, .sequence = sequence & MOVER_SEQUENCE_MASK};
}

static void
entry_store(const struct thread *t, uint32_t entry, uint64_t word)
{
        ASSERT(entry < ROOTS_PENDING_MAX);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        kill_order();
        store_release(&t->gate->pending[entry], word); /* E11.rel: who finds this finds the mark gone that led here */
        kill_order();
}

static uint64_t
entry_dest_off(const struct thread *t, uint32_t entry)
{
        return (uint64_t)((char *)&t->gate->pending[entry] - t->region->base);
}

static bool
block_word_is_valid(const struct region *r, uint64_t word)
{
        return word >= r->layout.chunks_off && word < r->layout.region_bytes && word % 16 == 0;
}

/* Whether a block that nothing but a cell of ours names still is allocated: if not, somebody has freed it by other
 * means.  Nobody frees it meanwhile who may, so this is exact. */
static bool
block_is_there(struct region *r, uint64_t block_off)
{
        uint32_t class_idx;

        return block_usable(r, block_off, &class_idx) != 0 && !block_is_free_or_cached(r, block_off);
}

/*
 * ROOT.13, TAKE.5.  A block whose slab is held for long is put aside, as every free does it.  0; -EUCLEAN: what the
 * cell names is no block, or one that others have freed already, and is forgotten; -EBUSY: there is no magazine either,
 * so it stays where it is, for root_tidy().
 */
static int
entry_free(struct thread *t, uint32_t entry)
{
        uint64_t word = cell_load(&t->gate->pending[entry]), block_off = word - t->region->layout.chunks_off;
        uint64_t dest_off = entry_dest_off(t, entry);
        int err = -EBUSY;

        ASSERT(entry < ROOTS_PENDING_MAX);
        ASSERT_INVARIANT(I22, word == 0 || cell_kind(word) == CELL_BLOCK);
        if (!block_word_is_valid(t->region, word) || !block_is_there(t->region, block_off))
                err = -EUCLEAN;
        for (int tries = 0; err == -EBUSY && tries < FREE_TRIES_MAX; tries++)
                err = free_block(t, block_off, dest_off);
        if (err == -EBUSY && free_block_aside(t, block_off, dest_off))
                err = 0;
        if (err != -EBUSY)
                entry_store(t, entry, 0); /* what a free refused is forgotten, too: t->fault tells */
        return err;
}

/* ROOT.12, ROOT.13 */
static void
entry_abandon(struct thread *t, uint32_t entry)
{
        uint64_t word = cell_load(&t->gate->pending[entry]);

        ASSERT_INVARIANT(I22, cell_kind(word) == CELL_BUILDING);
        entry_store(t, entry, t->region->layout.chunks_off + cell_block_off(word));
        (void)entry_free(t, entry);
}

void
root_tidy(struct thread *t)
{
        for (uint32_t entry = 0; entry < ROOTS_PENDING_MAX; entry++) {
                uint64_t word = load_relaxed(&t->gate->pending[entry]);

                if (word != 0 && cell_kind(word) == CELL_BLOCK)
                        (void)entry_free(t, entry);
        }
}

/* TAKE.1 to TAKE.4.  The entry that has the block now; -EAGAIN: `from` is not `seen` any more; -ENOBUFS. */
static int
take(struct thread *t, uint64_t *from, uint64_t seen, uint32_t home, uint64_t block_off)
{
        int entry = entry_find_free(t);
        struct mover mover;
        uint64_t mark;

        if (entry < 0)
                return entry;
        ASSERT_INVARIANT(I22, load_relaxed(&t->gate->pending[entry]) == 0);
        mover = entry_mover(t, entry);
        mark = mark_make(CELL_TAKEN, mover, 0);
        store_relaxed(&t->slot->pending_record[entry], home);
        entry_store(t, mover.entry, cell_moving(CELL_TAKING, mover.sequence, block_off)); /* TAKE.1 */
        if (!cell_cas(from, seen, mark)) {                                                /* TAKE.2: commit */
                entry_store(t, mover.entry, 0);
                return -EAGAIN;
        }
        finish_take(t->region, from, mark); /* TAKE.3, TAKE.4 */
        return entry;
}

/* ------------------------------------------------------------------ objects */

struct object {
        uint64_t block_off;
        uint64_t size;
};

static int
object_is_damaged(const struct root_name *name)
{
        return error_set(-EUCLEAN, "root \"%s\" is damaged: its object was freed by other means, or overwritten",
                         name->text);
}

/* Found when the name is gone already. */
static int
object_is_freed(const struct root_name *name)
{
        return error_set(-EUCLEAN,
                         "root \"%s\": its object has been freed by other means than this; the name is taken off",
                         name->text);
}

static int
object_is_missing(const struct root_name *name)
{
        return error_set(-ENOENT, "no root \"%s\" in this heap", name->text);
}

/* Why entry_find_free() found none. */
static int
no_entry(const struct thread *t, const struct root_name *name)
{
        int n_waiting = 0;

        for (int entry = 0; entry < ROOTS_PENDING_MAX; entry++)
                n_waiting += cell_kind(load_relaxed(&t->gate->pending[entry])) == CELL_BLOCK; /* ours */
        if (n_waiting == 0)
                return error_set(-ENOBUFS,
                                 "root \"%s\": inside %d creations by this thread, which is as deep as can be",
                                 name->text, ROOTS_PENDING_MAX);
        return error_set(
                -ENOBUFS,
                "root \"%s\": %d objects wait to be freed: others, stopped perhaps, hold their slabs, and there "
                "is no memory for another magazine",
                name->text, n_waiting);
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
                ASSERT_INVARIANT(I22, cell_block_off(moving) < r->layout.n_chunks << GEO_CHUNK_SHIFT);
                *ret_slack = mark_slack(word);
                return 0;
        default:
                return -EUCLEAN;
        }
}

bool
root_has(struct region *r, uint64_t block_off)
{
        uint32_t n = region_roots_hwm(r);

        for (uint32_t idx = 0; idx < n; idx++) {
                uint64_t found, slack;

                if (object_decode(r, cell_load(&r->roots[idx].object), &found, &slack) == 0 && found == block_off)
                        return true;
        }
        return false;
}

/* What the record has now.  Writes nothing.  0; -ENOENT, -EUCLEAN without a message. */
static int
object_read(struct region *r, const struct root_record *record, struct object *ret_object)
{
        for (int tries = 0; tries < OBJECT_TRIES_MAX; tries++) {
                uint64_t word = cell_load(&record->object);
                uint64_t block_off = 0, slack = 0, usable = 0;
                uint32_t class_idx;
                int err = object_decode(r, word, &block_off, &slack);

                if (err == 0)
                        usable = block_usable(r, block_off, &class_idx);
                if (err == -EAGAIN || cell_load(&record->object) != word) /* else it may be the size of another block */
                        continue;
                if (err == 0 && usable <= slack)
                        err = -EUCLEAN;
                if (err == 0)
                        *ret_object = (struct object){.block_off = block_off, .size = usable - slack};
                return err;
        }
        return -EUCLEAN;
}

/* ROOT.2, ROOT.3, ROOT.4: an entry with a block under construction, call.found_off; or -ENOBUFS, -ENOMEM. */
static int
object_allocate(struct thread *t, const struct root_name *name, size_t size, uint32_t alloc_flags)
{
        uint32_t class_idx = SIZE_CLASS_NONE;
        bool is_possible = size_class_for(size, 1, &class_idx);
        int entry = entry_find_free(t);
        struct mover mover;

        ASSERT(size > 0);
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        if (entry < 0)
                return no_entry(t, name);
        mover = entry_mover(t, entry);
        call_begin(t, size, 1, class_idx)->flags = alloc_flags;
        t->call.dest_off = entry_dest_off(t, mover.entry);
        entry_store(t, mover.entry, CELL_WANTED); /* ROOT.2 */
        if (!is_possible || find_block(t) < 0) {  /* ROOT.3 */
                entry_store(t, mover.entry, 0);
                return error_append_refused(error_set(-ENOMEM, "no memory for a root object of %zu bytes", size));
        }
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        entry_store(t, mover.entry, cell_moving(CELL_BUILDING, mover.sequence, t->call.found_off)); /* ROOT.4 */
        return entry;
}

/* ROOT.8 to ROOT.11 for what is under construction in `entry`.  0: done; 1: another one is, and is *object now;
 * -EUCLEAN. */
static int
object_publish(struct thread *t, uint32_t entry, struct root_record *record, struct object *object)
{
        struct region *r = t->region;
        struct mover mover = {
                .thread_no = t->no, .entry = entry, .sequence = cell_sequence(cell_load(&t->gate->pending[entry]))};
        uint32_t class_idx;
        uint64_t slack = block_usable(r, object->block_off, &class_idx) - object->size;
        uint64_t mark = mark_make(CELL_FROM, mover, slack);

        ASSERT_INVARIANT(I22, cell_kind(cell_load(&t->gate->pending[entry])) == CELL_BUILDING);
        if (slack > OBJECT_SLACK_MAX)
                return -EUCLEAN;
        for (int tries = 0; tries < OBJECT_TRIES_MAX; tries++) {
                uint64_t seen = cell_load(&record->object);
                int err;

                if (cell_kind(seen) == CELL_TAKEN)
                        finish_take(r, &record->object, seen);
                if (cell_cas(&record->object, 0, mark)) {         /* ROOT.8: commit */
                        finish_publish(r, &record->object, mark); /* ROOT.9, ROOT.10 */
                        entry_store(t, entry, 0);                 /* ROOT.11 */
                        return 0;
                }
                err = object_read(r, record, object);
                if (err != -ENOENT)
                        return err < 0 ? err : 1;
        }
        return -EUCLEAN;
}

/* While init() or undo() runs on what is under construction in `entry`. */
struct calling {
        struct thread *t;
        uint32_t entry;
        bool is_calling;
};

/* It has not returned: it throws, or its thread ends in there. */
static void
calling_end(struct calling *c)
{
        if (c->is_calling && !c->t->is_left)
                entry_abandon(c->t, c->entry);
}

static int
object_init(struct thread *t, uint32_t entry, root_init_fn *init, void *p, size_t size, void *arg)
{
        struct calling c __attribute__((cleanup(calling_end))) = {.t = t, .entry = entry, .is_calling = true};
        int err = init(p, size, arg);

        c.is_calling = false;
        return t->is_left ? error_set(-EINTR, "a call that init() made was left by a jump: the object is not made")
                          : err;
}

static void
object_undo(struct thread *t, uint32_t entry, root_undo_fn *undo, void *p, size_t size, void *arg)
{
        struct calling c __attribute__((cleanup(calling_end))) = {.t = t, .entry = entry, .is_calling = true};

        undo(p, size, arg);
        c.is_calling = false;
}

/* ROOT.5 to ROOT.11 for what is under construction in `entry`.  0; 1: another one is published, which is *object now;
 * or what went wrong. */
static int
object_finish(struct thread *t, uint32_t entry, const struct root_name *name, root_init_fn *init, void *arg,
              struct object *object, bool *ret_is_built)
{
        void *p = region_block(t->region, object->block_off);
        uint32_t idx = 0;
        int err;

        memset(p, 0, object->size); /* ROOT.5 */
        err = init ? object_init(t, entry, init, p, object->size, arg) : 0;
        if (err < 0)
                return err;
        *ret_is_built = init != NULL;
        err = root_record_find_or_link(t, name, &idx); /* ROOT.6 */
        if (err < 0)
                return err;
        store_relaxed(&t->slot->pending_record[entry], idx); /* ROOT.7 */
        err = object_publish(t, entry, &t->region->roots[idx], object);
        return err == -EUCLEAN ? object_is_damaged(name) : err;
}

static int
object_create(struct thread *t, const struct root_name *name, uint32_t alloc_flags, root_init_fn *init,
              root_undo_fn *undo, void *arg, struct object *object)
{
        uint64_t size = object->size, own_off;
        bool is_built = false;
        int entry, err;

        root_tidy(t);
        entry = object_allocate(t, name, object->size, alloc_flags);
        if (entry < 0)
                return entry;
        own_off = object->block_off = t->call.found_off;
        err = object_finish(t, (uint32_t)entry, name, init, arg, object, &is_built);
        if (err != 0 && is_built && undo)
                object_undo(t, (uint32_t)entry, undo, region_block(t->region, own_off), size, arg);
        if (err != 0 && !t->is_left)
                entry_abandon(t, (uint32_t)entry);
        return err < 0 ? err : 0;
}

/* The entry that has the object now; -EAGAIN: it changed meanwhile; -ENOENT, -ENOBUFS, -EUCLEAN without a message. */
static int
object_take(struct thread *t, struct root_record *record, uint64_t *ret_slack)
{
        struct region *r = t->region;
        uint64_t seen = cell_load(&record->object);
        uint64_t block_off;
        int err = object_decode(r, seen, &block_off, ret_slack);

        if (cell_kind(seen) == CELL_FROM) {
                finish_publish(r, &record->object, seen);
                return -EAGAIN;
        }
        return err < 0 ? err : take(t, &record->object, seen, (uint32_t)(record - r->roots), block_off);
}

/* ------------------------------------------------------------------ the operations */

/* 0; -EINVAL, -EUCLEAN with a message; -ENOENT without one. */
static int
find(struct region *r, const struct root_name *name, struct object *ret_object)
{
        uint32_t idx = 0;
        int err = root_record_find(r, name, &idx);

        if (err < 0)
                return err;
        err = object_read(r, &r->roots[idx], ret_object);
        return err == -EUCLEAN ? object_is_damaged(name) : err;
}

int
root_find(struct region *r, const char *name, uint64_t *ret_block_off, uint64_t *ret_size)
{
        struct object object;
        struct root_name key;
        int err = root_name_make(name, &key);

        if (err < 0)
                return err;
        err = find(r, &key, &object);
        if (err < 0)
                return err == -ENOENT ? object_is_missing(&key) : err;
        *ret_block_off = object.block_off;
        *ret_size = object.size;
        return 0;
}

int
root_find_or_create(struct thread *t, const char *name, size_t size, uint32_t alloc_flags, root_init_fn *init,
                    root_undo_fn *undo, void *arg, uint64_t *ret_block_off)
{
        struct object object;
        struct root_name key;
        int err = root_name_make(name, &key);

        if (err < 0)
                return err;
        if (size == 0)
                return error_set(-EINVAL, "root \"%s\": an object of 0 bytes", key.text);
        ASSERT_INVARIANT(I19, thread_is_valid(t));
        err = find(t->region, &key, &object); /* ROOT.1 */
        if (err == -ENOENT) {
                object = (struct object){.size = size};
                err = object_create(t, &key, alloc_flags, init, undo, arg, &object);
        }
        if (err < 0)
                return err;
        if (object.size != size)
                return error_set(-EEXIST, "root \"%s\" exists with %llu bytes, not %zu", key.text,
                                 (unsigned long long)object.size, size);
        *ret_block_off = object.block_off;
        return 0;
}

/* The entry that has the object of that name now, which has none any more; or -errno with the message set. */
static int
take_by_name(struct thread *t, const struct root_name *name, uint64_t *ret_slack)
{
        uint32_t idx = 0;
        int err = root_record_find(t->region, name, &idx);

        if (err < 0)
                return err == -ENOENT ? object_is_missing(name) : err;
        root_tidy(t);
        err = -EAGAIN;
        for (int tries = 0; err == -EAGAIN && tries < OBJECT_TRIES_MAX; tries++)
                err = object_take(t, &t->region->roots[idx], ret_slack);
        switch (err) {
        case -ENOENT:
                return object_is_missing(name);
        case -ENOBUFS:
                return no_entry(t, name);
        default:
                return err < 0 ? object_is_damaged(name) : err;
        }
}

int
root_remove(struct thread *t, const char *name)
{
        struct root_name key;
        uint64_t slack;
        int entry = root_name_make(name, &key);

        if (entry == 0)
                entry = take_by_name(t, &key, &slack);
        if (entry < 0)
                return entry;
        return entry_free(t, (uint32_t)entry) == -EUCLEAN ? object_is_freed(&key) : 0; /* TAKE.5 */
}

int
root_take(struct thread *t, const char *name, uint64_t *ret_block_off, uint64_t *ret_size)
{
        struct root_name key;
        uint64_t slack = 0, word, block_off, usable = 0;
        uint32_t class_idx;
        int entry = root_name_make(name, &key);

        if (entry == 0)
                entry = take_by_name(t, &key, &slack);
        if (entry < 0)
                return entry;
        word = cell_load(&t->gate->pending[entry]);
        block_off = word - t->region->layout.chunks_off;
        if (block_word_is_valid(t->region, word) && block_is_there(t->region, block_off))
                usable = block_usable(t->region, block_off, &class_idx);
        entry_store(t, (uint32_t)entry, 0); /* TAKE.5: commit */
        if (usable <= slack)
                return object_is_freed(&key);
        ASSERT_INVARIANT(I22, load_relaxed(&t->gate->pending[entry]) == 0);
        *ret_block_off = block_off;
        *ret_size = usable - slack;
        return 0;
}

int
root_iterate(struct region *r, root_visit_fn *visit, void *arg)
{
        struct root_walk walk = root_walk_begin(r);
        struct root_record *record;

        while ((record = root_walk_next(&walk))) {
                char name[LAYOUT_ROOT_NAME_MAX + 1];
                struct object object;
                int ret;

                if (object_read(r, record, &object) < 0)
                        continue;
                memcpy(name, record->name, sizeof name);
                name[sizeof name - 1] = '\0';
                ret = visit(name, object.block_off, object.size, arg);
                if (ret != 0)
                        return ret;
        }
        return walk.is_damaged ? error_set(-EUCLEAN, "the list of root names is damaged") : 0;
}

/* ------------------------------------------------------------------ settling the dead */

/*
 * One step of a dead thread's entry.  True once it is 0 or a block that nothing else names.  The dead do nothing any
 * more, but others may still be finishing what the dead had begun, so each step is a CAS on what was read: the entry
 * first, then the mark, so that a mark which others have dropped meanwhile makes the CAS on the entry fail.
 */
static bool
entry_settle(struct region *r, struct thread_slot *slot, struct mover mover)
{
        uint64_t *cell = &r->gates[mover.thread_no - 1].pending[mover.entry];
        uint64_t word = cell_load(cell);
        uint64_t *home = home_cell(r, load_relaxed(&slot->pending_record[mover.entry])); /* the dead's, as it left it */
        uint64_t mark = home ? cell_load(home) : 0;
        bool has_mark;

        mover.sequence = cell_sequence(word);
        has_mark = cell_is_mark(mark) && mark == mark_make(cell_kind(mark), mover, mark_slack(mark));
        switch (cell_kind(word)) {
        case CELL_BLOCK:
                if (word != 0 && cell_kind(mark) == CELL_TAKEN)
                        finish_take(r, home, mark); /* TAKE.4 */
                return true;
        case CELL_BUILDING:
                if (has_mark)
                        finish_publish(r, home, mark);
                else
                        cell_cas(cell, word, r->layout.chunks_off + cell_block_off(word));
                return false;
        case CELL_PUBLISHED:
                if (has_mark)
                        finish_publish(r, home, mark);
                cell_cas(cell, word, 0);
                return false;
        case CELL_TAKING:
                if (has_mark)
                        finish_take(r, home, mark);
                else
                        cell_cas(cell, word, 0);
                return false;
        case CELL_TAKEN: /* by a reaper who died */
                finish_take(r, cell, word);
                return false;
        default: /* WANTED, or damage */
                cell_cas(cell, word, 0);
                return false;
        }
}

/* A block that nothing else names goes the reaper's way.  Where the reaper has no cell left it waits. */
static void
entry_reap(struct region *r, struct mover mover, struct thread *reaper)
{
        uint64_t *cell = &r->gates[mover.thread_no - 1].pending[mover.entry];
        uint64_t word = cell_load(cell);

        ASSERT(mover.entry < ROOTS_PENDING_MAX);
        ASSERT_INVARIANT(I9, thread_is_between_steps(reaper));
        if (word == 0 || cell_kind(word) != CELL_BLOCK)
                return;
        if (!block_word_is_valid(r, word))
                cell_cas(cell, word, 0);
        else if (reaper->no == mover.thread_no)
                (void)entry_free(reaper, mover.entry);
        else {
                int entry = take(reaper, cell, word, home_of_slot(mover.thread_no, mover.entry),
                                 word - r->layout.chunks_off);

                if (entry >= 0)
                        (void)entry_free(reaper, (uint32_t)entry); /* TAKE.5 */
        }
}

void
root_settle_pending(struct region *r, struct thread_slot *slot, uint32_t thread_no, struct thread *reaper)
{
        for (uint32_t entry = 0; entry < ROOTS_PENDING_MAX; entry++) {
                struct mover mover = {.thread_no = thread_no, .entry = entry};

                for (int tries = 0; tries < SETTLE_TRIES_MAX && !entry_settle(r, slot, mover); tries++)
                        continue;
                if (reaper)
                        entry_reap(r, mover, reaper);
        }
}
