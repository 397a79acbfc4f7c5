/*
 * check_slots.c - that thread slots name what they own and nothing else, and that the blocks of roots are allocated.
 *
 * A unit is a slot, a pending word of a slot, a record, and the chain of the records.
 */
#include <string.h>

#include "audit/check_parts.h"
#include "base/verify.h"
#include "clients/owner.h"
#include "heap/root_cell.h"

/* ------------------------------------------------------------------ bindings and clients */

static void
check_binding(struct check *c, uint64_t idx)
{
        uint32_t binding = load_relaxed(&c->r->bindings[idx]); /* read again if it looks wrong */
        uint32_t arena1 = binding & ~(BINDING_USED | BINDING_RESERVE);
        const struct slot_gate *gate = region_gate(c->r, (uint32_t)idx); /* by the mark as it is now */
        bool is_used = gate && load_relaxed(&gate->state) == 1;

        if (binding != 0 && !gate)
                check_fault(c, "thread %" PRIu64 ": bound, and its slot does not exist", idx + 1);
        if (arena1 > c->r->layout.n_arenas)
                check_fault(c, "thread %" PRIu64 ": bound to arena %u", idx + 1, arena1 - 1);
        if (is_used && (binding & (BINDING_USED | BINDING_RESERVE)) == 0)
                check_fault(c, "thread %" PRIu64 ": its slot is in use, and its binding %#x says empty", idx + 1,
                            binding);
        if (c->is_quiescent && !is_used && (binding & ~BINDING_RESERVE) != 0)
                check_fault(c, "thread %" PRIu64 ": its slot is empty, and its binding %#x says in use", idx + 1,
                            binding);
}

static void
check_client(struct check *c, uint64_t idx)
{
        uint64_t word = load_relaxed(&c->r->clients[idx].word); /* read again if it looks wrong */

        if (WORD_FIELD(word, 0, 2) > CLIENT_LIVE)
                check_fault(c, "client %" PRIu64 ": state %u", idx, (unsigned)WORD_FIELD(word, 0, 2));
        else if (WORD_FIELD(word, 0, 2) == CLIENT_LIVE)
                c->part.n_clients++;
}

/* ------------------------------------------------------------------ slots */

/* What must be empty when nobody is inside a call. */
static void
check_slot_is_idle(struct check *c, uint64_t idx, const struct thread_slot *slot)
{
        uint64_t candidate = load_relaxed(&slot->candidate);

        if (load_relaxed(&slot->intent.kind) != INTENT_NONE)
                check_fault(c, "thread %" PRIu64 ": intent %" PRIu64 " stands although nobody is running", idx + 1,
                            load_relaxed(&slot->intent.kind));
        if (candidate != 0)
                check_fault(c,
                            "thread %" PRIu64 ": candidate (kind %u, %" PRIu64 ", %" PRIu64
                            ") stands although nobody is running",
                            idx + 1, candidate_kind(candidate), candidate_head(candidate), candidate_length(candidate));
        if (load_relaxed(&slot->hand) != 0)
                check_fault(c, "thread %" PRIu64 ": magazine %u in its hand although nobody is running", idx + 1,
                            load_relaxed(&slot->hand) - 1);
}

/* A place may name what its thread no longer owns only between two steps. */
static void
check_place(struct check *c, uint64_t idx, uint32_t place, uint32_t idx1)
{
        uint32_t tag = place % c->r->layout.n_tags;
        uint64_t word;

        ASSERT(place < 2 * c->r->layout.n_tags && idx1 != 0);
        if (!region_has_magazine(c->r, idx1 - 1)) {
                check_fault(c, "thread %" PRIu64 ": its place for tag %u names magazine %u, which does not exist",
                            idx + 1, tag, idx1 - 1);
                return;
        }
        word = load_acquire(&c->r->magazine_words[idx1 - 1]); /* E3.acq */
        if (c->is_quiescent && (magazine_state(word) != MAGAZINE_TCACHE || magazine_owner(word) != idx + 1))
                check_fault(c, "thread %" PRIu64 ": its place for tag %u names magazine %u, which is not its own",
                            idx + 1, tag, idx1 - 1);
        else if (magazine_state(word) == MAGAZINE_TCACHE && magazine_owner(word) == idx + 1 &&
                 magazine_tag(word) != tag)
                check_fault(c, "thread %" PRIu64 ": its place for tag %u names magazine %u, which is for tag %u",
                            idx + 1, tag, idx1 - 1, magazine_tag(word));
}

/* What is there as long as it has its pages. */
static void
check_slot_itself(struct check *c, uint64_t idx, const struct thread_slot *slot, uint64_t state)
{
        if (load_relaxed(&slot->intent.kind) >= INTENT_N_KINDS)
                check_fault(c, "thread %" PRIu64 ": an intent of kind %" PRIu64, idx + 1,
                            load_relaxed(&slot->intent.kind));
        if (candidate_kind(load_relaxed(&slot->candidate)) >= CANDIDATE_N_KINDS)
                check_fault(c, "thread %" PRIu64 ": a candidate of kind %u", idx + 1,
                            candidate_kind(load_relaxed(&slot->candidate)));
        if (c->is_quiescent)
                check_slot_is_idle(c, idx, slot);
        for (uint32_t place = 0; place < 2 * c->r->layout.n_tags; place++) {
                uint32_t idx1 = load_relaxed(&slot->magazines[place]);

                if (idx1 != 0 && state == 0)
                        check_fault(c, "thread %" PRIu64 ": its slot is empty, and a place names magazine %u", idx + 1,
                                    idx1 - 1);
                else if (idx1 != 0)
                        check_place(c, idx, place, idx1);
        }
}

static void
check_slot(struct check *c, uint64_t idx)
{
        const struct slot_gate *gate = region_gate(c->r, (uint32_t)idx);
        const struct thread_slot *slot = check_thread(c, (uint32_t)idx);
        uint64_t state;

        if (!gate)
                return;                     /* the mark has sunk since it was read: told by nobody, harmful to nobody */
        state = load_relaxed(&gate->state); /* read again if it looks wrong */
        if (state > 1)
                check_fault(c, "thread %" PRIu64 ": its slot has state %" PRIu64, idx + 1, state);
        if (state == 1 && !region_client(c->r, load_relaxed(&gate->client_idx))) /* by the mark as it is now */
                check_fault(c, "thread %" PRIu64 ": of client %u, which does not exist", idx + 1,
                            load_relaxed(&gate->client_idx));
        if (c->is_quiescent && load_relaxed(&gate->dest) != 0)
                check_fault(c, "thread %" PRIu64 ": a dest stands although nobody is running: %#" PRIx64, idx + 1,
                            load_relaxed(&gate->dest));
        if (slot)
                check_slot_itself(c, idx, slot, state);
        else if (state != 0)
                check_fault(c, "thread %" PRIu64 ": its slot is in use, and its gate says that it has no pages",
                            idx + 1);
        c->part.n_threads += state == 1;
}

/* ------------------------------------------------------------------ pending words */

uint64_t
check_pending_off(const struct check *c, uint64_t pending)
{
        if (pending == 0)
                return CHECK_IDX_NONE;
        if (cell_kind(pending) == CELL_BLOCK)
                return pending - c->r->layout.chunks_off;
        return cell_kind(pending) == CELL_BUILDING ? cell_block_off(pending) : CHECK_IDX_NONE;
}

#define PENDING_UNIT(slot_idx, k) ((uint64_t)(slot_idx)*ROOTS_PENDING_MAX + (k))
#define PENDING_FMT               "thread %" PRIu64 ": block %#" PRIx64 ", pending for a root,"

static uint64_t
load_pending(const struct check *c, uint64_t unit)
{
        const struct slot_gate *gate = region_gate(c->r, (uint32_t)(unit / ROOTS_PENDING_MAX));

        return gate ? load_acquire(&gate->pending[unit % ROOTS_PENDING_MAX]) : 0; /* E11.acq */
}

static void
check_pending(struct check *c, uint64_t unit)
{
        uint64_t word = load_pending(c, unit), off = check_pending_off(c, word);
        uint64_t thread_no = unit / ROOTS_PENDING_MAX + 1;
        struct check_found f;
        const char *wrong;

        if (c->is_quiescent && word != 0 && cell_kind(word) != CELL_BLOCK)
                check_fault(c,
                            "thread %" PRIu64 ": a root is being made or removed although nobody is running: %#" PRIx64,
                            thread_no, word);
        if (off == CHECK_IDX_NONE)
                return;
        wrong = check_find(c, off, &f);
        if (!wrong && f.is_free)
                wrong = "is free in its slab";
        if (wrong) {
                if (c->is_quiescent || !f.is_held)
                        check_fault(c, PENDING_FMT " %s", thread_no, off, wrong);
                return;
        }
        c->has_found = true;
        c->found = f;
}

static void
check_pending_twice(struct check *c, uint64_t unit)
{
        struct check_place other, here = {.magazine_idx = CHECK_IDX_NONE,
                                          .slot_idx = (uint32_t)(unit / ROOTS_PENDING_MAX),
                                          .entry_idx = unit % ROOTS_PENDING_MAX};
        uint64_t off = check_pending_off(c, load_pending(c, unit));
        struct check_found f;

        if (off != CHECK_IDX_NONE && !check_find(c, off, &f) && check_find_other_place(c, f.mark_off, here, &other) &&
            other.magazine_idx == CHECK_IDX_NONE)
                check_fault(c, PENDING_FMT " is pending for one of thread %u, too", unit / ROOTS_PENDING_MAX + 1, off,
                            other.slot_idx + 1);
}

void
check_slots(struct check *c)
{
        for (uint64_t idx = 0; idx < c->r->layout.n[TABLE_BINDINGS]; idx++)
                check_unit(c, check_binding, idx);
        for (uint64_t idx = 0; idx < c->clients_hwm; idx++)
                check_unit_counted(c, check_client, idx);
        for (uint64_t idx = 0; idx < c->threads_hwm; idx++) {
                check_unit_counted(c, check_slot, idx);
                for (uint64_t k = 0; k < ROOTS_PENDING_MAX; k++) {
                        check_unit(c, check_pending, PENDING_UNIT(idx, k));
                        if (!c->has_found)
                                continue;
                        if (check_mark(c, c->found.mark_off))
                                check_count_marked(c, &c->found, true);
                        else
                                check_unit(c, check_pending_twice, PENDING_UNIT(idx, k));
                }
        }
}

/* ------------------------------------------------------------------ roots */

static bool
is_in_chain(const struct check *c, uint32_t idx)
{
        return c->chain[idx / 64] >> idx % 64 & 1;
}

/* The records of the chain; a fault if it is no chain. */
static void
walk_chain(struct check *c)
{
        uint32_t idx1 = load_acquire(&c->r->header->roots_head); /* E10.acq: the records behind it */
        uint32_t hwm = region_roots_hwm(c->r); /* as it is now: names may have come since the check began */

        memset(c->chain, 0, sizeof c->chain);
        for (uint32_t n = 0; idx1 != 0; n++) {
                if (idx1 > hwm || idx1 > CHECK_ROOTS_MAX) {
                        check_fault(c, "roots: the chain leads to record %u, which does not exist", idx1 - 1);
                        return;
                }
                if (n >= hwm || is_in_chain(c, idx1 - 1)) {
                        check_fault(c, "roots: the chain comes back to record %u", idx1 - 1);
                        return;
                }
                c->chain[(idx1 - 1) / 64] |= UINT64_C(1) << (idx1 - 1) % 64;
                idx1 = load_relaxed(&c->r->roots[idx1 - 1].next); /* const once linked */
        }
}

static void
check_chain(struct check *c, uint64_t unit)
{
        (void)unit;
        walk_chain(c);
        for (uint32_t idx = 0; idx < c->roots_hwm && idx < CHECK_ROOTS_MAX; idx++) {
                uint64_t word = load_acquire(&c->r->roots[idx].word); /* E3.acq */
                bool is_linked = WORD_FIELD(word, 0, 4) == ROOT_LINKED;

                /* What was linked after the chain was walked is in it at the next reading. */
                if (is_linked && !is_in_chain(c, idx))
                        check_fault(c, "root record %u: linked by its word, and not in the chain", idx);
                if (is_in_chain(c, idx) && !is_linked && (c->is_quiescent || WORD_FIELD(word, 0, 4) != ROOT_NEW))
                        check_fault(c, "root record %u: in the chain, and not linked by its word", idx);
        }
}

static void
check_object(struct check *c, uint64_t idx, uint64_t word)
{
        struct check_found f;
        const char *wrong;

        if (word == 0 || cell_kind(word) == CELL_TAKEN)
                return;
        if (cell_kind(word) != CELL_OBJECT) {
                if (c->is_quiescent || cell_kind(word) != CELL_FROM)
                        check_fault(c,
                                    "root record %" PRIu64
                                    ": its object is being changed although nobody is running: %#" PRIx64,
                                    idx, word);
                return;
        }
        wrong = check_find(c, cell_block_off(word), &f);
        if (!wrong && f.is_free)
                wrong = "is free in its slab";
        else if (!wrong && f.bytes <= object_slack(word))
                wrong = "is smaller than its object's slack";
        if (wrong && !f.is_later &&
            (c->is_quiescent || load_acquire(&c->r->roots[idx].object) == word)) /* E11.acq: it is the same still */
                check_fault(c, "root record %" PRIu64 ": its object, block %#" PRIx64 ", %s", idx, cell_block_off(word),
                            wrong);
        c->has_found = !wrong;
        c->found = f;
}

static void
check_record(struct check *c, uint64_t idx)
{
        const struct root_record *record = &c->r->roots[idx];
        uint64_t word = load_acquire(&record->word);     /* E3.acq */
        uint64_t object = load_acquire(&record->object); /* E11.acq */
        uint32_t state = (uint32_t)WORD_FIELD(word, 0, 4), owner = (uint32_t)WORD_FIELD(word, 4, 16);

        if (state > ROOT_LINKED || word >> 20 != 0 || (state != ROOT_NEW && owner != THREAD_NONE)) {
                check_fault(c, "root record %" PRIu64 ": no word of a record: %#" PRIx64, idx, word);
                return;
        }
        if (state == ROOT_NEW && owner == THREAD_NONE)
                check_fault(c, "root record %" PRIu64 ": new, and it belongs to nobody", idx);
        check_owner(c, "root record", idx, owner);
        if (state == ROOT_LINKED &&
            (record->name[0] == '\0' || strnlen(record->name, sizeof record->name) == sizeof record->name))
                check_fault(c, "root record %" PRIu64 ": linked without a name", idx);
        if (state == ROOT_FREE && object != 0)
                check_fault(c, "root record %" PRIu64 ": free, and it has an object: %#" PRIx64, idx, object);
        if (state == ROOT_LINKED) {
                check_object(c, idx, object);
                c->part.n_roots += object != 0 && cell_kind(object) != CELL_TAKEN;
        }
}

/* The block of an object is marked already: it is cached, pending, or another root's. */
static void
check_object_twice(struct check *c, uint64_t idx)
{
        struct check_place other, nowhere = {.magazine_idx = CHECK_IDX_NONE, .slot_idx = UINT32_MAX};
        uint64_t word = load_acquire(&c->r->roots[idx].object); /* E11.acq */
        struct check_found f;

        if (cell_kind(word) != CELL_OBJECT || check_find(c, cell_block_off(word), &f))
                return;
        if (!check_find_other_place(c, f.mark_off, nowhere, &other)) {
                if (c->is_quiescent)
                        check_fault(c,
                                    "root record %" PRIu64 ": its object, block %#" PRIx64 ", is another root's, too",
                                    idx, cell_block_off(word));
        } else if (load_acquire(&c->r->roots[idx].object) != word) { /* E11.acq */
                return;
        } else if (other.magazine_idx == CHECK_IDX_NONE) {
                check_fault(c, "root record %" PRIu64 ": its object, block %#" PRIx64 ", is pending in thread %u, too",
                            idx, cell_block_off(word), other.slot_idx + 1);
        } else {
                check_fault(c,
                            "root record %" PRIu64 ": its object, block %#" PRIx64 ", is in magazine %" PRIu64
                            " entry %" PRIu64 ", too",
                            idx, cell_block_off(word), other.magazine_idx, other.entry_idx);
        }
}

void
check_roots(struct check *c)
{
        check_unit(c, check_chain, 0);
        for (uint64_t idx = 0; idx < c->roots_hwm; idx++) {
                check_unit_counted(c, check_record, idx);
                if (c->has_found && !check_mark(c, c->found.mark_off))
                        check_unit(c, check_object_twice, idx);
        }
}
