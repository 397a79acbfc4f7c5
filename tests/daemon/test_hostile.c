/*
 * A heap that lies: words of its tables are overwritten at random under a live daemon.  The daemon stays up and says so
 * when a helper cannot go on, and its other heap is looked after as if nothing were.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "daemon/rig.h"
#include "daemon/suite.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { N_ROUNDS = 25, WORDS_PER_ROUND = 64 };

static unsigned long seed = 20261122;

static unsigned long
random_number(void)
{
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        return seed >> 16;
}

/* A word somewhere in what has pages, and is no block: the first part of the file. */
static void
spoil(int fd, off_t limit)
{
        for (int i = 0; i < WORDS_PER_ROUND; i++) {
                off_t at = lseek(fd, (off_t)(random_number() % (unsigned long)limit), SEEK_DATA);
                uint64_t word = random_number() << 40 ^ random_number();

                if (at < 0 || at >= limit)
                        continue;
                at = (at & ~(off_t)4095) + (off_t)(random_number() % 512 * 8);
                if (i % 4 == 0 && pread(fd, &word, sizeof word, at) == sizeof word)
                        word ^= UINT64_C(1) << random_number() % 64;
                ck_assert_int_eq(pwrite(fd, &word, sizeof word, at), sizeof word);
        }
}

static void
cache_and_wait(struct child *self, void *arg)
{
        shheap *h = heap_dir_open(arg, 0, NULL);
        void *p = shheap_malloc(h, 100);

        shheap_free(h, p);
        child_tell(self);
        child_hear(self);
}

/* As long as it can be opened at all. */
static void
cache_if_possible(struct child *self, void *arg)
{
        shheap *h;

        freopen("/dev/null", "w", stderr);
        if (shheap_open(&h, arg, 0, NULL) == 0)
                shheap_free(h, shheap_malloc(h, 100));
        child_tell(self);
        child_hear(self);
}

static void
die_in(const char *heap, void (*fn)(struct child *self, void *arg))
{
        struct child child;

        child_start(&child, fn, (void *)(uintptr_t)heap);
        child_hear(&child);
        child_kill(&child);
}

START_TEST(a_hostile_heap_harms_neither_the_daemon_nor_other_heaps)
{
        char path[200], conf[220];
        struct rig rig;
        struct stat st;
        shheap *good;
        int fd, n_fds;

        snprintf(conf, sizeof conf, "--config=%s",
                 rig_write("two.conf", "[good]\ncapacity = 64M\n[evil]\ncapacity = 64M\ndecay_ms = 0\n"));
        rig_start(&rig, conf, "--verbose", NULL);
        rig_expect(&rig, "2 of 2 heaps");
        good = heap_dir_open("good", 0, NULL);
        die_in("evil", cache_if_possible);
        snprintf(path, sizeof path, "%s/shmalloc.evil", rig_dir());
        fd = open(path, O_RDWR | O_CLOEXEC);
        ck_assert_int_eq(fstat(fd, &st), 0);
        n_fds = rig_count_fds(&rig);
        for (int round = 0; round < N_ROUNDS; round++) {
                spoil(fd, st.st_size - (64 << 20));
                die_in("evil", cache_if_possible);
                die_in("good", cache_and_wait);
                rig_expect_no_strangers(&rig, good);
        }
        ck_assert_int_eq(ftruncate(fd, 4096), 0); /* and at last every access to it is a signal */
        rig_expect(&rig, "heap \"evil\": helper");
        rig_expect(&rig, "heap \"evil\": another helper is started in ");
        rig_expect(&rig, "heap \"evil\": heap \"evil\" is truncated"); /* says the next one */
        die_in("good", cache_and_wait);
        rig_expect_no_strangers(&rig, good);
        ck_assert_int_le(rig_count_fds(&rig), n_fds + 2);
        close(fd);
        rig_stop(&rig);
        heap_assert_clean(good);
        shheap_close(good);
}
END_TEST

int
main(void)
{
        return SUITE_RUN("a hostile heap", "hostile", a_hostile_heap_harms_neither_the_daemon_nor_other_heaps);
}
