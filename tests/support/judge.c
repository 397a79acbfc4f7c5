/*
 * judge.c - see judge.h.
 *
 * What is known of a block is a byte, by the granule of its head and its index in the slab.  The bytes lie in memory
 * that is reserved once for as many granules as any heap had, and only those are touched and cleared that a heap has
 * blocks for: enumerations judge millions of heaps.
 */
#include "support/judge.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

static const char *const place_name[] = {"no block", "allocated", "free", "in a magazine", "somebody's"};

static uint8_t (*places)[SIZE_CLASS_BLOCKS_MAX]; /* by granule of the head: enum judge_place */
static uint32_t *n_places;                       /* likewise; 0: no head */
static uint64_t n_granules_max;

#define MUST(j, cond, ...)                                                                                             \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        (j)->fault(__VA_ARGS__);                                                                       \
        } while (0)

/* ------------------------------------------------------------------ memory of its own */

static void *
reserve(size_t bytes)
{
        void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED) {
                perror("judge: mmap");
                abort();
        }
        return p;
}

static void
forget(uint64_t n_granules)
{
        for (uint64_t g = 0; g < n_granules_max; g++)
                if (n_places[g] != 0) {
                        memset(places[g], JUDGE_NOTHING, n_places[g]);
                        n_places[g] = 0;
                }
        if (n_granules <= n_granules_max)
                return;
        if (n_granules_max != 0) {
                munmap(places, n_granules_max * sizeof *places);
                munmap(n_places, n_granules_max * sizeof *n_places);
        }
        places = reserve(n_granules * sizeof *places);
        n_places = reserve(n_granules * sizeof *n_places);
        n_granules_max = n_granules;
}

static void
add(struct judge *j, uint64_t head, uint32_t idx, enum judge_place place)
{
        places[head][idx] = (uint8_t)place;
        j->n_allocated += place == JUDGE_ALLOCATED;
}

/* ------------------------------------------------------------------ chunks */

uint32_t
judge_run_length(uint64_t granule_word)
{
        uint32_t class_idx = granule_class(granule_word);

        return class_idx < SIZE_CLASS_N ? size_class_table[class_idx].n_granules : 0;
}

static bool
has(const struct judge *j, uint64_t region_off, enum judge_pages what)
{
        return j->pages && j->pages(region_off) == what;
}

/* What a granule's word says of its pages, and what is there. */
static void
judge_backing(struct judge *j, uint64_t granule, uint64_t word)
{
        uint64_t off = region_granule_off(j->r, granule);
        uint32_t n = granule_backed(word);

        MUST(j, n == 0 || (word & GRANULE_MAY_HAVE),
             "granule %" PRIu64 " has pages and says that it may have none: %#" PRIx64, granule, word);
        for (uint32_t i = 0; i < n && i < GRANULE_BACKED_ALL; i++)
                if (has(j, off + i * GRANULE_BACKED_UNIT, JUDGE_HOLE)) {
                        j->fault("granule %" PRIu64 " says that %u sixteenths are backed: %u is not", granule, n, i);
                        return;
                }
        for (uint32_t i = 0; !(word & GRANULE_MAY_HAVE) && i < GRANULE_BACKED_ALL; i++)
                if (has(j, off + i * GRANULE_BACKED_UNIT, JUDGE_PAGE)) {
                        j->fault("granule %" PRIu64 " says that it has no pages: it has: %#" PRIx64, granule, word);
                        return;
                }
}

/* The pages of a block that is allocated, or cached: a purge of its slab has left them. */
static void
judge_block_pages(struct judge *j, uint64_t head, uint32_t class_idx, uint32_t idx)
{
        uint64_t start = (uint64_t)idx * size_class_table[class_idx].bytes;
        uint64_t end = start + size_class_table[class_idx].bytes, first = region_granule_off(j->r, head);

        for (uint64_t g = start >> GEO_GRANULE_SHIFT; g <= (end - 1) >> GEO_GRANULE_SHIFT; g++)
                MUST(j, j->r->granules[head + g] & GRANULE_MAY_HAVE,
                     "block %u of slab %" PRIu64 " is allocated and its granule has no pages", idx, head);
        for (uint64_t off = (first + start) & ~UINT64_C(4095); off < first + end; off += 4096)
                if (has(j, off, JUDGE_HOLE)) {
                        j->fault("block %u of slab %" PRIu64 " has lost the page at %#" PRIx64, idx, head, off);
                        return;
                }
}

static void
judge_slab(struct judge *j, uint64_t head, uint64_t word)
{
        uint32_t class_idx = granule_class(word), n = size_class_table[class_idx].n_blocks, n_free = 0;

        n_places[head] = n;
        for (uint32_t i = 0; i < n; i++) {
                bool is_free = *region_slab_word(j->r, head, i / 64) >> i % 64 & 1;

                n_free += is_free;
                add(j, head, i, is_free ? JUDGE_FREE : JUDGE_ALLOCATED);
                if (!is_free)
                        judge_block_pages(j, head, class_idx, i);
        }
        for (uint32_t i = n; i < (n + 63) / 64 * 64; i++)
                MUST(j, !(*region_slab_word(j->r, head, i / 64) >> i % 64 & 1),
                     "slab %" PRIu64 " of class %u has a free block %u of %u", head, class_idx, i, n);
        MUST(j, n_free == granule_count(word), "slab %" PRIu64 " of class %u says %u free, its bitmap %u", head,
             class_idx, granule_count(word), n_free);
        j->tally.n_slabs++;
        j->tally.free_blocks[class_idx] += n_free;
}

static void
judge_large(struct judge *j, uint64_t head, uint64_t word, uint32_t length)
{
        uint64_t colour = granule_stamp(word) * UINT64_C(64);
        uint64_t end = colour + size_class_table[granule_class(word)].bytes;

        MUST(j, colour == 0 || (colour < GEO_PAGE_BYTES && end <= (uint64_t)length * GEO_GRANULE_BYTES),
             "the block of run %" PRIu64 " starts at %" PRIu64, head, colour);
        for (uint32_t i = 0; i < length; i++) {
                uint64_t start = (uint64_t)i * GEO_GRANULE_BYTES, in_use = end > start ? end - start : 0;

                in_use = in_use < GEO_GRANULE_BYTES ? in_use : GEO_GRANULE_BYTES;
                MUST(j, granule_backed(j->r->granules[head + i]) * GRANULE_BACKED_UNIT >= in_use,
                     "granule %" PRIu64 " is in use and not backed: %#" PRIx64, head + i, j->r->granules[head + i]);
        }
        n_places[head] = 1;
        add(j, head, 0, JUDGE_ALLOCATED);
        j->tally.n_runs++;
}

/* A slab or run: its tags, its interior, its pages.  How many granules it takes; 1 if it is none. */
static uint32_t
judge_run(struct judge *j, uint64_t head, uint64_t word, uint32_t arena)
{
        uint32_t class_idx = granule_class(word), length = judge_run_length(word), tag;
        bool is_slab = granule_state(word) == GRANULE_SLAB;

        if (length == 0 || is_slab != (class_idx < SIZE_CLASS_N_SMALL) ||
            head % GEO_GRANULES_PER_CHUNK + length > GEO_GRANULES_PER_CHUNK ||
            (!is_slab && granule_count(word) != length)) {
                j->fault("granule %" PRIu64 " is the head of nothing: %#" PRIx64, head, word);
                return 1;
        }
        tag = tag_make(region_arena_node(j->r, arena), class_idx);
        for (uint32_t i = 0; i < length; i++) {
                uint64_t w = j->r->granules[head + i];

                MUST(j,
                     i == 0 || (granule_state(w) == GRANULE_CONT && granule_count(w) == i && granule_owner(w) == 0 &&
                                granule_arena(w) == arena),
                     "granule %" PRIu64 " does not continue run %" PRIu64 ": %#" PRIx64, head + i, head, w);
                MUST(j, j->r->tags[head + i] == (is_slab || i == 0 ? tag : TAG_NONE),
                     "granule %" PRIu64 " of run %" PRIu64 ", class %u, has tag %u", head + i, head, class_idx,
                     j->r->tags[head + i]);
                judge_backing(j, head + i, w);
        }
        MUST(j, !(word & GRANULE_DOOMED), "run %" PRIu64 " is doomed and nobody frees it", head);
        if (is_slab)
                judge_slab(j, head, word);
        else
                judge_large(j, head, word, length);
        return length;
}

static void
judge_arena_chunk(struct judge *j, uint64_t chunk, uint32_t arena)
{
        uint64_t g = chunk * GEO_GRANULES_PER_CHUNK;

        while (g < (chunk + 1) * GEO_GRANULES_PER_CHUNK) {
                uint64_t word = j->r->granules[g];

                MUST(j, granule_owner(word) == 0, "granule %" PRIu64 " is owned by %u: %#" PRIx64, g,
                     granule_owner(word), word);
                MUST(j, granule_arena(word) == arena, "granule %" PRIu64 " is of arena %u in a chunk of %u", g,
                     granule_arena(word), arena);
                if (granule_state(word) == GRANULE_SLAB || granule_state(word) == GRANULE_LARGE) {
                        g += judge_run(j, g, word, arena);
                        continue;
                }
                MUST(j, granule_state(word) == GRANULE_FREE,
                     "granule %" PRIu64 " is nothing when nobody is at work: %#" PRIx64, g, word);
                MUST(j, j->r->tags[g] == TAG_NONE, "free granule %" PRIu64 " has tag %u", g, j->r->tags[g]);
                judge_backing(j, g, word);
                j->tally.n_free_granules++;
                g++;
        }
}

static void
judge_unused(struct judge *j, uint64_t chunk)
{
        for (uint64_t g = chunk * GEO_GRANULES_PER_CHUNK; g < (chunk + 1) * GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t word = j->r->granules[g];

                MUST(j, granule_state(word) == GRANULE_NONE && granule_owner(word) == 0 && j->r->tags[g] == TAG_NONE,
                     "granule %" PRIu64 " of a chunk without arena: %#" PRIx64 ", tag %u", g, word, j->r->tags[g]);
                judge_backing(j, g, word);
        }
}

static uint64_t
huge_bytes(const struct judge *j, uint64_t chunk)
{
        uint64_t most = (uint64_t)chunk_count(j->r->chunk_words[chunk]) * GEO_CHUNK_BYTES;

        return j->r->huge_bytes[chunk] < most ? j->r->huge_bytes[chunk] : most;
}

/* How many chunks it takes; 1 if it is none. */
static uint64_t
judge_huge(struct judge *j, uint64_t chunk, uint64_t word)
{
        uint64_t n = chunk_count(word), head = chunk * GEO_GRANULES_PER_CHUNK;

        if (n == 0 || chunk + n > j->hwm || (word & CHUNK_DOOMED)) {
                j->fault("huge block %" PRIu64 " of %" PRIu64 " chunks: %#" PRIx64, chunk, n, word);
                return 1;
        }
        for (uint64_t i = 1; i < n; i++) {
                uint64_t w = j->r->chunk_words[chunk + i];

                MUST(j, chunk_state(w) == CHUNK_TAIL && chunk_count(w) == i && chunk_owner(w) == 0,
                     "chunk %" PRIu64 " is no tail of %" PRIu64 ": %#" PRIx64, chunk + i, chunk, w);
        }
        for (uint64_t i = 0; i < n; i++)
                judge_unused(j, chunk + i);
        for (uint64_t off = 0; off < huge_bytes(j, chunk); off += GRANULE_BACKED_UNIT)
                if (granule_backed(j->r->granules[head + off / GEO_GRANULE_BYTES]) <=
                    off % GEO_GRANULE_BYTES / GRANULE_BACKED_UNIT) {
                        j->fault("huge block %" PRIu64 " is not backed at %#" PRIx64, chunk, off);
                        break;
                }
        n_places[head] = 1;
        add(j, head, 0, JUDGE_ALLOCATED);
        j->tally.n_huge++;
        return n;
}

static void
judge_chunks(struct judge *j)
{
        for (uint64_t chunk = 0; chunk < j->hwm;) {
                uint64_t word = j->r->chunk_words[chunk];

                MUST(j, chunk_owner(word) == 0, "chunk %" PRIu64 " is owned by %u: %#" PRIx64, chunk, chunk_owner(word),
                     word);
                if (chunk_state(word) == CHUNK_HUGE) {
                        chunk += judge_huge(j, chunk, word);
                        continue;
                }
                if (chunk_state(word) == CHUNK_ARENA) {
                        judge_arena_chunk(j, chunk, chunk_arena(word));
                } else {
                        MUST(j, chunk_state(word) == CHUNK_FREE,
                             "chunk %" PRIu64 " is nothing when nobody is at work: %#" PRIx64, chunk, word);
                        judge_unused(j, chunk);
                        j->tally.n_free_chunks++;
                }
                chunk++;
        }
}

/* ------------------------------------------------------------------ blocks */

bool
judge_find(const struct judge *j, uint64_t block_off, struct judge_block *ret)
{
        uint64_t g = block_off >> GEO_GRANULE_SHIFT, head = g, word, in;
        uint32_t class_idx;

        if (g >= j->hwm * GEO_GRANULES_PER_CHUNK)
                return false;
        if (granule_state(j->r->granules[g]) == GRANULE_CONT && granule_count(j->r->granules[g]) <= g)
                head = g - granule_count(j->r->granules[g]);
        word = j->r->granules[head];
        class_idx = granule_class(word);
        in = block_off - (head << GEO_GRANULE_SHIFT);
        *ret = (struct judge_block){.off = block_off, .head = head, .class_idx = SIZE_CLASS_NONE};
        if (n_places[head] == 0)
                return false;
        if (granule_state(word) == GRANULE_SLAB) {
                ret->bytes = size_class_table[class_idx].bytes;
                ret->idx = (uint32_t)(in / ret->bytes);
                ret->class_idx = class_idx;
                return in % ret->bytes == 0 && in / ret->bytes < n_places[head];
        }
        if (granule_state(word) == GRANULE_LARGE) {
                ret->bytes = size_class_table[class_idx].bytes;
                ret->class_idx = class_idx;
                return in == granule_stamp(word) * UINT64_C(64);
        }
        ret->bytes = huge_bytes(j, head / GEO_GRANULES_PER_CHUNK);
        return in == 0;
}

/* The class of magazines that it belongs in: of a huge one by its chunks. */
static uint32_t
class_of_magazine(const struct judge *j, const struct judge_block *block)
{
        if (block->class_idx != SIZE_CLASS_NONE)
                return block->class_idx;
        return SIZE_CLASS_N + chunk_count(j->r->chunk_words[block->head / GEO_GRANULES_PER_CHUNK]) - 1;
}

/* A block that is allocated by its slab, run or chunk is somewhere else now. */
static void
judge_move(struct judge *j, uint64_t block_off, enum judge_place to, uint32_t class_idx, const char *who,
           uint64_t number)
{
        struct judge_block block;

        if (!judge_find(j, block_off, &block)) {
                j->fault("%s %" PRIu64 " has %#" PRIx64 ", which is no block", who, number, block_off);
                return;
        }
        if (places[block.head][block.idx] != JUDGE_ALLOCATED ||
            (to == JUDGE_CACHED && class_of_magazine(j, &block) != class_idx)) {
                j->fault("%s %" PRIu64 " has block %#" PRIx64 " of class %u as one of class %u, which is %s", who,
                         number, block_off, block.class_idx, class_idx, place_name[places[block.head][block.idx]]);
                return;
        }
        places[block.head][block.idx] = (uint8_t)to;
        j->n_allocated--;
}

void
judge_has(struct judge *j, uint64_t block_off, const char *who, uint64_t number)
{
        judge_move(j, block_off, JUDGE_LIVE, SIZE_CLASS_NONE, who, number);
}

void
judge_each_allocated(const struct judge *j, void (*fn)(const struct judge_block *block, void *arg), void *arg)
{
        for (uint64_t g = 0; g < j->hwm * GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t word = j->r->granules[g], start = g << GEO_GRANULE_SHIFT, stride = 0;
                struct judge_block block;

                if (granule_state(word) == GRANULE_LARGE)
                        start += granule_stamp(word) * UINT64_C(64);
                else if (granule_state(word) == GRANULE_SLAB && n_places[g] != 0)
                        stride = size_class_table[granule_class(word)].bytes;
                for (uint32_t i = 0; i < n_places[g]; i++)
                        if (places[g][i] == JUDGE_ALLOCATED && judge_find(j, start + i * stride, &block))
                                fn(&block, arg);
        }
}

/* ------------------------------------------------------------------ magazines and slots */

/* How many places of the slot name the magazine. */
static uint32_t
places_naming(const struct judge *j, uint32_t thread_no, uint64_t idx)
{
        const struct thread_slot *slot = region_thread(j->r, thread_no - 1);
        uint32_t n = 0;

        for (uint32_t p = 0; slot && p < 2 * j->r->layout.n_tags; p++)
                n += slot->magazines[p] == idx + 1;
        return n;
}

static void
judge_owned(struct judge *j, uint64_t idx, uint32_t owner)
{
        const struct slot_gate *gate = owner == 0 ? NULL : region_gate(j->r, owner - 1);

        if (!gate || gate->state != 1)
                j->fault("magazine %" PRIu64 " is owned by %u, who is not there", idx, owner);
        else if (places_naming(j, owner, idx) != 1)
                j->fault("magazine %" PRIu64 " is in %u places of thread %u", idx, places_naming(j, owner, idx), owner);
        j->tally.n_tcache++;
}

static void
judge_magazine(struct judge *j, uint64_t idx)
{
        uint64_t word = j->r->magazine_words[idx];
        const struct magazine *m = &j->r->magazines[idx];
        uint32_t tag = magazine_tag(word);

        if (magazine_state(word) == MAGAZINE_POOL) {
                MUST(j, word == 0 || word == MAGAZINE_BARE, "pooled magazine %" PRIu64 ": word %#" PRIx64, idx, word);
                MUST(j, word != 0 || m->n == 0, "pooled magazine %" PRIu64 ": n %" PRIu64, idx, m->n);
                j->tally.n_pooled++;
                return;
        }
        if (tag == TAG_NONE || tag >= j->r->layout.n_tags || tag_class(tag) >= SIZE_CLASS_N_CACHED || m->n > m->cap ||
            m->cap > MAGAZINE_CAP_MAX || m->cap == 0 || magazine_state(word) >= MAGAZINE_PURGING ||
            magazine_is_bare(word)) {
                j->fault("magazine %" PRIu64 ": %#" PRIx64 ", n %" PRIu64 ", cap %" PRIu64, idx, word, m->n, m->cap);
                return;
        }
        if (magazine_state(word) == MAGAZINE_TCACHE) {
                judge_owned(j, idx, magazine_owner(word));
        } else {
                MUST(j, magazine_owner(word) == 0 && m->n > 0,
                     "magazine %" PRIu64 " in a depot: %#" PRIx64 ", n %" PRIu64, idx, word, m->n);
                j->tally.n_depot++;
                j->tally.n_cached_in_depots += m->n;
        }
        for (uint64_t i = 0; i < m->n; i++) {
                judge_move(j, region_entry_off(j->r, m->slot[i]), JUDGE_CACHED, tag_class(tag), "magazine", idx);
                j->tally.cached_blocks[tag_class(tag)]++;
        }
}

static void
judge_slot(struct judge *j, uint32_t idx)
{
        const struct thread_slot *slot = region_thread(j->r, idx);

        MUST(j, slot->intent.kind == INTENT_NONE, "thread %u left intent %" PRIu64, idx + 1, slot->intent.kind);
        MUST(j, slot->candidate == 0, "thread %u left candidate %#" PRIx64, idx + 1, slot->candidate);
        MUST(j, slot->hand == 0, "thread %u has magazine %u in its hand", idx + 1, slot->hand - 1);
        for (uint32_t p = 0; p < 2 * j->r->layout.n_tags; p++) {
                uint32_t idx1 = slot->magazines[p];

                MUST(j,
                     idx1 == 0 || (region_has_magazine(j->r, idx1 - 1) &&
                                   magazine_owner(j->r->magazine_words[idx1 - 1]) == idx + 1),
                     "place %u of thread %u names magazine %u, which is not its own", p, idx + 1, idx1 - 1);
        }
}

void
judge_region(struct judge *j)
{
        j->hwm = region_chunks_hwm(j->r);
        j->n_allocated = 0;
        memset(&j->tally, 0, sizeof j->tally);
        forget(j->hwm * GEO_GRANULES_PER_CHUNK);
        judge_chunks(j);
        for (uint32_t node = 0; node < j->r->n_nodes; node++)
                for (uint32_t i = 0; i < region_magazines_hwm(j->r, node); i++)
                        judge_magazine(j, (uint64_t)node * j->r->layout.magazines_per_node + i);
        for (uint32_t idx = 0; idx < region_threads_hwm(j->r); idx++)
                judge_slot(j, idx);
}
