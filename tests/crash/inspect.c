/*
 * inspect.c - what has to hold once everybody is at rest, and that all memory can still be used.
 *
 * Runs in forks made for it: nothing here has to be undone.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

#include "audit/check.h"
#include "base/size_class.h"
#include "clients/slot_pages.h"
#include "heap/free.h"
#include "heap/root.h"
#include "support/ask.h"

static struct verdict verdict;

/* A block of each class and of one and two chunks, and back.  What is tight may be refused. */
static void
exercise(struct actor *by)
{
        void *kept[SIZE_CLASS_N] = {NULL};
        bool may_fail = opt.script && (opt.script->flags & SCRIPT_TIGHT);

        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++) {
                void *p = a_malloc(by, size_class_bytes(class_idx)), *q;

                if (!p && !may_fail)
                        report_line("no memory for a block of %lu bytes", size_class_bytes(class_idx));
                if (!size_class_is_small(class_idx)) {
                        a_free(by, p);
                        continue;
                }
                q = a_malloc(by, size_class_bytes(class_idx));
                a_free(by, p);
                kept[class_idx] = q;
        }
        for (uint32_t class_idx = 0; class_idx < SIZE_CLASS_N; class_idx++)
                a_free(by, kept[class_idx]);
        a_free(by, a_malloc(by, GEO_CHUNK_BYTES - 5000));
}

/* Everything that no block lies in can be had, granule by granule, and no more. */
static void
exhaust(struct actor *by, uint64_t n_expected)
{
        static uint64_t got[WORLD_CHUNKS_MAX * 64];
        struct tcache *t = tcache_find(by->heap);
        struct call rq = {.size = GEO_GRANULE_BYTES, .align = 1, .arena = t->thread.arena};
        uint64_t n = 0;

        ask_classify(&rq);
        while (n < sizeof got / sizeof got[0] && ask_block(&t->thread, &rq, &got[n]) == 0)
                n++;
        if (n != n_expected)
                report_line("%lu granules are without a live block, %lu can be had", n_expected, n);
        while (n > 0)
                free_block(&t->thread, got[--n], 0);
}

/* A death is no misuse: nothing has to be dropped from a cache, which would hide what was not settled. */
static void
look(struct actor *by)
{
        uint64_t n_dropped = SLOT_TOTAL(world_region, n_dropped);

        judge(world_region, (uint32_t)(tcache_find(by->heap)->thread.no), &verdict);
        judge_live(&verdict);
        if (n_dropped != 0 && !is_misused())
                report_line("%lu entries were dropped as if they had been freed wrongly", n_dropped);
}

/* Whoever is stopped for good dies; root objects that wait because their slab was held are freed. */
static void
settle_down(struct actor *by)
{
        for (int no = 0; no < N_ACTORS; no++)
                if (actors[no].is_stopped)
                        actor_kill(&actors[no]);
        actor_switch(by);
        actor_reap();
        for (int no = 0; no < N_ACTORS; no++)
                if (actors[no].is_attached && !actors[no].is_dead) {
                        struct thread *t;

                        actor_switch(&actors[no]);
                        t = thread_of(&actors[no]);
                        if (t) /* else another process's */
                                root_tidy(t);
                }
        actor_switch(by);
}

void
inspect_rest(struct actor *by, bool is_thorough)
{
        settle_down(by);
        look(by);
        if (report_faults() > 0 || !is_thorough)
                return; /* what follows would not end well */
        exercise(by);
        look(by);
        if (report_faults() > 0)
                return;
        exhaust(by, verdict.n_reclaimable);
        if (actors[ACTOR_A].is_dead)
                newcomer_comes(); /* takes the place of the dead */
        actor_switch(by);
        look(by);
}

/* What the dead left is no fault before it is settled, either. */
static void
look_before(void)
{
        char text[2048] = "";
        FILE *f = fmemopen(text, sizeof text - 1, "w");
        int n = check_region(world_region, 0, f, NULL);

        fclose(f);
        if (n != 0 && !is_misused())
                report_line("check_region before reaping: %d\n%s", n, text);
}

void
inspect_dead(struct actor *by, bool is_thorough)
{
        actor_switch(by);
        for (int no = 0; no < N_ACTORS; no++)
                judge_zeroes(&actors[no]);
        if (is_thorough)
                look_before();
        actor_reap();
        for (int no = 0; no < N_ACTORS; no++) /* nobody else is at it */
                if (actors[no].is_dead && actors[no].op.dest && shheap_settled(by->heap, actors[no].op.dest) != 0)
                        report_line("what actor %d was handing over is not settled", no);
        inspect_rest(by, is_thorough);
}
