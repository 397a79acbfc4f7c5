/*
 * judge.c - where each block is, by the words alone.
 *
 * Written against layout/ and the size classes, and shares no code with the library's own check, which is asked too:
 * whatever one of them overlooks, the other has a chance to see.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check.h"
#include "base/size_class.h"
#include "heap/root.h"

enum place { PLACE_NONE, PLACE_ALLOCATED, PLACE_FREE, PLACE_CACHED };

static const char *const place_name[] = {"no block", "allocated", "free", "in a magazine already"};

enum { HEADS_MAX = WORLD_CHUNKS_MAX * 64 };

/* By granule of the head and index of the block; 0 and the head for runs and huge blocks. */
static uint8_t places[HEADS_MAX][SIZE_CLASS_BLOCKS_MAX];
static uint32_t places_used[HEADS_MAX];
static uint8_t has_live[HEADS_MAX]; /* by granule of the head of a run or slab */

static const struct region *r;
static struct verdict *v;
static uint32_t flusher;

/* ------------------------------------------------------------------ chunks */

static uint32_t
run_length(uint64_t word)
{
        uint32_t class_idx = granule_class(word);

        if (class_idx >= SIZE_CLASS_N)
                return 0;
        return size_class_table[class_idx].n_granules;
}

static void
judge_backing(uint64_t granule, uint64_t word)
{
        uint32_t n = granule_backed(word);

        if (n != 0 && !(word & GRANULE_MAY_HAVE))
                report_line("granule %lu has pages and says that it may have none: %#lx", granule, word);
        for (uint32_t i = 0; i < n; i++)
                if (world_backing(region_granule_off(r, granule) + i * GRANULE_BACKED_UNIT) == BACKING_HOLE) {
                        report_line("granule %lu says that %u sixteenths are backed: %u is not", granule, n, i);
                        return;
                }
        for (uint32_t i = 0; !(word & GRANULE_MAY_HAVE) && i < GRANULE_BACKED_ALL; i++)
                if (world_backing(region_granule_off(r, granule) + i * GRANULE_BACKED_UNIT) == BACKING_PAGE) {
                        report_line("granule %lu says that it has no pages: it has: %#lx", granule, word);
                        return;
                }
}

/* The pages of a purged slab's block that is allocated, or cached. */
static void
judge_block_pages(uint64_t head, uint32_t class_idx, uint32_t b)
{
        uint64_t first = region_granule_off(r, head) + b * size_class_bytes(class_idx);

        for (uint64_t off = first & ~UINT64_C(4095); off < first + size_class_bytes(class_idx); off += 4096)
                if (world_backing(off) == BACKING_HOLE) {
                        report_line("block %u of slab %lu has lost the page at %#lx", b, head, off);
                        return;
                }
}

static void
judge_slab(uint64_t head, uint64_t word)
{
        uint32_t class_idx = granule_class(word), n = size_class_slab_blocks(class_idx), n_free = 0;

        places_used[head] = n;
        for (uint32_t b = 0; b < n; b++) {
                bool is_free = *region_slab_word(r, head, b / 64) >> b % 64 & 1;

                n_free += is_free;
                places[head][b] = is_free ? PLACE_FREE : PLACE_ALLOCATED;
                if (!is_free)
                        judge_block_pages(head, class_idx, b);
        }
        for (uint32_t b = n; b < (n + 63) / 64 * 64; b++)
                if (*region_slab_word(r, head, b / 64) >> b % 64 & 1)
                        report_line("slab %lu of class %u has a free block %u of %u", head, class_idx, b, n);
        if (n_free != granule_count(word))
                report_line("slab %lu of class %u says %u free, its bitmap %u", head, class_idx, granule_count(word),
                            n_free);
}

/* A slab or run: its tags, its interior, its pages.  Granules. */
static uint32_t
judge_run(uint64_t head, uint64_t word, uint32_t arena)
{
        uint32_t class_idx = granule_class(word), length = run_length(word);
        bool is_slab = granule_state(word) == GRANULE_SLAB;
        uint64_t bytes;
        uint32_t tag;

        if (length == 0 || is_slab != size_class_is_small(class_idx) || head % 64 + length > 64 ||
            (!is_slab && granule_count(word) != length)) {
                report_line("granule %lu is the head of nothing: %#lx", head, word);
                return 1;
        }
        tag = tag_make(region_arena_node(r, granule_arena(word)), class_idx);
        bytes = is_slab ? 0 /* by block: judge_slab() */
                        : granule_stamp(word) * UINT64_C(64) + size_class_bytes(class_idx);
        for (uint32_t i = 0; i < length; i++) {
                uint64_t w = r->granules[head + i];
                uint64_t start = i * GEO_GRANULE_BYTES, in_use = bytes > start ? bytes - start : 0;

                if (i > 0 && (granule_state(w) != GRANULE_CONT || granule_count(w) != i || granule_owner(w) != 0 ||
                              granule_arena(w) != arena))
                        report_line("granule %lu does not continue run %lu: %#lx", head + i, head, w);
                if (r->tags[head + i] != (is_slab || i == 0 ? tag : TAG_NONE))
                        report_line("granule %lu of run %lu, class %u, has tag %u", head + i, head, class_idx,
                                    r->tags[head + i]);
                in_use = in_use < GEO_GRANULE_BYTES ? in_use : GEO_GRANULE_BYTES;
                if (granule_backed(w) * GRANULE_BACKED_UNIT < in_use)
                        report_line("granule %lu is in use and not backed: %#lx", head + i, w);
                judge_backing(head + i, w);
        }
        if (word & GRANULE_DOOMED)
                report_line("run %lu is doomed and nobody frees it", head);
        if (is_slab)
                judge_slab(head, word);
        else
                places_used[head] = places[head][0] = PLACE_ALLOCATED;
        return length;
}

static void
judge_arena_chunk(uint64_t chunk, uint32_t arena)
{
        uint64_t g = chunk * 64;

        while (g < (chunk + 1) * 64) {
                uint64_t word = r->granules[g];

                if (granule_owner(word) != 0)
                        report_line("granule %lu is owned by %u: %#lx", g, granule_owner(word), word);
                if (granule_arena(word) != arena)
                        report_line("granule %lu is of arena %u in a chunk of %u", g, granule_arena(word), arena);
                if (granule_state(word) == GRANULE_SLAB || granule_state(word) == GRANULE_LARGE) {
                        g += judge_run(g, word, arena);
                        continue;
                }
                if (granule_state(word) != GRANULE_FREE)
                        report_line("granule %lu is nothing when nobody is at work: %#lx", g, word);
                if (r->tags[g] != TAG_NONE)
                        report_line("free granule %lu has tag %u", g, r->tags[g]);
                judge_backing(g, word);
                g++;
        }
}

static void
judge_unused(uint64_t chunk)
{
        for (uint64_t g = chunk * 64; g < (chunk + 1) * 64; g++) {
                uint64_t word = r->granules[g];

                if (granule_state(word) != GRANULE_NONE || granule_owner(word) != 0 || r->tags[g] != TAG_NONE)
                        report_line("granule %lu of a chunk without arena: %#lx, tag %u", g, word, r->tags[g]);
                judge_backing(g, word);
        }
}

static uint64_t
judge_huge(uint64_t chunk, uint64_t word, uint64_t hwm)
{
        uint64_t n = chunk_count(word), bytes = r->huge_bytes[chunk];

        if (n == 0 || chunk + n > hwm || bytes > n * GEO_CHUNK_BYTES ||
            bytes + GEO_CHUNK_BYTES <= n * GEO_CHUNK_BYTES || word & CHUNK_DOOMED) {
                report_line("huge block %lu of %lu chunks, %lu bytes: %#lx", chunk, n, bytes, word);
                return 1;
        }
        for (uint64_t i = 1; i < n; i++)
                if (chunk_state(r->chunk_words[chunk + i]) != CHUNK_TAIL ||
                    chunk_count(r->chunk_words[chunk + i]) != i || chunk_owner(r->chunk_words[chunk + i]) != 0)
                        report_line("chunk %lu is no tail of %lu: %#lx", chunk + i, chunk, r->chunk_words[chunk + i]);
        for (uint64_t i = 0; i < n; i++)
                judge_unused(chunk + i);
        for (uint64_t off = 0; off < bytes; off += GRANULE_BACKED_UNIT)
                if (granule_backed(r->granules[chunk * 64 + off / GEO_GRANULE_BYTES]) <=
                    off % GEO_GRANULE_BYTES / GRANULE_BACKED_UNIT) {
                        report_line("huge block %lu is not backed at %#lx", chunk, off);
                        break;
                }
        places_used[chunk * 64] = places[chunk * 64][0] = PLACE_ALLOCATED;
        return n;
}

/* A bitmap that is said to have pages has them all. */
static void
judge_rests(uint64_t chunk)
{
        uint64_t bytes = r->layout.stride[TABLE_SLAB_RESTS];

        for (uint64_t bits = r->rest_maps[chunk]; bits != 0; bits &= bits - 1) {
                uint64_t off = r->layout.off[TABLE_SLAB_RESTS] + (chunk * 64 + bits_ctz(bits)) * bytes;

                if (world_backing(off) == BACKING_HOLE || world_backing(off + bytes - 1) == BACKING_HOLE)
                        report_line("granule %lu has no pages for its bitmap", chunk * 64 + bits_ctz(bits));
        }
}

static void
judge_table(enum layout_table table, uint64_t n)
{
        uint64_t off = r->layout.off[table], end = off + n * r->layout.stride[table];

        for (; off < end; off += 4096)
                if (world_backing(off) == BACKING_HOLE) {
                        report_line("table %d has no page at %#lx, below its mark", table, off);
                        return;
                }
}

/* What lies below the marks has pages. */
static void
judge_marks(uint64_t hwm)
{
        for (enum layout_table table = TABLE_CHUNK_WORDS; table <= TABLE_TAGS; table++)
                if (table != TABLE_SLAB_RESTS)
                        judge_table(table, hwm * (r->layout.n[table] / r->layout.n_chunks));
        judge_table(TABLE_CLIENTS, region_clients_hwm(r));
        judge_table(TABLE_THREADS, region_threads_hwm(r));
        judge_table(TABLE_ROOTS, region_roots_hwm(r));
        judge_table(TABLE_MAGAZINE_WORDS, region_magazines_hwm(r, 0));
        judge_table(TABLE_MAGAZINES, region_magazines_hwm(r, 0));
        for (uint64_t chunk = hwm; chunk < r->layout.n_chunks; chunk++)
                if (r->chunk_words[chunk] != 0)
                        report_line("chunk %lu beyond the mark is %#lx", chunk, r->chunk_words[chunk]);
}

static void
judge_chunks(uint64_t hwm)
{
        judge_marks(hwm);
        for (uint64_t chunk = 0; chunk < hwm; chunk++)
                judge_rests(chunk);
        for (uint64_t chunk = 0; chunk < hwm;) {
                uint64_t word = r->chunk_words[chunk];

                if (chunk_owner(word) != 0)
                        report_line("chunk %lu is owned by %u: %#lx", chunk, chunk_owner(word), word);
                if (!world_is_placed(chunk, chunk_node1(word)))
                        report_line("chunk %lu says node %u and has pages, or a policy, of another one: %#lx", chunk,
                                    chunk_node1(word) - 1, word);
                if (chunk_state(word) == CHUNK_HUGE) {
                        chunk += judge_huge(chunk, word, hwm);
                        continue;
                }
                if (chunk_state(word) == CHUNK_ARENA) {
                        judge_arena_chunk(chunk, chunk_arena(word));
                } else {
                        if (chunk_state(word) != CHUNK_FREE)
                                report_line("chunk %lu is nothing when nobody is at work: %#lx", chunk, word);
                        judge_unused(chunk);
                }
                chunk++;
        }
}

/* ------------------------------------------------------------------ blocks */

/* The place of the block that starts at `off`; NULL: none does. */
static uint8_t *
place_of(uint64_t off, uint64_t hwm, uint64_t *ret_head, uint64_t *ret_bytes)
{
        uint64_t g = off >> GEO_GRANULE_SHIFT, head = g, word;
        uint32_t class_idx;

        if (g >= hwm * 64)
                return NULL;
        if (granule_state(r->granules[g]) == GRANULE_CONT && granule_count(r->granules[g]) <= g)
                head = g - granule_count(r->granules[g]);
        word = r->granules[head];
        class_idx = granule_class(word);
        *ret_head = head;
        if (granule_state(word) == GRANULE_SLAB && size_class_is_small(class_idx)) {
                uint64_t in = off - (head << GEO_GRANULE_SHIFT);

                *ret_bytes = size_class_bytes(class_idx);
                return in % *ret_bytes == 0 && in / *ret_bytes < size_class_slab_blocks(class_idx)
                               ? &places[head][in / *ret_bytes]
                               : NULL;
        }
        if (granule_state(word) == GRANULE_LARGE && size_class_is_large(class_idx)) {
                *ret_bytes = size_class_bytes(class_idx);
                return off == (head << GEO_GRANULE_SHIFT) + granule_stamp(word) * UINT64_C(64) ? &places[head][0]
                                                                                               : NULL;
        }
        if (granule_state(word) == GRANULE_NONE && off % GEO_CHUNK_BYTES == 0 &&
            chunk_state(r->chunk_words[head / 64]) == CHUNK_HUGE) {
                *ret_bytes = r->huge_bytes[head / 64];
                return &places[head][0];
        }
        return NULL;
}

static void
judge_entries(uint64_t idx, uint64_t hwm, bool is_reclaimable)
{
        const struct magazine *m = &r->magazines[idx];
        uint32_t tag = magazine_tag(r->magazine_words[idx]);
        uint64_t head = 0, bytes = 0;

        for (uint64_t i = 0; i < m->n; i++) {
                uint64_t off = region_entry_off(r, m->slot[i]);
                uint8_t *place = place_of(off, hwm, &head, &bytes);

                if (!place || *place != PLACE_ALLOCATED || bytes != size_class_bytes(tag_class(tag))) {
                        report_line("magazine %lu, class %u: entry %lu is %#lx, which is %s", idx, tag_class(tag), i,
                                    off, place ? place_name[*place] : "no block");
                        continue;
                }
                *place = PLACE_CACHED;
                has_live[head] |= !is_reclaimable;
        }
}

static uint32_t
places_naming(uint32_t thread_no, uint64_t idx)
{
        const struct thread_slot *slot = region_thread(r, thread_no - 1);
        uint32_t n = 0;

        for (uint32_t p = 0; slot && p < 2 * r->layout.n_tags; p++)
                n += slot->magazines[p] == idx + 1;
        return n;
}

static void
judge_magazine(uint64_t idx, uint64_t hwm)
{
        uint64_t word = r->magazine_words[idx];
        const struct magazine *m = &r->magazines[idx];
        uint32_t tag = magazine_tag(word), owner = magazine_owner(word);
        const struct thread_slot *slot = owner ? region_thread(r, owner - 1) : NULL;

        if (magazine_state(word) == MAGAZINE_POOL) {
                if (word != 0 || m->n != 0)
                        report_line("pooled magazine %lu: %#lx, n %lu", idx, word, m->n);
                return;
        }
        if (tag == TAG_NONE || tag >= r->layout.n_tags || tag_class(tag) >= SIZE_CLASS_N || m->n > m->cap ||
            m->cap > MAGAZINE_CAP_MAX || magazine_state(word) >= MAGAZINE_N_STATES) {
                report_line("magazine %lu: %#lx, n %lu, cap %lu", idx, word, m->n, m->cap);
                return;
        }
        if (magazine_state(word) == MAGAZINE_DEPOT && (owner != 0 || m->n == 0))
                report_line("magazine %lu in a depot: %#lx, n %lu", idx, word, m->n);
        if (magazine_state(word) == MAGAZINE_TCACHE && (!slot || slot->state != 1 || places_naming(owner, idx) != 1))
                report_line("magazine %lu is owned by %u, who %s", idx, owner,
                            slot && slot->state == 1 ? "does not name it once" : "is not there");
        judge_entries(idx, hwm, owner == 0 || owner == flusher);
}

/* ------------------------------------------------------------------ slots, roots */

/* A slot that a living client keeps in reserve, whoever it was lent to. */
static bool
is_reserve_of_the_living(const struct thread_slot *slot, uint32_t binding)
{
        for (int no = 0; no < N_ACTORS; no++)
                if (!actors[no].is_dead && actors[no].heap->process.client.idx == slot->client_idx &&
                    actors[no].heap->process.client.incarnation == slot->client_incarnation)
                        return binding == BINDING_RESERVE;
        return false;
}

static void
judge_slot(uint32_t idx)
{
        const struct thread_slot *slot = region_thread(r, idx);

        if (slot->intent.kind != INTENT_NONE)
                report_line("thread %u left intent %lu", idx + 1, slot->intent.kind);
        if (slot->candidate != 0)
                report_line("thread %u left candidate %#lx", idx + 1, slot->candidate);
        if (slot->hand != 0)
                report_line("thread %u has magazine %u in its hand", idx + 1, slot->hand - 1);
        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                if (slot->pending[i] != 0)
                        report_line("thread %u left root object %#lx", idx + 1, slot->pending[i]);
        for (uint32_t p = 0; p < 2 * r->layout.n_tags; p++) {
                uint32_t idx1 = slot->magazines[p];

                if (idx1 != 0 &&
                    (!region_has_magazine(r, idx1 - 1) || magazine_owner(r->magazine_words[idx1 - 1]) != idx + 1))
                        report_line("place %u of thread %u names magazine %u, which is not its own", p, idx + 1,
                                    idx1 - 1);
        }
        for (int no = 0; no < N_ACTORS; no++) {
                bool is_his = slot->os_pid == actors[no].os_pid;

                if (is_his && actors[no].is_dead &&
                    (slot->state != 0 || (r->bindings[idx] != 0 && !is_reserve_of_the_living(slot, r->bindings[idx]))))
                        report_line("slot %u of dead actor %d is not empty: state %lu, binding %#x", idx + 1, no,
                                    slot->state, r->bindings[idx]);
        }
}

/* ------------------------------------------------------------------ the verdict */

static void
collect(uint64_t hwm)
{
        uint64_t n_granules = 0;

        for (uint64_t g = 0; g < hwm * 64; g++) {
                uint64_t word = r->granules[g];
                uint32_t n = places_used[g];
                uint64_t bytes = size_class_bytes(granule_class(word) % SIZE_CLASS_N), start = 0;

                if (granule_state(word) == GRANULE_LARGE)
                        start = granule_stamp(word) * UINT64_C(64);
                if (granule_state(word) == GRANULE_NONE)
                        bytes = r->huge_bytes[g / 64];
                for (uint32_t b = 0; b < n; b++) {
                        if (places[g][b] != PLACE_ALLOCATED)
                                continue;
                        has_live[g] = 1;
                        v->live[v->n_live++] = (struct block){(g << GEO_GRANULE_SHIFT) + b * bytes + start, bytes};
                }
                if (has_live[g] && granule_state(word) == GRANULE_NONE)
                        n_granules += chunk_count(r->chunk_words[g / 64]) * 64;
                else if (has_live[g])
                        n_granules += run_length(word);
        }
        v->n_reclaimable = v->chunks_capacity * 64 - n_granules;
}

static void
ask_library(void)
{
        static char text[8192];
        FILE *f;
        int n;

        memset(text, 0, sizeof text);
        f = fmemopen(text, sizeof text - 1, "w");
        n = check_region(r, CHECK_QUIESCENT, f, NULL);
        fclose(f);
        if (n != 0)
                report_line("check_region: %d\n%s", n, text);
}

void
judge(const struct region *region, uint32_t flusher_no, struct verdict *ret_verdict)
{
        uint64_t hwm = region_chunks_hwm(region);

        r = region;
        v = ret_verdict;
        flusher = flusher_no;
        memset(v, 0, offsetof(struct verdict, live));
        memset(has_live, 0, sizeof has_live);
        for (uint64_t g = 0; g < HEADS_MAX; g++) {
                if (places_used[g] != 0) /* the pages of the others need not exist */
                        memset(places[g], 0, places_used[g]);
                places_used[g] = 0;
        }
        v->chunks_capacity = region_capacity_chunks(r);
        judge_chunks(hwm);
        for (uint64_t idx = 0; idx < region_magazines_hwm(r, 0); idx++)
                judge_magazine(idx, hwm);
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                judge_slot(idx);
        collect(hwm);
        ask_library();
}

/* ------------------------------------------------------------------ what should be live */

struct expected {
        struct block live[N_ACTORS * BLOCKS_MAX / 2];
        uint32_t n;
};

static struct expected expected;

static int
by_off(const void *a, const void *b)
{
        const struct block *x = a, *y = b;

        return x->off < y->off ? -1 : x->off > y->off;
}

static int
add_root(const char *name, uint64_t block_off, uint64_t size, void *arg)
{
        (void)name;
        (void)arg;
        (void)size;
        expected.live[expected.n++] = (struct block){block_off, 0};
        return 0;
}

static const struct block *
find(const struct block *blocks, uint32_t n, uint64_t off)
{
        struct block key = {.off = off};

        return bsearch(&key, blocks, n, sizeof *blocks, by_off);
}

/* A block that nobody knows: whether an actor may have lost it, each at most one. */
static bool
is_explained(const struct block *b, bool is_used[N_ACTORS])
{
        for (int no = 0; no < N_ACTORS; no++) {
                const struct op *op = &actors[no].op;

                if (op->freed == b->off + 1)
                        return !op->dest || *op->dest == r->layout.chunks_off + b->off;
                if (op->n_new == 0 || is_used[no] || b->bytes < op->new_bytes ||
                    (op->new_bytes > 0 && op->new_bytes <= GEO_LARGE_MAX &&
                     b->bytes != size_class_bytes(size_class_of(op->new_bytes))))
                        continue;
                if (op->dest && *op->dest != r->layout.chunks_off + b->off)
                        continue;
                is_used[no] = true;
                return true;
        }
        return false;
}

void
judge_zeroes(const struct actor *a)
{
        const char *p = a->op.dest ? world_region->base + *a->op.dest : NULL;

        if (p == NULL || *a->op.dest == 0)
                return;
        for (uint64_t i = 0; i < a->op.n_zeroes; i++)
                if (p[i] != 0) {
                        report_line("the dest of actor %d says %#lx, which is not zero at %lu", a->no, *a->op.dest, i);
                        return;
                }
}

/* What a dest says must be there. */
static void
judge_dest(const struct actor *a, const struct verdict *verdict)
{
        uint64_t off = a->op.dest && *a->op.dest ? *a->op.dest - r->layout.chunks_off : 0;

        if (off != 0 && !find(verdict->live, verdict->n_live, off))
                report_line("the dest of actor %d says %#lx, which is not allocated", a->no, off);
        judge_zeroes(a);
}

void
judge_live(const struct verdict *verdict)
{
        bool is_used[N_ACTORS] = {false};

        expected.n = 0;
        for (int no = 0; no < N_ACTORS; no++) {
                memcpy(&expected.live[expected.n], actors[no].live, actors[no].n_live * sizeof actors[no].live[0]);
                expected.n += actors[no].n_live;
        }
        root_iterate((struct region *)(uintptr_t)r, add_root, NULL);
        qsort(expected.live, expected.n, sizeof expected.live[0], by_off);
        for (uint32_t i = 0; i < expected.n; i++) {
                const struct block *b = find(verdict->live, verdict->n_live, expected.live[i].off);

                if (i > 0 && expected.live[i].off == expected.live[i - 1].off)
                        report_line("two have block %#lx", expected.live[i].off);
                if (!b)
                        report_line("block %#lx of %lu bytes is live, but not allocated", expected.live[i].off,
                                    expected.live[i].bytes);
                else if (expected.live[i].bytes != 0 && b->bytes != expected.live[i].bytes)
                        report_line("block %#lx of %lu bytes has %lu", b->off, expected.live[i].bytes, b->bytes);
        }
        for (uint32_t i = 0; i < verdict->n_live; i++)
                if (!find(expected.live, expected.n, verdict->live[i].off) && !is_explained(&verdict->live[i], is_used))
                        report_line("block %#lx of %lu bytes is lost", verdict->live[i].off, verdict->live[i].bytes);
        for (int no = 0; no < N_ACTORS; no++) {
                judge_dest(&actors[no], verdict);
                actor_judge_stamps(&actors[no]);
        }
}
