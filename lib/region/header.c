/*
 * header.c - see header.h.
 *
 * The header is read once, with pread, into private memory, and everything is decided by that copy: the file may be
 * changed by its writers at any time, and a mapping of it may fault.  The checks go from "is it a region at all" to
 * "are its numbers possible", and each number is checked before anything is computed from it.  What is of another
 * version is known by the frozen line alone, and nothing behind that is looked at.  Offsets are not in
 * the header: they are computed from its parameters, and must give the size that it and the file have.
 */
#include "region/header.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>

#include "base/error.h"
#include "base/verify.h"
#include "os/shm.h"

#define ADDR_MAX UINT64_C(0x7ffffffff000) /* user addresses of four-level paging */

const char *
header_file_type(const struct stat *st)
{
        switch (st->st_mode & S_IFMT) {
        case S_IFREG:
                return "a regular file";
        case S_IFDIR:
                return "a directory";
        case S_IFLNK:
                return "a symbolic link";
        case S_IFIFO:
                return "a FIFO";
        case S_IFSOCK:
                return "a socket";
        case S_IFCHR:
                return "a character device";
        case S_IFBLK:
                return "a block device";
        default:
                return "a file of unknown type";
        }
}

static int
check_file(const struct header *h, const char *what)
{
        if (!S_ISREG(h->st.st_mode))
                return error_set(-ENODEV, "%s is no heap: it is %s", what, header_file_type(&h->st));
        if (h->st.st_size < (off_t)LAYOUT_FROZEN_BYTES)
                return error_set(-ENODEV, "%s is no heap: it has %jd bytes, fewer than the header of a heap", what,
                                 (intmax_t)h->st.st_size);
        return 0;
}

static int
check_features(const struct header *h, const char *what, bool is_readonly)
{
        uint64_t incompat = h->copy.features_incompat & ~LAYOUT_FEATURES_INCOMPAT;
        uint64_t ro_compat = h->copy.features_ro_compat & ~LAYOUT_FEATURES_RO_COMPAT;

        ASSERT(h->copy.version == LAYOUT_VERSION);
        if (incompat != 0)
                return error_set(-EPROTO,
                                 "%s uses features %#" PRIx64 " that this library does not know: use the library that "
                                 "created it, or unlink it",
                                 what, incompat);
        if (ro_compat != 0 && !is_readonly)
                return error_set(-EPROTO,
                                 "%s uses features %#" PRIx64 " that this library can only read: open it with "
                                 "SHHEAP_RDONLY, or use the library that created it",
                                 what, ro_compat);
        return 0;
}

static int
check_build(const struct header *h, const char *what, bool is_readonly)
{
        if (h->copy.magic != LAYOUT_MAGIC)
                return error_set(-ENODEV, "%s is no heap: it does not begin like one", what);
        if (h->copy.version != LAYOUT_VERSION || h->copy.hash != layout_hash())
                return error_set(-EPROTO,
                                 "%s has layout version %" PRIu32 " (build %08" PRIx32 "), this library has version %u "
                                 "(build %08" PRIx32 "): use the library that created it, or unlink it",
                                 what, h->copy.version, h->copy.hash, LAYOUT_VERSION, layout_hash());
        return check_features(h, what, is_readonly);
}

static int
damaged(const char *what, const char *detail)
{
        ASSERT(detail[0] != 0);
        return error_set(-EBADMSG, "%s is damaged: its header has %s", what, detail);
}

static int
check_sizes(struct header *h, const char *what)
{
        const char *detail;

        if (layout_compute(&h->copy.params, &h->layout, &detail) < 0) {
                damaged(what, "impossible parameters (");
                return error_append(-EBADMSG, "%s)", detail);
        }
        if (h->copy.region_bytes != h->layout.region_bytes)
                return damaged(what, "a size that does not follow from its parameters");
        if ((uint64_t)h->st.st_size != h->layout.region_bytes)
                return error_set(-EBADMSG, "%s is %s: it has %jd bytes instead of %" PRIu64, what,
                                 (uint64_t)h->st.st_size < h->layout.region_bytes ? "truncated" : "too long",
                                 (intmax_t)h->st.st_size, h->layout.region_bytes);
        return 0;
}

/* Each alone: two marks read here may come from different moments. */
static bool
marks_are_possible(const struct header *h)
{
        const struct region_header *c = &h->copy;
        const uint64_t *n = h->layout.n;

        ASSERT(c->params.n_nodes <= NODE_MAX);
        if (c->capacity_chunks == 0 || c->capacity_chunks > h->layout.n_chunks || c->chunks_hwm > h->layout.n_chunks ||
            c->threads_hwm > n[TABLE_THREADS] || c->clients_hwm > n[TABLE_CLIENTS] || c->roots_hwm > n[TABLE_ROOTS])
                return false;
        for (uint32_t node = 0; node < NODE_MAX; node++)
                if (c->magazines_hwm[node] > (node < c->params.n_nodes ? h->layout.magazines_per_node : 0))
                        return false;
        return true;
}

static int
check_values(const struct header *h, const char *what)
{
        const struct region_header *c = &h->copy;

        ASSERT(c->magic == LAYOUT_MAGIC && c->region_bytes == h->layout.region_bytes);
        if (c->base_addr == 0 || c->base_addr % HEADER_BASE_ALIGN != 0 || c->base_addr > ADDR_MAX ||
            h->layout.region_bytes > ADDR_MAX - c->base_addr)
                return damaged(what, "an impossible base address");
        if (memchr(c->name, '\0', sizeof c->name) == NULL)
                return damaged(what, "an unterminated name");
        if (!marks_are_possible(h))
                return damaged(what, "a mark beyond the end of its table");
        return 0;
}

static int
read_copy(int fd, const char *what, struct header *h, size_t bytes)
{
        int err = os_pread(fd, &h->copy, bytes, 0);

        ASSERT(bytes <= sizeof h->copy && bytes >= LAYOUT_FROZEN_BYTES);
        if (err == -ENODATA)
                return error_set(-EBADMSG, "cannot read the header of %s: it ends before", what);
        return err < 0 ? error_set_refused(err, "cannot read the header of %s", what) : 0;
}

int
header_read(int fd, const char *what, bool is_readonly, struct header *ret_header)
{
        struct header *h = ret_header;
        int err = os_fstat(fd, &h->st);
        bool is_long;

        if (err < 0)
                return error_set_refused(err, "cannot look at %s", what);
        is_long = h->st.st_size >= (off_t)sizeof h->copy;
        err = check_file(h, what);
        if (err < 0)
                return err;
        /* Of another version's heap, which may be shorter, the frozen line. */
        err = read_copy(fd, what, h, is_long ? sizeof h->copy : LAYOUT_FROZEN_BYTES);
        if (err == 0)
                err = check_build(h, what, is_readonly);
        if (err == 0 && !is_long)
                err = read_copy(fd, what, h, sizeof h->copy);
        if (err == 0)
                err = check_sizes(h, what);
        return err < 0 ? err : check_values(h, what);
}

bool
header_peek(int fd, struct region_header *ret_copy)
{
        struct stat st;

        return os_fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && os_pread(fd, ret_copy, LAYOUT_FROZEN_BYTES, 0) == 0 &&
               ret_copy->magic == LAYOUT_MAGIC;
}
