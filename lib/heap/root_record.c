/*
 * root_record.c - see root_record.h.
 *
 * A record is claimed by one CAS on its word, named while nobody else looks at it, and put in front of the chain by
 * another CAS: from then on the name exists, for ever.  Whoever loses that CAS looks through the records that came in
 * between, since one of them may bear the same name.  Nothing that was read of the chain ever changes, and its head
 * never comes back, so there is no ABA.
 *
 *   LINK                                              a death after it leaves                settled by
 *   LINK.1   candidate := the record                  a record that is not ours              left alone
 *   LINK.2   CAS record word FREE -> NEW              NEW, not in the chain                  FREE
 *   LINK.3   name, next := the head                   the same                               FREE
 *   LINK.4   CAS head -> the record (commit)          NEW, in the chain: linked              LINKED
 *   LINK.5   record word := LINKED                    LINKED                                 left alone
 *   LINK.6   candidate := 0
 *   Where somebody else has linked the name, LINK.5 stores FREE.
 *
 * Nobody but the claimer and recovery asks whether a record is NEW or LINKED: for all others what is in the chain is
 * linked.  So a claimer who is stopped keeps one record from other names, and nobody from its own.
 *
 * What it gave up: unlinking, for which somebody would have to know that nobody is looking.  Racing creators of one new
 * name need a record each for a moment, so when records are about to run out one of them may be refused.
 */
#include "heap/root_record.h"

#include <errno.h>
#include <string.h>

#include "base/error.h"
#include "base/verify.h"
#include "clients/intent.h"
#include "clients/owner.h"
#include "clients/slot.h"
#include "heap/decay.h"
#include "heap/reap.h"
#include "heap/root.h"

enum { LINK_ROUNDS_MAX = 64 }; /* courtesy to creators who hold the last records for a moment */

enum { CLAIM_LATER = 1 }; /* no record is free, but some are taken only for a moment, or by the dead */

int
root_name_make(const char *text, struct root_name *ret_name)
{
        size_t len = text ? strnlen(text, LAYOUT_ROOT_NAME_MAX + 1) : 0;

        if (len == 0 || len > LAYOUT_ROOT_NAME_MAX)
                return error_set(-EINVAL, "root name \"%.80s\" is not valid: 1 to %u bytes", text ? text : "(null)",
                                 LAYOUT_ROOT_NAME_MAX);
        memset(ret_name, 0, sizeof *ret_name);
        memcpy(ret_name->text, text, len);
        return 0;
}

struct root_record *
root_record_at(struct region *r, uint32_t idx)
{
        return idx < region_roots_hwm(r) ? &r->roots[idx] : NULL;
}

/* ------------------------------------------------------------------ the chain */

static int
chain_is_damaged(void)
{
        return error_set(-EUCLEAN, "the list of root names is damaged");
}

struct root_walk
root_walk_begin(struct region *r)
{
        /* E10.acq: name and next of every record from here on.  A later link is a CAS on the same word, so what
         * earlier ones published is published by it too. */
        return (struct root_walk){.region = r, .link = load_acquire(&r->header->roots_head)};
}

struct root_record *
root_walk_next(struct root_walk *walk)
{
        struct root_record *record;

        ASSERT(walk->hops <= walk->region->layout.n[TABLE_ROOTS]);
        if (walk->link == 0 || walk->is_damaged)
                return NULL;
        record = root_record_at(walk->region, walk->link - 1);
        if (!record || walk->hops++ >= walk->region->layout.n[TABLE_ROOTS]) {
                walk->is_damaged = true;
                return NULL;
        }
        walk->link = load_relaxed(&record->next); /* const once linked: E10 */
        return record;
}

/* From where the walk stands to before the link `until`.  0, -ENOENT, -EUCLEAN. */
static int
walk_find(struct root_walk walk, uint32_t until, const struct root_name *name, uint32_t *ret_idx)
{
        while (walk.link != until) {
                struct root_record *record = root_walk_next(&walk);

                if (!record)
                        return chain_is_damaged();
                if (memcmp(record->name, name->text, sizeof name->text) == 0) {
                        *ret_idx = (uint32_t)(record - walk.region->roots);
                        return 0;
                }
        }
        return -ENOENT;
}

int
root_record_find(struct region *r, const struct root_name *name, uint32_t *ret_idx)
{
        return walk_find(root_walk_begin(r), 0, name, ret_idx);
}

/* ------------------------------------------------------------------ claim */

static uint64_t
record_word(enum root_state state, uint32_t owner)
{
        ASSERT((unsigned)state <= ROOT_LINKED && (state == ROOT_NEW) == (owner != THREAD_NONE));
        return (uint64_t)state | WORD_PUT(owner, 4);
}

static enum root_state
record_state(uint64_t word)
{
        return (enum root_state)WORD_FIELD(word, 0, 4);
}

/* LINK.1, LINK.2 among the first `n` records.  0, -ENOSPC, CLAIM_LATER. */
static int
claim_among(struct thread *t, uint32_t n, uint32_t *ret_idx)
{
        struct region *r = t->region;
        int err = -ENOSPC;

        ASSERT(n <= region_roots_hwm(r));
        for (uint32_t idx = 0; idx < n; idx++) {
                uint64_t word = owner_load(&r->roots[idx].word);

                if (record_state(word) != ROOT_LINKED)
                        err = CLAIM_LATER;
                if (record_state(word) != ROOT_FREE)
                        continue;
                candidate_set(t, candidate_make(CANDIDATE_ROOT, idx, 1));                      /* LINK.1 */
                if (owner_acquire(&r->roots[idx].word, &word, record_word(ROOT_NEW, t->no))) { /* LINK.2 */
                        *ret_idx = idx;
                        ASSERT_INVARIANT(I22, owner_load(&r->roots[idx].word) == record_word(ROOT_NEW, t->no));
                        return 0;
                }
                candidate_clear(t);
        }
        return err;
}

/* Backs another record; where one of the dead is in the way, once it is settled; in a full file system by what the heap
 * does not need, unless it is meant to keep that. */
static int
raise_records(struct thread *t, uint32_t idx)
{
        int err = region_raise_roots(t->region, idx);

        if (err == -ENOMEM && slot_reap_all(t->region, reap_settle, t) > 0)
                err = region_raise_roots(t->region, idx);
        if ((err == -ENOSPC || err == -ENOMEM) && load_relaxed(&t->region->header->decay_ms) >= 0 &&
            decay_make_room(t, UINT32_MAX))
                err = region_raise_roots(t->region, idx);
        return err;
}

/* 0, -ENOSPC, CLAIM_LATER; -ENOMEM, -EUCLEAN with the message set. */
static int
claim(struct thread *t, uint32_t *ret_idx)
{
        struct region *r = t->region;
        uint32_t n = (uint32_t)r->layout.n[TABLE_ROOTS], hwm = region_roots_hwm(r);
        int err = claim_among(t, hwm, ret_idx);

        ASSERT_INVARIANT(I17, hwm <= n);
        while (err != 0 && hwm < n) { /* the mark rises each time */
                err = raise_records(t, hwm);
                if (err == -EUCLEAN)
                        return chain_is_damaged();
                if (err < 0)
                        return error_set_refused(-ENOMEM, "no memory for another root name");
                hwm = region_roots_hwm(r);
                err = claim_among(t, hwm, ret_idx);
        }
        return err;
}

/* ------------------------------------------------------------------ link */

/* LINK.4, for a name that is not in the chain from `walk` on.  0; 1: somebody else has linked *ret_idx; -EUCLEAN. */
static int
push(struct root_walk walk, const struct root_name *name, uint32_t idx, uint32_t *ret_idx)
{
        struct region *r = walk.region;
        uint64_t n = r->layout.n[TABLE_ROOTS];

        ASSERT_INVARIANT(I22, record_state(owner_load(&r->roots[idx].word)) == ROOT_NEW);
        ASSERT(idx < region_roots_hwm(r));
        for (uint64_t tries = 0; tries <= n; tries++) { /* a lost CAS means that the chain has grown */
                uint32_t old = walk.link;
                int err;

                store_relaxed(&r->roots[idx].next, old);
                /* E10.rel: name and next.  E10.acq: those of the records that came in between. */
                if (cas_acq_rel(&r->header->roots_head, &walk.link, idx + 1)) {
                        *ret_idx = idx;
                        return 0;
                }
                err = walk_find(walk, old, name, ret_idx);
                if (err != -ENOENT)
                        return err == 0 ? 1 : err;
        }
        return chain_is_damaged();
}

/* LINK.3 to LINK.6 for a claimed record. */
static int
link_owned(struct thread *t, struct root_walk walk, const struct root_name *name, uint32_t idx, uint32_t *ret_idx)
{
        struct root_record *record = &t->region->roots[idx];
        enum root_state state;
        int err;

        ASSERT_INVARIANT(I22, owner_load(&record->word) == record_word(ROOT_NEW, t->no));
        ASSERT_INVARIANT(I6, load_relaxed(&t->slot->candidate) == candidate_make(CANDIDATE_ROOT, idx, 1));
        memcpy(record->name, name->text, sizeof record->name); /* LINK.3 */
        err = push(walk, name, idx, ret_idx);                  /* LINK.4 */
        state = err == 0 ? ROOT_LINKED : ROOT_FREE;
        owner_release(&record->word, record_word(state, THREAD_NONE)); /* LINK.5, E3.rel */
        candidate_clear(t);                                            /* LINK.6 */
        return err < 0 ? err : 0;
}

static int
no_room(const struct region *r, const struct root_name *name)
{
        return error_set(-ENOSPC,
                         "no room for root \"%s\": all %u names of this heap are used, and a name is for ever; create "
                         "the heap with more roots",
                         name->text, (uint32_t)r->layout.n[TABLE_ROOTS]);
}

int
root_record_find_or_link(struct thread *t, const struct root_name *name, uint32_t *ret_idx)
{
        struct region *r = t->region;

        ASSERT_INVARIANT(I19, thread_is_valid(t));
        ASSERT_INVARIANT(I9, thread_is_between_steps(t));
        for (int round = 0; round < LINK_ROUNDS_MAX; round++) {
                struct root_walk walk = root_walk_begin(r);
                uint32_t idx = 0;
                int err = walk_find(walk, 0, name, ret_idx);

                if (err != -ENOENT)
                        return err;
                err = claim(t, &idx);
                if (err == 0)
                        return link_owned(t, walk, name, idx, ret_idx);
                if (err == -ENOSPC)
                        break;
                if (err < 0)
                        return err;
                if (round == LINK_ROUNDS_MAX / 2)
                        slot_reap_all(r, reap_settle, t);
        }
        return no_room(r, name);
}

/* ------------------------------------------------------------------ settle */

/* Also true when that cannot be told: then the record is lost, and nothing worse. */
static bool
is_linked(struct region *r, const struct root_record *record)
{
        struct root_walk walk = root_walk_begin(r);
        const struct root_record *at;

        while ((at = root_walk_next(&walk)))
                if (at == record)
                        return true;
        return walk.is_damaged;
}

void
root_settle_record(struct region *r, uint32_t thread_no, uint64_t record_idx)
{
        struct root_record *record = record_idx <= UINT32_MAX ? root_record_at(r, (uint32_t)record_idx) : NULL;
        enum root_state state;

        ASSERT(thread_no != THREAD_NONE);
        if (!record || owner_load(&record->word) != record_word(ROOT_NEW, thread_no))
                return;
        state = is_linked(r, record) ? ROOT_LINKED : ROOT_FREE;
        owner_release(&record->word, record_word(state, THREAD_NONE)); /* E3.rel */
}
