/*
 * open.c - see open.h.
 *
 * Whose heap is it?  The kernel's permission bits say who may open a file, but in a directory that everybody may
 * write to, such as /dev/shm, they do not say who put it there.  So:
 *   - a file that is one's own is good, whatever its header says: nobody but root can make a file of ours, and what we
 *     copied or were given by root is our own or root's doing;
 *   - whoever asks for a private heap (CREATE, with a mode that admits nobody else) is not given one that
 *     belongs to another user, root excepted: it may have been planted under that name.  Users who share a heap either
 *     open it without CREATE, or with a mode that says so.  A hard link to somebody's heap is that one's heap;
 *   - another user's heap must belong to who created it, as its header tells: else it was copied, or given away.  This
 *     is against mistakes, since who writes the file may write any number.  It is a number of the creator's user
 *     namespace, so it is compared in that one only: elsewhere the owner of the same file has another.
 * Whose file it is the kernel is asked (os/owner.h).  A descriptor that was passed on is trusted as far as the one who
 * passed it is: it has no name to squat on.
 *
 * With CREATE, opening and creating are tried in turn, since either may be overtaken by others who create and unlink;
 * the number of tries is bounded, so a storm of these is an error and not a livelock.
 */
#include "region/open.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "os/descriptor.h"
#include "os/owner.h"
#include "os/shm.h"
#include "region/create.h"
#include "region/file.h"
#include "region/header.h"
#include "region/map.h"
#include "region/name.h"
#include "region/stale.h"

enum { OPEN_TRIES = 16 };

struct target {
        const char *name;
        const struct region_open_args *args;
        int dirfd;
        char file[NAME_FILE_BYTES];
        char what[LAYOUT_NAME_MAX + 16];
};

static bool
wants(const struct region_open_args *args, unsigned flag)
{
        return (args->flags & flag) != 0;
}

/* ------------------------------------------------------------------ what exists */

/* Why a file could not be opened: often the file itself tells. */
static int
complain_open(const struct target *t, int err)
{
        struct stat st;

        if (err == -ENOENT)
                return error_set(err, "there is no %s in %s", t->what, name_dir());
        if (err == -EAGAIN)
                return error_set(err, "%s in %s is kept by a lease: somebody is replacing it", t->what, name_dir());
        if (os_stat_at(t->dirfd, t->file, &st) == 0) {
                if (!S_ISREG(st.st_mode))
                        return error_set(-ENODEV, "%s/%s is no heap: it is %s", name_dir(), t->file,
                                         header_file_type(&st));
                if (err == -EACCES && (st.st_uid != geteuid() || (st.st_mode & 0600) != 0600))
                        return error_set(-EACCES, "%s belongs to uid %u with mode %04o: uid %u may not open it",
                                         t->what, st.st_uid, st.st_mode & 07777, geteuid());
        }
        error_refused("openat", err); /* and not the question above */
        return error_set_refused(err, "cannot open %s in %s", t->what, name_dir());
}

static int
check_owner(const struct target *t, int fd, const struct header *h)
{
        uid_t uid = h->st.st_uid;
        bool is_forged = uid != h->copy.creator_uid && h->copy.creator_user_ns != 0 &&
                         h->copy.creator_user_ns == owner_user_ns();
        bool is_strange = uid != 0 && wants(t->args, REGION_CREATE) && (t->args->options.mode & 0077) == 0;
        int is_self;

        if (!is_forged && !is_strange)
                return 0;
        is_self = owner_is_self(fd, &h->st);
        if (is_self > 0)
                return 0;
        if (is_self < 0)
                return error_set_refused(is_self, "whether %s is this user's cannot be known", t->what);
        if (is_forged)
                return error_set(-EACCES, "%s belongs to uid %u, but uid %u created it: a copy or a forgery", t->what,
                                 uid, h->copy.creator_uid);
        return error_set(-EACCES,
                         "%s belongs to uid %u, and uid %u asked for one of its own: open it without SHHEAP_CREATE, or "
                         "with a mode that shares it, if that user is trusted",
                         t->what, uid, geteuid());
}

/* Takes over `fd`, whatever comes of it. */
static int
open_checked(struct region *ret, int fd, const char *what, const struct header *h, const struct region_open_args *args)
{
        struct region r = {
                .fd = descriptor_keep(fd),
                .is_readonly = wants(args, REGION_RDONLY),
                .dev = h->st.st_dev,
                .ino = h->st.st_ino,
                .id = h->copy.id,
        };
        int err =
                r.fd < 0 ? error_set(r.fd, "cannot keep a descriptor of %s: %s (see ulimit -n)", what, error_name(r.fd))
                         : map_region(&r, &h->layout, what, h->copy.base_addr, wants(args, REGION_RELOCATABLE), true);

        if (err < 0) {
                os_close(r.fd);
                return err;
        }
        region_set_policy(&r, h->copy.numa_policy, h->copy.numa_nodes);
        if (wants(args, REGION_POPULATE) && !r.is_readonly) {
                err = create_populate(&r, what, false);
                if (err < 0) {
                        region_close(&r);
                        return err;
                }
        }
        *ret = r;
        return 0;
}

/* Apart from creating, by which it is followed: the caller's stack may be small. */
static __attribute__((noinline)) int
open_existing(struct region *ret, const struct target *t)
{
        struct header header;
        int fd = name_open_file(t->dirfd, t->file, wants(t->args, REGION_RDONLY));
        int err;

        if (fd < 0)
                return complain_open(t, fd);
        err = header_read(fd, t->what, wants(t->args, REGION_RDONLY), &header);
        if (err == 0)
                err = check_owner(t, fd, &header);
        if (err == 0 && !wants(t->args, REGION_RDONLY))
                err = file_check_kind(fd, t->what, t->args->options.disk);
        if (err == 0)
                err = open_checked(ret, fd, t->what, &header, t->args);
        else
                os_close(fd);
        if (err == 0)
                snprintf(ret->name, sizeof ret->name, "%s", t->name);
        return err;
}

/* ------------------------------------------------------------------ open or create */

static int
check_flags(const struct region_open_args *args)
{
        if (wants(args, REGION_EXCL) && !wants(args, REGION_CREATE))
                return error_set(-EINVAL, "SHHEAP_EXCL means nothing without SHHEAP_CREATE");
        if (wants(args, REGION_REPLACE_STALE) && (!wants(args, REGION_CREATE) || wants(args, REGION_EXCL)))
                return error_set(-EINVAL, "SHHEAP_REPLACE_STALE wants SHHEAP_CREATE, and excludes SHHEAP_EXCL");
        if (wants(args, REGION_RDONLY) && wants(args, REGION_CREATE | REGION_POPULATE))
                return error_set(-EINVAL, "SHHEAP_RDONLY excludes SHHEAP_CREATE and SHHEAP_POPULATE");
        return 0;
}

static int
create_exclusively(struct region *ret, const struct target *t)
{
        struct stat st;
        int err = -EEXIST;

        if (os_stat_at(t->dirfd, t->file, &st) != 0) /* else spare the work */
                err = create_region(ret, t->dirfd, t->name, t->args, false);
        return err == -EEXIST ? error_set(err, "there is a %s in %s already", t->what, name_dir()) : err;
}

static int
open_or_create(struct region *ret, const struct target *t)
{
        if (wants(t->args, REGION_EXCL))
                return create_exclusively(ret, t);
        for (int i = 0; i < OPEN_TRIES; i++) {
                int err = open_existing(ret, t);
                bool is_stale = err == -EPROTO && wants(t->args, REGION_REPLACE_STALE);

                if ((err != -ENOENT && !is_stale) || !wants(t->args, REGION_CREATE))
                        return err;
                err = is_stale ? stale_probe(t->dirfd, t->file, t->what) : 0; /* else spare the work */
                if (err == 0)
                        err = create_region(ret, t->dirfd, t->name, t->args, is_stale);
                if (err != -EEXIST)
                        return err;
        }
        return error_set(-EAGAIN, "%s in %s keeps appearing and disappearing", t->what, name_dir());
}

int
region_open(struct region *ret, const char *name, const struct region_open_args *args)
{
        struct target t = {.name = name, .args = args};
        int err = name_to_file(name, t.file);

        if (err == 0)
                err = check_flags(args);
        if (err < 0)
                return err;
        snprintf(t.what, sizeof t.what, "heap \"%s\"", name);
        t.dirfd = name_open_dir();
        if (t.dirfd < 0)
                return t.dirfd;
        err = open_or_create(ret, &t);
        os_close(t.dirfd);
        return err;
}

/* ------------------------------------------------------------------ descriptors */

/* Of a descriptor that somebody passed: one that could be sealed but is not may shrink under us. */
static int
check_seals(int fd, const char *what)
{
        int seals = os_seals(fd);

        if (seals >= 0 && (seals & (F_SEAL_SEAL | F_SEAL_SHRINK)) == 0)
                return error_set(-EBADMSG, "%s is a memfd that is not sealed against shrinking", what);
        return 0;
}

int
region_open_fd(struct region *ret, int fd, const struct region_open_args *args)
{
        struct header header;
        char what[48];
        int own, err = check_flags(args);

        if (err < 0)
                return err;
        if (wants(args, REGION_CREATE))
                return error_set(-EINVAL, "SHHEAP_CREATE means nothing for a descriptor");
        snprintf(what, sizeof what, "the heap of descriptor %d", fd);
        own = os_dup(fd);
        if (own < 0)
                return error_set_refused(own, "cannot duplicate descriptor %d", fd);
        err = header_read(own, what, wants(args, REGION_RDONLY), &header);
        if (err == 0)
                err = check_seals(own, what);
        if (err == 0 && !wants(args, REGION_RDONLY))
                err = file_check_kind(own, what, args->options.disk);
        if (err == 0)
                return open_checked(ret, own, what, &header, args);
        os_close(own);
        return err;
}

int
region_dup_fd(const struct region *r, bool is_readonly)
{
        int own, fd;

        if (r->is_readonly && !is_readonly)
                return error_set(-EACCES, "the heap was opened read-only: no writable descriptor of it can be had");
        own = file_borrow(r);
        if (own < 0)
                return own;
        fd = is_readonly ? os_reopen(own, true) : os_dup(own);
        os_close(own);
        if (fd < 0)
                return error_set_refused(fd, "cannot duplicate the descriptor of the heap");
        return fd;
}

/* ------------------------------------------------------------------ closing, forgetting, listing */

void
region_close(struct region *r)
{
        os_unmap(r->base, r->layout.region_bytes);
        file_drop(r);
        r->base = NULL;
}

int
region_unlink(const char *name)
{
        char file[NAME_FILE_BYTES];
        int dirfd, err = name_to_file(name, file);

        if (err < 0)
                return err;
        dirfd = name_open_dir();
        if (dirfd < 0)
                return dirfd;
        err = os_unlink(dirfd, file);
        os_close(dirfd);
        if (err == -ENOENT)
                return error_set(err, "there is no heap \"%s\" in %s", name, name_dir());
        if (err < 0)
                return error_set_refused(err, "cannot unlink heap \"%s\" in %s", name, name_dir());
        return 0;
}

int
region_is_linked(const struct region *r)
{
        char name[LAYOUT_NAME_MAX + 1], file[NAME_FILE_BYTES];
        struct stat st;
        int dirfd, err;

        memcpy(name, r->name[0] != '\0' ? r->name : r->header->name, sizeof name);
        name[LAYOUT_NAME_MAX] = '\0';
        if (!name_is_valid(name))
                return 0;
        err = name_to_file(name, file);
        dirfd = err < 0 ? err : name_open_dir();
        if (dirfd < 0)
                return dirfd;
        err = os_stat_at(dirfd, file, &st);
        os_close(dirfd);
        if (err < 0 && err != -ENOENT)
                return error_set_refused(err, "cannot look for heap \"%s\" in %s", name, name_dir());
        return err == 0 && st.st_dev == r->dev && st.st_ino == r->ino;
}

struct list {
        int (*fn)(const char *name, void *arg);
        void *arg;
};

static int
list_one(const char *file, void *arg)
{
        const struct list *list = arg;
        const char *name = name_from_file(file);

        return name != NULL ? list->fn(name, list->arg) : 0;
}

int
region_list(int (*fn)(const char *name, void *arg), void *arg)
{
        struct list list = {fn, arg};
        int result, dirfd = name_open_dir();

        if (dirfd < 0)
                return dirfd;
        result = os_list_dir(dirfd, list_one, &list);
        os_close(dirfd);
        return result;
}
