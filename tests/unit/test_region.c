/*
 * What is at stake: a region that is mapped although it is damaged, planted or of another build corrupts the process
 * that opens it; a half-made one that becomes visible corrupts everybody; touching what has no pages behind it is
 * SIGBUS.  So each refusal is tried with a file made for it, each mark is raised and looked at from outside, and a
 * full file system must be an error.
 *
 * Each test runs in a process of its own (libcheck forks); the directory of heaps belongs to the suite, whose parent
 * removes it whatever became of the test.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/error.h"
#include "os/inject.h"
#include "os/maps.h"
#include "os/shm.h"
#include "region/header.h"
#include "region/map.h"
#include "region/name.h"
#include "region/open.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)
#define GIB (UINT64_C(1) << 30)

static char dir[64];

/* ------------------------------------------------------------------ the directory */

static void
dir_remove_files(const char *path)
{
        DIR *d = opendir(path);
        const struct dirent *entry;
        char file[512];

        while (d != NULL && (entry = readdir(d)) != NULL) {
                snprintf(file, sizeof file, "%s/%s", path, entry->d_name);
                if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && unlink(file) != 0)
                        rmdir(file);
        }
        if (d != NULL)
                closedir(d);
}

static void
dir_create(void)
{
        snprintf(dir, sizeof dir, "/dev/shm/shmalloc-test-%d-XXXXXX", (int)getpid());
        if (mkdtemp(dir) == NULL || setenv("SHMALLOC_DIR", dir, 1) != 0)
                abort();
        unsetenv("SHMALLOC_CONF");
}

static void
dir_remove(void)
{
        dir_remove_files(dir);
        rmdir(dir);
}

static void
dir_empty(void)
{
        dir_remove_files(dir);
}

static int
dir_count(void)
{
        DIR *d = opendir(dir);
        int n = 0;

        ck_assert_ptr_nonnull(d);
        while (readdir(d) != NULL)
                n++;
        closedir(d);
        return n - 2;
}

static const char *
path_of(const char *name)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/shmalloc.%s", dir, name);
        return path;
}

/* ------------------------------------------------------------------ opening */

static struct region_open_args
args_of(unsigned flags, uint64_t capacity)
{
        struct region_open_args args = {.flags = flags};
        struct options_given given = {.capacity = capacity};

        ck_assert_int_eq(options_resolve(&given, &args.options), 0);
        return args;
}

static int
try_open(struct region *ret, const char *name, unsigned flags)
{
        struct region_open_args args = args_of(flags, 16 * MIB);

        return region_open(ret, name, &args);
}

static struct region
must_open(const char *name, unsigned flags)
{
        struct region r;

        ck_assert_msg(try_open(&r, name, flags) == 0, "opening %s: %s", name, error_message());
        return r;
}

static void
must_refuse(const char *name, unsigned flags, int expected, const char *fragment)
{
        struct region r = {.fd = 4711};
        int err = try_open(&r, name, flags);

        ck_assert_msg(err == expected, "%s: got %d instead of %d (%s)", name, err, expected, error_message());
        ck_assert_msg(strstr(error_message(), fragment) != NULL, "\"%s\" lacks \"%s\"", error_message(), fragment);
        ck_assert_int_eq(r.fd, 4711); /* untouched */
}

/* Creates a heap and leaves only its file. */
static void
must_create(const char *name)
{
        struct region r = must_open(name, REGION_CREATE | REGION_EXCL);

        region_close(&r);
}

static uint64_t
file_used_bytes(int fd)
{
        struct stat st;

        ck_assert_int_eq(fstat(fd, &st), 0);
        return (uint64_t)st.st_blocks * 512;
}

/* True if every page of the range was backed: backing it once more costs nothing.  (SEEK_DATA does not tell: to it,
 * a page of tmpfs that has been backed but not written yet is a hole.) */
static bool
is_backed(const struct region *r, uint64_t off, uint64_t bytes)
{
        uint64_t before = file_used_bytes(r->fd);

        ck_assert_int_eq(fallocate(r->fd, 0, (off_t)off, (off_t)bytes), 0);
        return file_used_bytes(r->fd) == before;
}

static bool
element_is_backed(const struct region *r, enum layout_table table, uint64_t idx, uint64_t n)
{
        return is_backed(r, r->layout.off[table] + idx * r->layout.stride[table], n * r->layout.stride[table]);
}

/* What fn does in a child: its exit status, or 1000 + the signal that ended it. */
static int
in_child(int (*fn)(void *arg), void *arg)
{
        pid_t pid = fork();
        int status;

        ck_assert_int_ge(pid, 0);
        if (pid == 0)
                _exit(fn(arg));
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return WIFSIGNALED(status) ? 1000 + WTERMSIG(status) : WEXITSTATUS(status);
}

/* ------------------------------------------------------------------ names */

START_TEST(names_are_letters_digits_and_three_marks)
{
        const char *good[] = {
                "a", "A.b_c-9", "0",    "-",
                "_", "a.",      "x..y", "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffggg"};
        const char *bad[] = {
                "",    ".",   "..",      ".hidden", "a/b",
                "/",   "a b", "a\n",     "a\t",     "\xc3\xa4",
                "a:b", "a*",  "../../x", "a\\b",    "aaaaaaaaaabbbbbbbbbbccccccccccddddddddddeeeeeeeeeeffffffffffgggg"};

        for (unsigned i = 0; i < sizeof good / sizeof good[0]; i++)
                ck_assert_msg(name_is_valid(good[i]), "%s", good[i]);
        for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++)
                ck_assert_msg(!name_is_valid(bad[i]), "%s", bad[i]);
        ck_assert(!name_is_valid(NULL));
}
END_TEST

START_TEST(files_and_names_map_to_each_other)
{
        char file[NAME_FILE_BYTES];

        ck_assert_int_eq(name_to_file("abc", file), 0);
        ck_assert_str_eq(file, "shmalloc.abc");
        ck_assert_str_eq(name_from_file(file), "abc");
        ck_assert_ptr_null(name_from_file("shmalloc."));
        ck_assert_ptr_null(name_from_file("shmalloc..x"));
        ck_assert_ptr_null(name_from_file("shmallo"));
        ck_assert_ptr_null(name_from_file("shmaxxxx.abc"));
        ck_assert_ptr_null(name_from_file(".shmalloc-1.tmp"));
        ck_assert_ptr_null(name_from_file("sem.x"));
}
END_TEST

START_TEST(a_bad_name_is_refused_with_the_rule)
{
        must_refuse("a/b", REGION_CREATE, -EINVAL, "1 to 63");
        must_refuse(NULL, REGION_CREATE, -EINVAL, "(null)");
        ck_assert_int_eq(region_unlink("../x"), -EINVAL);
}
END_TEST

START_TEST(the_directory_must_exist)
{
        setenv("SHMALLOC_DIR", "/nowhere/at/all", 1);
        must_refuse("x", REGION_CREATE, -ENOENT, "SHMALLOC_DIR");
}
END_TEST

/* ------------------------------------------------------------------ messages */

START_TEST(messages_are_one_line_and_cut_off)
{
        char text[2000];

        memset(text, 'x', sizeof text);
        text[sizeof text - 1] = '\0';
        text[3] = '\n';
        ck_assert_str_eq(error_message(), "no error");
        ck_assert_int_eq(error_set(-EPERM, "%s", text), -EPERM);
        ck_assert_uint_eq(strlen(error_message()), ERROR_MESSAGE_MAX);
        ck_assert_ptr_null(strchr(error_message(), '\n'));
        ck_assert_int_eq(error_append(-EIO, "more"), -EIO);
        ck_assert_uint_eq(strlen(error_message()), ERROR_MESSAGE_MAX);
        error_set(0, "a %d", 1);
        error_append(0, ", b %d", 2);
        ck_assert_str_eq(error_message(), "a 1, b 2");
        ck_assert_str_eq(error_name(-EACCES), "Permission denied");
        ck_assert_str_eq(error_name(99999), "unknown error");
}
END_TEST

/* ------------------------------------------------------------------ creating and opening */

START_TEST(a_new_region_says_what_it_is)
{
        struct region r = must_open("new", REGION_CREATE);
        const struct region_header *h = r.header;
        struct stat st;

        ck_assert_int_eq(stat(path_of("new"), &st), 0);
        ck_assert_uint_eq(h->magic, LAYOUT_MAGIC);
        ck_assert_uint_eq(h->hash, layout_hash());
        ck_assert_str_eq(h->name, "new");
        ck_assert_uint_eq(h->base_addr, (uintptr_t)r.base);
        ck_assert_uint_eq(h->capacity_chunks, 16 * MIB / GEO_CHUNK_BYTES);
        ck_assert_uint_eq(h->creator_uid, geteuid());
        ck_assert_uint_ne(h->id, 0);
        ck_assert_uint_ne(h->created_realtime_ns, 0);
        ck_assert_int_eq(h->decay_ms, 10000);
        ck_assert_uint_eq(h->region_bytes, (uint64_t)st.st_size);
        ck_assert_uint_eq(r.ino, st.st_ino);
        ck_assert_uint_eq(r.dev, st.st_dev);
        ck_assert_uint_eq(r.id, h->id);
        ck_assert_int_eq(dir_count(), 1);
        region_close(&r);
}
END_TEST

/* Later openers see it under its name in /proc; so must those who look at the creator. */
START_TEST(the_creator_has_it_mapped_under_its_name)
{
        struct region r = must_open("seen", REGION_CREATE);
        struct os_mapping mapping;

        ck_assert_int_eq(os_maps_find((uintptr_t)r.base, (uintptr_t)r.base + 1, &mapping), 1);
        ck_assert_str_eq(mapping.what, path_of("seen"));
        ck_assert_int_eq(os_maps_find((uintptr_t)r.chunks, (uintptr_t)r.chunks + 1, &mapping), 1);
        ck_assert_str_eq(mapping.what, path_of("seen"));
}
END_TEST

START_TEST(what_is_always_backed_is_backed)
{
        struct region r = must_open("backed", REGION_CREATE);

        ck_assert(is_backed(&r, 0, sizeof *r.header));
        ck_assert(element_is_backed(&r, TABLE_ARENA_WORDS, 0, r.layout.n[TABLE_ARENA_WORDS]));
        ck_assert(element_is_backed(&r, TABLE_BINDINGS, 0, r.layout.n[TABLE_BINDINGS]));
        ck_assert(element_is_backed(&r, TABLE_FREE_CHUNKS, 0, r.layout.n[TABLE_FREE_CHUNKS]));
        ck_assert(!is_backed(&r, r.layout.chunks_off, 1));
}
END_TEST

static int
open_and_compare(void *arg)
{
        struct region *mine = arg, theirs;
        char *base = mine->base;

        region_close(mine); /* a forked child has the mapping of its parent */
        theirs = must_open("shared", 0);
        return theirs.base == base && theirs.bindings[7] == 4711 ? 0 : 1;
}

START_TEST(two_processes_have_it_at_one_address)
{
        struct region r = must_open("shared", REGION_CREATE);

        r.bindings[7] = 4711;
        ck_assert_int_eq(in_child(open_and_compare, &r), 0);
}
END_TEST

START_TEST(create_opens_what_is_there_and_excl_does_not)
{
        struct region r = must_open("once", REGION_CREATE), again;
        uint64_t id = r.id;

        region_close(&r);
        again = must_open("once", REGION_CREATE);
        ck_assert_uint_eq(again.id, id);
        must_refuse("once", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
        must_refuse("none", 0, -ENOENT, "there is no heap \"none\"");
        must_refuse("once", REGION_EXCL, -EINVAL, "EXCL");
        must_refuse("once", REGION_RDONLY | REGION_CREATE, -EINVAL, "RDONLY");
}
END_TEST

START_TEST(mode_does_not_depend_on_the_umask)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;
        struct stat st;

        umask(0777);
        args.options.mode = 0664;
        ck_assert_int_eq(region_open(&r, "mode", &args), 0);
        ck_assert_int_eq(fstat(r.fd, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0664);
        region_close(&r);
        r = must_open("private", REGION_CREATE);
        ck_assert_int_eq(fstat(r.fd, &st), 0);
        ck_assert_uint_eq(st.st_mode & 07777, 0600);
}
END_TEST

START_TEST(descriptors_are_closed_on_exec)
{
        struct region r = must_open("exec", REGION_CREATE);
        int fd = region_dup_fd(&r, false);

        ck_assert_int_eq(fcntl(r.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
        ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}
END_TEST

#if defined(__SANITIZE_THREAD__)
#define UNDER_TSAN 1
#else
#define UNDER_TSAN 0
#endif

START_TEST(a_tebibyte_costs_nothing_until_used)
{
        struct region_open_args args = args_of(REGION_CREATE, UINT64_C(1) << 40);
        struct region r;

        if (UNDER_TSAN) { /* it ends processes that map where 1 TiB would have to go: we must not even try */
                ck_assert_int_eq(region_open(&r, "tera", &args), -EADDRINUSE);
                args.options.base_addr = UINT64_C(0x200000000000);
                ck_assert_int_eq(region_open(&r, "tera", &args), -EADDRINUSE);
                ck_assert_ptr_nonnull(strstr(error_message(), "thread sanitizer"));
                return;
        }
        ck_assert_msg(region_open(&r, "tera", &args) == 0, "%s", error_message());
        ck_assert_uint_lt(file_used_bytes(r.fd), MIB);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_threads(&r, 0), 0);
        ck_assert_uint_lt(file_used_bytes(r.fd), MIB);
}
END_TEST

START_TEST(a_file_size_limit_is_an_error_and_no_signal)
{
        const struct rlimit limit = {MIB, MIB};

        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        must_refuse("limited", REGION_CREATE, -EFBIG, "ulimit -f");
        ck_assert_int_eq(dir_count(), 0);
}
END_TEST

START_TEST(impossible_parameters_are_refused_at_creation)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region_open_args bad;
        struct region r;

        bad = args, bad.options.page_shift = 21;
        ck_assert_int_eq(region_open(&r, "p", &bad), -ENOTSUP);
        bad = args, bad.options.max_capacity = 16 * MIB + 4096;
        ck_assert_int_eq(region_open(&r, "p", &bad), -EINVAL);
        bad = args, bad.options.capacity = 20 * MIB;
        ck_assert_int_eq(region_open(&r, "p", &bad), -EINVAL);
        bad = args, bad.options.max_threads = 0;
        ck_assert_int_eq(region_open(&r, "p", &bad), -EINVAL);
        bad = args, bad.options.n_nodes = 65;
        ck_assert_int_eq(region_open(&r, "p", &bad), -EINVAL);
        bad = args, bad.options.base_addr = UINT64_C(0x550000001000);
        ck_assert_int_eq(region_open(&r, "p", &bad), -EINVAL);
        ck_assert_int_eq(dir_count(), 0);
}
END_TEST

/* ------------------------------------------------------------------ refusals: not a heap */

START_TEST(what_is_no_regular_file_is_refused_by_name)
{
        struct sockaddr_un addr = {.sun_family = AF_UNIX};
        int fd = socket(AF_UNIX, SOCK_STREAM, 0);

        must_create("real");
        ck_assert_int_eq(symlink("shmalloc.real", path_of("link")), 0);
        ck_assert_int_eq(mkdir(path_of("dir"), 0700), 0);
        ck_assert_int_eq(mkfifo(path_of("fifo"), 0600), 0);
        ck_assert_uint_lt(strlen(path_of("sock")), sizeof addr.sun_path);
        strcpy(addr.sun_path, path_of("sock"));
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
        if (mknod(path_of("null"), S_IFCHR | 0600, 1 << 8 | 3) != 0) {
                puts("skipped: making a device node takes root");
                return;
        }
        must_refuse("null", 0, -ENODEV, "device");
}
END_TEST

static void
plant(const char *name, const void *bytes, size_t n, off_t size)
{
        int fd = open(path_of(name), O_CREAT | O_TRUNC | O_WRONLY, 0600);

        ck_assert_int_ge(fd, 0);
        ck_assert_int_eq(write(fd, bytes, n), (ssize_t)n);
        ck_assert_int_eq(ftruncate(fd, size), 0);
        close(fd);
}

START_TEST(files_that_are_no_heap_are_refused)
{
        plant("zero", "", 0, 0);
        must_refuse("zero", REGION_CREATE, -ENODEV, "0 bytes");
        plant("short", "shmalloc", 8, 100);
        must_refuse("short", REGION_CREATE, -ENODEV, "100 bytes");
        plant("hole", "", 0, 1 << 20);
        must_refuse("hole", REGION_CREATE, -ENODEV, "does not begin");
        plant("text", "#!/bin/sh\n", 10, 1 << 20);
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
        FLIP(version, LAYOUT_VERSION + 1, -EPROTO, "layout version 5 "),
        FLIP(hash, 0xdeadbeef, -EPROTO, "build deadbeef"),
        FLIP(region_bytes, 4096, -EBADMSG, "size that does not follow"),
        FLIP(region_bytes, UINT64_MAX, -EBADMSG, "size that does not follow"),
        FLIP(base_addr, 0, -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0x550000001000), -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0xffffffffc0000000), -EBADMSG, "base address"),
        FLIP(base_addr, UINT64_C(0x7fffc0000000), -EBADMSG, "base address"),
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
        FLIP(threads_hwm, 16385, -EBADMSG, "mark"),
        FLIP(clients_hwm, 4097, -EBADMSG, "mark"),
        FLIP(roots_hwm, 1025, -EBADMSG, "mark"),
        FLIP(magazines_hwm[0], UINT32_MAX, -EBADMSG, "mark"),
        FLIP(magazines_hwm[NODE_MAX - 1], 1, -EBADMSG, "mark"),
        FLIP(creator_uid, 4711, -EACCES, "uid 4711"),
};

START_TEST(a_damaged_header_field_is_refused)
{
        const struct flip *flip = &flips[_i];
        struct region_header header;
        struct region r;
        int fd;

        must_create("flip");
        fd = open(path_of("flip"), O_RDWR);
        ck_assert_int_eq(pread(fd, &header, sizeof header, 0), sizeof header);
        memcpy((char *)&header + flip->off, &flip->value, flip->bytes);
        ck_assert_int_eq(pwrite(fd, &header, sizeof header, 0), sizeof header);
        ck_assert_msg(try_open(&r, "flip", 0) == flip->expected, "%s = %#lx: %s", flip->what, flip->value,
                      error_message());
        ck_assert_msg(strstr(error_message(), flip->fragment) != NULL, "%s: \"%s\" lacks \"%s\"", flip->what,
                      error_message(), flip->fragment);
}
END_TEST

START_TEST(an_unterminated_name_is_refused)
{
        char name[LAYOUT_NAME_MAX + 1];
        int fd;

        must_create("name");
        memset(name, 'x', sizeof name);
        fd = open(path_of("name"), O_RDWR);
        ck_assert_int_eq(pwrite(fd, name, sizeof name, offsetof(struct region_header, name)), sizeof name);
        must_refuse("name", 0, -EBADMSG, "name");
}
END_TEST

START_TEST(a_file_of_another_size_is_refused)
{
        struct stat st;

        must_create("size");
        ck_assert_int_eq(stat(path_of("size"), &st), 0);
        ck_assert_int_eq(truncate(path_of("size"), st.st_size - 1), 0);
        must_refuse("size", 0, -EBADMSG, "truncated");
        ck_assert_int_eq(truncate(path_of("size"), 4096), 0);
        must_refuse("size", 0, -EBADMSG, "truncated");
        ck_assert_int_eq(truncate(path_of("size"), st.st_size + 1), 0);
        must_refuse("size", 0, -EBADMSG, "too long");
        ck_assert_int_eq(truncate(path_of("size"), st.st_size), 0);
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
        chmod(dir, 01777);
        must_create("theirs");
        ck_assert_int_eq(in_child(open_as_nobody, &args), EACCES);
        chmod(path_of("theirs"), 0666);
        ck_assert_int_eq(in_child(open_as_nobody, &args), 0);
        args.flags = REGION_CREATE; /* root's is good enough */
        ck_assert_int_eq(in_child(open_as_nobody, &args), 0);
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
        chmod(dir, 01777);
        ck_assert_int_eq(in_child(create_as_nobody, NULL), 0);
        must_refuse("planted", REGION_CREATE, -EACCES, "belongs to uid 65534");
        args.options.mode = 0660;
        ck_assert_int_eq(region_open(&r, "planted", &args), 0);
        region_close(&r);
        r = must_open("planted", 0);
        region_close(&r);
        ck_assert_int_eq(chown(path_of("planted"), 4711, 0), 0);
        must_refuse("planted", 0, -EACCES, "uid 65534 created it");
}
END_TEST

/* ------------------------------------------------------------------ addresses */

START_TEST(a_taken_address_is_an_error_that_names_what_is_there)
{
        struct region r = must_open("taken", REGION_CREATE), other;
        char *base = r.base;

        must_refuse("taken", 0, -EADDRINUSE, path_of("taken"));
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
        char name[8];

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

START_TEST(one_name_gets_one_address)
{
        struct region r = must_open("same", REGION_CREATE);
        char *base = r.base;

        region_close(&r);
        region_unlink("same");
        r = must_open("same", REGION_CREATE);
        ck_assert_ptr_eq(r.base, base);
        region_close(&r);
        region_unlink("same");
        ck_assert_ptr_eq(mmap(base, 4096, PROT_NONE, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0), base);
        r = must_open("same", REGION_CREATE); /* what is mapped here is avoided */
        ck_assert_ptr_ne(r.base, base);
        region_close(&r);
        region_unlink("same");
        r = must_open("other", REGION_CREATE); /* names are spread, so that they seldom collide */
        ck_assert_uint_gt(llabs(r.base - base), (long long)(2 * GIB));
}
END_TEST

/* Damaged neighbours move a heap, and no more than that. */
START_TEST(a_neighbours_header_cannot_stop_a_creator)
{
        struct region_header header = {.magic = LAYOUT_MAGIC, .base_addr = 0, .region_bytes = UINT64_MAX};
        struct region r;

        plant("evil", &header, sizeof header, 1 << 20);
        r = must_open("good", REGION_CREATE);
        region_close(&r);
        region_unlink("good");
        header.base_addr = UINT64_C(0x550000000000), header.region_bytes = 320 * GIB;
        plant("greedy", &header, sizeof header, 1 << 20);
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
        ck_assert_int_eq(dir_count(), 1);
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

        ck_assert_int_eq(in_child(poke, r.chunks - 1), 1000 + SIGSEGV);
        ck_assert_int_eq(in_child(poke, r.chunks - LAYOUT_GUARD_BYTES), 1000 + SIGSEGV);
        ck_assert_int_eq(in_child(poke, r.base + offsetof(struct region_header, n_released)), 0);
        region_close(&r);
        r = must_open("guard", REGION_RDONLY);
        ck_assert_str_eq(r.header->name, "guard");
        ck_assert(r.is_readonly);
        ck_assert_int_eq(in_child(poke, r.base + 8), 1000 + SIGSEGV);
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
        ck_assert_int_eq(dir_count(), 0);
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

/* ------------------------------------------------------------------ unlinking, listing */

static int
collect(const char *name, void *arg)
{
        strcat(arg, name);
        return strcmp(name, "stop") == 0 ? 5 : 0;
}

START_TEST(listing_gives_the_names_of_heaps)
{
        char names[256] = "";

        must_create("one");
        plant("two", "", 0, 0); /* only names are looked at */
        ck_assert_int_eq(close(open(dir, O_TMPFILE | O_RDWR, 0600)), 0);
        ck_assert_int_eq(region_list(collect, names), 0);
        ck_assert_uint_eq(strlen(names), 6);
        ck_assert_ptr_nonnull(strstr(names, "one"));
        ck_assert_ptr_nonnull(strstr(names, "two"));
        must_create("stop");
        ck_assert_int_eq(region_list(collect, names), 5);
}
END_TEST

START_TEST(unlinking_forgets_the_name_and_keeps_the_memory)
{
        struct region r = must_open("gone", REGION_CREATE);
        uint64_t id = r.id;

        ck_assert_int_eq(region_unlink("gone"), 0);
        ck_assert_int_eq(region_unlink("gone"), -ENOENT);
        ck_assert_ptr_nonnull(strstr(error_message(), "gone"));
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        region_close(&r);
        r = must_open("gone", REGION_CREATE);
        ck_assert_uint_ne(r.id, id);
}
END_TEST

/* ------------------------------------------------------------------ backing */

START_TEST(reserving_backs_exactly_what_is_asked)
{
        struct region r = must_open("reserve", REGION_CREATE);
        uint64_t off = r.layout.chunks_off, before = file_used_bytes(r.fd);

        ck_assert_int_eq(region_reserve(&r, off + 4095, 2), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 8192);
        ck_assert_int_eq(region_reserve(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB);
        ck_assert_int_eq(region_reserve(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB);
        r.chunks[100] = 7;
        ck_assert_int_eq(region_punch(&r, off + 1, 8192), 0); /* one whole page */
        ck_assert_uint_eq(file_used_bytes(r.fd), before + 5 * MIB - 4096);
        ck_assert_int_eq(r.chunks[100], 7);
        ck_assert_int_eq(region_punch(&r, off, 5 * MIB), 0);
        ck_assert_uint_eq(file_used_bytes(r.fd), before);
        ck_assert_int_eq(region_reserve(&r, off, 0), 0);
        ck_assert_int_eq(region_reserve(&r, r.layout.region_bytes - 1, 2), -EINVAL);
        ck_assert_int_eq(region_reserve(&r, UINT64_MAX, 2), -EINVAL);
        ck_assert_int_eq(region_reserve(&r, 4096, UINT64_MAX), -EINVAL);
        ck_assert_int_eq(region_punch(&r, r.layout.region_bytes, 1), -EINVAL);
        ck_assert_uint_eq(file_used_bytes(r.fd), before);
}
END_TEST

static void
assert_chunk_is_backed(const struct region *r, uint64_t k)
{
        const uint64_t n = GEO_GRANULES_PER_CHUNK;

        ck_assert(element_is_backed(r, TABLE_CHUNK_WORDS, k, 1));
        ck_assert(element_is_backed(r, TABLE_HUGE_BYTES, k, 1));
        ck_assert(element_is_backed(r, TABLE_CHUNK_MAPS, k, 1));
        ck_assert(element_is_backed(r, TABLE_GRANULES, k * n, n));
        ck_assert(element_is_backed(r, TABLE_SLABS, k * n, n));
        ck_assert(element_is_backed(r, TABLE_TAGS, k * n, n));
}

/* 1200 chunks: every table crosses a page at least twice. */
START_TEST(each_chunk_below_the_mark_is_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 1200 * GEO_CHUNK_BYTES);
        struct region r;

        ck_assert_int_eq(region_open(&r, "chunks", &args), 0);
        for (uint64_t k = 0; k < 1200; k++) {
                ck_assert_int_eq(region_raise_chunks(&r, k), 0);
                if (region_chunks_hwm(&r) != k + 1)
                        ck_abort_msg("mark of %lu", region_chunks_hwm(&r));
                assert_chunk_is_backed(&r, k);
        }
        ck_assert_int_eq(region_raise_chunks(&r, 1200), -ENOSPC);
        ck_assert_int_eq(region_raise_chunks(&r, 7), 0); /* somebody else did it */
        ck_assert_uint_eq(region_granules_hwm(&r), 1200 * GEO_GRANULES_PER_CHUNK);
}
END_TEST

START_TEST(chunks_stop_at_the_capacity_until_it_grows)
{
        struct region_open_args args = args_of(REGION_CREATE, 2 * GEO_CHUNK_BYTES);
        struct region r;
        uint64_t used;

        args.options.max_capacity = 3 * GEO_CHUNK_BYTES;
        ck_assert_int_eq(region_open(&r, "grow", &args), 0);
        ck_assert_uint_eq(r.layout.n_chunks, 3);
        ck_assert_uint_eq(region_capacity_chunks(&r), 2);
        used = file_used_bytes(r.fd);
        ck_assert_int_eq(region_raise_chunks(&r, 1), -EUCLEAN);
        ck_assert_uint_eq(file_used_bytes(r.fd), used);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 1), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 2), -ENOSPC);
        r.header->capacity_chunks = 3;
        ck_assert_int_eq(region_raise_chunks(&r, 2), 0);
        r.header->capacity_chunks = 1000; /* damage: the layout is the limit */
        ck_assert_int_eq(region_raise_chunks(&r, 3), -ENOSPC);
}
END_TEST

START_TEST(slots_below_their_marks_are_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;

        args.options.max_threads = 3;
        ck_assert_int_eq(region_open(&r, "slots", &args), 0);
        for (uint32_t k = 0; k < 3; k++) {
                ck_assert_ptr_null(region_thread(&r, k));
                ck_assert_int_eq(region_raise_threads(&r, k), 0);
                ck_assert_ptr_nonnull(region_thread(&r, k));
                ck_assert(element_is_backed(&r, TABLE_THREADS, k, 1));
        }
        ck_assert_int_eq(region_raise_threads(&r, 3), -ENOSPC);
        for (uint32_t k = 0; k < 100; k++) {
                ck_assert_int_eq(region_raise_clients(&r, k), 0);
                ck_assert(element_is_backed(&r, TABLE_CLIENTS, k, 1));
                ck_assert_int_eq(region_raise_roots(&r, k), 0);
                ck_assert(element_is_backed(&r, TABLE_ROOTS, k, 1));
        }
        ck_assert_ptr_nonnull(region_client(&r, 99));
        ck_assert_ptr_null(region_client(&r, 100));
        ck_assert_int_eq(region_raise_clients(&r, 102), -EUCLEAN);
}
END_TEST

START_TEST(magazines_of_each_node_are_backed)
{
        struct region_open_args args = args_of(REGION_CREATE, 16 * MIB);
        struct region r;
        uint32_t per_node;

        args.options.n_nodes = 2;
        args.options.max_threads = 5;
        args.options.arenas_per_node = 1;
        ck_assert_int_eq(region_open(&r, "magazines", &args), 0);
        per_node = r.layout.magazines_per_node;
        ck_assert_uint_ne(per_node * r.layout.stride[TABLE_MAGAZINE_WORDS] % OS_PAGE_BYTES, 0); /* nodes share a page */
        ck_assert_uint_eq(r.n_nodes, 2);
        for (uint32_t node = 2; node-- > 0;) {
                for (uint32_t k = 0; k < per_node; k++) {
                        uint64_t idx = (uint64_t)node * per_node + k;

                        ck_assert(!region_has_magazine(&r, idx));
                        ck_assert_int_eq(region_raise_magazines(&r, node, k), 0);
                        ck_assert(region_has_magazine(&r, idx));
                        ck_assert(element_is_backed(&r, TABLE_MAGAZINES, idx, 1));
                        ck_assert(element_is_backed(&r, TABLE_MAGAZINE_WORDS, idx, 1));
                        ck_assert(element_is_backed(&r, TABLE_POOL_HINTS, idx / 64, 1));
                }
                ck_assert_int_eq(region_raise_magazines(&r, node, per_node), -ENOSPC);
        }
        ck_assert_int_eq(region_raise_magazines(&r, 2, 0), -EINVAL);
}
END_TEST

START_TEST(populate_backs_all_of_the_capacity)
{
        struct region r = must_open("full", REGION_CREATE | REGION_POPULATE);

        ck_assert_uint_eq(region_chunks_hwm(&r), 4);
        ck_assert(is_backed(&r, r.layout.chunks_off, 16 * MIB));
        region_close(&r);
        must_create("later");
        r = must_open("later", REGION_POPULATE);
        ck_assert(is_backed(&r, r.layout.chunks_off, 16 * MIB));
}
END_TEST

/* ------------------------------------------------------------------ a small file system */

/* A tmpfs of the given size as the directory of heaps, in a mount namespace of this test process only. */
static bool
mount_small(const char *size)
{
        char options[32];

        snprintf(options, sizeof options, "size=%s", size);
        if (unshare(CLONE_NEWNS) == 0 && mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
            mount("tmpfs", dir, "tmpfs", 0, options) == 0)
                return true;
        printf("skipped: mounting a tmpfs takes root (%s)\n", strerror(errno));
        return false;
}

START_TEST(a_full_file_system_is_an_error_and_never_a_fault)
{
        struct region_open_args args = args_of(REGION_CREATE, 1200 * GEO_CHUNK_BYTES);
        struct region r;
        uint64_t k = 0, off;

        if (!mount_small("4m"))
                return;
        ck_assert_msg(region_open(&r, "small", &args) == 0, "%s", error_message());
        off = r.layout.chunks_off;
        ck_assert_int_eq(region_reserve(&r, off, 16 * MIB), -ENOSPC);
        ck_assert_int_eq(region_punch(&r, off, 16 * MIB), 0);
        while (region_raise_chunks(&r, k) == 0) {
                r.chunk_words[k] = r.huge_bytes[k] = r.granules[k * GEO_GRANULES_PER_CHUNK] = 1;
                r.slabs[k * GEO_GRANULES_PER_CHUNK].word[0] = r.tags[k * GEO_GRANULES_PER_CHUNK] = 1;
                k++;
        }
        ck_assert_uint_gt(k, 10);
        ck_assert_uint_lt(k, 1200);
        ck_assert_uint_eq(region_chunks_hwm(&r), k); /* nothing changed by the failure */
        ck_assert_int_eq(region_raise_chunks(&r, k), -ENOSPC);
        must_refuse("second", REGION_CREATE, -ENOSPC, "SHMALLOC_DIR");
        ck_assert_int_eq(dir_count(), 1);
}
END_TEST

START_TEST(a_populate_that_fails_leaves_nothing)
{
        struct region r;

        if (!mount_small("8m"))
                return;
        must_refuse("big", REGION_CREATE | REGION_POPULATE, -ENOSPC, "the capacity");
        ck_assert_int_eq(dir_count(), 0);
        r = must_open("big", REGION_CREATE);
        region_close(&r);
        must_refuse("big", REGION_POPULATE, -ENOSPC, "the capacity");
        ck_assert_int_eq(dir_count(), 1);
}
END_TEST

/* ------------------------------------------------------------------ layout */

START_TEST(first_magazine_of_all_starts_no_page)
{
        const struct layout_params params = {4 * MIB, 4, 4, 2, 3, 4, 12, 0};
        struct layout layout;
        const char *what;

        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        ck_assert_uint_eq(layout.off[TABLE_MAGAZINES] % OS_PAGE_BYTES, sizeof(struct magazine));
        ck_assert_uint_ge(layout.off[TABLE_MAGAZINES],
                          layout.off[TABLE_MAGAZINE_WORDS] +
                                  layout.n[TABLE_MAGAZINE_WORDS] * layout.stride[TABLE_MAGAZINE_WORDS]);
}
END_TEST

/* ------------------------------------------------------------------ plain memory */

START_TEST(plain_memory_will_do)
{
        const struct layout_params params = {4 * MIB, 4, 4, 2, 3, 4, 12, 0};
        struct region r = {.fd = -1};
        struct layout layout;
        const char *what;
        void *mem;

        ck_assert_int_eq(layout_compute(&params, &layout, &what), 0);
        mem = mmap(NULL, layout.region_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1,
                   0);
        region_bind(&r, mem, &layout);
        region_format(&r, &params, "plain", 0);
        ck_assert_uint_eq(r.n_nodes, 2);
        ck_assert_uint_eq(r.arenas_per_node, 3);
        ck_assert_int_eq(region_reserve_fixed(&r), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_raise_chunks(&r, 1), -ENOSPC);
        ck_assert_int_eq(region_raise_magazines(&r, 1, 0), 0);
        r.chunks[5] = 1;
        ck_assert_int_eq(region_punch(&r, layout.chunks_off, 4096), 0);
        ck_assert_int_eq(r.chunks[5], 0);
}
END_TEST

/* ------------------------------------------------------------------ failing system calls */

#if SHM_DEBUG
static int calls_until_failure;

static int
fail_nth(const char *call)
{
        (void)call;
        return --calls_until_failure == 0 ? ENOMEM : 0;
}

static const char *never_there;

static int
is_never_there(const char *call)
{
        return strcmp(call, never_there) == 0 ? EOPNOTSUPP : 0;
}

static int
count_fds(void)
{
        int n = 0;

        for (int fd = 0; fd < 200; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static int
count_maps(const struct os_mapping *mapping, void *arg)
{
        *(int *)arg += strstr(mapping->what, "/dev/shm/") != NULL || strstr(mapping->what, "/#") != NULL;
        return 0;
}

/* Opens with the nth call failing.  Whatever comes of it, nothing leaks. */
static bool
survives_nth(const char *name, unsigned flags, int nth)
{
        int fds = count_fds(), n_maps = 0, err;
        struct region r;

        calls_until_failure = nth;
        os_inject = fail_nth;
        err = try_open(&r, name, flags);
        os_inject = NULL;
        if (err == 0)
                region_close(&r);
        else
                ck_assert_msg(strlen(error_message()) > 10 && strcmp(error_message(), "no error") != 0, "call %d", nth);
        ck_assert_msg(count_fds() == fds, "call %d leaves a descriptor", nth);
        os_maps_each(count_maps, &n_maps);
        ck_assert_msg(n_maps == 0, "call %d leaves a mapping", nth);
        return calls_until_failure <= 0;
}

START_TEST(any_call_may_fail_while_creating)
{
        const unsigned flags = REGION_CREATE | (_i % 2 ? REGION_POPULATE : 0);
        int nth = 1;

        for (; survives_nth("fails", flags, nth); nth++) {
                struct region r = must_open("fails", REGION_CREATE); /* complete or not there */

                region_close(&r);
                ck_assert_int_eq(region_unlink("fails"), 0);
                ck_assert_int_eq(dir_count(), 0);
        }
        ck_assert_int_gt(nth, 10);
}
END_TEST

START_TEST(any_call_may_fail_while_opening)
{
        int nth = 1;

        must_create("fails");
        while (survives_nth("fails", REGION_POPULATE, nth))
                nth++;
        ck_assert_int_gt(nth, 5);
}
END_TEST

START_TEST(without_unnamed_files_a_temporary_name_does)
{
        const char *missing[] = {"tmpfile", "proc"};
        struct region r;

        never_there = missing[_i];
        os_inject = is_never_there;
        plant("x", "", 0, 0); /* a bystander stays */
        r = must_open("temp", REGION_CREATE | REGION_EXCL);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(dir_count(), 2);
        must_refuse("temp", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
        ck_assert_int_eq(dir_count(), 2);
}
END_TEST

static int
die_before_link(const char *call)
{
        if (strcmp(call, "link") == 0)
                raise(SIGKILL);
        return is_never_there(call);
}

static int
create_and_die(void *arg)
{
        os_inject = die_before_link;
        never_there = arg;
        must_open("dies", REGION_CREATE);
        return 0;
}

START_TEST(a_dead_creators_temporary_file_goes_with_the_next_creator)
{
        struct region r;

        ck_assert_int_eq(in_child(create_and_die, (void *)"none"), 1000 + SIGKILL);
        ck_assert_int_eq(dir_count(), 0); /* the normal way leaves nothing at all */
        ck_assert_int_eq(in_child(create_and_die, (void *)"tmpfile"), 1000 + SIGKILL);
        ck_assert_int_eq(dir_count(), 1);
        never_there = "tmpfile";
        os_inject = is_never_there;
        r = must_open("dies", REGION_CREATE);
        ck_assert_int_eq(dir_count(), 1);
        region_close(&r);
}
END_TEST

/* Somebody else's complete heap appears under the name just before ours is linked. */
static int
overtake(const char *call)
{
        if (strcmp(call, "link") == 0) {
                os_inject = NULL;
                must_create("raced");
        }
        return strcmp(call, never_there) == 0 ? EOPNOTSUPP : 0;
}

START_TEST(a_creator_that_comes_second_opens_the_first_ones)
{
        struct region r, first;

        never_there = _i == 0 ? "nothing" : "tmpfile";
        os_inject = overtake;
        r = must_open("raced", REGION_CREATE);
        ck_assert_int_eq(dir_count(), 1);
        region_close(&r);
        first = must_open("raced", 0);
        ck_assert_uint_eq(first.id, r.id);
        region_close(&first);
        ck_assert_int_eq(region_unlink("raced"), 0);
        os_inject = overtake;
        must_refuse("raced", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
        ck_assert_int_eq(dir_count(), 1);
}
END_TEST

/* Each time we link, there is one; each time we open, there is none. */
static int
storm(const char *call)
{
        if (strcmp(call, "open_file") == 0)
                unlink(path_of("storm"));
        if (strcmp(call, "link") == 0)
                plant("storm", "", 0, 0);
        return 0;
}

START_TEST(a_name_that_comes_and_goes_is_an_error_in_the_end)
{
        os_inject = storm;
        must_refuse("storm", REGION_CREATE, -EAGAIN, "appearing");
}
END_TEST
#endif

/* ------------------------------------------------------------------ suite */

static TCase *
add_case(Suite *suite, const char *name)
{
        TCase *tcase = tcase_create(name);

        tcase_add_unchecked_fixture(tcase, dir_create, dir_remove);
        tcase_add_checked_fixture(tcase, dir_empty, NULL);
        suite_add_tcase(suite, tcase);
        return tcase;
}

static void
add_names_and_creation(Suite *suite)
{
        TCase *tcase = add_case(suite, "names and creation");

        tcase_add_test(tcase, names_are_letters_digits_and_three_marks);
        tcase_add_test(tcase, files_and_names_map_to_each_other);
        tcase_add_test(tcase, a_bad_name_is_refused_with_the_rule);
        tcase_add_test(tcase, the_directory_must_exist);
        tcase_add_test(tcase, messages_are_one_line_and_cut_off);
        tcase_add_test(tcase, a_new_region_says_what_it_is);
        tcase_add_test(tcase, the_creator_has_it_mapped_under_its_name);
        tcase_add_test(tcase, what_is_always_backed_is_backed);
        tcase_add_test(tcase, two_processes_have_it_at_one_address);
        tcase_add_test(tcase, create_opens_what_is_there_and_excl_does_not);
        tcase_add_test(tcase, mode_does_not_depend_on_the_umask);
        tcase_add_test(tcase, descriptors_are_closed_on_exec);
        tcase_add_test(tcase, a_tebibyte_costs_nothing_until_used);
        tcase_add_test(tcase, a_file_size_limit_is_an_error_and_no_signal);
        tcase_add_test(tcase, impossible_parameters_are_refused_at_creation);
}

static void
add_refusals(Suite *suite)
{
        TCase *tcase = add_case(suite, "refusals");

        tcase_add_test(tcase, what_is_no_regular_file_is_refused_by_name);
        tcase_add_test(tcase, a_device_is_refused);
        tcase_add_test(tcase, files_that_are_no_heap_are_refused);
        tcase_add_loop_test(tcase, a_damaged_header_field_is_refused, 0, sizeof flips / sizeof flips[0]);
        tcase_add_test(tcase, an_unterminated_name_is_refused);
        tcase_add_test(tcase, a_file_of_another_size_is_refused);
        tcase_add_test(tcase, permission_is_the_kernels_and_a_private_heap_is_ones_own);
        tcase_add_test(tcase, a_heap_planted_by_another_user_is_refused);
}

static void
add_mapping(Suite *suite)
{
        TCase *tcase = add_case(suite, "mapping");

        tcase_add_test(tcase, a_taken_address_is_an_error_that_names_what_is_there);
        tcase_add_test(tcase, relocatable_takes_any_aligned_address);
        tcase_add_test(tcase, heaps_of_a_directory_do_not_overlap);
        tcase_add_test(tcase, one_name_gets_one_address);
        if (!UNDER_TSAN) /* its second half needs the second window */
                tcase_add_test(tcase, a_neighbours_header_cannot_stop_a_creator);
        tcase_add_test(tcase, the_base_address_can_be_given);
        tcase_add_test(tcase, guard_and_readonly_mapping_stop_stores);
        tcase_add_test(tcase, a_descriptor_opens_the_same_heap);
        tcase_add_test(tcase, a_readonly_descriptor_stays_readonly);
        tcase_add_test(tcase, an_anonymous_heap_is_sealed);
        tcase_add_test(tcase, a_memfd_that_could_shrink_is_refused);
        tcase_add_test(tcase, listing_gives_the_names_of_heaps);
        tcase_add_test(tcase, unlinking_forgets_the_name_and_keeps_the_memory);
}

static void
add_backing(Suite *suite)
{
        TCase *tcase = add_case(suite, "backing");

        tcase_add_test(tcase, reserving_backs_exactly_what_is_asked);
        tcase_add_test(tcase, each_chunk_below_the_mark_is_backed);
        tcase_add_test(tcase, chunks_stop_at_the_capacity_until_it_grows);
        tcase_add_test(tcase, slots_below_their_marks_are_backed);
        tcase_add_test(tcase, magazines_of_each_node_are_backed);
        tcase_add_test(tcase, populate_backs_all_of_the_capacity);
        tcase_add_test(tcase, a_full_file_system_is_an_error_and_never_a_fault);
        tcase_add_test(tcase, a_populate_that_fails_leaves_nothing);
        tcase_add_test(tcase, first_magazine_of_all_starts_no_page);
        tcase_add_test(tcase, plain_memory_will_do);
}

static void
add_failures(Suite *suite)
{
#if SHM_DEBUG
        TCase *tcase = add_case(suite, "failing system calls");

        tcase_add_loop_test(tcase, any_call_may_fail_while_creating, 0, 2);
        tcase_add_test(tcase, any_call_may_fail_while_opening);
        tcase_add_loop_test(tcase, without_unnamed_files_a_temporary_name_does, 0, 2);
        tcase_add_test(tcase, a_dead_creators_temporary_file_goes_with_the_next_creator);
        tcase_add_loop_test(tcase, a_creator_that_comes_second_opens_the_first_ones, 0, 2);
        tcase_add_test(tcase, a_name_that_comes_and_goes_is_an_error_in_the_end);
#else
        (void)suite;
#endif
}

int
main(void)
{
        Suite *suite = suite_create("region");

        add_names_and_creation(suite);
        add_refusals(suite);
        add_mapping(suite);
        add_backing(suite);
        add_failures(suite);
        return suite_run(suite);
}
