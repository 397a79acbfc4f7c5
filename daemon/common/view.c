/*
 * view.c - see view.h.
 *
 * The address range of the whole region is reserved as private zero pages; over it, each stretch of the tables that the
 * file has pages for (SEEK_DATA) is mapped shared and read-only.  The marks in the header are read live: what lies
 * below them was backed before they were raised, so a table that is missing in the view is one that came after it was
 * mapped, and reads as zeroes, the state of untouched memory.  view_check() looks again then.
 *
 * What this gave up: a stretch is a mapping, and there are only so many; those of a file in tatters are copied.
 */
#include "common/view.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/error.h"
#include "os/shm.h"
#include "region/name.h"

enum { STRETCHES_MAX = 8192, VIEW_TRIES = 6 };

/* ------------------------------------------------------------------ files that shrink */

static volatile sig_atomic_t was_truncated;

/* mmap() is a plain system call: it may be used here. */
static void
on_sigbus(int sig, siginfo_t *info, void *context)
{
        uintptr_t page = (uintptr_t)info->si_addr & ~(uintptr_t)(OS_PAGE_BYTES - 1);

        (void)context;
        was_truncated = 1;
        if (mmap((void *)page, OS_PAGE_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) == MAP_FAILED)
                signal(sig, SIG_DFL);
}

void
view_guard(void)
{
        struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

        sigaction(SIGBUS, &action, NULL);
}

bool
view_was_truncated(void)
{
        return was_truncated != 0;
}

/* ------------------------------------------------------------------ mapping */

static int
map_stretch(struct view *v, uint64_t start, uint64_t end, uint32_t n_before)
{
        char *at = v->mapping + start;

        if (n_before < STRETCHES_MAX)
                return mmap(at, end - start, PROT_READ, MAP_SHARED | MAP_FIXED, v->region.fd, (off_t)start) ==
                                       MAP_FAILED
                               ? -errno
                               : 0;
        if (mprotect(at, end - start, PROT_READ | PROT_WRITE) < 0)
                return -errno;
        return os_pread(v->region.fd, at, end - start, start);
}

/* Where a stretch of pages from `start` on may end: long bitmaps have pages here and there, too many to map each by
 * itself, and none is read that its map does not tell of. */
static uint64_t
stretch_end(const struct layout *layout, uint64_t start, uint64_t hole)
{
        uint64_t rests = layout->off[TABLE_SLAB_RESTS],
                 end = rests + layout->n[TABLE_SLAB_RESTS] * layout->stride[TABLE_SLAB_RESTS];

        return start < end && hole > rests && hole < end ? end : hole;
}

/* Everything before the blocks that has pages. */
static int
map_tables(struct view *v)
{
        uint64_t limit = v->header.layout.chunks_off;
        uint32_t n = 0;
        off_t at = 0;

        while ((at = lseek(v->region.fd, at, SEEK_DATA)) >= 0 && (uint64_t)at < limit) {
                off_t hole = lseek(v->region.fd, at, SEEK_HOLE);
                uint64_t start = bits_align_down((uint64_t)at, OS_PAGE_BYTES), end = limit;
                int err;

                if (hole < 0)
                        break; /* truncated just now */
                hole = (off_t)stretch_end(&v->header.layout, start, (uint64_t)hole);
                if (bits_align_up((uint64_t)hole, OS_PAGE_BYTES) < limit)
                        end = bits_align_up((uint64_t)hole, OS_PAGE_BYTES);
                err = map_stretch(v, start, end, n++);
                if (err < 0)
                        return error_set(err, "cannot map the tables of heap \"%s\": %s", v->name, error_name(err));
                at = hole;
        }
        return 0;
}

static int
note_size(struct view *v)
{
        struct stat st;
        int err = os_fstat(v->region.fd, &st);

        if (err < 0)
                return error_set(err, "cannot look at heap \"%s\": %s", v->name, error_name(err));
        v->file_bytes = (uint64_t)st.st_blocks * 512;
        return 0;
}

static int
map_view(struct view *v)
{
        const struct layout *layout = &v->header.layout;
        void *p = mmap(NULL, layout->region_bytes, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        int fd = v->region.fd, err;

        if (p == MAP_FAILED)
                return error_set(-ENOMEM, "no address range of %llu bytes for heap \"%s\"",
                                 (unsigned long long)layout->region_bytes, v->name);
        v->mapping = p;
        region_bind(&v->region, p, layout);
        v->region.fd = fd;
        v->region.canonical = v->header.copy.base_addr + layout->chunks_off;
        v->region.is_readonly = true;
        v->region.dev = v->header.st.st_dev;
        v->region.ino = v->header.st.st_ino;
        v->region.id = v->header.copy.id;
        err = map_tables(v);
        if (err == 0)
                err = note_size(v);
        if (err < 0)
                munmap(p, layout->region_bytes);
        return err;
}

/* A name out of a file is printed as what it is not trusted to be: text. */
static void
set_name(struct view *v, const char *name)
{
        snprintf(v->name, sizeof v->name, "%s", name);
        for (char *at = v->name; *at; at++)
                if (*at < ' ' || *at > '~')
                        *at = '?';
}

int
view_open_fd(struct view *v, int fd, const char *name, const char *what)
{
        int err;

        memset(v, 0, sizeof *v);
        v->region.fd = fd;
        err = header_read(fd, what, true, &v->header);
        if (err == 0) {
                set_name(v, name ? name : v->header.copy.name);
                err = map_view(v);
        }
        if (err < 0)
                os_close(fd);
        return err;
}

static int
open_file(const char *path)
{
        int fd = os_open_file(AT_FDCWD, path, true);

        return fd >= 0 ? fd : error_set(fd, "cannot open \"%s\": %s", path, error_name(fd));
}

static int
open_name(const char *name)
{
        char file[NAME_FILE_BYTES];
        struct stat st;
        int dirfd, fd, err = name_to_file(name, file);

        if (err < 0)
                return err;
        dirfd = name_open_dir();
        if (dirfd < 0)
                return dirfd;
        fd = os_open_file(dirfd, file, true);
        if (fd == -ENOENT)
                error_set(fd, "there is no heap \"%s\" in %s (shmallocctl ls shows what there is)", name, name_dir());
        else if (fd == -EACCES && os_stat_at(dirfd, file, &st) == 0)
                error_set(fd, "heap \"%s\" belongs to uid %u with mode %04o: uid %u may not read it", name, st.st_uid,
                          st.st_mode & 07777, geteuid());
        else if (fd < 0)
                error_set(fd, "cannot open heap \"%s\" in %s: %s", name, name_dir(), error_name(fd));
        os_close(dirfd);
        return fd;
}

int
view_open(struct view *v, const char *what)
{
        bool is_path = strchr(what, '/') != NULL;
        char text[PATH_MAX + 16];
        int fd = is_path ? open_file(what) : open_name(what);

        if (fd < 0)
                return fd;
        snprintf(text, sizeof text, is_path ? "file \"%s\"" : "heap \"%s\"", what);
        return view_open_fd(v, fd, is_path ? NULL : what, text);
}

void
view_close(struct view *v)
{
        munmap(v->mapping, v->header.layout.region_bytes);
        os_close(v->region.fd);
}

int
view_refresh(struct view *v)
{
        int err = map_tables(v);

        return err < 0 ? err : note_size(v);
}

/* ------------------------------------------------------------------ checking */

int
view_check(struct view *v, unsigned flags, FILE *report, struct check_totals *ret_totals, struct check_totals *by_arena)
{
        int n = 0;

        for (int i = 1; i <= VIEW_TRIES; i++) {
                bool is_last = i == VIEW_TRIES || (flags & CHECK_QUIESCENT) != 0;
                int err = i > 1 ? view_refresh(v) : 0;

                if (err < 0)
                        return err;
                memset(ret_totals, 0, sizeof *ret_totals);
                if (by_arena)
                        memset(by_arena, 0, v->region.layout.n_arenas * sizeof *by_arena);
                n = check_region_by_arena(&v->region, flags, is_last ? report : NULL, ret_totals, by_arena);
                if (n == -ENOMEM)
                        return error_set(n, "no memory to check heap \"%s\": it takes a bit per 16 bytes", v->name);
                if (n <= 0 || is_last)
                        break;
        }
        return n;
}
