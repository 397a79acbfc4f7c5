/*
 * latency.c - how long it takes from a process's death to everything that it held being back in the heap, under a
 * daemon.  A measurement, not a test: nothing is asserted about time.
 *
 *   latency [DEATHS [MIB]]    how many (100), and how much private memory each victim has touched (0)
 *
 * SHMALLOCD names the daemon.  The time is taken from before kill() until the victim's slot is empty, which the parent
 * watches for; so it includes the kernel's work on the victim up to the moment when it tells of its death.
 */
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "api/heap.h"
#include "support/child.h"
#include "support/heap_dir.h"

enum { N_BLOCKS = 300, DEATHS_MAX = 100000 };

static size_t victim_bytes;

static double
now_us(void)
{
        struct timespec now;

        clock_gettime(CLOCK_MONOTONIC, &now);
        return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void
victim(struct child *self, void *arg)
{
        shheap *h = heap_dir_open("latency", 0, NULL);
        void *blocks[N_BLOCKS];

        (void)arg;
        if (victim_bytes) {
                char *p = mmap(NULL, victim_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

                MUST(p != MAP_FAILED);
                madvise(p, victim_bytes, MADV_NOHUGEPAGE);
                memset(p, 1, victim_bytes);
        }
        for (int i = 0; i < N_BLOCKS; i++)
                MUST(blocks[i] = shheap_malloc(h, (size_t)16 << i % 9));
        for (int i = 0; i < N_BLOCKS; i++)
                shheap_free(h, blocks[i]);
        child_tell(self);
        child_hear(self);
}

static const struct slot_gate *
gate_of(shheap *h, pid_t pid)
{
        const struct region *r = &h->region;

        for (uint32_t i = 0; i < region_threads_hwm(r); i++) {
                const struct slot_gate *gate = region_gate(r, i);

                if (load_relaxed(&gate->state) == 1 && load_relaxed(&gate->os_pid) == (uint32_t)pid)
                        return gate;
        }
        fprintf(stderr, "latency: process %d has no slot\n", (int)pid);
        exit(1);
}

static double
one_death(shheap *h)
{
        const struct slot_gate *gate;
        struct child child;
        double start, end;

        child_start(&child, victim, NULL);
        if (!child_hear(&child))
                exit(1);
        gate = gate_of(h, child.pid);
        start = now_us();
        kill(child.pid, SIGKILL);
        while (load_relaxed(&gate->state) != 0)
                sched_yield();
        end = now_us();
        child_end(&child);
        return end - start;
}

static pid_t
start_daemon(void)
{
        const char *program = getenv("SHMALLOCD");
        pid_t pid = fork();

        if (pid == 0) {
                prctl(PR_SET_PDEATHSIG, SIGKILL);
                execlp(program ? program : "shmallocd", "shmallocd", "--quiet", "--heap=latency", "--capacity=256M",
                       NULL);
                perror("latency: cannot start the daemon: SHMALLOCD names it");
                _exit(127);
        }
        return pid;
}

static int
by_size(const void *a, const void *b)
{
        double x = *(const double *)a, y = *(const double *)b;

        return x < y ? -1 : x > y;
}

int
main(int argc, char **argv)
{
        static double us[DEATHS_MAX];
        int n = argc > 1 ? atoi(argv[1]) : 100, mib = argc > 2 ? atoi(argv[2]) : 0;
        char socket[160];
        pid_t daemon;
        shheap *h;

        if (n < 1 || n > DEATHS_MAX || mib < 0) {
                fprintf(stderr, "usage: latency [DEATHS [MIB]]\n");
                return 2;
        }
        victim_bytes = (size_t)mib << 20;
        heap_dir_create("latency");
        snprintf(socket, sizeof socket, "%s/socket", getenv("SHMALLOC_DIR"));
        setenv("SHMALLOC_SOCKET", socket, 1);
        daemon = start_daemon();
        while (shheap_open(&h, "latency", 0, NULL) < 0)
                if (waitpid(daemon, NULL, WNOHANG) != 0)
                        return 1;
        one_death(h); /* warms up */
        for (int i = 0; i < n; i++)
                us[i] = one_death(h);
        qsort(us, (size_t)n, sizeof us[0], by_size);
        printf("%d deaths, %d MiB each: min %.0f, median %.0f, 90 %% %.0f, 99 %% %.0f, max %.0f us\n", n, mib, us[0],
               us[n / 2], us[n * 9 / 10], us[n * 99 / 100], us[n - 1]);
        kill(daemon, SIGTERM);
        waitpid(daemon, NULL, 0);
        shheap_close(h);
        heap_dir_remove();
        return 0;
}
