/*
 * The configuration: what is wrong in it is named with its line and with what would be right, what is right is done,
 * and what changes is changed while everybody goes on.
 */
#include <linux/magic.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "layout/layout.h"
#include "support/heap_dir.h"

enum { NOBODY = 65534 };

static const char *
config_argument(const char *text)
{
        static char arg[220];

        snprintf(arg, sizeof arg, "--config=%s", rig_write("d.conf", text));
        return arg;
}

static void
expect_refusal(struct rig *rig, const char *text)
{
        int status = rig_wait(rig);

        ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 2, "wait status %#x for: %s", status, text);
        ck_assert_msg(rig_has_said(rig, text), "not said: %s", text);
}

START_TEST(a_wrong_line_is_named_with_what_would_be_right)
{
        static const struct {
                const char *config, *says;
        } wrong[] = {
                {"capacity = 1G\n", "d.conf:1: there is no option \"capacity\" before the first section"},
                {"# fine\n\n[one]\nsize = 1G\n", "d.conf:4: a heap has no option \"size\"; there are capacity, "},
                {"[one] # one\n; and\ncapacity = 4M#4\n", "d.conf:3: \"4M#4\" is no capacity"},
                {"[one]\ncapacity = much # as much as there is\n", "d.conf:2: \"much\" is no capacity"},
                {"[one]\ncapacity = # none\n", "d.conf:2: \"\" is no capacity"},
                {"[one]\ndecay_ms = -2\n", "d.conf:2: \"-2\" is no decay_ms: valid is MS: milliseconds"},
                {"[one]\nmax_capacity = 3T\n", "d.conf:2: \"3T\" is no max_capacity: valid is BYTES: that it may"},
                {"[one]\ncapacity = much\n", "d.conf:2: \"much\" is no capacity: valid is BYTES"},
                {"[one]\ncapacity = 3T\n", "d.conf:2: \"3T\" is no capacity"},
                {"[one]\ncapacity = 99999999999999999999\n", "d.conf:2: "},
                {"[one]\nmode = 0400\n", "d.conf:2: \"0400\" is no mode: valid is OCTAL: of its file: 0600"},
                {"[one]\nmode = 0777\n", "d.conf:2: \"0777\" is no mode"},
                {"[one]\nowner = nobody-has-this-name\n", "d.conf:2: \"nobody-has-this-name\" is no owner"},
                {"[one]\ngroup = nobody-has-this-name\n", "d.conf:2: \"nobody-has-this-name\" is no group"},
                {"[one]\nmax_clients = 0\n",
                 "d.conf:2: \"0\" is no max_clients: valid is N: processes at a time, 1 to "},
                {"[one]\nmax_clients = 65536\n", "d.conf:2: \"65536\" is no max_clients"},
                {"[one]\nmax_threads = -1\n", "d.conf:2: \"-1\" is no max_threads"},
                {"[one]\narenas = 65\n", "d.conf:2: \"65\" is no arenas"},
                {"[one]\nnodes = 3-1\n", "d.conf:2: \"3-1\" is no nodes: valid is LIST: NUMA nodes, 0 to 63"},
                {"[one]\nnodes = 64\n", "d.conf:2: \"64\" is no nodes"},
                {"[one]\nnodes = 1,,2\n", "d.conf:2: \"1,,2\" is no nodes"},
                {"[one]\npolicy = anywhere\n", "d.conf:2: \"anywhere\" is no policy: valid is WORD: local, interleave"},
                {"[one]\ndecay_ms = soon\n", "d.conf:2: \"soon\" is no decay_ms: valid is MS: milliseconds"},
                {"[one]\npage_size = 2M\n", "d.conf:2: \"2M\" is no page_size: valid is SIZE: 4K"},
                {"[one]\nreplace_stale = maybe\n", "d.conf:2: \"maybe\" is no replace_stale: valid is yes|no"},
                {"[one]\ndisk = true\n", "d.conf:2: \"true\" is no disk: valid is yes|no"},
                {"[one]\ncapacity 1G\n", "d.conf:2: \"capacity 1G\": valid is key = value"},
                {"[one\n", "d.conf:1: \"[one\": a section is [NAME]"},
                {"[.one]\n", "d.conf:1: \".one\" is no name of a heap: valid are 1 to 63 of A-Z"},
                {"[]\n", "d.conf:1: \"\" is no name of a heap"},
                {"[a/b]\n", "d.conf:1: \"a/b\" is no name of a heap"},
                {"[one]\n[two]\n[one]\n", "d.conf:3: heap \"one\" has a section already, in line 1"},
                {"[one]\ncapacity = 8M\nmax_capacity = 4M\n", "d.conf:1: heap \"one\": max_capacity of 4194304 bytes"},
                {"socket = here\n", "d.conf:1: \"here\" is no socket: valid is an absolute path"},
                {"socket_mode = 9\n", "d.conf:1: \"9\" is no socket_mode: valid is octal"},
        };

        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                struct rig rig;

                rig_start(&rig, config_argument(wrong[i].config), NULL);
                expect_refusal(&rig, wrong[i].says);
        }
}
END_TEST

START_TEST(wrong_arguments_are_named)
{
        struct rig rig;

        rig_start(&rig, "--config=/nowhere/at/all", NULL);
        expect_refusal(&rig, "cannot open /nowhere/at/all: No such file or directory");
        rig_start(&rig, "--heap=x", "--capacity=much", NULL);
        expect_refusal(&rig, "--capacity: \"much\" is no capacity: valid is BYTES");
        rig_start(&rig, "--capacity=64M", NULL);
        expect_refusal(&rig, "the options of a heap want its name: --heap=NAME");
        rig_start(&rig, "--heap=x", "--config=y", NULL);
        expect_refusal(&rig, "--heap and --config exclude each other");
        rig_start(&rig, "--heap=../x", NULL);
        expect_refusal(&rig, "--heap=../x: valid are");
        rig_start(&rig, "--socket=here", NULL);
        expect_refusal(&rig, "--socket=here: valid is an absolute path");
}
END_TEST

START_TEST(a_wrong_socket_in_the_environment_is_named)
{
        char longest[109] = "/";
        struct rig rig;

        memset(longest + 1, 'x', sizeof longest - 2); /* a byte too many */
        setenv("SHMALLOC_SOCKET", longest, 1);        /* in the child of this test only */
        rig_start(&rig, "--heap=x", NULL);
        expect_refusal(&rig, "xxx\" is no socket: valid is an absolute path of at most 107 bytes");
        setenv("SHMALLOC_SOCKET", "here", 1);
        rig_start(&rig, "--heap=x", NULL);
        expect_refusal(&rig, "SHMALLOC_SOCKET: \"here\" is no socket: valid is an absolute path");
}
END_TEST

START_TEST(all_options_are_taken_and_done)
{
        uint64_t value;
        struct stat st;
        char path[200];
        struct rig rig;
        shheap *h;

        rig_start(&rig,
                  config_argument("; all of them\n[all]\n\tcapacity = 64M \n max_capacity=128m\nmode = 0660\n"
                                  "max_clients = 10\nmax_threads = 50\narenas = 3\nnodes = all\npolicy = local\n"
                                  "decay_ms = 250\npage_size = 4K\n\n[second-heap]\ncapacity = 4M\n"),
                  NULL);
        rig_expect(&rig, "2 of 2 heaps");
        h = heap_dir_open("all", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 64 << 20);
        ck_assert_uint_eq(heap_ctl(h, "heap.max_capacity"), 128 << 20);
        ck_assert_uint_eq(heap_ctl(h, "heap.decay_ms"), 250);
        value = heap_ctl(h, "heap.nodes");
        ck_assert_uint_eq(heap_ctl(h, "heap.arenas"), 3 * value);
        snprintf(path, sizeof path, "%s/shmalloc.all", rig_dir());
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_int_eq(st.st_mode & 07777, 0660);
        ck_assert_uint_eq(st.st_uid, geteuid());
        rig_stop(&rig);
        ck_assert_int_eq(stat(path, &st), 0); /* left as it is */
        shheap_close(h);
}
END_TEST

/* As shmallocd.conf(5) has it: behind a value and a section, and by itself; never within a word. */
START_TEST(comments_end_lines)
{
        struct rig rig;
        shheap *h;

        rig_start(&rig,
                  config_argument("# by itself\n\t; and so\n[one] # behind a section\ncapacity = 8M # behind a value\n"
                                  "max_capacity = 16M\t; with a tab\ndecay_ms = -1 ;\n#mode = 0666\n"),
                  NULL);
        rig_expect(&rig, "ready: 1 of 1 heaps");
        h = heap_dir_open("one", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 8 << 20);
        ck_assert_uint_eq(heap_ctl(h, "heap.max_capacity"), 16 << 20);
        ck_assert_uint_eq(heap_ctl(h, "heap.decay_ms"), UINT64_MAX); /* never */
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* -1 is the library's word for it, and what another heap.decay_ms is changed to by a reload. */
START_TEST(never_has_two_names)
{
        struct rig rig;
        shheap *h;

        rig_start(&rig, config_argument("[one]\ncapacity = 4M\ndecay_ms = 5\n"), NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("one", 0, NULL);
        config_argument("[one]\ncapacity = 4M\ndecay_ms = never\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "its decay_ms is -1 now");
        config_argument("[one]\ncapacity = 4M\ndecay_ms = 7\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "its decay_ms is 7 now");
        config_argument("[one]\ncapacity = 4M\ndecay_ms = -1\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "its decay_ms is -1 now");
        ck_assert_uint_eq(heap_ctl(h, "heap.decay_ms"), UINT64_MAX);
        rig_stop(&rig);
        shheap_close(h);
        rig_start(&rig, "--heap=two", "--capacity=4M", "--decay_ms=-1", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("two", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.decay_ms"), UINT64_MAX);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* Without a capacity it is the default, and no more than this; up to it the capacity may be raised, and no further. */
START_TEST(max_capacity_bounds_the_capacity)
{
        struct rig rig;
        shheap *h;

        rig_start(&rig, config_argument("[one]\nmax_capacity = 12M\n[two]\ncapacity = 4M\nmax_capacity = 12M\n"), NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("one", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 12 << 20);
        shheap_close(h);
        h = heap_dir_open("two", 0, NULL);
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 4 << 20);
        config_argument("[one]\nmax_capacity = 12M\n[two]\ncapacity = 12M\nmax_capacity = 12M\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "its capacity has grown from 4194304 to 12582912 bytes");
        config_argument("[one]\nmax_capacity = 12M\n[two]\ncapacity = 16M\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "heap \"two\": ");
        rig_expect(&rig, "12582912");
        ck_assert_uint_eq(heap_ctl(h, "heap.capacity"), 12 << 20);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* Its helper is told of each by its number. */
START_TEST(many_nodes_are_told_to_the_helper)
{
        struct region_header header;
        char path[220];
        struct rig rig;
        FILE *f;

        rig_start(&rig, config_argument("[one]\ncapacity = 4M\nnodes = 0-2,10-63\n"), NULL);
        rig_expect(&rig, "heap \"one\": created");
        snprintf(path, sizeof path, "%s/shmalloc.one", rig_dir());
        f = fopen(path, "r");
        ck_assert_ptr_nonnull(f);
        ck_assert_uint_eq(fread(&header, sizeof header, 1, f), 1);
        fclose(f);
        ck_assert_uint_eq(header.numa_nodes, UINT64_C(7) | UINT64_MAX << 10);
        rig_stop(&rig);
}
END_TEST

/* Refused unless it is asked for; then created, and adopted by the next daemon, too. */
START_TEST(heap_on_a_disk_is_kept_if_the_configuration_says_so)
{
        char dir[] = "/var/tmp/shmalloc-test-XXXXXX", command[100];
        struct statfs fs;
        struct rig rig;

        ck_assert_ptr_nonnull(mkdtemp(dir));
        ck_assert_int_eq(statfs(dir, &fs), 0);
        setenv("SHMALLOC_DIR", dir, 1); /* in the child of this test only */
        if (fs.f_type == TMPFS_MAGIC) {
                fprintf(stderr, "a heap on a disk: not tested, /var/tmp is in memory\n");
        } else {
                rig_start(&rig, config_argument("[one]\ncapacity = 4M\ndisk = yes\n"), NULL);
                rig_expect(&rig, "heap \"one\": created");
                rig_stop(&rig);
                rig_start(&rig, "--heap=one", "--capacity=4M", "--disk=yes", NULL);
                rig_expect(&rig, "heap \"one\": adopted");
                rig_stop(&rig);
                rig_start(&rig, config_argument("[one]\ncapacity = 4M\ndisk = no\n"), NULL);
                rig_expect(&rig, "disk:true");
                rig_kill(&rig);
        }
        snprintf(command, sizeof command, "rm -r %s", dir);
        ck_assert_int_eq(system(command), 0);
}
END_TEST

START_TEST(a_check_of_the_configuration_starts_nothing)
{
        struct rig rig;
        int status;

        rig_start(&rig, "--check-config", config_argument("[one]\ncapacity = 4M\n"), NULL);
        status = rig_wait(&rig);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
        rig_start(&rig, "--check-config", config_argument("[one]\ncapacity = x\n"), NULL);
        expect_refusal(&rig, "d.conf:2:");
}
END_TEST

/* ------------------------------------------------------------------ changes */

START_TEST(a_changed_configuration_is_applied_when_told)
{
        struct rig rig;
        shheap *h;

        rig_start(&rig, config_argument("[one]\ncapacity = 64M\nmax_capacity = 128M\n[two]\ncapacity = 4M\n"), NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("one", 0, NULL);
        config_argument("[one]\ncapacity = 96M\nmax_capacity = 128M\ndecay_ms = 77\n[three]\ncapacity = 4M\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "heap \"two\": not in the configuration any more");
        rig_expect(&rig, "heap \"three\": created");
        while (heap_ctl(h, "heap.capacity") != 96 << 20 || heap_ctl(h, "heap.decay_ms") != 77)
                rig_expect(&rig, "heap \"one\": its ");
        ck_assert_int_eq(heap_dir_count() >= 3, 1);
        config_argument("[one]\ncapacity = 96M\nmax_capacity = 128M\nwrong\n");
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "d.conf:4: ");
        rig_expect(&rig, "everything stays as it was");
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

static bool
exists(const char *name)
{
        char path[200];

        snprintf(path, sizeof path, "%s/shmalloc.%s", rig_dir(), name);
        return access(path, F_OK) == 0;
}

START_TEST(heaps_stay_at_the_end_or_are_removed)
{
        const char *config = "[one]\ncapacity = 4M\n[two]\ncapacity = 4M\n";
        struct rig rig;

        rig_start(&rig, config_argument(config), NULL);
        rig_expect(&rig, "ready:");
        rig_stop(&rig);
        ck_assert(exists("one") && exists("two"));
        rig_start(&rig, config_argument(config), "--unlink", NULL);
        rig_expect(&rig, "ready:");
        ck_assert(rig_has_said(&rig, "heap \"one\": adopted"));
        rig_stop(&rig);
        ck_assert(!exists("one") && !exists("two"));
        ck_assert_int_ne(access(getenv("SHMALLOC_SOCKET"), F_OK), 0);
}
END_TEST

/* Nobody waits for what may never come, or never end. */
START_TEST(what_is_no_file_is_no_configuration)
{
        char fifo[220], folder[220], large[220];
        const struct {
                const char *path, *says;
        } wrong[] = {
                {fifo, "is no configuration: it is a FIFO"},
                {folder, "is no configuration: it is a directory"},
                {"/dev/zero", "is no configuration: it is a character device"},
                {"/dev/tty", "/dev/tty"},
                {large, "is no configuration: it is a file of more than 1048576 bytes"},
        };

        snprintf(fifo, sizeof fifo, "%s/fifo", rig_dir());
        ck_assert_int_eq(mkfifo(fifo, 0600), 0);
        snprintf(folder, sizeof folder, "%s/folder", rig_dir());
        ck_assert_int_eq(mkdir(folder, 0700), 0);
        snprintf(large, sizeof large, "%s", rig_write("large", "[one]\n"));
        ck_assert_int_eq(truncate(large, 1048577), 0);
        for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
                char arg[240];
                struct rig rig;

                snprintf(arg, sizeof arg, "--config=%s", wrong[i].path);
                rig_start(&rig, arg, NULL);
                expect_refusal(&rig, wrong[i].says);
        }
        ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

/* Told to read it again, it stays as it was. */
START_TEST(a_configuration_that_becomes_a_fifo_changes_nothing)
{
        const char *path;
        struct rig rig;

        rig_start(&rig, config_argument("[one]\ncapacity = 4M\n"), NULL);
        rig_expect(&rig, "ready:");
        path = rig_write("d.conf", "");
        ck_assert_int_eq(unlink(path), 0);
        ck_assert_int_eq(mkfifo(path, 0600), 0);
        kill(rig.pid, SIGHUP);
        rig_expect(&rig, "is no configuration: it is a FIFO");
        rig_expect(&rig, "everything stays as it was");
        rig_stop(&rig);
}
END_TEST

static void
leave_heap_of_another_layout(const char *name)
{
        uint32_t version = LAYOUT_VERSION + 1;
        shheap *h = heap_dir_open(name, SHHEAP_CREATE, NULL);
        int fd = shheap_dup_fd(h, 0);

        ck_assert_int_eq(pwrite(fd, &version, sizeof version, offsetof(struct region_header, version)), sizeof version);
        close(fd);
        ck_assert_int_eq(shheap_close(h), 0);
}

START_TEST(a_heap_of_another_layout_is_replaced_where_that_is_configured)
{
        struct rig rig;
        int status;

        leave_heap_of_another_layout("one");
        rig_start(&rig, config_argument("[one]\ncapacity = 4M\n"), NULL);
        rig_expect(&rig, "layout version");
        status = rig_wait(&rig);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
        rig_start(&rig, config_argument("[one]\ncapacity = 4M\nreplace_stale = yes\n"), NULL);
        rig_expect(&rig, "heap \"one\": created");
        rig_stop(&rig);
}
END_TEST

START_TEST(a_heap_that_somebody_removes_is_made_again)
{
        char path[220], away[220];
        struct rig rig;

        rig_start(&rig, "--heap=one", "--capacity=4M", NULL);
        rig_expect(&rig, "ready:");
        ck_assert_int_eq(shheap_unlink("one"), 0);
        rig_expect(&rig, "its file has been removed by somebody else");
        rig_expect(&rig, "created");
        ck_assert(exists("one"));
        snprintf(away, sizeof away, "%s/away", rig_dir());
        snprintf(path, sizeof path, "%s/shmalloc.one", rig_dir());
        ck_assert_int_eq(rename(path, away), 0);
        rig_expect(&rig, "its file has been removed by somebody else, or replaced");
        rig_expect(&rig, "created");
        rig_stop(&rig);
}
END_TEST

/* Nobody calls the heap any more, so nobody's slow path would do it. */
START_TEST(idle_memory_is_given_back)
{
        struct rig rig;
        shheap *h;
        void *blocks[64];
        uint64_t mapped;

        rig_start(&rig, "--heap=idle", "--capacity=64M", "--decay_ms=300", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("idle", 0, NULL);
        for (int i = 0; i < 64; i++) {
                blocks[i] = shheap_malloc(h, 500000);
                ck_assert_ptr_nonnull(blocks[i]);
        }
        mapped = heap_ctl(h, "stats.mapped");
        for (int i = 0; i < 64; i++)
                shheap_free(h, blocks[i]);
        while (heap_ctl(h, "stats.mapped") > mapped / 2)
                rig_expect(&rig, "given back to the system");
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

/* ------------------------------------------------------------------ owners */

static bool
needs_root(void)
{
        if (geteuid() == 0)
                return true;
        fprintf(stderr, "skipped: this needs root, to keep heaps of other users\n");
        return false;
}

static uint32_t
uid_of(pid_t pid)
{
        char path[64];
        struct stat st;

        snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
        ck_assert_int_eq(stat(path, &st), 0);
        return st.st_uid;
}

START_TEST(a_heap_of_another_user_is_worked_on_with_his_rights)
{
        char path[200];
        struct stat st;
        struct rig rig;

        if (!needs_root())
                return;
        ck_assert_int_eq(chmod(rig_dir(), 01777), 0);
        rig_start(&rig, "--heap=theirs", "--capacity=4M", "--owner=65534", "--group=12345", "--mode=0660", NULL);
        rig_expect(&rig, "ready:");
        snprintf(path, sizeof path, "%s/shmalloc.theirs", rig_dir());
        ck_assert_int_eq(stat(path, &st), 0);
        ck_assert_uint_eq(st.st_uid, NOBODY);
        ck_assert_uint_eq(st.st_gid, 12345);
        ck_assert_int_eq(st.st_mode & 07777, 0660);
        ck_assert_uint_eq(uid_of(rig_helper(&rig)), NOBODY);
        rig_stop(&rig);
}
END_TEST

START_TEST(a_heap_of_somebody_else_is_not_adopted)
{
        struct rig rig;
        int status;

        if (!needs_root())
                return;
        ck_assert_int_eq(chmod(rig_dir(), 01777), 0);
        shheap_close(heap_dir_open("mine", SHHEAP_CREATE, NULL));
        rig_start(&rig, "--heap=mine", "--owner=65534", NULL);
        rig_expect(&rig, "belongs to uid 0, not to 65534 as configured: change owner =, or remove it");
        status = rig_wait(&rig);
        ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}
END_TEST

START_TEST(without_root_only_own_heaps_can_be_kept)
{
        struct rig rig;

        if (geteuid() == 0)
                return;
        rig_start(&rig, "--heap=theirs", "--owner=0", NULL);
        expect_refusal(&rig, "only a daemon of root keeps heaps for others than itself");
}
END_TEST

int
main(void)
{
        return SUITE_RUN(
                "configuration", "config", a_wrong_line_is_named_with_what_would_be_right, wrong_arguments_are_named,
                a_wrong_socket_in_the_environment_is_named, all_options_are_taken_and_done, comments_end_lines,
                never_has_two_names, max_capacity_bounds_the_capacity, many_nodes_are_told_to_the_helper,
                heap_on_a_disk_is_kept_if_the_configuration_says_so, a_check_of_the_configuration_starts_nothing,
                a_changed_configuration_is_applied_when_told, heaps_stay_at_the_end_or_are_removed,
                what_is_no_file_is_no_configuration, a_configuration_that_becomes_a_fifo_changes_nothing,
                a_heap_of_another_layout_is_replaced_where_that_is_configured,
                a_heap_that_somebody_removes_is_made_again, idle_memory_is_given_back,
                a_heap_of_another_user_is_worked_on_with_his_rights, a_heap_of_somebody_else_is_not_adopted,
                without_root_only_own_heaps_can_be_kept);
}
