/*
 * check.c - see check.h: the frame of the check, and walking.
 *
 * The idea.  A block is marked in a private bitmap when a magazine, or a root under construction, names it.  A block
 * that is marked twice is in two places; one that is marked and free in its slab's bitmap as well; what is neither
 * marked nor free is allocated.  So allocated needs no record of its own, and the partition holds if no block is in two
 * places and every granule belongs to exactly one run or is free (check_chunks.c).
 *
 * While others run.  Everything is checked in units: a chunk, a magazine word, an entry of a magazine, a slot.  States
 * that an owner may leave behind at any instruction are no faults.  What remains is a reading that was torn because
 * something moved between two loads: so a unit that shows a fault is read again, and only what it shows CHECK_TRIES_MAX
 * times in a row is reported.  Damage stays, movement passes.
 *
 * On a hostile region.  Each word is fetched once and each index tested before it is used; loops run over our own
 * bounds; the marks (chunks_hwm and so on) are read once and cut to the size of their tables.
 *
 * What it gave up: while others run, a block that moves from a magazine that has been read to one that has not is
 * counted twice, and one that moves the other way not at all.
 */
#include "audit/check.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <sys/mman.h>

#include "audit/check_parts.h"
#include "base/bits.h"
#include "base/error.h"
#include "base/verify.h"
#include "blocks/huge.h"
#include "clients/owner.h"
#include "clients/slot_pages.h"
#include "os/print.h"
#include "os/shm.h"
#include "region/file.h"

#define MARK_UNIT SIZE_CLASS_QUANTUM_BYTES

/* ------------------------------------------------------------------ faults */

void
check_fault(struct check *c, const char *fmt, ...)
{
        va_list args;

        c->n_seen++;
        if (!c->is_last)
                return;
        c->totals.n_faults++;
        if (!c->report || c->n_lines >= CHECK_LINES_MAX)
                return;
        c->n_lines++;
        print(c->report, "fault: ");
        va_start(args, fmt);
        print_list(c->report, fmt, args);
        va_end(args);
        print(c->report, "\n");
}

static void
sum(uint64_t *to, const uint64_t *from, size_t n)
{
        ASSERT(n > 0 && to != from);
        for (size_t i = 0; i < n; i++)
                to[i] += from[i];
}

/* The totals are counters and nothing else. */
static void
part_add(struct check_totals *to, const struct check_totals *part)
{
        _Static_assert(sizeof *to % sizeof(uint64_t) == 0, "the totals are counters");
        sum((uint64_t *)(void *)to, (const uint64_t *)(const void *)part, sizeof *to / sizeof(uint64_t));
}

static void
part_clear(struct check *c)
{
        c->part = (struct check_totals){.n_faults = 0};
        c->part_arena = CHECK_ARENA_NONE;
}

static void
read_unit(struct check *c, check_unit_fn *fn, uint64_t unit, bool is_counted)
{
        for (int tries = c->is_quiescent ? 1 : CHECK_TRIES_MAX; tries > 0; tries--) {
                c->is_last = tries == 1;
                c->n_seen = 0;
                c->has_found = false;
                if (is_counted)
                        part_clear(c);
                fn(c, unit);
                if (c->n_seen == 0)
                        break;
                /* A courtesy: whoever is in the midst of it may get on.  Not where so much is wrong that it is damage:
                 * on a busy machine each would cost a turn of everybody else's. */
                if (!c->is_last && c->totals.n_faults < CHECK_LINES_MAX)
                        sched_yield();
        }
}

void
check_unit(struct check *c, check_unit_fn *fn, uint64_t unit)
{
        read_unit(c, fn, unit, false);
}

void
check_unit_counted(struct check *c, check_unit_fn *fn, uint64_t unit)
{
        read_unit(c, fn, unit, true);
        part_add(&c->totals, &c->part);
        if (c->by_arena && c->part_arena < c->r->layout.n_arenas)
                part_add(&c->by_arena[c->part_arena], &c->part);
}

/* ------------------------------------------------------------------ owners */

/* By the mark as it is now: threads may have come since the check began. */
bool
check_thread_exists(const struct check *c, uint32_t thread_no)
{
        return thread_no != THREAD_NONE && region_gate(c->r, thread_no - 1) != NULL;
}

bool
check_thread_has_pages(const struct check *c, uint32_t idx)
{
        const struct slot_gate *gate = region_gate(c->r, idx);

        return gate && load_acquire(&gate->is_bare) == 0; /* E21.acq */
}

/* It may have none any more when it is read. */
const struct thread_slot *
check_thread(const struct check *c, uint32_t idx)
{
        if (!check_thread_has_pages(c, idx))
                return NULL;
        file_look(c->r, c->fd, slot_at(c->r, idx), c->slot, c->slot_bytes);
        return c->slot;
}

bool
check_thread_is_used(const struct check *c, uint32_t thread_no)
{
        const struct slot_gate *gate;

        if (!check_thread_exists(c, thread_no))
                return false;
        gate = region_gate(c->r, thread_no - 1);
        return gate && load_relaxed(&gate->state) == 1; /* read again if it looks wrong */
}

void
check_owner(struct check *c, const char *what, uint64_t idx, uint32_t owner)
{
        if (owner == THREAD_NONE)
                return;
        if (!check_thread_exists(c, owner))
                check_fault(c, "%s %" PRIu64 " is owned by thread %u, whose slot does not exist", what, idx, owner);
        else if (!check_thread_is_used(c, owner))
                check_fault(c, "%s %" PRIu64 " is owned by thread %u, whose slot is empty", what, idx, owner);
        else if (c->is_quiescent)
                check_fault(c, "%s %" PRIu64 " is owned by thread %u although nobody is running", what, idx, owner);
}

/* ------------------------------------------------------------------ blocks */

static const char *
find_huge(const struct check *c, uint64_t block_off, struct check_found *f)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT;
        uint64_t word = load_acquire(&c->r->chunk_words[chunk]); /* E3.acq */
        uint64_t bytes = load_relaxed(&c->r->huge_bytes[chunk]);
        uint64_t most = (uint64_t)chunk_count(word) << GEO_CHUNK_SHIFT;

        f->is_held = chunk_owner(word) != THREAD_NONE;
        if (chunk_state(word) != CHUNK_HUGE)
                return "lies in no run of a block";
        if (block_off % GEO_CHUNK_BYTES != 0)
                return "is not the start of its huge block";
        f->head = chunk;
        f->mark_off = block_off;
        f->bytes = bytes < most ? bytes : most;
        f->class_idx = SIZE_CLASS_NONE;
        f->tag = huge_tag_of(c->r, word);
        f->arena = CHECK_ARENA_NONE;
        return NULL;
}

/* What a damaged word says may be no arena. */
static uint32_t
tag_in_arena(const struct check *c, uint32_t arena, uint32_t class_idx)
{
        return arena < c->r->layout.n_arenas ? tag_make(region_arena_node(c->r, arena), class_idx) : TAG_NONE;
}

static const char *
find_small(const struct check *c, uint64_t block_off, uint64_t word, struct check_found *f)
{
        uint32_t class_idx = granule_class(word);
        uint64_t off = block_off - (f->head << GEO_GRANULE_SHIFT);

        if (!size_class_is_small(class_idx))
                return "lies in a slab of no class";
        if (!region_has_bitmap(c->r, f->head, class_idx))
                return "lies in a slab without a bitmap";
        if (off >= (uint64_t)size_class_slab_granules(class_idx) << GEO_GRANULE_SHIFT)
                return "lies behind its slab";
        if (!size_class_is_block_start(class_idx, off))
                return "is not the start of a block of its slab";
        f->block_idx = size_class_block_index(class_idx, off);
        f->mark_off = block_off;
        f->bytes = size_class_bytes(class_idx);
        f->class_idx = class_idx;
        f->tag = tag_in_arena(c, f->arena, class_idx);
        f->is_free = load_relaxed(region_slab_word(c->r, f->head, f->block_idx / 64)) >> f->block_idx % 64 & 1;
        return NULL;
}

static const char *
find_large(const struct check *c, uint64_t block_off, uint64_t word, struct check_found *f)
{
        if (!size_class_is_large(granule_class(word)))
                return "lies in a large run of no class";
        if (block_off != (f->head << GEO_GRANULE_SHIFT) + check_large_offset(word))
                return "is not the start of its large block";
        f->mark_off = f->head << GEO_GRANULE_SHIFT; /* one block per run, whatever its colour */
        f->bytes = size_class_bytes(granule_class(word));
        f->class_idx = granule_class(word);
        f->tag = tag_in_arena(c, f->arena, f->class_idx);
        return NULL;
}

const char *
check_find(const struct check *c, uint64_t block_off, struct check_found *f)
{
        uint64_t granule = block_off >> GEO_GRANULE_SHIFT;
        uint64_t word;

        *f = (struct check_found){.head = granule, .class_idx = SIZE_CLASS_NONE, .arena = CHECK_ARENA_NONE};
        if (granule >= c->n_granules) {
                f->is_later = f->is_held = granule < region_granules_hwm(c->r);
                return "lies beyond the chunks in use";
        }
        word = load_acquire(&c->r->granules[granule]); /* E3.acq */
        f->is_held = granule_owner(word) != THREAD_NONE;
        if (granule_state(word) == GRANULE_CONT) {
                if (granule_count(word) > granule % GEO_GRANULES_PER_CHUNK)
                        return "lies in a run without a head";
                f->head = granule - granule_count(word);
                word = load_acquire(&c->r->granules[f->head]); /* E3.acq */
                f->is_held = granule_owner(word) != THREAD_NONE;
                if (granule_state(word) == GRANULE_LARGE)
                        return "is not the start of its large block";
        }
        f->arena = granule_arena(word);
        switch (granule_state(word)) {
        case GRANULE_SLAB:
                return find_small(c, block_off, word, f);
        case GRANULE_LARGE:
                return find_large(c, block_off, word, f);
        case GRANULE_NONE:
                return find_huge(c, block_off, f);
        case GRANULE_FREE:
                return "lies in a free granule";
        default:
                return "lies in a granule of no block";
        }
}

bool
check_is_marked(const struct check *c, uint64_t mark_off)
{
        uint64_t unit = mark_off / MARK_UNIT;

        return c->marks[unit / 64] >> unit % 64 & 1;
}

bool
check_mark(struct check *c, uint64_t mark_off)
{
        uint64_t unit = mark_off / MARK_UNIT;
        bool is_new = !check_is_marked(c, mark_off);

        c->marks[unit / 64] |= UINT64_C(1) << unit % 64;
        return is_new;
}

/* The live ones are counted by slab and run: what is marked is taken off them here, and may come first. */
static void
count_marked(struct check_totals *totals, const struct check_found *f, bool is_pending)
{
        struct check_class *class;

        if (f->class_idx == SIZE_CLASS_NONE) {
                *(is_pending ? &totals->n_huge_pending : &totals->n_huge_cached) += 1;
                *(is_pending ? &totals->huge_pending_bytes : &totals->huge_cached_bytes) += f->bytes;
                return;
        }
        class = &totals->classes[f->class_idx];
        class->n_live--;
        if (is_pending)
                class->n_pending++;
        else
                class->n_cached++;
}

void
check_count_marked(struct check *c, const struct check_found *f, bool is_pending)
{
        count_marked(&c->totals, f, is_pending);
        if (c->by_arena && f->arena < c->r->layout.n_arenas)
                count_marked(&c->by_arena[f->arena], f, is_pending);
}

/* ------------------------------------------------------------------ the header */

/* One mark: what it may be at most.  What is beyond that is not looked at. */
static uint64_t
mark_check(struct check *c, const char *name, uint64_t mark, uint64_t most)
{
        if (mark <= most)
                return mark;
        check_fault(c, "header: %s is %" PRIu64 ", and the table ends at %" PRIu64, name, mark, most);
        return most;
}

static void
check_marks(struct check *c, uint64_t unit)
{
        const struct region *r = c->r;
        const struct region_header *h = r->header;
        uint64_t capacity = load_relaxed(&h->capacity_chunks);

        (void)unit;
        c->chunks_hwm = mark_check(c, "chunks_hwm", load_acquire(&h->chunks_hwm), r->layout.n_chunks); /* E1.acq */
        c->n_granules = c->chunks_hwm * GEO_GRANULES_PER_CHUNK;
        if (mark_check(c, "capacity_chunks", capacity, r->layout.n_chunks) < c->chunks_hwm)
                check_fault(c, "header: chunks_hwm is %" PRIu64 ", and the capacity %" PRIu64, c->chunks_hwm, capacity);
        c->threads_hwm = (uint32_t)mark_check(c, "threads_hwm", load_acquire(&h->threads_hwm), /* E1.acq */
                                              r->layout.n[TABLE_THREADS]);
        c->clients_hwm = (uint32_t)mark_check(c, "clients_hwm", load_acquire(&h->clients_hwm), /* E1.acq */
                                              r->layout.n[TABLE_CLIENTS]);
        c->roots_hwm = (uint32_t)mark_check(c, "roots_hwm", load_acquire(&h->roots_hwm), /* E1.acq */
                                            r->layout.n[TABLE_ROOTS]);
        for (uint32_t node = 0; node < NODE_MAX; node++)
                c->magazines_hwm[node] =
                        (uint32_t)mark_check(c, "magazines_hwm", load_acquire(&h->magazines_hwm[node]), /* E1.acq */
                                             node < r->n_nodes ? r->layout.magazines_per_node : 0);
}

/* Who folds is reaped when it is dead; nobody else is. */
static void
check_folding(struct check *c, uint64_t word)
{
        uint32_t owner = folding_owner(word), slot_no = folding_slot_no(word);

        if (owner != THREAD_NONE && !check_thread_is_used(c, owner))
                check_fault(c, "header: the counters of thread %u are folded by thread %u, whose slot %s", slot_no,
                            owner, check_thread_exists(c, owner) ? "is empty" : "does not exist");
        else if (owner != THREAD_NONE && c->is_quiescent)
                check_fault(c, "header: thread %u folds counters although nobody is running", owner);
        if ((owner != THREAD_NONE) != check_thread_exists(c, slot_no) ||
            (owner == THREAD_NONE && (slot_no != THREAD_NONE || folding_is_committed(word))))
                check_fault(c, "header: folding is no word of that: %#" PRIx64, word);
}

static void
check_header(struct check *c, uint64_t unit)
{
        const struct region *r = c->r;
        const struct region_header *h = r->header;
        struct layout_params params = h->params;
        struct layout layout;
        const char *what;

        (void)unit;
        if (load_relaxed(&h->magic) != LAYOUT_MAGIC)
                check_fault(c, "header: the magic number is gone");
        if (load_relaxed(&h->version) != LAYOUT_VERSION || load_relaxed(&h->hash) != layout_hash())
                check_fault(c, "header: not the layout of this library");
        if ((load_relaxed(&h->features_ro_compat) & ~LAYOUT_FEATURES_RO_COMPAT) != 0 ||
            (load_relaxed(&h->features_incompat) & ~LAYOUT_FEATURES_INCOMPAT) != 0)
                check_fault(c, "header: features that this library does not know");
        if (c->is_quiescent && load_relaxed(&h->sweep) != 0)
                check_fault(c, "header: thread %u sweeps although nobody is running",
                            sweep_owner(load_relaxed(&h->sweep)));
        check_folding(c, load_acquire(&h->folding)); /* E22.acq */
        if (load_relaxed(&h->region_bytes) != r->layout.region_bytes)
                check_fault(c, "header: region_bytes is %" PRIu64 ", not %" PRIu64, load_relaxed(&h->region_bytes),
                            r->layout.region_bytes);
        if (load_relaxed(&h->base_addr) + r->layout.chunks_off != r->canonical)
                check_fault(c, "header: the base address has changed since the heap was opened");
        if (layout_compute(&params, &layout, &what) < 0 || layout.region_bytes != r->layout.region_bytes ||
            layout.n_arenas != r->layout.n_arenas || layout.n_tags != r->layout.n_tags ||
            layout.chunks_off != r->layout.chunks_off)
                check_fault(c, "header: the parameters have changed since the heap was opened");
}

static void
check_arena(struct check *c, uint64_t arena)
{
        uint32_t state = load_acquire(&c->r->arena_words[arena]); /* E2.acq */

        if (state > ARENA_READY)
                check_fault(c, "arena %" PRIu64 ": its word is %u", arena, state);
}

/* ------------------------------------------------------------------ all of it */

/* Granules with pages for a long bitmap. */
static uint64_t
n_rests(const struct check *c)
{
        uint64_t n = 0;

        for (uint64_t chunk = 0; chunk < c->chunks_hwm; chunk++)
                n += bits_popcount(load_relaxed(&c->r->rest_maps[chunk])); /* a statistic */
        return n;
}

/* What is bare has no pages. */
static uint64_t
slot_bytes(const struct check *c)
{
        uint64_t bytes = 0;

        for (uint32_t idx = 0; idx < c->threads_hwm; idx++)
                bytes += check_thread_has_pages(c, idx) ? c->r->layout.stride[TABLE_THREADS] : 0;
        return bytes + c->threads_hwm * c->r->layout.stride[TABLE_GATES];
}

static uint64_t
magazine_bytes(const struct check *c, uint32_t node)
{
        const uint64_t *words = &c->r->magazine_words[(uint64_t)node * c->r->layout.magazines_per_node];
        uint64_t bytes = 0;

        for (uint64_t i = 0; i < c->magazines_hwm[node]; i++)
                bytes += sizeof words[i] + (magazine_is_bare(owner_load(&words[i])) ? 0 : sizeof(struct magazine));
        return bytes;
}

static uint64_t
metadata_bytes(const struct check *c)
{
        const struct layout *l = &c->r->layout;
        uint64_t bytes = sizeof *c->r->header;

        for (int table = TABLE_ARENA_WORDS; table <= TABLE_FREE_CHUNKS; table++)
                bytes += l->n[table] * l->stride[table];
        bytes += c->clients_hwm * l->stride[TABLE_CLIENTS] + slot_bytes(c);
        bytes += c->roots_hwm * l->stride[TABLE_ROOTS];
        for (uint32_t arena = 0; arena < l->n_arenas; arena++)
                bytes += region_arena(c->r, arena) ? l->stride[TABLE_ARENAS] : 0;
        for (uint32_t node = 0; node < c->r->n_nodes; node++)
                bytes += magazine_bytes(c, node);
        for (int table = TABLE_CHUNK_WORDS; table <= TABLE_CHUNK_MAPS; table++)
                bytes += c->chunks_hwm * l->stride[table];
        bytes += c->n_granules * (l->stride[TABLE_GRANULES] + l->stride[TABLE_SLABS] + l->stride[TABLE_TAGS]);
        bytes += c->chunks_hwm * l->stride[TABLE_REST_MAPS] + n_rests(c) * l->stride[TABLE_SLAB_RESTS];
        return bytes;
}

static void
end(struct check *c)
{
        if (c->marks_bytes != 0)
                os_unmap(c->marks, c->marks_bytes);
        os_close(c->fd);
        os_unmap(c, sizeof *c + c->slot_bytes);
}

static void
end_if_begun(struct check **c)
{
        if (*c)
                end(*c);
}

/* NULL: no memory. */
static struct check *
begin(const struct region *r, unsigned flags, FILE *report)
{
        uint32_t slot_bytes = (uint32_t)r->layout.stride[TABLE_THREADS];
        struct check *c;
        void *p;

        if (os_map_private(sizeof *c + slot_bytes, false, &p) < 0)
                return NULL;
        c = p;
        c->slot = (void *)(c + 1);
        c->slot_bytes = slot_bytes;
        c->magazine_idx = CHECK_IDX_NONE;
        c->fd = file_borrow_kept(r);
        c->r = (struct region *)(uintptr_t)r;
        c->is_quiescent = (flags & CHECK_QUIESCENT) != 0;
        c->report = report;
        check_unit(c, check_marks, 0);
        if (c->chunks_hwm == 0)
                return c;
        p = mmap(NULL, (c->chunks_hwm << GEO_CHUNK_SHIFT) / MARK_UNIT / 8, PROT_READ | PROT_WRITE,
                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (p == MAP_FAILED) {
                error_refused("mmap", -errno);
                end(c);
                return NULL;
        }
        c->marks = p;
        c->marks_bytes = (c->chunks_hwm << GEO_CHUNK_SHIFT) / MARK_UNIT / 8;
        return c;
}

static void
summarise(const struct check *c)
{
        const struct check_totals *t = &c->totals;
        uint64_t n_live = t->n_huge - t->n_huge_pending - t->n_huge_cached, n_cached = check_cached_blocks(t);

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                n_live += t->classes[class_idx].n_live;
        if (t->n_faults > c->n_lines)
                print(c->report, "and %" PRIu64 " more faults\n", t->n_faults - c->n_lines);
        print(c->report,
              "%s: %" PRIu64 " faults; %" PRIu64 " blocks of %" PRIu64 " bytes allocated, %" PRIu64
              " blocks cached, %" PRIu64 " chunks\n",
              t->n_faults == 0 ? "good" : "damaged", t->n_faults, n_live, check_live_bytes(t), n_cached, c->chunks_hwm);
}

uint64_t
check_live_bytes(const struct check_totals *totals)
{
        uint64_t bytes = totals->huge_bytes - totals->huge_pending_bytes - totals->huge_cached_bytes;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                bytes += totals->classes[class_idx].n_live * size_class_bytes(class_idx);
        return bytes;
}

uint64_t
check_cached_bytes(const struct check_totals *totals)
{
        uint64_t bytes = totals->huge_cached_bytes;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                bytes += totals->classes[class_idx].n_cached * size_class_bytes(class_idx);
        return bytes;
}

uint64_t
check_cached_blocks(const struct check_totals *totals)
{
        uint64_t n = totals->n_huge_cached;

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                n += totals->classes[class_idx].n_cached;
        return n;
}

/* Live blocks are all blocks less those that are free or cached.  While others run a block may be seen twice on its
 * way, where it was and where it went: then more is taken off than there is, and the difference wraps.  It is 0
 * then. */
static void
cut_below_zero(struct check_totals *totals)
{
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                if (totals->classes[class_idx].n_live > UINT64_MAX / 2)
                        totals->classes[class_idx].n_live = 0;
        if (totals->n_huge_pending + totals->n_huge_cached > totals->n_huge ||
            totals->huge_pending_bytes + totals->huge_cached_bytes > totals->huge_bytes) {
                totals->n_huge_pending = totals->huge_pending_bytes = 0;
                totals->n_huge_cached = totals->huge_cached_bytes = 0;
        }
}

int
check_region_by_arena(const struct region *r, unsigned flags, FILE *report, struct check_totals *ret_totals,
                      struct check_totals *ret_by_arena)
{
        struct check *c = begin(r, flags, report);
        uint64_t n;

        if (!c)
                return -ENOMEM;
        c->by_arena = ret_by_arena;
        check_unit(c, check_header, 0);
        for (uint32_t arena = 0; arena < r->layout.n_arenas; arena++)
                check_unit(c, check_arena, arena);
        check_chunks(c);
        check_slots(c);
        check_magazines(c);
        check_roots(c);
        c->totals.metadata_bytes = metadata_bytes(c);
        cut_below_zero(&c->totals);
        for (uint32_t arena = 0; ret_by_arena && arena < r->layout.n_arenas; arena++)
                cut_below_zero(&ret_by_arena[arena]);
        if (report)
                summarise(c);
        if (ret_totals)
                *ret_totals = c->totals;
        n = c->totals.n_faults;
        end(c);
        return n < INT32_MAX ? (int)n : INT32_MAX;
}

int
check_region(const struct region *r, unsigned flags, FILE *report, struct check_totals *ret_totals)
{
        return check_region_by_arena(r, flags, report, ret_totals, NULL);
}

/* ------------------------------------------------------------------ walking */

struct walk {
        struct check *c;
        unsigned where;
        check_walk_fn *fn;
        void *arg;
};

static int
visit(const struct walk *w, struct check_block block)
{
        if (block.arena != CHECK_ARENA_NONE)
                block.node = region_arena_node(w->c->r, block.arena);
        return w->where & block.where ? w->fn(&block, w->arg) : 0;
}

static enum check_where
where_is(const struct check *c, uint64_t mark_off)
{
        return check_is_marked(c, mark_off) ? CHECK_CACHED : CHECK_LIVE;
}

static int
walk_slab(const struct walk *w, uint64_t head, uint64_t word)
{
        uint32_t class_idx = granule_class(word);
        uint64_t bytes = size_class_bytes(class_idx);
        int ret = 0;

        for (uint32_t i = 0; i < size_class_slab_blocks(class_idx) && ret == 0; i++) {
                uint64_t off = (head << GEO_GRANULE_SHIFT) + i * bytes;
                bool is_free = load_relaxed(region_slab_word(w->c->r, head, i / 64)) >> i % 64 & 1;

                ret = visit(w, (struct check_block){.block_off = off,
                                                    .bytes = bytes,
                                                    .class_idx = class_idx,
                                                    .arena = granule_arena(word),
                                                    .where = is_free ? CHECK_FREE : where_is(w->c, off)});
        }
        return ret;
}

/* What starts at granule i of a chunk; *ret_n is how long it is. */
static int
walk_granule(const struct walk *w, uint64_t first, uint32_t i, uint32_t *ret_n)
{
        uint64_t head = first + i, off = head << GEO_GRANULE_SHIFT;
        uint64_t word = load_acquire(&w->c->r->granules[head]); /* E3.acq */
        uint32_t arena = granule_arena(word), class_idx = granule_class(word), n = 1;

        *ret_n = 1;
        if (arena >= w->c->r->layout.n_arenas)
                return 0;
        if (granule_state(word) == GRANULE_SLAB && size_class_is_small(class_idx) &&
            i + size_class_slab_granules(class_idx) <= GEO_GRANULES_PER_CHUNK &&
            region_has_bitmap(w->c->r, head, class_idx)) {
                *ret_n = size_class_slab_granules(class_idx);
                return walk_slab(w, head, word);
        }
        if (granule_state(word) == GRANULE_LARGE && size_class_is_large(class_idx) &&
            i + size_class_run_granules(class_idx) <= GEO_GRANULES_PER_CHUNK) {
                *ret_n = size_class_run_granules(class_idx);
                return visit(w, (struct check_block){.block_off = off + check_large_offset(word),
                                                     .bytes = size_class_bytes(class_idx),
                                                     .class_idx = class_idx,
                                                     .arena = arena,
                                                     .where = where_is(w->c, off)});
        }
        if (granule_state(word) != GRANULE_FREE)
                return 0;
        while (i + n < GEO_GRANULES_PER_CHUNK &&
               granule_state(load_relaxed(&w->c->r->granules[head + n])) == GRANULE_FREE) /* as good as any moment */
                n++;
        *ret_n = n;
        return visit(w, (struct check_block){.block_off = off,
                                             .bytes = (uint64_t)n << GEO_GRANULE_SHIFT,
                                             .class_idx = SIZE_CLASS_NONE,
                                             .arena = arena,
                                             .where = CHECK_STRETCH});
}

static int
walk_chunk(const struct walk *w, uint64_t chunk, uint64_t *ret_n)
{
        uint64_t word = load_acquire(&w->c->r->chunk_words[chunk]); /* E3.acq */
        uint64_t off = chunk << GEO_CHUNK_SHIFT;
        struct check_block block = {.block_off = off, .class_idx = SIZE_CLASS_NONE, .arena = CHECK_ARENA_NONE};
        struct check_found found;
        uint32_t n;
        int ret = 0;

        *ret_n = 1;
        block.node = chunk_node1(word) == 0 ? UINT32_MAX : chunk_node1(word) - 1;
        switch (chunk_state(word)) {
        case CHUNK_ARENA:
                for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK && ret == 0; i += n)
                        ret = walk_granule(w, chunk * GEO_GRANULES_PER_CHUNK, i, &n);
                return ret;
        case CHUNK_HUGE:
                if (check_find(w->c, off, &found))
                        return 0;
                block.bytes = found.bytes;
                block.where = where_is(w->c, off);
                return visit(w, block);
        case CHUNK_FREE:
                block.bytes = GEO_CHUNK_BYTES;
                block.where = CHECK_STRETCH;
                return visit(w, block);
        default:
                return 0;
        }
}

int
check_walk(const struct region *r, unsigned where, check_walk_fn *fn, void *arg)
{
        struct check *c __attribute__((cleanup(end_if_begun))) = /* also if fn throws */
                begin(r, CHECK_QUIESCENT, NULL);                 /* one reading, whatever it shows */
        struct walk w = {.c = c, .where = where, .fn = fn, .arg = arg};
        uint64_t n;
        int ret = 0;

        if (!c)
                return -ENOMEM;
        check_slots(c);
        check_magazines(c);
        for (uint64_t chunk = 0; chunk < c->chunks_hwm && ret == 0; chunk += n)
                ret = walk_chunk(&w, chunk, &n);
        return ret;
}

/* A pass over the magazines, without marks of them all. */
bool
check_block_is_allocated(const struct region *r, uint64_t block_off)
{
        struct check_place other, nowhere = {.magazine_idx = CHECK_IDX_NONE, .slot_idx = UINT32_MAX};
        struct check *c = begin(r, CHECK_QUIESCENT, NULL);
        struct check_found found;
        bool is_allocated;

        if (!c)
                return false;
        is_allocated = !check_find(c, block_off, &found) && !found.is_free &&
                       !check_find_other_place(c, found.mark_off, nowhere, &other);
        end(c);
        return is_allocated;
}
