#include "support/heap_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "layout/layout.h"

static char dir[96];

static void
fail(const char *what)
{
        fprintf(stderr, "heap_dir: %s: %s\n", what, shheap_errormsg());
        abort();
}

void
heap_dir_create(const char *suite)
{
        snprintf(dir, sizeof dir, "/dev/shm/shmalloc-test-%s-%d-XXXXXX", suite, (int)getpid());
        unsetenv("SHMALLOC_CONF");
        unsetenv("SHMALLOC_HEAP");
        if (mkdtemp(dir) == NULL || setenv("SHMALLOC_DIR", dir, 1) != 0)
                fail("cannot make a directory");
}

static int
walk(bool remove_them)
{
        DIR *d = opendir(dir);
        const struct dirent *entry;
        char path[400];
        int n = 0;

        while (d != NULL && (entry = readdir(d)) != NULL) {
                if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
                        continue;
                n++;
                snprintf(path, sizeof path, "%s/%s", dir, entry->d_name);
                if (remove_them)
                        unlink(path);
        }
        if (d != NULL)
                closedir(d);
        return n;
}

void
heap_dir_empty(void)
{
        walk(true);
}

int
heap_dir_count(void)
{
        return walk(false);
}

void
heap_dir_remove(void)
{
        walk(true);
        rmdir(dir);
}

const char *
heap_dir_file(const char *name)
{
        static char path[200];

        snprintf(path, sizeof path, "%s/shmalloc.%s", dir, name);
        return path;
}

void
heap_dir_overwrite(const char *name, size_t off, size_t bytes, uint64_t value)
{
        int fd = open(heap_dir_file(name), O_WRONLY | O_CLOEXEC);

        if (fd < 0 || pwrite(fd, &value, bytes, (off_t)off) != (ssize_t)bytes)
                fail("cannot write to the file");
        close(fd);
}

void
heap_dir_make_stale(const char *name)
{
        heap_dir_overwrite(name, offsetof(struct region_header, version), sizeof(uint32_t), LAYOUT_VERSION + 1);
}

shheap *
heap_dir_open(const char *name, unsigned flags, const char *conf)
{
        struct shheap_attr attr = SHHEAP_ATTR_INIT;
        char all[256];
        shheap *h;

        snprintf(all, sizeof all, "capacity:64M,%s", conf ? conf : "");
        attr.conf = all;
        if (shheap_open(&h, name, flags, &attr) < 0)
                fail(name);
        return h;
}

uint64_t
heap_ctl(shheap *h, const char *name)
{
        uint64_t value;
        size_t length = sizeof value;

        if (shheap_ctl(h, name, &value, &length, NULL, 0) < 0)
                fail(name);
        return value;
}

uint64_t
heap_reap(shheap *h)
{
        uint64_t before = heap_ctl(h, "stats.reaped");

        if (shheap_reap(h) != 0)
                fail("the dead are not settled");
        return heap_ctl(h, "stats.reaped") - before;
}

void
heap_use(shheap *h, size_t size)
{
        for (int i = 0; i < 2; i++) {
                void *p = shheap_malloc(h, size);

                if (!p)
                        fail("no memory");
                shheap_free(h, p);
        }
}

void
heap_assert_clean(shheap *h)
{
        if (shheap_check(h, SHHEAP_CHECK_QUIESCENT, NULL) == 0)
                return;
        shheap_check(h, SHHEAP_CHECK_QUIESCENT, stderr);
        fail("the heap is not in order");
}
