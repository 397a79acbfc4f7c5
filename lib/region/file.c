/*
 * file.c - see file.h.
 *
 * A number is duplicated before it is looked at: what was seen is then what is used, unless the program closes a
 * number that it was never given, in this very moment.
 *
 * Reading (file_look()) takes words as they are, whole: the kernel copies what is aligned by words at least.
 */
#include "region/file.h"

#include <errno.h>
#include <string.h>

#include "base/atomic.h"
#include "base/error.h"
#include "base/verify.h"
#include "os/descriptor.h"
#include "os/shm.h"
#include "region/name.h"

/* The descriptor, if it is the file's; else it is closed. */
static int
only_ours(const struct region *r, int fd)
{
        if (descriptor_is(fd, r->dev, r->ino))
                return fd;
        os_close(fd);
        return -EBADF;
}

static int
open_by_name(const struct region *r)
{
        char name[LAYOUT_NAME_MAX + 1], file[NAME_FILE_BYTES];
        int dirfd, fd;

        memcpy(name, r->name[0] != '\0' ? r->name : r->header->name, sizeof name);
        name[LAYOUT_NAME_MAX] = '\0';
        if (name_to_file(name, file) < 0)
                return -EBADF;
        dirfd = name_open_dir();
        if (dirfd < 0)
                return -EBADF;
        fd = name_open_file(dirfd, file, r->is_readonly);
        os_close(dirfd);
        return only_ours(r, fd);
}

int
file_borrow_kept(const struct region *r)
{
        return r->fd < 0 ? -EBADF : only_ours(r, descriptor_dup(r->fd));
}

int
file_borrow(const struct region *r)
{
        int fd = file_borrow_kept(r);

        if (fd < 0)
                fd = open_by_name(r);
        return fd >= 0 ? fd
                       : error_set(
                                 fd,
                                 "the program has closed the library's descriptor %d of the heap, or put another file "
                                 "there, and the heap is not found by its name",
                                 r->fd);
}

int
file_check_kind(int fd, const char *what, bool disk)
{
        if (disk || os_is_in_memory(fd))
                return 0;
        return error_set(
                -ENOTSUP,
                "%s would lie on a disk: its file system is none in memory, such as tmpfs, so that blocks that were "
                "handed out may end in SIGBUS when it is full; choose another SHMALLOC_DIR, or say disk:true",
                what);
}

uint64_t
file_next_page(int fd, uint64_t off)
{
        int64_t at = os_seek(fd, off, true);

        ASSERT(fd >= 0);
        ASSERT(at < 0 || (uint64_t)at >= off);
        return at >= 0 ? (uint64_t)at : UINT64_MAX;
}

uint64_t
file_pages_bytes(int fd, uint64_t off)
{
        int64_t at = os_seek(fd, off, false);

        ASSERT(fd >= 0);
        return at > (int64_t)off ? (uint64_t)at - off : OS_PAGE_BYTES;
}

void
file_look(const struct region *r, int fd, const void *from, void *ret_copy, size_t bytes)
{
        const uint64_t *words = from;
        uint64_t *copy = ret_copy;
        uint64_t off = (uint64_t)((const char *)from - r->base);

        ASSERT(off % sizeof *words == 0 && bytes % sizeof *words == 0);
        ASSERT(off < r->layout.region_bytes && bytes <= r->layout.region_bytes - off);
        if (fd >= 0 && os_pread(fd, ret_copy, bytes, off) == 0)
                return;
        for (size_t i = 0; i < bytes / sizeof *words; i++)
                copy[i] = load_acquire(&words[i]); /* E24.acq */
}

void
file_drop(struct region *r)
{
        if (descriptor_is(r->fd, r->dev, r->ino))
                os_close(r->fd);
        r->fd = -1;
}
