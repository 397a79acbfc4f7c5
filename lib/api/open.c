/*
 * open.c - opening, closing and naming heaps.
 *
 * A process has a heap open once, however often it opens it: by the file that it is, since a second mapping could not
 * be at the same address.  Opening attaches the calling thread, so that a process that cannot take part learns it here;
 * a heap that is open read-only has no client and no threads.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "api/heap.h"
#include "api/registry.h"
#include "base/error.h"
#include "blocks/fault.h"
#include "clients/client.h"
#include "os/descriptor.h"
#include "os/pin.h"
#include "os/process.h"
#include "os/robust.h"
#include "os/shm.h"
#include "region/create.h"
#include "region/dump.h"
#include "region/name.h"
#include "region/open.h"

_Static_assert((int)SHHEAP_CREATE == (int)REGION_CREATE && (int)SHHEAP_EXCL == (int)REGION_EXCL &&
                       (int)SHHEAP_RDONLY == (int)REGION_RDONLY && (int)SHHEAP_RELOCATABLE == (int)REGION_RELOCATABLE &&
                       (int)SHHEAP_REPLACE_STALE == (int)REGION_REPLACE_STALE &&
                       (int)SHHEAP_POPULATE == (int)REGION_POPULATE,
               "flags are passed on");
_Static_assert((int)SHHEAP_NUMA_LOCAL == (int)OPTIONS_NUMA_LOCAL &&
                       (int)SHHEAP_NUMA_INTERLEAVE == (int)OPTIONS_NUMA_INTERLEAVE &&
                       (int)SHHEAP_NUMA_BIND == (int)OPTIONS_NUMA_BIND &&
                       (int)SHHEAP_NUMA_STRICT == (int)OPTIONS_NUMA_STRICT,
               "policies are passed on");

#define FLAGS_ALL                                                                                                      \
        (SHHEAP_CREATE | SHHEAP_EXCL | SHHEAP_RDONLY | SHHEAP_RELOCATABLE | SHHEAP_REPLACE_STALE | SHHEAP_POPULATE)

/* ------------------------------------------------------------------ options */

/* A caller of another version knew fewer fields, which have their defaults, or more, which have to be zero. */
static int
attr_read(const struct shheap_attr *given, struct shheap_attr *ret_attr)
{
        const unsigned char *bytes = (const unsigned char *)given;
        size_t size = given ? given->size : sizeof *given;

        memset(ret_attr, 0, sizeof *ret_attr);
        if (size < sizeof(size_t) || size > 4096)
                return error_set(-EINVAL, "shheap_open: attributes of %zu bytes: start from SHHEAP_ATTR_INIT", size);
        for (size_t i = sizeof *given; given && i < size; i++)
                if (bytes[i] != 0)
                        return error_set(-EINVAL, "shheap_open: an attribute that this version does not know is set");
        if (given)
                memcpy(ret_attr, given, size < sizeof *given ? size : sizeof *given);
        return 0;
}

static int
args_make(struct region_open_args *ret_args, unsigned flags, const struct shheap_attr *attr)
{
        struct shheap_attr a;
        struct options_given given;
        int err;

        if (flags & ~(unsigned)FLAGS_ALL)
                return error_set(-EINVAL, "shheap_open: unknown flags %#x", flags & ~(unsigned)FLAGS_ALL);
        err = attr_read(attr, &a);
        if (err < 0)
                return err;
        given = (struct options_given){
                .opens = (flags & SHHEAP_CREATE) == 0,
                .capacity = a.capacity,
                .max_capacity = a.max_capacity,
                .max_clients = a.max_clients,
                .max_threads = a.max_threads,
                .page_shift = a.page_shift,
                .mode = a.mode,
                .numa_policy = a.numa_policy,
                .numa_nodes = a.numa_nodes,
                .base_addr = a.base_addr,
                .conf = a.conf,
        };
        ret_args->flags = flags;
        return options_resolve(&given, &ret_args->options);
}

/* ------------------------------------------------------------------ opening: under the registry's lock */

static int
attach_caller(struct shheap *h)
{
        int err;

        return h->is_readonly || tcache_get_shielded(h, &err) ? 0 : err;
}

/* The heap is open already, or was and is still mapped. */
static int
open_again(struct shheap *h, const struct region_open_args *args)
{
        bool wants_readonly = (args->flags & REGION_RDONLY) != 0, is_closed = load_relaxed(&h->is_closed);
        int err;

        if (h->is_readonly != wants_readonly)
                return error_set(-EBUSY, "this process has the heap open %s: close it before opening it %s",
                                 h->is_readonly ? "read-only" : "for writing",
                                 wants_readonly ? "read-only" : "for writing");
        if (args->flags & REGION_POPULATE && (err = create_populate(&h->region, "the heap", false)) < 0)
                return err;
        if (is_closed)
                store_relaxed(&h->is_closed, false);
        err = attach_caller(h);
        if (err < 0) {
                store_relaxed(&h->is_closed, is_closed);
                return err;
        }
        if (is_closed) {
                tcache_open_all(h);
                registry_add(h);
        }
        h->n_opens++;
        return 0;
}

static bool
has_other_clients(const struct region *r)
{
        for (uint32_t idx = 0; idx < region_clients_hwm(r); idx++) {
                struct client_id client;
                uint32_t pid, pid_ns;

                if (client_who_anywhere(r, idx, &client, &pid, &pid_ns) &&
                    (pid != process_id() || pid_ns != process_pid_ns()))
                        return true;
        }
        return false;
}

/* A heap that was made just now, and of which its maker is no client because of `err`: its name goes, unless others
 * have come already.  Where that is refused, both are told. */
static int
leave_no_name(const struct region *r, int err)
{
        char why[ERROR_MESSAGE_MAX + 1];

        if (!r->is_new || has_other_clients(r))
                return err;
        snprintf(why, sizeof why, "%s", error_message());
        if (region_is_linked(r) == 1 && region_unlink(r->name) < 0)
                return error_append(err, "; and before that: %s", why);
        return error_set(err, "%s", why);
}

/* Takes over the region, also if it fails. */
static int
open_new(struct shheap **ret_heap, struct region *region, const struct region_open_args *args)
{
        struct shheap *h;
        int err;

        error_forget_refused();
        h = registry_new();
        if (!h) {
                err = error_set_refused(-ENOMEM, "shheap_open: no handle: no memory, or this process has %d heaps open",
                                        REGISTRY_HANDLES);
                err = leave_no_name(region, err);
                region_close(region);
                return err;
        }
        h->region = *region;
        if (args->options.dump)
                dump_begin(&h->region);
        h->tell = fault_tell;
        h->is_checked = args->options.check;
        h->is_junked = args->options.junk;
        h->is_zeroed = args->options.zero;
        h->generation = tcache_generation() - 1; /* not a client yet */
        h->reserve_of = h->generation;
        process_lock_init(&h->lock);
        h->is_readonly = region->is_readonly;
        h->n_opens = 1;
        err = attach_caller(h);
        if (err < 0) {
                err = leave_no_name(&h->region, err);
                registry_destroy(h);
                return err;
        }
        registry_add(h);
        *ret_heap = h;
        return 0;
}

/* The heap that this process knows by that name, if any. */
static struct shheap *
find_by_name(const char *name)
{
        char file[NAME_FILE_BYTES];
        struct shheap *h = NULL;
        struct stat st;
        int dirfd;

        if (name_to_file(name, file) < 0 || (dirfd = name_open_dir()) < 0)
                return NULL;
        if (os_stat_at(dirfd, file, &st) == 0)
                h = registry_find(st.st_dev, st.st_ino);
        os_close(dirfd);
        return h;
}

static int
open_by_name(struct shheap **ret_heap, const char *name, const struct region_open_args *args)
{
        struct shheap *h = args->flags & REGION_EXCL || registry_is_empty() ? NULL : find_by_name(name);
        struct region region;
        int err;

        if (!h) {
                err = region_open(&region, name, args);
                if (err < 0)
                        return err;
                h = registry_find(region.dev, region.ino); /* renamed in between */
                if (!h)
                        return open_new(ret_heap, &region, args);
                region_close(&region);
        }
        err = open_again(h, args);
        if (err == 0)
                *ret_heap = h;
        return err;
}

static int
open_by_fd(struct shheap **ret_heap, int fd, const struct region_open_args *args)
{
        struct shheap *h = NULL;
        struct region region;
        struct stat st;
        int err;

        if (os_fstat(fd, &st) == 0 && !(args->flags & (REGION_CREATE | REGION_EXCL)))
                h = registry_find(st.st_dev, st.st_ino);
        if (!h) {
                err = region_open_fd(&region, fd, args);
                return err < 0 ? err : open_new(ret_heap, &region, args);
        }
        err = open_again(h, args);
        if (err == 0)
                *ret_heap = h;
        return err;
}

/* ------------------------------------------------------------------ the public side */

/* What lasts as long as a heap is being opened: so none of it is asked for or undone at each step.  First of all who we
 * are: what fails there, who attaches is told. */
static void
enter(struct shield *ret_shield)
{
        shield_raise(ret_shield);
        os_pin();
        (void)process_remember();
        (void)robust_check_anew();
        registry_lock_shielded();
        descriptor_plug_all();
        registry_sweep();
}

static void
leave(const struct shield *shield)
{
        descriptor_unplug_all();
        registry_unlock(shield);
}

int
shheap_open(shheap **ret_heap, const char *name, unsigned flags, const struct shheap_attr *attr)
{
        struct region_open_args args;
        struct shield shield;
        int err = args_make(&args, flags, attr);

        if (err < 0)
                return err;
        enter(&shield);
        err = open_by_name(ret_heap, name, &args);
        leave(&shield);
        return err;
}

int
shheap_open_fd(shheap **ret_heap, int fd, unsigned flags)
{
        struct region_open_args args;
        struct shield shield;
        int err = args_make(&args, flags, NULL);

        if (err < 0)
                return err;
        enter(&shield);
        err = open_by_fd(ret_heap, fd, &args);
        leave(&shield);
        return err;
}

int
shheap_dup_fd(const shheap *h, unsigned flags)
{
        if (!handle_is_open(h, "shheap_dup_fd"))
                return -EBADF;
        if (flags & ~(unsigned)SHHEAP_RDONLY)
                return error_set(-EINVAL, "shheap_dup_fd: flags %#x: only SHHEAP_RDONLY is possible", flags);
        return region_dup_fd(&h->region, (flags & SHHEAP_RDONLY) != 0);
}

/* Empties the calling thread's caches while what is found wrong on the way can still be told, with nothing held. */
static void
flush_caller(struct shheap *h)
{
        struct tcache *t = h->is_readonly ? NULL : tcache_find(h);
        struct fault noted;

        if (!t)
                return;
        tcache_enter(t);
        call_begin(&t->thread, 0, 1, SIZE_CLASS_NONE);
        tcache_flush(t);
        noted = t->thread.fault;
        t->thread.fault.what = FAULT_NONE;
        tcache_leave(t);
        if (noted.what != FAULT_NONE)
                fault_report(h, &noted, "shheap_close", NULL, 0);
}

/* The last one. */
static void
close_heap(struct shheap *h)
{
        registry_remove(h);
        tcache_unset_default(h);
        tcache_close_all(h);
        tcache_forget(h);
        registry_sweep();
}

int
shheap_close(shheap *h)
{
        struct shield shield;
        bool is_open, is_last;

        registry_lock(&shield);
        is_open = registry_has(h);
        is_last = is_open && h->n_opens == 1;
        registry_unlock(&shield);
        if (!is_open)
                return error_set(-EBADF, "shheap_close: not an open heap");
        if (is_last)
                flush_caller(h);
        registry_lock(&shield);
        if (registry_has(h) && --h->n_opens == 0)
                close_heap(h);
        registry_unlock(&shield);
        return 0;
}

int
shheap_unlink(const char *name)
{
        return region_unlink(name);
}

const char *
shheap_errormsg(void)
{
        return error_message();
}

/* ------------------------------------------------------------------ the default heap */

static struct shheap *
default_heap(void)
{
        return (struct shheap *)(void *)tcache_default_heap(); /* `process` is the first member */
}

struct shheap *
handle_default(void)
{
        struct shheap *h = default_heap();
        struct region_open_args args;
        struct shield shield;
        const char *name;
        int err;

        if (h)
                return h;
        name = options_env(OPTIONS_ENV_HEAP);
        err = name ? args_make(&args, SHHEAP_CREATE, NULL)
                   : error_set(-ENODEV, "there is no default heap: set SHMALLOC_HEAP to the name of one, or call "
                                        "shheap_set_default()");
        if (err < 0) {
                errno = -err;
                return NULL;
        }
        enter(&shield);
        h = default_heap(); /* another thread was faster */
        if (!h && (err = open_by_name(&h, name, &args)) == 0)
                tcache_set_default(h);
        leave(&shield);
        if (err < 0)
                errno = -err;
        return h;
}

shheap *
shheap_default(void)
{
        return handle_default();
}

int
shheap_set_default(shheap *h)
{
        bool is_open = !h || registry_lists(h);

        if (is_open && h && h->is_readonly)
                return error_set(-EACCES, "shheap_set_default: the heap is open read-only");
        if (is_open)
                tcache_set_default(h);
        if (is_open && h && !registry_lists(h)) { /* closed meanwhile */
                tcache_unset_default(h);
                is_open = false;
        }
        return is_open ? 0 : error_set(-EBADF, "shheap_set_default: not an open heap");
}
