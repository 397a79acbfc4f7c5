/*
 * ctl.c - settings and figures by name.
 *
 * One table holds the names, each with the functions that read and change it.  Values are read once, without order:
 * they are settings and statistics.
 */
#include <errno.h>
#include <string.h>

#include "api/heap.h"
#include "api/visit.h"
#include "audit/check.h"
#include "base/bits.h"
#include "base/error.h"
#include "clients/slot_pages.h"
#include "os/shm.h"
#include "region/file.h"
#include "region/open.h"

#define DECAY_MS_MAX INT64_C(1000000000000) /* as in options.c */

#define TEXT_OF(x)  TEXT_OF2(x)
#define TEXT_OF2(x) #x

/* ------------------------------------------------------------------ the heap as it is */

static int
get_id(struct shheap *h, uint64_t *ret)
{
        *ret = h->region.id;
        return 0;
}

static int
get_base(struct shheap *h, uint64_t *ret)
{
        *ret = (uintptr_t)h->region.base;
        return 0;
}

static int
get_is_linked(struct shheap *h, uint64_t *ret)
{
        int is_linked = region_is_linked(&h->region);

        *ret = is_linked > 0;
        return is_linked < 0 ? is_linked : 0;
}

static int
get_region_bytes(struct shheap *h, uint64_t *ret)
{
        *ret = h->region.layout.region_bytes;
        return 0;
}

static int
get_capacity(struct shheap *h, uint64_t *ret)
{
        *ret = region_capacity_chunks(&h->region) << GEO_CHUNK_SHIFT;
        return 0;
}

/* Chunks between the old and the new capacity are taken into use like any others: the mark moves when they are. */
static int
set_capacity(struct shheap *h, uint64_t bytes)
{
        struct region *r = &h->region;
        uint64_t max = r->layout.n_chunks << GEO_CHUNK_SHIFT, now = load_relaxed(&r->header->capacity_chunks);
        uint64_t want = bytes <= max ? bits_align_up(bytes, GEO_CHUNK_BYTES) >> GEO_CHUNK_SHIFT : UINT64_MAX;

        if (want > r->layout.n_chunks || want < region_capacity_chunks(r))
                return error_set(-EINVAL, "heap.capacity: %llu bytes: it can grow from %llu to %llu, and not shrink",
                                 (unsigned long long)bytes,
                                 (unsigned long long)(region_capacity_chunks(r) << GEO_CHUNK_SHIFT),
                                 (unsigned long long)max);
        while (now < want) /* a failed try is somebody else who has grown it, so at most n_chunks of them */
                if (cas_relaxed(&r->header->capacity_chunks, &now, want))
                        break;
        return 0;
}

static int
get_max_capacity(struct shheap *h, uint64_t *ret)
{
        *ret = h->region.layout.n_chunks << GEO_CHUNK_SHIFT;
        return 0;
}

static int
get_decay_ms(struct shheap *h, uint64_t *ret)
{
        *ret = (uint64_t)load_relaxed(&h->region.header->decay_ms);
        return 0;
}

static int
set_decay_ms(struct shheap *h, uint64_t value)
{
        int64_t ms = (int64_t)value;

        if (ms < -1 || ms > DECAY_MS_MAX)
                return error_set(-EINVAL, "heap.decay_ms: %lld: milliseconds, 0 for at once, -1 for never",
                                 (long long)ms);
        store_relaxed(&h->region.header->decay_ms, ms);
        return 0;
}

static int
get_nodes(struct shheap *h, uint64_t *ret)
{
        *ret = region_system_nodes(&h->region);
        return 0;
}

static int
get_numa_policy(struct shheap *h, uint64_t *ret)
{
        *ret = h->region.numa_policy;
        return 0;
}

static int
get_arenas(struct shheap *h, uint64_t *ret)
{
        *ret = h->region.layout.n_arenas;
        return 0;
}

static int
get_clients(struct shheap *h, uint64_t *ret)
{
        const struct region *r = &h->region;

        *ret = 0;
        for (uint32_t idx = 0; idx < region_clients_hwm(r); idx++)
                *ret += client_is_live(r, idx, (uint32_t)(load_relaxed(&r->clients[idx].word) >> 32));
        return 0;
}

static int
get_threads(struct shheap *h, uint64_t *ret)
{
        const struct region *r = &h->region;
        const struct slot_gate *gate;

        *ret = 0;
        for (uint32_t idx = 0; (gate = region_gate(r, idx)) != NULL; idx++)
                *ret += load_relaxed(&gate->state) != 0 && !slot_thread_is_dead_hint(r, idx);
        return 0;
}

static int
get_thread_arena(struct shheap *h, uint64_t *ret)
{
        struct visit v;
        int err = visit_begin(&v, h, "thread.arena");

        if (err < 0)
                return err;
        *ret = v.thread->arena;
        visit_end(&v, "shheap_ctl", NULL, 0);
        return 0;
}

static int
get_thread_node(struct shheap *h, uint64_t *ret)
{
        int err = get_thread_arena(h, ret);

        if (err == 0)
                *ret = region_arena_node(&h->region, (uint32_t)*ret);
        return err;
}

/* ------------------------------------------------------------------ figures */

/* Into memory of its own: the caller's stack may be small. */
static int
count(struct shheap *h, uint64_t (*bytes_of)(const struct check_totals *totals), uint64_t *ret)
{
        void *totals;
        int err = os_map_private(sizeof(struct check_totals), false, &totals);

        if (err == 0) {
                err = check_region(&h->region, 0, NULL, totals);
                *ret = bytes_of(totals);
                os_unmap(totals, sizeof(struct check_totals));
        }
        return err < 0 ? error_set_refused(err, "shheap_ctl: no memory to count with") : 0;
}

static int
get_allocated(struct shheap *h, uint64_t *ret)
{
        return count(h, check_live_bytes, ret);
}

static int
get_cached(struct shheap *h, uint64_t *ret)
{
        return count(h, check_cached_bytes, ret);
}

static int
get_mapped(struct shheap *h, uint64_t *ret)
{
        struct stat st;
        int fd = file_borrow(&h->region), err;

        if (fd < 0)
                return fd;
        err = os_fstat(fd, &st);
        os_close(fd);
        if (err < 0)
                return error_set_refused(err, "stats.mapped");
        *ret = (uint64_t)st.st_blocks * 512;
        return 0;
}

static int
get_purged(struct shheap *h, uint64_t *ret)
{
        *ret = SLOT_TOTAL(&h->region, purged_bytes);
        return 0;
}

static int
get_reaped(struct shheap *h, uint64_t *ret)
{
        *ret = SLOT_TOTAL(&h->region, n_reaped);
        return 0;
}

static int
get_dropped(struct shheap *h, uint64_t *ret)
{
        *ret = handle_n_dropped(h);
        return 0;
}

/* ------------------------------------------------------------------ by name */

static const struct setting {
        const char *name;
        int (*get)(struct shheap *h, uint64_t *ret);
        int (*set)(struct shheap *h, uint64_t value);
} settings[] = {
        {"heap.id", get_id, NULL},
        {"heap.base", get_base, NULL},
        {"heap.is_linked", get_is_linked, NULL},
        {"heap.region_bytes", get_region_bytes, NULL},
        {"heap.capacity", get_capacity, set_capacity},
        {"heap.max_capacity", get_max_capacity, NULL},
        {"heap.decay_ms", get_decay_ms, set_decay_ms},
        {"heap.nodes", get_nodes, NULL},
        {"heap.numa_policy", get_numa_policy, NULL},
        {"heap.arenas", get_arenas, NULL},
        {"heap.clients", get_clients, NULL},
        {"heap.threads", get_threads, NULL},
        {"thread.arena", get_thread_arena, NULL},
        {"thread.node", get_thread_node, NULL},
        {"stats.allocated", get_allocated, NULL},
        {"stats.cached", get_cached, NULL},
        {"stats.mapped", get_mapped, NULL},
        {"stats.purged", get_purged, NULL},
        {"stats.reaped", get_reaped, NULL},
        {"stats.dropped", get_dropped, NULL},
};

static int
ctl_setting(struct shheap *h, const struct setting *s, void *oldp, size_t *oldlenp, const void *newp, size_t newlen)
{
        uint64_t value;
        int err;

        if ((oldp && (!oldlenp || *oldlenp != sizeof value)) || (newp && newlen != sizeof value))
                return error_set(-EINVAL, "%s is a number of %zu bytes", s->name, sizeof value);
        if (newp && !s->set)
                return error_set(-EPERM, "%s cannot be changed", s->name);
        if (newp && h->is_readonly)
                return error_set(-EACCES, "%s: the heap is open read-only", s->name);
        if (oldp) {
                err = s->get(h, &value);
                if (err < 0)
                        return err;
                memcpy(oldp, &value, sizeof value);
        }
        if (!newp)
                return 0;
        memcpy(&value, newp, sizeof value);
        return s->set(h, value);
}

static int
ctl_text(const char *name, const char *value, size_t length, void *oldp, size_t *oldlenp, const void *newp)
{
        if (newp)
                return error_set(-EPERM, "%s cannot be changed", name);
        if (!oldp || !oldlenp)
                return 0;
        if (*oldlenp <= length)
                return error_set(-ERANGE, "%s needs room for %zu bytes", name, length + 1);
        memcpy(oldp, value, length);
        ((char *)oldp)[length] = '\0';
        *oldlenp = length + 1;
        return 0;
}

int
shheap_ctl(shheap *h, const char *name, void *oldp, size_t *oldlenp, const void *newp, size_t newlen)
{
        static const char version[] = TEXT_OF(SHMALLOC_VERSION_MAJOR) "." TEXT_OF(SHMALLOC_VERSION_MINOR);

        if (strcmp(name, "version") == 0)
                return ctl_text(name, version, sizeof version - 1, oldp, oldlenp, newp);
        if (!handle_is_open(h, "shheap_ctl"))
                return -EBADF;
        if (strcmp(name, "heap.name") == 0) {
                const char *heap_name = h->region.header->name;

                return ctl_text(name, heap_name, strnlen(heap_name, LAYOUT_NAME_MAX), oldp, oldlenp, newp);
        }
        for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++)
                if (strcmp(name, settings[i].name) == 0)
                        return ctl_setting(h, &settings[i], oldp, oldlenp, newp, newlen);
        return error_set(-ENOENT, "shheap_ctl: there is no \"%.63s\"", name);
}
