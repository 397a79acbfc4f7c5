/*
 * map.c - see map.h.
 *
 * Two windows of the address space are free in nearly every process: under plain, PIE and static programs, address
 * and memory sanitizer, valgrind (the second not under the thread and memory sanitizers, which abort the process when
 * something is mapped at an address they do not like: under the former it is not used, and nothing is probed).  They
 * are cut up in slots of 1 GiB, so one bit per slot says what is in use; those of the second are put in memory that is
 * mapped for the moment, since the caller's stack may be small.
 *
 * The name's hash spreads heaps over the slots, so that two creators that choose at the same moment and do not
 * see each other's file seldom collide; if they do, a process can still open either heap, only not both at once.
 *
 * A file may lose its name while clients live on in it, and the next heap of the name must not lie where it does: else
 * their pointers would pass for blocks of the new heap, and they could not open it.  Nobody can look for a file without
 * a name; but no two files that exist have the same inode number, and file systems of memory count them up.  So the
 * place is the sum of hash and inode number, in steps of whole regions: files of one name and size share an address
 * only if the difference of their numbers is a multiple of the number of places, of which there are 40 at least for all
 * but the largest: heaps that leave fewer of them in the first window have the second one for their first.
 */
#include "region/map.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

#include "base/bits.h"
#include "base/error.h"
#include "base/verify.h"
#include "os/maps.h"
#include "os/shm.h"
#include "region/header.h"
#include "region/name.h"

#define SLOT_SHIFT       30
#define SLOT_BYTES       (UINT64_C(1) << SLOT_SHIFT)
#define WINDOW_SLOTS_MAX 32768u
#define NEIGHBOURS_MAX   4096u /* heaps looked at in a directory */
#define PLACES_MIN       40u   /* in a window, for a region to try it first */
#define FEW_SLOTS        320u  /* of a window whose bits go on the stack */

_Static_assert(SLOT_BYTES % HEADER_BASE_ALIGN == 0, "slots are good base addresses");

struct window {
        uint64_t start;
        uint32_t n_slots;
        uint32_t n_neighbours;
        int dirfd;
        uint64_t *used;            /* bit per slot */
        struct region_header copy; /* of the neighbour that is looked at */
};

static const struct {
        uint64_t start;
        uint32_t n_slots;
        bool is_good_for_tsan;
} windows[] = {
        {UINT64_C(0x550000000000), FEW_SLOTS, true},
        {UINT64_C(0x200000000000), WINDOW_SLOTS_MAX, false},
};

/* Present when the thread sanitizer's run-time library is in this process. */
extern void __tsan_init(void) __attribute__((weak));

static bool
is_under_tsan(void)
{
        return __tsan_init != NULL;
}

/* ------------------------------------------------------------------ choosing a base */

static void
window_mark(struct window *w, uint64_t start, uint64_t end)
{
        uint64_t window_end = w->start + w->n_slots * SLOT_BYTES;

        ASSERT(w->n_slots <= WINDOW_SLOTS_MAX);
        if (start >= window_end || end <= w->start)
                return;
        start = start > w->start ? start : w->start;
        end = end < window_end ? end : window_end;
        for (uint64_t i = (start - w->start) >> SLOT_SHIFT; i <= (end - 1 - w->start) >> SLOT_SHIFT; i++)
                w->used[i / 64] |= UINT64_C(1) << i % 64;
}

static int
mark_mapping(const struct os_mapping *mapping, void *arg)
{
        window_mark(arg, mapping->start, mapping->end);
        return 0;
}

/* Whatever a neighbour's header says is only believed as far as it makes us go elsewhere. */
static int
mark_neighbour(const char *file, void *arg)
{
        struct window *w = arg;
        int fd;

        if (name_from_file(file) == NULL)
                return 0;
        if (w->n_neighbours++ == NEIGHBOURS_MAX)
                return 1;
        fd = os_open_file(w->dirfd, file, true);
        if (fd < 0)
                return 0; /* not ours to read: then we cannot open both at once anyway */
        if (header_peek(fd, &w->copy) && w->copy.region_bytes <= UINT64_MAX - w->copy.base_addr)
                window_mark(w, w->copy.base_addr, w->copy.base_addr + w->copy.region_bytes);
        os_close(fd);
        return 0;
}

static bool
slots_are_free(const struct window *w, uint32_t slot, uint32_t n)
{
        ASSERT(slot + n <= w->n_slots);
        for (uint32_t i = slot; i < slot + n; i++)
                if (w->used[i / 64] >> i % 64 & 1)
                        return false;
        return true;
}

/* 0 if there is no run of n free slots. */
static uint64_t
window_find(const struct window *w, uint32_t first, uint64_t n)
{
        ASSERT(n > 0);
        if (n > w->n_slots)
                return 0;
        for (uint32_t i = 0; i < w->n_slots; i++) {
                uint32_t slot = (first + i) % w->n_slots;

                if (slot + n <= w->n_slots && slots_are_free(w, slot, (uint32_t)n))
                        return w->start + slot * SLOT_BYTES;
        }
        return 0;
}

static uint32_t
hash_name(const char *name)
{
        uint64_t hash = UINT64_C(0xcbf29ce484222325); /* FNV-1a, then mixed: short names differ in few bits */

        for (; *name != '\0'; name++)
                hash = (hash ^ (unsigned char)*name) * UINT64_C(0x100000001b3);
        hash = (hash ^ hash >> 32) * UINT64_C(0x9e3779b97f4a7c15);
        return (uint32_t)(hash >> 32);
}

/* `used`: zeroes.  Apart, for the sake of the stack: mapping follows. */
static __attribute__((noinline)) uint64_t
look_in(unsigned window_idx, int dirfd, bool looks, uint64_t first, uint64_t n_slots, uint64_t *used)
{
        struct window w = {.start = windows[window_idx].start,
                           .n_slots = windows[window_idx].n_slots,
                           .dirfd = dirfd,
                           .used = used};

        ASSERT(first + n_slots <= w.n_slots && used[0] == 0);
        if (looks)
                os_maps_each(mark_mapping, &w); /* without /proc we find out when we map */
        if (dirfd >= 0)
                os_glance_dir(dirfd, mark_neighbour, &w);
        return window_find(&w, (uint32_t)first, n_slots);
}

static uint64_t
choose_in(unsigned window_idx, int dirfd, bool looks, uint64_t key, uint64_t n_slots, int *ret_err)
{
        uint64_t n_places = windows[window_idx].n_slots / n_slots, few[FEW_SLOTS / 64] = {0}, base, first;
        bool is_small = windows[window_idx].n_slots <= FEW_SLOTS;
        void *used = few;

        ASSERT(window_idx < sizeof windows / sizeof windows[0] && n_slots > 0);
        if (n_places == 0 || (is_under_tsan() && !windows[window_idx].is_good_for_tsan))
                return 0;
        first = key % n_places * n_slots;
        *ret_err = is_small ? 0 : os_map_private(WINDOW_SLOTS_MAX / 8, false, &used);
        if (*ret_err < 0)
                return 0;
        base = look_in(window_idx, dirfd, looks, first, n_slots, used);
        if (!is_small)
                os_unmap(used, WINDOW_SLOTS_MAX / 8);
        ASSERT(base % SLOT_BYTES == 0);
        *ret_err = base != 0 ? 0 : -EADDRINUSE;
        return base;
}

uint64_t
map_choose_base(int dirfd, const char *name, uint64_t ino, uint64_t region_bytes, bool looks, int *ret_err)
{
        uint64_t n_slots = (region_bytes + SLOT_BYTES - 1) >> SLOT_SHIFT, key = hash_name(name) + ino;
        unsigned first = windows[0].n_slots / n_slots < PLACES_MIN;
        uint64_t base;

        ASSERT(region_bytes > 0);
        *ret_err = -EADDRINUSE;
        base = choose_in(first, dirfd, looks, key, n_slots, ret_err);
        if (base == 0)
                base = choose_in(!first, dirfd, looks, key, n_slots, ret_err);
        if (base == 0)
                base = choose_in(first, -1, looks, key, n_slots, ret_err);
        return base != 0 ? base : choose_in(!first, -1, looks, key, n_slots, ret_err);
}

/* ------------------------------------------------------------------ mapping */

/* The thread sanitizer ends the process over an address outside of what it calls application memory. */
static bool
is_mappable(uint64_t base_addr, uint64_t bytes)
{
        return !is_under_tsan() || (base_addr >= windows[0].start &&
                                    base_addr + bytes <= windows[0].start + windows[0].n_slots * SLOT_BYTES);
}

static int
complain_taken(const struct region *r, const char *what, uint64_t base_addr, uint64_t bytes)
{
        struct os_mapping in_the_way;
        uint64_t end = base_addr + bytes;

        error_set(-EADDRINUSE, "%s belongs at %#" PRIx64 "-%#" PRIx64 " in every process, but here ", what, base_addr,
                  end);
        if (!is_mappable(base_addr, bytes))
                error_append(0, "the thread sanitizer keeps that range to itself");
        else if (os_maps_find(base_addr, end, &in_the_way) != 1)
                error_append(0, "something is in the way");
        else if (in_the_way.ino != 0 && in_the_way.ino == r->ino && in_the_way.dev == r->dev)
                error_append(0,
                             "another copy of this library in the process has it open, or the program has mapped the "
                             "file itself: %s at %#" PRIx64 "-%#" PRIx64,
                             in_the_way.what, in_the_way.start, in_the_way.end);
        else
                error_append(0, "%s is in the way at %#" PRIx64 "-%#" PRIx64, in_the_way.what, in_the_way.start,
                             in_the_way.end);
        return error_append(-EADDRINUSE, "; SHHEAP_RELOCATABLE maps it elsewhere, for data with offsets only");
}

/* Its own address first even if any will do: then raw pointers of others mean something here too. */
static int
map_somewhere(struct region *r, uint64_t bytes, uint64_t base_addr, bool relocatable, bool stays, void **ret_addr)
{
        void *addr = (void *)(uintptr_t)base_addr;
        int err = is_mappable(base_addr, bytes) ? os_map_at(r->fd, addr, bytes, r->is_readonly, stays) : -EEXIST;

        ASSERT(bytes > 0 && base_addr % OS_PAGE_BYTES == 0);
        r->is_relocated = false;
        *ret_addr = addr;
        if (err != -EEXIST || !relocatable)
                return err;
        r->is_relocated = true;
        return os_map_anywhere(r->fd, bytes, HEADER_BASE_ALIGN, r->is_readonly, ret_addr);
}

int
map_region(struct region *r, const struct layout *layout, const char *what, uint64_t base_addr, bool relocatable,
           bool stays)
{
        uint64_t bytes = layout->region_bytes;
        void *addr;
        int err = map_somewhere(r, bytes, base_addr, relocatable, stays, &addr);

        ASSERT(bytes > layout->chunks_off);
        if (err == -EEXIST)
                return complain_taken(r, what, base_addr, bytes);
        if (err < 0)
                return error_set_refused(err, "cannot map the %" PRIu64 " bytes of %s", bytes, what);
        region_bind(r, addr, layout);
        r->canonical = base_addr + layout->chunks_off;
        r->has_numa = r->n_nodes > 1;
        return stays ? map_guard(r, what) : 0;
}

int
map_guard(struct region *r, const char *what)
{
        const struct layout *l = &r->layout;
        int err = 0;

        ASSERT(l->off[TABLE_TAGS] + LAYOUT_TAGS_DISTANCE == l->chunks_off);
        if (LAYOUT_GUARD_BYTES != 0)
                err = os_protect_none(r->base + l->chunks_off - LAYOUT_GUARD_BYTES, LAYOUT_GUARD_BYTES);
        if (err < 0) {
                os_unmap(r->base, l->region_bytes);
                return error_set_refused(err, "cannot protect the guard of %s", what);
        }
        return 0;
}

int
map_again(struct region *r, const char *what)
{
        int err = os_map_over(r->fd, r->base, r->layout.region_bytes, r->is_readonly);

        ASSERT(r->layout.region_bytes > 0 && r->base != NULL);
        if (err == 0)
                return map_guard(r, what);
        os_unmap(r->base, r->layout.region_bytes);
        return error_set_refused(err, "cannot map %s again", what);
}
