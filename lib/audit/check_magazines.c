/*
 * check_magazines.c - that each magazine is in one place, and each block in at most one magazine, and then not free.
 *
 * A unit is a magazine (its word, its numbers, its places) and each of its entries.  They are looked at in a copy, as
 * the magazine may become bare at any time (file_look()).  Entries of a live thread's magazine come and go with plain
 * stores: so an entry that looks wrong is read again, with n, and counts only if it stays.
 *
 * A block that is found marked already is looked for in all other places: its other place goes into the report, and
 * while others run it has to be seen in both, several times over, since blocks travel.
 */
#include "audit/check_parts.h"
#include "base/verify.h"
#include "blocks/huge.h"
#include "blocks/magazine.h"
#include "clients/owner.h"
#include "clients/slot_pages.h"
#include "os/shm.h"
#include "region/file.h"

/* What a unit is: a magazine, and an entry of it. */
#define ENTRY_UNIT(magazine_idx, entry_idx) ((magazine_idx) << 8 | (entry_idx))

_Static_assert(MAGAZINE_CAP_MAX <= 256, "entries fit a unit");

enum { PLACES_AT_ONCE = 64 }; /* of a thread that is looked at */

/* ------------------------------------------------------------------ the magazine itself */

static uint64_t
load_word(const struct check *c, uint64_t idx)
{
        ASSERT(idx < c->r->layout.n[TABLE_MAGAZINES]);
        return load_acquire(&c->r->magazine_words[idx]); /* E3.acq */
}

/* As it was when it was looked at last, which may be a while ago: what looks wrong there is looked at anew. */
static const struct magazine *
look(struct check *c, uint64_t idx)
{
        if (c->magazine_idx != idx)
                file_look(c->r, c->fd, &c->r->magazines[idx], &c->magazine, sizeof c->magazine);
        c->magazine_idx = idx;
        return &c->magazine;
}

static void
look_anew(struct check *c)
{
        c->magazine_idx = CHECK_IDX_NONE;
}

/* How many of the owner's places name it: at rest one, while its owner moves it perhaps two, or the hand. */
static void
check_places(struct check *c, uint64_t idx, uint64_t word)
{
        const struct thread_slot *slot = check_thread(c, magazine_owner(word) - 1);
        uint32_t tag = magazine_tag(word), idx1 = (uint32_t)idx + 1, n = 0;

        if (!slot)
                return;                                   /* check_owner() has told */
        n += load_relaxed(&slot->magazines[tag]) == idx1; /* read again if none does */
        n += load_relaxed(&slot->magazines[c->r->layout.n_tags + tag]) == idx1;
        n += load_relaxed(&slot->hand) == idx1;
        if (n == 0)
                check_fault(c, "magazine %" PRIu64 ": owned by thread %u, and none of its places names it", idx,
                            magazine_owner(word));
        else if (n > 1 && c->is_quiescent)
                check_fault(c, "magazine %" PRIu64 ": in %u places of thread %u", idx, n, magazine_owner(word));
}

static bool
is_in_hand(const struct check *c, uint64_t idx, uint64_t word)
{
        const struct thread_slot *slot = check_thread(c, magazine_owner(word) - 1);

        return slot && load_relaxed(&slot->hand) == idx + 1;
}

/* A magazine that just came from the pool still has the capacity of its last class; one of large blocks may have grown.
 */
static void
check_numbers(struct check *c, uint64_t idx, uint64_t word)
{
        const struct magazine *m = look(c, idx);
        uint64_t n = m->n, cap = m->cap, most = size_class_magazine_cap(tag_class(magazine_tag(word)));
        bool has_grown = cap > most && cap <= MAGAZINE_CAP_MAX && size_class_is_whole(tag_class(magazine_tag(word)));
        bool is_fresh =
                !c->is_quiescent && n == 0 && magazine_state(word) == MAGAZINE_TCACHE && is_in_hand(c, idx, word);

        if (n > MAGAZINE_CAP_MAX || (n > cap && !is_fresh))
                check_fault(c, "magazine %" PRIu64 ": %" PRIu64 " entries, and it has room for %" PRIu64, idx, n, cap);
        if (!is_fresh && cap != most && !has_grown)
                check_fault(c, "magazine %" PRIu64 ": room for %" PRIu64 " blocks of %" PRIu64 " bytes, not %" PRIu64,
                            idx, cap, size_class_bytes(tag_class(magazine_tag(word))), most);
        if (n == 0 && magazine_state(word) == MAGAZINE_DEPOT)
                check_fault(c, "magazine %" PRIu64 ": empty in the depot of arena %u", idx, magazine_arena(word));
}

/* Of one that is bare, or about to be, only the word is there. */
static void
check_pooled(struct check *c, uint64_t idx, uint64_t word)
{
        uint64_t n = magazine_is_bare(word) ? 0 : look(c, idx)->n;
        uint32_t owner = magazine_owner(word);

        if ((word & ~MAGAZINE_BARE) != magazine_word(magazine_state(word), owner, 0, TAG_NONE) ||
            (owner != THREAD_NONE) != (magazine_state(word) == MAGAZINE_PURGING))
                check_fault(c, "magazine %" PRIu64 " (pool): fields that it has not: %#" PRIx64, idx, word);
        else
                check_owner(c, "magazine", idx, owner);
        if (n != 0)
                check_fault(c, "magazine %" PRIu64 " (pool): %" PRIu64 " entries", idx, n);
        c->part.n_magazines_pool++;
}

static bool
is_pooled(uint64_t word)
{
        return magazine_state(word) == MAGAZINE_POOL || magazine_state(word) == MAGAZINE_PURGING;
}

static void
count_if_unhinted(struct check *c, uint64_t idx, uint64_t word)
{
        uint32_t class_idx = tag_class(magazine_tag(word));
        uint64_t n = look(c, idx)->n;

        if (magazine_is_hinted(c->r, (uint32_t)idx, word))
                return;
        c->part.unhinted_bytes += n <= MAGAZINE_CAP_MAX ? n * size_class_bytes(class_idx) : 0;
}

/* A thread's magazine names a thread that exists, a depot's nobody. */
static void
check_magazine_owner(struct check *c, uint64_t idx, uint64_t word)
{
        uint32_t owner = magazine_owner(word);

        if (magazine_state(word) == MAGAZINE_DEPOT && owner != THREAD_NONE)
                check_fault(c, "magazine %" PRIu64 ": in the depot of arena %u, and owned by thread %u", idx,
                            magazine_arena(word), owner);
        if (magazine_state(word) == MAGAZINE_TCACHE && !check_thread_is_used(c, owner))
                check_fault(c, "magazine %" PRIu64 ": owned by thread %u, whose slot %s", idx, owner,
                            check_thread_exists(c, owner) ? "is empty" : "does not exist");
}

static void
check_magazine(struct check *c, uint64_t idx)
{
        uint64_t word = load_word(c, idx);
        uint32_t tag = magazine_tag(word), arena = magazine_arena(word);

        look_anew(c);
        if (is_pooled(word)) {
                check_pooled(c, idx, word);
                return;
        }
        if (word >> 57 != 0 || (magazine_is_foreign(word) && magazine_state(word) != MAGAZINE_TCACHE) ||
            (magazine_depot_place1(word) != 0 && magazine_state(word) != MAGAZINE_DEPOT) ||
            (magazine_is_bare(word) && (magazine_state(word) != MAGAZINE_TCACHE || c->is_quiescent))) {
                check_fault(c, "magazine %" PRIu64 ": no word of a magazine: %#" PRIx64, idx, word);
                return;
        }
        check_magazine_owner(c, idx, word);
        if (!region_has_tag(c->r, tag)) {
                check_fault(c, "magazine %" PRIu64 ": for tag %u, which has none", idx, tag);
                return;
        }
        if (!region_arena(c->r, arena) || region_arena_node(c->r, arena) != tag_node(tag))
                check_fault(c, "magazine %" PRIu64 ": of arena %u, for blocks of node %u", idx, arena, tag_node(tag));
        if (!magazine_is_bare(word))
                check_numbers(c, idx, word);
        if (magazine_state(word) == MAGAZINE_DEPOT) {
                c->part.n_magazines_depot++;
                if (c->is_quiescent)
                        count_if_unhinted(c, idx, word);
        } else {
                c->part.n_magazines_tcache++;
                if (magazine_owner(word) != THREAD_NONE)
                        check_places(c, idx, word);
        }
}

/* ------------------------------------------------------------------ entries */

struct entry {
        uint64_t magazine_idx, entry_idx;
        uint64_t word; /* of the magazine */
        uint64_t value;
        uint64_t block_off;
};

/* False: the magazine has no such entry now. */
static bool
load_entry(struct check *c, uint64_t unit, struct entry *ret_e)
{
        struct entry e = {.magazine_idx = unit >> 8, .entry_idx = unit & 0xff};
        const struct magazine *m;

        ASSERT(e.magazine_idx < c->r->layout.n[TABLE_MAGAZINES]);
        e.word = load_word(c, e.magazine_idx);
        if (is_pooled(e.word) || magazine_is_bare(e.word) || !region_has_tag(c->r, magazine_tag(e.word)))
                return false;
        m = look(c, e.magazine_idx);
        if (e.entry_idx >= m->n || e.entry_idx >= MAGAZINE_CAP_MAX)
                return false;
        e.value = m->slot[e.entry_idx];
        e.block_off = region_entry_off(c->r, e.value);
        *ret_e = e;
        return true;
}

static bool
is_still_there(struct check *c, const struct entry *e)
{
        struct entry now;

        look_anew(c);
        return load_entry(c, ENTRY_UNIT(e->magazine_idx, e->entry_idx), &now) && now.word == e->word &&
               now.value == e->value;
}

/* Whether what looks wrong may be work in progress: then the entry is passed over. */
static bool
may_be_moving(struct check *c, const struct entry *e, bool is_held)
{
        return !c->is_quiescent && (is_held || !is_still_there(c, e));
}

#define ENTRY_FMT "magazine %" PRIu64 " entry %" PRIu64 ": block %#" PRIx64
#define ENTRY(e)  (e)->magazine_idx, (e)->entry_idx, (e)->block_off

static void
check_entry(struct check *c, uint64_t unit)
{
        struct check_found f;
        struct entry e;
        const char *wrong;

        if (!load_entry(c, unit, &e))
                return;
        wrong = check_find(c, e.block_off, &f);
        if (wrong || f.is_free || f.tag != magazine_tag(e.word)) {
                if (may_be_moving(c, &e, f.is_held))
                        return;
                if (wrong)
                        check_fault(c, ENTRY_FMT " %s", ENTRY(&e), wrong);
                else if (f.is_free)
                        check_fault(
                                c,
                                ENTRY_FMT " of %" PRIu64 " bytes is cached here and free in its slab, chunk %" PRIu64
                                          " granule %" PRIu64,
                                ENTRY(&e), f.bytes, f.head / GEO_GRANULES_PER_CHUNK, f.head % GEO_GRANULES_PER_CHUNK);
                else
                        check_fault(c, ENTRY_FMT " of %" PRIu64 " bytes, arena %u, in a magazine for tag %u", ENTRY(&e),
                                    f.bytes, f.arena, magazine_tag(e.word));
                return;
        }
        c->has_found = true;
        c->found = f;
}

/* ------------------------------------------------------------------ blocks in two places */

/* Between two stores of SWAP an entry stands in two places of its magazine. */
static bool
is_being_swapped(const struct check *c, const struct entry *e)
{
        const struct thread_slot *slot =
                magazine_owner(e->word) == THREAD_NONE ? NULL : check_thread(c, magazine_owner(e->word) - 1);

        return !c->is_quiescent && slot && load_relaxed(&slot->intent.kind) == INTENT_SWAP && /* read again and again */
               load_relaxed(&slot->intent.swap.magazine) == e->magazine_idx;
}

/* Between PUSH_FROM.2 and .3 a block that was a root's, and is put aside, stands in a magazine and in a pending
 * word. */
static bool
is_being_put_aside(const struct check *c, const struct entry *e, uint32_t slot_idx)
{
        const struct thread_slot *slot = check_thread(c, slot_idx);

        return !c->is_quiescent && slot && load_relaxed(&slot->intent.kind) == INTENT_PUSH_FROM && /* as above */
               load_relaxed(&slot->intent.push_from.magazine) == e->magazine_idx;
}

static bool
names_block(const struct entry *e, uint64_t mark_off)
{
        if (size_class_is_large(tag_class(magazine_tag(e->word))))
                return e->block_off - mark_off < GEO_GRANULE_BYTES && mark_off % GEO_GRANULE_BYTES == 0;
        return e->block_off == mark_off;
}

static bool
find_in_magazine(struct check *c, uint64_t idx, uint64_t mark_off, struct check_place place,
                 struct check_place *ret_other)
{
        uint64_t word = load_word(c, idx), n = is_pooled(word) || magazine_is_bare(word) ? 0 : look(c, idx)->n;
        struct entry e;

        for (uint64_t i = 0; i < n && i < MAGAZINE_CAP_MAX; i++) {
                if ((idx == place.magazine_idx && i == place.entry_idx) || !load_entry(c, ENTRY_UNIT(idx, i), &e) ||
                    !names_block(&e, mark_off))
                        continue;
                *ret_other = (struct check_place){.magazine_idx = idx, .entry_idx = i};
                return true;
        }
        return false;
}

static bool
find_pending(const struct check *c, uint64_t mark_off, struct check_place place, struct check_place *ret_other)
{
        for (uint32_t idx = 0; idx < c->threads_hwm; idx++) {
                const struct slot_gate *gate = region_gate(c->r, idx);

                for (uint32_t k = 0; gate && k < ROOTS_PENDING_MAX; k++) {
                        uint64_t off = check_pending_off(c, load_acquire(&gate->pending[k])); /* E11.acq */
                        struct check_found f;

                        if (off == CHECK_IDX_NONE || check_find(c, off, &f) || f.mark_off != mark_off ||
                            (place.magazine_idx == CHECK_IDX_NONE && idx == place.slot_idx && k == place.entry_idx))
                                continue;
                        *ret_other =
                                (struct check_place){.magazine_idx = CHECK_IDX_NONE, .slot_idx = idx, .entry_idx = k};
                        return true;
                }
        }
        return false;
}

bool
check_find_other_place(struct check *c, uint64_t mark_off, struct check_place place, struct check_place *ret_other)
{
        if (c->n_rescans++ >= CHECK_RESCANS_MAX)
                return false;
        for (uint32_t node = 0; node < c->r->n_nodes; node++)
                for (uint64_t i = 0; i < c->magazines_hwm[node]; i++)
                        if (find_in_magazine(c, (uint64_t)node * c->r->layout.magazines_per_node + i, mark_off, place,
                                             ret_other))
                                return true;
        return find_pending(c, mark_off, place, ret_other);
}

static void
check_entry_twice(struct check *c, uint64_t unit)
{
        struct check_place other, here = {.magazine_idx = unit >> 8, .entry_idx = unit & 0xff};
        struct check_found f;
        struct entry e;

        look_anew(c);
        if (!load_entry(c, unit, &e) || check_find(c, e.block_off, &f) || is_being_swapped(c, &e))
                return;
        if (!check_find_other_place(c, f.mark_off, here, &other)) {
                if (c->is_quiescent && c->n_rescans > CHECK_RESCANS_MAX)
                        check_fault(c, ENTRY_FMT " of %" PRIu64 " bytes is cached somewhere else, too", ENTRY(&e),
                                    f.bytes);
                return;
        }
        if (may_be_moving(c, &e, false) ||
            (other.magazine_idx == CHECK_IDX_NONE && is_being_put_aside(c, &e, other.slot_idx)))
                return;
        if (other.magazine_idx == CHECK_IDX_NONE)
                check_fault(c, ENTRY_FMT " of %" PRIu64 " bytes is also a root under construction by thread %u",
                            ENTRY(&e), f.bytes, other.slot_idx + 1);
        else
                check_fault(c, ENTRY_FMT " of %" PRIu64 " bytes is also in magazine %" PRIu64 " entry %" PRIu64,
                            ENTRY(&e), f.bytes, other.magazine_idx, other.entry_idx);
}

/* ------------------------------------------------------------------ all of them */

static void
check_entries(struct check *c, uint64_t idx)
{
        uint64_t word = load_word(c, idx), n;

        if (is_pooled(word) || magazine_is_bare(word))
                return;
        n = look(c, idx)->n; /* an entry that looks wrong is looked at with an n of its own */
        for (uint64_t i = 0; i < n && i < MAGAZINE_CAP_MAX; i++) {
                check_unit(c, check_entry, ENTRY_UNIT(idx, i));
                if (!c->has_found)
                        continue;
                if (check_mark(c, c->found.mark_off))
                        check_count_marked(c, &c->found, false);
                else
                        check_unit(c, check_entry_twice, ENTRY_UNIT(idx, i));
        }
}

void
check_magazines(struct check *c)
{
        for (uint32_t node = 0; node < c->r->n_nodes; node++)
                for (uint64_t i = 0; i < c->magazines_hwm[node]; i++) {
                        uint64_t idx = (uint64_t)node * c->r->layout.magazines_per_node + i;

                        check_unit_counted(c, check_magazine, idx);
                        check_entries(c, idx);
                }
}

/* Usable bytes of the huge block that starts there, if one does. */
static uint64_t
huge_bytes_at(const struct region *r, uint64_t block_off)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT, bytes;

        if (huge_tag(r, block_off) == TAG_NONE)
                return 0;
        bytes = load_relaxed(&r->huge_bytes[chunk]); /* a look */
        return bytes <= SIZE_CLASS_HUGE_MAX ? bytes : 0;
}

/* What is in a magazine that a place of the thread names, if it is the thread's. */
static void
add_magazine(const struct region *r, int fd, uint32_t thread_no, uint32_t idx, uint64_t *blocks, uint64_t *bytes)
{
        uint64_t word = region_has_magazine(r, idx) ? owner_load(&r->magazine_words[idx]) : 0, n;
        uint32_t class_idx = magazine_tag(word) != TAG_NONE ? tag_class(magazine_tag(word)) : SIZE_CLASS_N_CACHED;
        struct magazine m;

        if (magazine_owner(word) != thread_no || magazine_is_bare(word) || class_idx >= SIZE_CLASS_N_CACHED)
                return;
        file_look(r, fd, &r->magazines[idx], &m, sizeof m);
        n = m.n <= MAGAZINE_CAP_MAX ? m.n : MAGAZINE_CAP_MAX;
        *blocks += n;
        if (!size_class_is_huge(class_idx))
                *bytes += n * size_class_bytes(class_idx);
        for (uint64_t i = 0; size_class_is_huge(class_idx) && i < n; i++)
                *bytes += huge_bytes_at(r, region_entry_off(r, m.slot[i]));
}

void
check_add_cached(const struct region *r, uint32_t thread_no, uint64_t *blocks, uint64_t *bytes)
{
        const struct slot_gate *gate = region_gate(r, thread_no - 1);
        const struct thread_slot *slot = slot_at(r, thread_no - 1);
        uint32_t n_places = 2 * r->layout.n_tags;
        _Alignas(8) uint32_t places[PLACES_AT_ONCE];
        int fd;

        if (!gate || load_acquire(&gate->is_bare) != 0) /* E21.acq */
                return;
        fd = file_borrow_kept(r);
        for (uint32_t at = 0, n; at < n_places; at += n) {
                n = n_places - at < PLACES_AT_ONCE ? n_places - at : PLACES_AT_ONCE;
                file_look(r, fd, &slot->magazines[at], places, n * sizeof *places);
                for (uint32_t i = 0; i < n; i++)
                        if (places[i] != 0)
                                add_magazine(r, fd, thread_no, places[i] - 1, blocks, bytes);
        }
        os_close(fd);
}
