/*
 * check_chunks.c - that every chunk and every granule belongs to exactly one thing, and that what lies beside an owner
 * word agrees with it: tags, bitmaps, counts, distances, notes of pages.
 *
 * A unit is a chunk: its word, its granules, the slabs that start in it.  What somebody owns while others run may be
 * half done, within the bounds that its protocol sets (recovery.md); only what no protocol leaves behind is a fault.
 */
#include "audit/check_parts.h"
#include "base/bits.h"
#include "base/verify.h"
#include "clients/owner.h"

/* The chunk being checked. */
struct chunk_view {
        struct check *c;
        uint64_t chunk;
        uint64_t first; /* granule */
        uint32_t arena;
        uint64_t free_map; /* granules that are free */
};

static const char *const granule_names[] = {"none", "free", "new", "slab", "large", "inside", "freeing", "purging"};
_Static_assert(sizeof granule_names / sizeof granule_names[0] == GRANULE_N_STATES, "each state has a name");

static uint64_t
load_granule(const struct check *c, uint64_t granule)
{
        ASSERT(granule < c->r->layout.n[TABLE_GRANULES]);
        return load_acquire(&c->r->granules[granule]); /* E3.acq */
}

static uint32_t
load_tag(const struct check *c, uint64_t granule)
{
        ASSERT(granule < c->r->layout.n[TABLE_GRANULES]);
        return load_relaxed(&c->r->tags[granule]); /* read again if it looks wrong */
}

/* "chunk 3 granule 17 (slab, 64 bytes, arena 0)" */
#define WHERE_FMT "chunk %" PRIu64 " granule %" PRIu64 " (%s%s, arena %u): "
#define WHERE(granule, word)                                                                                           \
        (granule) / GEO_GRANULES_PER_CHUNK, (granule) % GEO_GRANULES_PER_CHUNK, state_name(word),                      \
                class_name(word).text, granule_arena(word)

static const char *
state_name(uint64_t word)
{
        return granule_state(word) < GRANULE_N_STATES ? granule_names[granule_state(word)] : "no state";
}

struct class_name {
        char text[24];
};

static struct class_name
class_name(uint64_t word)
{
        struct class_name name = {""};

        if ((granule_state(word) == GRANULE_SLAB || granule_state(word) == GRANULE_LARGE ||
             granule_state(word) == GRANULE_FREEING) &&
            granule_class(word) < SIZE_CLASS_N)
                snprintf(name.text, sizeof name.text, ", %" PRIu64 " bytes", size_class_bytes(granule_class(word)));
        return name;
}

/* ------------------------------------------------------------------ notes of pages */

/* Sixteenths of granule i that the first `bytes` of a run reach into. */
static uint32_t
backing_needed(uint64_t bytes, uint64_t i)
{
        uint64_t start = i << GEO_GRANULE_SHIFT;

        if (bytes <= start)
                return 0;
        if (bytes - start >= GEO_GRANULE_BYTES)
                return GRANULE_BACKED_ALL;
        return (uint32_t)((bytes - start + GRANULE_BACKED_UNIT - 1) / GRANULE_BACKED_UNIT);
}

/* The notes of one granule, whatever its state, and what they are worth. */
static void
check_notes(struct check *c, uint64_t granule, uint64_t word)
{
        uint32_t backed = granule_backed(word);

        if (backed > GRANULE_BACKED_ALL)
                check_fault(c, WHERE_FMT "%u sixteenths of it are backed", WHERE(granule, word), backed);
        else if (backed > 0 && !(word & GRANULE_MAY_HAVE))
                check_fault(c, WHERE_FMT "it is backed and may have no pages", WHERE(granule, word));
        else
                c->part.backed_bytes += (uint64_t)backed * GRANULE_BACKED_UNIT;
}

/* That a block's first `bytes` from granule `head` on can be touched. */
static void
check_backed(struct check *c, uint64_t head, uint64_t bytes)
{
        uint64_t n = (bytes + GEO_GRANULE_BYTES - 1) >> GEO_GRANULE_SHIFT;

        for (uint64_t i = 0; i < n && head + i < c->n_granules; i++) {
                uint64_t word = load_granule(c, head + i);

                if (granule_backed(word) < backing_needed(bytes, i)) {
                        check_fault(c, WHERE_FMT "backed for %u sixteenths, and its block needs %u",
                                    WHERE(head + i, word), granule_backed(word), backing_needed(bytes, i));
                        return; /* one line for a block */
                }
        }
}

/* A slab gets its pages as it is filled, and loses those that no allocated block needs: where an allocated block lies
 * there may be pages, but how many are sure says nothing. */
static void
check_slab_backed(struct check *c, uint64_t head, uint32_t granules, uint32_t class_idx)
{
        uint64_t bytes = size_class_bytes(class_idx);

        for (uint32_t i = 0; i < granules && head + i < c->n_granules; i++) {
                uint64_t word = load_granule(c, head + i), start = (uint64_t)i << GEO_GRANULE_SHIFT;

                if (word & GRANULE_MAY_HAVE)
                        continue;
                for (uint64_t b = start / bytes;
                     b < size_class_slab_blocks(class_idx) && b * bytes < start + GEO_GRANULE_BYTES; b++)
                        if (!(load_relaxed(region_slab_word(c->r, head, (uint32_t)b / 64)) >> b % 64 & 1)) {
                                check_fault(c,
                                            WHERE_FMT "it has no pages, and block %" PRIu64 " of its slab is allocated",
                                            WHERE(head + i, word), b);
                                return;
                        }
        }
}

/* ------------------------------------------------------------------ runs */

/* An owned thing is half done; nobody owns anything at rest. */
static void
check_granule_owner(struct check *c, uint64_t granule, uint64_t word, bool is_always_owned)
{
        uint32_t owner = granule_owner(word);

        if (owner == THREAD_NONE && is_always_owned)
                check_fault(c, WHERE_FMT "it belongs to nobody", WHERE(granule, word));
        check_owner(c, "granule", granule, owner);
}

/* The granules behind a head: CONT with their distance.  How many there are, `n` if all is well. */
static uint32_t
check_interior(const struct chunk_view *v, uint64_t head, uint32_t n)
{
        for (uint32_t i = 1; i < n; i++) {
                uint64_t word = load_granule(v->c, head + i);

                if (granule_state(word) != GRANULE_CONT || granule_count(word) != i) {
                        check_fault(v->c,
                                    WHERE_FMT "%u granules behind its head at granule %" PRIu64
                                              ", and it says distance %u",
                                    WHERE(head + i, word), i, head % GEO_GRANULES_PER_CHUNK, granule_count(word));
                        return i;
                }
                if (granule_owner(word) != THREAD_NONE || granule_class(word) != 0 || granule_stamp(word) != 0 ||
                    granule_arena(word) != v->arena || (word & GRANULE_DOOMED))
                        check_fault(v->c, WHERE_FMT "inside a run, with fields of its own: %#" PRIx64,
                                    WHERE(head + i, word), word);
                check_notes(v->c, head + i, word);
        }
        return n;
}

static void
check_tag(struct check *c, uint64_t granule, uint64_t word, uint32_t expected)
{
        uint32_t tag = load_tag(c, granule);

        if (tag != expected)
                check_fault(c, WHERE_FMT "its tag is %u, not %u", WHERE(granule, word), tag, expected);
}

static bool
is_hinted(const struct check *c, uint32_t arena_idx, uint32_t kind, uint64_t chunk)
{
        const struct region *r = c->r;
        const struct arena *arena = region_arena(r, arena_idx);
        uint64_t group = chunk / 64;

        if (!arena || !(load_relaxed(&arena->summary[kind * r->layout.n_summary_words + group / 64]) >> group % 64 & 1))
                return false;
        return load_relaxed(&r->hint_groups[(uint64_t)arena_idx * r->layout.n_groups + group].word[kind]) >>
                       chunk % 64 &
               1;
}

/* Free blocks by the bitmap; bits behind the last block are a fault. */
static uint32_t
count_free(struct check *c, uint64_t head, uint64_t word, uint32_t n_blocks)
{
        uint32_t n_free = 0;

        for (uint32_t w = 0; w < bits_words(n_blocks); w++) {
                uint64_t bits = load_relaxed(region_slab_word(c->r, head, w)); /* read again if the count is wrong */
                uint64_t blocks = bits_first(w, n_blocks);

                if (bits & ~blocks)
                        check_fault(c, WHERE_FMT "free bit %u, and it has %u blocks", WHERE(head, word),
                                    w * 64 + bits_ctz(bits & ~blocks), n_blocks);
                n_free += bits_popcount(bits & blocks);
        }
        return n_free;
}

/* The slab at granule `head`; how many granules it accounts for. */
static uint32_t
check_slab(const struct chunk_view *v, uint64_t head, uint64_t word)
{
        struct check *c = v->c;
        uint32_t class_idx = granule_class(word), granules, n_blocks, n_free;
        struct check_class *class;

        if (!size_class_is_small(class_idx)) {
                check_fault(c, WHERE_FMT "a slab of class %u", WHERE(head, word), class_idx);
                return 1;
        }
        granules = size_class_slab_granules(class_idx);
        n_blocks = size_class_slab_blocks(class_idx);
        if (head % GEO_GRANULES_PER_CHUNK + granules > GEO_GRANULES_PER_CHUNK) {
                check_fault(c, WHERE_FMT "its %u granules leave the chunk", WHERE(head, word), granules);
                return 1;
        }
        if (!region_has_bitmap(c->r, head, class_idx)) {
                check_fault(c, WHERE_FMT "its bitmap of %u blocks has no pages", WHERE(head, word), n_blocks);
                return 1;
        }
        if (word & GRANULE_DOOMED) /* the stamp is when it was used last */
                check_fault(c, WHERE_FMT "fields that a slab has not: %#" PRIx64, WHERE(head, word), word);
        granules = check_interior(v, head, granules);
        for (uint32_t i = 0; i < granules; i++)
                check_tag(c, head + i, word, tag_make(region_arena_node(c->r, v->arena), class_idx));
        check_slab_backed(c, head, granules, class_idx);
        n_free = count_free(c, head, word, n_blocks);
        if (granule_owner(word) == THREAD_NONE && granule_count(word) != n_free)
                check_fault(c, WHERE_FMT "%u free blocks by its word, %u by its bitmap", WHERE(head, word),
                            granule_count(word), n_free);
        if (c->is_quiescent && n_free > 0 && !is_hinted(c, v->arena, class_idx, v->chunk))
                c->part.unhinted_bytes += n_free * size_class_bytes(class_idx);
        class = &c->part.classes[class_idx];
        class->n_runs++;
        class->n_free += n_free;
        class->n_live += n_blocks - n_free;
        return granules;
}

static uint32_t
check_large(const struct chunk_view *v, uint64_t head, uint64_t word)
{
        struct check *c = v->c;
        uint32_t class_idx = granule_class(word), granules = granule_count(word);
        uint64_t offset = check_large_offset(word);

        if (!size_class_is_large(class_idx) || granules != size_class_run_granules(class_idx)) {
                check_fault(c, WHERE_FMT "a large run of class %u with %u granules", WHERE(head, word), class_idx,
                            granules);
                return 1;
        }
        if (head % GEO_GRANULES_PER_CHUNK + granules > GEO_GRANULES_PER_CHUNK) {
                check_fault(c, WHERE_FMT "its %u granules leave the chunk", WHERE(head, word), granules);
                return 1;
        }
        if (granule_owner(word) == THREAD_NONE && (word & GRANULE_DOOMED))
                check_fault(c, WHERE_FMT "doomed, and nobody is there to free it", WHERE(head, word));
        if (offset + size_class_bytes(class_idx) > (uint64_t)granules << GEO_GRANULE_SHIFT || offset >= GEO_PAGE_BYTES)
                check_fault(c, WHERE_FMT "its block starts at %" PRIu64, WHERE(head, word), offset);
        else
                check_backed(c, head, offset + size_class_bytes(class_idx));
        granules = check_interior(v, head, granules);
        for (uint32_t i = 1; i < granules; i++)
                check_tag(c, head + i, word, TAG_NONE);
        if (granule_owner(word) == THREAD_NONE || load_tag(c, head) != TAG_NONE) /* while it is resized it has none */
                check_tag(c, head, word, tag_make(region_arena_node(c->r, v->arena), class_idx));
        c->part.classes[class_idx].n_runs++;
        c->part.classes[class_idx].n_live++;
        return granules;
}

/* ------------------------------------------------------------------ granules of an arena */

static void
check_free(struct chunk_view *v, uint64_t granule, uint64_t word)
{
        struct check *c = v->c;

        if (granule_owner(word) != THREAD_NONE || granule_class(word) != 0 || granule_count(word) != 0 ||
            (word & GRANULE_DOOMED))
                check_fault(c, WHERE_FMT "fields that a free granule has not: %#" PRIx64, WHERE(granule, word), word);
        check_tag(c, granule, word, TAG_NONE);
        v->free_map |= UINT64_C(1) << granule % GEO_GRANULES_PER_CHUNK;
        c->part.free_run_bytes += GEO_GRANULE_BYTES;
        c->part.dirty_bytes += word & GRANULE_MAY_HAVE ? GEO_GRANULE_BYTES : 0;
}

/* A granule inside a run whose head did not account for it: its head is somebody's work in progress. */
static void
check_stray(const struct chunk_view *v, uint64_t granule, uint64_t word)
{
        struct check *c = v->c;
        uint32_t distance = granule_count(word);
        uint64_t head_word;

        v->c->part.moving_bytes += GEO_GRANULE_BYTES;
        if (distance == 0 || distance > granule % GEO_GRANULES_PER_CHUNK) {
                check_fault(c, WHERE_FMT "its head would be %u granules before it", WHERE(granule, word), distance);
                return;
        }
        head_word = load_granule(c, granule - distance);
        if (c->is_quiescent || granule_owner(head_word) == THREAD_NONE)
                check_fault(c, WHERE_FMT "its head would be granule %" PRIu64 ", which is %s of %u granules",
                            WHERE(granule, word), (granule - distance) % GEO_GRANULES_PER_CHUNK, state_name(head_word),
                            granule_count(head_word));
        else
                check_granule_owner(c, granule - distance, head_word, true);
}

/* How many granules it accounts for. */
static uint32_t
check_granule(struct chunk_view *v, uint64_t granule)
{
        struct check *c = v->c;
        uint64_t word = load_granule(c, granule);

        if (granule_arena(word) != v->arena)
                check_fault(c, WHERE_FMT "in a chunk of arena %u", WHERE(granule, word), v->arena);
        check_notes(c, granule, word);
        switch (granule_state(word)) {
        case GRANULE_FREE:
                check_free(v, granule, word);
                return 1;
        case GRANULE_SLAB:
                check_granule_owner(c, granule, word, false);
                return check_slab(v, granule, word);
        case GRANULE_LARGE:
                check_granule_owner(c, granule, word, false);
                return check_large(v, granule, word);
        case GRANULE_CONT:
                check_stray(v, granule, word);
                return 1;
        case GRANULE_NEW:
        case GRANULE_FREEING:
        case GRANULE_PURGING:
                check_granule_owner(c, granule, word, true);
                c->part.moving_bytes += GEO_GRANULE_BYTES;
                return 1;
        default:
                check_fault(c, WHERE_FMT "state %u in a chunk of an arena", WHERE(granule, word), granule_state(word));
                return 1;
        }
}

/* Free granules that the maps and levels of hints do not lead to. */
static void
count_unhinted(struct chunk_view *v)
{
        struct check *c = v->c;
        uint64_t hinted = load_relaxed(&c->r->chunk_maps[v->chunk].free) & v->free_map;
        uint32_t longest = bits_longest_run(hinted), level = bits_log2_floor(longest);

        if (longest == 0 ||
            !is_hinted(c, v->arena, HINT_RUN_ANY + (level < HINT_RUN_LEVELS ? level : HINT_RUN_LEVELS - 1), v->chunk))
                hinted = 0;
        c->part.unhinted_bytes += bits_popcount(v->free_map & ~hinted) * GEO_GRANULE_BYTES;
}

static void
check_arena_chunk(struct check *c, uint64_t chunk, uint64_t word)
{
        struct chunk_view v = {
                .c = c, .chunk = chunk, .first = chunk * GEO_GRANULES_PER_CHUNK, .arena = chunk_arena(word)};

        if (v.arena >= c->r->layout.n_arenas || !region_arena(c->r, v.arena)) {
                check_fault(c, "chunk %" PRIu64 ": given to arena %u, which is not ready", chunk, v.arena);
                return;
        }
        if (chunk_owner(word) != THREAD_NONE || chunk_count(word) != 0 || (word & CHUNK_DOOMED) ||
            chunk_node1(word) != region_arena_node(c->r, v.arena) + 1)
                check_fault(c, "chunk %" PRIu64 " of arena %u: owner %u, count %u, node %u%s", chunk, v.arena,
                            chunk_owner(word), chunk_count(word), chunk_node1(word),
                            word & CHUNK_DOOMED ? ", doomed" : "");
        c->part_arena = v.arena;
        c->part.n_chunks_arena++;
        for (uint32_t i = 0; i < GEO_GRANULES_PER_CHUNK;)
                i += check_granule(&v, v.first + i);
        if (c->is_quiescent)
                count_unhinted(&v);
}

/* ------------------------------------------------------------------ chunks of no arena */

/* Granules are NONE, or still named by whoever has the chunk in hand; no tag leads here. */
static void
check_none(struct check *c, uint64_t chunk, uint32_t owner)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;

        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t word = load_granule(c, g);
                uint64_t fields = word & ~GRANULE_BACKING & ~WORD_PUT(0xff, 56); /* the stamp is when it became idle */
                bool is_in_hand =
                        owner != THREAD_NONE && granule_state(word) == GRANULE_NEW && granule_owner(word) == owner;

                check_notes(c, g, word);
                if (fields != 0 && !is_in_hand)
                        check_fault(c, WHERE_FMT "in a chunk of no arena: %#" PRIx64, WHERE(g, word), word);
                if (load_tag(c, g) != TAG_NONE)
                        check_fault(c, WHERE_FMT "its tag is %u in a chunk of no arena", WHERE(g, word),
                                    load_tag(c, g));
        }
}

static void
check_free_chunk(struct check *c, uint64_t chunk, uint64_t word)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK;

        if (chunk_with_node1(word, 0) != 0 || chunk_node1(word) > c->r->n_nodes)
                check_fault(c, "chunk %" PRIu64 " (free): fields that it has not: %#" PRIx64, chunk, word);
        for (uint64_t g = first; g < first + GEO_GRANULES_PER_CHUNK; g++)
                if (load_granule(c, g) & GRANULE_MAY_HAVE)
                        c->part.dirty_bytes += GEO_GRANULE_BYTES;
        c->part.n_chunks_free++;
        if (c->is_quiescent && !(load_relaxed(&c->r->free_chunks[chunk / 64]) >> chunk % 64 & 1))
                c->part.unhinted_bytes += GEO_CHUNK_BYTES;
}

static void
check_huge_tails(struct check *c, uint64_t chunk, uint64_t n)
{
        for (uint64_t i = 1; i < n; i++) {
                uint64_t tail = load_acquire(&c->r->chunk_words[chunk + i]); /* E3.acq */

                if (chunk_state(tail) == CHUNK_TAIL && chunk_count(tail) == i)
                        continue;
                check_fault(c,
                            "chunk %" PRIu64 ": %" PRIu64 " chunks behind the head of a huge block of %" PRIu64
                            ", and it has state %u, distance %u",
                            chunk + i, i, n, chunk_state(tail), chunk_count(tail));
                return; /* one line for a block */
        }
}

static void
check_huge(struct check *c, uint64_t chunk, uint64_t word)
{
        uint64_t n = chunk_count(word), bytes = load_relaxed(&c->r->huge_bytes[chunk]);
        uint64_t usable = bytes < n << GEO_CHUNK_SHIFT ? bytes : n << GEO_CHUNK_SHIFT;
        uint64_t hwm = region_chunks_hwm(c->r); /* as it is now: the block may be newer than the check */

        hwm = hwm > c->chunks_hwm ? hwm : c->chunks_hwm;
        if (n == 0 || n > hwm - chunk) {
                check_fault(c, "chunk %" PRIu64 ": a huge block of %" PRIu64 " chunks", chunk, n);
                return;
        }
        if (chunk_arena(word) != 0 || (chunk_owner(word) == THREAD_NONE && (word & CHUNK_DOOMED)))
                check_fault(c, "chunk %" PRIu64 " (huge): fields that it has not: %#" PRIx64, chunk, word);
        /* Between the two steps of a resize, and after a death there, `bytes` says more than the chunks can hold. */
        if (bytes % GEO_PAGE_BYTES != 0 || bytes <= (n - 1) << GEO_CHUNK_SHIFT || bytes > hwm << GEO_CHUNK_SHIFT)
                check_fault(c, "chunk %" PRIu64 ": a huge block of %" PRIu64 " chunks with %" PRIu64 " usable bytes",
                            chunk, n, bytes);
        check_huge_tails(c, chunk, n);
        check_backed(c, chunk * GEO_GRANULES_PER_CHUNK, usable);
        c->part.n_huge++;
        c->part.huge_bytes += usable;
        c->part.huge_span_bytes += n << GEO_CHUNK_SHIFT;
}

static void
check_tail(struct check *c, uint64_t chunk, uint64_t word)
{
        uint64_t distance = chunk_count(word), head_word;
        bool is_held;

        if (distance == 0 || distance > chunk) {
                check_fault(c, "chunk %" PRIu64 ": its head would be %" PRIu64 " chunks before it", chunk, distance);
                return;
        }
        if (chunk_owner(word) != THREAD_NONE || chunk_arena(word) != 0 || (word & CHUNK_DOOMED))
                check_fault(c, "chunk %" PRIu64 " (inside a huge block): fields of its own: %#" PRIx64, chunk, word);
        head_word = load_acquire(&c->r->chunk_words[chunk - distance]); /* E3.acq */
        is_held = !c->is_quiescent && check_thread_is_used(c, chunk_owner(head_word));
        if (!is_held && (chunk_state(head_word) != CHUNK_HUGE || chunk_count(head_word) <= distance))
                check_fault(c, "chunk %" PRIu64 ": its head would be chunk %" PRIu64 ", which has state %u, count %u",
                            chunk, chunk - distance, chunk_state(head_word), chunk_count(head_word));
        c->part.n_chunks_huge++;
}

static void
check_chunk(struct check *c, uint64_t chunk)
{
        uint64_t word = load_acquire(&c->r->chunk_words[chunk]); /* E3.acq */
        bool is_always_owned = chunk_state(word) == CHUNK_NEW || chunk_state(word) == CHUNK_FREEING;

        if (word >> 62 != 0 || chunk_node1(word) > NODE_MAX)
                check_fault(c, "chunk %" PRIu64 ": no word of a chunk: %#" PRIx64, chunk, word);
        check_owner(c, "chunk", chunk, chunk_owner(word));
        if (is_always_owned && chunk_owner(word) == THREAD_NONE)
                check_fault(c, "chunk %" PRIu64 ": state %u, and it belongs to nobody", chunk, chunk_state(word));
        if (chunk_state(word) != CHUNK_ARENA)
                check_none(c, chunk, chunk_owner(word));
        switch (chunk_state(word)) {
        case CHUNK_FREE:
                check_free_chunk(c, chunk, word);
                break;
        case CHUNK_ARENA:
                check_arena_chunk(c, chunk, word);
                break;
        case CHUNK_HUGE:
                c->part.n_chunks_huge++;
                check_huge(c, chunk, word);
                break;
        case CHUNK_TAIL:
                check_tail(c, chunk, word);
                break;
        case CHUNK_NEW:
        case CHUNK_FREEING:
                c->part.moving_bytes += GEO_CHUNK_BYTES;
                break;
        default:
                check_fault(c, "chunk %" PRIu64 ": state %u", chunk, chunk_state(word));
                break;
        }
}

void
check_chunks(struct check *c)
{
        for (uint64_t chunk = 0; chunk < c->chunks_hwm; chunk++)
                check_unit_counted(c, check_chunk, chunk);
}
