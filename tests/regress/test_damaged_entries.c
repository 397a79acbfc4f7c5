/*
 * What is at stake: one wrong word in the tables of a heap must not end those who come by it.  An entry of a magazine
 * of a large class that was no address in the heap was looked up in the granule words without a look at where they end,
 * and a tag that does not exist in the private table of magazines: both ended in a wild access.
 */
#include <setjmp.h>
#include <stdint.h>
#include <stdlib.h>

#include "api/heap.h"
#include "blocks/large.h"
#include "support/checks.h"
#include "support/damage.h"
#include "support/heap_dir.h"
#include "support/suite.h"
#include "tcache/tcache.h"

static sigjmp_buf out;

static void
note_fault(const struct shheap_fault *fault, void *arg)
{
        *(uint32_t *)arg = fault->what;
        siglongjmp(out, 1);
}

static struct region *
region_of(shheap *h)
{
        return &h->region;
}

/* The magazine of this thread that has the block on top. */
static struct magazine *
magazine_with(shheap *h, uintptr_t block)
{
        struct region *r = region_of(h);

        for (uint64_t i = 0; i < region_magazines_hwm(r, 0); i++)
                if (r->magazines[i].n > 0 && r->magazines[i].slot[r->magazines[i].n - 1] == block)
                        return &r->magazines[i];
        ck_abort_msg("the block is in no magazine");
        return NULL;
}

/* The handler jumps back in here, so that the caller's variables are what they were. */
static void
purge_until_a_fault(shheap *h)
{
        if (sigsetjmp(out, 0) == 0)
                (void)shheap_purge(h, -1);
}

START_TEST(entry_beyond_the_heap_is_reported_when_it_is_drained)
{
        static const uint64_t entries[] = {0, 16, UINT64_MAX, UINT64_MAX - 15, UINT64_C(1) << 63, UINT64_C(1) << 52};

        for (size_t i = 0; i < sizeof entries / sizeof entries[0]; i++) {
                shheap *h = heap_dir_open("entries", SHHEAP_CREATE, NULL);
                volatile uint32_t what = 0;
                void *p = shheap_malloc(h, 40000);
                uintptr_t entry = (uintptr_t)p;

                shheap_set_fault_handler(note_fault, (void *)(uintptr_t)&what);
                shheap_free(h, p);
                magazine_with(h, entry)->slot[0] = entries[i];
                purge_until_a_fault(h);
                ck_assert_int_ne(what, 0);
                heap_assert_clean(h);
                shheap_close(h);
                shheap_unlink("entries");
        }
}
END_TEST

START_TEST(tag_that_does_not_exist_sends_free_the_slow_way)
{
        for (uint32_t tag = 1; tag <= UINT16_MAX; tag = tag * 2 + 1) {
                shheap *h = heap_dir_open("tags", SHHEAP_CREATE, NULL);
                struct region *r = region_of(h);
                void *keep = shheap_malloc(h, 100), *p = shheap_malloc(h, 100); /* its slab stays */
                uint16_t *at = &r->tags[((uintptr_t)p - (uintptr_t)r->chunks) >> GEO_GRANULE_SHIFT], old = *at;

                /* What lies behind it is anybody's, so a stray access would not show each time. */
                ck_assert_uint_ge(tcache_find(h)->mapped_bytes,
                                  offsetof(struct tcache, free_at) + sizeof(int64_t) * (UINT16_MAX + 1));
                if (tag >= r->layout.n_tags) {
                        *at = (uint16_t)tag;
                        shheap_free(h, p);
                        *at = old;
                        shheap_free(h, keep);
                        ck_assert_int_eq(shheap_close(h), 0);
                        h = heap_dir_open("tags", 0, NULL);
                        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
                        heap_assert_clean(h);
                }
                shheap_close(h);
                shheap_unlink("tags");
        }
}
END_TEST

int
main(void)
{
        Suite *suite = suite_create("damaged_entries");
        TCase *tc = tcase_create("words");
        int status;

        tcase_add_test(tc, entry_beyond_the_heap_is_reported_when_it_is_drained);
        tcase_add_test(tc, tag_that_does_not_exist_sends_free_the_slow_way);
        suite_add_tcase(suite, tc);
        heap_dir_create("damaged");
        damage_is_done(true);
        status = suite_run(suite);
        heap_dir_remove();
        return status;
}
