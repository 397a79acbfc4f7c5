/*
 * audit.c - see audit.h.
 */
#include "audit.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "settings.h"
#include "store.h"

enum { TRIES_MAX = 8 };

/* A block that something in the table refers to; or a live one of the heap. */
struct list {
        uint64_t *p;
        size_t n, room;
};

struct walk {
        struct cache *c;
        FILE *out;
        struct audit *check;
        struct list known, live;
        uint64_t n_bytes;
};

__attribute__((format(printf, 2, 3))) static void
fault(struct walk *w, const char *fmt, ...)
{
        va_list list;

        w->check->n_faults++;
        va_start(list, fmt);
        vfprintf(w->out, fmt, list);
        va_end(list);
        fputc('\n', w->out);
}

static void
list_add(struct list *list, uint64_t value)
{
        if (list->n == list->room) {
                list->room = list->room ? 2 * list->room : 1024;
                list->p = realloc(list->p, list->room * sizeof *list->p);
                if (!list->p)
                        abort();
        }
        list->p[list->n++] = value;
}

static int
compare(const void *a, const void *b)
{
        uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

        return x < y ? -1 : x > y;
}

/* ------------------------------------------------------------------ the table */

static void
check_slots(struct walk *w, uint64_t no, shared_word *slot, int n)
{
        for (int i = 0; i < n; i++) {
                uint64_t word = get(&slot[i]);
                const struct item *item = slot_address(word);
                struct key key;

                if (slot_is_empty(word))
                        continue;
                list_add(&w->known, (uintptr_t)item);
                w->check->n_items++;
                w->n_bytes += item_cost(item->key_bytes, item->value_bytes);
                key = key_make(w->c, item->bytes, item->key_bytes);
                if (key.hash != item->hash || !slot_may_be(word, key.hash) ||
                    (key.hash & (w->c->root->n_buckets - 1)) != no)
                        fault(w, "bucket %" PRIu64 ", item %p: not where its key belongs", no, (const void *)item);
                else if (table_get(w->c, &key) != item)
                        fault(w, "bucket %" PRIu64 ", item %p: the key is there twice", no, (const void *)item);
        }
}

static void
check_bucket(struct walk *w, uint64_t no)
{
        struct bucket *bucket = &w->c->root->buckets[no];
        uint64_t more = get(&bucket->more);

        if (get(&bucket->word) & BUCKET_BUSY)
                fault(w, "bucket %" PRIu64 ": an update is in progress", no);
        check_slots(w, no, bucket->slot, BUCKET_SLOTS);
        while (!slot_is_empty(more)) {
                struct extension *extension = slot_address(more);

                list_add(&w->known, (uintptr_t)extension);
                w->check->n_extensions++;
                w->n_bytes += sizeof *extension;
                check_slots(w, no, extension->slot, EXTENSION_SLOTS);
                more = get(&extension->more);
        }
}

static void
check_place(struct walk *w, const struct place *place)
{
        const shref mail[] = {place->fresh_item, place->fresh_extension};

        for (size_t i = 0; i < sizeof mail / sizeof mail[0]; i++)
                if (mail[i] != SHREF_NULL) {
                        list_add(&w->known, (uintptr_t)shheap_ptr(w->c->heap, mail[i]));
                        w->check->n_mail++;
                }
        for (int i = 0; i < RETIRED_MAX; i++)
                if (place->retired[i] != SHREF_NULL) {
                        list_add(&w->known, (uintptr_t)shheap_ptr(w->c->heap, place->retired[i]));
                        w->check->n_retired++;
                }
}

/* ------------------------------------------------------------------ the heap */

static int
note_live(const struct shheap_block *block, void *arg)
{
        struct walk *w = arg;

        list_add(&w->live, (uintptr_t)block->ref);
        w->check->n_blocks++;
        w->check->live_bytes += block->usable;
        return 0;
}

static void
compare_lists(struct walk *w)
{
        size_t i = 0, k = 0;

        for (size_t n = 0; n < w->live.n; n++)
                w->live.p[n] = (uintptr_t)shheap_ptr(w->c->heap, w->live.p[n]);
        qsort(w->live.p, w->live.n, sizeof w->live.p[0], compare);
        qsort(w->known.p, w->known.n, sizeof w->known.p[0], compare);
        while (i < w->live.n || k < w->known.n) {
                uint64_t live = i < w->live.n ? w->live.p[i] : UINT64_MAX;
                uint64_t known = k < w->known.n ? w->known.p[k] : UINT64_MAX;

                if (live < known)
                        fault(w, "block %#" PRIx64 " is allocated, and nothing refers to it", live);
                else if (known < live)
                        fault(w, "block %#" PRIx64 " is referred to%s", known,
                              k > 0 && w->known.p[k - 1] == known ? " twice" : ", and not allocated");
                i += live <= known;
                k += known <= live;
        }
}

void
audit_table(struct cache *c, FILE *out, struct audit *ret_check)
{
        struct walk w = {.c = c, .out = out, .check = ret_check};
        int n;

        *ret_check = (struct audit){.n_items = 0};
        list_add(&w.known, (uintptr_t)c->root);
        list_add(&w.known, (uintptr_t)c->root->buckets);
        for (uint64_t i = 0; i < c->root->n_buckets; i++)
                check_bucket(&w, i);
        table_release(c);
        for (int i = 0; i < PLACES; i++)
                check_place(&w, &c->root->place[i]);
        n = shheap_check(c->heap, 0, out);
        if (n != 0)
                fault(&w, "shheap_check: %d", n);
        (void)shheap_walk(c->heap, SHHEAP_WALK_LIVE, note_live, &w);
        compare_lists(&w);
        if (table_n_items(c) != ret_check->n_items)
                fault(&w, "%" PRIu64 " items are there, %" PRIu64 " are counted", ret_check->n_items, table_n_items(c));
        if (table_n_bytes(c) != w.n_bytes)
                fault(&w, "their %" PRIu64 " bytes are counted as %" PRIu64, w.n_bytes, table_n_bytes(c));
        free(w.known.p);
        free(w.live.p);
}

/* A worker that has just become idle still frees what it had retired, each once: then look again. */
static void
audit_in_peace(struct cache *c, struct audit *ret_check)
{
        bool is_last = false;

        for (int i = 0; !is_last; i++) {
                char *text = NULL;
                size_t bytes;
                FILE *out = open_memstream(&text, &bytes);

                if (!out)
                        abort();
                audit_table(c, out, ret_check);
                fclose(out);
                is_last = ret_check->n_faults == 0 || i == TRIES_MAX - 1;
                if (is_last)
                        fputs(text, stdout);
                free(text);
        }
}

int
audit_run(void)
{
        struct audit check;
        struct root *root;
        struct cache c;
        shheap *heap;

        if (store_open(settings.heap_name, &heap, &root) < 0)
                return 1;
        if (store_enter(&c, heap, root, VISITOR, 0) < 0) {
                fprintf(stderr, "kvcache: heap %s is being checked by somebody else\n", settings.heap_name);
                return 1;
        }
        store_settle_places(heap, root);
        audit_in_peace(&c, &check);
        printf("%" PRIu64 " items, %" PRIu64 " extensions, %" PRIu64 " retired, %" PRIu64 " in mailboxes; %" PRIu64
               " blocks of %" PRIu64 " bytes; %" PRIu64 " faults\n",
               check.n_items, check.n_extensions, check.n_retired, check.n_mail, check.n_blocks, check.live_bytes,
               check.n_faults);
        store_leave(&c);
        shheap_close(heap);
        return check.n_faults != 0;
}
