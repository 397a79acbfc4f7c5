#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "stress/storm/storm.h"
#include "support/heap_dir.h"

enum { FILL_ROUNDS = 2, FILL_SIZES_SHORT = 5 };

bool
is_in_order(shheap *h, unsigned flags)
{
        char *text = NULL;
        size_t length = 0;
        FILE *report = open_memstream(&text, &length);
        int n = report ? shheap_check(h, flags, report) : -ENOMEM;

        if (report)
                fclose(report);
        if (n != 0)
                fprintf(stderr, "storm: check: %d\n%s", n, text ? text : "");
        free(text);
        return n == 0;
}

/* ------------------------------------------------------------------ the ledger */

static void *
grown(void *array, size_t n, size_t *room, size_t bytes)
{
        if (n < *room)
                return array;
        *room = *room ? 2 * *room : 64;
        array = realloc(array, *room * bytes);
        if (!array)
                abort();
        return array;
}

void
ledger_maybe_live(struct ledger *ledger, shref ref)
{
        ledger->maybe_live =
                grown(ledger->maybe_live, ledger->n_maybe_live, &ledger->room_maybe_live, sizeof *ledger->maybe_live);
        ledger->maybe_live[ledger->n_maybe_live++] = ref;
}

void
ledger_maybe_lost(struct ledger *ledger, uint64_t usable)
{
        ledger->maybe_lost =
                grown(ledger->maybe_lost, ledger->n_maybe_lost, &ledger->room_maybe_lost, sizeof *ledger->maybe_lost);
        ledger->maybe_lost[ledger->n_maybe_lost++] = usable;
}

void
ledger_fini(struct ledger *ledger)
{
        free(ledger->maybe_live);
        free(ledger->maybe_lost);
}

/* Each entry explains one block. */
static bool
ledger_explains(struct ledger *ledger, shref ref, uint64_t usable)
{
        for (size_t i = 0; i < ledger->n_maybe_live; i++)
                if (ledger->maybe_live[i] == ref) {
                        ledger->maybe_live[i] = ledger->maybe_live[--ledger->n_maybe_live];
                        return true;
                }
        for (size_t i = 0; i < ledger->n_maybe_lost; i++)
                if (ledger->maybe_lost[i] == usable) {
                        ledger->maybe_lost[i] = ledger->maybe_lost[--ledger->n_maybe_lost];
                        return true;
                }
        return false;
}

/* ------------------------------------------------------------------ what is live */

struct live_block {
        shref ref;
        uint64_t usable;
        bool is_known;
};

struct live {
        struct live_block *blocks; /* in the order of addresses */
        size_t n, room;
};

static int
add_live(const struct shheap_block *block, void *arg)
{
        struct live *live = arg;

        live->blocks = grown(live->blocks, live->n, &live->room, sizeof *live->blocks);
        live->blocks[live->n++] = (struct live_block){.ref = block->ref, .usable = block->usable};
        return 0;
}

static int
compare(const void *a, const void *b)
{
        const struct live_block *x = a, *y = b;

        return (x->ref > y->ref) - (x->ref < y->ref);
}

static uint64_t n_wrong;

#define WRONG(...)                                                                                                     \
        do {                                                                                                           \
                n_wrong++;                                                                                             \
                fprintf(stderr, "storm: " __VA_ARGS__);                                                                \
                fputc('\n', stderr);                                                                                   \
        } while (0)

/* A block that somebody knows has to be live, once, and large enough. */
static void
claim(struct live *live, shref ref, uint64_t size, const char *who, size_t number)
{
        struct live_block wanted = {.ref = ref};
        struct live_block *found = live->n ? bsearch(&wanted, live->blocks, live->n, sizeof wanted, compare) : NULL;

        if (!found)
                WRONG("%s %zu has %#" PRIx64 ", which is not allocated", who, number, ref);
        else if (found->is_known)
                WRONG("%s %zu has %#" PRIx64 ", which somebody else has as well", who, number, ref);
        else if (found->usable < size)
                WRONG("%s %zu has %#" PRIx64 ", of %" PRIu64 " bytes instead of %" PRIu64, who, number, ref,
                      found->usable, size);
        if (found)
                found->is_known = true;
}

static void
judge_boxes(shheap *h, struct stage *stage, struct live *live)
{
        for (size_t i = 0; i < stage->n_boxes; i++) {
                const struct box *box = &stage->boxes[i];
                const char *fault;

                if (box->word == BOX_EMPTY && box->block == SHREF_NULL && !box->is_full)
                        continue;
                if (box->word != BOX_FULL || !box->is_full || box->block == SHREF_NULL) {
                        WRONG("box %zu is neither full nor empty: word %" PRIu64 ", block %#" PRIx64, i, box->word,
                              box->block);
                        continue;
                }
                claim(live, box->block, box->size, "box", i);
                fault = stamp_fault(h, shheap_ptr(h, box->block), box->size, box->seed);
                if (fault)
                        WRONG("box %zu: block %#" PRIx64 " of %" PRIu64 " bytes has %s", i, box->block, box->size,
                              fault);
        }
        for (size_t i = 0; i < ACTORS_MAX; i++) {
                if (stage->actors[i].note.kind != NOTE_NONE)
                        WRONG("actor %zu ended in the middle of something", i);
                for (size_t k = 0; k < LIST_MAX; k++)
                        if (stage->actors[i].list[k] != SHREF_NULL)
                                WRONG("actor %zu ended with a block of its own", i);
        }
}

/* What nobody knows has to be what a death may have lost or kept; it is freed. */
static void
judge_the_rest(shheap *h, struct live *live, struct ledger *ledger)
{
        for (size_t i = 0; i < live->n; i++) {
                const struct live_block *block = &live->blocks[i];

                if (block->is_known)
                        continue;
                if (!ledger_explains(ledger, block->ref, block->usable))
                        WRONG("block %#" PRIx64 " of %" PRIu64 " bytes is allocated, and nobody knows of it",
                              block->ref, block->usable);
                else
                        shheap_free(h, shheap_ptr(h, block->ref));
        }
}

static void
free_all(shheap *h, struct stage *stage)
{
        for (size_t i = 0; i < stage->n_boxes; i++) {
                struct box *box = &stage->boxes[i];

                if (i % 2 == 0 && shheap_free_from(h, &box->block) != 0)
                        WRONG("box %zu could not be freed: %s", i, shheap_errormsg());
                else if (i % 2 == 1)
                        shheap_free(h, shheap_ptr(h, box->block));
        }
}

/* ------------------------------------------------------------------ capacity */

static uint64_t
fill_and_free(shheap *h, uint64_t size)
{
        void **last = NULL, **p;
        uint64_t n = 0;

        for (; (p = shheap_malloc(h, size)) != NULL; n++) {
                *p = last;
                last = p;
        }
        if (errno != ENOMEM)
                WRONG("a full heap says errno %d", errno);
        for (; last; last = p) {
                p = *last;
                shheap_free(h, last);
        }
        return n;
}

struct capacity
judge_capacity(shheap *h)
{
        static const uint64_t sizes[FILL_SIZES] = {208, 8000, 65536, 3 * MIB, 5 * MIB, 9000, 150000, 2 * MIB};
        struct capacity c;

        for (int i = 0; i < FILL_SIZES; i++) {
                /* Blocks of one granule or chunk fit everywhere.  Those of two chunks come when the ones before have
                 * made every chunk a free one.  Runs of several granules, slabs of 9000 bytes among them, go where
                 * pages are, if there are any, and leave gaps. */
                if (i >= FILL_SIZES_SHORT && shheap_purge(h, -1) != 0)
                        WRONG("purge: %s", shheap_errormsg());
                c.n[i] = fill_and_free(h, sizes[i]);
        }
        return c;
}

bool
judge(shheap *h, struct stage *stage, struct ledger *ledger, const struct capacity *expected)
{
        struct live live = {0};
        uint64_t stage_bytes = shheap_usable_size(h, stage);

        n_wrong = 0;
        if (!is_in_order(h, SHHEAP_CHECK_QUIESCENT))
                WRONG("the heap is not in order");
        if (shheap_walk(h, SHHEAP_WALK_LIVE, add_live, &live) != 0)
                WRONG("walk: %s", shheap_errormsg());
        claim(&live, shheap_ref(h, stage), sizeof *stage, "the stage", 0);
        judge_boxes(h, stage, &live);
        judge_the_rest(h, &live, ledger);
        free(live.blocks);
        free_all(h, stage);
        if (heap_ctl(h, "stats.allocated") != stage_bytes)
                WRONG("%" PRIu64 " bytes are allocated after all was freed",
                      heap_ctl(h, "stats.allocated") - stage_bytes);
        for (int round = 0; n_wrong == 0 && round < FILL_ROUNDS; round++) {
                struct capacity got = judge_capacity(h);

                for (int i = 0; i < FILL_SIZES; i++)
                        if (got.n[i] != expected->n[i])
                                WRONG("round %d, size %d: %" PRIu64 " blocks instead of %" PRIu64, round, i, got.n[i],
                                      expected->n[i]);
        }
        if (shheap_purge(h, -1) != 0 || !is_in_order(h, SHHEAP_CHECK_QUIESCENT) ||
            heap_ctl(h, "stats.allocated") != stage_bytes || heap_ctl(h, "stats.cached") != 0)
                WRONG("the heap is not empty after a purge: %" PRIu64 " bytes allocated, %" PRIu64 " cached",
                      heap_ctl(h, "stats.allocated"), heap_ctl(h, "stats.cached"));
        return n_wrong == 0;
}
