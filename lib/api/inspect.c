/*
 * inspect.c - references, named objects, and the calls that look after a heap as a whole.
 */
#include <errno.h>
#include <string.h>

#include "api/malloc.h"
#include "api/visit.h"
#include "base/bits.h"
#include "base/error.h"
#include "clients/owner.h"
#include "heap/decay.h"
#include "heap/free.h"
#include "heap/reap.h"
#include "heap/reserve.h"
#include "heap/root.h"
#include "os/numa.h"
#include "pages/run.h"

/* ------------------------------------------------------------------ references */

static uint64_t
chunk_bytes(const struct region *r)
{
        return r->layout.n_chunks << GEO_CHUNK_SHIFT;
}

shref
shheap_ref(const shheap *h, const void *p)
{
        const struct region *r;
        uint64_t block_off;

        if (!handle_is_open(h, "shheap_ref"))
                return SHREF_NULL;
        r = &h->region;
        block_off = (uint64_t)((uintptr_t)p - (uintptr_t)r->chunks);
        return block_off < chunk_bytes(r) ? r->layout.chunks_off + block_off : SHREF_NULL;
}

void *
shheap_ptr(const shheap *h, shref ref)
{
        const struct region *r;
        uint64_t block_off;

        if (!handle_is_open(h, "shheap_ptr"))
                return NULL;
        r = &h->region;
        block_off = ref - r->layout.chunks_off;
        return block_off < chunk_bytes(r) ? region_block(r, block_off) : NULL;
}

shref
shref_of(const void *p)
{
        const struct shheap *h = handle_of_address(p);

        return h ? shheap_ref(h, p) : SHREF_NULL;
}

void *
shptr_of(shref ref)
{
        const struct shheap *h = handle_default();

        return h ? shheap_ptr(h, ref) : NULL;
}

/* The node of a chunk in use; NODE_NONE where no block can be. */
static uint32_t
node_of_block(struct region *r, uint64_t block_off)
{
        uint64_t chunk = block_off >> GEO_CHUNK_SHIFT, word;

        if (chunk >= region_chunks_hwm(r))
                return NODE_NONE;
        word = load_acquire(&r->chunk_words[chunk]); /* E3.acq */
        if (chunk_state(word) == CHUNK_ARENA && chunk_arena(word) < r->layout.n_arenas &&
            run_head_of(r, block_off >> GEO_GRANULE_SHIFT) != POSITION_NONE)
                return region_arena_node(r, chunk_arena(word));
        if (chunk_state(word) == CHUNK_HUGE || chunk_state(word) == CHUNK_TAIL)
                return chunk_node1(word) - 1; /* NODE_NONE where it is not bound */
        return NODE_NONE;
}

int
shheap_node_of(const shheap *h, const void *p)
{
        const struct region *r;
        uint32_t node;
        int ret = -EINVAL;

        if (!handle_is_open(h, "shheap_node_of"))
                return -EBADF;
        r = &h->region;
        node = node_of_block((struct region *)(uintptr_t)r, (uint64_t)((uintptr_t)p - (uintptr_t)r->chunks));
        if (node != NODE_NONE)
                ret = node == r->layout.spread_node ? os_numa_node_of(p) : (int)node;
        return ret >= 0 ? ret : error_set(-EINVAL, "shheap_node_of(%p): no block of this heap", p);
}

shheap *
shheap_of(const void *p)
{
        return handle_of_address(p);
}

/* ------------------------------------------------------------------ named objects */

/* Flags of the public header that make sense for an object; -EINVAL for others. */
static int
root_flags(unsigned flags, uint32_t *ret_flags)
{
        if (flags & ~SHA_NOGROW)
                return error_set(-EINVAL, "shheap_root: flags %#x: only SHA_NOGROW is possible", flags);
        *ret_flags = flags & SHA_NOGROW ? CALL_NO_GROW : 0;
        return 0;
}

static int
find_root(struct region *r, const char *name, size_t size, uint64_t *ret_block_off)
{
        uint64_t found_size;
        int err = root_find(r, name, ret_block_off, &found_size);

        if (err == 0 && size != 0 && size != found_size)
                return error_set(-EEXIST, "shheap_root: \"%.63s\" has %llu bytes, not %zu", name,
                                 (unsigned long long)found_size, size);
        return err;
}

/* A visit in which init() and undo() are called, which may throw, or be left in other ways. */
struct creation {
        struct visit visit;
        root_init_fn *init;
        root_undo_fn *undo;
        void *arg;
        bool is_calling;
};

/* On the way back from either, however it ended but by a jump. */
static void
come_back(struct creation **at)
{
        if ((*at)->is_calling)
                visit_resume(&(*at)->visit);
}

/* Nobody is in the heap while init() runs: it may use it. */
static int
call_init(void *obj, size_t size, void *arg)
{
        struct creation *c __attribute__((cleanup(come_back))) = arg;
        int err;

        visit_pause(&c->visit);
        c->is_calling = true;
        err = c->init(obj, size, c->arg);
        c->is_calling = false;
        visit_resume(&c->visit);
        return err;
}

static void
call_undo(void *obj, size_t size, void *arg)
{
        struct creation *c __attribute__((cleanup(come_back))) = arg;

        visit_pause(&c->visit);
        c->is_calling = true;
        c->undo(obj, size, c->arg);
        c->is_calling = false;
        visit_resume(&c->visit);
}

static void
creation_end(struct creation *c)
{
        if (c->is_calling) /* thrown */
                visit_drop(&c->visit);
}

/* init() may use the heap, for which a thread needs a slot of its own: a process has one to lend, not two. */
static int
create_in_a_slot(struct creation *c, const char *name, size_t size, uint32_t flags, uint64_t *ret_block_off)
{
        struct visit *v = &c->visit;

        if (!c->init)
                return root_find_or_create(v->thread, name, size, flags, NULL, NULL, NULL, ret_block_off);
        if (!v->tcache)
                return error_set(-EUSERS,
                                 "shheap_root: this thread has no slot in the heap: all are taken, or it has left "
                                 "too many calls by jumps");
        return root_find_or_create(v->thread, name, size, flags, call_init, c->undo ? call_undo : NULL, c,
                                   ret_block_off);
}

/* Whether another slot of this thread has to be tried: this one is full of creations, which go on, or which jumps out
 * of init() have left there until the thread ends.  One that has just made room is used again. */
static bool
is_crowded(struct visit *v, int err)
{
        if (v->tcache)
                v->tcache->is_crowded = err == -ENOBUFS && root_has_no_room(v->thread);
        return v->tcache && v->tcache->is_crowded;
}

static int
create_root(struct shheap *h, const char *name, size_t size, unsigned flags, root_init_fn *init, root_undo_fn *undo,
            void *arg, uint64_t *ret_block_off)
{
        struct creation c
                __attribute__((cleanup(creation_end))) = {.init = init, .undo = undo, .arg = arg, .is_calling = false};
        uint32_t alloc_flags = 0;
        bool again = true;
        int err = root_flags(flags, &alloc_flags);

        while (err == 0 && again) { /* each turn with another slot, and there are only so many */
                err = visit_begin(&c.visit, h, "shheap_root");
                if (err < 0)
                        return err;
                err = create_in_a_slot(&c, name, size, alloc_flags, ret_block_off);
                again = is_crowded(&c.visit, err);
                visit_end(&c.visit, "shheap_root", NULL, 0);
                if (again)
                        err = 0;
        }
        return err;
}

int
shheap_root_undo(shheap *h, const char *name, size_t size, unsigned flags,
                 int (*init)(void *obj, size_t size, void *arg), void (*undo)(void *obj, size_t size, void *arg),
                 void *arg, void **ret_obj)
{
        uint64_t block_off = 0;
        int err = handle_is_open(h, "shheap_root") ? find_root(&h->region, name, size, &block_off) : -EBADF;

        if (err == -ENOENT && size != 0)
                err = create_root(h, name, size, flags, init, undo, arg, &block_off);
        if (err < 0)
                return err;
        *ret_obj = region_block(&h->region, block_off);
        return 0;
}

int
shheap_root(shheap *h, const char *name, size_t size, unsigned flags, int (*init)(void *obj, size_t size, void *arg),
            void *arg, void **ret_obj)
{
        return shheap_root_undo(h, name, size, flags, init, NULL, arg, ret_obj);
}

int
shheap_root_find(shheap *h, const char *name, void **ret_obj, size_t *ret_size)
{
        uint64_t block_off, size;
        int err = handle_is_open(h, "shheap_root_find") ? root_find(&h->region, name, &block_off, &size) : -EBADF;

        if (err < 0)
                return err;
        *ret_obj = region_block(&h->region, block_off);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int
shheap_root_take(shheap *h, const char *name, void **ret_obj, size_t *ret_size)
{
        uint64_t block_off = 0, size = 0;
        struct visit v;
        bool again;
        int err;

        do { /* as above */
                err = visit_begin(&v, h, "shheap_root_take");
                if (err < 0)
                        return err;
                err = root_take(v.thread, name, &block_off, &size);
                again = is_crowded(&v, err);
                visit_end(&v, "shheap_root_take", NULL, 0);
        } while (again);
        if (err < 0)
                return err;
        *ret_obj = region_block(&h->region, block_off);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int
shheap_root_remove(shheap *h, const char *name)
{
        struct visit v;
        bool again;
        int err;

        do { /* as above */
                err = visit_begin(&v, h, "shheap_root_remove");
                if (err < 0)
                        return err;
                err = root_remove(v.thread, name);
                again = is_crowded(&v, err);
                visit_end(&v, "shheap_root_remove", NULL, 0);
        } while (again);
        return err;
}

struct iteration {
        struct region *region;
        int (*fn)(const char *name, void *obj, size_t size, void *arg);
        void *arg;
};

static int
visit_root(const char *name, uint64_t block_off, uint64_t size, void *arg)
{
        struct iteration *iteration = arg;

        return iteration->fn(name, region_block(iteration->region, block_off), size, iteration->arg);
}

static int
iterate(struct shheap *h, struct iteration *iteration)
{
        struct shheap *called __attribute__((cleanup(handle_let_go))) = handle_hold(h);

        return root_iterate(&called->region, visit_root, iteration);
}

int
shheap_root_iterate(shheap *h, int (*fn)(const char *name, void *obj, size_t size, void *arg), void *arg)
{
        if (!handle_is_open(h, "shheap_root_iterate"))
                return -EBADF;
        return iterate(h, &(struct iteration){&h->region, fn, arg});
}

/* ------------------------------------------------------------------ reap, purge, reserve */

int
shheap_reap(shheap *h)
{
        struct visit v;
        int n, err = visit_begin(&v, h, "shheap_reap");

        if (err < 0)
                return err;
        n = (int)slot_reap_all(&h->region, reap_settle, v.thread);
        client_bury_all(&h->region);
        owner_add(&v.thread->slot->n_reaped, (uint64_t)n);
        visit_end(&v, "shheap_reap", NULL, 0);
        return (int)slot_count_unsettled(&h->region);
}

int
shheap_settled(shheap *h, const shref *dest)
{
        struct visit v;
        uint64_t dest_off;
        int err;

        if (!handle_is_open(h, "shheap_settled"))
                return -EBADF;
        dest_off = call_dest_off(h, dest, "shheap_settled");
        err = dest_off == 0 ? -EINVAL : visit_begin(&v, h, "shheap_settled");
        if (err < 0)
                return err;
        err = reap_dest(v.thread, dest_off);
        if (err < 0)
                error_set(
                        err,
                        "shheap_settled(%p): a thread that handed over a block here has not been settled: it may live, "
                        "or another process is at settling it",
                        (const void *)dest);
        visit_end(&v, "shheap_settled", NULL, 0);
        return err;
}

int
shheap_purge(shheap *h, int node)
{
        struct visit v;
        int err;

        if (!handle_is_open(h, "shheap_purge"))
                return -EBADF;
        if (node < -1 || node >= (int)region_system_nodes(&h->region))
                return error_set(-EINVAL, "shheap_purge: the heap has no node %d", node);
        err = visit_begin(&v, h, "shheap_purge");
        if (err < 0)
                return err;
        if (v.tcache)
                tcache_flush(v.tcache);
        decay_purge(v.thread, node < 0 ? UINT32_MAX : (uint32_t)node);
        visit_end(&v, "shheap_purge", NULL, 0);
        return 0;
}

int
shheap_reserve(shheap *h, size_t bytes)
{
        struct visit v;
        int err = visit_begin(&v, h, "shheap_reserve");

        if (err < 0)
                return err;
        error_forget_refused();
        err = reserve_bytes(v.thread, bytes);
        if (err < 0)
                error_append_refused(
                        error_set(err, "shheap_reserve: %zu bytes could not be had: %s", bytes, error_name(err)));
        visit_end(&v, "shheap_reserve", NULL, 0);
        return err;
}
