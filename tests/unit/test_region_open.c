/*
 * What is at stake: a region that is mapped although it is damaged, planted or of another build corrupts the process
 * that opens it, and one that is mapped over something else, or with more rights than its descriptor has, corrupts
 * those who trust in addresses and descriptors.  So each refusal is tried with a file made for it, and each address
 * with something that is in the way.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/error.h"
#include "os/maps.h"
#include "os/shm.h"
#include "region/map.h"
#include "region/open.h"
#include "support/checks.h"
#include "support/region_dir.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

/* ------------------------------------------------------------------ refusals: not a heap */

START_TEST(what_is_no_regular_file_is_refused_by_name)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        must_create("real");
        ck_assert_int_eq(symlink("shmalloc.real", region_dir_path("link")), 0);
        ck_assert_int_eq(mkdir(region_dir_path("dir"), 0700), 0);
        ck_assert_int_eq(mkfifo(region_dir_path("fifo"), 0600), 0);
        ck_assert_uint_lt(strlen(region_dir_path("sock")), sizeof addr.sun_path);
        strcpy(addr.sun_path, region_dir_path("sock"));
        ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof addr), 0);
        for (unsigned flags = 0; flags <= REGION_RDONLY; flags++) {
                if ((flags & REGION_EXCL) || flags == (REGION_RDONLY | REGION_CREATE))
                        continue;
                must_refuse("link", flags, -ENODEV, "symbolic link");
                must_refuse("dir", flags, -ENODEV, "directory");
                must_refuse("fifo", flags, -ENODEV, "FIFO");
                must_refuse("sock", flags, -ENODEV, "socket");
        }
        must_refuse("link", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
}
END_TEST

START_TEST(a_device_is_refused)
{
        if (mknod(region_dir_path("null"), S_IFCHR | 0600, 1 << 8 | 3) != 0) {
                puts("skipped: making a device node takes root");
                return;
        }
        must_refuse("null", 0, -ENODEV, "device");
}
END_TEST

START_TEST(files_that_are_no_heap_are_refused)
{
        region_dir_plant("zero", "", 0, 0);
        must_refuse("zero", REGION_CREATE, -ENODEV, "0 bytes");
        region_dir_plant("short", "shmalloc", 8, 63);
        must_refuse("short", REGION_CREATE, -ENODEV, "63 bytes");
        region_dir_plant("hole", "", 0, 1 << 20);
        must_refuse("hole", REGION_CREATE, -ENODEV, "does not begin");
        region_dir_plant("text", "#!/bin/sh\n", 10, 1 << 20);
        must_refuse("text", REGION_RDONLY, -ENODEV, "does not begin");
}
END_TEST

/* ------------------------------------------------------------------ refusals: damaged */

struct flip {
        const char *what;
        size_t off, bytes;
        uint64_t value;
        int expected;
        const char *fragment;
};

#define FLIP(field, value, expected, fragment)                                                                         \
        {                                                                                                              \
#field, offsetof(struct region_header, field), sizeof(((struct region_header *)0)->field), value,      \
                        expected, fragment                                                                             \
        }

static const struct flip flips[] = {
        FLIP(magic, UINT64_C(0x636f6c6c616d6872), -ENODEV, "does not begin"),
        FLIP(version, LAYOUT_VERSION + 1, -EPROTO, "layout version 10 "),
        FLIP(hash, 0xdeadbeef, -EPROTO, "build deadbeef"),
        FLIP(features_incompat, 1, -EPROTO, "features 0x1 that this library does not know"),
        FLIP(features_incompat, UINT64_C(1) << 63, -EPROTO, "features 0x8000000000000000 that this library does not"),
        FLIP(features_ro_compat, 6, -EPROTO, "features 0x6 that this library can only read"),
        FLIP(region_bytes, 4096, -EBADMSG, "size that does not follow"),
        FLIP(region_bytes, UINT64_MAX, -EBADMSG, "size that does not follow"),
        FLIP(base_addr, 0, -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0x550000001000), -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0xffffffffc0000000), -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0x800000000000), -EBADMSG, "base address"),
        FLIP(params.max_capacity, 0, -EBADMSG, "capacity"),
        FLIP(params.max_capacity, 16 * MIB + 1, -EBADMSG, "capacity"),
        FLIP(params.max_capacity, 32 * MIB, -EBADMSG, "size that does not follow"),
        FLIP(params.max_capacity, UINT64_C(1) << 63, -EBADMSG, "capacity"),
        FLIP(params.max_clients, 0, -EBADMSG, "max_clients"),
        FLIP(params.max_clients, 65536, -EBADMSG, "max_clients"),
        FLIP(params.max_threads, 65535, -EBADMSG, "max_threads"),
        FLIP(params.max_threads, UINT32_MAX, -EBADMSG, "max_threads"),
        FLIP(params.n_nodes, 0, -EBADMSG, "nodes"),
        FLIP(params.n_nodes, UINT32_MAX, -EBADMSG, "nodes"),
        FLIP(params.arenas_per_node, 0, -EBADMSG, "arenas"),
        FLIP(params.arenas_per_node, 65, -EBADMSG, "arenas"),
        FLIP(params.max_roots, 0, -EBADMSG, "roots"),
        FLIP(params.max_roots, 65537, -EBADMSG, "roots"),
        FLIP(params.page_shift, 13, -EBADMSG, "page_shift"),
        FLIP(capacity_chunks, 0, -EBADMSG, "mark"),
        FLIP(capacity_chunks, 5, -EBADMSG, "mark"),
        FLIP(chunks_hwm, 5, -EBADMSG, "mark"),
        FLIP(threads_hwm, 2049, -EBADMSG, "mark"),
        FLIP(clients_hwm, 4097, -EBADMSG, "mark"),
        FLIP(roots_hwm, 1025, -EBADMSG, "mark"),
        FLIP(magazines_hwm[0], UINT32_MAX, -EBADMSG, "mark"),
        FLIP(magazines_hwm[NODE_MAX - 1], 1, -EBADMSG, "mark"),
};

START_TEST(a_damaged_header_field_is_refused)
{
        const struct flip *flip = &flips[_i];
        struct region_header header;
        struct region r;
        int fd;

        must_create("flip");
        fd = open(region_dir_path("flip"), O_RDWR);
        ck_assert_int_eq(pread(fd, &header, sizeof header, 0), sizeof header);
        memcpy((char *)&header + flip->off, &flip->value, flip->bytes);
        ck_assert_int_eq(pwrite(fd, &header, sizeof header, 0), sizeof header);
        ck_assert_msg(try_open(&r, "flip", 0) == flip->expected, "%s = %#lx: %s", flip->what, flip->value,
                      error_message());
        ck_assert_msg(strstr(error_message(), flip->fragment) != NULL, "%s: \"%s\" lacks \"%s\"", flip->what,
                      error_message(), flip->fragment);
}
END_TEST

static void
overwrite(const char *name, off_t off, const void *bytes, size_t n)
{
        int fd = open(region_dir_path(name), O_RDWR);

        ck_assert_int_eq(pwrite(fd, bytes, n, off), (ssize_t)n);
        close(fd);
}

START_TEST(a_feature_word_says_who_may_take_part)
{
        const uint64_t all = UINT64_MAX, none = 0;
        struct region r;

        must_create("feature");
        overwrite("feature", offsetof(struct region_header, features_compat), &all, sizeof all);
        r = must_open("feature", 0);
        region_close(&r);
        overwrite("feature", offsetof(struct region_header, features_ro_compat), &all, sizeof all);
        must_refuse("feature", 0, -EPROTO, "open it with SHHEAP_RDONLY");
        must_refuse("feature", REGION_CREATE, -EPROTO, "open it with SHHEAP_RDONLY");
        r = must_open("feature", REGION_RDONLY);
        region_close(&r);
        overwrite("feature", offsetof(struct region_header, features_incompat), &all, sizeof all);
        must_refuse("feature", 0, -EPROTO, "does not know");
        must_refuse("feature", REGION_RDONLY, -EPROTO, "does not know");
        overwrite("feature", offsetof(struct region_header, features_incompat), &none, sizeof none);
        overwrite("feature", offsetof(struct region_header, features_ro_compat), &none, sizeof none);
        must_open("feature", 0);
}
END_TEST

/* In numbers: they are what libraries of other versions were built with. */
START_TEST(the_first_line_is_where_every_version_looks)
{
        struct region r = must_open("frozen", REGION_CREATE);
        struct {
                char magic[8];
                uint32_t version, hash;
                uint64_t file_bytes, base, id, compat, ro_compat, incompat;
        } line;
        struct stat st;

        ck_assert_uint_eq(sizeof line, 64);
        ck_assert_int_eq(pread(r.fd, &line, sizeof line, 0), sizeof line);
        ck_assert_mem_eq(line.magic, "shmalloc", 8);
        ck_assert_uint_eq(line.version, LAYOUT_VERSION);
        ck_assert_uint_eq(line.hash, layout_hash());
        ck_assert_int_eq(fstat(r.fd, &st), 0);
        ck_assert_uint_eq(line.file_bytes, (uint64_t)st.st_size);
        ck_assert_ptr_eq((void *)(uintptr_t)line.base, r.base);
        ck_assert_uint_eq(line.id, r.id);
        ck_assert_uint_eq(line.compat | line.ro_compat | line.incompat, 0);
}
END_TEST

/* Its header may be shorter than ours, and whatever follows is its own affair. */
START_TEST(a_heap_of_another_version_is_known_by_its_first_line)
{
        struct {
                char magic[8];
                uint32_t version;
                char rest[52];
        } line = {"shmalloc", 4711, ""};

        memset(line.rest, 0xff, sizeof line.rest);
        region_dir_plant("later", &line, sizeof line, sizeof line);
        must_refuse("later", REGION_CREATE, -EPROTO, "layout version 4711 ");
        must_refuse("later", REGION_RDONLY, -EPROTO, "layout version 4711 ");
}
END_TEST

START_TEST(an_unterminated_name_is_refused)
{
        char name[LAYOUT_NAME_MAX + 1];

        must_create("name");
        memset(name, 'x', sizeof name);
        overwrite("name", offsetof(struct region_header, name), name, sizeof name);
        must_refuse("name", 0, -EBADMSG, "name");
}
END_TEST

START_TEST(a_file_of_another_size_is_refused)
{
        struct stat st;

        must_create("size");
        ck_assert_int_eq(stat(region_dir_path("size"), &st), 0);
        ck_assert_int_eq(truncate(region_dir_path("size"), st.st_size - 1), 0);
        must_refuse("size", 0, -EBADMSG, "truncated");
        ck_assert_int_eq(truncate(region_dir_path("size"), 4096), 0);
        must_refuse("size", 0, -EBADMSG, "truncated");
        ck_assert_int_eq(truncate(region_dir_path("size"), st.st_size + 1), 0);
        must_refuse("size", 0, -EBADMSG, "too long");
        ck_assert_int_eq(truncate(region_dir_path("size"), st.st_size), 0);
        must_open("size", 0);
}
END_TEST

/* ------------------------------------------------------------------ refusals: not ours */

static int
open_as_nobody(void *arg)
{
        const struct region_open_args *args = arg;
        struct region r;
        int err;

        if (setgid(65534) != 0 || setuid(65534) != 0)
                return 99;
        err = region_open(&r, "theirs", args);
        return err == -EACCES && strstr(error_message(), "uid 0 with mode 0600") == NULL ? 98 : -err;
}

START_TEST(permission_is_the_kernels_and_a_private_heap_is_ones_own)
{
        struct region_open_args args = args_of(0, 16 * MIB);

        if (geteuid() != 0) {
                puts("skipped: changing owners takes root");
                return;
        }
        chmod(region_dir_name(), 01777);
        must_create("theirs");
        ck_assert_int_eq(status_of_child(open_as_nobody, &args), EACCES);
        chmod(region_dir_path("theirs"), 0666);
        ck_assert_int_eq(status_of_child(open_as_nobody, &args), 0);
        args.flags = REGION_CREATE; /* root's is good enough */
        ck_assert_int_eq(status_of_child(open_as_nobody, &args), 0);
}
END_TEST

static int
create_as_nobody(void *arg)
{
        struct region r;

        (void)arg;
        if (setgid(65534) != 0 || setuid(65534) != 0)
                return 99;
        r = must_open("planted", REGION_CREATE);
        return fchmod(r.fd, 0666) == 0 ? 0 : 98;
}

START_TEST(a_heap_planted_by_another_user_is_refused)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;

        if (geteuid() != 0) {
                puts("skipped: changing owners takes root");
                return;
        }
        chmod(region_dir_name(), 01777);
        ck_assert_int_eq(status_of_child(create_as_nobody, NULL), 0);
        must_refuse("planted", REGION_CREATE, -EACCES, "belongs to uid 65534");
        args.options.mode = 0660;
        ck_assert_int_eq(region_open(&r, "planted", &args), 0);
        region_close(&r);
        r = must_open("planted", 0);
        region_close(&r);
        ck_assert_int_eq(chown(region_dir_path("planted"), 4711, 0), 0);
        must_refuse("planted", 0, -EACCES, "uid 65534 created it");
        ck_assert_int_eq(chown(region_dir_path("planted"), 0, 0), 0); /* root's own doing */
        r = must_open("planted", 0);
        region_close(&r);
}
END_TEST

/* ------------------------------------------------------------------ user namespaces */

enum { SOMEBODY = 1000, SKIPPED = 77 };

/* What a user does, perhaps as root of a user namespace of its own (map: the line of its uid_map; NULL: none). */
struct act {
        uid_t uid;
        const char *map;
        unsigned flags;
        mode_t mode;
        char message[256]; /* shared: what it ran into */
};

static int
open_as(void *arg)
{
        struct act *act = arg;
        struct region_open_args args = args_of(act->flags, 16 * MIB);
        struct region r;
        int err;

        if (setresgid(act->uid, act->uid, act->uid) != 0 || setresuid(act->uid, act->uid, act->uid) != 0)
                return SKIPPED;
        prctl(PR_SET_DUMPABLE, 1); /* its own /proc is its own */
        if (act->map && unshare(CLONE_NEWUSER) != 0)
                return SKIPPED;
        if (act->map && act->map[0]) {
                int fd = open("/proc/self/uid_map", O_WRONLY);

                if (write(fd, act->map, strlen(act->map)) < 0)
                        return SKIPPED;
                close(fd);
        }
        args.options.mode = act->mode;
        err = region_open(&r, "shared", &args);
        snprintf(act->message, sizeof act->message, "%s", err < 0 ? error_message() : "");
        return -err;
}

/* The status of open_as(); false: it cannot be tried here. */
static bool
acts(struct act *act, uid_t uid, const char *map, unsigned flags, mode_t mode, int expected)
{
        int status;

        *act = (struct act){.uid = uid, .map = map, .flags = flags, .mode = mode};
        status = status_of_child(open_as, act);
        if (status == SKIPPED) {
                puts("skipped: no user namespaces for this user");
                return false;
        }
        ck_assert_msg(status == expected, "uid %u, map %s, flags %u, mode %o: %d instead of %d: %s", uid,
                      map ? map : "-", flags, mode, status, expected, act->message);
        return true;
}

static struct act *
acts_begin(void)
{
        void *p = mmap(NULL, sizeof(struct act), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        ck_assert_ptr_ne(p, MAP_FAILED);
        chmod(region_dir_name(), 01777);
        return p;
}

START_TEST(one_user_shares_his_heap_across_a_user_namespace)
{
        static const char *const maps[] = {NULL, "0 1000 1", "1000 1000 1", "7 1000 1"};
        enum { N = sizeof maps / sizeof maps[0] };
        struct act *act = acts_begin();

        for (int creator = 0; creator < N; creator++)
                for (int opener = 0; opener < N; opener++) {
                        if (!acts(act, SOMEBODY, maps[creator], REGION_CREATE | REGION_EXCL, 0600, 0))
                                return;
                        acts(act, SOMEBODY, maps[opener], 0, 0600, 0);
                        acts(act, SOMEBODY, maps[opener], REGION_CREATE, 0600, 0);
                        acts(act, SOMEBODY, maps[opener], REGION_RDONLY, 0600, 0);
                        region_unlink("shared");
                }
}
END_TEST

/* Inside, all users without a number there have the same one: also a process whose own user has none. */
START_TEST(a_planted_heap_is_refused_in_a_user_namespace)
{
        struct act *act = acts_begin();

        if (!acts(act, 1001, NULL, REGION_CREATE, 0666, 0))
                return;
        if (!acts(act, SOMEBODY, "0 1000 1", REGION_CREATE, 0600, EACCES))
                return;
        acts(act, SOMEBODY, "", REGION_CREATE, 0600, EACCES);
        acts(act, SOMEBODY, "65534 1000 1", REGION_CREATE, 0600, EACCES);
        acts(act, SOMEBODY, "0 1000 1", 0, 0600, 0); /* it knows that it is another's */
        acts(act, SOMEBODY, "0 1000 1", REGION_CREATE, 0660, 0);
}
END_TEST

/* Made by another user inside, it is that user's outside, too. */
START_TEST(a_heap_made_in_a_user_namespace_is_its_owners_outside)
{
        struct act *act = acts_begin();

        if (!acts(act, 1001, "0 1001 1", REGION_CREATE, 0666, 0))
                return;
        acts(act, SOMEBODY, NULL, REGION_CREATE, 0600, EACCES);
        acts(act, SOMEBODY, NULL, 0, 0600, 0);
        acts(act, 1001, NULL, REGION_CREATE, 0600, 0);
}
END_TEST

/* ------------------------------------------------------------------ addresses */

START_TEST(a_taken_address_is_an_error_that_names_what_is_there)
{
        struct region r = must_open("taken", REGION_CREATE), other;
        char *base = r.base;

        must_refuse("taken", 0, -EADDRINUSE, region_dir_path("taken"));
        must_refuse("taken", 0, -EADDRINUSE, "another copy of this library");
        must_refuse("taken", 0, -EADDRINUSE, "SHHEAP_RELOCATABLE");
        region_close(&r);
        ck_assert_ptr_eq(mmap(base + 8 * MIB, 4096, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0),
                         base + 8 * MIB);
        must_refuse("taken", 0, -EADDRINUSE, "anonymous memory");
        ck_assert_int_eq(munmap(base + 8 * MIB, 4096), 0);
        other = must_open("taken", 0);
        ck_assert_ptr_eq(other.base, base);
}
END_TEST

START_TEST(relocatable_takes_any_aligned_address)
{
        struct region r = must_open("moved", REGION_CREATE | REGION_RELOCATABLE), other;

        ck_assert(!r.is_relocated);
        ck_assert_uint_eq((uintptr_t)r.base, r.header->base_addr);
        other = must_open("moved", REGION_RELOCATABLE);
        ck_assert(other.is_relocated);
        ck_assert_ptr_ne(other.base, r.base);
        ck_assert_uint_eq((uintptr_t)other.base % GIB, 0);
        r.bindings[3] = 99;
        ck_assert_uint_eq(other.bindings[3], 99);
        ck_assert(r.dev == other.dev && r.ino == other.ino && r.id == other.id);
        region_close(&r);
        ck_assert_uint_eq(other.bindings[3], 99);
        region_close(&other);
}
END_TEST

START_TEST(heaps_of_a_directory_do_not_overlap)
{
        struct region r[24];
        char name[16];

        for (int i = 0; i < 24; i++) {
                snprintf(name, sizeof name, "n%d", i);
                r[i] = must_open(name, REGION_CREATE);
                ck_assert_uint_ge((uintptr_t)r[i].base, UINT64_C(0x550000000000));
                ck_assert_uint_le((uintptr_t)r[i].base + r[i].layout.region_bytes, UINT64_C(0x555000000000));
                region_close(&r[i]); /* so that only the files tell the next one */
        }
        for (int i = 0; i < 24; i++) {
                snprintf(name, sizeof name, "n%d", i);
                r[i] = must_open(name, 0); /* all of them at once */
        }
}
END_TEST

/* A file without a name cannot be looked for, and clients may live in it: only its number tells it from the next
 * one. */
static uint64_t
choose_base(const char *name, uint64_t ino, uint64_t bytes)
{
        int err;

        return map_choose_base(-1, name, ino, bytes, true, &err);
}

START_TEST(files_of_one_name_have_different_addresses)
{
        struct region r = must_open("same", REGION_CREATE);
        uint64_t base = (uintptr_t)r.base, bytes = r.layout.region_bytes, ino = r.ino;
        uint64_t n_slots = (bytes + GIB - 1) / GIB, chosen[40];

        region_close(&r);
        region_unlink("same");
        ck_assert_uint_eq(choose_base("same", ino, bytes), base);
        for (unsigned i = 0; i < 40; i++) {
                chosen[i] = choose_base("same", ino + i, bytes);
                ck_assert_uint_ne(chosen[i], 0);
                for (unsigned j = 0; j < i; j++)
                        ck_assert_uint_ge(chosen[i] > chosen[j] ? chosen[i] - chosen[j] : chosen[j] - chosen[i],
                                          n_slots * GIB);
        }
}
END_TEST

START_TEST(large_heaps_have_as_many_places)
{
        const uint64_t bytes = 65 * GIB;

        for (uint64_t ino = 1; ino < 40; ino++)
                ck_assert_uint_ne(choose_base("large", ino, bytes), choose_base("large", 0, bytes));
}
END_TEST

START_TEST(what_is_mapped_is_avoided)
{
        struct region r = must_open("mine", REGION_CREATE);
        uint64_t bytes = r.layout.region_bytes, ino = r.ino;
        char *base = r.base;

        region_close(&r);
        region_unlink("mine");
        ck_assert_ptr_eq(mmap(base, 4096, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), base);
        ck_assert_uint_ne(choose_base("mine", ino, bytes), (uintptr_t)base);
        /* names are spread, so that they seldom collide */
        ck_assert_uint_gt(llabs((long long)(choose_base("other", ino, bytes) - (uintptr_t)base)), 2 * GIB);
}
END_TEST

/* Damaged neighbours move a heap, and no more than that. */
START_TEST(a_neighbours_header_cannot_stop_a_creator)
{
        struct region_header header = {.magic = LAYOUT_MAGIC, .base_addr = 0, .region_bytes = UINT64_MAX};
        struct region r;

        region_dir_plant("evil", &header, sizeof header, 1 << 20);
        r = must_open("good", REGION_CREATE);
        region_close(&r);
        region_unlink("good");
        header.base_addr = UINT64_C(0x550000000000), header.region_bytes = 320 * GIB;
        region_dir_plant("greedy", &header, sizeof header, 1 << 20);
        r = must_open("good", REGION_CREATE);
        region_close(&r);
}
END_TEST

START_TEST(the_base_address_can_be_given)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;

        args.options.base_addr = UINT64_C(0x552340000000);
        ck_assert_int_eq(region_open(&r, "given", &args), 0);
        ck_assert_uint_eq((uintptr_t)r.base, args.options.base_addr);
        ck_assert_int_eq(region_open(&r, "other", &args), -EADDRINUSE);
        ck_assert_int_eq(region_dir_count(), 1);
}
END_TEST

static int
poke(void *arg)
{
        signal(SIGSEGV, SIG_DFL);
        *(volatile char *)arg = 1;
        return 0;
}

START_TEST(guard_and_readonly_mapping_stop_stores)
{
        struct region r = must_open("guard", REGION_CREATE);

        ck_assert_int_eq(status_of_child(poke, r.chunks - 1), 1000 + SIGSEGV);
        ck_assert_int_eq(status_of_child(poke, r.chunks - LAYOUT_GUARD_BYTES), 1000 + SIGSEGV);
        ck_assert_int_eq(status_of_child(poke, r.base + offsetof(struct region_header, n_released)), 0);
        region_close(&r);
        r = must_open("guard", REGION_RDONLY);
        ck_assert_str_eq(r.header->name, "guard");
        ck_assert(r.is_readonly);
        ck_assert_int_eq(status_of_child(poke, r.base + 8), 1000 + SIGSEGV);
        ck_assert_int_eq(fcntl(r.fd, F_GETFL) & O_ACCMODE, O_RDONLY);
}
END_TEST

/* ------------------------------------------------------------------ descriptors */

START_TEST(a_descriptor_opens_the_same_heap)
{
        struct region_open_args args = args_of(REGION_RELOCATABLE, 16 * MIB);
        struct region r = must_open("fd", REGION_CREATE), other;
        int fd = region_dup_fd(&r, false);

        ck_assert_int_eq(region_unlink("fd"), 0);
        ck_assert_msg(region_open_fd(&other, fd, &args) == 0, "%s", error_message());
        ck_assert_int_eq(close(fd), 0); /* it was duplicated */
        ck_assert(r.dev == other.dev && r.ino == other.ino && r.id == other.id);
        ck_assert_int_eq(region_raise_chunks(&other, 0), 0);
        ck_assert_uint_eq(region_chunks_hwm(&r), 1);
        args.flags = REGION_CREATE;
        ck_assert_int_eq(region_open_fd(&other, r.fd, &args), -EINVAL);
        args.flags = 0;
        ck_assert_int_eq(region_open_fd(&other, -1, &args), -EBADF);
}
END_TEST

static int
count_all(const struct os_mapping *mapping, void *arg)
{
        (void)mapping;
        ++*(int *)arg;
        return 0;
}

START_TEST(a_readonly_descriptor_stays_readonly)
{
        int n_before = 0, n_after = 0;
        struct region_open_args args = args_of(REGION_RELOCATABLE | REGION_RDONLY, 16 * MIB);
        struct region r = must_open("ro", REGION_CREATE), other;
        int fd = region_dup_fd(&r, true);

        ck_assert_int_eq(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
        ck_assert_int_eq(region_open_fd(&other, fd, &args), 0);
        ck_assert_int_eq(region_dup_fd(&other, false), -EACCES);
        ck_assert_int_ge(region_dup_fd(&other, true), 0);
        args.flags = REGION_RELOCATABLE;
        os_maps_each(count_all, &n_before);
        ck_assert_int_eq(region_open_fd(&other, fd, &args), -EACCES);
        os_maps_each(count_all, &n_after);
        ck_assert_int_eq(n_before, n_after);
}
END_TEST

START_TEST(an_anonymous_heap_is_sealed)
{
        struct region_open_args args = args_of(0, 16 * MIB);
        struct region r, other;
        struct stat st;

        ck_assert_msg(region_create_anonymous(&r, "anon", &args) == 0, "%s", error_message());
        ck_assert_int_eq(fstat(r.fd, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
        ck_assert_int_eq(ftruncate(r.fd, 4096), -1);
        ck_assert_int_eq(ftruncate(r.fd, st.st_size + 4096), -1);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_reserve(&r, r.layout.chunks_off, 4096), 0);
        ck_assert_int_eq(region_punch(&r, r.layout.chunks_off, 4096), 0);
        args.flags = REGION_RELOCATABLE;
        ck_assert_int_eq(region_open_fd(&other, r.fd, &args), 0);
        ck_assert_int_eq(region_dir_count(), 0);
}
END_TEST

START_TEST(a_memfd_that_could_shrink_is_refused)
{
        struct region_open_args args = args_of(REGION_RELOCATABLE, 16 * MIB);
        struct region r = must_open("copy", REGION_CREATE), other;
        int fd = memfd_create("copy", MFD_ALLOW_SEALING);

        ck_assert_int_eq(ftruncate(fd, (off_t)r.layout.region_bytes), 0);
        ck_assert_int_eq(pwrite(fd, r.header, sizeof *r.header, 0), sizeof *r.header);
        ck_assert_int_eq(region_open_fd(&other, fd, &args), -EBADMSG);
        ck_assert_ptr_nonnull(strstr(error_message(), "sealed"));
        ck_assert_int_eq(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
        ck_assert_int_eq(region_open_fd(&other, fd, &args), 0);
}
END_TEST

/* The message names what was refused, not what was asked afterwards to explain it. */
START_TEST(a_lack_of_descriptors_is_told_where_there_is_no_file_yet)
{
        int first = dup(STDIN_FILENO);
        struct rlimit limit = {.rlim_cur = (rlim_t)first + 1, .rlim_max = (rlim_t)first + 1}; /* the directory's */

        ck_assert_int_ge(first, 0);
        close(first);
        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        must_refuse("absent", REGION_CREATE, -EMFILE, "openat: Too many open files");
}
END_TEST

/* Who opens a file under lease waits, by default, until its holder gives way, or for as long as the system lets it. */
START_TEST(a_file_under_lease_is_not_waited_for)
{
        int fd = open(region_dir_path("leased"), O_RDWR | O_CREAT, 0600), at;

        signal(SIGIO, SIG_IGN);
        at = open(region_dir_path("leased"), O_PATH);
        ck_assert_int_ge(fd, 0);
        ck_assert_int_ge(at, 0);
        ck_assert_int_eq(fcntl(fd, F_SETLEASE, F_WRLCK), 0);
        alarm(10);
        ck_assert_int_eq(os_reopen(at, true), -EAGAIN);
        ck_assert_int_eq(os_reopen(at, false), -EAGAIN);
        alarm(0);
        close(at);
        close(fd);
}
END_TEST

/* ------------------------------------------------------------------ suite */

static void
add_refusals(Suite *suite)
{
        TCase *tcase = region_dir_case(suite, "refusals");

        tcase_add_test(tcase, what_is_no_regular_file_is_refused_by_name);
        tcase_add_test(tcase, a_device_is_refused);
        tcase_add_test(tcase, files_that_are_no_heap_are_refused);
        tcase_add_loop_test(tcase, a_damaged_header_field_is_refused, 0, sizeof flips / sizeof flips[0]);
        tcase_add_test(tcase, a_feature_word_says_who_may_take_part);
        tcase_add_test(tcase, the_first_line_is_where_every_version_looks);
        tcase_add_test(tcase, a_heap_of_another_version_is_known_by_its_first_line);
        tcase_add_test(tcase, an_unterminated_name_is_refused);
        tcase_add_test(tcase, a_file_of_another_size_is_refused);
        tcase_add_test(tcase, permission_is_the_kernels_and_a_private_heap_is_ones_own);
        tcase_add_test(tcase, a_heap_planted_by_another_user_is_refused);
        tcase_add_test(tcase, one_user_shares_his_heap_across_a_user_namespace);
        tcase_add_test(tcase, a_planted_heap_is_refused_in_a_user_namespace);
        tcase_add_test(tcase, a_heap_made_in_a_user_namespace_is_its_owners_outside);
}

static void
add_mapping(Suite *suite)
{
        TCase *tcase = region_dir_case(suite, "mapping");

        tcase_add_test(tcase, a_taken_address_is_an_error_that_names_what_is_there);
        tcase_add_test(tcase, relocatable_takes_any_aligned_address);
        tcase_add_test(tcase, heaps_of_a_directory_do_not_overlap);
        tcase_add_test(tcase, files_of_one_name_have_different_addresses);
        tcase_add_test(tcase, what_is_mapped_is_avoided);
        if (!UNDER_TSAN) /* they need the second window */
                tcase_add_test(tcase, large_heaps_have_as_many_places);
        if (!UNDER_TSAN)
                tcase_add_test(tcase, a_neighbours_header_cannot_stop_a_creator);
        tcase_add_test(tcase, the_base_address_can_be_given);
        tcase_add_test(tcase, guard_and_readonly_mapping_stop_stores);
        tcase_add_test(tcase, a_descriptor_opens_the_same_heap);
        tcase_add_test(tcase, a_readonly_descriptor_stays_readonly);
        tcase_add_test(tcase, an_anonymous_heap_is_sealed);
        tcase_add_test(tcase, a_memfd_that_could_shrink_is_refused);
        tcase_add_test(tcase, a_lack_of_descriptors_is_told_where_there_is_no_file_yet);
        tcase_add_test(tcase, a_file_under_lease_is_not_waited_for);
}

int
main(void)
{
        Suite *suite = suite_create("region_open");

        add_refusals(suite);
        add_mapping(suite);
        return suite_run(suite);
}
