/*
 * What is at stake: a process that may write to a heap can make another one that uses it store anywhere in its own
 * memory.  So root must never use a heap as root, whichever tool it starts: the table of clients tells who has been
 * there, and as whom.
 */
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "api/heap.h"
#include "daemon/suite.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { SOMEBODY = 1000, NOBODY = 65534, FAKE_UID = 4711 };

static bool
needs_root(void)
{
        if (geteuid() == 0)
                return true;
        fprintf(stderr, "skipped: this needs root, to see what it does with other users' heaps\n");
        return false;
}

/* A heap of that owner and mode in which every client slot that has been used bears a number that is nobody's. */
static void
plant(uid_t uid, mode_t mode)
{
        shheap *h = heap_dir_open("theirs", SHHEAP_CREATE, NULL);
        struct region *r = &h->region;
        int fd = shheap_dup_fd(h, 0);

        for (uint32_t k = 0; k < 8; k++)
                ck_assert_int_eq(region_raise_clients(r, k), 0);
        for (uint32_t k = 0; k < 8; k++)
                region_client(r, k)->uid = FAKE_UID;
        r->header->creator_uid = uid;
        ck_assert_int_eq(fchown(fd, uid, uid), 0);
        ck_assert_int_eq(fchmod(fd, mode), 0);
        close(fd);
        ck_assert_int_eq(shheap_close(h), 0);
}

static int
run(const char *verb, const char *option)
{
        const char *ctl = getenv("SHMALLOCCTL");
        pid_t pid = fork();
        int status;

        if (pid == 0) {
                execl(ctl, "shmallocctl", verb, "theirs", option, (char *)NULL);
                _exit(127);
        }
        ck_assert_int_eq(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
}

/* As whom clients have been there; FAKE_UID: none was. */
static uint32_t
visitor(void)
{
        shheap *h = heap_dir_open("theirs", SHHEAP_RDONLY | SHHEAP_RELOCATABLE, NULL);
        const struct region *r = &h->region;
        uint32_t uid = FAKE_UID;

        for (uint32_t k = 0; k < region_clients_hwm(r); k++)
                if (region_client(r, k)->uid != FAKE_UID)
                        uid = region_client(r, k)->uid;
        ck_assert_int_eq(shheap_close(h), 0);
        return uid;
}

START_TEST(verbs_of_clients_are_done_as_the_owner_of_the_heap)
{
        static const struct {
                uid_t owner;
                mode_t mode;
                uint32_t as;
        } cases[] = {
                {SOMEBODY, 0600, SOMEBODY}, {SOMEBODY, 0666, SOMEBODY}, {0, 0600, 0},
                {0, 0666, NOBODY},          {0, 0660, NOBODY},
        };

        if (!needs_root())
                return;
        ck_assert_int_eq(chmod(rig_dir(), 01777), 0);
        for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
                for (int is_purge = 0; is_purge < 2; is_purge++) {
                        plant(cases[i].owner, cases[i].mode);
                        ck_assert_int_eq(run(is_purge ? "purge" : "reap", NULL), 0);
                        ck_assert_uint_eq(visitor(), cases[i].as);
                        ck_assert_int_eq(shheap_unlink("theirs"), 0);
                }
}
END_TEST

START_TEST(verbs_that_look_are_no_clients)
{
        static const char *const verbs[] = {"stat", "clients", "map", "check", "dump", "rm"};

        if (!needs_root())
                return;
        plant(SOMEBODY, 0666);
        for (size_t i = 0; i < sizeof verbs / sizeof verbs[0] - 1; i++) {
                ck_assert_int_eq(run(verbs[i], NULL), 0);
                ck_assert_uint_eq(visitor(), FAKE_UID);
        }
        ck_assert_int_eq(run("rm", "--stale"), 1); /* not stale: it stays */
        ck_assert_uint_eq(visitor(), FAKE_UID);
        ck_assert_int_eq(run("rm", NULL), 0);
}
END_TEST

int
main(void)
{
        return SUITE_RUN("rights", "rights", verbs_of_clients_are_done_as_the_owner_of_the_heap,
                         verbs_that_look_are_no_clients);
}
