/*
 * root_judge.c - see root_judge.h.  Reads the chain and the words by itself.
 */
#include "support/root_judge.h"

#include <inttypes.h>
#include <string.h>

#include "support/checks.h"

#define MUST(cond, ...)                                                                                                \
        do {                                                                                                           \
                if (!(cond))                                                                                           \
                        ck_abort_msg(__VA_ARGS__);                                                                     \
        } while (0)

enum { OBJECT_KIND = 5, OBJECT_OFF_SHIFT = 27 }; /* heap/root_cell.h */

static void
judge_pending(struct region *r)
{
        for (uint32_t idx = 0; idx < region_threads_hwm(r); idx++)
                for (int k = 0; k < ROOTS_PENDING_MAX; k++)
                        MUST(region_gate(r, idx)->pending[k] == 0, "thread %u has %#" PRIx64 " pending in %d", idx + 1,
                             region_gate(r, idx)->pending[k], k);
}

/* Marks the record as linked, and adds its object. */
static void
judge_record(struct region *r, uint32_t idx, bool *is_linked, struct live *live)
{
        const struct root_record *record = &r->roots[idx];

        MUST(!is_linked[idx], "record %u is in the chain twice", idx);
        is_linked[idx] = true;
        for (uint32_t other = 0; other < region_roots_hwm(r); other++)
                MUST(other == idx || !is_linked[other] || strcmp(r->roots[other].name, record->name) != 0,
                     "records %u and %u are both \"%s\"", idx, other, record->name);
        if (record->object == 0)
                return;
        MUST((record->object & 7) == OBJECT_KIND, "root \"%s\" has %#" PRIx64, record->name, record->object);
        live_add(live, record->object >> OBJECT_OFF_SHIFT << 4);
}

uint32_t
root_judge(struct region *r)
{
        uint32_t hwm = region_roots_hwm(r), n;
        bool is_linked[64] = {false};
        struct live live = {0};

        ck_assert_uint_le(hwm, 64);
        for (uint32_t link = r->header->roots_head; link != 0; link = r->roots[link - 1].next) {
                MUST(link <= hwm, "the chain leads to record %u of %u", link - 1, hwm);
                judge_record(r, link - 1, is_linked, &live);
        }
        for (uint32_t idx = 0; idx < hwm; idx++)
                MUST(r->roots[idx].word == (is_linked[idx] ? ROOT_LINKED : ROOT_FREE),
                     "record %u says %#" PRIx64 ", and it %s in the chain", idx, r->roots[idx].word,
                     is_linked[idx] ? "is" : "is not");
        judge_pending(r);
        heap_verify(r, &live);
        n = (uint32_t)live.n;
        live_fini(&live);
        return n;
}
