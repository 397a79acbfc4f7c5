/*
 * judge.c - the verdict on a world in which nobody is at work: what the tests' judge of words says (support/judge.h),
 * what the library's own check says, and what this world knows besides: which pages there are, who is dead, what the
 * actors have.
 */
#include "crash.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "audit/check.h"
#include "base/bits.h"
#include "base/size_class.h"
#include "clients/slot_pages.h"
#include "heap/root.h"
#include "support/judge.h"

static const struct region *r;
static struct verdict *v;
static struct judge words;
static uint8_t has_live[WORLD_CHUNKS_MAX * GEO_GRANULES_PER_CHUNK]; /* by granule of the head of a run or slab */

static enum judge_pages
pages_at(uint64_t region_off)
{
        switch (world_backing(region_off)) {
        case BACKING_HOLE:
                return JUDGE_HOLE;
        case BACKING_PAGE:
                return JUDGE_PAGE;
        default:
                return JUDGE_PAGES_UNKNOWN;
        }
}

/* ------------------------------------------------------------------ what this world knows of pages */

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

/* All but the bare ones have theirs. */
static void
judge_magazine_pages(void)
{
        uint64_t stride = r->layout.stride[TABLE_MAGAZINES];

        for (uint64_t idx = 0; idx < region_magazines_hwm(r, 0); idx++) {
                uint64_t off = r->layout.off[TABLE_MAGAZINES] + idx * stride, first = off & ~UINT64_C(4095);

                for (uint64_t page = first; page < off + stride && !magazine_is_bare(r->magazine_words[idx]);
                     page += 4096)
                        if (world_backing(page) == BACKING_HOLE)
                                report_line("magazine %lu has no page at %#lx", idx, page);
        }
}

uint64_t judge_counted;

static void
judge_slot_pages(void)
{
        uint64_t stride = r->layout.stride[TABLE_THREADS];

        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                for (uint64_t page = 0; page < stride && r->gates[idx].is_bare == 0; page += 4096)
                        if (world_backing(r->layout.off[TABLE_THREADS] + idx * stride + page) == BACKING_HOLE)
                                report_line("slot %u has no page, and its gate does not say so", idx + 1);
        if (folding_owner(r->header->folding) != THREAD_NONE)
                report_line("somebody still folds: %#lx", r->header->folding);
        if (SLOT_TOTAL(r, room[0]) != judge_counted)
                report_line("%lu of %lu are counted", SLOT_TOTAL(r, room[0]), judge_counted);
}

/* What lies below the marks has pages. */
static void
judge_marks(uint64_t hwm)
{
        for (enum layout_table table = TABLE_CHUNK_WORDS; table <= TABLE_TAGS; table++)
                if (table != TABLE_SLAB_RESTS)
                        judge_table(table, hwm * (r->layout.n[table] / r->layout.n_chunks));
        judge_table(TABLE_CLIENTS, region_clients_hwm(r));
        judge_table(TABLE_GATES, region_threads_hwm(r));
        judge_slot_pages();
        judge_table(TABLE_ROOTS, region_roots_hwm(r));
        judge_table(TABLE_MAGAZINE_WORDS, region_magazines_hwm(r, 0));
        judge_magazine_pages();
        for (uint64_t chunk = hwm; chunk < r->layout.n_chunks; chunk++)
                if (r->chunk_words[chunk] != 0)
                        report_line("chunk %lu beyond the mark is %#lx", chunk, r->chunk_words[chunk]);
}

/* Nobody is resizing it, so what it says to be usable ends in its last chunk. */
static void
judge_huge_size(uint64_t chunk, uint64_t word)
{
        uint64_t bytes = r->huge_bytes[chunk], most = (uint64_t)chunk_count(word) * GEO_CHUNK_BYTES;

        if (bytes > most || bytes + GEO_CHUNK_BYTES <= most)
                report_line("huge block %lu of %u chunks, %lu bytes: %#lx", chunk, chunk_count(word), bytes, word);
}

static void
judge_chunks(uint64_t hwm)
{
        judge_marks(hwm);
        for (uint64_t chunk = 0; chunk < hwm; chunk++) {
                uint64_t word = r->chunk_words[chunk];

                judge_rests(chunk);
                if (!world_is_placed(chunk, chunk_node1(word)))
                        report_line("chunk %lu says node %u and has pages, or a policy, of another one: %#lx", chunk,
                                    chunk_node1(word) - 1, word);
                if (chunk_state(word) == CHUNK_HUGE)
                        judge_huge_size(chunk, word);
        }
}

/* ------------------------------------------------------------------ slots, roots */

/* A slot that a living client keeps in reserve, whoever it was lent to. */
static bool
is_reserve_of_the_living(const struct slot_gate *gate, uint32_t binding)
{
        for (int no = 0; no < N_ACTORS; no++)
                if (!actors[no].is_dead && actors[no].heap->client.idx == gate->client_idx &&
                    actors[no].heap->client.incarnation == gate->client_incarnation)
                        return binding == BINDING_RESERVE;
        return false;
}

static void
judge_slot(uint32_t idx)
{
        const struct slot_gate *gate = region_gate(r, idx);

        for (int i = 0; i < ROOTS_PENDING_MAX; i++)
                if (gate->pending[i] != 0)
                        report_line("thread %u left root object %#lx", idx + 1, gate->pending[i]);
        for (int no = 0; no < N_ACTORS; no++) {
                bool is_his = gate->os_pid == actors[no].os_pid;

                if (is_his && actors[no].is_dead &&
                    (gate->state != 0 || (r->bindings[idx] != 0 && !is_reserve_of_the_living(gate, r->bindings[idx]))))
                        report_line("slot %u of dead actor %d is not empty: state %lu, binding %#x", idx + 1, no,
                                    gate->state, r->bindings[idx]);
        }
}

/* ------------------------------------------------------------------ the verdict */

static void
collect_block(const struct judge_block *block, void *arg)
{
        (void)arg;
        has_live[block->head] = 1;
        v->live[v->n_live++] = (struct block){block->off, block->bytes};
}

/* What others have cached holds its slab or run, too. */
static void
collect_cached(uint64_t idx, uint32_t flusher)
{
        uint32_t owner = magazine_owner(r->magazine_words[idx]);
        const struct magazine *m = &r->magazines[idx];
        struct judge_block block;

        if (owner == THREAD_NONE || owner == flusher)
                return;
        for (uint64_t i = 0; i < m->n && i < MAGAZINE_CAP_MAX; i++)
                if (judge_find(&words, region_entry_off(r, m->slot[i]), &block))
                        has_live[block.head] = 1;
}

static void
collect(uint64_t hwm, uint32_t flusher)
{
        uint64_t n_granules = 0;

        memset(has_live, 0, sizeof has_live);
        judge_each_allocated(&words, collect_block, NULL);
        for (uint64_t idx = 0; idx < region_magazines_hwm(r, 0); idx++)
                collect_cached(idx, flusher);
        for (uint64_t g = 0; g < hwm * GEO_GRANULES_PER_CHUNK; g++) {
                if (!has_live[g])
                        continue;
                n_granules += granule_state(r->granules[g]) == GRANULE_NONE
                                      ? chunk_count(r->chunk_words[g / GEO_GRANULES_PER_CHUNK]) *
                                                (uint64_t)GEO_GRANULES_PER_CHUNK
                                      : judge_run_length(r->granules[g]);
        }
        v->n_reclaimable = v->chunks_capacity * GEO_GRANULES_PER_CHUNK - n_granules;
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
        memset(v, 0, offsetof(struct verdict, live));
        v->chunks_capacity = region_capacity_chunks(r);
        words = (struct judge){.r = r, .fault = report_line, .pages = pages_at};
        judge_region(&words);
        judge_chunks(hwm);
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                judge_slot(idx);
        collect(hwm, flusher_no);
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
