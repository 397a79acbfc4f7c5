/*
 * ops.c - what actors do, and their books about it: which blocks they have, and what they are just at.
 *
 * Each block that an actor knows is stamped at both ends.  A block that two have been given, or that is written to
 * after it was freed, shows in its stamps.
 */
#include "crash.h"

#include <stdlib.h>
#include <string.h>

#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"

#define STAMP UINT64_C(0x9e3779b97f4a7c15)

static uint64_t
off_of(const void *p)
{
        return (uint64_t)((uintptr_t)p - (uintptr_t)world_region->chunks);
}

static uint64_t
stamp_of(uint64_t off, uint64_t bytes)
{
        return (off ^ bytes << 40 ^ 0x55) * STAMP;
}

bool actor_keeps_books;

void
actor_keep(struct actor *a, void *p)
{
        uint64_t bytes = shheap_usable_size(a->heap, p), stamp = stamp_of(off_of(p), bytes);

        if (bytes < 16 || a->n_live == BLOCKS_MAX) {
                report_line("block %#lx that was given out has %lu bytes", off_of(p), bytes);
                return;
        }
        memcpy(p, &stamp, sizeof stamp);
        memcpy((char *)p + bytes - sizeof stamp, &stamp, sizeof stamp);
        store_relaxed(&actor_keeps_books, true);
        kill_order();
        a->live[a->n_live] = (struct block){.off = off_of(p), .bytes = bytes};
        kill_order();
        a->n_live++;
        kill_order();
        store_relaxed(&actor_keeps_books, false);
}

static bool
stamp_is_right(const struct block *b)
{
        uint64_t stamp = stamp_of(b->off, b->bytes);
        const char *p = world_region->chunks + b->off;

        return memcmp(p, &stamp, sizeof stamp) == 0 && memcmp(p + b->bytes - sizeof stamp, &stamp, sizeof stamp) == 0;
}

void
actor_judge_stamps(const struct actor *a)
{
        for (uint32_t i = 0; i < a->n_live; i++)
                if (!stamp_is_right(&a->live[i]))
                        report_line("somebody has written into block %#lx of actor %d", a->live[i].off, a->no);
}

static bool
find_and_drop(void *p)
{
        for (int no = 0; no < N_ACTORS; no++)
                for (uint32_t i = actors[no].n_live; i-- > 0;)
                        if (actors[no].live[i].off == off_of(p)) {
                                struct block last = actors[no].live[actors[no].n_live - 1];

                                if (!stamp_is_right(&actors[no].live[i]))
                                        report_line("somebody has written into block %#lx", off_of(p));
                                actors[no].n_live--;
                                if (i < actors[no].n_live)
                                        actors[no].live[i] = last;
                                return true;
                        }
        return false;
}

/* Any actor's: blocks may be freed by others than those who allocated them. */
void
actor_drop(struct actor *a, void *p)
{
        (void)a;
        store_relaxed(&actor_keeps_books, true);
        kill_order();
        if (!find_and_drop(p))
                report_line("block %#lx is nobody's", off_of(p));
        kill_order();
        store_relaxed(&actor_keeps_books, false);
}

void
actor_push(struct actor *a, void *p)
{
        if (p && a->n_p < POINTERS_MAX)
                a->p[a->n_p++] = p;
}

void *
actor_pop(struct actor *a)
{
        return a->n_p > 0 ? a->p[--a->n_p] : NULL;
}

/* ------------------------------------------------------------------ operations */

static void
begin_new(struct actor *a, size_t bytes, uint64_t *dest)
{
        a->op.new_bytes = bytes;
        a->op.dest = dest;
        kill_order();
        a->op.n_new = 1;
        kill_order();
}

static void *
end_new(struct actor *a, void *p)
{
        if (p)
                actor_keep(a, p);
        kill_order();
        a->op.n_new = 0;
        a->op.dest = NULL;
        return p;
}

void *
a_malloc(struct actor *a, size_t size)
{
        begin_new(a, size, NULL);
        return end_new(a, shheap_malloc(a->heap, size));
}

void *
a_mallocx(struct actor *a, size_t size, unsigned flags)
{
        begin_new(a, size, NULL);
        return end_new(a, shheap_mallocx(a->heap, size, flags));
}

void *
a_calloc(struct actor *a, size_t n, size_t size)
{
        char *p;

        begin_new(a, n * size, NULL);
        p = shheap_calloc(a->heap, n, size);
        for (size_t i = 0; p && i < n * size; i += 64)
                if (p[i] != 0)
                        report_line("calloc gave block %#lx, which is not zero at %zu", off_of(p), i);
        return end_new(a, p);
}

void *
a_aligned(struct actor *a, size_t align, size_t size)
{
        void *p;

        begin_new(a, size, NULL);
        a->op.new_bytes = 0; /* of whatever class serves the alignment */
        p = shheap_aligned_alloc(a->heap, align, size);
        if ((uintptr_t)p % align != 0)
                report_line("block %#lx is not aligned to %zu", off_of(p), align);
        return end_new(a, p);
}

static void
begin_free(struct actor *a, const void *p, uint64_t *dest)
{
        a->op.dest = dest;
        kill_order();
        a->op.freed = off_of(p) + 1;
        kill_order();
        actor_drop(a, (void *)(uintptr_t)p);
        kill_order();
}

static void
end_free(struct actor *a)
{
        kill_order();
        a->op.freed = 0;
        a->op.dest = NULL;
}

void
a_free(struct actor *a, void *p)
{
        if (!p)
                return;
        begin_free(a, p, NULL);
        shheap_free(a->heap, p);
        end_free(a);
}

void *
a_realloc(struct actor *a, void *p, size_t size)
{
        uint64_t stamp = *(uint64_t *)p;
        void *new_p;

        begin_new(a, size, NULL);
        begin_free(a, p, NULL);
        new_p = shheap_realloc(a->heap, p, size);
        if (!new_p)
                actor_keep(a, p);
        else if (size >= sizeof stamp && *(uint64_t *)new_p != stamp)
                report_line("realloc of block %#lx lost its contents", off_of(p));
        end_free(a);
        return end_new(a, new_p);
}

void
a_malloc_to(struct actor *a, size_t size, unsigned flags, uint64_t *dest)
{
        void *p;

        begin_new(a, size, dest);
        a->op.n_zeroes = flags & SHA_ZERO ? size : 0;
        kill_order();
        p = shheap_malloc_to(a->heap, size, flags, dest);
        kill_order();
        a->op.n_zeroes = 0;
        kill_order();
        end_new(a, p);
}

void
a_free_from(struct actor *a, uint64_t *dest)
{
        void *p = world_region->base + *dest;

        if (*dest == 0)
                return;
        begin_free(a, p, dest);
        if (shheap_free_from(a->heap, dest) < 0)
                actor_keep(a, p); /* somebody holds its slab */
        end_free(a);
}

void
a_free_from_direct(struct actor *a, uint64_t *dest)
{
        uint64_t ref = *dest;

        begin_free(a, world_region->base + ref, dest);
        if (free_block_patiently(a_enter(a), ref - world_region->layout.chunks_off,
                                 (uint64_t)((char *)dest - world_region->base)) < 0)
                report_line("block %#lx cannot be freed", ref);
        a_leave(a);
        end_free(a);
}

struct thread *
thread_of(const struct actor *a)
{
        struct tcache *t = tcache_list;

        while (t && (t->heap != a->heap || !t->is_attached))
                t = t->next;
        return t ? &t->thread : NULL;
}

struct thread *
a_enter(struct actor *a)
{
        a->entered = tcache_find(a->heap);
        if (!a->entered)
                abort();
        tcache_enter(a->entered);
        return &a->entered->thread;
}

void
a_leave(struct actor *a)
{
        tcache_leave(a->entered);
}

uint32_t
actor_reap(void)
{
        return slot_reap_all(world_region, reap_settle, thread_of(actor_now));
}

void *
a_alloc_direct(struct actor *a, size_t size)
{
        begin_new(a, size, NULL);
        return end_new(a, shheap_mallocx(a->heap, size, SHA_TCACHE_NONE));
}

void
a_free_direct(struct actor *a, void *p)
{
        begin_free(a, p, NULL);
        if (free_block_patiently(a_enter(a), off_of(p), 0) < 0)
                report_line("block %#lx cannot be freed", off_of(p));
        a_leave(a);
        end_free(a);
}

/* ------------------------------------------------------------------ what others do meanwhile */

uint64_t
random_next(uint64_t *state)
{
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

enum { GIFTS_MAX = 512, HELD_MAX = 32 };

static void *gifts[GIFTS_MAX];
static uint32_t n_gifts;

void
gift(void *p)
{
        if (p && n_gifts < GIFTS_MAX)
                gifts[n_gifts++] = p;
}

struct work {
        struct actor *a;
        uint64_t hot_bytes, state;
        void *held[HELD_MAX];
        uint64_t *dest; /* a word in a block of its own, or NULL */
};

static uint64_t
pick_size(struct work *w)
{
        uint64_t dice = random_next(&w->state) % 100, x = random_next(&w->state);

        if (dice < 60 && w->hot_bytes != 0)
                return w->hot_bytes;
        if (dice < 97)
                return 1 + x % (UINT64_C(16) << x % 12);
        return 40000 + x % 200000;
}

static void
work_once(struct work *w)
{
        uint64_t dice = random_next(&w->state) % 100, size = pick_size(w);
        void **at = &w->held[random_next(&w->state) % HELD_MAX];

        if (n_gifts > 0 && dice < 15) {
                a_free(w->a, gifts[--n_gifts]);
        } else if (dice == 15) {
                actor_reap();
        } else if (dice == 16 && random_next(&w->state) % 4 == 0) {
                decay_purge(thread_of(w->a), UINT32_MAX); /* empties the depots, too */
        } else if (dice < 20 && w->dest && *w->dest == 0) {
                a_malloc_to(w->a, size, dice & 1 ? SHA_TCACHE_NONE : 0, w->dest);
        } else if (dice < 22 && w->dest) {
                a_free_from(w->a, w->dest);
        } else if (!*at) {
                *at = dice < 30   ? a_calloc(w->a, 1, size)
                      : dice < 35 ? a_aligned(w->a, 256, size)
                                  : a_malloc(w->a, size);
        } else if (dice < 30) {
                void *p = a_realloc(w->a, *at, size);

                *at = p ? p : *at;
        } else {
                a_free(w->a, *at);
                *at = NULL;
        }
}

void
workload(struct actor *a, uint64_t hot_bytes, unsigned n_ops, uint64_t seed)
{
        struct work w = {.a = a, .hot_bytes = hot_bytes, .state = seed, .dest = a_calloc(a, 1, 64)};
        void *box = w.dest;

        w.dest = box ? (uint64_t *)box + 2 : NULL; /* beside the stamps */
        for (unsigned i = 0; i < n_ops; i++)
                work_once(&w);
        if (w.dest && *w.dest != 0)
                a_free(a, world_region->base + *w.dest);
        for (int i = 0; i < HELD_MAX; i++)
                a_free(a, w.held[i]);
        a_free(a, box);
}
