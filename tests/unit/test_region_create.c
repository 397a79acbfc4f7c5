/*
 * What is at stake: a region that is to be seen under its name before it is complete corrupts everybody who opens it,
 * and what a creator leaves when it fails or dies fills the file system.  So a new region is compared with what was
 * asked for, what is no name is refused, and with internal assertions on each system call fails in turn, and creators
 * die and overtake each other.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "os/inject.h"
#include "os/maps.h"
#include "os/shm.h"
#include "region/name.h"
#include "region/open.h"
#include "support/checks.h"
#include "support/region_dir.h"
#include "support/suite.h"

#define MIB (UINT64_C(1) << 20)

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

        ck_assert_int_eq(stat(region_dir_path("new"), &st), 0);
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
        ck_assert_int_eq(region_dir_count(), 1);
        region_close(&r);
}
END_TEST

/* Later openers see it under its name in /proc; so must those who look at the creator. */
START_TEST(the_creator_has_it_mapped_under_its_name)
{
        struct region r = must_open("seen", REGION_CREATE);
        struct os_mapping mapping;

        ck_assert_int_eq(os_maps_find((uintptr_t)r.base, (uintptr_t)r.base + 1, &mapping), 1);
        ck_assert_str_eq(mapping.what, region_dir_path("seen"));
        ck_assert_int_eq(os_maps_find((uintptr_t)r.chunks, (uintptr_t)r.chunks + 1, &mapping), 1);
        ck_assert_str_eq(mapping.what, region_dir_path("seen"));
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
        ck_assert_int_eq(status_of_child(open_and_compare, &r), 0);
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

START_TEST(a_file_size_limit_is_an_error_and_no_signal)
{
        const struct rlimit limit = {MIB, MIB};

        ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
        must_refuse("limited", REGION_CREATE, -EFBIG, "ulimit -f");
        ck_assert_int_eq(region_dir_count(), 0);
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
        ck_assert_int_eq(region_dir_count(), 0);
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
        region_dir_plant("two", "", 0, 0); /* only names are looked at */
        ck_assert_int_eq(close(open(region_dir_name(), O_TMPFILE | O_RDWR, 0600)), 0);
        ck_assert_int_eq(region_list(collect, names), 0);
        ck_assert_uint_eq(strlen(names), 6);
        ck_assert_ptr_nonnull(strstr(names, "one"));
        ck_assert_ptr_nonnull(strstr(names, "two"));
        must_create("stop");
        ck_assert_int_eq(region_list(collect, names), 5);
}
END_TEST

static int
count(const char *name, void *arg)
{
        if (strncmp(name, "shmalloc.neighbour-", 19) == 0)
                ++*(int *)arg;
        return 0;
}

/* More of them than fit a buffer; again and again by one descriptor, which may be read, or may not. */
START_TEST(a_glance_sees_the_whole_directory_each_time)
{
        enum { N = 100 };
        const int flags[] = {O_RDONLY, O_PATH};
        char name[64];
        int n, fd;

        for (int i = 0; i < N; i++) {
                snprintf(name, sizeof name, "neighbour-%d", i);
                region_dir_plant(name, "", 0, 0);
        }
        for (int way = 0; way < 2; way++) {
                fd = open(region_dir_name(), flags[way] | O_DIRECTORY);
                ck_assert_int_ge(fd, 0);
                for (int i = 0; i < 3; i++) {
                        n = 0;
                        os_glance_dir(fd, count, &n);
                        ck_assert_int_eq(n, N);
                }
                close(fd);
        }
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
                ck_assert_int_eq(region_dir_count(), 0);
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
        region_dir_plant("x", "", 0, 0); /* a bystander stays */
        r = must_open("temp", REGION_CREATE | REGION_EXCL);
        ck_assert_int_eq(region_raise_chunks(&r, 0), 0);
        ck_assert_int_eq(region_dir_count(), 2);
        must_refuse("temp", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
        ck_assert_int_eq(region_dir_count(), 2);
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

        ck_assert_int_eq(status_of_child(create_and_die, (void *)"none"), 1000 + SIGKILL);
        ck_assert_int_eq(region_dir_count(), 0); /* the normal way leaves nothing at all */
        ck_assert_int_eq(status_of_child(create_and_die, (void *)"tmpfile"), 1000 + SIGKILL);
        ck_assert_int_eq(region_dir_count(), 1);
        never_there = "tmpfile";
        os_inject = is_never_there;
        r = must_open("dies", REGION_CREATE);
        ck_assert_int_eq(region_dir_count(), 1);
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
        ck_assert_int_eq(region_dir_count(), 1);
        region_close(&r);
        first = must_open("raced", 0);
        ck_assert_uint_eq(first.id, r.id);
        region_close(&first);
        ck_assert_int_eq(region_unlink("raced"), 0);
        os_inject = overtake;
        must_refuse("raced", REGION_CREATE | REGION_EXCL, -EEXIST, "already");
        ck_assert_int_eq(region_dir_count(), 1);
}
END_TEST

/* Each time we link, there is one; each time we open, there is none. */
static int
storm(const char *call)
{
        if (strcmp(call, "open_file") == 0)
                unlink(region_dir_path("storm"));
        if (strcmp(call, "link") == 0)
                region_dir_plant("storm", "", 0, 0);
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

static void
add_names_and_creation(Suite *suite)
{
        TCase *tcase = region_dir_case(suite, "names and creation");

        tcase_add_test(tcase, names_are_letters_digits_and_three_marks);
        tcase_add_test(tcase, files_and_names_map_to_each_other);
        tcase_add_test(tcase, a_bad_name_is_refused_with_the_rule);
        tcase_add_test(tcase, the_directory_must_exist);
        tcase_add_test(tcase, messages_are_one_line_and_cut_off);
        tcase_add_test(tcase, a_new_region_says_what_it_is);
        tcase_add_test(tcase, the_creator_has_it_mapped_under_its_name);
        tcase_add_test(tcase, two_processes_have_it_at_one_address);
        tcase_add_test(tcase, create_opens_what_is_there_and_excl_does_not);
        tcase_add_test(tcase, mode_does_not_depend_on_the_umask);
        tcase_add_test(tcase, descriptors_are_closed_on_exec);
        tcase_add_test(tcase, a_file_size_limit_is_an_error_and_no_signal);
        tcase_add_test(tcase, impossible_parameters_are_refused_at_creation);
        tcase_add_test(tcase, listing_gives_the_names_of_heaps);
        tcase_add_test(tcase, a_glance_sees_the_whole_directory_each_time);
        tcase_add_test(tcase, unlinking_forgets_the_name_and_keeps_the_memory);
}

static void
add_failures(Suite *suite)
{
#if SHM_DEBUG
        TCase *tcase = region_dir_case(suite, "failing system calls");

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
        Suite *suite = suite_create("region_create");

        add_names_and_creation(suite);
        add_failures(suite);
        return suite_run(suite);
}
