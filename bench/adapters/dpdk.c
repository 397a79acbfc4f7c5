/* DPDK's rte_malloc, without huge pages: one process makes the heap, the others are its children. */
#include <dirent.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_malloc.h>
#include <stdio.h>
#include <unistd.h>

#include "common/bench.h"

static bool is_up;

static int
setup(size_t capacity)
{
        static char program[] = "bench", no_huge[] = "--no-huge", m[] = "-m", prefix[64], no_pci[] = "--no-pci",
                    quiet[] = "--log-level=1", no_telemetry[] = "--no-telemetry";
        char size[32], *argv[] = {program, no_huge, m, size, prefix, no_pci, quiet, no_telemetry, NULL};

        snprintf(prefix, sizeof prefix, "--file-prefix=%s", bench_heap_name());
        snprintf(size, sizeof size, "%zu", capacity >> 20);
        is_up = rte_eal_init(8, argv) >= 0;
        if (!is_up) {
                fprintf(stderr, "dpdk: %s\n", rte_strerror(rte_errno));
                return -1;
        }
        return 0;
}

static void *
take(size_t size)
{
        return rte_malloc(NULL, size, 0);
}

static void *
resize(void *p, size_t size)
{
        return rte_realloc(p, size, 0);
}

/* What it leaves in its run-time folder. */
static void
teardown(void)
{
        char folder[256], path[512];
        struct dirent *entry;
        DIR *dir;

        if (!is_up)
                return;
        snprintf(folder, sizeof folder, "%s", rte_eal_get_runtime_dir());
        (void)rte_eal_cleanup();
        dir = opendir(folder);
        while (dir && (entry = readdir(dir)) != NULL)
                if (entry->d_name[0] != '.') {
                        snprintf(path, sizeof path, "%s/%s", folder, entry->d_name);
                        unlink(path);
                }
        if (dir)
                closedir(dir);
        rmdir(folder);
}

const struct bench_allocator bench_adapter = {.name = "dpdk",
                                              .is_shared = true,
                                              .setup = setup,
                                              .take = take,
                                              .give = rte_free,
                                              .resize = resize,
                                              .teardown = teardown,
                                              .is_slow = true,
                                              .workers_max = 4};
