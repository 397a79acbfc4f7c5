#include "support/heap_fixture.h"
#include "support/damage.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "clients/slot.h"
#include "heap/reap.h"
#include "pages/arena.h"
#include "support/checks.h"

#define FAIL(...) ck_abort_msg(__VA_ARGS__)
#define MUST(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        FAIL(__VA_ARGS__);                                                                             \
        } while (0)

/* ------------------------------------------------------------------ making */

static int
file_over(uintptr_t base, uint64_t bytes)
{
        int fd = memfd_create("heap_fixture", MFD_CLOEXEC);

        MUST(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0, "no file of %" PRIu64 " bytes", bytes);
        MUST(mmap((void *)base, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0) == (void *)base,
             "the file cannot be mapped");
        return fd;
}

void
heap_make(struct heap_fixture *fx, struct heap_params p)
{
        struct layout_params params = {.max_capacity = (p.n_chunks ? p.n_chunks : 4) * GEO_CHUNK_BYTES,
                                       .max_clients = 2,
                                       .max_threads = p.max_threads ? p.max_threads : 8,
                                       .n_nodes = p.n_nodes ? p.n_nodes : 1,
                                       .arenas_per_node = p.arenas_per_node ? p.arenas_per_node : 1,
                                       .max_roots = 4,
                                       .page_shift = 12};
        struct layout layout;
        const char *what;
        uintptr_t base;

        memset(fx, 0, sizeof *fx);
        MUST(layout_compute(&params, &layout, &what) == 0, "layout: %s", what);
        fx->mapping_bytes = layout.region_bytes + GEO_CHUNK_BYTES;
        fx->mapping = mmap(NULL, fx->mapping_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE,
                           -1, 0);
        MUST(fx->mapping != MAP_FAILED, "no memory for a region of %" PRIu64 " bytes", layout.region_bytes);
        base = ((uintptr_t)fx->mapping + GEO_CHUNK_BYTES - 1) & ~(uintptr_t)(GEO_CHUNK_BYTES - 1);
        fx->region.fd = p.has_file ? file_over(base, layout.region_bytes) : -1;
        region_bind(&fx->region, (void *)base, &layout);
        region_format(&fx->region, &params, "plain", base);
        ck_assert_int_eq(client_register(&fx->region, &fx->client), 0);
        fx->process.region = fx->region;
        fx->process.client = fx->client;
        fx->process.generation = tcache_generation();
        ck_assert_int_eq(pthread_mutex_init(&fx->process.lock, NULL), 0);
}

void
heap_drop(struct heap_fixture *fx)
{
        damage_is_done(true); /* threads may be in the midst of what they do */
        for (uint32_t i = 0; i < fx->n_threads; i++)
                if (fx->threads[i].slot != NULL)
                        slot_release(&fx->threads[i]);
        if (fx->region.fd >= 0)
                close(fx->region.fd);
        munmap(fx->mapping, fx->mapping_bytes);
        damage_is_done(false);
}

struct thread *
heap_attach(struct heap_fixture *fx, uint32_t arena)
{
        struct thread *t = &fx->threads[fx->n_threads++];

        ck_assert_uint_le(fx->n_threads, HEAP_THREADS_MAX);
        ck_assert_int_eq(slot_attach(t, &fx->region, &fx->client, NULL, NULL), 0);
        ck_assert_int_eq(arena_init(&fx->region, arena), 0);
        t->arena = arena;
        t->node = region_arena_node(&fx->region, arena);
        t->seed = t->no * 7;
        fx->region.bindings[t->no - 1] = BINDING_ARENA(arena);
        return t;
}

void
heap_bury(struct heap_fixture *fx, struct thread *t)
{
        reap_settle(&fx->region, t->no, NULL);
        slot_release(t);
}

/* ------------------------------------------------------------------ live blocks */

void
live_add(struct live *live, uint64_t block_off)
{
        if (live->n == live->room) {
                live->room = live->room ? 2 * live->room : 256;
                live->off = realloc(live->off, live->room * sizeof *live->off);
                ck_assert_ptr_nonnull(live->off);
        }
        live->off[live->n++] = block_off;
}

void
live_drop(struct live *live, uint64_t block_off)
{
        for (size_t i = live->n; i-- > 0;)
                if (live->off[i] == block_off) {
                        live->off[i] = live->off[--live->n];
                        return;
                }
        FAIL("block %#" PRIx64 " is not live", block_off);
}

uint64_t
live_pop(struct live *live)
{
        ck_assert_uint_gt(live->n, 0);
        return live->off[--live->n];
}

void
live_fini(struct live *live)
{
        free(live->off);
        memset(live, 0, sizeof *live);
}

/* ------------------------------------------------------------------ the judge: what lies where
 *
 * One byte per quantum of the chunks says what the block that starts there is.
 */

enum place { PLACE_NOTHING = 0, PLACE_ALLOCATED, PLACE_FREE, PLACE_CACHED, PLACE_LIVE };

static const char *const place_name[] = {"no block", "allocated", "free", "in a magazine", "live"};

struct judge {
        struct region *r;
        uint64_t hwm; /* chunks */
        uint8_t *place;
        uint8_t *class_at; /* by quantum: class of the block that starts there, 0xff = huge */
        struct tally tally;
        uint64_t n_allocated;
};

static uint64_t
quantum_of(uint64_t block_off)
{
        return block_off / SIZE_CLASS_QUANTUM_BYTES;
}

static void
judge_block(struct judge *j, uint64_t block_off, enum place place, uint32_t class_idx)
{
        uint8_t *at = &j->place[quantum_of(block_off)];

        MUST(*at == PLACE_NOTHING, "two blocks start at %#" PRIx64, block_off);
        *at = (uint8_t)place;
        j->class_at[quantum_of(block_off)] = (uint8_t)class_idx;
        j->n_allocated += place == PLACE_ALLOCATED;
}

static void
judge_interior(struct judge *j, uint64_t head, uint32_t length, uint32_t arena, uint32_t tag)
{
        MUST(head % GEO_GRANULES_PER_CHUNK + length <= GEO_GRANULES_PER_CHUNK, "run %" PRIu64 " leaves its chunk",
             head);
        for (uint32_t i = 1; i < length; i++) {
                uint64_t word = j->r->granules[head + i];

                MUST(granule_state(word) == GRANULE_CONT && granule_count(word) == i && granule_owner(word) == 0 &&
                             granule_arena(word) == arena,
                     "granule %" PRIu64 " should continue run %" PRIu64 ": %#" PRIx64, head + i, head, word);
                MUST(j->r->tags[head + i] == tag, "granule %" PRIu64 " has tag %u instead of %u", head + i,
                     j->r->tags[head + i], tag);
        }
}

static uint32_t
judge_slab(struct judge *j, uint64_t head, uint64_t word, uint32_t arena)
{
        uint32_t class_idx = granule_class(word), length, n_blocks, n_free = 0;

        MUST(class_idx < SIZE_CLASS_N_SMALL, "slab %" PRIu64 " has class %u", head, class_idx);
        length = size_class_table[class_idx].n_granules;
        n_blocks = size_class_table[class_idx].n_blocks;
        MUST(j->r->tags[head] == tag_make(region_arena_node(j->r, arena), class_idx), "slab %" PRIu64 " has tag %u",
             head, j->r->tags[head]);
        judge_interior(j, head, length, arena, j->r->tags[head]);
        for (uint32_t i = 0; i < length; i++)
                MUST(granule_backed(j->r->granules[head + i]) == 0 || (j->r->granules[head + i] & GRANULE_MAY_HAVE),
                     "granule %" PRIu64 " of a slab has pages by halves", head + i);
        for (uint32_t i = 0; i < n_blocks; i++) {
                bool is_free = *region_slab_word(j->r, head, i / 64) >> i % 64 & 1;
                uint64_t start = (uint64_t)i * size_class_table[class_idx].bytes;
                uint64_t last = start + size_class_table[class_idx].bytes - 1;

                for (uint64_t g = start >> GEO_GRANULE_SHIFT; g <= last >> GEO_GRANULE_SHIFT; g++)
                        MUST(is_free || (j->r->granules[head + g] & GRANULE_MAY_HAVE),
                             "block %u of slab %" PRIu64 " is allocated and its granule has no pages", i, head);

                n_free += is_free;
                judge_block(j, (head << GEO_GRANULE_SHIFT) + (uint64_t)i * size_class_table[class_idx].bytes,
                            is_free ? PLACE_FREE : PLACE_ALLOCATED, class_idx);
        }
        for (uint32_t i = n_blocks; i < (n_blocks + 63) / 64 * 64; i++)
                MUST(!(*region_slab_word(j->r, head, i / 64) >> i % 64 & 1), "slab %" PRIu64 ": block %u of %u is free",
                     head, i, n_blocks);
        MUST(granule_count(word) == n_free, "slab %" PRIu64 " of class %u says %u free, its bitmap %u", head, class_idx,
             granule_count(word), n_free);
        j->tally.n_slabs++;
        j->tally.free_blocks[class_idx] += n_free;
        return length;
}

static uint32_t
judge_large(struct judge *j, uint64_t head, uint64_t word, uint32_t arena)
{
        uint32_t class_idx = granule_class(word), length = granule_count(word), tag;
        uint64_t colour = granule_stamp(word) * UINT64_C(64), bytes;

        MUST(class_idx >= SIZE_CLASS_N_SMALL && class_idx < SIZE_CLASS_N, "run %" PRIu64 " has class %u", head,
             class_idx);
        MUST(length == size_class_table[class_idx].n_granules, "run %" PRIu64 " of class %u has length %u", head,
             class_idx, length);
        MUST(!(word & GRANULE_DOOMED), "run %" PRIu64 " is doomed and nobody frees it", head);
        tag = tag_make(region_arena_node(j->r, arena), class_idx);
        MUST(j->r->tags[head] == tag, "run %" PRIu64 " has tag %u instead of %u", head, j->r->tags[head], tag);
        judge_interior(j, head, length, arena, TAG_NONE);
        bytes = size_class_table[class_idx].bytes;
        for (uint32_t i = 0; i < length; i++) {
                uint64_t start = (uint64_t)i * GEO_GRANULE_BYTES;
                uint64_t end = colour + bytes;
                uint64_t in_use = end - start < GEO_GRANULE_BYTES ? end - start : GEO_GRANULE_BYTES;

                MUST(granule_backed(j->r->granules[head + i]) * GRANULE_BACKED_UNIT >= in_use,
                     "granule %" PRIu64 " of a run of class %u: %u sixteenths are backed", head + i, class_idx,
                     granule_backed(j->r->granules[head + i]));
        }
        MUST(colour == 0 || (colour < GEO_PAGE_BYTES && colour + bytes <= (uint64_t)length * GEO_GRANULE_BYTES),
             "the block of run %" PRIu64 " starts at %" PRIu64, head, colour);
        judge_block(j, (head << GEO_GRANULE_SHIFT) + colour, PLACE_ALLOCATED, class_idx);
        j->tally.n_runs++;
        return length;
}

static void
judge_arena_chunk(struct judge *j, uint64_t chunk, uint32_t arena)
{
        uint64_t first = chunk * GEO_GRANULES_PER_CHUNK, g = first;

        while (g < first + GEO_GRANULES_PER_CHUNK) {
                uint64_t word = j->r->granules[g];

                MUST(granule_owner(word) == 0, "granule %" PRIu64 " is owned by %u: %#" PRIx64, g, granule_owner(word),
                     word);
                MUST(granule_arena(word) == arena, "granule %" PRIu64 " is of arena %u, its chunk of %u", g,
                     granule_arena(word), arena);
                MUST(granule_backed(word) == 0 || (word & GRANULE_MAY_HAVE), "granule %" PRIu64 " has pages by halves",
                     g);
                switch (granule_state(word)) {
                case GRANULE_FREE:
                        MUST(j->r->tags[g] == TAG_NONE, "free granule %" PRIu64 " has tag %u", g, j->r->tags[g]);
                        j->tally.n_free_granules++;
                        g++;
                        break;
                case GRANULE_SLAB:
                        g += judge_slab(j, g, word, arena);
                        break;
                case GRANULE_LARGE:
                        g += judge_large(j, g, word, arena);
                        break;
                default:
                        FAIL("granule %" PRIu64 " is %#" PRIx64 ", which is nothing when nobody is at work", g, word);
                }
        }
}

static void
judge_granules_unused(struct judge *j, uint64_t chunk)
{
        for (uint64_t g = chunk * GEO_GRANULES_PER_CHUNK; g < (chunk + 1) * GEO_GRANULES_PER_CHUNK; g++) {
                uint64_t word = j->r->granules[g];

                MUST(granule_state(word) == GRANULE_NONE && granule_owner(word) == 0,
                     "granule %" PRIu64 " of a chunk without arena is %#" PRIx64, g, word);
                MUST(j->r->tags[g] == TAG_NONE, "granule %" PRIu64 " of a chunk without arena has tag %u", g,
                     j->r->tags[g]);
        }
}

static void
judge_huge(struct judge *j, uint64_t chunk, uint64_t word)
{
        uint64_t n = chunk_count(word), bytes = j->r->huge_bytes[chunk];

        MUST(n > 0 && chunk + n <= j->hwm, "huge block %" PRIu64 " has %" PRIu64 " chunks", chunk, n);
        MUST(!(word & CHUNK_DOOMED), "huge block %" PRIu64 " is doomed and nobody frees it", chunk);
        for (uint64_t i = 1; i < n; i++)
                MUST(chunk_state(j->r->chunk_words[chunk + i]) == CHUNK_TAIL &&
                             chunk_count(j->r->chunk_words[chunk + i]) == i,
                     "chunk %" PRIu64 " should be the tail of %" PRIu64, chunk + i, chunk);
        if (bytes > n * GEO_CHUNK_BYTES)
                bytes = n * GEO_CHUNK_BYTES;
        for (uint64_t off = 0; off < bytes; off += GRANULE_BACKED_UNIT) {
                uint64_t g = (chunk * GEO_CHUNK_BYTES + off) >> GEO_GRANULE_SHIFT;

                MUST(granule_backed(j->r->granules[g]) > off % GEO_GRANULE_BYTES / GRANULE_BACKED_UNIT,
                     "huge block %" PRIu64 " is not backed at %#" PRIx64, chunk, off);
        }
        judge_block(j, chunk << GEO_CHUNK_SHIFT, PLACE_ALLOCATED, 0xff);
        j->tally.n_huge++;
}

static void
judge_chunks(struct judge *j)
{
        uint64_t tails = 0;

        for (uint64_t chunk = 0; chunk < j->hwm; chunk++) {
                uint64_t word = j->r->chunk_words[chunk];

                MUST(chunk_owner(word) == 0, "chunk %" PRIu64 " is owned by %u: %#" PRIx64, chunk, chunk_owner(word),
                     word);
                if (chunk_state(word) == CHUNK_ARENA) {
                        judge_arena_chunk(j, chunk, chunk_arena(word));
                        continue;
                }
                judge_granules_unused(j, chunk);
                if (chunk_state(word) == CHUNK_HUGE) {
                        judge_huge(j, chunk, word);
                        tails = chunk_count(word) - 1;
                } else if (chunk_state(word) == CHUNK_TAIL) {
                        MUST(tails-- > 0, "chunk %" PRIu64 " is the tail of nothing", chunk);
                } else {
                        MUST(chunk_state(word) == CHUNK_FREE, "chunk %" PRIu64 " is %#" PRIx64, chunk, word);
                        j->tally.n_free_chunks++;
                }
        }
}

/* ------------------------------------------------------------------ the judge: magazines and slots */

/* A block that is allocated by its slab or run is somewhere else now. */
static void
judge_move(struct judge *j, uint64_t block_off, enum place place, uint32_t class_idx, const char *who, uint64_t number)
{
        uint64_t quantum = quantum_of(block_off);

        MUST(block_off % SIZE_CLASS_QUANTUM_BYTES == 0 && block_off < j->hwm << GEO_CHUNK_SHIFT,
             "%s %" PRIu64 " has %#" PRIx64 ", which is no block", who, number, block_off);
        if (class_idx == SIZE_CLASS_NONE)
                class_idx = j->class_at[quantum];
        MUST(j->place[quantum] == PLACE_ALLOCATED, "%s %" PRIu64 " has block %#" PRIx64 " of class %u, which is %s",
             who, number, block_off, class_idx, place_name[j->place[quantum]]);
        MUST(j->class_at[quantum] == class_idx, "%s %" PRIu64 " has block %#" PRIx64 " of class %u instead of %u", who,
             number, block_off, j->class_at[quantum], class_idx);
        j->place[quantum] = (uint8_t)place;
        j->n_allocated--;
}

/* How many places of the slot name the magazine. */
static uint32_t
places_of(struct judge *j, uint32_t thread_no, uint64_t idx)
{
        struct thread_slot *slot = region_thread(j->r, thread_no - 1);
        uint32_t n = 0;

        for (uint32_t p = 0; slot && p < 2 * j->r->layout.n_tags; p++)
                n += slot->magazines[p] == idx + 1;
        return n;
}

static void
judge_magazine(struct judge *j, uint64_t idx)
{
        uint64_t word = j->r->magazine_words[idx];
        const struct magazine *m = &j->r->magazines[idx];
        uint32_t tag = magazine_tag(word);

        if (magazine_state(word) == MAGAZINE_POOL) {
                MUST(word == 0 && m->n == 0, "pooled magazine %" PRIu64 ": word %#" PRIx64 ", n %" PRIu64, idx, word,
                     m->n);
                j->tally.n_pooled++;
                return;
        }
        MUST(tag != TAG_NONE && tag < j->r->layout.n_tags && tag_class(tag) < SIZE_CLASS_N,
             "magazine %" PRIu64 " has tag %u", idx, tag);
        MUST(m->n <= m->cap && m->cap <= MAGAZINE_CAP_MAX && m->cap > 0,
             "magazine %" PRIu64 ": n %" PRIu64 ", cap %" PRIu64, idx, m->n, m->cap);
        if (magazine_state(word) == MAGAZINE_TCACHE) {
                struct thread_slot *slot = region_thread(j->r, magazine_owner(word) - 1);

                MUST(slot && slot->state == 1, "magazine %" PRIu64 " is owned by %u, who is not there", idx,
                     magazine_owner(word));
                MUST(places_of(j, magazine_owner(word), idx) == 1, "magazine %" PRIu64 " is in %u places of thread %u",
                     idx, places_of(j, magazine_owner(word), idx), magazine_owner(word));
                j->tally.n_tcache++;
        } else {
                MUST(magazine_state(word) == MAGAZINE_DEPOT && magazine_owner(word) == 0,
                     "magazine %" PRIu64 " is %#" PRIx64, idx, word);
                MUST(m->n > 0, "magazine %" PRIu64 " is in a depot and empty", idx);
                j->tally.n_depot++;
                j->tally.n_cached_in_depots += m->n;
        }
        for (uint64_t i = 0; i < m->n; i++) {
                judge_move(j, region_entry_off(j->r, m->slot[i]), PLACE_CACHED, tag_class(tag), "magazine", idx);
                j->tally.cached_blocks[tag_class(tag)]++;
        }
}

static void
judge_magazines(struct judge *j)
{
        for (uint64_t idx = 0; idx < j->r->layout.n[TABLE_MAGAZINES]; idx++)
                if (region_has_magazine(j->r, idx))
                        judge_magazine(j, idx);
}

static void
judge_slots(struct judge *j)
{
        for (uint32_t idx = 0; idx < region_threads_hwm(j->r); idx++) {
                const struct thread_slot *slot = region_thread(j->r, idx);

                MUST(slot->intent.kind == INTENT_NONE, "thread %u left intent %" PRIu64, idx + 1, slot->intent.kind);
                MUST(slot->candidate == 0, "thread %u left candidate %#" PRIx64, idx + 1, slot->candidate);
                MUST(slot->hand == 0, "thread %u has magazine %u in its hand", idx + 1, slot->hand - 1);
                for (uint32_t p = 0; p < 2 * j->r->layout.n_tags; p++) {
                        uint32_t idx1 = slot->magazines[p];

                        MUST(idx1 == 0 || magazine_owner(j->r->magazine_words[idx1 - 1]) == idx + 1,
                             "place %u of thread %u names magazine %u, whose word is %#" PRIx64, p, idx + 1, idx1 - 1,
                             j->r->magazine_words[idx1 - 1]);
                }
        }
}

static struct tally
judge(struct region *r, const struct live *live)
{
        struct judge j = {.r = r, .hwm = region_chunks_hwm(r)};
        struct tally tally;
        size_t n = quantum_of(j.hwm << GEO_CHUNK_SHIFT) + 1;

        j.place = calloc(n, 1);
        j.class_at = calloc(n, 1);
        ck_assert_ptr_nonnull(j.place);
        ck_assert_ptr_nonnull(j.class_at);
        judge_chunks(&j);
        judge_magazines(&j);
        judge_slots(&j);
        for (size_t i = 0; live && i < live->n; i++)
                judge_move(&j, live->off[i], PLACE_LIVE, SIZE_CLASS_NONE, "the test", i);
        MUST(!live || j.n_allocated == 0, "%" PRIu64 " blocks are lost: neither free, nor cached, nor live",
             j.n_allocated);
        tally = j.tally;
        free(j.place);
        free(j.class_at);
        return tally;
}

struct tally
heap_verify(struct region *r, const struct live *live)
{
        static const struct live none;

        return judge(r, live ? live : &none);
}

struct tally
heap_verify_words(struct region *r)
{
        return judge(r, NULL);
}

/* ------------------------------------------------------------------ small helpers */

void
heap_scramble_hints(struct region *r, bool set)
{
        int byte = set ? 0xff : 0;
        uint64_t hwm = region_chunks_hwm(r);

        for (uint32_t a = 0; a < r->layout.n_arenas; a++) {
                struct arena *arena = region_arena(r, a);

                if (!arena)
                        continue;
                memset(arena->summary, byte, sizeof *arena->summary * HINT_N_KINDS * r->layout.n_summary_words);
                memset(&r->hint_groups[(uint64_t)a * r->layout.n_groups], byte,
                       r->layout.n_groups * sizeof *r->hint_groups);
                if (!set)
                        memset(arena->depot, 0, sizeof arena->depot);
                else
                        for (uint32_t c = 0; c < TAG_CLASSES; c++)
                                for (uint32_t i = 0; i < DEPOT_SLOTS; i++)
                                        arena->depot[c][i] = c * DEPOT_SLOTS + i + 1;
        }
        memset(r->free_chunks, byte, r->layout.n[TABLE_FREE_CHUNKS] * sizeof(uint64_t));
        memset(r->chunk_maps, byte, hwm * sizeof *r->chunk_maps);
        memset(r->pool_hints, byte, r->layout.n[TABLE_POOL_HINTS] * sizeof(uint64_t));
}

uint32_t
class_with_granules(uint32_t n_granules)
{
        for (uint32_t c = 0; c < SIZE_CLASS_N_SMALL; c++)
                if (size_class_table[c].n_granules == n_granules)
                        return c;
        return SIZE_CLASS_NONE;
}
