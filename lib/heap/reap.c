/*
 * reap.c - see reap.h and doc/recovery.md (SETTLE.n).
 *
 * The intent first, because it is about things that must still name the dead: it counts only if all its objects do.
 * Then what the slot names: the candidate, the magazines, the roots under construction.  A candidate whose CAS failed
 * belongs to somebody else, and is told by its word.  Everything read from the slot or the region is bounds-checked:
 * the dead may have died of the very damage that it wrote.
 *
 * A thread that takes over the word that a dead one was handing a block to or from (reap_dest) cannot go by the slots
 * that are left to be reaped: a slot that a reaper is at, stopped perhaps, is not.  It goes by the intent.  A slot's
 * thread, or its reaper, stores to a dest only while the intent in that slot names it, and only a thread that is inside
 * of the call begins such an intent: so of those that the dead one left, one per slot at most, each is over once it has
 * been seen to be over, in whatever order the slots are looked at.  The slot may have a new owner by then, whose
 * intents name other words.
 */
#include "heap/reap.h"

#include <errno.h>

#include "base/size_class.h"
#include "base/verify.h"
#include "blocks/fault.h"
#include "blocks/huge.h"
#include "blocks/large.h"
#include "blocks/magazine.h"
#include "blocks/pool_purge.h"
#include "blocks/sift.h"
#include "blocks/slab.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "clients/slot_pages.h"
#include "heap/root.h"
#include "pages/chunk.h"
#include "pages/run.h"
#include "pages/sweep.h"

/* ------------------------------------------------------------------ what an intent names */

static bool
names_run(struct region *r, uint64_t head, uint32_t thread_no)
{
        return head < region_granules_hwm(r) && granule_owner(owner_load(run_word(r, head))) == thread_no;
}

static bool
names_slab(struct region *r, uint64_t head, uint32_t thread_no)
{
        uint64_t word;

        if (!names_run(r, head, thread_no))
                return false;
        word = owner_load(run_word(r, head));
        return granule_state(word) == GRANULE_SLAB && size_class_is_small(granule_class(word)) &&
               region_has_bitmap(r, head, granule_class(word));
}

static bool
names_chunk(struct region *r, uint64_t chunk, uint32_t thread_no)
{
        return chunk < region_chunks_hwm(r) && chunk_owner(owner_load(&r->chunk_words[chunk])) == thread_no;
}

static struct magazine *
named_magazine(struct region *r, uint64_t idx, uint32_t thread_no)
{
        uint64_t word = region_has_magazine(r, idx) ? owner_load(&r->magazine_words[idx]) : 0;

        return magazine_owner(word) == thread_no && !magazine_is_bare(word) ? &r->magazines[idx] : NULL;
}

/* Takes the reference to the intent's block out of its dest, for what was there before, unless somebody has stored
 * another one since.  A dest that may be written is 8-aligned, in a chunk that exists or among a slot's pending
 * words. */
static void
dest_restore(struct region *r, uint64_t dest_off, uint64_t block_off, uint64_t was)
{
        uint64_t ref = r->layout.chunks_off + block_off;
        uint64_t chunks_end = r->layout.chunks_off + (region_chunks_hwm(r) << GEO_CHUNK_SHIFT);
        uint64_t gates_off = r->layout.off[TABLE_GATES], stride = sizeof(struct slot_gate);
        bool in_chunks = dest_off >= r->layout.chunks_off && dest_off < chunks_end;
        bool in_gates = dest_off >= gates_off && dest_off < gates_off + region_threads_hwm(r) * stride;
        uint64_t in_gate = in_gates ? (dest_off - gates_off) % stride : 0;
        bool is_pending =
                in_gates && in_gate >= offsetof(struct slot_gate, pending) && in_gate < offsetof(struct slot_gate, pad);

        if (dest_off % 8 == 0 && (in_chunks || is_pending))
                cas_relaxed((uint64_t *)(void *)(r->base + dest_off), &ref, was);
}

/* ------------------------------------------------------------------ intents */

static void
undo_fill(struct region *r, uint32_t thread_no, const struct intent_entries *in)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);

        ASSERT(thread_no != THREAD_NONE);
        if (!m || !names_slab(r, in->head, thread_no) || load_relaxed(&m->n) != 0)
                return; /* committed, or never begun */
        for (uint64_t i = 0; i < in->n && i < MAGAZINE_CAP_MAX; i++)
                slab_settle_block(r, in->head, region_entry_off(r, load_relaxed(&m->slot[i])));
}

static void
redo_drain(struct region *r, uint32_t thread_no, const struct intent_entries *in)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);
        uint64_t n;

        ASSERT(thread_no != THREAD_NONE);
        if (!m || !names_slab(r, in->head, thread_no))
                return;
        n = load_relaxed(&m->n);
        if (n <= in->n || n > MAGAZINE_CAP_MAX)
                return; /* committed */
        for (uint64_t i = in->n; i < n; i++)
                slab_settle_block(r, in->head, region_entry_off(r, load_relaxed(&m->slot[i])));
        kill_order();
        store_relaxed(&m->n, in->n);
}

static void
redo_swap(struct region *r, uint32_t thread_no, const struct intent_swap *in)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);

        ASSERT(thread_no != THREAD_NONE);
        if (!m || in->i >= MAGAZINE_CAP_MAX || in->j >= MAGAZINE_CAP_MAX)
                return;
        store_relaxed(&m->slot[in->i], in->b);
        store_relaxed(&m->slot[in->j], in->a);
}

static void
redo_drain_run(struct region *r, uint32_t thread_no, const struct intent_entries *in)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);

        if (m && names_run(r, in->head, thread_no) && load_relaxed(&m->n) > in->n)
                store_relaxed(&m->n, in->n); /* the candidate frees the run */
}

static void
redo_drain_huge(struct region *r, uint32_t thread_no, const struct intent_entries *in)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);

        if (m && names_chunk(r, in->head, thread_no) && load_relaxed(&m->n) > in->n)
                store_relaxed(&m->n, in->n); /* the candidate frees the chunks */
}

static void
settle_one(struct region *r, uint32_t thread_no, const struct intent_block *in)
{
        if (!names_slab(r, in->head, thread_no))
                return;
        slab_settle_block(r, in->head, in->block); /* undoes ALLOC_ONE, finishes FREE_ONE */
        if (in->dest != 0)
                dest_restore(r, in->dest, in->block, in->was);
}

/* RUN_TO, HUGE_TO: not committed, so undone with the run.  RUN_FROM, HUGE_FROM: committed, so finished with the run. */
static void
settle_run_dest(struct region *r, uint32_t thread_no, const struct intent_block *in)
{
        if (in->dest != 0 && names_run(r, in->head, thread_no))
                dest_restore(r, in->dest, in->block, in->was);
}

static void
settle_huge_dest(struct region *r, uint32_t thread_no, const struct intent_block *in)
{
        if (in->dest != 0 && names_chunk(r, in->head, thread_no))
                dest_restore(r, in->dest, in->block, in->was);
}

/* The block is in the magazine as long as there are so many: then *dest must not name it, be it a pop that was not
 * committed, which is undone, or a push that was, which is finished. */
static void
settle_handover(struct region *r, uint32_t thread_no, const struct intent_handover *in, uint64_t n_with_block)
{
        struct magazine *m = named_magazine(r, in->magazine, thread_no);

        if (m && load_relaxed(&m->n) >= n_with_block && in->dest != 0)
                dest_restore(r, in->dest, in->block, in->was);
}

static void
undo_pop(struct region *r, uint32_t thread_no, const struct intent_handover *in)
{
        settle_handover(r, thread_no, in, in->n + 1);
}

static void
redo_push(struct region *r, uint32_t thread_no, const struct intent_handover *in)
{
        settle_handover(r, thread_no, in, in->n);
}

#define SETTLE(kind, member, name, operands, settle)                                                                   \
        case INTENT_##kind:                                                                                            \
                settle(r, thread_no, &in.member);                                                                      \
                break;

static void
settle_intent(struct region *r, struct slot_gate *gate, struct thread_slot *slot, uint32_t thread_no)
{
        struct intent in = {.kind = load_relaxed(&slot->intent.kind)}; /* dead: nobody else writes it */

        for (unsigned i = 0; i < INTENT_WORDS; i++)
                in.word[i] = load_relaxed(&slot->intent.word[i]);
        switch (in.kind) {
                INTENTS(SETTLE)
        default:
                break;
        }
        kill_order();
        store_relaxed(&slot->intent.kind, (uint64_t)INTENT_NONE);
        kill_order();
        store_release(&gate->dest, UINT64_C(0)); /* E15.rel: what was stored to dest */
        kill_order();
}

/* ------------------------------------------------------------------ candidates */

static void
settle_run(struct region *r, uint32_t thread_no, uint64_t head, uint64_t granules)
{
        uint64_t word;

        ASSERT(thread_no != THREAD_NONE);
        if (head >= region_granules_hwm(r) || granules == 0 ||
            head % GEO_GRANULES_PER_CHUNK + granules > GEO_GRANULES_PER_CHUNK)
                return;
        word = owner_load(run_word(r, head));
        if (names_slab(r, head, thread_no))
                slab_settle(r, thread_no, head);
        else if (granule_owner(word) == thread_no && granule_state(word) == GRANULE_LARGE &&
                 size_class_is_large(granule_class(word)))
                large_settle(r, thread_no, head, (uint32_t)granules);
        else
                run_settle(r, thread_no, head, (uint32_t)granules);
}

static void
settle_candidate(struct region *r, struct thread_slot *slot, uint32_t thread_no)
{
        uint64_t candidate = load_relaxed(&slot->candidate);
        uint64_t head = candidate_head(candidate), length = candidate_length(candidate);

        ASSERT_INVARIANT(I4, candidate_is_valid(&r->layout, candidate));
        switch (candidate_kind(candidate)) {
        case CANDIDATE_RUN:
                settle_run(r, thread_no, head, length);
                break;
        case CANDIDATE_CHUNK:
                if (head < r->layout.n_chunks)
                        chunk_settle(r, thread_no, head);
                break;
        case CANDIDATE_HUGE:
                if (head < region_chunks_hwm(r) && length <= region_chunks_hwm(r) - head)
                        huge_settle(r, thread_no, head, length);
                break;
        case CANDIDATE_ROOT:
                root_settle_record(r, thread_no, head);
                break;
        case CANDIDATE_MAGAZINES:
                pool_purge_settle(r, thread_no, head, length);
                break;
        default:
                break;
        }
        kill_order();
        store_relaxed(&slot->candidate, UINT64_C(0));
        kill_order();
        ASSERT_INVARIANT(I6, candidate_is_let_go(r, thread_no, candidate));
}

void
reap_settle(struct region *r, uint32_t thread_no, void *arg)
{
        struct slot_gate *gate = region_gate(r, thread_no - 1);
        struct thread_slot *slot = region_thread(r, thread_no - 1);

        if (!gate || !slot)
                return;
        settle_intent(r, gate, slot, thread_no); /* SETTLE.1 */
        ASSERT_INVARIANT(I8, load_relaxed(&slot->intent.kind) == INTENT_NONE);
        settle_candidate(r, slot, thread_no); /* SETTLE.2 */
        ASSERT_INVARIANT(I4, load_relaxed(&slot->candidate) == 0);
        sweep_settle(r, thread_no);
        slot_pages_settle(r, thread_no);
        sift_dead(r, slot, thread_no, arg);           /* SETTLE.3, SETTLE.4 */
        root_settle_pending(r, slot, thread_no, arg); /* SETTLE.5 */
}

int
reap_dest(struct thread *t, uint64_t dest_off)
{
        struct region *r = t->region;
        uint32_t hwm = region_threads_hwm(r);

        for (uint32_t idx = 0; idx < hwm; idx++) {
                const struct slot_gate *gate = region_gate(r, idx);

                if (!gate || !intent_names_dest(gate, dest_off))
                        continue;
                owner_add(&t->slot->n_reaped, (uint64_t)slot_reap_one(r, idx, reap_settle, t));
                if (intent_names_dest(gate, dest_off))
                        return -EBUSY;
        }
        return 0;
}
