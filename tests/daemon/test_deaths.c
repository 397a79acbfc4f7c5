/*
 * Deaths under a daemon: what the dead held is back in the heap without any client asking for it, each time, and for a
 * thousand at once; and nothing is used up by it, neither places in the heap nor descriptors of the daemon.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "os/announce.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { N_DEATHS = 200, N_CROWD = 1000, N_BLOCKS = 300 };

/* Fills its caches, keeps nothing, and waits to be killed. */
static void
cache_and_wait(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("deaths", 0, NULL);
        void *blocks[N_BLOCKS];

        (void)arg;
        for (int i = 0; i < N_BLOCKS; i++)
                MUST(blocks[i] = shheap_malloc(h, (size_t)16 << i % 9));
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
        child_tell(self);
        child_hear(self);
}

/* No descriptor is kept: none but the one for this process, of which the daemon may have heard after they were counted.
 * The last ones go when the daemon gets round to it. */
static void
expect_fds(const struct rig *rig, int n_fds)
{
        while (rig_count_fds(rig) > n_fds + 1)
                sched_yield();
}

static uint64_t
file_bytes_of(shheap *h)
{
        return heap_ctl(h, "stats.mapped");
}

START_TEST(each_death_is_settled_by_the_daemon)
{
        struct rig rig;
        shheap *h;
        int n_fds = 0;

        rig_start(&rig, "--heap=deaths", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("deaths", 0, NULL);
        for (int i = 0; i < N_DEATHS; i++) {
                struct child child;

                child_start(&child, cache_and_wait, NULL);
                ck_assert(child_hear(&child));
                ck_assert_uint_eq(rig_count_strangers(h), 1);
                kill(child.pid, SIGKILL);
                if (i % 2) { /* a zombie, of which the heap's own evidence says that it may be alive */
                        rig_expect_no_strangers(&rig, h);
                        while (rig_count_stranger_clients(h) > 0)
                                sched_yield();
                }
                child_end(&child);
                rig_expect_no_strangers(&rig, h);
                ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
                if (i == 10)
                        n_fds = rig_count_fds(&rig);
        }
        expect_fds(&rig, n_fds);
        ck_assert_uint_le(heap_ctl(h, "heap.threads"), 2);
        ck_assert_uint_lt(file_bytes_of(h), 8u << 20);
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* Whatever becomes of the test. */
static void
die_with(pid_t parent)
{
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(1);
}

static void
be_one_of_a_crowd(int ready_fd)
{
        char byte;
        shheap *h = heap_dir_open("deaths", 0, NULL);
        void *p = shheap_malloc(h, 100);

        shheap_free(h, p);
        if (write(ready_fd, "!", 1) == 1)
                (void)!read(STDIN_FILENO, &byte, 0);
        for (;;)
                pause();
}

/* n processes with the heap open, in a group of their own. */
static pid_t
start_crowd(int n)
{
        pid_t group = 0, parent = getpid();
        int pipe_fds[2];

        ck_assert_int_eq(pipe(pipe_fds), 0);
        for (int i = 0; i < n; i++) {
                char byte;
                pid_t pid = fork();

                ck_assert_int_ge(pid, 0);
                if (pid == 0) {
                        die_with(parent);
                        setpgid(0, group);
                        be_one_of_a_crowd(pipe_fds[1]);
                }
                setpgid(pid, group);
                group = group ? group : pid;
                ck_assert_int_eq(read(pipe_fds[0], &byte, 1), 1);
        }
        close(pipe_fds[0]);
        close(pipe_fds[1]);
        return group;
}

static void
kill_crowd(pid_t group, int n)
{
        kill(-group, SIGKILL);
        for (int i = 0; i < n; i++)
                ck_assert_int_gt(waitpid(-group, NULL, 0), 0);
}

START_TEST(a_thousand_killed_together_are_settled)
{
        struct rig rig;
        shheap *h;
        pid_t group;
        int n_fds;

        rig_start(&rig, "--heap=deaths", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("deaths", 0, NULL);
        n_fds = rig_count_fds(&rig);
        group = start_crowd(N_CROWD);
        ck_assert_uint_eq(rig_count_strangers(h), N_CROWD);
        kill_crowd(group, N_CROWD);
        rig_expect_no_strangers(&rig, h);
        expect_fds(&rig, n_fds);
        ck_assert_uint_eq(heap_ctl(h, "stats.allocated"), 0);
        while (rig_count_stranger_clients(h) > 0) /* the helper gives their places back after their slots */
                sched_yield();
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* With few descriptors the daemon says once that it cannot watch everybody, and they are settled all the same. */
START_TEST(clients_beyond_the_limit_of_descriptors_are_settled_too)
{
        struct rlimit limit = {.rlim_cur = 280, .rlim_max = 280};
        struct rig rig;
        shheap *h;
        pid_t group;

        ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
        rig_start(&rig, "--heap=deaths", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "up to 150 clients watched");
        h = heap_dir_open("deaths", 0, NULL);
        group = start_crowd(200);
        rig_expect(&rig, "150 clients are watched and no more can be");
        ck_assert_int_lt(rig_count_fds(&rig), 280);
        kill_crowd(group, 200);
        rig_expect_no_strangers(&rig, h);
        while (rig_count_fds(&rig) > 100) /* there is room again */
                sched_yield();
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* A client that cannot be watched, because it died before the daemon heard of it, or was never announced. */
static void
hide_and_wait(struct child *self, void *arg)
{
        setenv("SHMALLOC_SOCKET", "/nowhere", 1);
        cache_and_wait(self, arg);
}

START_TEST(who_never_announced_himself_is_found)
{
        struct rig rig;
        struct child child;
        shheap *h;

        rig_start(&rig, "--heap=deaths", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("deaths", 0, NULL);
        child_start(&child, hide_and_wait, NULL);
        ck_assert(child_hear(&child));
        child_kill(&child);
        rig_expect_no_strangers(&rig, h);
        rig_stop(&rig);
        heap_assert_clean(h);
        shheap_close(h);
}
END_TEST

/* Which client a process is, as the daemon's log has it. */
static void
find_client(const struct rig *rig, pid_t pid, struct announce_message *ret)
{
        FILE *f = fopen(rig->log, "r");
        char line[512];

        while (fgets(line, sizeof line, f)) {
                const char *at = strstr(line, ": client ");
                unsigned idx, incarnation;
                int logged_pid;

                if (at && sscanf(at, ": client %u.%u is process %d", &idx, &incarnation, &logged_pid) == 3 &&
                    logged_pid == pid) {
                        ret->client_idx = idx;
                        ret->incarnation = incarnation;
                }
        }
        fclose(f);
        ck_assert_uint_ne(ret->incarnation, 0);
}

static void
find_heap(const shheap *h, struct announce_message *ret)
{
        struct stat st;
        int fd = shheap_dup_fd(h, 0);

        ck_assert_int_eq(fstat(fd, &st), 0);
        close(fd);
        ret->dev = st.st_dev;
        ret->ino = st.st_ino;
}

/* A claim to be another process would let that one's threads be settled while they live. */
START_TEST(a_liar_s_death_is_nobody_else_s)
{
        struct announce_message lie = {.magic = ANNOUNCE_MAGIC, .kind = ANNOUNCE_REGISTER};
        struct rig rig;
        struct child child;
        char text[64];
        shheap *h;
        pid_t liar, parent = getpid();

        rig_start(&rig, "--heap=deaths", "--capacity=64M", "--verbose", NULL);
        rig_expect(&rig, "ready:");
        h = heap_dir_open("deaths", 0, NULL);
        child_start(&child, cache_and_wait, NULL);
        ck_assert(child_hear(&child));
        snprintf(text, sizeof text, "is process %d", (int)child.pid);
        rig_expect(&rig, text);
        find_client(&rig, child.pid, &lie);
        find_heap(h, &lie);
        liar = fork();
        if (liar == 0) {
                die_with(parent);
                announce_send(getenv("SHMALLOC_SOCKET"), &lie);
                pause();
        }
        snprintf(text, sizeof text, "is process %d", (int)liar);
        rig_expect(&rig, text);
        kill(liar, SIGKILL);
        snprintf(text, sizeof text, "process %d, which announced client", (int)liar);
        rig_expect(&rig, text);
        ck_assert_int_eq(waitpid(liar, NULL, 0), liar);
        ck_assert_uint_eq(rig_count_strangers(h), 1); /* the other one lives, and has its place */
        child_kill(&child);
        rig_expect_no_strangers(&rig, h);
        rig_stop(&rig);
        shheap_close(h);
}
END_TEST

int
main(void)
{
        return SUITE_RUN("deaths under a daemon", "deaths", each_death_is_settled_by_the_daemon,
                         a_thousand_killed_together_are_settled,
                         clients_beyond_the_limit_of_descriptors_are_settled_too, who_never_announced_himself_is_found,
                         a_liar_s_death_is_nobody_else_s);
}
