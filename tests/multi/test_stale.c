/*
 * What is at stake: a heap of another layout that nobody uses any more must not keep a service from coming up after an
 * upgrade; and one that somebody still uses, in whatever way and wherever, must not be taken away.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout/layout.h"
#include "support/checks.h"
#include "support/child.h"
#include "support/heap_dir.h"
#include "support/suite.h"

enum { REPLACE = SHHEAP_CREATE | SHHEAP_REPLACE_STALE };

static ino_t
inode_of(const char *name)
{
        struct stat st;

        ck_assert_int_eq(lstat(heap_dir_file(name), &st), 0);
        return st.st_ino;
}

static void
leave_heap(const char *name)
{
        ck_assert_int_eq(shheap_close(heap_dir_open(name, SHHEAP_CREATE, NULL)), 0);
}

static int
try_open(const char *name, unsigned flags)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        shheap *h;
        int err;

        attr.capacity = 16 << 20;
        err = shheap_open(&h, name, flags, &attr);
        if (err == 0)
                ck_assert_int_eq(shheap_close(h), 0);
        return err;
}

/* ------------------------------------------------------------------ nobody has it open */

START_TEST(abandoned_heap_of_another_layout_is_replaced)
{
        static const struct {
                size_t off, bytes;
        } words[] = {
                {offsetof(struct region_header, version), 4},
                {offsetof(struct region_header, hash), 4},
                {offsetof(struct region_header, features_incompat), 8},
                {offsetof(struct region_header, features_ro_compat), 8},
        };
        shheap *h;
        ino_t ino;

        leave_heap("old");
        heap_dir_overwrite("old", words[_i].off, words[_i].bytes, 0x7ffffff1);
        ino = inode_of("old");
        ck_assert_int_eq(try_open("old", 0), -EPROTO);
        ck_assert_int_eq(try_open("old", SHHEAP_CREATE), -EPROTO);
        ck_assert_int_eq(try_open("old", SHHEAP_CREATE | SHHEAP_EXCL), -EEXIST);
        ck_assert_uint_eq(inode_of("old"), ino);
        h = heap_dir_open("old", REPLACE, NULL);
        ck_assert_uint_ne(inode_of("old"), ino);
        ck_assert_uint_eq(heap_ctl(h, "heap.is_linked"), 1);
        ck_assert_ptr_nonnull(shheap_malloc(h, 100));
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_int_eq(try_open("old", 0), 0);
        ck_assert_int_eq(heap_dir_count(), 1);
}
END_TEST

START_TEST(everything_else_is_as_without_the_flag)
{
        shheap *h = heap_dir_open("new", REPLACE, NULL), *again;
        ino_t ino = inode_of("new");
        uint64_t zero = 0;

        again = heap_dir_open("new", REPLACE, NULL);
        ck_assert_ptr_eq(again, h);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_int_eq(shheap_close(h), 0);
        ck_assert_int_eq(try_open("new", REPLACE), 0);
        ck_assert_uint_eq(inode_of("new"), ino);
        ck_assert_int_eq(try_open("new", REPLACE | SHHEAP_EXCL), -EINVAL);
        ck_assert_int_eq(try_open("new", SHHEAP_REPLACE_STALE), -EINVAL);
        ck_assert_int_eq(try_open("new", SHHEAP_REPLACE_STALE | SHHEAP_RDONLY), -EINVAL);
        heap_dir_overwrite("new", offsetof(struct region_header, params.max_capacity), 8, zero);
        ck_assert_int_eq(try_open("new", REPLACE), -EBADMSG); /* damaged, but of this layout */
        heap_dir_overwrite("new", offsetof(struct region_header, magic), 8, zero);
        ck_assert_int_eq(try_open("new", REPLACE), -ENODEV);
        ck_assert_uint_eq(inode_of("new"), ino);
}
END_TEST

/* ------------------------------------------------------------------ somebody has it open */

static void
is_client(struct child *self, void *arg)
{
        (void)arg;
        heap_dir_open("used", 0, NULL);
        child_tell(self);
        child_hear(self);
}

/* As daemons do; the mapping stays. */
static void
is_client_without_descriptors(struct child *self, void *arg)
{
        (void)arg;
        heap_dir_open("used", 0, NULL);
        for (int fd = 3; fd < 1024; fd++)
                if (fd != self->from && fd != self->to)
                        close(fd);
        child_tell(self);
        child_hear(self);
}

static void
is_reader(struct child *self, void *arg)
{
        (void)arg;
        heap_dir_open("used", SHHEAP_RDONLY, NULL);
        child_tell(self);
        child_hear(self);
}

/* The child of a client that is dead: it has the mapping still. */
static void
is_orphan(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("used", 0, NULL);

        (void)arg;
        MUST(shheap_malloc(h, 100) != NULL);
        if (fork() != 0)
                _exit(0);
        child_tell(self);
        child_hear(self);
}

static void
has_a_descriptor(struct child *self, void *arg)
{
        (void)arg;
        MUST(open(heap_dir_file("used"), O_RDONLY) >= 0);
        child_tell(self);
        child_hear(self);
}

static void
has_a_mapping(struct child *self, void *arg)
{
        int fd = open(heap_dir_file("used"), O_RDONLY);

        (void)arg;
        MUST(mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0) != MAP_FAILED);
        close(fd);
        child_tell(self);
        child_hear(self);
}

static void (*const users[])(struct child *self, void *arg) = {
        is_client, is_client_without_descriptors, is_reader, is_orphan, has_a_descriptor, has_a_mapping,
};

/* Also of an orphan, of whom there is no status: when its end of the pipe is closed, its memory is gone. */
static void
end(struct child *c)
{
        int from = dup(c->from);
        char byte;

        child_tell(c);
        child_end(c);
        while (read(from, &byte, 1) > 0)
                ;
        close(from);
}

START_TEST(heap_of_another_layout_that_somebody_has_is_kept)
{
        struct child c;
        ino_t ino;

        leave_heap("used");
        ino = inode_of("used");
        child_start(&c, users[_i], NULL);
        ck_assert(child_hear(&c));
        heap_dir_make_stale("used");
        ck_assert_int_eq(try_open("used", REPLACE), -EPROTO);
        ck_assert_ptr_nonnull(strstr(shheap_errormsg(), "somebody has it open"));
        ck_assert_uint_eq(inode_of("used"), ino);
        end(&c);
        ck_assert_int_eq(try_open("used", REPLACE), 0);
        ck_assert_uint_ne(inode_of("used"), ino);
}
END_TEST

static void
opens_as_somebody(struct child *self, void *arg)
{
        int err;

        (void)self, (void)arg;
        MUST(setresgid(1000, 1000, 1000) == 0 && setresuid(1000, 1000, 1000) == 0);
        err = try_open("theirs", REPLACE);
        MUST(err == -EPROTO || !fprintf(stderr, "%d %s\n", err, shheap_errormsg()));
        MUST(strstr(shheap_errormsg(), "belongs to uid") != NULL);
}

START_TEST(heap_of_another_user_is_kept)
{
        struct child c;
        ino_t ino;

        if (geteuid() != 0) {
                puts("skipped: becoming another user takes root");
                return;
        }
        chmod(getenv("SHMALLOC_DIR"), 0777);
        leave_heap("theirs");
        heap_dir_make_stale("theirs");
        chmod(heap_dir_file("theirs"), 0666);
        ino = inode_of("theirs");
        child_start(&c, opens_as_somebody, NULL);
        ck_assert_int_eq(child_end(&c), 0);
        ck_assert_int_eq(chown(heap_dir_file("theirs"), 1000, 1000), 0);
        ck_assert_int_eq(try_open("theirs", REPLACE), -EPROTO); /* nor does root take it over */
        ck_assert_uint_eq(inode_of("theirs"), ino);
}
END_TEST

/* ------------------------------------------------------------------ many at once */

static void
starts(struct child *self, void *arg)
{
        uint64_t *ret_id = arg;
        shheap *h;

        MUST(child_hear(self));
        h = heap_dir_open("rush", REPLACE, NULL);
        MUST(shheap_malloc(h, 100) != NULL);
        *ret_id = heap_ctl(h, "heap.id");
        MUST(child_tell(self) && child_hear(self));
        MUST(heap_ctl(h, "heap.is_linked") == 1);
}

START_TEST(services_that_start_together_get_one_heap)
{
        enum { N = 12 };
        uint64_t *ids = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        struct child c[N];

        leave_heap("rush");
        heap_dir_make_stale("rush");
        for (int i = 0; i < N; i++)
                child_start(&c[i], starts, &ids[i]);
        for (int i = 0; i < N; i++)
                child_tell(&c[i]);
        for (int i = 0; i < N; i++)
                ck_assert(child_hear(&c[i]));
        for (int i = 0; i < N; i++) {
                child_tell(&c[i]);
                ck_assert_int_eq(child_end(&c[i]), 0);
                ck_assert_uint_eq(ids[i], ids[0]);
        }
        ck_assert_int_eq(heap_dir_count(), 1);
}
END_TEST

/* ------------------------------------------------------------------ temporary names */

/* What a heap has that was replaced, or whose maker has died. */
static const char *
give_temporary_name(const char *name, char digit)
{
        static char path[256];

        snprintf(path, sizeof path, "%s/.shmalloc-000000000000000%c.tmp", getenv("SHMALLOC_DIR"), digit);
        ck_assert_int_eq(rename(heap_dir_file(name), path), 0);
        return path;
}

START_TEST(temporary_name_is_removed_unless_somebody_has_the_file)
{
        const char *abandoned, *used;
        struct child c;

        leave_heap("used");
        child_start(&c, users[_i], NULL);
        ck_assert(child_hear(&c));
        for (int round = 0; round < 2; round++) {
                leave_heap("gone");
                abandoned = give_temporary_name("gone", 'a');
                ck_assert_int_eq(access(abandoned, F_OK), 0);
                if (round == 0)
                        used = give_temporary_name("used", 'b');
                leave_heap("old");
                heap_dir_make_stale("old");
                ck_assert_int_eq(try_open("old", REPLACE), 0);
                ck_assert_int_eq(access(used, F_OK), round == 0 ? 0 : -1);
                ck_assert_int_eq(heap_dir_count(), round == 0 ? 2 : 1); /* the new one, and it */
                if (round == 0)
                        end(&c);
        }
}
END_TEST

static Suite *
make_suite(void)
{
        Suite *suite = suite_create("stale");
        TCase *tcase = tcase_create("stale");

        tcase_set_timeout(tcase, 300);
        tcase_add_checked_fixture(tcase, NULL, heap_dir_empty);
        tcase_add_loop_test(tcase, abandoned_heap_of_another_layout_is_replaced, 0, 4);
        tcase_add_test(tcase, everything_else_is_as_without_the_flag);
        tcase_add_loop_test(tcase, heap_of_another_layout_that_somebody_has_is_kept, 0, sizeof users / sizeof users[0]);
        tcase_add_loop_test(tcase, temporary_name_is_removed_unless_somebody_has_the_file, 0,
                            sizeof users / sizeof users[0]);
        tcase_add_test(tcase, heap_of_another_user_is_kept);
        tcase_add_test(tcase, services_that_start_together_get_one_heap);
        suite_add_tcase(suite, tcase);
        return suite;
}

int
main(void)
{
        int status;

        heap_dir_create("stale");
        status = suite_run(make_suite());
        heap_dir_remove();
        return status;
}
