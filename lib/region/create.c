/*
 * create.c - see create.h.
 *
 * The file has no name while it is filled, so a creator that is killed or stopped half-way is invisible, and what it
 * had goes with its descriptor; naming it is one step (os/newfile.h), which fails if somebody else was first.  So
 * there is no half-made region, nothing to wait for and nothing to clean up.
 *
 * All that every region has backed is backed before the first store into the mapping, so a full file system is an
 * error here and never a fault.
 */
#include "region/create.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/newfile.h"
#include "os/numa.h"
#include "os/owner.h"
#include "os/shm.h"
#include "region/file.h"
#include "region/header.h"
#include "region/map.h"
#include "region/name.h"
#include "region/stale.h"

/* Between choosing an address and mapping it, another thread may map something there. */
enum { MAP_TRIES = 4 };

struct plan {
        const char *name;
        const struct region_open_args *args;
        struct layout_params params;
        struct layout *layout; /* of the region that is made */
        int dirfd;             /* of the neighbours, -1 = none */
        char what[LAYOUT_NAME_MAX + 16];
};

static int
plan_init(struct plan *p, struct layout *ret_layout, int dirfd, const char *name, const struct region_open_args *args)
{
        const struct options *o = &args->options;
        const char *detail;

        p->name = name;
        p->args = args;
        p->layout = ret_layout;
        p->dirfd = dirfd;
        p->params = options_params(o);
        snprintf(p->what, sizeof p->what, "heap \"%s\"", name);
        if (layout_compute(&p->params, p->layout, &detail) < 0)
                return error_set(-EINVAL, "cannot create %s: %s", p->what, detail);
        if (o->page_shift != 12)
                return error_set(-ENOTSUP, "cannot create %s: page_shift %u is not supported, only 12", p->what,
                                 o->page_shift);
        if (o->capacity == 0 || o->capacity % GEO_CHUNK_BYTES != 0 || o->capacity > o->max_capacity)
                return error_set(-EINVAL, "cannot create %s: a capacity of %" PRIu64 " bytes is not possible", p->what,
                                 o->capacity);
        if (o->base_addr % HEADER_BASE_ALIGN != 0)
                return error_set(-EINVAL, "cannot create %s: base address %#" PRIx64 " is no multiple of 1 GiB",
                                 p->what, o->base_addr);
        return 0;
}

static int
no_room(int err, const char *what, const char *for_what)
{
        return error_set_refused(err, "no room for %s of %s", for_what, what);
}

/* ------------------------------------------------------------------ filling */

/* Its own slot, and the one in reserve. */
static uint32_t
n_first_threads(const struct region *r)
{
        return r->layout.n[TABLE_THREADS] < 2 ? 1 : 2;
}

/* Where there are several nodes, which one needs it first is not known. */
static bool
has_first_magazine(const struct region *r)
{
        return r->n_nodes == 1;
}

/* What the first client cannot do without: so a lack of memory shows before there is a name, and it is done in few
 * calls. */
static int
fill_first(struct region *r, const struct plan *p)
{
        int err = region_reserve_table(r, TABLE_CLIENTS, 0, 1);

        ASSERT(p->layout->region_bytes == r->layout.region_bytes);
        if (err == 0)
                err = region_reserve_table(r, TABLE_GATES, 0, n_first_threads(r));
        if (err == 0)
                err = region_reserve_table(r, TABLE_THREADS, 0, n_first_threads(r));
        if (err == 0)
                err = region_reserve_table(r, TABLE_ARENAS, 0, 1);
        if (err == 0 && has_first_magazine(r))
                err = region_reserve_table(r, TABLE_MAGAZINE_WORDS, 0, 1);
        if (err == 0 && has_first_magazine(r))
                err = region_reserve_table(r, TABLE_MAGAZINES, 0, 1);
        return err < 0 ? no_room(err, p->what, "the first client") : 0;
}

/* The marks say so.  Nobody sees the region yet. */
static void
mark_first(struct region *r)
{
        ASSERT(r->header->clients_hwm == 0 && r->header->threads_hwm == 0 && r->header->magazines_hwm[0] == 0);
        ASSERT_INVARIANT(I17, n_first_threads(r) <= r->layout.n[TABLE_THREADS]);
        r->header->clients_hwm = 1;
        r->header->threads_hwm = n_first_threads(r);
        r->arena_words[0] = ARENA_READY;
        if (!has_first_magazine(r))
                return;
        r->header->magazines_hwm[0] = 1;
        r->pool_hints[0] |= 1; /* where it is found */
}

/* The whole pages of a node's part of a table. */
static void
bind_part(const struct region *r, enum layout_table table, uint64_t n, uint32_t node)
{
        uint64_t start = r->layout.off[table] + node * n * r->layout.stride[table];
        uint64_t end = bits_align_down(start + n * r->layout.stride[table], OS_PAGE_BYTES);

        ASSERT(node < r->n_nodes && (node + 1) * n <= r->layout.n[table]);
        start = bits_align_up(start, OS_PAGE_BYTES);
        if (start < end)
                (void)os_numa_bind(r->base + start, end - start, UINT64_C(1) << node, false); /* at best: see below */
}

/* What the threads of a node use lies there, whoever backs it.  Where that cannot be had, such as in a container that
 * may not ask for it, the pages come from the node of the thread that backs them, which is the same most of the
 * time. */
static void
bind_tables(const struct region *r, const struct layout *l)
{
        uint32_t n_nodes = (uint32_t)(l->n[TABLE_MAGAZINES] / l->magazines_per_node);
        uint32_t n_arenas = l->n_arenas / n_nodes;

        for (uint32_t node = 0; n_nodes > 1 && node < n_nodes; node++) {
                if (node == l->spread_node || !(os_numa()->with_memory >> node & 1))
                        continue;
                bind_part(r, TABLE_ARENAS, n_arenas, node);
                bind_part(r, TABLE_HINT_GROUPS, (uint64_t)n_arenas * l->n_groups, node);
                bind_part(r, TABLE_MAGAZINE_WORDS, l->magazines_per_node, node);
                bind_part(r, TABLE_MAGAZINES, l->magazines_per_node, node);
        }
}

/* The file, of which these facts are known, at its full size, sparse. */
static int
fill_file(struct region *r, const struct plan *p, const struct os_facts *facts)
{
        uint32_t mode = p->args->options.mode;
        int err = os_truncate(r->fd, p->layout->region_bytes);

        ASSERT(r->fd >= 0);
        if (err < 0)
                return no_room(err, p->what, "the address range");
        if (facts->mode != mode)
                err = os_fchmod(r->fd, mode); /* whatever the umask */
        if (err < 0)
                return error_set_refused(err, "cannot set the mode of %s", p->what);
        r->dev = facts->dev;
        r->ino = facts->ino;
        return 0;
}

/* Pages for what every region has backed. */
static int
fill_pages(struct region *r, const struct plan *p)
{
        int err;

        bind_tables(r, p->layout);
        err = region_reserve_fixed(r);
        return err < 0 ? no_room(err, p->what, "the first tables") : fill_first(r, p);
}

static int
fill_map(struct region *r, const struct plan *p, uint64_t ino, uint64_t *ret_base)
{
        bool relocatable = p->args->flags & REGION_RELOCATABLE;
        uint64_t base = p->args->options.base_addr;
        int tries = base != 0 ? 1 : MAP_TRIES;
        bool looks = false, stays = p->dirfd < 0;
        int err = -EADDRINUSE;

        error_forget_refused();
        while (err == -EADDRINUSE && tries-- > 0) {
                if (p->args->options.base_addr == 0)
                        base = map_choose_base(p->dirfd, p->name, ino, p->layout->region_bytes, looks, &err);
                if (base == 0)
                        return error_append_refused(
                                error_set(err, "no %s of %" PRIu64 " bytes for %s",
                                          err == -EADDRINUSE ? "free address range" : "memory to find an address range",
                                          p->layout->region_bytes, p->what));
                err = map_region(r, p->layout, p->what, base, relocatable && (looks || p->args->options.base_addr != 0),
                                 stays);
                looks = true;
        }
        ASSERT(err < 0 || (base != 0 && base % HEADER_BASE_ALIGN == 0));
        *ret_base = base;
        return err;
}

static void
fill_header(struct region *r, const struct plan *p, uint64_t base, const struct os_facts *facts)
{
        const struct options *o = &p->args->options;
        struct timespec now = {0};

        ASSERT(base % HEADER_BASE_ALIGN == 0 && o->capacity % GEO_CHUNK_BYTES == 0);
        region_format(r, &p->params, p->name, base);
        clock_gettime(CLOCK_REALTIME, &now);
        r->header->created_realtime_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
        r->header->id = os_random();
        r->header->creator_uid = facts->uid;
        r->header->creator_user_ns = owner_user_ns();
        r->header->capacity_chunks = o->capacity / GEO_CHUNK_BYTES;
        r->header->decay_ms = o->decay_ms;
        r->header->numa_policy = o->numa_policy;
        r->header->numa_nodes = o->numa_nodes;
        region_set_policy(r, o->numa_policy, o->numa_nodes);
        mark_first(r);
        r->id = r->header->id;
        ASSERT_INVARIANT(I17, r->header->capacity_chunks <= r->layout.n_chunks);
}

/* A complete region in the empty file r->fd, mapped.  On failure nothing is mapped. */
static int
fill(struct region *r, const struct plan *p, const struct os_facts *facts)
{
        uint64_t base = 0;
        int err = fill_file(r, p, facts);

        if (err == 0)
                err = fill_map(r, p, facts->ino, &base);
        if (err < 0)
                return err;
        err = fill_pages(r, p);
        if (err == 0)
                fill_header(r, p, base, facts);
        if (err == 0 && (p->args->flags & REGION_POPULATE))
                err = create_populate(r, p->what, true);
        if (err < 0)
                os_unmap(r->base, p->layout->region_bytes);
        return err;
}

/* What the arenas need to hold all the chunks, and a thread of each for its caches. */
static int
populate_arenas(struct region *r, uint64_t n_chunks)
{
        uint64_t n_groups = (n_chunks + 63) / 64;
        uint32_t n_threads = r->layout.n_arenas, n_magazines = r->arenas_per_node * 2 * SIZE_CLASS_N_CACHED;
        int err = region_reserve_table(r, TABLE_ARENAS, 0, r->layout.n_arenas);

        ASSERT_INVARIANT(I17, n_chunks <= r->layout.n_chunks);
        for (uint32_t arena = 0; err == 0 && arena < r->layout.n_arenas; arena++)
                err = region_reserve_table(r, TABLE_HINT_GROUPS, (uint64_t)arena * r->layout.n_groups, n_groups);
        for (uint32_t k = region_threads_hwm(r); err == 0 && k < n_threads && k < r->layout.n[TABLE_THREADS]; k++)
                err = region_raise_threads(r, k);
        for (uint32_t node = 0; node < r->n_nodes; node++)
                for (uint32_t k = region_magazines_hwm(r, node);
                     err == 0 && k < n_magazines && k < r->layout.magazines_per_node; k++)
                        err = region_raise_magazines(r, node, k);
        return err;
}

/* Each node gets an equal part of the chunks, of a heap that nobody else has yet.  Where that is refused, whoever takes
 * a chunk gives its pages back and tries again. */
static void
place_chunk(struct region *r, uint64_t chunk, uint64_t n_chunks)
{
        uint64_t nodes = r->numa_nodes & os_numa()->with_memory & os_numa_allowed();
        uint64_t off = r->layout.chunks_off + chunk * GEO_CHUNK_BYTES;
        uint32_t node;

        ASSERT(chunk < n_chunks && n_chunks <= r->layout.n_chunks);
        ASSERT(chunk_state(r->chunk_words[chunk]) == CHUNK_FREE);
        if (r->numa_policy == OPTIONS_NUMA_INTERLEAVE) {
                if (os_numa_bind(r->base + off, GEO_CHUNK_BYTES, nodes, true) == 0)
                        r->chunk_words[chunk] = chunk_with_node1(0, r->layout.spread_node + 1);
                return;
        }
        for (uint64_t i = chunk * (uint64_t)__builtin_popcountll(nodes) / n_chunks; i > 0; i--)
                nodes &= nodes - 1;
        node = nodes != 0 ? (uint32_t)bits_ctz(nodes) : 0;
        if (nodes != 0 && os_numa_bind(r->base + off, GEO_CHUNK_BYTES, UINT64_C(1) << node, false) == 0)
                r->chunk_words[chunk] = chunk_with_node1(0, node + 1);
}

int
create_populate(struct region *r, const char *what, bool is_new)
{
        uint64_t n = region_capacity_chunks(r);
        int err = populate_arenas(r, n);

        ASSERT_INVARIANT(I17, n <= r->layout.n_chunks);
        for (uint64_t k = region_chunks_hwm(r); err == 0 && k < n; k++) {
                err = region_raise_chunks(r, k);
                if (err == 0 && is_new)
                        r->free_chunks[k / 64] |= UINT64_C(1) << k % 64; /* a hint: they are found by their nodes */
                if (err == 0 && is_new && r->layout.spread_node != NODE_NONE)
                        place_chunk(r, k, n);
        }
        for (uint64_t k = 0; err == 0 && k < n; k++)
                err = region_raise_bitmaps(r, k * GEO_GRANULES_PER_CHUNK, GEO_GRANULES_PER_CHUNK);
        if (err == 0)
                err = region_reserve(r, r->layout.chunks_off, n * GEO_CHUNK_BYTES);
        return err < 0 ? no_room(err, what, "the capacity") : 0;
}

/* ------------------------------------------------------------------ making it visible */

/*
 * The file was opened without its name, and would be "/dev/shm/#123 (deleted)" in /proc and core files for as long as
 * we have it: open and map it again by name.  If others have unlinked it meanwhile, we keep what we have.
 */
static int
adopt_name(struct region *r, int dirfd, const char *file, const char *what)
{
        int fd = descriptor_keep(name_open_file(dirfd, file, false)), old = r->fd;
        int err;

        if (!descriptor_is(fd, r->dev, r->ino)) {
                os_close(fd);
                r->fd = descriptor_keep(old);
                return map_again(r, what);
        }
        r->fd = fd;
        err = map_again(r, what);
        os_close(old);
        return err;
}

static int
publish(struct os_newfile *file, const char *name, const char *what, bool replaces)
{
        int err = replaces ? stale_replace(file, name, what) : os_newfile_publish(file, name);

        if (err < 0 && !replaces)
                error_set_refused(err, "cannot give %s its name in %s", what, name_dir());
        return err;
}

int
create_region(struct region *ret, int dirfd, const char *name, const struct region_open_args *args, bool replaces)
{
        struct region r = {.fd = -1};
        struct os_newfile file;
        struct plan plan;
        char file_name[NAME_FILE_BYTES];
        int err = name_to_file(name, file_name);

        if (err == 0)
                err = plan_init(&plan, &r.layout, dirfd, name, args);
        if (err < 0)
                return err;
        err = os_newfile_open(&file, dirfd);
        if (err < 0)
                return error_set_refused(err, "cannot create %s in %s", plan.what, name_dir());
        r.fd = file.fd;
        err = file_check_kind(r.fd, plan.what, args->options.disk);
        if (err == 0)
                err = fill(&r, &plan, &file.facts);
        if (err < 0)
                goto err_discard;
        err = publish(&file, file_name, plan.what, replaces);
        if (err < 0)
                goto err_unmap;
        err = adopt_name(&r, dirfd, file_name, plan.what);
        if (err < 0) {
                os_close(r.fd);
                return err;
        }
        snprintf(r.name, sizeof r.name, "%s", name);
        r.is_new = true;
        *ret = r;
        return 0;
err_unmap:
        os_unmap(r.base, r.layout.region_bytes);
err_discard:
        os_newfile_discard(&file);
        return err;
}

static int
look_at(int fd, const char *what, struct os_facts *ret_facts)
{
        struct stat st;
        int err = os_fstat(fd, &st);

        if (err < 0)
                return error_set_refused(err, "cannot look at %s", what);
        *ret_facts = os_facts_of(&st);
        return 0;
}

int
region_create_anonymous(struct region *ret, const char *label, const struct region_open_args *args)
{
        struct region r = {.fd = -1};
        struct plan plan;
        struct os_facts facts;
        char file_name[NAME_FILE_BYTES];
        int err = name_to_file(label, file_name);

        if (err == 0)
                err = plan_init(&plan, &r.layout, -1, label, args);
        if (err < 0)
                return err;
        r.fd = descriptor_keep(os_memfd(file_name));
        if (r.fd < 0)
                return error_set_refused(r.fd, "cannot create %s in memory", plan.what);
        err = look_at(r.fd, plan.what, &facts);
        if (err == 0)
                err = fill(&r, &plan, &facts);
        if (err < 0)
                goto err_close;
        err = os_seal_size(r.fd);
        if (err < 0) {
                error_set_refused(err, "cannot seal the size of %s", plan.what);
                goto err_unmap;
        }
        *ret = r;
        return 0;
err_unmap:
        os_unmap(r.base, r.layout.region_bytes);
err_close:
        os_close(r.fd);
        return err;
}
